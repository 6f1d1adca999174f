//! What an event says, in words, and what one version of it says otherwise than another.
//!
//! Owns: names of properties, times as people write them. What only programs keep count of is left out.

use bytes::Bytes;

use crate::ical::{Component, Ical, Property};
use crate::web::texts::T;
use crate::web::texts::trash::T as W;

/// What changes with every writing, or names the event to programs.
const NOISE: [&str; 7] =
    ["UID", "DTSTAMP", "LAST-MODIFIED", "CREATED", "SEQUENCE", "RECURRENCE-ID", "PRODID"];

/// One thing that an event says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::web) struct Said {
    key: String,
    pub(in crate::web) words: String,
    pub(in crate::web) value: String,
}

/// One thing that two versions say differently; empty: it does not say it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::web) struct Change {
    pub(in crate::web) words: String,
    pub(in crate::web) before: String,
    pub(in crate::web) after: String,
}

/// Returns a property's name for people.
fn words(property: &str) -> String {
    let known = match property {
        "SUMMARY" => T.title,
        "DTSTART" => T.starts,
        "DTEND" | "DUE" => T.ends,
        "DURATION" => T.lasts,
        "LOCATION" => T.location,
        "DESCRIPTION" => T.notes,
        "RRULE" => T.repeat,
        "STATUS" => T.status,
        "TRANSP" => T.shown_as,
        "ATTENDEE" => T.guests_word,
        "RDATE" => W.also_on,
        "EXDATE" => W.not_on,
        "ORGANIZER" => W.organizer,
        "CATEGORIES" => W.categories,
        "CLASS" => W.privacy,
        "URL" => W.link,
        "COLOR" => T.color,
        "VALARM" => T.alert,
        other => return other.to_owned(),
    };
    known.to_owned()
}

/// Returns a moment of iCalendar as people write it, or the text as it is.
fn moment(text: &str, zone: Option<String>) -> String {
    let digits = text.trim_end_matches('Z');
    let date = jiff::civil::Date::strptime("%Y%m%d", digits);
    let time = jiff::civil::DateTime::strptime("%Y%m%dT%H%M%S", digits);
    let told = match (date, time) {
        (_, Ok(at)) => at.strftime("%a %-d %b %Y, %H:%M").to_string(),
        (Ok(date), _) => date.strftime("%a %-d %b %Y").to_string(),
        _ => return text.to_owned(),
    };
    match zone.or_else(|| text.ends_with('Z').then(|| "UTC".to_owned())) {
        Some(zone) => format!("{told} ({zone})"),
        None => told,
    }
}

/// Returns a length of iCalendar as people write it, or the text as it is.
fn length(text: &str) -> String {
    text.parse::<jiff::Span>().map_or_else(|_| text.to_owned(), |span| format!("{:#}", span.abs()))
}

/// Returns when a reminder comes.
fn trigger(property: Property<'_>) -> String {
    let raw = property.raw();
    match raw.parse::<jiff::Span>() {
        Ok(span) if span.is_zero() => T.alert_at_start.to_owned(),
        Ok(span) if span.is_negative() => format!("{} {}", length(&raw), W.ahead),
        Ok(_) => format!("{} {}", length(&raw), W.later),
        Err(_) => moment(&raw, None),
    }
}

fn value(property: Property<'_>) -> String {
    match property.name() {
        "DURATION" => length(&property.raw()),
        "DTSTART" | "DTEND" | "DUE" | "EXDATE" | "RDATE" | "RECURRENCE-ID" => {
            let zone = property.parameter("TZID");
            let raw = property.raw();
            let all = raw.split(',').map(|one| moment(one, zone.clone()));
            all.collect::<Vec<_>>().join("\n")
        }
        "ATTENDEE" | "ORGANIZER" => {
            let address = property.text();
            let plain = match address.get(..7) {
                Some(start) if start.eq_ignore_ascii_case("mailto:") => {
                    address.get(7..).unwrap_or_default().to_owned()
                }
                _ => address,
            };
            let name = property.parameter("CN").filter(|name| !name.is_empty());
            let who = name.map_or_else(|| plain.clone(), |name| format!("{name} <{plain}>"));
            match property.parameter("PARTSTAT") {
                Some(answer) => format!("{who}: {}", answer.to_lowercase()),
                None => who,
            }
        }
        _ => property.text(),
    }
}

fn add(list: &mut Vec<Said>, key: String, words: String, value: String) {
    match list.iter_mut().find(|said| said.key == key) {
        Some(said) => said.value = format!("{}\n{value}", said.value),
        None => list.push(Said { key, words, value }),
    }
}

fn of(event: Component<'_>, list: &mut Vec<Said>) {
    let which = event.property("RECURRENCE-ID").map(value);
    let named = |property: &str| {
        let key = format!("{} {property}", which.as_deref().unwrap_or_default());
        let words = match &which {
            Some(which) => format!("{} · {which}", words(property)),
            None => words(property),
        };
        (key, words)
    };
    for property in event.properties().filter(|property| !NOISE.contains(&property.name())) {
        let (key, words) = named(property.name());
        add(list, key, words, value(property));
    }
    for alarm in event.components() {
        let (key, words) = named(alarm.name());
        add(list, key, words, alarm.property("TRIGGER").map(trigger).unwrap_or_default());
    }
}

/// Returns what an event says, first the series, then the instances that were changed.
pub(in crate::web) fn said(text: &str) -> Vec<Said> {
    let Ok(ical) = Ical::parse(Bytes::from(text.to_owned())) else { return Vec::new() };
    let Some(calendar) = ical.calendar() else { return Vec::new() };
    let mut list = Vec::new();
    for event in calendar.components().filter(|one| one.name() != "VTIMEZONE") {
        of(event, &mut list);
    }
    list
}

/// Returns what the second version says otherwise than the first.
pub(in crate::web) fn changes(before: &str, after: &str) -> Vec<Change> {
    let (before, after) = (said(before), said(after));
    let value = |list: &[Said], key: &str| {
        list.iter().find(|said| said.key == key).map(|said| said.value.clone()).unwrap_or_default()
    };
    let mut found: Vec<Change> = Vec::new();
    for now in &after {
        let was = value(&before, &now.key);
        if was != now.value {
            found.push(Change { words: now.words.clone(), before: was, after: now.value.clone() });
        }
    }
    for was in before.iter().filter(|was| !after.iter().any(|now| now.key == was.key)) {
        found.push(Change { words: was.words.clone(), before: was.value.clone(), after: String::new() });
    }
    found
}

/// Returns what an event is called.
pub(in crate::web) fn title(text: &str) -> String {
    let found = said(text).into_iter().find(|said| said.key == " SUMMARY").map(|said| said.value);
    found.filter(|title| !title.trim().is_empty()).unwrap_or_else(|| T.no_title.to_owned())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use super::*;

    fn event(lines: &str) -> String {
        format!("BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//test//EN\r\n{lines}END:VCALENDAR\r\n")
    }

    #[test]
    fn versions_differ_in_what_people_read() {
        let before = event(
            "BEGIN:VEVENT\r\nUID:1\r\nDTSTAMP:20260101T000000Z\r\nSEQUENCE:0\r\nDTSTART;TZID=Europe/Berlin:20260302T090000\r\n\
             SUMMARY:Class\r\nLOCATION:Hall\\, left\r\nATTENDEE;CN=Eva;PARTSTAT=ACCEPTED:mailto:eva@example.org\r\n\
             BEGIN:VALARM\r\nACTION:DISPLAY\r\nTRIGGER:-PT10M\r\nEND:VALARM\r\nEND:VEVENT\r\n",
        );
        let after = event(
            "BEGIN:VEVENT\r\nUID:1\r\nDTSTAMP:20260102T000000Z\r\nSEQUENCE:1\r\nDTSTART;TZID=Europe/Berlin:20260303T093000\r\n\
             SUMMARY:Class\r\nRRULE:FREQ=DAILY\r\nATTENDEE;CN=Eva;PARTSTAT=DECLINED:MAILTO:eva@example.org\r\nEND:VEVENT\r\n\
             BEGIN:VEVENT\r\nUID:1\r\nRECURRENCE-ID:20260304T083000Z\r\nDTSTART:20260304\r\nSUMMARY:Other\r\nEND:VEVENT\r\n",
        );
        let told: Vec<(String, String, String)> =
            changes(&before, &after).into_iter().map(|c| (c.words, c.before, c.after)).collect();
        let row = |a: &str, b: &str, c: &str| (a.to_owned(), b.to_owned(), c.to_owned());
        assert_eq!(
            told,
            [
                row(
                    "Starts",
                    "Mon 2 Mar 2026, 09:00 (Europe/Berlin)",
                    "Tue 3 Mar 2026, 09:30 (Europe/Berlin)"
                ),
                row("Repeats", "", "FREQ=DAILY"),
                row("Guests", "Eva <eva@example.org>: accepted", "Eva <eva@example.org>: declined"),
                row("Starts · Wed 4 Mar 2026, 08:30 (UTC)", "", "Wed 4 Mar 2026"),
                row("Title · Wed 4 Mar 2026, 08:30 (UTC)", "", "Other"),
                row("Place", "Hall, left", ""),
                row("Reminder", "10m before", ""),
            ]
        );
        assert!(changes(&after, &after).is_empty());
        assert_eq!((length("PT1H30M"), length("soon")), ("1h 30m".into(), "soon".into()));
        assert_eq!(title(&before), "Class");
        assert_eq!(title("no calendar"), T.no_title);
    }
}

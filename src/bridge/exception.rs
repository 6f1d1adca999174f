//! Single days of a series as text: reading one, putting one in as an exception, leaving one out. Pure.
//!
//! Owns: how a place in a series is written. Does not own: what becomes of a day (`fold`).

use bytes::Bytes;

use super::apart;
use super::provider::Window;
use super::scope::with_uid;
use crate::ical::merge::{Merged, merge};
use crate::ical::value::{Civil, DateTime, date_time};
use crate::ical::zone::{Zone, Zones};
use crate::ical::{Component, Ical};

const DAY: i64 = 86_400;

/// Returns the component that stands for that day alone.
pub(super) fn of(ical: &Ical, at: Civil) -> Option<Component<'_>> {
    let zones = Zones::of(ical);
    let instant = |time: DateTime| match time {
        DateTime::Zoned(civil, tzid) => zones.zone(&tzid).map_or(civil.0, |zone| zone.to_instant(civil)),
        other => other.civil().0,
    };
    let same = |c: &Component<'_>| {
        c.property("RECURRENCE-ID")
            .filter(|id| id.parameter("RANGE").is_none())
            .and_then(|id| date_time(&id))
            .is_some_and(|id| instant(id) == at.0)
    };
    ical.calendar()?.components().find(same)
}

/// Returns one day of a series as an object of its own, as it is written if it is written. Nothing: there is no such day.
pub(super) fn day(ical: &Ical, at: Civil, key: &str) -> Option<Ical> {
    let Some(own) = of(ical, at) else {
        let near = Window {
            from: Some(at.0.saturating_sub(2 * DAY)),
            to: Some(at.0.saturating_add(2 * DAY)),
            now: at.0,
        };
        let part = apart::instances(ical, near, &Zone::Utc)?.into_iter().find(|part| part.key == key)?;
        return Ical::parse(part.bytes).ok();
    };
    let mut edit = ical.edit();
    let place = own.span();
    for other in ical.calendar()?.components() {
        if other.name() != "VTIMEZONE" && other.span() != place {
            edit = edit.remove_component(other);
        }
    }
    for id in own.all("RECURRENCE-ID") {
        edit = edit.remove(id);
    }
    Ical::parse(edit.finish()).ok()
}

/// Returns the series with that day left out.
pub(super) fn leave_out(ours: &Ical, at: Civil, key: &str) -> Option<Bytes> {
    let old = of(ours, at);
    let mut edit = ours.edit();
    if let Some(old) = old {
        edit = edit.remove_component(old);
    }
    match master(ours) {
        Some(series) => Some(edit.insert(series, &line("EXDATE", ours, at, key)?).finish()),
        // Of single days of a series that is elsewhere one at least has to stay.
        None => {
            let days = ours.calendar()?.components().filter(|c| c.name() != "VTIMEZONE").count();
            (old.is_some() && days > 1).then(|| edit.finish())
        }
    }
}

/// Returns the series with that day as this object has it.
pub(super) fn put(ours: &Ical, at: Civil, key: &str, instance: &Ical, uid: &str) -> Option<Bytes> {
    let named = Ical::parse(with_uid(instance, uid)).ok()?;
    let own = event(&named)?;
    let with = named.edit().insert(own, &line("RECURRENCE-ID", ours, at, key)?).finish();
    let with = Ical::parse(with).ok()?;
    let text = text(&with, event(&with)?)?;
    let calendar = ours.calendar()?;
    let mut edit = match of(ours, at) {
        Some(old) => ours.edit().replace_component(old, &text),
        None => ours.edit().append_component(calendar, &text),
    };
    let tzid = |zone: &Component<'_>| zone.property("TZID").map(|id| id.raw().trim().to_owned());
    let known: Vec<_> = calendar.named("VTIMEZONE").map(|zone| tzid(&zone)).collect();
    for zone in with.calendar()?.named("VTIMEZONE").filter(|zone| !known.contains(&tzid(zone))) {
        edit = edit.prepend_component(calendar, &self::text(&with, zone)?);
    }
    Some(edit.finish())
}

fn event(ical: &Ical) -> Option<Component<'_>> {
    ical.calendar()?.components().find(|c| c.name() != "VTIMEZONE")
}

fn text(ical: &Ical, component: Component<'_>) -> Option<String> {
    Some(String::from_utf8_lossy(ical.bytes().get(component.span())?).into_owned())
}

fn master(ical: &Ical) -> Option<Component<'_>> {
    let calendar = ical.calendar()?;
    calendar.components().find(|c| c.name() != "VTIMEZONE" && c.property("RECURRENCE-ID").is_none())
}

/// Writes a place in a series the way the series writes its start (RFC 5545 §3.8.4.4, §3.8.5.1: the same type).
fn line(name: &str, ical: &Ical, at: Civil, key: &str) -> Option<String> {
    let start = master(ical).or_else(|| event(ical))?.property("DTSTART")?;
    Some(match date_time(&start)? {
        DateTime::Date(_) => format!("{name};VALUE=DATE:{}", at.to_date()),
        DateTime::Zoned(_, tzid) if key.ends_with('Z') => {
            let local = Zones::of(ical).zone(&tzid)?.to_civil(at.0);
            format!("{name};TZID={}:{}", crate::ical::quote_parameter(&tzid), local.to_basic())
        }
        _ => format!("{name}:{key}"),
    })
}

/// A part that is a series itself: nothing of it is a single day.
pub(super) fn is_segment(part: Option<&Ical>) -> bool {
    let recurs =
        |c: crate::ical::Component<'_>| ["RRULE", "RDATE"].iter().any(|name| c.property(name).is_some());
    part.and_then(Ical::calendar).is_some_and(|calendar| calendar.components().any(recurs))
}

/// Tells whether a text says nothing that the other one does not say.
pub(super) fn says_no_more(all: &Ical, some: &Ical) -> bool {
    let Ok(nothing) = Ical::parse(&b"BEGIN:VCALENDAR\r\nEND:VCALENDAR\r\n"[..]) else { return false };
    match merge(&nothing, all, some) {
        Merged::Clean(bytes) => bytes == *all.bytes(),
        Merged::Conflict { .. } => false,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use super::*;

    const ZONE: &str = "BEGIN:VTIMEZONE\r\nTZID:Europe/Berlin\r\nBEGIN:STANDARD\r\nDTSTART:19700101T000000\r\n\
        TZOFFSETFROM:+0100\r\nTZOFFSETTO:+0100\r\nEND:STANDARD\r\nEND:VTIMEZONE\r\n";

    fn series(start: &str, rest: &str) -> Ical {
        let text = format!(
            "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:x\r\n{ZONE}BEGIN:VEVENT\r\nUID:u\r\nDTSTAMP:20260101T000000Z\r\n\
             {start}\r\nRRULE:FREQ=DAILY;COUNT=5\r\nSUMMARY:Tea\r\nEND:VEVENT\r\n{rest}END:VCALENDAR\r\n"
        );
        Ical::parse(text.into_bytes()).unwrap()
    }

    fn told(bytes: &Bytes) -> String {
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    // RFC 5545 §3.8.4.4, §3.8.5.1: as the start is written
    #[test]
    fn a_place_is_written_as_the_start_is() {
        for (start, key, exdate) in [
            ("DTSTART:20270105T090000Z", "20270106T090000Z", "EXDATE:20270106T090000Z"),
            ("DTSTART;VALUE=DATE:20270105", "20270106", "EXDATE;VALUE=DATE:20270106"),
            ("DTSTART:20270105T090000", "20270106T090000", "EXDATE:20270106T090000"),
            (
                "DTSTART;TZID=Europe/Berlin:20270105T090000",
                "20270106T080000Z",
                "EXDATE;TZID=Europe/Berlin:20270106T090000",
            ),
        ] {
            let ours = series(start, "");
            let at = Civil::parse(key.trim_end_matches('Z')).unwrap();
            let without = told(&leave_out(&ours, at, key).unwrap());
            assert!(without.contains(&format!("{exdate}\r\n")), "{without}");
            let one = day(&ours, at, key).unwrap();
            assert!(!told(one.bytes()).contains("RRULE"));
            let with = told(&put(&ours, at, key, &one, "u").unwrap());
            let id = exdate.replace("EXDATE", "RECURRENCE-ID");
            assert!(with.contains(&format!("{id}\r\n")), "{with}");
            assert!(day(&ours, Civil(at.0 + 40 * DAY), "20270215T090000Z").is_none());
        }
    }

    #[test]
    fn a_day_that_is_written_is_taken_as_it_is_written_and_replaced() {
        let own = "BEGIN:VEVENT\r\nUID:u\r\nRECURRENCE-ID;TZID=Europe/Berlin:20270106T090000\r\n\
            DTSTART;TZID=Europe/Berlin:20270106T110000\r\nX-OWN:1\r\nEND:VEVENT\r\n";
        let ours = series("DTSTART;TZID=Europe/Berlin:20270105T090000", own);
        let (key, at) = ("20270106T080000Z", Civil::parse("20270106T080000").unwrap());
        let one = day(&ours, at, key).unwrap();
        let text = told(one.bytes());
        assert!(
            text.contains("DTSTART;TZID=Europe/Berlin:20270106T110000") && text.contains("X-OWN:1"),
            "{text}"
        );
        assert!(!text.contains("RECURRENCE-ID") && !text.contains("SUMMARY:Tea"), "{text}");
        let other = Ical::parse(text.replace("Europe/Berlin", "Europe/Paris").into_bytes()).unwrap();
        let text = told(&put(&ours, at, key, &other, "u").unwrap());
        assert_eq!(text.matches("RECURRENCE-ID").count(), 1, "{text}");
        assert!(text.contains("TZID:Europe/Paris") && text.contains("TZID:Europe/Berlin"), "{text}");
        let text = told(&leave_out(&ours, at, key).unwrap());
        assert!(
            !text.contains("RECURRENCE-ID") && text.contains("EXDATE;TZID=Europe/Berlin:20270106T090000"),
            "{text}"
        );
    }

    // A change of a day and all after it is not that of the day alone
    #[test]
    fn what_changes_all_following_days_is_not_replaced() {
        let rest = "BEGIN:VEVENT\r\nUID:u\r\nRECURRENCE-ID;RANGE=THISANDFUTURE:20270106T090000Z\r\n\
            DTSTART:20270106T110000Z\r\nEND:VEVENT\r\n";
        let ours = series("DTSTART:20270105T090000Z", rest);
        let at = Civil::parse("20270106T090000").unwrap();
        let text = told(&leave_out(&ours, at, "20270106T090000Z").unwrap());
        assert!(text.contains("RANGE=THISANDFUTURE") && text.contains("EXDATE:20270106T090000Z"), "{text}");
    }

    #[test]
    fn of_single_days_of_a_series_that_is_elsewhere_one_stays() {
        let day = |n: u8| {
            format!(
                "BEGIN:VEVENT\r\nUID:u\r\nRECURRENCE-ID:2027010{n}T090000Z\r\nDTSTART:2027010{n}T090000Z\r\nEND:VEVENT\r\n"
            )
        };
        let object = |days: String| {
            Ical::parse(format!("BEGIN:VCALENDAR\r\n{days}END:VCALENDAR\r\n").into_bytes()).unwrap()
        };
        let (at, key) = (Civil::parse("20270106T090000").unwrap(), "20270106T090000Z");
        let two = leave_out(&object([day(6), day(7)].concat()), at, key).unwrap();
        assert!(!told(&two).contains("20270106"));
        assert!(leave_out(&object(day(6)), at, key).is_none());
    }
}

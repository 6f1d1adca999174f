//! From Google's events to one iCalendar text.
//!
//! Owns: how each field is shown. The same events always give the same bytes: nothing in them is of the present.
//! Does not own: which events belong together (`series`), what can be written back (`write`).

use std::collections::BTreeSet;

use bytes::Bytes;

use super::rule::Recurrence;
use super::when::{Frame, instant};
use super::write::not_yielded;
use super::{Event, Person, STATUS, TIME, color, words};
use crate::bridge::google::series::Parts;
use crate::ical::busy::utc_text;
use crate::ical::value::DAY;
use crate::ical::zone::{Zones, vtimezone};
use crate::ical::{Ical, fold, quote_parameter, value};

/// How far around its times a zone is described: before and after, in seconds.
const AROUND: (i64, i64) = (366 * DAY, 5 * 366 * DAY);

/// Returns the text of an event or of a whole series under this UID. Nothing: it has no time.
pub(in crate::bridge::google) fn text(parts: &Parts, uid: &str) -> Option<Bytes> {
    let master = Shown::of(&parts.master)?;
    let (recurrence, mut overrides) = match parts.master.recurs() || !parts.exceptions.is_empty() {
        true => instances(parts, &master),
        false => (Recurrence::default(), Vec::new()),
    };
    overrides.sort_by_key(|(original, _)| *original);
    let mut out = String::with_capacity(1024);
    out.push_str("BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//Kalends//EN\r\n");
    let shown: Vec<&Shown> =
        std::iter::once(&master).chain(overrides.iter().map(|(_, shown)| shown)).collect();
    zones(&shown, &mut out);
    let mut times = Vec::new();
    times.extend(recurrence.rules.iter().cloned());
    times.extend(recurrence.rdates.iter().map(|at| master.frame.line("RDATE", *at)));
    times.extend(recurrence.exdates.iter().map(|at| master.frame.line("EXDATE", *at)));
    master.component(uid, None, &times, &mut out);
    for (original, shown) in &overrides {
        let id = master.frame.line("RECURRENCE-ID", *original);
        shown.component(uid, Some(id), &[], &mut out);
    }
    out.push_str("END:VCALENDAR\r\n");
    Some(Bytes::from(out))
}

/// Returns the instances that the lines of `recurrence` leave out, not those that are cancelled exceptions.
pub(in crate::bridge::google) fn left_out(master: &Event) -> BTreeSet<i64> {
    Shown::of(master).map(|shown| recurrence(master, &shown).exdates).unwrap_or_default()
}

/// Returns how the series recurs and what its exceptions say, each with the moment that it stands for.
fn instances(parts: &Parts, master: &Shown) -> (Recurrence, Vec<(i64, Shown)>) {
    let mut recurrence = recurrence(&parts.master, master);
    let mut overrides: Vec<(i64, Shown)> = Vec::new();
    let mut cancelled = BTreeSet::new();
    for event in &parts.exceptions {
        let Some(original) = event.original_start_time.as_ref().and_then(|t| master.frame.moment_of(t))
        else {
            continue;
        };
        if event.is_cancelled() {
            cancelled.insert(original);
            continue;
        }
        let Some(shown) = Shown::of(event) else { continue };
        // Google keeps exceptions that say nothing of their own; other programs would show them as edited.
        if !shown.is_plain_instance(master, original) {
            overrides.retain(|(other, _)| *other != original);
            overrides.push((original, shown));
        }
    }
    // What a rule no longer yields is still kept there as left out.
    let strangers = not_yielded(&master.frame, master.start, &recurrence, cancelled.iter().copied());
    recurrence.exdates.extend(cancelled.difference(&strangers));
    // What is left out twice, by a line and by an exception that takes place, takes place.
    for (original, _) in &overrides {
        recurrence.exdates.remove(original);
    }
    (recurrence, overrides)
}

/// Reads the lines of `recurrence`.
fn recurrence(event: &Event, master: &Shown) -> Recurrence {
    let mut text = String::from("BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\n");
    for line in event.recurrence.iter().flatten() {
        let name = line.split([':', ';']).next().unwrap_or_default().trim().to_ascii_uppercase();
        if matches!(name.as_str(), "RRULE" | "EXRULE" | "RDATE" | "EXDATE") && line.contains(':') {
            fold(line, &mut text);
        }
    }
    text.push_str("END:VEVENT\r\nEND:VCALENDAR\r\n");
    let Ok(ical) = Ical::parse(text) else { return Recurrence::default() };
    let component = ical.calendar().and_then(|c| c.components().next());
    let read = |component| {
        Recurrence::of(component, &Zones::of(&ical), &master.frame, master.start, master.end - master.start)
    };
    component.map(read).unwrap_or_default()
}

/// One component, ready to be written.
struct Shown {
    frame: Frame,
    start: i64,
    end_frame: Frame,
    end: i64,
    stamps: Vec<String>,
    says: Vec<String>,
    alarms: Vec<String>,
}

impl Shown {
    fn of(event: &Event) -> Option<Shown> {
        let floating = event.mark(TIME) == Some("floating");
        let (frame, start) = Frame::of_google(event.start.as_ref()?, floating)?;
        let (end_frame, end) = match event.end.as_ref().and_then(|end| Frame::of_google(end, floating)) {
            // An end of the other kind is no end of this.
            Some((end_frame, end)) if end_frame.is_date() == frame.is_date() => (end_frame, end),
            _ => (frame.clone(), start + if frame.is_date() { DAY } else { 0 }),
        };
        Some(Shown {
            frame,
            start,
            end_frame,
            end,
            stamps: stamps(event),
            says: says(event),
            alarms: alarms(event),
        })
    }

    /// True if the event says of this instance what the series says of it anyway.
    fn is_plain_instance(&self, master: &Shown, original: i64) -> bool {
        let clock = |shown: &Shown| match &shown.frame {
            Frame::Timed { zone, .. } => zone.to_civil(shown.end).0 - zone.to_civil(shown.start).0,
            Frame::Date => shown.end - shown.start,
        };
        let lasts = self.end - self.start == master.end - master.start || clock(self) == clock(master);
        self.start == original
            && lasts
            && self.frame == master.frame
            && self.end_frame == master.end_frame
            && self.says == master.says
            && self.alarms == master.alarms
    }

    fn component(&self, uid: &str, id: Option<String>, times: &[String], out: &mut String) {
        out.push_str("BEGIN:VEVENT\r\n");
        fold(&format!("UID:{uid}"), out);
        let start = self.frame.line("DTSTART", self.start);
        let end = self.end_frame.line("DTEND", self.end);
        let lines = self.stamps.iter().chain(&id).chain([&start, &end]).chain(times).chain(&self.says);
        for line in lines {
            fold(line, out);
        }
        for alarm in &self.alarms {
            out.push_str(alarm);
        }
        out.push_str("END:VEVENT\r\n");
    }
}

/// Describes each zone that is named.
fn zones(shown: &[&Shown], out: &mut String) {
    let frames = || shown.iter().flat_map(|s| [(&s.frame, s.start), (&s.end_frame, s.end)]);
    let names: BTreeSet<&str> = frames().filter_map(|(frame, _)| frame.tzid()).collect();
    let from = frames().map(|(_, at)| at).min().unwrap_or_default();
    let to = frames().map(|(_, at)| at).max().unwrap_or_default();
    for name in names {
        out.push_str(&vtimezone(name, from - AROUND.0, to + AROUND.1).unwrap_or_default());
    }
}

/// RFC 5545 §3.8.7. Without `METHOD`, DTSTAMP is when the object was last written.
fn stamps(event: &Event) -> Vec<String> {
    let read = |text: &Option<String>| text.as_deref().and_then(instant);
    let (created, updated) = (read(&event.created), read(&event.updated));
    let mut lines = vec![format!("DTSTAMP:{}", utc_text(updated.or(created).unwrap_or_default()))];
    lines.extend(created.map(|at| format!("CREATED:{}", utc_text(at))));
    lines.extend(updated.map(|at| format!("LAST-MODIFIED:{}", utc_text(at))));
    lines.extend(event.sequence.filter(|n| *n >= 0).map(|n| format!("SEQUENCE:{n}")));
    lines
}

/// Returns all that the event says besides when it is.
fn says(event: &Event) -> Vec<String> {
    let mut lines = Vec::new();
    let mut say = |name: &str, text: &str| {
        if !text.trim().is_empty() {
            lines.push(format!("{name}:{}", value::escape(text)));
        }
    };
    say("SUMMARY", event.summary.as_deref().unwrap_or_default());
    say("DESCRIPTION", &words::text(event.description.as_deref().unwrap_or_default()));
    say("LOCATION", event.location.as_deref().unwrap_or_default());
    let free = event.transparency.as_deref() == Some("transparent");
    let status = match event.status.as_deref() {
        _ if event.mark(STATUS) == Some("cancelled") && free => "CANCELLED",
        Some("tentative") => "TENTATIVE",
        _ => "CONFIRMED",
    };
    lines.push(format!("STATUS:{status}"));
    lines.push(format!("TRANSP:{}", if free { "TRANSPARENT" } else { "OPAQUE" }));
    lines.extend(match event.visibility.as_deref() {
        Some("public") => Some("CLASS:PUBLIC".to_owned()),
        Some("private") => Some("CLASS:PRIVATE".to_owned()),
        Some("confidential") => Some("CLASS:CONFIDENTIAL".to_owned()),
        _ => None,
    });
    lines.extend(event.color_id.as_deref().and_then(color::name).map(|name| format!("COLOR:{name}")));
    let url = event.source.as_ref().and_then(|source| source.url.as_deref()).filter(|url| !url.is_empty());
    lines.extend(url.map(|url| format!("URL:{url}")));
    lines.extend(conferences(event));
    lines.extend(kind(event));
    let attendees = event.attendees.as_deref().unwrap_or_default();
    if !attendees.is_empty() {
        lines.extend(event.organizer.as_ref().and_then(organizer));
        lines.extend(attendees.iter().filter_map(attendee));
    }
    lines
}

/// What sort of event it is, where it is not an ordinary one.
fn kind(event: &Event) -> Option<String> {
    let kind = event.event_type.as_deref().filter(|kind| *kind != "default")?;
    kind.chars().all(|c| c.is_ascii_alphanumeric()).then(|| format!("X-GOOGLE-EVENT-TYPE:{kind}"))
}

/// RFC 7986 §5.11. It is shown and never written: a conference belongs to one event.
fn conferences(event: &Event) -> Vec<String> {
    let entries =
        event.conference_data.as_ref().and_then(|data| data.entry_points.as_deref()).unwrap_or_default();
    let mut lines: Vec<String> = entries
        .iter()
        .filter_map(|entry| {
            let uri = entry.uri.as_deref().filter(|uri| !uri.is_empty())?;
            let feature = match entry.entry_point_type.as_deref() {
                Some("video") => ";FEATURE=AUDIO,VIDEO",
                Some("phone") => ";FEATURE=PHONE",
                Some("more") => return None,
                _ => "",
            };
            let label = entry.label.as_deref().filter(|label| !label.is_empty());
            let label = label.map(|label| format!(";LABEL={}", quote_parameter(label))).unwrap_or_default();
            Some(format!("CONFERENCE;VALUE=URI{feature}{label}:{uri}"))
        })
        .collect();
    if lines.is_empty() {
        let link = event.hangout_link.as_deref().filter(|link| !link.is_empty());
        lines.extend(link.map(|link| format!("CONFERENCE;VALUE=URI;FEATURE=AUDIO,VIDEO:{link}")));
    }
    lines
}

fn named(person: &Person) -> String {
    let name = person.display_name.as_deref().filter(|name| !name.trim().is_empty());
    name.map(|name| format!(";CN={}", quote_parameter(name))).unwrap_or_default()
}

fn organizer(person: &Person) -> Option<String> {
    let email = person.email.as_deref().filter(|email| !email.is_empty())?;
    Some(format!("ORGANIZER{}:mailto:{email}", named(person)))
}

fn attendee(person: &Person) -> Option<String> {
    let email = person.email.as_deref().filter(|email| !email.is_empty())?;
    let kind = if person.resource { ";CUTYPE=RESOURCE" } else { "" };
    let role = if person.optional { "OPT-PARTICIPANT" } else { "REQ-PARTICIPANT" };
    let status = match person.response_status.as_deref() {
        Some("accepted") => "ACCEPTED",
        Some("declined") => "DECLINED",
        Some("tentative") => "TENTATIVE",
        _ => "NEEDS-ACTION",
    };
    Some(format!("ATTENDEE{}{kind};ROLE={role};PARTSTAT={status}:mailto:{email}", named(person)))
}

/// RFC 5545 §3.6.6. The calendar's own reminders are not shown: the account has them anyway, here they would ring
/// a second time.
fn alarms(event: &Event) -> Vec<String> {
    let Some(reminders) = event.reminders.as_ref().filter(|reminders| !reminders.use_default) else {
        return Vec::new();
    };
    let all: BTreeSet<(i64, &str)> = reminders
        .overrides
        .iter()
        .flatten()
        .filter(|reminder| reminder.minutes >= 0)
        .map(|reminder| (reminder.minutes, if reminder.method == "email" { "EMAIL" } else { "DISPLAY" }))
        .collect();
    all.into_iter().map(|(minutes, action)| alarm(minutes, action)).collect()
}

fn alarm(minutes: i64, action: &str) -> String {
    let trigger = match minutes {
        0 => "PT0S".to_owned(),
        n if n % 1440 == 0 => format!("-P{}D", n / 1440),
        n if n % 60 == 0 => format!("-PT{}H", n / 60),
        n => format!("-PT{n}M"),
    };
    // An EMAIL alarm must have a summary and somebody to send it to; whom Google writes to is the account's affair.
    let more = match action {
        "EMAIL" => "SUMMARY:Reminder\r\nATTENDEE:mailto:owner@calendar.invalid\r\n",
        _ => "",
    };
    format!(
        "BEGIN:VALARM\r\nACTION:{action}\r\nTRIGGER:{trigger}\r\nDESCRIPTION:Reminder\r\n{more}END:VALARM\r\n"
    )
}

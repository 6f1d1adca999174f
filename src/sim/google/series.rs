//! Series: which instances a master has, and what they are called.
//!
//! Owns: names of instances, an instance as an event. Does not own: what a rule yields (`ical::series`).

use serde_json::{Value, json};

use super::refusal::{Outcome, Refusal};
use super::state::{Fields, recurs};
use super::time::{DAY, Moment};
use crate::ical::Ical;
use crate::ical::series::{Series, TimeRange};
use crate::ical::value::Civil;
use crate::ical::zone::Zone;

/// Instances of one series that one answer looks at.
const MOST: usize = 5000;

/// When an event takes place.
#[derive(Debug, Clone)]
pub(super) struct Span {
    pub(super) start: Moment,
    pub(super) end: Moment,
}

/// Reads the times of a kept event.
pub(super) fn span(fields: &Fields) -> Option<Span> {
    let read = |name: &str| Moment::read(fields.get(name)?, name, &Zone::Utc).ok();
    Some(Span { start: read("start")?, end: read("end")? })
}

/// Returns the times of its instances that overlap a range, by their original start.
pub(super) fn starts(master: &Fields, range: TimeRange) -> Vec<i64> {
    let Some(series) = read(master) else { return Vec::new() };
    let mut starts: Vec<i64> =
        series.instances(range, &Zone::Utc, MOST).list.iter().map(|instance| instance.start).collect();
    starts.dedup();
    starts
}

/// Tells whether one of its instances begins exactly then.
pub(super) fn has(master: &Fields, start: i64) -> bool {
    starts(master, TimeRange { start, end: start + 1 }).contains(&start)
}

/// Tells whether the event, or an instance of the series, overlaps a range.
pub(super) fn overlaps(fields: &Fields, range: TimeRange) -> bool {
    if recurs(fields) {
        return read(fields).is_some_and(|series| series.overlaps(range, &Zone::Utc));
    }
    span(fields).is_none_or(|span| span.end.seconds() > range.start && span.start.seconds() < range.end)
}

fn read(master: &Fields) -> Option<Series> {
    let span = span(master)?;
    let mut text = String::from("BEGIN:VCALENDAR\r\nVERSION:2.0\r\nBEGIN:VEVENT\r\nUID:x\r\n");
    for (name, moment) in [("DTSTART", &span.start), ("DTEND", &span.end)] {
        let line = match moment {
            Moment::Day(civil) => format!("{name};VALUE=DATE:{}\r\n", civil.to_date()),
            Moment::Instant(at, Zone::Utc) => format!("{name}:{}Z\r\n", Civil(*at).to_basic()),
            Moment::Instant(at, zone) => {
                format!("{name};TZID={}:{}\r\n", zone.name().unwrap_or("UTC"), zone.to_civil(*at).to_basic())
            }
        };
        text.push_str(&line);
    }
    for line in master.get("recurrence").and_then(Value::as_array).into_iter().flatten() {
        text.push_str(line.as_str().unwrap_or_default());
        text.push_str("\r\n");
    }
    text.push_str("END:VEVENT\r\nEND:VCALENDAR\r\n");
    Ical::parse(text).ok().map(|ical| Series::of(&ical))
}

/// Refuses what cannot stand in `recurrence`.
pub(super) fn check(master: &Fields) -> Outcome<()> {
    let bad = || Refusal::invalid("recurrence", "Invalid recurrence rule.");
    for line in master.get("recurrence").and_then(Value::as_array).into_iter().flatten() {
        let line = line.as_str().unwrap_or_default();
        let (head, value) = line.split_once(':').ok_or_else(bad)?;
        let name = head.split(';').next().unwrap_or_default();
        let good = match name.to_ascii_uppercase().as_str() {
            "RRULE" | "EXRULE" => crate::ical::recur::Rule::parse(value).is_ok(),
            "RDATE" | "EXDATE" => {
                value.split(',').all(|date| Civil::parse(date.split('/').next().unwrap_or("")).is_some())
            }
            _ => false,
        };
        if !good || line.contains(['\r', '\n']) {
            return Err(bad());
        }
    }
    match read(master) {
        Some(series) if series.note().is_none() => Ok(()),
        _ => Err(bad()),
    }
}

/// Returns the name of an instance.
pub(super) fn name(master: &str, original: &Moment) -> String {
    match original {
        Moment::Day(civil) => format!("{master}_{}", civil.to_date()),
        Moment::Instant(at, _) => format!("{master}_{}Z", Civil(*at).to_basic()),
    }
}

/// Reads the name of an instance: the master and the original start.
pub(super) fn named(id: &str) -> Option<(&str, i64)> {
    let (master, stamp) = id.rsplit_once('_')?;
    let timed = stamp.len() == 16 && stamp.ends_with('Z');
    let civil = Civil::parse(stamp).filter(|_| timed || stamp.len() == 8)?;
    Some((master, civil.0))
}

/// Returns an instance of a series that nobody has changed, as an event; `None` if the series has none then.
pub(super) fn instance(master: &Fields, start: i64) -> Option<Fields> {
    has(master, start).then(|| untouched(master, start)).flatten()
}

/// Returns the instance that begins then, without looking whether the series has it.
pub(super) fn untouched(master: &Fields, start: i64) -> Option<Fields> {
    let span = span(master)?;
    let begins = span.start.moved_to(start);
    // RFC 5545 §3.8.5.3: every instance lasts as long as the first.
    let ends = span.end.moved_to(start + span.end.seconds() - span.start.seconds());
    let mut fields = master.clone();
    fields.remove("recurrence");
    let id = master.get("id").and_then(Value::as_str).unwrap_or_default();
    fields.insert("id".into(), json!(name(id, &begins)));
    fields.insert("recurringEventId".into(), json!(id));
    fields.insert("originalStartTime".into(), begins.render(zone_of(&begins)));
    fields.insert("start".into(), begins.render(zone_of(&begins)));
    fields.insert("end".into(), ends.render(zone_of(&ends)));
    Some(fields)
}

/// Returns the zone that a moment was told in.
pub(super) fn zone_of(moment: &Moment) -> &Zone {
    match moment {
        Moment::Day(_) => &Zone::Utc,
        Moment::Instant(_, zone) => zone,
    }
}

/// Returns how far instances are listed where the question has no end: five years.
pub(super) fn horizon(now: i64) -> i64 {
    now + 5 * 366 * DAY
}

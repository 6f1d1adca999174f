//! Time zones: from a TZID and perhaps a VTIMEZONE to offsets, and from an IANA zone to a VTIMEZONE's text.
//!
//! Owns: which zone a TZID means, wall clock ↔ instant in gaps and overlaps, VTIMEZONE read and written.
//! Does not own: which wall-clock times occur (`recur`, `series`).
//!
//! IANA data is compiled in. A zone's table is built at its first use and kept for the life of the process, so that
//! a TZID costs a binary search among the names.

mod names;
mod table;
mod vtimezone;
mod windows;

use std::sync::Arc;

pub use names::{Iana, by_tzid, windows_name};
pub use table::Table;
pub use vtimezone::vtimezone;

use super::tree::{Component, Ical};
use super::value::Civil;

/// A rule that turns wall-clock times into instants.
#[derive(Debug, Clone)]
pub enum Zone {
    /// UTC.
    Utc,
    /// A fixed offset in seconds east of Greenwich.
    Fixed(i32),
    /// A zone of the IANA database.
    Iana(&'static Iana),
    /// A zone that only a VTIMEZONE describes.
    Custom(Arc<Table>),
}

impl PartialEq for Zone {
    fn eq(&self, other: &Zone) -> bool {
        match (self, other) {
            (Zone::Utc, Zone::Utc) => true,
            (Zone::Fixed(a), Zone::Fixed(b)) => a == b,
            (Zone::Iana(a), Zone::Iana(b)) => std::ptr::eq(*a, *b),
            (Zone::Custom(a), Zone::Custom(b)) => Arc::ptr_eq(a, b) || a == b,
            _ => false,
        }
    }
}

impl Eq for Zone {}

impl Zone {
    /// Returns the instant (seconds since 1970 UTC) of a wall-clock time.
    ///
    /// RFC 5545 §3.3.5: a time that a gap skips is read with the offset before the gap; of a time that occurs twice
    /// the first is meant.
    pub fn to_instant(&self, civil: Civil) -> i64 {
        match self {
            Zone::Utc => civil.0,
            Zone::Fixed(offset) => civil.0 - i64::from(*offset),
            Zone::Iana(zone) => zone.table().instant(civil),
            Zone::Custom(table) => table.instant(civil),
        }
    }

    /// Returns the wall-clock time of an instant.
    pub fn to_civil(&self, instant: i64) -> Civil {
        match self {
            Zone::Utc => Civil(instant),
            Zone::Fixed(offset) => Civil(instant + i64::from(*offset)),
            Zone::Iana(zone) => zone.table().civil(instant),
            Zone::Custom(table) => table.civil(instant),
        }
    }

    /// Returns the IANA name, if it has one.
    pub fn name(&self) -> Option<&str> {
        match self {
            Zone::Utc => Some("UTC"),
            Zone::Iana(zone) => Some(zone.name()),
            Zone::Fixed(_) | Zone::Custom(_) => None,
        }
    }

    /// Returns the bytes that the zone keeps for itself alone.
    pub fn heap_bytes(&self) -> usize {
        match self {
            Zone::Custom(table) => size_of::<Table>() + table.heap_bytes(),
            _ => 0,
        }
    }
}

/// The zones that one object's TZIDs mean.
#[derive(Debug, Clone, Copy)]
pub struct Zones<'a> {
    calendar: Option<Component<'a>>,
}

impl<'a> Zones<'a> {
    /// Looks at the VTIMEZONEs of an object.
    pub fn of(ical: &'a Ical) -> Zones<'a> {
        Zones { calendar: ical.calendar() }
    }

    /// Returns the zone of a TZID: what the name says by itself (IANA, Windows, a path before it), else what the
    /// object's VTIMEZONE says, else what an Outlook display name says. Nothing: read the time as floating.
    ///
    /// A VTIMEZONE whose TZID IANA knows is not read: copies in events are often years old.
    pub fn zone(&self, tzid: &str) -> Option<Zone> {
        by_tzid(tzid).or_else(|| self.described(tzid)).or_else(|| names::by_display(tzid))
    }

    fn described(&self, tzid: &str) -> Option<Zone> {
        let tzid = tzid.trim();
        let found = self.calendar?.named("VTIMEZONE").find(|zone| {
            zone.property("TZID").is_some_and(|name| {
                let (raw, text) = (name.raw(), name.text());
                [raw.trim(), text.trim()].iter().any(|name| name.eq_ignore_ascii_case(tzid))
            })
        })?;
        vtimezone::read(found)
    }
}

/// Returns the zone that a whole iCalendar text with one VTIMEZONE describes: the value of `CALDAV:timezone` and
/// `CALDAV:calendar-timezone` (RFC 4791 §5.2.2 and §9.8).
pub fn from_vtimezone_text(text: &str) -> Option<Zone> {
    let ical = Ical::parse(text.trim_start().to_owned()).ok()?;
    let zone = match ical.calendar() {
        Some(calendar) => calendar.named("VTIMEZONE").next()?,
        None => ical.roots().find(|root| root.name() == "VTIMEZONE")?,
    };
    let named = zone.property("TZID").and_then(|name| by_tzid(&name.text()));
    named.or_else(|| vtimezone::read(zone))
}

#[cfg(test)]
mod tests;

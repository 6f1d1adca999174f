//! The content of an object as a short digest that is the same for every way of writing the same thing.
//!
//! Owns: what counts as content when two sides are compared. Does not own: merging (`ical::merge`).
//!
//! Left out, because servers and clients rewrite them without anybody having changed anything: `DTSTAMP`, `CREATED`,
//! `LAST-MODIFIED`, `SEQUENCE`, `PRODID`, `VERSION`, `CALSCALE`, `METHOD`, and the definitions of time zones (their names stay, in the `TZID`
//! of each time). Order of lines and parameters, folding, quoting and case of names do not count either.

use crate::ical::{Component, Ical, Property};
use crate::store::Etag;

/// Properties that say when or by what something was written, not what it is.
const BOOKKEEPING: [&str; 8] =
    ["DTSTAMP", "CREATED", "LAST-MODIFIED", "SEQUENCE", "PRODID", "VERSION", "CALSCALE", "METHOD"];

/// Returns the digest of the object's content.
pub fn print(ical: &Ical) -> String {
    let mut parts: Vec<String> = ical.roots().map(component).collect();
    parts.sort();
    digest(parts.join("\n").as_bytes())
}

/// Returns a digest of any bytes: 32 hexadecimal digits.
pub fn digest(bytes: &[u8]) -> String {
    Etag::of(bytes).0
}

/// Returns when the object says it was last changed: the latest `LAST-MODIFIED`, in seconds since 1970.
pub fn last_modified(ical: &Ical) -> Option<i64> {
    stamp(ical, "LAST-MODIFIED")
}

/// Returns when the object says it was written: the latest `DTSTAMP`, in seconds since 1970.
pub fn written(ical: &Ical) -> Option<i64> {
    stamp(ical, "DTSTAMP")
}

fn stamp(ical: &Ical, name: &str) -> Option<i64> {
    let calendar = ical.calendar()?;
    calendar.components().filter_map(|c| c.property(name)).filter_map(|p| utc(&p.raw())).max()
}

/// RFC 5545 §3.8.7: these stamps are UTC; one without the `Z` is read as if it had one.
fn utc(text: &str) -> Option<i64> {
    let text = text.trim().trim_end_matches('Z');
    jiff::civil::DateTime::strptime("%Y%m%dT%H%M%S", text)
        .ok()?
        .to_zoned(jiff::tz::TimeZone::UTC)
        .ok()
        .map(|at| at.timestamp().as_second())
}

fn component(component: Component<'_>) -> String {
    let mut lines: Vec<String> =
        component.properties().filter(|p| !BOOKKEEPING.contains(&p.name())).map(property).collect();
    lines.sort();
    let mut children: Vec<String> =
        component.components().filter(|c| c.name() != "VTIMEZONE").map(self::component).collect();
    children.sort();
    format!("({}\n{}\n{})", component.name(), lines.join("\n"), children.join("\n"))
}

fn property(property: Property<'_>) -> String {
    let mut parameters: Vec<String> = property
        .parameters()
        .into_iter()
        .filter(|(name, _)| !name.starts_with("X-VOBJ"))
        .map(|(name, values)| format!(";{}={}", name.to_ascii_uppercase(), values.join("\u{1}")))
        // RFC 5545 §3.2.20: the default type of a value need not be told.
        .filter(|p| {
            !matches!((property.name(), p.as_str()), ("DTSTART" | "DTEND" | "DUE", ";VALUE=DATE-TIME"))
        })
        .collect();
    parameters.sort();
    format!("{}{}:{}", property.name(), parameters.concat(), value(&property))
}

fn value(property: &Property<'_>) -> String {
    let raw = property.raw();
    match property.name() {
        // RFC 5545 §3.3.10: the parts of a rule may come in any order.
        "RRULE" | "EXRULE" => sorted(&raw.to_ascii_uppercase(), ';'),
        "EXDATE" | "RDATE" => sorted(&raw, ','),
        // A comma inside a category differs from one between two.
        "CATEGORIES" | "RESOURCES" => raw.into_owned(),
        _ => property.text(),
    }
}

fn sorted(list: &str, by: char) -> String {
    let mut parts: Vec<&str> = list.split(by).filter(|p| !p.is_empty()).collect();
    parts.sort_unstable();
    parts.join("\n")
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use super::*;

    fn of(text: &str) -> String {
        print(&Ical::parse(text.as_bytes().to_vec()).unwrap())
    }

    const EVENT: &str = "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:a\r\nBEGIN:VEVENT\r\nUID:1\r\n\
        DTSTAMP:20260101T000000Z\r\nDTSTART;TZID=Europe/Berlin:20260105T090000\r\nRRULE:FREQ=DAILY;COUNT=3\r\n\
        SUMMARY:Tea\\, please\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n";

    #[test]
    fn another_way_of_writing_is_the_same_content() {
        let same = "BEGIN:VCALENDAR\nPRODID:b\nVERSION:2.0\nBEGIN:VEVENT\nSUMMARY:Tea\\,\n  plea\n se\n\
            dtstart;TZID=\"Europe/Berlin\":20260105T090000\nrrule:COUNT=3;FREQ=DAILY\nSEQUENCE:4\n\
            DTSTAMP:20260202T000000Z\nLAST-MODIFIED:20260202T000000Z\nUID:1\nEND:VEVENT\n\
            BEGIN:VTIMEZONE\nTZID:Europe/Berlin\nEND:VTIMEZONE\nEND:VCALENDAR\n";
        assert_eq!(of(EVENT), of(same));
    }

    #[test]
    fn every_change_of_content_changes_the_print() {
        for (from, to) in [
            ("Tea", "Te"),
            ("COUNT=3", "COUNT=4"),
            ("Europe/Berlin", "Europe/Paris"),
            ("T090000", "T090001"),
            ("UID:1", "UID:2"),
            ("END:VEVENT", "BEGIN:VALARM\r\nACTION:DISPLAY\r\nEND:VALARM\r\nEND:VEVENT"),
            ("UID:1", "UID:1\r\nX-PRIVATE:1"),
        ] {
            assert_ne!(of(EVENT), of(&EVENT.replace(from, to)), "{from} → {to}");
        }
    }

    #[test]
    fn the_latest_stamp_of_all_components_counts() {
        let two = EVENT.replace(
            "END:VEVENT\r\n",
            "LAST-MODIFIED:20260101T000000Z\r\nEND:VEVENT\r\nBEGIN:VEVENT\r\nUID:1\r\n\
             RECURRENCE-ID:20260106T080000Z\r\nLAST-MODIFIED:19700101T000100Z\r\nEND:VEVENT\r\n",
        );
        let ical = Ical::parse(two.into_bytes()).unwrap();
        assert_eq!(last_modified(&ical), Some(1_767_225_600));
        assert_eq!(written(&ical), Some(1_767_225_600));
        assert_eq!(last_modified(&Ical::parse(EVENT.as_bytes().to_vec()).unwrap()), None);
    }
}

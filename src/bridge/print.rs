//! The content of an object as a short digest that is the same for every way of writing the same thing.
//!
//! Owns: what counts as content when two sides are compared. Does not own: merging (`ical::merge`).
//!
//! Left out, because servers and clients rewrite them without anybody having changed anything: `DTSTAMP`, `CREATED`,
//! `LAST-MODIFIED`, `SEQUENCE`, `PRODID`, `VERSION`, `CALSCALE`, `METHOD`, and the definitions of time zones. Not told apart
//! either: the order of lines, parameters and values of a set; folding, quoting, case of names; values that are spelled
//! out and mean the default; a text that is empty and one that is not there; an end and the length that leads to it; two
//! spellings of one moment, where only the moment counts, and two names of one zone.

use crate::ical::value::{self, Civil, DateTime, Duration, PeriodEnd};
use crate::ical::zone::{Zone, Zones};
use crate::ical::{Component, Ical, Property};
use crate::store::Etag;

/// Properties that say when or by what something was written, not what it is.
const BOOKKEEPING: [&str; 8] =
    ["DTSTAMP", "CREATED", "LAST-MODIFIED", "SEQUENCE", "PRODID", "VERSION", "CALSCALE", "METHOD"];
/// Texts that say nothing when they are empty.
const TEXTS: [&str; 7] = ["SUMMARY", "DESCRIPTION", "LOCATION", "COMMENT", "CONTACT", "URL", "COLOR"];
/// RFC 5545 §3.8.1.3, §3.8.2.7, §3.8.1.9: what these say that are not there.
const DEFAULTS: [(&str, &str); 3] = [("CLASS", "PUBLIC"), ("TRANSP", "OPAQUE"), ("PRIORITY", "0")];
/// RFC 5545 §3.2 and §3.8.6.3: parameters that say what is so without them.
const DEFAULT_PARAMETERS: [(&str, &str); 8] = [
    ("VALUE", "TEXT"),
    ("ENCODING", "8BIT"),
    ("CUTYPE", "INDIVIDUAL"),
    ("ROLE", "REQ-PARTICIPANT"),
    ("PARTSTAT", "NEEDS-ACTION"),
    ("RSVP", "FALSE"),
    ("RELTYPE", "PARENT"),
    ("RELATED", "START"),
];
/// Seconds of a day.
const DAY: i64 = 86_400;

/// Returns the digest of the object's content.
pub fn print(ical: &Ical) -> String {
    print_without(ical, &[])
}

/// Returns the digest of the content, whatever these properties say.
pub fn print_without(ical: &Ical, names: &[&str]) -> String {
    let zones = Zones::of(ical);
    let mut parts: Vec<String> = ical.roots().map(|root| component(root, zones, names)).collect();
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

fn component(component: Component<'_>, zones: Zones<'_>, without: &[&str]) -> String {
    let mut lines: Vec<String> = Vec::new();
    for property in component.properties().filter(|property| !without.contains(&property.name())) {
        say(component, property, zones, &mut lines);
    }
    lines.extend(end(component, zones));
    lines.sort();
    // Said twice is said once.
    lines.dedup();
    let children = component.components().filter(|c| c.name() != "VTIMEZONE");
    let mut children: Vec<String> = children.map(|child| self::component(child, zones, without)).collect();
    children.sort();
    format!("({}\n{}\n{})", component.name(), lines.join("\n"), children.join("\n"))
}

/// Adds what the property says.
fn say(component: Component<'_>, property: Property<'_>, zones: Zones<'_>, lines: &mut Vec<String>) {
    let name = property.name();
    if BOOKKEEPING.contains(&name) {
        return;
    }
    match name {
        // The end is said once, however it is written.
        "DTEND" | "DUE" | "DURATION" if is_timed(component) => {}
        "DTSTART" | "RECURRENCE-ID" => lines.push(match value::date_time(&property) {
            Some(at) => {
                let range = property.parameter("RANGE").map(|r| r.to_ascii_uppercase()).unwrap_or_default();
                let said = if name == "DTSTART" { in_zone(&at, zones) } else { moment(&at, zones) };
                format!("{name}{range}:{said}")
            }
            None => line(&property),
        }),
        "EXDATE" | "RDATE" => {
            let (moments, unread) = value::date_times(&property);
            if unread > 0 {
                return lines.push(line(&property));
            }
            lines.extend(moments.iter().map(|m| {
                let end = match &m.end {
                    Some(PeriodEnd::At(end)) => format!("/{}", moment(end, zones)),
                    Some(PeriodEnd::After(length)) => {
                        format!("/{}", moment(&after(&m.start, *length, zones), zones))
                    }
                    None => String::new(),
                };
                format!("{name}:{}{end}", moment(&m.start, zones))
            }));
        }
        // RFC 5545 §3.8.1.2: a comma inside a category differs from one between two.
        "CATEGORIES" | "RESOURCES" => {
            let values = split_unescaped(&property.raw());
            let values = values.iter().map(|part| value::unescape(part).trim().to_owned());
            lines.extend(values.filter(|v| !v.is_empty()).map(|v| format!("{name}{}:{v}", head(&property))));
        }
        _ if TEXTS.contains(&name) && property.raw().trim().is_empty() => {}
        _ if is_default(name, &property) => {}
        _ => lines.push(line(&property)),
    }
}

fn is_default(name: &str, property: &Property<'_>) -> bool {
    let said = property.raw();
    DEFAULTS.iter().any(|(of, default)| *of == name && said.trim().eq_ignore_ascii_case(default))
}

/// Components whose end may be written in several ways.
fn is_timed(component: Component<'_>) -> bool {
    matches!(component.name(), "VEVENT" | "VTODO")
        && component.property("DTSTART").is_some_and(|p| value::date_time(&p).is_some())
}

/// RFC 5545 §3.6.1: DTEND, or DTSTART and DURATION; with neither a day, or no time at all.
fn end(component: Component<'_>, zones: Zones<'_>) -> Option<String> {
    let start =
        component.property("DTSTART").and_then(|p| value::date_time(&p)).filter(|_| is_timed(component))?;
    let written = component.property("DTEND").or_else(|| component.property("DUE"));
    let end = match (written, component.property("DURATION")) {
        (Some(written), _) => match value::date_time(&written) {
            Some(end) => end,
            None => return Some(line(&written)),
        },
        (None, Some(length)) => match Duration::parse(&length.raw()) {
            Some(length) => after(&start, length, zones),
            None => return Some(line(&length)),
        },
        (None, None) if component.name() == "VTODO" => return None,
        (None, None) if start.is_date() => after(&start, Duration { days: 1, seconds: 0 }, zones),
        (None, None) => start,
    };
    Some(format!("END:{}", moment(&end, zones)))
}

/// RFC 5545 §3.3.6: days as the wall clock counts, the rest exact.
fn after(start: &DateTime, length: Duration, zones: Zones<'_>) -> DateTime {
    let days = length.days.saturating_mul(DAY);
    let whole = |civil: &Civil| Civil(civil.0.saturating_add(days).saturating_add(length.seconds));
    match start {
        DateTime::Date(day) => DateTime::Date(whole(day).midnight()),
        DateTime::Floating(civil) => DateTime::Floating(whole(civil)),
        DateTime::Utc(civil) => DateTime::Utc(whole(civil)),
        DateTime::Zoned(civil, tzid) => match zones.zone(tzid) {
            Some(zone) => {
                let day = zone.to_instant(Civil(civil.0.saturating_add(days)));
                DateTime::Utc(Civil(day.saturating_add(length.seconds)))
            }
            None => DateTime::Zoned(whole(civil), tzid.clone()),
        },
    }
}

/// A time of which only the moment counts: an exception, an end.
fn moment(at: &DateTime, zones: Zones<'_>) -> String {
    match at {
        DateTime::Zoned(civil, tzid) => match zones.zone(tzid) {
            Some(zone) => format!("{}Z", Civil(zone.to_instant(*civil)).to_basic()),
            None => in_zone(at, zones),
        },
        _ => in_zone(at, zones),
    }
}

/// A time of which the zone counts as well: a series that moves to another zone takes place at other times.
fn in_zone(at: &DateTime, zones: Zones<'_>) -> String {
    match at {
        DateTime::Date(day) => day.to_date(),
        DateTime::Floating(civil) => civil.to_basic(),
        DateTime::Utc(civil) => format!("{}Z", civil.to_basic()),
        DateTime::Zoned(civil, tzid) => match zones.zone(tzid) {
            Some(Zone::Utc) => format!("{}Z", civil.to_basic()),
            Some(zone) => format!("{} {}", zone.name().unwrap_or(tzid), civil.to_basic()),
            None => format!("{tzid} {}", civil.to_basic()),
        },
    }
}

/// Any other property: its name, what its parameters add, its value.
fn line(property: &Property<'_>) -> String {
    format!("{}{}:{}", property.name(), head(property), said(property))
}

fn head(property: &Property<'_>) -> String {
    let of = property.name();
    let mut parameters: Vec<String> = property
        .parameters()
        .into_iter()
        .filter(|(name, _)| !name.starts_with("X-VOBJ"))
        .map(|(name, values)| (name.to_ascii_uppercase(), values.join("\u{1}")))
        .filter(|(name, value)| {
            let is = |(of, default): &(&str, &str)| of == name && value.eq_ignore_ascii_case(default);
            let by_type = matches!(
                (of, name.as_str(), value.to_ascii_uppercase().as_str()),
                ("TRIGGER", "VALUE", "DURATION")
                    | ("URL" | "ATTACH", "VALUE", "URI")
                    | ("DTSTART" | "DTEND" | "DUE", "VALUE", "DATE-TIME")
            );
            !by_type && !DEFAULT_PARAMETERS.iter().any(is)
        })
        .map(|(name, value)| format!(";{name}={value}"))
        .collect();
    parameters.sort();
    parameters.concat()
}

fn said(property: &Property<'_>) -> String {
    let raw = property.raw();
    match property.name() {
        "RRULE" | "EXRULE" => rule(&raw),
        "STATUS" | "CLASS" | "TRANSP" | "ACTION" => raw.trim().to_ascii_uppercase(),
        "TRIGGER" | "DURATION" => match Duration::parse(&raw) {
            Some(length) => format!("{} {}", length.days, length.seconds),
            None => raw.trim().to_owned(),
        },
        // RFC 3986 §3.1: a scheme has no case; mail addresses have none in practice.
        "ATTENDEE" | "ORGANIZER" => raw.trim().to_ascii_lowercase(),
        _ => property.text(),
    }
}

/// RFC 5545 §3.3.10: the parts of a rule may come in any order and case, and so may the values of a part.
fn rule(raw: &str) -> String {
    let upper = raw.to_ascii_uppercase();
    let mut parts: Vec<String> = upper
        .split(';')
        .map(str::trim)
        .filter(|part| !matches!(*part, "" | "INTERVAL=1" | "WKST=MO"))
        .map(|part| match part.split_once('=') {
            Some((name, values)) => {
                let mut values: Vec<&str> =
                    values.split(',').map(|v| v.trim().trim_start_matches('+')).collect();
                values.sort_unstable();
                values.dedup();
                format!("{name}={}", values.join(","))
            }
            None => part.to_owned(),
        })
        .collect();
    parts.sort_unstable();
    parts.join(";")
}

/// RFC 5545 §3.3.11: a comma with a backslash before it is part of the value.
pub(super) fn split_unescaped(raw: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut escaped = false;
    for c in raw.chars() {
        if c == ',' && !escaped {
            parts.push(String::new());
            continue;
        }
        escaped = c == '\\' && !escaped;
        if let Some(last) = parts.last_mut() {
            last.push(c);
        }
    }
    parts
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

    fn event(lines: &str) -> String {
        of(&format!("BEGIN:VCALENDAR\nBEGIN:VEVENT\nUID:1\n{lines}END:VEVENT\nEND:VCALENDAR\n"))
    }

    // sync-patterns §4: what does not converge elsewhere
    #[test]
    fn what_means_the_same_prints_the_same() {
        const BERLIN: &str = "DTSTART;TZID=Europe/Berlin:20260105T090000\n";
        let zoned = |lines: &str| format!("{BERLIN}{lines}");
        let rows = [
            // A set, however it is spread over lines.
            (
                "EXDATE:20260101T080000Z,20260102T080000Z\n",
                "EXDATE:20260102T080000Z\nEXDATE:20260101T080000Z\n",
            ),
            ("RDATE;VALUE=DATE-TIME:20260101T080000Z\n", "RDATE:20260101T080000Z\n"),
            ("EXDATE;TZID=Europe/Berlin:20260105T090000\n", "EXDATE:20260105T080000Z\n"),
            ("EXDATE;VALUE=DATE:20260105\n", "EXDATE:20260105\n"),
            ("RECURRENCE-ID;TZID=Europe/Berlin:20260105T090000\n", "RECURRENCE-ID:20260105T080000Z\n"),
            (
                "RDATE;VALUE=PERIOD:20260101T080000Z/PT1H\n",
                "RDATE;VALUE=PERIOD:20260101T080000Z/20260101T090000Z\n",
            ),
            ("CATEGORIES:a,b\n", "CATEGORIES:b\nCATEGORIES:a,a\n"),
            // Rules.
            ("RRULE:FREQ=WEEKLY;INTERVAL=1;BYDAY=MO,+TU;WKST=MO\n", "RRULE:BYDAY=TU,MO;freq=weekly\n"),
            // Defaults, and texts that say nothing.
            ("CLASS:public\nTRANSP:OPAQUE\nPRIORITY:0\nLOCATION:\n", ""),
            ("STATUS:confirmed\n", "STATUS:CONFIRMED\n"),
            (
                "ATTENDEE;ROLE=REQ-PARTICIPANT;PARTSTAT=NEEDS-ACTION;RSVP=FALSE;CUTYPE=INDIVIDUAL:MAILTO:a@x\n",
                "ATTENDEE:mailto:a@x\n",
            ),
            (
                "BEGIN:VALARM\nTRIGGER;VALUE=DURATION;RELATED=START:-PT15M\nEND:VALARM\n",
                "BEGIN:VALARM\nTRIGGER:-P0DT0H15M0S\nEND:VALARM\n",
            ),
        ];
        for (one, other) in rows {
            assert_eq!(event(one), event(other), "{one} and {other}");
        }
        let times = [
            (zoned("DTEND;TZID=Europe/Berlin:20260105T100000\n"), zoned("DURATION:PT1H\n")),
            (zoned("DTEND;TZID=Europe/Berlin:20260105T100000\n"), zoned("DTEND:20260105T090000Z\n")),
            (zoned("DTEND;TZID=Europe/Berlin:20260105T090000\n"), zoned("")),
            (zoned(""), "DTSTART;TZID=W. Europe Standard Time:20260105T090000\n".to_owned()),
            ("DTSTART;TZID=UTC:20260105T090000\n".to_owned(), "DTSTART:20260105T090000Z\n".to_owned()),
            (
                "DTSTART;VALUE=DATE:20260105\n".to_owned(),
                "DTSTART;VALUE=DATE:20260105\nDTEND;VALUE=DATE:20260106\n".to_owned(),
            ),
            (
                "DTSTART;VALUE=DATE:20260105\nDURATION:P1W\n".to_owned(),
                "DTSTART;VALUE=DATE:20260105\nDTEND;VALUE=DATE:20260112\n".to_owned(),
            ),
            // Over the change to summer time a day has 23 hours.
            (
                "DTSTART;TZID=Europe/Berlin:20260328T120000\nDURATION:P1D\n".to_owned(),
                "DTSTART;TZID=Europe/Berlin:20260328T120000\nDTEND;TZID=Europe/Berlin:20260329T120000\n"
                    .to_owned(),
            ),
        ];
        for (one, other) in &times {
            assert_eq!(event(one), event(other), "{one} and {other}");
        }
    }

    #[test]
    fn what_means_something_else_prints_something_else() {
        let rows = [
            ("EXDATE:20260101T080000Z\n", "EXDATE:20260101T090000Z\n"),
            ("EXDATE:20260101T080000Z\n", "RDATE:20260101T080000Z\n"),
            ("EXDATE;VALUE=DATE:20260105\n", "EXDATE:20260105T000000Z\n"),
            ("CATEGORIES:a,b\n", "CATEGORIES:a\\,b\n"),
            ("RRULE:FREQ=WEEKLY;INTERVAL=1\n", "RRULE:FREQ=WEEKLY;INTERVAL=10\n"),
            ("RRULE:FREQ=WEEKLY;BYDAY=-1MO\n", "RRULE:FREQ=WEEKLY;BYDAY=1MO\n"),
            ("TRANSP:TRANSPARENT\n", "TRANSP:OPAQUE\n"),
            ("ATTENDEE;PARTSTAT=ACCEPTED:mailto:a@x\n", "ATTENDEE:mailto:a@x\n"),
            // The zone of a start is content: a series would take place at other times.
            ("DTSTART;TZID=Europe/Berlin:20260105T090000\n", "DTSTART:20260105T080000Z\n"),
            ("DTSTART;TZID=Europe/Berlin:20260105T090000\n", "DTSTART:20260105T090000\n"),
            ("DTSTART;VALUE=DATE:20260105\n", "DTSTART:20260105T000000\n"),
            ("RECURRENCE-ID:20260105T080000Z\n", "RECURRENCE-ID;RANGE=THISANDFUTURE:20260105T080000Z\n"),
            (
                "BEGIN:VALARM\nTRIGGER:-PT15M\nEND:VALARM\n",
                "BEGIN:VALARM\nTRIGGER;RELATED=END:-PT15M\nEND:VALARM\n",
            ),
            ("X-OWN:\n", ""),
        ];
        for (one, other) in rows {
            assert_ne!(event(one), event(other), "{one} and {other}");
        }
    }

    proptest::proptest! {
        #[test]
        fn an_end_and_the_length_that_leads_to_it_are_one(
            start in 0i64..4_000_000_000,
            length in 0i64..10_000_000,
            zone in proptest::sample::select(vec!["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata"]),
        ) {
            let found = crate::ical::zone::Zones::of(&Ical::parse(EVENT).unwrap()).zone(zone).unwrap();
            let begun = found.to_civil(start);
            proptest::prop_assume!(found.to_instant(begun) == start);
            let until = found.to_civil(start + length);
            proptest::prop_assume!(found.to_instant(until) == start + length);
            let head = format!("DTSTART;TZID={zone}:{}\n", begun.to_basic());
            let by_end = event(&format!("{head}DTEND;TZID={zone}:{}\n", until.to_basic()));
            proptest::prop_assert_eq!(&by_end, &event(&format!("{head}DURATION:PT{length}S\n")));
            let utc = Civil(start + length).to_basic();
            proptest::prop_assert_eq!(&by_end, &event(&format!("{head}DTEND:{utc}Z\n")));
            proptest::prop_assert_ne!(&by_end, &event(&format!("{head}DURATION:PT{}S\n", length + 1)));
        }

        #[test]
        fn a_set_has_no_order(days in proptest::collection::btree_set(1u32..28, 1..12), cut in 0usize..12) {
            let all: Vec<String> = days.iter().map(|day| format!("202601{day:02}T080000Z")).collect();
            let (first, second) = all.split_at(cut.min(all.len()));
            let backwards = |part: &[String]| {
                let mut part = part.to_vec();
                part.reverse();
                if part.is_empty() { String::new() } else { format!("EXDATE:{}\n", part.join(",")) }
            };
            let one = event(&format!("EXDATE:{}\n", all.join(",")));
            proptest::prop_assert_eq!(&one, &event(&format!("{}{}", backwards(second), backwards(first))));
            let fewer = all.get(1..).unwrap_or_default();
            proptest::prop_assert_ne!(&one, &event(&backwards(fewer)));
        }
    }
}

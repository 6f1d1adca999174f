//! Working hours: VAVAILABILITY (RFC 7953), read once, asked often.
//!
//! Owns: which times a set of VAVAILABILITY components leaves open. Does not own: what else makes somebody busy (`busy`),
//! where such a text comes from (`calendar::booking`).
//!
//! An AVAILABLE recurs like an event does, so that it is read as one: rules, exceptions and zones are those of `series`.

use super::busy::{Busy, BusyType, free, intersect, merge, subtract};
use super::series::{Series, TimeRange};
use super::tree::{Component, Ical, Property};
use super::value::{self, Civil, DateTime, Duration};
use super::zone::{Zone, Zones};

/// Instances of one AVAILABLE that are looked at for one answer.
const MOST: usize = 20_000;

/// The properties that say when an AVAILABLE is.
const WHEN: [&str; 10] = [
    "UID",
    "SEQUENCE",
    "DTSTART",
    "DTEND",
    "DURATION",
    "RRULE",
    "RDATE",
    "EXDATE",
    "EXRULE",
    "RECURRENCE-ID",
];

/// When somebody can be asked for something.
#[derive(Debug, Clone)]
pub struct Availability {
    /// The weakest first.
    blocks: Vec<Block>,
}

/// One VAVAILABILITY.
#[derive(Debug, Clone)]
struct Block {
    /// RFC 7953 §3.1: 1 is the strongest, 9 the weakest of those that say something; here 0 is written as 10.
    rank: u8,
    kind: BusyType,
    start: Option<Edge>,
    end: Option<Edge>,
    open: Vec<Series>,
}

/// One end of a VAVAILABILITY; without a zone it is where whoever asks is.
#[derive(Debug, Clone)]
struct Edge {
    civil: Civil,
    zone: Option<Zone>,
    /// Exact seconds after it.
    more: i64,
}

impl Edge {
    fn instant(&self, floating: &Zone) -> i64 {
        self.zone.as_ref().unwrap_or(floating).to_instant(self.civil) + self.more
    }
}

impl Availability {
    /// Reads a text: a VCALENDAR with VAVAILABILITYs, or these alone.
    ///
    /// # Errors
    /// A sentence that says what is not understood. Half-understood hours would offer what nobody offers.
    pub fn parse(text: &str) -> Result<Availability, String> {
        let ical = Ical::parse(text.trim_start().to_owned()).map_err(|problem| problem.reason)?;
        let zones = Zones::of(&ical);
        let mut blocks = Vec::new();
        let within = ical.calendar().map(|calendar| calendar.components().collect::<Vec<_>>());
        for component in within.unwrap_or_else(|| ical.roots().collect()) {
            match component.name() {
                "VAVAILABILITY" => blocks.push(block(&ical, &zones, component)?),
                "VTIMEZONE" => {}
                other => return Err(format!("a {other} has no place among working hours")),
            }
        }
        if blocks.is_empty() {
            return Err("the text holds no VAVAILABILITY".to_owned());
        }
        blocks.sort_by_key(|block| std::cmp::Reverse(block.rank));
        Ok(Availability { blocks })
    }

    /// Returns the times within the range that nothing closes, in order, none touching another.
    ///
    /// RFC 7953 §4: of VAVAILABILITYs that overlap the one of the higher priority decides; what none of them covers is
    /// open.
    pub fn open(&self, range: TimeRange, floating: &Zone) -> Vec<(i64, i64)> {
        free(&self.closed(range, floating), range)
    }

    fn closed(&self, range: TimeRange, floating: &Zone) -> Vec<Busy> {
        let mut closed: Vec<Busy> = Vec::new();
        for block in &self.blocks {
            let start = block.start.as_ref().map_or(range.start, |edge| edge.instant(floating));
            let end = block.end.as_ref().map_or(range.end, |edge| edge.instant(floating));
            let whole = Busy { start: start.max(range.start), end: end.min(range.end), kind: block.kind };
            if whole.start >= whole.end {
                continue;
            }
            let mut available = Vec::new();
            let within = TimeRange { start: whole.start, end: whole.end };
            for series in &block.open {
                let found = series.instances(within, floating, MOST);
                available.extend(found.list.iter().map(|instance| Busy {
                    start: instance.start,
                    end: instance.end,
                    kind: block.kind,
                }));
            }
            let available = intersect(&[whole], &merge(available));
            closed = subtract(&closed, &[whole]);
            closed.extend(subtract(&[whole], &available));
            closed.sort_unstable();
        }
        merge(closed)
    }
}

fn block(ical: &Ical, zones: &Zones<'_>, component: Component<'_>) -> Result<Block, String> {
    let raw = |name: &str| component.property(name).map(|property| property.raw().trim().to_owned());
    let rank = match raw("PRIORITY").map(|text| text.parse::<u8>()) {
        None | Some(Ok(0)) => 10,
        Some(Ok(rank @ 1..=9)) => rank,
        Some(_) => return Err("PRIORITY is a number from 0 to 9".to_owned()),
    };
    // RFC 7953 §3.2: what is not said is BUSY-UNAVAILABLE; what is not known counts as that too.
    let kind = match raw("BUSYTYPE").map(|text| text.to_ascii_uppercase()).as_deref() {
        Some("BUSY") => BusyType::Busy,
        Some("BUSY-TENTATIVE") => BusyType::Tentative,
        _ => BusyType::Unavailable,
    };
    let edge = |name: &str| component.property(name).map(|property| edge(zones, property)).transpose();
    let start = edge("DTSTART")?;
    let end = match (edge("DTEND")?, raw("DURATION"), &start) {
        (Some(end), _, _) => Some(end),
        (None, Some(text), Some(start)) => {
            let length = Duration::parse(&text).ok_or("the DURATION of a VAVAILABILITY cannot be read")?;
            let civil = Civil(start.civil.0 + length.days * 86_400);
            Some(Edge { civil, more: start.more + length.seconds, ..start.clone() })
        }
        (None, Some(_), None) => return Err("a DURATION needs a DTSTART".to_owned()),
        (None, None, _) => None,
    };
    Ok(Block { rank, kind, start, end, open: open(ical, component)? })
}

fn edge(zones: &Zones<'_>, property: Property<'_>) -> Result<Edge, String> {
    let unread = || format!("{} on line {} is not a time", property.name(), property.line());
    let time = value::date_time(&property).ok_or_else(unread)?;
    let zone = match &time {
        DateTime::Date(_) | DateTime::Floating(_) => None,
        DateTime::Utc(_) => Some(Zone::Utc),
        DateTime::Zoned(_, tzid) => {
            Some(zones.zone(tzid).ok_or_else(|| format!("the time zone \"{tzid}\" is not known"))?)
        }
    };
    Ok(Edge { civil: time.civil(), zone, more: 0 })
}

/// Reads the AVAILABLEs: those of one UID are a series with its exceptions.
fn open(ical: &Ical, within: Component<'_>) -> Result<Vec<Series>, String> {
    let mut groups: Vec<(Option<String>, String)> = Vec::new();
    for available in within.named("AVAILABLE") {
        if available.property("DTSTART").is_none() {
            return Err(format!("the AVAILABLE on line {} has no DTSTART", available.line()));
        }
        let uid = available.property("UID").map(|uid| uid.text());
        let mut text = "BEGIN:VEVENT\r\n".to_owned();
        for property in available.properties().filter(|property| WHEN.contains(&property.name())) {
            super::fold(&property.logical(), &mut text);
        }
        text.push_str("END:VEVENT\r\n");
        match groups.iter_mut().find(|(known, _)| known.is_some() && *known == uid) {
            Some((_, group)) => group.push_str(&text),
            None => groups.push((uid, text)),
        }
    }
    let mut frame = "BEGIN:VCALENDAR\r\n".to_owned();
    for zone in ical.calendar().iter().flat_map(|calendar| calendar.named("VTIMEZONE").collect::<Vec<_>>()) {
        let bytes = ical.bytes().get(zone.span()).unwrap_or_default();
        frame.push_str(&String::from_utf8_lossy(bytes));
        if !frame.ends_with('\n') {
            frame.push_str("\r\n");
        }
    }
    let mut all = Vec::with_capacity(groups.len());
    for (_, group) in groups {
        let text = format!("{frame}{group}END:VCALENDAR\r\n");
        let series = Series::of(&Ical::parse(text).map_err(|problem| problem.reason)?);
        if let Some(note) = series.note() {
            return Err(note.to_owned());
        }
        all.push(series);
    }
    Ok(all)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use super::*;
    use crate::ical::busy::utc_text;
    use crate::ical::zone::by_tzid;

    fn at(text: &str) -> i64 {
        Civil::parse(text).unwrap().0
    }

    fn open(lines: &str, from: &str, to: &str, zone: &str) -> Vec<String> {
        let text = format!("BEGIN:VCALENDAR\n{lines}\nEND:VCALENDAR\n").replace('\n', "\r\n");
        let hours = Availability::parse(&text).unwrap();
        let range = TimeRange { start: at(from), end: at(to) };
        let found = hours.open(range, &by_tzid(zone).unwrap());
        found.iter().map(|(start, end)| format!("{}/{}", utc_text(*start), utc_text(*end))).collect()
    }

    const WEEKDAYS: &str = "BEGIN:VAVAILABILITY\nUID:1\nDTSTAMP:20260101T000000Z\nBEGIN:AVAILABLE\nUID:2\n\
         DTSTART;TZID=Europe/Berlin:20260105T090000\nDTEND;TZID=Europe/Berlin:20260105T170000\n\
         RRULE:FREQ=WEEKLY;BYDAY=MO,TU,WE,TH,FR\nEND:AVAILABLE\nEND:VAVAILABILITY";

    // RFC 7953 §3.1, B-23: nine o'clock stays nine o'clock when the clock is changed.
    #[test]
    fn hours_follow_the_wall_clock() {
        assert_eq!(
            open(WEEKDAYS, "20260327", "20260331", "UTC"),
            ["20260327T080000Z/20260327T160000Z", "20260330T070000Z/20260330T150000Z"]
        );
    }

    // RFC 7953 §4: the higher priority decides where both say something.
    #[test]
    fn the_higher_priority_decides() {
        let closed = "BEGIN:VAVAILABILITY\nUID:3\nDTSTAMP:20260101T000000Z\nPRIORITY:1\n\
             DTSTART;TZID=Europe/Berlin:20260106T000000\nDURATION:P1D\nEND:VAVAILABILITY";
        let both = format!("{closed}\n{WEEKDAYS}");
        assert_eq!(
            open(&both, "20260105", "20260108", "UTC"),
            ["20260105T080000Z/20260105T160000Z", "20260107T080000Z/20260107T160000Z"]
        );
        let longer = "BEGIN:VAVAILABILITY\nUID:3\nDTSTAMP:20260101T000000Z\nPRIORITY:2\n\
             DTSTART;TZID=Europe/Berlin:20260106T000000\nDTEND;TZID=Europe/Berlin:20260107T000000\n\
             BEGIN:AVAILABLE\nUID:4\nDTSTART;TZID=Europe/Berlin:20260106T200000\nDURATION:PT1H\nEND:AVAILABLE\n\
             END:VAVAILABILITY";
        let both = format!("{WEEKDAYS}\n{longer}");
        assert_eq!(open(&both, "20260106", "20260107", "UTC"), ["20260106T190000Z/20260106T200000Z"]);
    }

    #[test]
    fn what_nothing_covers_is_open_and_floating_hours_are_the_owners() {
        let day = "BEGIN:VAVAILABILITY\nUID:1\nDTSTART:20260106T000000\nDTEND:20260107T000000\n\
             BEGIN:AVAILABLE\nUID:2\nDTSTART:20260106T100000\nDTEND:20260106T120000\nEND:AVAILABLE\nEND:VAVAILABILITY";
        assert_eq!(
            open(day, "20260105T200000", "20260107T100000", "Europe/Berlin"),
            [
                "20260105T200000Z/20260105T230000Z",
                "20260106T090000Z/20260106T110000Z",
                "20260106T230000Z/20260107T100000Z"
            ]
        );
    }

    // RFC 7953 §3.1: an AVAILABLE has exceptions like an event.
    #[test]
    fn a_day_of_the_hours_can_be_moved_or_left_out() {
        let lines = WEEKDAYS.replace(
            "END:AVAILABLE",
            "EXDATE;TZID=Europe/Berlin:20260106T090000\nEND:AVAILABLE\nBEGIN:AVAILABLE\nUID:2\n\
             RECURRENCE-ID;TZID=Europe/Berlin:20260107T090000\nDTSTART;TZID=Europe/Berlin:20260107T120000\n\
             DTEND;TZID=Europe/Berlin:20260107T130000\nEND:AVAILABLE",
        );
        assert_eq!(
            open(&lines, "20260105", "20260108", "UTC"),
            ["20260105T080000Z/20260105T160000Z", "20260107T110000Z/20260107T120000Z"]
        );
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for bad in [
            "nothing",
            "BEGIN:VCALENDAR\r\nEND:VCALENDAR\r\n",
            "BEGIN:VAVAILABILITY\r\nPRIORITY:x\r\nEND:VAVAILABILITY\r\n",
            "BEGIN:VAVAILABILITY\r\nDTSTART;TZID=Nowhere/Land:20260101T000000\r\nEND:VAVAILABILITY\r\n",
            "BEGIN:VAVAILABILITY\r\nDURATION:P1D\r\nEND:VAVAILABILITY\r\n",
            "BEGIN:VAVAILABILITY\r\nBEGIN:AVAILABLE\r\nEND:AVAILABLE\r\nEND:VAVAILABILITY\r\n",
            "BEGIN:VAVAILABILITY\r\nBEGIN:AVAILABLE\r\nDTSTART:20260101T000000Z\r\nDURATION:PT1H\r\nRRULE:FREQ=NEVER\r\nEND:AVAILABLE\r\nEND:VAVAILABILITY\r\n",
            "BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\nUID:1\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n",
        ] {
            assert!(Availability::parse(bad).is_err(), "{bad}");
        }
    }
}

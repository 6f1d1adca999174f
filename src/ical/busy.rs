//! Busy time (RFC 4791 §7.10) and the algebra of periods.
//!
//! Owns: which instances make a calendar busy, merging, subtracting and clipping periods, the VFREEBUSY answer.
//! Does not own: which instances there are (`series`), which calendars count (the doors).

use std::fmt::Write;

use super::series::{Kind, Series, TimeRange};
use super::value::Civil;
use super::zone::Zone;

/// The kinds of time that is not free (RFC 5545 §3.2.9), the weakest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BusyType {
    /// BUSY-TENTATIVE.
    Tentative,
    /// BUSY-UNAVAILABLE.
    Unavailable,
    /// BUSY.
    Busy,
}

impl BusyType {
    /// From the strongest on.
    const STRONGEST_FIRST: [BusyType; 3] = [BusyType::Busy, BusyType::Unavailable, BusyType::Tentative];

    /// Reads an FBTYPE. Nothing: FREE. RFC 5545 §3.2.9: what is not known counts as BUSY.
    pub fn of(fbtype: &str) -> Option<BusyType> {
        Some(match fbtype.trim().to_ascii_uppercase().as_str() {
            "FREE" => return None,
            "BUSY-TENTATIVE" => BusyType::Tentative,
            "BUSY-UNAVAILABLE" => BusyType::Unavailable,
            _ => BusyType::Busy,
        })
    }

    /// Returns the value of FBTYPE.
    pub fn as_str(self) -> &'static str {
        match self {
            BusyType::Tentative => "BUSY-TENTATIVE",
            BusyType::Unavailable => "BUSY-UNAVAILABLE",
            BusyType::Busy => "BUSY",
        }
    }
}

/// A period of busy time, in seconds since 1970 UTC, its end not part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Busy {
    /// When it begins.
    pub start: i64,
    /// When it ends.
    pub end: i64,
    /// How busy.
    pub kind: BusyType,
}

/// No object may contribute more periods than this to one answer: whoever gets so many must not take them for all.
pub const MOST: usize = 50_000;

/// Returns the busy time of one object within the range, clipped to it, in no order.
///
/// RFC 4791 §7.10: VEVENTs unless TRANSP is TRANSPARENT or STATUS is CANCELLED, those with STATUS TENTATIVE as
/// BUSY-TENTATIVE; VFREEBUSYs with the type of each period; nothing else.
pub fn busy(series: &Series, range: TimeRange, floating: &Zone) -> Vec<Busy> {
    let mut found = Vec::new();
    match series.kind() {
        Kind::Event => {
            series.walk(range, floating, &mut |instance| {
                if let Some(kind) = instance.busy {
                    found.extend(clip(Busy { start: instance.start, end: instance.end, kind }, range));
                }
                found.len() < MOST
            });
        }
        Kind::FreeBusy => {
            let periods = series.periods.iter().filter(|(_, free)| !free);
            found.extend(periods.filter_map(|(period, _)| clip(*period, range)));
        }
        Kind::Todo | Kind::Journal | Kind::Other => {}
    }
    found
}

/// Returns the part of a period that lies within the range.
pub fn clip(period: Busy, range: TimeRange) -> Option<Busy> {
    let (start, end) = (period.start.max(range.start), period.end.min(range.end));
    (start < end).then_some(Busy { start, end, ..period })
}

/// Returns the periods sorted, none touching another of its kind, and where two kinds meet only the stronger.
pub fn merge(mut periods: Vec<Busy>) -> Vec<Busy> {
    periods.retain(|period| period.start < period.end);
    periods.sort_unstable();
    let mut stronger: Vec<Busy> = Vec::new();
    for kind in BusyType::STRONGEST_FIRST {
        let own = joined(periods.iter().filter(|period| period.kind == kind).copied());
        let own = if stronger.is_empty() { own } else { subtract(&own, &stronger) };
        stronger.extend(own);
        stronger.sort_unstable();
    }
    stronger
}

/// Joins sorted periods that touch, whatever their kind; the first one's kind stays.
fn joined(sorted: impl Iterator<Item = Busy>) -> Vec<Busy> {
    let mut out: Vec<Busy> = Vec::new();
    for period in sorted {
        match out.last_mut() {
            Some(last) if last.end >= period.start => last.end = last.end.max(period.end),
            _ => out.push(period),
        }
    }
    out
}

/// Returns what is left of `from` without `what`. Both are sorted; those of `from` do not overlap.
pub fn subtract(from: &[Busy], what: &[Busy]) -> Vec<Busy> {
    let what = joined(what.iter().copied());
    let mut out = Vec::with_capacity(from.len());
    for period in from {
        let mut start = period.start;
        let first = what.partition_point(|cut| cut.end <= start);
        for cut in what.iter().skip(first).take_while(|cut| cut.start < period.end) {
            if cut.start > start {
                out.push(Busy { start, end: cut.start, ..*period });
            }
            start = start.max(cut.end);
        }
        if start < period.end {
            out.push(Busy { start, ..*period });
        }
    }
    out
}

/// Returns what both have in common, with the kind of the first. Both are sorted; neither overlaps itself.
pub fn intersect(one: &[Busy], other: &[Busy]) -> Vec<Busy> {
    let other = joined(other.iter().copied());
    let mut out = Vec::new();
    for period in one {
        let first = other.partition_point(|cut| cut.end <= period.start);
        for cut in other.iter().skip(first).take_while(|cut| cut.start < period.end) {
            out.extend(clip(*period, TimeRange { start: cut.start, end: cut.end }));
        }
    }
    out
}

/// Returns what is not busy within the range: (start, end). The periods are sorted.
pub fn free(periods: &[Busy], range: TimeRange) -> Vec<(i64, i64)> {
    let whole = Busy { start: range.start, end: range.end, kind: BusyType::Busy };
    subtract(&[whole], periods).into_iter().map(|period| (period.start, period.end)).collect()
}

/// Returns an instant as `19970714T133000Z`.
pub fn utc_text(instant: i64) -> String {
    let mut text = Civil(instant).to_basic();
    text.push('Z');
    text
}

/// Returns a VCALENDAR with one VFREEBUSY for the range: the answer to a free-busy-query (RFC 4791 §7.10).
///
/// The periods are merged; each stands on its own line, so that no line needs folding.
pub fn vfreebusy(range: TimeRange, periods: &[Busy], stamp: i64) -> String {
    let merged = merge(periods.to_vec());
    let mut out = String::with_capacity(256 + merged.len() * 50);
    out.push_str("BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//Kalends//Kalends//EN\r\nBEGIN:VFREEBUSY\r\n");
    // Writing to a String cannot fail.
    let _ = write!(
        out,
        "UID:free-busy-{}-{}-{stamp}\r\nDTSTAMP:{}\r\nDTSTART:{}\r\nDTEND:{}\r\n",
        range.start,
        range.end,
        utc_text(stamp),
        utc_text(range.start),
        utc_text(range.end)
    );
    for period in &merged {
        let parameter = match period.kind {
            BusyType::Busy => String::new(),
            kind => format!(";FBTYPE={}", kind.as_str()),
        };
        let _ = write!(out, "FREEBUSY{parameter}:{}/{}\r\n", utc_text(period.start), utc_text(period.end));
    }
    out.push_str("END:VFREEBUSY\r\nEND:VCALENDAR\r\n");
    out
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use super::*;
    use crate::ical::tree::Ical;

    use BusyType::{Busy as B, Tentative as T, Unavailable as U};

    fn period((start, end, kind): (i64, i64, BusyType)) -> Busy {
        Busy { start, end, kind }
    }

    fn periods(list: &[(i64, i64, BusyType)]) -> Vec<Busy> {
        list.iter().copied().map(period).collect()
    }

    fn of(lines: &str, from: &str, to: &str) -> Vec<(String, String, BusyType)> {
        let text = format!("BEGIN:VCALENDAR\r\n{}\r\nEND:VCALENDAR\r\n", lines.replace('\n', "\r\n"));
        let series = Series::of(&Ical::parse(text).unwrap());
        let at = |text: &str| Civil::parse(text).map(|civil| civil.0);
        let range = TimeRange::new(at(from), at(to));
        let found = merge(busy(&series, range, &Zone::Utc));
        found.iter().map(|p| (utc_text(p.start), utc_text(p.end), p.kind)).collect()
    }

    #[test]
    fn merging_sorts_joins_and_lets_the_stronger_win() {
        type Periods = &'static [(i64, i64, BusyType)];
        let table: [(Periods, Periods); 6] = [
            (&[(5, 7, B), (1, 3, B), (3, 5, B)], &[(1, 7, B)]),
            (&[(1, 9, B), (2, 3, B)], &[(1, 9, B)]),
            (&[(1, 9, T), (3, 5, B)], &[(1, 3, T), (3, 5, B), (5, 9, T)]),
            (&[(1, 9, T), (3, 5, U), (4, 6, B)], &[(1, 3, T), (3, 4, U), (4, 6, B), (6, 9, T)]),
            (&[(1, 1, B), (5, 4, B)], &[]),
            (&[(1, 4, B), (4, 6, T), (6, 8, B)], &[(1, 4, B), (4, 6, T), (6, 8, B)]),
        ];
        for (input, expected) in table {
            assert_eq!(merge(periods(input)), periods(expected), "{input:?}");
        }
    }

    #[test]
    fn subtracting_intersecting_and_what_is_free() {
        let day = periods(&[(0, 10, B), (20, 30, T)]);
        assert_eq!(
            subtract(&day, &periods(&[(2, 4, B), (8, 22, B)])),
            periods(&[(0, 2, B), (4, 8, B), (22, 30, T)])
        );
        assert_eq!(subtract(&day, &[]), day);
        assert_eq!(subtract(&day, &periods(&[(-5, 50, T)])), []);
        assert_eq!(
            intersect(&day, &periods(&[(5, 25, B), (29, 40, B)])),
            periods(&[(5, 10, B), (20, 25, T), (29, 30, T)])
        );
        assert_eq!(free(&day, TimeRange { start: -5, end: 25 }), [(-5, 0), (10, 20)]);
        assert_eq!(free(&[], TimeRange { start: 1, end: 2 }), [(1, 2)]);
    }

    #[test]
    fn events_make_busy_as_their_status_and_transparency_say() {
        // RFC 4791 §7.10
        let event = |more: &str| {
            let lines = format!(
                "BEGIN:VEVENT\nUID:1\nDTSTART:20250310T100000Z\nDTEND:20250310T110000Z\n{more}END:VEVENT"
            );
            of(&lines, "20250310T103000", "20250311")
        };
        let clipped = |kind| vec![("20250310T103000Z".to_owned(), "20250310T110000Z".to_owned(), kind)];
        assert_eq!(event(""), clipped(B));
        assert_eq!(event("TRANSP:OPAQUE\nSTATUS:CONFIRMED\n"), clipped(B));
        assert_eq!(event("STATUS:TENTATIVE\n"), clipped(T));
        assert_eq!(event("TRANSP:TRANSPARENT\n"), []);
        assert_eq!(event("STATUS:CANCELLED\n"), []);
        assert_eq!(
            of("BEGIN:VEVENT\nUID:1\nDTSTART:20250310T100000Z\nEND:VEVENT", "20250310", "20250311"),
            []
        );
        assert_eq!(
            of(
                "BEGIN:VTODO\nUID:1\nDTSTART:20250310T100000Z\nDURATION:PT1H\nEND:VTODO",
                "20250310",
                "20250311"
            ),
            []
        );
    }

    #[test]
    fn a_cancelled_instance_is_not_busy_but_takes_place_in_the_series() {
        let lines = "BEGIN:VEVENT\nUID:1\nDTSTART:20250310T100000Z\nDURATION:PT1H\nRRULE:FREQ=DAILY;COUNT=3\nEND:VEVENT\n\
                     BEGIN:VEVENT\nUID:1\nRECURRENCE-ID:20250311T100000Z\nDTSTART:20250311T100000Z\nDURATION:PT1H\n\
                     STATUS:CANCELLED\nEND:VEVENT";
        let days: Vec<String> = of(lines, "20250310", "20250320").into_iter().map(|p| p.0).collect();
        assert_eq!(days, ["20250310T100000Z", "20250312T100000Z"]);
        let text = format!("BEGIN:VCALENDAR\r\n{}\r\nEND:VCALENDAR\r\n", lines.replace('\n', "\r\n"));
        let series = Series::of(&Ical::parse(text).unwrap());
        let at = |text: &str| Civil::parse(text).map(|civil| civil.0);
        assert!(series.overlaps(TimeRange::new(at("20250311"), at("20250312")), &Zone::Utc));
    }

    #[test]
    fn stored_free_busy_counts_with_its_types() {
        let lines = "BEGIN:VFREEBUSY\nUID:1\nFREEBUSY;FBTYPE=FREE:20250310T080000Z/PT1H\n\
                     FREEBUSY;FBTYPE=BUSY-UNAVAILABLE:20250310T100000Z/20250310T110000Z,20250310T110000Z/PT30M\n\
                     FREEBUSY;FBTYPE=X-OTHER:20250310T120000Z/PT1H\nEND:VFREEBUSY";
        assert_eq!(
            of(lines, "20250310", "20250311"),
            [
                ("20250310T100000Z".to_owned(), "20250310T113000Z".to_owned(), U),
                ("20250310T120000Z".to_owned(), "20250310T130000Z".to_owned(), B),
            ]
        );
    }

    #[test]
    fn the_answer_is_one_vfreebusy() {
        let range = TimeRange { start: 1_741_564_800, end: 1_741_651_200 };
        let text = vfreebusy(
            range,
            &periods(&[(1_741_600_800, 1_741_604_400, B), (1_741_604_400, 1_741_608_000, T)]),
            1_700_000_000,
        );
        assert!(text.contains("DTSTART:20250310T000000Z\r\nDTEND:20250311T000000Z\r\n"), "{text}");
        assert!(text.contains("FREEBUSY:20250310T100000Z/20250310T110000Z\r\n"), "{text}");
        assert!(
            text.contains("FREEBUSY;FBTYPE=BUSY-TENTATIVE:20250310T110000Z/20250310T120000Z\r\n"),
            "{text}"
        );
        assert!(text.lines().all(|line| line.len() <= 75));
        let read = Series::of(&Ical::parse(text).unwrap());
        assert_eq!(read.kind(), Kind::FreeBusy);
        assert_eq!(busy(&read, range, &Zone::Utc).len(), 2);
    }
}

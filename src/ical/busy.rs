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

/// No object may contribute more periods than this to one answer.
const MOST: usize = 50_000;

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

//! When a zone's clock changes: one sorted table for IANA zones and for VTIMEZONEs alike.

use crate::ical::recur::{date_of, day_number, weekday_of};
use crate::ical::value::Civil;

/// 2130-01-01T00:00:00Z. Tables end here; later years look like one of the 28 before it.
pub(super) const HORIZON: i64 = 5_049_129_600;

/// The changes of one zone's offset from UTC.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// The instants of change.
    instants: Box<[i64]>,
    /// For each change the wall-clock time from which on the new offset applies.
    walls: Box<[i64]>,
    /// One more than changes: the offset before the first, then after each.
    offsets: Box<[i32]>,
    /// The changes go on for ever in the same way.
    endless: bool,
}

impl Table {
    /// Builds the table from changes in ascending order: (instant, offset after it).
    pub(super) fn new(first: i32, changes: &[(i64, i32)], endless: bool) -> Table {
        let mut instants = Vec::with_capacity(changes.len());
        let mut walls = Vec::with_capacity(changes.len());
        let mut offsets = Vec::with_capacity(changes.len() + 1);
        offsets.push(first);
        let mut before = first;
        for &(instant, after) in changes {
            if after == before {
                continue;
            }
            instants.push(instant);
            // RFC 5545 §3.3.5: a time in a gap has the offset before the gap; one that occurs twice means the first.
            // Either way the old offset reaches as far as the wall clock that is further on.
            walls.push(instant + i64::from(before.max(after)));
            offsets.push(after);
            before = after;
        }
        Table {
            instants: instants.into_boxed_slice(),
            walls: walls.into_boxed_slice(),
            offsets: offsets.into_boxed_slice(),
            endless,
        }
    }

    fn offset(&self, index: usize) -> i64 {
        self.offsets.get(index).copied().map_or(0, i64::from)
    }

    pub(super) fn offset_at_wall(&self, civil: i64) -> i64 {
        let civil = self.folded(civil);
        self.offset(self.walls.partition_point(|&wall| wall <= civil))
    }

    pub(super) fn offset_at(&self, instant: i64) -> i64 {
        let instant = self.folded(instant);
        self.offset(self.instants.partition_point(|&change| change <= instant))
    }

    /// A time beyond the table is read in a year of the table that has the same days.
    fn folded(&self, time: i64) -> i64 {
        if !self.endless || time < HORIZON {
            return time;
        }
        let (year, _, _) = date_of(time.div_euclid(86_400));
        let begin = day_number(year, 1, 1);
        let shape = |year: i64, begin: i64| (weekday_of(begin), day_number(year + 1, 1, 1) - begin);
        let twin =
            (2102..2130).find(|&y| shape(y, day_number(y, 1, 1)) == shape(year, begin)).unwrap_or(2129);
        time - (begin - day_number(twin, 1, 1)) * 86_400
    }

    /// Returns the changes that the table lists: (instant, offset before, offset after).
    pub(super) fn changes(&self) -> impl Iterator<Item = (i64, i32, i32)> + '_ {
        let pairs = self.offsets.windows(2).filter_map(|pair| Some((*pair.first()?, *pair.last()?)));
        self.instants.iter().zip(pairs).map(|(&instant, (before, after))| (instant, before, after))
    }

    /// Returns the bytes that the table keeps beyond its own size.
    pub(super) fn heap_bytes(&self) -> usize {
        self.instants.len() * 20 + 4
    }

    pub(super) fn civil(&self, instant: i64) -> Civil {
        Civil(instant + self.offset_at(instant))
    }

    pub(super) fn instant(&self, civil: Civil) -> i64 {
        civil.0 - self.offset_at_wall(civil.0)
    }
}

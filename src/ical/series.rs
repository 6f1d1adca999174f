//! A calendar object on the time line: master, overrides, RRULE, RDATE, EXDATE (RFC 5545 §3.8.5) as one value.
//!
//! Owns: which instances there are, when each begins and ends, which time ranges they overlap (RFC 4791 §9.9).
//! Does not own: what a rule yields (`recur`), offsets (`zone`), the text (`tree`, `expand`), filters (`filter`).
//!
//! A series keeps no text and no reference to it, so that it can be cached. Wall-clock times of all-day and floating
//! objects become instants only when a query says in which zone.

mod read;
mod walk;

#[cfg(test)]
mod tests;

use super::busy::{Busy, BusyType};
use super::recur::Rule;
use super::value::{Civil, Duration};
use super::zone::Zone;

pub use walk::Instances;

/// Beyond every date that a calendar can hold, in both directions.
const FAR: i64 = 1 << 40;

/// A half-open range of instants, in seconds since 1970 UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeRange {
    /// The first instant within.
    pub start: i64,
    /// The first instant after it.
    pub end: i64,
}

impl TimeRange {
    /// All of time.
    pub const ALL: TimeRange = TimeRange { start: -FAR, end: FAR };

    /// Returns the range; RFC 4791 §9.9: a side that is not given is open.
    pub fn new(start: Option<i64>, end: Option<i64>) -> TimeRange {
        TimeRange { start: start.unwrap_or(-FAR).max(-FAR), end: end.unwrap_or(FAR).min(FAR) }
    }

    /// Returns the range made longer on both sides.
    pub fn widened(self, before: i64, after: i64) -> TimeRange {
        TimeRange {
            start: self.start.saturating_sub(before).clamp(-FAR, FAR),
            end: self.end.saturating_add(after).clamp(-FAR, FAR),
        }
    }
}

/// What the object is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// VEVENT.
    Event,
    /// VTODO.
    Todo,
    /// VJOURNAL.
    Journal,
    /// VFREEBUSY.
    FreeBusy,
    /// Anything else: it has no place in time.
    Other,
}

/// How a component's wall-clock times become instants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Frame {
    /// Whole days, in the zone of whoever asks.
    Date,
    /// Wall-clock times in the zone of whoever asks.
    Floating,
    /// Times in a zone, or in UTC.
    Zone(Zone),
}

impl Frame {
    pub(super) fn instant(&self, civil: Civil, floating: &Zone) -> i64 {
        match self {
            Frame::Zone(zone) => zone.to_instant(civil),
            Frame::Date | Frame::Floating => floating.to_instant(civil),
        }
    }

    pub(super) fn civil(&self, instant: i64, floating: &Zone) -> Civil {
        match self {
            Frame::Zone(zone) => zone.to_civil(instant),
            Frame::Date | Frame::Floating => floating.to_civil(instant),
        }
    }

    /// Returns what instances are told apart by: the instant, or the wall-clock time if there is no zone.
    pub(super) fn key(&self, civil: Civil) -> i64 {
        match self {
            Frame::Zone(zone) => zone.to_instant(civil),
            Frame::Date | Frame::Floating => civil.0,
        }
    }

    fn absolute(&self) -> bool {
        matches!(self, Frame::Zone(_))
    }
}

/// How long an instance lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Length {
    /// Nothing is said: no time at all. (A day for an event on a date, which is written as `Wall`.)
    Unsaid,
    /// DTEND or DUE: the same exact duration for every instance (RFC 5545 §3.8.5.3).
    Exact(i64),
    /// DTEND or DUE of a date or floating time: as the wall clock counts.
    Wall(i64),
    /// DURATION: days as the wall clock counts, the rest exact (RFC 5545 §3.3.6).
    Nominal(Duration),
}

/// One component of the object.
#[derive(Debug, Clone)]
pub(super) struct Part {
    /// Its place among the children of the VCALENDAR.
    pub(super) component: usize,
    pub(super) frame: Frame,
    /// DTSTART; for a to-do without one, DUE.
    pub(super) start: Option<Civil>,
    pub(super) length: Length,
    /// For to-dos: which of the rows of RFC 4791 §9.9 applies.
    pub(super) row: Row,
    /// COMPLETED and CREATED of a to-do that has neither DTSTART nor DUE.
    pub(super) completed: Option<i64>,
    pub(super) created: Option<i64>,
    /// How the time counts in free-busy; nothing: not at all.
    pub(super) busy: Option<BusyType>,
}

/// The rows of the VTODO table in RFC 4791 §9.9.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Row {
    StartDuration,
    StartDue,
    Start,
    Due,
    Undated,
}

/// A component with a RECURRENCE-ID.
#[derive(Debug, Clone)]
pub(super) struct Override {
    /// Which instance it stands for: a key, or with `day` the midnight of its day. Nothing: a second component
    /// without RECURRENCE-ID, which stands for itself.
    pub(super) key: Option<i64>,
    pub(super) day: bool,
    pub(super) part: Part,
    /// RANGE=THISANDFUTURE: how far the instances after it move, in wall-clock seconds.
    pub(super) range: Option<i64>,
}

/// A rule ready for use.
#[derive(Debug, Clone)]
pub(super) struct Ruled {
    pub(super) rule: Rule,
    /// UNTIL in UTC, for a series that is not.
    pub(super) until: Option<i64>,
}

/// An RDATE in the wall-clock time of the master.
#[derive(Debug, Clone, Copy)]
pub(super) struct Extra {
    pub(super) start: Civil,
    /// For a PERIOD.
    pub(super) length: Option<Length>,
}

/// A whole object on the time line.
#[derive(Debug, Clone)]
pub struct Series {
    kind: Kind,
    pub(super) master: Option<Part>,
    pub(super) rules: Box<[Ruled]>,
    pub(super) exrules: Box<[Ruled]>,
    pub(super) extras: Box<[Extra]>,
    /// EXDATEs as keys, sorted.
    pub(super) exdates: Box<[i64]>,
    /// EXDATEs that name a day of a series with times: its midnight, sorted.
    pub(super) exdays: Box<[i64]>,
    /// Sorted by (`day`, `key`).
    pub(super) overrides: Box<[Override]>,
    /// For VFREEBUSY: its periods, free ones left out of the algebra but kept for overlap.
    pub(super) periods: Box<[(Busy, bool)]>,
    /// The longest time that an instance of the master lasts, rounded up generously.
    longest: i64,
    /// The furthest that RANGE=THISANDFUTURE moves an instance.
    moved: i64,
    /// The overrides with RANGE=THISANDFUTURE: key and place among the overrides, sorted.
    ranges: Box<[(i64, usize)]>,
    note: Option<Box<str>>,
}

/// The first start and the last end of a series.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// No instance begins before this.
    pub start: i64,
    /// Every instance ends before this (or with it, if it is the only one); nothing: the series has no end.
    pub end: Option<i64>,
    /// There is one instance and these are its start and end.
    pub exact: bool,
}

/// A time as it is written in an expanded object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// A date.
    Date(Civil),
    /// A wall-clock time without zone.
    Floating(Civil),
    /// An instant.
    Utc(i64),
}

/// One instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    /// The place of its component among the children of the VCALENDAR.
    pub component: usize,
    /// Which instance of the series it is; nothing: the object does not recur.
    pub recurrence_id: Option<Written>,
    /// When it begins, in seconds since 1970 UTC.
    pub start: i64,
    /// When it ends.
    pub end: i64,
    /// When it begins, as written.
    pub starts: Written,
    /// When it ends, as written.
    pub ends: Written,
    /// How it counts in free-busy; nothing: not at all.
    pub busy: Option<BusyType>,
}

impl Instance {
    /// True for whole days.
    pub fn all_day(&self) -> bool {
        matches!(self.starts, Written::Date(_))
    }
}

impl Series {
    /// Returns what the object is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Says what in the object was not understood; it then counts as if that were not there.
    pub fn note(&self) -> Option<&str> {
        self.note.as_deref()
    }

    /// True if the object has more than one instance, or is an instance of something.
    pub fn recurs(&self) -> bool {
        !self.rules.is_empty()
            || !self.extras.is_empty()
            || self.overrides.iter().any(|over| over.key.is_some())
            || self.exrules.len() + self.exdates.len() + self.exdays.len() > 0
    }

    /// True if instants depend on the zone of whoever asks.
    pub fn floats(&self) -> bool {
        let parts = self.master.iter().chain(self.overrides.iter().map(|over| &over.part));
        parts.filter(|part| part.start.is_some()).any(|part| !part.frame.absolute())
    }

    /// Returns the memory that the series takes, roughly.
    pub fn size_hint_bytes(&self) -> usize {
        let rules: usize = self.rules.iter().chain(&self.exrules).map(|ruled| ruled.rule.heap_bytes()).sum();
        let zones: usize = self
            .master
            .iter()
            .chain(self.overrides.iter().map(|over| &over.part))
            .map(|part| if let Frame::Zone(zone) = &part.frame { zone.heap_bytes() } else { 0 })
            .sum();
        size_of::<Series>()
            + rules
            + zones
            + (self.rules.len() + self.exrules.len()) * size_of::<Ruled>()
            + self.extras.len() * size_of::<Extra>()
            + (self.exdates.len() + self.exdays.len()) * 8
            + self.overrides.len() * size_of::<Override>()
            + self.ranges.len() * 16
            + self.periods.len() * size_of::<(Busy, bool)>()
            + self.note.as_ref().map_or(0, |note| note.len())
    }

    /// Returns the first start and the last end of all instances; whole days and floating times are widened by 14
    /// hours on both sides, since the zone is not known. Nothing: the object may match any range.
    ///
    /// RFC 4791 §9.9 uses `<=` for to-dos and free-busy where it uses `<` for events: these are widened by a second.
    pub fn span(&self) -> Option<Extent> {
        if matches!(self.kind, Kind::Other) {
            return None;
        }
        let mut whole: Option<Extent> = None;
        if let Some(master) = &self.master {
            whole = Some(self.span_of_master(master)?);
        }
        for over in &self.overrides {
            let part = self.span_of_part(&over.part)?;
            whole = Some(match whole {
                None => part,
                Some(all) => Extent {
                    start: all.start.min(part.start),
                    end: all.end.zip(part.end).map(|(a, b)| a.max(b)),
                    exact: false,
                },
            });
        }
        // An instance without length lies in a range that begins at it: its end is the second after.
        whole.map(|all| match all.exact {
            true => all,
            false => Extent { end: all.end.map(|end| end + 1), ..all },
        })
    }

    fn span_of_master(&self, master: &Part) -> Option<Extent> {
        let mut extent = self.span_of_part(master)?;
        if !self.recurs() {
            return Some(extent);
        }
        extent.exact = false;
        let wide = self.longest + self.moved;
        let slack = if master.frame.absolute() { 0 } else { 14 * 3600 };
        let mut end = extent.end;
        for ruled in &self.rules {
            let last = ruled.rule.last.map(|last| master.frame.instant(last, &Zone::Utc) + wide + slack);
            end = end.zip(last).map(|(a, b)| a.max(b));
        }
        for extra in &self.extras {
            let at = master.frame.instant(extra.start, &Zone::Utc);
            extent.start = extent.start.min(at - slack);
            end = end.map(|end| end.max(at + wide + slack));
        }
        extent.start -= self.moved;
        extent.end = end;
        Some(extent)
    }

    fn span_of_part(&self, part: &Part) -> Option<Extent> {
        let Some(start) = part.start else {
            return match (self.kind, part.created, part.completed) {
                (Kind::Todo, Some(a), Some(b)) => {
                    Some(Extent { start: a.min(b) - 1, end: Some(a.max(b) + 1), exact: false })
                }
                (Kind::Todo, None, Some(at)) => {
                    Some(Extent { start: at - 1, end: Some(at + 1), exact: false })
                }
                (Kind::Todo, Some(at), None) => Some(Extent { start: at, end: None, exact: false }),
                (Kind::FreeBusy, ..) => {
                    let start = self.periods.iter().map(|(period, _)| period.start).min()?;
                    let end = self.periods.iter().map(|(period, _)| period.end).max()?;
                    Some(Extent { start: start - 1, end: Some(end + 1), exact: false })
                }
                _ => None,
            };
        };
        let from = part.frame.instant(start, &Zone::Utc);
        let to = part.end(start, from, &Zone::Utc);
        let absolute = part.frame.absolute();
        let mut wide = if absolute { 0 } else { 14 * 3600 };
        if self.kind != Kind::Event {
            wide += 1;
        }
        Some(Extent {
            start: from.min(to) - wide,
            end: Some(from.max(to) + wide),
            exact: absolute && self.kind == Kind::Event,
        })
    }

    /// True if an instance overlaps the range as RFC 4791 §9.9 says for its component type.
    pub fn overlaps(&self, range: TimeRange, floating: &Zone) -> bool {
        self.any(range, floating, |_| true)
    }

    /// Like [`Series::overlaps`], for the instances of one component: a child of the VCALENDAR by its place.
    pub fn component_overlaps(&self, component: usize, range: TimeRange, floating: &Zone) -> bool {
        self.any(range, floating, |found| found == component)
    }

    /// True if the component at that place is a to-do with neither DTSTART nor DUE.
    pub(super) fn undated(&self, component: usize) -> bool {
        let parts = self.master.iter().chain(self.overrides.iter().map(|over| &over.part));
        parts.filter(|part| part.component == component).any(|part| part.start.is_none())
    }

    /// RFC 4791 §9.6.6: the places of the overrides that have to do with a range: they take place in it, or would
    /// without being overridden, or are the RANGE=THISANDFUTURE that instances in it follow.
    pub(super) fn concerned(&self, range: TimeRange, floating: &Zone) -> Vec<usize> {
        let mut found = Vec::new();
        for over in &self.overrides {
            let without = self.without(over, floating);
            let would = without.is_some_and(|(start, end)| match end > start {
                true => range.start < end && range.end > start,
                false => range.start <= start && range.end > start,
            });
            if would {
                found.push(over.part.component);
            }
        }
        self.walk(range, floating, &mut |instance| {
            if found.last() != Some(&instance.component) {
                found.push(instance.component);
            }
            true
        });
        found
    }

    fn any(&self, range: TimeRange, floating: &Zone, wanted: impl Fn(usize) -> bool) -> bool {
        if self.kind == Kind::FreeBusy {
            return self.free_busy_overlaps(range, floating, wanted);
        }
        let parts = self.master.iter().chain(self.overrides.iter().map(|over| &over.part));
        for part in parts.filter(|part| part.start.is_none() && wanted(part.component)) {
            if self.kind == Kind::Todo && part.undated_overlaps(range) {
                return true;
            }
        }
        let mut found = false;
        let whole = self.walk(range, floating, &mut |instance| {
            found = wanted(instance.component);
            !found
        });
        // Of a rule that wastes too many steps nobody can say that it has no instance here. A query that leaves an
        // object out has clients delete their copy, so it is left in.
        found || !whole
    }

    /// RFC 4791 §9.9, VFREEBUSY: DTSTART and DTEND if both are there, else the periods, else nothing.
    fn free_busy_overlaps(&self, range: TimeRange, floating: &Zone, wanted: impl Fn(usize) -> bool) -> bool {
        let parts = self.master.iter().chain(self.overrides.iter().map(|over| &over.part));
        let mut wanted = parts.filter(|part| wanted(part.component)).peekable();
        if wanted.peek().is_none() {
            return false;
        }
        let bounded = wanted.find_map(|part| match (part.start, part.length) {
            (Some(start), Length::Exact(_) | Length::Wall(_)) => Some((start, part)),
            _ => None,
        });
        match bounded {
            Some((start, part)) => {
                let from = part.frame.instant(start, floating);
                range.start <= part.end(start, from, floating) && range.end > from
            }
            None => {
                self.periods.iter().any(|(period, _)| range.start < period.end && range.end > period.start)
            }
        }
    }
}

impl Part {
    /// Returns when the instance that begins then ends.
    pub(super) fn end(&self, civil: Civil, start: i64, floating: &Zone) -> i64 {
        self.end_with(self.length, civil, start, floating)
    }

    pub(super) fn end_with(&self, length: Length, civil: Civil, start: i64, floating: &Zone) -> i64 {
        let wall = |seconds: i64| self.frame.instant(Civil(civil.0 + seconds), floating);
        match length {
            Length::Unsaid => start,
            Length::Exact(seconds) => start + seconds,
            Length::Wall(seconds) => wall(seconds),
            Length::Nominal(duration) => wall(duration.days * 86_400) + duration.seconds,
        }
    }

    /// RFC 4791 §9.9, VTODO without DTSTART and DUE.
    fn undated_overlaps(&self, range: TimeRange) -> bool {
        match (self.completed, self.created) {
            (Some(completed), Some(created)) => {
                range.start <= created.max(completed) && range.end >= created.min(completed)
            }
            (Some(completed), None) => range.start <= completed && range.end >= completed,
            (None, Some(created)) => range.end > created,
            (None, None) => true,
        }
    }
}

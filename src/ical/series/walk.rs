//! Walking a series: its instances within a range.

use super::{Frame, Instance, Kind, Length, Override, Part, Row, Ruled, Series, TimeRange, Written};
use crate::ical::recur::Occurrences;
use crate::ical::value::Civil;
use crate::ical::zone::Zone;

/// How many candidates one walk may look at: two days of seconds, or centuries of days.
const BUDGET: usize = 200_000;

/// No clock is ever changed by more (Samoa left out a day).
const SLACK: i64 = 86_400;

/// The instances of a series within a range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instances {
    /// Them, by their start.
    pub list: Vec<Instance>,
    /// False if there are more than the limit.
    pub complete: bool,
}

impl Series {
    /// Returns the instances that overlap the range (RFC 4791 §9.9), at most `limit`.
    pub fn instances(&self, range: TimeRange, floating: &Zone, limit: usize) -> Instances {
        let mut list = Vec::new();
        let mut complete = true;
        let ended = self.walk(range, floating, &mut |instance| {
            if list.len() >= limit {
                complete = false;
                return false;
            }
            list.push(instance);
            true
        });
        list.sort_by_key(|instance| (instance.start, instance.end));
        Instances { list, complete: complete && ended }
    }

    /// Visits the instances that overlap the range: first the overrides, then those of the master in order. The
    /// visitor says whether to go on. False: the walk was given up, since the rules waste too many steps.
    pub(in crate::ical) fn walk(
        &self,
        range: TimeRange,
        floating: &Zone,
        visit: &mut dyn FnMut(Instance) -> bool,
    ) -> bool {
        let recurs = self.recurs();
        for over in &self.overrides {
            let Some(start) = over.part.start else { continue };
            let instance = instance(&over.part, start, over.part.length, self.original(over), floating);
            if touches(self.kind, &over.part, &instance, range) && !visit(instance) {
                return true;
            }
        }
        let Some(master) = &self.master else { return true };
        let Some(start) = master.start else { return true };
        let written = |civil: Civil| recurs.then(|| written(&master.frame, civil));
        if self.rules.is_empty() && self.extras.is_empty() {
            if !self.excluded(master, start) && self.override_of(master, start).is_none() {
                let instance = instance(master, start, master.length, written(start), floating);
                if touches(self.kind, master, &instance, range) {
                    visit(instance);
                }
            }
            return true;
        }
        // In UTC there is nothing to be unsure of, and a rule of seconds would spend its budget before the range.
        let slack = match &master.frame {
            Frame::Zone(Zone::Utc | Zone::Fixed(_)) if self.ranges.is_empty() => 0,
            _ => SLACK,
        };
        let near = range.widened(self.longest + self.moved + slack, self.moved + slack);
        let from = master.frame.civil(near.start, floating);
        let to = master.frame.civil(near.end, floating);
        let mut candidates = Candidates::new(self, master, start, from, to);
        let mut excluded = Candidates::excluded(self, master, start, from, to);
        let mut budget = BUDGET;
        while let Some((civil, length)) = candidates.next(to) {
            if budget == 0 {
                return false;
            }
            budget -= 1;
            if self.excluded(master, civil)
                || excluded.reaches(civil)
                || self.override_of(master, civil).is_some()
                || self.skipped(master, civil)
            {
                continue;
            }
            let (part, at) = self.moved(master, civil);
            let length =
                if std::ptr::eq(part, master) { length.unwrap_or(master.length) } else { part.length };
            let instance = instance(part, at, length, written(civil), floating);
            if touches(self.kind, part, &instance, range) && !visit(instance) {
                return true;
            }
        }
        !candidates.exhausted() && !excluded.exhausted()
    }

    /// True for a time that the clock skips and that falls on another instance once it is moved out of the gap: every
    /// hour of a day that lacks one, or noon of the day that Samoa left out. The set holds an instant once.
    fn skipped(&self, master: &Part, civil: Civil) -> bool {
        let Frame::Zone(zone) = &master.frame else { return false };
        let shown = zone.to_civil(zone.to_instant(civil));
        let Some(start) = master.start.filter(|_| shown != civil) else { return false };
        Candidates::new(self, master, start, shown, shown).next(shown).is_some()
    }

    fn excluded(&self, master: &Part, civil: Civil) -> bool {
        if self.exdates.is_empty() && self.exdays.is_empty() {
            return false;
        }
        self.exdates.binary_search(&master.frame.key(civil)).is_ok()
            || self.exdays.binary_search(&civil.midnight().0).is_ok()
    }

    fn override_of(&self, master: &Part, civil: Civil) -> Option<&Override> {
        if self.overrides.is_empty() {
            return None;
        }
        let find = |key: i64, day: bool| {
            let at =
                self.overrides.binary_search_by_key(&(day, Some(key)), |over| (over.day, over.key)).ok()?;
            self.overrides.get(at)
        };
        find(master.frame.key(civil), false).or_else(|| find(civil.midnight().0, true))
    }

    /// RFC 5545 §3.2.13: the last RANGE=THISANDFUTURE before an instance moves it and replaces its properties.
    fn moved<'a>(&'a self, master: &'a Part, civil: Civil) -> (&'a Part, Civil) {
        if self.ranges.is_empty() {
            return (master, civil);
        }
        let key = master.frame.key(civil);
        let after = self.ranges.partition_point(|(from, _)| *from <= key);
        let last = after.checked_sub(1).and_then(|at| self.ranges.get(at));
        let over = last.and_then(|(_, place)| self.overrides.get(*place));
        let Some((over, by)) = over.and_then(|over| Some((over, over.range?))) else {
            return (master, civil);
        };
        let here = match (&master.frame, &over.part.frame) {
            (Frame::Zone(from), Frame::Zone(to)) if from != to => to.to_civil(from.to_instant(civil)),
            (_, Frame::Date) => civil.midnight(),
            _ => civil,
        };
        (&over.part, Civil(here.0 + by))
    }

    /// Returns the RECURRENCE-ID that an override's instance is expanded with.
    fn original(&self, over: &Override) -> Option<Written> {
        let key = over.key?;
        let frame = self.master.as_ref().map_or(&over.part.frame, |master| &master.frame);
        Some(match frame {
            _ if over.day => match self.of_day(over) {
                Some(civil) => written(frame, civil),
                None => Written::Date(Civil(key)),
            },
            Frame::Date => Written::Date(Civil(key)),
            Frame::Floating => Written::Floating(Civil(key)),
            Frame::Zone(_) => Written::Utc(key),
        })
    }

    /// a RECURRENCE-ID that is a date means the instance of that day in a series with times.
    fn of_day(&self, over: &Override) -> Option<Civil> {
        let (master, day) = (self.master.as_ref()?, over.key?);
        let last = Civil(day + 86_399);
        Candidates::new(self, master, master.start?, Civil(day), last).next(last).map(|(civil, _)| civil)
    }

    /// Returns when the instance that an override stands for would begin and end without it.
    pub(in crate::ical) fn without(&self, over: &Override, floating: &Zone) -> Option<(i64, i64)> {
        let (master, key) = (self.master.as_ref()?, over.key?);
        let civil = match &master.frame {
            _ if over.day => self.of_day(over).unwrap_or(Civil(key)),
            Frame::Zone(zone) => zone.to_civil(key),
            Frame::Date | Frame::Floating => Civil(key),
        };
        let start = if over.day {
            master.frame.instant(civil, floating)
        } else {
            self.start_of(master, key, floating)
        };
        Some((start, master.end(civil, start, floating)))
    }

    fn start_of(&self, master: &Part, key: i64, floating: &Zone) -> i64 {
        match &master.frame {
            Frame::Zone(_) => key,
            frame => frame.instant(Civil(key), floating),
        }
    }
}

fn written(frame: &Frame, civil: Civil) -> Written {
    match frame {
        Frame::Date => Written::Date(civil),
        Frame::Floating => Written::Floating(civil),
        Frame::Zone(zone) => Written::Utc(zone.to_instant(civil)),
    }
}

fn instance(part: &Part, civil: Civil, length: Length, id: Option<Written>, floating: &Zone) -> Instance {
    let start = part.frame.instant(civil, floating);
    let end = part.end_with(length, civil, start, floating).max(start);
    let wall = match length {
        Length::Unsaid => civil,
        Length::Exact(seconds) | Length::Wall(seconds) => Civil(civil.0 + seconds),
        Length::Nominal(duration) => Civil(civil.0 + duration.plain_seconds().max(0)),
    };
    let (starts, ends) = match &part.frame {
        Frame::Zone(_) => (Written::Utc(start), Written::Utc(end)),
        Frame::Date => (Written::Date(civil), Written::Date(wall)),
        Frame::Floating => (Written::Floating(civil), Written::Floating(wall)),
    };
    Instance { component: part.component, recurrence_id: id, start, end, starts, ends, busy: part.busy }
}

/// RFC 4791 §9.9: the tables for VEVENT, VTODO and VJOURNAL.
fn touches(kind: Kind, part: &Part, instance: &Instance, range: TimeRange) -> bool {
    let Instance { start, end, .. } = *instance;
    let moment = range.start <= start && range.end > start;
    match (kind, part.row) {
        (Kind::Todo, Row::StartDuration) => range.start <= end && (range.end > start || range.end >= end),
        (Kind::Todo, Row::StartDue) => {
            (range.start < end || range.start <= start) && (range.end > start || range.end >= end)
        }
        (Kind::Todo, Row::Due) => range.start < start && range.end >= start,
        (Kind::Todo, _) => moment,
        _ if end > start => range.start < end && range.end > start,
        _ => moment,
    }
}

/// One rule on its way: its next time, and what follows.
struct Way<'a> {
    next: Option<Civil>,
    walk: Occurrences<'a>,
    /// UNTIL in UTC, for a series in this zone. DTSTART counts in any case.
    until: Option<(i64, &'a Zone)>,
    start: Civil,
}

impl<'a> Way<'a> {
    fn of(ruled: &'a Ruled, walk: Occurrences<'a>, frame: &'a Frame, start: Civil) -> Way<'a> {
        let until = match (ruled.until, frame) {
            (Some(until), Frame::Zone(zone)) => Some((until, zone)),
            _ => None,
        };
        let mut way = Way { next: None, walk, until, start };
        way.step();
        way
    }

    fn step(&mut self) {
        self.next = self.walk.next().filter(|next| match self.until {
            Some((until, zone)) => *next == self.start || zone.to_instant(*next) <= until,
            None => true,
        });
    }
}

/// Several rules and dates as one ascending sequence without repetition.
struct Candidates<'a> {
    rules: Vec<Way<'a>>,
    extras: &'a [super::Extra],
    /// DTSTART, if no rule yields it.
    first: Option<Civil>,
}

impl<'a> Candidates<'a> {
    fn new(series: &'a Series, master: &'a Part, start: Civil, from: Civil, to: Civil) -> Candidates<'a> {
        let extras = series.extras.partition_point(|extra| extra.start < from);
        let ways = series.rules.iter().map(|ruled| {
            let walk = ruled.rule.between(start, from, to);
            Way::of(ruled, walk, &master.frame, start)
        });
        Candidates {
            rules: ways.collect(),
            extras: series.extras.get(extras..).unwrap_or_default(),
            first: (series.rules.is_empty() && start >= from).then_some(start),
        }
    }

    /// The times that EXRULEs take away (RFC 2445 §4.8.5.2, still met in old data).
    fn excluded(
        series: &'a Series,
        master: &'a Part,
        start: Civil,
        from: Civil,
        to: Civil,
    ) -> Candidates<'a> {
        let ways = series.exrules.iter().map(|ruled| {
            let walk = ruled.rule.matches(start, from, to);
            Way::of(ruled, walk, &master.frame, start)
        });
        Candidates { rules: ways.collect(), extras: &[], first: None }
    }

    fn next(&mut self, to: Civil) -> Option<(Civil, Option<Length>)> {
        let ruled = self.rules.iter().filter_map(|way| way.next).min();
        let extra = self.extras.first();
        let lowest = [ruled, extra.map(|extra| extra.start), self.first].into_iter().flatten().min()?;
        if lowest > to {
            return None;
        }
        let mut length = None;
        if self.first == Some(lowest) {
            self.first = None;
        }
        if let Some(extra) = extra.filter(|extra| extra.start == lowest) {
            length = extra.length;
            self.extras = self.extras.get(1..).unwrap_or_default();
        }
        for way in self.rules.iter_mut().filter(|way| way.next == Some(lowest)) {
            way.step();
        }
        Some((lowest, length))
    }

    /// True if the sequence holds this time. Times must be asked for in ascending order.
    fn reaches(&mut self, civil: Civil) -> bool {
        let mut found = false;
        while let Some((time, _)) = self.next(civil) {
            found = time == civil;
        }
        found
    }

    fn exhausted(&self) -> bool {
        self.rules.iter().any(|way| way.walk.exhausted())
    }
}

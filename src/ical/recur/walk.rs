//! Walking a rule: which periods hold which candidates.

use super::days::{date_of, day_number, days_in_month, leap, weekday_of};
use super::{Frequency, Rule};
use crate::ical::value::Civil;

/// A candidate beyond this is not generated: 9999-12-31T23:59:59.
pub(super) const LAST_CIVIL: i64 = 253_402_300_799;

/// How many periods one call may look at; the months to the year 9999 are fewer.
const BUDGET: u32 = 100_000;

/// The times of one rule, in order. Made by [`Rule::occurrences`].
#[derive(Debug, Clone)]
pub struct Occurrences<'a> {
    rule: &'a Rule,
    plan: Plan,
    pub(super) interval: i64,
    pub(super) first: Option<i64>,
    /// No candidate before this one is yielded.
    from: i64,
    last: i64,
    last_period: i64,
    first_period: i64,
    /// The next period to look at.
    pub(super) period: i64,
    /// The days of the current period: the first day's number, and which of those that follow.
    days: [(i64, u32); 12],
    groups: usize,
    hours: Few<24>,
    minutes: Few<60>,
    seconds: Few<60>,
    /// How many candidates the current period holds after BYSETPOS, and which is next.
    pub(super) total: u64,
    pub(super) index: u64,
    chosen: Vec<u64>,
    month: Month,
    budget: u32,
    pub(super) exhausted: bool,
}

/// What the rule says once DTSTART has filled in what it leaves open (RFC 5545 §3.3.10: "derived from DTSTART").
#[derive(Debug, Clone, Copy)]
struct Plan {
    months: u16,
    month_days: u32,
    month_days_back: u32,
    weekdays: u8,
    /// Numbered weekdays count within the month, not the year.
    within_month: bool,
}

/// A month's matching days, kept from one day to the next.
#[derive(Debug, Clone, Copy)]
struct Month {
    first: i64,
    length: i64,
    days: u32,
}

/// A short ascending list of small numbers, without allocation.
#[derive(Debug, Clone, Copy)]
struct Few<const N: usize> {
    items: [u8; N],
    length: usize,
}

impl<const N: usize> Few<N> {
    fn of(mut bits: u64) -> Few<N> {
        let mut few = Few { items: [0; N], length: 0 };
        while bits != 0 {
            if let Some(slot) = few.items.get_mut(few.length) {
                *slot = bits.trailing_zeros() as u8;
                few.length += 1;
            }
            bits &= bits - 1;
        }
        few
    }

    fn one(n: i64) -> Few<N> {
        let mut few = Few { items: [0; N], length: 1 };
        if let Some(slot) = few.items.first_mut() {
            *slot = n as u8;
        }
        few
    }

    fn at(&self, index: u64) -> i64 {
        self.items.get(index as usize).copied().map_or(0, i64::from)
    }

    fn len(&self) -> u64 {
        self.length as u64
    }
}

enum Filled {
    /// The period may have candidates.
    Some,
    /// Nothing before this period has any.
    NotBefore(i64),
}

impl<'a> Occurrences<'a> {
    pub(super) fn new(rule: &'a Rule, start: i64, from: i64, last: i64) -> Occurrences<'a> {
        let (day, time) = (start.div_euclid(86_400), start.rem_euclid(86_400));
        let (_, month, month_day) = date_of(day);
        let mut plan = Plan {
            months: rule.months,
            month_days: rule.month_days,
            month_days_back: rule.month_days_back,
            weekdays: rule.weekdays,
            within_month: rule.frequency == Frequency::Monthly || rule.months != 0,
        };
        let no_days = rule.month_days | rule.month_days_back == 0 && rule.year_days.is_empty();
        if no_days && rule.weekdays == 0 && rule.numbered.is_empty() {
            match rule.frequency {
                // A week of the year without a weekday means DTSTART's weekday.
                Frequency::Yearly if !rule.weeks.is_empty() => plan.weekdays = 1 << weekday_of(day),
                Frequency::Yearly => {
                    plan.month_days = 1 << (month_day - 1);
                    if rule.months == 0 {
                        plan.months = 1 << month;
                    }
                }
                Frequency::Monthly => plan.month_days = 1 << (month_day - 1),
                Frequency::Weekly => plan.weekdays = 1 << weekday_of(day),
                _ => {}
            }
        }
        let (hour, minute, second) = (time / 3600, time / 60 % 60, time % 60);
        let hours = if rule.hours == 0 { Few::one(hour) } else { Few::of(u64::from(rule.hours)) };
        let minutes = if rule.minutes == 0 { Few::one(minute) } else { Few::of(rule.minutes) };
        let seconds = if rule.seconds == 0 { Few::one(second) } else { Few::of(rule.seconds) };
        let mut walk = Occurrences {
            rule,
            plan,
            interval: i64::from(rule.interval),
            first: (start >= from).then_some(start),
            from: from.max(start.saturating_add(1)),
            last,
            last_period: 0,
            first_period: 0,
            period: 0,
            days: [(0, 0); 12],
            groups: 0,
            hours,
            minutes,
            seconds,
            total: 0,
            index: 0,
            chosen: Vec::new(),
            month: Month { first: 0, length: 0, days: 0 },
            budget: BUDGET,
            exhausted: false,
        };
        walk.first_period = walk.period_of(start);
        walk.last_period = walk.period_of(last);
        walk.period = walk.in_step(walk.period_of(walk.from.min(LAST_CIVIL + 1)));
        walk
    }

    /// Takes DTSTART for a time like any other.
    pub(super) fn unforced(mut self, start: i64, from: i64) -> Self {
        self.first = None;
        self.from = from.max(start);
        self.period = self.in_step(self.period_of(self.from.min(LAST_CIVIL + 1)));
        self
    }

    /// True if the walk gave up before the end of the rule: it wastes steps without yielding anything.
    pub fn exhausted(&self) -> bool {
        self.exhausted
    }

    fn period_of(&self, civil: i64) -> i64 {
        let day = civil.div_euclid(86_400);
        match self.rule.frequency {
            Frequency::Yearly => date_of(day).0,
            Frequency::Monthly => {
                let (year, month, _) = date_of(day);
                year * 12 + i64::from(month) - 1
            }
            Frequency::Weekly => (day + 3 - i64::from(self.rule.week_start)).div_euclid(7),
            Frequency::Daily => day,
            Frequency::Hourly => civil.div_euclid(3600),
            Frequency::Minutely => civil.div_euclid(60),
            Frequency::Secondly => civil,
        }
    }

    /// Returns the first period not before this one that INTERVAL allows.
    fn in_step(&self, period: i64) -> i64 {
        let away = period.saturating_sub(self.first_period).max(0);
        let steps = away / self.interval + i64::from(away % self.interval != 0);
        self.first_period.saturating_add(steps.saturating_mul(self.interval))
    }

    /// True if each period after the first holds the same number of candidates.
    pub(super) fn regular(&self) -> bool {
        let rule = self.rule;
        let no_month = self.plan.months == 0
            && self.plan.month_days | self.plan.month_days_back == 0
            && rule.year_days.is_empty()
            && rule.weeks.is_empty();
        let positions = rule.positions.is_empty();
        no_month
            && positions
            && match rule.frequency {
                Frequency::Yearly | Frequency::Monthly => false,
                Frequency::Weekly => true,
                Frequency::Daily => self.plan.weekdays == 0,
                Frequency::Hourly => self.plan.weekdays == 0 && rule.hours == 0,
                Frequency::Minutely => self.plan.weekdays == 0 && rule.hours == 0 && rule.minutes == 0,
                Frequency::Secondly => {
                    self.plan.weekdays == 0 && rule.hours == 0 && rule.minutes == 0 && rule.seconds == 0
                }
            }
    }

    /// Moves to the next period that holds a candidate not before `from`. False: there is none.
    pub(super) fn advance(&mut self) -> bool {
        loop {
            if self.period > self.last_period {
                return false;
            }
            if self.budget == 0 {
                self.exhausted = true;
                return false;
            }
            self.budget -= 1;
            let period = self.period;
            match self.fill(period) {
                Filled::NotBefore(next) => {
                    self.period = self.in_step(next.max(period.saturating_add(1)));
                    continue;
                }
                Filled::Some => self.period = period.saturating_add(self.interval),
            }
            let days: u64 = self.groups().map(|(_, mask)| u64::from(mask.count_ones())).sum();
            self.total = days * self.hours.len() * self.minutes.len() * self.seconds.len();
            self.choose();
            self.index = 0;
            if self.total > 0 && self.time_at(0) < self.from {
                self.index = self.first_from();
            }
            if self.index < self.total {
                return true;
            }
        }
    }

    fn groups(&self) -> impl Iterator<Item = (i64, u32)> + '_ {
        self.days.iter().take(self.groups).copied()
    }

    /// RFC 5545 §3.3.10: BYSETPOS picks from the set of the whole period.
    fn choose(&mut self) {
        if self.rule.positions.is_empty() {
            return;
        }
        self.chosen.clear();
        for &position in &self.rule.positions {
            let size = i64::try_from(self.total).unwrap_or(i64::MAX);
            let at = if position > 0 { i64::from(position) - 1 } else { size + i64::from(position) };
            if (0..size).contains(&at) {
                self.chosen.push(at as u64);
            }
        }
        self.chosen.sort_unstable();
        self.chosen.dedup();
        self.total = self.chosen.len() as u64;
    }

    pub(super) fn time_at(&self, index: u64) -> i64 {
        if self.rule.positions.is_empty() {
            return self.candidate(index);
        }
        self.chosen.get(index as usize).map_or(LAST_CIVIL, |&index| self.candidate(index))
    }

    fn candidate(&self, index: u64) -> i64 {
        let second = self.seconds.at(index % self.seconds.len());
        let index = index / self.seconds.len();
        let minute = self.minutes.at(index % self.minutes.len());
        let index = index / self.minutes.len();
        let hour = self.hours.at(index % self.hours.len());
        let mut index = index / self.hours.len();
        let mut day = 0;
        for (first, mut mask) in self.groups() {
            let here = u64::from(mask.count_ones());
            if index < here {
                for _ in 0..index {
                    mask &= mask - 1;
                }
                day = first + i64::from(mask.trailing_zeros());
                break;
            }
            index -= here;
        }
        day * 86_400 + hour * 3600 + minute * 60 + second
    }

    fn first_from(&self) -> u64 {
        let (mut low, mut high) = (0, self.total);
        while low < high {
            let middle = low + (high - low) / 2;
            if self.time_at(middle) < self.from { low = middle + 1 } else { high = middle }
        }
        low
    }

    /// Works out the days (and for the short frequencies the time) of one period.
    fn fill(&mut self, period: i64) -> Filled {
        match self.rule.frequency {
            Frequency::Yearly => self.fill_year(period),
            Frequency::Monthly => self.fill_month(period),
            Frequency::Weekly => self.fill_week(period),
            Frequency::Daily => {
                let day = self.next_day(period);
                if day != period {
                    return Filled::NotBefore(day);
                }
                self.single(day);
                Filled::Some
            }
            Frequency::Hourly => self.fill_time(period, 3600),
            Frequency::Minutely => self.fill_time(period, 60),
            Frequency::Secondly => self.fill_time(period, 1),
        }
    }

    fn single(&mut self, day: i64) {
        if let Some(slot) = self.days.first_mut() {
            *slot = (day, 1);
        }
        self.groups = 1;
    }

    fn fill_year(&mut self, year: i64) -> Filled {
        let mut groups = 0;
        for month in 1..=12 {
            if self.plan.months != 0 && self.plan.months & (1 << month) == 0 {
                continue;
            }
            let first = day_number(year, month, 1);
            let mask = self.month_mask(year, month, first);
            if mask == 0 {
                continue;
            }
            if let Some(slot) = self.days.get_mut(groups) {
                *slot = (first, mask);
                groups += 1;
            }
        }
        self.groups = groups;
        Filled::Some
    }

    fn fill_month(&mut self, period: i64) -> Filled {
        let (year, month) = (period.div_euclid(12), period.rem_euclid(12) as u32 + 1);
        if self.plan.months != 0 && self.plan.months & (1 << month) == 0 {
            return Filled::NotBefore(period + 1);
        }
        let first = day_number(year, month, 1);
        let mask = self.month_mask(year, month, first);
        if let Some(slot) = self.days.first_mut() {
            *slot = (first, mask);
        }
        self.groups = usize::from(mask != 0);
        Filled::Some
    }

    fn fill_week(&mut self, period: i64) -> Filled {
        let first = period * 7 - 3 + i64::from(self.rule.week_start);
        let mut mask = 0;
        if self.by_weekday_alone() {
            let bits = u32::from(self.plan.weekdays);
            let turned = (bits | bits << 7) >> self.rule.week_start;
            mask = turned & 0x7f;
        } else {
            for offset in 0..7 {
                if self.matches(first + offset) {
                    mask |= 1 << offset;
                }
            }
            if mask == 0 {
                // Nothing in this week: the next matching day tells how far to go.
                let next = self.next_day(first + 7);
                return Filled::NotBefore((next + 3 - i64::from(self.rule.week_start)).div_euclid(7));
            }
        }
        if let Some(slot) = self.days.first_mut() {
            *slot = (first, mask);
        }
        self.groups = 1;
        Filled::Some
    }

    fn by_weekday_alone(&self) -> bool {
        self.plan.months == 0
            && self.plan.month_days | self.plan.month_days_back == 0
            && self.rule.year_days.is_empty()
            && self.rule.weeks.is_empty()
    }

    /// A period shorter than a day: the day and the coarser clock parts limit, the finer ones expand.
    fn fill_time(&mut self, period: i64, unit: i64) -> Filled {
        let civil = period.saturating_mul(unit);
        let day = civil.div_euclid(86_400);
        let limited = self.plan.months != 0 || self.plan.weekdays != 0 || !self.by_weekday_alone();
        if limited {
            let found = self.next_day(day);
            if found != day {
                return Filled::NotBefore(found.saturating_mul(86_400).div_euclid(unit));
            }
        }
        let time = civil.rem_euclid(86_400);
        let hour = time / 3600;
        if self.rule.hours != 0 && self.rule.hours & (1 << hour) == 0 {
            let later = u64::from(self.rule.hours) >> hour;
            let next = if later == 0 { 24 } else { hour + i64::from(later.trailing_zeros()) };
            return Filled::NotBefore((day * 86_400 + next * 3600).div_euclid(unit));
        }
        self.hours = Few::one(hour);
        if unit <= 60 {
            let minute = time / 60 % 60;
            if self.rule.minutes != 0 && self.rule.minutes & (1 << minute) == 0 {
                let later = self.rule.minutes >> minute;
                let next = if later == 0 { 60 } else { minute + i64::from(later.trailing_zeros()) };
                return Filled::NotBefore((day * 86_400 + hour * 3600 + next * 60).div_euclid(unit));
            }
            self.minutes = Few::one(minute);
        }
        if unit == 1 {
            let second = time % 60;
            if self.rule.seconds != 0 && self.rule.seconds & (1 << second) == 0 {
                let later = self.rule.seconds >> second;
                let next = if later == 0 { 60 } else { second + i64::from(later.trailing_zeros()) };
                return Filled::NotBefore(civil - second + next);
            }
            self.seconds = Few::one(second);
        }
        self.single(day);
        Filled::Some
    }

    fn load_month(&mut self, day: i64) {
        if day >= self.month.first && day < self.month.first + self.month.length {
            return;
        }
        let (year, month, of_month) = date_of(day);
        let first = day - i64::from(of_month) + 1;
        let days = self.month_mask(year, month, first);
        self.month = Month { first, length: i64::from(days_in_month(year, month)), days };
    }

    fn matches(&mut self, day: i64) -> bool {
        self.load_month(day);
        self.month.days & (1 << (day - self.month.first)) != 0
    }

    /// Returns the first matching day not before this one in its month, else the first day of the next month.
    fn next_day(&mut self, day: i64) -> i64 {
        self.load_month(day);
        let later = self.month.days >> (day - self.month.first);
        match later {
            0 => self.month.first + self.month.length,
            later => day + i64::from(later.trailing_zeros()),
        }
    }

    /// Returns the days of a month that every BYxxx part about days allows; bit 0 is the first.
    fn month_mask(&self, year: i64, month: u32, first: i64) -> u32 {
        let plan = &self.plan;
        if plan.months != 0 && plan.months & (1 << month) == 0 {
            return 0;
        }
        let length = days_in_month(year, month);
        let full = u32::MAX >> (32 - length);
        let mut mask = full;
        if plan.month_days | plan.month_days_back != 0 {
            mask &= plan.month_days | plan.month_days_back.reverse_bits() >> (32 - length);
        }
        if plan.weekdays != 0 || !self.rule.numbered.is_empty() {
            mask &= self.weekday_mask(year, first, length);
        }
        if mask != 0 && !self.rule.year_days.is_empty() {
            mask &= self.year_day_mask(year, first, length);
        }
        if mask != 0 && !self.rule.weeks.is_empty() {
            let mut left = mask;
            while left != 0 {
                let bit = left.trailing_zeros();
                left &= left - 1;
                if !self.in_weeks(year, first + i64::from(bit)) {
                    mask &= !(1 << bit);
                }
            }
        }
        mask & full
    }

    fn weekday_mask(&self, year: i64, first: i64, length: u32) -> u32 {
        /// Every seventh day.
        const SEVENTHS: u32 = 0x1020_4081;
        let first_weekday = weekday_of(first);
        let mut mask = 0;
        let mut bits = self.plan.weekdays;
        while bits != 0 {
            let weekday = bits.trailing_zeros();
            bits &= bits - 1;
            mask |= SEVENTHS << ((weekday + 7 - first_weekday) % 7);
        }
        for &(number, weekday) in &self.rule.numbered {
            let (begin, size) = if self.plan.within_month {
                (first, i64::from(length))
            } else {
                (day_number(year, 1, 1), if leap(year) { 366 } else { 365 })
            };
            let shift = i64::from((u32::from(weekday) + 7 - weekday_of(begin)) % 7);
            let day = if number > 0 {
                begin + shift + (i64::from(number) - 1) * 7
            } else {
                let last = shift + (size - 1 - shift) / 7 * 7;
                begin + last + (i64::from(number) + 1) * 7
            };
            let inside = day >= begin && day < begin + size;
            if inside && day >= first && day < first + i64::from(length) {
                mask |= 1 << (day - first);
            }
        }
        mask
    }

    fn year_day_mask(&self, year: i64, first: i64, length: u32) -> u32 {
        let begin = day_number(year, 1, 1);
        let size = if leap(year) { 366 } else { 365 };
        let mut mask = 0;
        for &number in &self.rule.year_days {
            let at = if number > 0 { i64::from(number) - 1 } else { size + i64::from(number) };
            let day = begin + at;
            if (0..size).contains(&at) && day >= first && day < first + i64::from(length) {
                mask |= 1 << (day - first);
            }
        }
        mask
    }

    /// RFC 5545 §3.3.10: week 1 is the first with at least four days in the year; weeks begin on WKST.
    fn in_weeks(&self, year: i64, day: i64) -> bool {
        let week_start = i64::from(self.rule.week_start);
        let first_of = |year: i64| {
            let fourth = day_number(year, 1, 4);
            fourth - (fourth + 3 - week_start).rem_euclid(7)
        };
        let (mut begin, mut next) = (first_of(year), first_of(year + 1));
        if day < begin {
            (begin, next) = (first_of(year - 1), begin);
        } else if day >= next {
            (begin, next) = (next, first_of(year + 2));
        }
        let number = (day - begin) / 7 + 1;
        let back = number - 1 - (next - begin) / 7;
        self.rule.weeks.iter().any(|&week| i64::from(week) == number || i64::from(week) == back)
    }
}

impl Iterator for Occurrences<'_> {
    type Item = Civil;

    fn next(&mut self) -> Option<Civil> {
        if let Some(first) = self.first.take() {
            return Some(Civil(first));
        }
        if self.index >= self.total && !self.advance() {
            return None;
        }
        let civil = self.time_at(self.index);
        self.index += 1;
        if civil > self.last {
            self.period = i64::MAX;
            self.last_period = i64::MIN;
            self.index = self.total;
            return None;
        }
        Some(Civil(civil))
    }
}

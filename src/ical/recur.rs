//! The recurrence rule (RFC 5545 §3.3.10) on civil time.
//!
//! Owns: reading a rule, and which wall-clock times it yields from a DTSTART.
//! Does not own: zones, RDATE, EXDATE and overrides (`series`), what overlaps what (`series`, `filter`).
//!
//! Everything is arithmetic on day numbers. A period (a year, month, week, day, hour …) yields a set of days, kept as
//! bit masks of months, and a set of times of day, kept as short lists; the two are never multiplied out. A window far
//! from DTSTART is reached by division, not by walking. Every call has a budget of steps, so that a rule made to
//! waste time ends.

mod days;
mod walk;

pub(super) use days::{date_of, day_number, days_in_month, weekday_of};
pub use walk::Occurrences;

use super::value::Civil;
use walk::LAST_CIVIL;

/// Why a rule is not understood. The object is kept all the same; its DTSTART (and RDATEs) stand alone.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct RuleProblem(pub String);

fn problem<T>(text: impl Into<String>) -> Result<T, RuleProblem> {
    Err(RuleProblem(text.into()))
}

/// The unit that a rule steps by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Frequency {
    /// Each year.
    Yearly,
    /// Each month.
    Monthly,
    /// Each week, which begins on WKST.
    Weekly,
    /// Each day.
    Daily,
    /// Each hour.
    Hourly,
    /// Each minute.
    Minutely,
    /// Each second.
    Secondly,
}

/// The UNTIL of a rule as written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Until {
    /// The time; midnight for a date.
    pub civil: Civil,
    /// Written with `Z`.
    pub utc: bool,
    /// Written as a date.
    pub date: bool,
}

/// A recurrence rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// FREQ.
    pub frequency: Frequency,
    /// INTERVAL, at least 1.
    pub interval: u32,
    /// COUNT; DTSTART is the first.
    pub count: Option<u64>,
    /// UNTIL.
    pub until: Option<Until>,
    /// The last civil time that the rule may yield; set by the caller once UNTIL or COUNT has been worked out.
    pub last: Option<Civil>,
    /// Monday is 0.
    week_start: u8,
    /// Bit 1 is January.
    months: u16,
    /// Bit 0 is the first of the month.
    month_days: u32,
    /// Bit 0 is the last of the month.
    month_days_back: u32,
    /// Bit 0 is Monday; only weekdays without a number.
    weekdays: u8,
    hours: u32,
    minutes: u64,
    seconds: u64,
    /// Weekdays with a number: (number, Monday is 0).
    numbered: Vec<(i16, u8)>,
    year_days: Vec<i16>,
    weeks: Vec<i8>,
    positions: Vec<i32>,
}

const WEEKDAYS: [&str; 7] = ["MO", "TU", "WE", "TH", "FR", "SA", "SU"];

impl Rule {
    /// Reads the value of an RRULE. Letter case, blanks and empty parts are forgiven; unknown parts are not, since
    /// they may change what the rule means (RFC 7529 RSCALE other than GREGORIAN, for example).
    pub fn parse(text: &str) -> Result<Rule, RuleProblem> {
        let mut rule = Rule {
            frequency: Frequency::Daily,
            interval: 1,
            count: None,
            until: None,
            last: None,
            week_start: 0,
            months: 0,
            month_days: 0,
            month_days_back: 0,
            weekdays: 0,
            hours: 0,
            minutes: 0,
            seconds: 0,
            numbered: Vec::new(),
            year_days: Vec::new(),
            weeks: Vec::new(),
            positions: Vec::new(),
        };
        let mut frequency = None;
        for part in text.split(';') {
            let part = part.trim();
            if part.is_empty() {
                continue;
            }
            let Some((name, value)) = part.split_once('=') else {
                return problem(format!("the rule part \"{part}\" has no value"));
            };
            let (name, value) = (name.trim(), value.trim());
            if name.eq_ignore_ascii_case("FREQ") {
                frequency = Some(frequency_of(value)?);
            } else {
                rule.part(name, value)?;
            }
        }
        match frequency {
            Some(frequency) => rule.frequency = frequency,
            None => return problem("the rule has no FREQ"),
        }
        // RFC 5545 §3.3.10: a number before a weekday means something for MONTHLY and YEARLY alone.
        if rule.frequency > Frequency::Monthly || !rule.weeks.is_empty() {
            for (_, weekday) in rule.numbered.drain(..) {
                rule.weekdays |= 1 << weekday;
            }
        }
        Ok(rule)
    }

    fn part(&mut self, name: &str, value: &str) -> Result<(), RuleProblem> {
        match name.to_ascii_uppercase().as_str() {
            "INTERVAL" => {
                self.interval = match value.parse::<u64>() {
                    Ok(n) if n > 0 => u32::try_from(n).unwrap_or(u32::MAX),
                    _ => return problem(format!("INTERVAL={value} is not a positive number")),
                }
            }
            "COUNT" => match value.parse::<i64>() {
                Ok(n) if n > 0 => self.count = Some(n.unsigned_abs()),
                // Some exporters write -1 for a series without COUNT.
                Ok(n) if n < 0 => self.count = None,
                _ => return problem(format!("COUNT={value} is not a positive number")),
            },
            "UNTIL" => self.until = Some(until(value)?),
            "WKST" => self.week_start = weekday(value)?,
            "BYMONTH" => {
                for n in numbers(name, value, 1, 12, false)? {
                    self.months |= 1 << n;
                }
            }
            "BYMONTHDAY" => {
                for n in numbers(name, value, 1, 31, true)? {
                    if n > 0 {
                        self.month_days |= 1 << (n - 1);
                    } else {
                        self.month_days_back |= 1 << (-n - 1);
                    }
                }
            }
            "BYYEARDAY" => {
                self.year_days = numbers(name, value, 1, 366, true)?.into_iter().map(|n| n as i16).collect();
            }
            "BYWEEKNO" => {
                self.weeks = numbers(name, value, 1, 53, true)?.into_iter().map(|n| n as i8).collect();
            }
            "BYDAY" => {
                for item in list(value) {
                    self.by_day(item)?;
                }
            }
            "BYHOUR" => {
                for n in numbers(name, value, 0, 23, false)? {
                    self.hours |= 1 << n;
                }
            }
            "BYMINUTE" => {
                for n in numbers(name, value, 0, 59, false)? {
                    self.minutes |= 1 << n;
                }
            }
            "BYSECOND" => {
                // RFC 5545 §3.3.10 allows the leap second 60; a clock without leap seconds reads it as 59.
                for n in numbers(name, value, 0, 60, false)? {
                    self.seconds |= 1 << n.min(59);
                }
            }
            "BYSETPOS" => self.positions = numbers(name, value, 1, 366, true)?,
            "RSCALE" if value.eq_ignore_ascii_case("GREGORIAN") => {}
            "SKIP" if value.eq_ignore_ascii_case("OMIT") => {}
            other => return problem(format!("the rule part {other}={value} is not understood")),
        }
        Ok(())
    }

    fn by_day(&mut self, item: &str) -> Result<(), RuleProblem> {
        let split = item.len().saturating_sub(2);
        let (Some(number), Some(day)) = (item.get(..split), item.get(split..)) else {
            return problem(format!("BYDAY={item} is not a weekday"));
        };
        let day = weekday(day)?;
        match number.trim() {
            "" => self.weekdays |= 1 << day,
            number => match number.parse::<i16>() {
                Ok(n) if n != 0 && n.abs() <= 53 => self.numbered.push((n, day)),
                _ => return problem(format!("BYDAY={item} has a number out of range")),
            },
        }
        Ok(())
    }

    /// Returns the bytes that the rule keeps beyond its own size.
    pub fn heap_bytes(&self) -> usize {
        self.numbered.capacity() * 4
            + self.year_days.capacity() * 2
            + self.weeks.capacity()
            + self.positions.capacity() * 4
    }

    /// Returns the times not before `from` that the rule yields from DTSTART `start`, in order.
    ///
    /// DTSTART is the first of them whether the rule yields it or not, and COUNT counts it (RFC 5545 §3.8.5.3 and
    /// §3.3.10). UNTIL is compared as it is written; a caller that knows the zone sets [`Rule::last`] instead.
    pub fn occurrences(&self, start: Civil, from: Civil) -> Occurrences<'_> {
        Occurrences::new(self, start.0, from.0, self.last(start))
    }

    /// Like [`Rule::occurrences`], but none after `to`, and no step is wasted on looking for one there.
    pub fn between(&self, start: Civil, from: Civil, to: Civil) -> Occurrences<'_> {
        Occurrences::new(self, start.0, from.0, self.last(start).min(to.0))
    }

    /// Like [`Rule::between`], but DTSTART is one of them only if the rule yields it: for EXRULE.
    pub fn matches(&self, start: Civil, from: Civil, to: Civil) -> Occurrences<'_> {
        self.between(start, from, to).unforced(start.0, from.0)
    }

    fn last(&self, start: Civil) -> i64 {
        let last = match self.last {
            Some(last) => last.0,
            None => {
                let counted = match self.count {
                    Some(_) => self.counted(start).0.map_or(LAST_CIVIL, |c| c.0),
                    None => LAST_CIVIL,
                };
                counted.min(self.until.map_or(LAST_CIVIL, |u| u.inclusive().0))
            }
        };
        last.min(LAST_CIVIL)
    }

    /// Returns the COUNTth occurrence, and whether the walk reached it within its budget. Nothing: no COUNT, or the
    /// calendar ends (year 9999) before it.
    pub fn counted(&self, start: Civil) -> (Option<Civil>, bool) {
        let Some(count) = self.count else { return (None, true) };
        if count <= 1 {
            return (Some(start), true);
        }
        let mut walk = Occurrences::new(self, start.0, start.0, LAST_CIVIL);
        walk.first = None;
        let mut left = count - 1;
        let regular = walk.regular();
        let mut seen = start;
        let mut first = true;
        while walk.advance() {
            let here = walk.total - walk.index;
            if here >= left {
                return (Some(Civil(walk.time_at(walk.index + left - 1))), true);
            }
            seen = Civil(walk.time_at(walk.total - 1));
            left -= here;
            // Periods that all hold the same number need no walk.
            if let (false, true) = (first, regular) {
                let whole = (left - 1) / here;
                let skip = i64::try_from(whole).unwrap_or(i64::MAX).saturating_mul(walk.interval);
                walk.period = walk.period.saturating_add(skip);
                left -= whole * here;
            }
            first = false;
        }
        if walk.exhausted { (Some(seen), false) } else { (None, true) }
    }
}

impl Until {
    /// Returns the last wall-clock time that is not after it; a date includes its whole day.
    pub fn inclusive(self) -> Civil {
        if self.date { Civil(self.civil.0 + 86_399) } else { self.civil }
    }
}

fn frequency_of(value: &str) -> Result<Frequency, RuleProblem> {
    Ok(match value.to_ascii_uppercase().as_str() {
        "YEARLY" => Frequency::Yearly,
        "MONTHLY" => Frequency::Monthly,
        "WEEKLY" => Frequency::Weekly,
        "DAILY" => Frequency::Daily,
        "HOURLY" => Frequency::Hourly,
        "MINUTELY" => Frequency::Minutely,
        "SECONDLY" => Frequency::Secondly,
        _ => return problem(format!("FREQ={value} is not understood")),
    })
}

fn weekday(text: &str) -> Result<u8, RuleProblem> {
    match WEEKDAYS.iter().position(|day| day.eq_ignore_ascii_case(text)) {
        Some(n) => Ok(n as u8),
        None => problem(format!("\"{text}\" is not a weekday")),
    }
}

fn list(value: &str) -> impl Iterator<Item = &str> {
    value.split(',').map(str::trim).filter(|item| !item.is_empty())
}

fn numbers(name: &str, value: &str, low: i32, high: i32, negative: bool) -> Result<Vec<i32>, RuleProblem> {
    let mut all = Vec::new();
    for item in list(value) {
        match item.parse::<i32>() {
            Ok(n) if (low..=high).contains(&n) || (negative && (-high..=-low).contains(&n)) => all.push(n),
            _ => return problem(format!("{name}={item} is out of range")),
        }
    }
    Ok(all)
}

fn until(value: &str) -> Result<Until, RuleProblem> {
    let utc = value.ends_with(['Z', 'z']);
    let date = !value.contains(['T', 't']);
    match Civil::parse(value.trim_end_matches(['Z', 'z'])) {
        Some(civil) => Ok(Until { civil, utc: utc && !date, date }),
        None => problem(format!("UNTIL={value} is not a date or a time")),
    }
}

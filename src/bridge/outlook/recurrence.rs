//! patternedRecurrence ↔ RRULE.
//!
//! Owns: which rules Outlook has words for, which fall apart into several that it has, and what it means by its own.
//! Does not own: exceptions and cancelled instances (`event`), which instances a rule yields (`ical::recur`).
//!
//! Outlook takes the last day of a month that is too short for day 29, 30 or 31, where RFC 5545 §3.3.10 leaves the
//! month out. Its day 31 is therefore `BYMONTHDAY=-1`, its day 30 `BYMONTHDAY=28,29,30;BYSETPOS=-1`.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::ical::recur::Rule;
use crate::ical::value::{Civil, DAY, days_in_month};
use crate::ical::zone::Zone;

const CODES: [&str; 7] = ["MO", "TU", "WE", "TH", "FR", "SA", "SU"];
const NAMES: [&str; 7] = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];
const INDEXES: [(&str, i32); 5] = [("first", 1), ("second", 2), ("third", 3), ("fourth", 4), ("last", -1)];
/// How many series may stand for one.
const PIECES: usize = 4;
/// Outlook's calendar ends in this year.
const LAST_YEAR: i64 = 4500;

/// How a series repeats, in Outlook's terms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Recurrence {
    pub(super) pattern: Pattern,
    pub(super) interval: u32,
    /// The day that weeks begin with; Monday is 0.
    pub(super) first: u8,
    pub(super) end: End,
}

/// In which way. Days of the week are bits, bit 0 is Monday.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Pattern {
    Daily,
    Weekly { days: u8 },
    AbsoluteMonthly { day: u32 },
    RelativeMonthly { days: u8, index: i32 },
    AbsoluteYearly { month: u32, day: u32 },
    RelativeYearly { month: u32, days: u8, index: i32 },
}

/// How long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Never,
    /// The last day on which an instance may begin.
    On(Civil),
    Count(u64),
}

/// What becomes of a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Mapped {
    /// Outlook has it.
    One(Recurrence),
    /// Outlook has these, which together are the same. Their ends are not set.
    Several(Vec<Recurrence>),
    /// Outlook has no words for it: this is what is peculiar about it.
    None(String),
}

/// The parts of a rule as they are written.
#[derive(Debug, Default)]
struct Parts {
    frequency: String,
    interval: u32,
    count: Option<u64>,
    until: Option<String>,
    first: u8,
    days: Vec<(i32, u8)>,
    month_days: Vec<i32>,
    months: Vec<u32>,
    positions: Vec<i32>,
    /// A part that Outlook never has.
    odd: Option<String>,
}

impl Parts {
    fn read(text: &str, start: Civil) -> Parts {
        let mut parts = Parts { interval: 1, ..Parts::default() };
        let (hour, minute, second) = start.time();
        for part in text.split(';') {
            let Some((name, value)) = part.split_once('=') else { continue };
            let (name, value) = (name.trim().to_ascii_uppercase(), value.trim().to_ascii_uppercase());
            let numbers =
                || value.split(',').filter_map(|n| n.trim().parse::<i32>().ok()).collect::<Vec<_>>();
            // A time of day that is DTSTART's own says nothing new.
            let trivial = |own: i64| value.parse::<i64>() == Ok(own);
            match name.as_str() {
                "FREQ" => parts.frequency = value,
                "INTERVAL" => parts.interval = value.parse().unwrap_or(1).max(1),
                "COUNT" => parts.count = value.parse().ok(),
                "UNTIL" => parts.until = Some(value),
                "WKST" => parts.first = weekday(&value).unwrap_or(0),
                "BYDAY" => parts.days = value.split(',').filter_map(numbered).collect(),
                "BYMONTHDAY" => parts.month_days = sorted(numbers()),
                "BYMONTH" => {
                    parts.months = sorted(numbers()).into_iter().filter_map(|n| n.try_into().ok()).collect();
                }
                "BYSETPOS" => parts.positions = sorted(numbers()),
                "BYHOUR" if trivial(hour) => {}
                "BYMINUTE" if trivial(minute) => {}
                "BYSECOND" if trivial(second) => {}
                "RSCALE" | "SKIP" => {}
                _ => parts.odd = Some(name),
            }
        }
        if !matches!(parts.frequency.as_str(), "MONTHLY" | "YEARLY") {
            // RFC 5545 §3.3.10: a number before a weekday means something for MONTHLY and YEARLY alone.
            parts.days.iter_mut().for_each(|(number, _)| *number = 0);
        }
        parts
    }

    /// Returns the weekdays without numbers as bits; nothing: some have numbers, or there are none.
    fn plain_days(&self) -> Option<u8> {
        if self.days.is_empty() || self.days.iter().any(|(number, _)| *number != 0) {
            return None;
        }
        Some(self.days.iter().fold(0, |bits, (_, day)| bits | 1 << day))
    }
}

fn sorted(mut numbers: Vec<i32>) -> Vec<i32> {
    numbers.sort_unstable();
    numbers.dedup();
    numbers
}

fn weekday(code: &str) -> Option<u8> {
    CODES.iter().position(|c| *c == code).and_then(|n| u8::try_from(n).ok())
}

fn numbered(item: &str) -> Option<(i32, u8)> {
    let item = item.trim();
    let (number, code) = item.split_at_checked(item.len().checked_sub(2)?)?;
    let number = if number.is_empty() { 0 } else { number.trim_start_matches('+').parse().ok()? };
    Some((number, weekday(code)?))
}

/// Returns what becomes of a rule for a series that begins then.
pub(super) fn of_rule(text: &str, start: Civil, zone: &Zone, all_day: bool) -> Mapped {
    let parts = Parts::read(text, start);
    if let Some(odd) = &parts.odd {
        return Mapped::None(format!("its rule has {odd}"));
    }
    let patterns = match patterns(&parts, start) {
        Ok(patterns) => patterns,
        Err(why) => return Mapped::None(why),
    };
    let of = |(pattern, interval): (Pattern, u32), end| Recurrence {
        first: first(&pattern, interval, parts.first),
        pattern,
        interval,
        end,
    };
    match <[_; 1]>::try_from(patterns) {
        Ok([one]) => match of(one, end(&parts, start, zone, all_day)).within_numbers(start) {
            Some(one) => Mapped::One(one),
            None => Mapped::None("it ends later than Outlook can say".into()),
        },
        Err(several) if several.len() <= PIECES => {
            Mapped::Several(several.into_iter().map(|one| of(one, End::Never)).collect())
        }
        Err(_) => Mapped::None("its rule names too many days at once".into()),
    }
}

/// The day that weeks begin with matters where weeks are left out; elsewhere it is Monday.
fn first(pattern: &Pattern, interval: u32, begins: u8) -> u8 {
    if matches!(pattern, Pattern::Weekly { .. }) && interval > 1 { begins } else { 0 }
}

/// UNTIL as the last day on which an instance may begin: an instance later on that day than UNTIL is none.
fn end(parts: &Parts, start: Civil, zone: &Zone, all_day: bool) -> End {
    if let Some(count) = parts.count {
        return End::Count(count);
    }
    let Some(until) = &parts.until else { return End::Never };
    let Some(civil) = Civil::parse(until.trim_end_matches('Z')) else { return End::Never };
    // RFC 5545 §3.8.5.3: the first instance counts whatever the rule says.
    let first = start.midnight();
    if until.len() <= 8 || all_day {
        return End::On(civil.midnight().max(first));
    }
    let civil = if until.ends_with('Z') { zone.to_civil(civil.0) } else { civil };
    let late = civil.0 - civil.midnight().0 >= start.0 - start.midnight().0;
    End::On(Civil(civil.midnight().0 - if late { 0 } else { DAY }).max(first))
}

type Patterns = Result<Vec<(Pattern, u32)>, String>;

fn one(pattern: Pattern, interval: u32) -> Patterns {
    Ok(vec![(pattern, interval)])
}

fn patterns(parts: &Parts, start: Civil) -> Patterns {
    let limited = !parts.months.is_empty() || !parts.month_days.is_empty() || !parts.positions.is_empty();
    match parts.frequency.as_str() {
        "DAILY" | "WEEKLY" if limited => Err("its rule limits days or weeks to certain dates".into()),
        "DAILY" => match parts.plain_days() {
            None => one(Pattern::Daily, parts.interval),
            Some(days) if parts.interval == 1 => one(Pattern::Weekly { days }, 1),
            Some(_) => Err("its rule counts days and names weekdays".into()),
        },
        "WEEKLY" => {
            let days = parts.plain_days().unwrap_or(1 << weekday_of(start));
            one(Pattern::Weekly { days }, parts.interval)
        }
        "MONTHLY" if parts.months.is_empty() => monthly(parts, start),
        "MONTHLY" if parts.interval == 1 => yearly(parts, start),
        "MONTHLY" => Err("its rule counts months and names months".into()),
        "YEARLY" if parts.interval > 1 => Err("it repeats every few years".into()),
        "YEARLY" => yearly(parts, start),
        other => Err(format!("it repeats {}", other.to_ascii_lowercase())),
    }
}

fn weekday_of(civil: Civil) -> u8 {
    // 1970-01-01 was a Thursday.
    u8::try_from((civil.days() + 3).rem_euclid(7)).unwrap_or(0)
}

fn monthly(parts: &Parts, start: Civil) -> Patterns {
    if parts.days.is_empty() {
        return match month_days(parts, start, (28, 31))? {
            days if days.is_empty() => Err("its rule names no day".into()),
            days => {
                Ok(days.into_iter().map(|day| (Pattern::AbsoluteMonthly { day }, parts.interval)).collect())
            }
        };
    }
    // Every Monday of every month is every Monday.
    if let (Some(days), true, true, 1) =
        (parts.plain_days(), parts.positions.is_empty(), parts.month_days.is_empty(), parts.interval)
    {
        return one(Pattern::Weekly { days }, 1);
    }
    let found = relative(parts)?;
    Ok(found
        .into_iter()
        .map(|(days, index)| (Pattern::RelativeMonthly { days, index }, parts.interval))
        .collect())
}

fn yearly(parts: &Parts, start: Civil) -> Patterns {
    let (_, month, _) = start.date();
    let by_day = !parts.days.is_empty();
    let months = match (&*parts.months, by_day, parts.month_days.is_empty()) {
        // RFC 5545 §3.3.10: without BYMONTH, BYMONTHDAY means that day of every month.
        ([], _, false) => return monthly(parts, start),
        ([], true, true) => {
            return match (parts.plain_days(), parts.positions.is_empty()) {
                (Some(days), true) => one(Pattern::Weekly { days }, 1),
                _ => Err("its rule counts weekdays in a year".into()),
            };
        }
        ([], false, true) => vec![u32::try_from(month).unwrap_or(1)],
        (months, ..) => months.to_vec(),
    };
    let spans_months = parts.frequency == "YEARLY" && months.len() > 1;
    if spans_months && !parts.positions.is_empty() {
        return Err("its rule picks from several months together".into());
    }
    let mut all = Vec::new();
    for month in months {
        if by_day {
            let found = relative(parts)?;
            all.extend(
                found.into_iter().map(|(days, index)| (Pattern::RelativeYearly { month, days, index }, 1)),
            );
        } else {
            let length = |year| u32::try_from(days_in_month(year, i64::from(month))).unwrap_or(31);
            let days = month_days(parts, start, (length(2023), length(2024)))?;
            all.extend(days.into_iter().map(|day| (Pattern::AbsoluteYearly { month, day }, 1)));
        }
    }
    Ok(all)
}

/// Returns the days of a month of at least and at most that many days, in Outlook's sense.
fn month_days(parts: &Parts, start: Civil, (shortest, length): (u32, u32)) -> Result<Vec<u32>, String> {
    let (_, _, own) = start.date();
    let named: Vec<i32> = match &*parts.month_days {
        [] => vec![i32::try_from(own).unwrap_or(1)],
        named => named.to_vec(),
    };
    if !parts.positions.is_empty() {
        // The last of 28, 29 and 30 that there is: what Outlook means by day 30.
        let clamped = named.first() == Some(&28)
            && named.iter().zip(28..).all(|(a, b)| *a == b)
            && parts.positions == [-1];
        let day = named.last().and_then(|n| u32::try_from(*n).ok());
        return match (clamped, day, &*named, &*parts.positions) {
            (true, Some(day), ..) => Ok(vec![day.min(length)]),
            (_, _, [_], [1 | -1]) => {
                month_days(&Parts { month_days: named, ..Parts::default() }, start, (shortest, length))
            }
            _ => Err("its rule picks from several days of a month".into()),
        };
    }
    named
        .into_iter()
        .map(|day| match u32::try_from(day) {
            Ok(day) if (1..=shortest).contains(&day) => Ok(day),
            Err(_) if day == -1 => Ok(length),
            Ok(day) => Err(format!("it repeats on day {day}, which Outlook moves in months that lack it")),
            Err(_) => Err("its rule counts days from the end of a month".into()),
        })
        .collect()
}

/// Returns weekdays and which of them in the month.
fn relative(parts: &Parts) -> Result<Vec<(u8, i32)>, String> {
    let known = |number: i32| (1..=4).contains(&number) || number == -1;
    let odd = || Err("its rule counts weekdays in a way that Outlook does not".to_owned());
    if let Some(days) = parts.plain_days() {
        // Seven days in a row hold each weekday once: BYDAY=FR;BYMONTHDAY=8,…,14 is the second Friday.
        let week = parts.month_days.first().copied().unwrap_or_default();
        let row = parts.month_days.len() == 7 && parts.month_days.iter().zip(week..).all(|(a, b)| *a == b);
        return match (&*parts.positions, row, week) {
            ([], true, 1 | 8 | 15 | 22) if days.count_ones() == 1 => Ok(vec![(days, (week - 1) / 7 + 1)]),
            ([_, ..], ..) if parts.month_days.is_empty() && parts.positions.iter().all(|p| known(*p)) => {
                Ok(parts.positions.iter().map(|position| (days, *position)).collect())
            }
            _ => odd(),
        };
    }
    let trivial =
        parts.positions.is_empty() || (parts.days.len() == 1 && matches!(&*parts.positions, [1 | -1]));
    if !parts.month_days.is_empty() || !trivial || !parts.days.iter().all(|(number, _)| known(*number)) {
        return odd();
    }
    let mut found: Vec<(u8, i32)> = parts.days.iter().map(|(number, day)| (1 << day, *number)).collect();
    found.sort_unstable_by_key(|(days, index)| (*index, *days));
    found.dedup();
    Ok(found)
}

impl Recurrence {
    /// Returns the value of an RRULE that means the same for a series that begins then.
    pub(super) fn rule(&self, start: Civil, zone: &Zone, all_day: bool) -> String {
        let mut text = self.frequency();
        match self.end {
            End::Never => {}
            End::Count(count) => text.push_str(&format!(";COUNT={count}")),
            End::On(day) if all_day => text.push_str(&format!(";UNTIL={}", day.to_date())),
            End::On(day) => {
                let last = Civil(day.0 + (start.0 - start.midnight().0));
                text.push_str(&format!(";UNTIL={}Z", Civil(zone.to_instant(last)).to_basic()));
            }
        }
        text
    }

    /// Returns the rule without its end.
    fn frequency(&self) -> String {
        let interval = if self.interval > 1 { format!(";INTERVAL={}", self.interval) } else { String::new() };
        let clamped = |day: u32| match day {
            29 | 30 => {
                let days: Vec<String> = (28..=day).map(|d| d.to_string()).collect();
                format!("BYMONTHDAY={};BYSETPOS=-1", days.join(","))
            }
            31.. => "BYMONTHDAY=-1".to_owned(),
            day => format!("BYMONTHDAY={day}"),
        };
        let relative = |days: u8, index: i32| match days.count_ones() {
            1 => format!("BYDAY={index}{}", codes(days)),
            _ => format!("BYDAY={};BYSETPOS={index}", codes(days)),
        };
        match &self.pattern {
            Pattern::Daily => format!("FREQ=DAILY{interval}"),
            Pattern::Weekly { days } => {
                // RFC 5545 §3.3.10: WKST matters where weeks are left out.
                let first =
                    CODES.get(usize::from(self.first)).filter(|_| self.interval > 1 && self.first > 0);
                let first = first.map(|code| format!(";WKST={code}")).unwrap_or_default();
                format!("FREQ=WEEKLY{interval}{first};BYDAY={}", codes(*days))
            }
            Pattern::AbsoluteMonthly { day } => format!("FREQ=MONTHLY{interval};{}", clamped(*day)),
            Pattern::RelativeMonthly { days, index } => {
                format!("FREQ=MONTHLY{interval};{}", relative(*days, *index))
            }
            Pattern::AbsoluteYearly { month, day } => {
                let day = i64::from(*day).min(days_in_month(2024, i64::from(*month)));
                let day = if (*month, day) == (2, 29) { -1 } else { day };
                format!("FREQ=YEARLY{interval};BYMONTH={month};BYMONTHDAY={day}")
            }
            Pattern::RelativeYearly { month, days, index } => {
                format!("FREQ=YEARLY{interval};BYMONTH={month};{}", relative(*days, *index))
            }
        }
    }

    /// Outlook counts to 999: a series with more instances ends on the day of its last one. Nothing: that is too far.
    fn within_numbers(self, start: Civil) -> Option<Recurrence> {
        let End::Count(count @ 1000..) = self.end else { return Some(self) };
        let mut rule = Rule::parse(&self.frequency()).ok()?;
        rule.count = Some(count);
        let (last, reached) = rule.counted(start);
        let last = last.filter(|last| reached && last.date().0 < LAST_YEAR)?;
        Some(Recurrence { end: End::On(last.midnight()), ..self })
    }

    /// Returns the first instance that the pattern yields at or after a time, counting from it.
    pub(super) fn first_from(&self, start: Civil) -> Option<Civil> {
        let rule = Rule::parse(&self.frequency()).ok()?;
        rule.matches(start, start, Civil(start.0 + 9 * 366 * DAY)).next()
    }

    /// Returns the instances of a series that begins then, as wall-clock times, up to one.
    pub(super) fn instances(&self, start: Civil, to: Civil) -> Vec<Civil> {
        let Ok(mut rule) = Rule::parse(&self.frequency()) else { return Vec::new() };
        match self.end {
            End::Never => {}
            End::Count(count) => rule.count = Some(count),
            End::On(day) => rule.last = Some(Civil(day.0 + DAY - 1)),
        }
        rule.between(start, start, to).take(4000).collect()
    }

    /// Returns the JSON of a patternedRecurrence. Members that the type does not use are left out: the service judges
    /// them all the same.
    pub(super) fn to_json(&self, start: Civil, zone: &str) -> Value {
        let interval = self.interval;
        let pattern = match &self.pattern {
            Pattern::Daily => json!({"type": "daily", "interval": interval}),
            Pattern::Weekly { days } => json!({
                "type": "weekly", "interval": interval, "daysOfWeek": names(*days),
                "firstDayOfWeek": NAMES.get(usize::from(self.first)).unwrap_or(&"monday"),
            }),
            Pattern::AbsoluteMonthly { day } => {
                json!({"type": "absoluteMonthly", "interval": interval, "dayOfMonth": day})
            }
            Pattern::RelativeMonthly { days, index } => json!({
                "type": "relativeMonthly", "interval": interval, "daysOfWeek": names(*days), "index": index_name(*index),
            }),
            Pattern::AbsoluteYearly { month, day } => {
                json!({"type": "absoluteYearly", "interval": interval, "month": month, "dayOfMonth": day})
            }
            Pattern::RelativeYearly { month, days, index } => json!({
                "type": "relativeYearly", "interval": interval, "month": month, "daysOfWeek": names(*days),
                "index": index_name(*index),
            }),
        };
        let begin = dashed(start);
        let range = match self.end {
            End::Never => json!({"type": "noEnd", "startDate": begin, "recurrenceTimeZone": zone}),
            End::On(day) => json!({
                "type": "endDate", "startDate": begin, "endDate": dashed(day.max(start.midnight())),
                "recurrenceTimeZone": zone,
            }),
            End::Count(count) => json!({
                "type": "numbered", "startDate": begin, "numberOfOccurrences": count, "recurrenceTimeZone": zone,
            }),
        };
        json!({"pattern": pattern, "range": range})
    }

    /// Reads a patternedRecurrence of a series that begins on that day. Members that its type does not use are noise.
    pub(super) fn from_json(far: &Far, start: Civil) -> Option<Recurrence> {
        let pattern = far.pattern.as_ref()?;
        let (_, own_month, own_day) = start.date();
        let day = pattern.day_of_month.filter(|d| (1..=31).contains(d)).or(u32::try_from(own_day).ok())?;
        let month = pattern.month.filter(|m| (1..=12).contains(m)).or(u32::try_from(own_month).ok())?;
        let days = pattern.days_of_week.iter().filter_map(|d| name(d)).fold(0u8, |bits, day| bits | 1 << day);
        let days = if days == 0 { 1 << weekday_of(start) } else { days };
        let index = || match pattern.index.as_deref() {
            None => Some(1),
            Some(word) => INDEXES.iter().find(|(n, _)| n.eq_ignore_ascii_case(word)).map(|(_, n)| *n),
        };
        let pattern_read = match pattern.kind.as_deref()? {
            "daily" => Pattern::Daily,
            "weekly" => Pattern::Weekly { days },
            "absoluteMonthly" => Pattern::AbsoluteMonthly { day },
            "relativeMonthly" => Pattern::RelativeMonthly { days, index: index()? },
            "absoluteYearly" => Pattern::AbsoluteYearly { month, day },
            "relativeYearly" => Pattern::RelativeYearly { month, days, index: index()? },
            _ => return None,
        };
        let range = far.range.as_ref()?;
        let end = match range.kind.as_deref()? {
            "noEnd" => End::Never,
            "endDate" => End::On(day_of(range.end_date.as_deref()?)?),
            "numbered" => End::Count(range.number_of_occurrences.filter(|n| *n > 0)?),
            _ => return None,
        };
        let interval = pattern.interval.unwrap_or(1).max(1);
        let begins = pattern.first_day_of_week.as_deref().and_then(name).unwrap_or(6);
        let first = first(&pattern_read, interval, begins);
        Some(Recurrence { pattern: pattern_read, interval, first, end })
    }
}

fn codes(days: u8) -> String {
    let all: Vec<&str> =
        CODES.iter().enumerate().filter(|(n, _)| days & (1 << n) != 0).map(|(_, code)| *code).collect();
    all.join(",")
}

fn names(days: u8) -> Vec<&'static str> {
    NAMES.iter().enumerate().filter(|(n, _)| days & (1 << n) != 0).map(|(_, name)| *name).collect()
}

fn name(text: &str) -> Option<u8> {
    NAMES.iter().position(|n| n.eq_ignore_ascii_case(text)).and_then(|n| u8::try_from(n).ok())
}

fn index_name(index: i32) -> &'static str {
    INDEXES.iter().find(|(_, n)| *n == index).map_or("first", |(name, _)| name)
}

/// Returns `YYYY-MM-DD`.
pub(super) fn dashed(civil: Civil) -> String {
    let (year, month, day) = civil.date();
    format!("{year:04}-{month:02}-{day:02}")
}

/// Reads `YYYY-MM-DD`, whatever follows.
pub(super) fn day_of(text: &str) -> Option<Civil> {
    let mut parts = text.get(..10)?.split('-').map(|n| n.parse::<i64>().ok());
    let (year, month, day) = (parts.next()??, parts.next()??, parts.next()??);
    Civil::new(year, month, day, 0, 0, 0)
}

/// A patternedRecurrence as it comes.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Far {
    pattern: Option<FarPattern>,
    pub(super) range: Option<FarRange>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct FarPattern {
    #[serde(rename = "type")]
    kind: Option<String>,
    interval: Option<u32>,
    #[serde(default)]
    days_of_week: Vec<String>,
    first_day_of_week: Option<String>,
    day_of_month: Option<u32>,
    month: Option<u32>,
    index: Option<String>,
}

/// How long it goes on.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct FarRange {
    #[serde(rename = "type")]
    kind: Option<String>,
    end_date: Option<String>,
    number_of_occurrences: Option<u64>,
    /// The zone that the dates are in; Windows or IANA name.
    pub(super) recurrence_time_zone: Option<String>,
}

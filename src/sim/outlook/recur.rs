//! Recurrence as Outlook understands it.
//!
//! Owns: `patternedRecurrence` read, judged and written; the days on which it falls. Day 31 falls on the last day of
//! shorter months, unlike in RFC 5545.
//! Does not own: times of day, exceptions (`event`).

use serde_json::{Value, json};

use super::fail::Fail;
use super::view::set;
use super::{schema, times};
use crate::ical::value::{civil_from_days, days_from_civil, days_in_month};

/// Days beyond which no series is followed: the year 4500, where Outlook's own time ends.
const LAST_DAY: i64 = 924_000;

/// How a series goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Recurrence {
    pattern: Pattern,
    interval: i64,
    /// 0: Sunday.
    week_start: i64,
    range: Range,
    /// The day from which it counts, in days since 1970.
    pub(super) first: i64,
    zone: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Pattern {
    Daily,
    Weekly(Vec<i64>),
    AbsoluteMonthly(i64),
    RelativeMonthly(Index, Vec<i64>),
    AbsoluteYearly(i64, i64),
    RelativeYearly(i64, Index, Vec<i64>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Index {
    Nth(usize),
    Last,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Range {
    Forever,
    Until(i64),
    Times(i64),
}

fn wrong(what: impl Into<String>) -> Fail {
    Fail::new(
        400,
        "ErrorPropertyValidationFailure",
        format!("At least one property failed validation. {}", what.into()),
    )
}

impl Recurrence {
    /// Reads a `patternedRecurrence` whose fields are of the right kinds; `starts` is the day of the event's start.
    pub(super) fn read(value: &Value, starts: i64) -> Result<Recurrence, Fail> {
        let (pattern, range) = (&value["pattern"], &value["range"]);
        let Some(kind) = text(pattern, "type").and_then(|kind| schema::word("recurrencePatternType", kind))
        else {
            return Err(wrong("recurrence/pattern/type is required."));
        };
        let interval = pattern.get("interval").and_then(Value::as_i64).unwrap_or(0);
        if !(1..=999).contains(&interval) {
            return Err(wrong("recurrence/pattern/interval has to be from 1 to 999."));
        }
        let month = within(pattern, "month", 12)?;
        let day = within(pattern, "dayOfMonth", 31)?;
        let days = weekdays(pattern);
        let index = match text(pattern, "index").and_then(|index| schema::word("weekIndex", index)) {
            Some("second") => Index::Nth(1),
            Some("third") => Index::Nth(2),
            Some("fourth") => Index::Nth(3),
            Some("last") => Index::Last,
            _ => Index::Nth(0),
        };
        let needs_days = matches!(kind, "weekly" | "relativeMonthly" | "relativeYearly");
        if needs_days && days.is_empty() {
            return Err(wrong("recurrence/pattern/daysOfWeek is required for this type."));
        }
        if matches!(kind, "absoluteMonthly" | "absoluteYearly") && day == 0 {
            return Err(wrong("recurrence/pattern/dayOfMonth is required for this type."));
        }
        if matches!(kind, "absoluteYearly" | "relativeYearly") && month == 0 {
            return Err(wrong("recurrence/pattern/month is required for this type."));
        }
        let pattern_read = match kind {
            "daily" => Pattern::Daily,
            "weekly" => Pattern::Weekly(days),
            "absoluteMonthly" => Pattern::AbsoluteMonthly(day),
            "relativeMonthly" => Pattern::RelativeMonthly(index, days),
            "absoluteYearly" => Pattern::AbsoluteYearly(month, day),
            _ => Pattern::RelativeYearly(month, index, days),
        };
        let week_start = text(pattern, "firstDayOfWeek").and_then(weekday).unwrap_or(0);
        let first = text(range, "startDate").and_then(times::day);
        if first != Some(starts) {
            return Err(wrong("recurrence/range/startDate has to be the day of start."));
        }
        let zone = text(range, "recurrenceTimeZone").filter(|zone| !zone.is_empty());
        if let Some(zone) = zone {
            times::known(zone)?;
        }
        let mut read = Recurrence {
            pattern: pattern_read,
            interval,
            week_start,
            range: ends(range, starts)?,
            first: starts,
            zone: zone.map(str::to_owned),
        };
        // An event that does not begin on a day of its pattern begins on the next one.
        let Some(met) = read.days().next() else { return Err(wrong("The recurrence has no occurrence.")) };
        read.first = met;
        Ok(read)
    }

    /// The same, with its first day elsewhere.
    pub(super) fn moved(&self, first: i64) -> Recurrence {
        let moved = Recurrence { first, ..self.clone() };
        let met = moved.days().next().unwrap_or(first);
        Recurrence { first: met, ..moved }
    }

    /// Writes it with everything that Graph writes, also what means nothing.
    pub(super) fn shown(&self, zone: &str) -> Value {
        let (mut month, mut day, mut index, mut days): (i64, i64, &str, &[i64]) = (0, 0, "first", &[]);
        let kind = match &self.pattern {
            Pattern::Daily => "daily",
            Pattern::Weekly(own) => {
                days = own;
                "weekly"
            }
            Pattern::AbsoluteMonthly(own) => {
                day = *own;
                "absoluteMonthly"
            }
            Pattern::RelativeMonthly(own, on) => {
                (index, days) = (own.word(), on);
                "relativeMonthly"
            }
            Pattern::AbsoluteYearly(own, on) => {
                (month, day) = (*own, *on);
                "absoluteYearly"
            }
            Pattern::RelativeYearly(own, nth, on) => {
                (month, index, days) = (*own, nth.word(), on);
                "relativeYearly"
            }
        };
        let mut pattern = json!({
            "type": kind, "interval": self.interval, "month": month, "dayOfMonth": day,
            "firstDayOfWeek": name_of(self.week_start), "index": index,
        });
        if !days.is_empty() {
            set(&mut pattern, "daysOfWeek", days.iter().map(|day| name_of(*day)).collect());
        }
        let (kind, end, count) = match self.range {
            Range::Forever => ("noEnd", "0001-01-01".to_owned(), 0),
            Range::Until(day) => ("endDate", times::day_text(day), 0),
            Range::Times(count) => ("numbered", "0001-01-01".to_owned(), count),
        };
        let zone = self.zone.as_deref().unwrap_or(zone);
        json!({ "pattern": pattern, "range": {
            "type": kind, "startDate": times::day_text(self.first), "endDate": end,
            "recurrenceTimeZone": times::windows_name(zone), "numberOfOccurrences": count,
        }})
    }

    /// Returns the days on which it falls, in order.
    pub(super) fn days(&self) -> impl Iterator<Item = i64> + '_ {
        let until = if let Range::Until(day) = self.range { day } else { LAST_DAY };
        let count = if let Range::Times(count) = self.range {
            usize::try_from(count).unwrap_or(0)
        } else {
            usize::MAX
        };
        (0..)
            .flat_map(move |round| self.round(round))
            .skip_while(move |day| *day < self.first)
            .take_while(move |day| *day <= until)
            .take(count)
    }

    /// Tells whether it falls on a day.
    pub(super) fn falls_on(&self, day: i64) -> bool {
        self.days().take_while(|own| *own <= day).last() == Some(day)
    }

    /// The days of the n-th period, in order.
    fn round(&self, round: i64) -> Vec<i64> {
        let step = round.saturating_mul(self.interval);
        let (year, month, _) = civil_from_days(self.first);
        match &self.pattern {
            Pattern::Daily => vec![self.first.saturating_add(step)],
            Pattern::Weekly(days) => {
                let week = self.first - (weekday_of(self.first) - self.week_start).rem_euclid(7);
                let begin = week.saturating_add(step.saturating_mul(7));
                let mut found: Vec<i64> =
                    days.iter().map(|day| begin + (day - self.week_start).rem_euclid(7)).collect();
                found.sort_unstable();
                found
            }
            Pattern::AbsoluteMonthly(day) => {
                let (year, month) = month_after(year, month, step);
                vec![clamped(year, month, *day)]
            }
            Pattern::RelativeMonthly(index, days) => {
                let (year, month) = month_after(year, month, step);
                vec![index.day(year, month, days)]
            }
            Pattern::AbsoluteYearly(month, day) => vec![clamped(capped(year, step), *month, *day)],
            Pattern::RelativeYearly(month, index, days) => vec![index.day(capped(year, step), *month, days)],
        }
    }
}

impl Index {
    fn word(self) -> &'static str {
        match self {
            Index::Nth(0) => "first",
            Index::Nth(1) => "second",
            Index::Nth(2) => "third",
            Index::Nth(_) => "fourth",
            Index::Last => "last",
        }
    }

    fn day(self, year: i64, month: i64, days: &[i64]) -> i64 {
        let begin = days_from_civil(year, month, 1);
        let mut fits =
            (begin..begin + days_in_month(year, month)).filter(|day| days.contains(&weekday_of(*day)));
        let found = match self {
            Index::Nth(nth) => fits.nth(nth),
            Index::Last => fits.next_back(),
        };
        found.unwrap_or(begin)
    }
}

/// A year that the calendar of the simulator still reaches.
fn capped(year: i64, step: i64) -> i64 {
    year.saturating_add(step).min(5000)
}

fn month_after(year: i64, month: i64, step: i64) -> (i64, i64) {
    let months = (month - 1).saturating_add(step);
    (capped(year, months.div_euclid(12)), months.rem_euclid(12) + 1)
}

fn clamped(year: i64, month: i64, day: i64) -> i64 {
    days_from_civil(year, month, day.min(days_in_month(year, month)))
}

/// 0: Sunday. 1970-01-01 was a Thursday.
fn weekday_of(day: i64) -> i64 {
    (day + 4).rem_euclid(7)
}

const NAMES: [&str; 7] = ["sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"];

fn name_of(day: i64) -> &'static str {
    usize::try_from(day).ok().and_then(|at| NAMES.get(at)).copied().unwrap_or("sunday")
}

fn weekday(name: &str) -> Option<i64> {
    NAMES.iter().position(|own| own.eq_ignore_ascii_case(name)).and_then(|at| i64::try_from(at).ok())
}

fn weekdays(pattern: &Value) -> Vec<i64> {
    let named = pattern.get("daysOfWeek").and_then(Value::as_array);
    let mut days: Vec<i64> =
        named.into_iter().flatten().filter_map(Value::as_str).filter_map(weekday).collect();
    days.sort_unstable();
    days.dedup();
    days
}

fn text<'a>(value: &'a Value, field: &str) -> Option<&'a str> {
    value.get(field).and_then(Value::as_str)
}

/// Values are judged also where the type does not use them.
fn within(pattern: &Value, field: &str, most: i64) -> Result<i64, Fail> {
    let value = pattern.get(field).and_then(Value::as_i64).unwrap_or(0);
    if (0..=most).contains(&value) {
        Ok(value)
    } else {
        Err(wrong(format!("recurrence/pattern/{field} has to be from 0 to {most}.")))
    }
}

fn ends(range: &Value, starts: i64) -> Result<Range, Fail> {
    match text(range, "type").and_then(|kind| schema::word("recurrenceRangeType", kind)) {
        Some("noEnd") => Ok(Range::Forever),
        Some("endDate") => match text(range, "endDate").and_then(times::day) {
            Some(day) if day >= starts => Ok(Range::Until(day)),
            _ => Err(wrong("recurrence/range/endDate has to be at or after startDate.")),
        },
        Some("numbered") => match range.get("numberOfOccurrences").and_then(Value::as_i64) {
            Some(count) if (1..=999).contains(&count) => Ok(Range::Times(count)),
            _ => Err(wrong("recurrence/range/numberOfOccurrences has to be from 1 to 999.")),
        },
        _ => Err(wrong("recurrence/range/type is required.")),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use super::*;

    fn check(pattern: Value, range: Value, want: &[&str]) {
        let start = times::day(range["startDate"].as_str().unwrap()).unwrap();
        let read = Recurrence::read(&json!({ "pattern": pattern, "range": range }), start).unwrap();
        let days: Vec<String> = read.days().take(want.len() + 1).map(times::day_text).collect();
        assert_eq!(days, want, "{pattern} {range}");
        assert!(read.falls_on(start) == (want[0] == times::day_text(start)));
        // What is written reads the same.
        let shown = read.shown("UTC");
        let again = Recurrence::read(&shown, read.first).unwrap();
        assert_eq!(again.days().collect::<Vec<_>>(), read.days().collect::<Vec<_>>(), "{shown}");
    }

    fn numbered(start: &str, count: usize) -> Value {
        json!({ "type": "numbered", "startDate": start, "numberOfOccurrences": count })
    }

    #[test]
    fn days_of_each_pattern() {
        check(
            json!({ "type": "daily", "interval": 3 }),
            json!({ "type": "endDate", "startDate": "2026-02-26", "endDate": "2026-03-04" }),
            &["2026-02-26", "2026-03-01", "2026-03-04"],
        );
        // The first day of the week decides which weeks an interval leaves out (RFC 5545 §3.3.10, WKST, has the same pair).
        for (first, want) in [
            ("monday", ["1997-08-05", "1997-08-10", "1997-08-19", "1997-08-24"]),
            ("sunday", ["1997-08-05", "1997-08-17", "1997-08-19", "1997-08-31"]),
        ] {
            check(
                json!({ "type": "weekly", "interval": 2, "daysOfWeek": ["tuesday", "Sunday"], "firstDayOfWeek": first }),
                numbered("1997-08-05", 4),
                &want,
            );
        }
        check(
            json!({ "type": "absoluteMonthly", "interval": 1, "dayOfMonth": 31 }),
            numbered("2027-12-31", 4),
            &["2027-12-31", "2028-01-31", "2028-02-29", "2028-03-31"],
        );
        check(
            json!({ "type": "relativeMonthly", "interval": 2, "daysOfWeek": ["friday"], "index": "last" }),
            numbered("2026-01-30", 3),
            &["2026-01-30", "2026-03-27", "2026-05-29"],
        );
        check(
            json!({ "type": "relativeMonthly", "interval": 1, "daysOfWeek":
                ["monday", "tuesday", "wednesday", "thursday", "friday"], "index": "first" }),
            numbered("2026-08-03", 2),
            &["2026-08-03", "2026-09-01"],
        );
        check(
            json!({ "type": "absoluteYearly", "interval": 1, "month": 2, "dayOfMonth": 29 }),
            numbered("2024-02-29", 3),
            &["2024-02-29", "2025-02-28", "2026-02-28"],
        );
        check(
            json!({ "type": "relativeYearly", "interval": 1, "month": 11, "daysOfWeek": ["thursday"], "index": "fourth" }),
            numbered("2026-11-26", 2),
            &["2026-11-26", "2027-11-25"],
        );
    }

    #[test]
    fn a_start_off_the_pattern_moves_to_its_first_day() {
        check(
            json!({ "type": "weekly", "interval": 1, "daysOfWeek": ["friday"] }),
            numbered("2026-11-18", 2),
            &["2026-11-20", "2026-11-27"],
        );
    }

    #[test]
    fn what_outlook_cannot_hold_is_refused() {
        let day = times::day("2026-11-18").unwrap();
        let end = json!({ "type": "noEnd", "startDate": "2026-11-18" });
        let daily = json!({ "type": "daily", "interval": 1 });
        for (pattern, range) in [
            (json!({ "interval": 1 }), end.clone()),
            (json!({ "type": "daily" }), end.clone()),
            (json!({ "type": "daily", "interval": 0 }), end.clone()),
            (json!({ "type": "daily", "interval": 1, "month": 13 }), end.clone()),
            (json!({ "type": "weekly", "interval": 1 }), end.clone()),
            (json!({ "type": "absoluteMonthly", "interval": 1 }), end.clone()),
            (json!({ "type": "absoluteMonthly", "interval": 1, "dayOfMonth": -1 }), end.clone()),
            (json!({ "type": "absoluteYearly", "interval": 1, "dayOfMonth": 3 }), end.clone()),
            (daily.clone(), json!({ "type": "noEnd", "startDate": "2026-11-19" })),
            (daily.clone(), json!({ "type": "noEnd" })),
            (daily.clone(), json!({ "type": "numbered", "startDate": "2026-11-18" })),
            (daily.clone(), json!({ "type": "endDate", "startDate": "2026-11-18", "endDate": "2026-11-17" })),
            (
                daily,
                json!({ "type": "noEnd", "startDate": "2026-11-18", "recurrenceTimeZone": "Europe/Vienna" }),
            ),
        ] {
            let value = json!({ "pattern": pattern, "range": range });
            assert!(Recurrence::read(&value, day).is_err(), "{value}");
        }
    }
}

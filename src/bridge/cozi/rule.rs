//! Cozi's repeats ↔ RRULE.
//!
//! Owns: which rules Cozi can say, and how. What it cannot say is taken apart or refused by the caller.

use serde_json::{Value, json};

use super::draft::{Draft, Why};
use crate::ical::recur;
use crate::ical::value::Civil;
use crate::ical::zone::Zone;

const WEEKDAYS: [&str; 7] = ["MO", "TU", "WE", "TH", "FR", "SA", "SU"];

/// A repeat as both sides can say it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rule {
    /// `DAILY`, `WEEKLY`, `MONTHLY`, `YEARLY`.
    pub(super) frequency: String,
    pub(super) interval: u32,
    /// `MO`, `2TU`, `-1FR`.
    pub(super) by_day: Vec<String>,
    pub(super) by_month_day: Option<i64>,
    pub(super) by_month: Option<i64>,
    /// The last day on which it may begin.
    pub(super) until: Option<Civil>,
}

fn apart<T>() -> Result<T, Why> {
    Err(Why::Apart("Cozi repeats by day, week, month or year only, with one day of the month.".into()))
}

impl Rule {
    /// Reads the value of an RRULE of a series that begins like `draft`.
    pub(super) fn from_ical(
        raw: &str,
        parsed: &recur::Rule,
        draft: &Draft,
        home: &Zone,
    ) -> Result<Rule, Why> {
        let parts: Vec<(String, String)> = raw
            .split(';')
            .filter_map(|part| part.split_once('='))
            .map(|(name, value)| (name.trim().to_ascii_uppercase(), value.trim().to_ascii_uppercase()))
            .collect();
        let part = |name: &str| parts.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str());
        let known = ["FREQ", "INTERVAL", "COUNT", "UNTIL", "BYDAY", "BYMONTHDAY", "BYMONTH", "WKST"];
        if parts.iter().any(|(name, _)| !known.contains(&name.as_str())) {
            return apart();
        }
        let frequency = part("FREQ").unwrap_or_default().to_owned();
        let by_day: Vec<String> = part("BYDAY")
            .map(|days| days.split(',').map(|d| d.trim_start_matches('+').to_owned()).collect())
            .unwrap_or_default();
        let number = |name: &str| part(name).map(|value| value.parse::<i64>().ok());
        let (month_day, month) = (number("BYMONTHDAY"), number("BYMONTH"));
        let plain = by_day.iter().all(|day| WEEKDAYS.contains(&day.as_str()));
        let (year, m, d) = draft.start.date();
        let _ = year;
        let weekday =
            WEEKDAYS.get(usize::try_from((draft.start.days() + 3).rem_euclid(7)).unwrap_or(0)).copied();
        let weekday = weekday.unwrap_or("MO");
        let interval = parsed.interval;
        let mut rule = Rule {
            frequency: frequency.clone(),
            interval,
            by_day: Vec::new(),
            by_month_day: None,
            by_month: None,
            until: None,
        };
        match frequency.as_str() {
            "DAILY" if part("BYDAY").is_none() && month_day.is_none() && month.is_none() => {}
            // RFC 5545 §3.3.10: a week begins on WKST, which matters where weeks are skipped.
            "WEEKLY" if plain && month_day.is_none() && month.is_none() => {
                // Nobody knows on which day Cozi's weeks begin; it is all the same unless Sunday is among several days.
                let usual = matches!(part("WKST"), None | Some("MO" | "SU"));
                let several = interval > 1 && by_day.len() > 1;
                let odd_week = several && (!usual || by_day.iter().any(|day| day == "SU"));
                let days = if by_day.is_empty() { vec![weekday.to_owned()] } else { by_day };
                if !days.iter().any(|day| day == weekday) || odd_week {
                    return apart();
                }
                rule.by_day = sorted(days);
            }
            "MONTHLY" | "YEARLY" => {
                if frequency == "YEARLY" {
                    match month {
                        None => rule.by_month = Some(m),
                        Some(Some(month)) if month == m => rule.by_month = Some(m),
                        _ => return apart(),
                    }
                } else if month.is_some() {
                    return apart();
                }
                match (by_day.as_slice(), month_day) {
                    ([], None) => rule.by_month_day = Some(d),
                    ([], Some(Some(day))) if day == d => rule.by_month_day = Some(d),
                    ([day], None) if is_nth_of(day, weekday, d, m, draft) => rule.by_day = vec![day.clone()],
                    _ => return apart(),
                }
                // What RFC 5545 leaves out in short months, Cozi may move to their end.
                if rule.by_month_day.is_some_and(|day| day > 28) {
                    return apart();
                }
            }
            _ => return apart(),
        }
        rule.until = match (parsed.count, &parsed.until) {
            (Some(_), _) => parsed.counted(draft.start).0.map(Civil::midnight),
            (None, Some(until)) => {
                let last = if until.utc { home.to_civil(until.civil.0) } else { until.inclusive() };
                let day = last.midnight();
                let of_day = draft.start.0 - draft.start.midnight().0;
                // The last day counts if its instance begins by then.
                let counts = draft.all_day || until.date || day.0 + of_day <= last.0;
                Some(if counts { day } else { Civil(day.0 - 86_400) })
            }
            (None, None) => None,
        };
        Ok(rule)
    }

    /// Writes the value of an RRULE.
    pub(super) fn to_ical(&self, draft: &Draft, home: &Zone) -> String {
        let mut text = self.endless();
        if let Some(until) = self.until {
            // RFC 5545 §3.3.10: a date for dates, an instant for times.
            let last = Civil(until.0 + draft.start.0 - draft.start.midnight().0);
            if draft.all_day {
                text.push_str(&format!(";UNTIL={}", until.to_date()));
            } else {
                text.push_str(&format!(";UNTIL={}Z", Civil(home.to_instant(last)).to_basic()));
            }
        }
        text
    }

    /// The value of an RRULE without its end.
    fn endless(&self) -> String {
        let mut text = format!("FREQ={}", self.frequency);
        if self.interval > 1 {
            text.push_str(&format!(";INTERVAL={}", self.interval));
        }
        if !self.by_day.is_empty() {
            text.push_str(&format!(";BYDAY={}", self.by_day.join(",")));
        }
        if let Some(day) = self.by_month_day {
            text.push_str(&format!(";BYMONTHDAY={day}"));
        }
        if let Some(month) = self.by_month {
            text.push_str(&format!(";BYMONTH={month}"));
        }
        text
    }

    /// Writes it as Cozi does.
    pub(super) fn to_json(&self) -> Value {
        let mut name = self.frequency.to_ascii_lowercase();
        if let Some(first) = name.get_mut(..1) {
            first.make_ascii_uppercase();
        }
        let end = self.until.map_or_else(|| json!({}), |day| json!({"untilDay": day_text(day)}));
        let mut rule = json!({"frequency": name, "interval": self.interval, "end": end});
        if let Some(object) = rule.as_object_mut() {
            if !self.by_day.is_empty() {
                object.insert("byDay".into(), json!(self.by_day));
            }
            if let Some(day) = self.by_month_day {
                object.insert("byMonthDay".into(), json!([day]));
            }
            if let Some(month) = self.by_month {
                object.insert("byMonth".into(), json!([month]));
            }
        }
        rule
    }

    /// Reads what Cozi says. Nothing: it is not understood.
    pub(super) fn from_json(value: &Value, start: Civil) -> Option<Rule> {
        let frequency = value.get("frequency")?.as_str()?.to_ascii_uppercase();
        if !["DAILY", "WEEKLY", "MONTHLY", "YEARLY"].contains(&frequency.as_str()) {
            return None;
        }
        let interval = value.get("interval").and_then(Value::as_u64).unwrap_or(1).max(1);
        let days = value.get("byDay").and_then(Value::as_array);
        let by_day: Vec<String> =
            days.into_iter().flatten().filter_map(|day| day.as_str().map(str::to_ascii_uppercase)).collect();
        let list = |name: &str| value.get(name).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        // Several days of a month, or further conditions, are more than is understood here.
        let known = ["byDay", "byMonthDay", "byMonth"];
        let odd = |(name, value): (&String, &Value)| {
            name.starts_with("by")
                && !known.contains(&name.as_str())
                && !value.is_null()
                && *value != json!([])
        };
        if value.as_object()?.iter().any(odd) || list("byMonthDay").len() > 1 || list("byMonth").len() > 1 {
            return None;
        }
        let one = |name: &str| list(name).first().and_then(Value::as_i64);
        let (_, m, d) = start.date();
        let monthly = matches!(frequency.as_str(), "MONTHLY" | "YEARLY");
        let by_month_day = one("byMonthDay").or((monthly && by_day.is_empty()).then_some(d));
        let rule = Rule {
            by_day: sorted(by_day),
            by_month_day: by_month_day.filter(|_| monthly),
            by_month: (frequency == "YEARLY").then(|| one("byMonth").unwrap_or(m)),
            interval: u32::try_from(interval).ok()?,
            until: None,
            frequency,
        };
        let end = value.get("end");
        let until = match end.and_then(|end| end.get("untilDay")).and_then(Value::as_str) {
            Some(text) => Some(day_of(text)?),
            None => match end.and_then(|end| end.get("count")).and_then(Value::as_u64) {
                Some(count) => rule.last_of(count, start),
                None => None,
            },
        };
        Some(Rule { until, ..rule })
    }

    /// Tells whether a series that begins then takes place on that day.
    pub(super) fn yields(&self, day: Civil, start: Civil) -> bool {
        let Ok(rule) = recur::Rule::parse(&self.endless()) else { return false };
        let within = self.until.is_none_or(|until| day <= until);
        within && rule.between(start, day, Civil(day.0 + 86_399)).next().is_some()
    }

    /// Returns the day of the instance with that number.
    fn last_of(&self, count: u64, start: Civil) -> Option<Civil> {
        let counted = recur::Rule::parse(&format!("{};COUNT={count}", self.endless())).ok()?;
        counted.counted(start).0.map(Civil::midnight)
    }
}

fn sorted(mut days: Vec<String>) -> Vec<String> {
    days.sort_by_key(|day| WEEKDAYS.iter().position(|known| day.ends_with(known)));
    days.dedup();
    days
}

/// Tells whether `2TU` or `-1FR` names the day on which the series begins: Cozi counts its start as the first instance
/// whatever the rule says.
fn is_nth_of(day: &str, weekday: &str, d: i64, m: i64, draft: &Draft) -> bool {
    let Some(number) = day.strip_suffix(weekday).and_then(|n| n.parse::<i64>().ok()) else { return false };
    let last = crate::ical::value::days_in_month(draft.start.date().0, m);
    match number {
        1..=4 => (d - 1) / 7 + 1 == number,
        -1 => d + 7 > last,
        _ => false,
    }
}

/// `2026-11-21`.
pub(super) fn day_text(day: Civil) -> String {
    let (y, m, d) = day.date();
    format!("{y:04}-{m:02}-{d:02}")
}

/// Reads `2026-11-21`.
pub(super) fn day_of(text: &str) -> Option<Civil> {
    let digits: String = text.chars().filter(|c| *c != '-').collect();
    (text.len() == 10 && digits.len() == 8).then(|| Civil::parse(&digits)).flatten()
}

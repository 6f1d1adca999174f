//! Recurrence: RRULE, EXRULE, RDATE and EXDATE as Google's `recurrence` holds them.
//!
//! Owns: one spelling of each rule, used in both directions, and which rules Google is not given.

use std::collections::BTreeSet;

use super::when::Frame;
use crate::ical::Component;
use crate::ical::recur::{Frequency, Rule};
use crate::ical::value::{self, Civil, DAY, Duration, PeriodEnd};
use crate::ical::zone::Zones;

/// The parts of a rule in the order of RFC 5545 §3.3.10.
const ORDER: [&str; 14] = [
    "FREQ",
    "INTERVAL",
    "COUNT",
    "UNTIL",
    "BYMONTH",
    "BYWEEKNO",
    "BYYEARDAY",
    "BYMONTHDAY",
    "BYDAY",
    "BYHOUR",
    "BYMINUTE",
    "BYSECOND",
    "BYSETPOS",
    "WKST",
];

/// How a series recurs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::bridge::google) struct Recurrence {
    /// `RRULE:…` and `EXRULE:…`, spelled in one way.
    pub(in crate::bridge::google) rules: Vec<String>,
    /// Further instances.
    pub(in crate::bridge::google) rdates: BTreeSet<i64>,
    /// Instances that are left out.
    pub(in crate::bridge::google) exdates: BTreeSet<i64>,
    /// Why Google cannot be given this as it is.
    pub(in crate::bridge::google) unheld: Option<Unheld>,
}

/// Why something cannot be held as one event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::bridge::google) enum Unheld {
    /// Not at all.
    Refused(String),
    /// Only instance by instance.
    Parts(String),
}

impl Recurrence {
    /// Reads what a component says. `length` is how long an instance lasts, in seconds.
    pub(in crate::bridge::google) fn of(
        component: Component<'_>,
        zones: &Zones<'_>,
        frame: &Frame,
        start: i64,
        length: i64,
    ) -> Recurrence {
        let mut found = Recurrence::default();
        for property in component.properties() {
            match property.name() {
                "RRULE" | "EXRULE" => match spelled(&property.raw(), frame, start) {
                    Ok((rule, odd)) => {
                        let line = format!("{}:{rule}", property.name());
                        if property.name() == "RRULE"
                            && found.rules.iter().any(|r| r.starts_with("RRULE:"))
                            && !found.rules.contains(&line)
                        {
                            found.cannot("the event has more than one rule");
                        }
                        if !found.rules.contains(&line) {
                            found.rules.push(line);
                        }
                        if let Some(odd) = odd {
                            found.cannot(odd);
                        }
                    }
                    Err(problem) => {
                        found.unheld = Some(Unheld::Refused(format!(
                            "The event stays here: its rule of recurrence is not understood ({problem})."
                        )));
                    }
                },
                "RDATE" | "EXDATE" => {
                    for moment in value::date_times(&property).0 {
                        let at = frame.moment(&moment.start, zones, start);
                        if property.name() == "EXDATE" {
                            found.exdates.insert(at);
                            continue;
                        }
                        let lasts = moment.end.as_ref().map(|end| match end {
                            PeriodEnd::After(Duration { days, seconds }) => days * DAY + seconds,
                            PeriodEnd::At(end) => frame.moment(end, zones, start) - at,
                        });
                        if lasts.is_some_and(|lasts| lasts != length) {
                            found.cannot("some of its instances have a length of their own");
                        }
                        if at != start {
                            found.rdates.insert(at);
                        }
                    }
                }
                _ => {}
            }
        }
        found.rules.sort_by_key(|line| !line.starts_with("RRULE"));
        found
    }

    fn cannot(&mut self, why: &str) {
        let sentence =
            format!("Google Calendar has no such series, so its instances are kept one by one: {why}.");
        self.unheld.get_or_insert(Unheld::Parts(sentence));
    }

    /// True if there is more than one instance.
    pub(in crate::bridge::google) fn recurs(&self) -> bool {
        !self.rules.is_empty() || !self.rdates.is_empty()
    }

    /// Returns the lines that an event has besides its EXDATEs.
    pub(in crate::bridge::google) fn lines(&self, frame: &Frame) -> Vec<String> {
        let mut lines: Vec<String> = self.rules.iter().map(|line| ended_in_utc(line, frame)).collect();
        lines.extend(frame.recurrence_line("RDATE", self.rdates.iter().copied()));
        lines
    }
}

/// Returns a rule in one spelling, and why Google is not given it. Blanks, case, order, defaults and how UNTIL is
/// written do not matter to what a rule means.
fn spelled(raw: &str, frame: &Frame, start: i64) -> Result<(String, Option<&'static str>), String> {
    let rule = Rule::parse(raw).map_err(|problem| problem.0)?;
    let clock = match frame {
        Frame::Date => Civil(start),
        Frame::Timed { zone, .. } => zone.to_civil(start),
    };
    let (hour, minute, second) = clock.time();
    let mut parts: Vec<(usize, String)> = Vec::new();
    let mut odd = None;
    for (name, value) in raw.split(';').filter_map(|part| part.split_once('=')) {
        let name = name.trim().to_ascii_uppercase();
        let value: String = value.to_ascii_uppercase().split_whitespace().collect();
        let Some(place) = ORDER.iter().position(|own| *own == name) else { continue };
        let value = match name.as_str() {
            "INTERVAL" if value.trim_start_matches('0') == "1" => continue,
            "COUNT" if rule.count.is_none() => continue,
            "UNTIL" => until(&rule, frame).unwrap_or(value),
            // A time of day that says what DTSTART says already.
            "BYHOUR" | "BYMINUTE" | "BYSECOND" => {
                let own = match name.as_str() {
                    "BYHOUR" => hour,
                    "BYMINUTE" => minute,
                    _ => second,
                };
                if frame.is_date() || value.parse() == Ok(own) {
                    continue;
                }
                odd = Some("it recurs more than once a day");
                value
            }
            _ => value,
        };
        parts.retain(|(other, _)| *other != place);
        parts.push((place, format!("{name}={value}")));
    }
    parts.sort();
    let has = |name: &str| parts.iter().any(|(_, part)| part.starts_with(name));
    if rule.frequency >= Frequency::Hourly {
        odd = Some("it recurs more than once a day");
    } else if rule.count.is_some() && rule.until.is_some() {
        // RFC 5545 §3.3.10: they must not occur together.
        odd = Some("its rule ends in two ways");
    } else if has("BYSETPOS=")
        && !parts.iter().any(|(_, part)| part.starts_with("BY") && !part.starts_with("BYSETPOS="))
    {
        odd = Some("its rule counts positions in nothing");
    }
    let text: Vec<String> = parts.into_iter().map(|(_, part)| part).collect();
    Ok((text.join(";"), odd))
}

/// RFC 5545 §3.3.10: a date for whole days, UTC for times in a zone, a wall-clock time for those without one.
fn until(rule: &Rule, frame: &Frame) -> Option<String> {
    let until = rule.until?;
    Some(match frame {
        Frame::Date => until.civil.to_date(),
        Frame::Timed { zone, floating: true, .. } if until.utc => zone.to_civil(until.civil.0).to_basic(),
        Frame::Timed { floating: true, .. } => until.inclusive().to_basic(),
        Frame::Timed { zone, .. } if !until.utc => {
            format!("{}Z", Civil(zone.to_instant(until.inclusive())).to_basic())
        }
        Frame::Timed { .. } => format!("{}Z", until.civil.to_basic()),
    })
}

/// Google knows no wall-clock times without a zone, so an UNTIL that is one gets the calendar's.
fn ended_in_utc(line: &str, frame: &Frame) -> String {
    let Frame::Timed { zone, floating: true, .. } = frame else { return line.to_owned() };
    let parts = line.split(';').map(|part| match part.strip_prefix("UNTIL=").and_then(Civil::parse) {
        Some(civil) => format!("UNTIL={}Z", Civil(zone.to_instant(civil)).to_basic()),
        None => part.to_owned(),
    });
    parts.collect::<Vec<_>>().join(";")
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use super::*;
    use crate::ical::zone::by_tzid;

    fn berlin() -> Frame {
        Frame::zoned(&by_tzid("Europe/Berlin").unwrap(), false)
    }

    // 2026-01-05T09:00 in Berlin.
    const START: i64 = 1_767_600_000;

    #[test]
    fn a_rule_has_one_spelling() {
        let rows = [
            ("freq=weekly; byday=mo,we ;interval=1", "FREQ=WEEKLY;BYDAY=MO,WE"),
            ("BYDAY=-1FR;FREQ=MONTHLY;COUNT=-1", "FREQ=MONTHLY;BYDAY=-1FR"),
            ("FREQ=DAILY;UNTIL=20260110", "FREQ=DAILY;UNTIL=20260110T225959Z"),
            ("FREQ=DAILY;UNTIL=20260110T090000", "FREQ=DAILY;UNTIL=20260110T080000Z"),
            ("FREQ=DAILY;UNTIL=20260110T080000Z", "FREQ=DAILY;UNTIL=20260110T080000Z"),
            ("FREQ=DAILY;BYHOUR=9;BYMINUTE=0;BYSECOND=0", "FREQ=DAILY"),
            ("WKST=SU;FREQ=YEARLY;INTERVAL=2;BYMONTH=2", "FREQ=YEARLY;INTERVAL=2;BYMONTH=2;WKST=SU"),
        ];
        for (raw, expected) in rows {
            assert_eq!(spelled(raw, &berlin(), START).unwrap(), (expected.to_owned(), None), "{raw}");
            assert_eq!(spelled(expected, &berlin(), START).unwrap().0, expected, "stays");
        }
        assert_eq!(
            spelled("FREQ=DAILY;UNTIL=20260110T225959Z", &Frame::Date, 0).unwrap().0,
            "FREQ=DAILY;UNTIL=20260110"
        );
    }

    #[test]
    fn rules_that_google_is_not_given_say_why() {
        for raw in [
            "FREQ=HOURLY",
            "FREQ=MINUTELY;INTERVAL=90",
            "FREQ=SECONDLY",
            "FREQ=DAILY;BYHOUR=9,15",
            "FREQ=MONTHLY;BYSETPOS=1",
            "FREQ=DAILY;COUNT=3;UNTIL=20260110",
        ] {
            assert!(spelled(raw, &berlin(), START).unwrap().1.is_some(), "{raw}");
        }
        for raw in ["FREQ=FORTNIGHTLY", "BYDAY=MO", "RSCALE=HEBREW;FREQ=YEARLY"] {
            assert!(spelled(raw, &berlin(), START).is_err(), "{raw}");
        }
    }
}

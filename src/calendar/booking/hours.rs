//! Weekly hours as people say them, and the VAVAILABILITY (RFC 7953) that they are kept as.
//!
//! Owns: the simple form and its translation. Does not own: what a VAVAILABILITY means (`ical::availability`).

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use crate::ical::value::Civil;
use crate::ical::zone::{by_tzid, vtimezone};

/// Monday, 3 January 2000: the hours are the same in every week since.
const FIRST_MONDAY: i64 = 10_959;
/// Until when the zone's changes are written out; a yearly pattern goes on for ever.
const FAR: i64 = 4_102_444_800;
/// Exceptions that one person may have.
const MOST: usize = 1000;

/// The days as they are written.
const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

/// Open from one time of day to another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Span {
    /// `09:00`.
    pub from: String,
    /// `17:00`; `24:00` is the day's end.
    pub to: String,
}

/// A date with hours of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exception {
    /// `2026-12-24`.
    pub date: String,
    /// When it is open; nothing: it is closed.
    #[serde(default)]
    pub hours: Vec<Span>,
}

/// Weekly hours in a zone, with exceptions by date.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hours {
    /// The IANA name of the zone; nothing: the owner's.
    #[serde(default)]
    pub time_zone: Option<String>,
    /// By day, `mon` to `sun`; a day that is not named is closed.
    #[serde(default)]
    pub weekly: BTreeMap<String, Vec<Span>>,
    /// Dates with hours of their own.
    #[serde(default)]
    pub exceptions: Vec<Exception>,
}

impl Hours {
    /// Returns the hours as iCalendar text.
    ///
    /// # Errors
    /// Which member is not accepted, and why.
    pub fn to_text(&self) -> Result<String, (String, String)> {
        let zone = match &self.time_zone {
            None => None,
            Some(name) => {
                let zone = by_tzid(name).and_then(|zone| zone.name().map(str::to_owned));
                Some(zone.ok_or_else(|| ("time_zone".to_owned(), format!("`{name}` is no time zone.")))?)
            }
        };
        let mut out = "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//Kalends//Kalends//EN\r\n".to_owned();
        let zone = zone.as_deref().filter(|name| *name != "UTC");
        let utc = self.time_zone.is_some() && zone.is_none();
        if let Some(name) = zone {
            out.push_str(&vtimezone(name, FIRST_MONDAY * 86_400, FAR).unwrap_or_default());
        }
        let at = |civil: Civil| match zone {
            Some(name) => format!(";TZID={name}:{}", civil.to_basic()),
            None if utc => format!(":{}Z", civil.to_basic()),
            None => format!(":{}", civil.to_basic()),
        };
        let mut number = 0;
        let mut available = |out: &mut String, day: i64, (from, to): (i64, i64), rule: &str| {
            number += 1;
            let (start, end) = (Civil(day * 86_400 + from), Civil(day * 86_400 + to));
            // Writing to a String cannot fail.
            let _ = write!(
                out,
                "BEGIN:AVAILABLE\r\nUID:hours-{number}\r\nDTSTAMP:20000103T000000Z\r\nDTSTART{}\r\nDTEND{}\r\n{rule}END:AVAILABLE\r\n",
                at(start),
                at(end)
            );
        };
        out.push_str("BEGIN:VAVAILABILITY\r\nUID:weekly\r\nDTSTAMP:20000103T000000Z\r\nPRIORITY:5\r\n");
        for (name, spans) in &self.weekly {
            let day = DAYS.iter().position(|day| day == name).and_then(|day| i64::try_from(day).ok());
            let day = day.ok_or_else(|| {
                (format!("weekly.{name}"), format!("`{name}` is none of {}.", DAYS.join(", ")))
            })?;
            for span in times(&format!("weekly.{name}"), spans)? {
                available(&mut out, FIRST_MONDAY + day, span, "RRULE:FREQ=WEEKLY\r\n");
            }
        }
        out.push_str("END:VAVAILABILITY\r\n");
        if self.exceptions.len() > MOST {
            return Err(("exceptions".into(), format!("There may be {MOST} exceptions, not more.")));
        }
        for (place, exception) in self.exceptions.iter().enumerate() {
            let path = format!("exceptions[{place}]");
            let digits = exception.date.replace('-', "");
            let day = Some(&digits).filter(|d| d.len() == 8 && exception.date.len() == 10);
            let day = day.and_then(|digits| Civil::parse(digits)).map(Civil::days).ok_or_else(|| {
                (format!("{path}.date"), format!("`{}` is no date like 2026-12-24.", exception.date))
            })?;
            let _ = write!(
                out,
                "BEGIN:VAVAILABILITY\r\nUID:{}\r\nDTSTAMP:20000103T000000Z\r\nPRIORITY:1\r\nDTSTART{}\r\nDTEND{}\r\n",
                exception.date,
                at(Civil(day * 86_400)),
                at(Civil((day + 1) * 86_400))
            );
            for span in times(&format!("{path}.hours"), &exception.hours)? {
                available(&mut out, day, span, "");
            }
            out.push_str("END:VAVAILABILITY\r\n");
        }
        out.push_str("END:VCALENDAR\r\n");
        Ok(out)
    }
}

/// Reads spans as seconds of the day.
fn times(path: &str, spans: &[Span]) -> Result<Vec<(i64, i64)>, (String, String)> {
    let read = |place: usize, span: &Span| {
        let bad = |name: &str, text: &str| {
            (format!("{path}[{place}].{name}"), format!("`{text}` is no time of day like 09:00."))
        };
        let from = time(&span.from).ok_or_else(|| bad("from", &span.from))?;
        let to = time(&span.to).ok_or_else(|| bad("to", &span.to))?;
        if from >= to {
            return Err((format!("{path}[{place}]"), "It ends before it begins.".to_owned()));
        }
        Ok((from, to))
    };
    spans.iter().enumerate().map(|(place, span)| read(place, span)).collect()
}

/// Reads `HH:MM` as seconds.
fn time(text: &str) -> Option<i64> {
    let (hours, minutes) = text.split_once(':')?;
    let number = |text: &str| {
        let digits = text.len() == 2 && text.bytes().all(|b| b.is_ascii_digit());
        digits.then(|| text.parse::<i64>().ok()).flatten()
    };
    let (hours, minutes) = (number(hours)?, number(minutes)?);
    let good = hours < 24 && minutes < 60 || hours == 24 && minutes == 0;
    good.then_some(hours * 3600 + minutes * 60)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use super::*;
    use crate::ical::availability::Availability;
    use crate::ical::busy::utc_text;
    use crate::ical::series::TimeRange;
    use crate::ical::zone::Zone;

    fn hours(json: &str) -> Hours {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn weekly_hours_with_exceptions_become_a_vavailability() {
        let hours = hours(
            r#"{"time_zone": "Europe/Berlin",
                "weekly": {"mon": [{"from": "09:00", "to": "12:00"}, {"from": "13:00", "to": "17:30"}],
                           "sat": [{"from": "20:00", "to": "24:00"}]},
                "exceptions": [{"date": "2026-03-30"}, {"date": "2026-04-01", "hours": [{"from": "10:00", "to": "11:00"}]}]}"#,
        );
        let text = hours.to_text().unwrap();
        let open = Availability::parse(&text).unwrap();
        let day = |text: &str| Civil::parse(text).unwrap().0;
        let range = TimeRange { start: day("20260323"), end: day("20260407") };
        let found = open.open(range, &Zone::Utc);
        let found: Vec<String> =
            found.iter().map(|(s, e)| format!("{}/{}", utc_text(*s), utc_text(*e))).collect();
        assert_eq!(
            found,
            [
                "20260323T080000Z/20260323T110000Z",
                "20260323T120000Z/20260323T163000Z",
                "20260328T190000Z/20260328T230000Z",
                "20260401T080000Z/20260401T090000Z",
                "20260404T180000Z/20260404T220000Z",
                "20260406T070000Z/20260406T100000Z",
                "20260406T110000Z/20260406T153000Z",
            ]
        );
    }

    #[test]
    fn a_refusal_names_the_member() {
        let rows = [
            (r#"{"time_zone": "Nowhere"}"#, "time_zone"),
            (r#"{"weekly": {"monday": []}}"#, "weekly.monday"),
            (r#"{"weekly": {"mon": [{"from": "9:00", "to": "10:00"}]}}"#, "weekly.mon[0].from"),
            (r#"{"weekly": {"mon": [{"from": "09:00", "to": "24:01"}]}}"#, "weekly.mon[0].to"),
            (r#"{"weekly": {"mon": [{"from": "10:00", "to": "10:00"}]}}"#, "weekly.mon[0]"),
            (r#"{"exceptions": [{"date": "20261224"}]}"#, "exceptions[0].date"),
            (r#"{"exceptions": [{"date": "2026-02-30"}]}"#, "exceptions[0].date"),
            (
                r#"{"exceptions": [{"date": "2026-02-28", "hours": [{"from": "x", "to": "10:00"}]}]}"#,
                "exceptions[0].hours[0].from",
            ),
        ];
        for (json, member) in rows {
            assert_eq!(hours(json).to_text().unwrap_err().0, member, "{json}");
        }
    }

    #[test]
    fn hours_without_a_zone_are_the_owners() {
        let text = hours(r#"{"weekly": {"thu": [{"from": "09:00", "to": "10:00"}]}}"#).to_text().unwrap();
        assert!(text.contains("DTSTART:20000106T090000\r\n"), "{text}");
        let utc = hours(r#"{"time_zone": "UTC", "weekly": {"thu": [{"from": "09:00", "to": "10:00"}]}}"#);
        assert!(utc.to_text().unwrap().contains("DTSTART:20000106T090000Z\r\n"));
    }
}

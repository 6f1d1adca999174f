//! Moments and lengths of time as this door reads and writes them: RFC 3339 and ISO 8601.
//!
//! Owns: their forms. Does not own: what they are for.

use serde_json::{Value, json};

use super::problem::Problem;
use crate::ical::value::Civil;
use crate::ical::zone::{Zone, by_tzid};

/// The first and the last moment that is accepted: the years 1900 and 9998.
const BOUNDS: std::ops::RangeInclusive<i64> = -2_208_988_800..=253_370_764_800;

/// Reads a zone by its IANA name.
pub(super) fn zone(field: &str, name: &str) -> Result<Zone, Problem> {
    let found = by_tzid(name).filter(|zone| zone.name().is_some());
    found.ok_or_else(|| Problem::invalid(field, format!("`{name}` is no time zone like Europe/Berlin.")))
}

/// Reads a moment: with an offset, or, if a zone goes with it, as the wall clock there.
pub(super) fn moment(field: &str, text: &str, zone: Option<&Zone>) -> Result<i64, Problem> {
    let bad = || {
        let how = "is no moment like 2026-01-05T09:00:00+01:00";
        Problem::invalid(field, format!("`{text}` {how}."))
    };
    // In the query of an address `+` is a blank unless it is written %2B; nobody means a blank here.
    let plus = text.len().checked_sub(6).filter(|at| text.as_bytes().get(*at) == Some(&b' '));
    let mended = plus.map(|at| {
        let (before, after) = (text.get(..at).unwrap_or_default(), text.get(at + 1..).unwrap_or_default());
        format!("{before}+{after}")
    });
    let text_ = mended.as_deref().unwrap_or(text);
    let found = match text_.parse::<jiff::Timestamp>() {
        Ok(at) => at.as_second(),
        Err(_) => {
            let zone = zone.ok_or_else(bad)?;
            let civil: jiff::civil::DateTime = text_.parse().map_err(|_| bad())?;
            let [year, month, day, hour, minute, second] = [
                i64::from(civil.year()),
                i64::from(civil.month()),
                i64::from(civil.day()),
                i64::from(civil.hour()),
                i64::from(civil.minute()),
                i64::from(civil.second()),
            ];
            zone.to_instant(Civil::new(year, month, day, hour, minute, second).ok_or_else(bad)?)
        }
    };
    if BOUNDS.contains(&found) { Ok(found) } else { Err(bad()) }
}

/// Reads a length of time in whole seconds, within bounds. A day has 24 hours.
pub(super) fn length(field: &str, text: &str, bounds: std::ops::RangeInclusive<i64>) -> Result<i64, Problem> {
    let bad = || {
        let (least, most) = (written(*bounds.start()), written(*bounds.end()));
        Problem::invalid(field, format!("`{text}` is no duration like PT45M, from {least} to {most}."))
    };
    let span = span(text).ok_or_else(bad)?;
    // Months and years have no length of their own.
    if span.get_years() != 0 || span.get_months() != 0 {
        return Err(bad());
    }
    let parts = [
        (i64::from(span.get_weeks()), 7 * 86_400),
        (i64::from(span.get_days()), 86_400),
        (i64::from(span.get_hours()), 3600),
        (span.get_minutes(), 60),
        (span.get_seconds(), 1),
    ];
    let seconds = parts.into_iter().try_fold(0i64, |sum, (n, unit)| sum.checked_add(n.checked_mul(unit)?));
    seconds.filter(|seconds| bounds.contains(seconds)).ok_or_else(bad)
}

/// Reads an ISO 8601 duration. Other forms that the parser takes are not promised to anybody.
pub(super) fn span(text: &str) -> Option<jiff::Span> {
    let iso = text.trim_start_matches(['-', '+']).starts_with('P');
    Some(text).filter(|_| iso).and_then(|text| text.parse().ok())
}

/// Writes a length of time.
pub(super) fn written(seconds: i64) -> String {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let (hours, minutes, seconds) = (rest / 3600, rest / 60 % 60, rest % 60);
    let part = |n: i64, unit: char| if n == 0 { String::new() } else { format!("{n}{unit}") };
    let time = format!("{}{}{}", part(hours, 'H'), part(minutes, 'M'), part(seconds, 'S'));
    match (days, time.is_empty()) {
        (0, true) => "PT0S".to_owned(),
        (days, true) => format!("P{days}D"),
        (days, false) => format!("P{}T{time}", part(days, 'D')),
    }
}

/// Writes a moment as the wall clock of a zone shows it, with its offset.
pub(super) fn shown(instant: i64, zone: &Zone) -> Value {
    json!(text(instant, zone))
}

/// Returns a moment as the wall clock of a zone shows it, with its offset.
pub(super) fn text(instant: i64, zone: &Zone) -> String {
    let civil = zone.to_civil(instant);
    let ((year, month, day), (hour, minute, second)) = (civil.date(), civil.time());
    let offset = (civil.0 - instant) / 60;
    let sign = if offset < 0 { '-' } else { '+' };
    let (hours, minutes) = (offset.abs() / 60, offset.abs() % 60);
    let zone = if *zone == Zone::Utc { "Z".to_owned() } else { format!("{sign}{hours:02}:{minutes:02}") };
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{zone}")
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn moments_have_an_offset_or_a_zone() {
        let berlin = by_tzid("Europe/Berlin").unwrap();
        let rows = [
            ("2026-01-05T09:00:00Z", None, Some(1_767_603_600)),
            ("2026-01-05T10:00:00+01:00", None, Some(1_767_603_600)),
            ("2026-01-05T10:00:00 01:00", None, Some(1_767_603_600)),
            ("2026-01-05T10:00:00", None, None),
            ("2026-01-05T10:00:00", Some(&berlin), Some(1_767_603_600)),
            ("2026-01-05T10:00", Some(&berlin), Some(1_767_603_600)),
            ("2026-02-30T10:00:00Z", None, None),
            ("0001-01-01T00:00:00Z", None, None),
            ("soon", Some(&berlin), None),
            ("", None, None),
        ];
        for (text, zone, expected) in rows {
            assert_eq!(moment("start", text, zone).ok(), expected, "{text}");
        }
        assert_eq!(text(1_767_603_600, &berlin), "2026-01-05T10:00:00+01:00");
        assert_eq!(text(1_767_603_600, &Zone::Utc), "2026-01-05T09:00:00Z");
    }

    #[test]
    fn lengths_are_whole_seconds() {
        let rows = [
            ("PT45M", Some(2700)),
            ("P1DT1H", Some(90_000)),
            ("P1W", Some(604_800)),
            ("PT0S", Some(0)),
            ("-PT1M", None),
            ("P1M", None),
            ("PT999999H", None),
            ("45", None),
            ("1h", None),
        ];
        for (text, expected) in rows {
            assert_eq!(length("duration", text, 0..=1_000_000).ok(), expected, "{text}");
        }
        for seconds in [0, 59, 60, 3600, 86_400, 90_061] {
            assert_eq!(length("d", &written(seconds), 0..=1_000_000).ok(), Some(seconds));
        }
    }
}

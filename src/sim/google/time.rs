//! Times as the API writes them.
//!
//! Owns: RFC 3339, `EventDateTime`, names of zones. Does not own: what recurs (`series`).

use serde_json::{Value, json};

use super::refusal::{Outcome, Refusal};
use crate::ical::value::Civil;
use crate::ical::zone::{Zone, by_tzid};

/// Seconds of a day.
pub(super) const DAY: i64 = 86_400;

/// When an event begins or ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Moment {
    /// A day, as midnight.
    Day(Civil),
    /// An instant, and the zone it was told in.
    Instant(i64, Zone),
}

impl Moment {
    /// Returns it in seconds since 1970; a day as if it were in UTC.
    pub(super) fn seconds(&self) -> i64 {
        match self {
            Moment::Day(civil) => civil.0,
            Moment::Instant(at, _) => *at,
        }
    }

    pub(super) fn is_day(&self) -> bool {
        matches!(self, Moment::Day(_))
    }

    /// Returns the same kind of moment, in the same zone, at another time.
    pub(super) fn moved_to(&self, seconds: i64) -> Moment {
        match self {
            Moment::Day(_) => Moment::Day(Civil(seconds)),
            Moment::Instant(_, zone) => Moment::Instant(seconds, zone.clone()),
        }
    }

    /// Writes it as an `EventDateTime`, its offset that of `shown`.
    pub(super) fn render(&self, shown: &Zone) -> Value {
        match self {
            Moment::Day(civil) => json!({ "date": dashed(*civil) }),
            Moment::Instant(at, zone) => {
                let mut value = json!({ "dateTime": rfc3339(*at, shown) });
                if let (Some(name), Value::Object(value)) = (zone.name(), &mut value) {
                    value.insert("timeZone".into(), json!(name));
                }
                value
            }
        }
    }

    /// Reads an `EventDateTime`; `usual` is the zone of the calendar.
    pub(super) fn read(value: &Value, place: &str, usual: &Zone) -> Outcome<Moment> {
        let bad = |message: &str| Refusal::invalid(place, message);
        let text = |name: &str| value.get(name).and_then(Value::as_str);
        let zone = match text("timeZone") {
            Some(name) => Some(zone(name).ok_or_else(|| bad("Invalid time zone definition."))?),
            None => None,
        };
        match (text("date"), text("dateTime")) {
            (Some(date), None) => day(date).map(Moment::Day).ok_or_else(|| bad("Invalid date.")),
            (None, Some(written)) => {
                let (civil, offset) = date_time(written).ok_or_else(|| bad("Invalid time."))?;
                match (offset, zone) {
                    (Some(offset), zone) => {
                        Ok(Moment::Instant(civil.0 - offset, zone.unwrap_or_else(|| usual.clone())))
                    }
                    (None, Some(zone)) => Ok(Moment::Instant(zone.to_instant(civil), zone)),
                    (None, None) => Err(bad("Missing time zone definition.")),
                }
            }
            (Some(_), Some(_)) => Err(bad("Invalid time: both a date and a time.")),
            (None, None) => Err(Refusal::required(format!("Missing {place} time."))),
        }
    }
}

/// Returns the zone of an IANA name; other names mean nothing here.
pub(super) fn zone(name: &str) -> Option<Zone> {
    let found = by_tzid(name)?;
    let known = match &found {
        Zone::Utc => name.eq_ignore_ascii_case("UTC") || name == "Etc/UTC" || name == "GMT",
        // Aliases keep their own names; names from elsewhere (`W. Europe Standard Time`) have none here.
        Zone::Iana(_) => jiff::tz::TimeZone::get(name).is_ok(),
        Zone::Fixed(_) | Zone::Custom(_) => false,
    };
    known.then_some(found)
}

fn number(text: &str) -> Option<i64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

/// Reads `2026-01-31`.
pub(super) fn day(text: &str) -> Option<Civil> {
    if text.len() != 10 || text.get(4..5) != Some("-") || text.get(7..8) != Some("-") {
        return None;
    }
    Civil::new(number(text.get(..4)?)?, number(text.get(5..7)?)?, number(text.get(8..)?)?, 0, 0, 0)
}

/// Reads `2026-01-31T09:00:00`, with its offset if it has one; fractions of a second are left away.
pub(super) fn date_time(text: &str) -> Option<(Civil, Option<i64>)> {
    let midnight = day(text.get(..10)?)?;
    if !text.get(10..11)?.eq_ignore_ascii_case("t") {
        return None;
    }
    let clock = text.get(11..19)?;
    if clock.get(2..3) != Some(":") || clock.get(5..6) != Some(":") {
        return None;
    }
    let (hour, minute) = (number(clock.get(..2)?)?, number(clock.get(3..5)?)?);
    let second = number(clock.get(6..)?)?;
    let (year, month, date) = midnight.date();
    let civil = Civil::new(year, month, date, hour, minute, second)?;
    let mut rest = text.get(19..)?;
    if let Some(fraction) = rest.strip_prefix('.') {
        let digits = fraction.bytes().take_while(u8::is_ascii_digit).count();
        if digits == 0 {
            return None;
        }
        rest = fraction.get(digits..)?;
    }
    let offset = match rest {
        "" => None,
        "Z" | "z" => Some(0),
        _ => {
            let sign = if rest.starts_with('-') { -1 } else { 1 };
            let rest = rest.strip_prefix(['+', '-'])?;
            if rest.len() != 5 || rest.get(2..3) != Some(":") {
                return None;
            }
            Some(sign * (number(rest.get(..2)?)? * 3600 + number(rest.get(3..)?)? * 60))
        }
    };
    Some((civil, offset))
}

/// Reads a time that must have an offset.
pub(super) fn instant(text: &str) -> Option<i64> {
    let (civil, offset) = date_time(text)?;
    offset.map(|offset| civil.0 - offset)
}

/// Writes an instant with the offset that a zone has then.
pub(super) fn rfc3339(at: i64, zone: &Zone) -> String {
    let civil = zone.to_civil(at);
    let offset = civil.0 - at;
    let (hour, minute, second) = civil.time();
    let clock = format!("{}T{hour:02}:{minute:02}:{second:02}", dashed(civil));
    if offset == 0 {
        return format!("{clock}Z");
    }
    let sign = if offset < 0 { '-' } else { '+' };
    format!("{clock}{sign}{:02}:{:02}", offset.abs() / 3600, offset.abs() / 60 % 60)
}

/// Writes milliseconds since 1970 as the API writes its own times.
pub(super) fn stamp(millis: i64) -> String {
    let whole = rfc3339(millis.div_euclid(1000), &Zone::Utc);
    format!("{}.{:03}Z", whole.trim_end_matches('Z'), millis.rem_euclid(1000))
}

fn dashed(civil: Civil) -> String {
    let (year, month, day) = civil.date();
    format!("{year:04}-{month:02}-{day:02}")
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_and_written() {
        let berlin = zone("Europe/Berlin").unwrap();
        let at = instant("2026-07-01T09:00:00.123+02:00").unwrap();
        assert_eq!(rfc3339(at, &berlin), "2026-07-01T09:00:00+02:00");
        assert_eq!(rfc3339(at, &Zone::Utc), "2026-07-01T07:00:00Z");
        assert_eq!(stamp(at * 1000 + 7), "2026-07-01T07:00:00.007Z");
        for wrong in ["2026-07-01", "2026-07-01T09:00", "2026-13-01T09:00:00Z", "2026-07-01T09:00:00+0200"] {
            assert_eq!(instant(wrong), None, "{wrong}");
        }
        for (name, known) in
            [("Europe/Berlin", true), ("UTC", true), ("W. Europe Standard Time", false), ("Mars/X", false)]
        {
            assert_eq!(zone(name).is_some(), known, "{name}");
        }
    }

    #[test]
    fn a_time_without_offset_needs_a_zone() {
        let read = |value: Value| Moment::read(&value, "start", &Zone::Utc);
        assert!(read(json!({ "dateTime": "2026-07-01T09:00:00" })).is_err());
        assert!(read(json!({ "date": "2026-07-01", "dateTime": "2026-07-01T09:00:00Z" })).is_err());
        let told = read(json!({ "dateTime": "2026-07-01T09:00:00", "timeZone": "Europe/Berlin" })).unwrap();
        let want = json!({ "dateTime": "2026-07-01T07:00:00Z", "timeZone": "Europe/Berlin" });
        assert_eq!(told.render(&Zone::Utc), want);
        assert_eq!(
            read(json!({ "date": "2026-07-01" })).unwrap().render(&Zone::Utc),
            json!({ "date": "2026-07-01" })
        );
    }
}

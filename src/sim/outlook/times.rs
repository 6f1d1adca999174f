//! Times as Graph writes them.
//!
//! Owns: `dateTimeTimeZone`, moments and days as text, which names of zones Graph takes and which it gives back.
//! Does not own: offsets (`ical::zone`), which time an event has.

use serde_json::{Value, json};

use super::fail::Fail;
use crate::ical::value::{Civil, DAY, civil_from_days};
use crate::ical::zone::{Zone, by_tzid};

/// A wall-clock time and the name of its zone, as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct When {
    /// What the clock shows.
    pub(super) civil: Civil,
    /// The name of the zone.
    pub(super) zone: String,
}

impl When {
    /// Reads a `dateTimeTimeZone`.
    pub(super) fn read(value: &Value) -> Result<When, Fail> {
        let text = value.get("dateTime").and_then(Value::as_str).unwrap_or_default();
        let civil = wall_clock(text).ok_or_else(|| {
            Fail::invalid(format!("The value '{text}' of dateTime is not a date and time without an offset."))
        })?;
        let zone = value.get("timeZone").and_then(Value::as_str).unwrap_or("UTC");
        known(zone)?;
        Ok(When { civil, zone: zone.to_owned() })
    }

    /// Returns the rules of the zone.
    pub(super) fn rules(&self) -> Zone {
        zone_of(&self.zone)
    }

    /// Returns seconds since 1970.
    pub(super) fn instant(&self) -> i64 {
        self.rules().to_instant(self.civil)
    }

    /// Returns the same moment, or for days the same day, as an answer shows it in another zone.
    pub(super) fn shown(&self, zone: &str, all_day: bool) -> Value {
        let civil = if all_day { self.civil } else { zone_of(zone).to_civil(self.instant()) };
        json!({ "dateTime": written(civil), "timeZone": zone })
    }
}

/// Returns the rules of a zone that was found to be known.
pub(super) fn zone_of(name: &str) -> Zone {
    by_tzid(name).unwrap_or(Zone::Utc)
}

/// Refuses names of zones that Graph does not take: it knows Windows' names and some of IANA's.
pub(super) fn known(name: &str) -> Result<(), Fail> {
    let windows =
        !name.contains('/') && (name.contains(' ') || name.starts_with("UTC")) && by_tzid(name).is_some();
    if windows || iana(name).is_some() || name.eq_ignore_ascii_case("tzone://Microsoft/Utc") {
        return Ok(());
    }
    Err(Fail::new(
        400,
        "TimeZoneNotSupportedException",
        format!(
            "A valid TimeZone value must be specified. The following TimeZone value is not supported: '{name}'."
        ),
    ))
}

/// Returns Windows' name of a zone that was written with IANA's.
pub(super) fn windows_name(name: &str) -> &str {
    iana(name).unwrap_or(name)
}

fn iana(name: &str) -> Option<&'static str> {
    IANA.iter().find(|(own, _)| *own == name).map(|(_, windows)| *windows)
}

/// Reads `2026-12-01T10:00:00.0000000`, and nothing with an offset.
fn wall_clock(text: &str) -> Option<Civil> {
    let (date, time) = text.split_once('T')?;
    let (whole, fraction) = time.split_once('.').unwrap_or((time, "0"));
    if fraction.is_empty() || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let mut parts = whole.split(':').map(number);
    let (hour, minute) = (parts.next()??, parts.next()??);
    let second = parts.next().unwrap_or(Some(0))?;
    if parts.next().is_some() {
        return None;
    }
    let (year, month, day) = civil_from_days(day(date)?);
    Civil::new(year, month, day, hour, minute, second)
}

fn number(text: &str) -> Option<i64> {
    let digits = !text.is_empty() && text.len() <= 4 && text.bytes().all(|byte| byte.is_ascii_digit());
    if digits { text.parse().ok() } else { None }
}

/// Reads `2026-12-01` as days since 1970.
pub(super) fn day(text: &str) -> Option<i64> {
    let mut parts = text.split('-').map(number);
    let (year, month, day) = (parts.next()??, parts.next()??, parts.next()??);
    if parts.next().is_some() || text.len() != 10 {
        return None;
    }
    Civil::new(year, month, day, 0, 0, 0).map(Civil::days)
}

/// Writes days since 1970 as `2026-12-01`.
pub(super) fn day_text(days: i64) -> String {
    let (year, month, day) = civil_from_days(days);
    format!("{year:04}-{month:02}-{day:02}")
}

/// Writes a wall-clock time with seven digits behind the second.
pub(super) fn written(civil: Civil) -> String {
    let (hour, minute, second) = civil.time();
    format!("{}T{hour:02}:{minute:02}:{second:02}.0000000", day_text(civil.days()))
}

/// Writes a moment, given in milliseconds since 1970.
pub(super) fn moment(millis: i64) -> String {
    let civil = Civil(millis.div_euclid(1000));
    let (hour, minute, second) = civil.time();
    let rest = millis.rem_euclid(1000);
    format!("{}T{hour:02}:{minute:02}:{second:02}.{rest:03}0000Z", day_text(civil.days()))
}

/// Reads a moment with or without an offset (without: UTC) as seconds since 1970; a date alone is its midnight.
pub(super) fn instant(text: &str) -> Option<i64> {
    let Some((date, time)) = text.split_once('T') else { return day(text).map(|day| day * DAY) };
    let (clock, offset) = match time.find(['Z', 'z', '+', '-']) {
        None => (time, 0),
        Some(at) => {
            let (clock, zone) = time.split_at(at);
            let sign = if zone.starts_with('-') { -1 } else { 1 };
            let digits = zone.get(1..).unwrap_or_default();
            let offset = match digits.split_once(':') {
                Some((hours, minutes)) => sign * (number(hours)? * 3600 + number(minutes)? * 60),
                None if digits.is_empty() && zone.eq_ignore_ascii_case("z") => 0,
                None => return None,
            };
            (clock, offset)
        }
    };
    Some(wall_clock(&format!("{date}T{clock}"))?.0 - offset)
}

/// The names of IANA's that Graph takes beside Windows' names, each with Windows' name.
const IANA: &[(&str, &str)] = &[
    ("Etc/GMT+12", "Dateline Standard Time"),
    ("Etc/GMT+11", "UTC-11"),
    ("Pacific/Honolulu", "Hawaiian Standard Time"),
    ("America/Anchorage", "Alaskan Standard Time"),
    ("America/Santa_Isabel", "Pacific Standard Time (Mexico)"),
    ("America/Los_Angeles", "Pacific Standard Time"),
    ("America/Phoenix", "US Mountain Standard Time"),
    ("America/Chihuahua", "Mountain Standard Time (Mexico)"),
    ("America/Denver", "Mountain Standard Time"),
    ("America/Guatemala", "Central America Standard Time"),
    ("America/Chicago", "Central Standard Time"),
    ("America/Mexico_City", "Central Standard Time (Mexico)"),
    ("America/Regina", "Canada Central Standard Time"),
    ("America/Bogota", "SA Pacific Standard Time"),
    ("America/New_York", "Eastern Standard Time"),
    ("America/Indiana/Indianapolis", "US Eastern Standard Time"),
    ("America/Caracas", "Venezuela Standard Time"),
    ("America/Asuncion", "Paraguay Standard Time"),
    ("America/Halifax", "Atlantic Standard Time"),
    ("America/Cuiaba", "Central Brazilian Standard Time"),
    ("America/La_Paz", "SA Western Standard Time"),
    ("America/Santiago", "Pacific SA Standard Time"),
    ("America/St_Johns", "Newfoundland Standard Time"),
    ("America/Sao_Paulo", "E. South America Standard Time"),
    ("America/Argentina/Buenos_Aires", "Argentina Standard Time"),
    ("America/Cayenne", "SA Eastern Standard Time"),
    ("America/Godthab", "Greenland Standard Time"),
    ("America/Montevideo", "Montevideo Standard Time"),
    ("America/Bahia", "Bahia Standard Time"),
    ("Etc/GMT+2", "UTC-02"),
    ("Atlantic/Azores", "Azores Standard Time"),
    ("Atlantic/Cape_Verde", "Cape Verde Standard Time"),
    ("Africa/Casablanca", "Morocco Standard Time"),
    ("Etc/GMT", "UTC"),
    ("Europe/London", "GMT Standard Time"),
    ("Atlantic/Reykjavik", "Greenwich Standard Time"),
    ("Europe/Berlin", "W. Europe Standard Time"),
    ("Europe/Budapest", "Central Europe Standard Time"),
    ("Europe/Paris", "Romance Standard Time"),
    ("Europe/Warsaw", "Central European Standard Time"),
    ("Africa/Lagos", "W. Central Africa Standard Time"),
    ("Africa/Windhoek", "Namibia Standard Time"),
    ("Europe/Bucharest", "GTB Standard Time"),
    ("Asia/Beirut", "Middle East Standard Time"),
    ("Africa/Cairo", "Egypt Standard Time"),
    ("Asia/Damascus", "Syria Standard Time"),
    ("Africa/Johannesburg", "South Africa Standard Time"),
    ("Europe/Kyiv", "FLE Standard Time"),
    ("Europe/Kiev", "FLE Standard Time"),
    ("Europe/Istanbul", "Turkey Standard Time"),
    ("Asia/Jerusalem", "Israel Standard Time"),
    ("Asia/Amman", "Jordan Standard Time"),
    ("Asia/Baghdad", "Arabic Standard Time"),
    ("Europe/Kaliningrad", "Kaliningrad Standard Time"),
    ("Asia/Riyadh", "Arab Standard Time"),
    ("Africa/Nairobi", "E. Africa Standard Time"),
    ("Asia/Tehran", "Iran Standard Time"),
    ("Asia/Dubai", "Arabian Standard Time"),
    ("Asia/Baku", "Azerbaijan Standard Time"),
    ("Europe/Moscow", "Russian Standard Time"),
    ("Indian/Mauritius", "Mauritius Standard Time"),
    ("Asia/Tbilisi", "Georgian Standard Time"),
    ("Asia/Yerevan", "Caucasus Standard Time"),
    ("Asia/Kabul", "Afghanistan Standard Time"),
    ("Asia/Karachi", "Pakistan Standard Time"),
    ("Asia/Tashkent", "West Asia Standard Time"),
    ("Asia/Kolkata", "India Standard Time"),
    ("Asia/Colombo", "Sri Lanka Standard Time"),
    ("Asia/Kathmandu", "Nepal Standard Time"),
    ("Asia/Almaty", "Central Asia Standard Time"),
    ("Asia/Dhaka", "Bangladesh Standard Time"),
    ("Asia/Yekaterinburg", "Ekaterinburg Standard Time"),
    ("Asia/Rangoon", "Myanmar Standard Time"),
    ("Asia/Bangkok", "SE Asia Standard Time"),
    ("Asia/Novosibirsk", "N. Central Asia Standard Time"),
    ("Asia/Shanghai", "China Standard Time"),
    ("Asia/Krasnoyarsk", "North Asia Standard Time"),
    ("Asia/Singapore", "Singapore Standard Time"),
    ("Australia/Perth", "W. Australia Standard Time"),
    ("Asia/Taipei", "Taipei Standard Time"),
    ("Asia/Ulaanbaatar", "Ulaanbaatar Standard Time"),
    ("Asia/Irkutsk", "North Asia East Standard Time"),
    ("Asia/Tokyo", "Tokyo Standard Time"),
    ("Asia/Seoul", "Korea Standard Time"),
    ("Australia/Adelaide", "Cen. Australia Standard Time"),
    ("Australia/Darwin", "AUS Central Standard Time"),
    ("Australia/Brisbane", "E. Australia Standard Time"),
    ("Australia/Sydney", "AUS Eastern Standard Time"),
    ("Pacific/Port_Moresby", "West Pacific Standard Time"),
    ("Australia/Hobart", "Tasmania Standard Time"),
    ("Asia/Yakutsk", "Yakutsk Standard Time"),
    ("Pacific/Guadalcanal", "Central Pacific Standard Time"),
    ("Asia/Vladivostok", "Vladivostok Standard Time"),
    ("Pacific/Auckland", "New Zealand Standard Time"),
    ("Etc/GMT-12", "UTC+12"),
    ("Pacific/Fiji", "Fiji Standard Time"),
    ("Asia/Magadan", "Magadan Standard Time"),
    ("Pacific/Tongatapu", "Tonga Standard Time"),
    ("Pacific/Apia", "Samoa Standard Time"),
    ("Pacific/Kiritimati", "Line Islands Standard Time"),
];

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn both_names_of_each_zone_are_known() {
        for (iana, windows) in IANA {
            assert!(by_tzid(iana).is_some(), "{iana}");
            assert!(by_tzid(windows).is_some(), "{windows}");
            assert!(known(windows).is_ok(), "{windows}");
        }
        for bad in ["Europe/Vienna", "CET", "", "Nowhere Standard Time", "America/New York"] {
            assert!(known(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_time_with_an_offset_is_no_wall_clock() {
        for (text, good) in [
            ("2026-12-01T10:00:00", true),
            ("2026-12-01T10:00:00.0000000", true),
            ("2026-12-01T10:00", true),
            ("2026-12-01T10:00:00Z", false),
            ("2026-12-01T10:00:00+01:00", false),
            ("2026-12-01", false),
            ("2026-02-30T10:00:00", false),
            ("2026-12-01T25:00:00", false),
        ] {
            assert_eq!(wall_clock(text).is_some(), good, "{text}");
        }
    }

    #[test]
    fn a_moment_has_an_offset_or_is_utc() {
        let want = instant("2026-12-01T10:00:00Z");
        assert!(want.is_some());
        for text in ["2026-12-01T10:00:00", "2026-12-01T11:00:00.0000000+01:00", "2026-12-01T05:00:00-05:00"]
        {
            assert_eq!(instant(text), want, "{text}");
        }
        assert_eq!(moment(want.unwrap() * 1000 + 5), "2026-12-01T10:00:00.0050000Z");
        assert_eq!(instant("2026-12-01T10:00:00+1"), None);
    }

    #[test]
    fn a_time_is_shown_in_the_zone_that_was_asked_for() {
        let berlin = json!({ "dateTime": "2026-07-01T10:00:00", "timeZone": "Europe/Berlin" });
        let when = When::read(&berlin).unwrap();
        assert_eq!(when.shown("UTC", false)["dateTime"], "2026-07-01T08:00:00.0000000");
        assert_eq!(when.shown("Tokyo Standard Time", false)["dateTime"], "2026-07-01T17:00:00.0000000");
        assert_eq!(when.shown("Tokyo Standard Time", true)["dateTime"], "2026-07-01T10:00:00.0000000");
        assert_eq!(windows_name(&when.zone), "W. Europe Standard Time");
    }
}

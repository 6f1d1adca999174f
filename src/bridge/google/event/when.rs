//! Times: Google's days and zoned times, iCalendar's four forms, and what both call an instance.
//!
//! Owns: which zone a time is written in there, wall-clock times without a zone, zones that only a VTIMEZONE describes.

use serde_json::{Value, json};

use super::When;
use crate::ical::value::{Civil, DAY, DateTime};
use crate::ical::zone::{Zone, Zones, by_tzid};

/// What the times of one component are made of. A moment is a number: an instant in seconds since 1970, or for whole
/// days the midnight of the day as a wall-clock time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::bridge::google) enum Frame {
    /// Whole days.
    Date,
    /// Times in a zone.
    Timed {
        /// Which zone.
        zone: Zone,
        /// Its IANA name.
        name: String,
        /// The wall-clock time is what is meant, wherever one is.
        floating: bool,
    },
}

impl Frame {
    /// Returns the frame of a zone that IANA has a name for; else UTC.
    pub(in crate::bridge::google) fn zoned(zone: &Zone, floating: bool) -> Frame {
        match zone.name() {
            Some(name) => Frame::Timed { zone: zone.clone(), name: name.to_owned(), floating },
            None => Frame::Timed { zone: Zone::Utc, name: "UTC".into(), floating },
        }
    }

    /// Reads a time of Google's. Its offset is that of the calendar, not of the event's own zone.
    pub(in crate::bridge::google) fn of_google(when: &When, floating: bool) -> Option<(Frame, i64)> {
        if let Some(date) = &when.date {
            return Some((Frame::Date, day(date)?));
        }
        let zone = when.time_zone.as_deref().and_then(by_tzid).unwrap_or(Zone::Utc);
        let text = when.date_time.as_deref()?;
        let at = match instant(text) {
            Some(at) => at,
            None => zone.to_instant(Civil::parse(&text.replace(['-', ':'], ""))?),
        };
        Some((Frame::zoned(&zone, floating), at))
    }

    /// Reads a time of iCalendar. `home` is the calendar's zone, for times that have none. The second is true if the
    /// zone has no name there, so that only instants are left of it.
    pub(in crate::bridge::google) fn of_ical(
        time: &DateTime,
        zones: &Zones<'_>,
        home: &Zone,
    ) -> ((Frame, i64), bool) {
        let in_zone = |zone: &Zone, civil: Civil, floating| {
            ((Frame::zoned(zone, floating), zone.to_instant(civil)), false)
        };
        match time {
            DateTime::Date(civil) => ((Frame::Date, civil.midnight().0), false),
            DateTime::Utc(civil) => in_zone(&Zone::Utc, *civil, false),
            DateTime::Floating(civil) => in_zone(home, *civil, true),
            DateTime::Zoned(civil, tzid) => match zones.zone(tzid) {
                None => in_zone(home, *civil, true),
                Some(zone) => {
                    let at = zone.to_instant(*civil);
                    match named(&zone, at) {
                        Some(zone) => ((Frame::zoned(&zone, false), at), false),
                        None => ((Frame::zoned(&Zone::Utc, false), at), true),
                    }
                }
            },
        }
    }

    /// Returns what an EXDATE, RDATE or RECURRENCE-ID of this series means.
    pub(in crate::bridge::google) fn moment(&self, time: &DateTime, zones: &Zones<'_>, start: i64) -> i64 {
        match self {
            Frame::Date => time.civil().midnight().0,
            Frame::Timed { zone, .. } => match time {
                // A day of a series with times: the instance of that day.
                DateTime::Date(day) => {
                    let clock = zone.to_civil(start).0.rem_euclid(DAY);
                    zone.to_instant(Civil(day.midnight().0 + clock))
                }
                DateTime::Utc(civil) => civil.0,
                DateTime::Floating(civil) => zone.to_instant(*civil),
                DateTime::Zoned(civil, tzid) => {
                    zones.zone(tzid).unwrap_or_else(|| zone.clone()).to_instant(*civil)
                }
            },
        }
    }

    /// Returns what Google's time means in this series.
    pub(in crate::bridge::google) fn moment_of(&self, when: &When) -> Option<i64> {
        let (frame, at) = Frame::of_google(when, false)?;
        Some(match (self, &frame) {
            (Frame::Date, Frame::Timed { zone, .. }) => zone.to_civil(at).midnight().0,
            (Frame::Timed { zone, .. }, Frame::Date) => zone.to_instant(Civil(at)),
            _ => at,
        })
    }

    /// Returns a content line of iCalendar with one time.
    pub(in crate::bridge::google) fn line(&self, name: &str, at: i64) -> String {
        match self {
            Frame::Date => format!("{name};VALUE=DATE:{}", Civil(at).to_date()),
            Frame::Timed { zone, floating: true, .. } => format!("{name}:{}", zone.to_civil(at).to_basic()),
            Frame::Timed { zone: Zone::Utc, .. } => format!("{name}:{}Z", Civil(at).to_basic()),
            Frame::Timed { zone, name: tzid, .. } => {
                format!("{name};TZID={tzid}:{}", zone.to_civil(at).to_basic())
            }
        }
    }

    /// Returns a line for an event's `recurrence`.
    pub(in crate::bridge::google) fn recurrence_line(
        &self,
        name: &str,
        moments: impl Iterator<Item = i64>,
    ) -> Option<String> {
        let (head, texts): (String, Vec<String>) = match self {
            Frame::Date => (format!("{name};VALUE=DATE"), moments.map(|at| Civil(at).to_date()).collect()),
            Frame::Timed { zone: Zone::Utc, .. } => {
                (name.to_owned(), moments.map(|at| format!("{}Z", Civil(at).to_basic())).collect())
            }
            Frame::Timed { zone, name: tzid, .. } => {
                (format!("{name};TZID={tzid}"), moments.map(|at| zone.to_civil(at).to_basic()).collect())
            }
        };
        (!texts.is_empty()).then(|| format!("{head}:{}", texts.join(",")))
    }

    /// Returns an event's `start` or `end`.
    pub(in crate::bridge::google) fn json(&self, at: i64) -> Value {
        match self {
            Frame::Date => json!({ "date": dashed(at) }),
            Frame::Timed { zone, name, .. } => {
                json!({ "dateTime": rfc3339(zone, at), "timeZone": name })
            }
        }
    }

    /// Returns how an instance is asked for: `originalStart` of `instances`.
    pub(in crate::bridge::google) fn original(&self, at: i64) -> String {
        match self {
            Frame::Date => dashed(at),
            Frame::Timed { .. } => rfc3339(&Zone::Utc, at),
        }
    }

    /// True for whole days.
    pub(in crate::bridge::google) fn is_date(&self) -> bool {
        matches!(self, Frame::Date)
    }

    /// True for wall-clock times of no zone.
    pub(in crate::bridge::google) fn floats(&self) -> bool {
        matches!(self, Frame::Timed { floating: true, .. })
    }

    /// Returns the name of the zone that has to be described beside the times.
    pub(in crate::bridge::google) fn tzid(&self) -> Option<&str> {
        match self {
            Frame::Timed { zone: Zone::Iana(_), name, floating: false } => Some(name),
            _ => None,
        }
    }

    /// Returns the moment that is as far away as the wall clock says.
    pub(in crate::bridge::google) fn shifted(&self, at: i64, seconds: i64) -> i64 {
        match self {
            Frame::Date => at + seconds,
            Frame::Timed { zone, .. } => zone.to_instant(Civil(zone.to_civil(at).0 + seconds)),
        }
    }
}

/// Reads an RFC 3339 time with an offset.
pub(in crate::bridge::google) fn instant(text: &str) -> Option<i64> {
    text.trim().parse::<jiff::Timestamp>().ok().map(|at| at.as_second())
}

/// Reads `2026-01-05` as the midnight of that day.
fn day(text: &str) -> Option<i64> {
    let plain = text.trim().replace('-', "");
    (plain.len() == 8).then(|| Civil::parse(&plain)).flatten().map(|civil| civil.0)
}

fn dashed(at: i64) -> String {
    let (year, month, day) = Civil(at).date();
    format!("{year:04}-{month:02}-{day:02}")
}

fn rfc3339(zone: &Zone, at: i64) -> String {
    let clock = |civil: Civil| {
        let (hour, minute, second) = civil.time();
        format!("{}T{hour:02}:{minute:02}:{second:02}", dashed(civil.0))
    };
    let civil = zone.to_civil(at);
    let east = civil.0 - at;
    // RFC 3339 §4.2 has no seconds in an offset; local mean times have.
    if east == 0 || east % 60 != 0 {
        return format!("{}Z", clock(Civil(at)));
    }
    let sign = if east < 0 { '-' } else { '+' };
    format!("{}{sign}{:02}:{:02}", clock(civil), east.abs() / 3600, east.abs() / 60 % 60)
}

/// Zones that stand for the ways in which clocks go around the world, those with most people first.
const KNOWN: [&str; 64] = [
    "Europe/Berlin",
    "Europe/London",
    "America/New_York",
    "America/Chicago",
    "America/Denver",
    "America/Los_Angeles",
    "Europe/Athens",
    "Asia/Kolkata",
    "Asia/Shanghai",
    "Asia/Tokyo",
    "America/Sao_Paulo",
    "Australia/Sydney",
    "Europe/Moscow",
    "Asia/Dubai",
    "Asia/Karachi",
    "Asia/Dhaka",
    "Asia/Jakarta",
    "Africa/Lagos",
    "Africa/Johannesburg",
    "Africa/Nairobi",
    "Africa/Cairo",
    "Africa/Casablanca",
    "America/Phoenix",
    "America/Anchorage",
    "Pacific/Honolulu",
    "America/Halifax",
    "America/St_Johns",
    "America/Bogota",
    "America/Caracas",
    "America/Santiago",
    "America/Asuncion",
    "America/Havana",
    "America/Nuuk",
    "America/Noronha",
    "America/Adak",
    "America/Regina",
    "America/Puerto_Rico",
    "Atlantic/Azores",
    "Atlantic/Cape_Verde",
    "Africa/Abidjan",
    "Europe/Istanbul",
    "Europe/Chisinau",
    "Asia/Jerusalem",
    "Asia/Beirut",
    "Asia/Tehran",
    "Asia/Kabul",
    "Asia/Yekaterinburg",
    "Asia/Colombo",
    "Asia/Kathmandu",
    "Asia/Yangon",
    "Asia/Novosibirsk",
    "Australia/Perth",
    "Australia/Adelaide",
    "Australia/Darwin",
    "Australia/Brisbane",
    "Australia/Lord_Howe",
    "Pacific/Noumea",
    "Pacific/Auckland",
    "Pacific/Chatham",
    "Pacific/Tongatapu",
    "Pacific/Kiritimati",
    "Pacific/Norfolk",
    "Pacific/Pago_Pago",
    "Pacific/Easter",
];

/// Returns the zone under a name that IANA has: itself, or one whose clocks go alike for three years around.
fn named(zone: &Zone, at: i64) -> Option<Zone> {
    if zone.name().is_some() {
        return Some(zone.clone());
    }
    let alike = |other: &Zone| {
        (-36..=36).all(|n| {
            let probe = at + n * 15 * DAY;
            other.to_civil(probe) == zone.to_civil(probe)
        })
    };
    KNOWN.iter().filter_map(|name| by_tzid(name)).find(alike)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use super::*;
    use crate::ical::Ical;

    fn google(date_time: &str, zone: Option<&str>) -> When {
        When { date_time: Some(date_time.into()), time_zone: zone.map(str::to_owned), date: None }
    }

    #[test]
    fn times_of_google_are_shown_in_the_events_own_zone() {
        let rows = [
            (
                "2026-01-05T15:00:00+01:00",
                Some("America/New_York"),
                "X;TZID=America/New_York:20260105T090000",
            ),
            ("2026-07-05T09:00:00+02:00", Some("Europe/Berlin"), "X;TZID=Europe/Berlin:20260705T090000"),
            ("2026-07-05T09:00:00", Some("Europe/Berlin"), "X;TZID=Europe/Berlin:20260705T090000"),
            ("2026-07-05T09:00:00.000Z", Some("UTC"), "X:20260705T090000Z"),
            ("2026-07-05T09:00:00-03:00", None, "X:20260705T120000Z"),
            ("2026-07-05T09:00:00-03:00", Some("Nowhere/Land"), "X:20260705T120000Z"),
        ];
        for (time, zone, expected) in rows {
            let (frame, at) = Frame::of_google(&google(time, zone), false).unwrap();
            assert_eq!(frame.line("X", at), expected);
        }
        let day = When { date: Some("2026-02-28".into()), ..When::default() };
        let (frame, at) = Frame::of_google(&day, false).unwrap();
        assert_eq!(frame.line("X", at), "X;VALUE=DATE:20260228");
        assert!(Frame::of_google(&google("tomorrow", None), false).is_none());
        assert!(Frame::of_google(&When::default(), false).is_none());
    }

    #[test]
    fn times_of_ours_are_written_with_offset_and_name() {
        let ical = Ical::parse("BEGIN:VCALENDAR\r\nEND:VCALENDAR\r\n").unwrap();
        let zones = Zones::of(&ical);
        let home = by_tzid("Asia/Kathmandu").unwrap();
        let rows = [
            (
                "20260105T090000",
                Some("W. Europe Standard Time"),
                r#"{"dateTime":"2026-01-05T09:00:00+01:00","timeZone":"Europe/Berlin"}"#,
            ),
            ("20260705T090000Z", None, r#"{"dateTime":"2026-07-05T09:00:00Z","timeZone":"UTC"}"#),
            (
                "20260705T090000",
                None,
                r#"{"dateTime":"2026-07-05T09:00:00+05:45","timeZone":"Asia/Kathmandu"}"#,
            ),
            // A time that the clock skips is the one after the gap; of two alike it is the first.
            (
                "20260329T023000",
                Some("Europe/Berlin"),
                r#"{"dateTime":"2026-03-29T03:30:00+02:00","timeZone":"Europe/Berlin"}"#,
            ),
            (
                "20261025T023000",
                Some("Europe/Berlin"),
                r#"{"dateTime":"2026-10-25T02:30:00+02:00","timeZone":"Europe/Berlin"}"#,
            ),
            ("20260705", None, r#"{"date":"2026-07-05"}"#),
        ];
        for (text, tzid, expected) in rows {
            let time = DateTime::parse(text, tzid).unwrap();
            let ((frame, at), odd) = Frame::of_ical(&time, &zones, &home);
            assert_eq!((frame.json(at).to_string().as_str(), odd), (expected, false), "{text}");
        }
    }

    #[test]
    fn a_zone_without_a_name_is_recognised_by_its_clock() {
        let text = |standard: &str| {
            format!(
                "BEGIN:VCALENDAR\r\nBEGIN:VTIMEZONE\r\nTZID:Custom\r\nBEGIN:STANDARD\r\nDTSTART:16011028T030000\r\n\
                 RRULE:FREQ=YEARLY;BYDAY=-1SU;BYMONTH=10\r\nTZOFFSETFROM:+0200\r\nTZOFFSETTO:{standard}\r\nEND:STANDARD\r\n\
                 BEGIN:DAYLIGHT\r\nDTSTART:16010325T020000\r\nRRULE:FREQ=YEARLY;BYDAY=-1SU;BYMONTH=3\r\n\
                 TZOFFSETFROM:{standard}\r\nTZOFFSETTO:+0200\r\nEND:DAYLIGHT\r\nEND:VTIMEZONE\r\nEND:VCALENDAR\r\n"
            )
        };
        let time = DateTime::parse("20260105T090000", Some("Custom")).unwrap();
        let ical = Ical::parse(text("+0100")).unwrap();
        let ((frame, at), odd) = Frame::of_ical(&time, &Zones::of(&ical), &Zone::Utc);
        assert_eq!((frame.line("X", at).as_str(), odd), ("X;TZID=Europe/Berlin:20260105T090000", false));
        let ical = Ical::parse(text("+0117")).unwrap();
        let ((frame, at), odd) = Frame::of_ical(&time, &Zones::of(&ical), &Zone::Utc);
        assert_eq!((frame.line("X", at).as_str(), odd), ("X:20260105T074300Z", true));
    }
}

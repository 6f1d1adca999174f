//! When an event takes place: between the text's DTSTART, DTEND and DURATION and the document's `start`, `end`,
//! `duration`, `time_zone` and `all_day`.
//!
//! Owns: reading and writing times on both sides, keeping what is not named. Does not own: recurrence (`overrides`).

use crate::ical::value::{Civil, DateTime, Duration, date_time};
use crate::ical::zone::{Zone, Zones, by_tzid};
use crate::ical::{Component, quote_parameter};

use super::super::problem::Problem;

const DAY: i64 = 86_400;

/// How the times of an event are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Form {
    /// Whole days.
    Date,
    /// Wall-clock times without a zone.
    Floating,
    /// UTC.
    Utc,
    /// Wall-clock times of a zone: the TZID as written, and what it means.
    Zoned(String, Zone),
}

impl Form {
    /// Returns the form of a time. A TZID that says nothing is read as floating.
    pub(super) fn of(time: &DateTime, zones: Zones<'_>) -> Form {
        match time {
            DateTime::Date(_) => Form::Date,
            DateTime::Floating(_) => Form::Floating,
            DateTime::Utc(_) => Form::Utc,
            DateTime::Zoned(_, tzid) => match zones.zone(tzid) {
                Some(zone) => Form::Zoned(tzid.clone(), zone),
                None => Form::Floating,
            },
        }
    }

    /// Returns the instant of a wall-clock time. Without a zone, as if it were UTC: it is compared with its like only.
    pub(super) fn instant(&self, civil: Civil) -> i64 {
        match self {
            Form::Zoned(_, zone) => zone.to_instant(civil),
            Form::Date | Form::Floating | Form::Utc => civil.0,
        }
    }

    /// Returns the wall-clock time of an instant.
    pub(super) fn civil(&self, instant: i64) -> Civil {
        match self {
            Form::Zoned(_, zone) => zone.to_civil(instant),
            Form::Date => Civil(instant).midnight(),
            Form::Floating | Form::Utc => Civil(instant),
        }
    }

    /// Returns the name of the zone as the document shows it.
    pub(super) fn zone_name(&self) -> Option<&str> {
        match self {
            Form::Date | Form::Floating => None,
            Form::Utc => Some("UTC"),
            Form::Zoned(tzid, zone) => Some(zone.name().unwrap_or(tzid)),
        }
    }

    /// Writes a property of this form.
    pub(super) fn line(&self, name: &str, civil: Civil) -> String {
        match self {
            Form::Date => format!("{name};VALUE=DATE:{}", civil.to_date()),
            Form::Floating => format!("{name}:{}", civil.to_basic()),
            Form::Utc => format!("{name}:{}Z", civil.to_basic()),
            Form::Zoned(tzid, _) => format!("{name};TZID={}:{}", quote_parameter(tzid), civil.to_basic()),
        }
    }

    /// Writes a time for the document: RFC 3339 with its offset; whole days as dates, floating times without one.
    pub(super) fn shown(&self, civil: Civil) -> String {
        match self {
            Form::Date => date(civil),
            Form::Floating => local(civil),
            Form::Utc => format!("{}Z", local(civil)),
            Form::Zoned(_, zone) => {
                let instant = zone.to_instant(civil);
                // A time that a gap skips is shown as the one that is meant.
                let civil = zone.to_civil(instant);
                format!("{}{}", local(civil), offset(civil.0 - instant))
            }
        }
    }

    /// Writes which instance of a series is meant: its wall-clock time, without an offset.
    pub(super) fn key(&self, civil: Civil) -> String {
        match self {
            Form::Date => date(civil),
            Form::Floating | Form::Utc | Form::Zoned(..) => local(civil),
        }
    }
}

fn date(civil: Civil) -> String {
    let (year, month, day) = civil.date();
    format!("{year:04}-{month:02}-{day:02}")
}

/// `2026-01-05T09:00:00`.
pub(super) fn local(civil: Civil) -> String {
    let (hour, minute, second) = civil.time();
    format!("{}T{hour:02}:{minute:02}:{second:02}", date(civil))
}

fn offset(seconds: i64) -> String {
    if seconds == 0 {
        return "Z".to_owned();
    }
    let sign = if seconds < 0 { '-' } else { '+' };
    // Offsets of long ago had seconds; RFC 3339 has minutes only.
    let minutes = seconds.abs() / 60;
    format!("{sign}{:02}:{:02}", minutes / 60, minutes % 60)
}

/// A time as the document says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Said {
    /// A day.
    Date(Civil),
    /// A wall-clock time.
    Local(Civil),
    /// An instant, in seconds since 1970.
    Instant(i64),
}

impl Said {
    /// Reads `2026-01-05`, `2026-01-05T09:00:00` or RFC 3339 with an offset.
    pub(super) fn read(text: &str) -> Option<Said> {
        let text = text.trim();
        if text.len() == 10 {
            return Civil::parse(&text.replace('-', "")).map(Said::Date);
        }
        if let Ok(instant) = text.parse::<jiff::Timestamp>() {
            return Some(Said::Instant(instant.as_second()));
        }
        let local: jiff::civil::DateTime = text.parse().ok()?;
        Civil::new(
            local.year().into(),
            local.month().into(),
            local.day().into(),
            local.hour().into(),
            local.minute().into(),
            local.second().into(),
        )
        .map(Said::Local)
    }

    /// Returns the wall-clock time that is meant in this form; nothing: a day where a time is needed, or the other way.
    pub(super) fn civil(self, form: &Form) -> Option<Civil> {
        match (self, form) {
            (Said::Date(civil), Form::Date) => Some(civil),
            (Said::Local(civil), Form::Floating | Form::Utc | Form::Zoned(..)) => Some(civil),
            (Said::Instant(instant), Form::Utc | Form::Zoned(..)) => Some(form.civil(instant)),
            _ => None,
        }
    }
}

/// When a component takes place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Timing {
    pub(super) form: Form,
    pub(super) start: Civil,
    /// The form of the end may be another one (a flight).
    pub(super) end_form: Form,
    pub(super) end: Civil,
    /// The text says a duration instead of an end.
    pub(super) duration: Option<String>,
}

impl Timing {
    /// Reads a component.
    pub(super) fn of(component: Component<'_>, zones: Zones<'_>) -> Option<Timing> {
        let start = date_time(&component.property("DTSTART")?)?;
        let form = Form::of(&start, zones);
        let begin = start.civil();
        if let Some(end) = component.property("DTEND").and_then(|end| date_time(&end)) {
            let end_form = Form::of(&end, zones);
            return Some(Timing { form, start: begin, end_form, end: end.civil(), duration: None });
        }
        let raw = component.property("DURATION").map(|duration| duration.raw().trim().to_owned());
        let end = match raw.as_deref().and_then(Duration::parse) {
            Some(duration) => after(&form, begin, duration),
            // RFC 5545 §3.6.1: a day, or nothing at all.
            None if form == Form::Date => Civil(begin.0 + DAY),
            None => begin,
        };
        Some(Timing { end_form: form.clone(), form, start: begin, end, duration: raw })
    }

    /// Returns how long it takes: days for whole days, else seconds.
    pub(super) fn length(&self) -> i64 {
        match self.form {
            Form::Date => self.end.0 - self.start.0,
            _ => self.end_form.instant(self.end) - self.form.instant(self.start),
        }
    }

    /// Returns it as an ISO 8601 duration.
    pub(super) fn shown_length(&self) -> String {
        if let Some(raw) = &self.duration {
            return raw.clone();
        }
        let length = self.length().max(0);
        if self.form == Form::Date {
            return format!("P{}D", length / DAY);
        }
        spelled(length)
    }

    /// Returns the same timing moved so that it begins there, as long as before.
    pub(super) fn beginning(&self, start: Civil) -> Timing {
        let end = match (&self.form, self.duration.as_deref().and_then(Duration::parse)) {
            (_, Some(duration)) => after(&self.form, start, duration),
            (Form::Date, None) => Civil(start.0 + self.length()),
            (form, None) => self.end_form.civil(form.instant(start) + self.length()),
        };
        Timing { start, end, ..self.clone() }
    }
}

fn spelled(seconds: i64) -> String {
    let (hours, minutes, rest) = (seconds / 3600, seconds % 3600 / 60, seconds % 60);
    let mut text = String::from("PT");
    for (number, unit) in [(hours, 'H'), (minutes, 'M'), (rest, 'S')] {
        if number > 0 {
            text.push_str(&format!("{number}{unit}"));
        }
    }
    if text == "PT" { "PT0S".to_owned() } else { text }
}

/// RFC 5545 §3.3.6: days are days on the wall, hours are exact.
fn after(form: &Form, start: Civil, duration: Duration) -> Civil {
    let moved = Civil(start.0 + duration.days * DAY);
    if duration.seconds == 0 {
        return moved;
    }
    form.civil(form.instant(moved) + duration.seconds)
}

/// What a document says of the times; nothing: it leaves them.
#[derive(Debug, Clone, Default)]
pub(super) struct Times {
    pub(super) start: Option<Said>,
    pub(super) end: Option<Said>,
    pub(super) duration: Option<String>,
    /// Null: floating.
    pub(super) time_zone: Option<Option<String>>,
    pub(super) all_day: Option<bool>,
}

impl Times {
    pub(super) fn is_empty(&self) -> bool {
        self.start.is_none()
            && self.end.is_none()
            && self.duration.is_none()
            && self.time_zone.is_none()
            && self.all_day.is_none()
    }

    /// Returns the timing that follows from what was and what is said. `default` is the calendar's zone.
    pub(super) fn settle(&self, before: Option<&Timing>, default: Option<&str>) -> Result<Timing, Problem> {
        let form = self.form(before, default)?;
        let wrong = |field: &str| {
            let why = match form {
                Form::Date => "An event of whole days has dates, like 2026-01-05.",
                Form::Floating => "A time without a zone has no offset, like 2026-01-05T09:00:00.",
                Form::Utc | Form::Zoned(..) => "It has to be a time like 2026-01-05T09:00:00+01:00.",
            };
            Problem::invalid(field, why)
        };
        let start = match (self.start, before) {
            (Some(said), _) => said.civil(&form).ok_or_else(|| wrong("start"))?,
            (None, Some(before)) => match (&before.form, &form) {
                (old, new) if old == new => before.start,
                (Form::Date, _) => {
                    return Err(Problem::invalid("start", "Say at what time it begins."));
                }
                (_, Form::Date) => before.start.midnight(),
                (Form::Floating, _) | (_, Form::Floating) => before.start,
                // Another zone: the same moment, told by another clock.
                (old, new) => new.civil(old.instant(before.start)),
            },
            (None, None) => return Err(Problem::invalid("start", "Say when it begins.")),
        };
        let duration = match &self.duration {
            Some(text) => Some(parsed(text, &form)?),
            None => None,
        };
        let fresh = Timing { end_form: form.clone(), form: form.clone(), start, end: start, duration: None };
        let timing = match (self.end, duration, before) {
            (Some(end), duration, _) => {
                let end = end.civil(&fresh.form).ok_or_else(|| wrong("end"))?;
                let told = duration.map(|(_, duration)| after(&fresh.form, start, duration));
                if told.is_some_and(|told| told != end) {
                    return Err(Problem::invalid(
                        "duration",
                        "The end and the duration contradict each other.",
                    ));
                }
                // The text goes on saying what it said: an end, or a duration.
                let kept = before.and_then(|before| before.duration.clone());
                let kept = kept
                    .filter(|raw| Duration::parse(raw).is_some_and(|d| after(&fresh.form, start, d) == end));
                Timing { end, duration: kept, ..fresh }
            }
            (None, Some((text, duration)), _) => {
                let end = after(&fresh.form, start, duration);
                Timing { end, duration: Some(text), ..fresh }
            }
            (None, None, Some(before)) if before.form == fresh.form => before.beginning(start),
            (None, None, Some(before)) => {
                let length = match (&before.form, &fresh.form) {
                    (Form::Date, Form::Date) => before.length(),
                    (Form::Date, _) => return Err(Problem::invalid("end", "Say when it ends.")),
                    // Every day that it touches.
                    (_, Form::Date) => {
                        (before.end.0 - 1).max(before.start.0).div_euclid(DAY) * DAY + DAY - start.0
                    }
                    _ => before.length(),
                };
                let end = fresh.form.civil(fresh.form.instant(start) + length);
                Timing { end, ..fresh }
            }
            (None, None, None) if fresh.form == Form::Date => Timing { end: Civil(start.0 + DAY), ..fresh },
            (None, None, None) => {
                return Err(Problem::invalid("end", "Say when it ends, with `end` or `duration`."));
            }
        };
        if timing.length() < 0 || (timing.form == Form::Date && timing.length() == 0) {
            return Err(Problem::invalid(
                "end",
                "It ends before it begins. The end of whole days is the day after.",
            ));
        }
        Ok(timing)
    }

    fn form(&self, before: Option<&Timing>, default: Option<&str>) -> Result<Form, Problem> {
        let is_date = matches!(self.start, Some(Said::Date(_)));
        let all_day = match (self.all_day, self.start) {
            (Some(true), Some(Said::Local(_) | Said::Instant(_))) => {
                return Err(Problem::invalid("start", "An event of whole days has dates, like 2026-01-05."));
            }
            (Some(false), Some(Said::Date(_))) => {
                return Err(Problem::invalid("start", "It has to be a time like 2026-01-05T09:00:00+01:00."));
            }
            (Some(all_day), _) => all_day,
            (None, Some(_)) => is_date,
            (None, None) => before.is_some_and(|before| before.form == Form::Date),
        };
        if all_day {
            return Ok(Form::Date);
        }
        match &self.time_zone {
            Some(Some(name)) => {
                let named = zoned(name)?;
                match (before.map(|before| &before.form), &named) {
                    // The same zone under another name: the text keeps its own.
                    (Some(form @ Form::Zoned(_, old)), Form::Zoned(_, new)) if old == new => Ok(form.clone()),
                    _ => Ok(named),
                }
            }
            Some(None) => Ok(Form::Floating),
            None => match (before.map(|before| &before.form), self.start) {
                (Some(form @ (Form::Utc | Form::Zoned(..))), _) => Ok(form.clone()),
                (Some(Form::Floating), Some(Said::Local(_)) | None) => Ok(Form::Floating),
                (_, Some(Said::Instant(_))) => match default {
                    Some(name) if before.is_none() => zoned(name).or(Ok(Form::Utc)),
                    _ => Ok(Form::Utc),
                },
                _ => match default {
                    Some(name) => zoned(name),
                    None => Ok(Form::Floating),
                },
            },
        }
    }
}

/// Returns the form of a zone that somebody names.
pub(super) fn zoned(name: &str) -> Result<Form, Problem> {
    let unknown =
        || Problem::invalid("time_zone", format!("`{name}` is not a time zone like Europe/Berlin."));
    match by_tzid(name).ok_or_else(unknown)? {
        Zone::Utc => Ok(Form::Utc),
        zone => {
            let tzid = zone.name().ok_or_else(unknown)?.to_owned();
            Ok(Form::Zoned(tzid, zone))
        }
    }
}

fn parsed(text: &str, form: &Form) -> Result<(String, Duration), Problem> {
    let text = text.trim().to_ascii_uppercase();
    let duration = Duration::parse(&text).filter(|duration| duration.plain_seconds() >= 0);
    let duration = duration.ok_or_else(|| {
        Problem::invalid("duration", format!("`{text}` is not a duration like PT45M or P2D."))
    })?;
    if *form == Form::Date && duration.plain_seconds() % DAY != 0 {
        return Err(Problem::invalid("duration", "An event of whole days takes whole days, like P2D."));
    }
    Ok((text, duration))
}

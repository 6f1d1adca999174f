//! Plain values (RFC 5545 §3.3), read on demand. No zone data: civil time is seconds since 1970 as if it were UTC.
//!
//! Owns: DATE, DATE-TIME, DURATION, PERIOD, UTC-OFFSET, TEXT. Does not own: what instant a local time is (`zone`).

use std::fmt::Write;

use super::tree::Property;

/// Seconds of a day.
pub const DAY: i64 = 86_400;

/// A wall-clock time: seconds since 1970-01-01T00:00:00 as if it were UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Civil(pub i64);

impl Civil {
    /// Returns the time made of these parts, or nothing if there is no such day or hour. 24:00:00 is the next midnight.
    pub fn new(year: i64, month: i64, day: i64, hour: i64, minute: i64, second: i64) -> Option<Civil> {
        let valid = (1..=12).contains(&month)
            && day >= 1
            && day <= days_in_month(year, month)
            && ((0..24).contains(&hour) || (hour, minute, second) == (24, 0, 0))
            && (0..60).contains(&minute)
            && (0..=60).contains(&second);
        // RFC 5545 §3.3.12: a leap second is read as the second before it where there is none.
        let second = second.min(59);
        valid.then(|| Civil(days_from_civil(year, month, day) * DAY + hour * 3600 + minute * 60 + second))
    }

    /// Reads `YYYYMMDD` or `YYYYMMDDTHHMMSS`, a trailing `Z` ignored. Missing seconds are 0.
    pub fn parse(text: &str) -> Option<Civil> {
        let bytes = text.trim().as_bytes();
        let number = |from: usize, to: usize| -> Option<i64> {
            bytes
                .get(from..to)?
                .iter()
                .try_fold(0i64, |sum, byte| byte.is_ascii_digit().then(|| sum * 10 + i64::from(byte - b'0')))
        };
        let (year, month, day) = (number(0, 4)?, number(4, 6)?, number(6, 8)?);
        match bytes.get(8..) {
            None | Some([]) => Civil::new(year, month, day, 0, 0, 0),
            Some([b'T' | b't', rest @ ..]) => {
                let clock = if let [clock @ .., b'Z' | b'z'] = rest { clock } else { rest };
                let second = match clock.len() {
                    6 => number(13, 15)?,
                    4 => 0,
                    _ => return None,
                };
                Civil::new(year, month, day, number(9, 11)?, number(11, 13)?, second)
            }
            Some(_) => None,
        }
    }

    /// Returns year, month and day.
    pub fn date(self) -> (i64, i64, i64) {
        civil_from_days(self.0.div_euclid(DAY))
    }

    /// Returns hour, minute and second.
    pub fn time(self) -> (i64, i64, i64) {
        let second = self.0.rem_euclid(DAY);
        (second / 3600, second / 60 % 60, second % 60)
    }

    /// Returns days since 1970-01-01.
    pub fn days(self) -> i64 {
        self.0.div_euclid(DAY)
    }

    /// Returns the midnight that begins the day.
    pub fn midnight(self) -> Civil {
        Civil(self.days() * DAY)
    }

    /// Returns `YYYYMMDDTHHMMSS`.
    pub fn to_basic(self) -> String {
        let (hour, minute, second) = self.time();
        let mut text = self.to_date();
        // Writing to a String cannot fail.
        let _ = write!(text, "T{hour:02}{minute:02}{second:02}");
        text
    }

    /// Returns `YYYYMMDD`.
    pub fn to_date(self) -> String {
        let (year, month, day) = self.date();
        format!("{year:04}{month:02}{day:02}")
    }
}

/// Returns the number of days of a month (proleptic Gregorian).
pub fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if is_leap(year) => 29,
        2 => 28,
        _ => 31,
    }
}

/// Tells whether the year has 366 days.
pub fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

/// Returns days since 1970-01-01 of a proleptic Gregorian date.
pub fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let shifted = (month + 9) % 12;
    let day_of_year = (153 * shifted + 2) / 5 + day - 1;
    let day_of_era = of_era * 365 + of_era / 4 - of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// Returns year, month and day of days since 1970-01-01.
pub fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_shifted + 2) / 5 + 1;
    let month = if month_shifted < 10 { month_shifted + 3 } else { month_shifted - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

/// A DATE or DATE-TIME as written.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum DateTime {
    /// A day (its midnight).
    Date(Civil),
    /// A time without zone: RFC 5545 §3.3.5 form 1.
    Floating(Civil),
    /// A time in UTC: form 2.
    Utc(Civil),
    /// A local time with its TZID as written, blanks around it removed: form 3.
    Zoned(Civil, String),
}

impl DateTime {
    /// Returns the wall-clock time.
    pub fn civil(&self) -> Civil {
        match self {
            DateTime::Date(civil)
            | DateTime::Floating(civil)
            | DateTime::Utc(civil)
            | DateTime::Zoned(civil, _) => *civil,
        }
    }

    /// Tells whether it is a DATE.
    pub fn is_date(&self) -> bool {
        matches!(self, DateTime::Date(_))
    }

    /// Reads one value in the light of the property's TZID. A value of eight digits is a DATE, whatever `VALUE` says.
    pub fn parse(text: &str, tzid: Option<&str>) -> Option<DateTime> {
        let text = text.trim();
        let civil = Civil::parse(text)?;
        if text.len() == 8 {
            return Some(DateTime::Date(civil));
        }
        if text.ends_with(['Z', 'z']) {
            return Some(DateTime::Utc(civil));
        }
        Some(match tzid.map(str::trim).filter(|tzid| !tzid.is_empty()) {
            Some(tzid) => DateTime::Zoned(civil, tzid.to_owned()),
            None => DateTime::Floating(civil),
        })
    }
}

/// What a property declares about its values.
#[derive(Debug, Default)]
struct Declared {
    tzid: Option<String>,
    date: bool,
}

impl Declared {
    fn of(property: &Property<'_>) -> Declared {
        let mut declared = Declared::default();
        for (name, values) in property.parameters() {
            match name.as_str() {
                "TZID" => declared.tzid = values.into_iter().next(),
                "VALUE" => {
                    declared.date =
                        values.first().is_some_and(|value| value.trim().eq_ignore_ascii_case("DATE"));
                }
                _ => {}
            }
        }
        declared
    }

    /// Of a value declared as DATE that has a time of day, the day.
    fn read(&self, text: &str) -> Option<DateTime> {
        let time = DateTime::parse(text, self.tzid.as_deref())?;
        Some(if self.date { DateTime::Date(time.civil().midnight()) } else { time })
    }
}

/// Reads a property with one DATE or DATE-TIME.
pub fn date_time(property: &Property<'_>) -> Option<DateTime> {
    Declared::of(property).read(&property.raw())
}

/// The end of a PERIOD.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PeriodEnd {
    /// An explicit end.
    At(DateTime),
    /// A length.
    After(Duration),
}

/// One value of RDATE, EXDATE or FREEBUSY: a time, or a time with an end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moment {
    /// When it begins.
    pub start: DateTime,
    /// For a PERIOD (RFC 5545 §3.3.9), how it ends.
    pub end: Option<PeriodEnd>,
}

/// Reads a property with a comma list of DATE, DATE-TIME or PERIOD. What cannot be read is left out and counted.
pub fn date_times(property: &Property<'_>) -> (Vec<Moment>, usize) {
    let declared = Declared::of(property);
    let raw = property.raw();
    let (mut found, mut bad) = (Vec::new(), 0);
    for text in raw.split(',').map(str::trim).filter(|text| !text.is_empty()) {
        match moment(text, &declared) {
            Some(moment) => found.push(moment),
            None => bad += 1,
        }
    }
    (found, bad)
}

fn moment(text: &str, declared: &Declared) -> Option<Moment> {
    let Some((start, end)) = text.split_once('/') else {
        return Some(Moment { start: declared.read(text)?, end: None });
    };
    let start = declared.read(start)?;
    let end = match Duration::parse(end) {
        Some(duration) => PeriodEnd::After(duration),
        None => PeriodEnd::At(declared.read(end)?),
    };
    Some(Moment { start, end: Some(end) })
}

/// A DURATION (RFC 5545 §3.3.6): nominal days, whose length depends on the zone, and exact seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct Duration {
    /// Weeks and days.
    pub days: i64,
    /// Hours, minutes and seconds.
    pub seconds: i64,
}

impl Duration {
    /// Longer than ten thousand years is no duration: sums stay sums.
    const LONGEST: i64 = 10_000 * 366 * DAY;

    /// Reads `P2W`, `-PT15M`, `P1DT12H` … in any case.
    pub fn parse(text: &str) -> Option<Duration> {
        let text = text.trim();
        let (negative, rest) = match text.as_bytes().first()? {
            b'-' => (true, text.get(1..)?),
            b'+' => (false, text.get(1..)?),
            _ => (false, text),
        };
        let rest = rest.strip_prefix(['P', 'p'])?;
        let (mut duration, mut number, mut in_time, mut any) =
            (Duration::default(), None::<i64>, false, false);
        for c in rest.chars() {
            if let Some(digit) = c.to_digit(10) {
                number = Some(number.unwrap_or(0).checked_mul(10)?.checked_add(i64::from(digit))?);
                continue;
            }
            match c.to_ascii_uppercase() {
                'T' if !in_time && number.is_none() => {
                    in_time = true;
                    continue;
                }
                unit => {
                    let n = number.take().filter(|n| *n <= Duration::LONGEST)?;
                    match (unit, in_time) {
                        ('W', false) => duration.days += n * 7,
                        ('D', false) => duration.days += n,
                        ('H', true) => duration.seconds += n * 3600,
                        ('M', true) => duration.seconds += n * 60,
                        ('S', true) => duration.seconds += n,
                        _ => return None,
                    }
                    any = true;
                    if duration.days > Duration::LONGEST / DAY || duration.seconds > Duration::LONGEST {
                        return None;
                    }
                }
            }
        }
        if !any || number.is_some() {
            return None;
        }
        if negative {
            duration = Duration { days: -duration.days, seconds: -duration.seconds };
        }
        Some(duration)
    }

    /// Returns the length in seconds with days of 24 hours.
    pub fn plain_seconds(self) -> i64 {
        self.days * DAY + self.seconds
    }
}

/// Reads a UTC-OFFSET (RFC 5545 §3.3.14) in seconds; tolerates `+HH` and a colon.
pub fn utc_offset(text: &str) -> Option<i64> {
    let text = text.trim();
    let (sign, digits) = match text.as_bytes().first()? {
        b'-' => (-1, text.get(1..)?),
        b'+' => (1, text.get(1..)?),
        _ => (1, text),
    };
    let digits: String = digits.chars().filter(|c| *c != ':').collect();
    let part = |from: usize| -> Option<i64> { digits.get(from..from + 2)?.parse().ok() };
    if !matches!(digits.len(), 2 | 4 | 6) {
        return None;
    }
    let (hours, minutes, seconds) = (part(0)?, part(2).unwrap_or(0), part(4).unwrap_or(0));
    (hours < 24 && minutes < 60 && seconds < 60).then_some(sign * (hours * 3600 + minutes * 60 + seconds))
}

/// Reads TEXT (RFC 5545 §3.3.11): `\n`, `\,`, `\;`, `\\`, and `\:` and `\"`, which old clients write. A backslash
/// before anything else is one: people write `C:\temp`.
pub fn unescape(raw: &str) -> String {
    if !raw.contains('\\') {
        return raw.to_owned();
    }
    let mut out = String::with_capacity(raw.len());
    let mut chars = raw.chars();
    while let Some(c) = chars.next() {
        match (c, c == '\\') {
            (_, true) => match chars.next() {
                Some('n' | 'N') => out.push('\n'),
                Some(meant @ ('\\' | ';' | ',' | ':' | '"')) => out.push(meant),
                Some(other) => out.extend(['\\', other]),
                None => out.push('\\'),
            },
            (c, false) => out.push(c),
        }
    }
    out
}

/// Reads quoted-printable (RFC 2045 §6.7), which vCalendar 1.0 used; what is no code of it stays as it is.
pub(super) fn unquote_printable(raw: &str) -> String {
    let mut out = Vec::with_capacity(raw.len());
    let mut rest = raw.as_bytes();
    while let [byte, after @ ..] = rest {
        let digit = |at: usize| after.get(at).and_then(|digit| char::from(*digit).to_digit(16));
        match (byte, digit(0), digit(1)) {
            (b'=', Some(high), Some(low)) => {
                out.push((high * 16 + low) as u8);
                rest = after.get(2..).unwrap_or_default();
            }
            _ => {
                out.push(*byte);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Writes TEXT: the inverse of `unescape`. CR and other control characters are left out, so that no content line can
/// be smuggled in.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            ';' => out.push_str("\\;"),
            ',' => out.push_str("\\,"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push('\t'),
            c if c.is_control() => {}
            c => out.push(c),
        }
    }
    out
}

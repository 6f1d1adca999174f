//! Day numbers, in the integer widths that bit masks want.

use crate::ical::value;

/// Returns the days from 1970-01-01 to a date of the proleptic Gregorian calendar.
pub(in crate::ical) fn day_number(year: i64, month: u32, day: u32) -> i64 {
    value::days_from_civil(year, i64::from(month), i64::from(day))
}

/// Returns year, month and day of a day number.
pub(in crate::ical) fn date_of(day: i64) -> (i64, u32, u32) {
    let (year, month, day) = value::civil_from_days(day);
    (year, month as u32, day as u32)
}

/// Monday is 0.
pub(in crate::ical) fn weekday_of(day: i64) -> u32 {
    (day + 3).rem_euclid(7) as u32
}

/// True if the year has 366 days.
pub(in crate::ical) fn leap(year: i64) -> bool {
    value::is_leap(year)
}

/// Returns 28 to 31.
pub(in crate::ical) fn days_in_month(year: i64, month: u32) -> u32 {
    value::days_in_month(year, i64::from(month)) as u32
}

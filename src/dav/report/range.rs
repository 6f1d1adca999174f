//! `CALDAV:time-range` and its kin: attributes → an interval in seconds (RFC 4791 §9.9).

use crate::dav::{Denied, Protocol};
use crate::ical::series::TimeRange;
use crate::ical::value::Civil;
use crate::xml::Element;

/// Which ends must be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ends {
    /// RFC 4791 §9.9: one at least.
    One,
    /// RFC 4791 §9.6.5–§9.6.7: both.
    Both,
}

/// The years that a date-time of RFC 5545 §3.3.5 can have and that civil time is kept for.
const YEARS: std::ops::RangeInclusive<i64> = 1..=9999;

/// Reads `start` and `end`. `refuse` says which precondition a broken one fails.
///
/// # Errors
/// What `refuse` makes of the sentence; `MinDateTime` and `MaxDateTime` for years out of reach.
pub(super) fn range(
    element: &Element,
    ends: Ends,
    refuse: impl Fn(String) -> Denied,
) -> Result<TimeRange, Denied> {
    let name = &element.name.local;
    let start = element.attribute("start").map(|text| instant(text, &refuse)).transpose()?;
    let end = element.attribute("end").map(|text| instant(text, &refuse)).transpose()?;
    match (start, end, ends) {
        (None, None, _) => Err(refuse(format!("CALDAV:{name} needs a start or an end."))),
        (None, _, Ends::Both) | (_, None, Ends::Both) => {
            Err(refuse(format!("CALDAV:{name} needs both a start and an end.")))
        }
        (Some(start), Some(end), _) if end <= start => {
            Err(refuse(format!("The end of CALDAV:{name} must lie after its start.")))
        }
        _ => Ok(TimeRange::new(start, end)),
    }
}

/// Reads a UTC date-time. RFC 4791 §9.9: only this form is allowed.
fn instant(text: &str, refuse: &impl Fn(String) -> Denied) -> Result<i64, Denied> {
    let text = text.trim();
    let year = text.get(..4).and_then(|digits| digits.parse::<i64>().ok());
    if year.is_some_and(|year| year < *YEARS.start()) {
        let why = format!("“{text}” lies before the first year that is served, {}.", YEARS.start());
        return Err(Protocol::MinDateTime(why).into());
    }
    let parsed = text.strip_suffix('Z').and_then(Civil::parse);
    match parsed {
        Some(civil) => Ok(civil.0),
        None => Err(refuse(format!("“{text}” is no date with time in UTC, like 20260131T090000Z."))),
    }
}

//! `CALDAV:filter` → a filter as plain data (RFC 4791 §9.7–§9.9).
//!
//! Owns: what a filter may be and which precondition a wrong one fails: `valid-filter` for what cannot be a filter,
//! `supported-filter` for what could be one but is not known, `supported-collation`. Does not own: what matches.

use super::range::{Ends, range};
use crate::dav::{Denied, Protocol};
use crate::ical::filter::{Collation, CompFilter, ParamFilter, PropFilter, TextMatch};
use crate::xml::{CALDAV, Element};

/// Properties whose value is a time, so that a time range can be compared with it (RFC 4791 §9.7.2, §9.9).
const TIMES: [&str; 12] = [
    "COMPLETED",
    "CREATED",
    "DTEND",
    "DTSTAMP",
    "DTSTART",
    "DUE",
    "EXDATE",
    "LAST-MODIFIED",
    "RDATE",
    "RECURRENCE-ID",
    "TRIGGER",
    "ACKNOWLEDGED",
];

fn invalid(why: impl Into<String>) -> Denied {
    Protocol::ValidFilter(why.into()).into()
}

fn unsupported(why: impl Into<String>) -> Denied {
    Protocol::SupportedFilter(why.into()).into()
}

/// Reads a `CALDAV:filter`.
///
/// # Errors
/// The precondition that it fails.
pub(super) fn filter(element: &Element) -> Result<CompFilter, Denied> {
    let mut inner = element.elements();
    let (Some(first), None) = (inner.next(), inner.next()) else {
        return Err(invalid("A CALDAV:filter must hold exactly one CALDAV:comp-filter."));
    };
    if !first.name.is(CALDAV, "comp-filter") {
        return Err(invalid("A CALDAV:filter must hold a CALDAV:comp-filter."));
    }
    let outermost = comp(first)?;
    if outermost.name != "VCALENDAR" {
        return Err(invalid("The outermost CALDAV:comp-filter must be for VCALENDAR."));
    }
    if outermost.time_range.is_some() {
        return Err(invalid("A VCALENDAR has no time; put the CALDAV:time-range into a component of it."));
    }
    Ok(outermost)
}

/// Returns the `name` of a filter element, upper case: names in iCalendar know no case.
fn name(element: &Element) -> Result<String, Denied> {
    match element.attribute("name").map(str::trim) {
        Some(name) if !name.is_empty() => Ok(name.to_ascii_uppercase()),
        _ => Err(invalid(format!("A CALDAV:{} must have a name.", element.name.local))),
    }
}

/// Tells whether the element holds `is-not-defined`, which must stand alone.
fn is_not_defined(element: &Element) -> Result<bool, Denied> {
    let found = element.elements().any(|e| e.name.is(CALDAV, "is-not-defined"));
    if found && element.elements().count() > 1 {
        return Err(invalid("CALDAV:is-not-defined must stand alone in its filter."));
    }
    Ok(found)
}

fn twice(what: &str) -> Denied {
    invalid(format!("A filter may hold one CALDAV:{what} only."))
}

fn unknown(element: &Element) -> Denied {
    unsupported(format!("The filter element “{}” is not known here.", element.name.local))
}

fn comp(element: &Element) -> Result<CompFilter, Denied> {
    let mut filter = CompFilter::named(name(element)?);
    filter.is_not_defined = is_not_defined(element)?;
    for inner in element.elements() {
        match (&*inner.name.ns, &*inner.name.local) {
            (CALDAV, "is-not-defined") => {}
            (CALDAV, "time-range") if filter.time_range.is_some() => return Err(twice("time-range")),
            (CALDAV, "time-range") => filter.time_range = Some(range(inner, Ends::One, invalid)?),
            (CALDAV, "prop-filter") => filter.props.push(prop(inner)?),
            (CALDAV, "comp-filter") => filter.comps.push(comp(inner)?),
            _ => return Err(unknown(inner)),
        }
    }
    Ok(filter)
}

fn prop(element: &Element) -> Result<PropFilter, Denied> {
    let mut filter = PropFilter { name: name(element)?, ..PropFilter::default() };
    filter.is_not_defined = is_not_defined(element)?;
    for inner in element.elements() {
        match (&*inner.name.ns, &*inner.name.local) {
            (CALDAV, "is-not-defined") => {}
            (CALDAV, "time-range") if filter.time_range.is_some() => return Err(twice("time-range")),
            (CALDAV, "time-range") => {
                if !TIMES.contains(&filter.name.as_str()) {
                    return Err(unsupported(format!("{} is no time that a range could hold.", filter.name)));
                }
                filter.time_range = Some(range(inner, Ends::One, invalid)?);
            }
            (CALDAV, "text-match") if filter.text.is_some() => return Err(twice("text-match")),
            (CALDAV, "text-match") => filter.text = Some(text(inner)?),
            (CALDAV, "param-filter") => filter.params.push(param(inner)?),
            _ => return Err(unknown(inner)),
        }
    }
    Ok(filter)
}

fn param(element: &Element) -> Result<ParamFilter, Denied> {
    let mut filter = ParamFilter { name: name(element)?, ..ParamFilter::default() };
    filter.is_not_defined = is_not_defined(element)?;
    for inner in element.elements() {
        match (&*inner.name.ns, &*inner.name.local) {
            (CALDAV, "is-not-defined") => {}
            (CALDAV, "text-match") if filter.text.is_some() => return Err(twice("text-match")),
            (CALDAV, "text-match") => filter.text = Some(text(inner)?),
            _ => return Err(unknown(inner)),
        }
    }
    Ok(filter)
}

/// RFC 4791 §9.7.5; the collations of §7.5.
fn text(element: &Element) -> Result<TextMatch, Denied> {
    let collation = match element.attribute("collation").unwrap_or("default") {
        "default" | "i;ascii-casemap" => Collation::AsciiCasemap,
        "i;octet" => Collation::Octet,
        "i;unicode-casemap" => Collation::UnicodeCasemap,
        other => return Err(Protocol::SupportedCollation(other.to_owned()).into()),
    };
    let negate = match element.attribute("negate-condition") {
        None | Some("no") => false,
        Some("yes") => true,
        Some(other) => return Err(invalid(format!("negate-condition must be yes or no, not “{other}”."))),
    };
    Ok(TextMatch { text: element.text(), collation, negate })
}

//! `CALDAV:calendar-data` in a request (RFC 4791 §9.6), and the zone that a report reads floating times in.
//!
//! Owns: which form of an object's text is wanted, limits on it. Does not own: how a series is expanded or a text cut
//! (`ical::expand`).

use std::sync::Arc;

use bytes::Bytes;

use super::range::{Ends, range};
use crate::calendar::{Readable, Refusal};
use crate::dav::{Denied, Protocol, Scope};
use crate::ical::Ical;
use crate::ical::expand::{Selection, Wanted, expand, limit_freebusy_set, limit_recurrence_set, select};
use crate::ical::series::{Series, TimeRange};
use crate::ical::zone::{Zone, by_tzid, from_vtimezone_text};
use crate::xml::{CALDAV, Element, caldav};

/// The form.
#[derive(Debug, Clone)]
pub(super) struct Data {
    cut: Cut,
    freebusy: Option<TimeRange>,
    selection: Option<Selection>,
}

/// How many instances an answer may hold, and how many of them are left.
#[derive(Debug, Clone, Copy)]
pub(super) struct Left {
    of: usize,
    left: usize,
}

impl Left {
    /// Returns what this house allows.
    pub(super) fn in_answers_to(scope: &Scope) -> Left {
        let of = scope.session.house.limits.instances;
        Left { of, left: of }
    }
}

/// What becomes of a series.
#[derive(Debug, Clone, Copy)]
enum Cut {
    Whole,
    /// RFC 4791 §9.6.5.
    Expand(TimeRange),
    /// RFC 4791 §9.6.6.
    Limit(TimeRange),
}

fn unsupported(why: impl Into<String>) -> Denied {
    Protocol::SupportedCalendarData(why.into()).into()
}

impl Data {
    /// Reads the element.
    ///
    /// # Errors
    /// `SupportedCalendarData` for another media type, version or form; `Bad` for ranges that are none.
    pub(super) fn parse(element: &Element) -> Result<Data, Denied> {
        let kind = element.attribute("content-type").unwrap_or("text/calendar");
        let version = element.attribute("version").unwrap_or("2.0");
        if !kind.eq_ignore_ascii_case("text/calendar") || version != "2.0" {
            let why = format!("Calendar data is text/calendar in version 2.0 here, not {kind} {version}.");
            return Err(unsupported(why));
        }
        let mut data = Data { cut: Cut::Whole, freebusy: None, selection: None };
        for inner in element.elements() {
            match (&*inner.name.ns, &*inner.name.local) {
                (CALDAV, "comp") if data.selection.is_none() => data.selection = Some(selection(inner)?),
                (CALDAV, "expand") if matches!(data.cut, Cut::Whole) => {
                    data.cut = Cut::Expand(range(inner, Ends::Both, super::bad)?);
                }
                (CALDAV, "limit-recurrence-set") if matches!(data.cut, Cut::Whole) => {
                    data.cut = Cut::Limit(range(inner, Ends::Both, super::bad)?);
                }
                (CALDAV, "limit-freebusy-set") if data.freebusy.is_none() => {
                    data.freebusy = Some(range(inner, Ends::Both, super::bad)?);
                }
                (CALDAV, "expand" | "limit-recurrence-set" | "limit-freebusy-set" | "comp") => {
                    let why = "A CALDAV:calendar-data holds one form of each kind, and expands or limits, not both.";
                    return Err(super::bad(why));
                }
                _ => {
                    return Err(unsupported(format!(
                        "Calendar data has no form “{}” here.",
                        inner.name.local
                    )));
                }
            }
        }
        Ok(data)
    }

    /// Tells whether it depends on when the object takes place.
    pub(super) fn needs_series(&self) -> bool {
        matches!(self.cut, Cut::Expand(_) | Cut::Limit(_))
    }

    /// Returns the text in this form; nothing: as it is stored. What cannot be read is served as it is stored.
    /// `left` is how many instances the answer may still hold.
    ///
    /// # Errors
    /// `TooMany` when there are more.
    pub(super) fn shape(
        &self,
        bytes: &Bytes,
        ical: Option<Ical>,
        series: Option<Arc<Series>>,
        floating: &Zone,
        left: &mut Left,
    ) -> Result<Option<String>, Denied> {
        if matches!(self.cut, Cut::Whole) && self.freebusy.is_none() && self.selection.is_none() {
            return Ok(None);
        }
        let Some(ical) = ical.or_else(|| Ical::parse(bytes.clone()).ok()) else { return Ok(None) };
        let mut text = match self.cut {
            Cut::Whole => None,
            Cut::Expand(range) => {
                let series = series.unwrap_or_else(|| Arc::new(Series::of(&ical)));
                let expanded = expand(&ical, &series, range, floating, left.left);
                if !expanded.complete {
                    return Err(Refusal::TooMany(left.of as u64).into());
                }
                left.left = left.left.saturating_sub(expanded.instances);
                Some(expanded.text)
            }
            Cut::Limit(range) => {
                let series = series.unwrap_or_else(|| Arc::new(Series::of(&ical)));
                Some(limit_recurrence_set(&ical, &series, range, floating))
            }
        };
        if let Some(range) = self.freebusy {
            text = Some(again(text, &ical, |ical| limit_freebusy_set(ical, range, floating)));
        }
        if let Some(selection) = &self.selection {
            text = Some(again(text, &ical, |ical| select(ical, selection)));
        }
        Ok(text)
    }
}

/// Applies the next step to the text so far, or to the object itself.
fn again(text: Option<String>, ical: &Ical, step: impl Fn(&Ical) -> String) -> String {
    match text {
        None => step(ical),
        Some(text) => match Ical::parse(text.clone()) {
            Ok(ical) => step(&ical),
            Err(_) => text,
        },
    }
}

/// Reads a `CALDAV:comp` (RFC 4791 §9.6.1–§9.6.4).
fn selection(element: &Element) -> Result<Selection, Denied> {
    let Some(name) = element.attribute("name").filter(|name| !name.trim().is_empty()) else {
        return Err(super::bad("A CALDAV:comp of calendar data must have a name."));
    };
    let name = name.trim().to_ascii_uppercase();
    let mut selection = Selection { name, ..Selection::default() };
    for inner in element.elements() {
        match (&*inner.name.ns, &*inner.name.local) {
            (CALDAV, "allprop") => selection.all_props = true,
            (CALDAV, "allcomp") => selection.all_comps = true,
            (CALDAV, "prop") => {
                let Some(name) = inner.attribute("name").filter(|name| !name.trim().is_empty()) else {
                    return Err(super::bad("A CALDAV:prop of calendar data must have a name."));
                };
                let no_value = inner.attribute("novalue") == Some("yes");
                selection.props.push(Wanted { name: name.trim().to_ascii_uppercase(), no_value });
            }
            (CALDAV, "comp") => selection.comps.push(self::selection(inner)?),
            _ => return Err(unsupported(format!("A CALDAV:comp has no “{}” here.", inner.name.local))),
        }
    }
    Ok(selection)
}

/// Reads the zone that a report names: `CALDAV:timezone` (RFC 4791 §9.8) or `CALDAV:timezone-id` (RFC 7809 §5.2).
///
/// # Errors
/// `ValidCalendarData`, `ValidTimezone`.
pub(super) fn zone(body: &Element) -> Result<Option<Zone>, Denied> {
    if let Some(element) = body.child(&caldav("timezone")) {
        return match from_vtimezone_text(&element.text()) {
            Some(zone) => Ok(Some(zone)),
            None => {
                let why = "CALDAV:timezone must be iCalendar text with one VTIMEZONE.";
                Err(Protocol::ValidCalendarData(why.into()).into())
            }
        };
    }
    let Some(element) = body.child(&caldav("timezone-id")) else { return Ok(None) };
    let id = element.text();
    match by_tzid(id.trim()) {
        Some(zone) => Ok(Some(zone)),
        None => Err(Protocol::ValidTimezone(id.trim().to_owned()).into()),
    }
}

/// Returns the zone that floating and all-day times of this calendar are read in (RFC 4791 §5.2.2, RFC 7809 §5.2).
pub(super) fn zone_of(at: &Readable) -> Zone {
    crate::calendar::zone_of(&at.collection().properties).unwrap_or(Zone::Utc)
}

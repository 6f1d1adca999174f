//! `CALDAV:calendar-data` in a request (RFC 4791 §9.6): which form of an object's text is wanted.

use crate::dav::{Denied, Protocol};
use crate::xml::Element;

/// The form.
#[derive(Debug, Clone)]
pub(super) struct Data;

impl Data {
    /// Reads the element.
    ///
    /// # Errors
    /// `SupportedCalendarData` for another media type, version or form than the stored text.
    pub(super) fn parse(element: &Element) -> Result<Data, Denied> {
        let kind = element.attribute("content-type").unwrap_or("text/calendar");
        let version = element.attribute("version").unwrap_or("2.0");
        if !kind.eq_ignore_ascii_case("text/calendar") || version != "2.0" {
            let why = format!("Calendar data is text/calendar in version 2.0 here, not {kind} {version}.");
            return Err(Protocol::SupportedCalendarData(why).into());
        }
        if let Some(form) = element.elements().next() {
            let why = format!("Calendar data is served whole only, not as CALDAV:{}.", form.name.local);
            return Err(Protocol::SupportedCalendarData(why).into());
        }
        Ok(Data)
    }
}

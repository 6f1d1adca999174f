//! What a report asks of each object: properties and, perhaps, calendar data (RFC 4791 §9.6).
//!
//! Owns: reading that part of a body, writing an object's response. Does not own: which objects are in the answer.

use super::data::{Data, Left};
use crate::calendar::Found;
use crate::dav::{CALENDAR_DATA, Denied, Facts, Multistatus, Resource, Want};
use crate::ical::expand::utf8;
use crate::ical::zone::Zone;
use crate::xml::{Element, dav};

/// Properties, and in which shape the calendar data.
#[derive(Debug, Clone)]
pub(super) struct Asking {
    pub(super) want: Want,
    facts: Facts,
    data: Option<Data>,
}

impl Asking {
    /// Reads `D:prop`, `D:allprop` or `D:propname`; without any, nothing is asked.
    ///
    /// # Errors
    /// `SupportedCalendarData` and its kin.
    pub(super) fn parse(body: &Element) -> Result<Asking, Denied> {
        let mut data = None;
        let want = if let Some(prop) = body.child(&dav("prop")) {
            if let Some(element) = prop.child(&CALENDAR_DATA) {
                data = Some(Data::parse(element)?);
            }
            Want::prop(prop)?
        } else if body.child(&dav("propname")).is_some() {
            Want::Names
        } else if body.child(&dav("allprop")).is_some() {
            Want::All(Vec::new())
        } else {
            Want::These(Vec::new())
        };
        Ok(Asking { facts: facts(&want), want, data })
    }

    /// Tells whether the answer holds anything of an object's text.
    pub(super) fn needs_bytes(&self) -> bool {
        self.data.is_some()
    }

    /// Writes the response of an object that was found, in the collection with this path.
    ///
    /// # Errors
    /// When the store fails; `TooMany` when expansion passes the limit.
    pub(super) async fn object(
        &self,
        out: &mut Multistatus,
        collection_path: &str,
        mut found: Found,
        floating: &Zone,
        left: &mut Left,
    ) -> Result<(), Denied> {
        if self.data.as_ref().is_some_and(Data::needs_series) {
            found.understand();
        }
        let Found { at, meta, bytes, ical, series } = found;
        let mut resource = Resource::member(collection_path, &at, meta);
        resource.load(out.scope(), self.facts).await?;
        let (Some(data), Some(bytes)) = (&self.data, &bytes) else {
            out.resource(&resource, &self.want);
            return Ok(());
        };
        let shaped = match data.shape(bytes, ical, series, floating, left) {
            // What is too much after the answer has begun is refused by itself: to break off would cost the client
            // everything, to leave it out would tell it that there is nothing.
            Err(denied) if out.begun() => {
                out.denied(&resource.path, &denied);
                return Ok(());
            }
            shaped => shaped?,
        };
        out.resource_with(&resource, &self.want, |asked, w| {
            if asked.name != CALENDAR_DATA {
                return None;
            }
            match &shaped {
                Some(text) => w.leaf(&CALENDAR_DATA, text),
                // What is not UTF-8 was never accepted; it must not fail an answer all the same.
                None => w.leaf(&CALENDAR_DATA, &utf8(bytes)),
            }
            Some(true)
        });
        Ok(())
    }

    /// Writes the response of anything else that has properties.
    ///
    /// # Errors
    /// When the store fails.
    pub(super) async fn resource(&self, out: &mut Multistatus, mut resource: Resource) -> Result<(), Denied> {
        resource.load(out.scope(), self.facts).await?;
        out.resource(&resource, &self.want);
        Ok(())
    }
}

/// Calendar data is no property, so nothing needs to be read for it from where clients' own properties lie.
fn facts(want: &Want) -> Facts {
    match want {
        Want::These(asked) => {
            let others = asked.iter().filter(|asked| asked.name != CALENDAR_DATA).cloned().collect();
            Want::These(others).facts()
        }
        Want::All(_) | Want::Names => want.facts(),
    }
}

//! Properties that clients set: on objects as a record, and those of collections that people see.
//!
//! Owns: the record's form: JSON, a format number and a list of `[namespace, local name, element]`; reading and writing
//! the text of the few properties (`Shown`) that every door shows. A property is kept as its XML element.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::ical::zone::{Zone, by_tzid, from_vtimezone_text};
use crate::store::{CollectionId, Fault, Key, Properties, PropertyName, Table};
use crate::xml;

#[derive(Serialize, Deserialize)]
struct Record {
    v: u32,
    properties: Vec<(String, String, String)>,
}

/// Returns the address of an object's properties.
pub(super) fn object_properties_key(collection: CollectionId, name: &str) -> Key {
    Key::new(Table::ObjectProperties, format!("{}/{name}", collection.0))
}

/// Returns the record's bytes.
pub fn encode_properties(properties: &Properties) -> Bytes {
    let record = Record {
        v: 1,
        properties: properties
            .0
            .iter()
            .map(|(name, xml)| (name.ns.clone(), name.local.clone(), xml.clone()))
            .collect(),
    };
    // Strings and numbers always serialise.
    Bytes::from(serde_json::to_vec(&record).unwrap_or_default())
}

/// Reads the record.
///
/// # Errors
/// When it was not written by `encode_properties`.
pub fn decode_properties(bytes: &[u8]) -> Result<Properties, Fault> {
    let record: Record = serde_json::from_slice(bytes)
        .map_err(|error| Fault::Broken(format!("a property record cannot be read: {error}")))?;
    if record.v != 1 {
        return Err(Fault::Broken(format!("a property record has the unknown format {}", record.v)));
    }
    let map =
        record.properties.into_iter().map(|(ns, local, xml)| (PropertyName { ns, local }, xml)).collect();
    Ok(Properties(map))
}

/// A property of a collection that people see, whatever door they come through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown {
    /// RFC 4918 §15.2.
    DisplayName,
    /// Apple's `calendar-color`.
    Color,
    /// RFC 4791 §5.2.1.
    Description,
    /// RFC 7809 §5.2: the name of the zone of floating times.
    TimeZoneId,
    /// RFC 4791 §5.2.2: the same as a VTIMEZONE.
    TimeZone,
}

/// Returns the zone that floating and all-day times of a calendar are read in (RFC 4791 §5.2.2, RFC 7809 §5.2); nothing:
/// it names none.
pub fn zone_of(properties: &Properties) -> Option<Zone> {
    let named = Shown::TimeZoneId.get(properties).and_then(|id| by_tzid(&id));
    named.or_else(|| from_vtimezone_text(&Shown::TimeZone.get(properties)?))
}

impl Shown {
    fn name(self) -> xml::Name {
        match self {
            Shown::DisplayName => xml::dav("displayname"),
            Shown::Color => xml::apple("calendar-color"),
            Shown::Description => xml::caldav("calendar-description"),
            Shown::TimeZoneId => xml::caldav("calendar-timezone-id"),
            Shown::TimeZone => xml::caldav("calendar-timezone"),
        }
    }

    fn key(self) -> PropertyName {
        let name = self.name();
        PropertyName { ns: name.ns.into_owned(), local: name.local.into_owned() }
    }

    /// Reads its text; nothing if it is not set or empty.
    pub fn get(self, properties: &Properties) -> Option<String> {
        let element = properties.0.get(&self.key())?;
        let text = xml::parse(element.as_bytes(), xml::Limits::default()).ok()?.text();
        Some(text.trim().to_owned()).filter(|text| !text.is_empty())
    }

    /// Sets or removes it.
    pub fn set(self, properties: &mut Properties, text: Option<&str>) {
        match text {
            Some(text) => {
                let mut writer = xml::Writer::fragment();
                writer.leaf(&self.name(), text);
                properties.0.insert(self.key(), writer.take_string());
            }
            None => {
                properties.0.remove(&self.key());
            }
        }
    }
}

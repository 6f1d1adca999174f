//! Client-set properties of objects as a record.
//!
//! Owns: the record's form: JSON, a format number and a list of `[namespace, local name, element]`.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::store::{CollectionId, Fault, Key, Properties, PropertyName, Table};

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

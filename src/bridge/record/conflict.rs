//! What both sides changed in ways that exclude each other, as it is remembered: all three versions, the decision, and the
//! records that lead to it from the object.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{index_key, put, run_key};
use crate::bridge::print::digest;
use crate::store::{Fault, Key, Op, Table, Timestamp};

/// Where a conflict stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConflictStatus {
    /// A person has to decide.
    Pending,
    /// Our version was taken.
    ResolvedLocal,
    /// Their version was taken.
    ResolvedExternal,
    /// The two were merged.
    Merged,
    /// Both stay as they are.
    Ignored,
}

/// Something that both sides changed in ways that exclude each other, with all three versions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conflict {
    /// Its id.
    pub id: String,
    /// The mapping.
    pub mapping: String,
    /// The object's UID.
    pub uid: String,
    /// When it was seen.
    pub detected: Timestamp,
    /// How they clash: the name of a `plan::Kind`.
    pub kind: String,
    /// The title of the event.
    #[serde(default)]
    pub title: String,
    /// What clashes, in words.
    pub clashes: Vec<String>,
    /// What both sides last agreed on.
    pub base: Option<String>,
    /// Our version.
    pub local: Option<String>,
    /// Their version.
    pub external: Option<String>,
    /// Where it stands.
    pub status: ConflictStatus,
    /// When it was decided.
    pub resolved: Option<Timestamp>,
    /// Who or what decided, in words; empty: nobody yet.
    #[serde(default)]
    pub by: String,
    /// What whoever decided has to say about it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub notes: String,
    /// Whose value a person chose, by name of the property.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub choices: BTreeMap<String, Chosen>,
    /// What was decided before, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<Turn>,
}

/// Whose value is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Chosen {
    /// Ours.
    Local,
    /// Theirs.
    External,
}

/// A former decision about a conflict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Turn {
    /// When it was made.
    pub at: Timestamp,
    /// What it was.
    pub status: ConflictStatus,
    /// Who or what made it, in words.
    pub by: String,
    /// What they had to say about it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub notes: String,
}

/// Returns the record of a conflict; its id is formed like a run's.
pub fn conflict_key(id: &str) -> Option<Key> {
    run_key(id).map(|key| Key::new(Table::Conflict, key.path))
}

/// Returns how the paths of the records begin that lead to the conflicts of an object; each ends with the number of one, so
/// that the newest comes first.
pub fn conflicts_of(mapping: &str, uid: &str) -> Key {
    index_key(mapping, &format!("conflict-{}-", digest(uid.as_bytes())))
}

/// Returns the steps that keep a conflict, and what leads to it.
///
/// # Errors
/// As `encode`.
pub fn put_conflict(conflict: &Conflict) -> Result<Vec<Op>, Fault> {
    let (Some(key), Some((mapping, number))) = (conflict_key(&conflict.id), conflict.id.split_once('-'))
    else {
        return Ok(Vec::new());
    };
    let mut lead = conflicts_of(mapping, &conflict.uid);
    lead.path.push_str(number);
    Ok(vec![put(key, conflict)?, Op::PutRecord(lead, Bytes::new())])
}

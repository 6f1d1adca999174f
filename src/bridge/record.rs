//! What the bridge remembers, as records of the store: connections, mappings, bases, runs, conflicts.
//!
//! Owns: their fields and where they lie. A record of settings is written by people, the record of its state beside it
//! by the engine, so that neither overwrites the other. Does not own: what any of it means.

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

mod base;
mod conflict;
mod settings;
mod ties;

pub use conflict::*;
pub use settings::*;
pub use ties::*;

use super::breaker::Breaker;
use super::pace::Pace;
use super::provider::{Cursor, RemoteId, Version};
use crate::auth::oauth::Access;
use crate::store::{Etag, Fault, Key, Name, Op, Rev, Store, Table, Timestamp, random};

/// Records that are read at a time.
const PAGE: usize = 500;

/// Which far side a connection speaks to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Any CalDAV server.
    Caldav,
    /// Apple's, which is one with an address and passwords of its own.
    Icloud,
    /// Google Calendar.
    Google,
    /// Outlook and Microsoft 365, through Graph.
    Outlook,
    /// Cozi's family calendar, through an interface that is not official.
    Cozi,
    /// A feed, which can only be read.
    Ics,
}

/// An account on a far side. Its secret lies sealed in a record of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connection {
    /// Its id.
    pub id: String,
    /// The principal that it belongs to.
    pub owner: String,
    /// Which far side.
    pub kind: Kind,
    /// The address as it was given.
    pub url: String,
    /// The name to sign in with.
    pub username: String,
    /// How the account is called there; shown to people.
    pub account: String,
    /// Where its calendars are, as discovery found it.
    pub homes: Vec<String>,
    /// When it was made.
    pub created: Timestamp,
    /// What its owner consented to.
    #[serde(default)]
    pub access: Access,
}

impl Connection {
    /// Tells whether nothing can be written through it: a feed, or an account whose owner consented to looking alone.
    pub fn only_reads(&self) -> bool {
        self.kind == Kind::Ics || self.access == Access::Read
    }
}

/// How a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// The last contact went well.
    #[default]
    Active,
    /// The far side cannot be reached or fails.
    Error,
    /// The password or token is no longer accepted.
    TokenExpired,
    /// It asked to wait.
    RateLimited,
    /// Its owner's consent is awaited.
    Pending,
}

/// How a connection is, as the engine last saw it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ConnectionState {
    /// How it is.
    pub health: Health,
    /// What to do about it, in plain words; empty: nothing.
    pub sentence: String,
    /// When it was last spoken to with success.
    pub last_good: Option<Timestamp>,
    /// Whether it is left alone for a while.
    #[serde(default)]
    pub breaker: Breaker,
}

/// A deletion in bulk that waits for a person's word.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// Since when.
    pub since: Timestamp,
    /// How many objects would be removed here.
    pub local: u64,
    /// How many would be removed there.
    pub remote: u64,
    /// Why, in plain words.
    pub sentence: String,
}

/// An object that could not be carried over, to be looked at again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Its UID, or its name where the UID is not known.
    pub uid: String,
    /// Its name here.
    pub local: Option<Name>,
    /// Its name there.
    pub remote: Option<RemoteId>,
    /// Why, in plain words.
    pub reason: String,
    /// True: it is tried again in the next pass, else when it changes and in the daily comparison.
    pub retry: bool,
    /// How often it was tried.
    #[serde(default)]
    pub attempts: u32,
    /// Not tried again before this moment.
    #[serde(default)]
    pub next: Option<Timestamp>,
}

/// How far a mapping has come.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct MappingState {
    /// The collection's log is dealt with up to here; nothing: never yet.
    pub rev: Option<Rev>,
    /// The far side's changes are dealt with up to here.
    pub cursor: Option<Cursor>,
    /// Whether the last complete listing was confirmed by another one.
    pub settled: bool,
    /// Whether the last pass had a complete listing.
    #[serde(default)]
    pub was_full: bool,
    /// When everything was last compared.
    #[serde(default)]
    pub full_at: Option<Timestamp>,
    /// How many seconds the far side wishes to be left alone between two looks, if it told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub every: Option<u64>,
    /// When to look again.
    pub pace: Pace,
    /// Deletions that wait for a word.
    pub hold: Option<Hold>,
    /// Objects to look at again although nothing changed.
    #[serde(default)]
    pub again: Vec<Failure>,
    /// True: some objects were missing from a complete listing and another one has to confirm it.
    #[serde(default)]
    pub missing: bool,
    /// What is wrong, in plain words; empty: nothing.
    #[serde(default)]
    pub sentence: String,
    /// Digest of the settings under which all objects were last looked at; other settings: each is looked at anew.
    #[serde(default)]
    pub shape: String,
    /// The last pass.
    pub last_run: Option<String>,
    /// When all was last well.
    pub last_good: Option<Timestamp>,
    /// When the last pass that went through began: what was there before that is here.
    #[serde(default)]
    pub looked: Option<Timestamp>,
    /// How long changes take.
    #[serde(default)]
    pub latency: super::latency::Latency,
}

/// What both sides last agreed on for one object, without its bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Base {
    /// Its UID.
    pub uid: String,
    /// Its name here.
    pub name: Name,
    /// Our state of it.
    pub etag: Etag,
    /// Its name there.
    pub remote: RemoteId,
    /// Their state of it; nothing: unknown, compare content.
    pub version: Option<Version>,
    /// Digest of their content; empty: the sides never agreed, the object only waits for a decision.
    pub print: String,
    /// Digest of what we would have the far side hold when both last agreed; a provider may make something else of it,
    /// and that difference is no change. Empty: not known.
    #[serde(default)]
    pub sent: String,
    /// When it was found missing in a complete listing; the next one decides.
    #[serde(default)]
    pub missing: Option<Timestamp>,
    /// The conflict that it waits for.
    #[serde(default)]
    pub conflict: Option<String>,
    /// True: it is about to be made on the far side, and nobody knows yet whether that happened.
    #[serde(default)]
    pub pending: bool,
    /// What the far side was to hold of it when a write in several steps was begun whose end is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub begun: Option<String>,
    /// True: it came from the far side; ours is a copy.
    #[serde(default)]
    pub from_there: bool,
    /// True: we made it on the far side; theirs is a copy. Neither: both sides had it before they met.
    #[serde(default)]
    pub from_here: bool,
    /// Its UID on the far side, where that differs from ours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid_there: Option<String>,
    /// What of it was carried when both last agreed; nothing: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fields: Option<Fields>,
    /// Where it is when it takes place: the first start and the last end on the far side, in seconds since 1970.
    /// Nothing: not known, or without end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub span: Option<(i64, Option<i64>)>,
    /// One side was removed and the other is kept on purpose: nothing is carried until both sides have it again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub apart: Option<Apart>,
    /// The object of ours that it is a part of, and which part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part: Option<(String, String)>,
    /// It is there as several objects only, and why; it has no place of its own there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub split: Option<String>,
    /// When both sides last agreed.
    #[serde(default)]
    pub agreed: Timestamp,
    /// When we last wrote it there and what, as the beginning of its digest, the newest last; ten at most.
    #[serde(default, skip_serializing_if = "Vec::is_empty", rename = "said")]
    pub writes: Vec<(Timestamp, String)>,
}

/// On which side an object is that was removed on the other one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Apart {
    /// Here only.
    Here,
    /// There only.
    There,
}

/// Stands for the place there of what is announced where the far side chooses the place.
pub fn unplaced(uid: &str) -> RemoteId {
    RemoteId(format!("new:{uid}"))
}

/// Stands for the place there of a series that is there in parts.
pub fn parts_place(uid: &str) -> RemoteId {
    RemoteId(format!("parts:{uid}"))
}

/// An object of the far side that was read and is left alone, so that it is not read again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Left {
    /// Its name there.
    pub remote: RemoteId,
    /// Its state when it was read.
    pub version: Version,
    /// Left alone for where it is in time: its first start and its last end. Nothing: for what it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub span: Option<(i64, Option<i64>)>,
}

/// How a pass ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunStatus {
    /// It goes on.
    Running,
    /// All went well.
    Success,
    /// Some objects could not be carried over.
    PartialFailure,
    /// Nothing could be done.
    Failed,
    /// It waits: for a person's word or for the far side.
    Deferred,
}

/// Writes on one side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counts {
    /// New objects.
    pub inserted: u64,
    /// Changed objects.
    pub updated: u64,
    /// Removed objects.
    pub deleted: u64,
}

impl Counts {
    /// Returns how many writes that is.
    pub fn total(self) -> u64 {
        self.inserted.saturating_add(self.updated).saturating_add(self.deleted)
    }
}

/// On which side a run wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Where {
    /// Here.
    Local,
    /// On the far side.
    Remote,
}

/// What a run made of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Done {
    /// It is new.
    Inserted,
    /// It was changed.
    Updated,
    /// It was removed.
    Deleted,
}

/// An object that a run wrote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wrote {
    /// Its UID.
    pub uid: String,
    /// On which side.
    pub side: Where,
    /// What was done.
    pub done: Done,
}

/// An object that a pass could not carry over, as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failed {
    /// Its UID; empty: the pass as a whole.
    pub uid: String,
    /// Why, in plain words.
    pub reason: String,
}

/// One pass of a mapping.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// Its id.
    pub id: String,
    /// The mapping.
    pub mapping: String,
    /// How it ended.
    pub status: RunStatus,
    /// When it began.
    pub started: Timestamp,
    /// When it ended.
    pub ended: Option<Timestamp>,
    /// Writes here.
    pub local: Counts,
    /// Writes there.
    pub remote: Counts,
    /// Things that both sides changed in ways that exclude each other.
    pub conflicts: u64,
    /// What could not be carried over.
    pub failures: Vec<Failed>,
    /// Calls to the far side.
    pub calls: u64,
    /// Calls that were not needed, because listings and answers brought content along and objects go together.
    #[serde(default)]
    pub saved: u64,
    /// Objects that were dealt with so far.
    #[serde(default)]
    pub done: u64,
    /// Objects that were found to be dealt with so far.
    #[serde(default)]
    pub total: u64,
    /// A person or program asked for it.
    #[serde(default)]
    pub asked: bool,
    /// What it wrote, the first two hundred.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub wrote: Vec<Wrote>,
    /// How many objects it looked at and left alone.
    #[serde(default)]
    pub skipped: u64,
    /// Which, and why: the first two hundred.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left: Vec<Failed>,
}

/// Returns the record of a connection.
pub fn connection_key(id: &str) -> Key {
    Key::new(Table::Connection, id)
}

/// Returns the record of a connection's state.
pub fn connection_state_key(id: &str) -> Key {
    Key::new(Table::Connection, format!("{id}/state"))
}

/// Returns the record of a connection's sealed secret.
pub fn secret_key(connection: &str) -> Key {
    Key::new(Table::Secret, connection)
}

/// Returns the record of a mapping.
pub fn mapping_key(id: &str) -> Key {
    Key::new(Table::Mapping, id)
}

/// Returns the record of a mapping's state.
pub fn mapping_state_key(id: &str) -> Key {
    Key::new(Table::Mapping, format!("{id}/state"))
}

/// Returns the record of a run; its id is `MAPPING-NUMBER`, newer ones first in order.
pub fn run_key(id: &str) -> Option<Key> {
    let (mapping, number) = id.split_once('-')?;
    let plain = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric());
    (plain(mapping) && plain(number)).then(|| Key::new(Table::Run, format!("{mapping}/{number}")))
}

/// Returns the record of what was agreed on for the object. A UID of any length and content has one.
pub fn base_key(mapping: &str, uid: &str) -> Key {
    Key::new(Table::Base, format!("{mapping}/{}", uid_part(uid)))
}

/// Returns the record of an object of the far side that is left alone.
pub fn left_key(mapping: &str, spelling: &str) -> Key {
    Key::new(Table::Base, format!("{mapping}.left/{}", super::print::digest(spelling.as_bytes())))
}

/// Returns the record of the agreed bytes: the far side's, as it gave them.
pub fn base_bytes_key(mapping: &str, uid: &str) -> Key {
    Key::new(Table::Base, format!("{mapping}.bytes/{}", uid_part(uid)))
}

/// Returns a record that leads to what was agreed on.
pub fn index_key(mapping: &str, path: &str) -> Key {
    Key::new(Table::Base, format!("{mapping}.index/{path}"))
}

fn uid_part(uid: &str) -> String {
    if uid.len() <= 200 && !uid.contains('/') && !uid.starts_with('#') && !uid.chars().any(char::is_control) {
        uid.to_owned()
    } else {
        format!("#{}", super::print::digest(uid.as_bytes()))
    }
}

/// Returns a new id that sorts by time, newest first.
pub fn falling_id(mapping: &str, now: Timestamp, random: u32) -> String {
    let falling = u64::MAX.saturating_sub(u64::try_from(now.0).unwrap_or(0));
    format!("{mapping}-{falling:016x}{random:08x}")
}

/// Returns a new random id.
///
/// # Errors
/// When the system gives no random numbers.
pub fn random_id() -> Result<String, Fault> {
    random::hex::<8>()
}

/// Returns the bytes of a record.
///
/// # Errors
/// Only if the type cannot be JSON, which none of these is.
pub fn encode<T: Serialize>(value: &T) -> Result<Bytes, Fault> {
    serde_json::to_vec(value)
        .map(Bytes::from)
        .map_err(|e| Fault::Broken(format!("a record cannot be written: {e}")))
}

/// Returns the step that stores a record.
///
/// # Errors
/// As `encode`.
pub fn put<T: Serialize>(key: Key, value: &T) -> Result<Op, Fault> {
    Ok(Op::PutRecord(key, encode(value)?))
}

/// Returns what the bytes of a record say.
///
/// # Errors
/// When they are damaged.
pub fn decode<T: DeserializeOwned>(key: &Key, bytes: &[u8]) -> Result<T, Fault> {
    serde_json::from_slice(bytes)
        .map_err(|e| Fault::Broken(format!("the record {:?} {} cannot be read: {e}", key.table, key.path)))
}

/// Reads a record.
///
/// # Errors
/// When the store fails or the record is damaged.
pub async fn load<T: DeserializeOwned>(store: &dyn Store, key: &Key) -> Result<Option<T>, Fault> {
    match store.record(key).await? {
        Some(bytes) => decode(key, &bytes).map(Some),
        None => Ok(None),
    }
}

/// Reads all records of a table below a prefix; of connections and mappings, not the records of their states.
///
/// # Errors
/// As `load`.
pub async fn load_all<T: DeserializeOwned>(
    store: &dyn Store,
    table: Table,
    prefix: &str,
) -> Result<Vec<T>, Fault> {
    let stateful = matches!(table, Table::Connection | Table::Mapping);
    let rows = rows(store, table, prefix).await?;
    let plain = rows.iter().filter(|(key, _)| !(stateful && key.path.ends_with("/state")));
    plain.map(|(key, bytes)| decode(key, bytes)).collect()
}

/// Reads all records of a table below a prefix, with their keys.
///
/// # Errors
/// When the store fails.
pub async fn rows(store: &dyn Store, table: Table, prefix: &str) -> Result<Vec<(Key, Bytes)>, Fault> {
    let mut all: Vec<(Key, Bytes)> = Vec::new();
    let mut last = PAGE;
    while last == PAGE {
        let after = all.last().map(|(key, _)| key.path.as_str());
        let page = store.records(table, prefix, after, PAGE).await?;
        last = page.len();
        all.extend(page);
    }
    Ok(all)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn later_runs_come_first_and_ids_lead_to_their_records() {
        let early = falling_id("ab12", Timestamp(1000), 5);
        let late = falling_id("ab12", Timestamp(2000), 1);
        assert!(late < early);
        assert_eq!(run_key(&early).unwrap().path, format!("ab12/{}", &early[5..]));
        for bad in ["", "ab12", "ab12-", "-1", "ab/12-1", "a-b-c", "ab12-../x"] {
            assert!(run_key(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn every_uid_has_a_record_of_its_own() {
        let uids = ["a", "a/b", "#a", "ä", &"x".repeat(5000), "x\ny", &"x".repeat(5001), "state", "a/state"];
        let paths: std::collections::BTreeSet<String> = uids.iter().map(|u| base_key("m", u).path).collect();
        assert_eq!(paths.len(), uids.len());
        assert!(paths.iter().all(|p| p.len() < 210 && p.matches('/').count() == 1), "{paths:?}");
    }
}

//! What the bridge remembers, as records of the store: connections, mappings, bases, runs, conflicts.
//!
//! Owns: their fields and where they lie. A record of settings is written by people, the record of its state beside it
//! by the engine, so that neither overwrites the other. Does not own: what any of it means.

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::pace::Pace;
use super::provider::{Cursor, RemoteId, Version};
use crate::store::{CollectionId, Etag, Fault, Key, Name, Op, Rev, Store, Table, Timestamp};

/// Which far side a connection speaks to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Any CalDAV server.
    Caldav,
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
}

/// Which way changes are carried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// Both ways.
    Both,
    /// From the far side to here only.
    Pull,
    /// From here to the far side only.
    Push,
}

/// Who wins where both sides changed the same thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Policy {
    /// The later change; within five seconds, the far side.
    Newest,
    /// The far side.
    External,
    /// This side.
    Local,
    /// A person decides; both sides stay untouched until then.
    Ask,
}

/// A collection here and a calendar there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mapping {
    /// Its id.
    pub id: String,
    /// The principal that it belongs to.
    pub owner: String,
    /// The collection here.
    pub collection: CollectionId,
    /// The account there.
    pub connection: String,
    /// The calendar there.
    pub remote: RemoteId,
    /// Which way.
    pub direction: Direction,
    /// Who wins.
    pub policy: Policy,
    /// False: it rests.
    pub enabled: bool,
    /// Seconds between two looks; nothing: as the server is set up.
    #[serde(default)]
    pub poll_seconds: Option<u64>,
    /// When it was made.
    pub created: Timestamp,
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
    /// The last pass.
    pub last_run: Option<String>,
    /// When all was last well.
    pub last_good: Option<Timestamp>,
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
    /// When it was found missing in a complete listing; the next one decides.
    #[serde(default)]
    pub missing: Option<Timestamp>,
    /// The conflict that it waits for.
    #[serde(default)]
    pub conflict: Option<String>,
    /// True: it is about to be made on the far side, and nobody knows yet whether that happened.
    #[serde(default)]
    pub pending: bool,
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
    /// A person or program asked for it.
    #[serde(default)]
    pub asked: bool,
}

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
    /// `both_changed` or `both_new`.
    pub kind: String,
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

/// Returns the record of a conflict; its id is formed like a run's.
pub fn conflict_key(id: &str) -> Option<Key> {
    run_key(id).map(|key| Key::new(Table::Conflict, key.path))
}

/// Returns the record of what was agreed on for the object. A UID of any length and content has one.
pub fn base_key(mapping: &str, uid: &str) -> Key {
    Key::new(Table::Base, format!("{mapping}/{}", uid_part(uid)))
}

/// Returns the record of the agreed bytes: the far side's, as it gave them.
pub fn base_bytes_key(mapping: &str, uid: &str) -> Key {
    Key::new(Table::Base, format!("{mapping}.bytes/{}", uid_part(uid)))
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
    let number = getrandom::u64().map_err(|e| Fault::Broken(format!("no random numbers: {e}")))?;
    Ok(format!("{number:016x}"))
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
    let mut all = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let page = store.records(table, prefix, after.as_deref(), 500).await?;
        let Some((last, _)) = page.last() else { return Ok(all) };
        after = Some(last.path.clone());
        let stateful = matches!(table, Table::Connection | Table::Mapping);
        for (key, bytes) in &page {
            if !(stateful && key.path.ends_with("/state")) {
                all.push(decode(key, bytes)?);
            }
        }
    }
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

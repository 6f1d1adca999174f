//! What an object was before: every write and every deletion keeps the text that it replaces.
//!
//! Owns: the record of a former version, listing, restoring, forgetting after `retention.versions`.
//! Does not own: the object that is there now (`put`).
//!
//! Outlook CalDav Synchronizer can read the newest etag just before its PUT and so overwrite an edit that it never
//! merged (clients.md Q-33): no precondition catches that, a kept version does.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::access::{Readable, Writable};
use super::put::{Put, Stored};
use super::{Error, House, Refusal, Session};
use crate::store::{
    ChangesError, CollectionId, Etag, Fault, Key, Name, Object, Op, Origin, Rev, Table, Timestamp,
};

/// How many versions are read at a time.
const PAGE: usize = 100;

/// What replaced a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ended {
    /// Another text.
    Replaced,
    /// Nothing: the object was deleted or moved away.
    Deleted,
}

/// A former version of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// The collection's position at which it was written; names the version.
    pub rev: Rev,
    /// The object's name at that time.
    pub name: Name,
    /// The tag of its bytes.
    pub etag: Etag,
    /// When it was written.
    pub written: Timestamp,
    /// Who wrote it; nothing: the log did not reach back so far.
    pub author: Option<Origin>,
    /// When it was replaced or deleted.
    pub ended: Timestamp,
    /// Who did that.
    pub by: Origin,
    /// How it ended.
    pub how: Ended,
    /// The text, octet for octet.
    pub bytes: Bytes,
}

/// The head of the record; the text follows it after a line feed.
#[derive(Serialize, Deserialize)]
struct Head {
    v: u32,
    rev: u64,
    name: Name,
    etag: Etag,
    written: Timestamp,
    #[serde(default)]
    author: Option<Origin>,
    ended: Timestamp,
    by: Origin,
    how: Ended,
}

/// UIDs may be long and hold anything: their digest stands in the key.
fn prefix(collection: CollectionId, uid: &str) -> String {
    format!("{}/{}/", collection.0, Etag::of(uid.as_bytes()))
}

/// Returns the step that keeps the text which is about to be replaced or deleted.
///
/// # Errors
/// When the store fails.
pub(super) async fn keep(
    house: &House,
    collection: CollectionId,
    before: &Object,
    by: &Origin,
    at: Timestamp,
    how: Ended,
) -> Result<Option<Op>, Fault> {
    let Some(uid) = before.meta.index.uid.as_ref() else { return Ok(None) };
    let head = Head {
        v: 1,
        rev: before.meta.rev.0,
        name: before.meta.name.clone(),
        etag: before.meta.etag.clone(),
        written: before.meta.modified,
        author: author(house, collection, before.meta.rev).await?,
        ended: at,
        by: by.clone(),
        how,
    };
    let Ok(mut record) = serde_json::to_vec(&head) else { return Ok(None) };
    record.push(b'\n');
    record.extend_from_slice(&before.bytes);
    Ok(Some(Op::PutRecord(key(collection, uid, before.meta.rev), Bytes::from(record))))
}

/// Returns who wrote at this position; the log still has the row of what is there.
async fn author(house: &House, collection: CollectionId, rev: Rev) -> Result<Option<Origin>, Fault> {
    match house.store.changes(collection, Rev(rev.0.saturating_sub(1)), 1).await {
        Ok(page) => Ok(page.items.into_iter().next().filter(|row| row.rev == rev).map(|row| row.origin)),
        Err(ChangesError::Fault(fault)) => Err(fault),
        Err(_) => Ok(None),
    }
}

fn key(collection: CollectionId, uid: &str, rev: Rev) -> Key {
    Key::new(Table::Version, format!("{}{:020}", prefix(collection, uid), rev.0))
}

/// Reads one former version of an object whose collection may be gone.
pub(super) async fn read(
    house: &House,
    collection: CollectionId,
    uid: &str,
    rev: Rev,
) -> Result<Option<Version>, Fault> {
    match house.store.record(&key(collection, uid, rev)).await? {
        Some(record) => Ok(Some(decode(&record)?)),
        None => Ok(None),
    }
}

/// Returns the step that removes one former version.
pub(super) fn forget(collection: CollectionId, uid: &str, rev: Rev) -> Op {
    Op::DeleteRecord(key(collection, uid, rev))
}

/// Returns the steps that remove every former version of an object.
pub(super) async fn forget_all(house: &House, collection: CollectionId, uid: &str) -> Result<Vec<Op>, Fault> {
    let prefix = prefix(collection, uid);
    let mut ops = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let page = house.store.records(Table::Version, &prefix, after.as_deref(), PAGE).await?;
        let Some((last, _)) = page.last() else { return Ok(ops) };
        after = Some(last.path.clone());
        ops.extend(page.into_iter().map(|(key, _)| Op::DeleteRecord(key)));
    }
}

fn decode(record: &Bytes) -> Result<Version, Fault> {
    let broken = || Fault::Broken("the record of a former version cannot be read".into());
    let end = record.iter().position(|byte| *byte == b'\n').ok_or_else(broken)?;
    let head: Head = record
        .get(..end)
        .and_then(|head| serde_json::from_slice(head).ok())
        .filter(|head: &Head| head.v == 1)
        .ok_or_else(broken)?;
    Ok(Version {
        rev: Rev(head.rev),
        name: head.name,
        etag: head.etag,
        written: head.written,
        author: head.author,
        ended: head.ended,
        by: head.by,
        how: head.how,
        bytes: record.slice(end + 1..),
    })
}

impl Readable {
    /// Reads the former versions of the object with this UID, the newest first; also of one that is gone.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn versions(&self, uid: &str) -> Result<Vec<Version>, Error> {
        let prefix = prefix(self.id(), uid);
        let mut all = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let store = &self.house().store;
            let page = store.records(Table::Version, &prefix, after.as_deref(), PAGE).await?;
            let Some((last, _)) = page.last() else { break };
            after = Some(last.path.clone());
            for (_, record) in &page {
                all.push(decode(record)?);
            }
        }
        all.reverse();
        Ok(all)
    }

    /// Reads one former version.
    ///
    /// # Errors
    /// `Missing`; when the store fails.
    pub async fn version(&self, uid: &str, rev: Rev) -> Result<Version, Error> {
        Ok(read(self.house(), self.id(), uid, rev).await?.ok_or(Refusal::Missing)?)
    }
}

impl Session {
    /// Stores a former version again, under the object's present name, else under its old one. What is there now
    /// becomes a version in its turn.
    ///
    /// # Errors
    /// `Missing`; the refusals of `put`; when the store fails.
    pub async fn restore(&self, at: &Writable, uid: &str, rev: Rev) -> Result<(Name, Stored), Error> {
        let version = at.version(uid, rev).await?;
        let name = at.by_uid(uid).await?.unwrap_or(version.name);
        let stored = self.put(at, Put::new(&name, version.bytes)).await?;
        Ok((name, stored))
    }
}

impl House {
    /// Forgets versions that ended before the given time; returns how many. The text of what lies in the trash stays as
    /// long as that does.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn forget_versions(&self, before: Timestamp) -> Result<u64, Error> {
        let mut forgotten = 0;
        let deleted = self.trash_horizon();
        let over = |version: &Version| {
            version.ended < before && (version.how == Ended::Replaced || version.ended < deleted)
        };
        let mut after: Option<String> = None;
        loop {
            let page = self.store.records(Table::Version, "", after.as_deref(), PAGE).await?;
            let Some((last, _)) = page.last() else { return Ok(forgotten) };
            after = Some(last.path.clone());
            let mut commit = crate::store::Commit::new(Origin::System, self.clock.now());
            for (key, record) in page {
                if over(&decode(&record)?) {
                    commit = commit.op(Op::DeleteRecord(key));
                }
            }
            if !commit.ops.is_empty() {
                forgotten += commit.ops.len() as u64;
                self.store.commit(commit).await?;
            }
        }
    }
}

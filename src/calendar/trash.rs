//! What was deleted, for a while: objects and whole calendars, until somebody wants them back.
//!
//! Owns: the record of a deletion, which is part of the deletion's own commit; listing, restoring, forgetting after
//! `retention.trash`. Does not own: the text of a deleted object, which is its last version (`versions`).
//!
//! A deleted calendar is moved as it is below `CollectionId::TRASH`, where no door looks and nothing can be written: it
//! costs the same with one event or 50,000, and when it comes back, its log goes on and sync-tokens stay valid. The
//! trash holds no name and no UID: whatever was deleted can be made anew at once.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::access::{Readable, Writable};
use super::hidden::is_hidden;
use super::properties::object_properties_key;
use super::put::{ATTEMPTS, Put, When};
use super::versions::{self, Ended, Version};
use super::{Error, House, Refusal, Session};
use crate::ical::Ical;
use crate::store::{
    Collection, CollectionId, Commit, CommitError, Etag, Expect, Fault, Key, Kind, Meta, Name, Op, Origin,
    Rejected, Rev, Table, Timestamp,
};

/// Records that are read at a time.
const PAGE: usize = 100;

/// Something that was deleted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trashed {
    /// Names it within its owner's trash; later ones come first in order.
    #[serde(skip)]
    pub id: String,
    /// The record's format.
    v: u32,
    /// The calendar that it is, or was in.
    pub collection: CollectionId,
    /// The calendar's name then.
    pub calendar: Name,
    /// When it was deleted.
    pub at: Timestamp,
    /// By whom.
    pub by: Origin,
    /// What it is.
    pub what: Discarded,
}

/// What was deleted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Discarded {
    /// A calendar with everything in it.
    Calendar,
    /// A calendar object resource.
    Object {
        /// Its name in the calendar.
        name: Name,
        /// Its UID.
        uid: String,
        /// The main component type.
        component: String,
        /// The version that holds its text.
        rev: Rev,
        /// The tag of its bytes.
        etag: Etag,
        /// Length in bytes.
        size: u64,
        /// The record of properties that clients had set on it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        properties: Option<String>,
    },
}

/// What came back, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// The calendar that it is, or is in.
    pub collection: CollectionId,
    /// Its name there; of a calendar, its name in the home.
    pub name: Name,
    /// The tag of an object.
    pub etag: Option<Etag>,
}

fn prefix(owner: &str) -> String {
    format!("{owner}/")
}

fn key(owner: &str, id: &str) -> Key {
    Key::new(Table::Trash, format!("{owner}/{id}"))
}

/// One position of a log is written once: no two deletions have the same name.
fn id(at: Timestamp, collection: CollectionId, rev: Option<Rev>) -> String {
    let falling = u64::MAX.saturating_sub(u64::try_from(at.0).unwrap_or(0));
    match rev {
        Some(rev) => format!("{falling:016x}-{}-{}", collection.0, rev.0),
        None => format!("{falling:016x}-{}", collection.0),
    }
}

fn decode(key: &Key, record: &Bytes) -> Result<Trashed, Fault> {
    let broken = || Fault::Broken(format!("the record {} of the trash cannot be read", key.path));
    let mut trashed: Trashed = serde_json::from_slice(record).map_err(|_| broken())?;
    if trashed.v != 1 {
        return Err(broken());
    }
    trashed.id = key.path.rsplit('/').next().ok_or_else(broken)?.to_owned();
    Ok(trashed)
}

fn record(owner: &str, trashed: &Trashed) -> Result<Op, Fault> {
    let bytes = serde_json::to_vec(trashed)
        .map_err(|error| Fault::Broken(format!("a record of the trash cannot be written: {error}")))?;
    Ok(Op::PutRecord(key(owner, &trashed.id), Bytes::from(bytes)))
}

impl Trashed {
    fn new(
        collection: &Collection,
        at: Timestamp,
        by: &Origin,
        what: Discarded,
        rev: Option<Rev>,
    ) -> Trashed {
        Trashed {
            id: id(at, collection.id, rev),
            v: 1,
            collection: collection.id,
            calendar: collection.name.clone(),
            at,
            by: by.clone(),
            what,
        }
    }
}

impl Session {
    /// Returns the step that puts an object into the trash, which is about to be deleted. Its text must become a
    /// version in the same commit.
    pub(super) async fn to_trash(
        &self,
        at: &Writable,
        meta: &Meta,
        now: Timestamp,
    ) -> Result<Option<Op>, Error> {
        // What is only in the middle of a link was never seen by anybody; both its ends have it.
        if is_hidden(at.collection()) {
            return Ok(None);
        }
        let Some(uid) = meta.index.uid.clone() else { return Ok(None) };
        let properties = self.house.store.record(&object_properties_key(at.id(), meta.name.as_str())).await?;
        let what = Discarded::Object {
            name: meta.name.clone(),
            uid,
            component: meta.index.component.clone(),
            rev: meta.rev,
            etag: meta.etag.clone(),
            size: meta.size,
            properties: properties.and_then(|bytes| String::from_utf8(bytes.to_vec()).ok()),
        };
        let trashed = Trashed::new(at.collection(), now, &self.origin, what, Some(meta.rev));
        Ok(Some(record(&at.collection().owner, &trashed)?))
    }

    /// Returns the UID that a deleted object had, as long as it lies in the trash. The trash is in the order of time: what
    /// was deleted at the same moment is all that is looked at.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn uid_of_deleted(
        &self,
        from: &Readable,
        name: &Name,
        at: Timestamp,
    ) -> Result<Option<String>, Error> {
        let moment = id(at, from.id(), None);
        let path = format!("{}{moment}-", prefix(&from.collection().owner));
        let mut after: Option<String> = None;
        loop {
            let page = self.house.store.records(Table::Trash, &path, after.as_deref(), 256).await?;
            let Some((last, _)) = page.last() else { return Ok(None) };
            after = Some(last.path.clone());
            for (key, record) in &page {
                if let Discarded::Object { name: deleted, uid, .. } = decode(key, record)?.what
                    && deleted == *name
                {
                    return Ok(Some(uid));
                }
            }
        }
    }

    /// Adds to a commit that a collection goes: a calendar to the trash, a folder of files for good.
    pub(super) async fn discard(&self, id: CollectionId, commit: Commit) -> Result<Commit, Error> {
        let before = self.house.store.collection(id).await?.ok_or(Refusal::Missing)?;
        if before.parent == CollectionId::TRASH {
            return Err(Refusal::Missing.into());
        }
        if before.kind != Kind::Calendar {
            return Ok(commit.expect(Expect::Collection(id)).op(Op::DeleteCollection(id)));
        }
        let before = Collection::clone(&before);
        let trashed = Trashed::new(&before, commit.at, &self.origin, Discarded::Calendar, None);
        let away = Collection { parent: CollectionId::TRASH, name: name_in_trash(id)?, ..before.clone() };
        Ok(commit
            .expect(Expect::CollectionIs(Box::new(before.clone())))
            .op(Op::PutCollection(away))
            .op(record(&before.owner, &trashed)?))
    }

    /// Reads up to `limit` things of the principal's trash, the newest first; of one calendar, if it is named.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn trash(&self, calendar: Option<CollectionId>, limit: usize) -> Result<Vec<Trashed>, Error> {
        let prefix = prefix(&self.principal.name);
        let mut all = Vec::new();
        let mut after: Option<String> = None;
        while all.len() < limit {
            let page = self.house.store.records(Table::Trash, &prefix, after.as_deref(), PAGE).await?;
            let Some((last, _)) = page.last() else { break };
            after = Some(last.path.clone());
            for (key, bytes) in &page {
                let trashed = decode(key, bytes)?;
                if calendar.is_none_or(|calendar| trashed.collection == calendar) {
                    all.push(trashed);
                }
            }
        }
        all.truncate(limit);
        Ok(all)
    }

    /// Reads one thing of the principal's trash.
    ///
    /// # Errors
    /// `Missing`; when the store fails.
    pub async fn trashed(&self, id: &str) -> Result<Trashed, Error> {
        Ok(self.trashed_record(id).await?.0)
    }

    /// Reads the last deletion of the event with this UID, if it lies in the trash; the rest of that is not read.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn trashed_of(&self, from: &Readable, uid: &str) -> Result<Option<Trashed>, Error> {
        let deleted = |version: &Version| version.how == Ended::Deleted;
        let Some(last) = from.versions(uid).await?.into_iter().find(deleted) else { return Ok(None) };
        let key = key(&from.collection().owner, &id(last.ended, from.id(), Some(last.rev)));
        let found = self.house.store.record(&key).await?;
        Ok(found.map(|bytes| decode(&key, &bytes)).transpose()?)
    }

    async fn trashed_record(&self, id: &str) -> Result<(Trashed, Key, Bytes), Error> {
        let plain = |b: u8| b.is_ascii_hexdigit() || b == b'-';
        if id.is_empty() || id.len() > 80 || !id.bytes().all(plain) {
            return Err(Refusal::Missing.into());
        }
        let key = key(&self.principal.name, id);
        let bytes = self.house.store.record(&key).await?.ok_or(Refusal::Missing)?;
        Ok((decode(&key, &bytes)?, key, bytes))
    }

    /// Reads the text of a deleted object; nothing if it was a calendar.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn trashed_text(&self, trashed: &Trashed) -> Result<Option<Bytes>, Error> {
        match &trashed.what {
            Discarded::Calendar => Ok(None),
            Discarded::Object { uid, rev, .. } => {
                Ok(self.version_of(trashed.collection, uid, *rev).await?.map(|version| version.bytes))
            }
        }
    }

    async fn version_of(
        &self,
        collection: CollectionId,
        uid: &str,
        rev: Rev,
    ) -> Result<Option<Version>, Error> {
        Ok(versions::read(&self.house, collection, uid, rev).await?)
    }

    /// Returns how a deleted thing is called: an event's title, a calendar's display name.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn trashed_title(&self, trashed: &Trashed) -> Result<Option<String>, Error> {
        match &trashed.what {
            Discarded::Calendar => {
                let collection = self.house.store.collection(trashed.collection).await?;
                Ok(collection.and_then(|c| super::Shown::DisplayName.get(&c.properties)))
            }
            Discarded::Object { .. } => Ok(self.trashed_text(trashed).await?.and_then(title)),
        }
    }

    /// Brings something back: a calendar to the home, an object to its calendar or to the one that is named; under its
    /// name, or a free one if that is taken. An ordinary write, which followers carry.
    ///
    /// # Errors
    /// `Missing`; `NoParent` if the object's calendar is gone or in the trash itself; `UidTaken` and the other refusals
    /// of `put`; when the store fails.
    pub async fn restore_trashed(&self, id: &str, into: Option<&Writable>) -> Result<Restored, Error> {
        let (trashed, key, bytes) = self.trashed_record(id).await?;
        let there = Expect::Record(key.clone(), Some(bytes));
        match &trashed.what {
            Discarded::Calendar => self.restore_calendar(&trashed, key, there).await,
            Discarded::Object { .. } => {
                let home = match into {
                    Some(at) => at.clone(),
                    None => {
                        let found = self.house.store.collection(trashed.collection).await?;
                        self.writable(found.ok_or(Refusal::NoParent)?).map_err(|_| Refusal::NoParent)?
                    }
                };
                self.restore_object(&trashed, &home, key, there).await
            }
        }
    }

    async fn restore_object(
        &self,
        trashed: &Trashed,
        at: &Writable,
        key: Key,
        there: Expect,
    ) -> Result<Restored, Error> {
        let Discarded::Object { name, uid, rev, properties, .. } = &trashed.what else {
            return Err(Refusal::Missing.into());
        };
        let version = self.version_of(trashed.collection, uid, *rev).await?;
        let text = version.ok_or_else(|| Fault::Broken("the text of a deleted object is gone".into()))?.bytes;
        for attempt in 0..100 {
            let name = numbered(name, attempt)?;
            if at.meta(name.as_str()).await?.is_some() || at.child(name.as_str()).await?.is_some() {
                continue;
            }
            let free = |meta: Option<&Meta>| if meta.is_none() { Ok(()) } else { Err(Refusal::Exists) };
            let mut with = vec![Op::DeleteRecord(key.clone())];
            if let Some(properties) = properties {
                let bytes = Bytes::copy_from_slice(properties.as_bytes());
                with.push(Op::PutRecord(object_properties_key(at.id(), name.as_str()), bytes));
            }
            let put = Put {
                name: &name,
                bytes: text.clone(),
                content_type: None,
                when: When::holds(free).and(there.clone()),
                with,
            };
            match self.put(at, put).await {
                Err(Error::Refused(Refusal::Exists)) => {}
                Err(Error::Refused(Refusal::Stale)) => return Err(Refusal::Missing.into()),
                Err(error) => return Err(error),
                Ok(stored) => {
                    return Ok(Restored { collection: at.id(), name, etag: Some(stored.etag) });
                }
            }
        }
        Err(Refusal::Exists.into())
    }

    async fn restore_calendar(&self, trashed: &Trashed, key: Key, there: Expect) -> Result<Restored, Error> {
        let home = self.home().await?;
        for attempt in 0..100 {
            let found = self.house.store.collection(trashed.collection).await?.ok_or(Refusal::Missing)?;
            if found.parent != CollectionId::TRASH || found.owner != self.principal.name {
                return Err(Refusal::Missing.into());
            }
            let name = numbered(&trashed.calendar, attempt)?;
            if home.child(name.as_str()).await?.is_some() {
                continue;
            }
            let back = Collection { parent: home.id(), name: name.clone(), ..Collection::clone(&found) };
            let commit = Commit::new(self.origin.clone(), self.house.clock.now())
                .expect(there.clone())
                .expect(Expect::Collection(home.id()))
                .expect(Expect::CollectionIs(Box::new(Collection::clone(&found))))
                .expect(Expect::NoChild(home.id(), name.clone()))
                .op(Op::PutCollection(back))
                // Whoever follows the calendar hears of it.
                .op(Op::Touch { collection: found.id, name: None })
                .op(Op::DeleteRecord(key.clone()));
            match self.house.store.commit(commit).await {
                Ok(_) => return Ok(Restored { collection: found.id, name, etag: None }),
                Err(CommitError::Rejected(Rejected::ChildExists)) => {}
                Err(CommitError::Rejected(Rejected::Record(_) | Rejected::CollectionChanged)) => {
                    return Err(Refusal::Missing.into());
                }
                Err(error) => return Err(error.into()),
            }
        }
        Err(Refusal::Exists.into())
    }

    /// Removes something from the trash for good. The former versions of an event that is nowhere else go with it.
    ///
    /// # Errors
    /// `Missing`; when the store fails.
    pub async fn forget_trashed(&self, id: &str) -> Result<(), Error> {
        let (trashed, key, bytes) = self.trashed_record(id).await?;
        let mut commit = Commit::new(self.origin.clone(), self.house.clock.now())
            .expect(Expect::Record(key.clone(), Some(bytes)))
            .op(Op::DeleteRecord(key));
        match &trashed.what {
            Discarded::Calendar => commit = commit.op(Op::DeleteCollection(trashed.collection)),
            Discarded::Object { uid, rev, .. } => {
                let store = &self.house.store;
                let only = store.by_uid(trashed.collection, uid).await?.is_none();
                let again = self.trash(Some(trashed.collection), usize::MAX).await?;
                let again = again.iter().any(|other| {
                    other.id != trashed.id
                        && matches!(&other.what, Discarded::Object { uid: of, .. } if of == uid)
                });
                commit.ops.extend(match only && !again {
                    true => versions::forget_all(&self.house, trashed.collection, uid).await?,
                    false => vec![versions::forget(trashed.collection, uid, *rev)],
                });
            }
        }
        match self.house.store.commit(commit).await {
            Ok(_) => Ok(()),
            Err(CommitError::Rejected(Rejected::Record(_))) => Err(Refusal::Missing.into()),
            Err(error) => Err(error.into()),
        }
    }
}

impl House {
    /// Returns the moment before which deletions are forgotten.
    pub fn trash_horizon(&self) -> Timestamp {
        let keep = i64::try_from(self.limits.keep_trash.as_millis()).unwrap_or(i64::MAX);
        Timestamp(self.clock.now().0.saturating_sub(keep))
    }

    /// Forgets what was deleted longer ago than `retention.trash`; returns how much. The texts of objects go with
    /// `forget_versions`.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn forget_trash(&self) -> Result<u64, Error> {
        let before = self.trash_horizon();
        let mut forgotten = 0u64;
        let mut after: Option<String> = None;
        loop {
            let page = self.store.records(Table::Trash, "", after.as_deref(), PAGE).await?;
            let Some((last, _)) = page.last() else { return Ok(forgotten) };
            after = Some(last.path.clone());
            let mut commit = Commit::new(Origin::System, self.clock.now());
            for (key, bytes) in page {
                let trashed = decode(&key, &bytes)?;
                if trashed.at >= before {
                    continue;
                }
                forgotten = forgotten.saturating_add(1);
                // Not if it was brought back at this moment.
                commit = commit.expect(Expect::Record(key.clone(), Some(bytes))).op(Op::DeleteRecord(key));
                if trashed.what == Discarded::Calendar {
                    commit = commit.op(Op::DeleteCollection(trashed.collection));
                }
            }
            if commit.ops.is_empty() {
                continue;
            }
            match self.store.commit(commit).await {
                Ok(_) | Err(CommitError::Rejected(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Empties the trash of an account that is about to be removed, a part at a time.
    pub(super) async fn empty_trash(&self, owner: &str) -> Result<(), Error> {
        loop {
            let page = self.store.records(Table::Trash, &prefix(owner), None, PAGE).await?;
            if page.is_empty() {
                return Ok(());
            }
            let mut commit = Commit::new(Origin::System, self.clock.now());
            for (key, bytes) in page {
                if let Ok(Trashed { what: Discarded::Calendar, collection, .. }) = decode(&key, &bytes) {
                    commit = commit.op(Op::DeleteCollection(collection));
                }
                commit = commit.op(Op::DeleteRecord(key));
            }
            self.store.commit(commit).await?;
        }
    }

    /// Says what is wrong with the trash: every deletion must lead to its text or its calendar, and back.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn verify_trash(self: &Arc<Self>) -> Result<Vec<String>, Fault> {
        let mut wrong = Vec::new();
        let mut calendars = std::collections::BTreeSet::new();
        let mut after: Option<String> = None;
        loop {
            let page = self.store.records(Table::Trash, "", after.as_deref(), PAGE).await?;
            let Some((last, _)) = page.last() else { break };
            after = Some(last.path.clone());
            for (key, bytes) in page {
                let owner = key.path.rsplit_once('/').map_or("", |(owner, _)| owner);
                if self.principal(owner).await?.is_none() {
                    wrong.push(format!("Something in the trash belongs to {owner:?}, who has no account."));
                }
                let Ok(trashed) = decode(&key, &bytes) else {
                    wrong.push(format!("A record of the trash of {owner} cannot be read."));
                    continue;
                };
                wrong.extend(self.verify_trashed(owner, &trashed).await?);
                if trashed.what == Discarded::Calendar {
                    calendars.insert(trashed.collection);
                }
            }
        }
        for kept in self.store.children(CollectionId::TRASH).await? {
            if !calendars.contains(&kept.id) {
                wrong.push(format!(
                    "A deleted calendar of {} is kept and not listed in the trash.",
                    kept.owner
                ));
            }
        }
        Ok(wrong)
    }

    async fn verify_trashed(&self, owner: &str, trashed: &Trashed) -> Result<Option<String>, Fault> {
        Ok(match &trashed.what {
            Discarded::Calendar => {
                let kept = self.store.collection(trashed.collection).await?;
                let there = kept.is_some_and(|c| c.parent == CollectionId::TRASH && c.owner == owner);
                (!there).then(|| format!("The deleted calendar {owner}/{} is not there.", trashed.calendar))
            }
            Discarded::Object { name, uid, rev, etag, .. } => {
                let version = versions::read(self, trashed.collection, uid, *rev).await?;
                let whole = version.is_some_and(|version| Etag::of(&version.bytes) == *etag);
                let place = format!("{owner}/{}/{name}", trashed.calendar);
                (!whole).then(|| format!("The text of the deleted object {place} is not there."))
            }
        })
    }
}

impl Session {
    /// Removes a collection: a calendar to the trash, files for good.
    pub(super) async fn discard_collection(&self, at: &Writable, when: &When<'_>) -> Result<(), Error> {
        for _ in 0..ATTEMPTS {
            let mut commit = Commit::new(self.origin.clone(), self.house.clock.now());
            commit.expects.extend(when.expects().iter().cloned());
            let commit = self.discard(at.id(), commit).await?;
            match self.house.store.commit(commit).await {
                Ok(_) => return Ok(()),
                Err(CommitError::Rejected(Rejected::CollectionChanged)) => {}
                Err(CommitError::Rejected(Rejected::NoCollection)) => return Err(Refusal::Missing.into()),
                Err(error) => return Err(error.into()),
            }
        }
        Err(Refusal::Stale.into())
    }
}

fn name_in_trash(id: CollectionId) -> Result<Name, Fault> {
    Name::new(id.0.to_string()).ok_or_else(|| Fault::Broken("a number is no name".into()))
}

/// `work.ics`, `work-2.ics`, `work-3.ics` …
fn numbered(name: &Name, attempt: usize) -> Result<Name, Refusal> {
    if attempt == 0 {
        return Ok(name.clone());
    }
    let text = name.as_str();
    let (stem, end) = match text.rfind('.') {
        Some(at) if at > 0 && text.len() - at <= 5 => text.split_at(at),
        _ => (text, ""),
    };
    // Room for the number, whatever the length of the name; cut between letters.
    let cut = (0..=stem.len().min(240)).rev().find(|at| stem.is_char_boundary(*at)).unwrap_or(0);
    let stem = stem.get(..cut).unwrap_or_default();
    Name::new(format!("{stem}-{}{end}", attempt + 1)).ok_or(Refusal::Exists)
}

/// Returns the title of the first component that has one.
pub(super) fn title(text: Bytes) -> Option<String> {
    let ical = Ical::parse(text).ok()?;
    let components = ical.calendar()?.components();
    let mut titles = components.filter_map(|component| component.property("SUMMARY")).map(|p| p.text());
    titles.find(|text| !text.trim().is_empty())
}

mod empty;

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
mod tests;

//! One commit, laid over a batch: conditions first, then the steps in order.
//!
//! Owns: what each condition and each step means in rows. Does not own: when they become durable (`committer`).
//! An error leaves the batch half changed; the caller takes the commit back.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ops::ControlFlow;

use bytes::Bytes;

use super::batch::Batch;
use super::read::{self, HeadRow};
use super::rows::{
    self, CHILD, COLLECTION, NEXT_ID, NEXT_WRITER, PURGE, Rows, Space, WRITER, body_prefix, child_key,
    core_key, id_key, log_key, meta_key, record_key, uid_key, writer_key,
};
use super::time;
use crate::store::codec::{self, Damaged, LogRow, Reader, Writer};
use crate::store::{
    Collection, CollectionId, Commit, CommitError, Committed, Etag, Expect, Fault, Index, Key, Meta, Name,
    Op, Rejected, Rev, Table, What,
};

/// A commit with all that can be worked out before it is its turn.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) commit: Commit,
    /// The tags of the bytes of each `Op::Put`, in order.
    tags: Vec<Etag>,
    /// About how many bytes it is going to write.
    pub(super) weight: usize,
}

impl Prepared {
    pub(super) fn of(commit: Commit) -> Result<Prepared, Fault> {
        let (mut tags, mut weight) = (Vec::new(), 0);
        for op in &commit.ops {
            match op {
                Op::Put { bytes, .. } => {
                    tags.push(Etag::of(bytes));
                    weight += bytes.len() + 1024;
                }
                Op::PutRecord(key, bytes) => {
                    if key.path.len() > rows::LONGEST_PATH {
                        let (table, length) = (key.table, key.path.len());
                        return Err(Fault::Broken(format!(
                            "the path of a record in {table:?} has {length} bytes"
                        )));
                    }
                    weight += bytes.len() + 256;
                }
                Op::PutCollection(_) => weight += 4096,
                _ => weight += 512,
            }
        }
        Ok(Prepared { commit, tags, weight })
    }
}

/// What a commit is going to have done once it is durable.
#[derive(Debug)]
pub(super) struct Staged {
    pub(super) committed: Committed,
    /// Records that were written or removed.
    pub(super) keys: Vec<Key>,
    /// Collections whose record or name changed.
    pub(super) changed: Vec<CollectionId>,
    /// True if there is something to purge.
    pub(super) purge: bool,
}

/// Lays the commit over the batch.
pub(super) fn stage(batch: &mut Batch<'_>, prepared: &Prepared) -> Result<Staged, CommitError> {
    let commit = &prepared.commit;
    for expect in &commit.expects {
        check(batch, expect)?;
    }
    let mut stage = Stage {
        batch,
        commit,
        writer: None,
        heads: BTreeMap::new(),
        revs: Vec::new(),
        keys: Vec::new(),
        changed: Vec::new(),
        purge: false,
    };
    let mut tags = prepared.tags.iter();
    for op in &commit.ops {
        match op {
            Op::Put { collection, name, content_type, bytes, index } => {
                let etag = tags.next().ok_or(Fault::from(Damaged))?;
                stage.put(*collection, name, content_type, bytes, index, etag)?;
            }
            Op::Delete { collection, name } => stage.delete(*collection, name)?,
            Op::Touch { collection, name } => {
                stage.open(*collection)?;
                stage.touch(*collection, name.as_ref())?;
            }
            Op::PutCollection(collection) => stage.put_collection(collection)?,
            Op::DeleteCollection(id) => stage.delete_collection(*id)?,
            Op::PutRecord(key, bytes) => stage.put_record(key, bytes)?,
            Op::DeleteRecord(key) => {
                stage.delete_record(key)?;
            }
        }
    }
    Ok(stage.finish()?)
}

/// Writes the rows of an object. Those of an older version of it must be gone.
pub(super) fn lay_object(
    batch: &mut Batch<'_>,
    id: CollectionId,
    meta: &Meta,
    bytes: &[u8],
) -> Result<(), Fault> {
    let name = &meta.name;
    let mut row = Writer::default();
    codec::write_meta(meta, &mut row);
    batch.put_value(Space::Meta, meta_key(id, name.as_str()), &row.0)?;
    for (key, row) in rows::in_pieces(&body_prefix(id, name.as_str()), meta.rev.0, bytes) {
        batch.put(Space::Body, key, row);
    }
    if let Some(uid) = &meta.index.uid {
        batch.put(Space::Uid, uid_key(id, uid), read::write_uid(uid, name));
    }
    for (key, row) in time::rows(id, name, meta.index.span) {
        batch.put(Space::Time, key, row);
    }
    Ok(())
}

/// Checks one condition.
fn check(rows: &impl Rows, expect: &Expect) -> Result<(), CommitError> {
    let live = |id: CollectionId| match read::open(rows, id)? {
        true => Ok(()),
        false => Err(CommitError::Rejected(Rejected::NoCollection)),
    };
    let rejected = match expect {
        Expect::Etag(id, name, etag) => {
            live(*id)?;
            let current = read::meta(rows, *id, name.as_str())?.map(|meta| meta.etag);
            (current.as_ref() != Some(etag)).then_some(Rejected::Etag(current))
        }
        Expect::Exists(id, name) => {
            live(*id)?;
            let found = rows.get(Space::Meta, &meta_key(*id, name.as_str()))?;
            found.is_none().then_some(Rejected::Missing)
        }
        Expect::Absent(id, name) => {
            let found = rows.get(Space::Meta, &meta_key(*id, name.as_str()))?;
            found.is_some().then_some(Rejected::Present)
        }
        Expect::UidFree(id, uid, name) => {
            read::by_uid(rows, *id, uid)?.filter(|other| other != name).map(Rejected::UidTaken)
        }
        Expect::Rev(id, rev) => {
            live(*id)?;
            let now = read::head(rows, *id)?.head.rev;
            (now != *rev).then_some(Rejected::Rev(now))
        }
        Expect::Quiet(id, since, from, to) => {
            live(*id)?;
            written_since(rows, *id, *since, (*from, *to))?.map(Rejected::Busy)
        }
        Expect::Collection(id) => {
            live(*id)?;
            None
        }
        Expect::CollectionIs(expected) => match read::collection(rows, expected.id)? {
            None => Some(Rejected::NoCollection),
            Some(found) => (found != **expected).then_some(Rejected::CollectionChanged),
        },
        Expect::NoChild(parent, name) => {
            read::child(rows, *parent, name.as_str())?.map(|_| Rejected::ChildExists)
        }
        Expect::Record(key, expected) => {
            let found = rows.value(Space::Record, &record_key(key))?;
            (found.as_deref() != expected.as_deref()).then(|| Rejected::Record(key.clone()))
        }
        Expect::Below(id, limit) => (read::head(rows, *id)?.head.objects >= *limit).then_some(Rejected::Full),
    };
    match rejected {
        Some(rejected) => Err(CommitError::Rejected(rejected)),
        None => Ok(()),
    }
}

/// Returns an object that was written after that position and may take place within the range.
fn written_since(
    rows: &impl Rows,
    id: CollectionId,
    since: Rev,
    (from, to): (i64, i64),
) -> Result<Option<Name>, Fault> {
    let head = read::head(rows, id)?.head.rev;
    if head <= since {
        return Ok(None);
    }
    let mut found = None;
    read::log(rows, id, since, head, &mut |_, row| {
        let Some(name) = row.name.filter(|_| row.what == What::Put) else {
            return Ok(ControlFlow::Continue(()));
        };
        // An older row of an object that is gone again, or was written again, says nothing.
        let Some(meta) = read::meta(rows, id, name.as_str())? else { return Ok(ControlFlow::Continue(())) };
        if time::touches(meta.index.span, Some(from), Some(to)) {
            found = Some(name);
            return Ok(ControlFlow::Break(()));
        }
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(found)
}

struct Stage<'s, 'a> {
    batch: &'s mut Batch<'a>,
    commit: &'s Commit,
    writer: Option<u64>,
    heads: BTreeMap<CollectionId, HeadRow>,
    /// Collections whose logs grew, in order.
    revs: Vec<CollectionId>,
    keys: Vec<Key>,
    changed: Vec<CollectionId>,
    purge: bool,
}

impl Stage<'_, '_> {
    fn finish(self) -> Result<Staged, Fault> {
        let mut committed = Committed { revs: Vec::with_capacity(self.revs.len()) };
        for id in &self.revs {
            if let Some(row) = self.heads.get(id) {
                committed.revs.push((*id, row.head.rev));
            }
        }
        for (id, row) in &self.heads {
            self.batch.put(Space::Head, id_key(*id).to_vec(), row.encode());
        }
        Ok(Staged { committed, keys: self.keys, changed: self.changed, purge: self.purge })
    }

    /// Nothing is written into what lies in the trash.
    fn open(&self, id: CollectionId) -> Result<(), CommitError> {
        match read::open(self.batch, id)? {
            true => Ok(()),
            false => Err(CommitError::Rejected(Rejected::NoCollection)),
        }
    }

    fn live(&self, id: CollectionId) -> Result<(), CommitError> {
        match read::live(self.batch, id)? {
            true => Ok(()),
            false => Err(CommitError::Rejected(Rejected::NoCollection)),
        }
    }

    fn head(&mut self, id: CollectionId) -> Result<&mut HeadRow, Fault> {
        match self.heads.entry(id) {
            Entry::Occupied(entry) => Ok(entry.into_mut()),
            Entry::Vacant(entry) => Ok(entry.insert(read::head(self.batch, id)?)),
        }
    }

    /// Adds a row to a log.
    fn log(&mut self, id: CollectionId, name: Option<&Name>, what: What) -> Result<Rev, Fault> {
        let origin = self.writer()?;
        let at = self.commit.at;
        let head = &mut self.head(id)?.head;
        head.rev.0 += 1;
        head.at = at;
        let rev = head.rev;
        let mut row = Writer::row();
        codec::write_log(&LogRow { name: name.cloned(), what, origin, at }, &mut row);
        self.batch.put(Space::Log, log_key(id, rev), row.0);
        if !self.revs.contains(&id) {
            self.revs.push(id);
        }
        Ok(rev)
    }

    /// Returns the number under which the log names the writer.
    fn writer(&mut self) -> Result<u64, Fault> {
        if let Some(number) = self.writer {
            return Ok(number);
        }
        let mut origin = Writer::default();
        codec::write_origin(&self.commit.origin, &mut origin);
        let key = writer_key(&origin.0);
        let number = match self.batch.get(Space::Core, &key)? {
            Some(row) => Reader::row(&row)?.number()?,
            None => {
                let number = self.batch.next(NEXT_WRITER)?;
                self.batch.put_value(Space::Core, core_key(WRITER, number), &origin.0)?;
                let mut row = Writer::row();
                row.number(number);
                self.batch.put(Space::Core, key, row.0);
                number
            }
        };
        self.writer = Some(number);
        Ok(number)
    }

    fn put(
        &mut self,
        id: CollectionId,
        name: &Name,
        content_type: &str,
        bytes: &Bytes,
        index: &Index,
        etag: &Etag,
    ) -> Result<(), CommitError> {
        self.open(id)?;
        let old = read::meta(self.batch, id, name.as_str())?;
        if let Some(old) = &old {
            self.remove_derived(id, old)?;
        }
        let rev = self.log(id, Some(name), What::Put)?;
        let at = self.commit.at;
        let meta = Meta {
            name: name.clone(),
            etag: etag.clone(),
            size: bytes.len() as u64,
            content_type: content_type.to_owned(),
            rev,
            created: old.as_ref().map_or(at, |old| old.created),
            modified: at,
            index: index.clone(),
        };
        lay_object(self.batch, id, &meta, bytes)?;
        let head = &mut self.head(id)?.head;
        match &old {
            Some(old) => head.bytes = head.bytes.saturating_sub(old.size),
            None => head.objects += 1,
        }
        head.bytes += meta.size;
        Ok(())
    }

    /// Removes an object's bytes and its index rows.
    fn remove_derived(&mut self, id: CollectionId, old: &Meta) -> Result<(), Fault> {
        for key in rows::piece_keys(&body_prefix(id, old.name.as_str()), old.size) {
            self.batch.remove(Space::Body, key);
        }
        if let Some(uid) = &old.index.uid
            && read::by_uid(self.batch, id, uid)?.as_ref() == Some(&old.name)
        {
            self.batch.remove(Space::Uid, uid_key(id, uid));
        }
        for (key, _) in time::rows(id, &old.name, old.index.span) {
            self.batch.remove(Space::Time, key);
        }
        Ok(())
    }

    fn delete(&mut self, id: CollectionId, name: &Name) -> Result<(), CommitError> {
        self.open(id)?;
        let Some(old) = read::meta(self.batch, id, name.as_str())? else { return Ok(()) };
        self.remove_derived(id, &old)?;
        self.batch.remove_value(Space::Meta, meta_key(id, name.as_str()))?;
        self.delete_record(&read::properties_key(id, name))?;
        let head = &mut self.head(id)?.head;
        head.objects = head.objects.saturating_sub(1);
        head.bytes = head.bytes.saturating_sub(old.size);
        self.log(id, Some(name), What::Deleted)?;
        Ok(())
    }

    fn touch(&mut self, id: CollectionId, name: Option<&Name>) -> Result<(), CommitError> {
        self.live(id)?;
        let rev = self.log(id, name, What::Touched)?;
        // Of a collection only the newest such row is kept: every write below a home touches the home.
        let old = match name {
            None => std::mem::replace(&mut self.head(id)?.touched, rev),
            Some(name) => match read::child(self.batch, id, name.as_str())? {
                Some(child) => std::mem::replace(&mut self.head(child)?.touched_above, rev),
                None => Rev(0),
            },
        };
        if old != Rev(0) {
            self.batch.remove(Space::Log, log_key(id, old));
        }
        Ok(())
    }

    fn put_collection(&mut self, new: &Collection) -> Result<(), CommitError> {
        self.live(new.parent)?;
        let there = read::child(self.batch, new.parent, new.name.as_str())?;
        if there.is_some_and(|id| id != new.id) {
            return Err(CommitError::Rejected(Rejected::ChildExists));
        }
        let old = read::collection(self.batch, new.id)?;
        if old.is_none() && self.batch.get(Space::Core, &core_key(PURGE, new.id.0))?.is_some() {
            return Err(Fault::Broken("the id of a deleted collection is used again".into()).into());
        }
        let moved = old.as_ref().is_none_or(|old| (old.parent, &old.name) != (new.parent, &new.name));
        if moved {
            self.refuse_circle(new)?;
        }
        let mut row = Writer::default();
        codec::write_collection(new, &mut row);
        self.batch.put_value(Space::Core, core_key(COLLECTION, new.id.0), &row.0)?;
        self.changed.push(new.id);
        if read::counter(self.batch, NEXT_ID)? <= new.id.0 {
            self.batch.set_counter(NEXT_ID, new.id.0 + 1);
        }
        if let Some(old) = &old {
            let same = Collection { parent: new.parent, name: new.name.clone(), ..old.clone() };
            if !moved || same != *new {
                self.touch(new.id, None)?;
            }
            if !moved {
                return self.touch(new.parent, Some(&new.name));
            }
            self.leave(old)?;
        }
        let mut child = Writer::row();
        child.number(new.id.0);
        self.batch.put(Space::Core, child_key(new.parent, new.name.as_str()), child.0);
        self.head(new.id)?.touched_above = Rev(0);
        self.log(new.parent, Some(&new.name), What::Put)?;
        Ok(())
    }

    /// Takes a collection out of its parent.
    fn leave(&mut self, old: &Collection) -> Result<(), Fault> {
        self.batch.remove(Space::Core, child_key(old.parent, old.name.as_str()));
        let touched = std::mem::take(&mut self.head(old.id)?.touched_above);
        if touched != Rev(0) {
            self.batch.remove(Space::Log, log_key(old.parent, touched));
        }
        self.log(old.parent, Some(&old.name), What::Deleted)?;
        Ok(())
    }

    /// A collection below itself could never be reached or deleted.
    fn refuse_circle(&self, new: &Collection) -> Result<(), Fault> {
        let mut above = new.parent;
        while let Some(collection) = read::collection(self.batch, above)? {
            if above == new.id {
                return Err(Fault::Broken("a collection cannot move into itself".into()));
            }
            above = collection.parent;
        }
        match above == new.id {
            true => Err(Fault::Broken("a collection cannot be its own parent".into())),
            false => Ok(()),
        }
    }

    fn delete_collection(&mut self, id: CollectionId) -> Result<(), CommitError> {
        let Some(collection) = read::collection(self.batch, id)? else { return Ok(()) };
        self.leave(&collection)?;
        let mut gone = vec![id];
        while let Some(id) = gone.pop() {
            let mut names = Vec::new();
            let prefix = core_key(CHILD, id.0);
            self.batch.prefixed(Space::Core, &prefix, &mut |key, row| {
                names.push(key.to_vec());
                gone.push(CollectionId(Reader::row(row)?.number()?));
                Ok(true)
            })?;
            for key in names {
                self.batch.remove(Space::Core, key);
            }
            self.batch.remove_value(Space::Core, core_key(COLLECTION, id.0))?;
            self.heads.remove(&id);
            self.batch.remove(Space::Head, id_key(id).to_vec());
            self.batch.put(Space::Core, core_key(PURGE, id.0), Writer::row().0);
            self.changed.push(id);
        }
        self.purge = true;
        Ok(())
    }

    fn put_record(&mut self, key: &Key, bytes: &Bytes) -> Result<(), CommitError> {
        self.batch.put_value(Space::Record, record_key(key), bytes)?;
        self.keys.push(key.clone());
        Ok(())
    }

    fn delete_record(&mut self, key: &Key) -> Result<(), Fault> {
        if self.batch.remove_value(Space::Record, record_key(key))? {
            self.keys.push(key.clone());
        }
        Ok(())
    }
}

/// Tells whether a key belongs to a collection's own properties of objects.
pub(super) fn properties_prefix(id: CollectionId) -> Vec<u8> {
    let mut prefix = vec![Table::ObjectProperties as u8];
    prefix.extend_from_slice(format!("{}/", id.0).as_bytes());
    prefix
}

//! A store that is gone when it is dropped, for tests that open thousands of them. It keeps the contract, so that what
//! holds on it holds on the others; it is not durable, and it writes no dump.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use std::collections::{BTreeMap, HashMap};
use std::io::Write;
use std::ops::Bound;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use tokio::sync::broadcast;

use super::sled::touches;
use super::{
    Change, Changes, ChangesError, Collection, CollectionId, Commit, CommitError, Committed, DumpError, Etag,
    Expect, Fault, Figures, Fut, Head, Key, Meta, Name, Notice, Object, Op, Recompute, Rejected, Rev, Store,
    Summary, Table, Timestamp, Verified, What,
};

#[derive(Debug, Clone, Default)]
struct Log {
    head: Head,
    rows: BTreeMap<Rev, Arc<Change>>,
    /// The row that says that the collection itself was touched.
    touched: Option<Rev>,
    /// The row of the parent that says that this collection was touched.
    touched_above: Option<Rev>,
}

#[derive(Debug, Clone, Default)]
struct State {
    collections: BTreeMap<CollectionId, Arc<Collection>>,
    /// Ids of deleted collections: never given again.
    dead: Vec<CollectionId>,
    logs: BTreeMap<CollectionId, Log>,
    objects: BTreeMap<(CollectionId, Name), Arc<Object>>,
    uids: HashMap<(CollectionId, String), Name>,
    records: BTreeMap<(u8, String), Bytes>,
    next: u64,
    commits: u64,
}

/// The store.
#[derive(Debug)]
pub(crate) struct Memory {
    state: Mutex<State>,
    notices: broadcast::Sender<Arc<Notice>>,
    read: AtomicU64,
}

impl Memory {
    pub(crate) fn new() -> Memory {
        let state = State { next: CollectionId::FIRST.0, ..State::default() };
        Memory { state: Mutex::new(state), notices: broadcast::channel(256).0, read: AtomicU64::new(0) }
    }

    /// Returns how many rows were asked for since the last question: records, objects, entries of lists and logs. One
    /// that is not there counts as well.
    pub(crate) fn rows_read(&self) -> u64 {
        self.read.swap(0, Ordering::Relaxed)
    }

    /// Counts what a list found; a question for one row, or for a list without any, is one.
    fn counted<T>(&self, rows: Vec<T>) -> Vec<T> {
        self.read.fetch_add(rows.len().max(1) as u64, Ordering::Relaxed);
        rows
    }

    fn one(&self) -> MutexGuard<'_, State> {
        self.read.fetch_add(1, Ordering::Relaxed);
        self.state()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

fn now<'a, T: Send + 'a>(value: T) -> Fut<'a, T> {
    Box::pin(std::future::ready(value))
}

fn rejected<T>(why: Rejected) -> Result<T, CommitError> {
    Err(CommitError::Rejected(why))
}

impl State {
    fn live(&self, id: CollectionId) -> Result<(), CommitError> {
        let root = matches!(id, CollectionId::HOMES | CollectionId::FILES | CollectionId::TRASH);
        if root || self.collections.contains_key(&id) { Ok(()) } else { rejected(Rejected::NoCollection) }
    }

    /// Nothing is written into what lies in the trash.
    fn open(&self, id: CollectionId) -> Result<(), CommitError> {
        self.live(id)?;
        let trash = self.collections.get(&id).is_some_and(|c| c.parent == CollectionId::TRASH);
        if trash { rejected(Rejected::NoCollection) } else { Ok(()) }
    }

    fn child(&self, parent: CollectionId, name: &str) -> Option<&Arc<Collection>> {
        self.collections.values().find(|c| c.parent == parent && c.name.as_str() == name)
    }

    fn object(&self, id: CollectionId, name: &Name) -> Option<&Arc<Object>> {
        self.objects.get(&(id, name.clone()))
    }

    fn head(&self, id: CollectionId) -> Head {
        self.logs.get(&id).map(|log| log.head).unwrap_or_default()
    }

    fn check(&self, expect: &Expect) -> Result<(), CommitError> {
        match expect {
            Expect::Etag(id, name, etag) => {
                self.open(*id)?;
                let current = self.object(*id, name).map(|o| o.meta.etag.clone());
                if current.as_ref() == Some(etag) { Ok(()) } else { rejected(Rejected::Etag(current)) }
            }
            Expect::Exists(id, name) => {
                self.open(*id)?;
                if self.object(*id, name).is_some() { Ok(()) } else { rejected(Rejected::Missing) }
            }
            Expect::Absent(id, name) => match self.object(*id, name) {
                Some(_) => rejected(Rejected::Present),
                None => Ok(()),
            },
            Expect::UidFree(id, uid, name) => match self.uids.get(&(*id, uid.clone())) {
                Some(other) if other != name => rejected(Rejected::UidTaken(other.clone())),
                _ => Ok(()),
            },
            Expect::Rev(id, rev) => {
                self.open(*id)?;
                let now = self.head(*id).rev;
                if now == *rev { Ok(()) } else { rejected(Rejected::Rev(now)) }
            }
            Expect::Quiet(id, since, from, to) => {
                self.open(*id)?;
                let mine =
                    self.objects.iter().filter(|((at, _), _)| at == id).map(|(_, object)| &object.meta);
                let written = mine.filter(|meta| meta.rev > *since);
                let mut busy = written.filter(|m| touches(m.index.span, Some(*from), Some(*to)));
                match busy.next() {
                    Some(meta) => rejected(Rejected::Busy(meta.name.clone())),
                    None => Ok(()),
                }
            }
            Expect::Collection(id) => self.open(*id),
            Expect::CollectionIs(expected) => match self.collections.get(&expected.id) {
                None => rejected(Rejected::NoCollection),
                Some(found) if **found == **expected => Ok(()),
                Some(_) => rejected(Rejected::CollectionChanged),
            },
            Expect::NoChild(parent, name) => match self.child(*parent, name.as_str()) {
                Some(_) => rejected(Rejected::ChildExists),
                None => Ok(()),
            },
            Expect::Record(key, expected) => {
                let found = self.records.get(&(key.table as u8, key.path.clone()));
                if found == expected.as_ref() { Ok(()) } else { rejected(Rejected::Record(key.clone())) }
            }
            Expect::Below(id, limit) => {
                if self.head(*id).objects >= *limit {
                    rejected(Rejected::Full)
                } else {
                    Ok(())
                }
            }
        }
    }

    fn log(
        &mut self,
        id: CollectionId,
        name: Option<&Name>,
        what: What,
        commit: &Commit,
        done: &mut Done,
    ) -> Rev {
        let log = self.logs.entry(id).or_default();
        log.head.rev.0 += 1;
        log.head.at = commit.at;
        let rev = log.head.rev;
        let origin = commit.origin.clone();
        log.rows.insert(rev, Arc::new(Change { rev, name: name.cloned(), what, origin, at: commit.at }));
        if !done.revs.contains(&id) {
            done.revs.push(id);
        }
        rev
    }

    fn touch(
        &mut self,
        id: CollectionId,
        name: Option<&Name>,
        commit: &Commit,
        done: &mut Done,
    ) -> Result<(), CommitError> {
        self.live(id)?;
        let rev = self.log(id, name, What::Touched, commit, done);
        let old = match name {
            None => self.logs.entry(id).or_default().touched.replace(rev),
            Some(name) => match self.child(id, name.as_str()).map(|c| c.id) {
                Some(child) => self.logs.entry(child).or_default().touched_above.replace(rev),
                None => None,
            },
        };
        if let (Some(old), Some(log)) = (old, self.logs.get_mut(&id)) {
            log.rows.remove(&old);
        }
        Ok(())
    }

    /// Tells whether a step cannot fail, whatever steps of its kind come before it.
    fn succeeds(&self, op: &Op) -> bool {
        match op {
            Op::Put { collection, .. } | Op::Delete { collection, .. } => self.open(*collection).is_ok(),
            Op::PutRecord(key, _) => key.path.len() <= 2000,
            Op::DeleteRecord(_) => true,
            Op::Touch { .. } | Op::PutCollection(_) | Op::DeleteCollection(_) => false,
        }
    }

    fn apply(&mut self, op: &Op, commit: &Commit, done: &mut Done) -> Result<(), CommitError> {
        match op {
            Op::Put { collection, name, content_type, bytes, index } => {
                self.open(*collection)?;
                let old = self.objects.get(&(*collection, name.clone())).cloned();
                if let Some(old) = &old {
                    self.forget_uid(*collection, old);
                }
                let rev = self.log(*collection, Some(name), What::Put, commit, done);
                let meta = Meta {
                    name: name.clone(),
                    etag: Etag::of(bytes),
                    size: bytes.len() as u64,
                    content_type: content_type.clone(),
                    rev,
                    created: old.as_ref().map_or(commit.at, |o| o.meta.created),
                    modified: commit.at,
                    index: index.clone(),
                };
                if let Some(uid) = &index.uid {
                    self.uids.insert((*collection, uid.clone()), name.clone());
                }
                let head = &mut self.logs.entry(*collection).or_default().head;
                match &old {
                    Some(old) => head.bytes -= old.meta.size,
                    None => head.objects += 1,
                }
                head.bytes += meta.size;
                let object = Object { meta, bytes: bytes.clone() };
                self.objects.insert((*collection, name.clone()), Arc::new(object));
            }
            Op::Delete { collection, name } => {
                self.open(*collection)?;
                let Some(old) = self.objects.remove(&(*collection, name.clone())) else { return Ok(()) };
                self.forget_uid(*collection, &old);
                let properties = Key::new(Table::ObjectProperties, format!("{}/{name}", collection.0));
                self.forget(&properties, done);
                let head = &mut self.logs.entry(*collection).or_default().head;
                head.objects -= 1;
                head.bytes -= old.meta.size;
                self.log(*collection, Some(name), What::Deleted, commit, done);
            }
            Op::Touch { collection, name } => {
                self.open(*collection)?;
                self.touch(*collection, name.as_ref(), commit, done)?;
            }
            Op::PutCollection(new) => self.put_collection(new, commit, done)?,
            Op::DeleteCollection(id) => {
                let Some(old) = self.collections.get(id).cloned() else { return Ok(()) };
                self.leave(&old, commit, done);
                let mut gone = vec![*id];
                while let Some(id) = gone.pop() {
                    gone.extend(self.collections.values().filter(|c| c.parent == id).map(|c| c.id));
                    self.collections.remove(&id);
                    self.logs.remove(&id);
                    self.objects.retain(|(of, _), _| *of != id);
                    self.uids.retain(|(of, _), _| *of != id);
                    let (table, prefix) = (Table::ObjectProperties as u8, format!("{}/", id.0));
                    self.records.retain(|(t, path), _| *t != table || !path.starts_with(&prefix));
                    self.dead.push(id);
                    done.revs.retain(|of| *of != id);
                }
            }
            Op::PutRecord(key, _) if key.path.len() > 2000 => {
                return Err(Fault::Broken("the path of a record is too long".into()).into());
            }
            Op::PutRecord(key, bytes) => {
                self.records.insert((key.table as u8, key.path.clone()), bytes.clone());
                done.keys.push(key.clone());
            }
            Op::DeleteRecord(key) => self.forget(key, done),
        }
        Ok(())
    }

    fn forget(&mut self, key: &Key, done: &mut Done) {
        if self.records.remove(&(key.table as u8, key.path.clone())).is_some() {
            done.keys.push(key.clone());
        }
    }

    fn forget_uid(&mut self, id: CollectionId, old: &Object) {
        if let Some(uid) = &old.meta.index.uid {
            let key = (id, uid.clone());
            if self.uids.get(&key) == Some(&old.meta.name) {
                self.uids.remove(&key);
            }
        }
    }

    fn put_collection(
        &mut self,
        new: &Collection,
        commit: &Commit,
        done: &mut Done,
    ) -> Result<(), CommitError> {
        self.live(new.parent)?;
        if self.child(new.parent, new.name.as_str()).is_some_and(|c| c.id != new.id) {
            return rejected(Rejected::ChildExists);
        }
        let broken = |why: &str| Err(CommitError::Fault(Fault::Broken(why.into())));
        if self.dead.contains(&new.id) {
            return broken("the id of a deleted collection is used again");
        }
        let mut above = Some(new.parent);
        while let Some(id) = above {
            if id == new.id {
                return broken("a collection cannot move into itself");
            }
            above = self.collections.get(&id).map(|c| c.parent);
        }
        let old = self.collections.insert(new.id, Arc::new(new.clone()));
        self.next = self.next.max(new.id.0 + 1);
        if let Some(old) = old {
            let moved = (old.parent, &old.name) != (new.parent, &new.name);
            let same = Collection { parent: new.parent, name: new.name.clone(), ..(*old).clone() };
            if !moved || same != *new {
                self.touch(new.id, None, commit, done)?;
            }
            if !moved {
                return self.touch(new.parent, Some(&new.name), commit, done);
            }
            self.leave(&old, commit, done);
        }
        self.logs.entry(new.id).or_default().touched_above = None;
        self.log(new.parent, Some(&new.name), What::Put, commit, done);
        Ok(())
    }

    fn leave(&mut self, old: &Collection, commit: &Commit, done: &mut Done) {
        let above = self.logs.entry(old.id).or_default().touched_above.take();
        if let (Some(above), Some(log)) = (above, self.logs.get_mut(&old.parent)) {
            log.rows.remove(&above);
        }
        self.log(old.parent, Some(&old.name), What::Deleted, commit, done);
    }
}

#[derive(Debug, Default)]
struct Done {
    revs: Vec<CollectionId>,
    keys: Vec<Key>,
}

impl Store for Memory {
    fn record<'a>(&'a self, key: &'a Key) -> Fut<'a, Result<Option<Bytes>, Fault>> {
        now(Ok(self.one().records.get(&(key.table as u8, key.path.clone())).cloned()))
    }

    fn records<'a>(
        &'a self,
        table: Table,
        prefix: &'a str,
        after: Option<&'a str>,
        limit: usize,
    ) -> Fut<'a, Result<Vec<(Key, Bytes)>, Fault>> {
        let from = after
            .filter(|after| *after >= prefix)
            .map_or(Bound::Included((table as u8, prefix.to_owned())), |after| {
                Bound::Excluded((table as u8, after.to_owned()))
            });
        let state = self.state();
        let rows = state.records.range((from, Bound::Unbounded));
        let rows = rows.take_while(|((t, path), _)| *t == table as u8 && path.starts_with(prefix));
        let rows =
            rows.take(limit).map(|((_, path), bytes)| (Key::new(table, path), bytes.clone())).collect();
        now(Ok(self.counted(rows)))
    }

    fn collection(&self, id: CollectionId) -> Fut<'_, Result<Option<Arc<Collection>>, Fault>> {
        now(Ok(self.state().collections.get(&id).cloned()))
    }

    fn child<'a>(
        &'a self,
        parent: CollectionId,
        name: &'a str,
    ) -> Fut<'a, Result<Option<Arc<Collection>>, Fault>> {
        now(Ok(self.state().child(parent, name).cloned()))
    }

    fn children(&self, parent: CollectionId) -> Fut<'_, Result<Vec<Arc<Collection>>, Fault>> {
        let mut all: Vec<_> =
            self.state().collections.values().filter(|c| c.parent == parent).cloned().collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        now(Ok(all))
    }

    fn new_collection_id(&self) -> Fut<'_, Result<CollectionId, Fault>> {
        let mut state = self.state();
        let id = CollectionId(state.next);
        state.next += 1;
        now(Ok(id))
    }

    fn head(&self, id: CollectionId) -> Fut<'_, Result<Head, Fault>> {
        now(Ok(self.state().head(id)))
    }

    fn meta<'a>(&'a self, collection: CollectionId, name: &'a str) -> Fut<'a, Result<Option<Meta>, Fault>> {
        let found = Name::new(name).and_then(|name| self.one().object(collection, &name).cloned());
        now(Ok(found.map(|object| object.meta.clone())))
    }

    fn object<'a>(
        &'a self,
        collection: CollectionId,
        name: &'a str,
    ) -> Fut<'a, Result<Option<Object>, Fault>> {
        let found = Name::new(name).and_then(|name| self.one().object(collection, &name).cloned());
        now(Ok(found.map(|object| (*object).clone())))
    }

    fn list<'a>(
        &'a self,
        collection: CollectionId,
        after: Option<&'a str>,
        limit: usize,
    ) -> Fut<'a, Result<Vec<Meta>, Fault>> {
        let state = self.state();
        let all = state.objects.iter().filter(|((of, _), _)| *of == collection);
        let rest = all.filter(|((_, name), _)| after.is_none_or(|after| name.as_str() > after));
        now(Ok(self.counted(rest.take(limit).map(|(_, object)| object.meta.clone()).collect())))
    }

    fn by_uid<'a>(&'a self, collection: CollectionId, uid: &'a str) -> Fut<'a, Result<Option<Name>, Fault>> {
        now(Ok(self.one().uids.get(&(collection, uid.to_owned())).cloned()))
    }

    fn in_range(
        &self,
        collection: CollectionId,
        from: Option<i64>,
        to: Option<i64>,
    ) -> Fut<'_, Result<Vec<Meta>, Fault>> {
        let state = self.state();
        let all = state.objects.iter().filter(|((of, _), _)| *of == collection);
        let found = all.filter(|(_, object)| touches(object.meta.index.span, from, to));
        now(Ok(self.counted(found.map(|(_, object)| object.meta.clone()).collect())))
    }

    fn changes(
        &self,
        collection: CollectionId,
        since: Rev,
        limit: usize,
    ) -> Fut<'_, Result<Changes, ChangesError>> {
        let state = self.state();
        let head = state.head(collection);
        if since > head.rev || since < head.horizon {
            return now(Err(ChangesError::Expired));
        }
        let rows = state.logs.get(&collection).map(|log| &log.rows);
        let mut items: Vec<Change> = rows
            .into_iter()
            .flat_map(|rows| rows.range((Bound::Excluded(since), Bound::Unbounded)))
            .take(limit.saturating_add(1))
            .map(|(_, change)| (**change).clone())
            .collect();
        let more = items.len() > limit;
        items.truncate(limit);
        now(Ok(Changes { items: self.counted(items), head: head.rev, more }))
    }

    fn commit(&self, commit: Commit) -> Fut<'_, Result<Committed, CommitError>> {
        let mut state = self.state();
        let mut done = Done::default();
        if let Err(error) = commit.expects.iter().try_for_each(|expect| state.check(expect)) {
            return now(Err(error));
        }
        // All or nothing: what may break off half-way is tried on a copy.
        let mut copy = (!commit.ops.iter().all(|op| state.succeeds(op))).then(|| state.clone());
        let next = copy.as_mut().unwrap_or(&mut state);
        if let Err(error) = commit.ops.iter().try_for_each(|op| next.apply(op, &commit, &mut done)) {
            return now(Err(error));
        }
        let revs: Vec<_> = done.revs.iter().map(|id| (*id, next.head(*id).rev)).collect();
        if let Some(next) = copy {
            *state = next;
        }
        state.commits += 1;
        drop(state);
        if revs.is_empty() && done.keys.is_empty() {
            return now(Ok(Committed { revs }));
        }
        let notice = Notice { origin: commit.origin.clone(), revs: revs.clone(), keys: done.keys };
        let _ = self.notices.send(Arc::new(notice));
        now(Ok(Committed { revs }))
    }

    fn watch(&self) -> broadcast::Receiver<Arc<Notice>> {
        self.notices.subscribe()
    }

    fn dump(&self, _: Box<dyn Write + Send>) -> Fut<'_, Result<Summary, DumpError>> {
        now(Err(Fault::Broken("a store in memory writes no dump".into()).into()))
    }

    fn verify(&self, _: Option<Recompute>) -> Fut<'_, Result<Verified, Fault>> {
        let state = self.state();
        let mut found = Verified::default();
        for ((id, uid), name) in &state.uids {
            let object = state.object(*id, name);
            if object.is_none_or(|o| o.meta.index.uid.as_ref() != Some(uid)) {
                found.flaw(format!("the UID {uid} leads to {name}, which has another"));
            }
        }
        for id in state.collections.keys() {
            let objects = state.objects.iter().filter(|((of, _), _)| of == id);
            let (count, bytes) = objects.fold((0, 0), |(n, size), (_, o)| (n + 1, size + o.meta.size));
            let head = state.head(*id);
            if (head.objects, head.bytes) != (count, bytes) {
                found.flaw(format!("collection {} is miscounted", id.0));
            }
        }
        now(Ok(found))
    }

    fn rebuild(&self, _: Recompute) -> Fut<'_, Result<u64, Fault>> {
        now(Ok(0))
    }

    fn trim(&self, older_than: Timestamp) -> Fut<'_, Result<u64, Fault>> {
        let mut dropped = 0;
        for log in self.state().logs.values_mut() {
            let newest: HashMap<Option<Name>, Rev> =
                log.rows.values().map(|row| (row.name.clone(), row.rev)).collect();
            let before = log.rows.len();
            let mut horizon = log.head.horizon;
            log.rows.retain(|rev, row| {
                let newer = newest.get(&row.name) != Some(rev);
                let drop = row.at < older_than && (newer || row.what == What::Deleted);
                if drop && !newer {
                    horizon = horizon.max(*rev);
                }
                !drop
            });
            log.head.horizon = horizon;
            dropped += (before - log.rows.len()) as u64;
        }
        now(Ok(dropped))
    }

    fn figures(&self) -> Fut<'_, Result<Figures, Fault>> {
        let one = self.one();
        let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
        now(Ok(Figures {
            collections: count(one.collections.len()),
            objects: one.collections.keys().map(|id| one.head(*id).objects).sum(),
            bytes: one.collections.keys().map(|id| one.head(*id).bytes).sum(),
            commits: one.commits,
            disk: 0,
        }))
    }

    fn health(&self) -> Fut<'_, Result<(), Fault>> {
        now(Ok(()))
    }
}

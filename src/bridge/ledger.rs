//! What was last agreed on, object by object: a view on the store, which alone remembers it.
//!
//! Owns: finding a base by UID, by our name and by the far side's name; walking all of them. Nothing of it is held: a
//! pass that looks at one object reads that one's records, one that compares everything reads the bases page by page.
//!
//! Beside a base lie index records that lead to it, written and removed in the same commit as the base: what a lookup
//! finds is never older or newer than the base. Each base has index records of its own, even where two bases have the
//! same name, so that what becomes of one never touches the other's.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use percent_encoding::percent_decode_str;

use super::print::digest;
use super::provider::RemoteId;
use super::record::{self, Base, base_bytes_key, base_key, index_key};
use crate::store::{Commit, CommitError, Fault, Key, Name, Op, Origin, Store, Table, Timestamp};

/// Bases of one page of a walk.
const PAGE: usize = 500;
/// Index records that are read at a time; more than nearly any lookup finds.
const FEW: usize = 32;
/// The record that says that all bases have their index records.
const BUILT: &str = "built";

/// The bases of one mapping.
#[derive(Clone)]
pub(super) struct Ledger {
    store: Arc<dyn Store>,
    mapping: String,
}

/// By what a base is found.
#[derive(Debug, Clone, Copy)]
enum By<'a> {
    Name(&'a Name),
    Remote(&'a RemoteId),
    /// The parts of this series.
    Whole(&'a str),
    /// What is announced and may not have happened.
    Pending,
    /// What a complete listing did not name.
    Missing,
}

impl By<'_> {
    /// Returns how the paths of its index records begin.
    fn prefix(self) -> String {
        match self {
            By::Name(name) => format!("name-{}-", digest(name.as_str().as_bytes())),
            By::Remote(id) => format!("there-{}-", digest(spelling(id).as_bytes())),
            By::Whole(uid) => format!("part-{}-", digest(uid.as_bytes())),
            By::Pending => "pending-".to_owned(),
            By::Missing => "missing-".to_owned(),
        }
    }
}

/// Returns the paths of the index records of a base.
fn index(base: &Base) -> BTreeSet<String> {
    let own = digest(base.uid.as_bytes());
    let whole = base.part.as_ref().map(|(whole, _)| By::Whole(whole));
    let ways = [
        Some(By::Remote(&base.remote)),
        // A part lies in the name of its whole, which stands for it.
        whole.or(Some(By::Name(&base.name))),
        base.pending.then_some(By::Pending),
        base.missing.map(|_| By::Missing),
    ];
    ways.into_iter().flatten().map(|by| [by.prefix().as_str(), &own].concat()).collect()
}

impl Ledger {
    /// Returns the view on the bases of a mapping.
    pub(super) fn new(store: Arc<dyn Store>, mapping: &str) -> Ledger {
        Ledger { store, mapping: mapping.to_owned() }
    }

    /// Gives bases of a former version, which had none, their index records: once, before anything else.
    pub(super) async fn open(&self, origin: &Origin, at: Timestamp) -> Result<(), Fault> {
        let built = index_key(&self.mapping, BUILT);
        if self.store.record(&built).await?.is_some() {
            return Ok(());
        }
        let mut walk = self.walk();
        while let Some(page) = walk.next().await? {
            for few in page.chunks(FEW) {
                let ops = few.iter().flat_map(|base| self.lead(base, index(base))).collect();
                self.commit(origin, at, ops).await?;
            }
        }
        self.commit(origin, at, vec![Op::PutRecord(built, Bytes::new())]).await
    }

    async fn commit(&self, origin: &Origin, at: Timestamp, ops: Vec<Op>) -> Result<(), Fault> {
        let commit = Commit { ops, ..Commit::new(origin.clone(), at) };
        match self.store.commit(commit).await {
            Ok(_) => Ok(()),
            Err(CommitError::Fault(fault)) => Err(fault),
            Err(CommitError::Rejected(rejected)) => {
                Err(Fault::Broken(format!("an index could not be made: {rejected:?}")))
            }
        }
    }

    /// Reads a base.
    pub(super) async fn by_uid(&self, uid: &str) -> Result<Option<Base>, Fault> {
        record::load(&*self.store, &base_key(&self.mapping, uid)).await
    }

    /// Reads the base of the object that has, or had, this name here.
    pub(super) async fn by_name(&self, name: &Name) -> Result<Option<Base>, Fault> {
        let mut found = self.led(By::Name(name)).await?;
        found.retain(|base| base.name == *name);
        Ok(latest(found))
    }

    /// Reads the base of the object that has this name there.
    pub(super) async fn by_remote(&self, id: &RemoteId) -> Result<Option<Base>, Fault> {
        let spelled = spelling(id);
        let mut found = self.led(By::Remote(id)).await?;
        found.retain(|base| spelling(&base.remote) == spelled);
        Ok(latest(found))
    }

    /// Reads the bases of the parts of a series.
    pub(super) async fn parts_of(&self, uid: &str) -> Result<Vec<Base>, Fault> {
        self.led(By::Whole(uid)).await
    }

    /// Reads the bases of what was announced and may not have happened.
    pub(super) async fn pending(&self) -> Result<Vec<Base>, Fault> {
        self.led(By::Pending).await
    }

    /// Tells whether a complete listing missed something that is not believed gone yet.
    pub(super) async fn any_missing(&self) -> Result<bool, Fault> {
        let prefix = index_key(&self.mapping, &By::Missing.prefix());
        Ok(!self.store.records(Table::Base, &prefix.path, None, 1).await?.is_empty())
    }

    async fn led(&self, by: By<'_>) -> Result<Vec<Base>, Fault> {
        let prefix = index_key(&self.mapping, &by.prefix());
        let mut found = Vec::new();
        let mut after: Option<Key> = None;
        loop {
            let last = after.as_ref().map(|key| key.path.as_str());
            let page = self.store.records(Table::Base, &prefix.path, last, FEW).await?;
            let more = page.len() == FEW;
            for (key, uid) in page {
                let uid = std::str::from_utf8(&uid)
                    .map_err(|_| Fault::Broken(format!("the record {} cannot be read", key.path)))?;
                found.extend(self.by_uid(uid).await?);
                after = Some(key);
            }
            if !more {
                return Ok(found);
            }
        }
    }

    /// Begins a walk through all bases.
    pub(super) fn walk(&self) -> Walk<'_> {
        Walk { ledger: self, prefix: format!("{}/", self.mapping), after: None }
    }

    /// Counts bases. Reads all of them.
    pub(super) async fn count(&self, counts: impl Fn(&Base) -> bool) -> Result<usize, Fault> {
        let mut count: usize = 0;
        let mut walk = self.walk();
        while let Some(page) = walk.next().await? {
            count = count.saturating_add(page.iter().filter(|base| counts(base)).count());
        }
        Ok(count)
    }

    /// Reads the far side's content as it was when both agreed.
    pub(super) async fn bytes(&self, uid: &str) -> Result<Option<Bytes>, Fault> {
        self.store.record(&base_bytes_key(&self.mapping, uid)).await
    }

    /// Returns the steps that store a base, with the far side's bytes if they changed. Of one UID there may be one such
    /// list in a commit, or see `put_all`.
    pub(super) async fn put(&self, base: &Base, bytes: Option<Bytes>) -> Result<Vec<Op>, Fault> {
        let before = self.by_uid(&base.uid).await?.map(|old| index(&old)).unwrap_or_default();
        let now = index(base);
        let mut ops = vec![record::put(base_key(&self.mapping, &base.uid), base)?];
        ops.extend(bytes.map(|bytes| Op::PutRecord(base_bytes_key(&self.mapping, &base.uid), bytes)));
        ops.extend(self.mislead(before.difference(&now).cloned()));
        ops.extend(self.lead(base, now.difference(&before).cloned()));
        Ok(ops)
    }

    /// Returns the steps that store several bases. Of those with the same UID the last counts.
    pub(super) async fn put_all(&self, all: Vec<(Base, Option<Bytes>)>) -> Result<Vec<Op>, Fault> {
        let mut last: BTreeMap<String, (Base, Option<Bytes>)> = BTreeMap::new();
        for (base, bytes) in all {
            let before = last.remove(&base.uid).and_then(|(_, bytes)| bytes);
            last.insert(base.uid.clone(), (base, bytes.or(before)));
        }
        let mut ops = Vec::new();
        for (base, bytes) in last.into_values() {
            ops.extend(self.put(&base, bytes).await?);
        }
        Ok(ops)
    }

    /// Returns the steps that forget a base.
    pub(super) async fn delete(&self, uid: &str) -> Result<Vec<Op>, Fault> {
        let before = self.by_uid(uid).await?.map(|old| index(&old)).unwrap_or_default();
        let mut ops = vec![
            Op::DeleteRecord(base_key(&self.mapping, uid)),
            Op::DeleteRecord(base_bytes_key(&self.mapping, uid)),
        ];
        ops.extend(self.mislead(before.into_iter()));
        Ok(ops)
    }

    fn lead(&self, base: &Base, paths: impl IntoIterator<Item = String>) -> Vec<Op> {
        let uid = Bytes::copy_from_slice(base.uid.as_bytes());
        paths.into_iter().map(|path| Op::PutRecord(index_key(&self.mapping, &path), uid.clone())).collect()
    }

    fn mislead(&self, paths: impl Iterator<Item = String>) -> Vec<Op> {
        paths.map(|path| Op::DeleteRecord(index_key(&self.mapping, &path))).collect()
    }
}

/// A walk through all bases of a mapping, in the order of their keys. What is written meanwhile is met if it lies ahead.
pub(super) struct Walk<'a> {
    ledger: &'a Ledger,
    prefix: String,
    after: Option<String>,
}

impl Walk<'_> {
    /// Reads the next page; nothing: that was all.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<Base>>, Fault> {
        let store = &self.ledger.store;
        let page = store.records(Table::Base, &self.prefix, self.after.as_deref(), PAGE).await?;
        let Some((last, _)) = page.last() else { return Ok(None) };
        self.after = Some(last.path.clone());
        page.iter().map(|(key, bytes)| record::decode(key, bytes)).collect::<Result<_, _>>().map(Some)
    }
}

/// Of several objects that have had the same name the latest counts.
fn latest(found: Vec<Base>) -> Option<Base> {
    found.into_iter().max_by(|one, other| (one.agreed, &one.uid).cmp(&(other.agreed, &other.uid)))
}

/// Far sides spell one name in several ways; decoded they are the same.
pub(super) fn spelling(id: &RemoteId) -> String {
    percent_decode_str(&id.0).decode_utf8_lossy().into_owned()
}

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
    /// What is announced and may not have happened, or not to its end.
    Open,
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
            By::Open => "pending-".to_owned(),
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
        base.is_open().then_some(By::Open),
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

    /// Reads the bases of what was announced and may not have happened, or not to its end.
    pub(super) async fn open_writes(&self) -> Result<Vec<Base>, Fault> {
        self.led(By::Open).await
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

#[cfg(test)]
impl Ledger {
    /// Compares the index with what a walk through all bases says.
    pub(super) async fn flaws(&self) -> Vec<String> {
        let mut wanted: BTreeSet<(String, String)> = BTreeSet::new();
        let mut walk = self.walk();
        while let Ok(Some(page)) = walk.next().await {
            wanted.extend(
                page.iter().flat_map(|base| index(base).into_iter().map(|at| (at, base.uid.clone()))),
            );
        }
        let prefix = index_key(&self.mapping, "").path;
        let all = self.store.records(Table::Base, &prefix, None, usize::MAX).await.unwrap_or_default();
        let found = all.into_iter().map(|(key, uid)| {
            let path = key.path.strip_prefix(&prefix).unwrap_or_default().to_owned();
            (path, String::from_utf8_lossy(&uid).into_owned())
        });
        // What leads to conflicts lies beside it, and is theirs (`record::conflict`).
        let ours = |path: &str| path != BUILT && !path.starts_with("conflict-");
        let found: BTreeSet<_> = found.filter(|(path, _)| ours(path)).collect();
        let lacks = wanted.difference(&found).map(|flaw| format!("lacks {flaw:?}"));
        lacks.chain(found.difference(&wanted).map(|flaw| format!("has {flaw:?}"))).collect()
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

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use super::*;
    use crate::store::Etag;
    use crate::store::memory::Memory;
    use proptest::prelude::*;

    fn ledger() -> Ledger {
        Ledger::new(Arc::new(Memory::new()), "m")
    }

    async fn write(ledger: &Ledger, ops: Vec<Op>) {
        ledger.commit(&Origin::System, Timestamp(0), ops).await.unwrap();
    }

    async fn all(ledger: &Ledger) -> Vec<Base> {
        let (mut all, mut walk) = (Vec::new(), ledger.walk());
        while let Some(page) = walk.next().await.unwrap() {
            all.extend(page);
        }
        all
    }

    /// What somebody does with the ledger. Numbers name UIDs, names here and names there.
    #[derive(Debug, Clone)]
    enum Deed {
        Put(Given),
        PutAll(Vec<Given>),
        Delete(u8),
        /// Steps that are made and never committed.
        Lost(Given),
    }

    #[derive(Debug, Clone)]
    struct Given {
        uid: u8,
        name: u8,
        remote: u8,
        pending: bool,
        missing: bool,
        part_of: Option<u8>,
        at: i64,
    }

    impl Given {
        fn base(&self) -> Base {
            let name = Name::new(format!("{}.ics", self.name)).unwrap();
            // Two ways to write the same name.
            let remote = RemoteId(format!("/{}{}", if self.pending { "%61" } else { "a" }, self.remote));
            Base {
                pending: self.pending,
                begun: (self.at == 3).then(|| "x".to_owned()),
                missing: self.missing.then_some(Timestamp(1)),
                part: self.part_of.map(|whole| (format!("u{whole}"), "x".to_owned())),
                agreed: Timestamp(self.at),
                ..Base::new(&format!("u{}", self.uid), name, Etag(String::new()), remote)
            }
        }
    }

    fn given() -> impl Strategy<Value = Given> {
        (0..5u8, 0..4u8, 0..4u8, any::<bool>(), any::<bool>(), prop::option::weighted(0.2, 5..7u8), 0..9i64)
            .prop_map(|(uid, name, remote, pending, missing, part_of, at)| Given {
                uid,
                name,
                remote,
                pending,
                missing,
                part_of,
                at,
            })
    }

    fn deed() -> impl Strategy<Value = Deed> {
        prop_oneof![
            4 => given().prop_map(Deed::Put),
            1 => prop::collection::vec(given(), 0..5).prop_map(Deed::PutAll),
            2 => (0..6u8).prop_map(Deed::Delete),
            1 => given().prop_map(Deed::Lost),
        ]
    }

    /// What a lookup finds is what a walk through everything finds.
    async fn agrees(ledger: &Ledger) {
        assert_eq!(ledger.flaws().await, Vec::<String>::new());
        let all = all(ledger).await;
        let of =
            |counts: &dyn Fn(&Base) -> bool| all.iter().filter(|b| counts(b)).cloned().collect::<Vec<_>>();
        for n in 0..8 {
            let name = Name::new(format!("{n}.ics")).unwrap();
            let named = of(&|b| b.name == name && b.part.is_none());
            assert_eq!(ledger.by_name(&name).await.unwrap(), latest(named));
            for way in ["/a", "/%61"] {
                let id = RemoteId(format!("{way}{n}"));
                let there = of(&|b| spelling(&b.remote) == format!("/a{n}"));
                assert_eq!(ledger.by_remote(&id).await.unwrap(), latest(there));
            }
            let uid = format!("u{n}");
            let mut parts = ledger.parts_of(&uid).await.unwrap();
            parts.sort_by(|a, b| a.uid.cmp(&b.uid));
            assert_eq!(parts, of(&|b| b.part.as_ref().is_some_and(|(whole, _)| *whole == uid)));
        }
        let mut open = ledger.open_writes().await.unwrap();
        open.sort_by(|a, b| a.uid.cmp(&b.uid));
        assert_eq!(open, of(&Base::is_open));
        assert_eq!(ledger.any_missing().await.unwrap(), all.iter().any(|b| b.missing.is_some()));
    }

    proptest! {
        // The index is as old and as new as the bases, whatever happens and wherever it breaks off
        #[test]
        fn what_a_lookup_finds_is_what_is_stored(deeds in prop::collection::vec(deed(), 0..30)) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(async {
                let ledger = ledger();
                ledger.open(&Origin::System, Timestamp(0)).await.unwrap();
                for deed in deeds {
                    match deed {
                        Deed::Put(given) => write(&ledger, ledger.put(&given.base(), None).await.unwrap()).await,
                        Deed::PutAll(all) => {
                            let last: BTreeMap<u8, Base> = all.iter().map(|given| (given.uid, given.base())).collect();
                            let all = all.iter().map(|given| (given.base(), None)).collect();
                            write(&ledger, ledger.put_all(all).await.unwrap()).await;
                            for base in last.into_values() {
                                assert_eq!(ledger.by_uid(&base.uid).await.unwrap(), Some(base));
                            }
                        }
                        Deed::Delete(uid) => {
                            write(&ledger, ledger.delete(&format!("u{uid}")).await.unwrap()).await;
                        }
                        Deed::Lost(given) => drop(ledger.put(&given.base(), None).await.unwrap()),
                    }
                    agrees(&ledger).await;
                }
            });
        }
    }

    // Bases of a store that was written before there was an index
    #[tokio::test]
    async fn an_old_ledger_gets_its_index_once() {
        let ledger = ledger();
        let count = PAGE + 70;
        for n in 0..count {
            let given = Given {
                uid: 0,
                name: 0,
                remote: 0,
                pending: n % 7 == 0,
                missing: n % 11 == 0,
                part_of: (n % 13 == 0).then_some(1),
                at: 0,
            };
            let base = given.base();
            let (uid, name) = (format!("uid {n}"), Name::new(format!("{n}.ics")).unwrap());
            let base = Base { uid, name, remote: RemoteId(format!("/{n}")), ..base };
            write(&ledger, vec![record::put(base_key("m", &base.uid), &base).unwrap()]).await;
        }
        assert!(!ledger.flaws().await.is_empty());
        let mut notices = ledger.store.watch();
        ledger.open(&Origin::System, Timestamp(0)).await.unwrap();
        assert_eq!(ledger.flaws().await, Vec::<String>::new());
        let name = Name::new("8.ics").unwrap();
        assert_eq!(ledger.by_name(&name).await.unwrap().unwrap().uid, "uid 8");
        assert_eq!(ledger.by_remote(&RemoteId("/569".into())).await.unwrap().unwrap().uid, "uid 569");
        assert_eq!(ledger.count(|_| true).await.unwrap(), count);
        while notices.try_recv().is_ok() {}
        ledger.open(&Origin::System, Timestamp(0)).await.unwrap();
        assert!(notices.try_recv().is_err(), "it was made twice");
    }
}

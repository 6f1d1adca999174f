//! Looks at every row and compares what is said twice.
//!
//! Owns: which rows must agree. Reads a snapshot, so that it can run while the server does. Repairs nothing
//! (`rebuild` does).

use std::collections::{BTreeSet, HashMap, HashSet};
use std::ops::ControlFlow;

use bytes::Bytes;

use super::read;
use super::rows::{
    self, CHILD, COLLECTION, NEXT_ID, NEXT_WRITER, PURGE, Rows, Space, WRITER, WRITER_NUMBER, core_key,
    number_at, uid_key, writer_key,
};
use super::time;
use crate::store::codec::{self, Damaged, Reader};
use crate::store::verify::{Recompute, Verified};
use crate::store::{Collection, CollectionId, Etag, Fault, Meta, Name, Object, Rev, Table, What};

/// Looks at everything.
pub(super) fn verify(rows: &impl Rows, index: Option<&Recompute>) -> Result<Verified, Fault> {
    let mut walk = Walk { rows, index, report: Verified::default(), long: HashSet::new(), next_writer: 0 };
    walk.next_writer = read::counter(rows, NEXT_WRITER)?;
    walk.core()?;
    let ids = walk.ids()?;
    for id in ids {
        walk.collection(id)?;
    }
    walk.records()?;
    walk.pieces()?;
    Ok(walk.report)
}

struct Walk<'a, R> {
    rows: &'a R,
    index: Option<&'a Recompute>,
    report: Verified,
    /// Where the pieces of long values lie that some row points to.
    long: HashSet<Vec<u8>>,
    next_writer: u64,
}

impl<R: Rows> Walk<'_, R> {
    fn flaw(&mut self, words: String) {
        self.report.flaw(words);
    }

    /// Notes the pieces that a row points to.
    fn points(&mut self, space: Space, key: &[u8], row: &[u8]) -> Result<(), Fault> {
        self.long.extend(rows::keys_of_pieces(space, key, row)?);
        Ok(())
    }

    /// Collections and their names, counters, writers.
    fn core(&mut self) -> Result<(), Fault> {
        let mut all = Vec::new();
        self.rows.scan(Space::Core, &[], &[0xff], &mut |key, row| {
            all.push((key.to_vec(), row.clone()));
            Ok(true)
        })?;
        for (key, row) in all {
            match key.split_first() {
                Some((&COLLECTION, _)) => {
                    self.points(Space::Core, &key, &row)?;
                    self.record_of(CollectionId(number_at(&key, 1)?))?;
                }
                Some((&CHILD, rest)) => {
                    let parent = CollectionId(number_at(&key, 1)?);
                    let name = codec::name(rest.get(8..).ok_or(Damaged)?)?;
                    let id = CollectionId(Reader::row(&row)?.number()?);
                    let child = read::collection(self.rows, id)?;
                    if child.is_none_or(|child| child.parent != parent || child.name != name) {
                        self.flaw(format!("collection {} names a child {name} that is not there", parent.0));
                    }
                }
                Some((&WRITER, _)) => {
                    self.points(Space::Core, &key, &row)?;
                    let value = self.rows.value(Space::Core, &key)?.ok_or(Damaged)?;
                    let number = self.rows.get(Space::Core, &writer_key(&value))?;
                    let number = number.map(|row| Reader::row(&row)?.number()).transpose()?;
                    if number != Some(number_at(&key, 1)?) || number >= Some(self.next_writer) {
                        self.flaw("a writer's number is not its own".into());
                    }
                }
                Some((&(WRITER_NUMBER | PURGE), _)) => {}
                _ if key.len() == 1 => {}
                _ => self.flaw("there is a row of an unknown kind".into()),
            }
        }
        Ok(())
    }

    fn record_of(&mut self, id: CollectionId) -> Result<(), Fault> {
        self.report.collections += 1;
        let Some(collection) = read::collection(self.rows, id)? else { return Ok(()) };
        let name = &collection.name;
        if read::child(self.rows, collection.parent, name.as_str())? != Some(id) {
            self.flaw(format!("collection {} ({name}) is not a child of its parent", id.0));
        }
        if !read::live(self.rows, collection.parent)? {
            self.flaw(format!("collection {} ({name}) has no parent", id.0));
        }
        if read::counter(self.rows, NEXT_ID)? <= id.0 {
            self.flaw(format!("collection {} has an id that will be given again", id.0));
        }
        Ok(())
    }

    /// Every id that anything is kept under.
    fn ids(&mut self) -> Result<BTreeSet<CollectionId>, Fault> {
        let mut ids = BTreeSet::new();
        for space in [Space::Head, Space::Meta, Space::Body, Space::Uid, Space::Time, Space::Log] {
            let mut next = CollectionId(1);
            loop {
                let mut found = None;
                self.rows.scan(space, &rows::id_key(next), &[0xff; 16], &mut |key, _| {
                    found = Some(CollectionId(number_at(key, 0)?));
                    Ok(false)
                })?;
                let Some(id) = found else { break };
                ids.insert(id);
                next = CollectionId(id.0 + 1);
            }
        }
        for id in ids.clone() {
            let purging = self.rows.get(Space::Core, &core_key(PURGE, id.0))?.is_some();
            let live = read::live(self.rows, id)?;
            if live == purging {
                self.flaw(format!("rows of collection {} belong to nobody", id.0));
            }
            if !live {
                ids.remove(&id);
            }
        }
        Ok(ids)
    }

    /// The objects, index and log of one collection.
    fn collection(&mut self, id: CollectionId) -> Result<(), Fault> {
        let collection = read::collection(self.rows, id)?;
        let head = read::head(self.rows, id)?.head;
        let mut metas: HashMap<Name, Meta> = HashMap::new();
        let mut found = Vec::new();
        self.rows.prefixed(Space::Meta, &rows::id_key(id), &mut |key, row| {
            found.push((codec::name(key.get(8..).ok_or(Damaged)?)?, row.clone()));
            Ok(true)
        })?;
        let (mut objects, mut bytes) = (0, 0);
        for (name, row) in found {
            let key = rows::meta_key(id, name.as_str());
            self.points(Space::Meta, &key, &row)?;
            let value = self.rows.unfold(Space::Meta, &key, &row)?.ok_or(Damaged)?;
            let meta = codec::read_meta(name.clone(), &mut Reader::raw(&value))?;
            self.object(id, collection.as_ref(), &meta, head.rev)?;
            objects += 1;
            bytes += meta.size;
            metas.insert(name, meta);
        }
        self.report.objects += objects;
        self.report.bytes += bytes;
        if (head.objects, head.bytes) != (objects, bytes) {
            self.flaw(format!(
                "collection {} counts {} objects with {} bytes, there are {objects} with {bytes}",
                id.0, head.objects, head.bytes
            ));
        }
        self.index(id, &metas)?;
        self.log(id, &metas)
    }

    fn object(
        &mut self,
        id: CollectionId,
        collection: Option<&Collection>,
        meta: &Meta,
        head: Rev,
    ) -> Result<(), Fault> {
        let place = format!("{}/{}", id.0, meta.name);
        match read::bytes(self.rows, id, meta) {
            Ok(Some(bytes)) if Etag::of(&bytes) == meta.etag => {
                let object = Object { meta: meta.clone(), bytes: Bytes::from(bytes) };
                let anew =
                    collection.and_then(|collection| self.index.and_then(|index| index(collection, &object)));
                if anew.is_some_and(|anew| anew != meta.index) {
                    self.flaw(format!("the index of {place} does not follow from its bytes"));
                }
            }
            Ok(Some(_)) => self.flaw(format!("the bytes of {place} are not those of its tag")),
            Ok(None) | Err(Fault::Broken(_)) => self.flaw(format!("bytes of {place} are missing")),
            Err(fault) => return Err(fault),
        }
        if meta.rev > head {
            self.flaw(format!("{place} was written at {}, after the end of the log", meta.rev));
        }
        if let Some(uid) = &meta.index.uid {
            // The caller may let two objects have one UID; then it leads to one of them.
            let there = read::by_uid(self.rows, id, uid)?;
            let shared = match &there {
                Some(name) => {
                    read::meta(self.rows, id, name.as_str())?.is_some_and(|m| m.index.uid == meta.index.uid)
                }
                None => false,
            };
            if !shared {
                self.flaw(format!("the UID of {place} does not lead to it"));
            }
        }
        for (key, row) in time::rows(id, &meta.name, meta.index.span) {
            if self.rows.get(Space::Time, &key)?.as_deref() != Some(row.as_slice()) {
                self.flaw(format!("{place} is missing in the time index"));
            }
        }
        Ok(())
    }

    /// Index rows and bytes that lead nowhere.
    fn index(&mut self, id: CollectionId, metas: &HashMap<Name, Meta>) -> Result<(), Fault> {
        let mut stray = Vec::new();
        let own = rows::id_key(id);
        self.rows.prefixed(Space::Time, &own, &mut |key, _| {
            let name = time::member(key)?;
            let span = metas.get(&name).map(|meta| time::rows(id, &name, meta.index.span));
            if !span.is_some_and(|rows| rows.iter().any(|(expected, _)| expected == key)) {
                stray.push(format!("the time index of collection {} names {name} in a wrong place", id.0));
            }
            Ok(true)
        })?;
        let uids = metas.values().filter_map(|meta| meta.index.uid.as_deref());
        let uids: HashSet<Vec<u8>> = uids.map(|uid| uid_key(id, uid)).collect();
        self.rows.prefixed(Space::Uid, &own, &mut |key, _| {
            if !uids.contains(key) {
                stray.push(format!("a UID of collection {} leads nowhere", id.0));
            }
            Ok(true)
        })?;
        self.rows.prefixed(Space::Body, &own, &mut |key, _| {
            let name = key.len().checked_sub(5).and_then(|end| key.get(8..end)).ok_or(Damaged)?;
            let name = codec::name(name)?;
            let keys = metas
                .get(&name)
                .map(|meta| rows::piece_keys(&rows::body_prefix(id, name.as_str()), meta.size));
            if !keys.is_some_and(|keys| keys.iter().any(|expected| expected == key)) {
                stray.push(format!("there are bytes of {}/{name} that belong to no object", id.0));
            }
            Ok(true)
        })?;
        stray.into_iter().for_each(|words| self.flaw(words));
        Ok(())
    }

    /// The log against what is there.
    fn log(&mut self, id: CollectionId, metas: &HashMap<Name, Meta>) -> Result<(), Fault> {
        let head = read::head(self.rows, id)?;
        let mut newest: HashMap<Option<Name>, (Rev, What)> = HashMap::new();
        let (mut count, mut last, mut unknown) = (0, Rev(0), 0);
        let next_writer = self.next_writer;
        read::log(self.rows, id, Rev(0), Rev(u64::MAX), &mut |rev, row| {
            count += 1;
            last = rev;
            unknown += u64::from(row.origin == 0 || row.origin >= next_writer);
            newest.insert(row.name, (rev, row.what));
            Ok(ControlFlow::Continue(()))
        })?;
        self.report.changes += count;
        if unknown > 0 {
            self.flaw(format!("{unknown} log rows of collection {} have an unknown writer", id.0));
        }
        // The last row may have been trimmed only if it was that of a deletion.
        if last > head.head.rev || (last < head.head.rev && head.head.rev > head.head.horizon) {
            self.flaw(format!("the log of collection {} ends at {last}, not at {}", id.0, head.head.rev));
        }
        for (name, meta) in metas {
            match newest.get(&Some(name.clone())) {
                Some((rev, What::Put | What::Touched)) if *rev >= meta.rev => {}
                _ => {
                    self.flaw(format!("the log of collection {} does not end with {name} being there", id.0))
                }
            }
        }
        let mut children = HashSet::new();
        for child in read::children(self.rows, id)? {
            if let Some(child) = read::collection(self.rows, child)? {
                if !newest.get(&Some(child.name.clone())).is_some_and(|(_, what)| *what != What::Deleted) {
                    self.flaw(format!(
                        "the log of collection {} does not tell of its child {}",
                        id.0, child.name
                    ));
                }
                children.insert(child.name);
            }
        }
        for (name, (rev, what)) in newest {
            let Some(name) = name else { continue };
            if (what == What::Deleted) == (metas.contains_key(&name) || children.contains(&name)) {
                self.flaw(format!("the log of collection {} is wrong about {name} at {rev}", id.0));
            }
        }
        Ok(())
    }

    fn records(&mut self) -> Result<(), Fault> {
        for table in Table::ALL {
            let mut found = Vec::new();
            self.rows.prefixed(Space::Record, &[table as u8], &mut |key, row| {
                found.push((key.to_vec(), row.clone()));
                Ok(true)
            })?;
            for (key, row) in found {
                self.report.records += 1;
                self.points(Space::Record, &key, &row)?;
                let fading = row.len() == rows::FADING.len() && row.as_ref() == rows::FADING;
                if !fading && !matches!(self.rows.unfold(Space::Record, &key, &row), Ok(Some(_))) {
                    self.flaw(format!("a record in {table:?} cannot be read"));
                }
            }
        }
        Ok(())
    }

    /// Pieces of long values that no row points to.
    fn pieces(&mut self) -> Result<(), Fault> {
        // Rows of collections that are being purged still point to theirs.
        let mut purging = Vec::new();
        self.rows.prefixed(Space::Core, &[PURGE], &mut |key, _| {
            purging.push(CollectionId(number_at(key, 1)?));
            Ok(true)
        })?;
        for id in purging {
            let mut found = Vec::new();
            self.rows.prefixed(Space::Meta, &rows::id_key(id), &mut |key, row| {
                found.extend(rows::keys_of_pieces(Space::Meta, key, row)?);
                Ok(true)
            })?;
            self.long.extend(found);
        }
        let mut stray = 0;
        self.rows.prefixed(Space::Body, &rows::id_key(CollectionId(0)), &mut |key, _| {
            stray += u64::from(!self.long.contains(key));
            Ok(true)
        })?;
        if stray > 0 {
            self.flaw(format!("{stray} pieces of long values belong to nothing"));
        }
        Ok(())
    }
}

//! Work on what is there already: trimming logs, making indexes anew.
//!
//! Owns: finding what to do in a snapshot and doing it in small steps on the committer, each judged again there,
//! so that writers never wait long and nothing that changed meanwhile is harmed.

use std::collections::HashMap;
use std::ops::ControlFlow;

use bytes::Bytes;

use super::batch::Batch;
use super::read;
use super::rows::{self, FADING, Rows, Space, log_key, meta_key, uid_key};
use super::snapshot::Snapshot;
use super::time;
use crate::store::codec::{self, Reader, Writer};
use crate::store::{CollectionId, Fault, Index, Meta, Name, Object, Recompute, Rev, Timestamp, What};

/// Rows that one step changes.
const STEP: usize = 500;

/// Carries a step out on the committer.
pub(super) type Do<'a> =
    dyn FnMut(Box<dyn FnOnce(&mut Batch<'_>) -> Result<(), Fault> + Send>) -> Result<(), Fault> + 'a;

/// Every collection that has a log, the roots too.
fn ids(rows: &impl Rows) -> Result<Vec<CollectionId>, Fault> {
    let mut ids = Vec::new();
    rows.scan(Space::Head, &[], &[0xff; 9], &mut |key, _| {
        ids.push(CollectionId(rows::number_at(key, 0)?));
        Ok(true)
    })?;
    Ok(ids)
}

/// Trims every log; see `Store::trim`.
pub(super) fn trim(rows: &Snapshot, older_than: Timestamp, write: &mut Do<'_>) -> Result<u64, Fault> {
    let mut dropped = 0;
    for id in ids(rows)? {
        let head = read::head(rows, id)?.head.rev;
        let mut newest: HashMap<Option<Name>, Rev> = HashMap::new();
        let mut old = Vec::new();
        read::log(rows, id, Rev(0), head, &mut |rev, row| {
            newest.insert(row.name.clone(), rev);
            if row.at < older_than {
                old.push((rev, row.name, row.what));
            }
            Ok(ControlFlow::Continue(()))
        })?;
        let mut drop = Vec::new();
        for (rev, name, what) in old {
            match newest.get(&name) == Some(&rev) {
                false => drop.push((rev, None)),
                true if what == What::Deleted => drop.push((rev, Some(rev))),
                true => {}
            }
        }
        dropped += drop.len() as u64;
        remove_faded(rows, id, write)?;
        for step in drop.chunks(STEP).map(<[_]>::to_vec) {
            let faded: Vec<_> = step.iter().map(|(rev, _)| log_key(id, *rev)).collect();
            // A row that was superfluous then is so for ever.
            write(Box::new(move |batch| {
                let horizon = step.iter().filter_map(|(_, gone)| *gone).max();
                for (rev, _) in &step {
                    batch.put(Space::Log, log_key(id, *rev), FADING.to_vec());
                }
                let mut row = read::head(batch, id)?;
                if let Some(horizon) = horizon.filter(|_| row != Default::default()) {
                    row.head.horizon = row.head.horizon.max(horizon);
                    batch.put(Space::Head, rows::id_key(id).to_vec(), row.encode());
                }
                Ok(())
            }))?;
            write(Box::new(move |batch| {
                faded.into_iter().for_each(|key| batch.remove(Space::Log, key));
                Ok(())
            }))?;
        }
    }
    Ok(dropped)
}

/// Removes what a trim left half done when the process ended.
fn remove_faded(rows: &Snapshot, id: CollectionId, write: &mut Do<'_>) -> Result<(), Fault> {
    let mut faded = Vec::new();
    rows.prefixed(Space::Log, &rows::id_key(id), &mut |key, row| {
        if row.len() == FADING.len() {
            faded.push(key.to_vec());
        }
        Ok(true)
    })?;
    match faded.is_empty() {
        true => Ok(()),
        false => write(Box::new(move |batch| {
            faded.into_iter().for_each(|key| batch.remove(Space::Log, key));
            Ok(())
        })),
    }
}

/// Makes indexes anew; see `Store::rebuild`.
pub(super) fn rebuild(rows: &Snapshot, index: &Recompute, write: &mut Do<'_>) -> Result<u64, Fault> {
    let mut wrong = 0;
    for id in ids(rows)? {
        let collection = read::collection(rows, id)?;
        let mut after: Option<Name> = None;
        loop {
            let page = read::list(rows, id, after.as_ref().map(Name::as_str), STEP)?;
            let Some(last) = page.last() else { break };
            after = Some(last.name.clone());
            let mut anew = Vec::new();
            for meta in page {
                let Some(bytes) = read::bytes(rows, id, &meta)? else { continue };
                let object = Object { bytes: Bytes::from(bytes), meta };
                let found = collection.as_ref().and_then(|collection| index(collection, &object));
                let found = found.unwrap_or_else(|| object.meta.index.clone());
                wrong += u64::from(found != object.meta.index);
                anew.push((object.meta, found));
            }
            write(Box::new(move |batch| {
                anew.into_iter().try_for_each(|(meta, index)| lay_index(batch, id, meta, index))
            }))?;
        }
        write(Box::new(move |batch| remove_stray(batch, id)))?;
        write(Box::new(move |batch| count(batch, id)))?;
    }
    Ok(wrong)
}

/// Writes an object's index rows, unless the object was written again since.
fn lay_index(batch: &mut Batch<'_>, id: CollectionId, old: Meta, index: Index) -> Result<(), Fault> {
    if read::meta(batch, id, old.name.as_str())?.is_none_or(|now| now != old) {
        return Ok(());
    }
    for (key, _) in time::rows(id, &old.name, old.index.span) {
        batch.remove(Space::Time, key);
    }
    if let Some(uid) = &old.index.uid
        && read::by_uid(batch, id, uid)?.as_ref() == Some(&old.name)
    {
        batch.remove(Space::Uid, uid_key(id, uid));
    }
    for (key, row) in time::rows(id, &old.name, index.span) {
        batch.put(Space::Time, key, row);
    }
    if let Some(uid) = &index.uid {
        batch.put(Space::Uid, uid_key(id, uid), read::write_uid(uid, &old.name));
    }
    if index != old.index {
        let meta = Meta { index, ..old };
        let mut row = Writer::default();
        codec::write_meta(&meta, &mut row);
        batch.put_value(Space::Meta, meta_key(id, meta.name.as_str()), &row.0)?;
    }
    Ok(())
}

/// Removes index rows that no object stands behind.
fn remove_stray(batch: &mut Batch<'_>, id: CollectionId) -> Result<(), Fault> {
    let mut stray = Vec::new();
    batch.prefixed(Space::Time, &rows::id_key(id), &mut |key, row| {
        let name = time::member(key)?;
        let meta = read::meta(batch, id, name.as_str())?;
        let rows = meta.map(|meta| time::rows(id, &name, meta.index.span)).unwrap_or_default();
        if !rows.iter().any(|(expected, value)| expected == key && value.as_slice() == row.as_ref()) {
            stray.push((Space::Time, key.to_vec()));
        }
        Ok(true)
    })?;
    let mut uids = std::collections::HashSet::new();
    batch.prefixed(Space::Meta, &rows::id_key(id), &mut |key, row| {
        let name = codec::name(key.get(8..).unwrap_or_default())?;
        if let Some(value) = batch.unfold(Space::Meta, key, row)?
            && let Some(uid) = codec::read_meta(name, &mut Reader::raw(&value))?.index.uid
        {
            uids.insert(uid_key(id, &uid));
        }
        Ok(true)
    })?;
    batch.prefixed(Space::Uid, &rows::id_key(id), &mut |key, _| {
        if !uids.contains(key) {
            stray.push((Space::Uid, key.to_vec()));
        }
        Ok(true)
    })?;
    for (space, key) in stray {
        batch.remove(space, key);
    }
    Ok(())
}

/// Counts a collection's objects anew.
fn count(batch: &mut Batch<'_>, id: CollectionId) -> Result<(), Fault> {
    let mut head = read::head(batch, id)?;
    if head == Default::default() {
        return Ok(());
    }
    let (mut objects, mut bytes) = (0, 0);
    for meta in read::list(batch, id, None, usize::MAX)? {
        objects += 1;
        bytes += meta.size;
    }
    if (head.head.objects, head.head.bytes) != (objects, bytes) {
        (head.head.objects, head.head.bytes) = (objects, bytes);
        batch.put(Space::Head, rows::id_key(id).to_vec(), head.encode());
    }
    Ok(())
}

//! A store out as items, and items in as a store.
//!
//! Owns: the order of items, and a restore that happens wholly or not at all: beside its place, then renamed.

use std::collections::HashMap;
use std::fs;
use std::io::{Read, Seek, SeekFrom, Write};
use std::ops::ControlFlow;
use std::path::Path;

use super::batch::Batch;
use super::open::{self, Options};
use super::read::{self, HeadRow};
use super::rows::{
    self, COLLECTION, NEXT_ID, NEXT_WRITER, PURGE, Rows, Space, Trees, WRITER, child_key, core_key, fault,
    log_key, record_key, writer_key,
};
use super::{stage, verify};
use crate::store::codec::{self, LogRow, Writer};
use crate::store::dump::{Dump, DumpError, Item, Items, Summary, check};
use crate::store::{Change, CollectionId, Fault, Head, Name, Object, Origin, Rev, Table, What};

/// Objects and records that are read at a time.
const PAGE: usize = 64;
/// Rows of a restore that are written at a time.
const STEP: usize = 2000;

/// Writes everything out.
pub(super) fn dump(rows: &impl Rows, out: impl Write) -> Result<Summary, DumpError> {
    let mut dump = Dump::new(out)?;
    dump.add(&Item::Next(CollectionId(read::counter(rows, NEXT_ID)?)))?;
    let mut above = vec![CollectionId::TRASH, CollectionId::FILES, CollectionId::HOMES];
    while let Some(id) = above.pop() {
        if let Some(collection) = read::collection(rows, id)? {
            dump.add(&Item::Collection(collection))?;
        }
        contents(rows, id, &mut dump)?;
        above.extend(read::children(rows, id)?.into_iter().rev());
    }
    for table in Table::ALL {
        let mut after: Option<String> = None;
        loop {
            let page = read::records(rows, table, "", after.as_deref(), PAGE)?;
            let Some((last, _)) = page.last() else { break };
            after = Some(last.path.clone());
            for (key, bytes) in page {
                dump.add(&Item::Record(key, bytes))?;
            }
        }
    }
    Ok(dump.finish()?.0)
}

/// Writes the log, the objects and the head of one collection out.
fn contents<W: Write>(rows: &impl Rows, id: CollectionId, dump: &mut Dump<W>) -> Result<(), DumpError> {
    let head = read::head(rows, id)?.head;
    let mut writers: HashMap<u64, Origin> = HashMap::new();
    let mut failed = None;
    read::log(rows, id, Rev(0), head.rev, &mut |rev, row| {
        let origin = match writers.get(&row.origin) {
            Some(origin) => origin.clone(),
            None => {
                let origin = read::writer(rows, row.origin)?;
                writers.insert(row.origin, origin.clone());
                origin
            }
        };
        failed = dump.add(&Item::Change(id, row.change(rev, origin))).err();
        Ok(if failed.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    })?;
    failed.map_or(Ok(()), Err)?;
    let mut after: Option<Name> = None;
    loop {
        let page = read::list(rows, id, after.as_ref().map(Name::as_str), PAGE)?;
        let Some(last) = page.last() else { break };
        after = Some(last.name.clone());
        for meta in page {
            let bytes =
                read::bytes(rows, id, &meta)?.ok_or(DumpError::Broken("bytes of an object are missing"))?;
            dump.add(&Item::Object(id, Object { meta, bytes: bytes.into() }))?;
        }
    }
    dump.add(&Item::Head(id, head))
}

/// Makes a store at the path from a dump. The whole dump is checked before anything is touched, and the result
/// before it takes its place.
pub(super) fn restore<R: Read + Seek>(
    path: &Path,
    options: &Options,
    mut from: R,
) -> Result<Summary, DumpError> {
    from.seek(SeekFrom::Start(0))?;
    let summary = check(&mut from)?;
    vacate(path, options)?;
    let beside = open::beside(path, "restoring");
    if beside.exists() {
        fs::remove_dir_all(&beside)?;
    }
    fs::create_dir_all(open::parent(path))?;
    let trees = open::open(&beside, options)?;
    from.seek(SeekFrom::Start(0))?;
    fill(&trees, Items::new(from)?)?;
    let report = verify::verify(&*trees, None)?;
    if let Some(flaw) = report.flaws.first() {
        return Err(Fault::Broken(format!("what the dump holds does not fit together: {flaw}")).into());
    }
    trees.db.flush().map_err(fault)?;
    drop(trees);
    open::take_place(&beside, path)?;
    Ok(summary)
}

/// Refuses a place where anything is kept; a store without anything in it gives way.
fn vacate(path: &Path, options: &Options) -> Result<(), DumpError> {
    if open::is_absent(path)? {
        return Ok(());
    }
    let not_empty = || DumpError::NotEmpty(path.display().to_string());
    if !path.join("db").is_file() {
        return Err(not_empty());
    }
    let trees = open::existing(path, options)?;
    let mut kept = false;
    for (space, prefix) in
        [(Space::Core, vec![COLLECTION]), (Space::Core, vec![PURGE]), (Space::Record, vec![])]
    {
        trees.prefixed(space, &prefix, &mut |_, _| {
            kept = true;
            Ok(false)
        })?;
    }
    drop(trees);
    match kept {
        true => Err(not_empty()),
        false => Ok(fs::remove_dir_all(path)?),
    }
}

/// What has to be remembered while items come in.
#[derive(Default)]
struct Seen {
    writers: HashMap<Origin, u64>,
    /// The newest `Touched` rows, by log and member.
    touched: HashMap<(CollectionId, Option<Name>), Rev>,
    places: HashMap<CollectionId, (CollectionId, Name)>,
}

fn fill<R: Read>(trees: &Trees, mut items: Items<R>) -> Result<(), DumpError> {
    let mut seen = Seen::default();
    let mut batch = Batch::over(trees);
    while let Some(item) = items.next()? {
        lay(&mut batch, &mut seen, item)?;
        batch.keep();
        if batch.rows().take(STEP).count() == STEP {
            batch.apply()?;
            batch = Batch::over(trees);
        }
    }
    Ok(batch.apply()?)
}

fn lay(batch: &mut Batch<'_>, seen: &mut Seen, item: Item) -> Result<(), Fault> {
    match item {
        Item::Next(id) => batch.set_counter(NEXT_ID, id.0),
        Item::Collection(collection) => {
            let mut row = Writer::default();
            codec::write_collection(&collection, &mut row);
            batch.put_value(Space::Core, core_key(COLLECTION, collection.id.0), &row.0)?;
            let mut child = Writer::row();
            child.number(collection.id.0);
            batch.put(Space::Core, child_key(collection.parent, collection.name.as_str()), child.0);
            seen.places.insert(collection.id, (collection.parent, collection.name));
        }
        Item::Change(id, change) => lay_change(batch, seen, id, change)?,
        Item::Object(id, object) => stage::lay_object(batch, id, &object.meta, &object.bytes)?,
        Item::Head(id, head) => lay_head(batch, seen, id, head),
        Item::Record(key, bytes) => batch.put_value(Space::Record, record_key(&key), &bytes)?,
    }
    Ok(())
}

fn lay_change(batch: &mut Batch<'_>, seen: &mut Seen, id: CollectionId, change: Change) -> Result<(), Fault> {
    let Change { rev, name, what, origin, at } = change;
    let number = match seen.writers.get(&origin) {
        Some(number) => *number,
        None => {
            let mut bytes = Writer::default();
            codec::write_origin(&origin, &mut bytes);
            let number = batch.next(NEXT_WRITER)?;
            batch.put_value(Space::Core, core_key(WRITER, number), &bytes.0)?;
            let mut row = Writer::row();
            row.number(number);
            batch.put(Space::Core, writer_key(&bytes.0), row.0);
            seen.writers.insert(origin, number);
            number
        }
    };
    match what {
        What::Touched => seen.touched.insert((id, name.clone()), rev),
        What::Put | What::Deleted => seen.touched.remove(&(id, name.clone())),
    };
    let mut row = Writer::row();
    codec::write_log(&LogRow { name, what, origin: number, at }, &mut row);
    batch.put(Space::Log, log_key(id, rev), row.0);
    Ok(())
}

fn lay_head(batch: &mut Batch<'_>, seen: &Seen, id: CollectionId, head: Head) {
    let above = seen.places.get(&id).cloned().map(|(parent, name)| (parent, Some(name)));
    let newest = |place: &(CollectionId, Option<Name>)| seen.touched.get(place).copied().unwrap_or_default();
    let touched_above = above.as_ref().map(newest).unwrap_or_default();
    let row = HeadRow { head, touched: newest(&(id, None)), touched_above };
    if row != HeadRow::default() || above.is_some() {
        batch.put(Space::Head, rows::id_key(id).to_vec(), row.encode());
    }
}

//! Rows as nouns.
//!
//! Owns: reading one thing from rows, wherever they come from. Does not own: caches, threads.

use std::ops::ControlFlow;

use bytes::Bytes;

use super::rows::{
    self, COLLECTION, FADING, Rows, Space, WRITER, child_key, core_key, id_key, log_key, meta_key, number_at,
    record_key, uid_key,
};
use crate::store::codec::{self, Damaged, LogRow, Reader, Writer};
use crate::store::{
    Collection, CollectionId, Fault, Figures, Head, Key, Meta, Name, Object, Origin, Rev, Table,
};

/// Where a log stands, with the newest `Touched` rows that speak of the collection as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct HeadRow {
    pub(super) head: Head,
    /// In its own log; 0: none.
    pub(super) touched: Rev,
    /// In its parent's log; 0: none since it is there.
    pub(super) touched_above: Rev,
}

impl HeadRow {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut row = Writer::row();
        codec::write_head(&self.head, &mut row);
        row.number(self.touched.0).number(self.touched_above.0);
        row.0
    }

    pub(super) fn decode(row: &[u8]) -> Result<HeadRow, Damaged> {
        let mut row = Reader::row(row)?;
        Ok(HeadRow {
            head: codec::read_head(&mut row)?,
            touched: Rev(row.number()?),
            touched_above: Rev(row.number()?),
        })
    }
}

/// Tells whether the collection is there. The roots always are.
pub(super) fn live(rows: &impl Rows, id: CollectionId) -> Result<bool, Fault> {
    if is_root(id) {
        return Ok(true);
    }
    Ok(rows.get(Space::Core, &core_key(COLLECTION, id.0))?.is_some())
}

/// Tells whether the collection is there and not in the trash, so that it can be written.
pub(super) fn open(rows: &impl Rows, id: CollectionId) -> Result<bool, Fault> {
    if is_root(id) {
        return Ok(true);
    }
    match rows.value(Space::Core, &core_key(COLLECTION, id.0))? {
        Some(value) => {
            Ok(codec::read_collection(id, &mut Reader::raw(&value))?.parent != CollectionId::TRASH)
        }
        None => Ok(false),
    }
}

fn is_root(id: CollectionId) -> bool {
    matches!(id, CollectionId::HOMES | CollectionId::FILES | CollectionId::TRASH)
}

/// Reads a collection.
pub(super) fn collection(rows: &impl Rows, id: CollectionId) -> Result<Option<Collection>, Fault> {
    let Some(value) = rows.value(Space::Core, &core_key(COLLECTION, id.0))? else { return Ok(None) };
    Ok(Some(codec::read_collection(id, &mut Reader::raw(&value))?))
}

/// Reads the id of a child.
pub(super) fn child(
    rows: &impl Rows,
    parent: CollectionId,
    name: &str,
) -> Result<Option<CollectionId>, Fault> {
    let Some(row) = rows.get(Space::Core, &child_key(parent, name))? else { return Ok(None) };
    Ok(Some(CollectionId(Reader::row(&row)?.number()?)))
}

/// Reads the ids of all children, by name.
pub(super) fn children(rows: &impl Rows, parent: CollectionId) -> Result<Vec<CollectionId>, Fault> {
    let mut ids = Vec::new();
    rows.prefixed(Space::Core, &child_key(parent, ""), &mut |_, row| {
        ids.push(CollectionId(Reader::row(row)?.number()?));
        Ok(true)
    })?;
    Ok(ids)
}

/// Reads where a log stands; a missing one is at the default.
pub(super) fn head(rows: &impl Rows, id: CollectionId) -> Result<HeadRow, Fault> {
    match rows.get(Space::Head, &id_key(id))? {
        Some(row) => Ok(HeadRow::decode(&row)?),
        None => Ok(HeadRow::default()),
    }
}

/// Counts what is kept; commits and the disk are not rows.
pub(super) fn figures(rows: &impl Rows) -> Result<Figures, Fault> {
    let mut figures = Figures::default();
    rows.prefixed(Space::Core, &[COLLECTION], &mut |_, row| {
        figures.collections += u64::from(row.as_ref() != FADING);
        Ok(true)
    })?;
    rows.scan(Space::Head, &[], &[0xff; 9], &mut |_, row| {
        if row.as_ref() != FADING {
            let head = HeadRow::decode(row)?.head;
            figures.objects += head.objects;
            figures.bytes += head.bytes;
        }
        Ok(true)
    })?;
    Ok(figures)
}

/// Reads a counter; 0 if it never counted.
pub(super) fn counter(rows: &impl Rows, key: &[u8]) -> Result<u64, Fault> {
    match rows.get(Space::Core, key)? {
        Some(row) => Ok(Reader::row(&row)?.number()?),
        None => Ok(0),
    }
}

/// Reads an object without its bytes. Does not ask whether the collection is there.
pub(super) fn meta(rows: &impl Rows, id: CollectionId, name: &str) -> Result<Option<Meta>, Fault> {
    let Some(name) = Name::new(name) else { return Ok(None) };
    let Some(value) = rows.value(Space::Meta, &meta_key(id, name.as_str()))? else { return Ok(None) };
    Ok(Some(codec::read_meta(name, &mut Reader::raw(&value))?))
}

/// Reads an object.
pub(super) fn object(rows: &impl Rows, id: CollectionId, name: &str) -> Result<Option<Object>, Fault> {
    // Pieces say at which position they were written: other bytes than the tag's are never read. If theirs is
    // another one, the object was replaced meanwhile.
    for _ in 0..1000 {
        let Some(meta) = meta(rows, id, name)? else { return Ok(None) };
        if let Some(bytes) = bytes(rows, id, &meta)? {
            return Ok(Some(Object { meta, bytes: Bytes::from(bytes) }));
        }
    }
    Err(Damaged.into())
}

/// Reads the bytes of an object; nothing if they are no longer those of this row.
pub(super) fn bytes(rows: &impl Rows, id: CollectionId, meta: &Meta) -> Result<Option<Vec<u8>>, Fault> {
    rows.pieces(&rows::body_prefix(id, meta.name.as_str()), meta.rev.0, meta.size)
}

/// Reads objects after a name, without bytes.
pub(super) fn list(
    rows: &impl Rows,
    id: CollectionId,
    after: Option<&str>,
    limit: usize,
) -> Result<Vec<Meta>, Fault> {
    let mut items = Vec::new();
    if limit == 0 {
        return Ok(items);
    }
    let mut start = meta_key(id, after.unwrap_or(""));
    if after.is_some() {
        start.push(0);
    }
    let end = rows::after_prefix(&id_key(id));
    rows.scan(Space::Meta, &start, &end, &mut |key, row| {
        let name = codec::name(key.get(8..).ok_or(Damaged)?)?;
        match rows.unfold(Space::Meta, key, row)? {
            Some(value) => items.push(codec::read_meta(name, &mut Reader::raw(&value))?),
            // A long row that was replaced meanwhile: read it anew, by name.
            None => items.extend(meta(rows, id, name.as_str())?),
        }
        Ok(items.len() < limit)
    })?;
    Ok(items)
}

/// Makes the row that leads from a UID to a name.
pub(super) fn write_uid(uid: &str, name: &Name) -> Vec<u8> {
    let mut row = Writer::row();
    // Most clients name the resource after the UID: then the name follows from the question.
    if name.as_str().strip_suffix(".ics") != Some(uid) {
        row.rest(name.as_str().as_bytes());
    }
    row.0
}

/// Reads the name of the object with this UID.
pub(super) fn by_uid(rows: &impl Rows, id: CollectionId, uid: &str) -> Result<Option<Name>, Fault> {
    let Some(row) = rows.get(Space::Uid, &uid_key(id, uid))? else { return Ok(None) };
    let name = match Reader::row(&row)?.rest() {
        [] => Name::new(format!("{uid}.ics")).ok_or(Damaged)?,
        name => codec::name(name)?,
    };
    Ok(Some(name))
}

/// Visits log rows from the first position after `since` up to `head`.
pub(super) fn log(
    rows: &impl Rows,
    id: CollectionId,
    since: Rev,
    head: Rev,
    visit: &mut dyn FnMut(Rev, LogRow) -> Result<ControlFlow<()>, Fault>,
) -> Result<(), Fault> {
    let start = log_key(id, Rev(since.0.saturating_add(1)));
    let end = log_key(id, Rev(head.0.saturating_add(1)));
    rows.scan(Space::Log, &start, &end, &mut |key, row| {
        if row.len() == FADING.len() {
            return Ok(true);
        }
        let rev = Rev(number_at(key, 8)?);
        Ok(visit(rev, codec::read_log(&mut Reader::row(row)?)?)?.is_continue())
    })
}

/// Reads who a writer's number stands for.
pub(super) fn writer(rows: &impl Rows, number: u64) -> Result<Origin, Fault> {
    let value = rows.value(Space::Core, &core_key(WRITER, number))?.ok_or(Damaged)?;
    Ok(codec::read_origin(&mut Reader::raw(&value))?)
}

/// Reads records of a table in order.
pub(super) fn records(
    rows: &impl Rows,
    table: Table,
    prefix: &str,
    after: Option<&str>,
    limit: usize,
) -> Result<Vec<(Key, Bytes)>, Fault> {
    let mut items = Vec::new();
    if limit == 0 {
        return Ok(items);
    }
    let first = record_key(&Key::new(table, prefix));
    let end = rows::after_prefix(&first);
    let start = match after {
        Some(after) => {
            let mut key = record_key(&Key::new(table, after));
            key.push(0);
            key.max(first)
        }
        None => first,
    };
    rows.scan(Space::Record, &start, &end, &mut |key, row| {
        let path = key.get(1..).and_then(|path| std::str::from_utf8(path).ok()).ok_or(Damaged)?;
        let value = match rows.unfold(Space::Record, key, row)? {
            Some(value) => Some(value),
            None => rows.value(Space::Record, key)?,
        };
        items.extend(value.map(|value| (Key::new(table, path), Bytes::from(value))));
        Ok(items.len() < limit)
    })?;
    Ok(items)
}

/// The record that keeps the client-set properties of an object.
pub(super) fn properties_key(id: CollectionId, name: &Name) -> Key {
    Key::new(Table::ObjectProperties, format!("{}/{}", id.0, name))
}

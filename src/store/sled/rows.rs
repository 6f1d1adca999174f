//! Spaces, keys and the ways to read rows.
//!
//! Owns: which tree holds what, how keys are built, long values in pieces.
//! Does not own: what the rows mean together (`read`, `stage`).
//!
//! | space | key | row |
//! |---|---|---|
//! | core | `F` `I` `S` `W` | format version; next collection id, blob serial, writer number |
//! | core | `C` id · `N` parent name · `P` id | collection · id of the child · collection to purge |
//! | core | `O` number · `D` digest | writer (origin) · its number |
//! | head | id | where the log stands; newest `Touched` rows of the collection |
//! | meta | id name | object without bytes |
//! | body | id name 0 part | bytes of the object, in pieces |
//! | body | 0 space digest(key) 0 part | a long value of another space, in pieces |
//! | uid | id digest(uid) | name |
//! | time | id level bucket name | span |
//! | log | id rev | change |
//! | record | table path | record |

use std::sync::Arc;

use ::sled::{Db, IVec, Tree};
use sha2::Digest;

use crate::store::codec::{Damaged, FORMAT, Reader, Writer};
use crate::store::{CollectionId, Fault, Key, Rev};

/// The longest piece of a value. A page of sixteen stays below the size at which sled moves it to files of its
/// own, which it never syncs.
pub(super) const PIECE: usize = 4000;

/// The longest path of a record: keys lie whole in their page.
pub(super) const LONGEST_PATH: usize = 2000;

/// The row of something that is going to be removed: written over the real one first, because sled gives the space
/// of a removed row back only after ten changes of its page.
pub(super) const FADING: [u8; 1] = [0];

/// The format byte of a row that only says where the pieces of its value are.
const IN_PIECES: u8 = 0x80 | FORMAT;

/// The trees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Space {
    Core,
    Head,
    Meta,
    Body,
    Uid,
    Time,
    Log,
    Record,
}

impl Space {
    fn tree(self) -> &'static str {
        match self {
            Space::Core => "core",
            Space::Head => "head",
            Space::Meta => "meta",
            Space::Body => "body",
            Space::Uid => "uid",
            Space::Time => "time",
            Space::Log => "log",
            Space::Record => "record",
        }
    }
}

/// Turns an error of sled into a fault.
pub(super) fn fault(error: ::sled::Error) -> Fault {
    match &error {
        ::sled::Error::Io(io) if is_full(io) => Fault::Full,
        _ => Fault::Broken(error.to_string()),
    }
}

/// Tells whether there was no room: the disk is full or the quota is used up.
pub(super) fn is_full(error: &std::io::Error) -> bool {
    use std::io::ErrorKind;
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}

/// Called for each row of a scan with its key; `false` ends the scan.
pub(super) type Visit<'a> = &'a mut dyn FnMut(&[u8], &IVec) -> Result<bool, Fault>;

/// Something that rows can be read from: the database, a group of writes over it, a snapshot.
pub(super) trait Rows {
    /// Reads one row.
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<IVec>, Fault>;

    /// Visits the rows from `start` up to but without `end`, in order, until the visitor says `false`.
    fn scan(&self, space: Space, start: &[u8], end: &[u8], visit: Visit<'_>) -> Result<(), Fault>;

    /// Visits the rows whose key begins with `prefix`.
    fn prefixed(&self, space: Space, prefix: &[u8], visit: Visit<'_>) -> Result<(), Fault> {
        self.scan(space, prefix, &after_prefix(prefix), visit)
    }

    /// Reads a value that may lie in pieces; the reader stands behind the format byte.
    fn value(&self, space: Space, key: &[u8]) -> Result<Option<Vec<u8>>, Fault> {
        // Between the two reads the value can be replaced and its pieces removed: then read again.
        for _ in 0..1000 {
            let Some(row) = self.get(space, key)? else { return Ok(None) };
            if let Some(value) = self.unfold(space, key, &row)? {
                return Ok(Some(value));
            }
        }
        Err(Damaged.into())
    }

    /// Returns the value of a row, or nothing if its pieces are gone.
    fn unfold(&self, space: Space, key: &[u8], row: &IVec) -> Result<Option<Vec<u8>>, Fault> {
        match row.split_first() {
            Some((&FORMAT, rest)) => Ok(Some(rest.to_vec())),
            Some((&IN_PIECES, rest)) => {
                let mut reader = Reader::raw(rest);
                let (serial, length) = (reader.number()?, reader.number()?);
                self.pieces(&long_prefix(space, key), serial, length)
            }
            _ => Err(Damaged.into()),
        }
    }

    /// Reads the bytes that were stored in pieces under a version; nothing if another version is there.
    fn pieces(&self, prefix: &[u8], version: u64, length: u64) -> Result<Option<Vec<u8>>, Fault> {
        let length = usize::try_from(length).map_err(|_| Damaged)?;
        let mut bytes = Vec::new();
        for part in 0..length.div_ceil(PIECE) {
            let Some(row) = self.get(Space::Body, &piece_key(prefix, part))? else { return Ok(None) };
            let mut row = Reader::row(&row)?;
            if row.number()? != version {
                return Ok(None);
            }
            if bytes.is_empty() {
                bytes.reserve_exact(length);
            }
            bytes.extend_from_slice(row.rest());
        }
        if bytes.len() != length {
            return Err(Damaged.into());
        }
        Ok(Some(bytes))
    }
}

/// Makes the rows of a value: one, or one that points to pieces.
pub(super) fn fold(
    space: Space,
    key: &[u8],
    value: &[u8],
    serial: impl FnOnce() -> Result<u64, Fault>,
) -> Result<Folded, Fault> {
    if value.len() <= PIECE {
        let mut row = Writer::row();
        row.rest(value);
        return Ok(Folded { row: row.0, pieces: Vec::new() });
    }
    let serial = serial()?;
    let mut row = Writer(vec![IN_PIECES]);
    row.number(serial).number(value.len() as u64);
    Ok(Folded { row: row.0, pieces: in_pieces(&long_prefix(space, key), serial, value) })
}

/// A value ready to be stored.
pub(super) struct Folded {
    pub(super) row: Vec<u8>,
    pub(super) pieces: Vec<(Vec<u8>, Vec<u8>)>,
}

/// Returns the rows of bytes in pieces. Each says of which version it is, so that two are never mixed. A new version
/// takes the place of the old one: sled gives the space of rows back that are overwritten, but not of rows that are
/// only removed while their page still holds others.
pub(super) fn in_pieces(prefix: &[u8], version: u64, bytes: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let rows = bytes.chunks(PIECE).enumerate().map(|(part, piece)| {
        let mut row = Writer::row();
        row.number(version).rest(piece);
        (piece_key(prefix, part), row.0)
    });
    rows.collect()
}

/// Returns the keys of the pieces that a row points to.
pub(super) fn keys_of_pieces(space: Space, key: &[u8], row: &[u8]) -> Result<Vec<Vec<u8>>, Damaged> {
    let Some((&IN_PIECES, rest)) = row.split_first() else { return Ok(Vec::new()) };
    let mut reader = Reader::raw(rest);
    let (_, length) = (reader.number()?, reader.number()?);
    Ok(piece_keys(&long_prefix(space, key), length))
}

/// Returns the keys of the pieces of `length` bytes.
pub(super) fn piece_keys(prefix: &[u8], length: u64) -> Vec<Vec<u8>> {
    let parts = usize::try_from(length).unwrap_or(usize::MAX).div_ceil(PIECE);
    (0..parts).map(|part| piece_key(prefix, part)).collect()
}

/// Returns the first key behind all that begin with the prefix.
pub(super) fn after_prefix(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return end;
        }
    }
    // No key is as long: paths and names are bounded.
    vec![u8::MAX; LONGEST_PATH + 64]
}

/// The format version.
pub(super) const FORMAT_KEY: &[u8] = b"F";
/// The next collection id.
pub(super) const NEXT_ID: &[u8] = b"I";
/// The next serial of a long value.
pub(super) const NEXT_SERIAL: &[u8] = b"S";
/// The next number of a writer.
pub(super) const NEXT_WRITER: &[u8] = b"W";
/// Written to find out whether sled still writes; means nothing.
pub(super) const PULSE: &[u8] = b"T";
/// Prefix of collections.
pub(super) const COLLECTION: u8 = b'C';
/// Prefix of children by name.
pub(super) const CHILD: u8 = b'N';
/// Prefix of collections to purge.
pub(super) const PURGE: u8 = b'P';
/// Prefix of writers.
pub(super) const WRITER: u8 = b'O';
/// Prefix of writers by digest.
pub(super) const WRITER_NUMBER: u8 = b'D';

fn joined(parts: &[&[u8]]) -> Vec<u8> {
    let mut key = Vec::with_capacity(parts.iter().map(|part| part.len()).sum());
    parts.iter().for_each(|part| key.extend_from_slice(part));
    key
}

/// `C` id, `P` id, `O` number.
pub(super) fn core_key(kind: u8, number: u64) -> Vec<u8> {
    joined(&[&[kind], &number.to_be_bytes()])
}

/// `N` parent name.
pub(super) fn child_key(parent: CollectionId, name: &str) -> Vec<u8> {
    joined(&[&[CHILD], &parent.0.to_be_bytes(), name.as_bytes()])
}

/// `D` digest of a writer.
pub(super) fn writer_key(origin: &[u8]) -> Vec<u8> {
    joined(&[&[WRITER_NUMBER], short_digest(origin).as_slice()])
}

/// A collection's key in `head`; the prefix of all that belongs to it elsewhere.
pub(super) fn id_key(id: CollectionId) -> [u8; 8] {
    id.0.to_be_bytes()
}

/// An object's key in `meta`.
pub(super) fn meta_key(id: CollectionId, name: &str) -> Vec<u8> {
    joined(&[&id.0.to_be_bytes(), name.as_bytes()])
}

/// What the keys of an object's pieces begin with. No name holds a zero.
pub(super) fn body_prefix(id: CollectionId, name: &str) -> Vec<u8> {
    joined(&[&id.0.to_be_bytes(), name.as_bytes(), &[0]])
}

/// What the keys of the pieces of a long value begin with. No collection has the id 0.
pub(super) fn long_prefix(space: Space, key: &[u8]) -> Vec<u8> {
    joined(&[&[0; 8], &[space as u8], short_digest(key).as_slice(), &[0]])
}

/// The key of one piece in `body`.
pub(super) fn piece_key(prefix: &[u8], part: usize) -> Vec<u8> {
    joined(&[prefix, &(part as u32).to_be_bytes()])
}

/// A UID's key in `uid`.
pub(super) fn uid_key(id: CollectionId, uid: &str) -> Vec<u8> {
    joined(&[&id.0.to_be_bytes(), short_digest(uid.as_bytes()).as_slice()])
}

/// A position's key in `log`.
pub(super) fn log_key(id: CollectionId, rev: Rev) -> Vec<u8> {
    joined(&[&id.0.to_be_bytes(), &rev.0.to_be_bytes()])
}

/// A record's key in `record`.
pub(super) fn record_key(key: &Key) -> Vec<u8> {
    joined(&[&[key.table as u8], key.path.as_bytes()])
}

/// Reads the number that ends a key after `skip` bytes.
pub(super) fn number_at(key: &[u8], skip: usize) -> Result<u64, Damaged> {
    let bytes = key.get(skip..skip + 8).ok_or(Damaged)?;
    Ok(u64::from_be_bytes(bytes.try_into().map_err(|_| Damaged)?))
}

fn short_digest(bytes: &[u8]) -> [u8; 16] {
    let mut short = [0; 16];
    let digest = sha2::Sha256::digest(bytes);
    short.iter_mut().zip(digest.iter()).for_each(|(to, from)| *to = *from);
    short
}

/// The open database.
#[derive(Debug)]
pub(super) struct Trees {
    pub(super) db: Db,
    core: Tree,
    head: Tree,
    meta: Tree,
    body: Tree,
    uid: Tree,
    time: Tree,
    log: Tree,
    record: Tree,
}

impl Trees {
    /// Opens every tree.
    pub(super) fn of(db: Db) -> Result<Arc<Trees>, ::sled::Error> {
        let open = |space: Space| db.open_tree(space.tree());
        Ok(Arc::new(Trees {
            core: open(Space::Core)?,
            head: open(Space::Head)?,
            meta: open(Space::Meta)?,
            body: open(Space::Body)?,
            uid: open(Space::Uid)?,
            time: open(Space::Time)?,
            log: open(Space::Log)?,
            record: open(Space::Record)?,
            db,
        }))
    }

    /// Returns how many bytes the database has on the disk.
    pub(super) fn size_on_disk(&self) -> Result<u64, Fault> {
        self.db.size_on_disk().map_err(fault)
    }

    /// Returns the tree of a space.
    pub(super) fn tree(&self, space: Space) -> &Tree {
        match space {
            Space::Core => &self.core,
            Space::Head => &self.head,
            Space::Meta => &self.meta,
            Space::Body => &self.body,
            Space::Uid => &self.uid,
            Space::Time => &self.time,
            Space::Log => &self.log,
            Space::Record => &self.record,
        }
    }
}

impl Rows for Trees {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<IVec>, Fault> {
        self.tree(space).get(key).map_err(fault)
    }

    fn scan(&self, space: Space, start: &[u8], end: &[u8], visit: Visit<'_>) -> Result<(), Fault> {
        if start >= end {
            return Ok(());
        }
        for row in self.tree(space).range(start..end) {
            let (key, value) = row.map_err(fault)?;
            if !visit(&key, &value)? {
                break;
            }
        }
        Ok(())
    }
}

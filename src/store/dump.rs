//! Everything as one stream: backup, restore and the move to another kind of store are this.
//!
//! Owns: the stream's form, which no backend's rows show through. Ids, positions, tags and times are the same
//! afterwards, so that no client notices. Does not own: reading and writing a store (`sled::copy`).
//!
//! `kalends dump 1`, a line break, items, an end, and the SHA-256 of all that. An item is its kind (one byte), its
//! length (seven bits a byte, the lowest first) and so many bytes.

use std::io::{self, BufReader, BufWriter, Read, Write};

use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::codec::{self, Damaged, Reader, Writer};
use super::{Change, Collection, CollectionId, Fault, Head, Key, Meta, Object, Rev, Table, Timestamp};

/// How every dump begins, up to its format.
const NAME: &[u8] = b"kalends dump ";
/// The format that this program writes and reads.
const FORMAT: &[u8] = b"1\n";
const CHECKSUM: usize = 32;

const END: u8 = 0;
const NEXT: u8 = 1;
const COLLECTION: u8 = 2;
const CHANGE: u8 = 3;
const OBJECT: u8 = 4;
const HEAD: u8 = 5;
const RECORD: u8 = 6;

/// One thing of a store. Collections come before what is in them, the changes and objects of one before its head,
/// and a parent before its children.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// The id that the next new collection gets.
    Next(CollectionId),
    /// A collection.
    Collection(Collection),
    /// A row of a collection's log.
    Change(CollectionId, Change),
    /// An object.
    Object(CollectionId, Object),
    /// Where a collection's log stands.
    Head(CollectionId, Head),
    /// A record.
    Record(Key, Bytes),
}

/// What a dump holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Summary {
    /// Collections.
    pub collections: u64,
    /// Objects.
    pub objects: u64,
    /// Log rows.
    pub changes: u64,
    /// Records.
    pub records: u64,
}

impl Summary {
    fn count(&mut self, item: &Item) {
        match item {
            Item::Collection(_) => self.collections += 1,
            Item::Object(..) => self.objects += 1,
            Item::Change(..) => self.changes += 1,
            Item::Record(..) => self.records += 1,
            Item::Next(_) | Item::Head(..) => {}
        }
    }

    fn numbers(self) -> [u64; 4] {
        [self.collections, self.objects, self.changes, self.records]
    }
}

/// Why a dump could not be written or read. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum DumpError {
    /// Not made by Kalends.
    #[error("this is not a dump of Kalends")]
    Foreign,
    /// Made by a newer version.
    #[error("this dump was made by a newer version of Kalends; this one reads format 1")]
    Newer,
    /// Cut short or changed.
    #[error("the dump is damaged: {0}")]
    Broken(&'static str),
    /// The place to restore to is in use.
    #[error("{0} is not empty: a dump is only restored to a new place")]
    NotEmpty(String),
    /// The stream failed.
    #[error("the dump could not be read or written: {0}")]
    Io(#[from] io::Error),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] Fault),
}

impl From<Damaged> for DumpError {
    fn from(_: Damaged) -> DumpError {
        DumpError::Broken("an item cannot be read")
    }
}

/// Writes a dump.
pub(crate) struct Dump<W: Write> {
    out: BufWriter<W>,
    digest: Sha256,
    summary: Summary,
}

impl<W: Write> Dump<W> {
    /// Begins a dump.
    pub(crate) fn new(out: W) -> Result<Dump<W>, DumpError> {
        let out = BufWriter::with_capacity(64 << 10, out);
        let mut dump = Dump { out, digest: Sha256::new(), summary: Summary::default() };
        dump.bytes(NAME)?;
        dump.bytes(FORMAT)?;
        Ok(dump)
    }

    /// Adds an item.
    pub(crate) fn add(&mut self, item: &Item) -> Result<(), DumpError> {
        self.summary.count(item);
        let mut head = Writer::default();
        let mut rest: &[u8] = &[];
        let kind = match item {
            Item::Next(id) => {
                head.number(id.0);
                NEXT
            }
            Item::Collection(collection) => {
                head.number(collection.id.0);
                codec::write_collection(collection, &mut head);
                COLLECTION
            }
            Item::Change(id, change) => {
                head.number(id.0)
                    .number(change.rev.0)
                    .byte(codec::what_code(change.what))
                    .signed(change.at.0);
                head.text(change.name.as_ref().map_or("", |name| name.as_str()));
                codec::write_origin(&change.origin, &mut head);
                CHANGE
            }
            Item::Object(id, object) => {
                head.number(id.0).text(object.meta.name.as_str());
                codec::write_meta(&object.meta, &mut head);
                rest = &object.bytes;
                OBJECT
            }
            Item::Head(id, at) => {
                head.number(id.0);
                codec::write_head(at, &mut head);
                HEAD
            }
            Item::Record(key, bytes) => {
                head.byte(key.table as u8).text(&key.path);
                rest = bytes;
                RECORD
            }
        };
        self.item(kind, &head.0, rest)
    }

    /// Ends the dump. Only now it is one.
    pub(crate) fn finish(mut self) -> Result<(Summary, W), DumpError> {
        let mut counts = Writer::default();
        self.summary.numbers().into_iter().for_each(|number| {
            counts.number(number);
        });
        self.item(END, &counts.0, &[])?;
        let digest = self.digest.clone().finalize();
        self.out.write_all(&digest)?;
        self.out.flush()?;
        let out = self.out.into_inner().map_err(io::IntoInnerError::into_error)?;
        Ok((self.summary, out))
    }

    fn item(&mut self, kind: u8, head: &[u8], rest: &[u8]) -> Result<(), DumpError> {
        let mut begin = Writer(vec![kind]);
        begin.number((head.len() + rest.len()) as u64);
        self.bytes(&begin.0)?;
        self.bytes(head)?;
        self.bytes(rest)
    }

    fn bytes(&mut self, bytes: &[u8]) -> Result<(), DumpError> {
        self.digest.update(bytes);
        Ok(self.out.write_all(bytes)?)
    }
}

/// Reads a dump to its end and says what it holds, or why it is none.
///
/// # Errors
/// When it is cut short, changed, foreign or newer.
pub fn check(from: impl Read) -> Result<Summary, DumpError> {
    let mut items = Items::new(from)?;
    while items.next()?.is_some() {}
    Ok(items.summary)
}

/// Reads the items of a dump. That all of it is sound is only known at its end.
pub(crate) struct Items<R: Read> {
    from: BufReader<R>,
    digest: Sha256,
    summary: Summary,
}

impl<R: Read> Items<R> {
    pub(crate) fn new(from: R) -> Result<Items<R>, DumpError> {
        let from = BufReader::with_capacity(64 << 10, from);
        let mut items = Items { from, digest: Sha256::new(), summary: Summary::default() };
        let start = items.take(NAME.len() + FORMAT.len()).map_err(|error| match error {
            DumpError::Broken(_) => DumpError::Foreign,
            other => other,
        })?;
        match start.strip_prefix(NAME) {
            Some(FORMAT) => Ok(items),
            Some(_) => Err(DumpError::Newer),
            None => Err(DumpError::Foreign),
        }
    }

    /// Reads the next item; nothing behind the last, when the checksum is right.
    pub(crate) fn next(&mut self) -> Result<Option<Item>, DumpError> {
        let kind = self.byte()?;
        let mut length = Vec::new();
        loop {
            let byte = self.byte()?;
            length.push(byte);
            if byte & 0x80 == 0 {
                break;
            }
        }
        let length = Reader::raw(&length).number()?;
        let bytes = self.take(usize::try_from(length).map_err(|_| Damaged)?)?;
        let mut item = Reader::raw(&bytes);
        let item = match kind {
            END => {
                self.end(&mut item)?;
                return Ok(None);
            }
            NEXT => Item::Next(CollectionId(item.number()?)),
            COLLECTION => {
                let id = CollectionId(item.number()?);
                Item::Collection(codec::read_collection(id, &mut item)?)
            }
            CHANGE => {
                let (id, rev) = (CollectionId(item.number()?), Rev(item.number()?));
                let (what, at) = (codec::read_what(item.byte()?)?, Timestamp(item.signed()?));
                let name = match item.bytes()? {
                    [] => None,
                    name => Some(codec::name(name)?),
                };
                let origin = codec::read_origin(&mut item)?;
                Item::Change(id, Change { rev, name, what, origin, at })
            }
            OBJECT => {
                let id = CollectionId(item.number()?);
                let name = codec::name(item.bytes()?)?;
                let meta: Meta = codec::read_meta(name, &mut item)?;
                let bytes = Bytes::copy_from_slice(item.rest());
                if bytes.len() as u64 != meta.size {
                    return Err(DumpError::Broken("an object has another length than it says"));
                }
                Item::Object(id, Object { meta, bytes })
            }
            HEAD => {
                let id = CollectionId(item.number()?);
                Item::Head(id, codec::read_head(&mut item)?)
            }
            RECORD => {
                let code = item.byte()?;
                let table = Table::ALL.into_iter().find(|table| *table as u8 == code).ok_or(Damaged)?;
                let key = Key::new(table, item.text()?);
                Item::Record(key, Bytes::copy_from_slice(item.rest()))
            }
            _ => return Err(DumpError::Broken("there is an item of an unknown kind")),
        };
        self.summary.count(&item);
        Ok(Some(item))
    }

    fn end(&mut self, counts: &mut Reader<'_>) -> Result<(), DumpError> {
        for number in self.summary.numbers() {
            if counts.number()? != number {
                return Err(DumpError::Broken("items are missing"));
            }
        }
        let digest = self.digest.clone().finalize();
        if self.take(CHECKSUM)?.as_slice() != digest.as_slice() {
            return Err(DumpError::Broken("the checksum is wrong"));
        }
        match self.from.read(&mut [0])? {
            0 => Ok(()),
            _ => Err(DumpError::Broken("there is something behind its end")),
        }
    }

    fn byte(&mut self) -> Result<u8, DumpError> {
        self.take(1)?.first().copied().ok_or(DumpError::Broken("it ends too early"))
    }

    fn take(&mut self, length: usize) -> Result<Vec<u8>, DumpError> {
        // The length may be nonsense: no room is made for it beforehand.
        let mut bytes = Vec::new();
        (&mut self.from).take(length as u64).read_to_end(&mut bytes)?;
        if bytes.len() < length {
            return Err(DumpError::Broken("it ends too early"));
        }
        self.digest.update(&bytes);
        Ok(bytes)
    }
}

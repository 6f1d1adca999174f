//! Memory: collections of objects, a log for each, records; one durable way to write.
//!
//! Owns: what is kept and how it stays whole through crashes. Knows no iCalendar, no XML, no HTTP and no clock:
//! times come in with the commit.

mod codec;
mod commit;
#[cfg(test)]
mod contract;
pub mod dump;
#[cfg(test)]
pub(crate) mod memory;
mod model;
pub mod random;
mod sled;
mod verify;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;

pub use commit::{Commit, CommitError, Committed, Expect, Op, Rejected};
pub use dump::{DumpError, Summary};
pub use model::{
    Change, Collection, CollectionId, Etag, Head, Index, Key, Kind, Meta, Name, Object, Origin, Principal,
    Properties, PropertyName, Rev, Span, Table, Timestamp, What,
};
pub use sled::{Options, Sled};
pub use verify::{Recompute, Verified};

/// A boxed future, so that a store can be held as `Arc<dyn Store>`.
pub type Fut<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The store could not do its work. Never confused with an empty answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Fault {
    /// The disk is full: nothing was written, reading goes on, writing heals when there is room.
    #[error("the disk is full")]
    Full,
    /// Anything else, with its cause in words for the log.
    #[error("the store failed: {0}")]
    Broken(String),
}

/// A page of a log, oldest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changes {
    /// The rows; superseded rows of one member may be missing, the newest one of each member never is.
    pub items: Vec<Change>,
    /// The log's newest position when the page was read.
    pub head: Rev,
    /// True if there are rows after the last item.
    pub more: bool,
}

/// Why a log could not be continued.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ChangesError {
    /// The position is not one of this log, or lies before its horizon (RFC 6578 §3.2).
    #[error("the position is unknown or too old")]
    Expired,
    /// The store failed.
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// Announces a durable commit to followers in this process.
#[derive(Debug, Clone)]
pub struct Notice {
    /// Who wrote.
    pub origin: Origin,
    /// Collections whose logs grew, with their new positions.
    pub revs: Vec<(CollectionId, Rev)>,
    /// Keys of the records that were written or removed.
    pub keys: Vec<Key>,
}

/// How much is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Figures {
    /// Collections, deleted ones that are kept included.
    pub collections: u64,
    /// Their member objects.
    pub objects: u64,
    /// The sizes of the objects together, in bytes.
    pub bytes: u64,
    /// Commits since the store was opened.
    pub commits: u64,
    /// Bytes on the disk.
    pub disk: u64,
}

/// A place that keeps everything. Every method may be called from any task at any time.
///
/// Reads see a commit at once when it has been acknowledged. Lists are in byte order of the name.
pub trait Store: Send + Sync + 'static {
    /// Reads one record.
    fn record<'a>(&'a self, key: &'a Key) -> Fut<'a, Result<Option<Bytes>, Fault>>;

    /// Reads up to `limit` records of a table whose path begins with `prefix` and lies after `after`, in order.
    fn records<'a>(
        &'a self,
        table: Table,
        prefix: &'a str,
        after: Option<&'a str>,
        limit: usize,
    ) -> Fut<'a, Result<Vec<(Key, Bytes)>, Fault>>;

    /// Reads a collection by id.
    fn collection(&self, id: CollectionId) -> Fut<'_, Result<Option<Arc<Collection>>, Fault>>;

    /// Reads the child collection of that name.
    fn child<'a>(
        &'a self,
        parent: CollectionId,
        name: &'a str,
    ) -> Fut<'a, Result<Option<Arc<Collection>>, Fault>>;

    /// Reads all child collections, by name. `CollectionId::HOMES` and `FILES` list every user's root, `TRASH` all
    /// deleted calendars that are kept.
    fn children(&self, parent: CollectionId) -> Fut<'_, Result<Vec<Arc<Collection>>, Fault>>;

    /// Reserves an id for a collection that is about to be created.
    fn new_collection_id(&self) -> Fut<'_, Result<CollectionId, Fault>>;

    /// Reads where the collection's log stands. A missing collection is at the default.
    fn head(&self, id: CollectionId) -> Fut<'_, Result<Head, Fault>>;

    /// Reads an object without its bytes.
    fn meta<'a>(&'a self, collection: CollectionId, name: &'a str) -> Fut<'a, Result<Option<Meta>, Fault>>;

    /// Reads an object.
    fn object<'a>(
        &'a self,
        collection: CollectionId,
        name: &'a str,
    ) -> Fut<'a, Result<Option<Object>, Fault>>;

    /// Reads up to `limit` objects after the given name, without bytes, by name.
    fn list<'a>(
        &'a self,
        collection: CollectionId,
        after: Option<&'a str>,
        limit: usize,
    ) -> Fut<'a, Result<Vec<Meta>, Fault>>;

    /// Reads the name of the object with this UID.
    fn by_uid<'a>(&'a self, collection: CollectionId, uid: &'a str) -> Fut<'a, Result<Option<Name>, Fault>>;

    /// Reads every object whose span touches `from..to` (seconds since 1970; nothing: unbounded), whose index has no
    /// span, or whose series has no end and starts before `to`. Each once, by name. Cost grows with the answer and
    /// the number of endless series, not with the collection.
    fn in_range(
        &self,
        collection: CollectionId,
        from: Option<i64>,
        to: Option<i64>,
    ) -> Fut<'_, Result<Vec<Meta>, Fault>>;

    /// Reads up to `limit` rows of the log after `since`.
    fn changes(
        &self,
        collection: CollectionId,
        since: Rev,
        limit: usize,
    ) -> Fut<'_, Result<Changes, ChangesError>>;

    /// Carries the commit out, wholly or not at all. When this returns `Ok`, it survives a power cut.
    fn commit(&self, commit: Commit) -> Fut<'_, Result<Committed, CommitError>>;

    /// Listens for durable commits. A listener that lags is told so by the channel and must read the logs.
    fn watch(&self) -> tokio::sync::broadcast::Receiver<Arc<Notice>>;

    /// Writes everything out as it stands at one moment, while others go on writing.
    fn dump(&self, out: Box<dyn std::io::Write + Send>) -> Fut<'_, Result<Summary, DumpError>>;

    /// Looks at everything and compares what is said twice, as it stood at one moment. With `index`, each object's
    /// index is compared with what follows from its bytes.
    fn verify(&self, index: Option<Recompute>) -> Fut<'_, Result<Verified, Fault>>;

    /// Makes every index anew from the bytes, and the counts; removes index rows that lead nowhere. Returns how many
    /// objects were wrong.
    fn rebuild(&self, index: Recompute) -> Fut<'_, Result<u64, Fault>>;

    /// Drops log rows older than the given time that newer rows of the same member make superfluous, and rows of
    /// deletions, whose positions then can no longer be continued from. Returns how many.
    fn trim(&self, older_than: Timestamp) -> Fut<'_, Result<u64, Fault>>;

    /// Counts what is kept, for whoever runs the server. Costs a look at every collection, none at objects.
    fn figures(&self) -> Fut<'_, Result<Figures, Fault>>;

    /// Tells whether the store can read and write.
    fn health(&self) -> Fut<'_, Result<(), Fault>>;
}

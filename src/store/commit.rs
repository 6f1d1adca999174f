//! The only write: a list of operations with the conditions under which they may happen, all or nothing.
//!
//! Owns: `Commit`, `Expect`, `Rejected`. Does not own: which conditions a request needs (`calendar`, `dav`).

use bytes::Bytes;

use super::Fault;
use super::model::{Collection, CollectionId, Etag, Index, Key, Name, Origin, Rev, Timestamp};

/// A condition, checked in the same transaction as the write. Each but `Quiet` is a point read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expect {
    /// The object exists and has this tag (If-Match).
    Etag(CollectionId, Name, Etag),
    /// The object exists (`If-Match: *`).
    Exists(CollectionId, Name),
    /// No object has this name (`If-None-Match: *`).
    Absent(CollectionId, Name),
    /// No object of the collection other than the named one has this UID (RFC 4791 §5.3.2.1).
    UidFree(CollectionId, String, Name),
    /// Nothing happened in the collection since.
    Rev(CollectionId, Rev),
    /// Nothing that may take place within `from..to` (seconds since 1970) was written in the collection since. Removals
    /// do not count: they make nobody busy. Cost grows with what was written since, not with the collection.
    Quiet(CollectionId, Rev, i64, i64),
    /// The collection is still there.
    Collection(CollectionId),
    /// The collection's record is still exactly this one (its log may have grown).
    CollectionIs(Box<Collection>),
    /// No child collection of the parent has this name.
    NoChild(CollectionId, Name),
    /// The record has exactly these bytes, or is absent.
    Record(Key, Option<Bytes>),
    /// The collection holds fewer objects than this.
    Below(CollectionId, u64),
}

/// One step of a commit. Steps are carried out in order.
#[derive(Debug, Clone)]
pub enum Op {
    /// Stores an object; logs `Put`. The etag is computed from the bytes.
    Put {
        /// Where.
        collection: CollectionId,
        /// Under which name.
        name: Name,
        /// Media type as served.
        content_type: String,
        /// The bytes.
        bytes: Bytes,
        /// What is known of them.
        index: Index,
    },
    /// Removes an object and its `ObjectProperties` record; logs `Deleted`. Nothing happens if it is absent.
    Delete {
        /// Where.
        collection: CollectionId,
        /// Which.
        name: Name,
    },
    /// Logs `Touched` for a member, or for the collection itself.
    Touch {
        /// Whose log.
        collection: CollectionId,
        /// The member.
        name: Option<Name>,
    },
    /// Creates a collection (logs `Put` in the parent) or replaces its record (logs `Touched` in itself and in the
    /// parent). A changed `parent` or `name` moves it: `Deleted` in the old parent, `Put` in the new one.
    PutCollection(Collection),
    /// Removes a collection with all objects and child collections; logs `Deleted` in the parent. The members are
    /// unreachable at once and purged in the background.
    DeleteCollection(CollectionId),
    /// Stores a record.
    PutRecord(Key, Bytes),
    /// Removes a record.
    DeleteRecord(Key),
}

/// A write: who, when, under which conditions, what.
#[derive(Debug, Clone)]
pub struct Commit {
    /// Who writes.
    pub origin: Origin,
    /// The caller's clock.
    pub at: Timestamp,
    /// Conditions; the first that fails is reported and nothing is written.
    pub expects: Vec<Expect>,
    /// Steps.
    pub ops: Vec<Op>,
}

impl Commit {
    /// Begins a commit.
    pub fn new(origin: Origin, at: Timestamp) -> Commit {
        Commit { origin, at, expects: Vec::new(), ops: Vec::new() }
    }

    /// Adds a condition.
    #[must_use]
    pub fn expect(mut self, expect: Expect) -> Commit {
        self.expects.push(expect);
        self
    }

    /// Adds a step.
    #[must_use]
    pub fn op(mut self, op: Op) -> Commit {
        self.ops.push(op);
        self
    }
}

/// A commit that is on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// The new position of every collection whose log grew.
    pub revs: Vec<(CollectionId, Rev)>,
}

impl Committed {
    /// Returns the collection's new position, if its log grew.
    pub fn rev(&self, collection: CollectionId) -> Option<Rev> {
        self.revs.iter().find(|(id, _)| *id == collection).map(|(_, rev)| *rev)
    }
}

/// The first condition that did not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rejected {
    /// The tag differs or the object is gone; the current tag.
    Etag(Option<Etag>),
    /// An object has this name.
    Present,
    /// No object has this name.
    Missing,
    /// Another object has the UID.
    UidTaken(Name),
    /// Something happened in the collection.
    Rev(Rev),
    /// This object was written since and may take place then.
    Busy(Name),
    /// The collection is gone.
    NoCollection,
    /// The collection's record has changed.
    CollectionChanged,
    /// A child collection has this name.
    ChildExists,
    /// The record is not as expected.
    Record(Key),
    /// The collection is full.
    Full,
}

/// Why a commit did not happen. In both cases nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// A condition did not hold.
    #[error("a condition did not hold: {0:?}")]
    Rejected(Rejected),
    /// The store failed.
    #[error(transparent)]
    Fault(#[from] Fault),
}

//! What the engine needs of a far side, and nothing else.
//!
//! Owns: `Provider` and its neutral nouns. A provider translates and calls; it holds no state of a mapping, never
//! sleeps, never retries, never decides who wins.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// A boxed future, so that providers can be held as `Arc<dyn Provider>`.
pub type Fut<'a, T> = Pin<Box<dyn Future<Output = Result<T, Trouble>> + Send + 'a>>;

/// How a far side names a calendar or an object; opaque to the engine, kept in the far side's own spelling.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RemoteId(pub String);

impl fmt::Display for RemoteId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A far side's mark of one state of an object, such as an entity-tag. Compared as opaque text.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Version(pub String);

/// How far a far side's changes have been read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Cursor(pub String);

/// What a provider can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Abilities {
    /// It accepts changes.
    pub writes: bool,
    /// It tells of changes by itself.
    pub pushes: bool,
    /// How many objects one `read` may ask for.
    pub batch: usize,
}

/// A calendar on the far side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteCalendar {
    /// How it is named.
    pub id: RemoteId,
    /// Its name for people.
    pub name: String,
    /// Its colour, as the far side writes it.
    pub color: Option<String>,
    /// True for the account's main calendar, where the far side has such a thing.
    pub primary: bool,
    /// The account may change it.
    pub writable: bool,
    /// The component types that it takes, upper case; empty: not told.
    pub components: Vec<String>,
}

/// An object that a listing named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sighting {
    /// Which.
    pub id: RemoteId,
    /// Its state; nothing: not told, its content has to be compared.
    pub version: Option<Version>,
}

/// An object that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Which.
    pub id: RemoteId,
    /// Its state; nothing: not told.
    pub version: Option<Version>,
    /// Its content.
    pub bytes: Bytes,
    /// When it was last written there, in seconds since 1970, if the far side tells.
    pub modified: Option<i64>,
}

/// What changed on the far side.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Delta {
    /// Objects that are there, changed or all of them.
    pub seen: Vec<Sighting>,
    /// Objects that the far side says were removed.
    pub gone: Vec<RemoteId>,
    /// Where to go on next time; nothing: from the beginning.
    pub next: Option<Cursor>,
    /// True if `seen` names every object of the calendar, so that absence means something.
    pub complete: bool,
}

/// Where an object is to be put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Slot<'a> {
    /// As a new object; whatever has its place must not be overwritten.
    New {
        /// The UID, from which the place is derived, so that a repeated attempt meets the first one.
        uid: &'a str,
    },
    /// In place of this one, if it is still in this state (nothing: the far side tells no states).
    At(&'a RemoteId, Option<&'a Version>),
}

/// What a write left behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// Where the object is.
    pub id: RemoteId,
    /// Its state, if the far side vouched for it.
    pub version: Option<Version>,
}

/// Why a far side did not do what it was asked. Short and neutral; the sentences are shown to people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// The cursor is not understood any more: everything has to be compared.
    #[error("the far side no longer knows how far it was read")]
    CursorExpired,
    /// The object is in another state than was expected.
    #[error("the object changed on the far side meanwhile")]
    Stale,
    /// The place, or the UID, is taken by this object (nothing: it did not say which).
    #[error("the far side already has an object with this UID")]
    Taken(Option<RemoteId>),
    /// There is no such object or calendar.
    #[error("{0}")]
    Missing(String),
    /// Asked too often; come back after this time.
    #[error("the far side asks to wait")]
    Slow(Option<Duration>),
    /// The credentials are not accepted.
    #[error("{0}")]
    Unauthorised(String),
    /// It says no, and asking again does not help.
    #[error("{0}")]
    Refused(String),
    /// It cannot be reached, fails, or gives an answer that is not one.
    #[error("{0}")]
    Unreachable(String),
}

impl Trouble {
    /// Tells whether the trouble concerns the object alone, so that the pass goes on with the next one.
    pub fn is_of_one_object(&self) -> bool {
        matches!(self, Trouble::Stale | Trouble::Taken(_) | Trouble::Missing(_) | Trouble::Refused(_))
    }
}

/// A far side.
pub trait Provider: Send + Sync {
    /// Returns what it can do.
    fn abilities(&self) -> Abilities;

    /// Lists the calendars of the account.
    fn calendars(&self) -> Fut<'_, Vec<RemoteCalendar>>;

    /// Tells what changed since the cursor; without one, all there is. A listing that broke off is an error, never a
    /// shorter listing.
    fn changes<'a>(&'a self, calendar: &'a RemoteId, since: Option<&'a Cursor>) -> Fut<'a, Delta>;

    /// Reads these objects, at most `Abilities::batch`. Those that are really gone are left out; any other absence is
    /// an error.
    fn read<'a>(&'a self, calendar: &'a RemoteId, ids: &'a [RemoteId]) -> Fut<'a, Vec<Seen>>;

    /// Returns where a new object with this UID would be put, if that is known beforehand.
    fn place(&self, calendar: &RemoteId, uid: &str) -> Option<RemoteId>;

    /// Stores an object.
    fn put<'a>(&'a self, calendar: &'a RemoteId, slot: Slot<'a>, bytes: Bytes) -> Fut<'a, Written>;

    /// Removes an object, if it is still in that state. One that is gone already is removed.
    fn delete<'a>(
        &'a self,
        calendar: &'a RemoteId,
        id: &'a RemoteId,
        version: Option<&'a Version>,
    ) -> Fut<'a, ()>;
}

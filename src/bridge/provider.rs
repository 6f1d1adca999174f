//! What the engine needs of a far side, and nothing else.
//!
//! Owns: `Provider` and its neutral nouns. A provider translates and calls; it holds no state of a mapping, never
//! sleeps, never retries, never decides who wins.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use serde::{Deserialize, Serialize};
use url::Url;

use crate::auth::grant::Secret;
use crate::http::fetch::FetchError;
use crate::ical::Ical;

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
    /// It tells of changes by itself, once `watch` was called.
    pub pushes: bool,
    /// How many objects one `read` or `put_all` may name.
    pub batch: usize,
    /// How many calls may be under way at a time.
    pub parallel: usize,
    /// A series is written in several calls: a write that breaks off may leave it half done, and without instances that
    /// it had before. Where a `put` answers `Stale` or `Missing`, nothing was changed yet; where it may have been, it
    /// answers `Unreachable`.
    pub in_steps: bool,
}

/// The span of time that a mapping looks at, in seconds since 1970; nothing: without end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Objects that end before it are left alone.
    pub from: Option<i64>,
    /// Objects that begin at or after it are left alone.
    pub to: Option<i64>,
    /// The present.
    pub now: i64,
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

/// A part of what changed on the far side.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Page {
    /// Objects that are there, changed or all of them, whose content is yet to be read.
    pub seen: Vec<Sighting>,
    /// Objects that are there, changed or all of them, with their content.
    pub read: Vec<Seen>,
    /// Objects outside the window, which are looked at only where they are carried already.
    pub beyond: Vec<Sighting>,
    /// Objects that the far side says were removed.
    pub gone: Vec<RemoteId>,
    /// With the last page, and only with it.
    pub end: Option<End>,
}

/// What is known when the last page was read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct End {
    /// Where to go on next time; nothing: from the beginning.
    pub next: Option<Cursor>,
    /// True if the pages named every object of the calendar within the window, so that absence means something.
    pub complete: bool,
}

impl Page {
    /// Returns the only page of an answer.
    pub fn only(seen: Vec<Sighting>, gone: Vec<RemoteId>, next: Option<Cursor>, complete: bool) -> Page {
        Page { seen, gone, end: Some(End { next, complete }), ..Page::default() }
    }
}

/// The pages of an answer, one after the other; after an error or the page with `end` there is none.
pub type Pages<'a> = Pin<Box<dyn Stream<Item = Result<Page, Trouble>> + Send + 'a>>;

/// What of an object the far side can hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fit {
    /// This, as one object: the text that a `read` after a `put` would give, stamps aside.
    Whole(Bytes),
    /// Only as several objects, with a sentence that says why: edits of the parts do not become a series again.
    Parts(Vec<Part>, String),
    /// Nothing of it, with a sentence that says why.
    Refused(String),
}

/// One of several objects that stand for one of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Which instance it is, as its `RECURRENCE-ID` in UTC or as a date; or any other name that stays the same.
    pub key: String,
    /// Its text, with the UID of the whole.
    pub bytes: Bytes,
}

/// Returns the title of an event that does not take place, for far sides that cannot say so otherwise: it must not look
/// as if it did.
pub(super) fn called_off(title: &str) -> String {
    const WORD: &str = "Cancelled";
    let title = title.trim();
    let says = title.strip_prefix(WORD).is_some_and(|rest| rest.is_empty() || rest.starts_with(": "));
    match title {
        "" => WORD.to_owned(),
        _ if says => title.to_owned(),
        _ => format!("{WORD}: {title}"),
    }
}

/// Where an object is to be put.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Slot {
    /// As a new object; whatever has its place must not be overwritten.
    New {
        /// The UID, from which the place is derived, so that a repeated attempt meets the first one.
        uid: String,
    },
    /// In place of this one, if it is still in this state (nothing: the far side tells no states).
    At(RemoteId, Option<Version>),
}

/// A write on the far side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    /// Where.
    pub slot: Slot,
    /// What the object is to be, as far as `fit` says that it can be held.
    pub bytes: Bytes,
    /// What it was there when both sides last agreed. A provider that can change single fields sends what differs.
    pub base: Option<Bytes>,
}

/// What a write left behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// Where the object is.
    pub id: RemoteId,
    /// Its state, if the far side vouched for it.
    pub version: Option<Version>,
    /// The object as it is there now, if the answer told, read the same way as any other.
    pub seen: Option<Seen>,
}

/// A notification channel that is to be opened.
#[derive(Debug, Clone)]
pub struct Watch {
    /// A name of ours for it, never used before.
    pub id: String,
    /// Where notifications are to be sent.
    pub address: Url,
    /// What a notification has to carry to be believed.
    pub token: Secret,
}

/// A notification channel that is open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Channel {
    /// How the far side, or we, name it: what a notification carries.
    pub id: String,
    /// How the far side names what is watched; empty: it does not.
    pub resource: String,
    /// When it ends, in seconds since 1970.
    pub expires: i64,
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
    /// We do not call now, as our own budget of calls is used up or the far side asked to be left alone: a sentence, and how long
    /// to wait.
    #[error("{0}")]
    Budget(String, Duration),
    /// It cannot be reached, fails, or gives an answer that is not one.
    #[error("{0}")]
    Unreachable(String),
}

/// What it means that a call brought no answer.
impl From<FetchError> for Trouble {
    fn from(error: FetchError) -> Trouble {
        match error {
            FetchError::Private(_) | FetchError::BadUrl(_) | FetchError::TooLarge { .. } => {
                Trouble::Refused(format!("{error}."))
            }
            FetchError::Unresolved(_)
            | FetchError::Unreachable { .. }
            | FetchError::Timeout(_)
            | FetchError::Truncated(_) => Trouble::Unreachable(format!("{error}.")),
            FetchError::Budget(sentence, wait) => Trouble::Budget(sentence, wait),
        }
    }
}

/// Who gives out the token that calls are made with.
pub trait Bearer: Send + Sync {
    /// Returns a token that should be accepted. `rejected` is one that was not, a moment ago: another one is made then.
    fn token<'a>(&'a self, rejected: Option<&'a Secret>) -> Fut<'a, Secret>;
}

/// A far side.
pub trait Provider: Send + Sync {
    /// Returns what it can do.
    fn abilities(&self) -> Abilities;

    /// Lists the calendars of the account.
    fn calendars(&self) -> Fut<'_, Vec<RemoteCalendar>>;

    /// Tells what changed since the cursor; without one, all there is within the window. A listing that broke off
    /// ends with an error, never without `end`.
    fn changes<'a>(&'a self, calendar: &'a RemoteId, since: Option<&'a Cursor>, window: Window) -> Pages<'a>;

    /// Returns how long the far side wishes to be left alone between two looks, if it told with the answer that led to
    /// this cursor. Pure.
    fn patience(&self, cursor: &Cursor) -> Option<Duration> {
        let _ = cursor;
        None
    }

    /// Reads these objects, at most `Abilities::batch`. Those that are really gone are left out; any other absence is
    /// an error.
    fn read<'a>(&'a self, calendar: &'a RemoteId, ids: &'a [RemoteId]) -> Fut<'a, Vec<Seen>>;

    /// Returns where a new object with this UID would be put, if that is known beforehand.
    fn place(&self, calendar: &RemoteId, uid: &str) -> Option<RemoteId>;

    /// Returns what of an object the far side can hold. Pure.
    fn fit(&self, ical: &Ical, window: Window) -> Fit {
        let _ = window;
        Fit::Whole(ical.bytes().clone())
    }

    /// Tells whether a time without a zone becomes one in a zone there: `fit` is then given a text that says which, as
    /// `X-WR-TIMEZONE`.
    fn needs_zone(&self) -> bool {
        false
    }

    /// Stores an object.
    fn put<'a>(&'a self, calendar: &'a RemoteId, write: &'a Write) -> Fut<'a, Written>;

    /// Stores several objects, at most `Abilities::batch`, and answers for each, in their order.
    fn put_all<'a>(&'a self, calendar: &'a RemoteId, writes: &'a [Write]) -> Answers<'a> {
        let parallel = self.abilities().parallel.max(1);
        Box::pin(async move {
            let puts: Vec<_> = writes.iter().map(|write| self.put(calendar, write)).collect();
            futures_util::stream::iter(puts).buffered(parallel).collect().await
        })
    }

    /// Removes an object, if it is still in that state. One that is gone already is removed.
    fn delete<'a>(
        &'a self,
        calendar: &'a RemoteId,
        id: &'a RemoteId,
        version: Option<&'a Version>,
    ) -> Fut<'a, ()>;

    /// Has the far side tell of changes to the calendar.
    fn watch<'a>(&'a self, calendar: &'a RemoteId, watch: &'a Watch) -> Fut<'a, Channel> {
        let _ = (calendar, watch);
        Box::pin(async { Err(Trouble::Refused("The far side sends no notifications.".into())) })
    }

    /// Lets a channel live longer. Nothing: it cannot; another one is opened before this one ends.
    fn renew<'a>(&'a self, channel: &'a Channel) -> Fut<'a, Option<Channel>> {
        let _ = channel;
        Box::pin(async { Ok(None) })
    }

    /// Closes a channel. One that is gone already is closed.
    fn unwatch<'a>(&'a self, channel: &'a Channel) -> Fut<'a, ()> {
        let _ = channel;
        Box::pin(async { Ok(()) })
    }
}

/// What came of each write.
pub type Answers<'a> = Pin<Box<dyn Future<Output = Vec<Result<Written, Trouble>>> + Send + 'a>>;

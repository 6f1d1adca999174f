//! What a webhook says is what the API says: the door lends its words to the follower below it.
//!
//! Owns: which words are needed. Does not own: the words (`api`), when they are said (`observe`).

use serde_json::Value;

use crate::calendar::booking::Booked;
use crate::store::{CollectionId, Fault, Fut, Meta, Op, Origin, Timestamp};

/// What is told once, of the bridge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Matter {
    /// Something that both sides changed in ways that exclude each other.
    Conflict,
    /// A run that ended.
    Run,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq)]
pub struct Fact {
    /// The name of the event.
    pub kind: &'static str,
    /// When it happened.
    pub at: Timestamp,
    /// The calendar that it is about.
    pub calendar: Option<u64>,
    /// What is said of it.
    pub data: Value,
}

/// Says what happened as the API would.
pub trait Voice: std::fmt::Debug + Send + Sync + 'static {
    /// Returns an object of a calendar as the API shows events; nothing: it is gone.
    fn event<'a>(
        &'a self,
        owner: &'a str,
        calendar: CollectionId,
        name: &'a str,
    ) -> Fut<'a, Result<Option<(Meta, Value)>, Fault>>;

    /// Returns a booking as the API shows it.
    fn booking(&self, booked: &Booked) -> Value;

    /// Returns who wrote, in words.
    fn by(&self, origin: &Origin) -> String;

    /// Returns the ids of all conflicts or runs of an owner.
    fn all<'a>(&'a self, matter: Matter, owner: &'a str) -> Fut<'a, Result<Vec<String>, Fault>>;

    /// Returns what is told of one of them; nothing: it is gone, or has not ended.
    fn one<'a>(&'a self, matter: Matter, owner: &'a str, id: &'a str)
    -> Fut<'a, Result<Option<Fact>, Fault>>;

    /// Returns whose a mapping is; nothing: it is gone.
    fn owner<'a>(&'a self, mapping: &'a str) -> Fut<'a, Result<Option<String>, Fault>>;

    /// Returns the steps that tell an owner that a subscription rests, or with `None` that it does no longer.
    fn notice<'a>(
        &'a self,
        owner: &'a str,
        hook: &'a str,
        sentence: Option<String>,
    ) -> Fut<'a, Result<Vec<Op>, Fault>>;

    /// Returns the steps that remove what was told of a subscription that is no more.
    fn forget<'a>(&'a self, owner: &'a str, hook: &'a str) -> Fut<'a, Result<Vec<Op>, Fault>>;
}

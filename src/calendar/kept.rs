//! Calendars and objects that are kept as they are somewhere else: nobody changes them here by hand (E15).
//!
//! Owns: the mark of a calendar, who is refused what. Does not own: which mapping keeps what (`bridge::kept`).
//!
//! The mark is a property of the collection, like the one that hides a calendar. What a far side changes is carried here
//! all the same, and so is what the server itself does.

use std::future::Future;
use std::pin::Pin;

use super::access::{Readable, Writable};
use super::hidden::{NAMESPACE, server};
use super::{Error, House, Refusal, Session};
use crate::store::{Collection, Fault, Meta, Origin, Properties};

/// The mark.
const KEPT: &str = "kept";
/// What it says of a calendar in which nothing can be changed.
const WHOLE: &str = "whole";

/// What of a calendar is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kept {
    /// Nothing.
    Nothing,
    /// What these mappings brought.
    By(Vec<String>),
    /// All, and nothing can be added.
    Whole,
}

/// What a keeper answers, in time.
pub type Answer<'a> = Pin<Box<dyn Future<Output = Result<bool, Fault>> + Send + 'a>>;

/// Knows what mappings brought.
pub trait Keeper: Send + Sync + 'static {
    /// Tells whether the object with this UID is one that the mapping keeps.
    fn keeps<'a>(&'a self, mapping: &'a str, uid: &'a str) -> Answer<'a>;
}

/// Returns what of a calendar is kept.
pub fn kept(collection: &Collection) -> Kept {
    let Some(text) = collection.properties.0.get(&server(KEPT)) else { return Kept::Nothing };
    let inner = text.split_once('>').and_then(|(_, rest)| rest.split_once('<')).map(|(inner, _)| inner);
    match inner.unwrap_or_default() {
        WHOLE => Kept::Whole,
        ids => Kept::By(ids.split(' ').map(str::to_owned).collect()),
    }
}

/// Marks a calendar.
pub fn set_kept(properties: &mut Properties, kept: &Kept) {
    let text = match kept {
        Kept::Nothing => {
            properties.0.remove(&server(KEPT));
            return;
        }
        Kept::By(ids) => ids.join(" "),
        Kept::Whole => WHOLE.to_owned(),
    };
    properties.0.insert(server(KEPT), format!("<{KEPT} xmlns=\"{NAMESPACE}\">{text}</{KEPT}>"));
}

impl House {
    /// Names who knows what mappings brought; the first word counts.
    pub fn kept_by(&self, keeper: std::sync::Arc<dyn Keeper>) {
        let _ = self.keeper.set(keeper);
    }
}

impl Session {
    /// Tells whether an object is kept as it is somewhere else.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn keeps(&self, at: &Readable, meta: &Meta) -> Result<bool, Error> {
        self.is_kept(at, meta.index.uid.as_deref()).await
    }

    async fn is_kept(&self, at: &Readable, uid: Option<&str>) -> Result<bool, Error> {
        let ids = match kept(at.collection()) {
            Kept::Nothing => return Ok(false),
            Kept::Whole => return Ok(true),
            Kept::By(ids) => ids,
        };
        let (Some(keeper), Some(uid)) = (self.house.keeper.get(), uid) else { return Ok(false) };
        for id in ids {
            if keeper.keeps(&id, uid).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Refuses to let somebody change by hand what is kept. `need` is the privilege that is missing (RFC 3744 §3).
    ///
    /// # Errors
    /// `Kept`; when the store fails.
    pub(super) async fn free(
        &self,
        at: &Writable,
        uid: Option<&str>,
        need: &'static str,
    ) -> Result<(), Error> {
        let by_hand = matches!(self.origin, Origin::Dav { .. } | Origin::Api { .. });
        if by_hand && self.is_kept(at, uid).await? {
            return Err(Refusal::Kept(need).into());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_says_what_was_marked() {
        let mut collection = Collection {
            id: crate::store::CollectionId(7),
            parent: crate::store::CollectionId::HOMES,
            name: crate::store::Name::new("a").unwrap_or_else(|| unreachable!()),
            owner: "anna".into(),
            kind: crate::store::Kind::Calendar,
            components: Vec::new(),
            properties: Properties::default(),
            created: crate::store::Timestamp(0),
            modified: crate::store::Timestamp(0),
        };
        for mark in [
            Kept::Whole,
            Kept::By(vec!["1a".into(), "2b".into()]),
            Kept::By(vec!["1a".into()]),
            Kept::Nothing,
        ] {
            set_kept(&mut collection.properties, &mark);
            assert_eq!(kept(&collection), mark);
        }
        assert!(collection.properties.0.is_empty());
    }
}

//! Calendars that nobody sees: the middle of a link between two remote calendars (E34).
//!
//! Owns: the mark that hides a calendar from its home, whatever door one comes through. Does not own: who links what
//! (`bridge::mappings`).
//!
//! The mark is a property of the collection, kept and restored with it like any other; no client can set or remove it.

use std::sync::Arc;

use super::access::Writable;
use super::collection::NewCollection;
use super::put::When;
use super::{Error, Refusal, Session};
use crate::store::{
    Collection, Commit, CommitError, Expect, Kind, Name, Op, Properties, PropertyName, Rejected, random,
};

/// The namespace of properties that only the server sets.
pub(super) const NAMESPACE: &str = "urn:kalends:server";
/// The mark.
pub(super) const HIDDEN: &str = "hidden";
/// What a hidden calendar holds.
const COMPONENTS: [&str; 2] = ["VEVENT", "VTODO"];

/// Returns the name of a property that only the server sets.
pub(super) fn server(local: &str) -> PropertyName {
    PropertyName { ns: NAMESPACE.to_owned(), local: local.to_owned() }
}

/// Returns a mark as it is kept: a property without content.
pub(super) fn marked(local: &str) -> (PropertyName, String) {
    (server(local), format!("<{local} xmlns=\"{NAMESPACE}\"/>"))
}

/// Tells whether a property of this namespace is the server's alone.
pub fn is_of_server(namespace: &str) -> bool {
    namespace == NAMESPACE
}

/// Tells whether the collection is hidden.
pub fn is_hidden(collection: &Collection) -> bool {
    collection.properties.0.contains_key(&server(HIDDEN))
}

impl Session {
    /// Makes a calendar that is in the home and not seen there.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn create_hidden_calendar(&self, home: &Writable) -> Result<Arc<Collection>, Error> {
        let name = Name::new(format!("link-{}", random::hex::<8>()?)).ok_or(Refusal::Missing)?;
        let mut properties = Properties::default();
        let (mark, text) = marked(HIDDEN);
        properties.0.insert(mark, text);
        let components = COMPONENTS.iter().map(|&c| c.to_owned()).collect();
        let new = NewCollection { name, kind: Kind::Calendar, components, properties };
        self.create_collection(home, new, &When::always()).await
    }

    /// Removes a hidden calendar for good. Its events are copies of what the far sides have: the trash is for people.
    ///
    /// # Errors
    /// `Missing` if it is gone or not hidden; when the store fails.
    pub async fn delete_hidden_calendar(&self, at: &Writable) -> Result<(), Error> {
        if !is_hidden(at.collection()) {
            return Err(Refusal::Missing.into());
        }
        let commit = Commit::new(self.origin.clone(), self.house.clock.now())
            .expect(Expect::Collection(at.id()))
            .op(Op::DeleteCollection(at.id()));
        match self.house.store.commit(commit).await {
            Ok(_) => Ok(()),
            Err(CommitError::Rejected(Rejected::NoCollection)) => Err(Refusal::Missing.into()),
            Err(error) => Err(error.into()),
        }
    }
}

//! How collections come, change and go.
//!
//! Owns: which kind may be where, reserved names. Does not own: what a property means (`dav/live`).

use std::sync::Arc;

use super::access::Writable;
use super::put::{ATTEMPTS, When};
use super::{Error, Refusal, Session, booking};
use crate::store::{
    Collection, CollectionId, Commit, CommitError, Expect, Kind, Name, Op, Properties, Rejected,
};

/// Names in a calendar home that other resources have (interfaces: special collections).
const RESERVED: [&str; 4] = ["inbox", "outbox", "notifications", booking::HOLDS];

/// A collection that is to be made.
#[derive(Debug, Clone)]
pub struct NewCollection {
    /// Its name in the parent.
    pub name: Name,
    /// What it is to hold.
    pub kind: Kind,
    /// For calendars: accepted component types, upper case; empty: `VEVENT`, `VTODO` and `VJOURNAL`.
    pub components: Vec<String>,
    /// Properties to begin with.
    pub properties: Properties,
}

impl Session {
    /// Makes a collection; durable when it returns.
    ///
    /// # Errors
    /// `Exists`, `NotHere` if the parent takes no such kind (RFC 4791 §5.3.1.1 `calendar-collection-location-ok`),
    /// `BadName`, `NoParent`; when the store fails.
    pub async fn create_collection(
        &self,
        parent: &Writable,
        new: NewCollection,
        when: &When<'_>,
    ) -> Result<Arc<Collection>, Error> {
        may_hold(parent.collection().kind, new.kind, &new.name)?;
        let now = self.house.clock.now();
        let collection = Collection {
            id: self.house.store.new_collection_id().await?,
            parent: parent.id(),
            name: new.name,
            owner: parent.collection().owner.clone(),
            kind: new.kind,
            components: new.components,
            properties: new.properties,
            created: now,
            modified: now,
        };
        let mut commit = Commit::new(self.origin.clone(), now)
            .expect(Expect::Collection(parent.id()))
            .expect(Expect::NoChild(parent.id(), collection.name.clone()))
            .expect(Expect::Absent(parent.id(), collection.name.clone()))
            .op(Op::PutCollection(collection.clone()));
        commit.expects.extend(when.expects().iter().cloned());
        match self.house.store.commit(commit).await {
            Ok(_) => Ok(Arc::new(collection)),
            Err(CommitError::Rejected(Rejected::Present | Rejected::ChildExists)) => {
                Err(Refusal::Exists.into())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Changes a collection's properties. The change is made to the newest record and carried out again if another
    /// writer was faster.
    ///
    /// # Errors
    /// Whatever `change` refuses; `Missing` if the collection is gone; when the store fails.
    pub async fn update_collection(
        &self,
        at: &Writable,
        when: &When<'_>,
        change: impl Fn(&mut Collection) -> Result<(), Refusal> + Send,
    ) -> Result<Arc<Collection>, Error> {
        for _ in 0..ATTEMPTS {
            let before = self.house.store.collection(at.id()).await?.ok_or(Refusal::Missing)?;
            let mut after = Collection::clone(&before);
            change(&mut after)?;
            after.modified = self.house.clock.now();
            let mut commit = Commit::new(self.origin.clone(), after.modified)
                .expect(Expect::CollectionIs(Box::new(Collection::clone(&before))))
                .op(Op::PutCollection(after.clone()));
            commit.expects.extend(when.expects().iter().cloned());
            match self.house.store.commit(commit).await {
                Ok(_) => return Ok(Arc::new(after)),
                Err(CommitError::Rejected(Rejected::CollectionChanged)) => continue,
                Err(CommitError::Rejected(Rejected::NoCollection)) => return Err(Refusal::Missing.into()),
                Err(error) => return Err(error.into()),
            }
        }
        Err(Refusal::Stale.into())
    }

    /// Removes a collection with everything in it; a calendar goes to the trash.
    ///
    /// # Errors
    /// `Protected` for a home or a root of files; `Missing` if it is gone already; when the store fails.
    pub async fn delete_collection(&self, at: &Writable, when: &When<'_>) -> Result<(), Error> {
        removable(at.collection())?;
        self.discard_collection(at, when).await
    }

    /// Returns the bytes that the principal has stored in all collections together.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn used(&self) -> Result<u64, Error> {
        let mut waiting = vec![self.home().await?.id(), self.files().await?.id()];
        let mut sum = 0u64;
        while let Some(id) = waiting.pop() {
            sum = sum.saturating_add(self.house.store.head(id).await?.bytes);
            waiting.extend(self.house.store.children(id).await?.iter().map(|child| child.id));
        }
        Ok(sum)
    }
}

/// Refuses to remove or move what every account needs.
pub(super) fn removable(collection: &Collection) -> Result<(), Refusal> {
    if collection.parent == CollectionId::HOMES {
        return Err(Refusal::Protected("a calendar home cannot be removed or moved"));
    }
    if collection.parent == CollectionId::FILES {
        return Err(Refusal::Protected("the root of a user's files cannot be removed or moved"));
    }
    Ok(())
}

/// Decides which kind of collection may be a member of which (RFC 4791 §4.2: calendars hold no collections).
pub(super) fn may_hold(parent: Kind, child: Kind, name: &Name) -> Result<(), Refusal> {
    match (parent, child) {
        (Kind::Home, Kind::Calendar) if RESERVED.contains(&name.as_str()) => {
            Err(Refusal::BadName(format!("{name} is the name of a special collection")))
        }
        (Kind::Home, Kind::Calendar) | (Kind::Files, Kind::Files) => Ok(()),
        (Kind::Home, _) => Err(Refusal::NotHere("a calendar home holds calendars only")),
        (Kind::Calendar, _) => Err(Refusal::NotHere("a calendar cannot hold a collection")),
        (Kind::Files, _) => Err(Refusal::NotHere("calendars live in the calendar home")),
    }
}

//! Privileges (RFC 3744): the permission is the value one holds.
//!
//! Owns: who may read and write which collection. A `Readable` or `Writable` can only be had here, and nothing in
//! this layer reads or writes a collection without one.

use std::sync::Arc;

use bytes::Bytes;

use super::hidden::is_hidden;
use super::kept::{Kept, kept};
use super::properties::{decode_properties, object_properties_key};
use super::{Error, House, Refusal, Session};
use crate::store::{
    Changes, Collection, CollectionId, Head, Kind, Meta, Name, Object, Properties, Rev, Timestamp,
};

/// What remains of the privileges where nothing can be changed by hand (E15).
const READS: &[&str] =
    &["read", "read-free-busy", "read-current-user-privilege-set", "write-properties", "unlock"];

/// A collection that the session's principal may read.
#[derive(Debug, Clone)]
pub struct Readable {
    house: Arc<House>,
    collection: Arc<Collection>,
}

/// A collection that the session's principal may read and change.
#[derive(Debug, Clone)]
pub struct Writable(Readable);

impl std::ops::Deref for Writable {
    type Target = Readable;

    fn deref(&self) -> &Readable {
        &self.0
    }
}

impl Session {
    /// Returns the permission to read the collection.
    ///
    /// # Errors
    /// `Missing` if it belongs to somebody else: its existence is not told; or if it lies in the trash.
    pub fn readable(&self, collection: Arc<Collection>) -> Result<Readable, Refusal> {
        if collection.owner != self.principal.name || collection.parent == CollectionId::TRASH {
            return Err(Refusal::Missing);
        }
        Ok(Readable { house: Arc::clone(&self.house), collection })
    }

    /// Returns the permission to change the collection.
    ///
    /// # Errors
    /// `Missing` if the principal may not even read it.
    pub fn writable(&self, collection: Arc<Collection>) -> Result<Writable, Refusal> {
        self.readable(collection).map(Writable)
    }

    /// Returns the privileges of the session's principal on the collection, by their names in RFC 3744 §3 and
    /// RFC 4791 §6.1, most general first. Empty: it may not see the collection.
    pub fn privileges(&self, collection: &Collection) -> &'static [&'static str] {
        if collection.owner != self.principal.name {
            return &[];
        }
        match collection.kind {
            // As a reader of a calendar that somebody shares: name and colour are the reader's own.
            Kind::Calendar if kept(collection) == Kept::Whole => READS,
            Kind::Calendar => &[
                "read",
                "read-free-busy",
                "read-current-user-privilege-set",
                "write",
                "write-content",
                "write-properties",
                "bind",
                "unbind",
                "unlock",
            ],
            Kind::Home | Kind::Files => &[
                "read",
                "read-current-user-privilege-set",
                "write",
                "write-content",
                "write-properties",
                "bind",
                "unbind",
                "unlock",
            ],
        }
    }

    /// Returns the privileges of the session's principal on a member of the collection; `kept`: nobody changes it here.
    pub fn privileges_of_member(&self, collection: &Collection, kept: bool) -> &'static [&'static str] {
        if kept && collection.owner == self.principal.name { READS } else { self.privileges(collection) }
    }

    /// Returns the principal's calendar home.
    ///
    /// # Errors
    /// When the store fails, or the account was removed meanwhile.
    pub async fn home(&self) -> Result<Writable, Error> {
        self.root(CollectionId::HOMES).await
    }

    /// Returns the principal's root of plain files.
    ///
    /// # Errors
    /// As `home`.
    pub async fn files(&self) -> Result<Writable, Error> {
        self.root(CollectionId::FILES).await
    }

    async fn root(&self, parent: CollectionId) -> Result<Writable, Error> {
        let found = self.house.store.child(parent, &self.principal.name).await?;
        Ok(self.writable(found.ok_or(Refusal::Missing)?)?)
    }
}

impl Readable {
    /// Returns the collection's record.
    pub fn collection(&self) -> &Arc<Collection> {
        &self.collection
    }

    /// Returns the collection's id.
    pub fn id(&self) -> CollectionId {
        self.collection.id
    }

    /// Returns the house that the permission was given in.
    pub fn house(&self) -> &Arc<House> {
        &self.house
    }

    /// Reads where the log stands.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn head(&self) -> Result<Head, Error> {
        Ok(self.house.store.head(self.id()).await?)
    }

    /// Reads an object without its bytes.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn meta(&self, name: &str) -> Result<Option<Meta>, Error> {
        Ok(self.house.store.meta(self.id(), name).await?)
    }

    /// Reads an object.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn object(&self, name: &str) -> Result<Option<Object>, Error> {
        Ok(self.house.store.object(self.id(), name).await?)
    }

    /// Reads a page of members, by name.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn list(&self, after: Option<&str>, limit: usize) -> Result<Vec<Meta>, Error> {
        Ok(self.house.store.list(self.id(), after, limit).await?)
    }

    /// Reads the name of the object with this UID.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn by_uid(&self, uid: &str) -> Result<Option<Name>, Error> {
        Ok(self.house.store.by_uid(self.id(), uid).await?)
    }

    /// Reads a page of the log.
    ///
    /// # Errors
    /// `TokenExpired` if it cannot be continued from `since`; when the store fails.
    pub async fn changes(&self, since: Rev, limit: usize) -> Result<Changes, Error> {
        Ok(self.house.store.changes(self.id(), since, limit).await?)
    }

    /// Tells whether the log can be continued from this position: it is one of this log's history, and nothing after it
    /// was forgotten (RFC 6578 §3.2).
    ///
    /// A store that was set back to a backup counts on from there, and soon has a number again that a client knows from
    /// before: then another change, of another time, stands under it. Where that row is gone, nobody can tell, and
    /// the position is believed.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn continues_from(&self, rev: Rev, at: Timestamp) -> Result<bool, Error> {
        let head = self.head().await?;
        if rev > head.rev || rev < head.horizon {
            return Ok(false);
        }
        if rev == head.rev {
            return Ok(at == head.at);
        }
        let before = Rev(rev.0.saturating_sub(1));
        if rev == Rev(0) || before < head.horizon {
            return Ok(true);
        }
        let page = self.changes(before, 1).await?;
        Ok(page.items.first().is_none_or(|row| row.rev != rev || row.at == at))
    }

    /// Reads the child collections, without hidden ones.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn children(&self) -> Result<Vec<Readable>, Error> {
        let all = self.all_children().await?;
        Ok(all.into_iter().filter(|child| !is_hidden(&child.collection)).collect())
    }

    /// Reads the child collections, hidden ones as well.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn all_children(&self) -> Result<Vec<Readable>, Error> {
        let found = self.house.store.children(self.id()).await?;
        Ok(found
            .into_iter()
            .filter(|child| child.owner == self.collection.owner)
            .map(|collection| Readable { house: Arc::clone(&self.house), collection })
            .collect())
    }

    /// Reads the child collection of that name, unless it is hidden.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn child(&self, name: &str) -> Result<Option<Readable>, Error> {
        let found = self.house.store.child(self.id(), name).await?;
        Ok(found
            .filter(|child| child.owner == self.collection.owner && !is_hidden(child))
            .map(|collection| Readable { house: Arc::clone(&self.house), collection }))
    }

    /// Reads the properties that clients set on an object.
    ///
    /// # Errors
    /// When the store fails or holds a record that cannot be read.
    pub async fn object_properties(&self, name: &str) -> Result<Properties, Error> {
        let key = object_properties_key(self.id(), name);
        let record: Option<Bytes> = self.house.store.record(&key).await?;
        match record {
            Some(bytes) => decode_properties(&bytes).map_err(Error::Failed),
            None => Ok(Properties::default()),
        }
    }
}

impl Writable {
    /// Returns the child collection of that name, with the same permission.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn writable_child(&self, name: &str) -> Result<Option<Writable>, Error> {
        Ok(self.child(name).await?.map(Writable))
    }
}

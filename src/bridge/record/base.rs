//! What the record of an object says at a glance.
//!
//! Owns: how a base begins, whether a write of it is open, where it is there. Does not own: its fields (`record`).

use super::{Base, RemoteId, parts_place, unplaced};
use crate::store::{Etag, Name, Timestamp};

impl Base {
    /// Tells whether it is announced, and where it will be is not known beforehand.
    pub fn is_unplaced(&self) -> bool {
        self.pending && self.remote == unplaced(&self.uid)
    }

    /// Tells whether nobody knows how far a write there came.
    pub fn is_open(&self) -> bool {
        self.pending || self.begun.is_some()
    }

    /// Tells whether it is announced as something that the far side never had.
    pub fn is_new(&self) -> bool {
        self.pending && self.begun.is_none()
    }

    /// Returns where it is on the far side; nothing: it has no place of its own there, or none yet.
    pub fn place(&self) -> Option<&RemoteId> {
        let none = self.is_unplaced() || (self.split.is_some() && self.remote == parts_place(&self.uid));
        (!none).then_some(&self.remote)
    }

    /// Returns what is known of an object before both sides have agreed on anything.
    pub fn new(uid: &str, name: Name, etag: Etag, remote: RemoteId) -> Base {
        Base {
            uid: uid.to_owned(),
            name,
            etag,
            remote,
            version: None,
            print: String::new(),
            sent: String::new(),
            missing: None,
            conflict: None,
            pending: false,
            begun: None,
            from_there: false,
            from_here: false,
            uid_there: None,
            fields: None,
            span: None,
            apart: None,
            part: None,
            split: None,
            agreed: Timestamp::default(),
            writes: Vec::new(),
        }
    }
}

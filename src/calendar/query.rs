//! Asking a calendar: which objects there are, with as little reading as the answer needs.

use bytes::Bytes;

use super::Error;
use super::access::Readable;
use crate::store::{Meta, Object};

/// An object of an answer, with whatever had to be read to find it.
#[derive(Debug, Clone)]
pub struct Found {
    /// The collection.
    pub at: Readable,
    /// All but the text.
    pub meta: Meta,
    /// The text, if it was wanted or needed.
    pub bytes: Option<Bytes>,
}

impl Found {
    /// Returns an object of which only the description was read.
    pub fn bare(at: Readable, meta: Meta) -> Found {
        Found { at, meta, bytes: None }
    }

    fn read(at: Readable, object: Object) -> Found {
        Found { bytes: Some(object.bytes), ..Found::bare(at, object.meta) }
    }
}

impl Readable {
    /// Reads an object with its text.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn found(&self, name: &str) -> Result<Option<Found>, Error> {
        Ok(self.object(name).await?.map(|object| Found::read(self.clone(), object)))
    }
}

//! What a check of the whole store says.
//!
//! Owns: the words of the answer. Does not own: how a store looks at itself (`sled::verify`), how an index follows
//! from bytes (the caller says it; the store knows no iCalendar).

use std::sync::Arc;

use super::{Collection, Index, Object};

/// Works out anew what is known of an object; nothing: this object is not compared.
pub type Recompute = Arc<dyn Fn(&Collection, &Object) -> Option<Index> + Send + Sync>;

/// The most flaws that are put into words.
const MOST: usize = 1000;

/// What was looked at and what is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Verified {
    /// Collections.
    pub collections: u64,
    /// Objects, each with its bytes.
    pub objects: u64,
    /// Bytes of objects.
    pub bytes: u64,
    /// Log rows.
    pub changes: u64,
    /// Records.
    pub records: u64,
    /// How many flaws there are.
    pub count: u64,
    /// The first thousand of them, a sentence each.
    pub flaws: Vec<String>,
}

impl Verified {
    /// Tells whether nothing is wrong.
    pub fn sound(&self) -> bool {
        self.count == 0
    }

    /// Adds a flaw.
    pub(crate) fn flaw(&mut self, words: impl Into<String>) {
        self.count += 1;
        if self.flaws.len() < MOST {
            self.flaws.push(words.into());
        }
    }
}

//! A set of names that costs the same for every name: 128 bits of its digest.
//!
//! This is all that a run holds for each event of a calendar, however large the event or its name: 17 bytes in a hash
//! table that is at least seven sixteenths full, so 20 to 39 bytes a name. Less would not do: a complete listing comes in
//! the far side's order and says by what it does *not* name that something is gone, so all of it has to be known before
//! the first absence counts. Two names with one digest do not occur (a hundred million names: one chance in 10²²); if they
//! did, an event that is gone would be taken for one that is there, and kept: nothing is lost.

use std::collections::HashSet;

use sha2::{Digest as _, Sha256};

/// See above.
#[derive(Debug, Clone, Default)]
pub(super) struct Digests(HashSet<u128>);

/// Returns the first 128 bits of the SHA-256 of a name.
pub(super) fn digest_of(name: &str) -> u128 {
    let digest = Sha256::digest(name.as_bytes());
    digest.iter().take(16).fold(0, |number, byte| number << 8 | u128::from(*byte))
}

impl Digests {
    /// Adds a name. Returns whether it is new.
    pub(super) fn insert(&mut self, name: &str) -> bool {
        self.0.insert(digest_of(name))
    }

    pub(super) fn contains(&self, name: &str) -> bool {
        self.0.contains(&digest_of(name))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds all names of another set.
    pub(super) fn extend(&mut self, other: Digests) {
        self.0.extend(other.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_known_by_its_digest() {
        let mut names = Digests::default();
        assert!(names.is_empty() && names.insert("a") && !names.insert("a") && names.insert(""));
        assert!(names.contains("a") && names.contains("") && !names.contains("b"));
        // SHA-256 of nothing begins e3b0c44298fc1c149afbf4c8996fb924.
        assert_eq!(digest_of(""), 0xe3b0_c442_98fc_1c14_9afb_f4c8_996f_b924);
        let mut more = Digests::default();
        more.extend(names);
        assert!(more.contains("a"));
    }
}

//! What an event is called on a far side that hears no more of it than that somebody is busy. Its UID may hold a mail
//! address, and tells everybody who was invited to the same event which one it is.
//!
//! Owns: those names, and finding the event of ours that one stands for. Does not own: what else a preset holds back
//! (`shape`).
//!
//! A name follows from the UID, so that a mapping that is made again knows its copies again, and from a number that only
//! the store knows, so that nobody outside can try UIDs on it.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use tokio::sync::OnceCell;

use super::apply::{Facts, Settled};
use super::fold::{part_of, part_uid};
use super::print::digest;
use super::record::{self, Direction, Fields};
use super::run::{Far, Halt, Pass};
use crate::store::{CollectionId, Commit, CommitError, Expect, Fault, Key, Name, Op, Origin, Store, Table};

/// What such a name ends with.
const MARK: &str = "@busy.kalends";
/// Members a page.
const PAGE: usize = 500;

/// What a pass knows of such names.
#[derive(Debug, Default)]
pub(super) struct Veil {
    /// What they are made with; empty: nothing was ever named so.
    salt: String,
    /// The UIDs of our collection by the names that stand for them, once they were needed.
    ours: OnceCell<HashMap<String, String>>,
    /// UIDs of ours whose counterpart was seen under such a name.
    seen: Mutex<HashSet<String>>,
}

/// Returns the name that stands for a UID. That of a part still says which part it is, and such a name stands for itself:
/// copies of copies come to an end.
fn veiled(salt: &str, uid: &str) -> String {
    match part_of(uid) {
        Some((whole, key)) => part_uid(&veiled(salt, whole), key),
        None if is_veiled(uid) => uid.to_owned(),
        None => format!("{}{MARK}", digest(format!("{salt}\n{uid}").as_bytes())),
    }
}

/// Tells whether a UID is such a name, or that of a part of one.
pub(super) fn is_veiled(uid: &str) -> bool {
    let whole = part_of(uid).map_or(uid, |(whole, _)| whole);
    let number = whole.strip_suffix(MARK);
    number.is_some_and(|text| text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// Returns the UIDs of a collection by the names that stand for them.
pub(super) async fn names(
    store: &dyn Store,
    collection: CollectionId,
) -> Result<HashMap<String, String>, Fault> {
    let salt = salt(store).await?;
    let mut names = HashMap::new();
    let mut after: Option<Name> = None;
    while !salt.is_empty() {
        let page = store.list(collection, after.as_ref().map(Name::as_str), PAGE).await?;
        let Some(last) = page.last() else { break };
        after = Some(last.name.clone());
        let uids = page.into_iter().filter_map(|meta| meta.index.uid);
        names.extend(uids.map(|uid| (veiled(&salt, &uid), uid)));
    }
    Ok(names)
}

fn key() -> Key {
    Key::new(Table::System, "veil")
}

async fn salt(store: &dyn Store) -> Result<String, Fault> {
    let found = store.record(&key()).await?;
    Ok(found.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default())
}

impl Pass {
    /// Reads what names are made with, and makes it if it was never needed before.
    pub(super) async fn load_veil(&mut self) -> Result<(), Halt> {
        if self.mapping.fields != Fields::Busy {
            return Ok(());
        }
        let store = std::sync::Arc::clone(&self.session.house.store);
        self.veil.salt = salt(&*store).await?;
        if self.veil.salt.is_empty() {
            let fresh = [record::random_id()?, record::random_id()?].concat();
            let mut commit = Commit::new(Origin::System, self.session.house.clock.now());
            commit.expects = vec![Expect::Record(key(), None)];
            commit.ops = vec![Op::PutRecord(key(), Bytes::from(fresh))];
            match store.commit(commit).await {
                // Another pass was faster.
                Ok(_) | Err(CommitError::Rejected(_)) => {}
                Err(CommitError::Fault(fault)) => return Err(fault.into()),
            }
            self.veil.salt = salt(&*store).await?;
        }
        Ok(())
    }

    /// Returns what an event is to be called on the far side; nothing: by its own UID.
    pub(super) fn veiled(&self, uid: &str) -> Option<String> {
        (self.mapping.fields == Fields::Busy).then(|| veiled(&self.veil.salt, uid)).filter(|name| name != uid)
    }

    /// Returns the UID of ours that a name stands for, if it is one.
    pub(super) async fn unveiled(&self, uid: &str) -> Result<Option<String>, Fault> {
        if !is_veiled(uid) {
            return Ok(None);
        }
        let (store, collection) = (&*self.session.house.store, self.at.id());
        let ours = self.veil.ours.get_or_try_init(|| names(store, collection)).await?;
        let (whole, part) = part_of(uid).map_or((uid, None), |(whole, key)| (whole, Some(key)));
        if let Some(found) = ours.get(whole).filter(|found| *found != whole) {
            return Ok(Some(part.map_or_else(|| found.clone(), |key| part_uid(found, key))));
        }
        // What was announced and is gone here since is found by what it was announced as.
        let announced = self.ledger.open_writes().await?;
        let is_it = |base: &super::record::Base| base.uid_there.as_deref() == Some(uid);
        Ok(announced.into_iter().find(is_it).map(|base| base.uid))
    }

    /// Notes that the counterpart of an event has the name that stands for its UID.
    pub(super) fn saw_veiled(&self, uid: &str) {
        self.veil.seen.lock().unwrap_or_else(PoisonError::into_inner).insert(uid.to_owned());
    }

    /// Returns what the counterpart of an event was seen under, if that is not its UID.
    pub(super) fn seen_veiled(&self, uid: &str) -> Option<String> {
        let seen = self.veil.seen.lock().unwrap_or_else(PoisonError::into_inner).contains(uid);
        if seen { self.veiled(uid) } else { None }
    }

    /// Leaves the shadow of an event that is here alone, which another mapping made. False: it is none.
    pub(super) async fn leave_shadow(&mut self, uid: &str, facts: &Facts) -> Result<bool, Halt> {
        let (None, None, Far::Seen(seen, ical)) = (&facts.base, &facts.object, &facts.far) else {
            return Ok(false);
        };
        if self.unveiled(uid).await?.is_none() {
            return Ok(false);
        }
        self.leave(seen, ical, false).await?;
        Ok(true)
    }

    /// Tells whether a copy of ours over there still says more than it is to say from now on.
    pub(super) fn says_too_much(&self, facts: &Facts) -> bool {
        let copy = facts.base.as_ref().is_some_and(|base| base.from_here && base.conflict.is_none());
        copy && facts.reshaped
            && self.mapping.fields == Fields::Busy
            && self.mapping.direction != Direction::Pull
            && facts.object.is_some()
            && facts.is_held()
    }

    /// Takes such a copy back. Another one is made in its place, that says no more than it may.
    pub(super) async fn hush(&mut self, uid: &str, facts: &Facts) -> Result<Settled, Halt> {
        match self.delete_remote(uid, facts, Vec::new()).await? {
            Settled::Done if self.ledger.by_uid(uid).await?.is_none() => Ok(Settled::Again),
            settled => Ok(settled),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stands_for_one_uid_and_for_itself() {
        let name = veiled("1", "anna@example.org");
        assert!(is_veiled(&name) && !name.contains("anna"), "{name}");
        assert_eq!(veiled("1", "anna@example.org"), name);
        assert_ne!(veiled("2", "anna@example.org"), name);
        assert_ne!(veiled("1", "bert@example.org"), name);
        assert_eq!(veiled("1", &name), name);
        let part = veiled("1", &part_uid("anna@example.org", "20270101"));
        assert_eq!(part, part_uid(&name, "20270101"));
        assert!(is_veiled(&part));
        for other in ["", "anna@example.org", MARK, "x@busy.kalends", &name[1..], &format!("{name}x")] {
            assert!(!is_veiled(other), "{other}");
        }
    }
}

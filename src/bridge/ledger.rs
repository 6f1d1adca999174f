//! What was last agreed on, object by object: read once a pass, kept in step with what the pass stores.
//!
//! Owns: finding a base by UID, by our name and by the far side's name. Bytes stay in the store until they are needed.

use std::collections::HashMap;

use bytes::Bytes;
use percent_encoding::percent_decode_str;

use super::provider::RemoteId;
use super::record::{self, Base, base_bytes_key, base_key};
use crate::store::{Fault, Name, Op, Store, Table};

/// The bases of one mapping.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    mapping: String,
    bases: HashMap<String, Base>,
    names: HashMap<Name, String>,
    remotes: HashMap<String, String>,
}

impl Ledger {
    pub(super) async fn load(store: &dyn Store, mapping: &str) -> Result<Ledger, Fault> {
        let mut ledger = Ledger { mapping: mapping.to_owned(), ..Ledger::default() };
        for base in record::load_all::<Base>(store, Table::Base, &format!("{mapping}/")).await? {
            ledger.insert(base);
        }
        Ok(ledger)
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Base> {
        self.bases.values()
    }

    pub(super) fn by_uid(&self, uid: &str) -> Option<&Base> {
        self.bases.get(uid)
    }

    pub(super) fn by_name(&self, name: &Name) -> Option<&Base> {
        self.bases.get(self.names.get(name)?)
    }

    pub(super) fn by_remote(&self, id: &RemoteId) -> Option<&Base> {
        self.bases.get(self.remotes.get(&spelling(id))?)
    }

    /// Remembers a base that is, or is being, stored.
    pub(super) fn insert(&mut self, base: Base) {
        self.remove(&base.uid);
        // A part lies in the name of its whole, which stands for it.
        if base.part.is_none() {
            self.names.insert(base.name.clone(), base.uid.clone());
        }
        self.remotes.insert(spelling(&base.remote), base.uid.clone());
        self.bases.insert(base.uid.clone(), base);
    }

    /// Forgets a base that is, or is being, removed.
    pub(super) fn remove(&mut self, uid: &str) {
        if let Some(old) = self.bases.remove(uid) {
            if self.names.get(&old.name).is_some_and(|u| u == uid) {
                self.names.remove(&old.name);
            }
            let spelling = spelling(&old.remote);
            if self.remotes.get(&spelling).is_some_and(|u| u == uid) {
                self.remotes.remove(&spelling);
            }
        }
    }

    /// Reads the far side's content as it was when both agreed.
    pub(super) async fn bytes(&self, store: &dyn Store, uid: &str) -> Result<Option<Bytes>, Fault> {
        store.record(&base_bytes_key(&self.mapping, uid)).await
    }

    /// Returns the steps that store a base, with the far side's bytes if they changed.
    pub(super) fn put(&self, base: &Base, bytes: Option<Bytes>) -> Result<Vec<Op>, Fault> {
        let mut ops = vec![record::put(base_key(&self.mapping, &base.uid), base)?];
        ops.extend(bytes.map(|bytes| Op::PutRecord(base_bytes_key(&self.mapping, &base.uid), bytes)));
        Ok(ops)
    }

    /// Returns the steps that forget a base.
    pub(super) fn delete(&self, uid: &str) -> Vec<Op> {
        vec![
            Op::DeleteRecord(base_key(&self.mapping, uid)),
            Op::DeleteRecord(base_bytes_key(&self.mapping, uid)),
        ]
    }
}

/// Far sides spell one name in several ways; decoded they are the same.
pub(super) fn spelling(id: &RemoteId) -> String {
    percent_decode_str(&id.0).decode_utf8_lossy().into_owned()
}

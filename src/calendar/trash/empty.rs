//! The whole trash of one account, forgotten at its owner's word.

use std::collections::{BTreeMap, BTreeSet};

use super::{Discarded, PAGE, Trashed, decode, prefix};
use crate::calendar::put::ATTEMPTS;
use crate::calendar::{Error, Session, versions};
use crate::store::{CollectionId, Commit, CommitError, Expect, Key, Op, Rev, Table};

/// Steps of one commit, more or less.
const PART: usize = 200;

/// What belongs together: a calendar, or all deletions of one event, with the records as they were read.
#[derive(Debug, Default)]
struct Group {
    records: Vec<(Key, bytes::Bytes)>,
    revs: Vec<Rev>,
}

/// The records of what goes together, as they were read, and what removes it.
type Part = (Vec<(Key, bytes::Bytes)>, Vec<Op>);

impl Session {
    /// Removes everything from the principal's trash for good, a part at a time. The former versions of an event that is
    /// nowhere else go with it. What somebody deletes meanwhile may stay.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn forget_all_trashed(&self) -> Result<(), Error> {
        for _ in 0..ATTEMPTS {
            if self.forget_what_lies_there().await? {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Tries it once; false if something was brought back meanwhile and a part was left.
    async fn forget_what_lies_there(&self) -> Result<bool, Error> {
        let mut calendars = BTreeMap::<CollectionId, Group>::new();
        let mut events = BTreeMap::<(CollectionId, String), Group>::new();
        let mut after: Option<String> = None;
        loop {
            let prefix = prefix(&self.principal.name);
            let page = self.house.store.records(Table::Trash, &prefix, after.as_deref(), PAGE).await?;
            let Some((last, _)) = page.last() else { break };
            after = Some(last.path.clone());
            for (key, record) in page {
                let Trashed { collection, what, .. } = decode(&key, &record)?;
                let group = match what {
                    Discarded::Calendar => calendars.entry(collection).or_default(),
                    Discarded::Object { uid, rev, .. } => {
                        let group = events.entry((collection, uid)).or_default();
                        group.revs.push(rev);
                        group
                    }
                };
                group.records.push((key, record));
            }
        }
        let mut parts = Vec::new();
        for ((collection, uid), group) in events {
            let only = self.house.store.by_uid(collection, &uid).await?.is_none();
            let mut ops = match only {
                true => versions::forget_all(&self.house, collection, &uid).await?,
                false => group.revs.iter().map(|rev| versions::forget(collection, &uid, *rev)).collect(),
            };
            ops.extend(group.records.iter().map(|(key, _)| Op::DeleteRecord(key.clone())));
            parts.push((group.records, ops));
        }
        for (collection, group) in calendars {
            let mut ops = vec![Op::DeleteCollection(collection)];
            ops.extend(group.records.iter().map(|(key, _)| Op::DeleteRecord(key.clone())));
            parts.push((group.records, ops));
        }
        self.forget_parts(parts).await
    }

    async fn forget_parts(&self, parts: Vec<Part>) -> Result<bool, Error> {
        let fresh = || Commit::new(self.origin.clone(), self.house.clock.now());
        let mut whole = true;
        let mut commit = fresh();
        let mut seen = BTreeSet::new();
        let mut parts = parts.into_iter().peekable();
        while let Some((records, ops)) = parts.next() {
            for (key, record) in records {
                commit = commit.expect(Expect::Record(key, Some(record)));
            }
            for op in ops {
                // A version that two deletions name is removed once.
                let named = match &op {
                    Op::DeleteRecord(key) => seen.insert(key.clone()),
                    _ => true,
                };
                if named {
                    commit = commit.op(op);
                }
            }
            if commit.ops.len() < PART && parts.peek().is_some() {
                continue;
            }
            match self.house.store.commit(std::mem::replace(&mut commit, fresh())).await {
                Ok(_) => {}
                Err(CommitError::Rejected(_)) => whole = false,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(whole)
    }
}

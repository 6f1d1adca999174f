//! The whole store as it stood at one moment, while writing goes on.
//!
//! Owns: what rows were before they were overwritten since then. The committer notes them **before** it writes; a
//! reader looks at the database first and then at what was noted, so it never sees anything newer.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use ::sled::IVec;

use super::batch::Batch;
use super::rows::{Rows, Space, Trees, Visit};
use crate::store::Fault;

/// The most bytes that may be noted for a snapshot: a reader that is too slow is told so.
const MOST: usize = 256 << 20;

/// Rows that are read at a time.
const PAGE: usize = 256;

/// A reader's view of one moment.
#[derive(Debug, Clone)]
pub(super) struct Snapshot {
    trees: Arc<Trees>,
    before: Arc<Before>,
}

/// Rows as they were.
#[derive(Debug, Default)]
pub(super) struct Before(Mutex<Noted>);

#[derive(Debug, Default)]
struct Noted {
    rows: BTreeMap<Space, BTreeMap<Vec<u8>, Option<IVec>>>,
    size: usize,
    lost: bool,
}

impl Before {
    fn noted(&self) -> MutexGuard<'_, Noted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The snapshots that are being read, as the committer knows them.
#[derive(Debug, Default)]
pub(super) struct Snapshots(Vec<Weak<Before>>);

impl Snapshots {
    /// Begins one. Only between two groups.
    pub(super) fn begin(&mut self, trees: &Arc<Trees>) -> Snapshot {
        let before = Arc::new(Before::default());
        self.0.push(Arc::downgrade(&before));
        Snapshot { trees: trees.clone(), before }
    }

    /// Notes the rows that the batch is going to overwrite.
    pub(super) fn note(&mut self, trees: &Trees, batch: &Batch<'_>) -> Result<(), Fault> {
        self.0.retain(|before| before.strong_count() > 0);
        for before in self.0.iter().filter_map(Weak::upgrade) {
            for (space, key, _) in batch.rows() {
                let old = trees.get(space, key)?;
                let mut noted = before.noted();
                if noted.lost {
                    break;
                }
                let size = key.len() + old.as_ref().map_or(0, |row| row.len()) + 64;
                let rows = noted.rows.entry(space).or_default();
                if !rows.contains_key(key) {
                    rows.insert(key.clone(), old);
                    noted.size += size;
                }
                if noted.size > MOST {
                    *noted = Noted { lost: true, ..Noted::default() };
                }
            }
        }
        Ok(())
    }
}

impl Snapshot {
    fn noted(&self) -> Result<MutexGuard<'_, Noted>, Fault> {
        let noted = self.before.noted();
        match noted.lost {
            true => Err(Fault::Broken("too much was written while the store was read: try again".into())),
            false => Ok(noted),
        }
    }
}

impl Rows for Snapshot {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<IVec>, Fault> {
        let now = self.trees.get(space, key)?;
        let noted = self.noted()?;
        Ok(noted.rows.get(&space).and_then(|rows| rows.get(key)).cloned().unwrap_or(now))
    }

    fn scan(&self, space: Space, start: &[u8], end: &[u8], visit: Visit<'_>) -> Result<(), Fault> {
        let mut start = start.to_vec();
        while start.as_slice() < end {
            let mut page = BTreeMap::new();
            self.trees.scan(space, &start, end, &mut |key, row| {
                page.insert(key.to_vec(), Some(row.clone()));
                Ok(page.len() < PAGE)
            })?;
            let next = match page.last_key_value() {
                Some((last, _)) if page.len() >= PAGE => [last.as_slice(), &[0]].concat(),
                _ => end.to_vec(),
            };
            if let Some(rows) = self.noted()?.rows.get(&space) {
                let range = (Bound::Included(start.as_slice()), Bound::Excluded(next.as_slice()));
                for (key, row) in rows.range::<[u8], _>(range) {
                    page.insert(key.clone(), row.clone());
                }
            }
            for (key, row) in &page {
                if let Some(row) = row
                    && !visit(key, row)?
                {
                    return Ok(());
                }
            }
            start = next;
        }
        Ok(())
    }
}

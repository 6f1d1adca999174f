//! A group of writes that is not in the database yet.
//!
//! Owns: reading through the group, taking one commit of it back, writing it all in one transaction.
//! Only the committer thread writes, so what is read below a batch cannot change before it is applied.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ops::Bound;

use ::sled::IVec;
use ::sled::transaction::{ConflictableTransactionError, TransactionError, Transactional, TransactionalTree};

use super::rows::{Rows, Space, Trees, fault};
use crate::store::Fault;

type Writes = BTreeMap<Vec<u8>, Option<IVec>>;

/// Rows to be written and removed, over the database.
pub(super) struct Batch<'a> {
    trees: &'a Trees,
    writes: BTreeMap<Space, Writes>,
    /// What stood in `writes` before each step of the commit at hand.
    undo: Vec<(Space, Vec<u8>, Option<Option<IVec>>)>,
    size: usize,
}

impl<'a> Batch<'a> {
    /// Begins an empty batch.
    pub(super) fn over(trees: &'a Trees) -> Batch<'a> {
        Batch { trees, writes: BTreeMap::new(), undo: Vec::new(), size: 0 }
    }

    /// Writes a row.
    pub(super) fn put(&mut self, space: Space, key: Vec<u8>, row: Vec<u8>) {
        self.size += key.len() + row.len();
        self.set(space, key, Some(IVec::from(row)));
    }

    /// Removes a row.
    pub(super) fn remove(&mut self, space: Space, key: Vec<u8>) {
        self.size += key.len();
        self.set(space, key, None);
    }

    fn set(&mut self, space: Space, key: Vec<u8>, row: Option<IVec>) {
        let before = match self.writes.entry(space).or_default().entry(key.clone()) {
            Entry::Occupied(mut entry) => Some(entry.insert(row)),
            Entry::Vacant(entry) => {
                entry.insert(row);
                None
            }
        };
        self.undo.push((space, key, before));
    }

    /// Keeps the commit at hand.
    pub(super) fn keep(&mut self) {
        self.undo.clear();
    }

    /// Takes the commit at hand back.
    pub(super) fn revert(&mut self) {
        while let Some((space, key, before)) = self.undo.pop() {
            let writes = self.writes.entry(space).or_default();
            match before {
                Some(row) => writes.insert(key, row),
                None => writes.remove(&key),
            };
        }
    }

    /// Returns the bytes gathered so far.
    pub(super) fn size(&self) -> usize {
        self.size
    }

    /// Tells whether there is nothing to write.
    pub(super) fn is_empty(&self) -> bool {
        self.writes.values().all(BTreeMap::is_empty)
    }

    /// Returns every row that is going to be written or removed.
    pub(super) fn rows(&self) -> impl Iterator<Item = (Space, &Vec<u8>, &Option<IVec>)> {
        self.writes.iter().flat_map(|(space, writes)| writes.iter().map(|(key, row)| (*space, key, row)))
    }

    /// Writes everything in one transaction; durable only after a flush and an fsync.
    pub(super) fn apply(&self) -> Result<(), Fault> {
        let spaces: Vec<(&::sled::Tree, &Writes)> =
            self.writes.iter().map(|(space, writes)| (self.trees.tree(*space), writes)).collect();
        let trees: Vec<&::sled::Tree> = spaces.iter().map(|(tree, _)| *tree).collect();
        let done = trees.as_slice().transaction(|views: &Vec<TransactionalTree>| {
            for (view, (_, writes)) in views.iter().zip(&spaces) {
                for (key, row) in *writes {
                    match row {
                        Some(row) => view.insert(key.as_slice(), row)?,
                        None => view.remove(key.as_slice())?,
                    };
                }
            }
            Ok::<(), ConflictableTransactionError<()>>(())
        });
        match done {
            Ok(()) => Ok(()),
            Err(TransactionError::Storage(error)) => Err(fault(error)),
            Err(TransactionError::Abort(())) => Err(Fault::Broken("the transaction was aborted".into())),
        }
    }
}

impl Rows for Batch<'_> {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<IVec>, Fault> {
        match self.writes.get(&space).and_then(|writes| writes.get(key)) {
            Some(row) => Ok(row.clone()),
            None => self.trees.get(space, key),
        }
    }

    fn scan(
        &self,
        space: Space,
        start: &[u8],
        end: &[u8],
        visit: &mut dyn FnMut(&[u8], &IVec) -> Result<bool, Fault>,
    ) -> Result<(), Fault> {
        if start >= end {
            return Ok(());
        }
        let empty = Writes::new();
        let writes = self.writes.get(&space).unwrap_or(&empty);
        let mut over = writes.range::<[u8], _>((Bound::Included(start), Bound::Excluded(end))).peekable();
        let mut going = true;
        self.trees.scan(space, start, end, &mut |key, row| {
            while let Some((new, value)) = over.next_if(|(new, _)| new.as_slice() < key) {
                if let Some(value) = value {
                    going = visit(new, value)?;
                    if !going {
                        return Ok(false);
                    }
                }
            }
            going = match over.next_if(|(new, _)| new.as_slice() == key) {
                Some((_, Some(value))) => visit(key, value)?,
                Some((_, None)) => true,
                None => visit(key, row)?,
            };
            Ok(going)
        })?;
        while let Some((new, value)) = over.next_if(|_| going) {
            if let Some(value) = value {
                going = visit(new, value)?;
            }
        }
        Ok(())
    }
}

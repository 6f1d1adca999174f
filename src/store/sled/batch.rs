//! A group of writes that is not in the database yet.
//!
//! Owns: reading through the group, taking one commit of it back, writing it all in one transaction.
//! Only the committer thread writes, so what is read below a batch cannot change before it is applied.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ops::Bound;

use ::sled::IVec;
use ::sled::transaction::{ConflictableTransactionError, TransactionError, Transactional, TransactionalTree};

use super::read;
use super::rows::{self, NEXT_SERIAL, Rows, Space, Trees, Visit, fault};
use crate::store::Fault;
use crate::store::codec::Writer;

type Writes = BTreeMap<Vec<u8>, Option<IVec>>;

/// Rows to be written and removed, over the database.
pub(super) struct Batch<'a> {
    trees: &'a Trees,
    writes: BTreeMap<Space, Writes>,
    /// What stood in `writes` before each step of the commit at hand.
    undo: Vec<(Space, Vec<u8>, Option<Option<IVec>>)>,
}

impl<'a> Batch<'a> {
    /// Begins an empty batch.
    pub(super) fn over(trees: &'a Trees) -> Batch<'a> {
        Batch { trees, writes: BTreeMap::new(), undo: Vec::new() }
    }

    /// Writes a row.
    pub(super) fn put(&mut self, space: Space, key: Vec<u8>, row: Vec<u8>) {
        self.set(space, key, Some(IVec::from(row)));
    }

    /// Removes a row.
    pub(super) fn remove(&mut self, space: Space, key: Vec<u8>) {
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

    /// Takes the next number of a counter; the first is 1.
    pub(super) fn next(&mut self, counter: &[u8]) -> Result<u64, Fault> {
        let number = read::counter(self, counter)?.max(1);
        self.set_counter(counter, number + 1);
        Ok(number)
    }

    pub(super) fn set_counter(&mut self, counter: &[u8], next: u64) {
        let mut row = Writer::row();
        row.number(next);
        self.put(Space::Core, counter.to_vec(), row.0);
    }

    /// Writes a value that may be long.
    pub(super) fn put_value(&mut self, space: Space, key: Vec<u8>, value: &[u8]) -> Result<(), Fault> {
        self.remove_pieces(space, &key)?;
        let folded = rows::fold(space, &key, value, || self.next(NEXT_SERIAL))?;
        for (key, row) in folded.pieces {
            self.put(Space::Body, key, row);
        }
        self.put(space, key, folded.row);
        Ok(())
    }

    /// Removes a value that may be long; tells whether it was there.
    pub(super) fn remove_value(&mut self, space: Space, key: Vec<u8>) -> Result<bool, Fault> {
        let there = self.remove_pieces(space, &key)?;
        if there {
            self.remove(space, key);
        }
        Ok(there)
    }

    fn remove_pieces(&mut self, space: Space, key: &[u8]) -> Result<bool, Fault> {
        let Some(row) = self.get(space, key)? else { return Ok(false) };
        for key in rows::keys_of_pieces(space, key, &row)? {
            self.remove(Space::Body, key);
        }
        Ok(true)
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

    /// Gives up the database and keeps the rows.
    pub(super) fn into_rows(self) -> Vec<(Space, Vec<u8>, Option<IVec>)> {
        let spaces = self.writes.into_iter();
        spaces
            .flat_map(|(space, writes)| writes.into_iter().map(move |(key, row)| (space, key, row)))
            .collect()
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
        if self.is_empty() {
            return Ok(());
        }
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

    fn scan(&self, space: Space, start: &[u8], end: &[u8], visit: Visit<'_>) -> Result<(), Fault> {
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

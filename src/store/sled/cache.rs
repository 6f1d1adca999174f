//! What is asked for all the time, in memory: collections, children by name, where logs stand.
//!
//! Owns: never to show something older than what was acknowledged, and no log position that a power cut could
//! take back: heads change here only when their commit is durable. Bounded: when full, it starts over.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::read;
use super::rows::Rows;
use crate::store::{Collection, CollectionId, Fault, Head, Origin};

/// The most entries of each map.
const MOST: usize = 4096;

#[derive(Debug, Default)]
pub(super) struct Cache(RwLock<Maps>);

#[derive(Debug, Default)]
struct Maps {
    /// Grows with every change, so that a reader who read before it does not store what it read.
    generation: u64,
    collections: HashMap<CollectionId, Arc<Collection>>,
    children: HashMap<CollectionId, HashMap<String, CollectionId>>,
    child_count: usize,
    heads: HashMap<CollectionId, Head>,
    writers: HashMap<u64, Origin>,
}

impl Cache {
    fn maps(&self) -> RwLockReadGuard<'_, Maps> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self) -> RwLockWriteGuard<'_, Maps> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads a collection.
    pub(super) fn collection(
        &self,
        rows: &impl Rows,
        id: CollectionId,
    ) -> Result<Option<Arc<Collection>>, Fault> {
        let generation = {
            let maps = self.maps();
            if let Some(found) = maps.collections.get(&id) {
                return Ok(Some(found.clone()));
            }
            maps.generation
        };
        let Some(found) = read::collection(rows, id)?.map(Arc::new) else { return Ok(None) };
        let mut maps = self.change();
        if maps.generation == generation {
            if maps.collections.len() >= MOST {
                maps.collections.clear();
            }
            maps.collections.insert(id, found.clone());
        }
        Ok(Some(found))
    }

    /// Reads a child.
    pub(super) fn child(
        &self,
        rows: &impl Rows,
        parent: CollectionId,
        name: &str,
    ) -> Result<Option<Arc<Collection>>, Fault> {
        let (known, generation) = {
            let maps = self.maps();
            (maps.children.get(&parent).and_then(|names| names.get(name)).copied(), maps.generation)
        };
        if let Some(id) = known {
            return self.collection(rows, id);
        }
        let Some(id) = read::child(rows, parent, name)? else { return Ok(None) };
        {
            let mut maps = self.change();
            if maps.generation == generation {
                if maps.child_count >= MOST {
                    maps.children.clear();
                    maps.child_count = 0;
                }
                maps.child_count += 1;
                maps.children.entry(parent).or_default().insert(name.to_owned(), id);
            }
        }
        self.collection(rows, id)
    }

    /// Tells whether a collection is there.
    pub(super) fn live(&self, rows: &impl Rows, id: CollectionId) -> Result<bool, Fault> {
        match id {
            CollectionId::HOMES | CollectionId::FILES | CollectionId::TRASH => Ok(true),
            _ => Ok(self.collection(rows, id)?.is_some()),
        }
    }

    /// Reads where a log durably stands.
    pub(super) fn head(&self, rows: &impl Rows, id: CollectionId) -> Result<Head, Fault> {
        loop {
            let generation = {
                let maps = self.maps();
                if let Some(head) = maps.heads.get(&id) {
                    return Ok(*head);
                }
                maps.generation
            };
            let read = read::head(rows, id)?.head;
            let mut maps = self.change();
            // The committer notes the durable head before it writes a new one: what it noted meanwhile counts.
            if let Some(head) = maps.heads.get(&id) {
                return Ok(*head);
            }
            if maps.generation == generation {
                if read != Head::default() {
                    maps.heads.insert(id, read);
                }
                return Ok(read);
            }
        }
    }

    /// Reads who a writer's number stands for.
    pub(super) fn writer(&self, rows: &impl Rows, number: u64) -> Result<Origin, Fault> {
        if let Some(origin) = self.maps().writers.get(&number) {
            return Ok(origin.clone());
        }
        let origin = read::writer(rows, number)?;
        let mut maps = self.change();
        if maps.writers.len() >= MOST {
            maps.writers.clear();
        }
        maps.writers.insert(number, origin.clone());
        Ok(origin)
    }

    /// Notes where logs durably stand before a group of writes moves them.
    pub(super) fn before(&self, heads: impl Iterator<Item = (CollectionId, Head)>) {
        let mut maps = self.change();
        if maps.heads.len() >= MOST {
            maps.heads.clear();
            maps.generation += 1;
        }
        for (id, head) in heads {
            maps.heads.entry(id).or_insert(head);
        }
    }

    /// Notes what a durable group of writes changed. A collection that is gone has no head.
    pub(super) fn after(
        &self,
        heads: impl Iterator<Item = (CollectionId, Option<Head>)>,
        changed: &[CollectionId],
    ) {
        let mut maps = self.change();
        for (id, head) in heads {
            match head {
                Some(head) => maps.heads.insert(id, head),
                None => maps.heads.remove(&id),
            };
        }
        if !changed.is_empty() {
            maps.generation += 1;
            for id in changed {
                maps.collections.remove(id);
            }
            maps.children.clear();
            maps.child_count = 0;
        }
    }

    /// Forgets everything, after the database was opened anew.
    pub(super) fn clear(&self) {
        let mut maps = self.change();
        let generation = maps.generation + 1;
        *maps = Maps { generation, ..Maps::default() };
    }
}

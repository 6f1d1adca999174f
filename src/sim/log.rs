//! What was asked of a simulator.
//!
//! Owns: the list of requests, how many were under way at once. Does not own: contents, which are never kept.

use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;

/// One request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// When it came, in milliseconds since 1970 by the simulator's clock.
    pub at: i64,
    /// The method.
    pub method: String,
    /// The path as it was sent.
    pub path: String,
    /// The names and values of the query; codes and tokens of sign-in are left out.
    pub query: Vec<(String, String)>,
    /// The status of the answer; 0: the connection was dropped.
    pub status: u16,
    /// How many objects it changed.
    pub wrote: u32,
    /// It was a call inside a batch.
    pub batched: bool,
}

/// The requests in the order of their ends. Copies share it.
#[derive(Debug, Clone, Default)]
pub struct Log(Arc<Mutex<Kept>>);

#[derive(Debug, Default)]
struct Kept {
    entries: Vec<Entry>,
    running: usize,
    most: usize,
}

impl Log {
    fn with<T>(&self, change: impl FnOnce(&mut Kept) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Returns all requests.
    pub fn entries(&self) -> Vec<Entry> {
        self.with(|kept| kept.entries.clone())
    }

    /// Returns the number of requests, calls inside batches counted each, the batch as one more.
    pub fn count(&self) -> usize {
        self.with(|kept| kept.entries.len())
    }

    /// Returns the number of objects that requests changed.
    pub fn writes(&self) -> u32 {
        self.with(|kept| kept.entries.iter().map(|entry| entry.wrote).sum())
    }

    /// Returns how many requests are under way.
    pub fn running(&self) -> usize {
        self.with(|kept| kept.running)
    }

    /// Returns how many requests were under way at once, at most.
    pub fn most_at_once(&self) -> usize {
        self.with(|kept| kept.most)
    }

    /// Forgets everything.
    pub fn clear(&self) {
        self.with(|kept| {
            kept.entries.clear();
            kept.most = kept.running;
        });
    }

    /// Forgets the oldest requests until no more than so many are left.
    pub fn keep(&self, most: usize) {
        self.with(|kept| {
            let over = kept.entries.len().saturating_sub(most);
            kept.entries.drain(..over);
        });
    }

    pub(super) fn add(&self, entry: Entry) {
        self.with(|kept| kept.entries.push(entry));
    }

    /// Counts a request as under way until the guard is dropped.
    pub(super) fn begin(&self) -> UnderWay {
        self.with(|kept| {
            kept.running += 1;
            kept.most = kept.most.max(kept.running);
        });
        UnderWay(self.clone())
    }
}

/// A request that is under way.
#[derive(Debug)]
pub(super) struct UnderWay(Log);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.with(|kept| kept.running = kept.running.saturating_sub(1));
    }
}

//! What stands before every outbound call to somebody: whether it may be made, and how many may be under way.
//!
//! Owns: the words. Does not own: who says no, and for how long (`bridge`).

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Whether a call may be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Turn {
    /// At once.
    Now,
    /// After a short wait; it is counted already.
    After(Duration),
    /// Not now: a sentence for people, and how long until it may be.
    Later(String, Duration),
}

/// How much a call is to the far side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Weight {
    /// As how many calls it counts.
    pub calls: u32,
    /// How many calls of it are under way at a time.
    pub at_once: u32,
}

impl Weight {
    /// An ordinary call.
    pub const ONE: Weight = Weight { calls: 1, at_once: 1 };
}

/// Counts calls and holds them back.
pub trait Meter: std::fmt::Debug + Send + Sync {
    /// Counts a call that is about to be made, unless it is put off. `waited` is how long calls of this client have been
    /// held back so far, all together.
    fn turn(&self, calls: u32, waited: Duration) -> Turn;

    /// Returns the places of calls that may be under way at a time. Nothing: any number may.
    fn places(&self) -> Option<&Places> {
        None
    }

    /// Hears what the far side answered, and how long it asked to be left alone.
    fn heard(&self, status: StatusCode, wait: Option<Duration>) {
        let _ = (status, wait);
    }
}

/// So many calls may be under way at a time; whoever comes first goes first.
#[derive(Debug, Clone)]
pub struct Places {
    free: Arc<Semaphore>,
    all: u32,
}

impl Places {
    /// Returns so many places, one at least.
    pub fn new(all: u32) -> Places {
        let all = all.max(1);
        Places { free: Arc::new(Semaphore::new(usize::try_from(all).unwrap_or(1))), all }
    }

    /// Takes so many places, or all there are, until what is returned is dropped.
    pub(super) async fn take(&self, places: u32) -> Option<OwnedSemaphorePermit> {
        // Nobody closes it.
        Arc::clone(&self.free).acquire_many_owned(places.clamp(1, self.all)).await.ok()
    }
}

//! What doors see of the bridge: connections, mappings, runs and conflicts of one principal.
//!
//! Owns: who may see them, what settings are accepted. Does not own: passes (`work`, `run`).

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::pace::{Pace, Schedule};
use super::provider::{RemoteId, Trouble};
use super::record::{self, Connection, Direction, Mapping, MappingState, Policy, mapping_state_key};
use super::run::MassDelete;
use super::work::Job;
use crate::auth::grant::{Keyring, SealError};
use crate::calendar::House;
use crate::http::fetch::Fetch;
use crate::store::{
    Collection, CollectionId, Commit, CommitError, Expect, Fault, Key, Kind as CollectionKind, Op, Origin,
    Table,
};

/// Passes at a time.
const PASSES: usize = 16;

/// How the server is set up.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Pace of all mappings that do not say otherwise.
    pub schedule: Schedule,
    /// When deletions wait.
    pub mass_delete: MassDelete,
    /// How long runs are kept.
    pub keep_runs: Duration,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            schedule: Schedule::default(),
            mass_delete: MassDelete::default(),
            keep_runs: Duration::from_secs(90 * 86_400),
        }
    }
}

/// Why the bridge did not do what it was asked.
#[derive(Debug, Clone)]
pub enum BridgeError {
    /// There is no such thing, or it is somebody else's.
    Missing,
    /// A value is not accepted: which, and why.
    Invalid(&'static str, String),
    /// The far side does not do it.
    Far(Trouble),
    /// It cannot be done as things are, in words.
    Conflict(String),
    /// It has to wait.
    Wait(Duration),
    /// The store failed.
    Failed(Fault),
}

impl From<Fault> for BridgeError {
    fn from(fault: Fault) -> BridgeError {
        BridgeError::Failed(fault)
    }
}

impl From<Trouble> for BridgeError {
    fn from(trouble: Trouble) -> BridgeError {
        BridgeError::Far(trouble)
    }
}

impl From<SealError> for BridgeError {
    fn from(error: SealError) -> BridgeError {
        BridgeError::Failed(Fault::Broken(error.to_string()))
    }
}

impl From<CommitError> for BridgeError {
    fn from(error: CommitError) -> BridgeError {
        match error {
            CommitError::Fault(fault) => BridgeError::Failed(fault),
            CommitError::Rejected(_) => {
                BridgeError::Conflict("It was changed by somebody else meanwhile.".into())
            }
        }
    }
}

/// What a new mapping is to be.
#[derive(Debug, Clone)]
pub struct NewMapping {
    /// The collection here.
    pub collection: CollectionId,
    /// The account there.
    pub connection: String,
    /// The calendar there.
    pub remote: RemoteId,
    /// Which way.
    pub direction: Direction,
    /// Who wins.
    pub policy: Policy,
    /// False: it rests.
    pub enabled: bool,
    /// Seconds between two looks.
    pub poll_seconds: Option<u64>,
}

/// What the bridge keeps in memory of one mapping.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) collection: CollectionId,
    pub(super) enabled: bool,
    pub(super) pace: Pace,
    /// Something changed here since the last pass began.
    pub(super) dirty: bool,
    pub(super) running: Option<Arc<Job>>,
    /// Held while the mapping or what it remembers is changed.
    pub(super) lock: Arc<tokio::sync::Mutex<()>>,
}

/// The bridge. One for a server; followed by `follow::follow`.
pub struct Bridge {
    pub(super) house: Arc<House>,
    pub(super) keys: Arc<Keyring>,
    pub(super) fetch: Fetch,
    pub(super) settings: Settings,
    pub(super) lines: Mutex<HashMap<String, Line>>,
    pub(super) wake: Notify,
    pub(super) passes: Arc<Semaphore>,
    pub(super) tasks: TaskTracker,
    pub(super) stop: CancellationToken,
    /// Accounts that changed, and may have been removed.
    departed: Mutex<BTreeSet<String>>,
}

impl std::fmt::Debug for Bridge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bridge").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Bridge {
    /// Returns the bridge over what the store remembers of it. Makes no call.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn open(
        house: Arc<House>,
        keys: Arc<Keyring>,
        fetch: Fetch,
        settings: Settings,
    ) -> Result<Arc<Bridge>, Fault> {
        let mut lines = HashMap::new();
        // An account that was removed while nobody followed is noticed at the first look.
        let connections = record::load_all::<Connection>(&*house.store, Table::Connection, "").await?;
        let owners = connections.into_iter().map(|connection| connection.owner).collect();
        for mapping in record::load_all::<Mapping>(&*house.store, Table::Mapping, "").await? {
            let state: Option<MappingState> =
                record::load(&*house.store, &mapping_state_key(&mapping.id)).await?;
            let line = line(&mapping, &state.unwrap_or_default());
            lines.insert(mapping.id, line);
        }
        Ok(Arc::new(Bridge {
            house,
            keys,
            fetch,
            settings,
            lines: Mutex::new(lines),
            wake: Notify::new(),
            passes: Arc::new(Semaphore::new(PASSES)),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
            departed: Mutex::new(owners),
        }))
    }

    /// Cuts the passes that run and waits until they are gone. What they had not finished, the next ones finish.
    pub async fn close(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    pub(super) fn lines(&self) -> std::sync::MutexGuard<'_, HashMap<String, Line>> {
        self.lines.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub(super) fn departed(&self) -> std::sync::MutexGuard<'_, BTreeSet<String>> {
        self.departed.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Forgets the connections, secrets and mappings of accounts that are gone.
    pub(super) async fn clear_up(&self) -> Result<(), BridgeError> {
        let names = std::mem::take(&mut *self.departed());
        for name in names {
            if self.house.principal(&name).await?.is_some() {
                continue;
            }
            for (connection, _) in self.connections(&name).await? {
                self.disconnect(&name, &connection.id).await?;
            }
        }
        Ok(())
    }

    /// Reads a record of a person; an id that cannot be one names nothing.
    pub(super) async fn owned<T: serde::de::DeserializeOwned>(
        &self,
        key: Key,
        id: &str,
    ) -> Result<Option<T>, BridgeError> {
        if id.is_empty() || !id.bytes().all(|b| b.is_ascii_alphanumeric()) {
            return Ok(None);
        }
        Ok(record::load(&*self.house.store, &key).await?)
    }

    pub(super) async fn calendar(
        &self,
        owner: &str,
        id: CollectionId,
    ) -> Result<Arc<Collection>, BridgeError> {
        let found = self.house.store.collection(id).await?;
        found
            .filter(|c| c.owner == owner && c.kind == CollectionKind::Calendar)
            .ok_or_else(|| BridgeError::Invalid("calendar", "There is no such calendar.".into()))
    }

    /// Tells whether a pass of the mapping runs.
    pub fn is_running(&self, mapping: &str) -> bool {
        self.lines().get(mapping).is_some_and(|line| line.running.is_some())
    }

    /// Cuts the pass that runs, if one does, and keeps others from beginning. A far side that is slow does not keep
    /// anybody from changing a mapping.
    pub(super) async fn hold(&self, mapping: &str) -> Result<tokio::sync::OwnedMutexGuard<()>, BridgeError> {
        let (lock, running) = match self.lines().get(mapping) {
            Some(line) => (Arc::clone(&line.lock), line.running.clone()),
            None => return Err(BridgeError::Missing),
        };
        if let Some(job) = running {
            job.cut.cancel();
            self.run_soon(mapping);
        }
        Ok(lock.lock_owned().await)
    }

    /// Has a mapping looked at as soon as possible.
    pub(super) fn run_soon(&self, mapping: &str) {
        if let Some(line) = self.lines().get_mut(mapping) {
            let not_before = line.pace.not_before;
            line.pace = Pace { next: Some(self.house.clock.now()), not_before, ..Pace::default() };
        }
        self.wake.notify_one();
    }

    pub(super) async fn commit(&self, ops: Vec<Op>) -> Result<(), BridgeError> {
        self.commit_if(Vec::new(), ops).await
    }

    pub(super) async fn commit_if(&self, expects: Vec<Expect>, ops: Vec<Op>) -> Result<(), BridgeError> {
        let mut commit = Commit::new(Origin::System, self.house.clock.now());
        commit.expects = expects;
        commit.ops = ops;
        self.house.store.commit(commit).await?;
        Ok(())
    }
}

pub(super) fn line(mapping: &Mapping, state: &MappingState) -> Line {
    Line {
        collection: mapping.collection,
        enabled: mapping.enabled,
        pace: state.pace,
        // What was written while nobody followed is found by the cursor.
        dirty: true,
        running: None,
        lock: Arc::default(),
    }
}

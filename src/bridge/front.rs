//! What doors see of the bridge: connections, mappings, runs and conflicts of one principal.
//!
//! Owns: who may see them, what settings are accepted. Does not own: passes (`work`, `run`).

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::AtomicI64;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::alarms::Alarms;
use super::breaker::{Breaker, Breakers, Gate};
use super::budget::{Budgets, Rates};
use super::connections::Mirrored;
use super::kept::Records;
use super::lines::{Line, Lines};
use super::overlap::Detect;
use super::pace::{Pace, Schedule};
use super::provider::{RemoteId, Trouble};
use super::record::{
    self, Connection, ConnectionState, Direction, Fields, Filter, Kind, Mapping, MappingState, OnDelete,
    Policy, Push, Reach, Rule, Urgent, connection_state_key, mapping_state_key,
};
use super::run::MassDelete;
use super::sites::Providers;
use super::ties::Ties;
use crate::auth::grant::{Keyring, SealError};
use crate::calendar::House;
use crate::calendar::booking::is_holds;
use crate::http::fetch::Fetch;
use crate::store::{
    Collection, CollectionId, Commit, CommitError, Expect, Fault, Key, Kind as CollectionKind, Op, Origin,
    Table, Timestamp,
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
    /// How far back mappings look that do not say otherwise.
    pub window_past: Reach,
    /// How far ahead.
    pub window_future: Reach,
    /// When everything is compared, in seconds of the day by the owner's clock, whatever the cursors say.
    pub full_resync_at: u32,
    /// How many calls each kind of far side may be asked to bear.
    pub rates: Rates,
    /// Which overlaps of events from outside are told.
    pub detect_overlap: Detect,
    /// Where far sides are and as whom they are spoken to.
    pub providers: Providers,
    /// Where people and far sides reach this server.
    pub base_url: String,
    /// How many passes a person may ask for in an hour; nothing: as usual.
    pub manual_sync: Option<u32>,
    /// Which way a new mapping carries if nobody says.
    pub default_direction: Direction,
    /// How many calendars of one account may be mapped; nothing: any number.
    pub mapping_limit: Option<usize>,
    /// Only main calendars are offered, of accounts that have such a thing.
    pub primary_only: bool,
    /// Feeds can be connected.
    pub feeds: bool,
    /// How sure it has to be, from 0 to 1, that two events without a common UID are one.
    pub match_confidence: f64,
    /// The colour of calendars of far sides that name none, as `#RRGGBB`.
    pub calendar_color: String,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            schedule: Schedule::default(),
            mass_delete: MassDelete::default(),
            keep_runs: Duration::from_secs(90 * 86_400),
            window_past: Reach::Days(30),
            window_future: Reach::Days(365),
            full_resync_at: 3 * 3600,
            rates: Rates::default(),
            detect_overlap: Detect::Off,
            providers: Providers::default(),
            base_url: String::new(),
            manual_sync: None,
            default_direction: Direction::Both,
            mapping_limit: None,
            primary_only: false,
            feeds: true,
            match_confidence: super::similar::SURE,
            calendar_color: "#4285f4".into(),
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
    /// It was changed since the asker read it.
    Stale,
    /// It has to wait.
    Wait(Duration),
    /// It was asked for too often: how often it may be in an hour, and how long to wait.
    Often(u32, Duration),
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

/// How far a mapping with Cozi looks back and ahead unless somebody says: its interface gives a month at a time.
const COZI: (Reach, Reach) = (Reach::Days(7), Reach::Days(30));

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
    /// Who wins, where no rule says otherwise.
    pub policy: Policy,
    /// Who wins in which case; the first that fits decides.
    pub rules: Vec<Rule>,
    /// What of an event is carried.
    pub fields: Fields,
    /// How far back is looked; nothing: as the server is set up.
    pub window_past: Option<Reach>,
    /// How far ahead is looked; nothing: as the server is set up.
    pub window_future: Option<Reach>,
    /// Which events are carried.
    pub filters: Vec<Filter>,
    /// What becomes of our event when theirs is removed.
    pub on_remote_delete: OnDelete,
    /// What becomes of their event when ours is removed.
    pub on_local_delete: OnDelete,
    /// When a change that was made here is carried outward.
    pub push: Push,
    /// Of changes made here, only these are carried outward; none named: all.
    pub only: Vec<Urgent>,
    /// Whether people change here what it pulls and does not push.
    pub editable: Option<bool>,
    /// False: it rests.
    pub enabled: bool,
    /// Seconds between two looks.
    pub poll_seconds: Option<u64>,
}

impl NewMapping {
    /// Returns a mapping that is as nobody said otherwise: both ways, the newest wins, what most people want carried.
    pub fn new(collection: CollectionId, connection: &str, remote: RemoteId) -> NewMapping {
        NewMapping {
            collection,
            connection: connection.to_owned(),
            remote,
            direction: Direction::Both,
            policy: Policy::Newest,
            rules: Vec::new(),
            fields: Fields::default(),
            window_past: None,
            window_future: None,
            filters: Vec::new(),
            on_remote_delete: OnDelete::default(),
            on_local_delete: OnDelete::default(),
            push: Push::default(),
            only: Vec::new(),
            editable: None,
            enabled: true,
            poll_seconds: None,
        }
    }

    /// Returns the mapping with an account of that kind, which may have a window of its own.
    pub(super) fn with(self, id: String, owner: &str, kind: Kind, created: Timestamp) -> Mapping {
        let (past, future) = match kind {
            Kind::Cozi => (Some(COZI.0), Some(COZI.1)),
            Kind::Google | Kind::Outlook | Kind::Icloud | Kind::Caldav | Kind::Ics => (None, None),
        };
        Mapping {
            id,
            owner: owner.to_owned(),
            collection: self.collection,
            connection: self.connection,
            remote: self.remote,
            direction: self.direction,
            policy: self.policy,
            rules: self.rules,
            fields: self.fields,
            window_past: self.window_past.or(past),
            window_future: self.window_future.or(future),
            filters: self.filters,
            on_remote_delete: self.on_remote_delete,
            on_local_delete: self.on_local_delete,
            push: self.push,
            only: self.only,
            editable: self.editable,
            enabled: self.enabled,
            poll_seconds: self.poll_seconds,
            created,
            changed: None,
        }
    }
}

/// The bridge. One for a server; followed by `follow::follow`.
pub struct Bridge {
    pub(super) house: Arc<House>,
    pub(super) keys: Arc<Keyring>,
    pub(super) fetch: Fetch,
    pub(super) settings: Settings,
    pub(super) budgets: Budgets,
    pub(super) alarms: Alarms,
    pub(super) lines: Mutex<Lines>,
    /// Connections that are left alone, or failed of late.
    pub(super) breakers: Arc<Breakers>,
    pub(super) wake: Notify,
    /// No mapping is due before this moment, in milliseconds since 1970, unless something changes.
    pub(super) calm_until: AtomicI64,
    pub(super) passes: Arc<Semaphore>,
    pub(super) tasks: TaskTracker,
    pub(super) stop: CancellationToken,
    /// Who fetches tokens, what was told, what was asked for by hand.
    pub(super) ties: Ties,
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
        let mut lines = Lines::default();
        // An account that was removed while nobody followed is noticed at the first look.
        let connections = record::load_all::<Connection>(&*house.store, Table::Connection, "").await?;
        let mut breakers = HashMap::new();
        for connection in &connections {
            let key = connection_state_key(&connection.id);
            let state: Option<ConnectionState> = record::load(&*house.store, &key).await?;
            breakers.insert(connection.id.clone(), state.unwrap_or_default().breaker);
        }
        let owners = connections.into_iter().map(|connection| connection.owner).collect();
        for mapping in record::load_all::<Mapping>(&*house.store, Table::Mapping, "").await? {
            let state: Option<MappingState> =
                record::load(&*house.store, &mapping_state_key(&mapping.id)).await?;
            let line = line(&mapping, &state.unwrap_or_default());
            lines.insert(mapping.id, line);
        }
        let breakers = Arc::new(Breakers::new(Arc::clone(&house.clock), breakers));
        let clock = Arc::clone(&house.clock);
        let budgets = Budgets::open(&*house.store, clock, settings.rates, Arc::clone(&breakers)).await?;
        let bridge = Arc::new(Bridge {
            house,
            keys,
            fetch,
            settings,
            budgets,
            alarms: Alarms::default(),
            lines: Mutex::new(lines),
            breakers,
            wake: Notify::new(),
            calm_until: AtomicI64::new(0),
            passes: Arc::new(Semaphore::new(PASSES)),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
            ties: Ties::default(),
            departed: Mutex::new(owners),
        });
        bridge.house.kept_by(Arc::new(Records(Arc::clone(&bridge.house.store))));
        bridge.recall().await?;
        Ok(bridge)
    }

    /// Cuts the passes that run and waits until they are gone. What they had not finished, the next ones finish.
    pub async fn close(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        self.keep_budgets(true).await;
    }

    /// Writes the day's counts of calls, once a minute or when it is the last chance. What a crash loses of them is
    /// less than a minute's.
    pub(super) async fn keep_budgets(&self, last: bool) {
        let ops = self.budgets.due(last);
        if !ops.is_empty()
            && let Err(error) = self.commit(ops).await
        {
            tracing::warn!("the counts of calls could not be kept: {error:?}");
        }
    }

    /// Notes how a contact with a connection ended. When it can be reached again, its mappings go on.
    pub(super) fn heard(&self, connection: &str, trouble: Option<&Trouble>) -> Breaker {
        let now = self.house.clock.now();
        let (before, after) = self.breakers.heard(connection, trouble);
        if before.until.is_some() && after.until.is_none() {
            let mut lines = self.lines();
            let waiting = lines.values_mut().filter(|line| line.connection == connection);
            for line in waiting.filter(|line| line.pace.failures > 0 && line.pace.next.is_some()) {
                line.pace.next = Some(now);
            }
            drop(lines);
            self.wake.notify_one();
        }
        after
    }

    /// Tells whether a connection may be called.
    pub(super) fn gate(&self, connection: &str) -> Gate {
        self.breakers.gate(connection)
    }

    pub(super) fn lines(&self) -> std::sync::MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub(super) fn departed(&self) -> std::sync::MutexGuard<'_, BTreeSet<String>> {
        self.departed.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Has the connections, secrets and mappings of accounts that are gone forgotten. Nobody waits for the far sides that are
    /// said goodbye to. What could not be done is done at a later look; what a stop cuts off, at the next start.
    pub(super) fn clear_up(self: &Arc<Self>) {
        let names = std::mem::take(&mut *self.departed());
        if names.is_empty() {
            return;
        }
        let bridge = Arc::clone(self);
        self.tasks.spawn(async move {
            for name in names {
                let one = Arc::clone(&bridge);
                match bridge.left_behind(&name).await {
                    Ok(left) if left.is_empty() => {}
                    Ok(left) => drop(bridge.tasks.spawn(async move { one.say_goodbye(name, left).await })),
                    Err(error) => bridge.still_departed(name, &error),
                }
            }
        });
    }

    /// Returns the connections of an account that is gone. Whoever has got the name since then gets nothing of it.
    async fn left_behind(&self, name: &str) -> Result<Vec<Connection>, BridgeError> {
        let since = self.house.principal(name).await?.map(|principal| principal.created);
        let all = self.connections(name).await?.into_iter().map(|(connection, _)| connection);
        Ok(all.filter(|connection| since.is_none_or(|since| connection.created < since)).collect())
    }

    fn still_departed(&self, name: String, error: &BridgeError) {
        tracing::error!("what belonged to a removed account could not be removed: {error:?}");
        self.departed().insert(name);
    }

    async fn say_goodbye(&self, name: String, left: Vec<Connection>) {
        let done = tokio::select! {
            biased;
            () = self.stop.cancelled() => return,
            done = self.forget_all(&name, &left) => done,
        };
        if let Err(error) = done {
            self.still_departed(name, &error);
        }
    }

    async fn forget_all(&self, name: &str, left: &[Connection]) -> Result<(), BridgeError> {
        for connection in left {
            match self.disconnect(name, &connection.id, Mirrored::Keep).await {
                Ok(()) | Err(BridgeError::Missing) => {}
                Err(error) => return Err(error),
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
            .filter(|c| c.parent != CollectionId::TRASH && !is_holds(c))
            .ok_or_else(|| BridgeError::Invalid("calendar", "There is no such calendar.".into()))
    }

    /// Has the mappings of a calendar go on that was deleted and is back.
    pub fn calendar_is_back(&self, collection: CollectionId) {
        let mappings = self.lines().of(collection).to_vec();
        for mapping in mappings {
            self.run_soon(&mapping);
        }
    }

    /// Returns the address under which people reach this server.
    pub fn base_url(&self) -> &str {
        &self.settings.base_url
    }

    /// Returns the present.
    pub fn now(&self) -> Timestamp {
        self.house.clock.now()
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
            job.cut();
            self.run_soon(mapping);
        }
        Ok(lock.lock_owned().await)
    }

    /// Has a mapping looked at as soon as possible.
    pub(super) fn run_soon(&self, mapping: &str) {
        if let Some(line) = self.lines().get_mut(mapping) {
            // A pass that runs may have begun with what has just been changed, and decides on the pace when it ends.
            line.again = line.running.is_some();
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
        connection: mapping.connection.clone(),
        enabled: mapping.enabled,
        pace: state.pace,
        // What was written while nobody followed is found by the cursor.
        dirty: true,
        prompt: mapping.push == Push::Immediate,
        running: None,
        again: false,
        told: None,
        lock: Arc::default(),
    }
}

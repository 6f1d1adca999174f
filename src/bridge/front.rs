//! What doors see of the bridge: connections, mappings, runs and conflicts of one principal.
//!
//! Owns: who may see them, what settings are accepted. Does not own: passes (`work`, `run`).

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use url::Url;

use super::caldav::Caldav;
use super::pace::{Pace, Schedule};
use super::provider::{Provider, RemoteCalendar, RemoteId, Trouble};
use super::record::{
    self, Conflict, ConflictStatus, Connection, ConnectionState, Direction, Failure, Health, Kind, Mapping,
    MappingState, Policy, Run, RunStatus, conflict_key, connection_key, connection_state_key, mapping_key,
    mapping_state_key, run_key, secret_key,
};
use super::run::MassDelete;
use super::work::Job;
use crate::auth::grant::{Keyring, SealError, Secret};
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

    // ---- connections

    /// Signs in to a CalDAV server, finds the calendars and remembers the account.
    ///
    /// # Errors
    /// `Far` when that does not go well; nothing is remembered then.
    pub async fn connect_caldav(
        &self,
        owner: &str,
        url: &str,
        username: &str,
        password: Secret,
    ) -> Result<Connection, BridgeError> {
        let url = address(url)?;
        if username.is_empty() || username.contains(':') || username.chars().any(char::is_control) {
            return Err(BridgeError::Invalid("username", "The user name is empty or holds a colon.".into()));
        }
        let found = Caldav::discover(self.fetch.counted(), url.clone(), username, password.clone()).await?;
        found.calendars().await?;
        let now = self.house.clock.now();
        let id = record::random_id()?;
        let account = if username.contains('@') {
            username.to_owned()
        } else {
            format!("{username}@{}", url.host_str().unwrap_or_default())
        };
        let connection = Connection {
            id: id.clone(),
            owner: owner.to_owned(),
            kind: Kind::Caldav,
            url: url.into(),
            username: username.to_owned(),
            account,
            homes: found.homes().iter().map(Url::to_string).collect(),
            created: now,
        };
        let state = ConnectionState { last_good: Some(now), ..ConnectionState::default() };
        let sealed = self.keys.seal(&secret_key(&id), &password)?;
        self.commit(vec![
            record::put(connection_key(&id), &connection)?,
            record::put(connection_state_key(&id), &state)?,
            Op::PutRecord(secret_key(&id), sealed),
        ])
        .await?;
        Ok(connection)
    }

    /// Lists the principal's connections.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn connections(&self, owner: &str) -> Result<Vec<(Connection, ConnectionState)>, BridgeError> {
        let mut all = Vec::new();
        for connection in record::load_all::<Connection>(&*self.house.store, Table::Connection, "").await? {
            if connection.owner == owner {
                let state = self.connection_state(&connection.id).await?;
                all.push((connection, state));
            }
        }
        all.sort_by_key(|(c, _)| (c.created, c.id.clone()));
        Ok(all)
    }

    /// Returns one connection.
    ///
    /// # Errors
    /// `Missing`, also if it is somebody else's.
    pub async fn connection(
        &self,
        owner: &str,
        id: &str,
    ) -> Result<(Connection, ConnectionState), BridgeError> {
        let found: Option<Connection> = self.owned(connection_key(id), id).await?;
        let connection = found.filter(|c| c.owner == owner).ok_or(BridgeError::Missing)?;
        let state = self.connection_state(id).await?;
        Ok((connection, state))
    }

    pub(super) async fn connection_state(&self, id: &str) -> Result<ConnectionState, Fault> {
        Ok(record::load(&*self.house.store, &connection_state_key(id)).await?.unwrap_or_default())
    }

    /// Tests new credentials of a connection and takes them if they are accepted. Its mappings go on.
    ///
    /// # Errors
    /// `Far` when they are not accepted; the old ones stay then.
    pub async fn reconnect(
        &self,
        owner: &str,
        id: &str,
        username: Option<&str>,
        password: Option<Secret>,
    ) -> Result<(Connection, ConnectionState), BridgeError> {
        let (mut connection, _) = self.connection(owner, id).await?;
        let password = match password {
            Some(password) => password,
            None => self.secret(id).await?,
        };
        if let Some(username) = username {
            username.clone_into(&mut connection.username);
        }
        let url = address(&connection.url)?;
        let found =
            Caldav::discover(self.fetch.counted(), url, &connection.username, password.clone()).await?;
        connection.homes = found.homes().iter().map(Url::to_string).collect();
        let state = ConnectionState { last_good: Some(self.house.clock.now()), ..ConnectionState::default() };
        let sealed = self.keys.seal(&secret_key(id), &password)?;
        self.commit(vec![
            record::put(connection_key(id), &connection)?,
            record::put(connection_state_key(id), &state)?,
            Op::PutRecord(secret_key(id), sealed),
        ])
        .await?;
        for mapping in self.mappings(owner).await?.into_iter().map(|(m, _)| m).filter(|m| m.connection == id)
        {
            self.run_soon(&mapping.id);
        }
        Ok((connection, state))
    }

    /// Changes how the account is called.
    ///
    /// # Errors
    /// `Missing`, `Invalid`.
    pub async fn rename_connection(&self, owner: &str, id: &str, account: &str) -> Result<(), BridgeError> {
        let (mut connection, _) = self.connection(owner, id).await?;
        if account.trim().is_empty() || account.len() > 200 {
            return Err(BridgeError::Invalid("account", "The name is empty or too long.".into()));
        }
        account.trim().clone_into(&mut connection.account);
        self.commit(vec![record::put(connection_key(id), &connection)?]).await
    }

    /// Forgets an account, its secret and its mappings. Events stay on both sides.
    ///
    /// # Errors
    /// `Missing`; when the store fails.
    pub async fn disconnect(&self, owner: &str, id: &str) -> Result<(), BridgeError> {
        self.connection(owner, id).await?;
        for (mapping, _) in self.mappings(owner).await? {
            if mapping.connection == id {
                self.delete_mapping(owner, &mapping.id).await?;
            }
        }
        self.commit(vec![
            Op::DeleteRecord(secret_key(id)),
            Op::DeleteRecord(connection_state_key(id)),
            Op::DeleteRecord(connection_key(id)),
        ])
        .await
    }

    /// Lists the calendars on the far side, and notes how the connection is.
    ///
    /// # Errors
    /// `Missing`, `Far`.
    pub async fn remote_calendars(&self, owner: &str, id: &str) -> Result<Vec<RemoteCalendar>, BridgeError> {
        let (connection, state) = self.connection(owner, id).await?;
        let provider = self.provider(&connection, self.fetch.counted()).await?;
        let answer = provider.calendars().await;
        let next = self.health(&connection, &state, answer.as_ref().err());
        if next.health != state.health || next.sentence != state.sentence {
            self.commit(vec![record::put(connection_state_key(id), &next)?]).await?;
        }
        Ok(answer?)
    }

    /// Returns the far side of a connection.
    pub(super) async fn provider(
        &self,
        connection: &Connection,
        fetch: Fetch,
    ) -> Result<Arc<dyn Provider>, BridgeError> {
        let password = self.secret(&connection.id).await?;
        let url = address(&connection.url)?;
        let homes = connection.homes.iter().filter_map(|home| Url::parse(home).ok()).collect();
        match connection.kind {
            Kind::Caldav => Ok(Arc::new(Caldav::new(fetch, url, &connection.username, password, homes))),
        }
    }

    async fn secret(&self, connection: &str) -> Result<Secret, BridgeError> {
        let key = secret_key(connection);
        let sealed = self.house.store.record(&key).await?;
        let sealed = sealed.ok_or_else(|| {
            BridgeError::Conflict("The connection's password is gone; connect anew.".into())
        })?;
        Ok(self.keys.unseal(&key, &sealed)?)
    }

    /// Returns how a connection is after a call.
    pub(super) fn health(
        &self,
        connection: &Connection,
        before: &ConnectionState,
        trouble: Option<&Trouble>,
    ) -> ConnectionState {
        let (health, sentence) = match trouble {
            None => {
                return ConnectionState {
                    health: Health::Active,
                    sentence: String::new(),
                    last_good: Some(self.house.clock.now()),
                };
            }
            Some(Trouble::Unauthorised(why)) => (
                Health::TokenExpired,
                format!("{why} Give the current password of {}, or a new app password.", connection.account),
            ),
            Some(Trouble::Slow(_)) => {
                (Health::RateLimited, "The far side asks for fewer calls; it is waited for.".to_owned())
            }
            Some(trouble @ (Trouble::Unreachable(_) | Trouble::Refused(_))) => {
                (Health::Error, format!("{trouble} It is tried again by itself."))
            }
            // Trouble of one calendar or event says nothing about the account.
            Some(Trouble::CursorExpired | Trouble::Stale | Trouble::Taken(_) | Trouble::Missing(_)) => {
                return before.clone();
            }
        };
        ConnectionState { health, sentence, last_good: before.last_good }
    }

    // ---- mappings

    /// Maps a collection to a remote calendar. The first pass begins at once.
    ///
    /// # Errors
    /// `Invalid` if one of them is not there or cannot be written, or the pair exists already.
    pub async fn add_mapping(&self, owner: &str, new: NewMapping) -> Result<Mapping, BridgeError> {
        let collection = self.calendar(owner, new.collection).await?;
        let (connection, _) = match self.connection(owner, &new.connection).await {
            Err(BridgeError::Missing) => {
                return Err(BridgeError::Invalid("connection", "There is no such connection.".into()));
            }
            other => other?,
        };
        let calendars = self.remote_calendars(owner, &connection.id).await?;
        let Some(remote) = calendars.into_iter().find(|c| c.id == new.remote) else {
            let why = format!("{} has no such calendar.", connection.account);
            return Err(BridgeError::Invalid("remote_calendar", why));
        };
        if new.direction != Direction::Pull && !remote.writable {
            let why = format!("{} may only be read; choose the direction `pull`.", remote.name);
            return Err(BridgeError::Invalid("direction", why));
        }
        common_component(&collection, &remote)?;
        let others = self.mappings(owner).await?;
        if others.iter().any(|(m, _)| {
            m.collection == new.collection && m.connection == new.connection && m.remote == new.remote
        }) {
            return Err(BridgeError::Conflict(
                "These two calendars are mapped to each other already.".into(),
            ));
        }
        let mapping = Mapping {
            id: record::random_id()?,
            owner: owner.to_owned(),
            collection: new.collection,
            connection: new.connection,
            remote: new.remote,
            direction: new.direction,
            policy: new.policy,
            enabled: new.enabled,
            poll_seconds: poll_seconds(new.poll_seconds)?,
            created: self.house.clock.now(),
        };
        let pace = Pace { next: Some(mapping.created), ..Pace::default() };
        let state = MappingState { pace, ..MappingState::default() };
        self.commit(vec![
            record::put(mapping_key(&mapping.id), &mapping)?,
            record::put(mapping_state_key(&mapping.id), &state)?,
        ])
        .await?;
        self.lines().insert(mapping.id.clone(), line(&mapping, &state));
        self.wake.notify_one();
        Ok(mapping)
    }

    /// Lists the principal's mappings.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn mappings(&self, owner: &str) -> Result<Vec<(Mapping, MappingState)>, BridgeError> {
        let mut all = Vec::new();
        for mapping in record::load_all::<Mapping>(&*self.house.store, Table::Mapping, "").await? {
            if mapping.owner == owner {
                let state = self.mapping_state(&mapping.id).await?;
                all.push((mapping, state));
            }
        }
        all.sort_by_key(|(m, _)| (m.created, m.id.clone()));
        Ok(all)
    }

    /// Returns one mapping.
    ///
    /// # Errors
    /// `Missing`, also if it is somebody else's.
    pub async fn mapping(&self, owner: &str, id: &str) -> Result<(Mapping, MappingState), BridgeError> {
        let found: Option<Mapping> = self.owned(mapping_key(id), id).await?;
        let mapping = found.filter(|m| m.owner == owner).ok_or(BridgeError::Missing)?;
        let state = self.mapping_state(id).await?;
        Ok((mapping, state))
    }

    pub(super) async fn mapping_state(&self, id: &str) -> Result<MappingState, Fault> {
        Ok(record::load(&*self.house.store, &mapping_state_key(id)).await?.unwrap_or_default())
    }

    /// Changes a mapping's settings.
    ///
    /// # Errors
    /// `Missing`, `Invalid`.
    pub async fn update_mapping(
        &self,
        owner: &str,
        id: &str,
        change: impl FnOnce(&mut Mapping) -> Result<(), BridgeError> + Send,
    ) -> Result<Mapping, BridgeError> {
        self.mapping(owner, id).await?;
        let _held = self.hold(id).await?;
        let (mut mapping, mut state) = self.mapping(owner, id).await?;
        let before = mapping.clone();
        change(&mut mapping)?;
        mapping.poll_seconds = poll_seconds(mapping.poll_seconds)?;
        if mapping == before {
            return Ok(mapping);
        }
        if mapping.direction != before.direction {
            // What one direction left alone, the other has to look at.
            state.full_at = None;
        }
        if mapping.enabled {
            state.pace = Pace {
                next: Some(self.house.clock.now()),
                not_before: state.pace.not_before,
                ..Pace::default()
            };
        }
        self.commit(vec![
            record::put(mapping_key(id), &mapping)?,
            record::put(mapping_state_key(id), &state)?,
        ])
        .await?;
        if let Some(line) = self.lines().get_mut(id) {
            line.enabled = mapping.enabled;
            line.pace = state.pace;
        }
        self.wake.notify_one();
        Ok(mapping)
    }

    /// Forgets a mapping and what it agreed on. Events stay on both sides.
    ///
    /// # Errors
    /// `Missing`; when the store fails.
    pub async fn delete_mapping(&self, owner: &str, id: &str) -> Result<(), BridgeError> {
        self.mapping(owner, id).await?;
        if let Some(line) = self.lines().get_mut(id) {
            line.enabled = false;
        }
        let _held = self.hold(id).await?;
        self.lines().remove(id);
        // The mapping itself goes last: until then a crash leaves one that finds its objects again by their UIDs.
        for (table, prefix) in [
            (Table::Base, format!("{id}/")),
            (Table::Base, format!("{id}.bytes/")),
            (Table::Run, format!("{id}/")),
            (Table::Conflict, format!("{id}/")),
        ] {
            self.delete_all(table, &prefix).await?;
        }
        self.commit(vec![Op::DeleteRecord(mapping_state_key(id)), Op::DeleteRecord(mapping_key(id))]).await
    }

    async fn delete_all(&self, table: Table, prefix: &str) -> Result<(), BridgeError> {
        loop {
            let page = self.house.store.records(table, prefix, None, 200).await?;
            if page.is_empty() {
                return Ok(());
            }
            self.commit(page.into_iter().map(|(key, _)| Op::DeleteRecord(key)).collect()).await?;
        }
    }

    // ---- runs and conflicts

    /// Lists runs, newest first, of one mapping or of all.
    ///
    /// # Errors
    /// `Missing`; when the store fails.
    pub async fn runs(
        &self,
        owner: &str,
        mapping: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Run>, BridgeError> {
        let mut all = Vec::new();
        for id in self.mapping_ids(owner, mapping).await? {
            if let Some(job) = self.lines().get(&id).and_then(|line| line.running.clone()) {
                all.push(job.run.clone());
            }
            all.extend(self.newest::<Run>(Table::Run, &id, limit).await?);
        }
        all.sort_by(|a, b| (b.started, &a.id).cmp(&(a.started, &b.id)));
        all.truncate(limit);
        Ok(all)
    }

    /// Returns one run.
    ///
    /// # Errors
    /// `Missing`.
    pub async fn run(&self, owner: &str, id: &str) -> Result<Run, BridgeError> {
        let (mapping, _) = id.split_once('-').ok_or(BridgeError::Missing)?;
        self.mapping(owner, mapping).await?;
        // First the store: a run that ends in between is found there.
        let running = self.lines().get(mapping).and_then(|line| line.running.clone());
        let key = run_key(id).ok_or(BridgeError::Missing)?;
        if let Some(run) = record::load::<Run>(&*self.house.store, &key).await? {
            return Ok(run);
        }
        running.map(|job| job.run.clone()).filter(|run| run.id == id).ok_or(BridgeError::Missing)
    }

    /// Lists conflicts, newest first.
    ///
    /// # Errors
    /// `Missing`; when the store fails.
    pub async fn conflicts(
        &self,
        owner: &str,
        mapping: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Conflict>, BridgeError> {
        let mut all = Vec::new();
        for id in self.mapping_ids(owner, mapping).await? {
            all.extend(self.newest::<Conflict>(Table::Conflict, &id, limit).await?);
        }
        all.sort_by(|a, b| (b.detected, &a.id).cmp(&(a.detected, &b.id)));
        all.truncate(limit);
        Ok(all)
    }

    /// Returns one conflict.
    ///
    /// # Errors
    /// `Missing`.
    pub async fn conflict(&self, owner: &str, id: &str) -> Result<Conflict, BridgeError> {
        let (mapping, _) = id.split_once('-').ok_or(BridgeError::Missing)?;
        self.mapping(owner, mapping).await?;
        let key = conflict_key(id).ok_or(BridgeError::Missing)?;
        record::load(&*self.house.store, &key).await?.ok_or(BridgeError::Missing)
    }

    /// Decides a conflict; it is carried out at once.
    ///
    /// # Errors
    /// `Missing`; `Conflict` if it is decided already.
    pub async fn resolve(
        &self,
        owner: &str,
        id: &str,
        decision: ConflictStatus,
    ) -> Result<Conflict, BridgeError> {
        let (mapping, _) = id.split_once('-').ok_or(BridgeError::Missing)?;
        self.conflict(owner, id).await?;
        let held = self.hold(mapping).await?;
        let mut conflict = self.conflict(owner, id).await?;
        if conflict.status != ConflictStatus::Pending {
            return Err(BridgeError::Conflict("This conflict has been decided already.".into()));
        }
        let now = self.house.clock.now();
        conflict.status = decision;
        conflict.resolved = Some(now);
        let mut state = self.mapping_state(mapping).await?;
        state.again.retain(|f| f.uid != conflict.uid);
        state.again.push(Failure {
            uid: conflict.uid.clone(),
            local: None,
            remote: None,
            reason: "It was decided and is carried out.".into(),
            retry: true,
        });
        let key = conflict_key(id).ok_or(BridgeError::Missing)?;
        self.commit(vec![record::put(key, &conflict)?, record::put(mapping_state_key(mapping), &state)?])
            .await?;
        drop(held);
        self.run_soon(mapping);
        Ok(conflict)
    }

    async fn mapping_ids(&self, owner: &str, only: Option<&str>) -> Result<Vec<String>, BridgeError> {
        match only {
            Some(id) => Ok(vec![self.mapping(owner, id).await?.0.id]),
            None => Ok(self.mappings(owner).await?.into_iter().map(|(m, _)| m.id).collect()),
        }
    }

    async fn newest<T: serde::de::DeserializeOwned>(
        &self,
        table: Table,
        mapping: &str,
        limit: usize,
    ) -> Result<Vec<T>, BridgeError> {
        let page = self.house.store.records(table, &format!("{mapping}/"), None, limit).await?;
        Ok(page.iter().map(|(key, bytes)| record::decode(key, bytes)).collect::<Result<_, _>>()?)
    }

    // ---- common

    /// Reads a record of a person; an id that cannot be one names nothing.
    async fn owned<T: serde::de::DeserializeOwned>(
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
    async fn hold(&self, mapping: &str) -> Result<tokio::sync::OwnedMutexGuard<()>, BridgeError> {
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
    fn run_soon(&self, mapping: &str) {
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

fn line(mapping: &Mapping, state: &MappingState) -> Line {
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

/// Reads what a person typed as an address.
fn address(text: &str) -> Result<Url, BridgeError> {
    let text = text.trim();
    let full = if text.contains("://") { text.to_owned() } else { format!("https://{text}") };
    let bad =
        || BridgeError::Invalid("url", format!("`{text}` is not an address like https://cal.example.org/."));
    let mut url = Url::parse(&full).map_err(|_| bad())?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none_or(str::is_empty) {
        return Err(bad());
    }
    if !url.username().is_empty() || url.password().is_some() {
        let why = "Give the user name and the password apart from the address.";
        return Err(BridgeError::Invalid("url", why.into()));
    }
    url.set_fragment(None);
    Ok(url)
}

/// E2: one minute to one day.
fn poll_seconds(seconds: Option<u64>) -> Result<Option<u64>, BridgeError> {
    match seconds {
        Some(s) if !(60..=86_400).contains(&s) => {
            Err(BridgeError::Invalid("poll_interval", "It must be between one minute and 24 hours.".into()))
        }
        other => Ok(other),
    }
}

/// Two calendars that hold nothing in common have nothing to exchange.
fn common_component(here: &Collection, there: &RemoteCalendar) -> Result<(), BridgeError> {
    let any = here.components.is_empty()
        || there.components.is_empty()
        || here.components.iter().any(|c| there.components.contains(c));
    if any {
        return Ok(());
    }
    let why = format!(
        "{} holds {} and the calendar here {}: they have nothing in common.",
        there.name,
        there.components.join(", "),
        here.components.join(", ")
    );
    Err(BridgeError::Invalid("remote_calendar", why))
}

impl RunStatus {
    /// Tells whether the run goes on.
    pub fn is_running(self) -> bool {
        self == RunStatus::Running
    }
}

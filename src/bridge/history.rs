//! Runs and conflicts: what passes did, what a person has to decide.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::front::{Bridge, BridgeError};
use super::record::{
    self, Chosen, Conflict, ConflictStatus, Done, Failed, Failure, Mapping, Run, RunStatus, Turn, Where,
    Wrote, conflict_key, mapping_state_key, run_key,
};
use super::shape;
use crate::calendar::{Error, Put, Refusal, When};
use crate::ical::{Ical, merge};
use crate::store::{Name, Op, Origin, Table};

impl Bridge {
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
        self.runs_of(self.mapping_ids(owner, mapping).await?, limit).await
    }

    /// Lists the runs of all mappings of a connection, newest first.
    ///
    /// # Errors
    /// `Missing`; when the store fails.
    pub async fn runs_of_connection(
        &self,
        owner: &str,
        connection: &str,
        limit: usize,
    ) -> Result<Vec<Run>, BridgeError> {
        self.connection(owner, connection).await?;
        let mappings = self.mappings(owner).await?.into_iter().map(|(mapping, _)| mapping);
        let ids = mappings.filter(|mapping| mapping.connection == connection).map(|mapping| mapping.id);
        self.runs_of(ids.collect(), limit).await
    }

    async fn runs_of(&self, mappings: Vec<String>, limit: usize) -> Result<Vec<Run>, BridgeError> {
        let mut all = Vec::new();
        for id in mappings {
            let running = self.lines().get(&id).and_then(|line| line.running.clone());
            let ended = self.newest::<Run>(Table::Run, &id, limit).await?;
            let going = running.map(|job| job.runs()).unwrap_or_default();
            all.extend(going.into_iter().filter(|run| ended.iter().all(|other| other.id != run.id)));
            all.extend(ended);
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
        let runs = running.map(|job| job.runs()).unwrap_or_default();
        runs.into_iter().find(|run| run.id == id).ok_or(BridgeError::Missing)
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

    /// Decides a conflict; it is carried out at once. `choices` say whose value of a property a merge takes, `notes` why.
    ///
    /// # Errors
    /// `Missing`; `Conflict` if it is decided already; `Invalid` if a choice names what neither version has.
    pub async fn resolve(
        &self,
        owner: &str,
        id: &str,
        decision: ConflictStatus,
        choices: BTreeMap<String, Chosen>,
        notes: String,
    ) -> Result<Conflict, BridgeError> {
        let (mapping, _) = id.split_once('-').ok_or(BridgeError::Missing)?;
        self.conflict(owner, id).await?;
        let held = self.hold(mapping).await?;
        let mut conflict = self.conflict(owner, id).await?;
        if conflict.status != ConflictStatus::Pending {
            return Err(BridgeError::Conflict("This conflict has been decided already.".into()));
        }
        if let Some(name) = choices.keys().find(|name| !is_said(&conflict, name)) {
            let why = format!("Neither version says anything of `{name}`.");
            return Err(BridgeError::Invalid("fields", why));
        }
        conflict.status = decision;
        conflict.resolved = Some(self.house.clock.now());
        conflict.by = owner.to_owned();
        conflict.choices = choices;
        conflict.notes = notes;
        let mut ops = self.once_more(mapping, &conflict.uid).await?;
        let key = conflict_key(id).ok_or(BridgeError::Missing)?;
        ops.push(record::put(key, &conflict)?);
        self.commit(ops).await?;
        drop(held);
        self.run_soon(mapping);
        Ok(conflict)
    }

    /// Brings back the version that lost. It is stored here like any other change and carried outward like one; what
    /// is here now becomes a former version.
    ///
    /// # Errors
    /// `Missing`; `Conflict` if nothing was overwritten, or if the version is no longer accepted here.
    pub async fn undo(&self, owner: &str, id: &str) -> Result<Conflict, BridgeError> {
        let (mapping_id, _) = id.split_once('-').ok_or(BridgeError::Missing)?;
        self.conflict(owner, id).await?;
        let held = self.hold(mapping_id).await?;
        let mut conflict = self.conflict(owner, id).await?;
        let (mapping, _) = self.mapping(owner, mapping_id).await?;
        let (text, status) = match conflict.status {
            ConflictStatus::Pending | ConflictStatus::Ignored => {
                let why = "Nothing was overwritten: there is nothing to bring back.";
                return Err(BridgeError::Conflict(why.into()));
            }
            ConflictStatus::ResolvedLocal => {
                (theirs_here(&conflict, &mapping), ConflictStatus::ResolvedExternal)
            }
            ConflictStatus::ResolvedExternal | ConflictStatus::Merged => {
                (conflict.local.clone().map(Bytes::from), ConflictStatus::ResolvedLocal)
            }
        };
        let now = self.house.clock.now();
        let at = conflict.resolved.unwrap_or(conflict.detected);
        let by = std::mem::replace(&mut conflict.by, owner.to_owned());
        let notes = std::mem::take(&mut conflict.notes);
        conflict.history.push(Turn { at, status: conflict.status, by, notes });
        (conflict.status, conflict.resolved) = (status, Some(now));
        conflict.choices.clear();
        let mut with = self.once_more(mapping_id, &conflict.uid).await?;
        let key = conflict_key(id).ok_or(BridgeError::Missing)?;
        with.push(record::put(key, &conflict)?);
        self.bring_back(owner, &mapping, &conflict.uid, text, with).await?;
        drop(held);
        self.run_soon(mapping_id);
        Ok(conflict)
    }

    /// Stores the text here, or without one removes what is here.
    async fn bring_back(
        &self,
        owner: &str,
        mapping: &Mapping,
        uid: &str,
        text: Option<Bytes>,
        with: Vec<Op>,
    ) -> Result<(), BridgeError> {
        let principal = self.house.principal(owner).await?.ok_or(BridgeError::Missing)?;
        let session = self.house.session(
            principal,
            Origin::Api { principal: owner.to_owned(), agent: String::new(), label: String::new() },
        );
        let collection = self.house.store.collection(mapping.collection).await?;
        let gone = || BridgeError::Conflict("The calendar here was deleted.".into());
        let at = session.writable(collection.ok_or_else(gone)?).map_err(|_| gone())?;
        let here = at.by_uid(uid).await.map_err(refused)?;
        match (text, here) {
            (Some(bytes), here) => {
                // Under the name that it has or had; a name that another event has taken is left to that one.
                let had = match here {
                    Some(_) => None,
                    None => at.versions(uid).await.map_err(refused)?.into_iter().next().map(|v| v.name),
                };
                let had = match had {
                    Some(name) if at.meta(name.as_str()).await.map_err(refused)?.is_none() => Some(name),
                    _ => None,
                };
                let digest = || Name::new(format!("{}.ics", super::print::digest(uid.as_bytes())));
                let name = here.or(had).or_else(digest).ok_or(BridgeError::Missing)?;
                let put = Put { with, ..Put::new(&name, bytes) };
                session.put(&at, put).await.map(drop).map_err(refused)
            }
            (None, Some(name)) => {
                session.delete(&at, &name, &When::always(), with).await.map(drop).map_err(refused)
            }
            (None, None) => self.commit(with).await,
        }
    }

    /// Returns the step that has the next pass look at the object although nothing changed.
    async fn once_more(&self, mapping: &str, uid: &str) -> Result<Vec<Op>, BridgeError> {
        let mut state = self.mapping_state(mapping).await?;
        state.again.retain(|f| f.uid != uid);
        state.again.push(Failure {
            uid: uid.to_owned(),
            local: None,
            remote: None,
            reason: "It was decided and is carried out.".into(),
            retry: true,
            attempts: 0,
            next: None,
        });
        Ok(vec![record::put(mapping_state_key(mapping), &state)?])
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
}

/// Tells whether either version of the conflict has the property.
fn is_said(conflict: &Conflict, name: &str) -> bool {
    let versions = [&conflict.local, &conflict.external];
    let texts = versions.into_iter().flatten().filter_map(|text| Ical::parse(text.clone()).ok());
    texts.into_iter().any(|ical| {
        let calendar = ical.calendar();
        calendar.is_some_and(|calendar| calendar.components().any(|c| c.property(name).is_some()))
    })
}

/// Their version as it is stored here: what the mapping carries of it, and of ours what it does not carry.
fn theirs_here(conflict: &Conflict, mapping: &Mapping) -> Option<Bytes> {
    let project = |ical: &Ical| Ical::parse(shape::project(mapping.fields, ical)).ok();
    let theirs = project(&Ical::parse(conflict.external.clone()?).ok()?)?;
    let ours = conflict.local.clone().and_then(|text| Ical::parse(text).ok());
    match ours.as_ref().and_then(|ours| Some((project(ours)?, ours))) {
        Some((shown, ours)) => Some(merge::carry(&shown, &theirs, ours)),
        None => Some(theirs.bytes().clone()),
    }
}

fn refused(error: Error) -> BridgeError {
    match error {
        Error::Failed(fault) => BridgeError::Failed(fault),
        Error::Refused(Refusal::Kept(_)) => {
            let why =
                "Nothing is changed here by hand: the mapping only pulls. Set it to be `editable` first.";
            BridgeError::Conflict(why.into())
        }
        Error::Refused(refusal) => {
            BridgeError::Conflict(format!("That version is not accepted here: {refusal:?}"))
        }
    }
}

/// So many objects that were written or left alone are named by a run.
const NAMED: u64 = 200;

impl Run {
    /// Notes an object that was looked at and left alone, and why.
    pub fn skip(&mut self, uid: &str, why: &str) {
        self.skipped = self.skipped.saturating_add(1);
        if self.skipped <= NAMED {
            self.left.push(Failed { uid: uid.to_owned(), reason: why.to_owned() });
        }
    }

    /// Counts an object that was written.
    pub fn count(&mut self, side: Where, done: Done, uid: &str) {
        let counts = match side {
            Where::Local => &mut self.local,
            Where::Remote => &mut self.remote,
        };
        let count = match done {
            Done::Inserted => &mut counts.inserted,
            Done::Updated => &mut counts.updated,
            Done::Deleted => &mut counts.deleted,
        };
        *count = count.saturating_add(1);
        if self.local.total().saturating_add(self.remote.total()) <= NAMED {
            self.wrote.push(Wrote { uid: uid.to_owned(), side, done });
        }
    }
}

impl RunStatus {
    /// Tells whether the run goes on.
    pub fn is_running(self) -> bool {
        self == RunStatus::Running
    }
}

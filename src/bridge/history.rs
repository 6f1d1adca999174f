//! Runs and conflicts: what passes did, what a person has to decide.

use super::front::{Bridge, BridgeError};
use super::record::{
    self, Conflict, ConflictStatus, Failure, Run, RunStatus, conflict_key, mapping_state_key, run_key,
};
use crate::store::Table;

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
}

impl RunStatus {
    /// Tells whether the run goes on.
    pub fn is_running(self) -> bool {
        self == RunStatus::Running
    }
}

//! Mappings: which calendar here goes with which calendar there.

use super::front::{Bridge, BridgeError, NewMapping, line};
use super::pace::Pace;
use super::provider::RemoteCalendar;
use super::record::{self, Direction, Mapping, MappingState, mapping_key, mapping_state_key};
use crate::store::{Collection, Fault, Op, Table};

impl Bridge {
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

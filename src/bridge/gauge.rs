//! How the bridge is doing, in numbers: for whoever runs the server.
//!
//! Owns: the one word for how a mapping is, what a pass adds to the counters, how connections, mappings and the queue stand.
//! Does not own: the numbers' names (`metrics`), what people are told (`alarms`).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::front::Bridge;
use super::record::{
    self, Conflict, ConflictStatus, Connection, Kind, Mapping, MappingState, Run, RunStatus,
};
use super::work::is_due;
use crate::metrics::{Metrics, Standing};
use crate::store::{Fault, Table};

/// Conflicts that are read at a time.
const PAGE: usize = 500;

/// Returns how a mapping is, in one word.
pub fn status_of(mapping: &Mapping, state: &MappingState, running: bool) -> &'static str {
    if !mapping.enabled {
        "disabled"
    } else if running {
        "syncing"
    } else if state.hold.is_some() {
        "paused"
    } else if !state.sentence.is_empty() && state.pace.not_before.is_some() {
        "deferred"
    } else if !state.sentence.is_empty() {
        "error"
    } else if state.last_good.is_none() {
        "pending"
    } else {
        "active"
    }
}

/// Counts a pass that ended.
pub(super) fn count(metrics: &Metrics, kind: Option<Kind>, run: &Run) {
    let took = run.ended.map_or(0, |ended| ended.0.saturating_sub(run.started.0));
    let took = Duration::from_millis(u64::try_from(took).unwrap_or(0));
    metrics.run(kind.map_or("none", Kind::as_str), run.status.as_str(), took);
    for (side, counts) in [("local", run.local), ("remote", run.remote)] {
        metrics.written(side, [counts.inserted, counts.updated, counts.deleted]);
    }
    let failures = run.failures.iter().filter(|failure| !failure.uid.is_empty()).count();
    metrics.trouble(u64::try_from(failures).unwrap_or(u64::MAX), run.conflicts);
}

/// How many passes run and wait.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Queue {
    /// Passes that run.
    pub running: u64,
    /// Mappings that are due and do not run.
    pub waiting: u64,
    /// For how long the one that waits longest has been due.
    pub lag: Duration,
}

impl Bridge {
    /// Returns how many passes run and wait; of one person's mappings, if they are named.
    pub fn queue(&self, of: Option<&[&str]>) -> Queue {
        let now = self.house.clock.now();
        let mut queue = Queue::default();
        let lines = self.lines();
        for (_, line) in lines.iter().filter(|(id, _)| of.is_none_or(|of| of.contains(&id.as_str()))) {
            if line.running.is_some() {
                queue.running += 1;
            } else if line.enabled && is_due(line, now) {
                queue.waiting += 1;
                let due = line.pace.next.map_or(0, |next| now.0.saturating_sub(next.0));
                queue.lag = queue.lag.max(Duration::from_millis(u64::try_from(due).unwrap_or(0)));
            }
        }
        queue
    }

    /// Says how the bridge stands.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn stand(&self, standing: &mut Standing) -> Result<(), Fault> {
        let store = &*self.house.store;
        let mut owners = BTreeSet::new();
        let mut connections: BTreeMap<(&str, &str), u64> = BTreeMap::new();
        for connection in record::load_all::<Connection>(store, Table::Connection, "").await? {
            let health = self.connection_state(&connection.id).await?.health;
            *connections.entry((connection.kind.as_str(), health.as_str())).or_default() += 1;
            owners.insert(connection.owner);
        }
        let mut mappings: BTreeMap<&str, u64> = BTreeMap::new();
        for mapping in record::load_all::<Mapping>(store, Table::Mapping, "").await? {
            let state = self.mapping_state(&mapping.id).await?;
            *mappings.entry(status_of(&mapping, &state, self.is_running(&mapping.id))).or_default() += 1;
        }
        let queue = self.queue(None);
        standing.users_connected = owners.len().try_into().unwrap_or(u64::MAX);
        standing.connections =
            connections.into_iter().map(|((kind, health), count)| (kind, health, count)).collect();
        standing.mappings = mappings.into_iter().collect();
        standing.conflicts_open = self.undecided().await?;
        standing.notices_open = self.open_notices().await?;
        (standing.running, standing.waiting, standing.lag) = (queue.running, queue.waiting, queue.lag);
        Ok(())
    }

    async fn undecided(&self) -> Result<u64, Fault> {
        let mut open = 0;
        let mut after: Option<String> = None;
        loop {
            let page = self.house.store.records(Table::Conflict, "", after.as_deref(), PAGE).await?;
            let Some((last, _)) = page.last() else { return Ok(open) };
            after = Some(last.path.clone());
            for (key, bytes) in &page {
                let conflict: Conflict = record::decode(key, bytes)?;
                open += u64::from(conflict.status == ConflictStatus::Pending);
            }
        }
    }
}

impl RunStatus {
    /// Returns its name.
    pub fn as_str(self) -> &'static str {
        match self {
            RunStatus::Running => "running",
            RunStatus::Success => "success",
            RunStatus::PartialFailure => "partial_failure",
            RunStatus::Failed => "failed",
            RunStatus::Deferred => "deferred",
        }
    }
}

impl Kind {
    /// Returns its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Caldav => "caldav",
            Kind::Icloud => "icloud",
            Kind::Google => "google",
            Kind::Outlook => "outlook",
            Kind::Cozi => "cozi",
            Kind::Ics => "ics",
        }
    }
}

impl record::Health {
    /// Returns its name.
    pub fn as_str(self) -> &'static str {
        match self {
            record::Health::Active => "active",
            record::Health::Error => "error",
            record::Health::TokenExpired => "token_expired",
            record::Health::RateLimited => "rate_limited",
            record::Health::Pending => "pending",
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::bridge::record::Hold;
    use crate::store::Timestamp;

    // S4-074: what waits for a limit is deferred, not failed
    #[test]
    fn a_mapping_says_how_it_is() {
        let mapping: Mapping = serde_json::from_value(json!({
            "id": "m", "owner": "anna", "collection": 1, "connection": "c", "remote": "/", "direction": "both",
            "policy": "newest", "enabled": true, "created": 0,
        }))
        .unwrap();
        let good = MappingState { last_good: Some(Timestamp(1)), ..MappingState::default() };
        let failed = MappingState { sentence: "It cannot be reached.".into(), ..good.clone() };
        let mut waits = failed.clone();
        waits.pace.not_before = Some(Timestamp(2));
        let hold = Hold { since: Timestamp(1), local: 1, remote: 0, sentence: String::new() };
        let held = MappingState { hold: Some(hold), ..failed.clone() };
        for (state, word) in [
            (&MappingState::default(), "pending"),
            (&good, "active"),
            (&failed, "error"),
            (&waits, "deferred"),
            (&held, "paused"),
        ] {
            assert_eq!(status_of(&mapping, state, false), word);
            assert_eq!(status_of(&mapping, state, true), "syncing");
        }
        assert_eq!(status_of(&Mapping { enabled: false, ..mapping }, &held, false), "disabled");
    }

    #[test]
    fn words_are_those_of_the_records() {
        for kind in [Kind::Caldav, Kind::Icloud, Kind::Google, Kind::Outlook, Kind::Cozi, Kind::Ics] {
            assert_eq!(json!(kind), kind.as_str());
        }
        for status in [RunStatus::Running, RunStatus::PartialFailure, RunStatus::Failed, RunStatus::Deferred]
        {
            assert_eq!(json!(status), status.as_str());
        }
        use record::Health::{Active, Error, Pending, RateLimited, TokenExpired};
        for health in [Active, Error, TokenExpired, RateLimited, Pending] {
            assert_eq!(json!(health), health.as_str());
        }
    }
}

//! What was asked for and never came: consents that nobody gave, or that nobody said were meant, and the connections that
//! waited for them.
//!
//! Owns: when they go. Does not own: what a consent is (`consent`). Each goes in a commit of its own, under the condition that it
//! is as it was when it was looked at.

use std::time::Duration;

use bytes::Bytes;

use super::consent::Awaited;
use super::front::{Bridge, BridgeError};
use super::pace::later;
use super::record::{
    self, Connection, ConnectionState, Consent, Health, connection_key, connection_state_key, verifier_key,
};
use crate::auth::oauth::Grant;
use crate::store::{Expect, Key, Op, Table};

/// Consents that are read at a time.
const PAGE: usize = 500;
/// How long a connection that nobody consented to is shown.
const PENDING: Duration = Duration::from_secs(24 * 3600);

impl Bridge {
    /// Removes consents that nobody gave in time, and a day later the connections that waited for them. What was changed
    /// since it was read is left for the next look.
    pub(super) async fn sweep_consents(&self) -> Result<(), BridgeError> {
        let now = self.house.clock.now();
        let store = &*self.house.store;
        let mut after: Option<String> = None;
        loop {
            let page = store.records(Table::Consent, "", after.as_deref(), PAGE).await?;
            let Some((last, _)) = page.last() else { return Ok(()) };
            after = Some(last.path.clone());
            for (key, bytes) in page {
                let consent: Consent = record::decode(&key, &bytes)?;
                if consent.expires <= now {
                    self.sweep_consent(key, bytes, &consent).await?;
                }
            }
        }
    }

    /// Removes the consents that a connection waits for, because it is about to go.
    pub(super) async fn sweep_consents_of(&self, connection: &str) -> Result<(), BridgeError> {
        for (key, bytes) in record::rows(&*self.house.store, Table::Consent, "").await? {
            let consent: Consent = record::decode(&key, &bytes)?;
            if consent.connection == connection {
                self.sweep_consent(key, bytes, &consent).await?;
            }
        }
        Ok(())
    }

    async fn sweep_consent(&self, key: Key, bytes: Bytes, consent: &Consent) -> Result<(), BridgeError> {
        if let Some(found) = &consent.found {
            // Given, but nobody said that it was meant: it goes back.
            let awaited = Awaited { key, bytes, consent: consent.clone() };
            let grant = self.use_up(awaited).await?.and_then(|text| Grant::read(&text));
            if let Some(grant) = grant {
                self.return_grant(consent.kind, found.account.as_deref().unwrap_or_default(), "", &grant)
                    .await;
            }
            return Ok(());
        }
        let state_key = connection_state_key(&consent.connection);
        let kept = self.house.store.record(&state_key).await?;
        let mut ops = vec![Op::DeleteRecord(verifier_key(&key.path)), Op::DeleteRecord(key.clone())];
        let mut expects = vec![Expect::Record(key, Some(bytes))];
        if let Some(kept) = kept {
            let mut state: ConnectionState = record::decode(&state_key, &kept)?;
            if state.health == Health::Pending {
                state.sentence = "The consent was not given in time. Connect again.".into();
                ops.push(record::put(state_key.clone(), &state)?);
                expects.push(Expect::Record(state_key, Some(kept)));
            }
        }
        unless_changed(self.commit_if(expects, ops).await)
    }

    /// Removes connections that nobody ever consented to.
    pub(super) async fn sweep_pending(&self) -> Result<(), BridgeError> {
        let now = self.house.clock.now();
        let store = &*self.house.store;
        for connection in record::load_all::<Connection>(store, Table::Connection, "").await? {
            if later(connection.created, PENDING) > now {
                continue;
            }
            let (key, state_key) = (connection_key(&connection.id), connection_state_key(&connection.id));
            let (Some(kept), Some(state)) = (store.record(&key).await?, store.record(&state_key).await?)
            else {
                continue;
            };
            if record::decode::<ConnectionState>(&state_key, &state)?.health == Health::Pending {
                let ops = vec![Op::DeleteRecord(state_key.clone()), Op::DeleteRecord(key.clone())];
                let expects = vec![Expect::Record(key, Some(kept)), Expect::Record(state_key, Some(state))];
                unless_changed(self.commit_if(expects, ops).await)?;
            }
        }
        Ok(())
    }
}

/// What somebody changed meanwhile is not ours to sweep.
pub(super) fn unless_changed(swept: Result<(), BridgeError>) -> Result<(), BridgeError> {
    match swept {
        Err(BridgeError::Conflict(_)) => Ok(()),
        other => other,
    }
}

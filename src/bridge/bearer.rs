//! Tokens of connections: kept sealed, fetched anew before they end, once for all who need one.
//!
//! Owns: when a token is fetched, that a rotated one is on disk before it is used, that none ends because nothing uses it. Does not own: the calls
//! (`auth::oauth`), what becomes of a connection without one (`connections`).

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;

use super::breaker::Gate;
use super::front::{Bridge, BridgeError};
use super::pace::later;
use super::provider::{Bearer, Fut, Trouble};
use super::record::{self, Connection, Health, Kind, secret_key};
use crate::auth::grant::{Keyring, SealError, Secret};
use crate::auth::oauth::{Client, Denial, Grant};
use crate::calendar::House;
use crate::store::{Commit, CommitError, Expect, Key, Op, Origin, Table, Timestamp};

/// What people are told when the key file is not the one that sealed an account's secret.
const LOCKED: &str = "What was stored to sign in cannot be opened with the server's key file: put the right key file \
     back and restart, or connect the account again.";

/// A token that ends sooner is fetched anew.
const AHEAD: Duration = Duration::from_secs(5 * 60);
/// An account that was not called for so long has its token fetched anew.
const IDLE: Duration = Duration::from_secs(30 * 86_400);
/// Idle consents that are seen to at a time.
const AT_ONCE: usize = 16;
/// How often a write that somebody else came before is tried again.
const ATTEMPTS: usize = 5;

/// The tokens of one connection.
pub(super) struct Holder {
    pub(super) house: Arc<House>,
    pub(super) keys: Arc<Keyring>,
    pub(super) client: Client,
    pub(super) kind: Kind,
    pub(super) connection: String,
    /// Held while a token is fetched.
    pub(super) flight: Arc<tokio::sync::Mutex<()>>,
}

impl Bearer for Holder {
    fn token<'a>(&'a self, rejected: Option<&'a Secret>) -> Fut<'a, Secret> {
        Box::pin(async move {
            // S1-044: whoever waited here finds the token that another one has fetched.
            let _held = self.flight.lock().await;
            let (bytes, grant) = self.kept().await?;
            let now = self.house.clock.now();
            let good = grant.expires > now && rejected != Some(&grant.access);
            if good && grant.expires > later(now, AHEAD) {
                return Ok(grant.access);
            }
            let fetched = self.client.refresh(&grant, now).await;
            let outcome = match &fetched {
                Ok(_) => "ok",
                Err(Denial::Ended(_)) => "ended",
                Err(_) => "failed",
            };
            self.house.metrics.refresh(self.kind.as_str(), outcome);
            match fetched {
                Ok(new) => self.keep(bytes, &grant, new).await,
                // It is not needed yet: the next call asks again.
                Err(Denial::Later(..)) if good => Ok(grant.access),
                Err(Denial::Ended(why)) => {
                    Err(Trouble::Unauthorised(format!("{why}{}", self.client.ended_early(&grant, now))))
                }
                Err(denial) => Err(denied(denial)),
            }
        })
    }
}

impl Bridge {
    pub(super) async fn secret(&self, connection: &str) -> Result<Secret, BridgeError> {
        let key = secret_key(connection);
        let sealed = self.house.store.record(&key).await?;
        let sealed = sealed.ok_or_else(|| {
            let why = "The account is not connected yet, or no longer: connect it again.";
            BridgeError::Conflict(why.into())
        })?;
        match self.keys.unseal(&key, &sealed) {
            Err(error @ (SealError::UnknownKey(_) | SealError::Damaged)) => {
                tracing::error!(connection, "the secret of a connection cannot be opened: {error}");
                Err(BridgeError::Conflict(LOCKED.into()))
            }
            opened => Ok(opened?),
        }
    }

    /// Fetches the tokens of accounts anew that nothing has called for a month, once an hour: vendors end a consent that is
    /// not used, Microsoft after 90 days, Google after six months (E33).
    pub(super) async fn keep_alive(&self) -> Result<(), BridgeError> {
        let now = self.house.clock.now();
        if !self.ties.is_due(now) {
            return Ok(());
        }
        let all = record::load_all::<Connection>(&*self.house.store, Table::Connection, "").await?;
        // A vendor that hangs keeps others waiting for a while at most.
        let mut looks = Vec::with_capacity(all.len());
        for connection in all {
            looks.push(self.keep_one_alive(connection, now));
        }
        let mut kept = futures_util::stream::iter(looks).buffer_unordered(AT_ONCE);
        while let Some(kept) = kept.next().await {
            kept?;
        }
        Ok(())
    }

    async fn keep_one_alive(&self, connection: Connection, now: Timestamp) -> Result<(), BridgeError> {
        let state = self.connection_state(&connection.id).await?;
        let consented = matches!(connection.kind, Kind::Google | Kind::Outlook)
            && !matches!(state.health, Health::Pending | Health::TokenExpired);
        if !consented || matches!(self.gate(&connection.id), Gate::Shut(_) | Gate::Barred(_)) {
            return Ok(());
        }
        let Ok(text) = self.secret(&connection.id).await else { return Ok(()) };
        // An access token lives for an hour: its end tells when the last one was fetched.
        let Some(grant) = Grant::read(&text).filter(|grant| later(grant.expires, IDLE) <= now) else {
            return Ok(());
        };
        let Ok(bearer) = self.bearer(&connection, self.fetch.counted()) else { return Ok(()) };
        if let Err(trouble) = bearer.token(Some(&grant.access)).await {
            tracing::info!(connection = %connection.id, "an idle consent could not be kept alive: {trouble}");
            self.contacted(&connection, &state, Some(&trouble)).await?;
        }
        Ok(())
    }
}

impl Holder {
    fn key(&self) -> Key {
        secret_key(&self.connection)
    }

    /// Reads what is kept, sealed and open.
    async fn kept(&self) -> Result<(bytes::Bytes, Grant), Trouble> {
        let gone = || Trouble::Unauthorised("The connection has no consent.".into());
        let sealed = self.house.store.record(&self.key()).await.map_err(|_| unkept())?.ok_or_else(gone)?;
        let text = self.keys.unseal(&self.key(), &sealed).map_err(|error| {
            tracing::error!(connection = %self.connection, "a token cannot be read: {error}");
            Trouble::Unauthorised(LOCKED.into())
        })?;
        Ok((sealed, Grant::read(&text).ok_or_else(gone)?))
    }

    /// Puts the new tokens on disk and only then gives one out (E33): a crash before leaves the old ones, which the far
    /// side still takes.
    async fn keep(&self, mut before: bytes::Bytes, old: &Grant, new: Grant) -> Result<Secret, Trouble> {
        for _ in 0..ATTEMPTS {
            let sealed = self.keys.seal(&self.key(), &new.text()).map_err(|_| unkept())?;
            let commit = Commit::new(Origin::System, self.house.clock.now())
                .expect(Expect::Record(self.key(), Some(before)))
                .op(Op::PutRecord(self.key(), sealed));
            match self.house.store.commit(commit).await {
                Ok(_) => return Ok(new.access),
                Err(CommitError::Fault(fault)) => {
                    tracing::error!(connection = %self.connection, "a new token could not be kept: {fault}");
                    return Err(unkept());
                }
                Err(CommitError::Rejected(_)) => {
                    let (bytes, other) = self.kept().await?;
                    // Another node fetched one, or a person consented anew: theirs is the one that counts. If only the
                    // seal changed (`rotate-key`), ours has to be kept, or a rotated token would be lost.
                    if other.refresh != old.refresh || other.access != old.access {
                        return Ok(other.access);
                    }
                    before = bytes;
                }
            }
        }
        Err(unkept())
    }
}

fn unkept() -> Trouble {
    Trouble::Unreachable("The server could not read or keep the connection's token.".into())
}

/// Says in the engine's words why there is no token.
pub(super) fn denied(denial: Denial) -> Trouble {
    match denial {
        Denial::Ended(why) | Denial::Short(why) => Trouble::Unauthorised(why),
        Denial::Setup(why) => Trouble::Refused(why),
        Denial::Later(_, Some(wait)) => Trouble::Slow(Some(wait)),
        Denial::Later(why, None) => Trouble::Unreachable(why),
    }
}

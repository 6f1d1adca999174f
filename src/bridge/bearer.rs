//! Tokens of connections: kept sealed, fetched anew before they end, once for all who need one.
//!
//! Owns: when a token is fetched, that a rotated one is on disk before it is used. Does not own: the calls
//! (`auth::oauth`), what becomes of a connection without one (`connections`).

use std::sync::Arc;
use std::time::Duration;

use super::pace::later;
use super::provider::{Bearer, Fut, Trouble};
use super::record::secret_key;
use crate::auth::grant::{Keyring, Secret};
use crate::auth::oauth::{Client, Denial, Grant};
use crate::calendar::House;
use crate::store::{Commit, CommitError, Expect, Key, Op, Origin};

/// A token that ends sooner is fetched anew.
const AHEAD: Duration = Duration::from_secs(5 * 60);
/// How often a write that somebody else came before is tried again.
const ATTEMPTS: usize = 5;

/// The tokens of one connection.
pub(super) struct Holder {
    pub(super) house: Arc<House>,
    pub(super) keys: Arc<Keyring>,
    pub(super) client: Client,
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
            match self.client.refresh(&grant, now).await {
                Ok(new) => self.keep(bytes, &grant, new).await,
                // It is not needed yet: the next call asks again.
                Err(Denial::Later(..)) if good => Ok(grant.access),
                Err(denial) => Err(denied(denial)),
            }
        })
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
            unkept()
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

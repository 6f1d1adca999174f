//! How an account is, after every contact with it: a word and a sentence for people, and what it asks of all who would call it.
//!
//! Owns: what a trouble means for the account. Does not own: when it is called again (`breaker`).

use super::front::{Bridge, BridgeError};
use super::provider::Trouble;
use super::record::{self, Connection, ConnectionState, Health, Kind, connection_state_key};

impl Bridge {
    /// Notes how a connection is after a call that is no pass.
    pub(super) async fn contacted(
        &self,
        connection: &Connection,
        state: &ConnectionState,
        trouble: Option<&Trouble>,
    ) -> Result<(), BridgeError> {
        let next = self.health(connection, state, trouble);
        if next.health != state.health || next.sentence != state.sentence || next.breaker != state.breaker {
            let mut ops = vec![record::put(connection_state_key(&connection.id), &next)?];
            ops.extend(self.connection_alarms(connection, &next).await?);
            self.commit(ops).await?;
        }
        Ok(())
    }

    /// Remembers that a far side asked to be left alone, whoever heard it. Other trouble of a call that is no pass says nothing
    /// of the account.
    pub(super) async fn heed(&self, connection: &Connection, trouble: &Trouble) -> Result<(), BridgeError> {
        match trouble {
            Trouble::Slow(Some(_)) => {
                let state = self.connection_state(&connection.id).await?;
                self.contacted(connection, &state, Some(trouble)).await
            }
            _ => Ok(()),
        }
    }

    /// Returns how a connection is after a call.
    pub(super) fn health(
        &self,
        connection: &Connection,
        before: &ConnectionState,
        trouble: Option<&Trouble>,
    ) -> ConnectionState {
        let breaker = self.heard(&connection.id, trouble);
        let (health, sentence) = match trouble {
            None => {
                return ConnectionState {
                    health: Health::Active,
                    sentence: String::new(),
                    last_good: Some(self.house.clock.now()),
                    breaker,
                };
            }
            Some(Trouble::Unauthorised(why)) => (Health::TokenExpired, again(connection, why)),
            Some(Trouble::Budget(why, _)) => (Health::RateLimited, why.clone()),
            Some(Trouble::Slow(_)) => {
                (Health::RateLimited, "The far side asks for fewer calls; it is waited for.".to_owned())
            }
            Some(trouble @ (Trouble::Unreachable(_) | Trouble::Refused(_))) => {
                (Health::Error, format!("{trouble} It is tried again by itself."))
            }
            // Trouble of one calendar or event says nothing about the account.
            Some(Trouble::CursorExpired | Trouble::Stale | Trouble::Taken(_) | Trouble::Missing(_)) => {
                return ConnectionState { breaker, ..before.clone() };
            }
        };
        ConnectionState { health, sentence, last_good: before.last_good, breaker }
    }
}

/// Says what a person can do about an account that is no longer let in.
fn again(connection: &Connection, why: &str) -> String {
    let account = &connection.account;
    match connection.kind {
        Kind::Caldav => format!("{why} Give the current password of {account}, or a new app password."),
        Kind::Icloud => format!("{why} Make a new app-specific password for {account} and give it here."),
        Kind::Google | Kind::Outlook => {
            format!(
                "{why} Connect {account} again: one click and your consent; what is mapped stays as it is."
            )
        }
        Kind::Cozi => format!("{why} Give the current password of {account}."),
        Kind::Ics => format!("{why} Give the feed's current address."),
    }
}

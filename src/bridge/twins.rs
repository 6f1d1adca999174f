//! Which of a person's connections are of one account.
//!
//! Owns: that an account is connected once. Does not own: connecting (`connections`, `consent`).

use super::front::{Bridge, BridgeError};
use super::record::{Connection, Kind};

impl Bridge {
    /// Refuses an account that its owner has connected already (S3-015): two connections of one account would have two
    /// secrets, two budgets and two states, and one of them would be forgotten. A feed is no account.
    ///
    /// # Errors
    /// `Conflict`, with the connection that there is.
    pub(super) async fn only_once(&self, new: &Connection) -> Result<(), BridgeError> {
        let one = |other: &Connection| {
            let named = !new.username.is_empty() && other.username.eq_ignore_ascii_case(&new.username);
            let there = new.kind != Kind::Caldav || other.homes == new.homes;
            other.id != new.id && other.kind == new.kind && new.kind != Kind::Ics && named && there
        };
        let all = self.connections(&new.owner).await?;
        match all.into_iter().map(|(connection, _)| connection).find(one) {
            None => Ok(()),
            Some(other) => Err(BridgeError::Conflict(format!(
                "This account is connected already, as {} (connection {}). If it no longer works, connect that one again.",
                other.account, other.id
            ))),
        }
    }
}

//! Accounts with their passwords: add, change, remove, and forget what was verified.
//!
//! Owns: that a changed or removed account is refused at once. Does not own: what an account begins with (`calendar`).

use std::sync::Arc;

use super::session::forgotten_rows;
use super::{Guard, password};
use crate::calendar::{Error, House, NewPrincipal, Refusal};
use crate::store::{Fault, Op, Principal};

impl Guard {
    /// Returns the house that this guard watches.
    pub fn house(&self) -> &Arc<House> {
        &self.house
    }

    /// Makes an account. `new.password` is the password itself here; empty: none, so that only tokens sign in.
    ///
    /// # Errors
    /// `Exists`, `BadName`; when the store fails.
    pub async fn add_user(&self, mut new: NewPrincipal) -> Result<Arc<Principal>, Error> {
        if !new.password.is_empty() {
            new.password = self.hash(std::mem::take(&mut new.password)).await?;
        }
        let made = self.house.add_principal(new).await?;
        self.forget(&made.name);
        Ok(made)
    }

    /// Sets an account's password. Devices with app passwords stay signed in; browsers have to sign in anew.
    ///
    /// # Errors
    /// `Missing` if there is no such account; when the store fails.
    pub async fn set_password(&self, user: &str, password: String) -> Result<(), Error> {
        if password.is_empty() {
            return Err(Refusal::Bad("the password is empty".into()).into());
        }
        let phc = self.hash(password).await?;
        self.change_user(user, |principal| {
            principal.password.clone_from(&phc);
            Ok(())
        })
        .await?;
        self.end_sessions(user, None).await?;
        Ok(())
    }

    /// Returns the hash of a password; nothing of an empty one.
    ///
    /// # Errors
    /// When hashing fails.
    pub async fn hashed(&self, password: String) -> Result<Option<String>, Fault> {
        if password.is_empty() { Ok(None) } else { self.hash(password).await.map(Some) }
    }

    /// Changes an account's names, addresses, role or the hash of its password.
    ///
    /// # Errors
    /// `Missing` if there is no such account; `Protected` if nobody could administer the server any more; what `change`
    /// refuses; when the store fails.
    pub async fn change_user(
        &self,
        user: &str,
        change: impl Fn(&mut Principal) -> Result<(), Refusal> + Send,
    ) -> Result<Arc<Principal>, Error> {
        let changed = self.house.update_principal(user, change).await?;
        self.forget(user);
        Ok(changed)
    }

    /// Removes an account with everything that is its: calendars, files, app passwords, tokens, sessions.
    ///
    /// # Errors
    /// `Missing` if there is no such account; `Protected` if it is the last administrator; when the store fails.
    pub async fn remove_user(&self, user: &str) -> Result<(), Error> {
        let tokens = self.keyed_tokens(Some(user)).await?;
        let sessions = self.kept_sessions(Some(user)).await?;
        let mut ops: Vec<Op> = tokens.into_iter().map(|(key, _)| Op::DeleteRecord(key)).collect();
        ops.extend(sessions.iter().flat_map(|(key, session)| forgotten_rows(key, session)));
        self.house.remove_principal(user, ops).await?;
        self.forget(user);
        Ok(())
    }

    async fn hash(&self, password: String) -> Result<String, Fault> {
        tokio::task::spawn_blocking(move || password::hash(&password))
            .await
            .map_err(|error| Fault::Broken(format!("hashing failed: {error}")))?
            .map_err(Fault::Broken)
    }
}

//! Connections: accounts on far sides, how they are, what they entrusted to us.

use std::sync::Arc;

use url::Url;

use super::caldav::Caldav;
use super::front::{Bridge, BridgeError};
use super::provider::{Provider, RemoteCalendar, Trouble};
use super::record::{
    self, Connection, ConnectionState, Health, Kind, connection_key, connection_state_key, secret_key,
};
use crate::auth::grant::Secret;
use crate::http::fetch::Fetch;
use crate::store::{Fault, Op, Table};

impl Bridge {
    /// Signs in to a CalDAV server, finds the calendars and remembers the account.
    ///
    /// # Errors
    /// `Far` when that does not go well; nothing is remembered then.
    pub async fn connect_caldav(
        &self,
        owner: &str,
        url: &str,
        username: &str,
        password: Secret,
    ) -> Result<Connection, BridgeError> {
        let url = address(url)?;
        if username.is_empty() || username.contains(':') || username.chars().any(char::is_control) {
            return Err(BridgeError::Invalid("username", "The user name is empty or holds a colon.".into()));
        }
        let found = Caldav::discover(self.fetch.counted(), url.clone(), username, password.clone()).await?;
        found.calendars().await?;
        let now = self.house.clock.now();
        let id = record::random_id()?;
        let account = if username.contains('@') {
            username.to_owned()
        } else {
            format!("{username}@{}", url.host_str().unwrap_or_default())
        };
        let connection = Connection {
            id: id.clone(),
            owner: owner.to_owned(),
            kind: Kind::Caldav,
            url: url.into(),
            username: username.to_owned(),
            account,
            homes: found.homes().iter().map(Url::to_string).collect(),
            created: now,
        };
        let state = ConnectionState { last_good: Some(now), ..ConnectionState::default() };
        let sealed = self.keys.seal(&secret_key(&id), &password)?;
        self.commit(vec![
            record::put(connection_key(&id), &connection)?,
            record::put(connection_state_key(&id), &state)?,
            Op::PutRecord(secret_key(&id), sealed),
        ])
        .await?;
        Ok(connection)
    }

    /// Lists the principal's connections.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn connections(&self, owner: &str) -> Result<Vec<(Connection, ConnectionState)>, BridgeError> {
        let mut all = Vec::new();
        for connection in record::load_all::<Connection>(&*self.house.store, Table::Connection, "").await? {
            if connection.owner == owner {
                let state = self.connection_state(&connection.id).await?;
                all.push((connection, state));
            }
        }
        all.sort_by_key(|(c, _)| (c.created, c.id.clone()));
        Ok(all)
    }

    /// Returns one connection.
    ///
    /// # Errors
    /// `Missing`, also if it is somebody else's.
    pub async fn connection(
        &self,
        owner: &str,
        id: &str,
    ) -> Result<(Connection, ConnectionState), BridgeError> {
        let found: Option<Connection> = self.owned(connection_key(id), id).await?;
        let connection = found.filter(|c| c.owner == owner).ok_or(BridgeError::Missing)?;
        let state = self.connection_state(id).await?;
        Ok((connection, state))
    }

    pub(super) async fn connection_state(&self, id: &str) -> Result<ConnectionState, Fault> {
        Ok(record::load(&*self.house.store, &connection_state_key(id)).await?.unwrap_or_default())
    }

    /// Tests new credentials of a connection and takes them if they are accepted. Its mappings go on.
    ///
    /// # Errors
    /// `Far` when they are not accepted; the old ones stay then.
    pub async fn reconnect(
        &self,
        owner: &str,
        id: &str,
        username: Option<&str>,
        password: Option<Secret>,
    ) -> Result<(Connection, ConnectionState), BridgeError> {
        let (mut connection, _) = self.connection(owner, id).await?;
        let password = match password {
            Some(password) => password,
            None => self.secret(id).await?,
        };
        if let Some(username) = username {
            username.clone_into(&mut connection.username);
        }
        let url = address(&connection.url)?;
        let found =
            Caldav::discover(self.fetch.counted(), url, &connection.username, password.clone()).await?;
        connection.homes = found.homes().iter().map(Url::to_string).collect();
        let state = ConnectionState { last_good: Some(self.house.clock.now()), ..ConnectionState::default() };
        let sealed = self.keys.seal(&secret_key(id), &password)?;
        self.commit(vec![
            record::put(connection_key(id), &connection)?,
            record::put(connection_state_key(id), &state)?,
            Op::PutRecord(secret_key(id), sealed),
        ])
        .await?;
        for mapping in self.mappings(owner).await?.into_iter().map(|(m, _)| m).filter(|m| m.connection == id)
        {
            self.run_soon(&mapping.id);
        }
        Ok((connection, state))
    }

    /// Changes how the account is called.
    ///
    /// # Errors
    /// `Missing`, `Invalid`.
    pub async fn rename_connection(&self, owner: &str, id: &str, account: &str) -> Result<(), BridgeError> {
        let (mut connection, _) = self.connection(owner, id).await?;
        if account.trim().is_empty() || account.len() > 200 {
            return Err(BridgeError::Invalid("account", "The name is empty or too long.".into()));
        }
        account.trim().clone_into(&mut connection.account);
        self.commit(vec![record::put(connection_key(id), &connection)?]).await
    }

    /// Forgets an account, its secret and its mappings. Events stay on both sides.
    ///
    /// # Errors
    /// `Missing`; when the store fails.
    pub async fn disconnect(&self, owner: &str, id: &str) -> Result<(), BridgeError> {
        self.connection(owner, id).await?;
        for (mapping, _) in self.mappings(owner).await? {
            if mapping.connection == id {
                self.delete_mapping(owner, &mapping.id).await?;
            }
        }
        self.commit(vec![
            Op::DeleteRecord(secret_key(id)),
            Op::DeleteRecord(connection_state_key(id)),
            Op::DeleteRecord(connection_key(id)),
        ])
        .await
    }

    /// Lists the calendars on the far side, and notes how the connection is.
    ///
    /// # Errors
    /// `Missing`, `Far`.
    pub async fn remote_calendars(&self, owner: &str, id: &str) -> Result<Vec<RemoteCalendar>, BridgeError> {
        let (connection, state) = self.connection(owner, id).await?;
        let provider = self.provider(&connection, self.fetch.counted()).await?;
        let answer = provider.calendars().await;
        let next = self.health(&connection, &state, answer.as_ref().err());
        if next.health != state.health || next.sentence != state.sentence {
            self.commit(vec![record::put(connection_state_key(id), &next)?]).await?;
        }
        Ok(answer?)
    }

    /// Returns the far side of a connection.
    pub(super) async fn provider(
        &self,
        connection: &Connection,
        fetch: Fetch,
    ) -> Result<Arc<dyn Provider>, BridgeError> {
        let password = self.secret(&connection.id).await?;
        let url = address(&connection.url)?;
        let homes = connection.homes.iter().filter_map(|home| Url::parse(home).ok()).collect();
        match connection.kind {
            Kind::Caldav => Ok(Arc::new(Caldav::new(fetch, url, &connection.username, password, homes))),
        }
    }

    async fn secret(&self, connection: &str) -> Result<Secret, BridgeError> {
        let key = secret_key(connection);
        let sealed = self.house.store.record(&key).await?;
        let sealed = sealed.ok_or_else(|| {
            BridgeError::Conflict("The connection's password is gone; connect anew.".into())
        })?;
        Ok(self.keys.unseal(&key, &sealed)?)
    }

    /// Returns how a connection is after a call.
    pub(super) fn health(
        &self,
        connection: &Connection,
        before: &ConnectionState,
        trouble: Option<&Trouble>,
    ) -> ConnectionState {
        let (health, sentence) = match trouble {
            None => {
                return ConnectionState {
                    health: Health::Active,
                    sentence: String::new(),
                    last_good: Some(self.house.clock.now()),
                };
            }
            Some(Trouble::Unauthorised(why)) => (
                Health::TokenExpired,
                format!("{why} Give the current password of {}, or a new app password.", connection.account),
            ),
            Some(Trouble::Slow(_)) => {
                (Health::RateLimited, "The far side asks for fewer calls; it is waited for.".to_owned())
            }
            Some(trouble @ (Trouble::Unreachable(_) | Trouble::Refused(_))) => {
                (Health::Error, format!("{trouble} It is tried again by itself."))
            }
            // Trouble of one calendar or event says nothing about the account.
            Some(Trouble::CursorExpired | Trouble::Stale | Trouble::Taken(_) | Trouble::Missing(_)) => {
                return before.clone();
            }
        };
        ConnectionState { health, sentence, last_good: before.last_good }
    }
}

/// Reads what a person typed as an address.
fn address(text: &str) -> Result<Url, BridgeError> {
    let text = text.trim();
    let full = if text.contains("://") { text.to_owned() } else { format!("https://{text}") };
    let bad =
        || BridgeError::Invalid("url", format!("`{text}` is not an address like https://cal.example.org/."));
    let mut url = Url::parse(&full).map_err(|_| bad())?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none_or(str::is_empty) {
        return Err(bad());
    }
    if !url.username().is_empty() || url.password().is_some() {
        let why = "Give the user name and the password apart from the address.";
        return Err(BridgeError::Invalid("url", why.into()));
    }
    url.set_fragment(None);
    Ok(url)
}

//! People's consents: asked for with an address to open, answered by a browser that comes back, once, within 15 minutes.
//!
//! Owns: the record of a consent, what becomes of the connection. Does not own: the pages that people see (`hooks`), the
//! calls (`auth::oauth`), tokens afterwards (`bearer`).

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use url::Url;

use super::bearer::denied;
use super::front::{Bridge, BridgeError};
use super::pace::later;
use super::record::{
    self, Connection, ConnectionState, Consent, Health, Kind, connection_key, connection_state_key,
    consent_key, secret_key, verifier_key,
};
use super::sites::Base;
use crate::auth::grant::Secret;
use crate::auth::oauth::{self, Client, Denial, Grant, Pkce};
use crate::http::fetch::Fetch;
use crate::store::{Expect, Fault, Key, Op, Table, Timestamp};

/// S3-044: how long a consent is awaited.
const PATIENCE: Duration = Duration::from_secs(15 * 60);
/// Consents that are read at a time.
const PAGE: usize = 500;
/// How long a connection that nobody consented to is shown.
const PENDING: Duration = Duration::from_secs(24 * 3600);

/// What a browser brought back.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The state that it was sent away with.
    pub state: String,
    /// What tokens are fetched with.
    pub code: Option<Secret>,
    /// Why there is none, in the far side's word.
    pub error: Option<String>,
    /// Which far side's address it came to; nothing: to the one of all.
    pub at: Option<Kind>,
}

/// Where a person who came back goes, and with what.
#[derive(Debug, Clone)]
pub struct Landing {
    /// The page that they wanted to go back to.
    pub return_to: Option<Url>,
    /// How it ended.
    pub outcome: Outcome,
}

/// How asking for a consent ended.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// The account is connected.
    Connected {
        /// Which.
        connection: String,
        /// How it is called there.
        account: String,
        /// Whose it is here.
        owner: String,
    },
    /// Nothing was changed: nobody awaits this answer.
    Unawaited,
    /// It was not given, or could not be used.
    Refused {
        /// In one word, for a program.
        word: &'static str,
        /// In a sentence that says what to do.
        sentence: String,
    },
}

impl Bridge {
    /// Makes a connection that waits for its owner's consent, and returns where that is given.
    ///
    /// # Errors
    /// `Invalid` if the server is not set up for it or `return_to` leads elsewhere.
    pub async fn ask_consent(
        &self,
        owner: &str,
        kind: Kind,
        return_to: Option<&str>,
    ) -> Result<(Connection, Url), BridgeError> {
        let client = self.oauth(kind, self.fetch.clone())?;
        let connection = self.blank(owner, kind)?;
        let state = ConnectionState {
            health: Health::Pending,
            sentence: "Open the authorization link and give your consent.".into(),
            ..ConnectionState::default()
        };
        let (url, mut ops) = self.asked(&client, &connection, return_to)?;
        ops.push(record::put(connection_key(&connection.id), &connection)?);
        ops.push(record::put(connection_state_key(&connection.id), &state)?);
        self.sweep_consents().await?;
        self.commit(ops).await?;
        Ok((connection, url))
    }

    /// Returns where a connection's consent is given anew. What is mapped stays as it is, and so does the old consent
    /// until the new one is there.
    ///
    /// # Errors
    /// `Missing`, `Invalid`.
    pub async fn ask_consent_again(
        &self,
        owner: &str,
        id: &str,
        return_to: Option<&str>,
    ) -> Result<(Connection, ConnectionState, Url), BridgeError> {
        let (connection, state) = self.connection(owner, id).await?;
        let client = self.oauth(connection.kind, self.fetch.clone())?;
        let (url, ops) = self.asked(&client, &connection, return_to)?;
        self.sweep_consents().await?;
        self.commit(ops).await?;
        Ok((connection, state, url))
    }

    /// Takes what a browser brought back. A state that is unknown, used or too old changes nothing, and neither does a
    /// person who says no.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn consent_answered(self: &Arc<Self>, answer: Answer) -> Result<Landing, BridgeError> {
        let nobody = Landing { return_to: None, outcome: Outcome::Unawaited };
        let digest = oauth::digest(&answer.state);
        let key = consent_key(&digest);
        let store = &*self.house.store;
        let Some(bytes) = store.record(&key).await? else { return Ok(nobody) };
        let consent: Consent = record::decode(&key, &bytes)?;
        let elsewhere = answer.at.is_some_and(|at| at != consent.kind);
        if elsewhere || consent.expires <= self.house.clock.now() {
            return Ok(nobody);
        }
        let return_to = consent.return_to.as_deref().and_then(|url| Url::parse(url).ok());
        let land = |outcome| Ok(Landing { return_to: return_to.clone(), outcome });
        let Some(code) = answer.code.filter(|_| answer.error.is_none()) else {
            return land(not_given(answer.error.as_deref()));
        };
        let found: Option<Connection> = record::load(store, &connection_key(&consent.connection)).await?;
        let Some(connection) = found.filter(|c| c.owner == consent.owner && c.kind == consent.kind) else {
            return Ok(nobody);
        };
        let Some(sealed) = store.record(&verifier_key(&digest)).await? else { return Ok(nobody) };
        let verifier = self.keys.unseal(&verifier_key(&digest), &sealed)?;
        // Used from here on, whatever comes of it: of two browsers with the same answer one goes on.
        let used = self
            .commit_if(
                vec![Expect::Record(key.clone(), Some(bytes))],
                vec![Op::DeleteRecord(key), Op::DeleteRecord(verifier_key(&digest))],
            )
            .await;
        match used {
            Err(BridgeError::Conflict(_)) => return Ok(nobody),
            other => other?,
        }
        match self.consented(&consent, connection, &code, &verifier).await {
            Ok(connection) => land(Outcome::Connected {
                connection: connection.id,
                account: connection.account,
                owner: connection.owner,
            }),
            Err(BridgeError::Far(trouble)) => land(Outcome::Refused {
                word: "failed",
                sentence: format!("{trouble} Nothing was changed; start again from Kalends."),
            }),
            Err(BridgeError::Conflict(sentence)) => land(Outcome::Refused { word: "refused", sentence }),
            Err(error) => Err(error),
        }
    }

    /// Fetches the tokens and keeps them.
    async fn consented(
        self: &Arc<Self>,
        consent: &Consent,
        mut connection: Connection,
        code: &Secret,
        verifier: &Secret,
    ) -> Result<Connection, BridgeError> {
        let client = self.oauth(connection.kind, self.fetch.counted())?;
        let now = self.house.clock.now();
        let grant = match client.exchange(code, verifier, &consent.redirect, now).await {
            Ok(grant) => grant,
            Err(Denial::Short(why)) => {
                self.note_pending(&connection, &why).await?;
                return Err(BridgeError::Conflict(why));
            }
            Err(denial) => return Err(denied(denial).into()),
        };
        let told = client.account(&grant.access).await.ok().flatten();
        if let Some(told) = &told
            && !connection.username.is_empty()
            && !connection.username.eq_ignore_ascii_case(told)
        {
            return Err(BridgeError::Conflict(format!(
                "You signed in as {told}, but this connection is the one of {}. Sign in as that account, or make a new \
                 connection for the other one.",
                connection.username
            )));
        }
        if told.is_none() && !connection.username.is_empty() {
            return Err(BridgeError::Conflict(format!(
                "It could not be told which account you signed in as. Try again, and leave the permission to see your \
                 address; this connection is the one of {}.",
                connection.username
            )));
        }
        if let Some(told) = told {
            if connection.account.is_empty() || connection.account == connection.username {
                connection.account.clone_from(&told);
            }
            connection.username = told;
        } else if connection.account.is_empty() {
            connection.account = "Account without a name".into();
        }
        self.keep_grant(&connection, &grant, now).await?;
        tracing::info!(connection = %connection.id, "a consent was given");
        self.ties.tend.notify_one();
        for (mapping, _) in self.mappings(&connection.owner).await? {
            if mapping.connection == connection.id {
                self.run_soon(&mapping.id);
            }
        }
        Ok(connection)
    }

    async fn keep_grant(
        &self,
        connection: &Connection,
        grant: &Grant,
        now: Timestamp,
    ) -> Result<(), BridgeError> {
        let state = ConnectionState { last_good: Some(now), ..ConnectionState::default() };
        let sealed = self.keys.seal(&secret_key(&connection.id), &grant.text())?;
        // It may have been removed while its owner was away.
        let key = connection_key(&connection.id);
        let there = self.house.store.record(&key).await?;
        let Some(there) = there else {
            return Err(BridgeError::Conflict(
                "The connection was removed meanwhile; make a new one.".into(),
            ));
        };
        self.commit_if(
            vec![Expect::Record(key.clone(), Some(there))],
            vec![
                record::put(key, connection)?,
                record::put(connection_state_key(&connection.id), &state)?,
                Op::PutRecord(secret_key(&connection.id), sealed),
            ],
        )
        .await
    }

    /// Says what is wrong at a connection that still waits. One that works is left alone.
    async fn note_pending(&self, connection: &Connection, why: &str) -> Result<(), BridgeError> {
        let mut state = self.connection_state(&connection.id).await?;
        if state.health != Health::Pending {
            return Ok(());
        }
        why.clone_into(&mut state.sentence);
        self.commit(vec![record::put(connection_state_key(&connection.id), &state)?]).await
    }

    /// Returns the client for a kind of account.
    pub(super) fn oauth(&self, kind: Kind, fetch: Fetch) -> Result<Client, BridgeError> {
        let Some(endpoints) = self.settings.providers.endpoints(kind) else {
            return Err(BridgeError::Invalid(
                "provider",
                "Such accounts are connected with a password.".into(),
            ));
        };
        if !endpoints.configured() {
            let name = endpoints.vendor.name();
            return Err(BridgeError::Invalid(
                "provider",
                format!(
                    "This server is not set up for {name} accounts. Whoever runs it has to register it with {name} and \
                     set the client id and secret."
                ),
            ));
        }
        Ok(Client::new(endpoints.clone(), fetch))
    }

    /// Prepares a consent: the address to open, and the steps that remember it.
    fn asked(
        &self,
        client: &Client,
        connection: &Connection,
        return_to: Option<&str>,
    ) -> Result<(Url, Vec<Op>), BridgeError> {
        let base = Base::read(&self.settings.base_url).filter(Base::is_safe).ok_or_else(|| {
            BridgeError::Invalid(
                "provider",
                "People can come back from a consent over https only. Whoever runs the server has to set \
                 server.base_url to its https address."
                    .into(),
            )
        })?;
        let return_to = match return_to {
            Some(wish) => Some(base.return_to(wish).ok_or_else(|| {
                BridgeError::Invalid("return_to", "Give a path on this server, like /settings.".into())
            })?),
            None => None,
        };
        let redirect =
            base.below(client.callback()).ok_or_else(|| Fault::Broken("the base URL is none".into()))?;
        let state = oauth::random_text().map_err(Fault::Broken)?;
        let pkce = Pkce::new().map_err(Fault::Broken)?;
        let account = Some(connection.username.as_str()).filter(|name| !name.is_empty());
        let url = client.consent(redirect.as_str(), &state, &pkce, account).map_err(denied)?;
        let digest = oauth::digest(&state);
        let consent = Consent {
            owner: connection.owner.clone(),
            connection: connection.id.clone(),
            kind: connection.kind,
            redirect: redirect.into(),
            return_to: return_to.map(String::from),
            expires: later(self.house.clock.now(), PATIENCE),
        };
        let sealed = self.keys.seal(&verifier_key(&digest), &pkce.verifier)?;
        let ops =
            vec![record::put(consent_key(&digest), &consent)?, Op::PutRecord(verifier_key(&digest), sealed)];
        Ok((url, ops))
    }

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

    async fn sweep_consent(&self, key: Key, bytes: Bytes, consent: &Consent) -> Result<(), BridgeError> {
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
            let (Some(kept), Some(state)) = (store.record(&key).await?, store.record(&state_key).await?) else {
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
fn unless_changed(swept: Result<(), BridgeError>) -> Result<(), BridgeError> {
    match swept {
        Err(BridgeError::Conflict(_)) => Ok(()),
        other => other,
    }
}

/// Says what a far side's word means for a person.
fn not_given(error: Option<&str>) -> Outcome {
    let (word, sentence) = match error {
        Some("access_denied" | "consent_required" | "interaction_required") => (
            "access_denied",
            "You did not give your consent, so nothing was connected. Start again when you want to.",
        ),
        Some("temporarily_unavailable" | "server_error") => {
            ("unavailable", "The provider could not ask you just now. Start again in a few minutes.")
        }
        Some(_) => (
            "refused",
            "The provider did not let you through, so nothing was connected. If it goes on, ask whoever runs this server \
             to check how it is registered there.",
        ),
        None => ("refused", "The answer of the provider was not complete. Start again from Kalends."),
    };
    Outcome::Refused { word, sentence: sentence.into() }
}

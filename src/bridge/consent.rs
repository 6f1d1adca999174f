//! People's consents: asked for with an address to open, answered by a browser that comes back, once, within 15 minutes.
//!
//! A consent connects an account over there with one here only if both are the same person's. The browser that asked brings
//! a cookie that shows it; in any other one, such as that of somebody who was sent the link, the person is first told whom the
//! account would be connected to, and nothing is kept until they say that this is meant.
//!
//! Owns: the record of a consent, what becomes of the connection. Does not own: the pages that people see (`hooks`), the
//! calls and the cookie (`auth::oauth`), tokens afterwards (`bearer`).

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use subtle::ConstantTimeEq as _;
use url::Url;

use super::bearer::denied;
use super::front::{Bridge, BridgeError};
use super::pace::later;
use super::record::{
    self, Connection, ConnectionState, Consent, Direction, Found, Health, Kind, connection_key,
    connection_state_key, consent_key, secret_key, verifier_key,
};
use super::sites::{Base, CoziState};
use super::sweep::unless_changed;
use crate::auth::grant::Secret;
use crate::auth::oauth::{self, Access, Client, Denial, Grant, Pkce};
use crate::http::fetch::Fetch;
use crate::store::{Expect, Fault, Key, Op, Timestamp};

/// S3-044: how long a consent is awaited, and then a person's word that it is meant.
const PATIENCE: Duration = Duration::from_secs(15 * 60);

/// What somebody wants who asks for a consent.
#[derive(Debug, Clone, Copy, Default)]
pub struct Wish<'a> {
    /// Where the person goes afterwards, on this server.
    pub return_to: Option<&'a str>,
    /// What the consent is for; nothing: to write, or what it was for before.
    pub access: Option<Access>,
}

/// A consent that was asked for.
#[derive(Debug)]
pub struct Asked {
    /// The connection that waits for it.
    pub connection: Connection,
    /// How that is.
    pub state: ConnectionState,
    /// What is asked for.
    pub access: Access,
    /// Where the person gives it.
    pub url: Url,
    /// The state in that address.
    pub word: String,
    /// What the browser is handed that asked.
    pub browser: Secret,
}

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
    /// What it was handed when it asked; nothing: it did not.
    pub browser: Option<Secret>,
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
    /// It was given in a browser that did not ask for it: the person has to say that this is meant.
    Unsure(Box<Doubt>),
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

/// What a person is told before an account is connected with somebody who may be somebody else.
#[derive(Debug, Clone)]
pub struct Doubt {
    /// Where the answer is sent.
    pub action: Url,
    /// What it carries to be believed.
    pub token: Secret,
    /// Whose far side it is.
    pub vendor: &'static str,
    /// The account over there; nothing: the far side does not name it.
    pub account: Option<String>,
    /// The account here.
    pub owner: String,
    /// What it could do there.
    pub access: Access,
}

/// A consent as it lies in the store.
pub(super) struct Awaited {
    pub(super) key: Key,
    pub(super) bytes: Bytes,
    pub(super) consent: Consent,
}

impl Landing {
    fn unawaited() -> Landing {
        Landing { return_to: None, outcome: Outcome::Unawaited }
    }
}

impl Bridge {
    /// Makes a connection that waits for its owner's consent, and returns where that is given.
    ///
    /// # Errors
    /// `Invalid` if the server is not set up for it or `return_to` leads elsewhere.
    pub async fn ask_consent(&self, owner: &str, kind: Kind, wish: Wish<'_>) -> Result<Asked, BridgeError> {
        let access = wish.access.unwrap_or_default();
        let client = self.oauth(kind, access, self.fetch.clone())?;
        let connection = Connection { access, ..self.blank(owner, kind)? };
        let state = ConnectionState {
            health: Health::Pending,
            sentence: "Open the authorization link and give your consent.".into(),
            ..ConnectionState::default()
        };
        let (asked, mut ops) = self.asked(&client, connection, state, access, wish)?;
        ops.push(record::put(connection_key(&asked.connection.id), &asked.connection)?);
        ops.push(record::put(connection_state_key(&asked.connection.id), &asked.state)?);
        self.sweep_consents().await?;
        self.commit(ops).await?;
        Ok(asked)
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
        wish: Wish<'_>,
    ) -> Result<Asked, BridgeError> {
        let (connection, state) = self.connection(owner, id).await?;
        let access = wish.access.unwrap_or(connection.access);
        self.may_become(&connection, access).await?;
        let client = self.oauth(connection.kind, access, self.fetch.clone())?;
        let (asked, ops) = self.asked(&client, connection, state, access, wish)?;
        self.sweep_consents().await?;
        self.commit(ops).await?;
        Ok(asked)
    }

    /// Takes what a browser brought back. A state that is unknown, used or too old changes nothing, and neither does a
    /// person who says no.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn consent_answered(self: &Arc<Self>, answer: Answer) -> Result<Landing, BridgeError> {
        let Some(awaited) = self.awaited(&answer.state).await? else { return Ok(Landing::unawaited()) };
        let consent = awaited.consent.clone();
        if consent.found.is_some() || answer.at.is_some_and(|at| at != consent.kind) {
            return Ok(Landing::unawaited());
        }
        let return_to = consent.return_to.as_deref().and_then(|url| Url::parse(url).ok());
        let land = |outcome| Ok(Landing { return_to: return_to.clone(), outcome });
        let Some(code) = answer.code.filter(|_| answer.error.is_none()) else {
            return land(not_given(answer.error.as_deref()));
        };
        let Some(connection) = self.waiting(&consent).await? else { return Ok(Landing::unawaited()) };
        // Used from here on, whatever comes of it: of two browsers with the same answer one goes on.
        let Some(verifier) = self.use_up(awaited).await? else { return Ok(Landing::unawaited()) };
        let asked = match (&consent.browser, &answer.browser) {
            (Some(digest), Some(brought)) => {
                bool::from(oauth::digest(brought.reveal()).as_bytes().ct_eq(digest.as_bytes()))
            }
            _ => false,
        };
        let ended = match self.redeemed(&consent, &connection, &code, &verifier).await {
            Ok((grant, account)) if asked => self.connected(&consent, connection, grant, account).await,
            Ok((grant, account)) => self.doubted(&consent, connection, &grant, account).await,
            Err(error) => Err(error),
        };
        land(outcome(ended)?)
    }

    /// Takes a person's word on a consent that was given in a browser which had not asked for it.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn consent_confirmed(
        self: &Arc<Self>,
        token: &str,
        meant: bool,
    ) -> Result<Landing, BridgeError> {
        let Some(awaited) = self.awaited(token).await? else { return Ok(Landing::unawaited()) };
        let consent = awaited.consent.clone();
        let Some(found) = consent.found.clone() else { return Ok(Landing::unawaited()) };
        let Some(text) = self.use_up(awaited).await? else { return Ok(Landing::unawaited()) };
        let Some(grant) = Grant::read(&text) else { return Ok(Landing::unawaited()) };
        let return_to = consent.return_to.as_deref().and_then(|url| Url::parse(url).ok());
        let land = |outcome| Ok(Landing { return_to, outcome });
        let connection = self.waiting(&consent).await?;
        let Some(connection) = connection.filter(|_| meant) else {
            self.return_grant(consent.kind, found.account.as_deref().unwrap_or_default(), "", &grant).await;
            let sentence =
                "Nothing was connected, and what you had agreed to was forgotten. You can close this page.";
            return land(Outcome::Refused { word: "access_denied", sentence: sentence.into() });
        };
        let ended = self.connected(&consent, connection, grant, found.account).await;
        land(outcome(ended)?)
    }

    /// Finds what waits for this word; what cannot be one is not looked for.
    async fn awaited(&self, word: &str) -> Result<Option<Awaited>, BridgeError> {
        if !oauth::is_random_text(word) {
            return Ok(None);
        }
        let key = consent_key(&oauth::digest(word));
        let Some(bytes) = self.house.store.record(&key).await? else { return Ok(None) };
        let consent: Consent = record::decode(&key, &bytes)?;
        Ok((consent.expires > self.house.clock.now()).then_some(Awaited { key, bytes, consent }))
    }

    /// Returns the connection that a consent is for.
    async fn waiting(&self, consent: &Consent) -> Result<Option<Connection>, BridgeError> {
        let found = record::load(&*self.house.store, &connection_key(&consent.connection)).await?;
        Ok(found.filter(|c: &Connection| c.owner == consent.owner && c.kind == consent.kind))
    }

    /// Uses a consent up and returns what lay sealed beside it. Nothing: somebody was quicker.
    pub(super) async fn use_up(&self, awaited: Awaited) -> Result<Option<Secret>, BridgeError> {
        let sealed_key = verifier_key(&awaited.key.path);
        let Some(sealed) = self.house.store.record(&sealed_key).await? else { return Ok(None) };
        let text = self.keys.unseal(&sealed_key, &sealed)?;
        let expects = vec![Expect::Record(awaited.key.clone(), Some(awaited.bytes))];
        let ops = vec![Op::DeleteRecord(awaited.key), Op::DeleteRecord(sealed_key)];
        match self.commit_if(expects, ops).await {
            Err(BridgeError::Conflict(_)) => Ok(None),
            other => other.map(|()| Some(text)),
        }
    }

    /// Fetches the tokens, and whose they are.
    async fn redeemed(
        &self,
        consent: &Consent,
        connection: &Connection,
        code: &Secret,
        verifier: &Secret,
    ) -> Result<(Grant, Option<String>), BridgeError> {
        let client = self.oauth(connection.kind, consent.access, self.fetch.counted())?;
        let now = self.house.clock.now();
        let grant = match client.exchange(code, verifier, &consent.redirect, now).await {
            Ok(grant) => grant,
            Err(Denial::Short(why)) => {
                self.note_pending(connection, &why).await?;
                return Err(BridgeError::Conflict(why));
            }
            Err(denial) => return Err(denied(denial).into()),
        };
        let account = client.account(&grant.access).await.ok().flatten();
        is_the_same(connection, account.as_deref())?;
        Ok((grant, account))
    }

    /// Keeps what was given until the person says that it is meant.
    async fn doubted(
        &self,
        consent: &Consent,
        connection: Connection,
        grant: &Grant,
        account: Option<String>,
    ) -> Result<Outcome, BridgeError> {
        let token = Secret::new(oauth::random_text().map_err(Fault::Broken)?);
        let digest = oauth::digest(token.reveal());
        let kept = Consent {
            expires: later(self.house.clock.now(), PATIENCE),
            browser: None,
            found: Some(Found { account: account.clone() }),
            ..consent.clone()
        };
        let sealed = self.keys.seal(&verifier_key(&digest), &grant.text())?;
        self.commit(vec![
            record::put(consent_key(&digest), &kept)?,
            Op::PutRecord(verifier_key(&digest), sealed),
        ])
        .await?;
        let action = Base::read(&self.settings.base_url).and_then(|base| base.below("oauth/confirm"));
        let action = action.ok_or_else(|| Fault::Broken("the base URL is none".into()))?;
        let endpoints = self.settings.providers.endpoints(consent.kind);
        let vendor = endpoints.map_or("the provider", |endpoints| endpoints.vendor.name());
        let (owner, access) = (connection.owner, consent.access);
        Ok(Outcome::Unsure(Box::new(Doubt { action, token, vendor, account, owner, access })))
    }

    /// Connects the account: from here on its tokens are kept.
    async fn connected(
        self: &Arc<Self>,
        consent: &Consent,
        mut connection: Connection,
        grant: Grant,
        account: Option<String>,
    ) -> Result<Outcome, BridgeError> {
        is_the_same(&connection, account.as_deref())?;
        self.may_become(&connection, consent.access).await?;
        connection.access = consent.access;
        if let Some(account) = account {
            if connection.account.is_empty() || connection.account == connection.username {
                connection.account.clone_from(&account);
            }
            connection.username = account;
        } else if connection.account.is_empty() {
            connection.account = "Account without a name".into();
        }
        if let Err(BridgeError::Conflict(why)) = self.only_once(&connection).await {
            self.note_pending(&connection, &why).await?;
            return Err(BridgeError::Conflict(why));
        }
        self.keep_grant(&connection, &grant, self.house.clock.now()).await?;
        tracing::info!(connection = %connection.id, "a consent was given");
        self.ties.tend.notify_one();
        for mapping in self.mapped(&connection).await? {
            self.run_soon(&mapping.id);
        }
        let Connection { id, account, owner, .. } = connection;
        Ok(Outcome::Connected { connection: id, account, owner })
    }

    /// Refuses to let a connection only read that mappings write through.
    async fn may_become(&self, connection: &Connection, access: Access) -> Result<(), BridgeError> {
        if access == Access::Write || connection.access == Access::Read {
            return Ok(());
        }
        let writing = self.mapped(connection).await?;
        match writing.iter().filter(|mapping| mapping.direction != Direction::Pull).count() {
            0 => Ok(()),
            count => Err(BridgeError::Invalid(
                "access",
                format!(
                    "{count} of the mappings of {} write to it. Give them the direction `pull` first.",
                    connection.account
                ),
            )),
        }
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
        let mut ops = vec![
            record::put(key.clone(), connection)?,
            record::put(connection_state_key(&connection.id), &state)?,
            Op::PutRecord(secret_key(&connection.id), sealed),
        ];
        ops.extend(self.connection_alarms(connection, &state).await?);
        ops.extend(self.ending_alarm(connection, Some(grant)).await?);
        self.commit_if(vec![Expect::Record(key, Some(there))], ops).await
    }

    /// Says what is wrong at a connection that still waits. One that works is left alone.
    async fn note_pending(&self, connection: &Connection, why: &str) -> Result<(), BridgeError> {
        let key = connection_state_key(&connection.id);
        let Some(kept) = self.house.store.record(&key).await? else { return Ok(()) };
        let mut state: ConnectionState = record::decode(&key, &kept)?;
        if state.health != Health::Pending {
            return Ok(());
        }
        why.clone_into(&mut state.sentence);
        let expects = vec![Expect::Record(key.clone(), Some(kept))];
        unless_changed(self.commit_if(expects, vec![record::put(key, &state)?]).await)
    }

    /// Returns the client for a kind of account.
    pub(super) fn oauth(&self, kind: Kind, access: Access, fetch: Fetch) -> Result<Client, BridgeError> {
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
        Ok(Client::new(endpoints.clone(), access, fetch))
    }

    /// Returns why accounts of that kind cannot be connected on this server; nothing: they can be.
    pub fn unavailable(&self, kind: Kind) -> Option<String> {
        match kind {
            Kind::Google | Kind::Outlook => match self.oauth(kind, Access::Write, self.fetch.counted()) {
                Err(BridgeError::Invalid(_, why)) => Some(why),
                _ => None,
            },
            Kind::Cozi if self.settings.providers.cozi_state == CoziState::Off => Some(
                "Cozi is switched off on this server. Whoever runs it can set providers.cozi.state to beta."
                    .into(),
            ),
            Kind::Ics if !self.settings.feeds => Some("Feeds are switched off on this server.".into()),
            Kind::Cozi | Kind::Ics | Kind::Caldav | Kind::Icloud => None,
        }
    }

    /// Prepares a consent: the address to open, and the steps that remember it.
    fn asked(
        &self,
        client: &Client,
        connection: Connection,
        state: ConnectionState,
        access: Access,
        wish: Wish<'_>,
    ) -> Result<(Asked, Vec<Op>), BridgeError> {
        let base = Base::read(&self.settings.base_url).filter(Base::is_safe).ok_or_else(|| {
            BridgeError::Invalid(
                "provider",
                "People can come back from a consent over https only. Whoever runs the server has to set \
                 server.base_url to its https address."
                    .into(),
            )
        })?;
        let return_to = match wish.return_to {
            Some(wish) => Some(base.return_to(wish).ok_or_else(|| {
                BridgeError::Invalid("return_to", "Give a path on this server, like /settings.".into())
            })?),
            None => None,
        };
        let redirect = match client.redirect() {
            Some(set) => Url::parse(set).ok(),
            None => base.below(client.callback()),
        };
        let redirect = redirect.ok_or_else(|| Fault::Broken("the base URL is none".into()))?;
        let word = oauth::random_text().map_err(Fault::Broken)?;
        let browser = Secret::new(oauth::random_text().map_err(Fault::Broken)?);
        let pkce = Pkce::new().map_err(Fault::Broken)?;
        let account = Some(connection.username.as_str()).filter(|name| !name.is_empty());
        let url = client.consent(redirect.as_str(), &word, &pkce, account).map_err(denied)?;
        let digest = oauth::digest(&word);
        let consent = Consent {
            owner: connection.owner.clone(),
            connection: connection.id.clone(),
            kind: connection.kind,
            redirect: redirect.into(),
            return_to: return_to.map(String::from),
            expires: later(self.house.clock.now(), PATIENCE),
            access,
            browser: Some(oauth::digest(browser.reveal())),
            found: None,
        };
        let sealed = self.keys.seal(&verifier_key(&digest), &pkce.verifier)?;
        let ops =
            vec![record::put(consent_key(&digest), &consent)?, Op::PutRecord(verifier_key(&digest), sealed)];
        Ok((Asked { connection, state, access, url, word, browser }, ops))
    }
}

/// Tells how it ended from what went wrong, as far as a person is to hear of it.
fn outcome(ended: Result<Outcome, BridgeError>) -> Result<Outcome, BridgeError> {
    match ended {
        Err(BridgeError::Far(trouble)) => {
            let sentence = format!("{trouble} Nothing was changed; start again from Kalends.");
            Ok(Outcome::Refused { word: "failed", sentence })
        }
        Err(BridgeError::Conflict(sentence) | BridgeError::Invalid(_, sentence)) => {
            Ok(Outcome::Refused { word: "refused", sentence })
        }
        other => other,
    }
}

/// Refuses another account than the one that the connection is for.
fn is_the_same(connection: &Connection, account: Option<&str>) -> Result<(), BridgeError> {
    let own = connection.username.as_str();
    match account {
        _ if own.is_empty() => Ok(()),
        Some(told) if own.eq_ignore_ascii_case(told) => Ok(()),
        Some(told) => Err(BridgeError::Conflict(format!(
            "You signed in as {told}, but this connection is the one of {own}. Sign in as that account, or make a new \
             connection for the other one."
        ))),
        None => Err(BridgeError::Conflict(format!(
            "It could not be told which account you signed in as. Try again, and leave the permission to see your \
             address; this connection is the one of {own}."
        ))),
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

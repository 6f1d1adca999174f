//! Who is asking: Basic passwords, app passwords and bearer tokens; and the commands that change them.
//!
//! Owns: verifying what a request carries (`Guard`), the cache of verified credentials (`cache`), slowing of failures
//! (`throttle`), how often one caller may ask (`rate`), password hashes (`password`), app passwords and tokens (`token`),
//! sessions of browsers (`session`), signatures of
//! webhooks (`signing`), what far sides entrusted to us (`grant`),
//! whose word about a client's address is believed (`proxy`).
//! Does not own: what a principal may do (`calendar`), the answers to a refusal (`server`).

mod account;
mod cache;
pub mod grant;
pub mod oauth;
pub mod password;
pub mod proxy;
mod rate;
pub mod session;
pub mod signing;
mod throttle;
mod token;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use http::{HeaderMap, HeaderValue, header};
use tokio::sync::Semaphore;
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;

use crate::calendar::{House, login_name};
use crate::store::{Fault, Notice, Principal, Table};

pub use rate::Rate;
pub use throttle::Throttle;
pub(crate) use token::label;
pub use token::{AppPassword, Scope, Scopes, Token};

/// How long a sign-in waits for a free core before it is sent away.
const PATIENCE: Duration = Duration::from_secs(10);
/// Base64 as clients send it, with padding or without.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Somebody who has proven who they are.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The account.
    pub principal: Arc<Principal>,
    /// How it was proven.
    pub via: Via,
    /// The id of the token or session, if it was one.
    pub token: Option<Arc<str>>,
    /// What its owner calls the app password or token; empty: it was neither.
    pub label: Arc<str>,
}

/// What a caller proved themselves with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Via {
    /// The account's password.
    Password,
    /// A device's own password.
    AppPassword,
    /// A program's token, limited to these scopes.
    Token(Scopes),
    /// A browser's session, begun with the account's password.
    Session,
}

impl Caller {
    /// Tells whether the caller may do what the scope names. A password carries every scope but `admin`, which it
    /// carries for administrators; an app password carries none: it is for calendar clients.
    pub fn may(&self, scope: Scope) -> bool {
        match self.via {
            Via::Password | Via::Session => scope != Scope::Admin || self.principal.admin,
            Via::AppPassword => false,
            Via::Token(scopes) => scopes.contain(scope) && (scope != Scope::Admin || self.principal.admin),
        }
    }
}

/// Why nobody was recognised.
#[derive(Debug, Clone)]
pub enum Denied {
    /// No credentials came: not a failure, clients ask like this first.
    Missing,
    /// The credentials are wrong. The answer has been delayed already.
    Wrong,
    /// Too many are signing in at a time: nothing was looked at.
    Busy,
    /// Too many wrong ones from there: nothing was looked at; come back after this time.
    Slow(Duration),
    /// It could not be found out. Never told as a wrong password: clients would throw theirs away.
    Fault(Fault),
}

/// Verifies what requests carry.
pub struct Guard {
    house: Arc<House>,
    verified: cache::Verified,
    throttle: Throttle,
    cores: Semaphore,
    /// The server stops: whoever is made to wait is answered now.
    closing: CancellationToken,
}

impl std::fmt::Debug for Guard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Guard")
    }
}

impl Guard {
    /// Returns a guard over the accounts of this house.
    ///
    /// # Errors
    /// When the system has no random numbers.
    pub fn new(house: Arc<House>) -> Result<Arc<Guard>, String> {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Ok(Arc::new(Guard {
            house,
            verified: cache::Verified::new()?,
            throttle: Throttle::default(),
            cores: Semaphore::new(cores),
            closing: CancellationToken::new(),
        }))
    }

    /// Returns who sent these headers from that address.
    ///
    /// # Errors
    /// See [`Denied`].
    pub async fn authenticate(&self, headers: &HeaderMap, address: IpAddr) -> Result<Caller, Denied> {
        let Some(sent) = headers.get(header::AUTHORIZATION) else { return Err(Denied::Missing) };
        let digest = self.verified.digest(sent.as_bytes());
        match self.verified.recall(&digest) {
            Some(caller) => Ok(caller),
            // Boxed, so that the rare way does not make every request's future large.
            None => Box::pin(self.verify(sent, digest, address)).await,
        }
    }

    async fn verify(
        &self,
        sent: &HeaderValue,
        digest: cache::Digest,
        address: IpAddr,
    ) -> Result<Caller, Denied> {
        match Credentials::parse(sent.as_bytes()) {
            None => Err(Denied::Missing),
            Some(Credentials::Basic { user, password }) => self.basic(user, password, digest, address).await,
            Some(Credentials::Bearer(secret)) => self.bearer(&secret, digest, address).await,
            Some(Credentials::Garbled) => Err(self.wrong("", address, "garbled-credentials").await),
        }
    }

    async fn basic(
        &self,
        user: String,
        password: String,
        digest: cache::Digest,
        address: IpAddr,
    ) -> Result<Caller, Denied> {
        // A name that cannot exist goes the whole way of one that does not.
        let name = login_name(&user).unwrap_or_else(|_| user.to_lowercase());
        let epoch = self.verified.epoch(&name);
        let principal = self.house.principal(&name).await.map_err(Denied::Fault)?;
        let device = token::app_password(&self.house, &name, &password).await.map_err(Denied::Fault)?;
        if let (Some(principal), Some(device)) = (&principal, device) {
            let (principal, label) = (Arc::clone(principal), device.label.into());
            let caller = Caller { principal, via: Via::AppPassword, token: None, label };
            self.verified.remember(digest, caller.clone(), epoch);
            return Ok(caller);
        }
        // Only what costs a hash is refused unseen.
        self.not_too_many(&name, address)?;
        let Ok(permit) = tokio::time::timeout(PATIENCE, self.cores.acquire()).await else {
            return Err(Denied::Busy);
        };
        // Somebody else may have verified the same while this one waited.
        if let Some(caller) = self.verified.recall(&digest) {
            return Ok(caller);
        }
        // And a burst of guesses may all have passed before the first of them failed.
        self.not_too_many(&name, address)?;
        let phc = principal.as_ref().map(|principal| principal.password.clone());
        let right = tokio::task::spawn_blocking(move || password::verify(&password, phc.as_deref())).await;
        drop(permit);
        match (right, principal) {
            (Ok(true), Some(principal)) => {
                let caller = Caller { principal, via: Via::Password, token: None, label: "".into() };
                self.verified.remember(digest, caller.clone(), epoch);
                Ok(caller)
            }
            (Ok(_), _) => Err(self.wrong(&name, address, "wrong-password").await),
            (Err(error), _) => Err(Denied::Fault(Fault::Broken(format!("hashing failed: {error}")))),
        }
    }

    async fn bearer(&self, secret: &str, digest: cache::Digest, address: IpAddr) -> Result<Caller, Denied> {
        let epoch = self.verified.epoch(token::EVERY_TOKEN);
        let Some(token) = token::find(&self.house, secret).await.map_err(Denied::Fault)? else {
            return Err(self.wrong("", address, "wrong-token").await);
        };
        let owners = self.verified.epoch(&token.user);
        let Some(principal) = self.house.principal(&token.user).await.map_err(Denied::Fault)? else {
            return Err(self.wrong(&token.user, address, "wrong-token").await);
        };
        let (via, label) = (Via::Token(token.scopes), token.label.into());
        let caller = Caller { principal, via, token: Some(token.id.into()), label };
        // Two epochs matter here, the token's and its owner's; an entry carries one. The owner's is the one that
        // changes by itself, and every change to a token bumps its owner's as well.
        if self.verified.epoch(token::EVERY_TOKEN) == epoch {
            self.verified.remember(digest, caller.clone(), owners);
        }
        Ok(caller)
    }

    fn not_too_many(&self, user: &str, address: IpAddr) -> Result<(), Denied> {
        match self.throttle.refuses(user, address, self.house.clock.now()) {
            Some(after) => {
                refused(user, address, "too-many-failures");
                Err(Denied::Slow(after))
            }
            None => Ok(()),
        }
    }

    /// Counts and logs a failure, and waits as long as it costs.
    async fn wrong(&self, user: &str, address: IpAddr, reason: &'static str) -> Denied {
        refused(user, address, reason);
        let wait = self.throttle.failed(user, address, self.house.clock.now());
        if !wait.is_zero() {
            let _ = tokio::time::timeout(wait, self.closing.cancelled()).await;
        }
        Denied::Wrong
    }

    /// Lets nobody wait any more, because the server stops.
    pub fn close(&self) {
        self.closing.cancel();
    }

    /// Believes nothing any more that was verified for this account before now.
    pub fn forget(&self, user: &str) {
        self.verified.forget(user);
    }

    /// Follows the store's commits and forgets accounts that changed, whoever changed them. Ends with the store.
    pub async fn follow(self: Arc<Self>, mut notices: tokio::sync::broadcast::Receiver<Arc<Notice>>) {
        loop {
            match notices.recv().await {
                Ok(notice) => self.heed(&notice),
                Err(RecvError::Lagged(_)) => self.verified.forget_all(),
                Err(RecvError::Closed) => return,
            }
        }
    }

    fn heed(&self, notice: &Notice) {
        for key in &notice.keys {
            match key.table {
                Table::Principal => self.verified.forget(&key.path),
                Table::AppPassword => {
                    self.verified.forget(key.path.split_once('/').map_or(&*key.path, |(user, _)| user));
                }
                // Keyed by digest: whose it was is not said.
                Table::Token => self.verified.forget_all(),
                _ => {}
            }
        }
    }
}

/// Logs a refusal in the words that `docs/fail2ban` matches; nothing of the password, and nothing of the name that
/// could look like another line or field.
fn refused(user: &str, address: IpAddr, reason: &'static str) {
    let user: String = user.chars().take(128).collect();
    let user = percent_encoding::utf8_percent_encode(&user, NAME);
    tracing::warn!(target: "kalends::auth", "sign-in refused: user={user} address={address} reason={reason}");
}

/// What a logged login name shows as `%XX`.
const NAME: &percent_encoding::AsciiSet =
    &percent_encoding::NON_ALPHANUMERIC.remove(b'@').remove(b'.').remove(b'_').remove(b'+').remove(b'-');

/// An `Authorization` header, read. Has no `Debug`: it holds secrets.
enum Credentials {
    Basic { user: String, password: String },
    Bearer(String),
    Garbled,
}

impl Credentials {
    /// RFC 7617 §2, RFC 6750 §2.1. Nothing for a scheme that is not ours and for empty credentials, which some clients
    /// send as a first question.
    fn parse(sent: &[u8]) -> Option<Credentials> {
        let text = std::str::from_utf8(sent).unwrap_or("");
        let (scheme, rest) = text.trim().split_once(' ').unwrap_or((text, ""));
        if scheme.eq_ignore_ascii_case("bearer") {
            return Some(Credentials::Bearer(rest.trim().to_owned()));
        }
        if !scheme.eq_ignore_ascii_case("basic") {
            return None;
        }
        let Ok(bytes) = BASE64.decode(rest.trim()) else { return Some(Credentials::Garbled) };
        // RFC 7617 §2.1: we ask for UTF-8; clients that do not listen send ISO 8859-1.
        let text = String::from_utf8(bytes)
            .unwrap_or_else(|error| error.into_bytes().into_iter().map(char::from).collect());
        match text.split_once(':') {
            Some(("", "")) => None,
            Some((user, password)) => {
                Some(Credentials::Basic { user: user.to_owned(), password: password.to_owned() })
            }
            None => Some(Credentials::Garbled),
        }
    }
}

//! Tells people by mail what they are told: their notices, gathered for a while, each in one mail.
//!
//! Owns: which notices go out, when, to whom, and again after how long; how the mail server is spoken to. Does not own: what
//! is worth a notice and when it ends (`bridge`). Nothing is ever sent to anybody but the account's own address.
//!
//! What was not sent yet is what the store says of each notice, so that a restart forgets nothing. A notice is marked after the
//! mail server took the mail. Exactly once is impossible between two machines: a crash in between makes a twin, with the same
//! `Message-ID`, which many mail servers drop.

mod letter;

use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lettre::message::Mailbox;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, Tls, TlsParameters};
use lettre::{Message, SmtpTransport, Transport as _};
use url::Url;

use crate::auth::grant::Secret;
use crate::bridge::{Bridge, Told};
use crate::calendar::House;
use crate::follow::Follower;
use crate::store::{Fault, Notice, Table, Timestamp};

/// How a mail server may take its time.
const PATIENCE: Duration = Duration::from_secs(60);
/// The longest wait before a mail is tried again.
const LONGEST: Duration = Duration::from_secs(6 * 3600);
/// A mail is given up when its notice is as old.
const GIVEN_UP: Duration = Duration::from_secs(3 * 86_400);
/// The longest sleep: a clock that was set is noticed.
const NAP: Duration = Duration::from_secs(60);

/// How mail goes out.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `mail.smtp_url`.
    pub smtp_url: Secret,
    /// `mail.from`.
    pub from: String,
    /// `mail.gather`: how long notices are gathered.
    pub gather: Duration,
    /// Where people reach this server.
    pub base_url: String,
    /// Certificates (PEM) whose word is believed besides that of the system's.
    pub authorities: Vec<u8>,
}

/// Whose mail could not be handed over of late.
#[derive(Debug, Clone, Copy)]
struct Trouble {
    times: u32,
    not_before: Timestamp,
}

/// Sends notices by mail. Followed by `follow::follow`.
pub struct Post {
    house: Arc<House>,
    bridge: Arc<Bridge>,
    from: Mailbox,
    gather: Duration,
    base_url: String,
    server: SmtpTransport,
    troubles: Mutex<HashMap<String, Trouble>>,
    /// Something about notices or accounts changed.
    changed: AtomicBool,
    /// When something is due although nothing changed.
    next: Mutex<Timestamp>,
}

impl std::fmt::Debug for Post {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Post").field("gather", &self.gather).finish_non_exhaustive()
    }
}

impl Post {
    /// Returns the sender of this bridge's notices. Speaks to nobody yet.
    ///
    /// # Errors
    /// A sentence about what is wrong with the settings.
    pub fn new(house: Arc<House>, bridge: Arc<Bridge>, settings: Settings) -> Result<Post, String> {
        let from: Mailbox = settings
            .from
            .parse()
            .map_err(|_| format!("mail.from: {:?} is no address like kalends@example.org", settings.from))?;
        Ok(Post {
            house,
            bridge,
            from,
            gather: settings.gather,
            server: transport(settings.smtp_url.reveal(), &settings.authorities)?,
            base_url: settings.base_url,
            troubles: Mutex::default(),
            changed: AtomicBool::new(true),
            next: Mutex::new(Timestamp(0)),
        })
    }

    fn troubles(&self) -> MutexGuard<'_, HashMap<String, Trouble>> {
        self.troubles.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends what is due; returns how long nothing else will be.
    async fn round(&self) -> Result<Duration, Fault> {
        let waiting: BTreeMap<String, Vec<Told>> = self.bridge.unmailed().await?;
        let mut left = NAP;
        let mut mails = 0;
        for (owner, notices) in waiting {
            let Some(principal) = self.house.principal(&owner).await? else { continue };
            let Some(to) = principal.emails.first() else { continue };
            mails += 1;
            let now = self.house.clock.now();
            let first = notices.iter().map(|told| told.raised).min().unwrap_or(now);
            let barred = self.troubles().get(&owner).map(|trouble| trouble.not_before);
            let due = later(first, self.gather).max(barred.unwrap_or_default());
            if due > now {
                left = left.min(between(now, due));
                continue;
            }
            if self.send(&owner, to, &notices, now).await? {
                mails -= 1;
            } else if let Some(again) = self.troubles().get(&owner).map(|trouble| trouble.not_before) {
                left = left.min(between(self.house.clock.now(), again));
            }
        }
        self.house.metrics.mails_wait(mails);
        Ok(left)
    }

    /// Sends one mail and remembers it, or when to try again. Tells whether nothing waits any more.
    async fn send(&self, owner: &str, to: &str, notices: &[Told], now: Timestamp) -> Result<bool, Fault> {
        let metrics = &self.house.metrics;
        let failed = match self.letter(to, notices, now) {
            Ok(letter) => {
                let server = self.server.clone();
                // It waits for a network; without async code lettre brings much less along.
                let sent = tokio::task::spawn_blocking(move || server.send(&letter)).await;
                match sent {
                    Ok(Ok(_)) => None,
                    // What the server said may hold an address, never a password.
                    Ok(Err(error)) => Some(error.to_string()),
                    Err(error) => Some(error.to_string()),
                }
            }
            Err(why) => Some(why),
        };
        let Some(why) = failed else {
            metrics.mail("sent");
            self.troubles().remove(owner);
            self.bridge.were_mailed(owner, notices).await?;
            return Ok(true);
        };
        let (old, young): (Vec<Told>, Vec<Told>) =
            notices.iter().cloned().partition(|told| later(told.raised, GIVEN_UP) <= now);
        if !old.is_empty() {
            metrics.mail("given_up");
            tracing::warn!("a mail of notices is given up after three days: {why}");
            self.bridge.were_mailed(owner, &old).await?;
        }
        if young.is_empty() {
            self.troubles().remove(owner);
            return Ok(true);
        }
        metrics.mail("failed");
        let mut troubles = self.troubles();
        let times = troubles.get(owner).map_or(0, |trouble| trouble.times).saturating_add(1);
        let wait = self.gather.saturating_mul(1 << times.min(20)).min(LONGEST);
        let not_before = later(now, wait);
        troubles.insert(owner.to_owned(), Trouble { times, not_before });
        if times == 1 {
            tracing::warn!("a mail of notices could not be handed over, it is tried again: {why}");
        }
        Ok(false)
    }

    fn letter(&self, to: &str, notices: &[Told], now: Timestamp) -> Result<Message, String> {
        let to = to.parse().map_err(|_| "the account's address is none".to_owned())?;
        letter::write(&self.from, Mailbox::new(None, to), notices, &self.base_url, now)
    }
}

impl Follower for Post {
    fn notice(&self, notice: &Notice) {
        if notice.keys.iter().any(|key| matches!(key.table, Table::Notice | Table::Principal)) {
            self.changed.store(true, Ordering::Relaxed);
        }
    }

    fn lagged(&self) {
        self.changed.store(true, Ordering::Relaxed);
    }

    fn tick(&self) -> Pin<Box<dyn Future<Output = Duration> + Send + '_>> {
        Box::pin(async move {
            let now = self.house.clock.now();
            let next = *self.next.lock().unwrap_or_else(PoisonError::into_inner);
            let left = between(now, next);
            // Whatever is committed wakes us; most of it is no notice.
            if !self.changed.swap(false, Ordering::Relaxed) && !left.is_zero() && left <= NAP {
                return left;
            }
            let wait = self.round().await.unwrap_or_else(|fault| {
                tracing::error!("notices could not be read to be mailed: {fault}");
                NAP
            });
            let now = self.house.clock.now();
            *self.next.lock().unwrap_or_else(PoisonError::into_inner) = later(now, wait);
            wait
        })
    }

    fn woken(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(std::future::pending())
    }
}

fn later(at: Timestamp, wait: Duration) -> Timestamp {
    Timestamp(at.0.saturating_add(i64::try_from(wait.as_millis()).unwrap_or(i64::MAX)))
}

fn between(now: Timestamp, until: Timestamp) -> Duration {
    Duration::from_millis(u64::try_from(until.0.saturating_sub(now.0)).unwrap_or(0))
}

/// Reads `smtps://user:password@host` (TLS from the beginning) and `smtp://user:password@host` (STARTTLS, which the server
/// has to offer; to this machine itself none, unless the address ends in `?tls=starttls`).
///
/// # Errors
/// A sentence, without the password.
pub fn transport(url: &str, authorities: &[u8]) -> Result<SmtpTransport, String> {
    let wrong = || "mail.smtp_url is no address like smtps://user:password@mail.example.org".to_owned();
    let url = Url::parse(url).map_err(|_| wrong())?;
    let host = url.host_str().filter(|host| !host.is_empty()).ok_or_else(wrong)?;
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let implicit = match url.scheme() {
        "smtps" => true,
        "smtp" => false,
        _ => return Err(wrong()),
    };
    let starttls = match url.query() {
        None => false,
        Some("tls=starttls") if !implicit => true,
        Some(_) => return Err(wrong()),
    };
    if !matches!(url.path(), "" | "/") {
        return Err(wrong());
    }
    let here = host.parse().map_or(host == "localhost", |ip: IpAddr| ip.is_loopback());
    let tls = || -> Result<TlsParameters, String> {
        let failed = |error: lettre::transport::smtp::Error| format!("mail.smtp_url: no TLS: {error}");
        let mut parameters = TlsParameters::builder(host.clone());
        if !authorities.is_empty() {
            parameters = parameters.add_root_certificate(Certificate::from_pem(authorities).map_err(failed)?);
        }
        parameters.build().map_err(failed)
    };
    let (tls, port) = match implicit {
        true => (Tls::Wrapper(tls()?), 465),
        false if here && !starttls => (Tls::None, 25),
        false => (Tls::Required(tls()?), 587),
    };
    let mut builder = SmtpTransport::builder_dangerous(host)
        .port(url.port().unwrap_or(port))
        .tls(tls)
        .timeout(Some(PATIENCE));
    if !url.username().is_empty() {
        let plain = |text: &str| percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned();
        let password = plain(url.password().unwrap_or_default());
        builder = builder.credentials(Credentials::new(plain(url.username()), password));
    }
    Ok(builder.build())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_mail_servers() {
        for good in [
            "smtps://anna:pass%40word@mail.example.org",
            "smtp://mail.example.org:2525",
            "smtp://127.0.0.1:1025",
            "smtp://[::1]:1025/",
            "smtp://localhost/?tls=starttls",
            "smtp://anna:pass@mail.example.org?tls=starttls",
        ] {
            assert!(transport(good, b"").is_ok(), "{good}");
        }
        for bad in [
            "mail.example.org",
            "http://mail.example.org",
            "smtp://",
            "smtps://anna:geheim@/",
            "smtp://h/?tls=none",
            "smtps://h/?tls=starttls",
            "smtp://h/?tls=starttls&x=1",
        ] {
            let why = transport(bad, b"").map(|_| ()).unwrap_err();
            assert!(why.contains("mail.smtp_url") && !why.contains("geheim"), "{bad}: {why}");
        }
    }
}

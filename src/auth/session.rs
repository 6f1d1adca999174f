//! Sessions of browsers: begun with a password, carried by a cookie, kept as digests, so that they outlive a restart.
//!
//! Owns: beginning, recognising, listing and ending them; the cookie; the word that proves that a change was asked for on one of our
//! own pages. Does not own: the pages (`web`), what a session may do (`Caller::may`).
//!
//! A session lies under the digest of its secret; beside it `@/USER/DIGEST` leads from whose it is to it, so that nobody's
//! sessions are looked for among everybody's.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderValue, header};
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;

use super::oauth::digest;
use super::token::{all, read, written};
use super::{Caller, Denied, Guard, Via, refused};
use crate::calendar::{Error, Refusal, login_name};
use crate::store::{Commit, Expect, Fault, Key, Op, Origin, Principal, Table, Timestamp, random};

/// A session ends when nobody used it for so long,
const IDLE: Duration = Duration::from_secs(14 * 86_400);
/// and in any case after so long.
const LONGEST: Duration = Duration::from_secs(60 * 86_400);
/// How often it is noted that a session is used.
const NOTED: Duration = Duration::from_secs(10 * 60);
/// The name of the cookie; over https with `__Host-` in front.
const NAME: &str = "kalends-session";

/// What the rows begin with that lead from accounts to sessions; no digest looks like this.
const OF: &str = "@/";

/// A session, as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// Its id, which tells nobody its secret.
    pub id: String,
    /// Whose it is.
    pub user: String,
    /// What the browser calls itself, shortened.
    pub agent: String,
    /// The address that it began at.
    pub address: String,
    /// When it began.
    pub created: Timestamp,
    /// When it was last used, to some minutes.
    pub seen: Timestamp,
    /// What it was begun with, as a digest: it ends with the password, in the very commit that changes that.
    #[serde(default)]
    pub with: String,
}

/// Returns what tells a password from its successor.
fn mark(principal: &Principal) -> String {
    digest(&principal.password).get(..16).unwrap_or_default().to_owned()
}

impl Session {
    fn ended(&self, now: Timestamp) -> bool {
        let age = |since: Timestamp| Duration::from_millis(u64::try_from(now.0 - since.0).unwrap_or(0));
        age(self.created) > LONGEST || age(self.seen) > IDLE
    }
}

/// Somebody whose browser brought the cookie of a session.
#[derive(Debug, Clone)]
pub struct SignedIn {
    /// Who it is.
    pub caller: Caller,
    /// The session.
    pub session: Session,
    /// The word that every change has to say.
    pub word: String,
}

impl SignedIn {
    /// Tells whether this is the word of the session.
    pub fn said(&self, word: &str) -> bool {
        self.word.as_bytes().ct_eq(word.as_bytes()).into()
    }
}

/// Returns the word of a session: it follows from the secret, and the secret does not follow from it.
fn word(secret: &str) -> String {
    digest(&format!("a change on one of our pages\n{secret}"))
}

/// Returns the cookie that a browser is given. `Lax`: it comes along when somebody follows a link to us, and with nothing that another
/// site does by itself.
pub fn handed(secret: &str, base_url: &str) -> Option<HeaderValue> {
    cookie(secret, LONGEST.as_secs(), base_url)
}

/// Returns what makes the browser forget it.
pub fn forgotten(base_url: &str) -> Option<HeaderValue> {
    cookie("", 0, base_url)
}

fn cookie(value: &str, life: u64, base_url: &str) -> Option<HeaderValue> {
    let (prefix, secure) = if base_url.starts_with("https:") { ("__Host-", "; Secure") } else { ("", "") };
    let text = format!("{prefix}{NAME}={value}; Path=/; Max-Age={life}; HttpOnly; SameSite=Lax{secure}");
    let mut value = HeaderValue::from_str(&text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// Returns the secret that a browser brought. Over https only the cookie that no other server of the domain can have set.
fn brought(headers: &HeaderMap, base_url: &str) -> Option<String> {
    let name = if base_url.starts_with("https:") { format!("__Host-{NAME}") } else { NAME.to_owned() };
    let lines = headers.get_all(header::COOKIE).iter().filter_map(|line| line.to_str().ok());
    let mut pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(found, _)| *found == name).map(|(_, value)| value.to_owned())
}

impl Guard {
    /// Returns who this is by the account's own password; the password of a device opens no page.
    ///
    /// # Errors
    /// See [`Denied`]; failures are slowed as everywhere.
    pub async fn sign_in(&self, user: &str, password: &str, address: IpAddr) -> Result<Caller, Denied> {
        if user.trim().is_empty() || password.is_empty() {
            return Err(Denied::Wrong);
        }
        let sent = self.verified.digest(format!("page\n{user}\n{password}").as_bytes());
        let caller = self.basic(user.trim().to_owned(), password.to_owned(), sent, address).await?;
        if caller.via == Via::Password {
            return Ok(caller);
        }
        let name = login_name(user).unwrap_or_default();
        refused(&name, address, "app-password-on-a-page");
        Err(Denied::Wrong)
    }

    /// Begins a session and returns the secret for its cookie.
    ///
    /// # Errors
    /// `Missing` if there is no such account; when the store fails.
    pub async fn begin_session(
        &self,
        principal: &Principal,
        agent: &str,
        address: IpAddr,
    ) -> Result<String, Error> {
        let secret = random::hex::<32>()?;
        let digest = digest(&secret);
        let now = self.house.clock.now();
        let session = Session {
            id: digest.get(..16).unwrap_or_default().to_owned(),
            user: principal.name.clone(),
            agent: agent.chars().take(200).collect(),
            address: address.to_string(),
            created: now,
            seen: now,
            with: mark(principal),
        };
        let commit = Commit::new(Origin::System, now)
            .expect(self.exists(&principal.name).await?)
            .op(known(&session.user, &digest))
            .op(Op::PutRecord(Key::new(Table::Session, digest), written(&session)?));
        self.house.store.commit(commit).await?;
        Ok(secret)
    }

    /// Returns who sent these headers, if they carry the cookie of a session.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn signed_in(&self, headers: &HeaderMap, base_url: &str) -> Result<Option<SignedIn>, Fault> {
        let Some(secret) = brought(headers, base_url) else { return Ok(None) };
        let key = Key::new(Table::Session, digest(&secret));
        let Some(bytes) = self.house.store.record(&key).await? else { return Ok(None) };
        let mut session: Session = read(&bytes)?;
        let now = self.house.clock.now();
        if session.ended(now) {
            return Ok(None);
        }
        let principal = self.house.principal(&session.user).await?;
        let Some(principal) = principal.filter(|principal| mark(principal) == session.with) else {
            return Ok(None);
        };
        if now.0.saturating_sub(session.seen.0) > i64::try_from(NOTED.as_millis()).unwrap_or(i64::MAX) {
            session.seen = now;
            // Whoever was quicker noted it too, or ended the session.
            let commit = Commit::new(Origin::System, now)
                .expect(Expect::Record(key.clone(), Some(bytes)))
                .op(known(&session.user, &key.path))
                .op(Op::PutRecord(key, written(&session)?));
            if let Err(crate::store::CommitError::Fault(fault)) = self.house.store.commit(commit).await {
                return Err(fault);
            }
        }
        let token = Some(Arc::from(format!("session-{}", session.id)));
        let caller = Caller { principal, via: Via::Session, token, label: "".into() };
        Ok(Some(SignedIn { caller, session, word: word(&secret) }))
    }

    /// Lists the sessions of an account, the last used first.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn sessions(&self, user: &str) -> Result<Vec<Session>, Fault> {
        let now = self.house.clock.now();
        let mut list: Vec<Session> =
            self.kept_sessions(Some(user)).await?.into_iter().map(|(_, session)| session).collect();
        list.retain(|session| !session.ended(now));
        list.sort_by_key(|session| std::cmp::Reverse(session.seen));
        Ok(list)
    }

    /// Ends a session of an account.
    ///
    /// # Errors
    /// `Missing` if there is none; when the store fails.
    pub async fn end_session(&self, user: &str, id: &str) -> Result<(), Error> {
        let list = self.kept_sessions(Some(user)).await?;
        let Some(found) = list.into_iter().find(|(_, session)| session.id == id) else {
            return Err(Refusal::Missing.into());
        };
        self.end(vec![found]).await?;
        Ok(())
    }

    /// Ends all sessions of an account, but for the one with this id. Returns how many.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn end_sessions(&self, user: &str, but: Option<&str>) -> Result<usize, Error> {
        let list = self.kept_sessions(Some(user)).await?;
        let gone = list.into_iter().filter(|(_, session)| Some(session.id.as_str()) != but);
        self.end(gone.collect()).await
    }

    /// Forgets sessions that ended by themselves. Returns how many.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn forget_sessions(&self) -> Result<usize, Error> {
        let now = self.house.clock.now();
        let list = self.kept_sessions(None).await?;
        self.end(list.into_iter().filter(|(_, session)| session.ended(now)).collect()).await
    }

    async fn end(&self, gone: Vec<(Key, Session)>) -> Result<usize, Error> {
        if !gone.is_empty() {
            let mut commit = Commit::new(Origin::System, self.house.clock.now());
            commit.ops = gone.iter().flat_map(|(key, session)| forgotten_rows(key, session)).collect();
            self.house.store.commit(commit).await?;
        }
        Ok(gone.len())
    }

    /// Returns the sessions that are kept, of one account or of all.
    pub(super) async fn kept_sessions(&self, user: Option<&str>) -> Result<Vec<(Key, Session)>, Fault> {
        let mut list = Vec::new();
        let Some(user) = user else {
            for (key, bytes) in all(&self.house, Table::Session, "").await? {
                if !key.path.starts_with(OF) {
                    list.push((key, read(&bytes)?));
                }
            }
            return Ok(list);
        };
        let prefix = format!("{OF}{user}/");
        for (row, _) in all(&self.house, Table::Session, &prefix).await? {
            let key = Key::new(Table::Session, row.path.strip_prefix(&prefix).unwrap_or_default());
            if let Some(bytes) = self.house.store.record(&key).await? {
                list.push((key, read(&bytes)?));
            }
        }
        Ok(list)
    }
}

fn row(user: &str, digest: &str) -> Key {
    Key::new(Table::Session, format!("{OF}{user}/{digest}"))
}

/// Returns the step that makes a session known as an account's.
fn known(user: &str, digest: &str) -> Op {
    Op::PutRecord(row(user, digest), bytes::Bytes::from_static(b"1"))
}

/// Returns the steps that remove a session.
pub(super) fn forgotten_rows(key: &Key, session: &Session) -> [Op; 2] {
    [Op::DeleteRecord(row(&session.user, &key.path)), Op::DeleteRecord(key.clone())]
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use super::*;

    // HttpOnly, SameSite, and over https nobody else's
    #[test]
    fn the_cookie_is_for_this_server_alone() {
        for (base, start, end) in [
            ("https://cal.example.org/k", "__Host-kalends-session=s1; Path=/; ", "; SameSite=Lax; Secure"),
            ("http://127.0.0.1:8008", "kalends-session=s1; Path=/; ", "; HttpOnly; SameSite=Lax"),
        ] {
            let cookie = handed("s1", base).unwrap();
            let text = cookie.to_str().unwrap();
            assert!(text.starts_with(start) && text.ends_with(end) && text.contains("; HttpOnly"), "{text}");
            assert!(cookie.is_sensitive());
            let mut headers = HeaderMap::new();
            let pair = text.split(';').next().unwrap();
            headers.append(header::COOKIE, format!("a=b; {pair}; c=d").parse().unwrap());
            assert_eq!(brought(&headers, base).as_deref(), Some("s1"));
            assert!(forgotten(base).unwrap().to_str().unwrap().contains("=; Path=/; Max-Age=0; "));
        }
        let mut headers = HeaderMap::new();
        headers.append(header::COOKIE, "kalends-session=planted".parse().unwrap());
        assert_eq!(brought(&headers, "https://cal.example.org"), None);
    }

    #[test]
    fn a_session_ends_when_it_rests_and_when_it_is_old() {
        let day = 86_400_000;
        let session = |created: i64, seen: i64| Session {
            id: "1".into(),
            user: "anna".into(),
            agent: String::new(),
            address: "192.0.2.1".into(),
            created: Timestamp(created * day),
            seen: Timestamp(seen * day),
            with: String::new(),
        };
        let now = Timestamp(100 * day);
        assert!(!session(99, 99).ended(now));
        assert!(session(80, 85).ended(now));
        assert!(session(30, 100).ended(now));
        assert!(!session(41, 100).ended(now));
    }

    #[test]
    fn the_word_is_not_the_secret() {
        assert_ne!(word("a"), digest("a"));
        assert_ne!(word("a"), word("b"));
    }
}

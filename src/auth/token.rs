//! App passwords, one a device, and bearer tokens, one a program: random, shown once, kept as digests.
//!
//! Owns: minting, finding, listing, revoking. 160 random bits need no slow hash: SHA-256 is enough, and fast.
//! Does not own: whether a request may do what it asks (`Caller::may`).

use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;

use super::Guard;
use super::oauth::digest;
use crate::calendar::{Error, House, Refusal};
use crate::store::{Commit, Expect, Fault, Key, Op, Origin, Table, Timestamp, random};

/// The epoch that stands for all tokens; no login name looks like this.
pub(super) const EVERY_TOKEN: &str = "/tokens";
/// What a token begins with, so that secret scanners know it.
const PREFIX: &str = "kal_";

/// What a token allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Reading calendars.
    Read,
    /// Reading and changing calendars.
    Events,
    /// Bookings and availability.
    Bookings,
    /// Connections, mappings, runs, conflicts.
    Bridges,
    /// Administration; only for accounts that are administrators.
    Admin,
}

impl Scope {
    /// Every scope.
    pub const ALL: [Scope; 5] = [Scope::Read, Scope::Events, Scope::Bookings, Scope::Bridges, Scope::Admin];

    /// Returns its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Scope::Read => "read",
            Scope::Events => "events",
            Scope::Bookings => "bookings",
            Scope::Bridges => "bridges",
            Scope::Admin => "admin",
        }
    }
}

impl std::str::FromStr for Scope {
    type Err = String;

    fn from_str(text: &str) -> Result<Scope, String> {
        Scope::ALL.into_iter().find(|scope| scope.as_str() == text).ok_or_else(|| {
            format!("{text:?} is no scope; there are read, events, bookings, bridges and admin")
        })
    }
}

/// A set of scopes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(from = "Vec<Scope>", into = "Vec<Scope>")]
pub struct Scopes(u8);

impl Scopes {
    /// Tells whether the scope is in the set. `events` includes `read`; `admin` includes all.
    pub fn contain(self, scope: Scope) -> bool {
        let has = |scope: Scope| self.0 & (1 << scope as u8) != 0;
        has(scope) || has(Scope::Admin) || (scope == Scope::Read && has(Scope::Events))
    }
}

impl From<Vec<Scope>> for Scopes {
    fn from(scopes: Vec<Scope>) -> Scopes {
        Scopes(scopes.into_iter().fold(0, |bits, scope| bits | 1 << scope as u8))
    }
}

impl From<Scopes> for Vec<Scope> {
    fn from(scopes: Scopes) -> Vec<Scope> {
        Scope::ALL.into_iter().filter(|scope| scopes.0 & (1 << *scope as u8) != 0).collect()
    }
}

/// A device's own password, as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppPassword {
    /// Its id, unique within the account.
    pub id: String,
    /// What the person called it.
    pub label: String,
    /// When it was made.
    pub created: Timestamp,
    /// SHA-256 of the secret, in hexadecimal.
    digest: String,
}

/// A program's token, as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// Its id.
    pub id: String,
    /// Whose it is.
    pub user: String,
    /// What the person called it.
    pub label: String,
    /// What it allows.
    pub scopes: Scopes,
    /// When it was made.
    pub created: Timestamp,
}

impl Token {
    /// Tells whether this is its secret.
    pub fn is(&self, secret: &str) -> bool {
        id(&digest(secret)) == self.id
    }
}

/// Returns 160 random bits as 32 letters and digits that nobody confuses on paper.
fn random() -> Result<String, Fault> {
    const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    let bits = random::bytes::<20>()?;
    let mut text = String::with_capacity(32);
    for five in bits.chunks(5) {
        let word = five.iter().fold(0u64, |word, byte| word << 8 | u64::from(*byte));
        for place in (0..8).rev() {
            let index = usize::try_from(word >> (place * 5) & 31).unwrap_or(0);
            text.push(ALPHABET.get(index).copied().map_or('a', char::from));
        }
    }
    Ok(text)
}

/// Returns the secret of an app password as typed by a person: groups and case do not matter.
fn plain(password: &str) -> String {
    password.chars().filter(|c| !matches!(c, '-' | ' ')).flat_map(char::to_lowercase).collect()
}

fn id(digest: &str) -> &str {
    digest.get(..16).unwrap_or(digest)
}

pub(super) fn read<T: for<'a> Deserialize<'a>>(bytes: &[u8]) -> Result<T, Fault> {
    serde_json::from_slice(bytes)
        .map_err(|error| Fault::Broken(format!("a credential cannot be read: {error}")))
}

pub(super) fn written<T: Serialize>(record: &T) -> Result<bytes::Bytes, Fault> {
    serde_json::to_vec(record)
        .map(Into::into)
        .map_err(|error| Fault::Broken(format!("a credential cannot be written: {error}")))
}

/// Returns which of the account's app passwords this is. One point read, the same for accounts that do not exist.
pub(super) async fn app_password(
    house: &House,
    user: &str,
    password: &str,
) -> Result<Option<AppPassword>, Fault> {
    let digest = digest(&plain(password));
    let key = Key::new(Table::AppPassword, format!("{user}/{}", id(&digest)));
    let Some(bytes) = house.store.record(&key).await? else { return Ok(None) };
    let kept: AppPassword = read(&bytes)?;
    let right: bool = kept.digest.as_bytes().ct_eq(digest.as_bytes()).into();
    Ok(right.then_some(kept))
}

/// Returns the token with this secret.
pub(super) async fn find(house: &House, secret: &str) -> Result<Option<Token>, Fault> {
    match house.store.record(&Key::new(Table::Token, digest(secret))).await? {
        Some(bytes) => read(&bytes).map(Some),
        None => Ok(None),
    }
}

/// Reads every record of a table below a prefix.
pub(super) async fn all(
    house: &House,
    table: Table,
    prefix: &str,
) -> Result<Vec<(Key, bytes::Bytes)>, Fault> {
    let mut found: Vec<(Key, bytes::Bytes)> = Vec::new();
    loop {
        let after = found.last().map(|(key, _)| key.path.clone());
        let page = house.store.records(table, prefix, after.as_deref(), 256).await?;
        if page.is_empty() {
            return Ok(found);
        }
        found.extend(page);
    }
}

impl Guard {
    /// Makes an app password and returns it with its secret, which nobody can read again.
    ///
    /// # Errors
    /// `Missing` if there is no such account; when the store fails.
    pub async fn add_app_password(&self, user: &str, label: &str) -> Result<(AppPassword, String), Error> {
        let label = self::label(label).map_err(Refusal::Bad)?;
        let secret = random()?;
        let digest = digest(&secret);
        let now = self.house.clock.now();
        let made = AppPassword { id: id(&digest).to_owned(), label: label.to_owned(), created: now, digest };
        let key = Key::new(Table::AppPassword, format!("{user}/{}", made.id));
        let commit = Commit::new(Origin::System, now)
            .expect(self.exists(user).await?)
            .expect(Expect::Record(key.clone(), None))
            .op(Op::PutRecord(key, written(&made)?));
        self.house.store.commit(commit).await?;
        let groups: Vec<&str> = (0..32).step_by(4).filter_map(|at| secret.get(at..at + 4)).collect();
        Ok((made, groups.join("-")))
    }

    /// Lists an account's app passwords.
    ///
    /// # Errors
    /// `Missing` if there is no such account; when the store fails.
    pub async fn app_passwords(&self, user: &str) -> Result<Vec<AppPassword>, Error> {
        self.exists(user).await?;
        let mut list = Vec::new();
        for (_, bytes) in all(&self.house, Table::AppPassword, &format!("{user}/")).await? {
            list.push(read::<AppPassword>(&bytes)?);
        }
        list.sort_by_key(|password| password.created);
        Ok(list)
    }

    /// Revokes the app password of this id or label; the next request with it is refused.
    ///
    /// # Errors
    /// `Missing` if there is none, `Bad` if several have the label; when the store fails.
    pub async fn revoke_app_password(&self, user: &str, which: &str) -> Result<AppPassword, Error> {
        let list = self.app_passwords(user).await?;
        let found = one(list, which, |password| (&password.id, &password.label))?;
        let key = Key::new(Table::AppPassword, format!("{user}/{}", found.id));
        self.house
            .store
            .commit(Commit::new(Origin::System, self.house.clock.now()).op(Op::DeleteRecord(key)))
            .await?;
        self.forget(user);
        Ok(found)
    }

    /// Makes a token and returns it with its secret, which nobody can read again.
    ///
    /// # Errors
    /// `Missing` if there is no such account; when the store fails.
    pub async fn add_token(&self, user: &str, label: &str, scopes: Scopes) -> Result<(Token, String), Error> {
        let label = self::label(label).map_err(Refusal::Bad)?;
        let secret = format!("{PREFIX}{}", random()?);
        let made = self.keep_token(user, label, scopes, &secret).await?;
        Ok((made, secret))
    }

    /// Keeps a token whose secret somebody else chose. Nothing happens if it is there already.
    ///
    /// # Errors
    /// `Missing` if there is no such account; when the store fails.
    pub async fn keep_token(
        &self,
        user: &str,
        label: &str,
        scopes: Scopes,
        secret: &str,
    ) -> Result<Token, Error> {
        let digest = digest(secret);
        let now = self.house.clock.now();
        let made = Token {
            id: id(&digest).to_owned(),
            user: user.to_owned(),
            label: label.to_owned(),
            scopes,
            created: now,
        };
        let key = Key::new(Table::Token, digest);
        if let Some(bytes) = self.house.store.record(&key).await? {
            let kept: Token = read(&bytes)?;
            if kept.user == user && kept.scopes == scopes {
                return Ok(kept);
            }
        }
        let commit = Commit::new(Origin::System, now)
            .expect(self.exists(user).await?)
            .op(Op::PutRecord(key, written(&made)?));
        self.house.store.commit(commit).await?;
        self.forget(user);
        Ok(made)
    }

    /// Lists tokens, of one account or of all.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn tokens(&self, user: Option<&str>) -> Result<Vec<Token>, Error> {
        Ok(self.keyed_tokens(user).await?.into_iter().map(|(_, token)| token).collect())
    }

    /// Revokes an account's token by id or label; the next request with it is refused.
    ///
    /// # Errors
    /// `Missing` if there is none, `Bad` if several have the label; when the store fails.
    pub async fn revoke_token(&self, user: &str, which: &str) -> Result<Token, Error> {
        let list = self.keyed_tokens(Some(user)).await?;
        let (key, found) = one(list, which, |(_, token)| (&token.id, &token.label))?;
        self.house
            .store
            .commit(Commit::new(Origin::System, self.house.clock.now()).op(Op::DeleteRecord(key)))
            .await?;
        self.verified.forget(EVERY_TOKEN);
        self.forget(user);
        Ok(found)
    }

    pub(super) async fn keyed_tokens(&self, user: Option<&str>) -> Result<Vec<(Key, Token)>, Fault> {
        let mut list = Vec::new();
        for (key, bytes) in all(&self.house, Table::Token, "").await? {
            let token: Token = read(&bytes)?;
            if user.is_none_or(|user| user == token.user) {
                list.push((key, token));
            }
        }
        list.sort_by_key(|(_, token)| token.created);
        Ok(list)
    }

    /// Returns the expectation that the account is as it is now.
    pub(super) async fn exists(&self, user: &str) -> Result<Expect, Error> {
        let key = Key::new(Table::Principal, user);
        match self.house.store.record(&key).await? {
            Some(bytes) => Ok(Expect::Record(key, Some(bytes))),
            None => Err(Refusal::Missing.into()),
        }
    }
}

/// The most characters of a label.
const LABEL: usize = 200;

/// Returns a label without blanks around it, or what is wrong with it.
pub(crate) fn label(text: &str) -> Result<&str, String> {
    let text = text.trim();
    if text.is_empty() || text.chars().count() > LABEL || text.chars().any(char::is_control) {
        return Err(format!("A label has 1 to {LABEL} characters."));
    }
    Ok(text)
}

/// Returns the one item with that id, or else with that label.
fn one<T>(list: Vec<T>, which: &str, names: impl Fn(&T) -> (&String, &String)) -> Result<T, Error> {
    let (by_id, mut rest): (Vec<T>, Vec<T>) = list.into_iter().partition(|item| names(item).0 == which);
    if let Some(found) = by_id.into_iter().next() {
        return Ok(found);
    }
    rest.retain(|item| names(item).1 == which);
    if rest.len() > 1 {
        return Err(Refusal::Bad(format!("{} have the label {which:?}: say the id", rest.len())).into());
    }
    rest.pop().ok_or_else(|| Refusal::Missing.into())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_random_and_forgive_how_they_are_typed() {
        let (a, b) = (random().unwrap(), random().unwrap());
        assert_ne!(a, b);
        assert_eq!(a.len(), 32);
        assert_eq!(plain("ABCD-efgh 2345"), "abcdefgh2345");
    }

    #[test]
    fn scopes_are_sets() {
        let scopes = Scopes::from(vec![Scope::Events, Scope::Bridges]);
        assert!(scopes.contain(Scope::Read) && scopes.contain(Scope::Bridges));
        assert!(!scopes.contain(Scope::Bookings) && !scopes.contain(Scope::Admin));
        assert_eq!(serde_json::to_string(&scopes).unwrap(), r#"["events","bridges"]"#);
        assert_eq!(serde_json::from_str::<Scopes>(r#"["events","bridges"]"#).unwrap(), scopes);
        assert!("write".parse::<Scope>().is_err());
    }
}

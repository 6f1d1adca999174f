//! Published links: what of which calendars is shown to whoever knows the address.
//!
//! Owns: the records, their secrets, finding a link by what stands in its address. Does not own: what is shown (`text`).
//!
//! A link lies under `OWNER/ID`; beside it `@/DIGEST` leads from what stands in the address to it, so that the store
//! holds no address. The address itself is kept sealed: whoever made the link may read it again.

use serde::{Deserialize, Serialize};

use crate::auth::grant::{Keyring, SealError, Secret};
use crate::auth::oauth::{digest, random_text};
use crate::bridge::record::random_id;
use crate::calendar::House;
use crate::store::{Commit, CommitError, Expect, Fault, Key, Op, Origin, Rejected, Store, Table, Timestamp};

/// Links of one account.
const MOST: usize = 200;

/// What is shown of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// All but people; of private events, only when.
    Full,
    /// Only when somebody is busy.
    Busy,
}

/// A published link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// Its id.
    pub id: String,
    /// Whose it is.
    pub owner: String,
    /// What subscribers see as the calendar's name.
    pub name: String,
    /// The calendars, by id.
    pub calendars: Vec<u64>,
    /// What of them.
    pub scope: Scope,
    /// Reminders go with it.
    pub alarms: bool,
    /// The address was chosen and is no secret.
    pub chosen: bool,
    /// When it was made.
    pub created: Timestamp,
    /// When its address last changed.
    pub rotated: Timestamp,
    /// Digest of what stands in the address.
    digest: String,
}

/// Why a link could not be made.
#[derive(Debug)]
pub enum LinkError {
    /// That address is another link's.
    Taken,
    /// There are enough.
    TooMany(usize),
    /// It was changed meanwhile.
    Stale,
    /// The store failed.
    Failed(Fault),
}

impl From<Fault> for LinkError {
    fn from(fault: Fault) -> LinkError {
        LinkError::Failed(fault)
    }
}

/// What of a link can be chosen.
#[derive(Debug, Clone)]
pub struct Chosen {
    /// What subscribers see as the calendar's name.
    pub name: String,
    /// The calendars.
    pub calendars: Vec<u64>,
    /// What of them.
    pub scope: Scope,
    /// Reminders go with it.
    pub alarms: bool,
}

/// All links.
#[derive(Debug)]
pub struct Links {
    house: std::sync::Arc<House>,
    keyring: std::sync::Arc<Keyring>,
}

impl Links {
    /// Returns the links of this house.
    pub fn new(house: std::sync::Arc<House>, keyring: std::sync::Arc<Keyring>) -> Links {
        Links { house, keyring }
    }

    fn store(&self) -> &dyn Store {
        &*self.house.store
    }

    /// Returns the link with this in its address.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn find(&self, told: &str) -> Result<Option<Link>, Fault> {
        let Some(path) = self.store().record(&lookup(&digest(told))).await? else { return Ok(None) };
        let path = String::from_utf8_lossy(&path).into_owned();
        let Some((owner, id)) = path.split_once('/') else { return Ok(None) };
        let link = self.one(owner, id).await?;
        // One that was rotated in between is not shown under its old address.
        Ok(link.filter(|link| link.digest == digest(told)))
    }

    /// Returns a link by its id.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn one(&self, owner: &str, id: &str) -> Result<Option<Link>, Fault> {
        if id.contains('/') || owner == LOOKUP {
            return Ok(None);
        }
        match self.store().record(&key(owner, id)).await? {
            Some(bytes) => decode(&bytes).map(Some),
            None => Ok(None),
        }
    }

    /// Returns all links of an account, by id.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn all(&self, owner: &str) -> Result<Vec<Link>, Fault> {
        let found = self.store().records(Table::Feed, &format!("{owner}/"), None, MOST + 1).await?;
        found.iter().map(|(_, bytes)| decode(bytes)).collect()
    }

    /// Returns what stands in the address of a link.
    ///
    /// # Errors
    /// When the store fails or the secret cannot be opened.
    pub async fn told(&self, link: &Link) -> Result<Secret, Fault> {
        let key = secret(&link.id);
        let sealed = self.store().record(&key).await?;
        let sealed =
            sealed.ok_or_else(|| Fault::Broken(format!("the address of the feed {} is lost", link.id)))?;
        self.keyring.unseal(&key, &sealed).map_err(broken)
    }

    /// Makes a link. `told`: what is to stand in its address; nothing: a secret.
    ///
    /// # Errors
    /// See [`LinkError`].
    pub async fn make(&self, owner: &str, chosen: Chosen, told: Option<String>) -> Result<Link, LinkError> {
        if self.all(owner).await?.len() >= MOST {
            return Err(LinkError::TooMany(MOST));
        }
        let now = self.house.clock.now();
        let link = Link {
            id: random_id()?,
            owner: owner.to_owned(),
            name: chosen.name,
            calendars: chosen.calendars,
            scope: chosen.scope,
            alarms: chosen.alarms,
            chosen: told.is_some(),
            created: now,
            rotated: now,
            digest: String::new(),
        };
        self.put(None, link, Some(told)).await
    }

    /// Changes what a link shows, or with `told` its address: to that, or to a new secret.
    ///
    /// # Errors
    /// See [`LinkError`].
    pub async fn change(
        &self,
        before: &Link,
        chosen: Chosen,
        told: Option<Option<String>>,
    ) -> Result<Link, LinkError> {
        let mut link = before.clone();
        Chosen { name: link.name, calendars: link.calendars, scope: link.scope, alarms: link.alarms } =
            chosen;
        if let Some(told) = &told {
            link.chosen = told.is_some();
            link.rotated = self.house.clock.now();
        }
        self.put(Some(before), link, told).await
    }

    async fn put(
        &self,
        before: Option<&Link>,
        mut link: Link,
        told: Option<Option<String>>,
    ) -> Result<Link, LinkError> {
        let own = key(&link.owner, &link.id);
        let held = before.map(encode).transpose()?;
        let mut commit =
            Commit::new(Origin::System, self.house.clock.now()).expect(Expect::Record(own.clone(), held));
        if let Some(told) = told {
            let told = match told {
                Some(told) => told,
                None => random_text().map_err(Fault::Broken)?,
            };
            let (old, new) = (std::mem::replace(&mut link.digest, digest(&told)), digest(&told));
            if old != new {
                commit = commit.expect(Expect::Record(lookup(&new), None));
                if !old.is_empty() {
                    commit = commit.op(Op::DeleteRecord(lookup(&old)));
                }
            }
            let sealed = self.keyring.seal(&secret(&link.id), &Secret::new(told)).map_err(broken)?;
            let path = format!("{}/{}", link.owner, link.id);
            commit = commit
                .op(Op::PutRecord(lookup(&new), path.into_bytes().into()))
                .op(Op::PutRecord(secret(&link.id), sealed));
        }
        commit = commit.op(Op::PutRecord(own.clone(), encode(&link)?));
        match self.store().commit(commit).await {
            Ok(_) => Ok(link),
            Err(CommitError::Rejected(Rejected::Record(rival))) if rival != own => Err(LinkError::Taken),
            Err(CommitError::Rejected(_)) => Err(LinkError::Stale),
            Err(CommitError::Fault(fault)) => Err(fault.into()),
        }
    }

    /// Ends a link: its address shows nothing any more.
    ///
    /// # Errors
    /// See [`LinkError`].
    pub async fn remove(&self, link: &Link) -> Result<(), LinkError> {
        let own = key(&link.owner, &link.id);
        let commit = Commit::new(Origin::System, self.house.clock.now())
            .expect(Expect::Record(own.clone(), Some(encode(link)?)))
            .op(Op::DeleteRecord(own))
            .op(Op::DeleteRecord(lookup(&link.digest)))
            .op(Op::DeleteRecord(secret(&link.id)));
        match self.store().commit(commit).await {
            Ok(_) => Ok(()),
            Err(CommitError::Rejected(_)) => Err(LinkError::Stale),
            Err(CommitError::Fault(fault)) => Err(fault.into()),
        }
    }
}

/// No login name looks like this.
const LOOKUP: &str = "@";

fn key(owner: &str, id: &str) -> Key {
    Key::new(Table::Feed, format!("{owner}/{id}"))
}

fn lookup(digest: &str) -> Key {
    Key::new(Table::Feed, format!("{LOOKUP}/{digest}"))
}

fn secret(id: &str) -> Key {
    Key::new(Table::Secret, format!("feed/{id}"))
}

fn broken(error: SealError) -> Fault {
    Fault::Broken(error.to_string())
}

fn encode(link: &Link) -> Result<bytes::Bytes, Fault> {
    serde_json::to_vec(link).map(Into::into).map_err(|error| Fault::Broken(error.to_string()))
}

fn decode(bytes: &[u8]) -> Result<Link, Fault> {
    serde_json::from_slice(bytes).map_err(|error| Fault::Broken(format!("a feed cannot be read: {error}")))
}

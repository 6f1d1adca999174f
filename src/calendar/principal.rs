//! Accounts: made with their home, read and changed.
//!
//! Owns: what a login name may be, the collections that every account begins with.
//! Does not own: passwords and how they are checked (`auth`), what goes with an account that is removed (`leaving`).

use std::sync::Arc;

use bytes::Bytes;

use super::{Error, House, Refusal, Shown};
use crate::store::{
    Collection, CollectionId, Commit, CommitError, Expect, Fault, Key, Kind, Name, Op, Origin, Principal,
    Properties, Rejected, Table,
};

/// An account that is to be made.
#[derive(Debug, Clone, Default)]
pub struct NewPrincipal {
    /// Login name; see `login_name`.
    pub name: String,
    /// Name shown to people; empty: the login name.
    pub display_name: String,
    /// Mail addresses, the preferred one first.
    pub emails: Vec<String>,
    /// May administer the server.
    pub admin: bool,
    /// PHC string of the password.
    pub password: String,
}

/// Returns the login name as it is kept, lower case, or a sentence about what is wrong with it.
///
/// Apple's clients send no credentials for a name with `%`, Basic cannot carry `:`, and the name is a path segment
/// (clients.md §1.7).
///
/// # Errors
/// The sentence.
pub fn login_name(text: &str) -> Result<String, String> {
    let name = text.trim().to_lowercase();
    if name.is_empty() {
        return Err("the login name is empty".into());
    }
    if name.len() > 128 {
        return Err("the login name is longer than 128 bytes".into());
    }
    if let Some(bad) =
        name.chars().find(|c| matches!(c, '%' | ':' | '/' | '\\') || c.is_control() || c.is_whitespace())
    {
        return Err(format!("a login name cannot hold {bad:?}"));
    }
    if name.starts_with('@') || name.ends_with('@') || name == "." || name == ".." {
        return Err("a login name cannot begin or end with '@' or be '.' or '..'".into());
    }
    Ok(name)
}

pub(super) fn key(name: &str) -> Key {
    Key::new(Table::Principal, name)
}

fn encode(principal: &Principal) -> Result<Bytes, Fault> {
    serde_json::to_vec(principal)
        .map(Bytes::from)
        .map_err(|error| Fault::Broken(format!("an account cannot be written: {error}")))
}

pub(super) fn decode(bytes: &[u8]) -> Result<Principal, Fault> {
    serde_json::from_slice(bytes)
        .map_err(|error| Fault::Broken(format!("an account cannot be read: {error}")))
}

impl House {
    /// Reads an account by login name.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn principal(&self, name: &str) -> Result<Option<Arc<Principal>>, Fault> {
        match self.store.record(&key(name)).await? {
            Some(bytes) => Ok(Some(Arc::new(decode(&bytes)?))),
            None => Ok(None),
        }
    }

    /// Reads all accounts, by login name.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn principals(&self) -> Result<Vec<Arc<Principal>>, Fault> {
        let mut all = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let page = self.store.records(Table::Principal, "", after.as_deref(), 256).await?;
            let Some((last, _)) = page.last() else { return Ok(all) };
            after = Some(last.path.clone());
            for (_, bytes) in &page {
                all.push(Arc::new(decode(bytes)?));
            }
        }
    }

    /// Makes an account with its calendar home, its files, the calendar `calendar` (VEVENT) and the task list
    /// `tasks` (VTODO): Apple's clients make lists of their own at every refresh where they find none.
    ///
    /// # Errors
    /// `Exists` if the name is taken, `BadName`; when the store fails.
    pub async fn add_principal(&self, new: NewPrincipal) -> Result<Arc<Principal>, Error> {
        let name = login_name(&new.name).map_err(Refusal::BadName)?;
        let segment =
            Name::new(name.clone()).ok_or_else(|| Refusal::BadName(format!("{name:?} is no name")))?;
        let now = self.clock.now();
        let display_name = if new.display_name.is_empty() { name.clone() } else { new.display_name };
        let principal = Principal {
            name: name.clone(),
            display_name,
            emails: new.emails,
            admin: new.admin,
            password: new.password,
            created: now,
        };
        let root = |id, parent, kind| Collection {
            id,
            parent,
            name: segment.clone(),
            owner: name.clone(),
            kind,
            components: Vec::new(),
            properties: Properties::default(),
            created: now,
            modified: now,
        };
        let home = root(self.store.new_collection_id().await?, CollectionId::HOMES, Kind::Home);
        let files = root(self.store.new_collection_id().await?, CollectionId::FILES, Kind::Files);
        let mut commit = Commit::new(Origin::System, now)
            .expect(Expect::Record(key(&name), None))
            .expect(Expect::NoChild(CollectionId::HOMES, segment.clone()))
            .expect(Expect::NoChild(CollectionId::FILES, segment.clone()))
            .op(Op::PutRecord(key(&name), encode(&principal)?))
            .op(Op::PutCollection(home.clone()))
            .op(Op::PutCollection(files));
        for (segment, title, component) in [("calendar", "Calendar", "VEVENT"), ("tasks", "Tasks", "VTODO")] {
            let id = self.store.new_collection_id().await?;
            let Some(segment) = Name::new(segment) else { continue };
            commit = commit.op(Op::PutCollection(Collection {
                id,
                parent: home.id,
                name: segment,
                owner: name.clone(),
                kind: Kind::Calendar,
                components: vec![component.to_owned()],
                properties: titled(title),
                created: now,
                modified: now,
            }));
        }
        match self.store.commit(commit).await {
            Ok(_) => Ok(Arc::new(principal)),
            Err(CommitError::Rejected(Rejected::Record(_) | Rejected::ChildExists)) => {
                Err(Refusal::Exists.into())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Changes an account's password, addresses or names. The login name stays.
    ///
    /// # Errors
    /// `Missing` if there is no such account; `Protected` if nobody would administer the server any more; what `change`
    /// refuses; when the store fails.
    pub async fn update_principal(
        &self,
        name: &str,
        change: impl Fn(&mut Principal) -> Result<(), Refusal> + Send,
    ) -> Result<Arc<Principal>, Error> {
        for _ in 0..super::put::ATTEMPTS {
            let before = self.store.record(&key(name)).await?.ok_or(Refusal::Missing)?;
            let mut principal = decode(&before)?;
            let administered = principal.admin;
            change(&mut principal)?;
            principal.name = name.to_owned();
            let mut commit =
                Commit::new(Origin::System, self.clock.now()).expect(Expect::Record(key(name), Some(before)));
            if administered && !principal.admin {
                commit = commit.expect(self.another_administrator(name).await?);
            }
            let commit = commit.op(Op::PutRecord(key(name), encode(&principal)?));
            match self.store.commit(commit).await {
                Ok(_) => return Ok(Arc::new(principal)),
                Err(CommitError::Rejected(Rejected::Record(_))) => continue,
                Err(error) => return Err(error.into()),
            }
        }
        Err(Refusal::Stale.into())
    }
}

impl House {
    /// Returns the expectation that somebody else administers the server: of two who go at a time, one is refused.
    pub(super) async fn another_administrator(&self, name: &str) -> Result<Expect, Error> {
        for other in self.principals().await? {
            if other.admin && other.name != name {
                let bytes = self.store.record(&key(&other.name)).await?;
                return Ok(Expect::Record(key(&other.name), bytes));
            }
        }
        Err(Refusal::Protected("This is the last administrator; make somebody else one first.").into())
    }
}

/// Returns properties with just a display name (RFC 4918 §15.2).
fn titled(title: &str) -> Properties {
    let mut properties = Properties::default();
    Shown::DisplayName.set(&mut properties, Some(title));
    properties
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::login_name;

    #[test]
    fn login_names() {
        for (text, want) in [
            ("Anna", Ok("anna")),
            (" anna@example.org ", Ok("anna@example.org")),
            ("", Err(())),
            ("a:b", Err(())),
            ("a%b", Err(())),
            ("a/b", Err(())),
            ("..", Err(())),
            ("@anna", Err(())),
            ("an na", Err(())),
        ] {
            assert_eq!(login_name(text).map_err(|_| ()), want.map(str::to_owned), "{text:?}");
        }
    }
}

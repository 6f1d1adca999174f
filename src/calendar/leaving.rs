//! What goes with an account that is removed: all that is filed under its name or under its collections.
//!
//! Owns: which table holds what of an account, and in which order that goes. Does not own: passwords of programs and sessions of
//! browsers (`auth` names them), accounts elsewhere with all that belongs to them (`bridge` gives their consents back).

use super::principal::{decode, key};
use super::{Error, House, Refusal};
use crate::store::{CollectionId, Commit, Key, Op, Origin, Table};

/// How many records are removed at a time.
const PAGE: usize = 256;

/// How records are known to be an account's.
enum Filed {
    /// Under `OWNER/`. They go in the very commit that removes the account.
    Owner,
    /// The same, and there may be very many: they go a part at a time before it.
    OwnerMany,
    /// Under `COLLECTION/`, and they go a part at a time.
    Collection,
    /// Elsewhere; the comment says who sees to it.
    Elsewhere,
}

/// Says it of every table: a new one is thought of here before anything compiles.
fn filed(table: Table) -> Filed {
    match table {
        Table::AppPassword | Table::Webhook | Table::Feed => Filed::Owner,
        Table::Notice | Table::Booking | Table::BookingRules | Table::Receipt | Table::Delivery => {
            Filed::OwnerMany
        }
        Table::Version | Table::Lock => Filed::Collection,
        // The account itself; the store's own rows.
        Table::Principal | Table::System => Filed::Elsewhere,
        // With its calendars, and those first.
        Table::Trash => Filed::Elsewhere,
        // The store removes them with their collection.
        Table::ObjectProperties => Filed::Elsewhere,
        // Of webhooks and feeds with these; all others are the bridge's.
        Table::Secret => Filed::Elsewhere,
        // By digest: `auth` knows whose they are.
        Table::Token | Table::Session => Filed::Elsewhere,
        // The bridge follows: it has to say goodbye to far sides.
        Table::Connection
        | Table::Mapping
        | Table::Base
        | Table::Run
        | Table::Conflict
        | Table::Consent
        | Table::Channel
        | Table::Budget => Filed::Elsewhere,
    }
}

impl House {
    /// Removes an account with its collections, trash, notices, bookings, webhooks, feeds, app passwords and whatever `extra`
    /// removes in the same commit. Who gets an account of this name later finds nothing of it, and nobody is told of theirs.
    ///
    /// # Errors
    /// `Missing` if there is no such account; `Protected` if it is the last administrator; when the store fails.
    pub async fn remove_principal(&self, name: &str, extra: Vec<Op>) -> Result<(), Error> {
        let before = self.store.record(&key(name)).await?.ok_or(Refusal::Missing)?;
        let another = match decode(&before)?.admin {
            true => Some(self.another_administrator(name).await?),
            false => None,
        };
        let collections = self.collections_of(name).await?;
        let prefix = format!("{name}/");
        // What may be much goes first, a part at a time; whoever is cut off here begins again.
        self.empty_trash(name).await?;
        for table in Table::ALL {
            if let Filed::OwnerMany = filed(table) {
                self.empty(table, &prefix).await?;
            }
        }
        self.empty_records_of(&collections).await?;
        let mut commit = Commit::new(Origin::System, self.clock.now())
            .expect(crate::store::Expect::Record(key(name), Some(before)))
            .op(Op::DeleteRecord(key(name)))
            .op(Op::DeleteRecord(Key::new(Table::BookingRules, name)))
            .op(Op::DeleteRecord(Key::new(Table::Webhook, format!("@/{name}"))));
        for parent in [CollectionId::HOMES, CollectionId::FILES] {
            if let Some(root) = self.store.child(parent, name).await? {
                commit = commit.op(Op::DeleteCollection(root.id));
            }
        }
        commit.expects.extend(another);
        for table in Table::ALL {
            if let Filed::Owner | Filed::OwnerMany = filed(table) {
                commit.ops.extend(self.filed_under(table, &prefix).await?);
            }
        }
        commit.ops.extend(self.addresses_of(&prefix).await?);
        commit.ops.extend(extra);
        self.store.commit(commit).await?;
        // What was written while that went on; nobody else ever gets these ids.
        self.empty_records_of(&collections).await
    }

    /// Returns every collection of an account, those in its trash too.
    async fn collections_of(&self, name: &str) -> Result<Vec<CollectionId>, Error> {
        let mut all = Vec::new();
        for parent in [CollectionId::HOMES, CollectionId::FILES] {
            all.extend(self.store.child(parent, name).await?.map(|root| root.id));
        }
        let trashed = self.store.children(CollectionId::TRASH).await?;
        all.extend(trashed.iter().filter(|kept| kept.owner == name).map(|kept| kept.id));
        let mut next = 0;
        while let Some(id) = all.get(next).copied() {
            all.extend(self.store.children(id).await?.iter().map(|child| child.id));
            next += 1;
        }
        Ok(all)
    }

    /// Removes what is filed under collections, a part at a time.
    async fn empty_records_of(&self, collections: &[CollectionId]) -> Result<(), Error> {
        for table in Table::ALL {
            if let Filed::Collection = filed(table) {
                for id in collections {
                    self.empty(table, &format!("{}/", id.0)).await?;
                }
            }
        }
        Ok(())
    }

    /// Removes what a table has under this prefix, a part at a time.
    async fn empty(&self, table: Table, prefix: &str) -> Result<(), Error> {
        loop {
            let page = self.store.records(table, prefix, None, PAGE).await?;
            if page.is_empty() {
                return Ok(());
            }
            let mut commit = Commit::new(Origin::System, self.clock.now());
            commit.ops = page.into_iter().map(|(key, _)| Op::DeleteRecord(key)).collect();
            self.store.commit(commit).await?;
        }
    }

    /// Returns the steps that remove what a table has under this prefix, with the secrets that belong to it.
    async fn filed_under(&self, table: Table, prefix: &str) -> Result<Vec<Op>, Error> {
        let secrets = match table {
            Table::Webhook => Some("webhook"),
            Table::Feed => Some("feed"),
            _ => None,
        };
        let mut ops = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let page = self.store.records(table, prefix, after.as_deref(), PAGE).await?;
            let Some((last, _)) = page.last() else { return Ok(ops) };
            after = Some(last.path.clone());
            for (key, _) in page {
                if let (Some(of), Some(id)) = (secrets, key.path.strip_prefix(prefix)) {
                    ops.push(Op::DeleteRecord(Key::new(Table::Secret, format!("{of}/{id}"))));
                }
                ops.push(Op::DeleteRecord(key));
            }
        }
    }

    /// Returns the steps that close the addresses of an account's feeds: rows that lead from what stands in an address to
    /// `OWNER/ID`.
    async fn addresses_of(&self, prefix: &str) -> Result<Vec<Op>, Error> {
        let mut ops = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let page = self.store.records(Table::Feed, "@/", after.as_deref(), PAGE).await?;
            let Some((last, _)) = page.last() else { return Ok(ops) };
            after = Some(last.path.clone());
            let own = page.into_iter().filter(|(_, to)| to.starts_with(prefix.as_bytes()));
            ops.extend(own.map(|(key, _)| Op::DeleteRecord(key)));
        }
    }
}

//! Locks (RFC 4918 §6, §7): kept as records, so that they survive a restart; looked at only by writes.
//!
//! Owns: which locks cover a resource, whether a request's `If` header holds and carries the tokens that it needs.
//! Does not own: the LOCK and UNLOCK methods (`method/lock`).

use serde::{Deserialize, Serialize};

use super::place::Spot;
use super::resource::Resource;
use super::{Denied, Scope};
use crate::store::{CollectionId, Commit, Fault, Key, Op, Table, Timestamp};
use crate::xml::{Writer, dav};

/// One lock. The record's path is `COLLECTION/MEMBER/TOKEN`; the member is empty for the collection itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lock {
    /// The format of the record.
    pub v: u32,
    /// The lock token, a `urn:uuid:` URI.
    pub token: String,
    /// The path of the locked resource within the server, without a prefix.
    pub root: String,
    /// Who holds it.
    pub principal: String,
    /// False: shared.
    pub exclusive: bool,
    /// `Depth: infinity`.
    pub deep: bool,
    /// The `D:owner` element as the client sent it; may be empty.
    pub owner: String,
    /// Seconds that a refresh is good for.
    pub timeout: u64,
    /// When it ends.
    pub expires: Timestamp,
    /// The collection that the record is filed under.
    pub collection: CollectionId,
    /// The member; empty: the collection itself.
    pub member: String,
}

impl Lock {
    /// Tells whether it was taken on exactly this resource.
    pub(super) fn is_filed_under(&self, spot: &Spot) -> bool {
        self.collection == spot.collection && self.member == spot.member
    }

    /// Returns the record's address.
    pub fn key(&self) -> Key {
        Key::new(Table::Lock, format!("{}/{}/{}", self.collection.0, self.member, self.token))
    }
}

/// Returns the locks that are filed under this prefix and have not ended.
pub(super) async fn filed(scope: &Scope, prefix: &str) -> Result<Vec<Lock>, Denied> {
    let now = scope.session.house.clock.now();
    let mut found = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let page = scope.session.house.store.records(Table::Lock, prefix, after.as_deref(), 128).await?;
        let Some((last, _)) = page.last() else { return Ok(found) };
        after = Some(last.path.clone());
        for (_, bytes) in &page {
            let lock: Lock = serde_json::from_slice(bytes)
                .map_err(|error| Fault::Broken(format!("a lock cannot be read: {error}")))?;
            if lock.expires > now {
                found.push(lock);
            }
        }
        if page.len() < 128 {
            return Ok(found);
        }
    }
}

/// Removes what has ended. Called when a lock is taken, so that the table stays as small as the locks in use.
pub(super) async fn sweep(scope: &Scope) -> Result<(), Denied> {
    let now = scope.session.house.clock.now();
    let page = scope.session.house.store.records(Table::Lock, "", None, 1024).await?;
    let ended = |bytes: &[u8]| serde_json::from_slice::<Lock>(bytes).is_ok_and(|lock| lock.expires <= now);
    let mut commit = Commit::new(scope.session.origin.clone(), now);
    commit.ops.extend(page.into_iter().filter(|(_, b)| ended(b)).map(|(key, _)| Op::DeleteRecord(key)));
    if !commit.ops.is_empty() {
        scope.session.house.store.commit(commit).await.map_err(crate::calendar::Error::from)?;
    }
    Ok(())
}

/// Tells whether there is any lock at all; most servers never see one, and then nothing else is read.
pub(super) async fn any(scope: &Scope) -> Result<bool, Denied> {
    Ok(!scope.session.house.store.records(Table::Lock, "", None, 1).await?.is_empty())
}

/// Returns the locks that cover a resource: its own, and those of infinite depth above it.
pub(super) async fn covering(scope: &Scope, resource: &Resource) -> Result<Vec<Lock>, Denied> {
    match Spot::at(resource) {
        Some(spot) => covering_spot(scope, &spot).await,
        None => Ok(Vec::new()),
    }
}

/// As `covering`, for a spot that may be empty.
pub(super) async fn covering_spot(scope: &Scope, spot: &Spot) -> Result<Vec<Lock>, Denied> {
    if !any(scope).await? {
        return Ok(Vec::new());
    }
    let store = &scope.session.house.store;
    let mut found = filed(scope, &format!("{}/{}/", spot.collection.0, spot.member)).await?;
    let mut next = match spot.member.is_empty() {
        true => store.collection(spot.collection).await?.map(|c| c.parent),
        false => Some(spot.collection),
    };
    while let Some(id) = next.filter(|id| *id >= CollectionId::FIRST) {
        found.extend(filed(scope, &format!("{}//", id.0)).await?.into_iter().filter(|lock| lock.deep));
        next = store.collection(id).await?.map(|c| c.parent);
    }
    Ok(found)
}

/// Removes the locks of resources that are gone (RFC 4918 §9.6.1, §7.6: a lock does not move).
pub(super) async fn forget(scope: &Scope, locks: &[Lock]) -> Result<(), Denied> {
    if locks.is_empty() {
        return Ok(());
    }
    let now = scope.session.house.clock.now();
    let mut commit = Commit::new(scope.session.origin.clone(), now);
    commit.ops.extend(locks.iter().map(|lock| Op::DeleteRecord(lock.key())));
    scope.session.house.store.commit(commit).await.map_err(crate::calendar::Error::from)?;
    Ok(())
}

/// Writes the `D:activelock` elements (RFC 4918 §14.1).
pub(super) fn write_discovery(locks: &[Lock], scope: &Scope, w: &mut Writer) {
    for lock in locks {
        w.open(&dav("activelock"));
        w.open(&dav("locktype"));
        w.empty(&dav("write"));
        w.close();
        w.open(&dav("lockscope"));
        w.empty(&dav(if lock.exclusive { "exclusive" } else { "shared" }));
        w.close();
        w.leaf(&dav("depth"), if lock.deep { "infinity" } else { "0" });
        if !lock.owner.is_empty() {
            w.raw(&lock.owner);
        }
        let left = lock.expires.seconds() - scope.session.house.clock.now().seconds();
        w.leaf(&dav("timeout"), &format!("Second-{}", left.max(0)));
        w.open(&dav("locktoken"));
        w.leaf(&dav("href"), &lock.token);
        w.close();
        w.open(&dav("lockroot"));
        w.leaf(&dav("href"), &format!("{}{}", scope.site.prefix(), lock.root));
        w.close();
        w.close();
    }
}

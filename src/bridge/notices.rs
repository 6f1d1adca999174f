//! What people are told without having asked: one open notice for each cause, ended by itself when the cause is gone.
//!
//! Owns: the record of a notice, raising, resolving, listing, reading, forgetting. Does not own: what is worth a notice
//! (`alarms`).
//!
//! Raising and resolving return steps for the caller's own commit, so that a notice is there exactly when what it tells
//! of is.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::front::{Bridge, BridgeError};
use super::print;
use super::record;
use crate::store::{Commit, CommitError, Expect, Fault, Key, Op, Origin, Store, Table, Timestamp};

/// Of one kind and subject, so many are raised at most: a thousand of them tell nothing more.
pub(super) const MOST: usize = 50;
/// How long a notice is kept after its cause has ended.
const KEEP: i64 = 30 * 86_400_000;

/// What is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NoticeKind {
    /// The far side no longer accepts the password or token of a connection.
    TokenExpired,
    /// It is going to within a day.
    TokenExpiring,
    /// The far side of a connection cannot be reached.
    Disconnected,
    /// The day's budget of calls of a connection is used up.
    BudgetUsed,
    /// A mapping has failed as often as it is tried again.
    MappingFailed,
    /// An event could not be carried over, as often as it was tried.
    EventFailed,
    /// More than one in twenty attempts of the last hour failed.
    FailureRate,
    /// Many conflicts wait for a decision.
    ConflictsOpen,
    /// Both sides changed the same.
    ConflictFound,
    /// The far side has stopped to tell of changes.
    PushSilent,
    /// Deletions in bulk wait for a word.
    DeletionsHeld,
    /// An event from outside overlaps a booking.
    BookingOverlapped,
    /// A webhook rests because its deliveries failed.
    WebhookPaused,
}

impl NoticeKind {
    const ALL: [NoticeKind; 13] = [
        NoticeKind::TokenExpired,
        NoticeKind::TokenExpiring,
        NoticeKind::Disconnected,
        NoticeKind::BudgetUsed,
        NoticeKind::MappingFailed,
        NoticeKind::EventFailed,
        NoticeKind::FailureRate,
        NoticeKind::ConflictsOpen,
        NoticeKind::ConflictFound,
        NoticeKind::PushSilent,
        NoticeKind::DeletionsHeld,
        NoticeKind::BookingOverlapped,
        NoticeKind::WebhookPaused,
    ];

    /// Returns its name, as programs know it.
    pub fn as_str(self) -> &'static str {
        match self {
            NoticeKind::TokenExpired => "token_expired",
            NoticeKind::TokenExpiring => "token_expiring",
            NoticeKind::Disconnected => "disconnected",
            NoticeKind::BudgetUsed => "budget_used",
            NoticeKind::MappingFailed => "mapping_failed",
            NoticeKind::EventFailed => "event_failed",
            NoticeKind::FailureRate => "failure_rate",
            NoticeKind::ConflictsOpen => "conflicts_open",
            NoticeKind::ConflictFound => "conflict_found",
            NoticeKind::PushSilent => "push_silent",
            NoticeKind::DeletionsHeld => "deletions_held",
            NoticeKind::BookingOverlapped => "booking_overlapped",
            NoticeKind::WebhookPaused => "webhook_paused",
        }
    }
}

/// A notice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// Names it among its owner's.
    #[serde(skip)]
    pub id: String,
    /// What is told.
    pub kind: NoticeKind,
    /// In plain words, with what to do.
    pub sentence: String,
    /// What it is about, by what that is: `mapping`, `connection`, `conflict`, `uid`, `webhook`.
    pub about: BTreeMap<String, String>,
    /// Since when.
    pub raised: Timestamp,
    /// When its owner read it.
    pub read: Option<Timestamp>,
    /// When its cause ended.
    pub resolved: Option<Timestamp>,
    /// When a mail with it was handed over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mailed: Option<Timestamp>,
}

impl Told {
    /// Tells whether a mail should tell of it: nobody has read it, it was not mailed, and it still holds or never had an end
    /// to wait for.
    fn wants_mail(&self) -> bool {
        let holds = self.resolved.is_none_or(|at| at == self.raised);
        self.read.is_none() && self.mailed.is_none() && holds
    }
}

/// Why somebody is told something. Of one cause there is one notice.
#[derive(Debug, Clone, Copy)]
pub struct Cause<'a> {
    /// What is told.
    pub kind: NoticeKind,
    /// The mapping or connection that it concerns, by id; empty: the owner as a whole.
    pub subject: &'a str,
    /// What sets it apart from others of the same kind and subject, such as a UID.
    pub detail: &'a str,
}

impl Cause<'_> {
    fn key(&self, owner: &str) -> Key {
        let digest = print::digest(self.detail.as_bytes());
        let short = digest.get(..16).unwrap_or(&digest);
        Key::new(Table::Notice, format!("{}{short}", prefix(owner, self.kind, self.subject)))
    }
}

fn prefix(owner: &str, kind: NoticeKind, subject: &str) -> String {
    format!("{owner}/{}-{}-", kind.as_str(), if subject.is_empty() { "all" } else { subject })
}

fn decode(key: &Key, bytes: &[u8]) -> Result<Told, Fault> {
    let mut notice: Told = record::decode(key, bytes)?;
    key.path.rsplit('/').next().unwrap_or_default().clone_into(&mut notice.id);
    Ok(notice)
}

/// Raises and resolves one owner's notices.
#[derive(Clone, Copy)]
pub struct Notices<'a> {
    /// Where they are kept.
    pub store: &'a dyn Store,
    /// Whose they are, by login name.
    pub owner: &'a str,
    /// The present.
    pub now: Timestamp,
}

impl std::fmt::Debug for Notices<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Notices").field("owner", &self.owner).finish_non_exhaustive()
    }
}

impl Notices<'_> {
    /// Returns the step that raises a notice; nothing if it is raised already and says the same. One that says
    /// something else now stays read if it was.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn raise(
        &self,
        cause: Cause<'_>,
        sentence: String,
        about: &[(&str, &str)],
    ) -> Result<Option<Op>, Fault> {
        self.put(cause, sentence, about, None).await
    }

    /// Returns the step that tells something that has no end to wait for; nothing if it was told before.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn tell(
        &self,
        cause: Cause<'_>,
        sentence: String,
        about: &[(&str, &str)],
    ) -> Result<Option<Op>, Fault> {
        self.put(cause, sentence, about, Some(self.now)).await
    }

    async fn put(
        &self,
        cause: Cause<'_>,
        sentence: String,
        about: &[(&str, &str)],
        resolved: Option<Timestamp>,
    ) -> Result<Option<Op>, Fault> {
        let key = cause.key(self.owner);
        let before = match self.store.record(&key).await? {
            Some(bytes) => Some(decode(&key, &bytes)?),
            None => None,
        };
        if before
            .as_ref()
            .is_some_and(|b| b.sentence == sentence && b.resolved.is_some() == resolved.is_some())
        {
            return Ok(None);
        }
        let open = before.filter(|before| before.resolved.is_none());
        let notice = Told {
            id: String::new(),
            kind: cause.kind,
            sentence,
            about: about.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            raised: open.as_ref().map_or(self.now, |open| open.raised),
            read: open.as_ref().and_then(|open| open.read),
            mailed: open.and_then(|open| open.mailed),
            resolved,
        };
        record::put(key, &notice).map(Some)
    }

    /// Returns the step that ends a notice whose cause is gone; nothing if there is none.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn resolve(&self, cause: Cause<'_>) -> Result<Option<Op>, Fault> {
        let key = cause.key(self.owner);
        let Some(bytes) = self.store.record(&key).await? else { return Ok(None) };
        self.ended(key.clone(), decode(&key, &bytes)?)
    }

    /// Returns the step that raises a notice while something holds, and ends it when it does not.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn while_true(
        &self,
        holds: bool,
        cause: Cause<'_>,
        sentence: impl FnOnce() -> String,
        about: &[(&str, &str)],
    ) -> Result<Option<Op>, Fault> {
        if holds { self.raise(cause, sentence(), about).await } else { self.resolve(cause).await }
    }

    /// Returns the step that ends this notice, if it is open.
    pub(super) fn ended(&self, key: Key, notice: Told) -> Result<Option<Op>, Fault> {
        if notice.resolved.is_some() {
            return Ok(None);
        }
        record::put(key, &Told { resolved: Some(self.now), ..notice }).map(Some)
    }

    /// Reads the open notices of a kind and subject.
    pub(super) async fn open(&self, kind: NoticeKind, subject: &str) -> Result<Vec<(Key, Told)>, Fault> {
        let all = all(self.store, &prefix(self.owner, kind, subject)).await?;
        Ok(all.into_iter().filter(|(_, notice)| notice.resolved.is_none()).collect())
    }

    /// Returns the steps that remove all that was told of a mapping, connection or webhook that is no more.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn forget(&self, subject: &str) -> Result<Vec<Op>, Fault> {
        let mut ops = Vec::new();
        for kind in NoticeKind::ALL {
            let found = all(self.store, &prefix(self.owner, kind, subject)).await?;
            ops.extend(found.into_iter().map(|(key, _)| Op::DeleteRecord(key)));
        }
        Ok(ops)
    }
}

async fn all(store: &dyn Store, prefix: &str) -> Result<Vec<(Key, Told)>, Fault> {
    let rows = record::rows(store, Table::Notice, prefix).await?;
    rows.into_iter().map(|(key, bytes)| decode(&key, &bytes).map(|notice| (key, notice))).collect()
}

impl Bridge {
    pub(super) fn notices<'a>(&'a self, owner: &'a str) -> Notices<'a> {
        Notices { store: &*self.house.store, owner, now: self.house.clock.now() }
    }

    /// Lists a person's notices: unread ones first, then the newest first.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn notifications(&self, owner: &str) -> Result<Vec<Told>, BridgeError> {
        let found = all(&*self.house.store, &format!("{owner}/")).await?;
        let mut found: Vec<Told> = found.into_iter().map(|(_, notice)| notice).collect();
        found.sort_by(|a, b| (a.read.is_some(), b.raised, &a.id).cmp(&(b.read.is_some(), a.raised, &b.id)));
        Ok(found)
    }

    /// Counts the notices of all people whose cause goes on.
    pub(super) async fn open_notices(&self) -> Result<u64, Fault> {
        let found = all(&*self.house.store, "").await?;
        let open = found.iter().filter(|(_, notice)| notice.resolved.is_none()).count();
        Ok(u64::try_from(open).unwrap_or(u64::MAX))
    }

    /// Notes that a notice was read.
    ///
    /// # Errors
    /// `Missing`; when the store fails.
    pub async fn read_notification(&self, owner: &str, id: &str) -> Result<Told, BridgeError> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        if id.is_empty() || id.len() > 200 || !id.bytes().all(plain) {
            return Err(BridgeError::Missing);
        }
        let key = Key::new(Table::Notice, format!("{owner}/{id}"));
        let bytes = self.house.store.record(&key).await?.ok_or(BridgeError::Missing)?;
        let mut notice = decode(&key, &bytes)?;
        if notice.read.is_none() {
            notice.read = Some(self.house.clock.now());
            self.commit(vec![record::put(key, &notice)?]).await?;
        }
        Ok(notice)
    }

    /// Returns what a mail should tell, by whom it is for.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn unmailed(&self) -> Result<BTreeMap<String, Vec<Told>>, Fault> {
        let mut waiting: BTreeMap<String, Vec<Told>> = BTreeMap::new();
        for (key, bytes) in record::rows(&*self.house.store, Table::Notice, "").await? {
            let notice = decode(&key, &bytes)?;
            if let Some((owner, _)) = key.path.split_once('/').filter(|_| notice.wants_mail()) {
                waiting.entry(owner.to_owned()).or_default().push(notice);
            }
        }
        Ok(waiting)
    }

    /// Notes that a mail told of these notices of a person. One that was raised anew meanwhile is another.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn were_mailed(&self, owner: &str, notices: &[Told]) -> Result<(), Fault> {
        let store = &*self.house.store;
        for told in notices {
            let key = Key::new(Table::Notice, format!("{owner}/{}", told.id));
            // Whoever changes it at the same time, or it is gone: then it is looked at again.
            while let Some(bytes) = store.record(&key).await? {
                let notice = decode(&key, &bytes)?;
                if notice.raised != told.raised {
                    break;
                }
                let now = self.house.clock.now();
                let commit = Commit::new(Origin::System, now)
                    .expect(Expect::Record(key.clone(), Some(bytes)))
                    .op(record::put(key.clone(), &Told { mailed: Some(now), ..notice })?);
                match store.commit(commit).await {
                    Ok(_) => break,
                    Err(CommitError::Rejected(_)) => {}
                    Err(CommitError::Fault(fault)) => return Err(fault),
                }
            }
        }
        Ok(())
    }

    /// Notes that all notices of a person were read; returns how many were not.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn read_notifications(&self, owner: &str) -> Result<usize, BridgeError> {
        let now = self.house.clock.now();
        let found = all(&*self.house.store, &format!("{owner}/")).await?;
        let mut ops = Vec::new();
        for (key, notice) in found.into_iter().filter(|(_, notice)| notice.read.is_none()) {
            ops.push(record::put(key, &Told { read: Some(now), ..notice })?);
        }
        let count = ops.len();
        if count > 0 {
            self.commit(ops).await?;
        }
        Ok(count)
    }

    /// Forgets notices whose cause ended a month ago; returns how many.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn forget_notifications(&self) -> Result<usize, BridgeError> {
        let before = Timestamp(self.house.clock.now().0.saturating_sub(KEEP));
        let found = all(&*self.house.store, "").await?;
        let old = found.into_iter().filter(|(_, notice)| notice.resolved.is_some_and(|at| at < before));
        let ops: Vec<Op> = old.map(|(key, _)| Op::DeleteRecord(key)).collect();
        let count = ops.len();
        if count > 0 {
            self.commit(ops).await?;
        }
        Ok(count)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use super::*;
    use crate::store::memory::Memory;

    async fn commit(store: &Memory, op: Option<Op>) -> bool {
        let Some(op) = op else { return false };
        store.commit(Commit::new(Origin::System, Timestamp(0)).op(op)).await.unwrap();
        true
    }

    async fn listed(store: &Memory) -> Vec<Told> {
        all(store, "anna/").await.unwrap().into_iter().map(|(_, notice)| notice).collect()
    }

    #[tokio::test]
    async fn of_one_cause_there_is_one_notice_until_it_ends() {
        let store = Memory::new();
        let at = |now| Notices { store: &store, owner: "anna", now: Timestamp(now) };
        let cause = Cause { kind: NoticeKind::DeletionsHeld, subject: "m1", detail: "" };
        let about = [("mapping", "m1")];
        assert!(commit(&store, at(1).raise(cause, "Held.".into(), &about).await.unwrap()).await);
        assert!(!commit(&store, at(2).raise(cause, "Held.".into(), &about).await.unwrap()).await);
        assert!(commit(&store, at(3).raise(cause, "More.".into(), &about).await.unwrap()).await);
        let [one] = &listed(&store).await[..] else { panic!("one cause, one notice") };
        assert_eq!((one.raised, one.sentence.as_str(), one.resolved), (Timestamp(1), "More.", None));
        assert_eq!(one.about["mapping"], "m1");
        assert!(commit(&store, at(4).resolve(cause).await.unwrap()).await);
        assert!(!commit(&store, at(5).resolve(cause).await.unwrap()).await);
        assert_eq!(listed(&store).await[0].resolved, Some(Timestamp(4)));
        // It comes back: a new one, unread.
        assert!(commit(&store, at(6).raise(cause, "More.".into(), &about).await.unwrap()).await);
        let again = &listed(&store).await[0];
        assert_eq!((again.raised, again.read, again.resolved), (Timestamp(6), None, None));
        // Others are others.
        let other = Cause { subject: "m2", ..cause };
        assert!(commit(&store, at(7).raise(other, "Held.".into(), &[]).await.unwrap()).await);
        assert_eq!(at(7).open(NoticeKind::DeletionsHeld, "m1").await.unwrap().len(), 1);
        assert_eq!((listed(&store).await.len(), at(7).forget("m1").await.unwrap().len()), (2, 1));
    }

    #[test]
    fn kinds_are_named_the_same_everywhere() {
        let mut names = std::collections::BTreeSet::new();
        for kind in NoticeKind::ALL {
            assert_eq!(serde_json::to_string(&kind).unwrap(), format!("\"{}\"", kind.as_str()));
            assert!(names.insert(kind.as_str()));
        }
    }
}

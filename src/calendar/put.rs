//! The one way an object enters or leaves: check → limits → UID → commit.
//!
//! Owns: RFC 4791 §5.3.2 for every door and for the bridge. Does not own: reading requests, naming statuses.

use bytes::Bytes;

use super::access::Writable;
use super::properties::{decode_properties, encode_properties, object_properties_key};
use super::versions::{self, Ended};
use super::{Error, Refusal, Session};
use crate::ical::series::Series;
use crate::ical::{self, check};
use crate::store::{
    Commit, CommitError, Etag, Expect, Index, Key, Kind, Meta, Name, Op, Properties, Rejected, Rev, Span,
    Timestamp,
};

/// How often a write is tried again from fresh facts when a rival was faster.
pub(super) const ATTEMPTS: usize = 8;

/// A condition on the object as it is stored, read from a request.
type Check<'a> = Box<dyn Fn(Option<&Meta>) -> Result<(), Refusal> + Send + Sync + 'a>;

/// Under which conditions a write may happen. They hold in the very transaction that writes: what the check saw is
/// pinned by its etag, and a rival's write in between leads to another look.
#[derive(Default)]
pub struct When<'a> {
    check: Option<Check<'a>>,
    expects: Vec<Expect>,
}

impl<'a> When<'a> {
    /// Returns no condition.
    pub fn always() -> When<'a> {
        When::default()
    }

    /// Returns a condition on the stored object (nothing: there is none).
    pub fn holds(check: impl Fn(Option<&Meta>) -> Result<(), Refusal> + Send + Sync + 'a) -> When<'a> {
        When { check: Some(Box::new(check)), expects: Vec::new() }
    }

    /// Adds an expectation on other things, such as the record of locks.
    #[must_use]
    pub fn and(mut self, expect: Expect) -> When<'a> {
        self.expects.push(expect);
        self
    }

    /// Returns the expectations on other things.
    pub fn expects(&self) -> &[Expect] {
        &self.expects
    }

    pub(super) fn look(&self, meta: Option<&Meta>) -> Result<(), Refusal> {
        self.check.as_ref().map_or(Ok(()), |check| check(meta))
    }
}

impl std::fmt::Debug for When<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("When").field("check", &self.check.is_some()).field("expects", &self.expects).finish()
    }
}

/// What is to be stored.
#[derive(Debug)]
pub struct Put<'a> {
    /// Under which name.
    pub name: &'a Name,
    /// The bytes; stored as they are.
    pub bytes: Bytes,
    /// The media type that the sender gave.
    pub content_type: Option<&'a str>,
    /// Under which conditions.
    pub when: When<'a>,
    /// Further steps of the same commit, such as the bridge's base record.
    pub with: Vec<Op>,
}

impl<'a> Put<'a> {
    /// Returns a write without conditions.
    pub fn new(name: &'a Name, bytes: Bytes) -> Put<'a> {
        Put { name, bytes, content_type: None, when: When::always(), with: Vec::new() }
    }
}

/// What has been stored, durably.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// The tag of exactly the bytes that were sent.
    pub etag: Etag,
    /// True if there was no object of that name.
    pub created: bool,
    /// The collection's new position.
    pub rev: Rev,
}

/// Content that has passed the rules of a collection.
struct Accepted {
    content_type: String,
    index: Index,
}

impl Session {
    /// Stores an object.
    ///
    /// # Errors
    /// The refusals of RFC 4791 §5.3.2.1, `Stale` if a condition does not hold; when the store fails. Nothing is
    /// changed then.
    pub async fn put(&self, at: &Writable, put: Put<'_>) -> Result<Stored, Error> {
        let accepted = self.accept(at, &put.bytes, put.content_type).await?;
        let etag = Etag::of(&put.bytes);
        for _ in 0..ATTEMPTS {
            let now = self.house.clock.now();
            let (before, keep) = self.before(at, put.name, Ended::Replaced, now).await?;
            put.when.look(before.as_ref())?;
            let need = if before.is_some() { "write-content" } else { "bind" };
            self.free(at, accepted.index.uid.as_deref(), need).await?;
            same_uid(before.as_ref(), &accepted.index)?;
            let mut commit = self.commit_on(at, put.name, before.as_ref(), &put.when);
            // The former text ends when the new one begins.
            commit.at = now;
            commit.expects.extend(self.room_for(at, &[put.name], &put.bytes).await?);
            if before.as_ref().is_some_and(|before| before.etag != etag) {
                commit.ops.extend(keep);
            }
            if before.is_none() {
                commit = commit
                    .expect(Expect::NoChild(at.id(), put.name.clone()))
                    .expect(Expect::Below(at.id(), self.house.limits.objects));
            }
            if let Some(uid) = &accepted.index.uid {
                commit = commit.expect(Expect::UidFree(at.id(), uid.clone(), put.name.clone()));
            }
            commit = commit.op(Op::Put {
                collection: at.id(),
                name: put.name.clone(),
                content_type: accepted.content_type.clone(),
                bytes: put.bytes.clone(),
                index: accepted.index.clone(),
            });
            commit = touch_home(commit, at);
            commit.ops.extend(put.with.iter().cloned());
            match self.house.store.commit(commit).await {
                Ok(done) => {
                    return Ok(Stored {
                        etag,
                        created: before.is_none(),
                        rev: done.rev(at.id()).unwrap_or_default(),
                    });
                }
                // Somebody's first hold: a calendar has no other children.
                Err(CommitError::Rejected(Rejected::ChildExists))
                    if at.collection().kind == Kind::Calendar => {}
                Err(error) => self.again(error)?,
            }
        }
        Err(Refusal::Stale.into())
    }

    /// Stores what a series was up to some time in its place, and what it is from there on as a new object, in one commit:
    /// never both in full, never neither.
    ///
    /// # Errors
    /// `Missing` if there is no such object, `Stale` if a condition does not hold or another writer goes on being faster, and what
    /// [`Session::put`] refuses. Nothing is changed then.
    pub async fn divide(&self, at: &Writable, first: Put<'_>, rest: Put<'_>) -> Result<Stored, Error> {
        let earlier = self.accept(at, &first.bytes, first.content_type).await?;
        let later = self.accept(at, &rest.bytes, rest.content_type).await?;
        let etag = Etag::of(&rest.bytes);
        for _ in 0..ATTEMPTS {
            let now = self.house.clock.now();
            let (before, keep) = self.before(at, first.name, Ended::Replaced, now).await?;
            let Some(meta) = &before else { return Err(Refusal::Missing.into()) };
            first.when.look(before.as_ref())?;
            self.free(at, meta.index.uid.as_deref(), "write-content").await?;
            self.free(at, later.index.uid.as_deref(), "bind").await?;
            same_uid(before.as_ref(), &earlier.index)?;
            let mut commit = self.commit_on(at, first.name, before.as_ref(), &first.when);
            commit.at = now;
            // Its own times are nobody else's.
            commit.expects.extend(self.room_for(at, &[first.name, rest.name], &rest.bytes).await?);
            commit.ops.extend(keep);
            commit = commit
                .expect(Expect::Absent(at.id(), rest.name.clone()))
                .expect(Expect::NoChild(at.id(), rest.name.clone()))
                .expect(Expect::Below(at.id(), self.house.limits.objects));
            for (put, accepted) in [(&first, &earlier), (&rest, &later)] {
                if let Some(uid) = &accepted.index.uid {
                    commit = commit.expect(Expect::UidFree(at.id(), uid.clone(), put.name.clone()));
                }
                commit = commit.op(Op::Put {
                    collection: at.id(),
                    name: put.name.clone(),
                    content_type: accepted.content_type.clone(),
                    bytes: put.bytes.clone(),
                    index: accepted.index.clone(),
                });
            }
            match self.house.store.commit(touch_home(commit, at)).await {
                Ok(done) => {
                    return Ok(Stored { etag, created: true, rev: done.rev(at.id()).unwrap_or_default() });
                }
                Err(error) => self.again(error)?,
            }
        }
        Err(Refusal::Stale.into())
    }

    /// Removes an object; a calendar object resource goes to the trash in the same commit.
    ///
    /// # Errors
    /// `Missing` if there is none, `Stale` if a condition does not hold; when the store fails.
    pub async fn delete(
        &self,
        at: &Writable,
        name: &Name,
        when: &When<'_>,
        with: Vec<Op>,
    ) -> Result<Rev, Error> {
        for _ in 0..ATTEMPTS {
            let now = self.house.clock.now();
            let (before, keep) = self.before(at, name, Ended::Deleted, now).await?;
            let Some(meta) = &before else { return Err(Refusal::Missing.into()) };
            when.look(before.as_ref())?;
            self.free(at, meta.index.uid.as_deref(), "unbind").await?;
            let mut commit = self.commit_on(at, name, before.as_ref(), when);
            // The text and the trash tell of one moment, by which the one is found from the other.
            commit.at = now;
            if let Some(keep) = keep {
                commit.ops.push(keep);
                commit.ops.extend(self.to_trash(at, meta, now).await?);
            }
            let commit = commit.op(Op::Delete { collection: at.id(), name: name.clone() });
            let mut commit = touch_home(commit, at);
            commit.ops.extend(with.iter().cloned());
            match self.house.store.commit(commit).await {
                Ok(done) => return Ok(done.rev(at.id()).unwrap_or_default()),
                Err(error) => self.again(error)?,
            }
        }
        Err(Refusal::Stale.into())
    }

    /// Changes the properties that clients set on an object; the object's bytes and etag stay. The change is made to
    /// the newest record and carried out again if another writer was faster.
    ///
    /// # Errors
    /// `Missing` if there is no such object; when the store fails.
    pub async fn update_object_properties(
        &self,
        at: &Writable,
        name: &Name,
        when: &When<'_>,
        change: impl Fn(&mut Properties) + Send + Sync,
    ) -> Result<(), Error> {
        let key = object_properties_key(at.id(), name.as_str());
        for _ in 0..ATTEMPTS {
            let before = at.meta(name.as_str()).await?;
            if before.is_none() {
                return Err(Refusal::Missing.into());
            }
            when.look(before.as_ref())?;
            let record = self.house.store.record(&key).await?;
            let mut properties = match &record {
                Some(bytes) => decode_properties(bytes)?,
                None => Properties::default(),
            };
            change(&mut properties);
            let op = if properties.0.is_empty() {
                Op::DeleteRecord(key.clone())
            } else {
                Op::PutRecord(key.clone(), encode_properties(&properties))
            };
            let commit = self
                .commit_on(at, name, before.as_ref(), when)
                .expect(Expect::Record(key.clone(), record))
                .op(op)
                .op(Op::Touch { collection: at.id(), name: Some(name.clone()) });
            match self.house.store.commit(touch_home(commit, at)).await {
                Ok(_) => return Ok(()),
                Err(CommitError::Rejected(Rejected::Record(rival))) if rival == key => continue,
                Err(error) => self.again(error)?,
            }
        }
        Err(Refusal::Stale.into())
    }

    /// Reads what is stored under the name, and the step that keeps its text as a version.
    async fn before(
        &self,
        at: &Writable,
        name: &Name,
        how: Ended,
        now: Timestamp,
    ) -> Result<(Option<Meta>, Option<Op>), Error> {
        let meta = at.meta(name.as_str()).await?;
        if meta.is_none() || at.collection().kind != Kind::Calendar {
            return Ok((meta, None));
        }
        let Some(object) = at.object(name.as_str()).await? else { return Ok((None, None)) };
        let keep = versions::keep(&self.house, at.id(), &object, &self.origin, now, how).await?;
        Ok((Some(object.meta), keep))
    }

    /// Begins a commit that holds only while the object is what was seen.
    pub(super) fn commit_on(
        &self,
        at: &Writable,
        name: &Name,
        seen: Option<&Meta>,
        when: &When<'_>,
    ) -> Commit {
        let pin = match seen {
            Some(meta) => Expect::Etag(at.id(), name.clone(), meta.etag.clone()),
            None => Expect::Absent(at.id(), name.clone()),
        };
        let mut commit = Commit::new(self.origin.clone(), self.house.clock.now())
            .expect(Expect::Collection(at.id()))
            .expect(pin);
        commit.expects.extend(when.expects.iter().cloned());
        commit
    }

    /// Returns if another look may help, else the error.
    pub(super) fn again(&self, error: CommitError) -> Result<(), Error> {
        match error {
            CommitError::Rejected(Rejected::Etag(_) | Rejected::Present | Rejected::Missing) => Ok(()),
            // What an exclusive calendar was judged by has changed.
            CommitError::Rejected(Rejected::Busy(_)) => Ok(()),
            CommitError::Rejected(Rejected::Full) => {
                Err(Refusal::CollectionFull(self.house.limits.objects).into())
            }
            error => Err(error.into()),
        }
    }

    /// Decides whether the collection takes this content, and what is to be remembered of it.
    async fn accept(&self, at: &Writable, bytes: &Bytes, sent: Option<&str>) -> Result<Accepted, Error> {
        let size = bytes.len() as u64;
        match at.collection().kind {
            Kind::Home => Err(Refusal::Protected("a calendar home holds calendars only").into()),
            Kind::Files => {
                let limits = &self.house.limits;
                if size > limits.file_size {
                    return Err(Refusal::TooLarge(limits.file_size).into());
                }
                if self.used().await?.saturating_add(size) > limits.quota {
                    return Err(Refusal::QuotaExceeded(limits.quota).into());
                }
                let content_type = sent.unwrap_or("application/octet-stream").to_owned();
                Ok(Accepted { content_type, index: Index::default() })
            }
            Kind::Calendar => {
                if size > self.house.limits.object_size {
                    return Err(Refusal::TooLarge(self.house.limits.object_size).into());
                }
                if let Some(sent) = sent.filter(|sent| !is_calendar(sent)) {
                    return Err(Refusal::WrongMediaType(sent.to_owned()).into());
                }
                Ok(accept_calendar(&at.collection().components, bytes.clone())?)
            }
        }
    }
}

/// Returns what the store is to know of a calendar object resource; also used to verify a store's index.
///
/// # Errors
/// When the bytes are no calendar object resource.
pub fn index_of(bytes: Bytes) -> Result<Index, ical::Problem> {
    let checked = check::calendar_object(bytes)?;
    let extent = Series::of(&checked.ical).span();
    Ok(Index {
        uid: Some(checked.uid),
        component: checked.component,
        span: extent.map(|extent| Span { start: extent.start, end: extent.end, exact: extent.exact }),
    })
}

fn accept_calendar(components: &[String], bytes: Bytes) -> Result<Accepted, Error> {
    let index = index_of(bytes)?;
    let taken = components.is_empty() || components.contains(&index.component);
    if !taken {
        return Err(Refusal::WrongComponent { sent: index.component, accepted: components.to_vec() }.into());
    }
    let content_type =
        format!("text/calendar; charset=utf-8; component={}", index.component.to_ascii_lowercase());
    Ok(Accepted { content_type, index })
}

/// RFC 4791 §5.3.2.1: only `text/calendar` is a supported media type.
fn is_calendar(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("text/calendar")
}

/// RFC 4791 §5.3.2.1 (no-uid-conflict): an object is never overwritten with one of another UID.
pub(super) fn same_uid(before: Option<&Meta>, index: &Index) -> Result<(), Refusal> {
    match (before.and_then(|meta| meta.index.uid.as_ref()), &index.uid) {
        (Some(stored), Some(sent)) if stored != sent => {
            Err(Refusal::UidChanged { stored: stored.clone(), sent: sent.clone() })
        }
        _ => Ok(()),
    }
}

/// Adds the step that lets clients see at the home that a calendar changed (Q-08: iOS polls the home's ctag).
pub(super) fn touch_home(commit: Commit, at: &Writable) -> Commit {
    let collection = at.collection();
    match collection.kind {
        Kind::Calendar => {
            commit.op(Op::Touch { collection: collection.parent, name: Some(collection.name.clone()) })
        }
        Kind::Home | Kind::Files => commit,
    }
}

/// Returns the record that holds an object's properties, as a step that copies or removes it needs it.
pub(super) fn properties_key(at: &Writable, name: &Name) -> Key {
    object_properties_key(at.id(), name.as_str())
}

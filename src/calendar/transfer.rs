//! Copying and moving objects and collections (RFC 4918 §9.8, §9.9).
//!
//! Owns: that a move is one commit, so that nobody sees an object twice or not at all.
//! Does not own: reading `Destination` and `Overwrite` (`http/condition`).

use std::sync::Arc;

use super::access::Writable;
use super::collection::{may_hold, removable};
use super::kept::{Kept, set_kept};
use super::put::{ATTEMPTS, When, properties_key, same_uid, touch_home};
use super::versions::{self, Ended};
use super::{Error, Refusal, Session};
use crate::store::{
    Collection, CollectionId, Commit, CommitError, Expect, Kind, Meta, Name, Object, Op, Rejected,
};

/// What to do when the destination is taken (RFC 4918 §10.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overwrite {
    /// Replace it.
    Yes,
    /// Refuse.
    No,
}

/// How a copy or move ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transferred {
    /// The destination is new: 201.
    Created,
    /// The destination was replaced: 204.
    Replaced,
}

/// How many objects one commit of a deep copy carries.
const BATCH: usize = 64;

/// Whether the source stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    Stays,
    Goes,
}

impl Session {
    /// Copies an object. Its properties are copied with it.
    ///
    /// # Errors
    /// `Missing`, `Stale` if the destination is taken and may not be replaced or a condition fails, the refusals of
    /// `put` at the destination; when the store fails.
    pub async fn copy_object(
        &self,
        from: (&Writable, &Name),
        to: (&Writable, &Name),
        overwrite: Overwrite,
        when: &When<'_>,
    ) -> Result<Transferred, Error> {
        self.transfer(from, to, overwrite, when, Source::Stays).await
    }

    /// Moves an object in one commit: it is gone there and present here at the same moment.
    ///
    /// # Errors
    /// As `copy_object`.
    pub async fn move_object(
        &self,
        from: (&Writable, &Name),
        to: (&Writable, &Name),
        overwrite: Overwrite,
        when: &When<'_>,
    ) -> Result<Transferred, Error> {
        self.transfer(from, to, overwrite, when, Source::Goes).await
    }

    async fn transfer(
        &self,
        (from, name): (&Writable, &Name),
        (to, new_name): (&Writable, &Name),
        overwrite: Overwrite,
        when: &When<'_>,
        source: Source,
    ) -> Result<Transferred, Error> {
        for _ in 0..ATTEMPTS {
            let object = from.object(name.as_str()).await?.ok_or(Refusal::Missing)?;
            when.look(Some(&object.meta))?;
            let target = to.meta(new_name.as_str()).await?;
            if target.is_some() && overwrite == Overwrite::No {
                return Err(Refusal::Stale.into());
            }
            self.fits(to, &object, target.as_ref()).await?;
            let uid = object.meta.index.uid.as_deref();
            if source == Source::Goes {
                self.free(from, uid, "unbind").await?;
            }
            self.free(to, uid, if target.is_some() { "write-content" } else { "bind" }).await?;
            let mut commit = self.commit_on(from, name, Some(&object.meta), when);
            let moves = source == Source::Goes && from.id() == to.id();
            let own = if moves { vec![new_name, name] } else { vec![new_name] };
            commit.expects.extend(self.room_for(to, &own, &object.bytes).await?);
            commit = pin(commit, to, new_name, target.as_ref());
            if target.is_some() {
                let over = to.object(new_name.as_str()).await?;
                let now = self.house.clock.now();
                if let Some(over) = over {
                    let kept =
                        versions::keep(&self.house, to.id(), &over, &self.origin, now, Ended::Replaced);
                    commit.ops.extend(kept.await?);
                }
            }
            if source == Source::Goes {
                commit = commit.op(Op::Delete { collection: from.id(), name: name.clone() });
            }
            let mut ops = self.put_ops(from, &object, to, new_name).await?;
            commit.ops.append(&mut ops);
            if let Some(uid) = &object.meta.index.uid {
                let leaves = source == Source::Goes && from.id() == to.id();
                let but = if leaves { name.clone() } else { new_name.clone() };
                commit = commit.expect(Expect::UidFree(to.id(), uid.clone(), but));
            }
            commit = touch_home(commit, to);
            if source == Source::Goes && from.id() != to.id() {
                commit = touch_home(commit, from);
            }
            match self.house.store.commit(commit).await {
                Ok(_) if target.is_some() => return Ok(Transferred::Replaced),
                Ok(_) => return Ok(Transferred::Created),
                Err(error) => self.again(error)?,
            }
        }
        Err(Refusal::Stale.into())
    }

    /// Moves a collection to another name or parent; its log goes on, so tokens of its members stay valid.
    ///
    /// # Errors
    /// `Protected`, `NotHere`, `Exists` if the destination is taken and may not be replaced; when the store fails.
    pub async fn move_collection(
        &self,
        from: &Writable,
        to: (&Writable, &Name),
        overwrite: Overwrite,
        when: &When<'_>,
    ) -> Result<Transferred, Error> {
        removable(from.collection())?;
        let (parent, name) = to;
        may_hold(parent.collection().kind, from.collection().kind, name)?;
        self.outside(from, parent).await?;
        let (mut commit, replaced) = self.clear(parent, name, overwrite, when).await?;
        let mut moved = Collection::clone(from.collection());
        moved.parent = parent.id();
        moved.name = name.clone();
        commit = commit
            .expect(Expect::CollectionIs(Box::new(Collection::clone(from.collection()))))
            .op(Op::PutCollection(moved));
        self.finish(commit, replaced).await
    }

    /// Copies a collection, with everything in it or by itself (`Depth: 0`). The copy's members appear in batches.
    ///
    /// # Errors
    /// As `move_collection`.
    pub async fn copy_collection(
        &self,
        from: &Writable,
        to: (&Writable, &Name),
        overwrite: Overwrite,
        deep: bool,
        when: &When<'_>,
    ) -> Result<Transferred, Error> {
        let (parent, name) = to;
        may_hold(parent.collection().kind, from.collection().kind, name)?;
        self.outside(from, parent).await?;
        let (mut commit, replaced) = self.clear(parent, name, overwrite, when).await?;
        let root = self.twin(from.collection(), parent.id(), name).await?;
        commit = commit.op(Op::PutCollection(root.clone()));
        let done = self.finish(commit, replaced).await?;
        if !deep {
            return Ok(done);
        }
        let mut waiting = vec![(from.clone(), self.writable(Arc::new(root))?)];
        while let Some((source, target)) = waiting.pop() {
            self.copy_members(&source, &target).await?;
            for child in source.children().await? {
                let source = self.writable(Arc::clone(child.collection()))?;
                let twin = self.twin(child.collection(), target.id(), &child.collection().name).await?;
                let commit = Commit::new(self.origin.clone(), self.house.clock.now())
                    .expect(Expect::Collection(target.id()))
                    .op(Op::PutCollection(twin.clone()));
                self.house.store.commit(commit).await?;
                waiting.push((source, self.writable(Arc::new(twin))?));
            }
        }
        Ok(done)
    }

    async fn copy_members(&self, from: &Writable, to: &Writable) -> Result<(), Error> {
        let mut after: Option<Name> = None;
        loop {
            let page = from.list(after.as_ref().map(Name::as_str), BATCH).await?;
            let Some(last) = page.last() else { return Ok(()) };
            after = Some(last.name.clone());
            let mut commit =
                Commit::new(self.origin.clone(), self.house.clock.now()).expect(Expect::Collection(to.id()));
            for meta in &page {
                let Some(object) = from.object(meta.name.as_str()).await? else { continue };
                let mut ops = self.put_ops(from, &object, to, &meta.name).await?;
                commit.ops.append(&mut ops);
            }
            self.house.store.commit(touch_home(commit, to)).await?;
        }
    }

    /// Returns a new collection with another's kind and properties.
    async fn twin(&self, of: &Collection, parent: CollectionId, name: &Name) -> Result<Collection, Error> {
        let now = self.house.clock.now();
        let mut properties = of.properties.clone();
        // What is kept is kept in one place.
        set_kept(&mut properties, &Kept::Nothing);
        Ok(Collection {
            properties,
            id: self.house.store.new_collection_id().await?,
            parent,
            name: name.clone(),
            created: now,
            modified: now,
            ..of.clone()
        })
    }

    /// Begins a commit that makes room for a collection at the destination.
    async fn clear(
        &self,
        parent: &Writable,
        name: &Name,
        overwrite: Overwrite,
        when: &When<'_>,
    ) -> Result<(Commit, bool), Error> {
        let mut commit =
            Commit::new(self.origin.clone(), self.house.clock.now()).expect(Expect::Collection(parent.id()));
        commit.expects.extend(when.expects().iter().cloned());
        let child = parent.child(name.as_str()).await?;
        let object = parent.meta(name.as_str()).await?;
        if (child.is_some() || object.is_some()) && overwrite == Overwrite::No {
            return Err(Refusal::Stale.into());
        }
        let replaced = child.is_some() || object.is_some();
        match child {
            Some(child) => {
                removable(child.collection())?;
                commit = self.discard(child.id(), commit).await?;
            }
            None => commit = commit.expect(Expect::NoChild(parent.id(), name.clone())),
        }
        commit = pin(commit, parent, name, object.as_ref());
        if object.is_some() {
            commit = commit.op(Op::Delete { collection: parent.id(), name: name.clone() });
        }
        Ok((commit, replaced))
    }

    async fn finish(&self, commit: Commit, replaced: bool) -> Result<Transferred, Error> {
        match self.house.store.commit(commit).await {
            Ok(_) if replaced => Ok(Transferred::Replaced),
            Ok(_) => Ok(Transferred::Created),
            Err(CommitError::Rejected(Rejected::ChildExists | Rejected::Present)) => {
                Err(Refusal::Exists.into())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// RFC 4918 §9.8.5: a collection cannot go into itself.
    async fn outside(&self, from: &Writable, parent: &Writable) -> Result<(), Error> {
        let mut at = parent.id();
        loop {
            if at == from.id() {
                return Err(Refusal::Protected("a collection cannot be put into itself").into());
            }
            match self.house.store.collection(at).await? {
                Some(collection) => at = collection.parent,
                None => return Ok(()),
            }
        }
    }

    /// Decides whether the destination takes the object.
    async fn fits(&self, to: &Writable, object: &Object, target: Option<&Meta>) -> Result<(), Error> {
        let collection = to.collection();
        match collection.kind {
            Kind::Home => return Err(Refusal::Protected("a calendar home holds calendars only").into()),
            Kind::Files => {
                let size = object.meta.size;
                if self.used().await?.saturating_add(size) > self.house.limits.quota {
                    return Err(Refusal::QuotaExceeded(self.house.limits.quota).into());
                }
            }
            Kind::Calendar => {
                let index = super::put::index_of(object.bytes.clone())?;
                if !collection.components.is_empty() && !collection.components.contains(&index.component) {
                    let accepted = collection.components.clone();
                    return Err(Refusal::WrongComponent { sent: index.component, accepted }.into());
                }
                same_uid(target, &index)?;
            }
        }
        Ok(())
    }

    /// Returns the steps that store the object with its properties at the destination.
    async fn put_ops(
        &self,
        from: &Writable,
        object: &Object,
        to: &Writable,
        name: &Name,
    ) -> Result<Vec<Op>, Error> {
        let index = match to.collection().kind {
            Kind::Calendar => super::put::index_of(object.bytes.clone())?,
            Kind::Home | Kind::Files => crate::store::Index::default(),
        };
        let mut ops = vec![Op::Put {
            collection: to.id(),
            name: name.clone(),
            content_type: object.meta.content_type.clone(),
            bytes: object.bytes.clone(),
            index,
        }];
        let kept = self.house.store.record(&properties_key(from, &object.meta.name)).await?;
        ops.push(match kept {
            Some(bytes) => Op::PutRecord(properties_key(to, name), bytes),
            None => Op::DeleteRecord(properties_key(to, name)),
        });
        Ok(ops)
    }
}

/// Adds the expectation that the destination is what was seen.
fn pin(commit: Commit, at: &Writable, name: &Name, seen: Option<&Meta>) -> Commit {
    match seen {
        Some(meta) => commit.expect(Expect::Etag(at.id(), name.clone(), meta.etag.clone())),
        None => commit.expect(Expect::Absent(at.id(), name.clone())),
    }
}

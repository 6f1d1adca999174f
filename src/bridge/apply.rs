//! Brings one object to agreement: reads what the plan needs, carries its step out, writes the base record.
//!
//! Owns: the order of writes. A write here and its base record are one commit; a write there is remembered after it
//! was read back, and recognised by its UID and content if that never happened.

use bytes::Bytes;

use super::conflict::Reconsidered;
use super::ledger::spelling;
use super::plan::{Case, Clash, Decision, Side, Step, Version, Winner, plan};
use super::print;
use super::provider::{self, RemoteId, Seen, Slot, Trouble};
use super::record::Base;
use super::run::{Far, Halt, Pass, Retry, uid_of};
use super::send::read_back_base;
use crate::calendar::{Error, Put, Refusal, When};
use crate::ical::Ical;
use crate::store::{Commit, CommitError, Etag, Expect, Fault, Name, Object, Op};

/// How often one object is looked at anew when a rival was faster.
const ROUNDS: usize = 4;

/// How one look at an object ended.
pub(super) enum Settled {
    Done,
    /// A rival was faster: look again.
    Again,
    /// The far side has it already, here.
    Found(RemoteId),
}

/// Both sides of one object, as they are now.
pub(super) struct Facts {
    pub(super) base: Option<Base>,
    pub(super) agreed: Option<Ical>,
    pub(super) object: Option<Object>,
    pub(super) ours: Option<Ical>,
    pub(super) far: Far,
}

impl Facts {
    /// Returns where the object is on the far side, and in which state.
    pub(super) fn place(&self) -> Option<(RemoteId, Option<provider::Version>)> {
        match &self.far {
            Far::Absent => None,
            Far::Seen(seen, _) => Some((seen.id.clone(), seen.version.clone())),
            Far::Same => self.base.as_ref().map(|b| (b.remote.clone(), b.version.clone())),
        }
    }

    pub(super) fn etag(&self) -> Option<&Etag> {
        self.object.as_ref().map(|o| &o.meta.etag)
    }

    pub(super) fn name(&self) -> Option<&Name> {
        self.object.as_ref().map(|o| &o.meta.name)
    }
}

impl Pass {
    /// Brings the object of that UID to agreement, or notes why it cannot be. Writes on the far side are collected
    /// until `flush`.
    pub(super) async fn settle(&mut self, uid: &str, far: Far) -> Result<(), Halt> {
        self.settle_from(uid, far, 0).await
    }

    pub(super) async fn settle_from(&mut self, uid: &str, far: Far, round: usize) -> Result<(), Halt> {
        let mut far = far;
        for round in round..ROUNDS {
            self.round = round;
            far = match self.settle_once(uid, far).await? {
                Settled::Done => return Ok(()),
                Settled::Again => self.look_again(uid).await?,
                Settled::Found(id) => self.look_there(&id).await?,
            };
        }
        self.fail(uid, None, None, "It keeps changing on both sides; it is tried again.".into(), Retry::Soon);
        Ok(())
    }

    pub(super) async fn look_again(&self, uid: &str) -> Result<Far, Halt> {
        match self.ledger.by_uid(uid).map(|b| b.remote.clone()) {
            Some(id) => self.look_there(&id).await,
            None => Ok(Far::Absent),
        }
    }

    pub(super) async fn look_there(&self, id: &RemoteId) -> Result<Far, Halt> {
        let mut found = self.provider.read(&self.mapping.remote, std::slice::from_ref(id)).await?;
        let Some(seen) = found.pop() else { return Ok(Far::Absent) };
        match uid_of(&seen) {
            Ok((_, ical)) => Ok(Far::Seen(seen, ical)),
            Err(reason) => Err(Trouble::Unreachable(reason).into()),
        }
    }

    async fn settle_once(&mut self, uid: &str, far: Far) -> Result<Settled, Halt> {
        let facts = match self.gather(uid, far).await? {
            Ok(facts) => facts,
            Err(reason) => {
                self.fail(uid, None, None, reason, Retry::OnChange);
                return Ok(Settled::Done);
            }
        };
        let agreed_before = facts.agreed.is_some();
        let mut refresh = None;
        let local = match (&facts.object, &facts.ours) {
            (Some(object), Some(ours)) => {
                let same = agreed_before && facts.base.as_ref().is_some_and(|b| b.etag == object.meta.etag);
                let version = Version { ical: ours, stored: Some(object.meta.modified.seconds()) };
                if same { Side::Same } else { Side::Changed(version) }
            }
            _ => Side::Absent,
        };
        let remote = match &facts.far {
            Far::Absent => Side::Absent,
            Far::Same => Side::Same,
            Far::Seen(seen, ical) => {
                let same =
                    facts.base.as_ref().is_some_and(|b| agreed_before && b.print == print::print(ical));
                if same {
                    refresh = Some(seen);
                    Side::Same
                } else {
                    Side::Changed(Version { ical, stored: seen.modified })
                }
            }
        };
        let open = match facts.base.as_ref().and_then(|b| b.conflict.clone()) {
            Some(id) => self.conflict(&id).await?,
            None => None,
        };
        let mut case = Case {
            local,
            remote,
            base: facts.agreed.as_ref(),
            ours: facts.ours.as_ref(),
            direction: self.mapping.direction,
            policy: self.mapping.policy,
        };
        let mut with = Vec::new();
        if let Some(conflict) = open {
            match self.reconsider(conflict, &mut case)? {
                Reconsidered::Parked => return Ok(Settled::Done),
                Reconsidered::Decided(conflict) => with.extend(self.conflict_ops(&conflict)?),
                Reconsidered::Accepted => return self.agree(uid, &facts, with).await,
            }
        }
        let Decision { step, clash } = plan(&case);
        let refreshed = refresh.is_some() || facts.base.as_ref().is_some_and(|b| b.conflict.is_some());
        if matches!(step, Step::Nothing) && refreshed {
            return self.refresh(uid, &facts, with).await;
        }
        self.carry(uid, facts, step, clash, with).await
    }

    /// Reads what the decision needs. Inner error: the object cannot be dealt with, in words.
    async fn gather(&self, uid: &str, far: Far) -> Result<Result<Facts, String>, Halt> {
        let base = self.ledger.by_uid(uid).cloned();
        let object = self.object_here(uid, base.as_ref()).await?;
        let unknown = base.as_ref().is_some_and(|b| b.version.is_none() || b.conflict.is_some());
        let far = match (far, &base) {
            // Without a version, or with a decision open, the content itself has to be looked at.
            (Far::Same, Some(base)) if unknown => self.look_there(&base.remote).await?,
            (far, _) => far,
        };
        // What was only announced was agreed on if it is found there, else it never happened.
        let base = base.filter(|b| !(b.pending && matches!(far, Far::Absent)));
        let agreed = match base.as_ref().filter(|b| !b.print.is_empty()) {
            Some(_) => match self.ledger.bytes(&*self.session.house.store, uid).await? {
                Some(bytes) => Ical::parse(bytes).ok(),
                None => None,
            },
            None => None,
        };
        let ours = match &object {
            Some(object) => match Ical::parse(object.bytes.clone()) {
                Ok(ical) => Some(ical),
                Err(problem) => return Ok(Err(format!("The event here cannot be read: {}", problem.reason))),
            },
            None => None,
        };
        Ok(Ok(Facts { base, agreed, object, ours, far }))
    }

    /// Finds our object: under the name that is known, or wherever one with this UID is now.
    async fn object_here(&self, uid: &str, base: Option<&Base>) -> Result<Option<Object>, Halt> {
        if let Some(base) = base {
            let found = self.at.object(base.name.as_str()).await?;
            if let Some(object) = found.filter(|o| o.meta.index.uid.as_deref() == Some(uid)) {
                return Ok(Some(object));
            }
        }
        match self.at.by_uid(uid).await? {
            Some(name) => Ok(self.at.object(name.as_str()).await?),
            None => Ok(None),
        }
    }

    async fn carry(
        &mut self,
        uid: &str,
        facts: Facts,
        step: Step,
        clash: Option<Clash>,
        mut with: Vec<Op>,
    ) -> Result<Settled, Halt> {
        if let Some(clash) = clash {
            self.run.conflicts = self.run.conflicts.saturating_add(1);
            let conflict = self.conflict_of(uid, &facts, &clash)?;
            if clash.winner == Winner::Open {
                return self.park(uid, &facts, conflict).await;
            }
            with.extend(self.conflict_ops(&conflict)?);
        }
        match step {
            Step::Nothing | Step::Park => {
                if facts.object.is_none() && matches!(facts.far, Far::Absent) {
                    self.forget_pending(uid).await?;
                }
                Ok(Settled::Done)
            }
            Step::Agree => self.agree(uid, &facts, with).await,
            Step::Push(bytes) => Ok(self.push(uid, &facts, bytes, with)),
            Step::Pull(bytes) => self.pull(uid, &facts, bytes, with).await,
            Step::Both(bytes) => self.both(uid, &facts, bytes, with).await,
            Step::DeleteRemote => self.delete_remote(uid, &facts, with).await,
            Step::DeleteLocal => self.delete_local(uid, &facts, with).await,
            Step::Forget => {
                with.extend(self.ledger.delete(uid));
                self.remember(Vec::new(), with).await?;
                self.ledger.remove(uid);
                Ok(Settled::Done)
            }
        }
    }

    /// Both sides, as they are, are what is agreed on.
    async fn agree(&mut self, uid: &str, facts: &Facts, with: Vec<Op>) -> Result<Settled, Halt> {
        let (Some(name), Some(etag)) = (facts.name(), facts.etag()) else { return Ok(Settled::Done) };
        let base = match (&facts.far, &facts.base) {
            (Far::Seen(seen, ical), _) => (new_base(uid, name, etag, seen, ical), Some(seen.bytes.clone())),
            (_, Some(base)) => (
                Base {
                    name: name.clone(),
                    etag: etag.clone(),
                    missing: None,
                    conflict: None,
                    ..base.clone()
                },
                None,
            ),
            _ => return Ok(Settled::Done),
        };
        self.keep(base.0, base.1, with).await
    }

    /// Nothing changed but the far side's mark of its state, or that the object waits for nobody any more.
    async fn refresh(&mut self, uid: &str, facts: &Facts, with: Vec<Op>) -> Result<Settled, Halt> {
        let (Some(base), Far::Seen(seen, ical)) = (&facts.base, &facts.far) else { return Ok(Settled::Done) };
        let fresh = Base {
            version: seen.version.clone(),
            remote: seen.id.clone(),
            print: print::print(ical),
            missing: None,
            conflict: None,
            pending: false,
            ..base.clone()
        };
        if fresh == *base {
            return Ok(Settled::Done);
        }
        tracing::trace!(mapping = %self.mapping.id, uid, "the far side wrote the same again");
        self.keep(fresh, Some(seen.bytes.clone()), with).await
    }

    pub(super) async fn keep(
        &mut self,
        base: Base,
        bytes: Option<Bytes>,
        with: Vec<Op>,
    ) -> Result<Settled, Halt> {
        let mut ops = self.ledger.put(&base, bytes)?;
        ops.extend(with);
        self.remember(Vec::new(), ops).await?;
        self.ledger.insert(base);
        Ok(Settled::Done)
    }

    async fn pull(&mut self, uid: &str, facts: &Facts, bytes: Bytes, with: Vec<Op>) -> Result<Settled, Halt> {
        let Far::Seen(seen, ical) = &facts.far else { return Ok(Settled::Again) };
        let name = match facts.name() {
            Some(name) => name.clone(),
            None => self.free_name(uid, &seen.id).await?,
        };
        let base = new_base(uid, &name, &Etag::of(&bytes), seen, ical);
        self.store_here(uid, facts, name, bytes, base, seen.bytes.clone(), with).await
    }

    #[allow(
        clippy::too_many_arguments,
        reason = "one write: what, where, on which condition, remembered how"
    )]
    async fn store_here(
        &mut self,
        uid: &str,
        facts: &Facts,
        name: Name,
        bytes: Bytes,
        base: Base,
        agreed: Bytes,
        with: Vec<Op>,
    ) -> Result<Settled, Halt> {
        let mut ops = self.ledger.put(&base, Some(agreed))?;
        ops.extend(with);
        let expected = facts.etag().cloned();
        let when = When::holds(move |meta| {
            if meta.map(|m| &m.etag) == expected.as_ref() { Ok(()) } else { Err(Refusal::Stale) }
        });
        let put = Put { name: &name, bytes, content_type: None, when, with: ops };
        match self.session.put(&self.at, put).await {
            Ok(stored) => {
                let counts = &mut self.run.local;
                let count = if stored.created { &mut counts.inserted } else { &mut counts.updated };
                *count = count.saturating_add(1);
                self.ledger.insert(base);
                Ok(Settled::Done)
            }
            Err(error) => self.refused_here(uid, facts, error),
        }
    }

    /// Writes the merged text there, then here: if only the first happens, the next pass finds the far side ahead.
    async fn both(&mut self, uid: &str, facts: &Facts, bytes: Bytes, with: Vec<Op>) -> Result<Settled, Halt> {
        let (Some(name), Some(place)) = (facts.name().cloned(), facts.place()) else {
            return Ok(Settled::Again);
        };
        let slot = Slot::At(&place.0, place.1.as_ref());
        let answer = self.provider.put(&self.mapping.remote, slot, bytes.clone()).await;
        let written = match self.sent(uid, Some(&place), Some(&name), answer)? {
            Ok(written) => written,
            Err(settled) => return Ok(settled),
        };
        let base = Base {
            uid: uid.to_owned(),
            name: name.clone(),
            etag: Etag::of(&bytes),
            remote: written.id.clone(),
            version: None,
            print: String::new(),
            missing: None,
            conflict: None,
            pending: false,
        };
        let found = self.provider.read(&self.mapping.remote, &[written.id]).await?.pop();
        let (base, agreed) = read_back_base(base, written.version.as_ref(), &bytes, found);
        self.store_here(uid, facts, name, bytes, base, agreed, with).await
    }

    async fn delete_remote(&mut self, uid: &str, facts: &Facts, mut with: Vec<Op>) -> Result<Settled, Halt> {
        let Some((id, version)) = facts.place() else { return Ok(Settled::Done) };
        match self.provider.delete(&self.mapping.remote, &id, version.as_ref()).await {
            Ok(()) => {}
            Err(Trouble::Stale) => return Ok(Settled::Again),
            Err(Trouble::Missing(_)) => {}
            Err(Trouble::Refused(reason)) => {
                self.fail(uid, None, Some(id), reason, Retry::OnChange);
                return Ok(Settled::Done);
            }
            Err(trouble) => return Err(trouble.into()),
        }
        self.run.remote.deleted = self.run.remote.deleted.saturating_add(1);
        with.extend(self.ledger.delete(uid));
        self.remember(Vec::new(), with).await?;
        self.ledger.remove(uid);
        Ok(Settled::Done)
    }

    async fn delete_local(&mut self, uid: &str, facts: &Facts, mut with: Vec<Op>) -> Result<Settled, Halt> {
        let (Some(name), Some(etag)) = (facts.name(), facts.etag().cloned()) else {
            return Ok(Settled::Again);
        };
        with.extend(self.ledger.delete(uid));
        let when = When::holds(move |meta| match meta {
            Some(meta) if meta.etag == etag => Ok(()),
            _ => Err(Refusal::Stale),
        });
        match self.session.delete(&self.at, name, &when, with).await {
            Ok(_) => {
                self.run.local.deleted = self.run.local.deleted.saturating_add(1);
                self.ledger.remove(uid);
                Ok(Settled::Done)
            }
            Err(error) => self.refused_here(uid, facts, error),
        }
    }

    /// A write here was refused: a rival was faster, or our rules do not take the object.
    fn refused_here(&mut self, uid: &str, facts: &Facts, error: Error) -> Result<Settled, Halt> {
        match error {
            Error::Refused(Refusal::Stale | Refusal::Missing | Refusal::UidTaken(_)) => Ok(Settled::Again),
            Error::Refused(Refusal::NoParent) => Err(Halt::NoCollection),
            Error::Refused(Refusal::DiskFull) => Err(Fault::Full.into()),
            Error::Refused(refusal) => {
                let remote = facts.place().map(|(id, _)| id);
                self.fail(uid, facts.name().cloned(), remote, words(&refusal), Retry::OnChange);
                Ok(Settled::Done)
            }
            Error::Failed(fault) => Err(fault.into()),
        }
    }

    /// A name for an object that comes from the far side: its own, if it can be had.
    async fn free_name(&self, uid: &str, id: &RemoteId) -> Result<Name, Halt> {
        let spelled = spelling(id);
        let last = spelled.rsplit('/').next().unwrap_or_default();
        let theirs = Name::new(last).filter(|name| name.as_str().to_ascii_lowercase().ends_with(".ics"));
        if let Some(name) = theirs
            && self.at.meta(name.as_str()).await?.is_none()
        {
            return Ok(name);
        }
        let digest = print::digest([uid, "\n", &self.mapping.id].concat().as_bytes());
        Name::new(format!("{digest}.ics")).ok_or_else(|| Fault::Broken("a digest is no name".into()).into())
    }

    /// Commits records.
    pub(super) async fn remember(&self, expects: Vec<Expect>, ops: Vec<Op>) -> Result<(), Halt> {
        if ops.is_empty() {
            return Ok(());
        }
        let house = &self.session.house;
        let mut commit = Commit::new(self.session.origin.clone(), house.clock.now());
        commit.expects = expects;
        commit.ops = ops;
        match house.store.commit(commit).await {
            Ok(_) => Ok(()),
            Err(CommitError::Fault(fault)) => Err(fault.into()),
            Err(CommitError::Rejected(rejected)) => {
                Err(Fault::Broken(format!("a record was not as expected: {rejected:?}")).into())
            }
        }
    }
}

fn new_base(uid: &str, name: &Name, etag: &Etag, seen: &Seen, ical: &Ical) -> Base {
    Base {
        uid: uid.to_owned(),
        name: name.clone(),
        etag: etag.clone(),
        remote: seen.id.clone(),
        version: seen.version.clone(),
        print: print::print(ical),
        missing: None,
        conflict: None,
        pending: false,
    }
}

/// Why our rules do not take an object, in words.
fn words(refusal: &Refusal) -> String {
    match refusal {
        Refusal::NotCalendar(problem) => format!("It is not stored here: {}", problem.reason),
        Refusal::WrongComponent { sent, accepted } => {
            format!("This calendar holds {} only, not {sent}.", accepted.join(" and "))
        }
        Refusal::TooLarge(limit) => format!("It is larger than the {limit} bytes that are stored here."),
        Refusal::CollectionFull(limit) => format!("The calendar here is full ({limit} events)."),
        other => format!("It is not stored here: {other:?}"),
    }
}

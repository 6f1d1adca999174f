//! Brings one object to agreement: reads what the plan needs, carries its step out, writes the base record.
//!
//! Owns: the order of writes. A write here and its base record are one commit; a write there is remembered after it
//! was read back, and recognised by its UID and content if that never happened.

use bytes::Bytes;
use futures_util::StreamExt as _;

use super::ledger::spelling;
use super::plan::{Case, Clash, Decision, Side, Step, Version, Winner, plan};
use super::print;
use super::provider::{self, RemoteId, Seen, Slot, Trouble};
use super::record::{self, Base, Conflict, ConflictStatus, Policy, conflict_key};
use super::run::{Far, Halt, Pass, Retry, uid_of};
use crate::calendar::{Error, Put, Refusal, When};
use crate::ical::Ical;
use crate::store::{Commit, CommitError, Etag, Expect, Fault, Name, Object, Op};

/// How often one object is looked at anew when a rival was faster.
const ROUNDS: usize = 4;
/// How many writes are on their way to one far side at a time.
const PARALLEL: usize = 5;

/// A write on the far side whose result is yet to be read back.
#[derive(Debug)]
pub(super) struct Pushed {
    base: Base,
    /// What the far side vouched for in its answer.
    version: Option<provider::Version>,
    sent: Bytes,
    /// Further steps of the commit that remembers it.
    with: Vec<Op>,
}

/// A write on the far side that is yet to be sent.
#[derive(Debug)]
pub(super) struct Outgoing {
    uid: String,
    name: Name,
    etag: Etag,
    place: Option<(RemoteId, Option<provider::Version>)>,
    bytes: Bytes,
    with: Vec<Op>,
    /// How often the object was looked at before.
    round: usize,
}

/// How one look at an object ended.
enum Settled {
    Done,
    /// A rival was faster: look again.
    Again,
    /// The far side has it already, here.
    Found(RemoteId),
}

/// Both sides of one object, as they are now.
struct Facts {
    base: Option<Base>,
    agreed: Option<Ical>,
    object: Option<Object>,
    ours: Option<Ical>,
    far: Far,
}

impl Pushed {
    fn of(out: Outgoing, written: provider::Written) -> Pushed {
        let base = Base {
            uid: out.uid,
            name: out.name,
            etag: out.etag,
            remote: written.id,
            version: None,
            print: String::new(),
            missing: None,
            conflict: None,
            pending: false,
        };
        Pushed { base, version: written.version, sent: out.bytes, with: out.with }
    }
}

impl Facts {
    /// Returns where the object is on the far side, and in which state.
    fn place(&self) -> Option<(RemoteId, Option<provider::Version>)> {
        match &self.far {
            Far::Absent => None,
            Far::Seen(seen, _) => Some((seen.id.clone(), seen.version.clone())),
            Far::Same => self.base.as_ref().map(|b| (b.remote.clone(), b.version.clone())),
        }
    }

    fn etag(&self) -> Option<&Etag> {
        self.object.as_ref().map(|o| &o.meta.etag)
    }

    fn name(&self) -> Option<&Name> {
        self.object.as_ref().map(|o| &o.meta.name)
    }
}

impl Pass {
    /// Brings the object of that UID to agreement, or notes why it cannot be. Writes on the far side are collected
    /// until `flush`.
    pub(super) async fn settle(&mut self, uid: &str, far: Far) -> Result<(), Halt> {
        self.settle_from(uid, far, 0).await
    }

    async fn settle_from(&mut self, uid: &str, far: Far, round: usize) -> Result<(), Halt> {
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

    async fn look_again(&self, uid: &str) -> Result<Far, Halt> {
        match self.ledger.by_uid(uid).map(|b| b.remote.clone()) {
            Some(id) => self.look_there(&id).await,
            None => Ok(Far::Absent),
        }
    }

    /// Sends the writes that were collected, several at a time, reads back what the far side made of them, and
    /// remembers it.
    pub(super) async fn flush(&mut self) -> Result<(), Halt> {
        while !self.outgoing.is_empty() {
            let outgoing = std::mem::take(&mut self.outgoing);
            self.announce(&outgoing).await?;
            let provider = std::sync::Arc::clone(&self.provider);
            let calendar = self.mapping.remote.clone();
            let sending = outgoing.into_iter().map(|out| {
                let (provider, calendar) = (&provider, &calendar);
                async move {
                    let slot = match &out.place {
                        Some((id, version)) => Slot::At(id, version.as_ref()),
                        None => Slot::New { uid: &out.uid },
                    };
                    let answer = provider.put(calendar, slot, out.bytes.clone()).await;
                    (out, answer)
                }
            });
            let sent: Vec<_> = futures_util::stream::iter(sending).buffer_unordered(PARALLEL).collect().await;
            let mut again = Vec::new();
            let mut halt = None;
            for (out, answer) in sent {
                match self.sent(&out.uid, out.place.as_ref(), Some(&out.name), answer) {
                    Ok(Ok(written)) => self.unread.push(Pushed::of(out, written)),
                    Ok(Err(settled)) => {
                        // What was announced did not happen: whatever is there is not ours.
                        self.forget_pending(&out.uid).await?;
                        again.push((out, settled));
                    }
                    Err(trouble) => halt = halt.or(Some(trouble)),
                }
            }
            if let Some(halt) = halt {
                return Err(halt);
            }
            self.read_back().await?;
            for (out, settled) in again {
                let far = match settled {
                    Settled::Done => continue,
                    Settled::Found(id) => self.look_there(&id).await?,
                    Settled::Again => self.look_again(&out.uid).await?,
                };
                self.settle_from(&out.uid, far, out.round.saturating_add(1)).await?;
            }
        }
        Ok(())
    }

    async fn forget_pending(&mut self, uid: &str) -> Result<(), Halt> {
        if self.ledger.by_uid(uid).is_some_and(|b| b.pending) {
            self.remember(Vec::new(), self.ledger.delete(uid)).await?;
            self.ledger.remove(uid);
        }
        Ok(())
    }

    /// Remembers what is about to be made on the far side. If the answer never comes, the next pass knows what it
    /// finds there, even if somebody has changed it by then.
    async fn announce(&mut self, outgoing: &[Outgoing]) -> Result<(), Halt> {
        let mut ops = Vec::new();
        for out in outgoing.iter().filter(|out| out.place.is_none()) {
            let Some(remote) = self.provider.place(&self.mapping.remote, &out.uid) else { continue };
            let ical = Ical::parse(out.bytes.clone());
            let base = Base {
                uid: out.uid.clone(),
                name: out.name.clone(),
                etag: out.etag.clone(),
                remote,
                version: None,
                print: ical.map(|ical| print::print(&ical)).unwrap_or_default(),
                missing: None,
                conflict: None,
                pending: true,
            };
            ops.extend(self.ledger.put(&base, Some(out.bytes.clone()))?);
            self.ledger.insert(base);
        }
        self.remember(Vec::new(), ops).await
    }

    async fn look_there(&self, id: &RemoteId) -> Result<Far, Halt> {
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

    async fn keep(&mut self, base: Base, bytes: Option<Bytes>, with: Vec<Op>) -> Result<Settled, Halt> {
        let mut ops = self.ledger.put(&base, bytes)?;
        ops.extend(with);
        self.remember(Vec::new(), ops).await?;
        self.ledger.insert(base);
        Ok(Settled::Done)
    }

    fn push(&mut self, uid: &str, facts: &Facts, bytes: Bytes, with: Vec<Op>) -> Settled {
        let (Some(name), Some(etag)) = (facts.name().cloned(), facts.etag().cloned()) else {
            return Settled::Again;
        };
        let (uid, place, round) = (uid.to_owned(), facts.place(), self.round);
        self.outgoing.push(Outgoing { uid, name, etag, place, bytes, with, round });
        Settled::Done
    }

    /// Reads the far side's answer to a write. Inner error: how the look at the object ends instead.
    fn sent(
        &mut self,
        uid: &str,
        place: Option<&(RemoteId, Option<provider::Version>)>,
        name: Option<&Name>,
        answer: Result<provider::Written, Trouble>,
    ) -> Result<Result<provider::Written, Settled>, Halt> {
        let remote = place.map(|(id, _)| id.clone());
        match answer {
            Ok(written) => {
                let counts = &mut self.run.remote;
                let count = if place.is_some() { &mut counts.updated } else { &mut counts.inserted };
                *count = count.saturating_add(1);
                Ok(Ok(written))
            }
            Err(Trouble::Stale) => Ok(Err(Settled::Again)),
            Err(Trouble::Missing(_)) if place.is_some() => Ok(Err(Settled::Again)),
            Err(Trouble::Taken(Some(id))) if self.is_in_calendar(&id) => Ok(Err(Settled::Found(id))),
            Err(Trouble::Taken(_)) => {
                let reason =
                    "The far side already has an event with this UID in another calendar.".to_owned();
                self.fail(uid, name.cloned(), remote, reason, Retry::OnChange);
                Ok(Err(Settled::Done))
            }
            Err(Trouble::Refused(reason)) => {
                self.fail(uid, name.cloned(), remote, reason, Retry::OnChange);
                Ok(Err(Settled::Done))
            }
            Err(trouble) => Err(trouble.into()),
        }
    }

    /// A twin in another calendar of the account is not ours to adopt.
    fn is_in_calendar(&self, id: &RemoteId) -> bool {
        let Ok(calendar) = url::Url::parse(&self.mapping.remote.0) else { return true };
        let folder = spelling(&RemoteId(calendar.path().trim_end_matches('/').to_owned()));
        spelling(id).rsplit_once('/').is_some_and(|(parent, _)| parent == folder)
    }

    /// Reads back what was written on the far side, and remembers what it made of it.
    async fn read_back(&mut self) -> Result<(), Halt> {
        let batch = self.provider.abilities().batch.max(1);
        while !self.unread.is_empty() {
            let rest = self.unread.split_off(self.unread.len().min(batch));
            let pushed = std::mem::replace(&mut self.unread, rest);
            let ids: Vec<RemoteId> = pushed.iter().map(|p| p.base.remote.clone()).collect();
            let mut seen = self.provider.read(&self.mapping.remote, &ids).await?;
            let mut ops = Vec::new();
            for push in pushed {
                let at = seen.iter().position(|s| s.id == push.base.remote);
                let found = at.map(|at| seen.swap_remove(at));
                let (base, bytes) = read_back_base(push.base, push.version.as_ref(), &push.sent, found);
                ops.extend(self.ledger.put(&base, Some(bytes))?);
                ops.extend(push.with);
                self.ledger.insert(base);
            }
            self.remember(Vec::new(), ops).await?;
        }
        Ok(())
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
        if let Some(name) = theirs {
            if self.at.meta(name.as_str()).await?.is_none() {
                return Ok(name);
            }
        }
        let digest = print::digest([uid, "\n", &self.mapping.id].concat().as_bytes());
        Name::new(format!("{digest}.ics")).ok_or_else(|| Fault::Broken("a digest is no name".into()).into())
    }

    /// Leaves both sides as they are until a person decides.
    async fn park(&mut self, uid: &str, facts: &Facts, conflict: Conflict) -> Result<Settled, Halt> {
        let (Some(name), Some(etag), Some((remote, _))) = (facts.name(), facts.etag(), facts.place()) else {
            return Ok(Settled::Done);
        };
        let id = Some(conflict.id.clone());
        let base = match &facts.base {
            Some(base) => Base { conflict: id, missing: None, pending: false, ..base.clone() },
            None => Base {
                uid: uid.to_owned(),
                name: name.clone(),
                etag: etag.clone(),
                remote,
                version: None,
                print: String::new(),
                missing: None,
                conflict: id,
                pending: false,
            },
        };
        let with = self.conflict_ops(&conflict)?;
        self.keep(base, None, with).await
    }

    async fn conflict(&self, id: &str) -> Result<Option<Conflict>, Halt> {
        match conflict_key(id) {
            Some(key) => Ok(record::load(&*self.session.house.store, &key).await?),
            None => Ok(None),
        }
    }

    fn conflict_ops(&self, conflict: &Conflict) -> Result<Vec<Op>, Halt> {
        match conflict_key(&conflict.id) {
            Some(key) => Ok(vec![record::put(key, conflict)?]),
            None => Ok(Vec::new()),
        }
    }

    fn conflict_of(&self, uid: &str, facts: &Facts, clash: &Clash) -> Result<Conflict, Halt> {
        let random = getrandom::u32().map_err(|e| Fault::Broken(format!("no random numbers: {e}")))?;
        let text = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
        let external = match &facts.far {
            Far::Seen(seen, _) => Some(text(&seen.bytes)),
            Far::Absent | Far::Same => None,
        };
        Ok(Conflict {
            id: record::falling_id(&self.mapping.id, self.now, random),
            mapping: self.mapping.id.clone(),
            uid: uid.to_owned(),
            detected: self.now,
            kind: if facts.agreed.is_some() { "both_changed" } else { "both_new" }.to_owned(),
            clashes: clash.what.clone(),
            base: facts.agreed.as_ref().map(|ical| text(ical.bytes())),
            local: facts.object.as_ref().map(|o| text(&o.bytes)),
            external,
            status: match clash.winner {
                Winner::Open => ConflictStatus::Pending,
                Winner::Local => ConflictStatus::ResolvedLocal,
                Winner::External => ConflictStatus::ResolvedExternal,
            },
            resolved: (clash.winner != Winner::Open).then_some(self.now),
        })
    }

    /// Looks at an object that waits for a person's decision.
    fn reconsider(&self, mut conflict: Conflict, case: &mut Case<'_>) -> Result<Reconsidered, Halt> {
        match conflict.status {
            ConflictStatus::Ignored => return Ok(Reconsidered::Accepted),
            ConflictStatus::ResolvedLocal => case.policy = Policy::Local,
            ConflictStatus::ResolvedExternal => case.policy = Policy::External,
            ConflictStatus::Merged => case.policy = Policy::Newest,
            ConflictStatus::Pending => {
                let one = match (case.local, case.remote) {
                    (Side::Changed(local), Side::Changed(remote)) => {
                        print::print(local.ical) == print::print(remote.ical)
                    }
                    // Somebody undid or removed one side: nothing is left to decide.
                    _ => true,
                };
                if !one {
                    return Ok(Reconsidered::Parked);
                }
                conflict.status = ConflictStatus::Merged;
                conflict.resolved = Some(self.now);
            }
        }
        Ok(Reconsidered::Decided(conflict))
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

/// What became of an object that waited for a decision.
enum Reconsidered {
    /// It waits on.
    Parked,
    /// Go on; the record to store along.
    Decided(Conflict),
    /// Both sides stay as they are, and that is agreed.
    Accepted,
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

/// Completes the base of a write with what was read back. If the far side vouched for one state and another is read,
/// somebody was there in between: then what we sent is the base, and the next pass sees their change.
fn read_back_base(
    base: Base,
    vouched: Option<&provider::Version>,
    sent: &Bytes,
    found: Option<Seen>,
) -> (Base, Bytes) {
    let plain = |v: &provider::Version| v.0.trim_start_matches("W/").trim_matches('"').to_owned();
    let print_of =
        |bytes: &Bytes| Ical::parse(bytes.clone()).map(|ical| print::print(&ical)).unwrap_or_default();
    let sent_print = print_of(sent);
    if let Some(seen) = found.filter(|seen| !seen.bytes.is_empty()) {
        let print = print_of(&seen.bytes);
        let undisturbed = vouched.is_none_or(|v| seen.version.as_ref().map(plain) == Some(plain(v)));
        if !print.is_empty() && (undisturbed || print == sent_print) {
            return (Base { version: seen.version, print, ..base }, seen.bytes);
        }
    }
    (Base { version: None, print: sent_print, ..base }, sent.clone())
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

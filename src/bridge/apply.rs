//! Brings one object to agreement: reads what the plan needs, carries its step out, writes the base record.
//!
//! Owns: the order of writes. A write here and its base record are one commit; a write there is remembered after it
//! was read back, and recognised by its UID and content if that never happened.

use std::sync::Arc;

use bytes::Bytes;

use super::begun::half_done;
use super::conflict::Reconsidered;
use super::ledger::spelling;
use super::plan::{Case, Clash, Decided, Decision, Side, Step, Version, Winner, plan};
use super::print;
use super::provider::{self, RemoteId, Seen, Slot, Trouble, Write};
use super::record::{Base, Done, Fields, Where};
use super::run::{Far, Halt, Pass, Retry};
use super::scope::{Fitted, Held, Outside, ours, shaped, theirs};
use super::why::words;
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
    /// Nobody knows whether the far side did what it was asked; it was noted as a failure.
    Lost,
}

/// Both sides of one object, as they are now.
pub(super) struct Facts {
    pub(super) base: Option<Base>,
    /// Its UID on the far side, where that differs from ours.
    pub(super) uid_there: Option<String>,
    /// The far side's whole text when both last agreed.
    pub(super) agreed: Option<Arc<Ical>>,
    /// What the mapping carried of it.
    pub(super) before: Option<Arc<Ical>>,
    pub(super) object: Option<Object>,
    /// Our whole text.
    pub(super) ours: Option<Arc<Ical>>,
    /// What the far side is to hold of it.
    pub(super) fitted: Option<Fitted>,
    pub(super) far: Far,
    /// What the mapping carries of the far side's text.
    pub(super) theirs: Option<Arc<Ical>>,
    /// Other fields were carried when both last agreed.
    pub(super) reshaped: bool,
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

    /// Tells whether the far side can hold ours as one object.
    pub(super) fn is_held(&self) -> bool {
        self.fitted.as_ref().is_none_or(|fitted| fitted.held == Held::Whole)
    }

    pub(super) fn name(&self) -> Option<&Name> {
        self.object.as_ref().map(|o| &o.meta.name)
    }
}

impl Pass {
    /// Brings the object of that UID to agreement, or notes why it cannot be. Writes there are collected until `flush`.
    pub(super) async fn settle(&mut self, uid: &str, far: Far) -> Result<(), Halt> {
        self.settle_from(uid, far, 0).await
    }

    pub(super) async fn settle_from(&mut self, uid: &str, far: Far, round: usize) -> Result<(), Halt> {
        self.looked.insert(uid);
        let mut far = far;
        let mut place = None;
        for round in round..ROUNDS {
            self.round = round;
            if let Far::Seen(seen, _) = &far {
                place = Some(seen.id.clone());
            }
            let settled = match self.settle_once(uid, far).await {
                Ok(Settled::Done | Settled::Lost) => return Ok(()),
                Ok(Settled::Again) => match &place {
                    Some(id) if self.ledger.by_uid(uid).await?.is_none() => self.look_there(id).await,
                    _ => self.look_again(uid).await,
                },
                Ok(Settled::Found(id)) => self.look_there(&id).await,
                Err(halt) => Err(halt),
            };
            far = match settled {
                Ok(far) => far,
                // One object that cannot be read does not keep the others from being carried.
                Err(Halt::Far(trouble @ (Trouble::Unreachable(_) | Trouble::Refused(_)))) => {
                    let why = self.unanswered(&trouble);
                    let name = self.at.by_uid(uid).await?;
                    self.fail(uid, name, place, why, Retry::Soon);
                    return self.still_there().await;
                }
                Err(halt) => return Err(halt),
            };
        }
        let name = self.at.by_uid(uid).await?;
        let why = "It keeps changing on both sides; it is tried again.".to_owned();
        self.fail(uid, name, place, why, Retry::Soon);
        Ok(())
    }

    pub(super) async fn look_again(&self, uid: &str) -> Result<Far, Halt> {
        match self.ledger.by_uid(uid).await?.as_ref().map(Base::place) {
            Some(Some(place)) => self.look_there(place).await,
            Some(None) => Ok(Far::Same),
            None => Ok(Far::Absent),
        }
    }

    pub(super) async fn look_there(&self, id: &RemoteId) -> Result<Far, Halt> {
        let mut found = self.provider.read(&self.mapping.remote, std::slice::from_ref(id)).await?;
        let Some(seen) = found.pop() else { return Ok(Far::Absent) };
        match self.named(seen).await? {
            Ok((_, seen, ical)) => Ok(Far::Seen(seen, ical)),
            Err((_, reason)) => Err(Trouble::Unreachable(reason).into()),
        }
    }

    async fn settle_once(&mut self, uid: &str, far: Far) -> Result<Settled, Halt> {
        if let Far::Seen(seen, _) = &far
            && self.adopt_part(uid, seen).await?
        {
            return Ok(Settled::Done);
        }
        let place = match &far {
            Far::Seen(seen, _) => Some(seen.id.clone()),
            Far::Same | Far::Absent => None,
        };
        let facts = match self.gather(uid, far).await? {
            Ok(facts) => facts,
            Err(reason) => {
                let name = self.at.by_uid(uid).await?;
                self.fail(uid, name, place, reason, Retry::OnChange);
                return Ok(Settled::Done);
            }
        };
        if facts.base.as_ref().is_some_and(|b| b.part.is_some()) {
            // Parts follow their series.
            return Ok(Settled::Done);
        }
        if let Some(settled) = self.come_back(uid, &facts).await? {
            return Ok(settled);
        }
        if facts.base.as_ref().is_some_and(|b| b.split.is_some()) {
            return self.settle_series(uid, Vec::new()).await;
        }
        if let Some(apart) = facts.base.as_ref().and_then(|b| b.apart) {
            return self.stay_apart(uid, &facts, apart).await;
        }
        if self.leave_shadow(uid, &facts).await? {
            return Ok(Settled::Done);
        }
        if facts.base.is_none()
            && let Some(outside) = self.outside(&facts)
        {
            if let (Far::Seen(seen, ical), None) = (&facts.far, &facts.object) {
                self.leave(seen, ical, outside == Outside::Window).await?;
            }
            self.run.skip(uid, outside.why());
            return Ok(Settled::Done);
        }
        if let Some(settled) = self.sieve(uid, &facts).await? {
            return Ok(settled);
        }
        if self.says_too_much(&facts) {
            return self.hush(uid, &facts).await;
        }
        let (local, remote) = (ours(&facts), theirs(&facts));
        let open = match facts.base.as_ref().and_then(|b| b.conflict.clone()) {
            Some(id) => self.conflict(&id).await?,
            None => None,
        };
        let mut person = None;
        let mut case = Case {
            local,
            remote,
            base: facts.before.as_deref(),
            ours: facts.ours.as_deref(),
            shown: facts.fitted.as_ref().map(|fitted| &*fitted.ical),
            direction: self.mapping.direction,
            will: self.will(facts.base.as_ref()),
            decided: None,
        };
        let mut with = Vec::new();
        if let Some(conflict) = open {
            match self.reconsider(conflict, &case)? {
                Reconsidered::Parked => return self.stay_parked(&facts).await,
                Reconsidered::Decided(conflict, decided) => {
                    with.extend(self.conflict_ops(&conflict)?);
                    person = decided;
                }
                Reconsidered::Accepted => return self.agree(uid, &facts, with).await,
            }
        }
        case.decided = person.as_ref();
        // Of an object that kept changing one side may be as agreed: a person's word for it counts all the same.
        match (&person, case.local, case.remote) {
            (Some(Decided::External), Side::Changed(_), Side::Same) => {
                let before = facts.before.as_deref();
                case.remote = before.map_or(Side::Same, |ical| Side::Changed(Version { ical, stored: None }));
            }
            (Some(Decided::Local), Side::Same, Side::Changed(_)) => {
                let shown = case.shown;
                case.local = shown.map_or(Side::Same, |ical| Side::Changed(Version { ical, stored: None }));
            }
            _ => {}
        }
        let Decision { step, clash } = plan(&case);
        if let (Step::Nothing, Some(apart)) = (&step, self.left_one_way(&facts)) {
            return self.part(&facts, apart, with).await;
        }
        if self.is_held_back(&facts, &step) {
            return self.forget(uid, with).await;
        }
        if matches!(step, Step::Nothing) && self.is_news(&facts, &case) {
            return self.refresh(uid, &facts, with).await;
        }
        self.carry(uid, facts, step, clash, with).await
    }

    /// Tells whether something is to be remembered although nothing is to be carried: another mark, or wording.
    fn is_news(&self, facts: &Facts, case: &Case<'_>) -> bool {
        // Of what is half done nothing is remembered before it is done.
        let Some(base) = facts.base.as_ref().filter(|base| base.begun.is_none()) else { return false };
        // While it is missing there, an edit of what the far side cannot hold is still to be told from none: it keeps
        // the object from being removed.
        let edited = base.missing.is_none() && facts.etag().is_some_and(|etag| *etag != base.etag);
        let here = matches!(case.local, Side::Same) && edited;
        let there = matches!(case.remote, Side::Same) && matches!(facts.far, Far::Seen(..));
        here || there || base.conflict.is_some() || facts.reshaped
    }

    /// Reads what the decision needs. Inner error: the object cannot be dealt with, in words.
    pub(super) async fn gather(&self, uid: &str, far: Far) -> Result<Result<Facts, String>, Halt> {
        let base = self.ledger.by_uid(uid).await?;
        let uid_there = base.as_ref().map_or_else(|| self.seen_veiled(uid), |base| base.uid_there.clone());
        let object = self.object_here(uid, base.as_ref()).await?;
        let unknown = base.as_ref().filter(|b| b.split.is_none()).is_some_and(|b| {
            b.version.is_none()
                || b.begun.is_some()
                || b.conflict.is_some()
                || (b.apart.is_some() && object.is_some())
        });
        let far = match (far, &base) {
            (Far::Same, Some(base)) if base.is_unplaced() => Far::Absent,
            // Without a version, or with a decision open, the content itself has to be looked at.
            (Far::Same, Some(base)) if unknown => self.look_there(&base.remote).await?,
            (far, _) => far,
        };
        // What was only announced was agreed on if it is found there, else it never happened.
        let base = base.filter(|b| !(b.pending && matches!(far, Far::Absent)));
        // What both sides have again is linked again, as if they met for the first time.
        let base = base.filter(|b| b.apart.is_none() || object.is_none() || !matches!(far, Far::Seen(..)));
        let agreed = match base.as_ref().filter(|b| !b.print.is_empty()) {
            Some(_) => match self.ledger.bytes(uid).await? {
                Some(bytes) => Ical::parse(bytes).ok().map(Arc::new),
                None => None,
            },
            None => None,
        };
        let ours = match &object {
            Some(object) => match Ical::parse(object.bytes.clone()) {
                Ok(ical) => Some(Arc::new(ical)),
                Err(problem) => return Ok(Err(format!("The event here cannot be read: {}", problem.reason))),
            },
            None => None,
        };
        let carried = base.as_ref().and_then(|b| b.fields).unwrap_or(Fields::Full);
        let far = match (far, &base, &agreed) {
            // Other fields are carried now: what was agreed is looked at anew.
            (Far::Same, Some(base), Some(agreed)) if carried != self.mapping.fields => {
                let seen = Seen {
                    id: base.remote.clone(),
                    version: base.version.clone(),
                    bytes: agreed.bytes().clone(),
                    modified: None,
                };
                Far::Seen(seen, Arc::clone(agreed))
            }
            (far, ..) => far,
        };
        let before = agreed.as_ref().map(|whole| shaped(carried, whole));
        let far = self.look_twice(far, base.as_ref(), before.as_deref()).await?;
        let fitted = ours.as_ref().map(|ours| self.fitted(ours));
        let theirs = match &far {
            Far::Seen(_, whole) => Some(self.shaped(whole)),
            Far::Absent | Far::Same => None,
        };
        // Of what was only announced nobody knows whether it is that which is there, or what became of it.
        let both = base.as_ref().zip(theirs.as_ref());
        let unsure = both.is_some_and(|(base, theirs)| base.is_new() && base.print != print::print(theirs));
        let (agreed, before) = if unsure { (None, None) } else { (agreed, before) };
        let reshaped = base.is_some() && carried != self.mapping.fields;
        let (base, agreed, before) = half_done((base, agreed, before), &far, carried);
        Ok(Ok(Facts { base, uid_there, agreed, before, object, ours, fitted, far, theirs, reshaped }))
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
        let storm = matches!(step, Step::Push(_) | Step::Both(_)).then(|| self.storm(&facts)).flatten();
        if let Some(clash) = storm.or(clash) {
            self.run.conflicts = self.run.conflicts.saturating_add(1);
            let conflict = self.conflict_of(uid, &facts, &clash)?;
            if clash.winner == Winner::Open {
                return self.park(uid, &facts, conflict).await;
            }
            with.extend(self.conflict_ops(&conflict)?);
        }
        match step {
            Step::Nothing | Step::Park => {
                if let (None, None, Far::Seen(seen, ical)) = (&facts.base, &facts.object, &facts.far) {
                    self.leave(seen, ical, false).await?;
                }
                Ok(Settled::Done)
            }
            Step::Agree => self.agree(uid, &facts, with).await,
            // What they changed meanwhile is taken in first; then the parts are made of it: ours counts as changed still.
            Step::Both(bytes) if !facts.is_held() && matches!(facts.far, Far::Seen(..)) => {
                self.once_more.insert(uid.to_owned());
                let whole = Pass::whole_here(&facts, bytes);
                self.pull_as(uid, &facts, whole, Etag(String::new()), with).await
            }
            Step::Push(_) | Step::Both(_) if !facts.is_held() => match facts.fitted {
                Some(Fitted { held: Held::Parts(_, ref why), .. }) => {
                    let why = why.clone();
                    self.settle_parts(uid, &facts, why).await
                }
                Some(Fitted { held: Held::Refused(ref why), .. }) => {
                    let remote = facts.place().map(|(id, _)| id);
                    self.fail(uid, facts.name().cloned(), remote, why.clone(), Retry::OnChange);
                    Ok(Settled::Done)
                }
                _ => Ok(Settled::Done),
            },
            Step::Push(bytes) => Ok(self.push(uid, &facts, bytes, with)),
            Step::Pull(bytes) => self.pull(uid, &facts, bytes, with).await,
            Step::Both(bytes) => self.both(uid, &facts, bytes, with).await,
            Step::DeleteRemote => self.removed_here(uid, &facts, with).await,
            Step::DeleteLocal => self.removed_there(uid, &facts, with).await,
            // What was written there a moment before the end of a pass may yet be found.
            Step::Forget if self.is_awaited(uid).await? => Ok(Settled::Done),
            Step::Forget => self.forget(uid, with).await,
        }
    }

    /// Both sides, as they are, are what is agreed on.
    pub(super) async fn agree(&mut self, uid: &str, facts: &Facts, with: Vec<Op>) -> Result<Settled, Halt> {
        let (Some(name), Some(etag), Some(place)) = (facts.name(), facts.etag(), facts.place()) else {
            return Ok(Settled::Done);
        };
        let sent = facts.fitted.as_ref().map(Fitted::print).unwrap_or_default();
        let base = Base { sent, ..self.next_base(facts, uid, name, etag, &place.0) };
        let (base, bytes) = match (&facts.far, &facts.base) {
            (Far::Seen(seen, ical), _) => (self.agreed_base(base, seen, ical), Some(seen.bytes.clone())),
            (_, Some(known)) => {
                let Base { version, print, span, .. } = known.clone();
                (Base { version, print, span, ..base }, None)
            }
            _ => return Ok(Settled::Done),
        };
        self.keep(base, bytes, with).await
    }

    /// Nothing is to be carried, but a mark of a state is another one, or the object waits for nobody any more.
    async fn refresh(&mut self, uid: &str, facts: &Facts, with: Vec<Op>) -> Result<Settled, Halt> {
        let Some(base) = &facts.base else { return Ok(Settled::Done) };
        let mut fresh =
            Base { missing: None, conflict: None, pending: false, agreed: self.now, ..base.clone() };
        if let (Some(etag), Some(name), Some(fitted)) = (facts.etag(), facts.name(), &facts.fitted)
            && (fitted.print() == base.sent || *etag == base.etag)
        {
            (fresh.etag, fresh.name, fresh.sent) = (etag.clone(), name.clone(), fitted.print());
        }
        let mut bytes = None;
        if let Far::Seen(seen, ical) = &facts.far {
            let agreed = facts.theirs.as_ref().map(|theirs| print::print(theirs));
            if agreed.as_deref() == Some(base.print.as_str()) || facts.reshaped {
                fresh = self.agreed_base(fresh, seen, ical);
                fresh.remote = seen.id.clone();
                bytes = Some(seen.bytes.clone());
            }
        }
        if (Base { agreed: base.agreed, ..fresh.clone() }) == *base {
            return Ok(Settled::Done);
        }
        tracing::trace!(mapping = %self.mapping.id, uid, "the same was written again");
        self.keep(fresh, bytes, with).await
    }

    pub(super) async fn keep(
        &mut self,
        base: Base,
        bytes: Option<Bytes>,
        with: Vec<Op>,
    ) -> Result<Settled, Halt> {
        let mut ops = self.ledger.put(&base, bytes).await?;
        ops.extend(with);
        self.remember(Vec::new(), ops).await?;
        Ok(Settled::Done)
    }

    pub(super) async fn pull(
        &mut self,
        uid: &str,
        facts: &Facts,
        bytes: Bytes,
        with: Vec<Op>,
    ) -> Result<Settled, Halt> {
        let etag = Etag::of(&bytes);
        self.pull_as(uid, facts, bytes, etag, with).await
    }

    /// Stores a text here, and remembers that state of ours as the agreed one.
    async fn pull_as(
        &mut self,
        uid: &str,
        facts: &Facts,
        bytes: Bytes,
        agreed: Etag,
        with: Vec<Op>,
    ) -> Result<Settled, Halt> {
        let Far::Seen(seen, ical) = &facts.far else { return Ok(Settled::Again) };
        let name = match facts.name() {
            Some(name) => name.clone(),
            None => self.free_name(uid, &seen.id).await?,
        };
        let base = self.next_base(facts, uid, &name, &agreed, &seen.id);
        let from_there = base.from_there || (facts.base.is_none() && facts.object.is_none());
        let base = Base { from_there, sent: self.sent_print(&bytes), ..base };
        let base = self.agreed_base(base, seen, ical);
        if facts.object.as_ref().is_some_and(|object| object.bytes == bytes) {
            return self.keep(base, Some(seen.bytes.clone()), with).await;
        }
        self.store_here(uid, facts, name, bytes, base, seen.bytes.clone(), with).await
    }

    #[allow(
        clippy::too_many_arguments,
        reason = "one write: what, where, on which condition, remembered how"
    )]
    pub(super) async fn store_here(
        &mut self,
        uid: &str,
        facts: &Facts,
        name: Name,
        bytes: Bytes,
        base: Base,
        agreed: Bytes,
        with: Vec<Op>,
    ) -> Result<Settled, Halt> {
        let mut ops = self.ledger.put(&base, Some(agreed)).await?;
        ops.extend(with);
        let expected = facts.etag().cloned();
        let when = When::holds(move |meta| {
            if meta.map(|m| &m.etag) == expected.as_ref() { Ok(()) } else { Err(Refusal::Stale) }
        });
        let put = Put { name: &name, bytes, content_type: None, when, with: ops };
        match self.session.put(&self.at, put).await {
            Ok(stored) => {
                let done = if stored.created { Done::Inserted } else { Done::Updated };
                self.run.count(Where::Local, done, uid);
                self.came_in(&facts.far);
                Ok(Settled::Done)
            }
            Err(error) => self.refused_here(uid, facts, error),
        }
    }

    /// Writes the merged text there, then here: if only the first happens, the next pass finds the far side ahead.
    async fn both(
        &mut self,
        uid: &str,
        facts: &Facts,
        target: Bytes,
        with: Vec<Op>,
    ) -> Result<Settled, Halt> {
        let (Some(name), Some(place)) = (facts.name().cloned(), facts.place()) else {
            return Ok(Settled::Again);
        };
        let here = Self::whole_here(facts, target.clone());
        let there = self.whole_there(facts, target);
        let base = match &facts.far {
            Far::Seen(seen, _) => Some(seen.bytes.clone()),
            Far::Absent | Far::Same => facts.agreed.as_ref().map(|ical| ical.bytes().clone()),
        };
        let write = Write {
            slot: Slot::At(place.0.clone(), place.1.clone()),
            bytes: Pass::addressed(facts.uid_there.as_deref(), there.clone()),
            base: base.map(|base| Pass::addressed(facts.uid_there.as_deref(), base)),
        };
        let begun = self.begin_now(facts, &write).await?;
        let answer = self.provider.put(&self.mapping.remote, &write).await;
        let written = match self.sent(uid, Some(&place), Some(&name), answer)? {
            Ok(written) => written,
            Err(settled) => {
                self.still_there().await?;
                return self.unbegin(settled, begun.as_ref()).await;
            }
        };
        let base = self.next_base(facts, uid, &name, &Etag::of(&here), &written.id);
        let sent = self.sent_print(&here);
        let base = Base { writes: self.writes(facts, &sent), sent, ..base };
        let found = match written.seen {
            Some(seen) => Some(seen),
            None => self.provider.read(&self.mapping.remote, &[written.id]).await?.pop(),
        };
        let (base, agreed) = self.read_back_base(base, written.version.as_ref(), &there, found);
        self.store_here(uid, facts, name, here, base, agreed, with).await
    }

    /// A write here was refused: a rival was faster, or our rules do not take the object.
    pub(super) fn refused_here(&mut self, uid: &str, facts: &Facts, error: Error) -> Result<Settled, Halt> {
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

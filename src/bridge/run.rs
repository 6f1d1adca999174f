//! One mapping, one pass: observe → plan → apply → remember.
//!
//! Owns: what is looked at, which deletions are believed, how a pass ends.
//! Does not own: decisions about one object (`plan`), carrying them out (`apply`), when the next pass comes (`pace`).
//!
//! A pass may be cut off anywhere and started again: cursors move only at its end, every object remembers for itself
//! what was agreed, and what was written but not remembered is recognised by its UID and content.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Duration;

use super::ledger::{Ledger, spelling};
use super::pace::{Outcome, later};
use super::provider::{Cursor, Delta, Provider, RemoteId, Seen, Trouble};
use super::record::{Base, Counts, Failed, Failure, Hold, Mapping, MappingState, Run, RunStatus};
use crate::calendar::{Error, Session, Writable};
use crate::follow::{Touched, touched};
use crate::ical::Ical;
use crate::store::{Fault, Name, Origin, Rev, Timestamp};

/// An object missing from a complete listing is believed gone when another one, this much later, misses it too.
pub(super) const CONFIRM_AFTER: Duration = Duration::from_secs(60);
/// Everything is compared anew once in this time, whatever the cursors say.
const FULL_EVERY: Duration = Duration::from_secs(24 * 3600);
/// Members a page.
const PAGE: usize = 1000;

/// When deletions in bulk wait for a person's word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MassDelete {
    /// More than this many.
    pub objects: usize,
    /// And more than this share of a mapping, in percent.
    pub percent: usize,
}

impl Default for MassDelete {
    fn default() -> MassDelete {
        MassDelete { objects: 20, percent: 30 }
    }
}

/// Why a pass could not go on.
#[derive(Debug)]
pub(super) enum Halt {
    /// The far side.
    Far(Trouble),
    /// Our store.
    Store(Fault),
    /// The collection here is gone.
    NoCollection,
    /// Deletions wait for a person's word.
    Held(Hold),
}

impl From<Trouble> for Halt {
    fn from(trouble: Trouble) -> Halt {
        Halt::Far(trouble)
    }
}

impl From<Fault> for Halt {
    fn from(fault: Fault) -> Halt {
        Halt::Store(fault)
    }
}

impl From<Error> for Halt {
    fn from(error: Error) -> Halt {
        match error {
            Error::Failed(fault) => Halt::Store(fault),
            Error::Refused(crate::calendar::Refusal::DiskFull) => Halt::Store(Fault::Full),
            Error::Refused(refusal) => Halt::Store(Fault::Broken(format!("a read was refused: {refusal:?}"))),
        }
    }
}

/// What a pass works with.
pub(super) struct Pass {
    pub(super) session: Session,
    pub(super) at: Writable,
    pub(super) mapping: Arc<Mapping>,
    pub(super) provider: Arc<dyn Provider>,
    pub(super) state: MappingState,
    pub(super) ledger: Ledger,
    pub(super) run: Run,
    pub(super) now: Timestamp,
    /// A person confirmed the deletions that wait.
    pub(super) confirmed: bool,
    pub(super) mass_delete: MassDelete,
    /// Objects that failed in this pass.
    pub(super) failed: Vec<Failure>,
    /// Writes on the far side that are yet to be sent.
    pub(super) outgoing: Vec<super::send::Outgoing>,
    /// How often the object at hand was looked at before.
    pub(super) round: usize,
    /// Writes whose result is yet to be read back.
    pub(super) unread: Vec<super::send::Pushed>,
}

/// What the two sides say before any content is read.
#[derive(Debug, Default)]
struct Observed {
    /// Far side's objects whose content is needed.
    read: Vec<RemoteId>,
    /// UIDs whose far side's object is gone.
    far_gone: BTreeSet<String>,
    /// UIDs whose object here was written or removed.
    here: BTreeMap<String, Here>,
    /// UIDs that are missing from a complete listing for the first time.
    missing: Vec<String>,
    /// How many objects a complete listing did not name, without having told that they were removed.
    absent: usize,
    /// UIDs that had been missing and are back.
    back: Vec<String>,
    /// Where our log stood.
    rev: Rev,
    /// Where the far side's changes stand.
    cursor: Option<Cursor>,
    /// True if every object of the far side was named.
    complete: bool,
}

/// What happened to an object here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Here {
    Written,
    Removed,
}

impl Pass {
    /// Carries the pass out. Returns how the pace goes on.
    pub(super) async fn carry_out(&mut self) -> Result<Outcome, Halt> {
        let full = self.is_full_due();
        let (names, rev) = self.touched_here(full).await?;
        let delta = self.changes_there(full).await?;
        let quiet = names.is_empty() && delta.seen.is_empty() && delta.gone.is_empty() && !delta.complete;
        let again = self.state.again.iter().any(|f| f.retry || full);
        if quiet && !again {
            self.state.rev = Some(rev);
            self.state.cursor = delta.next;
            self.state.was_full = false;
            return Ok(Outcome::Well);
        }
        self.ledger = Ledger::load(&*self.session.house.store, &self.mapping.id).await?;
        let observed = self.observe(names, rev, delta, full).await?;
        self.guard(&observed)?;
        self.settle_all(observed, full).await
    }

    /// Tells whether everything is compared: at first, once a day, and while a missing object awaits its confirmation.
    fn is_full_due(&self) -> bool {
        let state = &self.state;
        let due = state.full_at.is_none_or(|at| later(at, FULL_EVERY) <= self.now);
        !state.settled || due || state.missing || self.confirmed
    }

    /// Reads which names were touched here since the last pass; the log's position before the reading.
    async fn touched_here(&self, full: bool) -> Result<(BTreeSet<Name>, Rev), Halt> {
        let head = self.at.head().await?.rev;
        let since = match self.state.rev {
            Some(rev) if !full => rev,
            _ => return Ok((self.every_name().await?, head)),
        };
        let ours = Origin::Mapping(self.mapping.id.clone());
        match touched(&*self.session.house.store, self.at.id(), since, head, &ours).await? {
            Touched::Names(names) => Ok((names, head)),
            Touched::Anything => Ok((self.every_name().await?, head)),
        }
    }

    async fn every_name(&self) -> Result<BTreeSet<Name>, Halt> {
        let mut names = BTreeSet::new();
        let mut after: Option<Name> = None;
        loop {
            let page = self.at.list(after.as_ref().map(Name::as_str), PAGE).await?;
            let Some(last) = page.last() else { return Ok(names) };
            after = Some(last.name.clone());
            names.extend(page.into_iter().map(|meta| meta.name));
        }
    }

    /// Reads what changed there. A full comparison asks for the changes first: a removal that is told is believed at
    /// once, one that only shows as an absence is not; and what was told is not missed by a listing that is short.
    async fn changes_there(&self, full: bool) -> Result<Delta, Halt> {
        let remote = &self.mapping.remote;
        let mut told = Delta::default();
        if let Some(since) = &self.state.cursor {
            match self.provider.changes(remote, Some(since)).await {
                Ok(delta) if !full => return Ok(delta),
                Ok(delta) => told = delta,
                Err(Trouble::CursorExpired) => {}
                Err(trouble) => return Err(trouble.into()),
            }
        }
        let mut delta = self.provider.changes(remote, None).await?;
        let listed: HashSet<String> = delta.seen.iter().map(|s| spelling(&s.id)).collect();
        delta.gone.extend(told.gone.into_iter().filter(|id| !listed.contains(&spelling(id))));
        delta.seen.extend(told.seen.into_iter().filter(|s| !listed.contains(&spelling(&s.id))));
        Ok(delta)
    }

    /// Compares names and versions with what was agreed. Reads no content.
    async fn observe(
        &mut self,
        names: BTreeSet<Name>,
        rev: Rev,
        delta: Delta,
        full: bool,
    ) -> Result<Observed, Halt> {
        let mut seen = Observed { rev, cursor: delta.next, complete: delta.complete, ..Observed::default() };
        let listed: HashSet<String> = delta.seen.iter().map(|s| spelling(&s.id)).collect();
        for sighting in delta.seen {
            let base = self.ledger.by_remote(&sighting.id);
            if base.is_some_and(|b| b.missing.is_some()) {
                seen.back.extend(base.map(|b| b.uid.clone()));
            }
            let same = base.is_some_and(|b| {
                b.conflict.is_none() && b.version.is_some() && b.version == sighting.version
            });
            if !same {
                seen.read.push(sighting.id);
            }
        }
        seen.far_gone
            .extend(delta.gone.iter().filter_map(|id| self.ledger.by_remote(id)).map(|b| b.uid.clone()));
        if delta.complete {
            let told = &seen.far_gone;
            let absent =
                |b: &&Base| !b.pending && !listed.contains(&spelling(&b.remote)) && !told.contains(&b.uid);
            let absent: Vec<Base> = self.ledger.all().filter(absent).cloned().collect();
            for base in absent {
                seen.absent = seen.absent.saturating_add(1);
                let confirmed = base.missing.is_some_and(|since| later(since, CONFIRM_AFTER) <= self.now);
                if confirmed || self.confirmed {
                    seen.far_gone.insert(base.uid.clone());
                } else if base.missing.is_none() {
                    seen.missing.push(base.uid.clone());
                }
            }
        }
        for name in &names {
            if let Some((uid, here)) = self.look_here(name).await? {
                // A name that was removed and another that holds the same object now: it was moved.
                let written = seen.here.get(&uid) == Some(&Here::Written);
                if !(written && here == Here::Removed) {
                    seen.here.insert(uid, here);
                }
            }
        }
        if full {
            // What a listing of names cannot show: objects that are gone here.
            let gone: Vec<String> =
                self.ledger.all().filter(|b| !names.contains(&b.name)).map(|b| b.uid.clone()).collect();
            for uid in gone {
                seen.here.entry(uid).or_insert(Here::Removed);
            }
        }
        for base in self.ledger.all().filter(|b| b.pending) {
            seen.here.entry(base.uid.clone()).or_insert(Here::Written);
        }
        self.add_failures(&mut seen, &listed, full);
        Ok(seen)
    }

    /// Looks at one name here. Nothing: it is as agreed, or never mattered.
    async fn look_here(&self, name: &Name) -> Result<Option<(String, Here)>, Halt> {
        let base = self.ledger.by_name(name);
        match self.at.meta(name.as_str()).await? {
            Some(meta) => {
                let same = base.is_some_and(|b| b.etag == meta.etag && b.conflict.is_none());
                Ok(meta.index.uid.filter(|_| !same).map(|uid| (uid, Here::Written)))
            }
            None => Ok(base.map(|b| (b.uid.clone(), Here::Removed))),
        }
    }

    /// Objects that failed before are looked at again although nothing changed.
    fn add_failures(&self, seen: &mut Observed, listed: &HashSet<String>, full: bool) {
        for failure in self.state.again.iter().filter(|f| f.retry || full) {
            if failure.local.is_some() {
                seen.here.entry(failure.uid.clone()).or_insert(Here::Written);
            }
            let known = self.ledger.by_uid(&failure.uid).map(|b| b.remote.clone());
            if let Some(id) = failure.remote.clone().or(known) {
                let wanted = !seen.read.contains(&id) && (!seen.complete || listed.contains(&spelling(&id)));
                if wanted && !seen.far_gone.contains(&failure.uid) {
                    seen.read.push(id);
                }
            }
        }
    }

    /// Stops the pass before anything is written when more would be removed than anybody removes on purpose.
    fn guard(&self, seen: &Observed) -> Result<(), Halt> {
        let total = self.ledger.all().filter(|b| !b.pending).count();
        let read: HashSet<String> = seen.read.iter().map(spelling).collect();
        let there_changed =
            |uid: &str| self.ledger.by_uid(uid).is_some_and(|b| read.contains(&spelling(&b.remote)));
        let here = seen.far_gone.iter().filter(|uid| !seen.here.contains_key(*uid)).count();
        let removed = seen.here.iter().filter(|(_, h)| **h == Here::Removed).map(|(uid, _)| uid);
        let there = removed
            .filter(|uid| self.ledger.by_uid(uid).is_some())
            .filter(|uid| !seen.far_gone.contains(*uid) && !there_changed(uid))
            .count();
        let sentence = if seen.complete && total > 0 && seen.absent >= total {
            "The far side's calendar is suddenly empty. Nothing is removed here until you confirm it."
                .to_owned()
        } else if self.is_mass(here, total) || self.is_mass(there, total) {
            format!(
                "{here} of {total} events would be removed here and {there} on the far side. \
                 Nothing is carried over until you confirm it."
            )
        } else {
            return Ok(());
        };
        let count = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
        let (here, there) = (count(here.max(seen.missing.len())), count(there));
        let before = self.state.hold.as_ref();
        // A person's word covers what they were shown, not more.
        if self.confirmed && before.is_some_and(|hold| here <= hold.local && there <= hold.remote) {
            return Ok(());
        }
        let since = before.map_or(self.now, |hold| hold.since);
        Err(Halt::Held(Hold { since, local: here, remote: there, sentence }))
    }

    fn is_mass(&self, deletions: usize, total: usize) -> bool {
        let limit = self.mass_delete;
        deletions > limit.objects && deletions.saturating_mul(100) > total.saturating_mul(limit.percent)
    }

    /// Brings every observed object to agreement, in batches, so that memory does not grow with the calendar.
    async fn settle_all(&mut self, seen: Observed, full: bool) -> Result<Outcome, Halt> {
        // Failures that are not looked at in this pass stay known.
        let kept: Vec<Failure> = self.state.again.iter().filter(|f| !f.retry && !full).cloned().collect();
        let (mut here, mut far_gone) = (seen.here, seen.far_gone);
        let batch = self.provider.abilities().batch.max(1);
        for ids in seen.read.chunks(batch) {
            for object in self.provider.read(&self.mapping.remote, ids).await? {
                match uid_of(&object) {
                    Ok((uid, ical)) => {
                        if self.is_twin(&uid, &object.id, &far_gone).await? {
                            let reason = "The far side has another event with the same UID.".to_owned();
                            self.fail(&object.id.0.clone(), None, Some(object.id), reason, Retry::OnChange);
                            continue;
                        }
                        here.remove(&uid);
                        // It is gone from one place and was found in another: it was moved.
                        far_gone.remove(&uid);
                        self.settle(&uid, Far::Seen(object, ical)).await?;
                    }
                    Err(reason) => {
                        let uid = self
                            .ledger
                            .by_remote(&object.id)
                            .map_or_else(|| object.id.0.clone(), |b| b.uid.clone());
                        here.remove(&uid);
                        self.fail(&uid, None, Some(object.id), reason, Retry::OnChange);
                    }
                }
            }
            self.flush().await?;
        }
        for uid in far_gone {
            here.remove(&uid);
            self.settle(&uid, Far::Absent).await?;
        }
        for uid in here.into_keys() {
            let far = if self.ledger.by_uid(&uid).is_some() { Far::Same } else { Far::Absent };
            self.settle(&uid, far).await?;
            if self.outgoing.len() >= batch {
                self.flush().await?;
            }
        }
        self.flush().await?;
        self.mark_missing(&seen.missing, &seen.back).await?;
        self.state.rev = Some(seen.rev);
        self.state.cursor = seen.cursor;
        // One listing may be short by mistake, and what it missed would stay unseen until the next day: it is
        // confirmed by another one.
        self.state.settled = !seen.complete || self.state.was_full;
        self.state.was_full = seen.complete;
        if seen.complete && full {
            self.state.full_at = Some(self.now);
        }
        self.state.missing = self.ledger.all().any(|b| b.missing.is_some());
        let retry = self.failed.iter().any(|f| f.retry);
        let still =
            |f: &Failure| !self.failed.iter().any(|new| new.uid == f.uid) && !self.settled_now(&f.uid);
        let kept: Vec<Failure> = kept.into_iter().filter(still).collect();
        self.run.failures =
            self.failed.iter().map(|f| Failed { uid: f.uid.clone(), reason: f.reason.clone() }).collect();
        self.state.again = std::mem::take(&mut self.failed);
        self.state.again.extend(kept);
        self.run.status =
            if self.run.failures.is_empty() { RunStatus::Success } else { RunStatus::PartialFailure };
        Ok(if self.state.missing || !self.state.settled {
            Outcome::Soon(CONFIRM_AFTER)
        } else if retry {
            Outcome::Failed
        } else {
            Outcome::Well
        })
    }

    /// Tells whether the far side has the UID in the place that is known as well as in this one.
    async fn is_twin(&self, uid: &str, id: &RemoteId, gone: &BTreeSet<String>) -> Result<bool, Halt> {
        let known =
            self.ledger.by_uid(uid).filter(|b| spelling(&b.remote) != spelling(id) && !gone.contains(uid));
        match known.map(|b| b.remote.clone()) {
            Some(known) => Ok(!self.provider.read(&self.mapping.remote, &[known]).await?.is_empty()),
            None => Ok(false),
        }
    }

    fn settled_now(&self, uid: &str) -> bool {
        self.ledger.by_uid(uid).is_some_and(|b| b.version.is_some() && b.conflict.is_none())
    }

    /// Remembers which objects a complete listing did not name.
    async fn mark_missing(&mut self, missing: &[String], back: &[String]) -> Result<(), Halt> {
        let marks = missing.iter().map(|uid| (uid, Some(self.now))).chain(back.iter().map(|uid| (uid, None)));
        let marked: Vec<_> = marks
            .filter_map(|(uid, at)| self.ledger.by_uid(uid).cloned().map(|base| (base, at)))
            .filter(|(base, at)| base.missing.is_some() != at.is_some())
            .collect();
        for chunk in marked.chunks(100) {
            let mut ops = Vec::new();
            for (base, at) in chunk {
                let mut base = base.clone();
                base.missing = *at;
                ops.extend(self.ledger.put(&base, None)?);
                self.ledger.insert(base);
            }
            self.remember(Vec::new(), ops).await?;
        }
        Ok(())
    }

    /// Notes that an object could not be carried over; the pass goes on.
    pub(super) fn fail(
        &mut self,
        uid: &str,
        local: Option<Name>,
        remote: Option<RemoteId>,
        reason: String,
        retry: Retry,
    ) {
        let retry = retry == Retry::Soon;
        self.failed.retain(|f| f.uid != uid);
        self.failed.push(Failure { uid: uid.to_owned(), local, remote, reason, retry });
    }
}

/// Whether a failed object is tried again by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Retry {
    /// In the next pass.
    Soon,
    /// When it changes on either side, and in the daily comparison: bad input is not repeated.
    OnChange,
}

/// The far side of one object.
#[derive(Debug)]
pub(super) enum Far {
    /// It is gone, or was never there.
    Absent,
    /// It is as agreed.
    Same,
    /// It was read.
    Seen(Seen, Ical),
}

/// Returns the UID and the parsed content of what the far side gave.
pub(super) fn uid_of(seen: &Seen) -> Result<(String, Ical), String> {
    if seen.bytes.is_empty() {
        return Err("The far side lists the event but gives no content for it.".into());
    }
    let ical = Ical::parse(seen.bytes.clone())
        .map_err(|problem| format!("The far side's event is not valid iCalendar: {}", problem.reason))?;
    let uid = ical
        .calendar()
        .and_then(|c| c.components().filter(|c| c.name() != "VTIMEZONE").find_map(|c| c.property("UID")))
        .map(|p| p.raw().trim().to_owned())
        .filter(|uid| !uid.is_empty())
        .ok_or("The far side's event has no UID.")?;
    Ok((uid, ical))
}

impl Run {
    /// Returns a run that begins.
    pub(super) fn begin(id: String, mapping: &str, now: Timestamp, asked: bool) -> Run {
        Run {
            id,
            mapping: mapping.to_owned(),
            status: RunStatus::Running,
            started: now,
            ended: None,
            local: Counts::default(),
            remote: Counts::default(),
            conflicts: 0,
            failures: Vec::new(),
            calls: 0,
            asked,
        }
    }

    /// Tells whether the run says nothing that the one before it did not say: nobody asked for either, neither wrote
    /// anything, and both ended alike.
    pub(super) fn repeats(&self, before: &Run) -> bool {
        let idle =
            |run: &Run| !run.asked && run.local.total() == 0 && run.remote.total() == 0 && run.conflicts == 0;
        idle(self) && idle(before) && self.status == before.status && self.failures == before.failures
    }
}

//! One mapping, one pass: observe → plan → apply → remember.
//!
//! Owns: what is looked at, which deletions are believed, how a pass ends.
//! Does not own: decisions about one object (`plan`), carrying them out (`apply`), when the next pass comes (`pace`).
//!
//! A pass may be cut off anywhere and started again: cursors move only at its end, every object remembers for itself
//! what was agreed, and what was written but not remembered is recognised by its UID and content.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::digests::Digests;
use super::fold::part_of;
use super::front::Settings;
use super::ledger::{Ledger, spelling};
use super::observe::{Here, Observed, Urgency};
use super::order::Open;
use super::pace::{NIGHT, Outcome, Schedule, later, next_full};
use super::print;
use super::provider::{Provider, RemoteId, Seen, Trouble, Window};
use super::record::{
    Base, Counts, Direction, Failed, Failure, Hold, Mapping, MappingState, OnDelete, Run, RunStatus,
};
use super::scope;
use crate::calendar::{Error, Session, Writable};
use crate::ical::Ical;
use crate::ical::zone::{Zone, by_tzid};
use crate::store::{CollectionId, Fault, Name, Timestamp};

/// An object missing from a complete listing is believed gone when another one, this much later, misses it too.
pub(super) const CONFIRM_AFTER: Duration = Duration::from_secs(60);
/// So many calls in a row that concerned one object and were not answered: the far side is asked whether it is down.
const DOUBT: u32 = 3;

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

/// How far a pass has come, for whoever watches it.
#[derive(Debug, Default)]
pub(super) struct Progress {
    pub(super) done: AtomicU64,
    pub(super) total: AtomicU64,
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
    pub(super) window: Window,
    /// The IANA name of the zone of times that name none, where the far side needs one.
    pub(super) home: Option<String>,
    /// A person confirmed the deletions that wait.
    pub(super) confirmed: bool,
    /// The settings changed: every object is looked at, changed or not.
    pub(super) anew: bool,
    pub(super) mass_delete: MassDelete,
    /// How sure it has to be that two events without a common UID are one.
    pub(super) match_confidence: f64,
    pub(super) schedule: Schedule,
    /// The second of the day, by the owner's clock, at which everything is compared.
    pub(super) full_resync_at: u32,
    pub(super) progress: Arc<Progress>,
    /// Of what a first pass was told of, how much is yet to be taken in; it is in the run's total.
    pub(super) awaited: u64,
    /// Objects that failed in this pass.
    pub(super) failed: Vec<Failure>,
    /// Objects that this pass looked at, by their UIDs and by the spelling of their names there.
    pub(super) looked: Digests,
    /// What of the far side is left alone.
    pub(super) left: super::left::LeftAlone,
    /// Names here that a person or program wrote since the last pass.
    pub(super) by_people: HashSet<Name>,
    /// Copies that are taken back at the end.
    pub(super) withdrawn: super::removal::Withdrawn,
    /// Other mappings, and their calendars, that go into the same calendar there, once they were needed.
    pub(super) beside: tokio::sync::OnceCell<Vec<(String, CollectionId)>>,
    /// What events are called where no more is told than that somebody is busy.
    pub(super) veil: super::veil::Veil,
    /// What a first pass compares by more than the UID.
    pub(super) first: super::first::First,
    /// Series of whose parts something was told.
    pub(super) concerned: BTreeSet<String>,
    /// What was a part of a series and is an event of its own from now on.
    pub(super) freed: Vec<(Seen, Arc<Ical>)>,
    /// Objects that are to be looked at once more, although nothing failed.
    pub(super) once_more: BTreeSet<String>,
    /// Writes on the far side that are yet to be sent.
    pub(super) outgoing: Vec<super::send::Outgoing>,
    /// How often the object at hand was looked at before.
    pub(super) round: usize,
    /// Writes whose result is yet to be read back.
    pub(super) unread: Vec<super::send::Pushed>,
    /// Calls in a row that concerned one object and were not answered.
    pub(super) unanswered: u32,
    /// The most that was ever held.
    #[cfg(test)]
    pub(super) most_held: usize,
}

impl Pass {
    /// Returns a pass that begins where the state says. `confirm`: a person says that the deletions which wait are
    /// meant.
    pub(super) fn new(
        session: Session,
        at: Writable,
        mapping: Arc<Mapping>,
        provider: Arc<dyn Provider>,
        (state, run): (MappingState, Run),
        settings: &Settings,
        confirm: bool,
    ) -> Pass {
        let now = run.started;
        let ledger = Ledger::new(Arc::clone(&session.house.store), &mapping.id);
        Pass {
            session,
            at,
            provider,
            ledger,
            window: scope::window(&mapping, settings.window_past, settings.window_future, now),
            home: None,
            confirmed: confirm && state.hold.is_some(),
            anew: state.shape != shape_of(&mapping),
            mapping,
            state,
            run,
            now,
            mass_delete: settings.mass_delete,
            match_confidence: settings.match_confidence,
            schedule: settings.schedule.clone(),
            full_resync_at: settings.full_resync_at,
            progress: Arc::default(),
            awaited: 0,
            failed: Vec::new(),
            looked: Digests::default(),
            left: super::left::LeftAlone::default(),
            by_people: HashSet::new(),
            withdrawn: super::removal::Withdrawn::default(),
            beside: tokio::sync::OnceCell::new(),
            veil: super::veil::Veil::default(),
            first: super::first::First::default(),
            concerned: BTreeSet::new(),
            freed: Vec::new(),
            once_more: BTreeSet::new(),
            outgoing: Vec::new(),
            round: 0,
            unread: Vec::new(),
            unanswered: 0,
            #[cfg(test)]
            most_held: 0,
        }
    }

    /// Counts what is held at the moment, digests aside.
    #[cfg(test)]
    pub(super) fn weigh(&mut self, more: usize) {
        let series = self.concerned.len() + self.freed.len();
        let own = [self.outgoing.len(), self.unread.len(), self.failed.len(), self.once_more.len(), series];
        let lists = [self.by_people.len(), self.first.aside(), self.left.len(), more];
        self.most_held = self.most_held.max(own.iter().chain(&lists).sum());
    }

    /// Carries the pass out. Returns how the pace goes on.
    pub(super) async fn carry_out(&mut self) -> Result<Outcome, Halt> {
        self.ledger.open(&self.session.origin, self.now).await?;
        if self.provider.needs_zone() {
            self.home = self.own_zone().await?;
        }
        self.load_veil().await?;
        let full = self.is_full_due().await?;
        let (names, rev) = self.touched_here(full).await?;
        let told = self.changes_there(full).await?;
        let again = self.state.again.iter().any(|failure| self.is_due(failure, full));
        if names.is_quiet() && told.is_quiet() && !again {
            self.state.rev = Some(rev);
            self.state.cursor = told.next;
            self.state.was_full = false;
            return Ok(self.outcome());
        }
        let observed = self.observe(names, rev, told, full).await?;
        self.guard(&observed).await?;
        self.settle_all(observed, full).await
    }

    /// Tells whether everything is compared: at first, once a day, when the settings changed, and while a missing
    /// object awaits its confirmation.
    async fn is_full_due(&self) -> Result<bool, Halt> {
        let state = &self.state;
        let Some(last) = state.full_at else { return Ok(true) };
        if !state.settled || state.missing || self.confirmed || self.anew {
            return Ok(true);
        }
        if later(last, NIGHT) > self.now {
            return Ok(false);
        }
        let zone = match &self.home {
            Some(name) => by_tzid(name),
            None => self.own_zone().await?.and_then(|name| by_tzid(&name)),
        };
        let dice = u64::from_str_radix(&self.mapping.id, 16).unwrap_or(0);
        Ok(next_full(last, self.full_resync_at, &zone.unwrap_or(Zone::Utc), dice) <= self.now)
    }

    /// Tells whether the two sides have never been compared as a whole.
    pub(super) fn is_first(&self) -> bool {
        self.state.full_at.is_none()
    }

    /// Counts an object as dealt with.
    pub(super) fn went_on(&mut self) {
        self.run.done = self.run.done.saturating_add(1);
        self.tell();
    }

    /// Lets those who look see how far it is.
    pub(super) fn tell(&self) {
        self.progress.done.store(self.run.done, Ordering::Relaxed);
        self.progress.total.store(self.run.total.max(self.run.done), Ordering::Relaxed);
    }

    /// Stops the pass before anything is removed when more would be than anybody removes on purpose.
    async fn guard(&self, seen: &Observed) -> Result<(), Halt> {
        let keeps = |on: OnDelete, count: usize| match on {
            OnDelete::Keep | OnDelete::Restore => 0,
            OnDelete::Trash | OnDelete::Cancel => count,
        };
        let (pulls, pushes) =
            (self.mapping.direction != Direction::Push, self.mapping.direction != Direction::Pull);
        let here = match pulls {
            true => self.untouched_here(seen.far_gone.iter()).await?,
            false => 0,
        };
        let here = keeps(self.mapping.on_remote_delete, here);
        let mut there: usize = 0;
        for (uid, _) in seen.here.iter().filter(|(_, here)| pushes && here.is_removal()) {
            let base = self.ledger.by_uid(uid).await?.filter(|base| base.apart.is_none());
            let follows = |base: &Base| !seen.far_gone.contains(uid) && !seen.wanted.contains(&base.remote);
            there = there.saturating_add(usize::from(base.is_some_and(|base| follows(&base))));
        }
        let there = keeps(self.mapping.on_local_delete, there);
        let sentence = if pulls && seen.complete && seen.listable > 0 && seen.absent >= seen.listable {
            "The far side's calendar is suddenly empty. Nothing is removed here until you confirm it."
                .to_owned()
        } else if let Some(total) = self.mass(here.max(there), is_linked).await? {
            format!(
                "{here} of {total} events would be removed here and {there} on the far side. \
                 Nothing is carried over until you confirm it."
            )
        } else {
            return Ok(());
        };
        // A word is asked for all that it would remove, what still waits to be believed gone as well.
        self.hold((here.saturating_add(seen.waiting), there), sentence)
    }

    /// Waits for a person's word on that many removals, here and there, unless it was given.
    pub(super) fn hold(&self, removals: (usize, usize), sentence: String) -> Result<(), Halt> {
        let count = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
        let (here, there) = (count(removals.0), count(removals.1));
        let before = self.state.hold.as_ref();
        // A person's word covers what they were shown, not more.
        if self.confirmed && before.is_some_and(|hold| here <= hold.local && there <= hold.remote) {
            return Ok(());
        }
        let since = before.map_or(self.now, |hold| hold.since);
        Err(Halt::Held(Hold { since, local: here, remote: there, sentence }))
    }

    /// Tells of how many objects so many removals are too large a share to be believed; nothing: they are not.
    pub(super) async fn mass(
        &self,
        removals: usize,
        counts: impl Fn(&Base) -> bool,
    ) -> Result<Option<usize>, Halt> {
        let limit = self.mass_delete;
        if removals <= limit.objects {
            return Ok(None);
        }
        let total = self.ledger.count(counts).await?;
        let is_mass = removals.saturating_mul(100) > total.saturating_mul(limit.percent);
        Ok(is_mass.then_some(total))
    }

    /// Brings every observed object to agreement, in batches, so that memory does not grow with the calendar.
    async fn settle_all(&mut self, seen: Observed, full: bool) -> Result<Outcome, Halt> {
        let held = seen.wanted.len().saturating_add(seen.far_gone.len()).saturating_add(seen.here.len());
        let todo = held.saturating_add(seen.rest);
        #[cfg(test)]
        self.weigh(held + seen.missing.len() + seen.back.len());
        self.run.total = self.run.total.saturating_add(u64::try_from(todo).unwrap_or(u64::MAX));
        let mut open =
            Open { here: seen.here, far_gone: seen.far_gone, displaced: BTreeSet::new(), told: Vec::new() };
        self.mark_missing(&seen.missing, &seen.back).await?;
        self.settle_urgent(&mut open, &seen.wanted).await?;
        self.settle_wanted(&mut open, seen.wanted).await?;
        self.join_similar(&mut open).await?;
        self.settle_gone(&mut open).await?;
        self.settle_told(&mut open).await?;
        for uid in std::mem::take(&mut self.concerned) {
            open.here.entry(uid).or_insert(Here::written(Urgency::Rest));
        }
        let mut here: Vec<_> = std::mem::take(&mut open.here).into_iter().collect();
        here.sort_by_key(|(_, here)| here.urgency);
        self.settle_here(here).await?;
        if seen.rest > 0 {
            self.settle_rest(full).await?;
        }
        self.settle_freed().await?;
        self.withdraw().await?;
        self.keep_left().await?;
        self.state.rev = Some(seen.rev);
        self.state.cursor = seen.cursor;
        // One listing may be short by mistake, and what it missed would stay unseen until the next day: it is
        // confirmed by another one.
        self.state.settled = !seen.complete || (self.state.was_full && !seen.expired);
        self.state.was_full = seen.complete;
        if seen.complete && full {
            self.state.full_at = Some(self.now);
            self.state.shape = shape_of(&self.mapping);
        }
        self.state.missing = self.ledger.any_missing().await?;
        self.finish().await?;
        Ok(self.outcome())
    }

    /// Notes what failed and what is to be looked at again.
    async fn finish(&mut self) -> Result<(), Halt> {
        // Of a part people know the series.
        let known = |uid: &str| part_of(uid).map_or(uid, |(whole, _)| whole).to_owned();
        self.run.failures =
            self.failed.iter().map(|f| Failed { uid: known(&f.uid), reason: f.reason.clone() }).collect();
        self.run.failures.dedup();
        self.run.status =
            if self.run.failures.is_empty() { RunStatus::Success } else { RunStatus::PartialFailure };
        let before = std::mem::replace(&mut self.state.again, std::mem::take(&mut self.failed));
        for mut failure in before {
            // What was not looked at in this pass, where it failed, stays known, for whatever reason it was not.
            let looked = match &failure.remote {
                Some(id) => self.looked.contains(&spelling(id)),
                None => self.looked.contains(&failure.uid),
            };
            if looked || self.state.again.iter().any(|f| f.uid == failure.uid) {
                continue;
            }
            if failure.next.is_some_and(|next| next <= self.now) {
                let wait = self.schedule.wait(failure.attempts.max(1), &failure.uid);
                failure.next = Some(later(self.now, wait));
            }
            self.state.again.push(failure);
        }
        for uid in std::mem::take(&mut self.once_more) {
            if !self.state.again.iter().any(|f| f.uid == uid) {
                let reason = "It is looked at once more.".to_owned();
                let name = self.ledger.by_uid(&uid).await?.map(|base| base.name);
                self.state.again.push(Failure {
                    uid,
                    local: name,
                    remote: None,
                    reason,
                    retry: true,
                    attempts: 0,
                    next: None,
                });
            }
        }
        Ok(())
    }

    /// Returns how the pace goes on after a pass that went through.
    fn outcome(&self) -> Outcome {
        let mut soon: Option<Duration> = None;
        let mut at = |wait: Duration| soon = Some(soon.map_or(wait, |before| before.min(wait)));
        if self.state.missing || !self.state.settled {
            at(CONFIRM_AFTER);
        }
        for failure in self.state.again.iter().filter(|f| f.retry) {
            let left = failure.next.map_or(0, |next| next.0.saturating_sub(self.now.0));
            at(Duration::from_millis(u64::try_from(left).unwrap_or(0)).max(Duration::from_secs(1)));
        }
        soon.map_or(Outcome::Well, Outcome::Soon)
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
        let before = self.state.again.iter().find(|f| f.uid == uid);
        let attempts = before.map_or(0, |f| f.attempts).saturating_add(1);
        // Where it was to be looked at before, and was not, it still is.
        let unread = before.and_then(|f| f.remote.clone()).filter(|id| !self.looked.contains(&spelling(id)));
        self.failed.retain(|f| f.uid != uid);
        self.failed.push(Failure {
            uid: uid.to_owned(),
            local,
            remote: remote.or(unread),
            reason,
            retry,
            attempts,
            next: retry.then(|| later(self.now, self.schedule.wait(attempts, uid))),
        });
    }

    /// Notes that a call which concerned one object was not answered. Returns why.
    pub(super) fn unanswered(&mut self, trouble: &Trouble) -> String {
        self.unanswered = self.unanswered.saturating_add(1);
        trouble.to_string()
    }

    /// Stops the pass if the far side is down: when several calls that concerned single objects were not answered, and what
    /// concerns none of them is not answered either. As long as it is, it is the objects, and they stop no other.
    pub(super) async fn still_there(&mut self) -> Result<(), Halt> {
        if self.unanswered < DOUBT {
            return Ok(());
        }
        match self.provider.calendars().await {
            Err(
                trouble @ (Trouble::Unreachable(_)
                | Trouble::Slow(_)
                | Trouble::Budget(..)
                | Trouble::Unauthorised(_)),
            ) => Err(trouble.into()),
            _ => {
                self.unanswered = 0;
                Ok(())
            }
        }
    }

    /// Returns what is to be looked at again after a pass that was stopped: what failed in it, and what did before.
    pub(super) fn unfinished(&self) -> Vec<Failure> {
        let tried = |uid: &str| self.failed.iter().any(|failure| failure.uid == uid);
        let before = self.state.again.iter().filter(|failure| !tried(&failure.uid));
        self.failed.iter().chain(before).cloned().collect()
    }
}

/// Tells whether both sides have the object, as far as is known. What is there in parts is there as these.
pub(super) fn is_linked(base: &Base) -> bool {
    !base.pending && base.apart.is_none() && base.split.is_none()
}

/// Returns the digest of the settings on which it depends what of an object is carried.
fn shape_of(mapping: &Mapping) -> String {
    let told = serde_json::to_vec(&(mapping.fields, &mapping.filters, mapping.direction)).unwrap_or_default();
    print::digest(&told)
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
    Seen(Seen, Arc<Ical>),
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
            saved: 0,
            done: 0,
            total: 0,
            asked,
            wrote: Vec::new(),
            skipped: 0,
            left: Vec::new(),
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

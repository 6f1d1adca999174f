//! What becomes of one side of an object when the other goes: removed, kept, cancelled; withdrawn because a filter no
//! longer lets it through; parked because it keeps changing.
//!
//! Owns: the settings `on_remote_delete` and `on_local_delete`, the removal of copies, the storm breaker.
//! Does not own: whether a removal is believed (`observe`, `order`), which side wins (`plan`).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::apply::{Facts, Settled};
use super::pace::later;
use super::plan::{Clash, Kind, Step, Winner};
use super::print;
use super::provider::{Fit, Slot, Trouble, Write, called_off};
use super::record::{self, Apart, Base, Direction, Done, Mapping, OnDelete, Where};
use super::run::{Far, Halt, Pass, Retry};
use super::scope::Fitted;
use super::shape;
use crate::calendar::{Refusal, When};
use crate::ical::Ical;
use crate::ical::value::escape;
use crate::store::{Etag, Fault, Op, Origin, Table, Timestamp};

/// More writes than this of one object …
const STORM: usize = 5;
/// … within this time, without a person's edit here, are a storm.
const STORM_TIME: Duration = Duration::from_secs(600);
/// So many writes in which a few contents take turns …
const CHASE: usize = 10;
/// … each at least so often …
const TURNS: usize = 3;
/// … within this time, or within so many looks of a mapping that looks rarely, are two edits that chase each other through
/// several mappings.
const CHASE_TIME: Duration = Duration::from_secs(86_400);
const CHASE_LOOKS: u64 = 24;
/// How much is kept of a digest.
const SHORT: usize = 8;

/// Which copies a pass takes back, because the filters no longer let their originals through.
#[derive(Debug, Default)]
pub(super) struct Withdrawn {
    /// UIDs of copies here.
    here: Vec<String>,
    /// UIDs of copies there.
    there: Vec<String>,
}

impl Withdrawn {
    /// The parts of that series are taken back there.
    pub(super) fn parts(&mut self, uid: &str) {
        self.there.push(uid.to_owned());
    }
}

impl Pass {
    /// Theirs is gone: ours follows, as the mapping says.
    pub(super) async fn removed_there(
        &mut self,
        uid: &str,
        facts: &Facts,
        with: Vec<Op>,
    ) -> Result<Settled, Halt> {
        match self.mapping.on_remote_delete {
            OnDelete::Trash | OnDelete::Restore => self.delete_local(uid, facts, with).await,
            OnDelete::Keep => self.part(facts, Apart::Here, with).await,
            OnDelete::Cancel => self.cancel_local(uid, facts, with).await,
        }
    }

    /// Ours is gone: theirs follows, as the mapping says.
    pub(super) async fn removed_here(
        &mut self,
        uid: &str,
        facts: &Facts,
        with: Vec<Op>,
    ) -> Result<Settled, Halt> {
        if self.is_shared(uid).await? {
            return self.forget(uid, with).await;
        }
        match self.mapping.on_local_delete {
            // What is to come back and does not was removed by another mapping.
            OnDelete::Trash | OnDelete::Restore => self.delete_remote(uid, facts, with).await,
            OnDelete::Keep => self.part(facts, Apart::There, with).await,
            OnDelete::Cancel => self.cancel_remote(uid, facts, with).await,
        }
    }

    /// Tells whether another calendar of ours, which goes into the same one there, has an event of that UID as well. The
    /// copy there is that one's too, and stays.
    pub(super) async fn is_shared(&self, uid: &str) -> Result<bool, Halt> {
        if self.mapping.direction != Direction::Push {
            return Ok(false);
        }
        let store = &*self.session.house.store;
        let own = &self.mapping;
        let others = self.beside.get_or_try_init(|| async {
            let mut all = record::load_all::<Mapping>(store, Table::Mapping, "").await?;
            all.retain(|other| {
                let into = other.connection == own.connection && other.remote == own.remote;
                into && other.id != own.id && other.direction != Direction::Pull
            });
            Ok::<_, Fault>(all.into_iter().map(|other| (other.id, other.collection)).collect())
        });
        for (id, collection) in others.await? {
            let base: Option<Base> = record::load(store, &record::base_key(id, uid)).await?;
            let carried = base.is_some_and(|base| base.apart.is_none());
            if carried && store.by_uid(*collection, uid).await?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Brings back what a person removed here, if the mapping says so: from the trash, with all that was in it; what was
    /// moved elsewhere, as the far side has it. Nothing: that is not how it is.
    pub(super) async fn come_back(&mut self, uid: &str, facts: &Facts) -> Result<Option<Settled>, Halt> {
        let Some(base) = facts.base.as_ref().filter(|_| self.mapping.on_local_delete == OnDelete::Restore)
        else {
            return Ok(None);
        };
        let there = base.split.is_some() || (facts.agreed.is_some() && !matches!(facts.far, Far::Absent));
        if facts.object.is_some() || base.pending || !there {
            return Ok(None);
        }
        let Some(thrown) = self.session.trashed_of(&self.at, uid).await? else {
            if base.split.is_some() {
                return Ok(None);
            }
            let far = self.look_there(&base.remote.clone()).await?;
            let Ok(facts) = self.gather(uid, far).await? else { return Ok(None) };
            let Some(theirs) = facts.theirs.as_ref().map(|theirs| theirs.bytes().clone()) else {
                return Ok(Some(Settled::Again));
            };
            return self.pull(uid, &facts, theirs, Vec::new()).await.map(Some);
        };
        if matches!(thrown.by, Origin::Mapping(_)) {
            return Ok(None);
        }
        match self.session.restore_trashed(&thrown.id, Some(&self.at)).await {
            Ok(_) => {
                self.run.count(Where::Local, Done::Inserted, uid);
                Ok(Some(Settled::Again))
            }
            Err(error) => self.refused_here(uid, facts, error).map(Some),
        }
    }

    /// Remembers that one side stays without the other.
    pub(super) async fn part(&mut self, facts: &Facts, apart: Apart, with: Vec<Op>) -> Result<Settled, Halt> {
        let Some(base) = &facts.base else { return Ok(Settled::Done) };
        self.keep(parted(base, apart), None, with).await
    }

    async fn cancel_local(&mut self, uid: &str, facts: &Facts, with: Vec<Op>) -> Result<Settled, Halt> {
        let (Some(base), Some(ours), Some(name)) = (&facts.base, &facts.ours, facts.name()) else {
            return Ok(Settled::Again);
        };
        let bytes = cancelled(ours);
        if bytes == *ours.bytes() {
            return self.part(facts, Apart::Here, with).await;
        }
        let base = Base { etag: Etag::of(&bytes), name: name.clone(), ..parted(base, Apart::Here) };
        let agreed = facts.agreed.as_ref().map_or_else(|| bytes.clone(), |ical| ical.bytes().clone());
        self.store_here(uid, facts, name.clone(), bytes, base, agreed, with).await
    }

    async fn cancel_remote(&mut self, uid: &str, facts: &Facts, with: Vec<Op>) -> Result<Settled, Halt> {
        let theirs = match &facts.far {
            Far::Seen(_, ical) => Some(Arc::clone(ical)),
            Far::Same | Far::Absent => facts.agreed.clone(),
        };
        let (Some(base), Some(theirs), Some(place)) = (&facts.base, theirs, facts.place()) else {
            return Ok(Settled::Again);
        };
        let write = Write {
            slot: Slot::At(place.0.clone(), place.1.clone()),
            bytes: Pass::addressed(facts.uid_there.as_deref(), self.cancelled_there(&theirs)),
            base: Some(Pass::addressed(facts.uid_there.as_deref(), theirs.bytes().clone())),
        };
        let answer = self.provider.put(&self.mapping.remote, &write).await;
        let written = match self.sent(uid, Some(&place), Some(&base.name), answer)? {
            Ok(written) => written,
            Err(settled) => {
                self.still_there().await?;
                return Ok(settled);
            }
        };
        let base = Base { version: written.version, ..parted(base, Apart::There) };
        self.keep(base, None, with).await
    }

    /// Returns their text as cancelled. A far side that has no such status is told so in the title.
    pub(super) fn cancelled_there(&self, theirs: &Ical) -> Bytes {
        let text = cancelled(theirs);
        let Ok(ical) = Ical::parse(text.clone()) else { return text };
        match self.provider.fit(&ical, self.window) {
            Fit::Whole(held) if !says_cancelled(&held) => titled(&ical),
            _ => text,
        }
    }

    /// One side was removed and the other is left: that is all there is to it until both have it, or neither.
    pub(super) async fn stay_apart(
        &mut self,
        uid: &str,
        facts: &Facts,
        apart: Apart,
    ) -> Result<Settled, Halt> {
        let Some(base) = &facts.base else { return Ok(Settled::Done) };
        let gone = match apart {
            Apart::Here => facts.object.is_none(),
            Apart::There => matches!(facts.far, Far::Absent),
        };
        if gone {
            // What was made anew on the other side meanwhile is new.
            let anew = match apart {
                Apart::Here => matches!(facts.far, Far::Seen(..)),
                Apart::There => facts.object.is_some(),
            };
            let forgotten = self.forget(uid, Vec::new()).await?;
            return Ok(if anew { Settled::Again } else { forgotten });
        }
        // Where all comes from one side, what is edited on that side is carried again.
        let edited = match (apart, self.mapping.direction) {
            (Apart::Here, Direction::Push) => facts.etag() != Some(&base.etag),
            (Apart::There, Direction::Pull) => {
                facts.theirs.as_ref().is_some_and(|theirs| print::print(theirs) != base.print)
            }
            _ => false,
        };
        if edited {
            self.forget(uid, Vec::new()).await?;
            return Ok(Settled::Again);
        }
        let mut fresh = base.clone();
        if let (Some(etag), Some(name)) = (facts.etag(), facts.name()) {
            (fresh.etag, fresh.name) = (etag.clone(), name.clone());
        }
        if let Far::Seen(seen, _) = &facts.far {
            fresh.version.clone_from(&seen.version);
        }
        if fresh == *base { Ok(Settled::Done) } else { self.keep(fresh, None, Vec::new()).await }
    }

    /// Forgets what was agreed on.
    pub(super) async fn forget(&mut self, uid: &str, mut with: Vec<Op>) -> Result<Settled, Halt> {
        if self.ledger.by_uid(uid).await?.is_some() {
            with.extend(self.ledger.delete(uid).await?);
        }
        self.remember(Vec::new(), with).await?;
        Ok(Settled::Done)
    }

    /// Removes an object on the far side.
    pub(super) async fn delete_remote(
        &mut self,
        uid: &str,
        facts: &Facts,
        mut with: Vec<Op>,
    ) -> Result<Settled, Halt> {
        let Some((id, version)) = facts.place() else { return Ok(Settled::Done) };
        match self.provider.delete(&self.mapping.remote, &id, version.as_ref()).await {
            Ok(()) => {}
            Err(Trouble::Stale) => return Ok(Settled::Again),
            Err(Trouble::Missing(_)) => {}
            Err(Trouble::Refused(reason)) => {
                self.fail(uid, None, Some(id), reason, Retry::OnChange);
                return Ok(Settled::Done);
            }
            Err(trouble @ Trouble::Unreachable(_)) => {
                let why = self.unanswered(&trouble);
                let name = self.ledger.by_uid(uid).await?.map(|base| base.name);
                self.fail(uid, name, Some(id), why, Retry::Soon);
                self.still_there().await?;
                return Ok(Settled::Lost);
            }
            Err(trouble) => return Err(trouble.into()),
        }
        self.unanswered = 0;
        self.run.count(Where::Remote, Done::Deleted, uid);
        with.extend(self.ledger.delete(uid).await?);
        self.remember(Vec::new(), with).await?;
        Ok(Settled::Done)
    }

    /// Removes an object here; it goes to the trash.
    async fn delete_local(&mut self, uid: &str, facts: &Facts, mut with: Vec<Op>) -> Result<Settled, Halt> {
        let (Some(name), Some(etag)) = (facts.name(), facts.etag().cloned()) else {
            return Ok(Settled::Again);
        };
        with.extend(self.ledger.delete(uid).await?);
        let when = When::holds(move |meta| match meta {
            Some(meta) if meta.etag == etag => Ok(()),
            _ => Err(Refusal::Stale),
        });
        match self.session.delete(&self.at, name, &when, with).await {
            Ok(_) => {
                self.run.count(Where::Local, Done::Deleted, uid);
                Ok(Settled::Done)
            }
            Err(error) => self.refused_here(uid, facts, error),
        }
    }

    /// Looks at an object that is carried with the eyes of the filters. Nothing: it is carried on.
    ///
    /// The original decides: if it does not pass any more, its copy on the other side is taken back at the end of the
    /// pass. What both sides had before they met is no copy; such a pair is let go.
    pub(super) async fn sieve(&mut self, uid: &str, facts: &Facts) -> Result<Option<Settled>, Halt> {
        let Some(base) = facts.base.as_ref().filter(|base| !base.pending && facts.agreed.is_some()) else {
            return Ok(None);
        };
        if self.mapping.filters.is_empty() {
            return Ok(None);
        }
        let theirs = match &facts.far {
            Far::Seen(_, ical) => Some(ical),
            Far::Same => facts.agreed.as_ref(),
            Far::Absent => None,
        };
        let (Some(ours), Some(theirs)) = (&facts.ours, theirs) else { return Ok(None) };
        let passes = |ical: &Ical| shape::passes(&self.mapping.filters, ical);
        let (original, copy) = if base.from_there { (theirs, ours) } else { (ours, theirs) };
        if base.from_there || base.from_here {
            match (passes(original), passes(copy)) {
                (true, true) => return Ok(None),
                // A copy that is as agreed says less than its original, not something else; and one way its edits stay.
                (true, false) if !is_copy_changed(facts, base) || !self.carries_back(base) => {
                    return Ok(None);
                }
                // What was changed in the copy is carried to the original first; that is looked at once more.
                (true, false) => {
                    self.once_more.insert(uid.to_owned());
                    return Ok(None);
                }
                (false, _) => {}
            }
            let list = match base.from_there {
                true => &mut self.withdrawn.here,
                false => &mut self.withdrawn.there,
            };
            list.push(uid.to_owned());
            return Ok(Some(Settled::Done));
        }
        if passes(ours) && passes(theirs) {
            return Ok(None);
        }
        self.forget(uid, Vec::new()).await.map(Some)
    }

    /// Returns which side is left of what both agreed on, where the other one's removal is not followed.
    pub(super) fn left_one_way(&self, facts: &Facts) -> Option<Apart> {
        one_sided(facts).filter(|_| self.mapping.direction != Direction::Both)
    }

    /// Tells whether edits of a copy are carried to its original.
    fn carries_back(&self, base: &Base) -> bool {
        match self.mapping.direction {
            Direction::Both => true,
            Direction::Pull => !base.from_there,
            Direction::Push => base.from_there,
        }
    }

    /// Tells whether a step would bring back, on the side that removed it, what the filters let through no more.
    pub(super) fn is_held_back(&self, facts: &Facts, step: &Step) -> bool {
        let back = match (step, one_sided(facts)) {
            (Step::Push(_), Some(Apart::Here)) => facts.ours.as_ref(),
            (Step::Pull(_), Some(Apart::There)) => facts.theirs.as_ref(),
            _ => None,
        };
        back.is_some_and(|ical| !shape::passes(&self.mapping.filters, ical))
    }

    /// Takes back the copies whose originals are not carried any more, unless they are so many that a person has to say
    /// that it is meant.
    pub(super) async fn withdraw(&mut self) -> Result<(), Halt> {
        let Withdrawn { here, there } = std::mem::take(&mut self.withdrawn);
        let most = here.len().max(there.len());
        if let Some(total) = self.mass(most, |base| !base.pending && base.apart.is_none()).await? {
            let sentence = format!(
                "The filters of the mapping no longer let through {} of {total} events here and {} on the far side; \
                 the copies would be removed.",
                here.len(),
                there.len()
            );
            self.hold((here.len(), there.len()), sentence)?;
        }
        for uid in here.into_iter().chain(there) {
            self.withdraw_one(&uid).await?;
        }
        Ok(())
    }

    async fn withdraw_one(&mut self, uid: &str) -> Result<(), Halt> {
        if self.ledger.by_uid(uid).await?.is_some_and(|base| base.split.is_some()) {
            return self.withdraw_parts(uid).await;
        }
        for round in 0..2 {
            let far = if round == 0 { Far::Same } else { self.look_again(uid).await? };
            let Ok(facts) = self.gather(uid, far).await? else { return Ok(()) };
            let Some(base) = &facts.base else { return Ok(()) };
            let settled = match (base.from_there, self.mapping.direction) {
                (true, Direction::Both | Direction::Pull) => {
                    self.delete_local(uid, &facts, Vec::new()).await?
                }
                (false, Direction::Both | Direction::Push) if !self.is_shared(uid).await? => {
                    self.delete_remote(uid, &facts, Vec::new()).await?
                }
                // The copy lies where this mapping does not write any more, or is not of this calendar alone.
                _ => self.forget(uid, Vec::new()).await?,
            };
            if !matches!(settled, Settled::Again) {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Tells whether an object is written over and over although nobody edits it here: then it waits for a person.
    pub(super) fn storm(&self, facts: &Facts) -> Option<Clash> {
        let base = facts.base.as_ref().filter(|base| base.conflict.is_none())?;
        if self.is_by_people(facts) {
            return None;
        }
        let fifth = base.writes.iter().rev().nth(STORM.saturating_sub(1));
        let what = if fifth.is_some_and(|(at, _)| later(*at, STORM_TIME) > self.now) {
            "it was written five times within ten minutes, and is another one again"
        } else if self.is_chase(facts, base) {
            "the same few versions were written in turn ten times, and it is one of them again"
        } else {
            return None;
        };
        Some(Clash {
            kind: Kind::KeepsChanging,
            what: vec![what.to_owned()],
            winner: Winner::Open,
            by: String::new(),
        })
    }

    /// Tells whether what would be written now takes turns with others that were written before. Calendars that are mapped
    /// to each other several times over can pass two edits round without end, each pass only as often as it looks.
    fn is_chase(&self, facts: &Facts, base: &Base) -> bool {
        let looks = Duration::from_secs(self.mapping.poll_seconds.unwrap_or(0).saturating_mul(CHASE_LOOKS));
        let lately = |at: Timestamp| later(at, CHASE_TIME.max(looks)) > self.now;
        if base.writes.len() < CHASE || !base.writes.first().is_some_and(|(at, _)| lately(*at)) {
            return false;
        }
        let now = short(&facts.fitted.as_ref().map(Fitted::print).unwrap_or_default());
        let all = base.writes.iter().map(|(_, content)| content);
        let mut turns: BTreeMap<&str, usize> = BTreeMap::new();
        for content in all.chain([&now]) {
            let count = turns.entry(content).or_default();
            *count = count.saturating_add(1);
        }
        turns.len() > 1 && turns.values().all(|count| *count >= TURNS)
    }

    /// Returns when an object was written lately and what it was made to say, with the write that is about to be made.
    pub(super) fn writes(&self, facts: &Facts, sent: &str) -> Vec<(Timestamp, String)> {
        let mut writes = match &facts.base {
            // A person's edit, or a decision, is a new beginning.
            Some(base) if base.conflict.is_none() && !self.is_by_people(facts) => base.writes.clone(),
            _ => Vec::new(),
        };
        writes.push((self.now, short(sent)));
        let surplus = writes.len().saturating_sub(CHASE);
        writes.drain(..surplus);
        writes
    }

    fn is_by_people(&self, facts: &Facts) -> bool {
        facts.name().is_some_and(|name| self.by_people.contains(name))
    }
}

/// Returns as much of a digest as tells the contents of one object apart.
fn short(print: &str) -> String {
    print.chars().take(SHORT).collect()
}

/// Tells whether somebody changed a copy since both sides agreed.
fn is_copy_changed(facts: &Facts, base: &Base) -> bool {
    match base.from_there {
        true => facts.etag() != Some(&base.etag),
        false => facts.theirs.as_ref().is_some_and(|theirs| print::print(theirs) != base.print),
    }
}

/// Returns which side is left of what both agreed on; nothing: both are, or neither.
fn one_sided(facts: &Facts) -> Option<Apart> {
    facts.agreed.as_ref()?;
    match (&facts.object, &facts.far) {
        (Some(_), Far::Absent) => Some(Apart::Here),
        (None, Far::Same | Far::Seen(..)) => Some(Apart::There),
        _ => None,
    }
}

/// Returns the base of an object of which one side only is left.
fn parted(base: &Base, apart: Apart) -> Base {
    Base { apart: Some(apart), pending: false, begun: None, conflict: None, missing: None, ..base.clone() }
}

fn says_cancelled(bytes: &Bytes) -> bool {
    let Ok(ical) = Ical::parse(bytes.clone()) else { return false };
    let status = ical.calendar().and_then(|c| c.components().find_map(|c| c.property("STATUS")));
    status.is_some_and(|status| status.raw().trim().eq_ignore_ascii_case("CANCELLED"))
}

/// Returns the text with titles that say that it is cancelled.
fn titled(ical: &Ical) -> Bytes {
    let mut edit = ical.edit();
    for component in ical.calendar().into_iter().flat_map(|calendar| calendar.components()) {
        if let Some(own) = component.property("SUMMARY") {
            edit = edit.replace(own, &format!("SUMMARY:{}", escape(&called_off(&own.text()))));
        }
    }
    edit.finish()
}

/// Returns the text with everything in it cancelled (RFC 5545 §3.8.1.11).
pub(super) fn cancelled(ical: &Ical) -> Bytes {
    let Some(calendar) = ical.calendar() else { return ical.bytes().clone() };
    let mut edit = ical.edit();
    for component in calendar.components().filter(|c| matches!(c.name(), "VEVENT" | "VTODO" | "VJOURNAL")) {
        edit = match component.property("STATUS") {
            Some(own) if own.raw().trim().eq_ignore_ascii_case("CANCELLED") => edit,
            Some(own) => edit.replace(own, "STATUS:CANCELLED"),
            None => edit.insert(component, "STATUS:CANCELLED"),
        };
    }
    edit.finish()
}

//! What both sides say before anything is decided: names here, pages from there, compared with what was agreed.
//!
//! Owns: what is looked at, which absences count, how much content is held at a time.
//! Does not own: decisions about one object (`plan`), carrying them out (`apply`), the order of a pass (`run`).
//!
//! Content that a listing brings along is not read a second time: at first it is dealt with page by page, later only
//! what differs from what was agreed is held, up to a bound.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use futures_util::StreamExt as _;

use super::ledger::spelling;
use super::pace::later;
use super::print;
use super::provider::{Cursor, End, Page, RemoteId, Seen, Sighting, Trouble};
use super::record::{Base, Failure};
use super::run::{CONFIRM_AFTER, Far, Halt, Pass, is_linked, uid_of};
use super::scope;
use crate::follow::{Touched, touched};
use crate::ical::Ical;
use crate::ical::series::{Series, TimeRange};
use crate::ical::zone::Zone;
use crate::store::{Meta, Name, Origin, Rev};

/// Members a page.
const PAGE: usize = 1000;
/// How many objects are held with their content, and how many bytes of it.
const HELD_OBJECTS: usize = 1000;
const HELD_BYTES: usize = 16 << 20;

/// What the two sides say before any content is read.
#[derive(Debug, Default)]
pub(super) struct Observed {
    /// Far side's objects whose content is needed.
    pub(super) read: Vec<RemoteId>,
    /// Content that is there already, by the spelling of its object.
    pub(super) held: BTreeMap<String, Seen>,
    /// UIDs whose far side's object is gone.
    pub(super) far_gone: BTreeSet<String>,
    /// UIDs whose object here was written or removed.
    pub(super) here: BTreeMap<String, Here>,
    /// UIDs that are missing from a complete listing for the first time.
    pub(super) missing: Vec<String>,
    /// How many objects a complete listing did not name, without having told that they were removed.
    pub(super) absent: usize,
    /// How many it should have named.
    pub(super) listable: usize,
    /// How many of the absent ones are not believed gone yet.
    pub(super) waiting: usize,
    /// UIDs that had been missing and are back.
    pub(super) back: Vec<String>,
    /// Where our log stood.
    pub(super) rev: Rev,
    /// Where the far side's changes stand.
    pub(super) cursor: Option<Cursor>,
    /// True if every object of the far side within the window was named.
    pub(super) complete: bool,
    /// The far side no longer knew how far it had been read.
    pub(super) expired: bool,
}

/// What the far side told, all pages together.
#[derive(Debug, Default)]
pub(super) struct Delta {
    seen: Vec<Sighting>,
    held: BTreeMap<String, Seen>,
    held_bytes: usize,
    /// Objects whose content was compared and is as agreed.
    same: HashSet<String>,
    gone: Vec<RemoteId>,
    next: Option<Cursor>,
    complete: bool,
    /// The far side no longer knew the cursor.
    expired: bool,
}

impl Delta {
    /// Tells whether nothing changed on the far side.
    pub(super) fn is_quiet(&self) -> bool {
        self.seen.is_empty() && self.gone.is_empty() && !self.complete
    }

    /// Returns where to go on next time.
    pub(super) fn into_cursor(self) -> Option<Cursor> {
        self.next
    }

    /// Keeps content for later, if there is room.
    fn hold(&mut self, seen: Seen) {
        self.same.remove(&spelling(&seen.id));
        let more = self.held_bytes.saturating_add(seen.bytes.len());
        if self.held.len() < HELD_OBJECTS && more <= HELD_BYTES {
            self.held_bytes = more;
            self.held.insert(spelling(&seen.id), seen);
        }
    }
}

/// What happened to an object here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Here {
    /// What.
    pub(super) what: Deed,
    /// How soon it has to be carried over.
    pub(super) urgency: Urgency,
}

/// Whether an object here was written or removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Deed {
    Written,
    Removed,
}

/// In which order changes here are carried over (S3-105 … S3-109).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Urgency {
    /// It takes place within the hour.
    Hour,
    /// It was removed.
    Removal,
    /// It takes place within a day.
    Day,
    /// It takes place within a week.
    Week,
    /// The rest.
    Rest,
}

impl Urgency {
    /// Returns how soon a change of an object has to be carried over. `ical` is needed of a series only.
    pub(super) fn of(meta: &Meta, ical: Option<&Ical>, now: i64) -> Urgency {
        let Some(span) = meta.index.span else { return Urgency::Rest };
        let within = |seconds: i64| {
            let range = TimeRange { start: now, end: now.saturating_add(seconds) };
            match ical.filter(|_| !span.exact) {
                Some(ical) => Series::of(ical).overlaps(range, &Zone::Utc),
                None => span.start < range.end && span.end.is_none_or(|end| end > now),
            }
        };
        [(3_600, Urgency::Hour), (86_400, Urgency::Day), (604_800, Urgency::Week)]
            .into_iter()
            .find(|(seconds, _)| within(*seconds))
            .map_or(Urgency::Rest, |(_, urgency)| urgency)
    }
}

impl Here {
    fn written(urgency: Urgency) -> Here {
        Here { what: Deed::Written, urgency }
    }

    fn removed() -> Here {
        Here { what: Deed::Removed, urgency: Urgency::Removal }
    }

    /// Tells whether the object is gone here.
    pub(super) fn is_removal(self) -> bool {
        self.what == Deed::Removed
    }
}

impl Pass {
    /// Reads which names were touched here since the last pass; the log's position before the reading.
    pub(super) async fn touched_here(&mut self, full: bool) -> Result<(BTreeSet<Name>, Rev), Halt> {
        let head = self.at.head().await?.rev;
        let since = match self.state.rev {
            Some(rev) if !full => rev,
            _ => return Ok((self.every_name().await?, head)),
        };
        let ours = Origin::Mapping(self.mapping.id.clone());
        match touched(&*self.session.house.store, self.at.id(), since, head, &ours).await? {
            Touched::Names(names) => {
                self.by_people =
                    names.iter().filter(|(_, person)| **person).map(|(n, _)| n.clone()).collect();
                Ok((names.into_keys().collect(), head))
            }
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
    pub(super) async fn changes_there(&mut self, full: bool) -> Result<Delta, Halt> {
        let mut told = Delta::default();
        if let Some(since) = self.state.cursor.clone() {
            match self.pages(Some(&since)).await {
                Ok(delta) if !full => return Ok(delta),
                Ok(delta) => told = delta,
                // What was told since is lost: this listing alone shows it, and one may be short by mistake.
                Err(Halt::Far(Trouble::CursorExpired)) => told.expired = true,
                Err(halt) => return Err(halt),
            }
        }
        let mut delta = self.pages(None).await?;
        delta.expired = told.expired;
        let listed: HashSet<String> = delta.seen.iter().map(|s| spelling(&s.id)).collect();
        delta.gone.extend(told.gone.into_iter().filter(|id| !listed.contains(&spelling(id))));
        delta.seen.extend(told.seen.into_iter().filter(|s| !listed.contains(&spelling(&s.id))));
        for (id, seen) in told.held {
            if !listed.contains(&id) {
                delta.hold(seen);
            }
        }
        delta.same.extend(told.same.into_iter().filter(|id| !listed.contains(id)));
        Ok(delta)
    }

    async fn pages(&mut self, since: Option<&Cursor>) -> Result<Delta, Halt> {
        let provider = std::sync::Arc::clone(&self.provider);
        let mapping = std::sync::Arc::clone(&self.mapping);
        let mut pages = provider.changes(&mapping.remote, since, self.window);
        let mut delta = Delta::default();
        while let Some(page) = pages.next().await {
            let Page { seen, read, gone, end } = page?;
            delta.seen.extend(seen);
            delta.gone.extend(gone);
            self.take(read, &mut delta).await?;
            if let Some(End { next, complete }) = end {
                (delta.next, delta.complete) = (next, complete);
                return Ok(delta);
            }
        }
        Err(Trouble::Unreachable("The far side's answer broke off.".into()).into())
    }

    /// Takes the content of a page in: what nobody knew is dealt with at once on a first pass, what is as agreed is
    /// let go, the rest is held.
    async fn take(&mut self, read: Vec<Seen>, delta: &mut Delta) -> Result<(), Halt> {
        if read.is_empty() {
            return Ok(());
        }
        for seen in read {
            let sighting = Sighting { id: seen.id.clone(), version: seen.version.clone() };
            if self.is_first() && self.take_new(&seen).await? {
                delta.same.insert(spelling(&seen.id));
                delta.seen.push(sighting);
                continue;
            }
            delta.seen.push(sighting);
            let same = match self.ledger.by_remote(&seen.id).await? {
                Some(base) => {
                    is_as_agreed(&base, seen.version.as_ref()) || self.says_the_same(&base, &seen).await?
                }
                None => self.is_left(&seen.id, seen.version.as_ref()),
            };
            if same {
                let id = spelling(&seen.id);
                delta.held.remove(&id);
                delta.same.insert(id);
            } else {
                delta.hold(seen);
            }
            self.run.saved = self.run.saved.saturating_add(1);
        }
        self.flush().await
    }

    /// Tells whether content without a version says what was agreed.
    async fn says_the_same(&self, base: &Base, seen: &Seen) -> Result<bool, Halt> {
        let settled = base.conflict.is_none() && base.version.is_none() && !base.pending;
        let as_before = base.fields == Some(self.mapping.fields) && base.missing.is_none();
        if !settled || !as_before || seen.version.is_some() {
            return Ok(false);
        }
        Ok(self
            .named(seen.clone())
            .await?
            .is_ok_and(|(uid, _, ical)| uid == base.uid && print::print(&self.shaped(&ical)) == base.print))
    }

    /// Deals with an object that nobody knew, on a first pass. False: it is not one.
    async fn take_new(&mut self, seen: &Seen) -> Result<bool, Halt> {
        let Ok((uid, ical)) = uid_of(seen) else { return Ok(false) };
        let known =
            self.ledger.by_remote(&seen.id).await?.is_some() || self.ledger.by_uid(&uid).await?.is_some();
        if known || self.state.again.iter().any(|failure| failure.uid == uid) {
            return Ok(false);
        }
        self.run.total = self.run.total.saturating_add(1);
        self.looked.insert(spelling(&seen.id));
        if self.may_be_known(&uid, seen, &ical).await? {
            return Ok(true);
        }
        self.settle(&uid, Far::Seen(seen.clone(), std::sync::Arc::new(ical))).await?;
        if self.outgoing.len() >= self.provider.abilities().batch.max(1) {
            self.flush().await?;
        }
        self.went_on();
        Ok(true)
    }

    /// Compares names and versions with what was agreed. Reads no content.
    pub(super) async fn observe(
        &mut self,
        names: BTreeSet<Name>,
        rev: Rev,
        delta: Delta,
        full: bool,
    ) -> Result<Observed, Halt> {
        let mut seen = Observed {
            rev,
            cursor: delta.next,
            complete: delta.complete,
            expired: delta.expired,
            held: delta.held,
            ..Observed::default()
        };
        let listed: HashSet<String> = delta.seen.iter().map(|s| spelling(&s.id)).collect();
        let mut named = HashSet::new();
        for sighting in delta.seen {
            let base = self.ledger.by_remote(&sighting.id).await?;
            let back = base.as_ref().filter(|base| base.missing.is_some());
            seen.back.extend(back.map(|base| base.uid.clone()));
            let id = spelling(&sighting.id);
            let same = match &base {
                Some(base) => is_as_agreed(base, sighting.version.as_ref()),
                None => self.is_left(&sighting.id, sighting.version.as_ref()),
            };
            if !same && !delta.same.contains(&id) && named.insert(id) {
                seen.read.push(sighting.id);
            }
        }
        for id in &delta.gone {
            seen.far_gone.extend(self.ledger.by_remote(id).await?.map(|base| base.uid));
        }
        if delta.complete {
            self.forget_left(&listed).await?;
        }
        for name in &names {
            if let Some((uid, here)) = self.look_here(name, full).await? {
                // A name that was removed and another that holds the same object now: it was moved.
                let written = seen.here.get(&uid).is_some_and(|before| !before.is_removal());
                if !(written && here.is_removal()) {
                    seen.here.insert(uid, here);
                }
            }
        }
        if full || delta.complete {
            let mut walk = self.ledger.walk();
            while let Some(page) = walk.next().await? {
                for base in page {
                    if delta.complete {
                        self.note_absent(&mut seen, &listed, &base);
                    }
                    if full {
                        self.note_here(&mut seen, &names, &base);
                    }
                }
            }
        }
        let waits = |uid: &str| self.state.again.iter().any(|f| f.uid == uid && !self.is_due(f, full));
        for base in self.ledger.pending().await? {
            if base.part.is_none() && !waits(&base.uid) {
                seen.here.entry(base.uid).or_insert(Here::written(Urgency::Rest));
            }
        }
        self.add_failures(&mut seen, &listed, full).await?;
        Ok(seen)
    }

    /// Notes what a listing of our names cannot show.
    fn note_here(&self, seen: &mut Observed, names: &BTreeSet<Name>, base: &Base) {
        // What this pass has just made was not there to be listed.
        let gone = !names.contains(&base.name) && !self.looked.contains(&base.uid);
        if base.part.is_none() && gone {
            seen.here.entry(base.uid.clone()).or_insert(Here::removed());
        }
        // The window has moved on, and with it which parts of a series are there.
        if base.split.is_some() {
            seen.here.entry(base.uid.clone()).or_insert(Here::written(Urgency::Rest));
        }
    }

    /// Compares a complete listing with what was agreed: what it does not name although it should is missing.
    fn note_absent(&self, seen: &mut Observed, listed: &HashSet<String>, base: &Base) {
        let must = self.must_be_listed(base);
        seen.listable = seen.listable.saturating_add(usize::from(must && is_linked(base)));
        // What waits for a person's decision is not removed before it, whatever a listing says.
        let settled = is_linked(base) && base.split.is_none() && base.conflict.is_none();
        let told = seen.far_gone.contains(&base.uid) || listed.contains(&spelling(&base.remote));
        if !settled || told || !must {
            return;
        }
        seen.absent = seen.absent.saturating_add(1);
        let confirmed = base.missing.is_some_and(|since| later(since, CONFIRM_AFTER) <= self.now);
        if confirmed || self.confirmed {
            seen.far_gone.insert(base.uid.clone());
            return;
        }
        seen.waiting = seen.waiting.saturating_add(1);
        if base.missing.is_none() {
            seen.missing.push(base.uid.clone());
        }
    }

    /// Looks at one name here. Nothing: it is as agreed, or never mattered.
    async fn look_here(&self, name: &Name, full: bool) -> Result<Option<(String, Here)>, Halt> {
        let base = self.ledger.by_name(name).await?;
        let Some(meta) = self.at.meta(name.as_str()).await? else {
            return Ok(base.map(|base| (base.uid, Here::removed())));
        };
        let same = base.as_ref().is_some_and(|b| b.etag == meta.etag && b.conflict.is_none()) && !self.anew;
        let Some(uid) = meta.index.uid.clone().filter(|_| !same) else { return Ok(None) };
        let known = base.is_some() || self.ledger.by_uid(&uid).await?.is_some();
        // What nobody carries is not even read. A far side that has it within the window names it by itself.
        if !known && !scope::spans(meta.index.span, self.window) {
            return Ok(None);
        }
        let series = match meta.index.span {
            // When a series takes place next is in its text. Where all is compared, nothing is urgent.
            Some(span) if !span.exact && !full => self.at.object(name.as_str()).await?,
            _ => None,
        };
        let ical = series.and_then(|object| Ical::parse(object.bytes).ok());
        Ok(Some((uid, Here::written(Urgency::of(&meta, ical.as_ref(), self.now.seconds())))))
    }

    /// Objects that failed before are looked at again although nothing changed.
    async fn add_failures(
        &self,
        seen: &mut Observed,
        listed: &HashSet<String>,
        full: bool,
    ) -> Result<(), Halt> {
        let wanted: HashSet<String> = seen.read.iter().map(spelling).collect();
        // What failed and was written here since is looked at on both sides: what the far side told of it is not known yet.
        let due = |f: &Failure, seen: &Observed| self.is_due(f, full) || seen.here.contains_key(&f.uid);
        for failure in &self.state.again {
            if !due(failure, seen) {
                continue;
            }
            // Also where neither side names it any more: a decision that it goes is to be carried out.
            let base = self.ledger.by_uid(&failure.uid).await?;
            if failure.local.is_some() || failure.remote.is_none() || base.is_some() {
                seen.here.entry(failure.uid.clone()).or_insert(Here::written(Urgency::Rest));
            }
            let known = base.filter(|base| base.split.is_none()).map(|base| base.remote);
            if let Some(id) = failure.remote.clone().or(known) {
                // What nobody carries yet is asked for whatever a listing says, which may be short by mistake.
                let known = self.ledger.by_remote(&id).await?.is_some();
                let there = !known || !seen.complete || listed.contains(&spelling(&id));
                if there && !wanted.contains(&spelling(&id)) && !seen.far_gone.contains(&failure.uid) {
                    seen.read.push(id);
                }
            }
        }
        Ok(())
    }

    /// Tells whether an object that failed is looked at in this pass although nothing changed.
    pub(super) fn is_due(&self, failure: &Failure, full: bool) -> bool {
        full || (failure.retry && failure.next.is_none_or(|next| next <= self.now))
    }

    /// Remembers which objects a complete listing did not name.
    pub(super) async fn mark_missing(&mut self, missing: &[String], back: &[String]) -> Result<(), Halt> {
        let marks = missing.iter().map(|uid| (uid, Some(self.now))).chain(back.iter().map(|uid| (uid, None)));
        let marks: Vec<_> = marks.collect();
        for chunk in marks.chunks(100) {
            let mut bases = Vec::new();
            for (uid, at) in chunk {
                let base = self.ledger.by_uid(uid).await?;
                let base = base.filter(|base| base.missing.is_some() != at.is_some());
                bases.extend(base.map(|base| (Base { missing: *at, ..base }, None)));
            }
            let ops = self.ledger.put_all(bases).await?;
            self.remember(Vec::new(), ops).await?;
        }
        Ok(())
    }
}

/// Tells whether a version is the one that was agreed on, and nothing is open.
fn is_as_agreed(base: &Base, version: Option<&super::provider::Version>) -> bool {
    base.conflict.is_none() && !base.pending && base.version.is_some() && base.version.as_ref() == version
}

//! What both sides say before anything is decided, compared with what was agreed.
//!
//! Owns: what is looked at here, which absences count, on either side. Does not own: what the far side tells (`there`),
//! decisions about one object (`plan`), carrying them out (`apply`), the order of a pass (`run`).
//!
//! What is held grows with what changed: where all is compared, names here and bases are walked through in pages, what
//! is urgent is held up to a bound, and the rest of what differs here is found again by a second walk when its turn comes.

use std::collections::{BTreeMap, BTreeSet};

use super::digests::Digests;
use super::ledger::spelling;
use super::pace::later;
use super::provider::Cursor;
use super::record::{Base, Failure};
use super::run::{CONFIRM_AFTER, Halt, Pass, is_linked};
use super::scope;
use super::there::{Told, Wanted};
use crate::follow::{Touched, touched};
use crate::ical::Ical;
use crate::ical::series::{Series, TimeRange};
use crate::ical::zone::Zone;
use crate::store::{Etag, Meta, Name, Origin, Rev};

/// Members a page.
const PAGE: usize = 1000;
/// How many urgent changes are held where all is compared; what is more comes with the rest.
const URGENT: usize = 1000;

/// Which names here are looked at.
#[derive(Debug)]
pub(super) enum Names {
    /// All of them.
    All,
    /// Those that were touched.
    These(BTreeSet<Name>),
}

impl Names {
    /// Tells whether nothing happened here.
    pub(super) fn is_quiet(&self) -> bool {
        matches!(self, Names::These(names) if names.is_empty())
    }
}

/// What the two sides say before any content is read.
#[derive(Debug, Default)]
pub(super) struct Observed {
    /// Far side's objects that have to be looked at.
    pub(super) wanted: Wanted,
    /// UIDs whose far side's object is gone.
    pub(super) far_gone: BTreeSet<String>,
    /// UIDs whose object here was written or removed.
    pub(super) here: BTreeMap<String, Here>,
    /// How many more were written here: they are found by another walk.
    pub(super) rest: usize,
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
    pub(super) fn written(urgency: Urgency) -> Here {
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
    pub(super) async fn touched_here(&mut self, full: bool) -> Result<(Names, Rev), Halt> {
        let head = self.at.head().await?.rev;
        let since = match self.state.rev {
            Some(rev) if !full => rev,
            _ => return Ok((Names::All, head)),
        };
        let ours = Origin::Mapping(self.mapping.id.clone());
        match touched(&*self.session.house.store, self.at.id(), since, head, &ours).await? {
            Touched::Names(names) => {
                self.by_people =
                    names.iter().filter(|(_, person)| **person).map(|(n, _)| n.clone()).collect();
                Ok((Names::These(names.into_keys().collect()), head))
            }
            Touched::Anything => Ok((Names::All, head)),
        }
    }

    /// Compares names and states with what was agreed. Reads no content.
    pub(super) async fn observe(
        &mut self,
        names: Names,
        rev: Rev,
        told: Told,
        full: bool,
    ) -> Result<Observed, Halt> {
        let Told { named, wanted, gone, back, next, complete, expired, .. } = told;
        let mut seen = Observed { wanted, back, rev, cursor: next, complete, expired, ..Observed::default() };
        for id in &gone {
            seen.far_gone.extend(self.ledger.by_remote(id).await?.map(|base| base.uid));
        }
        if complete {
            self.forget_left(&named).await?;
        }
        let all = matches!(names, Names::All);
        if all || complete {
            let mut walk = self.ledger.walk();
            while let Some(page) = walk.next().await? {
                for base in page {
                    if complete {
                        self.note_absent(&mut seen, &named, &base);
                    }
                    if all && base.part.is_none() && self.etag_here(&base).await?.is_none() {
                        seen.here.insert(base.uid, Here::removed());
                    }
                }
            }
        }
        match names {
            Names::All => self.look_at_all(&mut seen, full).await?,
            Names::These(names) => {
                for name in &names {
                    for (uid, here) in self.look_here(name, full).await? {
                        // A name that was removed and another that holds the same object now: it was moved.
                        let written = seen.here.get(&uid).is_some_and(|before| !before.is_removal());
                        if !(written && here.is_removal()) {
                            seen.here.insert(uid, here);
                        }
                    }
                }
            }
        }
        let waits = |uid: &str| self.state.again.iter().any(|f| f.uid == uid && !self.is_due(f, full));
        for base in self.ledger.open_writes().await? {
            if base.part.is_none() && !waits(&base.uid) {
                seen.here.entry(base.uid).or_insert(Here::written(Urgency::Rest));
            }
        }
        self.add_failures(&mut seen, &named, full).await?;
        Ok(seen)
    }

    /// Looks at every name here. Holds what is urgent, counts the rest.
    async fn look_at_all(&self, seen: &mut Observed, full: bool) -> Result<(), Halt> {
        let mut after: Option<Name> = None;
        let mut room = URGENT;
        while let Some(page) = self.page_here(&mut after).await? {
            for meta in &page {
                let Some((uid, here)) = self.look_at(meta, full).await? else { continue };
                let failed = !full && self.state.again.iter().any(|failure| failure.uid == uid);
                let known = failed || seen.here.contains_key(&uid);
                if known || (here.urgency < Urgency::Rest && room > 0) {
                    room = room.saturating_sub(usize::from(!known));
                    seen.here.insert(uid, here);
                } else {
                    seen.rest = seen.rest.saturating_add(1);
                }
            }
        }
        Ok(())
    }

    /// Reads the next page of what is here.
    async fn page_here(&self, after: &mut Option<Name>) -> Result<Option<Vec<Meta>>, Halt> {
        let page = self.at.list(after.as_ref().map(Name::as_str), PAGE).await?;
        let Some(last) = page.last() else { return Ok(None) };
        *after = Some(last.name.clone());
        Ok(Some(page))
    }

    /// Compares a complete listing with what was agreed: what it does not name although it should is missing.
    fn note_absent(&self, seen: &mut Observed, named: &Digests, base: &Base) {
        let must = self.must_be_listed(base);
        let listable = must && is_linked(base) && base.begun.is_none();
        seen.listable = seen.listable.saturating_add(usize::from(listable));
        // What waits for a person's decision is not removed before it, whatever a listing says.
        // What is half written may have been taken away by ourselves, to be made anew.
        let settled = is_linked(base) && base.conflict.is_none() && base.begun.is_none();
        let told = seen.far_gone.contains(&base.uid) || named.contains(&spelling(&base.remote));
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

    /// Reads the state of our object of a base; nothing: it is not here any more.
    async fn etag_here(&self, base: &Base) -> Result<Option<Etag>, Halt> {
        let named = self.at.meta(base.name.as_str()).await?;
        if let Some(meta) = named.filter(|meta| meta.index.uid.as_ref() == Some(&base.uid)) {
            return Ok(Some(meta.etag));
        }
        match self.at.by_uid(&base.uid).await? {
            Some(name) => Ok(self.at.meta(name.as_str()).await?.map(|meta| meta.etag)),
            None => Ok(None),
        }
    }

    /// Counts the objects here that would be removed because theirs are gone: not those that were edited or removed.
    pub(super) async fn untouched_here(&self, gone: impl Iterator<Item = &String>) -> Result<usize, Halt> {
        let mut count: usize = 0;
        for uid in gone {
            let base = self.ledger.by_uid(uid).await?.filter(|base| base.begun.is_none());
            let Some(base) = base else { continue };
            let untouched = base.part.is_some() || self.etag_here(&base).await?.as_ref() == Some(&base.etag);
            count = count.saturating_add(usize::from(untouched));
        }
        Ok(count)
    }

    /// Looks at one name here: what holds it now, and what held it before and is gone.
    async fn look_here(&self, name: &Name, full: bool) -> Result<Vec<(String, Here)>, Halt> {
        let mut found = Vec::new();
        if let Some(base) = self.ledger.by_name(name).await?
            && self.etag_here(&base).await?.is_none()
        {
            found.push((base.uid, Here::removed()));
        }
        if let Some(meta) = self.at.meta(name.as_str()).await? {
            found.extend(self.look_at(&meta, full).await?);
        }
        Ok(found)
    }

    /// Looks at one object here. Nothing: it is as agreed, or never mattered.
    async fn look_at(&self, meta: &Meta, full: bool) -> Result<Option<(String, Here)>, Halt> {
        // What this pass has dealt with already is not looked at twice.
        let Some(uid) = meta.index.uid.clone().filter(|uid| !self.looked.contains(uid)) else {
            return Ok(None);
        };
        let base = self.ledger.by_uid(&uid).await?;
        let agreed = |base: &Base| {
            base.name == meta.name
                && base.etag == meta.etag
                && base.conflict.is_none()
                && base.begun.is_none()
                && !self.anew
        };
        // The window moves on, and with it which parts of a series are there.
        if base.as_ref().is_some_and(|base| agreed(base) && !(full && base.split.is_some())) {
            return Ok(None);
        }
        // What nobody carries is not even read. A far side that has it within the window names it by itself.
        if base.is_none() && !scope::spans(meta.index.span, self.window) {
            return Ok(None);
        }
        let series = match meta.index.span {
            // When a series takes place next is in its text. Where all is compared, nothing is urgent.
            Some(span) if !span.exact && !full => self.at.object(meta.name.as_str()).await?,
            _ => None,
        };
        let ical = series.and_then(|object| Ical::parse(object.bytes).ok());
        Ok(Some((uid, Here::written(Urgency::of(meta, ical.as_ref(), self.now.seconds())))))
    }

    /// Deals with what differs here and was not held, page by page.
    pub(super) async fn settle_rest(&mut self, full: bool) -> Result<(), Halt> {
        let mut after: Option<Name> = None;
        while let Some(page) = self.page_here(&mut after).await? {
            let mut rest = Vec::new();
            for meta in &page {
                rest.extend(self.look_at(meta, full).await?);
            }
            #[cfg(test)]
            self.weigh(rest.len());
            self.settle_here(rest).await?;
        }
        Ok(())
    }

    /// Objects that failed before are looked at again although nothing changed.
    async fn add_failures(&self, seen: &mut Observed, named: &Digests, full: bool) -> Result<(), Halt> {
        // What failed and was written here since is looked at on both sides: what the far side told of it is not known yet.
        let due = |f: &Failure, seen: &Observed| self.is_due(f, full) || seen.here.contains_key(&f.uid);
        for failure in &self.state.again {
            if !due(failure, seen) {
                continue;
            }
            // Also where neither side names it any more: a decision that it goes is to be carried out.
            let base = self.ledger.by_uid(&failure.uid).await?;
            let part = base.as_ref().is_some_and(|base| base.part.is_some());
            if !part && (failure.local.is_some() || failure.remote.is_none() || base.is_some()) {
                seen.here.entry(failure.uid.clone()).or_insert(Here::written(Urgency::Rest));
            }
            let known = base.and_then(|base| base.place().cloned());
            if let Some(id) = failure.remote.clone().or(known) {
                // What nobody carries yet is asked for whatever a listing says, which may be short by mistake.
                let known = self.ledger.by_remote(&id).await?.is_some();
                let there = !known || !seen.complete || named.contains(&spelling(&id));
                // On a first pass it may have been read by now.
                if there && !self.looked.contains(&spelling(&id)) && !seen.far_gone.contains(&failure.uid) {
                    seen.wanted.want(id);
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

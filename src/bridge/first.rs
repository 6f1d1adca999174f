//! The first meeting of two calendars: events that are one although their UIDs differ are joined, not doubled.
//!
//! Owns: collecting what may be one while the far side is read, remembering the pairs. Does not own: when two events are
//! one (`similar`), what becomes of a pair (`plan`).
//!
//! A pair keeps both UIDs, ours here and theirs there.
//!
//! Held are, once the far side names an event that nobody knows: of each event of ours the moments of its beginning and
//! end (`similar::Times`); of each UID of theirs sixteen bytes; and of those of theirs that begin or end with one of ours
//! what is compared of them, because all of these have to be known before any two are joined.

use std::sync::Arc;

use super::digests::Digests;
use super::fold::part_of;
use super::order::Open;
use super::provider::{RemoteId, Seen};
use super::record::{Base, Fields};
use super::run::{Halt, Pass};
use super::shape;
use super::similar::{Sketch, Times, pairs};
use crate::ical::Ical;
use crate::store::{CollectionId, Fault, Name, Store};

/// Members a page.
const PAGE: usize = 500;
/// Pairs of one commit.
const CHUNK: usize = 100;

/// What a first pass knows of both sides.
#[derive(Debug, Default)]
pub(super) struct First {
    /// When ours begin and end, once that was needed.
    ours: Option<Times>,
    /// UIDs that the far side has.
    theirs: Digests,
    /// Objects of the far side that begin or end with one of ours.
    candidates: Vec<(Sketch, RemoteId)>,
    /// They were compared: what is not joined now is new.
    over: bool,
}

#[cfg(test)]
impl First {
    /// Returns how many objects are put aside.
    pub(super) fn aside(&self) -> usize {
        self.candidates.len()
    }
}

/// Reads what is compared of the events of a collection, one after the other.
pub(super) async fn each_of_ours(
    store: &dyn Store,
    collection: CollectionId,
    counts: impl Fn(&Ical) -> bool,
    mut take: impl FnMut(Sketch),
) -> Result<(), Fault> {
    let mut after: Option<Name> = None;
    loop {
        let page = store.list(collection, after.as_ref().map(Name::as_str), PAGE).await?;
        let Some(last) = page.last() else { return Ok(()) };
        after = Some(last.name.clone());
        for meta in page {
            let Some(uid) = meta.index.uid else { continue };
            let Some(object) = store.object(collection, meta.name.as_str()).await? else { continue };
            let Ok(ical) = Ical::parse(object.bytes) else { continue };
            if counts(&ical)
                && let Some(sketch) = Sketch::of(&uid, &ical)
            {
                take(sketch);
            }
        }
    }
}

impl Pass {
    /// Tells whether an object of the far side that nobody knows may be one of ours under another UID. Then it is put
    /// aside until all of the far side was read.
    pub(super) async fn may_be_known(&mut self, uid: &str, seen: &Seen, ical: &Ical) -> Result<bool, Halt> {
        // What says only that somebody is busy is like everything else.
        if !self.is_first() || self.first.over || self.mapping.fields == Fields::Busy {
            return Ok(false);
        }
        self.first.theirs.insert(uid);
        if let Some((whole, _)) = part_of(uid)
            && self.at.by_uid(whole).await?.is_some()
        {
            // A day of a series of ours.
            return Ok(false);
        }
        let carried = shape::in_window(ical, self.window) && shape::passes(&self.mapping.filters, ical);
        if !carried || self.at.by_uid(uid).await?.is_some() {
            return Ok(false);
        }
        let Some(sketch) = Sketch::of(uid, ical) else { return Ok(false) };
        let ours = match self.first.ours.take() {
            Some(ours) => ours,
            None => {
                let mut times = Times::default();
                self.ours(|own| times.add(&own)).await?;
                times
            }
        };
        let near = ours.is_near(&sketch);
        self.first.ours = Some(ours);
        if near {
            self.first.candidates.push((sketch, seen.id.clone()));
        }
        Ok(near)
    }

    /// Reads what is compared of those events of ours that the mapping carries.
    async fn ours(&self, take: impl FnMut(Sketch)) -> Result<(), Halt> {
        let carried =
            |ical: &Ical| shape::in_window(ical, self.window) && shape::passes(&self.mapping.filters, ical);
        let store = Arc::clone(&self.session.house.store);
        Ok(each_of_ours(&*store, self.at.id(), carried, take).await?)
    }

    /// Joins what is one, and deals with the rest of what was put aside.
    pub(super) async fn join_similar(&mut self, open: &mut Open) -> Result<(), Halt> {
        let First { theirs, candidates, .. } =
            std::mem::replace(&mut self.first, First { over: true, ..First::default() });
        if candidates.is_empty() {
            return Ok(());
        }
        let mut times = Times::default();
        candidates.iter().for_each(|(other, _)| times.add(other));
        let mut near = Vec::new();
        self.ours(|own| {
            if times.meets(&own) && !theirs.contains(&own.uid) {
                near.push(own);
            }
        })
        .await?;
        let mut ours = Vec::new();
        for own in near {
            if self.ledger.by_uid(&own.uid).await?.is_none() {
                ours.push(own);
            }
        }
        let (sketches, ids): (Vec<Sketch>, Vec<RemoteId>) = candidates.into_iter().unzip();
        let mut bases = Vec::new();
        for pair in pairs(&ours, &sketches, self.match_confidence) {
            let all = (ours.get(pair.ours), sketches.get(pair.theirs), ids.get(pair.theirs));
            let (Some(own), Some(other), Some(id)) = all else { continue };
            let Some(name) = self.at.by_uid(&own.uid).await? else { continue };
            let Some(meta) = self.at.meta(name.as_str()).await? else { continue };
            tracing::debug!(mapping = %self.mapping.id, confidence = pair.confidence, "two events are one");
            // They never agreed: their content is united like that of any two that have one UID.
            let base = Base {
                uid_there: Some(other.uid.clone()),
                fields: Some(self.mapping.fields),
                ..Base::new(&own.uid, name, meta.etag, id.clone())
            };
            bases.push((base, None));
            if bases.len() >= CHUNK {
                let ops = self.ledger.put_all(std::mem::take(&mut bases)).await?;
                self.remember(Vec::new(), ops).await?;
            }
        }
        let ops = self.ledger.put_all(bases).await?;
        self.remember(Vec::new(), ops).await?;
        let batch = self.provider.abilities().batch.max(1);
        for chunk in ids.chunks(batch) {
            for seen in self.read(chunk).await? {
                self.arrived(seen, open).await?;
                self.went_on();
            }
            self.flush().await?;
        }
        Ok(())
    }
}

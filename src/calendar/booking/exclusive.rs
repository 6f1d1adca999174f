//! Calendars that take one thing at a time: whatever would overlap something busy there is refused, whoever writes it by
//! hand (B-02, B-05). The bridge is not refused: what happens on a far side has happened.
//!
//! Owns: the mark, what an object would overlap, what has to hold until it is stored. Does not own: storing (`put`,
//! `transfer`).

use bytes::Bytes;

use super::busy::{Item, What, items_of};
use super::ground::Blocking;
use super::holds;
use super::slots::Clash;
use crate::calendar::access::Writable;
use crate::calendar::hidden::{marked, server};
use crate::calendar::{Error, Refusal, Session};
use crate::ical::Ical;
use crate::ical::series::{Series, TimeRange};
use crate::store::{Collection, Expect, Name, Origin, Properties};

/// The mark.
const EXCLUSIVE: &str = "exclusive";
/// How far ahead a series without end is looked at.
const AHEAD: i64 = 2 * 366 * 86_400;

/// Tells whether the calendar takes one thing at a time.
pub fn is_exclusive(collection: &Collection) -> bool {
    collection.properties.0.contains_key(&server(EXCLUSIVE))
}

/// Has a calendar take one thing at a time, or not any more.
pub fn set_exclusive(properties: &mut Properties, exclusive: bool) {
    let (mark, text) = marked(EXCLUSIVE);
    match exclusive {
        true => properties.0.insert(mark, text),
        false => properties.0.remove(&mark),
    };
}

impl Session {
    /// Refuses an object that would overlap something in an exclusive calendar; else returns what has to hold until it is
    /// stored. What lies under one of the names `own` is replaced or moved by it.
    ///
    /// # Errors
    /// `Overlap`; when the store fails.
    pub(in crate::calendar) async fn room_for(
        &self,
        at: &Writable,
        own: &[&Name],
        bytes: &Bytes,
    ) -> Result<Vec<Expect>, Error> {
        let by_hand = matches!(self.origin, Origin::Dav { .. } | Origin::Api { .. });
        if !by_hand || !is_exclusive(at.collection()) {
            return Ok(Vec::new());
        }
        let Ok(ical) = Ical::parse(bytes.clone()) else { return Ok(Vec::new()) };
        let basis = self.basis(Some(at)).await?;
        // First the positions, then the look.
        let rev = at.head().await?.rev;
        let now = basis.now.seconds();
        let range = match Series::of(&ical).span() {
            None => return Ok(Vec::new()),
            Some(extent) => TimeRange::new(
                Some(extent.start),
                Some(extent.end.unwrap_or_else(|| extent.start.max(now).saturating_add(AHEAD))),
            ),
        };
        let Some(name) = own.first() else { return Ok(Vec::new()) };
        let (zone, eyes) = (&basis.zone, basis.eyes());
        let mut new = items_of(&ical, (name, at.id()), range.widened(1, 1), zone, eyes)?;
        // Other words for the same times take nothing from anybody.
        for name in own {
            let Some(object) = at.object(name.as_str()).await? else { continue };
            let Ok(before) = Ical::parse(object.bytes) else { continue };
            let before = items_of(&before, (name, at.id()), range.widened(1, 1), zone, eyes)?;
            new.retain(|item| !before.iter().any(|b| b.start <= item.start && item.end <= b.end));
        }
        new.sort_by_key(|item| (item.start, item.end));
        let (Some(first), Some(last)) = (new.first(), new.iter().map(|item| item.end).max()) else {
            return Ok(Vec::new());
        };
        let taken = TimeRange { start: first.start, end: last };
        let mut there = Vec::new();
        at.add_items(taken, zone, eyes, &mut there).await?;
        if let Some(holds) = &basis.holds {
            holds.at.add_items(taken, zone, eyes, &mut there).await?;
        }
        there.retain(|item| match item.what {
            What::Hold(of) => of == at.id(),
            What::Buffer => false,
            What::Event | What::Booking => !own.contains(&&item.name),
        });
        there.sort_by_key(|item| (item.start, item.end));
        if let Some(item) = overlapping(&new, &there) {
            let blocking: Blocking = basis.blocking(item, Clash::Overlap).await?;
            return Err(Refusal::Overlap(Box::new(blocking)).into());
        }
        let quiet = |id, rev| Expect::Quiet(id, rev, taken.start, taken.end);
        let mut expects = vec![quiet(at.id(), rev)];
        match (&basis.holds, Name::new(holds::NAME)) {
            (Some(holds), _) => expects.push(quiet(holds.at.id(), holds.rev)),
            (None, Some(name)) => expects.push(Expect::NoChild(basis.home.id(), name)),
            (None, None) => {}
        }
        Ok(expects)
    }
}

/// Returns the first of `there` that takes place at the same time as one of `new`; both are sorted by their start.
fn overlapping<'a>(new: &[Item], there: &'a [Item]) -> Option<&'a Item> {
    let mut waiting = there.iter().peekable();
    let mut open: Vec<&Item> = Vec::new();
    for item in new {
        while let Some(next) = waiting.next_if(|next| next.start < item.end) {
            open.push(next);
        }
        open.retain(|other| other.end > item.start);
        if let Some(found) = open.iter().find(|other| other.start < item.end) {
            return Some(found);
        }
    }
    None
}

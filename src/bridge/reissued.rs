//! Events of a far side that is only read and that come back under other UIDs: the same events, not others.
//!
//! Owns: knowing what a complete listing names for the first time again by what it says, and remembering its new name.
//! Does not own: what is really new or gone (`order`), another UID in the same place (`order::renamed`).
//!
//! Feeds are made anew for every answer, and some give every event a new UID each time. What says the same is the same;
//! what is left over is known by its title, its times and its rule, so that an edit of it is an edit. Held are, of each
//! event that nobody knows, its names and two digests.

use std::collections::HashMap;

use super::digests::digest_of;
use super::ledger::spelling;
use super::print;
use super::provider::{RemoteId, Seen, Version};
use super::record::Base;
use super::run::{Halt, Pass, is_linked, uid_of};
use super::there::Told;
use crate::ical::Ical;

/// Bases of one commit.
const CHUNK: usize = 100;
/// What may change of an event that is known by its looks.
const LOOSE: [&str; 13] = [
    "UID",
    "DESCRIPTION",
    "LOCATION",
    "URL",
    "STATUS",
    "TRANSP",
    "CLASS",
    "CATEGORIES",
    "COLOR",
    "GEO",
    "PRIORITY",
    "X-ALT-DESC",
    "X-MICROSOFT-CDO-BUSYSTATUS",
];

/// What an object says, whatever its UID.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Looks {
    /// All of it.
    whole: u128,
    /// Its title, its times, its rule and whatever else it is hardly ever edited in.
    rough: u128,
}

impl Looks {
    fn of(ical: &Ical) -> Looks {
        let digest = |without: &[&str]| digest_of(&print::print_without(ical, without));
        Looks { whole: digest(&["UID"]), rough: digest(&LOOSE) }
    }
}

/// An object that nobody knows.
#[derive(Debug)]
pub(super) struct Stranger {
    id: RemoteId,
    uid: String,
    version: Option<Version>,
    looks: Looks,
}

impl Stranger {
    fn of(seen: &Seen) -> Option<Stranger> {
        let (uid, ical) = uid_of(seen).ok()?;
        Some(Stranger { id: seen.id.clone(), uid, version: seen.version.clone(), looks: Looks::of(&ical) })
    }
}

impl Pass {
    /// Notes an object that nobody knows, where it may be one that is known.
    pub(super) fn note_stranger(&self, seen: &Seen, strangers: &mut Vec<Stranger>) {
        if !self.provider.abilities().writes && !self.is_first() {
            strangers.extend(Stranger::of(seen));
        }
    }

    /// Gives what a complete listing does not name any more the name under which it came back.
    pub(super) async fn know_again(&mut self, told: &mut Told) -> Result<(), Halt> {
        let strangers = std::mem::take(&mut told.strangers);
        if !told.complete || strangers.is_empty() {
            return Ok(());
        }
        let mut free: Vec<Option<Stranger>> = Vec::with_capacity(strangers.len());
        for stranger in strangers {
            free.push(self.is_free(&stranger, told).await?.then_some(stranger));
        }
        let mut missed = Vec::new();
        let mut walk = self.ledger.walk();
        while let Some(page) = walk.next().await? {
            for base in page {
                let settled = is_linked(&base) && base.part.is_none() && base.conflict.is_none();
                if !settled || told.named.contains(&spelling(&base.remote)) {
                    continue;
                }
                let agreed = self.ledger.bytes(&base.uid).await?.and_then(|bytes| Ical::parse(bytes).ok());
                missed.extend(agreed.map(|agreed| (base.uid, Looks::of(&agreed))));
            }
        }
        // A name that an event had before comes back: nothing has to be guessed.
        let mut returned = Vec::new();
        let mut named: HashMap<String, usize> = HashMap::new();
        for (at, stranger) in free.iter().enumerate() {
            named.extend(stranger.iter().map(|stranger| (stranger.uid.clone(), at)));
        }
        missed.retain(|(uid, own)| {
            let back = named.get(uid).and_then(|at| free.get_mut(*at)).and_then(Option::take);
            let same = back.is_none();
            returned.extend(back.map(|stranger| (uid.clone(), *own, stranger)));
            same
        });
        self.rename(returned, told).await?;
        for looks in [|looks: &Looks| looks.whole, |looks: &Looks| looks.rough] {
            let mut by_looks: HashMap<u128, Vec<usize>> = HashMap::new();
            for (at, stranger) in free.iter().enumerate().rev() {
                if let Some(stranger) = stranger {
                    by_looks.entry(looks(&stranger.looks)).or_default().push(at);
                }
            }
            let mut found = Vec::new();
            missed.retain(|(uid, own)| {
                let at = by_looks.get_mut(&looks(own)).and_then(Vec::pop);
                let stranger = at.and_then(|at| free.get_mut(at)).and_then(Option::take);
                let same = stranger.is_none();
                found.extend(stranger.map(|stranger| (uid.clone(), *own, stranger)));
                same
            });
            self.rename(found, told).await?;
        }
        Ok(())
    }

    /// An object that a base which is still named, or another object here, has the UID of is that one.
    async fn is_free(&self, stranger: &Stranger, told: &Told) -> Result<bool, Halt> {
        Ok(match self.ledger.by_uid(&stranger.uid).await? {
            Some(base) => !told.named.contains(&spelling(&base.remote)),
            None => self.at.by_uid(&stranger.uid).await?.is_none(),
        })
    }

    async fn rename(&mut self, found: Vec<(String, Looks, Stranger)>, told: &mut Told) -> Result<(), Halt> {
        if !found.is_empty() {
            tracing::debug!(mapping = %self.mapping.id, events = found.len(), "events are known under other UIDs");
        }
        for chunk in found.chunks(CHUNK) {
            let mut bases = Vec::new();
            for (uid, own, stranger) in chunk {
                let Some(base) = self.ledger.by_uid(uid).await? else { continue };
                let same = own.whole == stranger.looks.whole;
                if same {
                    told.wanted.spare(&stranger.id);
                }
                let version = if same { stranger.version.clone() } else { base.version.clone() };
                let uid_there = (stranger.uid != base.uid).then(|| stranger.uid.clone());
                let base = Base { remote: stranger.id.clone(), version, uid_there, missing: None, ..base };
                bases.push((base, None));
            }
            let ops = self.ledger.put_all(bases).await?;
            self.remember(Vec::new(), ops).await?;
        }
        Ok(())
    }
}

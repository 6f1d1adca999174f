//! What the far side tells, compared with what was agreed as it comes, page by page.
//!
//! Owns: which of its objects are to be read, which content is held, what a first pass deals with at once.
//! Does not own: what an absence means (`observe`), in which order the rest is dealt with (`order`).
//!
//! What is as agreed is let go with its page. Held are: of everything that was named sixteen bytes (`digests`), of what
//! differs its name, and its content up to a bound. A first pass, in which everything differs, deals with each page
//! before it asks for the next one.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use futures_util::StreamExt as _;

use super::digests::{Digests, digest_of};
use super::ledger::spelling;
use super::print;
use super::provider::{Cursor, End, Page, RemoteId, Seen, Sighting, Trouble, Version};
use super::record::Base;
use super::reissued::Stranger;
use super::run::{Far, Halt, Pass, uid_of};
use super::veil::is_veiled;

/// How many objects are held with their content, and how many bytes of it.
const HELD_OBJECTS: usize = 1000;
const HELD_BYTES: usize = 16 << 20;

/// What the far side told, all pages together.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// Everything that it named as being there.
    pub(super) named: Digests,
    /// What has to be looked at.
    pub(super) wanted: Wanted,
    /// What it said is gone.
    pub(super) gone: Vec<RemoteId>,
    /// UIDs that had been missing and are back.
    pub(super) back: Vec<String>,
    /// Where to go on next time.
    pub(super) next: Option<Cursor>,
    /// Everything within the window was named.
    pub(super) complete: bool,
    /// The far side no longer knew the cursor.
    pub(super) expired: bool,
    /// What nobody knows and may be known under another name.
    pub(super) strangers: Vec<Stranger>,
}

/// Objects that are to be looked at, in the order in which they were named, with the content that is there already.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    next: u64,
    places: HashMap<u128, u64>,
    ids: BTreeMap<u64, RemoteId>,
    held: HashMap<u128, Seen>,
    bytes: usize,
}

impl Wanted {
    /// Adds an object.
    pub(super) fn want(&mut self, id: RemoteId) {
        let digest = digest_of(&spelling(&id));
        if let std::collections::hash_map::Entry::Vacant(place) = self.places.entry(digest) {
            place.insert(self.next);
            self.ids.insert(self.next, id);
            self.next = self.next.saturating_add(1);
        }
    }

    /// Adds an object with its content, which is kept if there is room.
    fn hold(&mut self, seen: Seen) {
        let digest = digest_of(&spelling(&seen.id));
        self.want(seen.id.clone());
        self.let_go(digest);
        let more = self.bytes.saturating_add(seen.bytes.len());
        if self.held.len() < HELD_OBJECTS && more <= HELD_BYTES {
            self.bytes = more;
            self.held.insert(digest, seen);
        }
    }

    fn let_go(&mut self, digest: u128) -> Option<Seen> {
        let seen = self.held.remove(&digest)?;
        self.bytes = self.bytes.saturating_sub(seen.bytes.len());
        Some(seen)
    }

    /// Takes an object out: it was told again, and is as agreed.
    pub(super) fn spare(&mut self, id: &RemoteId) {
        let digest = digest_of(&spelling(id));
        if let Some(place) = self.places.remove(&digest) {
            self.ids.remove(&place);
        }
        self.let_go(digest);
    }

    /// Tells whether an object is to be looked at.
    pub(super) fn contains(&self, id: &RemoteId) -> bool {
        self.places.contains_key(&digest_of(&spelling(id)))
    }

    /// Returns how many there are.
    pub(super) fn len(&self) -> usize {
        self.ids.len()
    }

    /// Returns the objects in their order.
    pub(super) fn ids(&self) -> impl Iterator<Item = &RemoteId> {
        self.ids.values()
    }

    /// Takes the first ones out: those whose content is there, and the names of the others.
    pub(super) fn take(&mut self, count: usize) -> Option<(Vec<Seen>, Vec<RemoteId>)> {
        let (mut read, mut unread) = (Vec::new(), Vec::new());
        for _ in 0..count {
            let Some((_, id)) = self.ids.pop_first() else { break };
            let digest = digest_of(&spelling(&id));
            self.places.remove(&digest);
            match self.let_go(digest) {
                Some(seen) => read.push(seen),
                None => unread.push(id),
            }
        }
        (!read.is_empty() || !unread.is_empty()).then_some((read, unread))
    }
}

impl Told {
    /// Tells whether nothing changed on the far side.
    pub(super) fn is_quiet(&self) -> bool {
        self.named.is_empty() && self.gone.is_empty() && !self.complete
    }

    /// Adds what was told before this listing was asked for; of what the listing names, only what it says counts.
    fn after(&mut self, before: Told) {
        let Told { named, mut wanted, gone, back, expired, .. } = before;
        self.gone.extend(gone.into_iter().filter(|id| !self.named.contains(&spelling(id))));
        while let Some((read, unread)) = wanted.take(HELD_OBJECTS) {
            let is_news = |id: &RemoteId| !self.named.contains(&spelling(id));
            let (read, unread): (Vec<Seen>, Vec<RemoteId>) = (
                read.into_iter().filter(|seen| is_news(&seen.id)).collect(),
                unread.into_iter().filter(is_news).collect(),
            );
            read.into_iter().for_each(|seen| self.wanted.hold(seen));
            unread.into_iter().for_each(|id| self.wanted.want(id));
        }
        self.named.extend(named);
        self.back.extend(back);
        self.expired = expired;
    }
}

impl Pass {
    /// Reads what changed there. A full comparison asks for the changes first: a removal that is told is believed at
    /// once, one that only shows as an absence is not; and what was told is not missed by a listing that is short.
    pub(super) async fn changes_there(&mut self, full: bool) -> Result<Told, Halt> {
        let mut before = Told::default();
        if let Some(since) = self.state.cursor.clone() {
            match self.pages(Some(&since)).await {
                // What names everything is the listing that a comparison asks for.
                Ok(mut told) if !full || told.complete => {
                    self.know_again(&mut told).await?;
                    return Ok(told);
                }
                Ok(told) => before = told,
                // What was told since is lost: this listing alone shows it, and one may be short by mistake.
                Err(Halt::Far(Trouble::CursorExpired)) => before.expired = true,
                Err(halt) => return Err(halt),
            }
        }
        let mut told = self.pages(None).await?;
        told.after(before);
        self.know_again(&mut told).await?;
        Ok(told)
    }

    async fn pages(&mut self, since: Option<&Cursor>) -> Result<Told, Halt> {
        let provider = Arc::clone(&self.provider);
        let mapping = Arc::clone(&self.mapping);
        let mut pages = provider.changes(&mapping.remote, since, self.window);
        let mut told = Told::default();
        while let Some(page) = pages.next().await {
            let Page { seen, read, beyond, gone, end } = page?;
            let mut strange = Vec::new();
            for sighting in seen {
                let known = self.is_as_known(&mut told, &sighting.id, sighting.version.as_ref()).await?;
                match known {
                    Known::Same => told.wanted.spare(&sighting.id),
                    Known::Never if self.is_first() => strange.push(sighting.id),
                    Known::Never | Known::Other => told.wanted.want(sighting.id),
                }
            }
            if self.is_first() {
                let news = u64::try_from(strange.len().saturating_add(read.len())).unwrap_or(u64::MAX);
                self.awaited = self.awaited.saturating_add(news);
                self.run.total = self.run.total.saturating_add(news);
                self.tell();
            }
            self.read_new(strange, &mut told).await?;
            self.look_beyond(beyond, &mut told).await?;
            told.gone.extend(gone);
            self.run.saved = self.run.saved.saturating_add(u64::try_from(read.len()).unwrap_or(u64::MAX));
            for seen in read {
                self.take(seen, &mut told).await?;
            }
            #[cfg(test)]
            self.weigh(told.wanted.len() + told.gone.len() + told.back.len());
            self.flush().await?;
            // What was not new is counted when it is its turn.
            self.run.total = self.run.total.saturating_sub(std::mem::take(&mut self.awaited));
            if let Some(End { next, complete }) = end {
                (told.next, told.complete) = (next, complete);
                return Ok(told);
            }
        }
        Err(Trouble::Unreachable("The far side's answer broke off.".into()).into())
    }

    /// Compares what was named with what was agreed.
    async fn is_as_known(
        &self,
        told: &mut Told,
        id: &RemoteId,
        version: Option<&Version>,
    ) -> Result<Known, Halt> {
        told.named.insert(&spelling(id));
        let Some(base) = self.ledger.by_remote(id).await? else {
            return Ok(if self.is_left(id, version).await? { Known::Same } else { Known::Never });
        };
        let same = is_as_agreed(&base, version);
        if base.missing.is_some() {
            told.back.push(base.uid);
        }
        Ok(if same { Known::Same } else { Known::Other })
    }

    /// Of what lies outside the window only what is carried counts.
    async fn look_beyond(&self, beyond: Vec<Sighting>, told: &mut Told) -> Result<(), Halt> {
        for Sighting { id, version } in beyond {
            if self.is_first() || self.ledger.by_remote(&id).await?.is_none() {
                continue;
            }
            match self.is_as_known(told, &id, version.as_ref()).await? {
                Known::Same => told.wanted.spare(&id),
                Known::Never | Known::Other => told.wanted.want(id),
            }
        }
        Ok(())
    }

    /// Reads what nobody knew, on a first pass, and deals with it as with content that came along.
    async fn read_new(&mut self, strange: Vec<RemoteId>, told: &mut Told) -> Result<(), Halt> {
        let batch = self.provider.abilities().batch.max(1);
        for ids in strange.chunks(batch) {
            for id in ids {
                // What is not there any more needs no second look either.
                self.looked.insert(&spelling(id));
            }
            for seen in self.read(ids).await? {
                self.take(seen, told).await?;
            }
            self.flush().await?;
        }
        Ok(())
    }

    /// Takes an object with its content in: what nobody knew is dealt with at once on a first pass, what is as agreed is
    /// let go, the rest is held.
    async fn take(&mut self, seen: Seen, told: &mut Told) -> Result<(), Halt> {
        if self.is_first() && self.take_new(&seen).await? {
            told.named.insert(&spelling(&seen.id));
            return Ok(());
        }
        let same = match self.is_as_known(told, &seen.id, seen.version.as_ref()).await? {
            Known::Same => true,
            Known::Other => self.says_the_same(&seen).await?,
            Known::Never => {
                self.note_stranger(&seen, &mut told.strangers);
                false
            }
        };
        if same {
            told.wanted.spare(&seen.id);
        } else {
            told.wanted.hold(seen);
        }
        Ok(())
    }

    /// Tells whether content without a version says what was agreed.
    async fn says_the_same(&self, seen: &Seen) -> Result<bool, Halt> {
        let Some(base) = self.ledger.by_remote(&seen.id).await? else { return Ok(false) };
        let settled = base.conflict.is_none() && base.version.is_none() && !base.is_open();
        let as_before = base.fields == Some(self.mapping.fields) && base.missing.is_none();
        if !settled || !as_before || seen.version.is_some() {
            return Ok(false);
        }
        let named = self.named(seen.clone()).await?;
        Ok(named
            .is_ok_and(|(uid, _, ical)| uid == base.uid && print::print(&self.shaped(&ical)) == base.print))
    }

    /// Deals with an object that nobody knew, on a first pass. False: it is not one.
    async fn take_new(&mut self, seen: &Seen) -> Result<bool, Halt> {
        let Ok((uid, ical)) = uid_of(seen) else { return Ok(false) };
        if is_veiled(&uid) {
            // Whose shadow it is, is found out when it is its turn.
            return Ok(false);
        }
        let known =
            self.ledger.by_remote(&seen.id).await?.is_some() || self.ledger.by_uid(&uid).await?.is_some();
        if known || self.state.again.iter().any(|failure| failure.uid == uid) {
            return Ok(false);
        }
        match self.awaited.checked_sub(1) {
            Some(left) => self.awaited = left,
            None => self.run.total = self.run.total.saturating_add(1),
        }
        self.looked.insert(&spelling(&seen.id));
        if self.may_be_known(&uid, seen, &ical).await? {
            return Ok(true);
        }
        self.settle(&uid, Far::Seen(seen.clone(), Arc::new(ical))).await?;
        if self.outgoing.len() >= self.provider.abilities().batch.max(1) {
            self.flush().await?;
        }
        self.went_on();
        Ok(true)
    }
}

/// What is known of an object that was named.
enum Known {
    /// It is as agreed, or left alone as it is.
    Same,
    /// It may have changed.
    Other,
    /// Nobody carries it.
    Never,
}

/// Tells whether a version is the one that was agreed on, and nothing is open.
fn is_as_agreed(base: &Base, version: Option<&Version>) -> bool {
    base.conflict.is_none() && !base.is_open() && base.version.is_some() && base.version.as_ref() == version
}

//! In which order a pass deals with what it observed: what is urgent here, what changed there, what is gone there, the
//! rest.
//!
//! Owns: batches, isolating an object that cannot be read, asking for an object before it counts as gone.
//! Does not own: decisions about one object (`plan`), carrying them out (`apply`).

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::fold::News;
use super::ledger::spelling;
use super::observe::{Here, Urgency};
use super::provider::{RemoteId, Seen, Trouble};
use super::record::{self, Base};
use super::run::{Far, Halt, Pass, Retry, uid_of};
use super::there::Wanted;

/// So many parts of series are held with their content before they are dealt with.
const NEWS: usize = 500;

/// What a pass has yet to deal with.
pub(super) struct Open {
    pub(super) here: BTreeMap<String, Here>,
    pub(super) far_gone: BTreeSet<String>,
    /// UIDs in whose place on the far side another object was found.
    pub(super) displaced: BTreeSet<String>,
    /// What the far side says of parts of series.
    pub(super) told: Vec<News>,
}

impl Open {
    /// A part of a series was read.
    fn tell(&mut self, uid: String, seen: Seen) {
        self.far_gone.remove(&uid);
        self.told.push(News { uid, remote: seen.id.clone(), seen: Some(seen) });
    }
}

impl Pass {
    /// What is urgent here goes before the far side's changes are read, where those cannot concern it.
    pub(super) async fn settle_urgent(&mut self, open: &mut Open, wanted: &Wanted) -> Result<(), Halt> {
        // At a first meeting, what is ours may be theirs under another UID: nothing goes before that is known.
        if self.is_first() {
            return Ok(());
        }
        let mut strangers: Option<bool> = None;
        let mut urgent: Vec<(String, Here)> = Vec::new();
        let hurried =
            |uid: &String, here: &Here| here.urgency <= Urgency::Removal && !open.far_gone.contains(uid);
        for (uid, here) in open.here.iter().filter(|(uid, here)| hurried(uid, here)) {
            let base = self.ledger.by_uid(uid).await?.filter(|base| !base.is_unplaced());
            let apart = match (base, strangers) {
                (Some(base), _) if base.split.is_some() => {
                    let parts = self.ledger.parts_of(uid).await?;
                    let told =
                        |part: &Base| wanted.contains(&part.remote) || open.far_gone.contains(&part.uid);
                    !wanted.contains(&base.remote) && !parts.iter().any(told)
                }
                (Some(base), _) => !wanted.contains(&base.remote),
                (None, Some(strangers)) => !strangers,
                (None, None) => !*strangers.insert(self.any_stranger(wanted).await?),
            };
            if apart {
                urgent.push((uid.clone(), *here));
            }
        }
        for (uid, _) in &urgent {
            open.here.remove(uid);
        }
        urgent.sort_by_key(|(_, here)| here.urgency);
        self.settle_here(urgent).await
    }

    async fn any_stranger(&self, wanted: &Wanted) -> Result<bool, Halt> {
        for id in wanted.ids() {
            if self.ledger.by_remote(id).await?.is_none() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Deals with what the far side changed.
    pub(super) async fn settle_wanted(&mut self, open: &mut Open, mut wanted: Wanted) -> Result<(), Halt> {
        let batch = self.provider.abilities().batch.max(1);
        while let Some((mut objects, unread)) = wanted.take(batch) {
            let found = self.read(&unread).await?;
            self.note_gone(&unread, &found, open).await?;
            objects.extend(found);
            for object in objects {
                self.arrived(object, open).await?;
                self.went_on();
            }
            self.flush().await?;
            if open.told.len() >= NEWS {
                self.settle_told(open).await?;
            }
        }
        Ok(())
    }

    /// What was asked for by name and is not there is gone, whoever named it: a listing of a moment ago, or an attempt
    /// that failed before.
    async fn note_gone(&mut self, asked: &[RemoteId], found: &[Seen], open: &mut Open) -> Result<(), Halt> {
        let there: HashSet<String> = found.iter().map(|seen| spelling(&seen.id)).collect();
        for id in asked.iter().filter(|id| !there.contains(&spelling(id))) {
            self.looked.insert(&spelling(id));
            let Some(base) = self.ledger.by_remote(id).await? else { continue };
            let failed = self.failed.iter().any(|failure| failure.uid == base.uid);
            if !failed && !base.pending {
                open.far_gone.insert(base.uid);
            }
        }
        Ok(())
    }

    /// Reads objects. One that cannot be read does not keep the others from it.
    pub(super) async fn read(&mut self, ids: &[RemoteId]) -> Result<Vec<Seen>, Halt> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let trouble = match self.provider.read(&self.mapping.remote, ids).await {
            Ok(found) => {
                let saved = u64::try_from(ids.len().saturating_sub(1)).unwrap_or(0);
                self.run.saved = self.run.saved.saturating_add(saved);
                self.unanswered = 0;
                return Ok(found);
            }
            Err(trouble @ (Trouble::Unreachable(_) | Trouble::Refused(_))) => trouble,
            Err(trouble) => return Err(trouble.into()),
        };
        if let [one] = ids {
            let retry = if matches!(trouble, Trouble::Refused(_)) { Retry::OnChange } else { Retry::Soon };
            self.unread(one, trouble, retry).await?;
            return Ok(Vec::new());
        }
        let mut all = Vec::with_capacity(ids.len());
        for id in ids {
            match self.provider.read(&self.mapping.remote, std::slice::from_ref(id)).await {
                Ok(found) => {
                    self.unanswered = 0;
                    all.extend(found);
                }
                Err(one @ (Trouble::Unreachable(_) | Trouble::Refused(_))) => {
                    self.unread(id, one, Retry::Soon).await?;
                }
                Err(trouble) => return Err(trouble.into()),
            }
        }
        Ok(all)
    }

    /// Notes that an object could not be read. A refusal is an answer.
    async fn unread(&mut self, id: &RemoteId, trouble: Trouble, retry: Retry) -> Result<(), Halt> {
        let reason = match trouble {
            Trouble::Refused(why) => why,
            other => self.unanswered(&other),
        };
        let uid = self.ledger.by_remote(id).await?.map_or_else(|| id.0.clone(), |b| b.uid);
        self.looked.insert(&uid);
        self.fail(&uid, None, Some(id.clone()), reason, retry);
        self.still_there().await
    }

    /// Deals with one object of the far side.
    pub(super) async fn arrived(&mut self, object: Seen, open: &mut Open) -> Result<(), Halt> {
        let object = self.renamed(object).await?;
        self.looked.insert(&spelling(&object.id));
        let before = self.ledger.by_remote(&object.id).await?.map(|b| (b.uid, b.part.is_some()));
        if let (Some((uid, true)), Ok(_)) = (&before, uid_of(&object)) {
            open.tell(uid.clone(), object);
            return Ok(());
        }
        match self.named(object).await? {
            Ok((uid, seen, ical)) => {
                let twin = match self.is_twin(&uid, &seen.id, &open.far_gone).await {
                    // One object that cannot be read does not keep the others from being carried.
                    Err(Halt::Far(trouble @ (Trouble::Unreachable(_) | Trouble::Refused(_)))) => {
                        let why = self.unanswered(&trouble);
                        self.fail(&uid, None, Some(seen.id), why, Retry::Soon);
                        return self.still_there().await;
                    }
                    twin => twin?,
                };
                if twin {
                    let reason = "The far side has another event with the same UID.".to_owned();
                    self.fail(&seen.id.0.clone(), None, Some(seen.id), reason, Retry::OnChange);
                    return Ok(());
                }
                let by_uid = self.ledger.by_uid(&uid).await?;
                if by_uid.as_ref().is_some_and(|base| base.part.is_some()) {
                    open.tell(uid, seen);
                    return Ok(());
                }
                let known = before.is_some() || by_uid.is_some();
                if !known && self.may_be_known(&uid, &seen, &ical).await? {
                    return Ok(());
                }
                // What was in this place is not there any more.
                open.displaced.extend(before.map(|(old, _)| old).filter(|old| *old != uid));
                open.displaced.remove(&uid);
                open.here.remove(&uid);
                // It is gone from one place and was found in another: it was moved.
                open.far_gone.remove(&uid);
                self.settle(&uid, Far::Seen(seen, ical)).await
            }
            Err((seen, reason)) => {
                let uid = before.map_or_else(|| seen.id.0.clone(), |(uid, _)| uid);
                open.here.remove(&uid);
                open.far_gone.remove(&uid);
                self.looked.insert(&uid);
                self.fail(&uid, None, Some(seen.id), reason, Retry::OnChange);
                Ok(())
            }
        }
    }

    /// An object that is known by its place and has got another UID is the same object, unless the UID is somebody
    /// else's: feeds make new ones all the time.
    async fn renamed(&mut self, object: Seen) -> Result<Seen, Halt> {
        let (Some(base), Ok((uid, _))) = (self.ledger.by_remote(&object.id).await?, uid_of(&object)) else {
            return Ok(object);
        };
        let theirs = base.uid_there.as_ref().unwrap_or(&base.uid);
        if *theirs == uid || base.part.is_some() {
            return Ok(object);
        }
        let strange = self.ledger.by_uid(&uid).await?.is_none() && self.at.by_uid(&uid).await?.is_none();
        if strange || base.uid == uid {
            let uid_there = (base.uid != uid).then_some(uid);
            let base = record::Base { uid_there, ..base };
            let ops = self.ledger.put(&base, None).await?;
            self.remember(Vec::new(), ops).await?;
        }
        Ok(object)
    }

    /// Deals with what the far side is said to have removed. Before anything is removed here each one is asked for: an
    /// event that has only left what the far side tells of is still there.
    pub(super) async fn settle_gone(&mut self, open: &mut Open) -> Result<(), Halt> {
        let mut places = Vec::new();
        for uid in &open.far_gone {
            places.extend(self.ledger.by_uid(uid).await?.map(|base| base.remote));
        }
        let batch = self.provider.abilities().batch.max(1);
        for ids in places.chunks(batch) {
            for object in self.read(ids).await? {
                self.arrived(object, open).await?;
            }
            for id in ids {
                self.looked.insert(&spelling(id));
            }
            self.flush().await?;
        }
        // What could not be asked for is not gone yet.
        let unread: HashSet<&String> = self.failed.iter().filter(|f| f.retry).map(|f| &f.uid).collect();
        open.far_gone.retain(|uid| !unread.contains(uid));
        open.far_gone.extend(std::mem::take(&mut open.displaced));
        let gone = std::mem::take(&mut open.far_gone);
        let removals = match self.mapping.direction {
            // Nothing is removed here.
            record::Direction::Push => 0,
            record::Direction::Both | record::Direction::Pull => self.untouched_here(gone.iter()).await?,
        };
        if let Some(total) = self.mass(removals, |base| !base.pending).await? {
            let sentence = format!("{removals} of {total} events would be removed here.");
            self.hold((removals, 0), sentence)?;
        }
        for uid in gone {
            open.here.remove(&uid);
            match self.ledger.by_uid(&uid).await?.filter(|base| base.part.is_some()) {
                Some(base) => open.told.push(News { uid, remote: base.remote, seen: None }),
                None => self.settle(&uid, Far::Absent).await?,
            }
            self.went_on();
        }
        self.flush().await
    }

    /// Deals with what changed here, in this order.
    pub(super) async fn settle_here(&mut self, here: Vec<(String, Here)>) -> Result<(), Halt> {
        let batch = self.provider.abilities().batch.max(1);
        let mut urgency = None;
        // Of what could not be asked for nobody knows how it is there: it waits with it.
        let unasked: HashSet<String> = self.failed.iter().map(|failure| failure.uid.clone()).collect();
        for (uid, here) in here.into_iter().filter(|(uid, _)| !unasked.contains(uid)) {
            if urgency.is_some_and(|before| before != here.urgency) || self.outgoing.len() >= batch {
                self.flush().await?;
            }
            urgency = Some(here.urgency);
            let far = if self.ledger.by_uid(&uid).await?.is_some() { Far::Same } else { Far::Absent };
            self.settle(&uid, far).await?;
            self.went_on();
        }
        self.flush().await
    }

    /// Tells whether the far side has the UID in the place that is known as well as in this one.
    async fn is_twin(&self, uid: &str, id: &RemoteId, gone: &BTreeSet<String>) -> Result<bool, Halt> {
        let base = self.ledger.by_uid(uid).await?;
        let known = base.filter(|b| spelling(&b.remote) != spelling(id) && !gone.contains(uid));
        match known {
            // What is announced may be this; what is there in parts is not there as a whole.
            Some(known) if known.place().is_none() => Ok(known.split.is_some()),
            Some(Base { remote: known, .. }) => {
                Ok(!self.provider.read(&self.mapping.remote, &[known]).await?.is_empty())
            }
            None => Ok(false),
        }
    }
}

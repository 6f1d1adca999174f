//! What a first pass would find and do, without writing anything.
//!
//! Owns: the counts of a dry run. Does not own: when two events are one (`similar`), what is carried (`scope`).

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use futures_util::StreamExt as _;

use super::first::each_of_ours;
use super::front::{Bridge, BridgeError, NewMapping};
use super::mappings::may_write;
use super::provider::{Fit, Provider, RemoteId, Seen, Trouble, Window};
use super::record::{Direction, Fields, Mapping};
use super::run::uid_of;
use super::scope::{shaped, window, with_uid};
use super::similar::{Pair, Sketch, pairs};
use super::{print, shape, veil};
use crate::ical::Ical;
use crate::store::{CollectionId, Fault, Name, Store};

/// So many pairs and refusals are shown by name.
const SHOWN: usize = 100;

/// The counts of a dry run.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Preview {
    /// Events with the same UID and content on both sides.
    pub same: u64,
    /// Events with the same UID and different content.
    pub different: u64,
    /// Events that are one although their UIDs differ.
    pub similar: u64,
    /// The first hundred of them.
    pub pairs: Vec<Similar>,
    /// Events on this side only.
    pub only_here: u64,
    /// Events on the far side only.
    pub only_there: u64,
    /// Events outside the window, on either side.
    pub outside: u64,
    /// Events that the filters leave out, on either side.
    pub filtered: u64,
    /// Events on the far side that cannot be read.
    pub unreadable: u64,
    /// Events here that the far side cannot hold, or only as several.
    pub refused: u64,
    /// The first hundred of them: UID and why, in plain words.
    pub refusals: Vec<(String, String)>,
    /// What a first pass would add here.
    pub insert_here: u64,
    /// What a first pass would add there.
    pub insert_there: u64,
}

/// Two events that a first pass would join.
#[derive(Debug, Clone, PartialEq)]
pub struct Similar {
    /// The UID of ours.
    pub here: String,
    /// The UID of theirs.
    pub there: String,
    /// How it is called here.
    pub title: String,
    /// How sure it is that they are one, from 0 to 1.
    pub confidence: f64,
}

/// What is known while both sides are read.
struct Look<'a> {
    mapping: &'a Mapping,
    window: Window,
    /// How sure it has to be that two events are one.
    sure: f64,
    provider: &'a dyn Provider,
    found: Preview,
    /// Digests of ours that would be carried, by UID; those that the far side has are taken out.
    ours: HashMap<String, String>,
    /// UIDs of ours by the names that stand for them where no more is told than that somebody is busy.
    names: HashMap<String, String>,
    /// UIDs of ours that are left alone.
    left: HashSet<String>,
    /// UIDs of ours that the far side cannot hold.
    refused: HashSet<String>,
    /// Theirs that nobody knows.
    strangers: Vec<Sketch>,
    /// How many of theirs nobody knows and nothing is like.
    unlike: u64,
}

impl Bridge {
    /// Compares the two calendars that a mapping would bring together; `HOMES` stands for one that is yet to be made.
    ///
    /// # Errors
    /// `Invalid` if one of them is not there; `Far`.
    pub async fn preview(&self, owner: &str, new: &NewMapping) -> Result<Preview, BridgeError> {
        // Where all homes are, nobody has an event: a calendar that is yet to be made is compared like this.
        if new.collection != CollectionId::HOMES {
            self.calendar(owner, new.collection).await?;
        }
        let (connection, _) = self.connection(owner, &new.connection).await?;
        may_write(&connection, new.direction)?;
        let provider = self.provider(&connection, self.fetch.counted()).await?;
        let now = self.house.clock.now();
        let mapping = new.clone().with(String::new(), owner, connection.kind, now);
        let window = window(&mapping, self.settings.window_past, self.settings.window_future, now);
        let sure = self.settings.match_confidence;
        let found = dry_run(&*self.house.store, &mapping, &*provider, (window, sure)).await;
        if let Err(Broken::Far(trouble)) = &found {
            self.heed(&connection, trouble).await?;
        }
        Ok(found?)
    }
}

/// Why a dry run could not be carried out.
#[derive(Debug)]
pub(super) enum Broken {
    Far(Trouble),
    Store(Fault),
}

impl From<Trouble> for Broken {
    fn from(trouble: Trouble) -> Broken {
        Broken::Far(trouble)
    }
}

impl From<Fault> for Broken {
    fn from(fault: Fault) -> Broken {
        Broken::Store(fault)
    }
}

impl From<Broken> for BridgeError {
    fn from(broken: Broken) -> BridgeError {
        match broken {
            Broken::Far(trouble) => trouble.into(),
            Broken::Store(fault) => fault.into(),
        }
    }
}

/// Compares both sides of a mapping as a first pass would. Writes nothing.
pub(super) async fn dry_run(
    store: &dyn Store,
    mapping: &Mapping,
    provider: &dyn Provider,
    (window, sure): (Window, f64),
) -> Result<Preview, Broken> {
    let mut look = Look {
        mapping,
        window,
        sure,
        provider,
        found: Preview::default(),
        ours: HashMap::new(),
        names: HashMap::new(),
        left: HashSet::new(),
        refused: HashSet::new(),
        strangers: Vec::new(),
        unlike: 0,
    };
    look.look_here(store).await?;
    look.names = veil::names(store, mapping.collection).await?;
    look.look_there().await?;
    look.conclude(store).await
}

impl Look<'_> {
    async fn look_here(&mut self, store: &dyn Store) -> Result<(), Fault> {
        let collection = self.mapping.collection;
        let mut after: Option<Name> = None;
        loop {
            let page = store.list(collection, after.as_ref().map(Name::as_str), 500).await?;
            let Some(last) = page.last() else { return Ok(()) };
            after = Some(last.name.clone());
            for meta in page {
                let Some(uid) = meta.index.uid else { continue };
                let Some(object) = store.object(collection, meta.name.as_str()).await? else { continue };
                let Ok(ical) = Ical::parse(object.bytes) else { continue };
                self.ours(uid, &Arc::new(ical));
            }
        }
    }

    async fn look_there(&mut self) -> Result<(), Trouble> {
        let (provider, mapping) = (self.provider, self.mapping);
        let batch = provider.abilities().batch.max(1);
        let mut pages = provider.changes(&mapping.remote, None, self.window);
        while let Some(page) = pages.next().await {
            let page = page?;
            for seen in &page.read {
                self.theirs(seen);
            }
            let ids: Vec<RemoteId> = page.seen.into_iter().map(|sighting| sighting.id).collect();
            for chunk in ids.chunks(batch) {
                for seen in provider.read(&mapping.remote, chunk).await? {
                    self.theirs(&seen);
                }
            }
        }
        Ok(())
    }

    async fn conclude(self, store: &dyn Store) -> Result<Preview, Broken> {
        let Look { mapping, mut found, ours, strangers, unlike, sure, .. } = self;
        let joined = match strangers.is_empty() || mapping.fields == Fields::Busy {
            true => Vec::new(),
            false => {
                let mut free: Vec<Sketch> = Vec::new();
                let take = |own: Sketch| free.extend(Some(own).filter(|own| ours.contains_key(&own.uid)));
                each_of_ours(store, mapping.collection, |_| true, take).await?;
                let shown = |pair: &Pair| {
                    let (own, other) = (free.get(pair.ours)?, strangers.get(pair.theirs)?);
                    Some(Similar {
                        here: own.uid.clone(),
                        there: other.uid.clone(),
                        title: own.title().to_owned(),
                        confidence: pair.confidence,
                    })
                };
                pairs(&free, &strangers, sure).iter().filter_map(shown).collect()
            }
        };
        let count = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
        found.similar = count(joined.len());
        found.only_there = count(strangers.len()).saturating_add(unlike).saturating_sub(found.similar);
        found.only_here = count(ours.len()).saturating_sub(found.similar);
        let refused = count(self.refused.iter().filter(|uid| ours.contains_key(*uid)).count());
        found.pairs = joined.into_iter().take(SHOWN).collect();
        found.insert_here = if mapping.direction == Direction::Push { 0 } else { found.only_there };
        found.insert_there =
            if mapping.direction == Direction::Pull { 0 } else { found.only_here.saturating_sub(refused) };
        Ok(found)
    }

    /// Takes one of ours in.
    fn ours(&mut self, uid: String, ical: &Arc<Ical>) {
        if !self.counts(ical) {
            self.left.insert(uid);
            return;
        }
        let view = shaped(self.mapping.fields, ical);
        let view = match self.provider.fit(&view, self.window) {
            Fit::Whole(bytes) => Ical::parse(bytes).map_or(view, Arc::new),
            Fit::Parts(_, why) | Fit::Refused(why) => {
                if self.mapping.direction != Direction::Pull {
                    self.found.refused += 1;
                    self.refused.insert(uid.clone());
                    if self.found.refusals.len() < SHOWN {
                        self.found.refusals.push((uid.clone(), why));
                    }
                }
                view
            }
        };
        self.ours.insert(uid, print::print(&view));
    }

    /// Tells whether an object would be carried, and counts it if not.
    fn counts(&mut self, ical: &Ical) -> bool {
        let within = shape::in_window(ical, self.window);
        let passes = shape::passes(&self.mapping.filters, ical);
        match (within, passes) {
            (true, true) => return true,
            (false, _) => self.found.outside += 1,
            (true, false) => self.found.filtered += 1,
        }
        false
    }

    /// Takes one of theirs in.
    fn theirs(&mut self, seen: &Seen) {
        let Ok((uid, ical)) = uid_of(seen) else {
            self.found.unreadable += 1;
            return;
        };
        let (uid, ical) = match self.names.get(&uid).filter(|ours| **ours != uid) {
            Some(ours) if self.mapping.fields == Fields::Busy => {
                let named = Ical::parse(with_uid(&ical, ours)).unwrap_or(ical);
                (ours.clone(), Arc::new(named))
            }
            // The shadow of an event that is here, made by another mapping.
            Some(_) => {
                self.found.filtered += 1;
                return;
            }
            None => (uid, Arc::new(ical)),
        };
        match self.ours.remove(&uid) {
            Some(ours) if ours == print::print(&shaped(self.mapping.fields, &ical)) => self.found.same += 1,
            Some(_) => self.found.different += 1,
            // It was counted on our side.
            None if self.left.contains(&uid) => {}
            None if !self.counts(&ical) => {}
            None => match Sketch::of(&uid, &ical) {
                Some(sketch) => self.strangers.push(sketch),
                None => self.unlike += 1,
            },
        }
    }
}

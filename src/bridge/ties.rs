//! What the bridge keeps in memory of accounts: who is fetching a token, which channels and hooks there are, what far sides
//! told, what people asked for by hand. All of it may be forgotten: a restart costs a look at the store, nothing else.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore};

use super::cozi::Seat;
use super::front::{Bridge, BridgeError};
use super::pace::later;
use super::record::Watched;
use crate::store::Timestamp;

/// Passes of one connection at a time: a far side that hangs does not take all the places.
pub(super) const OF_ONE: usize = 4;
/// What limits asking by hand.
const HOUR: Duration = Duration::from_secs(3600);
/// E17: how often a person may ask in an hour if nobody set it.
const BY_HAND: u32 = 10;

/// Who asks for a pass by hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asker {
    /// Somebody at a page.
    Person,
    /// A program with a token that is made for this.
    Program,
}

/// What was heard of a mapping's channel.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Ear {
    /// A channel is open.
    pub(super) open: bool,
    /// When it last told something, or was opened.
    pub(super) heard: Timestamp,
    /// Changes were found that it had not told of.
    pub(super) silent: bool,
    /// The last pass that it began.
    pub(super) nudged: Timestamp,
    /// When the next pass is to begin because of what was told while one ran.
    pub(super) pending: Option<Timestamp>,
    /// How many passes in a row it began without a pause.
    pub(super) streak: u8,
    /// It has to be renewed although it is not near its end.
    pub(super) renew: bool,
    /// The far side says that it is gone.
    pub(super) gone: bool,
    /// None is opened before this moment.
    pub(super) not_before: Timestamp,
}

/// The channels that a notification is compared with, so that one that is not believed costs no look at the store.
#[derive(Debug, Default)]
struct Known {
    /// By the name that a notification carries.
    channels: HashMap<String, Watched>,
    /// The names of channels, by what stands in the address that they come to.
    doors: HashMap<String, String>,
}

/// See above.
#[derive(Debug, Default)]
pub(super) struct Ties {
    known: Mutex<Known>,
    /// Mappings with a hook of their own.
    hooks: Mutex<HashSet<String>>,
    flights: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
    /// Places of passes, by connection.
    passes: Mutex<HashMap<String, Arc<Semaphore>>>,
    /// Sessions of accounts over there, by connection.
    seats: Mutex<HashMap<String, Seat>>,
    ears: Mutex<HashMap<String, Ear>>,
    /// The mappings that look at the same remote calendar as the one with the channel, by that one.
    others: Mutex<HashMap<String, Vec<String>>>,
    asked: Mutex<HashMap<String, VecDeque<Timestamp>>>,
    /// When idle consents were last looked for.
    looked: Mutex<Option<Timestamp>>,
    /// Channels are to be looked at.
    pub(super) tend: Notify,
}

impl Ties {
    /// Returns what is held while a connection's token is fetched, so that one call serves all who need it.
    pub(super) fn flight(&self, connection: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut flights = self.flights.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(flights.entry(connection.to_owned()).or_default())
    }

    /// Returns the places of a connection's passes.
    pub(super) fn passes(&self, connection: &str) -> Arc<Semaphore> {
        let mut passes = self.passes.lock().unwrap_or_else(PoisonError::into_inner);
        let places = passes.entry(connection.to_owned()).or_insert_with(|| Arc::new(Semaphore::new(OF_ONE)));
        Arc::clone(places)
    }

    /// Returns where a connection's session is kept.
    pub(super) fn seat(&self, connection: &str) -> Seat {
        let mut seats = self.seats.lock().unwrap_or_else(PoisonError::into_inner);
        seats.entry(connection.to_owned()).or_default().clone()
    }

    /// Returns what was heard of mappings.
    pub(super) fn ears(&self) -> MutexGuard<'_, HashMap<String, Ear>> {
        self.ears.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Settles which mappings share which mapping's channel.
    pub(super) fn share(&self, others: HashMap<String, Vec<String>>) {
        *self.others.lock().unwrap_or_else(PoisonError::into_inner) = others;
    }

    /// Returns the mapping with the channel and those that share it.
    pub(super) fn sharing(&self, mapping: &str) -> Vec<String> {
        let others = self.others.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all = others.get(mapping).cloned().unwrap_or_default();
        all.push(mapping.to_owned());
        all
    }

    /// Notes that a channel is there, and what it is.
    pub(super) fn know(&self, row: &Watched) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if !row.door.is_empty() {
            known.doors.insert(row.door.clone(), row.channel.id.clone());
        }
        known.channels.insert(row.channel.id.clone(), row.clone());
    }

    /// Notes that a channel is no more.
    pub(super) fn unknow(&self, channel: &str) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.channels.remove(channel);
        known.doors.retain(|_, of| of != channel);
    }

    /// Returns the channel of that name.
    pub(super) fn channel(&self, name: &str) -> Option<Watched> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).channels.get(name).cloned()
    }

    /// Tells whether any channel's notifications come to this address.
    pub(super) fn is_door(&self, door: &str) -> bool {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).doors.contains_key(door)
    }

    /// Returns the mappings that have a hook of their own.
    pub(super) fn hooks(&self) -> MutexGuard<'_, HashSet<String>> {
        self.hooks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets a connection.
    pub(super) fn forget(&self, connection: &str) {
        self.flights.lock().unwrap_or_else(PoisonError::into_inner).remove(connection);
        self.seats.lock().unwrap_or_else(PoisonError::into_inner).remove(connection);
        self.passes.lock().unwrap_or_else(PoisonError::into_inner).remove(connection);
    }

    /// Tells, once an hour, that idle consents are to be looked for.
    pub(super) fn is_due(&self, now: Timestamp) -> bool {
        let mut looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
        let due = looked.is_none_or(|at| !(at.0..later(at, HOUR).0).contains(&now.0));
        if due {
            *looked = Some(now);
        }
        due
    }

    /// Counts one more wish of that person, if there is room for it in the hour.
    fn count(&self, owner: &str, now: Timestamp, most: u32) -> Result<(), Duration> {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let mine = asked.entry(owner.to_owned()).or_default();
        while mine.front().is_some_and(|at| later(*at, HOUR) <= now) {
            mine.pop_front();
        }
        if mine.len() >= usize::try_from(most).unwrap_or(usize::MAX) {
            let first = mine.front().copied().unwrap_or(now);
            let left = later(first, HOUR).0.saturating_sub(now.0);
            return Err(Duration::from_millis(u64::try_from(left).unwrap_or(0).max(1000)));
        }
        mine.push_back(now);
        Ok(())
    }
}

impl Bridge {
    /// Counts a pass that is asked for by hand, or that begins because deletions are confirmed. One that joins a running
    /// pass costs nothing. E17.
    ///
    /// # Errors
    /// `Often` when too many were asked for in the last hour.
    pub fn asks_by_hand(
        &self,
        owner: &str,
        mapping: &str,
        asker: Asker,
        confirm: bool,
    ) -> Result<(), BridgeError> {
        let most = match (self.settings.manual_sync, asker) {
            (Some(most), _) => most,
            (None, Asker::Person) => BY_HAND,
            (None, Asker::Program) => return Ok(()),
        };
        let running = self.lines().get(mapping).and_then(|line| line.running.clone());
        if running.is_some_and(|job| job.serves(confirm)) {
            return Ok(());
        }
        self.ties.count(owner, self.house.clock.now(), most).map_err(|wait| BridgeError::Often(most, wait))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use super::*;

    // S3-118, E17
    #[test]
    fn ten_wishes_an_hour_and_then_the_time_that_is_left() {
        let ties = Ties::default();
        let minute = 60_000;
        for n in 0..10 {
            ties.count("anna", Timestamp(n * minute), 10).unwrap();
        }
        let wait = ties.count("anna", Timestamp(30 * minute), 10).unwrap_err();
        assert_eq!(wait, Duration::from_secs(30 * 60));
        ties.count("bert", Timestamp(30 * minute), 10).unwrap();
        ties.count("anna", Timestamp(60 * minute), 10).unwrap();
        assert!(ties.count("anna", Timestamp(60 * minute), 10).is_err());
    }
}

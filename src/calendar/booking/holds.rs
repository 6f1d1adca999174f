//! Where holds are: a calendar of the owner that nobody sees, so that a hold is checked like any event.
//!
//! Owns: that calendar; clearing away holds that ended. Does not own: what a hold is (`record`, `event`).

use std::collections::BTreeSet;
use std::sync::Arc;

use super::record::{Booking, Status, booking_key, encode};
use crate::calendar::access::Writable;
use crate::calendar::hidden::{HIDDEN, marked, server};
use crate::calendar::{Error, House, Refusal, Session};
use crate::ical::value::Civil;
use crate::store::{
    Collection, CollectionId, Commit, CommitError, Expect, Fault, Kind, Name, Op, Origin, Properties,
    Rejected, Timestamp,
};

/// Its name in the home; no client can make one of this name.
pub(in crate::calendar) const NAME: &str = "holds.kalends";
/// Its mark.
const HOLDS: &str = "holds";
/// Holds that one look clears away.
const PAGE: usize = 256;

/// Tells whether it is somebody's holds.
pub fn is_holds(collection: &Collection) -> bool {
    collection.properties.0.contains_key(&server(HOLDS))
}

/// When a hold ends, whose it is and which.
type End = (i64, String, String);

/// When holds end, the next first.
#[derive(Default)]
pub(super) struct Ends {
    all: std::sync::Mutex<BTreeSet<End>>,
    sooner: tokio::sync::Notify,
}

impl Ends {
    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeSet<End>> {
        self.all.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Notes that a hold ends then.
    pub(super) fn note(&self, at: Timestamp, owner: &str, id: &str) {
        let mut all = self.lock();
        let sooner = all.first().is_none_or(|(first, ..)| *first > at.0);
        all.insert((at.0, owner.to_owned(), id.to_owned()));
        drop(all);
        if sooner {
            self.sooner.notify_one();
        }
    }
}

impl Session {
    /// Returns the principal's holds, made if they are not there.
    pub(super) async fn holds(&self, home: &Writable) -> Result<Writable, Error> {
        for _ in 0..2 {
            if let Some(found) = self.house.store.child(home.id(), NAME).await? {
                return Ok(self.writable(found)?);
            }
            let now = self.house.clock.now();
            let name = Name::new(NAME).ok_or(Refusal::Missing)?;
            let mut properties = Properties::default();
            for (mark, text) in [marked(HIDDEN), marked(HOLDS)] {
                properties.0.insert(mark, text);
            }
            let collection = Collection {
                id: self.house.store.new_collection_id().await?,
                parent: home.id(),
                name: name.clone(),
                owner: home.collection().owner.clone(),
                kind: Kind::Calendar,
                components: vec!["VEVENT".to_owned()],
                properties,
                created: now,
                modified: now,
            };
            let commit = Commit::new(Origin::System, now)
                .expect(Expect::Collection(home.id()))
                .expect(Expect::NoChild(home.id(), name))
                .op(Op::PutCollection(collection));
            match self.house.store.commit(commit).await {
                // Somebody else may just have made it.
                Ok(_) | Err(CommitError::Rejected(Rejected::ChildExists)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(Refusal::Stale.into())
    }
}

impl House {
    /// Clears away the holds that ended, whoever they belong to, and remembers of each that it expired. They count for
    /// nothing from the moment they end: this only tidies up, and lets others know. Returns when the next one ends.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn expire_holds(self: &Arc<Self>) -> Result<Option<Timestamp>, Error> {
        let now = self.clock.now();
        let due = {
            let mut ends = self.bookings.ends.lock();
            let later = ends.split_off(&(now.0.saturating_add(1), String::new(), String::new()));
            std::mem::replace(&mut *ends, later)
        };
        for (_, owner, id) in due {
            self.expire(&owner, &id).await?;
        }
        Ok(self.bookings.ends.lock().first().map(|(at, ..)| Timestamp(*at)))
    }

    /// Looks at the holds of all owners: after a start nobody knows yet when they end.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn recall_holds(self: &Arc<Self>) -> Result<(), Error> {
        for principal in self.principals().await? {
            let owner = &principal.name;
            let Some(holds) = self.holds_of(owner).await? else { continue };
            let mut after: Option<String> = None;
            loop {
                let page = self.store.list(holds.id, after.as_deref(), PAGE).await?;
                let Some(last) = page.last() else { break };
                after = Some(last.name.as_str().to_owned());
                for meta in page {
                    self.expire(owner, meta.name.as_str().trim_end_matches(".ics")).await?;
                }
            }
        }
        Ok(())
    }

    /// Waits until a hold ends sooner than those that were known.
    pub async fn hold_noted(&self) {
        self.bookings.ends.sooner.notified().await;
    }

    async fn holds_of(&self, owner: &str) -> Result<Option<Arc<Collection>>, Error> {
        let Some(home) = self.store.child(CollectionId::HOMES, owner).await? else { return Ok(None) };
        Ok(self.store.child(home.id, NAME).await?)
    }

    /// Clears one hold away if it ended; else notes when it does.
    async fn expire(&self, owner: &str, id: &str) -> Result<(), Error> {
        let (Some(holds), Some(name)) = (self.holds_of(owner).await?, Name::new(format!("{id}.ics"))) else {
            return Ok(());
        };
        let Some(meta) = self.store.meta(holds.id, name.as_str()).await? else { return Ok(()) };
        let key = booking_key(owner, id);
        let stored = self.store.record(&key).await?;
        let now = self.clock.now();
        let mut commit = Commit::new(Origin::System, now)
            .expect(Expect::Etag(holds.id, name.clone(), meta.etag))
            .expect(Expect::Record(key.clone(), stored.clone()))
            .op(Op::Delete { collection: holds.id, name });
        if let Some(bytes) = &stored {
            let mut booking = Booking::decode(bytes)?;
            if booking.status == Status::Held {
                let ends = booking.expires.unwrap_or_default();
                if ends > now {
                    self.bookings.ends.note(ends, owner, id);
                    return Ok(());
                }
                booking.status = Status::Expired;
                booking.updated = now;
                commit = commit.op(Op::PutRecord(key, encode(&booking)?));
            }
        }
        match self.store.commit(commit).await {
            Ok(_) => Ok(()),
            // Somebody has just made something else of it.
            Err(CommitError::Rejected(_)) => {
                self.bookings.ends.note(Timestamp(now.0.saturating_add(1000)), owner, id);
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// Returns the moment as holds carry it: whole seconds, never sooner than it was said.
pub(super) fn whole(at: Timestamp) -> Result<Timestamp, Fault> {
    let seconds = at.0.div_euclid(1000) + i64::from(at.0.rem_euclid(1000) > 0);
    Ok(Timestamp(seconds.saturating_mul(1000)))
}

/// Returns it as text.
pub(super) fn text(at: Timestamp) -> String {
    format!("{}Z", Civil(at.0.div_euclid(1000)).to_basic())
}

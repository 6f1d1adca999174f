//! Reading bookings: the record, and its event, which is the truth about when it is and whether it still is.
//!
//! Owns: what of a booking its event decides. Does not own: changing either (`book`, `change`).

use std::sync::Arc;

use bytes::Bytes;

use super::holds::is_holds;
use super::record::{Booking, Status, booking_key, etag, reference_prefix};
use crate::calendar::access::{Readable, Writable};
use crate::calendar::{Error, Refusal, Session};
use crate::ical::series::TimeRange;
use crate::ical::zone::Zone;
use crate::store::{CollectionId, Etag, Kind, Name, Object, Table};

/// Instances of a booking's event that are looked at to find the first.
const LOOKED: usize = 128;
/// Records of one page.
const PAGE: usize = 256;

/// A booking as it stands.
#[derive(Debug, Clone)]
pub struct Booked {
    /// Its record, with what its event says of when it is and whether it is.
    pub booking: Booking,
    /// The tag of both.
    pub etag: Etag,
}

/// A booking with what a change needs of it.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) booked: Booked,
    /// The record as it is stored.
    pub(super) stored: Bytes,
    pub(super) event: Option<Event>,
}

/// Its event.
#[derive(Debug)]
pub(super) struct Event {
    pub(super) at: Writable,
    pub(super) name: Name,
    pub(super) object: Object,
}

/// Which bookings are wanted.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// Those of this reference.
    pub reference: Option<String>,
    /// Those that stand so.
    pub status: Option<Status>,
    /// Those of this calendar.
    pub calendar: Option<CollectionId>,
    /// Those that end after this moment.
    pub from: Option<i64>,
    /// Those that begin before this moment.
    pub to: Option<i64>,
}

impl Session {
    /// Reads a booking of the principal.
    ///
    /// # Errors
    /// `Missing`; when the store fails.
    pub async fn booking(&self, id: &str) -> Result<Booked, Error> {
        Ok(self.load(id).await?.booked)
    }

    /// Reads up to `limit` bookings of the principal, the newest first.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn bookings(&self, wanted: &Wanted, limit: usize) -> Result<Vec<Booked>, Error> {
        let owner = &self.principal.name;
        let (table, prefix) = match &wanted.reference {
            Some(reference) => (Table::BookingRules, reference_prefix(owner, reference)),
            None => (Table::Booking, format!("{owner}/")),
        };
        let mut found = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let page = self.house.store.records(table, &prefix, after.as_deref(), PAGE).await?;
            let Some((last, _)) = page.last() else { return Ok(found) };
            after = Some(last.path.clone());
            for (key, bytes) in page {
                let bytes = match table {
                    Table::Booking => Some(bytes),
                    _ => {
                        let id = key.path.rsplit('/').next().unwrap_or_default();
                        self.house.store.record(&booking_key(owner, id)).await?
                    }
                };
                let Some(bytes) = bytes else { continue };
                let booked = self.view(bytes).await?.booked;
                if wanted.takes(&booked.booking) {
                    found.push(booked);
                }
                if found.len() >= limit {
                    return Ok(found);
                }
            }
        }
    }

    pub(super) async fn load(&self, id: &str) -> Result<Loaded, Error> {
        let good = !id.is_empty() && id.len() <= 64 && id.bytes().all(|b| b.is_ascii_alphanumeric());
        if !good {
            return Err(Refusal::Missing.into());
        }
        let stored = self.house.store.record(&booking_key(&self.principal.name, id)).await?;
        self.view(stored.ok_or(Refusal::Missing)?).await
    }

    async fn view(&self, stored: Bytes) -> Result<Loaded, Error> {
        let mut booking = Booking::decode(&stored)?;
        let event = if booking.status.is_open() || booking.status == Status::NoShow {
            self.event(&booking).await?
        } else {
            None
        };
        let tag = etag(&stored, event.as_ref().map(|event| &event.object.meta.etag));
        let now = self.house.clock.now();
        match (booking.status, &event) {
            (Status::Held, event)
                if event.is_none() || booking.expires.is_none_or(|expires| expires <= now) =>
            {
                booking.status = Status::Expired;
            }
            (Status::Held, _) => {}
            (_, Some(event)) => {
                let look = event.at.look(&event.object.meta).await?;
                booking.calendar = event.at.id();
                if let Some(look) = look {
                    let first = look.series().instances(TimeRange::ALL, &Zone::Utc, LOOKED).list;
                    if let Some(first) = first.first() {
                        (booking.start, booking.end) = (first.start, first.end);
                    }
                    if look.is_cancelled() && booking.status != Status::NoShow {
                        booking.status = Status::Cancelled;
                    }
                }
            }
            // Somebody removed it from the calendar: that calls it off.
            (Status::Pending | Status::Confirmed, None) => booking.status = Status::Cancelled,
            _ => {}
        }
        Ok(Loaded { booked: Booked { booking, etag: tag }, stored, event })
    }

    /// Reads the event of a booking, wherever its owner moved it.
    async fn event(&self, booking: &Booking) -> Result<Option<Event>, Error> {
        let home = self.home().await?;
        let name = booking.name()?;
        if booking.status == Status::Held {
            let holds = self.house.store.child(home.id(), super::HOLDS).await?;
            let Some(holds) = holds.filter(|holds| is_holds(holds)) else { return Ok(None) };
            return event_at(self.writable(holds)?, name).await;
        }
        if let Some(calendar) = self.house.store.collection(booking.calendar).await?
            && let Ok(at) = self.writable(Arc::clone(&calendar))
        {
            if let Some(event) = event_at(at.clone(), name).await? {
                return Ok(Some(event));
            }
            if let Some(event) = by_uid(at, &booking.uid).await? {
                return Ok(Some(event));
            }
        }
        for child in home.all_children().await? {
            let collection: &Arc<_> = Readable::collection(&child);
            if collection.kind != Kind::Calendar || is_holds(collection) || child.id() == booking.calendar {
                continue;
            }
            if let Some(event) = by_uid(self.writable(Arc::clone(collection))?, &booking.uid).await? {
                return Ok(Some(event));
            }
        }
        Ok(None)
    }
}

async fn by_uid(at: Writable, uid: &str) -> Result<Option<Event>, Error> {
    match at.by_uid(uid).await? {
        Some(name) => event_at(at, name).await,
        None => Ok(None),
    }
}

async fn event_at(at: Writable, name: Name) -> Result<Option<Event>, Error> {
    let object = at.object(name.as_str()).await?;
    Ok(object.map(|object| Event { at, name, object }))
}

impl Wanted {
    fn takes(&self, booking: &Booking) -> bool {
        self.status.is_none_or(|status| booking.status == status)
            && self.calendar.is_none_or(|calendar| booking.calendar == calendar)
            && self.from.is_none_or(|from| booking.end > from)
            && self.to.is_none_or(|to| booking.start < to)
    }
}

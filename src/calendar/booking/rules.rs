//! How an owner may be booked: which calendars count, which one is written, hours, buffers, limits.
//!
//! Owns: the settings' record and their defaults; what follows from them once (zone, hours). Does not own: their JSON at
//! the door (`api`), what they do (`guard`, `slots`).

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::hours::Hours;
use crate::calendar::{Error, House, Refusal, Session, zone_of};
use crate::ical::availability::Availability;
use crate::ical::zone::{Zone, by_tzid};
use crate::store::{Collection, Commit, CommitError, Expect, Fault, Key, Op, Rejected, Table};

/// How a kind of event counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Counts {
    /// It makes busy, whatever it says of itself.
    Busy,
    /// It makes nobody busy.
    Free,
    /// As its TRANSP says.
    AsWritten,
}

/// What becomes of the event of a booking that is cancelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnCancel {
    /// It stays, with STATUS:CANCELLED.
    #[default]
    Keep,
    /// It goes to the trash.
    Trash,
}

/// What a booking does when a far side could not be asked in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fallback {
    /// It goes by what is known here.
    #[default]
    Accept,
    /// It is refused.
    Refuse,
    /// It is made, and waits for a confirmation.
    Pending,
}

/// Whether far sides are asked before something is booked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LiveCheck {
    /// How old, in seconds, what is known of a far side may be; nothing: any age will do.
    pub max_age: Option<i64>,
    /// How many seconds a booking waits for it.
    pub time_limit: i64,
    /// What happens then.
    pub fallback: Fallback,
}

impl Default for LiveCheck {
    fn default() -> LiveCheck {
        LiveCheck { max_age: None, time_limit: 5, fallback: Fallback::default() }
    }
}

/// The settings of one owner.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Rules {
    /// The calendars that count, by id; nothing: all that hold events.
    pub calendars: Option<Vec<u64>>,
    /// The calendar that is written if a booking names none.
    pub write_calendar: Option<u64>,
    /// The owner's zone; nothing: that of the calendar that is written.
    pub time_zone: Option<String>,
    /// The hours as VAVAILABILITY; nothing: any time.
    pub availability: Option<String>,
    /// What they were made of, if they were given in the simple form.
    pub hours: Option<Hours>,
    /// How many seconds ahead at least; nothing: what is past can be recorded too.
    pub minimum_notice: Option<i64>,
    /// How many seconds ahead at most.
    pub horizon: Option<i64>,
    /// Seconds between two starts that are offered.
    pub step: i64,
    /// What a booking wants free before it, in seconds.
    pub buffer_before: i64,
    /// What it wants free after it.
    pub buffer_after: i64,
    /// Buffers are kept between bookings and all that makes busy.
    pub buffers_around_all: bool,
    /// Buffers are events of their own.
    pub buffer_events: bool,
    /// Bookings a day.
    pub daily_cap: Option<u32>,
    /// Bookings a week, which begins on Monday.
    pub weekly_cap: Option<u32>,
    /// Tentative events make busy.
    pub tentative_counts: bool,
    /// Events of whole days make busy.
    pub all_day_counts: bool,
    /// Out of office.
    pub out_of_office: Counts,
    /// Focus time.
    pub focus_time: Counts,
    /// Where somebody works.
    pub working_location: Counts,
    /// Bookings wait for a confirmation.
    pub needs_confirmation: bool,
    /// Who books is an attendee of the event.
    pub attendees: bool,
    /// What becomes of the event of a cancelled booking.
    pub on_cancel: OnCancel,
    /// Seconds that a hold lasts if nobody says.
    pub hold: i64,
    /// Whether far sides are asked first.
    pub live_check: LiveCheck,
    /// The title of events, with names in braces.
    pub title: String,
    /// Their description.
    pub description: String,
}

impl Default for Rules {
    fn default() -> Rules {
        Rules {
            calendars: None,
            write_calendar: None,
            time_zone: None,
            availability: None,
            hours: None,
            minimum_notice: None,
            horizon: None,
            step: 900,
            buffer_before: 0,
            buffer_after: 0,
            buffers_around_all: false,
            buffer_events: false,
            daily_cap: None,
            weekly_cap: None,
            tentative_counts: true,
            all_day_counts: true,
            out_of_office: Counts::Busy,
            focus_time: Counts::AsWritten,
            working_location: Counts::Free,
            needs_confirmation: false,
            attendees: false,
            on_cancel: OnCancel::Keep,
            hold: 300,
            live_check: LiveCheck::default(),
            title: "{service}: {name}".to_owned(),
            description: "{name}\n{email}\n{phone}\n\n{notes}".to_owned(),
        }
    }
}

/// Settings with what follows from them.
#[derive(Debug)]
pub struct Settled {
    /// Them.
    pub rules: Rules,
    /// The record as it is stored; nothing: nobody ever set anything.
    pub(in crate::calendar) stored: Option<Bytes>,
    /// The hours; nothing: any time.
    pub(super) hours: Option<Availability>,
    zone: Option<Zone>,
}

impl Settled {
    fn of(stored: Option<Bytes>) -> Result<Settled, Fault> {
        let rules: Rules = match &stored {
            Some(bytes) => serde_json::from_slice(bytes)
                .map_err(|error| Fault::Broken(format!("booking settings cannot be read: {error}")))?,
            None => Rules::default(),
        };
        let unread = |why: String| Fault::Broken(format!("kept working hours cannot be read: {why}"));
        let hours = rules.availability.as_deref().map(Availability::parse).transpose().map_err(unread)?;
        let zone = rules.time_zone.as_deref().and_then(by_tzid);
        Ok(Settled { rules, stored, hours, zone })
    }

    /// Returns the owner's zone: as set, else that of the calendar, else UTC.
    pub fn zone(&self, calendar: Option<&Collection>) -> Zone {
        let of_calendar = || calendar.and_then(|calendar| zone_of(&calendar.properties));
        self.zone.clone().or_else(of_calendar).unwrap_or(Zone::Utc)
    }
}

/// Returns the record of an owner's settings.
pub(super) fn key(owner: &str) -> Key {
    Key::new(Table::BookingRules, owner)
}

/// Returns the record of the largest buffer that an owner ever used, in seconds. It only grows: whoever checks a time
/// looks as far around it as any booking may reach, and a commit that makes it larger is seen by all others.
pub(super) fn widest_key(owner: &str) -> Key {
    Key::new(Table::BookingRules, format!("{owner}/widest"))
}

/// What was read of the settings, by owner.
#[derive(Default)]
pub(super) struct Known(std::sync::Mutex<std::collections::HashMap<String, Arc<Settled>>>);

impl Known {
    fn lock(&self) -> std::sync::MutexGuard<'_, std::collections::HashMap<String, Arc<Settled>>> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// Owners whose settings are kept in memory.
const KNOWN: usize = 10_000;

impl House {
    /// Reads how an owner may be booked.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn booking_rules(&self, owner: &str) -> Result<Arc<Settled>, Fault> {
        let stored = self.store.record(&key(owner)).await?;
        if let Some(known) = self.bookings.known.lock().get(owner)
            && known.stored == stored
        {
            return Ok(Arc::clone(known));
        }
        let settled = Arc::new(Settled::of(stored)?);
        let mut known = self.bookings.known.lock();
        if known.len() >= KNOWN {
            known.clear();
        }
        known.insert(owner.to_owned(), Arc::clone(&settled));
        Ok(settled)
    }
}

impl Session {
    /// Changes how the principal may be booked. The change is made to the newest settings.
    ///
    /// # Errors
    /// Whatever `change` refuses; when the store fails.
    pub async fn change_booking_rules<E: From<Error>>(
        &self,
        change: impl Fn(&Settled, &mut Rules) -> Result<(), E> + Send + Sync,
    ) -> Result<Arc<Settled>, E> {
        let owner = &self.principal.name;
        let fault = |fault: Fault| E::from(Error::from(fault));
        for _ in 0..crate::calendar::put::ATTEMPTS {
            let before = self.house.booking_rules(owner).await.map_err(fault)?;
            let mut rules = before.rules.clone();
            change(&before, &mut rules)?;
            let bytes =
                serde_json::to_vec(&rules).map_err(|error| fault(Fault::Broken(error.to_string())))?;
            let commit = Commit::new(self.origin.clone(), self.house.clock.now())
                .expect(Expect::Record(key(owner), before.stored.clone()))
                .op(Op::PutRecord(key(owner), bytes.into()));
            match self.house.store.commit(commit).await {
                Ok(_) => return self.house.booking_rules(owner).await.map_err(fault),
                Err(CommitError::Rejected(Rejected::Record(_))) => {}
                Err(error) => return Err(E::from(error.into())),
            }
        }
        Err(E::from(Refusal::Stale.into()))
    }
}

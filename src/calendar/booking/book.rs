//! Making bookings and holds, and confirming them: look and write as one step.
//!
//! Owns: what one commit holds. Nothing is locked while it looks: the commit itself expects that nothing was written into
//! the time that was judged, in any calendar that counts; else it looks again (docs/decisions/015-look-and-write.md).
//! Does not own: what is in the way (`ground`), changes of what was booked (`change`).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

use super::event::{self, Host};
use super::ground::{Basis, Heed};
use super::holds::{self, is_holds};
use super::record::{Booking, Customer, Status, booking_key, encode, etag, reference_key, uid_of};
use super::rules::widest_key;
use super::view::{Booked, Loaded};
use crate::calendar::access::Writable;
use crate::calendar::default::is_closed;
use crate::calendar::put::{index_of, touch_home};
use crate::calendar::versions::{self, Ended};
use crate::calendar::{Error, Refusal, Session};
use crate::store::{Commit, CommitError, Etag, Expect, Fault, Name, Op, Rejected, Store, Timestamp, random};

/// How often it is looked again before one waits in line.
const TRIES: usize = 4;
/// How often it is looked again in line.
const LINED: usize = 200;

/// What a caller adds to the very commit that makes or changes a booking, such as the answer that is kept.
pub type Keep<'a> = &'a (dyn Fn(&Booked) -> Result<(Vec<Expect>, Vec<Op>), Fault> + Send + Sync);

/// A condition on a booking as it stands, such as If-Match.
pub type Check<'a> = &'a (dyn Fn(&Booked) -> Result<(), Refusal> + Send + Sync);

/// What is to be booked.
#[derive(Debug, Clone)]
pub struct NewBooking {
    /// The calendar that is written; nothing: as set.
    pub calendar: Option<Writable>,
    /// When it begins.
    pub start: i64,
    /// When it ends.
    pub end: i64,
    /// The zone that it is told in; nothing: the owner's.
    pub time_zone: Option<String>,
    /// What is booked.
    pub service: Option<String>,
    /// Who books.
    pub customer: Customer,
    /// Where.
    pub location: Option<String>,
    /// What else was said.
    pub notes: Option<String>,
    /// What it wants free before it; nothing: as set.
    pub before: Option<i64>,
    /// What it wants free after it; nothing: as set.
    pub after: Option<i64>,
    /// The rule of a series.
    pub recurrence: Option<String>,
    /// It is held only, for so many seconds.
    pub hold: Option<i64>,
    /// It waits for a confirmation, whatever is set.
    pub pending: bool,
    /// What the caller calls it.
    pub reference: Option<String>,
    /// The digest of what only whoever holds it knows.
    pub session: Option<String>,
    /// Which rules are heeded.
    pub heed: Heed,
}

/// Those who looked in vain again and again, one after the other for each owner.
#[derive(Default)]
pub(super) struct Lines(Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>);

impl Lines {
    async fn stand(&self, owner: &str) -> tokio::sync::OwnedMutexGuard<()> {
        let line = {
            let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            lines.retain(|_, line| Arc::strong_count(line) > 1);
            Arc::clone(lines.entry(owner.to_owned()).or_default())
        };
        line.lock_owned().await
    }
}

/// How often somebody looked again.
pub(super) struct Patience<'a> {
    session: &'a Session,
    tries: usize,
    line: Option<tokio::sync::OwnedMutexGuard<()>>,
}

impl<'a> Patience<'a> {
    pub(super) fn of(session: &'a Session) -> Patience<'a> {
        Patience { session, tries: 0, line: None }
    }

    /// Carries a commit out. False: something of what was seen has changed; look again.
    pub(super) async fn commit(&mut self, commit: Commit) -> Result<bool, Error> {
        let store: &dyn Store = &*self.session.house.store;
        match store.commit(commit).await {
            Ok(_) => return Ok(true),
            Err(CommitError::Rejected(Rejected::Full)) => {
                return Err(Refusal::CollectionFull(self.session.house.limits.objects).into());
            }
            Err(CommitError::Rejected(Rejected::UidTaken(name))) => {
                return Err(Refusal::UidTaken(name).into());
            }
            Err(CommitError::Rejected(_)) => {}
            Err(error @ CommitError::Fault(_)) => return Err(error.into()),
        }
        self.tries += 1;
        if self.tries >= TRIES && self.line.is_none() {
            // Whoever was overtaken so often goes on in order; nobody who comes first waits for them.
            let lines = &self.session.house.bookings.lines;
            self.line = Some(lines.stand(&self.session.principal.name).await);
        }
        if self.tries > TRIES + LINED {
            return Err(Fault::Broken("a booking was overtaken again and again".into()).into());
        }
        Ok(false)
    }
}

/// Returns an id: the newest sorts first, and nobody guesses it.
fn new_id(now: Timestamp) -> Result<String, Fault> {
    let falling = 0xffff_ffff_ffff_i64.saturating_sub(now.0.clamp(0, 0xffff_ffff_ffff));
    Ok(format!("{falling:012x}{}", random::hex::<12>()?))
}

/// Refuses to put a booking into a calendar that comes from somewhere else.
pub(super) fn open(at: &Writable) -> Result<(), Refusal> {
    if is_closed(at.collection()) { Err(Refusal::Kept("bind")) } else { Ok(()) }
}

impl Session {
    /// Books, or holds, a time of the principal's.
    ///
    /// # Errors
    /// `SlotTaken`, `NotBookable`; `Missing` if there is no calendar to write; when the store fails. Nothing is
    /// changed then.
    pub async fn book(&self, new: &NewBooking, keep: Keep<'_>) -> Result<Booked, Error> {
        let id = new_id(self.house.clock.now())?;
        if new.hold.is_some() {
            self.holds(&self.home().await?).await?;
        }
        let mut patience = Patience::of(self);
        loop {
            let basis = self.basis(new.calendar.as_ref()).await?;
            let booking = self.draft(&basis, new, &id)?;
            let text = event::text(&booking, &basis.settled.rules, self.host());
            let times = event::instances(&text, &basis.zone)?;
            let buffers = (booking.before, booking.after);
            let ranges = basis.judge_all(&times, buffers, None, new.heed).await?;
            let at = match (&basis.holds, &basis.write, booking.status) {
                (Some(holds), _, Status::Held) => self.writable(Arc::clone(holds.at.collection()))?,
                (_, Some(write), _) => write.clone(),
                _ => return Err(Refusal::Missing.into()),
            };
            let name = booking.name()?;
            let commit = Commit::new(self.origin.clone(), basis.now)
                .expect(Expect::Record(booking_key(&booking.owner, &id), None));
            let commit = self.fresh(commit, &at, &name);
            let mut commit = basis.hold(commit, &ranges);
            let tag = Etag::of(&text);
            commit = self.placed(commit, &at, name, text)?;
            commit = shown_buffers(commit, &at, &booking)?;
            commit = remembered(commit, &booking)?;
            commit = widened(commit, &basis, &booking);
            if let Some(reference) = &booking.reference {
                let key = reference_key(&booking.owner, reference, &id);
                commit = commit.op(Op::PutRecord(key, Bytes::from_static(b"1")));
            }
            let booked = booked(booking, Some(&tag))?;
            commit = kept(commit, keep, &booked)?;
            if patience.commit(commit).await? {
                self.note_end(&booked.booking);
                return Ok(booked);
            }
        }
    }

    /// Confirms what is held or awaits it. What was held waits on if the settings want a confirmation of everything.
    ///
    /// # Errors
    /// `Missing`, `WrongState`; `SlotTaken` if the time was taken all the same; whatever `check` refuses.
    pub async fn confirm_booking(&self, id: &str, check: Check<'_>, keep: Keep<'_>) -> Result<Booked, Error> {
        let mut patience = Patience::of(self);
        loop {
            let loaded = self.load(id).await?;
            check(&loaded.booked)?;
            let before = loaded.booked.booking.clone();
            let into = self.target(&before).await?;
            let basis = self.basis(Some(&into)).await?;
            let rules = &basis.settled.rules;
            let next = match before.status {
                Status::Held if rules.needs_confirmation => Status::Pending,
                _ => Status::Confirmed,
            };
            let event = loaded.event.as_ref().filter(|_| before.status.may_become(next));
            let Some(event) = event else { return Err(Refusal::WrongState(before.status).into()) };
            let mut booking = Booking { status: next, updated: basis.now, ..before.clone() };
            booking.expires = None;
            if before.status == Status::Held {
                booking.calendar = into.id();
            }
            let held = is_holds(event.at.collection());
            let text = match held {
                true => event::text(&booking, rules, self.host()),
                false => event::edited(event.object.bytes.clone(), &booking, rules, event::Anew::default())?,
            };
            let times = event::instances(&text, &basis.zone)?;
            let (buffers, own) = ((booking.before, booking.after), Some((event.at.id(), &event.name)));
            let ranges = basis.judge_all(&times, buffers, own, Heed::Conflicts).await?;
            let mut commit = basis.hold(self.begin(&loaded, basis.now), &ranges);
            if held {
                commit = commit.op(Op::Delete { collection: event.at.id(), name: event.name.clone() });
                commit = self.fresh(commit, &into, &event.name);
                commit = self.placed(commit, &into, event.name.clone(), text.clone())?;
                commit = shown_buffers(commit, &into, &booking)?;
            } else {
                commit.ops.extend(self.version(event, basis.now).await?);
                commit = self.placed(commit, &event.at, event.name.clone(), text.clone())?;
            }
            commit = remembered(commit, &booking)?;
            let booked = booked(booking, Some(&Etag::of(&text)))?;
            commit = kept(commit, keep, &booked)?;
            if patience.commit(commit).await? {
                return Ok(booked);
            }
        }
    }

    /// Returns the calendar that a booking's event belongs in; if it is gone, the one that is written.
    pub(super) async fn target(&self, booking: &Booking) -> Result<Writable, Error> {
        if let Some(found) = self.house.store.collection(booking.calendar).await?
            && let Ok(at) = self.writable(found)
            && !is_closed(at.collection())
        {
            return Ok(at);
        }
        Ok(self.basis(None).await?.write.ok_or(Refusal::Missing)?)
    }

    fn draft(&self, basis: &Basis, new: &NewBooking, id: &str) -> Result<Booking, Error> {
        let rules = &basis.settled.rules;
        let write = basis.write.as_ref().ok_or(Refusal::Missing)?;
        open(write)?;
        let status = match new.hold {
            Some(_) => Status::Held,
            None if new.pending || rules.needs_confirmation => Status::Pending,
            None => Status::Confirmed,
        };
        let ends = new.hold.map(|seconds| Timestamp(basis.now.0.saturating_add(seconds * 1000)));
        Ok(Booking {
            id: id.to_owned(),
            owner: self.principal.name.clone(),
            uid: uid_of(id),
            calendar: write.id(),
            status,
            start: new.start,
            end: new.end,
            time_zone: new.time_zone.clone().unwrap_or_else(|| basis.zone.name().unwrap_or("UTC").to_owned()),
            service: new.service.clone(),
            customer: new.customer.clone(),
            location: new.location.clone(),
            notes: new.notes.clone(),
            recurrence: new.recurrence.clone(),
            before: new.before.unwrap_or(rules.buffer_before),
            after: new.after.unwrap_or(rules.buffer_after),
            reference: new.reference.clone(),
            session: new.session.clone(),
            expires: ends.map(holds::whole).transpose()?,
            buffer_events: rules.buffer_events,
            outside_rules: new.heed == Heed::Conflicts,
            sequence: 0,
            created: basis.now,
            updated: basis.now,
        })
    }

    pub(super) fn host(&self) -> Host<'_> {
        let email = self.principal.emails.first().map(String::as_str);
        Host { name: &self.principal.display_name, email }
    }

    /// Begins a commit that holds only while the booking is what was seen.
    pub(super) fn begin(&self, loaded: &Loaded, now: Timestamp) -> Commit {
        let booking = &loaded.booked.booking;
        let key = booking_key(&booking.owner, &booking.id);
        let mut commit =
            Commit::new(self.origin.clone(), now).expect(Expect::Record(key, Some(loaded.stored.clone())));
        if let Some(event) = &loaded.event {
            let tag = event.object.meta.etag.clone();
            commit = commit.expect(Expect::Etag(event.at.id(), event.name.clone(), tag));
        }
        commit
    }

    /// Adds that there is room for a new event, and nothing of its name.
    pub(super) fn fresh(&self, commit: Commit, at: &Writable, name: &Name) -> Commit {
        commit
            .expect(Expect::Collection(at.id()))
            .expect(Expect::Absent(at.id(), name.clone()))
            .expect(Expect::Below(at.id(), self.house.limits.objects))
    }

    /// Adds that an event is stored.
    pub(super) fn placed(
        &self,
        commit: Commit,
        at: &Writable,
        name: Name,
        text: Bytes,
    ) -> Result<Commit, Error> {
        if text.len() as u64 > self.house.limits.object_size {
            return Err(Refusal::TooLarge(self.house.limits.object_size).into());
        }
        let index = index_of(text.clone())?;
        let content_type = "text/calendar; charset=utf-8; component=vevent".to_owned();
        let commit = commit.op(Op::Put { collection: at.id(), name, content_type, bytes: text, index });
        // Nobody sees holds: that one is made is no news to a client.
        Ok(if is_holds(at.collection()) { commit } else { touch_home(commit, at) })
    }

    /// Returns the step that keeps the text which is about to be replaced.
    pub(super) async fn version(
        &self,
        event: &super::view::Event,
        now: Timestamp,
    ) -> Result<Option<Op>, Error> {
        if is_holds(event.at.collection()) {
            return Ok(None);
        }
        let (at, before) = (event.at.id(), &event.object);
        Ok(versions::keep(&self.house, at, before, &self.origin, now, Ended::Replaced).await?)
    }

    pub(super) fn note_end(&self, booking: &Booking) {
        if let Some(ends) = booking.expires.filter(|_| booking.status == Status::Held) {
            self.house.bookings.ends.note(ends, &booking.owner, &booking.id);
        }
    }
}

/// Returns the booking as it will stand.
pub(super) fn booked(booking: Booking, event: Option<&Etag>) -> Result<Booked, Fault> {
    let etag = etag(&encode(&booking)?, event);
    Ok(Booked { booking, etag })
}

/// Adds that the booking is remembered.
pub(super) fn remembered(commit: Commit, booking: &Booking) -> Result<Commit, Fault> {
    Ok(commit.op(Op::PutRecord(booking_key(&booking.owner, &booking.id), encode(booking)?)))
}

/// Adds what the caller wants kept with it.
pub(super) fn kept(mut commit: Commit, keep: Keep<'_>, booked: &Booked) -> Result<Commit, Fault> {
    let (expects, ops) = keep(booked)?;
    commit.expects.extend(expects);
    commit.ops.extend(ops);
    Ok(commit)
}

/// Adds that buffers were never larger, if they were not.
pub(super) fn widened(commit: Commit, basis: &Basis, booking: &Booking) -> Commit {
    let widest = booking.before.max(booking.after);
    if widest <= basis.widest {
        return commit;
    }
    commit.op(Op::PutRecord(widest_key(&booking.owner), widest.to_string().into()))
}

/// Adds the events that show the buffers, or that they go.
pub(super) fn shown_buffers(mut commit: Commit, at: &Writable, booking: &Booking) -> Result<Commit, Error> {
    if !booking.buffer_events || is_holds(at.collection()) {
        return Ok(commit);
    }
    if !matches!(booking.status, Status::Pending | Status::Confirmed | Status::NoShow) {
        return Ok(hidden_buffers(commit, at, booking)?);
    }
    for (name, text) in booking.buffer_names()?.into_iter().zip(event::buffers(booking)) {
        commit = match text {
            Some(bytes) => {
                let content_type = "text/calendar; charset=utf-8; component=vevent".to_owned();
                let index = index_of(bytes.clone())?;
                commit.op(Op::Put { collection: at.id(), name, content_type, bytes, index })
            }
            None => commit.op(Op::Delete { collection: at.id(), name }),
        };
    }
    Ok(commit)
}

/// Adds that the events which show the buffers go.
pub(super) fn hidden_buffers(mut commit: Commit, at: &Writable, booking: &Booking) -> Result<Commit, Fault> {
    if booking.buffer_events {
        for name in booking.buffer_names()? {
            commit = commit.op(Op::Delete { collection: at.id(), name });
        }
    }
    Ok(commit)
}

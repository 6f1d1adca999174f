//! Changing what was booked: another time, other words, the end of it. A new time goes through the same guard as the
//! first one (B-02); its own old time is not in its way.

use bytes::Bytes;

use super::book::{
    Check, Keep, Patience, booked, hidden_buffers, kept, open, remembered, shown_buffers, widened,
};
use super::event::{self, Anew};
use super::ground::Heed;
use super::holds::{self, is_holds};
use super::record::{Booking, Customer, Status, reference_key};
use super::rules::OnCancel;
use super::view::{Booked, Event};
use crate::calendar::access::Writable;
use crate::calendar::put::touch_home;
use crate::calendar::versions::{self, Ended};
use crate::calendar::{Error, Refusal, Session};
use crate::store::{Commit, Etag, Op, Timestamp};

/// What becomes of a booking; what is not said stays.
#[derive(Debug, Clone, Default)]
pub struct BookingChange {
    /// When it begins; its length stays, unless that is said too.
    pub start: Option<i64>,
    /// When it ends.
    pub end: Option<i64>,
    /// How long it is, in seconds.
    pub duration: Option<i64>,
    /// The zone that it is told in.
    pub time_zone: Option<String>,
    /// What is booked.
    pub service: Option<Option<String>>,
    /// Who books.
    pub customer: Option<Customer>,
    /// Where.
    pub location: Option<Option<String>>,
    /// What else was said.
    pub notes: Option<Option<String>>,
    /// The calendar that its event moves to.
    pub calendar: Option<Writable>,
    /// What it wants free before it.
    pub before: Option<i64>,
    /// What it wants free after it.
    pub after: Option<i64>,
    /// What the caller calls it.
    pub reference: Option<Option<String>>,
    /// It is held for so many seconds from now.
    pub hold: Option<i64>,
    /// How it ends: `Cancelled`, `Rejected` or `NoShow`.
    pub status: Option<Status>,
    /// Which rules a new time heeds; nothing: as when it was booked.
    pub heed: Option<Heed>,
}

impl BookingChange {
    /// Tells whether it is about when it is.
    pub fn moves(&self) -> bool {
        self.start.is_some()
            || self.end.is_some()
            || self.duration.is_some()
            || self.before.is_some()
            || self.after.is_some()
    }

    /// Tells whether it is about what is said of it.
    pub fn says(&self) -> bool {
        self.service.is_some()
            || self.customer.is_some()
            || self.location.is_some()
            || self.notes.is_some()
            || self.reference.is_some()
    }

    /// Returns the booking as it will be, or which member cannot be so.
    fn apply(&self, before: &Booking, now: Timestamp) -> Result<Booking, Refusal> {
        let mut after = Booking { updated: now, ..before.clone() };
        let length = self.duration.unwrap_or(before.end - before.start);
        after.start = self.start.unwrap_or(before.start);
        after.end = self.end.unwrap_or(after.start.saturating_add(length));
        if after.end <= after.start {
            return Err(Refusal::Bad("It would end before it begins.".to_owned()));
        }
        after.before = self.before.unwrap_or(before.before);
        after.after = self.after.unwrap_or(before.after);
        let words = [
            (&self.service, &mut after.service),
            (&self.location, &mut after.location),
            (&self.notes, &mut after.notes),
            (&self.reference, &mut after.reference),
        ];
        for (said, word) in words {
            if let Some(said) = said {
                word.clone_from(said);
            }
        }
        if let Some(zone) = &self.time_zone {
            after.time_zone.clone_from(zone);
        }
        if let Some(customer) = &self.customer {
            after.customer.clone_from(customer);
        }
        if let Some(heed) = self.heed {
            after.outside_rules = heed == Heed::Conflicts;
        }
        Ok(after)
    }
}

impl Session {
    /// Changes a booking.
    ///
    /// # Errors
    /// `Missing`, `WrongState`, `SlotTaken`, `NotBookable`; whatever `check` refuses; when the store fails. Nothing is
    /// changed then.
    pub async fn change_booking(
        &self,
        id: &str,
        change: &BookingChange,
        check: Check<'_>,
    ) -> Result<Booked, Error> {
        if let Some(status) = change.status {
            return self.end_booking(id, status, check, &|_| Ok((Vec::new(), Vec::new()))).await;
        }
        let mut patience = Patience::of(self);
        loop {
            let loaded = self.load(id).await?;
            check(&loaded.booked)?;
            let before = &loaded.booked.booking;
            let wrong = || Refusal::WrongState(before.status);
            let event = loaded.event.as_ref().filter(|_| before.status.is_open()).ok_or_else(wrong)?;
            let held = is_holds(event.at.collection());
            if change.hold.is_some() && !held {
                return Err(wrong().into());
            }
            let now = self.house.clock.now();
            let mut after = change.apply(before, now)?;
            if let Some(seconds) = change.hold {
                after.expires = Some(holds::whole(Timestamp(now.0.saturating_add(seconds * 1000)))?);
            }
            let moved = (after.start, after.end) != (before.start, before.end);
            let mut commit = self.begin(&loaded, now);
            let target = match &change.calendar {
                Some(at) => at.clone(),
                None if held => self.target(before).await?,
                None => event.at.clone(),
            };
            after.calendar = target.id();
            let leaves = !held && target.id() != event.at.id();
            let settled = self.house.booking_rules(&after.owner).await?;
            let text = if held {
                event::text(&after, &settled.rules, self.host())
            } else {
                if moved || leaves {
                    after.sequence =
                        event::sequence(&event.object.bytes).max(after.sequence).saturating_add(1);
                }
                let anew = Anew { times: change.moves() || change.time_zone.is_some(), words: change.says() };
                event::edited(event.object.bytes.clone(), &after, &settled.rules, anew)?
            };
            // An extended hold has to be free still: it may have ended just now (B-01).
            if change.moves() || held || leaves {
                let basis = self.basis(Some(&target)).await?;
                let heed = if moved { after.heed() } else { Heed::Conflicts };
                let times = event::instances(&text, &basis.zone)?;
                let (buffers, own) = ((after.before, after.after), Some((event.at.id(), &event.name)));
                let ranges = basis.judge_all(&times, buffers, own, heed).await?;
                commit = widened(basis.hold(commit, &ranges), &basis, &after);
            }
            let place = if held { &event.at } else { &target };
            if leaves {
                open(place)?;
                let (at, before) = (event.at.id(), &event.object);
                let kept = versions::keep(&self.house, at, before, &self.origin, now, Ended::Deleted).await?;
                commit.ops.extend(kept);
                commit = commit.op(Op::Delete { collection: event.at.id(), name: event.name.clone() });
                commit = hidden_buffers(commit, &event.at, &after)?;
                commit = self.fresh(touch_home(commit, &event.at), place, &event.name);
            } else {
                commit.ops.extend(self.version(event, now).await?);
            }
            commit = self.placed(commit, place, event.name.clone(), text.clone())?;
            commit = shown_buffers(commit, place, &after)?;
            commit = remembered(commit, &after)?;
            commit = referred(commit, before, &after);
            let booked = booked(after, Some(&Etag::of(&text)))?;
            if patience.commit(commit).await? {
                self.note_end(&booked.booking);
                return Ok(booked);
            }
        }
    }

    /// Ends a booking: `Cancelled`, `Rejected` or `NoShow`. One that is cancelled already stays so.
    ///
    /// # Errors
    /// `Missing`, `WrongState`; whatever `check` refuses; when the store fails.
    pub async fn end_booking(
        &self,
        id: &str,
        status: Status,
        check: Check<'_>,
        keep: Keep<'_>,
    ) -> Result<Booked, Error> {
        let mut patience = Patience::of(self);
        loop {
            let loaded = self.load(id).await?;
            check(&loaded.booked)?;
            let before = &loaded.booked.booking;
            if before.status == status || status == Status::Cancelled && before.status == Status::Expired {
                return Ok(loaded.booked);
            }
            if !before.status.may_become(status) {
                return Err(Refusal::WrongState(before.status).into());
            }
            let now = self.house.clock.now();
            let mut after = Booking { status, updated: now, ..before.clone() };
            after.expires = None;
            let mut commit = self.begin(&loaded, now);
            let mut tag = None;
            if let Some(event) = &loaded.event {
                let rules = self.house.booking_rules(&after.owner).await?;
                let goes = status != Status::NoShow;
                if is_holds(event.at.collection()) {
                    commit = commit.op(Op::Delete { collection: event.at.id(), name: event.name.clone() });
                } else if goes && rules.rules.on_cancel == OnCancel::Trash {
                    commit = self.discarded(commit, event, now).await?;
                } else if goes {
                    after.sequence =
                        event::sequence(&event.object.bytes).max(after.sequence).saturating_add(1);
                    let text: Bytes =
                        event::edited(event.object.bytes.clone(), &after, &rules.rules, Anew::default())?;
                    commit.ops.extend(self.version(event, now).await?);
                    commit = self.placed(commit, &event.at, event.name.clone(), text)?;
                } else {
                    tag = Some(event.object.meta.etag.clone());
                }
                commit = shown_buffers(commit, &event.at, &after)?;
            }
            commit = remembered(commit, &after)?;
            let booked = booked(after, tag.as_ref())?;
            commit = kept(commit, keep, &booked)?;
            if patience.commit(commit).await? {
                return Ok(booked);
            }
        }
    }

    async fn discarded(&self, mut commit: Commit, event: &Event, now: Timestamp) -> Result<Commit, Error> {
        let (at, before) = (event.at.id(), &event.object);
        commit.ops.extend(versions::keep(&self.house, at, before, &self.origin, now, Ended::Deleted).await?);
        commit.ops.extend(self.to_trash(&event.at, &event.object.meta, now).await?);
        let commit = commit.op(Op::Delete { collection: event.at.id(), name: event.name.clone() });
        Ok(touch_home(commit, &event.at))
    }
}

/// Adds that a booking is found by what it is called now.
fn referred(mut commit: Commit, before: &Booking, after: &Booking) -> Commit {
    if before.reference == after.reference {
        return commit;
    }
    if let Some(old) = &before.reference {
        commit = commit.op(Op::DeleteRecord(reference_key(&before.owner, old, &before.id)));
    }
    if let Some(new) = &after.reference {
        let key = reference_key(&after.owner, new, &after.id);
        commit = commit.op(Op::PutRecord(key, Bytes::from_static(b"1")));
    }
    commit
}

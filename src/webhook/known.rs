//! What was told already, or was there before anybody subscribed.
//!
//! Owns: taking a group of things up when somebody first wants to hear of it, letting it go when nobody does any more.
//! Does not own: telling (`observe`).

use std::collections::BTreeSet;

use super::front::{HookError, Webhooks};
use super::record::{Cursor, Group, Known, PAGE, Told, known, known_key, load, put, told_key};
use super::voice::{Matter, Voice};
use crate::calendar::booking::{Booked, Status, is_holds};
use crate::calendar::{Error, Readable, Refusal, Session, is_hidden};
use crate::store::{Etag, Fault, Kind, Op, Origin, Table};

/// Says what failed; what the rules refuse is a failure here: nobody asked.
pub(super) fn fault(error: Error) -> Fault {
    match error {
        Error::Failed(fault) => fault,
        Error::Refused(refusal) => {
            Fault::Broken(format!("a webhook cannot read what it tells of: {refusal:?}"))
        }
    }
}

impl Known {
    /// Returns a booking as it stands.
    pub(super) fn of(record: &[u8], booked: &Booked) -> Known {
        Known {
            record: Etag::of(record).0,
            etag: booked.etag.0.clone(),
            status: booked.booking.status.as_str().to_owned(),
            start: booked.booking.start,
            end: booked.booking.end,
        }
    }

    /// Tells whether it stood so.
    pub(super) fn was(&self, status: Status) -> bool {
        self.status == status.as_str()
    }
}

/// Returns the calendars that are told of, and the one that holds are in.
pub(super) async fn calendars(session: &Session) -> Result<Vec<Readable>, Fault> {
    let home = match session.home().await {
        Ok(home) => home,
        Err(Error::Refused(Refusal::Missing)) => return Ok(Vec::new()),
        Err(error) => return Err(fault(error)),
    };
    let mut all = home.all_children().await.map_err(fault)?;
    all.retain(|child| {
        let collection = child.collection();
        collection.kind == Kind::Calendar && (is_holds(collection) || !is_hidden(collection))
    });
    Ok(all)
}

/// Reads a booking; nothing: it is gone.
pub(super) async fn booked(session: &Session, id: &str) -> Result<Option<Booked>, Fault> {
    match session.booking(id).await {
        Ok(booked) => Ok(Some(booked)),
        Err(Error::Refused(Refusal::Missing)) => Ok(None),
        Err(error) => Err(fault(error)),
    }
}

impl Webhooks {
    /// Has these groups be followed from now on, and no others.
    pub(super) async fn begin(
        &self,
        voice: &dyn Voice,
        owner: &str,
        wanted: &BTreeSet<Group>,
    ) -> Result<(), HookError> {
        let key = told_key(owner);
        let mut told: Told = load(self.store(), &key).await?.unwrap_or_default();
        if told.groups == *wanted {
            return Ok(());
        }
        let Some(principal) = self.house.principal(owner).await? else { return Ok(()) };
        let session = self.house.session(principal, Origin::System);
        for group in told.groups.difference(wanted) {
            self.clear(Table::Delivery, &known(owner, *group)).await?;
        }
        for group in wanted.difference(&told.groups) {
            match group {
                Group::Log => {
                    told.cursors.clear();
                    for calendar in calendars(&session).await? {
                        let head = calendar.head().await.map_err(fault)?;
                        told.cursors.insert(calendar.id().0, Cursor { rev: head.rev.0, gone: false });
                    }
                }
                Group::Bookings => self.know_bookings(&session).await?,
                Group::Conflicts => self.know_all(voice, owner, Matter::Conflict, *group).await?,
                Group::Runs => self.know_all(voice, owner, Matter::Run, *group).await?,
                Group::Rules => told.rules = self.rules(owner).await?,
            }
        }
        told.groups.clone_from(wanted);
        self.commit(Vec::new(), vec![put(key, &told)?]).await?;
        Ok(())
    }

    /// Returns the tag of how an owner may be booked.
    pub(super) async fn rules(&self, owner: &str) -> Result<String, Fault> {
        let settled = self.house.booking_rules(owner).await?;
        Ok(Etag::of(format!("{:?}", settled.rules).as_bytes()).0)
    }

    async fn know_bookings(&self, session: &Session) -> Result<(), HookError> {
        let owner = session.principal.name.clone();
        let mut after: Option<String> = None;
        loop {
            let page =
                self.store().records(Table::Booking, &format!("{owner}/"), after.as_deref(), PAGE).await?;
            let Some((last, _)) = page.last() else { return Ok(()) };
            after = Some(last.path.clone());
            let mut ops: Vec<Op> = Vec::new();
            for (key, bytes) in &page {
                let id = key.path.rsplit('/').next().unwrap_or_default();
                if let Some(booked) = booked(session, id).await? {
                    ops.push(put(known_key(&owner, Group::Bookings, id), &Known::of(bytes, &booked))?);
                }
            }
            self.commit(Vec::new(), ops).await?;
        }
    }

    async fn know_all(
        &self,
        voice: &dyn Voice,
        owner: &str,
        matter: Matter,
        group: Group,
    ) -> Result<(), HookError> {
        for ids in voice.all(matter, owner).await?.chunks(PAGE) {
            let known = ids.iter().map(|id| put(known_key(owner, group, id), &true));
            self.commit(Vec::new(), known.collect::<Result<_, _>>()?).await?;
        }
        Ok(())
    }
}

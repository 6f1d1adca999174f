//! From what was committed to what is told: reads the logs from the cursor on, compares bookings with what was last told of
//! them, and makes deliveries for whoever wants them in the commit that remembers how far it came.
//!
//! Owns: which event a change is. Does not own: the words (`voice`), sending (`send`).

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::facts::{Busy, bounded, delivery, is_new, moment, turns};
use super::front::{HookError, Webhooks};
use super::known::{booked, calendars, fault};
use super::record::{
    self, Cursor, Delivery, Group, Hook, Known, PAGE, Told, decode, deliveries, delivery_key, encode,
    hook_key, known, known_key, load, put, rows, told_key,
};
use super::voice::{Fact, Matter, Voice};
use crate::calendar::booking::{Booking, Status, booking_key, booking_of, is_holds};
use crate::calendar::{Error, Readable, Refusal, Session};
use crate::store::{
    Change, CollectionId, CommitError, Etag, Expect, Fault, Name, Op, Origin, Rev, Table, Timestamp, What,
};

/// Rows of a log that are read at a time.
const ROWS: usize = 500;
/// How long deliveries are kept.
pub(super) const KEEP: i64 = 30 * 86_400_000;

/// What of an owner's things has to be looked at.
#[derive(Debug, Clone, Default)]
pub(super) struct Look {
    /// Everything: nobody knows what happened.
    pub(super) all: bool,
    pub(super) log: bool,
    pub(super) rules: bool,
    pub(super) bookings: BTreeSet<String>,
    pub(super) matters: BTreeSet<(Matter, String)>,
}

impl Look {
    pub(super) fn all() -> Look {
        Look { all: true, log: true, rules: true, ..Look::default() }
    }

    pub(super) fn is_needed(&self) -> bool {
        self.all || self.log || self.rules || !self.bookings.is_empty() || !self.matters.is_empty()
    }
}

/// What happened to one object within a page of its log.
struct Rows {
    first: Change,
    last: Change,
}

/// One look at an owner's things.
struct Watch<'a> {
    hooks: &'a Webhooks,
    voice: &'a dyn Voice,
    session: Session,
    /// Who subscribed, with the bytes of their records.
    subscribed: Vec<Hook>,
    told: Told,
    before: Told,
    facts: Vec<Fact>,
    ops: Vec<Op>,
    busy: Busy,
    /// Bookings that have to be compared.
    bookings: BTreeSet<String>,
    /// Those that were, as they will be remembered.
    compared: BTreeMap<String, Known>,
}

impl Webhooks {
    /// Tells what happened to an owner's things since the last look. Whoever calls has the owner's turn.
    pub(super) async fn look(&self, voice: &dyn Voice, owner: &str, look: &Look) -> Result<(), Fault> {
        let subscribed = record::hooks(self.store(), Some(owner)).await?;
        if subscribed.is_empty() {
            return Ok(());
        }
        let Some(principal) = self.house.principal(owner).await? else { return Ok(()) };
        self.begin(voice, owner, &Group::wanted(&subscribed)).await.map_err(whole)?;
        let told: Told = load(self.store(), &told_key(owner)).await?.unwrap_or_default();
        let session = self.house.session(principal, Origin::System);
        let mut watch = Watch {
            hooks: self,
            voice,
            session,
            subscribed,
            before: told.clone(),
            told,
            facts: Vec::new(),
            ops: Vec::new(),
            busy: Busy::default(),
            bookings: look.bookings.clone(),
            compared: BTreeMap::new(),
        };
        watch.carry_out(look).await
    }
}

fn whole(error: HookError) -> Fault {
    match error {
        HookError::Failed(fault) => fault,
        other => Fault::Broken(format!("webhooks: {other:?}")),
    }
}

impl Watch<'_> {
    fn owner(&self) -> &str {
        &self.session.principal.name
    }

    fn follows(&self, group: Group) -> bool {
        self.told.groups.contains(&group)
    }

    fn wanted(&self, kind: &str, calendar: Option<u64>) -> bool {
        self.subscribed.iter().any(|hook| hook.wants(kind, calendar))
    }

    fn tell(&mut self, kind: &'static str, at: Timestamp, calendar: Option<u64>, data: Value) {
        self.facts.push(Fact { kind, at, calendar, data: bounded(data) });
    }

    async fn carry_out(&mut self, look: &Look) -> Result<(), Fault> {
        // First the records of bookings, then the logs, each page with the bookings whose events it names: no cursor moves
        // on before all that follows from its rows is found.
        if self.follows(Group::Bookings) {
            if look.all {
                self.compare_bookings().await?;
            }
            self.changed_bookings().await?;
        }
        if self.follows(Group::Log) && (look.log || look.all) {
            self.logs().await?;
            self.changed_bookings().await?;
        }
        for (group, matter) in [(Group::Conflicts, Matter::Conflict), (Group::Runs, Matter::Run)] {
            if self.follows(group) {
                self.matters(group, matter, look).await?;
            }
        }
        if self.follows(Group::Rules) && (look.rules || look.all) {
            self.rules().await?;
        }
        self.flush().await
    }

    /// Remembers what was found so far, with all that follows from it.
    async fn flush(&mut self) -> Result<(), Fault> {
        self.changed_bookings().await?;
        self.availability().await?;
        self.keep().await
    }

    // ---- the logs of calendars

    async fn logs(&mut self) -> Result<(), Fault> {
        let mut left: BTreeSet<u64> = self.told.cursors.keys().copied().collect();
        for calendar in calendars(&self.session).await? {
            let id = calendar.id();
            left.remove(&id.0);
            self.hooks.state().place(&self.session.principal.name, id);
            let cursor = self.told.cursors.get(&id.0).copied();
            if cursor.is_none_or(|cursor| cursor.gone) {
                let rev = cursor.map_or(0, |cursor| cursor.rev);
                self.told.cursors.insert(id.0, Cursor { rev, gone: false });
                self.came(&calendar);
            }
            while self.page(&calendar).await? {
                if self.facts.len() >= PAGE {
                    self.flush().await?;
                }
            }
        }
        // What lies in the trash may come back, and goes on where it was.
        for id in left {
            let there = self.hooks.store().collection(CollectionId(id)).await?;
            let was_there = self.told.cursors.get(&id).is_some_and(|cursor| !cursor.gone);
            match (self.told.cursors.get_mut(&id), there.is_some()) {
                (Some(cursor), true) => cursor.gone = true,
                _ => {
                    self.told.cursors.remove(&id);
                }
            }
            if was_there {
                self.busy.add(CollectionId(id), self.hooks.now(), None);
                let data = json!({ "calendar": id.to_string(), "name": null });
                self.tell("calendar.deleted", self.hooks.now(), Some(id), data);
            }
        }
        Ok(())
    }

    fn came(&mut self, calendar: &Readable) {
        let collection = calendar.collection();
        if !is_holds(collection) {
            let id = collection.id.0;
            let data = json!({ "calendar": id.to_string(), "name": collection.name.as_str() });
            self.tell("calendar.created", collection.modified, Some(id), data);
        }
    }

    /// Tells a page of a calendar's log. Returns whether there is more.
    async fn page(&mut self, calendar: &Readable) -> Result<bool, Fault> {
        let id = calendar.id();
        let since = self.told.cursors.get(&id.0).map_or(0, |cursor| cursor.rev);
        let page = match calendar.changes(Rev(since), ROWS).await {
            Ok(page) => page,
            Err(Error::Refused(Refusal::TokenExpired)) => {
                let head = calendar.head().await.map_err(fault)?;
                tracing::warn!(calendar = id.0, "the log was cut before webhooks heard of all of it");
                self.told.cursors.insert(id.0, Cursor { rev: head.rev.0, gone: false });
                self.busy.add(id, self.hooks.now(), None);
                return Ok(false);
            }
            // It has just been deleted: the next look sees that.
            Err(Error::Refused(Refusal::Missing)) => return Ok(false),
            Err(error) => return Err(fault(error)),
        };
        let Some(last) = page.items.last().map(|row| row.rev.0) else { return Ok(false) };
        let mut objects: BTreeMap<Name, Rows> = BTreeMap::new();
        for row in page.items.into_iter().filter(|row| row.what != What::Touched) {
            let Some(name) = row.name.clone() else { continue };
            match objects.get_mut(&name) {
                Some(rows) => rows.last = row,
                None => {
                    objects.insert(name, Rows { first: row.clone(), last: row });
                }
            }
        }
        let mut objects: Vec<(Name, Rows)> = objects.into_iter().collect();
        objects.sort_by_key(|(_, rows)| rows.last.rev);
        for (name, rows) in objects {
            self.object(calendar, &name, &rows).await?;
        }
        self.told.cursors.insert(id.0, Cursor { rev: last, gone: false });
        Ok(page.more)
    }

    /// Tells what became of one object.
    async fn object(&mut self, calendar: &Readable, name: &Name, rows: &Rows) -> Result<(), Fault> {
        let id = calendar.id();
        let at = rows.last.at;
        let holds = is_holds(calendar.collection());
        let named = self.may_be_booking(name.as_str().trim_end_matches(".ics")).await?;
        self.busy.holds |= holds;
        if rows.last.what == What::Deleted {
            self.busy.add(id, at, None);
            let told = self.wanted("event.deleted", Some(id.0));
            if !holds && (told || !named) {
                let uid = self.session.uid_of_deleted(calendar, name, at).await.map_err(fault)?;
                self.booked_as(uid.as_deref()).await?;
                if !told {
                    return Ok(());
                }
                let data = self.about(calendar, name, &rows.last, uid.as_deref(), Value::Null);
                self.tell("event.deleted", at, Some(id.0), data);
            }
            return Ok(());
        }
        if holds {
            let meta = calendar.meta(name.as_str()).await.map_err(fault)?;
            let span = meta.and_then(|meta| meta.index.span);
            self.busy.add(id, at, span.map(|span| (span.start, span.end)));
            return Ok(());
        }
        // It is gone again: the row of that follows.
        let Some(meta) = calendar.meta(name.as_str()).await.map_err(fault)? else { return Ok(()) };
        self.booked_as(meta.index.uid.as_deref()).await?;
        let new = is_new(calendar, &meta, &rows.first).await?;
        // Of one that was moved it is not known here when it was before.
        let span = meta.index.span.filter(|_| new).map(|span| (span.start, span.end));
        self.busy.add(id, at, span);
        let kind = if new { "event.created" } else { "event.updated" };
        if self.wanted(kind, Some(id.0)) {
            let found = self.voice.event(self.owner(), id, name.as_str()).await?;
            let Some((meta, shown)) = found else { return Ok(()) };
            let data = self.about(calendar, name, &rows.last, meta.index.uid.as_deref(), shown);
            self.tell(kind, at, Some(id.0), data);
        }
        Ok(())
    }

    /// Has a booking be looked at whose event has this UID: its owner may have given the event another name.
    async fn booked_as(&mut self, uid: Option<&str>) -> Result<(), Fault> {
        if let Some(id) = uid.and_then(booking_of) {
            self.may_be_booking(id).await?;
        }
        Ok(())
    }

    /// Has a booking be looked at, if there is one of this id.
    async fn may_be_booking(&mut self, id: &str) -> Result<bool, Fault> {
        let plain = !id.is_empty() && id.len() <= 64 && id.bytes().all(|b| b.is_ascii_alphanumeric());
        if !plain || !self.follows(Group::Bookings) {
            return Ok(false);
        }
        let there = self.hooks.store().record(&booking_key(self.owner(), id)).await?.is_some();
        if there {
            self.bookings.insert(id.to_owned());
        }
        Ok(there)
    }

    fn about(
        &self,
        calendar: &Readable,
        name: &Name,
        row: &Change,
        uid: Option<&str>,
        event: Value,
    ) -> Value {
        json!({
            "calendar": calendar.id().0.to_string(),
            "uid": uid,
            "name": name.as_str(),
            "rev": row.rev.0,
            "by": self.voice.by(&row.origin),
            "event": event,
        })
    }

    // ---- bookings

    async fn changed_bookings(&mut self) -> Result<(), Fault> {
        for id in std::mem::take(&mut self.bookings) {
            self.booking(&id).await?;
        }
        Ok(())
    }

    /// Finds the bookings whose records are not as they were last told.
    async fn compare_bookings(&mut self) -> Result<(), Fault> {
        let prefix = known(self.owner(), Group::Bookings);
        let mut known: BTreeMap<String, Known> = BTreeMap::new();
        for (key, bytes) in rows(self.hooks.store(), Table::Delivery, &prefix).await? {
            let id = key.path.rsplit('/').next().unwrap_or_default();
            known.insert(id.to_owned(), decode(&key, &bytes)?);
        }
        let prefix = format!("{}/", self.owner());
        let mut after: Option<String> = None;
        loop {
            let page = self.hooks.store().records(Table::Booking, &prefix, after.as_deref(), PAGE).await?;
            let Some((last, _)) = page.last() else { break };
            after = Some(last.path.clone());
            for (key, bytes) in &page {
                let id = key.path.rsplit('/').next().unwrap_or_default();
                let tag = Etag::of(bytes).0;
                if known.remove(id).is_none_or(|known| known.record != tag) {
                    self.bookings.insert(id.to_owned());
                }
            }
        }
        // What is left is there no more.
        self.bookings.extend(known.into_keys());
        Ok(())
    }

    async fn booking(&mut self, id: &str) -> Result<(), Fault> {
        let key = known_key(self.owner(), Group::Bookings, id);
        let before: Option<Known> = match self.compared.get(id) {
            Some(known) => Some(known.clone()),
            None => load(self.hooks.store(), &key).await?,
        };
        let stored = self.hooks.store().record(&booking_key(self.owner(), id)).await?;
        let (Some(stored), Some(booked)) = (stored, booked(&self.session, id).await?) else {
            self.ops.extend(before.map(|_| Op::DeleteRecord(key)));
            return Ok(());
        };
        let after = Known::of(&stored, &booked);
        if before.as_ref() == Some(&after) {
            return Ok(());
        }
        let record = Booking::decode(&stored)?;
        let at = match &before {
            // Its event changed, not its record.
            Some(before) if before.record == after.record => self.hooks.now(),
            _ if booked.booking.status == Status::Expired => {
                record.expires.unwrap_or(record.updated).min(self.hooks.now())
            }
            _ => record.updated,
        };
        let previous = before.as_ref().map_or(Value::Null, |before| {
            json!({ "status": before.status, "start": moment(before.start), "end": moment(before.end) })
        });
        let calendar = Some(booked.booking.calendar.0);
        for kind in turns(before.as_ref(), &booked) {
            if self.wanted(kind, calendar) {
                let data = json!({ "booking": self.voice.booking(&booked), "previous": previous });
                self.tell(kind, at, calendar, data);
            }
        }
        self.ops.push(put(key, &after)?);
        self.compared.insert(id.to_owned(), after);
        Ok(())
    }

    // ---- conflicts and runs

    async fn matters(&mut self, group: Group, matter: Matter, look: &Look) -> Result<(), Fault> {
        let mut ids: BTreeSet<String> =
            look.matters.iter().filter(|(of, _)| *of == matter).map(|(_, id)| id.clone()).collect();
        if look.all {
            let all: BTreeSet<String> = self.voice.all(matter, self.owner()).await?.into_iter().collect();
            let prefix = known(self.owner(), group);
            for (key, _) in rows(self.hooks.store(), Table::Delivery, &prefix).await? {
                if !all.contains(key.path.rsplit('/').next().unwrap_or_default()) {
                    self.ops.push(Op::DeleteRecord(key));
                }
            }
            ids.extend(all);
        }
        for id in ids {
            let key = known_key(self.owner(), group, &id);
            if self.hooks.store().record(&key).await?.is_some() {
                continue;
            }
            let Some(fact) = self.voice.one(matter, self.owner(), &id).await? else { continue };
            self.facts.push(fact);
            self.ops.push(put(key, &true)?);
            if self.facts.len() >= PAGE {
                self.flush().await?;
            }
        }
        Ok(())
    }

    // ---- free time

    /// Notes that somebody may be booked otherwise than before.
    async fn rules(&mut self) -> Result<(), Fault> {
        let tag = self.hooks.rules(self.owner()).await?;
        if tag != self.told.rules {
            self.told.rules = tag;
            (self.busy.anywhere, self.busy.holds) = (true, true);
            self.busy.at = self.busy.at.max(Some(self.hooks.now()));
        }
        Ok(())
    }

    async fn availability(&mut self) -> Result<(), Fault> {
        let busy = std::mem::take(&mut self.busy);
        if !self.follows(Group::Rules) {
            return Ok(());
        }
        let Some(at) = busy.at else { return Ok(()) };
        // Calendars that do not count make nobody busy.
        let settled = self.hooks.house.booking_rules(self.owner()).await?;
        let counting = settled.rules.calendars.as_ref();
        let counts = |id: &u64| counting.is_none_or(|calendars| calendars.contains(id));
        let sure = busy.holds || busy.calendars.is_empty();
        if !sure && !busy.calendars.iter().any(counts) {
            return Ok(());
        }
        let within = |at: Option<i64>| at.filter(|_| !busy.anywhere).map_or(Value::Null, moment);
        let data = json!({
            "user": self.owner(),
            "from": within(busy.from),
            "to": within(busy.to),
        });
        self.tell("availability.changed", at, None, data);
        Ok(())
    }

    // ---- remembering

    /// Makes deliveries of what was found and remembers how far that is, in one commit.
    async fn keep(&mut self) -> Result<(), Fault> {
        let facts = ordered(std::mem::take(&mut self.facts));
        let mut ops = std::mem::take(&mut self.ops);
        let mut expects = Vec::new();
        let mut changed = Vec::new();
        for at in 0..self.subscribed.len() {
            let Some(before) = self.subscribed.get(at).cloned() else { continue };
            let mut hook = before.clone();
            for fact in facts.iter().filter(|fact| before.wants(fact.kind, fact.calendar)) {
                let delivery = delivery(&hook, fact);
                ops.push(put(delivery_key(&hook, hook.next), &delivery)?);
                hook.next = hook.next.saturating_add(1);
            }
            if hook != before {
                let key = hook_key(&hook.owner, &hook.id);
                expects.push(Expect::Record(key.clone(), Some(encode(&before)?)));
                ops.push(put(key, &hook)?);
                ops.extend(self.forgotten(&hook).await?);
                changed.push(hook.clone());
                if let Some(place) = self.subscribed.get_mut(at) {
                    *place = hook;
                }
            }
        }
        if self.told != self.before {
            ops.push(put(told_key(self.owner()), &self.told)?);
            self.before = self.told.clone();
        }
        if ops.is_empty() {
            return Ok(());
        }
        match self.hooks.commit(expects, ops).await {
            Ok(()) => {}
            Err(CommitError::Fault(fault)) => return Err(fault),
            Err(CommitError::Rejected(why)) => {
                return Err(Fault::Broken(format!("a webhook was changed meanwhile: {why:?}")));
            }
        }
        let mut state = self.hooks.state();
        for hook in changed {
            state.line(&hook);
        }
        Ok(())
    }

    /// What waits at a subscription that rests is not kept for ever.
    async fn forgotten(&self, hook: &Hook) -> Result<Vec<Op>, Fault> {
        if hook.paused.is_none() {
            return Ok(Vec::new());
        }
        let horizon = Timestamp(self.hooks.now().0.saturating_sub(KEEP));
        let page = self.hooks.store().records(Table::Delivery, &deliveries(hook), None, 20).await?;
        let mut ops = Vec::new();
        for (key, bytes) in page {
            let old: Delivery = decode(&key, &bytes)?;
            if old.at < horizon {
                ops.push(Op::DeleteRecord(key));
            }
        }
        Ok(ops)
    }
}

/// Brings facts into the order of their times; those of one calendar stay in the order of its log, whatever the clock did.
fn ordered(facts: Vec<Fact>) -> Vec<Fact> {
    let mut latest: BTreeMap<Option<u64>, Timestamp> = BTreeMap::new();
    let mut keyed: Vec<(Timestamp, Fact)> = Vec::with_capacity(facts.len());
    for fact in facts {
        let at = latest.entry(fact.calendar).or_default();
        *at = fact.at.max(*at);
        keyed.push((*at, fact));
    }
    keyed.sort_by_key(|(at, _)| *at);
    keyed.into_iter().map(|(_, fact)| fact).collect()
}

//! Writing events: one request where one is enough, several at a time in a batch, a series step by step.
//!
//! Owns: that a create whose answer was lost meets itself, that only what differs is sent, that a state is not
//! overwritten which was not the one expected, that instances of a series follow its rule.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::StreamExt as _;
use serde_json::{Value, json};

use super::event::parse::{Shape, shape};
use super::event::read::{Event, PEOPLE};
use super::event::render::render;
use super::event::write::{difference, members, utc};
use super::event::{Item, Whole};
use super::wire::{Reply, Request, encoded, unreadable};
use super::{AT_ONCE, List, Outlook, body, calendar_path, event_of, event_path, marker, seen};
use crate::bridge::apart;
use crate::bridge::print::print;
use crate::bridge::provider::{Part, RemoteId, Seen, Slot, Trouble, Version, Window, Write, Written};
use crate::ical::Ical;
use crate::ical::value::{Civil, DAY};
use crate::ical::zone::Zone;

/// An answer to a create that is about an event older than this is one to an earlier create, in seconds.
const FRESH: i64 = 60;
/// Members that say how a series repeats; sent anew, they bring its cancelled instances back.
const RULE: [&str; 4] = ["start", "end", "isAllDay", "recurrence"];

/// How a write is carried out.
enum Way {
    /// Nothing differs.
    Nothing(Written),
    /// With one request.
    One(Request),
    /// Step by step.
    Long,
}

impl Outlook {
    pub(super) async fn put_several(
        &self,
        calendar: &RemoteId,
        writes: &[Write],
    ) -> Vec<Result<Written, Trouble>> {
        let mut answers: Vec<Option<Result<Written, Trouble>>> = Vec::with_capacity(writes.len());
        let (mut requests, mut short, mut long) = (Vec::new(), Vec::new(), Vec::new());
        for (at, write) in writes.iter().enumerate() {
            let mut answer = None;
            match wanted(&write.bytes).and_then(|whole| way(calendar, write, &whole).map(|way| (whole, way)))
            {
                Ok((_, Way::Nothing(written))) => answer = Some(Ok(written)),
                Ok((whole, Way::One(request))) => {
                    requests.push(request);
                    short.push((at, write, whole));
                }
                Ok((whole, Way::Long)) => long.push((at, write, whole)),
                Err(trouble) => answer = Some(Err(trouble)),
            }
            answers.push(answer);
        }
        let mut came: Vec<(usize, Result<Written, Trouble>)> = Vec::with_capacity(writes.len());
        match self.wire.batch(&requests).await {
            Ok(replies) => {
                for ((at, write, whole), reply) in short.into_iter().zip(replies) {
                    came.push((at, self.written(calendar, write, &whole, reply).await));
                }
            }
            Err(trouble) => came.extend(short.into_iter().map(|(at, ..)| (at, Err(trouble.clone())))),
        }
        let steps: Vec<_> = long
            .iter()
            .map(|(at, write, whole)| async move { (*at, self.put_long(calendar, write, whole).await) })
            .collect();
        came.extend(futures_util::stream::iter(steps).buffer_unordered(AT_ONCE).collect::<Vec<_>>().await);
        for (at, answer) in came {
            if let Some(slot) = answers.get_mut(at) {
                *slot = Some(answer);
            }
        }
        answers.into_iter().map(|answer| answer.unwrap_or_else(|| Err(unreadable("no answer")))).collect()
    }

    /// Reads what came of a write with one request.
    async fn written(
        &self,
        calendar: &RemoteId,
        write: &Write,
        whole: &Whole,
        reply: Reply,
    ) -> Result<Written, Trouble> {
        let Slot::New { uid } = &write.slot else {
            return Ok(answered(calendar, &whole.uid, &changed(reply)?));
        };
        let event = self.created(calendar, uid, whole, reply).await?;
        Ok(answered(calendar, uid, &event))
    }

    /// Reads the answer to a create. One that met an earlier create is told as such.
    async fn created(
        &self,
        calendar: &RemoteId,
        uid: &str,
        whole: &Whole,
        reply: Reply,
    ) -> Result<Event, Trouble> {
        let date = reply.date;
        let reply = match reply.done() {
            Err(Trouble::Taken(_)) => return Err(Trouble::Taken(self.by_uid(calendar, uid).await?)),
            // A conflict of a create is one with itself.
            Err(Trouble::Stale) => return Err(Trouble::Taken(self.by_uid(calendar, uid).await?)),
            other => other?,
        };
        let event = event_of(reply.body).ok_or_else(|| unreadable("a created event"))?;
        let old = date.zip(event.created()).is_some_and(|(now, made)| now - made > FRESH);
        let same = || {
            let there = answered(calendar, uid, &event).seen;
            let prints = there.map(|seen| content(&seen.bytes)).zip(Some(content(&render(&Whole {
                uid: uid.to_owned(),
                exceptions: Default::default(),
                cancelled: Default::default(),
                ..whole.clone()
            }))));
            prints.is_some_and(|(there, ours)| there == ours)
        };
        // The same create once more gives the event that the first one made, whatever became of it since.
        if old && !same() {
            return Err(Trouble::Taken(Some(RemoteId(event.id))));
        }
        Ok(event)
    }

    /// Finds the event that was made with our UID.
    async fn by_uid(&self, calendar: &RemoteId, uid: &str) -> Result<Option<RemoteId>, Trouble> {
        let path = format!(
            "{}/events?$filter={}&$expand={}",
            calendar_path(calendar),
            encoded(&marker::filter(uid)),
            encoded(&marker::expand())
        );
        let list: List = self.wire.call(&Request::get(path)).await?.read()?;
        let events = list.value.into_iter().filter_map(event_of);
        Ok(events.filter(|e| e.is_made_as(calendar, uid)).map(|e| RemoteId(e.id)).next())
    }

    /// Writes a series with edited or cancelled instances, or an event of which more has to be known first.
    async fn put_long(&self, calendar: &RemoteId, write: &Write, whole: &Whole) -> Result<Written, Trouble> {
        let mut wrote = false;
        match self.put_steps(calendar, write, whole, &mut wrote).await {
            // A rival was faster than a later step. Nobody is to think that nothing was written.
            Err(Trouble::Stale | Trouble::Missing(_)) if wrote => {
                Err(Trouble::Unreachable("The series in Outlook changed while it was written.".into()))
            }
            other => other,
        }
    }

    /// Does so step by step; `wrote` tells whether anything was written.
    async fn put_steps(
        &self,
        calendar: &RemoteId,
        write: &Write,
        whole: &Whole,
        wrote: &mut bool,
    ) -> Result<Written, Trouble> {
        let (id, event) = match &write.slot {
            Slot::New { uid } => {
                let reply = self.wire.send(&create(calendar, uid, whole)).await?;
                let event = self.created(calendar, uid, whole, reply).await?;
                *wrote = true;
                (RemoteId(event.id.clone()), event)
            }
            Slot::At(id, version) => {
                let event = self.find_one(calendar, id).await?;
                if version.is_some() && event.version() != *version {
                    return Err(Trouble::Stale);
                }
                if event.has_guests() {
                    return Err(mails());
                }
                let ours = event.is_made_as(calendar, &whole.uid);
                match self.patch_master(calendar, id, event, whole, wrote).await? {
                    (event, false) => (id.clone(), event),
                    (event, true) if ours => {
                        let event = self.remake(calendar, id, &event, whole, wrote).await?;
                        (RemoteId(event.id.clone()), event)
                    }
                    (_, true) => return Err(lost()),
                }
            }
        };
        let there = as_it_is(&event, &whole.uid)?;
        self.put_instances(calendar, &id, &event, (&there, whole), wrote).await?;
        let event = self.find_one(calendar, &id).await?;
        Ok(Written { version: event.version(), seen: told(seen(calendar, &id, &event)), id })
    }

    /// Removes a series of ours and makes it anew: the only way to bring back one of its cancelled instances.
    async fn remake(
        &self,
        calendar: &RemoteId,
        id: &RemoteId,
        event: &Event,
        whole: &Whole,
        wrote: &mut bool,
    ) -> Result<Event, Trouble> {
        self.erase(Request::delete(event_path(calendar, id), event.etag())).await?;
        *wrote = true;
        let reply = self.wire.send(&create(calendar, &whole.uid, whole)).await?;
        self.created(calendar, &whole.uid, whole, reply).await
    }

    /// Changes what differs in a series itself, and returns it as it is then; true: some of its instances are still
    /// cancelled there that no longer are here.
    async fn patch_master(
        &self,
        calendar: &RemoteId,
        id: &RemoteId,
        event: Event,
        whole: &Whole,
        wrote: &mut bool,
    ) -> Result<(Event, bool), Trouble> {
        let there = as_it_is(&event, &whole.uid)?;
        let mut patch = difference(&whole.master, &there.master);
        // Outlook brings no single instance back; a rule that changes brings back all.
        let recurs = whole.master.recurrence.is_some();
        let restored = recurs && there.cancelled.difference(&whole.cancelled).count() > 0;
        if restored && !patch.contains_key("recurrence") {
            if event.is_made_as(calendar, &whole.uid) {
                return Ok((event, true));
            }
            let all = members(&whole.master);
            patch.extend(all.into_iter().filter(|(name, _)| RULE.contains(&name.as_str())));
        }
        if patch.contains_key("body") && body::parts(&there.master.body).1.is_some() {
            let page = body::with_block_of(&whole.master.body, event.page());
            patch.insert("body".into(), json!({"contentType": "html", "content": page}));
        }
        if patch.is_empty() {
            return Ok((event, false));
        }
        let anew = patch.contains_key("recurrence");
        let request = Request::patch(event_path(calendar, id), Value::Object(patch), event.etag());
        let patched = changed(self.wire.send(&request).await?)?;
        *wrote = true;
        let beside = !(event.exception_occurrences.is_empty() && event.cancelled_occurrences.is_empty());
        if !anew && !beside {
            return Ok((patched, false));
        }
        let event = self.find_one(calendar, id).await?;
        let there = as_it_is(&event, &whole.uid)?;
        let stuck = recurs && there.cancelled.difference(&whole.cancelled).count() > 0;
        Ok((event, stuck))
    }

    /// Makes the instances what they are to be. One after the other: they are all parts of one object there.
    async fn put_instances(
        &self,
        calendar: &RemoteId,
        id: &RemoteId,
        event: &Event,
        (there, whole): (&Whole, &Whole),
        wrote: &mut bool,
    ) -> Result<(), Trouble> {
        let mut days: BTreeSet<Civil> = whole.exceptions.keys().copied().collect();
        days.extend(there.exceptions.keys().filter(|day| !whole.cancelled.contains(day)));
        for day in days {
            let plain = there.master.on(day);
            let now = there.exceptions.get(&day).unwrap_or(&plain);
            let wanted = whole.exceptions.get(&day).cloned().unwrap_or_else(|| whole.master.on(day));
            let patch = difference(&Item { recurrence: None, ..wanted }, now);
            if patch.is_empty() {
                continue;
            }
            let Some(instance) = self.instance(calendar, id, event, there, day).await? else {
                nowhere(whole, day)?;
                continue;
            };
            let path = event_path(calendar, &instance);
            changed(self.wire.send(&Request::patch(path, Value::Object(patch), None)).await?)?;
            *wrote = true;
        }
        for day in whole.cancelled.difference(&there.cancelled) {
            let Some(instance) = self.instance(calendar, id, event, there, *day).await? else {
                nowhere(whole, *day)?;
                continue;
            };
            self.erase(Request::delete(event_path(calendar, &instance), None)).await?;
            *wrote = true;
        }
        Ok(())
    }

    /// Finds the instance that would be on a day. Nothing: there is none, so that nothing can be said of it.
    async fn instance(
        &self,
        calendar: &RemoteId,
        id: &RemoteId,
        event: &Event,
        there: &Whole,
        day: Civil,
    ) -> Result<Option<RemoteId>, Trouble> {
        let of_day = |e: &&Event| e.original_day(&there.master) == Some(day);
        if let Some(found) = event.exception_occurrences.iter().find(of_day) {
            return Ok(Some(RemoteId(found.id.clone())));
        }
        let at = there.master.on(day).start.at;
        let path = format!(
            "{}/instances?startDateTime={}&endDateTime={}&$select=id,type,start,originalStart,isAllDay",
            event_path(calendar, id),
            encoded(&utc(at - DAY)),
            encoded(&utc(at + 2 * DAY))
        );
        let list: List = self.wire.call(&Request::get(path)).await?.read()?;
        let mut events = list.value.into_iter().filter_map(event_of);
        let found = events.find(|e| {
            let began = || e.begins().map(|at| there.master.start.zone.to_civil(at).midnight());
            e.original_day(&there.master).or_else(began) == Some(day)
        });
        Ok(found.map(|e| RemoteId(e.id)))
    }

    pub(super) async fn remove(
        &self,
        calendar: &RemoteId,
        id: &RemoteId,
        version: Option<&Version>,
    ) -> Result<(), Trouble> {
        // What stands beside a series does not count for its entity-tag: it is compared first.
        if version.is_none_or(|v| v.0.contains(' ')) {
            match self.find_one(calendar, id).await {
                Ok(event) if version.is_some() && event.version().as_ref() != version => {
                    return Err(Trouble::Stale);
                }
                Ok(event) if event.has_guests() => return Err(mails()),
                Err(Trouble::Missing(_)) => return Ok(()),
                // What cannot be understood may have people in it.
                other => drop(other?),
            }
        }
        self.erase(Request::delete(event_path(calendar, id), version.map(etag))).await
    }

    /// Removes an event. One that is gone already is removed.
    async fn erase(&self, request: Request) -> Result<(), Trouble> {
        match self.wire.call(&request).await {
            Ok(_) | Err(Trouble::Missing(_)) => Ok(()),
            Err(trouble) => Err(trouble),
        }
    }
}

/// Returns what an event is to be.
fn wanted(bytes: &bytes::Bytes) -> Result<Whole, Trouble> {
    let ical =
        Ical::parse(bytes.clone()).map_err(|problem| Trouble::Refused(format!("{}.", problem.reason)))?;
    match shape(&ical, Window { from: None, to: None, now: 0 }) {
        Shape::Whole(whole) => Ok(*whole),
        Shape::Parts(_, why) | Shape::Refused(why) => Err(Trouble::Refused(why)),
    }
}

fn way(calendar: &RemoteId, write: &Write, whole: &Whole) -> Result<Way, Trouble> {
    let plain = |whole: &Whole| whole.exceptions.is_empty() && whole.cancelled.is_empty();
    let (id, version) = match &write.slot {
        Slot::New { uid } if plain(whole) => return Ok(Way::One(create(calendar, uid, whole))),
        Slot::New { .. } => return Ok(Way::Long),
        Slot::At(id, version) => (id, version),
    };
    if version.as_ref().is_some_and(|v| v.0.ends_with(PEOPLE)) {
        return Err(mails());
    }
    // Without a state nobody knows what is there.
    if version.is_none() {
        return Ok(Way::Long);
    }
    let Some(base) = write.base.as_ref().and_then(|bytes| wanted(bytes).ok()) else { return Ok(Way::Long) };
    let alone = plain(whole) && plain(&base) && !version.as_ref().is_some_and(|v| v.0.contains(' '));
    let patch = difference(&whole.master, &base.master);
    if patch.is_empty() && whole.exceptions == base.exceptions && whole.cancelled == base.cancelled {
        return Ok(Way::Nothing(Written { id: id.clone(), version: version.clone(), seen: None }));
    }
    let block = patch.contains_key("body") && body::parts(&base.master.body).1.is_some();
    if !alone || block {
        return Ok(Way::Long);
    }
    let etag = version.as_ref().map(etag);
    Ok(Way::One(Request::patch(event_path(calendar, id), Value::Object(patch), etag)))
}

/// An instance that Outlook does not show. Where the rule does not yield it either there is nothing to be written; else
/// Outlook has not caught up with itself, and what is not written now would never be.
fn nowhere(whole: &Whole, day: Civil) -> Result<(), Trouble> {
    let plain = Whole { exceptions: BTreeMap::default(), cancelled: BTreeSet::default(), ..whole.clone() };
    let at = whole.master.on(day).start.at;
    let near = Window { from: Some(at - DAY), to: Some(at + 2 * DAY), now: at };
    let days = Ical::parse(render(&plain)).ok().and_then(|ical| apart::instances(&ical, near, &Zone::Utc));
    let is_it = |part: &Part| match Civil::parse(part.key.trim_end_matches('Z')) {
        Some(moment) if part.key.ends_with('Z') => moment.0 == at,
        Some(moment) => moment.midnight() == day,
        None => false,
    };
    match days.is_none_or(|days| days.iter().any(is_it)) {
        true => Err(Trouble::Unreachable("Outlook does not show all days of the series yet.".into())),
        false => Ok(()),
    }
}

/// There is no way to ask Outlook to change a meeting and write to nobody.
fn mails() -> Trouble {
    Trouble::Refused(
        "You invited people to this event, and Outlook would write to each of them about the change: make it in Outlook."
            .into(),
    )
}

fn lost() -> Trouble {
    Trouble::Refused(
        "Outlook does not bring back an instance that was cancelled there: add it as an event of its own."
            .into(),
    )
}

/// Returns the entity-tag within a version.
fn etag(version: &Version) -> String {
    version.0.split(' ').next().unwrap_or_default().to_owned()
}

/// A create carries our UID, and a transaction id made of it: the same create once more makes nothing more.
fn create(calendar: &RemoteId, uid: &str, whole: &Whole) -> Request {
    let mut all = members(&whole.master);
    all.retain(|_, value| !value.is_null());
    all.insert("transactionId".into(), json!(marker::transaction(calendar, uid)));
    all.insert("singleValueExtendedProperties".into(), marker::property(uid));
    Request::post(format!("{}/events", calendar_path(calendar)), Value::Object(all))
}

/// Reads the answer to a change.
fn changed(reply: Reply) -> Result<Event, Trouble> {
    match reply.done() {
        Ok(reply) => event_of(reply.body).ok_or_else(|| unreadable("a changed event")),
        // Of a change, a conflict is always one with somebody else's.
        Err(Trouble::Taken(_)) => Err(Trouble::Stale),
        Err(trouble) => Err(trouble),
    }
}

/// Returns what an answer that has the whole event says. The answer lacks our marker, whose value is known.
fn answered(calendar: &RemoteId, uid: &str, event: &Event) -> Written {
    let id = RemoteId(event.id.clone());
    let ours = event.is_made_as(calendar, uid);
    let own = if ours { Some(uid.to_owned()) } else { event.uid(calendar) };
    let text = own.and_then(|uid| event.whole(&uid, ours)).map(|whole| render(&whole));
    let version = event.version();
    let modified = event.modified();
    let seen = text.map(|bytes| Seen { id: id.clone(), version: version.clone(), bytes, modified });
    Written { id, version, seen }
}

/// Returns an event as it is there, in the form in which it would come back from us: nothing but true differences counts.
fn as_it_is(event: &Event, uid: &str) -> Result<Whole, Trouble> {
    let whole = event.whole(uid, true).ok_or_else(|| unreadable("an event"))?;
    Ok(wanted(&render(&whole)).unwrap_or(whole))
}

fn told(seen: Seen) -> Option<Seen> {
    Some(seen).filter(|seen| !seen.bytes.is_empty())
}

fn content(bytes: &bytes::Bytes) -> String {
    Ical::parse(bytes.clone()).map(|ical| print(&ical)).unwrap_or_default()
}

//! Reading and writing objects one by one: events alone in as few calls as possible, series part by part.
//!
//! Owns: the order of writes (series, left out instances, exceptions), what a repeated attempt meets, whether the
//! answers vouch for what is there now. Does not own: what is written (`event::write`), calls (`wire`).
//!
//! Nothing that is written makes Google send mail: every write says so, and no attendees are ever written.

use std::collections::{BTreeMap, HashSet};

use http::Method;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::Google;
use super::event::write::{self, Draft, Plan};
use super::event::{Event, STATE, read};
use super::list::unread;
use super::series::{Parts, derived, etag, series_version};
use super::wire::{Ask, Told, odd, shaped};
use crate::bridge::provider::{RemoteId, Seen, Slot, Trouble, Version, Write, Written};
use crate::ical::Ical;
use bytes::Bytes;

/// Nobody is told by mail.
const QUIET: (&str, &str) = ("sendUpdates", "none");

/// A list of events.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Listed {
    #[serde(default)]
    items: Vec<Event>,
    next_page_token: Option<String>,
}

/// How a write begins.
enum Step {
    /// With a new event.
    Insert(Ask, Box<Plan>, String),
    /// It is one patch.
    Patch(Ask),
    /// Everything is there already.
    Nothing(RemoteId, Option<Version>),
    /// It concerns a series: what is there has to be read first.
    Series(RemoteId, Option<Version>, Box<Plan>),
}

impl Google {
    /// Reads an event. Nothing: it is gone.
    async fn event(&self, calendar: &RemoteId, id: &str) -> Result<Option<Event>, Trouble> {
        let Some(value) = self.raw(calendar, &[id.to_owned()]).await?.pop() else { return Ok(None) };
        let event: Event = shaped(&value).ok_or_else(|| odd("an event has not the shape that was agreed"))?;
        Ok(Some(event).filter(|event| !event.is_cancelled()))
    }

    /// Tells which of these events are there, whether they can be understood or not.
    pub(super) async fn there(
        &self,
        calendar: &RemoteId,
        ids: &[String],
    ) -> Result<HashSet<String>, Trouble> {
        let text = |value: &Value, name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
        let found = self.raw(calendar, ids).await?;
        let live = found.iter().filter(|value| text(value, "status").as_deref() != Some("cancelled"));
        Ok(live.filter_map(|value| text(value, "id")).collect())
    }

    async fn raw(&self, calendar: &RemoteId, ids: &[String]) -> Result<Vec<Value>, Trouble> {
        let asks: Vec<Ask> = ids.iter().map(|id| Ask::events(Method::GET, calendar, &[id], &[])).collect();
        let (mut found, mut missing) = (Vec::with_capacity(ids.len()), false);
        for told in self.wire.many(&asks).await {
            let told = told?;
            match told.status {
                404 | 410 => missing = true,
                _ => found.push(told.json()?),
            }
        }
        // Of a calendar that is out of reach Google says the same as of an event that is gone.
        if missing {
            self.learn_zone(calendar).await?;
        }
        Ok(found)
    }

    /// Reads these objects.
    pub(super) async fn objects(&self, calendar: &RemoteId, ids: &[RemoteId]) -> Result<Vec<Seen>, Trouble> {
        let ids: Vec<String> = ids.iter().map(|id| id.0.clone()).collect();
        let mut all = Vec::with_capacity(ids.len());
        let (mut masters, mut alone) = (Vec::new(), Vec::new());
        for value in self.raw(calendar, &ids).await? {
            let Some(event) = shaped::<Event>(&value) else {
                let id = value.get("id").and_then(Value::as_str).ok_or_else(|| odd("an event has no id"))?;
                all.push(unread(id));
                continue;
            };
            if event.is_cancelled() {
                continue;
            }
            match event.recurs() {
                true => masters.push(event),
                false => alone.push(event),
            }
        }
        // An instance of a series that is in the calendar is no event of its own.
        let mut of: Vec<String> = alone.iter().filter_map(|event| event.recurring_event_id.clone()).collect();
        of.sort();
        of.dedup();
        let there = self.there(calendar, &of).await?;
        alone.retain(|event| event.recurring_event_id.as_ref().is_none_or(|series| !there.contains(series)));
        all.extend(alone.into_iter().map(|event| Parts::alone(event).seen(calendar)));
        let series = self.series(calendar, masters).await?;
        let whole = series.iter().filter(|parts| !Parts::is_unfinished(&parts.master, calendar));
        all.extend(whole.map(|parts| parts.seen(calendar)));
        Ok(all)
    }

    /// Adds to each series its exceptions.
    async fn series(&self, calendar: &RemoteId, masters: Vec<Event>) -> Result<Vec<Parts>, Trouble> {
        let ask = |master: &Event, page: Option<&str>| {
            let uid = master.ical_uid.clone().unwrap_or_default();
            let mut query =
                vec![("iCalUID", uid.as_str()), ("singleEvents", "false"), ("maxResults", "2500")];
            query.extend(page.map(|page| ("pageToken", page)));
            Ask::events(Method::GET, calendar, &[], &query)
        };
        let asks: Vec<Ask> = masters.iter().map(|master| ask(master, None)).collect();
        let told = self.wire.many(&asks).await;
        let mut all = Vec::with_capacity(masters.len());
        for (master, told) in masters.into_iter().zip(told) {
            let mut listed: Listed = told?.json()?;
            let mut events = std::mem::take(&mut listed.items);
            let mut asked = HashSet::new();
            while let Some(page) = listed.next_page_token.take() {
                listed = self.wire.one(&ask(&master, Some(&page))).await?.json()?;
                if !asked.insert(page) {
                    return Err(odd("its pages go round in circles"));
                }
                events.append(&mut listed.items);
            }
            let id = master.id.clone();
            // Without the series itself it is not its listing.
            if master.ical_uid.is_some() && !events.iter().any(|event| event.id == id) {
                return Err(odd("the listing of a series does not name it"));
            }
            if events.is_empty() {
                events.push(master);
            }
            all.extend(Parts::of(&id, events));
        }
        Ok(all)
    }

    async fn parts(&self, calendar: &RemoteId, id: &str) -> Result<Option<Parts>, Trouble> {
        Ok(match self.event(calendar, id).await? {
            Some(event) if event.recurs() => self.series(calendar, vec![event]).await?.pop(),
            other => other.map(Parts::alone),
        })
    }

    /// Stores several objects.
    pub(super) async fn store(&self, calendar: &RemoteId, writes: &[Write]) -> Vec<Result<Written, Trouble>> {
        let mut steps = Vec::with_capacity(writes.len());
        for write in writes {
            steps.push(self.step(calendar, write).await);
        }
        let ask = |step: &Result<Step, Trouble>| match step {
            Ok(Step::Insert(ask, ..) | Step::Patch(ask)) => Some(ask.clone()),
            _ => None,
        };
        let asks: Vec<Ask> = steps.iter().filter_map(ask).collect();
        let mut answers = self.wire.many(&asks).await.into_iter();
        let mut next = || answers.next().unwrap_or_else(|| Err(odd("a part of a batch is missing")));
        let mut all = Vec::with_capacity(writes.len());
        for step in steps {
            all.push(match step {
                Err(trouble) => Err(trouble),
                Ok(Step::Insert(_, plan, uid)) => match next() {
                    Ok(told) => self.inserted(calendar, told, &plan, &uid).await,
                    Err(trouble) => Err(trouble),
                },
                Ok(Step::Patch(_)) => next().and_then(|told| written(calendar, &told)),
                Ok(Step::Nothing(id, version)) => Ok(Written { id, version, seen: None }),
                Ok(Step::Series(id, version, plan)) => {
                    self.converge(calendar, &id.0, version.as_ref(), &plan).await
                }
            });
        }
        all
    }

    async fn step(&self, calendar: &RemoteId, write: &Write) -> Result<Step, Trouble> {
        let plan = Box::new(self.plan(calendar, &write.bytes).await?);
        let (id, version) = match &write.slot {
            Slot::New { uid } => {
                let id = derived(calendar, uid);
                let mut body = new(&plan, uid);
                body.insert("id".into(), id.into());
                let ask = Ask::events(Method::POST, calendar, &[], &[QUIET]).with(Value::Object(body));
                return Ok(Step::Insert(ask, plan, uid.clone()));
            }
            Slot::At(id, version) => (id.clone(), version.clone()),
        };
        let known = version.as_ref().and_then(etag).map(str::to_owned);
        let (Some(known), Some(base)) = (known.filter(|_| !plan.recurs()), &write.base) else {
            return Ok(Step::Series(id, version, plan));
        };
        // Only what differs is sent: what we do not know of stays as it is.
        let body = match self.plan(calendar, base).await {
            Ok(base) if base.recurs() => return Ok(Step::Series(id, version, plan)),
            Ok(base) => plan.master.since(Some(&base.master)),
            Err(_) => plan.master.since(None),
        };
        if body.is_empty() {
            return Ok(Step::Nothing(id, version));
        }
        Ok(Step::Patch(patch(calendar, &id.0, Some(&known), body)))
    }

    /// Reads a text as what Google is told, in the calendar's zone where it has none.
    async fn plan(&self, calendar: &RemoteId, bytes: &Bytes) -> Result<Plan, Trouble> {
        let ical = Ical::parse(bytes.clone()).map_err(|problem| {
            Trouble::Refused(format!("The event stays here: it is not valid iCalendar ({}).", problem.reason))
        })?;
        let plan = write::plan(&ical, &crate::ical::zone::Zone::Utc).map_err(Trouble::Refused)?;
        if !plan.floats() {
            return Ok(plan);
        }
        let home = self.zone(calendar).await?;
        write::plan(&ical, &home).map_err(Trouble::Refused)
    }

    async fn inserted(
        &self,
        calendar: &RemoteId,
        told: Told,
        plan: &Plan,
        uid: &str,
    ) -> Result<Written, Trouble> {
        if told.status != 409 {
            let event: Event = told.json()?;
            return self.followed(calendar, event, plan).await;
        }
        // Somebody was here before: most likely we, and the answer was lost.
        let id = derived(calendar, uid);
        let found = self.raw(calendar, std::slice::from_ref(&id)).await?.pop();
        let event: Event = match found.as_ref().map(shaped) {
            None => return Err(Trouble::Taken(None)),
            Some(event) => event.ok_or_else(|| odd("it has not the shape that was agreed"))?,
        };
        if event.is_cancelled() {
            // The id of a deleted event stays taken: it is brought back to life as what it is to be now.
            let mut body = new(plan, uid);
            body.insert("status".into(), body.get("status").cloned().unwrap_or_else(|| "confirmed".into()));
            let ask = Ask::events(Method::PUT, calendar, &[&id], &[QUIET]);
            let ask = ask.when(event.etag.as_deref()).with(Value::Object(body));
            let event: Event = self.wire.one(&ask).await?.json()?;
            return self.followed(calendar, event, plan).await;
        }
        if Parts::is_unfinished(&event, calendar) {
            return self.converge(calendar, &id, None, plan).await;
        }
        Err(Trouble::Taken(Some(RemoteId(id))))
    }

    /// The event is there; if it is a series, its exceptions follow.
    async fn followed(&self, calendar: &RemoteId, event: Event, plan: &Plan) -> Result<Written, Trouble> {
        match plan.overrides.is_empty() {
            true => Ok(of_parts(calendar, &Parts::alone(event))),
            false => self.converge(calendar, &event.id, None, plan).await,
        }
    }

    /// Makes of what is there what is wanted, part by part.
    async fn converge(
        &self,
        calendar: &RemoteId,
        id: &str,
        version: Option<&Version>,
        want: &Plan,
    ) -> Result<Written, Trouble> {
        let mut etags = Etags { id: id.to_owned(), ..Etags::default() };
        match self.steps(calendar, id, version, want, &mut etags).await {
            // A rival was faster than a later step. Nobody is to think that nothing was written.
            Err(Trouble::Stale | Trouble::Missing(_)) if etags.wrote => Err(Trouble::Unreachable(
                "The series in Google Calendar changed while it was written.".into(),
            )),
            other => other,
        }
    }

    async fn steps(
        &self,
        calendar: &RemoteId,
        id: &str,
        version: Option<&Version>,
        want: &Plan,
        etags: &mut Etags,
    ) -> Result<Written, Trouble> {
        let gone = || Trouble::Missing("The event is no longer in the Google calendar.".into());
        let mut parts = self.parts(calendar, id).await?.ok_or_else(gone)?;
        if version.is_some() && parts.version().as_ref() != version {
            return Err(Trouble::Stale);
        }
        etags.read(&parts);
        let current = self.current(calendar, &parts).await;
        let body = master_patch(&parts, current.as_ref(), want);
        if !body.is_empty() {
            let ask = patch(calendar, id, parts.master.etag.as_deref(), body);
            let master: Event = self.wire.one(&ask).await?.json()?;
            etags.note(&master);
            // A change of the whole may change its exceptions, or do away with them.
            if master.recurs() && (!parts.exceptions.is_empty() || !want.overrides.is_empty()) {
                let after = self.parts(calendar, id).await?.ok_or_else(gone)?;
                if after.master.etag != master.etag {
                    return Err(Trouble::Stale);
                }
                etags.read(&after);
                parts = after;
            } else {
                parts.exceptions.clear();
                parts.master = master;
            }
        }
        if parts.master.recurs() {
            let current = self.current(calendar, &parts).await;
            self.instances(calendar, &parts, current.as_ref(), want, etags).await?;
        }
        if parts.master.mark(STATE) == Some("writing") {
            let body = json!({ "extendedProperties": { "private": { STATE: "whole" } } });
            let body = body.as_object().cloned().unwrap_or_default();
            etags.note(&self.wire.one(&patch(calendar, id, None, body)).await?.json()?);
        }
        let version = etags.version(parts.master.recurs());
        let after = self.parts(calendar, id).await?.map(|parts| parts.seen(calendar));
        // Only what our own answers told of is vouched for: else somebody else was there as well.
        let seen = after.filter(|seen| seen.version == version);
        Ok(Written { id: RemoteId(id.to_owned()), version, seen })
    }

    /// Returns what is there as if it were written by us. Nothing: it holds what we could not write.
    async fn current(&self, calendar: &RemoteId, parts: &Parts) -> Option<Plan> {
        let bytes = read::text(parts, &parts.uid(calendar))?;
        self.plan(calendar, &bytes).await.ok()
    }

    /// Writes what differs of single instances: first those that are left out, then those that are otherwise.
    async fn instances(
        &self,
        calendar: &RemoteId,
        parts: &Parts,
        current: Option<&Plan>,
        want: &Plan,
        etags: &mut Etags,
    ) -> Result<(), Trouble> {
        let frame = want.master.frame();
        let left_out = read::left_out(&parts.master);
        let mut there: BTreeMap<i64, &Event> = BTreeMap::new();
        for event in &parts.exceptions {
            let original = event.original_start_time.as_ref().and_then(|when| frame.moment_of(when));
            there.extend(original.map(|original| (original, event)));
        }
        let is_out =
            |at: &i64| left_out.contains(at) || there.get(at).is_some_and(|event| event.is_cancelled());
        let out: Vec<i64> = want.recurrence.exdates.iter().copied().filter(|at| !is_out(at)).collect();
        let new = want.overrides.keys().copied().filter(|at| !there.contains_key(at));
        let unknown: Vec<i64> = out.iter().copied().filter(|at| !there.contains_key(at)).chain(new).collect();
        let found = self.lookup(calendar, &parts.master.id, want, &unknown).await?;
        let place = |at: &i64| there.get(at).copied().or_else(|| found.get(at));
        for at in &out {
            // What is no instance need not be left out.
            let Some(event) = place(at) else { continue };
            self.leave_out(calendar, event).await?;
            etags.cancelled(&event.id);
        }
        for (at, draft) in &want.overrides {
            let Some(event) = place(at) else {
                return Err(Trouble::Refused(
                    "Google Calendar does not have the instance of the series that was changed here.".into(),
                ));
            };
            let before = current.and_then(|plan| plan.overrides.get(at));
            let plain = || want.master.moved_to(*at);
            let body = match (event.is_cancelled(), before, there.contains_key(at)) {
                (true, ..) => draft.since(None),
                (_, Some(before), true) => draft.since(Some(before)),
                (_, None, true) => draft.since(current.map(|plan| plan.master.moved_to(*at)).as_ref()),
                _ => draft.since(Some(&plain())),
            };
            self.amend(calendar, event, body, etags).await?;
        }
        self.restore(calendar, &there, current, want, etags).await
    }

    /// Instances that were left out or were otherwise, and are ordinary again.
    async fn restore(
        &self,
        calendar: &RemoteId,
        there: &BTreeMap<i64, &Event>,
        current: Option<&Plan>,
        want: &Plan,
        etags: &mut Etags,
    ) -> Result<(), Trouble> {
        let plain: Vec<(i64, &Event)> = there
            .iter()
            .filter(|(at, _)| !want.overrides.contains_key(at) && !want.recurrence.exdates.contains(at))
            .map(|(at, event)| (*at, *event))
            .collect();
        let strangers = want.strangers(plain.iter().map(|(at, _)| *at));
        for (at, event) in plain {
            match (strangers.contains(&at), event.is_cancelled()) {
                (true, true) => {}
                (true, false) => {
                    self.leave_out(calendar, event).await?;
                    etags.cancelled(&event.id);
                }
                (false, cancelled) => {
                    let ordinary = want.master.moved_to(at);
                    let before: Option<Draft> = current.filter(|_| !cancelled).map(|plan| {
                        plan.overrides.get(&at).cloned().unwrap_or_else(|| plan.master.moved_to(at))
                    });
                    self.amend(calendar, event, ordinary.since(before.as_ref()), etags).await?;
                }
            }
        }
        Ok(())
    }

    /// Finds instances by the moments that they stand for. Their ids are Google's own affair.
    async fn lookup(
        &self,
        calendar: &RemoteId,
        id: &str,
        want: &Plan,
        moments: &[i64],
    ) -> Result<BTreeMap<i64, Event>, Trouble> {
        let frame = want.master.frame();
        let ask = |at: &i64| {
            let query = [("originalStart", frame.original(*at)), ("maxResults", "10".to_owned())];
            let query: Vec<(&str, &str)> =
                query.iter().map(|(name, value)| (*name, value.as_str())).collect();
            Ask::events(Method::GET, calendar, &[id, "instances"], &query)
        };
        let asks: Vec<Ask> = moments.iter().map(ask).collect();
        let mut found = BTreeMap::new();
        for (at, told) in moments.iter().zip(self.wire.many(&asks).await) {
            let listed: Listed = told?.json()?;
            let is_it = |event: &Event| {
                event.original_start_time.as_ref().and_then(|when| frame.moment_of(when)) == Some(*at)
            };
            found.extend(listed.items.into_iter().find(is_it).map(|event| (*at, event)));
        }
        Ok(found)
    }

    async fn leave_out(&self, calendar: &RemoteId, event: &Event) -> Result<(), Trouble> {
        let ask = Ask::events(Method::DELETE, calendar, &[&event.id], &[QUIET]).when(event.etag.as_deref());
        removed(&self.wire.one(&ask).await?)
    }

    async fn amend(
        &self,
        calendar: &RemoteId,
        event: &Event,
        body: Map<String, Value>,
        etags: &mut Etags,
    ) -> Result<(), Trouble> {
        if !body.is_empty() {
            let ask = patch(calendar, &event.id, event.etag.as_deref(), body);
            etags.note(&self.wire.one(&ask).await?.json()?);
        }
        Ok(())
    }

    /// Removes an object, if it is still in that state.
    pub(super) async fn remove(
        &self,
        calendar: &RemoteId,
        id: &RemoteId,
        version: Option<&Version>,
    ) -> Result<(), Trouble> {
        let mut condition = version.and_then(etag).map(str::to_owned);
        if let (Some(version), None) = (version, &condition) {
            let Some(parts) = self.parts(calendar, &id.0).await? else { return Ok(()) };
            if parts.version().as_ref() != Some(version) {
                return Err(Trouble::Stale);
            }
            condition = parts.master.etag;
        }
        let ask = Ask::events(Method::DELETE, calendar, &[&id.0], &[QUIET]).when(condition.as_deref());
        match removed(&self.wire.one(&ask).await?) {
            // What is deleted is in another state, too.
            Err(Trouble::Stale) if self.there(calendar, std::slice::from_ref(&id.0)).await?.is_empty() => {
                Ok(())
            }
            other => other,
        }
    }
}

/// The entity-tags that our own answers vouch for.
#[derive(Default)]
struct Etags {
    id: String,
    all: BTreeMap<String, String>,
    /// Something was written already.
    wrote: bool,
}

impl Etags {
    /// Begins with what was read.
    fn read(&mut self, parts: &Parts) {
        self.all.clear();
        for event in parts.exceptions.iter().chain([&parts.master]) {
            self.hold(event);
        }
    }

    /// Notes what an answer to a write says.
    fn note(&mut self, event: &Event) {
        self.wrote = true;
        self.hold(event);
    }

    fn hold(&mut self, event: &Event) {
        let etag = match event.is_cancelled() {
            true => "cancelled".to_owned(),
            false => event.etag.clone().unwrap_or_default(),
        };
        self.all.insert(event.id.clone(), etag);
    }

    fn cancelled(&mut self, id: &str) {
        self.wrote = true;
        self.all.insert(id.to_owned(), "cancelled".to_owned());
    }

    fn version(&self, recurs: bool) -> Option<Version> {
        let etag = self.all.get(&self.id)?;
        let others = self.all.iter().filter(|(id, _)| recurs && **id != self.id);
        series_version(recurs, &self.id, etag, others.map(|(id, etag)| (id.as_str(), etag.as_str())))
    }
}

/// Returns a new event with all that it says.
fn new(plan: &Plan, uid: &str) -> Map<String, Value> {
    let mut body = plan.master.whole(Some(uid));
    if plan.recurs() {
        body.insert("recurrence".into(), plan.recurrence_json(&plan.recurrence.exdates));
    }
    if !plan.overrides.is_empty() {
        // Until its exceptions are there it is not what it is to be, and is not shown as such.
        let private = body.get_mut("extendedProperties").and_then(|e| e.get_mut("private")?.as_object_mut());
        private.map(|private| private.insert(STATE.into(), "writing".into()));
    }
    body
}

/// Returns what of the series itself has to be changed.
fn master_patch(parts: &Parts, current: Option<&Plan>, want: &Plan) -> Map<String, Value> {
    let mut body = want.master.since(current.map(|plan| &plan.master));
    let rules = |plan: &Plan| plan.recurrence.lines(plan.master.frame());
    let as_before = current.is_some_and(|plan| {
        rules(plan) == rules(want)
            && (plan.master.start, plan.master.frame()) == (want.master.start, want.master.frame())
    });
    let left_out = read::left_out(&parts.master);
    let kept = || left_out.intersection(&want.recurrence.exdates).copied().collect();
    if !as_before {
        body.insert("recurrence".into(), want.recurrence_json(&want.recurrence.exdates));
    } else if !left_out.is_subset(&want.recurrence.exdates) {
        body.insert("recurrence".into(), want.recurrence_json(&kept()));
    }
    body
}

fn patch(calendar: &RemoteId, id: &str, etag: Option<&str>, body: Map<String, Value>) -> Ask {
    Ask::events(Method::PATCH, calendar, &[id], &[QUIET]).when(etag).with(Value::Object(body))
}

fn written(calendar: &RemoteId, told: &Told) -> Result<Written, Trouble> {
    Ok(of_parts(calendar, &Parts::alone(told.json()?)))
}

fn of_parts(calendar: &RemoteId, parts: &Parts) -> Written {
    let seen = parts.seen(calendar);
    Written { id: seen.id.clone(), version: seen.version.clone(), seen: Some(seen) }
}

/// What is gone already is removed.
fn removed(told: &Told) -> Result<(), Trouble> {
    match told.status {
        404 | 410 => Ok(()),
        _ if told.is_done() => Ok(()),
        _ => Err(told.trouble()),
    }
}

//! Calls that show events: get, list, instances, freeBusy.
//!
//! Owns: how an event is shown, cursors and pages, which parameters go together. Does not own: what changes them (`write`).

use std::ops::Bound;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::refusal::{Outcome, Refusal};
use super::series;
use super::state::{Calendar, Fields, Kept, State, cancelled, recurs};
use super::time::{self, DAY, Moment};
use crate::ical::series::TimeRange;
use crate::ical::zone::Zone;
use crate::sim::Request;

/// With a cursor these are refused.
const NOT_WITH_CURSOR: &[&str] = &[
    "iCalUID",
    "orderBy",
    "privateExtendedProperty",
    "sharedExtendedProperty",
    "q",
    "timeMin",
    "timeMax",
    "updatedMin",
];
/// These must be with a cursor what they were when it was made.
const AS_BEFORE: &[&str] =
    &["singleEvents", "eventTypes", "maxAttendees", "showHiddenInvitations", "timeZone", "maxResults"];
/// A listing that these narrow gives no cursor.
const NO_CURSOR: &[&str] =
    &["iCalUID", "orderBy", "privateExtendedProperty", "sharedExtendedProperty", "q", "updatedMin"];
/// How far back `updatedMin` may reach.
const UPDATED_MIN: i64 = 28 * DAY;

/// A cursor, of a page or of a whole listing.
#[derive(Debug, Serialize, Deserialize)]
struct Cursor {
    /// The calendar.
    c: String,
    /// Everything up to this change was told.
    s: u64,
    /// Before it, where the listing itself began: the change of the cursor that it was asked with.
    #[serde(default)]
    since: Option<u64>,
    /// The parameters that must stay as they are.
    p: String,
    /// The generation.
    g: u64,
    /// For a page: the last thing that was told, and its number.
    #[serde(default)]
    after: Option<String>,
    #[serde(default)]
    at: usize,
}

impl Cursor {
    fn written(&self) -> String {
        URL_SAFE_NO_PAD.encode(serde_json::to_vec(self).unwrap_or_default())
    }

    fn read(text: &str) -> Option<Cursor> {
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).ok()?).ok()
    }
}

/// Returns an event's etag; an instance that nobody changed has its series'.
pub(super) fn etag(calendar: &Calendar, id: &str) -> String {
    let own = calendar.events.get(id);
    let kept = own.or_else(|| calendar.events.get(series::named(id)?.0));
    version(kept.map_or(0, |kept| kept.changed))
}

/// Returns the etag of a change.
pub(super) fn version(changed: u64) -> String {
    format!("\"{}\"", 3_500_000_000_000_000 + changed * 2_000)
}

/// Shows a kept event.
#[derive(Debug, Clone)]
struct Shown<'a> {
    calendar: &'a Calendar,
    zone: Zone,
    guests: Option<usize>,
}

impl Shown<'_> {
    fn event(&self, fields: &Fields, etag: &str, sparse: bool) -> Value {
        let mut out = fields.clone();
        let private =
            matches!(fields.get("visibility").and_then(Value::as_str), Some("private" | "confidential"));
        if private && !self.calendar.sees_private() {
            out.retain(|name, _| {
                let shown = [
                    "id",
                    "status",
                    "start",
                    "end",
                    "visibility",
                    "recurrence",
                    "iCalUID",
                    "recurringEventId",
                ];
                shown.contains(&name.as_str())
                    || matches!(name.as_str(), "originalStartTime" | "updated" | "created")
            });
        }
        if sparse && cancelled(fields) {
            out.retain(|name, _| {
                matches!(name.as_str(), "id" | "status" | "recurringEventId" | "originalStartTime")
            });
        }
        for name in ["start", "end", "originalStartTime"] {
            if let Some(value) = out.get(name)
                && let Ok(moment) = Moment::read(value, name, &Zone::Utc)
            {
                out.insert(name.into(), moment.render(&self.zone));
            }
        }
        if let Some(Value::Array(guests)) = out.get_mut("attendees")
            && self.guests.is_some_and(|most| guests.len() > most)
        {
            guests.truncate(self.guests.unwrap_or(0));
            out.insert("attendeesOmitted".into(), json!(true));
        }
        out.insert("kind".into(), json!("calendar#event"));
        out.insert("etag".into(), json!(etag));
        if !(sparse && cancelled(fields)) {
            let id = fields.get("id").and_then(Value::as_str).unwrap_or_default();
            let link = format!("https://www.google.com/calendar/event?eid={}", URL_SAFE_NO_PAD.encode(id));
            out.insert("htmlLink".into(), json!(link));
        }
        Value::Object(out)
    }
}

fn shown<'a>(calendar: &'a Calendar, request: &Request) -> Outcome<Shown<'a>> {
    let zone = match request.parameter("timeZone") {
        Some(name) => time::zone(name).ok_or_else(|| Refusal::parameter("timeZone", "Invalid time zone."))?,
        None => calendar.zone(),
    };
    let guests = request.parameter("maxAttendees").and_then(|number| number.parse().ok());
    Ok(Shown { calendar, zone, guests })
}

/// What of an event the request may see: what is, or what was before the last change. Nothing: it is not there yet.
fn seen<'a>(kept: &'a Kept, calendar: &Calendar, request: &Request) -> Option<&'a Fields> {
    if request.stale && kept.changed == calendar.changed { kept.before.as_ref() } else { Some(&kept.fields) }
}

impl State {
    /// Shows one event.
    pub(super) fn get(&self, calendar: &str, id: &str, request: &Request) -> Outcome<Value> {
        let calendar = self.calendar(calendar)?;
        let view = shown(calendar, request)?;
        if let Some(kept) = calendar.events.get(id) {
            let fields = seen(kept, calendar, request).ok_or_else(Refusal::not_found)?;
            let changed = if request.stale && kept.changed == calendar.changed {
                kept.changed - 1
            } else {
                kept.changed
            };
            return Ok(view.event(fields, &version(changed), false));
        }
        let fields = self.find(calendar.text("id"), id)?;
        Ok(view.event(&fields, &etag(calendar, id), false))
    }

    /// Shows one event as it is.
    pub(super) fn show(&self, calendar: &str, id: &str, request: &Request) -> Outcome<Value> {
        let fresh = Request { stale: false, ..request.clone() };
        self.get(calendar, id, &fresh)
    }

    /// Lists the events of a calendar, or what changed of them.
    pub(super) fn list(&self, name: &str, request: &Request, now: i64) -> Outcome<Value> {
        let calendar = self.calendar(name)?;
        let view = shown(calendar, request)?;
        let asked = |name: &str| request.parameter(name);
        let is = |name: &str| asked(name) == Some("true");
        if asked("orderBy") == Some("startTime") && !is("singleEvents") {
            return Err(Refusal::parameter(
                "orderBy",
                "The requested ordering is not available for the particular query.",
            ));
        }
        let fixed = self.fixed(request);
        // A page goes on where the one before it ended, in the listing that it belongs to.
        let page = asked("pageToken").map(|token| self.page(token, calendar, &all(request))).transpose()?;
        let since = match (&page, asked("syncToken")) {
            (Some(page), _) => page.since,
            (None, Some(token)) => Some(self.since(token, calendar, &fixed)?),
            (None, None) => None,
        };
        if since.is_some() {
            for name in NOT_WITH_CURSOR {
                if asked(name).is_some() {
                    let message = "Sync token cannot be used with query restrictions.";
                    return Err(Refusal::invalid("syncToken", message));
                }
            }
            if asked("showDeleted") == Some("false") {
                return Err(Refusal::invalid(
                    "showDeleted",
                    "Sync token cannot be used with showDeleted=false.",
                ));
            }
        }
        if let Some(least) = asked("updatedMin").and_then(time::instant)
            && least < now - UPDATED_MIN
        {
            return Err(Refusal::too_long_ago());
        }
        let stale = u64::from(request.stale);
        let upto = page
            .as_ref()
            .map_or(calendar.changed.max(since.unwrap_or(0)).saturating_sub(stale), |page| page.s);
        let most = asked("maxResults").and_then(|number| number.parse().ok()).unwrap_or(250).min(2500);
        // In the order of ids, things that come and go between two pages move nothing else.
        let ordered = asked("orderBy").is_some();
        let plain = !ordered && !is("singleEvents");
        let after = page.as_ref().and_then(|page| page.after.as_deref()).filter(|_| plain);
        // One more than a page tells whether there is another.
        let enough = if plain { most + 1 } else { usize::MAX };
        let mut items = self.items(calendar, request, since, now, after, enough);
        if is("singleEvents") && asked("orderBy") == Some("startTime") {
            items.sort_by_key(|(_, fields, _)| series::span(fields).map_or(0, |span| span.start.seconds()));
        } else if asked("orderBy") == Some("updated") {
            items.sort_by_key(|(_, fields, _)| fields.get("updated").map(Value::to_string));
        }
        let begin = match &page {
            Some(page) if ordered => page.at,
            Some(page) => {
                items.partition_point(|(id, _, _)| page.after.as_ref().is_some_and(|after| id <= after))
            }
            None => 0,
        };
        let rest = items.get(begin..).unwrap_or_default();
        let told: Vec<Value> =
            rest.iter().take(most).map(|(_, fields, etag)| view.event(fields, etag, true)).collect();
        let mut answer = self.envelope(calendar, &view.zone);
        answer.insert("items".into(), json!(told));
        let cursor = Cursor {
            c: calendar.text("id").into(),
            s: upto,
            since,
            p: fixed,
            g: self.generation,
            after: None,
            at: 0,
        };
        if rest.len() > most {
            let after = rest.get(most.saturating_sub(1)).map(|(id, _, _)| id.clone());
            let next = Cursor { p: all(request), after, at: begin + most, ..cursor };
            answer.insert("nextPageToken".into(), json!(next.written()));
        } else if !NO_CURSOR.iter().any(|name| asked(name).is_some()) {
            answer.insert("nextSyncToken".into(), json!(Cursor { since: None, ..cursor }.written()));
        }
        Ok(Value::Object(answer))
    }

    fn envelope(&self, calendar: &Calendar, zone: &Zone) -> Fields {
        let mut answer = Fields::new();
        answer.insert("kind".into(), json!("calendar#events"));
        answer.insert("etag".into(), json!(version(calendar.changed)));
        answer.insert("timeZone".into(), json!(zone.name().unwrap_or("UTC")));
        for name in ["summary", "description", "accessRole", "defaultReminders"] {
            if let Some(value) = calendar.entry.get(name) {
                answer.insert(name.into(), value.clone());
            }
        }
        let last = calendar.events.values().max_by_key(|kept| kept.changed);
        let updated = last.and_then(|kept| kept.fields.get("updated").cloned());
        answer.insert("updated".into(), updated.unwrap_or_else(|| json!(time::stamp(0))));
        answer
    }

    fn fixed(&self, request: &Request) -> String {
        let mut parts: Vec<String> = request
            .query
            .iter()
            .filter(|(name, value)| {
                AS_BEFORE.contains(&name.as_str()) && !(name == "singleEvents" && value == "false")
            })
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        parts.sort();
        parts.join("&")
    }

    fn page(&self, token: &str, calendar: &Calendar, params: &str) -> Outcome<Cursor> {
        let bad = || Refusal::invalid("pageToken", "Invalid page token value.");
        let page = Cursor::read(token).filter(|page| page.c == calendar.text("id")).ok_or_else(bad)?;
        if page.g != self.generation {
            return Err(if page.since.is_some() { Refusal::full_sync() } else { bad() });
        }
        if page.since.is_some_and(|since| since < self.forgotten) {
            return Err(Refusal::full_sync());
        }
        if page.p != params {
            return Err(Refusal::invalid("pageToken", "A page token goes with the query that it came from."));
        }
        Ok(page)
    }

    fn since(&self, token: &str, calendar: &Calendar, fixed: &str) -> Outcome<u64> {
        let bad = || Refusal::invalid("syncToken", "Invalid sync token value.");
        let cursor = Cursor::read(token).filter(|cursor| cursor.c == calendar.text("id")).ok_or_else(bad)?;
        if cursor.g != self.generation || cursor.s < self.forgotten {
            return Err(Refusal::full_sync());
        }
        if cursor.p != fixed {
            let message =
                "Sync token cannot be used with other parameters than those of the initial request.";
            return Err(Refusal::invalid("syncToken", message));
        }
        Ok(cursor.s)
    }

    /// Returns what a listing tells, with its etags, by id: at most so much, from behind an id.
    fn items(
        &self,
        calendar: &Calendar,
        request: &Request,
        since: Option<u64>,
        now: i64,
        after: Option<&str>,
        enough: usize,
    ) -> Vec<(String, Fields, String)> {
        let asked = |name: &str| request.parameter(name);
        let single = asked("singleEvents") == Some("true");
        let deleted =
            since.is_some() || asked("showDeleted") == Some("true") || asked("updatedMin").is_some();
        let moment = |name: &str| asked(name).and_then(time::instant);
        let range = TimeRange::new(moment("timeMin"), moment("timeMax"));
        let mut found = Vec::new();
        let begin = after.map_or(Bound::Unbounded, Bound::Excluded);
        for (id, kept) in calendar.events.range::<str, _>((begin, Bound::Unbounded)) {
            if found.len() >= enough {
                break;
            }
            let Some(fields) = seen(kept, calendar, request) else { continue };
            let fresh = since.is_none_or(|since| kept.changed > since);
            if !fresh || request.stale && kept.changed == calendar.changed && since.is_some() {
                continue;
            }
            let part = fields.contains_key("recurringEventId");
            if cancelled(fields) {
                // An instance that is cancelled is told with its series; alone, only to those who ask.
                let told = deleted || part && !single;
                if !told || single && recurs(fields) && since.is_none() {
                    continue;
                }
            } else if single && recurs(fields) {
                let mut range = range;
                range.end = range.end.min(series::horizon(now));
                for start in series::starts(fields, range) {
                    if let Some(instance) = series::untouched(fields, start)
                        && let Some(name) = instance.get("id").and_then(Value::as_str)
                        && !calendar.events.contains_key(name)
                        && wanted(&instance, request)
                    {
                        found.push((name.to_owned(), instance.clone(), version(kept.changed)));
                    }
                }
                continue;
            }
            let within = since.is_some() || series::overlaps(fields, range);
            if within && wanted(fields, request) {
                found.push((id.clone(), fields.clone(), version(kept.changed)));
            }
        }
        if single {
            found.sort_by(|(a, ..), (b, ..)| a.cmp(b));
        }
        found
    }

    /// Lists the instances of a series.
    pub(super) fn instances(&self, name: &str, id: &str, request: &Request, now: i64) -> Outcome<Value> {
        let calendar = self.calendar(name)?;
        let view = shown(calendar, request)?;
        let asked = |name: &str| request.parameter(name);
        let master = calendar.events.get(id).ok_or_else(Refusal::not_found)?;
        let moment = |name: &str| asked(name).and_then(time::instant);
        let mut range = TimeRange::new(moment("timeMin"), moment("timeMax"));
        let mut found: Vec<(i64, Value)> = Vec::new();
        let original = |fields: &Fields| {
            let value = fields.get("originalStartTime")?;
            Moment::read(value, "originalStartTime", &Zone::Utc).ok().map(|moment| moment.seconds())
        };
        for (part, kept) in calendar.events.iter().filter(|(_, kept)| kept.series() == Some(id)) {
            let told = !kept.cancelled() || asked("showDeleted") == Some("true");
            if told && series::overlaps(&kept.fields, range) {
                let at = original(&kept.fields).unwrap_or(0);
                found.push((at, view.event(&kept.fields, &etag(calendar, part), false)));
            }
        }
        if !master.cancelled() {
            range.end = range.end.min(series::horizon(now));
            for start in series::starts(&master.fields, range) {
                if let Some(fields) = series::untouched(&master.fields, start)
                    && let Some(part) = fields.get("id").and_then(Value::as_str)
                    && !calendar.events.contains_key(part)
                {
                    found.push((start, view.event(&fields, &version(master.changed), false)));
                }
            }
        }
        if let Some(wanted) = asked("originalStart") {
            let at = time::instant(wanted).or_else(|| time::day(wanted).map(|day| day.0));
            let at =
                at.ok_or_else(|| Refusal::parameter("originalStart", "Invalid value for originalStart."))?;
            found.retain(|(start, _)| *start == at);
        }
        found.sort_by_key(|(start, _)| *start);
        let page = asked("pageToken").map(|token| self.page(token, calendar, &all(request))).transpose()?;
        let begin = page.map_or(0, |page| page.at);
        let most = asked("maxResults").and_then(|number| number.parse().ok()).unwrap_or(250).min(2500);
        let rest = found.get(begin..).unwrap_or_default();
        let mut answer = self.envelope(calendar, &view.zone);
        let told: Vec<Value> = rest.iter().take(most).map(|(_, event)| event.clone()).collect();
        answer.insert("items".into(), json!(told));
        if rest.len() > most {
            let next = Cursor {
                c: calendar.text("id").into(),
                s: calendar.changed,
                since: None,
                p: all(request),
                g: self.generation,
                after: None,
                at: begin + most,
            };
            answer.insert("nextPageToken".into(), json!(next.written()));
        }
        Ok(Value::Object(answer))
    }

    /// Tells when calendars are busy.
    pub(super) fn free_busy(&self, body: &Fields) -> Outcome<Value> {
        let text = |name: &str| body.get(name).and_then(Value::as_str);
        let moment = |name: &str| -> Outcome<i64> {
            let at = text(name).ok_or_else(|| Refusal::required(format!("Missing {name} parameter.")))?;
            time::instant(at).ok_or_else(|| Refusal::invalid(name, "Invalid time."))
        };
        let (from, to) = (moment("timeMin")?, moment("timeMax")?);
        if to <= from {
            return Err(Refusal::time_range_empty());
        }
        let zone = time::zone(text("timeZone").unwrap_or("UTC"))
            .ok_or_else(|| Refusal::invalid("timeZone", "Invalid time zone definition."))?;
        let mut calendars = Fields::new();
        let items = body.get("items").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        if items.len() > 50 {
            let message = "Too many calendars were requested.";
            return Err(Refusal::calendar(400, "tooManyCalendarsRequested", message));
        }
        for id in items.iter().filter_map(|item| item.get("id").and_then(Value::as_str)) {
            let told = match self.calendar(id) {
                Ok(calendar) => json!({ "busy": busy(calendar, from, to, &zone) }),
                Err(_) => json!({ "errors": [{ "domain": "global", "reason": "notFound" }], "busy": [] }),
            };
            calendars.insert(id.into(), told);
        }
        Ok(
            json!({ "kind": "calendar#freeBusy", "timeMin": time::rfc3339(from, &zone), "timeMax": time::rfc3339(to, &zone),
            "calendars": calendars }),
        )
    }
}

fn busy(calendar: &Calendar, from: i64, to: i64, zone: &Zone) -> Vec<Value> {
    let range = TimeRange { start: from, end: to };
    let mut spans: Vec<(i64, i64)> = Vec::new();
    let mut add = |fields: &Fields| {
        let opaque = fields.get("transparency").and_then(Value::as_str) != Some("transparent");
        if let Some(span) = series::span(fields).filter(|_| opaque && !cancelled(fields)) {
            let (start, end) = (span.start.seconds().max(from), span.end.seconds().min(to));
            if start < end {
                spans.push((start, end));
            }
        }
    };
    for kept in calendar.events.values() {
        if recurs(&kept.fields) && !kept.cancelled() {
            for start in series::starts(&kept.fields, range) {
                if let Some(instance) = series::untouched(&kept.fields, start)
                    && !instance
                        .get("id")
                        .and_then(Value::as_str)
                        .is_some_and(|id| calendar.events.contains_key(id))
                {
                    add(&instance);
                }
            }
        } else {
            add(&kept.fields);
        }
    }
    spans.sort_unstable();
    let mut merged: Vec<(i64, i64)> = Vec::new();
    for (start, end) in spans {
        match merged.last_mut() {
            Some((_, last)) if *last >= start => *last = (*last).max(end),
            _ => merged.push((start, end)),
        }
    }
    let shown = |at: i64| time::rfc3339(at, zone);
    merged.iter().map(|(start, end)| json!({ "start": shown(*start), "end": shown(*end) })).collect()
}

/// Tells whether an event is what the query's filters ask for.
fn wanted(fields: &Fields, request: &Request) -> bool {
    let text = |name: &str| fields.get(name).and_then(Value::as_str).unwrap_or_default();
    let kinds: Vec<&str> = values(request, "eventTypes").collect();
    if !kinds.is_empty() && !cancelled(fields) && !kinds.contains(&text("eventType")) {
        return false;
    }
    if request.parameter("iCalUID").is_some_and(|uid| uid != text("iCalUID")) {
        return false;
    }
    if let Some(words) = request.parameter("q") {
        let all = ["summary", "description", "location"].map(text).join("\n").to_lowercase();
        if !words.to_lowercase().split_whitespace().all(|word| all.contains(word)) {
            return false;
        }
    }
    if let Some(least) = request.parameter("updatedMin").and_then(time::instant)
        && time::instant(text("updated")).is_none_or(|at| at < least)
    {
        return false;
    }
    [("private", "privateExtendedProperty"), ("shared", "sharedExtendedProperty")].iter().all(
        |(kind, name)| {
            values(request, name).all(|pair| {
                let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
                fields.get("extendedProperties").and_then(|both| both.get(*kind)?.get(key)?.as_str())
                    == Some(value)
            })
        },
    )
}

fn values<'a>(request: &'a Request, name: &'a str) -> impl Iterator<Item = &'a str> {
    request.query.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
}

/// Returns everything that a page's query has in common with the next.
fn all(request: &Request) -> String {
    let own = ["pageToken", "alt", "fields", "prettyPrint", "key", "quotaUser", "userIp", "oauth_token"];
    let mut parts: Vec<String> = request
        .query
        .iter()
        .filter(|(name, _)| !own.contains(&name.as_str()))
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    parts.sort();
    parts.join("&")
}

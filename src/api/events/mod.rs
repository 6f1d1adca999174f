//! `/calendars/ID/events`: events as JSON and as iCalendar text, both ways without loss.
//!
//! Owns: the routes; which events a list has. Does not own: what members mean (`shown`, `wish`, `edit`, `when`), the one
//! way into the calendar (`calendar::put`).

mod edit;
mod shown;
mod split;
mod when;
mod wish;

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use serde_json::{Map, Value, json};

use super::calendars::find;
use super::json::{Call, reply, time, time_or_null};
use super::problem::Problem;
use super::{Api, PREFIX, done, located};
use crate::bridge::{BridgeError, Mark, Marks};
use crate::calendar::{Error, Kept, Put, Refusal, Session, Stored, Text, When, Writable, kept, zone_of};
use crate::http::path::segment;
use crate::http::{Reply, reply_bytes};
use crate::ical::Ical;
use crate::ical::filter::CompFilter;
use crate::ical::series::TimeRange;
use crate::ical::zone::Zone;
use crate::store::{CollectionId, Etag, Fault, Meta, Name, Object};
use shown::Fields;
use wish::Wish;

/// How often a change is made anew when another writer was faster.
const ATTEMPTS: usize = 4;
/// So many events may be asked for at once: a view of a calendar is one answer.
const MOST: usize = 5000;
/// The media type of calendar objects.
const CALENDAR: &str = "text/calendar";

/// One calendar, for somebody who looks at its events.
struct Room<'a> {
    api: &'a Api,
    session: Session,
    at: Writable,
    marks: Marks,
}

impl Room<'_> {
    async fn of<'a>(api: &'a Api, call: &Call) -> Result<Room<'a>, Problem> {
        let session = call.session(&api.house);
        let at = find(&session, call.id()).await?;
        let marks = api.bridge.marks(call.owner(), at.id()).await?;
        Ok(Room { api, session, at, marks })
    }

    /// The zone of times that have none; a calendar may describe one that has no name.
    fn zone(&self) -> Option<Zone> {
        zone_of(&self.at.collection().properties)
    }

    fn zone_name(&self) -> Option<String> {
        self.zone().and_then(|zone| zone.name().map(str::to_owned))
    }

    async fn object(&self, uid: &str) -> Result<Option<Object>, Problem> {
        match self.at.by_uid(uid).await? {
            Some(name) => Ok(self.at.object(name.as_str()).await?),
            None => Ok(None),
        }
    }

    /// Adds what the calendar and the bridge know.
    async fn whole(&self, mut fields: Fields, meta: &Meta) -> Result<Value, Problem> {
        let uid = meta.index.uid.clone().unwrap_or_default();
        let id = self.at.id().0.to_string();
        let marks = self.api.bridge.marks_of(&self.marks, &uid).await?;
        fields.insert("href".into(), json!(path(&id, &uid)));
        fields.insert("calendar".into(), json!(id));
        fields.insert("etag".into(), json!(meta.etag.0));
        fields.insert("name".into(), json!(meta.name.as_str()));
        fields.insert("kind".into(), json!(kind(&meta.index.component)));
        fields.insert("origin".into(), origin(&marks));
        let synced = marks.iter().map(|mark| mark.agreed).filter(|at| at.0 > 0).max();
        fields.insert("last_synced_at".into(), time_or_null(synced));
        let locked = kept(self.at.collection()) == Kept::Whole || marks.iter().any(|mark| mark.keeps);
        fields.insert("locked".into(), json!(locked));
        fields.insert("changed_at".into(), time(meta.modified));
        Ok(Value::Object(fields))
    }

    async fn shown(&self, meta: &Meta, bytes: &Bytes) -> Result<Value, Problem> {
        let ical = Ical::parse(bytes.clone()).map_err(|_| unreadable())?;
        let fields = shown::event(&ical).ok_or_else(no_event)?;
        self.whole(fields, meta).await
    }
}

/// Returns an object as events are shown; nothing: it is gone. What is no event, or cannot be read, is told by what the
/// calendar knows of it.
pub(super) async fn told(
    api: &Api,
    session: Session,
    calendar: CollectionId,
    name: &str,
) -> Result<Option<(Meta, Value)>, Error> {
    let Some(collection) = session.house.store.collection(calendar).await? else { return Ok(None) };
    let Ok(at) = session.writable(collection) else { return Ok(None) };
    let Some(object) = at.object(name).await? else { return Ok(None) };
    let unknown = |error: BridgeError| Fault::Broken(format!("marks cannot be read: {error:?}"));
    let marks = api.bridge.marks(&session.principal.name, calendar).await.map_err(unknown)?;
    let room = Room { api, session, at, marks };
    let ical = Ical::parse(object.bytes.clone()).ok();
    let fields = ical.as_ref().and_then(shown::event).unwrap_or_else(|| {
        let mut fields = Fields::new();
        fields.insert("uid".into(), json!(object.meta.index.uid));
        fields
    });
    match room.whole(fields, &object.meta).await {
        Ok(shown) => Ok(Some((object.meta, shown))),
        Err(problem) => Err(Fault::Broken(format!("an event cannot be told: {problem:?}")).into()),
    }
}

fn path(calendar: &str, uid: &str) -> String {
    format!("{PREFIX}/calendars/{calendar}/events/{}", segment(uid))
}

fn origin(marks: &[Mark]) -> Value {
    match marks.iter().find(|mark| mark.from_there) {
        Some(mark) => json!({
            "kind": "mapping",
            "mapping": mark.mapping,
            "provider": mark.provider,
            "account": mark.account,
        }),
        None => json!({ "kind": "local", "mapping": null, "provider": null, "account": null }),
    }
}

fn kind(component: &str) -> &'static str {
    match component {
        "VEVENT" => "event",
        "VTODO" => "task",
        "VJOURNAL" => "journal",
        _ => "other",
    }
}

fn missing() -> Problem {
    Problem::missing("There is no such event in this calendar.")
}

fn unreadable() -> Problem {
    Problem::conflict(
        "unreadable",
        "The stored text cannot be read as iCalendar; ask for it as text/calendar.",
    )
}

fn no_event() -> Problem {
    Problem::conflict("not-an-event", "The object is not an event; ask for it as text/calendar.")
}

pub(super) async fn list(api: &Api, call: Call) -> Result<Reply, Problem> {
    let room = Room::of(api, &call).await?;
    let range = range(&call)?;
    let limit = call.limit_to(MOST)?;
    let expand = match call.parameter("expand") {
        None | Some("false") => false,
        Some("true") => true,
        Some(_) => return Err(Problem::invalid("expand", "It is `true` or `false`.")),
    };
    match (range, expand) {
        (Some(range), true) => instances(&room, &call, range, limit).await,
        (None, true) => Err(Problem::invalid("expand", "Say with `from` and `to` within which time.")),
        (range, false) => objects(&room, &call, range, limit).await,
    }
}

fn range(call: &Call) -> Result<Option<TimeRange>, Problem> {
    let moment = |name: &str| match call.parameter(name) {
        None => Ok(None),
        Some(text) => match when::Said::read(text) {
            Some(when::Said::Instant(instant)) => Ok(Some(instant)),
            Some(when::Said::Date(civil)) => Ok(Some(civil.0)),
            _ => Err(Problem::invalid(
                name,
                "It is a time like 2026-01-05T09:00:00Z or a date like 2026-01-05.",
            )),
        },
    };
    match (moment("from")?, moment("to")?) {
        (None, None) => Ok(None),
        (Some(from), Some(to)) if from < to => Ok(Some(TimeRange::new(Some(from), Some(to)))),
        (Some(_), Some(_)) => Err(Problem::invalid("to", "`to` has to lie after `from`.")),
        (None, Some(_)) => Err(Problem::invalid("from", "Say both `from` and `to`.")),
        (Some(_), None) => Err(Problem::invalid("to", "Say both `from` and `to`.")),
    }
}

/// VCALENDAR with a VEVENT in the range.
fn filter(range: Option<TimeRange>) -> CompFilter {
    let event = CompFilter { name: "VEVENT".into(), time_range: range, ..CompFilter::default() };
    CompFilter { name: "VCALENDAR".into(), comps: vec![event], ..CompFilter::default() }
}

/// Every event once, by the name of its object. The cursor is the name of the last one.
async fn objects(
    room: &Room<'_>,
    call: &Call,
    range: Option<TimeRange>,
    limit: usize,
) -> Result<Reply, Problem> {
    let after = match call.parameter("cursor") {
        Some(name) => Some(
            Name::new(name).ok_or_else(|| Problem::invalid("cursor", "The cursor is not one of ours."))?,
        ),
        None => None,
    };
    let mut query = room
        .at
        .query_after(Arc::new(filter(range)), room.zone().unwrap_or(Zone::Utc), Text::Yes, after)
        .await?;
    let mut items = Vec::new();
    let mut last: Option<Name> = None;
    while let Some(page) = query.next().await? {
        for found in page {
            if items.len() == limit {
                let cursor = last.map(|name| name.as_str().to_owned());
                return Ok(reply(StatusCode::OK, &json!({ "items": items, "next_cursor": cursor })));
            }
            let Some(bytes) = &found.bytes else { continue };
            last = Some(found.meta.name.clone());
            // What cannot be read is named all the same, so that it is not missing.
            items.push(match room.shown(&found.meta, bytes).await {
                Ok(item) => item,
                Err(_) => room.whole(Fields::new(), &found.meta).await?,
            });
        }
    }
    Ok(reply(StatusCode::OK, &json!({ "items": items, "next_cursor": null })))
}

/// Every instance within the range, in the order of time. The cursor is the number of those before.
async fn instances(room: &Room<'_>, call: &Call, range: TimeRange, limit: usize) -> Result<Reply, Problem> {
    let skip = match call.parameter("cursor") {
        Some(text) => {
            text.parse::<usize>().map_err(|_| Problem::invalid("cursor", "The cursor is not one of ours."))?
        }
        None => 0,
    };
    let zone = room.zone().unwrap_or(Zone::Utc);
    let most = room.api.house.limits.instances;
    let mut query = room.at.query_after(Arc::new(filter(Some(range))), zone.clone(), Text::Yes, None).await?;
    let mut all: Vec<(i64, String, usize, crate::ical::series::Instance)> = Vec::new();
    let mut objects = Vec::new();
    while let Some(page) = query.next().await? {
        for mut found in page {
            found.understand();
            let (Some(series), Some(ical)) = (found.series.take(), found.ical.take()) else { continue };
            let uid = found.meta.index.uid.clone().unwrap_or_default();
            let at = objects.len();
            let within = series.instances(range, &zone, most.saturating_sub(all.len()));
            all.extend(within.list.into_iter().map(|instance| (instance.start, uid.clone(), at, instance)));
            if !within.complete {
                return Err(Refusal::TooMany(u64::try_from(most).unwrap_or(u64::MAX)).into());
            }
            objects.push((found.meta, ical, series));
        }
    }
    all.sort_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));
    let more = all.len() > skip.saturating_add(limit);
    let mut items = Vec::new();
    for (_, _, at, instance) in all.iter().skip(skip).take(limit) {
        let Some((meta, ical, series)) = objects.get(*at) else { continue };
        let fields = shown::instance(ical, series, instance).unwrap_or_default();
        items.push(room.whole(fields, meta).await?);
    }
    let cursor = more.then(|| skip.saturating_add(limit).to_string());
    Ok(reply(StatusCode::OK, &json!({ "items": items, "next_cursor": cursor })))
}

pub(super) async fn one(api: &Api, call: Call) -> Result<Reply, Problem> {
    let room = Room::of(api, &call).await?;
    let object = room.object(call.part(1)).await?.ok_or_else(missing)?;
    if call.prefers_calendar() {
        let mut reply = reply_bytes(StatusCode::OK, "text/calendar; charset=utf-8", object.bytes);
        tag(&mut reply, &object.meta.etag);
        return Ok(reply);
    }
    Ok(reply(StatusCode::OK, &room.shown(&object.meta, &object.bytes).await?))
}

fn tag(reply: &mut Reply, etag: &Etag) {
    if let Ok(value) = HeaderValue::from_str(&format!("\"{etag}\"")) {
        reply.headers_mut().insert(header::ETAG, value);
    }
    reply.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    reply.headers_mut().insert(header::VARY, HeaderValue::from_static("accept"));
}

pub(super) async fn create(api: &Api, call: Call) -> Result<Reply, Problem> {
    let room = Room::of(api, &call).await?;
    let (uid, bytes) = match calendar_text(&call)? {
        Some(bytes) => (uid_of(&bytes)?, bytes),
        None => {
            let wish = Wish::read(call.body::<Map<String, Value>>()?)?;
            let uid = match &wish.uid {
                Some(uid) => uid.clone(),
                None => crate::bridge::record::random_id()?,
            };
            let bytes = edit::made(&uid, &wish, room.zone_name().as_deref(), seconds(&room))?;
            (uid, bytes)
        }
    };
    if let Some(name) = room.at.by_uid(&uid).await? {
        return Err(Refusal::UidTaken(name).into());
    }
    let absent = When::holds(|meta| if meta.is_none() { Ok(()) } else { Err(Refusal::Exists) });
    let stored = put(&room, &free_name(&room, &uid).await?, bytes, absent).await?;
    answer(&room, &uid, stored).await
}

/// Replaces the event, or makes it.
pub(super) async fn replace(api: &Api, call: Call) -> Result<Reply, Problem> {
    let room = Room::of(api, &call).await?;
    let uid = call.part(1).to_owned();
    let text = calendar_text(&call)?;
    let wish = match &text {
        Some(bytes) if uid_of(bytes)? != uid => {
            return Err(Problem::invalid("uid", "The UID of the text is not the one of the address."));
        }
        Some(_) => None,
        None => {
            let wish = Wish::read(call.body::<Map<String, Value>>()?)?;
            if wish.uid.as_ref().is_some_and(|said| *said != uid) {
                return Err(Problem::invalid("uid", "The UID of the body is not the one of the address."));
            }
            Some(wish)
        }
    };
    change(&room, &call, &uid, true, |before| match (&text, &wish, before) {
        (Some(bytes), ..) => Ok(bytes.clone()),
        (None, Some(wish), Some(object)) => {
            let ical = Ical::parse(object.bytes.clone()).map_err(|_| unreadable())?;
            let mut whole = wish.clone().whole();
            let said = whole.overrides.take().flatten().unwrap_or_default();
            let mut all = edit::unnamed(&ical, &said);
            all.extend(said);
            whole.overrides = Some(Some(all));
            edit::changed(&ical, &whole, room.zone_name().as_deref(), seconds(&room), true)
        }
        (None, Some(wish), None) => edit::made(&uid, wish, room.zone_name().as_deref(), seconds(&room)),
        (None, None, _) => Err(no_event()),
    })
    .await
}

/// Changes what is named and nothing else.
pub(super) async fn patch(api: &Api, call: Call) -> Result<Reply, Problem> {
    let room = Room::of(api, &call).await?;
    let uid = call.part(1).to_owned();
    let wish = Wish::read(call.body::<Map<String, Value>>()?)?;
    if wish.uid.as_ref().is_some_and(|said| *said != uid) {
        return Err(Problem::invalid("uid", "A UID cannot be changed."));
    }
    change(&room, &call, &uid, false, |before| {
        let object = before.ok_or_else(missing)?;
        let ical = Ical::parse(object.bytes.clone()).map_err(|_| unreadable())?;
        shown::master(&ical).ok_or_else(no_event)?;
        edit::changed(&ical, &wish, room.zone_name().as_deref(), seconds(&room), true)
    })
    .await
}

/// Reads, works out and writes; anew if another writer was faster, unless the caller said what they had read.
async fn change(
    room: &Room<'_>,
    call: &Call,
    uid: &str,
    may_make: bool,
    work: impl Fn(Option<&Object>) -> Result<Bytes, Problem>,
) -> Result<Reply, Problem> {
    let attempts = if call.is_conditional() { 1 } else { ATTEMPTS };
    for left in (0..attempts).rev() {
        let before = room.object(uid).await?;
        match &before {
            Some(object) => call.expect(&object.meta.etag)?,
            None if call.is_conditional() => return Err(Problem::stale()),
            None if !may_make => return Err(missing()),
            None => {}
        }
        let bytes = work(before.as_ref())?;
        let (name, seen) = match &before {
            Some(object) if object.bytes == bytes => {
                return answer_with(room, &object.meta, &object.bytes, StatusCode::OK).await;
            }
            Some(object) => (object.meta.name.clone(), Some(object.meta.etag.clone())),
            None => (free_name(room, uid).await?, None),
        };
        let same = When::holds(move |meta| match meta.map(|meta| &meta.etag) == seen.as_ref() {
            true => Ok(()),
            false => Err(Refusal::Stale),
        });
        match put(room, &name, bytes, same).await {
            Ok(stored) => return answer(room, uid, stored).await,
            Err(Error::Refused(Refusal::Stale)) if left > 0 => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(Problem::stale())
}

async fn put(room: &Room<'_>, name: &Name, bytes: Bytes, when: When<'_>) -> Result<Stored, Error> {
    let put = Put { name, bytes, content_type: Some(CALENDAR), when, with: Vec::new() };
    room.session.put(&room.at, put).await
}

/// `POST …/split`: the instance that the rest begins with, and what is changed of the rest.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Split {
    at: String,
    #[serde(default)]
    change: Map<String, Value>,
}

/// Ends a series before an instance and goes on from there as another event, in one step; anew if another writer was faster,
/// unless the caller said what they had read.
pub(super) async fn divide(api: &Api, call: Call) -> Result<Reply, Problem> {
    let room = Room::of(api, &call).await?;
    let wish: Split = call.body()?;
    let change = Wish::read(wish.change).map_err(|problem| problem.below("change"))?;
    if change.uid.is_some() {
        return Err(Problem::invalid("change.uid", "The rest gets a UID of its own."));
    }
    let uid = crate::bridge::record::random_id()?;
    let attempts = if call.is_conditional() { 1 } else { ATTEMPTS };
    for left in (0..attempts).rev() {
        let object = room.object(call.part(1)).await?.ok_or_else(missing)?;
        call.expect(&object.meta.etag)?;
        let ical = Ical::parse(object.bytes.clone()).map_err(|_| unreadable())?;
        shown::master(&ical).ok_or_else(no_event)?;
        let (before, rest) = split::split(&ical, &wish.at, &uid, seconds(&room))?;
        let rest = Ical::parse(rest).map_err(|_| unreadable())?;
        let rest = edit::changed(&rest, &change, room.zone_name().as_deref(), seconds(&room), false)
            .map_err(|problem| problem.below("change"))?;
        let name = free_name(&room, &uid).await?;
        let etag = object.meta.etag.clone();
        let same = When::holds(move |meta| match meta {
            Some(meta) if meta.etag == etag => Ok(()),
            _ => Err(Refusal::Stale),
        });
        let before = Put { content_type: Some(CALENDAR), when: same, ..Put::new(&object.meta.name, before) };
        let rest = Put { content_type: Some(CALENDAR), ..Put::new(&name, rest) };
        match room.session.divide(&room.at, before, rest).await {
            Ok(stored) => return answer(&room, &uid, stored).await,
            Err(Error::Refused(Refusal::Stale)) if left > 0 => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(Problem::stale())
}

pub(super) async fn remove(api: &Api, call: Call) -> Result<Reply, Problem> {
    let room = Room::of(api, &call).await?;
    let object = room.object(call.part(1)).await?.ok_or_else(missing)?;
    call.expect(&object.meta.etag)?;
    let etag = object.meta.etag.clone();
    let conditional = call.is_conditional();
    let same = When::holds(move |meta| match meta {
        Some(meta) if conditional && meta.etag != etag => Err(Refusal::Stale),
        _ => Ok(()),
    });
    room.session.delete(&room.at, &object.meta.name, &same, Vec::new()).await?;
    Ok(done())
}

async fn answer(room: &Room<'_>, uid: &str, stored: Stored) -> Result<Reply, Problem> {
    let status = if stored.created { StatusCode::CREATED } else { StatusCode::OK };
    let object = room.object(uid).await?.ok_or_else(missing)?;
    answer_with(room, &object.meta, &object.bytes, status).await
}

async fn answer_with(
    room: &Room<'_>,
    meta: &Meta,
    bytes: &Bytes,
    status: StatusCode,
) -> Result<Reply, Problem> {
    let document = match room.shown(meta, bytes).await {
        Ok(document) => document,
        // A task that came as text is kept, and shown as little as it can be.
        Err(_) => room.whole(Fields::new(), meta).await?,
    };
    let reply = reply(status, &document);
    if status != StatusCode::CREATED {
        return Ok(reply);
    }
    let uid = meta.index.uid.clone().unwrap_or_default();
    let path = path(&room.at.id().0.to_string(), &uid);
    Ok(located(reply, &room.api.site, path.strip_prefix(PREFIX).unwrap_or_default()))
}

fn seconds(room: &Room<'_>) -> i64 {
    room.api.house.clock.now().seconds()
}

/// Returns the body if it came as iCalendar text.
fn calendar_text(call: &Call) -> Result<Option<Bytes>, Problem> {
    let (media, bytes) = call.raw();
    Ok((media == CALENDAR).then(|| bytes.clone()))
}

fn uid_of(bytes: &Bytes) -> Result<String, Problem> {
    let index = crate::calendar::index_of(bytes.clone())
        .map_err(|problem| Problem::from(Refusal::NotCalendar(problem)))?;
    index.uid.ok_or_else(|| Problem::invalid("uid", "The text has no UID."))
}

/// Returns a name for a new object: its UID if that can be one and is free.
async fn free_name(room: &Room<'_>, uid: &str) -> Result<Name, Problem> {
    let plain = uid.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '@'));
    let own = Name::new(format!("{uid}.ics")).filter(|_| plain && uid.len() <= 200);
    if let Some(name) = own
        && room.at.meta(name.as_str()).await?.is_none()
    {
        return Ok(name);
    }
    let random = crate::bridge::record::random_id()?;
    Name::new(format!("{random}.ics")).ok_or_else(missing)
}

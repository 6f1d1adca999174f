//! `/changes`: what was written, by whom, from a position on; at once, a little later, or for as long as one listens.
//!
//! Owns: cursors over several calendars, waiting, the event stream. Does not own: the logs (`store`) and their positions,
//! which are those of the calendars' sync-tokens.
//!
//! A cursor is the sync-tokens of the calendars that it speaks of, joined with commas: each is a position of one log.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use serde_json::{Value, json};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Interval, Sleep};

use super::calendars::find;
use super::json::{Call, reply, time};
use super::problem::Problem;
use super::versions::by;
use super::{Api, PREFIX};
use crate::calendar::{Readable, Refusal, Session};
use crate::http::path::segment;
use crate::http::{Body, BodyError, Position, Reply, read_sync_token, sync_token};
use crate::store::{Change, Collection, CollectionId, Kind, Notice, Rev, Table, Timestamp, What};

/// The longest wait of a question.
pub(super) const LONGEST: u64 = 60;
/// How often a stream in which nothing happens shows that it is alive.
const PULSE: Duration = Duration::from_secs(15);
/// How long a stream lasts; whoever listens comes back by itself and goes on where it was.
const LASTS: Duration = Duration::from_secs(15 * 60);
/// Streams of one account at a time.
const STREAMS: usize = 32;

/// Where one stands in each calendar.
type Positions = BTreeMap<CollectionId, Position>;

/// The calendars that are asked for: one, or all that are the caller's.
#[derive(Debug, Clone)]
struct Wanted {
    session: Session,
    home: CollectionId,
    only: Option<CollectionId>,
}

impl Wanted {
    async fn of(api: &Api, call: &Call) -> Result<Wanted, Problem> {
        let session = call.session(&api.house);
        let only = match call.parameter("calendar") {
            Some(id) => {
                let missing = |_| Problem::invalid("calendar", "There is no such calendar.");
                Some(find(&session, id).await.map_err(missing)?.id())
            }
            None => None,
        };
        let home = session.home().await?.id();
        Ok(Wanted { session, home, only })
    }

    /// Tells whether something was written that may be wanted. What others write wakes nobody.
    async fn touched(&self, notice: &Notice) -> bool {
        for (id, _) in &notice.revs {
            let ours = match self.only {
                Some(only) => only == *id,
                None => match self.session.house.store.collection(*id).await {
                    Ok(collection) => collection.is_some_and(|collection| collection.parent == self.home),
                    // Whoever looks is told.
                    Err(_) => true,
                },
            };
            if ours {
                return true;
            }
        }
        false
    }

    async fn calendars(&self) -> Result<Vec<Readable>, Problem> {
        let home = self.session.home().await?;
        let mut all = home.children().await?;
        all.retain(|child| {
            child.collection().kind == Kind::Calendar && self.only.is_none_or(|only| only == child.id())
        });
        Ok(all)
    }
}

/// What lies after a cursor.
#[derive(Debug)]
struct Found {
    items: Vec<(Value, String)>,
    cursor: String,
    more: bool,
}

pub(super) async fn list(api: &Api, call: Call) -> Result<Reply, Problem> {
    let limit = call.limit()?;
    let wait = match call.parameter("wait") {
        None => 0,
        Some(text) => text.parse::<u64>().ok().filter(|seconds| *seconds <= LONGEST).ok_or_else(|| {
            Problem::invalid("wait", format!("It is a number of seconds, {LONGEST} at most."))
        })?,
    };
    let patience = tokio::time::sleep(Duration::from_secs(wait));
    tokio::pin!(patience);
    let mut over = wait == 0;
    let wanted = Wanted::of(api, &call).await?;
    // First the ear, then the look: what is written in between is heard.
    let mut ear = api.house.store.watch();
    let mut from = positions(&wanted, call.parameter("since")).await?;
    loop {
        let found = after(&wanted, &mut from, limit).await?;
        if !found.items.is_empty() || over {
            let items: Vec<Value> = found.items.into_iter().map(|(item, _)| item).collect();
            let document = json!({ "items": items, "next_cursor": found.cursor, "more": found.more });
            return Ok(reply(StatusCode::OK, &document));
        }
        tokio::select! {
            () = api.closing.cancelled() => return Err(Problem::closing()),
            () = &mut patience => over = true,
            () = heard(&mut ear, &wanted) => {}
        }
    }
}

/// Server-sent events, as the HTML standard defines them. `Last-Event-ID` goes on where a stream ended.
pub(super) async fn stream(api: &Api, call: Call) -> Result<Reply, Problem> {
    let wanted = Wanted::of(api, &call).await?;
    let room = api.streams.enter(call.owner()).ok_or_else(|| {
        Problem::wait(PULSE, &format!("More than {STREAMS} streams of one account are not kept open."))
    })?;
    let ear = api.house.store.watch();
    let since = call.last_event.as_deref().or_else(|| call.parameter("since"));
    // Without a word on where to begin, it begins now.
    let from = match since {
        Some(since) => positions(&wanted, Some(since)).await?,
        None => now(&wanted).await?,
    };
    let listening = Listening {
        wanted,
        from,
        ear,
        owner: call.owner().to_owned(),
        signed: call.caller.token.as_deref().unwrap_or_default().trim_start_matches("session-").to_owned(),
        waiting: Vec::new(),
        pulse: tokio::time::interval_at(tokio::time::Instant::now() + PULSE, PULSE),
        ends: Box::pin(tokio::time::sleep(LASTS)),
        last: false,
        closing: api.closing.clone(),
        begun: false,
        more: true,
        _room: room,
    };
    let frames = futures_util::stream::unfold(listening, |mut listening| async move {
        let text = listening.next().await?;
        Some((Ok::<_, BodyError>(Frame::data(Bytes::from(text))), listening))
    });
    let body: Body = StreamBody::new(frames).boxed_unsync();
    let mut answer = Reply::new(body);
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // A proxy that collects answers would hold the news back.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(answer)
}

/// How many streams each account has open.
#[derive(Debug, Default, Clone)]
pub(super) struct Streams(Arc<std::sync::Mutex<std::collections::HashMap<String, usize>>>);

/// A place among them.
#[derive(Debug)]
struct Room {
    streams: Streams,
    owner: String,
}

impl Streams {
    fn enter(&self, owner: &str) -> Option<Room> {
        let mut all = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let count = all.entry(owner.to_owned()).or_default();
        if *count >= STREAMS {
            return None;
        }
        *count += 1;
        Some(Room { streams: self.clone(), owner: owner.to_owned() })
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let mut all = self.streams.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(count) = all.get_mut(&self.owner) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                all.remove(&self.owner);
            }
        }
    }
}

/// A stream that goes on.
struct Listening {
    wanted: Wanted,
    from: Positions,
    ear: Receiver<Arc<Notice>>,
    owner: String,
    /// What its token or session is called by.
    signed: String,
    /// Whatever others write, a proxy sees something often enough.
    pulse: Interval,
    /// What was read and not sent yet, the last first.
    waiting: Vec<String>,
    ends: Pin<Box<Sleep>>,
    /// The last word was said.
    last: bool,
    closing: tokio_util::sync::CancellationToken,
    begun: bool,
    more: bool,
    _room: Room,
}

impl Listening {
    /// Returns what is to be sent next; nothing: it is over.
    async fn next(&mut self) -> Option<String> {
        if self.last {
            return None;
        }
        if !self.begun {
            self.begun = true;
            // How soon to come back; and a first byte, so that proxies let the answer begin.
            return Some(format!("retry: 2000\nid: {}\n\n", cursor(&self.wanted, &self.from).await.ok()?));
        }
        loop {
            if let Some(text) = self.waiting.pop() {
                return Some(text);
            }
            if self.more {
                match self.read().await {
                    Ok(()) => continue,
                    Err(why) => return Some(why),
                }
            }
            tokio::select! {
                () = self.closing.cancelled() => return None,
                () = &mut self.ends => return None,
                _ = self.pulse.tick() => return Some(": nothing new\n\n".to_owned()),
                heard = self.ear.recv() => match heard {
                    // Whoever still may listen comes back.
                    Ok(notice) if self.may_have_ended(&notice) => return None,
                    Ok(notice) => self.more = self.wanted.touched(&notice).await,
                    Err(RecvError::Lagged(_)) => self.more = true,
                    Err(RecvError::Closed) => return None,
                },
            }
        }
    }

    /// Tells whether what the listener signed in with changed or was taken away.
    fn may_have_ended(&self, notice: &Notice) -> bool {
        notice.keys.iter().any(|key| match key.table {
            Table::Principal => key.path == self.owner,
            // Both lie under a digest that what they are called by begins.
            Table::Token | Table::Session => {
                !self.signed.is_empty() && key.path.starts_with(self.signed.as_str())
            }
            _ => false,
        })
    }

    /// Reads a page. The error is a last word: the store fails, or the log was cut.
    async fn read(&mut self) -> Result<(), String> {
        const PAGE: usize = 100;
        match after(&self.wanted, &mut self.from, PAGE).await {
            Ok(found) => {
                self.more = found.more;
                self.waiting = found
                    .items
                    .into_iter()
                    .map(|(item, id)| format!("id: {id}\nevent: change\ndata: {item}\n\n"))
                    .collect();
                self.waiting.reverse();
                Ok(())
            }
            Err(problem) => {
                self.more = false;
                self.last = true;
                Err(format!("event: problem\ndata: {}\n\n", problem.document()))
            }
        }
    }
}

/// Waits until something was written that may be wanted.
async fn heard(ear: &mut Receiver<Arc<Notice>>, wanted: &Wanted) {
    loop {
        match ear.recv().await {
            Ok(notice) => {
                if wanted.touched(&notice).await {
                    return;
                }
            }
            Err(RecvError::Lagged(_)) => return,
            // The server stops, and says so elsewhere.
            Err(RecvError::Closed) => std::future::pending().await,
        }
    }
}

/// Reads a cursor. Calendars that it does not speak of begin at their first change.
async fn positions(wanted: &Wanted, since: Option<&str>) -> Result<Positions, Problem> {
    let mut from = Positions::new();
    let Some(since) = since.map(str::trim).filter(|text| !text.is_empty()) else { return Ok(from) };
    let calendars = wanted.calendars().await?;
    for token in since.split(',').map(str::trim).filter(|token| !token.is_empty()) {
        let of = |calendar: &&Readable| {
            token.starts_with(&format!("urn:kalends:sync:{}-", calendar.collection().id.0))
        };
        match calendars.iter().find(of) {
            Some(calendar) => {
                let position = read_sync_token(token, calendar.collection());
                let position = position.ok_or(Refusal::TokenExpired)?;
                if !calendar.continues_from(position.rev, position.at).await? {
                    return Err(Refusal::TokenExpired.into());
                }
                from.insert(calendar.id(), position);
            }
            // A calendar that is gone is not spoken of any more.
            None if token.starts_with("urn:kalends:sync:") && wanted.only.is_none() => {}
            None => return Err(Problem::invalid("since", "That is no cursor of these calendars.")),
        }
    }
    Ok(from)
}

async fn now(wanted: &Wanted) -> Result<Positions, Problem> {
    let mut from = Positions::new();
    for calendar in wanted.calendars().await? {
        from.insert(calendar.id(), calendar.head().await?.into());
    }
    Ok(from)
}

async fn cursor(wanted: &Wanted, from: &Positions) -> Result<String, Problem> {
    let calendars = wanted.calendars().await?;
    Ok(spelled(calendars.iter().map(|calendar| &**calendar.collection()), from))
}

/// Writes a cursor.
fn spelled<'a>(calendars: impl Iterator<Item = &'a Collection>, from: &Positions) -> String {
    let beginning = Position { rev: Rev(0), at: Timestamp(0) };
    let tokens =
        calendars.map(|calendar| sync_token(calendar, *from.get(&calendar.id).unwrap_or(&beginning)));
    tokens.collect::<Vec<_>>().join(",")
}

/// Reads up to `limit` changes and moves the positions on.
async fn after(wanted: &Wanted, from: &mut Positions, limit: usize) -> Result<Found, Problem> {
    let calendars = wanted.calendars().await?;
    let mut items = Vec::new();
    let mut more = false;
    for calendar in &calendars {
        let since = from.get(&calendar.id()).map_or(Rev(0), |position| position.rev);
        // Room is left in the page, or it is only found out whether there would be more.
        let room = limit.saturating_sub(items.len());
        let page = calendar.changes(since, room.max(1)).await?;
        if room == 0 {
            more |= !page.items.is_empty();
            continue;
        }
        more |= page.more;
        for change in &page.items {
            from.insert(calendar.id(), Position { rev: change.rev, at: change.at });
            let id = spelled(calendars.iter().map(|calendar| &**calendar.collection()), from);
            items.push((item(wanted, calendar, change).await?, id));
        }
    }
    let cursor = spelled(calendars.iter().map(|calendar| &**calendar.collection()), from);
    Ok(Found { items, cursor, more })
}

async fn item(wanted: &Wanted, calendar: &Readable, change: &Change) -> Result<Value, Problem> {
    let id = calendar.id().0.to_string();
    let mut document = json!({
        "calendar": id,
        "rev": change.rev.0,
        "at": time(change.at),
        "by": by(&change.origin),
    });
    let more = match (&change.name, change.what) {
        (None, _) => json!({ "change": "calendar", "uid": null, "name": null, "etag": null }),
        (Some(name), What::Deleted) => {
            let uid = wanted.session.uid_of_deleted(calendar, name, change.at).await?;
            json!({ "change": "deleted", "uid": uid, "name": name.as_str(), "etag": null })
        }
        (Some(name), what) => {
            let meta = calendar.meta(name.as_str()).await?;
            let change = if what == What::Put { "put" } else { "properties" };
            let uid = meta.as_ref().and_then(|meta| meta.index.uid.clone());
            let url = uid.as_ref().map(|uid| format!("{PREFIX}/calendars/{id}/events/{}", segment(uid)));
            json!({
                "change": change,
                "uid": uid,
                "name": name.as_str(),
                // Nothing: it is gone again; the row of that follows.
                "etag": meta.map(|meta| meta.etag.0),
                "href": url,
            })
        }
    };
    if let (Some(document), Value::Object(more)) = (document.as_object_mut(), more) {
        document.extend(more);
    }
    Ok(document)
}

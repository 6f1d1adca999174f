//! What changed in a calendar: pages of `events.list`, singles as they come, series at the end.
//!
//! Owns: the query, which is the same on every page and in every round, the cursor, and which answers belong together.
//! Does not own: what events say (`event`), reading objects one by one (`store`).
//!
//! The first listing is not narrowed by `timeMin`: it would leave out the old exceptions of series that still go on,
//! and these would come back as if nobody had ever left them out. What lies outside the window is left out here.
//!
//! The parts of a series come in any order, on any page: a series is put together when all pages were read. Until then
//! the texts of its events are held, up to a bound for all of them. Of series beyond it only the ids and entity-tags are
//! held, from which their versions follow: such a series is named, and read by itself if it is not as agreed.

use std::collections::{BTreeMap, HashMap, HashSet};

use futures_util::stream;
use serde::Deserialize;
use serde_json::Value;

use super::Google;
use super::event::Event;
use super::event::when::Frame;
use super::series::{KINDS, Parts, series_version};
use super::wire::{Ask, odd, shaped};
use crate::bridge::digests::digest_of;
use crate::bridge::provider::{Cursor, End, Page, Pages, RemoteId, Seen, Sighting, Trouble, Window};
use crate::ical::value::DAY;
use bytes::Bytes;
use http::Method;

/// What a cursor begins with: the query that its token belongs to. Another query makes another number.
const QUERY: &str = "1:";
/// How many series are given at a time.
const SERIES: usize = 200;
/// How many bytes of text are held of events of series.
const TEXT: usize = 16 << 20;

/// One page as Google gives it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Listed {
    #[serde(default)]
    items: Vec<Value>,
    next_page_token: Option<String>,
    next_sync_token: Option<String>,
    time_zone: Option<String>,
}

/// Where a listing stands.
struct Listing<'a> {
    google: &'a Google,
    calendar: &'a RemoteId,
    since: Option<String>,
    window: Window,
    page: Option<String>,
    /// The pages that were asked for, by the digests of their tokens.
    asked: HashSet<u128>,
    /// Events of series, by the id of their series.
    series: BTreeMap<String, Vec<Held>>,
    /// How much more text of theirs is held.
    room: usize,
    /// When what was given already was written, by the digests of the ids: the same event may come twice, the later one
    /// counts.
    given: HashMap<u128, Option<i64>>,
    stage: Stage,
}

enum Stage {
    Pages,
    /// Series are yet to be given; where to go on next time.
    Rest(Cursor),
    Done,
}

/// An event of a series, as it is held until all pages were read.
#[derive(Debug)]
struct Held {
    id: String,
    etag: Option<String>,
    cancelled: bool,
    recurs: bool,
    /// A series of ours whose exceptions were not all written yet.
    unfinished: bool,
    /// It would be given if it stood alone.
    wanted: bool,
    /// It cannot be understood.
    odd: bool,
    /// What Google says of it, while there is room for it.
    text: Option<Box<str>>,
}

impl Held {
    fn event(&self) -> Option<Event> {
        serde_json::from_str(self.text.as_deref()?).ok()
    }

    /// Names it as an object of its own.
    fn alone(self) -> Sighting {
        let version = self
            .etag
            .as_deref()
            .and_then(|etag| series_version(self.recurs, &self.id, etag, std::iter::empty()));
        Sighting { id: RemoteId(self.id), version }
    }
}

/// Returns what changed since the cursor.
pub(super) fn changes<'a>(
    google: &'a Google,
    calendar: &'a RemoteId,
    since: Option<&Cursor>,
    window: Window,
) -> Pages<'a> {
    let token = since.map(|cursor| cursor.0.strip_prefix(QUERY).map(str::to_owned));
    if token == Some(None) {
        return Box::pin(stream::once(async { Err(Trouble::CursorExpired) }));
    }
    let listing = Listing {
        google,
        calendar,
        since: token.flatten(),
        window,
        page: None,
        asked: HashSet::new(),
        series: BTreeMap::new(),
        room: TEXT,
        given: HashMap::new(),
        stage: Stage::Pages,
    };
    Box::pin(stream::try_unfold(listing, |mut listing| async move {
        Ok(listing.next().await?.map(|page| (page, listing)))
    }))
}

impl Listing<'_> {
    async fn next(&mut self) -> Result<Option<Page>, Trouble> {
        match std::mem::replace(&mut self.stage, Stage::Done) {
            Stage::Pages => self.page().await.map(Some),
            Stage::Rest(next) => self.rest(next).await.map(Some),
            Stage::Done => Ok(None),
        }
    }

    fn ask(&self) -> Ask {
        let mut query = vec![("singleEvents", "false"), ("maxResults", "2500")];
        query.extend(KINDS.iter().map(|kind| ("eventTypes", *kind)));
        query.extend(self.since.as_deref().map(|token| ("syncToken", token)));
        query.extend(self.page.as_deref().map(|token| ("pageToken", token)));
        Ask::events(Method::GET, self.calendar, &[], &query)
    }

    async fn page(&mut self) -> Result<Page, Trouble> {
        let told = self.google.wire.one(&self.ask()).await?;
        let expired = told.status == 410 || (told.status == 400 && told.reason().1 == "syncToken");
        if expired {
            return Err(match self.since {
                Some(_) => Trouble::CursorExpired,
                None => Trouble::Unreachable("Google broke off its listing of the calendar.".into()),
            });
        }
        let listed: Listed = told.json()?;
        if let Some(zone) = &listed.time_zone {
            self.google.remember_zone(self.calendar, zone);
        }
        // One row without a name is passed over, an answer without any is none.
        if !listed.items.is_empty() && listed.items.iter().all(|item| named(item, "id").is_none()) {
            return Err(odd("no event has an id"));
        }
        let mut page = Page::default();
        for item in &listed.items {
            self.take(item, &mut page);
        }
        match (listed.next_page_token, listed.next_sync_token) {
            (Some(token), _) if !self.asked.insert(digest_of(&token)) => {
                Err(odd("its pages go round in circles"))
            }
            (Some(token), _) => {
                self.page = Some(token);
                self.stage = Stage::Pages;
                Ok(page)
            }
            (None, Some(token)) => self.last(page, Cursor(format!("{QUERY}{token}"))).await,
            (None, None) => Err(odd("the listing has no end")),
        }
    }

    /// Takes one item in: what stands alone is given at once.
    fn take(&mut self, item: &Value, page: &mut Page) {
        let Some(id) = named(item, "id") else {
            // The rest need not suffer: what a listing does not name is asked for before it counts as gone.
            tracing::warn!("Google lists an event without an id");
            return;
        };
        let Some(event) = shaped::<Event>(item) else {
            // Of one event that cannot be read the rest need not suffer: without content it fails by itself. What belongs
            // to a series has the series read by itself, which is then not taken for one without it.
            match named(item, "recurringEventId").or(item.get("recurrence").is_some().then_some(id)) {
                Some(series) => self.hold_odd(series.to_owned(), id.to_owned()),
                None => page.read.push(unread(id)),
            }
            return;
        };
        let key = digest_of(id);
        let modified = event.modified();
        if self.given.get(&key).is_some_and(|before| *before > modified) {
            return;
        }
        self.given.insert(key, modified);
        if event.event_type.as_deref().is_some_and(|kind| !KINDS.contains(&kind)) && !event.is_cancelled() {
            return;
        }
        if let Some(master) = event.recurring_event_id.clone() {
            self.hold(master, &event, item);
        } else if event.is_cancelled() {
            self.series.remove(&event.id);
            page.gone.push(RemoteId(event.id));
        } else if event.recurs() || self.series.contains_key(&event.id) {
            self.hold(event.id.clone(), &event, item);
        } else if self.is_wanted(&event) {
            page.read.push(Parts::alone(event).seen(self.calendar));
        } else {
            let version = Parts::alone(event.clone()).version();
            page.beyond.push(Sighting { id: RemoteId(event.id), version });
        }
    }

    fn hold_odd(&mut self, series: String, id: String) {
        let events = self.series.entry(series).or_default();
        events.retain(|before| before.id != id);
        events.push(Held {
            id,
            etag: None,
            cancelled: false,
            recurs: false,
            unfinished: false,
            wanted: true,
            odd: true,
            text: None,
        });
    }

    /// Holds an event of a series. Of one that comes twice the later one counts, which is this one.
    fn hold(&mut self, series: String, event: &Event, item: &Value) {
        let text = Some(item.to_string()).filter(|text| text.len() <= self.room);
        self.room = self.room.saturating_sub(text.as_ref().map_or(0, String::len));
        let held = Held {
            id: event.id.clone(),
            etag: event.etag.clone(),
            cancelled: event.is_cancelled(),
            recurs: event.recurs(),
            unfinished: Parts::is_unfinished(event, self.calendar),
            wanted: self.is_wanted(event),
            odd: false,
            text: text.map(String::into_boxed_str),
        };
        let events = self.series.entry(series).or_default();
        events.retain(|before| before.id != held.id);
        events.push(held);
    }

    /// A first listing leaves out what lies outside the window. Later, all that changed is told: it may have left it.
    fn is_wanted(&self, event: &Event) -> bool {
        if self.since.is_some() {
            return true;
        }
        let moment = |when: &Option<super::event::When>| {
            Frame::of_google(when.as_ref()?, false)
                .map(|(frame, at)| (at, if frame.is_date() { DAY } else { 0 }))
        };
        let (start, end) = (moment(&event.start), moment(&event.end));
        // Days begin and end at other moments in other places.
        let over = self.window.from.zip(end).is_some_and(|(from, (end, slack))| end + slack < from);
        let far = self.window.to.zip(start).is_some_and(|(to, (start, slack))| start - slack >= to);
        !over && !far
    }

    /// All pages are read: what belongs together is put together.
    async fn last(&mut self, mut page: Page, next: Cursor) -> Result<Page, Trouble> {
        self.given = HashMap::new();
        if self.since.is_none() {
            self.stage = Stage::Rest(next);
            return Ok(page);
        }
        // Only what changed of a series is told; the rest has to be read.
        let series: Vec<(String, Vec<Held>)> = std::mem::take(&mut self.series).into_iter().collect();
        let there = self.unnamed(&series).await?;
        for (id, events) in series {
            if is_named(&id, &events) || there.contains(&id) {
                page.seen.push(Sighting { id: RemoteId(id), version: None });
                continue;
            }
            for held in events {
                match held.cancelled {
                    true => page.gone.push(RemoteId(held.id)),
                    false => lone(held, self.calendar, &mut page),
                }
            }
        }
        page.end = Some(End { next: Some(next), complete: false });
        Ok(page)
    }

    /// Returns which series are in the calendar although they were not named themselves. One that is not, the account was
    /// invited to single instances of; of one that is, a page was short.
    async fn unnamed(&self, series: &[(String, Vec<Held>)]) -> Result<HashSet<String>, Trouble> {
        let unnamed = series.iter().filter(|(id, events)| !is_named(id, events));
        let unnamed: Vec<String> = unnamed.map(|(id, _)| id.clone()).collect();
        self.google.there(self.calendar, &unnamed).await
    }

    /// Gives the series of a first listing, some at a time.
    async fn rest(&mut self, next: Cursor) -> Result<Page, Trouble> {
        let mut page = Page::default();
        let some: Vec<_> = std::iter::from_fn(|| self.series.pop_first()).take(SERIES).collect();
        let there = self.unnamed(&some).await?;
        for (id, events) in some {
            match there.contains(&id) {
                true => page.seen.push(Sighting { id: RemoteId(id), version: None }),
                false => assemble(&id, events, self.calendar, &mut page),
            }
        }
        if self.series.is_empty() {
            page.end = Some(End { next: Some(next), complete: true });
        } else {
            self.stage = Stage::Rest(next);
        }
        Ok(page)
    }
}

fn named<'a>(item: &'a Value, name: &str) -> Option<&'a str> {
    item.get(name).and_then(Value::as_str).filter(|id| !id.is_empty())
}

fn is_named(series: &str, events: &[Held]) -> bool {
    events.iter().any(|event| event.id == series)
}

/// An event that is there and cannot be understood.
pub(super) fn unread(id: &str) -> Seen {
    Seen { id: RemoteId(id.into()), version: None, bytes: Bytes::new(), modified: None }
}

/// Gives the events of a series as one object, or, where the series itself is not in the calendar, each as its own.
fn assemble(id: &str, events: Vec<Held>, calendar: &RemoteId, page: &mut Page) {
    let Some(master) = events.iter().find(|event| event.id == id) else {
        for event in events.into_iter().filter(|event| !event.cancelled) {
            match event.wanted {
                true => lone(event, calendar, page),
                false => page.beyond.push(event.alone()),
            }
        }
        return;
    };
    if events.iter().any(|event| event.odd) {
        page.seen.push(Sighting { id: RemoteId(id.to_owned()), version: None });
        return;
    }
    if master.cancelled || master.unfinished {
        return;
    }
    let texts: Option<Vec<Event>> = events.iter().map(Held::event).collect();
    match texts {
        Some(whole) => page.read.extend(Parts::of(id, whole).map(|parts| parts.seen(calendar))),
        None => {
            let exceptions = events.iter().filter(|event| event.id != id);
            let etags = exceptions.map(|event| (event.id.as_str(), event.cancelled, event.etag.as_deref()));
            let version = Parts::version_of(master.recurs, id, master.etag.as_deref(), etags);
            page.seen.push(Sighting { id: RemoteId(id.to_owned()), version });
        }
    }
}

/// Gives an event of a series as an object of its own.
fn lone(held: Held, calendar: &RemoteId, page: &mut Page) {
    match held.event() {
        None if held.odd => page.read.push(unread(&held.id)),
        Some(event) => page.read.push(Parts::alone(event).seen(calendar)),
        None => page.seen.push(held.alone()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use super::*;
    use serde_json::json;

    fn held(value: Value, with_text: bool) -> Held {
        let event: Event = serde_json::from_value(value.clone()).unwrap();
        Held {
            id: event.id.clone(),
            etag: event.etag.clone(),
            cancelled: event.is_cancelled(),
            recurs: event.recurs(),
            unfinished: false,
            wanted: true,
            odd: false,
            text: with_text.then(|| value.to_string().into()),
        }
    }

    fn when(day: u32) -> Value {
        json!({"dateTime": format!("2026-01-{day:02}T09:00:00Z"), "timeZone": "Europe/Zurich"})
    }

    fn page(events: &[Value], texts: impl Fn(usize) -> bool) -> Page {
        let mut page = Page::default();
        let all = events.iter().enumerate().map(|(at, value)| held(value.clone(), texts(at))).collect();
        assemble("m", all, &RemoteId("anna@example.com".into()), &mut page);
        page
    }

    // What there was no room for is named with the version that it has when it is read
    #[test]
    fn a_series_without_its_text_has_the_same_version() {
        let master = json!({"id": "m", "etag": "\"1\"", "recurrence": ["RRULE:FREQ=DAILY"], "start": when(5), "end": when(6)});
        let moved = json!({"id": "m_1", "etag": "\"2\"", "recurringEventId": "m", "originalStartTime": when(7),
            "start": when(8), "end": when(9)});
        let left_out = json!({"id": "m_2", "recurringEventId": "m", "status": "cancelled", "originalStartTime": when(9)});
        for events in [
            vec![master.clone(), moved.clone(), left_out.clone()],
            vec![left_out.clone(), moved.clone(), master.clone()],
            vec![master.clone()],
            vec![moved, left_out],
        ] {
            let whole = page(&events, |_| true);
            assert_eq!((whole.read.len(), whole.seen.len()), (1, 0));
            for missing in 0..events.len() {
                let named = page(&events, |at| at != missing);
                let same: Vec<(RemoteId, _)> =
                    whole.read.iter().map(|s| (s.id.clone(), s.version.clone())).collect();
                let seen = named.seen.into_iter().map(|s| (s.id, s.version));
                let all: Vec<(RemoteId, _)> =
                    seen.chain(named.read.into_iter().map(|s| (s.id, s.version))).collect();
                assert_eq!(all, same, "{missing} of {events:?}");
            }
        }
        let gone = json!({"id": "m", "etag": "\"1\"", "status": "cancelled"});
        assert_eq!(page(&[gone], |_| false), Page::default());
    }
}

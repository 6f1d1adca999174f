//! What changed in a calendar: pages of `events.list`, singles as they come, series at the end.
//!
//! Owns: the query, which is the same on every page and in every round, the cursor, and which answers belong together.
//! Does not own: what events say (`event`), reading objects one by one (`store`).
//!
//! The first listing is not narrowed by `timeMin`: it would leave out the old exceptions of series that still go on,
//! and these would come back as if nobody had ever left them out. What lies outside the window is left out here.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use futures_util::stream;
use serde::Deserialize;
use serde_json::Value;

use super::Google;
use super::event::Event;
use super::event::when::Frame;
use super::series::{KINDS, Parts};
use super::wire::{Ask, odd, shaped};
use crate::bridge::provider::{Cursor, End, Page, Pages, RemoteId, Seen, Sighting, Trouble, Window};
use crate::ical::value::DAY;
use bytes::Bytes;
use http::Method;

/// What a cursor begins with: the query that its token belongs to. Another query makes another number.
const QUERY: &str = "1:";
/// How many series are given at a time.
const SERIES: usize = 200;

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
    /// Events of series, by the id of their series.
    series: BTreeMap<String, Vec<Event>>,
    /// When what was given already was written: the same event may come twice, the later one counts.
    given: HashMap<u64, Option<i64>>,
    stage: Stage,
}

enum Stage {
    Pages,
    /// Series that are yet to be given, and where to go on next time.
    Rest(Vec<Parts>, Cursor),
    Done,
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
        series: BTreeMap::new(),
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
            Stage::Rest(series, next) => Ok(Some(self.rest(series, next))),
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
        let mut page = Page::default();
        for item in &listed.items {
            self.take(item, &mut page)?;
        }
        match (listed.next_page_token, listed.next_sync_token) {
            (Some(token), _) if self.page.as_ref() == Some(&token) => {
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
    fn take(&mut self, item: &Value, page: &mut Page) -> Result<(), Trouble> {
        let id = item.get("id").and_then(Value::as_str).filter(|id| !id.is_empty());
        let Some(id) = id else { return Err(odd("an event has no id")) };
        let Some(event) = shaped::<Event>(item) else {
            // Of one event that cannot be read the rest need not suffer: without content it fails by itself.
            page.read.push(Seen {
                id: RemoteId(id.into()),
                version: None,
                bytes: Bytes::new(),
                modified: None,
            });
            return Ok(());
        };
        let key = hash(id);
        let modified = event.modified();
        if self.given.get(&key).is_some_and(|before| *before > modified) {
            return Ok(());
        }
        self.given.insert(key, modified);
        if event.event_type.as_deref().is_some_and(|kind| !KINDS.contains(&kind)) && !event.is_cancelled() {
            return Ok(());
        }
        if let Some(master) = event.recurring_event_id.clone() {
            self.series.entry(master).or_default().push(event);
        } else if event.is_cancelled() {
            self.series.remove(&event.id);
            page.gone.push(RemoteId(event.id));
        } else if event.recurs() || self.series.contains_key(&event.id) {
            self.series.entry(event.id.clone()).or_default().push(event);
        } else if self.is_wanted(&event) {
            page.read.push(Parts::alone(event).seen(self.calendar));
        }
        Ok(())
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
        let series = std::mem::take(&mut self.series);
        if self.since.is_none() {
            let mut whole = Vec::new();
            for (id, events) in series {
                self.assemble(&id, events, &mut whole);
            }
            self.stage = Stage::Rest(whole, next);
            return Ok(page);
        }
        // Only what changed of a series is told; the rest has to be read. A series that was not named itself may not
        // be in the calendar at all: somebody invited the account to single instances of it.
        let named = |id: &String, events: &[Event]| events.iter().any(|event| event.id == *id);
        let unnamed: Vec<String> =
            series.iter().filter(|(id, events)| !named(id, events)).map(|(id, _)| id.clone()).collect();
        let there: HashSet<String> =
            self.google.events(self.calendar, &unnamed).await?.into_iter().map(|event| event.id).collect();
        for (id, events) in series {
            if named(&id, &events) || there.contains(&id) {
                page.seen.push(Sighting { id: RemoteId(id), version: None });
                continue;
            }
            for event in events {
                match event.is_cancelled() {
                    true => page.gone.push(RemoteId(event.id)),
                    false => page.read.push(Parts::alone(event).seen(self.calendar)),
                }
            }
        }
        page.end = Some(End { next: Some(next), complete: false });
        Ok(page)
    }

    fn assemble(&self, id: &str, events: Vec<Event>, whole: &mut Vec<Parts>) {
        let lone: Vec<Event> = match events.iter().any(|event| event.id == *id) {
            true => {
                whole.extend(Parts::of(id, events).filter(|parts| !parts.is_unfinished(self.calendar)));
                return;
            }
            false => events,
        };
        let lone = lone.into_iter().filter(|event| !event.is_cancelled() && self.is_wanted(event));
        whole.extend(lone.map(Parts::alone));
    }

    /// Gives the series of a first listing, some at a time.
    fn rest(&mut self, mut series: Vec<Parts>, next: Cursor) -> Page {
        let more = series.split_off(series.len().min(SERIES));
        let read = series.iter().map(|parts| parts.seen(self.calendar)).collect();
        let end = match more.is_empty() {
            true => Some(End { next: Some(next), complete: true }),
            false => {
                self.stage = Stage::Rest(more, next);
                None
            }
        };
        Page { read, end, ..Page::default() }
    }
}

fn hash(id: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    id.hash(&mut hasher);
    hasher.finish()
}

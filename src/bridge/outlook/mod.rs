//! Outlook and Microsoft 365 (Microsoft Graph v1.0) as a far side.
//!
//! Owns: the calendars of an account, how objects are read, what of ours fits. What changed is `delta`, writing is `put`,
//! notifications are `watch`, an event in between is `event`.
//! Does not own: who wins, when to call again (`bridge`), where the token comes from (`Bearer`).
//!
//! An object is a single event or a whole series with its exceptions. Outlook makes ids and UIDs itself; `marker` says how
//! ours travel.

mod batch;
mod body;
mod delta;
mod event;
mod marker;
mod put;
mod recurrence;
mod watch;
mod wire;
mod zone;

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
mod tests;

use std::sync::Arc;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;
use url::Url;

use self::event::parse::{Shape, shape};
use self::event::read::{Event, SELECT};
use self::event::render::render;
use self::wire::{Reply, Request, Wire, encoded, unreadable};
use super::provider::{
    Abilities, Answers, Bearer, Channel, Cursor, Fit, Fut, Pages, Part, Provider, RemoteCalendar, RemoteId,
    Seen, Trouble, Version, Watch, Window, Write, Written,
};
use crate::http::fetch::Fetch;
use crate::ical::Ical;

/// How many pages a list may have.
const PAGES: usize = 10_000;
/// How many calls to one mailbox may be under way at a time: Microsoft refuses the fifth.
pub(super) const AT_ONCE: usize = 4;

/// What Outlook's colours look like.
const COLORS: [(&str, &str); 9] = [
    ("lightBlue", "#0078D4"),
    ("lightGreen", "#498205"),
    ("lightOrange", "#DA3B01"),
    ("lightGray", "#69797E"),
    ("lightYellow", "#C19C00"),
    ("lightTeal", "#038387"),
    ("lightPink", "#E3008C"),
    ("lightBrown", "#8E562E"),
    ("lightRed", "#D13438"),
];

/// An account at Microsoft.
pub struct Outlook {
    wire: Wire,
}

impl std::fmt::Debug for Outlook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outlook").finish_non_exhaustive()
    }
}

/// A page of a list.
#[derive(Debug, Deserialize)]
struct List {
    value: Vec<Value>,
    #[serde(rename = "@odata.nextLink")]
    next: Option<String>,
    #[serde(rename = "@odata.deltaLink")]
    delta: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Calendar {
    id: String,
    name: Option<String>,
    color: Option<String>,
    hex_color: Option<String>,
    is_default_calendar: Option<bool>,
    can_edit: Option<bool>,
}

/// What was asked for by its id.
enum Found {
    There(Box<Event>),
    /// It is there and cannot be understood.
    Odd,
    Gone,
}

impl Outlook {
    /// Returns an account. `api` is the service's root with its version.
    pub fn new(fetch: Fetch, api: Url, bearer: Arc<dyn Bearer>) -> Outlook {
        Outlook { wire: Wire::new(fetch, api, bearer) }
    }

    async fn list_calendars(&self) -> Result<Vec<RemoteCalendar>, Trouble> {
        let mut all = Vec::new();
        let mut path = "/me/calendars?$top=100".to_owned();
        for _ in 0..PAGES {
            let list: List = self.wire.call(&Request::get(path)).await?.read()?;
            for value in list.value {
                let found: Calendar = serde_json::from_value(value).map_err(|_| unreadable("a calendar"))?;
                all.push(found.remote());
            }
            match list.next {
                Some(next) => path = next,
                None => return Ok(all),
            }
        }
        Err(unreadable("a list without an end"))
    }

    /// Asks for objects as they are now.
    async fn find(&self, calendar: &RemoteId, ids: &[RemoteId]) -> Result<Vec<Found>, Trouble> {
        let requests: Vec<Request> = ids
            .iter()
            .map(|id| {
                let (path, expand) = (event_path(calendar, id), marker::expand());
                let expand = encoded(&format!("{expand},exceptionOccurrences"));
                Request::get(format!("{path}?$select={SELECT}&$expand={expand}"))
            })
            .collect();
        self.wire.batch(&requests).await?.into_iter().map(found).collect()
    }

    async fn find_one(&self, calendar: &RemoteId, id: &RemoteId) -> Result<Event, Trouble> {
        match self.find(calendar, std::slice::from_ref(id)).await?.pop() {
            Some(Found::There(event)) => Ok(*event),
            Some(Found::Gone) => Err(Trouble::Missing("The event is no longer in Outlook.".into())),
            Some(Found::Odd) | None => {
                Err(Trouble::Refused("The event in Outlook cannot be understood; edit it there.".into()))
            }
        }
    }

    async fn read_all(&self, calendar: &RemoteId, ids: &[RemoteId]) -> Result<Vec<Seen>, Trouble> {
        let found = self.find(calendar, ids).await?;
        let seen = ids.iter().zip(found).filter_map(|(id, found)| match found {
            Found::There(event) => Some(seen(calendar, id, &event)),
            Found::Odd => Some(odd(id)),
            Found::Gone => None,
        });
        Ok(seen.collect())
    }
}

/// Returns the address of an event, with preferences that make its id last.
fn event_path(calendar: &RemoteId, id: &RemoteId) -> String {
    format!("{}/events/{}", calendar_path(calendar), encoded(&id.0))
}

fn calendar_path(calendar: &RemoteId) -> String {
    format!("/me/calendars/{}", encoded(&calendar.0))
}

/// Only a 404 says that an event is gone; any other refusal is one.
fn found(reply: Reply) -> Result<Found, Trouble> {
    match reply.done() {
        Ok(reply) => Ok(event_of(reply.body).map_or(Found::Odd, |event| Found::There(Box::new(event)))),
        Err(Trouble::Missing(_)) => Ok(Found::Gone),
        Err(trouble) => Err(trouble),
    }
}

/// Reads an event. Nothing: it is not what the schema says; its shape is logged.
fn event_of(body: Value) -> Option<Event> {
    Reply { status: 200, retry_after: None, date: None, body }.read().ok()
}

/// Returns an object as it is. One that is there and cannot be understood has no bytes, which fails as its own trouble.
fn seen(calendar: &RemoteId, id: &RemoteId, event: &Event) -> Seen {
    let text = event.uid(calendar).and_then(|uid| {
        let whole = event.whole(&uid, event.is_made_as(calendar, &uid))?;
        Some(render(&whole))
    });
    match text {
        Some(bytes) => Seen { id: id.clone(), version: event.version(), bytes, modified: event.modified() },
        None => {
            tracing::warn!(id = %id, "an event in Outlook cannot be understood");
            odd(id)
        }
    }
}

fn odd(id: &RemoteId) -> Seen {
    Seen { id: id.clone(), version: None, bytes: Bytes::new(), modified: None }
}

impl Calendar {
    fn remote(self) -> RemoteCalendar {
        let named = |name: &str| COLORS.iter().find(|(n, _)| *n == name).map(|(_, hex)| (*hex).to_owned());
        let color = self.hex_color.filter(|c| !c.is_empty());
        RemoteCalendar {
            name: self.name.filter(|n| !n.is_empty()).unwrap_or_else(|| "Calendar".to_owned()),
            color: color.or_else(|| self.color.as_deref().and_then(named)),
            primary: self.is_default_calendar.unwrap_or(false),
            writable: self.can_edit.unwrap_or(false),
            components: vec!["VEVENT".to_owned()],
            id: RemoteId(self.id),
        }
    }
}

impl Provider for Outlook {
    fn abilities(&self) -> Abilities {
        Abilities { writes: true, pushes: true, batch: batch::MOST, parallel: AT_ONCE, in_steps: true }
    }

    fn calendars(&self) -> Fut<'_, Vec<RemoteCalendar>> {
        Box::pin(self.list_calendars())
    }

    fn changes<'a>(&'a self, calendar: &'a RemoteId, since: Option<&'a Cursor>, window: Window) -> Pages<'a> {
        self.delta(calendar, since, window)
    }

    fn read<'a>(&'a self, calendar: &'a RemoteId, ids: &'a [RemoteId]) -> Fut<'a, Vec<Seen>> {
        Box::pin(self.read_all(calendar, ids))
    }

    /// Outlook makes the ids.
    fn place(&self, _: &RemoteId, _: &str) -> Option<RemoteId> {
        None
    }

    fn fit(&self, ical: &Ical, window: Window) -> Fit {
        match shape(ical, window) {
            Shape::Whole(whole) => Fit::Whole(render(&whole)),
            Shape::Parts(parts, why) => {
                let part = |(key, whole)| Part { key, bytes: render(&whole) };
                Fit::Parts(parts.into_iter().map(part).collect(), why)
            }
            Shape::Refused(why) => Fit::Refused(why),
        }
    }

    fn needs_zone(&self) -> bool {
        true
    }

    fn put<'a>(&'a self, calendar: &'a RemoteId, write: &'a Write) -> Fut<'a, Written> {
        Box::pin(async move {
            let mut answers = self.put_several(calendar, std::slice::from_ref(write)).await;
            answers.pop().unwrap_or_else(|| Err(unreadable("no answer")))
        })
    }

    fn put_all<'a>(&'a self, calendar: &'a RemoteId, writes: &'a [Write]) -> Answers<'a> {
        Box::pin(self.put_several(calendar, writes))
    }

    fn delete<'a>(
        &'a self,
        calendar: &'a RemoteId,
        id: &'a RemoteId,
        version: Option<&'a Version>,
    ) -> Fut<'a, ()> {
        Box::pin(self.remove(calendar, id, version))
    }

    fn watch<'a>(&'a self, calendar: &'a RemoteId, watch: &'a Watch) -> Fut<'a, Channel> {
        Box::pin(self.subscribe(calendar, watch))
    }

    fn renew<'a>(&'a self, channel: &'a Channel) -> Fut<'a, Option<Channel>> {
        Box::pin(self.resubscribe(channel))
    }

    fn unwatch<'a>(&'a self, channel: &'a Channel) -> Fut<'a, ()> {
        Box::pin(self.unsubscribe(channel))
    }
}

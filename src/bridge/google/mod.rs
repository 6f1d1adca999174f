//! Google Calendar (API v3) as a far side.
//!
//! Owns: which calendars there are, notification channels, which of its parts does what. Does not own: who wins, when to
//! call again (`bridge`), tokens (`Bearer`).
//!
//! One object is an event, or a series with its exceptions. Nothing that is written makes Google send mail.

mod batch;
mod event;
mod fit;
mod list;
mod series;
mod store;
#[cfg(test)]
mod tests;
mod wire;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use http::Method;
use serde::Deserialize;
use serde_json::json;
use url::Url;

use self::wire::{Ask, Wire, odd};
use super::provider::{
    Abilities, Answers, Bearer, Channel, Cursor, Fit, Fut, Pages, Provider, RemoteCalendar, RemoteId, Seen,
    Trouble, Version, Watch, Window, Write, Written,
};
use crate::http::fetch::Fetch;
use crate::ical::Ical;
use crate::ical::zone::{Zone, by_tzid};

/// How long a channel is asked to live, in seconds: a week, the longest that Google is known to grant.
const CHANNEL: &str = "604800";
/// How many calls to one account may be under way at a time.
pub(super) const AT_ONCE: usize = 4;

/// A Google account.
pub struct Google {
    wire: Wire,
    /// The zones of calendars, as listings told them.
    zones: Mutex<HashMap<RemoteId, Zone>>,
}

impl fmt::Debug for Google {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Google")
    }
}

/// One page of calendars.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Calendars {
    #[serde(default)]
    items: Vec<Entry>,
    next_page_token: Option<String>,
}

/// A calendar in the account's list.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    id: String,
    summary: Option<String>,
    summary_override: Option<String>,
    access_role: Option<String>,
    background_color: Option<String>,
    time_zone: Option<String>,
    #[serde(default)]
    primary: bool,
    #[serde(default)]
    deleted: bool,
}

/// What is told of a calendar beside its events.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Told {
    time_zone: Option<String>,
}

/// A channel as Google gives it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Opened {
    id: String,
    resource_id: String,
    /// Milliseconds since 1970, as text.
    expiration: String,
}

impl Google {
    /// Returns an account that is called with these tokens. `api` is the root of the API.
    pub fn new(fetch: Fetch, api: Url, bearer: Arc<dyn Bearer>) -> Google {
        Google { wire: Wire::new(fetch, api, bearer), zones: Mutex::default() }
    }

    fn remember_zone(&self, calendar: &RemoteId, name: &str) {
        if let Some(zone) = by_tzid(name) {
            self.zones.lock().unwrap_or_else(PoisonError::into_inner).insert(calendar.clone(), zone);
        }
    }

    /// Returns the calendar's zone.
    async fn zone(&self, calendar: &RemoteId) -> Result<Zone, Trouble> {
        let known = self.zones.lock().unwrap_or_else(PoisonError::into_inner).get(calendar).cloned();
        match known {
            Some(zone) => Ok(zone),
            None => self.learn_zone(calendar).await,
        }
    }

    /// Asks for the calendar itself; an error if there is no such calendar.
    async fn learn_zone(&self, calendar: &RemoteId) -> Result<Zone, Trouble> {
        let query = [("maxResults", "1"), ("fields", "timeZone")];
        let told: Told = self.wire.one(&Ask::events(Method::GET, calendar, &[], &query)).await?.json()?;
        let name = told.time_zone.unwrap_or_else(|| "UTC".into());
        self.remember_zone(calendar, &name);
        Ok(by_tzid(&name).unwrap_or(Zone::Utc))
    }

    async fn list_calendars(&self) -> Result<Vec<RemoteCalendar>, Trouble> {
        let mut all = Vec::new();
        let mut page: Option<String> = None;
        loop {
            let mut query = vec![("maxResults", "250")];
            query.extend(page.as_deref().map(|page| ("pageToken", page)));
            let ask = Ask::new(Method::GET, &["users", "me", "calendarList"], &query);
            let Calendars { items, next_page_token } = self.wire.one(&ask).await?.json()?;
            for entry in items.into_iter().filter(|entry| !entry.deleted) {
                if let Some(zone) = &entry.time_zone {
                    self.remember_zone(&RemoteId(entry.id.clone()), zone);
                }
                all.push(remote_calendar(entry));
            }
            match next_page_token {
                Some(next) if page.as_ref() == Some(&next) => {
                    return Err(odd("its pages go round in circles"));
                }
                Some(next) => page = Some(next),
                None => return Ok(all),
            }
        }
    }
}

fn remote_calendar(entry: Entry) -> RemoteCalendar {
    let named = |name: Option<String>| name.filter(|name| !name.trim().is_empty());
    // The third sees private events of others as busy, and may write all the same.
    let role = entry.access_role.as_deref();
    let writable = matches!(role, Some("owner" | "writer" | "writerWithoutPrivateAccess"));
    RemoteCalendar {
        name: named(entry.summary_override).or(named(entry.summary)).unwrap_or_else(|| entry.id.clone()),
        id: RemoteId(entry.id),
        color: entry.background_color,
        primary: entry.primary,
        writable,
        components: vec!["VEVENT".into()],
    }
}

impl Provider for Google {
    fn abilities(&self) -> Abilities {
        Abilities { writes: true, pushes: true, batch: batch::MOST, parallel: AT_ONCE, in_steps: true }
    }

    fn calendars(&self) -> Fut<'_, Vec<RemoteCalendar>> {
        Box::pin(self.list_calendars())
    }

    fn changes<'a>(&'a self, calendar: &'a RemoteId, since: Option<&'a Cursor>, window: Window) -> Pages<'a> {
        list::changes(self, calendar, since, window)
    }

    fn read<'a>(&'a self, calendar: &'a RemoteId, ids: &'a [RemoteId]) -> Fut<'a, Vec<Seen>> {
        Box::pin(self.objects(calendar, ids))
    }

    fn place(&self, calendar: &RemoteId, uid: &str) -> Option<RemoteId> {
        Some(RemoteId(series::derived(calendar, uid)))
    }

    fn fit(&self, ical: &Ical, window: Window) -> Fit {
        fit::fit(ical, window)
    }

    fn put<'a>(&'a self, calendar: &'a RemoteId, write: &'a Write) -> Fut<'a, Written> {
        Box::pin(async move {
            let mut answers = self.store(calendar, std::slice::from_ref(write)).await;
            answers.pop().unwrap_or_else(|| Err(odd("there is none")))
        })
    }

    fn put_all<'a>(&'a self, calendar: &'a RemoteId, writes: &'a [Write]) -> Answers<'a> {
        Box::pin(self.store(calendar, writes))
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
        Box::pin(async move {
            let body = json!({
                "id": watch.id,
                "type": "web_hook",
                "address": watch.address.as_str(),
                "token": watch.token.reveal(),
                "params": { "ttl": CHANNEL },
            });
            let told =
                self.wire.one(&Ask::events(Method::POST, calendar, &["watch"], &[]).with(body)).await?;
            let (reason, _) = told.reason();
            if reason.starts_with("pushNotSupported") {
                return Err(Trouble::Refused("Google sends no notifications for this calendar.".into()));
            }
            if reason.starts_with("push.") {
                return Err(Trouble::Refused(
                    "Google does not accept the address for notifications: it must be https with a valid \
                     certificate, and reachable from the Internet."
                        .into(),
                ));
            }
            let opened: Opened = told.json()?;
            let ends = opened.expiration.parse::<i64>().map_err(|_| odd("a channel has no end"))?;
            if opened.id != watch.id {
                return Err(odd("a channel has another name"));
            }
            Ok(Channel { id: opened.id, resource: opened.resource_id, expires: ends / 1000 })
        })
    }

    fn unwatch<'a>(&'a self, channel: &'a Channel) -> Fut<'a, ()> {
        Box::pin(async move {
            let body = json!({ "id": channel.id, "resourceId": channel.resource });
            let told = self.wire.one(&Ask::new(Method::POST, &["channels", "stop"], &[]).with(body)).await?;
            match told.status {
                404 | 410 => Ok(()),
                _ if told.is_done() => Ok(()),
                _ => Err(told.trouble()),
            }
        })
    }
}

//! Notifications of changes (`/subscriptions`).
//!
//! A subscription lives less than seven days. This side has no clock: the end is counted from the service's own.

use serde::Deserialize;
use serde_json::{Value, json};

use super::event::read::civil;
use super::event::write::utc;
use super::wire::{Request, encoded, unreadable};
use super::{List, Outlook, calendar_path};
use crate::bridge::provider::{Channel, RemoteId, Trouble, Watch};

/// How long a subscription is asked to live: a little less than the seven days that are the most.
const LIFE: i64 = 7 * 86_400 - 3600;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Subscription {
    id: String,
    resource: Option<String>,
    notification_url: Option<String>,
    expiration_date_time: Option<String>,
}

impl Subscription {
    fn channel(self) -> Result<Channel, Trouble> {
        let expires = self.expiration_date_time.as_deref().and_then(civil);
        let expires = expires.ok_or_else(|| unreadable("a subscription without an end"))?.0;
        // A notification names the event, not what is watched.
        Ok(Channel { id: self.id, resource: String::new(), expires })
    }
}

/// What differs from one subscription to the next stands in the query.
fn place(url: &str) -> &str {
    url.split('?').next().unwrap_or(url)
}

impl Outlook {
    pub(super) async fn subscribe(&self, calendar: &RemoteId, watch: &Watch) -> Result<Channel, Trouble> {
        let resource = format!("{}/events", calendar_path(calendar));
        let (there, now) = self.subscriptions().await?;
        let body = json!({
            "changeType": "created,updated,deleted",
            "notificationUrl": watch.address.as_str(),
            "lifecycleNotificationUrl": watch.address.as_str(),
            "resource": resource,
            "expirationDateTime": utc(now + LIFE),
            "clientState": watch.token.reveal(),
        });
        let request = Request::post("/subscriptions", body);
        let reply = match self.wire.call(&request).await {
            // There is one for the same already, whose secret nobody here knows any more.
            Err(Trouble::Taken(_)) => {
                let same = |s: &Subscription| {
                    let told = s.resource.as_deref().unwrap_or_default().trim_start_matches('/');
                    told.eq_ignore_ascii_case(resource.trim_start_matches('/'))
                        && s.notification_url
                            .as_deref()
                            .is_some_and(|url| place(url) == place(watch.address.as_str()))
                };
                for old in there.iter().filter(|s| same(s)) {
                    self.cancel(&old.id).await?;
                }
                self.wire.call(&request).await.map_err(|trouble| match trouble {
                    Trouble::Taken(_) => Trouble::Refused(
                        "Outlook already sends notifications of this calendar to somebody else with this sign-in."
                            .into(),
                    ),
                    other => other,
                })?
            }
            other => other?,
        };
        reply.read::<Subscription>()?.channel()
    }

    pub(super) async fn resubscribe(&self, channel: &Channel) -> Result<Option<Channel>, Trouble> {
        let path = format!("/subscriptions/{}", encoded(&channel.id));
        let reply = match self.wire.call(&Request::get(&path)).await {
            Err(Trouble::Missing(_)) => return Ok(None),
            other => other?,
        };
        let now = reply.date.ok_or_else(|| unreadable("an answer without a date"))?;
        let body = json!({"expirationDateTime": utc(now + LIFE)});
        match self.wire.call(&Request::patch(path, body, None)).await {
            Err(Trouble::Missing(_)) => Ok(None),
            other => other?.read::<Subscription>()?.channel().map(Some),
        }
    }

    pub(super) async fn unsubscribe(&self, channel: &Channel) -> Result<(), Trouble> {
        self.cancel(&channel.id).await
    }

    async fn cancel(&self, id: &str) -> Result<(), Trouble> {
        match self.wire.call(&Request::delete(format!("/subscriptions/{}", encoded(id)), None)).await {
            Ok(_) | Err(Trouble::Missing(_)) => Ok(()),
            Err(trouble) => Err(trouble),
        }
    }

    /// Returns the subscriptions that there are, and the service's clock.
    async fn subscriptions(&self) -> Result<(Vec<Subscription>, i64), Trouble> {
        let mut all = Vec::new();
        let mut link = "/subscriptions".to_owned();
        for _ in 0..super::PAGES {
            let reply = self.wire.call(&Request::get(link)).await?;
            let now = reply.date.ok_or_else(|| unreadable("an answer without a date"))?;
            let list: List = reply.read()?;
            let read = |value: Value| serde_json::from_value(value).map_err(|_| unreadable("a subscription"));
            for value in list.value {
                all.push(read(value)?);
            }
            match list.next {
                Some(next) => link = next,
                None => return Ok((all, now)),
            }
        }
        Err(unreadable("a list without an end"))
    }
}

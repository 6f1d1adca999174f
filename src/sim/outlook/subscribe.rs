//! Subscriptions and what they are told.
//!
//! Owns: `/subscriptions`, the handshake, notifications, lifecycle events. Does not own: how letters travel (`post`).

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Map, Value, json};
use url::Url;

use super::fail::{Fail, uuid};
use super::ids::{Form, Id};
use super::mailbox::{DEFAULT, Mailbox, Told, etag};
use super::signin::TENANT;
use super::view::{Owner, set};
use super::{schema, times};
use crate::sim::{Notice, Request, Scene};

/// Minutes that a subscription may live.
const LONGEST: i64 = 10_080;
/// Minutes that it lives at least.
const SHORTEST: i64 = 45;
/// Seconds within which the receiver has to answer the handshake.
const PATIENCE: Duration = Duration::from_secs(10);

/// A subscription.
#[derive(Debug, Clone)]
pub(super) struct Subscription {
    /// The calendar; nothing: all of them.
    calendar: Option<u64>,
    /// The resource as it was asked for.
    resource: String,
    changes: Vec<String>,
    change_type: String,
    url: Url,
    lifecycle: Option<Url>,
    state: Option<String>,
    /// In milliseconds since 1970.
    expires: i64,
    form: Form,
}

/// All subscriptions of a mailbox, by id.
#[derive(Debug, Default)]
pub(super) struct Subscriptions(BTreeMap<String, Subscription>);

/// Reads what a POST asks for.
pub(super) fn read(request: &Request, mailbox: &Mailbox, form: Form, now: i64) -> Result<Subscription, Fail> {
    let body = object(request)?;
    let writable = [
        "changeType",
        "notificationUrl",
        "lifecycleNotificationUrl",
        "resource",
        "expirationDateTime",
        "clientState",
        "latestSupportedTlsVersion",
    ];
    if let Some(key) = body.keys().find(|key| !key.contains('@') && !writable.contains(&key.as_str())) {
        return Err(bad(format!("The property '{key}' cannot be set.")));
    }
    let text = |field: &str| body.get(field).and_then(Value::as_str).filter(|text| !text.is_empty());
    let needed = |field: &str| text(field).ok_or_else(|| bad(format!("{field} is required.")));
    let change_type = needed("changeType")?;
    let changes: Vec<String> = change_type.split(',').map(|word| word.trim().to_owned()).collect();
    if changes.iter().any(|word| schema::word("changeType", word) != Some(word.as_str())) {
        return Err(bad(format!("changeType '{change_type}' is not valid.")));
    }
    let url = address(needed("notificationUrl")?)?;
    let lifecycle = text("lifecycleNotificationUrl").map(address).transpose()?;
    let resource = needed("resource")?;
    let calendar = place(resource, mailbox)?;
    let state = text("clientState").map(str::to_owned);
    if state.as_ref().is_some_and(|state| state.chars().count() > 128) {
        return Err(bad("clientState has more than 128 characters."));
    }
    let expires = expiry(needed("expirationDateTime")?, now)?;
    Ok(Subscription {
        calendar,
        resource: resource.to_owned(),
        changes,
        change_type: change_type.to_owned(),
        url,
        lifecycle,
        state,
        expires,
        form,
    })
}

fn object(request: &Request) -> Result<Map<String, Value>, Fail> {
    let body = request.json().ok_or_else(|| Fail::body("The body cannot be read as JSON."))?;
    schema::check("subscription", &body).map_err(Fail::body)?;
    Ok(body.as_object().cloned().unwrap_or_default())
}

fn bad(what: impl Into<String>) -> Fail {
    Fail::new(400, "InvalidRequest", what)
}

/// Notifications go over TLS; on the machine itself the simulator lets that go.
fn address(text: &str) -> Result<Url, Fail> {
    let url = Url::parse(text).map_err(|_| bad(format!("'{text}' is not an address.")))?;
    let near = matches!(url.host_str(), Some("127.0.0.1" | "localhost" | "[::1]"));
    if url.scheme() == "https" || (url.scheme() == "http" && near) {
        Ok(url)
    } else {
        Err(bad("Notification address must use https."))
    }
}

/// Returns which calendar a resource means; nothing: every event of the mailbox.
fn place(resource: &str, mailbox: &Mailbox) -> Result<Option<u64>, Fail> {
    let decoded = crate::sim::decode(resource.trim_start_matches('/'));
    let parts: Vec<&str> = decoded.split('/').collect();
    let rest = match parts.as_slice() {
        ["me", rest @ ..] | ["users" | "Users", _, rest @ ..] => rest,
        _ => return Err(bad(format!("The resource '{resource}' is not supported."))),
    };
    match rest {
        ["events"] => Ok(None),
        ["calendar", "events"] => Ok(Some(DEFAULT)),
        ["calendars", id, "events"] => match Id::read(id) {
            Some(Id::Calendar(key)) if mailbox.calendars.contains_key(&key) => Ok(Some(key)),
            _ => Err(Fail::missing()),
        },
        _ => Err(bad(format!("The resource '{resource}' is not supported."))),
    }
}

fn expiry(text: &str, now: i64) -> Result<i64, Fail> {
    let wanted = times::instant(text).unwrap_or(0) * 1000;
    if wanted <= now {
        return Err(bad("Subscription expiration has to be in the future."));
    }
    if wanted > now + LONGEST * 60_000 {
        return Err(bad(format!("Subscription expiration can only be {LONGEST} minutes in the future.")));
    }
    Ok(wanted.max(now + SHORTEST * 60_000))
}

impl Subscription {
    fn shown(&self, id: &str) -> Value {
        json!({
            "id": id, "resource": self.resource, "applicationId": APP, "changeType": self.change_type,
            "clientState": self.state, "notificationUrl": self.url.as_str(), "notificationQueryOptions": null,
            "lifecycleNotificationUrl": self.lifecycle.as_ref().map(Url::as_str), "creatorId": APP,
            "expirationDateTime": times::moment(self.expires), "includeResourceData": null,
            "latestSupportedTlsVersion": "v1_2", "encryptionCertificate": null, "encryptionCertificateId": null,
            "notificationUrlAppId": null,
        })
    }

    /// Asks every address whether it wants to be told: each has to answer with the token that it is sent.
    pub(super) async fn handshake(&self, scene: &Scene) -> Result<(), Fail> {
        for url in std::iter::once(&self.url).chain(&self.lifecycle) {
            // Signs that mean something in an address show whether the receiver decodes.
            let token = format!("Validation: +{}&%", uuid(scene.dice.any(), scene.dice.any()));
            let mut url = url.clone();
            let query = url.query().map(|query| format!("{query}&")).unwrap_or_default();
            url.set_query(Some(&format!(
                "{query}validationToken={}",
                utf8_percent_encode(&token, NON_ALPHANUMERIC)
            )));
            let mut headers = HeaderMap::new();
            headers.insert("content-type", HeaderValue::from_static("text/plain; charset=utf-8"));
            let asked = scene.post.ask(Notice { url, headers, body: Bytes::new() });
            let good = match tokio::time::timeout(PATIENCE, asked).await {
                Ok(Ok(answer)) => {
                    answer.status == 200
                        && answer.header("content-type").is_some_and(|kind| kind.starts_with("text/plain"))
                        && answer.body == token.as_bytes()
                }
                _ => false,
            };
            if !good {
                return Err(Fail::new(
                    400,
                    "ValidationError",
                    "Subscription validation request failed. Notification endpoint must respond with 200 OK to \
                     validation request.",
                ));
            }
        }
        Ok(())
    }
}

/// The application that all clients are, for subscriptions.
const APP: &str = "4b1d8f8e-0000-4000-8000-0000000000a9";

impl Subscriptions {
    fn live(&mut self, now: i64) -> &mut BTreeMap<String, Subscription> {
        self.0.retain(|_, own| own.expires > now);
        &mut self.0
    }

    /// Refuses a second subscription to the same.
    pub(super) fn free(&mut self, wanted: &Subscription, now: i64) -> Result<(), Fail> {
        let same = |own: &Subscription| {
            own.resource.trim_start_matches('/') == wanted.resource.trim_start_matches('/')
                && own.change_type == wanted.change_type
        };
        if self.live(now).values().any(same) {
            let message = "A subscription already exists for this resource and change types.";
            return Err(Fail::new(409, "ExtensionError", message));
        }
        Ok(())
    }

    /// Adds a subscription whose receiver has agreed.
    pub(super) fn add(&mut self, wanted: Subscription, scene: &Scene) -> Value {
        let id = uuid(scene.dice.any(), scene.dice.any());
        let shown = wanted.shown(&id);
        self.0.insert(id, wanted);
        shown
    }

    /// Answers what is asked of subscriptions that are there.
    pub(super) fn answer(
        &mut self,
        request: &Request,
        id: Option<&str>,
        more: Option<&str>,
        now: i64,
    ) -> Result<(u16, Value), Fail> {
        let live = self.live(now);
        let Some(id) = id else {
            if request.method != Method::GET {
                return Err(Fail::method());
            }
            let all: Vec<Value> = live.iter().map(|(id, own)| own.shown(id)).collect();
            let context = format!("{}/v1.0/$metadata#subscriptions", request.origin());
            return Ok((200, json!({ "@odata.context": context, "value": all })));
        };
        let gone = || Fail::new(404, "ResourceNotFound", "The object was not found.");
        let own = live.get_mut(id).ok_or_else(gone)?;
        match (&request.method, more) {
            (&Method::GET, None) => Ok((200, own.shown(id))),
            (&Method::PATCH, None) => {
                let body = object(request)?;
                let other = body.keys().find(|key| !key.contains('@') && *key != "expirationDateTime");
                if let Some(key) = other {
                    return Err(bad(format!("The property '{key}' cannot be changed.")));
                }
                let text = body.get("expirationDateTime").and_then(Value::as_str);
                own.expires = expiry(text.ok_or_else(|| bad("expirationDateTime is required."))?, now)?;
                Ok((200, own.shown(id)))
            }
            (&Method::POST, Some("reauthorize")) => Ok((204, Value::Null)),
            (&Method::DELETE, None) => {
                live.remove(id);
                Ok((204, Value::Null))
            }
            _ => Err(Fail::method()),
        }
    }

    /// Tells whoever wants to know of changes.
    pub(super) fn tell(&mut self, told: &[Told], owner: &Owner, scene: &Scene) {
        let now = scene.clock.millis();
        for (id, own) in self.live(now).iter() {
            for change in told {
                let meant = own.calendar.is_none_or(|calendar| calendar == change.calendar);
                if !meant || !own.changes.iter().any(|word| word == change.what) {
                    continue;
                }
                let event = change.id.written(own.form);
                let resource = format!("Users/{}/Events/{event}", owner.id);
                let mut item = own.item(id, scene);
                set(&mut item, "changeType", json!(change.what));
                set(&mut item, "resource", json!(resource));
                set(
                    &mut item,
                    "resourceData",
                    json!({
                        "@odata.type": "#Microsoft.Graph.Event", "@odata.id": resource, "@odata.etag": etag(change.seq), "id": event,
                    }),
                );
                scene.post.send(notice(own.url.clone(), &item));
            }
        }
    }

    /// Sends a lifecycle event to one subscription, or to all; one that is said to be removed is.
    pub(super) fn lifecycle(
        &mut self,
        event: &str,
        only: Option<&str>,
        scene: &Scene,
    ) -> Result<usize, String> {
        let Some(event) = schema::word("lifecycleEventType", event) else {
            return Err(format!("there is no lifecycle event `{event}`"));
        };
        let meant: Vec<String> = self
            .live(scene.clock.millis())
            .keys()
            .filter(|id| only.is_none_or(|only| only == id.as_str()))
            .cloned()
            .collect();
        let mut count = 0;
        for id in meant {
            let Some(own) = self.0.get(&id) else { continue };
            if let Some(url) = &own.lifecycle {
                let mut item = own.item(&id, scene);
                set(&mut item, "lifecycleEvent", json!(event));
                scene.post.send(notice(url.clone(), &item));
                count += 1;
            }
            if event == "subscriptionRemoved" {
                self.0.remove(&id);
            }
        }
        Ok(count)
    }

    /// Returns how many there are.
    pub(super) fn count(&mut self, now: i64) -> usize {
        self.live(now).len()
    }
}

impl Subscription {
    fn item(&self, id: &str, scene: &Scene) -> Value {
        json!({
            "id": uuid(scene.dice.any(), scene.dice.any()), "subscriptionId": id, "clientState": self.state,
            "subscriptionExpirationDateTime": times::moment(self.expires), "tenantId": TENANT,
        })
    }
}

fn notice(url: Url, item: &Value) -> Notice {
    let mut headers = HeaderMap::new();
    headers.insert("content-type", HeaderValue::from_static("application/json; charset=utf-8"));
    Notice { url, headers, body: json!({ "value": [item] }).to_string().into() }
}

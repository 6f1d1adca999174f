//! Push channels: who is told when a calendar changes.
//!
//! Owns: making and ending channels, what a notification says. Does not own: how it travels (`sim::Post`).

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, json};
use url::{Host, Url};

use super::refusal::{Outcome, Refusal};
use super::state::{Fields, State};
use crate::sim::Notice;

/// Milliseconds that a channel lives at most, and when nothing is asked for.
const LIFE: i64 = 604_800_000;

/// A channel.
#[derive(Debug, Clone)]
pub(super) struct Channel {
    calendar: String,
    address: Url,
    token: Option<String>,
    resource: String,
    uri: String,
    /// Milliseconds since 1970.
    expires: i64,
    messages: u64,
    stopped: bool,
}

impl State {
    /// Opens a channel.
    pub(super) fn watch(&mut self, calendar: &str, body: &Fields, origin: &str, now: i64) -> Outcome<Value> {
        let text = |name: &str| body.get(name).and_then(Value::as_str);
        let told = self.calendar(calendar)?;
        if told.silent {
            let message = "Push notifications are not supported by this resource.";
            return Err(Refusal::new(400, "pushNotSupportedForRequestedResource", message));
        }
        let id = text("id").ok_or_else(|| Refusal::required("Missing channel id."))?;
        let allowed = |letter: char| letter.is_ascii_alphanumeric() || "-_+/=".contains(letter);
        if id.is_empty() || id.len() > 64 || !id.chars().all(allowed) {
            return Err(Refusal::invalid("id", "Channel id is not valid."));
        }
        if text("type").is_none() {
            return Err(Refusal::required("Missing channel type."));
        }
        if text("token").is_some_and(|token| token.len() > 256) {
            return Err(Refusal::invalid("token", "Channel token is too long."));
        }
        let address = text("address").and_then(|address| Url::parse(address).ok());
        let address = address.ok_or_else(|| Refusal::invalid("address", "Invalid channel address."))?;
        // The real service takes HTTPS only; beside it, a simulator may speak to its own machine.
        let near = match address.host() {
            Some(Host::Ipv4(ip)) => ip.is_loopback(),
            Some(Host::Ipv6(ip)) => ip.is_loopback(),
            Some(Host::Domain(name)) => name == "localhost",
            None => false,
        };
        if address.scheme() != "https" && !near {
            let message = "WebHook callback must be HTTPS";
            return Err(Refusal::new(400, "push.webhookUrlNotHttps", message));
        }
        if self.channels.contains_key(id) {
            return Err(Refusal::new(400, "channelIdNotUnique", format!("Channel id {id} not unique")));
        }
        let asked = text("expiration").and_then(|text| text.parse::<i64>().ok());
        let ttl = body.get("params").and_then(|params| params.get("ttl")?.as_str()?.parse::<i64>().ok());
        let wanted = asked.unwrap_or(i64::MAX).min(ttl.map_or(i64::MAX, |ttl| now + ttl * 1000));
        if wanted <= now {
            return Err(Refusal::invalid("expiration", "Channel expiration lies in the past."));
        }
        let calendar = self.calendar_id(calendar);
        let name = percent_encoding::utf8_percent_encode(&calendar, percent_encoding::NON_ALPHANUMERIC);
        let uri = format!("{origin}/calendar/v3/calendars/{name}/events?alt=json");
        let digest = <sha2::Sha256 as sha2::Digest>::digest(calendar.as_bytes());
        let resource: String = digest.iter().take(14).map(|byte| format!("{byte:02x}")).collect();
        let channel = Channel {
            calendar,
            address,
            token: text("token").map(str::to_owned),
            resource,
            uri,
            expires: wanted.min(now + LIFE),
            messages: 1,
            stopped: false,
        };
        let mut answer = json!({ "kind": "api#channel", "id": id, "resourceId": channel.resource, "resourceUri": channel.uri,
            "expiration": channel.expires.to_string() });
        if let (Some(token), Some(answer)) = (&channel.token, answer.as_object_mut()) {
            answer.insert("token".into(), json!(token));
        }
        self.notices.push(notice(id, &channel, "sync"));
        self.channels.insert(id.to_owned(), channel);
        Ok(answer)
    }

    /// Ends a channel.
    pub(super) fn stop(&mut self, body: &Fields, now: i64) -> Outcome<()> {
        let text = |name: &str| body.get(name).and_then(Value::as_str).unwrap_or_default();
        let (id, resource) = (text("id"), text("resourceId"));
        let channel = self
            .channels
            .get_mut(id)
            .filter(|channel| channel.resource == resource && !channel.stopped && now < channel.expires);
        match channel {
            Some(channel) => {
                // Its id stays taken.
                channel.stopped = true;
                Ok(())
            }
            None => Err(Refusal::new(
                404,
                "notFound",
                format!("Channel '{id}' not found for project 'simulator'"),
            )),
        }
    }

    /// Tells the channels of a calendar that it changed.
    pub(super) fn tell(&mut self, calendar: &str, now: i64) {
        let live = self
            .channels
            .iter_mut()
            .filter(|(_, channel)| channel.calendar == calendar && !channel.stopped && now < channel.expires);
        for (id, channel) in live {
            // Numbers grow, with gaps.
            channel.messages += 1 + channel.messages % 3;
            self.notices.push(notice(id, channel, "exists"));
        }
    }

    /// Forgets channels that are over.
    pub(super) fn forget_channels(&mut self, now: i64) {
        self.channels.retain(|_, channel| !channel.stopped && now < channel.expires);
    }

    /// Returns how many channels are open.
    pub(super) fn open_channels(&self, now: i64) -> usize {
        self.channels.values().filter(|channel| !channel.stopped && now < channel.expires).count()
    }
}

fn notice(id: &str, channel: &Channel, state: &str) -> Notice {
    let expires = u64::try_from(channel.expires.max(0) / 1000).unwrap_or(0);
    let expires = std::time::UNIX_EPOCH + std::time::Duration::from_secs(expires);
    let expires = httpdate::fmt_http_date(expires);
    let number = channel.messages.to_string();
    let mut headers = HeaderMap::new();
    let told = [
        ("x-goog-channel-id", id),
        ("x-goog-channel-expiration", &expires),
        ("x-goog-resource-id", &channel.resource),
        ("x-goog-resource-uri", &channel.uri),
        ("x-goog-resource-state", state),
        ("x-goog-message-number", &number),
    ];
    let token = channel.token.as_deref().map(|token| ("x-goog-channel-token", token));
    for (name, value) in told.into_iter().chain(token) {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    Notice { url: channel.address.clone(), headers, body: Bytes::new() }
}

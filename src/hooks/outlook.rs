//! Microsoft Graph's notifications: a handshake while a subscription is made, then lists of items that may belong to
//! several subscriptions.
//!
//! Anybody can have Microsoft send both to any address. Ours carries a word (`key`) that only we and Microsoft know: without
//! it nothing is answered and no body is read.

use std::collections::HashSet;

use http::StatusCode;
use serde::Deserialize;

use super::{Answered, Hooks, body, text};
use crate::bridge::record::Kind;
use crate::bridge::{Heard, Notification, Word};
use crate::http::Request;

/// The longest list that is read.
const LONGEST: u64 = 256 << 10;
/// How many different words of one list are looked at. An address is one subscription's, so that there are few.
const WORDS: usize = 50;
/// The longest token of a handshake.
const TOKEN: usize = 2048;

#[derive(Deserialize)]
struct List {
    value: Vec<Item>,
}

#[derive(Deserialize, PartialEq, Eq, Hash)]
#[serde(rename_all = "camelCase")]
struct Item {
    subscription_id: String,
    #[serde(default)]
    client_state: Option<String>,
    #[serde(default)]
    lifecycle_event: Option<String>,
}

pub(super) async fn answer(hooks: &Hooks, mut request: Request) -> Answered {
    let query = request.query.clone().unwrap_or_default();
    let parameter = |name: &str| {
        let mut pairs = url::form_urlencoded::parse(query.as_bytes());
        pairs.find(|(n, _)| n == name).map(|(_, value)| value.into_owned())
    };
    let door = parameter("key").filter(|door| hooks.bridge.awaits(door));
    let Some(door) = door else { return Ok(hooks.judged("", request.peer, Heard::Unknown)) };
    if let Some(token) = parameter("validationToken") {
        // The far side waits for its token, as plain text, within ten seconds, while it answers our call.
        if token.is_empty() || token.len() > TOKEN || token.chars().any(char::is_control) {
            return Ok(text(StatusCode::BAD_REQUEST, "This is no validation token.\n"));
        }
        return Ok(text(StatusCode::OK, token));
    }
    if let Some(refusal) = hooks.refuses(&door, request.peer) {
        return Ok(refusal);
    }
    let peer = request.peer;
    let bytes = match body(&mut request, LONGEST).await {
        Ok(bytes) => bytes,
        Err(reply) => return Ok(reply),
    };
    let Ok(list) = serde_json::from_slice::<List>(&bytes) else {
        hooks.failed(&door, peer);
        return Ok(text(StatusCode::BAD_REQUEST, "This is no list of notifications.\n"));
    };
    // Each is believed or not on its own; one that is makes the far side content with all.
    let (mut best, mut seen) = (Heard::Unknown, HashSet::new());
    for item in &list.value {
        if seen.len() < WORDS && seen.insert(item) {
            best = match (best, hooks.bridge.notified(item.told())) {
                (_, Heard::Noted) | (Heard::Noted, _) => Heard::Noted,
                (_, Heard::Wrong) | (Heard::Wrong, _) => Heard::Wrong,
                (Heard::Unknown, Heard::Unknown) => Heard::Unknown,
            };
        }
    }
    Ok(hooks.judged(&door, peer, best))
}

impl Item {
    fn told(&self) -> Notification<'_> {
        Notification {
            kind: Kind::Outlook,
            channel: &self.subscription_id,
            token: self.client_state.as_deref().unwrap_or_default(),
            resource: None,
            word: match self.lifecycle_event.as_deref() {
                None | Some("missed") => Word::Changed,
                Some("reauthorizationRequired") => Word::Renew,
                Some("subscriptionRemoved") => Word::Gone,
                // One that comes with a later version of Graph: a look does no harm.
                Some(_) => Word::Changed,
            },
        }
    }
}

//! Microsoft Graph's notifications: a handshake while a subscription is made, then lists of items that may belong to
//! several subscriptions.

use http::StatusCode;
use serde::Deserialize;

use super::{Answered, body, failed, said, text};
use crate::bridge::record::Kind;
use crate::bridge::{Bridge, Heard, Notification, Word};
use crate::http::Request;

/// The longest list that is read.
const LONGEST: u64 = 256 << 10;
/// How many items of one list are looked at.
const ITEMS: usize = 1000;
/// The longest token of a handshake.
const TOKEN: usize = 2048;

#[derive(Deserialize)]
struct List {
    value: Vec<Item>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Item {
    subscription_id: String,
    #[serde(default)]
    client_state: Option<String>,
    #[serde(default)]
    lifecycle_event: Option<String>,
}

pub(super) async fn answer(bridge: &Bridge, mut request: Request) -> Answered {
    let query = request.query.clone().unwrap_or_default();
    let mut pairs = url::form_urlencoded::parse(query.as_bytes());
    if let Some((_, token)) = pairs.find(|(name, _)| name == "validationToken") {
        // The far side waits for its token, as plain text, within ten seconds, while it answers our call.
        if token.is_empty() || token.len() > TOKEN || token.chars().any(char::is_control) {
            return Ok(text(StatusCode::BAD_REQUEST, "This is no validation token.\n"));
        }
        return Ok(text(StatusCode::OK, token.into_owned()));
    }
    let bytes = match body(&mut request, LONGEST).await {
        Ok(bytes) => bytes,
        Err(reply) => return Ok(reply),
    };
    let Ok(list) = serde_json::from_slice::<List>(&bytes) else {
        return Ok(text(StatusCode::BAD_REQUEST, "This is no list of notifications.\n"));
    };
    let mut best = Heard::Unknown;
    for item in list.value.iter().take(ITEMS) {
        let told = Notification {
            kind: Kind::Outlook,
            channel: &item.subscription_id,
            token: item.client_state.as_deref().unwrap_or_default(),
            resource: None,
            word: match item.lifecycle_event.as_deref() {
                None | Some("missed") => Word::Changed,
                Some("reauthorizationRequired") => Word::Renew,
                Some("subscriptionRemoved") => Word::Gone,
                // One that comes with a later version of Graph: a look does no harm.
                Some(_) => Word::Changed,
            },
        };
        // Each is believed or not on its own; one that is makes the far side content with all.
        best = match (best, bridge.notified(told).await.map_err(failed)?) {
            (_, Heard::Noted) | (Heard::Noted, _) => Heard::Noted,
            (_, Heard::Wrong) | (Heard::Wrong, _) => Heard::Wrong,
            (Heard::Unknown, Heard::Unknown) => Heard::Unknown,
        };
    }
    Ok(said(best))
}

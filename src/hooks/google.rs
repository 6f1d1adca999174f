//! Google's notifications: everything is in the headers, the body is empty and not read.

use http::HeaderMap;

use super::{Answered, failed, nothing, said};
use crate::bridge::record::Kind;
use crate::bridge::{Bridge, Notification, Word};

pub(super) async fn answer(bridge: &Bridge, headers: &HeaderMap) -> Answered {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let (Some(channel), Some(state)) = (header("x-goog-channel-id"), header("x-goog-resource-state")) else {
        return Ok(nothing());
    };
    let told = Notification {
        kind: Kind::Google,
        channel,
        token: header("x-goog-channel-token").unwrap_or_default(),
        // Each notification names what is watched; one that does not is compared with nothing, which is wrong.
        resource: Some(header("x-goog-resource-id").unwrap_or_default()),
        word: if state == "sync" { Word::Opened } else { Word::Changed },
    };
    Ok(said(bridge.notified(told).await.map_err(failed)?))
}

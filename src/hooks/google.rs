//! Google's notifications: everything is in the headers, the body is empty and not read.

use http::HeaderMap;

use crate::bridge::record::Kind;
use crate::bridge::{Bridge, Heard, Notification, Word};

pub(super) fn heard(bridge: &Bridge, headers: &HeaderMap) -> Heard {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let (Some(channel), Some(state)) = (header("x-goog-channel-id"), header("x-goog-resource-state")) else {
        return Heard::Unknown;
    };
    bridge.notified(Notification {
        kind: Kind::Google,
        channel,
        token: header("x-goog-channel-token").unwrap_or_default(),
        // Each notification names what is watched; one that does not is compared with nothing, which is wrong.
        resource: Some(header("x-goog-resource-id").unwrap_or_default()),
        word: if state == "sync" { Word::Opened } else { Word::Changed },
    })
}

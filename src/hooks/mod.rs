//! The door for what far sides and browsers bring back: OAuth redirects and push notifications. Nobody signs in here:
//! what is brought has to be known to us.
//!
//! Owns: the paths `/oauth/…` and `/hooks/…`, how a notification looks on the wire, the pages that a person sees who comes
//! back. Does not own: whether it is believed, what it begins (`bridge`).

mod google;
mod landing;
mod outlook;
mod signed;

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode, header};

use crate::auth::Throttle;
use crate::bridge::{Bridge, BridgeError, Heard};
use crate::calendar::Refusal;
use crate::http::{Reply, Request, reply_bytes};

/// The door.
#[derive(Debug)]
pub struct Hooks {
    bridge: Arc<Bridge>,
    throttle: Throttle,
}

impl Hooks {
    /// Returns the door in front of this bridge.
    pub fn new(bridge: Arc<Bridge>) -> Hooks {
        Hooks { bridge, throttle: Throttle::default() }
    }

    /// Answers a request whose path begins with `/oauth` or `/hooks`.
    pub async fn serve(&self, request: Request) -> Reply {
        let path = request.path.trim_start_matches('/').trim_end_matches('/').to_owned();
        let segments: Vec<&str> = path.split('/').collect();
        let (method, found) = match segments.as_slice() {
            ["oauth", "confirm"] => (Method::POST, Place::Confirm),
            ["oauth", "callback"] => (Method::GET, Place::Landing(None)),
            ["oauth", name @ ("google" | "outlook"), "callback"] => (Method::GET, Place::Landing(Some(name))),
            ["hooks", "google"] => (Method::POST, Place::Google),
            ["hooks", "outlook"] => (Method::POST, Place::Outlook),
            ["hooks", "sync", mapping] => (Method::POST, Place::Signed(mapping)),
            _ => return nothing(),
        };
        // A HEAD of a landing page would use up its state before the browser's GET.
        if request.method != method {
            let mut reply = text(StatusCode::METHOD_NOT_ALLOWED, "Not that method.\n");
            if let Ok(allow) = HeaderValue::from_str(method.as_str()) {
                reply.headers_mut().insert(header::ALLOW, allow);
            }
            return reply;
        }
        let answer = match found {
            Place::Landing(name) => landing::answer(&self.bridge, request, name).await,
            Place::Confirm => landing::confirm(&self.bridge, request).await,
            Place::Google => {
                let heard = google::heard(&self.bridge, &request.headers);
                Ok(self.judged("", request.peer, heard))
            }
            Place::Outlook => outlook::answer(self, request).await,
            Place::Signed(mapping) => signed::answer(self, request, mapping).await,
        };
        answer.unwrap_or_else(|error| {
            // A far side that is told 503 tells again.
            tracing::error!("a hook failed: {error:?}");
            text(StatusCode::SERVICE_UNAVAILABLE, "The server cannot do that just now.\n")
        })
    }

    /// Says whether a word was believed. What was not costs nothing and says nothing; who goes on with it is told to stay
    /// away for a while. A right word is never refused: far sides send from addresses that they share with others.
    fn judged(&self, hook: &str, peer: IpAddr, heard: Heard) -> Reply {
        match heard {
            Heard::Noted => return text(StatusCode::ACCEPTED, ""),
            Heard::Unknown | Heard::Wrong => {}
        }
        if let Some(refusal) = self.refuses(hook, peer) {
            return refusal;
        }
        self.failed(hook, peer);
        if heard == Heard::Wrong { text(StatusCode::FORBIDDEN, "Not accepted.\n") } else { nothing() }
    }

    /// Refuses an address from which too many wrong words came for this hook; an empty name stands for all that do not exist.
    fn refuses(&self, hook: &str, peer: IpAddr) -> Option<Reply> {
        let wait = self.throttle.refuses(hook, peer, self.bridge.now())?;
        let mut reply =
            text(StatusCode::TOO_MANY_REQUESTS, "Too much that is not known here; wait a little.\n");
        reply.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(wait.as_secs().max(1)));
        Some(reply)
    }

    /// Counts a wrong word.
    fn failed(&self, hook: &str, peer: IpAddr) {
        self.throttle.failed(hook, peer, self.bridge.now());
    }
}

enum Place<'a> {
    Landing(Option<&'a str>),
    Confirm,
    Google,
    Outlook,
    Signed(&'a str),
}

type Answered = Result<Reply, BridgeError>;

/// Reads a body that may not be longer than this.
async fn body(request: &mut Request, limit: u64) -> Result<Bytes, Reply> {
    request.bytes(limit).await.map_err(|refusal| match refusal {
        Refusal::TooLarge(_) => text(StatusCode::PAYLOAD_TOO_LARGE, "Too large.\n"),
        _ => text(StatusCode::BAD_REQUEST, "The body cannot be read.\n"),
    })
}

fn nothing() -> Reply {
    text(StatusCode::NOT_FOUND, "There is nothing here.\n")
}

/// Plain words, which no browser takes for anything else.
fn text(status: StatusCode, words: impl Into<Bytes>) -> Reply {
    let mut reply = reply_bytes(status, "text/plain; charset=utf-8", words);
    reply.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    reply.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    reply
}

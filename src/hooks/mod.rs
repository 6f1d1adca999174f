//! The door for what far sides and browsers bring back: OAuth redirects and push notifications. Nobody signs in here:
//! what is brought has to be known to us.
//!
//! Owns: the paths `/oauth/…` and `/hooks/…`, how a notification looks on the wire, the pages that a person sees who comes
//! back. Does not own: whether it is believed, what it begins (`bridge`).

mod google;
mod landing;
mod outlook;
mod signed;

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode, header};

use crate::bridge::{Bridge, BridgeError, Heard};
use crate::calendar::Refusal;
use crate::http::{Reply, Request, reply_bytes};
use crate::store::Fault;

/// The door.
#[derive(Debug)]
pub struct Hooks {
    bridge: Arc<Bridge>,
}

impl Hooks {
    /// Returns the door in front of this bridge.
    pub fn new(bridge: Arc<Bridge>) -> Hooks {
        Hooks { bridge }
    }

    /// Answers a request whose path begins with `/oauth` or `/hooks`.
    pub async fn serve(&self, request: Request) -> Reply {
        let path = request.path.trim_start_matches('/').trim_end_matches('/').to_owned();
        let segments: Vec<&str> = path.split('/').collect();
        let (method, found) = match segments.as_slice() {
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
            Place::Landing(name) => {
                landing::answer(&self.bridge, &request.query.unwrap_or_default(), name).await
            }
            Place::Google => google::answer(&self.bridge, &request.headers).await,
            Place::Outlook => outlook::answer(&self.bridge, request).await,
            Place::Signed(mapping) => signed::answer(&self.bridge, request, mapping).await,
        };
        answer.unwrap_or_else(|error| {
            // A far side that is told 503 tells again.
            tracing::error!("a hook failed: {error:?}");
            text(StatusCode::SERVICE_UNAVAILABLE, "The server cannot do that just now.\n")
        })
    }
}

enum Place<'a> {
    Landing(Option<&'a str>),
    Google,
    Outlook,
    Signed(&'a str),
}

type Answered = Result<Reply, BridgeError>;

/// Says whether a word was believed. What was not costs nothing and says nothing.
fn said(heard: Heard) -> Reply {
    match heard {
        Heard::Unknown => nothing(),
        Heard::Wrong => text(StatusCode::FORBIDDEN, "Not accepted.\n"),
        Heard::Noted => text(StatusCode::ACCEPTED, ""),
    }
}

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

fn failed(fault: Fault) -> BridgeError {
    BridgeError::Failed(fault)
}

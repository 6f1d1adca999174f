//! What the doors share on the wire: a request, a reply, conditions, paths, the outbound client.
//!
//! Owns: `Request`, `Reply`, body limits. Does not own: any protocol's meaning.

mod condition;
pub mod dns;
pub mod fetch;
mod href;
mod meter;
pub mod path;

use std::net::IpAddr;

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use http_body::Body as _;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full};

pub use condition::{
    Conditions, Depth, If, IfCondition, IfList, IfWhat, State, Tag, depth, destination, lock_token, minimal,
    overwrite, timeout,
};
pub use href::{Elsewhere, Href, Position, Site, collection_path, encode, read_sync_token, sync_token};

use crate::calendar::Refusal;

/// Returns a text as it may stand in a page of HTML, between tags and in quotes.
pub fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
        .replace('\'', "&#39;")
}

/// A failure of a body while it is being sent or received.
pub type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// A body, whole or streamed.
pub type Body = UnsyncBoxBody<Bytes, BodyError>;

/// An answer.
pub type Reply = http::Response<Body>;

/// A request whose head has been read and whose body has not.
#[derive(Debug)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// The path as sent, percent-encoded, without a prefix that a proxy added.
    pub path: String,
    /// The query as sent, without `?`.
    pub query: Option<String>,
    /// The headers.
    pub headers: HeaderMap,
    /// The client's address, a trusted proxy's word taken into account.
    pub peer: IpAddr,
    /// The body.
    pub body: Body,
}

impl Request {
    /// Returns a header's text, if it is there once and readable.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// Reads the whole body.
    ///
    /// # Errors
    /// `TooLarge` if it is longer than `limit`, without reading it when its length is announced, so that a client
    /// that waits for `100 Continue` never sends it; `Bad` if it ends early.
    pub async fn bytes(&mut self, limit: u64) -> Result<Bytes, Refusal> {
        let announced = self.header(CONTENT_LENGTH.as_str()).and_then(|text| text.parse::<u64>().ok());
        if announced.is_some_and(|length| length > limit) {
            return Err(Refusal::TooLarge(limit));
        }
        if self.body.is_end_stream() {
            return Ok(Bytes::new());
        }
        let mut first: Option<Bytes> = None;
        let mut rest = BytesMut::new();
        let mut length = 0u64;
        while let Some(frame) = self.body.frame().await {
            let Ok(frame) = frame else {
                return Err(Refusal::Bad("The body of the request ended before it was complete.".into()));
            };
            let Ok(piece) = frame.into_data() else { continue };
            length = length.saturating_add(piece.len() as u64);
            if length > limit {
                return Err(Refusal::TooLarge(limit));
            }
            match first.take() {
                None if rest.is_empty() => first = Some(piece),
                Some(before) => {
                    rest.reserve(usize::try_from(announced.unwrap_or(length)).unwrap_or(0));
                    rest.extend_from_slice(&before);
                    rest.extend_from_slice(&piece);
                }
                None => rest.extend_from_slice(&piece),
            }
        }
        if announced.is_some_and(|announced| announced != length) {
            return Err(Refusal::Bad("The body of the request ended before it was complete.".into()));
        }
        Ok(first.unwrap_or_else(|| rest.freeze()))
    }
}

/// Returns an answer without a body.
pub fn reply_empty(status: StatusCode) -> Reply {
    let mut reply = Reply::new(Empty::new().map_err(|never| match never {}).boxed_unsync());
    *reply.status_mut() = status;
    reply
}

/// Returns an answer with these bytes.
pub fn reply_bytes(status: StatusCode, content_type: &'static str, bytes: impl Into<Bytes>) -> Reply {
    let mut reply = Reply::new(body(bytes.into()));
    *reply.status_mut() = status;
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    reply
}

/// Returns an answer with an XML document.
pub fn reply_xml(status: StatusCode, xml: impl Into<Bytes>) -> Reply {
    reply_bytes(status, "application/xml; charset=utf-8", xml)
}

/// Returns an answer with an XML document whose body is still being made. A failure in it must end in an error of the
/// body, so that the connection breaks and nobody takes the part for the whole.
pub fn reply_stream(status: StatusCode, body: Body) -> Reply {
    let mut reply = Reply::new(body);
    *reply.status_mut() = status;
    let xml = HeaderValue::from_static("application/xml; charset=utf-8");
    reply.headers_mut().insert(CONTENT_TYPE, xml);
    reply
}

/// Returns a body of these bytes.
pub fn body(bytes: Bytes) -> Body {
    Full::new(bytes).map_err(|never| match never {}).boxed_unsync()
}

//! What the doors share on the wire: a request, a reply, conditions, paths, the outbound client.
//!
//! Owns: `Request`, `Reply`, body limits. Does not own: any protocol's meaning.

pub mod fetch;

use std::net::IpAddr;

use bytes::Bytes;
use http::{HeaderMap, Method};
use http_body_util::combinators::UnsyncBoxBody;

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
}

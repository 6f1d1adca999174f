//! A request and an answer of a simulator: whole, in memory.
//!
//! Owns: reading paths, queries and forms; making JSON answers. Does not own: connections (`server`), meaning (`google` …).

use std::borrow::Cow;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use percent_encoding::percent_decode_str;
use serde_json::Value;

/// A request that was read whole.
#[derive(Debug, Clone)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// The path as it was sent, percent-encoded.
    pub path: String,
    /// The query, decoded, in order; a name may come more than once.
    pub query: Vec<(String, String)>,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
    /// It came over TLS.
    pub secure: bool,
    /// The answer is to be what it was before the last change.
    pub stale: bool,
}

impl Request {
    /// Returns a request that never was on the wire: one call of a batch.
    pub fn inner(method: Method, target: &str, headers: HeaderMap, body: Bytes, secure: bool) -> Request {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        Request { method, path: path.to_owned(), query: form(query), headers, body, secure, stale: false }
    }

    /// Returns a header's text, if it is there and readable.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// Returns the first value that the query gives for a name.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Returns the decoded segments of the path, without the empty one in front.
    pub fn segments(&self) -> Vec<String> {
        self.path.trim_start_matches('/').split('/').map(decode).collect()
    }

    /// Returns the token of `Authorization: Bearer`.
    pub fn bearer(&self) -> Option<&str> {
        let (scheme, token) = self.header("authorization")?.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    }

    /// Returns scheme and host as the client called them, without a slash at the end.
    pub fn origin(&self) -> String {
        let scheme = if self.secure { "https" } else { "http" };
        format!("{scheme}://{}", self.header("host").unwrap_or("localhost"))
    }

    /// Reads the body as JSON; nothing if it is none.
    pub fn json(&self) -> Option<Value> {
        serde_json::from_slice(&self.body).ok()
    }

    /// Returns what the body says as an HTML form.
    pub fn form(&self) -> Vec<(String, String)> {
        form(&String::from_utf8_lossy(&self.body))
    }
}

/// Reads `a=b&c=d`.
pub fn form(text: &str) -> Vec<(String, String)> {
    text.split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(&name.replace('+', " ")), decode(&value.replace('+', " ")))
        })
        .collect()
}

/// Undoes percent-encoding.
pub fn decode(text: &str) -> String {
    match percent_decode_str(text).decode_utf8_lossy() {
        Cow::Borrowed(text) => text.to_owned(),
        Cow::Owned(text) => text,
    }
}

/// An answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The headers; a length is added when it is sent.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
    /// How many objects of people the request changed: tests count these.
    pub wrote: u32,
}

impl Answer {
    /// Returns an answer without a body.
    pub fn empty(status: u16) -> Answer {
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Answer { status, headers: HeaderMap::new(), body: Bytes::new(), wrote: 0 }
    }

    /// Returns an answer with JSON.
    pub fn json(status: u16, value: &Value) -> Answer {
        Answer::text(status, "application/json; charset=UTF-8", value.to_string())
    }

    /// Returns an answer with a text of any kind.
    pub fn text(status: u16, content_type: &str, text: impl Into<Bytes>) -> Answer {
        let mut answer = Answer::empty(status).with(CONTENT_TYPE.as_str(), content_type);
        answer.body = text.into();
        answer
    }

    /// Adds a header; one that HTTP does not allow is left out.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Answer {
        let name = HeaderName::try_from(name);
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_str(value)) {
            self.headers.insert(name, value);
        }
        self
    }

    /// Says how many objects were changed.
    #[must_use]
    pub fn wrote(mut self, objects: u32) -> Answer {
        self.wrote = objects;
        self
    }
}

//! How Graph says no.
//!
//! Owns: the shape of error answers. Does not own: when they are given.

use serde_json::json;

use super::times;
use super::view::set;
use crate::sim::{Answer, Request, Scene};

/// A refusal: status, code and sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fail {
    status: u16,
    code: &'static str,
    message: String,
    headers: Vec<(&'static str, String)>,
    existing: Option<String>,
}

impl Fail {
    /// Returns a refusal.
    pub(super) fn new(status: u16, code: &'static str, message: impl Into<String>) -> Fail {
        Fail { status, code, message: message.into(), headers: Vec::new(), existing: None }
    }

    /// 400: the request makes no sense.
    pub(super) fn invalid(message: impl Into<String>) -> Fail {
        Fail::new(400, "ErrorInvalidRequest", message)
    }

    /// 400: the body cannot be read as what it should be.
    pub(super) fn body(message: impl Into<String>) -> Fail {
        Fail::new(400, "RequestBodyRead", message)
    }

    /// 400: the query cannot be understood.
    pub(super) fn query(message: impl Into<String>) -> Fail {
        Fail::new(400, "ErrorInvalidUrlQuery", message)
    }

    /// 404: there is no such object.
    pub(super) fn missing() -> Fail {
        Fail::new(404, "ErrorItemNotFound", "The specified object was not found in the store.")
    }

    /// 404: there is no such path.
    pub(super) fn nowhere(path: &str) -> Fail {
        Fail::new(404, "ResourceNotFound", format!("Resource not found for the segment '{path}'."))
    }

    /// 405: not with this method.
    pub(super) fn method() -> Fail {
        Fail::new(405, "Request_BadRequest", "Specified HTTP method is not allowed for the request target.")
    }

    /// 412: the object is in another state than `If-Match` says.
    pub(super) fn conflict() -> Fail {
        Fail::new(
            412,
            "ErrorIrresolvableConflict",
            "The send or update operation could not be performed because the change key passed in the request does not \
             match the current change key for the item.",
        )
    }

    /// 409: the transaction id was used for another event.
    pub(super) fn duplicate(existing: String) -> Fail {
        let message = "Your request can't be completed. The TransactionId specified in the request has already been used \
                       to create a different event.";
        Fail { existing: Some(existing), ..Fail::new(409, "ErrorDuplicateTransactionId", message) }
    }

    /// Asked too often.
    pub(super) fn throttled(status: u16, code: &'static str, seconds: Option<u64>) -> Fail {
        let mut fail = Fail::new(status, code, "Application is over its limit of requests for this mailbox.");
        fail.headers.extend(seconds.map(|seconds| ("Retry-After", seconds.to_string())));
        fail
    }

    /// 410: the token of a delta is worth nothing; a fresh round starts at `location`.
    pub(super) fn gone(location: String) -> Fail {
        let message = "The sync state generation is not found; continue with a full synchronization.";
        let mut fail = Fail::new(410, "syncStateNotFound", message);
        fail.headers.push(("Location", location));
        fail
    }

    /// Adds a header.
    pub(super) fn with(mut self, name: &'static str, value: impl Into<String>) -> Fail {
        self.headers.push((name, value.into()));
        self
    }

    /// Returns the answer to a request.
    pub(super) fn answer(&self, request: &Request, scene: &Scene) -> Answer {
        let ours = uuid(scene.dice.any(), scene.dice.any());
        let theirs = request.header("client-request-id").unwrap_or(&ours).to_owned();
        self.shaped(&times::moment(scene.clock.millis()), &ours, &theirs)
    }

    /// Returns the answer where nothing is known of the request.
    pub(super) fn bare(&self) -> Answer {
        let none = uuid(0, 0);
        self.shaped("2026-01-01T00:00:00", &none, &none)
    }

    fn shaped(&self, date: &str, ours: &str, theirs: &str) -> Answer {
        let date = date.get(..19).unwrap_or(date);
        let mut error = json!({ "code": self.code, "message": self.message, "innerError": {
            "date": date, "request-id": ours, "client-request-id": theirs,
        }});
        if let Some(existing) = &self.existing {
            set(&mut error, "@event.existingEventId", json!(existing));
        }
        let answer = Answer::json(self.status, &json!({ "error": error }));
        let answer = answer.with("request-id", ours).with("client-request-id", theirs);
        self.headers.iter().fold(answer, |answer, (name, value)| answer.with(name, value))
    }
}

/// Writes two numbers as a UUID.
pub(super) fn uuid(high: u64, low: u64) -> String {
    let (a, b, c) = (high >> 32, (high >> 16) & 0xffff, high & 0x0fff);
    let (d, e) = ((low >> 48) & 0x3fff | 0x8000, low & 0xffff_ffff_ffff);
    format!("{a:08x}-{b:04x}-4{c:03x}-{d:04x}-{e:012x}")
}

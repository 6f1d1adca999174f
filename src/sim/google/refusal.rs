//! Why Google says no, in Google's own shape.
//!
//! Owns: statuses, reasons, the body of an error. Does not own: when one is due.

use serde_json::{Value, json};

use crate::sim::Answer;

/// What a call is refused with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    code: u16,
    domain: &'static str,
    reason: &'static str,
    message: String,
    /// Where: its type (`parameter`, `header`) and name.
    place: Option<(&'static str, String)>,
}

/// What most things return.
pub(super) type Outcome<T> = Result<T, Refusal>;

impl Refusal {
    pub(super) fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Refusal {
        Refusal { code, domain: "global", reason, message: message.into(), place: None }
    }

    fn of(self, domain: &'static str) -> Refusal {
        Refusal { domain, ..self }
    }

    fn at(self, kind: &'static str, name: impl Into<String>) -> Refusal {
        Refusal { place: Some((kind, name.into())), ..self }
    }

    /// A field or parameter that cannot be what it is.
    pub(super) fn invalid(place: &str, message: impl Into<String>) -> Refusal {
        Refusal::new(400, "invalid", message).at("parameter", place)
    }

    /// A field that must be there.
    pub(super) fn required(message: impl Into<String>) -> Refusal {
        Refusal::new(400, "required", message)
    }

    /// A query parameter that does not exist, is mistyped or does not go with another.
    pub(super) fn parameter(name: &str, message: impl Into<String>) -> Refusal {
        Refusal::new(400, "invalidParameter", message).at("parameter", name)
    }

    /// A body that is no JSON.
    pub(super) fn parse() -> Refusal {
        Refusal::new(400, "parseError", "Parse Error")
    }

    pub(super) fn time_range_empty() -> Refusal {
        Refusal::new(400, "timeRangeEmpty", "The specified time range is empty.").of("calendar")
    }

    pub(super) fn calendar(code: u16, reason: &'static str, message: &str) -> Refusal {
        Refusal::new(code, reason, message).of("calendar")
    }

    pub(super) fn sign_in() -> Refusal {
        Refusal::new(401, "required", "Login Required").at("header", "Authorization")
    }

    pub(super) fn credentials() -> Refusal {
        Refusal::new(401, "authError", "Invalid Credentials").at("header", "Authorization")
    }

    pub(super) fn scopes() -> Refusal {
        let message = "Request had insufficient authentication scopes.";
        Refusal::new(403, "insufficientPermissions", message)
    }

    pub(super) fn access() -> Refusal {
        let message = "You need to have writer access to this calendar.";
        Refusal::calendar(403, "requiredAccessLevel", message)
    }

    pub(super) fn not_found() -> Refusal {
        Refusal::new(404, "notFound", "Not Found")
    }

    pub(super) fn duplicate() -> Refusal {
        Refusal::new(409, "duplicate", "The requested identifier already exists.")
    }

    pub(super) fn deleted() -> Refusal {
        Refusal::new(410, "deleted", "Resource has been deleted")
    }

    pub(super) fn full_sync() -> Refusal {
        let message = "Sync token is no longer valid, a full sync is required.";
        Refusal::calendar(410, "fullSyncRequired", message).at("parameter", "syncToken")
    }

    pub(super) fn too_long_ago() -> Refusal {
        let message = "The requested minimum modification time lies too far in the past.";
        Refusal::calendar(410, "updatedMinTooLongAgo", message).at("parameter", "updatedMin")
    }

    pub(super) fn condition() -> Refusal {
        Refusal::new(412, "conditionNotMet", "Precondition Failed").at("header", "If-Match")
    }

    pub(super) fn backend() -> Refusal {
        Refusal::new(500, "backendError", "Backend Error")
    }

    /// The quota of this person is used up.
    pub(super) fn user_rate() -> Refusal {
        Refusal::new(403, "userRateLimitExceeded", "User Rate Limit Exceeded").of("usageLimits")
    }

    /// The quota of the project is used up.
    pub(super) fn rate() -> Refusal {
        Refusal::new(429, "rateLimitExceeded", "Rate Limit Exceeded").of("usageLimits")
    }

    pub(super) fn answer(&self) -> Answer {
        let mut error =
            json!({ "domain": self.domain, "reason": self.reason, "message": self.message.clone() });
        if let (Some((kind, name)), Value::Object(error)) = (&self.place, &mut error) {
            error.insert("locationType".into(), json!(kind));
            error.insert("location".into(), json!(name));
        }
        let body = json!({ "error": { "errors": [error], "code": self.code, "message": self.message } });
        Answer::json(self.code, &body)
    }
}

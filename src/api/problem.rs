//! Refusals and failures as problem details (RFC 9457). One `match` for each, without a `_` arm.

use std::time::Duration;

use http::{HeaderValue, StatusCode, header};
use serde_json::{Map, Value, json};

use crate::bridge::BridgeError;
use crate::bridge::provider::Trouble;
use crate::calendar::{Error, Refusal};
use crate::http::{Reply, reply_bytes};
use crate::store::Fault;

/// What the addresses of problem types begin with. RFC 9457 §3.1.1: a relative reference, the same everywhere.
const TYPES: &str = "/api/v1/problems/";

/// An answer that says why not.
#[derive(Debug)]
pub(super) struct Problem {
    status: StatusCode,
    kind: &'static str,
    title: &'static str,
    detail: String,
    more: Map<String, Value>,
    headers: Vec<(header::HeaderName, String)>,
}

impl Problem {
    fn new(
        status: StatusCode,
        kind: &'static str,
        title: &'static str,
        detail: impl Into<String>,
    ) -> Problem {
        Problem { status, kind, title, detail: detail.into(), more: Map::new(), headers: Vec::new() }
    }

    pub(super) fn missing(detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::NOT_FOUND, "not-found", "Not found", detail)
    }

    pub(super) fn method(allow: &str) -> Problem {
        let detail = format!("Only {allow} can be asked for here.");
        let mut problem =
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", "Not that method", detail);
        problem.headers.push((header::ALLOW, allow.to_owned()));
        problem
    }

    pub(super) fn scope(needed: &str) -> Problem {
        let detail = format!("The token lacks the scope `{needed}`.");
        Problem::new(StatusCode::FORBIDDEN, "missing-scope", "The token does not allow that", detail)
    }

    pub(super) fn unauthenticated(detail: &str) -> Problem {
        let mut problem = Problem::new(StatusCode::UNAUTHORIZED, "not-signed-in", "Not signed in", detail);
        problem.headers.push((header::WWW_AUTHENTICATE, "Bearer realm=\"Kalends\"".into()));
        problem
    }

    pub(super) fn wait(wait: Duration, detail: &str) -> Problem {
        let mut problem =
            Problem::new(StatusCode::TOO_MANY_REQUESTS, "too-many-requests", "Too many requests", detail);
        let seconds = wait.as_secs().saturating_add(u64::from(wait.subsec_nanos() > 0)).max(1);
        problem.headers.push((header::RETRY_AFTER, seconds.to_string()));
        problem
    }

    /// The body cannot be read as what it should be.
    pub(super) fn malformed(detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::BAD_REQUEST, "malformed", "The request cannot be read", detail)
    }

    pub(super) fn media_type() -> Problem {
        let detail = "Send the body as application/json.";
        Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "wrong-media-type", "Not JSON", detail)
    }

    /// A value of the body is not accepted.
    pub(super) fn invalid(field: &str, detail: impl Into<String>) -> Problem {
        let mut problem =
            Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", "A value is not accepted", detail);
        if !field.is_empty() {
            problem.more.insert("field".into(), json!(field));
        }
        problem
    }

    /// Says of a member that it lies within another one.
    #[must_use]
    pub(super) fn below(mut self, path: &str) -> Problem {
        let field = self.more.get("field").and_then(Value::as_str);
        let field = field.map_or_else(|| path.to_owned(), |field| format!("{path}.{field}"));
        self.more.insert("field".into(), json!(field));
        self
    }

    #[cfg(test)]
    pub(super) fn field(&self) -> Option<&str> {
        self.more.get("field").and_then(Value::as_str)
    }

    /// An `Idempotency-Key` that stood for something else.
    pub(super) fn key_reused() -> Problem {
        let detail = "This Idempotency-Key was sent with another request within the last 24 hours.";
        let mut problem = Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "idempotency-key-reused",
            "The key stands for something else",
            detail,
        );
        problem.more.insert("field".into(), json!("Idempotency-Key"));
        problem
    }

    /// The server stops while somebody waits for an answer.
    pub(super) fn closing() -> Problem {
        let detail = "The server is stopping; ask again in a moment.";
        let mut problem =
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, "stopping", "The server stops", detail);
        problem.headers.push((header::RETRY_AFTER, "5".to_owned()));
        problem
    }

    /// RFC 9110 §13.1.1.
    pub(super) fn stale() -> Problem {
        let detail = "It was changed since you read it; read it again.";
        Problem::new(StatusCode::PRECONDITION_FAILED, "stale", "Changed meanwhile", detail)
    }

    pub(super) fn conflict(kind: &'static str, detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::CONFLICT, kind, "It cannot be done as things are", detail)
    }

    /// What is in the way of a booking, and why for whoever looks after the calendar.
    pub(super) fn slot_taken(blocking: Value, because: String) -> Problem {
        let mut problem = Problem::new(
            StatusCode::CONFLICT,
            "slot-taken",
            "The time is taken",
            "This time is no longer free; please choose another one.",
        );
        problem.more.insert("blocking".into(), blocking);
        problem.more.insert("because".into(), json!(because));
        problem
    }

    /// Far sides could not be asked in time, and nothing is booked without.
    pub(super) fn unheard() -> Problem {
        let detail = "The calendars could not be checked just now; please try again in a moment.";
        Problem::conflict("sources-stale", detail)
    }

    /// Returns what is wrong as a document.
    pub(super) fn document(&self) -> Value {
        let mut document = self.more.clone();
        document.insert("type".into(), json!(format!("{TYPES}{}", self.kind)));
        document.insert("title".into(), json!(self.title));
        document.insert("status".into(), json!(self.status.as_u16()));
        document.insert("detail".into(), json!(self.detail));
        Value::Object(document)
    }

    /// Writes the answer.
    pub(super) fn reply(self) -> Reply {
        let bytes = self.document().to_string();
        let mut reply = reply_bytes(self.status, "application/problem+json", bytes);
        for (name, value) in self.headers {
            if let Ok(value) = HeaderValue::from_str(&value) {
                reply.headers_mut().insert(name, value);
            }
        }
        reply
    }
}

impl From<Fault> for Problem {
    fn from(fault: Fault) -> Problem {
        match fault {
            Fault::Full => Problem::new(
                StatusCode::INSUFFICIENT_STORAGE,
                "disk-full",
                "The disk is full",
                "The server's disk is full; nothing was changed.",
            ),
            Fault::Broken(why) => {
                tracing::error!("the store failed: {why}");
                let detail = "The server could not do its work; nothing was changed. Try again later.";
                Problem::new(StatusCode::SERVICE_UNAVAILABLE, "failure", "The server failed", detail)
            }
        }
    }
}

impl From<BridgeError> for Problem {
    fn from(error: BridgeError) -> Problem {
        match error {
            BridgeError::Missing => Problem::missing("There is no such thing."),
            BridgeError::Invalid(field, why) => Problem::invalid(field, why),
            BridgeError::Conflict(why) => Problem::conflict("conflict", why),
            BridgeError::Stale => Problem::stale(),
            BridgeError::Wait(wait) => {
                Problem::wait(wait, "The far side asked to be left alone for a while.")
            }
            BridgeError::Often(most, wait) => Problem::wait(
                wait,
                &format!(
                    "A sync may be asked for by hand {most} times an hour. Changes are carried over without it."
                ),
            ),
            BridgeError::Failed(fault) => fault.into(),
            BridgeError::Far(trouble) => trouble.into(),
        }
    }
}

impl From<Trouble> for Problem {
    fn from(trouble: Trouble) -> Problem {
        let detail = trouble.to_string();
        let refused =
            |kind, title| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, kind, title, detail.clone());
        match trouble {
            Trouble::Unauthorised(_) => {
                refused("not-accepted", "The far side does not accept the credentials")
            }
            Trouble::Refused(_) | Trouble::Missing(_) => refused("far-side-refused", "The far side refused"),
            Trouble::Unreachable(_) => refused("far-side-unreachable", "The far side cannot be reached"),
            Trouble::Budget(_, wait) => Problem::wait(wait, &detail),
            Trouble::Slow(wait) => Problem::wait(wait.unwrap_or(Duration::from_secs(60)), &detail),
            Trouble::CursorExpired | Trouble::Stale | Trouble::Taken(_) => {
                Problem::conflict("conflict", detail)
            }
        }
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Problem {
        match error {
            Error::Refused(refusal) => refusal.into(),
            Error::Failed(fault) => fault.into(),
        }
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Problem {
        let invalid = |detail: String| Problem::invalid("", detail);
        let refused = |kind, title, detail: String| Problem::new(StatusCode::FORBIDDEN, kind, title, detail);
        match refusal {
            Refusal::Missing => Problem::missing("There is no such thing."),
            Refusal::Forbidden(privilege) => {
                refused("forbidden", "Not allowed", format!("The privilege `{privilege}` is needed."))
            }
            Refusal::Kept(_) => refused(
                "read-only",
                "It cannot be changed here",
                "It comes from another calendar and is changed there. If it is to be changed here, set `editable` of \
                 its mapping, or choose the direction `both`."
                    .to_owned(),
            ),
            Refusal::Stale => Problem::stale(),
            Refusal::UidTaken(name) => {
                Problem::conflict("uid-taken", format!("The object {name} has this UID already."))
            }
            Refusal::UidChanged { stored, sent } => Problem::conflict(
                "uid-changed",
                format!("The object's UID is {stored} and cannot become {sent}."),
            ),
            Refusal::NotCalendar(problem) => invalid(problem.reason),
            Refusal::WrongComponent { sent, accepted } => {
                invalid(format!("The calendar takes {} only, not {sent}.", accepted.join(", ")))
            }
            Refusal::WrongMediaType(sent) => invalid(format!("`{sent}` is not text/calendar.")),
            Refusal::TooLarge(limit) => Problem::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "too-large",
                "Too large",
                format!("More than {limit} bytes are not accepted."),
            ),
            Refusal::CollectionFull(limit) => {
                Problem::conflict("full", format!("The calendar holds its {limit} objects already."))
            }
            Refusal::QuotaExceeded(limit) => Problem::new(
                StatusCode::INSUFFICIENT_STORAGE,
                "quota-exceeded",
                "The quota is used up",
                format!("The account may store {limit} bytes."),
            ),
            Refusal::DiskFull => Fault::Full.into(),
            Refusal::BadName(why) => Problem::invalid("name", why),
            Refusal::Exists => Problem::conflict("exists", "There is one of this name already."),
            Refusal::NoParent => Problem::conflict("conflict", "The calendar is gone."),
            Refusal::NotHere(why) | Refusal::Protected(why) => {
                refused("protected", "Not possible here", why.to_owned())
            }
            Refusal::TokenExpired => Problem::new(
                StatusCode::GONE,
                "cursor-expired",
                "Too old",
                "The position is unknown or too old.",
            ),
            Refusal::Locked(_) => {
                Problem::new(StatusCode::LOCKED, "locked", "Locked", "It is locked by a client.")
            }
            Refusal::Bad(why) => Problem::malformed(why),
            Refusal::TooMany(limit) => invalid(format!("The answer would hold more than {limit} entries.")),
            Refusal::SlotTaken(blocking) | Refusal::Overlap(blocking) => {
                super::bookings::slot_taken(&blocking, false)
            }
            Refusal::NotBookable(why) => Problem::conflict("not-bookable", why),
            Refusal::WrongState(status) => {
                let detail = format!("The booking is {}; that cannot be changed so.", status.as_str());
                Problem::conflict("wrong-state", detail)
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use super::*;

    // S3-040: what went wrong inside is for the log alone
    #[test]
    fn a_failure_tells_nothing_of_the_inside() {
        let why = "src/store/sled/read.rs:12: key 0x17 of /srv/kalends/db";
        for problem in [
            Problem::from(Fault::Broken(why.into())),
            Problem::from(Error::Failed(Fault::Broken(why.into()))),
            Problem::from(BridgeError::Failed(Fault::Broken(why.into()))),
        ] {
            assert_eq!((problem.status, problem.kind), (StatusCode::SERVICE_UNAVAILABLE, "failure"));
            let told = format!("{} {} {:?}", problem.title, problem.detail, problem.more);
            assert!(!told.contains("src/") && !told.contains("0x17") && !told.contains("/srv"), "{told}");
        }
    }
}

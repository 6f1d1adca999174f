//! Calls to Microsoft Graph, and what its refusals mean.
//!
//! Owns: the headers that every request carries, the one replay after a 401, errors → `Trouble`.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, header};
use serde::de::DeserializeOwned;
use serde_json::Value;
use url::Url;

use crate::auth::grant::Secret;
use crate::bridge::outline::outline;
use crate::bridge::provider::{Bearer, Trouble};
use crate::http::encode;
use crate::http::fetch::{Answer, Call, Fetch, Weight};

/// The longest answer that is read.
const LONGEST: usize = 64 * 1024 * 1024;
/// How long a mailbox that is busy with other calls of ours is left alone.
const BUSY: Duration = Duration::from_secs(5);

/// Ids of the form that does not change when an event is moved, and times in UTC. Neither is kept in a delta link: they
/// are said with every request, or all events look deleted and made anew.
pub(super) const PREFER: &str = "IdType=\"ImmutableId\", outlook.timezone=\"UTC\"";

/// Returns a text as a part of an address.
pub(super) fn encoded(text: &str) -> String {
    let mut out = String::new();
    encode(text, &mut out);
    out
}

/// A request, alone or in a batch.
#[derive(Debug, Clone)]
pub(super) struct Request {
    pub(super) method: Method,
    /// Below the service's root, beginning with `/`; or, for a link that the service gave, the whole address.
    pub(super) path: String,
    pub(super) body: Option<Value>,
    pub(super) if_match: Option<String>,
    /// A further preference.
    pub(super) prefer: Option<&'static str>,
    /// How much it is to the service.
    pub(super) weight: Weight,
}

impl Request {
    pub(super) fn get(path: impl Into<String>) -> Request {
        let path = path.into();
        Request { method: Method::GET, path, body: None, if_match: None, prefer: None, weight: Weight::ONE }
    }

    pub(super) fn post(path: impl Into<String>, body: Value) -> Request {
        Request { method: Method::POST, body: Some(body), ..Request::get(path) }
    }

    pub(super) fn patch(path: impl Into<String>, body: Value, if_match: Option<String>) -> Request {
        Request { method: Method::PATCH, body: Some(body), if_match, ..Request::get(path) }
    }

    pub(super) fn delete(path: impl Into<String>, if_match: Option<String>) -> Request {
        Request { method: Method::DELETE, if_match, ..Request::get(path) }
    }

    /// Returns the preferences as one header.
    pub(super) fn preferences(&self) -> String {
        match self.prefer {
            Some(more) => format!("{PREFER}, {more}"),
            None => PREFER.to_owned(),
        }
    }
}

/// An answer, alone or out of a batch.
#[derive(Debug, Clone)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) retry_after: Option<Duration>,
    /// The service's clock, in seconds since 1970.
    pub(super) date: Option<i64>,
    pub(super) body: Value,
}

impl Reply {
    /// Returns the answer of a request that was carried out, else why it was not.
    pub(super) fn done(self) -> Result<Reply, Trouble> {
        if (200..300).contains(&self.status) { Ok(self) } else { Err(self.trouble()) }
    }

    /// Reads the body. One that is not what the schema says changes nothing and is logged with its shape.
    pub(super) fn read<T: DeserializeOwned>(self) -> Result<T, Trouble> {
        let shape = outline(&self.body);
        serde_json::from_value(self.body).map_err(|_| unreadable(&shape))
    }

    fn code(&self) -> &str {
        self.body.pointer("/error/code").and_then(Value::as_str).unwrap_or_default()
    }

    /// Returns what a refusal means.
    pub(super) fn trouble(&self) -> Trouble {
        let code = self.code();
        let is = |known: &[&str]| known.iter().any(|k| k.eq_ignore_ascii_case(code));
        if is(&["syncStateNotFound", "syncStateInvalid", "resyncRequired"]) || self.status == 410 {
            return Trouble::CursorExpired;
        }
        if is(&["MailboxConcurrency"]) {
            return Trouble::Slow(Some(self.retry_after.unwrap_or(BUSY)));
        }
        if is(&["ApplicationThrottled", "TooManyRequests"]) {
            return Trouble::Slow(self.retry_after);
        }
        if is(&["ErrorAccessDenied", "Authorization_RequestDenied"]) {
            return Trouble::Unauthorised(
                "Microsoft does not allow this account's calendar to be read or changed any more: connect the account \
                 again and accept what is asked for."
                    .into(),
            );
        }
        if is(&["ErrorIrresolvableConflict"]) {
            return Trouble::Stale;
        }
        if is(&["ErrorOccurrenceCrossingBoundary"]) {
            return Trouble::Refused(
                "Outlook does not let an instance of a series be moved onto or past the day of its neighbours: move \
                 it back, or make it an event of its own."
                    .into(),
            );
        }
        if is(&["ErrorQuotaExceeded"]) || self.status == 507 {
            return Trouble::Refused("The mailbox is full: make room in Outlook.".into());
        }
        match (self.status, self.retry_after) {
            (401, _) => Trouble::Unauthorised(
                "Microsoft no longer accepts the sign-in: connect the account again.".into(),
            ),
            (404, _) => Trouble::Missing("Outlook has no such event or calendar any more.".into()),
            (409, _) => Trouble::Taken(None),
            (412, _) => Trouble::Stale,
            (429, wait) | (503 | 504, wait @ Some(_)) => Trouble::Slow(wait),
            (413, _) => Trouble::Refused("The event is too large for Outlook.".into()),
            (424, _) | (500..=599, _) => {
                Trouble::Unreachable(format!("Outlook answers with an error ({}).", self.status))
            }
            (status, _) => {
                let known = !code.is_empty() && code.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
                let code = if known { format!(", {code}") } else { String::new() };
                Trouble::Refused(format!("Outlook refuses (status {status}{code})."))
            }
        }
    }
}

/// Returns the trouble of an answer that is not what the schema says, and logs its shape.
pub(super) fn unreadable(shape: &str) -> Trouble {
    tracing::warn!(shape, "Outlook sent an answer that is not what its schema says");
    Trouble::Unreachable("Outlook sent an answer that cannot be understood; it is tried again later.".into())
}

/// The way to the service.
pub(super) struct Wire {
    pub(super) fetch: Fetch,
    api: Url,
    bearer: Arc<dyn Bearer>,
}

impl Wire {
    pub(super) fn new(fetch: Fetch, api: Url, bearer: Arc<dyn Bearer>) -> Wire {
        Wire { fetch, api, bearer }
    }

    /// Returns the path of a link below the service's root, as requests of a batch name it.
    pub(super) fn root(&self) -> &str {
        self.api.as_str().trim_end_matches('/')
    }

    /// Sends a request and reads its answer, whatever it says.
    pub(super) async fn send(&self, request: &Request) -> Result<Reply, Trouble> {
        let url = self.url(&request.path)?;
        let token = self.bearer.token(None).await?;
        let answer = self.once(request, &url, &token).await?;
        if answer.status != 401 {
            return Ok(answer);
        }
        // Nothing was carried out: the same again with another token is safe.
        let token = self.bearer.token(Some(&token)).await?;
        self.once(request, &url, &token).await
    }

    /// Sends a request that is to be carried out.
    pub(super) async fn call(&self, request: &Request) -> Result<Reply, Trouble> {
        self.send(request).await?.done()
    }

    /// The token goes to the service and nowhere else, whatever a link says.
    fn url(&self, path: &str) -> Result<Url, Trouble> {
        if path.starts_with('/') {
            let text = format!("{}{path}", self.root());
            return Url::parse(&text)
                .map_err(|_| Trouble::Refused("An event's id is not one of Outlook's.".into()));
        }
        let url = Url::parse(path).ok().filter(|url| url.origin() == self.api.origin());
        url.ok_or_else(|| unreadable("a link to another place"))
    }

    async fn once(&self, request: &Request, url: &Url, token: &Secret) -> Result<Reply, Trouble> {
        let mut headers = HeaderMap::new();
        let none = || Trouble::Unauthorised("The sign-in is damaged: connect the account again.".into());
        headers.insert(header::AUTHORIZATION, token.bearer().ok_or_else(none)?);
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert("prefer", header_value(&request.preferences())?);
        if let Some(etag) = &request.if_match {
            headers.insert(header::IF_MATCH, header_value(etag)?);
        }
        let body = match &request.body {
            Some(body) => {
                headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
                Bytes::from(body.to_string())
            }
            None => Bytes::new(),
        };
        let call = Call { method: request.method.clone(), url: url.clone(), headers, body, limit: LONGEST };
        reply(self.fetch.send_as(call, request.weight).await?)
    }
}

fn reply(answer: Answer) -> Result<Reply, Trouble> {
    let status = answer.status.as_u16();
    let (date, retry_after) = (answer.date(), answer.retry_after());
    let body = match serde_json::from_slice(&answer.body) {
        Ok(body) => body,
        Err(_) if answer.body.is_empty() || !answer.status.is_success() => Value::Null,
        Err(_) => return Err(unreadable("not JSON")),
    };
    Ok(Reply { status, retry_after, date, body })
}

fn header_value(text: &str) -> Result<HeaderValue, Trouble> {
    HeaderValue::from_str(text)
        .map_err(|_| Trouble::Refused("Outlook's mark of the event cannot be sent back.".into()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use super::*;
    use serde_json::json;

    fn said(status: u16, code: &str, retry_after: Option<u64>) -> Trouble {
        let body = json!({"error": {"code": code, "message": "Team lunch"}});
        Reply { status, retry_after: retry_after.map(Duration::from_secs), date: None, body }.trouble()
    }

    #[test]
    fn refusals_become_plain_troubles() {
        let slow = |n| Trouble::Slow(Some(Duration::from_secs(n)));
        assert_eq!(said(410, "resyncRequired", None), Trouble::CursorExpired);
        assert_eq!(said(400, "syncStateNotFound", None), Trouble::CursorExpired);
        assert_eq!(said(404, "SyncStateInvalid", None), Trouble::CursorExpired);
        assert_eq!(said(412, "ErrorIrresolvableConflict", None), Trouble::Stale);
        assert_eq!(said(409, "ErrorIrresolvableConflict", None), Trouble::Stale);
        assert_eq!(said(412, "", None), Trouble::Stale);
        assert_eq!(said(409, "ErrorDuplicate", None), Trouble::Taken(None));
        assert_eq!(said(429, "TooManyRequests", Some(17)), slow(17));
        assert_eq!(said(429, "", None), Trouble::Slow(None));
        assert_eq!(said(503, "", Some(30)), slow(30));
        assert_eq!(said(503, "MailboxConcurrency", None), slow(5));
        assert!(matches!(said(503, "", None), Trouble::Unreachable(_)));
        assert!(matches!(said(403, "ErrorAccessDenied", None), Trouble::Unauthorised(_)));
        assert!(matches!(said(401, "InvalidAuthenticationToken", None), Trouble::Unauthorised(_)));
        assert!(matches!(said(404, "ErrorItemNotFound", None), Trouble::Missing(_)));
        assert!(matches!(said(400, "ErrorOccurrenceCrossingBoundary", None), Trouble::Refused(_)));
        let refused = said(400, "ErrorPropertyValidationFailure", None).to_string();
        assert!(
            refused.contains("ErrorPropertyValidationFailure") && !refused.contains("lunch"),
            "{refused}"
        );
    }
}

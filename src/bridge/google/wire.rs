//! Calls: with a token, one replay with a fresh one, errors as `Trouble`, answers as the shape they must have.
//!
//! Owns: what a status and a reason mean (both forms of error bodies are read).
//! Does not own: which calls are made (`list`, `store`), how several travel in one (`batch`).

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, header};
use serde::de::DeserializeOwned;
use serde_json::Value;
use url::Url;

use super::batch;
use crate::auth::grant::Secret;
use crate::bridge::outline::outline;
use crate::bridge::provider::{Bearer, RemoteId, Trouble};
use crate::http::encode;
use crate::http::fetch::{Answer, Call, Fetch, Weight};

/// The longest answer: a page of 2500 events with long descriptions fits.
const LONGEST: usize = 64 << 20;
/// How long to wait when a quota of days is used up.
const LONG: Duration = Duration::from_secs(3600);

/// Calls one account.
#[derive(Clone)]
pub(super) struct Wire {
    fetch: Fetch,
    api: Url,
    bearer: Arc<dyn Bearer>,
}

/// What is asked.
#[derive(Debug, Clone)]
pub(super) struct Ask {
    pub(super) method: Method,
    /// Path and query below the root of the API.
    pub(super) target: String,
    pub(super) if_match: Option<String>,
    pub(super) body: Option<Value>,
}

impl Ask {
    /// Returns a request to `calendar/v3/` and these path segments.
    pub(super) fn new(method: Method, segments: &[&str], query: &[(&str, &str)]) -> Ask {
        let mut target = String::from("/calendar/v3");
        for segment in segments {
            target.push('/');
            encode(segment, &mut target);
        }
        for (at, (name, value)) in query.iter().enumerate() {
            target.push(if at == 0 { '?' } else { '&' });
            target.push_str(name);
            target.push('=');
            encode(value, &mut target);
        }
        Ask { method, target, if_match: None, body: None }
    }

    /// Returns a request about events of a calendar.
    pub(super) fn events(method: Method, calendar: &RemoteId, more: &[&str], query: &[(&str, &str)]) -> Ask {
        let mut segments = vec!["calendars", &calendar.0, "events"];
        segments.extend(more);
        Ask::new(method, &segments, query)
    }

    /// Returns as how many calls Google counts it: a change of single fields is three.
    fn cost(&self) -> u32 {
        if self.method == Method::PATCH { 3 } else { 1 }
    }

    pub(super) fn when(mut self, etag: Option<&str>) -> Ask {
        self.if_match = etag.map(str::to_owned);
        self
    }

    pub(super) fn with(mut self, body: Value) -> Ask {
        self.body = Some(body);
        self
    }
}

/// What came back.
#[derive(Debug, Clone)]
pub(super) struct Told {
    pub(super) status: u16,
    pub(super) retry_after: Option<Duration>,
    pub(super) body: Bytes,
}

impl Told {
    fn of(answer: Answer) -> Told {
        Told { status: answer.status.as_u16(), retry_after: answer.retry_after(), body: answer.body }
    }

    /// True for a success.
    pub(super) fn is_done(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// Reads a success as this shape.
    pub(super) fn json<T: DeserializeOwned>(&self) -> Result<T, Trouble> {
        if !self.is_done() {
            return Err(self.trouble());
        }
        let value: Value = serde_json::from_slice(&self.body).map_err(|_| odd("it is not JSON"))?;
        shaped(&value).ok_or_else(|| odd("it has not the shape that was agreed"))
    }

    /// Returns the reason of a refusal in Google's words, and the parameter that it is about.
    pub(super) fn reason(&self) -> (String, String) {
        let text = |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or_default().to_owned();
        let body: Value = serde_json::from_slice(&self.body).unwrap_or_default();
        let error = body.get("error");
        let first = error.and_then(|error| error.get("errors")?.get(0));
        let location = text(first.and_then(|first| first.get("location")));
        let details = error.and_then(|error| error.get("details")?.as_array());
        let detail = details.into_iter().flatten().find_map(|detail| detail.get("reason"));
        let found = [
            detail,
            first.and_then(|first| first.get("reason")),
            error.and_then(|error| error.get("status")),
        ];
        (found.into_iter().map(text).find(|reason| !reason.is_empty()).unwrap_or_default(), location)
    }

    /// Returns what an answer that is no success means.
    pub(super) fn trouble(&self) -> Trouble {
        let (reason, _) = self.reason();
        let shown = if reason.is_empty() { String::new() } else { format!(" ({})", short(&reason)) };
        match (self.status, reason.as_str()) {
            (401, _) => Trouble::Unauthorised(
                "Google does not accept the sign-in any more. Connect the Google account again.".into(),
            ),
            (
                403 | 429,
                "rateLimitExceeded" | "userRateLimitExceeded" | "RATE_LIMIT_EXCEEDED" | "RESOURCE_EXHAUSTED",
            )
            | (429, _) => Trouble::Slow(self.retry_after),
            (403, "quotaExceeded" | "dailyLimitExceeded" | "dailyLimitExceededUnreg") => {
                Trouble::Slow(Some(self.retry_after.unwrap_or(LONG).max(LONG)))
            }
            (403, "insufficientPermissions" | "ACCESS_TOKEN_SCOPE_INSUFFICIENT") => Trouble::Unauthorised(
                "Google was not given leave to see and edit events. Connect the account again and tick every box \
                 on Google's page."
                    .into(),
            ),
            (403, "accessNotConfigured" | "SERVICE_DISABLED") => Trouble::Refused(
                "The Google Calendar API is not enabled in the Google project of this server. Its administrator \
                 can enable it under \u{201c}APIs & Services\u{201d} in the Google Cloud console."
                    .into(),
            ),
            (403, "forbiddenForNonOrganizer") => {
                Trouble::Refused("Google lets only the organizer change this event.".into())
            }
            (403, _) => Trouble::Refused(format!("Google does not let this account do that{shown}.")),
            (404 | 410, _) => Trouble::Missing(format!("Google has no such event or calendar{shown}.")),
            (409, "duplicate") => Trouble::Taken(None),
            // Somebody else was writing at that moment.
            (409 | 412, _) => Trouble::Stale,
            (503, _) if self.retry_after.is_some() => Trouble::Slow(self.retry_after),
            (500..=599, _) => {
                Trouble::Unreachable(format!("Google answers with an error ({}).", self.status))
            }
            (300..=399, _) => Trouble::Unreachable("Google sends elsewhere what it should answer.".into()),
            (400, "timeRangeEmpty") => Trouble::Refused("Google takes no event that ends before it begins.".into()),
            (status, _) => Trouble::Refused(format!("Google refuses with status {status}{shown}.")),
        }
    }
}

impl Wire {
    pub(super) fn new(fetch: Fetch, mut api: Url, bearer: Arc<dyn Bearer>) -> Wire {
        // The root, also where somebody gave the address of the service itself.
        let root = api.path().trim_end_matches('/').trim_end_matches("/calendar/v3").to_owned();
        api.set_path(&root);
        api.set_query(None);
        Wire { fetch, api, bearer }
    }

    /// Asks one thing.
    pub(super) async fn one(&self, ask: &Ask) -> Result<Told, Trouble> {
        let token = self.bearer.token(None).await?;
        let told = self.send(ask, &token).await?;
        if told.status != 401 {
            return Ok(told);
        }
        let fresh = self.bearer.token(Some(&token)).await?;
        self.send(ask, &fresh).await
    }

    /// Asks several things, in as few calls as possible, and answers for each, in their order. They may be carried out
    /// in any order.
    pub(super) async fn many(&self, asks: &[Ask]) -> Vec<Result<Told, Trouble>> {
        let mut all = Vec::with_capacity(asks.len());
        for chunk in asks.chunks(batch::MOST) {
            match chunk {
                [ask] => all.push(self.one(ask).await),
                _ => all.extend(self.batch(chunk).await),
            }
        }
        all
    }

    async fn batch(&self, asks: &[Ask]) -> Vec<Result<Told, Trouble>> {
        let token = match self.bearer.token(None).await {
            Ok(token) => token,
            Err(trouble) => return vec![Err(trouble); asks.len()],
        };
        let mut told = match self.envelope(asks, &token).await {
            Ok(told) => told,
            Err(trouble) => return vec![Err(trouble); asks.len()],
        };
        let refused: Vec<usize> = told
            .iter()
            .enumerate()
            .filter(|(_, told)| told.as_ref().is_ok_and(|told| told.status == 401))
            .map(|(at, _)| at)
            .collect();
        if refused.is_empty() {
            return told;
        }
        let again: Vec<Ask> = refused.iter().filter_map(|at| asks.get(*at).cloned()).collect();
        let second = match self.bearer.token(Some(&token)).await {
            Ok(fresh) => self.envelope(&again, &fresh).await,
            Err(trouble) => Err(trouble),
        };
        let second = second.unwrap_or_else(|trouble| vec![Err(trouble); again.len()]);
        for (at, answer) in refused.into_iter().zip(second) {
            if let Some(slot) = told.get_mut(at) {
                *slot = answer;
            }
        }
        told
    }

    /// Sends several requests as one. If the envelope as a whole is refused for its token, so is each of them.
    async fn envelope(&self, asks: &[Ask], token: &Secret) -> Result<Vec<Result<Told, Trouble>>, Trouble> {
        let (content_type, body) = batch::encode(asks);
        let mut headers = authorised(token)?;
        headers.insert(header::CONTENT_TYPE, text(&content_type)?);
        let url = self.url("/batch/calendar/v3")?;
        let call = Call { method: Method::POST, url, headers, body, limit: LONGEST };
        let calls = asks.iter().fold(0_u32, |all, ask| all.saturating_add(ask.cost()));
        let answer = self.fetch.send_as(call, Weight { calls, at_once: 1 }).await?;
        let content_type = answer.header("content-type").unwrap_or_default().to_owned();
        let told = Told::of(answer);
        match told.status {
            200 => batch::decode(&content_type, &told.body, asks.len())
                .ok_or_else(|| odd("a batch has no parts")),
            401 => Ok(vec![Ok(told); asks.len()]),
            _ => Err(told.trouble()),
        }
    }

    async fn send(&self, ask: &Ask, token: &Secret) -> Result<Told, Trouble> {
        let mut headers = authorised(token)?;
        if let Some(etag) = &ask.if_match {
            headers.insert(header::IF_MATCH, text(etag)?);
        }
        let body = match &ask.body {
            Some(body) => {
                headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
                Bytes::from(body.to_string())
            }
            None => Bytes::new(),
        };
        let url = self.url(&ask.target)?;
        let call = Call { method: ask.method.clone(), url, headers, body, limit: LONGEST };
        Ok(Told::of(self.fetch.send_as(call, Weight { calls: ask.cost(), at_once: 1 }).await?))
    }

    fn url(&self, target: &str) -> Result<Url, Trouble> {
        let root = self.api.as_str().trim_end_matches('/');
        Url::parse(&format!("{root}{target}"))
            .map_err(|_| Trouble::Refused("The address of Google's API in the settings is not one.".into()))
    }
}

fn authorised(token: &Secret) -> Result<HeaderMap, Trouble> {
    let none = || Trouble::Unauthorised("The sign-in is damaged: connect the Google account again.".into());
    Ok(HeaderMap::from_iter([(header::AUTHORIZATION, token.bearer().ok_or_else(none)?)]))
}

fn text(value: &str) -> Result<HeaderValue, Trouble> {
    HeaderValue::from_str(value)
        .map_err(|_| Trouble::Refused("Google's mark of the event cannot be sent back.".into()))
}

/// A reason is a word; whatever else comes is not shown.
fn short(reason: &str) -> String {
    reason.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '_').take(60).collect()
}

/// Returns the trouble of an answer that is not what it should be.
pub(super) fn odd(why: &str) -> Trouble {
    tracing::warn!(shape = why, "Google sent an answer that is not what its schema says");
    Trouble::Unreachable(format!("Google sent an answer that cannot be read: {why}."))
}

/// Reads a value as this shape; what has another is logged by its shape, without its content.
pub(super) fn shaped<T: DeserializeOwned>(value: &Value) -> Option<T> {
    match T::deserialize(value) {
        Ok(found) => Some(found),
        Err(_) => {
            tracing::warn!(shape = %outline(value), "an answer of Google has another shape than was agreed");
            None
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use super::*;
    use serde_json::json;

    fn told(status: u16, reason: &str) -> Told {
        let body = json!({"error": {"code": status, "message": "m", "errors": [{"domain": "d", "reason": reason, "message": "m"}]}});
        Told { status, retry_after: None, body: Bytes::from(body.to_string()) }
    }

    // S3: every error is a plain sentence with what to do next
    #[test]
    fn a_refusal_is_a_trouble() {
        let slow = |status, reason| told(status, reason).trouble();
        assert_eq!(slow(403, "rateLimitExceeded"), Trouble::Slow(None));
        assert_eq!(slow(403, "userRateLimitExceeded"), Trouble::Slow(None));
        assert_eq!(slow(429, ""), Trouble::Slow(None));
        assert_eq!(slow(403, "quotaExceeded"), Trouble::Slow(Some(LONG)));
        for (status, reason) in [(401, "authError"), (403, "insufficientPermissions")] {
            assert!(matches!(slow(status, reason), Trouble::Unauthorised(said) if said.contains("again")));
        }
        for (status, reason) in [
            (400, "required"),
            (403, "forbidden"),
            (403, "forbiddenForNonOrganizer"),
            (403, "accessNotConfigured"),
            (400, "timeRangeEmpty"),
            (413, ""),
        ] {
            assert!(matches!(slow(status, reason), Trouble::Refused(_)), "{status} {reason}");
        }
        for status in [404, 410] {
            assert!(matches!(slow(status, "notFound"), Trouble::Missing(_)));
        }
        assert_eq!(slow(409, "duplicate"), Trouble::Taken(None));
        assert_eq!(slow(409, "conflict"), Trouble::Stale);
        assert_eq!(slow(412, "conditionNotMet"), Trouble::Stale);
        for status in [500, 502, 503, 504, 302] {
            assert!(matches!(slow(status, "backendError"), Trouble::Unreachable(_)));
        }
        let newer = json!({"error": {"code": 403, "message": "m", "status": "PERMISSION_DENIED",
            "details": [{"@type": "x"}, {"reason": "ACCESS_TOKEN_SCOPE_INSUFFICIENT"}]}});
        let newer = Told { status: 403, retry_after: None, body: Bytes::from(newer.to_string()) };
        assert!(matches!(newer.trouble(), Trouble::Unauthorised(_)));
        let page = Told { status: 502, retry_after: None, body: Bytes::from_static(b"<html>") };
        assert!(matches!(page.trouble(), Trouble::Unreachable(_)));
    }

    #[test]
    fn a_target_is_escaped() {
        let calendar = RemoteId("a b#c@group.calendar.google.com".into());
        let ask = Ask::events(Method::GET, &calendar, &["x/y"], &[("pageToken", "a&b=")]);
        assert_eq!(
            ask.target,
            "/calendar/v3/calendars/a%20b%23c%40group.calendar.google.com/events/x%2Fy?pageToken=a%26b%3D"
        );
    }
}

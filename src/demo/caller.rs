//! How a demo speaks with its own server and its simulators: as any program does, over HTTP.
//!
//! Owns: the token, what an answer has to be. Does not own: what is asked for.

use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, COOKIE, LOCATION, SET_COOKIE};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use serde_json::Value;
use url::Url;

use crate::http::fetch::{Answer, Call, Fetch, Timeouts, Ways};

/// The longest answer.
const LIMIT: usize = 16 << 20;
/// Between two looks at something that is to happen.
const LOOK: Duration = Duration::from_millis(100);
/// How often is looked at it: four minutes.
const LOOKS: usize = 2400;

/// A program with a token.
#[derive(Debug)]
pub(super) struct Caller {
    fetch: Fetch,
    base: String,
    token: String,
}

impl Caller {
    /// Returns one for the server at `base`. It reaches that one and the simulators, and no other address.
    pub(super) fn new(base: &str, token: &str, simulators: &[String]) -> Result<Caller, String> {
        let read = |url: &str| Url::parse(url).map_err(|error| format!("{url}: {error}"));
        let mut chosen = vec![read(base)?];
        for url in simulators {
            chosen.push(read(url)?);
        }
        let fetch = Fetch::by(Ways { chosen, ..Ways::default() }, Timeouts::default())?;
        Ok(Caller { fetch, base: base.to_owned(), token: token.to_owned() })
    }

    async fn call(
        &self,
        method: &str,
        url: &str,
        headers: &[(HeaderName, &str)],
        body: impl Into<Bytes>,
    ) -> Result<Answer, String> {
        let mut all = HeaderMap::new();
        for (name, value) in headers {
            all.insert(name, HeaderValue::from_str(value).map_err(|error| error.to_string())?);
        }
        let call = Call {
            method: Method::from_bytes(method.as_bytes()).map_err(|error| error.to_string())?,
            url: Url::parse(url).map_err(|error| format!("{url}: {error}"))?,
            headers: all,
            body: body.into(),
            limit: LIMIT,
        };
        self.fetch.send(call).await.map_err(|error| error.to_string())
    }

    async fn asked(
        &self,
        method: &str,
        path: &str,
        kind: &str,
        body: impl Into<Bytes>,
    ) -> Result<Answer, String> {
        let bearer = format!("Bearer {}", self.token);
        let url = format!("{}{path}", self.base);
        let answer = self.call(method, &url, &[(AUTHORIZATION, &bearer), (CONTENT_TYPE, kind)], body).await?;
        if answer.status.is_success() {
            return Ok(answer);
        }
        let why = String::from_utf8_lossy(&answer.body).into_owned();
        Err(format!("{method} {path} was answered with {}: {why}", answer.status))
    }

    /// Asks the JSON API and returns what it answers; null if that is nothing.
    pub(super) async fn api(&self, method: &str, path: &str, body: Option<Value>) -> Result<Value, String> {
        let body = body.map(|body| body.to_string()).unwrap_or_default();
        let answer = self.asked(method, &format!("/api/v1{path}"), "application/json", body).await?;
        Ok(serde_json::from_slice(&answer.body).unwrap_or(Value::Null))
    }

    /// Reads from the JSON API.
    pub(super) async fn get(&self, path: &str) -> Result<Value, String> {
        self.api("GET", path, None).await
    }

    /// Writes to the JSON API.
    pub(super) async fn post(&self, path: &str, body: Value) -> Result<Value, String> {
        self.api("POST", path, Some(body)).await
    }

    /// Stores a calendar object as a calendar program does.
    pub(super) async fn put(&self, path: &str, text: String) -> Result<(), String> {
        self.asked("PUT", path, "text/calendar; charset=utf-8", text).await.map(drop)
    }

    /// Begins a consent, goes where the browser is sent, says yes there, and comes back with what the browser was handed.
    pub(super) async fn consent(&self, path: &str) -> Result<Value, String> {
        let answer = self.asked("POST", &format!("/api/v1{path}"), "application/json", "{}").await?;
        let made: Value = serde_json::from_slice(&answer.body).map_err(|error| error.to_string())?;
        let cookie = answer.header(SET_COOKIE.as_str()).and_then(|all| all.split(';').next());
        let cookie = cookie.unwrap_or_default().to_owned();
        let ask = text(&made, "/authorization_url")?;
        let away = self.call("GET", &ask, &[], "").await?;
        let back = away.header(LOCATION.as_str());
        let back = back.ok_or_else(|| format!("nobody was sent back: {}", away.status))?.to_owned();
        let landed = self.call("GET", &back, &[(COOKIE, &cookie)], "").await?;
        if landed.status.is_client_error() || landed.status.is_server_error() {
            return Err(format!("the consent was not taken: {}", landed.status));
        }
        Ok(made)
    }

    /// Reads from the JSON API until what is read is as it should be.
    pub(super) async fn until(
        &self,
        path: &str,
        what: &str,
        holds: impl Fn(&Value) -> bool,
    ) -> Result<Value, String> {
        let mut seen = Value::Null;
        for _ in 0..LOOKS {
            seen = self.get(path).await?;
            if holds(&seen) {
                return Ok(seen);
            }
            tokio::time::sleep(LOOK).await;
        }
        Err(format!("{what} did not happen: {seen}"))
    }
}

/// Returns a text within an answer, which has to be there.
pub(super) fn text(value: &Value, pointer: &str) -> Result<String, String> {
    let found = value.pointer(pointer).and_then(Value::as_str);
    found.map(str::to_owned).ok_or_else(|| format!("there is no {pointer} in {value}"))
}

/// Returns the items of a list.
pub(super) fn items(value: &Value) -> &[Value] {
    value.get("items").and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

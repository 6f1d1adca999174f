//! The simulators keep the rules of what they stand for.

mod faults;
mod frame;
mod google;

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use kalends::http::fetch::{Call, Fetch, FetchError, Private, Timeouts};
use kalends::sim::{Clock, Options, Running, Server, World};
use serde_json::Value;
use url::Url;

/// 2026-03-01T12:00:00Z, in milliseconds.
const NOW: i64 = 1_772_366_400_000;

/// An answer, read.
#[derive(Debug, Clone)]
struct Told {
    status: u16,
    headers: HeaderMap,
    text: String,
}

impl Told {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The reason of an error, in the shape of Google's.
    fn reason(&self) -> String {
        self.json()["error"]["errors"][0]["reason"].as_str().unwrap_or_default().to_owned()
    }
}

/// A client that knows nothing.
#[derive(Debug, Clone)]
struct Client {
    fetch: Fetch,
    base: String,
    token: Option<String>,
}

impl Client {
    fn new(server: &Running, token: Option<String>) -> Client {
        let fetch = Fetch::new(Private::Allowed, Timeouts::default()).unwrap();
        Client { fetch, base: server.url().to_owned(), token }
    }

    async fn attempt(
        &self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Result<Told, FetchError> {
        let mut sent = HeaderMap::new();
        if let Some(token) = &self.token {
            sent.insert("authorization", format!("Bearer {token}").parse().unwrap());
        }
        for (name, value) in headers {
            let name: HeaderName = name.parse().unwrap();
            sent.insert(name, HeaderValue::from_str(value).unwrap());
        }
        let url = Url::parse(&format!("{}{target}", self.base)).unwrap();
        let method: Method = method.parse().unwrap();
        let call = Call { method, url, headers: sent, body: body.into(), limit: 8 << 20 };
        let answer = self.fetch.send(call).await?;
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        Ok(Told { status: answer.status.as_u16(), headers: answer.headers, text })
    }

    async fn ask(&self, method: &str, target: &str, body: Value) -> Told {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let headers: &[(&str, &str)] =
            if body.is_empty() { &[] } else { &[("content-type", "application/json")] };
        self.attempt(method, target, headers, body).await.unwrap()
    }

    async fn get(&self, target: &str) -> Told {
        self.ask("GET", target, Value::Null).await
    }

    async fn form(&self, target: &str, fields: &[(&str, &str)]) -> Told {
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        let kind = [("content-type", "application/x-www-form-urlencoded")];
        self.attempt("POST", target, &kind, body).await.unwrap()
    }
}

async fn start(world: Arc<dyn World>, change: impl FnOnce(&mut Options)) -> Running {
    let mut options = Options { clock: Clock::fixed(NOW), ..Options::default() };
    change(&mut options);
    Server::start(options, world).await.unwrap()
}

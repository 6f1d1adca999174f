//! Several requests in one call (`$batch`, at most twenty).

use std::collections::HashMap;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::wire::{Reply, Request, Wire, unreadable};
use crate::bridge::provider::Trouble;
use crate::http::fetch::{Weight, retry_after};

/// How many requests a batch may hold.
pub(super) const MOST: usize = 20;

#[derive(Debug, Deserialize)]
struct Responses {
    responses: Vec<Response>,
}

#[derive(Debug, Deserialize)]
struct Response {
    id: String,
    status: u16,
    #[serde(default)]
    headers: Map<String, Value>,
    #[serde(default)]
    body: Value,
}

impl Wire {
    /// Sends requests, as few calls as may be, and returns their answers in the same order. The service carries out at
    /// most four of a batch at a time, which is what a mailbox allows; batches go one after the other.
    pub(super) async fn batch(&self, requests: &[Request]) -> Result<Vec<Reply>, Trouble> {
        if let [one] = requests {
            return Ok(vec![self.send(one).await?]);
        }
        let mut all = Vec::with_capacity(requests.len());
        for chunk in requests.chunks(MOST) {
            all.extend(self.one_batch(chunk).await?);
        }
        Ok(all)
    }

    async fn one_batch(&self, requests: &[Request]) -> Result<Vec<Reply>, Trouble> {
        let calls = u32::try_from(requests.len()).unwrap_or(u32::MAX);
        let inner: Vec<Value> =
            requests.iter().enumerate().map(|(n, request)| in_batch(n, request)).collect();
        // The service counts each, and carries out as many at a time as the mailbox allows.
        let weight = Weight { calls, at_once: calls };
        let batch = Request { weight, ..Request::post("/$batch", json!({"requests": inner})) };
        let outer = self.call(&batch).await?;
        let date = outer.date;
        let Responses { responses } = outer.read()?;
        let mut by_id: HashMap<String, Response> = responses.into_iter().map(|r| (r.id.clone(), r)).collect();
        let answers = (0..requests.len()).map(|n| {
            // An answer that is missing says nothing about the request: it is no deletion and no success.
            let response =
                by_id.remove(&n.to_string()).ok_or_else(|| unreadable("a batch that lacks an answer"))?;
            let header = response.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("retry-after"));
            let retry_after = match header.map(|(_, value)| value) {
                Some(Value::String(text)) => retry_after(text, date),
                Some(Value::Number(seconds)) => retry_after(&seconds.to_string(), date),
                _ => None,
            };
            Ok(Reply { status: response.status, retry_after, date, body: response.body })
        });
        answers.collect()
    }
}

fn in_batch(number: usize, request: &Request) -> Value {
    let mut headers = Map::new();
    headers.insert("Prefer".into(), json!(request.preferences()));
    if let Some(etag) = &request.if_match {
        headers.insert("If-Match".into(), json!(etag));
    }
    let mut inner = Map::new();
    inner.insert("id".into(), json!(number.to_string()));
    inner.insert("method".into(), json!(request.method.as_str()));
    inner.insert("url".into(), json!(request.path));
    if let Some(body) = &request.body {
        headers.insert("Content-Type".into(), json!("application/json"));
        inner.insert("body".into(), body.clone());
    }
    inner.insert("headers".into(), Value::Object(headers));
    Value::Object(inner)
}

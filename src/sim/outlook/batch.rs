//! `$batch`: several calls in one.
//!
//! Owns: the limits of a batch, the order that `dependsOn` asks for. Does not own: the calls (`calls`).

use std::collections::BTreeMap;

use bytes::Bytes;
use http::header::{AUTHORIZATION, HOST};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use serde_json::{Value, json};

use super::fail::Fail;
use super::view::set;
use crate::sim::{Answer, Request, Scene, World, perform};

/// Calls that a batch may hold.
const MOST: usize = 20;

struct Call {
    id: String,
    request: Request,
    after: Vec<String>,
}

/// Returns how many calls a batch holds; one of which that cannot be said holds one.
pub(super) fn size(outer: &Request) -> usize {
    let body = outer.json();
    let requests = body.as_ref().and_then(|body| body.get("requests")).and_then(Value::as_array);
    requests.map_or(1, Vec::len)
}

fn bad(what: impl Into<String>) -> Fail {
    Fail::new(400, "BadRequest", what)
}

/// Answers a batch: the calls one after the other, each after those that it depends on.
pub(super) async fn answer(world: &dyn World, outer: &Request, scene: &Scene) -> Result<Answer, Fail> {
    let mut waiting = calls(outer)?;
    let mut done: BTreeMap<String, u16> = BTreeMap::new();
    let mut answers = Vec::new();
    while !waiting.is_empty() {
        let ready = waiting.iter().position(|call| call.after.iter().all(|id| done.contains_key(id)));
        let Some(at) = ready else {
            return Err(bad("The calls of the batch depend on each other in a circle."));
        };
        let call = waiting.remove(at);
        let failed = call.after.iter().any(|id| done.get(id).is_some_and(|status| *status >= 400));
        let answer = if failed {
            let fail =
                Fail::new(424, "FailedDependency", "A call that this one depends on was not carried out.");
            fail.answer(&call.request, scene)
        } else {
            let dropped = Fail::new(504, "GatewayTimeout", "The call was not answered in time.");
            let request = call.request.clone();
            perform(world, request, scene).await.unwrap_or_else(|_| dropped.answer(&call.request, scene))
        };
        let status = answer.status.as_u16();
        let headers: BTreeMap<String, &str> = answer
            .headers
            .iter()
            .filter_map(|(name, value)| value.to_str().ok().map(|value| (capital(name.as_str()), value)))
            .collect();
        let mut shown = json!({ "id": call.id, "status": status, "headers": headers });
        if let Ok(body) = serde_json::from_slice::<Value>(&answer.body) {
            set(&mut shown, "body", body);
        }
        answers.push(shown);
        done.insert(call.id, status);
    }
    Ok(Answer::json(200, &json!({ "responses": answers })))
}

/// Writes a header's name as Graph does inside a batch: Microsoft's kit for Node looks for `Content-Type` letter by letter.
fn capital(name: &str) -> String {
    let parts = name.split('-').map(|part| {
        let mut letters = part.chars();
        letters.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(letters).collect::<String>()
    });
    parts.collect::<Vec<_>>().join("-")
}

fn calls(outer: &Request) -> Result<Vec<Call>, Fail> {
    let body = outer.json().ok_or_else(|| Fail::body("The body cannot be read as JSON."))?;
    let Some(requests) = body.get("requests").and_then(Value::as_array) else {
        return Err(bad("The batch has no 'requests'."));
    };
    if requests.is_empty() || requests.len() > MOST {
        return Err(bad(format!("Number of batch request steps has to be from 1 to {MOST}.")));
    }
    let calls = requests.iter().map(|one| call(outer, one)).collect::<Result<Vec<Call>, Fail>>()?;
    for (at, call) in calls.iter().enumerate() {
        if calls.iter().take(at).any(|other| other.id == call.id) {
            return Err(bad(format!("The id '{}' stands in the batch twice.", call.id)));
        }
        if let Some(unknown) = call.after.iter().find(|id| !calls.iter().any(|other| other.id == **id)) {
            return Err(bad(format!("No call of the batch has the id '{unknown}'.")));
        }
    }
    Ok(calls)
}

fn call(outer: &Request, one: &Value) -> Result<Call, Fail> {
    let text = |field: &str| one.get(field).and_then(Value::as_str);
    let (Some(id), Some(method), Some(url)) = (text("id"), text("method"), text("url")) else {
        return Err(bad("Each call of a batch needs id, method and url."));
    };
    let method =
        Method::from_bytes(method.to_ascii_uppercase().as_bytes()).map_err(|_| bad("A method is none."))?;
    let mut headers = HeaderMap::new();
    for name in [HOST, AUTHORIZATION] {
        if let Some(value) = outer.headers.get(&name) {
            headers.insert(name, value.clone());
        }
    }
    for (name, value) in one.get("headers").and_then(Value::as_object).into_iter().flatten() {
        let value = value.as_str().and_then(|value| HeaderValue::from_str(value).ok());
        if let (Ok(name), Some(value)) = (HeaderName::try_from(name.as_str()), value) {
            headers.insert(name, value);
        }
    }
    let body = match one.get("body") {
        None | Some(Value::Null) => Bytes::new(),
        Some(_) if !headers.contains_key("content-type") => {
            return Err(bad(format!("The call '{id}' has a body and no Content-Type among its headers.")));
        }
        Some(body) => body.to_string().into(),
    };
    let url = url.strip_prefix("/v1.0").unwrap_or(url);
    let target = format!("/v1.0/{}", url.trim_start_matches('/'));
    let after = one.get("dependsOn").and_then(Value::as_array).into_iter().flatten();
    Ok(Call {
        id: id.to_owned(),
        request: Request::inner(method, &target, headers, body, outer.secure),
        after: after.filter_map(Value::as_str).map(str::to_owned).collect(),
    })
}

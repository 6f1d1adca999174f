//! Several calls in one request (`multipart/mixed`).
//!
//! Owns: reading the parts, writing their answers. Does not own: what a call does.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method};

use super::Google;
use super::refusal::Refusal;
use crate::sim::{Answer, Request, Scene, perform};

/// Calls that one request may hold.
const MOST: usize = 50;
/// What stands between the answers.
const BOUNDARY: &str = "batch_simulated_google";

/// Carries the calls of a batch out, in no order that anybody may rely on.
pub(super) async fn answer(google: &Google, request: &Request, scene: &Scene) -> Answer {
    let Some(mut calls) = read(request) else {
        return Refusal::new(400, "badRequest", "Failed to parse batch request.").answer();
    };
    if calls.is_empty() || calls.len() > MOST {
        let message = format!("The batch request must hold 1 to {MOST} calls.");
        return Refusal::new(400, "badRequest", message).answer();
    }
    for at in (1..calls.len()).rev() {
        let other = usize::try_from(scene.dice.below(at as u64 + 1)).unwrap_or(0);
        calls.swap(at, other);
    }
    let mut body = Vec::new();
    for (id, call) in calls {
        let answer = match perform(google, call, scene).await {
            Ok(answer) => answer,
            // A part cannot lose its connection alone: its answer is a failure.
            Err(_) => Refusal::backend().answer(),
        };
        body.extend_from_slice(format!("--{BOUNDARY}\r\nContent-Type: application/http\r\n").as_bytes());
        if let Some(id) = id {
            body.extend_from_slice(format!("Content-ID: {}\r\n", answered(&id)).as_bytes());
        }
        let reason = answer.status.canonical_reason().unwrap_or("");
        body.extend_from_slice(format!("\r\nHTTP/1.1 {} {reason}\r\n", answer.status.as_u16()).as_bytes());
        for (name, value) in &answer.headers {
            body.extend_from_slice(format!("{name}: ").as_bytes());
            body.extend_from_slice(value.as_bytes());
            body.extend_from_slice(b"\r\n");
        }
        body.extend_from_slice(format!("Content-Length: {}\r\n\r\n", answer.body.len()).as_bytes());
        body.extend_from_slice(&answer.body);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(format!("--{BOUNDARY}--\r\n").as_bytes());
    Answer::text(200, &format!("multipart/mixed; boundary={BOUNDARY}"), body)
}

/// `<x>` is answered as `<response-x>`.
fn answered(id: &str) -> String {
    match id.strip_prefix('<') {
        Some(rest) => format!("<response-{rest}"),
        None => format!("response-{id}"),
    }
}

type Calls = Vec<(Option<String>, Request)>;

fn read(request: &Request) -> Option<Calls> {
    let kind = request.header("content-type")?;
    if !kind.trim_start().to_ascii_lowercase().starts_with("multipart/mixed") {
        return None;
    }
    let boundary = kind.split(';').find_map(|part| part.trim().strip_prefix("boundary="))?.trim_matches('"');
    let text = std::str::from_utf8(&request.body).ok()?;
    let text = text.replace("\r\n", "\n");
    let mark = format!("--{boundary}");
    let mut calls = Vec::new();
    let mut parts = text.split(mark.as_str());
    parts.next()?;
    for part in parts {
        if part.starts_with("--") {
            return Some(calls);
        }
        calls.push(call(part.strip_prefix('\n')?, request)?);
    }
    // The mark of the end is missing: the body was cut off.
    None
}

fn call(part: &str, outer: &Request) -> Option<(Option<String>, Request)> {
    let (head, rest) = part.split_once("\n\n")?;
    let about = headers(head.lines());
    let kind = about.get("content-type").and_then(|value| value.to_str().ok())?;
    if !kind.starts_with("application/http") {
        return None;
    }
    let id = about.get("content-id").and_then(|value| value.to_str().ok()).map(str::to_owned);
    let rest = rest.trim_start_matches('\n');
    let (head, body) = rest.split_once("\n\n").unwrap_or((rest, ""));
    let mut lines = head.lines();
    let mut first = lines.next()?.split(' ');
    let method: Method = first.next()?.parse().ok()?;
    let target = first.next()?;
    // An absolute target is as good as a path.
    let target = match target.split_once("://") {
        Some((_, rest)) => rest.find('/').and_then(|at| rest.get(at..))?,
        None => target,
    };
    let mut inner = headers(lines);
    for name in ["authorization", "host"] {
        if let (false, Some(value)) = (inner.contains_key(name), outer.headers.get(name)) {
            inner.insert(HeaderName::from_static(name), value.clone());
        }
    }
    let body = Bytes::from(body.trim_end_matches('\n').to_owned());
    Some((id, Request::inner(method, target, inner, body, outer.secure)))
}

fn headers<'a>(lines: impl Iterator<Item = &'a str>) -> HeaderMap {
    lines
        .filter_map(|line| {
            let (name, value) = line.split_once(':')?;
            Some((HeaderName::try_from(name.trim()).ok()?, HeaderValue::from_str(value.trim()).ok()?))
        })
        .collect()
}

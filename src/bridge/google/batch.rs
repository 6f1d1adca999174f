//! Several requests in one call: `multipart/mixed` of `application/http` (Google, *Send batch requests*).
//!
//! Owns: how the parts are written, and which answer belongs to which. Does not own: the call itself (`wire`).

use bytes::Bytes;

use super::wire::{Ask, Told, odd};
use crate::bridge::provider::Trouble;
use crate::http::fetch::{http_date, retry_after};

/// Most requests in one call.
pub(super) const MOST: usize = 50;

/// Stands between parts. Bodies are JSON, in which a line cannot begin with it.
const BOUNDARY: &str = "kalends_part_of_batch";

/// Returns the content type and the body of a call.
pub(super) fn encode(asks: &[Ask]) -> (String, Bytes) {
    let mut out = String::new();
    for (at, ask) in asks.iter().enumerate() {
        out.push_str(&format!(
            "--{BOUNDARY}\r\nContent-Type: application/http\r\nContent-ID: <part-{at}>\r\n\r\n{} {} HTTP/1.1\r\n",
            ask.method, ask.target
        ));
        if let Some(etag) = &ask.if_match {
            let etag: String = etag.chars().filter(|c| !c.is_control()).collect();
            out.push_str(&format!("If-Match: {etag}\r\n"));
        }
        match &ask.body {
            Some(body) => {
                let body = body.to_string();
                out.push_str(&format!(
                    "Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}\r\n",
                    body.len()
                ));
            }
            None => out.push_str("\r\n\r\n"),
        }
    }
    out.push_str(&format!("--{BOUNDARY}--\r\n"));
    (format!("multipart/mixed; boundary={BOUNDARY}"), Bytes::from(out))
}

/// Reads the answers, in the order of the requests. Nothing: it is no batch. A request without an answer has the
/// trouble that nobody knows what came of it.
pub(super) fn decode(content_type: &str, body: &Bytes, count: usize) -> Option<Vec<Result<Told, Trouble>>> {
    let boundary = boundary(content_type)?;
    let text = String::from_utf8_lossy(body);
    let mut all: Vec<Option<Told>> = vec![None; count];
    let fence = format!("--{boundary}");
    let mut any = false;
    for part in text.split(&fence as &str).skip(1) {
        if part.starts_with("--") {
            break;
        }
        let Some((at, told)) = part_of(part) else { continue };
        any = true;
        if let Some(slot) = all.get_mut(at) {
            *slot = Some(told);
        }
    }
    // Only what is missing is told to whoever reads the log.
    let found = |told: Option<Told>| told.ok_or_else(|| odd("a part of a batch is missing"));
    any.then(|| all.into_iter().map(found).collect())
}

fn boundary(content_type: &str) -> Option<String> {
    let (kind, parameters) = content_type.split_once(';')?;
    if !kind.trim().eq_ignore_ascii_case("multipart/mixed") {
        return None;
    }
    parameters.split(';').find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        let value = value.trim().trim_matches('"').to_owned();
        (name.trim().eq_ignore_ascii_case("boundary") && !value.is_empty()).then_some(value)
    })
}

/// Reads `<response-part-3>`, then a whole HTTP answer.
fn part_of(part: &str) -> Option<(usize, Told)> {
    let (outer, inner) = halves(part.trim_start_matches(['\r', '\n', ' ']))?;
    let id = field(outer, "content-id")?;
    let digits: String = id.trim_end_matches('>').chars().rev().take_while(char::is_ascii_digit).collect();
    let at: usize = digits.chars().rev().collect::<String>().parse().ok()?;
    let (head, body) = halves(inner.trim_start_matches(['\r', '\n'])).unwrap_or((inner.trim(), ""));
    let status = head.lines().next()?.split_ascii_whitespace().nth(1)?.parse().ok()?;
    let retry_after = field(head, "retry-after")
        .and_then(|text| retry_after(text, field(head, "date").and_then(http_date)));
    Some((at, Told { status, retry_after, body: Bytes::copy_from_slice(body.trim().as_bytes()) }))
}

/// Splits at the first empty line.
fn halves(text: &str) -> Option<(&str, &str)> {
    let crlf = text.split_once("\r\n\r\n");
    let lf = text.split_once("\n\n");
    match (crlf, lf) {
        (Some(a), Some(b)) => Some(if a.0.len() <= b.0.len() { a } else { b }),
        (a, b) => a.or(b),
    }
}

fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| {
        let (own, value) = line.split_once(':')?;
        own.trim().eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use super::*;
    use http::Method;
    use serde_json::json;
    use std::time::Duration;

    // S3-145
    #[test]
    fn requests_are_written_one_after_the_other() {
        let get = Ask::new(Method::GET, &["a"], &[]);
        let patch = Ask::new(Method::PATCH, &["b"], &[]).when(Some("\"7\"")).with(json!({"summary": "ä"}));
        let (content_type, body) = encode(&[get, patch]);
        assert_eq!(content_type, "multipart/mixed; boundary=kalends_part_of_batch");
        let body = std::str::from_utf8(&body).unwrap();
        assert!(
            body.contains("Content-ID: <part-0>\r\n\r\nGET /calendar/v3/a HTTP/1.1\r\n\r\n\r\n--"),
            "{body}"
        );
        assert!(
            body.contains(
                "PATCH /calendar/v3/b HTTP/1.1\r\nIf-Match: \"7\"\r\nContent-Type: application/json\r\n\
                 Content-Length: 16\r\n\r\n{\"summary\":\"ä\"}\r\n--kalends_part_of_batch--\r\n"
            ),
            "{body}"
        );
    }

    #[test]
    fn answers_are_found_by_their_ids() {
        let body = "preamble\r\n--b1\r\nContent-Type: application/http\r\nContent-ID: <response-part-1>\r\n\r\n\
            HTTP/1.1 429 Too Many Requests\r\nRetry-After: 7\r\nContent-Length: 2\r\n\r\n{}\r\n\
            --b1\r\nContent-Type: application/http\r\nContent-ID: <response-part-0>\r\n\r\n\
            HTTP/1.1 204 No Content\r\n\r\n\r\n--b1--\r\n";
        let all = decode("multipart/mixed; boundary=\"b1\"", &Bytes::from(body), 3).unwrap();
        let first = all[0].as_ref().unwrap();
        assert_eq!((first.status, first.body.len()), (204, 0));
        let second = all[1].as_ref().unwrap();
        assert_eq!((second.status, second.retry_after), (429, Some(Duration::from_secs(7))));
        assert_eq!(&second.body[..], b"{}");
        assert!(matches!(all[2], Err(Trouble::Unreachable(_))));
        for (kind, body) in
            [("text/html", body), ("multipart/mixed; boundary=other", body), ("multipart/mixed", "")]
        {
            assert!(decode(kind, &Bytes::from(body), 1).is_none(), "{kind}");
        }
    }
}

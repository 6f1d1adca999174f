//! GET and HEAD (RFC 9110 §9.3.1): the bytes as they were stored, with their tag; a page for people on collections.

use std::fmt::Write;

use bytes::Bytes;
use http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG,
    LAST_MODIFIED, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderValue, Method, StatusCode};

use super::not_here;
use crate::calendar::{Readable, Refusal};
use crate::dav::live::http_date;
use crate::dav::resource::{Facts, Kinds, Node, Resource};
use crate::dav::{Denied, Protocol, Scope};
use crate::http::{Conditions, Href, Reply, Request, State, body, escaped, reply_empty};
use crate::store::{Kind, Meta, Object};

pub(super) async fn serve(scope: Scope, request: Request, href: Option<Href>) -> Result<Reply, Denied> {
    let href = href.ok_or(Refusal::Missing)?;
    let head = request.method == Method::HEAD;
    if let Href::Object(user, calendar, name) = &href {
        // The hot path: one look for the calendar, one for the object.
        if user.as_str() != scope.session.principal.name {
            return Err(Refusal::Missing.into());
        }
        let home = scope.session.home().await?;
        let at = home.child(calendar.as_str()).await?.ok_or(Refusal::Missing)?;
        return object(&at, name.as_str(), &request.headers, head).await;
    }
    let found = Resource::at(&scope, &href, Facts::NONE).await?;
    match &found.node {
        Node::Member(at, meta) => object(at, meta.name.as_str(), &request.headers, head).await,
        Node::Place(_) | Node::Principal | Node::Collection(_) => page(&scope, &found, head).await,
    }
}

async fn object(at: &Readable, name: &str, headers: &HeaderMap, head: bool) -> Result<Reply, Denied> {
    let object = at.object(name).await?.ok_or(Refusal::Missing)?;
    let meta = &object.meta;
    let conditions = Conditions::read(headers)?;
    if !conditions.is_empty() && conditions.fresh(State::of(meta))? {
        let mut reply = reply_empty(StatusCode::NOT_MODIFIED);
        describe(reply.headers_mut(), meta);
        return Ok(reply);
    }
    let mut reply = match range(headers, meta)? {
        Some((from, to)) if !head => part(&object, from, to),
        _ => whole(&object, head),
    };
    describe(reply.headers_mut(), meta);
    let content_type = HeaderValue::from_str(&meta.content_type)
        .unwrap_or(HeaderValue::from_static("application/octet-stream"));
    reply.headers_mut().insert(CONTENT_TYPE, content_type);
    reply.headers_mut().insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    if at.collection().kind == Kind::Files {
        // What a user uploads must not run in the name of this site.
        reply.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        reply.headers_mut().insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static("sandbox"));
    }
    Ok(reply)
}

/// The headers that 200, 206 and 304 share (RFC 9110 §15.4.5).
fn describe(headers: &mut HeaderMap, meta: &Meta) {
    if let Some(etag) = etag_header(&meta.etag.0) {
        headers.insert(ETAG, etag);
    }
    if let Ok(date) = HeaderValue::try_from(http_date(meta.modified)) {
        headers.insert(LAST_MODIFIED, date);
    }
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
}

/// Returns an entity-tag as a header: strong and quoted.
pub(super) fn etag_header(etag: &str) -> Option<HeaderValue> {
    let mut quoted = String::with_capacity(etag.len() + 2);
    quoted.push('"');
    quoted.push_str(etag);
    quoted.push('"');
    HeaderValue::try_from(quoted).ok()
}

fn whole(object: &Object, head: bool) -> Reply {
    if head {
        let mut reply = reply_empty(StatusCode::OK);
        reply.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(object.bytes.len()));
        return reply;
    }
    Reply::new(body(object.bytes.clone()))
}

fn part(object: &Object, from: u64, to: u64) -> Reply {
    let length = object.bytes.len() as u64;
    let bounds = |n: u64| usize::try_from(n).unwrap_or(usize::MAX).min(object.bytes.len());
    let mut reply = Reply::new(body(object.bytes.slice(bounds(from)..bounds(to.saturating_add(1)))));
    *reply.status_mut() = StatusCode::PARTIAL_CONTENT;
    if let Ok(value) = HeaderValue::try_from(format!("bytes {from}-{to}/{length}")) {
        reply.headers_mut().insert(CONTENT_RANGE, value);
    }
    reply
}

/// RFC 9110 §14: one range of bytes, both ends included. Several ranges, other units and what cannot be read are
/// ignored, as §14.2 allows.
fn range(headers: &HeaderMap, meta: &Meta) -> Result<Option<(u64, u64)>, Denied> {
    let Some(text) = headers.get("range").and_then(|value| value.to_str().ok()) else { return Ok(None) };
    if let Some(if_range) = headers.get("if-range").and_then(|value| value.to_str().ok()) {
        let tag = if_range.trim().trim_matches('"') == meta.etag.0;
        if !tag && if_range.trim() != http_date(meta.modified) {
            return Ok(None);
        }
    }
    let Some((first, last)) = text.trim().strip_prefix("bytes=").and_then(|spec| spec.split_once('-')) else {
        return Ok(None);
    };
    let (first, last) = (first.trim(), last.trim());
    let number = |text: &str| text.parse::<u64>().ok();
    let end = meta.size.saturating_sub(1);
    let bounds = match (first.is_empty(), last.is_empty()) {
        (true, true) => return Ok(None),
        // The last so many bytes; none of them is no range at all.
        (true, false) => {
            number(last).map(|n| (if n == 0 { meta.size } else { meta.size.saturating_sub(n) }, end))
        }
        (false, true) => number(first).map(|from| (from, end)),
        (false, false) => number(first).zip(number(last)).filter(|(from, to)| from <= to),
    };
    let Some((from, to)) = bounds else { return Ok(None) };
    if from >= meta.size {
        return Err(Protocol::Range(meta.size).into());
    }
    Ok(Some((from, to.min(end))))
}

/// How many members a page lists.
const LISTED: usize = 1000;

/// A plain page, for whoever opens the address in a browser.
async fn page(scope: &Scope, found: &Resource, head: bool) -> Result<Reply, Denied> {
    if found.kind().has(Kinds::PRINCIPAL) && found.collection().is_some() {
        return Err(not_here(found.kind()));
    }
    let mut html = String::from("<!doctype html><meta charset=\"utf-8\"><title>Kalends</title>");
    let _ = write!(
        html,
        "<h1>{}</h1><p>This is an address for calendar and file clients.</p><ul>",
        escaped(&found.path)
    );
    let mut members = found.members(Facts::NONE);
    let mut listed = 0;
    while let Some(page) = members.next(scope).await? {
        for member in page.iter().take(LISTED - listed) {
            let _ = write!(html, "<li><a href=\"{0}\">{0}</a>", escaped(&member.path));
        }
        listed += page.len();
        if listed >= LISTED {
            html.push_str("<li>…");
            break;
        }
    }
    html.push_str("</ul>\n");
    let mut reply = match head {
        true => {
            let mut reply = reply_empty(StatusCode::OK);
            reply.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(html.len()));
            reply
        }
        false => Reply::new(body(Bytes::from(html))),
    };
    let headers = reply.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(
        CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("default-src 'none'; sandbox allow-top-navigation"),
    );
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    Ok(reply)
}

//! From the first path segment to the door.
//!
//! Owns: which door a path leads to, signing in, the answers that need no door: health, discovery, the page at `/`.
//! Does not own: what a door answers; how requests arrive (`server`).

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode, header};
use http_body_util::{BodyExt as _, Empty, Full};
use hyper::body::{Body as _, Incoming};

use super::State;
use super::stream::Paced;
use super::{compat, figures};
use crate::auth::{Denied, Scope, Via, proxy};
use crate::http::{Body, Reply, Request};
use crate::store::Origin;
use crate::web::Web;

/// How long a client should stay away when something below failed.
const RETRY_AFTER: Duration = Duration::from_secs(30);
/// And when there was too much to do.
const SOON: Duration = Duration::from_secs(5);

/// Answers one request.
pub(super) async fn answer(state: &Arc<State>, request: http::Request<Incoming>, peer: IpAddr) -> Reply {
    let (mut head, incoming) = request.into_parts();
    // RFC 9113 §8.3.1: HTTP/2 says it as `:authority`; a Destination is compared with it.
    if !head.headers.contains_key(header::HOST)
        && let Some(Ok(host)) = head.uri.authority().map(|host| HeaderValue::from_str(host.as_str()))
    {
        head.headers.insert(header::HOST, host);
    }
    if let Some(reply) = at_the_door(&head) {
        return reply;
    }
    let body = if incoming.is_end_stream() {
        empty()
    } else {
        let asks_first = head.headers.contains_key(header::EXPECT);
        Body::new(Paced::new(incoming, asks_first))
    };
    let path = ours(state, head.uri.path());
    let request = Request {
        method: head.method,
        path: if path.is_empty() { "/".to_owned() } else { path.to_owned() },
        query: head.uri.query().map(str::to_owned),
        peer: proxy::client(peer, &head.headers, &state.trusted),
        headers: head.headers,
        body,
    };
    if state.compat.is_empty() {
        return lead(state, request).await;
    }
    let theirs = request.path.clone();
    let request = compat::translated(&state.compat, request);
    let door = (request.path != theirs).then(|| Door(door_of(&request.path)));
    let mut reply = lead(state, request).await;
    if let Some(door) = door {
        reply.extensions_mut().insert(door);
    }
    reply
}

/// The door that answered for a path which is another name of one of ours.
#[derive(Debug, Clone, Copy)]
struct Door(&'static str);

/// Leads a request to the door that its path names.
async fn lead(state: &Arc<State>, request: Request) -> Reply {
    // Clients double slashes (clients.md §0.1).
    let first = request.path.trim_start_matches('/').split('/').next().unwrap_or_default();
    match first {
        "" if matches!(request.method, Method::GET | Method::HEAD) => state.web.serve(request).await,
        "" | "dav" | "principals" | ".well-known" | "remote.php" => dav(state, request).await,
        "api" => api(state, request).await,
        "feeds" | "freebusy" => feeds(state, request).await,
        "oauth" | "hooks" => state.hooks.serve(request).await,
        "health" => text(StatusCode::OK, "alive\n"),
        "ready" => ready(state).await,
        "metrics" => figures::guarded(state, request).await,
        // Where programs look for it; the API has the same.
        "status" => {
            let path = format!("{}/{}", crate::api::PREFIX, request.path.trim_start_matches('/'));
            api(state, Request { path, ..request }).await
        }
        first if Web::owns(first) => state.web.serve(request).await,
        _ => nothing(),
    }
}

/// Returns the path without what a proxy puts in front of ours.
fn ours<'a>(state: &State, path: &'a str) -> &'a str {
    let rest = path.strip_prefix(&*state.prefix);
    rest.filter(|rest| rest.is_empty() || rest.starts_with('/')).unwrap_or(path)
}

/// Names the door that answered a request for this path, for counting.
pub(super) fn door(state: &State, path: &str, reply: &Reply) -> &'static str {
    reply.extensions().get::<Door>().map_or_else(|| door_of(ours(state, path)), |door| door.0)
}

fn door_of(path: &str) -> &'static str {
    let mut segments = path.trim_start_matches('/').split('/');
    match segments.next().unwrap_or_default() {
        "" => "page",
        // It lasts as long as the page is open.
        "live" => "changes",
        "dav" | "principals" | ".well-known" | "remote.php" => "dav",
        // Whoever waits for changes waits: their times would say nothing of the others'.
        "api" if segments.nth(1) == Some("changes") => "changes",
        "api" | "status" => "api",
        "feeds" | "freebusy" => "feeds",
        "oauth" | "hooks" => "hooks",
        "health" | "ready" | "metrics" => "probe",
        first if Web::owns(first) => "page",
        _ => "other",
    }
}

/// Answers what concerns no resource: a request that does not say which host it means, and `OPTIONS *`.
fn at_the_door(head: &http::request::Parts) -> Option<Reply> {
    let hosts = head.headers.get_all(header::HOST).iter().count();
    // RFC 9112 §3.2: exactly one, or a proxy in front and we may disagree on whom it is for.
    if hosts > 1 || (hosts == 0 && head.version == http::Version::HTTP_11) {
        return Some(text(StatusCode::BAD_REQUEST, "A request needs exactly one Host header.\n"));
    }
    // RFC 9110 §9.3.7.
    if head.method == Method::OPTIONS && head.uri.path() == "*" {
        return Some(text(StatusCode::OK, "This is a calendar server; calendars are below /dav/.\n"));
    }
    None
}

/// The JSON door.
async fn api(state: &Arc<State>, request: Request) -> Reply {
    let caller = state.guard.authenticate(&request.headers, request.peer).await;
    match state.rates.0.refuses(&caller, request.peer, state.house.clock.now()) {
        Some(wait) => {
            state.house.metrics.limited("api");
            state.api.too_many(wait)
        }
        None => state.api.serve(request, caller).await,
    }
}

/// Published feeds: nobody signs in there, so addresses are counted.
async fn feeds(state: &Arc<State>, request: Request) -> Reply {
    match state.rates.0.refuses(&Err(Denied::Missing), request.peer, state.house.clock.now()) {
        Some(wait) => {
            state.house.metrics.limited("feeds");
            later(text(StatusCode::TOO_MANY_REQUESTS, "Too many requests; wait a little.\n"), wait)
        }
        None => state.feeds.serve(request).await,
    }
}

/// The CalDAV and WebDAV door.
async fn dav(state: &Arc<State>, request: Request) -> Reply {
    if let Some(reply) = state.dav.unauthenticated(&request) {
        return reply;
    }
    if !matches!(request.path.trim_start_matches('/').split('/').next(), Some("" | "dav" | "principals")) {
        return nothing();
    }
    let caller = state.guard.authenticate(&request.headers, request.peer).await;
    if let Some(wait) = state.rates.1.refuses(&caller, request.peer, state.house.clock.now()) {
        state.house.metrics.limited("dav");
        let words = "Too many requests; wait a little.\n";
        return later(text(StatusCode::TOO_MANY_REQUESTS, words), wait);
    }
    let caller = match caller {
        Ok(caller) => caller,
        Err(denied) => return refused(denied),
    };
    if let Via::Token(_) = caller.via {
        let safe = matches!(request.method.as_str(), "GET" | "HEAD" | "OPTIONS" | "PROPFIND" | "REPORT");
        if !caller.may(if safe { Scope::Read } else { Scope::Events }) {
            return text(StatusCode::FORBIDDEN, "This token's scopes do not allow that.\n");
        }
    }
    let short = |text: &str| text.chars().take(80).collect();
    let agent = short(request.header("user-agent").unwrap_or_default());
    let origin = Origin::Dav { principal: caller.principal.name.clone(), agent, label: short(&caller.label) };
    state.dav.serve(request, state.house.session(caller.principal, origin)).await
}

/// Returns what a client is told that was not recognised.
pub(super) fn refused(denied: Denied) -> Reply {
    match denied {
        Denied::Missing => unauthorised("Sign in with your login name and a password or an app password.\n"),
        Denied::Wrong => unauthorised("The login name or the password is wrong.\n"),
        Denied::Slow(after) => {
            let words = "Too many wrong passwords came from your address; wait a little.\n";
            later(text(StatusCode::TOO_MANY_REQUESTS, words), after)
        }
        Denied::Busy => {
            let words = "Too many people are signing in at the same time; try again in a moment.\n";
            later(text(StatusCode::SERVICE_UNAVAILABLE, words), SOON)
        }
        // a 401 would make clients forget a good password, a 4xx switch their calendars off.
        Denied::Fault(fault) => {
            tracing::error!("nobody can sign in: {fault}");
            let words =
                "The server cannot find out who you are just now. Nothing is wrong with your password.\n";
            later(text(StatusCode::SERVICE_UNAVAILABLE, words), RETRY_AFTER)
        }
    }
}

/// RFC 7617. Basic alone: there are clients that fail on a scheme which they do not know.
fn unauthorised(words: &'static str) -> Reply {
    let mut reply = text(StatusCode::UNAUTHORIZED, words);
    let challenge = HeaderValue::from_static("Basic realm=\"Kalends\", charset=\"UTF-8\"");
    reply.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
    reply
}

/// Tells whether the store can be read.
async fn ready(state: &State) -> Reply {
    match state.house.store.health().await {
        Ok(()) => text(StatusCode::OK, "ready\n"),
        Err(fault) => {
            tracing::warn!("not ready: {fault}");
            later(text(StatusCode::SERVICE_UNAVAILABLE, "not ready: the store does not work\n"), RETRY_AFTER)
        }
    }
}

fn nothing() -> Reply {
    text(StatusCode::NOT_FOUND, "There is nothing here. Calendars are below /dav/.\n")
}

fn later(mut reply: Reply, after: Duration) -> Reply {
    reply.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(after.as_secs().max(1)));
    reply
}

/// A plain sentence.
pub(super) fn text(status: StatusCode, words: &'static str) -> Reply {
    let mut reply = Reply::new(full(Bytes::from_static(words.as_bytes())));
    *reply.status_mut() = status;
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    reply.headers_mut().insert(header::CONTENT_TYPE, plain);
    reply
}

pub(super) fn full(bytes: Bytes) -> Body {
    Body::new(Full::new(bytes).map_err(|never| match never {}))
}

fn empty() -> Body {
    Body::new(Empty::new().map_err(|never| match never {}))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use super::*;
    use crate::store::Fault;

    //
    #[test]
    fn an_outage_is_never_told_as_a_wrong_password() {
        let reply = refused(Denied::Fault(Fault::Broken("gone".into())));
        assert_eq!(reply.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(reply.headers().contains_key(header::RETRY_AFTER));
        assert!(!reply.headers().contains_key(header::WWW_AUTHENTICATE));
        for denied in [Denied::Missing, Denied::Wrong] {
            assert_eq!(refused(denied).headers().get_all(header::WWW_AUTHENTICATE).iter().count(), 1);
        }
        let slow = refused(Denied::Slow(Duration::from_millis(20)));
        assert_eq!(
            (slow.status(), &slow.headers()[header::RETRY_AFTER]),
            (StatusCode::TOO_MANY_REQUESTS, &HeaderValue::from(1))
        );
    }
}

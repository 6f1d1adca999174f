//! The door for people: pages in a browser.
//!
//! Owns: the route list, who may open what, what all pages have in common. One file a page below `pages/`, its mark-up below
//! `templates/`, its words in `texts`. Does not own: what happens: whatever a page shows or changes, it asks of the API's routes (`ask`),
//! as the account whose session the browser brought (decision 022). Signing in is `auth`'s.
//!
//! A new page is a file in `pages/`, a template, a line in [`ROUTES`] and, if it is in the menu, one in `shell::MENU`.

mod ask;
mod assets;
mod form;
mod pages;
mod shell;
mod texts;
mod visit;

use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;

use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use tokio_util::sync::CancellationToken;

use self::pages::{
    account, admin, bookings, calendar, conflicts, connections, devices, log, mappings, notifications,
    settings, setup, sharing, sign_in, start, trash, versions, webhooks,
};
use self::shell::Shell;
use self::visit::{Stop, Visit};
use crate::api::Api;
use crate::auth::{Denied, Guard, Rate, Scope};
use crate::http::path::captures;
use crate::http::{Reply, Request, Site};

type Answering<'a> = Pin<Box<dyn Future<Output = Result<Reply, Stop>> + Send + 'a>>;

/// Who may open a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum For {
    /// Everybody.
    All,
    /// Everybody, but not with HEAD: that it was asked for counts.
    Once,
    /// Who is signed in; others sign in first and come back.
    Members,
    /// Who administers the server.
    Admins,
}

/// One route.
struct Route {
    method: Method,
    /// The path below the prefix; a name in braces stands for one segment.
    path: &'static str,
    who: For,
    answer: for<'a> fn(&'a Web, Visit) -> Answering<'a>,
}

macro_rules! routes {
    ($($method:ident $path:literal $who:ident $answer:path;)*) => {
        /// Every route.
        static ROUTES: &[Route] = &[
            $(Route {
                method: Method::$method,
                path: $path,
                who: For::$who,
                answer: |web, visit| Box::pin($answer(web, visit)),
            },)*
        ];
    };
}

routes! {
    GET "/" All sign_in::home;
    GET "/sign-in" All sign_in::show;
    POST "/sign-in" All sign_in::enter;
    POST "/sign-out" Members sign_in::leave;
    GET "/setup" All setup::show;
    POST "/setup" All setup::administrator;
    GET "/account" Members account::show;
    POST "/account/sessions/{session}/end" Members account::end;
    POST "/account/sessions/end-others" Members account::end_others;
    GET "/calendar/events" Members calendar::events;
    GET "/calendar/event" Members calendar::event::show;
    POST "/calendar/event" Members calendar::event::keep;
    POST "/calendar/event/remove" Members calendar::event::remove;
    POST "/calendar/move" Members calendar::moved;
    GET "/calendar/why" Members calendar::event::why;
    GET "/calendar/calendar" Members calendar::calendar;
    POST "/calendar/calendar" Members calendar::keep_calendar;
    POST "/calendar/calendar/remove" Members calendar::remove_calendar;
    GET "/connections" Members connections::show;
    GET "/connect" Members connections::choose;
    GET "/connect/{kind}" Members connections::one;
    POST "/connect/{kind}" Members connections::connect;
    GET "/connections/{connection}" Members connections::account;
    GET "/connections/{connection}/reconnect" Members connections::again;
    POST "/connections/{connection}/reconnect" Members connections::reconnect;
    POST "/connections/{connection}/sync" Members connections::sync;
    POST "/connections/{connection}/disconnect" Members connections::disconnect;
    GET "/mappings" Members mappings::show;
    POST "/mappings" Members mappings::create;
    GET "/mappings/new" Members mappings::new;
    POST "/mappings/preview" Members mappings::preview;
    POST "/mappings/rows" Members settings::rows;
    GET "/mappings/{mapping}" Members mappings::one;
    POST "/mappings/{mapping}" Members mappings::change;
    GET "/mappings/{mapping}/state" Members mappings::state;
    POST "/mappings/{mapping}/act" Members mappings::act;
    GET "/conflicts" Members conflicts::show;
    GET "/conflicts/table.csv" Members conflicts::table;
    GET "/conflicts/{conflict}" Members conflicts::one;
    POST "/conflicts/{conflict}" Members conflicts::decide;
    GET "/log" Members log::show;
    GET "/log/{run}" Members log::one;
    GET "/devices" Members devices::show;
    POST "/devices" Members devices::add;
    POST "/devices/{device}/revoke" Members devices::revoke;
    GET "/devices/profile/{code}" Once devices::profile;
    GET "/notifications" Members notifications::show;
    GET "/notifications/count" Members notifications::count;
    POST "/notifications/read" Members notifications::read;
    GET "/start" Members start::show;
    GET "/start/reached" Members start::state;
    GET "/hello/{code}" Once start::hello;
    GET "/sharing" Members sharing::show;
    POST "/sharing" Members sharing::make;
    GET "/sharing/new" Members sharing::new;
    GET "/sharing/{feed}" Members sharing::one;
    POST "/sharing/{feed}" Members sharing::change;
    POST "/sharing/{feed}/rotate" Members sharing::rotate;
    POST "/sharing/{feed}/end" Members sharing::end;
    GET "/admin" Admins admin::show;
    GET "/admin/users" Admins admin::users::show;
    POST "/admin/users" Admins admin::users::create;
    GET "/admin/new-user" Admins admin::users::new;
    GET "/admin/users/{user}" Admins admin::user::show;
    POST "/admin/users/{user}" Admins admin::user::change;
    POST "/admin/users/{user}/password" Admins admin::user::password;
    POST "/admin/users/{user}/remove" Admins admin::user::remove;
    POST "/admin/users/{user}/devices/{device}/revoke" Admins admin::user::revoke;
    POST "/admin/users/{user}/sessions/{session}/end" Admins admin::user::end_session;
    GET "/admin/tokens" Admins admin::tokens::show;
    POST "/admin/tokens" Admins admin::tokens::create;
    POST "/admin/tokens/{user}/{token}/revoke" Admins admin::tokens::revoke;
    GET "/admin/configuration" Admins admin::configuration;
    GET "/trash" Members trash::show;
    POST "/trash/empty" Members trash::empty;
    GET "/trash/{item}" Members trash::one;
    POST "/trash/{item}/restore" Members trash::restore;
    POST "/trash/{item}/forget" Members trash::forget;
    GET "/versions" Members versions::show;
    POST "/versions/restore" Members versions::restore;
    GET "/webhooks" Members webhooks::show;
    POST "/webhooks" Members webhooks::make;
    GET "/webhooks/new" Members webhooks::new;
    GET "/webhooks/{webhook}" Members webhooks::one;
    POST "/webhooks/{webhook}" Members webhooks::change;
    POST "/webhooks/{webhook}/act" Members webhooks::act;
    POST "/webhooks/{webhook}/secret" Members webhooks::rotate;
    POST "/webhooks/{webhook}/test" Members webhooks::test;
    GET "/webhooks/{webhook}/deliveries/{delivery}" Members webhooks::delivery;
    POST "/webhooks/{webhook}/deliveries/{delivery}" Members webhooks::redeliver;
    GET "/bookings" Members bookings::show;
    POST "/bookings" Members bookings::make;
    GET "/bookings/new" Members bookings::new;
    GET "/bookings/free" Members bookings::free::show;
    GET "/bookings/settings" Members bookings::settings::show;
    POST "/bookings/settings" Members bookings::settings::keep;
    GET "/bookings/{booking}" Members bookings::one;
    POST "/bookings/{booking}/act" Members bookings::act;
    POST "/bookings/{booking}/move" Members bookings::reschedule;
    GET "/live" Members calendar::live;
    GET "/assets/{digest}/{name}" All assets::serve;
}

/// The door.
#[derive(Debug)]
pub struct Web {
    api: Arc<Api>,
    guard: Arc<Guard>,
    rate: Arc<Rate>,
    /// The base URL without a slash at its end.
    base: String,
    /// It was configured, not guessed.
    configured: bool,
    prefix: String,
    first: setup::First,
    profiles: devices::Profiles,
    reached: start::Reached,
}

/// What the door stands before.
#[derive(Debug)]
pub struct Parts {
    /// The door that does the work.
    pub api: Arc<Api>,
    /// Who is asking.
    pub guard: Arc<Guard>,
    /// The base URL was configured, not guessed.
    pub configured: bool,
    /// Requests that are counted; those of programs count there, too.
    pub rate: Arc<Rate>,
    /// The server stops.
    pub closing: CancellationToken,
}

impl Web {
    /// Returns the door.
    ///
    /// # Errors
    /// A sentence: the base URL is none, or the system has no random numbers.
    pub fn new(parts: Parts, base_url: &str) -> Result<Web, String> {
        let Parts { api, guard, configured, rate, closing: _ } = parts;
        let prefix = Site::new(base_url)?.prefix().to_owned();
        let base = base_url.trim_end_matches('/').to_owned();
        let (first, profiles, reached) =
            (setup::First::new()?, devices::Profiles::default(), start::Reached::new());
        Ok(Web { api, guard, rate, base, configured, prefix, first, profiles, reached })
    }

    /// Returns the address under which the first account is made; it works while there is none.
    pub fn setup_link(&self) -> String {
        format!("{}/setup?code={}", self.base, self.first.code())
    }

    /// Tells whether paths that begin with this segment are pages.
    pub fn owns(first: &str) -> bool {
        ROUTES.iter().any(|route| route.path.split('/').nth(1) == Some(first))
    }

    /// Answers a request for a page.
    pub async fn serve(&self, request: Request) -> Reply {
        let head = request.method == Method::HEAD;
        let seen = Seen::of(&request);
        let mut reply = match self.answer(request).await {
            Ok(reply) => reply,
            Err(stop) => self.stopped(stop, &seen),
        };
        if head {
            *reply.body_mut() = crate::http::body(bytes::Bytes::new());
        }
        reply
    }

    async fn answer(&self, request: Request) -> Result<Reply, Stop> {
        let path = request.path.trim_end_matches('/').to_owned();
        let path = if path.is_empty() { "/".to_owned() } else { path };
        let method = if request.method == Method::HEAD { Method::GET } else { request.method.clone() };
        let matching: Vec<(&Route, Vec<String>)> =
            ROUTES.iter().filter_map(|route| Some((route, captures(route.path, &path)?))).collect();
        // A path that is spelled out goes before one with a name in it.
        let exact = |r: &&(&Route, Vec<String>)| r.1.is_empty();
        let of_method = || matching.iter().filter(|(route, _)| route.method == method);
        let Some((route, ids)) = of_method().find(exact).or_else(|| of_method().next()) else {
            return Err(if matching.is_empty() { Stop::Missing } else { Stop::Method });
        };
        if route.who == For::Once && request.method == Method::HEAD {
            return Err(Stop::Method);
        }
        if assets::is(route.path) {
            return assets::answer(ids, &request.headers);
        }
        let who = self.guard.signed_in(&request.headers, &self.base).await?;
        let caller = who.as_ref().map(|who| who.caller.clone()).ok_or(Denied::Missing);
        let house = self.guard.house();
        if let Some(wait) = self.rate.refuses(&caller, request.peer, house.clock.now()) {
            house.metrics.limited("page");
            return Err(Stop::Slow(wait));
        }
        let visit = Visit::read(request, ids.clone(), who).await?;
        match &visit.who {
            None if !matches!(route.who, For::All | For::Once) => {
                return Err(Stop::SignIn(visit.came_from(&self.prefix)));
            }
            Some(who) if route.who == For::Admins && !who.caller.may(Scope::Admin) => {
                return Err(Stop::Admins);
            }
            _ => {}
        }
        if method != Method::GET {
            visit.meant(&self.base)?;
        }
        (route.answer)(self, visit).await
    }

    fn stopped(&self, stop: Stop, seen: &Seen) -> Reply {
        use texts::T;
        let mut wait = None;
        let (status, title, detail) = match stop {
            Stop::Go(path) => return self.go(&path),
            Stop::SignIn(from) => {
                let next: String = url::form_urlencoded::byte_serialize(from.as_bytes()).collect();
                return self.lead(&format!("/sign-in?next={next}"), seen);
            }
            Stop::Missing => (StatusCode::NOT_FOUND, T.missing, T.missing_hint.to_owned()),
            Stop::Method => (StatusCode::METHOD_NOT_ALLOWED, T.missing, T.missing_hint.to_owned()),
            Stop::Forged => (StatusCode::FORBIDDEN, T.forged, T.forged_hint.to_owned()),
            Stop::Admins => (StatusCode::FORBIDDEN, T.admins_only, T.admins_only_hint.to_owned()),
            Stop::Slow(time) => {
                wait = Some(time);
                (StatusCode::TOO_MANY_REQUESTS, T.too_fast, T.too_fast_hint.to_owned())
            }
            Stop::Refused(status, detail) => (status, T.not_done, detail),
            Stop::Failed(why) => {
                tracing::error!("a page could not be shown: {why}");
                (StatusCode::SERVICE_UNAVAILABLE, T.failed, T.failed_hint.to_owned())
            }
        };
        let mut reply = if seen.fragment {
            shell::toast(status, &detail)
        } else {
            let page = pages::Stopped { s: Shell::bare(self, title), detail };
            shell::page(status, &page.s, &page)
        };
        if let Some(wait) = wait {
            let seconds = wait.as_millis().div_ceil(1000).max(1);
            let seconds = HeaderValue::from(u64::try_from(seconds).unwrap_or(u64::MAX));
            reply.headers_mut().insert(header::RETRY_AFTER, seconds);
        }
        reply
    }

    /// Sends the browser elsewhere on this server.
    fn go(&self, path: &str) -> Reply {
        let mut reply = crate::http::reply_empty(StatusCode::SEE_OTHER);
        if let Ok(value) = HeaderValue::from_str(&format!("{}{path}", self.prefix)) {
            reply.headers_mut().insert(header::LOCATION, value);
        }
        reply
    }

    /// Sends the whole page elsewhere, also if a part of it was asked for.
    fn lead(&self, path: &str, seen: &Seen) -> Reply {
        if !seen.fragment {
            return self.go(path);
        }
        let mut reply = crate::http::reply_empty(StatusCode::OK);
        if let Ok(value) = HeaderValue::from_str(&format!("{}{path}", self.prefix)) {
            reply.headers_mut().insert("hx-redirect", value);
        }
        reply
    }

    /// Returns the address where the pages work, if this browser came by another one: the cookie of a session over https is kept by no
    /// browser that asks over http. A proxy says that it is one.
    fn elsewhere(&self, visit: &Visit) -> Option<String> {
        let host = self.base.strip_prefix("https://")?.split('/').next()?;
        let through = ["x-forwarded-proto", "x-forwarded-for", "forwarded", "via"];
        let called = visit.header("host")?;
        let other = called != host && !through.iter().any(|name| visit.headers.contains_key(*name));
        other.then(|| self.base.clone())
    }

    /// Returns the address that programs and devices use: unless it is configured, the browser knows best under which one it found us.
    fn address(&self, headers: &HeaderMap) -> String {
        match headers.get(header::HOST).and_then(|host| host.to_str().ok()).filter(|_| !self.configured) {
            Some(host) => format!("http://{host}"),
            None => self.base.clone(),
        }
    }
}

/// What of a request decides how a refusal looks.
#[derive(Debug, Clone, Copy)]
struct Seen {
    /// A part of a page was asked for, not a page.
    fragment: bool,
}

impl Seen {
    fn of(request: &Request) -> Seen {
        Seen { fragment: request.header("hx-request").is_some() }
    }
}

/// Returns what a client's browser calls itself, and where it is.
fn agent(visit: &Visit) -> (&str, IpAddr) {
    (visit.header("user-agent").unwrap_or_default(), visit.peer)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn no_route_is_listed_twice_and_each_change_is_a_post() {
        let mut seen = std::collections::BTreeSet::new();
        for route in ROUTES {
            assert!(seen.insert((route.method.as_str(), route.path)), "{} {}", route.method, route.path);
            assert!(matches!(route.method, Method::GET | Method::POST), "{}", route.path);
        }
    }

    #[test]
    fn only_pages_are_ours() {
        for first in ["", "sign-in", "setup", "assets"] {
            assert!(Web::owns(first), "{first}");
        }
        for first in ["api", "dav", "feeds", "hooks", "oauth", "health", "x"] {
            assert!(!Web::owns(first), "{first}");
        }
    }
}

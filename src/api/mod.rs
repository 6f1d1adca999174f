//! The JSON door: `/api/v1`.
//!
//! Owns: the route list, reading and writing JSON, what each route needs of a caller.
//! Does not own: signing in (`auth`), what the bridge and the calendars do. Never imports another door.

mod calendars;
mod conflicts;
mod connections;
mod hook;
mod json;
mod mappings;
mod notices;
mod problem;
mod runs;
mod terms;
mod trash;
mod versions;
mod why;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use http::{HeaderValue, Method, StatusCode, header};

use self::json::Call;
use self::problem::Problem;
use crate::auth::{Caller, Denied, Scope, Via};
use crate::bridge::Bridge;
use crate::calendar::House;
use crate::http::{Reply, Request, Site};

/// Where the door is.
pub const PREFIX: &str = "/api/v1";

type Answering<'a> = Pin<Box<dyn Future<Output = Result<Reply, Problem>> + Send + 'a>>;

/// One route.
pub struct Route {
    /// The method.
    pub method: Method,
    /// The path below `PREFIX`; `{}` stands for one segment.
    pub path: &'static str,
    /// Any of these scopes suffices.
    pub scopes: &'static [Scope],
    answer: for<'a> fn(&'a Api, Call) -> Answering<'a>,
}

impl std::fmt::Debug for Route {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.method, self.path)
    }
}

/// Looking at what bridges do.
const LOOK: &[Scope] = &[Scope::Read, Scope::Bridges];
/// Changing what bridges do.
const BRIDGES: &[Scope] = &[Scope::Bridges];
/// Changing calendars.
const EVENTS: &[Scope] = &[Scope::Events];

macro_rules! routes {
    ($($method:ident $path:literal $scopes:ident $answer:path;)*) => {
        /// Every route, in the order in which they are tried.
        pub static ROUTES: &[Route] = &[
            $(Route {
                method: Method::$method,
                path: $path,
                scopes: $scopes,
                answer: |api, call| Box::pin($answer(api, call)),
            },)*
        ];
    };
}

routes! {
    GET "/calendars" LOOK calendars::list;
    POST "/calendars" EVENTS calendars::create;
    GET "/calendars/{}" LOOK calendars::one;
    PATCH "/calendars/{}" EVENTS calendars::change;
    DELETE "/calendars/{}" EVENTS calendars::remove;
    GET "/calendars/{}/events/{}/versions" LOOK versions::list;
    GET "/calendars/{}/events/{}/versions/{}" LOOK versions::one;
    POST "/calendars/{}/events/{}/versions/{}/restore" EVENTS versions::restore;
    GET "/events/{}/why" LOOK why::why;
    GET "/connections" LOOK connections::list;
    POST "/connections" BRIDGES connections::create;
    POST "/connections/caldav" BRIDGES connections::create_caldav;
    POST "/connections/cozi" BRIDGES connections::create_cozi;
    POST "/connections/google" BRIDGES connections::create_google;
    POST "/connections/icloud" BRIDGES connections::create_icloud;
    POST "/connections/ics" BRIDGES connections::create_ics;
    POST "/connections/outlook" BRIDGES connections::create_outlook;
    GET "/connections/{}" LOOK connections::one;
    PATCH "/connections/{}" BRIDGES connections::change;
    DELETE "/connections/{}" BRIDGES connections::remove;
    GET "/connections/{}/calendars" LOOK connections::calendars;
    POST "/connections/{}/reconnect" BRIDGES connections::reconnect;
    POST "/connections/{}/sync" BRIDGES mappings::sync_connection;
    GET "/mappings" LOOK mappings::list;
    POST "/mappings" BRIDGES mappings::create;
    POST "/mappings/preview" BRIDGES mappings::preview;
    POST "/mappings/link" BRIDGES mappings::link;
    GET "/mappings/{}" LOOK mappings::one;
    PATCH "/mappings/{}" BRIDGES mappings::change;
    DELETE "/mappings/{}" BRIDGES mappings::remove;
    POST "/mappings/{}/hook" BRIDGES hook::open;
    DELETE "/mappings/{}/hook" BRIDGES hook::close;
    POST "/mappings/{}/sync" BRIDGES mappings::sync;
    POST "/sync" BRIDGES mappings::sync_all;
    GET "/runs" LOOK runs::list;
    GET "/runs/{}" LOOK runs::one;
    GET "/conflicts" LOOK conflicts::list;
    GET "/conflicts/{}" LOOK conflicts::one;
    GET "/conflicts.csv" LOOK conflicts::csv;
    POST "/conflicts/{}/resolve" BRIDGES conflicts::resolve;
    POST "/conflicts/{}/undo" BRIDGES conflicts::undo;
    GET "/notifications" LOOK notices::list;
    POST "/notifications/read-all" LOOK notices::read_all;
    POST "/notifications/{}/read" LOOK notices::read;
    GET "/trash" LOOK trash::list;
    GET "/trash/{}" LOOK trash::one;
    POST "/trash/{}/restore" EVENTS trash::restore;
    DELETE "/trash/{}" EVENTS trash::remove;
}

/// The door.
#[derive(Debug)]
pub struct Api {
    house: Arc<House>,
    bridge: Arc<Bridge>,
    site: Site,
}

impl Api {
    /// Returns the door of this house.
    ///
    /// # Errors
    /// A sentence if the base URL is none.
    pub fn new(house: Arc<House>, bridge: Arc<Bridge>, base_url: &str) -> Result<Api, String> {
        Ok(Api { house, bridge, site: Site::new(base_url)? })
    }

    /// Answers a request whose path begins with `PREFIX`, from whoever the guard recognised.
    pub async fn serve(&self, request: Request, caller: Result<Caller, Denied>) -> Reply {
        match self.answer(request, caller).await {
            Ok(reply) => reply,
            Err(problem) => problem.reply(),
        }
    }

    async fn answer(&self, request: Request, caller: Result<Caller, Denied>) -> Result<Reply, Problem> {
        let caller = recognised(caller)?;
        let path = request.path.trim_start_matches('/');
        let path = format!("/{path}");
        let below = path.strip_prefix(PREFIX).unwrap_or_default().trim_end_matches('/');
        let matching: Vec<(&Route, Vec<String>)> =
            ROUTES.iter().filter_map(|route| Some((route, captures(route.path, below)?))).collect();
        // A path that is spelled out goes before one with a name in it.
        let exact = |r: &&(&Route, Vec<String>)| r.1.is_empty();
        let head = request.method == Method::HEAD;
        let method = if head { Method::GET } else { request.method.clone() };
        let of_method = || matching.iter().filter(|(route, _)| route.method == method);
        let found = of_method().find(exact).or_else(|| of_method().next());
        let Some((route, ids)) = found else {
            if matching.is_empty() {
                return Err(Problem::missing("There is nothing at this address."));
            }
            let allow: Vec<&str> = matching.iter().map(|(route, _)| route.method.as_str()).collect();
            return Err(Problem::method(&allow.join(", ")));
        };
        if !route.scopes.iter().any(|scope| caller.may(*scope)) {
            let names: Vec<&str> = route.scopes.iter().map(|scope| scope.as_str()).collect();
            return Err(Problem::scope(&names.join("` or `")));
        }
        let call = Call::read(request, caller, ids.clone()).await?;
        (route.answer)(self, call).await
    }
}

/// Only bearer tokens sign in here: a browser that remembers a password would send it along unasked.
fn recognised(caller: Result<Caller, Denied>) -> Result<Caller, Problem> {
    match caller {
        Ok(caller) if matches!(caller.via, Via::Token(_)) => Ok(caller),
        Ok(_) => Err(Problem::unauthenticated("Programs sign in with a bearer token, not with a password.")),
        Err(Denied::Missing) => Err(Problem::unauthenticated("Sign in with a bearer token.")),
        Err(Denied::Wrong) => Err(Problem::unauthenticated("The token is not one of this server.")),
        Err(Denied::Busy) => Err(crate::store::Fault::Broken("too many sign-ins at a time".into()).into()),
        Err(Denied::Slow(wait)) => {
            Err(Problem::wait(wait, "Too many wrong credentials came from your address; wait a little."))
        }
        Err(Denied::Fault(fault)) => Err(fault.into()),
    }
}

/// Returns what stands for the `{}` of a route, if the path is one of its.
fn captures(route: &str, path: &str) -> Option<Vec<String>> {
    let mut captured = Vec::new();
    let (mut of_route, mut of_path) = (route.split('/'), path.split('/'));
    loop {
        match (of_route.next(), of_path.next()) {
            (None, None) => return Some(captured),
            (Some("{}"), Some(segment)) if !segment.is_empty() => {
                captured.push(percent_encoding::percent_decode_str(segment).decode_utf8().ok()?.into_owned());
            }
            (Some(wanted), Some(segment)) if wanted == segment => {}
            _ => return None,
        }
    }
}

/// Adds where a new or running thing is.
fn located(mut reply: Reply, site: &Site, path: &str) -> Reply {
    if let Ok(value) = HeaderValue::from_str(&format!("{}{PREFIX}{path}", site.prefix())) {
        reply.headers_mut().insert(header::LOCATION, value);
    }
    reply
}

/// Answers without a body.
fn done() -> Reply {
    crate::http::reply_empty(StatusCode::NO_CONTENT)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn routes_are_found_by_their_shape() {
        assert_eq!(captures("/runs/{}", "/runs/a%2Fb"), Some(vec!["a/b".to_owned()]));
        assert_eq!(captures("/runs", "/runs"), Some(vec![]));
        for other in ["/runs/", "/runs/a/b", "/run/a", ""] {
            assert_eq!(captures("/runs/{}", other), None, "{other}");
        }
    }

    /// The rows of `docs/api.md`, as `METHOD path scopes`; a segment in capitals stands for any.
    #[test]
    fn the_page_about_the_routes_names_all_of_them() {
        let page = include_str!("../../docs/api.md");
        let code = |cell: &str| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>();
        let mut told: Vec<String> = Vec::new();
        for line in page.lines().filter(|line| line.starts_with("| `") && line.contains(" /")) {
            let cells: Vec<&str> = line.split('|').collect();
            let place = |segment: &str| {
                if segment.bytes().all(|b| b.is_ascii_uppercase()) && !segment.is_empty() {
                    "{}".to_owned()
                } else {
                    segment.to_owned()
                }
            };
            let route = code(cells[1]).remove(0);
            let (method, path) = route.split_once(' ').unwrap();
            let path: Vec<String> = path.split('/').map(place).collect();
            told.push(format!("{method} {} {}", path.join("/"), code(cells[2]).join(" ")));
        }
        let scopes = |route: &Route| route.scopes.iter().map(|s| s.as_str()).collect::<Vec<_>>().join(" ");
        let mut there: Vec<String> = ROUTES.iter().map(|r| format!("{r:?} {}", scopes(r))).collect();
        told.sort();
        there.sort();
        assert_eq!(told, there);
    }

    #[test]
    fn no_route_is_listed_twice() {
        let mut seen = std::collections::BTreeSet::new();
        for route in ROUTES {
            assert!(seen.insert((route.method.as_str(), route.path)), "{route:?}");
            assert!(!route.scopes.is_empty());
        }
    }
}

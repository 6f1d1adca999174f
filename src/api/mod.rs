//! The JSON door: `/api/v1`.
//!
//! Owns: the route list, reading and writing JSON, what each route needs of a caller.
//! Does not own: signing in (`auth`), what the bridge and the calendars do. Never imports another door.

mod availability;
mod booking_settings;
mod bookings;
mod calendars;
mod changes;
mod configuration;
mod conflicts;
mod connections;
mod events;
mod feeds;
mod freshness;
mod hook;
mod json;
mod mappings;
mod moments;
mod notices;
mod openapi;
mod problem;
mod receipt;
mod routes;
mod runs;
mod status;
mod terms;
mod told;
mod trash;
mod users;
mod versions;
mod voice;
mod webhooks;
mod why;

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, LazyLock};

use http::{HeaderValue, Method, StatusCode, header};
use tokio_util::sync::CancellationToken;

pub use self::configuration::{Configured, Source};
use self::json::Call;
pub use self::openapi::text as openapi;
use self::problem::Problem;
use self::receipt::{Found, Receipts};
pub use self::routes::ROUTES;
use self::told::Told;
use crate::auth::grant::Keyring;
use crate::auth::{Caller, Denied, Guard, Scope, Via};
use crate::bridge::Bridge;
use crate::calendar::House;
use crate::feed::Links;
use crate::http::path::{captures, is_of};
use crate::http::{Reply, Request, Site};
use crate::store::Fault;
use crate::webhook::Webhooks;

/// Where the door is.
pub const PREFIX: &str = "/api/v1";
/// What the pages call themselves when they ask.
pub const PAGES: &str = "kalends-pages";

type Answering<'a> = Pin<Box<dyn Future<Output = Result<Reply, Problem>> + Send + 'a>>;

/// One route.
pub struct Route {
    /// The method.
    pub method: Method,
    /// The path below `PREFIX`; a name in braces stands for one segment.
    pub path: &'static str,
    /// Any of these scopes suffices.
    pub scopes: &'static [Scope],
    /// What the OpenAPI document says of it.
    told: Told,
    answer: for<'a> fn(&'a Api, Call) -> Answering<'a>,
}

impl std::fmt::Debug for Route {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.method, self.path)
    }
}

/// The door.
#[derive(Debug)]
pub struct Api {
    house: Arc<House>,
    guard: Arc<Guard>,
    bridge: Arc<Bridge>,
    /// Published links.
    feeds: Arc<Links>,
    /// Who is told of what happens.
    webhooks: Arc<Webhooks>,
    /// Whether new links show reminders.
    feed_alarms: bool,
    configuration: Vec<Configured>,
    receipts: Receipts,
    streams: changes::Streams,
    /// The server stops: whoever waits is answered now.
    closing: CancellationToken,
    site: Site,
}

/// What the door stands before.
#[derive(Debug)]
pub struct Parts {
    /// The rules.
    pub house: Arc<House>,
    /// Who looks after accounts.
    pub guard: Arc<Guard>,
    /// The bridge.
    pub bridge: Arc<Bridge>,
    /// What seals answers that are kept.
    pub keyring: Arc<Keyring>,
    /// Published links.
    pub feeds: Arc<Links>,
    /// Who is told of what happens.
    pub webhooks: Arc<Webhooks>,
    /// Whether new links show reminders (`feeds.alarms`).
    pub feed_alarms: bool,
    /// Every option as it is, to be told.
    pub configuration: Vec<Configured>,
    /// The server stops.
    pub closing: CancellationToken,
}

impl Api {
    /// Returns the door of this house.
    ///
    /// # Errors
    /// A sentence if the base URL is none.
    pub fn new(parts: Parts, base_url: &str) -> Result<Api, String> {
        let Parts { house, guard, bridge, keyring, feeds, webhooks, feed_alarms, configuration, closing } =
            parts;
        let (receipts, streams) = (Receipts::new(keyring), changes::Streams::default());
        let site = Site::new(base_url)?;
        Ok(Api {
            house,
            guard,
            bridge,
            feeds,
            webhooks,
            feed_alarms,
            configuration,
            receipts,
            streams,
            closing,
            site,
        })
    }

    /// Answers a request whose path begins with `PREFIX`, from whoever the guard recognised.
    pub async fn serve(&self, request: Request, caller: Result<Caller, Denied>) -> Reply {
        match self.answer(request, caller).await {
            Ok(reply) => reply,
            Err(problem) => problem.reply(),
        }
    }

    /// Answers a request that was one too many.
    pub fn too_many(&self, wait: std::time::Duration) -> Reply {
        Problem::wait(wait, "Too many requests came within a minute; wait a little.").reply()
    }

    /// Forgets answers that no `Idempotency-Key` brings back any more. Returns how many.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn forget_receipts(&self) -> Result<usize, Fault> {
        self.receipts.forget(&self.house).await
    }

    async fn answer(&self, request: Request, caller: Result<Caller, Denied>) -> Result<Reply, Problem> {
        let path = request.path.trim_start_matches('/');
        let path = format!("/{path}");
        let below = path.strip_prefix(PREFIX).unwrap_or_default().trim_end_matches('/');
        // How to sign in is what it tells.
        if below == "/openapi.json" && matches!(request.method, Method::GET | Method::HEAD) {
            return Ok(json::reply(StatusCode::OK, &openapi::DOCUMENT));
        }
        let caller = recognised(caller)?;
        let matching = matching(below);
        let head = request.method == Method::HEAD;
        let method = if head { &Method::GET } else { &request.method };
        let Some(route) = matching.iter().find(|route| route.method == *method) else {
            if matching.is_empty() {
                return Err(Problem::missing("There is nothing at this address."));
            }
            let allow: Vec<&str> = matching.iter().map(|route| route.method.as_str()).collect();
            return Err(Problem::method(&allow.join(", ")));
        };
        let Some(ids) = captures(route.path, below) else {
            return Err(Problem::missing("There is nothing at this address."));
        };
        // A person may do with their own account on a page what an administrator may do with any.
        let own =
            || route.told.own && caller.via == Via::Session && ids.first() == Some(&caller.principal.name);
        if !route.scopes.iter().any(|scope| caller.may(*scope)) && !own() {
            let names: Vec<&str> = route.scopes.iter().map(|scope| scope.as_str()).collect();
            return Err(Problem::scope(&names.join("` or `")));
        }
        // One that cannot be read is refused like an empty one: to ignore it would be to do a thing twice.
        let chosen = request.headers.get("idempotency-key").filter(|_| route.method == Method::POST);
        let chosen = chosen.map(|value| value.to_str().unwrap_or_default().to_owned());
        let call = Call::read(request, caller, ids).await?;
        call.agrees(route.told.query)?;
        match chosen {
            Some(chosen) => self.once(route, below, call, &chosen).await,
            None => (route.answer)(self, call).await,
        }
    }

    /// Carries a wish out once, however often it is sent.
    async fn once(&self, route: &Route, path: &str, mut call: Call, chosen: &str) -> Result<Reply, Problem> {
        let token = call.caller.token.clone().unwrap_or_default();
        let key = Receipts::key(call.owner(), &token, chosen)?;
        let _turn = self.receipts.turn(&key).await;
        let slip = match self.receipts.find(&self.house, key, &call.wish(path)).await? {
            Found::Again(reply) => return Ok(reply),
            Found::Nothing(slip) => Arc::new(slip),
        };
        call.slip = Some(Arc::clone(&slip));
        let reply = (route.answer)(self, call).await?;
        self.receipts.keep(&self.house, &slip, reply).await
    }
}

/// Only bearer tokens sign in here: a browser that remembers a password would send it along unasked. The pages of the server ask on
/// behalf of a session whose cookie they have looked at; nothing that comes to this door from outside is one.
fn recognised(caller: Result<Caller, Denied>) -> Result<Caller, Problem> {
    match caller {
        Ok(caller) if matches!(caller.via, Via::Token(_) | Via::Session) => Ok(caller),
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

/// The routes by how many segments their paths have.
static BY_LENGTH: LazyLock<Vec<Vec<&'static Route>>> = LazyLock::new(|| {
    let mut all = Vec::new();
    for route in ROUTES {
        let length = route.path.split('/').count();
        if all.len() <= length {
            all.resize_with(length + 1, Vec::new);
        }
        if let Some(of) = all.get_mut(length) {
            of.push(route);
        }
    }
    all
});

/// Returns the routes that a path is of; one that is spelled out goes before one with a name in it.
fn matching(path: &str) -> Vec<&'static Route> {
    let of = BY_LENGTH.get(path.split('/').count()).into_iter().flatten().copied();
    let mut found: Vec<&Route> = of.filter(|route| is_of(route.path, path)).collect();
    if found.iter().any(|route| !route.path.contains('{')) {
        found.retain(|route| !route.path.contains('{'));
    }
    found
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
        let mut there: Vec<String> = ROUTES
            .iter()
            .map(|route| {
                let place = |segment: &str| {
                    if segment.starts_with('{') { "{}".to_owned() } else { segment.to_owned() }
                };
                let path: Vec<String> = route.path.split('/').map(place).collect();
                format!("{} {} {}", route.method, path.join("/"), scopes(route))
            })
            .collect();
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

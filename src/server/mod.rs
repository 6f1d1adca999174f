//! Listens, accepts, answers, drains.
//!
//! Owns: the listener, connections and their limits, panics, the followers' lives, the real clock.
//! Does not own: what a path means (`route`), who is asking (`auth`), protocols (`dav`).

pub mod admin;
pub mod compat;
mod figures;
pub mod log;
pub mod notify;
mod route;
mod stream;
mod tasks;

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::PermissionsExt as _;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::FutureExt as _;
use http::StatusCode;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulConnection, GracefulShutdown, Watcher};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::admin::Office;
use crate::api::{self, Api};
use crate::auth::grant::{Keyring, Secret};
use crate::auth::{Guard, Rate, Scope, Scopes};
use crate::bridge::{Bridge, MassDelete, Settings};
use crate::calendar::{Clock, House, NewPrincipal};
use crate::config::Config;
use crate::dav::{self, Dav};
use crate::feed::{Feeds, Hints, Links};
use crate::follow::follow;
use crate::hooks::Hooks;
use crate::http::Reply;
use crate::http::fetch::{Fetch, Network, Private, Timeouts, Ways};
use crate::mail::{self, Post};
use crate::store::{Options, Sled, Store, Timestamp};
use crate::web::{self, Web};
use crate::webhook::Webhooks;

/// The head of a request must be complete within this time; an idle connection is closed after it.
const HEAD: Duration = Duration::from_secs(10);
/// Bytes of a request's head.
const HEAD_SIZE: usize = 64 << 10;
/// Running requests have this long to end.
const DRAIN: Duration = Duration::from_secs(10);
/// After a failed `accept` (no more file descriptors), before the next.
const PAUSE: Duration = Duration::from_millis(50);
/// What the store says when another process has it.
pub(crate) const IN_USE: &str = "another process has it open";
/// What a client speaks first that knows us to speak HTTP/2 (RFC 9113 §3.4).
const HTTP2: &[u8] = b"PRI * HTTP/2.0";

/// When the process began to serve, in seconds since 1970.
fn began() -> f64 {
    static BEGAN: std::sync::OnceLock<f64> = std::sync::OnceLock::new();
    let now = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    *BEGAN.get_or_init(now)
}

/// The wall clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }
}

/// What every request needs.
struct State {
    house: Arc<House>,
    guard: Arc<Guard>,
    bridge: Arc<Bridge>,
    /// Other documents' paths that are known.
    compat: Vec<compat::Set>,
    /// Requests to the API and to pages, and to CalDAV.
    rates: (Arc<Rate>, Rate),
    dav: Dav,
    api: Arc<Api>,
    web: Web,
    feeds: Feeds,
    hooks: Hooks,
    /// The path that a proxy puts in front of ours; empty or like `/calendars`.
    prefix: String,
    trusted: Vec<Network>,
}

/// Opens the store and starts to serve.
#[derive(Debug)]
pub struct Server;

/// A server that is serving. Dropping it does not stop it: call [`Running::shutdown`].
#[derive(Debug)]
pub struct Running {
    address: SocketAddr,
    metrics: Option<SocketAddr>,
    base: String,
    setup: String,
    house: Arc<House>,
    guard: Arc<Guard>,
    bridge: Arc<Bridge>,
    stop: CancellationToken,
    done: JoinHandle<()>,
}

/// Opens the house that the configuration describes, without serving it.
///
/// # Errors
/// A sentence.
pub async fn open(config: &Config) -> Result<Arc<House>, String> {
    let path = config.store.clone();
    let fresh = !path.exists();
    let opened = tokio::task::spawn_blocking(move || Sled::open(&path, Options::default())).await;
    let store = opened.map_err(|error| format!("opening the store failed: {error}"))?;
    let store = store
        .map_err(|fault| format!("the store in {} cannot be opened: {fault}", config.store.display()))?;
    if fresh {
        // A directory that was there keeps its mode: its owner chose it.
        let private = std::fs::Permissions::from_mode(0o700);
        std::fs::set_permissions(&config.store, private)
            .map_err(|error| format!("{}: {error}", config.store.display()))?;
    }
    let store: Arc<dyn Store> = Arc::new(store);
    Ok(House::new(store, Arc::new(SystemClock), config.limits.clone()))
}

/// Opens the house, waiting a little for a command that is just using it.
async fn open_soon(config: &Config) -> Result<Arc<House>, String> {
    for _ in 0..50 {
        match open(config).await {
            Err(why) if why.contains(IN_USE) => tokio::time::sleep(Duration::from_millis(100)).await,
            other => return other,
        }
    }
    open(config).await
}

impl Server {
    /// Starts to serve. With port 0 the system chooses one: see [`Running::address`].
    ///
    /// # Errors
    /// A sentence: the address is taken, the store cannot be opened.
    pub async fn start(config: Config) -> Result<Running, String> {
        // First the listener: clients that come while the store opens wait a moment instead of being refused.
        let listener = TcpListener::bind(config.listen)
            .await
            .map_err(|error| format!("cannot listen on {}: {error}", config.listen))?;
        let address = listener.local_addr().map_err(|error| format!("cannot listen: {error}"))?;
        let metrics = match config.metrics_listen {
            Some(at) => Some(
                TcpListener::bind(at)
                    .await
                    .map_err(|error| format!("cannot listen on {at} (metrics.listen): {error}"))?,
            ),
            None => None,
        };
        began();
        let house = open_soon(&config).await?;
        let guard = Guard::new(Arc::clone(&house))?;
        api_key(&guard, config.api_key.as_ref()).await?;
        let (base, prefix) = base(&config, address);
        let keys = Arc::new(keys(&config)?);
        let bridge = bridge(&config, &house, &keys, &base).await?;
        let post = post(&config, &house, &bridge, &base)?;
        let dav = dav::Options { base_url: base.clone(), decoy: config.decoy };
        let stop = CancellationToken::new();
        let links = Arc::new(Links::new(Arc::clone(&house), Arc::clone(&keys)));
        let webhooks = webhooks(&config, &house, &keys).await?;
        let parts = api::Parts {
            house: Arc::clone(&house),
            guard: Arc::clone(&guard),
            bridge: Arc::clone(&bridge),
            keyring: Arc::clone(&keys),
            feeds: Arc::clone(&links),
            webhooks: Arc::clone(&webhooks),
            feed_alarms: config.published.alarms,
            configuration: config.told(),
            closing: stop.clone(),
        };
        let api = Arc::new(Api::new(parts, &base)?);
        let configured = config.base_url.is_some();
        let rate = Arc::new(Rate::new(config.requests.api, config.requests.unknown));
        let parts = web::Parts {
            api: Arc::clone(&api),
            guard: Arc::clone(&guard),
            configured,
            rate: Arc::clone(&rate),
            closing: stop.clone(),
        };
        let state = Arc::new(State {
            dav: Dav::new(Arc::clone(&house), dav)?,
            api,
            web: Web::new(parts, &base)?,
            feeds: Feeds::new(
                Arc::clone(&house),
                Arc::clone(&links),
                &base,
                Hints {
                    refresh: config.published.refresh.as_secs(),
                    x_wr_refresh: config.published.x_wr_refresh,
                },
            )?,
            hooks: Hooks::new(Arc::clone(&bridge)),
            house: Arc::clone(&house),
            guard: Arc::clone(&guard),
            bridge: Arc::clone(&bridge),
            compat: config.compat,
            rates: (rate, Rate::new(config.requests.dav, config.requests.dav)),
            prefix,
            trusted: config.trusted_proxies,
        });
        let followers = TaskTracker::new();
        tasks::tell(&followers, &house, webhooks, &state.api, &stop);
        tasks::start(&followers, &guard, &bridge, &state, config.keep_changes, config.keep_versions, &stop);
        let socket = config.store.join(admin::SOCKET);
        let office = Arc::new(Office::serving(Arc::clone(&guard), keys));
        match admin::listen(&socket) {
            Ok(listener) => {
                followers.spawn(admin::serve(listener, socket, office, stop.clone()));
            }
            Err(error) => {
                let socket = socket.display();
                tracing::warn!("no admin socket at {socket}: {error}; commands need the server stopped");
            }
        }
        if let Some(post) = post {
            followers.spawn(follow(Arc::clone(&house.store), Arc::new(post), stop.clone()));
        }
        let metrics = metrics.and_then(|listener| {
            let address = listener.local_addr().ok();
            followers.spawn(figures::serve(listener, Arc::clone(&state), stop.clone()));
            address
        });
        let setup = state.web.setup_link();
        let connections = Arc::new(Semaphore::new(config.connections));
        let done = tokio::spawn(run(listener, state, connections, followers, stop.clone()));
        Ok(Running { address, metrics, base, setup, house, guard, bridge, stop, done })
    }
}

impl Running {
    /// Returns the address that is listened on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the address of the listener for metrics, if it has one of its own.
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.metrics
    }

    /// Returns the URL that clients use, without a slash at its end.
    pub fn url(&self) -> &str {
        &self.base
    }

    /// Returns the address where the first account is made, in a browser, while there is none.
    pub fn setup_link(&self) -> &str {
        &self.setup
    }

    /// Returns the house that is served.
    pub fn house(&self) -> &Arc<House> {
        &self.house
    }

    /// Returns the guard at its door.
    pub fn guard(&self) -> &Arc<Guard> {
        &self.guard
    }

    /// Returns the bridge.
    pub fn bridge(&self) -> &Arc<Bridge> {
        &self.bridge
    }

    /// Stops to accept, lets running requests end, and closes the store.
    pub async fn shutdown(self) {
        self.stop.cancel();
        let _ = self.done.await;
        let house = Arc::downgrade(&self.house);
        drop((self.house, self.guard, self.bridge));
        // Whoever opens the same store next must find it closed.
        for _ in 0..200 {
            if house.strong_count() == 0 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// Returns the URL that clients use and its path, both without a slash at the end.
fn base(config: &Config, address: SocketAddr) -> (String, String) {
    match &config.base_url {
        Some(url) => {
            (url.as_str().trim_end_matches('/').to_owned(), url.path().trim_end_matches('/').to_owned())
        }
        // 0.0.0.0 is no address that a client could use.
        None if address.ip().is_unspecified() => {
            (format!("http://localhost:{}", address.port()), String::new())
        }
        None => (format!("http://{address}"), String::new()),
    }
}

/// Keeps the token that `API_KEY` names, and no other that it named earlier. It acts for the first administrator; without
/// one, an account `admin` is made that has no password.
async fn api_key(guard: &Guard, key: Option<&Secret>) -> Result<(), String> {
    const LABEL: &str = "API_KEY of the environment";
    let failed = |error: crate::calendar::Error| format!("API_KEY: {error:?}");
    let old = guard.tokens(None).await.map_err(failed)?;
    for token in old.into_iter().filter(|token| token.label == LABEL) {
        if !key.is_some_and(|key| token.is(key.reveal())) {
            guard.revoke_token(&token.user, &token.id).await.map_err(failed)?;
        }
    }
    let Some(key) = key else { return Ok(()) };
    let users = guard.house().principals().await.map_err(|fault| fault.to_string())?;
    let admin = match users.into_iter().find(|user| user.admin) {
        Some(admin) => admin,
        None => {
            let new = NewPrincipal { name: "admin".into(), admin: true, ..NewPrincipal::default() };
            tracing::info!("API_KEY needs an administrator: the account admin, without a password, is made");
            guard.add_user(new).await.map_err(failed)?
        }
    };
    let scopes = Scopes::from(vec![Scope::Admin]);
    guard.keep_token(&admin.name, LABEL, scopes, key.reveal()).await.map_err(failed)?;
    Ok(())
}

/// Opens the key that seals what far sides entrusted to us.
fn keys(config: &Config) -> Result<Keyring, String> {
    let keys = match &config.encryption_key {
        Some(key) => Keyring::fixed(key),
        None => Keyring::open(&config.key_path()),
    };
    keys.map_err(|error| error.to_string())
}

async fn bridge(
    config: &Config,
    house: &Arc<House>,
    keys: &Arc<Keyring>,
    base: &str,
) -> Result<Arc<Bridge>, String> {
    let ways = Ways {
        private: config.allow_private.clone(),
        chosen: config.providers.chosen(),
        authorities: config.authorities.clone(),
        dns: config.dns.clone(),
    };
    let fetch = Fetch::by(ways, Timeouts::default())?;
    let settings = Settings {
        schedule: config.schedule.clone(),
        mass_delete: MassDelete { objects: config.mass_delete_limit, ..MassDelete::default() },
        keep_runs: config.keep_runs,
        providers: config.providers.clone(),
        base_url: base.to_owned(),
        manual_sync: config.manual_sync,
        rates: config.rates,
        detect_overlap: config.detect_overlap,
        window_past: config.window_past,
        window_future: config.window_future,
        full_resync_at: config.full_resync_at,
        default_direction: config.default_direction,
        mapping_limit: config.mapping_limit,
        primary_only: config.primary_only,
        feeds: config.feeds,
        match_confidence: config.match_confidence,
        calendar_color: config.calendar_color.clone(),
    };
    let bridge = Bridge::open(Arc::clone(house), Arc::clone(keys), fetch, settings).await;
    bridge.map_err(|fault| format!("the bridge cannot start: {fault}"))
}

/// A receiver has this long to answer.
const RECEIVER: Duration = Duration::from_secs(15);

/// Opens what programs are told. No far side that was set may be reached through it, only what anybody may call.
async fn webhooks(config: &Config, house: &Arc<House>, keys: &Arc<Keyring>) -> Result<Arc<Webhooks>, String> {
    let ways = Ways {
        private: config.allow_private.clone(),
        chosen: Vec::new(),
        authorities: config.authorities.clone(),
        dns: config.dns.clone(),
    };
    let timeouts = Timeouts { connect: RECEIVER, read: RECEIVER, whole: RECEIVER };
    let fetch = Fetch::by(ways, timeouts)?;
    let plain = config.allow_private != Private::Refused;
    let opened = Webhooks::open(Arc::clone(house), Arc::clone(keys), fetch, plain).await;
    opened.map_err(|fault| format!("webhooks cannot start: {fault}"))
}

/// Returns who sends notices by mail, if that is wished.
fn post(
    config: &Config,
    house: &Arc<House>,
    bridge: &Arc<Bridge>,
    base: &str,
) -> Result<Option<Post>, String> {
    let Some(smtp_url) = config.mail.smtp_url.clone() else { return Ok(None) };
    let Some(from) = config.mail.from.clone() else {
        return Err("mail.smtp_url needs mail.from: who sends the mails".into());
    };
    let settings = mail::Settings {
        smtp_url,
        from,
        gather: config.mail.gather,
        base_url: base.to_owned(),
        authorities: config.authorities.clone(),
    };
    Post::new(Arc::clone(house), Arc::clone(bridge), settings).map(Some)
}

/// Accepts until stopped, then drains.
async fn run(
    listener: TcpListener,
    state: Arc<State>,
    room: Arc<Semaphore>,
    followers: TaskTracker,
    stop: CancellationToken,
) {
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    loop {
        let next = async {
            let permit = Arc::clone(&room).acquire_owned().await;
            (listener.accept().await, permit)
        };
        let (accepted, permit) = tokio::select! {
            () = stop.cancelled() => break,
            next = next => next,
        };
        // Ended ones are taken from the set.
        while connections.try_join_next().is_some() {}
        match accepted {
            Ok((stream, peer)) => {
                let connection =
                    connection(stream, peer.ip(), Arc::clone(&state), graceful.watcher(), stop.clone());
                connections.spawn(async move {
                    connection.await;
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::warn!("a connection could not be accepted: {error}");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
    drop(listener);
    state.guard.close();
    followers.close();
    let ended = tokio::time::timeout(DRAIN, async {
        graceful.shutdown().await;
        while connections.join_next().await.is_some() {}
    });
    if ended.await.is_err() {
        tracing::warn!("{} connections did not end in time and were cut", connections.len());
        connections.shutdown().await;
    }
    followers.wait().await;
}

/// Serves one connection, HTTP/1.1 or HTTP/2, until either side ends it.
async fn connection(
    stream: TcpStream,
    peer: IpAddr,
    state: Arc<State>,
    watcher: Watcher,
    stop: CancellationToken,
) {
    // An answer of two packets would otherwise wait 40 ms for the client's acknowledgement of the first.
    let _ = stream.set_nodelay(true);
    let http2 = tokio::select! {
        // Nothing was asked yet: nothing to wait for.
        () = stop.cancelled() => return,
        seen = tokio::time::timeout(HEAD, speaks_http2(&stream)) => match seen {
            Ok(http2) => http2,
            Err(_) => return,
        },
    };
    let io = TokioIo::new(stream::Socket::new(stream));
    let service = service_fn(move |request| {
        let state = Arc::clone(&state);
        async move { Ok::<_, Infallible>(guarded(&state, request, peer).await) }
    });
    if http2 {
        let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .max_concurrent_streams(100)
            .max_header_list_size(32 << 10)
            .keep_alive_interval(Duration::from_secs(60))
            .serve_connection(io, service);
        serve(connection, watcher, peer).await;
    } else {
        let connection = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD)
            .max_header_size(HEAD_SIZE)
            .half_close(true)
            .serve_connection(io, service);
        serve(connection, watcher, peer).await;
    }
}

async fn serve<C>(connection: C, watcher: Watcher, peer: IpAddr)
where
    C: GracefulConnection<Error = hyper::Error>,
{
    if let Err(error) = watcher.watch(connection).await {
        tracing::debug!(%peer, "a connection ended early: {error}");
    }
}

/// Looks at the first bytes without taking them.
async fn speaks_http2(stream: &TcpStream) -> bool {
    let mut first = [0u8; HTTP2.len()];
    loop {
        let Ok(seen) = stream.peek(&mut first).await else { return false };
        let seen = first.get(..seen).unwrap_or_default();
        if !HTTP2.starts_with(seen) || seen.is_empty() {
            return false;
        }
        if seen.len() == HTTP2.len() {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Answers one request and counts it; a panic below is a 500 and a line in the log, not a lost server.
async fn guarded(state: &Arc<State>, request: http::Request<Incoming>, peer: IpAddr) -> Reply {
    let begun = std::time::Instant::now();
    let (method, uri) = (request.method().clone(), request.uri().clone());
    let reply = caught(route::answer(state, request, peer)).await;
    let (status, took) = (reply.status().as_u16(), begun.elapsed());
    let door = route::door(state, uri.path(), &reply);
    state.house.metrics.request(door, method.as_str(), status, took);
    tracing::debug!(target: "kalends::request", %peer, %method, path = uri.path(), status, ?took);
    reply
}

/// Turns a panic into an answer.
async fn caught(answer: impl Future<Output = Reply>) -> Reply {
    match AssertUnwindSafe(answer).catch_unwind().await {
        Ok(reply) => reply,
        Err(_) => {
            tracing::error!("a request panicked; this is a fault of Kalends, please report the lines above");
            route::text(StatusCode::INTERNAL_SERVER_ERROR, "Something went wrong in the server.\n")
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_an_answer() {
        let reply = caught(async { panic!("this panic is meant") }).await;
        assert_eq!(reply.status(), StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(caught(async { route::text(StatusCode::OK, "") }).await.status(), StatusCode::OK);
    }

    #[test]
    fn clients_are_told_an_address_that_they_can_use() {
        for (listen, base_url, want) in [
            ("0.0.0.0:8008", None, ("http://localhost:8008", "")),
            ("127.0.0.1:80", None, ("http://127.0.0.1:80", "")),
            ("127.0.0.1:80", Some("https://a.example"), ("https://a.example", "")),
            ("127.0.0.1:80", Some("https://a.example/k/"), ("https://a.example/k", "/k")),
        ] {
            let config = Config { base_url: base_url.map(|url| url.parse().unwrap()), ..Config::default() };
            let (base, prefix) = base(&config, listen.parse().unwrap());
            assert_eq!((base.as_str(), prefix.as_str()), want);
        }
    }
}

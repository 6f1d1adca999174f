//! Puts a far side behind an address.
//!
//! Owns: the listener, TLS, connections, carrying faults out. Does not own: which fault meets a request (`fault`), answers.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::header::CONTENT_LENGTH;
use http::{HeaderValue, Response};
use http_body::Frame;
use http_body_util::{BodyExt as _, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::clock::{Clock, Dice};
use super::control;
use super::fault::{Act, Fault, Paused, Point, Rule, Script};
use super::log::{Entry, Log};
use super::post::Post;
use super::wire::{Answer, Request};
use super::{Bend, World};

/// The first byte of a TLS connection (RFC 8446 §5.1: a handshake record).
const HANDSHAKE: u8 = 22;
/// Bytes of a request's body.
const LIMIT: usize = 16 << 20;
/// Names of a query whose values are secrets.
const SECRETS: &[&str] =
    &["code", "token", "access_token", "refresh_token", "code_challenge", "state", "key"];

/// A certificate and its key, both as PEM.
#[derive(Clone)]
pub struct Tls {
    /// The certificate, then those that vouch for it.
    pub certificate: Vec<u8>,
    /// Its private key.
    pub key: Vec<u8>,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tls")
    }
}

/// How a simulator is started.
#[derive(Debug)]
pub struct Options {
    /// Where it listens; port 0: the system chooses one.
    pub listen: SocketAddr,
    /// With it, the same port takes TLS as well as plain HTTP.
    pub tls: Option<Tls>,
    /// The paths `/_sim/…` are there.
    pub control: bool,
    /// Every answer takes at least so long.
    pub latency: Duration,
    /// What chance decides, it decides by this.
    pub seed: u64,
    /// The time.
    pub clock: Clock,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            tls: None,
            control: false,
            latency: Duration::ZERO,
            seed: 1,
            clock: Clock::real(),
        }
    }
}

/// What surrounds a world.
#[derive(Debug, Clone)]
pub struct Scene {
    /// The time.
    pub clock: Clock,
    /// The chance.
    pub dice: Dice,
    /// What goes wrong.
    pub script: Script,
    /// What was asked.
    pub log: Log,
    /// What is told.
    pub post: Post,
    /// The address of the simulator, `http://host:port`.
    pub url: String,
}

/// Starts simulators.
#[derive(Debug)]
pub struct Server;

/// A simulator that is running. Dropping it stops it.
pub struct Running {
    address: SocketAddr,
    scene: Arc<Scene>,
    world: Arc<dyn World>,
    stop: CancellationToken,
    done: Option<JoinHandle<()>>,
}

impl std::fmt::Debug for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Running({} on {})", self.world.kind(), self.address)
    }
}

struct Host {
    world: Arc<dyn World>,
    scene: Arc<Scene>,
    control: bool,
    latency: Duration,
}

impl Server {
    /// Puts a world behind an address.
    ///
    /// # Errors
    /// A sentence: the address is taken, the certificate cannot be used.
    pub async fn start(options: Options, world: Arc<dyn World>) -> Result<Running, String> {
        let listener = TcpListener::bind(options.listen)
            .await
            .map_err(|error| format!("cannot listen on {}: {error}", options.listen))?;
        let address = listener.local_addr().map_err(|error| format!("cannot listen: {error}"))?;
        let tls = options.tls.as_ref().map(acceptor).transpose()?;
        let dice = Dice::new(options.seed);
        // Notifications have dice of their own: how many requests came before must not decide which one is lost.
        let post = Post::open(Dice::new(options.seed ^ 0x5eed))?;
        let scene = Arc::new(Scene {
            clock: options.clock,
            dice,
            script: Script::default(),
            log: Log::default(),
            post,
            url: format!("http://{address}"),
        });
        let host = Arc::new(Host {
            world: Arc::clone(&world),
            scene: Arc::clone(&scene),
            control: options.control,
            latency: options.latency,
        });
        let stop = CancellationToken::new();
        let done = tokio::spawn(accept(listener, tls, host, stop.clone()));
        Ok(Running { address, scene, world, stop, done: Some(done) })
    }
}

impl Running {
    /// Returns the address that is listened on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns `http://host:port`.
    pub fn url(&self) -> &str {
        &self.scene.url
    }

    /// Returns the log of requests.
    pub fn log(&self) -> &Log {
        &self.scene.log
    }

    /// Returns the script of faults.
    pub fn script(&self) -> &Script {
        &self.scene.script
    }

    /// Returns the clock.
    pub fn clock(&self) -> &Clock {
        &self.scene.clock
    }

    /// Returns everything that surrounds the world.
    pub fn scene(&self) -> &Arc<Scene> {
        &self.scene
    }

    /// Adds a rule to the script.
    pub fn fault(&self, rule: Rule) {
        self.scene.script.add(rule);
    }

    /// Holds the next request that fits.
    pub fn pause(&self, method: &str, path: &str, at: Point) -> Paused {
        self.scene.script.pause(method, path, at)
    }

    /// Lets the far side do something by itself.
    ///
    /// # Errors
    /// A sentence: it knows no such thing.
    pub fn act(&self, wanted: &Act) -> Result<Value, String> {
        act(self.world.as_ref(), wanted, &self.scene)
    }

    /// Ends it: no connection is left when this returns.
    pub async fn stop(mut self) {
        self.stop.cancel();
        if let Some(done) = self.done.take() {
            let _ = done.await;
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Lets a far side do something by itself.
pub(super) fn act(world: &dyn World, wanted: &Act, scene: &Scene) -> Result<Value, String> {
    match wanted {
        Act::Clock { now, advance } => {
            if let Some(now) = now {
                scene.clock.set(*now);
            }
            scene.clock.advance(*advance);
            Ok(json!({ "now": scene.clock.millis() }))
        }
        Act::Webhook(manners) => {
            scene.post.manners(*manners);
            Ok(json!({}))
        }
        other => world.act(other, scene),
    }
}

fn acceptor(tls: &Tls) -> Result<TlsAcceptor, String> {
    let certificates: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&tls.certificate)
        .collect::<Result<_, _>>()
        .map_err(|error| format!("the certificate cannot be read: {error}"))?;
    let key = PrivateKeyDer::from_pem_slice(&tls.key)
        .map_err(|error| format!("the key of the certificate cannot be read: {error}"))?;
    let ring = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(ring)
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("TLS cannot be used: {error}"))?
        .with_no_client_auth()
        .with_single_cert(certificates, key)
        .map_err(|error| format!("the certificate cannot be used: {error}"))?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

async fn accept(listener: TcpListener, tls: Option<TlsAcceptor>, host: Arc<Host>, stop: CancellationToken) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        while connections.try_join_next().is_some() {}
        if let Ok((stream, _)) = accepted {
            connections.spawn(connection(stream, tls.clone(), Arc::clone(&host)));
        }
    }
    drop(listener);
    connections.shutdown().await;
}

async fn connection(stream: TcpStream, tls: Option<TlsAcceptor>, host: Arc<Host>) {
    let _ = stream.set_nodelay(true);
    let Some(tls) = tls else { return serve(stream, false, host).await };
    let mut first = [0u8; 1];
    match stream.peek(&mut first).await {
        Ok(1) if first == [HANDSHAKE] => {
            if let Ok(stream) = tls.accept(stream).await {
                serve(stream, true, host).await;
            }
        }
        Ok(_) => serve(stream, false, host).await,
        Err(_) => {}
    }
}

async fn serve<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(stream: S, secure: bool, host: Arc<Host>) {
    let service = service_fn(move |request| {
        let host = Arc::clone(&host);
        async move { host.whole(request, secure).await }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .max_header_size(256 << 10)
        .serve_connection(TokioIo::new(stream), service);
    // A dropped connection is an error here, and meant.
    let _ = connection.await;
}

/// The connection ends without an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("dropped, as the script says")]
pub struct Dropped;

type Body = UnsyncBoxBody<Bytes, Dropped>;

impl Host {
    async fn whole(&self, request: http::Request<Incoming>, secure: bool) -> Result<Response<Body>, Dropped> {
        let (head, body) = request.into_parts();
        let body = http_body_util::Limited::new(body, LIMIT).collect().await.map_err(|_| Dropped)?.to_bytes();
        let target = head.uri.path_and_query().map_or("/", |target| target.as_str());
        let request = Request::inner(head.method, target, head.headers, body, secure);
        if self.control && request.path.starts_with(control::PREFIX) {
            return Ok(rendered(control::answer(self.world.as_ref(), &request, &self.scene).await, None));
        }
        let _under_way = self.scene.log.begin();
        if !self.latency.is_zero() {
            tokio::time::sleep(self.latency).await;
        }
        let (answer, cut) = carry_out(self.world.as_ref(), request, &self.scene, false).await?;
        Ok(rendered(answer, cut))
    }
}

fn rendered(answer: Answer, cut: Option<usize>) -> Response<Body> {
    let length = answer.body.len();
    let body = match cut.filter(|cut| *cut < length) {
        None => Full::new(answer.body).map_err(|never: Infallible| match never {}).boxed_unsync(),
        Some(cut) => {
            let frames = [Ok(Frame::data(answer.body.slice(..cut))), Err(Dropped)];
            StreamBody::new(stream::iter(frames)).boxed_unsync()
        }
    };
    let mut response = Response::new(body);
    *response.status_mut() = answer.status;
    *response.headers_mut() = answer.headers;
    if answer.status != http::StatusCode::NO_CONTENT && answer.status != http::StatusCode::NOT_MODIFIED {
        response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    response
}

/// Answers one call of a batch: faults meet it as if it had come alone, and the log names it.
///
/// # Errors
/// The script drops the connection.
pub async fn perform(world: &dyn World, request: Request, scene: &Scene) -> Result<Answer, Dropped> {
    carry_out(world, request, scene, true).await.map(|(answer, _)| answer)
}

/// Answers a request as the script will have it; with the answer comes after how many bytes its body ends.
async fn carry_out(
    world: &dyn World,
    mut request: Request,
    scene: &Scene,
    batched: bool,
) -> Result<(Answer, Option<usize>), Dropped> {
    let faults = scene.script.meet(&request, &scene.dice);
    let mut entry = Entry {
        at: scene.clock.millis(),
        method: request.method.to_string(),
        path: request.path.clone(),
        query: request.query.iter().filter(|(name, _)| !SECRETS.contains(&name.as_str())).cloned().collect(),
        status: 0,
        wrote: 0,
        batched,
    };
    let mut instead = None;
    for fault in &faults {
        match fault {
            Fault::Delay { ms } => tokio::time::sleep(Duration::from_millis(*ms)).await,
            Fault::Hold { at: Point::Before, name } => hold(scene, name).await,
            Fault::StaleRead => request.stale = true,
            Fault::Act { act: wanted } => {
                if let Err(why) = act(world, wanted, scene) {
                    tracing::warn!("the script asks for what the simulator does not know: {why}");
                }
            }
            Fault::DropBeforeApply => {
                scene.log.add(entry);
                return Err(Dropped);
            }
            Fault::Throttle { retry_after } if instead.is_none() => {
                instead = Some(world.throttled(*retry_after));
            }
            Fault::Status { code, body, text, headers } if instead.is_none() => {
                let answer = match (body, text) {
                    (Some(body), _) => Answer::json(*code, body),
                    (None, Some(text)) => Answer::text(*code, "text/html; charset=UTF-8", text.clone()),
                    (None, None) => Answer::empty(*code),
                };
                instead = Some(headers.iter().fold(answer, |answer, (name, value)| answer.with(name, value)));
            }
            _ => {}
        }
    }
    let mut answer = match instead {
        Some(answer) => answer,
        None => world.answer(request, scene).await,
    };
    entry.wrote = answer.wrote;
    let mut cut = None;
    for fault in &faults {
        match fault {
            Fault::TruncatePage { keep } => world.bend(&mut answer, Bend::Truncate(*keep)),
            Fault::DupPageItem => world.bend(&mut answer, Bend::Double),
            Fault::EmptyPage => world.bend(&mut answer, Bend::Empty),
            Fault::CutBody { bytes } => cut = Some(*bytes),
            _ => {}
        }
    }
    let dropped = faults.contains(&Fault::DropAfterApply);
    if !dropped {
        entry.status = answer.status.as_u16();
    }
    // What was carried out is in the log while the answer waits.
    scene.log.add(entry);
    for fault in &faults {
        if let Fault::Hold { at: Point::After, name } = fault {
            hold(scene, name).await;
        }
    }
    if dropped { Err(Dropped) } else { Ok((answer, cut)) }
}

async fn hold(scene: &Scene, name: &str) {
    if let Some(paused) = scene.script.held(name) {
        paused.hold().await;
    }
}

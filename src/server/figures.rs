//! `/metrics`: how everything stands, gathered when it is asked for.
//!
//! Owns: who may read it, its own listener (`metrics.listen`), what the system says of the process.
//! Does not own: the numbers and their text (`metrics`), how the bridge stands (`bridge`).

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode, header};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::State;
use super::route::{full, text};
use crate::auth::{Scope, Via};
use crate::http::{Reply, Request};
use crate::metrics::{MEDIA_TYPE, Process, Standing};
use crate::store::Fault;

/// Who asks at a time on the own listener.
const READERS: usize = 16;
/// The head of a request must be complete within this time.
const HEAD: Duration = Duration::from_secs(10);

/// Answers `/metrics` on the main listener: to a token of an administrator.
pub(super) async fn guarded(state: &State, request: Request) -> Reply {
    if !matches!(request.method, Method::GET | Method::HEAD) {
        return not_that(text(StatusCode::METHOD_NOT_ALLOWED, "Only GET can be asked for here.\n"));
    }
    match state.guard.authenticate(&request.headers, request.peer).await {
        Ok(caller) if matches!(caller.via, Via::Token(_)) && caller.may(Scope::Admin) => figures(state).await,
        Ok(_) => text(StatusCode::FORBIDDEN, "The metrics want a token with the scope admin.\n"),
        Err(denied) => {
            let mut reply = super::route::refused(denied);
            if reply.status() == StatusCode::UNAUTHORIZED {
                let words =
                    "The metrics want a token with the scope admin; metrics.listen has them without.\n";
                reply = text(StatusCode::UNAUTHORIZED, words);
                let challenge = HeaderValue::from_static("Bearer realm=\"Kalends\"");
                reply.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
            }
            reply
        }
    }
}

fn not_that(mut reply: Reply) -> Reply {
    reply.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
    reply
}

async fn figures(state: &State) -> Reply {
    match standing(state).await {
        Ok(standing) => {
            let mut reply = Reply::new(full(Bytes::from(state.house.metrics.text(&standing))));
            reply.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
            reply
        }
        Err(fault) => {
            tracing::error!("the metrics cannot be gathered: {fault}");
            text(StatusCode::SERVICE_UNAVAILABLE, "The store does not answer.\n")
        }
    }
}

async fn standing(state: &State) -> Result<Standing, Fault> {
    let kept = state.house.store.figures().await?;
    let users = state.house.principals().await?.len();
    let mut standing = Standing {
        version: env!("CARGO_PKG_VERSION"),
        users: u64::try_from(users).unwrap_or(u64::MAX),
        collections: kept.collections,
        objects: kept.objects,
        object_bytes: kept.bytes,
        disk_bytes: kept.disk,
        commits: kept.commits,
        process: process().await,
        ..Standing::default()
    };
    state.bridge.stand(&mut standing).await?;
    Ok(standing)
}

/// Reads what Linux says of this process; zeroes where it says nothing.
async fn process() -> Process {
    let read = || {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let kilobytes = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kilobytes = kilobytes.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
        let files = std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
        Process {
            resident: kilobytes.unwrap_or(0).saturating_mul(1024),
            started: 0.0,
            files: u64::try_from(files).unwrap_or(0),
        }
    };
    let seen = tokio::task::spawn_blocking(read).await.unwrap_or_default();
    Process { started: super::began(), ..seen }
}

/// Serves `/metrics` and `/health` to whoever reaches this listener, until stopped.
pub(super) async fn serve(listener: TcpListener, state: Arc<State>, stop: CancellationToken) {
    let room = Arc::new(Semaphore::new(READERS));
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, peer)) = accepted else {
            tokio::time::sleep(super::PAUSE).await;
            continue;
        };
        let Ok(permit) = Arc::clone(&room).try_acquire_owned() else { continue };
        let (state, stop) = (Arc::clone(&state), stop.clone());
        tokio::spawn(async move {
            let service = service_fn(|request| {
                let state = Arc::clone(&state);
                async move { Ok::<_, Infallible>(open(&state, &request).await) }
            });
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD)
                .serve_connection(TokioIo::new(stream), service);
            tokio::select! {
                () = stop.cancelled() => {}
                ended = connection => if let Err(error) = ended {
                    tracing::debug!(%peer, "a connection for metrics ended early: {error}");
                }
            }
            drop(permit);
        });
    }
}

async fn open(state: &State, request: &http::Request<Incoming>) -> Reply {
    match (request.method(), request.uri().path()) {
        (&Method::GET | &Method::HEAD, "/metrics") => figures(state).await,
        (&Method::GET | &Method::HEAD, "/health") => text(StatusCode::OK, "alive\n"),
        (_, "/metrics" | "/health") => {
            not_that(text(StatusCode::METHOD_NOT_ALLOWED, "Only GET can be asked for here.\n"))
        }
        _ => text(StatusCode::NOT_FOUND, "The metrics are at /metrics.\n"),
    }
}

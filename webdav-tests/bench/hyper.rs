//! A bare hyper server with a fixed answer: what the machine allows, beside which `webdav-tests/bench` measures.
//!
//! `hyper PORT [BODY_BYTES]`: reads every request's body, answers 200 to GET, 207 to PROPFIND and REPORT, 201 to PUT.
#![allow(clippy::print_stderr)]

use std::convert::Infallible;
use std::net::Ipv4Addr;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

async fn answer(request: Request<Incoming>, body: Bytes) -> Result<Response<Full<Bytes>>, Infallible> {
    let status = match request.method().as_str() {
        "GET" => StatusCode::OK,
        "PUT" => StatusCode::CREATED,
        _ => StatusCode::MULTI_STATUS,
    };
    // A broken body ends the connection all the same; there is nothing to say about it here.
    let _read = request.into_body().collect().await;
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    Ok(response)
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let port = arguments.next().and_then(|a| a.parse().ok()).unwrap_or(0);
    let size = arguments.next().and_then(|a| a.parse().ok()).unwrap_or(500);
    let body = Bytes::from(vec![b'x'; size]);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let body = body.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| answer(request, body.clone()));
            let served =
                hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            if let Err(error) = served.await {
                eprintln!("{error}");
            }
        });
    }
}

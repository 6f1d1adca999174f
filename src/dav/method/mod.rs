//! The methods: what each one does with a resource. The table below says what exists where.

mod propfind;
mod report;

use http::header::ALLOW;
use http::{HeaderValue, StatusCode};

use super::resource::{Facts, Kinds, Resource};
use super::{Denied, Protocol, Scope, xml_body};
use crate::http::{Href, Reply, Request, reply_empty};

/// Which methods exist on which kinds of resources: `Allow` and 405 read it.
const METHODS: &[(&str, Kinds)] =
    &[("OPTIONS", Kinds::ALL), ("PROPFIND", Kinds::ALL), ("REPORT", Kinds::ALL)];

/// Returns the `Allow` header for a kind of resource.
fn allow(kind: Kinds) -> String {
    let names: Vec<&str> = METHODS.iter().filter(|(_, on)| on.has(kind)).map(|(name, _)| *name).collect();
    names.join(", ")
}

/// Answers a request.
pub(super) async fn serve(scope: Scope, request: Request) -> Result<Reply, Denied> {
    let href = Href::parse(&request.path);
    match request.method.as_str() {
        "OPTIONS" => options(scope, href).await,
        "PROPFIND" => propfind::serve(scope, request, href).await,
        "REPORT" => report::serve(scope, request, href).await,
        _ => Err(Protocol::Method(allow(Kinds::ALL)).into()),
    }
}

async fn options(scope: Scope, href: Option<Href>) -> Result<Reply, Denied> {
    let kind = match &href {
        Some(href) => Resource::find(&scope, href, Facts::NONE).await?.map(|found| found.kind()),
        None => None,
    };
    let mut reply = reply_empty(StatusCode::OK);
    if let Ok(value) = HeaderValue::from_str(&allow(kind.unwrap_or(Kinds::ALL))) {
        reply.headers_mut().insert(ALLOW, value);
    }
    Ok(reply)
}

//! The methods: what each one does with a resource. The table below says what exists where.

mod delete;
mod get;
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod laws;
mod lock;
mod mkcol;
mod propfind;
mod proppatch;
mod put;
mod report;
mod transfer;

use http::header::{ALLOW, CONTENT_LENGTH};
use http::{HeaderValue, StatusCode};

use super::resource::{Facts, Kinds, Resource};
use super::{Denied, Protocol, Scope, xml_body};
use crate::calendar::Refusal;
use crate::http::{Href, Reply, Request, reply_empty};
use crate::store::random;

/// What has a home or a parent of its own and so can be removed, copied and moved.
const OWNED: Kinds = Kinds::CALENDAR.or(Kinds::FILES).or(Kinds::MEMBER);

/// Which methods exist on which kinds of resources: `Allow` and 405 read it.
pub(super) const METHODS: &[(&str, Kinds)] = &[
    ("OPTIONS", Kinds::ALL),
    ("GET", Kinds::ALL),
    ("HEAD", Kinds::ALL),
    ("PUT", Kinds::MEMBER),
    ("POST", Kinds::CALENDAR),
    ("DELETE", OWNED),
    ("PROPFIND", Kinds::ALL),
    ("PROPPATCH", Kinds::ALL),
    ("COPY", OWNED),
    ("MOVE", OWNED),
    ("LOCK", Kinds::STORED.or(Kinds::MEMBER)),
    ("UNLOCK", Kinds::STORED.or(Kinds::MEMBER)),
    ("REPORT", Kinds::ALL),
];

/// What can be done where nothing is yet.
const FREE: &str = "OPTIONS, PUT, MKCOL, MKCALENDAR, LOCK";

/// What a name must be, in words.
const BAD_NAME: &str = "a name has at most 255 bytes of UTF-8, no control characters and no slash";

/// Returns the `Allow` header for a kind of resource.
fn allow(kind: Kinds) -> String {
    let names: Vec<&str> = METHODS.iter().filter(|(_, on)| on.has(kind)).map(|(name, _)| *name).collect();
    names.join(", ")
}

/// Refuses a method on a kind of resource, naming those that it has.
fn not_here(kind: Kinds) -> Denied {
    Protocol::Method(allow(kind)).into()
}

/// Answers a request.
pub(super) async fn serve(scope: Scope, request: Request) -> Result<Reply, Denied> {
    let href = Href::parse(&request.path);
    let binds = matches!(request.method.as_str(), "PUT" | "MKCOL" | "MKCALENDAR" | "LOCK");
    if binds && href.is_none() && Href::has_bad_name(&request.path) {
        return Err(Refusal::BadName(BAD_NAME.into()).into());
    }
    match request.method.as_str() {
        "OPTIONS" => options(scope, href).await,
        "GET" | "HEAD" => get::serve(scope, request, href).await,
        "PUT" => put::serve(scope, request, href).await,
        "POST" => put::post(scope, request, href).await,
        "DELETE" => delete::serve(scope, request, href).await,
        "PROPFIND" => propfind::serve(scope, request, href).await,
        "PROPPATCH" => proppatch::serve(scope, request, href).await,
        "MKCOL" => mkcol::serve(scope, request, href, mkcol::Form::Mkcol).await,
        "MKCALENDAR" => mkcol::serve(scope, request, href, mkcol::Form::Mkcalendar).await,
        "COPY" => transfer::serve(scope, request, href, transfer::Form::Copy).await,
        "MOVE" => transfer::serve(scope, request, href, transfer::Form::Move).await,
        "LOCK" => lock::lock(scope, request, href).await,
        "UNLOCK" => lock::unlock(scope, request, href).await,
        "REPORT" => report::serve(scope, request, href).await,
        _ => {
            let kind = kind_at(&scope, href.as_ref()).await?;
            Err(Protocol::Method(kind.map_or_else(|| FREE.to_owned(), allow)).into())
        }
    }
}

async fn kind_at(scope: &Scope, href: Option<&Href>) -> Result<Option<Kinds>, Denied> {
    let Some(href) = href else { return Ok(None) };
    Ok(Resource::find(scope, href, Facts::NONE).await?.map(|found| found.kind()))
}

/// RFC 9110 §9.3.7. Thunderbird asks the parent of a calendar and wants a 200 with every class.
async fn options(scope: Scope, href: Option<Href>) -> Result<Reply, Denied> {
    let kind = kind_at(&scope, href.as_ref()).await?;
    let mut reply = reply_empty(StatusCode::OK);
    let methods = kind.map_or_else(|| FREE.to_owned(), allow);
    if let Ok(value) = HeaderValue::from_str(&methods) {
        reply.headers_mut().insert(ALLOW, value);
    }
    reply.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
    Ok(reply)
}

/// Returns a random UUID (RFC 9562 version 4).
fn uuid() -> Result<String, Denied> {
    let number = u128::from_be_bytes(random::bytes()?);
    let number = number & !(0xF << 76) | (0x4 << 76);
    let number = number & !(0x3 << 62) | (0x2 << 62);
    let hex = format!("{number:032x}");
    let part = |from: usize, to: usize| hex.get(from..to).unwrap_or_default();
    Ok(format!("{}-{}-{}-{}-{}", part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32)))
}

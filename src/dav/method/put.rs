//! PUT (RFC 9110 §9.3.4, RFC 4791 §5.3.2) and POST to a calendar (RFC 5995): bytes come in and stay as they are.

use http::header::{CONTENT_ENCODING, CONTENT_RANGE, ETAG, LOCATION};
use http::{HeaderValue, StatusCode};

use super::get::etag_header;
use super::not_here;
use crate::calendar::{Error, Put, Refusal, Stored, Writable};
use crate::dav::gate::{Change, Gate};
use crate::dav::place::{Now, Place, member_path};
use crate::dav::resource::{Facts, Kinds, Resource};
use crate::dav::{Denied, Protocol, Scope};
use crate::http::{Href, Reply, Request, reply_empty};
use crate::store::{Kind, Name};

pub(super) async fn serve(scope: Scope, mut request: Request, href: Option<Href>) -> Result<Reply, Denied> {
    acceptable(&request)?;
    let place = match Place::find(&scope, href.as_ref()).await {
        Err(Denied::Error(Error::Refused(Refusal::Protected(_)))) => return Err(not_here(Kinds::PLACE)),
        found => found?,
    };
    if place.at.collection().kind == Kind::Home && matches!(place.now().await?, Now::Collection(_)) {
        return Err(not_here(Kinds::CALENDAR));
    }
    let mut changes = vec![Change::Resource(place.spot())];
    if crate::dav::lock::any(&scope).await? && matches!(place.now().await?, Now::Free) {
        // RFC 4918 §7.5: a new member changes its collection.
        changes.push(Change::Resource(place.parent_spot()));
    }
    let gate = Gate::read(&scope, &request.headers, href.as_ref(), &changes).await?;
    let bytes = request.bytes(limit(&scope, &place.at)).await?;
    let put = Put {
        content_type: request.header("content-type"),
        when: gate.when(),
        ..Put::new(&place.name, bytes)
    };
    match scope.session.put(&place.at, put).await {
        Ok(stored) => Ok(answer(&stored)),
        Err(error) => Err(Denied::from(error).within(&parent_path(&scope, href.as_ref()))),
    }
}

/// POST to a calendar adds a member under a name of the server's choice, which ends in `.ics`.
pub(super) async fn post(scope: Scope, mut request: Request, href: Option<Href>) -> Result<Reply, Denied> {
    let href = href.ok_or(Refusal::Missing)?;
    let at = Resource::at(&scope, &href, Facts::NONE).await?;
    if !at.kind().has(Kinds::CALENDAR) {
        return Err(not_here(at.kind()));
    }
    acceptable(&request)?;
    let to = at.writable(&scope)?;
    let spot = crate::dav::place::Spot::of(to.id());
    let gate = Gate::read(&scope, &request.headers, Some(&href), &[Change::Resource(spot)]).await?;
    gate.allow_now(&Now::Collection(crate::calendar::Readable::clone(&to)))?;
    let bytes = request.bytes(limit(&scope, &to)).await?;
    let name = Name::new(format!("{}.ics", super::uuid()?)).ok_or(Refusal::Missing)?;
    let put = Put { content_type: request.header("content-type"), ..Put::new(&name, bytes) };
    let stored = scope.session.put(&to, put).await.map_err(|e| Denied::from(e).within(&at.path))?;
    let mut reply = answer(&stored);
    if let Ok(location) = HeaderValue::try_from(member_path(&at.path, &name)) {
        reply.headers_mut().insert(LOCATION, location);
    }
    Ok(reply)
}

/// Returns the canonical path of the collection that holds what a path names.
pub(super) fn parent_path(scope: &Scope, href: Option<&Href>) -> String {
    href.and_then(Href::parent).map(|(parent, _)| scope.site.path(&parent)).unwrap_or_default()
}

fn answer(stored: &Stored) -> Reply {
    // Evolution dislikes a 200 without a body.
    let mut reply = reply_empty(if stored.created { StatusCode::CREATED } else { StatusCode::NO_CONTENT });
    // The bytes are kept as they came, so the tag may always be told.
    if let Some(etag) = etag_header(&stored.etag.0) {
        reply.headers_mut().insert(ETAG, etag);
    }
    reply
}

fn limit(scope: &Scope, at: &Writable) -> u64 {
    let limits = &scope.session.house.limits;
    if at.collection().kind == Kind::Files { limits.file_size } else { limits.object_size }
}

/// RFC 9110 §9.3.4: a partial or encoded body must not be taken for the whole.
fn acceptable(request: &Request) -> Result<(), Denied> {
    if request.headers.contains_key(CONTENT_RANGE) {
        return Err(Refusal::Bad("A PUT of a part (Content-Range) is not possible.".into()).into());
    }
    match request.header(CONTENT_ENCODING.as_str()).map(str::trim) {
        None | Some("" | "identity") => Ok(()),
        Some(encoding) => Err(Protocol::MediaType(format!("Content-Encoding: {encoding}")).into()),
    }
}

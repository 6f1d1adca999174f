//! DELETE (RFC 4918 §9.6).

use http::StatusCode;

use crate::calendar::Refusal;
use crate::dav::gate::{Change, Gate};
use crate::dav::place::{Now, Place};
use crate::dav::{Denied, Scope, lock};
use crate::http::{Depth, Href, Reply, Request, depth, reply_empty};
use crate::store::Op;

pub(super) async fn serve(scope: Scope, request: Request, href: Option<Href>) -> Result<Reply, Denied> {
    let depth = depth(&request.headers)?;
    let place = match Place::find(&scope, href.as_ref()).await {
        Err(Denied::Error(crate::calendar::Error::Refused(Refusal::NoParent))) => {
            return Err(Refusal::Missing.into());
        }
        found => found?,
    };
    let now = place.now().await?;
    let parent = Change::Resource(place.parent_spot());
    match now {
        Now::Free => Err(Refusal::Missing.into()),
        Now::Member(_) => {
            let changes = [Change::Resource(place.spot()), parent];
            let gate = Gate::read(&scope, &request.headers, href.as_ref(), &changes).await?;
            let gone = gate.held.iter().filter(|lock| lock.is_filed_under(&place.spot()));
            let with = gone.map(|lock| Op::DeleteRecord(lock.key())).collect();
            scope.session.delete(&place.at, &place.name, &gate.when(), with).await?;
            Ok(reply_empty(StatusCode::NO_CONTENT))
        }
        // RFC 4918 §9.6.1: a collection goes with everything in it; no other depth means anything.
        Now::Collection(_) if !matches!(depth, None | Some(Depth::Infinity)) => {
            Err(Refusal::Bad("The DELETE of a collection always has Depth: infinity.".into()).into())
        }
        Now::Collection(ref at) => {
            let changes = [Change::Tree(at.id()), parent];
            let gate = Gate::read(&scope, &request.headers, href.as_ref(), &changes).await?;
            gate.allow_now(&now)?;
            let at = scope.session.writable(std::sync::Arc::clone(at.collection()))?;
            scope.session.delete_collection(&at, &crate::calendar::When::always()).await?;
            let outside = place.parent_spot();
            let gone: Vec<_> = gate.held.into_iter().filter(|lock| !lock.is_filed_under(&outside)).collect();
            lock::forget(&scope, &gone).await?;
            Ok(reply_empty(StatusCode::NO_CONTENT))
        }
    }
}

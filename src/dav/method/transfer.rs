//! COPY and MOVE (RFC 4918 §9.8, §9.9).

use std::sync::Arc;

use http::StatusCode;

use super::put::parent_path;
use crate::calendar::{Error, Overwrite, Readable, Refusal, Transferred, When};
use crate::dav::gate::{Change, Gate};
use crate::dav::place::{Now, Place};
use crate::dav::{Denied, Protocol, Scope, lock};
use crate::http::{Depth, Elsewhere, Href, Reply, Request, depth, destination, overwrite, reply_empty};
use crate::store::{CollectionId, Kind};

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// COPY: the source stays.
    Copy,
    /// MOVE: the source goes; one commit.
    Move,
}

pub(super) async fn serve(
    scope: Scope,
    request: Request,
    href: Option<Href>,
    form: Form,
) -> Result<Reply, Denied> {
    let overwrite = overwrite(&request.headers)?;
    let deep = deep(depth(&request.headers)?, form)?;
    let target = target(&scope, destination(&request.headers)?)?;
    let from = match Place::find(&scope, href.as_ref()).await {
        Err(Denied::Error(Error::Refused(Refusal::NoParent))) => return Err(Refusal::Missing.into()),
        found => found?,
    };
    let now = from.now().await?;
    if matches!(now, Now::Free) {
        return Err(Refusal::Missing.into());
    }
    if href.as_ref() == Some(&target) {
        return Err(Protocol::SameResource.into());
    }
    let to = Place::find(&scope, Some(&target)).await?;
    let there = to.now().await?;
    let gate =
        Gate::read(&scope, &request.headers, href.as_ref(), &changes(&from, &now, &to, &there, form)).await?;
    gate.allow_now(&now)?;
    if !matches!(there, Now::Free) && overwrite == Overwrite::No {
        return Err(Refusal::Stale.into());
    }
    keep_source(&scope, &from, &now, &to, &there).await?;
    let done = carry(&scope, &gate, (&from, &now), (&to, &there), overwrite, deep, form).await;
    let done = done.map_err(|denied| denied.within(&parent_path(&scope, Some(&target))))?;
    let (source, spot, target_spot) = (from.parent_spot(), from.spot(), to.spot());
    let gone: Vec<_> = gate
        .held
        .into_iter()
        .filter(|held| !held.is_filed_under(&source) && !held.is_filed_under(&to.parent_spot()))
        .filter(|held| form == Form::Move || !held.is_filed_under(&spot))
        // RFC 4918 §7.6: a locked destination stays locked.
        .filter(|held| !held.is_filed_under(&target_spot))
        .collect();
    lock::forget(&scope, &gone).await?;
    Ok(reply_empty(match done {
        Transferred::Created => StatusCode::CREATED,
        Transferred::Replaced => StatusCode::NO_CONTENT,
    }))
}

/// RFC 4918 §9.8.3, §9.9.2.
fn deep(depth: Option<Depth>, form: Form) -> Result<bool, Denied> {
    match (depth, form) {
        (None | Some(Depth::Infinity), _) => Ok(true),
        (Some(Depth::Zero), Form::Copy) => Ok(false),
        (_, Form::Copy) => Err(Refusal::Bad("A COPY has Depth: 0 or infinity.".into()).into()),
        (_, Form::Move) => Err(Refusal::Bad("A MOVE always has Depth: infinity.".into()).into()),
    }
}

fn target(scope: &Scope, text: &str) -> Result<Href, Denied> {
    scope.locate(text).map_err(|elsewhere| match elsewhere {
        Elsewhere::Host => Protocol::OtherServer.into(),
        Elsewhere::Path if Href::has_bad_name(text) => Refusal::BadName(super::BAD_NAME.into()).into(),
        Elsewhere::Path => Refusal::NoParent.into(),
        Elsewhere::Broken => {
            Refusal::Bad("The Destination header is no URL and no absolute path.".into()).into()
        }
    })
}

/// What must not be locked against this request.
fn changes(from: &Place, now: &Now, to: &Place, there: &Now, form: Form) -> Vec<Change> {
    let whole = |place: &Place, now: &Now| match now {
        Now::Collection(at) => Change::Tree(at.id()),
        Now::Free | Now::Member(_) => Change::Resource(place.spot()),
    };
    let mut changes = vec![whole(to, there)];
    if matches!(there, Now::Free) {
        changes.push(Change::Resource(to.parent_spot()));
    }
    if form == Form::Move {
        changes.push(whole(from, now));
        changes.push(Change::Resource(from.parent_spot()));
    }
    changes
}

async fn carry(
    scope: &Scope,
    gate: &Gate,
    (from, now): (&Place, &Now),
    (to, there): (&Place, &Now),
    overwrite: Overwrite,
    deep: bool,
    form: Form,
) -> Result<Transferred, Denied> {
    let session = &scope.session;
    let target = (&to.at, &to.name);
    let Now::Collection(collection) = now else {
        let cleared = clear(scope, there).await?;
        let source = (&from.at, &from.name);
        let done = match form {
            Form::Copy => session.copy_object(source, target, overwrite, &gate.when()).await?,
            Form::Move => session.move_object(source, target, overwrite, &gate.when()).await?,
        };
        return Ok(if cleared { Transferred::Replaced } else { done });
    };
    let collection = session.writable(Arc::clone(collection.collection()))?;
    Ok(match form {
        Form::Copy => session.copy_collection(&collection, target, overwrite, deep, &When::always()).await?,
        Form::Move => session.move_collection(&collection, target, overwrite, &When::always()).await?,
    })
}

/// Refuses what would delete the source, or a whole calendar for the sake of one object, before anything is touched.
async fn keep_source(scope: &Scope, from: &Place, now: &Now, to: &Place, there: &Now) -> Result<(), Denied> {
    if matches!(now, Now::Member(_)) && to.at.collection().kind == Kind::Home {
        return Err(Refusal::Protected("a calendar home holds calendars only").into());
    }
    let Now::Collection(replaced) = there else { return Ok(()) };
    let mut next = Some(from.at.id());
    while let Some(id) = next.filter(|id| *id >= CollectionId::FIRST) {
        if id == replaced.id() {
            return Err(Refusal::Protected("the destination holds the source and would be replaced").into());
        }
        next = scope.session.house.store.collection(id).await?.map(|c| c.parent);
    }
    Ok(())
}

/// RFC 4918 §9.8.4: what is replaced is deleted first, a collection with everything in it.
async fn clear(scope: &Scope, there: &Now) -> Result<bool, Denied> {
    let Now::Collection(at) = there else { return Ok(false) };
    let at: &Readable = at;
    let at = scope.session.writable(Arc::clone(at.collection()))?;
    scope.session.delete_collection(&at, &When::always()).await?;
    Ok(true)
}

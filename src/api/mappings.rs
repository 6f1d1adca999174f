//! `/mappings`: which calendar here goes with which calendar there, and how.

use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::json::{Call, reply, time, time_or_null};
use super::problem::Problem;
use super::terms::{self, Members, Terms};
use super::{Api, done, located};
use crate::auth::{Scope, Via};
use crate::bridge::provider::RemoteId;
use crate::bridge::record::{Kind, Mapping, MappingState, encode};
use crate::bridge::{Asker, BridgeError, Far, Measured, NewMapping, status_of};
use crate::http::Reply;
use crate::store::{CollectionId, Etag, Fault};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sync {
    confirm: Option<bool>,
}

pub(super) async fn list(api: &Api, call: Call) -> Result<Reply, Problem> {
    let page = call.page()?;
    let all = api.bridge.mappings(call.owner()).await?;
    let default = default(api, &call).await?;
    let items = all.iter().map(|(m, state)| shown(api, m, state, default)).collect::<Result<_, _>>()?;
    page.reply(items)
}

pub(super) async fn one(api: &Api, call: Call) -> Result<Reply, Problem> {
    let (mapping, state) = api.bridge.mapping(call.owner(), call.id()).await?;
    Ok(reply(StatusCode::OK, &shown(api, &mapping, &state, default(api, &call).await?)?))
}

pub(super) async fn create(api: &Api, call: Call) -> Result<Reply, Problem> {
    let (new, fresh, primary) = new_mapping(api, &call)?;
    let made = match fresh {
        true => api.bridge.add_mapping_with_calendar(call.owner(), new).await?,
        false => api.bridge.add_mapping(call.owner(), new).await?,
    };
    settle_primary(api, &call, made.collection, primary).await?;
    let (made, state) = api.bridge.mapping(call.owner(), &made.id).await?;
    let document = shown(api, &made, &state, default(api, &call).await?)?;
    Ok(located(reply(StatusCode::CREATED, &document), &api.site, &format!("/mappings/{}", made.id)))
}

/// Returns the calendar that new events go into (S2-013).
async fn default(api: &Api, call: &Call) -> Result<Option<CollectionId>, Problem> {
    let found = call.session(&api.house).default_calendar().await?;
    Ok(found.map(|calendar| calendar.id()))
}

/// Has new events go into the mapping's calendar, or not any more.
async fn settle_primary(
    api: &Api,
    call: &Call,
    calendar: CollectionId,
    primary: Option<bool>,
) -> Result<(), Problem> {
    let Some(primary) = primary else { return Ok(()) };
    let session = call.session(&api.house);
    if primary {
        session.set_default_calendar(Some(calendar)).await?;
    } else if default(api, call).await? == Some(calendar) {
        session.set_default_calendar(None).await?;
    }
    Ok(())
}

/// A dry run: what a first pass would find. Writes nothing on either side.
pub(super) async fn preview(api: &Api, call: Call) -> Result<Reply, Problem> {
    let (new, ..) = new_mapping(api, &call)?;
    let found = api.bridge.preview(call.owner(), &new).await?;
    let document = json!({
        "same": found.same,
        "different": found.different,
        "only_local": found.only_here,
        "only_external": found.only_there,
        "unreadable": found.unreadable,
        "similar": found.similar,
        "pairs": found.pairs.iter().map(|pair| json!({
            "local": pair.here,
            "external": pair.there,
            "title": pair.title,
            "confidence": (pair.confidence * 100.0).round() / 100.0,
        })).collect::<Vec<_>>(),
        "outside_window": found.outside,
        "filtered": found.filtered,
        "refused": found.refused,
        "refusals": found.refusals.iter().map(|(uid, reason)| json!({
            "uid": uid,
            "reason": reason,
        })).collect::<Vec<_>>(),
        "local": { "would_insert": found.insert_here },
        "remote": { "would_insert": found.insert_there },
    });
    Ok(reply(StatusCode::OK, &document))
}

pub(super) async fn change(api: &Api, call: Call) -> Result<Reply, Problem> {
    let mut body = Members::of(call.body()?);
    let confirm: Option<bool> = body.take("confirm")?;
    let primary: Option<bool> = body.take("primary")?;
    let terms = Terms::take(&mut body)?;
    body.end()?;
    let confirm = confirms(api, &call, confirm).await?;
    if confirm {
        // What is refused changes nothing.
        api.bridge.asks_by_hand(call.owner(), call.id(), asker(&call), true)?;
    }
    // RFC 9110 §13.1.1: what is looked at is what is changed; nobody comes in between.
    let change = |mapping: &mut Mapping| {
        call.expect(&etag(mapping)?).map_err(|_| BridgeError::Stale)?;
        terms.settle(mapping);
        Ok(())
    };
    let changed = api.bridge.update_mapping(call.owner(), call.id(), change).await?;
    settle_primary(api, &call, changed.collection, primary).await?;
    if confirm {
        api.bridge.sync(call.owner(), call.id(), true).await?;
    }
    one(api, call).await
}

/// Links two remote calendars with each other.
pub(super) async fn link(api: &Api, call: Call) -> Result<Reply, Problem> {
    let mut body = Members::of(call.body()?);
    let (from, to) = (end(body.inner("from")?)?, end(body.inner("to")?)?);
    let terms = Terms::take(&mut body)?;
    body.end()?;
    // Which calendar here is in the middle is settled by the link.
    let mut new = api.bridge.new_mapping(CollectionId::HOMES, &from.connection, from.remote);
    terms.settle_new(&mut new);
    let made = api.bridge.link(call.owner(), new, to).await?;
    let mut items = Vec::new();
    for mapping in &made {
        let (mapping, state) = api.bridge.mapping(call.owner(), &mapping.id).await?;
        items.push(shown(api, &mapping, &state, None)?);
    }
    let [first, _] = &made;
    let document = json!({ "calendar": first.collection.0.to_string(), "mappings": items });
    Ok(located(reply(StatusCode::CREATED, &document), &api.site, &format!("/mappings/{}", first.id)))
}

fn end(mut members: Members) -> Result<Far, Problem> {
    let connection = members.need("connection")?;
    let far = Far { connection, remote: RemoteId(members.need("remote_calendar")?) };
    members.end()?;
    Ok(far)
}

pub(super) async fn remove(api: &Api, call: Call) -> Result<Reply, Problem> {
    let (before, _) = api.bridge.mapping(call.owner(), call.id()).await?;
    call.expect(&etag(&before)?)?;
    api.bridge.delete_mapping(call.owner(), call.id()).await?;
    Ok(done())
}

pub(super) async fn sync(api: &Api, call: Call) -> Result<Reply, Problem> {
    let wish: Sync = call.body()?;
    let confirm = confirms(api, &call, wish.confirm).await?;
    api.bridge.asks_by_hand(call.owner(), call.id(), asker(&call), confirm)?;
    let run = api.bridge.sync(call.owner(), call.id(), confirm).await?;
    Ok(located(reply(StatusCode::ACCEPTED, &json!({ "run": run })), &api.site, &format!("/runs/{run}")))
}

/// Tells whether deletions are confirmed: without any that wait, the word says nothing.
async fn confirms(api: &Api, call: &Call, wish: Option<bool>) -> Result<bool, Problem> {
    let (_, state) = api.bridge.mapping(call.owner(), call.id()).await?;
    Ok(wish == Some(true) && state.hold.is_some())
}

/// All mappings, or with `?provider=` those of one kind of account (S3-102).
pub(super) async fn sync_all(api: &Api, call: Call) -> Result<Reply, Problem> {
    call.no_body()?;
    let wanted: Option<Kind> = match call.parameter("provider") {
        Some(name) => Some(serde_json::from_value(json!(name)).map_err(|_| {
            Problem::invalid("provider", "It is one of google, outlook, icloud, caldav, cozi and ics.")
        })?),
        None => None,
    };
    let mut of_kind = Vec::new();
    for (connection, _) in api.bridge.connections(call.owner()).await? {
        if wanted.is_none_or(|kind| kind == connection.kind) {
            of_kind.push(connection.id);
        }
    }
    sync_those(api, &call, &of_kind).await
}

/// All mappings of one account (S1-069).
pub(super) async fn sync_connection(api: &Api, call: Call) -> Result<Reply, Problem> {
    call.no_body()?;
    let (connection, _) = api.bridge.connection(call.owner(), call.id()).await?;
    sync_those(api, &call, &[connection.id]).await
}

async fn sync_those(api: &Api, call: &Call, connections: &[String]) -> Result<Reply, Problem> {
    let mut runs = Vec::new();
    let mut counted = false;
    for (mapping, _) in api.bridge.mappings(call.owner()).await? {
        if !mapping.enabled || !connections.contains(&mapping.connection) {
            continue;
        }
        // One wish, however many mappings it is for.
        if !counted {
            api.bridge.asks_by_hand(call.owner(), &mapping.id, asker(call), false)?;
            counted = true;
        }
        match api.bridge.sync(call.owner(), &mapping.id, false).await {
            Ok(run) => runs.push(run),
            // One that rests or waits does not keep the others.
            Err(BridgeError::Conflict(_) | BridgeError::Wait(_) | BridgeError::Missing) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(reply(StatusCode::ACCEPTED, &json!({ "runs": runs })))
}

fn asker(call: &Call) -> Asker {
    match call.caller.via {
        Via::Token(scopes) if scopes.contain(Scope::Bridges) => Asker::Program,
        Via::Token(_) | Via::Session | Via::Password | Via::AppPassword => Asker::Person,
    }
}

/// Returns what is asked for, whether a calendar is to be made for it, and whether new events are to go into that.
fn new_mapping(api: &Api, call: &Call) -> Result<(NewMapping, bool, Option<bool>), Problem> {
    let mut body = Members::of(call.body()?);
    let calendar = match body.said::<String>("calendar")? {
        Some(calendar) => calendar,
        None => Some(body.need("calendar")?),
    };
    let connection: String = body.need("connection")?;
    let remote = RemoteId(body.need("remote_calendar")?);
    let primary: Option<bool> = body.take("primary")?;
    let terms = Terms::take(&mut body)?;
    body.end()?;
    let missing = || Problem::invalid("calendar", "There is no such calendar.");
    let collection = match &calendar {
        Some(calendar) => calendar.parse().map(CollectionId).map_err(|_| missing())?,
        None => CollectionId::HOMES,
    };
    if calendar.is_some() && collection == CollectionId::HOMES {
        return Err(missing());
    }
    let mut new = api.bridge.new_mapping(collection, &connection, remote);
    terms.settle_new(&mut new);
    Ok((new, calendar.is_none(), primary))
}

fn etag(mapping: &Mapping) -> Result<Etag, Fault> {
    Ok(Etag::of(&encode(mapping)?))
}

/// How quick a mapping is (E16).
fn quick(measured: Option<Measured>) -> Value {
    let length = |ms: u64| format!("PT{}.{:03}S", ms / 1000, ms % 1000);
    measured.map_or(Value::Null, |measured| {
        json!({
            "last": length(measured.last),
            "average": length(measured.average),
            "count": measured.count,
            "measured_at": time(measured.at),
        })
    })
}

fn shown(
    api: &Api,
    mapping: &Mapping,
    state: &MappingState,
    default: Option<CollectionId>,
) -> Result<Value, Problem> {
    let status = status_of(mapping, state, api.bridge.is_running(&mapping.id));
    let hold = state.hold.as_ref().map(|hold| {
        json!({ "since": time(hold.since), "local_deletions": hold.local, "remote_deletions": hold.remote })
    });
    let failing: Vec<Value> =
        state.again.iter().map(|f| json!({ "uid": f.uid, "reason": f.reason })).collect();
    let (past, future) = api.bridge.reach(mapping);
    Ok(json!({
        "id": mapping.id,
        "etag": etag(mapping)?.0,
        "calendar": mapping.collection.0.to_string(),
        "connection": mapping.connection,
        "remote_calendar": mapping.remote,
        "direction": mapping.direction,
        "conflict_policy": mapping.policy,
        "rules": mapping.rules,
        "fields": mapping.fields,
        "window_past": terms::shown(past),
        "window_future": terms::shown(future),
        "filters": mapping.filters,
        "on_remote_delete": mapping.on_remote_delete,
        "on_local_delete": mapping.on_local_delete,
        "push": mapping.push,
        "only": mapping.only,
        "editable": !mapping.keeps(),
        "primary": default == Some(mapping.collection),
        "latency": {
            "outward": quick(state.latency.outward),
            "inward": quick(state.latency.inward),
        },
        "enabled": mapping.enabled,
        "poll_interval": mapping.poll_seconds.map(|s| format!("PT{s}S")),
        "status": status,
        "message": Some(&state.sentence).filter(|text| !text.is_empty()),
        "hold": hold,
        "failing": failing,
        "last_run": state.last_run,
        "last_synced_at": time_or_null(state.last_good),
        "next_run_at": time_or_null(state.pace.next.filter(|_| mapping.enabled)),
        "created_at": time(mapping.created),
        "updated_at": time(mapping.changed.unwrap_or(mapping.created)),
    }))
}

//! `/mappings`: which calendar here goes with which calendar there, and how.

use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::json::{Call, reply, time, time_or_null};
use super::problem::Problem;
use super::{Api, done, located};
use crate::bridge::provider::RemoteId;
use crate::bridge::record::{Direction, Mapping, MappingState, Policy, encode};
use crate::bridge::{BridgeError, NewMapping};
use crate::http::Reply;
use crate::store::{CollectionId, Etag, Fault};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct New {
    calendar: String,
    connection: String,
    remote_calendar: String,
    direction: Option<Direction>,
    conflict_policy: Option<Policy>,
    fields: Option<String>,
    window_past: Option<String>,
    window_future: Option<String>,
    enabled: Option<bool>,
    poll_interval: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Change {
    direction: Option<Direction>,
    conflict_policy: Option<Policy>,
    fields: Option<String>,
    window_past: Option<String>,
    window_future: Option<String>,
    enabled: Option<bool>,
    poll_interval: Option<String>,
    confirm: Option<bool>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sync {
    confirm: Option<bool>,
}

pub(super) async fn list(api: &Api, call: Call) -> Result<Reply, Problem> {
    let page = call.page()?;
    let all = api.bridge.mappings(call.owner()).await?;
    let items = all.iter().map(|(m, state)| shown(api, m, state)).collect::<Result<_, _>>()?;
    page.reply(items)
}

pub(super) async fn one(api: &Api, call: Call) -> Result<Reply, Problem> {
    let (mapping, state) = api.bridge.mapping(call.owner(), call.id()).await?;
    Ok(reply(StatusCode::OK, &shown(api, &mapping, &state)?))
}

pub(super) async fn create(api: &Api, call: Call) -> Result<Reply, Problem> {
    let new = new_mapping(call.body()?)?;
    let made = api.bridge.add_mapping(call.owner(), new).await?;
    let (made, state) = api.bridge.mapping(call.owner(), &made.id).await?;
    let document = shown(api, &made, &state)?;
    Ok(located(reply(StatusCode::CREATED, &document), &api.site, &format!("/mappings/{}", made.id)))
}

/// A dry run: what a first pass would find. Writes nothing on either side.
pub(super) async fn preview(api: &Api, call: Call) -> Result<Reply, Problem> {
    let new = new_mapping(call.body()?)?;
    let found = api.bridge.preview(call.owner(), &new).await?;
    let document = json!({
        "same": found.same,
        "different": found.different,
        "only_local": found.only_here,
        "only_external": found.only_there,
        "unreadable": found.unreadable,
        "local": { "would_insert": found.insert_here },
        "remote": { "would_insert": found.insert_there },
    });
    Ok(reply(StatusCode::OK, &document))
}

pub(super) async fn change(api: &Api, call: Call) -> Result<Reply, Problem> {
    let change: Change = call.body()?;
    only_implemented(
        change.fields.as_deref(),
        change.window_past.as_deref(),
        change.window_future.as_deref(),
    )?;
    let poll = change.poll_interval.as_deref().map(seconds).transpose()?;
    let (before, _) = api.bridge.mapping(call.owner(), call.id()).await?;
    call.expect(&etag(&before)?)?;
    api.bridge
        .update_mapping(call.owner(), call.id(), |mapping| {
            mapping.direction = change.direction.unwrap_or(mapping.direction);
            mapping.policy = change.conflict_policy.unwrap_or(mapping.policy);
            mapping.enabled = change.enabled.unwrap_or(mapping.enabled);
            mapping.poll_seconds = poll.or(mapping.poll_seconds);
            Ok(())
        })
        .await?;
    if change.confirm == Some(true) {
        api.bridge.sync(call.owner(), call.id(), true).await?;
    }
    one(api, call).await
}

pub(super) async fn remove(api: &Api, call: Call) -> Result<Reply, Problem> {
    let (before, _) = api.bridge.mapping(call.owner(), call.id()).await?;
    call.expect(&etag(&before)?)?;
    api.bridge.delete_mapping(call.owner(), call.id()).await?;
    Ok(done())
}

pub(super) async fn sync(api: &Api, call: Call) -> Result<Reply, Problem> {
    let wish: Sync = call.body()?;
    let run = api.bridge.sync(call.owner(), call.id(), wish.confirm == Some(true)).await?;
    Ok(located(reply(StatusCode::ACCEPTED, &json!({ "run": run })), &api.site, &format!("/runs/{run}")))
}

pub(super) async fn sync_all(api: &Api, call: Call) -> Result<Reply, Problem> {
    let _: Empty = call.body()?;
    let mut runs = Vec::new();
    for (mapping, _) in api.bridge.mappings(call.owner()).await? {
        match api.bridge.sync(call.owner(), &mapping.id, false).await {
            Ok(run) => runs.push(run),
            // One that rests or waits does not keep the others.
            Err(BridgeError::Conflict(_) | BridgeError::Wait(_) | BridgeError::Missing) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(reply(StatusCode::ACCEPTED, &json!({ "runs": runs })))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Empty {}

fn new_mapping(new: New) -> Result<NewMapping, Problem> {
    only_implemented(new.fields.as_deref(), new.window_past.as_deref(), new.window_future.as_deref())?;
    let collection = new.calendar.parse().map(CollectionId);
    let collection = collection.map_err(|_| Problem::invalid("calendar", "There is no such calendar."))?;
    Ok(NewMapping {
        collection,
        connection: new.connection,
        remote: RemoteId(new.remote_calendar),
        direction: new.direction.unwrap_or(Direction::Both),
        policy: new.conflict_policy.unwrap_or(Policy::Newest),
        enabled: new.enabled.unwrap_or(true),
        poll_seconds: new.poll_interval.as_deref().map(seconds).transpose()?,
    })
}

/// A CalDAV mapping carries everything; what is not carried out is not accepted.
fn only_implemented(fields: Option<&str>, past: Option<&str>, future: Option<&str>) -> Result<(), Problem> {
    if fields.is_some_and(|fields| fields != "full") {
        return Err(Problem::invalid(
            "fields",
            "A CalDAV mapping carries all fields: only `full` is possible.",
        ));
    }
    for (field, value) in [("window_past", past), ("window_future", future)] {
        if value.is_some_and(|value| value != "all") {
            return Err(Problem::invalid(
                field,
                "A CalDAV mapping carries all times: only `all` is possible.",
            ));
        }
    }
    Ok(())
}

/// Reads an ISO 8601 duration of whole seconds.
fn seconds(text: &str) -> Result<u64, Problem> {
    let bad = || Problem::invalid("poll_interval", format!("`{text}` is not a duration like PT10M."));
    let span: jiff::Span = text.parse().map_err(|_| bad())?;
    let whole =
        span.total((jiff::Unit::Second, jiff::SpanRelativeTo::days_are_24_hours())).map_err(|_| bad())?;
    // A day at most is accepted further on; this keeps the conversion exact.
    if (0.0..=1e9).contains(&whole) { Ok(whole as u64) } else { Err(bad()) }
}

fn etag(mapping: &Mapping) -> Result<Etag, Fault> {
    Ok(Etag::of(&encode(mapping)?))
}

fn shown(api: &Api, mapping: &Mapping, state: &MappingState) -> Result<Value, Problem> {
    let status = if !mapping.enabled {
        "disabled"
    } else if api.bridge.is_running(&mapping.id) {
        "syncing"
    } else if state.hold.is_some() {
        "paused"
    } else if !state.sentence.is_empty() {
        "error"
    } else if state.last_good.is_none() {
        "pending"
    } else {
        "active"
    };
    let hold = state.hold.as_ref().map(|hold| {
        json!({ "since": time(hold.since), "local_deletions": hold.local, "remote_deletions": hold.remote })
    });
    let failing: Vec<Value> =
        state.again.iter().map(|f| json!({ "uid": f.uid, "reason": f.reason })).collect();
    Ok(json!({
        "id": mapping.id,
        "etag": etag(mapping)?.0,
        "calendar": mapping.collection.0.to_string(),
        "connection": mapping.connection,
        "remote_calendar": mapping.remote,
        "direction": mapping.direction,
        "conflict_policy": mapping.policy,
        "fields": "full",
        "window_past": "all",
        "window_future": "all",
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
    }))
}

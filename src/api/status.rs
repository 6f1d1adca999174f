//! `/status`: how the bridge is and when it last synced, for whoever looks after it.

use http::StatusCode;
use serde_json::{Value, json};

use super::Api;
use super::json::{Call, reply, time, time_or_null};
use super::problem::Problem;
use crate::auth::Scope;
use crate::bridge::record::{Connection, ConnectionState, Mapping, MappingState};
use crate::bridge::status_of;
use crate::http::Reply;
use crate::metrics::Standing;

/// What asks for somebody's attention; the rest goes on by itself.
const TROUBLE: [&str; 3] = ["error", "token_expired", "paused"];

/// The caller's accounts and mappings; with the scope `admin` how the whole server stands, too.
pub(super) async fn status(api: &Api, call: Call) -> Result<Reply, Problem> {
    api.house.store.health().await?;
    let mappings = api.bridge.mappings(call.owner()).await?;
    let connections = api.bridge.connections(call.owner()).await?;
    let ids: Vec<&str> = mappings.iter().map(|(mapping, _)| mapping.id.as_str()).collect();
    let queue = api.bridge.queue(Some(&ids));
    let connections: Vec<Value> =
        connections.iter().map(|(connection, state)| account(connection, state, &mappings)).collect();
    let mappings: Vec<Value> = mappings.iter().map(|(mapping, state)| pair(api, mapping, state)).collect();
    let troubled = |item: &Value| TROUBLE.iter().any(|word| item.get("status") == Some(&json!(word)));
    let well = !connections.iter().chain(&mappings).any(troubled);
    let server = match call.caller.may(Scope::Admin) {
        true => Some(server(api).await?),
        false => None,
    };
    let document = json!({
        "status": if well { "ok" } else { "attention" },
        "version": env!("CARGO_PKG_VERSION"),
        "time": time(api.house.clock.now()),
        "store": "ok",
        "queue": { "running": queue.running, "waiting": queue.waiting, "lag_seconds": queue.lag.as_secs() },
        "connections": connections,
        "mappings": mappings,
        "server": server,
    });
    Ok(reply(StatusCode::OK, &document))
}

fn account(connection: &Connection, state: &ConnectionState, mappings: &[(Mapping, MappingState)]) -> Value {
    let own = mappings.iter().filter(|(mapping, _)| mapping.connection == connection.id);
    let last_good = own.filter_map(|(_, state)| state.last_good).chain(state.last_good).max();
    json!({
        "id": connection.id,
        "provider": connection.kind,
        "account": connection.account,
        "status": state.health.as_str(),
        "message": Some(&state.sentence).filter(|text| !text.is_empty()),
        "last_synced_at": time_or_null(last_good),
    })
}

fn pair(api: &Api, mapping: &Mapping, state: &MappingState) -> Value {
    json!({
        "id": mapping.id,
        "connection": mapping.connection,
        "calendar": mapping.collection.0.to_string(),
        "status": status_of(mapping, state, api.bridge.is_running(&mapping.id)),
        "message": Some(&state.sentence).filter(|text| !text.is_empty()),
        "last_run": state.last_run,
        "last_synced_at": time_or_null(state.last_good),
        "next_run_at": time_or_null(state.pace.next.filter(|_| mapping.enabled)),
    })
}

async fn server(api: &Api) -> Result<Value, Problem> {
    let figures = api.house.store.figures().await?;
    let mut standing = Standing::default();
    api.bridge.stand(&mut standing).await?;
    let users = api.house.principals().await?.len();
    let by_status = |counts: &[(&'static str, u64)]| {
        Value::Object(counts.iter().map(|(status, count)| ((*status).to_owned(), json!(count))).collect())
    };
    let mut connections: Vec<(&'static str, u64)> = Vec::new();
    for (_, status, count) in &standing.connections {
        match connections.iter_mut().find(|(known, _)| known == status) {
            Some((_, sum)) => *sum += count,
            None => connections.push((status, *count)),
        }
    }
    Ok(json!({
        "users": users,
        "users_connected": standing.users_connected,
        "collections": figures.collections,
        "objects": figures.objects,
        "object_bytes": figures.bytes,
        "disk_bytes": figures.disk,
        "commits": figures.commits,
        "connections": by_status(&connections),
        "mappings": by_status(&standing.mappings),
        "conflicts_open": standing.conflicts_open,
        "notices_open": standing.notices_open,
        "queue": {
            "running": standing.running, "waiting": standing.waiting, "lag_seconds": standing.lag.as_secs(),
        },
    }))
}

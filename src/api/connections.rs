//! `/connections`: accounts on far sides. Their secrets come in here and never go out.

use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::json::{Call, reply, time, time_or_null};
use super::problem::Problem;
use super::{Api, done, located};
use crate::auth::grant::Secret;
use crate::bridge::record::{Connection, ConnectionState, Kind, encode};
use crate::http::Reply;
use crate::store::{Etag, Fault};

/// A password in a body. It is moved into a `Secret` as it is read.
struct Password(Secret);

impl std::fmt::Debug for Password {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("…")
    }
}

impl<'de> Deserialize<'de> for Password {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Password, D::Error> {
        String::deserialize(deserializer).map(|text| Password(Secret::new(text)))
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct New {
    provider: Option<Kind>,
    url: Option<String>,
    username: String,
    password: Password,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Change {
    account: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Again {
    username: Option<String>,
    password: Option<Password>,
}

pub(super) async fn list(api: &Api, call: Call) -> Result<Reply, Problem> {
    let page = call.page()?;
    let all = api.bridge.connections(call.owner()).await?;
    let syncing = syncing(api, call.owner()).await?;
    let items = all.iter().map(|(c, state)| shown(c, state, &syncing)).collect::<Result<_, _>>()?;
    page.reply(items)
}

pub(super) async fn one(api: &Api, call: Call) -> Result<Reply, Problem> {
    let (connection, state) = api.bridge.connection(call.owner(), call.id()).await?;
    let syncing = syncing(api, call.owner()).await?;
    Ok(reply(StatusCode::OK, &shown(&connection, &state, &syncing)?))
}

/// `POST /connections` names the provider in its body.
pub(super) async fn create(api: &Api, call: Call) -> Result<Reply, Problem> {
    let new: New = call.body()?;
    match new.provider {
        Some(Kind::Caldav) => connect(api, &call, new).await,
        None => Err(Problem::invalid("provider", "Name the provider: `caldav`.")),
    }
}

pub(super) async fn create_caldav(api: &Api, call: Call) -> Result<Reply, Problem> {
    let new: New = call.body()?;
    connect(api, &call, new).await
}

async fn connect(api: &Api, call: &Call, new: New) -> Result<Reply, Problem> {
    let Some(url) = new.url.filter(|url| !url.trim().is_empty()) else {
        return Err(Problem::invalid("url", "Give the address of the CalDAV server."));
    };
    let made = api.bridge.connect_caldav(call.owner(), &url, &new.username, new.password.0).await?;
    let (made, state) = api.bridge.connection(call.owner(), &made.id).await?;
    let document = shown(&made, &state, &[])?;
    Ok(located(reply(StatusCode::CREATED, &document), &api.site, &format!("/connections/{}", made.id)))
}

pub(super) async fn change(api: &Api, call: Call) -> Result<Reply, Problem> {
    let change: Change = call.body()?;
    let (before, _) = api.bridge.connection(call.owner(), call.id()).await?;
    call.expect(&etag(&before)?)?;
    if let Some(account) = change.account {
        api.bridge.rename_connection(call.owner(), call.id(), &account).await?;
    }
    one(api, call).await
}

pub(super) async fn remove(api: &Api, call: Call) -> Result<Reply, Problem> {
    let (before, _) = api.bridge.connection(call.owner(), call.id()).await?;
    call.expect(&etag(&before)?)?;
    api.bridge.disconnect(call.owner(), call.id()).await?;
    Ok(done())
}

pub(super) async fn reconnect(api: &Api, call: Call) -> Result<Reply, Problem> {
    let again: Again = call.body()?;
    let password = again.password.map(|p| p.0);
    let username = again.username.as_deref();
    let (connection, state) = api.bridge.reconnect(call.owner(), call.id(), username, password).await?;
    Ok(reply(StatusCode::OK, &shown(&connection, &state, &[])?))
}

pub(super) async fn calendars(api: &Api, call: Call) -> Result<Reply, Problem> {
    let page = call.page()?;
    let found = api.bridge.remote_calendars(call.owner(), call.id()).await?;
    let items = found
        .into_iter()
        .map(|c| {
            json!({
                "id": c.id.0,
                "name": c.name,
                "color": c.color,
                "primary": c.primary,
                "writable": c.writable,
                "components": c.components,
            })
        })
        .collect();
    page.reply(items)
}

/// Returns the connections with a pass that runs.
async fn syncing(api: &Api, owner: &str) -> Result<Vec<String>, Problem> {
    let all = api.bridge.mappings(owner).await?;
    Ok(all.into_iter().filter(|(m, _)| api.bridge.is_running(&m.id)).map(|(m, _)| m.connection).collect())
}

fn etag(connection: &Connection) -> Result<Etag, Fault> {
    Ok(Etag::of(&encode(connection)?))
}

fn shown(connection: &Connection, state: &ConnectionState, syncing: &[String]) -> Result<Value, Problem> {
    use crate::bridge::record::Health;
    let status = match state.health {
        Health::Active if syncing.contains(&connection.id) => "syncing",
        Health::Active => "active",
        Health::Error => "error",
        Health::TokenExpired => "token_expired",
        Health::RateLimited => "rate_limited",
    };
    Ok(json!({
        "id": connection.id,
        "etag": etag(connection)?.0,
        "provider": connection.kind,
        "url": connection.url,
        "username": connection.username,
        "account": connection.account,
        "status": status,
        "message": Some(&state.sentence).filter(|text| !text.is_empty()),
        "last_synced_at": time_or_null(state.last_good),
        "created_at": time(connection.created),
    }))
}

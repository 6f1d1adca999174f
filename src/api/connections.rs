//! `/connections`: accounts on far sides. Their secrets come in here and never go out.

use std::time::Duration;

use http::{StatusCode, header};
use serde::Deserialize;
use serde_json::{Value, json};

use super::json::{Call, reply, time, time_or_null};
use super::moments::length;
use super::problem::Problem;
use super::{Api, done, located};
use crate::auth::grant::Secret;
use crate::auth::oauth::{self, Access};
use crate::bridge::record::{Connection, ConnectionState, Kind, Mapping, MappingState, encode};
use crate::bridge::{Asked, Mirrored, Wish};
use crate::http::Reply;
use crate::store::{Etag, Fault};

/// Which channels end soon, in seconds, unless somebody says.
const SOON: i64 = 2 * 86_400;
/// The longest time that may be said.
const SOON_MOST: i64 = 366 * 86_400;

/// A password in a body. It is moved into a `Secret` as it is read.
pub(super) struct Password(pub(super) Secret);

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

/// `POST /connections`: the provider, and what it takes.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Any {
    provider: Option<Kind>,
    url: Option<Password>,
    username: Option<String>,
    password: Option<Password>,
    return_to: Option<String>,
    access: Option<Access>,
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
    url: Option<Password>,
    return_to: Option<String>,
    access: Option<Access>,
}

pub(super) async fn list(api: &Api, call: Call) -> Result<Reply, Problem> {
    let page = call.page()?;
    let all = api.bridge.connections(call.owner()).await?;
    let mappings = api.bridge.mappings(call.owner()).await?;
    let items = all.iter().map(|(c, state)| shown(api, c, state, &mappings)).collect::<Result<_, _>>()?;
    page.reply(items)
}

pub(super) async fn one(api: &Api, call: Call) -> Result<Reply, Problem> {
    let (connection, state) = api.bridge.connection(call.owner(), call.id()).await?;
    let mappings = api.bridge.mappings(call.owner()).await?;
    Ok(reply(StatusCode::OK, &shown(api, &connection, &state, &mappings)?))
}

/// Which kinds of accounts there are, and which of them can be connected here.
pub(super) async fn kinds(api: &Api, call: Call) -> Result<Reply, Problem> {
    let page = call.page()?;
    let all = [Kind::Google, Kind::Outlook, Kind::Icloud, Kind::Caldav, Kind::Cozi, Kind::Ics];
    let shown = all.map(|kind| {
        let reason = api.bridge.unavailable(kind);
        json!({
            "id": kind, "provider": kind, "available": reason.is_none(), "reason": reason,
            "warning": api.bridge.warning(kind),
        })
    });
    page.reply(shown.to_vec())
}

/// `POST /connections` names the provider in its body.
pub(super) async fn create(api: &Api, call: Call) -> Result<Reply, Problem> {
    let new: Any = call.body()?;
    match new.provider {
        Some(kind) => connect(api, &call, kind, new).await,
        None => Err(Problem::invalid(
            "provider",
            "Name the provider: one of google, outlook, icloud, caldav, cozi and ics.",
        )),
    }
}

pub(super) async fn create_caldav(api: &Api, call: Call) -> Result<Reply, Problem> {
    connect(api, &call, Kind::Caldav, call.body()?).await
}

pub(super) async fn create_icloud(api: &Api, call: Call) -> Result<Reply, Problem> {
    connect(api, &call, Kind::Icloud, call.body()?).await
}

pub(super) async fn create_cozi(api: &Api, call: Call) -> Result<Reply, Problem> {
    connect(api, &call, Kind::Cozi, call.body()?).await
}

pub(super) async fn create_ics(api: &Api, call: Call) -> Result<Reply, Problem> {
    connect(api, &call, Kind::Ics, call.body()?).await
}

pub(super) async fn create_google(api: &Api, call: Call) -> Result<Reply, Problem> {
    connect(api, &call, Kind::Google, call.body()?).await
}

pub(super) async fn create_outlook(api: &Api, call: Call) -> Result<Reply, Problem> {
    connect(api, &call, Kind::Outlook, call.body()?).await
}

/// Takes what the kind of account needs and no more, so that nothing is thought to have had an effect that had none.
async fn connect(api: &Api, call: &Call, kind: Kind, new: Any) -> Result<Reply, Problem> {
    if new.provider.is_some_and(|named| named != kind) {
        return Err(Problem::invalid("provider", "The address and the body name two different providers."));
    }
    let consents = matches!(kind, Kind::Google | Kind::Outlook);
    for (name, given, taken) in [
        ("url", new.url.is_some(), matches!(kind, Kind::Caldav | Kind::Icloud | Kind::Ics)),
        ("username", new.username.is_some(), !consents && kind != Kind::Ics),
        ("password", new.password.is_some(), !consents && kind != Kind::Ics),
        ("return_to", new.return_to.is_some(), consents),
        ("access", new.access.is_some(), consents),
    ] {
        if given && !taken {
            return Err(Problem::invalid(name, format!("Such accounts are connected without `{name}`.")));
        }
    }
    let owner = call.owner();
    if consents {
        let wish = Wish { return_to: new.return_to.as_deref(), access: new.access };
        let asked = api.bridge.ask_consent(owner, kind, wish).await?;
        let document = sent_away(api, &asked)?;
        return Ok(handed(api, &asked, created(api, &asked.connection, &document)));
    }
    let url = new.url.map(|url| url.0).filter(|url| !url.reveal().trim().is_empty());
    let password = || {
        let given = new.password.map(|password| password.0);
        given.ok_or_else(|| Problem::invalid("password", "Give the password of the account as `password`."))
    };
    let username = || {
        let given = new.username.as_deref().map(str::trim).filter(|name| !name.is_empty());
        given.ok_or_else(|| Problem::invalid("username", "Give the user name of the account as `username`."))
    };
    let made = match kind {
        Kind::Caldav => {
            let missing = || Problem::invalid("url", "Give the address of the CalDAV server.");
            let url = url.ok_or_else(missing)?;
            api.bridge.connect_caldav(owner, url.reveal(), username()?, password()?).await?
        }
        Kind::Icloud => {
            let url = url.as_ref().map(Secret::reveal);
            api.bridge.connect_icloud(owner, url, username()?, password()?).await?
        }
        Kind::Cozi => api.bridge.connect_cozi(owner, username()?, password()?).await?,
        Kind::Ics | Kind::Google | Kind::Outlook => {
            let url = url.ok_or_else(|| Problem::invalid("url", "Give the address of the feed."))?;
            api.bridge.connect_ics(owner, url.reveal()).await?
        }
    };
    let (made, state) = api.bridge.connection(owner, &made.id).await?;
    let document = shown(api, &made, &state, &[])?;
    Ok(created(api, &made, &document))
}

/// Shows a connection with the address where its owner consents.
fn sent_away(api: &Api, asked: &Asked) -> Result<Value, Problem> {
    let mut document = shown(api, &asked.connection, &asked.state, &[])?;
    add(&mut document, "authorization_url", asked.url.as_str());
    add(&mut document, "disclosure", &disclosure(asked.connection.kind, asked.access));
    Ok(document)
}

/// Says what a person agrees to before they are sent to do so (S0-034).
fn disclosure(kind: Kind, access: Access) -> String {
    let (vendor, withdraw) = match kind {
        Kind::Google => ("Google", "https://myaccount.google.com/connections"),
        _ => (
            "Microsoft",
            "https://account.live.com/consent/Manage (of work or school: https://myapps.microsoft.com)",
        ),
    };
    let what = match access {
        Access::Read => {
            "This server will be able to read your calendars and their events, and to change none."
        }
        Access::Write => {
            "This server will be able to read your calendars, and to make, change and remove events in them."
        }
    };
    format!(
        "{what} It does so only with calendars that you map, keeps their events here, and keeps what {vendor} entrusts to \
         it sealed. It sees your address, so that you can tell your accounts apart, and nothing else. You can withdraw at any \
         time: disconnect the account here, or remove the access at {withdraw}."
    )
}

/// Hands the browser that asks what shows, when it comes back, that it did. A program has no use for it.
fn handed(api: &Api, asked: &Asked, mut reply: Reply) -> Reply {
    if let Some(cookie) = oauth::handed(&asked.word, &asked.browser, api.bridge.base_url()) {
        reply.headers_mut().append(header::SET_COOKIE, cookie);
    }
    reply
}

fn created(api: &Api, made: &Connection, document: &Value) -> Reply {
    located(reply(StatusCode::CREATED, document), &api.site, &format!("/connections/{}", made.id))
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

/// `?events=remove` moves what came from the account to the trash; else it stays.
pub(super) async fn remove(api: &Api, call: Call) -> Result<Reply, Problem> {
    let events = match call.parameter("events") {
        None | Some("keep") => Mirrored::Keep,
        Some("remove") => Mirrored::Remove,
        Some(_) => {
            let why = "The events of the account are to be kept or removed: `keep` or `remove`.";
            return Err(Problem::invalid("events", why));
        }
    };
    let (before, _) = api.bridge.connection(call.owner(), call.id()).await?;
    call.expect(&etag(&before)?)?;
    api.bridge.disconnect(call.owner(), call.id(), events).await?;
    Ok(done())
}

/// Credentials anew, or for an account with a consent the address where it is given anew. What is mapped stays.
pub(super) async fn reconnect(api: &Api, call: Call) -> Result<Reply, Problem> {
    let again: Again = call.body()?;
    let (before, _) = api.bridge.connection(call.owner(), call.id()).await?;
    if matches!(before.kind, Kind::Google | Kind::Outlook) {
        if again.username.is_some() || again.password.is_some() || again.url.is_some() {
            let why = "Such accounts are connected with a consent: open the authorization link.";
            return Err(Problem::invalid("password", why));
        }
        let wish = Wish { return_to: again.return_to.as_deref(), access: again.access };
        let asked = api.bridge.ask_consent_again(call.owner(), call.id(), wish).await?;
        let document = sent_away(api, &asked)?;
        return Ok(handed(api, &asked, reply(StatusCode::OK, &document)));
    }
    for (name, given) in [("return_to", again.return_to.is_some()), ("access", again.access.is_some())] {
        if given {
            return Err(Problem::invalid(name, "Such accounts are connected without a consent."));
        }
    }
    let secret = if before.kind == Kind::Ics { again.url } else { again.password };
    let secret = secret.map(|given| given.0);
    let username = again.username.as_deref();
    let (connection, state) = api.bridge.reconnect(call.owner(), call.id(), username, secret).await?;
    Ok(reply(StatusCode::OK, &shown(api, &connection, &state, &[])?))
}

/// The notification channels of an account anew (S3-140).
pub(super) async fn renew(api: &Api, call: Call) -> Result<Reply, Problem> {
    call.no_body()?;
    let channels = api.bridge.renew_channels(call.owner(), call.id()).await?;
    Ok(reply(StatusCode::ACCEPTED, &json!({ "channels": channels })))
}

/// Those of all accounts that end soon (S3-140).
pub(super) async fn renew_ending(api: &Api, call: Call) -> Result<Reply, Problem> {
    call.no_body()?;
    let within = call.parameter("within").map(|text| length("within", text, 0..=SOON_MOST)).transpose()?;
    let within = u64::try_from(within.unwrap_or(SOON)).unwrap_or_default();
    let channels = api.bridge.renew_ending(call.owner(), Duration::from_secs(within)).await?;
    Ok(reply(StatusCode::ACCEPTED, &json!({ "channels": channels })))
}

pub(super) async fn calendars(api: &Api, call: Call) -> Result<Reply, Problem> {
    let page = call.page()?;
    let id = named(api, &call).await?;
    let found = api.bridge.remote_calendars(call.owner(), &id).await?;
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

/// Returns the id in the path. The name of a provider stands for the caller's first account there.
async fn named(api: &Api, call: &Call) -> Result<String, Problem> {
    let Ok(kind) = serde_json::from_value::<Kind>(json!(call.id())) else { return Ok(call.id().to_owned()) };
    let all = api.bridge.connections(call.owner()).await?;
    let own = all.into_iter().map(|(connection, _)| connection).filter(|connection| connection.kind == kind);
    let first = own.min_by(|a, b| (a.created, &a.id).cmp(&(b.created, &b.id)));
    Ok(first.ok_or(crate::bridge::BridgeError::Missing)?.id)
}

/// Adds a text to what is shown.
fn add(document: &mut Value, name: &str, text: &str) {
    if let Some(fields) = document.as_object_mut() {
        fields.insert(name.to_owned(), json!(text));
    }
}

fn etag(connection: &Connection) -> Result<Etag, Fault> {
    Ok(Etag::of(&encode(connection)?))
}

fn shown(
    api: &Api,
    connection: &Connection,
    state: &ConnectionState,
    mappings: &[(Mapping, MappingState)],
) -> Result<Value, Problem> {
    use crate::bridge::record::Health;
    let own = || mappings.iter().filter(|(mapping, _)| mapping.connection == connection.id);
    let status = match state.health {
        Health::Active if own().any(|(mapping, _)| api.bridge.is_running(&mapping.id)) => "syncing",
        Health::Active => "active",
        Health::Error => "error",
        Health::TokenExpired => "token_expired",
        Health::RateLimited => "rate_limited",
        Health::Pending => "pending",
    };
    // The account itself is noted only when something about it changes; its mappings know of every pass.
    let last_good = own().filter_map(|(_, state)| state.last_good).chain(state.last_good).max();
    let mut document = json!({
        "id": connection.id,
        "etag": etag(connection)?.0,
        "provider": connection.kind,
        "url": connection.url,
        "username": connection.username,
        "account": connection.account,
        "access": if connection.only_reads() { Access::Read } else { Access::Write },
        "status": status,
        "message": Some(&state.sentence).filter(|text| !text.is_empty()),
        "last_synced_at": time_or_null(last_good),
        "created_at": time(connection.created),
    });
    if let Some(warning) = api.bridge.warning(connection.kind) {
        add(&mut document, "warning", warning);
    }
    Ok(document)
}

//! `/calendars`: the caller's calendar collections.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::json::{Call, present, reply};
use super::problem::Problem;
use super::{Api, done, located};
use crate::calendar::booking::{is_exclusive, is_holds, set_exclusive};
use crate::calendar::{NewCollection, Refusal, Session, Shown, When, Writable, is_hidden};
use crate::http::{Href, Reply, sync_token};
use crate::store::{Collection, CollectionId, Etag, Kind, Name, Properties};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct New {
    name: Option<String>,
    display_name: Option<String>,
    color: Option<String>,
    components: Option<Vec<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Change {
    #[serde(default, deserialize_with = "present")]
    display_name: Option<Option<String>>,
    #[serde(default, deserialize_with = "present")]
    color: Option<Option<String>>,
    exclusive: Option<bool>,
    default: Option<bool>,
}

pub(super) async fn list(api: &Api, call: Call) -> Result<Reply, Problem> {
    let page = call.page()?;
    let session = call.session(&api.house);
    let mut items = Vec::new();
    let home = session.home().await?;
    let hidden = match call.parameter("hidden") {
        None | Some("false") => false,
        Some("true") => true,
        Some(_) => return Err(Problem::invalid("hidden", "It is `true` or `false`.")),
    };
    let children = if hidden { home.all_children().await? } else { home.children().await? };
    let default = default(&session).await?;
    for child in children {
        if child.collection().kind == Kind::Calendar && !is_holds(child.collection()) {
            items.push(shown(api, &session, child.collection(), default).await?);
        }
    }
    page.reply(items)
}

pub(super) async fn one(api: &Api, call: Call) -> Result<Reply, Problem> {
    let session = call.session(&api.house);
    let at = find(&session, call.id()).await?;
    Ok(reply(StatusCode::OK, &shown(api, &session, at.collection(), default(&session).await?).await?))
}

pub(super) async fn create(api: &Api, call: Call) -> Result<Reply, Problem> {
    let new: New = call.body()?;
    let session = call.session(&api.house);
    let name = match new.name {
        Some(name) => name,
        None => crate::bridge::record::random_id()?,
    };
    let name =
        Name::new(name).ok_or_else(|| Problem::invalid("name", "That cannot be the name of a calendar."))?;
    let components: Vec<String> = new
        .components
        .unwrap_or_else(|| vec!["VEVENT".into()])
        .iter()
        .map(|c| c.to_ascii_uppercase())
        .collect();
    if let Some(odd) = components.iter().find(|c| !matches!(c.as_str(), "VEVENT" | "VTODO" | "VJOURNAL")) {
        let why = format!("`{odd}` is none of VEVENT, VTODO and VJOURNAL.");
        return Err(Problem::invalid("components", why));
    }
    let mut properties = Properties(BTreeMap::new());
    Shown::DisplayName.set(&mut properties, new.display_name.as_deref());
    Shown::Color.set(&mut properties, new.color.as_deref());
    let home = session.home().await?;
    let new = NewCollection { name, kind: Kind::Calendar, components, properties };
    let made = session.create_collection(&home, new, &When::always()).await?;
    let document = shown(api, &session, &made, default(&session).await?).await?;
    Ok(located(reply(StatusCode::CREATED, &document), &api.site, &format!("/calendars/{}", made.id.0)))
}

pub(super) async fn change(api: &Api, call: Call) -> Result<Reply, Problem> {
    let change: Change = call.body()?;
    let session = call.session(&api.house);
    let at = find(&session, call.id()).await?;
    call.expect(&etag(at.collection()))?;
    let changed = session
        .update_collection(&at, &When::always(), |collection: &mut Collection| {
            if let Some(name) = &change.display_name {
                Shown::DisplayName.set(&mut collection.properties, name.as_deref());
            }
            if let Some(color) = &change.color {
                Shown::Color.set(&mut collection.properties, color.as_deref());
            }
            if let Some(exclusive) = change.exclusive {
                set_exclusive(&mut collection.properties, exclusive);
            }
            Ok(())
        })
        .await?;
    if let Some(wanted) = change.default {
        let is = default(&session).await? == Some(changed.id);
        match wanted {
            true => session.set_default_calendar(Some(changed.id)).await?,
            false if is => session.set_default_calendar(None).await?,
            false => {}
        }
    }
    Ok(reply(StatusCode::OK, &shown(api, &session, &changed, default(&session).await?).await?))
}

pub(super) async fn remove(api: &Api, call: Call) -> Result<Reply, Problem> {
    let session = call.session(&api.house);
    let at = find(&session, call.id()).await?;
    call.expect(&etag(at.collection()))?;
    session.delete_collection(&at, &When::always()).await?;
    Ok(done())
}

/// Reads a list of the caller's calendars, each once; an id that is none is told with its place.
pub(super) async fn find_all(api: &Api, call: &Call, ids: &[String]) -> Result<Vec<u64>, Problem> {
    let session = call.session(&api.house);
    let mut found = Vec::new();
    for (at, id) in ids.iter().enumerate() {
        let missing = |_| Problem::invalid(&format!("calendars[{at}]"), "There is no such calendar.");
        let calendar = find(&session, id).await.map_err(missing)?;
        if !found.contains(&calendar.id().0) {
            found.push(calendar.id().0);
        }
    }
    Ok(found)
}

pub(super) async fn find(session: &Session, id: &str) -> Result<Writable, Problem> {
    let missing = || Problem::missing("There is no such calendar.");
    if id == "default" {
        return session.default_calendar().await?.ok_or_else(missing);
    }
    let id = id.parse().map(CollectionId).map_err(|_| missing())?;
    let found = session.house.store.collection(id).await?.ok_or_else(missing)?;
    let at = session.writable(found).map_err(|refusal| match refusal {
        Refusal::Missing => missing(),
        other => other.into(),
    })?;
    let shown = at.collection().kind == Kind::Calendar && !is_holds(at.collection());
    if shown { Ok(at) } else { Err(missing()) }
}

/// Returns the calendar that new events go into.
async fn default(session: &Session) -> Result<Option<CollectionId>, Problem> {
    Ok(session.default_calendar().await?.map(|at| at.id()))
}

async fn shown(
    api: &Api,
    session: &Session,
    collection: &Arc<Collection>,
    default: Option<CollectionId>,
) -> Result<Value, Problem> {
    let head = session.house.store.head(collection.id).await?;
    let url = match Name::new(collection.owner.as_str()) {
        Some(owner) => json!(api.site.url(&Href::Calendar(owner, collection.name.clone()))),
        None => Value::Null,
    };
    let zone = Shown::TimeZoneId.get(&collection.properties).or_else(|| {
        let zone = Shown::TimeZone.get(&collection.properties)?;
        zone.lines().find_map(|line| Some(line.trim().strip_prefix("TZID:")?.trim().to_owned()))
    });
    let display_name = Shown::DisplayName.get(&collection.properties);
    let components: Vec<&str> = if collection.components.is_empty() {
        vec!["VEVENT", "VTODO", "VJOURNAL"]
    } else {
        collection.components.iter().map(String::as_str).collect()
    };
    Ok(json!({
        "id": collection.id.0.to_string(),
        "etag": etag(collection).0,
        "url": url,
        "name": collection.name.as_str(),
        "display_name": display_name.unwrap_or_else(|| collection.name.as_str().to_owned()),
        "color": Shown::Color.get(&collection.properties),
        "components": components,
        "time_zone": zone,
        "owner": collection.owner,
        "sync_token": sync_token(collection, head.into()),
        "hidden": is_hidden(collection),
        "exclusive": is_exclusive(collection),
        "default": default == Some(collection.id),
        "writable": session.privileges(collection).contains(&"write"),
    }))
}

/// The tag of the collection's own properties, not of its events.
fn etag(collection: &Collection) -> Etag {
    let mut text = format!("{}\n{}\n{}", collection.id.0, collection.name, collection.modified.0);
    for (name, value) in &collection.properties.0 {
        text.push_str(&format!("\n{}{}={value}", name.ns, name.local));
    }
    Etag::of(text.as_bytes())
}

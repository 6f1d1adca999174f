//! `/feeds`: published links. The API makes and ends them; the door `feed` shows them.

use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::calendars::{find, find_all};
use super::json::{Call, reply, time};
use super::problem::Problem;
use super::{Api, done, located};
use crate::feed::{Chosen, Link, LinkError, Scope, encoded};
use crate::http::Reply;
use crate::store::Etag;

/// Calendars of one link.
const MOST: usize = 50;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct New {
    calendars: Vec<String>,
    name: Option<String>,
    scope: Option<Scope>,
    alarms: Option<bool>,
    slug: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Change {
    calendars: Option<Vec<String>>,
    name: Option<String>,
    scope: Option<Scope>,
    alarms: Option<bool>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rotation {
    slug: Option<String>,
}

impl From<LinkError> for Problem {
    fn from(error: LinkError) -> Problem {
        match error {
            LinkError::Taken => Problem::conflict("slug-taken", "Another feed has this address already."),
            LinkError::TooMany(most) => {
                Problem::conflict("full", format!("An account has {most} feeds at most; remove one first."))
            }
            LinkError::Stale => Problem::stale(),
            LinkError::Failed(fault) => fault.into(),
        }
    }
}

pub(super) async fn list(api: &Api, call: Call) -> Result<Reply, Problem> {
    let page = call.page()?;
    let mut items = Vec::new();
    for link in api.feeds.all(call.owner()).await? {
        items.push(shown(api, &link).await?);
    }
    page.reply(items)
}

pub(super) async fn one(api: &Api, call: Call) -> Result<Reply, Problem> {
    let link = wanted(api, &call).await?;
    Ok(reply(StatusCode::OK, &shown(api, &link).await?))
}

pub(super) async fn create(api: &Api, call: Call) -> Result<Reply, Problem> {
    let new: New = call.body()?;
    let calendars = calendars(api, &call, &new.calendars).await?;
    let name = match new.name {
        Some(name) => named(name)?,
        None => api.feed_name(&call, &new.calendars).await?,
    };
    let scope = new.scope.unwrap_or(Scope::Full);
    let chosen = Chosen { name, calendars, scope, alarms: new.alarms.unwrap_or(api.feed_alarms) };
    let slug = new.slug.map(slug).transpose()?;
    let link = api.feeds.make(call.owner(), chosen, slug).await?;
    let document = shown(api, &link).await?;
    Ok(located(reply(StatusCode::CREATED, &document), &api.site, &format!("/feeds/{}", link.id)))
}

pub(super) async fn change(api: &Api, call: Call) -> Result<Reply, Problem> {
    let change: Change = call.body()?;
    let link = wanted(api, &call).await?;
    call.expect(&etag(&link))?;
    let calendars = match &change.calendars {
        Some(ids) => calendars(api, &call, ids).await?,
        None => link.calendars.clone(),
    };
    let chosen = Chosen {
        name: change.name.map(named).transpose()?.unwrap_or_else(|| link.name.clone()),
        calendars,
        scope: change.scope.unwrap_or(link.scope),
        alarms: change.alarms.unwrap_or(link.alarms),
    };
    let link = api.feeds.change(&link, chosen, None).await?;
    Ok(reply(StatusCode::OK, &shown(api, &link).await?))
}

/// Gives the feed another address; the old one shows nothing any more.
pub(super) async fn rotate(api: &Api, call: Call) -> Result<Reply, Problem> {
    let rotation: Rotation = call.body()?;
    let link = wanted(api, &call).await?;
    let told = rotation.slug.map(slug).transpose()?;
    let chosen = Chosen {
        name: link.name.clone(),
        calendars: link.calendars.clone(),
        scope: link.scope,
        alarms: link.alarms,
    };
    let link = api.feeds.change(&link, chosen, Some(told)).await?;
    Ok(reply(StatusCode::OK, &shown(api, &link).await?))
}

pub(super) async fn remove(api: &Api, call: Call) -> Result<Reply, Problem> {
    let link = wanted(api, &call).await?;
    call.expect(&etag(&link))?;
    api.feeds.remove(&link).await?;
    Ok(done())
}

async fn wanted(api: &Api, call: &Call) -> Result<Link, Problem> {
    let found = api.feeds.one(call.owner(), call.id()).await?;
    found.ok_or_else(|| Problem::missing("There is no such feed."))
}

async fn calendars(api: &Api, call: &Call, ids: &[String]) -> Result<Vec<u64>, Problem> {
    if ids.is_empty() || ids.len() > MOST {
        return Err(Problem::invalid("calendars", format!("Name 1 to {MOST} calendars by their ids.")));
    }
    find_all(api, call, ids).await
}

fn named(name: String) -> Result<String, Problem> {
    let good = !name.trim().is_empty() && name.len() <= 200 && !name.chars().any(char::is_control);
    if good { Ok(name) } else { Err(Problem::invalid("name", "A short text is needed here.")) }
}

/// What people type and read aloud.
fn slug(slug: String) -> Result<String, Problem> {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
    if (3..=64).contains(&slug.len()) && slug.chars().all(fits) {
        return Ok(slug);
    }
    Err(Problem::invalid(
        "slug",
        "It has 3 to 64 small letters, digits, - and _. Whoever knows it can read the feed.",
    ))
}

fn etag(link: &Link) -> Etag {
    Etag::of(format!("{link:?}").as_bytes())
}

async fn shown(api: &Api, link: &Link) -> Result<Value, Problem> {
    let told = api.feeds.told(link).await?;
    let told = encoded(told.reveal());
    let url = api.site.absolute(&format!("/feeds/{told}.ics"));
    let webcal = url.split_once("://").map_or_else(|| url.clone(), |(_, rest)| format!("webcal://{rest}"));
    Ok(json!({
        "id": link.id,
        "etag": etag(link).0,
        "name": link.name,
        "calendars": link.calendars.iter().map(u64::to_string).collect::<Vec<_>>(),
        "scope": link.scope,
        "alarms": link.alarms,
        "secret": !link.chosen,
        "url": url,
        "webcal_url": webcal,
        "page_url": api.site.absolute(&format!("/feeds/{told}.html")),
        "freebusy_url": api.site.absolute(&format!("/freebusy/{told}")),
        "created_at": time(link.created),
        "rotated_at": time(link.rotated),
    }))
}

impl Api {
    /// The name of the one calendar, or of the account's.
    async fn feed_name(&self, call: &Call, ids: &[String]) -> Result<String, Problem> {
        if let [id] = ids {
            let calendar = find(&call.session(&self.house), id).await?;
            let shown = crate::calendar::Shown::DisplayName.get(&calendar.collection().properties);
            return Ok(shown.unwrap_or_else(|| calendar.collection().name.as_str().to_owned()));
        }
        let principal = &call.caller.principal;
        let name = if principal.display_name.is_empty() { &principal.name } else { &principal.display_name };
        Ok(name.clone())
    }
}

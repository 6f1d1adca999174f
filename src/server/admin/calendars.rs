//! Calendars from the command line: list, add, remove, read out, read in.
//!
//! Owns: which object an imported one replaces, what is counted. Does not own: splitting files (`cli`), the rules
//! (`calendar`). Nothing here sends mail: nobody is invited by an import.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use serde::Serialize;
use serde_json::{Value, json};

use super::work::said;
use super::{Line, NewCalendar, Octets, Wire};
use crate::calendar::{
    Error, House, NewCollection, Put, Refusal, Session, Shown, When, Writable, index_of, login_name,
};
use crate::store::{Collection, Etag, Kind, Name, Origin, Properties};

/// Objects that are written at a time: enough for the store to make groups of them.
const AT_A_TIME: usize = 32;

/// Returns the session in which the command line acts for an account.
async fn session(house: &Arc<House>, user: &str) -> Result<Session, String> {
    let user = login_name(user)?;
    let found = house.principal(&user).await.map_err(|fault| fault.to_string())?;
    let principal = found.ok_or_else(|| format!("the user {user:?} does not exist"))?;
    Ok(house.session(principal, Origin::System))
}

async fn calendar(session: &Session, name: &str) -> Result<Writable, String> {
    let thing = || format!("the calendar {name:?} of {:?}", session.principal.name);
    let home = session.home().await.map_err(|error| said(error, &thing()))?;
    let found = home.writable_child(name).await.map_err(|error| said(error, &thing()))?;
    found
        .filter(|at| at.collection().kind == Kind::Calendar)
        .ok_or_else(|| format!("{} does not exist", thing()))
}

/// Lists calendars as items.
pub(super) async fn list(house: &Arc<House>, user: Option<String>, wire: &Wire) -> Result<Value, String> {
    let users = match user {
        Some(user) => vec![session(house, &user).await?.principal],
        None => house.principals().await.map_err(|fault| fault.to_string())?,
    };
    for principal in users {
        let session = house.session(principal, Origin::System);
        let home = session.home().await.map_err(|error| said(error, "the calendar home"))?;
        for child in home.children().await.map_err(|error| said(error, "the calendar home"))? {
            let collection = child.collection();
            if collection.kind != Kind::Calendar {
                continue;
            }
            let head = child.head().await.map_err(|error| said(error, "the calendar"))?;
            let item = json!({
                "user": session.principal.name, "name": collection.name.as_str(),
                "title": Shown::DisplayName.get(&collection.properties),
                "components": collection.components, "objects": head.objects, "bytes": head.bytes,
                "color": Shown::Color.get(&collection.properties),
                "path": format!("/dav/calendars/{}/{}/", session.principal.name, collection.name),
            });
            wire.send(Line::Item { item }).await?;
        }
    }
    Ok(Value::Null)
}

/// Makes a calendar.
pub(super) async fn add(house: &Arc<House>, user: &str, new: &NewCalendar) -> Result<Value, String> {
    let session = session(house, user).await?;
    let made =
        create(&session, new).await.map_err(|error| said(error, &format!("the calendar {:?}", new.name)))?;
    Ok(json!({ "path": format!("/dav/calendars/{}/{}/", session.principal.name, made.name) }))
}

async fn create(session: &Session, new: &NewCalendar) -> Result<Arc<Collection>, Error> {
    let home = session.home().await?;
    let bad = || Refusal::BadName(format!("{:?} cannot be a calendar's name", new.name));
    let mut properties = Properties::default();
    Shown::DisplayName.set(&mut properties, Some(new.title.as_deref().unwrap_or(&new.name)));
    Shown::Color.set(&mut properties, new.color.as_deref());
    Shown::Description.set(&mut properties, new.description.as_deref());
    let collection = NewCollection {
        name: Name::new(new.name.clone()).ok_or_else(bad)?,
        kind: Kind::Calendar,
        components: new.components.clone(),
        properties,
    };
    session.create_collection(&home, collection, &When::always()).await
}

/// Removes a calendar.
pub(super) async fn remove(house: &Arc<House>, user: &str, name: &str) -> Result<Value, String> {
    let session = session(house, user).await?;
    let at = calendar(&session, name).await?;
    let removed = session.delete_collection(&at, &When::always()).await;
    removed.map_err(|error| said(error, &format!("the calendar {name:?}")))?;
    Ok(Value::Null)
}

/// Sends every object of a calendar.
pub(super) async fn export(house: &Arc<House>, user: &str, name: &str, wire: &Wire) -> Result<Value, String> {
    let session = session(house, user).await?;
    let at = calendar(&session, name).await?;
    let failed = |error: Error| said(error, "the calendar");
    let mut sent = 0u64;
    let mut after: Option<String> = None;
    loop {
        let page = at.list(after.as_deref(), 256).await.map_err(failed)?;
        let Some(last) = page.last() else { break };
        after = Some(last.name.to_string());
        for meta in page {
            // Removed since the page was read: not part of the calendar any more.
            let Some(object) = at.object(meta.name.as_str()).await.map_err(failed)? else { continue };
            let line = Line::Object {
                calendar: name.to_owned(),
                name: meta.name.to_string(),
                source: String::new(),
                data: Octets(object.bytes),
            };
            wire.send(line).await?;
            sent += 1;
        }
    }
    Ok(json!({ "objects": sent }))
}

/// What an import did, or with `dry_run` would do.
#[derive(Debug, Default, Serialize)]
struct Counts {
    calendars: u64,
    added: u64,
    updated: u64,
    unchanged: u64,
    refused: u64,
}

/// What became of one object.
enum Fate {
    Added,
    Updated,
    Unchanged,
    Refused { source: String, why: String },
}

/// Stores the objects that come.
pub(super) async fn import(
    house: &Arc<House>,
    user: &str,
    dry_run: bool,
    wire: &mut Wire,
) -> Result<Value, String> {
    let session = session(house, user).await?;
    let mut counts = Counts::default();
    let mut calendars: HashMap<String, Target> = HashMap::new();
    let mut running = FuturesUnordered::new();
    loop {
        let line = tokio::select! {
            biased;
            Some(fate) = running.next(), if !running.is_empty() => {
                counted(&mut counts, fate, wire).await?;
                continue;
            }
            line = wire.from.recv(), if running.len() < AT_A_TIME => line,
        };
        match line.ok_or("the other side hung up; what was read so far is stored")? {
            Line::Calendar { calendar: new } => {
                if target(&session, &new.name, &mut calendars).await.is_err() {
                    let made = if dry_run {
                        Target::Planned(new.components.clone())
                    } else {
                        create(&session, &new)
                            .await
                            .map_err(|error| said(error, &format!("the calendar {:?}", new.name)))?;
                        Target::There(calendar(&session, &new.name).await?)
                    };
                    calendars.insert(new.name, made);
                    counts.calendars += 1;
                }
            }
            Line::Object { calendar, name, source, data } => {
                let into = target(&session, &calendar, &mut calendars).await?;
                running.push(one(session.clone(), into, name, source, data.0, dry_run));
            }
            Line::End => break,
            _ => return Err("something else than an object came".into()),
        }
    }
    while let Some(fate) = running.next().await {
        counted(&mut counts, fate, wire).await?;
    }
    serde_json::to_value(counts).map_err(|error| error.to_string())
}

/// Where imported objects go.
#[derive(Clone)]
enum Target {
    There(Writable),
    /// With `dry_run`: it would be made, to hold these components.
    Planned(Vec<String>),
}

async fn target(
    session: &Session,
    name: &str,
    known: &mut HashMap<String, Target>,
) -> Result<Target, String> {
    if let Some(target) = known.get(name) {
        return Ok(target.clone());
    }
    let target = Target::There(calendar(session, name).await?);
    known.insert(name.to_owned(), target.clone());
    Ok(target)
}

async fn counted(counts: &mut Counts, fate: Fate, wire: &Wire) -> Result<(), String> {
    match fate {
        Fate::Added => counts.added += 1,
        Fate::Updated => counts.updated += 1,
        Fate::Unchanged => counts.unchanged += 1,
        Fate::Refused { source, why } => {
            counts.refused += 1;
            wire.send(Line::Item { item: json!({ "source": source, "why": why }) }).await?;
        }
    }
    Ok(())
}

/// Stores one object, in the place of the one with its UID if there is one.
async fn one(
    session: Session,
    into: Target,
    name: String,
    source: String,
    bytes: Bytes,
    dry_run: bool,
) -> Fate {
    match stored(&session, &into, &name, bytes, dry_run).await {
        Ok(fate) => fate,
        Err(error) => Fate::Refused { why: said(error, "it"), source },
    }
}

async fn stored(
    session: &Session,
    into: &Target,
    name: &str,
    bytes: Bytes,
    dry_run: bool,
) -> Result<Fate, Error> {
    let index = index_of(bytes.clone())?;
    let accepted = match into {
        Target::There(at) => &at.collection().components,
        Target::Planned(components) => components,
    };
    if !accepted.is_empty() && !accepted.contains(&index.component) {
        return Err(Refusal::WrongComponent { sent: index.component, accepted: accepted.clone() }.into());
    }
    let Target::There(at) = into else { return Ok(Fate::Added) };
    let uid = index.uid.unwrap_or_default();
    let present = match at.by_uid(&uid).await? {
        Some(present) => at.meta(present.as_str()).await?,
        None => None,
    };
    if let Some(present) = present {
        if present.etag == Etag::of(&bytes) {
            return Ok(Fate::Unchanged);
        }
        if !dry_run {
            session.put(at, Put::new(&present.name, bytes)).await?;
        }
        return Ok(Fate::Updated);
    }
    let wished = Name::new(name).filter(|name| name.as_str().ends_with(".ics"));
    let mut free = wished.unwrap_or(name_for(&uid)?);
    // The name belongs to an object with another UID.
    if at.meta(free.as_str()).await?.is_some() {
        free = name_for(&uid)?;
    }
    if !dry_run {
        match session.put(at, Put::new(&free, bytes.clone())).await {
            Err(Error::Refused(Refusal::UidChanged { .. })) => {
                session.put(at, Put::new(&name_for(&uid)?, bytes)).await?;
            }
            other => {
                other?;
            }
        }
    }
    Ok(Fate::Added)
}

/// Returns a name that only this UID has.
fn name_for(uid: &str) -> Result<Name, Refusal> {
    let text = format!("{}.ics", Etag::of(uid.as_bytes()));
    Name::new(text).ok_or_else(|| Refusal::BadName(uid.to_owned()))
}

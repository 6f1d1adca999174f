//! `/trash`: what was deleted, and back.

use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::calendars::find;
use super::json::{Call, reply, time};
use super::problem::Problem;
use super::versions::by;
use super::{Api, done};
use crate::calendar::{Discarded, Error, Refusal, Session, Trashed};
use crate::http::Reply;
use crate::store::{CollectionId, Timestamp};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Where {
    #[serde(default)]
    calendar: Option<String>,
}

pub(super) async fn list(api: &Api, call: Call) -> Result<Reply, Problem> {
    let page = call.page()?;
    let session = call.session(&api.house);
    let calendar = match call.parameter("calendar") {
        Some(id) => Some(
            id.parse()
                .map(CollectionId)
                .map_err(|_| Problem::invalid("calendar", "Name the calendar by its id."))?,
        ),
        None => None,
    };
    let all = session.trash(calendar, page.need()).await?;
    let mut items = Vec::with_capacity(all.len());
    for (at, trashed) in all.iter().enumerate() {
        // What stands before the page is only counted.
        items.push(if page.shows(at) { shown(&session, trashed).await? } else { Value::Null });
    }
    page.reply(items)
}

pub(super) async fn one(api: &Api, call: Call) -> Result<Reply, Problem> {
    let session = call.session(&api.house);
    let trashed = session.trashed(call.id()).await.map_err(missing)?;
    let mut document = shown(&session, &trashed).await?;
    if let Some(text) = session.trashed_text(&trashed).await?
        && let Some(document) = document.as_object_mut()
    {
        document.insert("text".into(), json!(String::from_utf8_lossy(&text)));
    }
    Ok(reply(StatusCode::OK, &document))
}

pub(super) async fn restore(api: &Api, call: Call) -> Result<Reply, Problem> {
    let wish: Where = call.body()?;
    let session = call.session(&api.house);
    let trashed = session.trashed(call.id()).await.map_err(missing)?;
    let into = match (&wish.calendar, &trashed.what) {
        (None, _) => None,
        (Some(_), Discarded::Calendar) => {
            return Err(Problem::invalid("calendar", "A calendar comes back to the home; name none."));
        }
        (Some(id), Discarded::Object { .. }) => Some(
            find(&session, id)
                .await
                .map_err(|_| Problem::invalid("calendar", "There is no such calendar."))?,
        ),
    };
    let restored = match session.restore_trashed(call.id(), into.as_ref()).await {
        Err(Error::Refused(Refusal::NoParent)) => {
            return Err(Problem::conflict(
                "calendar-gone",
                format!(
                    "The calendar {} was deleted too: restore it first, or say with `calendar` which other one the \
                     event is to go to.",
                    trashed.calendar
                ),
            ));
        }
        Err(Error::Refused(Refusal::UidTaken(name))) => {
            return Err(Problem::conflict(
                "uid-taken",
                format!("The event is in the calendar already, as {name}; delete that one first."),
            ));
        }
        other => other.map_err(missing)?,
    };
    if trashed.what == Discarded::Calendar {
        api.bridge.calendar_is_back(restored.collection);
    }
    let mut document = json!({
        "kind": kind(&trashed),
        "calendar": restored.collection.0.to_string(),
        "name": restored.name.as_str(),
    });
    if let (Some(map), Discarded::Object { uid, .. }) = (document.as_object_mut(), &trashed.what) {
        map.insert("uid".into(), json!(uid));
        map.insert("etag".into(), json!(restored.etag.map(|etag| etag.0)));
    }
    Ok(reply(StatusCode::OK, &document))
}

pub(super) async fn remove(api: &Api, call: Call) -> Result<Reply, Problem> {
    let session = call.session(&api.house);
    session.forget_trashed(call.id()).await.map_err(missing)?;
    Ok(done())
}

pub(super) async fn clear(api: &Api, call: Call) -> Result<Reply, Problem> {
    call.session(&api.house).forget_all_trashed().await?;
    Ok(done())
}

fn missing(error: Error) -> Problem {
    match error {
        Error::Refused(Refusal::Missing) => Problem::missing("There is no such thing in the trash."),
        other => other.into(),
    }
}

fn kind(trashed: &Trashed) -> &'static str {
    match trashed.what {
        Discarded::Calendar => "calendar",
        Discarded::Object { .. } => "event",
    }
}

async fn shown(session: &Session, trashed: &Trashed) -> Result<Value, Problem> {
    let keep = i64::try_from(session.house.limits.keep_trash.as_millis()).unwrap_or(i64::MAX);
    let mut document = json!({
        "id": trashed.id,
        "kind": kind(trashed),
        "calendar": trashed.collection.0.to_string(),
        "calendar_name": trashed.calendar.as_str(),
        "title": session.trashed_title(trashed).await?,
        "deleted_at": time(trashed.at),
        "deleted_by": by(&trashed.by),
        "kept_until": time(Timestamp(trashed.at.0.saturating_add(keep))),
    });
    let more = match &trashed.what {
        Discarded::Calendar => {
            let head = session.house.store.head(trashed.collection).await?;
            json!({ "events": head.objects, "size": head.bytes })
        }
        Discarded::Object { name, uid, component, size, .. } => {
            json!({ "name": name.as_str(), "uid": uid, "component": component, "size": size })
        }
    };
    if let (Some(document), Value::Object(more)) = (document.as_object_mut(), more) {
        document.extend(more);
    }
    Ok(document)
}

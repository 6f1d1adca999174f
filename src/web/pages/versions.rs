//! The versions of an event: who changed what with which program, and back to any of them.

use askama::Template;
use http::{Method, StatusCode};
use http_body_util::BodyExt as _;
use serde::Deserialize;

use super::calendar::event::path;
use super::compare::{Change, changes, title};
use crate::http::Reply;
use crate::web::Web;
use crate::web::ask::{Page, Wish, encoded};
use crate::web::form::Form;
use crate::web::shell::{Shell, page};
use crate::web::texts::T;
use crate::web::texts::trash::T as W;
use crate::web::visit::{Stop, Visit};

/// Versions on one page.
const MOST: usize = 20;

/// A former version, as the API tells it.
#[derive(Debug, Clone, Deserialize)]
struct Version {
    id: String,
    written_at: String,
    written_by: Option<String>,
    ended_at: String,
    ended_by: String,
    how: String,
}

/// One entry of the story: a version, and what it changed of the one before it.
struct Entry {
    /// Nothing: it is what the event says now.
    id: Option<String>,
    at: String,
    by: String,
    changes: Vec<Change>,
    /// No older one is known.
    first: bool,
}

#[derive(Template)]
#[template(path = "versions.html")]
struct Story {
    s: Shell,
    f: Form,
    calendar: String,
    uid: String,
    title: String,
    /// When it was deleted, and by whom.
    gone: Option<(String, String)>,
    entries: Vec<Entry>,
    /// As parts of an address.
    address: String,
    older: Option<usize>,
    newest: bool,
}

/// Reads a text of the API; nothing if it is not there.
async fn text(web: &Web, visit: &Visit, path: &str) -> Result<Option<String>, Stop> {
    let reply = web.raw(visit, Method::GET, path, Wish::default().text("text/calendar")).await?;
    if !reply.status().is_success() {
        return Ok(None);
    }
    let bytes = reply.into_body().collect().await.map_err(|error| Stop::Failed(error.to_string()))?;
    Ok(Some(String::from_utf8_lossy(&bytes.to_bytes()).into_owned()))
}

fn at(calendar: &str, uid: &str) -> String {
    format!("calendar={}&uid={}", encoded(calendar), encoded(uid))
}

async fn story(
    web: &Web,
    visit: &Visit,
    status: StatusCode,
    (calendar, uid): (&str, &str),
    f: Form,
) -> Result<Reply, Stop> {
    let event = path(calendar, uid);
    let skipped = visit.parameter("cursor").and_then(|cursor| cursor.parse::<usize>().ok()).unwrap_or(0);
    let present = text(web, visit, &event).await?;
    // One more than is shown: the last one on the page is compared with it.
    let wanted = format!("{event}/versions?limit={}&cursor={skipped}", MOST + 1);
    let found: Page<Version> = web.read(visit, &wanted).await?;
    let mut texts = Vec::with_capacity(found.items.len());
    for version in &found.items {
        let path = format!("{event}/versions/{}", encoded(&version.id));
        texts.push(text(web, visit, &path).await?.unwrap_or_default());
    }
    let called = present.as_deref().or(texts.first().map(String::as_str)).map(title);
    let last = found.items.first();
    let gone = last
        .filter(|version| present.is_none() && version.how == "deleted" && skipped == 0)
        .map(|version| (version.ended_at.clone(), version.ended_by.clone()));
    let mut entries = Vec::new();
    if let (Some(now), 0) = (&present, skipped) {
        entries.push(Entry {
            id: None,
            at: last.map(|version| version.ended_at.clone()).unwrap_or_default(),
            by: last.map_or_else(String::new, |version| version.ended_by.clone()),
            changes: texts.first().map(|before| changes(before, now)).unwrap_or_default(),
            first: last.is_none(),
        });
    }
    for (place, version) in found.items.iter().take(MOST).enumerate() {
        let (now, before) = (texts.get(place), texts.get(place + 1));
        entries.push(Entry {
            id: Some(version.id.clone()),
            at: version.written_at.clone(),
            by: version.written_by.clone().unwrap_or_else(|| W.unknown_author.to_owned()),
            changes: now.zip(before).map(|(now, before)| changes(before, now)).unwrap_or_default(),
            first: before.is_none(),
        });
    }
    let shown = Story {
        s: Shell::of(web, visit, "/", W.versions),
        f,
        calendar: calendar.to_owned(),
        uid: uid.to_owned(),
        title: called.unwrap_or_else(|| T.no_title.to_owned()),
        gone,
        entries,
        address: at(calendar, uid),
        older: (found.items.len() > MOST).then_some(skipped + MOST),
        newest: skipped == 0,
    };
    Ok(page(status, &shown.s, &shown))
}

/// The story of an event: `?calendar=&uid=`.
pub(in crate::web) async fn show(web: &Web, visit: Visit) -> Result<Reply, Stop> {
    let named = (visit.parameter("calendar"), visit.parameter("uid"));
    let (Some(calendar), Some(uid)) = named else { return Err(Stop::Missing) };
    story(web, &visit, StatusCode::OK, (calendar, uid), Form::new(&[])).await
}

/// Brings a version back.
pub(in crate::web) async fn restore(web: &Web, visit: Visit) -> Result<Reply, Stop> {
    let (calendar, uid) = (visit.field("calendar"), visit.typed("uid"));
    let path = format!("{}/versions/{}/restore", path(calendar, uid), encoded(visit.field("version")));
    let answer = web.ask(&visit, Method::POST, &path, Wish::default().once(&visit)).await?;
    if answer.status.is_success() {
        return Ok(web.go(&format!("/versions?{}", at(calendar, uid))));
    }
    if answer.status == StatusCode::NOT_FOUND {
        return Err(Stop::Missing);
    }
    let mut f = Form::new(&[]);
    answer.or_told(&mut f);
    story(web, &visit, StatusCode::UNPROCESSABLE_ENTITY, (calendar, uid), f).await
}

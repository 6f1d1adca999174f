//! The trash: what was deleted, back or forgotten for good.

use askama::Template;
use http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use super::calendar::{Calendar, calendars};
use super::compare::{Said, said};
use crate::http::Reply;
use crate::web::Web;
use crate::web::ask::{Page, Wish, encoded};
use crate::web::form::Form;
use crate::web::shell::{Shell, page};
use crate::web::texts::T;
use crate::web::texts::trash::T as W;
use crate::web::visit::{Stop, Visit};

const AT: &str = "/trash";
const FIELDS: &[&str] = &["calendar"];
/// Things on one page.
const MOST: usize = 50;

/// Something deleted, as the API tells it.
#[derive(Debug, Deserialize)]
struct Trashed {
    id: String,
    kind: String,
    calendar: String,
    calendar_name: String,
    title: Option<String>,
    deleted_at: String,
    deleted_by: String,
    kept_until: String,
    events: Option<u64>,
    uid: Option<String>,
    component: Option<String>,
    text: Option<String>,
}

impl Trashed {
    fn title(&self) -> &str {
        let title = self.title.as_deref().map(str::trim).filter(|title| !title.is_empty());
        title.unwrap_or(if self.is_calendar() { &self.calendar_name } else { T.no_title })
    }

    fn is_calendar(&self) -> bool {
        self.kind == "calendar"
    }

    fn kind_words(&self) -> &'static str {
        match self.component.as_deref() {
            _ if self.is_calendar() => W.calendar,
            Some("VTODO") => W.task,
            _ => W.event,
        }
    }
}

struct Row {
    t: Trashed,
    /// What the calendar is called, as far as it is still there.
    place: String,
}

fn place(t: &Trashed, calendars: &[Calendar]) -> String {
    let found = calendars.iter().find(|one| one.id == t.calendar).map(|one| one.title().to_owned());
    found.unwrap_or_else(|| t.calendar_name.clone())
}

#[derive(Template)]
#[template(path = "trash.html")]
struct List {
    s: Shell,
    f: Form,
    rows: Vec<Row>,
    first: bool,
    next: Option<String>,
}

/// The list, page by page.
pub(in crate::web) async fn show(web: &Web, visit: Visit) -> Result<Reply, Stop> {
    let calendars: Vec<Calendar> = web.list(&visit, "/calendars", 500).await?;
    let cursor = visit.parameter("cursor");
    let after = cursor.map(|cursor| format!("&cursor={}", encoded(cursor))).unwrap_or_default();
    let found: Page<Trashed> = web.read(&visit, &format!("/trash?limit={MOST}{after}")).await?;
    let rows = found.items.into_iter().map(|t| Row { place: place(&t, &calendars), t }).collect();
    let s = Shell::of(web, &visit, AT, T.menu_trash);
    let shown = List { s, f: Form::new(FIELDS), rows, first: cursor.is_none(), next: found.next_cursor };
    Ok(page(StatusCode::OK, &shown.s, &shown))
}

#[derive(Template)]
#[template(path = "trashed.html")]
struct One {
    s: Shell,
    f: Form,
    t: Trashed,
    place: String,
    lines: Vec<Said>,
    /// Where an event can go.
    calendars: Vec<Calendar>,
    /// The calendar is there, and with it the event's versions.
    there: bool,
    uid: String,
}

async fn one_form(web: &Web, visit: &Visit, status: StatusCode, f: Form) -> Result<Reply, Stop> {
    let t: Trashed = web.read(visit, &path(visit)).await?;
    let all: Vec<Calendar> = web.list(visit, "/calendars", 500).await?;
    let mut into = calendars(web, visit).await?;
    into.retain(|one| one.writable && one.id != t.calendar);
    let shown = One {
        s: Shell::of(web, visit, AT, t.title()),
        f,
        place: place(&t, &all),
        lines: t.text.as_deref().map(said).unwrap_or_default(),
        there: all.iter().any(|one| one.id == t.calendar),
        calendars: into,
        uid: encoded(t.uid.as_deref().unwrap_or_default()),
        t,
    };
    Ok(page(status, &shown.s, &shown))
}

fn path(visit: &Visit) -> String {
    format!("/trash/{}", encoded(visit.id()))
}

/// Something deleted.
pub(in crate::web) async fn one(web: &Web, visit: Visit) -> Result<Reply, Stop> {
    one_form(web, &visit, StatusCode::OK, Form::new(FIELDS)).await
}

/// Brings it back.
pub(in crate::web) async fn restore(web: &Web, visit: Visit) -> Result<Reply, Stop> {
    let mut f = Form::sent(&visit, FIELDS);
    let body = match f.value("calendar") {
        "" => json!({}),
        id => json!({ "calendar": id }),
    };
    let wish = Wish::of(body).once(&visit);
    let answer = web.ask(&visit, Method::POST, &format!("{}/restore", path(&visit)), wish).await?;
    if answer.status.is_success() {
        return Ok(web.go(AT));
    }
    if answer.status == StatusCode::NOT_FOUND {
        return Err(Stop::Missing);
    }
    let kind = answer.body.get("type").and_then(Value::as_str).unwrap_or_default().to_owned();
    match kind.rsplit('/').next() {
        Some("calendar-gone") => f.refuse("calendar", W.calendar_gone),
        Some("uid-taken") => f.refuse("calendar", W.uid_taken),
        _ => {
            answer.or_told(&mut f);
        }
    }
    one_form(web, &visit, StatusCode::UNPROCESSABLE_ENTITY, f).await
}

/// Forgets it for good.
pub(in crate::web) async fn forget(web: &Web, visit: Visit) -> Result<Reply, Stop> {
    let answer = web.ask(&visit, Method::DELETE, &path(&visit), Wish::default()).await?;
    // Forgotten twice is forgotten.
    if answer.status != StatusCode::NOT_FOUND {
        answer.good()?;
    }
    Ok(web.go(AT))
}

/// Forgets everything in it.
pub(in crate::web) async fn empty(web: &Web, visit: Visit) -> Result<Reply, Stop> {
    web.ask(&visit, Method::DELETE, AT, Wish::default()).await?.good()?;
    Ok(web.go(AT))
}

//! Shared calendars: links for whoever has no account, what they show, another address, their end.

use askama::Template;
use http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::calendar::{Calendar, calendars};
use super::devices::{drawing, size};
use super::ticks::{Tick, ticks};
use crate::http::Reply;
use crate::web::Web;
use crate::web::ask::{Answer, Wish, encoded};
use crate::web::form::Form;
use crate::web::shell::{Shell, page};
use crate::web::texts::T;
use crate::web::texts::sharing::T as W;
use crate::web::visit::{Stop, Visit};

const AT: &str = "/sharing";
const FIELDS: &[&str] = &["name", "calendars", "scope", "alarms", "slug", "etag"];
/// What a link can show: its value, its name, what it means.
const SCOPES: [(&str, &str, &str); 2] = [("full", W.full, W.scope_full), ("busy", W.busy, W.scope_busy)];

/// A link, as the API tells it.
#[derive(Debug, Deserialize)]
struct Feed {
    id: String,
    etag: String,
    name: String,
    calendars: Vec<String>,
    scope: String,
    alarms: bool,
    secret: bool,
    url: String,
    webcal_url: String,
    page_url: String,
    freebusy_url: String,
    created_at: String,
    rotated_at: String,
}

impl Feed {
    /// Has the addresses begin as the browser found this server, unless that is configured.
    fn seen(mut self, web: &Web, visit: &Visit) -> Feed {
        let here = web.address(&visit.headers);
        for url in [&mut self.url, &mut self.page_url, &mut self.freebusy_url] {
            if let Some(rest) = url.strip_prefix(&web.base) {
                *url = format!("{here}{rest}");
            }
        }
        let rest = self.url.split_once("://").map(|(_, rest)| rest.to_owned());
        self.webcal_url = rest.map_or(self.webcal_url, |rest| format!("webcal://{rest}"));
        self
    }

    /// Returns the form of its settings.
    fn form(&self) -> Form {
        let mut f = Form::new(FIELDS);
        f.set("name", &self.name);
        f.set("scope", &self.scope);
        f.set("alarms", self.alarms.to_string());
        f.set("etag", &self.etag);
        f.set_all("calendars", self.calendars.iter().map(String::as_str));
        f
    }

    fn busy(&self) -> bool {
        self.scope == "busy"
    }

    /// Returns the names of its calendars.
    fn of(&self, calendars: &[Calendar]) -> String {
        let name = |id: &String| calendars.iter().find(|one| one.id == *id).map(|one| one.title().to_owned());
        let all = self.calendars.iter().map(|id| name(id).unwrap_or_else(|| W.gone_calendar.to_owned()));
        all.collect::<Vec<_>>().join(", ")
    }
}

struct Card {
    feed: Feed,
    calendars: String,
}

#[derive(Template)]
#[template(path = "sharing.html")]
struct List {
    s: Shell,
    cards: Vec<Card>,
}

/// The list.
pub(in crate::web) async fn show(web: &Web, visit: Visit) -> Result<Reply, Stop> {
    let calendars = calendars(web, &visit).await?;
    let all: Vec<Feed> = web.list(&visit, "/feeds", 500).await?;
    let card = |feed: Feed| Card { calendars: feed.of(&calendars), feed: feed.seen(web, &visit) };
    let cards = all.into_iter().map(card).collect();
    let shown = List { s: Shell::of(web, &visit, AT, T.menu_sharing), cards };
    Ok(page(StatusCode::OK, &shown.s, &shown))
}

#[derive(Template)]
#[template(path = "sharing_new.html")]
struct New {
    s: Shell,
    f: Form,
    ticks: Vec<Tick>,
    scopes: [(&'static str, &'static str, &'static str); 2],
}

async fn new_form(web: &Web, visit: &Visit, status: StatusCode, f: Form) -> Result<Reply, Stop> {
    let ticks = ticks(&calendars(web, visit).await?);
    let shown = New { s: Shell::of(web, visit, AT, W.new), f, ticks, scopes: SCOPES };
    Ok(page(status, &shown.s, &shown))
}

/// The form for a new link; `?calendar=` ticks one.
pub(in crate::web) async fn new(web: &Web, visit: Visit) -> Result<Reply, Stop> {
    let mut f = Form::new(FIELDS);
    f.set("scope", "full");
    f.set_all("calendars", visit.parameter("calendar"));
    new_form(web, &visit, StatusCode::OK, f).await
}

/// Returns the form as it was sent.
fn sent(visit: &Visit) -> Form {
    let mut f = Form::sent(visit, FIELDS);
    f.gather(visit, "calendars");
    f
}

/// Returns what the form says of what is shown, or notes what is missing.
fn chosen(f: &mut Form) -> Option<Map<String, Value>> {
    if f.all("calendars").is_empty() {
        f.refuse("calendars", W.calendars_needed);
        return None;
    }
    let mut body = Map::new();
    body.insert("calendars".into(), json!(f.all("calendars")));
    body.insert("scope".into(), json!(f.value("scope")));
    body.insert("alarms".into(), json!(f.is("alarms", "true")));
    Some(body)
}

/// Returns a field as the API takes it; null: nothing was said.
fn said(f: &Form, name: &str) -> Value {
    Some(f.value(name)).filter(|value| !value.is_empty()).map_or(Value::Null, |value| json!(value))
}

/// Makes a link.
pub(in crate::web) async fn make(web: &Web, visit: Visit) -> Result<Reply, Stop> {
    let mut f = sent(&visit);
    if let Some(mut body) = chosen(&mut f) {
        body.insert("name".into(), said(&f, "name"));
        body.insert("slug".into(), said(&f, "slug"));
        let wish = Wish::of(Value::Object(body)).once(&visit);
        if let Some(made) = web.ask(&visit, Method::POST, "/feeds", wish).await?.or_told(&mut f) {
            let id = made.get("id").and_then(Value::as_str).unwrap_or_default();
            return Ok(web.go(&format!("{AT}/{}", encoded(id))));
        }
    }
    new_form(web, &visit, StatusCode::UNPROCESSABLE_ENTITY, f).await
}

#[derive(Template)]
#[template(path = "sharing_one.html")]
struct One {
    s: Shell,
    f: Form,
    feed: Feed,
    ticks: Vec<Tick>,
    calendars: String,
    scopes: [(&'static str, &'static str, &'static str); 2],
    /// A picture of the address for phones.
    code: String,
    size: i32,
}

fn path(visit: &Visit) -> String {
    format!("/feeds/{}", encoded(visit.id()))
}

async fn one_form(web: &Web, visit: &Visit, status: StatusCode, f: Option<Form>) -> Result<Reply, Stop> {
    let feed: Feed = web.read(visit, &path(visit)).await?;
    let feed = feed.seen(web, visit);
    let f = f.unwrap_or_else(|| feed.form());
    let list = calendars(web, visit).await?;
    let shown = One {
        s: Shell::of(web, visit, AT, &feed.name),
        f,
        ticks: ticks(&list),
        calendars: feed.of(&list),
        scopes: SCOPES,
        code: drawing(&feed.webcal_url),
        size: size(&feed.webcal_url),
        feed,
    };
    Ok(page(status, &shown.s, &shown))
}

/// A link with its addresses and settings.
pub(in crate::web) async fn one(web: &Web, visit: Visit) -> Result<Reply, Stop> {
    one_form(web, &visit, StatusCode::OK, None).await
}

async fn answered(web: &Web, visit: &Visit, answer: Answer, mut f: Form) -> Result<Reply, Stop> {
    match answer.or_told(&mut f) {
        Some(_) => Ok(web.go(&format!("{AT}/{}", encoded(visit.id())))),
        None => one_form(web, visit, StatusCode::UNPROCESSABLE_ENTITY, Some(f)).await,
    }
}

/// Changes what it shows.
pub(in crate::web) async fn change(web: &Web, visit: Visit) -> Result<Reply, Stop> {
    let mut f = sent(&visit);
    let Some(mut body) = chosen(&mut f) else {
        return one_form(web, &visit, StatusCode::UNPROCESSABLE_ENTITY, Some(f)).await;
    };
    body.insert("name".into(), json!(f.value("name")));
    let wish = Wish::of(Value::Object(body)).only_if(f.value("etag"));
    let answer = web.ask(&visit, Method::PATCH, &path(&visit), wish).await?;
    answered(web, &visit, answer, f).await
}

/// Gives it another address.
pub(in crate::web) async fn rotate(web: &Web, visit: Visit) -> Result<Reply, Stop> {
    let wrong = Form::sent(&visit, &["slug"]);
    let wish = Wish::of(json!({ "slug": said(&wrong, "slug") })).once(&visit);
    let answer = web.ask(&visit, Method::POST, &format!("{}/rotate", path(&visit)), wish).await?;
    if answer.status.is_success() {
        return Ok(web.go(&format!("{AT}/{}", encoded(visit.id()))));
    }
    // The other form of the page shows what is, this one what was typed.
    let feed: Feed = web.read(&visit, &path(&visit)).await?;
    let mut f = feed.form();
    f.set("slug", wrong.value("slug"));
    answered(web, &visit, answer, f).await
}

/// Ends it.
pub(in crate::web) async fn end(web: &Web, visit: Visit) -> Result<Reply, Stop> {
    let answer = web.ask(&visit, Method::DELETE, &path(&visit), Wish::default()).await?;
    // Ended twice is ended.
    if answer.status != StatusCode::NOT_FOUND {
        answer.good()?;
    }
    Ok(web.go(AT))
}

//! Mappings: which calendar here goes with which one there, and how; what a first pass would do; what passes did.

use askama::Template;
use http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::calendar::{Calendar, calendars};
use super::connections::{Connection, Remote, connections, remotes};
use super::log::Run;
use crate::http::Reply;
use crate::web::Web;
use crate::web::ask::{Wish, encoded};
use crate::web::form::Form;
use crate::web::shell::{Shell, page, part};
use crate::web::texts::T;
use crate::web::visit::{Stop, Visit};

const AT: &str = "/mappings";
const FIELDS: &[&str] = &[
    "connection",
    "remote_calendar",
    "calendar",
    "direction",
    "conflict_policy",
    "fields",
    "window_past",
    "window_future",
    "on_remote_delete",
    "on_local_delete",
    "etag",
];
/// The settings that can be changed afterwards.
const SETTINGS: &[&str] = &[
    "direction",
    "conflict_policy",
    "fields",
    "window_past",
    "window_future",
    "on_remote_delete",
    "on_local_delete",
];

/// A choice: its value, its name, and what it means.
type Choice = (&'static str, &'static str, &'static str);

const DIRECTIONS: [Choice; 3] =
    [("both", T.both, T.both_words), ("pull", T.pull, T.pull_words), ("push", T.push, T.push_words)];
const POLICIES: [Choice; 4] = [
    ("newest", T.newest, T.newest_words),
    ("external", T.external, T.external_words),
    ("local", T.local, T.local_words),
    ("ask", T.ask_me, T.ask_words),
];
const PRESETS: [Choice; 4] = [
    ("core", T.core, T.core_words),
    ("standard", T.standard, T.standard_words),
    ("full", T.full, T.full_words),
    ("busy", T.busy_only, T.busy_words),
];
const WINDOWS: [(&str, &str); 5] = [
    ("P7D", T.week_7),
    ("P30D", T.days_30),
    ("P90D", T.days_90),
    ("P365D", T.days_365),
    ("all", T.everything),
];
const REMOVALS: [(&str, &str); 3] =
    [("trash", T.removal_trash), ("cancel", T.removal_cancel), ("keep", T.removal_keep)];

/// A mapping, as the API tells it.
#[derive(Debug, Clone, Deserialize)]
pub(in crate::web) struct Mapping {
    pub(in crate::web) id: String,
    etag: String,
    pub(in crate::web) calendar: String,
    pub(in crate::web) connection: String,
    pub(in crate::web) remote_calendar: String,
    pub(in crate::web) direction: String,
    conflict_policy: String,
    fields: String,
    window_past: String,
    window_future: String,
    on_remote_delete: String,
    on_local_delete: String,
    enabled: bool,
    status: String,
    message: Option<String>,
    hold: Option<Hold>,
    #[serde(default)]
    failing: Vec<Failing>,
    last_synced_at: Option<String>,
    next_run_at: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
struct Hold {
    local_deletions: u64,
    remote_deletions: u64,
}

#[derive(Debug, Clone, Deserialize)]
struct Failing {
    uid: String,
    reason: String,
}

impl Mapping {
    /// Returns how it is, in a word and a tone.
    pub(in crate::web) fn state(&self) -> (&'static str, &'static str) {
        state_of(&self.status)
    }

    pub(super) fn icon(&self) -> &'static str {
        match self.direction.as_str() {
            "pull" => "left",
            "push" => "right",
            _ => "arrows",
        }
    }

    pub(super) fn direction_words(&self) -> &'static str {
        DIRECTIONS.iter().find(|(value, ..)| *value == self.direction).map_or("", |(_, name, _)| name)
    }
}

/// Returns what a status of a mapping is called, and its tone.
pub(super) fn state_of(status: &str) -> (&'static str, &'static str) {
    match status {
        "disabled" => (T.mapping_disabled, ""),
        "syncing" => (T.status_syncing, "busy"),
        "paused" => (T.mapping_paused, "warn"),
        "pending" => (T.mapping_pending, "busy"),
        "active" => (T.mapping_active, "good"),
        "deferred" => (T.mapping_deferred, "warn"),
        _ => (T.status_error, "bad"),
    }
}

/// Both sides of a mapping, as people call them.
pub(super) struct Row {
    pub(super) m: Mapping,
    pub(super) here: String,
    pub(super) there: String,
    pub(super) account: String,
    pub(super) provider: String,
}

impl Row {
    /// Returns the calendar here.
    pub(super) fn calendar(&self) -> &str {
        &self.m.calendar
    }
}

/// Returns a mapping with the names of both sides. The far side is not asked for its name of the calendar: the id of most is not for
/// people, so the account is told.
pub(super) fn row(m: Mapping, calendars: &[Calendar], connections: &[Connection]) -> Row {
    let here = calendars.iter().find(|one| one.id == m.calendar);
    let account = connections.iter().find(|one| one.id == m.connection);
    let last = m.remote_calendar.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    let readable = !last.is_empty() && last.len() < 40;
    Row {
        here: here.map_or(T.hidden_calendar.to_owned(), |one| one.title().to_owned()),
        there: if readable { last.to_owned() } else { T.a_calendar.to_owned() },
        account: account.map_or(String::new(), |one| one.title().to_owned()),
        provider: account.map_or("link".to_owned(), |one| one.provider.clone()),
        m,
    }
}

#[derive(Template)]
#[template(path = "mappings.html")]
struct List {
    s: Shell,
    rows: Vec<Row>,
    connected: bool,
    part: bool,
}

/// The list.
pub(in crate::web) async fn show(web: &Web, visit: Visit) -> Result<Reply, Stop> {
    let (calendars, connections) = (calendars(web, &visit).await?, connections(web, &visit).await?);
    let list: Vec<Mapping> = web.list(&visit, AT, 500).await?;
    let rows = list.into_iter().map(|m| row(m, &calendars, &connections)).collect();
    let s = Shell::of(web, &visit, AT, T.menu_mappings);
    let shown = List { s, rows, connected: !connections.is_empty(), part: visit.fragment() };
    Ok(if shown.part { part(StatusCode::OK, &shown) } else { page(StatusCode::OK, &shown.s, &shown) })
}

#[derive(Template)]
#[template(path = "mapping_new.html")]
struct New {
    s: Shell,
    f: Form,
    account: String,
    provider: String,
    calendars: Vec<Calendar>,
    remotes: Vec<Remote>,
    trouble: String,
    directions: [Choice; 3],
    policies: [Choice; 4],
    presets: [Choice; 4],
    windows: [(&'static str, &'static str); 5],
    removals: [(&'static str, &'static str); 3],
}

async fn new_form(web: &Web, visit: &Visit, status: StatusCode, f: Form) -> Result<Reply, Stop> {
    let connection: Connection =
        web.read(visit, &format!("/connections/{}", encoded(f.value("connection")))).await?;
    let (remotes, trouble) = match remotes(web, visit, &connection.id).await? {
        Ok(list) => (list, String::new()),
        Err(why) => (Vec::new(), why),
    };
    let mut calendars = calendars(web, visit).await?;
    calendars.retain(|one| one.writable);
    let shown = New {
        s: Shell::of(web, visit, AT, T.new_mapping),
        f,
        account: connection.title().to_owned(),
        provider: connection.provider.clone(),
        calendars,
        remotes,
        trouble,
        directions: DIRECTIONS,
        policies: POLICIES,
        presets: PRESETS,
        windows: WINDOWS,
        removals: REMOVALS,
    };
    Ok(page(status, &shown.s, &shown))
}

/// The form for a new one: `?connection=`, `?remote=`.
pub(in crate::web) async fn new(web: &Web, visit: Visit) -> Result<Reply, Stop> {
    let Some(connection) = visit.parameter("connection") else { return Err(Stop::Go("/connections".into())) };
    let mut f = Form::new(FIELDS);
    f.set("connection", connection);
    f.set("remote_calendar", visit.parameter("remote").unwrap_or_default());
    for (name, value) in
        [("direction", "both"), ("conflict_policy", "newest"), ("fields", "standard"), ("calendar", "new")]
    {
        f.set(name, value);
    }
    for (name, value) in [
        ("window_past", "P30D"),
        ("window_future", "P365D"),
        ("on_remote_delete", "trash"),
        ("on_local_delete", "trash"),
    ] {
        f.set(name, value);
    }
    new_form(web, &visit, StatusCode::OK, f).await
}

fn body(f: &Form, names: &[&str]) -> Map<String, Value> {
    let said = names.iter().filter(|name| !f.value(name).is_empty());
    said.map(|name| ((*name).to_owned(), json!(f.value(name)))).collect()
}

/// Returns the body of a new mapping. A calendar that is yet to be made is made only when the mapping is.
async fn wish(
    web: &Web,
    visit: &Visit,
    f: &mut Form,
    calendar: &str,
) -> Result<Option<Map<String, Value>>, Stop> {
    let mut body = body(f, SETTINGS);
    body.insert("connection".into(), json!(f.value("connection")));
    body.insert("remote_calendar".into(), json!(f.value("remote_calendar")));
    if f.value("remote_calendar").is_empty() {
        f.refuse("remote_calendar", T.choose_remote);
        return Ok(None);
    }
    if calendar != "new" {
        body.insert("calendar".into(), json!(calendar));
        return Ok(Some(body));
    }
    let list = remotes(web, visit, f.value("connection")).await?.unwrap_or_default();
    let name = list.iter().find(|one| one.id == f.value("remote_calendar")).map(|one| one.name.clone());
    let new = json!({ "display_name": name.unwrap_or_else(|| T.new_calendar.to_owned()) });
    let answer = web.ask(visit, Method::POST, "/calendars", Wish::of(new)).await?;
    let Some(made) = answer.or_told(f) else { return Ok(None) };
    body.insert("calendar".into(), made.get("id").cloned().unwrap_or_default());
    Ok(Some(body))
}

/// Takes a calendar away that was made for nothing, out of the trash too.
async fn unmade(web: &Web, visit: &Visit, calendar: &str) -> Result<(), Stop> {
    #[derive(Deserialize)]
    struct Trashed {
        id: String,
        kind: String,
        calendar: String,
    }
    let path = format!("/calendars/{}", encoded(calendar));
    web.ask(visit, Method::DELETE, &path, Wish::default()).await?.good()?;
    let list: Vec<Trashed> = web.list(visit, "/trash", 100).await?;
    for item in list.iter().filter(|item| item.kind == "calendar" && item.calendar == calendar) {
        let path = format!("/trash/{}", encoded(&item.id));
        web.ask(visit, Method::DELETE, &path, Wish::default()).await?.good()?;
    }
    Ok(())
}

/// What a first pass would do.
#[derive(Debug, Deserialize)]
struct Preview {
    same: u64,
    different: u64,
    similar: u64,
    outside_window: u64,
    filtered: u64,
    refused: u64,
    unreadable: u64,
    local: Would,
    remote: Would,
    pairs: Vec<Pair>,
    refusals: Vec<Failing>,
}

#[derive(Debug, Deserialize)]
struct Would {
    would_insert: u64,
}

#[derive(Debug, Deserialize)]
struct Pair {
    title: String,
}

#[derive(Template)]
#[template(path = "preview.html")]
struct Previewed {
    p: Option<Preview>,
    why: String,
}

/// Tells what a mapping would do.
pub(in crate::web) async fn preview(web: &Web, visit: Visit) -> Result<Reply, Stop> {
    let mut f = Form::sent(&visit, FIELDS);
    let mut made = None;
    let mut calendar = f.value("calendar").to_owned();
    if calendar == "new" {
        // A dry run needs a calendar to compare with: an empty one that nobody sees for long.
        let new = json!({ "display_name": T.new_calendar });
        let answer = web.ask(&visit, Method::POST, "/calendars", Wish::of(new)).await?.good()?;
        calendar = answer.get("id").and_then(Value::as_str).unwrap_or_default().to_owned();
        made = Some(calendar.clone());
    }
    let body = wish(web, &visit, &mut f, &calendar).await?;
    let answer = match body {
        Some(body) => {
            Some(web.ask(&visit, Method::POST, "/mappings/preview", Wish::of(Value::Object(body))).await?)
        }
        None => None,
    };
    if let Some(made) = made {
        unmade(web, &visit, &made).await?;
    }
    let shown = match answer {
        Some(answer) if answer.status.is_success() => {
            Previewed { p: Some(answer.read()?), why: String::new() }
        }
        Some(answer) => Previewed { p: None, why: answer.detail() },
        None => Previewed { p: None, why: T.choose_remote.to_owned() },
    };
    Ok(part(StatusCode::OK, &shown))
}

/// Makes it.
pub(in crate::web) async fn create(web: &Web, visit: Visit) -> Result<Reply, Stop> {
    let mut f = Form::sent(&visit, FIELDS);
    let calendar = f.value("calendar").to_owned();
    if let Some(body) = wish(web, &visit, &mut f, &calendar).await? {
        let made = body.get("calendar").and_then(Value::as_str).map(str::to_owned);
        let answer = web.ask(&visit, Method::POST, AT, Wish::of(Value::Object(body)).once(&visit)).await?;
        if let Some(done) = answer.or_told(&mut f) {
            let id = done.get("id").and_then(Value::as_str).unwrap_or_default();
            return Ok(web.go(&format!("{AT}/{}", encoded(id))));
        }
        // Nothing is left behind of what was not made.
        if let (Some(made), "new") = (made, calendar.as_str()) {
            unmade(web, &visit, &made).await?;
        }
    }
    new_form(web, &visit, StatusCode::UNPROCESSABLE_ENTITY, f).await
}

/// What a pass did.
#[derive(Template)]
#[template(path = "mapping.html")]
struct One {
    s: Shell,
    f: Form,
    r: Row,
    runs: Vec<Run>,
    directions: [Choice; 3],
    policies: [Choice; 4],
    presets: [Choice; 4],
    windows: Vec<(String, String)>,
    removals: [(&'static str, &'static str); 3],
}

async fn one_form(web: &Web, visit: &Visit, status: StatusCode, f: Option<Form>) -> Result<Reply, Stop> {
    let m: Mapping = web.read(visit, &format!("{AT}/{}", encoded(visit.id()))).await?;
    let runs: Vec<Run> = web.list(visit, &format!("/runs?mapping={}", encoded(&m.id)), 5).await?;
    let f = f.unwrap_or_else(|| {
        let mut f = Form::new(FIELDS);
        for (name, value) in [
            ("direction", &m.direction),
            ("conflict_policy", &m.conflict_policy),
            ("fields", &m.fields),
            ("window_past", &m.window_past),
            ("window_future", &m.window_future),
            ("on_remote_delete", &m.on_remote_delete),
            ("on_local_delete", &m.on_local_delete),
            ("etag", &m.etag),
        ] {
            f.set(name, value);
        }
        f
    });
    // A window that was set elsewhere is kept.
    let mut windows: Vec<(String, String)> =
        WINDOWS.iter().map(|(value, words)| ((*value).to_owned(), (*words).to_owned())).collect();
    for own in [&m.window_past, &m.window_future] {
        if !windows.iter().any(|(value, _)| value == own) {
            windows.push((own.clone(), own.clone()));
        }
    }
    let (calendars, connections) = (calendars(web, visit).await?, connections(web, visit).await?);
    let r = row(m, &calendars, &connections);
    let s = Shell::of(web, visit, AT, &r.here);
    let shown = One {
        s,
        f,
        r,
        runs,
        directions: DIRECTIONS,
        policies: POLICIES,
        presets: PRESETS,
        windows,
        removals: REMOVALS,
    };
    Ok(page(status, &shown.s, &shown))
}

/// One mapping, its settings, what its passes did.
pub(in crate::web) async fn one(web: &Web, visit: Visit) -> Result<Reply, Stop> {
    one_form(web, &visit, StatusCode::OK, None).await
}

#[derive(Template)]
#[template(path = "mapping_state.html")]
struct State {
    s: Shell,
    m: Mapping,
    run: Option<Run>,
    /// When the page asks again.
    pace: &'static str,
}

/// How it is just now: what the page asks for while a pass runs.
pub(in crate::web) async fn state(web: &Web, visit: Visit) -> Result<Reply, Stop> {
    let m: Mapping = web.read(&visit, &format!("{AT}/{}", encoded(visit.id()))).await?;
    let runs: Vec<Run> = web.list(&visit, &format!("/runs?mapping={}", encoded(&m.id)), 1).await?;
    let run = runs.into_iter().next();
    let pace = if run.as_ref().is_none_or(Run::running) { "1s" } else { "5s" };
    Ok(part(StatusCode::OK, &State { s: Shell::of(web, &visit, AT, ""), m, run, pace }))
}

/// Changes the settings.
pub(in crate::web) async fn change(web: &Web, visit: Visit) -> Result<Reply, Stop> {
    let mut f = Form::sent(&visit, FIELDS);
    let body = Value::Object(body(&f, SETTINGS));
    let path = format!("{AT}/{}", encoded(visit.id()));
    let answer = web.ask(&visit, Method::PATCH, &path, Wish::of(body).only_if(f.value("etag"))).await?;
    if answer.or_told(&mut f).is_some() {
        return Ok(web.go(&path));
    }
    one_form(web, &visit, StatusCode::UNPROCESSABLE_ENTITY, Some(f)).await
}

/// Has it looked at now; or says that held deletions are meant; or lets it rest; or ends it.
pub(in crate::web) async fn act(web: &Web, visit: Visit) -> Result<Reply, Stop> {
    let path = format!("{AT}/{}", encoded(visit.id()));
    match visit.field("do") {
        "sync" => web.ask(&visit, Method::POST, &format!("{path}/sync"), Wish::default()).await?.good()?,
        "confirm" => {
            let wish = Wish::of(json!({ "confirm": true }));
            web.ask(&visit, Method::POST, &format!("{path}/sync"), wish).await?.good()?
        }
        word @ ("pause" | "resume") => {
            let wish = Wish::of(json!({ "enabled": word == "resume" }));
            web.ask(&visit, Method::PATCH, &path, wish).await?.good()?
        }
        "end" => {
            web.ask(&visit, Method::DELETE, &path, Wish::default()).await?.good()?;
            return Ok(web.go(AT));
        }
        _ => return Err(Stop::Missing),
    };
    Ok(web.go(&path))
}

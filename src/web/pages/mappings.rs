//! Mappings: which calendar here goes with which one there, and how; what a first pass would do; what passes did.

use askama::Template;
use http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::calendar::{Calendar, calendars};
use super::connections::{Connection, Remote, connections, remotes};
use super::log::Run;
use super::settings::{Lists, Of};
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
    "push",
    "only",
    "poll_interval",
    "editable",
    "primary",
    "rules",
    "filters",
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
    "push",
    "poll_interval",
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
const WINDOWS: [(&str, &str); 6] = [
    ("", T.servers_own),
    ("P7D", T.week_7),
    ("P30D", T.days_30),
    ("P90D", T.days_90),
    ("P365D", T.days_365),
    ("all", T.everything),
];
const REMOVALS: [(&str, &str); 4] = [
    ("trash", T.removal_trash),
    ("cancel", T.removal_cancel),
    ("keep", T.removal_keep),
    ("restore", T.removal_restore),
];
const INTERVALS: [(&str, &str); 7] = [
    ("", T.servers_own),
    ("PT60S", T.each_minute),
    ("PT300S", T.each_5_minutes),
    ("PT900S", T.each_15_minutes),
    ("PT3600S", T.each_hour),
    ("PT21600S", T.each_6_hours),
    ("PT86400S", T.each_day),
];
const PUSHES: [(&str, &str); 2] = [("immediate", T.push_immediate), ("scheduled", T.push_scheduled)];
const ONLY: [(&str, &str); 4] = [
    ("", T.only_all),
    ("reschedule,cancel", T.only_both),
    ("reschedule", T.only_reschedule),
    ("cancel", T.only_cancel),
];
const EDITABLE: [(&str, &str); 2] = [("false", T.no), ("true", T.yes)];
const PRIMARY: [(&str, &str); 2] = [("false", T.no), ("true", T.yes)];

/// All that can be chosen, for the templates.
struct Choices {
    directions: [Choice; 3],
    policies: [Choice; 4],
    presets: [Choice; 4],
    windows: Vec<(String, String)>,
    intervals: Vec<(String, String)>,
    removals: &'static [(&'static str, &'static str)],
    losses: &'static [(&'static str, &'static str)],
    pushes: [(&'static str, &'static str); 2],
    only: [(&'static str, &'static str); 4],
    editable: [(&'static str, &'static str); 2],
    primary: [(&'static str, &'static str); 2],
}

impl Choices {
    /// Returns them; what was set elsewhere is among them.
    fn of(f: &Form) -> Choices {
        let with = |known: &[(&str, &str)], fields: &[&str]| {
            let mut all: Vec<(String, String)> =
                known.iter().map(|(value, words)| ((*value).to_owned(), (*words).to_owned())).collect();
            for own in fields.iter().map(|name| f.value(name)) {
                if !all.iter().any(|(value, _)| value == own) {
                    all.push((own.to_owned(), own.to_owned()));
                }
            }
            all
        };
        Choices {
            directions: DIRECTIONS,
            policies: POLICIES,
            presets: PRESETS,
            windows: with(&WINDOWS, &["window_past", "window_future"]),
            intervals: with(&INTERVALS, &["poll_interval"]),
            removals: REMOVALS.get(..3).unwrap_or_default(),
            losses: &REMOVALS,
            pushes: PUSHES,
            only: ONLY,
            editable: EDITABLE,
            primary: PRIMARY,
        }
    }
}

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
    push: String,
    only: Vec<String>,
    poll_interval: Option<String>,
    editable: bool,
    primary: bool,
    rules: Vec<Value>,
    filters: Vec<Value>,
    enabled: bool,
    status: String,
    message: Option<String>,
    hold: Option<Hold>,
    #[serde(default)]
    pub(in crate::web) failing: Vec<Failing>,
    last_synced_at: Option<String>,
    pub(in crate::web) next_run_at: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
struct Hold {
    local_deletions: u64,
    remote_deletions: u64,
}

#[derive(Debug, Clone, Deserialize)]
pub(in crate::web) struct Failing {
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
    c: Choices,
    lists: Lists,
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
    let s = Shell::of(web, visit, AT, T.new_mapping);
    let shown = New {
        c: Choices::of(&f),
        lists: Lists::of(&s, &f),
        s,
        f,
        account: connection.title().to_owned(),
        provider: connection.provider.clone(),
        calendars,
        remotes,
        trouble,
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
        ("on_remote_delete", "trash"),
        ("on_local_delete", "trash"),
        ("push", "immediate"),
        ("editable", "false"),
        ("primary", "false"),
    ] {
        f.set(name, value);
    }
    new_form(web, &visit, StatusCode::OK, f).await
}

/// Returns what a form says of the settings, as the API takes it.
fn body(f: &Form) -> Map<String, Value> {
    let said = SETTINGS.iter().filter(|name| !f.value(name).is_empty());
    let mut body: Map<String, Value> = said.map(|name| ((*name).to_owned(), json!(f.value(name)))).collect();
    let only: Vec<&str> = f.value("only").split(',').filter(|word| !word.is_empty()).collect();
    body.insert("only".into(), json!(only));
    // What is pulled both ways or not at all can be changed here in any case.
    if f.is("direction", "pull") {
        body.insert("editable".into(), json!(f.is("editable", "true")));
    }
    body.insert("primary".into(), json!(f.is("primary", "true")));
    body.insert("rules".into(), Of::Rules.json(f));
    body.insert("filters".into(), Of::Filters.json(f));
    body
}

/// Fills in what is kept of a mapping.
fn fill(f: &mut Form, m: &Mapping) {
    for (name, value) in [
        ("direction", m.direction.as_str()),
        ("conflict_policy", &m.conflict_policy),
        ("fields", &m.fields),
        ("window_past", &m.window_past),
        ("window_future", &m.window_future),
        ("on_remote_delete", &m.on_remote_delete),
        ("on_local_delete", &m.on_local_delete),
        ("push", &m.push),
        ("only", &m.only.join(",")),
        ("poll_interval", m.poll_interval.as_deref().unwrap_or_default()),
        // Of what goes both ways the API says that it can be changed here; that is no wish for the day when it does not.
        ("editable", if m.editable && m.direction == "pull" { "true" } else { "false" }),
        ("primary", if m.primary { "true" } else { "false" }),
        ("etag", &m.etag),
    ] {
        f.set(name, value);
    }
    Of::Rules.fill(f, &m.rules);
    Of::Filters.fill(f, &m.filters);
}

/// Returns the form as it was sent, its lists without empty rows.
fn sent(visit: &Visit) -> Form {
    let mut f = Form::sent(visit, FIELDS);
    Of::Rules.compact(&mut f);
    Of::Filters.compact(&mut f);
    f
}

/// Returns the body of a new mapping.
fn wish(f: &mut Form) -> Option<Map<String, Value>> {
    if f.value("remote_calendar").is_empty() {
        f.refuse("remote_calendar", T.choose_remote);
        return None;
    }
    let mut body = body(f);
    // Nothing is said of what is as it always is: which calendar is the main one stays.
    body.retain(|name, value| name != "primary" || *value == json!(true));
    body.insert("connection".into(), json!(f.value("connection")));
    body.insert("remote_calendar".into(), json!(f.value("remote_calendar")));
    let calendar = Some(f.value("calendar")).filter(|calendar| *calendar != "new");
    body.insert("calendar".into(), json!(calendar));
    Some(body)
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

/// Tells what a mapping would do. Nothing is written.
pub(in crate::web) async fn preview(web: &Web, visit: Visit) -> Result<Reply, Stop> {
    let mut f = sent(&visit);
    let shown = match wish(&mut f) {
        Some(body) => {
            let wish = Wish::of(Value::Object(body));
            let answer = web.ask(&visit, Method::POST, "/mappings/preview", wish).await?;
            match answer.status.is_success() {
                true => Previewed { p: Some(answer.read()?), why: String::new() },
                false => Previewed { p: None, why: answer.detail() },
            }
        }
        None => Previewed { p: None, why: T.choose_remote.to_owned() },
    };
    Ok(part(StatusCode::OK, &shown))
}

/// Makes it.
pub(in crate::web) async fn create(web: &Web, visit: Visit) -> Result<Reply, Stop> {
    let mut f = sent(&visit);
    if let Some(body) = wish(&mut f) {
        let answer = web.ask(&visit, Method::POST, AT, Wish::of(Value::Object(body)).once(&visit)).await?;
        if let Some(done) = answer.or_told(&mut f) {
            let id = done.get("id").and_then(Value::as_str).unwrap_or_default();
            return Ok(web.go(&format!("{AT}/{}", encoded(id))));
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
    c: Choices,
    lists: Lists,
}

async fn one_form(web: &Web, visit: &Visit, status: StatusCode, f: Option<Form>) -> Result<Reply, Stop> {
    let m: Mapping = web.read(visit, &format!("{AT}/{}", encoded(visit.id()))).await?;
    let runs: Vec<Run> = web.list(visit, &format!("/runs?mapping={}", encoded(&m.id)), 5).await?;
    let f = f.unwrap_or_else(|| {
        let mut f = Form::new(FIELDS);
        fill(&mut f, &m);
        f
    });
    let (calendars, connections) = (calendars(web, visit).await?, connections(web, visit).await?);
    let r = row(m, &calendars, &connections);
    let s = Shell::of(web, visit, AT, &r.here);
    let (c, lists) = (Choices::of(&f), Lists::of(&s, &f));
    let shown = One { s, f, r, runs, c, lists };
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

/// Changes the settings: those that are not as they were.
pub(in crate::web) async fn change(web: &Web, visit: Visit) -> Result<Reply, Stop> {
    let mut f = sent(&visit);
    let path = format!("{AT}/{}", encoded(visit.id()));
    let m: Mapping = web.read(&visit, &path).await?;
    let mut kept = Form::new(FIELDS);
    fill(&mut kept, &m);
    let (kept, mut body) = (body(&kept), body(&f));
    body.retain(|name, value| kept.get(name) != Some(value));
    // What was said and is not any more goes back to the server's own.
    for name in ["window_past", "window_future", "poll_interval"] {
        if kept.contains_key(name) && f.holds(name) && f.value(name).is_empty() {
            body.insert(name.into(), Value::Null);
        }
    }
    let wish = Wish::of(Value::Object(body)).only_if(f.value("etag"));
    let answer = web.ask(&visit, Method::PATCH, &path, wish).await?;
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

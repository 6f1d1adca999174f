//! Connected accounts: how they are, what they hold, connecting another one, connecting again, disconnecting.

use askama::Template;
use http::{Method, StatusCode, header};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::mappings::Mapping;
use crate::http::Reply;
use crate::web::Web;
use crate::web::ask::{Answer, Wish, encoded};
use crate::web::form::Form;
use crate::web::shell::{Shell, page, part};
use crate::web::texts::T;
use crate::web::visit::{Stop, Visit};

const AT: &str = "/connections";
const FIELDS: &[&str] = &["url", "username", "password", "access"];

/// A kind of account, as people choose it.
#[derive(Debug)]
pub(super) struct Kind {
    pub(super) name: &'static str,
    pub(super) title: &'static str,
    pub(super) words: &'static str,
    /// What the form asks for.
    url: bool,
    credentials: bool,
    /// A consent in the browser.
    consent: bool,
}

/// All of them, in the order in which they are offered.
pub(super) const KINDS: &[Kind] = &[
    Kind {
        name: "google",
        title: "Google Calendar",
        words: T.google_words,
        url: false,
        credentials: false,
        consent: true,
    },
    Kind {
        name: "outlook",
        title: "Outlook, Microsoft 365",
        words: T.outlook_words,
        url: false,
        credentials: false,
        consent: true,
    },
    Kind {
        name: "icloud",
        title: "iCloud",
        words: T.icloud_words,
        url: false,
        credentials: true,
        consent: false,
    },
    Kind {
        name: "caldav",
        title: "CalDAV",
        words: T.caldav_words,
        url: true,
        credentials: true,
        consent: false,
    },
    Kind { name: "cozi", title: "Cozi", words: T.cozi_words, url: false, credentials: true, consent: false },
    Kind { name: "ics", title: "ICS", words: T.ics_words, url: true, credentials: false, consent: false },
];

fn kind(name: &str) -> Result<&'static Kind, Stop> {
    KINDS.iter().find(|kind| kind.name == name).ok_or(Stop::Missing)
}

/// Returns what people call a kind of account.
pub(in crate::web) fn kind_title(name: &str) -> &str {
    KINDS.iter().find(|kind| kind.name == name).map_or(name, |kind| kind.title)
}

/// A connection, as the API tells it.
#[derive(Debug, Clone, Deserialize)]
pub(in crate::web) struct Connection {
    pub(in crate::web) id: String,
    pub(in crate::web) provider: String,
    pub(in crate::web) account: String,
    status: String,
    message: Option<String>,
    last_synced_at: Option<String>,
    warning: Option<String>,
    access: String,
}

impl Connection {
    /// Returns what people call it.
    pub(in crate::web) fn title(&self) -> &str {
        if self.account.is_empty() { self.kind_title() } else { &self.account }
    }

    pub(in crate::web) fn kind_title(&self) -> &str {
        kind_title(&self.provider)
    }

    /// Returns how it is, in a word and a tone.
    pub(in crate::web) fn state(&self) -> (&'static str, &'static str) {
        state_of(&self.status)
    }

    fn wants_person(&self) -> bool {
        matches!(self.status.as_str(), "token_expired" | "pending")
    }
}

/// Returns what a status of a connection is called, and its tone.
pub(super) fn state_of(status: &str) -> (&'static str, &'static str) {
    match status {
        "pending" => (T.status_pending, "warn"),
        "active" => (T.status_active, "good"),
        "syncing" => (T.status_syncing, "busy"),
        "token_expired" => (T.status_expired, "bad"),
        "rate_limited" => (T.status_limited, "warn"),
        _ => (T.status_error, "bad"),
    }
}

/// Returns the connected accounts.
pub(in crate::web) async fn connections(web: &Web, visit: &Visit) -> Result<Vec<Connection>, Stop> {
    web.list(visit, AT, 500).await
}

/// An account with what its mappings know.
struct Card {
    c: Connection,
    mapped: usize,
    failing: usize,
    /// When it is looked at next.
    next: Option<String>,
}

#[derive(Template)]
#[template(path = "connections.html")]
struct List {
    s: Shell,
    cards: Vec<Card>,
    part: bool,
    /// What came of a consent, and its tone.
    said: Option<(&'static str, &'static str)>,
}

async fn cards(web: &Web, visit: &Visit) -> Result<Vec<Card>, Stop> {
    let mappings: Vec<Mapping> = web.list(visit, "/mappings", 500).await?;
    let card = |c: Connection| {
        let own = || mappings.iter().filter(|mapping| mapping.connection == c.id);
        let next = own().filter_map(|mapping| mapping.next_run_at.clone()).min();
        let failing = own().map(|mapping| mapping.failing.len()).sum();
        Card { mapped: own().count(), failing, next, c }
    };
    Ok(connections(web, visit).await?.into_iter().map(card).collect())
}

/// The list.
pub(in crate::web) async fn show(web: &Web, visit: Visit) -> Result<Reply, Stop> {
    let cards = cards(web, &visit).await?;
    // The words with which a consent comes back (`hooks`).
    let said = match (visit.parameter("connected"), visit.parameter("error")) {
        (Some(_), _) => Some((T.consent_given, "good")),
        (_, Some("access_denied")) => Some((T.consent_denied, "warn")),
        (_, Some("unavailable")) => Some((T.consent_unavailable, "bad")),
        (_, Some(_)) => Some((T.consent_refused, "bad")),
        (None, None) => None,
    };
    let s = Shell::of(web, &visit, AT, T.menu_connections);
    let shown = List { s, cards, part: visit.fragment(), said };
    Ok(if shown.part { part(StatusCode::OK, &shown) } else { page(StatusCode::OK, &shown.s, &shown) })
}

#[derive(Template)]
#[template(path = "connect.html")]
struct Choose {
    s: Shell,
    /// Each kind, and why it cannot be connected here.
    kinds: Vec<(&'static Kind, Option<String>)>,
}

/// A kind of account, as the API tells it.
#[derive(Debug, Deserialize)]
struct Offered {
    provider: String,
    reason: Option<String>,
}

/// Which kind?
pub(in crate::web) async fn choose(web: &Web, visit: Visit) -> Result<Reply, Stop> {
    let offered: Vec<Offered> = web.list(&visit, "/connection-kinds", 100).await?;
    let why = |kind: &Kind| offered.iter().find(|one| one.provider == kind.name)?.reason.clone();
    // What can be connected stands first.
    let mut kinds: Vec<_> = KINDS.iter().map(|kind| (kind, why(kind))).collect();
    kinds.sort_by_key(|(_, why)| why.is_some());
    let shown = Choose { s: Shell::of(web, &visit, AT, T.connect), kinds };
    Ok(page(StatusCode::OK, &shown.s, &shown))
}

#[derive(Template)]
#[template(path = "connect_one.html")]
struct One {
    s: Shell,
    f: Form,
    kind: &'static Kind,
    /// The connection that is connected again; empty: a new one.
    again: String,
    account: String,
}

fn form(
    web: &Web,
    visit: &Visit,
    status: StatusCode,
    kind: &'static Kind,
    f: Form,
    again: Option<&Connection>,
) -> Reply {
    let shown = One {
        s: Shell::of(web, visit, AT, kind.title),
        f,
        kind,
        again: again.map(|c| c.id.clone()).unwrap_or_default(),
        account: again.map(|c| c.account.clone()).unwrap_or_default(),
    };
    page(status, &shown.s, &shown)
}

/// The form of one kind.
pub(in crate::web) async fn one(web: &Web, visit: Visit) -> Result<Reply, Stop> {
    let mut f = Form::new(FIELDS);
    f.set("access", "write");
    Ok(form(web, &visit, StatusCode::OK, kind(visit.id())?, f, None))
}

#[derive(Template)]
#[template(path = "consent.html")]
struct Consent {
    s: Shell,
    kind: &'static Kind,
    to: String,
    read_only: bool,
    /// What one agrees to, in the API's words.
    disclosure: String,
}

/// What the API is told.
fn said(kind: &Kind, visit: &Visit) -> Value {
    let mut body = Map::new();
    let mut put = |name: &str, value: &str| {
        if !value.is_empty() {
            body.insert(name.to_owned(), json!(value));
        }
    };
    if kind.url {
        put("url", visit.field("url"));
    }
    if kind.credentials {
        put("username", visit.field("username"));
        put("password", visit.typed("password"));
    }
    if kind.consent {
        put("return_to", AT);
        put("access", visit.field("access"));
    }
    Value::Object(body)
}

/// Goes on to the far side's consent, or to the account that is connected now.
fn connected(web: &Web, visit: &Visit, kind: &'static Kind, answer: Answer) -> Result<Reply, Stop> {
    let cookies = answer.cookies.clone();
    let body = answer.good()?;
    let text = |name: &str| body.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let to = text("authorization_url");
    if to.is_empty() {
        return Ok(web.go(&format!("{AT}/{}", encoded(&text("id")))));
    }
    let s = Shell::of(web, visit, AT, kind.title);
    let read_only = visit.field("access") == "read";
    let shown = Consent { s, kind, to, read_only, disclosure: text("disclosure") };
    let mut reply = page(StatusCode::OK, &shown.s, &shown);
    for cookie in cookies {
        reply.headers_mut().append(header::SET_COOKIE, cookie);
    }
    Ok(reply)
}

/// Connects an account.
pub(in crate::web) async fn connect(web: &Web, visit: Visit) -> Result<Reply, Stop> {
    let kind = kind(visit.id())?;
    let wish = Wish::of(said(kind, &visit)).once(&visit);
    let answer = web.ask(&visit, Method::POST, &format!("{AT}/{}", kind.name), wish).await?;
    if answer.status.is_client_error() {
        let mut f = Form::sent(&visit, FIELDS);
        let status = answer.status;
        answer.or_told(&mut f);
        return Ok(form(web, &visit, status, kind, f, None));
    }
    connected(web, &visit, kind, answer)
}

async fn connection(web: &Web, visit: &Visit) -> Result<Connection, Stop> {
    web.read(visit, &format!("{AT}/{}", encoded(visit.id()))).await
}

/// The form to connect again.
pub(in crate::web) async fn again(web: &Web, visit: Visit) -> Result<Reply, Stop> {
    let c = connection(web, &visit).await?;
    let mut f = Form::new(FIELDS);
    f.set("access", &c.access);
    Ok(form(web, &visit, StatusCode::OK, kind(&c.provider)?, f, Some(&c)))
}

/// Connects again; what is mapped stays.
pub(in crate::web) async fn reconnect(web: &Web, visit: Visit) -> Result<Reply, Stop> {
    let c = connection(web, &visit).await?;
    let kind = kind(&c.provider)?;
    let path = format!("{AT}/{}/reconnect", encoded(&c.id));
    let answer = web.ask(&visit, Method::POST, &path, Wish::of(said(kind, &visit)).once(&visit)).await?;
    if answer.status.is_client_error() {
        let mut f = Form::sent(&visit, FIELDS);
        let status = answer.status;
        answer.or_told(&mut f);
        return Ok(form(web, &visit, status, kind, f, Some(&c)));
    }
    connected(web, &visit, kind, answer)
}

/// A calendar over there.
#[derive(Debug, Clone, Deserialize)]
pub(in crate::web) struct Remote {
    pub(in crate::web) id: String,
    pub(in crate::web) name: String,
    pub(in crate::web) primary: bool,
    pub(in crate::web) writable: bool,
}

struct There {
    r: Remote,
    address: String,
    mapping: Option<Mapping>,
}

#[derive(Template)]
#[template(path = "connection.html")]
struct Account {
    s: Shell,
    c: Connection,
    calendars: Vec<There>,
    trouble: String,
}

/// Returns the calendars of an account, or why they cannot be told.
pub(in crate::web) async fn remotes(
    web: &Web,
    visit: &Visit,
    id: &str,
) -> Result<Result<Vec<Remote>, String>, Stop> {
    let answer = web
        .ask(visit, Method::GET, &format!("{AT}/{}/calendars?limit=500", encoded(id)), Wish::default())
        .await?;
    if !answer.status.is_success() {
        return Ok(Err(answer.detail()));
    }
    let items = answer.body.get("items").cloned().unwrap_or_default();
    serde_json::from_value(items).map(Ok).map_err(|error| Stop::Failed(error.to_string()))
}

/// One account, with the calendars over there.
pub(in crate::web) async fn account(web: &Web, visit: Visit) -> Result<Reply, Stop> {
    let c = connection(web, &visit).await?;
    let mappings: Vec<Mapping> = web.list(&visit, "/mappings", 500).await?;
    let (list, trouble) = match remotes(web, &visit, &c.id).await? {
        Ok(list) => (list, String::new()),
        Err(why) => (Vec::new(), why),
    };
    let calendars = list
        .into_iter()
        .map(|r| There {
            mapping: mappings.iter().find(|m| m.connection == c.id && m.remote_calendar == r.id).cloned(),
            address: encoded(&r.id),
            r,
        })
        .collect();
    let shown = Account { s: Shell::of(web, &visit, AT, c.title()), calendars, trouble, c };
    Ok(page(StatusCode::OK, &shown.s, &shown))
}

/// Looks at the account now.
pub(in crate::web) async fn sync(web: &Web, visit: Visit) -> Result<Reply, Stop> {
    let path = format!("{AT}/{}/sync", encoded(visit.id()));
    web.ask(&visit, Method::POST, &path, Wish::default()).await?.good()?;
    Ok(web.go(AT))
}

/// Disconnects an account.
pub(in crate::web) async fn disconnect(web: &Web, visit: Visit) -> Result<Reply, Stop> {
    let events = if visit.field("events") == "remove" { "remove" } else { "keep" };
    let path = format!("{AT}/{}?events={events}", encoded(visit.id()));
    web.ask(&visit, Method::DELETE, &path, Wish::default()).await?.good()?;
    Ok(web.go(AT))
}

//! Webhooks: which program is told of what, its secret, and what became of each message.

use askama::Template;
use http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::calendar::calendars;
use super::ticks::{Tick, ticks};
use crate::http::Reply;
use crate::web::Web;
use crate::web::ask::{Page, Wish, encoded};
use crate::web::form::Form;
use crate::web::shell::{Shell, page, part};
use crate::web::texts::T;
use crate::web::texts::webhooks::T as W;
use crate::web::visit::{Stop, Visit};

const AT: &str = "/webhooks";
const FIELDS: &[&str] =
    &["url", "description", "which", "events", "place", "calendars", "etag", "since", "keep_old_for"];
/// Deliveries on one page.
const MOST: usize = 25;

type Choice = (&'static str, &'static str, &'static str);

const WHICH: [Choice; 2] =
    [("all", W.which_all, W.which_all_hint), ("these", W.which_these, W.which_these_hint)];
const PLACES: [Choice; 2] =
    [("all", W.place_all, W.place_all_hint), ("these", W.place_these, W.place_these_hint)];
const SINCE: [(&str, &str); 4] =
    [("1", W.since_hour), ("24", W.since_day), ("168", W.since_week), ("720", W.since_all)];
const KEEP: [(&str, &str); 4] =
    [("PT0S", W.keep_none), ("PT1H", W.keep_hour), ("P1D", W.keep_day), ("P7D", W.keep_week)];

/// Events that go together.
#[derive(Debug)]
struct Family {
    words: &'static str,
    kinds: &'static [(&'static str, &'static str)],
}

/// All that can be told.
static FAMILIES: [Family; 5] = [
    Family {
        words: W.family_event,
        kinds: &[
            ("event.created", W.event_created),
            ("event.updated", W.event_updated),
            ("event.deleted", W.event_deleted),
        ],
    },
    Family {
        words: W.family_calendar,
        kinds: &[("calendar.created", W.calendar_created), ("calendar.deleted", W.calendar_deleted)],
    },
    Family {
        words: W.family_booking,
        kinds: &[
            ("booking.created", W.booking_created),
            ("booking.confirmed", W.booking_confirmed),
            ("booking.rescheduled", W.booking_rescheduled),
            ("booking.updated", W.booking_updated),
            ("booking.cancelled", W.booking_cancelled),
            ("booking.rejected", W.booking_rejected),
            ("booking.no_show", W.booking_no_show),
            ("hold.expired", W.hold_expired),
        ],
    },
    Family { words: W.family_free, kinds: &[("availability.changed", W.availability_changed)] },
    Family {
        words: W.family_bridge,
        kinds: &[
            ("conflict.created", W.conflict_created),
            ("sync.completed", W.sync_completed),
            ("sync.failed", W.sync_failed),
        ],
    },
];

/// A webhook, as the API tells it.
#[derive(Debug, Deserialize)]
struct Hook {
    id: String,
    etag: String,
    url: String,
    description: String,
    events: Vec<String>,
    calendars: Vec<String>,
    status: String,
    paused: Option<Pause>,
    pending: u64,
    next_number: u64,
    failures: u64,
    next_attempt_at: Option<String>,
    last_delivered_at: Option<String>,
    old_secret_until: Option<String>,
    created_at: String,
}

#[derive(Debug, Deserialize)]
struct Pause {
    at: String,
    reason: String,
    sentence: String,
}

impl Hook {
    fn title(&self) -> &str {
        if self.description.is_empty() { &self.url } else { &self.description }
    }

    fn state(&self) -> (&'static str, &'static str) {
        match self.status.as_str() {
            "active" => (W.active, "good"),
            "retrying" => (W.retrying, "warn"),
            _ if self.paused.as_ref().is_some_and(|pause| pause.reason == "asked") => (W.paused, ""),
            _ => (W.paused, "bad"),
        }
    }

    fn everything(&self) -> bool {
        self.events.iter().any(|pattern| pattern == "*")
    }

    fn told(&self) -> String {
        if self.everything() { W.everything.to_owned() } else { self.events.join(", ") }
    }

    /// Returns the form of its settings.
    fn form(&self) -> Form {
        let mut f = Form::new(FIELDS);
        f.set("url", &self.url);
        f.set("description", &self.description);
        f.set("which", if self.everything() { "all" } else { "these" });
        let kinds = || FAMILIES.iter().flat_map(|family| family.kinds).map(|(kind, _)| *kind);
        f.set_all("events", kinds().filter(|kind| names(&self.events, kind)));
        f.set("place", if self.calendars.is_empty() { "all" } else { "these" });
        f.set_all("calendars", self.calendars.iter().map(String::as_str));
        f.set("etag", &self.etag);
        f.set("since", "24");
        f.set("keep_old_for", "P1D");
        f
    }
}

/// Tells whether one of the patterns names this event.
fn names(patterns: &[String], kind: &str) -> bool {
    patterns.iter().any(|pattern| match pattern.strip_suffix('*') {
        Some(family) => kind.starts_with(family),
        None => pattern == kind,
    })
}

/// Returns the patterns for what is ticked: a whole family is named as such.
fn patterns(f: &Form) -> Vec<String> {
    let chosen = f.all("events");
    let kinds = || FAMILIES.iter().flat_map(|family| family.kinds).map(|(kind, _)| *kind);
    let mut found: Vec<String> = Vec::new();
    for kind in kinds().filter(|kind| chosen.contains(kind)) {
        let family = kind.split('.').next().unwrap_or_default();
        let of_family = |one: &&str| one.split('.').next() == Some(family);
        let whole = kinds().filter(of_family).all(|one| chosen.contains(&one));
        let pattern = if whole { format!("{family}.*") } else { kind.to_owned() };
        if !found.contains(&pattern) {
            found.push(pattern);
        }
    }
    found
}

#[derive(Template)]
#[template(path = "webhooks.html")]
struct List {
    s: Shell,
    hooks: Vec<Hook>,
}

/// The list.
pub(in crate::web) async fn show(web: &Web, visit: Visit) -> Result<Reply, Stop> {
    let hooks: Vec<Hook> = web.list(&visit, AT, 500).await?;
    let shown = List { s: Shell::of(web, &visit, AT, T.menu_webhooks), hooks };
    Ok(page(StatusCode::OK, &shown.s, &shown))
}

#[derive(Template)]
#[template(path = "webhook_new.html")]
struct New {
    s: Shell,
    f: Form,
    ticks: Vec<Tick>,
    which: [Choice; 2],
    places: [Choice; 2],
    families: &'static [Family],
}

async fn new_form(web: &Web, visit: &Visit, status: StatusCode, f: Form) -> Result<Reply, Stop> {
    let shown = New {
        s: Shell::of(web, visit, AT, W.new),
        f,
        ticks: ticks(&calendars(web, visit).await?),
        which: WHICH,
        places: PLACES,
        families: &FAMILIES,
    };
    Ok(page(status, &shown.s, &shown))
}

/// The form for a new one.
pub(in crate::web) async fn new(web: &Web, visit: Visit) -> Result<Reply, Stop> {
    let mut f = Form::new(FIELDS);
    f.set("which", "all");
    f.set("place", "all");
    new_form(web, &visit, StatusCode::OK, f).await
}

fn sent(visit: &Visit) -> Form {
    let mut f = Form::sent(visit, FIELDS);
    f.gather(visit, "events");
    f.gather(visit, "calendars");
    f
}

/// Returns what the form says, or notes what is missing.
fn chosen(f: &mut Form) -> Option<Map<String, Value>> {
    let events = if f.is("which", "all") { vec!["*".to_owned()] } else { patterns(f) };
    let everywhere = f.is("place", "all");
    if events.is_empty() {
        f.refuse("events", W.events_needed);
    }
    if !everywhere && f.all("calendars").is_empty() {
        f.refuse("calendars", W.calendars_needed);
    }
    if f.refused() {
        return None;
    }
    let calendars = if everywhere { Vec::new() } else { f.all("calendars") };
    let mut body = Map::new();
    body.insert("url".into(), json!(f.value("url")));
    body.insert("description".into(), json!(f.value("description")));
    body.insert("events".into(), json!(events));
    body.insert("calendars".into(), json!(calendars));
    Some(body)
}

#[derive(Template)]
#[template(path = "webhook_secret.html")]
struct Told {
    s: Shell,
    hook: Hook,
    secret: String,
}

/// Shows the secret, this once.
fn told(web: &Web, visit: &Visit, made: Value) -> Result<Reply, Stop> {
    let secret = made.get("secret").and_then(Value::as_str).unwrap_or_default().to_owned();
    let hook: Hook = serde_json::from_value(made)
        .map_err(|error| Stop::Failed(format!("an answer of the API: {error}")))?;
    let shown = Told { s: Shell::of(web, visit, AT, hook.title()), hook, secret };
    Ok(page(StatusCode::OK, &shown.s, &shown))
}

/// Makes one.
pub(in crate::web) async fn make(web: &Web, visit: Visit) -> Result<Reply, Stop> {
    let mut f = sent(&visit);
    if let Some(body) = chosen(&mut f) {
        let wish = Wish::of(Value::Object(body)).once(&visit);
        if let Some(made) = web.ask(&visit, Method::POST, AT, wish).await?.or_told(&mut f) {
            return told(web, &visit, made);
        }
    }
    new_form(web, &visit, StatusCode::UNPROCESSABLE_ENTITY, f).await
}

/// One try, as the API tells it.
#[derive(Debug, Deserialize)]
struct Attempt {
    at: String,
    ok: bool,
    status: Option<u16>,
    duration_ms: u64,
    error: Option<String>,
    response: String,
}

impl Attempt {
    fn answer(&self) -> String {
        match (self.status, &self.error) {
            (Some(status), _) => status.to_string(),
            (None, Some(why)) => why.clone(),
            (None, None) => W.no_answer.to_owned(),
        }
    }
}

/// A delivery, as the API tells it.
#[derive(Debug, Deserialize)]
struct Delivery {
    id: String,
    number: u64,
    #[serde(rename = "type")]
    kind: String,
    status: String,
    created_at: String,
    delivered_at: Option<String>,
    attempts: Vec<Attempt>,
    payload: Value,
}

impl Delivery {
    fn state(&self) -> (&'static str, &'static str) {
        match self.status.as_str() {
            "delivered" => (W.delivered, "good"),
            "given_up" => (W.given_up, "bad"),
            _ => (W.pending, "busy"),
        }
    }

    fn waits(&self) -> bool {
        self.status == "pending"
    }

    /// Tells whether it is the one that is tried next.
    fn is_next(&self, hook: &Hook) -> bool {
        self.waits() && self.number == hook.next_number.saturating_sub(hook.pending)
    }

    fn answer(&self) -> String {
        self.attempts.last().map(Attempt::answer).unwrap_or_default()
    }
}

#[derive(Template)]
#[template(path = "webhook.html")]
struct One {
    s: Shell,
    f: Form,
    hook: Hook,
    ticks: Vec<Tick>,
    which: [Choice; 2],
    places: [Choice; 2],
    families: &'static [Family],
    since: [(&'static str, &'static str); 4],
    keep: [(&'static str, &'static str); 4],
    deliveries: Vec<Delivery>,
    next: Option<String>,
    /// The page of deliveries that is shown.
    cursor: String,
}

fn path(visit: &Visit) -> String {
    format!("{AT}/{}", encoded(visit.id()))
}

async fn one_form(web: &Web, visit: &Visit, status: StatusCode, f: Option<Form>) -> Result<Reply, Stop> {
    let hook: Hook = web.read(visit, &path(visit)).await?;
    let cursor = visit.parameter("cursor").unwrap_or_default();
    let before = if cursor.is_empty() { String::new() } else { format!("&cursor={}", encoded(cursor)) };
    let found: Page<Delivery> =
        web.read(visit, &format!("{}/deliveries?limit={MOST}{before}", path(visit))).await?;
    let shown = One {
        s: Shell::of(web, visit, AT, hook.title()),
        f: f.unwrap_or_else(|| hook.form()),
        ticks: ticks(&calendars(web, visit).await?),
        which: WHICH,
        places: PLACES,
        families: &FAMILIES,
        since: SINCE,
        keep: KEEP,
        deliveries: found.items,
        next: found.next_cursor,
        cursor: cursor.to_owned(),
        hook,
    };
    Ok(page(status, &shown.s, &shown))
}

/// A webhook, its settings and its deliveries.
pub(in crate::web) async fn one(web: &Web, visit: Visit) -> Result<Reply, Stop> {
    one_form(web, &visit, StatusCode::OK, None).await
}

/// Changes what it tells, and where.
pub(in crate::web) async fn change(web: &Web, visit: Visit) -> Result<Reply, Stop> {
    let mut f = sent(&visit);
    if let Some(body) = chosen(&mut f) {
        let wish = Wish::of(Value::Object(body)).only_if(f.value("etag"));
        if web.ask(&visit, Method::PATCH, &path(&visit), wish).await?.or_told(&mut f).is_some() {
            return Ok(web.go(&path(&visit)));
        }
    }
    f.set("since", "24");
    f.set("keep_old_for", "P1D");
    one_form(web, &visit, StatusCode::UNPROCESSABLE_ENTITY, Some(f)).await
}

/// Pauses it, has it go on, sends again, or ends it.
pub(in crate::web) async fn act(web: &Web, visit: Visit) -> Result<Reply, Stop> {
    let path = path(&visit);
    let answer = match visit.field("do") {
        word @ ("pause" | "resume") => {
            let wish = Wish::default().once(&visit);
            web.ask(&visit, Method::POST, &format!("{path}/{word}"), wish).await?
        }
        "replay" => {
            let body = match visit.field("from").parse::<u64>() {
                Ok(number) => json!({ "from": number }),
                Err(_) => {
                    let hours = visit.field("since").parse::<i64>().unwrap_or(24).clamp(1, 720);
                    let now = web.guard.house().clock.now().0;
                    let since = jiff::Timestamp::from_millisecond(now.saturating_sub(hours * 3_600_000));
                    json!({ "since": since.map(|at| at.to_string()).unwrap_or_default() })
                }
            };
            let wish = Wish::of(body).once(&visit);
            web.ask(&visit, Method::POST, &format!("{path}/replay"), wish).await?
        }
        "end" => {
            let answer = web.ask(&visit, Method::DELETE, &path, Wish::default()).await?;
            if answer.status != StatusCode::NOT_FOUND {
                answer.good()?;
            }
            return Ok(web.go(AT));
        }
        _ => return Err(Stop::Missing),
    };
    answer.good()?;
    Ok(web.go(&path))
}

/// Gives it another secret.
pub(in crate::web) async fn rotate(web: &Web, visit: Visit) -> Result<Reply, Stop> {
    let wish = Wish::of(json!({ "keep_old_for": visit.field("keep_old_for") })).once(&visit);
    let path = format!("{}/rotate-secret", path(&visit));
    let made = web.ask(&visit, Method::POST, &path, wish).await?.good()?;
    told(web, &visit, made)
}

#[derive(Template)]
#[template(path = "webhook_tested.html")]
struct Tested {
    attempt: Attempt,
}

/// Sends a test now.
pub(in crate::web) async fn test(web: &Web, visit: Visit) -> Result<Reply, Stop> {
    let path = format!("{}/test", path(&visit));
    let attempt: Attempt = web.ask(&visit, Method::POST, &path, Wish::default()).await?.read()?;
    Ok(part(StatusCode::OK, &Tested { attempt }))
}

#[derive(Template)]
#[template(path = "webhook_delivery.html")]
struct Sent {
    s: Shell,
    once: String,
    hook: Hook,
    delivery: Delivery,
    payload: String,
}

fn delivery_path(visit: &Visit) -> String {
    format!("{}/deliveries/{}", path(visit), encoded(visit.part(1)))
}

/// One delivery, with what was tried.
pub(in crate::web) async fn delivery(web: &Web, visit: Visit) -> Result<Reply, Stop> {
    let hook: Hook = web.read(&visit, &path(&visit)).await?;
    let delivery: Delivery = web.read(&visit, &delivery_path(&visit)).await?;
    let payload = serde_json::to_string_pretty(&delivery.payload).unwrap_or_default();
    let title = format!("{} {}", W.delivery, delivery.number);
    let once = Form::new(&[]).once;
    let shown = Sent { s: Shell::of(web, &visit, AT, &title), once, hook, delivery, payload };
    Ok(page(StatusCode::OK, &shown.s, &shown))
}

/// Sends it once more, now.
pub(in crate::web) async fn redeliver(web: &Web, visit: Visit) -> Result<Reply, Stop> {
    let wish = Wish::default().once(&visit);
    let path = delivery_path(&visit);
    web.ask(&visit, Method::POST, &format!("{path}/redeliver"), wish).await?.good()?;
    Ok(web.go(&path))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn all_that_can_be_told_can_be_ticked() {
        let kinds: Vec<&str> =
            FAMILIES.iter().flat_map(|family| family.kinds).map(|(kind, _)| *kind).collect();
        assert_eq!(kinds, crate::webhook::EVENTS);
    }

    #[test]
    fn a_whole_family_is_named_as_one() {
        let check = |ticked: &[&str], expected: &[&str]| {
            let mut f = Form::new(FIELDS);
            f.set_all("events", ticked.iter().copied());
            let told = patterns(&f);
            assert_eq!(told, expected);
            for kind in crate::webhook::EVENTS {
                assert_eq!(names(&told, kind), ticked.contains(&kind), "{kind}");
            }
        };
        check(&[], &[]);
        check(&["event.created", "hold.expired"], &["event.created", "hold.*"]);
        check(&["sync.failed", "sync.completed", "conflict.created"], &["conflict.*", "sync.*"]);
        check(&["event.created", "event.deleted", "event.updated", "made.up"][..3], &["event.*"]);
    }
}

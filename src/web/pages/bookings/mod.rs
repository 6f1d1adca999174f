//! Bookings: what comes, what waits for a word, what was; moved, confirmed, ended, written down by hand.
//!
//! Owns: the list, one booking, the form for a new one. Free times and why others are not: `free`; how somebody may be
//! booked: `settings`.

pub(in crate::web) mod free;
pub(in crate::web) mod settings;

use askama::Template;
use http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::calendar::{Calendar, calendars};
use crate::http::Reply;
use crate::web::Web;
use crate::web::ask::{Answer, Page, Wish, encoded};
use crate::web::form::Form;
use crate::web::shell::{Shell, page};
use crate::web::texts::T;
use crate::web::texts::bookings::T as W;
use crate::web::visit::{Stop, Visit};

const AT: &str = "/bookings";
/// Bookings on one page of the past.
const MOST: usize = 50;
/// Bookings that are yet to come, on one page.
const COMING: usize = 1000;
const FIELDS: &[&str] = &[
    "start",
    "minutes",
    "time_zone",
    "service",
    "name",
    "email",
    "phone",
    "location",
    "notes",
    "outside",
    "etag",
];

/// A booking, as the API tells it.
#[derive(Debug, Deserialize)]
struct Booking {
    id: String,
    etag: String,
    status: String,
    calendar: String,
    start: String,
    end: String,
    time_zone: String,
    service: Option<String>,
    customer: Customer,
    location: Option<String>,
    notes: Option<String>,
    recurrence: Option<String>,
    reference: Option<String>,
    hold_expires_at: Option<String>,
    created_at: String,
    updated_at: String,
}

#[derive(Debug, Deserialize)]
struct Customer {
    name: String,
    email: Option<String>,
    phone: Option<String>,
}

impl Booking {
    fn title(&self) -> String {
        let service = self.service.as_deref().unwrap_or(W.no_service);
        match self.customer.name.as_str() {
            "" => service.to_owned(),
            name => format!("{service}: {name}"),
        }
    }

    fn state(&self) -> (&'static str, &'static str) {
        match self.status.as_str() {
            "held" => (W.held, "busy"),
            "pending" => (W.pending, "warn"),
            "confirmed" => (W.confirmed, "good"),
            "cancelled" => (W.cancelled, ""),
            "rejected" => (W.rejected, ""),
            "no_show" => (W.no_show, "bad"),
            _ => (W.expired, ""),
        }
    }

    fn is(&self, statuses: &[&str]) -> bool {
        statuses.contains(&self.status.as_str())
    }

    fn open(&self) -> bool {
        self.is(&["held", "pending", "confirmed"])
    }

    fn confirmable(&self) -> bool {
        self.is(&["held", "pending"])
    }

    /// What is said of it in the list.
    fn more(&self) -> String {
        let said = [&self.customer.email, &self.customer.phone, &self.location, &self.notes];
        said.into_iter().filter_map(Option::as_deref).collect::<Vec<_>>().join(" · ")
    }

    fn begins(&self) -> i64 {
        self.start.parse::<jiff::Timestamp>().map_or(0, |at| at.as_second())
    }

    fn minutes(&self) -> i64 {
        let end = self.end.parse::<jiff::Timestamp>().map_or(0, |at| at.as_second());
        (end - self.begins()) / 60
    }

    /// The day that it takes place on, where it was booked for.
    fn day(&self) -> &str {
        self.start.get(..10).unwrap_or_default()
    }

    /// Returns the form that moves it.
    fn form(&self) -> Form {
        let mut f = Form::new(FIELDS);
        f.set("start", self.start.get(..16).unwrap_or_default());
        f.set("minutes", self.minutes().to_string());
        f.set("time_zone", &self.time_zone);
        f.set("etag", &self.etag);
        f
    }
}

fn now(web: &Web) -> String {
    let at = jiff::Timestamp::from_millisecond(web.guard.house().clock.now().0);
    at.map(|at| at.to_string()).unwrap_or_default()
}

/// What the list shows: its name in the address, its name, what is said when there is nothing.
struct Tab {
    key: &'static str,
    words: &'static str,
    none: &'static str,
    hint: &'static str,
}

static TABS: [Tab; 3] = [
    Tab { key: "upcoming", words: W.upcoming, none: W.none_upcoming, hint: W.none_upcoming_hint },
    Tab { key: "waiting", words: W.waiting, none: W.none_waiting, hint: W.none_waiting_hint },
    Tab { key: "past", words: W.past, none: W.none_past, hint: W.none_past_hint },
];

#[derive(Template)]
#[template(path = "bookings.html")]
struct List {
    s: Shell,
    f: Form,
    tabs: &'static [Tab],
    tab: &'static Tab,
    bookings: Vec<Booking>,
    cursor: String,
    next: Option<String>,
}

/// The list: `?show=`.
pub(in crate::web) async fn show(web: &Web, visit: Visit) -> Result<Reply, Stop> {
    let [upcoming, waiting, past] = &TABS;
    let tab = match visit.parameter("show") {
        Some("waiting") => waiting,
        Some("past") => past,
        _ => upcoming,
    };
    let at = encoded(&now(web));
    let cursor = visit.parameter("cursor").unwrap_or_default().to_owned();
    let (mut bookings, mut next): (Vec<Booking>, _) = (Vec::new(), None);
    match tab.key {
        "past" => {
            let before =
                if cursor.is_empty() { String::new() } else { format!("&cursor={}", encoded(&cursor)) };
            let found: Page<Booking> = web.read(&visit, &format!("{AT}?limit={MOST}{before}")).await?;
            // What is yet to come and not ended stands on the other pages.
            let here = jiff::Timestamp::from_millisecond(web.guard.house().clock.now().0);
            let here = here.map_or(0, |at| at.as_second());
            bookings = found.items;
            bookings.retain(|one| !one.open() || one.begins() + one.minutes() * 60 <= here);
            next = found.next_cursor;
        }
        key => {
            let status = if key == "waiting" { "&status=pending" } else { "" };
            bookings.extend(web.list(&visit, &format!("{AT}?from={at}{status}"), COMING).await?);
            bookings.retain(Booking::open);
            bookings.sort_by_key(Booking::begins);
        }
    }
    let s = Shell::of(web, &visit, AT, T.menu_bookings);
    let shown = List { s, f: Form::new(&[]), tabs: &TABS, tab, bookings, cursor, next };
    Ok(page(StatusCode::OK, &shown.s, &shown))
}

#[derive(Template)]
#[template(path = "booking_new.html")]
struct New {
    s: Shell,
    f: Form,
}

fn new_form(web: &Web, visit: &Visit, status: StatusCode, f: Form) -> Reply {
    let shown = New { s: Shell::of(web, visit, AT, W.new), f };
    page(status, &shown.s, &shown)
}

/// The form for a new one: `?start=`, `?minutes=`, `?zone=`.
pub(in crate::web) async fn new(web: &Web, visit: Visit) -> Result<Reply, Stop> {
    let mut f = Form::new(FIELDS);
    f.set("start", visit.parameter("start").and_then(|start| start.get(..16)).unwrap_or_default());
    f.set("minutes", visit.parameter("minutes").unwrap_or("60"));
    f.set("time_zone", visit.parameter("zone").unwrap_or_default());
    Ok(new_form(web, &visit, StatusCode::OK, f))
}

/// Returns the time that the form says, or notes what is missing.
fn time(f: &mut Form) -> Option<Map<String, Value>> {
    let start = f.value("start").parse::<jiff::civil::DateTime>().ok();
    let minutes = f.value("minutes").parse::<u32>().ok().filter(|minutes| *minutes > 0);
    if start.is_none() {
        f.refuse("start", W.time_needed);
    }
    if minutes.is_none() {
        f.refuse("minutes", W.minutes_needed);
    }
    let (start, minutes) = (start?, minutes?);
    let mut body = Map::new();
    body.insert("start".into(), json!(start.strftime("%Y-%m-%dT%H:%M:%S").to_string()));
    body.insert("duration".into(), json!(format!("PT{minutes}M")));
    body.insert("time_zone".into(), json!(f.value("time_zone")));
    body.insert("outside_rules".into(), json!(f.is("outside", "true")));
    Some(body)
}

/// Puts what the API says of a booking beside the field of the form: what is in the way is said at the time.
fn refused(answer: Answer, f: &mut Form) -> Option<Value> {
    if answer.status.is_success() {
        return Some(answer.body);
    }
    let because = answer.body.get("because").and_then(Value::as_str);
    let because = because.map(|sentence| plain(sentence, f.value("time_zone")));
    let field = answer.body.get("field").and_then(Value::as_str).unwrap_or_default();
    let kind = answer.body.get("type").and_then(Value::as_str).unwrap_or_default();
    let about_time = ["slot-taken", "not-bookable", "sources-stale"].iter().any(|one| kind.ends_with(one));
    let field = match field {
        _ if about_time => "start".to_owned(),
        "duration" | "end" => "minutes".to_owned(),
        "customer.name" => "name".to_owned(),
        "customer.email" => "email".to_owned(),
        "customer.phone" => "phone".to_owned(),
        other => other.to_owned(),
    };
    f.refuse(&field, because.unwrap_or_else(|| answer.detail()));
    None
}

/// Returns a sentence of the API with moments as people write them, in that zone if it is one, else as they came.
fn plain(sentence: &str, zone: &str) -> String {
    let word = |word: &str| {
        let bare = word.trim_end_matches(['.', ',']);
        let end = word.get(bare.len()..).unwrap_or_default();
        let moment = Some(bare).filter(|bare| bare.len() >= 19);
        let moment = moment.and_then(|bare| bare.parse::<jiff::Timestamp>().ok());
        if let Some(there) = moment.and_then(|at| at.in_tz(zone).ok()) {
            return format!("{}{end}", there.strftime("%-d %b %H:%M"));
        }
        let civil = bare.get(..19).filter(|_| moment.is_some());
        let civil = civil.and_then(|text| text.parse::<jiff::civil::DateTime>().ok());
        match civil {
            Some(at) if bare.ends_with('Z') => format!("{} UTC{end}", at.strftime("%-d %b %H:%M")),
            Some(at) => format!("{}{end}", at.strftime("%-d %b %H:%M")),
            None => word.to_owned(),
        }
    };
    sentence.split(' ').map(word).collect::<Vec<_>>().join(" ")
}

/// Books.
pub(in crate::web) async fn make(web: &Web, visit: Visit) -> Result<Reply, Stop> {
    let mut f = Form::sent(&visit, FIELDS);
    if let Some(mut body) = time(&mut f) {
        let said = |name: &str| match f.value(name) {
            "" => Value::Null,
            text => json!(text),
        };
        body.insert("service".into(), said("service"));
        body.insert("location".into(), said("location"));
        body.insert("notes".into(), said("notes"));
        let customer = json!({ "name": f.value("name"), "email": said("email"), "phone": said("phone") });
        body.insert("customer".into(), customer);
        let wish = Wish::of(Value::Object(body)).once(&visit);
        let answer = web.ask(&visit, Method::POST, AT, wish).await?;
        if let Some(made) = refused(answer, &mut f) {
            let id = made.get("id").and_then(Value::as_str).unwrap_or_default();
            return Ok(web.go(&format!("{AT}/{}", encoded(id))));
        }
    }
    Ok(new_form(web, &visit, StatusCode::UNPROCESSABLE_ENTITY, f))
}

#[derive(Template)]
#[template(path = "booking.html")]
struct One {
    s: Shell,
    f: Form,
    /// The form that moves it was opened.
    moving: bool,
    b: Booking,
    calendar: String,
}

fn path(visit: &Visit) -> String {
    format!("{AT}/{}", encoded(visit.id()))
}

async fn one_form(web: &Web, visit: &Visit, status: StatusCode, f: Option<Form>) -> Result<Reply, Stop> {
    let b: Booking = web.read(visit, &path(visit)).await?;
    let all: Vec<Calendar> = calendars(web, visit).await?;
    let calendar = all.iter().find(|one| one.id == b.calendar).map(|one| one.title().to_owned());
    let start = visit.parameter("start").and_then(|start| start.get(..16));
    let moving = f.is_some() || start.is_some();
    let mut form = f.unwrap_or_else(|| b.form());
    if let Some(start) = start {
        form.set("start", start);
    }
    if let Some(zone) = visit.parameter("zone").filter(|_| start.is_some()) {
        form.set("time_zone", zone);
    }
    let shown = One {
        s: Shell::of(web, visit, AT, &b.title()),
        f: form,
        moving,
        calendar: calendar.unwrap_or_else(|| T.hidden_calendar.to_owned()),
        b,
    };
    Ok(page(status, &shown.s, &shown))
}

/// One booking; `?start=` opens the form that moves it there.
pub(in crate::web) async fn one(web: &Web, visit: Visit) -> Result<Reply, Stop> {
    one_form(web, &visit, StatusCode::OK, None).await
}

/// Confirms it, or ends it.
pub(in crate::web) async fn act(web: &Web, visit: Visit) -> Result<Reply, Stop> {
    let path = path(&visit);
    let answer = match visit.field("do") {
        "confirm" => {
            let wish = Wish::default().once(&visit);
            web.ask(&visit, Method::POST, &format!("{path}/confirm"), wish).await?
        }
        word @ ("rejected" | "no_show" | "cancelled") => {
            web.ask(&visit, Method::PATCH, &path, Wish::of(json!({ "status": word }))).await?
        }
        _ => return Err(Stop::Missing),
    };
    // Ended twice is ended.
    let standing: Option<Booking> = match answer.status {
        StatusCode::CONFLICT => web.read(&visit, &path).await.ok(),
        _ => None,
    };
    if standing.is_some_and(|booking| booking.status == visit.field("do")) {
        return Ok(web.go(&path));
    }
    let mut f = Form::new(&[]);
    match refused(answer, &mut f) {
        Some(_) if visit.field("back") == "list" => Ok(web.go(AT)),
        Some(_) => Ok(web.go(&path)),
        None => {
            let why = f.wrong("").unwrap_or_default().to_owned();
            let b: Booking = web.read(&visit, &path).await?;
            let mut f = b.form();
            f.refuse("", why);
            one_form(web, &visit, StatusCode::UNPROCESSABLE_ENTITY, Some(f)).await
        }
    }
}

/// Moves it to another time.
pub(in crate::web) async fn reschedule(web: &Web, visit: Visit) -> Result<Reply, Stop> {
    let mut f = Form::sent(&visit, FIELDS);
    if let Some(body) = time(&mut f) {
        let wish = Wish::of(Value::Object(body)).only_if(f.value("etag"));
        let answer = web.ask(&visit, Method::PATCH, &path(&visit), wish).await?;
        if refused(answer, &mut f).is_some() {
            return Ok(web.go(&path(&visit)));
        }
    }
    one_form(web, &visit, StatusCode::UNPROCESSABLE_ENTITY, Some(f)).await
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn moments_in_sentences_are_as_people_write_them() {
        assert_eq!(
            plain("The event “A” takes place from 2031-01-06T09:00:00+01:00 to 2031-01-06T09:45:00Z.", ""),
            "The event “A” takes place from 6 Jan 09:00 to 6 Jan 09:45 UTC."
        );
        assert_eq!(plain("Too soon.", ""), "Too soon.");
        assert_eq!(plain("Until 2031-01-06T09:45:00Z.", "Europe/Berlin"), "Until 6 Jan 10:45.");
    }

    #[test]
    fn a_time_that_is_missing_is_said_at_its_field() {
        let mut f = Form::new(FIELDS);
        f.set("minutes", "0");
        assert!(time(&mut f).is_none());
        assert_eq!((f.wrong("start"), f.wrong("minutes")), (Some(W.time_needed), Some(W.minutes_needed)));
        let mut f = Form::new(FIELDS);
        f.set("start", "2031-01-06T09:00");
        f.set("minutes", "45");
        let body = time(&mut f).unwrap();
        assert_eq!((&body["start"], &body["duration"]), (&json!("2031-01-06T09:00:00"), &json!("PT45M")));
    }
}

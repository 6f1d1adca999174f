//! The form of an event: what it says, where it came from, and for a series whether this one or all of them is meant.
//!
//! Only what was changed in the form is sent: what the form does not show stays as it is.

use askama::Template;
use http::{HeaderValue, Method, StatusCode};
use serde_json::{Map, Value, json};

use super::{Calendar, Event, Reach, calendars, clock, shifted, within};
use crate::http::{Reply, reply_empty};
use crate::web::Web;
use crate::web::ask::{Answer, Wish, encoded};
use crate::web::form::Form;
use crate::web::shell::{Shell, part};
use crate::web::texts::T;
use crate::web::visit::{Stop, Visit};

const FIELDS: &[&str] = &[
    "calendar",
    "uid",
    "at",
    "etag",
    "scope",
    "title",
    "all_day",
    "start",
    "end",
    "start_day",
    "end_day",
    "time_zone",
    "location",
    "description",
    "repeat",
    "free_busy",
    "alert",
    "was",
];
/// The fields that are compared with what they were: only what differs is sent.
const COMPARED: &[&str] = &[
    "title",
    "all_day",
    "start",
    "end",
    "start_day",
    "end_day",
    "time_zone",
    "location",
    "description",
    "repeat",
    "free_busy",
    "alert",
];

/// How often an event is repeated, as the form offers it.
const REPEATS: [(&str, &str); 5] = [
    ("", T.repeat_never),
    ("RRULE:FREQ=DAILY", T.repeat_daily),
    ("RRULE:FREQ=WEEKLY", T.repeat_weekly),
    ("RRULE:FREQ=MONTHLY", T.repeat_monthly),
    ("RRULE:FREQ=YEARLY", T.repeat_yearly),
];
/// When it is reminded of, as the form offers it.
const ALERTS: [(&str, &str); 6] = [
    ("", T.alert_none),
    ("PT0S", T.alert_at_start),
    ("-PT10M", T.alert_10),
    ("-PT30M", T.alert_30),
    ("-PT1H", T.alert_60),
    ("-P1D", T.alert_day),
];
/// Something of its own that the form has no word for: it stays.
const OWN: &str = "own";

#[derive(Template)]
#[template(path = "event.html")]
struct EventForm {
    s: Shell,
    f: Form,
    /// Where it can be made; of one that is there, the one that it is in.
    calendars: Vec<Calendar>,
    there: bool,
    series: bool,
    fixed: bool,
    provider: String,
    account: String,
    synced: String,
    repeats: Vec<(&'static str, &'static str)>,
    alerts: Vec<(&'static str, &'static str)>,
    guests: usize,
    /// The UID as a part of an address.
    uid: String,
}

/// Returns the address of an event.
pub(in crate::web) fn path(calendar: &str, uid: &str) -> String {
    format!("/calendars/{}/events/{}", encoded(calendar), encoded(uid))
}

fn with_own(list: &[(&'static str, &'static str)], own: bool) -> Vec<(&'static str, &'static str)> {
    let mut list = list.to_vec();
    if own {
        list.push((OWN, T.as_it_is));
    }
    list
}

/// The day before or after.
fn day(text: &str, by: i64) -> Option<String> {
    let date: jiff::civil::Date = text.get(..10)?.parse().ok()?;
    date.checked_add(jiff::SignedDuration::from_hours(24 * by)).ok().map(|date| date.to_string())
}

/// `2026-01-05T09:00`, as fields of forms have it.
fn minutes(text: &str) -> String {
    text.get(..16).unwrap_or(text).to_owned()
}

/// Returns the instance or the event that is meant.
async fn found(web: &Web, visit: &Visit, calendar: &str, uid: &str, at: &str) -> Result<Event, Stop> {
    let read = |name: &str| visit.parameter(name).unwrap_or_default().to_owned();
    if at.is_empty() {
        return web.read(visit, &path(calendar, uid)).await;
    }
    let (from, mut to) = (read("from"), read("to"));
    if from == to {
        to = day(&to, 1).unwrap_or(to);
    }
    let list: Vec<Value> = web.list(visit, &within(calendar, &from, &to), usize::MAX).await?;
    let mut events = list.into_iter().filter_map(|event| serde_json::from_value::<Event>(event).ok());
    events.find(|event| event.uid == uid && event.recurrence_id.as_deref() == Some(at)).ok_or(Stop::Missing)
}

/// The form.
pub(in crate::web) async fn show(web: &Web, visit: Visit) -> Result<Reply, Stop> {
    let (calendar, uid) =
        (visit.parameter("calendar").unwrap_or_default(), visit.parameter("uid").unwrap_or_default());
    let list = calendars(web, &visit).await?;
    if uid.is_empty() {
        return fresh(web, &visit, list);
    }
    let at = visit.parameter("at").unwrap_or_default();
    let event = found(web, &visit, calendar, uid, at).await?;
    let repeat = match event.recurrence.as_slice() {
        [] if at.is_empty() => "",
        [one] => REPEATS.iter().map(|(rule, _)| *rule).find(|rule| rule == one).unwrap_or(OWN),
        _ => OWN,
    };
    let trigger = |alert: &Value| alert.get("trigger").and_then(Value::as_str).map(str::to_owned);
    let alert = match event.alerts.as_slice() {
        [] => "",
        [one] => {
            let told = trigger(one).unwrap_or_default();
            ALERTS.iter().map(|(when, _)| *when).find(|when| *when == told && !told.is_empty()).unwrap_or(OWN)
        }
        _ => OWN,
    };
    let mut f = Form::new(FIELDS);
    f.set("calendar", calendar);
    f.set("uid", uid);
    f.set("at", at);
    f.set("etag", &event.etag);
    f.set("scope", if at.is_empty() { "" } else { "this" });
    f.set("title", event.title.as_deref().unwrap_or_default());
    f.set("location", event.location.as_deref().unwrap_or_default());
    f.set("description", event.description.as_deref().unwrap_or_default());
    f.set("free_busy", event.free_busy.as_deref().unwrap_or("busy"));
    f.set("repeat", repeat);
    f.set("alert", alert);
    times(&mut f, &event);
    remember(&mut f);
    let here = list.into_iter().filter(|one| one.id == calendar).collect::<Vec<_>>();
    let fixed = event.locked || here.iter().any(|one| !one.writable);
    let shown = EventForm {
        s: Shell::of(web, &visit, "/", ""),
        f,
        calendars: here,
        there: true,
        series: !at.is_empty(),
        fixed,
        provider: event.origin.provider.unwrap_or_default(),
        account: event.origin.account.unwrap_or_default(),
        synced: event.last_synced_at.unwrap_or_default(),
        repeats: with_own(&REPEATS, repeat == OWN),
        alerts: with_own(&ALERTS, alert == OWN),
        guests: event.attendees.len(),
        uid: encoded(&event.uid),
    };
    Ok(part(StatusCode::OK, &shown))
}

fn times(f: &mut Form, event: &Event) {
    f.set("time_zone", event.time_zone.as_deref().unwrap_or_default());
    if event.all_day {
        f.set("all_day", "true");
        f.set("start_day", &event.start);
        f.set(
            "end_day",
            day(&event.end, -1).filter(|end| *end >= event.start).unwrap_or_else(|| event.start.clone()),
        );
        f.set("start", format!("{}T09:00", event.start));
        f.set("end", format!("{}T10:00", event.start));
    } else {
        f.set("start", minutes(&event.start));
        f.set("end", minutes(&event.end));
        f.set("start_day", event.start.get(..10).unwrap_or_default());
        f.set("end_day", event.end.get(..10).unwrap_or_default());
    }
}

/// Notes what the fields hold, to know afterwards which were changed.
fn remember(f: &mut Form) {
    let was: Map<String, Value> =
        COMPARED.iter().map(|name| ((*name).to_owned(), json!(f.value(name)))).collect();
    f.set("was", Value::Object(was).to_string());
}

fn fresh(web: &Web, visit: &Visit, mut list: Vec<Calendar>) -> Result<Reply, Stop> {
    list.retain(|calendar| calendar.writable);
    let read = |name: &str| visit.parameter(name).unwrap_or_default();
    let mut f = Form::new(FIELDS);
    let all_day = read("all_day") == "true";
    f.set("time_zone", read("zone"));
    f.set("free_busy", "busy");
    if let Some(first) = list.iter().find(|calendar| calendar.id == read("calendar")).or(list.first()) {
        f.set("calendar", &first.id);
    }
    let (start, end) = (read("start"), read("end"));
    f.set("start_day", start.get(..10).unwrap_or_default());
    f.set(
        "end_day",
        if all_day { day(end, -1).unwrap_or_default() } else { end.get(..10).unwrap_or_default().to_owned() },
    );
    if all_day {
        f.set("all_day", "true");
        f.set("start", format!("{}T09:00", start.get(..10).unwrap_or_default()));
        f.set("end", format!("{}T10:00", start.get(..10).unwrap_or_default()));
    } else {
        f.set("start", minutes(start));
        f.set("end", minutes(end));
    }
    Ok(part(StatusCode::OK, &again(web, visit, f, list)))
}

fn again(web: &Web, visit: &Visit, f: Form, calendars: Vec<Calendar>) -> EventForm {
    let there = !f.value("uid").is_empty();
    let calendars = calendars.into_iter().filter(|one| !there || one.id == f.value("calendar")).collect();
    EventForm {
        s: Shell::of(web, visit, "/", ""),
        there,
        series: !f.value("at").is_empty(),
        fixed: false,
        provider: String::new(),
        account: String::new(),
        synced: String::new(),
        repeats: with_own(&REPEATS, f.is("repeat", OWN)),
        alerts: with_own(&ALERTS, f.is("alert", OWN)),
        guests: 0,
        uid: encoded(f.value("uid")),
        calendars,
        f,
    }
}

/// Returns what was changed in the form, as the API takes it, or what is wrong.
fn said(f: &Form, was: &Map<String, Value>) -> Result<Map<String, Value>, (&'static str, &'static str)> {
    let before = |name: &str| was.get(name).and_then(Value::as_str).unwrap_or_default();
    let changed = |name: &str| before(name).replace("\r\n", "\n").trim() != f.value(name);
    let text = |name: &str| match f.value(name) {
        "" => Value::Null,
        text => json!(text),
    };
    let mut body = Map::new();
    for name in ["title", "location", "description"] {
        if changed(name) {
            body.insert(name.into(), text(name));
        }
    }
    if changed("free_busy") {
        body.insert("free_busy".into(), json!(f.value("free_busy")));
    }
    if changed("repeat") && !f.is("repeat", OWN) {
        let rules: Vec<&str> = Some(f.value("repeat")).filter(|rule| !rule.is_empty()).into_iter().collect();
        body.insert("recurrence".into(), json!(rules));
    }
    if changed("alert") && !f.is("alert", OWN) {
        let alerts: Vec<Value> = match f.value("alert") {
            "" => Vec::new(),
            when => vec![json!({ "trigger": when, "action": "display" })],
        };
        body.insert("alerts".into(), json!(alerts));
    }
    if f.is("all_day", "true") {
        if ["all_day", "start_day", "end_day"].iter().any(|name| changed(name)) {
            let start = day(f.value("start_day"), 0).ok_or(("start_day", T.date_needed))?;
            let end = day(f.value("end_day"), 1).ok_or(("end_day", T.date_needed))?;
            if end <= start {
                return Err(("end_day", T.end_before_start));
            }
            body.insert("all_day".into(), json!(true));
            body.insert("start".into(), json!(start));
            body.insert("end".into(), json!(end));
        }
    } else if ["all_day", "start", "end", "time_zone"].iter().any(|name| changed(name)) {
        let full = |name: &'static str| {
            let read = clock(f.value(name)).parse::<jiff::civil::DateTime>();
            read.map(|time| time.strftime("%Y-%m-%dT%H:%M:%S").to_string()).map_err(|_| (name, T.time_needed))
        };
        let (start, end) = (full("start")?, full("end")?);
        if end < start {
            return Err(("end", T.end_before_start));
        }
        body.insert("all_day".into(), json!(false));
        body.insert("start".into(), json!(start));
        body.insert("end".into(), json!(end));
        if changed("time_zone") || changed("all_day") {
            body.insert("time_zone".into(), text("time_zone"));
        }
    }
    Ok(body)
}

/// Keeps what the form says.
pub(in crate::web) async fn keep(web: &Web, visit: Visit) -> Result<Reply, Stop> {
    let mut f = Form::sent(&visit, FIELDS);
    let was: Map<String, Value> = serde_json::from_str(f.value("was")).unwrap_or_default();
    let mut body = match said(&f, &was) {
        Ok(body) => body,
        Err((field, why)) => {
            f.refuse(field, why);
            return refused(web, &visit, f).await;
        }
    };
    let answer = if f.value("uid").is_empty() {
        let path = format!("/calendars/{}/events", encoded(f.value("calendar")));
        body.retain(|_, value| !value.is_null());
        web.ask(&visit, Method::POST, &path, Wish::of(Value::Object(body)).once(&visit)).await?
    } else if body.is_empty() {
        return Ok(done());
    } else {
        let path = path(f.value("calendar"), f.value("uid"));
        let reach = Reach::of(f.value("at"), f.value("scope"));
        let change = match reach {
            Reach::This => {
                for whole in ["time_zone", "all_day", "recurrence"] {
                    body.remove(whole);
                }
                Change::Event(json!({ "overrides": { f.value("at"): body } }))
            }
            _ if f.value("at").is_empty() => Change::Event(Value::Object(body)),
            reach => {
                let series: Event = web.read(&visit, &path).await?;
                let all_day = body.get("all_day").and_then(Value::as_bool).unwrap_or(series.all_day);
                let before =
                    |name: &str| was.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
                let was = match series.all_day {
                    true => (before("start_day"), day(&before("end_day"), 1).unwrap_or_default()),
                    false => (before("start"), before("end")),
                };
                match of_series(&series, reach, f.value("at"), body, (&was.0, &was.1), all_day) {
                    Some(change) => change,
                    None => {
                        f.refuse("", T.move_in_form);
                        return refused(web, &visit, f).await;
                    }
                }
            }
        };
        change.asked(web, &visit, &path, f.value("etag")).await?
    };
    if answer.status == StatusCode::PRECONDITION_FAILED {
        f.refuse("", T.changed_meanwhile);
    } else if answer.or_told(&mut f).is_some() {
        return Ok(done());
    }
    refused(web, &visit, f).await
}

/// What is asked of the API.
pub(super) enum Change {
    /// The event, or of a series all, or one as an exception.
    Event(Value),
    /// What a series is from an instance on: it becomes an event of its own.
    Rest(Value),
}

impl Change {
    pub(super) async fn asked(
        self,
        web: &Web,
        visit: &Visit,
        path: &str,
        etag: &str,
    ) -> Result<Answer, Stop> {
        match self {
            Change::Event(body) => web.ask(visit, Method::PATCH, path, Wish::of(body).only_if(etag)).await,
            Change::Rest(body) => {
                let wish = Wish::of(body).only_if(etag).once(visit);
                web.ask(visit, Method::POST, &format!("{path}/split"), wish).await
            }
        }
    }
}

/// Says of a series, or of what it is from an instance on, what was said of that instance: its times move as the instance's did.
/// Nothing: they cannot.
pub(super) fn of_series(
    series: &Event,
    reach: Reach,
    at: &str,
    mut body: Map<String, Value>,
    was: (&str, &str),
    all_day: bool,
) -> Option<Change> {
    let first = clock(&series.start) == clock(at);
    let begin = if reach == Reach::Following { at } else { &series.start };
    let own = series.overrides.get(at).is_some();
    let mut exception = body.clone();
    let said =
        |body: &Map<String, Value>, name: &str| body.get(name).and_then(Value::as_str).map(str::to_owned);
    let mut key = clock(at).to_owned();
    if let (Some(start), Some(end)) = (said(&body, "start"), said(&body, "end")) {
        if all_day != series.all_day {
            return None;
        }
        let ends = shifted(&series.end, &series.start, begin)?;
        body.insert("start".into(), json!(shifted(begin, was.0, &start)?));
        body.insert("end".into(), json!(shifted(&ends, was.1, &end)?));
        key = shifted(at, was.0, &start)?;
    }
    // The instance at hand may say something of its own: there it is said as well.
    if own && !body.contains_key("time_zone") {
        exception.retain(|name, _| !matches!(name.as_str(), "all_day" | "recurrence"));
        let mut exceptions = Map::new();
        exceptions.insert(key, Value::Object(exception));
        body.insert("overrides".into(), Value::Object(exceptions));
    }
    Some(match reach {
        Reach::Following if !first => Change::Rest(json!({ "at": at, "change": body })),
        _ => Change::Event(Value::Object(body)),
    })
}

async fn refused(web: &Web, visit: &Visit, f: Form) -> Result<Reply, Stop> {
    let list = calendars(web, visit).await?;
    Ok(part(StatusCode::UNPROCESSABLE_ENTITY, &again(web, visit, f, list)))
}

/// Tells the page that it is done: the dialogue closes and the calendar looks again.
fn done() -> Reply {
    let mut reply = reply_empty(StatusCode::OK);
    reply.headers_mut().insert("hx-trigger", HeaderValue::from_static("done, changed"));
    reply
}

/// Removes the event, one of a series, or one and those after it.
pub(in crate::web) async fn remove(web: &Web, visit: Visit) -> Result<Reply, Stop> {
    let mut path = path(visit.field("calendar"), visit.field("uid"));
    let at = visit.field("at");
    let reach = Reach::of(at, visit.field("scope"));
    if reach == Reach::This {
        let body = json!({ "overrides": { at: { "excluded": true } } });
        web.ask(&visit, Method::PATCH, &path, Wish::of(body)).await?.good()?;
        return Ok(done());
    }
    if reach == Reach::Following {
        let series: Event = web.read(&visit, &path).await?;
        if clock(&series.start) != clock(at) {
            // The rest becomes an event of its own, and that one is removed: so it can be brought back.
            let wish = Wish::of(json!({ "at": at })).only_if(visit.field("etag"));
            let answer = web.ask(&visit, Method::POST, &format!("{path}/split"), wish).await?;
            let mut f = Form::sent(&visit, FIELDS);
            let Some(made) = answer.or_told(&mut f) else { return refused(web, &visit, f).await };
            let uid = made.get("uid").and_then(Value::as_str).unwrap_or_default();
            path = self::path(visit.field("calendar"), uid);
        }
    }
    web.ask(&visit, Method::DELETE, &path, Wish::default()).await?.good()?;
    Ok(done())
}

#[derive(Template)]
#[template(path = "why.html")]
struct Why {
    sentences: Vec<String>,
}

/// Where an event came from, in sentences.
pub(in crate::web) async fn why(web: &Web, visit: Visit) -> Result<Reply, Stop> {
    let path = format!("/events/{}/why", encoded(visit.parameter("uid").unwrap_or_default()));
    let story: Value = web.read(&visit, &path).await?;
    let texts = |value: Option<&Value>| -> Vec<String> {
        let list = value.and_then(Value::as_array).cloned().unwrap_or_default();
        list.iter().filter_map(|text| text.as_str().map(str::to_owned)).collect()
    };
    let mut sentences = texts(story.get("sentences"));
    if sentences.is_empty() {
        let calendars = story.get("calendars").and_then(Value::as_array).cloned().unwrap_or_default();
        sentences = calendars.iter().flat_map(|one| texts(one.get("sentences"))).collect();
    }
    Ok(part(StatusCode::OK, &Why { sentences }))
}

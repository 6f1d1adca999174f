//! How somebody may be booked: hours, single days, distance, caps, which calendars count and which one is written.
//!
//! Owns: the form, and lengths of time as a number and a unit. Does not own: what is accepted: the API says it, and at which
//! field.

use askama::Template;
use http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::super::calendar::{Calendar, calendars};
use super::super::ticks::{Tick, ticks};
use super::AT;
use crate::http::Reply;
use crate::web::Web;
use crate::web::ask::Wish;
use crate::web::form::Form;
use crate::web::shell::{Shell, page};
use crate::web::texts::T;
use crate::web::texts::bookings::T as W;
use crate::web::visit::{Stop, Visit};

const SETTINGS: &str = "/booking-settings";
const FIELDS: &[&str] = &[
    "etag",
    "open",
    "hours",
    "exceptions",
    "availability",
    "time_zone",
    "count",
    "calendars",
    "write_calendar",
    "minimum_notice",
    "horizon",
    "step",
    "buffer_before",
    "buffer_after",
    "buffers_around_all",
    "buffer_events",
    "daily_cap",
    "weekly_cap",
    "needs_confirmation",
    "tentative_counts",
    "all_day_counts",
    "out_of_office",
    "focus_time",
    "working_location",
    "attendees",
    "on_cancel",
    "hold_for",
    "title",
    "description",
    "live_age",
    "live_limit",
    "live_fallback",
];
/// The days of a week, as the API and people call them.
const DAYS: [(&str, &str); 7] = [
    ("mon", W.mon),
    ("tue", W.tue),
    ("wed", W.wed),
    ("thu", W.thu),
    ("fri", W.fri),
    ("sat", W.sat),
    ("sun", W.sun),
];
/// Lengths of time that may be left out, and those that may not.
const OPTIONAL: [&str; 2] = ["minimum_notice", "horizon"];
const LENGTHS: [&str; 4] = ["step", "buffer_before", "buffer_after", "hold_for"];
const FLAGS: [&str; 6] = [
    "buffers_around_all",
    "buffer_events",
    "needs_confirmation",
    "tentative_counts",
    "all_day_counts",
    "attendees",
];
const WORDS: [&str; 4] = ["out_of_office", "focus_time", "working_location", "on_cancel"];
/// Units and their seconds.
const UNITS: [(&str, i64); 4] = [("d", 86_400), ("h", 3600), ("m", 60), ("s", 1)];

type Choice = (&'static str, &'static str, &'static str);

const OPEN: [Choice; 3] = [
    ("any", W.open_any, W.open_any_hint),
    ("weekly", W.open_weekly, W.open_weekly_hint),
    ("written", W.open_written, W.open_written_hint),
];
const COUNT: [(&str, &str); 2] = [("all", W.count_all), ("these", W.count_these)];
const KINDS: [(&str, &str); 3] = [("busy", W.busy), ("free", W.free_word), ("as_written", W.as_written)];
const CANCEL: [(&str, &str); 2] = [("keep", W.on_cancel_keep), ("trash", W.on_cancel_trash)];
const FALLBACKS: [(&str, &str); 3] =
    [("accept", W.fallback_accept), ("refuse", W.fallback_refuse), ("pending", W.fallback_pending)];
const UNIT_WORDS: [(&str, &str); 4] =
    [("s", W.unit_seconds), ("m", W.unit_minutes), ("h", W.unit_hours), ("d", W.unit_days)];

/// From one time of day to another; empty fields say nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
struct Span {
    from: String,
    to: String,
}

impl Span {
    fn blank(&self) -> bool {
        self.from.is_empty() && self.to.is_empty()
    }

    /// The day's end is no time of a field; midnight is meant by it.
    fn told(&self) -> Value {
        let to = if self.to == "00:00" { "24:00" } else { &self.to };
        json!({ "from": self.from, "to": to })
    }

    fn shown(mut self) -> Span {
        if self.to == "24:00" {
            "00:00".clone_into(&mut self.to);
        }
        self
    }
}

/// A day of the week, or a single one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Day {
    /// What its fields begin with.
    key: String,
    words: String,
    spans: Vec<Span>,
    wrong: Option<String>,
}

impl Day {
    fn new(key: impl Into<String>, words: impl Into<String>, spans: Vec<Span>) -> Day {
        let mut spans: Vec<Span> = spans.into_iter().map(Span::shown).collect();
        // There is always one more to fill in, and two at least: a morning and an afternoon.
        let wanted = (spans.len() + 1).max(2);
        spans.resize(wanted, Span::default());
        Day { key: key.into(), words: words.into(), spans, wrong: None }
    }

    fn sent(visit: &Visit, key: &str, words: impl Into<String>) -> Day {
        let of = |at: usize| Span {
            from: visit.field(&format!("{key}-from-{at}")).to_owned(),
            to: visit.field(&format!("{key}-to-{at}")).to_owned(),
        };
        Day::new(key, words, (0..12).map(of).filter(|span| !span.blank()).collect())
    }

    fn told(&self) -> Vec<Value> {
        self.spans.iter().filter(|span| !span.blank()).map(Span::told).collect()
    }
}

/// The hours as the page shows them.
#[derive(Debug, Default)]
struct Hours {
    /// Of the hours alone, if they say one.
    zone: String,
    week: Vec<Day>,
    /// Single days; `words` is the date.
    single: Vec<Day>,
}

/// Single days that can be filled in beside those that are there.
const BLANK: usize = 2;
/// As many can be sent.
const MOST: usize = 1000;

fn exception(at: usize) -> String {
    format!("x{at}")
}

impl Hours {
    fn of(hours: Option<Told>) -> Hours {
        let hours = hours.unwrap_or_else(Told::usual);
        let spans = |key: &str| hours.weekly.get(key).cloned().unwrap_or_default();
        let week = DAYS.iter().map(|(key, words)| Day::new(*key, *words, spans(key))).collect();
        let mut single: Vec<Day> = Vec::new();
        for (at, one) in hours.exceptions.iter().enumerate() {
            single.push(Day::new(exception(at), one.date.clone(), one.hours.clone()));
        }
        let mut found = Hours { zone: hours.time_zone.unwrap_or_default(), week, single };
        found.fill();
        found
    }

    fn sent(visit: &Visit) -> Hours {
        let week = DAYS.iter().map(|(key, words)| Day::sent(visit, key, *words)).collect();
        let mut single = Vec::new();
        for at in 0..MOST {
            let key = exception(at);
            let date = visit.field(&format!("{key}-date"));
            if !date.is_empty() {
                let mut day = Day::sent(visit, &key, date);
                day.key = exception(single.len());
                single.push(day);
            }
        }
        let mut found = Hours { zone: visit.field("hours_zone").to_owned(), week, single };
        found.fill();
        found
    }

    fn fill(&mut self) {
        for _ in 0..BLANK {
            let at = self.single.len();
            self.single.push(Day::new(exception(at), "", Vec::new()));
        }
    }

    fn told(&self) -> Value {
        let week: Map<String, Value> =
            self.week.iter().map(|day| (day.key.clone(), json!(day.told()))).collect();
        let single = self.single.iter().filter(|day| !day.words.is_empty());
        let single: Vec<Value> =
            single.map(|day| json!({ "date": day.words, "hours": day.told() })).collect();
        let zone = Some(&self.zone).filter(|zone| !zone.is_empty());
        json!({ "time_zone": zone, "weekly": week, "exceptions": single })
    }

    /// Puts what is wrong beside the day that is meant; false if it is no day's.
    fn refuse(&mut self, field: &str, why: &str) -> bool {
        let rest = |prefix: &str| field.strip_prefix(prefix).map(|rest| rest.split(['.', '[', ']']));
        let day = match (rest("hours.weekly."), rest("hours.exceptions[")) {
            (Some(mut parts), _) => {
                let key = parts.next().unwrap_or_default();
                self.week.iter_mut().find(|day| day.key == key)
            }
            (_, Some(mut parts)) => {
                let at = parts.next().and_then(|at| at.parse::<usize>().ok());
                at.and_then(|at| self.single.get_mut(at))
            }
            _ => None,
        };
        match day {
            Some(day) => {
                day.wrong = Some(why.to_owned());
                true
            }
            None => false,
        }
    }
}

/// The hours, as the API tells them.
#[derive(Debug, Deserialize)]
struct Told {
    time_zone: Option<String>,
    #[serde(default)]
    weekly: std::collections::BTreeMap<String, Vec<Span>>,
    #[serde(default)]
    exceptions: Vec<Exception>,
}

#[derive(Debug, Deserialize)]
struct Exception {
    date: String,
    #[serde(default)]
    hours: Vec<Span>,
}

impl Told {
    /// What the form begins with where there are none.
    fn usual() -> Told {
        let span = Span { from: "09:00".to_owned(), to: "17:00".to_owned() };
        let weekly = DAYS.iter().take(5).map(|(key, _)| ((*key).to_owned(), vec![span.clone()])).collect();
        Told { time_zone: None, weekly, exceptions: Vec::new() }
    }
}

/// Returns a length of time in seconds, as the API writes it.
fn seconds(text: &str) -> Option<i64> {
    let (days, time) = text.strip_prefix('P')?.split_once('T').unwrap_or((text.strip_prefix('P')?, ""));
    let mut sum = 0i64;
    for (part, units) in [(days, &[('D', 86_400)][..]), (time, &[('H', 3600), ('M', 60), ('S', 1)][..])] {
        let mut number = String::new();
        for c in part.chars() {
            if c.is_ascii_digit() {
                number.push(c);
                continue;
            }
            let (_, unit) = units.iter().find(|(name, _)| *name == c)?;
            sum = sum.checked_add(number.parse::<i64>().ok()?.checked_mul(*unit)?)?;
            number.clear();
        }
    }
    Some(sum)
}

/// Fills a length in, in the largest unit in which it is whole.
fn length(f: &mut Form, name: &str, told: Option<&str>, unit: &str) {
    let told = told.and_then(seconds);
    let whole = |(_, size): &&(&str, i64)| told.is_some_and(|told| told > 0 && told % size == 0);
    let (number, unit) = match (told, UNITS.iter().find(whole)) {
        (Some(told), Some((unit, size))) => ((told / size).to_string(), *unit),
        (Some(told), None) => (told.to_string(), unit),
        (None, _) => (String::new(), unit),
    };
    f.set(name, number);
    f.set(&format!("{name}-unit"), unit);
}

/// Reads a length as the API takes it; null: nothing was said.
fn read(f: &mut Form, name: &str) -> Option<Value> {
    let size =
        UNITS.iter().find(|(unit, _)| f.is(format!("{name}-unit"), unit)).map_or(60, |(_, size)| *size);
    if f.value(name).is_empty() {
        return Some(Value::Null);
    }
    match f.value(name).parse::<u32>().ok().and_then(|number| i64::from(number).checked_mul(size)) {
        Some(length) => Some(json!(format!("PT{length}S"))),
        None => {
            f.refuse(name, W.number_needed);
            None
        }
    }
}

#[derive(Template)]
#[template(path = "bookings_settings.html")]
struct Page {
    s: Shell,
    f: Form,
    hours: Hours,
    ticks: Vec<Tick>,
    /// Where bookings can be written.
    calendars: Vec<Calendar>,
    saved: bool,
    open: [Choice; 3],
    count: [(&'static str, &'static str); 2],
    kinds: [(&'static str, &'static str); 3],
    cancel: [(&'static str, &'static str); 2],
    fallbacks: [(&'static str, &'static str); 3],
    units: [(&'static str, &'static str); 4],
}

async fn form(web: &Web, visit: &Visit, status: StatusCode, f: Form, hours: Hours) -> Result<Reply, Stop> {
    let mut list = calendars(web, visit).await?;
    let ticks = ticks(&list);
    list.retain(|one| one.writable || f.is("write_calendar", &one.id));
    let shown = Page {
        s: Shell::of(web, visit, AT, W.hours_and_rules),
        saved: visit.parameter("saved").is_some() && !f.refused(),
        f,
        hours,
        ticks,
        calendars: list,
        open: OPEN,
        count: COUNT,
        kinds: KINDS,
        cancel: CANCEL,
        fallbacks: FALLBACKS,
        units: UNIT_WORDS,
    };
    Ok(page(status, &shown.s, &shown))
}

/// The form.
pub(in crate::web) async fn show(web: &Web, visit: Visit) -> Result<Reply, Stop> {
    let settings: Value = web.read(&visit, SETTINGS).await?;
    let text = |name: &str| settings.get(name).and_then(Value::as_str);
    let mut f = Form::new(FIELDS);
    for name in ["etag", "availability", "time_zone", "write_calendar", "title", "description"] {
        f.set(name, text(name).unwrap_or_default());
    }
    for name in WORDS {
        f.set(name, text(name).unwrap_or_default());
    }
    for name in FLAGS {
        f.set(name, settings.get(name).and_then(Value::as_bool).unwrap_or_default().to_string());
    }
    for (name, unit) in [
        ("minimum_notice", "h"),
        ("horizon", "d"),
        ("step", "m"),
        ("buffer_before", "m"),
        ("buffer_after", "m"),
    ] {
        length(&mut f, name, text(name), unit);
    }
    length(&mut f, "hold_for", text("hold_for"), "m");
    for name in ["daily_cap", "weekly_cap"] {
        let cap = settings.get(name).and_then(Value::as_u64);
        f.set(name, cap.map(|cap| cap.to_string()).unwrap_or_default());
    }
    let live =
        |name: &str| settings.get("live_check").and_then(|live| live.get(name)).and_then(Value::as_str);
    length(&mut f, "live_age", live("max_age"), "m");
    length(&mut f, "live_limit", live("time_limit"), "s");
    f.set("live_fallback", live("fallback").unwrap_or_default());
    let listed = settings.get("calendars").and_then(Value::as_array);
    f.set("count", if listed.is_some() { "these" } else { "all" });
    f.set_all("calendars", listed.into_iter().flatten().filter_map(Value::as_str));
    let hours: Option<Told> = settings.get("hours").and_then(|told| Told::deserialize(told).ok());
    let open = match (&hours, text("availability")) {
        (Some(_), _) => "weekly",
        (None, Some(_)) => "written",
        (None, None) => "any",
    };
    f.set("open", open);
    if hours.is_some() {
        // It was made of the hours; two forms of one thing would contradict each other.
        f.set("availability", "");
    }
    form(web, &visit, StatusCode::OK, f, Hours::of(hours)).await
}

/// Returns what the form says, as the API takes it, or nothing if something is wrong already.
fn body(f: &mut Form, hours: &Hours) -> Option<Value> {
    let mut body = Map::new();
    match f.value("open") {
        "weekly" => {
            body.insert("hours".into(), hours.told());
        }
        "written" => {
            body.insert("availability".into(), json!(f.value("availability")));
        }
        _ => {
            body.insert("hours".into(), Value::Null);
            body.insert("availability".into(), Value::Null);
        }
    }
    for name in ["time_zone", "write_calendar"] {
        let said = Some(f.value(name)).filter(|value| !value.is_empty());
        body.insert(name.into(), json!(said));
    }
    let chosen = f.is("count", "these").then(|| f.all("calendars"));
    if chosen.as_ref().is_some_and(Vec::is_empty) {
        f.refuse("calendars", W.counted_needed);
        return None;
    }
    body.insert("calendars".into(), json!(chosen));
    for name in FLAGS {
        body.insert(name.into(), json!(f.is(name, "true")));
    }
    for name in WORDS {
        body.insert(name.into(), json!(f.value(name)));
    }
    for name in ["title", "description"] {
        body.insert(name.into(), json!(f.value(name)));
    }
    for name in OPTIONAL.into_iter().chain(LENGTHS) {
        let length = read(f, name)?;
        if length.is_null() && LENGTHS.contains(&name) {
            f.refuse(name, W.number_needed);
            return None;
        }
        body.insert(name.into(), length);
    }
    for name in ["daily_cap", "weekly_cap"] {
        let cap = match f.value(name) {
            "" => Value::Null,
            text => match text.parse::<u32>() {
                Ok(cap) => json!(cap),
                Err(_) => {
                    f.refuse(name, W.number_needed);
                    return None;
                }
            },
        };
        body.insert(name.into(), cap);
    }
    let (age, limit) = (read(f, "live_age")?, read(f, "live_limit")?);
    let mut live = Map::from_iter([("max_age".to_owned(), age)]);
    live.insert("fallback".into(), json!(f.value("live_fallback")));
    if !limit.is_null() {
        live.insert("time_limit".into(), limit);
    }
    body.insert("live_check".into(), Value::Object(live));
    Some(Value::Object(body))
}

/// Keeps what the form says.
pub(in crate::web) async fn keep(web: &Web, visit: Visit) -> Result<Reply, Stop> {
    let mut f = Form::sent(&visit, FIELDS);
    f.gather(&visit, "calendars");
    for name in OPTIONAL.into_iter().chain(LENGTHS).chain(["live_age", "live_limit"]) {
        let unit = format!("{name}-unit");
        f.set(&unit, visit.field(&unit));
    }
    let mut hours = Hours::sent(&visit);
    if let Some(body) = body(&mut f, &hours) {
        let wish = Wish::of(body).only_if(f.value("etag"));
        let answer = web.ask(&visit, Method::PATCH, SETTINGS, wish).await?;
        if answer.status.is_success() {
            return Ok(web.go("/bookings/settings?saved=yes"));
        }
        let field = answer.body.get("field").and_then(Value::as_str).unwrap_or_default().to_owned();
        if !hours.refuse(&field, &answer.detail()) {
            let known = match field.as_str() {
                "live_check.max_age" => "live_age",
                "live_check.time_limit" => "live_limit",
                "live_check.fallback" => "live_fallback",
                other => other,
            };
            f.refuse(known, answer.detail());
        }
    }
    form(web, &visit, StatusCode::UNPROCESSABLE_ENTITY, f, hours).await
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_shown_in_the_largest_whole_unit() {
        let rows = [
            ("PT45M", "45", "m"),
            ("PT2H", "2", "h"),
            ("PT90M", "90", "m"),
            ("P60D", "60", "d"),
            ("P1DT1H", "25", "h"),
            ("PT90S", "90", "s"),
            ("PT0S", "0", "m"),
            ("", "", "m"),
        ];
        for (text, number, unit) in rows {
            let mut f = Form::new(FIELDS);
            length(&mut f, "step", Some(text), "m");
            assert_eq!((f.value("step"), f.value("step-unit")), (number, unit), "{text}");
            let expected = seconds(text).map_or(Value::Null, |seconds| json!(format!("PT{seconds}S")));
            assert_eq!(read(&mut f, "step"), Some(expected), "{text}");
        }
        let mut f = Form::new(FIELDS);
        f.set("step", "1.5");
        assert_eq!((read(&mut f, "step"), f.wrong("step")), (None, Some(W.number_needed)));
    }

    #[test]
    fn hours_are_told_as_they_were_shown() {
        let told = json!({
            "time_zone": "Europe/Berlin",
            "weekly": {"mon": [{"from": "09:00", "to": "12:00"}, {"from": "13:00", "to": "24:00"}], "sat": []},
            "exceptions": [{"date": "2031-12-24", "hours": []}, {"date": "2031-12-31", "hours": [{"from": "10:00", "to": "12:00"}]}],
        });
        let mut hours = Hours::of(Some(serde_json::from_value(told.clone()).unwrap()));
        assert_eq!(hours.week[0].spans.len(), 3, "one more can be filled in");
        assert_eq!(hours.week[0].spans[1].to, "00:00");
        assert_eq!(hours.single.len(), 2 + BLANK);
        let mut again = hours.told();
        for day in ["tue", "wed", "thu", "fri", "sun"] {
            assert_eq!(again["weekly"].as_object_mut().unwrap().remove(day), Some(json!([])));
        }
        assert_eq!(again, told);
        assert!(hours.refuse("hours.weekly.mon[1].from", "No time."));
        assert!(hours.refuse("hours.exceptions[1].date", "No date."));
        assert!(!hours.refuse("time_zone", "No zone."));
        assert_eq!(hours.week[0].wrong.as_deref(), Some("No time."));
        assert_eq!(hours.single[1].wrong.as_deref(), Some("No date."));
    }
}

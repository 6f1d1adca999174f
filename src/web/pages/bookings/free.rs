//! What is free on a day, and why the rest of it is not.

use askama::Template;
use http::StatusCode;
use serde::Deserialize;

use super::{AT, plain};
use crate::http::Reply;
use crate::web::Web;
use crate::web::ask::{Answer, Wish, encoded};
use crate::web::form::Form;
use crate::web::shell::{Shell, page};
use crate::web::texts::T;
use crate::web::texts::bookings::T as W;
use crate::web::visit::{Stop, Visit};

const FIELDS: &[&str] = &["day", "minutes", "zone", "booking"];

#[derive(Debug, Deserialize)]
struct Availability {
    slots: Vec<Slot>,
    #[serde(default)]
    refused: Vec<Refused>,
    sources: Vec<Source>,
}

#[derive(Debug, Deserialize)]
struct Slot {
    start: String,
    end: String,
}

impl Slot {
    /// As forms take it.
    fn start(&self) -> &str {
        self.start.get(..16).unwrap_or_default()
    }

    fn clock(&self) -> String {
        format!("{}–{}", clock(&self.start), clock(&self.end))
    }
}

#[derive(Debug, Clone, Deserialize)]
struct Refused {
    start: String,
    /// Of a closed time its end; else of a booking that starts then.
    end: String,
    rule: String,
    because: String,
}

#[derive(Debug, Deserialize)]
struct Source {
    mapping: String,
    last_synced_at: Option<String>,
}

fn clock(moment: &str) -> &str {
    moment.get(11..16).unwrap_or_default()
}

/// Starts one after the other that are not free for the same reason.
#[derive(Debug, PartialEq, Eq)]
struct Stretch {
    from: String,
    to: String,
    rule: String,
    because: String,
}

impl Stretch {
    fn clock(&self) -> String {
        if self.from == self.to { self.from.clone() } else { format!("{}–{}", self.from, self.to) }
    }

    fn word(&self) -> (&'static str, &'static str) {
        match self.rule.as_str() {
            "hours" => (W.rule_hours, ""),
            "notice" => (W.rule_notice, ""),
            "horizon" => (W.rule_horizon, ""),
            "daily_cap" | "weekly_cap" => (W.rule_cap, "warn"),
            "booking" => (W.rule_booking, "busy"),
            "hold" => (W.rule_hold, "busy"),
            "buffer" => (W.rule_buffer, "warn"),
            _ => (W.rule_event, "busy"),
        }
    }
}

/// Returns why times are not free: starts without a free one between them are told at once.
fn stretches(mut refused: Vec<Refused>, free: &[Slot]) -> Vec<Stretch> {
    refused.sort_by(|a, b| a.start.cmp(&b.start));
    let mut found: Vec<Stretch> = Vec::new();
    for one in &refused {
        let at = clock(&one.start).to_owned();
        let to = match one.rule.as_str() {
            "hours" => Some(clock(&one.end)).filter(|end| *end != "00:00").unwrap_or("24:00").to_owned(),
            _ => at.clone(),
        };
        let parted = |last: &Stretch| match one.rule.as_str() {
            "hours" => last.to != at,
            _ => free.iter().map(|slot| clock(&slot.start)).any(|slot| *slot > *last.to && *slot < *at),
        };
        match found.last_mut() {
            Some(last) if last.rule == one.rule && last.because == one.because && !parted(last) => {
                last.to = to;
            }
            _ => found.push(Stretch { from: at, to, rule: one.rule.clone(), because: one.because.clone() }),
        }
    }
    for stretch in &mut found {
        stretch.because = plain(&stretch.because, "");
    }
    found
}

#[derive(Template)]
#[template(path = "bookings_free.html")]
struct Free {
    s: Shell,
    f: Form,
    slots: Vec<Slot>,
    stretches: Vec<Stretch>,
    sources: Vec<Source>,
    before: String,
    after: String,
    /// As a part of an address.
    zone: String,
    /// It was asked, and answered.
    told: bool,
}

#[derive(Deserialize)]
struct Zones {
    time_zone: Option<String>,
}

#[derive(Deserialize)]
struct Written {
    time_zone: Option<String>,
}

/// The zone that is meant: the one that was asked for, the owner's, that of a calendar.
async fn zone(web: &Web, visit: &Visit) -> Result<String, Stop> {
    if let Some(zone) = visit.parameter("zone") {
        return Ok(zone.to_owned());
    }
    let settings: Zones = web.read(visit, "/booking-settings").await?;
    if let Some(zone) = settings.time_zone {
        return Ok(zone);
    }
    let all: Vec<Written> = web.list(visit, "/calendars", 100).await?;
    Ok(all.into_iter().find_map(|one| one.time_zone).unwrap_or_else(|| "UTC".to_owned()))
}

fn next(day: jiff::civil::Date, days: i64) -> String {
    let span = jiff::SignedDuration::from_hours(24 * days);
    day.checked_add(span).map(|day| day.to_string()).unwrap_or_default()
}

/// The day: `?day=`, `?minutes=`, `?zone=`; with `?booking=` a free time is one to move it to.
pub(in crate::web) async fn show(web: &Web, visit: Visit) -> Result<Reply, Stop> {
    let zone = zone(web, &visit).await?;
    let here = jiff::Timestamp::from_millisecond(web.guard.house().clock.now().0).unwrap_or_default();
    let today =
        here.in_tz(&zone).map_or_else(|_| here.to_zoned(jiff::tz::TimeZone::UTC).date(), |at| at.date());
    let mut f = Form::new(FIELDS);
    f.set("day", visit.parameter("day").map_or_else(|| today.to_string(), str::to_owned));
    f.set("minutes", visit.parameter("minutes").unwrap_or("60"));
    f.set("zone", &zone);
    f.set("booking", visit.parameter("booking").unwrap_or_default());
    let day = f.value("day").parse::<jiff::civil::Date>();
    let minutes = f.value("minutes").parse::<u32>().ok().filter(|minutes| *minutes > 0);
    if day.is_err() {
        f.refuse("day", T.date_needed);
    }
    if minutes.is_none() {
        f.refuse("minutes", W.minutes_needed);
    }
    let day = day.unwrap_or(today);
    let mut found = None;
    if let (Some(minutes), false) = (minutes, f.refused()) {
        let (from, to) = (format!("{day}T00:00:00"), format!("{}T00:00:00", next(day, 1)));
        let asked = format!(
            "/availability?from={from}&to={to}&duration=PT{minutes}M&explain=true&time_zone={}",
            encoded(&zone)
        );
        let answer = web.ask(&visit, http::Method::GET, &asked, Wish::default()).await?;
        found = read(answer, &mut f)?;
    }
    let status = if f.refused() { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::OK };
    let told = found.is_some();
    let found = found.unwrap_or(Availability { slots: Vec::new(), refused: Vec::new(), sources: Vec::new() });
    let shown = Free {
        s: Shell::of(web, &visit, AT, W.free_times),
        stretches: stretches(found.refused, &found.slots),
        slots: found.slots,
        sources: found.sources,
        before: next(day, -1),
        after: next(day, 1),
        zone: encoded(&zone),
        f,
        told,
    };
    Ok(page(status, &shown.s, &shown))
}

/// Reads the answer, or puts what is wrong beside the field that is meant.
fn read(answer: Answer, f: &mut Form) -> Result<Option<Availability>, Stop> {
    if answer.status.is_success() {
        return answer.read().map(Some);
    }
    let field = answer.body.get("field").and_then(serde_json::Value::as_str).unwrap_or_default();
    let field = match field {
        "duration" => "minutes",
        "time_zone" => "zone",
        "from" | "to" => "day",
        _ => "",
    };
    f.refuse(field, answer.detail());
    Ok(None)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn one_reason_is_told_once() {
        let one = |start: &str, end: &str, rule: &str, because: &str| Refused {
            start: format!("2031-01-06T{start}:00+01:00"),
            end: format!("2031-01-06T{end}:00+01:00"),
            rule: rule.into(),
            because: because.into(),
        };
        let told = "The event takes place from 2031-01-06T10:00:00+01:00.";
        let refused = vec![
            one("00:00", "09:00", "hours", "Closed."),
            one("17:00", "00:00", "hours", "Closed."),
            one("09:15", "10:15", "event", told),
            one("09:30", "10:30", "event", told),
            one("12:00", "13:00", "hours", "Closed."),
            one("13:00", "14:00", "hours", "Closed."),
            one("15:00", "16:00", "notice", "Soon."),
            one("16:00", "17:00", "notice", "Soon."),
        ];
        let free =
            [Slot { start: "2031-01-06T15:30:00+01:00".into(), end: "2031-01-06T16:30:00+01:00".into() }];
        let found = stretches(refused, &free);
        let told: Vec<(String, &str)> = found.iter().map(|s| (s.clock(), s.because.as_str())).collect();
        assert_eq!(
            told,
            [
                ("00:00–09:00".to_owned(), "Closed."),
                ("09:15–09:30".to_owned(), "The event takes place from 6 Jan 10:00."),
                ("12:00–14:00".to_owned(), "Closed."),
                ("15:00".to_owned(), "Soon."),
                ("16:00".to_owned(), "Soon."),
                ("17:00–24:00".to_owned(), "Closed."),
            ]
        );
    }
}

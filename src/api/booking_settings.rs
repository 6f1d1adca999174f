//! `/booking-settings`: how somebody may be booked.

use http::StatusCode;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::Api;
use super::availability::session_of;
use super::bookings::HOLDS;
use super::json::{Call, present, reply};
use super::moments::{length, written, zone};
use super::problem::Problem;
use crate::calendar::booking::{Fallback, Hours, LiveCheck, Rules, Settled};
use crate::calendar::{Error, Session};
use crate::http::Reply;
use crate::ical::availability::Availability;
use crate::store::{CollectionId, Etag, Fault, Kind};

/// Seconds of a day.
const DAY: i64 = 86_400;
/// Calendars that one person's time may depend on.
const CALENDARS: usize = 500;
/// The longest text.
const LONGEST: usize = 2_000;

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Change {
    #[serde(default, deserialize_with = "present")]
    calendars: Option<Option<Vec<String>>>,
    #[serde(default, deserialize_with = "present")]
    write_calendar: Option<Option<String>>,
    #[serde(default, deserialize_with = "present")]
    time_zone: Option<Option<String>>,
    #[serde(default, deserialize_with = "present")]
    availability: Option<Option<String>>,
    #[serde(default, deserialize_with = "present")]
    hours: Option<Option<Hours>>,
    #[serde(default, deserialize_with = "present")]
    minimum_notice: Option<Option<String>>,
    #[serde(default, deserialize_with = "present")]
    horizon: Option<Option<String>>,
    step: Option<String>,
    buffer_before: Option<String>,
    buffer_after: Option<String>,
    buffers_around_all: Option<bool>,
    buffer_events: Option<bool>,
    #[serde(default, deserialize_with = "present")]
    daily_cap: Option<Option<u32>>,
    #[serde(default, deserialize_with = "present")]
    weekly_cap: Option<Option<u32>>,
    tentative_counts: Option<bool>,
    all_day_counts: Option<bool>,
    out_of_office: Option<String>,
    focus_time: Option<String>,
    working_location: Option<String>,
    needs_confirmation: Option<bool>,
    attendees: Option<bool>,
    on_cancel: Option<String>,
    hold_for: Option<String>,
    live_check: Option<Live>,
    title: Option<String>,
    description: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Live {
    #[serde(default, deserialize_with = "present")]
    max_age: Option<Option<String>>,
    time_limit: Option<String>,
    fallback: Option<String>,
}

/// A refusal of the rules, or of this door, or a failure.
enum Why {
    Problem(Box<Problem>),
    Error(Error),
}

impl From<Error> for Why {
    fn from(error: Error) -> Why {
        Why::Error(error)
    }
}

pub(super) async fn one(api: &Api, call: Call) -> Result<Reply, Problem> {
    let session = session_of(api, &call, call.parameter("user")).await?;
    let settled = api.house.booking_rules(&session.principal.name).await?;
    Ok(reply(StatusCode::OK, &document(&settled)?))
}

pub(super) async fn change(api: &Api, call: Call) -> Result<Reply, Problem> {
    let body: Change = call.body()?;
    let session = session_of(api, &call, call.parameter("user")).await?;
    for (field, ids) in [
        ("calendars", body.calendars.clone().flatten().unwrap_or_default()),
        ("write_calendar", body.write_calendar.clone().flatten().into_iter().collect()),
    ] {
        there(&session, field, &ids).await?;
    }
    let problem = |problem: Problem| Why::Problem(Box::new(problem));
    let changed = session.change_booking_rules::<Why>(|before, rules| {
        let etag = etag(&before.rules).map_err(|fault| Why::Error(fault.into()))?;
        call.expect(&etag).map_err(problem)?;
        settle(&body, rules).map_err(problem)
    });
    let settled = changed.await.map_err(|why| match why {
        Why::Problem(problem) => *problem,
        Why::Error(error) => error.into(),
    })?;
    Ok(reply(StatusCode::OK, &document(&settled)?))
}

/// Refuses calendars that are not there, or hold no events.
async fn there(session: &Session, field: &str, ids: &[String]) -> Result<(), Problem> {
    if ids.len() > CALENDARS {
        return Err(Problem::invalid(field, format!("At most {CALENDARS} calendars count.")));
    }
    for (place, id) in ids.iter().enumerate() {
        let path = if field == "calendars" { format!("{field}[{place}]") } else { field.to_owned() };
        let unknown = || Problem::invalid(&path, "There is no such calendar.");
        let id = id.parse().map(CollectionId).map_err(|_| unknown())?;
        let found = session.house.store.collection(id).await?.ok_or_else(unknown)?;
        let at = session.readable(found).map_err(|_| unknown())?;
        let takes = &at.collection().components;
        let events = takes.is_empty() || takes.iter().any(|component| component == "VEVENT");
        if at.collection().kind != Kind::Calendar || !events {
            return Err(Problem::invalid(&path, "The calendar holds no events."));
        }
    }
    Ok(())
}

fn settle(body: &Change, rules: &mut Rules) -> Result<(), Problem> {
    let number = |id: &String| id.parse::<u64>().ok();
    if let Some(calendars) = &body.calendars {
        rules.calendars = calendars.as_ref().map(|ids| ids.iter().filter_map(number).collect());
    }
    if let Some(id) = &body.write_calendar {
        rules.write_calendar = id.as_ref().and_then(number);
    }
    if let Some(name) = &body.time_zone {
        rules.time_zone = match name {
            Some(name) => zone("time_zone", name)?.name().map(str::to_owned),
            None => None,
        };
    }
    hours(body, rules)?;
    let optional = |name: &str, told: &Option<Option<String>>, of: &mut Option<i64>, most: i64| {
        if let Some(text) = told {
            *of = text.as_deref().map(|text| length(name, text, 0..=most)).transpose()?;
        }
        Ok::<(), Problem>(())
    };
    optional("minimum_notice", &body.minimum_notice, &mut rules.minimum_notice, 366 * DAY)?;
    optional("horizon", &body.horizon, &mut rules.horizon, 3660 * DAY)?;
    let lengths = [
        ("step", &body.step, &mut rules.step, 60..=7 * DAY),
        ("buffer_before", &body.buffer_before, &mut rules.buffer_before, 0..=7 * DAY),
        ("buffer_after", &body.buffer_after, &mut rules.buffer_after, 0..=7 * DAY),
        ("hold_for", &body.hold_for, &mut rules.hold, HOLDS),
    ];
    for (name, told, of, bounds) in lengths {
        if let Some(text) = told {
            *of = length(name, text, bounds)?;
        }
    }
    let flags = [
        (body.buffers_around_all, &mut rules.buffers_around_all),
        (body.buffer_events, &mut rules.buffer_events),
        (body.tentative_counts, &mut rules.tentative_counts),
        (body.all_day_counts, &mut rules.all_day_counts),
        (body.needs_confirmation, &mut rules.needs_confirmation),
        (body.attendees, &mut rules.attendees),
    ];
    for (told, of) in flags {
        *of = told.unwrap_or(*of);
    }
    for (name, told, of) in [
        ("daily_cap", &body.daily_cap, &mut rules.daily_cap),
        ("weekly_cap", &body.weekly_cap, &mut rules.weekly_cap),
    ] {
        if told.flatten() == Some(0) {
            return Err(Problem::invalid(name, "It is at least 1; null means that there is no limit."));
        }
        *of = told.unwrap_or(*of);
    }
    word("out_of_office", body.out_of_office.as_deref(), &mut rules.out_of_office)?;
    word("focus_time", body.focus_time.as_deref(), &mut rules.focus_time)?;
    word("working_location", body.working_location.as_deref(), &mut rules.working_location)?;
    word("on_cancel", body.on_cancel.as_deref(), &mut rules.on_cancel)?;
    if let Some(live) = &body.live_check {
        settle_live(live, &mut rules.live_check)?;
    }
    for (name, told, of) in
        [("title", &body.title, &mut rules.title), ("description", &body.description, &mut rules.description)]
    {
        if let Some(text) = told {
            if text.len() > LONGEST {
                return Err(Problem::invalid(name, format!("It may have {LONGEST} bytes, not more.")));
            }
            of.clone_from(text);
        }
    }
    Ok(())
}

/// Hours are given as VAVAILABILITY or in the simple form; either way they are kept as the former.
fn hours(body: &Change, rules: &mut Rules) -> Result<(), Problem> {
    if matches!((&body.hours, &body.availability), (Some(Some(_)), Some(Some(_)))) {
        return Err(Problem::invalid("hours", "Give `hours` or `availability`, not both."));
    }
    if body.hours.is_some() || body.availability.is_some() {
        (rules.hours, rules.availability) = (None, None);
    }
    if let Some(Some(hours)) = &body.hours {
        let text =
            hours.to_text().map_err(|(member, why)| Problem::invalid(&format!("hours.{member}"), why))?;
        Availability::parse(&text).map_err(|why| Problem::invalid("hours", sentence(&why)))?;
        (rules.hours, rules.availability) = (Some(hours.clone()), Some(text));
    }
    if let Some(Some(text)) = &body.availability {
        Availability::parse(text).map_err(|why| Problem::invalid("availability", sentence(&why)))?;
        rules.availability = Some(text.clone());
    }
    Ok(())
}

fn sentence(why: &str) -> String {
    format!("It is not understood: {why}.")
}

fn settle_live(told: &Live, live: &mut LiveCheck) -> Result<(), Problem> {
    if let Some(text) = &told.max_age {
        let text = text.as_deref();
        live.max_age = text.map(|text| length("live_check.max_age", text, 0..=30 * DAY)).transpose()?;
    }
    if let Some(text) = &told.time_limit {
        live.time_limit = length("live_check.time_limit", text, 1..=30)?;
    }
    word::<Fallback>("live_check.fallback", told.fallback.as_deref(), &mut live.fallback)
}

fn word<T: DeserializeOwned>(name: &str, told: Option<&str>, of: &mut T) -> Result<(), Problem> {
    if let Some(text) = told {
        *of = serde_json::from_value(json!(text))
            .map_err(|why| Problem::invalid(name, format!("That is not accepted: {why}.")))?;
    }
    Ok(())
}

fn etag(rules: &Rules) -> Result<Etag, Fault> {
    let text = serde_json::to_vec(rules).map_err(|error| Fault::Broken(error.to_string()))?;
    Ok(Etag::of(&text))
}

fn document(settled: &Settled) -> Result<Value, Problem> {
    let rules = &settled.rules;
    let ids = |ids: &Vec<u64>| ids.iter().map(u64::to_string).collect::<Vec<_>>();
    let live = &rules.live_check;
    Ok(json!({
        "etag": etag(rules)?.0,
        "calendars": rules.calendars.as_ref().map(ids),
        "write_calendar": rules.write_calendar.map(|id| id.to_string()),
        "time_zone": rules.time_zone,
        "availability": rules.availability,
        "hours": rules.hours,
        "minimum_notice": rules.minimum_notice.map(written),
        "horizon": rules.horizon.map(written),
        "step": written(rules.step),
        "buffer_before": written(rules.buffer_before),
        "buffer_after": written(rules.buffer_after),
        "buffers_around_all": rules.buffers_around_all,
        "buffer_events": rules.buffer_events,
        "daily_cap": rules.daily_cap,
        "weekly_cap": rules.weekly_cap,
        "tentative_counts": rules.tentative_counts,
        "all_day_counts": rules.all_day_counts,
        "out_of_office": rules.out_of_office,
        "focus_time": rules.focus_time,
        "working_location": rules.working_location,
        "needs_confirmation": rules.needs_confirmation,
        "attendees": rules.attendees,
        "on_cancel": rules.on_cancel,
        "hold_for": written(rules.hold),
        "live_check": {
            "max_age": live.max_age.map(written),
            "time_limit": written(live.time_limit),
            "fallback": live.fallback,
        },
        "title": rules.title,
        "description": rules.description,
    }))
}

//! `/availability` and `/freebusy`: when somebody could be booked, and when they are busy.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use serde_json::{Value, json};

use super::Api;
use super::freshness::{refresh, shown as sources_shown, sources};
use super::json::{Call, reply};
use super::moments::{length, moment, shown, text, zone};
use super::problem::Problem;
use crate::auth::Scope;
use crate::calendar::Session;
use crate::calendar::booking::{Asked, Basis, Clash, Refused, Rule, What, Why};
use crate::http::Reply;
use crate::ical::busy::BusyType;
use crate::ical::series::TimeRange;
use crate::ical::zone::Zone;
use crate::store::{CollectionId, Name};

/// Seconds of a day.
const DAY: i64 = 86_400;
/// The longest range that one answer covers.
const RANGE: i64 = 366 * DAY;
/// How long an answer waits for far sides that `max_age` asks for.
const WAIT: Duration = Duration::from_secs(10);

pub(super) async fn availability(api: &Api, call: Call) -> Result<Reply, Problem> {
    let session = session_of(api, &call, call.parameter("user")).await?;
    let owner = session.principal.name.clone();
    let chosen = call.parameter("time_zone").map(|name| zone("time_zone", name)).transpose()?;
    let (from, to) = range(&call, chosen.as_ref())?;
    let within = |name: &str, least: i64, most: i64| {
        call.parameter(name).map(|text| length(name, text, least..=most)).transpose()
    };
    let duration = within("duration", 60, RANGE)?;
    let duration = duration.ok_or_else(|| missing("duration"))?;
    let explain = flag(&call, "explain")?;
    let asked = Asked {
        from,
        to,
        duration,
        before: within("buffer_before", 0, 7 * DAY)?,
        after: within("buffer_after", 0, 7 * DAY)?,
        step: within("step", 60, 7 * DAY)?,
        explain,
    };
    if let Some(max_age) = within("max_age", 0, RANGE)? {
        let calendars = session.basis(None).await?.calendars();
        refresh(api, &owner, &calendars, max_age, WAIT).await?;
    }
    let (offered, basis) = session.availability(&asked).await?;
    let zone = chosen.unwrap_or_else(|| basis.zone().clone());
    let of = |(start, end): &(i64, i64)| json!({ "start": shown(*start, &zone), "end": shown(*end, &zone) });
    let slots: Vec<Value> = offered.slots.iter().map(of).collect();
    let heard = sources(api, &owner, &basis.calendars()).await?;
    let mut document = json!({
        "user": owner,
        "time_zone": zone.name(),
        "slots": slots,
        "sources": sources_shown(api, &heard),
        "more": offered.more,
    });
    if explain {
        let sees = sees_events(&call);
        let mut titles = Titles::new();
        let mut refused = Vec::with_capacity(offered.refused.len());
        for one in &offered.refused {
            refused.push(explained(&basis, one, &zone, sees, &mut titles).await?);
        }
        if let Some(members) = document.as_object_mut() {
            members.insert("refused".into(), json!(refused));
        }
    }
    Ok(reply(StatusCode::OK, &document))
}

pub(super) async fn free_busy(api: &Api, call: Call) -> Result<Reply, Problem> {
    let session = session_of(api, &call, call.parameter("user")).await?;
    let chosen = call.parameter("time_zone").map(|name| zone("time_zone", name)).transpose()?;
    let (from, to) = range(&call, chosen.as_ref())?;
    let (periods, basis) = session.free_busy(TimeRange { start: from, end: to }).await?;
    let zone = chosen.unwrap_or_else(|| basis.zone().clone());
    let busy: Vec<Value> = periods
        .iter()
        .map(|period| {
            let kind = match period.kind {
                BusyType::Busy => "busy",
                BusyType::Tentative => "tentative",
                BusyType::Unavailable => "unavailable",
            };
            json!({ "start": shown(period.start, &zone), "end": shown(period.end, &zone), "type": kind })
        })
        .collect();
    let heard = sources(api, &session.principal.name, &basis.calendars()).await?;
    Ok(reply(
        StatusCode::OK,
        &json!({
            "user": session.principal.name,
            "time_zone": zone.name(),
            "busy": busy,
            "sources": sources_shown(api, &heard),
        }),
    ))
}

/// Returns a session of whoever is asked about: the caller, or for administrators anybody.
pub(super) async fn session_of(api: &Api, call: &Call, user: Option<&str>) -> Result<Session, Problem> {
    let own = call.session(&api.house);
    let Some(user) = user.filter(|user| *user != own.principal.name) else { return Ok(own) };
    let unknown = || Problem::missing("There is no such user, or their time is none of yours.");
    if !call.caller.may(Scope::Admin) {
        return Err(unknown());
    }
    let principal = api.house.principal(user).await?.ok_or_else(unknown)?;
    Ok(api.house.session(Arc::clone(&principal), call.origin()))
}

/// Tells whether the caller may know what events are called.
pub(super) fn sees_events(call: &Call) -> bool {
    [Scope::Read, Scope::Events, Scope::Admin].into_iter().any(|scope| call.caller.may(scope))
}

fn missing(name: &str) -> Problem {
    Problem::invalid(name, format!("The parameter `{name}` is missing."))
}

fn flag(call: &Call, name: &str) -> Result<bool, Problem> {
    match call.parameter(name) {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(_) => Err(Problem::invalid(name, "It is `true` or `false`.")),
    }
}

fn range(call: &Call, zone: Option<&Zone>) -> Result<(i64, i64), Problem> {
    let at = |name: &str| moment(name, call.parameter(name).ok_or_else(|| missing(name))?, zone);
    let (from, to) = (at("from")?, at("to")?);
    if from >= to {
        return Err(Problem::invalid("to", "It has to be after `from`."));
    }
    if to - from > RANGE {
        return Err(Problem::invalid("to", "At most 366 days are asked about at a time."));
    }
    Ok((from, to))
}

/// What events are called that were asked for already.
type Titles = HashMap<(CollectionId, Name), Option<String>>;

/// Says why a time is not offered, in words for whoever looks after the calendar.
async fn explained(
    basis: &Basis,
    refused: &Refused,
    zone: &Zone,
    sees: bool,
    titles: &mut Titles,
) -> Result<Value, Problem> {
    let mut document = json!({
        "start": shown(refused.start, zone),
        "end": shown(refused.end, zone),
        "calendar": null,
        "title": null,
    });
    let (rule, because) = match &refused.why {
        Why::Hours => ("hours", "It is outside of the hours in which this can be booked.".to_owned()),
        Why::Rule(rule) => (name(*rule), rule.sentence().to_owned()),
        Why::Taken(item, clash) => {
            let (calendar, key) = (item.calendar(), (item.at, item.name.clone()));
            if sees && !titles.contains_key(&key) {
                titles.insert(key.clone(), basis.title(item).await?);
            }
            let title = titles.get(&key).and_then(Option::as_deref);
            if let Some(members) = document.as_object_mut() {
                members.insert("calendar".into(), json!(calendar.0.to_string()));
                members.insert("title".into(), json!(title));
            }
            let (start, end) = (text(item.start, zone), text(item.end, zone));
            let because = taken(&item.what, title, basis.calendar_name(calendar), (&start, &end), *clash);
            let rule = match (clash, &item.what) {
                (Clash::Buffer, _) => "buffer",
                (Clash::Overlap, What::Hold(_)) => "hold",
                (Clash::Overlap, What::Booking) => "booking",
                (Clash::Overlap, What::Event | What::Buffer) => "event",
            };
            (rule, because)
        }
    };
    if let Some(members) = document.as_object_mut() {
        members.insert("rule".into(), json!(rule));
        members.insert("because".into(), json!(because));
    }
    Ok(document)
}

fn name(rule: Rule) -> &'static str {
    match rule {
        Rule::Notice => "notice",
        Rule::Horizon => "horizon",
        Rule::Day => "daily_cap",
        Rule::Week => "weekly_cap",
    }
}

/// Says what is in the way.
pub(super) fn taken(
    what: &What,
    title: Option<&str>,
    calendar: Option<String>,
    (start, end): (&str, &str),
    clash: Clash,
) -> String {
    let kind = match what {
        What::Event => "event",
        What::Booking => "booking",
        What::Hold(_) => "hold",
        What::Buffer => "buffer",
    };
    let title = title.map(|title| format!(" “{title}”")).unwrap_or_default();
    let place = calendar.map(|name| format!(" in the calendar “{name}”")).unwrap_or_default();
    match clash {
        Clash::Overlap => format!("The {kind}{title}{place} takes place from {start} to {end}."),
        Clash::Buffer => {
            format!("The {kind}{title}{place} from {start} to {end} is nearer than the buffers allow.")
        }
    }
}

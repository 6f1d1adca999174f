//! `/webhooks`: who is told of what happens, and what became of each message.
//!
//! Owns: shapes, and which events a token may subscribe to: what it could read. Does not own: deliveries (`webhook`).

use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::calendars::find_all;
use super::json::{Call, reply, time, time_or_null};
use super::moments::length;
use super::problem::Problem;
use super::{Api, done, located};
use crate::auth::Scope;
use crate::auth::grant::Secret;
use crate::http::Reply;
use crate::store::{Etag, Timestamp};
use crate::webhook::{
    Attempt, Delivery, EVENTS, Hook, HookError, NewHook, Replay, fits, message_id, names_something, number_of,
};

/// Calendars of one subscription.
const CALENDARS: usize = 50;
/// How long an old secret signs as well if nobody says.
const KEEP: i64 = 86_400;
/// And at most.
const LONGEST: i64 = 30 * 86_400;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct New {
    url: String,
    events: Vec<String>,
    calendars: Option<Vec<String>>,
    description: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Change {
    url: Option<String>,
    events: Option<Vec<String>>,
    calendars: Option<Vec<String>>,
    description: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rotation {
    keep_old_for: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Again {
    from: Option<u64>,
    since: Option<String>,
}

impl From<HookError> for Problem {
    fn from(error: HookError) -> Problem {
        match error {
            HookError::Missing => Problem::missing("There is no such webhook or delivery."),
            HookError::Invalid(field, why) => Problem::invalid(field, why),
            HookError::TooMany(most) => Problem::conflict(
                "full",
                format!("An account has {most} webhooks at most; remove one first."),
            ),
            HookError::Waits => Problem::conflict(
                "waits",
                "It was not delivered yet and waits for its turn; `resume` has it tried at once.",
            ),
            HookError::Often(wait) => Problem::wait(
                wait,
                "A webhook is sent 10 tests and repetitions a minute at most; wait a little.",
            ),
            HookError::Forgotten => crate::calendar::Refusal::TokenExpired.into(),
            HookError::Stale => Problem::stale(),
            HookError::Failed(fault) => fault.into(),
        }
    }
}

pub(super) async fn list(api: &Api, call: Call) -> Result<Reply, Problem> {
    let page = call.page()?;
    let all = api.webhooks.all(call.owner()).await?;
    page.reply(all.iter().filter(|hook| may(&call, &hook.events)).map(shown).collect())
}

pub(super) async fn one(api: &Api, call: Call) -> Result<Reply, Problem> {
    Ok(reply(StatusCode::OK, &shown(&wanted(api, &call).await?)))
}

pub(super) async fn create(api: &Api, call: Call) -> Result<Reply, Problem> {
    let new: New = call.body()?;
    let new = NewHook {
        url: new.url,
        description: described(new.description.unwrap_or_default())?,
        events: events(&call, new.events)?,
        calendars: calendars(api, &call, &new.calendars.unwrap_or_default()).await?,
    };
    let (hook, secret) = api.webhooks.make(api, call.owner(), new).await?;
    let document = with_secret(&hook, &secret);
    Ok(located(reply(StatusCode::CREATED, &document), &api.site, &format!("/webhooks/{}", hook.id)))
}

pub(super) async fn change(api: &Api, call: Call) -> Result<Reply, Problem> {
    let change: Change = call.body()?;
    wanted(api, &call).await?;
    let description = change.description.map(described).transpose()?;
    let events = change.events.map(|names| events(&call, names)).transpose()?;
    let calendars = match &change.calendars {
        Some(ids) => Some(calendars(api, &call, ids).await?),
        None => None,
    };
    let settle = |before: &Hook| -> Result<NewHook, Problem> {
        call.expect(&etag(before))?;
        Ok(NewHook {
            url: change.url.unwrap_or_else(|| before.url.clone()),
            description: description.unwrap_or_else(|| before.description.clone()),
            events: events.unwrap_or_else(|| before.events.clone()),
            calendars: calendars.unwrap_or_else(|| before.calendars.clone()),
        })
    };
    let hook = api.webhooks.change(api, (call.owner(), call.id()), settle).await?;
    Ok(reply(StatusCode::OK, &shown(&hook)))
}

pub(super) async fn remove(api: &Api, call: Call) -> Result<Reply, Problem> {
    wanted(api, &call).await?;
    let check = |hook: &Hook| call.expect(&etag(hook));
    api.webhooks.remove::<Problem>(api, (call.owner(), call.id()), check).await?;
    Ok(done())
}

/// Gives it another secret. For a while both sign, so that the receiver can change over without losing anything.
pub(super) async fn rotate(api: &Api, call: Call) -> Result<Reply, Problem> {
    let rotation: Rotation = call.body()?;
    let keep = match rotation.keep_old_for.as_deref() {
        None => KEEP,
        Some(text) => length("keep_old_for", text, 0..=LONGEST)?,
    };
    wanted(api, &call).await?;
    let (hook, secret) = api.webhooks.rotate(call.owner(), call.id(), keep).await?;
    Ok(reply(StatusCode::OK, &with_secret(&hook, &secret)))
}

pub(super) async fn pause(api: &Api, call: Call) -> Result<Reply, Problem> {
    call.no_body()?;
    wanted(api, &call).await?;
    Ok(reply(StatusCode::OK, &shown(&api.webhooks.pause(call.owner(), call.id()).await?)))
}

pub(super) async fn resume(api: &Api, call: Call) -> Result<Reply, Problem> {
    call.no_body()?;
    wanted(api, &call).await?;
    Ok(reply(StatusCode::OK, &shown(&api.webhooks.resume(api, call.owner(), call.id()).await?)))
}

pub(super) async fn test(api: &Api, call: Call) -> Result<Reply, Problem> {
    call.no_body()?;
    let hook = wanted(api, &call).await?;
    Ok(reply(StatusCode::OK, &attempted(&api.webhooks.test(&hook).await?)))
}

pub(super) async fn replay(api: &Api, call: Call) -> Result<Reply, Problem> {
    let again: Again = call.body()?;
    wanted(api, &call).await?;
    let from = match (again.from, again.since) {
        (Some(number), None) => Replay::Number(number),
        (None, Some(text)) => {
            let bad = |_| Problem::invalid("since", "It is a time like 2026-01-05T09:00:00Z.");
            let at: jiff::Timestamp = text.parse().map_err(bad)?;
            Replay::Since(Timestamp(at.as_millisecond()))
        }
        (Some(_), Some(_)) => return Err(Problem::invalid("since", "Say either `from` or `since`.")),
        (None, None) => {
            return Err(Problem::invalid("from", "Say from which number on, or `since` which time."));
        }
    };
    Ok(reply(StatusCode::OK, &shown(&api.webhooks.replay(call.owner(), call.id(), from).await?)))
}

/// The newest first. The cursor is the number of the last one.
pub(super) async fn deliveries(api: &Api, call: Call) -> Result<Reply, Problem> {
    let hook = wanted(api, &call).await?;
    let limit = call.limit()?;
    let before = match call.parameter("cursor") {
        None => None,
        Some(text) => {
            let bad = |_| Problem::invalid("cursor", "The cursor is not one of ours.");
            Some(text.parse::<u64>().map_err(bad)?)
        }
    };
    let found = api.webhooks.deliveries(&hook, before, limit.saturating_add(1)).await?;
    let shown: Vec<Value> = found.iter().take(limit).map(|delivery| delivered(&hook, delivery)).collect();
    let more = found.len() > limit;
    let next = found.get(limit.saturating_sub(1)).filter(|_| more).map(|last| last.number.to_string());
    Ok(reply(StatusCode::OK, &json!({ "items": shown, "next_cursor": next })))
}

pub(super) async fn delivery(api: &Api, call: Call) -> Result<Reply, Problem> {
    let (hook, number) = named(api, &call).await?;
    let delivery = api.webhooks.delivery(&hook, number).await?;
    Ok(reply(StatusCode::OK, &delivered(&hook, &delivery)))
}

pub(super) async fn redeliver(api: &Api, call: Call) -> Result<Reply, Problem> {
    call.no_body()?;
    let (hook, number) = named(api, &call).await?;
    let delivery = api.webhooks.redeliver(&hook, number).await?;
    Ok(reply(StatusCode::OK, &delivered(&hook, &delivery)))
}

async fn named(api: &Api, call: &Call) -> Result<(Hook, u64), Problem> {
    let hook = wanted(api, call).await?;
    let number = number_of(&hook.id, call.part(1)).ok_or(HookError::Missing)?;
    Ok((hook, number))
}

/// Returns the webhook in the path. Who may not read what it tells of has no say in it: they could have it told elsewhere.
async fn wanted(api: &Api, call: &Call) -> Result<Hook, Problem> {
    let hook = api.webhooks.one(call.owner(), call.id()).await?;
    if may(call, &hook.events) { Ok(hook) } else { Err(Problem::scope("read")) }
}

/// Tells whether the token could read all that these events tell of.
fn may(call: &Call, patterns: &[String]) -> bool {
    let allowed = |kind: &str| {
        let family = kind.split('.').next().unwrap_or_default();
        let more = match family {
            "booking" | "hold" | "availability" => Scope::Bookings,
            "conflict" | "sync" => Scope::Bridges,
            _ => Scope::Read,
        };
        call.caller.may(Scope::Read) || call.caller.may(more)
    };
    let named = |kind: &&&str| patterns.iter().any(|pattern| fits(pattern, kind));
    EVENTS.iter().filter(named).all(|kind| allowed(kind))
}

fn events(call: &Call, mut names: Vec<String>) -> Result<Vec<String>, Problem> {
    if names.is_empty() || names.len() > EVENTS.len() {
        return Err(Problem::invalid("events", "Name the events, such as `booking.*`, or `*` for all."));
    }
    for (at, name) in names.iter().enumerate() {
        if !names_something(name) {
            let why = format!("There is no such event; there are {}.", EVENTS.join(", "));
            return Err(Problem::invalid(&format!("events[{at}]"), why));
        }
    }
    if !may(call, &names) {
        return Err(Problem::scope("read"));
    }
    names.dedup();
    Ok(names)
}

async fn calendars(api: &Api, call: &Call, ids: &[String]) -> Result<Vec<u64>, Problem> {
    if ids.len() > CALENDARS {
        return Err(Problem::invalid("calendars", format!("Name {CALENDARS} calendars at most.")));
    }
    find_all(api, call, ids).await
}

fn described(text: String) -> Result<String, Problem> {
    let good = text.chars().count() <= 200 && !text.chars().any(char::is_control);
    if good { Ok(text) } else { Err(Problem::invalid("description", "A short text is needed here.")) }
}

/// The tag of what is chosen; how deliveries go does not change it.
fn etag(hook: &Hook) -> Etag {
    let chosen = (&hook.url, &hook.description, &hook.events, &hook.calendars, hook.old_until);
    Etag::of(format!("{} {chosen:?}", hook.id).as_bytes())
}

fn shown(hook: &Hook) -> Value {
    let status = match (&hook.paused, hook.failures) {
        (Some(_), _) => "paused",
        (None, 0) => "active",
        (None, _) => "retrying",
    };
    json!({
        "id": hook.id,
        "etag": etag(hook).0,
        "url": hook.url,
        "description": hook.description,
        "events": hook.events,
        "calendars": hook.calendars.iter().map(u64::to_string).collect::<Vec<_>>(),
        "status": status,
        "paused": hook.paused.as_ref().map(|pause| json!({
            "at": time(pause.at),
            "reason": pause.why,
            "sentence": pause.sentence,
        })),
        "pending": hook.next.saturating_sub(hook.head),
        "next_number": hook.next,
        "failures": hook.failures,
        "next_attempt_at": time_or_null(hook.due),
        "last_delivered_at": time_or_null(hook.delivered),
        "old_secret_until": time_or_null(hook.old_until),
        "created_at": time(hook.created),
    })
}

/// The only place where a secret is told.
fn with_secret(hook: &Hook, secret: &Secret) -> Value {
    let mut document = shown(hook);
    if let Some(members) = document.as_object_mut() {
        members.insert("secret".into(), json!(secret.reveal()));
    }
    document
}

fn delivered(hook: &Hook, delivery: &Delivery) -> Value {
    let status = match (delivery.delivered, delivery.number < hook.head) {
        (Some(_), _) => "delivered",
        (None, true) => "given_up",
        (None, false) => "pending",
    };
    let payload: Value = serde_json::from_str(&delivery.body).unwrap_or_default();
    json!({
        "id": message_id(&hook.id, delivery.number),
        "number": delivery.number,
        "type": delivery.kind,
        "status": status,
        "created_at": time(delivery.at),
        "delivered_at": time_or_null(delivery.delivered),
        "attempts": delivery.attempts.iter().map(attempted).collect::<Vec<_>>(),
        "payload": payload,
    })
}

fn attempted(attempt: &Attempt) -> Value {
    json!({
        "at": time(attempt.at),
        "ok": attempt.went_well(),
        "status": attempt.status,
        "duration_ms": attempt.millis,
        "error": attempt.error,
        "response": attempt.response,
    })
}

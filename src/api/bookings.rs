//! `/bookings`: times that are held, booked, moved and given back.
//!
//! Owns: their JSON, asking far sides before something is booked. Does not own: what is in the way and how both are one
//! step (`calendar::booking`).

use std::time::Duration;

use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::availability::{sees_events, session_of, taken};
use super::freshness::refresh;
use super::json::{Call, present, reply, time, time_or_null};
use super::moments::{length, moment, shown, text, written, zone};
use super::problem::Problem;
use super::receipt::Answer;
use super::{Api, PREFIX, calendars, done, located};
use crate::auth::Scope;
use crate::calendar::booking::{
    Blocking, Booked, BookingChange, Customer, Fallback, Heed, NewBooking, Status, Wanted,
};
use crate::calendar::{Error, Refusal, Session, Writable};
use crate::http::Reply;
use crate::ical::recur::Rule;
use crate::ical::zone::{Zone, by_tzid};
use crate::store::{CollectionId, Etag, Expect, Fault, Op};

/// Seconds of a day.
const DAY: i64 = 86_400;
/// How long a booking may be.
const LENGTHS: std::ops::RangeInclusive<i64> = 60..=366 * DAY;
/// How long buffers may be.
const BUFFERS: std::ops::RangeInclusive<i64> = 0..=7 * DAY;
/// How long something may be held.
pub(super) const HOLDS: std::ops::RangeInclusive<i64> = 60..=3600;
/// The longest text of one line, and of several.
const LONGEST: (usize, usize) = (500, 10_000);

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct New {
    calendar: Option<String>,
    start: String,
    end: Option<String>,
    duration: Option<String>,
    time_zone: Option<String>,
    service: Option<String>,
    customer: Option<Customer>,
    location: Option<String>,
    notes: Option<String>,
    recurrence: Option<String>,
    buffer_before: Option<String>,
    buffer_after: Option<String>,
    hold_for: Option<String>,
    status: Option<String>,
    reference: Option<String>,
    session: Option<String>,
    #[serde(default)]
    outside_rules: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Change {
    calendar: Option<String>,
    start: Option<String>,
    end: Option<String>,
    duration: Option<String>,
    time_zone: Option<String>,
    #[serde(default, deserialize_with = "present")]
    service: Option<Option<String>>,
    customer: Option<Customer>,
    #[serde(default, deserialize_with = "present")]
    location: Option<Option<String>>,
    #[serde(default, deserialize_with = "present")]
    notes: Option<Option<String>>,
    buffer_before: Option<String>,
    buffer_after: Option<String>,
    #[serde(default, deserialize_with = "present")]
    reference: Option<Option<String>>,
    hold_for: Option<String>,
    status: Option<String>,
    session: Option<String>,
    outside_rules: Option<bool>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Confirm {
    session: Option<String>,
}

pub(super) async fn create(api: &Api, call: Call) -> Result<Reply, Problem> {
    let body: New = call.body()?;
    let (session, calendar) = place(api, &call, body.calendar.as_deref()).await?;
    let settled = api.house.booking_rules(&session.principal.name).await?;
    let mut new = wish(&body, calendar, settled.rules.hold)?;
    let live = &settled.rules.live_check;
    if let Some(max_age) = live.max_age {
        let calendars = session.basis(new.calendar.as_ref()).await?.calendars();
        let limit = Duration::from_secs(u64::try_from(live.time_limit).unwrap_or(0));
        let fresh = refresh(api, &session.principal.name, &calendars, max_age, limit).await?;
        match live.fallback {
            _ if fresh => {}
            Fallback::Accept => {}
            Fallback::Refuse => return Err(Problem::unheard()),
            Fallback::Pending => new.pending = true,
        }
    }
    let keep = |booked: &Booked| -> Result<(Vec<Expect>, Vec<Op>), Fault> {
        let Some(slip) = &call.slip else { return Ok((Vec::new(), Vec::new())) };
        let location = format!("{}{PREFIX}/bookings/{}", api.site.prefix(), booked.booking.id);
        let answer = Answer::document(StatusCode::CREATED, &document(booked), Some(location));
        let (expect, op) = slip.keep(&answer)?;
        Ok((vec![expect], vec![op]))
    };
    let booked = session.book(&new, &keep).await;
    api.house.metrics.booking(match &booked {
        Ok(_) => "taken",
        Err(Error::Refused(Refusal::SlotTaken(_))) => "refused",
        Err(_) => "failed",
    });
    let booked = booked.map_err(|error| refused(&call, error))?;
    let path = format!("/bookings/{}", booked.booking.id);
    Ok(located(reply(StatusCode::CREATED, &document(&booked)), &api.site, &path))
}

pub(super) async fn list(api: &Api, call: Call) -> Result<Reply, Problem> {
    let page = call.page()?;
    let session = session_of(api, &call, call.parameter("user")).await?;
    let status = call.parameter("status").map(|text| status("status", text)).transpose()?;
    let calendar = call.parameter("calendar").map(|id| {
        id.parse().map(CollectionId).map_err(|_| Problem::invalid("calendar", "There is no such calendar."))
    });
    let at = |name: &str| call.parameter(name).map(|text| moment(name, text, None)).transpose();
    let wanted = Wanted {
        reference: call.parameter("reference").map(str::to_owned),
        status,
        calendar: calendar.transpose()?,
        from: at("from")?,
        to: at("to")?,
    };
    let found = session.bookings(&wanted, page.need()).await?;
    page.reply(found.iter().map(document).collect())
}

pub(super) async fn one(api: &Api, call: Call) -> Result<Reply, Problem> {
    let session = of(api, &call).await?;
    let booked = session.booking(call.id()).await.map_err(|error| refused(&call, error))?;
    Ok(reply(StatusCode::OK, &document(&booked)))
}

pub(super) async fn change(api: &Api, call: Call) -> Result<Reply, Problem> {
    let body: Change = call.body()?;
    let session = of(api, &call).await?;
    let mut change = wished(&body)?;
    if let Some(id) = &body.calendar {
        change.calendar = Some(written_to(&session, id).await?);
    }
    let seat = body.session.as_deref().map(digest);
    let check = |booked: &Booked| allowed(&call, booked, seat.as_deref());
    let booked = session.change_booking(call.id(), &change, &check).await;
    let booked = booked.map_err(|error| refused(&call, error))?;
    Ok(reply(StatusCode::OK, &document(&booked)))
}

pub(super) async fn confirm(api: &Api, call: Call) -> Result<Reply, Problem> {
    let body: Confirm = call.body()?;
    let session = of(api, &call).await?;
    let seat = body.session.as_deref().map(digest);
    let check = |booked: &Booked| allowed(&call, booked, seat.as_deref());
    let keep = |booked: &Booked| -> Result<(Vec<Expect>, Vec<Op>), Fault> {
        let Some(slip) = &call.slip else { return Ok((Vec::new(), Vec::new())) };
        let (expect, op) = slip.keep(&Answer::document(StatusCode::OK, &document(booked), None))?;
        Ok((vec![expect], vec![op]))
    };
    let booked = session.confirm_booking(call.id(), &check, &keep).await;
    let booked = booked.map_err(|error| refused(&call, error))?;
    Ok(reply(StatusCode::OK, &document(&booked)))
}

pub(super) async fn remove(api: &Api, call: Call) -> Result<Reply, Problem> {
    let session = of(api, &call).await?;
    let check = |booked: &Booked| call.expect(&booked.etag).map_err(|_| Refusal::Stale);
    let none = |_: &Booked| Ok((Vec::new(), Vec::new()));
    let ended = session.end_booking(call.id(), Status::Cancelled, &check, &none).await;
    ended.map_err(|error| refused(&call, error))?;
    Ok(done())
}

/// RFC 9110 §13.1.1; and what is held for a session is given to that session only.
fn allowed(call: &Call, booked: &Booked, seat: Option<&str>) -> Result<(), Refusal> {
    call.expect(&booked.etag).map_err(|_| Refusal::Stale)?;
    let booking = &booked.booking;
    match &booking.session {
        Some(wanted) if booking.status == Status::Held && seat != Some(wanted) => {
            Err(Refusal::Forbidden("session"))
        }
        _ => Ok(()),
    }
}

/// Returns a session of whoever owns the booking: the caller, or for administrators the user that is named.
async fn of(api: &Api, call: &Call) -> Result<Session, Problem> {
    session_of(api, call, call.parameter("user")).await
}

/// Returns whose time is booked: of the calendar's owner if one is named, else the caller's.
async fn place(api: &Api, call: &Call, id: Option<&str>) -> Result<(Session, Option<Writable>), Problem> {
    let own = call.session(&api.house);
    let Some(id) = id else { return Ok((of(api, call).await?, None)) };
    let unknown = || Problem::invalid("calendar", "There is no such calendar.");
    let session = match id.parse().map(CollectionId) {
        Ok(number) if call.caller.may(Scope::Admin) => {
            let found = api.house.store.collection(number).await?.ok_or_else(unknown)?;
            session_of(api, call, Some(&found.owner)).await?
        }
        _ => own,
    };
    let at = written_to(&session, id).await?;
    Ok((session, Some(at)))
}

/// Returns a calendar that bookings can be in.
async fn written_to(session: &Session, id: &str) -> Result<Writable, Problem> {
    let unknown = |_| Problem::invalid("calendar", "There is no such calendar.");
    let at = calendars::find(session, id).await.map_err(unknown)?;
    let takes = &at.collection().components;
    if !takes.is_empty() && !takes.iter().any(|component| component == "VEVENT") {
        return Err(Problem::invalid("calendar", "The calendar holds no events."));
    }
    Ok(at)
}

/// Reads the rule of a series: it has to end, after 100 times at most.
fn recurrence(text: Option<&str>) -> Result<Option<String>, Problem> {
    let Some(text) = text.filter(|text| !text.is_empty()) else { return Ok(None) };
    let bad = |why: String| Problem::invalid("recurrence", why);
    let rule = text.strip_prefix("RRULE:").unwrap_or(text);
    let plain = rule.bytes().all(|b| b.is_ascii_graphic());
    let read = Rule::parse(rule).ok().filter(|_| plain);
    let read = read.ok_or_else(|| bad(format!("`{text}` is no rule like FREQ=WEEKLY;COUNT=4.")))?;
    if read.until.is_none() && read.count.is_none_or(|count| count > 100) {
        return Err(bad("It has to say when it ends: COUNT, 100 at most, or UNTIL.".to_owned()));
    }
    Ok(Some(rule.to_owned()))
}

fn wish(body: &New, calendar: Option<Writable>, hold: i64) -> Result<NewBooking, Problem> {
    let told = body.time_zone.as_deref().map(|name| zone("time_zone", name)).transpose()?;
    let start = moment("start", &body.start, told.as_ref())?;
    let end = match (&body.end, &body.duration) {
        (Some(_), Some(_)) => {
            return Err(Problem::invalid("duration", "Give `end` or `duration`, not both."));
        }
        (Some(end), None) => moment("end", end, told.as_ref())?,
        (None, Some(text)) => start + length("duration", text, LENGTHS)?,
        (None, None) => return Err(Problem::invalid("end", "Either `end` or `duration` is needed.")),
    };
    if !LENGTHS.contains(&(end - start)) {
        return Err(Problem::invalid("end", "A booking lasts a minute at least and a year at most."));
    }
    let pending = match body.status.as_deref() {
        None | Some("confirmed") => false,
        Some("pending") => true,
        // As a program may say it that has no time to choose.
        Some("held") if body.hold_for.is_none() => false,
        Some(_) => {
            let why = "A new booking is `confirmed` or `pending`; one with `hold_for` is held.";
            return Err(Problem::invalid("status", why));
        }
    };
    let held = body.status.as_deref() == Some("held");
    let given = body.hold_for.as_deref().map(|text| length("hold_for", text, HOLDS)).transpose()?;
    let customer = body.customer.clone().unwrap_or_default();
    checked(&customer)?;
    let line = |name: &str, value: &Option<String>, most: usize| long(name, value.as_deref(), most);
    line("service", &body.service, LONGEST.0)?;
    line("location", &body.location, LONGEST.0)?;
    line("notes", &body.notes, LONGEST.1)?;
    line("reference", &body.reference, LONGEST.0)?;
    line("session", &body.session, LONGEST.0)?;
    Ok(NewBooking {
        calendar,
        start,
        end,
        time_zone: told.as_ref().and_then(Zone::name).map(str::to_owned),
        service: said(&body.service),
        customer,
        location: said(&body.location),
        notes: said(&body.notes),
        recurrence: recurrence(body.recurrence.as_deref())?,
        before: buffer("buffer_before", body.buffer_before.as_deref())?,
        after: buffer("buffer_after", body.buffer_after.as_deref())?,
        hold: given.or(held.then_some(hold)),
        pending,
        reference: said(&body.reference),
        session: body.session.as_deref().map(digest),
        heed: if body.outside_rules { Heed::Conflicts } else { Heed::All },
    })
}

fn wished(body: &Change) -> Result<BookingChange, Problem> {
    let told = body.time_zone.as_deref().map(|name| zone("time_zone", name)).transpose()?;
    let at = |name: &str, value: &Option<String>| {
        value.as_deref().map(|text| moment(name, text, told.as_ref())).transpose()
    };
    if body.end.is_some() && body.duration.is_some() {
        return Err(Problem::invalid("duration", "Give `end` or `duration`, not both."));
    }
    let words = [
        ("service", &body.service, LONGEST.0),
        ("location", &body.location, LONGEST.0),
        ("notes", &body.notes, LONGEST.1),
        ("reference", &body.reference, LONGEST.0),
    ];
    for (name, value, most) in words {
        long(name, value.as_ref().and_then(Option::as_deref), most)?;
    }
    if let Some(customer) = &body.customer {
        checked(customer)?;
    }
    let status = match body.status.as_deref() {
        None => None,
        Some("cancelled") => Some(Status::Cancelled),
        Some("rejected") => Some(Status::Rejected),
        Some("no_show") => Some(Status::NoShow),
        Some(_) => {
            let why = "It becomes `cancelled`, `rejected` or `no_show`; `confirmed` by its own address.";
            return Err(Problem::invalid("status", why));
        }
    };
    let change = BookingChange {
        start: at("start", &body.start)?,
        end: at("end", &body.end)?,
        duration: body.duration.as_deref().map(|text| length("duration", text, LENGTHS)).transpose()?,
        time_zone: told.as_ref().and_then(Zone::name).map(str::to_owned),
        service: body.service.as_ref().map(said),
        customer: body.customer.clone(),
        location: body.location.as_ref().map(said),
        notes: body.notes.as_ref().map(said),
        calendar: None,
        before: buffer("buffer_before", body.buffer_before.as_deref())?,
        after: buffer("buffer_after", body.buffer_after.as_deref())?,
        reference: body.reference.as_ref().map(said),
        hold: body.hold_for.as_deref().map(|text| length("hold_for", text, HOLDS)).transpose()?,
        status,
        heed: body.outside_rules.map(|outside| if outside { Heed::Conflicts } else { Heed::All }),
    };
    if status.is_some()
        && (change.moves() || change.says() || change.hold.is_some() || body.calendar.is_some())
    {
        return Err(Problem::invalid("status", "End a booking or change it, not both at a time."));
    }
    Ok(change)
}

/// What is said; nothing and blank are the same.
fn said(value: &Option<String>) -> Option<String> {
    value.as_deref().map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned)
}

fn long(name: &str, value: Option<&str>, most: usize) -> Result<(), Problem> {
    if value.is_some_and(|text| text.len() > most) {
        return Err(Problem::invalid(name, format!("It may have {most} bytes, not more.")));
    }
    Ok(())
}

fn checked(customer: &Customer) -> Result<(), Problem> {
    long("customer.name", Some(&customer.name), LONGEST.0)?;
    long("customer.email", customer.email.as_deref(), LONGEST.0)?;
    long("customer.phone", customer.phone.as_deref(), LONGEST.0)?;
    let good = |email: &str| {
        let sides = email.rsplit_once('@');
        sides.is_some_and(|(name, host)| !name.is_empty() && !host.is_empty())
            && !email.contains(|c: char| c.is_whitespace() || c.is_control())
    };
    match &customer.email {
        Some(email) if !good(email) => Err(Problem::invalid("customer.email", "That is no mail address.")),
        _ => Ok(()),
    }
}

fn buffer(name: &str, value: Option<&str>) -> Result<Option<i64>, Problem> {
    value.map(|text| length(name, text, BUFFERS)).transpose()
}

fn status(field: &str, text: &str) -> Result<Status, Problem> {
    let found = Status::ALL.into_iter().find(|status| status.as_str() == text);
    found.ok_or_else(|| {
        let all: Vec<&str> = Status::ALL.iter().map(|status| status.as_str()).collect();
        Problem::invalid(field, format!("It is one of {}.", all.join(", ")))
    })
}

fn digest(session: &str) -> String {
    Etag::of(session.as_bytes()).0
}

/// Tells a refusal to whoever asked: what is in the way has a title only for those who may read events.
fn refused(call: &Call, error: Error) -> Problem {
    match error {
        Error::Refused(Refusal::SlotTaken(blocking)) => slot_taken(&blocking, sees_events(call)),
        Error::Refused(Refusal::Missing) => {
            Problem::missing("There is no such booking, or no calendar for it.")
        }
        Error::Refused(Refusal::Forbidden("session")) => {
            Problem::conflict("wrong-session", "It is held for another session.")
        }
        Error::Refused(Refusal::Bad(why)) => Problem::invalid("end", why),
        other => other.into(),
    }
}

/// Says what is in the way: one sentence for whoever would like to book, one for whoever looks after the calendar.
pub(super) fn slot_taken(blocking: &Blocking, sees: bool) -> Problem {
    let zone = Zone::Utc;
    let (start, end) = (text(blocking.start, &zone), text(blocking.end, &zone));
    let title = blocking.title.as_deref().filter(|_| sees);
    let because = taken(&blocking.what, title, None, (&start, &end), blocking.clash);
    let mut document = json!({
        "start": start,
        "end": end,
        "calendar": blocking.calendar.0.to_string(),
    });
    if let (Some(members), Some(title)) = (document.as_object_mut(), title) {
        members.insert("title".into(), json!(title));
    }
    Problem::slot_taken(document, because)
}

pub(super) fn document(booked: &Booked) -> Value {
    let booking = &booked.booking;
    let zone = by_tzid(&booking.time_zone).unwrap_or(Zone::Utc);
    json!({
        "id": booking.id,
        "etag": booked.etag.0,
        "uid": booking.uid,
        "status": booking.status.as_str(),
        "user": booking.owner,
        "calendar": booking.calendar.0.to_string(),
        "start": shown(booking.start, &zone),
        "end": shown(booking.end, &zone),
        "duration": written(booking.end - booking.start),
        "time_zone": booking.time_zone,
        "service": booking.service,
        "customer": {
            "name": booking.customer.name,
            "email": booking.customer.email,
            "phone": booking.customer.phone,
        },
        "location": booking.location,
        "notes": booking.notes,
        "recurrence": booking.recurrence,
        "buffer_before": written(booking.before),
        "buffer_after": written(booking.after),
        "reference": booking.reference,
        "hold_expires_at": time_or_null(booking.expires.filter(|_| {
            matches!(booking.status, Status::Held | Status::Expired)
        })),
        "sequence": booking.sequence,
        "created_at": time(booking.created),
        "updated_at": time(booking.updated),
    })
}

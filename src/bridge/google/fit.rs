//! What of a text Google can hold: it is written as Google is told it, and read as if Google had kept it.
//!
//! Owns: the projection. Pure: the same text, the same answer, and the answer's answer is itself.
//! Does not own: how properties are written and read (`event`).

use bytes::Bytes;
use serde_json::{Value, json};

use super::event::rule::Unheld;
use super::event::split::split;
use super::event::write::{self, Plan};
use super::event::{Event, read};
use super::series::Parts;
use super::wire::shaped;
use crate::bridge::apart;
use crate::bridge::provider::{Fit, Part, Window};
use crate::ical::Ical;
use crate::ical::value::Civil;
use crate::ical::zone::Zone;

/// The longest UID that fits into a mark.
const UID: usize = 1024;

/// Returns what Google can hold of the text.
pub(super) fn fit(ical: &Ical, window: Window) -> Fit {
    let uid = uid(ical);
    if uid.len() > UID {
        return Fit::Refused("The event stays here: its UID is longer than Google Calendar can keep.".into());
    }
    match write::read(ical, &Zone::Utc) {
        Ok(write::Told { plan, apart: None, .. }) => match held(&plan, &uid, ical) {
            Some(bytes) => Fit::Whole(bytes),
            None => Fit::Refused("The event stays here: Google Calendar cannot hold its times.".into()),
        },
        Ok(write::Told { plan, apart: Some(why), from }) => {
            match from.and_then(|from| halves(&plan, from, &uid, ical)) {
                Some(parts) => Fit::Parts(parts, why),
                None => instances(ical, window, why),
            }
        }
        Err(Unheld::Parts(why)) => instances(ical, window, why),
        Err(Unheld::Refused(why)) => Fit::Refused(why),
    }
}

/// Each instance within the window as an event of its own.
fn instances(ical: &Ical, window: Window, why: String) -> Fit {
    let Some(parts) = apart::instances(ical, window, &Zone::Utc) else {
        return Fit::Refused(format!("{why} There are too many of them for that, so the event stays here."));
    };
    let fitted = parts.into_iter().filter_map(|part| {
        let alone = Ical::parse(part.bytes).ok()?;
        let plan = write::plan(&alone, &Zone::Utc).ok()?;
        Some(Part { key: part.key, bytes: held(&plan, &uid(&alone), &alone)? })
    });
    Fit::Parts(fitted.collect(), why)
}

/// The series up to an instance, and the one that it is from there on.
fn halves(plan: &Plan, from: i64, uid: &str, ical: &Ical) -> Option<Vec<Part>> {
    let (one, other) = split(plan, from)?;
    let key = |at: i64| match plan.master.frame().is_date() {
        true => Civil(at).to_date(),
        false => format!("{}Z", Civil(at).to_basic()),
    };
    Some(vec![
        Part { key: key(plan.master.start), bytes: held(&one, uid, ical)? },
        Part { key: key(from), bytes: held(&other, uid, ical)? },
    ])
}

/// Returns the text that Google would give back.
fn held(plan: &Plan, uid: &str, ical: &Ical) -> Option<Bytes> {
    let id = "id";
    let mut master = plan.master.whole(None);
    master.insert("id".into(), id.into());
    if plan.recurs() {
        master.insert("recurrence".into(), plan.recurrence_json(&plan.recurrence.exdates));
    }
    stamp(&mut master, ical);
    let mut parts = Parts::alone(event(Value::Object(master))?);
    for (original, draft) in &plan.overrides {
        let mut body = draft.whole(None);
        body.insert("id".into(), format!("{id}_{original}").into());
        body.insert("recurringEventId".into(), id.into());
        body.insert("originalStartTime".into(), plan.master.frame().json(*original));
        stamp(&mut body, ical);
        parts.exceptions.push(event(Value::Object(body))?);
    }
    read::text(&parts, uid)
}

fn event(body: Value) -> Option<Event> {
    shaped(&body)
}

/// Stamps do not count; these are the object's own, so that nothing of the present gets in.
fn stamp(body: &mut serde_json::Map<String, Value>, ical: &Ical) {
    let component = ical.calendar().and_then(|c| c.named("VEVENT").next());
    let read = |name: &str| {
        let raw = component?.property(name)?.raw().into_owned();
        let civil = Civil::parse(raw.trim())?;
        let ((year, month, day), (hour, minute, second)) = (civil.date(), civil.time());
        Some(json!(format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")))
    };
    let written = read("LAST-MODIFIED").or_else(|| read("DTSTAMP"));
    body.insert("updated".into(), written.unwrap_or_else(|| json!("1970-01-01T00:00:00Z")));
    if let Some(at) = read("CREATED") {
        body.insert("created".into(), at);
    }
}

fn uid(ical: &Ical) -> String {
    let events = ical.calendar().into_iter().flat_map(|calendar| calendar.components());
    let uid = events.filter(|c| c.name() != "VTIMEZONE").find_map(|c| c.property("UID"));
    uid.map(|property| property.raw().trim().to_owned()).unwrap_or_default()
}

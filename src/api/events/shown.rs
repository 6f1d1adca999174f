//! An event as JSON: what the text says, under the names of the document.
//!
//! Owns: reading; which instances of a series are shown as overrides. Does not own: writing (`edit`), times (`when`).
//!
//! The names are a subset of RFC 8984 (JSCalendar) in the spelling of this API. What has no name here stays in the text.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::when::{Form, Timing};
use crate::ical::series::{Instance, Series, Written};
use crate::ical::value::{Civil, DateTime, date_time, date_times};
use crate::ical::zone::Zones;
use crate::ical::{Component, Ical, Property};

/// A document in the making.
pub(super) type Fields = Map<String, Value>;

/// Returns the component that stands for the whole event: the one that is no single instance, else the first.
pub(super) fn master(ical: &Ical) -> Option<Component<'_>> {
    let calendar = ical.calendar()?;
    let mut events = calendar.named("VEVENT");
    events.find(|c| c.property("RECURRENCE-ID").is_none()).or_else(|| calendar.named("VEVENT").next())
}

/// Returns the event as JSON, without what the calendar and the bridge know of it.
pub(super) fn event(ical: &Ical) -> Option<Fields> {
    let zones = Zones::of(ical);
    let master = master(ical)?;
    let mut fields = component(master, zones);
    fields.insert("uid".into(), json!(master.property("UID").map(|uid| uid.raw().trim().to_owned())));
    let recurrence: Vec<String> =
        ["RRULE", "RDATE"].iter().flat_map(|name| master.all(name)).map(|p| p.logical()).collect();
    fields.insert("recurrence".into(), json!(recurrence));
    fields.insert("overrides".into(), Value::Object(overrides(ical, master, zones)));
    fields.insert("sequence".into(), json!(number(master.property("SEQUENCE"))));
    fields.insert("created_at".into(), stamp(master.property("CREATED")));
    fields
        .insert("updated_at".into(), stamp(master.property("LAST-MODIFIED").or(master.property("DTSTAMP"))));
    fields.insert("organizer".into(), master.property("ORGANIZER").map_or(Value::Null, |p| person(&p)));
    fields.insert("attendees".into(), master.all("ATTENDEE").map(|p| person(&p)).collect());
    Some(fields)
}

/// Returns what one component says, whether it stands for the whole or for one instance.
pub(super) fn component(component: Component<'_>, zones: Zones<'_>) -> Fields {
    let mut fields = Fields::new();
    let text = |name: &str| component.property(name).map(|p| p.text());
    fields.insert("title".into(), json!(text("SUMMARY")));
    fields.insert("description".into(), json!(text("DESCRIPTION")));
    fields.insert("location".into(), json!(text("LOCATION")));
    fields.insert("url".into(), json!(component.property("URL").map(|p| p.raw().into_owned())));
    fields.insert("color".into(), json!(text("COLOR")));
    if let Some(timing) = Timing::of(component, zones) {
        times(&mut fields, &timing);
    }
    fields.insert("status".into(), json!(status(component)));
    let free = word(component, "TRANSP") == "TRANSPARENT";
    fields.insert("free_busy".into(), json!(if free { "free" } else { "busy" }));
    fields.insert("privacy".into(), json!(privacy(component)));
    let categories = component.all("CATEGORIES").flat_map(|p| listed(&p)).collect::<Vec<_>>();
    fields.insert("categories".into(), json!(categories));
    fields.insert("alerts".into(), component.named("VALARM").map(alert).collect());
    fields
}

/// Puts the times into a document.
pub(super) fn times(fields: &mut Fields, timing: &Timing) {
    fields.insert("start".into(), json!(timing.form.shown(timing.start)));
    fields.insert("end".into(), json!(timing.end_form.shown(timing.end)));
    fields.insert("duration".into(), json!(timing.shown_length()));
    fields.insert("time_zone".into(), json!(timing.form.zone_name()));
    fields.insert("all_day".into(), json!(timing.form == Form::Date));
}

fn word(component: Component<'_>, name: &str) -> String {
    component.property(name).map(|p| p.raw().trim().to_ascii_uppercase()).unwrap_or_default()
}

fn status(component: Component<'_>) -> &'static str {
    match word(component, "STATUS").as_str() {
        "TENTATIVE" => "tentative",
        "CANCELLED" => "cancelled",
        _ => "confirmed",
    }
}

fn privacy(component: Component<'_>) -> &'static str {
    match word(component, "CLASS").as_str() {
        "PRIVATE" => "private",
        "CONFIDENTIAL" => "confidential",
        // RFC 5545 §3.8.1.3: what is not known is private.
        "" | "PUBLIC" => "public",
        _ => "private",
    }
}

/// RFC 5545 §3.3.11: commas part values unless they are escaped.
fn listed(property: &Property<'_>) -> Vec<String> {
    let raw = property.raw();
    let (mut all, mut one, mut escaped) = (Vec::new(), String::new(), false);
    for c in raw.chars() {
        if c == ',' && !escaped {
            all.push(std::mem::take(&mut one));
            continue;
        }
        escaped = c == '\\' && !escaped;
        one.push(c);
    }
    all.push(one);
    all.iter()
        .map(|text| crate::ical::value::unescape(text).trim().to_owned())
        .filter(|t| !t.is_empty())
        .collect()
}

/// Returns a reminder.
pub(super) fn alert(alarm: Component<'_>) -> Value {
    let trigger = alarm.property("TRIGGER");
    let end =
        trigger.as_ref().and_then(|t| t.parameter("RELATED")).is_some_and(|r| r.eq_ignore_ascii_case("END"));
    let raw = trigger.map(|t| t.raw().trim().to_owned()).unwrap_or_default();
    // RFC 5545 §3.8.6.3: an instant in UTC, or a duration.
    let shown = match DateTime::parse(&raw, None) {
        Some(DateTime::Utc(civil)) => Form::Utc.shown(civil),
        _ => raw,
    };
    json!({
        "trigger": shown,
        "related": if end { "end" } else { "start" },
        "action": alarm.property("ACTION").map_or_else(|| "display".to_owned(), |a| a.raw().trim().to_ascii_lowercase()),
        "description": alarm.property("DESCRIPTION").map(|d| d.text()),
    })
}

fn person(property: &Property<'_>) -> Value {
    let raw = property.raw();
    let address = raw.trim();
    let mail = address
        .get(..7)
        .filter(|scheme| scheme.eq_ignore_ascii_case("mailto:"))
        .and_then(|_| address.get(7..));
    let lower = |name: &str| property.parameter(name).map(|value| value.to_ascii_lowercase());
    json!({
        "email": mail,
        "address": address,
        "name": property.parameter("CN"),
        "status": lower("PARTSTAT"),
        "role": lower("ROLE"),
    })
}

fn number(property: Option<Property<'_>>) -> u32 {
    property.and_then(|p| p.raw().trim().parse().ok()).unwrap_or(0)
}

fn stamp(property: Option<Property<'_>>) -> Value {
    match property.and_then(|p| date_time(&p)) {
        Some(time) => json!(Form::Utc.shown(time.civil())),
        None => Value::Null,
    }
}

/// Returns the wall-clock time in the series' own form of a time that names one of its instances.
pub(super) fn place(form: &Form, time: &DateTime, zones: Zones<'_>) -> Civil {
    let own = Form::of(time, zones);
    match (form, &own) {
        (Form::Date, _) => time.civil().midnight(),
        (Form::Floating, _) | (_, Form::Date | Form::Floating) => time.civil(),
        _ => form.civil(own.instant(time.civil())),
    }
}

/// What differs from the rule: days left out, and instances with fields of their own.
fn overrides(ical: &Ical, master: Component<'_>, zones: Zones<'_>) -> Fields {
    let mut found: BTreeMap<String, Value> = BTreeMap::new();
    let Some(timing) = Timing::of(master, zones) else { return Fields::new() };
    for property in master.all("EXDATE") {
        for moment in date_times(&property).0 {
            let key = timing.form.key(place(&timing.form, &moment.start, zones));
            found.insert(key, json!({ "excluded": true }));
        }
    }
    let general = std::cell::OnceCell::new();
    let calendar = ical.calendar();
    for event in calendar.iter().flat_map(|calendar| calendar.named("VEVENT")) {
        let Some(id) = event.property("RECURRENCE-ID") else { continue };
        let Some(time) = date_time(&id) else { continue };
        let civil = place(&timing.form, &time, zones);
        let mut usual: Fields = general.get_or_init(|| component(master, zones)).clone();
        times(&mut usual, &timing.beginning(civil));
        let mut own = component(event, zones);
        own.retain(|name, value| usual.get(name) != Some(value));
        if id.parameter("RANGE").is_some_and(|range| range.eq_ignore_ascii_case("THISANDFUTURE")) {
            own.insert("range".into(), json!("this_and_future"));
        }
        found.insert(timing.form.key(civil), Value::Object(own));
    }
    found.into_iter().collect()
}

/// Returns the JSON of one instance: what its component says, at its own time.
pub(super) fn instance(ical: &Ical, series: &Series, instance: &Instance) -> Option<Fields> {
    let zones = Zones::of(ical);
    let whole = master(ical)?;
    let usual = Timing::of(whole, zones)?;
    let own = ical.calendar()?.components().nth(instance.component)?;
    let form = Timing::of(own, zones).map_or(usual.form.clone(), |timing| timing.form);
    let civil = |written: Written, instant: i64| match written {
        Written::Date(civil) | Written::Floating(civil) => civil,
        Written::Utc(_) => form.civil(instant),
    };
    let mut fields = component(own, zones);
    let timing = Timing {
        start: civil(instance.starts, instance.start),
        end: civil(instance.ends, instance.end),
        end_form: form.clone(),
        form: form.clone(),
        duration: None,
    };
    times(&mut fields, &timing);
    fields.insert("uid".into(), json!(whole.property("UID").map(|uid| uid.raw().trim().to_owned())));
    let key = instance.recurrence_id.filter(|_| series.recurs()).map(|id| match id {
        Written::Date(civil) | Written::Floating(civil) => usual.form.key(civil),
        Written::Utc(instant) => usual.form.key(usual.form.civil(instant)),
    });
    fields.insert("recurrence_id".into(), json!(key));
    Some(fields)
}

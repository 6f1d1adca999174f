//! What an event has to be to be kept, and what becomes of it.
//!
//! Owns: the rules of values, defaults that are not kept, what the service rewrites. Does not own: names and types (`schema`).

use serde_json::{Map, Value, json};

use super::refusal::{Outcome, Refusal};
use super::series::{self, zone_of};
use super::state::{Fields, State, recurs};
use super::time::Moment;
use crate::ical::zone::Zone;

/// What a field is when nothing is said: not kept, not shown.
const USUAL: &[(&str, Value)] = &[
    ("guestsCanInviteOthers", Value::Bool(true)),
    ("guestsCanSeeOtherGuests", Value::Bool(true)),
    ("guestsCanModify", Value::Bool(false)),
    ("anyoneCanAddSelf", Value::Bool(false)),
    ("privateCopy", Value::Bool(false)),
    ("attendeesOmitted", Value::Bool(false)),
];

/// Puts an event in the shape in which it is kept.
pub(super) fn shaped(state: &State, mut fields: Fields, usual: &Zone) -> Outcome<Fields> {
    rewrite(state, &mut fields);
    times(&mut fields, usual)?;
    reminders(&mut fields)?;
    properties(&mut fields);
    values(&fields)?;
    fields.retain(|name, value| {
        let usual = USUAL.iter().any(|(known, usual)| known == name && usual == value);
        let default = matches!(
            (name.as_str(), value.as_str()),
            ("transparency", Some("opaque")) | ("visibility", Some("default"))
        );
        let nothing =
            value.is_null() || value.as_str() == Some("") || value.as_array().is_some_and(Vec::is_empty);
        !usual && !default && !nothing
    });
    fields.entry("status").or_insert_with(|| json!("confirmed"));
    fields.entry("eventType").or_insert_with(|| json!("default"));
    fields.entry("sequence").or_insert_with(|| json!(0));
    Ok(fields)
}

fn times(fields: &mut Fields, usual: &Zone) -> Outcome<()> {
    let read = |name: &str| -> Outcome<Moment> {
        let value = fields.get(name).filter(|value| !value.is_null());
        let value = value.ok_or_else(|| Refusal::required(format!("Missing {name} time.")))?;
        let told = value.get("timeZone").is_some_and(Value::is_string);
        let moment = Moment::read(value, name, usual)?;
        if recurs(fields) && !told && !moment.is_day() && name == "start" {
            return Err(Refusal::required("Missing time zone definition for start time."));
        }
        Ok(moment)
    };
    let (start, end) = (read("start")?, read("end")?);
    if start.is_day() != end.is_day() {
        return Err(Refusal::invalid("end", "Invalid end time: a date and a time do not go together."));
    }
    if end.seconds() <= start.seconds() {
        return Err(Refusal::time_range_empty());
    }
    fields.insert("start".into(), start.render(zone_of(&start)));
    fields.insert("end".into(), end.render(zone_of(&end)));
    if recurs(fields) {
        series::check(fields)?;
    }
    Ok(())
}

fn reminders(fields: &mut Fields) -> Outcome<()> {
    let Some(Value::Object(reminders)) = fields.get_mut("reminders") else {
        fields.insert("reminders".into(), json!({ "useDefault": true }));
        return Ok(());
    };
    let overrides = reminders.get("overrides").and_then(Value::as_array).cloned().unwrap_or_default();
    if overrides.is_empty() {
        reminders.remove("overrides");
    } else if reminders.get("useDefault") == Some(&Value::Bool(true)) {
        let message = "Cannot specify both default reminders and overrides at the same time.";
        return Err(Refusal::calendar(400, "cannotUseDefaultRemindersAndSpecifyOverride", message));
    }
    reminders.entry("useDefault").or_insert(json!(false));
    if overrides.len() > 5 {
        return Err(Refusal::invalid("reminders.overrides", "Too many reminder overrides."));
    }
    for reminder in &overrides {
        let minutes = reminder.get("minutes").and_then(Value::as_i64);
        if reminder.get("method").and_then(Value::as_str).is_none() {
            return Err(Refusal::required("Missing reminder method."));
        }
        if !minutes.is_some_and(|minutes| (0..=40_320).contains(&minutes)) {
            return Err(Refusal::invalid("reminders.overrides.minutes", "Invalid reminder minutes."));
        }
    }
    Ok(())
}

/// Extended properties: what is too long is cut or left out without a word.
fn properties(fields: &mut Fields) {
    let Some(Value::Object(both)) = fields.get_mut("extendedProperties") else { return };
    for kind in ["private", "shared"] {
        let Some(Value::Object(map)) = both.get_mut(kind) else { continue };
        map.retain(|key, value| !key.is_empty() && key.chars().count() <= 44 && value.is_string());
        for value in map.values_mut() {
            if let Some(text) = value.as_str().filter(|text| text.chars().count() > 1024) {
                *value = json!(text.chars().take(1024).collect::<String>());
            }
        }
        let kept: Map<String, Value> =
            map.iter().take(300).map(|(key, value)| (key.clone(), value.clone())).collect();
        *map = kept;
    }
    both.retain(|_, map| map.as_object().is_some_and(|map| !map.is_empty()));
    if both.is_empty() {
        fields.remove("extendedProperties");
    }
}

fn values(fields: &Fields) -> Outcome<()> {
    let text = |name: &str| fields.get(name).and_then(Value::as_str);
    if text("colorId")
        .is_some_and(|color| !color.parse::<u8>().is_ok_and(|number| (1..=11).contains(&number)))
    {
        return Err(Refusal::invalid("colorId", "Invalid color ID."));
    }
    if let Some(Value::String(url)) = fields.get("source").and_then(|source| source.get("url"))
        && !url.starts_with("http://")
        && !url.starts_with("https://")
    {
        return Err(Refusal::invalid("source.url", "Invalid source URL."));
    }
    let list = |name: &str| fields.get(name).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    if list("attachments").len() > 25 {
        return Err(Refusal::invalid("attachments", "Too many attachments."));
    }
    if list("attendees")
        .iter()
        .any(|guest| guest.get("email").and_then(Value::as_str).is_none_or(|m| !m.contains('@')))
    {
        return Err(Refusal::invalid("attendees.email", "Invalid attendee email."));
    }
    Ok(())
}

/// What the service does to fields on its own: see `docs/simulators.md` for the names.
fn rewrite(state: &State, fields: &mut Fields) {
    for (field, how) in &state.manners {
        let whole = |text: &str| -> Option<String> {
            Some(match how.as_str() {
                "html" if text.contains('<') => text.to_owned(),
                "html" => format!("<p>{}</p>", text.replace("\r\n", "\n").replace('\n', "<br>")),
                "trim" => text.split_whitespace().collect::<Vec<_>>().join(" "),
                "lower" => text.to_lowercase(),
                "crlf" => text.replace("\r\n", "\n").replace('\n', "\r\n"),
                _ => return None,
            })
        };
        match (how.as_str(), fields.get_mut(field)) {
            ("drop", Some(_)) => {
                fields.remove(field);
            }
            // `2026-01-01T09:00:30Z` → `2026-01-01T09:00:00Z`
            ("minute", Some(Value::Object(moment))) => {
                if let Some(Value::String(time)) = moment.get_mut("dateTime")
                    && time.get(17..19).is_some()
                {
                    time.replace_range(17..19, "00");
                }
            }
            ("zone_alias", Some(Value::Object(moment))) => {
                for (from, to) in [("Asia/Kolkata", "Asia/Calcutta"), ("Europe/Kyiv", "Europe/Kiev")] {
                    if moment.get("timeZone").and_then(Value::as_str) == Some(from) {
                        moment.insert("timeZone".into(), json!(to));
                    }
                }
            }
            (_, Some(Value::String(text))) => {
                if let Some(other) = whole(text) {
                    *text = other;
                }
            }
            _ => {}
        }
    }
}

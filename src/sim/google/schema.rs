//! Holds every request to the tables of types and calls.
//!
//! Owns: which call a path is, unknown and mistyped fields and parameters. Does not own: what a call does.
//!
//! The real service overlooks some of this. A simulator that does so, too, would let a wrong request pass every test.

use http::Method;
use serde_json::{Map, Value, json};

use super::calls::{CALLS, Call, EVERYWHERE};
use super::refusal::{Outcome, Refusal};
use super::time;
use super::types::TYPES;
use crate::sim::Request;

/// What the path of every call begins with.
pub(super) const BASE: &str = "/calendar/v3/";

/// A call and what stands in its path.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) call: &'static Call,
    /// The values of the path's variables, decoded, in order.
    pub(super) path: Vec<String>,
}

/// Returns the call that a method and a path mean.
pub(super) fn asked(method: &Method, path: &str) -> Outcome<Asked> {
    let below = path.strip_prefix(BASE).ok_or_else(Refusal::not_found)?;
    let segments: Vec<&str> = below.split('/').collect();
    let fitting = CALLS.iter().filter(|call| call.method == method.as_str());
    // A path without variables is meant before one with them: `events/import` is no event.
    let mut best: Option<Asked> = None;
    for call in fitting {
        if let Some(path) = variables(call.path, &segments)
            && best.as_ref().is_none_or(|found| path.len() < found.path.len())
        {
            best = Some(Asked { call, path });
        }
    }
    best.ok_or_else(Refusal::not_found)
}

fn variables(pattern: &str, segments: &[&str]) -> Option<Vec<String>> {
    let mut found = Vec::new();
    let mut rest = segments.iter();
    for part in pattern.split('/') {
        let segment = rest.next()?;
        if part.starts_with('{') {
            if segment.is_empty() {
                return None;
            }
            found.push(crate::sim::decode(segment));
        } else if part != *segment {
            return None;
        }
    }
    rest.next().is_none().then_some(found)
}

/// Refuses parameters that the call does not know, that are mistyped, or that are missing.
pub(super) fn check_query(call: &Call, request: &Request) -> Outcome<()> {
    for (index, (name, value)) in request.query.iter().enumerate() {
        let known = call.query.iter().chain(EVERYWHERE).find(|(known, _)| known == name);
        let Some((_, kind)) = known else {
            let message = format!("Unknown name \"{name}\": this call has no such parameter.");
            return Err(Refusal::parameter(name, message));
        };
        let (kind, repeated) = match kind.trim_end_matches(" !").strip_suffix(" *") {
            Some(kind) => (kind, true),
            None => (kind.trim_end_matches(" !"), false),
        };
        if !repeated && request.query.iter().take(index).any(|(before, _)| before == name) {
            return Err(Refusal::parameter(name, format!("{name} may be given once only.")));
        }
        check_parameter(name, value, kind)?;
    }
    for (name, _) in call.query.iter().filter(|(_, kind)| kind.ends_with(" !")) {
        if request.parameter(name).is_none() {
            return Err(Refusal::required(format!("Required parameter: {name}")));
        }
    }
    Ok(())
}

fn check_parameter(name: &str, value: &str, kind: &str) -> Outcome<()> {
    let (kind, range) = kind.split_once(' ').unwrap_or((kind, ""));
    let good = match kind {
        "string" => true,
        "boolean" => matches!(value, "true" | "false"),
        "int32" => value.parse::<i32>().is_ok_and(|number| {
            let (low, high) = range.split_once("..").unwrap_or_default();
            low.parse().is_ok_and(|low: i32| number >= low) | low.is_empty()
                && high.parse().is_ok_and(|high: i32| number <= high) | high.is_empty()
        }),
        "date-time" => time::instant(value).is_some(),
        values => values.split('|').any(|allowed| allowed == value),
    };
    if good { Ok(()) } else { Err(Refusal::parameter(name, format!("Invalid value for {name}."))) }
}

/// Reads the body as an object of that type and takes out what is only read.
pub(super) fn check_body(name: &str, body: &[u8]) -> Outcome<Map<String, Value>> {
    let Ok(Value::Object(mut object)) = serde_json::from_slice::<Value>(body) else {
        return Err(Refusal::parse());
    };
    check_object(name, name, &mut object)?;
    Ok(object)
}

fn check_object(place: &str, name: &str, object: &mut Map<String, Value>) -> Outcome<()> {
    let fields = TYPES.iter().find(|(known, _)| *known == name).map_or(&[][..], |(_, fields)| fields);
    let mut only_read = Vec::new();
    for (key, value) in object.iter_mut() {
        let place = format!("{place}.{key}");
        let Some((_, kind)) = fields.iter().find(|(known, _)| known == key) else {
            return Err(Refusal::invalid(&place, format!("Unknown name \"{key}\": Cannot find field.")));
        };
        let (kind, read) = kind.strip_suffix(" ro").map_or((*kind, false), |kind| (kind, true));
        check_value(&place, kind, value)?;
        if read {
            only_read.push(key.clone());
        }
    }
    for key in only_read {
        object.remove(&key);
    }
    Ok(())
}

fn check_value(place: &str, kind: &str, value: &mut Value) -> Outcome<()> {
    let bad = || Refusal::invalid(place, format!("Invalid value at '{place}'."));
    if value.is_null() {
        return Ok(());
    }
    if let Some(inner) = kind.strip_prefix('[').and_then(|kind| kind.strip_suffix(']')) {
        let Value::Array(items) = value else { return Err(bad()) };
        for item in items {
            if item.is_null() {
                return Err(bad());
            }
            check_value(place, inner, item)?;
        }
        return Ok(());
    }
    if let Some(inner) = kind.strip_prefix("map ") {
        let Value::Object(map) = value else { return Err(bad()) };
        return map.values_mut().try_for_each(|value| check_value(place, inner, value));
    }
    let good = match kind {
        "any" => true,
        "boolean" => value.is_boolean(),
        "string" => value.is_string(),
        "int32" => value.as_i64().is_some_and(|number| i32::try_from(number).is_ok()),
        "int64" => value.as_str().is_some_and(|text| text.parse::<i64>().is_ok()),
        "date" => value.as_str().is_some_and(|text| time::day(text).is_some()),
        "date-time" => value.as_str().is_some_and(|text| time::date_time(text).is_some()),
        _ if kind.contains('|') => {
            value.as_str().is_some_and(|text| kind.split('|').any(|allowed| allowed == text))
        }
        // A list of one value is an enumeration, too, as long as no type has that name.
        _ if !TYPES.iter().any(|(known, _)| *known == kind) => value.as_str() == Some(kind),
        _ => {
            let Value::Object(object) = value else { return Err(bad()) };
            return check_object(place, kind, object);
        }
    };
    if good { Ok(()) } else { Err(bad()) }
}

/// Returns both tables, so that they can be compared with Google's own description of the interface.
pub(super) fn table() -> Value {
    let pairs = |pairs: &[(&str, &str)]| -> Map<String, Value> {
        pairs.iter().map(|(name, kind)| ((*name).to_owned(), json!(kind))).collect()
    };
    let types: Map<String, Value> =
        TYPES.iter().map(|(name, fields)| ((*name).to_owned(), Value::Object(pairs(fields)))).collect();
    let calls: Vec<Value> = CALLS
        .iter()
        .map(|call| {
            json!({ "id": call.id, "method": call.method, "path": call.path, "body": call.body, "query": pairs(call.query),
                "scopes": call.scopes })
        })
        .collect();
    json!({ "types": types, "calls": calls, "everywhere": pairs(EVERYWHERE) })
}

/// Leaves only what the `fields` parameter names: `items(id,start/dateTime),nextPageToken`.
pub(super) fn select(value: &Value, fields: &str) -> Value {
    match value {
        Value::Array(items) => items.iter().map(|item| select(item, fields)).collect(),
        Value::Object(object) => {
            let mut kept = Map::new();
            for wanted in split(fields) {
                let (name, below) = match wanted.find(['(', '/']) {
                    Some(at) => {
                        let (name, below) = wanted.split_at(at);
                        let inner = below.strip_prefix('(').and_then(|below| below.strip_suffix(')'));
                        (name, inner.or_else(|| below.strip_prefix('/')).unwrap_or("*"))
                    }
                    None => (wanted, "*"),
                };
                for (key, value) in object.iter().filter(|(key, _)| name == "*" || *key == name) {
                    let part = if below == "*" { value.clone() } else { select(value, below) };
                    match (kept.get_mut(key), part) {
                        (Some(Value::Object(before)), Value::Object(part)) => before.extend(part),
                        (_, part) => {
                            kept.insert(key.clone(), part);
                        }
                    }
                }
            }
            Value::Object(kept)
        }
        other => other.clone(),
    }
}

/// Splits at the commas that are in no brackets.
fn split(fields: &str) -> Vec<&str> {
    let (mut parts, mut depth, mut from) = (Vec::new(), 0usize, 0usize);
    for (at, letter) in fields.char_indices() {
        match letter {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                parts.extend(fields.get(from..at));
                from = at + 1;
            }
            _ => {}
        }
    }
    parts.extend(fields.get(from..));
    parts
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn every_type_that_is_named_exists() {
        for (name, fields) in TYPES {
            for (field, kind) in *fields {
                let kind = kind.trim_end_matches(" ro").trim_start_matches("map ");
                let kind = kind.trim_start_matches('[').trim_end_matches(']');
                if kind.starts_with(|c: char| c.is_ascii_uppercase()) {
                    assert!(TYPES.iter().any(|(known, _)| *known == kind), "{name}.{field} is a {kind}");
                }
            }
        }
        for call in CALLS {
            assert!(
                call.body.is_none_or(|body| TYPES.iter().any(|(known, _)| *known == body)),
                "{}",
                call.id
            );
        }
    }

    #[test]
    fn what_is_unknown_or_mistyped_is_refused() {
        let check = |value: Value| check_body("Event", value.to_string().as_bytes());
        let good = json!({ "summary": "a", "start": { "date": "2026-01-01" }, "kind": "calendar#event", "etag": "x",
            "reminders": { "useDefault": false, "overrides": [{ "method": "popup", "minutes": 5 }] },
            "extendedProperties": { "private": { "a": "b" } }, "location": null });
        let read = check(good).unwrap();
        assert!(!read.contains_key("etag") && !read.contains_key("kind") && read["location"].is_null());
        for wrong in [
            json!({ "title": "a" }),
            json!({ "summary": 1 }),
            json!({ "start": { "day": "2026-01-01" } }),
            json!({ "start": { "date": "2026-02-30" } }),
            json!({ "start": "2026-01-01" }),
            json!({ "status": "CONFIRMED" }),
            json!({ "reminders": { "overrides": [{ "minutes": "5" }] } }),
            json!({ "extendedProperties": { "private": { "a": 1 } } }),
            json!({ "sequence": 1u64 << 40 }),
            json!([]),
        ] {
            assert!(check(wrong.clone()).is_err(), "{wrong}");
        }
        assert!(check_body("Channel", br#"{"expiration":1}"#).is_err());
        assert!(check_body("Channel", br#"{"expiration":"1"}"#).is_ok());
    }

    #[test]
    fn a_path_is_one_call() {
        for (method, path, want) in [
            (Method::POST, "/calendar/v3/calendars/a/events/import", "events.import"),
            (Method::GET, "/calendar/v3/calendars/a%40b/events/x", "events.get"),
            (Method::POST, "/calendar/v3/calendars/a/events/watch", "events.watch"),
            (Method::GET, "/calendar/v3/users/me/calendarList", "calendarList.list"),
        ] {
            assert_eq!(asked(&method, path).unwrap().call.id, want);
        }
        assert_eq!(asked(&Method::GET, "/calendar/v3/calendars/a%40b/events/x").unwrap().path, ["a@b", "x"]);
        assert!(asked(&Method::PUT, "/calendar/v3/colors").is_err());
        assert!(asked(&Method::GET, "/calendar/v3/calendars//events").is_err());
    }

    #[test]
    fn fields_leave_a_part() {
        let whole = json!({ "items": [{ "id": 1, "start": { "date": "a", "timeZone": "b" } }], "etag": "x", "kind": "k" });
        let part = select(&whole, "items(id,start/date),etag");
        assert_eq!(part, json!({ "items": [{ "id": 1, "start": { "date": "a" } }], "etag": "x" }));
        assert_eq!(select(&whole, "*"), whole);
        assert_eq!(select(&whole, "items/id"), json!({ "items": [{ "id": 1 }] }));
    }
}

//! The OpenAPI 3.1 document, made from the route table.
//!
//! Owns: how routes and what is told of them become the document. Does not own: the routes (`routes`), the schemas
//! (`schemas.json`).

use std::sync::LazyLock;

use http::Method;
use serde_json::{Map, Value, json};

use super::told::{Content, Kind, Parameter};
use super::{PREFIX, Route, routes};
use crate::webhook::{EVENTS, TEST};

/// What every program must expect, whatever it asks for.
const ALWAYS: &[u16] = &[401, 403, 429, 503];

/// Names the schemas of bodies and answers.
const SCHEMAS: &str = include_str!("schemas.json");

/// The document. It is the same for every server; the address is where it was asked for.
pub(super) static DOCUMENT: LazyLock<Value> = LazyLock::new(document);

/// Returns the document as it is printed.
pub fn text() -> String {
    serde_json::to_string_pretty(&*DOCUMENT).unwrap_or_default()
}

fn document() -> Value {
    let mut paths: Map<String, Value> = Map::new();
    for route in routes::ROUTES {
        let path = paths.entry(format!("{PREFIX}{}", route.path)).or_insert_with(|| json!({}));
        if let Some(path) = path.as_object_mut() {
            path.insert(route.method.as_str().to_ascii_lowercase(), operation(route));
        }
    }
    let mut tags: Vec<&str> = Vec::new();
    for route in routes::ROUTES {
        if !tags.contains(&route.told.tag) {
            tags.push(route.told.tag);
        }
    }
    // A test reads the file; it is part of the program.
    let schemas: Value = serde_json::from_str(SCHEMAS).unwrap_or_default();
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Kalends",
            "version": env!("CARGO_PKG_VERSION"),
            "summary": "Calendars, bookings and bridges to other calendars.",
            "license": { "name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0" },
        },
        "servers": [{ "url": "/" }],
        "security": [{ "token": [] }],
        "tags": tags.iter().map(|tag| json!({ "name": tag })).collect::<Vec<_>>(),
        "paths": paths,
        "webhooks": webhooks(),
        "components": {
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A token of `kalends token add`, with the scopes that it was given.",
                },
            },
            "schemas": schemas,
        },
    })
}

/// What receivers of webhooks are sent, by the name of the event (OpenAPI 3.1 §4.8.1).
fn webhooks() -> Value {
    let mut all = Map::new();
    for kind in EVENTS.iter().chain([&TEST]) {
        let schema = match kind.split('.').next().unwrap_or_default() {
            "event" => "EventMessage",
            "calendar" => "CalendarMessage",
            "booking" | "hold" => "BookingMessage",
            "availability" => "AvailabilityMessage",
            "conflict" => "ConflictMessage",
            "sync" => "SyncMessage",
            _ => "TestMessage",
        };
        let header = |name: &str, what: &str| json!({ "name": name, "in": "header", "required": true, "description": what, "schema": { "type": "string" } });
        all.insert(
            (*kind).to_owned(),
            json!({ "post": {
                "tags": ["Webhooks"],
                "summary": format!("`{kind}` is sent to whoever subscribed."),
                "parameters": [
                    header("webhook-id", "The same in every attempt."),
                    header("webhook-timestamp", "Seconds since 1970, of this attempt."),
                    header("webhook-signature", "Signatures as Standard Webhooks has them, parted by blanks."),
                ],
                "requestBody": {
                    "required": true,
                    "content": { "application/json": { "schema": reference(schema) } },
                },
                "responses": { "2XX": { "description": "It was taken." } },
                "security": [],
            } }),
        );
    }
    Value::Object(all)
}

fn operation(route: &Route) -> Value {
    let told = &route.told;
    let mut operation = json!({
        "tags": [told.tag],
        "summary": told.summary,
        "operationId": identifier(route),
        "responses": responses(route),
    });
    let scopes: Vec<&str> = route.scopes.iter().map(|scope| scope.as_str()).collect();
    let needs = match scopes.as_slice() {
        [] => "Any token will do.".to_owned(),
        scopes => format!("Needs one of the scopes: `{}`.", scopes.join("`, `")),
    };
    let Some(members) = operation.as_object_mut() else { return operation };
    members.insert("description".into(), json!(needs));
    let mut parameters: Vec<Value> = names(route.path).map(in_path).collect();
    parameters.extend(told.query.iter().map(in_query));
    if told.conditional {
        parameters.push(json!({
            "name": "If-Match",
            "in": "header",
            "description": "The `etag` that was read (RFC 9110 §13.1.1); it is refused with 412 if it changed since.",
            "schema": { "type": "string" },
        }));
    }
    if route.method == Method::POST {
        parameters.push(json!({
            "name": "Idempotency-Key",
            "in": "header",
            "description": "A name for this very wish: repeated within 24 hours, the first answer is given again.",
            "schema": { "type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$" },
        }));
    }
    if !parameters.is_empty() {
        members.insert("parameters".into(), json!(parameters));
    }
    if !told.body.is_empty() {
        let body = json!({ "required": told.needs_body, "content": contents(told.body.iter()) });
        members.insert("requestBody".into(), body);
    }
    operation
}

/// `get_calendars_calendar_events`.
fn identifier(route: &Route) -> String {
    let path: String = route
        .path
        .chars()
        .filter(|c| !matches!(c, '{' | '}'))
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' })
        .collect();
    format!("{}{path}", route.method.as_str().to_ascii_lowercase())
}

/// The names between braces.
fn names(path: &'static str) -> impl Iterator<Item = &'static str> {
    path.split('/').filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}'))
}

fn in_path(name: &str) -> Value {
    json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string", "minLength": 1 } })
}

fn in_query(parameter: &Parameter) -> Value {
    let schema = match parameter.kind {
        Kind::Text => json!({ "type": "string" }),
        Kind::Shape(pattern) => json!({ "type": "string", "pattern": pattern }),
        Kind::Flag => json!({ "type": "boolean" }),
        Kind::Number(from, to) => json!({ "type": "integer", "minimum": from, "maximum": to }),
        Kind::Word(words) => json!({ "type": "string", "enum": words }),
        Kind::Moment => json!({ "type": "string", "format": "date-time" }),
        Kind::Duration => json!({ "type": "string", "format": "duration" }),
    };
    json!({
        "name": parameter.name,
        "in": "query",
        "required": parameter.needed,
        "description": parameter.what,
        "schema": schema,
    })
}

fn contents<'a>(all: impl Iterator<Item = &'a Content>) -> Value {
    let mut content = Map::new();
    for one in all {
        let (media, schema) = match one {
            Content::Empty => continue,
            Content::Json(name) => ("application/json", reference(name)),
            Content::List(name) => ("application/json", list(name)),
            // Of a stream it says what an event is: docs/changes.md does.
            Content::Text(media @ "text/event-stream") => (*media, json!({})),
            Content::Text(media) => (*media, json!({ "type": "string" })),
        };
        content.insert(media.to_owned(), json!({ "schema": schema }));
    }
    Value::Object(content)
}

fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

fn list(name: &str) -> Value {
    json!({
        "type": "object",
        "required": ["items", "next_cursor"],
        "properties": {
            "items": { "type": "array", "items": reference(name) },
            "next_cursor": { "type": ["string", "null"] },
        },
    })
}

fn responses(route: &Route) -> Value {
    let told = &route.told;
    let mut all: Map<String, Value> = Map::new();
    for (status, content) in told.gives {
        let entry =
            all.entry(status.to_string()).or_insert_with(|| json!({ "description": meaning(*status) }));
        let told = contents(std::iter::once(content));
        if let (Some(entry), Value::Object(more)) = (entry.as_object_mut(), told)
            && !more.is_empty()
        {
            let content = entry.entry("content").or_insert_with(|| json!({}));
            if let Some(content) = content.as_object_mut() {
                content.extend(more);
            }
        }
    }
    for status in refusals(route) {
        all.entry(status.to_string()).or_insert_with(|| {
            json!({
                "description": meaning(status),
                "content": { "application/problem+json": { "schema": reference("Problem") } },
            })
        });
    }
    Value::Object(all)
}

/// Returns the statuses of all refusals that the route may answer with.
pub(super) fn refusals(route: &Route) -> Vec<u16> {
    let told = &route.told;
    let mut all = ALWAYS.to_vec();
    // A parameter may be given twice, or not be what it should be.
    all.extend((!told.query.is_empty()).then_some(422));
    all.extend(names(route.path).next().map(|_| 404));
    all.extend(told.conditional.then_some(412));
    if route.method != Method::GET {
        // A body that is none, is too long, is of another type, is not as it should be; a full disk.
        all.extend([400, 413, 415, 422, 507]);
    }
    if route.method == Method::POST {
        all.push(409);
    }
    all.extend(told.refuses);
    all.sort_unstable();
    all.dedup();
    all
}

fn meaning(status: u16) -> &'static str {
    match status {
        200 => "As asked.",
        201 => "It was made.",
        202 => "It has begun.",
        204 => "Done.",
        304 => "Nothing changed since.",
        400 => "The request cannot be read.",
        401 => "There is no token, or it is not one of this server.",
        403 => "The token does not allow that.",
        404 => "There is no such thing.",
        409 => "It cannot be done as things are.",
        410 => "The position is unknown or too old.",
        412 => "It was changed since it was read.",
        413 => "The body is too long.",
        415 => "The body is of another type.",
        422 => "A value is not accepted.",
        423 => "It is locked by a client.",
        429 => "Too many requests; `Retry-After` says how long to wait.",
        503 => "The server could not do its work; nothing was changed.",
        507 => "There is no room; nothing was changed.",
        _ => "See the problem.",
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use super::*;

    fn references<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
        match value {
            Value::Object(members) => {
                for (name, value) in members {
                    match (name.as_str(), value) {
                        ("$ref", Value::String(target)) => found.push(target),
                        _ => references(value, found),
                    }
                }
            }
            Value::Array(items) => items.iter().for_each(|item| references(item, found)),
            _ => {}
        }
    }

    #[test]
    fn every_schema_that_is_named_is_there_and_every_one_there_is_named() {
        let schemas: Map<String, Value> = serde_json::from_str(SCHEMAS).unwrap();
        let mut found = Vec::new();
        references(&DOCUMENT, &mut found);
        for target in &found {
            let name = target.strip_prefix("#/components/schemas/").unwrap();
            assert!(schemas.contains_key(name), "{name}");
        }
        for name in schemas.keys() {
            let target = format!("#/components/schemas/{name}");
            assert!(found.contains(&target.as_str()), "nobody names the schema {name}");
        }
    }

    #[test]
    fn every_operation_has_a_name_of_its_own_and_an_answer() {
        let mut names = std::collections::BTreeSet::new();
        for route in routes::ROUTES {
            assert!(names.insert(identifier(route)), "{route:?}");
            assert!(!route.told.gives.is_empty(), "{route:?}");
            assert!(route.told.summary.ends_with('.'), "{route:?}");
        }
    }
}

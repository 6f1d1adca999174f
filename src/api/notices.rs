//! `/notifications`: what people are told without having asked.

use http::StatusCode;
use serde_json::{Map, Value, json};

use super::json::{Call, reply, time, time_or_null};
use super::problem::Problem;
use super::{Api, PREFIX};
use crate::bridge::Told;
use crate::http::Reply;
use crate::http::path::segment;

pub(super) async fn list(api: &Api, call: Call) -> Result<Reply, Problem> {
    let page = call.page()?;
    let unread = match call.parameter("unread") {
        None => None,
        Some("true") => Some(true),
        Some("false") => Some(false),
        Some(_) => return Err(Problem::invalid("unread", "It is true or false.")),
    };
    let kind = call.parameter("kind");
    let all = api.bridge.notifications(call.owner()).await?;
    let wanted = all
        .iter()
        .filter(|told| unread.is_none_or(|unread| told.read.is_none() == unread))
        .filter(|told| kind.is_none_or(|kind| told.kind.as_str() == kind));
    page.reply(wanted.map(|told| shown(api, told)).collect())
}

pub(super) async fn read(api: &Api, call: Call) -> Result<Reply, Problem> {
    let told = api.bridge.read_notification(call.owner(), call.id()).await?;
    Ok(reply(StatusCode::OK, &shown(api, &told)))
}

pub(super) async fn read_all(api: &Api, call: Call) -> Result<Reply, Problem> {
    let count = api.bridge.read_notifications(call.owner()).await?;
    Ok(reply(StatusCode::OK, &json!({ "read": count })))
}

fn shown(api: &Api, told: &Told) -> Value {
    let links: Map<String, Value> = told
        .about
        .iter()
        .filter_map(|(what, id)| {
            let (name, path) = match what.as_str() {
                "mapping" => ("mapping", format!("/mappings/{}", segment(id))),
                "connection" => ("connection", format!("/connections/{}", segment(id))),
                "conflict" => ("conflict", format!("/conflicts/{}", segment(id))),
                "uid" => ("event", format!("/events/{}/why", segment(id))),
                "webhook" => ("webhook", format!("/webhooks/{}", segment(id))),
                _ => return None,
            };
            Some((name.to_owned(), json!(format!("{}{PREFIX}{path}", api.site.prefix()))))
        })
        .collect();
    json!({
        "id": told.id,
        "kind": told.kind,
        "sentence": told.sentence,
        "about": told.about,
        "links": links,
        "open": told.resolved.is_none(),
        "raised_at": time(told.raised),
        "read_at": time_or_null(told.read),
        "resolved_at": time_or_null(told.resolved),
    })
}

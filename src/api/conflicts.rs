//! `/conflicts`: what both sides changed in ways that exclude each other, and what a person decides.

use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::Api;
use super::json::{Call, reply, time, time_or_null};
use super::problem::Problem;
use crate::bridge::record::{Conflict, ConflictStatus};
use crate::http::Reply;

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Resolution {
    Local,
    External,
    Merge,
    Ignore,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Decision {
    resolution: Resolution,
}

pub(super) async fn list(api: &Api, call: Call) -> Result<Reply, Problem> {
    let page = call.page()?;
    let wanted = call.parameter("status");
    // Of a filtered list more has to be read than is shown.
    let need = if wanted.is_some() { 10_000 } else { page.need() };
    let all = api.bridge.conflicts(call.owner(), call.parameter("mapping"), need).await?;
    let items = all.iter().map(shown);
    page.reply(
        items.filter(|c| wanted.is_none() || c.get("status").and_then(Value::as_str) == wanted).collect(),
    )
}

pub(super) async fn one(api: &Api, call: Call) -> Result<Reply, Problem> {
    let conflict = api.bridge.conflict(call.owner(), call.id()).await?;
    Ok(reply(StatusCode::OK, &shown(&conflict)))
}

pub(super) async fn resolve(api: &Api, call: Call) -> Result<Reply, Problem> {
    let decision: Decision = call.body()?;
    let status = match decision.resolution {
        Resolution::Local => ConflictStatus::ResolvedLocal,
        Resolution::External => ConflictStatus::ResolvedExternal,
        Resolution::Merge => ConflictStatus::Merged,
        Resolution::Ignore => ConflictStatus::Ignored,
    };
    let conflict = api.bridge.resolve(call.owner(), call.id(), status).await?;
    Ok(reply(StatusCode::OK, &shown(&conflict)))
}

fn shown(conflict: &Conflict) -> Value {
    json!({
        "id": conflict.id,
        "mapping": conflict.mapping,
        "uid": conflict.uid,
        "detected_at": time(conflict.detected),
        "kind": conflict.kind,
        "clashes": conflict.clashes,
        "base": conflict.base,
        "local": conflict.local,
        "external": conflict.external,
        "status": conflict.status,
        "resolved_at": time_or_null(conflict.resolved),
    })
}

//! `/conflicts`: what both sides changed in ways that exclude each other, and what a person decides.

use std::collections::BTreeMap;

use http::{HeaderValue, StatusCode, header};
use serde::Deserialize;
use serde_json::{Value, json};

use super::Api;
use super::json::{Call, reply, time, time_or_null};
use super::problem::Problem;
use crate::bridge::record::{Chosen, Conflict, ConflictStatus};
use crate::http::{Reply, reply_bytes};

/// So many conflicts are read for a list that is filtered, or a table.
const MOST: usize = 10_000;
/// Characters of notes.
const NOTES: usize = 2000;

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
    /// Whose value a merge takes, by name of the property.
    fields: Option<BTreeMap<String, Chosen>>,
    /// Whatever is to be said about it.
    notes: Option<String>,
}

pub(super) async fn list(api: &Api, call: Call) -> Result<Reply, Problem> {
    let page = call.page()?;
    let wanted = call.parameter("status");
    // Of a filtered list more has to be read than is shown.
    let need = if wanted.is_some() { MOST } else { page.need() };
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
    let choices = decision.fields.unwrap_or_default();
    if !choices.is_empty() && status != ConflictStatus::Merged {
        return Err(Problem::invalid("fields", "Fields are chosen with the resolution `merge` only."));
    }
    let choices = choices.into_iter().map(|(name, chosen)| (name.to_ascii_uppercase(), chosen)).collect();
    let notes = decision.notes.unwrap_or_default();
    if notes.chars().count() > NOTES {
        return Err(Problem::invalid("notes", format!("{NOTES} characters at most.")));
    }
    let conflict = api.bridge.resolve(call.owner(), call.id(), status, choices, notes).await?;
    Ok(reply(StatusCode::OK, &shown(&conflict)))
}

/// Brings back the version that lost.
pub(super) async fn undo(api: &Api, call: Call) -> Result<Reply, Problem> {
    call.no_body()?;
    let conflict = api.bridge.undo(call.owner(), call.id()).await?;
    Ok(reply(StatusCode::OK, &shown(&conflict)))
}

/// The list as a table for a spreadsheet (S3-126).
pub(super) async fn csv(api: &Api, call: Call) -> Result<Reply, Problem> {
    let wanted = call.parameter("status");
    let all = api.bridge.conflicts(call.owner(), call.parameter("mapping"), MOST).await?;
    let mut sources = BTreeMap::new();
    let connections = api.bridge.connections(call.owner()).await?;
    for (mapping, _) in api.bridge.mappings(call.owner()).await? {
        let connection = connections.iter().find(|(connection, _)| connection.id == mapping.connection);
        sources.insert(mapping.id, connection.map(|(c, _)| c.account.clone()).unwrap_or_default());
    }
    let mut table = row(&["date", "event", "source", "resolution", "status"]);
    for conflict in &all {
        let status = json!(conflict.status);
        let status = status.as_str().unwrap_or_default();
        if wanted.is_some_and(|wanted| wanted != status) {
            continue;
        }
        let date = time(conflict.detected);
        let source = sources.get(&conflict.mapping).map_or("", String::as_str);
        table.push_str(&row(&[
            date.as_str().unwrap_or_default(),
            &conflict.title,
            source,
            resolution(conflict.status),
            status,
        ]));
    }
    let mut reply = reply_bytes(StatusCode::OK, "text/csv; charset=utf-8; header=present", table);
    let name = HeaderValue::from_static("attachment; filename=\"conflicts.csv\"");
    reply.headers_mut().insert(header::CONTENT_DISPOSITION, name);
    reply.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    Ok(reply)
}

fn resolution(status: ConflictStatus) -> &'static str {
    match status {
        ConflictStatus::Pending => "not decided yet",
        ConflictStatus::ResolvedLocal => "the version here",
        ConflictStatus::ResolvedExternal => "the version outside",
        ConflictStatus::Merged => "both merged",
        ConflictStatus::Ignored => "both left as they are",
    }
}

/// RFC 4180 §2: a line of fields, each in quotes where it has to be.
fn row(fields: &[&str]) -> String {
    let fields: Vec<String> = fields.iter().map(|field| cell(field)).collect();
    format!("{}\r\n", fields.join(","))
}

/// A title from outside must not become a formula in somebody's spreadsheet: it is marked as text.
fn cell(field: &str) -> String {
    let risky = field.trim_start().starts_with(['=', '+', '-', '@', '|', '%'])
        || field.starts_with(['\t', '\r', '\n']);
    let text = if risky { format!("'{field}") } else { field.to_owned() };
    if text.contains(['"', ',', '\r', '\n']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text }
}

fn said(text: &str) -> Option<&str> {
    Some(text).filter(|text| !text.is_empty())
}

pub(super) fn shown(conflict: &Conflict) -> Value {
    let history: Vec<Value> = conflict
        .history
        .iter()
        .map(|turn| {
            json!({
                "at": time(turn.at),
                "status": turn.status,
                "decided_by": turn.by,
                "notes": said(&turn.notes),
            })
        })
        .collect();
    let winner = match conflict.status {
        ConflictStatus::ResolvedLocal => Some("local"),
        ConflictStatus::ResolvedExternal => Some("external"),
        ConflictStatus::Pending | ConflictStatus::Merged | ConflictStatus::Ignored => None,
    };
    json!({
        "id": conflict.id,
        "mapping": conflict.mapping,
        "uid": conflict.uid,
        "title": conflict.title,
        "detected_at": time(conflict.detected),
        "kind": conflict.kind,
        "clashes": conflict.clashes,
        "base": conflict.base,
        "local": conflict.local,
        "external": conflict.external,
        "status": conflict.status,
        "winner": winner,
        "decided_by": said(&conflict.by),
        "notes": said(&conflict.notes),
        "fields": conflict.choices,
        "resolved_at": time_or_null(conflict.resolved),
        "history": history,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use super::*;

    // S3-126
    #[test]
    fn a_cell_is_text_and_never_a_formula() {
        let rows = [
            ("Lunch", "Lunch"),
            ("a,b", "\"a,b\""),
            ("a \"b\"\nc", "\"a \"\"b\"\"\nc\""),
            ("=1+1", "'=1+1"),
            (" @SUM(A1)", "' @SUM(A1)"),
            ("-2,5", "\"'-2,5\""),
            ("\t=1", "'\t=1"),
            ("", ""),
        ];
        for (field, expected) in rows {
            assert_eq!(cell(field), expected, "{field:?}");
        }
        assert_eq!(row(&["a", "b,c"]), "a,\"b,c\"\r\n");
    }
}

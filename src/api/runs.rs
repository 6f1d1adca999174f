//! `/runs`: what passes did.

use http::StatusCode;
use serde_json::{Value, json};

use super::Api;
use super::json::{Call, reply, time, time_or_null};
use super::problem::Problem;
use crate::bridge::record::{Counts, Failed, Run};
use crate::http::Reply;

pub(super) async fn list(api: &Api, call: Call) -> Result<Reply, Problem> {
    let page = call.page()?;
    let (mapping, connection) = (call.parameter("mapping"), call.parameter("connection"));
    let all = match (mapping, connection) {
        (Some(_), Some(_)) => {
            return Err(Problem::invalid("connection", "Name a mapping or a connection, not both."));
        }
        (None, Some(connection)) => {
            api.bridge.runs_of_connection(call.owner(), connection, page.need()).await?
        }
        (mapping, None) => api.bridge.runs(call.owner(), mapping, page.need()).await?,
    };
    page.reply(all.iter().map(shown).collect())
}

pub(super) async fn one(api: &Api, call: Call) -> Result<Reply, Problem> {
    let run = api.bridge.run(call.owner(), call.id()).await?;
    Ok(reply(StatusCode::OK, &shown(&run)))
}

pub(super) fn shown(run: &Run) -> Value {
    let counts = |c: Counts| json!({ "inserted": c.inserted, "updated": c.updated, "deleted": c.deleted });
    let told = |all: &[Failed]| -> Vec<Value> {
        all.iter().map(|one| json!({ "uid": one.uid, "reason": one.reason })).collect()
    };
    json!({
        "id": run.id,
        "mapping": run.mapping,
        "status": run.status,
        "started_at": time(run.started),
        "ended_at": time_or_null(run.ended),
        "local": counts(run.local),
        "remote": counts(run.remote),
        "conflicts": run.conflicts,
        "failures": told(&run.failures),
        "calls": run.calls,
        "calls_saved": run.saved,
        "done": run.done,
        "total": run.total.max(run.done),
        "wrote": run.wrote,
        "skipped": told(&run.left),
        "skipped_count": run.skipped,
        "duration_ms": run.ended.map(|ended| ended.0.saturating_sub(run.started.0)),
    })
}

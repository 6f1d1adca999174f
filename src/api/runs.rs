//! `/runs`: what passes did.

use http::StatusCode;
use serde_json::{Value, json};

use super::Api;
use super::json::{Call, reply, time, time_or_null};
use super::problem::Problem;
use crate::bridge::record::{Counts, Run};
use crate::http::Reply;

pub(super) async fn list(api: &Api, call: Call) -> Result<Reply, Problem> {
    let page = call.page()?;
    let all = api.bridge.runs(call.owner(), call.parameter("mapping"), page.need()).await?;
    page.reply(all.iter().map(shown).collect())
}

pub(super) async fn one(api: &Api, call: Call) -> Result<Reply, Problem> {
    let run = api.bridge.run(call.owner(), call.id()).await?;
    Ok(reply(StatusCode::OK, &shown(&run)))
}

pub(super) fn shown(run: &Run) -> Value {
    let counts = |c: Counts| json!({ "inserted": c.inserted, "updated": c.updated, "deleted": c.deleted });
    let failures: Vec<Value> =
        run.failures.iter().map(|f| json!({ "uid": f.uid, "reason": f.reason })).collect();
    json!({
        "id": run.id,
        "mapping": run.mapping,
        "status": run.status,
        "started_at": time(run.started),
        "ended_at": time_or_null(run.ended),
        "local": counts(run.local),
        "remote": counts(run.remote),
        "conflicts": run.conflicts,
        "failures": failures,
        "calls": run.calls,
        "calls_saved": run.saved,
        "done": run.done,
        "total": run.total.max(run.done),
        "wrote": run.wrote,
        "duration_ms": run.ended.map(|ended| ended.0.saturating_sub(run.started.0)),
    })
}

//! `/calendars/ID/events/UID/versions`: what an event was before, and back to it.

use http::StatusCode;
use serde_json::{Value, json};

use super::calendars::find;
use super::json::{Call, reply, time};
use super::problem::Problem;
use super::{Api, PAGES};
use crate::calendar::{Ended, Refusal, Version};
use crate::http::{Reply, reply_bytes};
use crate::store::{Origin, Rev};

pub(super) async fn list(api: &Api, call: Call) -> Result<Reply, Problem> {
    let page = call.page()?;
    let session = call.session(&api.house);
    let at = find(&session, call.id()).await?;
    let versions = at.versions(call.part(1)).await?;
    if versions.is_empty() && at.by_uid(call.part(1)).await?.is_none() {
        return Err(Problem::missing("There is no such event, and there was none."));
    }
    page.reply(versions.iter().map(shown).collect())
}

pub(super) async fn one(api: &Api, call: Call) -> Result<Reply, Problem> {
    let session = call.session(&api.house);
    let at = find(&session, call.id()).await?;
    let version = match at.version(call.part(1), rev(&call)?).await {
        Err(crate::calendar::Error::Refused(Refusal::Missing)) => return Err(missing()),
        other => other?,
    };
    Ok(reply_bytes(StatusCode::OK, "text/calendar; charset=utf-8", version.bytes))
}

pub(super) async fn restore(api: &Api, call: Call) -> Result<Reply, Problem> {
    let session = call.session(&api.house);
    let at = find(&session, call.id()).await?;
    match session.restore(&at, call.part(1), rev(&call)?).await {
        Err(crate::calendar::Error::Refused(Refusal::Missing)) => Err(missing()),
        other => {
            let (name, stored) = other?;
            let document = json!({ "uid": call.part(1), "name": name.as_str(), "etag": stored.etag.0 });
            Ok(reply(StatusCode::OK, &document))
        }
    }
}

fn missing() -> Problem {
    Problem::missing("There is no such version.")
}

fn rev(call: &Call) -> Result<Rev, Problem> {
    call.part(2).parse().map(Rev).map_err(|_| missing())
}

fn shown(version: &Version) -> Value {
    json!({
        "id": version.rev.0.to_string(),
        "etag": version.etag.0,
        "name": version.name.as_str(),
        "size": version.bytes.len(),
        "written_at": time(version.written),
        "written_by": version.author.as_ref().map(by),
        "ended_at": time(version.ended),
        "ended_by": by(&version.by),
        "how": match version.how {
            Ended::Replaced => "replaced",
            Ended::Deleted => "deleted",
        },
    })
}

/// Says who wrote, in words.
pub(super) fn by(origin: &Origin) -> String {
    match origin {
        Origin::Dav { principal, agent, label } => match with(agent, label) {
            Some(client) => format!("{principal}, with {client}"),
            None => format!("{principal}, over CalDAV"),
        },
        Origin::Api { principal, agent, .. } if agent == PAGES => format!("{principal}, on the page"),
        Origin::Api { principal, agent, label } => match with(agent, label) {
            Some(client) => format!("{principal}, over the API with {client}"),
            None => format!("{principal}, over the API"),
        },
        Origin::Mapping(id) => format!("the bridge, mapping {id}"),
        Origin::System => "the server".to_owned(),
    }
}

/// Names a client: what its owner calls it, else what it calls itself.
fn with(agent: &str, label: &str) -> Option<String> {
    match (agent, label) {
        ("", "") => None,
        (agent, "") => Some(agent.to_owned()),
        ("", label) => Some(label.to_owned()),
        (agent, label) => Some(format!("{label} ({agent})")),
    }
}

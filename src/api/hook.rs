//! `/mappings/ID/hook`: an address with which any program may have a mapping looked at.

use http::StatusCode;
use serde_json::json;

use super::json::{Call, reply};
use super::problem::Problem;
use super::{Api, done};
use crate::http::Reply;

/// Makes a secret; it is shown this once. An older one ends.
pub(super) async fn open(api: &Api, call: Call) -> Result<Reply, Problem> {
    call.no_body()?;
    let (url, secret) = api.bridge.open_hook(call.owner(), call.id()).await?;
    Ok(reply(StatusCode::CREATED, &json!({ "url": url, "secret": secret.reveal() })))
}

pub(super) async fn close(api: &Api, call: Call) -> Result<Reply, Problem> {
    api.bridge.close_hook(call.owner(), call.id()).await?;
    Ok(done())
}

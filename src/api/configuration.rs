//! `/configuration`: every option as it is, and where it was said. For administrators.
//!
//! Owns: the form. Does not own: the options; it is told of them when the server starts.

use serde::Serialize;
use serde_json::{Value, json};

use super::Api;
use super::json::Call;
use super::problem::Problem;
use crate::http::Reply;

/// Where the value of an option comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// Nobody said anything.
    Default,
    /// The file.
    File,
    /// A variable of the environment.
    Environment,
    /// The command that started the server.
    Command,
}

/// An option as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Configured {
    /// Its key, such as `server.listen`.
    pub key: String,
    /// Its value; nothing: there is none, or it is a secret.
    pub value: Option<String>,
    /// What it is if nobody says anything.
    pub default: Option<String>,
    /// Where the value comes from.
    pub source: Source,
    /// Nobody is shown the value.
    pub secret: bool,
    /// What it does.
    pub about: String,
}

pub(super) async fn list(api: &Api, call: Call) -> Result<Reply, Problem> {
    let page = call.page()?;
    page.reply(api.configuration.iter().map(shown).collect())
}

fn shown(option: &Configured) -> Value {
    json!({
        "id": option.key,
        "key": option.key,
        "value": option.value,
        "default": option.default,
        "source": option.source,
        "locked": option.source != Source::Default,
        "secret": option.secret,
        "about": option.about,
    })
}

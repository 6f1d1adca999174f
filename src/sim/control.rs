//! The simulator's own paths, `/_sim/…`: the script, the clock and the log for those who are not in the same process.
//!
//! Owns: these paths. Does not own: what they change (`fault`, `log`, each [`World`](super::World)).

use http::Method;
use serde_json::{Value, json};

use super::World;
use super::fault::{Act, Rule};
use super::server::{Scene, act};
use super::wire::{Answer, Request};

/// What every path of ours begins with.
pub(super) const PREFIX: &str = "/_sim/";

/// Answers a request to a path of ours.
pub(super) async fn answer(world: &dyn World, request: &Request, scene: &Scene) -> Answer {
    let what = request.path.strip_prefix(PREFIX).unwrap_or_default();
    let outcome = match (&request.method, what) {
        (&Method::GET, "") => Ok(json!({
            "kind": world.kind(), "now": scene.clock.millis(), "requests": scene.log.count(), "writes": scene.log.writes(),
            "most_at_once": scene.log.most_at_once(),
        })),
        (&Method::GET, "requests") => Ok(json!({ "requests": scene.log.entries() })),
        (&Method::DELETE, "requests") => {
            scene.log.clear();
            Ok(json!({}))
        }
        (&Method::GET, "rules") => Ok(json!({ "rules": scene.script.waiting() })),
        (&Method::DELETE, "rules") => {
            scene.script.clear();
            Ok(json!({}))
        }
        (&Method::POST, "rules") => read::<Rule>(request).map(|rule| {
            scene.script.add(rule);
            json!({})
        }),
        (&Method::POST, "act") => read::<Act>(request).and_then(|wanted| act(world, &wanted, scene)),
        (&Method::GET, "idle") => {
            scene.post.idle().await;
            Ok(json!({}))
        }
        (&Method::GET | &Method::POST, held) => match held.split_once('/') {
            Some(("held", name)) => {
                match (scene.script.held(&super::decode(name)), request.method == Method::GET) {
                    (Some(paused), true) => {
                        paused.reached().await;
                        Ok(json!({}))
                    }
                    (Some(paused), false) => {
                        paused.go();
                        Ok(json!({}))
                    }
                    (None, _) => {
                        Err("no request is held under that name: add a rule with `hold` first".into())
                    }
                }
            }
            _ => Err(NOTHING.into()),
        },
        _ => Err(NOTHING.into()),
    };
    match outcome {
        Ok(value) => Answer::json(200, &value),
        Err(why) => Answer::json(400, &json!({ "error": why })),
    }
}

const NOTHING: &str = "there is GET /_sim/, GET and DELETE /_sim/requests, GET, POST and DELETE /_sim/rules, POST /_sim/act, \
                       GET /_sim/idle, GET and POST /_sim/held/NAME";

fn read<T: serde::de::DeserializeOwned>(request: &Request) -> Result<T, String> {
    let value: Value = request.json().ok_or("the body is not JSON")?;
    serde_json::from_value(value).map_err(|error| error.to_string())
}

//! How much can be relied on: when the far sides of somebody's calendars were last heard of, and asking them now.
//!
//! Owns: which mappings a person's time depends on, the live check with its limit. Does not own: passes (`bridge`), what a
//! booking does when nobody answered (`bookings`).

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};

use super::Api;
use super::json::time_or_null;
use super::problem::Problem;
use crate::bridge::record::Direction;
use crate::store::{CollectionId, Timestamp};

/// A mapping that brings events in.
#[derive(Debug)]
pub(super) struct Source {
    mapping: String,
    last_good: Option<Timestamp>,
    looked: Option<Timestamp>,
    enabled: bool,
}

impl Source {
    /// A pass that ended later may have looked earlier: its beginning counts.
    fn is_older(&self, than: Timestamp) -> bool {
        self.enabled && self.looked.is_none_or(|at| at < than)
    }
}

/// Returns the mappings that bring events into these calendars.
pub(super) async fn sources(
    api: &Api,
    owner: &str,
    calendars: &[CollectionId],
) -> Result<Vec<Source>, Problem> {
    let all = api.bridge.mappings(owner).await?;
    let ours = all.into_iter().filter(|(mapping, _)| {
        mapping.direction != Direction::Push && calendars.contains(&mapping.collection)
    });
    Ok(ours
        .map(|(mapping, state)| Source {
            mapping: mapping.id,
            last_good: state.last_good,
            looked: state.looked,
            enabled: mapping.enabled,
        })
        .collect())
}

/// Has every source looked at that was not heard of for `max_age` seconds, and waits for it, `limit` at most. True: all of
/// them are young enough now. A mapping that somebody switched off is not waited for.
pub(super) async fn refresh(
    api: &Api,
    owner: &str,
    calendars: &[CollectionId],
    max_age: i64,
    limit: Duration,
) -> Result<bool, Problem> {
    let begun = api.house.clock.now();
    let oldest = Timestamp(begun.0.saturating_sub(max_age.saturating_mul(1000)));
    let old: Vec<Source> =
        sources(api, owner, calendars).await?.into_iter().filter(|s| s.is_older(oldest)).collect();
    if old.is_empty() {
        return Ok(true);
    }
    let asked = join_all(old.iter().map(|source| async {
        // A run that was joined began before it was asked for, and may have looked before: then another one is needed.
        for _ in 0..2 {
            // One that waits or cannot be reached is not young enough; that is all there is to know of it.
            if api.bridge.sync(owner, &source.mapping, false).await.is_err() {
                return;
            }
            api.bridge.settled(&source.mapping).await;
            let known = sources(api, owner, calendars).await.unwrap_or_default();
            if known.iter().any(|now| now.mapping == source.mapping && !now.is_older(oldest)) {
                return;
            }
        }
    }));
    let _ = tokio::time::timeout(limit, asked).await;
    Ok(!sources(api, owner, calendars).await?.iter().any(|source| source.is_older(oldest)))
}

/// Writes how the sources are.
pub(super) fn shown(api: &Api, sources: &[Source]) -> Vec<Value> {
    let one = |source: &Source| {
        json!({
            "mapping": source.mapping,
            "last_synced_at": time_or_null(source.last_good),
            "push_alive": source.enabled && api.bridge.push_alive(&source.mapping),
        })
    };
    sources.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    // B-14: a pass that had looked before somebody asked says nothing of what is there now, however late it ended.
    #[test]
    fn a_source_is_as_old_as_its_last_look() {
        let source = |looked: i64, enabled: bool| Source {
            mapping: "m".into(),
            last_good: Some(Timestamp(10)),
            looked: Some(Timestamp(looked)),
            enabled,
        };
        assert!(source(5, true).is_older(Timestamp(7)));
        assert!(!source(7, true).is_older(Timestamp(7)));
        assert!(!source(5, false).is_older(Timestamp(7)));
        assert!(Source { looked: None, ..source(5, true) }.is_older(Timestamp(7)));
    }
}

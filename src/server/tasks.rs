//! What the server does by itself, beside answering.
//!
//! Owns: starting followers and housekeeping, ending them with the server. Does not own: what they do.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::State;
use crate::api::Api;
use crate::auth::Guard;
use crate::bridge::{Bridge, Wakeful};
use crate::calendar::House;
use crate::follow::follow;
use crate::store::Timestamp;
use crate::webhook::{Wakeful as Telling, Webhooks};

/// How often old log rows are dropped.
const TRIM: Duration = Duration::from_secs(24 * 3600);
/// How often answers are forgotten that nobody can ask for again.
const HOUR: Duration = Duration::from_secs(3600);
/// After the start, not to slow the first requests.
const SETTLE: Duration = Duration::from_secs(10 * 60);

/// Starts everything; all of it ends when `stop` is cancelled.
pub(super) fn start(
    tasks: &TaskTracker,
    guard: &Arc<Guard>,
    bridge: &Arc<Bridge>,
    state: &Arc<State>,
    keep_changes: Duration,
    keep_versions: Duration,
    stop: &CancellationToken,
) {
    let house = guard.house();
    tasks.spawn(until(stop.clone(), Arc::clone(guard).follow(house.store.watch())));
    tasks.spawn(until(stop.clone(), Arc::clone(bridge).tend()));
    tasks.spawn(until(stop.clone(), forget_notices(Arc::clone(bridge))));
    tasks.spawn(until(stop.clone(), forget_receipts(Arc::clone(state))));
    tasks.spawn(until(stop.clone(), expire_holds(Arc::clone(house))));
    let bridge = Arc::clone(bridge);
    let store = Arc::clone(&house.store);
    let stopped = stop.clone();
    tasks.spawn(async move {
        follow(store, Arc::new(Wakeful(Arc::clone(&bridge))), stopped).await;
        bridge.close().await;
    });
    tasks.spawn(until(stop.clone(), trim(Arc::clone(house), keep_changes)));
    tasks.spawn(until(stop.clone(), forget(Arc::clone(house), keep_versions)));
}

/// Tells programs what happens; ends when `stop` is cancelled.
pub(super) fn tell(
    tasks: &TaskTracker,
    house: &Arc<House>,
    hooks: Arc<Webhooks>,
    api: &Arc<Api>,
    stop: &CancellationToken,
) {
    let (store, voice, stopped) = (Arc::clone(&house.store), Arc::clone(api), stop.clone());
    tasks.spawn(async move {
        follow(store, Arc::new(Telling { hooks: Arc::clone(&hooks), voice }), stopped).await;
        hooks.close().await;
    });
}

async fn until(stop: CancellationToken, work: impl Future<Output = ()>) {
    tokio::select! {
        () = stop.cancelled() => {}
        () = work => {}
    }
}

/// Drops log rows that no client needs any more (`retention.changes`), once a day.
async fn trim(house: Arc<House>, keep: Duration) {
    tokio::time::sleep(SETTLE).await;
    loop {
        let keep = i64::try_from(keep.as_millis()).unwrap_or(i64::MAX);
        let horizon = Timestamp(house.clock.now().0.saturating_sub(keep));
        match house.store.trim(horizon).await {
            Ok(0) => {}
            Ok(rows) => tracing::info!("{rows} old rows of the change logs dropped"),
            Err(fault) => tracing::warn!("old rows of the change logs could not be dropped: {fault}"),
        }
        tokio::time::sleep(TRIM).await;
    }
}

/// Forgets answers that no `Idempotency-Key` brings back any more and sessions that ended, once an hour.
async fn forget_receipts(state: Arc<State>) {
    tokio::time::sleep(SETTLE).await;
    loop {
        if let Err(fault) = state.api.forget_receipts().await {
            tracing::warn!("old answers could not be forgotten: {fault}");
        }
        if let Err(error) = state.guard.forget_sessions().await {
            tracing::warn!("old sessions could not be forgotten: {error:?}");
        }
        tokio::time::sleep(HOUR).await;
    }
}

/// Clears holds away as they end; they count for nothing from that moment on, cleared away or not.
async fn expire_holds(house: Arc<House>) {
    let told = |error| tracing::warn!("holds that ended could not be cleared away: {error:?}");
    let mut recalled: Option<tokio::time::Instant> = None;
    loop {
        // Another server over this store may have made some.
        if recalled.is_none_or(|at| at.elapsed() >= TRIM) {
            if let Err(error) = house.recall_holds().await {
                told(error);
            }
            recalled = Some(tokio::time::Instant::now());
        }
        let next = house.expire_holds().await.unwrap_or_else(|error| {
            told(error);
            None
        });
        let wait = match next {
            Some(next) => {
                let left = next.0.saturating_sub(house.clock.now().0).max(0);
                Duration::from_millis(u64::try_from(left).unwrap_or(0).saturating_add(1)).min(TRIM)
            }
            None => TRIM,
        };
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = house.hold_noted() => {}
        }
    }
}

/// Forgets notices whose cause ended long ago, once a day.
async fn forget_notices(bridge: Arc<Bridge>) {
    tokio::time::sleep(SETTLE).await;
    loop {
        if let Err(error) = bridge.forget_notifications().await {
            tracing::warn!("old notices could not be forgotten: {error:?}");
        }
        tokio::time::sleep(TRIM).await;
    }
}

/// Forgets what was deleted (`retention.trash`) and former versions of events (`retention.versions`), once a day.
async fn forget(house: Arc<House>, keep: Duration) {
    tokio::time::sleep(SETTLE).await;
    loop {
        match house.forget_trash().await {
            Ok(0) => {}
            Ok(things) => tracing::info!("{things} things forgotten that were deleted long ago"),
            Err(error) => tracing::warn!("what was deleted long ago could not be forgotten: {error:?}"),
        }
        let keep = i64::try_from(keep.as_millis()).unwrap_or(i64::MAX);
        let horizon = Timestamp(house.clock.now().0.saturating_sub(keep));
        match house.forget_versions(horizon).await {
            Ok(0) => {}
            Ok(versions) => tracing::info!("{versions} old versions of events forgotten"),
            Err(error) => tracing::warn!("old versions of events could not be forgotten: {error:?}"),
        }
        tokio::time::sleep(TRIM).await;
    }
}

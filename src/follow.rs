//! Anything with a cursor on a log: "call me with what changed since I last agreed".
//!
//! Owns: waking followers when something was committed or time has come; reading a log from a cursor without one's own
//! writes. Does not own: what a follower does (`bridge`).

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;

use crate::store::{ChangesError, CollectionId, Fault, Name, Notice, Origin, Rev, Store, What};

/// Rows of a log a page.
const PAGE: usize = 1000;

/// Somebody who wants to know what was committed.
pub trait Follower: Send + Sync + 'static {
    /// Something was committed.
    fn notice(&self, notice: &Notice);

    /// Notices were lost: anything may have been committed.
    fn lagged(&self);

    /// Begins what is due and returns how long nothing else will be.
    fn tick(&self) -> Pin<Box<dyn Future<Output = Duration> + Send + '_>>;

    /// Waits until something became due for another reason than a notice or the passing of time.
    fn woken(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;
}

/// Serves a follower until it is told to stop.
pub async fn follow(store: Arc<dyn Store>, follower: Arc<dyn Follower>, stop: CancellationToken) {
    // First the ear, then the look: what is committed in between is heard.
    let mut notices = store.watch();
    loop {
        let wait = follower.tick().await;
        tokio::select! {
            () = stop.cancelled() => return,
            () = follower.woken() => {}
            () = tokio::time::sleep(wait) => {}
            heard = notices.recv() => match heard {
                Ok(notice) => follower.notice(&notice),
                Err(RecvError::Lagged(_)) => follower.lagged(),
                Err(RecvError::Closed) => return,
            },
        }
    }
}

/// What a log says of the time since a cursor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Touched {
    /// These members were written or removed by others; true: a person or program did it, no bridge.
    Names(BTreeMap<Name, bool>),
    /// The cursor is too old: anything may have changed.
    Anything,
}

/// Reads which members others wrote or removed after `since`, up to `head`.
///
/// # Errors
/// When the store fails.
pub async fn touched(
    store: &dyn Store,
    collection: CollectionId,
    since: Rev,
    head: Rev,
    ours: &Origin,
) -> Result<Touched, Fault> {
    let mut names: BTreeMap<Name, bool> = BTreeMap::new();
    let mut since = since;
    while since < head {
        let page = match store.changes(collection, since, PAGE).await {
            Ok(page) => page,
            Err(ChangesError::Expired) => return Ok(Touched::Anything),
            Err(ChangesError::Fault(fault)) => return Err(fault),
        };
        let Some(last) = page.items.last() else { break };
        since = last.rev;
        let rows = page.items.into_iter().filter(|c| c.origin != *ours && c.what != What::Touched);
        for row in rows {
            let person = !matches!(row.origin, Origin::Mapping(_));
            if let Some(name) = row.name {
                *names.entry(name).or_default() |= person;
            }
        }
        if !page.more {
            break;
        }
    }
    Ok(Touched::Names(names))
}

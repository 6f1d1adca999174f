//! An upstream that lives for days: in a directory of somebody's choice, without all that it once was.
//!
//! Owns: where its store is if somebody says so, forgetting. Does not own: what it answers.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::{Caldav, Clock, said};
use crate::calendar::{House, Limits};
use crate::store::{Options, Sled, Timestamp};

/// How long it remembers what events were.
const MEMORY: Duration = Duration::from_secs(3600);

impl Caldav {
    /// Returns a server like [`Caldav::start`] whose store is in this directory, and stays there. It can be made to
    /// [`Caldav::forget`].
    ///
    /// # Errors
    /// As `start`.
    pub async fn within(
        place: PathBuf,
        username: &str,
        password: &str,
        clock: Clock,
    ) -> Result<Caldav, String> {
        let opened = tokio::task::spawn_blocking(move || Sled::open(place, Options::default())).await;
        let store = opened.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
        let limits = Limits { keep_trash: MEMORY, ..Limits::default() };
        Caldav::over(House::new(Arc::new(store), Arc::new(clock), limits), username, password).await
    }

    /// Forgets what events were more than an hour ago, deleted ones whole; a cursor from before that is worth nothing.
    ///
    /// # Errors
    /// A sentence: the store failed.
    pub async fn forget(&self) -> Result<(), String> {
        self.house.forget_trash().await.map_err(|error| said(&error))?;
        let memory = i64::try_from(MEMORY.as_millis()).unwrap_or(i64::MAX);
        let before = Timestamp(self.house.clock.now().0.saturating_sub(memory));
        self.house.forget_versions(before).await.map_err(|error| said(&error))?;
        self.house.store.trim(before).await.map_err(|fault| fault.to_string())?;
        Ok(())
    }
}

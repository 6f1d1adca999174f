//! What a first pass would find, without writing anything.

use std::collections::BTreeSet;

use super::front::{Bridge, BridgeError, NewMapping};
use super::print;
use super::record::Direction;
use super::run::uid_of;
use crate::ical::Ical;
use crate::store::Name;

/// The counts of a dry run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Preview {
    /// Events with the same UID and content on both sides.
    pub same: u64,
    /// Events with the same UID and different content.
    pub different: u64,
    /// Events on this side only.
    pub only_here: u64,
    /// Events on the far side only.
    pub only_there: u64,
    /// Events on the far side that cannot be read.
    pub unreadable: u64,
    /// What a first pass would add here.
    pub insert_here: u64,
    /// What a first pass would add there.
    pub insert_there: u64,
}

impl Bridge {
    /// Compares the two calendars that a mapping would bring together.
    ///
    /// # Errors
    /// `Invalid` if one of them is not there; `Far`.
    pub async fn preview(&self, owner: &str, new: &NewMapping) -> Result<Preview, BridgeError> {
        let collection = self.calendar(owner, new.collection).await?;
        let (connection, _) = self.connection(owner, &new.connection).await?;
        let provider = self.provider(&connection, self.fetch.counted()).await?;
        let store = &*self.house.store;
        let mut here: BTreeSet<String> = BTreeSet::new();
        let mut after: Option<Name> = None;
        loop {
            let page = store.list(collection.id, after.as_ref().map(Name::as_str), 1000).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.name.clone());
            here.extend(page.into_iter().filter_map(|meta| meta.index.uid));
        }
        let mut found = Preview::default();
        let listed = provider.changes(&new.remote, None).await?;
        let ids: Vec<_> = listed.seen.into_iter().map(|sighting| sighting.id).collect();
        for batch in ids.chunks(provider.abilities().batch.max(1)) {
            for seen in provider.read(&new.remote, batch).await? {
                let Ok((uid, theirs)) = uid_of(&seen) else {
                    found.unreadable += 1;
                    continue;
                };
                if !here.remove(&uid) {
                    found.only_there += 1;
                    continue;
                }
                let ours = match store.by_uid(collection.id, &uid).await? {
                    Some(name) => store.object(collection.id, name.as_str()).await?,
                    None => None,
                };
                let ours = ours.and_then(|object| Ical::parse(object.bytes).ok());
                let same = ours.is_some_and(|ours| print::print(&ours) == print::print(&theirs));
                if same { found.same += 1 } else { found.different += 1 }
            }
        }
        found.only_here = u64::try_from(here.len()).unwrap_or(u64::MAX);
        found.insert_here = if new.direction == Direction::Push { 0 } else { found.only_there };
        found.insert_there = if new.direction == Direction::Pull { 0 } else { found.only_here };
        Ok(found)
    }
}

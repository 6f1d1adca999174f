//! Objects of the far side that are left alone: outside the window, not let through by the filters, on the side that
//! nothing is taken from. They are remembered with their state, so that they are not read again as long as it is theirs.
//!
//! Does not own: what is left alone (`scope`).

use super::digests::Digests;
use super::ledger::spelling;
use super::provider::{RemoteId, Seen, Version};
use super::record::{self, Left, left_key};
use super::run::{Halt, Pass};
use super::scope;
use crate::ical::Ical;
use crate::ical::series::Series;
use crate::store::{Op, Span, Table};

/// Records of one commit, and of one page.
const CHUNK: usize = 200;

/// What is left alone, as far as it is yet to be stored.
#[derive(Debug, Default)]
pub(super) struct LeftAlone(Vec<Op>);

impl LeftAlone {
    /// Returns how much is yet to be stored.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

impl Pass {
    async fn left(&self, id: &RemoteId) -> Result<Option<Left>, Halt> {
        let key = left_key(&self.mapping.id, &spelling(id));
        Ok(record::load(&*self.session.house.store, &key).await?)
    }

    /// Tells whether an object is left alone as it is, without having to be read. Under other settings all are looked at
    /// anew.
    pub(super) async fn is_left(&self, id: &RemoteId, version: Option<&Version>) -> Result<bool, Halt> {
        if self.anew || version.is_none() {
            return Ok(false);
        }
        let Some(left) = self.left(id).await? else { return Ok(false) };
        let outside = |(start, end)| !scope::spans(Some(Span { start, end, exact: false }), self.window);
        Ok(version == Some(&left.version) && left.span.is_none_or(outside))
    }

    /// Remembers that an object was read and is left alone. `in_time`: for where it is in time.
    pub(super) async fn leave(&mut self, seen: &Seen, ical: &Ical, in_time: bool) -> Result<(), Halt> {
        let Some(version) = seen.version.clone() else { return Ok(()) };
        let span = Series::of(ical).span().filter(|_| in_time).map(|extent| (extent.start, extent.end));
        if in_time && span.is_none() {
            return Ok(());
        }
        let left = Left { remote: seen.id.clone(), version, span };
        if self.left(&seen.id).await?.as_ref() == Some(&left) {
            return Ok(());
        }
        self.left.0.push(record::put(left_key(&self.mapping.id, &spelling(&seen.id)), &left)?);
        if self.left.0.len() >= CHUNK { self.keep_left().await } else { Ok(()) }
    }

    /// Forgets what is carried by now, or is not there any more.
    pub(super) async fn forget_left(&mut self, listed: &Digests) -> Result<(), Halt> {
        let prefix = format!("{}.left/", self.mapping.id);
        let mut after: Option<String> = None;
        loop {
            let store = &self.session.house.store;
            let page = store.records(Table::Base, &prefix, after.as_deref(), CHUNK).await?;
            let Some((last, _)) = page.last() else { return Ok(()) };
            after = Some(last.path.clone());
            for (key, bytes) in page {
                let Left { remote, .. } = record::decode(&key, &bytes)?;
                if !listed.contains(&spelling(&remote)) || self.ledger.by_remote(&remote).await?.is_some() {
                    self.left.0.push(Op::DeleteRecord(key));
                }
            }
            self.keep_left().await?;
        }
    }

    /// Stores what changed.
    pub(super) async fn keep_left(&mut self) -> Result<(), Halt> {
        let ops = std::mem::take(&mut self.left.0);
        for chunk in ops.chunks(CHUNK) {
            self.remember(Vec::new(), chunk.to_vec()).await?;
        }
        Ok(())
    }
}

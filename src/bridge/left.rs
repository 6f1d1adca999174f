//! Objects of the far side that are left alone: outside the window, not let through by the filters, on the side that
//! nothing is taken from. They are remembered with their state, so that a full comparison does not read them again.
//!
//! Does not own: what is left alone (`scope`).

use std::collections::{BTreeMap, HashSet};

use super::ledger::spelling;
use super::provider::{RemoteId, Seen, Version};
use super::record::{self, Left, left_key};
use super::run::{Halt, Pass};
use super::scope;
use crate::ical::Ical;
use crate::ical::series::Series;
use crate::store::{Op, Span, Table};

/// Records of one commit.
const CHUNK: usize = 200;

/// What is left alone, by the spelling of its name there.
#[derive(Debug, Default)]
pub(super) struct LeftAlone {
    known: BTreeMap<String, Left>,
    /// What changed in it and is yet to be stored.
    ops: Vec<Op>,
}

impl Pass {
    /// Reads what was left alone before. Under other settings it is all looked at anew.
    pub(super) async fn load_left(&mut self) -> Result<(), Halt> {
        let prefix = format!("{}.left/", self.mapping.id);
        let all = record::load_all::<Left>(&*self.session.house.store, Table::Base, &prefix).await?;
        self.left.known = all.into_iter().map(|left| (spelling(&left.remote), left)).collect();
        Ok(())
    }

    /// Tells whether an object is left alone as it is, without having to be read.
    pub(super) fn is_left(&self, id: &RemoteId, version: Option<&Version>) -> bool {
        let Some(left) = self.left.known.get(&spelling(id)).filter(|_| !self.anew) else { return false };
        let outside = |(start, end)| !scope::spans(Some(Span { start, end, exact: false }), self.window);
        version == Some(&left.version) && left.span.is_none_or(outside)
    }

    /// Remembers that an object was read and is left alone. `in_time`: for where it is in time.
    pub(super) async fn leave(&mut self, seen: &Seen, ical: &Ical, in_time: bool) -> Result<(), Halt> {
        let Some(version) = seen.version.clone() else { return Ok(()) };
        let span = Series::of(ical).span().filter(|_| in_time).map(|extent| (extent.start, extent.end));
        if in_time && span.is_none() {
            return Ok(());
        }
        let left = Left { remote: seen.id.clone(), version, span };
        let name = spelling(&seen.id);
        if self.left.known.get(&name) == Some(&left) {
            return Ok(());
        }
        self.left.ops.push(record::put(left_key(&self.mapping.id, &name), &left)?);
        self.left.known.insert(name, left);
        if self.left.ops.len() >= CHUNK { self.keep_left().await } else { Ok(()) }
    }

    /// Forgets what is carried by now, or is not there any more.
    pub(super) async fn forget_left(&mut self, listed: &HashSet<String>) -> Result<(), Halt> {
        let mut over = Vec::new();
        for (name, left) in &self.left.known {
            if !listed.contains(name) || self.ledger.by_remote(&left.remote).await?.is_some() {
                over.push(name.clone());
            }
        }
        for name in over {
            self.left.known.remove(&name);
            self.left.ops.push(Op::DeleteRecord(left_key(&self.mapping.id, &name)));
        }
        Ok(())
    }

    /// Stores what changed.
    pub(super) async fn keep_left(&mut self) -> Result<(), Halt> {
        let ops = std::mem::take(&mut self.left.ops);
        for chunk in ops.chunks(CHUNK) {
            self.remember(Vec::new(), chunk.to_vec()).await?;
        }
        Ok(())
    }
}

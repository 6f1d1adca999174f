//! The one thread that writes.
//!
//! Owns: groups of commits, their durability, who is answered when. A commit is answered when its group was
//! applied in one transaction, flushed by sled **and** synced by us: sled's own flush calls `sync_file_range`,
//! which keeps neither the file's size nor the device's cache (docs/decisions/002-sled.md).

use std::fs::File;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::time::Duration;

use tokio::sync::oneshot;

use super::Shared;
use super::batch::Batch;
use super::purge;
use super::read::{self, HeadRow};
use super::rows::{Space, Trees, fault, number_at};
use super::snapshot::{Snapshot, Snapshots};
use super::stage::{Prepared, Staged, stage};
use crate::store::{CollectionId, CommitError, Committed, Fault, Notice, Origin};

/// The most commits of one group, and about how many bytes they may have together.
const GROUP: usize = 256;
const GROUP_BYTES: usize = 8 << 20;

/// What the committer is asked to do.
pub(super) enum Job {
    /// Carry a commit out.
    Commit(Box<Prepared>, oneshot::Sender<Result<Committed, CommitError>>),
    /// Begin a snapshot.
    Snapshot(oneshot::Sender<Result<Snapshot, Fault>>),
    /// Write rows that are worked out while nothing else is written.
    Write(Work, oneshot::Sender<Result<(), Fault>>),
    /// Finish: everything before it is durable.
    Stop,
}

/// Adds rows to a batch.
pub(super) type Work = Box<dyn FnOnce(&mut Batch<'_>) -> Result<(), Fault> + Send>;

type Answer = oneshot::Sender<Result<Committed, CommitError>>;

/// The thread's own things.
pub(super) struct Committer {
    pub(super) shared: Arc<Shared>,
    pub(super) jobs: Receiver<Job>,
    /// Our own handle to sled's file, only ever synced.
    pub(super) file: File,
    pub(super) purging: bool,
    pub(super) snapshots: Snapshots,
}

impl Committer {
    /// Works until it is told to stop or nobody can ask any more.
    pub(super) fn run(mut self) {
        while let Some(first) = self.wait() {
            let mut group = Vec::new();
            let mut weight = 0;
            let mut next = Some(first);
            let mut last = None;
            while let Some(job) = next.take() {
                match job {
                    Job::Commit(prepared, answer) => {
                        weight += prepared.weight;
                        group.push((prepared, answer));
                    }
                    other => {
                        last = Some(other);
                        break;
                    }
                }
                if group.len() < GROUP && weight < GROUP_BYTES {
                    next = self.jobs.try_recv().ok();
                }
            }
            if !group.is_empty() {
                self.commit(group);
            }
            match last {
                // Whoever asked may have gone away.
                Some(Job::Snapshot(answer)) => {
                    let _ = answer.send(self.shared.trees().map(|trees| self.snapshots.begin(&trees)));
                }
                Some(Job::Write(work, answer)) => {
                    let _ = answer.send(self.work(work));
                }
                Some(Job::Stop) => break,
                _ => {}
            }
        }
        if let Ok(trees) = self.shared.trees() {
            let _ = self.sync(&trees);
        }
    }

    /// Waits for work; does what is left over meanwhile.
    fn wait(&mut self) -> Option<Job> {
        while self.purging {
            match self.jobs.try_recv() {
                Ok(job) => return Some(job),
                Err(TryRecvError::Disconnected) => return None,
                Err(TryRecvError::Empty) => match self.purge() {
                    Ok(more) => self.purging = more,
                    Err(error) => {
                        tracing::warn!(%error, "deleted collections could not be purged; trying again");
                        match self.jobs.recv_timeout(Duration::from_secs(5)) {
                            Ok(job) => return Some(job),
                            Err(RecvTimeoutError::Timeout) => {}
                            Err(RecvTimeoutError::Disconnected) => return None,
                        }
                    }
                },
            }
        }
        self.jobs.recv().ok()
    }

    /// Removes some of what deleted collections left behind. Not synced: a lost step is done again.
    fn purge(&mut self) -> Result<bool, Fault> {
        let trees = self.shared.trees()?;
        let mut batch = Batch::over(&trees);
        let more = purge::step(&mut batch)?;
        self.apply(&trees, &batch)?;
        Ok(more)
    }

    fn work(&mut self, work: Work) -> Result<(), Fault> {
        let trees = self.shared.trees()?;
        let mut batch = Batch::over(&trees);
        work(&mut batch)?;
        self.write(&trees, &batch, &[])
    }

    fn apply(&mut self, trees: &Trees, batch: &Batch<'_>) -> Result<(), Fault> {
        self.snapshots.note(trees, batch)?;
        batch.apply()
    }

    fn commit(&mut self, group: Vec<(Box<Prepared>, Answer)>) {
        let trees = match self.shared.trees() {
            Ok(trees) => trees,
            Err(fault) => return refuse(group.into_iter().map(|(_, answer)| answer), &fault),
        };
        let mut batch = Batch::over(&trees);
        let mut results = Vec::with_capacity(group.len());
        for (prepared, answer) in group {
            let result = stage(&mut batch, &prepared);
            match &result {
                Ok(_) => batch.keep(),
                Err(_) => batch.revert(),
            }
            results.push((prepared.commit.origin, result, answer));
        }
        if batch.is_empty() {
            return self.answer(results);
        }
        let staged = results.iter().filter_map(|(_, result, _)| result.as_ref().ok());
        let changed: Vec<CollectionId> = staged.flat_map(|staged| staged.changed.clone()).collect();
        match self.write(&trees, &batch, &changed) {
            Ok(()) => {
                drop(batch);
                self.answer(results);
            }
            Err(fault) => {
                tracing::error!(error = %fault, commits = results.len(), "commits could not be written");
                refuse(results.into_iter().map(|(_, _, answer)| answer), &fault);
            }
        }
    }

    /// Makes a batch durable and known.
    fn write(&mut self, trees: &Trees, batch: &Batch<'_>, changed: &[CollectionId]) -> Result<(), Fault> {
        let (mut before, mut after) = (Vec::new(), Vec::new());
        for (space, key, row) in batch.rows() {
            if space == Space::Head {
                let id = CollectionId(number_at(key, 0)?);
                before.push((id, read::head(trees, id)?.head));
                let head = row.as_ref().map(|row| HeadRow::decode(row)).transpose()?;
                after.push((id, head.map(|row| row.head)));
            }
        }
        self.shared.cache.before(before.into_iter());
        self.apply(trees, batch)?;
        self.sync(trees)?;
        self.shared.cache.after(after.into_iter(), changed);
        Ok(())
    }

    /// Makes everything that was applied survive a power cut. `sync_data` is enough: it syncs the file's size and
    /// its extents, which are needed to read the data back, and empties the device's cache; only times are left out.
    fn sync(&self, trees: &Trees) -> Result<(), Fault> {
        trees.db.flush().map_err(fault)?;
        self.file.sync_data().map_err(|error| fault(::sled::Error::Io(error)))
    }

    fn answer(&mut self, results: Vec<(Origin, Result<Staged, CommitError>, Answer)>) {
        for (origin, result, answer) in results {
            let result = result.map(|staged| {
                self.purging |= staged.purge;
                let revs = staged.committed.revs.clone();
                if !revs.is_empty() || !staged.keys.is_empty() {
                    // Nobody listening is no error.
                    let _ = self.shared.notices.send(Arc::new(Notice { origin, revs, keys: staged.keys }));
                }
                staged.committed
            });
            // The caller may have gone away; its commit stays.
            let _ = answer.send(result);
        }
    }
}

fn refuse(answers: impl Iterator<Item = Answer>, fault: &Fault) {
    for answer in answers {
        let _ = answer.send(Err(fault.clone().into()));
    }
}

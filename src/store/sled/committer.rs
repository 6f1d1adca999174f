//! The one thread that writes.
//!
//! Owns: groups of commits, their durability, who is answered when. A commit is answered when its group was
//! applied in one transaction, flushed by sled **and** synced by us: sled's own flush calls `sync_file_range`,
//! which keeps neither the file's size nor the device's cache (docs/decisions/002-sled.md).

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use ::sled::IVec;
use tokio::sync::oneshot;

use super::Shared;
use super::batch::Batch;
use super::open::{self, Options};
use super::purge;
use super::read::{self, HeadRow};
use super::room::Room;
use super::rows::{PULSE, Rows, Space, Trees, fault, number_at};
use super::snapshot::{Snapshot, Snapshots};
use super::stage::{Prepared, Staged, stage};
use crate::store::codec::Writer;
use crate::store::{CollectionId, CommitError, Committed, Fault, Notice};

/// The most commits of one group, and about how many bytes they may have together.
const GROUP: usize = 256;
const GROUP_BYTES: usize = 8 << 20;

/// What the committer is asked to do.
pub(super) enum Job {
    /// Carry a commit out.
    Commit(Box<Prepared>, oneshot::Sender<Result<Committed, CommitError>>),
    /// Begin a snapshot.
    Snapshot(oneshot::Sender<Result<Snapshot, Fault>>),
    /// Open the database anew if sled has given it up.
    Heal(oneshot::Sender<Result<(), Fault>>),
    /// Write rows that are worked out while nothing else is written.
    Write(Work, oneshot::Sender<Result<(), Fault>>),
    /// Finish: everything before it is durable.
    Stop,
}

/// Adds rows to a batch.
pub(super) type Work = Box<dyn FnOnce(&mut Batch<'_>) -> Result<(), Fault> + Send>;

type Outcome = Result<Staged, CommitError>;
type Answer = oneshot::Sender<Result<Committed, CommitError>>;

/// The thread's own things.
pub(super) struct Committer {
    pub(super) shared: Arc<Shared>,
    pub(super) jobs: Receiver<Job>,
    /// Our own handle to sled's file, only ever synced.
    pub(super) file: File,
    pub(super) purging: bool,
    pub(super) snapshots: Snapshots,
    /// Why nothing can be promised any more.
    pub(super) dead: Option<Fault>,
    pub(super) path: PathBuf,
    pub(super) options: Options,
    pub(super) room: Room,
    /// How often it was asked whether sled still writes.
    pub(super) pulses: u64,
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
                    let _ = answer.send(self.trees().map(|trees| self.snapshots.begin(&trees)));
                }
                Some(Job::Write(work, answer)) => {
                    let _ = answer.send(self.work(work));
                }
                Some(Job::Heal(answer)) => {
                    let _ = answer.send(self.heal());
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
        let trees = self.trees()?;
        self.room(0)?;
        let mut batch = Batch::over(&trees);
        let more = purge::step(&mut batch)?;
        match self.apply(&trees, &batch) {
            Ok(()) => Ok(more),
            Err(fault) => {
                let rows = batch.into_rows();
                drop(trees);
                self.recover(&rows).map_or(Err(fault), |_| Ok(true))
            }
        }
    }

    fn work(&mut self, work: Work) -> Result<(), Fault> {
        let trees = self.trees()?;
        self.room(0)?;
        let mut batch = Batch::over(&trees);
        work(&mut batch)?;
        match self.write(&trees, &batch, &[]) {
            Ok(()) => Ok(()),
            Err(fault) => {
                let rows = batch.into_rows();
                drop(trees);
                if self.recover(&rows)? { Ok(()) } else { Err(fault) }
            }
        }
    }

    fn apply(&mut self, trees: &Trees, batch: &Batch<'_>) -> Result<(), Fault> {
        self.snapshots.note(trees, batch)?;
        batch.apply()
    }

    /// The open database; opened anew if it had to be given up.
    fn trees(&mut self) -> Result<Arc<Trees>, Fault> {
        if let Some(fault) = &self.dead {
            return Err(fault.clone());
        }
        match self.shared.trees() {
            Ok(trees) => Ok(trees),
            Err(_) => {
                self.reopen()?;
                self.shared.trees()
            }
        }
    }

    /// Takes room for a group from the disk, or refuses it. sled writes a row several times until it lies compact.
    fn room(&mut self, weight: usize) -> Result<(), Fault> {
        self.room.take(&self.file, 8 * weight as u64)
    }

    fn commit(&mut self, group: Vec<(Box<Prepared>, Answer)>) {
        let weight = group.iter().map(|(prepared, _)| prepared.weight).sum();
        if let Err(fault) = self.room(weight) {
            return refuse(group.into_iter().map(|(_, answer)| answer), &fault);
        }
        // A second time if the database had been given up by sled, for a reason that has passed.
        let first = self.guarded(&group);
        match first.or_else(|fault| fault.map_or_else(|| self.guarded(&group), |fault| Err(Some(fault)))) {
            Ok(results) => self.answer(group.into_iter().zip(results)),
            Err(fault) => {
                let fault =
                    fault.unwrap_or_else(|| Fault::Broken("the database could not be written twice".into()));
                tracing::error!(error = %fault, commits = group.len(), "commits could not be written");
                refuse(group.into_iter().map(|(_, answer)| answer), &fault);
            }
        }
    }

    /// Carries a group out; if sled panics over it, the database is opened anew.
    fn guarded(&mut self, group: &[(Box<Prepared>, Answer)]) -> Result<Vec<Outcome>, Option<Fault>> {
        catch_unwind(AssertUnwindSafe(|| self.attempt(group))).unwrap_or_else(|_| {
            self.reopen()?;
            Err(Some(Fault::Broken("the database panicked".into())))
        })
    }

    /// Carries a group out. Without a fault in the error: nothing was written, the database was opened anew.
    fn attempt(&mut self, group: &[(Box<Prepared>, Answer)]) -> Result<Vec<Outcome>, Option<Fault>> {
        let trees = self.trees()?;
        let mut batch = Batch::over(&trees);
        let mut results = Vec::with_capacity(group.len());
        for (prepared, _) in group {
            let result = stage(&mut batch, prepared);
            match &result {
                Ok(_) => batch.keep(),
                Err(_) => batch.revert(),
            }
            results.push(result);
        }
        if batch.is_empty() {
            return Ok(results);
        }
        let staged = results.iter().filter_map(|result| result.as_ref().ok());
        let changed: Vec<CollectionId> = staged.flat_map(|staged| staged.changed.clone()).collect();
        match self.write(&trees, &batch, &changed) {
            Ok(()) => Ok(results),
            Err(fault) => {
                tracing::warn!(error = %fault, "the database is opened anew after a failed write");
                let rows = batch.into_rows();
                drop(trees);
                match self.recover(&rows) {
                    Ok(true) => Ok(results),
                    Ok(false) => Err(None),
                    Err(Fault::Full) => Err(Some(Fault::Full)),
                    Err(_) => Err(Some(fault)),
                }
            }
        }
    }

    /// After a write that failed: gives the database up, opens it anew and tells whether the rows are there. They
    /// are all there or none, for they were one transaction.
    fn recover(&mut self, rows: &[(Space, Vec<u8>, Option<IVec>)]) -> Result<bool, Fault> {
        if let Some(fault) = &self.dead {
            return Err(fault.clone());
        }
        self.reopen()?;
        let trees = self.shared.trees()?;
        for (space, key, row) in rows {
            if trees.get(*space, key)? != *row {
                return Ok(false);
            }
        }
        self.sync(&trees)?;
        Ok(true)
    }

    /// Opens the database anew if it was given up. sled tells only when it is asked to write.
    fn heal(&mut self) -> Result<(), Fault> {
        let trees = self.trees()?;
        self.pulses += 1;
        let mut row = Writer::row();
        row.number(self.pulses);
        if trees.tree(Space::Core).insert(PULSE, row.0).is_ok() {
            return Ok(());
        }
        drop(trees);
        self.reopen()
    }

    /// Threads of sled may hold the file, and its lock, a little longer.
    fn open_again(&self) -> Result<Arc<Trees>, Fault> {
        let mut tries = 0;
        loop {
            match open::existing(&self.path, &self.options) {
                Ok(trees) => return Ok(trees),
                Err(fault) if tries == 100 => return Err(fault),
                Err(_) => tries += 1,
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Opens the database anew. Meanwhile, and if it fails, nobody can read: what was half written is never seen.
    fn reopen(&mut self) -> Result<(), Fault> {
        let old = self.shared.trees.write().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(old) = old {
            // Its file stays locked until the last reader has let go of it.
            for _ in 0..5000 {
                if Arc::strong_count(&old) == 1 {
                    break;
                }
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        let trees = self.open_again()?;
        self.file = open::data_file(&self.path)?;
        self.room.forget();
        self.purging = purge::pending(&*trees)?;
        self.shared.cache.clear();
        *self.shared.trees.write().unwrap_or_else(PoisonError::into_inner) = Some(trees);
        Ok(())
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
    fn sync(&mut self, trees: &Trees) -> Result<(), Fault> {
        trees.db.flush().map_err(fault)?;
        self.file.sync_data().map_err(|error| {
            // What a failed sync leaves in memory looks well and is not on the disk: nothing can be promised any
            // more until the process starts again and reads what is there.
            let fault = Fault::Broken(format!("the disk failed to sync ({error}); restart when it is well"));
            self.dead.insert(fault).clone()
        })
    }

    fn answer(&mut self, results: impl Iterator<Item = ((Box<Prepared>, Answer), Outcome)>) {
        for ((prepared, answer), result) in results {
            let result = result.map(|staged| {
                self.shared.commits.fetch_add(1, Ordering::Relaxed);
                self.purging |= staged.purge;
                let (origin, revs) = (prepared.commit.origin, staged.committed.revs.clone());
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

fn refuse(answers: impl IntoIterator<Item = Answer>, fault: &Fault) {
    for answer in answers {
        let _ = answer.send(Err(fault.clone().into()));
    }
}

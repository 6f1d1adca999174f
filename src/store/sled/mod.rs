//! The store on sled 0.34: one directory, no other process.
//!
//! Owns: `Sled`, the trait's verbs over rows. All writing goes through one thread (`committer`); reading goes to the
//! trees at once, longer reads on the threads for blocking work.

mod batch;
mod cache;
mod committer;
mod copy;
mod open;
mod purge;
mod read;
mod room;
mod rows;
mod snapshot;
mod stage;
#[cfg(test)]
mod tests;
mod tidy;
mod time;
mod upgrade;
mod verify;

use std::io::{Read, Seek, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, PoisonError, RwLock};
use std::thread::JoinHandle;

use bytes::Bytes;
use tokio::sync::{broadcast, oneshot};

use super::{
    Changes, ChangesError, Collection, CollectionId, Commit, CommitError, Committed, DumpError, Fault,
    Figures, Fut, Head, Key, Meta, Name, Notice, Object, Recompute, Rev, Store, Summary, Table, Timestamp,
    Verified,
};
use cache::Cache;
use committer::{Committer, Job, Work};
pub use open::Options;
use room::Room;
use rows::{NEXT_ID, Trees};
use snapshot::{Snapshot, Snapshots};
use stage::Prepared;
#[cfg(test)]
pub(super) use time::touches;

/// Rows up to which a read is done where it is asked for.
const FEW: usize = 32;

/// The store on sled.
#[derive(Debug)]
pub struct Sled {
    shared: Arc<Shared>,
    jobs: Sender<Job>,
    next_id: AtomicU64,
    committer: Option<JoinHandle<()>>,
    /// Removed on drop.
    temporary: Option<PathBuf>,
    /// Released last.
    _claim: open::Claim,
}

/// What readers and the committer share.
#[derive(Debug)]
struct Shared {
    trees: RwLock<Option<Arc<Trees>>>,
    cache: Cache,
    notices: broadcast::Sender<Arc<Notice>>,
    /// Commits since it was opened.
    commits: AtomicU64,
}

impl Shared {
    fn trees(&self) -> Result<Arc<Trees>, Fault> {
        let trees = self.trees.read().unwrap_or_else(PoisonError::into_inner);
        trees.clone().ok_or_else(|| Fault::Broken("the database is being opened anew".into()))
    }
}

impl Sled {
    /// Opens the store in a directory of its own, made if it is not there. Blocks.
    pub fn open(path: impl AsRef<Path>, options: Options) -> Result<Sled, Fault> {
        let path = path.as_ref();
        let (trees, claim) = open::claim(path, &options)?;
        let file = open::data_file(path)?;
        let first = CollectionId::FIRST.0.max(read::counter(&*trees, NEXT_ID)?);
        let purging = purge::pending(&*trees)?;
        let shared = Arc::new(Shared {
            trees: RwLock::new(Some(trees)),
            cache: Cache::default(),
            notices: broadcast::channel(1024).0,
            commits: AtomicU64::new(0),
        });
        let (jobs, queue) = mpsc::channel();
        let committer = Committer {
            shared: shared.clone(),
            jobs: queue,
            file,
            purging,
            snapshots: Snapshots::default(),
            dead: None,
            path: path.to_owned(),
            room: Room::new(options.reserve),
            pulses: 0,
            options,
        };
        let committer = std::thread::Builder::new()
            .name("committer".into())
            .spawn(move || committer.run())
            .map_err(|error| Fault::Broken(format!("the committer did not start: {error}")))?;
        let next_id = AtomicU64::new(first);
        Ok(Sled { shared, jobs, next_id, committer: Some(committer), temporary: None, _claim: claim })
    }

    /// Makes a store from a dump, in a place where nothing is kept. Blocks.
    ///
    /// # Errors
    /// When the dump is damaged or the place is not empty; then nothing was changed.
    pub fn restore(
        path: impl AsRef<Path>,
        options: &Options,
        dump: impl Read + Seek,
    ) -> Result<Summary, DumpError> {
        copy::restore(path.as_ref(), options, dump)
    }

    /// Opens an empty store that is removed when it is dropped: for tests.
    pub fn temporary() -> Result<Sled, Fault> {
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(|error| Fault::Broken(error.to_string()))?;
        let path = std::env::temp_dir().join(format!("kalends-{:016x}", u64::from_be_bytes(random)));
        let mut store = Sled::open(path.join("db"), Options::default())?;
        store.temporary = Some(path);
        Ok(store)
    }

    /// Reads a little, at once.
    fn here<'a, T: Send + 'a>(
        &'a self,
        read: impl Fn(&Shared, &Trees) -> Result<T, Fault> + Send + 'a,
    ) -> Fut<'a, Result<T, Fault>> {
        match self.shared.trees().and_then(|trees| read(&self.shared, &trees)) {
            Ok(found) => Box::pin(std::future::ready(Ok(found))),
            Err(fault) => Box::pin(async move {
                let (answer, wait) = oneshot::channel();
                let asked = self.jobs.send(Job::Heal(answer)).is_ok();
                if !asked || !matches!(wait.await, Ok(Ok(()))) {
                    return Err(fault);
                }
                read(&self.shared, &*self.shared.trees()?)
            }),
        }
    }

    /// Reads more, on a thread for blocking work.
    fn elsewhere<'a, T: Send + 'static>(
        &self,
        read: impl Fn(&Shared, &Trees) -> Result<T, Fault> + Send + 'static,
    ) -> Fut<'a, Result<T, Fault>> {
        let (shared, jobs) = (self.shared.clone(), self.jobs.clone());
        Box::pin(async move {
            let work = tokio::task::spawn_blocking(move || {
                shared.trees().and_then(|trees| read(&shared, &trees)).or_else(|fault| {
                    heal(&jobs).map_err(|_| fault)?;
                    read(&shared, &*shared.trees()?)
                })
            });
            work.await.unwrap_or_else(|error| Err(Fault::Broken(error.to_string())))
        })
    }
}

/// Has the database opened anew if sled has given it up. Blocks.
fn heal(jobs: &Sender<Job>) -> Result<(), Fault> {
    let closing = || Fault::Broken("the store is closing".into());
    let (answer, wait) = oneshot::channel();
    jobs.send(Job::Heal(answer)).map_err(|_| closing())?;
    wait.blocking_recv().map_err(|_| closing())?
}

/// Begins a snapshot. Blocks until the committer has time.
fn snapshot(jobs: &Sender<Job>) -> Result<Snapshot, Fault> {
    let closing = || Fault::Broken("the store is closing".into());
    let (answer, wait) = oneshot::channel();
    jobs.send(Job::Snapshot(answer)).map_err(|_| closing())?;
    wait.blocking_recv().map_err(|_| closing())?
}

/// Has rows written by the committer. Blocks until they are durable.
fn write(jobs: &Sender<Job>, work: Work) -> Result<(), Fault> {
    let closing = || Fault::Broken("the store is closing".into());
    let (answer, wait) = oneshot::channel();
    jobs.send(Job::Write(work, answer)).map_err(|_| closing())?;
    wait.blocking_recv().map_err(|_| closing())?
}

impl Drop for Sled {
    fn drop(&mut self) {
        let _ = self.jobs.send(Job::Stop);
        if let Some(committer) = self.committer.take() {
            let _ = committer.join();
        }
        // The last handle closes the file and releases its lock.
        drop(self.shared.trees.write().unwrap_or_else(PoisonError::into_inner).take());
        if let Some(path) = &self.temporary {
            let _ = std::fs::remove_dir_all(path);
        }
    }
}

impl Store for Sled {
    fn record<'a>(&'a self, key: &'a Key) -> Fut<'a, Result<Option<Bytes>, Fault>> {
        use rows::Rows;
        self.here(move |_, trees| {
            Ok(trees.value(rows::Space::Record, &rows::record_key(key))?.map(Bytes::from))
        })
    }

    fn records<'a>(
        &'a self,
        table: Table,
        prefix: &'a str,
        after: Option<&'a str>,
        limit: usize,
    ) -> Fut<'a, Result<Vec<(Key, Bytes)>, Fault>> {
        if limit <= FEW {
            return self.here(move |_, trees| read::records(trees, table, prefix, after, limit));
        }
        let (prefix, after) = (prefix.to_owned(), after.map(str::to_owned));
        self.elsewhere(move |_, trees| read::records(trees, table, &prefix, after.as_deref(), limit))
    }

    fn collection(&self, id: CollectionId) -> Fut<'_, Result<Option<Arc<Collection>>, Fault>> {
        self.here(move |shared, trees| shared.cache.collection(trees, id))
    }

    fn child<'a>(
        &'a self,
        parent: CollectionId,
        name: &'a str,
    ) -> Fut<'a, Result<Option<Arc<Collection>>, Fault>> {
        self.here(move |shared, trees| shared.cache.child(trees, parent, name))
    }

    fn children(&self, parent: CollectionId) -> Fut<'_, Result<Vec<Arc<Collection>>, Fault>> {
        self.here(move |shared, trees| {
            let mut found = Vec::new();
            for id in read::children(trees, parent)? {
                found.extend(shared.cache.collection(trees, id)?);
            }
            Ok(found)
        })
    }

    fn new_collection_id(&self) -> Fut<'_, Result<CollectionId, Fault>> {
        let id = CollectionId(self.next_id.fetch_add(1, Ordering::Relaxed));
        Box::pin(std::future::ready(Ok(id)))
    }

    fn head(&self, id: CollectionId) -> Fut<'_, Result<Head, Fault>> {
        self.here(move |shared, trees| shared.cache.head(trees, id))
    }

    fn meta<'a>(&'a self, collection: CollectionId, name: &'a str) -> Fut<'a, Result<Option<Meta>, Fault>> {
        self.here(move |shared, trees| match shared.cache.live(trees, collection)? {
            true => read::meta(trees, collection, name),
            false => Ok(None),
        })
    }

    fn object<'a>(
        &'a self,
        collection: CollectionId,
        name: &'a str,
    ) -> Fut<'a, Result<Option<Object>, Fault>> {
        self.here(move |shared, trees| match shared.cache.live(trees, collection)? {
            true => read::object(trees, collection, name),
            false => Ok(None),
        })
    }

    fn list<'a>(
        &'a self,
        collection: CollectionId,
        after: Option<&'a str>,
        limit: usize,
    ) -> Fut<'a, Result<Vec<Meta>, Fault>> {
        let after = after.map(str::to_owned);
        let read = move |shared: &Shared, trees: &Trees| match shared.cache.live(trees, collection)? {
            true => read::list(trees, collection, after.as_deref(), limit),
            false => Ok(Vec::new()),
        };
        if limit <= FEW { self.here(read) } else { self.elsewhere(read) }
    }

    fn by_uid<'a>(&'a self, collection: CollectionId, uid: &'a str) -> Fut<'a, Result<Option<Name>, Fault>> {
        self.here(move |shared, trees| match shared.cache.live(trees, collection)? {
            true => read::by_uid(trees, collection, uid),
            false => Ok(None),
        })
    }

    fn in_range(
        &self,
        collection: CollectionId,
        from: Option<i64>,
        to: Option<i64>,
    ) -> Fut<'_, Result<Vec<Meta>, Fault>> {
        let jobs = self.jobs.clone();
        self.elsewhere(move |shared, trees| {
            if !shared.cache.live(trees, collection)? {
                return Ok(Vec::new());
            }
            // An object that moves between levels while they are read could be missed: then read again.
            for _ in 0..4 {
                let before = read::head(trees, collection)?.head.rev;
                let found = time::objects(trees, collection, from, to)?;
                if read::head(trees, collection)?.head.rev == before {
                    return Ok(found);
                }
            }
            time::objects(&snapshot(&jobs)?, collection, from, to)
        })
    }

    fn changes(
        &self,
        collection: CollectionId,
        since: Rev,
        limit: usize,
    ) -> Fut<'_, Result<Changes, ChangesError>> {
        let read = move |shared: &Shared, trees: &Trees| {
            let head = shared.cache.head(trees, collection)?;
            if since > head.rev || since < head.horizon {
                return Ok(None);
            }
            let mut changes = Changes { items: Vec::new(), head: head.rev, more: false };
            read::log(trees, collection, since, head.rev, &mut |rev, row| {
                if changes.items.len() == limit {
                    changes.more = true;
                    return Ok(ControlFlow::Break(()));
                }
                let origin = shared.cache.writer(trees, row.origin)?;
                changes.items.push(row.change(rev, origin));
                Ok(ControlFlow::Continue(()))
            })?;
            Ok(Some(changes))
        };
        let work = if limit <= FEW { self.here(read) } else { self.elsewhere(read) };
        Box::pin(async move { work.await?.ok_or(ChangesError::Expired) })
    }

    fn commit(&self, commit: Commit) -> Fut<'_, Result<Committed, CommitError>> {
        Box::pin(async move {
            let prepared = Box::new(Prepared::of(commit)?);
            let (answer, wait) = oneshot::channel();
            let stopped = || Fault::Broken("the store is closing".into());
            self.jobs.send(Job::Commit(prepared, answer)).map_err(|_| stopped())?;
            wait.await.map_err(|_| stopped())?
        })
    }

    fn watch(&self) -> broadcast::Receiver<Arc<Notice>> {
        self.shared.notices.subscribe()
    }

    fn dump(&self, out: Box<dyn Write + Send>) -> Fut<'_, Result<Summary, DumpError>> {
        let jobs = self.jobs.clone();
        Box::pin(async move {
            let work = tokio::task::spawn_blocking(move || copy::dump(&snapshot(&jobs)?, out));
            work.await.unwrap_or_else(|error| Err(Fault::Broken(error.to_string()).into()))
        })
    }

    fn verify(&self, index: Option<Recompute>) -> Fut<'_, Result<Verified, Fault>> {
        let jobs = self.jobs.clone();
        self.elsewhere(move |_, _| verify::verify(&snapshot(&jobs)?, index.as_ref()))
    }

    fn rebuild(&self, index: Recompute) -> Fut<'_, Result<u64, Fault>> {
        let jobs = self.jobs.clone();
        self.elsewhere(move |_, _| tidy::rebuild(&snapshot(&jobs)?, &index, &mut |work| write(&jobs, work)))
    }

    fn trim(&self, older_than: Timestamp) -> Fut<'_, Result<u64, Fault>> {
        let jobs = self.jobs.clone();
        self.elsewhere(move |_, _| tidy::trim(&snapshot(&jobs)?, older_than, &mut |work| write(&jobs, work)))
    }

    fn figures(&self) -> Fut<'_, Result<Figures, Fault>> {
        self.elsewhere(|shared, trees| {
            let commits = shared.commits.load(Ordering::Relaxed);
            let disk = trees.size_on_disk()?;
            Ok(Figures { commits, disk, ..read::figures(trees)? })
        })
    }

    fn health(&self) -> Fut<'_, Result<(), Fault>> {
        use rows::Rows;
        self.here(move |_, trees| match trees.get(rows::Space::Core, rows::FORMAT_KEY)? {
            Some(_) => Ok(()),
            None => Err(Fault::Broken("the format version is gone".into())),
        })
    }
}

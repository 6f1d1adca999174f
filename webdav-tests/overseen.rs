//! A store over whose shoulder a test looks: it counts what is read, fails at a chosen moment, and lets somebody else write
//! just before a commit.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use kalends::store::{
    Changes, ChangesError, Collection, CollectionId, Commit, CommitError, Committed, DumpError, Fault,
    Figures, Fut, Head, Key, Meta, Name, Notice, Object, Recompute, Rev, Sled, Store, Summary, Table,
    Timestamp, Verified,
};

/// See above.
pub(crate) struct Overseen {
    inner: Sled,
    /// Reads that still succeed.
    luck: AtomicI64,
    reads: AtomicI64,
    rows: AtomicI64,
    meanwhile: Mutex<Option<Commit>>,
}

impl Overseen {
    pub(crate) fn new(inner: Sled) -> Overseen {
        let luck = AtomicI64::new(i64::MAX);
        Overseen {
            inner,
            luck,
            reads: AtomicI64::new(0),
            rows: AtomicI64::new(0),
            meanwhile: Mutex::default(),
        }
    }

    /// After so many reads all others fail.
    pub(crate) fn lucky(&self, reads: i64) {
        self.luck.store(reads, Ordering::Relaxed);
    }

    /// How often anything was read so far.
    pub(crate) fn reads(&self) -> i64 {
        self.reads.load(Ordering::Relaxed)
    }

    /// How many rows lists of records were long so far.
    pub(crate) fn rows(&self) -> i64 {
        self.rows.load(Ordering::Relaxed)
    }

    /// Just before the next commit, this one comes from somebody else.
    pub(crate) fn meanwhile(&self, commit: Commit) {
        *self.meanwhile.lock().unwrap() = Some(commit);
    }

    fn spend(&self) -> Result<(), Fault> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        match self.luck.fetch_sub(1, Ordering::Relaxed) {
            left if left > 0 => Ok(()),
            _ => Err(Fault::Broken("out of luck".into())),
        }
    }
}

/// Passes a read on while there is luck.
macro_rules! read {
    ($self:ident, $call:expr) => {
        Box::pin(async move {
            $self.spend()?;
            $call.await
        })
    };
}

impl Store for Overseen {
    fn record<'a>(&'a self, key: &'a Key) -> Fut<'a, Result<Option<Bytes>, Fault>> {
        read!(self, self.inner.record(key))
    }
    fn records<'a>(
        &'a self,
        table: Table,
        prefix: &'a str,
        after: Option<&'a str>,
        limit: usize,
    ) -> Fut<'a, Result<Vec<(Key, Bytes)>, Fault>> {
        Box::pin(async move {
            self.spend()?;
            let found = self.inner.records(table, prefix, after, limit).await?;
            self.rows.fetch_add(i64::try_from(found.len()).unwrap(), Ordering::Relaxed);
            Ok(found)
        })
    }
    fn collection(&self, id: CollectionId) -> Fut<'_, Result<Option<Arc<Collection>>, Fault>> {
        read!(self, self.inner.collection(id))
    }
    fn child<'a>(
        &'a self,
        parent: CollectionId,
        name: &'a str,
    ) -> Fut<'a, Result<Option<Arc<Collection>>, Fault>> {
        read!(self, self.inner.child(parent, name))
    }
    fn children(&self, parent: CollectionId) -> Fut<'_, Result<Vec<Arc<Collection>>, Fault>> {
        read!(self, self.inner.children(parent))
    }
    fn new_collection_id(&self) -> Fut<'_, Result<CollectionId, Fault>> {
        self.inner.new_collection_id()
    }
    fn head(&self, id: CollectionId) -> Fut<'_, Result<Head, Fault>> {
        read!(self, self.inner.head(id))
    }
    fn meta<'a>(&'a self, collection: CollectionId, name: &'a str) -> Fut<'a, Result<Option<Meta>, Fault>> {
        read!(self, self.inner.meta(collection, name))
    }
    fn object<'a>(
        &'a self,
        collection: CollectionId,
        name: &'a str,
    ) -> Fut<'a, Result<Option<Object>, Fault>> {
        read!(self, self.inner.object(collection, name))
    }
    fn list<'a>(
        &'a self,
        collection: CollectionId,
        after: Option<&'a str>,
        limit: usize,
    ) -> Fut<'a, Result<Vec<Meta>, Fault>> {
        read!(self, self.inner.list(collection, after, limit))
    }
    fn by_uid<'a>(&'a self, collection: CollectionId, uid: &'a str) -> Fut<'a, Result<Option<Name>, Fault>> {
        read!(self, self.inner.by_uid(collection, uid))
    }
    fn in_range(
        &self,
        collection: CollectionId,
        from: Option<i64>,
        to: Option<i64>,
    ) -> Fut<'_, Result<Vec<Meta>, Fault>> {
        read!(self, self.inner.in_range(collection, from, to))
    }
    fn changes(
        &self,
        collection: CollectionId,
        since: Rev,
        limit: usize,
    ) -> Fut<'_, Result<Changes, ChangesError>> {
        read!(self, self.inner.changes(collection, since, limit))
    }
    fn commit(&self, commit: Commit) -> Fut<'_, Result<Committed, CommitError>> {
        let meanwhile = self.meanwhile.lock().unwrap().take();
        Box::pin(async move {
            if let Some(meanwhile) = meanwhile {
                self.inner.commit(meanwhile).await?;
            }
            self.inner.commit(commit).await
        })
    }
    fn watch(&self) -> tokio::sync::broadcast::Receiver<Arc<Notice>> {
        self.inner.watch()
    }
    fn dump(&self, out: Box<dyn std::io::Write + Send>) -> Fut<'_, Result<Summary, DumpError>> {
        self.inner.dump(out)
    }
    fn verify(&self, index: Option<Recompute>) -> Fut<'_, Result<Verified, Fault>> {
        self.inner.verify(index)
    }
    fn rebuild(&self, index: Recompute) -> Fut<'_, Result<u64, Fault>> {
        self.inner.rebuild(index)
    }
    fn trim(&self, older_than: Timestamp) -> Fut<'_, Result<u64, Fault>> {
        self.inner.trim(older_than)
    }
    fn figures(&self) -> Fut<'_, Result<Figures, Fault>> {
        self.inner.figures()
    }
    fn health(&self) -> Fut<'_, Result<(), Fault>> {
        self.inner.health()
    }
}

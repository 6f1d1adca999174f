//! Quirks that need more than a conversation: a store that fails at a chosen moment.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use bytes::Bytes;
use http_body_util::BodyExt as _;
use kalends::calendar::Put;
use kalends::store::{
    Changes, ChangesError, Collection, CollectionId, Commit, CommitError, Committed, DumpError, Fault, Fut,
    Head, Key, Meta, Name, Notice, Object, Origin, Recompute, Rev, Sled, Store, Summary, Table, Timestamp,
    Verified,
};

use crate::door::{Door, Heard};

/// A store whose reads fail once its luck has run out.
struct Unlucky {
    inner: Sled,
    /// Reads that still succeed.
    luck: AtomicI64,
}

impl Unlucky {
    fn spend(&self) -> Result<(), Fault> {
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

impl Store for Unlucky {
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
        read!(self, self.inner.records(table, prefix, after, limit))
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
        self.inner.commit(commit)
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
    fn health(&self) -> Fut<'_, Result<(), Fault>> {
        self.inner.health()
    }
}

/// How many events lie in the calendar: enough that answers are streamed in several pieces.
const EVENTS: usize = 300;

struct Stage {
    store: Arc<Unlucky>,
    door: Door,
}

async fn stage() -> Stage {
    let store = Arc::new(Unlucky { inner: Sled::temporary().unwrap(), luck: AtomicI64::new(i64::MAX) });
    let door = Door::over(Arc::clone(&store) as Arc<dyn Store>).await;
    let anna = door.house.principal("anna").await.unwrap().unwrap();
    let session = door.house.session(anna, Origin::System);
    let home = session.home().await.unwrap();
    let calendar = home.writable_child("calendar").await.unwrap().unwrap();
    for n in 0..EVENTS {
        let rule = if n % 3 == 0 { "RRULE:FREQ=DAILY\r\n" } else { "" };
        let text = format!(
            "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//test//EN\r\nBEGIN:VEVENT\r\nUID:{n}\r\n\
             DTSTAMP:20260101T000000Z\r\nDTSTART:20260615T120000Z\r\n{rule}SUMMARY:{n}\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"
        );
        let name = Name::new(format!("{n}.ics")).unwrap();
        session.put(&calendar, Put::new(&name, Bytes::from(text))).await.unwrap();
    }
    Stage { store, door }
}

impl Stage {
    async fn say(&self, method: &str, path: &str, depth: &str, body: &str, luck: i64) -> Heard {
        self.store.luck.store(i64::MAX, Ordering::Relaxed);
        let ready = || self.store.luck.store(luck, Ordering::Relaxed);
        self.door.say(method, path, &[("depth", depth)], body.to_owned(), ready).await
    }
}

/// an answer that is cut short must never look whole: KDE, bridges and vdirsyncer delete what it does not name.
/// Whichever read of the store fails, the answer is 5xx, or it breaks off; or it is the very answer of a healthy store.
#[test]
fn q_06_a_failing_store_never_shortens_an_answer() {
    let ns = "xmlns:D=\"DAV:\" xmlns:C=\"urn:ietf:params:xml:ns:caldav\"";
    let hrefs: String =
        (0..EVENTS).map(|n| format!("<D:href>/dav/calendars/anna/calendar/{n}.ics</D:href>")).collect();
    let filter = "<C:filter><C:comp-filter name=\"VCALENDAR\"><C:comp-filter name=\"VEVENT\">\
                  <C:time-range start=\"20260701T000000Z\" end=\"20260702T000000Z\"/></C:comp-filter></C:comp-filter></C:filter>";
    let home = "/dav/calendars/anna/";
    let calendar = "/dav/calendars/anna/calendar/";
    let asked = [
        (
            "PROPFIND",
            home,
            "1",
            format!("<D:propfind {ns}><D:prop><D:resourcetype/><D:sync-token/></D:prop></D:propfind>"),
        ),
        ("PROPFIND", calendar, "1", format!("<D:propfind {ns}><D:prop><D:getetag/></D:prop></D:propfind>")),
        ("PROPFIND", calendar, "1", format!("<D:propfind {ns}><D:allprop/></D:propfind>")),
        (
            "REPORT",
            calendar,
            "0",
            format!(
                "<D:sync-collection {ns}><D:sync-token/><D:sync-level>1</D:sync-level><D:prop><D:getetag/></D:prop></D:sync-collection>"
            ),
        ),
        (
            "REPORT",
            calendar,
            "0",
            format!(
                "<D:sync-collection {ns}><D:sync-token/><D:sync-level>1</D:sync-level><D:limit><D:nresults>200</D:nresults></D:limit><D:prop><D:getetag/></D:prop></D:sync-collection>"
            ),
        ),
        (
            "REPORT",
            calendar,
            "1",
            format!(
                "<C:calendar-multiget {ns}><D:prop><D:getetag/><C:calendar-data/></D:prop>{hrefs}</C:calendar-multiget>"
            ),
        ),
        (
            "REPORT",
            calendar,
            "1",
            format!("<C:calendar-query {ns}><D:prop><D:getetag/></D:prop>{filter}</C:calendar-query>"),
        ),
        (
            "REPORT",
            calendar,
            "1",
            format!(
                "<C:calendar-query {ns}><D:prop><D:getetag/><C:calendar-data/></D:prop>{filter}</C:calendar-query>"
            ),
        ),
        (
            "REPORT",
            calendar,
            "1",
            format!(
                "<C:free-busy-query {ns}><C:time-range start=\"20260601T000000Z\" end=\"20260801T000000Z\"/></C:free-busy-query>"
            ),
        ),
        (
            "REPORT",
            home,
            "0",
            format!(
                "<D:principal-match {ns}><D:principal-property><D:owner/></D:principal-property><D:prop><D:getetag/></D:prop></D:principal-match>"
            ),
        ),
    ];
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let stage = stage().await;
        for (method, path, depth, body) in asked {
            let whole = stage.say(method, path, depth, &body, i64::MAX).await;
            assert!(matches!(whole.status, 200 | 207), "{method} {path}: {} {body}", whole.status);
            let mut failed = 0;
            for luck in (0..12).chain((12..2 * EVENTS as i64 + 40).step_by(29)) {
                let heard = stage.say(method, path, depth, &body, luck).await;
                let cut = heard.status >= 500 || heard.body.is_none();
                failed += usize::from(cut);
                assert!(
                    cut || heard.body == whole.body,
                    "{method} {path} with {luck} good reads: {} and another answer\n{body}\n{}",
                    heard.status,
                    String::from_utf8_lossy(&heard.body.unwrap_or_default())
                );
            }
            assert!(failed > 0, "{method} {path}: nothing failed, so nothing was shown: {body}");
        }
    });
}

/// long answers are made while they are read: neither 413 nor a heap of memory. After the first piece the
/// store has been asked for that piece and little more, and no piece is much longer than 32 KiB.
#[test]
fn q_29_long_answers_are_made_while_they_are_read() {
    let ns = "xmlns:D=\"DAV:\" xmlns:C=\"urn:ietf:params:xml:ns:caldav\"";
    let hrefs: String = (0..10_000)
        .map(|n| format!("<D:href>/dav/calendars/anna/calendar/{}.ics</D:href>", n % EVENTS))
        .collect();
    let body =
        format!("<C:calendar-multiget {ns}><D:prop><C:calendar-data/></D:prop>{hrefs}</C:calendar-multiget>");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let stage = stage().await;
        let full = 1_000_000;
        let ready = || stage.store.luck.store(full, Ordering::Relaxed);
        let reply = stage.door.ask("REPORT", "/dav/calendars/anna/calendar/", &[], body, ready).await;
        assert_eq!(reply.status().as_u16(), 207);
        let mut answer = reply.into_body();
        let (mut pieces, mut whole) = (0, Vec::new());
        while let Some(frame) = answer.frame().await {
            let Ok(piece) = frame.unwrap().into_data() else { continue };
            assert!(piece.len() < 48 << 10, "a piece of {} bytes", piece.len());
            pieces += 1;
            whole.extend_from_slice(&piece);
            let told = whole.windows(12).filter(|w| w == b"<D:response>").count() as i64;
            let asked = full - stage.store.luck.load(Ordering::Relaxed);
            if pieces <= 3 {
                assert!(asked < told + 200, "{asked} reads for {told} members");
            }
        }
        assert!(pieces > 50, "{pieces} pieces");
        let text = String::from_utf8(whole).unwrap();
        assert_eq!(text.matches("<C:calendar-data>").count(), 10_000);
        assert!(text.ends_with("</D:multistatus>"));
    });
}

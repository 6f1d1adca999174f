//! What every store must do. One function for each promise; `contract!` runs all of them on a backend.
//!
//! Owns: the promises of `Store`. A fault of a backend found anywhere becomes a function here first.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use bytes::Bytes;

use super::*;

/// Runs the contract on a backend: `contract!(sled => Sled::temporary().unwrap())`.
macro_rules! contract {
    ($backend:ident => $open:expr; $($name:ident)*) => {
        mod $backend {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
                async fn $name() {
                    let store = $open;
                    super::$name(&store).await;
                }
            )*
        }
    };
}

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn event(uid: &str, start: i64, end: Option<i64>) -> Index {
    let span = Some(Span { start, end, exact: end.is_some() });
    Index { uid: Some(uid.into()), component: "VEVENT".into(), span }
}

fn put(collection: CollectionId, at: &str, bytes: &str, index: Index) -> Op {
    Op::Put {
        collection,
        name: name(at),
        content_type: "text/calendar".into(),
        bytes: Bytes::copy_from_slice(bytes.as_bytes()),
        index,
    }
}

async fn collection(store: &dyn Store, parent: CollectionId, at: &str, kind: Kind) -> CollectionId {
    let id = store.new_collection_id().await.unwrap();
    let collection = Collection {
        id,
        parent,
        name: name(at),
        owner: "anna".into(),
        kind,
        components: vec![],
        properties: Properties::default(),
        created: Timestamp(1),
        modified: Timestamp(1),
    };
    store.commit(commit().op(Op::PutCollection(collection))).await.unwrap();
    id
}

async fn calendar(store: &dyn Store) -> CollectionId {
    let home = collection(store, CollectionId::HOMES, "anna", Kind::Home).await;
    collection(store, home, "work", Kind::Calendar).await
}

fn commit() -> Commit {
    Commit::new(Origin::System, Timestamp(1000))
}

async fn an_object_is_read_as_it_was_put(store: &dyn Store) {
    let calendar = calendar(store).await;
    let done =
        store.commit(commit().op(put(calendar, "a.ics", "BEGIN", event("a", 5, Some(9))))).await.unwrap();
    assert_eq!(done.rev(calendar), Some(Rev(1)));
    let object = store.object(calendar, "a.ics").await.unwrap().unwrap();
    assert_eq!(object.bytes, "BEGIN");
    assert_eq!(object.meta.etag, Etag::of(b"BEGIN"));
    assert_eq!(object.meta.index, event("a", 5, Some(9)));
    assert_eq!(store.meta(calendar, "a.ics").await.unwrap(), Some(object.meta.clone()));
    assert_eq!(store.list(calendar, None, 100).await.unwrap(), vec![object.meta.clone()]);
    assert_eq!(store.in_range(calendar, Some(0), Some(6)).await.unwrap(), vec![object.meta]);
    assert_eq!(store.by_uid(calendar, "a").await.unwrap(), Some(name("a.ics")));
    let head = store.head(calendar).await.unwrap();
    assert_eq!((head.rev, head.objects, head.bytes), (Rev(1), 1, 5));
    let changes = store.changes(calendar, Rev(0), 10).await.unwrap();
    assert_eq!(changes.items.len(), 1);
    assert_eq!((changes.items[0].what, changes.items[0].name.clone()), (What::Put, Some(name("a.ics"))));
}

async fn a_deleted_object_leaves_nothing_but_its_row(store: &dyn Store) {
    let calendar = calendar(store).await;
    store.commit(commit().op(put(calendar, "a.ics", "BEGIN", event("a", 5, None)))).await.unwrap();
    store.commit(commit().op(Op::Delete { collection: calendar, name: name("a.ics") })).await.unwrap();
    assert_eq!(store.object(calendar, "a.ics").await.unwrap(), None);
    assert_eq!(store.by_uid(calendar, "a").await.unwrap(), None);
    assert!(store.list(calendar, None, 9).await.unwrap().is_empty());
    assert!(store.in_range(calendar, None, None).await.unwrap().is_empty());
    let head = store.head(calendar).await.unwrap();
    assert_eq!((head.rev, head.objects, head.bytes), (Rev(2), 0, 0));
    let changes = store.changes(calendar, Rev(1), 10).await.unwrap();
    assert_eq!((changes.items.len(), changes.items[0].what), (1, What::Deleted));
}

contract!(sled => crate::store::Sled::temporary().unwrap();
    an_object_is_read_as_it_was_put
    a_deleted_object_leaves_nothing_but_its_row
);

//! What every store must do. One function for each promise; `contract!` runs all of them on a backend.
//!
//! Owns: the promises of `Store`. A fault of a backend found anywhere becomes a function here first.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;

use bytes::Bytes;
use proptest::prelude::*;

use super::sled::touches;
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

/// Commits and returns the condition that failed.
async fn rejected(store: &dyn Store, commit: Commit) -> Rejected {
    match store.commit(commit).await {
        Err(CommitError::Rejected(why)) => why,
        other => panic!("not rejected: {other:?}"),
    }
}

async fn ok(store: &dyn Store, commit: Commit) -> Committed {
    store.commit(commit).await.unwrap()
}

async fn sound(store: &dyn Store) {
    let report = store.verify(None).await.unwrap();
    assert!(report.sound(), "{:#?}", report.flaws);
}

async fn log(store: &dyn Store, id: CollectionId, since: u64) -> Vec<(u64, Option<String>, What)> {
    let page = store.changes(id, Rev(since), 10_000).await.unwrap();
    assert!(!page.more);
    page.items.into_iter().map(|c| (c.rev.0, c.name.map(|n| n.to_string()), c.what)).collect()
}

fn some(name: &str) -> Option<String> {
    Some(name.to_owned())
}

async fn an_object_is_read_as_it_was_put(store: &dyn Store) {
    let calendar = calendar(store).await;
    let done = ok(store, commit().op(put(calendar, "a.ics", "BEGIN", event("a", 5, Some(9))))).await;
    assert_eq!(done.rev(calendar), Some(Rev(1)));
    let object = store.object(calendar, "a.ics").await.unwrap().unwrap();
    assert_eq!(object.bytes, "BEGIN");
    assert_eq!(object.meta.etag, Etag::of(b"BEGIN"));
    assert_eq!(object.meta.index, event("a", 5, Some(9)));
    assert_eq!((object.meta.rev, object.meta.size), (Rev(1), 5));
    assert_eq!((object.meta.created, object.meta.modified), (Timestamp(1000), Timestamp(1000)));
    assert_eq!(object.meta.content_type, "text/calendar");
    assert_eq!(store.meta(calendar, "a.ics").await.unwrap(), Some(object.meta.clone()));
    assert_eq!(store.list(calendar, None, 100).await.unwrap(), vec![object.meta.clone()]);
    assert_eq!(store.in_range(calendar, Some(0), Some(6)).await.unwrap(), vec![object.meta]);
    assert_eq!(store.by_uid(calendar, "a").await.unwrap(), Some(name("a.ics")));
    let head = store.head(calendar).await.unwrap();
    assert_eq!((head.rev, head.objects, head.bytes, head.at), (Rev(1), 1, 5, Timestamp(1000)));
    assert_eq!(log(store, calendar, 0).await, vec![(1, some("a.ics"), What::Put)]);
    sound(store).await;
}

async fn what_is_not_there_is_nothing(store: &dyn Store) {
    let gone = CollectionId(999);
    assert_eq!(store.collection(gone).await.unwrap(), None);
    assert_eq!(store.head(gone).await.unwrap(), Head::default());
    assert_eq!(store.object(gone, "a").await.unwrap(), None);
    assert_eq!(store.meta(gone, "a").await.unwrap(), None);
    assert_eq!(store.by_uid(gone, "a").await.unwrap(), None);
    assert!(store.list(gone, None, 10).await.unwrap().is_empty());
    assert!(store.in_range(gone, None, None).await.unwrap().is_empty());
    assert!(store.children(gone).await.unwrap().is_empty());
    assert_eq!(store.child(gone, "x").await.unwrap(), None);
    assert!(store.changes(gone, Rev(0), 10).await.unwrap().items.is_empty());
    assert!(matches!(store.changes(gone, Rev(1), 10).await, Err(ChangesError::Expired)));
    assert_eq!(store.record(&Key::new(Table::Token, "x")).await.unwrap(), None);
    // Nothing that could never be a name is one.
    let calendar = calendar(store).await;
    for odd in ["", "..", "a/b", "a\nb"] {
        assert_eq!(store.object(calendar, odd).await.unwrap(), None);
    }
}

async fn replacing_keeps_the_day_of_creation(store: &dyn Store) {
    let calendar = calendar(store).await;
    ok(store, commit().op(put(calendar, "a.ics", "one", event("a", 5, Some(9))))).await;
    let later = Commit::new(Origin::System, Timestamp(7000));
    ok(store, later.op(put(calendar, "a.ics", "three", event("b", 900_000_000, None)))).await;
    let object = store.object(calendar, "a.ics").await.unwrap().unwrap();
    assert_eq!(object.bytes, "three");
    assert_eq!((object.meta.created, object.meta.modified), (Timestamp(1000), Timestamp(7000)));
    let head = store.head(calendar).await.unwrap();
    assert_eq!((head.rev, head.objects, head.bytes, head.at), (Rev(2), 1, 5, Timestamp(7000)));
    assert_eq!(store.by_uid(calendar, "a").await.unwrap(), None, "the old UID is free");
    assert_eq!(store.by_uid(calendar, "b").await.unwrap(), Some(name("a.ics")));
    assert!(store.in_range(calendar, Some(0), Some(100)).await.unwrap().is_empty());
    sound(store).await;
}

async fn a_deleted_object_leaves_nothing_but_its_row(store: &dyn Store) {
    let calendar = calendar(store).await;
    let properties = Key::new(Table::ObjectProperties, format!("{}/a.ics", calendar.0));
    ok(store, commit().op(put(calendar, "a.ics", "BEGIN", event("a", 5, None)))).await;
    ok(store, commit().op(Op::PutRecord(properties.clone(), Bytes::from("{}")))).await;
    let done = ok(store, commit().op(Op::Delete { collection: calendar, name: name("a.ics") })).await;
    assert_eq!(done.revs, vec![(calendar, Rev(2))]);
    assert_eq!(store.object(calendar, "a.ics").await.unwrap(), None);
    assert_eq!(store.record(&properties).await.unwrap(), None);
    assert_eq!(store.by_uid(calendar, "a").await.unwrap(), None);
    assert!(store.list(calendar, None, 9).await.unwrap().is_empty());
    assert!(store.in_range(calendar, None, None).await.unwrap().is_empty());
    let head = store.head(calendar).await.unwrap();
    assert_eq!((head.rev, head.objects, head.bytes), (Rev(2), 0, 0));
    assert_eq!(log(store, calendar, 1).await, vec![(2, some("a.ics"), What::Deleted)]);
    // Deleting what is not there is not a change.
    let again = ok(store, commit().op(Op::Delete { collection: calendar, name: name("a.ics") })).await;
    assert!(again.revs.is_empty());
    sound(store).await;
}

async fn every_condition_is_checked_within_the_commit(store: &dyn Store) {
    let id = calendar(store).await;
    let record = Key::new(Table::Token, "t");
    ok(store, commit().op(put(id, "a.ics", "one", event("a", 5, None)))).await;
    ok(store, commit().op(Op::PutRecord(record.clone(), Bytes::from("r")))).await;
    let tag = Etag::of(b"one");
    let collection = store.collection(id).await.unwrap().unwrap();
    let (other, gone) = (Etag::of(b"x"), CollectionId(999));
    let changed = Collection { owner: "bob".into(), ..(*collection).clone() };
    let missing = Collection { id: gone, ..(*collection).clone() };
    let fails = [
        (Expect::Etag(id, name("a.ics"), other.clone()), Rejected::Etag(Some(tag.clone()))),
        (Expect::Etag(id, name("b.ics"), other.clone()), Rejected::Etag(None)),
        (Expect::Etag(gone, name("b.ics"), other), Rejected::NoCollection),
        (Expect::Exists(id, name("b.ics")), Rejected::Missing),
        (Expect::Exists(gone, name("b.ics")), Rejected::NoCollection),
        (Expect::Absent(id, name("a.ics")), Rejected::Present),
        (Expect::UidFree(id, "a".into(), name("b.ics")), Rejected::UidTaken(name("a.ics"))),
        (Expect::Rev(id, Rev(0)), Rejected::Rev(Rev(1))),
        (Expect::Rev(gone, Rev(0)), Rejected::NoCollection),
        (Expect::Collection(gone), Rejected::NoCollection),
        (Expect::CollectionIs(Box::new(changed)), Rejected::CollectionChanged),
        (Expect::CollectionIs(Box::new(missing)), Rejected::NoCollection),
        (Expect::NoChild(collection.parent, name("work")), Rejected::ChildExists),
        (Expect::Record(record.clone(), None), Rejected::Record(record.clone())),
        (Expect::Record(record.clone(), Some(Bytes::from("s"))), Rejected::Record(record.clone())),
        (Expect::Below(id, 1), Rejected::Full),
        (Expect::Quiet(id, Rev(0), 0, 100), Rejected::Busy(name("a.ics"))),
    ];
    let before = store.head(id).await.unwrap();
    for (expect, why) in fails {
        let write = commit()
            .expect(Expect::Collection(id))
            .expect(expect.clone())
            .op(put(id, "new.ics", "new", event("new", 5, None)))
            .op(Op::PutRecord(record.clone(), Bytes::from("new")));
        assert_eq!(rejected(store, write).await, why, "{expect:?}");
        assert_eq!(store.head(id).await.unwrap(), before);
        assert_eq!(store.meta(id, "new.ics").await.unwrap(), None);
        assert_eq!(store.record(&record).await.unwrap(), Some(Bytes::from("r")));
    }
    let holds = [
        Expect::Etag(id, name("a.ics"), tag),
        Expect::Exists(id, name("a.ics")),
        Expect::Absent(id, name("b.ics")),
        Expect::UidFree(id, "a".into(), name("a.ics")),
        Expect::UidFree(id, "b".into(), name("b.ics")),
        Expect::Rev(id, Rev(1)),
        Expect::Collection(id),
        Expect::CollectionIs(Box::new((*collection).clone())),
        Expect::NoChild(collection.parent, name("play")),
        Expect::Record(record.clone(), Some(Bytes::from("r"))),
        Expect::Record(Key::new(Table::Token, "none"), None),
        Expect::Below(id, 2),
        Expect::Quiet(id, Rev(1), 0, 100),
    ];
    let all = holds.into_iter().fold(commit(), Commit::expect);
    assert_eq!(ok(store, all).await.revs, vec![], "conditions alone change nothing");
    sound(store).await;
}

async fn a_quiet_range_is_one_in_which_nothing_was_written_since(store: &dyn Store) {
    let id = calendar(store).await;
    ok(store, commit().op(put(id, "old.ics", "one", event("old", 100, Some(200))))).await;
    ok(store, commit().op(put(id, "new.ics", "two", event("new", 300, Some(400))))).await;
    ok(store, commit().op(put(id, "series.ics", "three", event("series", 1000, None)))).await;
    ok(store, commit().op(put(id, "gone.ics", "four", event("gone", 600, Some(700))))).await;
    ok(store, commit().op(Op::Delete { collection: id, name: name("gone.ics") })).await;
    ok(store, commit().op(Op::Touch { collection: id, name: Some(name("old.ics")) })).await;
    let busy = |text: &str| Some(Rejected::Busy(name(text)));
    let rows = [
        // (since, from, to, what stands in the way)
        (0, 150, 160, busy("old.ics")),
        (1, 150, 160, None),
        (1, 200, 300, None),
        (1, 200, 301, busy("new.ics")),
        (1, 399, 500, busy("new.ics")),
        (1, 400, 500, None),
        (2, 350, 360, None),
        (2, 900, 2000, busy("series.ics")),
        (2, 5000, 6000, busy("series.ics")),
        // What was removed since makes nobody busy.
        (3, 600, 700, None),
        (6, 0, i64::MAX, None),
        (99, 0, i64::MAX, None),
    ];
    for (since, from, to, expected) in rows {
        let write = commit().expect(Expect::Quiet(id, Rev(since), from, to));
        let found = match store.commit(write).await {
            Ok(_) => None,
            Err(CommitError::Rejected(why)) => Some(why),
            Err(CommitError::Fault(fault)) => panic!("{fault}"),
        };
        assert_eq!(found, expected, "since {since}: {from}..{to}");
    }
    let gone = commit().expect(Expect::Quiet(CollectionId(999), Rev(0), 0, 1));
    assert_eq!(rejected(store, gone).await, Rejected::NoCollection);
    sound(store).await;
}

async fn of_rivals_for_a_range_exactly_one_wins(store: &dyn Store) {
    let id = calendar(store).await;
    for round in 0..20_i64 {
        let since = store.head(id).await.unwrap().rev;
        let (from, to) = (round * 100, round * 100 + 100);
        let rivals = (0..16).map(|rival| {
            let uid = format!("{round}-{rival}");
            let write = commit().expect(Expect::Quiet(id, since, from, to)).op(put(
                id,
                &format!("{uid}.ics"),
                &uid,
                event(&uid, from + rival, Some(to - rival)),
            ));
            store.commit(write)
        });
        let won = futures_util::future::join_all(rivals).await.iter().filter(|done| done.is_ok()).count();
        assert_eq!(won, 1, "round {round}");
    }
    sound(store).await;
}

async fn the_first_condition_that_fails_is_reported(store: &dyn Store) {
    let id = calendar(store).await;
    let write = commit().expect(Expect::Exists(id, name("x"))).expect(Expect::Rev(id, Rev(9)));
    assert_eq!(rejected(store, write).await, Rejected::Missing);
}

async fn a_step_that_cannot_be_done_undoes_those_before(store: &dyn Store) {
    let id = calendar(store).await;
    let record = Key::new(Table::Token, "t");
    let write = commit()
        .op(put(id, "a.ics", "one", event("a", 5, None)))
        .op(Op::PutRecord(record.clone(), Bytes::from(vec![7; 20_000])))
        .op(put(CollectionId(999), "b.ics", "two", event("b", 5, None)));
    assert_eq!(rejected(store, write).await, Rejected::NoCollection);
    assert_eq!(store.object(id, "a.ics").await.unwrap(), None);
    assert_eq!(store.record(&record).await.unwrap(), None);
    assert_eq!(store.head(id).await.unwrap().rev, Rev(0));
    sound(store).await;
}

async fn many_steps_are_one_commit(store: &dyn Store) {
    let home = collection(store, CollectionId::HOMES, "anna", Kind::Home).await;
    let (a, b) = (
        collection(store, home, "a", Kind::Calendar).await,
        collection(store, home, "b", Kind::Calendar).await,
    );
    ok(store, commit().op(put(a, "x.ics", "one", event("x", 5, Some(9))))).await;
    // MOVE, with the same UID, and another write of the new one.
    let moved = ok(
        store,
        commit()
            .expect(Expect::Etag(a, name("x.ics"), Etag::of(b"one")))
            .expect(Expect::UidFree(b, "x".into(), name("y.ics")))
            .op(Op::Delete { collection: a, name: name("x.ics") })
            .op(put(b, "y.ics", "one", event("x", 5, Some(9))))
            .op(put(b, "y.ics", "two", event("x", 5, Some(9)))),
    )
    .await;
    assert_eq!(moved.revs, vec![(a, Rev(2)), (b, Rev(2))]);
    assert_eq!(store.object(a, "x.ics").await.unwrap(), None);
    assert_eq!(store.object(b, "y.ics").await.unwrap().unwrap().bytes, "two");
    assert_eq!(store.by_uid(b, "x").await.unwrap(), Some(name("y.ics")));
    // A collection and what is in it, at once; and an object that comes and goes.
    let id = store.new_collection_id().await.unwrap();
    let new = Collection { id, name: name("c"), ..(*store.collection(a).await.unwrap().unwrap()).clone() };
    let made = ok(
        store,
        commit()
            .expect(Expect::NoChild(home, name("c")))
            .expect(Expect::Absent(id, name("z.ics")))
            .op(Op::PutCollection(new.clone()))
            .op(put(id, "z.ics", "three", event("z", 5, None)))
            .op(put(id, "gone.ics", "four", event("gone", 5, None)))
            .op(Op::Delete { collection: id, name: name("gone.ics") })
            .op(Op::Touch { collection: home, name: Some(name("c")) }),
    )
    .await;
    assert_eq!(made.rev(id), Some(Rev(3)));
    assert_eq!(*store.child(home, "c").await.unwrap().unwrap(), new);
    let listed: Vec<_> = store.list(id, None, 10).await.unwrap().into_iter().map(|m| m.name).collect();
    assert_eq!(listed, vec![name("z.ics")]);
    assert_eq!(store.head(id).await.unwrap().objects, 1);
    sound(store).await;
}

async fn a_uid_swap_in_one_commit_leads_to_the_right_names(store: &dyn Store) {
    let id = calendar(store).await;
    ok(store, commit().op(put(id, "a", "1", event("u", 1, None))).op(put(id, "b", "2", event("v", 1, None))))
        .await;
    ok(store, commit().op(put(id, "a", "3", event("v", 1, None))).op(put(id, "b", "4", event("u", 1, None))))
        .await;
    assert_eq!(store.by_uid(id, "u").await.unwrap(), Some(name("b")));
    assert_eq!(store.by_uid(id, "v").await.unwrap(), Some(name("a")));
    sound(store).await;
}

async fn touching_a_child_keeps_one_row(store: &dyn Store) {
    let home = collection(store, CollectionId::HOMES, "anna", Kind::Home).await;
    let work = collection(store, home, "work", Kind::Calendar).await;
    let play = collection(store, home, "play", Kind::Calendar).await;
    for i in 0..20 {
        let at = format!("{i}.ics");
        let touch =
            Op::Touch { collection: home, name: Some(name(if i % 2 == 0 { "work" } else { "play" })) };
        let into = if i % 2 == 0 { work } else { play };
        ok(store, commit().op(put(into, &at, "x", event(&at, 5, None))).op(touch)).await;
    }
    assert_eq!(
        log(store, home, 0).await,
        vec![
            (1, some("work"), What::Put),
            (2, some("play"), What::Put),
            (21, some("work"), What::Touched),
            (22, some("play"), What::Touched)
        ]
    );
    assert_eq!(store.head(home).await.unwrap().rev, Rev(22));
    // An old token goes on working and sees the newest row of each.
    assert_eq!(log(store, home, 5).await.len(), 2);
    for _ in 0..3 {
        ok(store, commit().op(Op::Touch { collection: work, name: None })).await;
    }
    assert_eq!(log(store, work, 10).await, vec![(13, None, What::Touched)]);
    sound(store).await;
}

async fn a_property_change_is_logged_in_both_places(store: &dyn Store) {
    let id = calendar(store).await;
    let old = store.collection(id).await.unwrap().unwrap();
    let home = old.parent;
    let mut new = (*old).clone();
    let long = "<D:displayname xmlns:D=\"DAV:\">x</D:displayname>".repeat(1000);
    let property = PropertyName { ns: "DAV:".into(), local: "displayname".into() };
    new.properties.0.insert(property, long);
    let done = ok(store, commit().op(Op::PutCollection(new.clone()))).await;
    assert_eq!(done.revs, vec![(id, Rev(1)), (home, Rev(2))]);
    assert_eq!(*store.collection(id).await.unwrap().unwrap(), new);
    assert_eq!(*store.child(home, "work").await.unwrap().unwrap(), new);
    assert_eq!(log(store, id, 0).await, vec![(1, None, What::Touched)]);
    assert_eq!(log(store, home, 1).await, vec![(2, some("work"), What::Touched)]);
    sound(store).await;
    // And back to a short record: nothing of the long one stays.
    ok(store, commit().op(Op::PutCollection((*old).clone()))).await;
    assert_eq!(*store.collection(id).await.unwrap().unwrap(), *old);
    sound(store).await;
}

async fn a_collection_moves_with_all_it_holds(store: &dyn Store) {
    let root = collection(store, CollectionId::FILES, "anna", Kind::Files).await;
    let (a, b) =
        (collection(store, root, "a", Kind::Files).await, collection(store, root, "b", Kind::Files).await);
    let inner = collection(store, a, "inner", Kind::Files).await;
    ok(store, commit().op(put(inner, "f.txt", "text", Index::default()))).await;
    ok(store, commit().op(Op::Touch { collection: root, name: Some(name("a")) })).await;
    let mut moved = (*store.collection(a).await.unwrap().unwrap()).clone();
    (moved.parent, moved.name) = (b, name("new"));
    let done = ok(store, commit().op(Op::PutCollection(moved.clone()))).await;
    assert_eq!(done.revs, vec![(root, Rev(4)), (b, Rev(1))]);
    assert_eq!(store.child(root, "a").await.unwrap(), None);
    assert_eq!(store.child(b, "new").await.unwrap().unwrap().id, a);
    assert_eq!(store.child(a, "inner").await.unwrap().unwrap().id, inner);
    assert_eq!(store.object(inner, "f.txt").await.unwrap().unwrap().bytes, "text");
    assert_eq!(
        log(store, root, 0).await,
        vec![(1, some("a"), What::Put), (2, some("b"), What::Put), (4, some("a"), What::Deleted)]
    );
    assert_eq!(log(store, b, 0).await, vec![(1, some("new"), What::Put)]);
    // Onto a name that is taken, and into itself: refused, nothing changed.
    let taken = Collection { parent: root, name: name("b"), ..moved.clone() };
    assert_eq!(rejected(store, commit().op(Op::PutCollection(taken))).await, Rejected::ChildExists);
    for parent in [inner, a] {
        let circle = Collection { parent, name: name("x"), ..moved.clone() };
        assert!(store.commit(commit().op(Op::PutCollection(circle))).await.is_err());
    }
    let nowhere = Collection { parent: CollectionId(999), ..moved.clone() };
    assert_eq!(rejected(store, commit().op(Op::PutCollection(nowhere))).await, Rejected::NoCollection);
    assert_eq!(*store.collection(a).await.unwrap().unwrap(), moved);
    // A plain rename.
    let renamed = Collection { name: name("last"), ..moved };
    ok(store, commit().op(Op::PutCollection(renamed))).await;
    assert_eq!(log(store, b, 1).await, vec![(2, some("new"), What::Deleted), (3, some("last"), What::Put)]);
    sound(store).await;
}

async fn what_lies_in_the_trash_is_kept_and_cannot_be_written(store: &dyn Store) {
    let home = collection(store, CollectionId::HOMES, "anna", Kind::Home).await;
    let id = collection(store, home, "work", Kind::Calendar).await;
    for i in 0..3 {
        ok(store, commit().op(put(id, &format!("{i}.ics"), "text", event(&format!("{i}"), i, Some(i + 1)))))
            .await;
    }
    let before = Collection::clone(&*store.collection(id).await.unwrap().unwrap());
    let away = Collection { parent: CollectionId::TRASH, name: name(&id.0.to_string()), ..before.clone() };
    let done = ok(store, commit().op(Op::PutCollection(away.clone()))).await;
    assert_eq!(done.revs, vec![(home, Rev(2)), (CollectionId::TRASH, Rev(1))]);
    assert_eq!(store.child(home, "work").await.unwrap(), None);
    assert_eq!(store.children(CollectionId::TRASH).await.unwrap().len(), 1);
    let etag = store.meta(id, "0.ics").await.unwrap().unwrap().etag;
    for write in [
        commit().op(put(id, "new.ics", "x", event("new", 1, None))),
        commit().op(Op::Delete { collection: id, name: name("0.ics") }),
        commit().op(Op::Touch { collection: id, name: None }),
        commit().expect(Expect::Collection(id)),
        commit().expect(Expect::Etag(id, name("0.ics"), etag)),
        commit().expect(Expect::Exists(id, name("0.ics"))),
        commit().expect(Expect::Rev(id, Rev(3))),
    ] {
        assert_eq!(rejected(store, write).await, Rejected::NoCollection);
    }
    sound(store).await;
    // Its name is free meanwhile; it comes back under another with all that it held, and its log goes on.
    let other = collection(store, home, "work", Kind::Calendar).await;
    let back = Collection { name: name("work-2"), ..before };
    ok(
        store,
        commit()
            .expect(Expect::CollectionIs(Box::new(away)))
            .op(Op::PutCollection(back))
            .op(Op::Touch { collection: id, name: None }),
    )
    .await;
    assert!(other != id && store.children(CollectionId::TRASH).await.unwrap().is_empty());
    assert_eq!(store.list(id, None, 10).await.unwrap().len(), 3);
    assert_eq!(store.head(id).await.unwrap().rev, Rev(4));
    ok(store, commit().op(put(id, "new.ics", "x", event("new", 1, None)))).await;
    sound(store).await;
}

async fn a_deleted_collection_is_gone_at_once_with_all_below(store: &dyn Store) {
    let root = collection(store, CollectionId::FILES, "anna", Kind::Files).await;
    let a = collection(store, root, "a", Kind::Files).await;
    let inner = collection(store, a, "inner", Kind::Files).await;
    let deep = collection(store, inner, "deep", Kind::Files).await;
    for id in [a, inner, deep] {
        for i in 0..400 {
            let at = format!("{i}.txt");
            let bytes = "x".repeat(if i % 50 == 0 { 9000 } else { 30 });
            let properties = Key::new(Table::ObjectProperties, format!("{}/{at}", id.0));
            let write = commit().op(put(id, &at, &bytes, event(&at, i, Some(i + 5))));
            ok(store, write.op(Op::PutRecord(properties, Bytes::from("p")))).await;
        }
    }
    let done = ok(store, commit().op(Op::DeleteCollection(a))).await;
    assert_eq!(done.revs, vec![(root, Rev(2))]);
    for id in [a, inner, deep] {
        assert_eq!(store.collection(id).await.unwrap(), None);
        assert_eq!(store.head(id).await.unwrap(), Head::default());
        assert_eq!(store.object(id, "0.txt").await.unwrap(), None);
        assert_eq!(store.meta(id, "0.txt").await.unwrap(), None);
        assert_eq!(store.by_uid(id, "0.txt").await.unwrap(), None);
        assert!(store.list(id, None, 10).await.unwrap().is_empty());
        assert!(store.in_range(id, None, None).await.unwrap().is_empty());
        assert!(store.children(id).await.unwrap().is_empty());
        let write = commit().op(put(id, "new.txt", "x", Index::default()));
        assert_eq!(rejected(store, write).await, Rejected::NoCollection);
    }
    assert_eq!(log(store, root, 1).await, vec![(2, some("a"), What::Deleted)]);
    // The name is free at once; nothing of the old one shows through.
    let again = collection(store, root, "a", Kind::Files).await;
    assert!(store.list(again, None, 10).await.unwrap().is_empty());
    sound(store).await;
    // The background work comes to an end.
    for _ in 0..500 {
        let left = store.records(Table::ObjectProperties, "", None, 10).await.unwrap();
        if left.is_empty() {
            return sound(store).await;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("the purge does not end");
}

async fn positions_are_gapless_under_concurrent_commits(store: &dyn Store) {
    let id = calendar(store).await;
    let home = store.collection(id).await.unwrap().unwrap().parent;
    let store = &store;
    let writers = (0..16).map(|w| async move {
        let mut revs = Vec::new();
        for i in 0..25 {
            let at = format!("{w}-{i}.ics");
            let touch = Op::Touch { collection: home, name: Some(name("work")) };
            let done = ok(*store, commit().op(put(id, &at, &at, event(&at, 5, None))).op(touch)).await;
            let rev = done.rev(id).unwrap();
            // What was acknowledged is seen at once.
            assert_eq!(store.meta(id, &at).await.unwrap().unwrap().rev, rev);
            assert!(store.head(id).await.unwrap().rev >= rev);
            revs.push(rev);
        }
        assert!(revs.is_sorted(), "a later commit has a later position");
        revs
    });
    let revs: BTreeSet<Rev> = futures_util::future::join_all(writers).await.into_iter().flatten().collect();
    assert_eq!(revs, (1..=400).map(Rev).collect());
    let rows = log(*store, id, 0).await;
    assert_eq!(rows.iter().map(|row| row.0).collect::<Vec<_>>(), (1..=400).collect::<Vec<_>>());
    sound(*store).await;
}

async fn of_rivals_exactly_one_wins(store: &dyn Store) {
    let id = calendar(store).await;
    let create = (0..20).map(|i| {
        let write = commit().expect(Expect::Absent(id, name("a.ics")));
        store.commit(write.op(put(id, "a.ics", &i.to_string(), event("a", 5, None))))
    });
    let done = futures_util::future::join_all(create).await;
    assert_eq!(done.iter().filter(|r| r.is_ok()).count(), 1);
    let now = store.meta(id, "a.ics").await.unwrap().unwrap().etag;
    let replace = (100..120).map(|i| {
        let write = commit().expect(Expect::Etag(id, name("a.ics"), now.clone()));
        store.commit(write.op(put(id, "a.ics", &i.to_string(), event("a", 5, None))))
    });
    let done = futures_util::future::join_all(replace).await;
    assert_eq!(done.iter().filter(|r| r.is_ok()).count(), 1);
    let rev = store.head(id).await.unwrap().rev;
    let book = (0..20).map(|i| {
        let at = format!("slot{i}.ics");
        store.commit(commit().expect(Expect::Rev(id, rev)).op(put(id, &at, "x", event(&at, 5, None))))
    });
    let done = futures_util::future::join_all(book).await;
    assert_eq!(done.iter().filter(|r| r.is_ok()).count(), 1);
    assert_eq!(store.head(id).await.unwrap().rev, Rev(3));
}

fn client(principal: &str, agent: &str, label: &str) -> Origin {
    Origin::Dav { principal: principal.into(), agent: agent.into(), label: label.into() }
}

fn program(principal: &str, agent: &str, label: &str) -> Origin {
    Origin::Api { principal: principal.into(), agent: agent.into(), label: label.into() }
}

async fn the_log_is_read_in_pages(store: &dyn Store) {
    let id = calendar(store).await;
    for i in 0..100 {
        let at = format!("{i}.ics");
        let origin = match i % 4 {
            0 => client("anna", &format!("client/{}", i % 3), "iPhone"),
            1 => program("bob", "shop/2", ""),
            2 => Origin::Mapping("m".into()),
            _ => Origin::System,
        };
        let write = Commit::new(origin, Timestamp(i)).op(put(id, &at, "x", event(&at, 5, None)));
        ok(store, write).await;
    }
    let mut since = Rev(0);
    let mut seen = Vec::new();
    loop {
        let page = store.changes(id, since, 7).await.unwrap();
        assert_eq!(page.head, Rev(100));
        since = page.items.last().unwrap().rev;
        seen.extend(page.items);
        if !page.more {
            break;
        }
        assert_eq!(seen.len() % 7, 0);
    }
    assert_eq!(seen.len(), 100);
    for (i, change) in seen.iter().enumerate() {
        assert_eq!((change.rev, change.at), (Rev(i as u64 + 1), Timestamp(i as i64)));
        match i % 4 {
            0 => assert_eq!(change.origin, client("anna", &format!("client/{}", i % 3), "iPhone")),
            1 => assert_eq!(change.origin, program("bob", "shop/2", "")),
            2 => assert_eq!(change.origin, Origin::Mapping("m".into())),
            _ => assert_eq!(change.origin, Origin::System),
        }
    }
    assert!(store.changes(id, Rev(100), 7).await.unwrap().items.is_empty());
    assert!(matches!(store.changes(id, Rev(101), 7).await, Err(ChangesError::Expired)));
}

async fn a_trimmed_log_refuses_only_what_it_cannot_tell(store: &dyn Store) {
    let id = calendar(store).await;
    let at = |at: i64| Commit::new(Origin::System, Timestamp(at));
    ok(store, at(1).op(put(id, "old.ics", "1", event("old", 5, None)))).await;
    ok(store, at(2).op(put(id, "twice.ics", "1", event("twice", 5, None)))).await;
    ok(store, at(3).op(put(id, "gone.ics", "1", event("gone", 5, None)))).await;
    ok(store, at(4).op(Op::Delete { collection: id, name: name("gone.ics") })).await;
    ok(store, at(5).op(put(id, "twice.ics", "2", event("twice", 5, None)))).await;
    ok(store, at(100).op(put(id, "new.ics", "1", event("new", 5, None)))).await;
    ok(store, at(101).op(Op::Delete { collection: id, name: name("new.ics") })).await;
    // Only what is older and superseded goes: the first rows of `twice` and `gone`, and the row of a deletion.
    assert_eq!(store.trim(Timestamp(50)).await.unwrap(), 3);
    let head = store.head(id).await.unwrap();
    assert_eq!((head.rev, head.horizon), (Rev(7), Rev(4)));
    for since in 0..4 {
        assert!(matches!(store.changes(id, Rev(since), 9).await, Err(ChangesError::Expired)), "{since}");
    }
    assert_eq!(log(store, id, 4).await.len(), 3);
    assert_eq!(store.changes(id, Rev(4), 1).await.unwrap().items[0].rev, Rev(5));
    sound(store).await;
    // `old` is still told to a client that comes from before it, in a collection without trimmed deletions.
    assert_eq!(store.trim(Timestamp(50)).await.unwrap(), 0);
    assert_eq!(store.trim(Timestamp(1000)).await.unwrap(), 2);
    assert_eq!(store.head(id).await.unwrap().horizon, Rev(7));
    assert!(log(store, id, 7).await.is_empty());
    ok(store, at(2000).op(put(id, "next.ics", "1", event("next", 5, None)))).await;
    assert_eq!(log(store, id, 7).await, vec![(8, some("next.ics"), What::Put)]);
    sound(store).await;
}

async fn a_token_of_long_ago_works_while_nothing_was_deleted(store: &dyn Store) {
    let id = calendar(store).await;
    for round in 0..5 {
        for i in 0..10 {
            let at = format!("{i}.ics");
            ok(store, commit().op(put(id, &at, &round.to_string(), event(&at, 5, None)))).await;
        }
    }
    assert_eq!(store.trim(Timestamp(i64::MAX)).await.unwrap(), 40);
    assert_eq!(store.head(id).await.unwrap().horizon, Rev(0));
    assert_eq!(log(store, id, 1).await.len(), 10);
    sound(store).await;
}

async fn long_values_are_kept_whole(store: &dyn Store) {
    let id = calendar(store).await;
    for size in [0, 1, 3999, 4000, 4001, 8000, 300_000] {
        let bytes: Vec<u8> = (0..size).map(|i: u32| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        let at = format!("{size}.bin");
        let key = Key::new(Table::Secret, at.clone());
        let write = commit().op(Op::Put {
            collection: id,
            name: name(&at),
            content_type: "x/y".into(),
            bytes: bytes.clone().into(),
            index: Index { uid: Some("u".repeat(size as usize)), ..Index::default() },
        });
        ok(store, write.op(Op::PutRecord(key.clone(), bytes.clone().into()))).await;
        let object = store.object(id, &at).await.unwrap().unwrap();
        assert!(object.bytes == bytes && object.meta.size == u64::from(size), "{size}");
        assert!(store.record(&key).await.unwrap().unwrap() == bytes, "{size}");
        assert_eq!(store.by_uid(id, &"u".repeat(size as usize)).await.unwrap(), Some(name(&at)));
    }
    assert_eq!(store.list(id, None, 100).await.unwrap().len(), 7);
    assert_eq!(store.records(Table::Secret, "", None, 100).await.unwrap().len(), 7);
    sound(store).await;
    for size in [300_000, 4001] {
        let at = format!("{size}.bin");
        let remove = commit().op(Op::Delete { collection: id, name: name(&at) });
        ok(store, remove.op(Op::DeleteRecord(Key::new(Table::Secret, at)))).await;
    }
    ok(store, commit().op(put(id, "8000.bin", "short", Index::default()))).await;
    sound(store).await;
}

async fn odd_names_are_names(store: &dyn Store) {
    let id = calendar(store).await;
    let longest = "n".repeat(255);
    let names =
        ["a", "A", " ", "%2F", "a b.ics", "ä", "a\u{308}", "日本.ics", "\u{10ffff}", "?#&", "...", &longest];
    for at in names {
        ok(store, commit().op(put(id, at, at, event(at, 5, None)))).await;
    }
    let mut sorted: Vec<&str> = names.to_vec();
    sorted.sort_unstable();
    let listed = store.list(id, None, 100).await.unwrap();
    assert_eq!(listed.iter().map(|m| m.name.as_str()).collect::<Vec<_>>(), sorted, "in byte order");
    for at in names {
        assert_eq!(store.object(id, at).await.unwrap().unwrap().bytes, at);
        assert_eq!(store.by_uid(id, at).await.unwrap(), Some(name(at)));
    }
    let mut paged = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let page = store.list(id, after.as_deref(), 5).await.unwrap();
        let Some(last) = page.last() else { break };
        after = Some(last.name.to_string());
        paged.extend(page);
    }
    assert_eq!(paged, listed);
    assert!(store.list(id, None, 0).await.unwrap().is_empty());
    sound(store).await;
}

async fn records_are_listed_in_order_and_in_pages(store: &dyn Store) {
    for path in ["b/2", "a/1", "b/1", "b/3", "c", "b", "bb"] {
        ok(store, commit().op(Op::PutRecord(Key::new(Table::AppPassword, path), Bytes::from(path)))).await;
    }
    ok(store, commit().op(Op::PutRecord(Key::new(Table::Token, "b/9"), Bytes::from("t")))).await;
    let read = async |prefix: &str, after: Option<&str>, limit: usize| -> Vec<String> {
        let found = store.records(Table::AppPassword, prefix, after, limit).await.unwrap();
        found.iter().for_each(|(key, value)| assert_eq!(key.path.as_bytes(), value));
        found.into_iter().map(|(key, _)| key.path).collect()
    };
    assert_eq!(read("", None, 100).await, ["a/1", "b", "b/1", "b/2", "b/3", "bb", "c"]);
    assert_eq!(read("b/", None, 100).await, ["b/1", "b/2", "b/3"]);
    assert_eq!(read("b/", Some("b/1"), 1).await, ["b/2"]);
    assert_eq!(read("b/", Some("a"), 2).await, ["b/1", "b/2"]);
    assert_eq!(read("b/", Some("b/3"), 5).await, [""; 0]);
    assert_eq!(read("b/", Some("zzz"), 5).await, [""; 0]);
    assert_eq!(read("x", None, 5).await, [""; 0]);
    assert_eq!(read("", None, 0).await, [""; 0]);
    ok(store, commit().op(Op::DeleteRecord(Key::new(Table::AppPassword, "b/2")))).await;
    assert_eq!(read("b/", None, 100).await, ["b/1", "b/3"]);
    let long = Key::new(Table::AppPassword, "x".repeat(100_000));
    assert!(store.commit(commit().op(Op::PutRecord(long, Bytes::new()))).await.is_err());
}

async fn children_are_listed_by_name(store: &dyn Store) {
    let home = collection(store, CollectionId::HOMES, "anna", Kind::Home).await;
    for at in ["work", "home", "ä", "a"] {
        collection(store, home, at, Kind::Calendar).await;
    }
    let other = collection(store, CollectionId::HOMES, "bob", Kind::Home).await;
    collection(store, other, "work", Kind::Calendar).await;
    let found = store.children(home).await.unwrap();
    assert_eq!(found.iter().map(|c| c.name.as_str()).collect::<Vec<_>>(), ["a", "home", "work", "ä"]);
    let homes = store.children(CollectionId::HOMES).await.unwrap();
    assert_eq!(homes.iter().map(|c| c.name.as_str()).collect::<Vec<_>>(), ["anna", "bob"]);
    assert_eq!(store.child(home, "nothing").await.unwrap(), None);
    let ids: BTreeSet<_> = found.iter().chain(&homes).map(|c| c.id).collect();
    assert_eq!(ids.len(), 6, "ids are never given twice");
    assert!(ids.iter().all(|id| *id >= CollectionId::FIRST));
}

async fn listeners_hear_of_durable_commits_alone(store: &dyn Store) {
    let id = calendar(store).await;
    let mut heard = store.watch();
    let record = Key::new(Table::Mapping, "m");
    let wrong = commit().expect(Expect::Rev(id, Rev(9))).op(put(id, "a.ics", "x", event("a", 5, None)));
    rejected(store, wrong).await;
    let origin = Origin::Mapping("m".into());
    let write = Commit::new(origin.clone(), Timestamp(5))
        .op(put(id, "a.ics", "x", event("a", 5, None)))
        .op(Op::PutRecord(record.clone(), Bytes::from("x")))
        .op(Op::DeleteRecord(Key::new(Table::Mapping, "absent")));
    ok(store, write).await;
    let notice = heard.recv().await.unwrap();
    assert_eq!((&notice.origin, &notice.revs, &notice.keys), (&origin, &vec![(id, Rev(1))], &vec![record]));
    ok(store, commit().expect(Expect::Collection(id))).await;
    assert!(heard.try_recv().is_err(), "nothing changed");
}

async fn a_check_sees_one_moment_while_others_write(store: &dyn Store) {
    let id = calendar(store).await;
    let writing = async {
        for i in 0..400 {
            let at = format!("{}.ics", i % 37);
            let write = match i % 5 {
                4 => commit().op(Op::Delete { collection: id, name: name(&at) }),
                _ => commit().op(put(id, &at, &"x".repeat(i * 30), event(&at, i as i64 * 100_000, None))),
            };
            ok(store, write).await;
        }
    };
    let checking = async {
        for _ in 0..10 {
            sound(store).await;
        }
    };
    tokio::join!(writing, checking);
}

async fn an_index_is_made_anew_from_the_bytes(store: &dyn Store) {
    let id = calendar(store).await;
    for (at, start) in [("1.ics", 10), ("2.ics", 20), ("3.ics", 30)] {
        ok(store, commit().op(put(id, at, &start.to_string(), event(at, start, Some(start + 5))))).await;
    }
    ok(store, commit().op(put(id, "wrong.ics", "40", event("else", 5_000_000, None)))).await;
    // The index of these objects is: the UID is the name, the start is the text.
    let recompute: Recompute = Arc::new(|_, object| {
        let start = std::str::from_utf8(&object.bytes).ok()?.parse().ok()?;
        Some(event(object.meta.name.as_str(), start, Some(start + 5)))
    });
    let report = store.verify(Some(recompute.clone())).await.unwrap();
    assert_eq!(report.count, 1, "{:?}", report.flaws);
    let rev = store.head(id).await.unwrap().rev;
    assert_eq!(store.rebuild(recompute.clone()).await.unwrap(), 1);
    assert!(store.verify(Some(recompute)).await.unwrap().sound());
    assert_eq!(store.by_uid(id, "wrong.ics").await.unwrap(), Some(name("wrong.ics")));
    assert_eq!(store.by_uid(id, "else").await.unwrap(), None);
    assert_eq!(store.in_range(id, Some(36), Some(50)).await.unwrap().len(), 1);
    assert_eq!(store.head(id).await.unwrap().rev, rev, "nothing that a client sees has changed");
}

/// What a client, or a person, could write next.
#[derive(Debug, Clone)]
enum Step {
    Put(usize, usize, usize, Option<Span>, usize),
    Delete(usize, usize),
    Touch(usize, Option<usize>),
    Move(usize, usize, usize),
    Drop(usize),
    Trim,
    Sync(usize),
}

fn span() -> impl Strategy<Value = Option<Span>> {
    let start = prop_oneof![
        -100i64..100,
        (-40i64..40).prop_map(|i| i << 18),
        (-40i64..40).prop_map(|i| (i << 21) - 1),
        (-3i64..3).prop_map(|i| i << 33),
        Just(i64::MIN),
        Just(i64::MAX),
        any::<i64>()
    ];
    let length =
        prop_oneof![Just(0i64), 1i64..1000, (0u32..40).prop_map(|i| 1i64 << i), Just(-5i64), any::<i64>()];
    proptest::option::weighted(
        0.9,
        (start, proptest::option::weighted(0.7, length), any::<bool>()).prop_map(|(start, length, exact)| {
            Span { start, end: length.map(|length| start.saturating_add(length)), exact }
        }),
    )
}

fn bound() -> impl Strategy<Value = Option<i64>> {
    let at = prop_oneof![
        -100i64..100,
        (-40i64..40).prop_map(|i| i << 18),
        (-40i64..40).prop_map(|i| (i << 21) - 1),
        any::<i64>()
    ];
    proptest::option::weighted(0.85, at)
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        10 => (0..3usize, 0..8usize, 0..8usize, span(), 0..9000usize)
            .prop_map(|(c, n, u, s, size)| Step::Put(c, n, u, s, size)),
        3 => (0..3usize, 0..8usize).prop_map(|(c, n)| Step::Delete(c, n)),
        1 => (0..3usize, proptest::option::of(0..8usize)).prop_map(|(c, n)| Step::Touch(c, n)),
        2 => (0..3usize, 0..8usize, 0..3usize).prop_map(|(a, n, b)| Step::Move(a, n, b)),
        1 => (0..3usize).prop_map(Step::Drop),
        1 => Just(Step::Trim),
        4 => (0..3usize).prop_map(Step::Sync),
    ];
    proptest::collection::vec(step, 1..60)
}

/// What ought to be there, and a client that follows by sync-token alone.
#[derive(Default)]
struct Model {
    id: Option<CollectionId>,
    objects: BTreeMap<String, (Vec<u8>, Index)>,
    token: Rev,
    mirror: BTreeMap<String, Vec<u8>>,
    rev: u64,
}

/// Carries steps out on a store and on a model and compares everything that can be asked.
async fn follows_the_model(store: &dyn Store, steps: Vec<Step>, ranges: Vec<(Option<i64>, Option<i64>)>) {
    let home = collection(store, CollectionId::HOMES, "anna", Kind::Home).await;
    let mut models: [Model; 3] = Default::default();
    for (i, model) in models.iter_mut().enumerate() {
        model.id = Some(collection(store, home, &format!("c{i}"), Kind::Calendar).await);
    }
    for (time, step) in steps.into_iter().enumerate() {
        let write = Commit::new(Origin::System, Timestamp(time as i64));
        match step {
            Step::Put(c, n, u, span, size) => {
                let model = &mut models[c];
                let (at, bytes) = (format!("n{n}.ics"), vec![time as u8; size]);
                let index = Index { uid: Some(format!("n{u}")), component: "VEVENT".into(), span };
                let taken = model
                    .objects
                    .iter()
                    .find(|(other, (_, i))| **other != at && i.uid == index.uid)
                    .map(|(other, _)| other.clone());
                let write = write.expect(Expect::UidFree(model.id.unwrap(), format!("n{u}"), name(&at))).op(
                    Op::Put {
                        collection: model.id.unwrap(),
                        name: name(&at),
                        content_type: "text/calendar".into(),
                        bytes: bytes.clone().into(),
                        index: index.clone(),
                    },
                );
                match taken {
                    Some(other) => assert_eq!(rejected(store, write).await, Rejected::UidTaken(name(&other))),
                    None => {
                        model.rev += 1;
                        assert_eq!(ok(store, write).await.rev(model.id.unwrap()), Some(Rev(model.rev)));
                        model.objects.insert(at, (bytes, index));
                    }
                }
            }
            Step::Delete(c, n) => {
                let model = &mut models[c];
                let at = format!("n{n}.ics");
                ok(store, write.op(Op::Delete { collection: model.id.unwrap(), name: name(&at) })).await;
                model.rev += u64::from(model.objects.remove(&at).is_some());
            }
            Step::Touch(c, n) => {
                let model = &mut models[c];
                let at = n.map(|n| format!("n{n}.ics"));
                if at.as_ref().is_none_or(|at| model.objects.contains_key(at)) {
                    model.rev += 1;
                    let touched = at.as_deref().map(name);
                    ok(store, write.op(Op::Touch { collection: model.id.unwrap(), name: touched })).await;
                }
            }
            Step::Move(a, n, b) => {
                let at = format!("n{n}.ics");
                let Some((bytes, index)) = models[a].objects.get(&at).cloned() else { continue };
                let taken =
                    models[b].objects.iter().any(|(other, (_, i))| *other != at && i.uid == index.uid);
                if a == b || taken {
                    continue;
                }
                let put = Op::Put {
                    collection: models[b].id.unwrap(),
                    name: name(&at),
                    content_type: "text/calendar".into(),
                    bytes: bytes.clone().into(),
                    index: index.clone(),
                };
                ok(
                    store,
                    write.op(Op::Delete { collection: models[a].id.unwrap(), name: name(&at) }).op(put),
                )
                .await;
                models[a].objects.remove(&at);
                models[a].rev += 1;
                models[b].rev += 1;
                models[b].objects.insert(at, (bytes, index));
            }
            Step::Drop(c) => {
                ok(store, write.op(Op::DeleteCollection(models[c].id.unwrap()))).await;
                let id = Some(collection(store, home, &format!("c{c}"), Kind::Calendar).await);
                models[c] = Model { id, ..Model::default() };
            }
            Step::Trim => {
                store.trim(Timestamp(time as i64 / 2)).await.unwrap();
            }
            Step::Sync(c) => sync(store, &mut models[c]).await,
        }
    }
    for model in &mut models {
        let id = model.id.unwrap();
        sync(store, model).await;
        let listed = store.list(id, None, 1000).await.unwrap();
        let (mut bytes, mut names) = (0, Vec::new());
        for meta in &listed {
            let object = store.object(id, meta.name.as_str()).await.unwrap().unwrap();
            let (expected, index) = &model.objects[meta.name.as_str()];
            assert!(object.bytes == expected && object.meta == *meta && meta.index == *index);
            assert_eq!(
                store.by_uid(id, index.uid.as_ref().unwrap()).await.unwrap().as_ref(),
                Some(&meta.name)
            );
            bytes += meta.size;
            names.push(meta.name.to_string());
        }
        assert_eq!(names, model.objects.keys().cloned().collect::<Vec<_>>());
        let head = store.head(id).await.unwrap();
        assert_eq!((head.rev.0, head.objects, head.bytes), (model.rev, names.len() as u64, bytes));
        // A range that ends before it begins is refused at the doors.
        let upright = |(from, to): &&(Option<i64>, Option<i64>)| from.zip(*to).is_none_or(|(a, b)| a <= b);
        for (from, to) in ranges.iter().filter(upright) {
            let found = store.in_range(id, *from, *to).await.unwrap();
            let brute: Vec<_> =
                listed.iter().filter(|meta| touches(meta.index.span, *from, *to)).cloned().collect();
            assert_eq!(found, brute, "{from:?}..{to:?}");
        }
    }
    sound(store).await;
}

/// Follows the log like a client; a token that is too old makes it read everything anew.
async fn sync(store: &dyn Store, model: &mut Model) {
    let id = model.id.unwrap();
    loop {
        match store.changes(id, model.token, 3).await {
            Ok(page) => {
                for change in page.items {
                    model.token = change.rev;
                    let Some(at) = change.name.map(|n| n.to_string()) else { continue };
                    match store.object(id, &at).await.unwrap() {
                        Some(object) => model.mirror.insert(at, object.bytes.to_vec()),
                        None => model.mirror.remove(&at),
                    };
                }
                if !page.more {
                    model.token = page.head;
                    break;
                }
            }
            Err(ChangesError::Expired) => {
                assert!(store.head(id).await.unwrap().horizon > model.token);
                model.token = store.head(id).await.unwrap().rev;
                model.mirror.clear();
                for meta in store.list(id, None, 1000).await.unwrap() {
                    let object = store.object(id, meta.name.as_str()).await.unwrap().unwrap();
                    model.mirror.insert(meta.name.to_string(), object.bytes.to_vec());
                }
            }
            Err(ChangesError::Fault(fault)) => panic!("{fault}"),
        }
    }
    let there: BTreeMap<_, _> =
        model.objects.iter().map(|(at, (bytes, _))| (at.clone(), bytes.clone())).collect();
    assert!(model.mirror == there, "a client that follows the log has what is there");
}

/// Random writes against a model, on stores that `open` makes.
fn random_writes_follow_the_model<S: Store>(open: impl Fn() -> S) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let config = ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |(steps in steps(), ranges in proptest::collection::vec((bound(), bound()), 12))| {
        let store = open();
        runtime.block_on(follows_the_model(&store, steps, ranges));
    });
}

/// What is counted is what is there.
async fn figures_count_what_is_kept(store: &dyn Store) {
    let before = store.figures().await.unwrap();
    let id = calendar(store).await;
    for i in 0..3 {
        ok(store, commit().op(put(id, &format!("{i}.ics"), "12345", event(&i.to_string(), i, None)))).await;
    }
    let with = store.figures().await.unwrap();
    assert_eq!((with.objects - before.objects, with.bytes - before.bytes), (3, 15));
    assert!(with.collections > before.collections && with.commits >= before.commits + 4, "{with:?}");
    ok(store, commit().op(Op::Delete { collection: id, name: name("0.ics") })).await;
    assert_eq!(store.figures().await.unwrap().objects, with.objects - 1);
    ok(store, commit().op(Op::DeleteCollection(id))).await;
    let after = store.figures().await.unwrap();
    assert_eq!((after.objects, after.collections), (before.objects, with.collections - 1));
}

/// What was acknowledged, tokens and counters are the same after the store was closed and opened.
async fn everything_survives_reopening<S: Store, F: Future<Output = S>>(open: impl Fn() -> F) {
    let store = open().await;
    let id = calendar(&store).await;
    let home = store.collection(id).await.unwrap().unwrap().parent;
    for i in 0..50 {
        let at = format!("{i}.ics");
        let touch = Op::Touch { collection: home, name: Some(name("work")) };
        ok(&store, commit().op(put(id, &at, &at.repeat(500), event(&at, i, None))).op(touch)).await;
    }
    ok(&store, commit().op(Op::Delete { collection: id, name: name("7.ics") })).await;
    ok(&store, commit().op(Op::PutRecord(Key::new(Table::Token, "t"), Bytes::from("t")))).await;
    let list = store.list(id, None, 100).await.unwrap();
    let (head, home_head) = (store.head(id).await.unwrap(), store.head(home).await.unwrap());
    let rows = log(&store, id, 20).await;
    let next = store.new_collection_id().await.unwrap();
    drop(store);
    let store = open().await;
    assert_eq!(store.list(id, None, 100).await.unwrap(), list);
    assert_eq!((store.head(id).await.unwrap(), store.head(home).await.unwrap()), (head, home_head));
    assert_eq!(log(&store, id, 20).await, rows);
    assert_eq!(store.object(id, "8.ics").await.unwrap().unwrap().bytes, "8.ics".repeat(500));
    assert_eq!(store.record(&Key::new(Table::Token, "t")).await.unwrap(), Some(Bytes::from("t")));
    assert!(store.new_collection_id().await.unwrap() >= next, "an id in use is not given again");
    // The next position follows the last; the row of the child is still replaced, not added to.
    let touch = Op::Touch { collection: home, name: Some(name("work")) };
    let done = ok(&store, commit().op(put(id, "new.ics", "x", event("new", 5, None))).op(touch)).await;
    assert_eq!(done.rev(id), Some(Rev(head.rev.0 + 1)));
    assert_eq!(log(&store, home, 0).await.len(), 2);
    sound(&store).await;
}

/// Runs what every store does, and what only this one does besides.
macro_rules! every_store {
    ($backend:ident => $open:expr; $($besides:ident)*) => {
        contract!($backend => $open;
            an_object_is_read_as_it_was_put
            figures_count_what_is_kept
            what_is_not_there_is_nothing
            replacing_keeps_the_day_of_creation
            a_deleted_object_leaves_nothing_but_its_row
            every_condition_is_checked_within_the_commit
            a_quiet_range_is_one_in_which_nothing_was_written_since
            of_rivals_for_a_range_exactly_one_wins
            the_first_condition_that_fails_is_reported
            a_step_that_cannot_be_done_undoes_those_before
            many_steps_are_one_commit
            a_uid_swap_in_one_commit_leads_to_the_right_names
            touching_a_child_keeps_one_row
            a_property_change_is_logged_in_both_places
            a_collection_moves_with_all_it_holds
            what_lies_in_the_trash_is_kept_and_cannot_be_written
            a_deleted_collection_is_gone_at_once_with_all_below
            positions_are_gapless_under_concurrent_commits
            of_rivals_exactly_one_wins
            the_log_is_read_in_pages
            a_trimmed_log_refuses_only_what_it_cannot_tell
            a_token_of_long_ago_works_while_nothing_was_deleted
            long_values_are_kept_whole
            odd_names_are_names
            records_are_listed_in_order_and_in_pages
            children_are_listed_by_name
            listeners_hear_of_durable_commits_alone
            $($besides)*
        );
    };
}

every_store!(sled => crate::store::Sled::temporary().unwrap();
    a_check_sees_one_moment_while_others_write
    an_index_is_made_anew_from_the_bytes
);
every_store!(memory => crate::store::memory::Memory::new(););

#[test]
fn sled_follows_the_model() {
    random_writes_follow_the_model(|| crate::store::Sled::temporary().unwrap());
}

#[test]
fn memory_follows_the_model() {
    random_writes_follow_the_model(crate::store::memory::Memory::new);
}

#[tokio::test]
async fn sled_survives_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    everything_survives_reopening(|| async { crate::store::Sled::open(&path, Options::default()).unwrap() })
        .await;
}

//! What only this backend promises: its files, its formats, its own check. The rest is `contract`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use std::io::Cursor;
use std::sync::Mutex;

use proptest::prelude::*;

use super::rows::{FORMAT_KEY, Rows, Space};
use super::*;
use crate::store::codec::Writer;
use crate::store::dump::check;
use crate::store::{Index, Kind, Op, Origin, Properties, PropertyName, Span};

/// Somewhere to write to that can be looked at afterwards.
#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

async fn dumped(store: &Sled) -> Vec<u8> {
    let sink = Sink::default();
    store.dump(Box::new(sink.clone())).await.unwrap();
    Arc::try_unwrap(sink.0)
        .map_or_else(|shared| shared.lock().unwrap().clone(), |own| own.into_inner().unwrap())
}

fn commit() -> Commit {
    Commit::new(
        Origin::Dav { principal: "anna".into(), agent: "test".into(), label: String::new() },
        Timestamp(1000),
    )
}

fn put(id: CollectionId, at: &str, size: usize) -> Op {
    Op::Put {
        collection: id,
        name: Name::new(at).unwrap(),
        content_type: "text/calendar".into(),
        bytes: at.bytes().cycle().take(size).collect::<Vec<u8>>().into(),
        index: Index {
            uid: Some(format!("uid of {at}")),
            component: "VEVENT".into(),
            span: Some(Span { start: size as i64, end: Some(size as i64 * 3), exact: true }),
        },
    }
}

fn new(id: CollectionId, parent: CollectionId, at: &str) -> Op {
    let mut properties = Properties::default();
    let name = PropertyName { ns: "DAV:".into(), local: "displayname".into() };
    properties.0.insert(name, at.repeat(2000));
    Op::PutCollection(Collection {
        id,
        parent,
        name: Name::new(at).unwrap(),
        owner: "anna".into(),
        kind: Kind::Files,
        components: vec![],
        properties,
        created: Timestamp(5),
        modified: Timestamp(6),
    })
}

/// Some of everything.
async fn fill(store: &Sled) -> CollectionId {
    let (root, inner) = (store.new_collection_id().await.unwrap(), store.new_collection_id().await.unwrap());
    store
        .commit(commit().op(new(root, CollectionId::FILES, "root")).op(new(inner, root, "inner")))
        .await
        .unwrap();
    for i in 0..60 {
        let at = format!("{i}.ics");
        let touch = Op::Touch { collection: root, name: Name::new("inner") };
        store.commit(commit().op(put(inner, &at, i * 200)).op(touch)).await.unwrap();
    }
    for i in 0..5 {
        let name = Name::new(format!("{i}.ics")).unwrap();
        store.commit(commit().op(Op::Delete { collection: inner, name })).await.unwrap();
    }
    store.commit(commit().op(Op::Touch { collection: inner, name: None })).await.unwrap();
    let system = Commit::new(Origin::System, Timestamp(2000));
    for (table, path, size) in
        [(Table::Principal, "anna", 100), (Table::Secret, "s/1", 30_000), (Table::Lock, "7", 0)]
    {
        let bytes = Bytes::from(vec![7; size]);
        store.commit(system.clone().op(Op::PutRecord(Key::new(table, path), bytes))).await.unwrap();
    }
    let gone = store.new_collection_id().await.unwrap();
    store.commit(commit().op(new(gone, root, "gone")).op(put(gone, "x", 9000))).await.unwrap();
    store.commit(commit().op(Op::DeleteCollection(gone))).await.unwrap();
    inner
}

#[tokio::test]
async fn a_restored_store_is_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let (old, new) = (dir.path().join("old"), dir.path().join("deep/new"));
    let store = Sled::open(&old, Options::default()).unwrap();
    let id = fill(&store).await;
    store.trim(Timestamp(3000)).await.unwrap();
    let dump = dumped(&store).await;
    let summary = Sled::restore(&new, &Options::default(), Cursor::new(&dump)).unwrap();
    assert_eq!(summary, check(Cursor::new(&dump)).unwrap());
    assert_eq!((summary.collections, summary.objects, summary.records), (2, 55, 3));
    let copy = Sled::open(&new, Options::default()).unwrap();
    assert!(dumped(&copy).await == dump, "the dump of the copy is the same, byte for byte");
    let (head, again) = (store.head(id).await.unwrap(), copy.head(id).await.unwrap());
    assert_eq!(head, again, "sync-tokens go on working");
    assert_ne!(head.horizon, Rev(0));
    assert!(matches!(copy.changes(id, Rev(1), 10).await, Err(ChangesError::Expired)));
    assert_eq!(copy.new_collection_id().await.unwrap(), store.new_collection_id().await.unwrap());
    // Both go on alike: the touched row of the child is replaced, positions follow.
    for store in [&store, &copy] {
        let root = store.collection(id).await.unwrap().unwrap().parent;
        let touch = Op::Touch { collection: root, name: Name::new("inner") };
        store.commit(commit().op(put(id, "next.ics", 10)).op(touch)).await.unwrap();
        assert!(store.verify(None).await.unwrap().sound());
    }
    assert!(dumped(&copy).await == dumped(&store).await);
}

#[tokio::test]
async fn a_dump_is_of_one_moment_while_others_write() {
    let store = Sled::temporary().unwrap();
    let id = fill(&store).await;
    let writing = async {
        for i in 0..300 {
            store.commit(commit().op(put(id, &format!("{}.ics", i % 70), i * 90))).await.unwrap();
        }
    };
    let dumping = async {
        for _ in 0..5 {
            let dump = dumped(&store).await;
            let dir = tempfile::tempdir().unwrap();
            // Refused unless everything in it fits together.
            Sled::restore(dir.path(), &Options::default(), Cursor::new(dump)).unwrap();
        }
    };
    tokio::join!(writing, dumping);
}

#[tokio::test]
async fn a_damaged_dump_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = Sled::temporary().unwrap();
    fill(&store).await;
    let dump = dumped(&store).await;
    let place = dir.path().join("new");
    let restore = |bytes: &[u8]| {
        let error = Sled::restore(&place, &Options::default(), Cursor::new(bytes)).unwrap_err();
        assert!(!place.exists());
        error
    };
    assert!(matches!(restore(b""), DumpError::Foreign));
    assert!(matches!(restore(b"BEGIN:VCALENDAR and so on"), DumpError::Foreign));
    assert!(matches!(restore(b"kalends dump 2\nwhatever"), DumpError::Newer));
    for length in (0..dump.len()).step_by(dump.len() / 300).chain([dump.len() - 1]) {
        assert!(check(Cursor::new(&dump[..length])).is_err(), "cut at {length}");
    }
    restore(&dump[..dump.len() - 1]);
    let longer = [dump.as_slice(), b"x"].concat();
    assert!(matches!(restore(&longer), DumpError::Broken(_)));
    for at in (0..dump.len()).step_by(dump.len() / 300) {
        let mut wrong = dump.clone();
        wrong[at] ^= 4;
        assert!(check(Cursor::new(&wrong)).is_err(), "changed at {at}");
    }
    // A place in use is left alone, an empty store gives way.
    Sled::open(&place, Options::default()).unwrap();
    Sled::restore(&place, &Options::default(), Cursor::new(&dump)).unwrap();
    let again = Sled::restore(&place, &Options::default(), Cursor::new(&dump));
    assert!(matches!(again, Err(DumpError::NotEmpty(_))), "{again:?}");
    let files = dir.path().join("files");
    std::fs::create_dir(&files).unwrap();
    std::fs::write(files.join("letter.txt"), "dear").unwrap();
    let other = Sled::restore(&files, &Options::default(), Cursor::new(&dump));
    assert!(matches!(other, Err(DumpError::NotEmpty(_))), "{other:?}");
    assert!(files.join("letter.txt").exists());
}

/// Changes rows behind the store's back.
async fn tampered(change: impl Fn(&Trees, CollectionId)) -> (Sled, CollectionId) {
    let store = Sled::temporary().unwrap();
    let id = fill(&store).await;
    for _ in 0..200 {
        if !purge::pending(&*store.shared.trees().unwrap()).unwrap() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert!(store.verify(None).await.unwrap().sound());
    change(&store.shared.trees().unwrap(), id);
    (store, id)
}

#[tokio::test]
async fn a_check_finds_every_kind_of_damage() {
    type Damage = fn(&Trees, CollectionId);
    let damages: [(&str, Damage); 13] = [
        ("the bytes", |trees, id| {
            let key = rows::piece_key(&rows::body_prefix(id, "30.ics"), 0);
            let mut row = trees.get(Space::Body, &key).unwrap().unwrap().to_vec();
            *row.last_mut().unwrap() ^= 1;
            trees.tree(Space::Body).insert(key, row).unwrap();
        }),
        ("a piece", |trees, id| {
            let key = rows::piece_key(&rows::body_prefix(id, "59.ics"), 1);
            trees.tree(Space::Body).remove(key).unwrap().unwrap();
        }),
        ("an object's row", |trees, id| {
            trees.tree(Space::Meta).remove(rows::meta_key(id, "30.ics")).unwrap().unwrap();
        }),
        ("a UID", |trees, id| {
            trees.tree(Space::Uid).remove(rows::uid_key(id, "uid of 30.ics")).unwrap().unwrap();
        }),
        ("a UID too many", |trees, id| {
            let row = read::write_uid("else", &Name::new("30.ics").unwrap());
            trees.tree(Space::Uid).insert(rows::uid_key(id, "else"), row).unwrap();
        }),
        ("a time row", |trees, id| {
            let first = trees.tree(Space::Time).scan_prefix(rows::id_key(id)).keys().next().unwrap().unwrap();
            trees.tree(Space::Time).remove(first).unwrap();
        }),
        ("a time row too many", |trees, id| {
            let (key, row) = time::rows(id, &Name::new("30.ics").unwrap(), None).remove(0);
            trees.tree(Space::Time).insert(key, row).unwrap();
        }),
        ("the newest log row", |trees, id| {
            let last =
                trees.tree(Space::Log).scan_prefix(rows::id_key(id)).keys().next_back().unwrap().unwrap();
            trees.tree(Space::Log).remove(last).unwrap();
        }),
        ("a log row", |trees, id| {
            trees.tree(Space::Log).remove(rows::log_key(id, Rev(30))).unwrap().unwrap();
        }),
        ("the counts", |trees, id| {
            let mut head = read::head(trees, id).unwrap();
            head.head.objects += 1;
            trees.tree(Space::Head).insert(rows::id_key(id), head.encode()).unwrap();
        }),
        ("a collection's name", |trees, _| {
            let prefix = [rows::CHILD];
            let last = trees.tree(Space::Core).scan_prefix(prefix).keys().next_back().unwrap().unwrap();
            trees.tree(Space::Core).remove(last).unwrap();
        }),
        ("a piece of a record", |trees, _| {
            let key = rows::record_key(&Key::new(Table::Secret, "s/1"));
            let piece = rows::piece_key(&rows::long_prefix(Space::Record, &key), 3);
            trees.tree(Space::Body).remove(piece).unwrap().unwrap();
        }),
        ("pieces of nothing", |trees, _| {
            let key = rows::piece_key(&rows::long_prefix(Space::Record, b"no such record"), 0);
            trees.tree(Space::Body).insert(key, vec![1, 1, 1]).unwrap();
        }),
    ];
    for (what, damage) in damages {
        let (store, _) = tampered(damage).await;
        let report = store.verify(None).await.unwrap();
        assert!(!report.sound(), "{what} went unnoticed");
    }
}

#[tokio::test]
async fn a_rebuild_mends_what_follows_from_the_bytes() {
    let (store, id) = tampered(|trees, id| {
        trees.tree(Space::Uid).remove(rows::uid_key(id, "uid of 30.ics")).unwrap().unwrap();
        trees.tree(Space::Uid).insert(rows::uid_key(id, "else"), vec![1]).unwrap();
        let (key, row) = time::rows(id, &Name::new("31.ics").unwrap(), None).remove(0);
        trees.tree(Space::Time).insert(key, row).unwrap();
        let first = trees.tree(Space::Time).scan_prefix(rows::id_key(id)).keys().next().unwrap().unwrap();
        trees.tree(Space::Time).remove(first).unwrap();
        let mut head = read::head(trees, id).unwrap();
        head.head.bytes += 1;
        trees.tree(Space::Head).insert(rows::id_key(id), head.encode()).unwrap();
    })
    .await;
    assert!(!store.verify(None).await.unwrap().sound());
    let same: Recompute = Arc::new(|_, object| Some(object.meta.index.clone()));
    assert_eq!(store.rebuild(same.clone()).await.unwrap(), 0, "no object's own row was wrong");
    let report = store.verify(Some(same)).await.unwrap();
    assert!(report.sound(), "{:?}", report.flaws);
    assert_eq!(store.by_uid(id, "uid of 30.ics").await.unwrap(), Name::new("30.ics"));
    assert_eq!(store.in_range(id, None, None).await.unwrap().len(), 55);
}

// S0-040, S3-030: upgrades need no hand; an older program says plainly that it is older
#[tokio::test]
async fn an_older_format_is_brought_up_step_by_step() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let store = Sled::open(&path, Options::default()).unwrap();
    let id = fill(&store).await;
    drop(store);
    let version = |trees: &Trees| {
        let row = trees.get(Space::Core, FORMAT_KEY).unwrap().unwrap();
        crate::store::codec::Reader::row(&row).unwrap().number().unwrap()
    };
    let steps = |count: usize| {
        let mut steps: Vec<upgrade::Step> = upgrade::STEPS.to_vec();
        // As later versions might: one renames a record, one counts.
        let rename: upgrade::Step = |batch| {
            let (old, new) = (Key::new(Table::Principal, "anna"), Key::new(Table::Principal, "anna2"));
            let value = batch.value(Space::Record, &rows::record_key(&old))?.unwrap();
            batch.remove(Space::Record, rows::record_key(&old));
            batch.put_value(Space::Record, rows::record_key(&new), &value)
        };
        let fail: upgrade::Step = |batch| {
            batch.put(Space::Core, b"Z".to_vec(), Writer::row().0);
            Err(Fault::Broken("on the way".into()))
        };
        steps.extend([rename, fail].into_iter().take(count));
        steps
    };
    {
        let trees = open::existing(&path, &Options::default()).unwrap();
        assert_eq!(version(&trees), upgrade::CURRENT);
        // A step that fails leaves the store as the last good step left it.
        assert!(upgrade::upgrade(&trees, &steps(2)).is_err());
        assert_eq!(version(&trees), upgrade::CURRENT + 1);
        assert_eq!(trees.get(Space::Core, b"Z").unwrap(), None);
        // A step is not done twice: the first would fail for want of the old record.
        upgrade::upgrade(&trees, &steps(1)).unwrap();
        assert_eq!(read::records(&*trees, Table::Principal, "", None, 9).unwrap()[0].0.path, "anna2");
        assert_eq!(read::list(&*trees, id, None, 100).unwrap().len(), 55);
    }
    // And this program, now the older one, refuses it in plain words and leaves it alone.
    let refused = Sled::open(&path, Options::default()).unwrap_err().to_string();
    assert!(refused.contains("written by a newer version"), "{refused}");
    let trees = ::sled::open(&path).unwrap();
    assert_eq!(
        trees.open_tree("core").unwrap().get(FORMAT_KEY).unwrap().unwrap()[1],
        upgrade::CURRENT as u8 + 1
    );
}

#[tokio::test]
async fn opening_says_plainly_what_is_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let store = Sled::open(&path, Options::default()).unwrap();
    let second = Sled::open(&path, Options::default()).unwrap_err().to_string();
    assert!(second.contains("another process has it open"), "{second}");
    let id = fill(&store).await;
    let list = store.list(id, None, 100).await.unwrap();
    drop(store);
    // Half a snapshot, as a crash leaves it: sled alone would take it for the newest and not open.
    std::fs::write(path.join("snap.7FFFFFFFFFFFFFFF.generating"), b"half").unwrap();
    let store = Sled::open(&path, Options::default()).unwrap();
    assert_eq!(store.list(id, None, 100).await.unwrap(), list);
    drop(store);
    std::fs::write(path.join("conf"), b"nonsense, nonsense").unwrap();
    let damaged = Sled::open(&path, Options::default()).unwrap_err().to_string();
    assert!(damaged.contains("restore the newest backup"), "{damaged}");
    // Something else's directory is not written into.
    let other = dir.path().join("other");
    drop(::sled::open(&other).unwrap());
    let foreign = Sled::open(&other, Options::default()).unwrap_err().to_string();
    assert!(foreign.contains("not a store of Kalends"), "{foreign}");
    // What a crash during the very first start left beside the place is no hindrance.
    let fresh = dir.path().join("fresh");
    std::fs::create_dir(dir.path().join("fresh.new")).unwrap();
    std::fs::write(dir.path().join("fresh.new/conf"), b"half").unwrap();
    Sled::open(&fresh, Options::default()).unwrap();
}

#[tokio::test]
async fn no_row_is_longer_than_four_kilobytes() {
    let store = Sled::temporary().unwrap();
    let id = fill(&store).await;
    store.commit(commit().op(put(id, "big.ics", 300_000))).await.unwrap();
    let trees = store.shared.trees().unwrap();
    for space in [
        Space::Core,
        Space::Head,
        Space::Meta,
        Space::Body,
        Space::Uid,
        Space::Time,
        Space::Log,
        Space::Record,
    ] {
        for row in trees.tree(space).iter() {
            let (key, row) = row.unwrap();
            assert!(row.len() <= 4096 && key.len() <= 2100, "{space:?}: {} and {}", key.len(), row.len());
        }
    }
}

#[tokio::test]
async fn a_purge_goes_on_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let store = Sled::open(&path, Options::default()).unwrap();
    let root = store.new_collection_id().await.unwrap();
    store.commit(commit().op(new(root, CollectionId::FILES, "root"))).await.unwrap();
    let puts = (0..3000).map(|i| store.commit(commit().op(put(root, &format!("{i}.txt"), 100))));
    futures_util::future::join_all(puts).await.into_iter().for_each(|done| drop(done.unwrap()));
    store.commit(commit().op(Op::DeleteCollection(root))).await.unwrap();
    drop(store);
    let store = Sled::open(&path, Options::default()).unwrap();
    for _ in 0..500 {
        let trees = store.shared.trees().unwrap();
        if !purge::pending(&*trees).unwrap() {
            for space in [Space::Meta, Space::Body, Space::Uid, Space::Time] {
                assert_eq!(trees.tree(space).scan_prefix(rows::id_key(root)).count(), 0, "{space:?}");
            }
            return assert!(store.verify(None).await.unwrap().sound());
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("the purge does not end");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_no_dump(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(check(Cursor::new(&bytes)).is_err());
        let named = [b"kalends dump 1\n".as_slice(), &bytes].concat();
        prop_assert!(check(Cursor::new(&named)).is_err());
    }
}

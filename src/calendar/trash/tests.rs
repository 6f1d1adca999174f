use std::sync::atomic::{AtomicI64, Ordering};

use super::*;
use crate::calendar::{Clock, Limits, NewCollection, NewPrincipal, Overwrite, Shown};
use crate::store::memory::Memory;
use crate::store::{Head, Properties, What};

const DAY: i64 = 86_400_000;

struct Standing(AtomicI64);

impl Clock for Standing {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::Relaxed))
    }
}

struct Home {
    house: Arc<House>,
    clock: Arc<Standing>,
    session: Session,
    calendar: Writable,
}

impl Home {
    async fn new() -> Home {
        let clock = Arc::new(Standing(AtomicI64::new(20_000 * DAY)));
        let house =
            House::new(Arc::new(Memory::new()), Arc::clone(&clock) as Arc<dyn Clock>, Limits::default());
        let anna = house
            .add_principal(NewPrincipal { name: "anna".into(), ..NewPrincipal::default() })
            .await
            .unwrap();
        let session = house.session(
            anna,
            Origin::Dav { principal: "anna".into(), agent: "test".into(), label: String::new() },
        );
        let home = session.home().await.unwrap();
        let calendar = home.writable_child("calendar").await.unwrap().unwrap();
        Home { house, clock, session, calendar }
    }

    fn later(&self, days: i64) {
        self.clock.0.fetch_add(days * DAY, Ordering::Relaxed);
    }

    async fn put(&self, at: &str, uid: &str, title: &str) {
        let text = format!(
            "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//test//EN\r\nBEGIN:VEVENT\r\nUID:{uid}\r\n\
             DTSTAMP:20260101T000000Z\r\nDTSTART:20260105T090000Z\r\nSUMMARY:{title}\r\n\
             END:VEVENT\r\nEND:VCALENDAR\r\n"
        );
        self.session.put(&self.calendar, Put::new(&name(at), Bytes::from(text))).await.unwrap();
    }

    async fn delete(&self, at: &str) {
        self.session.delete(&self.calendar, &name(at), &When::always(), vec![]).await.unwrap();
    }

    async fn trash(&self) -> Vec<Trashed> {
        self.session.trash(None, 1000).await.unwrap()
    }

    async fn names(&self) -> Vec<String> {
        let all = self.calendar.list(None, 100).await.unwrap();
        all.into_iter().map(|meta| meta.name.to_string()).collect()
    }

    async fn sound(&self) {
        assert_eq!(self.house.verify_trash().await.unwrap(), Vec::<String>::new());
    }
}

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn refusal(error: Error) -> Refusal {
    match error {
        Error::Refused(refusal) => refusal,
        Error::Failed(fault) => panic!("{fault}"),
    }
}

// S3-043, S3-064, E14: deleted is not gone, and blocks neither its name nor its UID
#[tokio::test]
async fn a_deleted_event_comes_back_as_it_was() {
    let home = Home::new().await;
    home.put("a.ics", "a@x", "One").await;
    let change = |properties: &mut Properties| Shown::Color.set(properties, Some("#ff0000"));
    let (always, at) = (When::always(), name("a.ics"));
    home.session.update_object_properties(&home.calendar, &at, &always, change).await.unwrap();
    let before = home.calendar.object("a.ics").await.unwrap().unwrap();
    home.delete("a.ics").await;
    let [trashed] = &home.trash().await[..] else { panic!("it is not there") };
    assert_eq!(home.session.trashed_title(trashed).await.unwrap().as_deref(), Some("One"));
    assert_eq!(home.session.trashed_text(trashed).await.unwrap().unwrap(), before.bytes);
    home.sound().await;
    let restored = home.session.restore_trashed(&trashed.id, None).await.unwrap();
    assert_eq!((restored.name.as_str(), restored.etag), ("a.ics", Some(before.meta.etag.clone())));
    assert_eq!(home.calendar.object("a.ics").await.unwrap().unwrap().bytes, before.bytes);
    let properties = home.calendar.object_properties("a.ics").await.unwrap();
    assert_eq!(Shown::Color.get(&properties).as_deref(), Some("#ff0000"));
    assert!(home.trash().await.is_empty());
    // Followers hear of it like of any other write.
    let log = home.calendar.changes(Rev(0), 100).await.unwrap();
    assert_eq!(log.items.last().unwrap().what, What::Put);
    assert_eq!(refusal(home.session.restore_trashed(&trashed.id, None).await.unwrap_err()), Refusal::Missing);
    home.sound().await;
}

// What lies in the trash of one event is found without reading the rest
#[tokio::test]
async fn the_last_deletion_of_an_event_is_found_by_its_uid() {
    let home = Home::new().await;
    let of = async |uid: &str| home.session.trashed_of(&home.calendar, uid).await.unwrap();
    home.put("a.ics", "a@x", "One").await;
    assert_eq!(of("a@x").await, None);
    home.delete("a.ics").await;
    let first = of("a@x").await.unwrap();
    assert_eq!(home.trash().await, std::slice::from_ref(&first));
    home.session.restore_trashed(&first.id, None).await.unwrap();
    assert_eq!(of("a@x").await, None);
    home.later(1);
    home.put("a.ics", "a@x", "Two").await;
    home.delete("a.ics").await;
    let second = of("a@x").await.unwrap();
    assert_eq!(home.session.trashed_title(&second).await.unwrap().as_deref(), Some("Two"));
    home.put("b.ics", "a@x", "Three").await;
    home.later(1);
    home.delete("b.ics").await;
    assert!(of("a@x").await.unwrap().at > second.at);
    assert_eq!(of("b@x").await, None);
}

#[tokio::test]
async fn a_name_that_is_taken_is_left_alone_and_a_uid_that_is_refuses() {
    let home = Home::new().await;
    home.put("a.ics", "a@x", "One").await;
    home.delete("a.ics").await;
    home.put("a.ics", "b@x", "Two").await;
    let one = home.trash().await.remove(0);
    let restored = home.session.restore_trashed(&one.id, None).await.unwrap();
    assert_eq!(restored.name.as_str(), "a-2.ics");
    home.delete("a-2.ics").await;
    home.put("c.ics", "a@x", "Three").await;
    let one = home.trash().await.remove(0);
    let refused = refusal(home.session.restore_trashed(&one.id, None).await.unwrap_err());
    assert_eq!(refused, Refusal::UidTaken(name("c.ics")));
    assert_eq!((home.trash().await.len(), home.names().await), (1, vec!["a.ics".into(), "c.ics".into()]));
    home.sound().await;
}

#[tokio::test]
async fn the_trash_is_one_persons_the_newest_first_and_told_apart_by_calendar() {
    let home = Home::new().await;
    for i in 0..5 {
        home.put(&format!("{i}.ics"), &format!("{i}@x"), "Title").await;
        home.later(1);
        home.delete(&format!("{i}.ics")).await;
    }
    let names: Vec<String> = home
        .trash()
        .await
        .into_iter()
        .map(|t| match t.what {
            Discarded::Object { name, .. } => name.to_string(),
            Discarded::Calendar => panic!("no calendar was deleted"),
        })
        .collect();
    assert_eq!(names, ["4.ics", "3.ics", "2.ics", "1.ics", "0.ics"]);
    assert_eq!(home.session.trash(None, 2).await.unwrap().len(), 2);
    let of = |id| home.session.trash(Some(id), 10);
    assert_eq!(of(home.calendar.id()).await.unwrap().len(), 5);
    assert!(of(CollectionId(999)).await.unwrap().is_empty());
    let new = NewPrincipal { name: "anna2".into(), ..NewPrincipal::default() };
    let other = home.house.session(home.house.add_principal(new).await.unwrap(), Origin::System);
    assert!(other.trash(None, 10).await.unwrap().is_empty());
    let id = &home.trash().await[0].id;
    for bad in [id.as_str(), "", "x", "../anna/1", "a/b", &"1".repeat(500)] {
        assert_eq!(refusal(other.trashed(bad).await.unwrap_err()), Refusal::Missing, "{bad}");
    }
}

// The record is part of the deletion's own commit: both or neither, kill -9 included
#[tokio::test]
async fn a_deletion_that_does_not_happen_leaves_nothing_in_the_trash() {
    let home = Home::new().await;
    home.put("a.ics", "a@x", "One").await;
    let never = || When::always().and(Expect::Exists(home.calendar.id(), name("other.ics")));
    let refused = home.session.delete(&home.calendar, &name("a.ics"), &never(), vec![]).await;
    assert_eq!(refusal(refused.unwrap_err()), Refusal::Stale);
    let refused = home.session.delete_collection(&home.calendar, &never()).await;
    assert!(refused.is_err());
    assert!(home.trash().await.is_empty() && home.names().await == ["a.ics"]);
    // Replacing and moving are no deletions.
    home.put("a.ics", "a@x", "Two").await;
    let (from, to) = (name("a.ics"), name("b.ics"));
    let (from, to) = ((&home.calendar, &from), (&home.calendar, &to));
    home.session.move_object(from, to, Overwrite::No, &When::always()).await.unwrap();
    assert!(home.trash().await.is_empty());
    home.sound().await;
}

#[tokio::test]
async fn a_deleted_calendar_comes_back_whole_and_its_log_goes_on() {
    let home = Home::new().await;
    home.put("a.ics", "a@x", "One").await;
    home.put("b.ics", "b@x", "Two").await;
    home.delete("b.ics").await;
    let token = home.calendar.head().await.unwrap().rev;
    home.later(1);
    home.session.delete_collection(&home.calendar, &When::always()).await.unwrap();
    let again = home.session.delete_collection(&home.calendar, &When::always()).await.unwrap_err();
    assert_eq!(refusal(again), Refusal::Missing);
    // Nobody sees it or writes into it, with whatever permission they had.
    let stored = home.house.store.collection(home.calendar.id()).await.unwrap().unwrap();
    assert_eq!(home.session.readable(stored).unwrap_err(), Refusal::Missing);
    let text = home.calendar.object("a.ics").await.unwrap().unwrap().bytes;
    let late = home.session.put(&home.calendar, Put::new(&name("a.ics"), text)).await.unwrap_err();
    assert_eq!(refusal(late), Refusal::NoParent);
    // Its name is free.
    let root = home.session.home().await.unwrap();
    let new = NewCollection {
        name: name("calendar"),
        kind: Kind::Calendar,
        components: vec!["VEVENT".into()],
        properties: Properties::default(),
    };
    let new = home.session.create_collection(&root, new, &When::always()).await.unwrap();
    home.sound().await;
    let all = home.trash().await;
    assert_eq!((all.len(), &all[0].what), (2, &Discarded::Calendar));
    assert_eq!(home.session.trashed_title(&all[0]).await.unwrap().as_deref(), Some("Calendar"));
    // An event of a calendar that lies in the trash has nowhere to go, unless somebody says where.
    let lost = home.session.restore_trashed(&all[1].id, None).await.unwrap_err();
    assert_eq!(refusal(lost), Refusal::NoParent);
    let new = home.session.writable(new).unwrap();
    let moved = home.session.restore_trashed(&all[1].id, Some(&new)).await.unwrap();
    assert_eq!((moved.collection, moved.name.as_str()), (new.id(), "b.ics"));
    let restored = home.session.restore_trashed(&all[0].id, None).await.unwrap();
    assert_eq!((restored.collection, restored.name.as_str()), (home.calendar.id(), "calendar-2"));
    let back = root.child("calendar-2").await.unwrap().unwrap();
    assert_eq!(back.list(None, 10).await.unwrap().len(), 1);
    let since = back.changes(token, 10).await.unwrap();
    assert_eq!(since.items.len(), 1, "the log goes on where it stood: {since:?}");
    assert!(home.trash().await.is_empty());
    home.sound().await;
}

// retention.trash: 30 days; versions never go before what needs them
// E14, S2-028: what marks a deletion has an end
#[tokio::test]
async fn what_was_deleted_long_ago_is_forgotten() {
    let home = Home::new().await;
    home.put("a.ics", "a@x", "One").await;
    home.delete("a.ics").await;
    home.later(20);
    home.put("b.ics", "b@x", "Two").await;
    home.session.delete_collection(&home.calendar, &When::always()).await.unwrap();
    let forget_versions = async |after: i64| {
        let before = Timestamp(home.clock.now().0 - after * DAY);
        home.house.forget_versions(before).await.unwrap()
    };
    assert_eq!((home.house.forget_trash().await.unwrap(), forget_versions(1).await), (0, 0));
    home.sound().await;
    home.later(11);
    assert_eq!((home.house.forget_trash().await.unwrap(), forget_versions(1).await), (1, 1));
    home.sound().await;
    assert_eq!(home.trash().await[0].what, Discarded::Calendar);
    home.later(20);
    assert_eq!(home.house.forget_trash().await.unwrap(), 1);
    assert_eq!(home.house.store.head(home.calendar.id()).await.unwrap(), Head::default());
    assert!(home.house.store.children(CollectionId::TRASH).await.unwrap().is_empty());
    home.sound().await;
}

#[tokio::test]
async fn what_is_removed_from_the_trash_is_gone_with_its_versions() {
    let home = Home::new().await;
    for title in ["One", "Two", "Three"] {
        home.put("a.ics", "a@x", title).await;
    }
    home.delete("a.ics").await;
    assert_eq!(home.calendar.versions("a@x").await.unwrap().len(), 3);
    // While it is there again, its history stays.
    let first = home.trash().await.remove(0);
    home.put("a.ics", "a@x", "Four").await;
    home.session.forget_trashed(&first.id).await.unwrap();
    assert_eq!(home.calendar.versions("a@x").await.unwrap().len(), 2);
    home.delete("a.ics").await;
    let second = home.trash().await.remove(0);
    home.session.forget_trashed(&second.id).await.unwrap();
    assert_eq!(refusal(home.session.forget_trashed(&second.id).await.unwrap_err()), Refusal::Missing);
    assert!(home.calendar.versions("a@x").await.unwrap().is_empty());
    home.session.delete_collection(&home.calendar, &When::always()).await.unwrap();
    let calendar = home.trash().await.remove(0);
    home.session.forget_trashed(&calendar.id).await.unwrap();
    assert!(home.house.store.collection(home.calendar.id()).await.unwrap().is_none());
    home.sound().await;
}

#[tokio::test]
async fn an_account_that_is_removed_leaves_no_trash() {
    let home = Home::new().await;
    for i in 0..250 {
        home.put("a.ics", &format!("{i}@x"), "One").await;
        home.delete("a.ics").await;
    }
    home.session.delete_collection(&home.calendar, &When::always()).await.unwrap();
    home.house.remove_principal("anna", vec![]).await.unwrap();
    assert!(home.house.store.records(Table::Trash, "", None, 10).await.unwrap().is_empty());
    assert!(home.house.store.children(CollectionId::TRASH).await.unwrap().is_empty());
    // Somebody else gets the name and nothing with it.
    let new = NewPrincipal { name: "anna".into(), ..NewPrincipal::default() };
    let anna = home.house.add_principal(new).await.unwrap();
    assert!(home.house.session(anna, Origin::System).trash(None, 10).await.unwrap().is_empty());
    home.sound().await;
}

#[tokio::test]
async fn a_trash_that_does_not_fit_together_is_told() {
    let home = Home::new().await;
    home.put("a.ics", "a@x", "One").await;
    home.delete("a.ics").await;
    let one = home.trash().await.remove(0);
    let Discarded::Object { rev, .. } = one.what else { panic!("it is an object") };
    let mut commit = Commit::new(Origin::System, Timestamp(0));
    commit.ops = vec![
        versions::forget(home.calendar.id(), "a@x", rev),
        Op::PutRecord(Key::new(Table::Trash, "nobody/1-1"), Bytes::from("{}")),
    ];
    home.house.store.commit(commit).await.unwrap();
    let wrong = home.house.verify_trash().await.unwrap();
    assert_eq!(wrong.len(), 3, "{wrong:?}");
    assert!(wrong[0].contains("anna/calendar/a.ics"), "{wrong:?}");
}

#[test]
fn free_names_are_numbered_and_never_too_long() {
    let long = "ä".repeat(127);
    for (text, attempt, expected) in [
        ("a.ics", 0, "a.ics".to_owned()),
        ("a.ics", 1, "a-2.ics".into()),
        ("work", 2, "work-3".into()),
        (".ics", 1, ".ics-2".into()),
        ("a.b c.d.e", 1, "a.b c.d-2.e".into()),
        (&long, 1, format!("{}-2", "ä".repeat(120))),
    ] {
        assert_eq!(numbered(&name(text), attempt).unwrap().as_str(), expected);
    }
}

//! What mappings promise whatever the far side is: whose copy is whose, what a night finds, what a record holds.

use super::super::record::{self, Base};
use super::*;

const DAY: i64 = 86_400;

/// Stores an event in a calendar of ours.
async fn put_in(world: &World, calendar: &str, name: &str, text: &str) {
    let (at, name) = (world.at(calendar).await, Name::new(name).unwrap());
    world.session.put(&at, Put::new(&name, Bytes::from(text.to_owned()))).await.unwrap();
}

/// Passes of all mappings, in turn. Returns how much the last round wrote.
async fn rounds(world: &mut World, count: usize) -> u64 {
    let mut writes = 0;
    for _ in 0..count {
        writes = 0;
        for n in 0..world.links.len() {
            world.later(61);
            let run = world.try_pass(n, false).await.unwrap();
            writes += run.local.total() + run.remote.total();
        }
    }
    writes
}

async fn bases(world: &World) -> Vec<Base> {
    let store = &world.session.house.store;
    let mut all: Vec<Base> = record::load_all(&**store, Table::Base, "0/").await.unwrap();
    all.sort_by(|a, b| a.uid.cmp(&b.uid));
    all
}

// S4-004, S4-005, S4-018: several calendars go into one of theirs, as busy time; each takes back its own only, and what
// nobody here made is left alone
#[tokio::test]
async fn several_calendars_go_into_one() {
    let busy = |mapping: &mut Mapping| (mapping.direction, mapping.fields) = (Direction::Push, Fields::Busy);
    let mut world = World::with(busy).await;
    let (far, second) = (Arc::clone(&world.links[0].far), world.at("second").await);
    let n = world.link(&second, Arc::clone(&far));
    busy(&mut world.links[n].mapping);
    far.store("/guest.ics", &event("guest", "20T080000Z", "Theirs"));
    put_in(&world, "calendar", "a.ics", &event("a", "20T100000Z", "Dentist")).await;
    put_in(&world, "second", "b.ics", &event("b", "20T100000Z", "Court")).await;
    rounds(&mut world, 3).await;
    assert_eq!(far.titles(), ["Busy", "Busy", "Theirs"]);
    assert_eq!(rounds(&mut world, 1).await, 0, "one more round wrote");
    put_in(&world, "second", "b.ics", &event("b", "21T100000Z", "Court")).await;
    world.delete("a.ics").await;
    rounds(&mut world, 2).await;
    assert_eq!(far.titles(), ["Busy", "Theirs"]);
    assert_eq!((world.titles().await.len(), world.titles_in("second").await), (0, vec!["Court".to_owned()]));
    assert_eq!(rounds(&mut world, 1).await, 0);
}

// E20: what no cursor and no notification told is found at night, and only that is written
#[tokio::test]
async fn a_night_finds_what_nobody_told() {
    let mut world = World::new().await;
    for n in 0..10 {
        world.put(&format!("{n}.ics"), &event(&format!("u{n}"), "20T100000Z", &format!("E{n}"))).await;
    }
    world.settled().await;
    {
        let mut inside = world.far().lock();
        inside.objects.insert("/u3.ics".into(), (event("u3", "20T100000Z", "E3 there").into(), 10_000));
        inside.objects.remove("/u4.ics");
    }
    world.later(600);
    world.quiet().await;
    world.later(DAY);
    let run = world.pass().await;
    assert_eq!((run.local.updated, run.local.total(), run.remote.total()), (1, 1, 0), "{run:?}");
    // One listing may be short; the next one confirms it.
    world.later(61);
    let run = world.pass().await;
    assert_eq!((run.local.deleted, run.local.total(), run.remote.total()), (1, 1, 0), "{run:?}");
    world.settled().await;
    assert_eq!(world.titles().await.len(), 9);
    assert!(world.get("3.ics").await.unwrap().contains("E3 there"));
}

// E23: another direction carries what was not carried before, and doubles nothing
#[tokio::test]
async fn a_change_of_direction_doubles_nothing() {
    for content in [false, true] {
        let mut world = World::with(|mapping| mapping.direction = Direction::Pull).await;
        world.far().lock().content = content;
        world.put("h.ics", &event("h", "20T100000Z", "Here")).await;
        world.far().store("/t.ics", &event("t", "20T120000Z", "There"));
        world.settled().await;
        assert_eq!((world.titles().await.len(), world.far().titles()), (2, vec!["There".to_owned()]));
        for direction in [Direction::Both, Direction::Push, Direction::Pull, Direction::Both] {
            world.links[0].mapping.direction = direction;
            world.settled().await;
            let both = ["Here", "There"];
            assert!(world.titles().await == both && world.far().titles() == both, "{direction:?}");
        }
        assert_eq!(world.far().text("/t.ics").unwrap(), event("t", "20T120000Z", "There"));
    }
}

// S3-017, S3-018, S4-055, S4-057, S4-058, S4-059, S4-060, S4-069: where it came from, its name and state on both sides,
// the digest and the moment that both agreed on, whether it waits for a person; each object has one place there
#[tokio::test]
async fn a_record_joins_one_object_here_with_one_there() {
    let mut world = World::with(|mapping| mapping.policy = Policy::Ask).await;
    world.put("a.ics", &event("a", "20T100000Z", "A")).await;
    world.far().store("/b.ics", &event("b", "20T110000Z", "B"));
    world.settled().await;
    let at = world.at("calendar").await;
    for (base, uid) in bases(&world).await.iter().zip(["a", "b"]) {
        let (here, there) = (format!("{uid}.ics"), format!("/{uid}.ics"));
        assert_eq!((base.uid.as_str(), base.name.as_str(), base.remote.0.as_str()), (uid, &*here, &*there));
        assert_eq!(base.etag, at.meta(&here).await.unwrap().unwrap().etag);
        assert_eq!(base.version.as_ref().unwrap().0, world.far().lock().objects[&there].1.to_string());
        assert!((NOW..=world.clock.now().0).contains(&base.agreed.0) && base.conflict.is_none(), "{base:?}");
        assert_eq!((base.from_here, base.from_there), (uid == "a", uid == "b"));
    }
    // The digest is of what it says, not of how that is written: the same in another order is no change.
    let print = bases(&world).await[0].print.clone();
    let text = world.far().text("/a.ics").unwrap();
    let turned = text.replace("SUMMARY:A\r\n", "").replace("DTSTART", "SUMMARY:A\r\nDTSTART");
    assert_ne!(turned, text);
    world.far().store("/a.ics", &turned);
    world.settled().await;
    assert_eq!(bases(&world).await[0].print, print);
    // A clash that waits is on the record.
    world.put("a.ics", &event("a", "20T100000Z", "A here")).await;
    world.far().store("/a.ics", &event("a", "20T100000Z", "A there"));
    world.pass().await;
    let waits = bases(&world).await[0].conflict.clone();
    assert_eq!(waits, Some(world.conflicts().await[0].id.clone()));
    // A second object with a UID that is known is no second counterpart, and says why.
    world.far().store("/twin.ics", &event("b", "20T110000Z", "B again"));
    world.later(61);
    let run = world.pass().await;
    assert_eq!(run.failures[0].reason, "The far side has another event with the same UID.");
    let places: Vec<String> = bases(&world).await.into_iter().map(|base| base.remote.0).collect();
    assert_eq!(places, ["/a.ics", "/b.ics"]);
    assert_eq!(world.titles().await, ["A here", "B"]);
    // Removed there, it is removed here by its record, and the record goes.
    world.far().remove("/b.ics");
    world.far().remove("/twin.ics");
    world.settled().await;
    assert_eq!((world.titles().await, bases(&world).await.len()), (vec!["A here".to_owned()], 1));
}

/// A weekly series with two instances of their own.
fn series(first: &str, second: &str) -> String {
    let instance = |day: &str, title: &str| {
        format!(
            "BEGIN:VEVENT\r\nUID:s\r\nDTSTAMP:20260101T000000Z\r\nRECURRENCE-ID:202701{day}T100000Z\r\n\
             DTSTART:202701{day}T100000Z\r\nDURATION:PT1H\r\nSUMMARY:{title}\r\nEND:VEVENT\r\n"
        )
    };
    let whole = line(&event("s", "18T100000Z", "Choir"), "RRULE:FREQ=WEEKLY;COUNT=5");
    let instances = instance("25", first) + &instance("18", second);
    whole.replace("END:VCALENDAR", &format!("{instances}END:VCALENDAR"))
}

// S3-071, S3-075: instances are compared one by one; a clash about one leaves the others alone
#[tokio::test]
async fn instances_clash_one_by_one() {
    let mut world = World::with(|mapping| mapping.policy = Policy::External).await;
    world.put("s.ics", &series("First", "Second")).await;
    world.settled().await;
    // Different instances on both sides: nothing clashes.
    world.put("s.ics", &series("First here", "Second")).await;
    world.far().store("/s.ics", &series("First", "Second there"));
    let run = world.pass().await;
    assert_eq!((run.conflicts, run.failures.len()), (0, 0), "{run:?}");
    world.settled().await;
    for text in [world.get("s.ics").await.unwrap(), world.far().text("/s.ics").unwrap()] {
        assert!(text.contains("SUMMARY:First here") && text.contains("SUMMARY:Second there"), "{text}");
    }
    // The same instance on both sides: theirs is taken of it, and of it alone.
    world.put("s.ics", &series("First ours", "Second ours")).await;
    world.far().store("/s.ics", &series("First theirs", "Second there"));
    assert_eq!(world.pass().await.conflicts, 1);
    world.settled().await;
    for text in [world.get("s.ics").await.unwrap(), world.far().text("/s.ics").unwrap()] {
        assert!(text.contains("SUMMARY:First theirs") && text.contains("SUMMARY:Second ours"), "{text}");
    }
    let conflict = world.conflicts().await.remove(0);
    assert!(conflict.clashes.iter().all(|what| what.contains("20270125")), "{:?}", conflict.clashes);
}

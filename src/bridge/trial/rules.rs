//! What mappings promise whatever the far side is: whose copy is whose, what a night finds, what a record holds.

use super::super::provider::Trouble;
use super::super::record::{self, Base, Reach, RunStatus};
use super::super::{preview, scope};
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

// S2-093, E23: another direction carries what was not carried before, and doubles nothing
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

// S2-029, S3-017, S3-018, S4-055, S4-057, S4-058, S4-059, S4-060, S4-069: where it came from, its name and state on
// both sides,
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

fn uids(far: &Far) -> Vec<String> {
    let inside = far.lock();
    inside.objects.values().map(|(bytes, _)| property(bytes, "UID").unwrap()).collect()
}

/// The paths and the objects of a far side.
fn paths(far: &Far) -> Vec<String> {
    far.lock().objects.keys().cloned().collect()
}

// E7: a copy that tells no more than that somebody is busy has a name of its own, and is known by it for ever
#[tokio::test]
async fn busy_copies_have_names_that_tell_nothing() {
    for content in [false, true] {
        let mut world = World::with(|mapping| mapping.fields = Fields::Busy).await;
        world.far().lock().content = content;
        world.put("a.ics", &event("anna@example.org", "20T100000Z", "Dentist")).await;
        world.put("b.ics", &event("bert@example.org", "20T100000Z", "Court")).await;
        world.settled().await;
        let all = [uids(world.far()), paths(world.far())].concat().join(" ");
        assert!(!all.contains("anna") && !all.contains("bert") && !all.contains("example"), "{all}");
        let names = uids(world.far());
        // Changes and removals find their copies.
        world.put("a.ics", &event("anna@example.org", "21T100000Z", "Dentist")).await;
        world.settled().await;
        assert_eq!((uids(world.far()), world.far().titles()), (names.clone(), vec!["Busy".to_owned(); 2]));
        // What somebody moves there is moved here, whose UID it never learns.
        let (path, text) = {
            let inside = world.far().lock();
            let moved = inside
                .objects
                .iter()
                .find(|(_, (bytes, _))| property(bytes, "DTSTART").unwrap().contains("0121"));
            let (path, (bytes, _)) = moved.unwrap();
            (path.clone(), String::from_utf8(bytes.to_vec()).unwrap())
        };
        world.far().store(&path, &text.replace("20270121T", "20270122T"));
        world.settled().await;
        let here = world.get("a.ics").await.unwrap();
        assert!(
            here.contains("20270122T") && here.contains("Dentist") && here.contains("UID:anna@example.org"),
            "{here}"
        );
        // A mapping that is made again knows its copies again.
        let (far, mapping) = (Arc::clone(&world.links[0].far), world.links[0].mapping.clone());
        world.links.clear();
        let at = world.at("calendar").await;
        let n = world.link(&at, far);
        world.links[n].mapping = Mapping { id: "9".into(), ..mapping };
        let run = world.pass().await;
        assert_eq!((run.local.total(), run.remote.total()), (0, 0), "{run:?}");
        world.settled().await;
        world.delete("b.ics").await;
        world.put("a.ics", &event("anna@example.org", "23T100000Z", "Dentist")).await;
        world.settled().await;
        assert_eq!((uids(world.far()).len(), world.titles().await), (1, vec!["Dentist".to_owned()]));
        assert!(names.contains(&uids(world.far())[0]));
        // The dry run of one knows them as well.
        let (far, mapping) = (Arc::clone(&world.links[0].far), world.links[0].mapping.clone());
        let window = scope::window(&mapping, Reach::Days(30), Reach::Days(365), world.clock.now());
        let store = Arc::clone(&world.session.house.store);
        let found =
            preview::dry_run(&*store, &mapping, &*far, (window, crate::bridge::similar::SURE)).await.unwrap();
        assert_eq!((found.same, found.insert_here, found.insert_there), (1, 0, 0), "{found:?}");
    }
}

// A shadow never comes back as an event of its own, whoever brings it
#[tokio::test]
async fn a_cycle_with_busy_comes_to_rest() {
    for content in [false, true] {
        let mut world = World::with(|mapping| mapping.fields = Fields::Busy).await;
        let (far, at) = (Arc::clone(&world.links[0].far), world.at("calendar").await);
        far.lock().content = content;
        let n = world.link(&at, Arc::clone(&far));
        world.links[n].mapping.fields = Fields::Full;
        world.links[n].mapping.direction = Direction::Pull;
        let elsewhere = world.at("elsewhere").await;
        world.link(&elsewhere, Arc::clone(&far));
        world.put("a.ics", &event("a", "20T100000Z", "Dentist")).await;
        far.store("/t.ics", &event("t", "20T120000Z", "Theirs"));
        rounds(&mut world, 5).await;
        assert_eq!(rounds(&mut world, 1).await, 0, "it does not come to rest");
        assert_eq!(far.titles(), ["Busy", "Theirs"]);
        assert_eq!(world.titles_in("elsewhere").await, ["Busy", "Theirs"]);
        let titles = world.titles().await;
        assert_eq!((titles.len(), titles[0] == "Busy" || titles[0] == "Dentist"), (2, true), "{titles:?}");
        assert!(titles.contains(&"Dentist".to_owned()), "{titles:?}");
    }
}

// E7: from the moment on that a mapping is to tell no more, its copies tell no more either; what was theirs stays theirs
#[tokio::test]
async fn copies_are_hushed_when_a_mapping_becomes_busy() {
    let mut world = World::new().await;
    world.put("a.ics", &line(&event("anna@example.org", "20T100000Z", "Dentist"), "LOCATION:Town")).await;
    world.put("both.ics", &event("both", "20T110000Z", "Lunch")).await;
    world.far().store("/both.ics", &event("both", "20T110000Z", "Lunch"));
    world.far().store("/t.ics", &event("t", "20T120000Z", "Theirs"));
    world.settled().await;
    world.links[0].mapping.fields = Fields::Busy;
    world.settled().await;
    assert_eq!(world.far().titles(), ["Busy", "Lunch", "Theirs"]);
    let all: String = paths(world.far()).iter().map(|path| world.far().text(path).unwrap()).collect();
    assert!(!all.contains("anna") && !all.contains("Dentist") && !all.contains("Town"), "{all}");
    assert_eq!(world.titles().await, ["Dentist", "Lunch", "Theirs"]);
    assert!(world.get("a.ics").await.unwrap().contains("LOCATION:Town"));
    // And told again when it may be.
    world.links[0].mapping.fields = Fields::Full;
    world.settled().await;
    assert_eq!(world.far().titles(), ["Dentist", "Lunch", "Theirs"]);
}

// A write whose answer was lost is known by its name, that of a copy that tells nothing too
#[tokio::test]
async fn a_copy_whose_answer_was_lost_is_not_made_twice() {
    for fields in [Fields::Full, Fields::Busy] {
        let mut world = World::with(|mapping| mapping.fields = fields).await;
        world.settled().await;
        world.far().lock().swallows = 1;
        world.put("a.ics", &event("anna@example.org", "20T100000Z", "Dentist")).await;
        assert_eq!(world.pass().await.failures.len(), 1);
        world.put("a.ics", &event("anna@example.org", "21T100000Z", "Dentist")).await;
        world.later(61);
        world.settled().await;
        assert_eq!((world.far().titles().len(), world.titles().await.len()), (1, 1), "{fields:?}");
        assert!(world.far().text(&paths(world.far())[0]).unwrap().contains("20270121T"), "{fields:?}");
    }
}

// S3-057, S3-105: what begins within the hour does not go before it is known what is one at a first meeting
#[tokio::test]
async fn what_is_urgent_is_not_doubled_at_a_first_meeting() {
    for content in [false, true] {
        let mut world = World::new().await;
        world.far().lock().content = content;
        world.put("a.ics", &event("ours", "15T081500Z", "Dentist")).await;
        world.far().store("/1.ics", &event("theirs", "15T081500Z", "Dentist"));
        world.settled().await;
        assert_eq!((world.titles().await.len(), world.far().titles().len()), (1, 1), "content {content}");
        // Once both have met, it goes at once.
        world.put("b.ics", &event("b", "15T083000Z", "Call")).await;
        assert_eq!(world.pass().await.remote.inserted, 1);
    }
}

// S3-006: neither do several that lie beside each other, in a first pass and in any other, whatever the far side says of
// them: as long as it answers anything else it is not down
#[tokio::test]
async fn events_side_by_side_that_cannot_be_read_keep_no_other_from_being_carried() {
    let names = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"];
    let broken = ["/b.ics", "/c.ics", "/d.ics", "/e.ics", "/f.ics", "/g.ics", "/i.ics"];
    for (later, refused) in [(false, false), (true, false), (false, true), (true, true)] {
        let mut world = World::new().await;
        if later {
            world.settled().await;
        }
        for n in names {
            world.far().store(&format!("/{n}.ics"), &event(n, "20T100000Z", n));
        }
        world.put("own.ics", &event("own", "20T100000Z", "own")).await;
        world.far().lock().broken = broken.into();
        world.far().lock().says_no = refused;
        let run = world.pass().await;
        assert_eq!((run.status, run.failures.len()), (RunStatus::PartialFailure, broken.len()), "{run:?}");
        assert_eq!((run.local.inserted, run.remote.inserted), (3, 1), "{run:?}");
        assert_eq!(world.titles().await, ["a", "h", "j", "own"]);
        world.far().lock().broken.clear();
        world.later(61);
        world.settled().await;
        assert_eq!(world.titles().await.len(), names.len() + 1);
        assert!(world.links[0].state.again.is_empty());
    }
}

// S3-006, E24: one event that cannot be read fails alone, says so, and is carried as soon as it can be
#[tokio::test]
async fn an_event_that_cannot_be_read_keeps_no_other_from_being_carried() {
    for later in [false, true] {
        let mut world = World::new().await;
        if later {
            world.settled().await;
        }
        for n in ["a", "b", "c", "d", "e"] {
            world.far().store(&format!("/{n}.ics"), &event(n, "20T100000Z", n));
        }
        world.put("own.ics", &event("own", "20T100000Z", "own")).await;
        world.far().lock().broken = ["/c.ics"].into();
        let run = world.pass().await;
        assert_eq!((run.status, run.failures.len()), (RunStatus::PartialFailure, 1), "{run:?}");
        assert_eq!((run.local.inserted, run.remote.inserted), (4, 1), "{run:?}");
        assert!(run.failures[0].reason.contains("It cannot be read."), "{run:?}");
        assert_eq!(world.titles().await, ["a", "b", "d", "e", "own"]);
        world.far().lock().broken.clear();
        world.later(61);
        world.settled().await;
        assert_eq!(world.titles().await, ["a", "b", "c", "d", "e", "own"]);
        assert!(world.links[0].state.again.is_empty());
        // What is no calendar object at all fails alone as well.
        world.far().store("/f.ics", "This is no calendar.");
        world.far().store("/g.ics", &event("g", "20T100000Z", "g"));
        let run = world.pass().await;
        assert_eq!((run.status, run.local.inserted), (RunStatus::PartialFailure, 1), "{run:?}");
        world.far().store("/f.ics", &event("f", "20T100000Z", "f"));
        world.settled().await;
        assert_eq!(world.titles().await, ["a", "b", "c", "d", "e", "f", "g", "own"]);
    }
}

// S3-006: however many writes stay without an answer one after the other, all others are carried while the far side answers
// anything else
#[tokio::test]
async fn writes_that_are_never_answered_stop_no_other() {
    let mut world = World::new().await;
    world.settled().await;
    world.far().lock().deaf = Some("deaf");
    for n in 0..9 {
        world.put(&format!("{n}.ics"), &event(&format!("u{n}"), "20T100000Z", &format!("deaf {n}"))).await;
    }
    world.put("z.ics", &event("z", "20T100000Z", "Z")).await;
    world.far().store("/y.ics", &event("y", "20T100000Z", "Y"));
    let run = world.pass().await;
    assert_eq!((run.status, run.failures.len()), (RunStatus::PartialFailure, 9), "{run:?}");
    assert_eq!((run.local.inserted, run.remote.inserted), (1, 1), "{run:?}");
    assert!((1..=3).contains(&world.far().lock().asked), "it is asked now and then whether it is there");
    assert!(world.links[0].state.again.iter().all(|failure| failure.attempts == 1 && failure.next.is_some()));
    world.far().lock().deaf = None;
    world.later(61);
    world.settled().await;
    assert_eq!((world.titles().await.len(), world.far().titles().len()), (11, 11));
}

// S3-095, S3-111: one that answered a moment ago and answers nobody any more is down, which is no reason to try every event;
// what failed until then has had an attempt
#[tokio::test]
async fn a_far_side_that_answers_nobody_is_down() {
    let mut world = World::new().await;
    world.settled().await;
    world.far().lock().down = true;
    for n in 0..9 {
        world.put(&format!("{n}.ics"), &event(&format!("u{n}"), "20T100000Z", &format!("E{n}"))).await;
    }
    for (passes, tried) in [(1, 4), (2, 8)] {
        assert!(matches!(world.try_pass(0, false).await, Err(Halt::Far(Trouble::Unreachable(_)))));
        let again = &world.links[0].state.again;
        assert_eq!(
            again.len(),
            tried,
            "a batch at a time, and those first that were not tried yet: {again:?}"
        );
        assert!(again.iter().all(|failure| failure.attempts == 1 && failure.next.is_some()), "{again:?}");
        assert_eq!(world.far().lock().asked, passes, "it is asked once whether it is there at all");
    }
    world.later(61);
    assert!(matches!(world.try_pass(0, false).await, Err(Halt::Far(Trouble::Unreachable(_)))));
    assert!(world.links[0].state.again.iter().any(|failure| failure.attempts == 2));
    world.far().lock().down = false;
    world.later(301);
    world.settled().await;
    assert_eq!((world.titles().await.len(), world.far().titles().len()), (9, 9));
}

// E7: a copy that says only that somebody is busy is not judged by a filter that asks for its title
#[tokio::test]
async fn a_busy_copy_passes_with_its_original() {
    let mut world = World::with(|mapping| {
        let when = record::Match { title: Some("open".into()), ..record::Match::default() };
        mapping.fields = Fields::Busy;
        mapping.filters = vec![record::Filter { when, action: record::FilterAction::Include }];
    })
    .await;
    world.put("a.ics", &event("a", "20T100000Z", "An open house")).await;
    world.put("b.ics", &event("b", "20T110000Z", "Dentist")).await;
    world.settled().await;
    world.put("a.ics", &event("a", "21T100000Z", "An open house")).await;
    world.settled().await;
    assert_eq!(world.far().titles(), ["Busy"]);
    assert!(world.links[0].state.again.is_empty(), "{:?}", world.links[0].state.again);
    // A mapping that is made again knows it again.
    let (far, mapping) = (Arc::clone(&world.links[0].far), world.links[0].mapping.clone());
    world.links.clear();
    let at = world.at("calendar").await;
    let n = world.link(&at, far);
    world.links[n].mapping = Mapping { id: "9".into(), ..mapping };
    world.settled().await;
    world.delete("a.ics").await;
    world.settled().await;
    assert_eq!(world.far().titles(), Vec::<String>::new());
}

// S2-012, S2-093: one way only, what is removed on the other side stays so, until it is edited where it comes from; it is
// no reason to ask a person, and no reason to compare everything again and again (seed 37 of the stories of settings)
#[tokio::test]
async fn one_way_a_removed_copy_comes_back_with_the_next_edit() {
    let mut world = World::with(|mapping| mapping.direction = Direction::Push).await;
    world.put("a.ics", &event("a", "20T100000Z", "A")).await;
    world.settled().await;
    world.far().remove("/a.ics");
    world.later(2 * DAY);
    world.settled().await;
    assert_eq!((world.titles().await.len(), world.far().titles().len()), (1, 0));
    assert!(!world.links[0].state.missing);
    world.put("a.ics", &event("a", "20T100000Z", "A edited")).await;
    world.settled().await;
    assert_eq!(world.far().titles(), ["A edited"]);
    let mut world = World::with(|mapping| mapping.direction = Direction::Pull).await;
    for n in 0..30 {
        world.far().store(&format!("/{n}.ics"), &event(&format!("u{n}"), "20T100000Z", "A"));
    }
    world.settled().await;
    for n in 0..30 {
        world.delete(&format!("{n}.ics")).await;
    }
    world.settled().await;
    assert_eq!((world.titles().await.len(), world.far().titles().len()), (0, 30));
    world.far().store("/7.ics", &event("u7", "20T100000Z", "A edited"));
    world.settled().await;
    assert_eq!((world.titles().await, world.far().titles().len()), (vec!["A edited".to_owned()], 30));
}

// S3-170: what was removed on the one side and does not pass any more is not brought back by an edit (seed 1260)
#[tokio::test]
async fn an_edit_does_not_bring_back_what_a_filter_leaves_out() {
    let mut world = World::with(|mapping| mapping.filters = super::laws::leave_out("secret")).await;
    world.far().store("/a.ics", &event("a", "20T100000Z", "A"));
    world.put("b.ics", &event("b", "20T100000Z", "B")).await;
    world.put("c.ics", &event("c", "20T100000Z", "C")).await;
    world.settled().await;
    world.far().remove("/a.ics");
    world.put("a.ics", &event("a", "20T100000Z", "A secret")).await;
    world.delete("b.ics").await;
    world.far().store("/b.ics", &event("b", "20T100000Z", "B secret"));
    world.settled().await;
    assert_eq!(world.titles().await, ["A secret", "C"]);
    assert_eq!(world.far().titles(), ["B secret", "C"]);
}

// S3-076: where a far side vouches for no version, what somebody else wrote before the write was read back is theirs
#[tokio::test]
async fn a_rival_between_a_write_and_its_reading_back_is_heard() {
    let mut world = World::new().await;
    world.put("a.ics", &event("a", "20T100000Z", "Tea")).await;
    world.settled().await;
    for said in ["LOCATION:Inn", "SUMMARY:Coffee"] {
        world.later(60);
        let text = world.get("a.ics").await.unwrap();
        world.put("a.ics", &line(&text, &format!("COMMENT:before {said}"))).await;
        world.far().lock().overtaken = Some(said);
        world.settled().await;
        let ours = world.get("a.ics").await.unwrap();
        let both = [said.to_owned(), format!("COMMENT:before {said}")];
        assert!(both.iter().all(|what| ours.contains(what)), "{ours}");
        assert!(both.iter().all(|what| world.far().text("/a.ics").unwrap().contains(what)));
    }
    assert!(world.conflicts().await.is_empty());
}

// S4-064: what is carried stays so, also where nothing but a listing tells of its edit, and it has left the window
#[tokio::test]
async fn an_edit_outside_the_window_is_seen_in_a_listing() {
    let mut world = World::with(|mapping| mapping.window_past = Some(Reach::Days(30))).await;
    (world.far().lock().windowed, world.far().lock().beyond) = (true, true);
    world.far().store("/strange.ics", &event("strange", "20260101T100000Z", "Never carried"));
    world.put("a.ics", &event("a", "20T100000Z", "Tea")).await;
    world.settled().await;
    world.later(60 * DAY);
    world.settled().await;
    let reads = world.far().lock().reads;
    world.far().store("/a.ics", &event("a", "20T100000Z", "Coffee"));
    // The far side no longer knows how far it was read.
    world.links[0].state.cursor = None;
    world.settled().await;
    assert_eq!(world.titles().await, ["Coffee"]);
    assert_eq!(world.far().lock().reads, reads + 1, "what nobody carries is not read");
}

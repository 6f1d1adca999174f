//! One behaviour of a pass each.

use super::super::provider::Trouble;
use super::super::record::Reach;
use super::super::record::{ConflictStatus, Filter, FilterAction, Match, RunStatus};
use super::super::run::Halt;
use super::super::{preview, scope};
use super::*;

const DAY: i64 = 86_400;

// S4-064: bridge.window_past, bridge.window_future: what nobody carried and lies outside is left alone both ways
#[tokio::test]
async fn what_lies_outside_the_window_stays_where_it_is() {
    for (content, windowed) in [(false, false), (true, false), (true, true)] {
        let mut world = World::new().await;
        (world.far().lock().content, world.far().lock().windowed) = (content, windowed);
        world.put("old.ics", &event("old", "20261101T100000Z", "Old here")).await;
        world.put("far.ics", &event("far", "20280301T100000Z", "Far here")).await;
        world.put("near.ics", &event("near", "20T100000Z", "Near here")).await;
        world.far().store("/old2.ics", &event("old2", "20261101T120000Z", "Old there"));
        world.far().store("/far2.ics", &event("far2", "20280301T120000Z", "Far there"));
        world.far().store("/near2.ics", &event("near2", "20T120000Z", "Near there"));
        world.settled().await;
        assert_eq!(world.titles().await, ["Far here", "Near here", "Near there", "Old here"]);
        assert_eq!(world.far().titles(), ["Far there", "Near here", "Near there", "Old there"]);
        // What was far comes near by itself.
        world.later(100 * DAY);
        world.settled().await;
        assert!(world.titles().await.contains(&"Far there".to_owned()));
        assert!(world.far().titles().contains(&"Far here".to_owned()));
        assert!(!world.titles().await.contains(&"Old there".to_owned()));
    }
}

// What is left alone is read once, not in every full comparison
#[tokio::test]
async fn what_is_left_alone_is_not_read_again() {
    let mut world = World::with(|mapping| mapping.filters = leave_out("secret")).await;
    for n in 0..9 {
        let old = event(&format!("old{n}"), "20260101T100000Z", "Old");
        world.far().store(&format!("/old{n}.ics"), &old);
        let secret = event(&format!("secret{n}"), "20T100000Z", "secret");
        world.far().store(&format!("/secret{n}.ics"), &secret);
    }
    world.settled().await;
    assert_eq!(world.far().lock().reads, 18);
    world.later(2 * DAY);
    world.settled().await;
    assert_eq!(world.far().lock().reads, 18);
    // What changes is looked at, and so is all of it under other settings.
    world.far().store("/old3.ics", &event("old3", "20T120000Z", "New"));
    world.far().remove("/old4.ics");
    world.later(2 * DAY);
    world.settled().await;
    assert_eq!((world.titles().await, world.far().lock().reads), (vec!["New".to_owned()], 19));
    world.links[0].mapping.filters = Vec::new();
    world.settled().await;
    assert_eq!(world.titles().await.len(), 10);
}

// E4, S4-065: Leaving the window is never a deletion
#[tokio::test]
async fn what_leaves_the_window_is_kept_on_both_sides() {
    for windowed in [false, true] {
        let mut world = World::new().await;
        (world.far().lock().content, world.far().lock().windowed) = (true, windowed);
        for n in 0..5 {
            world.put(&format!("{n}.ics"), &event(&format!("u{n}"), "10T100000Z", &format!("E{n}"))).await;
        }
        world.settled().await;
        world.later(200 * DAY);
        world.settled().await;
        world.later(DAY);
        world.settled().await;
        assert_eq!(world.titles().await, ["E0", "E1", "E2", "E3", "E4"]);
        assert_eq!(world.far().titles(), ["E0", "E1", "E2", "E3", "E4"]);
        // It is known all the same: a change is carried, a removal too.
        world.put("0.ics", &event("u0", "10T100000Z", "E0 changed")).await;
        world.delete("1.ics").await;
        world.settled().await;
        assert_eq!(world.far().titles(), ["E0 changed", "E2", "E3", "E4"]);
    }
}

// A far side that tells of a move out of the window as of a removal is asked before anything is removed here
#[tokio::test]
async fn a_move_out_of_the_window_is_a_move() {
    let mut world = World::new().await;
    (world.far().lock().content, world.far().lock().windowed) = (true, true);
    world.put("a.ics", &event("a", "20T100000Z", "A")).await;
    world.put("b.ics", &event("b", "20T100000Z", "B")).await;
    world.settled().await;
    world.far().store("/a.ics", &event("a", "20290101T100000Z", "A"));
    world.settled().await;
    assert!(world.get("a.ics").await.unwrap().contains("20290101T100000Z"));
    // A removal is one.
    world.far().remove("/b.ics");
    world.settled().await;
    assert_eq!((world.titles().await, world.far().titles()), (vec!["A".to_owned()], vec!["A".to_owned()]));
}

// Content that a listing brings is not read again; S3-119: how far a run is
#[tokio::test]
async fn content_that_came_along_is_not_read_again() {
    let mut world = World::new().await;
    world.far().lock().content = true;
    for n in 0..50 {
        world.far().store(&format!("/{n}.ics"), &event(&format!("u{n}"), "20T100000Z", &format!("E{n}")));
    }
    let run = world.pass().await;
    assert_eq!((run.local.inserted, run.done, run.total), (50, 50, 50));
    world.settled().await;
    world.far().store("/3.ics", &event("u3", "20T100000Z", "E3 changed"));
    world.put("x.ics", &event("x", "20T100000Z", "X")).await;
    let run = world.pass().await;
    assert_eq!((run.local.updated, run.remote.inserted), (1, 1));
    assert_eq!(world.far().lock().reads, 0);
    // Without versions the content is compared, and still not read again.
    world.far().lock().silent = true;
    world.later(2 * DAY);
    world.settled().await;
}

// Fields that the mapping does not carry stay on their side, whoever edits
#[tokio::test]
async fn what_is_not_carried_stays_on_its_side() {
    let mut world = World::with(|mapping| mapping.fields = Fields::Core).await;
    let ours = line(&event("a", "20T100000Z", "A"), "X-OURS:kept");
    world.put("a.ics", &line(&ours, "CATEGORIES:here")).await;
    world.settled().await;
    let there = world.far().text("/a.ics").unwrap();
    assert!(!there.contains("X-OURS") && !there.contains("CATEGORIES"), "{there}");
    world.far().store("/a.ics", &line(&line(&there, "COLOR:red"), "SUMMARY:A there"));
    world.settled().await;
    let here = world.get("a.ics").await.unwrap();
    assert!(here.contains("SUMMARY:A there") && here.contains("X-OURS") && here.contains("CATEGORIES:here"));
    assert!(!here.contains("COLOR"), "{here}");
    world.put("a.ics", &line(&here, "SUMMARY:A here")).await;
    world.settled().await;
    let there = world.far().text("/a.ics").unwrap();
    assert!(there.contains("SUMMARY:A here") && there.contains("COLOR:red"), "{there}");
    // An edit of what is not carried is no change.
    let here = world.get("a.ics").await.unwrap();
    world.put("a.ics", &line(&here, "CATEGORIES:other")).await;
    world.quiet().await;
    // More fields are carried from now on: what either side has is united.
    world.links[0].mapping.fields = Fields::Standard;
    world.settled().await;
    let (here, there) = (world.get("a.ics").await.unwrap(), world.far().text("/a.ics").unwrap());
    assert!(here.contains("COLOR:red") && there.contains("CATEGORIES:other"), "{here}{there}");
    assert!(here.contains("X-OURS") && !there.contains("X-OURS"));
}

// What a far side says that it cannot hold is no difference
#[tokio::test]
async fn what_the_far_side_lacks_is_no_difference() {
    let mut world = World::new().await;
    world.far().lock().lacks = ["CATEGORIES", "X-"].into();
    let ours = line(&line(&event("a", "20T100000Z", "A"), "X-OURS:kept"), "CATEGORIES:here");
    world.put("a.ics", &ours).await;
    world.far().store("/b.ics", &event("b", "20T100000Z", "B"));
    world.settled().await;
    let b = world.get("b.ics").await.unwrap();
    world.put("b.ics", &line(&b, "CATEGORIES:ours")).await;
    world.quiet().await;
    world.far().store("/b.ics", &event("b", "21T100000Z", "B moved"));
    world.settled().await;
    let b = world.get("b.ics").await.unwrap();
    assert!(b.contains("CATEGORIES:ours") && b.contains("20270121T100000Z"), "{b}");
}

pub(super) fn leave_out(title: &str) -> Vec<Filter> {
    let when = Match { title: Some(title.into()), ..Match::default() };
    vec![Filter { when, action: FilterAction::Exclude }]
}

// S3-170: the copy goes, never the original
#[tokio::test]
async fn what_a_filter_leaves_out_is_taken_back_from_where_it_did_not_come() {
    let mut world = World::with(|mapping| mapping.filters = leave_out("secret")).await;
    world.put("never.ics", &event("never", "20T090000Z", "A secret")).await;
    world.put("mine.ics", &event("mine", "20T100000Z", "Mine")).await;
    world.put("both.ics", &event("both", "20T110000Z", "Both")).await;
    world.far().store("/both.ics", &event("both", "20T110000Z", "Both"));
    world.far().store("/theirs.ics", &event("theirs", "20T120000Z", "Theirs"));
    world.settled().await;
    assert_eq!(world.titles().await, ["A secret", "Both", "Mine", "Theirs"]);
    assert_eq!(world.far().titles(), ["Both", "Mine", "Theirs"]);
    world.put("mine.ics", &event("mine", "20T100000Z", "Mine secret")).await;
    world.put("both.ics", &event("both", "20T110000Z", "Both secret")).await;
    world.far().store("/theirs.ics", &event("theirs", "20T120000Z", "Theirs secret"));
    world.settled().await;
    assert_eq!(world.titles().await, ["A secret", "Both secret", "Mine secret"]);
    assert_eq!(world.far().titles(), ["Both", "Theirs secret"]);
    // It is carried again when it passes again.
    world.put("mine.ics", &event("mine", "20T100000Z", "Mine")).await;
    world.settled().await;
    assert_eq!(world.far().titles(), ["Both", "Mine", "Theirs secret"]);
}

#[tokio::test]
async fn a_filter_that_would_take_many_copies_back_waits_for_a_word() {
    let mut world = World::new().await;
    for n in 0..30 {
        world
            .far()
            .store(&format!("/{n}.ics"), &event(&format!("u{n}"), "20T100000Z", &format!("secret {n}")));
    }
    world.settled().await;
    assert_eq!(world.titles().await.len(), 30);
    world.links[0].mapping.filters = leave_out("secret");
    let held = world.try_pass(0, false).await;
    assert!(matches!(&held, Err(Halt::Held(hold)) if (hold.local, hold.remote) == (30, 0)), "{held:?}");
    assert_eq!(world.titles().await.len(), 30);
    let run = world.try_pass(0, true).await.unwrap();
    assert_eq!((run.local.deleted, run.remote.deleted), (30, 0));
    assert_eq!((world.titles().await.len(), world.far().titles().len()), (0, 30));
    world.settled().await;
}

// S3-111, S3-112, E24, S3-006: 1, 5, 15 minutes, then daily, with its reason; one event that fails stops no other
#[tokio::test]
async fn an_event_that_fails_is_tried_again_by_itself_and_stops_no_other() {
    let mut world = World::new().await;
    world.settled().await;
    world.far().lock().deaf = Some("deaf");
    world.put("a.ics", &event("a", "20T100000Z", "deaf one")).await;
    world.put("b.ics", &event("b", "20T100000Z", "B")).await;
    let run = world.pass().await;
    assert_eq!((run.status, run.remote.inserted), (RunStatus::PartialFailure, 1), "{run:?}");
    for (attempts, wait) in [(1, 60), (2, 300), (3, 900)] {
        let again = &world.links[0].state.again;
        assert_eq!((again.len(), again[0].attempts, again[0].retry), (1, attempts, true), "{again:?}");
        assert_eq!(again[0].next.unwrap().0 - world.clock.now().0, wait * 1000);
        // Before its time it is left alone, and still known.
        world.later(wait - 1);
        assert_eq!(world.pass().await.failures.len(), 0);
        assert_eq!(world.links[0].state.again.len(), 1);
        world.later(1);
        assert_eq!(world.pass().await.failures.len(), 1);
    }
    let left = world.links[0].state.again[0].next.unwrap().0 - world.clock.now().0;
    assert!((18 * 3_600_000..=30 * 3_600_000).contains(&left), "{left}");
    assert!(world.links[0].state.again[0].reason.contains("does not answer"));
    world.far().lock().deaf = None;
    world.later(30 * 3600);
    world.settled().await;
    assert_eq!(world.far().titles(), ["B", "deaf one"]);
    assert!(world.links[0].state.again.is_empty());
}

// What the far side cannot hold stays here, with its reason, and is tried again when it changes
#[tokio::test]
async fn what_the_far_side_refuses_stays_here_and_is_tried_when_it_changes() {
    let mut world = World::new().await;
    world.far().lock().refuses = Some("odd");
    world.put("a.ics", &event("a", "20T100000Z", "odd one")).await;
    world.put("b.ics", &event("b", "20T100000Z", "B")).await;
    let run = world.pass().await;
    assert_eq!((run.remote.inserted, run.failures.len()), (1, 1));
    assert_eq!(run.failures[0].reason, "It cannot hold odd.");
    for _ in 0..3 {
        world.later(61);
        world.pass().await;
    }
    world.quiet().await;
    assert_eq!(world.links[0].state.again[0].reason, "It cannot hold odd.");
    assert_eq!((world.titles().await.len(), world.far().titles().len()), (2, 1));
    world.put("a.ics", &event("a", "20T100000Z", "Even one")).await;
    world.settled().await;
    assert_eq!(world.far().titles(), ["B", "Even one"]);
    assert!(world.links[0].state.again.is_empty());
    // The same for one that is known: the far side keeps what it has.
    world.put("a.ics", &event("a", "20T100000Z", "odd again")).await;
    world.later(61);
    assert_eq!(world.pass().await.failures.len(), 1);
    world.later(61);
    world.quiet().await;
    assert_eq!(world.links[0].state.again.len(), 1);
    assert_eq!(world.far().titles(), ["B", "Even one"]);
}

// S3-104, S3-105, S3-106, S3-107, S3-108, S3-109: within the hour, removals, within a day, within a week, the rest
#[tokio::test]
async fn what_is_urgent_goes_first() {
    let mut world = World::new().await;
    world.put("gone.ics", &event("gone", "20T100000Z", "Gone")).await;
    world.settled().await;
    for (name, at) in [("1-later", "30T100000Z"), ("2-week", "19T100000Z"), ("3-day", "15T180000Z")] {
        world.put(name, &event(name, at, name)).await;
    }
    world.delete("gone.ics").await;
    world.put("4-hour", &event("4-hour", "15T091000Z", "4-hour")).await;
    let daily = line(&event("5-series", "20260101T091500Z", "5-series"), "RRULE:FREQ=DAILY");
    world.put("5-series", &daily).await;
    let now = (world.clock.now().0 - NOW) / 1000;
    world.later(1800 - now);
    world.far().written();
    world.pass().await;
    let written = world.far().written();
    let (hour, rest) = written.split_at(2);
    assert!(hour.contains(&"4-hour".to_owned()) && hour.contains(&"5-series".to_owned()), "{written:?}");
    assert_eq!(rest, ["-/gone.ics", "3-day", "2-week", "1-later"]);
}

// S3-057, S3-144, S4-007: events that are one are joined although their UIDs differ; both keep theirs
#[tokio::test]
async fn a_first_pass_joins_what_is_one_under_two_uids() {
    for content in [false, true] {
        let mut world = World::new().await;
        world.far().lock().content = content;
        world.put("a.ics", &line(&event("ours-a", "20T100000Z", "Dentist"), "X-OURS:1")).await;
        world.put("b.ics", &event("ours-b", "20T100000Z", "Lunch")).await;
        world.put("c.ics", &event("same", "20T100000Z", "Yoga")).await;
        world.far().store("/1.ics", &line(&event("theirs-a", "20T100000Z", "dentist!"), "LOCATION:Town"));
        world.far().store("/2.ics", &event("theirs-b", "20T100000Z", "Swimming"));
        world.far().store("/3.ics", &event("same", "20T100000Z", "Yoga"));
        let run = world.pass().await;
        assert_eq!((run.local.inserted, run.remote.inserted), (1, 1), "{run:?}");
        world.settled().await;
        assert_eq!((world.titles().await.len(), world.far().titles().len()), (4, 4));
        let (here, there) = (world.get("a.ics").await.unwrap(), world.far().text("/1.ics").unwrap());
        assert!(here.contains("UID:ours-a") && here.contains("LOCATION:Town"), "{here}");
        assert!(there.contains("UID:theirs-a") && there.contains("X-OURS:1"), "{there}");
        world.put("a.ics", &line(&here, "SUMMARY:Dentist at last")).await;
        world.settled().await;
        let there = world.far().text("/1.ics").unwrap();
        assert!(there.contains("UID:theirs-a") && there.contains("Dentist at last"), "{there}");
        world.far().store("/1.ics", &line(&there, "LOCATION:Village"));
        world.later(2 * DAY);
        world.settled().await;
        let here = world.get("a.ics").await.unwrap();
        assert!(here.contains("UID:ours-a") && here.contains("Village"), "{here}");
        // Later on, a likeness joins nothing.
        world.put("z.ics", &event("z1", "21T100000Z", "Cinema")).await;
        world.far().store("/z.ics", &event("z2", "21T100000Z", "Cinema"));
        world.settled().await;
        assert_eq!((world.titles().await.len(), world.far().titles().len()), (6, 6));
        world.far().remove("/1.ics");
        world.settled().await;
        assert!(world.get("a.ics").await.is_none());
    }
}

// Feeds that give their events new UIDs cause no churn
#[tokio::test]
async fn an_event_that_gets_another_uid_in_its_place_is_the_same() {
    let mut world = World::new().await;
    for n in 0..3 {
        world.far().store(&format!("/{n}.ics"), &event(&format!("old{n}"), "20T100000Z", &format!("E{n}")));
    }
    world.settled().await;
    for round in 0..2 {
        for n in 0..3 {
            let text = event(&format!("new{round}{n}"), "20T100000Z", &format!("E{n}"));
            world.far().store(&format!("/{n}.ics"), &text);
        }
        let run = world.pass().await;
        assert_eq!(run.local.total(), 0, "{run:?}");
        world.settled().await;
    }
    world.far().store("/1.ics", &event("new1", "20T100000Z", "E1 changed"));
    world.settled().await;
    assert_eq!(world.titles().await, ["E0", "E1 changed", "E2"]);
    assert_eq!(world.far().lock().written, Vec::<String>::new());
}

// sync-patterns §4.6: a storm is stopped and waits for a person
#[tokio::test]
async fn an_event_that_never_comes_to_rest_is_parked() {
    let mut world = World::new().await;
    let at = world.at("calendar").await;
    world.put("a.ics", &event("a", "20T100000Z", "A")).await;
    world.settled().await;
    world.later(600);
    // Another bridge changes it here whenever we have written it there.
    let mut writes = 0;
    for round in 0..20 {
        let robot = world
            .session
            .house
            .session(Arc::clone(&world.session.principal), Origin::Mapping("another".into()));
        let name = Name::new("a.ics").unwrap();
        let text = event("a", "20T100000Z", &format!("A{round}"));
        robot.put(&at, Put::new(&name, Bytes::from(text))).await.unwrap();
        world.later(10);
        writes += world.pass().await.remote.total();
    }
    assert_eq!(writes, 5);
    let conflicts = world.conflicts().await;
    assert_eq!((conflicts.len(), conflicts[0].kind.as_str()), (1, "keeps_changing"));
    // A person may edit as often as they like.
    let mut world = World::new().await;
    world.settled().await;
    for round in 0..20 {
        world.put("a.ics", &event("a", "20T100000Z", &format!("A{round}"))).await;
        world.later(10);
        assert_eq!(world.pass().await.remote.total(), 1);
    }
    assert!(world.conflicts().await.is_empty());
}

// S4-074: a pass whose budget is used up ends, loses nothing, and goes on later
#[tokio::test]
async fn a_pass_without_budget_goes_on_later_where_it_was() {
    let mut world = World::new().await;
    for n in 0..12 {
        world.put(&format!("{n}.ics"), &event(&format!("u{n}"), "20T100000Z", &format!("E{n}"))).await;
    }
    world.far().lock().budget = Some(6);
    assert!(matches!(world.try_pass(0, false).await, Err(Halt::Far(Trouble::Budget(..)))));
    assert_eq!(world.far().titles().len(), 6);
    world.far().lock().budget = None;
    world.far().written();
    world.later(600);
    let run = world.pass().await;
    assert_eq!((run.remote.inserted, world.far().written().len()), (6, 6), "{run:?}");
    world.settled().await;
}

// S3-057: what a first pass would do is told before it does it, and is what it does
#[tokio::test]
async fn a_dry_run_tells_what_a_first_pass_does() {
    for content in [false, true] {
        let mut world = World::with(|mapping| mapping.filters = leave_out("secret")).await;
        (world.far().lock().content, world.far().lock().refuses) = (content, Some("odd"));
        for (uid, at, title) in [
            ("same", "20T100000Z", "Same"),
            ("differs", "20T110000Z", "Differs"),
            ("ours", "20T120000Z", "Dentist"),
            ("alone", "21T120000Z", "Alone here"),
            ("odd", "21T130000Z", "odd one"),
            ("secret", "21T140000Z", "secret here"),
            ("old", "20260101T100000Z", "Old here"),
        ] {
            world.put(&format!("{uid}.ics"), &event(uid, at, title)).await;
        }
        for (uid, at, title) in [
            ("same", "20T100000Z", "Same"),
            ("differs", "20T110000Z", "Differs there"),
            ("theirs", "20T120000Z", "dentist"),
            ("there", "22T120000Z", "Alone there"),
            ("private", "22T140000Z", "secret there"),
            ("past", "20260101T100000Z", "Old there"),
        ] {
            world.far().store(&format!("/{uid}"), &event(uid, at, title));
        }
        world.far().store("/broken", "nothing");
        let (far, mapping) = (Arc::clone(&world.links[0].far), world.links[0].mapping.clone());
        let window = scope::window(&mapping, Reach::Days(30), Reach::Days(365), Timestamp(NOW));
        let store = Arc::clone(&world.session.house.store);
        let found =
            preview::dry_run(&*store, &mapping, &*far, (window, crate::bridge::similar::SURE)).await.unwrap();
        assert_eq!((found.same, found.different, found.similar), (1, 1, 1));
        assert_eq!((found.only_here, found.only_there, found.unreadable), (2, 1, 1));
        assert_eq!((found.outside, found.filtered, found.refused), (2, 2, 1));
        assert_eq!((found.insert_here, found.insert_there), (1, 1));
        assert_eq!((found.pairs[0].here.as_str(), found.pairs[0].there.as_str()), ("ours", "theirs"));
        assert_eq!(found.refusals, [("odd".to_owned(), "It cannot hold odd.".to_owned())]);
        assert_eq!((world.far().written(), world.titles().await.len()), (Vec::new(), 7));
        let run = world.pass().await;
        assert_eq!(
            (run.local.inserted, run.remote.inserted),
            (found.insert_here, found.insert_there),
            "{run:?}"
        );
    }
}

// S3-111: an event whose reading failed is not forgotten because a listing after it is short by mistake
#[tokio::test]
async fn what_could_not_be_read_is_asked_for_again_whatever_a_listing_says() {
    let mut world = World::new().await;
    world.far().store("/a.ics", &event("a", "20T100000Z", "A"));
    world.far().lock().mute = 1;
    assert_eq!(world.pass().await.failures.len(), 1);
    world.far().lock().short = 1;
    world.later(70);
    world.pass().await;
    assert_eq!(world.titles().await, ["A"]);
    world.settled().await;
    // One that is gone by then is forgotten.
    world.far().store("/b.ics", &event("b", "20T100000Z", "B"));
    world.far().lock().mute = 1;
    assert_eq!(world.pass().await.failures.len(), 1);
    world.far().remove("/b.ics");
    world.later(70);
    world.settled().await;
    assert_eq!((world.titles().await, world.links[0].state.again.len()), (vec!["A".to_owned()], 0));
}

// What the far side told and could not be asked about yet is not forgotten over an edit here that is none there
#[tokio::test]
async fn an_edit_here_does_not_hide_a_removal_that_could_not_be_confirmed() {
    let mut world = World::new().await;
    world.far().lock().lacks = ["LOCATION"].into();
    world.put("a.ics", &event("a", "20T100000Z", "A")).await;
    world.settled().await;
    world.far().remove("/a.ics");
    world.far().lock().mute = 2;
    assert_eq!(world.pass().await.failures.len(), 1);
    world.later(61);
    assert_eq!(world.pass().await.failures.len(), 1);
    // It is not its turn yet. An edit goes before a removal, also one that the far side cannot hold.
    world.put("a.ics", &line(&event("a", "20T100000Z", "A"), "LOCATION:Here")).await;
    world.later(61);
    world.pass().await;
    world.settled().await;
    assert_eq!((world.titles().await, world.far().titles()), (vec!["A".to_owned()], vec!["A".to_owned()]));
}

// What waited for a decision and is gone on both sides leaves nothing behind that would count as an event
#[tokio::test]
async fn what_waited_for_a_decision_and_is_gone_on_both_sides_is_forgotten() {
    let mut world = World::with(|mapping| mapping.policy = Policy::Ask).await;
    world.put("a.ics", &event("a", "20T100000Z", "Here")).await;
    world.far().store("/a.ics", &event("a", "20T100000Z", "There"));
    world.pass().await;
    assert_eq!(world.conflicts().await.len(), 1);
    world.delete("a.ics").await;
    world.far().remove("/a.ics");
    world.settled().await;
    let store = Arc::clone(&world.session.house.store);
    assert_eq!(store.records(Table::Base, "0/", None, 10).await.unwrap(), []);
    assert_eq!(world.conflicts().await[0].status, ConflictStatus::Merged);
}

// An edit here waits with an object that could not be asked for: what becomes of it there decides what becomes of both
#[tokio::test]
async fn an_edit_of_what_could_not_be_asked_for_is_not_taken_for_seen() {
    let mut world = World::new().await;
    world.far().lock().lacks = ["LOCATION"].into();
    world.put("a.ics", &event("a", "20T100000Z", "A")).await;
    world.settled().await;
    world.far().remove("/a.ics");
    world.put("a.ics", &line(&event("a", "20T100000Z", "A"), "LOCATION:Here")).await;
    world.far().lock().mute = 1;
    assert_eq!(world.pass().await.failures.len(), 1);
    world.later(61);
    world.settled().await;
    assert_eq!((world.titles().await, world.far().titles()), (vec!["A".to_owned()], vec!["A".to_owned()]));
}

// S3-111: of two failures of one event the later does not hide where the earlier one is to be looked at
#[tokio::test]
async fn what_failed_in_two_ways_is_looked_at_in_both_places() {
    let mut world = World::new().await;
    world.settled().await;
    world.far().lock().deaf = Some("deaf");
    world.put("a.ics", &event("a", "20T100000Z", "deaf one")).await;
    assert_eq!(world.pass().await.failures.len(), 1);
    // It was announced there. Somebody makes one of that UID in another place, and ours goes.
    world.far().store("/other.ics", &event("a", "20T100000Z", "Theirs"));
    world.delete("a.ics").await;
    world.far().lock().mute = 1;
    world.later(10);
    world.pass().await;
    world.later(360);
    world.settled().await;
    assert_eq!(world.titles().await, ["Theirs"]);
    assert!(world.links[0].state.again.is_empty());
}

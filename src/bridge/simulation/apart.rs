//! A series with a far side that knows no repeats.

use super::tale::Tale;
use super::*;

const SERIES: &str = "DTSTART:20270120T100000Z\r\nDTEND:20270120T110000Z\r\nRRULE:FREQ=DAILY;COUNT=5";

fn series(summary: &str, rest: &str) -> Bytes {
    format!(
        "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:x\r\nBEGIN:VEVENT\r\nUID:s\r\nDTSTAMP:20260101T000000Z\r\n\
         {SERIES}\r\n{rest}SUMMARY:{summary}\r\nX-OWN:1\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"
    )
    .into()
}

async fn world() -> World {
    of(Habits {
        rewrites: false,
        silent: false,
        forgetful: false,
        poor: false,
        pages: true,
        single: true,
        steps: false,
        names: false,
        windowed: false,
    })
    .await
}

/// Far sides that know no repeats: with a cursor and without, which name objects themselves or not, which tell versions
/// or not.
fn kinds() -> Vec<Habits> {
    let flags = [false, true];
    let mut all = Vec::new();
    for forgetful in flags {
        for names in flags {
            for silent in flags {
                all.push(Habits {
                    rewrites: false,
                    silent,
                    forgetful,
                    poor: false,
                    pages: true,
                    single: true,
                    steps: false,
                    names,
                    windowed: false,
                });
            }
        }
    }
    all
}

async fn of(habits: Habits) -> World {
    let mut world = World::new(&Tale { seed: 3, steps: Vec::new() }).await;
    Arc::get_mut(&mut world.far).unwrap().habits = habits;
    world
}

/// Passes until nothing is left to do; the last one wrote nothing.
async fn settled(world: &mut World) {
    for _ in 0..6 {
        world.clock.0.fetch_add(120_000, Ordering::Relaxed);
        world.sync(false).await;
    }
    let (head, writes) = (world.at.head().await.unwrap().rev, world.far.lock().writes);
    world.state.full_at = None;
    let run = world.sync(false).await.unwrap();
    assert_eq!((run.local.total(), run.remote.total()), (0, 0), "{}", world.told());
    assert_eq!((world.at.head().await.unwrap().rev, world.far.lock().writes), (head, writes));
}

fn starts(world: &World) -> Vec<String> {
    let mut all: Vec<String> =
        world.there().values().map(|(_, bytes)| property(bytes, "DTSTART").unwrap()).collect();
    all.sort();
    all
}

async fn ours(world: &World) -> String {
    let all = world.here().await;
    assert_eq!(all.len(), 1, "parts are no events of ours: {:?}", all.keys());
    String::from_utf8(all["s"].1.to_vec()).unwrap()
}

// S4-051, S4-052, S4-056: a rule that the far side cannot hold is there as single events; edits of one come back as
// exceptions
#[tokio::test]
async fn a_series_is_there_in_parts() {
    for habits in kinds() {
        Box::pin(lives_in_parts(habits)).await;
    }
}

async fn lives_in_parts(habits: Habits) {
    let mut world = of(habits).await;
    let name = Name::new("s.ics").unwrap();
    world.session.put(&world.at, Put::new(&name, series("Tea", ""))).await.unwrap();
    settled(&mut world).await;
    let days = |list: &[u32]| list.iter().map(|d| format!("202701{d}T100000Z")).collect::<Vec<_>>();
    assert_eq!(starts(&world), days(&[20, 21, 22, 23, 24]), "{}", world.told());
    assert_eq!(ours(&world).await.as_bytes(), &series("Tea", "")[..], "nothing of ours changed");
    // A change here reaches all of them.
    world.session.put(&world.at, Put::new(&name, series("Coffee", ""))).await.unwrap();
    settled(&mut world).await;
    assert!(world.there().values().all(|(_, b)| property(b, "SUMMARY").as_deref() == Some("Coffee")));
    // Somebody moves one day there.
    let (path, bytes) = world.there()["s#part-20270122T100000Z"].clone();
    let moved = String::from_utf8(bytes.to_vec())
        .unwrap()
        .replace("T100000Z", "T150000Z")
        .replace("T110000Z", "T160000Z");
    let moved = moved.replace("UID:s#part-20270122T150000Z", "UID:s#part-20270122T100000Z");
    world.far.store(&path, moved.into());
    settled(&mut world).await;
    let text = ours(&world).await;
    assert!(
        text.contains("RECURRENCE-ID:20270122T100000Z") && text.contains("DTSTART:20270122T150000Z"),
        "{text}"
    );
    assert!(text.matches("X-OWN:1").count() == 2, "what the far side does not know stays: {text}");
    // Somebody removes another.
    let (path, _) = world.there()["s#part-20270123T100000Z"].clone();
    world.far.remove(&path);
    settled(&mut world).await;
    assert!(ours(&world).await.contains("EXDATE:20270123T100000Z"), "{}", ours(&world).await);
    assert_eq!(world.there().len(), 4);
    // A day is left out here.
    let text =
        ours(&world).await.replace("EXDATE:20270123T100000Z", "EXDATE:20270123T100000Z,20270124T100000Z");
    world.session.put(&world.at, Put::new(&name, Bytes::from(text))).await.unwrap();
    settled(&mut world).await;
    assert_eq!(starts(&world).len(), 3, "{}", world.told());
    // The series goes, and all of it with it.
    world.session.delete(&world.at, &name, &When::always(), vec![]).await.unwrap();
    settled(&mut world).await;
    assert!(world.there().is_empty() && world.here().await.is_empty(), "{}", world.told());
}

// A day that is removed there is left out here, or called off, as the mapping says; also where nobody tells of removals.
#[tokio::test]
async fn a_day_that_is_removed_there_becomes_what_the_mapping_says() {
    for habits in kinds() {
        for (what, line) in
            [(OnDelete::Trash, "EXDATE:20270123T100000Z"), (OnDelete::Cancel, "STATUS:CANCELLED")]
        {
            let mut world = of(habits).await;
            let mapping = Mapping { on_remote_delete: what, ..(*world.mapping).clone() };
            world.mapping = Arc::new(mapping);
            let name = Name::new("s.ics").unwrap();
            world.session.put(&world.at, Put::new(&name, series("Tea", ""))).await.unwrap();
            settled(&mut world).await;
            let (path, _) = world.there()["s#part-20270123T100000Z"].clone();
            world.far.remove(&path);
            settled(&mut world).await;
            let text = ours(&world).await;
            assert!(text.contains(line), "{habits:?} {what:?}: {text}\n{}", world.told());
        }
    }
}

// A lost answer makes no second part, and no event of ours.
#[tokio::test]
async fn parts_are_known_again_after_a_crash() {
    for (habits, calls) in kinds().into_iter().flat_map(|habits| (0..12).map(move |calls| (habits, calls))) {
        let mut world = of(habits).await;
        let name = Name::new("s.ics").unwrap();
        world.session.put(&world.at, Put::new(&name, series("Tea", ""))).await.unwrap();
        world.far.lock().crash_in = Some(calls);
        world.sync(false).await;
        settled(&mut world).await;
        assert_eq!(starts(&world).len(), 5, "{habits:?} after {calls} calls: {}", world.told());
        assert_eq!(ours(&world).await.as_bytes(), &series("Tea", "")[..], "{calls}");
    }
}

// S4-074: a budget that is used up again and again ends in a whole series all the same, and no part is written twice
#[tokio::test]
async fn parts_come_to_an_end_however_few_calls_a_pass_may_make() {
    let mut world = world().await;
    Arc::get_mut(&mut world.far).unwrap().habits.rewrites = true;
    let name = Name::new("s.ics").unwrap();
    world.session.put(&world.at, Put::new(&name, series("Tea", ""))).await.unwrap();
    for _ in 0..10 {
        // One call looks, two are left.
        world.far.lock().budget = Some(3);
        world.clock.0.fetch_add(120_000, Ordering::Relaxed);
        world.sync(false).await;
    }
    assert_eq!((starts(&world).len(), world.far.lock().writes), (5, 5), "{}", world.told());
    world.far.lock().budget = None;
    settled(&mut world).await;
    assert_eq!(world.far.lock().writes, 5, "{}", world.told());
    assert_eq!(ours(&world).await.as_bytes(), &series("Tea", "")[..], "nothing of ours changed");
}

/// A world in which the series is there in parts, under such a mapping.
async fn in_parts(habits: Habits, change: impl Fn(&mut Mapping)) -> (World, Name) {
    let mut world = of(habits).await;
    let mut mapping = (*world.mapping).clone();
    change(&mut mapping);
    world.mapping = Arc::new(mapping);
    let name = Name::new("s.ics").unwrap();
    world.session.put(&world.at, Put::new(&name, series("Tea", ""))).await.unwrap();
    settled(&mut world).await;
    assert_eq!(starts(&world).len(), 5, "{}", world.told());
    (world, name)
}

// E14, S1-019: what one side removes of a series in parts, the other keeps if the mapping says so
#[tokio::test]
async fn what_is_kept_of_a_series_in_parts_stays() {
    for habits in kinds() {
        let keep = |mapping: &mut Mapping| {
            (mapping.on_remote_delete, mapping.on_local_delete) = (OnDelete::Keep, OnDelete::Keep);
        };
        let (mut world, name) = in_parts(habits, keep).await;
        // A day that is removed there takes place here, and is not made again.
        let (path, _) = world.there()["s#part-20270123T100000Z"].clone();
        world.far.remove(&path);
        settled(&mut world).await;
        assert_eq!(ours(&world).await.as_bytes(), &series("Tea", "")[..], "{habits:?}: {}", world.told());
        assert_eq!(starts(&world).len(), 4, "{habits:?}: {}", world.told());
        world.session.put(&world.at, Put::new(&name, series("Coffee", ""))).await.unwrap();
        settled(&mut world).await;
        assert_eq!(starts(&world).len(), 4, "{habits:?}: {}", world.told());
        assert!(world.there().values().all(|(_, b)| property(b, "SUMMARY").as_deref() == Some("Coffee")));
        // The series is removed here: its days stay there as they are.
        let before = world.there();
        world.session.delete(&world.at, &name, &When::always(), vec![]).await.unwrap();
        settled(&mut world).await;
        assert_eq!((world.there(), world.here().await.len()), (before, 0), "{habits:?}: {}", world.told());
    }
}

// S3-170: a series that a filter leaves out has no days there, and has them again when it is let through again
#[tokio::test]
async fn a_filter_takes_all_days_of_a_series_back() {
    for habits in kinds() {
        let filter = |mapping: &mut Mapping| {
            let when = record::Match { title: Some("secret".into()), ..record::Match::default() };
            mapping.filters = vec![record::Filter { when, action: record::FilterAction::Exclude }];
        };
        let (mut world, name) = in_parts(habits, filter).await;
        for (title, days) in [("A secret", 0), ("Tea", 5), ("A secret", 0)] {
            world.session.put(&world.at, Put::new(&name, series(title, ""))).await.unwrap();
            settled(&mut world).await;
            assert_eq!(starts(&world).len(), days, "{habits:?}, {title}: {}", world.told());
            assert_eq!(ours(&world).await.as_bytes(), &series(title, "")[..], "nothing of ours changed");
        }
    }
}

fn one(rest: &str) -> Bytes {
    event("s", &BTreeMap::from([("DTSTART", "20270120T100000Z".to_owned()), ("SUMMARY", rest.to_owned())]))
}

fn daily(bytes: &Bytes) -> Bytes {
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    text.replace("SUMMARY", "RRULE:FREQ=DAILY;COUNT=3\r\nSUMMARY").into()
}

// An event becomes a series here while its place is changed there: both are kept, wherever the pass is cut (seed 0 of the
// stories of parts: the days were never made)
#[tokio::test]
async fn what_was_changed_there_is_taken_in_before_a_series_is_taken_apart() {
    for (habits, crash) in kinds().into_iter().flat_map(|habits| (0..9).map(move |crash| (habits, crash))) {
        let mut world = of(habits).await;
        let name = Name::new("s.ics").unwrap();
        world.session.put(&world.at, Put::new(&name, one("Tea"))).await.unwrap();
        settled(&mut world).await;
        let (path, bytes) = world.there()["s"].clone();
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        world.far.store(&path, text.replace("SUMMARY", "LOCATION:Garden\r\nSUMMARY").into());
        world.session.put(&world.at, Put::new(&name, daily(&one("Tea")))).await.unwrap();
        world.far.lock().crash_in = (crash > 0).then_some(crash);
        world.sync(false).await;
        settled(&mut world).await;
        let text = ours(&world).await;
        assert!(text.contains("RRULE:") && text.contains("LOCATION:Garden"), "{habits:?} {crash}: {text}");
        let there = world.there();
        let garden = |(_, b): &(String, Bytes)| property(b, "LOCATION").as_deref() == Some("Garden");
        assert!(there.len() == 3 && there.values().all(garden), "{habits:?} {crash}: {}", world.told());
    }
}

// S3-070: somebody changes what is about to be removed there: it is looked at again, and stays
#[tokio::test]
async fn what_is_changed_there_a_moment_before_it_is_removed_stays() {
    for habits in kinds().into_iter().filter(|habits| !habits.silent) {
        for whole in [false, true] {
            let mut world = of(habits).await;
            let name = Name::new("s.ics").unwrap();
            world.session.put(&world.at, Put::new(&name, one("Tea"))).await.unwrap();
            settled(&mut world).await;
            let (path, _) = world.there()["s"].clone();
            // It goes because ours does, or because its days take its place.
            match whole {
                false => drop(world.session.delete(&world.at, &name, &When::always(), vec![]).await.unwrap()),
                true => {
                    drop(world.session.put(&world.at, Put::new(&name, daily(&one("Tea")))).await.unwrap())
                }
            }
            world.far.lock().rival = Some((path, one("Tea of a rival")));
            settled(&mut world).await;
            let text = ours(&world).await;
            assert!(text.contains("SUMMARY:Tea of a rival"), "{habits:?}: {text}\n{}", world.told());
            assert_eq!((text.contains("RRULE"), world.there().len()), (whole, if whole { 3 } else { 1 }));
            let rival =
                |(_, b): &(String, Bytes)| property(b, "SUMMARY").as_deref() == Some("Tea of a rival");
            assert!(world.there().values().all(rival), "{}", world.told());
        }
    }
}

// A day that somebody else has made there at that moment is no day of ours that was written: both sides are compared
#[tokio::test]
async fn a_day_that_a_rival_made_is_compared_not_taken_for_ours() {
    for habits in kinds() {
        for (policy, title) in [(Policy::External, "Of a rival"), (Policy::Local, "Tea")] {
            let mut world = of(habits).await;
            world.mapping = Arc::new(Mapping { policy, ..(*world.mapping).clone() });
            let name = Name::new("s.ics").unwrap();
            settled(&mut world).await;
            world.session.put(&world.at, Put::new(&name, series("Tea", ""))).await.unwrap();
            let (uid, start) = ("s#part-20270120T100000Z", "20270120T100000Z".to_owned());
            let fields = [
                ("DTSTART", start),
                ("DTEND", "20270120T110000Z".to_owned()),
                ("SUMMARY", "Of a rival".to_owned()),
            ];
            world.far.lock().rival = Some(("/rival.ics".into(), event(uid, &BTreeMap::from(fields))));
            settled(&mut world).await;
            assert_eq!(starts(&world).len(), 5, "{habits:?}: {}", world.told());
            let theirs = property(&world.there()[uid].1, "SUMMARY");
            assert_eq!(theirs.as_deref(), Some(title), "{habits:?}: {}", world.told());
            assert_eq!(ours(&world).await.contains("Of a rival"), policy == Policy::External, "{habits:?}");
        }
    }
}

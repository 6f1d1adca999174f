//! Several mappings that meet: in a circle, and in one calendar.

use super::super::record::{self, OnDelete};
use super::*;
use crate::store::Commit;

// S1: cycles of mappings end by content and UID; a hidden calendar is the middle of a link between two far sides
#[tokio::test]
async fn a_cycle_of_mappings_comes_to_rest() {
    let mut world = World::new().await;
    let (one, two, three) = (Arc::clone(&world.links[0].far), Arc::<Far>::default(), Arc::<Far>::default());
    two.lock().lacks = ["X-"].into();
    three.lock().content = true;
    let (left, right) = (world.at("hidden-1").await, world.at("hidden-2").await);
    world.links.clear();
    let middle = world.at("calendar").await;
    for (at, far) in
        [(&middle, &one), (&middle, &two), (&left, &two), (&left, &three), (&right, &three), (&right, &one)]
    {
        world.link(at, Arc::clone(far));
    }
    one.store("/a.ics", &line(&event("a", "20T100000Z", "A"), "X-ONE:1"));
    two.store("/b.ics", &event("b", "20T100000Z", "B"));
    three.store("/c.ics", &event("c", "20T100000Z", "C"));
    world.put("d.ics", &event("d", "20T100000Z", "D")).await;
    async fn rounds(world: &mut World, count: usize) -> u64 {
        let mut writes = 0;
        for _ in 0..count {
            for n in 0..world.links.len() {
                world.later(30);
                let run = world.try_pass(n, false).await.unwrap();
                assert_eq!((run.conflicts, run.failures.len()), (0, 0), "{run:?}");
                writes += run.local.total() + run.remote.total();
            }
        }
        writes
    }
    rounds(&mut world, 6).await;
    let mut total = 0;
    for _ in 0..2 {
        total += rounds(&mut world, 1).await;
    }
    assert_eq!(total, 0, "the cycle does not come to rest");
    for titles in [one.titles(), two.titles(), three.titles(), world.titles().await] {
        assert_eq!(titles, ["A", "B", "C", "D"]);
    }
    // One edit goes round once, a removal too; nothing comes back.
    one.store("/b.ics", &line(&one.text("/b.ics").unwrap(), "SUMMARY:B changed"));
    three.remove("/c.ics");
    rounds(&mut world, 6).await;
    assert_eq!(rounds(&mut world, 1).await, 0);
    for titles in [one.titles(), two.titles(), three.titles(), world.titles().await] {
        assert_eq!(titles, ["A", "B changed", "D"]);
    }
    assert!(one.text("/a.ics").unwrap().contains("X-ONE:1"), "a private field was lost on the way round");
}

// S4-004: Several far sides in one calendar: what comes from one goes to the other, once
#[tokio::test]
async fn several_far_sides_meet_in_one_calendar() {
    let mut world = World::new().await;
    let (one, two) = (Arc::clone(&world.links[0].far), Arc::<Far>::default());
    let at = world.at("calendar").await;
    world.link(&at, Arc::clone(&two));
    for n in 0..5 {
        one.store(&format!("/1{n}.ics"), &event(&format!("one{n}"), "20T100000Z", &format!("One {n}")));
        two.store(&format!("/2{n}.ics"), &event(&format!("two{n}"), "20T130000Z", &format!("Two {n}")));
    }
    for _ in 0..5 {
        for n in 0..2 {
            world.later(61);
            world.try_pass(n, false).await.unwrap();
        }
    }
    assert_eq!(world.titles().await.len(), 10);
    assert_eq!((one.titles(), two.titles()), (world.titles().await, world.titles().await));
    assert_eq!((one.written().len(), two.written().len()), (5, 5));
}

/// Two calendars of ours that go into one there, the same event in both.
async fn shared(change: impl Fn(&mut Mapping)) -> World {
    let mut world = World::new().await;
    let (far, second) = (Arc::clone(&world.links[0].far), world.at("second").await);
    world.link(&second, far);
    for link in &mut world.links {
        link.mapping.direction = Direction::Push;
        change(&mut link.mapping);
        let key = record::mapping_key(&link.mapping.id);
        let op = record::put(key, &link.mapping).unwrap();
        world.session.house.store.commit(Commit::new(Origin::System, Timestamp(NOW)).op(op)).await.unwrap();
    }
    let name = Name::new("a.ics").unwrap();
    for at in ["calendar", "second"] {
        let text = Bytes::from(event("a", "20T100000Z", "A"));
        world.session.put(&world.at(at).await, Put::new(&name, text)).await.unwrap();
    }
    turns(&mut world).await;
    world
}

async fn turns(world: &mut World) {
    for _ in 0..3 {
        for n in 0..world.links.len() {
            world.later(61);
            world.try_pass(n, false).await.unwrap();
        }
    }
}

// S4-004: a copy that two calendars share stays as long as one of them has the event, whatever becomes of a removal
#[tokio::test]
async fn a_copy_of_two_calendars_goes_with_the_last() {
    for fields in [Fields::Full, Fields::Busy] {
        for on in [OnDelete::Trash, OnDelete::Cancel] {
            let mut world = shared(|mapping| (mapping.fields, mapping.on_local_delete) = (fields, on)).await;
            let far = Arc::clone(&world.links[0].far);
            assert_eq!(far.titles().len(), 1, "{fields:?}");
            let before = far.lock().objects.clone();
            world.delete("a.ics").await;
            turns(&mut world).await;
            assert_eq!(far.lock().objects, before, "{fields:?} {on:?}: it is the other one's too");
            assert_eq!(world.titles_in("second").await, ["A"]);
            // The other one still goes on with it.
            let (second, name) = (world.at("second").await, Name::new("a.ics").unwrap());
            let later = Bytes::from(event("a", "21T100000Z", "A"));
            world.session.put(&second, Put::new(&name, later)).await.unwrap();
            turns(&mut world).await;
            let text = |far: &Far| {
                let inside = far.lock();
                inside
                    .objects
                    .values()
                    .map(|(b, _)| String::from_utf8(b.to_vec()).unwrap())
                    .collect::<String>()
            };
            assert!(text(&far).contains("20270121T"), "{fields:?}");
            world.session.delete(&second, &name, &When::always(), vec![]).await.unwrap();
            turns(&mut world).await;
            let expected = usize::from(on == OnDelete::Cancel);
            assert_eq!(text(&far).matches("STATUS:CANCELLED").count(), expected, "{fields:?}");
            assert_eq!(far.titles().len(), expected, "{fields:?} {on:?}");
        }
    }
}

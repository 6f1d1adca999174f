//! Two calendars of ours and two far sides, each mapped to each: edits that clash come to rest, whoever wins.

use super::*;

/// Both calendars and both far sides hold the same event.
async fn square(policy: Policy) -> World {
    let mut world = World::new().await;
    let (one, two) = (Arc::clone(&world.links[0].far), Arc::<Far>::default());
    let (left, right) = (world.at("calendar").await, world.at("second").await);
    world.links.clear();
    for (at, far) in [(&left, &one), (&left, &two), (&right, &two), (&right, &one)] {
        let n = world.link(at, Arc::clone(far));
        world.links[n].mapping.policy = policy;
    }
    world.put("a.ics", &event("a", "20T100000Z", "A")).await;
    rounds(&mut world, 4, 61, &[0, 1, 2, 3]).await;
    assert_eq!(rounds(&mut world, 1, 61, &[0, 1, 2, 3]).await, 0, "{policy:?}: it was not at rest before");
    world
}

/// Passes of all mappings in this order; returns how much the last round wrote.
async fn rounds(world: &mut World, count: usize, pause: i64, order: &[usize]) -> u64 {
    let mut writes = 0;
    for _ in 0..count {
        writes = 0;
        for n in order {
            world.later(pause);
            let run = world.try_pass(*n, false).await.unwrap();
            writes += run.local.total() + run.remote.total();
        }
    }
    writes
}

async fn rename(world: &World, calendar: &str, title: &str) {
    let at = world.at(calendar).await;
    let name = at.by_uid("a").await.unwrap().unwrap();
    let text = Bytes::from(event("a", "20T100000Z", title));
    world.session.put(&at, Put::new(&name, text)).await.unwrap();
}

// E1, S1: two edits that clash do not chase each other, however quickly or slowly the sides are looked at, in whatever order,
// and whether people edit here or there
#[tokio::test]
async fn clashing_edits_come_to_rest_in_a_square() {
    for policy in [Policy::Local, Policy::External, Policy::Newest, Policy::Ask] {
        for pause in [20, 61, 15 * 60, 3 * 3600] {
            for order in [[0, 1, 2, 3], [0, 2, 1, 3], [3, 1, 0, 2], [2, 3, 0, 1]] {
                for here in [true, false] {
                    let mut world = square(policy).await;
                    for link in &mut world.links {
                        link.mapping.poll_seconds = Some(4 * u64::try_from(pause).unwrap());
                    }
                    if here {
                        rename(&world, "calendar", "Left").await;
                        rename(&world, "second", "Right").await;
                    } else {
                        for (n, title) in [(0, "Left"), (1, "Right")] {
                            let far = Arc::clone(&world.links[n].far);
                            let path = far.lock().objects.keys().next().unwrap().clone();
                            far.store(&path, &event("a", "20T100000Z", title));
                        }
                    }
                    rounds(&mut world, 40, pause, &order).await;
                    let writes = rounds(&mut world, 2, pause, &order).await;
                    let case = format!("{policy:?} {pause} {order:?} here: {here}");
                    let mut titles = [world.titles().await, world.titles_in("second").await].concat();
                    titles.extend(world.links[..2].iter().flat_map(|link| link.far.titles()));
                    assert_eq!(writes, 0, "{case} goes on: {titles:?}");
                    assert_eq!(titles.len(), 4, "{case}: {titles:?}");
                    assert!(
                        titles.iter().all(|title| title == "Left" || title == "Right"),
                        "{case}: {titles:?}"
                    );
                    let alike = titles.iter().all(|title| *title == titles[0]);
                    let waits = world.conflicts().await.iter().any(|conflict| conflict.resolved.is_none());
                    assert!(alike || waits, "{case}: they differ and nobody is asked: {titles:?}");
                }
            }
        }
    }
}

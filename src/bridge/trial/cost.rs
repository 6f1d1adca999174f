//! What a pass reads and holds: as much as changed, whatever is stored.

use super::*;

fn title(n: usize) -> String {
    format!("E{n}")
}

/// A calendar there with so many events.
async fn there(store: Arc<Memory>, events: usize, content: bool) -> World {
    let world = World::on(store, |_| {}).await;
    world.far().lock().content = content;
    for n in 0..events {
        world.far().store(&format!("/{n}.ics"), &event(&format!("u{n}"), "20T100000Z", &title(n)));
    }
    world
}

/// How many rows one more pass reads, which is to write so much here and there.
async fn cost(world: &mut World, store: &Memory, writes: (u64, u64)) -> u64 {
    world.later(70);
    store.rows_read();
    let run = world.pass().await;
    let read = store.rows_read();
    assert_eq!((run.local.total(), run.remote.total()), writes, "{run:?}");
    read
}

// S3-158: cost grows with what changed, not with what is stored
#[tokio::test]
async fn a_pass_reads_what_changed() {
    let mut costs = Vec::new();
    for events in [100, 2000] {
        let store = Arc::new(Memory::new());
        let mut world = there(Arc::clone(&store), events, true).await;
        world.settled().await;
        let mut all = Vec::new();
        all.push(cost(&mut world, &store, (0, 0)).await);
        world.far().store("/7.ics", &event("u7", "20T100000Z", "Changed there"));
        all.push(cost(&mut world, &store, (1, 0)).await);
        world.put("8.ics", &event("u8", "20T100000Z", "Changed here")).await;
        all.push(cost(&mut world, &store, (0, 1)).await);
        world.far().remove("/9.ics");
        all.push(cost(&mut world, &store, (1, 0)).await);
        world.delete("10.ics").await;
        all.push(cost(&mut world, &store, (0, 1)).await);
        world.far().store("/new.ics", &event("new", "20T100000Z", "New there"));
        all.push(cost(&mut world, &store, (1, 0)).await);
        world.put("own.ics", &event("own", "20T100000Z", "New here")).await;
        all.push(cost(&mut world, &store, (0, 1)).await);
        assert!(all.iter().all(|read| *read < 50), "{events} events: {all:?}");
        costs.push(all);
    }
    assert_eq!(costs[0], costs[1]);
}

// S3-159: memory of a run does not grow with the calendar beyond its pages
#[tokio::test]
async fn a_pass_holds_what_changed() {
    for content in [true, false] {
        let mut held = Vec::new();
        for events in [300, 1500] {
            let mut world = there(Arc::new(Memory::new()), events, content).await;
            let run = world.pass().await;
            assert_eq!(run.local.inserted, u64::try_from(events).unwrap());
            let first = world.held;
            world.later(70);
            world.pass().await;
            let again = world.held;
            world.later(2 * 86_400);
            world.far().store("/7.ics", &event("u7", "20T100000Z", "Changed there"));
            assert_eq!(world.pass().await.local.updated, 1);
            held.push((first, again, world.held));
        }
        assert_eq!(held[0], held[1], "content {content}");
        assert!(held[0].0.max(held[0].1).max(held[0].2) < 50, "{held:?}");
    }
}

// The same for events of ours: what there is no room for is found again when its turn comes
#[tokio::test]
async fn a_first_pass_holds_a_page_of_ours() {
    let mut world = World::new().await;
    for n in 0..2500 {
        world.put(&format!("{n}.ics"), &event(&format!("u{n}"), "16T100000Z", &title(n))).await;
    }
    assert_eq!(world.pass().await.remote.inserted, 2500);
    assert!((1000..2000).contains(&world.held), "{}", world.held);
    world.settled().await;
    assert_eq!(world.far().titles().len(), 2500);
    // Under other settings all are looked at, page by page.
    world.links[0].mapping.filters = super::laws::leave_out("nothing");
    let run = world.pass().await;
    assert_eq!((run.remote.total(), run.local.total(), run.failures.len()), (0, 0, 0));
    assert!(world.held < 2000, "{}", world.held);
}

// What comes back from the trash is found there without reading the rest of it
#[tokio::test]
async fn what_comes_back_costs_the_same_however_much_lies_in_the_trash() {
    let mut costs = Vec::new();
    for thrown in [10, 1000] {
        let store = Arc::new(Memory::new());
        let mut world = World::on(Arc::clone(&store) as Arc<dyn Store>, |mapping| {
            mapping.on_local_delete = OnDelete::Restore;
        })
        .await;
        for n in 0..thrown {
            let name = format!("old{n}.ics");
            world.put(&name, &event(&format!("old{n}"), "20T100000Z", "Old")).await;
            world.delete(&name).await;
        }
        world.put("a.ics", &event("a", "20T100000Z", "A")).await;
        world.settled().await;
        world.delete("a.ics").await;
        costs.push(cost(&mut world, &store, (1, 0)).await);
        assert_eq!(world.titles().await, ["A"]);
    }
    assert_eq!(costs[0], costs[1]);
}

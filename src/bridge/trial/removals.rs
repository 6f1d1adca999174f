//! What becomes of one side when the other goes, as the mapping says; and events that only move.

use super::super::record::{Direction, OnDelete, RunStatus};
use super::{World, event, line, property};

const DAY: i64 = 86_400;

// E14, S1-019: on_remote_delete, on_local_delete
#[tokio::test]
async fn what_the_other_side_removed_is_kept_or_cancelled_if_so_set() {
    for on in [OnDelete::Keep, OnDelete::Cancel] {
        let mut world = World::with(|mapping| {
            (mapping.on_remote_delete, mapping.on_local_delete) = (on, on);
        })
        .await;
        world.put("a.ics", &event("a", "20T100000Z", "A")).await;
        world.put("b.ics", &event("b", "20T110000Z", "B")).await;
        world.settled().await;
        world.far().remove("/a.ics");
        world.delete("b.ics").await;
        world.settled().await;
        assert_eq!(world.titles().await, ["A"], "{on:?}");
        assert_eq!(world.far().titles(), ["B"], "{on:?}");
        let cancelled = on == OnDelete::Cancel;
        assert_eq!(world.get("a.ics").await.unwrap().contains("STATUS:CANCELLED"), cancelled);
        assert_eq!(world.far().text("/b.ics").unwrap().contains("STATUS:CANCELLED"), cancelled);
        // Edits of what is left do not bring it back, nor does the daily comparison.
        world.put("a.ics", &event("a", "20T100000Z", "A edited")).await;
        world.far().store("/b.ics", &event("b", "20T110000Z", "B edited"));
        world.later(2 * DAY);
        world.settled().await;
        assert_eq!(
            (world.titles().await, world.far().titles()),
            (vec!["A edited".into()], vec!["B edited".into()])
        );
        // What both sides have again is carried again.
        world.put("b.ics", &event("b", "20T110000Z", "B edited")).await;
        world.settled().await;
        world.far().store("/b.ics", &event("b", "20T110000Z", "B at last"));
        world.settled().await;
        assert_eq!(world.titles().await, ["A edited", "B at last"]);
        world.delete("a.ics").await;
        world.settled().await;
    }
}

// S1-019: a far side that knows no such status is told in the title
#[tokio::test]
async fn what_is_cancelled_says_so_wherever_it_is() {
    for (lacks, title) in [("X-", "A"), ("STATUS", "Cancelled: A")] {
        let mut world = World::with(|mapping| mapping.on_local_delete = OnDelete::Cancel).await;
        world.far().lock().lacks = [lacks].into();
        world.put("a.ics", &event("a", "20T100000Z", "A")).await;
        world.settled().await;
        world.delete("a.ics").await;
        world.settled().await;
        assert_eq!(world.far().titles(), [title], "without {lacks}");
    }
}

// E14: what a person removes here comes back as it was, the far side is not touched; what a far side removed stays gone
#[tokio::test]
async fn what_is_removed_here_comes_back_if_so_set() {
    for direction in [Direction::Both, Direction::Pull] {
        let mut world = World::with(|mapping| {
            (mapping.on_local_delete, mapping.direction) = (OnDelete::Restore, direction)
        })
        .await;
        world.far().store("/a.ics", &event("a", "20T100000Z", "A"));
        world.far().store("/b.ics", &event("b", "20T110000Z", "B"));
        world.settled().await;
        // What the far side does not have of it is not lost with it.
        let names = world.at("calendar").await.list(None, 10).await.unwrap();
        let name = names[0].name.as_str().to_owned();
        let ours = line(&world.get(&name).await.unwrap(), "X-OURS:kept");
        world.far().lock().lacks = ["X-"].into();
        world.put(&name, &ours).await;
        world.settled().await;
        world.delete(&name).await;
        let run = world.pass().await;
        assert_eq!((run.local.inserted, run.remote.total()), (1, 0), "{direction:?}: {run:?}");
        assert_eq!(world.get(&name).await.unwrap(), ours, "{direction:?}: under its name, octet for octet");
        world.settled().await;
        assert_eq!(world.far().titles(), ["A", "B"], "{direction:?}");
        // Changed there and removed here at once: it comes back, with the change.
        let uid = property(&ours.clone().into(), "UID").unwrap();
        world.delete(&name).await;
        world.far().store(&format!("/{uid}.ics"), &event(&uid, "20T100000Z", "C"));
        world.settled().await;
        let now = world.get(&name).await.unwrap();
        assert!(now.contains("SUMMARY:C") && now.contains("X-OURS:kept"), "{direction:?}: {now}");
        world.far().remove(&format!("/{uid}.ics"));
        world.settled().await;
        assert_eq!(world.titles().await.len(), 1, "{direction:?}");
    }
}

// icloud-and-caldav §6.4: an account that has each UID once is told of a move as of a removal and a new event, in any order
#[tokio::test]
async fn an_event_that_has_not_left_another_calendar_yet_is_tried_again_soon() {
    let mut world = World::new().await;
    world.settled().await;
    world.far().lock().taken = ["a"].into();
    world.put("a.ics", &event("a", "20T100000Z", "A")).await;
    world.put("b.ics", &event("b", "20T100000Z", "B")).await;
    let run = world.pass().await;
    assert_eq!((run.status, run.remote.inserted), (RunStatus::PartialFailure, 1), "{run:?}");
    assert!(run.failures[0].reason.contains("in another calendar"), "{run:?}");
    // The removal there comes a moment later, from another mapping.
    world.far().lock().taken.clear();
    world.later(61);
    assert_eq!(world.pass().await.remote.inserted, 1);
    world.settled().await;
    assert_eq!(world.far().titles(), ["A", "B"]);
}

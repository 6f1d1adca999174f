//! What passes make of names here that change hands.

use super::*;

const DAY: i64 = 86_400;

// Nothing lost, nothing resurrected: a name that is used again for another event
#[tokio::test]
async fn a_name_that_holds_another_event_has_lost_the_one_before() {
    for full in [false, true] {
        let mut world = World::new().await;
        world.put("a.ics", &event("a", "20T100000Z", "A")).await;
        world.settled().await;
        world.delete("a.ics").await;
        world.put("a.ics", &event("b", "21T100000Z", "B")).await;
        world.later(if full { 2 * DAY } else { 60 });
        world.settled().await;
        assert_eq!(
            (world.titles().await, world.far().titles()),
            (vec!["B".to_owned()], vec!["B".to_owned()])
        );
    }
}

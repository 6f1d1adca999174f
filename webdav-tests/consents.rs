//! Consents and passes that people ask for, with a clock that stands and a store over whose shoulder one looks.

use std::collections::HashSet;
use std::time::Duration;

use kalends::bridge::provider::RemoteId;
use kalends::bridge::record::{
    self, ConnectionState, Direction, Health, Hold, Kind, Policy, connection_state_key, mapping_state_key,
};
use kalends::store::{Commit, Origin, Store as _, Table};

use crate::bridge::side::Side;
use crate::oauth::peer::Peer;
use crate::push::{later, side};

/// Maps anna's calendar to the peer's feed.
async fn mapped(side: &Side, peer: &Peer) -> String {
    peer.far().feed = crate::oauth::feed(&["one", "two"]);
    let url = format!("http://{}/feed.ics", peer.address);
    let made = side.bridge.connect_ics("anna", &url).await.unwrap();
    let remote = side.bridge.remote_calendars("anna", &made.id).await.unwrap().remove(0);
    side.map_to(&made.id, RemoteId(remote.id.0), Direction::Pull, Policy::External).await
}

fn write(key: kalends::store::Key, value: &impl serde::Serialize) -> Commit {
    let at = kalends::store::Timestamp(0);
    Commit::new(Origin::System, at).op(record::put(key, value).unwrap())
}

// E17: however often deletions are confirmed, one pass carries them out; without any that wait, the word says nothing
#[tokio::test(flavor = "multi_thread")]
async fn many_who_confirm_begin_one_pass() {
    let peer = Peer::start();
    let side = side(&peer).await;
    let mapping = mapped(&side, &peer).await;
    side.sync(&mapping).await;
    side.sync(&mapping).await;
    peer.far().slow = Duration::from_millis(200);
    let asked = || peer.asked("/feed.ics").len();
    let confirm = async || -> HashSet<String> {
        let mut runs = HashSet::new();
        for _ in 0..20 {
            runs.insert(side.bridge.sync("anna", &mapping, true).await.unwrap());
        }
        runs
    };
    // Nothing waits: all join the pass that runs.
    let before = asked();
    let plain = side.bridge.sync("anna", &mapping, false).await.unwrap();
    assert_eq!(confirm().await, HashSet::from([plain]));
    side.bridge.settled(&mapping).await;
    assert_eq!(asked() - before, 1);
    // Something waits: one more pass, however many ask.
    let mut state = side.state(&mapping).await;
    let now = side.house.clock.now();
    state.hold = Some(Hold { since: now, local: 2, remote: 0, sentence: "Held.".into() });
    side.store.commit(write(mapping_state_key(&mapping), &state)).await.unwrap();
    let before = asked();
    let plain = side.bridge.sync("anna", &mapping, false).await.unwrap();
    let runs = confirm().await;
    assert!(runs.len() == 1 && !runs.contains(&plain), "{runs:?} after {plain}");
    let going = side.bridge.runs("anna", Some(&mapping), 100).await.unwrap();
    let going: Vec<&str> = going.iter().filter(|run| run.ended.is_none()).map(|run| run.id.as_str()).collect();
    assert!(going.len() == 2 && going.contains(&plain.as_str()), "{going:?}");
    assert_eq!(side.bridge.run("anna", &plain).await.unwrap().id, plain, "the first one is known all along");
    side.bridge.settled(&mapping).await;
    assert_eq!(asked() - before, 2, "the one that ran and the one that confirms");
    assert_eq!(side.state(&mapping).await.hold, None);
}

// S1-006, S3-044: what changed between the look and the sweep stays as it is
#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_takes_nothing_that_changed_meanwhile() {
    let peer = Peer::start();
    let side = side(&peer).await;
    let state = async |id: &str| side.bridge.connection("anna", id).await.unwrap().1;
    let active = ConnectionState { health: Health::Active, ..ConnectionState::default() };
    // The consent is over; while it is swept, the account is connected another way.
    let (made, _) = side.bridge.ask_consent("anna", Kind::Google, None).await.unwrap();
    later(&side, &peer, Duration::from_secs(16 * 60));
    side.store.meanwhile(write(connection_state_key(&made.id), &active));
    side.bridge.tend_once().await.unwrap();
    assert_eq!(state(&made.id).await.health, Health::Active);
    assert_eq!(state(&made.id).await.sentence, "");
    // The next look removes the consent alone.
    side.bridge.tend_once().await.unwrap();
    assert!(side.house.store.records(Table::Consent, "", None, 10).await.unwrap().is_empty());
    assert_eq!(state(&made.id).await.health, Health::Active);
    // The same for the connection that waited.
    let (made, _) = side.bridge.ask_consent("anna", Kind::Google, None).await.unwrap();
    later(&side, &peer, Duration::from_secs(16 * 60));
    side.bridge.tend_once().await.unwrap();
    later(&side, &peer, Duration::from_secs(25 * 3600));
    side.store.meanwhile(write(connection_state_key(&made.id), &active));
    side.bridge.tend_once().await.unwrap();
    assert!(side.bridge.connection("anna", &made.id).await.is_ok(), "it was connected in the last moment");
    side.bridge.tend_once().await.unwrap();
    assert!(side.bridge.connection("anna", &made.id).await.is_ok());
}

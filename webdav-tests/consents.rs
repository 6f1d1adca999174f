//! Consents and passes that people ask for, with a clock that stands and a store over whose shoulder one looks.

use std::collections::HashSet;
use std::time::Duration;

use kalends::bridge::pace::next_full;
use kalends::bridge::provider::RemoteId;
use kalends::bridge::record::{
    self, Conflict, ConflictStatus, ConnectionState, Direction, Health, Hold, Kind, Policy,
    connection_state_key, mapping_state_key,
};
use kalends::bridge::{Answer, NoticeKind, Outcome, Wakeful, Wish};
use kalends::calendar::Shown;
use kalends::follow::Follower as _;
use kalends::ical::zone::{Zone, by_tzid};
use kalends::store::{Collection, Commit, Op, Origin, Store as _, Table, Timestamp};
use serde_json::json;

use crate::bridge::side::Side;
use crate::oauth::objects;
use crate::oauth::peer::Peer;
use crate::push::{Simulated, answer, later, side};
use crate::wait::eventually;

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
    peer.far().held = true;
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
    peer.far().held = false;
    side.bridge.settled(&mapping).await;
    assert_eq!(asked() - before, 1);
    // Something waits: one more pass, however many ask.
    let mut state = side.state(&mapping).await;
    let now = side.house.clock.now();
    state.hold = Some(Hold { since: now, local: 2, remote: 0, sentence: "Held.".into() });
    side.store.commit(write(mapping_state_key(&mapping), &state)).await.unwrap();
    peer.far().held = true;
    let before = asked();
    let plain = side.bridge.sync("anna", &mapping, false).await.unwrap();
    let runs = confirm().await;
    assert!(runs.len() == 1 && !runs.contains(&plain), "{runs:?} after {plain}");
    let going = side.bridge.runs("anna", Some(&mapping), 100).await.unwrap();
    let going: Vec<&str> =
        going.iter().filter(|run| run.ended.is_none()).map(|run| run.id.as_str()).collect();
    assert!(going.len() == 2 && going.contains(&plain.as_str()), "{going:?}");
    assert_eq!(side.bridge.run("anna", &plain).await.unwrap().id, plain, "the first one is known all along");
    peer.far().held = false;
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
    let made = side.bridge.ask_consent("anna", Kind::Google, Wish::default()).await.unwrap().connection;
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
    let made = side.bridge.ask_consent("anna", Kind::Google, Wish::default()).await.unwrap().connection;
    later(&side, &peer, Duration::from_secs(16 * 60));
    side.bridge.tend_once().await.unwrap();
    later(&side, &peer, Duration::from_secs(25 * 3600));
    side.store.meanwhile(write(connection_state_key(&made.id), &active));
    side.bridge.tend_once().await.unwrap();
    assert!(side.bridge.connection("anna", &made.id).await.is_ok(), "it was connected in the last moment");
    side.bridge.tend_once().await.unwrap();
    assert!(side.bridge.connection("anna", &made.id).await.is_ok());
}

// S1-010, S3-044: what was given and not meant does not stay
#[tokio::test(flavor = "multi_thread")]
async fn a_consent_that_nobody_says_is_meant_goes_back() {
    let peer = Peer::start();
    let side = side(&peer).await;
    let asked = side.bridge.ask_consent("anna", Kind::Google, Wish::default()).await.unwrap();
    let stranger = Answer { browser: None, ..answer(&peer, &asked) };
    let landing = side.bridge.consent_answered(stranger).await.unwrap();
    let Outcome::Unsure(doubt) = landing.outcome else { panic!("{landing:?}") };
    assert_eq!((doubt.account.as_deref(), doubt.owner.as_str()), (Some("anna@far.example"), "anna"));
    later(&side, &peer, Duration::from_secs(15 * 60));
    let late = side.bridge.consent_confirmed(doubt.token.reveal(), true).await.unwrap();
    assert!(matches!(late.outcome, Outcome::Unawaited), "{late:?}");
    side.bridge.tend_once().await.unwrap();
    assert_eq!(peer.asked("/revoke").len(), 1);
    for table in [Table::Consent, Table::Secret] {
        let left = side.house.store.records(table, "", None, 10).await.unwrap();
        assert!(left.is_empty(), "{table:?}: {left:?}");
    }
}

// E33: an account that nothing calls keeps its consent; one that the vendor ends early says why
#[tokio::test(flavor = "multi_thread")]
async fn an_idle_consent_is_kept_alive_and_one_that_ends_early_says_why() {
    const DAY: Duration = Duration::from_secs(86_400);
    let peer = Peer::start();
    peer.far().rotates = true;
    let side = side(&peer).await;
    let asked = side.bridge.ask_consent("anna", Kind::Google, Wish::default()).await.unwrap();
    side.bridge.consent_answered(answer(&peer, &asked)).await.unwrap();
    let fetched = || peer.asked("/token").len();
    side.bridge.tend_once().await.unwrap();
    assert_eq!(fetched(), 1, "the consent's own");
    for month in 1..=4 {
        for _ in 0..2 {
            later(&side, &peer, DAY * 31 / 2);
            side.bridge.tend_once().await.unwrap();
            side.bridge.tend_once().await.unwrap();
        }
        assert_eq!(fetched(), 1 + month, "once a month");
    }
    let (_, state) = side.bridge.connection("anna", &asked.connection.id).await.unwrap();
    assert_eq!(state.health, Health::Active);
    // google.md §1: seven days while the project is in Testing.
    let again = side.bridge.ask_consent_again("anna", &asked.connection.id, Wish::default()).await.unwrap();
    peer.far().consent = Some(7 * 86_400);
    side.bridge.consent_answered(answer(&peer, &again)).await.unwrap();
    let told = async || {
        let all = side.bridge.notifications("anna").await.unwrap();
        all.into_iter().filter(|told| told.resolved.is_none()).collect::<Vec<_>>()
    };
    let follower = Wakeful(side.bridge.clone());
    later(&side, &peer, DAY * 11 / 2);
    follower.tick().await;
    assert_eq!(told().await, []);
    later(&side, &peer, DAY);
    follower.tick().await;
    let [notice] = &told().await[..] else { panic!("{:?}", told().await) };
    assert_eq!(notice.kind, NoticeKind::TokenExpiring);
    assert!(notice.sentence.contains("Testing") && notice.sentence.contains("anew before"), "{notice:?}");
    // It ends: the connection says what to do, and why.
    later(&side, &peer, DAY * 3 / 5);
    peer.far().revoke_all();
    assert!(side.bridge.remote_calendars("anna", &asked.connection.id).await.is_err());
    let (_, state) = side.bridge.connection("anna", &asked.connection.id).await.unwrap();
    assert_eq!(state.health, Health::TokenExpired);
    assert!(state.sentence.contains("Testing") && state.sentence.contains("Connect"), "{state:?}");
    assert!(told().await.iter().any(|told| told.kind == NoticeKind::TokenExpired));
    // Given anew, both notices end at once.
    peer.far().consent = None;
    let again = side.bridge.ask_consent_again("anna", &asked.connection.id, Wish::default()).await.unwrap();
    side.bridge.consent_answered(answer(&peer, &again)).await.unwrap();
    assert_eq!(told().await, []);
}

// S3-028: the conflicts of an event are found by its UID, however many others there are
#[tokio::test(flavor = "multi_thread")]
async fn the_story_of_an_event_costs_what_it_tells() {
    let peer = Peer::start();
    let side = side(&peer).await;
    let mapping = mapped(&side, &peer).await;
    side.sync(&mapping).await;
    let now = side.house.clock.now();
    let conflict = |number: u32, uid: &str| Conflict {
        id: record::falling_id(&mapping, Timestamp(now.0 + i64::from(number)), number),
        mapping: mapping.clone(),
        uid: uid.to_owned(),
        detected: Timestamp(now.0 + i64::from(number)),
        kind: "both_changed".into(),
        title: String::new(),
        clashes: Vec::new(),
        base: None,
        local: None,
        external: None,
        status: ConflictStatus::ResolvedLocal,
        resolved: Some(now),
        by: "anna".into(),
        notes: String::new(),
        choices: Default::default(),
        history: Vec::new(),
    };
    let keep = async |all: Vec<Conflict>| {
        let ops = all.iter().flat_map(|conflict| record::put_conflict(conflict).unwrap()).collect();
        side.store.commit(Commit { ops, ..Commit::new(Origin::System, now) }).await.unwrap();
    };
    keep((0..3).map(|n| conflict(n, "mine@x")).collect()).await;
    let tell = async || {
        let before = (side.store.reads(), side.store.rows());
        let stories = side.bridge.why("anna", "mine@x").await.unwrap();
        let told: Vec<Timestamp> = stories[0].ways[0].conflicts.iter().map(|c| c.detected).collect();
        (told, side.store.reads() - before.0, side.store.rows() - before.1)
    };
    let alone = tell().await;
    assert_eq!(alone.0, [2, 1, 0].map(|n| Timestamp(now.0 + n)), "the newest first");
    for page in 0..10 {
        keep((0..200).map(|n| conflict(1000 + page * 200 + n, &format!("{page}-{n}@x"))).collect()).await;
    }
    assert_eq!(tell().await, alone, "two thousand newer ones of others change nothing");
    assert_eq!(side.bridge.why("anna", "9-199@x").await.unwrap()[0].ways[0].conflicts.len(), 1);
    // They go with their mapping.
    side.bridge.delete_mapping("anna", &mapping).await.unwrap();
    for table in [Table::Conflict, Table::Base] {
        assert!(side.house.store.records(table, "", None, 10).await.unwrap().is_empty(), "{table:?}");
    }
}

// E20, S2-091: at night by the clock of the calendar's own zone
#[tokio::test(flavor = "multi_thread")]
async fn everything_is_compared_at_night_where_the_calendar_is() {
    let peer = Peer::start();
    let side = side(&peer).await;
    let mut collection = Collection::clone(side.calendar().await.collection());
    Shown::TimeZoneId.set(&mut collection.properties, Some("Pacific/Auckland"));
    let commit = Commit::new(Origin::System, side.house.clock.now()).op(Op::PutCollection(collection));
    side.store.commit(commit).await.unwrap();
    let mapping = mapped(&side, &peer).await;
    let dice = u64::from_str_radix(&mapping, 16).unwrap();
    let zone = by_tzid("Pacific/Auckland").unwrap();
    for _ in 0..3 {
        // One complete listing is confirmed by another one.
        while !side.state(&mapping).await.settled {
            side.sync(&mapping).await;
        }
        let last = side.state(&mapping).await.full_at.unwrap();
        let next = next_full(last, 3 * 3600, &zone, dice);
        assert_ne!(next, next_full(last, 3 * 3600, &Zone::Utc, dice), "half a day from Greenwich");
        let left = u64::try_from(next.0 - side.house.clock.now().0).unwrap();
        later(&side, &peer, Duration::from_millis(left - 1));
        side.sync(&mapping).await;
        assert_eq!(side.state(&mapping).await.full_at, Some(last), "not yet");
        later(&side, &peer, Duration::from_millis(1));
        side.sync(&mapping).await;
        assert_eq!(side.state(&mapping).await.full_at, Some(next), "now");
    }
}

/// What was written at the far side, but channels and tokens.
fn writes(all: &Simulated) -> Vec<String> {
    let entries = all.far.log().entries();
    let own = |path: &str| {
        ["/token", "/watch", "/stop", "/subscriptions", "/revoke"].iter().any(|end| path.contains(end))
    };
    let writing = entries.iter().filter(|entry| entry.method != "GET" && !own(&entry.path));
    writing.map(|entry| format!("{} {}", entry.method, entry.path)).collect()
}

// S0-033, S1-078, S3-045, E8: who only looks asks for no more, and nothing goes beyond that; a consent anew widens it
#[test]
fn an_account_that_is_connected_for_reading_is_only_read() {
    for provider in ["google", "outlook"] {
        let all = Simulated::start(provider);
        let house = &all.house;
        let wish = json!({"access": "read"});
        let (status, made) = house.api("POST", &format!("/connections/{provider}"), Some(wish.clone()));
        assert_eq!((status, &made["access"]), (201, &json!("read")), "{made}");
        all.consent(&made);
        let id = made["id"].as_str().unwrap();
        assert_eq!(house.connection(id)["access"], "read");
        let (_, list) = house.api("GET", &format!("/connections/{id}/calendars"), None);
        let list = list["items"].as_array().unwrap().clone();
        assert!(list.iter().all(|calendar| calendar["writable"] == false), "{list:?}");
        let remote = list.iter().find(|calendar| calendar["primary"] == true).unwrap()["id"].clone();
        let (_, own) = house.api("GET", "/calendars", None);
        let own = own["items"].as_array().unwrap().iter().find(|c| c["name"] == "calendar").unwrap().clone();
        let mut mapping =
            json!({"calendar": own["id"], "connection": id, "remote_calendar": remote, "direction": "both"});
        for path in ["/mappings", "/mappings/preview"] {
            let (status, problem) = house.api("POST", path, Some(mapping.clone()));
            assert_eq!((status, &problem["field"]), (422, &json!("direction")), "{path}: {problem}");
            let words = problem["detail"].as_str().unwrap();
            assert!(words.contains("for reading only") && words.contains("/reconnect"), "{words}");
        }
        mapping["direction"] = json!("pull");
        let (status, made) = house.api("POST", "/mappings", Some(mapping));
        assert_eq!(status, 201, "{made}");
        let path = format!("/mappings/{}", made["id"].as_str().unwrap());
        all.happens(remote.as_str().unwrap(), "Theirs");
        eventually("what is there", || objects(house) == 1);
        let both = || house.api("PATCH", &path, Some(json!({"direction": "both"})));
        assert_eq!((both().0, both().1["field"].clone()), (422, json!("direction")));
        assert_eq!(writes(&all), Vec::<String>::new(), "{provider}");
        // A consent anew widens it; the mapping stays.
        let again = |wish: &serde_json::Value| {
            house.api("POST", &format!("/connections/{id}/reconnect"), Some(wish.clone()))
        };
        let (status, asked) = again(&json!({"access": "write"}));
        assert_eq!((status, &asked["access"]), (200, &json!("read")), "not before it is given: {asked}");
        all.consent(&asked);
        assert_eq!(house.connection(id)["access"], "write");
        assert_eq!(both().0, 200);
        let day = jiff::Timestamp::now().strftime("%Y%m%d").to_string();
        let text = format!(
            "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:x\r\nBEGIN:VEVENT\r\nUID:ours@x\r\nDTSTAMP:20260101T000000Z\r\n\
             DTSTART:{day}T200000Z\r\nDTEND:{day}T210000Z\r\nSUMMARY:Ours\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"
        );
        let bearer = format!("Bearer {}", house.token);
        let headers = [("Authorization", bearer.as_str()), ("Content-Type", "text/calendar")];
        let put = house.as_nobody("PUT", "/dav/calendars/anna/calendar/ours.ics", &headers, &text);
        assert_eq!(put.status, 201, "{}", put.show());
        eventually("ours is there", || !writes(&all).is_empty());
        // While something is written through it, it stays as wide.
        let (status, problem) = again(&wish);
        assert_eq!((status, &problem["field"]), (422, &json!("access")), "{problem}");
        assert!(problem["detail"].as_str().unwrap().contains("`pull` first"), "{problem}");
        assert_eq!(house.api("PATCH", &path, Some(json!({"direction": "pull"}))).0, 200);
        let (_, asked) = again(&wish);
        all.consent(&asked);
        assert_eq!(house.connection(id)["access"], "read");
        // Without a word the access stays what it is.
        let (_, asked) = again(&json!({}));
        all.consent(&asked);
        assert_eq!(house.connection(id)["access"], "read");
        all.happens(remote.as_str().unwrap(), "Theirs too");
        eventually("the mapping goes on", || objects(house) == 3);
    }
    // A password opens what it opens.
    let house = crate::oauth::House::start(Vec::new());
    let body = json!({"url": "x.example", "username": "a", "password": "b", "access": "read"});
    let (status, problem) = house.api("POST", "/connections/caldav", Some(body));
    assert_eq!((status, &problem["field"]), (422, &json!("access")), "{problem}");
}

//! What people who run a bridge rely on: one guard for every route, one pass at a time, times that are kept, cursors that
//! last, nothing left behind.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::FutureExt as _;
use kalends::api::ROUTES;
use kalends::auth::{Scope, Scopes};
use kalends::bridge::record::{Direction, Mapping, Policy, RunStatus};
use kalends::bridge::{BridgeError, Wakeful};
use kalends::follow::Follower as _;
use kalends::store::{Sled, Store, Table};
use serde_json::{Value, json};

use crate::bridge::proxy::Proxy;
use crate::bridge::radicale::Radicale;
use crate::bridge::side::Side;
use crate::dialogue::Host as _;
use crate::host::Served;
use crate::oauth::peer::Peer;
use crate::oauth::{House, follow, mapped_feed, objects};
use crate::wait::eventually;

const WORK: &str = "/anna/work/";
const DAY: Duration = Duration::from_secs(86_400);

macro_rules! radicale {
    () => {{
        let Some(radicale) = Radicale::start() else { return };
        radicale.calendar(WORK);
        radicale
    }};
}

fn event(uid: &str, title: &str) -> String {
    format!(
        "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//test//EN\r\nBEGIN:VEVENT\r\nUID:{uid}\r\n\
         DTSTAMP:20260101T000000Z\r\nDTSTART:20260105T090000Z\r\nDTEND:20260105T100000Z\r\nSUMMARY:{title}\r\n\
         END:VEVENT\r\nEND:VCALENDAR\r\n"
    )
}

async fn mapped(radicale: &Radicale) -> (Side, String) {
    let side = Side::new().await;
    let url = format!("http://{}/", radicale.address());
    let mapping = side.map(&url, WORK, Direction::Both, Policy::Newest).await;
    (side, mapping)
}

/// Lets the follower look once and waits for what it began.
async fn look(side: &Side, mapping: &str) {
    let follower = Wakeful(side.bridge.clone());
    // It may have been woken since the last look.
    let _ = follower.woken().now_or_never();
    follower.tick().await;
    side.bridge.settled(mapping).await;
}

async fn last_run(side: &Side, mapping: &str) -> Option<String> {
    side.state(mapping).await.last_run
}

// S4-084, E13, S3-041, S4-085: no route answers somebody who is not signed in, or whose token is for something else
#[test]
fn every_route_asks_who_is_there() {
    let served = Served::plain();
    let token = |scope: Scope| {
        let made = served.guard().add_token("anna", "test", Scopes::from(vec![scope]));
        served.runtime().block_on(made).unwrap().1
    };
    let mut tokens = Scope::ALL.map(|scope| (scope, token(scope), scope == Scope::Admin)).to_vec();
    // The scope makes nobody an administrator: anna's token for it opens everything but that.
    tokens.push((Scope::Admin, crate::operator::administrator(&served), false));
    let ask = |method: &str, path: &str, token: Option<&str>| {
        let headers = token.map(|token| ("Authorization".to_owned(), format!("Bearer {token}")));
        // A stream would go on and on: of a calendar that is none it does not begin.
        let query = if path.ends_with("/stream") { "?calendar=0" } else { "" };
        let request = crate::dialogue::Request {
            method: method.to_owned(),
            target: format!("/api/v1{path}{query}"),
            headers: headers.into_iter().collect(),
            body: Vec::new(),
        };
        crate::dialogue::send(served.address(), &request).unwrap()
    };
    assert!(ROUTES.len() > 40);
    // Only once: who guesses is slowed.
    assert_eq!(ask("GET", "/mappings", Some("kal_nobody")).status, 401);
    for route in ROUTES {
        let (method, path) = (route.method.as_str(), route.path);
        assert_eq!(ask(method, path, None).status, 401, "{method} {path}");
        for (scope, token, alone) in &tokens {
            let refused = ask(method, path, Some(token)).status == 403;
            let may = route.scopes.iter().any(|needed| Scopes::from(vec![*scope]).contain(*needed));
            let may = may && !(*alone && route.scopes == [Scope::Admin]);
            assert_eq!(refused, !may, "{method} {path} with {scope:?}, alone: {alone}");
        }
    }
}

// S3-054, S3-062, S3-114: who asks while a pass runs joins it; the next one begins when it has ended
#[test]
fn two_passes_of_one_mapping_never_run_at_once() {
    let peer = Peer::start();
    let mut config = peer.config();
    config.extend(["[bridge]".into(), "allow_private = true".into()]);
    let house = House::start(config);
    let (id, mapping) = mapped_feed(&house, &peer, &["one"]);
    let path = format!("/mappings/{mapping}/sync");
    let (_, first) = house.api("POST", &path, None);
    follow(&house, first["run"].as_str().unwrap());
    peer.far().held = true;
    let before = peer.asked("/feed.ics").len();
    // Until one has begun that asks the far side and waits for it.
    eventually("the far side is asked", || {
        house.api("POST", &path, None);
        peer.asked("/feed.ics").len() > before
    });
    let (_, begun) = house.api("POST", &path, None);
    let run = begun["run"].as_str().unwrap().to_owned();
    let joined: BTreeSet<String> = std::thread::scope(|scope| {
        let ask = || {
            let (status, asked) = house.api("POST", &path, None);
            assert_eq!(status, 202, "{asked}");
            asked["run"].as_str().unwrap().to_owned()
        };
        let all: Vec<_> = (0..6).map(|_| scope.spawn(ask)).collect();
        all.into_iter().map(|one| one.join().unwrap()).collect()
    });
    assert_eq!(joined, BTreeSet::from([run.clone()]));
    // It runs, and everybody sees that.
    assert_eq!(house.connection(&id)["status"], "syncing");
    assert_eq!(house.api("GET", &format!("/mappings/{mapping}"), None).1["status"], "syncing");
    let (_, running) = house.api("GET", &format!("/runs/{run}"), None);
    assert_eq!((&running["status"], &running["ended_at"]), (&json!("running"), &Value::Null), "{running}");
    assert_eq!(peer.asked("/feed.ics").len() - before, 1, "six more asked, and the far side heard of none");
    peer.far().held = false;
    follow(&house, &run);
    let (_, again) = house.api("POST", &path, None);
    let again = follow(&house, again["run"].as_str().unwrap());
    assert_eq!(again["status"], "success", "{again}");
}

// S2-092, S3-103, S4-009, S4-039: looked at when its time has come, by itself, and not while it rests
#[tokio::test(flavor = "multi_thread")]
async fn a_mapping_is_looked_at_when_its_time_comes_and_not_while_it_rests() {
    let radicale = radicale!();
    let (side, mapping) = mapped(&radicale).await;
    side.sync(&mapping).await;
    side.sync(&mapping).await;
    look(&side, &mapping).await;
    let before = last_run(&side, &mapping).await;
    radicale.put("/anna/work/t.ics", &event("t@x", "There"));
    // Ten minutes, up to a quarter less.
    side.later(Duration::from_secs(7 * 60));
    look(&side, &mapping).await;
    assert_eq!((last_run(&side, &mapping).await, side.names().await.len()), (before, 0));
    side.later(Duration::from_secs(6 * 60));
    look(&side, &mapping).await;
    assert_eq!(side.names().await, ["t.ics"]);
    let enable = async |on: bool| {
        let change = move |mapping: &mut Mapping| {
            mapping.enabled = on;
            Ok(())
        };
        side.bridge.update_mapping("anna", &mapping, change).await.unwrap();
    };
    enable(false).await;
    let before = last_run(&side, &mapping).await;
    side.put("h.ics", &event("h@x", "Here")).await;
    radicale.put("/anna/work/t2.ics", &event("t2@x", "There"));
    side.later(2 * DAY);
    look(&side, &mapping).await;
    let refused = side.bridge.sync("anna", &mapping, false).await;
    assert!(
        matches!(&refused, Err(BridgeError::Conflict(why)) if why.contains("switched off")),
        "{refused:?}"
    );
    assert_eq!(last_run(&side, &mapping).await, before);
    assert_eq!((side.names().await.len(), radicale.names(WORK).len()), (2, 2));
    // What came meanwhile on both sides is carried when it goes on.
    enable(true).await;
    look(&side, &mapping).await;
    assert_eq!((side.names().await.len(), radicale.names(WORK).len()), (3, 3));
}

// S3-019, E28: runs are kept for 90 days, conflicts until their mapping goes
#[tokio::test(flavor = "multi_thread")]
async fn runs_are_kept_for_ninety_days() {
    let radicale = radicale!();
    let (side, mapping) = mapped(&radicale).await;
    side.put("e.ics", &event("e@x", "Base")).await;
    side.sync(&mapping).await;
    side.put("e.ics", &event("e@x", "Ours")).await;
    radicale.put("/anna/work/e%40x.ics", &event("e@x", "Theirs"));
    let old = side.sync(&mapping).await;
    assert_eq!(old.conflicts, 1, "{old:?}");
    side.later(89 * DAY);
    let young = side.sync(&mapping).await;
    assert!(side.bridge.run("anna", &old.id).await.is_ok(), "89 days old");
    side.later(2 * DAY);
    side.sync(&mapping).await;
    assert!(matches!(side.bridge.run("anna", &old.id).await, Err(BridgeError::Missing)));
    assert!(side.bridge.run("anna", &young.id).await.is_ok());
    assert_eq!(side.bridge.conflicts("anna", None, 10).await.unwrap().len(), 1);
}

// S3-061, S3-067, S3-148: how far the far side was read is on disk: a restart asks for what changed since, not for all
#[tokio::test(flavor = "multi_thread")]
async fn a_restart_goes_on_from_the_cursor() {
    let radicale = radicale!();
    let proxy = Proxy::before(radicale.address());
    let side = Side::new().await;
    for n in 0..5 {
        radicale.put(&format!("/anna/work/{n}.ics"), &event(&format!("{n}@x"), "There"));
    }
    let mapping = side.map(&proxy.url(), WORK, Direction::Both, Policy::Newest).await;
    for _ in 0..2 {
        side.sync(&mapping).await;
    }
    let cursor = side.state(&mapping).await.cursor;
    assert!(cursor.is_some());
    proxy.seen();
    side.sync(&mapping).await;
    let quiet = proxy.seen();
    let side = side.restart().await;
    radicale.put("/anna/work/new.ics", &event("new@x", "New"));
    proxy.seen();
    let run = side.sync(&mapping).await;
    assert_eq!((run.status, run.local.inserted, run.local.total()), (RunStatus::Success, 1, 1), "{run:?}");
    let seen = proxy.seen();
    // The same question as before the restart, and one for the event that is new.
    assert!(seen.starts_with(&quiet) && seen.len() == quiet.len() + 1, "{quiet:?} {seen:?}");
    assert_ne!(side.state(&mapping).await.cursor, cursor);
}

// S3-136, S3-164: whoever disconnects an account leaves nothing of it: no record names it, its mapping or its secret
#[test]
fn nothing_is_left_of_an_account_that_is_disconnected() {
    let peer = Peer::start();
    let mut config = peer.config();
    config.extend(["[bridge]".into(), "allow_private = true".into()]);
    let mut house = House::start(config);
    let (feed, mapping) = mapped_feed(&house, &peer, &["one", "two"]);
    let google = house.connect(&peer, "google");
    let (_, own) = house.api("GET", "/calendars", None);
    let own =
        own["items"].as_array().unwrap().iter().find(|c| c["name"] == "calendar").unwrap()["id"].clone();
    let wish = json!({"calendar": own, "connection": google, "remote_calendar": "anna@far.example",
        "direction": "pull"});
    let (status, second) = house.api("POST", "/mappings", Some(wish));
    assert_eq!(status, 201, "{second}");
    let second = second["id"].as_str().unwrap().to_owned();
    for id in [&mapping, &second] {
        assert_eq!(house.api("POST", &format!("/mappings/{id}/hook"), None).0, 201);
        let (status, asked) = house.api("POST", &format!("/mappings/{id}/sync"), None);
        assert_eq!(status, 202, "{asked}");
        follow(&house, asked["run"].as_str().unwrap());
    }
    assert_eq!(objects(&house), 2);
    // A notice of each, too.
    peer.far().feed = "<html>".into();
    peer.far().revoke_all();
    for id in [&mapping, &second] {
        let (_, asked) = house.api("POST", &format!("/mappings/{id}/sync"), None);
        if let Some(run) = asked["run"].as_str() {
            follow(&house, run);
        }
    }
    assert_ne!(house.api("GET", "/notifications", None).1["items"], json!([]));
    for id in [&feed, &google] {
        assert_eq!(house.api("DELETE", &format!("/connections/{id}?events=remove"), None).0, 204);
    }
    assert_eq!(objects(&house), 0);
    house.served.stop();
    let store = Sled::open(house.served.directory().join("db"), Default::default()).unwrap();
    let store: &dyn Store = &store;
    // Whose program wrote a former version is a matter of the event's own history.
    let history = [Table::Version, Table::Trash];
    let mut looked = 0;
    for table in Table::ALL.into_iter().filter(|table| !history.contains(table)) {
        let rows = house.served.runtime().block_on(store.records(table, "", None, 10_000)).unwrap();
        for (key, bytes) in rows {
            looked += 1;
            let text = format!("{} {}", key.path, String::from_utf8_lossy(&bytes));
            for id in [&feed, &google, &mapping, &second] {
                assert!(!text.contains(id.as_str()), "{table:?} {text}");
            }
        }
    }
    assert!(looked >= 3, "the store was not found");
}

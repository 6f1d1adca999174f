//! What people are told without having asked, how long far sides are left alone, and how many calls they have to bear:
//! against a real CalDAV server, with a clock that stands until it is moved.

use std::time::Duration;

use futures_util::FutureExt as _;
use kalends::auth::grant::Secret;
use kalends::bridge::provider::{RemoteId, Trouble};
use kalends::bridge::record::{ConflictStatus, Direction, Health, Mapping, Policy, RunStatus};
use kalends::bridge::{BridgeError, Detect, NewMapping, Rate, Rates, Settings, Told, Wakeful};
use kalends::follow::Follower as _;
use serde_json::{Value, json};

use crate::bridge::proxy::{Bad, Proxy};
use crate::bridge::radicale::Radicale;
use crate::bridge::side::Side;
use crate::dialogue::{Host as _, Request, send};
use crate::host::Served;
use crate::oauth::House;
use crate::oauth::peer::Peer;

const WORK: &str = "/anna/work/";

macro_rules! radicale {
    () => {{
        let Some(radicale) = Radicale::start() else { return };
        radicale.calendar(WORK);
        radicale
    }};
}

fn event(uid: &str, more: &str) -> String {
    format!(
        "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//test//EN\r\nBEGIN:VEVENT\r\nUID:{uid}\r\n\
         DTSTAMP:20260101T000000Z\r\nDTSTART:20260105T090000Z\r\nDTEND:20260105T100000Z\r\n\
         {more}\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"
    )
}

async fn map(side: &Side, url: &str, policy: Policy) -> String {
    side.map(url, WORK, Direction::Both, policy).await
}

fn url(radicale: &Radicale) -> String {
    format!("http://{}", radicale.address())
}

/// The open notices, or those that were never to be ended, as `kind: sentence`.
async fn told(side: &Side) -> Vec<Told> {
    side.bridge.notifications("anna").await.unwrap()
}

async fn open(side: &Side) -> Vec<String> {
    let open = told(side).await.into_iter().filter(|told| told.resolved.is_none());
    open.map(|told| told.kind.as_str().to_owned()).collect()
}

// S3-112: given up after the schedule, and the user told; ended by itself
#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_is_refused_is_told_by_its_title_and_both_systems() {
    let radicale = radicale!();
    let proxy = Proxy::before(radicale.address());
    let side = Side::new().await;
    side.put("bad.ics", &event("bad@x", "SUMMARY:Lunch with Bert")).await;
    proxy.fault(|request| {
        let bad = request.method == "PUT" && request.target.contains("bad");
        bad.then(|| Bad::Answer(403, vec![], "<error xmlns='DAV:'><too-odd/></error>".into()))
    });
    let mapping = map(&side, &proxy.url(), Policy::Newest).await;
    side.sync(&mapping).await;
    let [notice] = &told(&side).await[..] else { panic!("{:?}", told(&side).await) };
    assert_eq!((notice.kind.as_str(), notice.about["uid"].as_str()), ("event_failed", "bad@x"));
    for part in ["“Lunch with Bert”", "“Calendar”", "anna@127.0.0.1", "too-odd"] {
        assert!(notice.sentence.contains(part), "{part}: {}", notice.sentence);
    }
    let again = side.sync(&mapping).await;
    assert_eq!(told(&side).await.len(), 1, "{again:?}");
    proxy.well();
    side.put("bad.ics", &event("bad@x", "SUMMARY:Lunch")).await;
    assert_eq!(side.sync(&mapping).await.remote.inserted, 1);
    assert!(open(&side).await.is_empty() && told(&side).await[0].resolved.is_some());
    // A mapping that is removed takes what was told of it along.
    side.bridge.delete_mapping("anna", &mapping).await.unwrap();
    assert!(told(&side).await.is_empty());
}

// S3-122, S3-077: names the event, both systems and which version was kept
#[tokio::test(flavor = "multi_thread")]
async fn conflicts_are_told_with_the_version_that_was_kept() {
    let radicale = radicale!();
    let side = Side::new().await;
    let path = "/anna/work/e%40x.ics";
    side.put("e.ics", &event("e@x", "SUMMARY:Base")).await;
    let mapping = map(&side, &url(&radicale), Policy::External).await;
    side.sync(&mapping).await;
    side.put("e.ics", &event("e@x", "SUMMARY:Ours")).await;
    radicale.put(path, &event("e@x", "SUMMARY:Theirs"));
    assert_eq!(side.sync(&mapping).await.conflicts, 1);
    let [notice] = &told(&side).await[..] else { panic!("{:?}", told(&side).await) };
    assert_eq!(notice.kind.as_str(), "conflict_found");
    assert!(notice.sentence.contains("the version of anna@127.0.0.1 was kept"), "{}", notice.sentence);
    assert!(notice.resolved.is_some() && notice.read.is_none(), "nothing is left to do but to know");
    // One that waits for a decision is open until that is made.
    let change = |mapping: &mut kalends::bridge::record::Mapping| {
        mapping.policy = Policy::Ask;
        Ok(())
    };
    side.bridge.update_mapping("anna", &mapping, change).await.unwrap();
    side.sync(&mapping).await;
    side.put("e.ics", &event("e@x", "SUMMARY:Ours again")).await;
    radicale.put(path, &event("e@x", "SUMMARY:Theirs again"));
    side.sync(&mapping).await;
    assert_eq!(open(&side).await, ["conflict_found"]);
    let waiting = told(&side).await.into_iter().find(|told| told.resolved.is_none()).unwrap();
    assert!(waiting.sentence.ends_with("until you decide."), "{}", waiting.sentence);
    let conflict = &waiting.about["conflict"];
    side.bridge
        .resolve("anna", conflict, ConflictStatus::ResolvedLocal, Default::default(), String::new())
        .await
        .unwrap();
    side.bridge.settled(&mapping).await;
    side.sync(&mapping).await;
    assert!(open(&side).await.is_empty(), "{:?}", told(&side).await);
}

// S3-156: more than fifty conflicts wait
#[tokio::test(flavor = "multi_thread")]
async fn more_than_fifty_open_conflicts_are_told_together() {
    let radicale = radicale!();
    let side = Side::new().await;
    for n in 0..51 {
        side.put(&format!("{n}.ics"), &event(&format!("{n}@x"), "SUMMARY:Base")).await;
    }
    let mapping = map(&side, &url(&radicale), Policy::Ask).await;
    assert_eq!(side.sync(&mapping).await.remote.inserted, 51);
    let clash = async |numbers: std::ops::Range<u32>| {
        for n in numbers {
            side.put(&format!("{n}.ics"), &event(&format!("{n}@x"), "SUMMARY:Ours")).await;
            radicale.put(&format!("/anna/work/{n}%40x.ics"), &event(&format!("{n}@x"), "SUMMARY:Theirs"));
        }
        side.sync(&mapping).await.conflicts
    };
    let many = async || open(&side).await.contains(&"conflicts_open".to_owned());
    assert_eq!((clash(0..50).await, many().await), (50, false));
    assert_eq!((clash(50..51).await, many().await), (1, true));
    let one = side.bridge.conflicts("anna", None, 1).await.unwrap().remove(0);
    side.bridge
        .resolve("anna", &one.id, ConflictStatus::ResolvedLocal, Default::default(), String::new())
        .await
        .unwrap();
    side.bridge.settled(&mapping).await;
    side.sync(&mapping).await;
    assert!(!many().await, "{:?}", open(&side).await);
}

// S3-155: more than 5 % of an hour's attempts failed; an hour later that is over
#[tokio::test(flavor = "multi_thread")]
async fn too_many_failures_within_an_hour_are_told_with_their_number() {
    let radicale = radicale!();
    let proxy = Proxy::before(radicale.address());
    let side = Side::new().await;
    for n in 10..35 {
        side.put(&format!("{n}.ics"), &event(&format!("{n}@x"), "SUMMARY:E")).await;
    }
    proxy.fault(|request| {
        let bad =
            request.method == "PUT" && (request.target.contains("/11") || request.target.contains("/12"));
        bad.then(|| Bad::Answer(403, vec![], String::new()))
    });
    let mapping = map(&side, &proxy.url(), Policy::Newest).await;
    assert_eq!(side.sync(&mapping).await.remote.inserted, 23);
    let rate = async || {
        let all = told(&side).await.into_iter().filter(|told| told.resolved.is_none());
        all.filter(|told| told.kind.as_str() == "failure_rate").map(|told| told.sentence).next()
    };
    let sentence = rate().await.unwrap();
    assert!(sentence.contains("2 of 25 attempts"), "{sentence}");
    proxy.well();
    side.later(Duration::from_secs(2 * 3600));
    side.sync(&mapping).await;
    assert_eq!(rate().await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn deletions_in_bulk_are_told_until_somebody_decides() {
    let radicale = radicale!();
    let side = Side::new().await;
    for n in 0..22 {
        side.put(&format!("{n}.ics"), &event(&format!("{n}@x"), "SUMMARY:E")).await;
    }
    let mapping = map(&side, &url(&radicale), Policy::Newest).await;
    assert_eq!(side.sync(&mapping).await.remote.inserted, 22);
    for n in 0..22 {
        side.delete(&format!("{n}.ics")).await;
    }
    assert_eq!(side.sync(&mapping).await.status, RunStatus::Deferred);
    assert_eq!(open(&side).await, ["deletions_held"]);
    let sentence = told(&side).await.remove(0).sentence;
    assert!(sentence.contains("wait for your word") && sentence.contains("22"), "{sentence}");
    assert_eq!(side.sync_with(&mapping, true).await.remote.deleted, 22);
    assert!(open(&side).await.is_empty());
}

// S3-154: a token that is no longer accepted
#[tokio::test(flavor = "multi_thread")]
async fn a_password_that_changed_is_told_until_the_new_one_is_given() {
    let radicale = radicale!();
    let side = Side::new().await;
    let mapping = map(&side, &url(&radicale), Policy::Newest).await;
    side.sync(&mapping).await;
    assert!(told(&side).await.is_empty());
    radicale.set_passwords(&[("anna", "another")]);
    assert_eq!(side.sync(&mapping).await.status, RunStatus::Failed);
    assert_eq!(open(&side).await, ["token_expired"]);
    let connection = side.bridge.connections("anna").await.unwrap().remove(0).0;
    let new = Some(Secret::new("another"));
    side.bridge.reconnect("anna", &connection.id, None, new).await.unwrap();
    assert!(open(&side).await.is_empty(), "{:?}", told(&side).await);
}

/// Lets the follower look once and waits for what it began.
async fn look(side: &Side, mappings: &[&str]) {
    let follower = Wakeful(side.bridge.clone());
    // It may have been woken since the last look.
    let _ = follower.woken().now_or_never();
    follower.tick().await;
    for mapping in mappings {
        side.bridge.settled(mapping).await;
    }
}

async fn runs(side: &Side, mapping: &str) -> usize {
    side.bridge.runs("anna", Some(mapping), 1000).await.unwrap().len()
}

// S3-095, S3-103, S4-077: one breaker for an account; others notice nothing
#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_cannot_be_reached_is_left_alone_and_tried_by_one() {
    let radicale = radicale!();
    radicale.calendar("/anna/home/");
    let (proxy, steady) = (Proxy::before(radicale.address()), Proxy::before(radicale.address()));
    let side = Side::new().await;
    let one = map(&side, &proxy.url(), Policy::Newest).await;
    let connection = side.bridge.connections("anna").await.unwrap().remove(0).0;
    let home = side.bridge.remote_calendars("anna", &connection.id).await.unwrap();
    let home = home.into_iter().find(|c| c.id.0.ends_with("/anna/home/")).unwrap();
    let two = side.map_to(&connection.id, home.id, Direction::Both, Policy::Newest).await;
    let other = side.map(&steady.url(), WORK, Direction::Both, Policy::Newest).await;
    for mapping in [&one, &two, &other] {
        side.sync(mapping).await;
    }
    proxy.fault(|_| Some(Bad::Answer(500, vec![], String::new())));
    // Three failures in a row, whichever mapping they happen to.
    for mapping in [&one, &two, &one] {
        assert_eq!(side.sync(mapping).await.status, RunStatus::Failed);
    }
    let breaker = async |side: &Side| side.bridge.connection("anna", &connection.id).await.unwrap().1.breaker;
    assert_eq!(breaker(&side).await.opened, 1);
    // Their times come, the account's has not.
    let (ones, twos) = (runs(&side, &one).await, runs(&side, &two).await);
    side.later(Duration::from_secs(59));
    look(&side, &[&one, &two, &other]).await;
    assert_eq!((runs(&side, &one).await, runs(&side, &two).await), (ones, twos));
    assert_eq!(side.sync(&other).await.status, RunStatus::Success, "another account is none of this");
    // A restart does not forget it.
    let side = side.restart().await;
    look(&side, &[&one, &two, &other]).await;
    assert_eq!((runs(&side, &one).await, runs(&side, &two).await), (ones, twos));
    let mut opened = 1;
    let mut tries = 0;
    while opened < 3 {
        side.later(Duration::from_secs(60));
        look(&side, &[&one, &two, &other]).await;
        let now = breaker(&side).await.opened;
        assert!(now <= opened + 1, "more than one tried");
        opened = now;
        tries += 1;
        assert!(tries < 60);
    }
    assert_eq!(open(&side).await, ["disconnected"]);
    // It answers again: the one that tries closes it, and both are brought together at once.
    proxy.well();
    let mut tries = 0;
    let health = async |side: &Side| side.bridge.connection("anna", &connection.id).await.unwrap().1.health;
    while health(&side).await != Health::Active {
        side.later(Duration::from_secs(60));
        look(&side, &[&one, &two, &other]).await;
        tries += 1;
        assert!(tries < 60);
    }
    assert_eq!(breaker(&side).await, Default::default());
    look(&side, &[&one, &two]).await;
    for mapping in [&one, &two] {
        assert_eq!(side.state(mapping).await.sentence, "", "it went on by itself");
    }
    assert!(open(&side).await.is_empty());
}

// A Retry-After is the account's, not the mapping's that heard of it
#[tokio::test(flavor = "multi_thread")]
async fn what_one_mapping_is_asked_to_wait_for_all_of_the_account_wait_for() {
    let radicale = radicale!();
    radicale.calendar("/anna/home/");
    let proxy = Proxy::before(radicale.address());
    let side = Side::new().await;
    let one = map(&side, &proxy.url(), Policy::Newest).await;
    let connection = side.bridge.connections("anna").await.unwrap().remove(0).0;
    let home = side.bridge.remote_calendars("anna", &connection.id).await.unwrap();
    let home = home.into_iter().find(|c| c.id.0.ends_with("/anna/home/")).unwrap();
    let two = side.map_to(&connection.id, home.id, Direction::Both, Policy::Newest).await;
    radicale.calendar("/anna/third/");
    let third = side.bridge.remote_calendars("anna", &connection.id).await.unwrap();
    let third = third.into_iter().find(|c| c.id.0.ends_with("/anna/third/")).unwrap();
    let three = side.map_to(&connection.id, third.id, Direction::Pull, Policy::Newest).await;
    let work = side.bridge.mapping("anna", &one).await.unwrap().0.remote.0;
    let collection = side.calendar().await.id();
    proxy.fault(|_| Some(Bad::Answer(429, vec![("Retry-After".into(), "120".into())], String::new())));
    assert_eq!(side.sync(&one).await.status, RunStatus::Deferred);
    proxy.well();
    proxy.seen();
    match side.bridge.sync("anna", &two, false).await {
        Err(BridgeError::Wait(wait)) => assert_eq!(wait, Duration::from_secs(120)),
        other => panic!("{other:?}"),
    }
    look(&side, &[&one, &two]).await;
    assert!(proxy.seen().is_empty(), "nobody calls meanwhile");
    // Nor does anybody who wants something else of the account, and each is told how long to wait.
    let wait = |told: Result<(), BridgeError>| match told {
        Err(BridgeError::Far(Trouble::Budget(sentence, wait))) => {
            assert!(sentence.ends_with("it is called again in 2 minutes."), "{sentence}");
            wait
        }
        other => panic!("{other:?}"),
    };
    let new = |remote: &str| {
        let remote = RemoteId(remote.to_owned());
        NewMapping { direction: Direction::Pull, ..NewMapping::new(collection, &connection.id, remote) }
    };
    let both = |mapping: &mut Mapping| {
        mapping.direction = Direction::Both;
        Ok(())
    };
    let pull = side.bridge.mapping("anna", &three).await.unwrap().0;
    assert_eq!(pull.direction, Direction::Pull);
    let two_minutes = Duration::from_secs(120);
    assert_eq!(wait(side.bridge.remote_calendars("anna", &connection.id).await.map(|_| ())), two_minutes);
    assert_eq!(wait(side.bridge.preview("anna", &new(&work)).await.map(|_| ())), two_minutes);
    assert_eq!(wait(side.bridge.add_mapping("anna", new("/x/")).await.map(|_| ())), two_minutes);
    assert_eq!(wait(side.bridge.update_mapping("anna", &three, both).await.map(|_| ())), two_minutes);
    let again = side.bridge.reconnect("anna", &connection.id, None, None).await;
    assert_eq!(wait(again.map(|_| ())), two_minutes);
    assert!(proxy.seen().is_empty(), "nobody calls meanwhile");
    side.later(Duration::from_secs(120));
    assert_eq!(side.sync(&two).await.status, RunStatus::Success);
    // What any of them is asked to wait for, all others wait for, also after a restart.
    let side = {
        proxy.fault(|_| Some(Bad::Answer(429, vec![("Retry-After".into(), "300".into())], String::new())));
        let told = side.bridge.preview("anna", &new(&work)).await;
        assert!(matches!(told, Err(BridgeError::Far(Trouble::Slow(Some(_))))), "{told:?}");
        proxy.well();
        side.restart().await
    };
    proxy.seen();
    side.later(Duration::from_secs(299));
    match side.bridge.sync("anna", &one, false).await {
        Err(BridgeError::Wait(wait)) => assert_eq!(wait, Duration::from_secs(1)),
        other => panic!("{other:?}"),
    }
    let listed = side.bridge.remote_calendars("anna", &connection.id).await;
    assert!(matches!(listed, Err(BridgeError::Far(Trouble::Budget(..)))), "{listed:?}");
    assert!(proxy.seen().is_empty(), "nobody calls meanwhile");
    side.later(Duration::from_secs(1));
    assert_eq!(side.sync(&one).await.status, RunStatus::Success);
}

// E12, S4-073, S4-074, S3-171: the budget defers, says until when, and outlives a restart
#[tokio::test(flavor = "multi_thread")]
async fn a_budget_that_is_used_up_defers_until_it_is_filled_again() {
    let radicale = radicale!();
    // Slow enough that no call waits: it is put off.
    let caldav = Rate { minute: 10, day: 40, saved: 3, peak: None };
    let rates = Rates { caldav, ..Rates::default() };
    let side = Side::with(Settings { rates, ..Settings::default() }).await;
    // Days are UTC's: not a few minutes before the next one.
    let day = 86_400_000;
    side.later(Duration::from_millis(u64::try_from(day + day / 4 - side.now() % day).unwrap()));
    for n in 0..30 {
        side.put(&format!("{n}.ics"), &event(&format!("{n}@x"), "SUMMARY:E")).await;
    }
    let mapping = map(&side, &url(&radicale), Policy::Newest).await;
    let run = side.sync(&mapping).await;
    assert_eq!(run.status, RunStatus::Deferred, "{run:?}");
    assert!(run.failures[0].reason.contains("10 calls a minute"), "{run:?}");
    let (first, state) = (radicale.names(WORK).len(), side.state(&mapping).await);
    assert!(first > 0 && state.pace.failures == 0 && state.pace.next.is_some(), "{first} {state:?}");
    assert!(matches!(side.bridge.sync("anna", &mapping, false).await, Err(BridgeError::Wait(_))));
    // A minute later it goes on where it was, until the day's calls are used up.
    side.later(Duration::from_secs(61));
    let run = side.sync(&mapping).await;
    assert_eq!(run.status, RunStatus::Deferred, "{run:?}");
    assert!(run.failures[0].reason.contains("40 calls a day"), "{run:?}");
    assert!(radicale.names(WORK).len() > first);
    assert_eq!(open(&side).await, ["budget_used"]);
    let side = side.restart().await;
    assert_eq!(side.bridge.connections("anna").await.unwrap()[0].1.health, Health::RateLimited);
    side.later(Duration::from_secs(600));
    let told = side.bridge.sync("anna", &mapping, false).await;
    assert!(matches!(told, Err(BridgeError::Wait(_))), "{told:?}");
    // The next day.
    side.later(Duration::from_secs(24 * 3600));
    side.sync(&mapping).await;
    side.later(Duration::from_secs(120));
    side.sync(&mapping).await;
    assert_eq!(radicale.names(WORK).len(), 30, "nothing was lost and nothing doubled");
    assert!(open(&side).await.is_empty());
}

// S1-037, S2-030, E25: a booking overlapped from outside
#[tokio::test(flavor = "multi_thread")]
async fn an_event_from_outside_that_overlaps_a_booking_is_told() {
    let radicale = radicale!();
    let at = |uid: &str, hours: (u32, u32), more: &str| {
        let soon = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(24 * 30);
        let day = soon.strftime("%Y%m%d").to_string();
        event(uid, more)
            .replace("20260105T090000Z", &format!("{day}T{:02}0000Z", hours.0))
            .replace("20260105T100000Z", &format!("{day}T{:02}0000Z", hours.1))
    };
    for (detect, told_of) in [(Detect::Off, 0), (Detect::Bookings, 1), (Detect::All, 2)] {
        let side = Side::with(Settings { detect_overlap: detect, ..Settings::default() }).await;
        let mapping = map(&side, &url(&radicale), Policy::Newest).await;
        side.put("b.ics", &at("b@x", (9, 11), "SUMMARY:Massage\r\nX-KALENDS-BOOKING:7")).await;
        side.put("o.ics", &at("o@x", (10, 12), "SUMMARY:Other")).await;
        side.sync(&mapping).await;
        assert!(told(&side).await.is_empty(), "what is here overlaps as it likes");
        radicale.put("/anna/work/there.ics", &at("there@x", (10, 11), "SUMMARY:Dentist"));
        radicale.put("/anna/work/free.ics", &at("free@x", (10, 11), "SUMMARY:Free\r\nTRANSP:TRANSPARENT"));
        side.sync(&mapping).await;
        let all = told(&side).await;
        assert_eq!(all.len(), told_of, "{all:?}");
        if detect == Detect::Bookings {
            let sentence = &all[0].sentence;
            let named = sentence.contains("“Dentist”") && sentence.contains("the booking “Massage”");
            assert!(named && sentence.contains(" 10:00 UTC"), "{sentence}");
        }
        radicale.put("/anna/work/there.ics", &at("there@x", (13, 14), "SUMMARY:Dentist"));
        side.sync(&mapping).await;
        assert!(open(&side).await.is_empty());
        side.bridge.close().await;
        for name in radicale.names(WORK) {
            radicale.delete(&format!("{WORK}{}", name.replace('@', "%40")));
        }
    }
}

// S3-154: a consent that ends within 24 hours
#[test]
fn a_consent_that_ends_within_a_day_is_told_before() {
    let kinds = |house: &House| {
        let (status, list) = house.api("GET", "/notifications", None);
        assert_eq!(status, 200, "{list}");
        let items = list["items"].as_array().unwrap().clone();
        items.into_iter().map(|n| (n["kind"].clone(), n["open"].clone())).collect::<Vec<_>>()
    };
    for (holds, told) in [(None, 0), (Some(7 * 86_400), 0), (Some(3600), 1)] {
        let peer = Peer::start();
        peer.far().consent = holds;
        let house = House::start(peer.config());
        let id = house.connect(&peer, "google");
        assert_eq!(kinds(&house), vec![(json!("token_expiring"), json!(true)); told], "{holds:?}");
        if told > 0 {
            let (_, list) = house.api("GET", "/notifications", None);
            assert_eq!(list["items"][0]["about"]["connection"], id, "{list}");
        }
    }
}

#[test]
fn notices_are_listed_and_read_over_the_api() {
    let radicale = radicale!();
    let setup = crate::dialogue::Setup {
        config: vec!["[bridge]".into(), "allow_private = true".into()],
        ..crate::dialogue::Setup::default()
    };
    let served = Served::start(&setup).unwrap();
    let token = served.token("anna", "read bridges").unwrap();
    let strange = served.token("bert", "read bridges").unwrap();
    let ask_as = |token: &str, method: &str, path: &str, body: Option<Value>| {
        let request = Request {
            method: method.to_owned(),
            target: format!("/api/v1{path}"),
            headers: vec![
                ("Authorization".to_owned(), format!("Bearer {token}")),
                ("Content-Type".to_owned(), "application/json".to_owned()),
            ],
            body: body.map(|b| b.to_string().into_bytes()).unwrap_or_default(),
        };
        let answer = send(served.address(), &request).unwrap();
        (answer.status, serde_json::from_slice::<Value>(&answer.body).unwrap_or_default())
    };
    let ask = |method: &str, path: &str, body: Option<Value>| ask_as(&token, method, path, body);
    assert_eq!(ask("GET", "/notifications", None).1["items"], json!([]));
    let body = json!({"url": url(&radicale), "username": "anna", "password": "geheim-1"});
    let (_, connection) = ask("POST", "/connections/caldav", Some(body));
    let id = connection["id"].as_str().unwrap();
    radicale.set_passwords(&[("anna", "another")]);
    assert_eq!(ask("GET", &format!("/connections/{id}/calendars"), None).0, 422);
    let (_, list) = ask("GET", "/notifications?unread=true", None);
    let notice = &list["items"][0];
    assert_eq!((&notice["kind"], &notice["open"]), (&json!("token_expired"), &json!(true)), "{list}");
    assert_eq!(notice["links"]["connection"], format!("/api/v1/connections/{id}"));
    assert_eq!(notice["read_at"], Value::Null);
    let path = format!("/notifications/{}/read", notice["id"].as_str().unwrap());
    assert_eq!(ask_as(&strange, "POST", &path, None).0, 404);
    assert_eq!(ask_as(&strange, "GET", "/notifications", None).1["items"], json!([]));
    let (status, read) = ask("POST", &path, None);
    assert!(status == 200 && read["read_at"].is_string(), "{read}");
    assert_eq!(ask("GET", "/notifications?unread=true", None).1["items"], json!([]));
    assert_eq!(ask("GET", "/notifications?kind=token_expired", None).1["items"][0]["open"], true);
    assert_eq!(ask("POST", "/notifications/read-all", None).1, json!({"read": 0}));
    assert_eq!(ask("GET", "/notifications?unread=maybe", None).0, 422);
    for bad in ["x", "..%2Fbert", ""] {
        assert_ne!(ask("POST", &format!("/notifications/{bad}/read"), None).0, 200, "{bad}");
    }
    // The cause ends, and with it the notice.
    let given = Some(json!({"password": "another"}));
    assert_eq!(ask("POST", &format!("/connections/{id}/reconnect"), given).0, 200);
    assert_eq!(ask("GET", "/notifications", None).1["items"][0]["open"], false);
}

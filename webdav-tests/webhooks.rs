//! Webhooks to other programs: what is told whoever did it, how it is signed, in which order, how often it is tried, and
//! that no crash loses any of it.

mod desk;
pub(crate) mod receiver;

use std::sync::Arc;
use std::time::{Duration, Instant};

use kalends::sim::caldav::Caldav as Upstream;
use kalends::sim::{Clock, Options, Running, Server};
use kalends::webhook::{Hook, Why};
use serde_json::{Value, json};

use crate::app::{App, event, problem};
use crate::dialogue::{Host as _, Request, send};
use crate::trust::Program;
use crate::wait::eventually;
use desk::Desk;
use receiver::Receiver;

const ALL: &str = "read events bookings bridges";
const LOCAL: &[&str] = &["[bridge]", "allow_private = true"];

fn subscribe(app: &App, receiver: &Receiver, events: &[&str]) -> Value {
    let (status, hook) = app.ask("POST", "/webhooks", Some(json!({"url": receiver.url(), "events": events})));
    assert_eq!(status, 201, "{hook}");
    hook
}

fn id(document: &Value) -> &str {
    document["id"].as_str().unwrap()
}

fn ok(app: &App, method: &str, path: &str, body: Option<Value>) -> Value {
    let (status, document) = app.ask(method, path, body);
    assert!((200..300).contains(&status), "{method} {path}: {status} {document}");
    document
}

fn wish(start: &str) -> Value {
    json!({"start": start, "duration": "PT45M", "service": "Haircut", "customer": {"name": "Eva Example"}})
}

// S0-008, S0-016, S3-038, B-12, B-22: an event is told of whether a calendar app or a program wrote it, signed
#[test]
fn events_are_told_whoever_writes_them() {
    let app = App::with(ALL, LOCAL);
    let receiver = Receiver::start();
    let hook = subscribe(&app, &receiver, &["event.*"]);
    let secret = hook["secret"].as_str().unwrap();
    assert!(secret.starts_with("whsec_"), "{hook}");
    let shown = app.get(&format!("/webhooks/{}", id(&hook)));
    assert_eq!((shown.get("secret"), &shown["status"]), (None, &json!("active")), "it is told once");
    assert_eq!(app.dav("PUT", "a.ics", &event("a@x", "Lunch", "20310106T090000Z")).status, 201);
    eventually("the first message", || !receiver.log().is_empty());
    let calendar = app.calendar();
    let path = format!("/calendars/{calendar}/events/a%40x");
    ok(&app, "PATCH", &path, Some(json!({"title": "Dinner"})));
    eventually("the second", || receiver.log().len() == 2);
    assert_eq!(app.dav("DELETE", "a.ics", "").status, 204);
    ok(
        &app,
        "POST",
        &format!("/calendars/{calendar}/events"),
        Some(json!({"uid": "b@x", "title": "B",
        "start": "2031-01-07T09:00:00Z", "duration": "PT1H"})),
    );
    eventually("the others", || receiver.log().len() == 4);
    let log = receiver.log();
    let kinds: Vec<&str> = ["event.created", "event.updated", "event.deleted", "event.created"].into();
    assert_eq!(receiver.kinds(), kinds);
    // S3-153: whoever runs the server sees how many were taken.
    let metrics = &app.served.guard().house().metrics;
    // It is counted a moment after it was answered.
    eventually("the count", || {
        let counted = metrics.text(&kalends::metrics::Standing::default());
        counted.contains("kalends_webhook_deliveries_total{outcome=\"taken\"} 4")
    });
    for (at, got) in log.iter().enumerate() {
        assert_eq!(got.signed(secret), 1, "{:?}", got.headers);
        assert_eq!(got.id(), format!("msg_{}_{}", id(&hook), at + 1));
        assert_eq!(got.headers["content-type"], "application/json");
        assert_eq!((&got.path, &got.json()["sequence"]), (&"/in".to_owned(), &json!(at + 1)));
        assert_eq!(got.json()["data"]["calendar"], json!(calendar));
    }
    let data = |at: usize| log[at].json()["data"].clone();
    assert_eq!((&data(0)["uid"], &data(0)["event"]["title"]), (&json!("a@x"), &json!("Lunch")));
    assert!(data(0)["by"].as_str().unwrap().starts_with("anna, "), "{}", data(0));
    assert_eq!(
        (&data(1)["event"]["title"], &data(1)["by"]),
        (&json!("Dinner"), &json!("anna, over the API with dialogue"))
    );
    assert_eq!((&data(2)["uid"], &data(2)["event"]), (&json!("a@x"), &Value::Null));
    // What is told is what the API shows.
    assert_eq!(data(3)["event"], app.get(&format!("/calendars/{calendar}/events/b%40x")));
    let deliveries = app.get(&format!("/webhooks/{}/deliveries", id(&hook)));
    let items = deliveries["items"].as_array().unwrap();
    assert_eq!(items.iter().map(|d| d["number"].as_u64().unwrap()).collect::<Vec<_>>(), [4, 3, 2, 1]);
    eventually("the log of the last", || {
        let path = format!("/webhooks/{}/deliveries/4", id(&hook));
        app.get(&path)["status"] == "delivered"
    });
    let one = app.get(&format!("/webhooks/{}/deliveries/{}", id(&hook), log[0].id()));
    assert_eq!((&one["status"], &one["attempts"][0]["status"]), (&json!("delivered"), &json!(204)), "{one}");
    assert_eq!(one["payload"], log[0].json());
    let page = app.get(&format!("/webhooks/{}/deliveries?limit=3", id(&hook)));
    let next = page["next_cursor"].as_str().unwrap();
    let rest = app.get(&format!("/webhooks/{}/deliveries?limit=3&cursor={next}", id(&hook)));
    assert_eq!((&rest["items"][0]["number"], &rest["next_cursor"]), (&json!(1), &Value::Null), "{rest}");
}

// B-12, B-22: what becomes of a booking, also by the hand of its owner; and only of the calendars that were named
#[test]
fn bookings_are_told_whoever_changes_them() {
    let app = App::with(ALL, LOCAL);
    let (receiver, other) = (Receiver::start(), Receiver::start());
    subscribe(&app, &receiver, &["booking.*"]);
    let elsewhere = ok(&app, "POST", "/calendars", Some(json!({"name": "elsewhere"})));
    let only = json!({"url": other.url(), "events": ["*"], "calendars": [id(&elsewhere)]});
    ok(&app, "POST", "/webhooks", Some(only));
    let booking = ok(&app, "POST", "/bookings", Some(wish("2031-01-06T09:00:00Z")));
    let path = format!("/bookings/{}", id(&booking));
    eventually("the booking", || receiver.log().len() == 2);
    assert_eq!(receiver.kinds(), ["booking.created", "booking.confirmed"]);
    let told = receiver.log()[0].json();
    assert_eq!((&told["data"]["booking"], &told["data"]["previous"]), (&booking, &Value::Null));
    receiver.forget();
    ok(&app, "PATCH", &path, Some(json!({"start": "2031-01-06T10:00:00Z"})));
    eventually("that it moved", || receiver.log().len() == 1);
    let moved = receiver.log()[0].json();
    assert_eq!(moved["type"], "booking.rescheduled");
    assert_eq!(moved["data"]["previous"]["start"], "2031-01-06T09:00:00Z");
    // By hand, in a calendar app.
    receiver.forget();
    let name = format!("{}.ics", id(&booking));
    let text = String::from_utf8(app.dav("GET", &name, "").body).unwrap();
    assert_eq!(app.dav("PUT", &name, &text.replace("20310106T1", "20310107T1")).status, 204);
    eventually("that it was moved by hand", || receiver.log().len() == 1);
    assert_eq!(receiver.kinds(), ["booking.rescheduled"]);
    receiver.forget();
    ok(&app, "PATCH", &path, Some(json!({"notes": "bring tea"})));
    eventually("that more was said", || receiver.log().len() == 1);
    assert_eq!(receiver.kinds(), ["booking.updated"]);
    receiver.forget();
    assert_eq!(app.dav("DELETE", &name, "").status, 204);
    eventually("that it was called off by hand", || receiver.log().len() == 1);
    assert_eq!(receiver.kinds(), ["booking.cancelled"]);
    // A hold, confirmed; a request, rejected.
    receiver.forget();
    let mut hold = wish("2031-02-06T09:00:00Z");
    hold["hold_for"] = json!("PT5M");
    let held = ok(&app, "POST", "/bookings", Some(hold));
    eventually("the hold", || receiver.log().len() == 1);
    assert_eq!(receiver.log()[0].json()["data"]["booking"]["status"], "held");
    ok(&app, "POST", &format!("/bookings/{}/confirm", id(&held)), Some(json!({})));
    eventually("that it is a booking", || receiver.log().len() == 2);
    ok(&app, "PATCH", "/booking-settings", Some(json!({"needs_confirmation": true})));
    let asked = ok(&app, "POST", "/bookings", Some(wish("2031-03-06T09:00:00Z")));
    ok(&app, "PATCH", &format!("/bookings/{}", id(&asked)), Some(json!({"status": "rejected"})));
    eventually("that it was rejected", || receiver.kinds().last().is_some_and(|k| k == "booking.rejected"));
    let kinds = receiver.kinds();
    assert_eq!(kinds[..3], ["booking.created", "booking.confirmed", "booking.created"], "{kinds:?}");
    // The other calendar heard of none of it.
    assert_eq!(other.of("booking.created").len() + other.of("event.created").len(), 0, "{:?}", other.kinds());
    let event = json!({"uid": "c", "title": "C", "start": "2031-01-07T09:00:00Z", "duration": "PT1H"});
    ok(&app, "POST", &format!("/calendars/{}/events", id(&elsewhere)), Some(event));
    eventually("the event there", || other.of("event.created").len() == 1);
}

/// A far side with a calendar of anna's.
struct Far {
    _upstream: Arc<Upstream>,
    server: Running,
}

impl Far {
    fn start(app: &App) -> Far {
        app.served.runtime().block_on(async {
            let clock = Clock::fixed(1_790_000_000_000);
            let upstream = Arc::new(Upstream::start("anna", "geheim", clock.clone()).await.unwrap());
            let options = Options { clock, ..Options::default() };
            let server = Server::start(options, Arc::clone(&upstream) as Arc<_>).await.unwrap();
            Far { _upstream: upstream, server }
        })
    }

    fn put(&self, calendar: &str, uid: &str, text: &str) {
        use base64::Engine as _;
        let at = self.server.url().trim_start_matches("http://").trim_end_matches('/').parse().unwrap();
        let both = base64::engine::general_purpose::STANDARD.encode("anna:geheim");
        let headers = vec![("Authorization".to_owned(), format!("Basic {both}"))];
        let target = format!("{calendar}{uid}.ics");
        let request = Request { method: "PUT".into(), target, headers, body: text.as_bytes().to_vec() };
        let answer = send(at, &request).unwrap();
        assert!(matches!(answer.status, 201 | 204), "{}", answer.show());
    }
}

// S1-039, S4-019, S4-070, S4-096, B-12: what comes from a far side, how its runs end, and what clashes
#[test]
fn what_bridges_do_is_told() {
    let lines = ["[bridge]", "allow_private = true", "window_past = \"all\"", "window_future = \"all\""];
    let app = App::with(ALL, &lines);
    let far = Far::start(&app);
    let receiver = Receiver::start();
    subscribe(&app, &receiver, &["event.*", "sync.*", "conflict.created"]);
    let credentials = json!({"url": far.server.url(), "username": "anna", "password": "geheim"});
    let connection = ok(&app, "POST", "/connections/caldav", Some(credentials));
    let there = app.get(&format!("/connections/{}/calendars", id(&connection)));
    let remote = there["items"][0]["id"].as_str().unwrap().to_owned();
    let path = url::Url::parse(&remote).map_or(remote.clone(), |url| url.path().to_owned());
    far.put(&path, "dentist", &event("dentist", "Dentist", "20310106T083000Z"));
    let here = app.calendar();
    let wish = json!({"calendar": here, "connection": id(&connection), "remote_calendar": remote,
                      "direction": "both", "conflict_policy": "ask"});
    let mapping = ok(&app, "POST", "/mappings", Some(wish));
    let mapping = format!("/mappings/{}", id(&mapping));
    eventually("the event from there", || receiver.of("event.created").len() == 1);
    let created = receiver.of("event.created")[0].json();
    assert!(created["data"]["by"].as_str().unwrap().starts_with("the bridge"), "{created}");
    let inserted = |got: &receiver::Got| got.json()["data"]["run"]["local"]["inserted"] == 1;
    eventually("the run", || receiver.of("sync.completed").iter().any(inserted));
    let run = receiver.of("sync.completed").into_iter().find(inserted).unwrap().json();
    let wrote = json!([{"uid": "dentist", "side": "local", "done": "inserted"}]);
    assert_eq!((&run["data"]["events"], &run["data"]["calendar"]), (&wrote, &json!(here)), "{run}");
    assert_eq!(run["data"]["run"], app.get(&format!("/runs/{}", id(&run["data"]["run"]))));
    // Both sides change it while nobody carries anything over.
    ok(&app, "PATCH", &mapping, Some(json!({"enabled": false})));
    far.put(&path, "dentist", &event("dentist", "Dentist, upstairs", "20310106T083000Z"));
    ok(
        &app,
        "PATCH",
        &format!("/calendars/{here}/events/dentist"),
        Some(json!({"title": "Dentist, downstairs"})),
    );
    ok(&app, "PATCH", &mapping, Some(json!({"enabled": true})));
    eventually("the conflict", || receiver.of("conflict.created").len() == 1);
    let conflict = receiver.of("conflict.created")[0].json();
    assert_eq!(conflict["data"]["conflict"]["uid"], "dentist", "{conflict}");
    assert_eq!(conflict["data"]["conflict"]["status"], "pending", "{conflict}");
    // Nobody is there any more.
    drop(far);
    ok(&app, "POST", &format!("{mapping}/sync"), None);
    eventually("that it failed", || !receiver.of("sync.failed").is_empty());
    let failed = receiver.of("sync.failed")[0].json();
    assert!(!failed["data"]["run"]["failures"].as_array().unwrap().is_empty(), "{failed}");
}

// S3-038: whoever may not read what is told cannot subscribe to it, nor have another's messages sent elsewhere
#[test]
fn a_token_hears_of_what_it_could_read() {
    let app = App::with(ALL, LOCAL);
    let receiver = Receiver::start();
    let hook = subscribe(&app, &receiver, &["*"]);
    let path = format!("/webhooks/{}", id(&hook));
    let counter = app.served.token("anna", "bookings").unwrap();
    let say = |token: &str, method: &str, path: &str, body: Value| {
        app.send(token, method, path, &[], (method != "GET").then_some(&body))
    };
    let url = receiver.url();
    for events in [json!(["event.created"]), json!(["booking.*", "sync.failed"]), json!(["*"])] {
        let answer = say(&counter, "POST", "/webhooks", json!({"url": url, "events": events}));
        problem(&answer, 403, "missing-scope");
    }
    let own =
        say(&counter, "POST", "/webhooks", json!({"url": url, "events": ["booking.*", "hold.expired"]}));
    assert_eq!(own.status, 201, "{}", own.show());
    problem(&say(&counter, "GET", &path, Value::Null), 403, "missing-scope");
    problem(&say(&counter, "PATCH", &path, json!({"url": url})), 403, "missing-scope");
    problem(&say(&counter, "DELETE", &path, json!({})), 403, "missing-scope");
    for act in ["rotate-secret", "test", "pause", "resume"] {
        problem(&say(&counter, "POST", &format!("{path}/{act}"), json!({})), 403, "missing-scope");
    }
    problem(&say(&counter, "POST", &format!("{path}/replay"), json!({"from": 1})), 403, "missing-scope");
    problem(&say(&counter, "GET", &format!("{path}/deliveries"), Value::Null), 403, "missing-scope");
    let seen = crate::app::document(&say(&counter, "GET", "/webhooks", Value::Null));
    assert_eq!(seen["items"].as_array().unwrap().len(), 1, "{seen}");
    // Somebody else's does not exist.
    let bert = app.served.token("bert", ALL).unwrap();
    for (method, path) in
        [("GET", path.clone()), ("DELETE", path.clone()), ("GET", format!("{path}/deliveries"))]
    {
        problem(&say(&bert, method, &path, json!({})), 404, "not-found");
    }
    let refused = [
        (json!({"url": url, "events": []}), "events"),
        (json!({"url": url, "events": ["event.moved"]}), "events[0]"),
        (json!({"url": "nowhere", "events": ["*"]}), "url"),
        (json!({"url": "ftp://x.example/", "events": ["*"]}), "url"),
        (json!({"url": "https://a:b@x.example/", "events": ["*"]}), "url"),
        (json!({"url": url, "events": ["*"], "calendars": ["9999"]}), "calendars[0]"),
        (json!({"url": url, "events": ["*"], "colour": 1}), "colour"),
    ];
    for (wish, field) in refused {
        let told = problem(&say(&app.token, "POST", "/webhooks", wish.clone()), 422, "invalid");
        assert_eq!(told["field"], field, "{wish} {told}");
    }
}

// S3-031, B-22: a secret is told once, is exchanged without a gap, and is not in the store in the clear
#[test]
fn secrets_are_exchanged_without_a_gap_and_sealed() {
    let app = App::with(ALL, LOCAL);
    let receiver = Receiver::start();
    let hook = subscribe(&app, &receiver, &["event.*"]);
    let path = format!("/webhooks/{}", id(&hook));
    let old = hook["secret"].as_str().unwrap().to_owned();
    let rotated = ok(&app, "POST", &format!("{path}/rotate-secret"), Some(json!({"keep_old_for": "PT1H"})));
    let new = rotated["secret"].as_str().unwrap().to_owned();
    assert_ne!(old, new);
    assert!(rotated["old_secret_until"].is_string(), "{rotated}");
    app.dav("PUT", "a.ics", &event("a", "A", "20310106T090000Z"));
    eventually("the message", || receiver.log().len() == 1);
    let got = receiver.log().remove(0);
    assert_eq!((got.signed(&old), got.signed(&new)), (1, 1), "{:?}", got.headers);
    assert_eq!(got.headers["webhook-signature"].split(' ').count(), 2);
    // At once.
    let last = ok(&app, "POST", &format!("{path}/rotate-secret"), Some(json!({"keep_old_for": "PT0S"})));
    let last = last["secret"].as_str().unwrap().to_owned();
    // A receiver that says a secret back does not have it kept.
    let (said, tested) = (last.clone(), format!("{path}/test"));
    receiver.says(move |_| Some((400, String::new(), format!("your secret is {said}"))));
    let answer = ok(&app, "POST", &tested, None);
    assert_eq!((&answer["ok"], &answer["status"]), (&json!(false), &json!(400)), "{answer}");
    assert_eq!(answer["response"], "your secret is …");
    let got = receiver.log().pop().unwrap();
    assert_eq!(
        (got.kind().as_str(), got.signed(&old), got.signed(&new), got.signed(&last)),
        ("webhook.test", 0, 0, 1)
    );
    receiver.status(200);
    assert_eq!(ok(&app, "POST", &tested, None)["ok"], true);
    let dump = app.served.backup();
    for secret in [&old, &new, &last] {
        let bare = secret.trim_start_matches("whsec_").as_bytes();
        assert!(
            !dump.windows(bare.len()).any(|window| window == bare),
            "a secret lies in the store as it is"
        );
    }
}

// S3-038: nobody reaches a neighbour of the server through it, by number or by name
#[test]
fn private_addresses_are_not_called() {
    let app = App::with(ALL, &[]);
    let receiver = Receiver::start();
    let post = |url: String| {
        app.send(&app.token, "POST", "/webhooks", &[], Some(&json!({"url": url, "events": ["*"]})))
    };
    for url in
        ["https://127.0.0.1/", "https://10.0.0.1/", "https://[::1]:8443/x", "https://169.254.169.254/latest"]
    {
        let told = problem(&post(url.to_owned()), 422, "invalid");
        assert!(told["field"] == "url" && told["detail"].as_str().unwrap().contains("private"), "{told}");
    }
    let told = problem(&post("http://example.org/".into()), 422, "invalid");
    assert!(told["detail"].as_str().unwrap().contains("https"), "{told}");
    // A name is looked at when it is called.
    let answer = post(format!("https://localhost:{}/in", receiver.port()));
    assert_eq!(answer.status, 201, "{}", answer.show());
    let hook = crate::app::document(&answer);
    let tested = ok(&app, "POST", &format!("/webhooks/{}/test", id(&hook)), None);
    assert_eq!((&tested["ok"], &tested["status"]), (&json!(false), &Value::Null), "{tested}");
    assert!(tested["error"].as_str().unwrap().contains("private network"), "{tested}");
    app.dav("PUT", "a.ics", &event("a", "A", "20310106T090000Z"));
    let path = format!("/webhooks/{}", id(&hook));
    eventually("that it is tried again", || app.get(&path)["status"] == "retrying");
    assert!(receiver.log().is_empty());
}

// S0-016: redirects are not followed, and count as failures; a pause keeps everything, and a deletion ends everything
#[test]
fn a_subscription_rests_goes_on_and_ends() {
    let app = App::with(ALL, LOCAL);
    let (receiver, elsewhere) = (Receiver::start(), Receiver::start());
    let hook = subscribe(&app, &receiver, &["event.*"]);
    let path = format!("/webhooks/{}", id(&hook));
    let there = elsewhere.url();
    receiver.says(move |_| Some((307, format!("Location: {there}\r\n"), String::new())));
    let tested = ok(&app, "POST", &format!("{path}/test"), None);
    assert_eq!((&tested["ok"], &tested["status"]), (&json!(false), &json!(307)), "{tested}");
    // A receiver is no target: ten a minute by hand.
    let more = (0..10).map(|_| app.ask("POST", &format!("{path}/test"), None).0).collect::<Vec<_>>();
    assert!(more.contains(&429) && more.iter().all(|status| [200, 429].contains(status)), "{more:?}");
    assert!(receiver.log().len() <= 10);
    receiver.status(200);
    receiver.forget();
    assert_eq!(ok(&app, "POST", &format!("{path}/pause"), None)["paused"]["reason"], "asked");
    for name in ["a", "b"] {
        app.dav("PUT", &format!("{name}.ics"), &event(name, name, "20310106T090000Z"));
    }
    eventually("that both wait", || app.get(&path)["pending"] == 2);
    assert!(receiver.log().is_empty());
    let tag = app.get(&path)["etag"].as_str().unwrap().to_owned();
    let stale =
        app.send(&app.token, "PATCH", &path, &[("If-Match", "\"old\"")], Some(&json!({"description": "x"})));
    assert_eq!(stale.status, 412, "{}", stale.show());
    let url = json!({"url": format!("{}/more", elsewhere.url()), "description": "the other one"});
    let changed = app.send(&app.token, "PATCH", &path, &[("If-Match", &format!("\"{tag}\""))], Some(&url));
    assert_eq!(changed.status, 200, "{}", changed.show());
    assert_eq!(ok(&app, "POST", &format!("{path}/resume"), None)["paused"], Value::Null);
    eventually("both", || elsewhere.log().len() == 2);
    assert_eq!(elsewhere.log()[0].path, "/in/more");
    assert_eq!(app.ask("DELETE", &path, None).0, 204);
    assert_eq!(app.ask("GET", &path, None).0, 404);
    let other = subscribe(&app, &receiver, &["event.*"]);
    app.dav("PUT", "c.ics", &event("c", "c", "20310106T090000Z"));
    eventually("the other subscription's", || receiver.log().len() == 1);
    assert_eq!(
        (elsewhere.log().len(), app.get("/webhooks")["items"][0]["id"].clone()),
        (2, other["id"].clone())
    );
    // Of somebody who is gone nothing is told or kept.
    let bert = app.served.token("bert", ALL).unwrap();
    let wish = json!({"url": elsewhere.url(), "events": ["*"]});
    assert_eq!(app.send(&bert, "POST", "/webhooks", &[], Some(&wish)).status, 201);
    let guard = Arc::clone(app.served.guard());
    app.served.runtime().block_on(guard.remove_user("bert")).unwrap();
    eventually("that nothing of bert's is kept", || {
        let store = Arc::clone(&guard.house().store);
        let rows =
            app.served.runtime().block_on(store.records(kalends::store::Table::Webhook, "", None, 100));
        rows.unwrap().iter().all(|(key, _)| !key.path.contains("bert"))
    });
    // Who has the name afterwards is somebody else.
    let new = kalends::calendar::NewPrincipal { name: "bert".into(), ..Default::default() };
    app.served.runtime().block_on(guard.add_user(new)).unwrap();
    let bert = app.served.token("bert", ALL).unwrap();
    let seen = crate::app::document(&app.send(&bert, "GET", "/webhooks", &[], None));
    assert_eq!(seen["items"], json!([]), "{seen}");
}

// E2 of the contract "at least once": a kill between the commit and the delivery loses none
#[test]
fn a_killed_server_tells_of_all_that_it_acknowledged() {
    let receiver = Receiver::start();
    let mut program = Program::new(vec![("KALENDS_BRIDGE__ALLOW_PRIVATE".into(), "true".into())]);
    let (status, hook) =
        program.api("POST", "/webhooks", Some(json!({"url": receiver.url(), "events": ["event.*"]})));
    assert_eq!(status, 201, "{hook}");
    // It hangs up: what was sent was not taken.
    receiver.says(|_| None);
    let mut written = Vec::new();
    for kill in 0..12 {
        for n in 0..=kill % 3 {
            let uid = format!("e{kill}-{n}");
            let put = program.dav("PUT", &format!("{uid}.ics"), &event(&uid, &uid, "20310106T090000Z"));
            assert_eq!(put.status, 201, "{}", put.show());
            written.push(uid);
        }
        program.kill();
        program.start();
    }
    receiver.status(204);
    let (status, _) = program.api("POST", &format!("/webhooks/{}/resume", id(&hook)), None);
    assert_eq!(status, 200);
    let secret = hook["secret"].as_str().unwrap();
    let taken = || {
        let mut seen = std::collections::BTreeMap::new();
        for got in receiver.log() {
            assert_eq!(got.signed(secret), 1);
            seen.insert(got.id().to_owned(), got.json()["data"]["uid"].as_str().unwrap().to_owned());
        }
        seen
    };
    eventually("all of them", || taken().len() >= written.len());
    let path = format!("/webhooks/{}", id(&hook));
    eventually("that none waits", || program.api("GET", &path, None).1["pending"] == 0);
    // One message for each, under one id, however often it was sent; the order is that of the writes.
    let mut uids: Vec<String> = Vec::new();
    for number in 1..=written.len() {
        uids.push(taken()[&format!("msg_{}_{number}", id(&hook))].clone());
    }
    assert_eq!(uids, written);
    assert_eq!(taken().len(), written.len());
}

fn kinds(all: &[receiver::Got]) -> Vec<String> {
    all.iter().map(receiver::Got::kind).collect()
}

fn numbers(all: &[receiver::Got]) -> Vec<u64> {
    all.iter().map(|got| got.json()["sequence"].as_u64().unwrap()).collect()
}

const HOUR: Duration = Duration::from_secs(3600);

// B-22: the order is kept: while the first is not taken, the others wait
#[tokio::test(flavor = "multi_thread")]
async fn the_order_is_kept_while_the_first_fails() {
    let desk = Desk::new().await;
    let receiver = Receiver::start();
    receiver.status(500);
    let hook = desk.subscribe(&receiver.url(), &["event.*"]).await;
    for n in 1..=4 {
        desk.put(&format!("{n}.ics"), &event(&format!("{n}"), "x", "20310106T090000Z")).await;
        desk.turn().await;
        desk.later(Duration::from_millis(1));
    }
    let failed = desk.stands(&hook, "the first failure", |hook| hook.failures == 1).await;
    assert_eq!((failed.head, failed.next, numbers(&receiver.log())), (1, 5, vec![1]));
    let due = failed.due.unwrap().0 - desk.now();
    assert!((4000..=6000).contains(&due), "{due}");
    receiver.status(200);
    desk.turn().await;
    assert_eq!(receiver.log().len(), 1, "not before its time");
    desk.later(Duration::from_secs(6));
    desk.until("all of them", || receiver.log().len() == 5).await;
    assert_eq!(numbers(&receiver.log()), [1, 1, 2, 3, 4]);
    let log = receiver.log();
    assert_eq!(log[0].id(), log[1].id(), "a retry has the id of the first try");
    assert_ne!(log[0].headers["webhook-timestamp"], log[1].headers["webhook-timestamp"], "and its own time");
    let settled = desk.stands(&hook, "the end", |hook| !hook.waits()).await;
    assert_eq!((settled.failures, settled.due), (0, None));
    let first = desk.deliveries(&hook).await.pop().unwrap();
    assert_eq!(first.attempts.iter().map(|a| a.status).collect::<Vec<_>>(), [Some(500), Some(200)]);
}

async fn fail_once_more(desk: &Desk, hook: &Hook) -> Hook {
    let before = desk.hooks.one("anna", &hook.id).await.unwrap();
    desk.clock.set(before.due.unwrap().0);
    desk.stands(hook, "another failure", |hook| hook.failures > before.failures).await
}

// B-22: tried for more than a day, then it rests, its owner is told, and nothing is lost
#[tokio::test(flavor = "multi_thread")]
async fn after_more_than_a_day_it_rests_and_its_owner_is_told() {
    let desk = Desk::new().await;
    let receiver = Receiver::start();
    receiver.status(503);
    let hook = desk.subscribe(&receiver.url(), &["event.*"]).await;
    desk.put("a.ics", &event("a", "A", "20310106T090000Z")).await;
    let begun = desk.now();
    let mut now = desk.stands(&hook, "the first failure", |hook| hook.failures == 1).await;
    let mut waits = Vec::new();
    while now.paused.is_none() {
        assert!(desk.notices().await.is_empty(), "it is told when it rests, not before");
        waits.push((now.due.unwrap().0 - desk.now()) / 1000);
        now = fail_once_more(&desk, &hook).await;
        if waits.len() == 3 {
            desk.put("b.ics", &event("b", "B", "20310106T090000Z")).await;
        }
    }
    let usual = [5, 300, 1800, 7200, 18_000, 36_000, 36_000, 36_000];
    assert_eq!(waits.len(), usual.len(), "{waits:?}");
    assert!(waits.iter().zip(usual).all(|(wait, usual)| (usual..=usual * 6 / 5).contains(wait)), "{waits:?}");
    assert!(desk.now() - begun > 24 * 3_600_000, "{waits:?}");
    assert_eq!((now.paused.clone().unwrap().why, receiver.log().len()), (Why::Failed, 9));
    let [notice] = &desk.notices().await[..] else { panic!("one notice") };
    assert_eq!((notice.kind.as_str(), &notice.about["webhook"]), ("webhook_paused", &hook.id));
    assert!(notice.sentence.contains("answered 503") && notice.resolved.is_none(), "{}", notice.sentence);
    let (_, shown) = desk.ask("GET", "/notifications", None).await;
    assert!(shown["items"][0]["links"]["webhook"].as_str().unwrap().ends_with(&hook.id), "{shown}");
    // What happens meanwhile waits, also over a restart.
    desk.put("c.ics", &event("c", "C", "20310106T090000Z")).await;
    receiver.status(200);
    receiver.forget();
    let desk = desk.restart().await;
    desk.stands(&hook, "that three wait", |hook| hook.next == 4).await;
    assert!(receiver.log().is_empty());
    let (status, told) = desk.ask("POST", &format!("/webhooks/{}/resume", hook.id), None).await;
    assert_eq!((status, &told["status"]), (200, &json!("active")), "{told}");
    desk.until("all of them", || receiver.log().len() == 3).await;
    assert_eq!(numbers(&receiver.log()), [1, 2, 3]);
    assert!(desk.notices().await[0].resolved.is_some());
}

// Standard Webhooks: Retry-After is heeded, 410 ends it at once
#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_says_when_and_whether_it_is_tried_again() {
    let desk = Desk::new().await;
    let receiver = Receiver::start();
    receiver.says(|_| Some((429, "Retry-After: 7200\r\n".into(), String::new())));
    let hook = desk.subscribe(&receiver.url(), &["event.*"]).await;
    desk.put("a.ics", &event("a", "A", "20310106T090000Z")).await;
    let now = desk.stands(&hook, "the first failure", |hook| hook.failures == 1).await;
    assert_eq!(now.due.unwrap().0 - desk.now(), 7_200_000);
    receiver.says(|_| Some((503, "Retry-After: 99999999\r\n".into(), String::new())));
    let now = fail_once_more(&desk, &hook).await;
    assert_eq!(now.due.unwrap().0 - desk.now(), 24 * 3_600_000, "a day at most");
    receiver.says(|_| None);
    let now = fail_once_more(&desk, &hook).await;
    let last = desk.deliveries(&hook).await[0].attempts.pop().unwrap();
    assert!(last.status.is_none() && last.error.is_some(), "{last:?}");
    assert_eq!((now.failures, now.paused), (3, None));
    receiver.status(410);
    let now = fail_once_more(&desk, &hook).await;
    assert_eq!((now.paused.unwrap().why, now.due), (Why::Gone, None));
    assert!(desk.notices().await[0].sentence.contains("410"));
}

// B-22: once more, and all from a number or a time on, under their old ids
#[tokio::test(flavor = "multi_thread")]
async fn deliveries_are_sent_again_on_demand() {
    let desk = Desk::new().await;
    let receiver = Receiver::start();
    let hook = desk.subscribe(&receiver.url(), &["event.*"]).await;
    let mut third = String::new();
    for n in 1..=4 {
        desk.later(HOUR);
        if n == 3 {
            third = jiff::Timestamp::from_millisecond(desk.now()).unwrap().to_string();
        }
        desk.put(&format!("{n}.ics"), &event(&format!("{n}"), "x", "20310106T090000Z")).await;
        desk.until("it", || receiver.log().len() == n).await;
    }
    desk.stands(&hook, "the end", |hook| !hook.waits()).await;
    let path = format!("/webhooks/{}", hook.id);
    receiver.forget();
    let (status, again) = desk.ask("POST", &format!("{path}/deliveries/2/redeliver"), None).await;
    assert_eq!((status, again["attempts"].as_array().unwrap().len()), (200, 2), "{again}");
    assert_eq!((numbers(&receiver.log()), again["id"].as_str().unwrap()), (vec![2], receiver.log()[0].id()));
    receiver.forget();
    desk.ask("POST", &format!("{path}/replay"), Some(json!({"from": 2}))).await;
    desk.until("three", || receiver.log().len() == 3).await;
    assert_eq!(numbers(&receiver.log()), [2, 3, 4]);
    desk.stands(&hook, "the end", |hook| !hook.waits()).await;
    receiver.forget();
    let (status, told) = desk.ask("POST", &format!("{path}/replay"), Some(json!({"since": third}))).await;
    assert_eq!(status, 200, "{told}");
    desk.until("two", || receiver.log().len() == 2).await;
    assert_eq!(numbers(&receiver.log()), [3, 4]);
    // What waits is not sent out of turn.
    receiver.status(500);
    desk.put("5.ics", &event("5", "x", "20310106T090000Z")).await;
    desk.stands(&hook, "a failure", |hook| hook.failures == 1).await;
    let (status, told) = desk.ask("POST", &format!("{path}/deliveries/5/redeliver"), None).await;
    assert_eq!((status, told["type"].as_str().unwrap()), (409, "/api/v1/problems/waits"));
    receiver.status(200);
    desk.ask("POST", &format!("{path}/resume"), None).await;
    desk.stands(&hook, "the end", |hook| !hook.waits()).await;
    // A month later the old ones are forgotten, and that is said.
    desk.later(HOUR * 24 * 31);
    desk.put("6.ics", &event("6", "x", "20310106T090000Z")).await;
    desk.stands(&hook, "the end", |hook| hook.head == 7).await;
    let begun = Instant::now();
    while desk.deliveries(&hook).await.len() > 1 {
        desk.turn().await;
        assert!(begun.elapsed() < Duration::from_secs(30), "they are still kept");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(desk.ask("POST", &format!("{path}/replay"), Some(json!({"from": 2}))).await.0, 410);
    assert_eq!(desk.ask("POST", &format!("{path}/replay"), Some(json!({"from": 99}))).await.0, 422);
    assert_eq!(desk.ask("POST", &format!("{path}/deliveries/2/redeliver"), None).await.0, 404);
}

// B-01, B-22: a hold that ended is told of as soon as the clock says so
#[tokio::test(flavor = "multi_thread")]
async fn a_hold_that_ends_is_told_of() {
    let desk = Desk::new().await;
    let receiver = Receiver::start();
    desk.subscribe(&receiver.url(), &["hold.expired", "availability.changed"]).await;
    let mut wish = wish("2031-01-06T09:00:00Z");
    wish["hold_for"] = json!("PT5M");
    let (status, held) = desk.ask("POST", "/bookings", Some(wish)).await;
    assert_eq!(status, 201, "{held}");
    desk.until("that the time is taken", || !receiver.log().is_empty()).await;
    assert_eq!(kinds(&receiver.log()), ["availability.changed"]);
    let taken = receiver.log()[0].json();
    assert_eq!(
        (&taken["data"]["from"], &taken["data"]["to"]),
        (&json!("2031-01-06T09:00:00Z"), &json!("2031-01-06T09:45:00Z")),
        "{taken}"
    );
    receiver.forget();
    // What the server's clock does at that moment.
    let end = desk.house.expire_holds().await.unwrap().unwrap();
    desk.clock.set(end.0);
    desk.house.expire_holds().await.unwrap();
    desk.until("that it ended", || receiver.log().len() == 2).await;
    let told = receiver.of("hold.expired")[0].json();
    assert_eq!(
        (&told["data"]["booking"]["id"], &told["data"]["booking"]["status"]),
        (&held["id"], &json!("expired"))
    );
    assert_eq!(told["timestamp"], jiff::Timestamp::from_millisecond(end.0).unwrap().to_string());
    assert_eq!(receiver.of("availability.changed").len(), 1);
    // How one may be booked is part of it.
    receiver.forget();
    assert_eq!(desk.ask("PATCH", "/booking-settings", Some(json!({"minimum_notice": "PT2H"}))).await.0, 200);
    desk.until("the settings", || receiver.log().len() == 1).await;
    assert_eq!(receiver.log()[0].json()["data"], json!({"user": "anna", "from": null, "to": null}));
}

// At least once: what was committed and not looked at when the process ended is told by the next one
#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_had_looked_at_is_told_after_a_start() {
    let desk = Desk::new().await;
    let receiver = Receiver::start();
    desk.put("before.ics", &event("before", "x", "20310106T090000Z")).await;
    let (status, early) = desk.ask("POST", "/bookings", Some(wish("2031-01-08T09:00:00Z"))).await;
    assert_eq!(status, 201, "{early}");
    let hook = desk.subscribe(&receiver.url(), &["event.*", "booking.*", "calendar.*"]).await;
    desk.put("old.ics", &event("old", "x", "20310106T090000Z")).await;
    desk.until("the first", || receiver.log().len() == 1).await;
    desk.stands(&hook, "the end", |hook| !hook.waits()).await;
    receiver.forget();
    // Nobody follows.
    desk.later(HOUR);
    desk.put("new.ics", &event("new", "x", "20310106T090000Z")).await;
    desk.later(HOUR);
    desk.put("old.ics", &event("old", "y", "20310106T090000Z")).await;
    desk.later(HOUR);
    let (_, booking) = desk.ask("POST", "/bookings", Some(wish("2031-01-07T09:00:00Z"))).await;
    desk.later(HOUR);
    desk.delete("before.ics").await;
    desk.later(HOUR);
    assert_eq!(
        desk.ask("DELETE", &format!("/bookings/{}", booking["id"].as_str().unwrap()), None).await.0,
        204
    );
    desk.later(HOUR);
    let (status, made) = desk.ask("POST", "/calendars", Some(json!({"name": "more"}))).await;
    assert_eq!(status, 201, "{made}");
    desk.later(HOUR);
    // A calendar app moves what is booked: only the log of the calendar tells of it.
    let name = format!("{}.ics", early["id"].as_str().unwrap());
    let object = desk.calendar().await.object(&name).await.unwrap().unwrap();
    let text = String::from_utf8(object.bytes.to_vec()).unwrap();
    desk.put(&name, &text.replace("20310108T", "20310109T")).await;
    let desk = desk.restart().await;
    desk.until("all of it", || receiver.log().len() >= 9).await;
    desk.stands(&hook, "the end", |hook| !hook.waits()).await;
    let mut told: Vec<(String, Value)> = Vec::new();
    for got in receiver.log() {
        let data = got.json()["data"].clone();
        let what = data.get("uid").or(data["booking"].get("id")).or(data.get("name")).unwrap().clone();
        told.push((got.kind(), what));
    }
    let of = |kind: &str| told.iter().filter(|(k, _)| k == kind).map(|(_, w)| w.clone()).collect::<Vec<_>>();
    // The booking's event was made and called off meanwhile: as an event it is told once, as a booking with both turns.
    assert_eq!(of("event.created"), [json!("new"), booking["uid"].clone()], "{told:?}");
    assert_eq!(of("event.updated"), [json!("old"), early["uid"].clone()], "{told:?}");
    assert_eq!(of("event.deleted"), [json!("before")], "{told:?}");
    assert_eq!(of("booking.rescheduled"), [early["id"].clone()], "{told:?}");
    assert_eq!(of("booking.created"), [booking["id"].clone()], "{told:?}");
    assert_eq!(of("booking.cancelled"), [booking["id"].clone()], "{told:?}");
    assert_eq!(of("calendar.created"), [json!("more")], "{told:?}");
    assert_eq!(told.len(), 9, "{told:?}");
    // A calendar that goes, and comes back, is told of; its events are not made anew.
    receiver.forget();
    let path = format!("/calendars/{}", made["id"].as_str().unwrap());
    assert_eq!(desk.ask("DELETE", &path, None).await.0, 204);
    desk.until("that it went", || kinds(&receiver.log()) == ["calendar.deleted"]).await;
}

// What comes at once is told page by page: each once, in the order of the log
#[tokio::test(flavor = "multi_thread")]
async fn many_changes_at_once_are_told_each_once_and_in_order() {
    const MANY: usize = 520;
    let desk = Desk::new().await;
    let receiver = Receiver::start();
    let hook = desk.subscribe(&receiver.url(), &["*"]).await;
    for n in 0..MANY {
        desk.later(Duration::from_millis(1));
        desk.put(&format!("{n}.ics"), &event(&format!("{n:04}"), "x", "20310106T090000Z")).await;
    }
    desk.until("all of them", || receiver.of("event.created").len() == MANY).await;
    desk.stands(&hook, "the end", |hook| !hook.waits()).await;
    let uids: Vec<Value> =
        receiver.of("event.created").iter().map(|got| got.json()["data"]["uid"].clone()).collect();
    assert!(uids.is_sorted_by_key(|uid| uid.as_str().unwrap().to_owned()), "{uids:?}");
    let all = numbers(&receiver.log());
    assert!(all.iter().zip(1..).all(|(number, at)| *number == at), "{all:?}");
    // Free time is told once for all that is looked at together.
    let times = receiver.of("availability.changed").len();
    assert!((1..10).contains(&times), "{times}");
}

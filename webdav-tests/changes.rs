//! `/changes` and its stream; and `Idempotency-Key`, by which a wish is carried out once.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::app::{App, document, event, problem};
use crate::dialogue::Host as _;

fn rows(page: &Value) -> Vec<(String, String, u64)> {
    let text = |item: &Value, name: &str| item[name].as_str().unwrap_or("-").to_owned();
    let items = page["items"].as_array().unwrap().iter();
    items.map(|item| (text(item, "change"), text(item, "uid"), item["rev"].as_u64().unwrap())).collect()
}

#[test]
fn what_was_written_is_told_from_a_position_on_whoever_wrote_it() {
    let app = App::start("read events");
    let calendar = app.calendar();
    let path = format!("/changes?calendar={calendar}");
    let nothing = app.get(&path);
    assert_eq!(rows(&nothing), vec![]);
    assert_eq!(app.dav("PUT", "a.ics", &event("a", "A", "20260105T090000Z")).status, 201);
    assert_eq!(app.dav("PUT", "b.ics", &event("b", "B", "20260105T090000Z")).status, 201);
    let since = nothing["next_cursor"].as_str().unwrap();
    let page = app.get(&format!("{path}&since={since}&limit=1"));
    assert_eq!(rows(&page), vec![("put".into(), "a".into(), 1)]);
    assert_eq!(page["more"], true);
    assert!(page["items"][0]["by"].as_str().unwrap().starts_with("anna"), "{page}");
    assert_eq!(page["items"][0]["etag"].as_str().unwrap().len(), 32);
    let page = app.get(&format!("{path}&since={}", page["next_cursor"].as_str().unwrap()));
    assert_eq!(rows(&page), vec![("put".into(), "b".into(), 2)]);
    assert_eq!(page["more"], false);
    // The position is the calendar's sync-token.
    let token = app.get(&format!("/calendars/{calendar}"))["sync_token"].clone();
    assert_eq!(page["next_cursor"], token);
    // What is gone is told with its UID, and a replaced object once.
    assert_eq!(app.dav("PUT", "b.ics", &event("b", "B2", "20260105T100000Z")).status, 204);
    assert_eq!(app.dav("DELETE", "a.ics", "").status, 204);
    let page = app.get(&format!("{path}&since={}", token.as_str().unwrap()));
    assert_eq!(rows(&page), vec![("put".into(), "b".into(), 3), ("deleted".into(), "a".into(), 4)]);
    // All calendars together: the cursor speaks of each, and a new one is told from its beginning.
    let all = app.get("/changes");
    assert_eq!(rows(&all).last(), Some(&("deleted".into(), "a".into(), 4)), "{all}");
    let (status, other) = app.ask("POST", "/calendars", Some(json!({"name": "other"})));
    assert_eq!(status, 201, "{other}");
    let (status, _) = app.ask(
        "PATCH",
        &format!("/calendars/{}", other["id"].as_str().unwrap()),
        Some(json!({"color": "#ff0000"})),
    );
    assert_eq!(status, 200);
    let page = app.get(&format!("/changes?since={}", all["next_cursor"].as_str().unwrap()));
    assert_eq!(
        page["items"].as_array().unwrap().iter().filter(|i| i["calendar"] == other["id"]).count(),
        1,
        "{page}"
    );
}

#[test]
fn a_position_that_is_none_of_ours_is_refused() {
    let app = App::start("read events");
    let calendar = app.calendar();
    let token = app.get(&format!("/calendars/{calendar}"))["sync_token"].as_str().unwrap().to_owned();
    let (stem, _) = token.rsplit_once(':').unwrap();
    for (since, status, kind) in [
        ("nonsense".to_owned(), 422, "invalid"),
        (format!("{stem}:99-0"), 410, "cursor-expired"),
        ("urn:kalends:sync:999-0:1-0".to_owned(), 422, "invalid"),
    ] {
        let path = format!("/changes?calendar={calendar}&since={since}");
        problem(&app.send(&app.token, "GET", &path, &[], None), status, kind);
    }
    for path in ["/changes?wait=61", "/changes?wait=x", "/changes?limit=0", "/changes?calendar=999"] {
        problem(&app.send(&app.token, "GET", path, &[], None), 422, "invalid");
    }
    // Another account's calendar is none.
    let berts = app.served.token("bert", "read").unwrap();
    let path = format!("/changes?calendar={calendar}");
    problem(&app.send(&berts, "GET", &path, &[], None), 422, "invalid");
    let theirs = document(&app.send(&berts, "GET", "/changes", &[], None));
    assert_eq!(rows(&theirs), vec![]);
}

// S0-010: what changed is asked for, waited for
#[test]
fn a_question_that_waits_is_answered_when_something_is_written() {
    let app = App::start("read events");
    let calendar = app.calendar();
    let token = app.get(&format!("/calendars/{calendar}"))["sync_token"].as_str().unwrap().to_owned();
    let begun = Instant::now();
    let empty = app.get(&format!("/changes?calendar={calendar}&since={token}&wait=1"));
    assert_eq!(rows(&empty), vec![]);
    assert!(begun.elapsed() >= Duration::from_secs(1));
    let page = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| app.get(&format!("/changes?calendar={calendar}&since={token}&wait=60")));
        std::thread::sleep(Duration::from_millis(300));
        assert!(!waiting.is_finished());
        assert_eq!(app.dav("PUT", "a.ics", &event("a", "A", "20260105T090000Z")).status, 201);
        waiting.join().unwrap()
    });
    assert_eq!(rows(&page), vec![("put".into(), "a".into(), 1)]);
}

/// A stream that is read line by line.
struct Listener(BufReader<TcpStream>);

impl Listener {
    fn open(app: &App, path: &str, headers: &str) -> Listener {
        let mut stream = TcpStream::connect(app.served.address()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let head = format!(
            "GET /api/v1{path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n{headers}\r\n",
            app.token
        );
        stream.write_all(head.as_bytes()).unwrap();
        let mut listener = Listener(BufReader::new(stream));
        let status = listener.line();
        assert!(status.starts_with("HTTP/1.1 200"), "{status}");
        loop {
            let line = listener.line().to_ascii_lowercase();
            if let Some(kind) = line.strip_prefix("content-type: ") {
                assert_eq!(kind, "text/event-stream");
            }
            if line.is_empty() {
                return listener;
            }
        }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        line.trim_end_matches(['\r', '\n']).to_owned()
    }

    /// Returns the next change with its id; nothing: the stream ended.
    fn change(&mut self) -> Option<(String, Value)> {
        let mut id = String::new();
        loop {
            let mut line = String::new();
            if self.0.read_line(&mut line).unwrap() == 0 {
                return None;
            }
            let line = line.trim_end();
            if let Some(told) = line.strip_prefix("id: ") {
                id = told.to_owned();
            }
            if let Some(data) = line.strip_prefix("data: ") {
                return Some((id, serde_json::from_str(data).unwrap()));
            }
        }
    }
}

// S0-010: and streamed
#[test]
fn a_stream_tells_of_changes_and_goes_on_where_it_ended() {
    let app = App::start("read events");
    let calendar = app.calendar();
    assert_eq!(app.dav("PUT", "old.ics", &event("old", "Old", "20260105T090000Z")).status, 201);
    let path = format!("/changes/stream?calendar={calendar}");
    // Without a word on where to begin, it begins now.
    let mut live = Listener::open(&app, &path, "");
    assert_eq!(app.dav("PUT", "a.ics", &event("a", "A", "20260105T090000Z")).status, 201);
    let (id, change) = live.change().unwrap();
    assert_eq!((change["uid"].as_str(), change["change"].as_str()), (Some("a"), Some("put")));
    drop(live);
    assert_eq!(app.dav("PUT", "b.ics", &event("b", "B", "20260105T090000Z")).status, 201);
    assert_eq!(app.dav("DELETE", "a.ics", "").status, 204);
    let mut again = Listener::open(&app, &path, &format!("Last-Event-ID: {id}\r\n"));
    let told: Vec<Option<String>> =
        (0..2).map(|_| again.change().unwrap().1["uid"].as_str().map(str::to_owned)).collect();
    assert_eq!(told, [Some("b".to_owned()), Some("a".to_owned())]);
    // Another token's end is nothing to this one.
    let guard = app.served.guard();
    let scopes = kalends::auth::Scopes::from(vec![kalends::auth::Scope::Read]);
    let (other, _) = app.served.runtime().block_on(guard.add_token("bert", "other", scopes)).unwrap();
    app.served.runtime().block_on(guard.revoke_token("bert", &other.id)).unwrap();
    assert_eq!(app.dav("PUT", "c.ics", &event("c", "C", "20260105T090000Z")).status, 201);
    assert_eq!(again.change().unwrap().1["uid"], "c");
    // Whose token ends is not told any more.
    let tokens = app.served.runtime().block_on(guard.tokens(Some("anna"))).unwrap();
    for token in tokens {
        app.served.runtime().block_on(guard.revoke_token("anna", &token.id)).unwrap();
    }
    assert!(again.change().is_none());
}

#[test]
fn a_server_that_stops_ends_its_streams() {
    let mut app = App::start("read events");
    let mut live = Listener::open(&app, "/changes/stream", "");
    let begun = Instant::now();
    app.served.stop();
    assert!(live.change().is_none());
    assert!(begun.elapsed() < Duration::from_secs(9), "the stream kept the server from stopping");
}

#[test]
fn a_wish_that_is_repeated_is_carried_out_once() {
    let mut app = App::start("read events");
    let key = [("Idempotency-Key", "new-calendar-1")];
    let wish = json!({"display_name": "Once"});
    let post = |app: &App, key: &[(&str, &str)], wish: &Value| {
        app.send(&app.token, "POST", "/calendars", key, Some(wish))
    };
    // A failure leaves nothing behind.
    problem(&post(&app, &key, &json!({"components": ["VNOTHING"]})), 422, "invalid");
    let first = post(&app, &key, &wish);
    assert_eq!(first.status, 201, "{}", first.show());
    let again = post(&app, &key, &wish);
    assert_eq!((again.status, &again.body), (201, &first.body));
    assert_eq!(again.all("location"), first.all("location"));
    // Twins at the same time: one is carried out, all get its answer.
    let twins: Vec<Value> = std::thread::scope(|scope| {
        let post = || document(&post(&app, &[("Idempotency-Key", "twins")], &wish));
        let all: Vec<_> = (0..8).map(|_| scope.spawn(post)).collect();
        all.into_iter().map(|twin| twin.join().unwrap()).collect()
    });
    assert!(twins.iter().all(|twin| twin["id"] == twins[0]["id"]), "{twins:?}");
    assert_eq!(
        app.get("/calendars")["items"].as_array().unwrap().len(),
        4,
        "two of every account, two made here"
    );
    // The same key with another body, and with another address.
    problem(&post(&app, &key, &json!({"display_name": "Other"})), 422, "idempotency-key-reused");
    problem(
        &app.send(&app.token, "POST", "/notifications/read-all", &key, None),
        422,
        "idempotency-key-reused",
    );
    // Another token has keys of its own.
    let other = app.served.token("anna", "events").unwrap();
    let others = app.send(&other, "POST", "/calendars", &key, Some(&wish));
    assert_eq!(others.status, 201);
    assert_ne!(document(&others)["id"], document(&first)["id"]);
    for bad in ["schlüssel", "two words", &"x".repeat(256)] {
        problem(&post(&app, &[("Idempotency-Key", bad)], &wish), 422, "invalid");
    }
    // It is known after a restart too.
    app.served.restart().unwrap();
    let again = post(&app, &key, &wish);
    assert_eq!((again.status, &again.body), (201, &first.body));
}

#[test]
fn a_wrong_member_is_named_with_its_path() {
    let app = App::start("read events bridges");
    for (path, body, field) in [
        ("/calendars", json!({"colour": "#fff"}), "colour"),
        ("/calendars", json!({"components": [1]}), "components[0]"),
        ("/conflicts/x/resolve", json!({}), "resolution"),
        (
            "/conflicts/x/resolve",
            json!({"resolution": "merge", "fields": {"SUMMARY": "mine"}}),
            "fields.SUMMARY",
        ),
        ("/mappings", json!({"calendar": "1", "connection": "c", "remote_calendar": "r", "x": 1}), "x"),
    ] {
        let answer = app.send(&app.token, "POST", path, &[], Some(&body));
        assert_eq!(problem(&answer, 422, "invalid")["field"], field, "{body}");
    }
    let long = json!({"display_name": "x".repeat(1 << 20)});
    problem(&app.send(&app.token, "POST", "/calendars", &[], Some(&long)), 413, "too-large");
}

// S3-176: clients are made from it
#[test]
fn the_document_is_served_to_everybody_and_names_every_route() {
    let app = App::start("read");
    let request = crate::dialogue::Request {
        method: "GET".into(),
        target: "/api/v1/openapi.json".into(),
        ..crate::dialogue::Request::default()
    };
    let answer = crate::dialogue::send(app.served.address(), &request).unwrap();
    let document = document(&answer);
    assert_eq!((answer.status, document["openapi"].as_str()), (200, Some("3.1.0")));
    for route in kalends::api::ROUTES {
        let method = route.method.as_str().to_ascii_lowercase();
        let path = format!("/api/v1{}", route.path);
        assert!(document["paths"][&path][&method].is_object(), "{method} {path}");
    }
}

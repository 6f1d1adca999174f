//! Bookings from outside: shapes, refusals, rivals, calendar apps and a far side in between.

use std::net::SocketAddr;
use std::sync::Arc;

use base64::Engine as _;
use kalends::auth::{Scope, Scopes};
use kalends::sim::caldav::Caldav as Upstream;
use kalends::sim::{Clock, Options, Running, Server};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::app::document;
use crate::dialogue::{Host as _, Request, Response, Setup, password, send};
use crate::host::Served;
use crate::wait::wait_for;

struct Shop {
    served: Served,
    token: String,
    calendar: String,
}

impl Shop {
    fn start(config: &[&str]) -> Shop {
        let config = config.iter().map(|line| (*line).to_owned()).collect();
        let served = Served::start(&Setup { config, ..Setup::default() }).unwrap();
        let all = [Scope::Read, Scope::Events, Scope::Bookings, Scope::Bridges];
        let token = token(&served, "anna", &all);
        let mut shop = Shop { served, token, calendar: String::new() };
        let (_, calendars) = shop.ask("GET", "/calendars", None);
        let all = calendars["items"].as_array().unwrap().clone();
        let id = all.iter().find(|calendar| calendar["name"] == "calendar").unwrap()["id"].clone();
        id.as_str().unwrap().clone_into(&mut shop.calendar);
        shop
    }

    fn plain() -> Shop {
        Shop::start(&[])
    }

    fn say(
        &self,
        token: &str,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<Value>,
    ) -> Response {
        crate::app::say(&self.served, token, (method, path), headers, body.as_ref())
    }

    fn ask(&self, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
        let answer = self.say(&self.token, method, path, &[], body);
        (answer.status, document(&answer))
    }

    fn ok(&self, method: &str, path: &str, body: Option<Value>) -> Value {
        let (status, document) = self.ask(method, path, body);
        assert!((200..300).contains(&status), "{method} {path}: {status} {document}");
        document
    }

    /// Speaks CalDAV as anna.
    fn dav(&self, method: &str, name: &str, body: &str) -> Response {
        let request = Request {
            method: method.to_owned(),
            target: format!("/dav/calendars/anna/calendar/{name}"),
            headers: vec![("Authorization".to_owned(), basic())],
            body: body.as_bytes().to_vec(),
        };
        send(self.served.address(), &request).unwrap()
    }

    fn refused(&self, method: &str, path: &str, body: Value, status: u16, kind: &str) -> Value {
        let (got, problem) = self.ask(method, path, Some(body));
        let of = problem["type"].as_str().unwrap_or_default().to_owned();
        assert_eq!((got, of.rsplit('/').next().unwrap()), (status, kind), "{problem}");
        problem
    }
}

fn basic() -> String {
    let both = format!("anna:{}", password("anna"));
    format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(both))
}

fn token(served: &Served, user: &str, scopes: &[Scope]) -> String {
    let made = served.guard().add_token(user, "test", Scopes::from(scopes.to_vec()));
    served.runtime().block_on(made).unwrap().1
}

fn event(uid: &str, start: &str, end: &str, more: &str) -> String {
    format!(
        "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//test//EN\r\nBEGIN:VEVENT\r\nUID:{uid}\r\n\
         DTSTAMP:20260101T000000Z\r\nDTSTART:{start}\r\nDTEND:{end}\r\nSUMMARY:Secret {uid}\r\n{more}\
         END:VEVENT\r\nEND:VCALENDAR\r\n"
    )
}

fn wish(start: &str) -> Value {
    json!({"start": start, "duration": "PT45M", "time_zone": "Europe/Berlin", "service": "Haircut",
           "customer": {"name": "Eva Example", "email": "eva@example.org"}})
}

// B-11, B-01, B-07, B-12, B-21, B-25, S1-017, S1-018: the life of a booking, as docs/bookings.md tells it.
#[test]
fn the_life_of_a_booking() {
    let shop = Shop::plain();
    let answer = shop.say(&shop.token, "POST", "/bookings", &[], Some(wish("2031-01-06T09:00:00+01:00")));
    assert_eq!(answer.status, 201, "{}", answer.show());
    let made = document(&answer);
    let id = made["id"].as_str().unwrap().to_owned();
    assert!(answer.all("location")[0].ends_with(&format!("/api/v1/bookings/{id}")));
    assert_eq!(answer.all("etag"), [format!("\"{}\"", made["etag"].as_str().unwrap())]);
    assert_eq!(made["status"], "confirmed");
    assert_eq!(
        (&made["start"], &made["end"]),
        (&json!("2031-01-06T09:00:00+01:00"), &json!("2031-01-06T09:45:00+01:00"))
    );
    assert_eq!((&made["calendar"], &made["duration"]), (&json!(shop.calendar), &json!("PT45M")));
    assert_eq!(shop.ok("GET", &format!("/bookings/{id}"), None), made);
    // It is an event that clients see.
    let seen = shop.dav("GET", &format!("{id}.ics"), "");
    assert_eq!(seen.status, 200);
    let text = String::from_utf8(seen.body).unwrap();
    assert!(text.contains("SUMMARY:Haircut: Eva Example\r\n"), "{text}");
    assert!(text.contains("DTSTART;TZID=Europe/Berlin:20310106T090000\r\n"), "{text}");
    // The next one is told what is in the way.
    let problem = shop.refused("POST", "/bookings", wish("2031-01-06T08:30:00Z"), 409, "slot-taken");
    let blocking = json!({"start": "2031-01-06T08:00:00Z", "end": "2031-01-06T08:45:00Z",
                          "calendar": shop.calendar, "title": "Haircut: Eva Example"});
    assert_eq!(problem["blocking"], blocking, "{problem}");
    assert!(!problem["detail"].as_str().unwrap().contains("Eva"), "{problem}");
    // Who may only book does not learn what events are called.
    let counter = token(&shop.served, "anna", &[Scope::Bookings]);
    let answer = shop.say(&counter, "POST", "/bookings", &[], Some(wish("2031-01-06T08:30:00Z")));
    assert!(!String::from_utf8_lossy(&answer.body).contains("Eva"), "{}", answer.show());
    // It moves, and stays what it is.
    let path = format!("/bookings/{id}");
    let later = json!({"start": "2031-01-06T09:30:00+01:00"});
    let stale = shop.say(&shop.token, "PATCH", &path, &[("If-Match", "\"old\"")], Some(later.clone()));
    assert_eq!(stale.status, 412, "{}", stale.show());
    let tag = format!("\"{}\"", made["etag"].as_str().unwrap());
    let moved = document(&shop.say(&shop.token, "PATCH", &path, &[("If-Match", &tag)], Some(later)));
    assert_eq!((&moved["uid"], &moved["sequence"]), (&made["uid"], &json!(1)), "{moved}");
    assert_eq!(moved["end"], "2031-01-06T10:15:00+01:00");
    assert_ne!(moved["etag"], made["etag"]);
    // Who deletes the event has cancelled it.
    assert_eq!(shop.dav("DELETE", &format!("{id}.ics"), "").status, 204);
    assert_eq!(shop.ok("GET", &path, None)["status"], "cancelled");
    let again = shop.ok("POST", "/bookings", Some(wish("2031-01-06T09:30:00+01:00")));
    let path = format!("/bookings/{}", again["id"].as_str().unwrap());
    assert_eq!(shop.ask("DELETE", &path, None).0, 204);
    assert_eq!(shop.ask("DELETE", &path, None).0, 204);
    assert_eq!(shop.ok("GET", &path, None)["status"], "cancelled");
    shop.refused("PATCH", &path, json!({"start": "2031-01-07T09:30:00+01:00"}), 409, "wrong-state");
    let list = shop.ok("GET", "/bookings?status=cancelled", None);
    assert_eq!(list["items"].as_array().unwrap().len(), 2);
}

// B-01: held for a session, in nobody's calendar, busy for others; confirmed in one call.
#[test]
fn a_hold_becomes_a_booking() {
    let shop = Shop::plain();
    let mut held = wish("2031-01-06T09:00:00+01:00");
    held["hold_for"] = json!("PT5M");
    held["session"] = json!("visitor-1");
    held["reference"] = json!("order-7");
    let held = shop.ok("POST", "/bookings", Some(held));
    assert_eq!(held["status"], "held");
    assert!(held["hold_expires_at"].is_string(), "{held}");
    let id = held["id"].as_str().unwrap().to_owned();
    assert_eq!(shop.dav("GET", &format!("{id}.ics"), "").status, 404);
    let calendars = shop.ok("GET", "/calendars?hidden=true", None);
    assert_eq!(calendars["items"].as_array().unwrap().len(), 2, "holds are nobody's calendar: {calendars}");
    let problem = shop.refused("POST", "/bookings", wish("2031-01-06T09:30:00+01:00"), 409, "slot-taken");
    assert_eq!(problem["blocking"]["calendar"], json!(shop.calendar), "{problem}");
    let busy = shop.ok("GET", "/freebusy?from=2031-01-06T00:00:00Z&to=2031-01-07T00:00:00Z", None);
    assert_eq!(
        busy["busy"],
        json!([{"start": "2031-01-06T08:00:00Z", "end": "2031-01-06T08:45:00Z", "type": "tentative"}])
    );
    let path = format!("/bookings/{id}");
    let longer = shop.ok("PATCH", &path, Some(json!({"hold_for": "PT30M", "session": "visitor-1"})));
    assert!(longer["hold_expires_at"].as_str() > held["hold_expires_at"].as_str(), "{longer}");
    shop.refused("PATCH", &path, json!({"hold_for": "PT30M"}), 409, "wrong-session");
    shop.refused("POST", &format!("{path}/confirm"), json!({"session": "other"}), 409, "wrong-session");
    let sure = shop.ok("POST", &format!("{path}/confirm"), Some(json!({"session": "visitor-1"})));
    assert_eq!((&sure["status"], &sure["uid"]), (&json!("confirmed"), &held["uid"]));
    assert_eq!(sure["hold_expires_at"], Value::Null);
    assert_eq!(shop.dav("GET", &format!("{id}.ics"), "").status, 200);
    shop.refused("POST", &format!("{path}/confirm"), json!({}), 409, "wrong-state");
    let found = shop.ok("GET", "/bookings?reference=order-7", None);
    assert_eq!(found["items"], json!([sure]));
    assert_eq!(shop.ok("GET", "/bookings?reference=order-8", None)["items"], json!([]));
}

// B-01: five minutes unless somebody says, one minute at least and sixty at most.
#[test]
fn a_hold_lasts_as_long_as_is_said_within_bounds() {
    let shop = Shop::plain();
    let hold = |hour: u32, more: &[(&str, Value)]| {
        let mut body = wish(&format!("2031-01-06T{hour:02}:00:00+01:00"));
        for (name, value) in more {
            body[*name] = value.clone();
        }
        let asked = jiff::Timestamp::now();
        let (status, held) = shop.ask("POST", "/bookings", Some(body));
        let ends = held["hold_expires_at"].as_str().map(|text| text.parse::<jiff::Timestamp>().unwrap());
        (status, held["status"].clone(), ends.map(|ends| ends.duration_since(asked).as_secs_f64() / 60.0))
    };
    for (hour, more, minutes) in [
        (8, vec![("status", json!("held"))], 5.0),
        (9, vec![("hold_for", json!("PT1M"))], 1.0),
        (10, vec![("hold_for", json!("PT60M"))], 60.0),
        (11, vec![("hold_for", json!("PT1H"))], 60.0),
    ] {
        let (status, state, ends) = hold(hour, &more);
        assert_eq!((status, state), (201, json!("held")), "{more:?}");
        // The server's clock went on between the question and the answer.
        assert!(ends.is_some_and(|ends| ends >= minutes - 0.02), "{more:?}: {ends:?}");
    }
    for bad in ["PT59S", "PT61M", "PT0S", "P1D"] {
        let mut body = wish("2031-01-06T12:00:00+01:00");
        body["hold_for"] = json!(bad);
        assert_eq!(shop.refused("POST", "/bookings", body, 422, "invalid")["field"], "hold_for", "{bad}");
    }
    // What is set is what is meant without a word.
    shop.ok("PATCH", "/booking-settings", Some(json!({"hold_for": "PT20M"})));
    let (status, _, ends) = hold(13, &[("status", json!("held"))]);
    assert!(status == 201 && ends.is_some_and(|ends| ends > 19.0), "{ends:?}");
}

// B-02: pending, confirmed, rejected, no-show over HTTP: what follows what, and what is left of the time.
#[test]
fn the_states_of_a_booking_follow_each_other() {
    let shop = Shop::plain();
    shop.ok("PATCH", "/booking-settings", Some(json!({"needs_confirmation": true})));
    let book = |hour: u32| {
        let made = shop.ok("POST", "/bookings", Some(wish(&format!("2031-01-06T{hour:02}:00:00+01:00"))));
        assert_eq!(made["status"], "pending");
        format!("/bookings/{}", made["id"].as_str().unwrap())
    };
    let (one, two) = (book(9), book(10));
    let become_so = |path: &str, status: &str| shop.ask("PATCH", path, Some(json!({"status": status})));
    // Rejected, its time is free.
    let (status, rejected) = become_so(&one, "rejected");
    assert_eq!((status, &rejected["status"]), (200, &json!("rejected")), "{rejected}");
    let again = book(9);
    shop.refused("POST", &format!("{one}/confirm"), json!({}), 409, "wrong-state");
    // Nobody fails to come to what was never confirmed; who was, and did not come, keeps the time.
    assert_eq!(become_so(&two, "no_show").0, 409);
    assert_eq!(shop.ok("POST", &format!("{two}/confirm"), Some(json!({})))["status"], "confirmed");
    assert_eq!(become_so(&two, "rejected").0, 409);
    assert_eq!(become_so(&two, "no_show").1["status"], "no_show");
    shop.refused("POST", "/bookings", wish("2031-01-06T10:00:00+01:00"), 409, "slot-taken");
    for (status, path) in [("rejected", &one), ("no_show", &two), ("pending", &again)] {
        let found = shop.ok("GET", &format!("/bookings?status={status}"), None);
        let id = path.rsplit('/').next().unwrap();
        assert_eq!(
            (found["items"].as_array().unwrap().len(), &found["items"][0]["id"]),
            (1, &json!(id)),
            "{status}"
        );
    }
    assert_eq!(become_so(&again, "expired").0, 422);
}

// bookings.md: each seat goes through the same guard: of those who take the last one at a time, one gets it.
#[test]
fn the_last_seat_is_taken_once() {
    let shop = Shop::plain();
    let class = shop.ok("POST", "/bookings", Some(wish("2031-01-06T09:00:00+01:00")));
    let path = format!("/bookings/{}", class["id"].as_str().unwrap());
    let tag = format!("\"{}\"", class["etag"].as_str().unwrap());
    let take = |name: &str| {
        let notes = json!({"notes": format!("Seats: {name}")});
        shop.say(&shop.token, "PATCH", &path, &[("If-Match", &tag)], Some(notes)).status
    };
    let told: Vec<u16> = std::thread::scope(|scope| {
        let all: Vec<_> = (0..8)
            .map(|n| {
                scope.spawn({
                    let take = &take;
                    move || take(&format!("guest {n}"))
                })
            })
            .collect();
        all.into_iter().map(|one| one.join().unwrap()).collect()
    });
    assert_eq!(told.iter().filter(|status| **status == 200).count(), 1, "{told:?}");
    assert!(told.iter().all(|status| matches!(status, 200 | 412)), "{told:?}");
}

// B-06, B-24: a repeated wish is answered once more and booked once.
#[test]
fn a_repeated_wish_is_one_booking() {
    let mut shop = Shop::plain();
    let key = [("Idempotency-Key", "order-7")];
    let ask = |shop: &Shop, start: &str| {
        let answer = shop.say(&shop.token, "POST", "/bookings", &key, Some(wish(start)));
        (answer.status, document(&answer), answer.all("location").first().map(|l| (*l).to_owned()))
    };
    // The time is taken first: a refusal is not kept.
    let taken = event("x", "20310106T080000Z", "20310106T090000Z", "");
    assert_eq!(shop.dav("PUT", "x.ics", &taken).status, 201);
    assert_eq!(ask(&shop, "2031-01-06T09:00:00+01:00").0, 409);
    assert_eq!(shop.dav("DELETE", "x.ics", "").status, 204);
    let first = ask(&shop, "2031-01-06T09:00:00+01:00");
    assert_eq!(first.0, 201);
    assert_eq!(ask(&shop, "2031-01-06T09:00:00+01:00"), first);
    shop.served.restart().unwrap();
    assert_eq!(ask(&shop, "2031-01-06T09:00:00+01:00"), first);
    assert_eq!(ask(&shop, "2031-01-06T11:00:00+01:00").0, 422);
    assert_eq!(shop.ok("GET", "/bookings", None)["items"].as_array().unwrap().len(), 1);
}

// B-04, B-19, B-21: what is set holds for what is offered and for what is claimed, and each refusal is explained.
#[test]
fn settings_shape_what_is_offered() {
    let shop = Shop::plain();
    let before = shop.ok("GET", "/booking-settings", None);
    assert_eq!((&before["step"], &before["hours"]), (&json!("PT15M"), &Value::Null));
    let change = json!({
        "time_zone": "Europe/Berlin",
        "hours": {"weekly": {"mon": [{"from": "09:00", "to": "12:00"}]},
                  "exceptions": [{"date": "2031-01-13", "hours": []}]},
        "step": "PT30M", "buffer_before": "PT10M", "buffers_around_all": true, "daily_cap": 2,
    });
    let tag = format!("\"{}\"", before["etag"].as_str().unwrap());
    let after =
        shop.say(&shop.token, "PATCH", "/booking-settings", &[("If-Match", &tag)], Some(change.clone()));
    let after = document(&after);
    assert!(after["availability"].as_str().unwrap().contains("BEGIN:VAVAILABILITY"), "{after}");
    let stale = shop.say(&shop.token, "PATCH", "/booking-settings", &[("If-Match", &tag)], Some(change));
    assert_eq!(stale.status, 412);
    let meeting = event("meeting", "20310106T090000Z", "20310106T092500Z", "");
    assert_eq!(shop.dav("PUT", "meeting.ics", &meeting).status, 201);
    let path = "/availability?from=2031-01-06T00:00:00Z&to=2031-01-14T00:00:00Z&duration=PT30M&explain=true";
    let offered = shop.ok("GET", path, None);
    let starts = |offered: &Value| {
        let slots = offered["slots"].as_array().unwrap().clone();
        slots.iter().map(|slot| slot["start"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(
        starts(&offered),
        [
            "2031-01-06T09:00:00+01:00",
            "2031-01-06T09:30:00+01:00",
            "2031-01-06T11:00:00+01:00",
            "2031-01-06T11:30:00+01:00"
        ],
        "{offered}"
    );
    assert_eq!(offered["sources"], json!([]));
    let refused = offered["refused"].as_array().unwrap().clone();
    let rule = |start: &str| {
        refused.iter().find(|r| r["start"] == start).unwrap_or_else(|| panic!("{start}: {refused:?}"))
    };
    assert_eq!(rule("2031-01-06T10:00:00+01:00")["rule"], "event");
    let buffer = rule("2031-01-06T10:30:00+01:00");
    assert_eq!(
        (&buffer["rule"], &buffer["title"], &buffer["calendar"]),
        (&json!("buffer"), &json!("Secret meeting"), &json!(shop.calendar))
    );
    assert!(buffer["because"].as_str().unwrap().contains("Calendar"), "{buffer}");
    assert_eq!(rule("2031-01-06T12:00:00+01:00")["rule"], "hours");
    shop.refused("POST", "/bookings", wish("2031-01-06T12:00:00+01:00"), 409, "not-bookable");
    shop.refused("POST", "/bookings", wish("2031-01-13T09:00:00+01:00"), 409, "not-bookable");
    shop.refused("POST", "/bookings", wish("2031-01-06T10:30:00+01:00"), 409, "slot-taken");
    for start in ["2031-01-06T09:00:00+01:00", "2031-01-06T11:00:00+01:00"] {
        shop.ok("POST", "/bookings", Some(wish(start)));
    }
    let full = shop.ok("GET", path, None);
    assert_eq!(starts(&full), Vec::<String>::new());
    assert!(full["refused"].as_array().unwrap().iter().any(|r| r["rule"] == "daily_cap"), "{full}");
    // A token that only books learns that there is an event, not which.
    let counter = token(&shop.served, "anna", &[Scope::Bookings]);
    let answer = shop.say(&counter, "GET", path, &[], None);
    assert!(!String::from_utf8_lossy(&answer.body).contains("Secret"), "{}", answer.show());
}

// What is not accepted is told with its path.
#[test]
fn values_that_are_not_accepted_are_named() {
    let shop = Shop::plain();
    let rows = [
        (json!({}), "start"),
        (json!({"start": "tomorrow", "duration": "PT1H"}), "start"),
        (json!({"start": "2031-01-06T09:00:00", "duration": "PT1H"}), "start"),
        (json!({"start": "2031-01-06T09:00:00Z"}), "end"),
        (json!({"start": "2031-01-06T09:00:00Z", "end": "2031-01-06T09:00:00Z"}), "end"),
        (json!({"start": "2031-01-06T09:00:00Z", "duration": "1h"}), "duration"),
        (json!({"start": "2031-01-06T09:00:00Z", "duration": "PT1H", "time_zone": "Mars"}), "time_zone"),
        (json!({"start": "2031-01-06T09:00:00Z", "duration": "PT1H", "hold_for": "PT2H"}), "hold_for"),
        (json!({"start": "2031-01-06T09:00:00Z", "duration": "PT1H", "calendar": "999"}), "calendar"),
        (json!({"start": "2031-01-06T09:00:00Z", "duration": "PT1H", "colour": 1}), "colour"),
        (json!({"start": "2031-01-06T09:00:00Z", "duration": "PT1H", "status": "cancelled"}), "status"),
        (
            json!({"start": "2031-01-06T09:00:00Z", "duration": "PT1H", "customer": {"name": "E", "email": "x"}}),
            "customer.email",
        ),
    ];
    for (body, field) in rows {
        let problem = shop.refused("POST", "/bookings", body.clone(), 422, "invalid");
        assert_eq!(problem["field"], field, "{body}");
    }
    for (body, field) in [
        (json!({"calendars": ["1"]}), "calendars[0]"),
        (json!({"hours": {"weekly": {"mon": [{"from": "9", "to": "10:00"}]}}}), "hours.weekly.mon[0].from"),
        (json!({"availability": "BEGIN:NOTHING"}), "availability"),
        (json!({"daily_cap": 0}), "daily_cap"),
        (json!({"out_of_office": "maybe"}), "out_of_office"),
        (json!({"live_check": {"fallback": "hope"}}), "live_check.fallback"),
    ] {
        let problem = shop.refused("PATCH", "/booking-settings", body.clone(), 422, "invalid");
        assert_eq!(problem["field"], field, "{body}");
    }
    for (query, field) in [
        ("to=2031-01-07T00:00:00Z&duration=PT1H", "from"),
        ("from=2031-01-07T00:00:00Z&to=2031-01-06T00:00:00Z&duration=PT1H", "to"),
        ("from=2031-01-06T00:00:00Z&to=2033-01-07T00:00:00Z&duration=PT1H", "to"),
        ("from=2031-01-06T00:00:00Z&to=2031-01-07T00:00:00Z", "duration"),
        ("from=2031-01-06T00:00:00Z&to=2031-01-07T00:00:00Z&duration=PT0S", "duration"),
        ("from=2031-01-06T00:00:00Z&to=2031-01-07T00:00:00Z&duration=PT1H&explain=yes", "explain"),
    ] {
        let (status, problem) = shop.ask("GET", &format!("/availability?{query}"), None);
        assert_eq!((status, &problem["field"]), (422, &json!(field)), "{query}: {problem}");
    }
}

// S1: a token reaches its own user's time only; administrators everybody's.
#[test]
fn whose_time_it_is() {
    let shop = Shop::plain();
    let made = shop.ok("POST", "/bookings", Some(wish("2031-01-06T09:00:00+01:00")));
    let path = format!("/bookings/{}", made["id"].as_str().unwrap());
    let range = "from=2031-01-06T00:00:00Z&to=2031-01-07T00:00:00Z";
    let bert = token(&shop.served, "bert", &[Scope::Read, Scope::Bookings, Scope::Admin]);
    for (method, path) in [
        ("GET", path.clone()),
        ("DELETE", path.clone()),
        ("GET", format!("{path}?user=anna")),
        ("GET", format!("/freebusy?{range}&user=anna")),
        ("GET", format!("/availability?{range}&duration=PT1H&user=anna")),
        ("GET", "/booking-settings?user=anna".to_owned()),
    ] {
        let answer = shop.say(&bert, method, &path, &[], None);
        assert_eq!(answer.status, 404, "{method} {path}: {}", answer.show());
    }
    let mut theirs = wish("2031-01-06T12:00:00+01:00");
    theirs["calendar"] = json!(shop.calendar);
    let answer = shop.say(&bert, "POST", "/bookings", &[], Some(theirs.clone()));
    assert_eq!(answer.status, 422, "{}", answer.show());
    let update = shop.served.guard().house().update_principal("bert", |bert| {
        bert.admin = true;
        Ok(())
    });
    shop.served.runtime().block_on(update).unwrap();
    let boss = token(&shop.served, "bert", &[Scope::Read, Scope::Bookings, Scope::Admin]);
    let answer = shop.say(&boss, "POST", "/bookings", &[], Some(theirs));
    assert_eq!((answer.status, &document(&answer)["user"]), (201, &json!("anna")), "{}", answer.show());
    let seen = shop.say(&boss, "GET", &format!("{path}?user=anna"), &[], None);
    assert_eq!(seen.status, 200, "{}", seen.show());
    let look = token(&shop.served, "anna", &[Scope::Read]);
    let answer = shop.say(&look, "POST", "/bookings", &[], Some(wish("2031-01-08T09:00:00+01:00")));
    assert_eq!(answer.status, 403, "{}", answer.show());
}

// B-02: a calendar app is refused with a sentence where something is booked.
#[test]
fn an_exclusive_calendar_refuses_a_calendar_app() {
    let shop = Shop::plain();
    let path = format!("/calendars/{}", shop.calendar);
    assert_eq!(shop.ok("GET", &path, None)["exclusive"], false);
    let overlap = event("x", "20310106T083000Z", "20310106T090000Z", "");
    shop.ok("POST", "/bookings", Some(wish("2031-01-06T09:00:00+01:00")));
    assert_eq!(shop.ok("PATCH", &path, Some(json!({"exclusive": true})))["exclusive"], true);
    let refused = shop.dav("PUT", "x.ics", &overlap);
    let text = String::from_utf8_lossy(&refused.body).into_owned();
    assert_eq!(refused.status, 403, "{text}");
    assert!(text.contains("no-overlap") && text.contains("2031-01-06 08:00"), "{text}");
    assert_eq!(shop.dav("GET", "x.ics", "").status, 404);
    let clear = event("x", "20310106T084500Z", "20310106T090000Z", "");
    assert_eq!(shop.dav("PUT", "x.ics", &clear).status, 201);
    assert_eq!(shop.ok("PATCH", &path, Some(json!({"exclusive": false})))["exclusive"], false);
    assert_eq!(shop.dav("PUT", "x.ics", &overlap).status, 204);
}

/// A far side with a calendar of anna's.
struct Far {
    _upstream: Arc<Upstream>,
    server: Running,
}

impl Far {
    fn start(shop: &Shop) -> Far {
        shop.served.runtime().block_on(async {
            let clock = Clock::fixed(1_790_000_000_000);
            let upstream = Arc::new(Upstream::start("anna", "geheim", clock.clone()).await.unwrap());
            let options = Options { clock, ..Options::default() };
            let server = Server::start(options, Arc::clone(&upstream) as Arc<_>).await.unwrap();
            Far { _upstream: upstream, server }
        })
    }

    fn put(&self, calendar: &str, uid: &str, text: &str) {
        let at = self.server.url().trim_start_matches("http://").trim_end_matches('/').parse().unwrap();
        let both = base64::engine::general_purpose::STANDARD.encode("anna:geheim");
        let request = Request {
            method: "PUT".into(),
            target: format!("{calendar}{uid}.ics"),
            headers: vec![("Authorization".to_owned(), format!("Basic {both}"))],
            body: text.as_bytes().to_vec(),
        };
        let answer = send(at, &request).unwrap();
        assert!(matches!(answer.status, 201 | 204), "{}", answer.show());
    }
}

const BRIDGED: &[&str] = &[
    "[bridge]",
    "allow_private = true",
    "window_past = \"all\"",
    "window_future = \"all\"",
    "[limits]",
    "manual_sync = 100000",
    "[limits.calls_per_minute]",
    "caldav = 100000",
];

/// A calendar here that a far side is mapped to; returns it, the mapping and the calendar's path there.
fn bridged(shop: &Shop, far: &Far) -> (String, String, String) {
    let credentials = json!({"url": far.server.url(), "username": "anna", "password": "geheim"});
    let connection = shop.ok("POST", "/connections/caldav", Some(credentials));
    let connection = connection["id"].as_str().unwrap().to_owned();
    let there = shop.ok("GET", &format!("/connections/{connection}/calendars"), None);
    let remote = there["items"][0]["id"].as_str().unwrap().to_owned();
    let here = shop.ok("POST", "/calendars", Some(json!({"name": "remote"})));
    let here = here["id"].as_str().unwrap().to_owned();
    let mapping = shop.ok(
        "POST",
        "/mappings",
        Some(json!({"calendar": here, "connection": connection, "remote_calendar": remote,
                    "direction": "pull", "conflict_policy": "external"})),
    );
    let path = url::Url::parse(&remote).map_or(remote.clone(), |url| url.path().to_owned());
    (here, mapping["id"].as_str().unwrap().to_owned(), path)
}

// B-07, B-13, B-14, S1-094: what a far side has is asked for before something is booked, if that is set; every answer says
// how old it is.
#[test]
fn a_far_side_is_asked_before_something_is_booked() {
    let shop = Shop::start(BRIDGED);
    let far = Far::start(&shop);
    let (_, mapping, path) = bridged(&shop, &far);
    let live = |fallback: &str| {
        let live = json!({"live_check": {"max_age": "PT0S", "time_limit": "PT20S", "fallback": fallback}});
        shop.ok("PATCH", "/booking-settings", Some(live));
    };
    live("refuse");
    far.put(&path, "dentist", &event("dentist", "20310106T083000Z", "20310106T090000Z", ""));
    let problem = shop.refused("POST", "/bookings", wish("2031-01-06T09:00:00+01:00"), 409, "slot-taken");
    assert_eq!(problem["blocking"]["title"], "Secret dentist", "{problem}");
    let offer = |more: &str| {
        let range = "from=2031-01-06T08:00:00Z&to=2031-01-06T10:00:00Z&duration=PT30M&step=PT30M";
        shop.ok("GET", &format!("/availability?{range}{more}"), None)
    };
    let offered = offer("");
    assert_eq!(offered["sources"][0]["mapping"], json!(mapping), "{offered}");
    assert!(offered["sources"][0]["last_synced_at"].is_string(), "{offered}");
    assert_eq!(offered["sources"][0]["push_alive"], false);
    assert_eq!(offered["slots"].as_array().unwrap().len(), 3, "{offered}");
    // B-14: asked to be fresh, it is.
    far.put(&path, "more", &event("more", "20310106T093000Z", "20310106T100000Z", ""));
    assert_eq!(offer("&max_age=PT0S")["slots"].as_array().unwrap().len(), 2);
    // Nobody answers.
    drop(far);
    let (status, problem) = shop.ask("POST", "/bookings", Some(wish("2031-01-07T09:00:00+01:00")));
    assert_eq!(status, 409, "{problem}");
    assert!(problem["type"].as_str().unwrap().ends_with("/sources-stale"), "{problem}");
    live("pending");
    assert_eq!(shop.ok("POST", "/bookings", Some(wish("2031-01-07T09:00:00+01:00")))["status"], "pending");
    live("accept");
    assert_eq!(shop.ok("POST", "/bookings", Some(wish("2031-01-07T12:00:00+01:00")))["status"], "confirmed");
}

/// One connection that is kept, so that many speak at the same moment.
struct Line(TcpStream);

impl Line {
    async fn open(address: SocketAddr) -> Line {
        Line(TcpStream::connect(address).await.unwrap())
    }

    async fn ask(
        &mut self,
        method: &str,
        target: &str,
        authorization: &str,
        kind: &str,
        body: &str,
    ) -> (u16, String) {
        let request = format!(
            "{method} {target} HTTP/1.1\r\nHost: kalends.test\r\nAuthorization: {authorization}\r\nContent-Type: {kind}\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        self.0.write_all(request.as_bytes()).await.unwrap();
        let mut input = Vec::new();
        let mut buffer = [0; 8192];
        loop {
            if let Some(at) = input.windows(4).position(|window| window == b"\r\n\r\n") {
                let head = String::from_utf8_lossy(&input[..at]).to_ascii_lowercase();
                let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
                let length: usize = length.map_or(0, |text| text.trim().parse().unwrap());
                if input.len() >= at + 4 + length {
                    let body = String::from_utf8_lossy(&input[at + 4..at + 4 + length]).into_owned();
                    return (head[9..12].parse().unwrap(), body);
                }
            }
            let read = self.0.read(&mut buffer).await.unwrap();
            assert!(read > 0, "the server hung up");
            input.extend_from_slice(&buffer[..read]);
        }
    }
}

/// Rivals of a round, and rounds.
const RIVALS: usize = 200;
const ROUNDS: usize = 50;

// B-01, B-02, B-03, B-05, S1-094: two hundred rivals for one time, fifty times, while calendar apps write around it and over it
// and a far side is pulled. Exactly one of each round gets a 201, the others learn what is in the way. In every fifth round
// somebody with a calendar app wants that time too: the calendar is exclusive, so one of all gets it.
#[test]
fn of_two_hundred_rivals_exactly_one_wins() {
    let shop = Shop::start(BRIDGED);
    let far = Far::start(&shop);
    let (_, mapping, path) = bridged(&shop, &far);
    shop.ok("PATCH", &format!("/calendars/{}", shop.calendar), Some(json!({"exclusive": true})));
    let address = shop.served.address();
    let bearer = format!("Bearer {}", shop.token);
    shop.served.runtime().block_on(async {
        let mut lines = Vec::new();
        for _ in 0..RIVALS {
            lines.push(Line::open(address).await);
        }
        let mut hands = Vec::new();
        for _ in 0..8 {
            hands.push(Line::open(address).await);
        }
        for round in 0..ROUNDS {
            let day = format!("203101{:02}", round % 28 + 1);
            let hour = 8 + round / 28 * 4;
            let start = format!("2031-01-{:02}T{hour:02}:00:00Z", round % 28 + 1);
            let contested = round % 5 == 4;
            let rivals: Vec<_> = std::mem::take(&mut lines).into_iter().enumerate().map(|(rival, mut line)| {
                let (bearer, start) = (bearer.clone(), start.clone());
                tokio::spawn(async move {
                    let mut body = json!({"start": start, "duration": "PT1H", "customer": {"name": format!("{rival}")}});
                    if rival % 10 == 3 {
                        body["hold_for"] = json!("PT5M");
                    }
                    let answer =
                        line.ask("POST", "/api/v1/bookings", &bearer, "application/json", &body.to_string()).await;
                    (line, answer)
                })
            }).collect();
            // By hand: at other times that day, transparently at the very time, and sometimes for real.
            let writes: Vec<_> = std::mem::take(&mut hands).into_iter().enumerate().map(|(n, mut line)| {
                let uid = format!("hand-{round}-{n}");
                let at = |hour: usize, minute: usize| format!("{day}T{hour:02}{minute:02}00Z");
                let (from, to, more) = match n {
                    0 if contested => (at(hour, 30), at(hour, 40), ""),
                    1 | 2 => (at(hour, 0), at(hour, 45), "TRANSP:TRANSPARENT\r\n"),
                    n => (at(hour + 1, n * 6), at(hour + 1, n * 6 + 5), ""),
                };
                let text = event(&uid, &from, &to, more);
                let target = format!("/dav/calendars/anna/calendar/{uid}.ics");
                tokio::spawn(async move {
                    let answer = line.ask("PUT", &target, &basic(), "text/calendar", &text).await;
                    (line, answer)
                })
            }).collect();
            // A far side, at another time.
            let uid = format!("far-{round}");
            let text = event(&uid, &format!("{day}T200000Z"), &format!("{day}T210000Z"), "");
            tokio::task::block_in_place(|| far.put(&path, &uid, &text));
            let sync = format!("/api/v1/mappings/{mapping}/sync");
            let begun = Line::open(address).await.ask("POST", &sync, &bearer, "application/json", "{}").await;
            assert_eq!(begun.0, 202, "{}", begun.1);
            let mut won = Vec::new();
            let mut lost = Vec::new();
            for rival in rivals {
                let (line, (status, body)) = rival.await.unwrap();
                lines.push(line);
                let body: Value = serde_json::from_str(&body).unwrap();
                match status {
                    201 => won.push((body["start"].clone(), body["end"].clone())),
                    409 => lost.push(body),
                    other => panic!("round {round}: {other} {body}"),
                }
            }
            let mut by_hand = 0;
            for (n, write) in writes.into_iter().enumerate() {
                let (line, (status, body)) = write.await.unwrap();
                hands.push(line);
                let real = contested && n == 0;
                match status {
                    201 => by_hand += usize::from(real),
                    403 if real => {}
                    other => panic!("round {round}, hand {n}: {other} {body}"),
                }
            }
            assert_eq!(won.len() + by_hand, 1, "round {round}: {won:?}");
            assert_eq!(lost.len(), RIVALS - won.len());
            let blocking = match won.first() {
                Some(_) => (format!("2031-01-{:02}T{hour:02}:00:00Z", round % 28 + 1), format!("2031-01-{:02}T{:02}:00:00Z", round % 28 + 1, hour + 1)),
                None => (format!("2031-01-{:02}T{hour:02}:30:00Z", round % 28 + 1), format!("2031-01-{:02}T{hour:02}:40:00Z", round % 28 + 1)),
            };
            for problem in lost {
                assert!(problem["type"].as_str().unwrap().ends_with("/slot-taken"), "{problem}");
                assert_eq!((problem["blocking"]["start"].as_str().unwrap(), problem["blocking"]["end"].as_str().unwrap()), (blocking.0.as_str(), blocking.1.as_str()), "{problem}");
            }
            // Afterwards nobody gets in by hand either.
            let uid = format!("late-{round}");
            let text = event(&uid, &format!("{day}T{hour:02}3000Z"), &format!("{day}T{hour:02}3500Z"), "");
            let target = format!("/dav/calendars/anna/calendar/{uid}.ics");
            let late = hands[0].ask("PUT", &target, &basic(), "text/calendar", &text).await;
            assert_eq!(late.0, 403, "round {round}: {}", late.1);
        }
    });
    // What came from the far side is here.
    let busy = || shop.ok("GET", "/freebusy?from=2031-01-28T19:00:00Z&to=2031-01-28T22:00:00Z", None);
    wait_for("the pull", busy, |busy| busy["busy"].as_array().unwrap().len() == 1);
}

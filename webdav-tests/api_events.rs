//! Events over the JSON API: round trips without loss, changes that touch only what they name, series and instances.

use serde_json::{Value, json};

use crate::app::{App, document, problem};
use crate::dialogue::{Host as _, Request, Response, send};

const SERIES: &str = "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//test//EN\r\nX-WR-TIMEZONE:Europe/Berlin\r\n\
    BEGIN:VTIMEZONE\r\nTZID:Europe/Berlin\r\nBEGIN:DAYLIGHT\r\nTZOFFSETFROM:+0100\r\nTZOFFSETTO:+0200\r\nTZNAME:CEST\r\n\
    DTSTART:19700329T020000\r\nRRULE:FREQ=YEARLY;BYMONTH=3;BYDAY=-1SU\r\nEND:DAYLIGHT\r\nBEGIN:STANDARD\r\n\
    TZOFFSETFROM:+0200\r\nTZOFFSETTO:+0100\r\nTZNAME:CET\r\nDTSTART:19701025T030000\r\n\
    RRULE:FREQ=YEARLY;BYMONTH=10;BYDAY=-1SU\r\nEND:STANDARD\r\nEND:VTIMEZONE\r\nBEGIN:VEVENT\r\nUID:series\r\n\
    DTSTAMP:20260101T000000Z\r\nSEQUENCE:3\r\nDTSTART;TZID=Europe/Berlin:20260316T100000\r\n\
    DTEND;TZID=Europe/Berlin:20260316T110000\r\nRRULE:FREQ=WEEKLY;COUNT=5\r\n\
    EXDATE;TZID=Europe/Berlin:20260323T100000\r\nSUMMARY;LANGUAGE=de:Wöchentlich\r\nX-KEPT;X-P=1:as it is\r\n\
    ATTENDEE;CN=Bert;PARTSTAT=ACCEPTED:mailto:bert@example.org\r\nCATEGORIES:work,\\, odd\r\nBEGIN:VALARM\r\n\
    ACTION:DISPLAY\r\nTRIGGER:-PT15M\r\nX-APPLE-DEFAULT-ALARM:TRUE\r\nDESCRIPTION:x\r\nEND:VALARM\r\nEND:VEVENT\r\n\
    BEGIN:VEVENT\r\nUID:series\r\nDTSTAMP:20260101T000000Z\r\nRECURRENCE-ID;TZID=Europe/Berlin:20260330T100000\r\n\
    DTSTART;TZID=Europe/Berlin:20260331T150000\r\nDTEND;TZID=Europe/Berlin:20260331T160000\r\n\
    SUMMARY;LANGUAGE=de:Wöchentlich\r\nX-KEPT;X-P=1:as it is\r\nCATEGORIES:work,\\, odd\r\nEND:VEVENT\r\n\
    END:VCALENDAR\r\n";

struct Calendar {
    app: App,
    path: String,
}

impl Calendar {
    fn start() -> Calendar {
        let app = App::start("read events");
        let path = format!("/calendars/{}/events", app.calendar());
        Calendar { app, path }
    }

    fn ask(&self, method: &str, uid: &str, body: Option<&Value>) -> Response {
        self.ask_with(method, uid, &[], body)
    }

    fn ask_with(&self, method: &str, uid: &str, headers: &[(&str, &str)], body: Option<&Value>) -> Response {
        let path = if uid.is_empty() { self.path.clone() } else { format!("{}/{uid}", self.path) };
        self.app.send(&self.app.token, method, &path, headers, body)
    }

    fn json(&self, method: &str, uid: &str, body: Option<&Value>, status: u16) -> Value {
        let answer = self.ask(method, uid, body);
        assert_eq!(answer.status, status, "{method} {uid} {body:?}: {}", answer.show());
        document(&answer)
    }

    fn text(&self, uid: &str) -> String {
        let answer = self.ask_with("GET", uid, &[("Accept", "text/calendar")], None);
        assert_eq!(answer.status, 200, "{}", answer.show());
        String::from_utf8(answer.body).unwrap()
    }

    fn put_text(&self, method: &str, uid: &str, text: &str) -> Response {
        let path = if uid.is_empty() { self.path.clone() } else { format!("{}/{uid}", self.path) };
        let request = Request {
            method: method.into(),
            target: format!("/api/v1{path}"),
            headers: vec![
                ("Authorization".into(), format!("Bearer {}", self.app.token)),
                ("Content-Type".into(), "text/calendar; charset=utf-8".into()),
            ],
            body: text.as_bytes().to_vec(),
        };
        send(self.app.served.address(), &request).unwrap()
    }
}

/// The lines of one text that the other does not have.
fn differing(one: &str, other: &str) -> Vec<String> {
    let mut rest: Vec<&str> = other.lines().collect();
    let mut found = Vec::new();
    for line in one.lines() {
        match rest.iter().position(|r| *r == line) {
            Some(at) => {
                rest.remove(at);
            }
            None => found.push(line.to_owned()),
        }
    }
    found
}

// S0-009: also by a program that says it again: what is the same changes nothing
#[test]
fn an_event_is_made_read_changed_and_removed() {
    let calendar = Calendar::start();
    let new = json!({
        "title": "Haircut", "start": "2026-03-02T09:00:00+01:00", "duration": "PT45M", "time_zone": "Europe/Berlin",
        "location": "Main street 1", "description": "Two\nlines; and, more", "categories": ["hair", "a, b"],
        "free_busy": "busy", "status": "tentative", "privacy": "private",
        "alerts": [{"trigger": "-PT30M"}, {"trigger": "2026-03-02T07:00:00Z", "action": "audio"}],
    });
    let made = calendar.ask("POST", "", Some(&new));
    assert_eq!(made.status, 201, "{}", made.show());
    let event = document(&made);
    let uid = event["uid"].as_str().unwrap().to_owned();
    assert_eq!(made.all("location"), [event["href"].as_str().unwrap()]);
    assert_eq!(made.all("etag"), [format!("\"{}\"", event["etag"].as_str().unwrap())]);
    for (name, value) in [
        ("title", json!("Haircut")),
        ("start", json!("2026-03-02T09:00:00+01:00")),
        ("end", json!("2026-03-02T09:45:00+01:00")),
        ("duration", json!("PT45M")),
        ("time_zone", json!("Europe/Berlin")),
        ("all_day", json!(false)),
        ("location", json!("Main street 1")),
        ("description", json!("Two\nlines; and, more")),
        ("categories", json!(["hair", "a, b"])),
        ("status", json!("tentative")),
        ("privacy", json!("private")),
        ("recurrence", json!([])),
        ("overrides", json!({})),
        ("origin", json!({"kind": "local", "mapping": null, "provider": null, "account": null})),
        ("locked", json!(false)),
    ] {
        assert_eq!(event[name], value, "{name}: {event}");
    }
    let alerts = event["alerts"].as_array().unwrap();
    assert_eq!(
        (alerts[0]["trigger"].as_str(), alerts[1]["action"].as_str()),
        (Some("-PT30M"), Some("audio"))
    );
    let text = calendar.text(&uid);
    assert!(text.contains("BEGIN:VTIMEZONE\r\nTZID:Europe/Berlin"), "{text}");
    assert!(text.contains("DTSTART;TZID=Europe/Berlin:20260302T090000\r\n"), "{text}");
    // What was read is sent back: nothing changes, not even the tag.
    let same = calendar.json("PUT", &uid, Some(&event), 200);
    assert_eq!(same, event);
    assert_eq!(calendar.text(&uid), text);
    // A move keeps the length, whatever names it.
    let moved = calendar.json("PATCH", &uid, Some(&json!({"start": "2026-03-03T15:00:00Z"})), 200);
    assert_eq!(
        (moved["start"].as_str(), moved["end"].as_str()),
        (Some("2026-03-03T16:00:00+01:00"), Some("2026-03-03T16:45:00+01:00"))
    );
    assert_eq!(moved["sequence"], 1);
    let changed = differing(&calendar.text(&uid), &text);
    let names: Vec<&str> = changed.iter().map(|line| line.split([';', ':']).next().unwrap()).collect();
    assert!(
        names.iter().all(|n| ["DTSTART", "DTSTAMP", "LAST-MODIFIED", "SEQUENCE"].contains(n)),
        "{changed:?}"
    );
    // If-Match is what the caller read.
    let stale = calendar.ask_with("PATCH", &uid, &[("If-Match", "\"old\"")], Some(&json!({"title": "x"})));
    problem(&stale, 412, "stale");
    let tag = format!("\"{}\"", moved["etag"].as_str().unwrap());
    let fresh =
        calendar.ask_with("PATCH", &uid, &[("If-Match", &tag)], Some(&json!({"title": null, "alerts": []})));
    assert_eq!((fresh.status, &document(&fresh)["title"]), (200, &Value::Null), "{}", fresh.show());
    assert!(!calendar.text(&uid).contains("VALARM"));
    problem(&calendar.ask_with("DELETE", &uid, &[("If-Match", &tag)], None), 412, "stale");
    assert_eq!(calendar.ask("DELETE", &uid, None).status, 204);
    problem(&calendar.ask("GET", &uid, None), 404, "not-found");
    problem(&calendar.ask("PATCH", &uid, Some(&json!({"title": "x"}))), 404, "not-found");
    assert_eq!(calendar.app.get("/trash")["items"][0]["title"], Value::Null);
}

#[test]
fn times_are_what_they_were_said_to_be() {
    let calendar = Calendar::start();
    // What is said, and start, end, zone and length that come of it.
    let rows = [
        (json!({"start": "2026-07-01", "title": "a"}), ["2026-07-01", "2026-07-02", "-", "P1D"]),
        (json!({"start": "2026-07-01", "end": "2026-07-04"}), ["2026-07-01", "2026-07-04", "-", "P3D"]),
        (
            json!({"start": "2026-07-01", "duration": "P2D", "all_day": true}),
            ["2026-07-01", "2026-07-03", "-", "P2D"],
        ),
        (
            json!({"start": "2026-07-01T10:00:00Z", "duration": "PT1H"}),
            ["2026-07-01T10:00:00Z", "2026-07-01T11:00:00Z", "UTC", "PT1H"],
        ),
        (
            json!({"start": "2026-07-01T10:00:00+02:00", "end": "2026-07-01T05:00:00-04:00", "time_zone": "Europe/Berlin"}),
            ["2026-07-01T10:00:00+02:00", "2026-07-01T11:00:00+02:00", "Europe/Berlin", "PT1H"],
        ),
        (
            json!({"start": "2026-07-01T10:00:00", "end": "2026-07-01T12:30:00", "time_zone": "America/New_York"}),
            ["2026-07-01T10:00:00-04:00", "2026-07-01T12:30:00-04:00", "America/New_York", "PT2H30M"],
        ),
        (
            json!({"start": "2026-07-01T10:00:00", "duration": "PT0S", "time_zone": null}),
            ["2026-07-01T10:00:00", "2026-07-01T10:00:00", "-", "PT0S"],
        ),
        // The night in which the clock goes back is an hour longer; hours are exact.
        (
            json!({"start": "2026-10-24T20:00:00", "duration": "PT12H", "time_zone": "Europe/Berlin"}),
            ["2026-10-24T20:00:00+02:00", "2026-10-25T07:00:00+01:00", "Europe/Berlin", "PT12H"],
        ),
        // A Windows name is a zone too.
        (
            json!({"start": "2026-01-01T10:00:00", "duration": "PT1H", "time_zone": "W. Europe Standard Time"}),
            ["2026-01-01T10:00:00+01:00", "2026-01-01T11:00:00+01:00", "Europe/Berlin", "PT1H"],
        ),
    ];
    for (said, [start, end, zone, length]) in rows {
        let event = calendar.json("POST", "", Some(&said), 201);
        let found = ["start", "end", "time_zone", "duration"]
            .map(|name| event[name].as_str().unwrap_or("-").to_owned());
        assert_eq!(found, [start, end, zone, length], "{said}");
        let again = calendar.json("PUT", event["uid"].as_str().unwrap(), Some(&event), 200);
        assert_eq!(again["etag"], event["etag"], "{said}");
    }
    for (said, field) in [
        (json!({"title": "x"}), "start"),
        (json!({"start": "2026-07-01T10:00:00Z"}), "end"),
        (json!({"start": "soon", "duration": "PT1H"}), "start"),
        (json!({"start": "2026-02-30", "duration": "P1D"}), "start"),
        (json!({"start": "2026-07-01T10:00:00Z", "end": "2026-07-01T09:00:00Z"}), "end"),
        (json!({"start": "2026-07-02", "end": "2026-07-02"}), "end"),
        (json!({"start": "2026-07-01T10:00:00Z", "end": "2026-07-02"}), "end"),
        (json!({"start": "2026-07-01", "duration": "PT5H"}), "duration"),
        (
            json!({"start": "2026-07-01T10:00:00Z", "end": "2026-07-01T11:00:00Z", "duration": "PT2H"}),
            "duration",
        ),
        (
            json!({"start": "2026-07-01T10:00:00", "duration": "PT1H", "time_zone": "Nowhere/Land"}),
            "time_zone",
        ),
        (json!({"start": "2026-07-01T10:00:00Z", "duration": "PT1H", "all_day": true}), "start"),
        (json!({"start": "2026-07-01", "title": 7}), "title"),
        (json!({"start": "2026-07-01", "status": "maybe"}), "status"),
        (json!({"start": "2026-07-01", "url": "no address"}), "url"),
        (json!({"start": "2026-07-01", "categories": [""]}), "categories"),
        (json!({"start": "2026-07-01", "alerts": [{"trigger": "soon"}]}), "alerts[0].trigger"),
        (json!({"start": "2026-07-01", "alerts": [{"trigger": "-PT5M", "x": 1}]}), "alerts[0].x"),
        (json!({"start": "2026-07-01", "recurrence": ["FREQ=DAILY"]}), "recurrence"),
        (json!({"start": "2026-07-01", "recurrence": ["RRULE:FREQ=SOMETIMES"]}), "recurrence"),
        (json!({"start": "2026-07-01", "colour": "red"}), "colour"),
        (
            json!({"start": "2026-07-01", "overrides": {"2026-07-01": {"colour": 1}}}),
            "overrides.2026-07-01.colour",
        ),
    ] {
        let answer = calendar.ask("POST", "", Some(&said));
        assert_eq!(problem(&answer, 422, "invalid")["field"], field, "{said}");
    }
}

#[test]
fn a_series_is_changed_instance_by_instance_and_nothing_else() {
    let calendar = Calendar::start();
    let made = calendar.put_text("POST", "", SERIES);
    assert_eq!(made.status, 201, "{}", made.show());
    assert_eq!(calendar.text("series"), SERIES, "the text is kept as it came");
    let event = document(&made);
    assert_eq!(event["recurrence"], json!(["RRULE:FREQ=WEEKLY;COUNT=5"]));
    assert_eq!(
        event["overrides"],
        json!({
            "2026-03-23T10:00:00": {"excluded": true},
            "2026-03-30T10:00:00": {"start": "2026-03-31T15:00:00+02:00", "end": "2026-03-31T16:00:00+02:00", "alerts": []},
        })
    );
    assert_eq!(event["categories"], json!(["work", ", odd"]));
    assert_eq!(event["attendees"][0]["email"], "bert@example.org");
    // The document that was read is the event.
    assert_eq!(calendar.json("PUT", "series", Some(&event), 200)["etag"], event["etag"]);
    // A title of the whole leaves the exception its own.
    let named = calendar.json("PATCH", "series", Some(&json!({"title": "Weekly"})), 200);
    assert_eq!(named["sequence"], 3, "a title is no new revision");
    let text = calendar.text("series");
    assert_eq!(text.matches("SUMMARY;LANGUAGE=de:Weekly").count(), 1, "{text}");
    assert_eq!(text.matches("SUMMARY;LANGUAGE=de:Wöchentlich").count(), 1);
    assert!(text.contains("X-KEPT;X-P=1:as it is") && text.contains("X-APPLE-DEFAULT-ALARM:TRUE"));
    // One instance gets a place, one comes back, one goes, one loses what was its own.
    let change = json!({"overrides": {
        "2026-04-06T10:00:00": {"location": "Elsewhere", "start": "2026-04-06T12:00:00"},
        "2026-03-23T10:00:00": null,
        "2026-04-13T10:00:00": {"excluded": true},
    }});
    let changed = calendar.json("PATCH", "series", Some(&change), 200);
    assert_eq!(
        changed["overrides"].as_object().unwrap().keys().collect::<Vec<_>>(),
        ["2026-03-30T10:00:00", "2026-04-06T10:00:00", "2026-04-13T10:00:00"]
    );
    assert_eq!(changed["overrides"]["2026-04-06T10:00:00"]["end"], "2026-04-06T13:00:00+02:00");
    assert_eq!(changed["sequence"], 4);
    // Instances in the order of time.
    let path = format!("{}?expand=true&from=2026-03-01&to=2026-05-01", calendar.path);
    let all = calendar.app.get(&path);
    let starts: Vec<&str> =
        all["items"].as_array().unwrap().iter().map(|i| i["start"].as_str().unwrap()).collect();
    assert_eq!(
        starts,
        [
            "2026-03-16T10:00:00+01:00",
            "2026-03-23T10:00:00+01:00",
            "2026-03-31T15:00:00+02:00",
            "2026-04-06T12:00:00+02:00"
        ]
    );
    assert_eq!(all["items"][2]["recurrence_id"], "2026-03-30T10:00:00");
    assert_eq!(all["items"][3]["location"], "Elsewhere");
    let page = calendar.app.get(&format!("{path}&limit=3"));
    let rest = calendar.app.get(&format!("{path}&limit=3&cursor={}", page["next_cursor"].as_str().unwrap()));
    assert_eq!((rest["items"].as_array().unwrap().len(), &rest["next_cursor"]), (1, &Value::Null));
    // The whole moves by an hour, and its exceptions with it.
    let moved = calendar.json("PATCH", "series", Some(&json!({"start": "2026-03-16T11:00:00"})), 200);
    let keys: Vec<&String> = moved["overrides"].as_object().unwrap().keys().collect();
    assert_eq!(keys, ["2026-03-30T11:00:00", "2026-04-06T11:00:00", "2026-04-13T11:00:00"]);
    let all = calendar.app.get(&path);
    assert_eq!(all["items"].as_array().unwrap().len(), 4, "{all}");
    // No instance, no exception.
    for key in ["2026-03-17T11:00:00", "2026-03-16", "x"] {
        let answer = calendar.ask("PATCH", "series", Some(&json!({"overrides": {key: {"title": "x"}}})));
        assert_eq!(problem(&answer, 422, "invalid")["field"], format!("overrides.{key}"));
    }
    let whole_days = calendar.ask("PATCH", "series", Some(&json!({"start": "2026-03-16"})));
    problem(&whole_days, 422, "invalid");
    // Without a rule it is one event again.
    let single = calendar.json(
        "PUT",
        "series",
        Some(&json!({"start": "2026-03-16T11:00:00+01:00", "duration": "PT1H"})),
        200,
    );
    assert_eq!((&single["recurrence"], &single["overrides"]), (&json!([]), &json!({})));
    let text = calendar.text("series");
    assert!(
        text.contains("X-KEPT") && text.contains("ATTENDEE") && !text.contains("RRULE:FREQ=WEEKLY"),
        "{text}"
    );
}

#[test]
fn text_and_json_are_two_ways_to_the_same_event() {
    let calendar = Calendar::start();
    let made = calendar.put_text("PUT", "series", SERIES);
    assert_eq!(made.status, 201, "{}", made.show());
    assert_eq!(calendar.put_text("PUT", "series", SERIES).status, 200);
    problem(&calendar.put_text("PUT", "other", SERIES), 422, "invalid");
    problem(&calendar.put_text("POST", "", SERIES), 409, "uid-taken");
    problem(&calendar.put_text("POST", "", "no calendar"), 422, "invalid");
    // A task is kept as it came, and read as it is.
    let task = "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:x\r\nBEGIN:VTODO\r\nUID:task\r\nDTSTAMP:20260101T000000Z\r\nEND:VTODO\r\nEND:VCALENDAR\r\n";
    problem(&calendar.put_text("POST", "", task), 422, "invalid");
    // Over CalDAV the same object is there, under its UID.
    let dav = calendar.app.dav("GET", "series.ics", "");
    assert_eq!((dav.status, String::from_utf8(dav.body).unwrap()), (200, SERIES.to_owned()));
    // And what CalDAV wrote is listed.
    let single = crate::app::event("dav one", "From a client", "20260505T090000Z");
    assert_eq!(calendar.app.dav("PUT", "client.ics", &single).status, 201);
    let all = calendar.app.get(&calendar.path);
    assert_eq!(all["items"].as_array().unwrap().len(), 2);
    let first = calendar.app.get(&format!("{}?limit=1", calendar.path));
    let second = calendar.app.get(&format!(
        "{}?limit=1&cursor={}",
        calendar.path,
        first["next_cursor"].as_str().unwrap()
    ));
    assert_eq!((second["items"].as_array().unwrap().len(), &second["next_cursor"]), (1, &Value::Null));
    let may =
        calendar.app.get(&format!("{}?from=2026-05-05T00:00:00Z&to=2026-05-06T00:00:00Z", calendar.path));
    assert_eq!(may["items"][0]["title"], "From a client");
    assert_eq!(calendar.json("GET", "dav%20one", None, 200)["uid"], "dav one");
    for query in
        ["?expand=true", "?from=2026-01-01", "?from=2026-01-02&to=2026-01-01", "?from=x&to=y", "?limit=0"]
    {
        problem(
            &calendar.app.send(&calendar.app.token, "GET", &format!("{}{query}", calendar.path), &[], None),
            422,
            "invalid",
        );
    }
    // Nobody else comes near.
    let bert = calendar.app.served.token("bert", "read events").unwrap();
    for (method, path) in
        [("GET", "/series"), ("PATCH", "/series"), ("DELETE", "/series"), ("GET", ""), ("POST", "")]
    {
        let body = (method != "GET" && method != "DELETE").then(|| json!({"start": "2026-01-01"}));
        let answer =
            calendar.app.send(&bert, method, &format!("{}{path}", calendar.path), &[], body.as_ref());
        problem(&answer, 404, "not-found");
    }
}

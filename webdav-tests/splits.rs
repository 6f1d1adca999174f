//! Series that are divided over the JSON API: both parts together are what the series was, in one step or not at all.

use serde_json::{Value, json};

use crate::app::{App, document, problem};

const SERIES: &str = "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//test//EN\r\nBEGIN:VEVENT\r\nUID:s\r\nDTSTAMP:20260101T000000Z\r\n\
    SEQUENCE:3\r\nDTSTART;TZID=Europe/Berlin:20260302T090000\r\nDTEND;TZID=Europe/Berlin:20260302T100000\r\n\
    RRULE:FREQ=WEEKLY;COUNT=8\r\nEXDATE;TZID=Europe/Berlin:20260309T090000,20260413T090000\r\n\
    RDATE;TZID=Europe/Berlin:20260304T090000,20260402T090000\r\nSUMMARY:Class\r\nX-MINE;X-P=\"a;b\":kept\r\n\
    BEGIN:VALARM\r\nACTION:DISPLAY\r\nTRIGGER:-PT15M\r\nDESCRIPTION:x\r\nEND:VALARM\r\nEND:VEVENT\r\n\
    BEGIN:VEVENT\r\nUID:s\r\nDTSTAMP:20260101T000000Z\r\nRECURRENCE-ID;TZID=Europe/Berlin:20260330T090000\r\n\
    DTSTART;TZID=Europe/Berlin:20260331T150000\r\nDURATION:PT2H\r\nSUMMARY:Elsewhere\r\nX-OWN:1\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n";

struct Calendar {
    app: App,
    path: String,
}

impl Calendar {
    fn start() -> Calendar {
        let app = App::start("read events");
        assert_eq!(app.dav("PUT", "s.ics", SERIES).status, 201);
        let path = format!("/calendars/{}/events", app.calendar());
        Calendar { app, path }
    }

    fn split(&self, headers: &[(&str, &str)], body: &Value) -> crate::dialogue::Response {
        self.app.send(&self.app.token, "POST", &format!("{}/s/split", self.path), headers, Some(body))
    }

    fn text(&self, uid: &str) -> String {
        let path = format!("{}/{uid}", self.path);
        let answer = self.app.send(&self.app.token, "GET", &path, &[("Accept", "text/calendar")], None);
        assert_eq!(answer.status, 200, "{}", answer.show());
        String::from_utf8(answer.body).unwrap()
    }

    /// Start and title of every instance of the year.
    fn instances(&self) -> Vec<(String, String)> {
        let list = self.app.get(&format!("{}?expand=true&from=2026-01-01&to=2027-01-01", self.path));
        let text = |one: &Value, name: &str| one[name].as_str().unwrap().to_owned();
        list["items"].as_array().unwrap().iter().map(|one| (text(one, "start"), text(one, "title"))).collect()
    }
}

// Issue 5, "this and following": exceptions, added dates and overrides go with the part that they are of; nothing is lost
#[test]
fn both_parts_are_what_the_series_was() {
    let calendar = Calendar::start();
    let before = calendar.instances();
    assert_eq!(before.len(), 8, "{before:?}");
    let made = calendar.split(&[], &json!({ "at": "2026-03-23T09:00:00" }));
    assert_eq!(made.status, 201, "{}", made.show());
    let rest = document(&made);
    let uid = rest["uid"].as_str().unwrap();
    assert!(made.all("location").first().unwrap().ends_with(uid), "{}", made.show());
    assert_eq!((&rest["title"], &rest["start"]), (&json!("Class"), &json!("2026-03-23T09:00:00+01:00")));
    assert_eq!(calendar.instances(), before);
    let (first, rest) = (calendar.text("s"), calendar.text(uid));
    assert!(first.contains("RRULE:FREQ=WEEKLY;UNTIL=20260323T075959Z\r\n"), "{first}");
    assert!(first.contains("EXDATE;TZID=Europe/Berlin:20260309T090000\r\n"), "{first}");
    assert!(first.contains("RDATE;TZID=Europe/Berlin:20260304T090000\r\n"), "{first}");
    assert!(first.contains("UID:s\r\n") && !first.contains("Elsewhere"), "{first}");
    assert!(rest.contains("RRULE:FREQ=WEEKLY;COUNT=5\r\n"), "{rest}");
    assert!(rest.contains("EXDATE;TZID=Europe/Berlin:20260413T090000\r\n"), "{rest}");
    assert!(rest.contains("RDATE;TZID=Europe/Berlin:20260402T090000\r\n"), "{rest}");
    assert!(rest.contains("SUMMARY:Elsewhere\r\nX-OWN:1\r\n") && !rest.contains("UID:s\r\n"), "{rest}");
    for text in [&first, &rest] {
        assert!(
            text.contains("X-MINE;X-P=\"a;b\":kept\r\n") && text.contains("TRIGGER:-PT15M\r\n"),
            "{text}"
        );
        assert!(text.contains("SEQUENCE:4\r\n"), "{text}");
    }
    // What it was before is kept.
    let versions = calendar.app.get(&format!("{}/s/versions", calendar.path));
    assert_eq!(versions["items"].as_array().unwrap().len(), 1, "{versions}");
}

// Issue 5: the rest is changed in the same step; what was moved by itself stays by itself
#[test]
fn the_rest_is_changed_in_the_same_step() {
    let calendar = Calendar::start();
    let change = json!({ "title": "Later", "start": "2026-03-23T11:00:00", "end": "2026-03-23T12:30:00" });
    let made = calendar.split(&[], &json!({ "at": "2026-03-23T09:00:00", "change": change }));
    assert_eq!(made.status, 201, "{}", made.show());
    let told = calendar.instances();
    let told: Vec<(&str, &str)> = told.iter().map(|(start, title)| (&start[..16], title.as_str())).collect();
    let expected = [
        ("2026-03-02T09:00", "Class"),
        ("2026-03-04T09:00", "Class"),
        ("2026-03-16T09:00", "Class"),
        ("2026-03-23T11:00", "Later"),
        ("2026-03-31T15:00", "Elsewhere"),
        ("2026-04-02T09:00", "Later"),
        ("2026-04-06T11:00", "Later"),
        ("2026-04-20T11:00", "Later"),
    ];
    assert_eq!(told, expected);
}

#[test]
fn what_is_wrong_is_said_and_nothing_is_changed() {
    let calendar = Calendar::start();
    let before = calendar.text("s");
    for at in ["2026-03-02T09:00:00", "2026-03-09T09:00:00", "2026-03-24T09:00:00", "2026-03-23", "soon"] {
        let why = problem(&calendar.split(&[], &json!({ "at": at })), 422, "invalid");
        assert_eq!(why["field"], "at", "{at}: {why}");
    }
    let at = "2026-03-23T09:00:00";
    let why =
        problem(&calendar.split(&[], &json!({ "at": at, "change": { "start": "soon" } })), 422, "invalid");
    assert_eq!(why["field"], "change.start", "{why}");
    let end = json!({ "start": "2026-03-23T11:00:00", "end": "2026-03-23T10:00:00" });
    let why = problem(&calendar.split(&[], &json!({ "at": at, "change": end })), 422, "invalid");
    assert_eq!(why["field"], "change.end", "{why}");
    problem(&calendar.split(&[], &json!({ "at": at, "change": { "uid": "mine" } })), 422, "invalid");
    problem(&calendar.split(&[], &json!({})), 422, "invalid");
    let stale = [("If-Match", "\"0000\"")];
    problem(&calendar.split(&stale, &json!({ "at": at })), 412, "stale");
    // Added by hand amid the rule: a series that began there would be another one.
    problem(&calendar.split(&[], &json!({ "at": "2026-04-02T09:00:00" })), 409, "not-divisible");
    assert_eq!(calendar.text("s"), before);
    let list = calendar.app.get(&calendar.path);
    assert_eq!(list["items"].as_array().unwrap().len(), 1, "{list}");
    let etag = format!("\"{}\"", list["items"][0]["etag"].as_str().unwrap());
    assert_eq!(calendar.split(&[("If-Match", &etag)], &json!({ "at": at })).status, 201);
}

// RFC 5545 §3.3.10: UNTIL is a date beside dates
#[test]
fn days_are_divided_as_days() {
    let calendar = Calendar::start();
    let days = SERIES.split("BEGIN:VEVENT").next().unwrap().to_owned()
        + "BEGIN:VEVENT\r\nUID:s\r\nDTSTAMP:20260101T000000Z\r\nDTSTART;VALUE=DATE:20260302\r\nDTEND;VALUE=DATE:20260304\r\n\
           RRULE:FREQ=MONTHLY;UNTIL=20261002\r\nSUMMARY:Away\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n";
    assert_eq!(calendar.app.dav("PUT", "s.ics", &days).status, 204);
    let before = calendar.instances();
    let made = document(&calendar.split(&[], &json!({ "at": "2026-06-02" })));
    assert_eq!((&made["start"], &made["end"]), (&json!("2026-06-02"), &json!("2026-06-04")), "{made}");
    assert!(calendar.text("s").contains("RRULE:FREQ=MONTHLY;UNTIL=20260601\r\n"));
    assert!(calendar.text(made["uid"].as_str().unwrap()).contains("RRULE:FREQ=MONTHLY;UNTIL=20261002\r\n"));
    assert_eq!(calendar.instances(), before);
}

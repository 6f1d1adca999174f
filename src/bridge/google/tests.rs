//! The mapping both ways, as tables; and that a text which Google can hold is held as it is.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use std::path::PathBuf;

use bytes::Bytes;
use serde_json::{Value, json};

use super::event::write;
use super::event::{Event, read};
use super::fit::fit;
use super::series::Parts;
use crate::bridge::print::print;
use crate::bridge::provider::{Fit, Part, Window};
use crate::ical::Ical;
use crate::ical::series::{Series, TimeRange};
use crate::ical::zone::{Zone, by_tzid};

const WINDOW: Window = Window { from: Some(1_767_225_600), to: Some(1_798_761_600), now: 1_767_225_600 };

fn event(value: Value) -> Event {
    serde_json::from_value(value).unwrap()
}

/// Reads an event with these fields; the lines of its VEVENT but the stamps, unfolded.
fn shown(more: Value) -> Vec<String> {
    let mut body = json!({
        "id": "e", "iCalUID": "u", "etag": "\"1\"",
        "start": {"dateTime": "2026-01-05T09:00:00+01:00", "timeZone": "Europe/Berlin"},
        "end": {"dateTime": "2026-01-05T10:00:00+01:00", "timeZone": "Europe/Berlin"}
    });
    for (name, value) in more.as_object().unwrap() {
        body[name] = value.clone();
    }
    lines(&read::text(&Parts::alone(event(body)), "u").unwrap(), 0)
}

/// The lines of the nth VEVENT and of what is in it.
fn lines(bytes: &Bytes, nth: usize) -> Vec<String> {
    let ical = Ical::parse(bytes.clone()).unwrap();
    let event = ical.calendar().unwrap().named("VEVENT").nth(nth).unwrap();
    let mut all: Vec<String> = event.properties().map(|p| p.logical()).collect();
    for alarm in event.named("VALARM") {
        let said: Vec<String> = alarm.properties().map(|p| p.logical()).collect();
        all.push(format!("VALARM {}", said.join(" ")));
    }
    all
}

fn object(events: &[&str]) -> Ical {
    let events: Vec<String> = events
        .iter()
        .map(|lines| {
            let lines: Vec<String> = lines.split('|').map(|line| format!("{}\r\n", line.trim())).collect();
            format!("BEGIN:VEVENT\r\nUID:u\r\nDTSTAMP:20260101T000000Z\r\n{}END:VEVENT\r\n", lines.concat())
        })
        .collect();
    Ical::parse(format!("BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:x\r\n{}END:VCALENDAR\r\n", events.concat()))
        .unwrap()
}

/// What Google is told of an event with these lines.
fn told(lines: &str) -> Value {
    let ical = object(&[lines]);
    let plan = write::plan(&ical, &by_tzid("Europe/Berlin").unwrap()).unwrap();
    Value::Object(plan.master.since(None))
}

fn whole(ical: &Ical) -> Bytes {
    match fit(ical, WINDOW) {
        Fit::Whole(bytes) => bytes,
        other => panic!("{other:?}"),
    }
}

fn parts(ical: &Ical) -> Vec<Part> {
    match fit(ical, WINDOW) {
        Fit::Parts(parts, why) => {
            assert!(why.starts_with("Google Calendar "), "{why}");
            parts
        }
        other => panic!("{other:?}"),
    }
}

const TIMED: &str = "DTSTART;TZID=Europe/Berlin:20260105T090000|DTEND;TZID=Europe/Berlin:20260105T100000";

// S2-039 … S2-044, S3-112: each field of Google's in iCalendar
#[test]
fn every_field_of_google_has_its_property() {
    let rows: [(Value, &[&str]); 22] = [
        (json!({"summary": "Tea, then; more"}), &["SUMMARY:Tea\\, then\\; more"]),
        (json!({"description": "<b>a</b><br>b"}), &["DESCRIPTION:a\\nb"]),
        (json!({"location": "Room 1"}), &["LOCATION:Room 1"]),
        (json!({"status": "confirmed"}), &["STATUS:CONFIRMED"]),
        (json!({"status": "tentative"}), &["STATUS:TENTATIVE"]),
        (json!({"transparency": "transparent"}), &["TRANSP:TRANSPARENT"]),
        (json!({}), &["TRANSP:OPAQUE"]),
        (json!({"visibility": "private"}), &["CLASS:PRIVATE"]),
        (json!({"visibility": "confidential"}), &["CLASS:CONFIDENTIAL"]),
        (json!({"visibility": "public"}), &["CLASS:PUBLIC"]),
        (json!({"colorId": "11"}), &["COLOR:crimson"]),
        (json!({"source": {"url": "https://x.example/a", "title": "A"}}), &["URL:https://x.example/a"]),
        (
            json!({"hangoutLink": "https://meet.example/abc"}),
            &["CONFERENCE;VALUE=URI;FEATURE=AUDIO,VIDEO:https://meet.example/abc"],
        ),
        (
            json!({"conferenceData": {"entryPoints": [
                {"entryPointType": "video", "uri": "https://meet.example/abc", "label": "meet.example/abc"},
                {"entryPointType": "phone", "uri": "tel:+1-555", "label": "+1 555"},
                {"entryPointType": "more", "uri": "https://tel.example"}]}}),
            &[
                "CONFERENCE;VALUE=URI;FEATURE=AUDIO,VIDEO;LABEL=meet.example/abc:https://meet.example/abc",
                "CONFERENCE;VALUE=URI;FEATURE=PHONE;LABEL=+1 555:tel:+1-555",
            ],
        ),
        (json!({"eventType": "focusTime"}), &["X-GOOGLE-EVENT-TYPE:focusTime", "TRANSP:OPAQUE"]),
        (
            json!({"sequence": 3, "created": "2026-01-01T00:00:00.000Z", "updated": "2026-01-02T00:00:00.500Z"}),
            &[
                "SEQUENCE:3",
                "CREATED:20260101T000000Z",
                "LAST-MODIFIED:20260102T000000Z",
                "DTSTAMP:20260102T000000Z",
            ],
        ),
        (
            json!({"organizer": {"email": "o@x.example", "displayName": "O"}, "attendees": [
                {"email": "a@x.example", "responseStatus": "accepted", "displayName": "A; B"},
                {"email": "r@x.example", "resource": true, "optional": true}]}),
            &[
                "ORGANIZER;CN=O:mailto:o@x.example",
                "ATTENDEE;CN=\"A; B\";ROLE=REQ-PARTICIPANT;PARTSTAT=ACCEPTED:mailto:a@x.example",
                "ATTENDEE;CUTYPE=RESOURCE;ROLE=OPT-PARTICIPANT;PARTSTAT=NEEDS-ACTION:mailto:r@x.example",
            ],
        ),
        (
            json!({"reminders": {"useDefault": false, "overrides": [{"method": "popup", "minutes": 10}, {"method": "email", "minutes": 1440}]}}),
            &[
                "VALARM ACTION:DISPLAY TRIGGER:-PT10M DESCRIPTION:Reminder",
                "VALARM ACTION:EMAIL TRIGGER:-P1D DESCRIPTION:Reminder SUMMARY:Reminder ATTENDEE:mailto:owner@calendar.invalid",
            ],
        ),
        (
            json!({"start": {"date": "2026-01-05"}, "end": {"date": "2026-01-08"}}),
            &["DTSTART;VALUE=DATE:20260105", "DTEND;VALUE=DATE:20260108"],
        ),
        (
            json!({"end": {"dateTime": "2026-01-05T12:00:00+01:00", "timeZone": "Europe/London"}}),
            &["DTSTART;TZID=Europe/Berlin:20260105T090000", "DTEND;TZID=Europe/London:20260105T110000"],
        ),
        (
            json!({"transparency": "transparent", "extendedProperties": {"private": {"kalendsStatus": "cancelled"}}}),
            &["STATUS:CANCELLED", "TRANSP:TRANSPARENT"],
        ),
        (
            json!({"extendedProperties": {"private": {"kalendsTime": "floating"}}}),
            &["DTSTART:20260105T090000", "DTEND:20260105T100000"],
        ),
    ];
    for (fields, expected) in rows {
        let found = shown(fields.clone());
        for line in expected {
            assert!(found.iter().any(|own| own == line), "{fields}: {line} is not among {found:#?}");
        }
    }
}

// Every value of `eventType` in Google's description: it is carried and named, or it is not asked for
#[test]
fn every_kind_of_event_is_carried_or_left() {
    use super::series::KINDS;
    for (kind, carried) in [
        ("default", true),
        ("focusTime", true),
        ("fromGmail", true),
        ("outOfOffice", true),
        ("birthday", false),
        ("workingLocation", false),
    ] {
        assert_eq!(KINDS.contains(&kind), carried, "{kind}");
        let named =
            shown(json!({"eventType": kind})).iter().any(|line| line.starts_with("X-GOOGLE-EVENT-TYPE"));
        assert_eq!(named, kind != "default", "{kind}");
    }
    assert_eq!(KINDS.len(), 4);
}

// Every colour both ways: its name here leads back to its number there
#[test]
fn every_colour_is_carried_both_ways() {
    for id in 1..=11 {
        let id = id.to_string();
        let lines = shown(json!({"colorId": id}));
        let color = lines.iter().find(|line| line.starts_with("COLOR:")).unwrap_or_else(|| panic!("{id}"));
        assert_eq!(told(&format!("{TIMED}|{color}"))["colorId"], json!(id), "{color}");
    }
    assert!(!shown(json!({"colorId": "12"})).iter().any(|line| line.starts_with("COLOR:")));
}

#[test]
fn what_is_not_said_is_not_shown() {
    let found = shown(json!({"summary": " ", "reminders": {"useDefault": true}, "visibility": "default",
        "organizer": {"email": "o@x.example"}, "extendedProperties": {"private": {"kalendsStatus": "cancelled"}}}));
    for name in ["SUMMARY", "DESCRIPTION", "VALARM", "CLASS", "ORGANIZER", "RRULE", "STATUS:CANCELLED"] {
        assert!(!found.iter().any(|line| line.starts_with(name)), "{name} in {found:#?}");
    }
}

// S3-112: each property of iCalendar in Google's fields
#[test]
fn every_property_has_its_field() {
    let rows = [
        ("SUMMARY:Tea\\, please", "summary", json!("Tea, please")),
        ("SUMMARY: ", "summary", Value::Null),
        ("DESCRIPTION:a\\nb", "description", json!("a\nb")),
        ("LOCATION:Room", "location", json!("Room")),
        ("STATUS:TENTATIVE", "status", json!("tentative")),
        ("TRANSP:TRANSPARENT", "transparency", json!("transparent")),
        ("X-NONE:1", "transparency", json!("opaque")),
        ("CLASS:PRIVATE", "visibility", json!("private")),
        ("CLASS:X-SECRET", "visibility", json!("private")),
        ("CLASS:PUBLIC", "visibility", json!("default")),
        ("COLOR:firebrick", "colorId", json!("11")),
        ("URL:https://x.example/", "source", json!({"url": "https://x.example/"})),
        ("URL:message:%3Cx%3E", "source", Value::Null),
        ("STATUS:CANCELLED", "status", json!("confirmed")),
        ("STATUS:CANCELLED", "transparency", json!("transparent")),
        ("ATTENDEE:mailto:a@x.example|ORGANIZER:mailto:o@x.example", "attendees", Value::Null),
        ("CONFERENCE;VALUE=URI:https://meet.example/x", "conferenceData", Value::Null),
        (
            "BEGIN:VALARM|ACTION:AUDIO|TRIGGER:-PT90S|END:VALARM",
            "reminders",
            json!({"useDefault": false, "overrides": [{"method": "popup", "minutes": 1}]}),
        ),
        (
            "BEGIN:VALARM|ACTION:EMAIL|TRIGGER;RELATED=END:-PT2H|END:VALARM",
            "reminders",
            json!({"useDefault": false, "overrides": [{"method": "email", "minutes": 60}]}),
        ),
        (
            "BEGIN:VALARM|ACTION:DISPLAY|TRIGGER:PT5M|END:VALARM",
            "reminders",
            json!({"useDefault": false, "overrides": []}),
        ),
        (
            "BEGIN:VALARM|ACTION:DISPLAY|TRIGGER;VALUE=DATE-TIME:20260101T000000Z|END:VALARM",
            "reminders",
            json!({"useDefault": false, "overrides": []}),
        ),
    ];
    for (line, field, expected) in rows {
        let body = told(&format!("{TIMED}|{line}"));
        assert_eq!(body.get(field).cloned().unwrap_or_default(), expected, "{line}");
    }
}

// S1: no mail is ever caused
#[test]
fn people_and_conferences_are_never_written() {
    let body = told(&format!(
        "{TIMED}|ATTENDEE:mailto:a@x.example|ORGANIZER:mailto:o@x.example|CONFERENCE:https://m.example"
    ));
    let known = [
        "summary",
        "description",
        "location",
        "source",
        "colorId",
        "status",
        "transparency",
        "visibility",
        "reminders",
        "start",
        "end",
        "extendedProperties",
    ];
    for name in body.as_object().unwrap().keys() {
        assert!(known.contains(&name.as_str()), "{name}");
    }
}

#[test]
fn times_are_days_or_have_a_zone() {
    let day = |date: &str| json!({"date": date, "dateTime": null, "timeZone": null});
    let at = |time: &str, zone: &str| json!({"date": null, "dateTime": time, "timeZone": zone});
    let rows = [
        ("DTSTART;VALUE=DATE:20260105", day("2026-01-05"), day("2026-01-06")),
        ("DTSTART;VALUE=DATE:20260105|DTEND;VALUE=DATE:20260108", day("2026-01-05"), day("2026-01-08")),
        ("DTSTART;VALUE=DATE:20260105|DTEND;VALUE=DATE:20260105", day("2026-01-05"), day("2026-01-06")),
        ("DTSTART;VALUE=DATE:20260105|DURATION:P1W", day("2026-01-05"), day("2026-01-12")),
        ("DTSTART:20260105T090000Z", at("2026-01-05T09:00:00Z", "UTC"), at("2026-01-05T09:01:00Z", "UTC")),
        (
            "DTSTART:20260105T090000Z|DTEND:20260105T080000Z",
            at("2026-01-05T09:00:00Z", "UTC"),
            at("2026-01-05T09:01:00Z", "UTC"),
        ),
        (
            "DTSTART;TZID=Eastern Standard Time:20260105T090000|DURATION:PT1H30M",
            at("2026-01-05T09:00:00-05:00", "America/New_York"),
            at("2026-01-05T10:30:00-05:00", "America/New_York"),
        ),
        // A day that has 23 hours.
        (
            "DTSTART;TZID=Europe/Berlin:20260328T120000|DURATION:P1D",
            at("2026-03-28T12:00:00+01:00", "Europe/Berlin"),
            at("2026-03-29T12:00:00+02:00", "Europe/Berlin"),
        ),
        (
            "DTSTART:20260105T090000|DTEND:20260105T100000",
            at("2026-01-05T09:00:00+01:00", "Europe/Berlin"),
            at("2026-01-05T10:00:00+01:00", "Europe/Berlin"),
        ),
    ];
    for (lines, start, end) in rows {
        let body = told(lines);
        assert_eq!((&body["start"], &body["end"]), (&start, &end), "{lines}");
    }
}

#[test]
fn only_what_differs_is_sent() {
    let plan = |lines: &str| write::plan(&object(&[lines]), &Zone::Utc).unwrap();
    let base = plan(&format!("{TIMED}|SUMMARY:Tea|LOCATION:Room|X-OWN:1"));
    let since = |lines: &str| Value::Object(plan(lines).master.since(Some(&base.master)));
    assert_eq!(
        since(&format!("{TIMED}|SUMMARY:Tea|LOCATION:Room|CATEGORIES:A|DTSTAMP:20270101T000000Z")),
        json!({})
    );
    assert_eq!(since(&format!("{TIMED}|SUMMARY:Coffee")), json!({"summary": "Coffee", "location": null}));
    assert_eq!(
        since("DTSTART;VALUE=DATE:20260105|SUMMARY:Tea|LOCATION:Room"),
        json!({"start": {"date": "2026-01-05", "dateTime": null, "timeZone": null},
            "end": {"date": "2026-01-06", "dateTime": null, "timeZone": null}})
    );
    let cancelled = since(&format!("{TIMED}|SUMMARY:Tea|LOCATION:Room|STATUS:CANCELLED"));
    assert_eq!(
        cancelled,
        json!({"summary": "Cancelled: Tea", "transparency": "transparent",
            "extendedProperties": {"private": {"kalendsStatus": "cancelled"}}})
    );
}

fn series_json(more: Vec<Value>) -> Parts {
    let master = json!({
        "id": "m", "iCalUID": "u", "etag": "\"1\"", "summary": "Tea",
        "start": {"dateTime": "2026-01-05T09:00:00+01:00", "timeZone": "Europe/Berlin"},
        "end": {"dateTime": "2026-01-05T10:00:00+01:00", "timeZone": "Europe/Berlin"},
        "recurrence": ["RRULE:FREQ=DAILY;COUNT=10", "EXDATE;TZID=Europe/Berlin:20260106T090000"]
    });
    let mut all = vec![event(master)];
    all.extend(more.into_iter().map(event));
    Parts::of("m", all).unwrap()
}

fn instance(day: &str, more: Value) -> Value {
    let mut body = json!({
        "id": format!("m_{day}"), "recurringEventId": "m", "etag": "\"2\"", "summary": "Tea",
        "originalStartTime": {"dateTime": format!("2026-01-{day}T09:00:00+01:00"), "timeZone": "Europe/Berlin"},
        "start": {"dateTime": format!("2026-01-{day}T09:00:00+01:00"), "timeZone": "Europe/Berlin"},
        "end": {"dateTime": format!("2026-01-{day}T10:00:00+01:00"), "timeZone": "Europe/Berlin"}
    });
    for (name, value) in more.as_object().unwrap() {
        body[name] = value.clone();
    }
    body
}

// S3: series with moved, cancelled and edited instances
#[test]
fn a_series_is_one_object_with_its_exceptions() {
    let parts = series_json(vec![
        json!({"id": "m_07", "recurringEventId": "m", "status": "cancelled",
            "originalStartTime": {"dateTime": "2026-01-07T08:00:00Z"}}),
        instance(
            "08",
            json!({"start": {"dateTime": "2026-01-08T15:00:00+01:00", "timeZone": "Europe/Berlin"},
            "end": {"dateTime": "2026-01-08T16:00:00+01:00", "timeZone": "Europe/Berlin"}}),
        ),
        instance("09", json!({"summary": "Coffee"})),
        // It says nothing of its own.
        instance("10", json!({})),
    ]);
    let bytes = read::text(&parts, "u").unwrap();
    let master = lines(&bytes, 0);
    for line in [
        "RRULE:FREQ=DAILY;COUNT=10",
        "EXDATE;TZID=Europe/Berlin:20260106T090000",
        "EXDATE;TZID=Europe/Berlin:20260107T090000",
    ] {
        assert!(master.iter().any(|own| own == line), "{line} is not in {master:#?}");
    }
    let moved = lines(&bytes, 1);
    assert!(moved.contains(&"RECURRENCE-ID;TZID=Europe/Berlin:20260108T090000".to_owned()), "{moved:#?}");
    assert!(moved.contains(&"DTSTART;TZID=Europe/Berlin:20260108T150000".to_owned()), "{moved:#?}");
    assert!(lines(&bytes, 2).contains(&"SUMMARY:Coffee".to_owned()));
    let ical = Ical::parse(bytes.clone()).unwrap();
    assert_eq!(ical.calendar().unwrap().named("VEVENT").count(), 3);
    assert_eq!(ical.calendar().unwrap().named("VTIMEZONE").count(), 1);
    assert!(crate::ical::check::calendar_object(bytes.clone()).is_ok());
    assert_eq!(bytes, read::text(&parts, "u").unwrap(), "the same bytes every time");
    assert_eq!(print(&Ical::parse(whole(&ical)).unwrap()), print(&ical), "what was read can be written");
}

#[test]
fn all_day_series_leave_out_days() {
    let parts = Parts::of("m", vec![
        event(json!({"id": "m", "start": {"date": "2026-01-05"}, "end": {"date": "2026-01-06"},
            "recurrence": ["RRULE:FREQ=WEEKLY;UNTIL=20260301", "RDATE;VALUE=DATE:20260108"]})),
        event(json!({"id": "m_1", "recurringEventId": "m", "status": "cancelled", "originalStartTime": {"date": "2026-01-12"}})),
    ])
    .unwrap();
    let found = lines(&read::text(&parts, "u").unwrap(), 0);
    for line in
        ["RRULE:FREQ=WEEKLY;UNTIL=20260301", "RDATE;VALUE=DATE:20260108", "EXDATE;VALUE=DATE:20260112"]
    {
        assert!(found.contains(&line.to_owned()), "{line} is not in {found:#?}");
    }
}

#[test]
fn a_series_is_told_line_by_line() {
    let ical = object(&[
        &format!(
            "{TIMED}|RRULE:FREQ=DAILY;UNTIL=20260131|EXDATE:20260107T080000Z|EXDATE;VALUE=DATE:20260106|SUMMARY:Tea"
        ),
        "RECURRENCE-ID;TZID=Europe/Berlin:20260108T090000|DTSTART:20260108T140000Z|DTEND:20260108T150000Z|SUMMARY:Tea",
        "RECURRENCE-ID:20260109T080000Z|STATUS:CANCELLED|DTSTART:20260109T080000Z",
        "RECURRENCE-ID:20260111T100000Z|DTSTART:20260111T100000Z|DTEND:20260111T110000Z|SUMMARY:Not of the rule",
    ]);
    let plan = write::plan(&ical, &Zone::Utc).unwrap();
    assert_eq!(
        plan.recurrence_json(&plan.recurrence.exdates),
        json!([
            "RRULE:FREQ=DAILY;UNTIL=20260131T225959Z",
            "RDATE;TZID=Europe/Berlin:20260111T110000",
            "EXDATE;TZID=Europe/Berlin:20260106T090000,20260107T090000,20260109T090000"
        ])
    );
    assert_eq!(plan.overrides.len(), 2);
    let again = Ical::parse(whole(&ical)).unwrap();
    assert_eq!(instances(&again).len(), instances(&ical).len());
}

// S1-019: a series that is called off stays whole there: what was moved in it is called off, too, not left out
#[test]
fn a_series_that_is_called_off_keeps_its_exceptions() {
    let moved = "RECURRENCE-ID:20260108T080000Z|DTSTART:20260108T140000Z|DTEND:20260108T150000Z|SUMMARY:Tea";
    let series = format!("{TIMED}|RRULE:FREQ=DAILY;COUNT=5|SUMMARY:Tea|STATUS:CANCELLED");
    let ical = object(&[&series, &format!("{moved}|STATUS:CANCELLED")]);
    let plan = write::plan(&ical, &Zone::Utc).unwrap();
    assert_eq!((plan.overrides.len(), plan.recurrence.exdates.len()), (1, 0));
    let held = whole(&ical);
    for nth in [0, 1] {
        let found = lines(&held, nth);
        for line in ["STATUS:CANCELLED", "TRANSP:TRANSPARENT", "SUMMARY:Cancelled: Tea"] {
            assert!(found.contains(&line.to_owned()), "{line} is not in {found:#?}");
        }
    }
    assert_eq!(whole(&Ical::parse(held.clone()).unwrap()), held);
    // Where the series takes place, an instance that is called off does not.
    let ical = object(&[&series.replace("|STATUS:CANCELLED", ""), &format!("{moved}|STATUS:CANCELLED")]);
    let plan = write::plan(&ical, &Zone::Utc).unwrap();
    assert_eq!((plan.overrides.len(), plan.recurrence.exdates.len()), (0, 1));
}

// S3: a rule that a provider cannot express is expanded or refused, and the event says why
#[test]
fn what_google_cannot_repeat_is_taken_apart() {
    for rule in [
        "RRULE:FREQ=HOURLY;COUNT=3",
        "RRULE:FREQ=DAILY;BYHOUR=9,12,15;COUNT=3",
        "RRULE:FREQ=DAILY;COUNT=2|RRULE:FREQ=WEEKLY;COUNT=2",
        "RDATE;VALUE=PERIOD:20260106T080000Z/PT3H,20260107T080000Z/PT1H",
    ] {
        let found = parts(&object(&[&format!("{TIMED}|{rule}|SUMMARY:Tea")]));
        assert_eq!(found.len(), 3, "{rule}");
        for part in &found {
            let text = String::from_utf8(part.bytes.to_vec()).unwrap();
            assert!(
                text.contains("UID:u") && !text.contains("RRULE") && !text.contains("RECURRENCE-ID"),
                "{text}"
            );
        }
    }
    let lone =
        parts(&object(&["RECURRENCE-ID:20260109T080000Z|DTSTART:20260109T090000Z|DTEND:20260109T100000Z"]));
    assert_eq!(lone.iter().map(|part| part.key.as_str()).collect::<Vec<_>>(), ["20260109T080000Z"]);
    for refused in [
        "BEGIN:VCALENDAR\r\nBEGIN:VTODO\r\nUID:u\r\nEND:VTODO\r\nEND:VCALENDAR\r\n",
        "BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\nUID:u\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n",
    ] {
        assert!(
            matches!(fit(&Ical::parse(refused).unwrap(), WINDOW), Fit::Refused(why) if why.contains("stays here"))
        );
    }
    let odd = object(&[&format!("{TIMED}|RRULE:FREQ=FORTNIGHTLY")]);
    assert!(matches!(fit(&odd, WINDOW), Fit::Refused(why) if why.contains("not understood")));
    let endless = object(&[&format!("{TIMED}|RRULE:FREQ=SECONDLY")]);
    assert!(matches!(fit(&endless, WINDOW), Fit::Refused(why) if why.contains("too many")));
}

/// When the instances begin and end, and what they say.
fn instances(ical: &Ical) -> Vec<(i64, i64, String)> {
    let series = Series::of(ical);
    let places: Vec<_> = ical.calendar().unwrap().components().collect();
    let range = TimeRange { start: 1_700_000_000, end: 1_900_000_000 };
    let found = series.instances(range, &Zone::Utc, 2000);
    let says = |place: usize, name: &str| places[place].property(name).map(|p| p.raw().into_owned());
    let off = |place: usize| says(place, "STATUS").as_deref() == Some("CANCELLED");
    let title = |place: usize| places[place].property("SUMMARY").map_or_else(String::new, |p| p.text());
    // What is called off says so there in its title.
    let title = |place: usize| match off(place) {
        true => title(place).trim_start_matches("Cancelled: ").to_owned(),
        false => title(place),
    };
    // Control characters are no text (RFC 5545 §3.1).
    let title = |place: usize| {
        title(place).replace(|c: char| c.is_control() && c != '\t' && c != '\n', "").trim().to_owned()
    };
    // A cancelled exception is an instance to iCalendar still, to Google it is none, unless all of the series is called
    // off: then it stays, called off like the others.
    let whole = (0..places.len())
        .any(|p| places[p].name() == "VEVENT" && says(p, "RECURRENCE-ID").is_none() && off(p));
    let cancelled = |place: usize| says(place, "RECURRENCE-ID").is_some() && off(place) && !whole;
    let list = found.list.iter().filter(|i| !cancelled(i.component));
    let mut all: Vec<_> = list.map(|i| (i.start, i.end, title(i.component))).collect();
    all.sort();
    all
}

// S3: single instance and this-and-following
#[test]
fn this_and_following_is_two_series_of_the_same_meaning() {
    let rows = [
        (
            "RRULE:FREQ=DAILY;COUNT=10|EXDATE:20260107T080000Z,20260112T080000Z",
            "20260109T100000",
            "20260109T110000",
        ),
        ("RRULE:FREQ=WEEKLY;BYDAY=MO,FR;UNTIL=20260401T070000Z", "20260109T150000", "20260109T170000"),
        ("RRULE:FREQ=WEEKLY;INTERVAL=2;COUNT=8", "20260120T090000", "20260120T100000"),
        ("RRULE:FREQ=DAILY;UNTIL=20260120T080000Z", "20260110T090000", "20260110T093000"),
    ];
    for (rule, start, end) in rows {
        let from = if rule.contains("INTERVAL=2") { "20260119T090000" } else { "20260109T090000" };
        let ical = object(&[
            &format!("{TIMED}|{rule}|SUMMARY:Tea"),
            &format!(
                "RECURRENCE-ID;RANGE=THISANDFUTURE;TZID=Europe/Berlin:{from}|DTSTART;TZID=Europe/Berlin:{start}|\
                DTEND;TZID=Europe/Berlin:{end}|SUMMARY:Coffee"
            ),
        ]);
        let found = parts(&ical);
        assert_eq!(found.len(), 2, "{rule}");
        let mut all: Vec<_> =
            found.iter().flat_map(|part| instances(&Ical::parse(part.bytes.clone()).unwrap())).collect();
        all.sort();
        assert_eq!(all, instances(&ical), "{rule}");
    }
}

#[test]
fn what_google_holds_is_held_as_it_is() {
    let texts = [
        format!(
            "{TIMED}|SUMMARY:Tea|DESCRIPTION:use <b> & more\\nhere|CLASS:PRIVATE|COLOR:teal|STATUS:TENTATIVE"
        ),
        format!(
            "{TIMED}|RRULE:FREQ=WEEKLY;BYDAY=MO,WE|EXDATE;TZID=Europe/Berlin:20260107T090000|STATUS:CANCELLED"
        ),
        "DTSTART:20260105T090000|DTEND:20260105T093000|RRULE:FREQ=DAILY;UNTIL=20260201T090000|SUMMARY:Float"
            .to_owned(),
        "DTSTART;VALUE=DATE:20260105|RRULE:FREQ=YEARLY|X-OWN:stays here|CATEGORIES:A,B|GEO:1;2".to_owned(),
        "DTSTART:20260105T090000Z|SUMMARY:No length".to_owned(),
    ];
    for lines in &texts {
        let ical = object(&[lines]);
        let once = whole(&ical);
        let again = whole(&Ical::parse(once.clone()).unwrap());
        assert_eq!(
            String::from_utf8(once.to_vec()).unwrap(),
            String::from_utf8(again.to_vec()).unwrap(),
            "{lines}"
        );
        for name in ["X-OWN", "CATEGORIES", "GEO"] {
            assert!(!String::from_utf8_lossy(&once).contains(name), "{name} is ours alone");
        }
    }
}

/// Every event of the collections of real calendars that are at hand.
fn corpus() -> Vec<(PathBuf, Ical)> {
    let own = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let shared = std::env::var_os("KALENDS_SHARED").map_or_else(|| own.join("../shared"), PathBuf::from);
    let mut waiting = vec![own.join("webdav-tests/ics"), shared.join("corpus")];
    let mut all = Vec::new();
    while let Some(folder) = waiting.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                waiting.push(path);
            } else if path.extension().is_some_and(|e| e == "ics") {
                let bytes = std::fs::read(&path).unwrap();
                all.extend(Ical::parse(bytes).ok().filter(one_object).map(|ical| (path, ical)));
            }
        }
    }
    all
}

fn one_object(ical: &Ical) -> bool {
    let events: Vec<_> =
        ical.calendar().into_iter().flat_map(|c| c.components()).filter(|c| c.name() == "VEVENT").collect();
    let uid = |c: &crate::ical::Component<'_>| c.property("UID").map(|p| p.raw().into_owned());
    let say = |c: &crate::ical::Component<'_>, name: &str| c.property(name).map(|p| p.raw().into_owned());
    let masters: Vec<_> = events.iter().filter(|c| c.property("RECURRENCE-ID").is_none()).collect();
    let twins = masters.iter().filter(|c| say(c, "SEQUENCE") == say(masters[0], "SEQUENCE")).count() > 1;
    let named = events.first().is_some_and(|c| uid(c).is_some());
    ical.roots().count() == 1 && named && !twins && events.iter().all(|c| uid(c) == uid(&events[0]))
}

// S3 §4: the hard series of the corpus, equal in meaning, and stable
#[test]
fn real_calendars_keep_their_meaning() {
    let (mut count, mut wrong) = (0, Vec::new());
    for (path, ical) in corpus() {
        let Fit::Whole(once) = fit(&ical, WINDOW) else { continue };
        count += 1;
        let held = Ical::parse(once.clone()).unwrap();
        assert_eq!(fit(&held, WINDOW), Fit::Whole(once.clone()), "{}", path.display());
        // An event without length gets a minute, one on a day the whole day: all else is as it was.
        let starts = |ical: &Ical| {
            instances(ical).into_iter().map(|(start, _, title)| (start, title)).collect::<Vec<_>>()
        };
        let (found, expected) = (starts(&held), starts(&ical));
        if found != expected {
            let differ = found.iter().zip(&expected).find(|(a, b)| a != b);
            wrong.push(format!(
                "{}: {} for {} instances, {differ:?}",
                path.display(),
                found.len(),
                expected.len()
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(count > 10, "the collection of calendars was not found: {count}");
}

mod laws {
    use super::*;
    use proptest::prelude::*;

    fn line() -> impl Strategy<Value = String> {
        prop_oneof![
            "[ -~äß🎉]{0,40}"
                .prop_map(|text| format!("SUMMARY:{}", crate::ical::value::escape(&text.replace('|', "/")))),
            "(<[a-z]{1,4}>|&[a-z]{2,4};|[ -~\n]){0,12}".prop_map(|text| format!(
                "DESCRIPTION:{}",
                crate::ical::value::escape(&text.replace('|', "/"))
            )),
            "[a-z]{3,12}".prop_map(|color| format!("COLOR:{color}")),
            prop::sample::select(vec![
                "CLASS:PRIVATE",
                "CLASS:PUBLIC",
                "TRANSP:TRANSPARENT",
                "STATUS:CANCELLED",
                "STATUS:TENTATIVE",
                "URL:https://x.example/?q=1",
                "URL:x",
                "LOCATION:\\n",
                "X-A:b"
            ])
            .prop_map(str::to_owned),
            (-50_000i64..50_000).prop_map(|n| format!(
                "BEGIN:VALARM|ACTION:DISPLAY|TRIGGER:{}PT{}S|END:VALARM",
                if n < 0 { "-" } else { "" },
                n.abs()
            )),
        ]
    }

    fn times() -> impl Strategy<Value = String> {
        let zone = prop::sample::select(vec![
            "Europe/Berlin",
            "America/New_York",
            "Asia/Kathmandu",
            "W. Europe Standard Time",
            "Australia/Lord_Howe",
            "Nowhere",
        ]);
        let rule = prop::sample::select(vec![
            "",
            "|RRULE:FREQ=DAILY;COUNT=9",
            "|RRULE:FREQ=WEEKLY;BYDAY=MO,WE,FR",
            "|RRULE:FREQ=MONTHLY;BYDAY=-1FR;UNTIL=20271231",
            "|RRULE:FREQ=YEARLY|EXDATE;VALUE=DATE:20270105",
            "|RDATE:20260301T101500Z|EXDATE:20260105T080000Z",
        ]);
        (zone, 0i64..400, 0i64..1440, -100i64..3000, rule, 0..4).prop_map(
            |(zone, day, minute, lasts, rule, form)| {
                let at = crate::ical::value::Civil(1_767_225_600 + day * 86_400 + minute * 60);
                let end = crate::ical::value::Civil(at.0 + lasts * 60);
                match form {
                    0 => format!(
                        "DTSTART;VALUE=DATE:{}|DTEND;VALUE=DATE:{}{rule}",
                        at.to_date(),
                        end.to_date()
                    ),
                    1 => format!("DTSTART:{}Z|DTEND:{}Z{rule}", at.to_basic(), end.to_basic()),
                    2 => format!("DTSTART:{}|DURATION:PT{}M{rule}", at.to_basic(), lasts.abs()),
                    _ => format!(
                        "DTSTART;TZID={zone}:{}|DTEND;TZID={zone}:{}{rule}",
                        at.to_basic(),
                        end.to_basic()
                    ),
                }
            },
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

        // What Google would give back of what it can hold is what it can hold.
        #[test]
        fn a_projection_of_a_projection_is_itself(times in times(), lines in prop::collection::vec(line(), 0..6)) {
            let ical = object(&[&[vec![times], lines].concat().join("|")]);
            if let Fit::Whole(once) = fit(&ical, WINDOW) {
                let again = fit(&Ical::parse(once.clone()).unwrap(), WINDOW);
                prop_assert_eq!(&again, &Fit::Whole(once.clone()));
                prop_assert!(crate::ical::check::calendar_object(once).is_ok());
            }
        }

        #[test]
        fn whatever_google_says_can_be_read(fields in prop::collection::btree_map("[a-zA-Z]{2,20}", ".{0,40}", 0..4),
            words in prop::collection::vec(".{0,60}", 6), rule in "[A-Z=;:,0-9]{0,30}") {
            let mut body = json!({"id": "e", "iCalUID": "u", "summary": words[0], "description": words[1], "location": words[2],
                "hangoutLink": words[3], "colorId": words[4], "status": words[5], "recurrence": [format!("RRULE:{rule}"), words[0]],
                "start": {"dateTime": "2026-01-05T09:00:00Z", "timeZone": words[1]}, "end": {"date": words[2]}});
            for (name, value) in fields {
                if body.get(&name).is_none() {
                    body[format!("x{name}")] = value.into();
                }
            }
            let bytes = read::text(&Parts::alone(event(body)), "u").unwrap();
            let ical = Ical::parse(bytes).unwrap();
            prop_assert_eq!(ical.calendar().unwrap().named("VEVENT").count(), 1);
        }
    }
}

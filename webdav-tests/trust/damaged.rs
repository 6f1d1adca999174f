//! Answers that are not what their schema says: refused, logged by their shape alone, tried again; they change nothing.

use std::time::{Duration, Instant};

use kalends::sim::{Fault, Rule};
use serde_json::json;

use super::{Far, Story, event, next_week};
use crate::wait::wait_for;

/// Stands in everything that is private: events here and there, and whatever a damaged answer holds.
const HUSH: &str = "hushhush";

fn instead(text: &str) -> Fault {
    Fault::Status {
        code: 200,
        body: None,
        text: Some(text.replace("HUSH", HUSH)),
        headers: Default::default(),
    }
}

fn multistatus(text: &str) -> Fault {
    Fault::Status {
        code: 207,
        body: None,
        text: Some(text.replace("HUSH", HUSH)),
        headers: Default::default(),
    }
}

/// What is damaged, and how: a field is missing, a field is of another type, the text ends too soon, it is a web page, the
/// connection ends.
fn damages(kind: &str) -> Vec<(&'static str, Fault)> {
    let page = "<!doctype html><html><title>HUSH</title><body>HUSH, please sign in</body></html>";
    let (missing, typed, short) = match kind {
        "google" => (
            instead(r#"{"kind": "calendar#events", "summary": "HUSH", "items": []}"#),
            instead(r#"{"items": "HUSH", "nextSyncToken": 7}"#),
            instead(r#"{"nextSyncToken": "x", "items": [{"id": "HUSH", "summary": "HUSH"#),
        ),
        "outlook" => (
            instead(r#"{"@odata.context": "HUSH", "value": []}"#),
            instead(r#"{"value": "HUSH", "@odata.deltaLink": {"href": "HUSH"}}"#),
            instead(r#"{"value": [{"id": "HUSH", "subject": "HUSH"#),
        ),
        "cozi" => (
            instead(r#"{"days": {"2026-01-05": ["HUSH"]}}"#),
            instead(r#"{"items": "HUSH", "days": 7}"#),
            instead(r#"{"items": {"HUSH": {"description": "HUSH"#),
        ),
        "caldav" => (
            multistatus(
                "<D:multistatus xmlns:D='DAV:'><D:response><D:href>/HUSH</D:href></D:response></D:multistatus>",
            ),
            multistatus("<D:error xmlns:D='DAV:'><D:HUSH>HUSH</D:HUSH></D:error>"),
            multistatus("<D:multistatus xmlns:D='DAV:'><D:response><D:href>/HUSH/HU"),
        ),
        _ => (
            instead(
                "BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\nSUMMARY:HUSH\r\nHUSH HUSH\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n",
            ),
            instead(r#"{"summary": "HUSH"}"#),
            instead("BEGIN:VCALENDAR\r\nVERSION:2.0\r\nBEGIN:VEVENT\r\nUID:HUSH\r\nSUMMARY:HUSH\r\n"),
        ),
    };
    let page = if kind == "caldav" { multistatus(page) } else { instead(page) };
    vec![
        ("a field is missing", missing),
        ("another type", typed),
        ("it ends too soon", short),
        ("a web page", page),
    ]
}

// Issue 3, bad input: refused, logged with its shape and not its content, retried, and nothing is changed
#[test]
fn a_damaged_answer_is_refused_logged_by_its_shape_and_tried_again() {
    for (kind, far) in [
        ("google", Far::google()),
        ("outlook", Far::outlook()),
        ("caldav", Far::caldav()),
        ("cozi", Far::cozi()),
        ("feed", Far::feed(&format!("{HUSH} theirs"))),
    ] {
        if kind != "feed" {
            far.made_there(&next_week(), &format!("{HUSH} theirs"));
        }
        let story = Story::begin(far);
        // A calendar that only a feed fills is read-only (E15).
        if kind != "feed" {
            story.program.dav("PUT", "ours.ics", &event("ours", &format!("{HUSH} ours"), 9));
        }
        story.rest();
        let before = (story.program.ours(), story.far.titles());
        assert_eq!(before.0.len(), if kind == "feed" { 1 } else { 2 }, "{kind}: {before:?}");
        for (what, fault) in damages(kind) {
            let logged = story.program.logged().len();
            story.far.server.fault(Rule::on("*", "*", fault).times(0));
            // A pass that is joined had begun before.
            let begun = Instant::now();
            let run = loop {
                let run = story.pass();
                if run["status"] == "failed" || begun.elapsed() > Duration::from_secs(30) {
                    break run;
                }
            };
            let message = || story.program.api("GET", &format!("/mappings/{}", story.mapping), None).1;
            let told = message();
            story.far.server.script().clear();
            assert_eq!(run["status"], "failed", "{kind}: {what}: {run}");
            for side in ["local", "remote"] {
                let none = ["inserted", "updated", "deleted"].iter().all(|count| run[side][count] == 0);
                assert!(none, "{kind}: {what}: {run}");
            }
            assert_eq!((story.program.ours(), story.far.titles()), before, "{kind}: {what}");
            // People are told in a sentence, and it is tried again by itself.
            let sentence = told["message"].as_str().unwrap_or_default();
            assert!(
                sentence.ends_with('.') && !sentence.to_lowercase().contains(HUSH),
                "{kind}: {what}: {sentence}"
            );
            assert!(told["next_run_at"].is_string(), "{kind}: {what}: {told}");
            // The log has the shape. What comes from another process comes in its own time.
            let look = || story.program.logged().split_off(logged);
            let new = wait_for(&format!("{kind}: {what}: the shape"), look, |new| {
                new.iter().any(|line| line.contains("shape="))
            });
            assert!(
                new.iter().any(|line| line.contains("WARN") && line.contains("shape=")),
                "{kind}: {what}: {new:#?}"
            );
            // It goes on as if nothing had been.
            story.rest();
            assert_eq!((story.program.ours(), story.far.titles()), before, "{kind}: {what}: afterwards");
        }
        // That somebody asked for an object is logged with its name, which on a CalDAV server is the far side's own.
        let says = |line: &String| !line.contains("kalends::request:") && line.to_lowercase().contains(HUSH);
        let leaks: Vec<String> = story.program.logged().into_iter().filter(says).collect();
        assert!(leaks.is_empty(), "{kind}: {leaks:#?}");
        let (_, mut runs) = story.program.api("GET", &format!("/runs?mapping={}", story.mapping), None);
        // What was written is told by its UID, which on a CalDAV server is the far side's own.
        for run in runs["items"].as_array_mut().unwrap() {
            run["wrote"] = json!([]);
        }
        assert!(!runs.to_string().to_lowercase().contains(HUSH), "{kind}: {runs}");
        assert_ne!(runs["items"], json!([]));
    }
}

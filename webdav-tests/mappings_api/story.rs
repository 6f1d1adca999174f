//! The story of an event, wherever it stands: one word for programs, one sentence for people.

use serde_json::{Value, json};

use super::{Pair, event};
use crate::wait::eventually;

/// The word and the sentences of an event, over the only mapping.
fn told(pair: &Pair, uid: &str) -> (Value, String) {
    let (status, why) = pair.ask("GET", &format!("/events/{uid}/why"), None);
    assert_eq!(status, 200, "{why}");
    (why["calendars"][0]["mappings"][0]["status"].clone(), why["sentences"].to_string())
}

#[track_caller]
fn check(pair: &Pair, uid: &str, word: &str, sentence: &str) {
    let (status, sentences) = told(pair, uid);
    assert_eq!(status, json!(word), "{uid}: {sentences}");
    assert!(sentences.contains(sentence), "{uid}: {sentences}");
}

// Issue 3, section 2: GET /events/UID/why tells every event's story, also of what was not carried
#[test]
fn every_event_says_where_it_stands() {
    let pair = Pair::start();
    let put = |name: &str, lines: &str| {
        assert_eq!(pair.here("PUT", &format!("calendar/{name}.ics"), &event(name, lines)).status, 201);
    };
    // 2026-01-05 is long past: it lies outside of a window of thirty days, and a series goes on.
    put("past", "SUMMARY:Past\n");
    put("goes", "SUMMARY:Goes\nRRULE:FREQ=DAILY\n");
    let mapping = pair.map(json!({"window_past": "P30D", "window_future": "P30D", "conflict_policy": "ask",
        "on_remote_delete": "keep"}));
    let path = format!("/mappings/{mapping}");
    let change = |body: Value| assert_eq!(pair.ask("PATCH", &path, Some(body)).0, 200);
    eventually("the push", || !pair.text_there("goes.ics").is_empty());
    pair.sync(&mapping);
    check(&pair, "past", "outside_window", "outside the mapping's window");
    check(&pair, "goes", "synced", "has it too");
    pair.at_rest(&mapping, || {
        put("rests", "SUMMARY:Rests\nRRULE:FREQ=DAILY\n");
        check(&pair, "rests", "disabled", "switched off");
        let there = pair.text_there("goes.ics").replace("SUMMARY:Goes", "SUMMARY:There");
        assert_eq!(pair.there("anna", "PUT", "goes.ics", &there).status, 204);
        let here = event("goes", "SUMMARY:Here\nRRULE:FREQ=DAILY\n");
        assert_eq!(pair.here("PUT", "calendar/goes.ics", &here).status, 204);
    });
    eventually("the conflict", || told(&pair, "goes").0 == json!("conflict"));
    check(&pair, "goes", "conflict", "decide the conflict");
    eventually("the one that rested", || told(&pair, "rests").0 == json!("synced"));
    assert_eq!(pair.there("anna", "DELETE", "rests.ics", "").status, 204);
    eventually("the removal there", || {
        pair.sync(&mapping);
        told(&pair, "rests").0 == json!("apart")
    });
    check(&pair, "rests", "apart", "the other kept");
    change(json!({"only": ["reschedule"]}));
    put("new", "SUMMARY:New\nRRULE:FREQ=DAILY\n");
    check(&pair, "new", "direction", "only what is moved or called off");
    change(json!({"only": [], "direction": "pull"}));
    check(&pair, "new", "direction", "the direction is `pull`");
}

// S0-026: only a new time and the end of it go out, with what else was changed by then
#[test]
fn a_mapping_carries_only_what_is_urgent() {
    let pair = Pair::start();
    let put = |name: &str, status: u16, lines: &str| {
        assert_eq!(pair.here("PUT", &format!("calendar/{name}.ics"), &event(name, lines)).status, status);
    };
    assert_eq!(pair.there("anna", "PUT", "a.ics", &event("a", "SUMMARY:Cut\n")).status, 201);
    let mapping = pair.map(json!({"only": ["reschedule", "cancel"]}));
    eventually("what is booked there", || !pair.text_here("a.ics").is_empty());
    put("a", 204, "SUMMARY:Cut and colour\n");
    put("b", 201, "SUMMARY:Not there\n");
    pair.sync(&mapping);
    pair.sync(&mapping);
    assert!(pair.text_there("a.ics").contains("SUMMARY:Cut\r\n") && pair.text_there("b.ics").is_empty());
    let later = event("a", "SUMMARY:Cut and colour\n").replace("T090000Z", "T093000Z");
    assert_eq!(pair.here("PUT", "calendar/a.ics", &later).status, 204);
    eventually("the new time", || pair.text_there("a.ics").contains("T093000Z"));
    assert!(pair.text_there("a.ics").contains("SUMMARY:Cut and colour"), "what else was changed goes along");
    assert_eq!(pair.here("DELETE", "calendar/a.ics", "").status, 204);
    eventually("the end of it", || pair.text_there("a.ics").is_empty());
    assert_eq!(pair.texts_there().len(), 0);
}

//! Bookings of the app over a mapping: they go out, and nothing from outside moves or removes them.

use serde_json::{Value, json};

use super::Pair;
use crate::wait::eventually;

/// Books. Returns the names of its event here and there, and where it is in the API.
fn booked(pair: &Pair, start: &str) -> (String, String, String) {
    let wish = json!({"start": start, "duration": "PT45M", "time_zone": "Europe/Berlin", "service": "Haircut",
        "location": "Salon 1", "notes": "Colour 7, see card", "customer": {"name": "Eva Example",
        "email": "eva@example.org", "phone": "+49 30 1234"}});
    let made = pair.made("/bookings", wish);
    assert_eq!(made["status"], "confirmed", "{made}");
    let id = made["id"].as_str().unwrap().to_owned();
    (format!("{id}.ics"), format!("{id}%40bookings.kalends.ics"), format!("/bookings/{id}"))
}

/// How the booking stands, and when it is.
fn stands(pair: &Pair, path: &str) -> (Value, Value) {
    let (status, booking) = pair.ask("GET", path, None);
    assert_eq!(status, 200, "{booking}");
    (booking["status"].clone(), booking["start"].clone())
}

// S1-002, S1-017, S1-018, S1-019, S1-020, S1-048: a booking of the app is an event there, with what was said of it; it
// moves with it and goes with it
#[test]
fn a_booking_goes_out_with_what_was_said_of_it() {
    let pair = Pair::start();
    pair.map(json!({"direction": "push", "fields": "full"}));
    let (_, name, path) = booked(&pair, "2031-01-06T09:00:00+01:00");
    eventually("the booking there", || !pair.text_there(&name).is_empty());
    let there = pair.text_there(&name);
    for line in [
        "SUMMARY:Haircut: Eva Example\r\n",
        "DTSTART;TZID=Europe/Berlin:20310106T090000\r\n",
        "LOCATION:Salon 1\r\n",
        "STATUS:CONFIRMED\r\n",
    ] {
        assert!(there.contains(line), "{line}: {there}");
    }
    let described = there.lines().find(|line| line.starts_with("DESCRIPTION")).unwrap();
    for word in ["Colour 7\\, see card", "eva@example.org", "+49 30 1234"] {
        assert!(described.contains(word), "{word}: {described}");
    }
    assert!(!there.contains("X-KALENDS-BOOKING"), "{there}");
    let later = json!({"start": "2031-01-06T11:00:00+01:00"});
    assert_eq!(pair.ask("PATCH", &path, Some(later)).0, 200);
    eventually("the new time there", || pair.text_there(&name).contains(":20310106T110000\r\n"));
    assert_eq!(pair.ask("DELETE", &path, None).0, 204);
    eventually("the end of it there", || {
        let there = pair.text_there(&name);
        there.is_empty() || there.contains("STATUS:CANCELLED")
    });
}

// S1-038, E1: whatever the policy, nobody out there moves, cancels or removes a booking of the app; each attempt is on record
#[test]
fn a_booking_of_the_app_stays_whatever_happens_there() {
    for policy in ["external", "newest", "ask"] {
        let pair = Pair::start();
        let mapping = pair.map(json!({"conflict_policy": policy, "fields": "full"}));
        let (own, name, path) = booked(&pair, "2031-01-06T09:00:00+01:00");
        eventually("the booking there", || !pair.text_there(&name).is_empty());
        pair.sync(&mapping);
        let is_there = || pair.text_there(&name).contains("DTSTART;TZID=Europe/Berlin:20310106T090000\r\n");
        let confirmed = (json!("confirmed"), json!("2031-01-06T09:00:00+01:00"));
        let here = pair.text_here(&own);
        let moved = pair.text_there(&name).replace(":20310106T09", ":20310106T13");
        let off = pair.text_there(&name).replace("STATUS:CONFIRMED", "STATUS:CANCELLED");
        assert!(moved != pair.text_there(&name) && off != pair.text_there(&name));
        for (count, text) in [(1, &moved), (2, &off)] {
            assert_eq!(pair.there("anna", "PUT", &name, text).status, 204);
            eventually("the booking as it was", || {
                pair.sync(&mapping);
                is_there() && !pair.text_there(&name).contains("STATUS:CANCELLED")
            });
            assert_eq!(
                (stands(&pair, &path), pair.text_here(&own)),
                (confirmed.clone(), here.clone()),
                "{policy}"
            );
            assert_eq!(pair.items("/conflicts").len(), count, "{policy}");
        }
        assert_eq!(pair.there("anna", "DELETE", &name, "").status, 204);
        eventually("the booking there again", || {
            pair.sync(&mapping);
            is_there()
        });
        assert_eq!((stands(&pair, &path), pair.text_here(&own)), (confirmed, here), "{policy}");
        let conflicts = pair.items("/conflicts");
        assert_eq!(conflicts.len(), 3, "{policy}: {conflicts:?}");
        for conflict in conflicts {
            let told = (&conflict["kind"], &conflict["winner"], &conflict["title"]);
            assert_eq!(told, (&json!("booking_protected"), &json!("local"), &json!("Haircut: Eva Example")));
            assert!(conflict["local"].as_str().unwrap().contains("T090000"), "{conflict}");
        }
    }
}

// E15: a calendar that can only be read takes no booking; without a word it goes where events go
#[test]
fn no_booking_goes_into_a_calendar_that_is_only_pulled() {
    let pair = Pair::start();
    pair.map(json!({"direction": "pull"}));
    let pulled = pair.calendar();
    let wish = |calendar: Option<&str>| {
        json!({"start": "2031-01-06T09:00:00+01:00", "duration": "PT45M", "customer": {"name": "Eva"},
            "calendar": calendar})
    };
    let (status, refused) = pair.ask("POST", "/bookings", Some(wish(Some(&pulled))));
    assert_eq!(status, 403, "{refused}");
    assert!(refused["type"].as_str().unwrap().ends_with("/read-only"), "{refused}");
    let work = pair.made("/calendars", json!({"name": "work"}))["id"].clone();
    let made = pair.made("/bookings", wish(None));
    assert_eq!(made["calendar"], work, "{made}");
    // What is in the pulled calendar makes busy all the same.
    let text =
        super::event("a", "").replace("20260105", "20310106").replace("T09", "T14").replace("T10", "T15");
    assert_eq!(pair.there("anna", "PUT", "a.ics", &text).status, 201);
    let mapping = pair.items("/mappings")[0]["id"].as_str().unwrap().to_owned();
    eventually("the pull", || {
        pair.sync(&mapping);
        !pair.text_here("a.ics").is_empty()
    });
    let mut later = wish(None);
    later["start"] = json!("2031-01-06T15:30:00+01:00");
    let (status, refused) = pair.ask("POST", "/bookings", Some(later));
    assert_eq!((status, &refused["blocking"]["calendar"]), (409, &json!(pulled)), "{refused}");
}

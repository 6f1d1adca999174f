//! A token reaches its user's things only: every route with a name in it is asked for somebody else's.

use std::collections::{BTreeMap, BTreeSet};

use kalends::api::ROUTES;
use serde_json::{Value, json};

use crate::dialogue::Host as _;
use crate::oauth::peer::Peer;
use crate::oauth::{House, follow, mapped_feed};

/// Everything that a program may have but `admin`, which reaches others by design.
const ALL: &str = "read events bookings bridges";

/// Returns the concrete addresses of a route for which there are things of anna's: what a name stands for is read from the list
/// whose address ends before it, so that a new route is tried as soon as its list has something in it.
fn places(house: &House, token: &str, route: &str, known: &BTreeMap<&str, String>) -> Vec<String> {
    let mut found = vec![String::new()];
    for segment in route.split('/').skip(1) {
        let name = segment.strip_prefix('{').and_then(|name| name.strip_suffix('}'));
        let mut next = Vec::new();
        for before in found {
            let Some(name) = name else {
                next.push(format!("{before}/{segment}"));
                continue;
            };
            let listed = house.api_as(token, "GET", &before, None);
            let listed: Value = serde_json::from_slice(&listed.body).unwrap_or_default();
            let items = listed["items"].as_array().cloned().unwrap_or_default();
            let id = if name == "uid" { "uid" } else { "id" };
            let mut ids: Vec<String> =
                items.iter().filter_map(|item| item[id].as_str()).map(str::to_owned).collect();
            ids.extend(known.get(name).filter(|_| ids.is_empty()).cloned());
            next.extend(ids.iter().take(2).map(|id| format!("{before}/{}", id.replace('/', "%2F"))));
        }
        found = next;
    }
    found
}

fn wish(house: &House, method: &str, path: &str, body: Value) -> Value {
    let (status, made) = house.api(method, path, Some(body));
    assert!((200..300).contains(&status), "{method} {path}: {status} {made}");
    made
}

/// All that anna can read, by address.
fn seen(
    house: &House,
    token: &str,
    places: &BTreeSet<(String, String, String)>,
) -> BTreeMap<String, Vec<u8>> {
    // What a far side says of its calendars is not anna's.
    let read = places.iter().filter(|(method, _, route)| {
        method == "GET" && !route.ends_with("/stream") && !route.starts_with("/connections/{connection}/")
    });
    read.map(|(_, place, _)| (place.clone(), house.api_as(token, "GET", place, None).body)).collect()
}

// S3-041, S4-085: with every scope and another's ids nothing is read and nothing is changed, on any route
#[test]
fn a_token_reaches_its_users_things_only() {
    let peer = Peer::start();
    let mut config = peer.config();
    config.extend(["[bridge]".into(), "allow_private = true".into()]);
    let mut house = House::start(config);
    house.token = house.served.token("anna", ALL).unwrap();
    // Something of each kind.
    let (connection, mapping) = mapped_feed(&house, &peer, &["one"]);
    let google = house.connect(&peer, "google");
    let (_, all) = house.api("GET", "/calendars", None);
    let first =
        all["items"].as_array().unwrap().iter().find(|c| c["name"] == "calendar").unwrap()["id"].clone();
    let pull = json!({"calendar": first, "connection": google, "remote_calendar": "anna@far.example", "direction": "pull"});
    let second = wish(&house, "POST", "/mappings", pull)["id"].as_str().unwrap().to_owned();
    // A notice too; then nothing changes by itself any more.
    peer.far().revoke_all();
    for id in [&mapping, &second] {
        let (_, asked) = house.api("POST", &format!("/mappings/{id}/sync"), None);
        if let Some(run) = asked["run"].as_str() {
            follow(&house, run);
        }
        wish(&house, "PATCH", &format!("/mappings/{id}"), json!({"enabled": false}));
    }
    let calendar =
        wish(&house, "POST", "/calendars", json!({"name": "own"}))["id"].as_str().unwrap().to_owned();
    let event = format!("/calendars/{calendar}/events/kept@x");
    for title in ["First", "Second"] {
        wish(
            &house,
            "PUT",
            &event,
            json!({"title": title, "start": "2030-01-07T09:00:00Z", "duration": "PT1H"}),
        );
    }
    let gone = format!("/calendars/{calendar}/events/gone@x");
    wish(&house, "PUT", &gone, json!({"title": "Gone", "start": "2030-01-08T09:00:00Z", "duration": "PT1H"}));
    assert_eq!(house.api("DELETE", &gone, None).0, 204);
    wish(&house, "POST", "/feeds", json!({"calendars": [calendar]}));
    let booking = json!({"calendar": calendar, "start": "2030-01-09T09:00:00Z", "duration": "PT1H", "outside_rules": true});
    wish(&house, "POST", "/bookings", booking);

    let known = BTreeMap::from([("uid", "kept@x".to_owned())]);
    let mut tried = BTreeSet::new();
    let mut all = BTreeSet::new();
    for route in ROUTES.iter().filter(|route| route.path.contains('{')) {
        for place in places(&house, &house.token, route.path, &known) {
            tried.extend(route.path.split('/').filter(|segment| segment.starts_with('{')));
            all.insert((route.method.to_string(), place, route.path.to_owned()));
        }
    }
    let made = [
        "{calendar}",
        "{uid}",
        "{version}",
        "{feed}",
        "{booking}",
        "{item}",
        "{connection}",
        "{mapping}",
        "{run}",
        "{notification}",
    ];
    for name in made {
        assert!(tried.contains(name), "nothing of anna's stands for {name}");
    }
    let before = seen(&house, &house.token, &all);
    assert!(before.len() > 10, "{before:?}");

    let bert = house.served.token("bert", ALL).unwrap();
    for (method, place, route) in &all {
        // What each wants beside the name; nothing is refused for its body before it is looked for.
        let body = match (method.as_str(), route.as_str()) {
            ("GET" | "DELETE", _) => None,
            ("PUT", _) | ("POST", "/calendars/{calendar}/events") => {
                Some(json!({"title": "Stolen", "start": "2030-01-07T09:00:00Z", "duration": "PT1H"}))
            }
            (_, "/conflicts/{conflict}/resolve") => Some(json!({"resolution": "local"})),
            _ => Some(json!({})),
        };
        let answer = house.api_as(&bert, method, place, body);
        assert_eq!(answer.status, 404, "{method} {place}: {}", answer.show());
    }
    // Named in a body or a query, they are unknown as well.
    let body = json!({"calendar": calendar, "connection": connection, "remote_calendar": "x"});
    for (method, path, body) in [
        ("POST", "/mappings", body.clone()),
        ("POST", "/mappings/preview", body),
        ("POST", "/feeds", json!({"calendars": [calendar]})),
        (
            "POST",
            "/bookings",
            json!({"calendar": calendar, "start": "2030-01-10T09:00:00Z", "duration": "PT1H"}),
        ),
        ("PATCH", "/booking-settings", json!({"calendars": [calendar]})),
        ("PATCH", "/booking-settings", json!({"write_calendar": calendar})),
    ] {
        let answer = house.api_as(&bert, method, path, Some(body));
        assert!(matches!(answer.status, 404 | 422), "{method} {path}: {}", answer.show());
    }
    for query in [
        format!("/changes?calendar={calendar}"),
        format!("/runs?mapping={mapping}"),
        format!("/conflicts?mapping={mapping}"),
        "/availability?user=anna&from=2030-01-01T00:00:00Z&to=2030-01-02T00:00:00Z&duration=PT1H".to_owned(),
        "/freebusy?user=anna&from=2030-01-01T00:00:00Z&to=2030-01-02T00:00:00Z".to_owned(),
        "/bookings?user=anna".to_owned(),
        "/booking-settings?user=anna".to_owned(),
    ] {
        let answer = house.api_as(&bert, "GET", &query, None);
        assert!(matches!(answer.status, 404 | 422), "{query}: {}", answer.show());
    }
    for list in [
        "/calendars",
        "/bookings",
        "/feeds",
        "/connections",
        "/mappings",
        "/runs",
        "/notifications",
        "/trash",
    ] {
        let answer = house.api_as(&bert, "GET", list, None);
        let text = String::from_utf8(answer.body).unwrap();
        for (_, place, _) in &all {
            let id = place.split('/').nth(2).unwrap();
            assert!(!text.contains(&format!("\"id\":\"{id}\"")), "{list} shows {place}: {text}");
        }
    }
    assert_eq!(seen(&house, &house.token, &all), before, "nothing of anna's has changed");
}

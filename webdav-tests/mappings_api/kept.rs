//! What a mapping pulls is not changed here by hand, unless it is set to be (decision 018).

use serde_json::{Value, json};

use super::{Pair, dav, event, text};
use crate::app::problem;
use crate::dialogue::Host as _;
use crate::wait::eventually;

const PRIVILEGES: &str = "<propfind xmlns=\"DAV:\"><prop><current-user-privilege-set/></prop></propfind>";

/// The privileges that a client is told of.
fn privileges(pair: &Pair, path: &str) -> Vec<String> {
    let headers = [("Depth", "0"), ("Content-Type", "application/xml")];
    let answer = dav(&pair.near, "anna", "PROPFIND", &format!("calendars/anna/{path}"), &headers, PRIVILEGES);
    let text = text(&answer);
    let document = roxmltree::Document::parse(&text).unwrap();
    let all = document.descendants().filter(|node| node.tag_name().name() == "privilege");
    all.filter_map(|node| node.first_element_child()).map(|p| p.tag_name().name().to_owned()).collect()
}

const WRITES: [&str; 4] = ["write", "write-content", "bind", "unbind"];

fn writes(pair: &Pair, path: &str) -> bool {
    let all = privileges(pair, path);
    assert!(all.contains(&"read".to_owned()), "{all:?}");
    let found = WRITES.iter().filter(|name| all.iter().any(|other| other == *name)).count();
    assert!(found == 0 || found == WRITES.len(), "{all:?}");
    found > 0
}

fn moved(pair: &Pair, method: &str, from: &str, to: &str) -> u16 {
    let to = format!("http://{}/dav/calendars/anna/{to}", pair.near.address());
    let from = format!("calendars/anna/{from}");
    dav(&pair.near, "anna", method, &from, &[("Destination", &to), ("Overwrite", "F")], "").status
}

fn titled(uid: &str, title: &str) -> String {
    event(uid, &format!("SUMMARY:{title}\n"))
}

/// Tells what is needed for a refused request, as RFC 3744 §7.1.1 has it.
fn needed(answer: &crate::dialogue::Response) -> String {
    assert_eq!(answer.status, 403, "{}", answer.show());
    let text = String::from_utf8(answer.body.clone()).unwrap();
    let document = roxmltree::Document::parse(&text).unwrap();
    let error = document.root_element();
    assert_eq!(error.first_element_child().unwrap().tag_name().name(), "need-privileges", "{text}");
    let sentence = error.last_element_child().unwrap().text().unwrap();
    assert!(sentence.contains("another calendar"), "{sentence}");
    let privilege = document.descendants().find(|node| node.tag_name().name() == "privilege").unwrap();
    privilege.first_element_child().unwrap().tag_name().name().to_owned()
}

// E15, issue 5: a series that is only pulled is not divided here
#[test]
fn what_is_only_pulled_is_not_divided() {
    let pair = Pair::start();
    let series = event("w", "SUMMARY:weekly\nRRULE:FREQ=WEEKLY;COUNT=4\n");
    assert_eq!(pair.there("anna", "PUT", "w.ics", &series).status, 201);
    pair.map(json!({"direction": "pull"}));
    eventually("the pull", || !pair.text_here("w.ics").is_empty());
    let path = format!("/calendars/{}/events", pair.calendar());
    let list = pair.ask("GET", &format!("{path}?expand=true&from=2020-01-01&to=2040-01-01"), None).1;
    let at = list["items"][2]["recurrence_id"].as_str().unwrap().to_owned();
    let (status, why) = pair.ask("POST", &format!("{path}/w/split"), Some(json!({"at": at})));
    assert_eq!(status, 403, "{why}");
    assert!(why["type"].as_str().unwrap().ends_with("/read-only"), "{why}");
    assert!(pair.text_here("w.ics").contains("COUNT=4"));
}

// E15, S1-090, S3-026: what is pulled is read-only in DAV and in the API; what changes there goes on to arrive
#[test]
fn a_calendar_that_is_only_pulled_is_read_only() {
    let pair = Pair::start();
    assert_eq!(pair.there("anna", "PUT", "a.ics", &titled("a", "one")).status, 201);
    assert!(writes(&pair, "calendar/"));
    let mapping = pair.map(json!({"direction": "pull"}));
    eventually("the pull", || !pair.text_here("a.ics").is_empty());
    let path = format!("/mappings/{mapping}");
    assert_eq!(pair.ask("GET", &path, None).1["editable"], json!(false));
    // Name and colour are one's own, like those of a calendar that somebody shares.
    assert!(!writes(&pair, "calendar/") && !writes(&pair, "calendar/a.ics"));
    assert!(privileges(&pair, "calendar/").contains(&"write-properties".to_owned()));
    assert_eq!(needed(&pair.here("PUT", "calendar/a.ics", &titled("a", "mine"))), "write-content");
    assert_eq!(needed(&pair.here("PUT", "calendar/new.ics", &titled("new", "new"))), "bind");
    assert_eq!(needed(&pair.here("DELETE", "calendar/a.ics", "")), "unbind");
    let work = pair.made("/calendars", json!({"name": "work"}));
    assert_eq!(moved(&pair, "MOVE", "calendar/a.ics", "work/a.ics"), 403);
    assert_eq!(moved(&pair, "COPY", "calendar/a.ics", "calendar/b.ics"), 403);
    assert_eq!(moved(&pair, "COPY", "calendar/a.ics", "work/a.ics"), 201);
    assert_eq!(moved(&pair, "MOVE", "work/a.ics", "calendar/b.ics"), 403);
    // The API says the same.
    let calendar = pair.calendar();
    let shown = pair.ask("GET", &format!("/calendars/{calendar}"), None).1;
    assert_eq!((&shown["writable"], &work["writable"]), (&json!(false), &json!(true)), "{shown}");
    let one = format!("/calendars/{calendar}/events/a");
    let (_, told) = pair.ask("GET", &one, None);
    assert_eq!((&told["locked"], &told["origin"]["kind"]), (&json!(true), &json!("mapping")), "{told}");
    let new = json!({"title": "new", "start": "2026-01-05T09:00:00Z", "duration": "PT1H"});
    for (method, path, body) in [
        ("PATCH", one.clone(), Some(json!({"title": "mine"}))),
        ("DELETE", one.clone(), None),
        ("POST", format!("/calendars/{calendar}/events"), Some(new.clone())),
    ] {
        let refused = problem(&pair.request(method, &path, &[], body), 403, "read-only");
        assert!(refused["detail"].as_str().unwrap().contains("editable"), "{refused}");
    }
    assert_eq!(pair.text_here("a.ics"), titled("a", "one"), "nothing was changed");
    // Where nobody says where, events go into a calendar that takes them.
    assert_eq!(pair.ask("POST", "/calendars/default/events", Some(new)).0, 201);
    let both = pair.items("/calendars");
    let default = both.iter().find(|c| c["default"] == json!(true)).unwrap();
    assert_eq!(default["name"], json!("work"), "{both:?}");
    // What happens there goes on to happen here.
    assert_eq!(pair.there("anna", "PUT", "a.ics", &titled("a", "two")).status, 204);
    assert_eq!(pair.there("anna", "PUT", "b.ics", &titled("b", "two")).status, 201);
    pair.sync(&mapping);
    eventually("the change", || pair.text_here("a.ics").contains("SUMMARY:two"));
    eventually("the new one", || !pair.text_here("b.ics").is_empty());
    assert_eq!(pair.there("anna", "DELETE", "b.ics", "").status, 204);
    eventually("the removal", || {
        pair.sync(&mapping);
        pair.text_here("b.ics").is_empty()
    });
    // And where it is wanted, it is edited here too, and goes nowhere.
    let change = |body: Value| assert_eq!(pair.ask("PATCH", &path, Some(body)).0, 200);
    // a client that sets a colour is not refused.
    let colour = "<propertyupdate xmlns=\"DAV:\"><set><prop><calendar-color xmlns=\"http://apple.com/ns/ical/\">#ff0000\
                  </calendar-color></prop></set></propertyupdate>";
    let answer = pair.here("PROPPATCH", "calendar/", colour);
    assert!(text(&answer).contains("200 OK"), "{}", answer.show());
    change(json!({"editable": true}));
    assert!(writes(&pair, "calendar/") && writes(&pair, "calendar/a.ics"));
    assert_eq!(pair.here("PUT", "calendar/a.ics", &titled("a", "mine")).status, 204);
    assert_eq!(pair.ask("GET", &one, None).1["locked"], json!(false));
    change(json!({"editable": null}));
    assert_eq!(needed(&pair.here("PUT", "calendar/a.ics", &titled("a", "again"))), "write-content");
    change(json!({"direction": "both"}));
    assert_eq!(pair.here("PUT", "calendar/a.ics", &titled("a", "both")).status, 204);
    change(json!({"direction": "pull"}));
    assert!(!writes(&pair, "calendar/a.ics"));
    assert_eq!(pair.ask("DELETE", &path, None).0, 204);
    assert_eq!(pair.here("DELETE", "calendar/a.ics", "").status, 204, "it is nobody else's any more");
}

// E15: in a calendar that has events of its own, only what was pulled is read-only
#[test]
fn events_of_ones_own_stay_editable_beside_pulled_ones() {
    let pair = Pair::start();
    assert_eq!(pair.there("anna", "PUT", "a.ics", &titled("a", "one")).status, 201);
    assert_eq!(pair.here("PUT", "calendar/own.ics", &titled("own", "Something of mine")).status, 201);
    let mapping = pair.map(json!({"direction": "pull", "on_remote_delete": "keep"}));
    eventually("the pull", || !pair.text_here("a.ics").is_empty());
    assert!(writes(&pair, "calendar/") && writes(&pair, "calendar/own.ics"));
    assert!(!writes(&pair, "calendar/a.ics"));
    assert_eq!(needed(&pair.here("PUT", "calendar/a.ics", &titled("a", "mine"))), "write-content");
    assert_eq!(needed(&pair.here("DELETE", "calendar/a.ics", "")), "unbind");
    assert_eq!(pair.here("PUT", "calendar/own.ics", &titled("own", "two")).status, 204);
    assert_eq!(pair.here("PUT", "calendar/more.ics", &titled("more", "two")).status, 201);
    let calendar = pair.calendar();
    assert_eq!(pair.ask("GET", &format!("/calendars/{calendar}"), None).1["writable"], json!(true));
    for (uid, locked) in [("a", true), ("own", false)] {
        let (_, told) = pair.ask("GET", &format!("/calendars/{calendar}/events/{uid}"), None);
        assert_eq!(told["locked"], json!(locked), "{told}");
    }
    // What is kept although it is gone there has become one's own.
    assert_eq!(pair.there("anna", "DELETE", "a.ics", "").status, 204);
    eventually("the news of it", || {
        pair.sync(&mapping);
        pair.here("PUT", "calendar/a.ics", &titled("a", "mine")).status == 204
    });
    assert!(writes(&pair, "calendar/a.ics"));
    assert_eq!(pair.here("DELETE", "calendar/a.ics", "").status, 204);
}

// E15: the mark belongs to one calendar and its mappings: a copy has none, and a calendar that comes back from the trash
// has no more than its mappings say
#[test]
fn a_copy_of_a_pulled_calendar_is_ones_own() {
    let pair = Pair::start();
    assert_eq!(pair.there("anna", "PUT", "a.ics", &titled("a", "one")).status, 201);
    let mapping = pair.map(json!({"direction": "pull"}));
    eventually("the pull", || !pair.text_here("a.ics").is_empty());
    assert_eq!(moved(&pair, "COPY", "calendar/", "copy/"), 201);
    assert!(writes(&pair, "copy/") && writes(&pair, "copy/a.ics"));
    assert_eq!(pair.here("PUT", "copy/a.ics", &titled("a", "mine")).status, 204);
    // No client takes the mark off.
    let take = "<propertyupdate xmlns=\"DAV:\"><remove><prop><kept xmlns=\"urn:kalends:server\"/></prop></remove>\
                </propertyupdate>";
    let answer = pair.here("PROPPATCH", "calendar/", take);
    assert!(text(&answer).contains("403 Forbidden"), "{}", answer.show());
    assert_eq!(pair.here("DELETE", "calendar/", "").status, 204, "the whole calendar can go");
    assert_eq!(pair.ask("DELETE", &format!("/mappings/{mapping}"), None).0, 204);
    let id = pair.items("/trash")[0]["id"].as_str().unwrap().to_owned();
    assert_eq!(pair.ask("POST", &format!("/trash/{id}/restore"), None).0, 200);
    assert!(writes(&pair, "calendar/a.ics"));
    assert_eq!(pair.here("PUT", "calendar/a.ics", &titled("a", "mine")).status, 204);
}

// S2-013: one mapping says where new events go
#[test]
fn a_primary_mapping_says_where_new_events_go() {
    let pair = Pair::start();
    let work = pair.made("/calendars", json!({"name": "work"}))["id"].as_str().unwrap().to_owned();
    let first = pair.map(json!({}));
    let second = pair.map(json!({"calendar": work, "primary": true}));
    let primary = |id: &str| pair.ask("GET", &format!("/mappings/{id}"), None).1["primary"].clone();
    assert_eq!((primary(&first), primary(&second)), (json!(false), json!(true)));
    let new = json!({"title": "new", "start": "2026-01-05T09:00:00Z", "duration": "PT1H"});
    let made = pair.made("/calendars/default/events", new.clone());
    assert_eq!(made["calendar"], json!(work), "{made}");
    // One at a time; without a choice it is the calendar that came with the account.
    assert_eq!(pair.ask("PATCH", &format!("/mappings/{first}"), Some(json!({"primary": true}))).0, 200);
    assert_eq!((primary(&first), primary(&second)), (json!(true), json!(false)));
    assert_eq!(pair.ask("PATCH", &format!("/calendars/{work}"), Some(json!({"default": true}))).0, 200);
    assert_eq!((primary(&first), primary(&second)), (json!(false), json!(true)));
    assert_eq!(pair.ask("DELETE", &format!("/calendars/{work}"), None).0, 204);
    assert_eq!(primary(&first), json!(true), "what was chosen is gone");
    assert_eq!(pair.made("/calendars/default/events", new)["calendar"], json!(pair.calendar()));
}

// E16, S1-092: how long a change takes is measured each way and shown
#[test]
fn a_mapping_says_how_quick_it_is() {
    let pair = Pair::start();
    assert_eq!(pair.here("PUT", "calendar/old.ics", &titled("old", "one")).status, 201);
    let mapping = pair.map(json!({}));
    let latency = || pair.ask("GET", &format!("/mappings/{mapping}"), None).1["latency"].clone();
    eventually("the first pass", || !pair.text_there("old.ics").is_empty());
    assert_eq!(latency(), json!({"outward": null, "inward": null}), "a first pass measures nothing");
    assert_eq!(pair.here("PUT", "calendar/a.ics", &titled("a", "one")).status, 201);
    eventually("the way out", || latency()["outward"]["count"] == json!(1));
    assert_eq!(pair.there("anna", "PUT", "b.ics", &titled("b", "one")).status, 201);
    pair.sync(&mapping);
    eventually("the way in", || latency()["inward"]["count"] == json!(1));
    for way in ["outward", "inward"] {
        let told = &latency()[way];
        for name in ["last", "average"] {
            let length: jiff::Span = told[name].as_str().unwrap().parse().unwrap();
            let seconds = length.total(jiff::Unit::Second).unwrap();
            assert!((0.0..3600.0).contains(&seconds), "{told}");
        }
        let at: jiff::Timestamp = told["measured_at"].as_str().unwrap().parse().unwrap();
        assert!(at <= jiff::Timestamp::now(), "{told}");
    }
}

// S2-033, S2-034, S2-035: who decided, when, and what they had to say about it; also what was decided before
#[test]
fn a_decision_has_notes() {
    let pair = Pair::start();
    let mapping = pair.map(json!({"conflict_policy": "ask"}));
    assert_eq!(pair.here("PUT", "calendar/a.ics", &titled("a", "one")).status, 201);
    eventually("the push", || !pair.text_there("a.ics").is_empty());
    pair.sync(&mapping);
    pair.at_rest(&mapping, || {
        assert_eq!(pair.there("anna", "PUT", "a.ics", &titled("a", "there")).status, 204);
        assert_eq!(pair.here("PUT", "calendar/a.ics", &titled("a", "here")).status, 204);
    });
    let mut open = Vec::new();
    eventually("the conflict", || {
        open = pair.items("/conflicts?status=pending");
        !open.is_empty()
    });
    assert_eq!((&open[0]["notes"], &open[0]["resolved_at"]), (&Value::Null, &Value::Null));
    let path = format!("/conflicts/{}", open[0]["id"].as_str().unwrap());
    let resolve = format!("{path}/resolve");
    let long = json!({"resolution": "local", "notes": "x".repeat(2001)});
    assert_eq!(pair.refused("POST", &resolve, long), (422, "notes".to_owned()));
    let wish = json!({"resolution": "local", "notes": "Grandma called: it is at ours."});
    let (status, decided) = pair.ask("POST", &resolve, Some(wish));
    assert_eq!((status, &decided["notes"]), (200, &json!("Grandma called: it is at ours.")), "{decided}");
    assert_eq!((&decided["decided_by"], &decided["winner"]), (&json!("anna"), &json!("local")), "{decided}");
    assert!(decided["resolved_at"].is_string(), "{decided}");
    eventually("our version there", || pair.text_there("a.ics").contains("SUMMARY:here"));
    let (status, undone) = pair.ask("POST", &format!("{path}/undo"), None);
    assert_eq!((status, &undone["notes"]), (200, &Value::Null), "{undone}");
    // S2-035: found by how it stands and by its mapping; S2-034: the event may go, what was decided stays.
    let listed = |query: &str| pair.items(&format!("/conflicts?{query}")).len();
    assert_eq!((listed("status=pending"), listed("status=resolved_external")), (0, 1));
    assert_eq!(listed(&format!("status=resolved_external&mapping={mapping}")), 1);
    assert_eq!(pair.ask("GET", "/conflicts?mapping=0000", None).0, 404);
    assert_eq!(pair.here("DELETE", "calendar/a.ics", "").status, 204);
    eventually("the removal there", || pair.text_there("a.ics").is_empty());
    let (status, kept) = pair.ask("GET", &path, None);
    assert_eq!((status, &kept["uid"]), (200, &json!("a")), "{kept}");
    assert!(kept["local"].as_str().unwrap().contains("SUMMARY:here"), "{kept}");
    let before = &undone["history"][0];
    assert_eq!(before["notes"], json!("Grandma called: it is at ours."), "{undone}");
    assert_eq!((&before["decided_by"], &before["status"]), (&json!("anna"), &json!("resolved_local")));
}

// S3-015: an account is connected once; it is connected again where it is
#[test]
fn the_same_account_is_not_connected_twice() {
    let pair = Pair::start();
    let url = format!("http://{}/", pair.far.address());
    let again = json!({"url": url, "username": "anna", "password": super::password("anna")});
    let (status, refused) = pair.ask("POST", "/connections/caldav", Some(again));
    assert_eq!(status, 409, "{refused}");
    let detail = refused["detail"].as_str().unwrap();
    assert!(detail.contains("connected already") && detail.contains(&pair.connection), "{detail}");
    assert_eq!(pair.items("/connections").len(), 1);
    // The password is tested first: nobody learns from the outside which accounts are connected.
    let wrong = json!({"url": url, "username": "anna", "password": "wrong"});
    assert_eq!(pair.ask("POST", "/connections/caldav", Some(wrong)).0, 422);
    let reconnect = format!("/connections/{}/reconnect", pair.connection);
    assert_eq!(pair.ask("POST", &reconnect, Some(json!({"password": super::password("anna")}))).0, 200);
    // Another account of the same server is another account.
    pair.connect("bert");
    assert_eq!(pair.items("/connections").len(), 2);
}

// S0-029, S0-030: an account that nobody mapped exchanges nothing; both ways is somebody's choice
#[test]
fn nothing_is_carried_before_somebody_maps_a_calendar() {
    let pair = Pair::start();
    assert_eq!(pair.there("anna", "PUT", "a.ics", &titled("a", "there")).status, 201);
    assert_eq!(pair.here("PUT", "calendar/b.ics", &titled("b", "here")).status, 201);
    // What is mapped goes, and nothing else does.
    let work = pair.made("/calendars", json!({"name": "work"}))["id"].clone();
    let berts = pair.connect("bert");
    let remote = pair.remote(&berts);
    let mapping = pair.map(json!({"calendar": work, "connection": berts, "remote_calendar": remote}));
    assert_eq!(pair.here("PUT", "work/c.ics", &titled("c", "work")).status, 201);
    eventually("what is mapped", || !super::text(&pair.there("bert", "GET", "c.ics", "")).is_empty());
    pair.sync(&mapping);
    assert_eq!((pair.text_here("a.ics"), pair.texts_there().len()), (String::new(), 1));
}

// S0-006: what is published comes from here, whatever the far side does
#[test]
fn a_published_feed_goes_on_without_its_far_side() {
    let mut pair = Pair::start();
    assert_eq!(pair.there("anna", "PUT", "a.ics", &titled("a", "Pulled")).status, 201);
    let mapping = pair.map(json!({"direction": "pull"}));
    eventually("the pull", || !pair.text_here("a.ics").is_empty());
    let today = jiff::Timestamp::now().strftime("%Y%m%d").to_string();
    assert_eq!(
        pair.there("anna", "PUT", "a.ics", &titled("a", "Pulled").replace("20260105", &today)).status,
        204
    );
    pair.sync(&mapping);
    eventually("today's", || pair.text_here("a.ics").contains(&today));
    let feed = pair.made("/feeds", json!({"calendars": [pair.calendar()]}));
    pair.far.stop();
    let url = url::Url::parse(feed["url"].as_str().unwrap()).unwrap();
    let request = crate::dialogue::Request {
        method: "GET".into(),
        target: url.path().to_owned(),
        headers: Vec::new(),
        body: Vec::new(),
    };
    let answer = crate::dialogue::send(pair.near.address(), &request).unwrap();
    assert_eq!(answer.status, 200, "{}", answer.show());
    assert!(String::from_utf8_lossy(&answer.body).contains("SUMMARY:Pulled"), "{}", answer.show());
}

// Issue 3, section 2: a backup holds what far sides entrusted to the server, and nobody reads it there
#[test]
fn a_backup_holds_no_secret_in_clear() {
    let mut pair = Pair::start();
    let mapping = pair.map(json!({}));
    let (status, hook) = pair.ask("POST", &format!("/mappings/{mapping}/hook"), None);
    assert_eq!(status, 201, "{hook}");
    let dump = pair.near.backup();
    let password = super::password("anna");
    let hooked = hook["secret"].as_str().unwrap().trim_start_matches("whsec_").to_owned();
    for secret in [password.as_str(), &hooked, &pair.token] {
        assert!(secret.len() > 5 && !dump.windows(secret.len()).any(|w| w == secret.as_bytes()));
    }
    // The connection comes back with it: its secret opens with the key that stayed.
    pair.near.restore(&dump);
    assert_eq!(pair.there("anna", "PUT", "later.ics", &titled("later", "later")).status, 201);
    eventually("what came later", || {
        pair.sync(&mapping);
        !pair.text_here("later.ics").is_empty()
    });
}

// E9, S3-034: a new key seals every secret while the server runs; the old one opens nothing any more
#[test]
fn a_new_key_seals_every_secret_while_the_server_runs() {
    let mut pair = Pair::start();
    let mapping = pair.map(json!({}));
    let feed = pair.made("/feeds", json!({"calendars": [pair.calendar()]}));
    let key = pair.near.directory().join("db/key");
    let old = std::fs::read_to_string(&key).unwrap();
    let done = std::process::Command::new(env!("CARGO_BIN_EXE_kalends"))
        .arg("rotate-key")
        .env("KALENDS_STORE__URL", format!("sled:{}", pair.near.directory().join("db").display()))
        .current_dir(pair.near.directory())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    assert!(done.status.success(), "{said}{}", String::from_utf8_lossy(&done.stderr));
    let sealed: usize = said.split(' ').next().unwrap().parse().unwrap();
    assert!(sealed >= 2, "the password and the feed's secret: {said}");
    let new = std::fs::read_to_string(&key).unwrap();
    let keys = |text: &str| -> Vec<String> { text.lines().skip(1).map(str::to_owned).collect() };
    assert_eq!((keys(&old).len(), keys(&new).len()), (1, 1), "the old key is forgotten");
    assert_ne!(keys(&old), keys(&new));
    // It goes on at once, and after a restart.
    for round in ["at once", "after a restart"] {
        let name = format!("{}.ics", round.replace(' ', "-"));
        assert_eq!(pair.there("anna", "PUT", &name, &titled(round, round)).status, 201);
        eventually(round, || {
            pair.sync(&mapping);
            !pair.text_here(&name).is_empty()
        });
        let (_, shown) = pair.ask("GET", &format!("/feeds/{}", feed["id"].as_str().unwrap()), None);
        // The port is another one after a restart.
        let token = |feed: &Value| feed["url"].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
        assert_eq!(token(&shown), token(&feed), "{round}: {shown}");
        crate::dialogue::Host::restart(&mut pair.near).unwrap();
    }
    // With the old key nothing can be opened: people are told, and nothing is taken for empty.
    pair.near.stop();
    std::fs::write(&key, old).unwrap();
    crate::dialogue::Host::restart(&mut pair.near).unwrap();
    pair.sync(&mapping);
    eventually("what is wrong is said", || {
        let (_, told) = pair.ask("GET", &format!("/mappings/{mapping}"), None);
        told["message"].as_str().is_some_and(|sentence| sentence.contains("key"))
    });
}

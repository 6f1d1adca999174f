//! The settings of mappings over the API, and what follows from them: presets, conflicts, links, the story of an event.
//! The far side is a second server of this process, over CalDAV.

mod booked;
mod kept;
mod story;

use base64::Engine as _;
use kalends::auth::{Scope, Scopes};
use serde_json::{Value, json};

use crate::dialogue::{Host as _, Request, Response, Setup, password, send};
use crate::host::Served;
use crate::wait::eventually;

/// Anna's server, one that she has an account on, and a token for the first.
struct Pair {
    near: Served,
    far: Served,
    token: String,
    connection: String,
}

impl Pair {
    fn start() -> Pair {
        let config = vec!["[bridge]".to_owned(), "allow_private = true".to_owned()];
        let near = Served::start(&Setup { config, ..Setup::default() }).unwrap();
        let far = Served::plain();
        let scopes = Scopes::from(vec![Scope::Read, Scope::Events, Scope::Bookings, Scope::Bridges]);
        let token = near.runtime().block_on(near.guard().add_token("anna", "test", scopes)).unwrap().1;
        let mut pair = Pair { near, far, token, connection: String::new() };
        pair.connection = pair.connect("anna");
        pair
    }

    /// Connects an account of the far server.
    fn connect(&self, user: &str) -> String {
        let url = format!("http://{}/", self.far.address());
        let body = json!({"url": url, "username": user, "password": password(user)});
        let connection = self.made("/connections/caldav", body);
        connection["id"].as_str().unwrap().to_owned()
    }

    fn request(&self, method: &str, path: &str, headers: &[(&str, &str)], body: Option<Value>) -> Response {
        let mut all = vec![("Authorization".to_owned(), format!("Bearer {}", self.token))];
        if body.is_some() {
            all.push(("Content-Type".to_owned(), "application/json".to_owned()));
        }
        all.extend(headers.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())));
        let request = Request {
            method: method.to_owned(),
            target: format!("/api/v1{path}"),
            headers: all,
            body: body.map(|b| b.to_string().into_bytes()).unwrap_or_default(),
        };
        send(self.near.address(), &request).unwrap()
    }

    fn ask(&self, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
        let answer = self.request(method, path, &[], body);
        let document = match answer.body.is_empty() {
            true => Value::Null,
            false => serde_json::from_slice(&answer.body).unwrap_or_else(|_| panic!("{}", answer.show())),
        };
        (answer.status, document)
    }

    fn made(&self, path: &str, body: Value) -> Value {
        let (status, made) = self.ask("POST", path, Some(body));
        assert_eq!(status, 201, "{made}");
        made
    }

    fn refused(&self, method: &str, path: &str, body: Value) -> (u16, String) {
        let (status, problem) = self.ask(method, path, Some(body));
        (status, problem["field"].as_str().unwrap_or_default().to_owned())
    }

    fn items(&self, path: &str) -> Vec<Value> {
        let (status, list) = self.ask("GET", path, None);
        assert_eq!(status, 200, "{list}");
        list["items"].as_array().unwrap().clone()
    }

    /// The id of anna's calendar here.
    fn calendar(&self) -> String {
        let all = self.items("/calendars");
        let own = all.iter().find(|c| c["name"] == "calendar").unwrap();
        own["id"].as_str().unwrap().to_owned()
    }

    /// The id of the calendar there of that account.
    fn remote(&self, connection: &str) -> String {
        let all = self.items(&format!("/connections/{connection}/calendars"));
        let found =
            all.iter().find(|c| c["id"].as_str().unwrap().trim_end_matches('/').ends_with("/calendar"));
        found.unwrap_or_else(|| panic!("{all:?}"))["id"].as_str().unwrap().to_owned()
    }

    /// What a mapping of anna's two calendars is asked for with, and more.
    fn wish(&self, more: Value) -> Value {
        let mut wish = json!({
            "calendar": self.calendar(),
            "connection": self.connection,
            "remote_calendar": self.remote(&self.connection),
            "window_past": "all",
            "window_future": "all",
        });
        wish.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        wish
    }

    fn map(&self, more: Value) -> String {
        let made = self.made("/mappings", self.wish(more));
        let id = made["id"].as_str().unwrap().to_owned();
        self.sync(&id);
        id
    }

    /// Syncs and waits until that is done.
    fn sync(&self, mapping: &str) -> Value {
        let (status, asked) = self.ask("POST", &format!("/mappings/{mapping}/sync"), None);
        assert_eq!(status, 202, "{asked}");
        let path = format!("/runs/{}", asked["run"].as_str().unwrap());
        let mut run = Value::Null;
        eventually("the end of a run", || {
            run = self.ask("GET", &path, None).1;
            run["status"] != "running"
        });
        run
    }

    /// Lets the mapping rest while both sides are edited: no pass comes in between.
    fn at_rest(&self, mapping: &str, edits: impl FnOnce()) {
        let path = format!("/mappings/{mapping}");
        let rest =
            |enabled: bool| assert_eq!(self.ask("PATCH", &path, Some(json!({"enabled": enabled}))).0, 200);
        rest(false);
        edits();
        rest(true);
    }

    fn here(&self, method: &str, path: &str, body: &str) -> Response {
        dav(&self.near, "anna", method, &format!("calendars/anna/{path}"), &[], body)
    }

    fn there(&self, user: &str, method: &str, name: &str, body: &str) -> Response {
        dav(&self.far, user, method, &format!("calendars/{user}/calendar/{name}"), &[], body)
    }

    fn text_here(&self, name: &str) -> String {
        text(&self.here("GET", &format!("calendar/{name}"), ""))
    }

    fn text_there(&self, name: &str) -> String {
        text(&self.there("anna", "GET", name, ""))
    }

    /// All that is in the calendar there, whatever it is called.
    fn texts_there(&self) -> Vec<String> {
        let list = dav(&self.far, "anna", "PROPFIND", "calendars/anna/calendar/", &[("Depth", "1")], "");
        let list = text(&list);
        let names =
            list.split("/calendars/anna/calendar/").skip(1).map(|rest| rest.split('<').next().unwrap());
        names.filter(|name| !name.is_empty()).map(|name| self.text_there(name)).collect()
    }
}

fn dav(at: &Served, user: &str, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Response {
    let basic = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{}", password(user)));
    let mut all = vec![("Authorization".to_owned(), format!("Basic {basic}"))];
    all.extend(headers.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())));
    let request = Request {
        method: method.to_owned(),
        target: format!("/dav/{path}"),
        headers: all,
        body: body.as_bytes().to_vec(),
    };
    send(at.address(), &request).unwrap()
}

/// The body unfolded; empty if there is none such.
fn text(answer: &Response) -> String {
    match answer.status {
        200 | 207 => String::from_utf8(answer.body.clone()).unwrap().replace("\r\n ", ""),
        _ => String::new(),
    }
}

fn event(uid: &str, lines: &str) -> String {
    format!(
        "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//test//EN\r\nBEGIN:VEVENT\r\nUID:{uid}\r\n\
         DTSTAMP:20260101T000000Z\r\nDTSTART:20260105T090000Z\r\nDTEND:20260105T100000Z\r\n\
         {}END:VEVENT\r\nEND:VCALENDAR\r\n",
        lines.replace('\n', "\r\n")
    )
}

// E1, E2, E7, S3-013, S4-035: every setting is kept, shown and can be changed
#[test]
fn a_mapping_keeps_every_setting() {
    let pair = Pair::start();
    let plain = pair.made("/mappings", pair.wish(json!({"window_past": null, "window_future": null})));
    for (name, value) in [
        ("direction", json!("both")),
        ("conflict_policy", json!("newest")),
        ("fields", json!("standard")),
        ("rules", json!([])),
        ("filters", json!([])),
        ("window_past", json!("P30D")),
        ("window_future", json!("P365D")),
        ("on_remote_delete", json!("trash")),
        ("on_local_delete", json!("trash")),
        ("push", json!("immediate")),
        ("enabled", json!(true)),
        ("poll_interval", json!(null)),
        ("editable", json!(true)),
        ("only", json!([])),
    ] {
        assert_eq!(plain[name], value, "{name} of {plain}");
    }
    let path = format!("/mappings/{}", plain["id"].as_str().unwrap());
    let change = json!({
        "direction": "pull",
        "conflict_policy": "external",
        "rules": [
            {"when": {"title": "dentist"}, "policy": "ask"},
            {"when": {"origin": "external", "protected": true}, "policy": "external"},
            {"when": {"starts_within": "PT2H", "field": "location"}, "policy": "local"},
        ],
        "only": ["reschedule", "cancel"],
        "editable": true,
        "fields": "core",
        "window_past": "P2W",
        "window_future": "all",
        "filters": [{"when": {"private": true}, "action": "exclude"}],
        "on_remote_delete": "keep",
        "on_local_delete": "cancel",
        "push": "scheduled",
        "poll_interval": "PT5M",
    });
    let (status, changed) = pair.ask("PATCH", &path, Some(change.clone()));
    assert_eq!(status, 200, "{changed}");
    for (name, value) in change.as_object().unwrap() {
        let value = match name.as_str() {
            "window_past" => json!("P14D"),
            "poll_interval" => json!("PT300S"),
            "rules" => {
                let mut rules = value.clone();
                rules[2]["when"] = json!({"starts_within": "PT7200S", "field": "LOCATION"});
                rules
            }
            _ => value.clone(),
        };
        assert_eq!(changed[name], value, "{name} of {changed}");
    }
    assert_eq!(pair.ask("GET", &path, None).1["etag"], changed["etag"]);
    // Null goes back to the server's own value.
    let back = json!({"window_past": null, "poll_interval": null, "rules": []});
    let (_, back) = pair.ask("PATCH", &path, Some(back));
    assert_eq!((&back["window_past"], &back["poll_interval"]), (&json!("P30D"), &Value::Null), "{back}");
    assert_eq!((&back["rules"], &back["fields"]), (&json!([]), &json!("core")), "{back}");
    // RFC 9110 §13.1.1
    let old = format!("\"{}\"", changed["etag"].as_str().unwrap());
    let stale = pair.request("PATCH", &path, &[("If-Match", &old)], Some(json!({"enabled": false})));
    assert_eq!(stale.status, 412, "{}", stale.show());
    for (body, field) in [
        (json!({"direction": "sideways"}), "direction"),
        (json!({"window_past": "P1000Y"}), "window_past"),
        (json!({"poll_interval": "PT1S"}), "poll_interval"),
        (json!({"poll_interval": "1h"}), "poll_interval"),
        (json!({"rules": [{"when": {"title": 7}, "policy": "ask"}]}), "rules[0].when.title"),
        (json!({"filters": [{"when": {}}]}), "filters[0].action"),
        (json!({"colour": "red"}), "colour"),
    ] {
        assert_eq!(pair.refused("PATCH", &path, body), (422, field.to_owned()));
    }
}

// E7, S4-005 sync-patterns §12: what leaves is what the preset says
#[test]
fn a_busy_mapping_tells_when_and_nothing_else() {
    let pair = Pair::start();
    let filters = json!([{"when": {"category": "secret"}, "action": "exclude"}]);
    pair.map(json!({"fields": "busy", "direction": "push", "filters": filters}));
    let lines = "SUMMARY:hush\nDESCRIPTION:hush\nLOCATION:hush\nATTENDEE:mailto:hush@x.org\nX-OWN:hush\n\
                 TRANSP:TRANSPARENT\nBEGIN:VALARM\nACTION:DISPLAY\nDESCRIPTION:hush\nTRIGGER:-PT5M\nEND:VALARM\n";
    assert_eq!(pair.here("PUT", "calendar/kept.ics", &event("kept", "CATEGORIES:secret\n")).status, 201);
    assert_eq!(pair.here("PUT", "calendar/a.ics", &event("a", lines)).status, 201);
    eventually("the push", || !pair.texts_there().is_empty());
    let all = pair.texts_there();
    let [told] = all.as_slice() else { panic!("what a filter keeps stays: {all:?}") };
    assert!(told.contains("SUMMARY:Busy\r\n") && told.contains("TRANSP:TRANSPARENT\r\n"), "{told}");
    assert!(told.contains("DTSTART:20260105T090000Z\r\n") && !told.contains("hush"), "{told}");
    assert!(!told.contains("UID:a\r\n"), "{told}");
    assert_eq!(pair.text_here("a.ics"), event("a", lines), "what does not leave stays");
}

// S2-030, S2-087, S1-040, S2-004, S2-031, S2-032, S2-074, S2-075, S3-124, S3-126, S3-021, S4-063, S3-125: a person
// decides field by field,
// takes it back, and has the list as a table
#[test]
fn a_person_decides_a_conflict_field_by_field_and_takes_it_back() {
    let pair = Pair::start();
    let mapping = pair.map(json!({"conflict_policy": "ask"}));
    let both = |title: &str, place: &str| event("a", &format!("SUMMARY:{title}\nLOCATION:{place}\n"));
    assert_eq!(pair.here("PUT", "calendar/a.ics", &both("one", "one")).status, 201);
    eventually("the push", || !pair.text_there("a.ics").is_empty());
    pair.sync(&mapping);
    let ours = both("=here()", "here");
    pair.at_rest(&mapping, || {
        assert_eq!(pair.there("anna", "PUT", "a.ics", &both("there", "there")).status, 204);
        assert_eq!(pair.here("PUT", "calendar/a.ics", &ours).status, 204);
    });
    let mut open = Vec::new();
    eventually("the conflict", || {
        open = pair.items("/conflicts?status=pending");
        !open.is_empty()
    });
    let conflict = open[0].clone();
    assert_eq!(
        (&conflict["kind"], &conflict["winner"]),
        (&json!("both_changed"), &Value::Null),
        "{conflict}"
    );
    assert!(conflict["base"].as_str().unwrap().contains("SUMMARY:one"), "{conflict}");
    assert!(conflict["local"].as_str().unwrap().contains("SUMMARY:=here()"), "{conflict}");
    assert!(conflict["external"].as_str().unwrap().contains("SUMMARY:there"), "{conflict}");
    let path = format!("/conflicts/{}", conflict["id"].as_str().unwrap());
    // Both sides are untouched, and nothing can be taken back yet.
    assert!(pair.text_here("a.ics") == ours && pair.text_there("a.ics").contains("SUMMARY:there"));
    assert_eq!(pair.ask("POST", &format!("{path}/undo"), None).0, 409);
    let resolve = format!("{path}/resolve");
    let odd = json!({"resolution": "merge", "fields": {"X-NOBODY": "local"}});
    assert_eq!(pair.refused("POST", &resolve, odd), (422, "fields".to_owned()));
    let odd = json!({"resolution": "local", "fields": {"SUMMARY": "local"}});
    assert_eq!(pair.refused("POST", &resolve, odd), (422, "fields".to_owned()));
    let wish = json!({"resolution": "merge", "fields": {"SUMMARY": "external", "LOCATION": "local"}});
    let (status, decided) = pair.ask("POST", &resolve, Some(wish));
    assert_eq!((status, &decided["status"]), (200, &json!("merged")), "{decided}");
    assert_eq!(decided["decided_by"], "anna");
    let says = |text: String, title: &str, place: &str| {
        text.contains(&format!("SUMMARY:{title}\r\n")) && text.contains(&format!("LOCATION:{place}\r\n"))
    };
    eventually("the merge on both sides", || {
        says(pair.text_here("a.ics"), "there", "here") && says(pair.text_there("a.ics"), "there", "here")
    });
    assert_eq!(pair.refused("POST", &resolve, json!({"resolution": "local"})).0, 409);
    // The table: a title never becomes a formula.
    let table = text(&pair.request("GET", "/conflicts.csv", &[], None));
    let lines: Vec<&str> = table.split("\r\n").collect();
    assert_eq!(lines[0], "date,event,source,resolution,status");
    assert!(lines[1].contains(",'=here(),") && lines[1].ends_with(",both merged,merged"), "{table}");
    assert_eq!(lines.len(), 3, "{table}");
    // Taken back: exactly the version that was here, carried outward like any change.
    pair.sync(&mapping);
    let (status, undone) = pair.ask("POST", &format!("{path}/undo"), None);
    assert_eq!((status, &undone["status"]), (200, &json!("resolved_local")), "{undone}");
    assert_eq!(undone["history"][0]["status"], "merged", "{undone}");
    assert_eq!(pair.text_here("a.ics"), ours);
    eventually("the version that lost, outside", || says(pair.text_there("a.ics"), "=here()", "here"));
    pair.sync(&mapping);
    assert_eq!(pair.text_here("a.ics"), ours);
    // And the other one.
    let (_, again) = pair.ask("POST", &format!("{path}/undo"), None);
    assert_eq!(again["status"], "resolved_external", "{again}");
    eventually("their version on both sides", || {
        says(pair.text_here("a.ics"), "there", "there") && says(pair.text_there("a.ics"), "there", "there")
    });
    assert_eq!(pair.items("/conflicts?status=pending"), Vec::<Value>::new());
}

// S2-030, S3-070, S3-073, S3-074: with `ask` a removal against an edit waits for a person too
#[test]
fn a_person_decides_between_a_removal_and_an_edit() {
    let pair = Pair::start();
    let mapping = pair.map(json!({"conflict_policy": "ask"}));
    for (uid, resolution, stays) in [("a", "external", true), ("b", "local", false)] {
        let name = format!("{uid}.ics");
        assert_eq!(pair.here("PUT", &format!("calendar/{name}"), &event(uid, "SUMMARY:one\n")).status, 201);
        eventually("the push", || !pair.text_there(&name).is_empty());
        pair.sync(&mapping);
        pair.at_rest(&mapping, || {
            assert_eq!(pair.there("anna", "PUT", &name, &event(uid, "SUMMARY:two\n")).status, 204);
            assert_eq!(pair.here("DELETE", &format!("calendar/{name}"), "").status, 204);
        });
        let mut open = Vec::new();
        eventually("the conflict", || {
            open = pair.items("/conflicts?status=pending");
            !open.is_empty()
        });
        let conflict = &open[0];
        assert_eq!(
            (&conflict["kind"], &conflict["local"]),
            (&json!("deleted_here"), &Value::Null),
            "{conflict}"
        );
        // It waits on, whatever passes come by; both sides are as they were.
        pair.sync(&mapping);
        assert_eq!(pair.items("/conflicts?status=pending").len(), 1);
        assert!(pair.text_here(&name).is_empty() && pair.text_there(&name).contains("SUMMARY:two"));
        let path = format!("/conflicts/{}", conflict["id"].as_str().unwrap());
        let (status, _) =
            pair.ask("POST", &format!("{path}/resolve"), Some(json!({"resolution": resolution})));
        assert_eq!(status, 200);
        eventually("the decision", || {
            pair.text_here(&name).contains("SUMMARY:two") == stays
                && pair.text_there(&name).is_empty() != stays
        });
        pair.sync(&mapping);
        assert_eq!((pair.text_here(&name).is_empty(), pair.text_there(&name).is_empty()), (!stays, !stays));
        assert_eq!(pair.items("/conflicts?status=pending").len(), 0);
    }
    // Taken back: what the decision had removed on both sides is there again.
    let all = pair.items("/conflicts?status=resolved_local");
    let path = format!("/conflicts/{}/undo", all[0]["id"].as_str().unwrap());
    assert_eq!(pair.ask("POST", &path, None).0, 200);
    assert!(pair.text_here("b.ics").contains("SUMMARY:two"), "under its old name");
    eventually("the event outside", || pair.text_there("b.ics").contains("SUMMARY:two"));
}

// S1-038: outside events cannot delete a confirmed booking
#[test]
fn a_confirmed_booking_that_is_removed_outside_is_there_again() {
    let pair = Pair::start();
    let mapping = pair.map(json!({"conflict_policy": "external", "fields": "full"}));
    let booked = event("b", "SUMMARY:Cut and colour\nSTATUS:CONFIRMED\nX-KALENDS-BOOKING:7\n");
    assert_eq!(pair.here("PUT", "calendar/b.ics", &booked).status, 201);
    eventually("the push", || !pair.text_there("b.ics").is_empty());
    assert!(!pair.text_there("b.ics").contains("X-KALENDS-BOOKING"), "the mark stays here");
    pair.sync(&mapping);
    let moved = pair.text_there("b.ics").replace("T090000Z", "T093000Z");
    assert_eq!(pair.there("anna", "PUT", "b.ics", &moved).status, 204);
    pair.sync(&mapping);
    eventually("the time of the booking outside", || pair.text_there("b.ics").contains("T090000Z"));
    assert_eq!(pair.text_here("b.ics"), booked);
    pair.sync(&mapping);
    assert_eq!(pair.there("anna", "DELETE", "b.ics", "").status, 204);
    pair.sync(&mapping);
    eventually("the booking outside", || !pair.text_there("b.ics").is_empty());
    assert_eq!(pair.text_here("b.ics"), booked);
    let conflicts = pair.items("/conflicts");
    assert_eq!(conflicts.len(), 2, "{conflicts:?}");
    for conflict in conflicts {
        assert_eq!((&conflict["kind"], &conflict["winner"]), (&json!("booking_protected"), &json!("local")));
    }
}

// E34, S4-001: two remote calendars over one that nobody sees
#[test]
fn a_link_joins_two_remote_calendars_over_a_hidden_one() {
    let mut pair = Pair::start();
    let (first, second) = (pair.connection.clone(), pair.connect("bert"));
    let end =
        |connection: &str| json!({"connection": connection, "remote_calendar": pair.remote(connection)});
    let home = |report: bool| {
        let (method, body) = match report {
            false => ("PROPFIND", String::new()),
            true => (
                "REPORT",
                "<sync-collection xmlns='DAV:'><sync-token/><sync-level>1</sync-level><prop><getetag/></prop>\
                 </sync-collection>"
                    .to_owned(),
            ),
        };
        text(&dav(&pair.near, "anna", method, "calendars/anna/", &[("Depth", "1")], &body))
    };
    let seen = pair.items("/calendars").len();
    let same = json!({"from": end(&first), "to": end(&first)});
    assert_eq!(pair.refused("POST", "/mappings/link", same), (422, "to.remote_calendar".to_owned()));
    let none = json!({"from": end(&first), "to": {"connection": second, "remote_calendar": "nowhere"}});
    assert_eq!(pair.refused("POST", "/mappings/link", none), (422, "to.remote_calendar".to_owned()));
    let lacking = json!({"from": end(&first), "to": {"connection": second}});
    assert_eq!(pair.refused("POST", "/mappings/link", lacking), (422, "to.remote_calendar".to_owned()));
    assert_eq!(pair.items("/calendars?hidden=true").len(), seen, "nothing is left behind");
    let rules = json!([{"when": {"origin": "external", "title": "court"}, "policy": "external"},
        {"when": {"origin": "local"}, "policy": "local"}, {"when": {"busy": false}, "policy": "newest"}]);
    let wish = json!({"from": end(&first), "to": end(&second), "direction": "push", "conflict_policy": "local",
        "rules": rules, "window_past": "all", "window_future": "all"});
    let link = pair.made("/mappings/link", wish);
    // The second mapping has the first calendar on its own side: who wins, and where an event was made, are turned round.
    let turned = json!([{"when": {"origin": "local", "title": "court"}, "policy": "local"},
        {"when": {"origin": "external"}, "policy": "external"}, {"when": {"busy": false}, "policy": "newest"}]);
    assert_eq!((&link["mappings"][0]["rules"], &link["mappings"][1]["rules"]), (&rules, &turned));
    assert_eq!(
        (&link["mappings"][0]["conflict_policy"], &link["mappings"][1]["conflict_policy"]),
        (&json!("local"), &json!("external"))
    );
    let mappings: Vec<&str> =
        link["mappings"].as_array().unwrap().iter().map(|m| m["id"].as_str().unwrap()).collect();
    assert_eq!(
        (&link["mappings"][0]["direction"], &link["mappings"][1]["direction"]),
        (&json!("pull"), &json!("push"))
    );
    // It is where nobody looks, and told to whoever asks for it.
    assert_eq!(pair.items("/calendars").len(), seen);
    let all = pair.items("/calendars?hidden=true");
    let middle = all.iter().find(|c| c["hidden"] == true).unwrap();
    assert_eq!((all.len(), &middle["id"]), (seen + 1, &link["calendar"]), "{all:?}");
    let name = middle["name"].as_str().unwrap();
    for report in [false, true] {
        let home = home(report);
        assert!(home.contains("/anna/calendar/") && !home.contains(name), "{home}");
    }
    assert_eq!(pair.here("PROPFIND", &format!("{name}/"), "").status, 404);
    // What one has, the other gets; one way only.
    assert_eq!(pair.there("anna", "PUT", "a.ics", &event("a", "SUMMARY:Over\n")).status, 201);
    assert_eq!(pair.there("bert", "PUT", "b.ics", &event("b", "SUMMARY:Back\n")).status, 201);
    pair.sync(mappings[0]);
    eventually("the event at the other end", || {
        text(&pair.there("bert", "GET", "a.ics", "")).contains("Over")
    });
    pair.sync(mappings[1]);
    pair.sync(mappings[0]);
    assert_eq!(pair.there("anna", "GET", "b.ics", "").status, 404);
    // The middle outlives a restart, and goes with the last of its mappings.
    pair.near.restart().unwrap();
    assert_eq!(
        (pair.items("/calendars").len(), pair.items("/calendars?hidden=true").len()),
        (seen, seen + 1)
    );
    assert_eq!(pair.ask("DELETE", &format!("/mappings/{}", mappings[0]), None).0, 204);
    assert_eq!(pair.items("/calendars?hidden=true").len(), seen + 1);
    assert_eq!(pair.ask("DELETE", &format!("/mappings/{}", mappings[1]), None).0, 204);
    assert_eq!(pair.items("/calendars?hidden=true").len(), seen);
    assert_eq!(pair.there("bert", "GET", "a.ics", "").status, 200, "the events stay at both ends");
}

// E34: what stands between two accounts is in every backup, and goes on where that was
#[test]
fn a_link_goes_on_after_its_server_was_restored_from_a_backup() {
    let mut pair = Pair::start();
    let second = pair.connect("bert");
    let end =
        |connection: &str| json!({"connection": connection, "remote_calendar": pair.remote(connection)});
    let wish = json!({"from": end(&pair.connection), "to": end(&second), "window_past": "all", "window_future": "all"});
    let link = pair.made("/mappings/link", wish);
    let mappings: Vec<String> =
        link["mappings"].as_array().unwrap().iter().map(|m| m["id"].as_str().unwrap().to_owned()).collect();
    let passes = |pair: &Pair| {
        for mapping in [&mappings[0], &mappings[1], &mappings[0]] {
            pair.sync(mapping);
        }
    };
    assert_eq!(pair.there("anna", "PUT", "a.ics", &event("a", "SUMMARY:Before\n")).status, 201);
    passes(&pair);
    eventually("the event at the other end", || pair.there("bert", "GET", "a.ics", "").status == 200);
    passes(&pair);
    let seen = pair.items("/calendars").len();
    // What happens after the backup is lost here, and found again at both ends.
    let dump = pair.near.backup();
    assert_eq!(pair.there("bert", "PUT", "b.ics", &event("b", "SUMMARY:After\n")).status, 201);
    passes(&pair);
    eventually("the other event", || pair.there("anna", "GET", "b.ics", "").status == 200);
    pair.near.restore(&dump);
    let all = pair.items("/calendars?hidden=true");
    let middle = all.iter().find(|c| c["hidden"] == true).unwrap();
    assert_eq!((all.len(), &middle["id"]), (seen + 1, &link["calendar"]), "{all:?}");
    assert_eq!(pair.items("/calendars").len(), seen, "it is as hidden as before");
    let name = middle["name"].as_str().unwrap();
    assert_eq!(pair.here("PROPFIND", &format!("{name}/"), "").status, 404);
    let shown = pair.items("/mappings");
    let of_link = |mapping: &&Value| mappings.iter().any(|id| mapping["id"] == json!(id));
    assert!(shown.iter().filter(of_link).all(|m| m["calendar"] == link["calendar"]), "{shown:?}");
    assert_eq!(shown.iter().filter(of_link).count(), 2);
    // Both ends are alike, nothing is doubled, and a change still passes through.
    assert_eq!(pair.there("anna", "PUT", "a.ics", &event("a", "SUMMARY:Changed\n")).status, 204);
    passes(&pair);
    eventually("the change at the other end", || {
        text(&pair.there("bert", "GET", "a.ics", "")).contains("Changed")
    });
    passes(&pair);
    for user in ["anna", "bert"] {
        let listed =
            dav(&pair.far, user, "PROPFIND", &format!("calendars/{user}/calendar/"), &[("Depth", "1")], "");
        let listed = text(&listed);
        assert_eq!(listed.matches(".ics</").count(), 2, "{user}: {listed}");
        for (name, title) in [("a.ics", "Changed"), ("b.ics", "After")] {
            assert!(text(&pair.there(user, "GET", name, "")).contains(title), "{user}: {name}");
        }
    }
}

// No client hides a calendar, or shows a hidden one
#[test]
fn the_mark_of_a_hidden_calendar_is_the_servers_alone() {
    let pair = Pair::start();
    let mark = "<propertyupdate xmlns='DAV:'><set><prop><hidden xmlns='urn:kalends:server'/></prop></set></propertyupdate>";
    let answer = pair.here("PROPPATCH", "calendar/", mark);
    assert!(text(&answer).contains("403"), "{}", answer.show());
    let made = "<C:mkcalendar xmlns='DAV:' xmlns:C='urn:ietf:params:xml:ns:caldav'><set><prop>\
                <hidden xmlns='urn:kalends:server'/></prop></set></C:mkcalendar>";
    let answer = pair.here("MKCALENDAR", "sly/", made);
    assert!(answer.status >= 400 || answer.status == 207, "{}", answer.show());
    assert!(pair.items("/calendars?hidden=true").iter().all(|c| c["hidden"] == false));
}

// S2-028, S3-042, S1-057, S2-024, S2-026, S2-027, S3-016: The story of an event, in data and in plain words
#[test]
fn an_event_tells_why_it_is_where_it_is() {
    let pair = Pair::start();
    assert_eq!(pair.ask("GET", "/events/nobody/why", None).0, 404);
    assert_eq!(pair.there("anna", "PUT", "t.ics", &event("there@x", "SUMMARY:Theirs\n")).status, 201);
    let filters = json!([{"when": {"private": true}, "action": "exclude"}]);
    let mapping = pair.map(json!({"filters": filters}));
    eventually("the pull", || !pair.text_here("t.ics").is_empty());
    pair.sync(&mapping);
    let (status, why) = pair.ask("GET", "/events/there%40x/why", None);
    assert_eq!(status, 200, "{why}");
    let told = &why["calendars"][0];
    assert_eq!((&told["present"], &told["title"]), (&json!(true), &json!("Theirs")), "{why}");
    assert_eq!(told["came_from"]["mapping"], json!(mapping), "{why}");
    assert_eq!(told["first_written"]["mapping"], json!(mapping), "{why}");
    assert_eq!(told["mappings"][0]["status"], "synced", "{why}");
    assert!(
        told["mappings"][0]["agreed_at"].is_string() && told["mappings"][0]["remote_id"].is_string(),
        "{why}"
    );
    let sentences = why["sentences"].to_string();
    assert!(sentences.contains("came from anna@"), "{why}");
    // One that stays, and one that was removed.
    assert_eq!(pair.here("PUT", "calendar/p.ics", &event("p", "SUMMARY:P\nCLASS:PRIVATE\n")).status, 201);
    let (_, why) = pair.ask("GET", "/events/p/why", None);
    let told = &why["calendars"][0];
    assert_eq!(
        (&told["mappings"][0]["status"], &told["came_from"]),
        (&json!("filtered"), &Value::Null),
        "{why}"
    );
    assert!(told["first_written"]["by"].as_str().unwrap().starts_with("by anna"), "{why}");
    assert_eq!(pair.here("DELETE", "calendar/p.ics", "").status, 204);
    let (_, why) = pair.ask("GET", "/events/p/why", None);
    assert_eq!(why["calendars"][0]["present"], false, "{why}");
    assert!(why["sentences"].to_string().contains("was removed from the calendar"), "{why}");
    assert_eq!(why["calendars"][0]["mappings"][0]["status"], "gone", "{why}");
    assert!(!why["sentences"].to_string().contains("tried again"), "{why}");
    // One that the far side removed: nobody brought it from there by that.
    assert_eq!(pair.there("anna", "DELETE", "t.ics", "").status, 204);
    eventually("the removal", || {
        pair.sync(&mapping);
        pair.text_here("t.ics").is_empty()
    });
    let (_, why) = pair.ask("GET", "/events/there%40x/why", None);
    assert!(why["sentences"].to_string().contains("by the bridge, over the mapping with anna@"), "{why}");
    // Somebody else's events have no story for anna.
    let bert = dav(&pair.near, "bert", "PUT", "calendars/bert/calendar/x.ics", &[], &event("x", ""));
    assert_eq!(bert.status, 201);
    assert_eq!(pair.ask("GET", "/events/x/why", None).0, 404);
}

//! What an event was before: each text with who wrote it and with which program, and the way back to any of them.

use base64::Engine as _;
use serde_json::{Value, json};

use crate::app::{App, document, event, problem};
use crate::dialogue::{Host as _, Request, Response, password, send};

const UID: &str = "v@x";

/// Writes over CalDAV as anna, with that program.
fn client(app: &App, agent: &str, method: &str, name: &str, body: &str) -> Response {
    signed_in(app, &password("anna"), agent, method, name, body)
}

/// The same with a password of anna's.
fn signed_in(app: &App, password: &str, agent: &str, method: &str, name: &str, body: &str) -> Response {
    let basic = base64::engine::general_purpose::STANDARD.encode(format!("anna:{password}"));
    let request = Request {
        method: method.to_owned(),
        target: format!("/dav/calendars/anna/calendar/{name}"),
        headers: vec![
            ("Authorization".to_owned(), format!("Basic {basic}")),
            ("User-Agent".to_owned(), agent.to_owned()),
        ],
        body: body.as_bytes().to_vec(),
    };
    send(app.served.address(), &request).unwrap()
}

/// An event whose every version is told from the others, with a line that no program of ours knows.
fn text(title: &str) -> String {
    event(UID, title, "20260105T090000Z")
        .replace("SUMMARY", &format!("X-OWN;P=\"{title};q\":kept\r\nSUMMARY"))
}

fn versions(app: &App, place: &str) -> Vec<Value> {
    app.get(&format!("{place}/versions"))["items"].as_array().unwrap().clone()
}

fn stored(app: &App, name: &str) -> String {
    let found = app.dav("GET", name, "");
    assert_eq!(found.status, 200, "{}", found.show());
    String::from_utf8(found.body).unwrap()
}

// Q-33, E14: any earlier version is named with author and client, read as it was and brought back, octet for octet
#[test]
fn every_earlier_version_has_an_author_and_a_client_and_comes_back() {
    let app = App::start("read events");
    let place = format!("/calendars/{}/events/{UID}", app.calendar());
    let (phone, desk) = ("iOS/18.1 dataaccessd/1.0", "Mozilla/5.0 Thunderbird/128.0");
    assert_eq!(client(&app, phone, "PUT", "v.ics", &text("First")).status, 201);
    assert!(versions(&app, &place).is_empty(), "what is there now is no former version");
    assert_eq!(client(&app, desk, "PUT", "v.ics", &text("Second")).status, 204);
    let program = [("User-Agent", "shop/2.1")];
    let changed = app.send(&app.token, "PATCH", &place, &program, Some(&json!({"title": "Third"})));
    assert_eq!(changed.status, 200, "{}", changed.show());
    let third = stored(&app, "v.ics");
    assert_eq!(client(&app, phone, "DELETE", "v.ics", "").status, 204);

    // Newest first: who wrote it, with what; who ended it, and how.
    let all = versions(&app, &place);
    let told: Vec<[&str; 3]> = all
        .iter()
        .map(|v| ["written_by", "ended_by", "how"].map(|member| v[member].as_str().unwrap()))
        .collect();
    let (of_phone, of_desk) = (format!("anna, with {phone}"), format!("anna, with {desk}"));
    let of_shop = "anna, over the API with dialogue (shop/2.1)";
    assert_eq!(
        told,
        [[of_shop, &of_phone, "deleted"], [&of_desk, of_shop, "replaced"], [&of_phone, &of_desk, "replaced"]]
    );
    for pair in all.windows(2) {
        assert_eq!(pair[1]["ended_at"], pair[0]["written_at"], "one begins where the other ends");
    }
    // Each is read as it was.
    let texts = [third, text("Second"), text("First")];
    for (version, text) in all.iter().zip(&texts) {
        let path = format!("{place}/versions/{}", version["id"].as_str().unwrap());
        let read = app.send(&app.token, "GET", &path, &[], None);
        assert_eq!(String::from_utf8(read.body).unwrap(), *text);
        assert_eq!(version["size"], text.len());
    }
    // And each comes back: the deleted event first, then one for the other.
    for (version, text) in all.iter().zip(&texts) {
        let path = format!("{place}/versions/{}/restore", version["id"].as_str().unwrap());
        let back = app.send(&app.token, "POST", &path, &[("User-Agent", "rescue/1")], None);
        assert_eq!((back.status, &document(&back)["name"]), (200, &json!("v.ics")), "{}", back.show());
        assert_eq!(stored(&app, "v.ics"), *text);
    }
    // What a restoring replaced is a version in its turn, by whoever restored it.
    let after = versions(&app, &place);
    assert_eq!(after.len(), all.len() + 2);
    for version in &after[..2] {
        assert_eq!(version["written_by"], "anna, over the API with dialogue (rescue/1)", "{version}");
    }
    let missing = app.send(&app.token, "GET", &format!("{place}/versions/999999"), &[], None);
    problem(&missing, 404, "not-found");
    problem(&app.send(&app.token, "GET", "/calendars/0/events/v@x/versions", &[], None), 404, "not-found");
    let never = place.replace(UID, "never@x");
    problem(&app.send(&app.token, "GET", &format!("{never}/versions"), &[], None), 404, "not-found");
}

// E14: the trash blocks neither a name nor a UID, and what has taken the place meanwhile is not overwritten
#[test]
fn a_deleted_event_blocks_nothing_and_its_versions_stay_its_own() {
    let app = App::start("read events");
    let place = format!("/calendars/{}/events/{UID}", app.calendar());
    assert_eq!(client(&app, "a/1", "PUT", "v.ics", &text("First")).status, 201);
    assert_eq!(client(&app, "a/1", "DELETE", "v.ics", "").status, 204);
    // The same name with another UID, the same UID under another name.
    assert_eq!(client(&app, "a/1", "PUT", "v.ics", &event("w@x", "Other", "20260106T090000Z")).status, 201);
    assert_eq!(client(&app, "a/1", "PUT", "again.ics", &text("Again")).status, 201);
    let [first] = &versions(&app, &place)[..] else { panic!("one former version") };
    let path = format!("{place}/versions/{}/restore", first["id"].as_str().unwrap());
    let (status, back) = app.ask("POST", &path, None);
    assert_eq!((status, &back["name"]), (200, &json!("again.ics")), "{back}");
    assert_eq!(stored(&app, "again.ics"), text("First"));
    assert!(stored(&app, "v.ics").contains("UID:w@x"), "the one that has its name is left alone");
    // With the UID gone again, the old name is not free: the event finds another, and nothing is lost.
    assert_eq!(client(&app, "a/1", "DELETE", "again.ics", "").status, 204);
    let item = app.get("/trash")["items"][0]["id"].as_str().unwrap().to_owned();
    assert_eq!(client(&app, "a/1", "PUT", "again.ics", &event("z@x", "Z", "20260107T090000Z")).status, 201);
    let (status, back) = app.ask("POST", &format!("/trash/{item}/restore"), None);
    assert_eq!((status, &back["name"]), (200, &json!("again-2.ics")), "{back}");
    assert_eq!(stored(&app, "again-2.ics"), text("First"));
}

// S3-041: a version is one calendar's and one person's
#[test]
fn nobody_else_reads_or_restores_a_version() {
    let app = App::start("read events");
    let place = format!("/calendars/{}/events/{UID}", app.calendar());
    for title in ["First", "Second"] {
        client(&app, "a/1", "PUT", "v.ics", &text(title));
    }
    let version = versions(&app, &place)[0]["id"].as_str().unwrap().to_owned();
    let bert = app.served.token("bert", "read events").unwrap();
    for (method, path) in [
        ("GET", format!("{place}/versions")),
        ("GET", format!("{place}/versions/{version}")),
        ("POST", format!("{place}/versions/{version}/restore")),
    ] {
        problem(&app.send(&bert, method, &path, &[], None), 404, "not-found");
    }
    assert_eq!(stored(&app, "v.ics"), text("Second"));
}

// issue 4: restore with author and client: a device or program is called what its owner calls it, wherever it is told of
#[test]
fn devices_and_programs_bear_the_names_that_their_owner_gave_them() {
    let app = App::start("read events");
    let place = format!("/calendars/{}/events/{UID}", app.calendar());
    let (guard, runtime) = (app.served.guard(), app.served.runtime());
    let phone = runtime.block_on(guard.add_app_password("anna", "iPhone")).unwrap().1;
    let scopes = vec![kalends::auth::Scope::Events].into();
    let program = runtime.block_on(guard.add_token("anna", "Front desk", scopes)).unwrap().1;
    let agent = "iOS/18.1 dataaccessd/1.0";
    assert_eq!(signed_in(&app, &phone, agent, "PUT", "v.ics", &text("First")).status, 201);
    // A second request is remembered as signed in: it is named just as well.
    assert_eq!(signed_in(&app, &phone, agent, "PUT", "v.ics", &text("Second")).status, 204);
    let patch = |title: &str, headers: &[(&str, &str)]| {
        let changed = app.send(&program, "PATCH", &place, headers, Some(&json!({"title": title})));
        assert_eq!(changed.status, 200, "{}", changed.show());
    };
    patch("Third", &[("User-Agent", "desk/3")]);
    patch("Fourth", &[]);
    // The same token over CalDAV.
    let request = Request {
        method: "PUT".to_owned(),
        target: "/dav/calendars/anna/calendar/v.ics".to_owned(),
        headers: vec![("Authorization".to_owned(), format!("Bearer {program}"))],
        body: text("Fifth").into_bytes(),
    };
    assert_eq!(send(app.served.address(), &request).unwrap().status, 204);
    assert_eq!(client(&app, agent, "DELETE", "v.ics", "").status, 204);
    let (of_phone, of_desk) = (format!("anna, with iPhone ({agent})"), "anna, over the API with Front desk");
    let written: Vec<Value> = versions(&app, &place).iter().map(|v| v["written_by"].clone()).collect();
    let expected = [
        "anna, with Front desk",
        of_desk,
        "anna, over the API with Front desk (desk/3)",
        &of_phone,
        &of_phone,
    ];
    assert_eq!(json!(written), json!(expected));
    assert_eq!(
        versions(&app, &place)[0]["ended_by"],
        format!("anna, with {agent}"),
        "the account's own password"
    );
    assert_eq!(app.get("/trash")["items"][0]["deleted_by"], format!("anna, with {agent}"));
    let why = app.get(&format!("/events/{UID}/why")).to_string();
    assert!(why.contains("iPhone"), "{why}");
}

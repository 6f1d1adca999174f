//! The JSON door in front of the bridge, on a whole server with its follower: shapes, scopes, refusals, secrets.

use std::time::Instant;

use base64::Engine as _;
use kalends::auth::{Scope, Scopes};
use serde_json::{Value, json};

use crate::app::document;
use crate::bridge::radicale::Radicale;
use crate::dialogue::{Host as _, Request, Response, Setup, password, send};
use crate::host::Served;
use crate::wait::{PATIENCE, eventually, wait_for};

const WORK: &str = "/anna/work/";

struct Program {
    served: Served,
    token: String,
}

impl Program {
    fn start(config: &[&str]) -> Program {
        // The events of the tests have dates of their own.
        let all = ["[bridge]", "window_past = \"all\"", "window_future = \"all\""];
        let all = all.iter().skip(usize::from(!config.is_empty()));
        let config = config.iter().chain(all).map(|line| (*line).to_owned()).collect();
        let setup = Setup { config, ..Setup::default() };
        let served = Served::start(&setup).unwrap();
        let token = token(&served, "anna", &[Scope::Read, Scope::Events, Scope::Bridges]);
        Program { served, token }
    }

    fn ask(&self, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
        let answer = self.ask_with(&self.token, method, path, &[], body);
        (answer.status, document(&answer))
    }

    fn ask_with(
        &self,
        token: &str,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<Value>,
    ) -> Response {
        crate::app::say(&self.served, token, (method, path), headers, body.as_ref())
    }

    /// Speaks CalDAV as anna.
    fn dav(&self, method: &str, path: &str, body: &str) -> Response {
        let basic = base64::engine::general_purpose::STANDARD.encode(format!("anna:{}", password("anna")));
        let request = Request {
            method: method.to_owned(),
            target: format!("/dav/calendars/anna/calendar/{path}"),
            headers: vec![("Authorization".to_owned(), format!("Basic {basic}"))],
            body: body.as_bytes().to_vec(),
        };
        send(self.served.address(), &request).unwrap()
    }

    /// Lets passes run until one finds nothing to do.
    fn settle(&self, mapping: &str) {
        let idle = |run: &Value| {
            let none =
                |side: &str| ["inserted", "updated", "deleted"].iter().all(|count| run[side][count] == 0);
            none("local") && none("remote")
        };
        let until = Instant::now() + PATIENCE;
        // The first may have begun before the last change.
        let mut quiet = 0;
        while quiet < 2 {
            let (status, asked) = self.ask("POST", &format!("/mappings/{mapping}/sync"), None);
            assert_eq!(status, 202, "{asked}");
            quiet = if idle(&self.follow(asked["run"].as_str().unwrap())) { quiet + 1 } else { 0 };
            assert!(Instant::now() < until, "it does not come to rest");
        }
    }

    /// Follows a run to its end.
    fn follow(&self, run: &str) -> Value {
        let look = || {
            let (status, run) = self.ask("GET", &format!("/runs/{run}"), None);
            assert_eq!(status, 200, "{run}");
            run
        };
        wait_for("the end of a run", look, |run| run["status"] != "running")
    }
}

fn token(served: &Served, user: &str, scopes: &[Scope]) -> String {
    let made = served.guard().add_token(user, "test", Scopes::from(scopes.to_vec()));
    served.runtime().block_on(made).unwrap().1
}

fn event(uid: &str, summary: &str) -> String {
    format!(
        "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//test//EN\r\nBEGIN:VEVENT\r\nUID:{uid}\r\n\
         DTSTAMP:20260101T000000Z\r\nDTSTART:20260105T090000Z\r\nDTEND:20260105T100000Z\r\n\
         SUMMARY:{summary}\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"
    )
}

fn problem(answer: &Response, status: u16, kind: &str) -> Value {
    let of = answer.all("content-type").first().map(|t| (*t).to_owned());
    assert_eq!(
        (answer.status, of.as_deref()),
        (status, Some("application/problem+json")),
        "{}",
        answer.show()
    );
    let document = document(answer);
    assert!(document["type"].as_str().unwrap().ends_with(&format!("/{kind}")), "{document}");
    assert_eq!(document["status"], status);
    assert!(document["detail"].as_str().is_some_and(|d| d.len() > 5), "{document}");
    document
}

// S3-011, S3-020, S3-042, S1-034, S1-036, S1-049, S1-051, S1-062, S1-068, S2-007, S2-016, S2-023, S2-061,
// S2-069…073, S2-101, S3-086, S3-137, S4-042, S4-079, S4-080, S4-081, S4-082, S4-083 by their
// native names
#[test]
fn a_program_connects_maps_and_follows_a_sync() {
    let Some(radicale) = Radicale::start() else { return };
    radicale.calendar(WORK);
    radicale.put("/anna/work/t.ics", &event("there@x", "There"));
    let program = Program::start(&["[bridge]", "allow_private = true"]);
    let url = format!("http://{}", radicale.address());
    // A wrong password is told and nothing is kept.
    let wrong = json!({"url": url, "username": "anna", "password": "not-it-at-all"});
    let answer = program.ask_with(&program.token, "POST", "/connections/caldav", &[], Some(wrong));
    problem(&answer, 422, "not-accepted");
    assert!(!answer.show().contains("not-it-at-all"));
    assert_eq!(program.ask("GET", "/connections", None).1["items"], json!([]));
    // The right one.
    let good = json!({"url": url, "username": "anna", "password": "geheim-1"});
    let (status, connection) = program.ask("POST", "/connections/caldav", Some(good));
    assert_eq!((status, &connection["status"]), (201, &json!("active")), "{connection}");
    assert!(connection["account"].as_str().unwrap().starts_with("anna@"));
    let id = connection["id"].as_str().unwrap();
    let (_, calendars) = program.ask("GET", &format!("/connections/{id}/calendars"), None);
    let remote = &calendars["items"][0];
    assert_eq!((&remote["name"], &remote["writable"]), (&json!("Work"), &json!(true)), "{calendars}");
    assert!(calendars["next_cursor"].is_null());
    let (_, calendars) = program.ask("GET", "/calendars", None);
    let own =
        calendars["items"].as_array().unwrap().iter().find(|c| c["name"] == "calendar").unwrap().clone();
    assert_eq!((&own["components"], &own["writable"]), (&json!(["VEVENT"]), &json!(true)), "{own}");
    assert!(own["url"].as_str().unwrap().ends_with("/dav/calendars/anna/calendar/"), "{own}");
    // A dry run first.
    let wish = json!({"calendar": own["id"], "connection": id, "remote_calendar": remote["id"],
        "direction": "both", "conflict_policy": "newest"});
    let (status, preview) = program.ask("POST", "/mappings/preview", Some(wish.clone()));
    assert_eq!(
        (status, &preview["only_external"], &preview["local"]["would_insert"]),
        (200, &json!(1), &json!(1)),
        "{preview}"
    );
    assert_eq!(program.ask("GET", "/mappings", None).1["items"], json!([]));
    let (status, mapping) = program.ask("POST", "/mappings", Some(wish.clone()));
    assert_eq!(status, 201, "{mapping}");
    assert!(
        mapping["next_run_at"].is_string()
            || mapping["last_run"].is_string()
            || mapping["status"] == "syncing",
        "{mapping}"
    );
    let again = program.ask_with(&program.token, "POST", "/mappings", &[], Some(wish));
    problem(&again, 409, "conflict");
    let map = mapping["id"].as_str().unwrap().to_owned();
    // The follower has begun by itself.
    eventually("the first pass", || program.dav("GET", "t.ics", "").status == 200);
    let (status, asked) = program.ask("POST", &format!("/mappings/{map}/sync"), None);
    assert_eq!(status, 202, "{asked}");
    let run = program.follow(asked["run"].as_str().unwrap());
    assert_eq!((&run["status"], &run["mapping"]), (&json!("success"), &json!(map)), "{run}");
    for side in ["local", "remote"] {
        for count in ["inserted", "updated", "deleted"] {
            assert!(run[side][count].is_u64(), "{run}");
        }
    }
    assert!(run["started_at"].as_str().unwrap().ends_with('Z') && run["failures"] == json!([]), "{run}");
    // A change here is at the far side at once, without anybody asking.
    assert_eq!(program.dav("PUT", "h.ics", &event("here@x", "Here")).status, 201);
    eventually("the push", || radicale.get("/anna/work/here%40x.ics").is_some());
    assert_eq!(program.dav("DELETE", "t.ics", "").status, 204);
    eventually("the removal", || radicale.get("/anna/work/t.ics").is_none());
    // Nothing else is written: our log and its files stand still.
    program.settle(&map);
    let files = radicale.files(WORK);
    let token = |program: &Program| {
        program.ask("GET", &format!("/calendars/{}", own["id"].as_str().unwrap()), None).1
    };
    let before = token(&program);
    let (_, asked) = program.ask("POST", "/sync", None);
    program.follow(asked["runs"][0].as_str().unwrap());
    assert_eq!(
        (radicale.files(WORK), token(&program)["sync_token"].clone()),
        (files, before["sync_token"].clone())
    );
    let (_, runs) = program.ask("GET", &format!("/runs?mapping={map}&limit=2"), None);
    assert_eq!(runs["items"].as_array().unwrap().len(), 2, "{runs}");
    let next = runs["next_cursor"].as_str().unwrap();
    let (_, more) = program.ask("GET", &format!("/runs?mapping={map}&limit=2&cursor={next}"), None);
    assert_ne!(more["items"][0]["id"], runs["items"][0]["id"]);
    // Removing the mapping leaves the events where they are.
    let mut mapping = Value::Null;
    eventually("rest", || {
        mapping = program.ask("GET", &format!("/mappings/{map}"), None).1;
        mapping["status"] == "active"
    });
    let stale = program.ask_with(
        &program.token,
        "DELETE",
        &format!("/mappings/{map}"),
        &[("If-Match", "\"old\"")],
        None,
    );
    problem(&stale, 412, "stale");
    let etag = format!("\"{}\"", mapping["etag"].as_str().unwrap());
    let gone =
        program.ask_with(&program.token, "DELETE", &format!("/mappings/{map}"), &[("If-Match", &etag)], None);
    assert_eq!(gone.status, 204, "{}", gone.show());
    assert_eq!(program.ask("GET", &format!("/mappings/{map}"), None).0, 404);
    assert_eq!(program.ask("DELETE", &format!("/connections/{id}"), None).0, 204);
    assert_eq!(program.dav("GET", "h.ics", "").status, 200);
    assert!(radicale.get("/anna/work/here%40x.ics").is_some());
}

// The server is stopped and started: mappings go on, secrets open again
#[test]
fn a_restart_keeps_mappings_and_what_was_missed_is_carried_over() {
    let Some(radicale) = Radicale::start() else { return };
    radicale.calendar(WORK);
    let mut program = Program::start(&["[bridge]", "allow_private = true"]);
    let map = connected(&program, &radicale);
    assert_eq!(program.dav("PUT", "h.ics", &event("here@x", "Here")).status, 201);
    let path = "/anna/work/here%40x.ics";
    eventually("the push", || radicale.get(path).is_some());
    program.served.restart().unwrap();
    program.token = token(&program.served, "anna", &[Scope::Bridges]);
    radicale.put(path, &event("here@x", "Edited meanwhile"));
    let (status, asked) = program.ask("POST", &format!("/mappings/{map}/sync"), None);
    assert_eq!(status, 202, "{asked}");
    let run = program.follow(asked["run"].as_str().unwrap());
    assert_eq!(run["status"], "success", "{run}");
    // The run may be the one that a start begins with; then another follows it at once.
    eventually("the edit", || {
        String::from_utf8(program.dav("GET", "h.ics", "").body).unwrap().contains("Edited meanwhile")
    });
}

/// Connects anna's account and maps her calendar to it.
fn connected(program: &Program, radicale: &Radicale) -> String {
    let url = format!("http://{}", radicale.address());
    let body = json!({"provider": "caldav", "url": url, "username": "anna", "password": "geheim-1"});
    let (status, connection) = program.ask("POST", "/connections", Some(body));
    assert_eq!(status, 201, "{connection}");
    let (_, own) = program.ask("GET", "/calendars", None);
    let own =
        own["items"].as_array().unwrap().iter().find(|c| c["name"] == "calendar").unwrap()["id"].clone();
    let wish =
        json!({"calendar": own, "connection": connection["id"], "remote_calendar": format!("{url}{WORK}")});
    let (status, mapping) = program.ask("POST", "/mappings", Some(wish));
    assert_eq!(status, 201, "{mapping}");
    mapping["id"].as_str().unwrap().to_owned()
}

// S1-043, S1-075, S1-079, S2-011, E9, S3-008, S3-023, S3-024, S4-089: sealed at rest, never in an answer
#[test]
fn secrets_go_in_and_never_come_out() {
    let Some(radicale) = Radicale::start() else { return };
    radicale.calendar(WORK);
    let secret = "Kennwort-mit-7-Siegeln";
    radicale.set_passwords(&[("anna", secret)]);
    let mut program = Program::start(&["[bridge]", "allow_private = true"]);
    let url = format!("http://{}", radicale.address());
    let body = json!({"url": url, "username": "anna", "password": secret});
    let answer = program.ask_with(&program.token, "POST", "/connections/caldav", &[], Some(body));
    assert_eq!(answer.status, 201, "{}", answer.show());
    let id = document(&answer)["id"].as_str().unwrap().to_owned();
    let mut heard = answer.show();
    for path in ["/connections", "/mappings", "/runs", "/calendars", "/conflicts"] {
        heard.push_str(&program.ask_with(&program.token, "GET", path, &[], None).show());
    }
    // Errors do not repeat it either, wherever it was put by mistake.
    for body in [
        json!({"url": url, "username": "anna", "password": secret, "more": 1}),
        json!({"url": url, "username": [secret], "password": secret}),
        json!({"url": secret, "username": "anna", "password": {"a": secret}}),
        json!(secret),
    ] {
        let refused = program.ask_with(&program.token, "POST", "/connections/caldav", &[], Some(body));
        assert_eq!(refused.status, 422, "{}", refused.show());
        heard.push_str(&refused.show());
    }
    let path = format!("/connections/{id}/reconnect");
    let again =
        program.ask_with(&program.token, "POST", &path, &[], Some(json!({"password": "x".repeat(10)})));
    problem(&again, 422, "not-accepted");
    assert!(!heard.contains(secret), "{heard}");
    program.served.stop();
    let basic = base64::engine::general_purpose::STANDARD.encode(format!("anna:{secret}"));
    let mut looked = 0;
    for file in files_below(program.served.directory()) {
        let bytes = std::fs::read(&file).unwrap();
        looked += bytes.len();
        for part in [secret.as_bytes(), basic.as_bytes()] {
            assert!(!bytes.windows(part.len()).any(|w| w == part), "{} holds the password", file.display());
        }
    }
    assert!(looked > 1000, "the store was not found");
}

fn files_below(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            all.extend(files_below(&entry.path()));
        } else if kind.is_file() {
            all.push(entry.path());
        }
    }
    all
}

// S0-030: no outbound call into a private network unless an administrator allows it
#[test]
fn private_addresses_are_refused_by_default_and_the_setting_is_named() {
    let program = Program::start(&[]);
    for url in [
        "http://127.0.0.1:1/",
        "http://localhost:1",
        "http://10.1.2.3/",
        "http://[::1]:1/",
        "http://169.254.169.254/",
    ] {
        let body = json!({"url": url, "username": "anna", "password": "x"});
        let refused = program.ask_with(&program.token, "POST", "/connections/caldav", &[], Some(body));
        let problem = problem(&refused, 422, "far-side-refused");
        assert!(problem["detail"].as_str().unwrap().contains("bridge.allow_private"), "{problem}");
    }
}

// S3-039
#[test]
fn a_request_that_is_wrong_hears_what_is_wrong() {
    let program = Program::start(&["[bridge]", "allow_private = true"]);
    let ask = |method: &str, path: &str, body: Option<Value>| {
        program.ask_with(&program.token, method, path, &[], body)
    };
    problem(&ask("GET", "/nothing", None), 404, "not-found");
    problem(&ask("GET", "/connections/abc", None), 404, "not-found");
    problem(&ask("GET", "/connections/..%2Fstate", None), 404, "not-found");
    problem(&ask("GET", "/runs/abc-def", None), 404, "not-found");
    problem(&ask("GET", "/calendars/1", None), 404, "not-found");
    let method = ask("PUT", "/mappings", Some(json!({})));
    problem(&method, 405, "method-not-allowed");
    assert_eq!(method.all("allow"), ["GET, POST"]);
    let missing = problem(&ask("POST", "/connections/caldav", Some(json!({"url": "x"}))), 422, "invalid");
    assert!(missing["detail"].as_str().unwrap().contains("username"), "{missing}");
    let unknown = json!({"url": "x", "username": "a", "password": "b", "colour": 1});
    let unknown = problem(&ask("POST", "/connections/caldav", Some(unknown)), 422, "invalid");
    assert!(unknown["detail"].as_str().unwrap().contains("colour"), "{unknown}");
    let url = json!({"url": "gopher://x", "username": "a", "password": "b"});
    assert_eq!(problem(&ask("POST", "/connections/caldav", Some(url)), 422, "invalid")["field"], "url");
    let none = json!({"calendar": "1", "connection": "x", "remote_calendar": "y"});
    assert_eq!(problem(&ask("POST", "/mappings", Some(none)), 422, "invalid")["field"], "calendar");
    for (field, value) in
        [("fields", "most"), ("window_past", "soon"), ("window_future", "-P1Y"), ("poll_interval", "soon")]
    {
        let mut body = json!({"calendar": "1", "connection": "x", "remote_calendar": "y"});
        body[field] = json!(value);
        assert_eq!(problem(&ask("POST", "/mappings", Some(body)), 422, "invalid")["field"], field);
    }
    problem(&ask("GET", "/runs?limit=0", None), 422, "invalid");
    let text = Request {
        method: "POST".into(),
        target: "/api/v1/mappings".into(),
        headers: vec![("Authorization".into(), format!("Bearer {}", program.token))],
        body: b"{not json".to_vec(),
    };
    problem(&send(program.served.address(), &text).unwrap(), 400, "malformed");
    let mut form = text.clone();
    form.headers.push(("Content-Type".into(), "application/x-www-form-urlencoded".into()));
    problem(&send(program.served.address(), &form).unwrap(), 415, "wrong-media-type");
    let mut large = text;
    large.body = vec![b' '; 2 << 20];
    problem(&send(program.served.address(), &large).unwrap(), 413, "too-large");
}

// S4-085: Who may come in, and what for
#[test]
fn tokens_open_what_their_scopes_name() {
    let program = Program::start(&[]);
    let address = program.served.address();
    let bare = Request { method: "GET".into(), target: "/api/v1/mappings".into(), ..Request::default() };
    let answer = send(address, &bare).unwrap();
    problem(&answer, 401, "not-signed-in");
    assert!(answer.all("www-authenticate")[0].starts_with("Bearer"));
    problem(&program.ask_with("kal_nonsense", "GET", "/mappings", &[], None), 401, "not-signed-in");
    let basic = base64::engine::general_purpose::STANDARD.encode(format!("anna:{}", password("anna")));
    let headers = vec![("Authorization".to_owned(), format!("Basic {basic}"))];
    problem(&send(address, &Request { headers, ..bare }).unwrap(), 401, "not-signed-in");
    let read = token(&program.served, "anna", &[Scope::Read]);
    assert_eq!(program.ask_with(&read, "GET", "/mappings", &[], None).status, 200);
    let refused = program.ask_with(&read, "POST", "/connections/caldav", &[], Some(json!({})));
    assert!(problem(&refused, 403, "missing-scope")["detail"].as_str().unwrap().contains("bridges"));
    let bookings = token(&program.served, "anna", &[Scope::Bookings]);
    problem(&program.ask_with(&bookings, "GET", "/runs", &[], None), 403, "missing-scope");
}

// S3-008, S3-027, S3-163: Nobody sees or touches what belongs to another
#[test]
fn what_belongs_to_another_does_not_exist() {
    let Some(radicale) = Radicale::start() else { return };
    radicale.calendar(WORK);
    let program = Program::start(&["[bridge]", "allow_private = true"]);
    let map = connected(&program, &radicale);
    let (_, connections) = program.ask("GET", "/connections", None);
    let connection = connections["items"][0]["id"].as_str().unwrap().to_owned();
    let (_, own) = program.ask("GET", "/calendars", None);
    let calendar = own["items"][0]["id"].as_str().unwrap().to_owned();
    let (_, asked) = program.ask("POST", &format!("/mappings/{map}/sync"), None);
    let run = asked["run"].as_str().unwrap().to_owned();
    let bert = token(&program.served, "bert", &[Scope::Read, Scope::Events, Scope::Bridges]);
    for (method, path) in [
        ("GET", format!("/mappings/{map}")),
        ("PATCH", format!("/mappings/{map}")),
        ("DELETE", format!("/mappings/{map}")),
        ("POST", format!("/mappings/{map}/sync")),
        ("GET", format!("/runs/{run}")),
        ("GET", format!("/runs?mapping={map}")),
        ("GET", format!("/conflicts?mapping={map}")),
        ("GET", format!("/connections/{connection}")),
        ("GET", format!("/connections/{connection}/calendars")),
        ("POST", format!("/connections/{connection}/reconnect")),
        ("DELETE", format!("/connections/{connection}")),
        ("GET", format!("/calendars/{calendar}")),
        ("DELETE", format!("/calendars/{calendar}")),
    ] {
        let body = (method != "GET" && method != "DELETE").then(|| json!({}));
        problem(&program.ask_with(&bert, method, &path, &[], body), 404, "not-found");
    }
    for path in ["/mappings", "/connections", "/runs", "/conflicts"] {
        assert_eq!(document(&program.ask_with(&bert, "GET", path, &[], None))["items"], json!([]), "{path}");
    }
    let wish = json!({"calendar": calendar, "connection": connection, "remote_calendar": "x"});
    assert_eq!(program.ask_with(&bert, "POST", "/mappings", &[], Some(wish)).status, 422);
}

#[test]
fn calendars_are_made_changed_and_removed() {
    let program = Program::start(&[]);
    let wish = json!({"name": "club", "display_name": "Club & <friends>", "color": "#336699", "components": ["VEVENT", "VTODO"]});
    let (status, made) = program.ask("POST", "/calendars", Some(wish.clone()));
    assert_eq!((status, &made["display_name"]), (201, &json!("Club & <friends>")), "{made}");
    let id = made["id"].as_str().unwrap();
    problem(&program.ask_with(&program.token, "POST", "/calendars", &[], Some(wish)), 409, "exists");
    let (_, changed) = program.ask(
        "PATCH",
        &format!("/calendars/{id}"),
        Some(json!({"color": null, "display_name": "Club"})),
    );
    assert_eq!((&changed["color"], &changed["display_name"]), (&Value::Null, &json!("Club")), "{changed}");
    assert_ne!(changed["etag"], made["etag"]);
    assert_eq!(program.ask("DELETE", &format!("/calendars/{id}"), None).0, 204);
    assert_eq!(program.ask("GET", &format!("/calendars/{id}"), None).0, 404);
    for bad in [json!({"name": "a/b"}), json!({"name": "inbox"}), json!({"components": ["VALARM"]})] {
        let refused = program.ask_with(&program.token, "POST", "/calendars", &[], Some(bad.clone()));
        assert!(matches!(refused.status, 403 | 409 | 422), "{bad} {}", refused.show());
    }
}

// S1-079: at the most talkative level the log of a whole connection holds neither password nor token nor event text
#[test]
fn the_log_of_a_sync_holds_no_secret() {
    use std::io::{BufRead as _, BufReader};
    use std::process::{Command, Stdio};
    let Some(radicale) = Radicale::start() else { return };
    radicale.calendar(WORK);
    let (secret, text) = ("Kennwort-mit-7-Siegeln", "Quite private words");
    radicale.set_passwords(&[("anna", secret)]);
    let body = event("there@x", text);
    let headers = [("Content-Type", "text/calendar")];
    let put = radicale.ask_as(&format!("anna:{secret}"), "PUT", "/anna/work/t.ics", &headers, &body);
    assert_eq!(put.status, 201, "{}", put.show());
    let place = tempfile::tempdir().unwrap();
    let kalends = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kalends"));
        command.args(arguments).current_dir(place.path()).env_clear();
        command.env("KALENDS_STORE__URL", format!("sled:{}", place.path().join("db").display()));
        command.env("KALENDS_LOG__LEVEL", "trace").env("KALENDS_BRIDGE__ALLOW_PRIVATE", "true");
        command.env("KALENDS_BRIDGE__WINDOW_PAST", "all");
        command
    };
    let mut adding = kalends(&["user", "add", "anna", "--password-stdin"]);
    let mut adding =
        adding.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    std::io::Write::write_all(&mut adding.stdin.take().unwrap(), b"anna-long-secret\n").unwrap();
    assert!(adding.wait().unwrap().success());
    let made = kalends(&["token", "add", "anna", "test", "--scope", "bridges"]).output().unwrap();
    let token = String::from_utf8(made.stdout).unwrap().split_whitespace().last().unwrap().to_owned();
    assert!(token.starts_with("kal_"), "{token}");
    let mut serving = kalends(&["serve", "--listen", "127.0.0.1:0"]);
    let mut serving =
        serving.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(serving.stderr.take().unwrap()).lines().map_while(Result::ok);
    let mut log = String::new();
    let address: std::net::SocketAddr = loop {
        let line = lines.next().expect("the server starts");
        log.push_str(&line);
        if let Some((_, address)) = line.split_once("listening on ") {
            let end = address.find([')', '"']).unwrap_or(address.len());
            break address[..end].parse().unwrap();
        }
    };
    let rest = std::thread::spawn(move || lines.collect::<Vec<String>>().join("\n"));
    let ask = |method: &str, path: &str, body: Value| {
        let headers = vec![
            ("Authorization".to_owned(), format!("Bearer {token}")),
            ("Content-Type".to_owned(), "application/json".to_owned()),
        ];
        let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        let target = format!("/api/v1{path}");
        document(&send(address, &Request { method: method.into(), target, headers, body }).unwrap())
    };
    let url = format!("http://{}", radicale.address());
    let made =
        ask("POST", "/connections/caldav", json!({"url": url, "username": "anna", "password": secret}));
    let own = ask("GET", "/calendars", Value::Null);
    let own =
        own["items"].as_array().unwrap().iter().find(|c| c["name"] == "calendar").unwrap()["id"].clone();
    let wish = json!({"calendar": own, "connection": made["id"], "remote_calendar": format!("{url}{WORK}")});
    let mapping = ask("POST", "/mappings", wish);
    eventually("the first pass", || {
        let runs = ask("GET", &format!("/runs?mapping={}", mapping["id"].as_str().unwrap()), Value::Null);
        runs["items"].as_array().is_some_and(|all| all.iter().any(|run| run["local"]["inserted"] == 1))
    });
    assert!(Command::new("kill").args(["-TERM", &serving.id().to_string()]).status().unwrap().success());
    assert!(serving.wait().unwrap().success());
    log.push_str(&rest.join().unwrap());
    assert!(log.contains("TRACE") && log.contains("a pass has ended"), "the log is not talkative");
    let basic = base64::engine::general_purpose::STANDARD.encode(format!("anna:{secret}"));
    for hidden in [secret, basic.as_str(), token.as_str(), text] {
        let at = log.lines().find(|line| line.contains(hidden));
        assert!(at.is_none(), "{hidden:?} is in the log: {at:?}");
    }
}

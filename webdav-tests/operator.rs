//! What whoever runs the server is told and can settle: `/status`, `/metrics`, limits, accounts, other paths.

use base64::Engine as _;
use http::Method;
use kalends::auth::Scope;
use kalends::calendar::NewPrincipal;
use kalends::server::compat::ALIASES;
use serde_json::{Value, json};

use crate::app::{App, document, event, problem, say};
use crate::dialogue::{Host as _, Request, Response, Setup, password, send};
use crate::host::Served;
use crate::pages::Browser;
use crate::wait::wait_for;

/// Makes the administrator olga and returns a token of hers.
pub(crate) fn administrator(served: &Served) -> String {
    let new = NewPrincipal {
        name: "olga".into(),
        admin: true,
        password: password("olga"),
        ..NewPrincipal::default()
    };
    served.runtime().block_on(served.guard().add_user(new)).unwrap();
    let made = served.guard().add_token("olga", "operator", vec![Scope::Admin].into());
    served.runtime().block_on(made).unwrap().1
}

fn get(served: &Served, path: &str, token: Option<&str>) -> Response {
    let headers = token.map(|token| ("Authorization".to_owned(), format!("Bearer {token}")));
    let request = Request {
        method: "GET".to_owned(),
        target: path.to_owned(),
        headers: headers.into_iter().collect(),
        body: Vec::new(),
    };
    send(served.address(), &request).unwrap()
}

fn text(answer: &Response) -> String {
    String::from_utf8(answer.body.clone()).unwrap()
}

/// Returns the metrics of a server.
pub(crate) fn metrics(served: &Served, admin: &str) -> String {
    text(&get(served, "/metrics", Some(admin)))
}

/// Returns the value of a line of the metrics.
pub(crate) fn value(text: &str, series: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok())
}

// S4-078, S2-018, S2-019: health and last sync times, for whoever may look
#[test]
fn status_is_told_to_those_who_sign_in() {
    let app = App::start("read");
    problem(&get(&app.served, "/status", None), 401, "not-signed-in");
    let narrow = app.served.token("anna", "bookings").unwrap();
    problem(&get(&app.served, "/status", Some(&narrow)), 403, "missing-scope");
    let own = document(&get(&app.served, "/status", Some(&app.token)));
    assert_eq!((&own["status"], &own["store"], &own["server"]), (&json!("ok"), &json!("ok"), &json!(null)));
    assert_eq!((&own["connections"], &own["mappings"]), (&json!([]), &json!([])));
    assert_eq!(own["queue"], json!({ "running": 0, "waiting": 0, "lag_seconds": 0 }));
    assert_eq!(app.get("/status")["status"], "ok", "the API has the same");
    let admin = administrator(&app.served);
    app.dav("PUT", "one.ics", &event("one@x", "One", "20300105T090000Z"));
    let whole = document(&get(&app.served, "/status", Some(&admin)));
    assert_eq!((&whole["server"]["users"], &whole["server"]["objects"]), (&json!(3), &json!(1)), "{whole}");
}

// S4-078, S2-018, S2-019, S1-033, S1-036, S1-091, S3-160, S3-169: a feed is read, then it is gone
#[test]
fn status_and_metrics_say_how_the_bridge_is() {
    let app = App::with("read events bridges", &["bridge.allow_private = true"]);
    let admin = administrator(&app.served);
    // A published feed shows two years.
    let soon = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(48);
    app.dav("PUT", "one.ics", &event("one@x", "One", &soon.strftime("%Y%m%dT%H%M%SZ").to_string()));
    let from = app.calendar();
    let (_, feed) = app.ask("POST", "/feeds", Some(json!({ "calendars": [from] })));
    let (status, account) = app.ask("POST", "/connections/ics", Some(json!({ "url": feed["url"] })));
    assert_eq!(status, 201, "{account}");
    let (_, into) = app.ask("POST", "/calendars", Some(json!({ "name": "copy" })));
    let id = account["id"].as_str().unwrap();
    let there = app.get(&format!("/connections/{id}/calendars"))["items"][0]["id"].clone();
    let wish = json!({
        "calendar": into["id"], "connection": id, "remote_calendar": there, "direction": "pull",
        "window_future": "all",
    });
    let (status, mapping) = app.ask("POST", "/mappings", Some(wish));
    assert_eq!(status, 201, "{mapping}");
    let look = || app.get("/status");
    let well = wait_for("health", look, |told| told["mappings"][0]["status"] == "active");
    assert_eq!((&well["status"], &well["connections"][0]["status"]), (&json!("ok"), &json!("active")));
    assert!(
        well["mappings"][0]["last_synced_at"].is_string()
            && well["connections"][0]["last_synced_at"].is_string()
    );
    assert!(well["mappings"][0]["next_run_at"].is_string(), "{well}");
    let figures = || text(&get(&app.served, "/metrics", Some(&admin)));
    let told = figures();
    for series in [
        "kalends_runs_total{provider=\"ics\",status=\"success\"}",
        "kalends_run_duration_seconds_count{provider=\"ics\"}",
        "kalends_run_writes_total{side=\"local\",kind=\"inserted\"}",
        "kalends_provider_calls_total{provider=\"ics\",outcome=\"ok\"}",
        "kalends_connections{provider=\"ics\",status=\"active\"}",
        "kalends_mappings{status=\"active\"}",
        "kalends_users_connected",
    ] {
        assert!(value(&told, series).is_some_and(|count| count >= 1.0), "{series}\n{told}");
    }
    assert_eq!(
        (value(&told, "kalends_users"), value(&told, "kalends_queue_running")),
        (Some(3.0), Some(0.0))
    );
    // The feed moves away.
    let (status, _) =
        app.ask("POST", &format!("/feeds/{}/rotate", feed["id"].as_str().unwrap()), Some(json!({})));
    assert_eq!(status, 200);
    assert_eq!(app.ask("POST", "/sync", None).0, 202);
    let ill = wait_for("attention", look, |told| told["status"] == "attention");
    assert!(ill["mappings"][0]["message"].is_string(), "{ill}");
    assert_eq!(ill["mappings"][0]["last_synced_at"], well["mappings"][0]["last_synced_at"]);
    let told = figures();
    for series in [
        "kalends_runs_total{provider=\"ics\",status=\"failed\"}",
        "kalends_provider_calls_total{provider=\"ics\",outcome=\"refused\"}",
    ] {
        assert!(value(&told, series).is_some_and(|count| count >= 1.0), "{series}\n{told}");
    }
    let secret = feed["url"].as_str().unwrap().rsplit('/').next().unwrap();
    assert!(!told.contains(secret) && !ill.to_string().contains(secret), "{ill}");
}

// S1-093, S3-149: what happens is counted; who may read it is guarded
#[test]
fn metrics_count_requests_by_door_and_want_an_administrator() {
    let app = App::start("read events bookings");
    assert_eq!(get(&app.served, "/metrics", None).status, 401);
    assert_eq!(get(&app.served, "/metrics", Some(&app.token)).status, 403);
    let admin = administrator(&app.served);
    let before = text(&get(&app.served, "/metrics", Some(&admin)));
    for name in ["one", "two"] {
        app.dav("PUT", &format!("{name}.ics"), &event(&format!("{name}@x"), "T", "20300105T090000Z"));
    }
    app.get("/calendars");
    app.ask("GET", "/calendars/none", None);
    let answer = get(&app.served, "/metrics", Some(&admin));
    let media = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    assert_eq!(answer.all("content-type"), [media]);
    let after = text(&answer);
    let grown = |series: &str| value(&after, series).unwrap_or(0.0) - value(&before, series).unwrap_or(0.0);
    let requests = |door: &str, method: &str, class: &str| {
        grown(&format!("kalends_requests_total{{door=\"{door}\",method=\"{method}\",status=\"{class}\"}}"))
    };
    let close = |got: f64, want: f64| assert!((got - want).abs() < 1e-9, "{got} is not {want}\n{after}");
    close(requests("dav", "PUT", "2xx"), 2.0);
    close(requests("api", "GET", "2xx"), 1.0);
    close(requests("api", "GET", "4xx"), 1.0);
    close(grown("kalends_request_duration_seconds_count{door=\"dav\"}"), 2.0);
    close(grown("kalends_objects"), 2.0);
    assert!(grown("kalends_store_commits_total") >= 2.0, "{after}");
    assert!(value(&after, "kalends_store_disk_bytes").unwrap() > 0.0, "{after}");
    assert!(value(&after, "process_resident_memory_bytes").unwrap() > 1e6, "{after}");
    assert!(value(&after, "process_start_time_seconds").unwrap() > 1.7e9, "{after}");
    // Nothing of anybody's: no name, no address, no secret, no path.
    for word in ["anna", "olga", "127.0.0.1", "/dav", "one.ics", admin.as_str(), app.token.as_str()] {
        assert!(!after.contains(word), "{word}\n{after}");
    }
}

// B-04, S1-094: bookings that were taken and refused are told apart
#[test]
fn bookings_are_counted_by_what_came_of_them() {
    let app = App::start("read bookings events");
    let admin = administrator(&app.served);
    let calendar = app.calendar();
    let wish = json!({
        "calendar": calendar, "start": "2030-01-07T09:00:00Z", "duration": "PT30M", "time_zone": "UTC",
        "service": "Cut", "customer": { "name": "C" },
    });
    let (first, booked) = app.ask("POST", "/bookings", Some(wish.clone()));
    assert_eq!(first, 201, "{booked}");
    assert_eq!(app.ask("POST", "/bookings", Some(wish)).0, 409);
    let told = text(&get(&app.served, "/metrics", Some(&admin)));
    assert_eq!(value(&told, "kalends_bookings_total{outcome=\"taken\"}"), Some(1.0), "{told}");
    assert_eq!(value(&told, "kalends_bookings_total{outcome=\"refused\"}"), Some(1.0), "{told}");
}

#[test]
fn metrics_have_a_listener_of_their_own_if_wished() {
    let config = vec!["metrics.listen = \"127.0.0.1:0\"".to_owned()];
    let served = Served::start(&Setup { config, ..Setup::default() }).unwrap();
    let at = served.metrics_address().unwrap();
    let ask = |method: &str, path: &str| {
        let request = Request {
            method: method.to_owned(),
            target: path.to_owned(),
            headers: Vec::new(),
            body: Vec::new(),
        };
        send(at, &request).unwrap()
    };
    let told = ask("GET", "/metrics");
    assert_eq!(told.status, 200);
    assert_eq!(value(&text(&told), "kalends_users"), Some(2.0));
    assert_eq!(ask("GET", "/health").status, 200);
    assert_eq!(ask("POST", "/metrics").status, 405);
    for other in ["/", "/dav/", "/api/v1/calendars", "/status"] {
        assert_eq!(ask("GET", other).status, 404, "{other}");
    }
}

// issue: too many requests are 429 with Retry-After; a token, an address and an account are counted apart
#[test]
fn one_request_too_many_is_told_to_wait() {
    let config = [
        "[limits]",
        "requests_per_minute = 5",
        "requests_per_minute_unknown = 3",
        "requests_per_minute_dav = 4",
        "[server]",
        "trusted_proxies = [\"127.0.0.1\"]",
    ];
    let app = App::with("read", &config);
    let other = app.served.token("anna", "read").unwrap();
    for _ in 0..5 {
        app.get("/calendars");
    }
    let refused = app.send(&app.token, "GET", "/calendars", &[], None);
    problem(&refused, 429, "too-many-requests");
    let wait: u64 = refused.all("retry-after")[0].parse().unwrap();
    assert!((1..=12).contains(&wait), "{wait}");
    assert_eq!(app.send(&other, "GET", "/calendars", &[], None).status, 200, "another token");
    // Whoever is not known is counted by the address that the proxy names.
    let stranger = |from: &str| {
        let headers = [("X-Forwarded-For", from)];
        app.send("kal_wrong", "GET", "/calendars", &headers, None).status
    };
    let told: Vec<u16> = (0..5).map(|_| stranger("203.0.113.7")).collect();
    assert_eq!(told, [401, 401, 401, 429, 429]);
    assert_eq!(stranger("203.0.113.8"), 401);
    let devices: Vec<u16> = (0..6).map(|_| app.dav("GET", "none.ics", "").status).collect();
    assert_eq!(devices, [404, 404, 404, 404, 429, 429]);
    assert_eq!(app.dav("GET", "none.ics", "").all("retry-after").len(), 1);
}

/// Asks as an administrator.
fn rule(served: &Served, token: &str, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
    let answer = say(served, token, (method, path), &[], body.as_ref());
    (answer.status, document(&answer))
}

/// Signs in over CalDAV with a name and a password.
fn signs_in(served: &Served, name: &str, password: &str) -> u16 {
    let basic = base64::engine::general_purpose::STANDARD.encode(format!("{name}:{password}"));
    let request = Request {
        method: "PROPFIND".to_owned(),
        target: format!("/dav/calendars/{name}/"),
        headers: vec![
            ("Authorization".to_owned(), format!("Basic {basic}")),
            ("Depth".to_owned(), "0".to_owned()),
        ],
        body: Vec::new(),
    };
    send(served.address(), &request).unwrap().status
}

// S0-012, S4-022: accounts are provisioned by an administrator's program
#[test]
fn accounts_come_change_and_go_through_the_api() {
    let served = Served::plain();
    let admin = administrator(&served);
    let ask = |method: &str, path: &str, body: Option<Value>| rule(&served, &admin, method, path, body);
    let new = json!({ "name": "Carl", "emails": ["carl@example.org"], "password": "correct-horse-battery" });
    let (status, made) = ask("POST", "/users", Some(new.clone()));
    assert_eq!((status, &made["name"], &made["admin"]), (201, &json!("carl"), &json!(false)), "{made}");
    assert!(made["warning"].is_null() && !made.to_string().contains("correct-horse"), "{made}");
    assert_eq!(signs_in(&served, "carl", "correct-horse-battery"), 207);
    assert_eq!(ask("POST", "/users", Some(new)).0, 409);
    assert_eq!(ask("GET", "/users/CARL", None).1["emails"], json!(["carl@example.org"]));
    let names: Vec<Value> = ask("GET", "/users", None).1["items"].as_array().unwrap().clone();
    let names: Vec<&str> = names.iter().map(|user| user["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["anna", "bert", "carl", "olga"]);
    // A password changes at once; a stale copy changes nothing.
    let tag = format!("\"{}\"", made["etag"].as_str().unwrap());
    let weak = json!({ "password": "hello" });
    let (status, changed) = ask("PATCH", "/users/carl", Some(weak));
    assert!(status == 200 && changed["warning"].as_str().unwrap().contains("shorter"), "{changed}");
    assert_eq!(
        (signs_in(&served, "carl", "correct-horse-battery"), signs_in(&served, "carl", "hello")),
        (401, 207)
    );
    let stale = say(
        &served,
        &admin,
        ("PATCH", "/users/carl"),
        &[("If-Match", &tag)],
        Some(&json!({ "admin": true })),
    );
    problem(&stale, 412, "stale");
    for (body, field) in [
        (json!({ "emails": ["no address"] }), "emails"),
        (json!({ "password": "" }), "password"),
        (json!({ "colour": "red" }), "colour"),
    ] {
        let (status, refused) = ask("PATCH", "/users/carl", Some(body));
        assert_eq!((status, &refused["field"]), (422, &json!(field)), "{refused}");
    }
    assert_eq!(ask("POST", "/users", Some(json!({ "name": "a:b" }))).1["field"], "name");
    assert_eq!(ask("GET", "/users/nobody", None).0, 404);
    // With everything that is its.
    let (_, token) = ask("POST", "/users/carl/tokens", Some(json!({ "label": "p", "scopes": ["read"] })));
    let token = token["token"].as_str().unwrap().to_owned();
    assert_eq!(rule(&served, &token, "GET", "/calendars", None).0, 200);
    assert_eq!(ask("DELETE", "/users/carl", None).0, 204);
    assert_eq!(
        (signs_in(&served, "carl", "hello"), rule(&served, &token, "GET", "/calendars", None).0),
        (401, 401)
    );
    assert_eq!(ask("GET", "/users/carl", None).0, 404);
}

// S0-012, S4-022: one password a device, one token a program, told once
#[test]
fn app_passwords_and_tokens_are_told_once_and_revoked() {
    let served = Served::plain();
    let admin = administrator(&served);
    let ask = |method: &str, path: &str, body: Option<Value>| rule(&served, &admin, method, path, body);
    let (status, device) = ask("POST", "/users/anna/app-passwords", Some(json!({ "label": "Phone" })));
    assert_eq!(status, 201, "{device}");
    let secret = device["password"].as_str().unwrap();
    assert_eq!(signs_in(&served, "anna", secret), 207);
    let (_, list) = ask("GET", "/users/anna/app-passwords", None);
    assert_eq!(
        (&list["items"][0]["label"], &list["items"][0]["password"]),
        (&json!("Phone"), &json!(null)),
        "{list}"
    );
    let at = format!("/users/anna/app-passwords/{}", device["id"].as_str().unwrap());
    assert_eq!(ask("DELETE", &at.replace("anna", "bert"), None).0, 404, "somebody else's");
    assert_eq!((ask("DELETE", &at, None).0, ask("DELETE", &at, None).0), (204, 404));
    assert_eq!(signs_in(&served, "anna", secret), 401);
    let wish = json!({ "label": "Site", "scopes": ["bookings", "read"] });
    let (status, program) = ask("POST", "/users/anna/tokens", Some(wish));
    assert_eq!((status, &program["scopes"]), (201, &json!(["read", "bookings"])), "{program}");
    let token = program["token"].as_str().unwrap();
    assert_eq!(rule(&served, token, "GET", "/bookings", None).0, 200);
    assert_eq!(rule(&served, token, "GET", "/users", None).0, 403);
    assert!(!ask("GET", "/users/anna/tokens", None).1.to_string().contains(token));
    let at = format!("/users/anna/tokens/{}", program["id"].as_str().unwrap());
    assert_eq!(ask("DELETE", &at, None).0, 204);
    assert_eq!(rule(&served, token, "GET", "/bookings", None).0, 401);
    for body in [
        json!({ "label": "", "scopes": ["read"] }),
        json!({ "label": "x", "scopes": [] }),
        json!({ "label": "x", "scopes": ["all"] }),
    ] {
        assert_eq!(ask("POST", "/users/anna/tokens", Some(body.clone())).0, 422, "{body}");
    }
    assert_eq!(
        ask("GET", "/users/anna/sessions", None).1["items"],
        json!([]),
        "nobody signed in with a browser"
    );
    assert_eq!(ask("DELETE", "/users/anna/sessions/none", None).0, 404);
    // Two browsers.
    let mut browsers = [Browser::anna(&served), Browser::anna(&served)];
    let (_, list) = ask("GET", "/users/anna/sessions", None);
    let sessions = list["items"].as_array().unwrap();
    assert_eq!(sessions.len(), 2, "{list}");
    for one in sessions {
        assert_eq!(
            (&one["agent"], &one["address"]),
            (&json!("Firefox/140 Linux"), &json!("127.0.0.1")),
            "{list}"
        );
        assert!(one["created_at"].is_string() && one["seen_at"].is_string(), "{list}");
    }
    for browser in &browsers {
        assert!(browser.cookies.values().all(|secret| !list.to_string().contains(secret)), "{list}");
    }
    assert_eq!(ask("GET", "/users/bert/sessions", None).1["items"], json!([]));
    let at = format!("/users/anna/sessions/{}", sessions[0]["id"].as_str().unwrap());
    assert_eq!(ask("DELETE", &at.replace("anna", "bert"), None).0, 404, "somebody else's");
    let mut inside =
        || browsers.iter_mut().map(|one| one.get("/account").status).filter(|status| *status == 200).count();
    assert_eq!(inside(), 2);
    assert_eq!((ask("DELETE", &at, None).0, ask("DELETE", &at, None).0), (204, 404));
    assert_eq!(inside(), 1, "one of them is out");
    let (_, left) = ask("GET", "/users/anna/sessions", None);
    assert_eq!(
        (left["items"].as_array().unwrap().len(), left["items"][0]["id"] == sessions[0]["id"]),
        (1, false)
    );
    // The scope alone makes nobody an administrator.
    let (_, wide) = ask("POST", "/users/anna/tokens", Some(json!({ "label": "w", "scopes": ["admin"] })));
    assert_eq!(rule(&served, wide["token"].as_str().unwrap(), "GET", "/users", None).0, 403);
}

#[test]
fn the_last_administrator_stays() {
    let served = Served::plain();
    let admin = administrator(&served);
    let ask = |method: &str, path: &str, body: Option<Value>| rule(&served, &admin, method, path, body);
    for (method, body) in [("DELETE", None), ("PATCH", Some(json!({ "admin": false })))] {
        let (status, refused) = ask(method, "/users/olga", body);
        assert_eq!((status, &refused["type"]), (403, &json!("/api/v1/problems/protected")), "{refused}");
        assert!(refused["detail"].as_str().unwrap().contains("last administrator"), "{refused}");
    }
    assert_eq!(ask("PATCH", "/users/anna", Some(json!({ "admin": true }))).0, 200);
    assert_eq!(ask("DELETE", "/users/olga", None).0, 204);
    assert_eq!(ask("GET", "/users", None).0, 401, "her token went with her");
}

// E10: off by default; each answers as its native route
#[test]
fn paths_of_other_documents_are_other_names() {
    let fill = |path: &str| path.replace("{}", "none");
    let plain = App::start("read events bridges");
    let raw = |app: &App, method: &Method, path: &str| {
        let request = Request {
            method: method.as_str().to_owned(),
            target: path.to_owned(),
            headers: vec![("Authorization".to_owned(), format!("Bearer {}", app.token))],
            body: Vec::new(),
        };
        send(app.served.address(), &request).unwrap()
    };
    for alias in ALIASES {
        let answer = raw(&plain, &alias.method, &fill(alias.path));
        // A page may have the same path; it knows no tokens.
        let page = answer.all("content-type").iter().all(|kind| !kind.contains("json"));
        let without = answer.status == 404 || (page && matches!(answer.status, 303 | 405));
        assert!(without, "{} {}: {}", alias.method, alias.path, answer.show());
    }
    let all = ["compat.routes = [\"marketplace\", \"hub\", \"plan\", \"microservice\", \"feed\"]"];
    let app = App::with("read events bridges", &all);
    for alias in ALIASES {
        let theirs = raw(&app, &alias.method, &fill(alias.path));
        let ours = raw(&app, &alias.as_method, &fill(alias.as_path));
        assert_eq!(theirs.status, ours.status, "{} {}", alias.method, alias.path);
        assert_eq!(theirs.body, ours.body, "{} {}", alias.method, alias.path);
        let kind = |answer: &Response| answer.all("content-type").first().map(|kind| (*kind).to_owned());
        assert_eq!(kind(&theirs), kind(&ours), "{} {}", alias.method, alias.path);
    }
    // A set that is not named stays away.
    let hub = App::with("read bridges", &["compat.routes = [\"hub\"]"]);
    assert_eq!(raw(&hub, &Method::GET, "/calendar-sync/calendars").status, 200);
    assert_eq!(raw(&hub, &Method::GET, "/caldav/calendars").status, 404);
    // Who looks with a browser sees the page of that path.
    let request = Request {
        method: "GET".to_owned(),
        target: "/mappings".to_owned(),
        headers: vec![("Accept".to_owned(), "text/html,application/xhtml+xml,*/*;q=0.8".to_owned())],
        body: Vec::new(),
    };
    assert_eq!(send(app.served.address(), &request).unwrap().status, 303);
}

// S0-001, S1-062, S2-063, S2-069, S2-074, S3-137, S3-139, S4-080, S4-082: what is behind them is the same
#[test]
fn other_names_show_the_same_things() {
    let all = [
        "bridge.allow_private = true",
        "compat.routes = [\"marketplace\", \"hub\", \"plan\", \"microservice\", \"feed\"]",
    ];
    let app = App::with("read events bridges", &all);
    let soon = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(48);
    app.dav("PUT", "one.ics", &event("one@x", "One", &soon.strftime("%Y%m%dT%H%M%SZ").to_string()));
    let (_, feed) =
        app.ask("POST", "/feeds", Some(json!({ "calendars": [app.calendar()], "slug": "staff-of-anna" })));
    assert!(feed["url"].as_str().unwrap().ends_with("/feeds/staff-of-anna.ics"), "{feed}");
    let shown = get(&app.served, "/calendar/ics/staff-of-anna.ics", None);
    assert!(shown.status == 200 && text(&shown).contains("UID:one@x"), "{}", shown.show());
    let (_, account) = app.ask("POST", "/connections/ics", Some(json!({ "url": feed["url"] })));
    let id = account["id"].as_str().unwrap();
    let told = |path: &str| document(&get(&app.served, path, Some(&app.token)));
    for path in ["/calendar/connections", "/api/calendar/connections"] {
        assert_eq!(told(path)["items"][0]["id"], json!(id), "{path}");
    }
    let remote = told(&format!("/calendar-sync/{id}/available"))["items"][0]["id"].clone();
    assert!(remote.is_string());
    assert_eq!(told("/calendar-sync/ics/available")["items"][0]["id"], remote, "by the provider's name");
    let (_, into) = app.ask("POST", "/calendars", Some(json!({ "name": "copy" })));
    let wish =
        json!({ "calendar": into["id"], "connection": id, "remote_calendar": remote, "direction": "pull" });
    let (status, mapping) = app.ask("POST", "/mappings", Some(wish));
    assert_eq!(status, 201, "{mapping}");
    for path in ["/calendar-sync/calendars", "/mappings"] {
        assert_eq!(told(path)["items"][0]["id"], mapping["id"], "{path}");
    }
    let state = format!("/calendar-sync/calendars/{}/status", mapping["id"].as_str().unwrap());
    assert_eq!(told(&state)["id"], mapping["id"]);
    let swept = get(&app.served, "/api/cron/calendar-sync?provider=ics", Some(&app.token));
    assert_eq!((swept.status, document(&swept)["runs"].as_array().unwrap().len()), (202, 1));
    let other = get(&app.served, "/api/cron/calendar-sync?provider=google", Some(&app.token));
    assert_eq!(document(&other)["runs"], json!([]));
}

// S1-093, E10: what comes under another name is counted at the door that answers
#[test]
fn other_names_are_counted_at_the_door_that_answers() {
    let app = App::with("read bridges", &["compat.routes = [\"marketplace\", \"microservice\", \"feed\"]"]);
    let admin = administrator(&app.served);
    let before = metrics(&app.served, &admin);
    assert_eq!(get(&app.served, "/calendar/connections", Some(&app.token)).status, 200);
    assert_eq!(get(&app.served, "/mappings", Some(&app.token)).status, 200);
    assert_eq!(get(&app.served, "/calendar/ics/none.ics", None).status, 404);
    assert_eq!(get(&app.served, "/nothing/at/all", None).status, 404);
    let mut browser = Browser::anna(&app.served);
    assert_eq!(browser.ask("GET", "/mappings", &[("Accept", "text/html")], &[]).status, 200);
    let after = metrics(&app.served, &admin);
    let grown = |door: &str, class: &str| {
        let series = format!("kalends_requests_total{{door=\"{door}\",method=\"GET\",status=\"{class}\"}}");
        value(&after, &series).unwrap_or(0.0) - value(&before, &series).unwrap_or(0.0)
    };
    for (door, class, want) in [
        ("api", "2xx", 2.0),
        ("feeds", "4xx", 1.0),
        ("other", "4xx", 1.0),
        ("other", "2xx", 0.0),
        ("page", "2xx", 1.0),
    ] {
        let got = grown(door, class);
        assert!((got - want).abs() < 1e-9, "{door} {class}: {got} is not {want}\n{after}");
    }
}

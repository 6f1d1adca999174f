//! What whoever runs the server is told and can settle: `/status`, `/metrics`.

use std::time::{Duration, Instant};

use kalends::auth::Scope;
use kalends::calendar::NewPrincipal;
use serde_json::json;

use crate::app::{App, document, event, problem};
use crate::dialogue::{Host as _, Request, Response, Setup, password, send};
use crate::host::Served;

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

/// Returns the value of a line of the metrics.
fn value(text: &str, series: &str) -> Option<f64> {
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

/// Asks again and again until the answer is as wished, for half a minute at most.
#[track_caller]
pub(crate) fn wait_for<T>(mut look: impl FnMut() -> T, wish: impl Fn(&T) -> bool) -> T
where
    T: std::fmt::Debug,
{
    let until = Instant::now() + Duration::from_secs(30);
    loop {
        let seen = look();
        if wish(&seen) {
            return seen;
        }
        assert!(Instant::now() < until, "it did not come: {seen:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
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
    let well = wait_for(look, |told| told["mappings"][0]["status"] == "active");
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
    let ill = wait_for(look, |told| told["status"] == "attention");
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

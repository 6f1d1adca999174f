//! The pages about far sides, as a browser without scripts sees them: kinds of accounts, a consent that comes back, the settings of a mapping.

use std::sync::Arc;

use kalends::sim::{self, Clock};
use serde_json::{Value, json};

use crate::app::{document, say};
use crate::dialogue::{Host as _, Setup};
use crate::host::Served;
use crate::pages::{Browser, between, body, location};

struct Far {
    served: Served,
    server: sim::Running,
    // Dropped last: the simulator's tasks are in it.
    _runtime: tokio::runtime::Runtime,
}

impl Far {
    fn start() -> Far {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let server = runtime.block_on(async {
            let upstream = sim::caldav::Caldav::start("demo", "demo", Clock::real()).await.unwrap();
            sim::Server::start(sim::Options::default(), Arc::new(upstream)).await.unwrap()
        });
        let config = ["[bridge]", "allow_private = true"].map(str::to_owned).to_vec();
        let served = Served::start(&Setup { config, ..Setup::default() }).unwrap();
        Far { served, server, _runtime: runtime }
    }

    /// Connects the account. Returns the path and query of the form for a mapping of its main calendar, and the form's fields.
    fn connected(&self, browser: &mut Browser<'_>) -> (String, [String; 2]) {
        let form = [("url", self.server.url()), ("username", "demo"), ("password", "demo")];
        let at = location(&browser.post("/connect/caldav", &form));
        let page = body(&browser.get(&at));
        let query = between(&page, "/mappings/new?", "\"").replace("&amp;", "&").replace("&#38;", "&");
        let pairs: Vec<(String, String)> =
            url::form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        let of = |name: &str| pairs.iter().find(|(known, _)| known == name).unwrap().1.clone();
        (format!("/mappings/new?{query}"), [of("connection"), of("remote")])
    }

    fn get(&self, path: &str) -> Value {
        let token = self.served.token("anna", "read bridges").unwrap();
        document(&say(&self.served, &token, ("GET", path), &[], None))
    }
}

/// Issue 5: mappings with rules, filters, window; errors at their fields with the values kept; a dry run that writes nothing.
#[test]
fn a_mapping_has_rules_and_filters_and_a_dry_run_makes_nothing() {
    let far = Far::start();
    let mut browser = Browser::anna(&far.served);
    let (new, [connection, remote]) = far.connected(&mut browser);
    let page = body(&browser.get(&new));
    assert!(page.contains("Add a rule") && page.contains("Add a filter"), "{page}");
    let base = [
        ("connection", connection.as_str()),
        ("remote_calendar", &remote),
        ("calendar", "new"),
        ("direction", "both"),
        ("conflict_policy", "newest"),
        ("fields", "standard"),
    ];
    let with = |more: &[(&'static str, &'static str)]| -> Vec<(&str, &str)> {
        base.iter().copied().chain(more.iter().copied()).collect()
    };

    // A row more, what was typed stays; a row less.
    let part = body(&browser.post(
        "/mappings/rows",
        &with(&[("rules.0.title", "<b>"), ("rules.0.policy", "ask"), ("_do", "rules+")]),
    ));
    assert!(
        part.contains("name=\"rules.1.policy\"")
            && part.contains("value=\"&#60;b&#62;\"")
            && !part.contains("<html"),
        "{part}"
    );
    let part = body(&browser.post(
        "/mappings/rows",
        &with(&[("rules.0.policy", "ask"), ("rules.1.policy", "local"), ("_do", "rules-0")]),
    ));
    assert!(part.contains("value=\"local\" selected") && !part.contains("rules.1."), "{part}");
    let calendars = || far.get("/calendars")["items"].as_array().unwrap().len();
    let before = (calendars(), far.get("/trash")["items"].clone());
    let dry =
        body(&browser.post(
            "/mappings/preview",
            &with(&[("filters.0.title", "Work"), ("filters.0.action", "exclude")]),
        ));
    assert!(dry.contains("A first pass would"), "{dry}");
    assert_eq!((calendars(), far.get("/trash")["items"].clone()), before, "a dry run makes nothing");

    let wrong = [
        ("rules.0.title", "kept & said"),
        ("rules.2.policy", "ask"),
        ("rules.2.starts_within", "soon"),
        ("window_past", "ever"),
    ];
    for (fields, at) in [
        (&wrong[..1], "h-rules-0-policy"),
        (&wrong[1..3], "h-rules-0-starts_within"),
        (&wrong[3..], "h-window_past"),
    ] {
        let refused = browser.post("/mappings", &with(fields));
        let page = body(&refused);
        assert_eq!(refused.status, 422, "{page}");
        assert!(page.contains(&format!("id=\"{at}\"")), "{at}: {page}");
        assert!(
            fields.iter().all(|(_, value)| page.contains(&value.replace('&', "&#38;"))),
            "{fields:?}: {page}"
        );
    }
    assert_eq!(calendars(), before.0, "nothing is left of what was refused");

    let good = with(&[
        ("rules.0.field", "time"),
        ("rules.0.protected", "true"),
        ("rules.0.policy", "local"),
        ("rules.3.title", "Work"),
        ("rules.3.policy", "ask"),
        ("filters.0.private", "true"),
        ("filters.0.action", "exclude"),
        ("window_past", "P7D"),
        ("poll_interval", "PT900S"),
        ("only", "reschedule,cancel"),
        ("_once", "one-mapping-please"),
    ]);
    let at = location(&browser.post("/mappings", &good));
    assert_eq!(location(&browser.post("/mappings", &good)), at, "a double click makes one");
    assert_eq!(calendars(), before.0 + 1);
    let kept = far.get(&at);
    assert_eq!(
        kept["rules"],
        json!([{ "when": { "field": "time", "protected": true }, "policy": "local" }, { "when": { "title": "Work" }, "policy": "ask" }])
    );
    assert_eq!(kept["filters"], json!([{ "when": { "private": true }, "action": "exclude" }]));
    assert_eq!(
        (&kept["window_past"], &kept["poll_interval"], &kept["only"]),
        (&json!("P7D"), &json!("PT900S"), &json!(["reschedule", "cancel"]))
    );

    // What is saved as it stands changes nothing; a list that is emptied is empty; what is left to the server is the server's.
    let page = body(&browser.get(&at));
    assert!(page.contains("name=\"rules.1.title\"") && page.contains("value=\"Work\""), "{page}");
    let etag = || far.get(&at)["etag"].as_str().unwrap().to_owned();
    let tag = etag();
    let settings = [
        ("etag", tag.as_str()),
        ("direction", "both"),
        ("conflict_policy", "ask"),
        ("fields", "standard"),
        ("window_past", ""),
        ("poll_interval", ""),
        ("filters.0.private", "true"),
        ("filters.0.action", "exclude"),
    ];
    assert_eq!(location(&browser.post(&at, &settings)), at);
    let kept = far.get(&at);
    assert_eq!(
        (&kept["rules"], &kept["conflict_policy"], &kept["poll_interval"]),
        (&json!([]), &json!("ask"), &Value::Null)
    );
    assert_ne!(kept["window_past"], "P7D");
    assert_eq!(kept["filters"].as_array().unwrap().len(), 1);
    let late = browser.post(&at, &settings);
    assert!(late.status == 422 && body(&late).contains("role=\"alert\""), "{}", late.show());
}

/// What came of a consent is said; kinds that cannot work here say why; an address at which no session lasts names the right one.
#[test]
fn pages_say_what_cannot_work_and_what_came_of_it() {
    let config = [
        "server.base_url = \"https://cal.example.org\"",
        "[providers.cozi]",
        "state = \"off\"",
        "[bridge]",
        "feeds = false",
    ];
    let served =
        Served::start(&Setup { config: config.map(str::to_owned).to_vec(), ..Setup::default() }).unwrap();
    let page = body(&Browser::new(&served).get("/sign-in"));
    assert!(page.contains("https://cal.example.org/") && page.contains("signing in works there"), "{page}");
    let proxied = Browser::new(&served).ask("GET", "/sign-in", &[("X-Forwarded-Proto", "https")], &[]);
    assert!(!body(&proxied).contains("signing in works there"));

    let served = Served::start(&Setup {
        config: config[1..].iter().map(|line| (*line).to_owned()).collect(),
        ..Setup::default()
    })
    .unwrap();
    let mut browser = Browser::anna(&served);
    let page = body(&browser.get("/connect"));
    for path in ["/connect/google", "/connect/outlook", "/connect/cozi", "/connect/ics"] {
        assert!(!page.contains(&format!("href=\"{path}\"")), "{path}: {page}");
    }
    assert!(page.contains("href=\"/connect/caldav\"") && page.contains("href=\"/connect/icloud\""), "{page}");
    for words in ["Cozi is switched off", "Feeds are switched off", "not set up for Google accounts"] {
        assert!(page.contains(words), "{words}: {page}");
    }
    for (query, words) in [
        ("connected=1", "The account is connected"),
        ("error=access_denied", "You did not give your consent"),
        ("error=unavailable", "could not ask you"),
        ("error=<script>", "did not let you through"),
    ] {
        let page =
            body(&browser.get(&format!("/connections?{query}").replace('<', "%3C").replace('>', "%3E")));
        assert!(page.contains(words) && !page.contains("<script>"), "{query}: {page}");
    }
    assert!(!body(&browser.get("/connections")).contains("role=\"status\">You"));
}

/// RFC 9110 §9.3.2: to ask what is there uses nothing up.
#[test]
fn a_profile_is_not_used_up_by_a_look_at_it() {
    let served = Served::plain();
    let mut browser = Browser::anna(&served);
    let made = body(&browser.post("/devices", &[("label", "phone")]));
    let path = format!("/devices/profile/{}", between(&made, "/devices/profile/", "\""));
    assert_eq!(Browser::new(&served).ask("HEAD", &path, &[], &[]).status, 405);
    assert_eq!(Browser::new(&served).get(&path).status, 200);
    // A control character would break it.
    let odd = browser.post("/devices", &[("label", "pho\u{1}ne")]);
    assert!(odd.status == 422 && body(&odd).contains("id=\"h-label\""), "{}", odd.show());
    let made = served.runtime().block_on(served.guard().add_app_password("anna", "pho\u{1}ne"));
    assert!(made.is_err(), "nor by the command line");
}

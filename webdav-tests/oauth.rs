//! Consents, tokens and accounts: on a whole server against a far side of a few lines.

use std::sync::Mutex;
use std::time::Duration;

use kalends::auth::{Scope, Scopes};
use serde_json::{Value, json};

use crate::dialogue::{Host as _, Request, Response, Setup, send};
use crate::host::Served;
use crate::wait::{eventually, wait_for};

pub(crate) mod peer;

use peer::Peer;

/// A server whose far sides are all one peer.
pub(crate) struct House {
    pub(crate) served: Served,
    pub(crate) token: String,
    /// What a browser that asks the API keeps: the cookies that it was handed.
    jar: Mutex<Vec<String>>,
}

impl House {
    pub(crate) fn start(config: Vec<String>) -> House {
        let served = Served::start(&Setup { config, ..Setup::default() }).unwrap();
        let token = token(&served, "anna");
        House { served, token, jar: Mutex::default() }
    }

    pub(crate) fn api(&self, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
        let answer = self.api_as(&self.token, method, path, body);
        (answer.status, serde_json::from_slice(&answer.body).unwrap_or(Value::Null))
    }

    pub(crate) fn api_as(&self, token: &str, method: &str, path: &str, body: Option<Value>) -> Response {
        let mut headers = vec![("Authorization".to_owned(), format!("Bearer {token}"))];
        if body.is_some() {
            headers.push(("Content-Type".into(), "application/json".into()));
        }
        let body = body.map(|b| b.to_string().into_bytes()).unwrap_or_default();
        let request = Request { method: method.into(), target: format!("/api/v1{path}"), headers, body };
        let answer = send(self.served.address(), &request).unwrap();
        let pairs = answer.all("set-cookie").into_iter().filter_map(|cookie| cookie.split(';').next());
        self.jar.lock().unwrap().extend(pairs.map(str::to_owned));
        answer
    }

    /// Goes where a far side sends the browser that asked.
    pub(crate) fn browser(&self, target: &str) -> Response {
        let cookies = self.jar.lock().unwrap().join("; ");
        self.as_nobody("GET", target, &[("Cookie", &cookies)], "")
    }

    /// Asks as nobody: a browser, or a far side.
    pub(crate) fn as_nobody(
        &self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Response {
        let headers = headers.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        let request =
            Request { method: method.into(), target: target.into(), headers, body: body.as_bytes().to_vec() };
        send(self.served.address(), &request).unwrap()
    }

    /// Begins to connect an account. Returns the connection's id and the state that the browser is sent away with.
    pub(crate) fn begin(&self, peer: &Peer, provider: &str, body: Value) -> (String, String) {
        let (status, made) = self.api("POST", &format!("/connections/{provider}"), Some(body));
        assert_eq!((status, &made["status"]), (201, &json!("pending")), "{made}");
        (made["id"].as_str().unwrap().to_owned(), sent_away(peer, &made))
    }

    /// Connects an account as a person does it.
    pub(crate) fn connect(&self, peer: &Peer, provider: &str) -> String {
        let (id, state) = self.begin(peer, provider, json!({}));
        let page = self.browser(&format!("/oauth/{provider}/callback?state={state}&code=good-code"));
        assert_eq!(page.status, 200, "{}", page.show());
        id
    }

    pub(crate) fn connection(&self, id: &str) -> Value {
        let (status, connection) = self.api("GET", &format!("/connections/{id}"), None);
        assert_eq!(status, 200, "{connection}");
        connection
    }
}

pub(crate) fn token(served: &Served, user: &str) -> String {
    let scopes = Scopes::from(vec![Scope::Read, Scope::Events, Scope::Bridges]);
    served.runtime().block_on(served.guard().add_token(user, "test", scopes)).unwrap().1
}

/// Reads an authorization address, gives the far side its challenge and returns the state.
fn sent_away(peer: &Peer, made: &Value) -> String {
    let url = url::Url::parse(made["authorization_url"].as_str().unwrap()).unwrap();
    let of = |name: &str| url.query_pairs().find(|(n, _)| n == name).unwrap().1.into_owned();
    assert_eq!(of("code_challenge_method"), "S256");
    assert!(of("redirect_uri").starts_with("http://127.0.0.1:"), "{url}");
    peer.far().challenge = of("code_challenge");
    of("state")
}

/// Says on the page that asks whether it is meant, if there is one, that it is; returns what comes then.
pub(crate) fn agreed(address: std::net::SocketAddr, landed: Response) -> Response {
    match question(&landed) {
        Some((action, token)) => answered(address, &action, &token, "yes"),
        None => landed,
    }
}

/// Reads the page that asks whether it is meant: where the answer goes, and what it carries.
fn question(page: &Response) -> Option<(String, String)> {
    let text = String::from_utf8_lossy(&page.body).into_owned();
    let of = |name: &str| Some(text.split(&format!("{name}=\"")).nth(1)?.split('"').next()?.to_owned());
    let token = text.split("name=\"token\"").nth(1)?.split("value=\"").nth(1)?.split('"').next()?.to_owned();
    Some((url::Url::parse(&of("action")?).ok()?.path().to_owned(), token))
}

fn answered(address: std::net::SocketAddr, action: &str, token: &str, word: &str) -> Response {
    let headers = vec![("Content-Type".to_owned(), "application/x-www-form-urlencoded".to_owned())];
    let body = format!("token={token}&answer={word}").into_bytes();
    send(address, &Request { method: "POST".into(), target: action.into(), headers, body }).unwrap()
}

fn no_secret(answer: &Response) {
    let shown = answer.show();
    assert!(!shown.contains("geheim"), "{shown}");
}

// S0-021, S1-006, S1-007, S1-008, S1-009, S1-041, S1-043, S2-064, S2-065, S3-044 … S3-046, S3-134, S3-135, S4-025
#[test]
fn a_person_consents_and_the_account_is_connected() {
    for (provider, callback) in [("google", "/oauth/google/callback"), ("outlook", "/oauth/callback")] {
        let peer = Peer::start();
        if provider == "outlook" {
            peer.far().scope = "https://graph.microsoft.com/calendars.readwrite User.Read".into();
        }
        let mut house = House::start(peer.config());
        let (id, state) = house.begin(&peer, provider, json!({"return_to": "/settings?tab=2"}));
        assert_eq!(house.connection(&id)["status"], "pending");
        assert!(peer.far().log.is_empty(), "nobody is called before a person has consented");
        // It takes a restart between the two, and another node as well: the store remembers.
        house.served.restart().unwrap();
        let back = house.browser(&format!("{callback}?state={state}&code=good-code&scope=x"));
        assert_eq!(back.status, 303, "{}", back.show());
        let location = back.all("location")[0].to_owned();
        assert!(location.ends_with(&format!("/settings?tab=2&connected={id}")), "{location}");
        no_secret(&back);
        let connection = house.connection(&id);
        assert_eq!(
            (&connection["status"], &connection["account"], &connection["message"]),
            (&json!("active"), &json!("anna@far.example"), &Value::Null),
            "{connection}"
        );
        let exchange = peer.asked("/token")[0].form();
        assert_eq!(exchange["grant_type"], "authorization_code");
        assert!(exchange["redirect_uri"].ends_with(&format!("/oauth/{provider}/callback")));
        for path in ["/connections", &format!("/connections/{id}")] {
            no_secret(&house.api_as(&house.token, "GET", path, None));
        }
        // Once and no more.
        let again = house.browser(&format!("{callback}?state={state}&code=good-code"));
        assert_eq!(again.status, 400, "{}", again.show());
        assert_eq!(peer.asked("/token").len(), 1);
        assert_eq!(house.connection(&id)["status"], "active");
        // Nobody else sees it.
        let bert = token(&house.served, "bert");
        let answer = house.api_as(&bert, "GET", &format!("/connections/{id}"), None);
        assert_eq!(answer.status, 404);
        assert_eq!(house.api_as(&bert, "POST", &format!("/connections/{id}/reconnect"), None).status, 404);
    }
}

// S3-044, Bad input: a wrong, used, old or foreign state changes nothing
#[test]
fn an_answer_that_nobody_awaits_changes_nothing() {
    let peer = Peer::start();
    let house = House::start(peer.config());
    let (id, state) = house.begin(&peer, "google", json!({}));
    for target in [
        "/oauth/google/callback?state=wrong&code=good-code".to_owned(),
        "/oauth/google/callback?code=good-code".to_owned(),
        "/oauth/callback".to_owned(),
        format!("/oauth/google/callback?state={state}x&code=good-code"),
        // Google's state at Outlook's door.
        format!("/oauth/outlook/callback?state={state}&code=good-code"),
    ] {
        let page = house.browser(&target);
        assert_eq!(page.status, 400, "{target}\n{}", page.show());
        let policy = page.all("content-security-policy")[0];
        assert!(policy.contains("default-src 'none'") && !policy.contains("script"), "{policy}");
        assert_eq!(page.all("cache-control"), ["no-store"]);
        assert!(String::from_utf8_lossy(&page.body).contains("Start again"), "{}", page.show());
    }
    // What a vendor writes is not repeated, and a HEAD uses nothing up.
    let script = "%3Cscript%3Ealert(1)%3C/script%3E";
    let no = house.browser(&format!(
        "/oauth/google/callback?state={state}&error=access_denied&error_description={script}"
    ));
    assert_eq!(no.status, 400);
    assert!(!String::from_utf8_lossy(&no.body).contains("<script"), "{}", no.show());
    let head =
        house.as_nobody("HEAD", &format!("/oauth/google/callback?state={state}&code=good-code"), &[], "");
    assert_eq!(head.status, 405);
    assert_eq!(house.connection(&id)["status"], "pending");
    assert!(peer.far().log.is_empty());
    // The right one still works after all that.
    let page = house.browser(&format!("/oauth/google/callback?state={state}&code=good-code"));
    assert_eq!(page.status, 200, "{}", page.show());
    assert!(String::from_utf8_lossy(&page.body).contains("anna@far.example"), "{}", page.show());
}

// S1-007, S3-044: who sends somebody the link does not get their calendars
#[test]
fn a_consent_in_a_browser_that_did_not_ask_waits_for_a_word() {
    let peer = Peer::start();
    let house = House::start(peer.config());
    let address = house.served.address();
    let other = house.begin(&peer, "google", json!({}));
    let (id, state) = house.begin(&peer, "google", json!({"return_to": "/settings"}));
    let target = |state: &str| format!("/oauth/google/callback?state={state}&code=good-code");
    let shown = || house.connection(&id)["status"].clone();
    // The cookie of another consent shows nothing.
    let cookies = house.jar.lock().unwrap().clone();
    assert!(cookies.len() == 2 && cookies[0] != cookies[1], "{cookies:?}");
    let (_, foreign) = cookies[0].split_once('=').unwrap();
    let (name, _) = cookies[1].split_once('=').unwrap();
    let page = house.as_nobody("GET", &target(&state), &[("Cookie", &format!("{name}={foreign}"))], "");
    assert_eq!(page.status, 200, "{}", page.show());
    let text = String::from_utf8_lossy(&page.body).into_owned();
    assert!(
        text.contains("<strong>anna@far.example</strong>") && text.contains("<strong>anna</strong>"),
        "{text}"
    );
    assert!(text.contains("see and change") && !text.contains("<script"), "{text}");
    let policy = page.all("content-security-policy")[0];
    assert!(policy.contains("default-src 'none'") && policy.contains("form-action 'self'"), "{policy}");
    assert!(policy.contains("frame-ancestors 'none'"), "{policy}");
    assert_eq!(
        (page.all("cache-control"), page.all("referrer-policy")),
        (vec!["no-store"], vec!["no-referrer"])
    );
    no_secret(&page);
    let (action, token) = question(&page).unwrap();
    assert_eq!(action, "/oauth/confirm");
    // Nothing is connected yet, and neither word opens the other's door.
    assert_eq!(shown(), "pending");
    assert_eq!(calendars(&house, &id).0, 409);
    assert_eq!(house.browser(&target(&state)).status, 400, "the state is used up");
    assert_eq!(house.browser(&target(&token)).status, 400);
    assert_eq!(answered(address, &action, &other.1, "yes").status, 400);
    assert_eq!(answered(address, &action, &token, "perhaps").status, 400);
    assert_eq!(house.as_nobody("GET", &format!("{action}?token={token}&answer=yes"), &[], "").status, 405);
    assert_eq!(shown(), "pending");
    // No: what was given goes back, and the answer is used up.
    let back = answered(address, &action, &token, "no");
    assert_eq!(back.status, 303, "{}", back.show());
    assert!(back.all("location")[0].ends_with("/settings?error=access_denied"), "{}", back.show());
    assert_eq!(peer.asked("/revoke")[0].form()["token"], "refresh-geheim-1");
    assert_eq!(answered(address, &action, &token, "yes").status, 400);
    assert_eq!(shown(), "pending");
    // Yes: as if the browser had asked.
    let wish = json!({"return_to": "/settings"});
    let (_, again) = house.api("POST", &format!("/connections/{id}/reconnect"), Some(wish));
    let page = house.as_nobody("GET", &target(&sent_away(&peer, &again)), &[], "");
    let (action, token) = question(&page).unwrap();
    let back = answered(address, &action, &token, "yes");
    assert!(back.all("location")[0].ends_with(&format!("/settings?connected={id}")), "{}", back.show());
    assert_eq!((shown(), calendars(&house, &id).0), (json!("active"), 200));
    assert_eq!(answered(address, &action, &token, "yes").status, 400, "once");
    // The browser that asked is not asked, and forgets the cookie.
    let page = house.browser(&target(&other.1));
    let name = cookies[0].split('=').next().unwrap();
    let gone = page.all("set-cookie");
    assert!(gone.len() == 1 && gone[0].starts_with(&format!("{name}=;")), "{}", page.show());
    assert_eq!(question(&page), None);
}

// S1-007: a link to an account that is connected already is no way to another one
#[test]
fn another_account_is_refused_before_anybody_is_asked() {
    let peer = Peer::start();
    let house = House::start(peer.config());
    let id = house.connect(&peer, "google");
    let (_, again) = house.api("POST", &format!("/connections/{id}/reconnect"), Some(json!({})));
    peer.far().email = "victim@far.example".into();
    let target = format!("/oauth/callback?state={}&code=good-code", sent_away(&peer, &again));
    let page = house.as_nobody("GET", &target, &[], "");
    assert!(page.status == 400 && question(&page).is_none(), "{}", page.show());
    assert!(String::from_utf8_lossy(&page.body).contains("victim@far.example"), "{}", page.show());
    assert_eq!(house.connection(&id)["account"], "anna@far.example");
}

#[test]
fn people_are_sent_back_to_this_server_only() {
    let peer = Peer::start();
    let house = House::start(peer.config());
    for wish in ["https://evil.example/", "//evil.example/x", "/\\evil.example", "javascript:alert(1)"] {
        let (status, problem) = house.api("POST", "/connections/google", Some(json!({ "return_to": wish })));
        assert_eq!((status, &problem["field"]), (422, &json!("return_to")), "{wish}: {problem}");
    }
    assert_eq!(house.api("GET", "/connections", None).1["items"], json!([]));
    // Saying no leads back too, with a word that is ours.
    let (_, state) = house.begin(&peer, "google", json!({"return_to": "/done"}));
    let back = house.browser(&format!("/oauth/callback?state={state}&error=access_denied"));
    assert_eq!(back.status, 303);
    assert!(back.all("location")[0].ends_with("/done?error=access_denied"), "{}", back.show());
}

// google.md §1: people may untick a box
#[test]
fn a_consent_that_lacks_something_says_what() {
    let peer = Peer::start();
    peer.far().scope = "https://www.googleapis.com/auth/calendar.calendarlist.readonly".into();
    let house = House::start(peer.config());
    let (id, state) = house.begin(&peer, "google", json!({}));
    let page = house.browser(&format!("/oauth/callback?state={state}&code=good-code"));
    let text = String::from_utf8_lossy(&page.body).into_owned();
    assert!(page.status == 400 && text.contains("see and change your events"), "{}", page.show());
    let connection = house.connection(&id);
    assert_eq!(connection["status"], "pending");
    assert!(connection["message"].as_str().unwrap().contains("leave all boxes ticked"), "{connection}");
}

// S0-034: before anybody is sent away they read what is asked for, what is kept, and how to withdraw
#[test]
fn what_is_asked_for_is_said_before() {
    let peer = Peer::start();
    let house = House::start(peer.config());
    for (provider, access, can, where_to) in [
        ("google", "write", "change and remove", "myaccount.google.com"),
        ("google", "read", "change none", "myaccount.google.com"),
        ("outlook", "read", "change none", "myapps.microsoft.com"),
    ] {
        let (status, made) =
            house.api("POST", &format!("/connections/{provider}"), Some(json!({"access": access})));
        assert_eq!(status, 201, "{made}");
        let told = made["disclosure"].as_str().unwrap();
        for word in [can, where_to, "sealed", "that you map", "disconnect the account here"] {
            assert!(told.contains(word), "{word}: {told}");
        }
    }
    assert!(peer.far().log.is_empty());
}

// S3-015: the same account a second time is refused, and the first one goes on
#[test]
fn an_account_is_consented_to_once() {
    let peer = Peer::start();
    let house = House::start(peer.config());
    let first = house.connect(&peer, "google");
    let (second, state) = house.begin(&peer, "google", json!({}));
    let back = house.browser(&format!("/oauth/google/callback?state={state}&code=good-code"));
    let page = String::from_utf8_lossy(&back.body).into_owned();
    assert!(page.contains("connected already"), "{}", back.show());
    let shown = house.connection(&second);
    assert_eq!(shown["status"], "pending", "{shown}");
    assert!(shown["message"].as_str().unwrap().contains(&first), "{shown}");
    // Its consent is the same one over there: nothing was given back, and the first account goes on.
    assert!(peer.asked("/revoke").is_empty());
    assert_eq!(house.connection(&first)["status"], "active");
    assert_eq!(house.api("GET", &format!("/connections/{first}/calendars"), None).0, 200);
    assert_eq!(house.api("DELETE", &format!("/connections/{second}"), None).0, 204);
    assert!(peer.asked("/revoke").is_empty(), "nor when what came of it is removed");
    assert_eq!(house.connection(&first)["status"], "active");
}

// S1-049, S2-100, S3-130: one click, the same connection
#[test]
fn reconnecting_keeps_the_connection_and_its_account() {
    let peer = Peer::start();
    let house = House::start(peer.config());
    let id = house.connect(&peer, "google");
    let (status, again) =
        house.api("POST", &format!("/connections/{id}/reconnect"), Some(json!({"return_to": "/x"})));
    assert_eq!((status, &again["id"], &again["status"]), (200, &json!(id), &json!("active")), "{again}");
    let hint = again["authorization_url"].as_str().unwrap();
    assert!(hint.contains("login_hint=anna%40far.example"), "{hint}");
    let state = sent_away(&peer, &again);
    // Somebody who is signed in as another account over there does not take this one over.
    peer.far().email = "other@far.example".into();
    let back = house.browser(&format!("/oauth/callback?state={state}&code=good-code"));
    assert!(back.all("location")[0].ends_with("/x?error=refused"), "{}", back.show());
    assert_eq!(house.connection(&id)["account"], "anna@far.example");
    peer.far().email = "anna@far.example".into();
    let (_, again) = house.api("POST", &format!("/connections/{id}/reconnect"), Some(json!({})));
    let state = sent_away(&peer, &again);
    let page = house.browser(&format!("/oauth/callback?state={state}&code=good-code"));
    assert_eq!(page.status, 200, "{}", page.show());
    assert_eq!(house.api("GET", "/connections", None).1["items"].as_array().unwrap().len(), 1);
    let (status, problem) =
        house.api("POST", &format!("/connections/{id}/reconnect"), Some(json!({"password": "x"})));
    assert_eq!(status, 422, "{problem}");
}

// S1-010, S3-136, S3-116: the consent is given back, and nothing is left
#[test]
fn disconnecting_gives_the_consent_back_and_leaves_nothing() {
    let peer = Peer::start();
    let mut house = House::start(peer.config());
    let id = house.connect(&peer, "google");
    let (status, _) = house.api("DELETE", &format!("/connections/{id}?events=perhaps"), None);
    assert_eq!(status, 422);
    assert_eq!(house.api("DELETE", &format!("/connections/{id}"), None).0, 204);
    let given_back = peer.asked("/revoke");
    assert_eq!(given_back.len(), 1);
    assert_eq!(given_back[0].form()["token"], "refresh-geheim-1");
    assert_eq!(house.api("GET", &format!("/connections/{id}"), None).0, 404);
    // A far side that is not there keeps nobody.
    let id = house.connect(&peer, "google");
    peer.far().refuses = Some((503, "{}".into()));
    assert_eq!(house.api("DELETE", &format!("/connections/{id}"), None).0, 204);
    house.served.stop();
    let store = kalends::store::Sled::open(house.served.directory().join("db"), Default::default()).unwrap();
    let store: &dyn kalends::store::Store = &store;
    use kalends::store::Table;
    for table in [Table::Connection, Table::Secret, Table::Consent, Table::Channel, Table::Mapping] {
        let left = house.served.runtime().block_on(store.records(table, "", None, 10)).unwrap();
        assert!(left.is_empty(), "{table:?}: {left:?}");
    }
}

// S0-031, S1-008, S1-043, S1-075, S2-009, S2-097, S3-004, S3-033, S3-163, S3-012, S3-023
#[test]
fn no_token_lies_open_in_the_store() {
    let peer = Peer::start();
    let mut house = House::start(peer.config());
    house.connect(&peer, "google");
    house.begin(&peer, "google", json!({}));
    house.served.stop();
    let mut files = 0;
    for entry in std::fs::read_dir(house.served.directory().join("db")).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            files += 1;
            let bytes = std::fs::read(&path).unwrap();
            assert!(!bytes.windows(6).any(|w| w == b"geheim"), "{}", path.display());
        }
    }
    assert!(files > 0);
}

// Issue 3, section 2: no outbound call before a provider is configured
#[test]
fn a_server_without_a_provider_calls_nobody() {
    let peer = Peer::start();
    // All addresses lead here, but there is no client.
    let config = peer.config().into_iter().filter(|line| !line.starts_with("client_")).collect();
    let house = House::start(config);
    for provider in ["google", "outlook"] {
        let (status, problem) = house.api("POST", &format!("/connections/{provider}"), Some(json!({})));
        assert_eq!((status, &problem["field"]), (422, &json!("provider")), "{problem}");
        assert!(problem["detail"].as_str().unwrap().contains("not set up"), "{problem}");
    }
    assert_eq!(house.api("GET", "/connections", None).1["items"], json!([]));
    assert_eq!(house.api("POST", "/sync", None), (202, json!({"runs": []})));
    assert_eq!(house.as_nobody("GET", "/oauth/callback?state=x&code=y", &[], "").status, 400);
    assert!(peer.far().log.is_empty(), "{:?}", peer.far().log);
}

// Bad input: each connection error is a plain sentence with what to do next
#[test]
fn connection_errors_are_sentences() {
    let peer = Peer::start();
    let house = House::start(peer.config());
    for (path, body, field, words) in [
        ("/connections", json!({}), "provider", "Name the provider"),
        (
            "/connections/caldav",
            json!({"username": "a", "password": "geheim"}),
            "url",
            "address of the CalDAV server",
        ),
        ("/connections/caldav", json!({"url": "x.example", "password": "geheim"}), "username", "user name"),
        ("/connections/caldav", json!({"url": "x.example", "username": "a"}), "password", "password"),
        ("/connections/google", json!({"password": "geheim"}), "password", "without `password`"),
        ("/connections/ics", json!({"url": "https://a:geheim@x.example/"}), "url", "user name"),
        ("/connections/ics", json!({"url": "geheim"}), "url", "address"),
        (
            "/connections/icloud",
            json!({"username": "a", "password": "geheim", "return_to": "/"}),
            "return_to",
            "without",
        ),
    ] {
        let (status, problem) = house.api("POST", path, Some(body));
        assert_eq!((status, &problem["field"]), (422, &json!(field)), "{path}: {problem}");
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains(words) && !detail.contains("geheim"), "{path}: {detail}");
    }
    // A server that is not set up as the vendor wants it says who can help.
    peer.far().refuses = Some((401, json!({"error": "invalid_client"}).to_string()));
    let (_, state) = house.begin(&peer, "google", json!({}));
    let page = house.browser(&format!("/oauth/callback?state={state}&code=good-code"));
    assert!(page.show().contains("providers.google.client_id"), "{}", page.show());
    no_secret(&page);
}

// S1-026, S2-045, S3-084, S3-085
#[test]
fn icloud_asks_for_an_app_specific_password() {
    // The real one is never called with a password that cannot be right.
    let house = House::start(Vec::new());
    let body = json!({"username": "anna@icloud.example", "password": "Sommer2026"});
    let (status, problem) = house.api("POST", "/connections/icloud", Some(body));
    assert_eq!((status, &problem["field"]), (422, &json!("password")), "{problem}");
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains("app-specific") && detail.contains("account.apple.com"), "{detail}");
    assert!(!detail.contains("Sommer2026"));
    // One of the right shape that is refused over there.
    let peer = Peer::start();
    let house = House::start(peer.config());
    let body = json!({"username": "anna@icloud.example", "password": "abcd-efgh-ijkl-mnop"});
    let (status, problem) = house.api("POST", "/connections/icloud", Some(body));
    assert_eq!(status, 422, "{problem}");
    assert!(problem["detail"].as_str().unwrap().contains("app-specific"), "{problem}");
    assert!(!peer.asked("/icloud").is_empty());
}

// S3-092, S3-100, E27: an interface that is not official is offered with a word of warning, or not at all
#[test]
fn cozi_can_be_switched_off() {
    let peer = Peer::start();
    let mut config = peer.config();
    config.push("state = \"off\"".into());
    let house = House::start(config);
    let (status, problem) =
        house.api("POST", "/connections/cozi", Some(json!({"username": "a@x", "password": "geheim"})));
    assert_eq!((status, &problem["field"]), (422, &json!("provider")), "{problem}");
    assert!(problem["detail"].as_str().unwrap().contains("switched off"), "{problem}");
    assert!(peer.far().log.is_empty());
}

pub(crate) fn feed(titles: &[&str]) -> String {
    let mut text = String::from("BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//test//EN\r\n");
    // Within every window.
    let day = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).date().strftime("%Y%m%d").to_string();
    for title in titles {
        text.push_str(&format!(
            "BEGIN:VEVENT\r\nUID:{title}@x\r\nDTSTAMP:20260101T000000Z\r\nDTSTART:{day}T090000Z\r\n\
             DTEND:{day}T100000Z\r\nSUMMARY:{title}\r\nEND:VEVENT\r\n"
        ));
    }
    text + "END:VCALENDAR\r\n"
}

/// Connects the peer's feed and maps anna's calendar to it. Returns connection and mapping.
pub(crate) fn mapped_feed(house: &House, peer: &Peer, titles: &[&str]) -> (String, String) {
    peer.far().feed = feed(titles);
    let url = format!("http://{}/feed.ics?key=geheim", peer.address);
    let (status, made) = house.api("POST", "/connections/ics", Some(json!({ "url": url })));
    assert_eq!((status, &made["status"]), (201, &json!("active")), "{made}");
    assert!(!made.to_string().contains("geheim"), "{made}");
    let id = made["id"].as_str().unwrap().to_owned();
    let (_, remote) = house.api("GET", &format!("/connections/{id}/calendars"), None);
    assert!(!remote.to_string().contains("geheim"), "{remote}");
    let (_, own) = house.api("GET", "/calendars", None);
    let own = own["items"].as_array().unwrap().iter().find(|c| c["name"] == "calendar").unwrap().clone();
    let wish = json!({"calendar": own["id"], "connection": id, "remote_calendar": remote["items"][0]["id"],
        "direction": "pull", "window_past": "all", "window_future": "all"});
    let (status, mapping) = house.api("POST", "/mappings", Some(wish));
    assert_eq!(status, 201, "{mapping}");
    (id, mapping["id"].as_str().unwrap().to_owned())
}

/// Follows a run to its end.
pub(crate) fn follow(house: &House, run: &str) -> Value {
    let look = || {
        let (status, run) = house.api("GET", &format!("/runs/{run}"), None);
        assert_eq!(status, 200, "{run}");
        run
    };
    wait_for("the end of a run", look, |run| run["status"] != "running")
}

/// How many objects anna's calendar holds.
pub(crate) fn objects(house: &House) -> usize {
    let bearer = format!("Bearer {}", house.token);
    let headers = [("Authorization", bearer.as_str()), ("Depth", "1")];
    let list = house.as_nobody("PROPFIND", "/dav/calendars/anna/calendar/", &headers, "");
    assert_eq!(list.status, 207, "{}", list.show());
    String::from_utf8_lossy(&list.body).matches(".ics</").count()
}

// S1-010: what is asked for becomes of the copies
#[test]
fn mirrored_events_stay_or_go_with_their_account() {
    for (wish, left) in [("?events=keep", 2), ("?events=remove", 0)] {
        let peer = Peer::start();
        let mut config = peer.config();
        config.extend(["[bridge]".into(), "allow_private = true".into()]);
        let house = House::start(config);
        let (id, mapping) = mapped_feed(&house, &peer, &["one", "two"]);
        let (status, asked) = house.api("POST", &format!("/mappings/{mapping}/sync"), None);
        assert_eq!(status, 202, "{asked}");
        let run = follow(&house, asked["run"].as_str().unwrap());
        assert_eq!(run["status"], "success", "{run}");
        assert_eq!(objects(&house), 2);
        assert_eq!(house.api("DELETE", &format!("/connections/{id}{wish}"), None).0, 204);
        assert_eq!(objects(&house), left, "{wish}");
        let (_, trash) = house.api("GET", "/trash", None);
        assert_eq!(trash["items"].as_array().map(Vec::len), Some(2 - left), "{trash}");
        assert_eq!(house.api("GET", "/mappings", None).1["items"], json!([]));
    }
}

// S1-069, S3-052, S3-118, E17, S3-102, S3-139: a number that is set holds for programs too; a running pass is joined
#[test]
fn asking_by_hand_has_a_limit() {
    let peer = Peer::start();
    let mut config = peer.config();
    config.extend(["[bridge]".into(), "allow_private = true".into()]);
    config.extend(["[limits]".into(), "manual_sync = 2".into()]);
    let house = House::start(config);
    let (id, mapping) = mapped_feed(&house, &peer, &["one"]);
    let asked = |path: &str| house.api_as(&house.token, "POST", path, None);
    let path = format!("/mappings/{mapping}");
    let look = || {
        // Whoever joins a pass that runs is not counted, and begins the next one.
        eventually("rest", || house.api("GET", &path, None).1["status"] != "syncing");
        asked(&format!("{path}/sync"))
    };
    let last = wait_for("the limit", look, |last| last.status == 429);
    assert_eq!(last.status, 429, "{}", last.show());
    let wait: u64 = last.all("retry-after")[0].parse().unwrap();
    assert!((1..=3600).contains(&wait), "{wait}");
    assert_eq!(asked(&format!("/connections/{id}/sync")).status, 429);
    assert_eq!(asked("/sync?provider=ics").status, 429);
    assert_eq!(house.api("POST", "/sync?provider=google", None), (202, json!({"runs": []})));
    assert_eq!(asked("/sync?provider=fax").status, 422);
}

// E17: a word on deletions that wait begins a pass and counts as asking for one; what is refused changes nothing
#[test]
fn confirming_counts_as_asking_by_hand() {
    let peer = Peer::start();
    let mut config = peer.config();
    config.extend(["[bridge]".into(), "allow_private = true".into()]);
    config.extend(["[limits]".into(), "manual_sync = 3".into()]);
    let house = House::start(config);
    let (_, mapping) = mapped_feed(&house, &peer, &["one", "two", "three"]);
    let path = format!("/mappings/{mapping}");
    let until = |status: &str| {
        wait_for(status, || house.api("GET", &path, None).1, |mapping| mapping["status"] == status);
    };
    until("active");
    // Nothing waits: the word begins nothing and costs nothing.
    for _ in 0..5 {
        assert_eq!(house.api("PATCH", &path, Some(json!({"confirm": true}))).0, 200);
    }
    peer.far().feed = feed(&[]);
    let sync = |body: Option<Value>| house.api("POST", &format!("{path}/sync"), body);
    let (status, asked) = sync(None);
    assert_eq!(status, 202, "{asked}");
    follow(&house, asked["run"].as_str().unwrap());
    until("paused");
    let mut last = sync(None);
    while last.0 == 202 {
        follow(&house, last.1["run"].as_str().unwrap());
        last = sync(None);
    }
    assert_eq!(last.0, 429, "{}", last.1);
    let (status, problem) = house.api("PATCH", &path, Some(json!({"confirm": true, "fields": "core"})));
    assert_eq!(status, 429, "{problem}");
    let (_, shown) = house.api("GET", &path, None);
    assert_eq!((&shown["fields"], &shown["status"]), (&json!("standard"), &json!("paused")), "{shown}");
    assert_eq!(sync(Some(json!({"confirm": true}))).0, 429);
    assert_eq!(objects(&house), 3, "nothing was removed");
}

fn calendars(house: &House, id: &str) -> (u16, Value) {
    house.api("GET", &format!("/connections/{id}/calendars"), None)
}

fn refreshes(peer: &Peer) -> Vec<String> {
    let all = peer.asked("/token").into_iter().map(|asked| asked.form());
    all.filter(|form| form["grant_type"] == "refresh_token")
        .map(|form| form["refresh_token"].clone())
        .collect()
}

// S1-044, S1-076, S2-099, S3-172: ahead of the end, and when a call is refused
#[test]
fn tokens_are_fetched_anew_before_they_end_and_when_they_are_refused() {
    let peer = Peer::start();
    peer.far().life = 200;
    let house = House::start(peer.config());
    let id = house.connect(&peer, "google");
    assert_eq!(calendars(&house, &id).0, 200);
    assert_eq!(refreshes(&peer), ["refresh-geheim-1"], "it would have ended within five minutes");
    peer.far().life = 3599;
    assert_eq!(calendars(&house, &id).0, 200);
    assert_eq!(calendars(&house, &id).0, 200);
    assert_eq!(refreshes(&peer).len(), 2, "a token that lasts is used again");
    peer.far().access.clear();
    let (status, found) = calendars(&house, &id);
    assert_eq!((status, &found["items"][0]["primary"]), (200, &json!(true)), "{found}");
    assert_eq!(refreshes(&peer).len(), 3, "one that is refused is replaced, once, and the call made again");
    assert_eq!(house.connection(&id)["status"], "active");
}

#[test]
fn one_token_is_fetched_for_all_who_need_one() {
    let peer = Peer::start();
    let house = House::start(peer.config());
    let id = house.connect(&peer, "google");
    peer.far().access.clear();
    peer.far().slow = Duration::from_millis(50);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| assert_eq!(calendars(&house, &id).0, 200));
        }
    });
    assert_eq!(refreshes(&peer).len(), 1);
}

// E33, S3-034, S4-012: a rotated token is on disk before it is used; an answer that is lost costs no consent
#[test]
fn rotated_tokens_survive_restarts_and_lost_answers() {
    let peer = Peer::start();
    peer.far().rotates = true;
    let mut house = House::start(peer.config());
    let id = house.connect(&peer, "google");
    peer.far().access.clear();
    assert_eq!(calendars(&house, &id).0, 200);
    house.served.restart().unwrap();
    peer.far().access.clear();
    assert_eq!(calendars(&house, &id).0, 200);
    assert_eq!(refreshes(&peer), ["refresh-geheim-1", "refresh-geheim-2"]);
    peer.far().access.clear();
    peer.far().loses = true;
    let (status, problem) = calendars(&house, &id);
    assert_eq!(status, 422, "{problem}");
    assert_eq!(house.connection(&id)["status"], "error", "a broken line is no lost consent");
    assert_eq!(calendars(&house, &id).0, 200);
    assert_eq!(refreshes(&peer)[2..], ["refresh-geheim-3", "refresh-geheim-3"]);
    assert_eq!(house.connection(&id)["status"], "active");
}

// S1-049, S2-100, S3-025, S3-130: withdrawn is not the same as not reachable
#[test]
fn a_withdrawn_consent_asks_for_a_new_one_and_a_failing_vendor_does_not() {
    let peer = Peer::start();
    let house = House::start(peer.config());
    let id = house.connect(&peer, "google");
    peer.far().access.clear();
    peer.far().refuses = Some((503, "<html>".into()));
    assert_eq!(calendars(&house, &id).0, 422);
    let connection = house.connection(&id);
    assert_eq!(connection["status"], "error", "{connection}");
    peer.far().refuses = Some((400, json!({"error": "temporarily_unavailable"}).to_string()));
    assert_eq!(calendars(&house, &id).0, 422);
    assert_eq!(house.connection(&id)["status"], "error");
    peer.far().refuses = None;
    assert_eq!(calendars(&house, &id).0, 200);
    peer.far().revoke_all();
    let (status, problem) = calendars(&house, &id);
    assert_eq!(
        (status, problem["type"].as_str().unwrap().ends_with("/not-accepted")),
        (422, true),
        "{problem}"
    );
    let connection = house.connection(&id);
    assert_eq!(connection["status"], "token_expired", "{connection}");
    let words = connection["message"].as_str().unwrap();
    assert!(words.contains("Connect anna@far.example again"), "{words}");
    no_secret(&house.api_as(&house.token, "GET", &format!("/connections/{id}"), None));
    let (_, again) = house.api("POST", &format!("/connections/{id}/reconnect"), Some(json!({})));
    let state = sent_away(&peer, &again);
    let page = house.browser(&format!("/oauth/callback?state={state}&code=good-code"));
    assert_eq!(page.status, 200, "{}", page.show());
    assert_eq!(house.connection(&id)["status"], "active");
    assert_eq!(calendars(&house, &id).0, 200);
}

//! What all simulators have in common: faults, the log, notifications, TLS, control from outside.

use std::sync::{Arc, Mutex};

use kalends::sim::{
    Act, Answer, Answering, Fault, Manners, Point, Request, Rule, Running, Scene, World, google::Google,
};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{Client, NOW, start};

const EVENTS: &str = "/calendar/v3/calendars/primary/events";

struct Far {
    server: Running,
    client: Client,
}

async fn far() -> Far {
    let google = Arc::new(Google::new());
    let token = google.grant("client", "calendar", NOW).access;
    let server = start(google, |options| options.control = true).await;
    let client = Client::new(&server, Some(token));
    Far { server, client }
}

fn event(id: &str) -> Value {
    json!({ "id": id, "summary": "a", "start": { "date": "2026-03-02" }, "end": { "date": "2026-03-03" } })
}

impl Far {
    async fn insert(&self, id: &str) -> u16 {
        self.client.ask("POST", EVENTS, event(id)).await.status
    }

    async fn items(&self) -> Vec<Value> {
        self.client.get(EVENTS).await.json()["items"].as_array().unwrap().clone()
    }
}

#[tokio::test]
async fn a_lost_answer_is_not_a_lost_request() {
    let far = far().await;
    far.server.fault(Rule::on("POST", "*/events", Fault::DropBeforeApply));
    assert!(far.client.attempt("POST", EVENTS, &[], event("aaaaa").to_string()).await.is_err());
    assert_eq!(far.items().await.len(), 0);
    assert_eq!(far.insert("aaaaa").await, 200);
    far.server.fault(Rule::on("POST", "*/events", Fault::DropAfterApply));
    assert!(far.client.attempt("POST", EVENTS, &[], event("bbbbb").to_string()).await.is_err());
    assert_eq!(far.items().await.len(), 2);
    assert_eq!(far.insert("bbbbb").await, 409);
    let log = far.server.log().entries();
    let told: Vec<(&str, u16, u32)> =
        log.iter().map(|entry| (entry.method.as_str(), entry.status, entry.wrote)).collect();
    let want = [
        ("POST", 0, 0),
        ("GET", 200, 0),
        ("POST", 200, 1),
        ("POST", 0, 1),
        ("GET", 200, 0),
        ("POST", 409, 0),
    ];
    assert_eq!(told, want);
    assert_eq!(far.server.log().writes(), 2);
}

#[tokio::test]
async fn answers_are_replaced_throttled_and_cut() {
    let far = far().await;
    let headers = [("retry-after".to_owned(), "7".to_owned())].into();
    let status = Fault::Status { code: 503, body: None, text: Some("<p>later</p>".into()), headers };
    far.server.fault(Rule::on("*", "*", status).times(2).after(1));
    assert_eq!(far.insert("aaaaa").await, 200);
    assert_eq!(far.insert("bbbbb").await, 503);
    let told = far.client.get(EVENTS).await;
    assert_eq!((told.status, told.header("retry-after"), told.text.as_str()), (503, "7", "<p>later</p>"));
    far.server.fault(Rule::on("*", "*", Fault::Throttle { retry_after: Some(3) }));
    let told = far.client.get(EVENTS).await;
    assert_eq!(
        (told.status, told.header("retry-after"), told.reason().as_str()),
        (429, "3", "rateLimitExceeded")
    );
    far.server.fault(Rule::on("*", "*", Fault::Throttle { retry_after: None }));
    let told = far.client.get(EVENTS).await;
    assert_eq!((told.status, told.reason().as_str()), (403, "userRateLimitExceeded"));
    far.server.fault(Rule::on("*", "*", Fault::CutBody { bytes: 10 }));
    assert!(far.client.attempt("GET", EVENTS, &[], "").await.is_err());
    assert_eq!(far.items().await.len(), 1);
}

#[tokio::test]
async fn pages_are_bent() {
    let far = far().await;
    for id in ["aaaaa", "bbbbb", "ccccc"] {
        far.insert(id).await;
    }
    for (fault, want) in
        [(Fault::TruncatePage { keep: 2 }, 2), (Fault::DupPageItem, 4), (Fault::EmptyPage, 0)]
    {
        far.server.fault(Rule::on("GET", "*/events", fault.clone()));
        let page = far.client.get(EVENTS).await.json();
        assert_eq!(page["items"].as_array().unwrap().len(), want, "{fault:?}");
        assert!(page["nextSyncToken"].is_string());
    }
    assert_eq!(far.items().await.len(), 3);
}

#[tokio::test]
async fn a_request_is_held_before_and_after_it_is_carried_out() {
    let far = far().await;
    for (id, at, there) in [("aaaaa", Point::Before, 0), ("bbbbb", Point::After, 2)] {
        let paused = far.server.pause("POST", EVENTS, at);
        let client = far.client.clone();
        let body = event(id);
        let asked = tokio::spawn(async move { client.ask("POST", EVENTS, body).await.status });
        paused.reached().await;
        assert_eq!(far.items().await.len(), there);
        assert!(!asked.is_finished());
        paused.go();
        assert_eq!(asked.await.unwrap(), 200);
    }
    assert_eq!(far.server.log().most_at_once(), 2);
}

#[tokio::test]
async fn somebody_else_is_quicker() {
    let far = far().await;
    far.insert("aaaaa").await;
    let before = far.client.get(&format!("{EVENTS}/aaaaa")).await;
    let act = Act::EditElsewhere {
        calendar: "primary".into(),
        id: "aaaaa".into(),
        patch: json!({ "summary": "theirs" }),
    };
    far.server.fault(Rule::on("PATCH", "*", Fault::Act { act }));
    let etag = before.header("etag").to_owned();
    let headers = [("if-match", etag.as_str())];
    let patch = json!({ "summary": "ours" }).to_string();
    let told = far.client.attempt("PATCH", &format!("{EVENTS}/aaaaa"), &headers, patch).await.unwrap();
    assert_eq!((told.status, told.reason().as_str()), (412, "conditionNotMet"));
    assert_eq!(far.items().await[0]["summary"], "theirs");
    let gone = Act::DeleteElsewhere { calendar: "primary".into(), id: "aaaaa".into() };
    far.server.act(&gone).unwrap();
    assert!(far.server.act(&gone).is_err());
    let made = Act::CreateElsewhere { calendar: "primary".into(), object: event("bbbbb") };
    assert_eq!(far.server.act(&made).unwrap()["id"], "bbbbb");
    assert_eq!(far.items().await.len(), 1);
}

#[tokio::test]
async fn the_script_is_written_from_outside() {
    let far = far().await;
    let sim = |method: &'static str, path: &'static str, body: Value| {
        let client = far.client.clone();
        async move { client.ask(method, &format!("/_sim/{path}"), body).await }
    };
    let rule = json!({ "method": "GET", "path": "*/events", "fault": "status", "code": 500 });
    assert_eq!(sim("POST", "rules", rule).await.status, 200);
    assert_eq!(sim("GET", "rules", Value::Null).await.json()["rules"][0]["code"], 500);
    assert_eq!(far.client.get(EVENTS).await.status, 500);
    let wrong = sim("POST", "rules", json!({ "fault": "unheard_of" })).await;
    assert_eq!(wrong.status, 400);
    assert!(wrong.json()["error"].as_str().unwrap().contains("unheard_of"));

    let held = json!({ "method": "POST", "path": "*/events", "fault": "hold", "at": "before", "name": "x" });
    sim("POST", "rules", held).await;
    let client = far.client.clone();
    let asked = tokio::spawn(async move { client.ask("POST", EVENTS, event("aaaaa")).await.status });
    assert_eq!(sim("GET", "held/x", Value::Null).await.status, 200);
    assert!(!asked.is_finished());
    sim("POST", "held/x", Value::Null).await;
    assert_eq!(asked.await.unwrap(), 200);

    let told = sim("POST", "act", json!({ "act": "clock", "advance": 5000 })).await;
    assert_eq!(told.json()["now"], NOW + 5000);
    let told = sim("GET", "", Value::Null).await.json();
    assert_eq!((&told["kind"], &told["requests"], &told["writes"]), (&json!("google"), &json!(2), &json!(1)));
    let log = sim("GET", "requests", Value::Null).await.json();
    assert_eq!(log["requests"][1]["path"], EVENTS);
    assert!(!log.to_string().contains(far.client.token.as_ref().unwrap()));
    sim("DELETE", "requests", Value::Null).await;
    assert_eq!(far.server.log().count(), 0);

    // Without leave, nobody scripts.
    let plain = start(Arc::new(Google::new()), |_| {}).await;
    let told = Client::new(&plain, None).ask("POST", "/_sim/act", json!({ "act": "revoke_grant" })).await;
    assert_eq!(told.status, 401);
}

#[tokio::test]
async fn the_same_seed_is_the_same_story() {
    let mut stories = Vec::new();
    for seed in [7, 7, 8] {
        let google = Arc::new(Google::new());
        let token = google.grant("client", "calendar", NOW).access;
        google.fill(20, seed, NOW);
        let server = start(google, |options| options.seed = seed).await;
        let client = Client::new(&server, Some(token));
        server.fault(Rule::on("GET", "*", Fault::EmptyPage).times(0).chance(0.5));
        let mut story = Vec::new();
        for _ in 0..12 {
            story.push(client.get(EVENTS).await.text);
        }
        server.stop().await;
        stories.push(story);
    }
    assert!(stories[0] == stories[1]);
    assert!(stories[0] != stories[2]);
}

/// Keeps what it is told.
#[derive(Debug, Default)]
struct Inbox(Mutex<Vec<(String, String)>>);

impl World for Inbox {
    fn kind(&self) -> &'static str {
        "inbox"
    }

    fn answer<'a>(&'a self, request: Request, _: &'a Scene) -> Answering<'a> {
        let told = |name: &str| request.header(name).unwrap_or_default().to_owned();
        let number = told("x-goog-message-number");
        self.0.lock().unwrap().push((told("x-goog-resource-state"), number));
        Box::pin(async { Answer::empty(200) })
    }

    fn act(&self, _: &Act, _: &Scene) -> Result<Value, String> {
        Err("an inbox does nothing".into())
    }

    fn throttled(&self, _: Option<u64>) -> Answer {
        Answer::empty(429)
    }
}

#[tokio::test]
async fn notifications_are_lost_doubled_late_and_out_of_order() {
    let far = far().await;
    let inbox = Arc::new(Inbox::default());
    let hook = start(Arc::clone(&inbox) as Arc<dyn World>, |_| {}).await;
    let channel = json!({ "id": "c1", "type": "web_hook", "address": format!("{}/hook", hook.url()) });
    assert_eq!(far.client.ask("POST", &format!("{EVENTS}/watch"), channel).await.status, 200);
    let post = &far.server.scene().post;
    let told = || async {
        post.idle().await;
        std::mem::take(&mut *inbox.0.lock().unwrap())
    };
    assert_eq!(told().await, [("sync".to_owned(), "1".to_owned())]);
    post.manners(Manners { loss: 1.0, ..Manners::default() });
    far.insert("aaaaa").await;
    assert!(told().await.is_empty());
    post.manners(Manners { dup: 1.0, ..Manners::default() });
    far.insert("bbbbb").await;
    let twice = told().await;
    assert_eq!(twice.len(), 2);
    assert_eq!(twice[0], twice[1]);
    post.manners(Manners { reorder: 1.0, ..Manners::default() });
    far.insert("ccccc").await;
    assert!(told().await.is_empty());
    far.insert("ddddd").await;
    let late: Vec<u64> = told().await.iter().map(|(_, number)| number.parse().unwrap()).collect();
    assert_eq!(late.len(), 2);
    assert!(late[0] > late[1], "{late:?}");
    // One whose receiver has trouble is offered again.
    post.manners(Manners::default());
    let trouble = Fault::Status { code: 503, body: None, text: None, headers: Default::default() };
    hook.fault(Rule::on("POST", "*", trouble));
    far.insert("eeeee").await;
    assert_eq!(told().await.len(), 1);
    assert_eq!(hook.log().entries().iter().filter(|entry| entry.status == 503).count(), 1);
}

#[tokio::test]
async fn one_port_takes_plain_http_and_tls() {
    let tls = kalends::sim::Tls {
        certificate: include_bytes!("localhost.pem").to_vec(),
        key: include_bytes!("localhost.key.pem").to_vec(),
    };
    let server = start(Arc::new(Google::new()), |options| options.tls = Some(tls)).await;
    assert_eq!(Client::new(&server, None).get("/nothing").await.status, 401);

    let mut roots = rustls::RootCertStore::empty();
    use rustls::pki_types::pem::PemObject as _;
    roots
        .add(rustls::pki_types::CertificateDer::from_pem_slice(include_bytes!("localhost.pem")).unwrap())
        .unwrap();
    let ring = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(ring)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = tokio::net::TcpStream::connect(server.address()).await.unwrap();
    let name = "localhost".try_into().unwrap();
    let mut stream = tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap();
    stream.write_all(b"GET /nothing HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut text = Vec::new();
    let _ = stream.read_to_end(&mut text).await;
    assert!(String::from_utf8_lossy(&text).starts_with("HTTP/1.1 401"));
}

#[tokio::test]
async fn the_command_plays_each_of_them() {
    use std::io::BufRead as _;
    for kind in ["google", "outlook", "cozi"] {
        let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_kalends"))
            .args(["simulate", kind, "--control", "--events", "3", "--seed", "4", "--latency", "1ms"])
            .env_clear()
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        std::io::BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let base = line.trim().rsplit(' ').next().unwrap().to_owned();
        let fetch = kalends::http::fetch::Fetch::new(
            kalends::http::fetch::Private::Allowed,
            kalends::http::fetch::Timeouts::default(),
        );
        let client = Client { fetch: fetch.unwrap(), base, token: None };
        assert_eq!(client.get("/_sim/").await.json()["kind"], kind);
        let ended = std::process::Command::new("kill").arg(child.id().to_string()).status().unwrap();
        assert!(ended.success() && child.wait().unwrap().success());
    }
    let wrong = std::process::Command::new(env!("CARGO_BIN_EXE_kalends"))
        .args(["simulate", "google", "--latency", "soon"])
        .output()
        .unwrap();
    assert!(!wrong.status.success());
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("no time like 50ms or 2s"));
}

//! The laws of syncing end to end: the program itself, real HTTP, simulated far sides, kill -9 at named points.
//!
//! After every kill the program starts again by itself and both sides agree; nothing is lost, doubled or brought back, and
//! one more pass writes nothing (S4-006, S1-062, S3-162).

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use base64::Engine as _;
use kalends::sim::{self, Act, Point, Running};
use serde_json::{Value, json};

use crate::dialogue::{Request, Response, send};

const PASSWORD: &str = "correct horse battery";

/// The program with a store of its own; killed and started again it is the same.
pub(crate) struct Program {
    place: tempfile::TempDir,
    variables: Vec<(String, String)>,
    token: String,
    child: Option<Child>,
    address: SocketAddr,
}

impl Program {
    fn new(variables: Vec<(String, String)>) -> Program {
        let place = tempfile::tempdir().unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut program = Program { place, variables, token: String::new(), child: None, address };
        let mut add = program.command(&["user", "add", "anna", "--password-stdin"]);
        let mut add = add.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        add.stdin.take().unwrap().write_all(format!("{PASSWORD}\n").as_bytes()).unwrap();
        assert!(add.wait().unwrap().success());
        let scopes = ["token", "add", "anna", "test", "--scope", "read,events,bridges"];
        let made = program.command(&scopes).output().unwrap();
        let made = String::from_utf8(made.stdout).unwrap();
        program.token = made.split_whitespace().last().unwrap().to_owned();
        program.start();
        program
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kalends"));
        command.args(arguments).current_dir(self.place.path()).env_clear();
        command.env("KALENDS_STORE__URL", format!("sled:{}/data/db", self.place.path().display()));
        command.envs(self.variables.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        command
    }

    fn start(&mut self) {
        let mut command = self.command(&["serve", "--listen", "127.0.0.1:0"]);
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let (tell, told) = mpsc::channel();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                if let Some((_, address)) = line.split_once("listening on ") {
                    let end = address.find([')', '"']).unwrap_or(address.len());
                    let _ = tell.send(address[..end].to_owned());
                }
            }
        });
        self.address = told.recv_timeout(Duration::from_secs(60)).unwrap().parse().unwrap();
        self.child = Some(child);
    }

    /// SIGKILL.
    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    pub(crate) fn api(&self, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
        let mut headers = vec![("Authorization".to_owned(), format!("Bearer {}", self.token))];
        if body.is_some() {
            headers.push(("Content-Type".into(), "application/json".into()));
        }
        let body = body.map(|b| b.to_string().into_bytes()).unwrap_or_default();
        let target = format!("/api/v1{path}");
        let answer = send(self.address, &Request { method: method.into(), target, headers, body }).unwrap();
        (answer.status, serde_json::from_slice(&answer.body).unwrap_or(Value::Null))
    }

    pub(crate) fn dav(&self, method: &str, name: &str, body: &str) -> Response {
        let secret = base64::engine::general_purpose::STANDARD.encode(format!("anna:{PASSWORD}"));
        let mut headers = vec![("Authorization".to_owned(), format!("Basic {secret}"))];
        headers.push(("Content-Type".into(), "text/calendar".into()));
        headers.push(("Depth".into(), "1".into()));
        let target =
            if name.starts_with('/') { name.into() } else { format!("/dav/calendars/anna/calendar/{name}") };
        send(self.address, &Request { method: method.into(), target, headers, body: body.into() }).unwrap()
    }

    /// Connects an account as a browser does, without a person in between: the simulators consent at once.
    fn connect(&self, provider: &str) -> String {
        let (status, made) = self.api("POST", &format!("/connections/{provider}"), Some(json!({})));
        assert_eq!(status, 201, "{made}");
        let ask = url::Url::parse(made["authorization_url"].as_str().unwrap()).unwrap();
        let far = SocketAddr::from(([127, 0, 0, 1], ask.port().unwrap()));
        let away = get(far, &ask);
        let back = away.all("location").first().map(|to| (*to).to_owned());
        let back = url::Url::parse(&back.unwrap_or_else(|| panic!("{}", away.show()))).unwrap();
        let landed = crate::oauth::agreed(self.address, get(self.address, &back));
        assert!(landed.status < 400, "{}", landed.show());
        made["id"].as_str().unwrap().to_owned()
    }

    /// Our events: title by UID.
    fn ours(&self) -> BTreeMap<String, String> {
        let listing = self.dav("PROPFIND", "", "");
        assert_eq!(listing.status, 207, "{}", listing.show());
        let text = String::from_utf8(listing.body).unwrap();
        let names = text.split("/dav/calendars/anna/calendar/").skip(1);
        let mut all = BTreeMap::new();
        for name in names.map(|rest| rest.split('<').next().unwrap()).filter(|name| !name.is_empty()) {
            let event = String::from_utf8(self.dav("GET", name, "").body).unwrap();
            let of = |name: &str| {
                let line = event.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
                line.trim().to_owned()
            };
            assert!(all.insert(of("UID:"), of("SUMMARY:")).is_none(), "doubled here: {event}");
        }
        all
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.kill();
    }
}

fn get(address: SocketAddr, url: &url::Url) -> Response {
    let target = match url.query() {
        Some(query) => format!("{}?{query}", url.path()),
        None => url.path().to_owned(),
    };
    send(address, &Request { method: "GET".into(), target, headers: Vec::new(), body: Vec::new() }).unwrap()
}

fn event(uid: &str, title: &str, hour: u32) -> String {
    let day = next_week();
    format!(
        "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:x\r\nBEGIN:VEVENT\r\nUID:{uid}\r\nDTSTAMP:20260101T000000Z\r\n\
         DTSTART:{day}T{hour:02}0000Z\r\nDTEND:{day}T{hour:02}3000Z\r\nSUMMARY:{title}\r\n\
         X-OURS:kept\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"
    )
}

/// A day within every window.
fn next_week() -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let day = jiff::Timestamp::from_second(i64::try_from(now).unwrap() + 7 * 86_400).unwrap();
    day.strftime("%Y%m%d").to_string()
}

/// A far side and what is asked of it.
pub(crate) struct Far {
    runtime: tokio::runtime::Runtime,
    pub(crate) server: Running,
    titles: Box<dyn Fn() -> Vec<String>>,
    pub(crate) calendar: String,
    provider: &'static str,
    /// The requests that make, change and remove an event, and the one that tells of changes.
    points: [(&'static str, &'static str, &'static str); 4],
}

impl Far {
    pub(crate) fn google() -> Far {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let account = Arc::new(sim::google::Google::new());
        let world = Arc::clone(&account) as Arc<dyn sim::World>;
        let server = runtime.block_on(sim::Server::start(sim::Options::default(), world)).unwrap();
        let titles = move || {
            let live = |event: &&Value| event["status"] != "cancelled";
            let all = account.events("anna@example.com");
            all.iter().filter(live).map(|e| e["summary"].as_str().unwrap_or_default().to_owned()).collect()
        };
        const EVENTS: &str = "/calendar/v3/calendars/*/events*";
        Far {
            runtime,
            server,
            titles: Box::new(titles),
            calendar: "anna@example.com".into(),
            provider: "google",
            points: [
                ("make", "POST", EVENTS),
                ("change", "PATCH", EVENTS),
                ("remove", "DELETE", EVENTS),
                ("look", "GET", EVENTS),
            ],
        }
    }

    pub(crate) fn outlook() -> Far {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let account =
            Arc::new(sim::outlook::Outlook::new("anna@example.org").with_client("client", "secret"));
        let world = Arc::clone(&account) as Arc<dyn sim::World>;
        let server = runtime.block_on(sim::Server::start(sim::Options::default(), world)).unwrap();
        let calendar = account.calendar();
        let own = calendar.clone();
        let titles = move || {
            let all = account.events(&own);
            assert_eq!(account.mails(), 0, "nobody gets mail");
            all.iter().map(|e| e["subject"].as_str().unwrap_or_default().to_owned()).collect()
        };
        Far {
            runtime,
            server,
            titles: Box::new(titles),
            calendar,
            provider: "outlook",
            points: [
                ("make", "POST", "/v1.0/me/calendars/*/events"),
                ("change", "PATCH", "/v1.0/me/*events/*"),
                ("remove", "DELETE", "/v1.0/me/*events/*"),
                ("look", "GET", "/v1.0/me/calendars/*"),
            ],
        }
    }

    fn variables(&self) -> Vec<(String, String)> {
        let url = self.server.url();
        let provider = self.provider.to_uppercase();
        let (api, ask, token) = match self.provider {
            "google" => ("/".to_owned(), "/o/oauth2/v2/auth", "/token"),
            _ => ("/v1.0".to_owned(), "/common/oauth2/v2.0/authorize", "/common/oauth2/v2.0/token"),
        };
        let of = |name: &str, value: String| (format!("KALENDS_PROVIDERS__{provider}__{name}"), value);
        vec![
            of("CLIENT_ID", "client".into()),
            of("CLIENT_SECRET", "secret".into()),
            of("API_BASE", format!("{url}{api}")),
            of("AUTH_URL", format!("{url}{ask}")),
            of("TOKEN_URL", format!("{url}{token}")),
            of("REVOKE_URL", format!("{url}/revoke")),
            ("KALENDS_BRIDGE__ALLOW_PRIVATE".into(), "true".into()),
            ("KALENDS_LIMITS__MANUAL_SYNC".into(), "10000".into()),
        ]
    }
}

/// A story between the program and a far side.
pub(crate) struct Story {
    pub(crate) far: Far,
    pub(crate) program: Program,
    pub(crate) mapping: String,
}

impl Story {
    pub(crate) fn begin(far: Far) -> Story {
        let program = Program::new(far.variables());
        let connection = program.connect(far.provider);
        let (_, found) = program.api("GET", &format!("/connections/{connection}/calendars"), None);
        let items = found["items"].as_array().unwrap_or_else(|| panic!("{found}"));
        assert!(items.iter().any(|c| c["id"] == json!(far.calendar)), "{found}");
        let (_, here) = program.api("GET", "/calendars", None);
        let here =
            here["items"].as_array().unwrap().iter().find(|c| c["name"] == "calendar").unwrap().clone();
        let wanted = json!({
            "calendar": here["id"], "connection": connection, "remote_calendar": far.calendar,
            "direction": "both", "conflict_policy": "newest",
        });
        let (status, made) = program.api("POST", "/mappings", Some(wanted));
        assert_eq!(status, 201, "{made}");
        let mapping = made["id"].as_str().unwrap().to_owned();
        Story { far, program, mapping }
    }

    /// Asks for a pass and waits until it has ended.
    pub(crate) fn pass(&self) -> Value {
        let (status, asked) = self.program.api("POST", &format!("/mappings/{}/sync", self.mapping), None);
        if status == 429 {
            // The far side asked to be left alone, or a call was cut: it is waited for.
            return Value::Null;
        }
        assert_eq!(status, 202, "{asked}");
        let run = asked["run"].as_str().unwrap_or_default().to_owned();
        let begun = Instant::now();
        loop {
            let (_, run) = self.program.api("GET", &format!("/runs/{run}"), None);
            if run["status"] != "running" && !run["status"].is_null() {
                return run;
            }
            assert!(begun.elapsed() < Duration::from_secs(60), "a pass does not end: {run}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Passes until both sides have the same titles, and one more that writes nothing.
    fn agree(&self, wanted: &[&str], what: &str) {
        let mut wanted: Vec<String> = wanted.iter().map(|t| (*t).to_owned()).collect();
        wanted.sort();
        let begun = Instant::now();
        loop {
            let run = self.pass();
            let mut ours: Vec<String> = self.program.ours().into_values().collect();
            let mut theirs = (self.far.titles)();
            ours.sort();
            theirs.sort();
            if ours == wanted && theirs == wanted {
                break;
            }
            let late = begun.elapsed() > Duration::from_secs(40);
            assert!(!late, "{what}: wanted {wanted:?}\nhere {ours:?}\nthere {theirs:?}\n{run}");
            std::thread::sleep(Duration::from_millis(50));
        }
        self.pass();
        let (writes, before) = (self.far.server.log().writes(), self.program.ours());
        let run = self.pass();
        let local = &run["local"];
        assert_eq!(
            (&local["inserted"], &local["updated"], &local["deleted"]),
            (&json!(0), &json!(0), &json!(0))
        );
        assert_eq!(self.far.server.log().writes(), writes, "{what}: one more pass wrote: {run}");
        assert_eq!(self.program.ours(), before);
    }

    /// Does something, and kills the program when the far side has come to the point.
    fn killed_at(&mut self, point: usize, at: Point, act: impl FnOnce(&Story)) {
        let (name, method, path) = self.far.points[point];
        let paused = self.far.server.pause(method, path, at);
        act(self);
        if name == "look" {
            self.program.api("POST", &format!("/mappings/{}/sync", self.mapping), None);
        }
        let reached = self.far.runtime.block_on(async {
            tokio::time::timeout(Duration::from_secs(30), paused.reached()).await.is_ok()
        });
        assert!(reached, "{name} {at:?} was never reached");
        self.program.kill();
        paused.go();
        self.program.start();
    }

    fn play(mut self) {
        self.program.dav("PUT", "a.ics", &event("a", "a0", 8));
        self.agree(&["a0"], "at first");
        for (turn, at) in [Point::Before, Point::After].into_iter().enumerate() {
            let new = format!("b{turn}");
            let text = event(&new, &new, 9 + u32::try_from(turn).unwrap());
            let name = format!("{new}.ics");
            self.killed_at(0, at, |story| {
                assert_eq!(story.program.dav("PUT", &name, &text).status, 201);
            });
            let title = |text: &str| format!("{text}{turn}");
            let last = if turn == 0 { "a0".to_owned() } else { "c0".into() };
            self.agree(&[&last, &new], "made");
            let changed = title("c");
            self.killed_at(1, at, |story| {
                assert_eq!(story.program.dav("PUT", "a.ics", &event("a", &changed, 8)).status, 204);
            });
            self.agree(&[&changed, &new], "changed");
            self.killed_at(2, at, |story| {
                assert_eq!(story.program.dav("DELETE", &name, "").status, 204);
            });
            self.agree(&[&changed], "removed");
            self.killed_at(3, at, |_| {});
            self.agree(&[&changed], "looked");
        }
        // What the far side cannot hold is still ours, octet for octet.
        let kept = String::from_utf8(self.program.dav("GET", "a.ics", "").body).unwrap();
        assert_eq!(kept, event("a", "c1", 8));
    }
}

// S3-006, S3-010, S3-029
#[test]
fn google_and_kalends_agree_after_every_kill() {
    Story::begin(Far::google()).play();
}

#[test]
fn outlook_and_kalends_agree_after_every_kill() {
    Story::begin(Far::outlook()).play();
}

// S4-092: A change there while nobody looks is found after the kill; what was removed there does not come back.
#[test]
fn what_happens_there_meanwhile_is_found() {
    let mut story = Story::begin(Far::google());
    story.program.dav("PUT", "a.ics", &event("a", "a0", 8));
    story.agree(&["a0"], "at first");
    story.program.kill();
    let day = next_week();
    let day = format!("{}-{}-{}", &day[..4], &day[4..6], &day[6..]);
    let made = story.far.server.act(&Act::CreateElsewhere {
        calendar: story.far.calendar.clone(),
        object: json!({
            "summary": "theirs",
            "start": {"dateTime": format!("{day}T14:00:00Z")}, "end": {"dateTime": format!("{day}T15:00:00Z")},
        }),
    });
    let id = made.unwrap()["id"].as_str().unwrap().to_owned();
    story.program.start();
    story.agree(&["a0", "theirs"], "made there");
    story.program.kill();
    let gone = Act::DeleteElsewhere { calendar: story.far.calendar.clone(), id };
    story.far.server.act(&gone).unwrap();
    story.program.start();
    story.agree(&["a0"], "removed there");
    let (_, trash) = story.program.api("GET", "/trash", None);
    assert_eq!(trash["items"].as_array().map(Vec::len), Some(1), "{trash}");
}

//! `kalends demo` as somebody sees it who never saw it before: what it prints is there, works, and is gone at the end.

use std::io::{BufRead as _, BufReader, ErrorKind, Read as _};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use base64::Engine as _;
use serde_json::{Value, json};
use url::Url;

use crate::dialogue::{Request, Response, send};
use crate::providers::{date, event};
use crate::wait::eventually;

/// What is printed last.
const READY: &str = "Ctrl-C ends it.";

/// The program in a place of its own, which is empty before and has to be empty after.
struct Demo {
    child: Child,
    lines: Receiver<String>,
    /// What was read of it so far.
    text: String,
}

impl Demo {
    fn start(place: &Path, arguments: &[&str]) -> Demo {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kalends"));
        command.arg("demo").args(arguments).current_dir(place).env_clear().env("TMPDIR", place);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let (tell, lines) = channel();
        std::thread::spawn(move || {
            out.lines().map_while(Result::ok).try_for_each(|line| tell.send(line)).ok();
        });
        Demo { child, lines, text: String::new() }
    }

    /// Waits for a line that contains the words.
    fn says(&mut self, words: &str) {
        let until = Instant::now() + Duration::from_secs(180);
        while !self.text.lines().any(|line| line.contains(words)) {
            let left = until.saturating_duration_since(Instant::now());
            let line = self.lines.recv_timeout(left);
            let line = line.unwrap_or_else(|_| panic!("it did not say {words:?}:\n{}", self.text));
            self.text.push_str(&line);
            self.text.push('\n');
        }
    }

    /// The address that is printed on the line that begins like this.
    fn address(&self, name: &str) -> Url {
        let mut lines = self.text.lines().filter(|line| line.trim_start().starts_with(name));
        let line =
            lines.find(|line| line.contains("http://")).unwrap_or_else(|| panic!("{name}\n{}", self.text));
        let at = line.find("http://").unwrap();
        Url::parse(line[at..].split_whitespace().next().unwrap()).unwrap()
    }

    fn signal(&mut self, name: &str) {
        let told = Command::new("kill").args([name, &self.child.id().to_string()]).status().unwrap();
        assert!(told.success());
    }

    fn ended(&mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            // It tidies up by itself if it can.
            self.signal("-TERM");
            let _ = self.child.wait();
        }
    }
}

fn socket(url: &Url) -> SocketAddr {
    format!("{}:{}", url.host_str().unwrap(), url.port().unwrap()).parse().unwrap()
}

/// What is in a directory.
fn inside(place: &Path) -> Vec<String> {
    std::fs::read_dir(place).unwrap().map(|e| e.unwrap().file_name().to_string_lossy().into_owned()).collect()
}

fn ask(at: &Url, method: &str, target: &str, authorization: &str, body: &str) -> Response {
    let kind = if body.starts_with('{') { "application/json" } else { "text/calendar" };
    let kind = if body.starts_with('<') { "application/xml" } else { kind };
    let headers = vec![
        ("Authorization".to_owned(), authorization.to_owned()),
        ("Content-Type".to_owned(), kind.to_owned()),
    ];
    send(socket(at), &Request { method: method.into(), target: target.into(), headers, body: body.into() })
        .unwrap()
}

fn document(answer: &Response) -> Value {
    serde_json::from_slice(&answer.body).unwrap_or_else(|_| panic!("{}", answer.show()))
}

/// A demo that is ready.
struct Shown {
    demo: Demo,
    page: Url,
    place: tempfile::TempDir,
}

impl Shown {
    fn start() -> Shown {
        let place = tempfile::tempdir().unwrap();
        let mut demo = Demo::start(place.path(), &["--listen", "127.0.0.1:0"]);
        demo.says(READY);
        let page = demo.address("page");
        Shown { demo, page, place }
    }

    fn api(&self, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
        let body = body.map(|body| body.to_string()).unwrap_or_default();
        let answer = ask(&self.page, method, &format!("/api/v1{path}"), "Bearer demo-token", &body);
        (answer.status, document(&answer))
    }

    fn items(&self, path: &str) -> Vec<Value> {
        let (status, list) = self.api("GET", path, None);
        assert_eq!(status, 200, "{list}");
        list["items"].as_array().unwrap().clone()
    }

    fn dav(&self, method: &str, path: &str, body: &str) -> Response {
        let basic = base64::engine::general_purpose::STANDARD.encode("demo:demo");
        ask(&self.page, method, &format!("/dav/calendars/demo/{path}"), &format!("Basic {basic}"), body)
    }

    /// What changed in a calendar since a token: the hrefs and the next token.
    fn changes(&self, calendar: &str, token: &str) -> (Vec<String>, String) {
        let body = format!(
            "<D:sync-collection xmlns:D=\"DAV:\"><D:sync-token>{token}</D:sync-token><D:sync-level>1</D:sync-level>\
             <D:prop><D:getetag/></D:prop></D:sync-collection>"
        );
        let answer = self.dav("REPORT", &format!("{calendar}/"), &body);
        assert_eq!(answer.status, 207, "{}", answer.show());
        let text = String::from_utf8(answer.body).unwrap();
        let document = roxmltree::Document::parse(&text).unwrap();
        let of = |name: &str| -> Vec<String> {
            let named = document.descendants().filter(|node| node.tag_name().name() == name);
            named.filter_map(|node| node.text().map(str::to_owned)).collect()
        };
        (of("href"), of("sync-token").remove(0))
    }

    /// What Google's own interface lists, asked with a token of somebody else's.
    fn titles_at_google(&self) -> Vec<String> {
        let google = self.demo.address("Google");
        let wish = json!({"act": "own", "name": "grant", "with": {"client": "other"}}).to_string();
        let token = document(&ask(&google, "POST", "/_sim/act", "", &wish));
        let bearer = format!("Bearer {}", token["access_token"].as_str().unwrap());
        let target = "/calendar/v3/calendars/primary/events?maxResults=2500";
        let list = document(&ask(&google, "GET", target, &bearer, ""));
        let all = list["items"].as_array().unwrap_or_else(|| panic!("{list}"));
        all.iter().filter_map(|event| event["summary"].as_str().map(str::to_owned)).collect()
    }

    /// The lines that are there to be tried.
    fn curls(&self) -> Vec<String> {
        self.demo.text.lines().filter(|line| line.starts_with("curl ")).map(str::to_owned).collect()
    }
}

fn shell(line: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", line]);
    command
}

/// Runs a line as it was printed and returns what it wrote.
fn run(line: &str) -> String {
    let output = shell(line).stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{line}\n{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

// Issue 5: four providers connected, mappings in both directions, one open conflict; two-way bridging without any account;
// changes by themselves; Ctrl-C leaves nothing behind
#[test]
fn a_newcomer_sees_bridging_both_ways_and_nothing_is_left() {
    let mut shown = Shown::start();
    let connections = shown.items("/connections");
    let of = |all: &[Value], name: &str| -> Vec<String> {
        let mut all: Vec<String> = all.iter().map(|one| one[name].as_str().unwrap().to_owned()).collect();
        all.sort();
        all
    };
    assert_eq!(of(&connections, "provider"), ["caldav", "cozi", "google", "outlook"]);
    assert!(
        connections.iter().all(|c| matches!(c["status"].as_str(), Some("active" | "syncing"))),
        "{connections:?}"
    );
    let mappings = shown.items("/mappings");
    assert_eq!(of(&mappings, "direction"), ["both", "both", "pull", "push"]);
    for mapping in &mappings {
        assert_eq!(mapping["failing"], json!([]), "{mapping}");
        let runs = shown.items(&format!("/runs?mapping={}", mapping["id"].as_str().unwrap()));
        let carried = |run: &Value, side: &str| run[side]["inserted"].as_u64().unwrap() > 0;
        let run = runs.last().unwrap();
        let (here, there) = (carried(run, "local"), carried(run, "remote"));
        let want = match mapping["direction"].as_str().unwrap() {
            "pull" => (true, false),
            "push" => (false, true),
            _ => (true, true),
        };
        assert_eq!((&run["status"], (here, there)), (&json!("success"), want), "{run}");
    }

    let conflicts = shown.items("/conflicts");
    assert_eq!(conflicts.len(), 1, "{conflicts:?}");
    let (_, conflict) =
        shown.api("GET", &format!("/conflicts/{}", conflicts[0]["id"].as_str().unwrap()), None);
    assert_eq!((&conflict["status"], &conflict["title"]), (&json!("pending"), &json!("Budget review")));
    for (side, place) in [("base", "Room 5"), ("local", "Room 2"), ("external", "Town hall")] {
        assert!(conflict[side].as_str().unwrap().contains(place), "{side}: {conflict}");
    }

    // Here: over CalDAV. There: over Google's own interface.
    let (day, title) = (date(3), "Made on a phone");
    let text = event("phone-1", &format!("DTSTART:{day}T170000Z|DTEND:{day}T180000Z|SUMMARY:{title}"));
    assert_eq!(shown.dav("PUT", "calendar/phone-1.ics", &text).status, 201);
    eventually("the event at Google", || shown.titles_at_google().iter().any(|found| found == title));
    // There, by nobody of ours; here, for a client that follows the calendar.
    let tokens = ["calendar", "work"].map(|calendar| (calendar, shown.changes(calendar, "").1));
    eventually("a change that somebody else made", || {
        tokens.iter().any(|(calendar, token)| !shown.changes(calendar, token).0.is_empty())
    });

    // What runs here may be called; what else listens on this machine may not.
    let neighbour = TcpListener::bind("127.0.0.1:0").unwrap();
    neighbour.set_nonblocking(true).unwrap();
    let url = format!("http://{}/", neighbour.local_addr().unwrap());
    for (kind, wish) in [
        ("caldav", json!({"url": url, "username": "demo", "password": "demo"})),
        ("ics", json!({"url": url})),
    ] {
        let (status, refusal) = shown.api("POST", &format!("/connections/{kind}"), Some(wish));
        assert_eq!(status, 422, "{refusal}");
        assert!(refusal["detail"].as_str().unwrap().contains("private network"), "{refusal}");
    }
    assert_eq!(neighbour.accept().unwrap_err().kind(), ErrorKind::WouldBlock);

    // All of it listens on this machine alone, and writes into one directory that nobody else may read.
    let names = ["page", "Google", "Outlook", "CalDAV server", "Cozi"];
    let listening: Vec<SocketAddr> = names.iter().map(|name| socket(&shown.demo.address(name))).collect();
    assert!(listening.iter().all(|address| address.ip().is_loopback()), "{listening:?}");
    let directories = inside(shown.place.path());
    assert_eq!(directories.len(), 1, "{directories:?}");
    let meta = std::fs::metadata(shown.place.path().join(&directories[0])).unwrap();
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&meta.permissions()) & 0o777, 0o700);

    // Somebody listens to changes for as long as they come: that holds nothing up.
    let stream = shown.curls().into_iter().find(|line| line.ends_with("/changes/stream")).unwrap();
    let mut listener = shell(&stream).stdout(Stdio::piped()).spawn().unwrap();
    let mut first = [0; 1];
    listener.stdout.as_mut().unwrap().read_exact(&mut first).unwrap();
    shown.demo.signal("-INT");
    assert!(shown.demo.ended().success());
    assert_eq!(inside(shown.place.path()), Vec::<String>::new());
    for address in listening {
        TcpListener::bind(address).unwrap_or_else(|error| panic!("{address}: {error}"));
    }
    listener.kill().ok();
    listener.wait().unwrap();
}

// Issue 5: the terminal prints what to try
#[test]
fn every_line_that_is_printed_works_as_it_stands() {
    let shown = Shown::start();
    let mut left = shown.curls();
    let mut take = |fits: &dyn Fn(&str) -> bool| {
        let at =
            left.iter().position(|line| fits(line)).unwrap_or_else(|| panic!("no such line in {left:#?}"));
        left.remove(at)
    };
    let parsed = |text: &str| -> Value { serde_json::from_str(text).unwrap_or_else(|_| panic!("{text}")) };
    let count =
        |list: &Value, member: &str| list[member].as_array().unwrap_or_else(|| panic!("{list}")).len();

    let calendars = parsed(&run(&take(&|line| line.ends_with("/api/v1/calendars"))));
    assert_eq!(count(&calendars, "items"), 7, "{calendars}");
    let event = parsed(&run(&take(&|line| line.contains("/calendars/") && line.contains("/events/work-"))));
    assert_eq!(event["title"], "Budget review", "{event}");
    let story = parsed(&run(&take(&|line| line.ends_with("/why"))));
    assert!(count(&story, "sentences") > 1, "{story}");
    let free = parsed(&run(&take(&|line| line.contains("/availability?"))));
    assert!(count(&free, "slots") > 10, "{free}");
    let book = take(&|line| line.ends_with("/bookings"));
    let booked = parsed(&run(&book));
    assert_eq!((&booked["status"], &booked["service"]), (&json!("confirmed"), &json!("Haircut")), "{booked}");
    let again = parsed(&run(&book));
    assert!(again["type"].as_str().unwrap().ends_with("/slot-taken"), "{again}");
    let conflicts = parsed(&run(&take(&|line| line.contains("/conflicts?"))));
    assert_eq!(count(&conflicts, "items"), 1, "{conflicts}");

    // The stream tells of what people do over there, by themselves.
    let stream = take(&|line| line.ends_with("/changes/stream"));
    let mut listener = shell(&stream).stdout(Stdio::piped()).spawn().unwrap();
    let mut told = BufReader::new(listener.stdout.take().unwrap()).lines().map_while(Result::ok);
    let change = told.find(|line| line.starts_with("data: ")).expect("a change within a minute");
    assert!(change.contains("the bridge, mapping"), "{change}");
    listener.kill().ok();
    listener.wait().unwrap();

    let list = take(&|line| line.contains("/events?from="));
    assert!(!run(&list).contains("Surprise party"));
    let made = parsed(&run(&take(&|line| line.contains("/_sim/act"))));
    assert!(made["id"].is_string(), "{made}");
    eventually("the party at Google comes here", || run(&list).contains("Surprise party"));

    let dav = run(&take(&|line| line.contains("PROPFIND")));
    for calendar in ["calendar", "tasks", "work", "family", "choir", "holidays", "appointments"] {
        assert!(dav.contains(&format!("/dav/calendars/demo/{calendar}/")), "{calendar}: {dav}");
    }
    let feed = run(&take(&|line| line.contains("/feeds/")));
    assert!(feed.starts_with("BEGIN:VCALENDAR") && feed.contains("BEGIN:VEVENT"), "{feed}");
    assert!(!feed.contains("Budget review") && !feed.contains("Dentist"), "{feed}");
    assert!(left.is_empty(), "nobody tried {left:#?}");

    // What is printed beside the lines: the simulators' own pages, and the key to the page.
    for name in ["Google", "Outlook", "CalDAV server", "Cozi"] {
        let at = shown.demo.address(name);
        let state = document(&ask(&at, "GET", at.path(), "", ""));
        assert!(state["requests"].as_u64().unwrap() > 0, "{name}: {state}");
    }
    assert!(shown.demo.text.contains("sign in as demo, password demo"));
}

// Issue 5: Ctrl-C leaves nothing behind, whenever it comes
#[test]
fn nothing_is_left_whenever_it_is_ended() {
    let place = tempfile::tempdir().unwrap();
    // Before anything is there; then after each line of the start.
    let moments = [
        "",
        "Setting up",
        "a year of",
        "Google",
        "Outlook",
        "CalDAV",
        "Cozi",
        "carried over",
        "one conflict",
        READY,
    ];
    for (n, moment) in moments.into_iter().enumerate() {
        let mut demo = Demo::start(place.path(), &["--listen", "127.0.0.1:0"]);
        if !moment.is_empty() {
            demo.says(moment);
        }
        demo.signal(["-TERM", "-INT", "-HUP"][n % 3]);
        let ended = demo.ended();
        // The very first may come before anybody listens to signals: then nothing was begun either.
        assert!(ended.success() || moment.is_empty(), "{moment}: {ended}");
        assert_eq!(inside(place.path()), Vec::<String>::new(), "after {moment:?}");
    }
}

// Issue 5: what a kill leaves behind, which nothing can prevent, is gone with the next demo; one that runs is left alone
#[test]
fn what_a_kill_leaves_goes_with_the_next_one() {
    let place = tempfile::tempdir().unwrap();
    let running = {
        let mut demo = Demo::start(place.path(), &["--listen", "127.0.0.1:0"]);
        demo.says("Setting up");
        demo
    };
    let kept = inside(place.path());
    for moment in ["Setting up", "Outlook connected"] {
        let mut demo = Demo::start(place.path(), &["--listen", "127.0.0.1:0"]);
        demo.says(moment);
        assert_eq!(inside(place.path()).len(), 2);
        demo.signal("-KILL");
        assert!(!demo.ended().success());
        assert_eq!(inside(place.path()).len(), 2);
    }
    let mut next = Demo::start(place.path(), &["--listen", "127.0.0.1:0"]);
    next.says("Setting up");
    assert_eq!(inside(place.path()).len(), 2);
    drop(next);
    assert_eq!(inside(place.path()), kept);
    drop(running);
    assert_eq!(inside(place.path()), Vec::<String>::new());
}

#[test]
fn the_next_free_port_is_taken_and_said_and_other_machines_are_kept_out() {
    let place = tempfile::tempdir().unwrap();
    // If somebody else has it, it is taken as well.
    let taken = TcpListener::bind("127.0.0.1:8008");
    let mut demo = Demo::start(place.path(), &[]);
    demo.says("Setting up");
    let first = demo.text.lines().next().unwrap().to_owned();
    let port = demo.address("Setting up").port().unwrap();
    assert!((8009..8058).contains(&port), "{}", demo.text);
    assert_eq!(first, format!("Port 8008 is taken; this demo listens on {port}."));
    drop((demo, taken));
    // A port that somebody named is meant.
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let other = other.local_addr().map(|at| (at.to_string(), other)).unwrap();
    for (listen, want) in [
        (other.0.as_str(), "Address already in use"),
        ("0.0.0.0:0", "0.0.0.0:0 can be reached from other machines"),
        ("[::]:0", "[::]:0 can be reached from other machines"),
        ("192.0.2.1:8008", "192.0.2.1:8008 can be reached from other machines"),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kalends"));
        command.args(["demo", "--listen", listen]).env_clear().env("TMPDIR", place.path());
        let output = command.output().unwrap();
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && told.starts_with("kalends: "), "{told}");
        assert!(told.contains(want) && told.lines().count() == 1, "{told}");
    }
    assert_eq!(inside(place.path()), Vec::<String>::new());
}

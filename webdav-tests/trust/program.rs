//! The program itself, on a store of its own, that is killed and started again.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use base64::Engine as _;
use kalends::ical::Ical;
use serde_json::{Value, json};

use crate::dialogue::{Request, Response, send};
use crate::wait::wait_for;

const PASSWORD: &str = "correct horse battery";

/// The program with a store of its own; killed and started again it is the same.
pub(crate) struct Program {
    place: tempfile::TempDir,
    variables: Vec<(String, String)>,
    token: String,
    child: Option<Child>,
    address: SocketAddr,
    log: Arc<Mutex<Vec<String>>>,
}

impl Program {
    pub(crate) fn new(variables: Vec<(String, String)>) -> Program {
        let place = tempfile::tempdir().unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let log = Arc::default();
        let mut program = Program { place, variables, token: String::new(), child: None, address, log };
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

    pub(crate) fn start(&mut self) {
        let mut command = self.command(&["serve", "--listen", "127.0.0.1:0"]);
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let (tell, told) = mpsc::channel();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let log = Arc::clone(&self.log);
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                if let Some((_, address)) = line.split_once("listening on ") {
                    let end = address.find([')', '"']).unwrap_or(address.len());
                    let _ = tell.send(address[..end].to_owned());
                }
                log.lock().unwrap().push(line);
            }
        });
        self.address = told.recv_timeout(Duration::from_secs(60)).unwrap().parse().unwrap();
        self.child = Some(child);
    }

    /// What it has logged so far, line by line.
    pub(crate) fn logged(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
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
    pub(crate) fn consent(&self, provider: &str) -> String {
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

    /// The texts of a calendar's events by UID.
    pub(crate) fn texts(&self, calendar: &str) -> BTreeMap<String, String> {
        let listing = self.dav("PROPFIND", calendar, "");
        assert_eq!(listing.status, 207, "{}", listing.show());
        let listing = String::from_utf8(listing.body).unwrap();
        let mut all = BTreeMap::new();
        for name in listing.split(calendar).skip(1).map(|rest| rest.split('<').next().unwrap()) {
            if !name.is_empty() {
                let got = self.dav("GET", &format!("{calendar}{name}"), "");
                let text = String::from_utf8(got.body).unwrap();
                let doubled = all.insert(said(&text, "UID"), text);
                assert!(doubled.is_none(), "doubled here: {doubled:?}");
            }
        }
        all
    }

    /// Our events: title by UID.
    pub(crate) fn ours(&self) -> BTreeMap<String, String> {
        let texts = self.texts("/dav/calendars/anna/calendar/");
        texts.into_iter().map(|(uid, text)| (uid, said(&text, "SUMMARY"))).collect()
    }

    /// Asks for a pass and waits until it has ended.
    pub(crate) fn pass(&self, mapping: &str) -> Value {
        let (status, asked) = self.api("POST", &format!("/mappings/{mapping}/sync"), None);
        if status == 429 {
            // The far side asked to be left alone, or a call was cut: it is waited for.
            return Value::Null;
        }
        assert_eq!(status, 202, "{asked}");
        let run = asked["run"].as_str().unwrap_or_default().to_owned();
        let look = || self.api("GET", &format!("/runs/{run}"), None).1;
        wait_for("the end of a run", look, |run| run["status"] != "running" && !run["status"].is_null())
    }

    /// Connects an account with what its owner knows.
    pub(crate) fn sign_in(&self, provider: &str, known: Value) -> String {
        let (status, made) = self.api("POST", &format!("/connections/{provider}"), Some(known));
        assert_eq!((status, &made["status"]), (201, &json!("active")), "{made}");
        made["id"].as_str().unwrap().to_owned()
    }
}

/// What the first event of a text says.
fn said(text: &str, name: &str) -> String {
    let ical = Ical::parse(text.as_bytes().to_vec()).unwrap();
    let component = ical.calendar().unwrap().components().find(|c| c.name() != "VTIMEZONE").unwrap();
    component.property(name).map(|property| property.text()).unwrap_or_default()
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

//! The program itself: commands with a server and without, its words on failure, what it logs.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use base64::Engine as _;

use crate::dialogue::{Request, Response, send};

/// A place of its own for the program, with an environment of its own.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Place {
        Place(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kalends"));
        command.args(arguments).current_dir(self.path()).env_clear();
        command.env("KALENDS_STORE__URL", format!("sled:{}/data/db", self.path().display()));
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).stdin(Stdio::null()).output().unwrap()
    }

    /// Runs a command that must succeed and returns what it wrote.
    fn done(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{arguments:?}: {told}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs a command that must fail and returns its one line.
    fn fails(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(!output.status.success(), "{arguments:?}");
        String::from_utf8(output.stderr).unwrap()
    }

    fn with_input(&self, arguments: &[&str], input: &str) -> Output {
        let mut command = self.command(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    }

    fn add_user(&self, name: &str, password: &str) {
        let output = self.with_input(&["user", "add", name, "--password-stdin"], &format!("{password}\n"));
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    fn serve(&self, variables: &[(&str, &str)]) -> Serving {
        let mut command = self.command(&["serve", "--listen", "127.0.0.1:0"]);
        command.envs(variables.iter().copied()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (tell, told) = mpsc::channel();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let log = std::thread::spawn(move || {
            let mut log = String::new();
            for line in stderr.lines().map_while(Result::ok) {
                if let Some((_, address)) = line.split_once("listening on ") {
                    let end = address.find([')', '"']).unwrap_or(address.len());
                    let _ = tell.send(address[..end].to_owned());
                }
                log.push_str(&line);
                log.push('\n');
            }
            log
        });
        let address = told.recv_timeout(Duration::from_secs(20)).expect("the server starts");
        Serving { child, address: address.parse().unwrap(), log: Some(log) }
    }
}

/// The program, serving.
struct Serving {
    child: Child,
    address: SocketAddr,
    log: Option<std::thread::JoinHandle<String>>,
}

impl Serving {
    fn ask(&self, method: &str, target: &str, user: &str, password: &str, body: &str) -> Response {
        let secret = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
        let headers = vec![("Authorization".to_owned(), format!("Basic {secret}"))];
        let request = Request { method: method.into(), target: target.into(), headers, body: body.into() };
        send(self.address, &request).unwrap()
    }

    /// Sends SIGTERM, and returns the log when it has ended.
    fn stop(mut self) -> String {
        let stopped = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().unwrap();
        assert!(stopped.success());
        assert!(self.child.wait().unwrap().success());
        self.log.take().unwrap().join().unwrap()
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn event(uid: &str, summary: &str) -> String {
    format!(
        "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//x//EN\r\nBEGIN:VEVENT\r\nUID:{uid}\r\n\
         DTSTAMP:20260101T000000Z\r\nDTSTART:20260101T100000Z\r\nSUMMARY:{summary}\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"
    )
}

#[test]
fn commands_do_the_same_with_a_server_and_without() {
    let place = Place::new();
    let everything = |place: &Place, name: &str| {
        place.add_user(name, "correct horse battery");
        assert!(place.done(&["user", "list"]).contains(name));
        assert!(place.done(&["user", "list", "--json"]).contains(&format!("\"name\": \"{name}\"")));
        let twice = place.with_input(&["user", "add", name, "--password-stdin"], "correct horse battery\n");
        let told = String::from_utf8_lossy(&twice.stderr).into_owned();
        assert!(
            !twice.status.success() && told == format!("kalends: the user {name:?} exists already\n"),
            "{told}"
        );
        let secret = place.done(&["app-password", "add", name, "phone"]);
        assert_eq!(secret.trim().len(), 39);
        assert!(place.done(&["app-password", "list", name]).contains("phone"));
        place.done(&["app-password", "revoke", name, "phone"]);
        assert!(!place.done(&["app-password", "list", name]).contains("phone"));
        let token = place.done(&["token", "add", name, "page", "--scope", "read,bookings"]);
        assert!(token.starts_with("kal_"));
        assert!(place.done(&["token", "list", name]).contains("read, bookings"));
        place.done(&["token", "revoke", name, "page"]);
        place.done(&["calendar", "add", name, "work", "--title", "Work & rest", "--color", "#3366cc"]);
        let list = place.done(&["calendar", "list", name]);
        for calendar in ["calendar", "tasks", "work", "Work & rest"] {
            assert!(list.contains(calendar), "{list}");
        }
        place.done(&["calendar", "remove", name, "work", "--yes"]);
        assert!(!place.done(&["calendar", "list", name]).contains("work"));
        assert!(place.done(&["check"]).contains("0 wrong"));
        place.done(&["user", "remove", name, "--yes"]);
        assert!(!place.done(&["user", "list"]).contains(name));
    };
    everything(&place, "anna");
    let serving = place.serve(&[]);
    let socket = std::fs::metadata(place.path().join("data/db/admin.sock")).unwrap();
    assert_eq!(socket.permissions().mode() & 0o777, 0o600);
    let directory = std::fs::metadata(place.path().join("data/db")).unwrap();
    assert_eq!(directory.permissions().mode() & 0o777, 0o700);
    everything(&place, "bert");
    drop(serving.stop());
    assert!(!place.path().join("data/db/admin.sock").exists());
    everything(&place, "carl");
}

#[test]
fn a_revoked_app_password_is_refused_by_the_running_server_at_once() {
    let place = Place::new();
    place.add_user("anna", "correct horse battery");
    let serving = place.serve(&[]);
    let secret = place.done(&["app-password", "add", "anna", "phone"]);
    for _ in 0..3 {
        assert_eq!(serving.ask("OPTIONS", "/dav/", "anna", secret.trim(), "").status, 200);
    }
    place.done(&["app-password", "revoke", "anna", "phone"]);
    assert_eq!(serving.ask("OPTIONS", "/dav/", "anna", secret.trim(), "").status, 401);
    let changed =
        place.with_input(&["user", "passwd", "anna", "--password-stdin"], "another horse battery\n");
    assert!(changed.status.success());
    assert_eq!(serving.ask("OPTIONS", "/dav/", "anna", "correct horse battery", "").status, 401);
    assert_eq!(serving.ask("OPTIONS", "/dav/", "anna", "another horse battery", "").status, 200);
}

#[test]
fn calendars_go_in_and_come_out_octet_for_octet() {
    let place = Place::new();
    place.add_user("anna", "correct horse battery");
    let folder = place.path().join("in");
    std::fs::create_dir(&folder).unwrap();
    let names = ["Team.ics", "team.ics", "x y.ics"];
    for name in names {
        std::fs::write(folder.join(name), event(&format!("uid of {name}"), "X-odd\\, text")).unwrap();
    }
    std::fs::write(folder.join("broken.ics"), "BEGIN:VCALENDAR\r\nEND:VEVENT\r\n").unwrap();
    let planned = place.run(&["calendar", "import", "anna", "in", "--dry-run"]);
    let said = String::from_utf8_lossy(&planned.stdout).into_owned();
    assert!(said.starts_with("Would be: 3 added, 0 updated, 0 unchanged, 1 refused"), "{said}");
    assert!(place.done(&["calendar", "list", "anna", "--json"]).contains("\"objects\": 0"));
    let serving = place.serve(&[]);
    for want in ["3 added, 0 updated, 0 unchanged, 1 refused", "0 added, 0 updated, 3 unchanged, 1 refused"] {
        let output = place.run(&["calendar", "import", "anna", "in"]);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(said.starts_with(want), "{said}");
        // What could not be read is named and makes the command fail, what could is stored.
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && told.contains("broken.ics: "), "{told}");
    }
    std::fs::write(folder.join("x y.ics"), event("uid of x y.ics", "changed")).unwrap();
    std::fs::remove_file(folder.join("broken.ics")).unwrap();
    assert!(place.done(&["calendar", "import", "anna", "in"]).starts_with("0 added, 1 updated, 2 unchanged"));
    place.done(&["calendar", "export", "anna", "calendar", "out"]);
    let read = |folder: &Path| {
        let mut all: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| std::fs::read_to_string(entry.unwrap().path()).unwrap())
            .collect();
        all.sort();
        all
    };
    assert_eq!(read(&folder), read(&place.path().join("out")));
    let again = place.fails(&["calendar", "export", "anna", "calendar", "out"]);
    assert!(again.starts_with("kalends: out is not empty"), "{again}");
    place.done(&["calendar", "export", "anna", "calendar", "all.ics"]);
    place.done(&["calendar", "add", "anna", "copy"]);
    assert!(
        place.done(&["calendar", "import", "anna", "all.ics", "--calendar", "copy"]).starts_with("3 added")
    );
    assert!(place.done(&["check"]).contains("0 wrong"));
    drop(serving);
}

// S2 backup: one moment, while others write; and back with everything, sync-tokens too.
#[test]
fn a_backup_of_a_running_server_comes_back_whole() {
    let place = Place::new();
    let (user, password) = ("anna", "correct horse battery");
    place.add_user(user, password);
    let serving = place.serve(&[]);
    let put = |serving: &Serving, n: u32| {
        let target = format!("/dav/calendars/anna/calendar/{n}.ics");
        assert_eq!(serving.ask("PUT", &target, user, password, &event(&format!("uid{n}"), "x")).status, 201);
    };
    (0..20).for_each(|n| put(&serving, n));
    let gone = serving.ask("DELETE", "/dav/calendars/anna/calendar/3.ics", user, password, "");
    assert_eq!(gone.status, 204, "{}", gone.show());
    let token = |serving: &Serving| {
        let ask = "<propfind xmlns='DAV:'><prop><sync-token/></prop></propfind>";
        let secret = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
        let headers = vec![("Authorization".into(), format!("Basic {secret}")), ("Depth".into(), "0".into())];
        let target = "/dav/calendars/anna/calendar/".into();
        let request = Request { method: "PROPFIND".into(), target, headers, body: ask.into() };
        let text = String::from_utf8(send(serving.address, &request).unwrap().body).unwrap();
        let (_, rest) = text.split_once("sync-token>").unwrap();
        rest.split_once('<').unwrap().0.to_owned()
    };
    let before = token(&serving);
    place.done(&["backup", "all.dump"]);
    let file = std::fs::metadata(place.path().join("all.dump")).unwrap();
    assert_eq!(file.permissions().mode() & 0o777, 0o600);
    assert_eq!(
        place.fails(&["backup", "all.dump"]),
        "kalends: all.dump is there already; choose a new name\n"
    );
    let told = place.fails(&["restore", "all.dump"]);
    assert!(told.contains("a server runs on"), "{told}");
    put(&serving, 100);
    serving.stop();
    let told = place.fails(&["restore", "all.dump"]);
    assert!(told.contains("is not empty"), "{told}");

    let other = Place::new();
    std::fs::copy(place.path().join("all.dump"), other.path().join("all.dump")).unwrap();
    let said = other.done(&["restore", "all.dump"]);
    assert!(said.contains("19 objects"), "{said}");
    assert!(other.done(&["check"]).contains("0 wrong"));
    let serving = other.serve(&[]);
    let read = serving.ask("GET", "/dav/calendars/anna/calendar/7.ics", user, password, "");
    assert_eq!((read.status, read.body), (200, event("uid7", "x").into_bytes()));
    assert_eq!(token(&serving), before);
    put(&serving, 200);
    let report = format!(
        "<sync-collection xmlns='DAV:'><sync-token>{before}</sync-token><sync-level>1</sync-level><prop><getetag/></prop>\
         </sync-collection>"
    );
    let changed = serving.ask("REPORT", "/dav/calendars/anna/calendar/", user, password, &report);
    let text = String::from_utf8(changed.body).unwrap();
    assert_eq!(changed.status, 207, "{text}");
    assert!(text.contains("200.ics") && !text.contains("/7.ics"), "{text}");
    // A damaged file changes nothing.
    let mut bytes = std::fs::read(other.path().join("all.dump")).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    let third = Place::new();
    std::fs::write(third.path().join("bad.dump"), bytes).unwrap();
    let told = third.fails(&["restore", "bad.dump"]);
    assert!(told.starts_with("kalends: bad.dump: the dump is damaged"), "{told}");
    assert!(!third.path().join("data/db").exists());
}

// S0-037: from Radicale, folder by folder
#[test]
fn a_radicale_folder_becomes_calendars() {
    let place = Place::new();
    place.add_user("anna", "correct horse battery");
    let work = place.path().join("storage/collection-root/anna/work");
    std::fs::create_dir_all(&work).unwrap();
    std::fs::write(work.join(".Radicale.props"), r#"{"tag": "VCALENDAR", "D:displayname": "My <work>"}"#)
        .unwrap();
    std::fs::write(work.join("a.ics"), event("a", "A")).unwrap();
    let said = place.done(&["calendar", "import", "anna", "storage"]);
    assert_eq!(said, "1 added, 0 updated, 0 unchanged, 0 refused, 1 calendars made.\n");
    let list = place.done(&["calendar", "list", "anna"]);
    assert!(list.contains("My <work>"), "{list}");
}

#[test]
fn a_restart_keeps_everything_and_says_goodbye() {
    let place = Place::new();
    place.add_user("anna", "correct horse battery");
    let serving = place.serve(&[]);
    let put = serving.ask("PUT", "/dav/files/anna/a.txt", "anna", "correct horse battery", "kept");
    assert_eq!(put.status, 201, "{}", put.show());
    let log = serving.stop();
    assert!(
        log.contains("stopping: running requests may end") && log.trim_end().ends_with("stopped"),
        "{log}"
    );
    let serving = place.serve(&[]);
    let read = serving.ask("GET", "/dav/files/anna/a.txt", "anna", "correct horse battery", "");
    assert_eq!(read.body, b"kept");
}

// Whatever was acknowledged before SIGTERM is there afterwards, and whatever was not is said not to be.
#[test]
fn draining_loses_nothing_that_was_acknowledged() {
    let place = Place::new();
    place.add_user("anna", "correct horse battery");
    let serving = place.serve(&[]);
    let address = serving.address;
    let writers: Vec<_> = (0..4)
        .map(|writer| {
            std::thread::spawn(move || {
                let secret = base64::engine::general_purpose::STANDARD.encode("anna:correct horse battery");
                let mut acknowledged = Vec::new();
                for n in 0..10_000 {
                    let target = format!("/dav/files/anna/{writer}-{n}.txt");
                    let headers = vec![("Authorization".to_owned(), format!("Basic {secret}"))];
                    let request = Request {
                        method: "PUT".into(),
                        target: target.clone(),
                        headers,
                        body: b"x".to_vec(),
                    };
                    match send(address, &request) {
                        Ok(answer) if answer.status == 201 => acknowledged.push(target),
                        _ => return acknowledged,
                    }
                }
                acknowledged
            })
        })
        .collect();
    std::thread::sleep(Duration::from_millis(1500));
    serving.stop();
    let acknowledged: Vec<String> = writers.into_iter().flat_map(|writer| writer.join().unwrap()).collect();
    assert!(acknowledged.len() > 20, "{}", acknowledged.len());
    let serving = place.serve(&[]);
    for target in acknowledged {
        let read = serving.ask("GET", &target, "anna", "correct horse battery", "");
        assert_eq!(read.status, 200, "{target}");
    }
}

#[test]
fn failures_are_one_clear_line() {
    let place = Place::new();
    place.add_user("anna", "correct horse battery");
    std::fs::write(place.path().join("wrong.toml"), "\n[server]\nlistn = \"127.0.0.1:1\"\n").unwrap();
    for (arguments, want) in [
        (
            vec!["user", "passwd", "nobody"],
            "kalends: there is no terminal to ask for the password; use --password-stdin\n",
        ),
        (vec!["app-password", "list", "nobody"], "kalends: the user \"nobody\" does not exist\n"),
        (
            vec!["app-password", "revoke", "anna", "x"],
            "kalends: the app password \"x\" of \"anna\" does not exist\n",
        ),
        (
            vec!["user", "remove", "anna"],
            "kalends: there is no terminal to ask on; say --yes if you are sure\n",
        ),
        (
            vec!["calendar", "import", "anna", "missing.ics"],
            "kalends: missing.ics: No such file or directory (os error 2)\n",
        ),
        (
            vec!["calendar", "export", "anna", "nothing", "out"],
            "kalends: the calendar \"nothing\" of \"anna\" does not exist\n",
        ),
        (
            vec!["--config", "wrong.toml", "user", "list"],
            "kalends: wrong.toml:3: there is no option \"server.listn\"; did you mean \"server.listen\"?\n",
        ),
        (
            vec!["dns"],
            "kalends: set server.base_url to the address that clients use; the records name its host\n",
        ),
    ] {
        assert_eq!(place.fails(&arguments), want, "{arguments:?}");
    }
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let told = place.fails(&["serve", "--listen", &address]);
    assert!(told.contains(&format!("kalends: cannot listen on {address}: Address already in use")), "{told}");
}

#[test]
fn every_command_has_help_with_an_example() {
    let place = Place::new();
    let mut waiting: Vec<Vec<String>> = vec![vec![]];
    let mut leaves = 0;
    while let Some(command) = waiting.pop() {
        let mut arguments: Vec<&str> = command.iter().map(String::as_str).collect();
        arguments.push("--help");
        let help = place.done(&arguments);
        let below: Vec<String> = help
            .split_once("\nCommands:\n")
            .map(|(_, rest)| rest.lines().take_while(|line| !line.is_empty()))
            .into_iter()
            .flatten()
            .filter_map(|line| line.strip_prefix("  ").filter(|line| !line.starts_with(' ')))
            .filter_map(|line| line.split_whitespace().next().map(str::to_owned))
            .filter(|name| name != "help")
            .collect();
        if below.is_empty() {
            leaves += 1;
            assert!(help.contains("Example"), "{command:?}\n{help}");
        }
        waiting.extend(below.into_iter().map(|name| [command.clone(), vec![name]].concat()));
    }
    assert!(leaves > 15, "{leaves}");
}

// S0-015, S4-087: one program and one directory, with nothing set up
#[test]
fn the_first_start_says_what_to_do_next() {
    let place = Place::new();
    let log = place.serve(&[]).stop();
    assert!(log.contains("kalends user add NAME") && log.contains("http://127.0.0.1:"), "{log}");
    place.add_user("anna", "correct horse battery");
    assert!(!place.serve(&[]).stop().contains("kalends user add NAME"));
}

#[test]
fn weak_passwords_are_warned_about_and_taken() {
    let place = Place::new();
    let output = place.with_input(&["user", "add", "anna", "--password-stdin"], "short\r\n");
    assert!(output.status.success());
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(told, "Warning: this password is weak: it is shorter than 10 characters.\n");
    let serving = place.serve(&[]);
    assert_eq!(serving.ask("OPTIONS", "/dav/", "anna", "short", "").status, 200);
}

// S4-084, E13: a key from the environment
#[test]
fn an_api_key_is_an_admin_token_while_it_is_set() {
    let place = Place::new();
    place.add_user("anna", "correct horse battery");
    let serving = place.serve(&[("API_KEY", "0123456789abcdefghij")]);
    let headers = vec![("Authorization".to_owned(), "Bearer 0123456789abcdefghij".to_owned())];
    let request = Request { method: "OPTIONS".into(), target: "/dav/".into(), headers, body: vec![] };
    assert_eq!(send(serving.address, &request).unwrap().status, 200);
    assert!(place.done(&["user", "list"]).contains("admin"));
    serving.stop();
    let serving = place.serve(&[]);
    assert_eq!(send(serving.address, &request).unwrap().status, 401);
}

// At the most talkative level, no credential of any kind is in the log; and what fail2ban is to see is there.
#[test]
fn logs_hold_no_credentials_and_fail2ban_finds_failures() {
    let place = Place::new();
    place.add_user("anna", "correct horse battery");
    let serving = place.serve(&[("KALENDS_LOG__LEVEL", "trace")]);
    let app = place.done(&["app-password", "add", "anna", "phone"]);
    let token = place.done(&["token", "add", "anna", "page", "--scope", "read"]);
    place.with_input(&["user", "add", "carl", "--password-stdin"], "another horse battery\n");
    let mut secrets =
        vec!["correct horse battery".to_owned(), "wrong horse battery".into(), "another horse".into()];
    secrets.extend([app.trim().to_owned(), app.trim().replace('-', ""), token.trim().to_owned()]);
    for (user, password) in
        [("anna", "correct horse battery"), ("anna", app.trim()), ("anna", "wrong horse battery")]
    {
        serving.ask("PROPFIND", "/dav/", user, password, "");
        let sent = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
        secrets.push(sent);
    }
    let bearer = vec![
        ("Authorization".to_owned(), format!("Bearer {}", token.trim())),
        ("Depth".to_owned(), "0".to_owned()),
    ];
    let request =
        Request { method: "PROPFIND".into(), target: "/dav/".into(), headers: bearer, body: vec![] };
    assert_eq!(send(serving.address, &request).unwrap().status, 207);
    // A name that tries to look like another address, on another line.
    serving.ask("PROPFIND", "/dav/", "x address=192.0.2.1\nfoo", "wrong horse battery", "");
    // Without credentials: no failure.
    let plain = Request { method: "PROPFIND".into(), target: "/dav/".into(), ..Request::default() };
    assert_eq!(send(serving.address, &plain).unwrap().status, 401);
    let log = serving.stop();
    for secret in secrets {
        assert!(!log.contains(&secret), "{secret} is in the log");
    }
    let filter = Filter::load();
    let found: Vec<&str> = log.lines().filter_map(|line| filter.address(line)).collect();
    assert_eq!(found, ["127.0.0.1", "127.0.0.1"], "{log}");
}

/// The shipped fail2ban filter, understood as far as it goes: literals, `\S*`, `<ADDR>`, `(a|b)`, `.*`, `$`.
struct Filter {
    before: String,
    between: String,
    reasons: Vec<String>,
}

impl Filter {
    fn load() -> Filter {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/fail2ban/filter.d/kalends.conf");
        let text = std::fs::read_to_string(path).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("failregex = ")).unwrap();
        let (before, rest) = line.strip_prefix("^.*").unwrap().split_once(r"\S* ").unwrap();
        let (between, rest) = rest.split_once("<ADDR>").unwrap();
        let (reason, rest) = rest.split_once('(').unwrap();
        assert_eq!(reason, " reason=");
        let (reasons, rest) = rest.split_once(')').unwrap();
        assert_eq!(rest, r#""?(?:,.*)?$"#);
        Filter {
            before: before.to_owned(),
            between: between.to_owned(),
            reasons: reasons.trim_start_matches("?:").split('|').map(str::to_owned).collect(),
        }
    }

    fn address<'a>(&self, line: &'a str) -> Option<&'a str> {
        let (_, rest) = line.rsplit_once(&self.before)?;
        let (_, rest) = rest.split_once(' ')?;
        let (address, reason) = rest.strip_prefix(&self.between)?.split_once(" reason=")?;
        address.parse::<std::net::IpAddr>().ok()?;
        self.reasons.iter().any(|known| known == reason).then_some(address)
    }
}

#[test]
fn systemd_is_told_when_the_server_is_ready_and_when_it_stops() {
    let place = Place::new();
    let path = place.path().join("notify");
    let socket = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let heard = || {
        let mut state = [0; 64];
        let read = socket.recv(&mut state).unwrap();
        String::from_utf8(state[..read].to_vec()).unwrap()
    };
    let serving = place.serve(&[("NOTIFY_SOCKET", path.to_str().unwrap())]);
    assert_eq!(heard(), "READY=1");
    serving.stop();
    assert_eq!(heard(), "STOPPING=1");
}

#[test]
fn a_store_far_down_the_tree_has_an_admin_socket_too() {
    let place = Place::new();
    let deep = place.path().join("a".repeat(80)).join("b".repeat(80)).join("db");
    let url = format!("sled:{}", deep.display());
    let serving = place.serve(&[("KALENDS_STORE__URL", &url)]);
    assert!(deep.join("admin.sock").exists());
    let list = place.command(&["user", "list"]).env("KALENDS_STORE__URL", &url).output().unwrap();
    assert!(list.status.success(), "{}", String::from_utf8_lossy(&list.stderr));
    drop(serving);
}

// Without a server, each needs the store for itself: they take turns.
#[test]
fn commands_at_the_same_time_wait_for_each_other() {
    let place = Place::new();
    // The first of them makes the store.
    std::thread::scope(|scope| {
        for name in ["anna", "bert", "carl", "dora"] {
            let place = &place;
            scope.spawn(move || place.add_user(name, "correct horse battery"));
        }
    });
    assert_eq!(place.done(&["user", "list"]).lines().count(), 5);
    std::thread::scope(|scope| {
        for n in 0..6 {
            let place = &place;
            scope.spawn(move || place.done(&["app-password", "add", "anna", &format!("device {n}")]));
        }
    });
    let list = place.done(&["app-password", "list", "anna", "--json"]);
    assert_eq!(list.matches("device ").count(), 6, "{list}");
}

#[test]
fn the_version_is_told() {
    let place = Place::new();
    assert_eq!(place.done(&["--version"]), format!("kalends {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn dns_records_name_the_host_that_clients_use() {
    let place = Place::new();
    let output = place
        .command(&["dns", "example.org"])
        .env("KALENDS_SERVER__BASE_URL", "https://cal.example.org/k/")
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("_caldavs._tcp.example.org. 3600 IN SRV 0 1 443 cal.example.org.\n"), "{said}");
    assert!(said.contains("_caldavs._tcp.example.org. 3600 IN TXT \"path=/k/dav/\"\n"), "{said}");
}

// A socket whose server was killed must not keep commands from working.
#[test]
fn a_killed_server_leaves_nothing_in_the_way() {
    let place = Place::new();
    place.add_user("anna", "correct horse battery");
    let mut serving = place.serve(&[]);
    serving.child.kill().unwrap();
    serving.child.wait().unwrap();
    assert!(place.path().join("data/db/admin.sock").exists());
    assert!(place.done(&["user", "list"]).contains("anna"));
    let again = place.serve(&[]);
    assert!(place.done(&["user", "list"]).contains("anna"));
    let mut stream = TcpStream::connect(again.address).unwrap();
    stream.write_all(b"GET /ready HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

/// `kalends openapi | head -1`
#[test]
fn whoever_has_read_enough_of_what_a_command_prints_is_no_failure() {
    use std::io::Read as _;
    let mut command = Command::new(env!("CARGO_BIN_EXE_kalends"));
    let mut child = command.arg("openapi").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut first = [0; 10];
    child.stdout.take().unwrap().read_exact(&mut first).unwrap();
    let done = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success() && said.is_empty(), "{said}");
}

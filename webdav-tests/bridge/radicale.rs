//! A real Radicale on a free port with a temporary folder.

use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine as _;
use tokio::net::TcpSocket;

use crate::dialogue::{Request, Response, send};

/// A Radicale that runs until it is dropped.
pub(crate) struct Radicale {
    folder: tempfile::TempDir,
    port: u16,
    /// Bound to the port and not listening: nobody else is given it, also while Radicale is down and calls are refused.
    _place: TcpSocket,
    child: Option<Child>,
}

fn python() -> Option<PathBuf> {
    let given = std::env::var_os("KALENDS_PYTHON").map(PathBuf::from);
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join(".test-tools/venv/bin/python");
    let python = given.or_else(|| own.exists().then_some(own))?;
    let found = Command::new(&python)
        .args(["-c", "import radicale"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    found.is_ok_and(|status| status.success()).then_some(python)
}

impl Radicale {
    /// Starts one with the users `anna` and `bert`. Nothing, with a word why, if there is none on this machine; with
    /// `CI=true` that is a failure.
    pub(crate) fn start() -> Option<Radicale> {
        if python().is_none() {
            let why = "no Radicale: set KALENDS_PYTHON to a Python that has it (pip install radicale bcrypt)";
            assert!(std::env::var("CI").as_deref() != Ok("true"), "{why}");
            println!("skipped: {why}");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let place = TcpSocket::new_v4().unwrap();
        // Radicale sets the same: then two may be bound to one port, as long as one of them listens only.
        place.set_reuseaddr(true).unwrap();
        place.bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let port = place.local_addr().unwrap().port();
        let mut radicale = Radicale { folder, port, _place: place, child: None };
        radicale.set_passwords(&[("anna", "geheim-1"), ("bert", "geheim-2")]);
        radicale.up();
        Some(radicale)
    }

    /// Writes the password file; Radicale reads it on every request.
    pub(crate) fn set_passwords(&self, users: &[(&str, &str)]) {
        let text: String = users.iter().map(|(user, password)| format!("{user}:{password}\n")).collect();
        std::fs::write(self.folder.path().join("users"), text).unwrap();
    }

    /// Starts it on its port.
    pub(crate) fn up(&mut self) {
        let config = self.folder.path().join("config");
        let text = format!(
            "[server]\nhosts = 127.0.0.1:{}\nmax_connections = 50\n[auth]\ntype = htpasswd\nhtpasswd_filename = {}\n\
             htpasswd_encryption = plain\ndelay = 0\ncache_logins = False\n[storage]\nfilesystem_folder = {}\n\
             [logging]\nlevel = warning\n",
            self.port,
            self.folder.path().join("users").display(),
            self.folder.path().join("data").display()
        );
        std::fs::write(&config, text).unwrap();
        let log = std::fs::File::create(self.folder.path().join("log")).unwrap();
        let child = Command::new(python().unwrap())
            .args(["-m", "radicale", "--config"])
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let child = self.child.insert(child);
        let address = SocketAddr::from(([127, 0, 0, 1], self.port));
        let until = Instant::now() + Duration::from_secs(60);
        while TcpStream::connect(address).is_err() {
            let log = || std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
            assert_eq!(child.try_wait().unwrap(), None, "Radicale ended: {}", log());
            assert!(Instant::now() < until, "Radicale did not start: {}", log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Stops it; its folder stays.
    pub(crate) fn down(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// Sends a request as `anna`.
    pub(crate) fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Response {
        self.ask_as("anna:geheim-1", method, path, headers, body)
    }

    pub(crate) fn ask_as(
        &self,
        user: &str,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Response {
        let basic = format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(user));
        let mut all = vec![("Authorization".to_owned(), basic)];
        all.extend(headers.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())));
        let request = Request {
            method: method.to_owned(),
            target: path.to_owned(),
            headers: all,
            body: body.as_bytes().to_vec(),
        };
        send(self.address(), &request).unwrap()
    }

    /// Makes a calendar.
    pub(crate) fn calendar(&self, path: &str) {
        self.calendar_as("anna:geheim-1", path);
    }

    pub(crate) fn calendar_as(&self, user: &str, path: &str) {
        let body = "<C:mkcalendar xmlns:C='urn:ietf:params:xml:ns:caldav' xmlns:D='DAV:'><D:set><D:prop>\
            <D:displayname>Work</D:displayname></D:prop></D:set></C:mkcalendar>";
        let made = self.ask_as(user, "MKCALENDAR", path, &[], body);
        assert_eq!(made.status, 201, "{}", made.show());
    }

    /// Stores an event, as a client of Radicale.
    pub(crate) fn put(&self, path: &str, text: &str) {
        let put = self.ask("PUT", path, &[("Content-Type", "text/calendar; charset=utf-8")], text);
        assert!(matches!(put.status, 201 | 204), "{}", put.show());
    }

    pub(crate) fn delete(&self, path: &str) {
        let gone = self.ask("DELETE", path, &[], "");
        assert!(matches!(gone.status, 200 | 204), "{}", gone.show());
    }

    /// Reads an event's text.
    pub(crate) fn get(&self, path: &str) -> Option<String> {
        let answer = self.ask("GET", path, &[], "");
        match answer.status {
            200 => Some(String::from_utf8(answer.body).unwrap()),
            404 => None,
            _ => panic!("{}", answer.show()),
        }
    }

    /// Lists the files of a calendar with the times at which they were written.
    pub(crate) fn files(&self, calendar: &str) -> Vec<(String, std::time::SystemTime)> {
        let folder = self.folder.path().join("data/collection-root").join(calendar.trim_matches('/'));
        let mut files: Vec<_> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap())
            .filter(|entry| entry.file_name().to_string_lossy().ends_with(".ics"))
            .map(|entry| {
                (
                    entry.file_name().to_string_lossy().into_owned(),
                    entry.metadata().unwrap().modified().unwrap(),
                )
            })
            .collect();
        files.sort();
        files
    }

    /// Returns the names of a calendar's events.
    pub(crate) fn names(&self, calendar: &str) -> Vec<String> {
        self.files(calendar).into_iter().map(|(name, _)| name).collect()
    }
}

impl Drop for Radicale {
    fn drop(&mut self) {
        self.down();
    }
}

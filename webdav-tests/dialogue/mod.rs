//! Plays the dialogue files of `webdav-tests/dialogues` against the server. A new case is a new file there.
//!
//! Owns: reading, sending, comparing, reporting. Does not own: starting a server (`crate::host`).

mod expect;
mod script;
mod wire;
mod xpath;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use script::{Captures, Exchange, Lines, Script, Step};

pub(crate) use script::password;
pub(crate) use wire::{Request, Response, send};

/// A server that a dialogue talks to.
pub(crate) trait Host {
    /// Where it listens.
    fn address(&self) -> SocketAddr;
    /// Stops it and starts it again on the same store.
    fn restart(&mut self) -> Result<(), String>;
    /// Makes a bearer token with these scopes.
    fn token(&self, user: &str, scopes: &str) -> Result<String, String>;
}

/// What a file wants before its first request.
#[derive(Debug, Default)]
pub(crate) struct Setup {
    /// Accounts beside `anna` and `bert`.
    pub(crate) users: Vec<String>,
    /// Lines for the configuration file, `table.key = value`.
    pub(crate) config: Vec<String>,
}

/// Returns every `.http` file below the folder, sorted; `DIALOGUE=text` keeps those whose path contains it.
pub(crate) fn discover(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|e| e == "http") {
                found.push(path);
            }
        }
    }
    if let Ok(wanted) = std::env::var("DIALOGUE") {
        found.retain(|path| path.to_string_lossy().contains(&wanted));
    }
    found.sort();
    found
}

/// Starts a server as a file wishes it.
pub(crate) type Open<'a> = &'a dyn Fn(&Setup) -> Result<Box<dyn Host>, String>;

/// Plays one file. The error says where, what was expected and what came.
pub(crate) fn play(path: &Path, open: Open<'_>) -> Result<(), String> {
    let shown = path.to_string_lossy();
    let steps = load(path)?;
    if !steps.iter().any(|(_, step)| matches!(step, Step::Exchange(_))) {
        return Err(format!("{shown}: no request in the whole file"));
    }
    let mut stage = Stage {
        host: open(&setup(&steps)).map_err(|e| format!("{shown}: the server does not start: {e}"))?,
        known: Captures::new(),
        put: Vec::new(),
        lines: Lines::Usual,
        times: 1..=1,
        folder: path.parent().unwrap_or(Path::new(".")),
    };
    for (from, step) in &steps {
        let shown = from.to_string_lossy();
        match step {
            Step::Directive { line, text } => {
                stage.directive(text).map_err(|e| format!("{shown}:{line}: @{text}: {e}"))?;
            }
            Step::Exchange(exchange) => stage.exchange(exchange).map_err(|e| format!("{shown}:{e}"))?,
        }
    }
    Ok(())
}

/// Reads a file and, in their places, those that it includes.
fn load(path: &Path) -> Result<Vec<(PathBuf, Step)>, String> {
    let shown = path.to_string_lossy();
    let text = std::fs::read_to_string(path).map_err(|e| format!("{shown}: {e}"))?;
    let mut steps = Vec::new();
    for step in Script::parse(&text).map_err(|e| format!("{shown}: {e}"))?.steps {
        match &step {
            Step::Directive { text, .. } if text.starts_with("include ") => {
                let other = text.trim_start_matches("include ").trim();
                steps.extend(load(&path.parent().unwrap_or(Path::new(".")).join(other))?);
            }
            _ => steps.push((path.to_owned(), step)),
        }
    }
    Ok(steps)
}

fn setup(steps: &[(PathBuf, Step)]) -> Setup {
    let mut setup = Setup::default();
    for (_, step) in steps {
        let Step::Directive { text, .. } = step else { continue };
        if let Some(user) = text.strip_prefix("user ") {
            setup.users.push(user.trim().to_owned());
        } else if let Some(line) = text.strip_prefix("config ") {
            setup.config.push(line.trim().to_owned());
        }
    }
    setup
}

struct Stage<'a> {
    host: Box<dyn Host>,
    known: Captures,
    /// The body of the newest PUT.
    put: Vec<u8>,
    lines: Lines,
    times: std::ops::RangeInclusive<u32>,
    folder: &'a Path,
}

impl Stage<'_> {
    fn directive(&mut self, text: &str) -> Result<(), String> {
        match text.split_once(' ').map_or((text, ""), |(word, rest)| (word, rest.trim())) {
            ("user" | "config", _) => {}
            ("restart", "") => self.host.restart()?,
            ("token", rest) => {
                let (user, scopes) = rest.split_once(' ').ok_or("write it as anna read events")?;
                self.known.insert("token".into(), self.host.token(user, scopes)?);
            }
            ("lines", "lf") => self.lines = Lines::Lf,
            ("lines", "none") => self.lines = Lines::None,
            ("times", range) => {
                let (from, to) = range.split_once("..").ok_or("write it as 1..20")?;
                let number = |text: &str| text.trim().parse::<u32>().map_err(|e| e.to_string());
                self.times = number(from)?..=number(to)?;
            }
            _ => return Err("unknown directive".into()),
        }
        Ok(())
    }

    fn exchange(&mut self, exchange: &Exchange) -> Result<(), String> {
        let lines = std::mem::replace(&mut self.lines, Lines::Usual);
        for n in std::mem::replace(&mut self.times, 1..=1) {
            self.known.insert("n".into(), n.to_string());
            let at = exchange.line;
            let request =
                exchange.request(&self.known, lines, self.folder).map_err(|e| format!("{at}: {e}"))?;
            if request.method == "PUT" {
                self.put.clone_from(&request.body);
            }
            let response = send(self.host.address(), &request)
                .map_err(|e| format!("{at}: {} {}: {e}", request.method, request.target))?;
            for (line, expected) in &exchange.expected {
                expect::check(expected, &response, &self.put, &mut self.known).map_err(|wrong| {
                    let mut said = String::from_utf8_lossy(&request.body).into_owned();
                    if said.len() > 4_000 {
                        said = said.chars().take(4_000).collect();
                    }
                    format!(
                        "{line}: expected: {expected}\n    got: {wrong}\n--- request of line {at}\n{} {}\n{}\n\n{said}\n\
                         --- whole answer\n{}\n---",
                        request.method,
                        request.target,
                        request.headers.iter().map(|(n, v)| format!("{n}: {v}")).collect::<Vec<_>>().join("\n"),
                        response.show()
                    )
                })?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;

    use super::*;

    struct Fixed(SocketAddr);

    impl Host for Fixed {
        fn address(&self) -> SocketAddr {
            self.0
        }
        fn restart(&mut self) -> Result<(), String> {
            Ok(())
        }
        fn token(&self, user: &str, scopes: &str) -> Result<String, String> {
            Err(format!("{user} cannot have {scopes} here"))
        }
    }

    /// Answers every request with the same text.
    fn fixed(answer: &'static str) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut buffer = [0; 4096];
                let _ = stream.read(&mut buffer);
                let _ = stream.write_all(answer.as_bytes());
            }
        });
        address
    }

    fn run(text: &str, answer: &'static str) -> Result<(), String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("case.http");
        std::fs::write(&path, text).unwrap();
        let address = fixed(answer);
        play(&path, &|_| Ok(Box::new(Fixed(address))))
    }

    const ANSWER: &str = "HTTP/1.1 207 Multi-Status\r\nETag: \"1\"\r\nTransfer-Encoding: chunked\r\n\r\n\
                          5\r\n<a>x<\r\n3\r\n/a>\r\n0\r\n\r\n";

    #[test]
    fn a_dialogue_passes_or_says_where_it_fails() {
        run(
            "> GET /x <- as anna\n< 207\n< ETag: {etag:e}\n< {xml} /a = x\n> GET /y\n< 207\n< ETag: {e}\n",
            ANSWER,
        )
        .unwrap();
        let wrong = run("# c\n> GET /x\n< 207\n< {xml} /b\n", ANSWER).unwrap_err();
        assert!(wrong.contains("case.http:4: expected: {xml} /b"), "{wrong}");
        assert!(wrong.contains("<a>x</a>"), "{wrong}");
        assert!(run("> GET /x\n< 200\n", ANSWER).is_err());
        assert!(run("@nonsense\n> GET /x\n< 207\n", ANSWER).is_err());
        assert!(run("> GET /x\n< 200\n", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\ncut").is_err());
    }
}

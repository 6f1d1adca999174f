//! The first minutes: a server that nobody has an account on, and the link that makes the first one.

use kalends::config::Config;
use kalends::server::{Running, Server};
use std::net::SocketAddr;

use crate::dialogue::{Request, Response, send};
use crate::pages::{body, location};

struct Fresh {
    runtime: tokio::runtime::Runtime,
    running: Option<Running>,
    _folder: tempfile::TempDir,
}

impl Fresh {
    fn start() -> Fresh {
        let folder = tempfile::tempdir().unwrap();
        let config = Config {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            store: folder.path().join("db"),
            ..Config::default()
        };
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let running = runtime.block_on(Server::start(config)).unwrap();
        Fresh { runtime, running: Some(running), _folder: folder }
    }

    fn running(&self) -> &Running {
        self.running.as_ref().unwrap()
    }

    fn ask(&self, method: &str, path: &str, form: &[(&str, &str)], cookie: &str) -> Response {
        let mut text = url::form_urlencoded::Serializer::new(String::new());
        let body = if method == "POST" { text.extend_pairs(form).finish().into_bytes() } else { Vec::new() };
        let mut headers = vec![("Content-Type".to_owned(), "application/x-www-form-urlencoded".to_owned())];
        if !cookie.is_empty() {
            headers.push(("Cookie".into(), cookie.into()));
        }
        let request = Request { method: method.into(), target: path.into(), headers, body };
        send(self.running().address(), &request).unwrap()
    }
}

impl Drop for Fresh {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            self.runtime.block_on(running.shutdown());
        }
    }
}

/// Issue 5: the one-time link leads to an administrator who is signed in; afterwards it is worth nothing.
#[test]
fn the_link_makes_the_first_account_once() {
    let fresh = Fresh::start();
    let link = fresh.running().setup_link().to_owned();
    let path = link.strip_prefix(fresh.running().url()).unwrap().to_owned();
    let code = path.split_once("code=").unwrap().1.to_owned();
    let page = body(&fresh.ask("GET", "/", &[], ""));
    assert!(page.contains("Welcome to Kalends") && !page.contains(&code), "{page}");
    assert_eq!(fresh.ask("GET", "/setup", &[], "").status, 403);
    assert_eq!(fresh.ask("GET", "/setup?code=0000", &[], "").status, 403);
    assert!(body(&fresh.ask("GET", &path, &[], "")).contains(&code));

    let form = |user, password, again| {
        [
            ("code", code.as_str()),
            ("user", user),
            ("email", "anna@example.org"),
            ("password", password),
            ("again", again),
        ]
    };
    for (user, password, again, field) in [
        ("anna", "short", "short", "password"),
        ("anna", "long enough", "not it", "again"),
        ("", "long enough", "long enough", "user"),
    ] {
        let answer = fresh.ask("POST", "/setup", &form(user, password, again), "");
        let page = body(&answer);
        assert_eq!(answer.status, 422, "{page}");
        let at = page.find(&format!("id=\"f-{field}\"")).unwrap();
        assert!(page[at..].split('>').next().unwrap().contains("aria-invalid"), "{field}: {page}");
        assert!(page.contains("value=\"anna@example.org\"") && !page.contains("long enough"), "{page}");
    }
    let wrong = [("code", "0000"), ("user", "anna"), ("password", "long enough"), ("again", "long enough")];
    assert_eq!(fresh.ask("POST", "/setup", &wrong, "").status, 403);

    let made = fresh.ask("POST", "/setup", &form("anna", "long enough", "long enough"), "");
    let to = location(&made);
    let cookie = made.all("set-cookie")[0].split(';').next().unwrap().to_owned();
    let page = fresh.ask("GET", "/account", &[], &cookie);
    assert!(page.status == 200 && body(&page).contains("Administrator"), "{to}");
    let users = fresh.runtime.block_on(fresh.running().house().principals()).unwrap();
    assert!(users.len() == 1 && users[0].admin && users[0].emails == ["anna@example.org"]);

    assert_eq!(location(&fresh.ask("GET", &path, &[], "")), "/");
    assert_eq!(location(&fresh.ask("POST", "/setup", &form("bert", "long enough", "long enough"), "")), "/");
    assert_eq!(fresh.runtime.block_on(fresh.running().house().principals()).unwrap().len(), 1);
}

/// Issue 5: of many who use the link at a time one makes the account.
#[test]
fn of_many_with_the_link_one_gets_in() {
    let fresh = Fresh::start();
    let code = fresh.running().setup_link().split_once("code=").unwrap().1.to_owned();
    let mut cookies = 0;
    std::thread::scope(|scope| {
        let all: Vec<_> = (0..8)
            .map(|n| {
                let (fresh, code) = (&fresh, &code);
                scope.spawn(move || {
                    let user = format!("user{n}");
                    let form = [
                        ("code", code.as_str()),
                        ("user", &user),
                        ("password", "long enough"),
                        ("again", "long enough"),
                    ];
                    fresh.ask("POST", "/setup", &form, "").all("set-cookie").len()
                })
            })
            .collect();
        cookies = all.into_iter().map(|one| one.join().unwrap()).sum();
    });
    assert_eq!(cookies, 1);
    assert_eq!(fresh.runtime.block_on(fresh.running().house().principals()).unwrap().len(), 1);
}

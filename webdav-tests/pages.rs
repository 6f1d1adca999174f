//! Pages as a browser without scripts sees them: signing in and out, sessions, forms, what keeps others from acting in one's name.
//! The stage `web` drives them in a real browser.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};

use crate::dialogue::{Host as _, Request, Response, Setup, password, send};
use crate::host::Served;

/// A browser that keeps cookies and has no scripts.
pub(crate) struct Browser<'a> {
    served: &'a Served,
    pub(crate) cookies: BTreeMap<String, String>,
}

/// Returns what stands between two texts.
pub(crate) fn between<'a>(text: &'a str, before: &str, after: &str) -> &'a str {
    let from = text.find(before).unwrap_or_else(|| panic!("{before} is not in {text}")) + before.len();
    &text[from..from + text[from..].find(after).unwrap()]
}

pub(crate) fn body(answer: &Response) -> String {
    String::from_utf8_lossy(&answer.body).into_owned()
}

pub(crate) fn location(answer: &Response) -> String {
    assert_eq!(answer.status, 303, "{}", answer.show());
    answer.all("location")[0].to_owned()
}

impl<'a> Browser<'a> {
    pub(crate) fn new(served: &'a Served) -> Browser<'a> {
        Browser { served, cookies: BTreeMap::new() }
    }

    /// One that is signed in as anna.
    pub(crate) fn anna(served: &'a Served) -> Browser<'a> {
        let mut browser = Browser::new(served);
        let entered = browser.enter("anna", &password("anna"), "/");
        assert_eq!(location(&entered), "/");
        browser
    }

    pub(crate) fn ask(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        form: &[(&str, &str)],
    ) -> Response {
        let mut all: Vec<(String, String)> = vec![("User-Agent".into(), "Firefox/140 Linux".into())];
        all.extend(headers.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())));
        if !self.cookies.is_empty() {
            let pairs: Vec<String> = self.cookies.iter().map(|(n, v)| format!("{n}={v}")).collect();
            all.push(("Cookie".into(), pairs.join("; ")));
        }
        let mut bytes = Vec::new();
        if method == "POST" {
            all.push(("Content-Type".into(), "application/x-www-form-urlencoded".into()));
            let mut text = url::form_urlencoded::Serializer::new(String::new());
            bytes = text.extend_pairs(form).finish().into_bytes();
        }
        let request = Request { method: method.into(), target: path.into(), headers: all, body: bytes };
        let answer = send(self.served.address(), &request).unwrap();
        for cookie in answer.all("set-cookie") {
            let (name, rest) = cookie.split_once('=').unwrap();
            match rest.split(';').next().unwrap() {
                "" => self.cookies.remove(name),
                value => self.cookies.insert(name.to_owned(), value.to_owned()),
            };
        }
        answer
    }

    pub(crate) fn get(&mut self, path: &str) -> Response {
        self.ask("GET", path, &[], &[])
    }

    pub(crate) fn enter(&mut self, user: &str, password: &str, next: &str) -> Response {
        self.ask("POST", "/sign-in", &[], &[("user", user), ("password", password), ("next", next)])
    }

    /// Returns the word that changes have to say.
    pub(crate) fn word(&mut self) -> String {
        let page = body(&self.get("/account"));
        between(&page, "data-word=\"", "\"").to_owned()
    }

    /// Sends a form with the word.
    pub(crate) fn post(&mut self, path: &str, form: &[(&str, &str)]) -> Response {
        let word = self.word();
        let mut all = vec![("_word", word.as_str())];
        all.extend_from_slice(form);
        self.ask("POST", path, &[], &all)
    }
}

/// Issue 5: sign in and out; an expired session returns to where one was; only paths of this server.
#[test]
fn people_sign_in_where_they_wanted_to_go_and_out() {
    let served = Served::plain();
    let mut browser = Browser::new(&served);
    assert_eq!(browser.get("/").status, 200);
    let to = location(&browser.get("/account?x=1"));
    assert_eq!(to, "/sign-in?next=%2Faccount%3Fx%3D1");
    let page = body(&browser.get(&to));
    assert!(page.contains("name=\"next\" value=\"/account?x=1\""), "{page}");

    let wrong = browser.enter("anna", "guessed", "/account");
    assert_eq!(wrong.status, 422);
    let page = body(&wrong);
    assert!(
        page.contains("role=\"alert\"") && page.contains("value=\"anna\"") && !page.contains("guessed"),
        "{page}"
    );
    assert!(browser.cookies.is_empty());

    for elsewhere in ["https://evil.example/", "//evil.example/", "/\\evil.example"] {
        let mut other = Browser::new(&served);
        assert_eq!(location(&other.enter("anna", &password("anna"), elsewhere)), "/", "{elsewhere}");
    }
    assert_eq!(location(&browser.enter("Anna", &password("anna"), "/account?x=1")), "/account?x=1");
    assert_eq!(browser.get("/account").status, 200);

    let kept = browser.cookies.clone();
    assert_eq!(location(&browser.post("/sign-out", &[])), "/sign-in");
    assert!(browser.cookies.is_empty());
    browser.cookies = kept;
    assert!(location(&browser.get("/account")).starts_with("/sign-in"), "the old cookie opens nothing");
}

/// Issue 5: the password of a device opens no page, and a session is no token.
#[test]
fn only_the_accounts_own_password_opens_pages() {
    let served = Served::plain();
    let made = served.runtime().block_on(served.guard().add_app_password("anna", "phone")).unwrap();
    let mut browser = Browser::new(&served);
    assert_eq!(browser.enter("anna", &made.1, "/").status, 422);
    assert_eq!(browser.enter("nobody", "x", "/").status, 422);
    assert_eq!(browser.enter("", "", "/").status, 422);
    let mut browser = Browser::anna(&served);
    assert_eq!(browser.get("/api/v1/calendars").status, 401, "a cookie is nothing at the door of programs");
    assert_eq!(browser.get("/dav/").status, 401);
}

/// Issue 5: CSRF token on every change, SameSite cookies; a form of another site changes nothing.
#[test]
fn changes_are_made_from_our_own_pages_only() {
    let served = Served::plain();
    let mut browser = Browser::anna(&served);
    let word = browser.word();
    let other = Browser::anna(&served).word();
    assert_ne!(word, other, "each session has its own");
    for (headers, word) in [
        (vec![], ""),
        (vec![], "wrong"),
        (vec![], other.as_str()),
        (vec![("Sec-Fetch-Site", "cross-site")], word.as_str()),
        (vec![("Sec-Fetch-Site", "same-site")], word.as_str()),
        (vec![("Origin", "https://evil.example")], word.as_str()),
        (vec![("Origin", "null")], word.as_str()),
    ] {
        let answer = browser.ask("POST", "/sign-out", &headers, &[("_word", word)]);
        assert_eq!(answer.status, 403, "{headers:?} {word}: {}", answer.show());
    }
    assert_eq!(browser.get("/account").status, 200, "still signed in");
    let home = format!("http://{}", served.address());
    let headers = [("Sec-Fetch-Site", "same-origin"), ("Origin", home.as_str())];
    assert_eq!(browser.ask("POST", "/sign-out", &headers, &[("_word", &word)]).status, 303);
    // Nobody is signed in from another site, either.
    let form = [("user", "anna"), ("password", &password("anna")), ("next", "/")];
    let forged = Browser::new(&served).ask("POST", "/sign-in", &[("Origin", "https://evil.example")], &form);
    assert_eq!(forged.status, 403);
}

/// Issue 5: session list and sign-out everywhere; sessions outlive a restart, end with the password and with the account.
#[test]
fn sessions_are_listed_ended_and_outlive_a_restart() {
    let mut served = Served::plain();
    let [one, two, three] = [0; 3].map(|_| Browser::anna(&served).cookies);
    served.restart().unwrap();
    let as_of = |cookies: &BTreeMap<String, String>| Browser { served: &served, cookies: cookies.clone() };
    let page = body(&as_of(&one).get("/account"));
    assert_eq!(page.matches("Firefox, Linux").count(), 3, "{page}");
    let ids = page
        .split("/account/sessions/")
        .skip(1)
        .filter_map(|part| part.split("\"").next()?.strip_suffix("/end"));
    let ids: Vec<&str> = ids.collect();
    assert_eq!(ids.len(), 2, "this one is signed out with the button for it");
    let id = ids[0];
    assert_eq!(location(&as_of(&one).post(&format!("/account/sessions/{id}/end"), &[])), "/account");
    let open = |cookies| as_of(cookies).get("/account").status == 200;
    assert_eq!([&two, &three].iter().filter(|cookies| open(cookies)).count(), 1);
    // What is somebody else's does not exist.
    let mut bert = Browser::new(&served);
    bert.enter("bert", &password("bert"), "/");
    assert_eq!(bert.post(&format!("/account/sessions/{id}/end"), &[]).status, 404);
    // Whoever is signed out from elsewhere hears nothing any more, even if they were listening.
    let left = [&two, &three].into_iter().find(|cookies| open(cookies)).unwrap();
    let pairs: Vec<String> = left.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let mut live = std::net::TcpStream::connect(served.address()).unwrap();
    live.set_read_timeout(Some(std::time::Duration::from_secs(60))).unwrap();
    let head = format!("GET /live HTTP/1.1\r\nHost: x\r\nCookie: {}\r\n\r\n", pairs.join("; "));
    live.write_all(head.as_bytes()).unwrap();
    let mut heard = Vec::new();
    while !String::from_utf8_lossy(&heard).contains("retry: ") {
        let mut piece = [0; 512];
        let read = live.read(&mut piece).unwrap();
        assert!(read > 0, "{}", String::from_utf8_lossy(&heard));
        heard.extend_from_slice(&piece[..read]);
    }
    as_of(&one).post("/account/sessions/end-others", &[]);
    // The last piece of the answer: the stream is over, and not only quiet.
    while !heard.ends_with(b"0\r\n\r\n") {
        let mut piece = [0; 512];
        let read = live.read(&mut piece).expect("the stream goes on");
        assert!(read > 0);
        heard.extend_from_slice(&piece[..read]);
    }
    assert!(open(&one) && !open(&two) && !open(&three));
    served.runtime().block_on(served.guard().set_password("anna", "another one".into())).unwrap();
    assert!(!open(&one), "a changed password ends every session");
    let mut browser = Browser::new(&served);
    browser.enter("anna", "another one", "/");
    let fresh = browser.cookies;
    assert!(open(&fresh));
    served.runtime().block_on(served.guard().remove_user("anna")).unwrap();
    assert!(!open(&fresh));
}

/// Issue 5: a strict policy on every page; assets are cached for ever, compressed, and change their address with their content.
#[test]
fn pages_and_assets_say_what_a_browser_may_do() {
    let served = Served::plain();
    let mut browser = Browser::anna(&served);
    let page = browser.get("/account");
    let policy = page.all("content-security-policy").join("; ");
    for part in [
        "default-src 'none'",
        "script-src 'self';",
        "frame-ancestors 'none'",
        "form-action 'self'",
        "base-uri 'none'",
    ] {
        assert!(policy.contains(part), "{policy}");
    }
    assert!(!policy.contains("unsafe"), "{policy}");
    assert_eq!(page.all("x-content-type-options"), ["nosniff"]);
    assert_eq!(page.all("referrer-policy"), ["same-origin"]);
    assert_eq!(page.all("cache-control"), ["private, no-store"]);
    let text = body(&page);
    assert!(!text.contains("<script>") && !text.contains(" style=") && !text.contains("onclick"), "{text}");
    let mut seen = 0;
    for part in text.split("/assets/").skip(1) {
        let path = format!("/assets/{}", part.split(['"', '#']).next().unwrap());
        let asset = Browser::new(&served).ask("GET", &path, &[("Accept-Encoding", "gzip")], &[]);
        assert_eq!((asset.status, asset.all("content-encoding")), (200, vec!["gzip"]), "{path}");
        assert_eq!(asset.all("cache-control"), ["public, max-age=31536000, immutable"]);
        let tag = asset.all("etag")[0].to_owned();
        let again = Browser::new(&served).ask("GET", &path, &[("If-None-Match", &tag)], &[]);
        assert_eq!((again.status, again.body.len()), (304, 0));
        seen += 1;
    }
    assert!(seen > 4);
    let head = browser.ask("HEAD", "/account", &[], &[]);
    assert_eq!((head.status, head.body.len()), (200, 0));
}

/// interfaces.md: works under a path prefix; over https the cookie is for this server alone.
#[test]
fn pages_work_below_a_path_and_behind_https() {
    let config = vec!["server.base_url = \"https://cal.example.org/kalends\"".to_owned()];
    let served = Served::start(&Setup { config, ..Setup::default() }).unwrap();
    let mut browser = Browser::new(&served);
    let page = body(&browser.get("/kalends/sign-in"));
    assert!(
        page.contains("action=\"/kalends/sign-in\"") && page.contains("href=\"/kalends/assets/"),
        "{page}"
    );
    let form = [("user", "anna"), ("password", &password("anna")), ("next", "/account")];
    let entered = browser.ask("POST", "/kalends/sign-in", &[("Origin", "https://cal.example.org")], &form);
    assert_eq!(location(&entered), "/kalends/account");
    let cookie = entered.all("set-cookie").join("");
    assert!(cookie.starts_with("__Host-kalends-session=") && cookie.contains("; Path=/;"), "{cookie}");
    assert!(cookie.ends_with("; HttpOnly; SameSite=Lax; Secure"), "{cookie}");
    assert_eq!(browser.get("/kalends/account").status, 200);
    assert_eq!(location(&Browser::new(&served).get("/kalends/account")), "/kalends/sign-in?next=%2Faccount");
}

/// Repeated failures are slowed and counted as everywhere.
#[test]
fn guessing_on_the_page_is_slowed() {
    let served = Served::plain();
    let mut statuses = Vec::new();
    std::thread::scope(|scope| {
        let guess = || scope.spawn(|| Browser::new(&served).enter("anna", "guessed", "/").status);
        let all: Vec<_> = (0..24).map(|_| guess()).collect();
        statuses.extend(all.into_iter().map(|one| one.join().unwrap()));
    });
    assert!(statuses.contains(&429), "{statuses:?}");
    assert!(statuses.iter().all(|status| matches!(status, 422 | 429)), "{statuses:?}");
}

/// Issue 5: every page of the menu opens for who is signed in, and for nobody else.
#[test]
fn every_page_opens_for_members_alone() {
    let served = Served::plain();
    let mut browser = Browser::anna(&served);
    let page = body(&browser.get("/"));
    let menu = between(&page, "<nav", "</nav>");
    let paths: Vec<&str> = menu.split("href=\"").skip(1).filter_map(|part| part.split('"').next()).collect();
    let paths: Vec<&str> = paths.into_iter().filter(|path| !path.contains("/assets/")).collect();
    assert!(paths.len() > 5, "{paths:?}");
    for path in paths.iter().copied().filter(|path| *path != "/").chain([
        "/connect",
        "/connect/caldav",
        "/start",
        "/live",
        "/calendar/event",
    ]) {
        let to = location(&Browser::new(&served).get(path));
        assert!(to.starts_with("/sign-in?next="), "{path}: {to}");
        let part = Browser::new(&served).ask(
            "GET",
            path,
            &[("HX-Request", "true"), ("HX-Current-URL", "http://x/devices?a=b")],
            &[],
        );
        assert_eq!(part.all("hx-redirect"), ["/sign-in?next=%2Fdevices%3Fa%3Db"], "{path}");
    }
    for path in paths.iter().copied().chain(["/connect", "/connect/google", "/connect/caldav", "/start"]) {
        let page = browser.get(path);
        assert_eq!(page.status, 200, "{path}: {}", page.show());
        let text = body(&page);
        assert!(
            text.contains("<h1") && text.contains("aria-current=\"page\"") || path == "/start",
            "{path}: {text}"
        );
    }
    for (path, status) in [
        ("/connections/none", 404),
        ("/connect/none", 404),
        ("/mappings/none", 404),
        ("/conflicts/none", 404),
        ("/hello/guess", 404),
        ("/devices/profile/guess", 404),
    ] {
        assert_eq!(browser.get(path).status, status, "{path}");
    }
}

/// Issue 5: a form error is shown at its field with the value kept; a password never comes back.
#[test]
fn what_a_far_side_refuses_is_said_in_the_form() {
    let served = Served::plain();
    let mut browser = Browser::anna(&served);
    let form = [("url", "http://127.0.0.1:9/<dav>"), ("username", "demo"), ("password", "my secret")];
    let refused = browser.post("/connect/caldav", &form);
    let page = body(&refused);
    assert_eq!(refused.status, 422, "{page}");
    assert!(
        page.contains("value=\"http://127.0.0.1:9/&#60;dav&#62;\"") && page.contains("value=\"demo\""),
        "{page}"
    );
    assert!(!page.contains("my secret"), "{page}");
    assert!(page.contains("class=\"why\"") || page.contains("role=\"alert\""), "{page}");
}

/// Issue 5: a device's password is made on the page, shown once, and its profile is given once.
#[test]
fn a_device_gets_a_password_and_one_profile() {
    let served = Served::plain();
    let mut browser = Browser::anna(&served);
    assert_eq!(browser.post("/devices", &[("label", "")]).status, 422);
    let made = body(&browser.post("/devices", &[("label", "<phone>")]));
    let secret = between(&made, "class=\"secret\">", "<").to_owned();
    assert!(made.contains("&#60;phone&#62;") && secret.len() > 30, "{made}");
    let path = format!("/devices/profile/{}", between(&made, "/devices/profile/", "\""));
    let profile = Browser::new(&served).get(&path);
    assert_eq!(profile.all("content-type"), ["application/x-apple-aspen-config"]);
    assert!(body(&profile).contains(&secret));
    assert_eq!(Browser::new(&served).get(&path).status, 404, "once");
    let page = body(&browser.get("/devices"));
    assert!(!page.contains(&secret) && page.contains("&#60;phone&#62;"), "{page}");
    let revoke = format!("/devices/{}", between(&page, "action=\"/devices/", "\""));
    let mut bert = Browser::new(&served);
    bert.enter("bert", &password("bert"), "/");
    assert_eq!(bert.post(&revoke, &[]).status, 404, "what is somebody else's does not exist");
    assert_eq!(location(&browser.post(&revoke, &[])), "/devices");
    assert!(!body(&browser.get("/devices")).contains("&#60;phone&#62;"));
}

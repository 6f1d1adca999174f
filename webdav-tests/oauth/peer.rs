//! A far side in a few lines: gives out tokens, names an account and its calendars, opens channels. Its script is what a
//! test sets; the simulators know more.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use sha2::Digest as _;

/// A request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: String,
}

impl Asked {
    pub(crate) fn form(&self) -> BTreeMap<String, String> {
        url::form_urlencoded::parse(self.body.as_bytes()).into_owned().collect()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

/// What it knows and how it behaves.
pub(crate) struct Far {
    pub(crate) log: Vec<Asked>,
    /// Whose account it is.
    pub(crate) email: String,
    /// What a consent gives.
    pub(crate) scope: String,
    /// Seconds that an access token lives.
    pub(crate) life: i64,
    /// Seconds that a consent holds, if that is told.
    pub(crate) consent: Option<i64>,
    /// The challenge that the code was given for.
    pub(crate) challenge: String,
    /// A refresh gives another refresh token, and the old one ends with the first use of the new one.
    pub(crate) rotates: bool,
    /// The token endpoint answers this instead.
    pub(crate) refuses: Option<(u16, String)>,
    /// The next answer of the token endpoint is lost after it was given.
    pub(crate) loses: bool,
    /// Every answer takes this long.
    pub(crate) slow: Duration,
    /// Answers wait until this is taken back; a minute at most.
    pub(crate) held: bool,
    pub(crate) refresh: BTreeSet<String>,
    pub(crate) access: BTreeSet<String>,
    /// Calendars that cannot be watched.
    pub(crate) unwatched: bool,
    /// Seconds that a channel lives.
    pub(crate) channel_life: i64,
    /// The text of the feed.
    pub(crate) feed: String,
    /// The present, in seconds, as far as it matters.
    pub(crate) now: i64,
    made: u32,
}

pub(crate) struct Peer {
    pub(crate) address: SocketAddr,
    far: Arc<Mutex<Far>>,
}

const GOOGLE: &str = "https://www.googleapis.com/auth/calendar.events \
                      https://www.googleapis.com/auth/calendar.calendarlist.readonly \
                      https://www.googleapis.com/auth/userinfo.email";

impl Peer {
    pub(crate) fn start() -> Peer {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let far = Arc::new(Mutex::new(Far {
            log: Vec::new(),
            email: "anna@far.example".into(),
            scope: GOOGLE.into(),
            life: 3599,
            consent: None,
            challenge: String::new(),
            rotates: false,
            refuses: None,
            loses: false,
            slow: Duration::ZERO,
            held: false,
            refresh: BTreeSet::new(),
            access: BTreeSet::new(),
            unwatched: false,
            channel_life: 7 * 86_400,
            feed: String::new(),
            now: 0,
            made: 0,
        }));
        let shared = Arc::clone(&far);
        // The thread ends with the process; a test that is over asks nothing of it.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&shared);
                std::thread::spawn(move || serve(stream, &shared));
            }
        });
        Peer { address, far }
    }

    pub(crate) fn far(&self) -> MutexGuard<'_, Far> {
        self.far.lock().unwrap()
    }

    /// The requests to paths that begin so.
    pub(crate) fn asked(&self, path: &str) -> Vec<Asked> {
        self.far().log.iter().filter(|asked| asked.path.starts_with(path)).cloned().collect()
    }

    /// The options of a server whose far sides are all here.
    pub(crate) fn config(&self) -> Vec<String> {
        let at = format!("http://{}", self.address);
        vec![
            "[providers.google]".into(),
            "client_id = \"cid\"".into(),
            "client_secret = \"client-geheim\"".into(),
            format!("api_base = \"{at}/\""),
            format!("auth_url = \"{at}/auth\""),
            format!("token_url = \"{at}/token\""),
            format!("revoke_url = \"{at}/revoke\""),
            "[providers.outlook]".into(),
            "client_id = \"mid\"".into(),
            "client_secret = \"client-geheim\"".into(),
            format!("api_base = \"{at}/v1.0\""),
            format!("auth_url = \"{at}/auth\""),
            format!("token_url = \"{at}/token\""),
            "[providers.icloud]".into(),
            format!("url = \"{at}/icloud/\""),
            "[providers.cozi]".into(),
            format!("api_base = \"{at}/cozi/\""),
        ]
    }
}

impl Far {
    /// Nothing that was given out is worth anything any more.
    pub(crate) fn revoke_all(&mut self) {
        self.refresh.clear();
        self.access.clear();
    }

    fn answer(&mut self, asked: &Asked) -> Option<(u16, String)> {
        let path = asked.path.as_str();
        match (asked.method.as_str(), path) {
            ("POST", "/token") => {
                if let Some((status, body)) = &self.refuses {
                    return Some((*status, body.clone()));
                }
                let said = self.token(&asked.form());
                if std::mem::take(&mut self.loses) { None } else { Some(said) }
            }
            ("POST", "/revoke") => {
                let known = self.refresh.contains(asked.form().get("token").unwrap());
                self.revoke_all();
                Some((if known { 200 } else { 400 }, "{}".into()))
            }
            ("GET", "/feed.ics") => Some((200, self.feed.clone())),
            _ => Some(self.api(asked)),
        }
    }

    fn token(&mut self, form: &BTreeMap<String, String>) -> (u16, String) {
        let of = |name: &str| form.get(name).map_or("", String::as_str);
        if !matches!(of("client_id"), "cid" | "mid") || of("client_secret") != "client-geheim" {
            return (401, json!({"error": "invalid_client"}).to_string());
        }
        self.made += 1;
        let access = format!("access-geheim-{}", self.made);
        let refresh = format!("refresh-geheim-{}", self.made);
        let mut answer = json!({"access_token": access, "token_type": "Bearer", "expires_in": self.life,
            "scope": self.scope});
        if let Some(seconds) = self.consent {
            answer["refresh_token_expires_in"] = json!(seconds);
        }
        match of("grant_type") {
            "authorization_code" => {
                let challenge = URL_SAFE_NO_PAD.encode(sha2::Sha256::digest(of("code_verifier").as_bytes()));
                if of("code") != "good-code" || challenge != self.challenge {
                    return (400, json!({"error": "invalid_grant"}).to_string());
                }
                answer["refresh_token"] = json!(refresh);
                self.refresh.insert(refresh);
            }
            "refresh_token" if self.refresh.contains(of("refresh_token")) => {
                if self.rotates {
                    // The old one stays good until the new one is used.
                    let used = of("refresh_token").to_owned();
                    self.refresh.retain(|token| *token == used);
                    answer["refresh_token"] = json!(refresh);
                    self.refresh.insert(refresh);
                }
            }
            _ => {
                let words = json!({"error": "invalid_grant", "error_description": "Token has been expired or revoked."});
                return (400, words.to_string());
            }
        }
        self.access.insert(access);
        (200, answer.to_string())
    }

    fn api(&mut self, asked: &Asked) -> (u16, String) {
        let bearer = asked.headers.get("authorization").and_then(|text| text.strip_prefix("Bearer "));
        if !bearer.is_some_and(|token| self.access.contains(token)) {
            let error = json!({"error": {"code": 401, "message": "Invalid Credentials",
                "errors": [{"domain": "global", "reason": "authError", "message": "Invalid Credentials"}]}});
            return (401, error.to_string());
        }
        match (asked.method.as_str(), asked.path.as_str()) {
            ("GET", "/oauth2/v2/userinfo") => (200, json!({"email": self.email}).to_string()),
            ("GET", "/v1.0/me") => {
                (200, json!({"id": "1", "mail": null, "userPrincipalName": self.email}).to_string())
            }
            ("GET", "/calendar/v3/users/me/calendarList") => {
                let one = json!({"kind": "calendar#calendarListEntry", "etag": "\"1\"", "id": self.email,
                    "summary": "Anna", "primary": true, "accessRole": "owner", "timeZone": "Europe/Berlin"});
                let list = json!({"kind": "calendar#calendarList", "etag": "\"1\"", "nextSyncToken": "s",
                    "items": [one]});
                (200, list.to_string())
            }
            ("POST", path) if path.ends_with("/events/watch") => {
                if self.unwatched {
                    let reason = "pushNotSupportedForRequestedResource";
                    let error = json!({"error": {"code": 400, "message": "Not here",
                        "errors": [{"domain": "global", "reason": reason, "message": "Not here"}]}});
                    return (400, error.to_string());
                }
                let wish = asked.json();
                let expires = (self.now + self.channel_life) * 1000;
                let channel = json!({"kind": "api#channel", "id": wish["id"], "resourceId": "resource-1",
                    "resourceUri": "https://x.example/", "token": wish["token"], "expiration": expires.to_string()});
                (200, channel.to_string())
            }
            ("POST", "/calendar/v3/channels/stop") => (204, String::new()),
            ("GET", path) if path.ends_with("/events") => {
                let list = json!({"kind": "calendar#events", "etag": "\"1\"", "summary": "Anna",
                    "updated": "2026-01-01T00:00:00.000Z", "timeZone": "Europe/Berlin", "accessRole": "owner",
                    "defaultReminders": [], "nextSyncToken": "sync-1", "items": []});
                (200, list.to_string())
            }
            _ => (404, json!({"error": {"code": 404, "message": "Not Found", "errors": []}}).to_string()),
        }
    }
}

fn serve(mut stream: TcpStream, far: &Mutex<Far>) -> Option<()> {
    let mut input = Vec::new();
    let mut piece = [0u8; 4096];
    let end = loop {
        if let Some(at) = input.windows(4).position(|w| w == b"\r\n\r\n") {
            break at;
        }
        let n = stream.read(&mut piece).ok().filter(|n| *n > 0)?;
        input.extend_from_slice(&piece[..n]);
    };
    let head = String::from_utf8_lossy(&input[..end]).into_owned();
    let mut lines = head.lines();
    let mut first = lines.next()?.split(' ');
    let (method, target) = (first.next()?.to_owned(), first.next()?.to_owned());
    let headers: BTreeMap<String, String> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_lowercase(), value.trim().to_owned()))
        .collect();
    let length: usize = headers.get("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
    let mut body = input[end + 4..].to_vec();
    while body.len() < length {
        let n = stream.read(&mut piece).ok().filter(|n| *n > 0)?;
        body.extend_from_slice(&piece[..n]);
    }
    let path = target.split('?').next().unwrap_or_default();
    let asked = Asked {
        method,
        path: percent_encoding::percent_decode_str(path).decode_utf8_lossy().into_owned(),
        headers,
        body: String::from_utf8_lossy(&body).into_owned(),
    };
    let (said, slow) = {
        let mut far = far.lock().unwrap();
        far.log.push(asked.clone());
        (far.answer(&asked), far.slow)
    };
    std::thread::sleep(slow);
    for _ in 0..6000 {
        if !far.lock().unwrap().held {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let (status, body) = said?;
    let kind = if asked.path.ends_with(".ics") { "text/calendar" } else { "application/json" };
    let head = format!(
        "HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).ok()?;
    stream.write_all(body.as_bytes()).ok()
}

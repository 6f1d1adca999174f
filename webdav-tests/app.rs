//! A program at the JSON door of a server of this process: what its tests ask, and as whom.

use base64::Engine as _;
use serde_json::Value;

use crate::dialogue::{Host as _, Request, Response, Setup, password, send};
use crate::host::Served;

/// A server and a token of anna's.
pub(crate) struct App {
    pub(crate) served: Served,
    pub(crate) token: String,
}

impl App {
    /// Starts one; the token has these scopes.
    pub(crate) fn start(scopes: &str) -> App {
        App::with(scopes, &[])
    }

    /// Starts one with these lines of configuration.
    pub(crate) fn with(scopes: &str, config: &[&str]) -> App {
        let config = config.iter().map(|line| (*line).to_owned()).collect();
        let served = Served::start(&Setup { config, ..Setup::default() }).unwrap();
        let token = served.token("anna", scopes).unwrap();
        App { served, token }
    }

    /// Asks with a token and headers; the body is sent as JSON.
    pub(crate) fn send(
        &self,
        token: &str,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Response {
        say(&self.served, token, (method, path), headers, body)
    }

    /// Asks as anna's program.
    pub(crate) fn ask(&self, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
        let answer = self.send(&self.token, method, path, &[], body.as_ref());
        (answer.status, document(&answer))
    }

    /// Asks and expects it to go well.
    pub(crate) fn get(&self, path: &str) -> Value {
        let (status, document) = self.ask("GET", path, None);
        assert_eq!(status, 200, "{path}: {document}");
        document
    }

    /// Returns the id of anna's first calendar.
    pub(crate) fn calendar(&self) -> String {
        self.get("/calendars")["items"][0]["id"].as_str().unwrap().to_owned()
    }

    /// Speaks CalDAV as anna, to her first calendar.
    pub(crate) fn dav(&self, method: &str, name: &str, body: &str) -> Response {
        self.dav_bytes(method, name, body.as_bytes().to_vec())
    }

    /// The same with a body that may not be text.
    pub(crate) fn dav_bytes(&self, method: &str, name: &str, body: Vec<u8>) -> Response {
        let basic = base64::engine::general_purpose::STANDARD.encode(format!("anna:{}", password("anna")));
        let request = Request {
            method: method.to_owned(),
            target: format!("/dav/calendars/anna/calendar/{name}"),
            headers: vec![("Authorization".to_owned(), format!("Basic {basic}"))],
            body,
        };
        send(self.served.address(), &request).unwrap()
    }
}

/// Asks the JSON door of a server with a token and headers; the body is sent as JSON.
pub(crate) fn say(
    served: &Served,
    token: &str,
    (method, path): (&str, &str),
    headers: &[(&str, &str)],
    body: Option<&Value>,
) -> Response {
    let mut all = vec![("Authorization".to_owned(), format!("Bearer {token}"))];
    if body.is_some() {
        all.push(("Content-Type".to_owned(), "application/json".to_owned()));
    }
    all.extend(headers.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())));
    let request = Request {
        method: method.to_owned(),
        target: format!("/api/v1{path}"),
        headers: all,
        body: body.map(|b| b.to_string().into_bytes()).unwrap_or_default(),
    };
    send(served.address(), &request).unwrap()
}

/// Returns the JSON of an answer; null if it has no body.
pub(crate) fn document(answer: &Response) -> Value {
    if answer.body.is_empty() {
        return Value::Null;
    }
    serde_json::from_slice(&answer.body).unwrap_or_else(|_| panic!("{}", answer.show()))
}

/// Returns the problem document of a refusal, which has to be of that status and type.
#[track_caller]
pub(crate) fn problem(answer: &Response, status: u16, kind: &str) -> Value {
    let of = answer.all("content-type").first().map(|t| (*t).to_owned());
    let expected = (status, Some("application/problem+json"));
    assert_eq!((answer.status, of.as_deref()), expected, "{}", answer.show());
    let document = document(answer);
    assert!(document["type"].as_str().unwrap().ends_with(&format!("/{kind}")), "{document}");
    document
}

/// Returns an event of one hour; `start` like `20260105T090000Z`.
pub(crate) fn event(uid: &str, title: &str, start: &str) -> String {
    format!(
        "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//test//EN\r\nBEGIN:VEVENT\r\nUID:{uid}\r\n\
         DTSTAMP:20260101T000000Z\r\nDTSTART:{start}\r\nDURATION:PT1H\r\nSUMMARY:{title}\r\n\
         END:VEVENT\r\nEND:VCALENDAR\r\n"
    )
}

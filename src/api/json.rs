//! Requests and answers in JSON.

use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode, header};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

use super::problem::Problem;
use super::receipt::Slip;
use super::told::Parameter;
use crate::auth::Caller;
use crate::calendar::{House, Session};
use crate::http::{Reply, Request, reply_bytes};
use crate::store::{Etag, Origin, Timestamp};

/// The longest body.
const LONGEST: u64 = 1 << 20;
/// How many items a page has if nobody says.
const PAGE: usize = 100;
/// How many items a page has at most.
const MOST: usize = 500;

/// A request, read whole.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) caller: Caller,
    ids: Vec<String>,
    query: Vec<(String, String)>,
    if_match: Option<String>,
    accept: String,
    asked: String,
    /// The client, shortened.
    agent: String,
    json: bool,
    media: String,
    body: Bytes,
    /// Where a stream that broke off goes on.
    pub(super) last_event: Option<String>,
    /// Where the answer is kept, if the caller may ask again.
    pub(super) slip: Option<std::sync::Arc<Slip>>,
}

impl Call {
    pub(super) async fn read(
        mut request: Request,
        caller: Caller,
        ids: Vec<String>,
    ) -> Result<Call, Problem> {
        let last_event = request.header("last-event-id").map(str::to_owned);
        let accept = request.header("accept").unwrap_or_default().to_ascii_lowercase();
        let asked = request.query.clone().unwrap_or_default();
        let agent = request.header("user-agent").unwrap_or_default().chars().take(80).collect();
        let query = url::form_urlencoded::parse(request.query.as_deref().unwrap_or_default().as_bytes());
        let query = query.into_owned().collect();
        let if_match = request.header("if-match").map(str::to_owned);
        let essence = request.header("content-type").and_then(|t| t.split(';').next()).map(str::trim);
        let json = essence.is_none_or(|essence| {
            essence.eq_ignore_ascii_case("application/json")
                || essence.to_ascii_lowercase().ends_with("+json")
        });
        let media = essence.unwrap_or_default().to_ascii_lowercase();
        let body = if matches!(request.method, Method::GET | Method::HEAD) {
            Bytes::new()
        } else {
            request.bytes(LONGEST).await?
        };
        Ok(Call {
            caller,
            ids,
            query,
            if_match,
            accept,
            asked,
            agent,
            json,
            media,
            body,
            last_event,
            slip: None,
        })
    }

    /// Returns who is asking, by login name.
    pub(super) fn owner(&self) -> &str {
        &self.caller.principal.name
    }

    /// Returns a session of the caller.
    pub(super) fn session(&self, house: &std::sync::Arc<House>) -> Session {
        house.session(std::sync::Arc::clone(&self.caller.principal), self.origin())
    }

    /// Returns who writes, and with what.
    pub(super) fn origin(&self) -> Origin {
        let label = self.caller.label.chars().take(80).collect();
        Origin::Api { principal: self.owner().to_owned(), agent: self.agent.clone(), label }
    }

    /// Returns the name in the path.
    pub(super) fn id(&self) -> &str {
        self.ids.first().map_or("", String::as_str)
    }

    /// Returns the further names in the path, from 1.
    pub(super) fn part(&self, at: usize) -> &str {
        self.ids.get(at).map_or("", String::as_str)
    }

    /// Refuses a parameter that is given twice, or whose value its kind rules out.
    pub(super) fn agrees(&self, told: &[Parameter]) -> Result<(), Problem> {
        for parameter in told {
            let mut values = self.query.iter().filter(|(name, _)| name == parameter.name);
            let Some((_, value)) = values.next() else { continue };
            if values.next().is_some() {
                return Err(Problem::invalid(parameter.name, "It is given twice."));
            }
            if let Some(complaint) = parameter.complaint(value) {
                return Err(Problem::invalid(parameter.name, complaint));
            }
        }
        Ok(())
    }

    /// Returns a parameter of the query.
    pub(super) fn parameter(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// Returns the body as it came, with its media type in lower case, without parameters.
    pub(super) fn raw(&self) -> (&str, &Bytes) {
        (&self.media, &self.body)
    }

    /// Returns all that makes this wish what it is.
    pub(super) fn wish<'a>(&'a self, path: &'a str) -> [&'a [u8]; 4] {
        [path.as_bytes(), self.asked.as_bytes(), self.media.as_bytes(), &self.body]
    }

    /// Reads the body. An empty one is an empty object.
    pub(super) fn body<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        if !self.body.is_empty() && !self.json {
            return Err(Problem::media_type());
        }
        let bytes: &[u8] = if self.body.is_empty() { b"{}" } else { &self.body };
        let mut reader = serde_json::Deserializer::from_slice(bytes);
        let read = serde_path_to_error::deserialize(&mut reader)
            .map_err(|error| unread(&error.path().to_string(), error.inner()))?;
        reader.end().map_err(|error| unread("", &error))?;
        Ok(read)
    }

    /// Tells whether the caller said what they had read.
    pub(super) fn is_conditional(&self) -> bool {
        self.if_match.is_some()
    }

    /// Tells whether an event is wanted as iCalendar text.
    pub(super) fn prefers_calendar(&self) -> bool {
        let place = |media: &str| self.accept.find(media);
        match (place("text/calendar"), place("application/json")) {
            (Some(text), Some(json)) => text < json,
            (text, _) => text.is_some(),
        }
    }

    /// Refuses a body that says anything: there is nothing to say.
    pub(super) fn no_body(&self) -> Result<(), Problem> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Nothing {}
        self.body::<Nothing>().map(|_| ())
    }

    /// RFC 9110 §13.1.1: a change is carried out only to what the caller has read.
    pub(super) fn expect(&self, etag: &Etag) -> Result<(), Problem> {
        let Some(wanted) = &self.if_match else { return Ok(()) };
        let holds = wanted.split(',').map(str::trim).any(|tag| tag == "*" || tag.trim_matches('"') == etag.0);
        if holds { Ok(()) } else { Err(Problem::stale()) }
    }

    /// Returns how many items are wanted.
    pub(super) fn limit(&self) -> Result<usize, Problem> {
        self.limit_to(MOST)
    }

    /// The same for a list of which so many may be wanted at once.
    pub(super) fn limit_to(&self, most: usize) -> Result<usize, Problem> {
        match self.parameter("limit") {
            Some(text) => {
                text.parse::<usize>().ok().filter(|n| (1..=most).contains(n)).ok_or_else(|| {
                    Problem::invalid("limit", format!("The limit is a number from 1 to {most}."))
                })
            }
            None => Ok(PAGE),
        }
    }

    /// Returns how many items are wanted and after which.
    pub(super) fn page(&self) -> Result<Page, Problem> {
        let limit = self.limit()?;
        let after = match self.parameter("cursor") {
            Some(text) => Some(
                text.parse::<usize>()
                    .map_err(|_| Problem::invalid("cursor", "The cursor is not one of ours."))?,
            ),
            None => None,
        };
        Ok(Page { limit, skip: after.unwrap_or(0) })
    }
}

/// What part of a list is wanted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Page {
    limit: usize,
    skip: usize,
}

impl Page {
    /// Returns how much of the list has to be known.
    pub(super) fn need(self) -> usize {
        self.skip.saturating_add(self.limit).saturating_add(1)
    }

    /// Tells whether the item at this place of the list is on the page.
    pub(super) fn shows(self, at: usize) -> bool {
        (self.skip..self.skip.saturating_add(self.limit)).contains(&at)
    }

    /// Writes the page of the list.
    pub(super) fn reply(self, items: Vec<Value>) -> Result<Reply, Problem> {
        let end = self.skip.saturating_add(self.limit);
        let next = (items.len() > end).then(|| end.to_string());
        let items: Vec<Value> = items.into_iter().skip(self.skip).take(self.limit).collect();
        Ok(reply(StatusCode::OK, &json!({ "items": items, "next_cursor": next })))
    }
}

/// Returns the path of the member that a complaint of serde names in its first backticks.
fn named(path: &str, text: &str) -> String {
    let member = text.split('`').nth(1).filter(|_| !text.starts_with("unknown variant")).unwrap_or_default();
    let last = path.rsplit('.').next().unwrap_or_default();
    match (path, member) {
        (path, "") => path.to_owned(),
        ("", member) => member.to_owned(),
        (path, member) if last == member => path.to_owned(),
        (path, member) => format!("{path}.{member}"),
    }
}

/// What serde says of a body, without what it held: a body may hold a password.
fn unread(path: &str, error: &serde_json::Error) -> Problem {
    use serde_json::error::Category;
    let path = if path == "." { "" } else { path };
    match error.classify() {
        Category::Data => {
            let text = error.to_string();
            // `unknown field`, `missing field` and `unknown variant` name names only; the rest may quote values.
            let safe = ["unknown field", "missing field", "duplicate field", "unknown variant"];
            if safe.iter().any(|start| text.starts_with(start)) {
                Problem::invalid(&named(path, &text), format!("The body is not as it should be: {text}."))
            } else {
                let (line, column) = (error.line(), error.column());
                Problem::invalid(
                    path,
                    format!("A value of another type is needed at line {line}, column {column}."),
                )
            }
        }
        Category::Io | Category::Syntax | Category::Eof => Problem::malformed(format!(
            "The body is not JSON (line {}, column {}).",
            error.line(),
            error.column()
        )),
    }
}

/// Writes a document.
pub(super) fn reply(status: StatusCode, document: &Value) -> Reply {
    let mut reply = reply_bytes(status, "application/json", document.to_string());
    let etag = document.get("etag").and_then(Value::as_str);
    if let Some(Ok(value)) = etag.map(|tag| HeaderValue::from_str(&format!("\"{tag}\""))) {
        reply.headers_mut().insert(header::ETAG, value);
    }
    // Answers are one person's.
    reply.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    reply
}

/// Writes a moment: RFC 3339, UTC.
pub(super) fn time(at: Timestamp) -> Value {
    jiff::Timestamp::from_millisecond(at.0).map_or(Value::Null, |at| json!(at.to_string()))
}

/// Writes a moment that may not have come.
pub(super) fn time_or_null(at: Option<Timestamp>) -> Value {
    at.map_or(Value::Null, time)
}

/// Reads a member that may be absent (`None`), null (`Some(None)`) or there.
pub(super) fn present<'de, D, T>(deserializer: D) -> Result<Option<Option<T>>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    Option::<T>::deserialize(deserializer).map(Some)
}

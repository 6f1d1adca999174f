//! Asking the API: in this process, through its own route table, as the account that is signed in.
//!
//! Owns: the way there and back. Does not own: any rule. A page knows nothing that a program could not ask for.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use http_body_util::BodyExt as _;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::Web;
use super::form::Form;
use super::visit::{Stop, Visit};
use crate::api;
use crate::http::{Reply, Request};

/// An answer of the API.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) body: Value,
    /// Cookies for the browser: a consent has one of its own.
    pub(super) cookies: Vec<HeaderValue>,
}

/// One wish.
#[derive(Debug, Default)]
pub(super) struct Wish {
    body: Option<Value>,
    etag: Option<String>,
    once: Option<String>,
    media: Option<&'static str>,
}

impl Wish {
    /// With this body.
    pub(super) fn of(body: Value) -> Wish {
        Wish { body: Some(body), ..Wish::default() }
    }

    /// Only if it is still as it was read.
    pub(super) fn only_if(mut self, etag: &str) -> Wish {
        self.etag = Some(etag.to_owned()).filter(|etag| !etag.is_empty());
        self
    }

    /// As text of this media type.
    pub(super) fn text(mut self, media: &'static str) -> Wish {
        self.media = Some(media);
        self
    }

    /// Carried out once, however often the form is sent.
    pub(super) fn once(mut self, visit: &Visit) -> Wish {
        self.once = Some(visit.field("_once").to_owned()).filter(|once| !once.is_empty());
        self
    }
}

impl Web {
    /// Asks one of the API's routes; `path` is below its prefix.
    pub(super) async fn ask(
        &self,
        visit: &Visit,
        method: Method,
        path: &str,
        wish: Wish,
    ) -> Result<Answer, Stop> {
        let reply = self.raw(visit, method, path, wish).await?;
        let status = reply.status();
        let cookies = reply.headers().get_all(header::SET_COOKIE).iter().cloned().collect();
        let bytes = reply.into_body().collect().await.map_err(|error| Stop::Failed(error.to_string()))?;
        let bytes = bytes.to_bytes();
        let body = if bytes.is_empty() {
            Value::Null
        } else {
            serde_json::from_slice(&bytes).unwrap_or(Value::Null)
        };
        Ok(Answer { status, body, cookies })
    }

    /// Asks, and returns the answer as it is: a stream, or something that is not JSON.
    pub(super) async fn raw(
        &self,
        visit: &Visit,
        method: Method,
        path: &str,
        wish: Wish,
    ) -> Result<Reply, Stop> {
        let who = visit.member()?;
        let mut headers = HeaderMap::new();
        let mut set = |name: &'static str, value: Option<String>| {
            if let Some(Ok(value)) = value.map(|value| HeaderValue::from_str(&value)) {
                headers.insert(name, value);
            }
        };
        set("if-match", wish.etag.map(|etag| format!("\"{etag}\"")));
        set("idempotency-key", wish.once);
        set("accept", wish.media.map(str::to_owned));
        set("user-agent", Some(api::PAGES.to_owned()));
        let bytes = match wish.body {
            Some(body) => {
                headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
                Bytes::from(body.to_string())
            }
            None => Bytes::new(),
        };
        let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
        let request = Request {
            method,
            path: format!("{}{path}", api::PREFIX),
            query: query.map(str::to_owned),
            headers,
            peer: visit.peer,
            body: crate::http::body(bytes),
        };
        Ok(self.api.serve(request, Ok(who.caller.clone())).await)
    }

    /// Reads a document.
    pub(super) async fn read<T: DeserializeOwned>(&self, visit: &Visit, path: &str) -> Result<T, Stop> {
        let reply = self.raw(visit, Method::GET, path, Wish::default()).await?;
        let status = reply.status();
        let bytes = reply.into_body().collect().await.map_err(|error| Stop::Failed(error.to_string()))?;
        let bytes = bytes.to_bytes();
        if !status.is_success() {
            let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
            return Answer { status, body, cookies: Vec::new() }.read();
        }
        // A long list is read as what it is, and not into a tree first.
        serde_json::from_slice(&bytes).map_err(|error| Stop::Failed(format!("an answer of the API: {error}")))
    }

    /// Reads a list to its end, or as far as a page can show.
    pub(super) async fn list<T: DeserializeOwned>(
        &self,
        visit: &Visit,
        path: &str,
        most: usize,
    ) -> Result<Vec<T>, Stop> {
        let mut found = Vec::new();
        let mut cursor: Option<String> = None;
        loop {
            let joint = if path.contains('?') { '&' } else { '?' };
            let next = cursor.map(|cursor| format!("&cursor={}", encoded(&cursor))).unwrap_or_default();
            let page: Page<T> =
                self.read(visit, &format!("{path}{joint}limit={}{next}", most.min(500))).await?;
            found.extend(page.items);
            match page.next_cursor {
                Some(next) if found.len() < most => cursor = Some(next),
                _ => return Ok(found),
            }
        }
    }
}

/// A page of a list.
#[derive(Debug, serde::Deserialize)]
pub(super) struct Page<T> {
    pub(super) items: Vec<T>,
    pub(super) next_cursor: Option<String>,
}

impl Answer {
    /// Returns why not, in a sentence.
    pub(super) fn detail(&self) -> String {
        let detail = self.body.get("detail").and_then(Value::as_str);
        detail.unwrap_or(super::texts::T.failed_hint).to_owned()
    }

    /// Returns the answer, or stops with what is wrong.
    pub(super) fn good(self) -> Result<Value, Stop> {
        match self.status {
            status if status.is_success() => Ok(self.body),
            StatusCode::NOT_FOUND => Err(Stop::Missing),
            status if status.is_server_error() => Err(Stop::Failed(self.detail())),
            status => Err(Stop::Refused(status, self.detail())),
        }
    }

    /// Returns the answer as what it is.
    pub(super) fn read<T: DeserializeOwned>(self) -> Result<T, Stop> {
        serde_json::from_value(self.good()?)
            .map_err(|error| Stop::Failed(format!("an answer of the API: {error}")))
    }

    /// Returns the answer, or puts what is wrong beside the field that is meant.
    pub(super) fn or_told(self, form: &mut Form) -> Option<Value> {
        if self.status.is_success() {
            return Some(self.body);
        }
        let field = self.body.get("field").and_then(Value::as_str).unwrap_or_default();
        // What is changed of the rest of a series stands in the form as what is changed.
        form.refuse(field.strip_prefix("change.").unwrap_or(field), self.detail());
        None
    }
}

pub(super) use crate::http::path::segment as encoded;

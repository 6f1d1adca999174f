//! A browser's request, read whole, and why it may get no page.
//!
//! Owns: fields of forms, the proof that a change was meant, where somebody came from. Does not own: who may open what (`mod`).

use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode, header};

use super::texts::T;
use crate::auth::session::SignedIn;
use crate::calendar::{Error, Refusal};
use crate::http::Request;
use crate::store::Fault;

/// The longest form.
const LONGEST: u64 = 1 << 20;

/// Why there is no page.
#[derive(Debug)]
pub(super) enum Stop {
    /// It is elsewhere on this server.
    Go(String),
    /// Sign in first, and come back to this path.
    SignIn(String),
    /// There is no such page.
    Missing,
    /// Not with that method.
    Method,
    /// The change was not asked for on one of our pages.
    Forged,
    /// Only administrators open this.
    Admins,
    /// Too many requests came; not before this time.
    Slow(Duration),
    /// It cannot be done, in a sentence.
    Refused(StatusCode, String),
    /// It broke.
    Failed(String),
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Stop {
        Stop::Failed(fault.to_string())
    }
}

impl From<Error> for Stop {
    fn from(error: Error) -> Stop {
        match error {
            Error::Failed(fault) => fault.into(),
            Error::Refused(Refusal::Missing) => Stop::Missing,
            Error::Refused(Refusal::Bad(why)) => Stop::Refused(StatusCode::UNPROCESSABLE_ENTITY, why),
            Error::Refused(refusal) => {
                tracing::debug!("a page was refused: {refusal:?}");
                Stop::Refused(StatusCode::UNPROCESSABLE_ENTITY, T.not_done_hint.to_owned())
            }
        }
    }
}

/// A request for a page.
#[derive(Debug)]
pub(super) struct Visit {
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) headers: HeaderMap,
    pub(super) peer: IpAddr,
    pub(super) who: Option<SignedIn>,
    ids: Vec<String>,
    query: Vec<(String, String)>,
    asked: Option<String>,
    fields: Vec<(String, String)>,
}

fn pairs(bytes: &[u8]) -> Vec<(String, String)> {
    url::form_urlencoded::parse(bytes).into_owned().collect()
}

impl Visit {
    pub(super) async fn read(
        mut request: Request,
        ids: Vec<String>,
        who: Option<SignedIn>,
    ) -> Result<Visit, Stop> {
        let body = if matches!(request.method, Method::GET | Method::HEAD) {
            Bytes::new()
        } else {
            request.bytes(LONGEST).await.map_err(Error::from)?
        };
        let query = pairs(request.query.as_deref().unwrap_or_default().as_bytes());
        Ok(Visit {
            method: request.method,
            path: request.path,
            headers: request.headers,
            peer: request.peer,
            who,
            ids,
            query,
            asked: request.query,
            fields: pairs(&body),
        })
    }

    /// Returns who is signed in.
    pub(super) fn member(&self) -> Result<&SignedIn, Stop> {
        self.who.as_ref().ok_or_else(|| Stop::SignIn("/".to_owned()))
    }

    /// Returns the login name of who is signed in.
    pub(super) fn user(&self) -> Result<&str, Stop> {
        Ok(&self.member()?.caller.principal.name)
    }

    /// Returns the name in the path.
    pub(super) fn id(&self) -> &str {
        self.part(0)
    }

    /// Returns one of the names in the path.
    pub(super) fn part(&self, at: usize) -> &str {
        self.ids.get(at).map_or("", String::as_str)
    }

    /// Returns a parameter of the query; nothing if it is empty.
    pub(super) fn parameter(&self, name: &str) -> Option<&str> {
        let found = self.query.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str());
        found.filter(|value| !value.is_empty())
    }

    /// Returns a field of the form, without blanks around it; empty if it is not there.
    pub(super) fn field(&self, name: &str) -> &str {
        self.fields.iter().find(|(n, _)| n == name).map_or("", |(_, value)| value.trim())
    }

    /// Returns a field as it was typed.
    pub(super) fn typed(&self, name: &str) -> &str {
        self.fields.iter().find(|(n, _)| n == name).map_or("", |(_, value)| value.as_str())
    }

    /// Returns the fields of the form, without the proof.
    pub(super) fn fields(&self) -> impl Iterator<Item = (&str, &str)> {
        let own = |name: &str| !name.starts_with('_');
        self.fields.iter().map(|(n, v)| (n.as_str(), v.as_str())).filter(move |(n, _)| own(n))
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// Tells whether a part of a page is wanted.
    pub(super) fn fragment(&self) -> bool {
        self.headers.contains_key("hx-request")
    }

    /// Returns the page to come back to after signing in: this one, or the one with the form that was sent.
    pub(super) fn came_from(&self, prefix: &str) -> String {
        let own = match &self.asked {
            Some(asked) => format!("{}?{asked}", self.path),
            None => self.path.clone(),
        };
        if self.method == Method::GET && !self.fragment() {
            return own;
        }
        let from = self.header("hx-current-url").or_else(|| self.header("referer"));
        let from = from.and_then(|text| url::Url::parse(text).ok()).map(|url| {
            let path = url.path().strip_prefix(prefix).unwrap_or(url.path()).to_owned();
            url.query().map_or(path.clone(), |query| format!("{path}?{query}"))
        });
        local(from.as_deref().unwrap_or("/")).to_owned()
    }

    /// Refuses a change that was not asked for on one of our own pages: browsers say where a request comes from, and each form of
    /// a session carries its word.
    pub(super) fn meant(&self, base: &str) -> Result<(), Stop> {
        if self.header("sec-fetch-site").is_some_and(|site| !matches!(site, "same-origin" | "none")) {
            return Err(Stop::Forged);
        }
        if let Some(origin) = self.header("origin") {
            let called = self.headers.get(header::HOST).and_then(|host| host.to_str().ok());
            if !ours(origin, base, called) {
                return Err(Stop::Forged);
            }
        }
        match &self.who {
            Some(who) => {
                let word = self.header("x-kalends-word").unwrap_or_else(|| self.field("_word"));
                if who.said(word) { Ok(()) } else { Err(Stop::Forged) }
            }
            None => Ok(()),
        }
    }
}

/// Tells whether a page of this origin is one of ours: under the address that is configured with its very scheme, or under the one
/// that the browser called, whoever takes TLS off before us.
fn ours(origin: &str, base: &str, called: Option<&str>) -> bool {
    let parts = |text: &str| {
        let (scheme, rest) = text.split_once("://")?;
        let host = rest.split('/').next().unwrap_or_default();
        Some((scheme.to_ascii_lowercase(), host.to_ascii_lowercase())).filter(|(_, host)| !host.is_empty())
    };
    let Some(origin) = parts(origin) else { return false };
    match parts(base).filter(|base| base.1 == origin.1) {
        Some(base) => base == origin,
        None => {
            called.is_some_and(|called| called.eq_ignore_ascii_case(&origin.1))
                && matches!(origin.0.as_str(), "http" | "https")
        }
    }
}

/// Returns the path if it is one of this server, else the first page.
pub(super) fn local(path: &str) -> &str {
    let fine = path.starts_with('/')
        && !path.starts_with("//")
        && !path.contains('\\')
        && !path.chars().any(char::is_control)
        && !path.starts_with("/sign-in");
    if fine { path } else { "/" }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn people_come_back_to_this_server_only() {
        for path in ["/", "/mappings?x=1", "/conflicts/7#a"] {
            assert_eq!(local(path), path);
        }
        for path in
            ["", "//evil.example", "/\\evil.example", "https://evil.example", "/a\r\nb", "/sign-in?next=/"]
        {
            assert_eq!(local(path), "/", "{path}");
        }
    }

    #[test]
    fn changes_come_from_our_own_pages() {
        let base = "https://cal.example.org/kalends";
        for origin in ["https://cal.example.org", "HTTPS://Cal.Example.org", "http://10.0.0.5:8080"] {
            assert!(ours(origin, base, Some("10.0.0.5:8080")), "{origin}");
        }
        for origin in [
            "http://cal.example.org",
            "https://cal.example.org.evil.example",
            "null",
            "",
            "file://10.0.0.5:8080",
        ] {
            assert!(!ours(origin, base, Some("10.0.0.5:8080")), "{origin}");
        }
        assert!(!ours("https://evil.example", base, None));
    }
}

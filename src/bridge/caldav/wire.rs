//! CalDAV calls: requests with credentials, redirects by hand, multistatus answers, errors as `Trouble`.
//!
//! Owns: where credentials may go, how an answer is read, what a status means. Does not own: which calls are made
//! (`discover`, `mod`).

use base64::Engine as _;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use percent_encoding::percent_decode_str;
use url::Url;

use crate::auth::grant::Secret;
use crate::bridge::provider::{RemoteId, Trouble};
use crate::http::fetch::{Answer, Call, Fetch};
use crate::xml::{self, DAV, Element, Limits, caldav, dav};

/// The longest answer: a listing of 100,000 objects fits.
const LONGEST: usize = 64 << 20;
const LIMITS: Limits = Limits { bytes: LONGEST, depth: 64, nodes: 5_000_000 };
const REDIRECTS: usize = 10;

/// Who signs in.
#[derive(Debug, Clone)]
pub(super) struct Credentials {
    pub(super) username: String,
    pub(super) password: Secret,
}

/// Calls one account.
#[derive(Debug, Clone)]
pub(super) struct Wire {
    pub(super) fetch: Fetch,
    pub(super) credentials: Credentials,
    /// The address that the person gave; credentials are meant for it.
    pub(super) home: Url,
}

/// One `response` of a multistatus.
#[derive(Debug)]
pub(super) struct Row {
    /// The path in the server's spelling.
    pub(super) path: String,
    /// The status of the response as a whole.
    pub(super) status: Option<u16>,
    /// The properties that were found.
    pub(super) found: Element,
}

impl Row {
    pub(super) fn property(&self, name: &xml::Name) -> Option<&Element> {
        self.found.child(name)
    }

    /// Returns the text of a property; empty text is none.
    pub(super) fn text(&self, name: &xml::Name) -> Option<String> {
        self.property(name).map(|e| e.text().trim().to_owned()).filter(|text| !text.is_empty())
    }

    pub(super) fn is_collection(&self) -> bool {
        self.property(&dav("resourcetype")).is_some_and(|t| t.child(&dav("collection")).is_some())
    }

    pub(super) fn is_calendar(&self) -> bool {
        self.property(&dav("resourcetype")).is_some_and(|t| t.child(&caldav("calendar")).is_some())
    }
}

/// A multistatus (RFC 4918 §13).
#[derive(Debug)]
pub(super) struct Multistatus {
    pub(super) rows: Vec<Row>,
    /// RFC 6578 §6.4.
    pub(super) token: Option<String>,
    /// Where the answer came from, after redirects.
    pub(super) url: Url,
}

impl Wire {
    /// Sends a request that may be repeated and returns its multistatus.
    pub(super) async fn multistatus(
        &self,
        method: &str,
        url: &Url,
        depth: &'static str,
        body: Vec<u8>,
    ) -> Result<Multistatus, Trouble> {
        let (answer, url) = self.say(method, url, depth, body).await?;
        read(&answer, url)
    }

    /// Sends a request with an XML body, which may be repeated.
    pub(super) async fn say(
        &self,
        method: &str,
        url: &Url,
        depth: &'static str,
        body: Vec<u8>,
    ) -> Result<(Answer, Url), Trouble> {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/xml; charset=utf-8"));
        headers.insert("depth", HeaderValue::from_static(depth));
        let method = Method::from_bytes(method.as_bytes()).unwrap_or(Method::OPTIONS);
        self.call(method, url, headers, body.into()).await
    }

    /// Sends a request. Redirects are followed if the request may be repeated and the credentials may go there.
    pub(super) async fn call(
        &self,
        method: Method,
        url: &Url,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<(Answer, Url), Trouble> {
        // A create-only PUT that was carried out before the redirect would meet itself and be refused.
        let repeatable = !headers.contains_key(header::IF_NONE_MATCH);
        let mut url = url.clone();
        for _ in 0..=REDIRECTS {
            if !may_see_credentials(&self.home, &url) {
                return Err(Trouble::Refused(format!(
                    "{} leads to {}, another server; the password was not sent there. \
                     Connect to that address directly if it is the right one.",
                    host(&self.home),
                    host(&url)
                )));
            }
            let mut headers = headers.clone();
            headers.insert(header::AUTHORIZATION, self.credentials.basic());
            let call = Call {
                method: method.clone(),
                url: url.clone(),
                headers,
                body: body.clone(),
                limit: LONGEST,
            };
            let answer = self.fetch.send(call).await.map_err(Trouble::from)?;
            let target = match answer.status.as_u16() {
                // RFC 9110 §15.4.8, §15.4.9: nothing was carried out, and the method stays.
                307..=308 => answer.header("location"),
                301..=303 if repeatable => answer.header("location"),
                _ => None,
            };
            match target.and_then(|to| url.join(to).ok()) {
                Some(to) => url = to,
                None => return Ok((answer, url)),
            }
        }
        Err(Trouble::Unreachable(format!("{} redirects in circles", host(&self.home))))
    }
}

/// Reads the multistatus of an answer.
pub(super) fn read(answer: &Answer, url: Url) -> Result<Multistatus, Trouble> {
    if answer.status.as_u16() != 207 {
        return Err(trouble(answer, &url));
    }
    let Ok(root) = xml::parse(&answer.body, LIMITS) else {
        return Err(unreadable(&url, "it is not XML"));
    };
    if !root.name.is(DAV, "multistatus") {
        return Err(unreadable(&url, "it is not a multistatus"));
    }
    Ok(read_multistatus(&root, url))
}

impl Credentials {
    fn basic(&self) -> HeaderValue {
        let plain = zeroize::Zeroizing::new(format!("{}:{}", self.username, self.password.reveal()));
        let text = zeroize::Zeroizing::new(format!(
            "Basic {}",
            base64::engine::general_purpose::STANDARD.encode(plain.as_bytes())
        ));
        let mut value = HeaderValue::from_str(&text).unwrap_or_else(|_| HeaderValue::from_static("Basic"));
        value.set_sensitive(true);
        value
    }
}

/// Credentials go to the server that they were given for; beyond it only over https, and only within the same
/// registrable domain (an account's data may live on another machine of the same house). Never from https to http.
pub(super) fn may_see_credentials(home: &Url, to: &Url) -> bool {
    if home.scheme() == "https" && to.scheme() != "https" {
        return false;
    }
    let (Some(from_host), Some(to_host)) = (home.host_str(), to.host_str()) else { return false };
    if from_host.eq_ignore_ascii_case(to_host) {
        return home.scheme() != to.scheme() || home.port_or_known_default() == to.port_or_known_default();
    }
    to.scheme() == "https" && registrable(from_host).is_some_and(|d| Some(d) == registrable(to_host))
}

/// Returns the domain that somebody registered, as far as that can be told without the list of public suffixes: the
/// last two labels, or three below a country's short second level such as `co.uk`. Addresses have none.
fn registrable(host: &str) -> Option<String> {
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    if host.parse::<std::net::IpAddr>().is_ok() || host.contains(':') {
        return None;
    }
    let labels: Vec<&str> = host.rsplit('.').collect();
    let short = |label: Option<&&str>, most: usize| label.is_some_and(|l| l.len() <= most);
    let count = if short(labels.first(), 2) && short(labels.get(1), 3) { 3 } else { 2 };
    (labels.len() >= count).then(|| labels.iter().take(count).copied().collect::<Vec<_>>().join("."))
}

fn read_multistatus(root: &Element, url: Url) -> Multistatus {
    let rows = root
        .elements()
        .filter(|e| e.name.is(DAV, "response"))
        .flat_map(|response| {
            let status = response.child(&dav("status")).and_then(status_code);
            let mut found = Element::new(dav("prop"));
            for propstat in response.elements().filter(|e| e.name.is(DAV, "propstat")) {
                // A propstat without a status is read as found: some servers leave it out.
                let code = propstat.child(&dav("status")).and_then(status_code).unwrap_or(200);
                if let (200..=299, Some(prop)) = (code, propstat.child(&dav("prop"))) {
                    found.children.extend(prop.children.iter().cloned());
                }
            }
            let hrefs = response.elements().filter(|e| e.name.is(DAV, "href"));
            let url = &url;
            hrefs
                .filter_map(move |href| path_of(url, href.text().trim()))
                .map(|path| Row { path, status, found: found.clone() })
                .collect::<Vec<_>>()
        })
        .collect();
    let token = root.child(&dav("sync-token")).map(|e| e.text().trim().to_owned()).filter(|t| !t.is_empty());
    Multistatus { rows, token, url }
}

/// Returns the path of an href in the server's spelling; hrefs may name another host of the same house.
fn path_of(url: &Url, href: &str) -> Option<String> {
    if href.is_empty() {
        return None;
    }
    if href.starts_with('/') && !href.starts_with("//") {
        return Some(href.to_owned());
    }
    url.join(href).ok().map(|u| u.path().to_owned())
}

/// `HTTP/1.1 404 Not Found` → 404.
fn status_code(element: &Element) -> Option<u16> {
    element.text().split_whitespace().nth(1)?.parse().ok()
}

/// Two spellings of the same path are equal when they are the same decoded.
pub(super) fn decoded(path: &str) -> String {
    percent_decode_str(path).decode_utf8_lossy().into_owned()
}

/// Returns what the status of an answer that is not a success means.
pub(super) fn trouble(answer: &Answer, url: &Url) -> Trouble {
    let host = host(url);
    let status = answer.status.as_u16();
    let error = xml::parse(&answer.body, LIMITS).ok().filter(|e| e.name.is(DAV, "error"));
    match status {
        401 if only_digest(answer) => Trouble::Unauthorised(format!(
            "{host} asks for Digest sign-in, which is not supported; switch it to Basic (over https) there."
        )),
        401 => Trouble::Unauthorised(format!("{host} does not accept the user name and password.")),
        404 | 410 => Trouble::Missing(format!("{host} has nothing at {}.", url.path())),
        412 => Trouble::Stale,
        429 => Trouble::Slow(answer.retry_after()),
        503 if answer.headers.contains_key(header::RETRY_AFTER) => Trouble::Slow(answer.retry_after()),
        507 => Trouble::Refused(format!("The storage on {host} is full.")),
        413 => Trouble::Refused(format!("The event is too large for {host}.")),
        500..=599 => Trouble::Unreachable(format!("{host} answers with an error ({status}).")),
        403 | 409 if twin(error.as_ref()).is_some() => {
            let href = twin(error.as_ref()).flatten();
            Trouble::Taken(href.and_then(|h| path_of(url, &h)).map(RemoteId))
        }
        _ => {
            let precondition =
                error.and_then(|e| e.elements().next().map(|e| format!(" ({})", e.name.local)));
            Trouble::Refused(format!(
                "{host} refuses with status {status}{}.",
                precondition.unwrap_or_default()
            ))
        }
    }
}

/// RFC 4791 §5.3.2.1: `no-uid-conflict` holds the href of the object that has the UID. Outer nothing: not that error.
fn twin(error: Option<&Element>) -> Option<Option<String>> {
    let conflict = error?.child(&caldav("no-uid-conflict"))?;
    Some(conflict.child(&dav("href")).map(|href| href.text().trim().to_owned()))
}

fn only_digest(answer: &Answer) -> bool {
    let offers: Vec<String> = answer
        .headers
        .get_all(header::WWW_AUTHENTICATE)
        .iter()
        .filter_map(|v| v.to_str().ok())
        .map(str::to_ascii_lowercase)
        .collect();
    offers.iter().any(|o| o.contains("digest")) && !offers.iter().any(|o| o.contains("basic"))
}

/// Returns the trouble of an answer that is not what the standards say. `why` says nothing of what is in it.
pub(super) fn unreadable(url: &Url, why: &str) -> Trouble {
    tracing::warn!(shape = why, "a CalDAV server sent an answer that is not what it should be");
    Trouble::Unreachable(format!("{} sent an answer that cannot be read: {why}.", host(url)))
}

pub(super) fn host(url: &Url) -> &str {
    url.host_str().unwrap_or("the server")
}

/// Returns the value of a header that is made of a far side's own text.
pub(super) fn header_value(text: &str) -> Result<HeaderValue, Trouble> {
    HeaderValue::from_bytes(text.as_bytes())
        .map_err(|_| Trouble::Refused("The far side's mark of the event cannot be sent back.".into()))
}

/// Returns headers for a PUT.
pub(super) fn put_headers(condition: Option<(HeaderName, HeaderValue)>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/calendar; charset=utf-8"));
    headers.extend(condition);
    headers
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    #[test]
    fn credentials_stay_in_the_house_that_they_were_given_for() {
        let rows = [
            ("https://caldav.icloud.com/", "https://p12-caldav.icloud.com:443/1/calendars/", true),
            ("https://caldav.icloud.com/", "http://p12-caldav.icloud.com/", false),
            ("https://example.com/", "https://example.com:8443/", false),
            ("https://example.com/", "http://example.com/", false),
            ("http://example.com/", "https://example.com/", true),
            ("https://a.co.uk/", "https://b.co.uk/", false),
            ("https://x.a.co.uk/", "https://y.a.co.uk/", true),
            ("https://example.com/", "https://example.org/", false),
            ("https://example.com/", "https://example.com.evil.org/", false),
            ("https://10.0.0.1/", "https://10.0.0.2/", false),
            ("http://127.0.0.1:5232/", "http://127.0.0.1:5233/", false),
            ("http://127.0.0.1:5232/a", "http://127.0.0.1:5232/b", true),
            ("http://a.example.com/", "http://b.example.com/", false),
            ("https://localhost/", "https://localhost/x", true),
        ];
        for (from, to, expected) in rows {
            assert_eq!(may_see_credentials(&url(from), &url(to)), expected, "{from} → {to}");
        }
    }

    fn answer(status: u16, headers: &[(&'static str, &str)], body: &str) -> Answer {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, HeaderValue::from_str(value).unwrap());
        }
        Answer {
            status: http::StatusCode::from_u16(status).unwrap(),
            headers: map,
            body: body.to_owned().into(),
        }
    }

    #[test]
    fn statuses_become_plain_troubles() {
        let at = url("https://example.com/cal/x.ics");
        let conflict = "<D:error xmlns:D='DAV:' xmlns:C='urn:ietf:params:xml:ns:caldav'><C:no-uid-conflict>\
                        <D:href>/cal/twin.ics</D:href></C:no-uid-conflict></D:error>";
        let taken = |id: &str| Trouble::Taken(Some(RemoteId(id.into())));
        assert_eq!(trouble(&answer(403, &[], conflict), &at), taken("/cal/twin.ics"));
        assert_eq!(trouble(&answer(409, &[], conflict), &at), taken("/cal/twin.ics"));
        assert_eq!(trouble(&answer(412, &[], ""), &at), Trouble::Stale);
        let seconds = |n| Trouble::Slow(Some(Duration::from_secs(n)));
        assert_eq!(trouble(&answer(429, &[("retry-after", "17")], ""), &at), seconds(17));
        let dated =
            [("retry-after", "Sat, 21 Nov 2026 10:01:00 GMT"), ("date", "Sat, 21 Nov 2026 10:00:30 GMT")];
        assert_eq!(trouble(&answer(503, &dated, ""), &at), seconds(30));
        assert!(matches!(trouble(&answer(503, &[], ""), &at), Trouble::Unreachable(_)));
        assert!(matches!(trouble(&answer(401, &[], ""), &at), Trouble::Unauthorised(_)));
        let digest = trouble(&answer(401, &[("www-authenticate", "Digest realm=\"x\"")], ""), &at);
        assert!(digest.to_string().contains("Digest"), "{digest}");
        assert!(matches!(trouble(&answer(404, &[], "<html>"), &at), Trouble::Missing(_)));
        assert!(matches!(trouble(&answer(403, &[], "<html>"), &at), Trouble::Refused(_)));
    }

    #[test]
    fn a_multistatus_is_read_whoever_wrote_it() {
        let text = "<d:multistatus xmlns:d='DAV:'>\
            <d:response><d:href>https://other.example.com/cal/a%20b.ics</d:href><d:propstat><d:prop><d:getetag>\"1\"\
            </d:getetag></d:prop><d:status>HTTP/1.1 200 OK</d:status></d:propstat><d:propstat><d:prop>\
            <d:displayname>no</d:displayname></d:prop><d:status>HTTP/1.1 404 Not Found</d:status></d:propstat>\
            </d:response><d:response><d:href>c.ics</d:href><d:status>HTTP/1.1 404 Not Found</d:status></d:response>\
            <d:sync-token> t1 </d:sync-token></d:multistatus>";
        let read =
            read_multistatus(&xml::parse(text.as_bytes(), LIMITS).unwrap(), url("https://example.com/cal/"));
        assert_eq!(read.token.as_deref(), Some("t1"));
        assert_eq!(read.rows[0].path, "/cal/a%20b.ics");
        assert_eq!(read.rows[0].text(&dav("getetag")).as_deref(), Some("\"1\""));
        assert_eq!(read.rows[0].text(&dav("displayname")), None);
        assert_eq!((read.rows[1].path.as_str(), read.rows[1].status), ("/cal/c.ics", Some(404)));
        assert_eq!(decoded("/cal/a%20b%C3%A4.ics"), "/cal/a bä.ics");
    }
}

//! The WebDAV door: method × resource → the function that answers (RFC 4918, RFC 4791 and their kin).
//!
//! Owns: which methods exist on what, the `DAV` and `Allow` headers, in which order a request is looked at.
//! Does not own: the rules of calendars (`calendar`), who is asking (`auth`).

mod gate;
mod live;
mod lock;
mod method;
mod multistatus;
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod page;
mod place;
mod precondition;
mod property;
mod report;
mod resource;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod testing;

use std::sync::Arc;

use http::header::ALLOW;
use http::{HeaderValue, StatusCode};

pub use multistatus::{Multistatus, status_line};
pub use precondition::{Denied, Protocol};
pub use property::{Asked, CALENDAR_DATA, Get, Property, Set, Want, live_property, table};
pub use resource::{Facts, Kinds, Members, Node, Resource};

use crate::calendar::{House, Refusal, Session};
use crate::http::{Href, Reply, Request, Site, encode, reply_empty};
use crate::xml::{Element, Limits};

/// What is implemented, as the `DAV` header says it. Thunderbird drops the first token before it looks.
const CLASSES: HeaderValue =
    HeaderValue::from_static("1, 2, 3, access-control, extended-mkcol, calendar-access");

/// How the door is set up.
#[derive(Debug, Clone)]
pub struct Options {
    /// `server.base_url`: what clients see.
    pub base_url: String,
    /// Answer OPTIONS on `/remote.php/dav`, which GNOME Online Accounts insists on.
    pub decoy: bool,
}

/// The door.
#[derive(Debug)]
pub struct Dav {
    house: Arc<House>,
    site: Arc<Site>,
    decoy: bool,
    locking: Arc<tokio::sync::Mutex<()>>,
}

/// What every step of one request needs to know.
#[derive(Debug, Clone)]
pub struct Scope {
    /// Who is asking, with which house.
    pub session: Session,
    /// Where the server is found from outside.
    pub site: Arc<Site>,
    /// The request's `Host`, and what a proxy says that it was.
    pub hosts: [Option<Arc<str>>; 2],
    /// `Prefer: return=minimal` (RFC 8144) or `Brief: t`.
    pub minimal: bool,
    /// Held while a lock is taken.
    locking: Arc<tokio::sync::Mutex<()>>,
}

impl Scope {
    /// Returns the path of the session's principal.
    pub fn principal_path(&self) -> String {
        self.own_path("/dav/principals/")
    }

    /// Returns the path of the session's calendar home.
    pub fn home_path(&self) -> String {
        self.own_path("/dav/calendars/")
    }

    fn own_path(&self, branch: &str) -> String {
        let mut path = String::with_capacity(64);
        path.push_str(self.site.prefix());
        path.push_str(branch);
        encode(&self.session.principal.name, &mut path);
        path.push('/');
        path
    }

    /// Finds what an href of a body or header names.
    ///
    /// # Errors
    /// When it names nothing here.
    pub fn locate(&self, text: &str) -> Result<Href, crate::http::Elsewhere> {
        self.site.locate(text, &self.hosts)
    }
}

impl Dav {
    /// Opens the door.
    ///
    /// # Errors
    /// A sentence if the base URL cannot be used.
    pub fn new(house: Arc<House>, options: Options) -> Result<Dav, String> {
        let site = Arc::new(Site::new(&options.base_url)?);
        Ok(Dav { house, site, decoy: options.decoy, locking: Arc::default() })
    }

    /// Returns the house behind the door.
    pub fn house(&self) -> &Arc<House> {
        &self.house
    }

    /// Answers what needs no sign-in: the redirect of RFC 6764 §5 for every method, and the decoy.
    pub fn unauthenticated(&self, request: &Request) -> Option<Reply> {
        match Href::parse(&request.path)? {
            Href::WellKnown => {
                let mut reply = reply_empty(StatusCode::MOVED_PERMANENTLY);
                let location = HeaderValue::from_str(&self.site.path(&Href::Context)).ok()?;
                reply.headers_mut().insert(http::header::LOCATION, location);
                Some(reply)
            }
            // GNOME Online Accounts wants to see any WebDAV here before it looks for calendars.
            Href::Decoy if self.decoy && request.method == http::Method::OPTIONS => {
                let mut reply = reply_empty(StatusCode::OK);
                reply.headers_mut().insert("dav", HeaderValue::from_static("1"));
                reply.headers_mut().insert(ALLOW, HeaderValue::from_static("OPTIONS"));
                Some(reply)
            }
            _ => None,
        }
    }

    /// Returns the one spelling of a request's path that clients are told.
    fn canonical(&self, path: &str) -> String {
        match Href::parse(path) {
            Some(href) => self.site.path(&href),
            None => format!("{}{path}", self.site.prefix()),
        }
    }

    /// Answers a request of a principal that has signed in.
    pub async fn serve(&self, request: Request, session: Session) -> Reply {
        if let Some(reply) = self.unauthenticated(&request) {
            return reply;
        }
        let minimal = crate::http::minimal(&request.headers);
        let scope = Scope {
            session,
            site: Arc::clone(&self.site),
            hosts: [request.header("host"), request.header("x-forwarded-host")].map(|h| h.map(Arc::from)),
            minimal,
            locking: Arc::clone(&self.locking),
        };
        let plain = matches!(request.method.as_str(), "GET" | "HEAD" | "PUT" | "DELETE");
        let path = request.path.clone();
        let mut reply = match method::serve(scope, request).await {
            Ok(reply) => reply,
            Err(denied) => denied.reply(&self.canonical(&path)),
        };
        if minimal && reply.status() == StatusCode::MULTI_STATUS {
            let applied = HeaderValue::from_static("return=minimal");
            reply.headers_mut().insert("preference-applied", applied);
        }
        // iCal reads the tokens from PROPFIND answers.
        if !plain {
            reply.headers_mut().insert("dav", CLASSES);
        }
        reply
    }
}

/// Reads a request's XML body. Nothing: it is empty.
///
/// # Errors
/// `Bad` if it is no XML, `MediaType` if it says that it is something else, `TooLarge`.
async fn xml_body(request: &mut Request) -> Result<Option<Element>, Denied> {
    let limits = Limits::default();
    let bytes = request.bytes(limits.bytes as u64).await?;
    if bytes.is_empty() {
        return Ok(None);
    }
    if let Some(sent) = request.header("content-type") {
        let essence = sent.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        // Some clients leave the type out or send that of a form; what parses as XML is XML.
        let other = essence.starts_with("application/json") || essence.starts_with("text/calendar");
        if other {
            return Err(Protocol::MediaType(essence).into());
        }
    }
    match crate::xml::parse(&bytes, limits) {
        Ok(element) => Ok(Some(element)),
        Err(error) if error.wants_external_entity() => Err(Protocol::NoExternalEntities.into()),
        Err(error) => Err(Refusal::Bad(error.0).into()),
    }
}

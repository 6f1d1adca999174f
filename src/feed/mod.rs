//! The door for subscribers: `/feeds/…` and `/freebusy/…`. Nobody signs in here: who knows the address may read.
//!
//! Owns: what is answered under an address, validators, compression, the page for people. Does not own: which links there
//! are (`link`; the API makes them), what the text says (`text`).
//!
//! The tag of an answer follows from where the logs of its calendars stand: a subscriber who has that already costs no
//! reading (RFC 9110 §13.1.2).

mod link;
mod page;
mod text;

use std::io::Write as _;
use std::sync::Arc;

use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use tokio::sync::Semaphore;

pub use link::{Chosen, Link, LinkError, Links, Scope};

use crate::calendar::{Error, House, Readable, Shown, zone_of};
use crate::http::{Reply, Request, Site, reply_bytes};
use crate::ical::series::TimeRange;
use crate::ical::zone::Zone;
use crate::store::{CollectionId, Etag, Fault, Kind, Origin, Timestamp};

const DAY: i64 = 86_400;
/// What of the past and of the future a feed shows.
const PAST: i64 = 90 * DAY;
const FUTURE: i64 = 2 * 366 * DAY;
/// What published busy time covers if nobody says.
const BUSY: i64 = 60 * DAY;
/// And at most.
const BUSY_MOST: i64 = 2 * 366 * DAY;
/// Bodies below this are not worth compressing.
const SMALL: usize = 1024;

/// The door.
#[derive(Debug)]
pub struct Feeds {
    house: Arc<House>,
    links: Arc<Links>,
    site: Site,
    hints: Hints,
    /// Answers that are being written.
    places: Semaphore,
}

/// What is asked, without the body.
#[derive(Debug)]
struct Asked {
    headers: HeaderMap,
    query: Option<String>,
}

impl Asked {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

/// How subscribers are asked to look again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hints {
    /// After so many seconds.
    pub refresh: u64,
    /// Also under a name that no reader is known to heed (E26).
    pub x_wr_refresh: bool,
}

/// What of a link is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Calendar,
    Page,
    FreeBusy,
}

impl Feeds {
    /// Returns the door.
    ///
    /// # Errors
    /// A sentence if the base URL is none.
    pub fn new(house: Arc<House>, links: Arc<Links>, base_url: &str, hints: Hints) -> Result<Feeds, String> {
        let places = Semaphore::new(PLACES);
        Ok(Feeds { house, links, site: Site::new(base_url)?, hints, places })
    }

    /// Answers a request whose path begins with `/feeds` or `/freebusy`.
    pub async fn serve(&self, request: Request) -> Reply {
        let head = request.method == Method::HEAD;
        if !head && request.method != Method::GET {
            let mut reply = said(StatusCode::METHOD_NOT_ALLOWED, "A feed can only be read.\n");
            reply.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
            return reply;
        }
        let path = request.path.trim_start_matches('/');
        let found = match path.split('/').collect::<Vec<_>>().as_slice() {
            // A name after the secret is for people and programs that look at the end of an address.
            ["feeds", told, name] if name.ends_with(".ics") => Some((*told, Form::Calendar)),
            ["feeds", told] => match told.rsplit_once('.') {
                Some((told, "ics")) => Some((told, Form::Calendar)),
                Some((told, "html")) => Some((told, Form::Page)),
                _ => None,
            },
            ["freebusy", told] => Some((told.strip_suffix(".ifb").unwrap_or(told), Form::FreeBusy)),
            _ => None,
        };
        let Some((told, form)) = found else { return nothing() };
        let told = percent_encoding::percent_decode_str(told).decode_utf8_lossy().into_owned();
        let asked = Asked { headers: request.headers, query: request.query };
        match self.answer(&asked, &told, form).await {
            Ok(reply) => reply,
            // An error never looks like an empty calendar.
            Err(error) => {
                tracing::error!("a feed could not be read: {error:?}");
                let mut reply = said(StatusCode::SERVICE_UNAVAILABLE, "The feed cannot be read just now.\n");
                reply.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("60"));
                reply
            }
        }
    }

    async fn answer(&self, asked: &Asked, told: &str, form: Form) -> Result<Reply, Error> {
        let Some(link) = self.links.find(told).await? else { return Ok(nothing()) };
        let Some(principal) = self.house.principal(&link.owner).await? else { return Ok(nothing()) };
        let session = self.house.session(principal, Origin::System);
        let mut calendars = Vec::new();
        for id in &link.calendars {
            let Some(found) = self.house.store.collection(CollectionId(*id)).await? else { continue };
            // In the trash it shows nothing.
            if let Ok(calendar) = session.readable(found)
                && calendar.collection().kind == Kind::Calendar
                && calendar.collection().parent != CollectionId::TRASH
            {
                calendars.push(calendar);
            }
        }
        let now = self.house.clock.now();
        let range = match range(asked, form, now) {
            Ok(range) => range,
            Err(why) => return Ok(said(StatusCode::BAD_REQUEST, why)),
        };
        let packed = accepts_gzip(asked) && form != Form::FreeBusy;
        let (etag, modified) = validators(&link, &calendars, form, range, packed).await?;
        if is_known(asked, &etag, modified) {
            return Ok(dressed(crate::http::reply_empty(StatusCode::NOT_MODIFIED), &etag, modified));
        }
        // Whole calendars lie in memory meanwhile: others wait.
        let Ok(_place) = self.places.acquire().await else { return Ok(nothing()) };
        let (media, body) = match form {
            Form::Calendar => (CALENDAR, self.text(&link, &calendars, told, range).await?),
            Form::Page => (PAGE, self.page(&link, &calendars, told, now).await?),
            Form::FreeBusy => {
                let mut periods = Vec::new();
                for calendar in &calendars {
                    periods.extend(calendar.busy(range, &zone(calendar)).await?);
                }
                (CALENDAR, text::freebusy(range, periods, modified.seconds()))
            }
        };
        let packed = packed && body.len() >= SMALL;
        let bytes = if packed {
            let work = tokio::task::spawn_blocking(move || gzip(body.as_bytes()));
            work.await
                .map_err(|error| Fault::Broken(format!("a feed could not be compressed: {error}")))??
        } else {
            body.into_bytes()
        };
        let mut reply = reply_bytes(StatusCode::OK, media, bytes);
        let headers = reply.headers_mut();
        if packed {
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        if form == Form::Calendar {
            let name = HeaderValue::from_static("inline; filename=\"calendar.ics\"");
            headers.insert(header::CONTENT_DISPOSITION, name);
        }
        if form == Form::Page {
            let policy = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'";
            headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
        }
        Ok(dressed(reply, &etag, modified))
    }

    async fn text(
        &self,
        link: &Link,
        calendars: &[Readable],
        told: &str,
        range: TimeRange,
    ) -> Result<String, Error> {
        let mut feed = text::Feed::new(link.scope, link.alarms, &link.id, range);
        for calendar in calendars {
            for meta in calendar.in_range(range).await? {
                if meta.index.component != "VEVENT" {
                    continue;
                }
                // Gone in between: its log row makes the next tag another one.
                if let Some(object) = calendar.object(meta.name.as_str()).await? {
                    feed.add(&object.bytes);
                }
            }
        }
        let first = calendars.first().map(|calendar| calendar.collection());
        let color = first.filter(|_| calendars.len() == 1).and_then(|c| Shown::Color.get(&c.properties));
        let zone = calendars.first().and_then(|calendar| zone(calendar).name().map(str::to_owned));
        Ok(feed.finish(&text::Head {
            name: &link.name,
            color: color.as_deref(),
            zone: zone.as_deref(),
            hints: self.hints,
            url: &self.site.absolute(&format!("/feeds/{}.ics", encoded(told))),
        }))
    }

    async fn page(
        &self,
        link: &Link,
        calendars: &[Readable],
        told: &str,
        now: Timestamp,
    ) -> Result<String, Error> {
        let range = TimeRange::new(Some(now.seconds() - DAY), Some(now.seconds() + 60 * DAY));
        let mut page = page::Page::new(link.scope);
        for calendar in calendars {
            let zone = zone(calendar);
            for meta in calendar.in_range(range).await? {
                if meta.index.component == "VEVENT"
                    && let Some(object) = calendar.object(meta.name.as_str()).await?
                {
                    page.add(&object.bytes, range, &zone);
                }
            }
        }
        let zone = calendars.first().map_or(Zone::Utc, zone);
        Ok(page.finish(&link.name, &self.site.absolute(&format!("/feeds/{}.ics", encoded(told))), &zone))
    }
}

/// Answers that are written at a time.
const PLACES: usize = 4;
const CALENDAR: &str = "text/calendar; charset=utf-8";
const PAGE: &str = "text/html; charset=utf-8";

/// What stands in an address as it is.
const PLAIN: &percent_encoding::AsciiSet = &percent_encoding::NON_ALPHANUMERIC.remove(b'-').remove(b'_');

/// Returns what stands in the address of a link as it is written there.
pub fn encoded(told: &str) -> String {
    percent_encoding::utf8_percent_encode(told, PLAIN).to_string()
}

/// The zone of a calendar's times that have none.
fn zone(calendar: &Readable) -> Zone {
    zone_of(&calendar.collection().properties).unwrap_or(Zone::Utc)
}

/// What is shown moves on once a day, so that the bytes of a day are the same.
fn range(asked: &Asked, form: Form, now: Timestamp) -> Result<TimeRange, &'static str> {
    let today = now.seconds().div_euclid(DAY) * DAY;
    if form != Form::FreeBusy {
        return Ok(TimeRange::new(Some(today - PAST), Some(today + FUTURE)));
    }
    let query = asked.query.as_deref().unwrap_or_default();
    let asked = |name: &str| {
        let found = url::form_urlencoded::parse(query.as_bytes()).find(|(n, _)| n == name);
        found.map(|(_, value)| value.parse::<jiff::Timestamp>().map(jiff::Timestamp::as_second))
    };
    let why = "`start` and `end` are times like 2026-01-05T09:00:00Z, two years apart at most.\n";
    let start = asked("start").transpose().map_err(|_| why)?.unwrap_or(today);
    let end = asked("end").transpose().map_err(|_| why)?.unwrap_or(start.saturating_add(BUSY));
    if end <= start || end - start > BUSY_MOST {
        return Err(why);
    }
    Ok(TimeRange::new(Some(start), Some(end)))
}

/// What the answer hangs on, in one tag; and when any of it last changed.
async fn validators(
    link: &Link,
    calendars: &[Readable],
    form: Form,
    range: TimeRange,
    packed: bool,
) -> Result<(Etag, Timestamp), Fault> {
    let mut text = format!("{link:?} {form:?} {range:?} {packed} {}", env!("CARGO_PKG_VERSION"));
    let mut modified = link.rotated.max(link.created);
    for calendar in calendars {
        let head = calendar.house().store.head(calendar.id()).await?;
        let collection = calendar.collection();
        text.push_str(&format!(" {collection:?} {}@{}", head.rev, head.at.0));
        modified = modified.max(head.at).max(collection.modified);
    }
    Ok((Etag::of(text.as_bytes()), modified))
}

/// RFC 9110 §13.1.2, §13.1.3: the tag goes before the date.
fn is_known(asked: &Asked, etag: &Etag, modified: Timestamp) -> bool {
    if let Some(tags) = asked.header("if-none-match") {
        let same = |tag: &str| tag == "*" || tag.trim_start_matches("W/").trim_matches('"') == etag.0;
        return tags.split(',').map(str::trim).any(same);
    }
    let since = asked.header("if-modified-since").and_then(|text| httpdate::parse_http_date(text).ok());
    since.is_some_and(|since| {
        let since = since.duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_secs());
        i64::try_from(since).is_ok_and(|since| since >= modified.seconds())
    })
}

fn accepts_gzip(asked: &Asked) -> bool {
    let accepted = asked.header("accept-encoding").unwrap_or_default().to_ascii_lowercase();
    accepted.split(',').any(|one| {
        let mut parts = one.split(';').map(str::trim);
        let refused =
            |q: &str| q.strip_prefix("q=").and_then(|q| q.parse::<f32>().ok()).is_some_and(|q| q == 0.0);
        parts.next() == Some("gzip") && !parts.any(refused)
    })
}

fn gzip(bytes: &[u8]) -> Result<Vec<u8>, Fault> {
    let broken = |error: std::io::Error| Fault::Broken(format!("a feed could not be compressed: {error}"));
    let mut encoder = flate2::GzBuilder::new().mtime(0).write(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).map_err(broken)?;
    encoder.finish().map_err(broken)
}

/// Adds what every answer of a feed says.
fn dressed(mut reply: Reply, etag: &Etag, modified: Timestamp) -> Reply {
    let headers = reply.headers_mut();
    if let Ok(value) = HeaderValue::from_str(&format!("\"{etag}\"")) {
        headers.insert(header::ETAG, value);
    }
    let modified = u64::try_from(modified.seconds()).unwrap_or(0);
    let modified = std::time::UNIX_EPOCH + std::time::Duration::from_secs(modified);
    if let Ok(value) = HeaderValue::from_str(&httpdate::fmt_http_date(modified)) {
        headers.insert(header::LAST_MODIFIED, value);
    }
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, max-age=300"));
    headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    guarded(reply)
}

/// An address that is a secret is not passed on and not found by search engines.
fn guarded(mut reply: Reply) -> Reply {
    let headers = reply.headers_mut();
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert("x-robots-tag", HeaderValue::from_static("noindex"));
    reply
}

fn said(status: StatusCode, words: &'static str) -> Reply {
    guarded(reply_bytes(status, "text/plain; charset=utf-8", words))
}

fn nothing() -> Reply {
    said(StatusCode::NOT_FOUND, "There is no such feed; its address may have been changed.\n")
}

//! Any CalDAV server as a far side.
//!
//! Owns: reading objects, batches of multiget, conditional writes, what is said of a UID that is taken. Does not own: who wins, when to call
//! again (`bridge`). XML and DAV words stay below this module.

mod discover;
mod ends;
mod listing;
mod wire;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, header};
use url::Url;

use self::listing::Position;
use self::wire::{Credentials, Row, Wire, decoded, header_value, host, put_headers, trouble, unreadable};
use super::print;
use super::provider::{
    Abilities, Cursor, Fit, Fut, Pages, Provider, RemoteCalendar, RemoteId, Seen, Sighting, Slot, Trouble,
    Version, Window, Write, Written,
};
use crate::auth::grant::Secret;
use crate::http::encode;
use crate::http::fetch::{Answer, Fetch, http_date};
use crate::ical::Ical;
use crate::xml::{Writer, caldav, dav};

/// How many objects one multiget asks for.
const BATCH: usize = 50;
/// How many calls to one account may be under way at a time.
pub(super) const AT_ONCE: usize = 5;
/// Whose servers refuse events without an end.
const WANTS_ENDS: &str = "icloud.com";

/// An account on a CalDAV server.
#[derive(Debug)]
pub struct Caldav {
    wire: Wire,
    homes: Vec<Url>,
    /// Events are written with an end, always.
    ends: bool,
}

impl Caldav {
    /// Signs in and finds the account's calendars.
    ///
    /// # Errors
    /// `Unauthorised` if the password is wrong; `Refused` if there are no calendars; `Unreachable`.
    pub async fn discover(
        fetch: Fetch,
        url: Url,
        username: &str,
        password: Secret,
    ) -> Result<Caldav, Trouble> {
        let wire =
            Wire { fetch, credentials: Credentials { username: username.to_owned(), password }, home: url };
        let found = wire.discover().await?;
        Ok(Caldav::at(wire, found.homes))
    }

    /// Returns an account whose places are known.
    pub fn new(fetch: Fetch, url: Url, username: &str, password: Secret, homes: Vec<Url>) -> Caldav {
        let wire =
            Wire { fetch, credentials: Credentials { username: username.to_owned(), password }, home: url };
        Caldav::at(wire, homes)
    }

    fn at(wire: Wire, homes: Vec<Url>) -> Caldav {
        let wants = |url: &Url| {
            let domain = url.domain().unwrap_or_default();
            domain.strip_suffix(WANTS_ENDS).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        };
        let ends = wants(&wire.home) || homes.iter().any(wants);
        Caldav { wire, homes, ends }
    }

    /// Returns an account on a server that refuses events without an end.
    #[must_use]
    pub fn with_ends(self) -> Caldav {
        Caldav { ends: true, ..self }
    }

    /// Returns where the calendars are.
    pub fn homes(&self) -> &[Url] {
        &self.homes
    }

    async fn multiget(&self, calendar: &Url, ids: &[RemoteId]) -> Result<Vec<Seen>, Trouble> {
        let mut body = Writer::document();
        body.open(&caldav("calendar-multiget"));
        body.open(&dav("prop"));
        for name in [dav("getetag"), dav("getlastmodified"), caldav("calendar-data")] {
            body.empty(&name);
        }
        body.close();
        for id in ids {
            body.leaf(&dav("href"), &id.0);
        }
        body.close();
        let answer = self.wire.multistatus("REPORT", calendar, "1", body.take()).await?;
        let mut all = Vec::with_capacity(ids.len());
        for id in ids {
            let wanted = decoded(&id.0);
            let Some(row) = answer.rows.iter().find(|row| decoded(&row.path) == wanted) else {
                // A missing href is a faulty answer. To read it as a deletion would lose what it holds: it is asked for alone.
                all.extend(self.get(calendar, id).await?);
                continue;
            };
            match row.status {
                Some(404 | 410) => continue,
                Some(status) if status >= 300 => {
                    return Err(unreadable(calendar, &format!("an event has the status {status}")));
                }
                _ => {}
            }
            let modified = row.text(&dav("getlastmodified")).and_then(|t| http_date(&t));
            // Empty content is unread, not absent: it fails as that one object's trouble.
            let text = row.property(&caldav("calendar-data")).map(|e| e.text()).unwrap_or_default();
            all.push(Seen { id: id.clone(), version: version(row), bytes: crlf(&text), modified });
        }
        Ok(all)
    }

    async fn get(&self, calendar: &Url, id: &RemoteId) -> Result<Option<Seen>, Trouble> {
        let url = object_url(calendar, id)?;
        let (answer, url) = self.wire.call(Method::GET, &url, HeaderMap::new(), Bytes::new()).await?;
        match answer.status.as_u16() {
            200 => {}
            404 | 410 => return Ok(None),
            _ => return Err(trouble(&answer, &url)),
        }
        let modified = answer.header("last-modified").and_then(http_date);
        let version = answer.header("etag").map(|t| Version(t.trim().to_owned()));
        Ok(Some(Seen { id: id.clone(), version, bytes: answer.body, modified }))
    }
}

impl Provider for Caldav {
    fn abilities(&self) -> Abilities {
        Abilities { writes: true, pushes: false, batch: BATCH, parallel: AT_ONCE, in_steps: false }
    }

    fn calendars(&self) -> Fut<'_, Vec<RemoteCalendar>> {
        Box::pin(async move {
            let mut all = Vec::new();
            for home in &self.homes {
                all.extend(self.wire.calendars_in(home).await?);
            }
            Ok(all)
        })
    }

    fn changes<'a>(&'a self, calendar: &'a RemoteId, since: Option<&'a Cursor>, window: Window) -> Pages<'a> {
        Box::pin(futures_util::stream::once(async move {
            let url = calendar_url(calendar)?;
            match since.and_then(Position::read) {
                Some(Position::Token(token, ctag)) => self.sync(&url, &token, ctag.as_deref(), window).await,
                Some(Position::Ctag(ctag)) => self.if_touched(&url, &ctag, window).await,
                None => self.list(&url, window).await,
            }
        }))
    }

    fn read<'a>(&'a self, calendar: &'a RemoteId, ids: &'a [RemoteId]) -> Fut<'a, Vec<Seen>> {
        Box::pin(async move {
            let url = calendar_url(calendar)?;
            if ids.is_empty() {
                return Ok(Vec::new());
            }
            // One alone is got: its octets come as they are, and with the time at which it was written.
            if let [id] = ids {
                let seen = self.get(&url, id).await?;
                if seen.as_ref().is_none_or(|seen| seen.version.is_some()) {
                    return Ok(seen.into_iter().collect());
                }
            }
            match self.multiget(&url, ids).await {
                // A server without multiget is asked for one after the other.
                Err(Trouble::Refused(_)) => {}
                other => return other,
            }
            let mut all = Vec::with_capacity(ids.len());
            for id in ids {
                all.extend(self.get(&url, id).await?);
            }
            Ok(all)
        })
    }

    fn place(&self, calendar: &RemoteId, uid: &str) -> Option<RemoteId> {
        let url = calendar_url(calendar).ok()?.join(&object_name(uid)).ok()?;
        Some(RemoteId(url.path().to_owned()))
    }

    fn fit(&self, ical: &Ical, _: Window) -> Fit {
        Fit::Whole(if self.ends { ends::with_ends(ical) } else { ical.bytes().clone() })
    }

    fn put<'a>(&'a self, calendar: &'a RemoteId, write: &'a Write) -> Fut<'a, Written> {
        Box::pin(async move {
            let calendar = calendar_url(calendar)?;
            match &write.slot {
                Slot::New { uid } => self.create(&calendar, uid, write.bytes.clone()).await,
                Slot::At(id, version) => {
                    let (answer, url) = self
                        .change(Method::PUT, &calendar, id, version.as_ref(), write.bytes.clone())
                        .await?;
                    match answer.status.as_u16() {
                        200 | 201 | 202 | 204 => Ok(written(id.clone(), &answer)),
                        _ => Err(trouble(&answer, &url)),
                    }
                }
            }
        })
    }

    fn delete<'a>(
        &'a self,
        calendar: &'a RemoteId,
        id: &'a RemoteId,
        version: Option<&'a Version>,
    ) -> Fut<'a, ()> {
        Box::pin(async move {
            let calendar = calendar_url(calendar)?;
            let gone = self.change(Method::DELETE, &calendar, id, version, Bytes::new()).await;
            let (answer, url) = match gone {
                Err(Trouble::Missing(_)) => return Ok(()),
                other => other?,
            };
            match answer.status.as_u16() {
                200 | 202 | 204 | 404 | 410 | 418 => Ok(()),
                _ => Err(trouble(&answer, &url)),
            }
        })
    }
}

impl Caldav {
    async fn create(&self, calendar: &Url, uid: &str, bytes: Bytes) -> Result<Written, Trouble> {
        let url = calendar.join(&object_name(uid)).map_err(|_| bad_address(uid))?;
        let id = RemoteId(url.path().to_owned());
        let headers = put_headers(Some((header::IF_NONE_MATCH, HeaderValue::from_static("*"))));
        let (answer, url) = self.wire.call(Method::PUT, &url, headers, bytes).await?;
        match answer.status.as_u16() {
            200 | 201 | 202 | 204 => Ok(written(id, &answer)),
            412 if self.get(calendar, &id).await?.is_some() => Err(Trouble::Taken(Some(id))),
            // The place is free, and still it is refused: the UID is taken.
            412 => Err(Trouble::Taken(self.with_uid(calendar, uid).await?)),
            301..=308 => {
                Err(Trouble::Unreachable(format!("{} redirects a new event elsewhere.", host(&url))))
            }
            409 => match trouble(&answer, &url) {
                // Some servers do not say what the conflict is.
                Trouble::Refused(why) => match self.with_uid(calendar, uid).await {
                    Ok(Some(twin)) => Err(Trouble::Taken(Some(twin))),
                    _ => Err(Trouble::Refused(why)),
                },
                other => Err(within(other, calendar)),
            },
            _ => Err(within(trouble(&answer, &url), calendar)),
        }
    }

    /// Changes or removes an object if it is still in that state.
    async fn change(
        &self,
        method: Method,
        calendar: &Url,
        id: &RemoteId,
        version: Option<&Version>,
        bytes: Bytes,
    ) -> Result<(Answer, Url), Trouble> {
        let url = object_url(calendar, id)?;
        // Never `If-Match: *`: some servers read it backwards.
        let mut conditions = match version.map(|v| v.0.as_str()) {
            None => vec![None],
            Some(weak) if weak.starts_with("W/") => {
                // RFC 9110 §13.1.1: a weak etag never matches. It is compared here, right before the write.
                let now = self.get(calendar, id).await?.ok_or_else(|| {
                    Trouble::Missing(format!("{} has nothing at {}.", host(&url), url.path()))
                })?;
                if now.version.as_ref().is_none_or(|now| now.0 != weak) {
                    return Err(Trouble::Stale);
                }
                vec![None]
            }
            Some(quoted) if quoted.starts_with('"') => vec![Some(header_value(quoted)?)],
            // As the standard has it; then as the server itself spells it.
            Some(bare) => vec![Some(header_value(&format!("\"{bare}\""))?), Some(header_value(bare)?)],
        };
        let mut asked = false;
        loop {
            let condition = if conditions.is_empty() { None } else { conditions.remove(0) };
            let condition = condition.map(|value| (header::IF_MATCH, value));
            let headers = match method {
                Method::PUT => put_headers(condition),
                _ => condition.into_iter().collect(),
            };
            let (answer, to) = self.wire.call(method.clone(), &url, headers, bytes.clone()).await?;
            match answer.status.as_u16() {
                412 if !conditions.is_empty() => {}
                // RFC 6585 §3: it wants a condition, and no state is known that could be one.
                428 if version.is_none() && !asked => {
                    asked = true;
                    let now = self.get(calendar, id).await?.and_then(|now| now.version);
                    let Some(now) = now else { return Ok((answer, to)) };
                    conditions = vec![Some(header_value(&now.0)?)];
                }
                _ => return Ok((answer, to)),
            }
        }
    }
}

/// A twin in another calendar of the account is not ours to adopt.
fn within(trouble: Trouble, calendar: &Url) -> Trouble {
    match trouble {
        Trouble::Taken(Some(id)) => {
            let folder = decoded(calendar.path());
            Trouble::Taken(decoded(&id.0).starts_with(&folder).then_some(id))
        }
        other => other,
    }
}

fn written(id: RemoteId, answer: &Answer) -> Written {
    Written { id, version: strong_etag(answer), seen: None }
}

fn sighting(row: &Row) -> Sighting {
    Sighting { id: RemoteId(row.path.clone()), version: version(row) }
}

/// Opaque text, as it came: some servers leave the quotes out.
fn version(row: &Row) -> Option<Version> {
    row.text(&dav("getetag")).map(Version)
}

/// RFC 4791 §5.3.4: only a strong etag in the answer to a PUT stands for what a later GET will tell.
fn strong_etag(answer: &Answer) -> Option<Version> {
    let etag = answer.header("etag")?.trim();
    (!etag.is_empty() && !etag.starts_with("W/")).then(|| Version(etag.to_owned()))
}

fn is_self(row: &Row, url: &Url) -> bool {
    decoded(&row.path).trim_end_matches('/') == decoded(url.path()).trim_end_matches('/')
}

fn calendar_url(id: &RemoteId) -> Result<Url, Trouble> {
    let mut url = Url::parse(&id.0).map_err(|_| bad_address(&id.0))?;
    if !url.path().ends_with('/') {
        let path = format!("{}/", url.path());
        url.set_path(&path);
    }
    Ok(url)
}

/// Objects live on the machine of their calendar, whatever host their hrefs name.
fn object_url(calendar: &Url, id: &RemoteId) -> Result<Url, Trouble> {
    calendar.join(&id.0).ok().filter(|url| url.host() == calendar.host()).ok_or_else(|| bad_address(&id.0))
}

fn bad_address(text: &str) -> Trouble {
    Trouble::Refused(format!("`{}` is not an address.", text.chars().take(100).collect::<String>()))
}

/// The name of a new object follows from its UID, so that a second attempt meets the first one.
fn object_name(uid: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '@');
    let usable = !uid.is_empty() && uid.len() <= 100 && uid.chars().all(plain) && !uid.starts_with('.');
    let stem = if usable { uid.to_owned() } else { print::digest(uid.as_bytes()) };
    // `./` keeps a colon or the like from being read as a scheme.
    let mut name = String::from("./");
    encode(&stem, &mut name);
    name.push_str(".ics");
    name
}

/// XML folds line ends to LF (XML 1.0 §2.11); RFC 5545 §3.1 wants CRLF.
fn crlf(text: &str) -> Bytes {
    let mut out = Vec::with_capacity(text.len() + text.len() / 30);
    let mut last = 0;
    for byte in text.trim_start_matches(['\n', '\r', ' ', '\t']).bytes() {
        if byte == b'\n' && last != b'\r' {
            out.push(b'\r');
        }
        out.push(byte);
        last = byte;
    }
    if !out.is_empty() && last != b'\n' {
        out.extend_from_slice(b"\r\n");
    }
    out.into()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_new_object_follows_from_its_uid() {
        let base = Url::parse("https://example.com/cal/").unwrap();
        let name = |uid: &str| base.join(&object_name(uid)).unwrap().path().to_owned();
        assert_eq!(name("a1-B_c.d"), "/cal/a1-B_c.d.ics");
        assert_eq!(name("x@example.com"), "/cal/x%40example.com.ics");
        for odd in ["", "..", "a/b", "ä", "a b", "http://x/", "a:b", &"x".repeat(101)] {
            let path = name(odd);
            assert!(path.len() == "/cal/".len() + 36 && path.ends_with(".ics"), "{odd}: {path}");
        }
    }

    #[test]
    fn line_ends_lost_in_xml_come_back() {
        assert_eq!(&crlf("\n A:1\nB:2\r\nC:3")[..], b"A:1\r\nB:2\r\nC:3\r\n");
        assert_eq!(&crlf("")[..], b"");
    }

    #[test]
    fn objects_stay_on_the_machine_of_their_calendar() {
        let calendar = Url::parse("https://p1.example.com/cal/").unwrap();
        let url = |id: &str| object_url(&calendar, &RemoteId(id.into()));
        assert_eq!(url("/cal/a%40b.ics").unwrap().as_str(), "https://p1.example.com/cal/a%40b.ics");
        assert!(url("https://evil.example.org/x").is_err());
        assert!(url("//evil.example.org/x").is_err());
    }
}

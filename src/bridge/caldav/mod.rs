//! Any CalDAV server as a far side.
//!
//! Owns: the ladder of change detection, batches of multiget, conditional writes. Does not own: who wins, when to call
//! again (`bridge`). XML and DAV words stay below this module.

mod discover;
mod wire;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, header};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use url::Url;

use self::discover::propfind;
use self::wire::{
    Credentials, Multistatus, Row, Wire, decoded, header_value, host, put_headers, trouble, unreadable,
};
use super::print;
use super::provider::{
    Abilities, Cursor, Delta, Fut, Provider, RemoteCalendar, RemoteId, Seen, Sighting, Slot, Trouble,
    Version, Written,
};
use crate::auth::grant::Secret;
use crate::http::fetch::{Answer, Fetch};
use crate::xml::{Writer, caldav, calendarserver, dav};

/// How many objects one multiget asks for.
const BATCH: usize = 50;
/// How often a sync-collection may say that there is more.
const PAGES: usize = 1000;

/// An account on a CalDAV server.
#[derive(Debug)]
pub struct Caldav {
    wire: Wire,
    homes: Vec<Url>,
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
        Ok(Caldav { wire, homes: found.homes })
    }

    /// Returns an account whose places are known.
    pub fn new(fetch: Fetch, url: Url, username: &str, password: Secret, homes: Vec<Url>) -> Caldav {
        let wire =
            Wire { fetch, credentials: Credentials { username: username.to_owned(), password }, home: url };
        Caldav { wire, homes }
    }

    /// Returns where the calendars are.
    pub fn homes(&self) -> &[Url] {
        &self.homes
    }

    async fn list(&self, calendar: &Url) -> Result<Delta, Trouble> {
        // The position is read before the listing: what happens in between is told again, not missed.
        let state = self.state(calendar).await?;
        let body = propfind(&[dav("resourcetype"), dav("getetag")]);
        let answer = self.wire.multistatus("PROPFIND", calendar, "1", body).await?;
        if !answer.rows.iter().any(|row| is_self(row, &answer.url)) {
            // RFC 4918 §9.1: Depth 1 names the collection too. An answer without it is not a listing.
            return Err(unreadable(calendar, "the listing does not name the calendar itself"));
        }
        if let Some(row) =
            answer.rows.iter().find(|row| row.status.is_some_and(|s| s >= 300) && is_self(row, &answer.url))
        {
            let status = row.status.unwrap_or_default();
            return Err(unreadable(calendar, &format!("the listing is not complete (status {status})")));
        }
        let seen = answer
            .rows
            .iter()
            .filter(|row| !is_self(row, &answer.url) && !row.is_collection() && !row.path.ends_with('/'))
            .map(sighting)
            .collect();
        Ok(Delta { seen, gone: Vec::new(), next: state, complete: true })
    }

    /// Returns the calendar's position: its sync-token, else its ctag, else nothing.
    async fn state(&self, calendar: &Url) -> Result<Option<Cursor>, Trouble> {
        let names =
            [dav("resourcetype"), dav("sync-token"), calendarserver("getctag"), dav("supported-report-set")];
        let answer = self.wire.multistatus("PROPFIND", calendar, "0", propfind(&names)).await?;
        let row = answer.rows.first().ok_or_else(|| unreadable(calendar, "it is empty"))?;
        if row.property(&dav("resourcetype")).is_some() && !row.is_calendar() {
            return Err(Trouble::Missing(format!("{} is no longer a calendar.", calendar.path())));
        }
        let syncs = row.property(&dav("supported-report-set")).is_none_or(|set| {
            set.elements()
                .filter_map(|s| s.child(&dav("report")))
                .any(|r| r.child(&dav("sync-collection")).is_some())
        });
        let token = row.text(&dav("sync-token")).filter(|_| syncs).map(|t| Cursor(format!("sync:{t}")));
        Ok(token.or_else(|| row.text(&calendarserver("getctag")).map(|t| Cursor(format!("ctag:{t}")))))
    }

    /// RFC 6578 §3.2, without a limit: servers cut answers at it and do not say so.
    async fn sync(&self, calendar: &Url, token: &str) -> Result<Delta, Trouble> {
        let mut delta = Delta::default();
        let mut token = token.to_owned();
        for _ in 0..PAGES {
            let answer = match self.sync_page(calendar, &token).await {
                // Servers refuse an old token in many ways; a full comparison answers all of them.
                Err(Trouble::Refused(_) | Trouble::Stale | Trouble::Taken(_)) => {
                    return Err(Trouble::CursorExpired);
                }
                other => other?,
            };
            let next = answer.token.clone().ok_or_else(|| unreadable(calendar, "it has no sync-token"))?;
            let mut more = false;
            for row in &answer.rows {
                if is_self(row, &answer.url) {
                    // RFC 6578 §3.6: 507 on the collection itself says that there is more.
                    more |= row.status == Some(507);
                } else if matches!(row.status, Some(404 | 410 | 418)) {
                    delta.gone.push(RemoteId(row.path.clone()));
                } else if row.status.is_none_or(|s| s < 300)
                    && !row.is_collection()
                    && !row.path.ends_with('/')
                {
                    delta.seen.push(sighting(row));
                }
            }
            let stuck = next == token;
            token = next;
            if !more {
                delta.next = Some(Cursor(format!("sync:{token}")));
                return Ok(delta);
            }
            if stuck {
                break;
            }
        }
        Err(unreadable(calendar, "its changes have no end"))
    }

    async fn sync_page(&self, calendar: &Url, token: &str) -> Result<Multistatus, Trouble> {
        let mut body = Writer::document();
        body.open(&dav("sync-collection"));
        body.leaf(&dav("sync-token"), token);
        body.leaf(&dav("sync-level"), "1");
        body.open(&dav("prop"));
        body.empty(&dav("getetag"));
        body.close();
        body.close();
        // RFC 6578 §3.2: Depth 0.
        self.wire.multistatus("REPORT", calendar, "0", body.take()).await
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
            // A missing href is a faulty answer. To read it as a deletion would lose what it holds.
            let row = answer
                .rows
                .iter()
                .find(|row| decoded(&row.path) == wanted)
                .ok_or_else(|| unreadable(calendar, "an event that was asked for is missing in it"))?;
            match row.status {
                Some(404 | 410) => continue,
                Some(status) if status >= 300 => {
                    return Err(unreadable(calendar, &format!("an event has the status {status}")));
                }
                _ => {}
            }
            let modified = row.text(&dav("getlastmodified")).and_then(|t| unix(&t));
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
        let modified = answer.header("last-modified").and_then(unix);
        let version = answer.header("etag").map(|t| Version(t.trim().to_owned()));
        Ok(Some(Seen { id: id.clone(), version, bytes: answer.body, modified }))
    }
}

impl Provider for Caldav {
    fn abilities(&self) -> Abilities {
        Abilities { writes: true, pushes: false, batch: BATCH }
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

    fn changes<'a>(&'a self, calendar: &'a RemoteId, since: Option<&'a Cursor>) -> Fut<'a, Delta> {
        Box::pin(async move {
            let url = calendar_url(calendar)?;
            let since = since.and_then(|c| c.0.split_once(':'));
            match since {
                Some(("sync", token)) => self.sync(&url, token).await,
                Some(("ctag", _)) => {
                    let now = self.state(&url).await?;
                    if now.as_ref().and_then(|c| c.0.split_once(':')) == since {
                        return Ok(Delta { next: now, ..Delta::default() });
                    }
                    self.list(&url).await
                }
                _ => self.list(&url).await,
            }
        })
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

    fn put<'a>(&'a self, calendar: &'a RemoteId, slot: Slot<'a>, bytes: Bytes) -> Fut<'a, Written> {
        Box::pin(async move {
            let calendar = calendar_url(calendar)?;
            let (url, headers, new) = match slot {
                Slot::New { uid } => {
                    let url = calendar.join(&object_name(uid)).map_err(|_| bad_address(uid))?;
                    (url, put_headers(Some((header::IF_NONE_MATCH, HeaderValue::from_static("*")))), true)
                }
                Slot::At(id, version) => {
                    // Never `If-Match: *`: some servers read it backwards.
                    let condition = version.map(|v| header_value(&v.0)).transpose()?;
                    let condition = condition.map(|value| (header::IF_MATCH, value));
                    (object_url(&calendar, id)?, put_headers(condition), false)
                }
            };
            let id = match slot {
                Slot::New { .. } => RemoteId(url.path().to_owned()),
                Slot::At(id, _) => id.clone(),
            };
            let (answer, url) = self.wire.call(Method::PUT, &url, headers, bytes).await?;
            match answer.status.as_u16() {
                200 | 201 | 202 | 204 => Ok(Written { id, version: strong_etag(&answer) }),
                412 if new => Err(Trouble::Taken(Some(id))),
                301..=308 => {
                    Err(Trouble::Unreachable(format!("{} redirects a new event elsewhere.", host(&url))))
                }
                _ => Err(trouble(&answer, &url)),
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
            let url = object_url(&calendar_url(calendar)?, id)?;
            let mut headers = HeaderMap::new();
            if let Some(version) = version {
                headers.insert(header::IF_MATCH, header_value(&version.0)?);
            }
            let (answer, url) = self.wire.call(Method::DELETE, &url, headers, Bytes::new()).await?;
            match answer.status.as_u16() {
                200 | 202 | 204 | 404 | 410 => Ok(()),
                _ => Err(trouble(&answer, &url)),
            }
        })
    }
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

const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.');

/// The name of a new object follows from its UID, so that a second attempt meets the first one.
fn object_name(uid: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '@');
    let usable = !uid.is_empty() && uid.len() <= 100 && uid.chars().all(plain) && !uid.starts_with('.');
    let stem = if usable { uid.to_owned() } else { print::digest(uid.as_bytes()) };
    // `./` keeps a colon or the like from being read as a scheme.
    format!("./{}.ics", utf8_percent_encode(&stem, PLAIN))
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

fn unix(http_date: &str) -> Option<i64> {
    let at = httpdate::parse_http_date(http_date).ok()?;
    i64::try_from(at.duration_since(std::time::UNIX_EPOCH).ok()?.as_secs()).ok()
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

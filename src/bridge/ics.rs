//! ICS feeds as far sides that can only be read.
//!
//! Owns: fetching a feed, telling a feed from what is none, mending what feeds get wrong, one object for each UID, how
//! often a feed wishes to be asked for. Does not own: what a shorter feed means (`run` guards deletions), events that
//! come back under other UIDs (`reissued`).
//!
//! A web page, a text without its end, an empty body are never an empty calendar: they are errors.

mod text;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, header};
use serde::{Deserialize, Serialize};
use url::Url;

use super::print;
use super::provider::{
    Abilities, Cursor, End, Fut, Page, Pages, Provider, RemoteCalendar, RemoteId, Seen, Trouble, Version,
    Window, Write, Written,
};
use crate::auth::grant::Secret;
use crate::http::fetch::{Answer, Call, Fetch};
use crate::ical::value;
use crate::ical::{Component, Ical, Object, Property, split};

/// How long a server is left in peace that asks for it and does not say how long.
const MINUTE: Duration = Duration::from_secs(60);
/// The longest feed, after decompression.
const LONGEST: usize = 50 << 20;
/// The most components of a feed.
const MOST: usize = 20_000;
const REDIRECTS: usize = 5;
/// How many calls to one account may be under way at a time.
pub(super) const AT_ONCE: usize = 1;
const ACCEPT: &str = "text/calendar, text/plain;q=0.5, */*;q=0.1";

/// A feed.
#[derive(Debug, Clone)]
pub struct Ics {
    fetch: Fetch,
    /// Whoever knows the address can read the feed.
    url: Secret,
}

/// What is remembered of the last answer.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
struct State {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    etag: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    modified: Option<String>,
    /// Digest of what the events say, stamps and UIDs left out: many feeds make new ones for every answer.
    content: String,
    /// How often it wishes to be asked for, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    every: Option<u64>,
}

/// A feed as it was read.
#[derive(Debug)]
struct Feed {
    name: Option<String>,
    color: Option<String>,
    objects: Vec<Seen>,
    content: String,
}

impl Ics {
    /// Returns the feed at this address.
    pub fn new(fetch: Fetch, url: Secret) -> Ics {
        Ics { fetch, url }
    }

    /// Turns what a person pasted into the address that is fetched: `webcal` is read as `https`.
    ///
    /// # Errors
    /// A sentence if it is no address.
    pub fn address(text: &str) -> Result<Url, String> {
        let text = text.trim();
        let lower = text.to_ascii_lowercase();
        let rest = ["webcals://", "webcal://"].iter().find_map(|scheme| {
            lower.starts_with(scheme).then(|| text.get(scheme.len()..).unwrap_or_default())
        });
        let text = rest.map_or_else(|| text.to_owned(), |rest| format!("https://{rest}"));
        let mut url = Url::parse(&text)
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https") && url.host_str().is_some())
            .ok_or("That is not an address like https://example.org/calendar.ics.")?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err("Leave the user name and password out of the address.".into());
        }
        url.set_fragment(None);
        Ok(url)
    }

    /// Fetches the feed. Nothing: it is as it was.
    async fn get(&self, known: Option<&State>) -> Result<Option<(Feed, State)>, Trouble> {
        let first = Ics::address(self.url.reveal()).map_err(Trouble::Refused)?;
        let mut url = first.clone();
        for _ in 0..=REDIRECTS {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, HeaderValue::from_static(ACCEPT));
            if let Some(known) = known {
                let given =
                    [(header::IF_NONE_MATCH, &known.etag), (header::IF_MODIFIED_SINCE, &known.modified)];
                for (name, value) in given {
                    if let Some(Ok(value)) = value.as_ref().map(|text| HeaderValue::from_str(text)) {
                        headers.insert(name, value);
                    }
                }
            }
            let call =
                Call { method: Method::GET, url: url.clone(), headers, body: Bytes::new(), limit: LONGEST };
            let answer = self.fetch.send(call).await.map_err(Trouble::from)?;
            match answer.status.as_u16() {
                200 => return read(&answer, host(&url)).map(Some),
                304 if known.is_some() => return Ok(None),
                301 | 302 | 303 | 307 | 308 => {
                    let to = answer.header("location").and_then(|to| url.join(to).ok());
                    let to = to.filter(|to| to.scheme() == "https" || url.scheme() == "http");
                    url = to.ok_or_else(|| {
                        Trouble::Refused(format!(
                            "{} leads to an address that is not safe to follow.",
                            host(&url)
                        ))
                    })?;
                }
                _ => return Err(trouble(&answer, host(&url))),
            }
        }
        Err(Trouble::Unreachable(format!("{} redirects in circles.", host(&first))))
    }

    async fn page(&self, since: Option<&Cursor>) -> Result<Page, Trouble> {
        let known: Option<State> = since.and_then(|cursor| serde_json::from_str(&cursor.0).ok());
        let Some((feed, state)) = self.get(known.as_ref()).await? else {
            return Ok(Page::only(Vec::new(), Vec::new(), since.cloned(), false));
        };
        let next = serde_json::to_string(&state).ok().map(Cursor);
        if known.is_some_and(|known| known.content == feed.content) {
            return Ok(Page::only(Vec::new(), Vec::new(), next, false));
        }
        let end = Some(End { next, complete: true });
        Ok(Page { read: feed.objects, end, ..Page::default() })
    }
}

impl Provider for Ics {
    fn abilities(&self) -> Abilities {
        Abilities { writes: false, pushes: false, batch: 10_000, parallel: AT_ONCE, in_steps: false }
    }

    fn calendars(&self) -> Fut<'_, Vec<RemoteCalendar>> {
        Box::pin(async move {
            let (name, color) = match self.get(None).await? {
                Some((feed, _)) => (feed.name, feed.color),
                None => (None, None),
            };
            let url = Ics::address(self.url.reveal()).ok();
            let host = url.as_ref().map_or("feed", |url| host(url)).to_owned();
            Ok(vec![RemoteCalendar {
                id: RemoteId("feed".into()),
                name: name.unwrap_or(host),
                color,
                primary: true,
                writable: false,
                components: Vec::new(),
            }])
        })
    }

    fn changes<'a>(&'a self, _: &'a RemoteId, since: Option<&'a Cursor>, _: Window) -> Pages<'a> {
        Box::pin(futures_util::stream::once(self.page(since)))
    }

    fn patience(&self, cursor: &Cursor) -> Option<Duration> {
        let state: State = serde_json::from_str(&cursor.0).ok()?;
        state.every.map(Duration::from_secs)
    }

    fn read<'a>(&'a self, _: &'a RemoteId, ids: &'a [RemoteId]) -> Fut<'a, Vec<Seen>> {
        Box::pin(async move {
            let Some((feed, _)) = self.get(None).await? else { return Ok(Vec::new()) };
            Ok(feed.objects.into_iter().filter(|seen| ids.contains(&seen.id)).collect())
        })
    }

    fn place(&self, _: &RemoteId, _: &str) -> Option<RemoteId> {
        None
    }

    fn put<'a>(&'a self, _: &'a RemoteId, _: &'a Write) -> Fut<'a, Written> {
        Box::pin(async { Err(only_read()) })
    }

    fn delete<'a>(&'a self, _: &'a RemoteId, _: &'a RemoteId, _: Option<&'a Version>) -> Fut<'a, ()> {
        Box::pin(async { Err(only_read()) })
    }
}

fn only_read() -> Trouble {
    Trouble::Refused("A feed can only be read.".into())
}

fn host(url: &Url) -> &str {
    url.host_str().unwrap_or("the feed's server")
}

fn trouble(answer: &Answer, host: &str) -> Trouble {
    match answer.status.as_u16() {
        401 | 403 => Trouble::Unauthorised(format!(
            "{host} does not give the feed out any more. Its address may have been changed; copy the present one."
        )),
        404 | 410 => Trouble::Missing(format!(
            "There is no feed at this address of {host} any more. Nothing is removed here; copy the present address."
        )),
        // Without a word on when to come again, it is not within seconds.
        429 => Trouble::Slow(Some(answer.retry_after().unwrap_or(MINUTE))),
        503 if answer.retry_after().is_some() => Trouble::Slow(answer.retry_after()),
        status => Trouble::Unreachable(format!("{host} answered with the status {status}.")),
    }
}

/// Reads an answer: a whole calendar, or an error.
fn read(answer: &Answer, host: &str) -> Result<(Feed, State), Trouble> {
    let body = text::utf8(&answer.body);
    let begin = body.trim_ascii();
    let starts =
        |text: &str| begin.get(..text.len()).is_some_and(|b| b.eq_ignore_ascii_case(text.as_bytes()));
    if !starts("BEGIN:VCALENDAR") {
        let what = if begin.is_empty() {
            "nothing at all"
        } else if begin.starts_with(b"<") {
            "a web page"
        } else {
            "something else"
        };
        return Err(unreadable(
            answer,
            what,
            format!("{host} sends {what} instead of a calendar. Nothing is changed here."),
        ));
    }
    let last = begin.rsplit(|byte| *byte == b'\n').next().unwrap_or_default().trim_ascii();
    if !last.eq_ignore_ascii_case(b"END:VCALENDAR") {
        let said = format!("The feed of {host} breaks off before its end.");
        return Err(unreadable(answer, "a calendar without its end", said));
    }
    let ical = Ical::parse_calendar(body).map_err(|problem| {
        // What the line says is nobody's business but its owner's.
        let place = problem.line.map(|line| format!(": line {line} is not iCalendar")).unwrap_or_default();
        unreadable(
            answer,
            "a calendar with a broken line",
            format!("The feed of {host} cannot be read{place}."),
        )
    })?;
    let components: usize = ical.roots().map(|root| root.components().count()).sum();
    if components > MOST {
        return Err(Trouble::Refused(format!("The feed of {host} has more than {MOST} events.")));
    }
    let text = |names: [&str; 2]| {
        let calendar = ical.calendar()?;
        let value = names.iter().find_map(|name| calendar.property(name))?.text();
        Some(value.trim().to_owned()).filter(|text| !text.is_empty())
    };
    let mut objects: BTreeMap<String, (Seen, String)> = BTreeMap::new();
    for object in split(&ical, &|text| format!("{}@feed", print::digest(&without_stamps(text)))) {
        let (seen, said) = seen(object);
        objects.insert(seen.id.0.clone(), (seen, said));
    }
    let (objects, mut said): (Vec<Seen>, Vec<String>) = objects.into_values().unzip();
    said.sort();
    let content = print::digest(said.join("\n").as_bytes());
    let given = |name: &str| answer.header(name).map(str::to_owned);
    let (etag, modified) = (given("etag"), given("last-modified"));
    let every = ical.calendar().and_then(wish).map(|wish| wish.as_secs());
    let state = State { etag, modified, content: content.clone(), every };
    let feed = Feed {
        name: text(["NAME", "X-WR-CALNAME"]),
        color: text(["X-APPLE-CALENDAR-COLOR", "COLOR"]),
        objects,
        content,
    };
    Ok((feed, state))
}

/// Returns an object, and the digest of what it says whatever its UID.
fn seen(object: Object) -> (Seen, String) {
    let bytes = mended(object.bytes);
    let id = RemoteId(object.uid);
    match Ical::parse(bytes.clone()) {
        Ok(ical) => {
            let (version, modified) = (Some(Version(print::print(&ical))), print::last_modified(&ical));
            (Seen { id, version, bytes, modified }, print::print_without(&ical, &["UID"]))
        }
        Err(_) => {
            let said = print::digest(&bytes);
            (Seen { id, version: None, bytes, modified: None }, said)
        }
    }
}

/// Returns the trouble of an answer that is no feed, and logs its shape.
fn unreadable(answer: &Answer, what: &str, said: String) -> Trouble {
    tracing::warn!(shape = what, octets = answer.body.len(), "a feed is not what a feed should be");
    Trouble::Unreachable(said)
}

/// Returns how long a feed wishes to be left alone: RFC 7986 §5.7, else what Microsoft's programs have for it.
fn wish(calendar: Component<'_>) -> Option<Duration> {
    let told = ["REFRESH-INTERVAL", "X-PUBLISHED-TTL"].into_iter().filter_map(|name| calendar.property(name));
    let lengths = told.filter_map(|property| value::Duration::parse(property.raw().trim()));
    let seconds = lengths.map(|length| length.days.saturating_mul(86_400).saturating_add(length.seconds));
    seconds
        .filter_map(|seconds| u64::try_from(seconds).ok())
        .find(|seconds| *seconds > 0)
        .map(Duration::from_secs)
}

/// The text without the lines that say when it was written.
fn without_stamps(text: &[u8]) -> Vec<u8> {
    let stamp = |line: &&[u8]| {
        let upper = line.get(..14.min(line.len())).unwrap_or_default().to_ascii_uppercase();
        [&b"DTSTAMP"[..], b"CREATED", b"LAST-MODIFIED"].iter().any(|name| upper.starts_with(name))
    };
    text.split_inclusive(|byte| *byte == b'\n').filter(|line| !stamp(line)).collect::<Vec<_>>().concat()
}

/// Mends what feeds get wrong and a calendar object must not be (RFC 5545 §3.6.1, §3.8.2). What is right stays as it is.
fn mended(bytes: Bytes) -> Bytes {
    let Ok(ical) = Ical::parse(bytes.clone()) else { return bytes };
    let Some(calendar) = ical.calendar() else { return bytes };
    let mut edit = ical.edit();
    let mut changed = false;
    if calendar.property("VERSION").is_none() {
        edit = edit.insert(calendar, "VERSION:2.0");
        changed = true;
    }
    if calendar.property("PRODID").is_none() {
        edit = edit.insert(calendar, "PRODID:-//Kalends//feed//EN");
        changed = true;
    }
    let counting = counting(calendar);
    for component in calendar.components().filter(|c| c.name() != "VTIMEZONE") {
        if !counting.contains(&component.span().start) {
            edit = edit.remove_component(component);
            changed = true;
            continue;
        }
        if component.property("DTSTAMP").is_none() {
            let stamp = component.property("LAST-MODIFIED").map(|p| p.raw().trim().to_owned());
            let stamp = stamp.filter(|text| text.ends_with('Z')).unwrap_or_else(|| "19700101T000000Z".into());
            edit = edit.insert(component, &format!("DTSTAMP:{stamp}"));
            changed = true;
        }
        for name in ["DTSTART", "DTEND", "RECURRENCE-ID", "EXDATE", "RDATE"] {
            for property in component.all(name).filter(|p| is_bare_date(p)) {
                edit = edit.replace(property, &format!("{name};VALUE=DATE:{}", property.raw().trim()));
                changed = true;
            }
        }
        if let Some(end) = component.property("DTEND").filter(|end| ends_too_soon(component, end)) {
            edit = edit.remove(end);
            changed = true;
        }
    }
    if changed { edit.finish() } else { bytes }
}

/// `DTSTART:20260515` is a date, whatever the parameters fail to say.
fn is_bare_date(property: &Property<'_>) -> bool {
    let raw = property.raw();
    let date = |part: &str| part.len() == 8 && part.bytes().all(|b| b.is_ascii_digit());
    property.parameter("VALUE").is_none() && !raw.trim().is_empty() && raw.trim().split(',').all(date)
}

/// RFC 5545 §3.8.2.2: an end lies after the start. One that does not says nothing.
fn ends_too_soon(component: Component<'_>, end: &Property<'_>) -> bool {
    let Some(start) = component.property("DTSTART") else { return false };
    let same_kind = start.parameter("TZID") == end.parameter("TZID")
        && start.raw().trim().ends_with('Z') == end.raw().trim().ends_with('Z')
        && start.raw().trim().len() == end.raw().trim().len();
    same_kind && end.raw().trim() < start.raw().trim()
}

/// Returns where the components begin that count: of those that say who they are in the same words, the one with the
/// highest SEQUENCE, then the latest LAST-MODIFIED, then the last (RFC 5545 §3.8.7.4).
fn counting(calendar: Component<'_>) -> HashSet<usize> {
    let text = |c: Component<'_>, name: &str| c.property(name).map(|p| p.raw().trim().to_owned());
    let mut best: HashMap<(String, Option<String>), (i64, String, usize)> = HashMap::new();
    for component in calendar.components().filter(|c| c.name() != "VTIMEZONE") {
        let sequence: i64 = text(component, "SEQUENCE").and_then(|t| t.parse().ok()).unwrap_or(0);
        let changed = text(component, "LAST-MODIFIED").unwrap_or_default();
        let rank = (sequence, changed, component.span().start);
        let key = (component.name().to_owned(), text(component, "RECURRENCE-ID"));
        let current = best.entry(key).or_insert_with(|| rank.clone());
        if rank > *current {
            *current = rank;
        }
    }
    best.into_values().map(|(_, _, start)| start).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use std::sync::{Arc, Mutex};

    use futures_util::StreamExt as _;
    use http::StatusCode;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;
    use crate::http::fetch::{Private, Timeouts};

    const WINDOW: Window = Window { from: None, to: None, now: 0 };

    fn answer(body: &str) -> Answer {
        Answer {
            status: StatusCode::OK,
            headers: HeaderMap::new(),
            body: Bytes::copy_from_slice(body.as_bytes()),
        }
    }

    fn feed(events: &str) -> String {
        format!(
            "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:x\r\nMETHOD:PUBLISH\r\nX-WR-CALNAME:Bins\r\n{events}END:VCALENDAR\r\n"
        )
    }

    fn event(uid: &str, rest: &str) -> String {
        format!(
            "BEGIN:VEVENT\r\nUID:{uid}\r\nDTSTAMP:20260101T000000Z\r\nDTSTART:20260101T100000Z\r\n{rest}END:VEVENT\r\n"
        )
    }

    #[test]
    fn what_is_no_calendar_is_an_error_and_never_an_empty_feed() {
        for (body, words) in [
            ("", "nothing at all"),
            ("  \r\n", "nothing at all"),
            ("<!DOCTYPE html><html><body>Please sign in</body></html>", "a web page"),
            ("{\"error\": \"gone\"}", "something else"),
            (&feed(&event("1", ""))[..80], "breaks off"),
            ("BEGIN:VCALENDAR\r\nVERSION:2.0\r\nBEGIN:VEVENT\r\nEND:VCALENDAR\r\n", "cannot be read"),
        ] {
            let trouble = read(&answer(body), "example.org").unwrap_err();
            assert!(
                matches!(&trouble, Trouble::Unreachable(why) if why.contains(words)),
                "{body}: {trouble:?}"
            );
        }
        let (empty, _) = read(&answer(&feed("")), "example.org").unwrap();
        assert_eq!((empty.objects.len(), empty.name.as_deref()), (0, Some("Bins")));
        let marked = format!("\u{feff}\n{}\n\n", feed(&event("1", "")));
        assert_eq!(read(&answer(&marked), "example.org").unwrap().0.objects.len(), 1);
    }

    #[test]
    fn what_feeds_get_wrong_is_mended() {
        let broken = "BEGIN:VCALENDAR\nMETHOD:PUBLISH\nBEGIN:VEVENT\nSUMMARY:No UID, no stamp\nDTSTART:20260515\n\
            DTEND:20260514\nEND:VEVENT\nBEGIN:VEVENT\nUID:two\nSEQUENCE:1\nDTSTART:20260101T100000Z\nSUMMARY:old\nEND:VEVENT\n\
            BEGIN:VEVENT\nUID:two\nSEQUENCE:2\nDTSTART:20260101T100000Z\nSUMMARY:new\nEND:VEVENT\nEND:VCALENDAR\n";
        let (feed, _) = read(&answer(broken), "example.org").unwrap();
        assert_eq!(feed.objects.len(), 2);
        for seen in &feed.objects {
            let checked = crate::ical::check::calendar_object(seen.bytes.clone()).unwrap();
            assert_eq!(checked.uid, seen.id.0);
        }
        let text = |at: usize| String::from_utf8(feed.objects[at].bytes.to_vec()).unwrap();
        let (one, two) = if text(0).contains("No UID") { (text(0), text(1)) } else { (text(1), text(0)) };
        assert!(one.contains("DTSTART;VALUE=DATE:20260515") && !one.contains("DTEND"), "{one}");
        assert!(two.contains("SUMMARY:new") && !two.contains("SUMMARY:old"), "{two}");
        // The same event without a UID keeps the one that it was given, whatever its stamps say.
        let again = broken.replace("SUMMARY:No UID", "DTSTAMP:20260303T000000Z\nSUMMARY:No UID");
        let (again, _) = read(&answer(&again), "example.org").unwrap();
        let ids = |feed: &Feed| feed.objects.iter().map(|o| o.id.clone()).collect::<Vec<_>>();
        assert_eq!(ids(&again), ids(&feed));
    }

    #[test]
    fn a_feed_that_only_stamps_anew_has_not_changed() {
        let one = read(&answer(&feed(&event("1", "SUMMARY:a\r\n"))), "h").unwrap().0.content;
        let stamped = feed(&event("1", "SUMMARY:a\r\n")).replace("DTSTAMP:2026", "DTSTAMP:2027");
        assert_eq!(read(&answer(&stamped), "h").unwrap().0.content, one);
        let other = read(&answer(&feed(&event("1", "SUMMARY:b\r\n"))), "h").unwrap().0.content;
        assert_ne!(other, one);
    }

    #[test]
    fn addresses_are_read_as_people_paste_them() {
        let read = |text: &str| Ics::address(text).map(String::from);
        assert_eq!(read(" webcal://example.org/a.ics#x ").unwrap(), "https://example.org/a.ics");
        assert_eq!(read("WEBCALS://example.org/a?b=c").unwrap(), "https://example.org/a?b=c");
        assert_eq!(read("http://example.org/a").unwrap(), "http://example.org/a");
        for bad in ["", "example", "ftp://example.org/", "file:///etc/passwd", "https://u:p@example.org/"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    /// Serves these answers, one a connection, and keeps what was asked.
    async fn serve(answers: Vec<String>) -> (String, Arc<Mutex<Vec<String>>>) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}/feed.ics", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&asked);
        tokio::spawn(async move {
            for answer in answers {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = vec![0; 4096];
                let n = stream.read(&mut request).await.unwrap();
                log.lock().unwrap().push(String::from_utf8_lossy(&request[..n]).to_lowercase());
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        (address, asked)
    }

    fn told(status: &str, headers: &str, body: &str) -> String {
        let length = body.len();
        format!("HTTP/1.1 {status}\r\n{headers}content-length: {length}\r\nconnection: close\r\n\r\n{body}")
    }

    fn source(url: &str) -> Ics {
        let fetch =
            Fetch::new(Private::Within(vec!["127.0.0.1/32".parse().unwrap()]), Timeouts::default()).unwrap();
        Ics::new(fetch, Secret::new(url))
    }

    async fn look(ics: &Ics, since: Option<&Cursor>) -> Result<Page, Trouble> {
        ics.changes(&RemoteId("feed".into()), since, WINDOW).next().await.unwrap()
    }

    // S0: conditional GET; RFC 9110 §13.1.2
    #[tokio::test]
    async fn an_unchanged_feed_is_not_sent_again() {
        let body = feed(&event("1", ""));
        let (url, asked) = serve(vec![
            told("200 OK", "etag: \"v1\"\r\nlast-modified: Thu, 01 Jan 2026 00:00:00 GMT\r\n", &body),
            told("304 Not Modified", "", ""),
            told("200 OK", "etag: \"v2\"\r\n", &body.replace("DTSTAMP:2026", "DTSTAMP:2027")),
            told("200 OK", "", &feed("")),
        ])
        .await;
        let ics = source(&url);
        let first = look(&ics, None).await.unwrap();
        let end = first.end.unwrap();
        assert!(end.complete && first.read.len() == 1);
        let second = look(&ics, end.next.as_ref()).await.unwrap();
        assert_eq!((second.read.len(), second.end.as_ref().unwrap().complete), (0, false));
        let third = look(&ics, end.next.as_ref()).await.unwrap();
        assert_eq!((third.read.len(), third.end.as_ref().unwrap().complete), (0, false));
        let fourth = look(&ics, third.end.unwrap().next.as_ref()).await.unwrap();
        assert!(fourth.read.is_empty() && fourth.end.unwrap().complete, "an empty calendar is told as one");
        let asked = asked.lock().unwrap();
        assert!(
            asked[1].contains("if-none-match: \"v1\"") && asked[1].contains("if-modified-since: thu, 01 jan")
        );
        assert!(asked[0].contains("accept: text/calendar"));
    }

    // Redirects are guarded on every hop.
    #[tokio::test]
    async fn redirects_are_followed_where_the_guard_allows_it() {
        let (target, _) = serve(vec![told("200 OK", "", &feed(&event("1", "")))]).await;
        let (url, _) = serve(vec![told("302 Found", &format!("location: {target}\r\n"), "")]).await;
        assert_eq!(look(&source(&url), None).await.unwrap().read.len(), 1);
        let (url, _) =
            serve(vec![told("302 Found", "location: http://169.254.169.254/latest\r\n", "")]).await;
        let refused = look(&source(&url), None).await.unwrap_err();
        assert!(matches!(refused, Trouble::Refused(_)), "{refused:?}");
        let round =
            "HTTP/1.1 302 Found\r\nlocation: /feed.ics\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
        let (url, _) = serve(vec![round.to_owned(); 6]).await;
        let circles = look(&source(&url), None).await.unwrap_err();
        assert!(matches!(circles, Trouble::Unreachable(_)), "{circles:?}");
    }

    #[tokio::test]
    async fn what_a_status_means() {
        for (status, headers) in [
            ("401 Unauthorized", ""),
            ("403 Forbidden", ""),
            ("404 Not Found", ""),
            ("410 Gone", ""),
            ("429 Too Many Requests", "retry-after: 120\r\n"),
            ("500 Oops", ""),
            ("429 Too Many Requests", ""),
            ("503 Unavailable", "retry-after: 120\r\n"),
            ("503 Unavailable", ""),
        ] {
            let (url, _) = serve(vec![told(status, headers, "x")]).await;
            let trouble = look(&source(&url), None).await.unwrap_err();
            let right = match &status[..3] {
                "401" | "403" => matches!(trouble, Trouble::Unauthorised(_)),
                "404" | "410" => matches!(trouble, Trouble::Missing(_)),
                "429" if headers.is_empty() => trouble == Trouble::Slow(Some(MINUTE)),
                "429" | "503" if !headers.is_empty() => trouble == Trouble::Slow(Some(2 * MINUTE)),
                _ => matches!(trouble, Trouble::Unreachable(_)),
            };
            assert!(right, "{status}: {trouble:?}");
            assert!(!trouble.to_string().contains("feed.ics"), "the address is a secret: {trouble}");
        }
    }
}

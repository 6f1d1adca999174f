//! Feeds that are read: the engine and the whole server against a real web server that serves them well and badly.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kalends::auth::grant::Secret;
use kalends::bridge::Ics;
use kalends::bridge::provider::{Provider as _, RemoteId, Trouble};
use kalends::bridge::record::{Direction, Policy, Run, RunStatus};
use kalends::http::fetch::{Fetch, Private, Timeouts};
use kalends::sim::{self, Act, Answer, Answering, Fault, Request, Rule, Running, Scene, Tls};
use serde_json::{Value, json};

use crate::bridge::side::Side;
use crate::oauth::House;
use crate::providers::date;
use crate::wait::eventually;

/// What the web server has at its one address.
#[derive(Debug, Clone, Default)]
struct Paper {
    status: u16,
    body: Vec<u8>,
    headers: BTreeMap<&'static str, String>,
    /// With these it knows whether somebody has it already (RFC 9110 §13).
    etag: Option<String>,
    modified: Option<String>,
    /// Each answer gives every event a UID of its own.
    shuffles: bool,
}

/// A web server with a feed.
#[derive(Debug, Default)]
pub(crate) struct Press {
    paper: Mutex<Paper>,
    /// Status and conditions of every answer, and how many octets its body had.
    sent: Mutex<Vec<(u16, bool, usize)>>,
}

impl Press {
    pub(crate) fn with(body: String) -> Press {
        let press = Press::default();
        *press.paper.lock().unwrap() = Paper { status: 200, body: body.into(), ..Paper::default() };
        press
    }

    fn answered(&self, request: &Request) -> Answer {
        let paper = self.paper.lock().unwrap().clone();
        let asks = |name: &str, own: &Option<String>| own.is_some() && request.header(name) == own.as_deref();
        let known = asks("if-none-match", &paper.etag)
            || (request.header("if-none-match").is_none() && asks("if-modified-since", &paper.modified));
        let mut answer = Answer::empty(if known { 304 } else { paper.status });
        for (name, value) in [("etag", &paper.etag), ("last-modified", &paper.modified)] {
            answer = value.iter().fold(answer, |answer, value| answer.with(name, value));
        }
        let count = self.sent.lock().unwrap().len();
        if !known {
            answer = paper.headers.iter().fold(answer, |answer, (name, value)| answer.with(name, value));
            answer.body = match paper.shuffles {
                true => {
                    String::from_utf8(paper.body).unwrap().replace("UID:", &format!("UID:{count}-")).into()
                }
                false => paper.body.into(),
            };
        }
        let conditional =
            request.header("if-none-match").is_some() || request.header("if-modified-since").is_some();
        self.sent.lock().unwrap().push((answer.status.as_u16(), conditional, answer.body.len()));
        answer
    }
}

impl sim::World for Press {
    fn kind(&self) -> &'static str {
        "feed"
    }

    fn answer<'a>(&'a self, request: Request, _: &'a Scene) -> Answering<'a> {
        Box::pin(async move { self.answered(&request) })
    }

    fn act(&self, act: &Act, _: &Scene) -> Result<Value, String> {
        Err(format!("a feed does nothing by itself: {act:?}"))
    }

    fn throttled(&self, retry_after: Option<u64>) -> Answer {
        let answer = Answer::empty(429);
        retry_after.iter().fold(answer, |answer, seconds| answer.with("retry-after", &seconds.to_string()))
    }
}

/// A feed behind an address.
struct Feed {
    press: Arc<Press>,
    server: Running,
}

impl Feed {
    async fn start(body: impl Into<Vec<u8>>) -> Feed {
        let feed = Feed::with(sim::Options::default()).await;
        feed.prints(body);
        feed
    }

    async fn with(options: sim::Options) -> Feed {
        let press = Arc::new(Press::default());
        let server = sim::Server::start(options, Arc::clone(&press) as Arc<dyn sim::World>).await.unwrap();
        Feed { press, server }
    }

    fn url(&self) -> String {
        format!("{}/secret-7f3a/feed.ics", self.server.url().trim_end_matches('/'))
    }

    fn paper(&self, change: impl FnOnce(&mut Paper)) {
        change(&mut self.press.paper.lock().unwrap());
    }

    /// From now on it has this, and no validators.
    fn prints(&self, body: impl Into<Vec<u8>>) {
        let body = body.into();
        self.paper(|paper| *paper = Paper { status: 200, body, ..Paper::default() });
    }

    fn leads(&self, to: &str) {
        let headers = BTreeMap::from([("location", to.to_owned())]);
        self.paper(|paper| *paper = Paper { status: 302, headers, ..Paper::default() });
    }

    /// Forgets what it sent; returns it.
    fn sent(&self) -> Vec<(u16, bool, usize)> {
        std::mem::take(&mut self.press.sent.lock().unwrap())
    }

    /// The address as somebody asks for it who knows nothing of the engine.
    fn reader(&self, timeouts: Timeouts) -> Ics {
        let within = Private::Within(vec!["127.0.0.1/32".parse().unwrap()]);
        Ics::new(Fetch::new(within, timeouts).unwrap(), Secret::new(self.url()))
    }
}

pub(crate) fn event(uid: &str, title: &str, lines: &str) -> String {
    format!(
        "BEGIN:VEVENT\r\nUID:{uid}\r\nDTSTAMP:20260101T000000Z\r\nDTSTART:{}T090000Z\r\nDTEND:{}T100000Z\r\n\
         SUMMARY:{title}\r\n{lines}END:VEVENT\r\n",
        date(3),
        date(3)
    )
}

pub(crate) fn calendar(head: &str, events: &[String]) -> String {
    let events = events.concat();
    format!(
        "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//x//EN\r\nMETHOD:PUBLISH\r\n{head}{events}END:VCALENDAR\r\n"
    )
}

/// So many events whose titles are their numbers.
fn many(count: usize) -> Vec<String> {
    (0..count).map(|n| event(&format!("e{n}"), &format!("Event {n}"), "")).collect()
}

/// An engine that has read the feed and is at rest.
struct Reader {
    side: Side,
    mapping: String,
}

impl Reader {
    async fn of(feed: &Feed) -> Reader {
        let side = Side::new().await;
        let made = side.bridge.connect_ics("anna", &feed.url()).await.unwrap();
        let mapping = side.map_to(&made.id, RemoteId("feed".into()), Direction::Pull, Policy::Newest).await;
        let reader = Reader { side, mapping };
        let first = reader.look().await;
        assert_eq!(first.status, RunStatus::Success, "{first:?}");
        reader.rests().await;
        feed.sent();
        reader
    }

    async fn look(&self) -> Run {
        self.side.sync(&self.mapping).await
    }

    /// Passes, a minute apart, until one has nothing to confirm.
    async fn rests(&self) {
        for _ in 0..5 {
            let state = self.side.state(&self.mapping).await;
            if state.settled && !state.missing {
                return;
            }
            self.side.later(Duration::from_secs(61));
            self.look().await;
        }
        panic!("{:?}", self.side.state(&self.mapping).await);
    }

    /// Names and titles of what is here.
    async fn here(&self) -> BTreeMap<String, String> {
        let mut all = BTreeMap::new();
        for name in self.side.names().await {
            let text = self.side.get(&name).await.unwrap();
            let title = text.lines().find_map(|line| line.strip_prefix("SUMMARY:")).unwrap_or_default();
            all.insert(name, title.trim().to_owned());
        }
        all
    }

    async fn titles(&self) -> Vec<String> {
        let mut all: Vec<String> = self.here().await.into_values().collect();
        all.sort();
        all
    }

    async fn sentence(&self) -> String {
        self.side.state(&self.mapping).await.sentence
    }
}

/// A pass that did not go through and changed nothing; returns what people are told.
async fn in_vain(reader: &Reader, what: &str) -> String {
    let (before, rev) = (reader.here().await, reader.side.rev().await);
    reader.side.later(Duration::from_secs(3600));
    let run = reader.look().await;
    assert!(run.status != RunStatus::Success && run.local.total() == 0, "{what}: {run:?}");
    assert_eq!((reader.here().await, reader.side.rev().await), (before, rev), "{what}");
    let sentence = reader.sentence().await;
    assert!(!sentence.contains("secret-7f3a"), "{what}: {sentence}");
    sentence
}

// RFC 9110 §13.1.2, §13.1.3: asked for with what the last answer said; 304 has no body and writes nothing
#[tokio::test]
async fn what_has_not_changed_is_not_sent_again() {
    let feed = Feed::start(calendar("", &many(3))).await;
    let modified = "Thu, 01 Jan 2026 00:00:00 GMT".to_owned();
    for (etag, modified) in [(Some("\"v1\"".to_owned()), None), (None, Some(modified))] {
        feed.paper(|paper| (paper.etag, paper.modified) = (etag, modified));
        let reader = Reader::of(&feed).await;
        let rev = reader.side.rev().await;
        for _ in 0..3 {
            let run = reader.look().await;
            assert_eq!((run.status, run.local.total(), run.calls), (RunStatus::Success, 0, 1), "{run:?}");
        }
        assert_eq!(feed.sent(), [(304, true, 0); 3]);
        assert_eq!(reader.side.rev().await, rev);
        // What is new is told in full, and known from then on.
        feed.paper(|paper| {
            paper.body = calendar("", &many(4)).into();
            paper.etag = paper.etag.take().map(|_| "\"v2\"".into());
            paper.modified = paper.modified.take().map(|_| "Fri, 02 Jan 2026 00:00:00 GMT".into());
        });
        let run = reader.look().await;
        assert_eq!(run.local.inserted, 1, "{run:?}");
        reader.rests().await;
        feed.sent();
        reader.look().await;
        assert_eq!(feed.sent(), [(304, true, 0)]);
        feed.prints(calendar("", &many(3)));
    }
}

// RFC 9110 §8.4.1.3: gzip; what is too large, packed or not, is refused and nothing is held of it
#[tokio::test]
async fn packed_feeds_are_read_and_bombs_are_not() {
    let packed = |text: &[u8]| {
        let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        packer.write_all(text).unwrap();
        packer.finish().unwrap()
    };
    let feed = Feed::start("").await;
    let says = |body: Vec<u8>| {
        feed.prints(body);
        feed.paper(|paper| drop(paper.headers.insert("content-encoding", "gzip".into())));
    };
    says(packed(calendar("", &many(2)).as_bytes()));
    let reader = Reader::of(&feed).await;
    assert_eq!(reader.titles().await, ["Event 0", "Event 1"]);
    let mut bomb = calendar("", &many(1)).into_bytes();
    bomb.resize(51 << 20, b' ');
    let bomb = packed(&bomb);
    assert!(bomb.len() < 1 << 20, "{}", bomb.len());
    says(bomb);
    let told = in_vain(&reader, "a bomb").await;
    assert!(told.contains("longer than"), "{told}");
    // A long one, of more lines than any single object may have, is read.
    feed.prints(calendar("", &many(13_000)));
    assert_eq!(feed.reader(Timeouts::default()).calendars().await.unwrap().len(), 1);
    // No longer than allowed, and still more than anybody means.
    feed.prints(calendar("", &(0..20_001).map(|n| event(&n.to_string(), "x", "")).collect::<Vec<_>>()));
    let told = in_vain(&reader, "too many").await;
    assert!(told.contains("more than 20000 events"), "{told}");
    says(packed(calendar("", &many(3)).as_bytes()));
    reader.side.later(Duration::from_secs(86_400));
    assert_eq!(reader.look().await.status, RunStatus::Success);
    assert_eq!(reader.titles().await.len(), 3);
}

#[tokio::test]
async fn a_feed_that_takes_too_long_is_given_up() {
    let feed = Feed::start(calendar("", &many(1))).await;
    let short = Timeouts { whole: Duration::from_millis(200), ..Timeouts::default() };
    feed.server.fault(Rule::on("GET", "*", Fault::Delay { ms: 20_000 }));
    let slow = feed.reader(short).calendars().await.unwrap_err();
    assert!(matches!(&slow, Trouble::Unreachable(why) if why.contains("did not answer in time")), "{slow:?}");
    let all = feed.reader(Timeouts::default()).calendars().await.unwrap();
    assert_eq!(all.len(), 1);
}

// Bad input: what is no whole calendar is never an empty one
#[tokio::test]
async fn an_answer_that_is_no_calendar_removes_nothing() {
    let whole = calendar("", &many(5));
    let feed = Feed::start(whole.clone()).await;
    let reader = Reader::of(&feed).await;
    let page = "<!doctype html><html><body>Please sign in</body></html>";
    for (what, body, words) in [
        ("a web page", page.to_owned(), "a web page"),
        ("nothing", String::new(), "nothing at all"),
        ("blanks", "\r\n \r\n".to_owned(), "nothing at all"),
        ("without its end", whole.trim_end().trim_end_matches("END:VCALENDAR").to_owned(), "breaks off"),
        ("cut in an event", whole[..whole.len() / 2].to_owned(), "breaks off"),
        ("JSON", "{\"error\":\"gone\"}".to_owned(), "something else"),
        ("half an event", calendar("", &["BEGIN:VEVENT\r\n".into()]), "cannot be read"),
    ] {
        feed.prints(body);
        let told = in_vain(&reader, what).await;
        assert!(told.contains(words), "{what}: {told}");
        assert!(!told.contains("Please") && !told.contains("Event"), "{what}: {told}");
    }
    feed.prints(whole.clone());
    // The connection ends in the middle.
    feed.server.fault(Rule::on("GET", "*", Fault::CutBody { bytes: whole.len() / 2 }));
    let told = in_vain(&reader, "a cut").await;
    assert!(told.contains("broke off") || told.contains("connection closed"), "{told}");
    reader.side.later(Duration::from_secs(86_400));
    assert_eq!(reader.look().await.status, RunStatus::Success);
    assert_eq!(reader.titles().await.len(), 5);
}

// Each error is a plain sentence with what to do next, and removes nothing
#[tokio::test]
async fn a_status_is_a_plain_sentence() {
    let feed = Feed::start(calendar("", &many(2))).await;
    for (status, words) in [
        (401, "copy the present one"),
        (403, "copy the present one"),
        (404, "copy the present address"),
        (410, "copy the present address"),
        (500, "answered with the status 500"),
    ] {
        feed.prints(calendar("", &many(2)));
        let reader = Reader::of(&feed).await;
        feed.paper(|paper| paper.status = status);
        let told = in_vain(&reader, &status.to_string()).await;
        assert!(told.contains(words) && told.contains("127.0.0.1"), "{status}: {told}");
    }
    // And when it is connected.
    feed.paper(|paper| paper.status = 404);
    let side = Side::new().await;
    let refused = side.bridge.connect_ics("anna", &feed.url()).await.unwrap_err();
    assert!(format!("{refused:?}").contains("no feed at this address"), "{refused:?}");
    assert!(side.bridge.connections("anna").await.unwrap().is_empty());
}

// S3-101: a feed that asks to wait is left alone that long
#[tokio::test]
async fn a_feed_that_asks_to_wait_is_left_alone() {
    let feed = Feed::start(calendar("", &many(1))).await;
    let reader = Reader::of(&feed).await;
    feed.server.fault(Rule::on("GET", "*", Fault::Throttle { retry_after: Some(600) }));
    let run = reader.look().await;
    assert_eq!(run.status, RunStatus::Deferred, "{run:?}");
    feed.sent();
    let wait = reader.side.bridge.sync("anna", &reader.mapping, false).await.unwrap_err();
    assert!(format!("{wait:?}").starts_with("Wait"), "{wait:?}");
    reader.side.later(Duration::from_secs(601));
    assert_eq!(reader.look().await.status, RunStatus::Success);
    assert_eq!(feed.sent().len(), 1);
}

// What is missing once may be a mistake; what two listings miss, a minute apart, goes to the trash
#[tokio::test]
async fn what_is_missing_twice_is_gone() {
    let feed = Feed::start(calendar("", &many(5))).await;
    let reader = Reader::of(&feed).await;
    feed.prints(calendar("", &many(4)));
    let run = reader.look().await;
    assert_eq!((run.status, run.local.total()), (RunStatus::Success, 0), "{run:?}");
    // It was a mistake.
    feed.prints(calendar("", &many(5)));
    reader.side.later(Duration::from_secs(61));
    assert_eq!(reader.look().await.local.total(), 0);
    reader.rests().await;
    assert_eq!(reader.titles().await.len(), 5);
    // It was none.
    feed.prints(calendar("", &many(4)));
    assert_eq!(reader.look().await.local.total(), 0);
    reader.side.later(Duration::from_secs(30));
    assert_eq!(reader.look().await.local.total(), 0, "half a minute is no second look");
    reader.side.later(Duration::from_secs(31));
    assert_eq!(reader.look().await.local.deleted, 1);
    assert_eq!(reader.titles().await, ["Event 0", "Event 1", "Event 2", "Event 3"]);
    // All of them at once wait for a word.
    reader.rests().await;
    feed.prints(calendar("", &[]));
    let told = in_vain(&reader, "emptied").await;
    assert!(told.contains("until you confirm it"), "{told}");
}

// Feeds that give every event a new UID cause no churn: nothing is removed or made anew, names and UIDs here stay
#[tokio::test]
async fn new_uids_for_the_same_events_change_nothing() {
    let doubled = |round: usize, edit: &str| {
        let mut events = many(40);
        // Two that say the same are two.
        events.extend([event("twin-a", "Twin", ""), event("twin-b", "Twin", "")]);
        let series = event("series", "Choir", "RRULE:FREQ=WEEKLY;COUNT=4\r\n");
        events.push(series);
        let text = calendar("", &events).replace("UID:", &format!("UID:{round}-"));
        text.replace("SUMMARY:Event 7\r\n", edit)
    };
    let feed = Feed::start(doubled(0, "SUMMARY:Event 7\r\n")).await;
    let reader = Reader::of(&feed).await;
    let (before, rev) = (reader.here().await, reader.side.rev().await);
    assert_eq!(before.len(), 43);
    for round in 1..4 {
        feed.prints(doubled(round, "SUMMARY:Event 7\r\n"));
        // Also where everything is compared, once a day.
        reader.side.later(Duration::from_secs(if round == 2 { 86_400 } else { 3600 }));
        let run = reader.look().await;
        assert_eq!((run.status, run.local.total()), (RunStatus::Success, 0), "{round}: {run:?}");
        reader.rests().await;
        assert_eq!((reader.here().await, reader.side.rev().await), (before.clone(), rev), "{round}");
    }
    // An edit that comes with new UIDs is an edit of that one event.
    feed.prints(doubled(4, "SUMMARY:Event 7\r\nLOCATION:Hall\r\n"));
    let run = reader.look().await;
    assert_eq!((run.local.updated, run.local.total()), (1, 1), "{run:?}");
    reader.rests().await;
    assert_eq!(reader.here().await, before, "names and titles");
    let seven = before.iter().find(|(_, title)| *title == "Event 7").unwrap().0;
    let text = reader.side.get(seven).await.unwrap();
    assert!(text.contains("LOCATION:Hall") && text.contains("UID:0-e7\r\n"), "{text}");
    // One that is new is new, one that is gone is gone.
    let fewer = doubled(5, "SUMMARY:Something else\r\n");
    feed.prints(fewer);
    let run = reader.look().await;
    assert_eq!((run.local.inserted, run.local.total()), (1, 1), "{run:?}");
    reader.side.later(Duration::from_secs(61));
    reader.look().await;
    let titles = reader.titles().await;
    let has = |title: &str| titles.iter().filter(|own| *own == title).count();
    assert_eq!((titles.len(), has("Something else"), has("Event 7"), has("Event 8")), (43, 1, 0, 1));
    reader.rests().await;
}

// The same where every single answer has other UIDs
#[tokio::test]
async fn uids_that_never_stay_change_nothing() {
    let feed = Feed::start(calendar("", &many(30))).await;
    feed.paper(|paper| paper.shuffles = true);
    let reader = Reader::of(&feed).await;
    let (before, rev) = (reader.here().await, reader.side.rev().await);
    for hours in [1, 24, 1, 48] {
        reader.side.later(Duration::from_secs(hours * 3600));
        let run = reader.look().await;
        assert_eq!((run.status, run.local.total()), (RunStatus::Success, 0), "{run:?}");
        reader.rests().await;
    }
    assert_eq!((reader.here().await, reader.side.rev().await), (before, rev));
    feed.paper(|paper| paper.body = calendar("", &many(31)).into());
    reader.look().await;
    reader.rests().await;
    assert_eq!(reader.titles().await.len(), 31);
    feed.paper(|paper| paper.body = calendar("", &many(29)).into());
    reader.look().await;
    reader.rests().await;
    assert_eq!(reader.titles().await.len(), 29);
}

// Two servers that take turns may each have UIDs of their own: what had a name before and has it again is the same event
#[tokio::test]
async fn uids_that_come_back_change_nothing_but_what_was_edited() {
    let feed = Feed::start(calendar("", &many(10))).await;
    let reader = Reader::of(&feed).await;
    let names = reader.here().await.len();
    for (round, by) in ["other-", "", "other-", "third-", ""].into_iter().enumerate() {
        let edited = calendar("", &many(10))
            .replace("SUMMARY:Event 3", &format!("LOCATION:Room {round}\r\nSUMMARY:Event 3"));
        feed.paper(|paper| paper.body = edited.replace("UID:", &format!("UID:{by}")).into());
        reader.side.later(Duration::from_secs(3600));
        let run = reader.look().await;
        assert_eq!((run.status, run.local.updated, run.local.total()), (RunStatus::Success, 1, 1), "{run:?}");
        reader.rests().await;
        assert_eq!(reader.here().await.len(), names);
    }
}

// RFC 7986 §5.7: how often a feed wishes to be asked for counts, between a minute and a day; a person's own word more
#[tokio::test]
async fn a_feed_is_asked_as_often_as_it_wishes() {
    let feed = Feed::start("").await;
    for (head, seconds) in [
        ("REFRESH-INTERVAL;VALUE=DURATION:PT6H\r\n", 6 * 3600),
        ("X-PUBLISHED-TTL:PT15M\r\n", 900),
        ("X-PUBLISHED-TTL:PT15M\r\nREFRESH-INTERVAL;VALUE=DURATION:P1D\r\n", 86_400),
        ("REFRESH-INTERVAL;VALUE=DURATION:PT1S\r\n", 60),
        ("REFRESH-INTERVAL;VALUE=DURATION:P4W\r\n", 86_400),
        ("REFRESH-INTERVAL;VALUE=DURATION:-PT1H\r\n", 3600),
        ("X-PUBLISHED-TTL:soon\r\n", 3600),
        ("", 3600),
    ] {
        feed.prints(calendar(head, &many(1)));
        feed.paper(|paper| paper.etag = Some("\"v\"".into()));
        let reader = Reader::of(&feed).await;
        for word in ["the first", "304"] {
            reader.look().await;
            let run = reader.side.state(&reader.mapping).await;
            let ended = reader.side.now();
            let next = (run.pace.next.unwrap().0 - ended) / 1000;
            let spread = seconds * 3 / 4 - 1..=seconds * 5 / 4 + 1;
            assert!(spread.contains(&next), "{head}: {next} after {word} answer");
        }
    }
}

// RFC 5545 §3.1.4 and what feeds do instead
#[tokio::test]
async fn feeds_in_other_encodings_are_read() {
    let text = calendar("X-WR-CALNAME:Müll\r\n", &[event("a", "Fête à Zürich", "")]);
    let wide: Vec<u8> = format!("\u{feff}{text}").encode_utf16().flat_map(u16::to_le_bytes).collect();
    let latin: Vec<u8> = text.chars().map(|letter| u8::try_from(u32::from(letter)).unwrap()).collect();
    let (head, tail) = text.split_at(text.find("BEGIN:VEVENT").unwrap());
    let half: Vec<u8> = tail.chars().map(|letter| u8::try_from(u32::from(letter)).unwrap()).collect();
    for (what, body) in [
        ("a byte-order mark", format!("\u{feff}{text}").into_bytes()),
        ("bare line feeds", text.replace("\r\n", "\n").into_bytes()),
        ("UTF-16", wide),
        ("Latin-1", latin),
        ("both", [head.as_bytes(), &half].concat()),
    ] {
        let feed = Feed::start(body).await;
        let reader = Reader::of(&feed).await;
        assert_eq!(reader.titles().await, ["Fête à Zürich"], "{what}");
        let found = reader.side.bridge.connections("anna").await.unwrap();
        let offered = reader.side.bridge.remote_calendars("anna", &found[0].0.id).await.unwrap();
        assert_eq!(offered[0].name, "Müll", "{what}");
    }
}

/// A server that may call this one address of the machine.
fn house(more: &[&str]) -> House {
    let lines = ["[bridge]", "allow_private = [\"127.0.0.1/32\"]"].iter().chain(more);
    House::start(lines.map(|line| (*line).to_owned()).collect())
}

fn connected(house: &House, url: &str) -> (u16, Value) {
    house.api("POST", "/connections/ics", Some(json!({"url": url})))
}

// Every hop is guarded where the connection is made: a feed cannot lead into the network of the server
#[test]
fn a_redirect_into_a_private_network_is_refused_on_every_hop() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let start = |listen: &str| {
        let listen = listen.parse().unwrap();
        runtime.block_on(Feed::with(sim::Options { listen, ..sim::Options::default() }))
    };
    let (first, second) = (start("127.0.0.1:0"), start("127.0.0.1:0"));
    let inside = start("127.0.0.2:0");
    inside.prints(calendar("", &many(1)));
    first.leads(&second.url());
    let house = house(&[]);
    // Two allowed hops, and the last one is not.
    let port = inside.server.address().port();
    for target in [inside.url(), format!("http://169.254.169.254:{port}/"), format!("http://[::1]:{port}/")] {
        second.leads(&target);
        let (status, problem) = connected(&house, &first.url());
        assert_eq!(status, 422, "{target}: {problem}");
        assert!(problem["detail"].as_str().unwrap().contains("private network"), "{problem}");
        assert!(!problem.to_string().contains("secret-7f3a"), "{problem}");
    }
    assert!(inside.sent().is_empty(), "nobody asked there");
    second.leads("ftp://example.org/feed.ics");
    assert_eq!(connected(&house, &first.url()).0, 422);
    second.leads(&first.url());
    let (status, problem) = connected(&house, &first.url());
    assert!(status >= 400 && problem["detail"].as_str().unwrap().contains("circles"), "{problem}");
    assert!(first.sent().len() < 20, "circles end");
    second.prints(calendar("", &many(1)));
    assert_eq!(connected(&house, &first.url()).0, 201);
}

// E18, S1-052: from an address as people paste it to events in their calendar
#[test]
fn a_pasted_address_becomes_events() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let tls = Tls {
        certificate: include_bytes!("sims/localhost.pem").to_vec(),
        key: include_bytes!("sims/localhost.key.pem").to_vec(),
    };
    let feed = runtime.block_on(Feed::with(sim::Options { tls: Some(tls), ..sim::Options::default() }));
    feed.prints(calendar("X-WR-CALNAME:Bins\r\nREFRESH-INTERVAL;VALUE=DURATION:PT2H\r\n", &many(2)));
    let authority = Path::new(env!("CARGO_MANIFEST_DIR")).join("webdav-tests/sims/localhost.pem");
    let house = house(&[&format!("ca_file = \"{}\"", authority.display())]);
    let url = feed.url().replace("http://", "webcal://");
    let (status, made) = connected(&house, &format!("  {url}  "));
    assert_eq!(status, 201, "{made}");
    assert!(!made.to_string().contains("secret-7f3a"), "{made}");
    let (_, own) = house.api("GET", "/calendars", None);
    let own = own["items"].as_array().unwrap().iter().find(|c| c["name"] == "calendar").unwrap();
    let (_, offered) =
        house.api("GET", &format!("/connections/{}/calendars", made["id"].as_str().unwrap()), None);
    assert_eq!(
        (&offered["items"][0]["name"], &offered["items"][0]["writable"]),
        (&json!("Bins"), &json!(false))
    );
    let wish = |direction: &str| json!({"calendar": own["id"], "connection": made["id"], "remote_calendar": "primary", "direction": direction});
    for direction in ["both", "push"] {
        let (status, refused) = house.api("POST", "/mappings", Some(wish(direction)));
        assert_eq!(status, 422, "a feed can only be read: {refused}");
    }
    let (status, mapping) = house.api("POST", "/mappings", Some(wish("pull")));
    assert_eq!(status, 201, "{mapping}");
    eventually("the events of the feed", || crate::oauth::objects(&house) == 2);
    for bad in ["feed", "ftp://127.0.0.1/a.ics", "https://anna:geheim@127.0.0.1/a.ics", ""] {
        let (status, problem) = connected(&house, bad);
        assert_eq!(status, 422, "{bad}: {problem}");
    }
}

// interfaces.md, PATCH /connections/ID and `status`: an account is called as its owner wishes, and says when it has to wait
#[test]
fn an_account_has_the_name_that_it_was_given_and_says_that_it_waits() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let feed = runtime.block_on(Feed::start(calendar("", &many(1))));
    let house = house(&[]);
    let (status, made) = connected(&house, &feed.url());
    assert_eq!((status, &made["status"]), (201, &json!("active")), "{made}");
    let at = format!("/connections/{}", made["id"].as_str().unwrap());
    let (status, named) = house.api("PATCH", &at, Some(json!({"account": "Bins of our street"})));
    assert_eq!((status, &named["account"]), (200, &json!("Bins of our street")), "{named}");
    assert_ne!(named["etag"], made["etag"]);
    assert_eq!(house.api("GET", &at, None).1, named);
    let (status, refused) = house.api("PATCH", &at, Some(json!({"account": 7})));
    assert_eq!((status, &refused["field"]), (422, &json!("account")), "{refused}");
    let (_, own) = house.api("GET", "/calendars", None);
    let own = own["items"].as_array().unwrap().iter().find(|c| c["name"] == "calendar").unwrap();
    let wish = json!({"calendar": own["id"], "connection": made["id"], "remote_calendar": "primary", "direction": "pull"});
    let (status, mapping) = house.api("POST", "/mappings", Some(wish));
    assert_eq!(status, 201, "{mapping}");
    eventually("the event of the feed", || crate::oauth::objects(&house) == 1);
    feed.server.fault(Rule::on("GET", "*", Fault::Throttle { retry_after: Some(600) }));
    let sync = format!("/mappings/{}/sync", mapping["id"].as_str().unwrap());
    eventually("a wait", || {
        house.api("POST", &sync, None);
        house.connection(made["id"].as_str().unwrap())["status"] == "rate_limited"
    });
    assert!(house.connection(made["id"].as_str().unwrap())["message"].is_string());
    let (status, later) = house.api("POST", &sync, None);
    assert_eq!(status, 429, "{later}");
}

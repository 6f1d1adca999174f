//! The Outlook provider against the simulator: real HTTP, the schema of every request checked, faults by script.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures_util::StreamExt as _;
use kalends::auth::grant::Secret;
use kalends::bridge::Outlook;
use kalends::bridge::print::print;
use kalends::bridge::provider::{
    Bearer, Cursor, End, Fit, Fut, Page, Provider as _, RemoteId, Seen, Slot, Trouble, Version, Watch,
    Window, Write, Written,
};
use kalends::http::fetch::{Fetch, Private, Timeouts};
use kalends::ical::Ical;
use kalends::sim::{self, Act, Clock, Fault, Rule, Running, outlook::Outlook as Mailbox};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use url::Url;

/// 1 January 2026.
const NOW: i64 = 1_767_225_600;
const DAY: i64 = 86_400;
const WINDOW: Window = Window { from: Some(NOW - 30 * DAY), to: Some(NOW + 90 * DAY), now: NOW };

/// Gives out one token after the other: `0`, and whenever one was rejected, the next.
struct Tokens(AtomicU64);

impl Bearer for Tokens {
    fn token<'a>(&'a self, rejected: Option<&'a Secret>) -> Fut<'a, Secret> {
        Box::pin(async move {
            if rejected.is_some_and(|r| r.reveal() == self.0.load(Ordering::SeqCst).to_string()) {
                self.0.fetch_add(1, Ordering::SeqCst);
            }
            Ok(Secret::new(self.0.load(Ordering::SeqCst).to_string()))
        })
    }
}

struct Far {
    server: Running,
    mailbox: Arc<Mailbox>,
    outlook: Outlook,
    calendar: RemoteId,
}

impl Far {
    async fn start() -> Far {
        let mailbox = Arc::new(Mailbox::new("robin@example.org").with_token("0"));
        let options = sim::Options { clock: Clock::fixed(NOW * 1000), ..sim::Options::default() };
        let server = sim::Server::start(options, Arc::clone(&mailbox) as Arc<dyn sim::World>).await.unwrap();
        let outlook = provider(&server);
        let calendar = RemoteId(mailbox.calendar());
        Far { server, mailbox, outlook, calendar }
    }

    async fn look(&self, since: Option<&Cursor>, window: Window) -> Result<Page, Trouble> {
        let mut pages = self.outlook.changes(&self.calendar, since, window);
        let mut all = Page::default();
        while let Some(page) = pages.next().await {
            let Page { seen, read, gone, end, .. } = page?;
            all.seen.extend(seen);
            all.read.extend(read);
            all.gone.extend(gone);
            all.end = end;
        }
        assert!(all.end.is_some());
        Ok(all)
    }

    /// What is told since a cursor, and the next cursor.
    async fn since(&self, cursor: &Cursor) -> (Page, Cursor) {
        let page = self.look(Some(cursor), WINDOW).await.unwrap();
        let end = page.end.clone().unwrap();
        assert!(!end.complete);
        (page, end.next.unwrap())
    }

    async fn cursor(&self) -> Cursor {
        self.look(None, WINDOW).await.unwrap().end.unwrap().next.unwrap()
    }

    fn fit(&self, text: &str) -> Bytes {
        match self.outlook.fit(&Ical::parse(text.as_bytes().to_vec()).unwrap(), WINDOW) {
            Fit::Whole(bytes) => bytes,
            other => panic!("{other:?}"),
        }
    }

    async fn put(&self, slot: Slot, bytes: Bytes, base: Option<Bytes>) -> Result<Written, Trouble> {
        self.outlook.put(&self.calendar, &Write { slot, bytes, base }).await
    }

    async fn one(&self, id: &RemoteId) -> Option<Seen> {
        self.outlook.read(&self.calendar, std::slice::from_ref(id)).await.unwrap().pop()
    }

    fn elsewhere(&self, object: Value) -> RemoteId {
        let act = Act::CreateElsewhere { calendar: self.calendar.0.clone(), object };
        RemoteId(self.server.act(&act).unwrap()["id"].as_str().unwrap().to_owned())
    }

    fn edit(&self, id: &RemoteId, patch: Value) {
        let act = Act::EditElsewhere { calendar: self.calendar.0.clone(), id: id.0.clone(), patch };
        self.server.act(&act).unwrap();
    }

    fn delete(&self, id: &RemoteId) {
        let act = Act::DeleteElsewhere { calendar: self.calendar.0.clone(), id: id.0.clone() };
        self.server.act(&act).unwrap();
    }

    fn own(&self, name: &str, with: Value) -> Value {
        self.server.act(&Act::Own { name: name.into(), with }).unwrap()
    }

    /// The id of the instance of a series that begins then.
    async fn instance(&self, id: &RemoteId, day: &str) -> RemoteId {
        let url = format!(
            "{}/v1.0/me/events/{}/instances?startDateTime={day}T00:00:00Z&endDateTime={day}T23:59:59Z",
            self.server.url(),
            percent_encoding::utf8_percent_encode(&id.0, percent_encoding::NON_ALPHANUMERIC)
        );
        let fetch = fetch();
        let mut headers = http::HeaderMap::new();
        headers.insert("authorization", "Bearer 0".parse().unwrap());
        headers.insert("prefer", "IdType=\"ImmutableId\"".parse().unwrap());
        let call = kalends::http::fetch::Call {
            method: http::Method::GET,
            url: Url::parse(&url).unwrap(),
            headers,
            body: Bytes::new(),
            limit: 1 << 20,
        };
        let answer: Value = serde_json::from_slice(&fetch.send(call).await.unwrap().body).unwrap();
        RemoteId(answer["value"][0]["id"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned())
    }
}

fn fetch() -> Fetch {
    Fetch::new(Private::Within(vec!["127.0.0.0/8".parse().unwrap()]), Timeouts::default()).unwrap()
}

fn provider(server: &Running) -> Outlook {
    let api = Url::parse(&format!("{}/v1.0", server.url())).unwrap();
    Outlook::new(fetch(), api, Arc::new(Tokens(AtomicU64::new(0))))
}

fn event(uid: &str, lines: &str) -> String {
    format!(
        "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:x\r\nBEGIN:VEVENT\r\nUID:{uid}\r\nDTSTAMP:20260101T000000Z\r\n\
         {}\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n",
        lines.replace('|', "\r\n")
    )
}

fn new(uid: &str) -> Slot {
    Slot::New { uid: uid.into() }
}

fn same(one: &Bytes, other: &Bytes, what: &str) {
    let of = |bytes: &Bytes| print(&Ical::parse(bytes.clone()).unwrap());
    let text = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
    assert_eq!(of(one), of(other), "{what}\n{}\n{}", text(one), text(other));
}

fn text(bytes: &Bytes) -> String {
    String::from_utf8(bytes.to_vec()).unwrap().replace("\r\n ", "")
}

/// A single event as Graph takes it.
fn single(subject: &str, day: &str) -> Value {
    json!({
        "subject": subject, "start": {"dateTime": format!("{day}T09:00:00"), "timeZone": "W. Europe Standard Time"},
        "end": {"dateTime": format!("{day}T10:00:00"), "timeZone": "W. Europe Standard Time"},
    })
}

/// Mondays from 5 January 2026 on.
fn weekly(subject: &str) -> Value {
    let mut series = single(subject, "2026-01-05");
    series["recurrence"] = json!({
        "pattern": {"type": "weekly", "interval": 1, "daysOfWeek": ["monday"], "firstDayOfWeek": "monday"},
        "range": {"type": "numbered", "startDate": "2026-01-05", "numberOfOccurrences": 6},
    });
    series
}

const SERIES: &str = "DTSTART;TZID=Europe/Berlin:20260105T180000|DTEND;TZID=Europe/Berlin:20260105T190000|\
    RRULE:FREQ=WEEKLY;BYDAY=MO,TH;COUNT=9|SUMMARY:Choir";

const EVENTS: &[(&str, &str)] = &[
    (
        "plain",
        "DTSTART:20260105T090000Z|DTEND:20260105T100000Z|SUMMARY:Dentist|LOCATION:Town|DESCRIPTION:a\\nb",
    ),
    ("whole", "DTSTART;VALUE=DATE:20260106|DTEND;VALUE=DATE:20260109|SUMMARY:Away|TRANSP:TRANSPARENT"),
    (
        "night",
        "DTSTART;TZID=Europe/Berlin:20260107T220000|DURATION:PT4H|SUMMARY:Train|CLASS:PRIVATE|PRIORITY:1",
    ),
    ("moment", "DTSTART;TZID=America/New_York:20260107T220000|SUMMARY:x|CATEGORIES:a\\,b,c"),
    ("series", SERIES),
    ("days", "DTSTART;VALUE=DATE:20260101|RRULE:FREQ=DAILY;COUNT=6|EXDATE;VALUE=DATE:20260103|SUMMARY:Bins"),
    (
        "bells",
        "DTSTART:20260105T090000Z|SUMMARY:y|BEGIN:VALARM|ACTION:DISPLAY|DESCRIPTION:Reminder|TRIGGER:-PT5M|END:VALARM",
    ),
];

// S1-029, S3: create, read, first sync, an incremental look at nothing
#[tokio::test]
async fn events_go_there_and_come_back_as_they_were() {
    let far = Far::start().await;
    let list = far.outlook.calendars().await.unwrap();
    assert!(list[0].id == far.calendar && list[0].primary && list[0].writable);
    let mut writes = Vec::new();
    for (uid, lines) in EVENTS {
        writes.push(Write { slot: new(uid), bytes: far.fit(&event(uid, lines)), base: None });
    }
    let answers = far.outlook.put_all(&far.calendar, &writes).await;
    for (write, answer) in writes.iter().zip(answers) {
        let written = answer.unwrap();
        let seen = far.one(&written.id).await.unwrap();
        same(&seen.bytes, &write.bytes, "read");
        // What the answer told is what is read.
        let told = written.seen.unwrap();
        same(&told.bytes, &seen.bytes, "told");
        assert_eq!((&written.version, &told.version), (&seen.version, &seen.version));
    }
    let page = far.look(None, WINDOW).await.unwrap();
    let Some(End { next: Some(cursor), complete: true }) = page.end else { panic!("{:?}", page.end) };
    assert_eq!((page.seen.len() + page.read.len(), page.gone.len()), (EVENTS.len(), 0));
    let (page, _) = far.since(&cursor).await;
    assert!(page.seen.is_empty() && page.read.is_empty() && page.gone.is_empty());
    assert_eq!(far.mailbox.mails(), 0);
}

// S2-053: what others do there is told, with series as one object
#[tokio::test]
async fn changes_of_others_are_told() {
    let far = Far::start().await;
    let (one, series) = (far.elsewhere(single("Lunch", "2026-01-07")), far.elsewhere(weekly("Choir")));
    let page = far.look(None, WINDOW).await.unwrap();
    let find = |page: &Page, id: &RemoteId| page.read.iter().find(|s| s.id == *id).map(|s| text(&s.bytes));
    let lunch = find(&page, &one).unwrap();
    assert!(
        lunch.contains("SUMMARY:Lunch") && lunch.contains("DTSTART;TZID=Europe/Berlin:20260107T090000"),
        "{lunch}"
    );
    assert!(find(&page, &series).unwrap().contains("RRULE:FREQ=WEEKLY;BYDAY=MO;COUNT=6"));
    assert_eq!(page.read.len(), 2);
    for seen in &page.read {
        same(&far.one(&seen.id).await.unwrap().bytes, &seen.bytes, "a page and a read");
    }
    let cursor = page.end.unwrap().next.unwrap();
    far.edit(&one, json!({"subject": "Late lunch"}));
    let (page, cursor) = far.since(&cursor).await;
    assert!(find(&page, &one).unwrap().contains("Late lunch") && page.read.len() == 1);
    // An instance is moved, another one cancelled: the series is told as a whole, and nothing as gone from it.
    let moved = far.instance(&series, "2026-01-12").await;
    let at =
        |hour| json!({"dateTime": format!("2026-01-13T{hour}:00:00"), "timeZone": "W. Europe Standard Time"});
    far.edit(&moved, json!({"start": at("11"), "end": at("12")}));
    let (page, cursor) = far.since(&cursor).await;
    let choir = find(&page, &series).unwrap();
    assert!(choir.contains("RECURRENCE-ID;TZID=Europe/Berlin:20260112T090000"), "{choir}");
    assert!(choir.contains("DTSTART;TZID=Europe/Berlin:20260113T110000"), "{choir}");
    far.delete(&far.instance(&series, "2026-01-19").await);
    let (page, cursor) = far.since(&cursor).await;
    let choir = find(&page, &series).unwrap();
    assert!(choir.contains("EXDATE;TZID=Europe/Berlin:20260119T090000"), "{choir}");
    assert!(!page.gone.contains(&series) && !page.gone.contains(&one));
    // Removed as a whole.
    far.delete(&series);
    far.delete(&one);
    let (page, _) = far.since(&cursor).await;
    assert!(page.gone.contains(&series) && page.gone.contains(&one) && page.read.is_empty());
}

// A cancelled instance is seen even where only its tombstone is told
#[tokio::test]
async fn a_tombstone_of_an_instance_leads_to_its_series() {
    let far = Far::start().await;
    far.own("habits", json!({"masters": false, "sparse": true, "empty_pages": true}));
    let series = far.elsewhere(weekly("Choir"));
    let cursor = far.cursor().await;
    far.delete(&far.instance(&series, "2026-01-19").await);
    let (page, _) = far.since(&cursor).await;
    let seen = page.read.iter().find(|s| s.id == series).unwrap();
    assert!(text(&seen.bytes).contains("EXDATE;TZID=Europe/Berlin:20260119T090000"));
    assert!(!page.gone.contains(&series));
}

// Leaving the window is no deletion
#[tokio::test]
async fn what_lies_outside_the_window_is_not_gone() {
    let far = Far::start().await;
    let (near, distant) =
        (far.elsewhere(single("Near", "2026-01-07")), far.elsewhere(single("Far", "2027-06-01")));
    let cursor = far.cursor().await;
    far.edit(&distant, json!({"subject": "Still far"}));
    let day = |hour| json!({"dateTime": format!("2027-06-02T{hour}:00:00"), "timeZone": "UTC"});
    far.edit(&near, json!({"start": day("09"), "end": day("10")}));
    let (page, _) = far.since(&cursor).await;
    assert!(page.gone.is_empty(), "{:?}", page.gone);
    assert!(page.read.iter().any(|s| s.id == near && text(&s.bytes).contains("20270602T090000")));
    // A window without end names everything.
    let page = far.look(None, Window { from: None, to: None, now: NOW }).await.unwrap();
    let named = |id: &RemoteId| page.read.iter().any(|s| s.id == *id);
    assert!(page.end.as_ref().unwrap().complete && named(&near) && named(&distant));
    let ancient = far.elsewhere(single("Long ago", "2014-01-07"));
    let page = far.look(None, Window { from: None, to: None, now: NOW }).await.unwrap();
    assert!(page.read.iter().any(|s| s.id == ancient));
}

// S3: single instances edited, moved, cancelled and given back; a rule that changes takes its exceptions along
#[tokio::test]
async fn series_are_edited_as_a_whole() {
    let far = Far::start().await;
    let exception = |start: &str, title: &str| {
        format!(
            "END:VEVENT\r\nBEGIN:VEVENT\r\nUID:s\r\nDTSTAMP:20260101T000000Z\r\n\
             RECURRENCE-ID;TZID=Europe/Berlin:20260115T180000\r\nDTSTART;TZID=Europe/Berlin:{start}\r\n\
             DURATION:PT1H\r\nSUMMARY:{title}\r\nEND:VEVENT\r\nEND:VCALENDAR"
        )
    };
    let with = |lines: &str, more: &str| event("s", lines).replace("END:VEVENT\r\nEND:VCALENDAR", more);
    let plain = far.fit(&event("s", SERIES));
    let moved = far.fit(&with(SERIES, &exception("20260116T200000", "Concert")));
    let holes = format!("{SERIES}|EXDATE;TZID=Europe/Berlin:20260108T180000,20260112T180000");
    let both = far.fit(&with(&holes, &exception("20260116T200000", "Concert")));
    let later =
        holes.replace("COUNT=9", "COUNT=12").replace("T180000", "T183000").replace("T190000", "T193000");
    let later =
        far.fit(&with(&later, &exception("20260116T200000", "Concert").replace("15T180000", "15T183000")));
    let renamed =
        far.fit(&with(&SERIES.replace("Choir", "Singing"), &exception("20260116T200000", "Concert")));
    let stories: [&[&Bytes]; 5] = [
        &[&plain, &moved, &both],
        &[&both, &moved],
        &[&both, &later],
        &[&moved, &plain],
        &[&moved, &renamed, &both],
    ];
    for story in stories {
        let mut at: Option<(RemoteId, Option<Version>, Bytes)> = None;
        for bytes in story {
            let (slot, base) = match &at {
                None => (new("s"), None),
                Some((id, version, base)) => (Slot::At(id.clone(), version.clone()), Some(base.clone())),
            };
            let written = far.put(slot, Bytes::clone(bytes), base).await.unwrap();
            let seen = far.one(&written.id).await.unwrap();
            same(&seen.bytes, bytes, "after a write");
            assert_eq!(written.seen.map(|s| s.version), Some(seen.version.clone()));
            at = Some((written.id, seen.version, seen.bytes));
        }
        let (id, version, _) = at.unwrap();
        far.outlook.delete(&far.calendar, &id, version.as_ref()).await.unwrap();
        assert!(far.one(&id).await.is_none());
    }
    assert_eq!(far.mailbox.mails(), 0);
    assert!(far.mailbox.events(&far.calendar.0).is_empty());
}

// A cancelled instance comes back with a rule that is said in other words, else not at all: then a sentence says so
#[tokio::test]
async fn a_series_of_others_keeps_its_cancelled_instances() {
    let far = Far::start().await;
    let series = far.elsewhere(weekly("Choir"));
    for brought_back in [true, false] {
        far.delete(&far.instance(&series, "2026-01-19").await);
        let seen = far.one(&series).await.unwrap();
        let exdate = "EXDATE;TZID=Europe/Berlin:20260119T090000\r\n";
        assert!(text(&seen.bytes).contains(exdate));
        let whole = text(&seen.bytes).replace(exdate, "");
        let slot = Slot::At(series.clone(), seen.version.clone());
        let answer = far.put(slot, Bytes::from(whole), Some(seen.bytes)).await;
        match answer {
            Ok(written) => assert!(brought_back && written.id == series),
            Err(Trouble::Refused(why)) => assert!(!brought_back && why.contains("cancelled"), "{why}"),
            other => panic!("{other:?}"),
        }
        assert_ne!(text(&far.one(&series).await.unwrap().bytes).contains(exdate), brought_back);
    }
}

// S4-008, S4-011: Only what differs is sent; nothing if nothing does
#[tokio::test]
async fn a_write_without_a_difference_is_no_call() {
    let far = Far::start().await;
    let bytes = far.fit(&event("p", EVENTS[0].1));
    let written = far.put(new("p"), bytes.clone(), None).await.unwrap();
    let seen = far.one(&written.id).await.unwrap();
    let slot = Slot::At(written.id.clone(), seen.version.clone());
    let before = far.server.log().count();
    let again = far.put(slot.clone(), seen.bytes.clone(), Some(seen.bytes.clone())).await.unwrap();
    assert_eq!(again.version, seen.version);
    assert_eq!(far.server.log().count(), before);
    let changed = Bytes::from(text(&seen.bytes).replace("Dentist", "Doctor"));
    far.put(slot, changed, Some(seen.bytes)).await.unwrap();
    let events = far.mailbox.events(&far.calendar.0);
    assert_eq!((&events[0]["subject"], events.len()), (&json!("Doctor"), 1));
}

// One that fails never stops the rest; many are read and written in few calls, never more than four at a time
#[tokio::test]
async fn many_are_read_and_written_in_few_calls() {
    let far = Far::start().await;
    let written = far.put(new("first"), far.fit(&event("first", EVENTS[0].1)), None).await.unwrap();
    far.edit(&written.id, json!({"subject": "Theirs"}));
    let mut writes: Vec<Write> = (0..45)
        .map(|n| Write {
            slot: new(&format!("e{n}")),
            bytes: far.fit(&event(&format!("e{n}"), EVENTS[0].1)),
            base: None,
        })
        .collect();
    let seen = written.seen.unwrap();
    let changed = Bytes::from(text(&seen.bytes).replace("Dentist", "Doctor"));
    writes[7] = Write { slot: Slot::At(written.id, seen.version), bytes: changed, base: Some(seen.bytes) };
    writes[9].bytes = Bytes::from(event("task", "SUMMARY:without a start"));
    let holes = format!("{SERIES}|EXDATE;TZID=Europe/Berlin:20260108T180000");
    writes[11].bytes = far.fit(&event("e11", &holes));
    far.server.log().clear();
    let batches = || far.server.log().entries().iter().filter(|e| e.path.ends_with("$batch")).count();
    let answers = far.outlook.put_all(&far.calendar, &writes).await;
    for (n, answer) in answers.iter().enumerate() {
        match (n, answer) {
            (7, answer) => assert_eq!(*answer, Err(Trouble::Stale)),
            (9, answer) => assert!(matches!(answer, Err(Trouble::Refused(_))), "{answer:?}"),
            (_, answer) => assert!(answer.is_ok(), "{n}: {answer:?}"),
        }
    }
    // What a batch holds is in the log too. One by one go the steps of the series with a hole: it is made, its instance
    // found and removed, and it is read.
    assert_eq!((batches(), far.server.log().count()), (3, 3 + 43 + 4));
    assert!(far.server.log().most_at_once() <= 4);
    let ids: Vec<RemoteId> = answers.into_iter().filter_map(Result::ok).map(|w| w.id).collect();
    let mut missing = ids.clone();
    missing.insert(3, RemoteId("AAkALgAAAAAAHYQDEapmEc2byACqAC-EWg0AAAOAAAAAAAAAAAAAA4Q=".into()));
    let read = far.outlook.read(&far.calendar, &missing[..20]).await.unwrap();
    assert_eq!(read.iter().map(|s| &s.id).collect::<Vec<_>>(), ids[..19].iter().collect::<Vec<_>>());
    assert_eq!(batches(), 4);
    // A batch whose answers are not all there says nothing of what lacks one.
    let fault = Fault::Status {
        code: 200,
        body: Some(json!({"responses": []})),
        text: None,
        headers: Default::default(),
    };
    far.server.fault(Rule::on("POST", "*/$batch", fault));
    assert!(matches!(far.outlook.read(&far.calendar, &ids[..5]).await, Err(Trouble::Unreachable(_))));
    // All of them, page by page.
    for n in 0..120 {
        far.elsewhere(single(&format!("Theirs {n}"), "2026-01-20"));
    }
    let mut pages = far.outlook.changes(&far.calendar, None, WINDOW);
    let (mut told, mut count) = (std::collections::BTreeSet::new(), 0);
    while let Some(page) = pages.next().await {
        let page = page.unwrap();
        told.extend(page.read.iter().map(|s| s.id.clone()).chain(page.seen.iter().map(|s| s.id.clone())));
        count += 1;
    }
    assert_eq!((told.len(), count), (120 + 44, 3));
}

// A state that is not the expected one is not overwritten
#[tokio::test]
async fn a_stale_state_is_told() {
    let far = Far::start().await;
    for lines in [EVENTS[0].1, SERIES] {
        let bytes = far.fit(&event("p", lines));
        let written = far.put(new("p"), bytes.clone(), None).await.unwrap();
        let seen = far.one(&written.id).await.unwrap();
        far.edit(&written.id, json!({"subject": "Theirs"}));
        let changed = Bytes::from(text(&bytes).replace("SUMMARY:", "SUMMARY:Ours "));
        let slot = Slot::At(written.id.clone(), seen.version.clone());
        assert_eq!(far.put(slot, changed.clone(), Some(seen.bytes)).await, Err(Trouble::Stale));
        let deleted = far.outlook.delete(&far.calendar, &written.id, seen.version.as_ref()).await;
        assert_eq!(deleted, Err(Trouble::Stale));
        let seen = far.one(&written.id).await.unwrap();
        assert!(text(&seen.bytes).contains("SUMMARY:Theirs"));
        far.delete(&written.id);
        let slot = Slot::At(written.id.clone(), seen.version.clone());
        assert!(matches!(far.put(slot, changed, Some(seen.bytes)).await, Err(Trouble::Missing(_))));
        far.outlook.delete(&far.calendar, &written.id, seen.version.as_ref()).await.unwrap();
    }
    // Of a series with exceptions, an edit of one of them counts.
    let series = far.elsewhere(weekly("Choir"));
    let instance = far.instance(&series, "2026-01-12").await;
    far.edit(&instance, json!({"subject": "Concert"}));
    let seen = far.one(&series).await.unwrap();
    far.edit(&instance, json!({"subject": "Another concert"}));
    let changed = Bytes::from(text(&seen.bytes).replace("SUMMARY:Choir", "SUMMARY:Singing"));
    let slot = Slot::At(series.clone(), seen.version.clone());
    assert_eq!(far.put(slot, changed, Some(seen.bytes)).await, Err(Trouble::Stale));
    assert_eq!(far.outlook.delete(&far.calendar, &series, seen.version.as_ref()).await, Err(Trouble::Stale));
}

// S3: a lost answer cannot double
#[tokio::test]
async fn a_create_whose_answer_was_lost_meets_itself() {
    for replay in [true, false] {
        let far = Far::start().await;
        far.own("habits", json!({"replay": replay}));
        for (n, lines) in [EVENTS[0].1, SERIES].into_iter().enumerate() {
            let uid = format!("lost-{n}");
            let bytes = far.fit(&event(&uid, lines));
            far.server.fault(Rule::on("POST", "*/events", Fault::DropAfterApply));
            let lost = far.put(new(&uid), bytes.clone(), None).await;
            assert!(matches!(lost, Err(Trouble::Unreachable(_))), "{lost:?}");
            let id = match far.put(new(&uid), bytes.clone(), None).await {
                Ok(written) => written.id,
                Err(Trouble::Taken(Some(id))) => id,
                other => panic!("{other:?}"),
            };
            same(&far.one(&id).await.unwrap().bytes, &bytes, "found again");
            assert_eq!(far.mailbox.events(&far.calendar.0).len(), n + 1);
            // Somebody changed it since: it is not taken for what was just made.
            far.server.clock().advance(600_000);
            far.edit(&id, json!({"subject": "Theirs"}));
            assert_eq!(far.put(new(&uid), bytes, None).await, Err(Trouble::Taken(Some(id))));
        }
    }
}

#[tokio::test]
async fn a_cursor_that_is_lost_is_told() {
    let far = Far::start().await;
    let cursor = far.cursor().await;
    far.server.act(&Act::ExpireCursor).unwrap();
    assert_eq!(far.look(Some(&cursor), WINDOW).await, Err(Trouble::CursorExpired));
    let cursor = far.cursor().await;
    for code in ["syncStateNotFound", "syncStateInvalid", "resyncRequired"] {
        let body = json!({"error": {"code": code, "message": "x"}});
        let fault = Fault::Status { code: 400, body: Some(body), text: None, headers: Default::default() };
        far.server.fault(Rule::on("GET", "*/delta", fault));
        assert_eq!(far.look(Some(&cursor), WINDOW).await, Err(Trouble::CursorExpired), "{code}");
    }
}

#[tokio::test]
async fn faults_change_nothing_and_are_told() {
    let far = Far::start().await;
    let id = far.elsewhere(single("Lunch", "2026-01-07"));
    let cursor = far.cursor().await;
    far.delete(&id);
    let text = |text: &str| Fault::Status {
        code: 200,
        body: None,
        text: Some(text.into()),
        headers: Default::default(),
    };
    let json =
        |body: Value| Fault::Status { code: 200, body: Some(body), text: None, headers: Default::default() };
    for fault in [
        text("<html>maintenance</html>"),
        json(json!({"value": []})),
        json(json!({"items": []})),
        json(json!({"value": [{"subject": "no id"}], "@odata.deltaLink": "x"})),
        json(json!({"value": [], "@odata.nextLink": "https://example.com/elsewhere"})),
        Fault::Status { code: 500, body: None, text: None, headers: Default::default() },
        Fault::CutBody { bytes: 20 },
    ] {
        far.server.fault(Rule::on("GET", "*/delta", fault.clone()));
        let look = far.look(Some(&cursor), WINDOW).await;
        assert!(matches!(look, Err(Trouble::Unreachable(_))), "{fault:?}: {look:?}");
    }
    far.server.fault(Rule::on("GET", "*/delta", Fault::Throttle { retry_after: Some(17) }));
    let slow = far.look(Some(&cursor), WINDOW).await;
    assert_eq!(slow, Err(Trouble::Slow(Some(std::time::Duration::from_secs(17)))));
    // What asks for a removed event and hears an error does not hear that it is gone.
    far.server.fault(Rule::on(
        "GET",
        "*/events/*",
        Fault::Status { code: 500, body: None, text: None, headers: Default::default() },
    ));
    assert!(far.outlook.read(&far.calendar, std::slice::from_ref(&id)).await.is_err());
    assert_eq!(far.since(&cursor).await.0.gone, [id]);
}

#[tokio::test]
async fn a_refused_token_is_replaced_once() {
    let far = Far::start().await;
    far.own("accept_token", json!({"token": "2"}));
    let stale = Outlook::new(
        fetch(),
        Url::parse(&format!("{}/v1.0/", far.server.url())).unwrap(),
        Arc::new(Tokens(AtomicU64::new(1))),
    );
    assert_eq!(stale.calendars().await.unwrap().len(), 1);
    let lost = Outlook::new(
        fetch(),
        Url::parse(&format!("{}/v1.0/", far.server.url())).unwrap(),
        Arc::new(Tokens(AtomicU64::new(7))),
    );
    assert!(matches!(lost.calendars().await, Err(Trouble::Unauthorised(_))));
    // A calendar that may only be read says what to do.
    far.mailbox.writable(&far.calendar.0, false);
    let refused = far.put(new("x"), far.fit(&event("x", EVENTS[0].1)), None).await;
    assert!(matches!(refused, Err(Trouble::Unauthorised(_))), "{refused:?}");
}

// S3: never causing mail
#[tokio::test]
async fn a_meeting_with_guests_is_read_and_left_alone() {
    let far = Far::start().await;
    let mut meeting = single("Review", "2026-01-07");
    meeting["attendees"] =
        json!([{"type": "required", "emailAddress": {"address": "bo@example.org", "name": "Bo"}}]);
    let id = far.elsewhere(meeting);
    let mails = far.mailbox.mails();
    let seen = far.one(&id).await.unwrap();
    assert!(text(&seen.bytes).contains("ATTENDEE;CN=Bo"), "{}", text(&seen.bytes));
    let changed = Bytes::from(text(&seen.bytes).replace("Review", "Replay"));
    for version in [seen.version.clone(), None] {
        let slot = Slot::At(id.clone(), version.clone());
        let refused = far.put(slot, changed.clone(), Some(seen.bytes.clone())).await;
        assert!(matches!(&refused, Err(Trouble::Refused(why)) if why.contains("invited")), "{refused:?}");
        let refused = far.outlook.delete(&far.calendar, &id, version.as_ref()).await;
        assert!(matches!(refused, Err(Trouble::Refused(_))), "{refused:?}");
    }
    // Ours with people in it is made there without them.
    let ours =
        event("m", &format!("{}|ORGANIZER:mailto:a@example.org|ATTENDEE:mailto:b@example.org", EVENTS[0].1));
    let ours = Ical::parse(ours.into_bytes()).unwrap();
    far.put(new("m"), ours.bytes().clone(), None).await.unwrap();
    assert_eq!(far.mailbox.mails(), mails);
}

// The block of an online meeting survives an edit of the text above it
#[tokio::test]
async fn the_block_of_an_online_meeting_is_kept() {
    let far = Far::start().await;
    let block = "<div>________________________________________________________________________________</div>\
                 <div><a href=\"https://teams.example.com/l/1\">Join the meeting</a></div>";
    let mut meeting = single("Call", "2026-01-07");
    meeting["body"] = json!({"contentType": "html", "content": format!("<html><body><div>Agenda</div>{block}</body></html>")});
    let id = far.elsewhere(meeting);
    let seen = far.one(&id).await.unwrap();
    assert!(text(&seen.bytes).contains("DESCRIPTION:Agenda\\n____"), "{}", text(&seen.bytes));
    let changed = Bytes::from(text(&seen.bytes).replace("Agenda", "New agenda"));
    let slot = Slot::At(id.clone(), seen.version);
    far.put(slot, changed.clone(), Some(seen.bytes)).await.unwrap();
    same(&far.one(&id).await.unwrap().bytes, &changed, "edited");
    assert!(text(&far.one(&id).await.unwrap().bytes).contains("https://teams.example.com/l/1"));
}

/// Answers every handshake with its token, as text.
async fn receiver() -> Url {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = Url::parse(&format!("http://{}/hooks/outlook", listener.local_addr().unwrap())).unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = Vec::new();
            let mut buffer = [0u8; 4096];
            while !head.windows(4).any(|w| w == b"\r\n\r\n") {
                match stream.read(&mut buffer).await {
                    Ok(n) if n > 0 => head.extend_from_slice(&buffer[..n]),
                    _ => break,
                }
            }
            let line = String::from_utf8_lossy(&head).lines().next().unwrap_or_default().to_owned();
            let target = line.split(' ').nth(1).unwrap_or("/").to_owned();
            let asked = Url::parse(&format!("http://x{target}")).unwrap();
            let token =
                asked.query_pairs().find(|(n, _)| n == "validationToken").map(|(_, v)| v.into_owned());
            let token = token.unwrap_or_default();
            let answer = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{token}",
                token.len()
            );
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    url
}

// S1-077, S3: subscriptions with the handshake, renewed, made anew, closed
#[tokio::test]
async fn notifications_are_subscribed_to() {
    let far = Far::start().await;
    let watch = Watch { id: "w1".into(), address: receiver().await, token: Secret::new("s3cret") };
    let channel = far.outlook.watch(&far.calendar, &watch).await.unwrap();
    let week = 7 * DAY;
    assert!(channel.expires > NOW + week - 2 * 3600 && channel.expires < NOW + week);
    far.server.clock().advance(DAY * 1000);
    let renewed = far.outlook.renew(&channel).await.unwrap().unwrap();
    assert!(renewed.id == channel.id && renewed.expires == channel.expires + DAY);
    // A second one for the same takes the first one's place.
    let again = far.outlook.watch(&far.calendar, &watch).await.unwrap();
    assert_ne!(again.id, channel.id);
    assert_eq!(far.mailbox.subscriptions(far.server.scene()), 1);
    assert_eq!(far.outlook.renew(&channel).await.unwrap(), None);
    far.outlook.unwatch(&again).await.unwrap();
    far.outlook.unwatch(&again).await.unwrap();
    assert_eq!(far.mailbox.subscriptions(far.server.scene()), 0);
    // Nobody answers the handshake: a sentence, no subscription.
    let nobody = Watch { address: Url::parse("http://127.0.0.1:9/hooks/outlook").unwrap(), ..watch };
    assert!(matches!(far.outlook.watch(&far.calendar, &nobody).await, Err(Trouble::Refused(_))));
}

fn calendars_below(folder: &std::path::Path, found: &mut Vec<std::path::PathBuf>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            calendars_below(&path, found);
        } else if path.extension().is_some_and(|e| e == "ics") {
            found.push(path);
        }
    }
    found.sort();
}

/// The objects of a file: one for each UID.
fn objects(bytes: Vec<u8>) -> Vec<Ical> {
    let Ok(ical) = Ical::parse(bytes) else { return Vec::new() };
    let Some(calendar) = ical.calendar() else { return Vec::new() };
    let mut by_uid: std::collections::BTreeMap<String, String> = Default::default();
    let mut zones = String::new();
    for component in calendar.components() {
        let text = String::from_utf8_lossy(&ical.bytes()[component.span()]).into_owned();
        match component.name() {
            "VTIMEZONE" => zones.push_str(&text),
            "VEVENT" => {
                let uid = component.property("UID").map(|p| p.text()).unwrap_or_default();
                by_uid.entry(uid).or_default().push_str(&text);
            }
            _ => {}
        }
    }
    let whole = |events| format!("BEGIN:VCALENDAR\r\n{zones}{events}END:VCALENDAR\r\n");
    by_uid.into_values().filter_map(|events| Ical::parse(whole(events).into_bytes()).ok()).collect()
}

/// The text with another UID.
fn named(bytes: &Bytes, uid: &str) -> Bytes {
    let line =
        |line: &str| if line.starts_with("UID:") { format!("UID:{uid}\r\n") } else { format!("{line}\r\n") };
    Bytes::from(text(bytes).lines().map(line).collect::<String>())
}

// S3: the hard series go over the wire and come back equal in meaning
#[tokio::test]
async fn the_corpus_goes_there_and_comes_back() {
    let far = Far::start().await;
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    calendars_below(&root.join("webdav-tests"), &mut files);
    let shared = std::env::var_os("KALENDS_SHARED").map_or_else(|| root.join("../shared"), Into::into);
    calendars_below(&shared.join("corpus"), &mut files);
    let mut writes = Vec::new();
    for path in &files {
        for object in objects(std::fs::read(path).unwrap_or_default()) {
            let all = match far.outlook.fit(&object, WINDOW) {
                Fit::Whole(bytes) => vec![bytes],
                Fit::Parts(parts, _) => parts.into_iter().take(3).map(|p| p.bytes).collect(),
                Fit::Refused(_) => Vec::new(),
            };
            for bytes in all {
                let uid = format!("object-{}", writes.len());
                writes
                    .push((path.clone(), Write { bytes: named(&bytes, &uid), slot: new(&uid), base: None }));
            }
        }
    }
    assert!(writes.len() > 20, "{}", writes.len());
    // Of thousands, one in eight is enough for every day.
    let every = if writes.len() > 1000 { 8 } else { 1 };
    let writes: Vec<_> = writes.into_iter().step_by(every).collect();
    for chunk in writes.chunks(20) {
        let batch: Vec<Write> = chunk.iter().map(|(_, write)| write.clone()).collect();
        far.server.clock().advance(60_000);
        let answers = far.outlook.put_all(&far.calendar, &batch).await;
        for ((path, write), answer) in chunk.iter().zip(answers) {
            let id = match answer {
                Ok(written) => written.id,
                Err(trouble) => panic!("{}: {trouble}\n{}", path.display(), text(&write.bytes)),
            };
            let seen = far.one(&id).await.unwrap();
            same(&seen.bytes, &write.bytes, &path.display().to_string());
        }
    }
    assert_eq!(far.mailbox.mails(), 0);
}

// An instance that Outlook does not show yet is not passed over: the write is tried again
#[tokio::test]
async fn an_instance_that_is_not_shown_yet_is_written_later() {
    let far = Far::start().await;
    let changed = |lines: &str| {
        let more = "END:VEVENT\r\nBEGIN:VEVENT\r\nUID:s\r\nDTSTAMP:20260101T000000Z\r\n\
            RECURRENCE-ID;TZID=Europe/Berlin:20260115T180000\r\nDTSTART;TZID=Europe/Berlin:20260116T200000\r\n\
            DURATION:PT1H\r\nSUMMARY:Concert\r\nEND:VEVENT\r\nEND:VCALENDAR";
        event("s", lines).replace("END:VEVENT\r\nEND:VCALENDAR", more)
    };
    let out = format!("{SERIES}|EXDATE;TZID=Europe/Berlin:20260108T180000");
    for wanted in [far.fit(&changed(SERIES)), far.fit(&event("s", &out))] {
        let made = far.put(new("s"), far.fit(&event("s", SERIES)), None).await.unwrap();
        let before = far.one(&made.id).await.unwrap();
        far.server.fault(Rule::on("GET", "*/instances*", Fault::EmptyPage));
        let slot = Slot::At(made.id.clone(), before.version.clone());
        let put = far.put(slot, wanted.clone(), Some(before.bytes.clone())).await;
        assert!(matches!(put, Err(Trouble::Unreachable(_))), "{put:?}");
        let now = far.one(&made.id).await.unwrap();
        far.put(Slot::At(made.id.clone(), now.version), wanted.clone(), Some(now.bytes)).await.unwrap();
        let after = far.one(&made.id).await.unwrap();
        same(&after.bytes, &wanted, "written after all");
        far.outlook.delete(&far.calendar, &made.id, after.version.as_ref()).await.unwrap();
    }
}

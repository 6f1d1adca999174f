//! Quirks that need more than a conversation: a store that fails at a chosen moment.

use std::sync::Arc;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use kalends::calendar::Put;
use kalends::store::{Name, Origin, Sled, Store};

use crate::door::{Door, Heard};
use crate::overseen::Overseen;

/// How many events lie in the calendar: enough that answers are streamed in several pieces.
const EVENTS: usize = 300;

struct Stage {
    store: Arc<Overseen>,
    door: Door,
}

async fn stage() -> Stage {
    let store = Arc::new(Overseen::new(Sled::temporary().unwrap()));
    let door = Door::over(Arc::clone(&store) as Arc<dyn Store>).await;
    let anna = door.house.principal("anna").await.unwrap().unwrap();
    let session = door.house.session(anna, Origin::System);
    let home = session.home().await.unwrap();
    let calendar = home.writable_child("calendar").await.unwrap().unwrap();
    for n in 0..EVENTS {
        let rule = if n % 3 == 0 { "RRULE:FREQ=DAILY\r\n" } else { "" };
        let text = format!(
            "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//test//EN\r\nBEGIN:VEVENT\r\nUID:{n}\r\n\
             DTSTAMP:20260101T000000Z\r\nDTSTART:20260615T120000Z\r\n{rule}SUMMARY:{n}\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"
        );
        let name = Name::new(format!("{n}.ics")).unwrap();
        session.put(&calendar, Put::new(&name, Bytes::from(text))).await.unwrap();
    }
    Stage { store, door }
}

impl Stage {
    async fn say(&self, method: &str, path: &str, depth: &str, body: &str, luck: i64) -> Heard {
        self.store.lucky(i64::MAX);
        let ready = || self.store.lucky(luck);
        self.door.say(method, path, &[("depth", depth)], body.to_owned(), ready).await
    }
}

/// an answer that is cut short must never look whole: KDE, bridges and vdirsyncer delete what it does not name.
/// Whichever read of the store fails, the answer is 5xx, or it breaks off; or it is the very answer of a healthy store.
#[test]
fn q_06_a_failing_store_never_shortens_an_answer() {
    let ns = "xmlns:D=\"DAV:\" xmlns:C=\"urn:ietf:params:xml:ns:caldav\"";
    let hrefs: String =
        (0..EVENTS).map(|n| format!("<D:href>/dav/calendars/anna/calendar/{n}.ics</D:href>")).collect();
    let filter = "<C:filter><C:comp-filter name=\"VCALENDAR\"><C:comp-filter name=\"VEVENT\">\
                  <C:time-range start=\"20260701T000000Z\" end=\"20260702T000000Z\"/></C:comp-filter></C:comp-filter></C:filter>";
    let home = "/dav/calendars/anna/";
    let calendar = "/dav/calendars/anna/calendar/";
    let asked = [
        (
            "PROPFIND",
            home,
            "1",
            format!("<D:propfind {ns}><D:prop><D:resourcetype/><D:sync-token/></D:prop></D:propfind>"),
        ),
        ("PROPFIND", calendar, "1", format!("<D:propfind {ns}><D:prop><D:getetag/></D:prop></D:propfind>")),
        ("PROPFIND", calendar, "1", format!("<D:propfind {ns}><D:allprop/></D:propfind>")),
        (
            "REPORT",
            calendar,
            "0",
            format!(
                "<D:sync-collection {ns}><D:sync-token/><D:sync-level>1</D:sync-level><D:prop><D:getetag/></D:prop></D:sync-collection>"
            ),
        ),
        (
            "REPORT",
            calendar,
            "0",
            format!(
                "<D:sync-collection {ns}><D:sync-token/><D:sync-level>1</D:sync-level><D:limit><D:nresults>200</D:nresults></D:limit><D:prop><D:getetag/></D:prop></D:sync-collection>"
            ),
        ),
        (
            "REPORT",
            calendar,
            "1",
            format!(
                "<C:calendar-multiget {ns}><D:prop><D:getetag/><C:calendar-data/></D:prop>{hrefs}</C:calendar-multiget>"
            ),
        ),
        (
            "REPORT",
            calendar,
            "1",
            format!("<C:calendar-query {ns}><D:prop><D:getetag/></D:prop>{filter}</C:calendar-query>"),
        ),
        (
            "REPORT",
            calendar,
            "1",
            format!(
                "<C:calendar-query {ns}><D:prop><D:getetag/><C:calendar-data/></D:prop>{filter}</C:calendar-query>"
            ),
        ),
        (
            "REPORT",
            calendar,
            "1",
            format!(
                "<C:free-busy-query {ns}><C:time-range start=\"20260601T000000Z\" end=\"20260801T000000Z\"/></C:free-busy-query>"
            ),
        ),
        (
            "REPORT",
            home,
            "0",
            format!(
                "<D:principal-match {ns}><D:principal-property><D:owner/></D:principal-property><D:prop><D:getetag/></D:prop></D:principal-match>"
            ),
        ),
    ];
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let stage = stage().await;
        for (method, path, depth, body) in asked {
            let whole = stage.say(method, path, depth, &body, i64::MAX).await;
            assert!(matches!(whole.status, 200 | 207), "{method} {path}: {} {body}", whole.status);
            let mut failed = 0;
            for luck in (0..12).chain((12..2 * EVENTS as i64 + 40).step_by(29)) {
                let heard = stage.say(method, path, depth, &body, luck).await;
                let cut = heard.status >= 500 || heard.body.is_none();
                failed += usize::from(cut);
                assert!(
                    cut || heard.body == whole.body,
                    "{method} {path} with {luck} good reads: {} and another answer\n{body}\n{}",
                    heard.status,
                    String::from_utf8_lossy(&heard.body.unwrap_or_default())
                );
            }
            assert!(failed > 0, "{method} {path}: nothing failed, so nothing was shown: {body}");
        }
    });
}

/// long answers are made while they are read: neither 413 nor a heap of memory. After the first piece the
/// store has been asked for that piece and little more, and no piece is much longer than 32 KiB.
#[test]
fn q_29_long_answers_are_made_while_they_are_read() {
    let ns = "xmlns:D=\"DAV:\" xmlns:C=\"urn:ietf:params:xml:ns:caldav\"";
    let hrefs: String = (0..10_000)
        .map(|n| format!("<D:href>/dav/calendars/anna/calendar/{}.ics</D:href>", n % EVENTS))
        .collect();
    let body =
        format!("<C:calendar-multiget {ns}><D:prop><C:calendar-data/></D:prop>{hrefs}</C:calendar-multiget>");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let stage = stage().await;
        let before = std::cell::Cell::new(0);
        let ready = || before.set(stage.store.reads());
        let reply = stage.door.ask("REPORT", "/dav/calendars/anna/calendar/", &[], body, ready).await;
        assert_eq!(reply.status().as_u16(), 207);
        let mut answer = reply.into_body();
        let (mut pieces, mut whole) = (0, Vec::new());
        while let Some(frame) = answer.frame().await {
            let Ok(piece) = frame.unwrap().into_data() else { continue };
            assert!(piece.len() < 48 << 10, "a piece of {} bytes", piece.len());
            pieces += 1;
            whole.extend_from_slice(&piece);
            let told = whole.windows(12).filter(|w| w == b"<D:response>").count() as i64;
            let asked = stage.store.reads() - before.get();
            if pieces <= 3 {
                assert!(asked < told + 200, "{asked} reads for {told} members");
            }
        }
        assert!(pieces > 50, "{pieces} pieces");
        let text = String::from_utf8(whole).unwrap();
        assert_eq!(text.matches("<C:calendar-data>").count(), 10_000);
        assert!(text.ends_with("</D:multistatus>"));
    });
}

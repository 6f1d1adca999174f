//! A client that follows `sync-collection` has, at any time, exactly what is there (RFC 6578).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use kalends::calendar::Clock;
use kalends::store::{Sled, Store, Timestamp};

use crate::door::{Dice, Door, Fixed, Heard};

const NS: &str = "xmlns:D=\"DAV:\" xmlns:C=\"urn:ietf:params:xml:ns:caldav\"";

/// What an answer says of a member: its etag (empty for collections), or that it is gone.
type Told = Vec<(String, Option<String>)>;

struct Answer {
    told: Told,
    token: String,
    cut: bool,
}

fn read(heard: &Heard, collection: &str) -> Answer {
    let text = heard.text();
    let document = roxmltree::Document::parse(&text).unwrap();
    let mut answer = Answer { told: Vec::new(), token: String::new(), cut: false };
    for element in document.root_element().children().filter(roxmltree::Node::is_element) {
        let child = |name: &str| element.children().find(|c| c.tag_name().name() == name);
        if element.tag_name().name() == "sync-token" {
            element.text().unwrap().clone_into(&mut answer.token);
            continue;
        }
        let href = child("href").unwrap().text().unwrap().to_owned();
        let status = child("status").map(|s| s.text().unwrap().to_owned());
        match status {
            Some(status) if status.contains(" 507 ") && href == collection => answer.cut = true,
            Some(status) => {
                assert!(status.contains(" 404 "), "{href}: {status}");
                answer.told.push((href, None));
            }
            None => {
                let etag = element.descendants().find(|d| d.tag_name().name() == "getetag");
                let etag = etag.and_then(|e| e.text()).unwrap_or_default();
                answer.told.push((href, Some(etag.to_owned())));
            }
        }
    }
    answer
}

/// A client: its copy, its token.
#[derive(Default)]
struct Client {
    copy: BTreeMap<String, String>,
    token: String,
    beginnings: usize,
}

impl Client {
    async fn sync(&mut self, door: &Door, collection: &str, limit: Option<usize>) {
        for _ in 0..10_000 {
            let limit =
                limit.map_or(String::new(), |n| format!("<D:limit><D:nresults>{n}</D:nresults></D:limit>"));
            let body = format!(
                "<D:sync-collection {NS}><D:sync-token>{}</D:sync-token><D:sync-level>1</D:sync-level>{limit}\
                 <D:prop><D:getetag/></D:prop></D:sync-collection>",
                self.token
            );
            let heard = door.say("REPORT", collection, &[], body, || ()).await;
            if heard.status == 403 {
                assert!(heard.text().contains("valid-sync-token"), "{}", heard.text());
                assert!(!self.token.is_empty(), "a beginning was refused: {}", heard.text());
                *self = Client { beginnings: self.beginnings + 1, ..Client::default() };
                continue;
            }
            assert_eq!(heard.status, 207, "{}", heard.text());
            let answer = read(&heard, collection);
            let mut names: Vec<_> = answer.told.iter().map(|(href, _)| href.clone()).collect();
            names.sort();
            names.dedup();
            assert_eq!(names.len(), answer.told.len(), "RFC 6578 §3.5: a member is told once");
            let first = self.token.is_empty();
            for (href, etag) in answer.told {
                assert!(
                    !(first && etag.is_none()),
                    "RFC 6578 §3.4: nothing is gone for a client that had nothing"
                );
                match etag {
                    Some(etag) => self.copy.insert(href, etag),
                    None => self.copy.remove(&href),
                };
            }
            self.token = answer.token;
            if !answer.cut {
                return;
            }
        }
        panic!("the server cuts for ever");
    }
}

/// What is there, by PROPFIND; and the collection's token.
async fn truth(door: &Door, collection: &str) -> (BTreeMap<String, String>, String) {
    let body = format!("<D:propfind {NS}><D:prop><D:getetag/><D:sync-token/></D:prop></D:propfind>");
    let heard = door.say("PROPFIND", collection, &[("depth", "1")], body, || ()).await;
    assert_eq!(heard.status, 207);
    let text = heard.text();
    let document = roxmltree::Document::parse(&text).unwrap();
    let (mut members, mut token) = (BTreeMap::new(), String::new());
    for response in document.root_element().children().filter(roxmltree::Node::is_element) {
        let value = |name: &str| {
            let good = response.children().filter(|p| {
                p.tag_name().name() == "propstat"
                    && p.children().any(|s| s.text().is_some_and(|t| t.contains(" 200 ")))
            });
            good.flat_map(|p| p.descendants()).find(|d| d.tag_name().name() == name).and_then(|d| d.text())
        };
        let href = response.descendants().find(|d| d.tag_name().name() == "href").unwrap().text().unwrap();
        if href == collection {
            value("sync-token").unwrap().clone_into(&mut token);
        } else {
            members.insert(href.to_owned(), value("getetag").unwrap_or_default().to_owned());
        }
    }
    (members, token)
}

fn event(uid: usize, turn: usize) -> String {
    format!(
        "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//test//EN\r\nBEGIN:VEVENT\r\nUID:{uid}\r\nDTSTAMP:20260101T000000Z\r\n\
         DTSTART:20260615T120000Z\r\nSUMMARY:{turn}\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"
    )
}

/// Something happens to one of a few members.
async fn something(door: &Door, dice: &mut Dice, turn: usize, calendar: bool) {
    let n = dice.throw(12);
    let (here, there) = match calendar {
        true => ("/dav/calendars/anna/calendar/", "/dav/calendars/anna/other/"),
        false => ("/dav/files/anna/here/", "/dav/files/anna/"),
    };
    let path = format!("{here}{n}.ics");
    let away = format!("{there}{n}.ics");
    let calendar_text = [("content-type", "text/calendar")];
    match dice.throw(10) {
        0..=3 => door.say("PUT", &path, &calendar_text, event(n, turn), || ()).await,
        4 => door.say("DELETE", &path, &[], "", || ()).await,
        5 => door.say("MOVE", &path, &[("destination", &away)], "", || ()).await,
        6 => door.say("MOVE", &away, &[("destination", &path)], "", || ()).await,
        7 => door.say("COPY", &away, &[("destination", &path)], "", || ()).await,
        8 if !calendar => {
            let folder = format!("{here}d{n}/");
            let method = ["MKCOL", "DELETE"][dice.throw(2)];
            door.say(method, &folder, &[], "", || ()).await
        }
        8 => {
            let body = format!(
                "<D:propertyupdate {NS}><D:set><D:prop><D:displayname>{turn}</D:displayname></D:prop></D:set></D:propertyupdate>"
            );
            door.say("PROPPATCH", here, &[], body, || ()).await
        }
        _ => {
            let body = format!(
                "<D:propertyupdate {NS}><D:set><D:prop><x xmlns=\"urn:x\">{turn}</x></D:prop></D:set></D:propertyupdate>"
            );
            door.say("PROPPATCH", &path, &[], body, || ()).await
        }
    };
}

async fn follow(calendar: bool, seed: u64) {
    let store = Arc::new(Sled::temporary().unwrap());
    let door = Door::over(Arc::clone(&store) as Arc<dyn Store>).await;
    let collection = if calendar { "/dav/calendars/anna/calendar/" } else { "/dav/files/anna/here/" };
    let made = match calendar {
        true => door.say("MKCALENDAR", "/dav/calendars/anna/other/", &[], "", || ()).await,
        false => door.say("MKCOL", collection, &[], "", || ()).await,
    };
    assert_eq!(made.status, 201);
    let mut dice = Dice(seed);
    let mut clients = [Client::default(), Client::default(), Client::default()];
    for turn in 0..150 {
        for _ in 0..=dice.throw(6) {
            something(&door, &mut dice, turn, calendar).await;
        }
        if dice.throw(12) == 0 {
            // Old rows go; whoever was too far behind begins anew (RFC 6578 §3.2).
            store.trim(Timestamp(Fixed::NOW.0 + 1)).await.unwrap();
        }
        // One follows closely, one in small bites, one seldom.
        let limit = [None, Some(1 + dice.throw(4)), None];
        for (i, client) in clients.iter_mut().enumerate() {
            if i == 2 && turn % 17 != 0 {
                continue;
            }
            client.sync(&door, collection, limit[i]).await;
            let (there, token) = truth(&door, collection).await;
            assert_eq!(client.copy, there, "seed {seed}, turn {turn}, client {i}");
            assert_eq!(client.token, token, "seed {seed}, turn {turn}, client {i}");
        }
    }
    assert!(clients.iter().any(|c| c.beginnings > 0), "no token ever expired: trimming was not shown");
}

/// Q-05, RFC 6578 §3: whatever happens, and however old its token, a client ends up with what is there.
#[test]
fn clients_that_follow_a_collection_have_what_is_there() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    for seed in [7, 1_234_567, 0x5eed_5eed] {
        runtime.block_on(follow(true, seed));
        runtime.block_on(follow(false, seed));
    }
}

/// Pages meet at their edges: more members than any page holds are all told, once, by every way of asking.
#[test]
fn nothing_is_lost_between_pages() {
    const EVENTS: usize = 1_100;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let door = Door::over(Arc::new(Sled::temporary().unwrap())).await;
        let calendar = "/dav/calendars/anna/calendar/";
        let mut expected = Vec::new();
        for n in 0..EVENTS {
            let path = format!("{calendar}{n:05}.ics");
            let headers = [("content-type", "text/calendar")];
            assert_eq!(door.say("PUT", &path, &headers, event(n, 0), || ()).await.status, 201);
            expected.push(path);
        }
        let filter = |inner: &str| {
            format!(
                "<C:calendar-query {NS}><D:prop><D:getetag/><C:calendar-data/></D:prop><C:filter><C:comp-filter \
                 name=\"VCALENDAR\">{inner}</C:comp-filter></C:filter></C:calendar-query>"
            )
        };
        let hrefs: String = expected.iter().map(|href| format!("<D:href>{href}</D:href>")).collect();
        let range = "<C:time-range start=\"20260615T000000Z\" end=\"20260616T000000Z\"/>";
        let text = "<C:prop-filter name=\"UID\"><C:text-match>zzz</C:text-match></C:prop-filter>";
        let asked = [
            ("PROPFIND", format!("<D:propfind {NS}><D:prop><D:getetag/></D:prop></D:propfind>"), 1, EVENTS),
            ("REPORT", filter(""), 0, EVENTS),
            ("REPORT", filter("<C:comp-filter name=\"VEVENT\"/>"), 0, EVENTS),
            ("REPORT", filter(&format!("<C:comp-filter name=\"VEVENT\">{range}</C:comp-filter>")), 0, EVENTS),
            ("REPORT", filter(&format!("<C:comp-filter name=\"VEVENT\">{text}</C:comp-filter>")), 0, 0),
            ("REPORT", format!("<C:calendar-multiget {NS}><D:prop><D:getetag/></D:prop>{hrefs}</C:calendar-multiget>"), 0, EVENTS),
            (
                "REPORT",
                format!("<D:sync-collection {NS}><D:sync-token/><D:sync-level>1</D:sync-level><D:prop><D:getetag/></D:prop></D:sync-collection>"),
                0,
                EVENTS,
            ),
        ];
        for (method, body, own, members) in asked {
            let heard = door.say(method, calendar, &[("depth", "1")], body.clone(), || ()).await;
            assert_eq!(heard.status, 207, "{body}");
            let told = read(&heard, calendar).told;
            let mut hrefs: Vec<_> = told.into_iter().map(|(href, _)| href).filter(|href| href != calendar).collect();
            hrefs.sort();
            assert_eq!(hrefs, expected[..members], "{body}");
            assert_eq!(heard.text().matches("<D:response>").count(), own + members, "{body}");
        }
    });
}

/// A clock that is set.
struct Hand(AtomicI64);

impl Clock for Hand {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::Relaxed))
    }
}

/// a store that was set back to a backup counts on from there. A client that was further keeps its token only if
/// it is of the same history; else it is told to begin anew, even when the number fits again.
#[test]
fn a_token_of_a_lost_history_is_refused() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let calendar = "/dav/calendars/anna/calendar/";
        let headers = [("content-type", "text/calendar")];
        // Two stores with the same past: what was saved, and what went on.
        let mut both = Vec::new();
        for _ in 0..2 {
            let clock = Arc::new(Hand(AtomicI64::new(1_780_000_000_000)));
            let store: Arc<dyn Store> = Arc::new(Sled::temporary().unwrap());
            let door = Door::at(store, Arc::clone(&clock) as Arc<dyn Clock>).await;
            for n in 0..3 {
                clock.0.fetch_add(1_000, Ordering::Relaxed);
                let put = door.say("PUT", &format!("{calendar}{n}.ics"), &headers, event(n, 0), || ()).await;
                assert_eq!(put.status, 201);
            }
            both.push((door, clock));
        }
        let [(lost, _), (kept, clock)] = <[_; 2]>::try_from(both).ok().unwrap();
        let mut early = Client::default();
        early.sync(&lost, calendar, None).await;
        lost.say("PUT", &format!("{calendar}lost.ics"), &headers, event(100, 0), || ()).await;
        let mut late = Client::default();
        late.sync(&lost, calendar, None).await;
        let mut there = truth(&lost, calendar).await.0;
        assert_eq!(late.copy, there);

        // The backup is back, and other things happen.
        clock.0.fetch_add(60_000, Ordering::Relaxed);
        for n in 10..14 {
            early.sync(&kept, calendar, None).await;
            late.sync(&kept, calendar, None).await;
            there = truth(&kept, calendar).await.0;
            assert_eq!(early.copy, there, "before {n}");
            assert_eq!(late.copy, there, "before {n}");
            assert_eq!(early.beginnings, 0, "a token from before the backup stays good");
            kept.say("PUT", &format!("{calendar}{n}.ics"), &headers, event(n, 0), || ()).await;
            // A client that is always as far as the lost history went.
            late = Client::default();
            late.sync(&lost, calendar, None).await;
        }
        late.sync(&kept, calendar, None).await;
        assert_eq!(late.beginnings, 1);
        assert_eq!(late.copy, truth(&kept, calendar).await.0);
    });
}

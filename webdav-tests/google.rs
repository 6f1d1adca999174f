//! The Google provider against the simulator: real HTTP, cursors, series, batches, faults.

mod whole;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use kalends::auth::grant::Secret;
use kalends::bridge::Google;
use kalends::bridge::provider::{
    Bearer, Cursor, Fit, Fut, Page, Provider as _, RemoteId, Seen, Sighting, Slot, Trouble, Version, Watch,
    Window, Write, Written,
};
use kalends::http::fetch::{Fetch, Private, Timeouts};
use kalends::ical::Ical;
use kalends::sim::{self, Act, Clock, Fault, Rule, Running, google::Google as Account};
use serde_json::{Value, json};
use url::Url;

/// 1 January 2026.
const NOW: i64 = 1_767_225_600;
const WINDOW: Window = Window { from: Some(NOW - 30 * 86_400), to: Some(NOW + 365 * 86_400), now: NOW };
const EVENTS: &str = "/calendar/v3/calendars/*/events*";

/// Gives out tokens, a new one for each that was refused.
struct Door {
    account: Arc<Account>,
    clock: Clock,
    scopes: &'static str,
    token: Mutex<Option<String>>,
    asked: Mutex<u32>,
}

impl Bearer for Door {
    fn token<'a>(&'a self, rejected: Option<&'a Secret>) -> Fut<'a, Secret> {
        Box::pin(async move {
            let mut token = self.token.lock().unwrap();
            if rejected.is_some() {
                *self.asked.lock().unwrap() += 1;
                *token = None;
            }
            let fresh = || self.account.grant("client", self.scopes, self.clock.millis()).access;
            Ok(Secret::new(token.get_or_insert_with(fresh).clone()))
        })
    }
}

struct Far {
    server: Running,
    account: Arc<Account>,
    door: Arc<Door>,
    google: Google,
    calendar: RemoteId,
}

const SCOPES: &str = "calendar.events calendar.calendarlist.readonly";

impl Far {
    async fn start() -> Far {
        Far::allowed(SCOPES).await
    }

    async fn allowed(scopes: &'static str) -> Far {
        let account = Arc::new(Account::new());
        let clock = Clock::fixed(NOW * 1000);
        let options = sim::Options { clock: clock.clone(), ..sim::Options::default() };
        let server = sim::Server::start(options, Arc::clone(&account) as Arc<dyn sim::World>).await.unwrap();
        let within = Private::Within(vec!["127.0.0.0/8".parse().unwrap()]);
        let fetch = Fetch::new(within, Timeouts::default()).unwrap();
        let door = Door {
            account: Arc::clone(&account),
            clock,
            scopes,
            token: Mutex::default(),
            asked: Mutex::default(),
        };
        let door = Arc::new(door);
        let google =
            Google::new(fetch, Url::parse(server.url()).unwrap(), Arc::clone(&door) as Arc<dyn Bearer>);
        Far { server, account, door, google, calendar: RemoteId("anna@example.com".into()) }
    }

    async fn pages(&self, since: Option<&Cursor>) -> Result<Vec<Page>, Trouble> {
        let mut stream = self.google.changes(&self.calendar, since, WINDOW);
        let mut all = Vec::new();
        while let Some(page) = stream.next().await {
            all.push(page?);
        }
        assert!(all.last().is_some_and(|page: &Page| page.end.is_some()), "no listing is without an end");
        Ok(all)
    }

    /// All that a listing told, as one page.
    async fn look(&self, since: Option<&Cursor>) -> Page {
        let mut whole = Page::default();
        for page in self.pages(since).await.unwrap() {
            whole.seen.extend(page.seen);
            whole.read.extend(page.read);
            whole.gone.extend(page.gone);
            whole.end = whole.end.or(page.end);
        }
        whole
    }

    async fn cursor(&self) -> Cursor {
        self.look(None).await.end.unwrap().next.unwrap()
    }

    fn fit(&self, text: &str) -> Bytes {
        match self.google.fit(&Ical::parse(text.as_bytes().to_vec()).unwrap(), WINDOW) {
            Fit::Whole(bytes) => bytes,
            other => panic!("{other:?}"),
        }
    }

    async fn one(&self, id: &RemoteId) -> Option<Seen> {
        self.google.read(&self.calendar, std::slice::from_ref(id)).await.unwrap().pop()
    }

    async fn put(&self, slot: Slot, bytes: Bytes, base: Option<Bytes>) -> Result<Written, Trouble> {
        self.google.put(&self.calendar, &Write { slot, bytes, base }).await
    }

    /// Puts a new object and returns it as it is there.
    async fn made(&self, uid: &str, text: &str) -> Seen {
        let written = self.put(new(uid), self.fit(text), None).await.unwrap();
        let seen = self.one(&written.id).await.unwrap();
        assert_eq!(written.version, seen.version, "what is vouched for is what is there");
        if let Some(told) = written.seen {
            assert_eq!(said(&told.bytes), said(&seen.bytes), "the answer says what a read says");
        }
        assert_eq!(self.google.place(&self.calendar, uid), Some(written.id));
        seen
    }

    /// Changes an object and returns it as it is there then.
    async fn edit(&self, seen: &Seen, text: &str) -> Seen {
        let slot = Slot::At(seen.id.clone(), seen.version.clone());
        let written = self.put(slot, Bytes::from(text.to_owned()), Some(seen.bytes.clone())).await.unwrap();
        let now = self.one(&written.id).await.unwrap();
        assert_eq!(written.version, now.version, "what is vouched for is what is there");
        now
    }

    fn act(&self, act: Act) {
        self.server.act(&act).unwrap();
    }

    fn make(&self, object: Value) -> String {
        let calendar = "anna@example.com".to_owned();
        self.server.act(&Act::CreateElsewhere { calendar, object }).unwrap()["id"]
            .as_str()
            .unwrap()
            .to_owned()
    }

    fn change(&self, id: &str, patch: Value) {
        self.act(Act::EditElsewhere { calendar: "anna@example.com".into(), id: id.into(), patch });
    }

    fn delete(&self, id: &str) {
        self.act(Act::DeleteElsewhere { calendar: "anna@example.com".into(), id: id.into() });
    }
}

fn new(uid: &str) -> Slot {
    Slot::New { uid: uid.into() }
}

fn object(uid: &str, events: &[&str]) -> String {
    let events: Vec<String> = events
        .iter()
        .map(|lines| {
            format!(
                "BEGIN:VEVENT\r\nUID:{uid}\r\nDTSTAMP:20260101T000000Z\r\n{}\r\nEND:VEVENT\r\n",
                lines.replace('|', "\r\n")
            )
        })
        .collect();
    format!("BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:x\r\n{}END:VCALENDAR\r\n", events.concat())
}

fn text(bytes: &Bytes) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// What a text says, stamps aside.
fn said(bytes: &Bytes) -> String {
    let stamps = ["DTSTAMP:", "CREATED:", "LAST-MODIFIED:", "SEQUENCE:"];
    let text = text(bytes);
    text.lines()
        .filter(|line| !stamps.iter().any(|stamp| line.starts_with(stamp)))
        .collect::<Vec<_>>()
        .join("\n")
}

const TIMED: &str = "DTSTART;TZID=Europe/Berlin:20260105T090000|DTEND;TZID=Europe/Berlin:20260105T100000";
const SERIES: &str = "DTSTART;TZID=Europe/Berlin:20260105T090000|DTEND;TZID=Europe/Berlin:20260105T100000|\
                      RRULE:FREQ=DAILY;COUNT=10|SUMMARY:Tea";

fn timed(day: &str) -> Value {
    json!({"summary": "Elsewhere", "start": {"dateTime": format!("2026-{day}T09:00:00+01:00"), "timeZone": "Europe/Berlin"},
        "end": {"dateTime": format!("2026-{day}T10:00:00+01:00"), "timeZone": "Europe/Berlin"}})
}

// S2-038: id, name, colour, primary
#[tokio::test]
async fn calendars_are_listed_with_name_colour_and_leave_to_write() {
    let far = Far::start().await;
    let all = far.google.calendars().await.unwrap();
    let found: Vec<_> =
        all.iter().map(|c| (c.id.0.as_str(), c.name.as_str(), c.primary, c.writable)).collect();
    assert_eq!(found.len(), 3);
    assert!(found.contains(&("anna@example.com", "anna@example.com", true, true)));
    assert!(found.contains(&("team@group.calendar.google.com", "Team", false, true)));
    assert!(found.contains(&(
        "en.ch#holiday@group.v.calendar.google.com",
        "Holidays in Switzerland",
        false,
        false
    )));
    assert_eq!(all.iter().find(|c| c.name == "Team").unwrap().color.as_deref(), Some("#42d692"));
    assert!(all.iter().all(|c| c.components == ["VEVENT"]));
}

// S2-043, S3-142: what was sent is what is read; a second attempt meets the first
#[tokio::test]
async fn events_go_there_and_come_back_as_they_were() {
    let far = Far::start().await;
    let rows: [(&str, &[&str]); 9] = [
        (
            "plain",
            &[&format!(
                "{TIMED}|SUMMARY:Tea\\, please|LOCATION:Room|DESCRIPTION:a\\nb <b> c|STATUS:TENTATIVE|TRANSP:TRANSPARENT"
            )],
        ),
        ("private", &[&format!("{TIMED}|CLASS:PRIVATE|COLOR:crimson|URL:https://x.example/a")]),
        (
            "alarms",
            &[&format!(
                "{TIMED}|BEGIN:VALARM|ACTION:DISPLAY|TRIGGER:-PT10M|DESCRIPTION:x|END:VALARM|BEGIN:VALARM|ACTION:EMAIL|TRIGGER:-P1D|END:VALARM"
            )],
        ),
        ("whole", &["DTSTART;VALUE=DATE:20260106|DTEND;VALUE=DATE:20260109|SUMMARY:Away"]),
        ("moment", &["DTSTART:20260105T090000Z|SUMMARY:No length"]),
        (
            "float",
            &[
                "DTSTART:20260705T090000|DTEND:20260705T093000|SUMMARY:Wherever|RRULE:FREQ=DAILY;UNTIL=20260710T090000",
            ],
        ),
        ("cancelled", &[&format!("{TIMED}|STATUS:CANCELLED|SUMMARY:Not any more")]),
        (
            "days",
            &[
                "DTSTART;VALUE=DATE:20260105|RRULE:FREQ=WEEKLY;BYDAY=MO|EXDATE;VALUE=DATE:20260119|SUMMARY:Bins",
            ],
        ),
        (
            "hard",
            &[
                &format!("{SERIES}|EXDATE;TZID=Europe/Berlin:20260106T090000"),
                "RECURRENCE-ID;TZID=Europe/Berlin:20260108T090000|DTSTART;TZID=America/New_York:20260108T090000|DTEND;TZID=America/New_York:20260108T110000|SUMMARY:Moved",
                "RECURRENCE-ID;TZID=Europe/Berlin:20260109T090000|DTSTART;TZID=Europe/Berlin:20260109T090000|DTEND;TZID=Europe/Berlin:20260109T100000|SUMMARY:Coffee",
            ],
        ),
    ];
    for (uid, events) in rows {
        let fitted = far.fit(&object(uid, events));
        let seen = far.made(uid, &object(uid, events)).await;
        assert_eq!(said(&seen.bytes), said(&fitted), "{uid}: as was foretold");
        let again = far.put(new(uid), fitted, None).await;
        assert_eq!(again.unwrap_err(), Trouble::Taken(Some(seen.id)), "{uid}");
    }
    let all = far.look(None).await;
    assert_eq!(all.read.len(), 9);
    for seen in &all.read {
        assert_eq!(far.one(&seen.id).await.as_ref(), Some(seen), "a listing says what a read says");
    }
    assert_eq!(far.account.guests_and_mails(), (0, 0));
}

// S2-021, S2-041, S2-042, S3-063, S4-066
#[tokio::test]
async fn a_listing_goes_on_where_the_last_one_ended() {
    let far = Far::start().await;
    let kept = far.make(timed("01-05"));
    let gone = far.make(timed("01-06"));
    far.make(timed("09-09"));
    // It ends long before the window.
    let old = json!({"start": {"date": "2020-01-01"}, "end": {"date": "2020-01-02"}});
    let old = far.make(old);
    let first = far.look(None).await;
    assert!(first.end.as_ref().unwrap().complete);
    assert_eq!(first.read.len(), 3, "{:?}", first.read);
    assert!(!first.read.iter().any(|seen| seen.id.0 == old));
    let cursor = first.end.unwrap().next.unwrap();
    let quiet = far.look(Some(&cursor)).await;
    assert_eq!((quiet.read.len(), quiet.seen.len(), quiet.gone.len()), (0, 0, 0));
    far.delete(&gone);
    far.change(&kept, json!({"summary": "Other"}));
    let next = far.look(Some(&cursor)).await;
    let end = next.end.unwrap();
    assert!(!end.complete);
    assert_eq!(next.gone, [RemoteId(gone)]);
    assert_eq!(next.read.iter().map(|seen| seen.id.0.as_str()).collect::<Vec<_>>(), [kept.as_str()]);
    assert!(text(&next.read[0].bytes).contains("SUMMARY:Other"));
    // Every page of every round asks the same.
    let lists: Vec<Vec<(String, String)>> = far
        .server
        .log()
        .entries()
        .into_iter()
        .filter(|entry| entry.method == "GET" && entry.path.ends_with("/events"))
        .map(|entry| entry.query.into_iter().filter(|(name, _)| !name.ends_with("Token")).collect())
        .collect();
    assert!(lists.len() >= 3 && lists.iter().all(|query| *query == lists[0]), "{lists:?}");
}

// S2-039, S3-173
#[tokio::test]
async fn many_events_come_page_by_page() {
    let far = Far::start().await;
    far.account.fill(2600, 7, NOW * 1000);
    let pages = far.pages(None).await.unwrap();
    assert!(pages.len() >= 3, "{}", pages.len());
    assert!(pages[0].end.is_none() && !pages[0].read.is_empty());
    let listed: usize = pages.iter().map(|page| page.read.len()).sum();
    // A doubled item of a page is one event.
    far.server.fault(Rule::on("GET", EVENTS, Fault::DupPageItem));
    let mut ids: Vec<String> = far.look(None).await.read.into_iter().map(|seen| seen.id.0).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), listed);
}

// S2-040, S3: series edited there; they are never listed instance by instance
#[tokio::test]
async fn what_happens_to_instances_there_is_seen_in_the_series() {
    let far = Far::start().await;
    let seen = far.made("s", &object("s", &[SERIES])).await;
    let cursor = far.cursor().await;
    let instance = |day: &str| format!("{}_202601{day}T080000Z", seen.id.0);
    far.delete(&instance("06"));
    far.change(&instance("07"), json!({"start": {"dateTime": "2026-01-07T15:00:00+01:00"}, "end": {"dateTime": "2026-01-07T16:00:00+01:00"}}));
    far.change(&instance("08"), json!({"summary": "Coffee"}));
    let told = far.look(Some(&cursor)).await;
    assert_eq!(told.seen.iter().map(|s| (&s.id, &s.version)).collect::<Vec<_>>(), [(&seen.id, &None)]);
    assert!(told.read.is_empty() && told.gone.is_empty());
    let now = far.one(&seen.id).await.unwrap();
    let body = text(&now.bytes);
    for line in [
        "EXDATE;TZID=Europe/Berlin:20260106T090000",
        "RECURRENCE-ID;TZID=Europe/Berlin:20260107T090000",
        "DTSTART;TZID=Europe/Berlin:20260107T150000",
        "SUMMARY:Coffee",
    ] {
        assert!(body.contains(line), "{line} is not in {body}");
    }
    assert_ne!(now.version, seen.version);
    // The whole series goes.
    far.delete(&seen.id.0);
    let told = far.look(told.end.unwrap().next.as_ref()).await;
    assert!(told.gone.contains(&seen.id), "{told:?}");
    assert_eq!(far.one(&seen.id).await, None);
}

// S3: series edited here, with as few writes as there are differences
#[tokio::test]
async fn what_happens_to_instances_here_is_written_instance_by_instance() {
    let far = Far::start().await;
    let mut seen = far.made("s", &object("s", &[SERIES])).await;
    let moved = "RECURRENCE-ID;TZID=Europe/Berlin:20260107T090000|DTSTART;TZID=Europe/Berlin:20260107T150000|DTEND;TZID=Europe/Berlin:20260107T160000|SUMMARY:Tea";
    let coffee = "RECURRENCE-ID;TZID=Europe/Berlin:20260108T090000|DTSTART;TZID=Europe/Berlin:20260108T090000|DTEND;TZID=Europe/Berlin:20260108T100000|SUMMARY:Coffee";
    let out = format!("{SERIES}|EXDATE;TZID=Europe/Berlin:20260106T090000");
    let stages: [(&str, Vec<&str>, usize); 8] = [
        ("one is left out", vec![&out], 1),
        ("one is moved", vec![&out, moved], 1),
        ("one says something else", vec![&out, moved, coffee], 1),
        ("the one left out is back", vec![SERIES, moved, coffee], 1),
        ("the moved one is back", vec![SERIES, coffee], 1),
        (
            "the other one is left out",
            vec![
                "DTSTART;TZID=Europe/Berlin:20260105T090000|DTEND;TZID=Europe/Berlin:20260105T100000|\
            RRULE:FREQ=DAILY;COUNT=10|SUMMARY:Tea|EXDATE;TZID=Europe/Berlin:20260108T090000",
            ],
            1,
        ),
        (
            "all of them are longer",
            vec![
                "DTSTART;TZID=Europe/Berlin:20260105T090000|DTEND;TZID=Europe/Berlin:20260105T110000|\
            RRULE:FREQ=DAILY;COUNT=10|SUMMARY:Tea|EXDATE;TZID=Europe/Berlin:20260108T090000",
            ],
            3,
        ),
        ("it no longer recurs", vec![TIMED], 3),
    ];
    for (what, events, most) in stages {
        let wanted = object("s", &events);
        far.server.log().clear();
        seen = far.edit(&seen, &wanted).await;
        assert_eq!(said(&seen.bytes), said(&far.fit(&wanted)), "{what}");
        let writes = far.server.log().writes() as usize;
        assert!((1..=most).contains(&writes), "{what}: {writes} writes");
        // Once more: nothing is left to do.
        far.server.log().clear();
        let again = far.edit(&seen, &wanted).await;
        assert_eq!((far.server.log().writes(), &again), (0, &seen), "{what}");
    }
}

#[tokio::test]
async fn a_series_whose_rule_changes_keeps_what_is_still_meant() {
    let far = Far::start().await;
    let coffee = "RECURRENCE-ID;TZID=Europe/Berlin:20260108T090000|DTSTART;TZID=Europe/Berlin:20260108T090000|DTEND;TZID=Europe/Berlin:20260108T100000|SUMMARY:Coffee";
    let last = "RECURRENCE-ID;TZID=Europe/Berlin:20260114T090000|DTSTART;TZID=Europe/Berlin:20260114T120000|DTEND;TZID=Europe/Berlin:20260114T130000|SUMMARY:Last";
    let seen = far.made("s", &object("s", &[SERIES, coffee, last])).await;
    let shorter = object("s", &[&SERIES.replace("COUNT=10", "COUNT=5"), coffee]);
    let seen = far.edit(&seen, &shorter).await;
    assert_eq!(said(&seen.bytes), said(&far.fit(&shorter)));
    let longer = object("s", &[&SERIES.replace("COUNT=10", "COUNT=20"), coffee, last]);
    let seen = far.edit(&seen, &longer).await;
    assert_eq!(said(&seen.bytes), said(&far.fit(&longer)));
}

#[tokio::test]
async fn fields_that_nobody_here_knows_of_stay() {
    let far = Far::start().await;
    let mut object_there = timed("01-05");
    object_there["guestsCanModify"] = json!(true);
    object_there["description"] = json!("<b>bold</b><br>text");
    object_there["attendees"] = json!([{"email": "guest@example.com"}]);
    let id = RemoteId(far.make(object_there));
    let seen = far.one(&id).await.unwrap();
    let before = far.account.guests_and_mails();
    far.server.log().clear();
    let now = far.edit(&seen, &text(&seen.bytes).replace("SUMMARY:Elsewhere", "SUMMARY:Here")).await;
    assert!(text(&now.bytes).contains("SUMMARY:Here"));
    let kept = &far.account.events("anna@example.com")[0];
    assert_eq!(
        (&kept["guestsCanModify"], &kept["description"]),
        (&json!(true), &json!("<b>bold</b><br>text"))
    );
    assert_eq!(kept["attendees"][0]["email"], "guest@example.com");
    assert_eq!(far.account.guests_and_mails().1, before.1, "nobody was sent mail");
    assert!(
        far.server
            .log()
            .entries()
            .iter()
            .filter(|e| e.wrote > 0)
            .all(|e| e.query.contains(&("sendUpdates".into(), "none".into())))
    );
}

// S1: If-Match and 412
#[tokio::test]
async fn a_write_meets_only_the_state_that_it_was_meant_for() {
    let far = Far::start().await;
    for (uid, lines) in [("one", format!("{TIMED}|SUMMARY:Tea")), ("series", SERIES.to_owned())] {
        let seen = far.made(uid, &object(uid, &[&lines])).await;
        far.change(&seen.id.0, json!({"location": "Elsewhere"}));
        let slot = Slot::At(seen.id.clone(), seen.version.clone());
        let bytes = Bytes::from(object(uid, &[&lines.replace("Tea", "Coffee")]));
        let refused = far.put(slot, bytes, Some(seen.bytes.clone())).await;
        assert_eq!(refused.unwrap_err(), Trouble::Stale, "{uid}");
        let refused = far.google.delete(&far.calendar, &seen.id, seen.version.as_ref()).await;
        assert_eq!(refused.unwrap_err(), Trouble::Stale, "{uid}");
        let now = far.one(&seen.id).await.unwrap();
        assert!(text(&now.bytes).contains("SUMMARY:Tea"));
        far.google.delete(&far.calendar, &now.id, now.version.as_ref()).await.unwrap();
        assert_eq!(far.one(&now.id).await, None);
        // Once more: it is gone already.
        far.google.delete(&far.calendar, &now.id, now.version.as_ref()).await.unwrap();
    }
    let version = Some(Version("\"1\"".into()));
    let never = far.google.delete(&far.calendar, &RemoteId("never0there".into()), version.as_ref()).await;
    assert_eq!(never, Ok(()));
}

// S2-043: a lost answer doubles nothing
#[tokio::test]
async fn a_lost_answer_doubles_nothing() {
    let far = Far::start().await;
    let one = far.fit(&object("one", &[&format!("{TIMED}|SUMMARY:Tea")]));
    far.server.fault(Rule::on("POST", EVENTS, Fault::DropAfterApply));
    assert!(matches!(far.put(new("one"), one.clone(), None).await, Err(Trouble::Unreachable(_))));
    let there = far.put(new("one"), one, None).await;
    assert_eq!(there.unwrap_err(), Trouble::Taken(far.google.place(&far.calendar, "one")));
    assert_eq!(far.look(None).await.read.len(), 1);

    // A series of which only the beginning was written is not shown, and is finished by the next attempt.
    let coffee = "RECURRENCE-ID;TZID=Europe/Berlin:20260108T090000|DTSTART;TZID=Europe/Berlin:20260108T090000|DTEND;TZID=Europe/Berlin:20260108T100000|SUMMARY:Coffee";
    let series = far.fit(&object("s", &[SERIES, coffee]));
    far.server.fault(Rule::on("PATCH", EVENTS, Fault::DropBeforeApply));
    assert!(matches!(far.put(new("s"), series.clone(), None).await, Err(Trouble::Unreachable(_))));
    let place = far.google.place(&far.calendar, "s").unwrap();
    assert_eq!(far.one(&place).await, None);
    assert_eq!(far.look(None).await.read.len(), 1);
    far.put(new("s"), series.clone(), None).await.unwrap();
    assert_eq!(said(&far.one(&place).await.unwrap().bytes), said(&series));
    assert_eq!(far.look(None).await.read.len(), 2);
}

#[tokio::test]
async fn what_was_deleted_is_brought_back_in_its_own_place() {
    let far = Far::start().await;
    let coffee = "RECURRENCE-ID;TZID=Europe/Berlin:20260108T090000|DTSTART;TZID=Europe/Berlin:20260108T090000|DTEND;TZID=Europe/Berlin:20260108T100000|SUMMARY:Coffee";
    for (uid, events) in [("one", vec![TIMED]), ("s", vec![SERIES, coffee])] {
        let seen = far.made(uid, &object(uid, &events)).await;
        far.delete(&seen.id.0);
        let again = far.made(uid, &object(uid, &events)).await;
        assert_eq!((again.id, said(&again.bytes)), (seen.id, said(&seen.bytes)));
    }
}

// S1: 410 → everything is compared
#[tokio::test]
async fn a_cursor_that_expired_says_so() {
    let far = Far::start().await;
    far.make(timed("01-05"));
    let cursor = far.cursor().await;
    far.act(Act::ExpireCursor);
    assert_eq!(far.pages(Some(&cursor)).await.unwrap_err(), Trouble::CursorExpired);
    assert_eq!(
        far.pages(Some(&Cursor("0:of another time".into()))).await.unwrap_err(),
        Trouble::CursorExpired
    );
    assert_eq!(far.look(None).await.read.len(), 1);
}

// S1: refresh on 401
#[tokio::test]
async fn a_token_that_is_refused_is_replaced_once() {
    let far = Far::start().await;
    far.make(timed("01-05"));
    far.look(None).await;
    far.act(Act::ExpireAccess);
    assert_eq!(far.look(None).await.read.len(), 1);
    assert_eq!(*far.door.asked.lock().unwrap(), 1);
    // Within a batch too.
    far.act(Act::ExpireAccess);
    let bytes = far.fit(&object("u", &[TIMED]));
    let writes: Vec<Write> =
        (0..3).map(|n| Write { slot: new(&format!("u{n}")), bytes: bytes.clone(), base: None }).collect();
    assert!(far.google.put_all(&far.calendar, &writes).await.iter().all(Result::is_ok));
    assert_eq!(*far.door.asked.lock().unwrap(), 2);
    // What is refused twice is refused.
    let body = json!({"error": {"code": 401, "message": "m", "errors": [{"reason": "authError"}]}});
    let refused = Fault::Status { code: 401, body: Some(body), text: None, headers: Default::default() };
    far.server.fault(Rule::on("GET", EVENTS, refused).times(2));
    assert!(matches!(far.pages(None).await, Err(Trouble::Unauthorised(why)) if why.contains("Connect")));
    // Without leave to see events.
    let few = Far::allowed("calendar.calendarlist.readonly").await;
    assert!(few.google.calendars().await.is_ok());
    assert!(matches!(few.pages(None).await, Err(Trouble::Unauthorised(why)) if why.contains("tick")));
}

// S3-145, S3-147, S3-173: batches; S3-035: quotas
#[tokio::test]
async fn many_are_read_and_written_in_few_calls() {
    let far = Far::start().await;
    let fitted = |uid: &str, title: &str| far.fit(&object(uid, &[&format!("{TIMED}|SUMMARY:{title}")]));
    let uids: Vec<String> = (0..50).map(|n| format!("u{n}")).collect();
    let writes: Vec<Write> =
        uids.iter().map(|uid| Write { slot: new(uid), bytes: fitted(uid, "Tea"), base: None }).collect();
    let before = far.server.log().entries().iter().filter(|e| !e.batched).count();
    let written = far.google.put_all(&far.calendar, &writes).await;
    let outer = |far: &Far| far.server.log().entries().iter().filter(|e| !e.batched).count();
    assert_eq!(outer(&far) - before, 1);
    let ids: Vec<RemoteId> = written.iter().map(|answer| answer.as_ref().unwrap().id.clone()).collect();
    let places: Vec<RemoteId> =
        uids.iter().map(|uid| far.google.place(&far.calendar, uid).unwrap()).collect();
    assert_eq!(ids, places, "in their order");
    let seen = far.google.read(&far.calendar, &ids).await.unwrap();
    assert_eq!((seen.len(), outer(&far) - before), (50, 2));
    // Some are stale, some are there already, some are new: each has its own answer.
    far.change(&ids[0].0, json!({"location": "Elsewhere"}));
    let change = |n: usize| {
        let seen = seen.iter().find(|seen| seen.id == ids[n]).unwrap();
        Write {
            slot: Slot::At(seen.id.clone(), seen.version.clone()),
            bytes: fitted(&uids[n], "Coffee"),
            base: Some(seen.bytes.clone()),
        }
    };
    let again = Write { slot: new("u3"), bytes: fitted("u3", "Tea"), base: None };
    let series = Write { slot: new("s"), bytes: far.fit(&object("s", &[SERIES])), base: None };
    let answers = far.google.put_all(&far.calendar, &[change(0), change(1), again, series, change(2)]).await;
    assert_eq!(answers[0].as_ref().unwrap_err(), &Trouble::Stale);
    assert_eq!(answers[1].as_ref().unwrap().id, ids[1]);
    assert_eq!(answers[2].as_ref().unwrap_err(), &Trouble::Taken(Some(ids[3].clone())));
    assert!(answers[3].is_ok() && answers[4].is_ok());
    let now = far.one(&ids[1]).await.unwrap();
    assert!(text(&now.bytes).contains("SUMMARY:Coffee"));
    // The quota ends within a batch.
    far.act(Act::Quota { per_minute: Some(20) });
    let answers = far
        .google
        .put_all(
            &far.calendar,
            &(0..30)
                .map(|n| Write { slot: new(&format!("q{n}")), bytes: fitted("q", "Q"), base: None })
                .collect::<Vec<_>>(),
        )
        .await;
    assert!(answers.iter().any(Result::is_ok));
    assert!(answers.iter().any(|answer| matches!(answer, Err(Trouble::Slow(_)))));
    assert!(answers.iter().all(|answer| matches!(answer, Ok(_) | Err(Trouble::Slow(_)))), "{answers:?}");
    far.act(Act::Quota { per_minute: None });
    far.server.fault(Rule::on("GET", EVENTS, Fault::Throttle { retry_after: Some(9) }));
    assert_eq!(far.pages(None).await.unwrap_err(), Trouble::Slow(Some(Duration::from_secs(9))));
}

// What is held of series is bounded: what does not fit is named with its state, and read by itself as it is
#[tokio::test]
async fn series_beyond_what_is_held_are_named_and_read_by_themselves() {
    let far = Far::start().await;
    let words = "word ".repeat(1600);
    let count = 2300;
    for n in 0..count {
        let mut series = timed("01-05");
        series["summary"] = json!(format!("Series {n}"));
        series["description"] = json!(words);
        series["recurrence"] = json!(["RRULE:FREQ=WEEKLY;COUNT=3"]);
        far.make(series);
    }
    let page = far.look(None).await;
    assert!(page.end.as_ref().unwrap().complete);
    let held: usize = page.read.iter().map(|seen| seen.bytes.len()).sum();
    assert!(held > 14 << 20 && held < 18 << 20, "{held} octets are held");
    assert!(!page.seen.is_empty(), "not everything fits");
    let mut all: Vec<&RemoteId> =
        page.read.iter().map(|seen| &seen.id).chain(page.seen.iter().map(|named| &named.id)).collect();
    all.sort();
    all.dedup();
    assert_eq!((all.len(), page.read.len() + page.seen.len()), (count, count), "each is told once");
    // What is named has the state that reading it tells: one that is as agreed need not be read.
    for named in [page.seen.first().unwrap(), page.seen.last().unwrap()] {
        let seen = far.one(&named.id).await.unwrap();
        assert!(seen.version.is_some() && seen.version == named.version, "{named:?}");
        assert!(text(&seen.bytes).contains("RRULE:FREQ=WEEKLY;COUNT=3"));
    }
    // A change of one of them is told as one.
    let cursor = page.end.unwrap().next.unwrap();
    let last = page.seen.last().unwrap();
    far.change(&last.id.0, json!({"summary": "Changed"}));
    let told = far.look(Some(&cursor)).await;
    let named = told.read.iter().map(|seen| (&seen.id, &seen.version));
    let named: Vec<_> = named.chain(told.seen.iter().map(|named| (&named.id, &named.version))).collect();
    assert_eq!((named.len(), named[0].0), (1, &last.id));
    assert_ne!(*named[0].1, last.version);
}

// Bad input: a wrong answer changes nothing, and is never an empty calendar
#[tokio::test]
async fn answers_that_are_none_are_errors() {
    let far = Far::start().await;
    let id = far.make(timed("01-05"));
    let status = |code, text: &str| Fault::Status {
        code,
        body: None,
        text: Some(text.into()),
        headers: Default::default(),
    };
    let json =
        |body: Value| Fault::Status { code: 200, body: Some(body), text: None, headers: Default::default() };
    for fault in [
        status(500, "oops"),
        status(502, "<html>"),
        status(200, "<html>sign in</html>"),
        status(200, ""),
        json(json!([])),
        json(json!({"items": {}})),
        json(json!({"items": []})),
        json(json!({"items": [{"summary": "no id"}], "nextSyncToken": "x"})),
        json(json!({"items": [], "nextSyncToken": 7})),
        Fault::CutBody { bytes: 40 },
        Fault::DropBeforeApply,
        status(302, ""),
    ] {
        far.server.fault(Rule::on("GET", EVENTS, fault.clone()));
        let told = far.pages(None).await;
        assert!(matches!(told, Err(Trouble::Unreachable(_))), "{fault:?}: {told:?}");
    }
    // One event of another shape fails by itself.
    far.server.fault(Rule::on(
        "GET",
        EVENTS,
        json(json!({"items": [{"id": "odd", "start": 7}, {"id": "fine", "start": {"date": "2026-01-05"}}],
        "nextSyncToken": "x"})),
    ));
    let told = far.look(None).await;
    assert_eq!(
        told.read.iter().map(|s| (s.id.0.as_str(), s.bytes.is_empty())).collect::<Vec<_>>(),
        [("odd", true), ("fine", false)]
    );
    // Nobody takes the loss of a calendar for the loss of its events.
    let elsewhere = RemoteId("nobody@example.com".into());
    assert!(matches!(far.google.read(&elsewhere, &[RemoteId(id.clone())]).await, Err(Trouble::Missing(_))));
    let none = far
        .google
        .read(&far.calendar, &[RemoteId("never0there".into()), RemoteId(id.clone())])
        .await
        .unwrap();
    assert_eq!(none.iter().map(|s| s.id.0.as_str()).collect::<Vec<_>>(), [id.as_str()]);
}

#[tokio::test]
async fn what_may_not_be_written_is_refused_in_words() {
    let far = Far::start().await;
    let holidays = RemoteId("en.ch#holiday@group.v.calendar.google.com".into());
    let write = Write { slot: new("u"), bytes: far.fit(&object("u", &[TIMED])), base: None };
    let refused = far.google.put(&holidays, &write).await;
    assert!(matches!(refused, Err(Trouble::Refused(_) | Trouble::Missing(_))), "{refused:?}");
}

// S3-078, S3-082
#[tokio::test]
async fn channels_are_opened_and_closed() {
    let far = Far::start().await;
    let watch = |id: &str| Watch {
        id: id.into(),
        address: Url::parse("https://calendar.example.org/hooks/google").unwrap(),
        token: Secret::new("believe me"),
    };
    let channel = far.google.watch(&far.calendar, &watch("channel-1")).await.unwrap();
    assert_eq!(channel.id, "channel-1");
    assert!(!channel.resource.is_empty() && channel.expires > NOW && channel.expires <= NOW + 7 * 86_400);
    assert_eq!(far.account.open_channels(NOW * 1000), 1);
    assert_eq!(far.google.renew(&channel).await, Ok(None));
    far.google.unwatch(&channel).await.unwrap();
    assert_eq!(far.account.open_channels(NOW * 1000), 0);
    far.google.unwatch(&channel).await.unwrap();
    let holidays = RemoteId("en.ch#holiday@group.v.calendar.google.com".into());
    let refused = far.google.watch(&holidays, &watch("channel-2")).await;
    assert!(matches!(refused, Err(Trouble::Refused(why)) if why.contains("notifications")),);
    let again = far.google.watch(&far.calendar, &watch("channel-1")).await;
    assert!(again.is_err(), "a name is used once");
}

fn listing(items: Vec<Value>) -> Fault {
    let body = json!({"kind": "calendar#events", "items": items, "nextSyncToken": "any"});
    Fault::Status { code: 200, body: Some(body), text: None, headers: Default::default() }
}

// A piece of a series that a full listing lacks, or that cannot be understood, is no change of the series
#[tokio::test]
async fn a_piece_that_is_missing_has_its_series_read_by_itself() {
    let far = Far::start().await;
    let moved = "RECURRENCE-ID;TZID=Europe/Berlin:20260107T090000|DTSTART;TZID=Europe/Berlin:20260107T150000|\
                 DTEND;TZID=Europe/Berlin:20260107T160000|SUMMARY:Later";
    let series = far.made("s", &object("s", &[SERIES, moved])).await;
    let all = far.account.events("anna@example.com");
    let is_master = |item: &Value| item["id"] == json!(series.id.0);
    let (master, instance) = (
        all.iter().find(|item| is_master(item)).unwrap().clone(),
        all.iter().find(|item| !is_master(item)).unwrap().clone(),
    );
    let own = RemoteId(instance["id"].as_str().unwrap().to_owned());
    let odd = |item: &Value| {
        let mut item = item.clone();
        item["start"] = json!(7);
        item
    };
    let named = Sighting { id: series.id.clone(), version: None };
    for items in [
        vec![instance.clone()],
        vec![master.clone(), odd(&instance)],
        vec![odd(&master), instance.clone()],
        vec![odd(&instance)],
        vec![json!({"summary": "without an id"}), odd(&instance), master.clone()],
    ] {
        far.server.fault(Rule::on("GET", EVENTS, listing(items.clone())));
        let told = far.look(None).await;
        assert_eq!((told.seen, told.read, told.gone), (vec![named.clone()], vec![], vec![]), "{items:?}");
    }
    // Asked for by its own id, an instance is still none of its own; the series is whole.
    assert_eq!(far.one(&own).await, None);
    assert_eq!(far.one(&series.id).await.unwrap().bytes, series.bytes);
    // Its own listing is not believed without it.
    far.server.fault(Rule::on("GET", EVENTS, Fault::EmptyPage).after(1));
    let read = far.google.read(&far.calendar, std::slice::from_ref(&series.id)).await;
    assert!(matches!(read, Err(Trouble::Unreachable(_))), "{read:?}");
}

// S4-064: a full listing tells of what lies outside the window, as such
#[tokio::test]
async fn what_lies_outside_the_window_is_named_as_such() {
    let far = Far::start().await;
    let day = |year: u32| {
        let on = |day: u32| json!({"date": format!("{year}-06-0{day}")});
        json!({"summary": "Elsewhere", "start": on(1), "end": on(2)})
    };
    let (old, late) = (far.make(day(2025)), far.make(day(2028)));
    let mut beyond: Vec<Sighting> =
        far.pages(None).await.unwrap().into_iter().flat_map(|page| page.beyond).collect();
    beyond.sort_by(|one, other| one.id.cmp(&other.id));
    let mut wanted = Vec::new();
    for id in [old, late] {
        let seen = far.one(&RemoteId(id)).await.unwrap();
        wanted.push(Sighting { id: seen.id, version: seen.version });
    }
    wanted.sort_by(|one, other| one.id.cmp(&other.id));
    assert_eq!(beyond, wanted);
}

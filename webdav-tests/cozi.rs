//! The Cozi provider against the simulator: real HTTP, months, operations, faults.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt as _;
use kalends::auth::grant::Secret;
use kalends::bridge::Cozi;
use kalends::bridge::provider::{
    Cursor, Fit, Page, Provider as _, RemoteId, Seen, Slot, Trouble, Window, Write,
};
use kalends::http::fetch::{Fetch, Private, Timeouts};
use kalends::ical::Ical;
use kalends::sim::{self, Act, Fault, Rule, Running, cozi::Cozi as Household};
use serde_json::json;
use url::Url;

/// 1 January 2026.
const NOW: i64 = 1_767_225_600;
const WINDOW: Window = Window { from: Some(NOW - 7 * 86_400), to: Some(NOW + 30 * 86_400), now: NOW };

struct Far {
    server: Running,
    cozi: Cozi,
    calendar: RemoteId,
}

fn provider(server: &Running, password: &str) -> Cozi {
    let within = Private::Within(vec!["127.0.0.0/8".parse().unwrap()]);
    let fetch = Fetch::new(within, Timeouts::default()).unwrap();
    Cozi::new(fetch, Url::parse(server.url()).unwrap(), "robin@example.org".into(), Secret::new(password))
}

impl Far {
    async fn start() -> Far {
        let household = Household::new("robin@example.org", "geheim", "Europe/Berlin");
        let server = sim::Server::start(sim::Options::default(), Arc::new(household)).await.unwrap();
        let cozi = provider(&server, "geheim");
        let far = Far { server, cozi, calendar: RemoteId("family".into()) };
        // Every pass looks before it writes.
        assert!(far.all().await.is_empty());
        far
    }

    async fn look(&self, since: Option<&Cursor>) -> Result<Page, Trouble> {
        self.cozi.changes(&self.calendar, since, WINDOW).next().await.unwrap()
    }

    async fn all(&self) -> Vec<Seen> {
        self.look(None).await.unwrap().read
    }

    /// What the far side can hold of a text.
    fn fit(&self, text: &str) -> Bytes {
        match self.cozi.fit(&Ical::parse(text.as_bytes().to_vec()).unwrap(), WINDOW) {
            Fit::Whole(bytes) => bytes,
            other => panic!("{other:?}"),
        }
    }

    async fn put(&self, slot: Slot, bytes: Bytes) -> Result<RemoteId, Trouble> {
        self.cozi.put(&self.calendar, &Write { slot, bytes, base: None }).await.map(|written| written.id)
    }

    async fn one(&self, id: &RemoteId) -> Option<Seen> {
        self.cozi.read(&self.calendar, std::slice::from_ref(id)).await.unwrap().pop()
    }
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

// S3-161, S3-162: both ways, reads back after writes; what was sent is what is read
#[tokio::test]
async fn events_go_there_and_come_back_as_they_were() {
    let far = Far::start().await;
    assert_eq!(far.cozi.calendars().await.unwrap()[0].name, "The household");
    for (uid, lines) in [
        ("plain", "DTSTART:20260105T090000Z|DTEND:20260105T100000Z|SUMMARY:Dentist|LOCATION:Town"),
        ("whole", "DTSTART;VALUE=DATE:20260106|DTEND;VALUE=DATE:20260109|SUMMARY:Away"),
        ("night", "DTSTART;TZID=Europe/Berlin:20260107T220000|DURATION:PT4H|SUMMARY:Train"),
        ("weekly", "DTSTART;TZID=Europe/Berlin:20260105T180000|RRULE:FREQ=WEEKLY;COUNT=8|SUMMARY:Choir"),
        (
            "holes",
            "DTSTART;VALUE=DATE:20260101|RRULE:FREQ=DAILY;COUNT=6|EXDATE;VALUE=DATE:20260103|SUMMARY:Bins",
        ),
        ("notes", "DTSTART:20260110T090000Z|SUMMARY:x|DESCRIPTION:bring\\nthe \\[key\\]"),
    ] {
        let bytes = far.fit(&event(uid, lines));
        let id = far.put(new(uid), bytes.clone()).await.unwrap();
        let seen = far.one(&id).await.unwrap();
        assert_eq!(String::from_utf8_lossy(&seen.bytes), String::from_utf8_lossy(&bytes), "{uid}");
        // A second attempt meets the first.
        assert_eq!(far.put(new(uid), bytes).await, Err(Trouble::Taken(Some(id))));
    }
    let page = far.look(None).await.unwrap();
    let end = page.end.unwrap();
    assert!(end.complete && page.read.len() == 6);
    // Nothing changed: nothing is told.
    let again = far.look(end.next.as_ref()).await.unwrap();
    assert!(again.read.is_empty() && !again.end.unwrap().complete);
    // The service lets some calls through without it; nobody knows for how long.
    let keyed = |entry: &sim::Entry| entry.query.iter().any(|(name, _)| name == "apikey");
    assert!(far.server.log().entries().iter().all(keyed));
}

#[tokio::test]
async fn changes_of_a_series_reach_single_days() {
    let far = Far::start().await;
    let series = "DTSTART;TZID=Europe/Berlin:20260105T180000|DTEND;TZID=Europe/Berlin:20260105T190000|\
                  RRULE:FREQ=WEEKLY;UNTIL=20260126T170000Z|SUMMARY:Choir";
    let first = far.fit(&event("s", series));
    let id = far.put(new("s"), first.clone()).await.unwrap();
    let seen = far.one(&id).await.unwrap();
    // One day is left out, another is moved.
    let changed = event("s", &format!("{series}|EXDATE;TZID=Europe/Berlin:20260112T180000")).replace(
        "END:VEVENT\r\n",
        "END:VEVENT\r\nBEGIN:VEVENT\r\nUID:s\r\nDTSTAMP:20260101T000000Z\r\n\
         RECURRENCE-ID;TZID=Europe/Berlin:20260119T180000\r\nDTSTART;TZID=Europe/Berlin:20260120T200000\r\n\
         DTEND;TZID=Europe/Berlin:20260120T210000\r\nSUMMARY:Choir\\, elsewhere\r\nEND:VEVENT\r\n",
    );
    let changed = far.fit(&changed);
    let stale =
        far.put(Slot::At(id.clone(), Some(kalends::bridge::provider::Version("x".into()))), changed.clone());
    assert_eq!(stale.await, Err(Trouble::Stale));
    let same = far.put(Slot::At(id.clone(), seen.version), changed.clone()).await.unwrap();
    assert_eq!(same, id);
    let seen = far.one(&id).await.unwrap();
    assert_eq!(String::from_utf8_lossy(&seen.bytes), String::from_utf8_lossy(&changed));
    assert_eq!(far.all().await.len(), 1, "a stand-in is a part of its series");
    // Removed, with what stood in for a day.
    far.cozi.delete(&far.calendar, &id, seen.version.as_ref()).await.unwrap();
    assert!(far.all().await.is_empty());
    far.cozi.delete(&far.calendar, &id, None).await.unwrap();
}

// What stands in for a day may lie on a page that is not looked at: the day is not taken for one that was left out
#[tokio::test]
async fn a_day_that_was_moved_out_of_the_window_is_not_lost() {
    let far = Far::start().await;
    let series = "DTSTART;TZID=Europe/Berlin:20260105T180000|DTEND;TZID=Europe/Berlin:20260105T190000|\
                  RRULE:FREQ=WEEKLY;COUNT=8|SUMMARY:Choir";
    let moved = event("s", series).replace(
        "END:VEVENT\r\n",
        "END:VEVENT\r\nBEGIN:VEVENT\r\nUID:s\r\nDTSTAMP:20260101T000000Z\r\n\
         RECURRENCE-ID;TZID=Europe/Berlin:20260126T180000\r\nDTSTART;TZID=Europe/Berlin:20260210T200000\r\n\
         DTEND;TZID=Europe/Berlin:20260210T210000\r\nSUMMARY:Choir\\, elsewhere\r\nEND:VEVENT\r\n",
    );
    let moved = far.fit(&moved);
    let id = far.put(new("s"), moved.clone()).await.unwrap();
    let text = |seen: &Seen| String::from_utf8(seen.bytes.to_vec()).unwrap();
    let all = far.all().await;
    assert_eq!(all.len(), 1);
    assert_eq!(text(&all[0]), String::from_utf8_lossy(&moved));
    assert_eq!(far.one(&id).await.unwrap(), all[0]);
    // The window moves on to where the other day is: it is no event of its own.
    let february =
        Window { from: Some(NOW + 32 * 86_400), to: Some(NOW + 40 * 86_400), now: NOW + 35 * 86_400 };
    let page = far.cozi.changes(&far.calendar, None, february).next().await.unwrap().unwrap();
    let uids: Vec<bool> = page.read.iter().map(|seen| text(seen).contains("RRULE")).collect();
    assert_eq!(uids, [true], "the series, with all that it says");
    assert_eq!(text(&page.read[0]), String::from_utf8_lossy(&moved));
}

// Days come back: one that was changed as it was before, one that was left out with the series made anew
#[tokio::test]
async fn days_of_a_series_are_given_back() {
    let far = Far::start().await;
    let series = "DTSTART;TZID=Europe/Berlin:20260105T180000|DTEND;TZID=Europe/Berlin:20260105T190000|\
                  RRULE:FREQ=WEEKLY;UNTIL=20260126T170000Z|SUMMARY:Choir";
    let plain = far.fit(&event("s", series));
    let changed = event("s", series).replace(
        "END:VEVENT\r\n",
        "END:VEVENT\r\nBEGIN:VEVENT\r\nUID:s\r\nDTSTAMP:20260101T000000Z\r\n\
         RECURRENCE-ID;TZID=Europe/Berlin:20260119T180000\r\nDTSTART;TZID=Europe/Berlin:20260120T200000\r\n\
         DTEND;TZID=Europe/Berlin:20260120T210000\r\nSUMMARY:Choir\r\nEND:VEVENT\r\n",
    );
    let id = far.put(new("s"), far.fit(&changed)).await.unwrap();
    let seen = far.one(&id).await.unwrap();
    assert_eq!(far.put(Slot::At(id.clone(), seen.version), plain.clone()).await.unwrap(), id);
    let seen = far.one(&id).await.unwrap();
    assert_eq!(String::from_utf8_lossy(&seen.bytes), String::from_utf8_lossy(&plain));
    let hole = far.fit(&event("s", &format!("{series}|EXDATE;TZID=Europe/Berlin:20260112T180000")));
    far.put(Slot::At(id.clone(), seen.version), hole.clone()).await.unwrap();
    let seen = far.one(&id).await.unwrap();
    assert_eq!(String::from_utf8_lossy(&seen.bytes), String::from_utf8_lossy(&hole));
    let anew = far.put(Slot::At(id.clone(), seen.version), plain.clone()).await.unwrap();
    assert_ne!(anew, id, "Cozi fills no hole");
    let all = far.all().await;
    assert_eq!(all.len(), 1);
    assert_eq!(String::from_utf8_lossy(&all[0].bytes), String::from_utf8_lossy(&plain));
    // A series of the family is not made anew: it says why.
    let made = far.server.act(&Act::CreateElsewhere {
        calendar: String::new(),
        object: json!({"startDay": "2026-01-06", "recurrence": {"rules": [{"frequency": "Weekly", "interval": 1,
            "byDay": ["TU"], "end": {}}]}, "details": {"startTime": "10:00", "endTime": "11:00", "dateSpan": 0,
            "attendeeSet": [], "location": "", "notes": "", "subject": "Football"}}),
    });
    let theirs = RemoteId(made.unwrap()["id"].as_str().unwrap().to_owned());
    let seen = far.one(&theirs).await.unwrap();
    let text = String::from_utf8(seen.bytes.to_vec()).unwrap();
    let hole = text.replace("RRULE", "EXDATE;TZID=Europe/Berlin:20260113T100000\r\nRRULE");
    far.put(Slot::At(theirs.clone(), seen.version), hole.into()).await.unwrap();
    let seen = far.one(&theirs).await.unwrap();
    let refused = far.put(Slot::At(theirs, seen.version), text.into()).await.unwrap_err();
    assert!(matches!(&refused, Trouble::Refused(why) if why.contains("bring back")), "{refused:?}");
}

// Bad input: an appointment that is not understood is there all the same; nothing of ours goes for it
#[tokio::test]
async fn what_is_not_understood_is_not_gone() {
    let far = Far::start().await;
    let id = far.put(new("u"), far.fit(&event("u", "DTSTART:20260105T090000Z|SUMMARY:Tea"))).await.unwrap();
    let page = |start: &str| {
        json!({"days": {}, "items": {id.0.as_str(): {"id": id.0, "itemType": "appointment", "day": "2026-01-05",
            "startTime": start, "endTime": "10:00:00", "dateSpan": 0, "description": "Tea"}}})
    };
    let told = |start: &str| Fault::Status {
        code: 200,
        body: None,
        text: Some(page(start).to_string()),
        headers: Default::default(),
    };
    far.server.fault(Rule::on("GET", "/api/ext/2004/*/calendar/2026/1", told("nine")));
    let told = far.look(None).await.unwrap();
    let odd: Vec<(&RemoteId, bool)> =
        told.read.iter().map(|seen| (&seen.id, seen.bytes.is_empty())).collect();
    assert_eq!(odd, [(&id, true)]);
    assert!(!far.one(&id).await.unwrap().bytes.is_empty(), "a moment later it is understood again");
}

// Somebody in the family edits; our marker stays out of sight.
#[tokio::test]
async fn edits_of_the_family_arrive() {
    let far = Far::start().await;
    let id = far.put(new("u"), far.fit(&event("u", "DTSTART:20260105T090000Z|SUMMARY:Tea"))).await.unwrap();
    let made = far.server.act(&Act::CreateElsewhere {
        calendar: String::new(),
        object: json!({"startDay": "2026-01-08", "details": {"startTime": "10:00", "endTime": "11:00", "dateSpan": 0,
            "attendeeSet": [], "location": "", "notes": "", "subject": "Football"}}),
    });
    let theirs = RemoteId(made.unwrap()["id"].as_str().unwrap().to_owned());
    let all = far.all().await;
    let text = |id: &RemoteId| {
        String::from_utf8(all.iter().find(|seen| seen.id == *id).unwrap().bytes.to_vec()).unwrap()
    };
    assert!(text(&theirs).contains(&format!("UID:{}@cozi\r\n", theirs.0)), "{}", text(&theirs));
    assert!(text(&theirs).contains("DTSTART;TZID=Europe/Berlin:20260108T100000"));
    assert!(text(&id).contains("UID:u\r\n") && !text(&id).contains("kalends"), "{}", text(&id));
    // What moved out of the window is not gone.
    far.server
        .act(&Act::EditElsewhere {
            calendar: String::new(),
            id: theirs.0.clone(),
            patch: json!({"startDay": "2026-06-08", "details": {"startTime": "10:00", "endTime": "11:00", "dateSpan": 0,
                "attendeeSet": [], "location": "", "notes": "", "subject": "Football"}}),
        })
        .unwrap();
    assert_eq!(far.all().await.len(), 1);
    let moved = far.one(&theirs).await.unwrap();
    assert!(String::from_utf8_lossy(&moved.bytes).contains("20260608T100000"));
}

// Bad input: an answer that is not what it should be changes nothing
#[tokio::test]
async fn what_goes_wrong_has_a_name() {
    let far = Far::start().await;
    let wrong = provider(&far.server, "falsch").calendars().await;
    assert!(matches!(wrong, Err(Trouble::Unauthorised(_))), "{wrong:?}");
    far.look(None).await.unwrap();
    let page = "/api/ext/2004/*/calendar/*";
    let status = |code: u16, text: &str| Fault::Status {
        code,
        body: None,
        text: Some(text.into()),
        headers: Default::default(),
    };
    for (fault, check) in [
        (status(200, "<html>"), "Unreachable"),
        (status(200, "{\"items\": []}"), "Unreachable"),
        (status(200, "{}"), "Unreachable"),
        (status(500, "x"), "Unreachable"),
        (status(403, "<html>"), "Slow"),
        (Fault::Throttle { retry_after: Some(7) }, "Slow"),
        (Fault::DropBeforeApply, "Unreachable"),
    ] {
        far.server.fault(Rule::on("GET", page, fault.clone()));
        let trouble = far.look(None).await.unwrap_err();
        assert!(format!("{trouble:?}").starts_with(check), "{fault:?}: {trouble:?}");
    }
    // A token that ended is renewed by itself; a password that was changed is not.
    far.server.act(&Act::ExpireAccess).unwrap();
    far.look(None).await.unwrap();
    far.server.act(&Act::RevokeGrant).unwrap();
    let trouble = far.look(None).await.unwrap_err();
    assert!(matches!(trouble, Trouble::Unauthorised(_)), "{trouble:?}");
}

// A lost answer does not double an event.
#[tokio::test]
async fn a_lost_answer_is_found_again() {
    let far = Far::start().await;
    far.server.fault(Rule::on("POST", "/api/ext/2004/*/calendar/*", Fault::DropAfterApply));
    let bytes = far.fit(&event("u", "DTSTART:20260105T090000Z|SUMMARY:Tea"));
    let lost = far.put(new("u"), bytes.clone()).await;
    assert!(matches!(lost, Err(Trouble::Unreachable(_))), "{lost:?}");
    let found = far.put(new("u"), bytes).await;
    assert!(matches!(found, Err(Trouble::Taken(Some(_)))), "{found:?}");
    assert_eq!(far.all().await.len(), 1);
}

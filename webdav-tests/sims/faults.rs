//! Every fault on every simulator, seen by the client that the bridge has for it; and whether the page about them is true.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use kalends::auth::grant::Secret;
use kalends::bridge::provider::{Bearer, Cursor, Fit, Fut, Provider, RemoteId, Slot, Trouble, Window, Write};
use kalends::bridge::{Caldav, Cozi, Google, Outlook};
use kalends::http::fetch::{Fetch, Private, Timeouts};
use kalends::ical::Ical;
use kalends::sim::{self, Act, Fault, Point, Rule, Running};
use serde_json::{Value, json};
use url::Url;

use crate::providers::date;
use crate::upstreams::quirks::{rows, tests_in};

const KINDS: [&str; 4] = ["google", "outlook", "caldav", "cozi"];

struct Door(Box<dyn Fn() -> String + Send + Sync>);

impl Bearer for Door {
    fn token<'a>(&'a self, _: Option<&'a Secret>) -> Fut<'a, Secret> {
        Box::pin(async move { Ok(Secret::new(self.0())) })
    }
}

/// A simulator and a client of the one account that it has.
struct Far {
    kind: &'static str,
    server: Running,
    client: Arc<dyn Provider>,
    calendar: RemoteId,
    /// The calendar as acts name it.
    named: String,
    /// The requests that list and that make: method and path.
    lists: (&'static str, &'static str),
    makes: (&'static str, &'static str),
}

/// A day as JSON APIs write it.
fn dashed(day: &str) -> String {
    format!("{}-{}-{}", &day[..4], &day[4..6], &day[6..])
}

impl Far {
    async fn start(kind: &'static str, timeouts: Timeouts) -> Far {
        let within = Private::Within(vec!["127.0.0.0/8".parse().unwrap()]);
        let fetch = Fetch::new(within, timeouts).unwrap();
        let serve = |world: Arc<dyn sim::World>| sim::Server::start(sim::Options::default(), world);
        let at = |server: &Running, path: &str| Url::parse(&format!("{}{path}", server.url())).unwrap();
        let (server, client): (Running, Arc<dyn Provider>) = match kind {
            "google" => {
                let account = Arc::new(sim::google::Google::new());
                let server = serve(Arc::clone(&account) as Arc<_>).await.unwrap();
                let now = server.clock().clone();
                let scopes = "calendar.events calendar.calendarlist.readonly";
                let door = Door(Box::new(move || account.grant("client", scopes, now.millis()).access));
                let client = Google::new(fetch, at(&server, ""), Arc::new(door));
                (server, Arc::new(client))
            }
            "outlook" => {
                let account = sim::outlook::Outlook::new("anna@example.org").with_token("good");
                let server = serve(Arc::new(account)).await.unwrap();
                let client =
                    Outlook::new(fetch, at(&server, "/v1.0"), Arc::new(Door(Box::new(|| "good".into()))));
                (server, Arc::new(client))
            }
            "caldav" => {
                let upstream =
                    sim::caldav::Caldav::start("anna", "geheim", sim::Clock::real()).await.unwrap();
                let server = serve(Arc::new(upstream)).await.unwrap();
                let client =
                    Caldav::discover(fetch, at(&server, "/"), "anna", Secret::new("geheim")).await.unwrap();
                (server, Arc::new(client))
            }
            _ => {
                let household = sim::cozi::Cozi::new("anna@example.org", "geheim", "Europe/Berlin");
                let server = serve(Arc::new(household)).await.unwrap();
                let client =
                    Cozi::new(fetch, at(&server, "/"), "anna@example.org".into(), Secret::new("geheim"));
                (server, Arc::new(client))
            }
        };
        let all = client.calendars().await.unwrap();
        let main =
            all.iter().find(|c| c.primary).or(all.iter().find(|c| c.name == "Calendar")).unwrap_or(&all[0]);
        let calendar = main.id.clone();
        let named = match kind {
            "caldav" => "calendar".into(),
            _ => calendar.0.clone(),
        };
        let (lists, makes) = match kind {
            "google" => (("GET", "*/events"), ("POST", "*/events")),
            "outlook" => (("GET", "*/delta"), ("POST", "*/events")),
            "caldav" => (("PROPFIND", "/dav/calendars/anna/calendar/"), ("PUT", "*")),
            _ => (("GET", "*/calendar/*"), ("POST", "*/calendar/*")),
        };
        let far = Far { kind, server, client, calendar, named, lists, makes };
        // Every pass looks before it writes.
        assert_eq!(far.titles(None).await.unwrap().0, Vec::<String>::new(), "{kind}");
        far
    }

    async fn new(kind: &'static str) -> Far {
        Far::start(kind, Timeouts::default()).await
    }

    fn on_list(&self, fault: Fault) -> Rule {
        Rule::on(self.lists.0, self.lists.1, fault)
    }

    fn on_make(&self, fault: Fault) -> Rule {
        Rule::on(self.makes.0, self.makes.1, fault)
    }

    /// The titles of what a listing tells, and where it ended.
    async fn titles(&self, since: Option<&Cursor>) -> Result<(Vec<String>, Option<Cursor>), Trouble> {
        let now = jiff::Timestamp::now().as_second();
        let window = Window { from: Some(now - 7 * 86_400), to: Some(now + 30 * 86_400), now };
        let (mut read, mut named, mut next) = (Vec::new(), Vec::new(), None);
        let mut pages = self.client.changes(&self.calendar, since, window);
        while let Some(page) = pages.next().await {
            let page = page?;
            read.extend(page.read);
            named.extend(page.seen.into_iter().map(|sighting| sighting.id));
            next = page.end.and_then(|end| end.next).or(next);
        }
        named.retain(|id| !read.iter().any(|seen: &kalends::bridge::provider::Seen| seen.id == *id));
        named.dedup();
        if !named.is_empty() {
            read.extend(self.client.read(&self.calendar, &named).await?);
        }
        read.sort_by(|one, other| one.id.cmp(&other.id));
        // An object that is told twice is one.
        read.dedup_by(|one, other| one.id == other.id);
        let title = |bytes: &[u8]| {
            let text = String::from_utf8_lossy(bytes).into_owned();
            text.lines().find_map(|line| line.strip_prefix("SUMMARY:")).unwrap_or_default().trim().to_owned()
        };
        let mut titles: Vec<String> = read.iter().map(|seen| title(&seen.bytes)).collect();
        titles.sort();
        Ok((titles, next))
    }

    async fn are(&self, titles: &[&str], what: &str) {
        assert_eq!(self.titles(None).await.unwrap().0, titles, "{}: {what}", self.kind);
    }

    /// Makes an event as the bridge does.
    async fn make(&self, title: &str) -> Result<(), Trouble> {
        let day = date(2);
        let text = format!(
            "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:x\r\nBEGIN:VEVENT\r\nUID:{title}\r\nDTSTAMP:20260101T000000Z\r\n\
             DTSTART:{day}T090000Z\r\nDTEND:{day}T100000Z\r\nSUMMARY:{title}\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"
        );
        let now = jiff::Timestamp::now().as_second();
        let window = Window { from: None, to: None, now };
        let Fit::Whole(bytes) = self.client.fit(&Ical::parse(text).unwrap(), window) else { panic!() };
        let write = Write { slot: Slot::New { uid: title.into() }, bytes, base: None };
        self.client.put(&self.calendar, &write).await.map(|_| ())
    }

    /// What the far side's own API takes for an event of an hour.
    fn object(&self, title: &str) -> Value {
        let day = date(3);
        let moment = |hour: u32| format!("{}T{hour:02}:00:00", dashed(&day));
        match self.kind {
            "google" => {
                let at = |hour| json!({"dateTime": format!("{}Z", moment(hour))});
                json!({"summary": title, "start": at(9), "end": at(10)})
            }
            "outlook" => {
                let at = |hour| json!({"dateTime": moment(hour), "timeZone": "UTC"});
                json!({"subject": title, "start": at(9), "end": at(10)})
            }
            "caldav" => json!(format!(
                "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:x\r\nBEGIN:VEVENT\r\nUID:theirs\r\nDTSTAMP:20260101T000000Z\r\n\
                 DTSTART:{day}T090000Z\r\nDTEND:{day}T100000Z\r\nSUMMARY:{title}\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"
            )),
            _ => {
                json!({"startDay": dashed(&day), "details": {"startTime": "09:00", "endTime": "10:00", "dateSpan": 0,
                "attendeeSet": [], "location": "", "notes": "", "subject": title}})
            }
        }
    }

    fn elsewhere(&self, title: &str) -> String {
        let made = Act::CreateElsewhere { calendar: self.named.clone(), object: self.object(title) };
        self.server.act(&made).unwrap()["id"].as_str().unwrap().to_owned()
    }
}

#[tokio::test]
async fn what_is_lost_before_or_after_it_was_carried_out_is_there_once() {
    for kind in KINDS {
        let far = Far::new(kind).await;
        for (title, fault, there) in
            [("a", Fault::DropBeforeApply, false), ("b", Fault::DropAfterApply, true)]
        {
            far.server.fault(far.on_make(fault));
            let lost = far.make(title).await;
            assert!(matches!(lost, Err(Trouble::Unreachable(_))), "{kind}: {lost:?}");
            let has = far.titles(None).await.unwrap().0.contains(&title.to_owned());
            assert_eq!(has, there, "{kind}: {title}");
            let again = far.make(title).await;
            assert!(matches!(again, Ok(()) | Err(Trouble::Taken(_))), "{kind}: {again:?}");
        }
        far.are(&["a", "b"], "none is lost, none doubled").await;
    }
}

#[tokio::test]
async fn answers_are_replaced_throttled_late_and_cut() {
    for kind in KINDS {
        let far = Far::start(kind, Timeouts { whole: Duration::from_secs(2), ..Timeouts::default() }).await;
        far.elsewhere("a");
        let status =
            |code| Fault::Status { code, body: None, text: Some("x".into()), headers: Default::default() };
        for code in [500, 502] {
            far.server.fault(far.on_list(status(code)));
            let told = far.titles(None).await;
            assert!(matches!(told, Err(Trouble::Unreachable(_))), "{kind}: {code}: {told:?}");
        }
        // Whoever is asked for a new token or session says the same.
        far.server.fault(Rule::on("*", "*", status(401)).times(0));
        let told = far.titles(None).await;
        assert!(matches!(told, Err(Trouble::Unauthorised(_))), "{kind}: {told:?}");
        far.server.script().clear();
        far.server.fault(far.on_list(Fault::Throttle { retry_after: Some(7) }));
        assert_eq!(
            far.titles(None).await.unwrap_err(),
            Trouble::Slow(Some(Duration::from_secs(7))),
            "{kind}"
        );
        far.server.fault(far.on_list(Fault::CutBody { bytes: 20 }));
        let told = far.titles(None).await;
        assert!(matches!(told, Err(Trouble::Unreachable(_))), "{kind}: {told:?}");
        far.server.fault(far.on_list(Fault::Delay { ms: 30_000 }));
        let told = far.titles(None).await;
        assert!(
            matches!(&told, Err(Trouble::Unreachable(why)) if why.contains("in time")),
            "{kind}: {told:?}"
        );
        far.are(&["a"], "nothing of it stays").await;
    }
}

#[tokio::test]
async fn pages_hold_too_little_nothing_or_an_item_twice() {
    for kind in KINDS {
        let far = Far::new(kind).await;
        for title in ["a", "b", "c"] {
            far.make(title).await.unwrap();
        }
        for (fault, most) in [(Fault::TruncatePage { keep: 1 }, 1), (Fault::EmptyPage, 0)] {
            far.server.fault(far.on_list(fault.clone()).times(0));
            match far.titles(None).await {
                Ok((titles, _)) => assert!(titles.len() <= most, "{kind}: {fault:?}: {titles:?}"),
                // Its days say that there is more.
                Err(told) => {
                    assert!(matches!(told, Trouble::Unreachable(_)) && kind == "cozi", "{kind}: {told:?}")
                }
            }
            far.server.script().clear();
            far.are(&["a", "b", "c"], "all is there again").await;
        }
        far.server.fault(far.on_list(Fault::DupPageItem));
        far.are(&["a", "b", "c"], "twice is once").await;
        assert!(far.server.script().waiting().is_empty(), "{kind}: the fault was met");
    }
}

#[tokio::test]
async fn a_stale_read_shows_what_was() {
    for kind in KINDS {
        let far = Far::new(kind).await;
        far.make("a").await.unwrap();
        far.are(&["a"], "before").await;
        far.elsewhere("b");
        far.server.fault(Rule::on("*", "*", Fault::StaleRead).times(0));
        far.are(&["a"], "the change is not seen yet").await;
        far.server.script().clear();
        far.are(&["a", "b"], "it is seen").await;
    }
}

#[tokio::test]
async fn a_request_waits_until_it_is_told_to_go_on() {
    for kind in KINDS {
        let far = Arc::new(Far::new(kind).await);
        for at in [Point::Before, Point::After] {
            let paused = far.server.pause(far.lists.0, far.lists.1, at);
            let asks = Arc::clone(&far);
            let looking = tokio::spawn(async move { asks.titles(None).await.map(|told| told.0) });
            paused.reached().await;
            assert!(!looking.is_finished(), "{kind}");
            paused.go();
            assert_eq!(looking.await.unwrap(), Ok(Vec::new()), "{kind}");
        }
    }
}

#[tokio::test]
async fn somebody_else_writes_by_themselves_and_just_before_a_request() {
    for kind in KINDS {
        let far = Far::new(kind).await;
        let act = Act::CreateElsewhere { calendar: far.named.clone(), object: far.object("quick") };
        far.server.fault(far.on_list(Fault::Act { act }));
        far.are(&["quick"], "somebody was quicker").await;
        let id = match kind {
            // There the UID is the name: it is the same object.
            "caldav" => "theirs.ics".to_owned(),
            _ => far.elsewhere("second"),
        };
        let (calendar, patch) = (far.named.clone(), far.object("changed"));
        far.server.act(&Act::EditElsewhere { calendar: calendar.clone(), id: id.clone(), patch }).unwrap();
        let has = |titles: &[String], title: &str| titles.iter().any(|own| own == title);
        assert!(has(&far.titles(None).await.unwrap().0, "changed"), "{kind}");
        far.server.act(&Act::DeleteElsewhere { calendar, id }).unwrap();
        assert!(!has(&far.titles(None).await.unwrap().0, "changed"), "{kind}");
    }
}

#[tokio::test]
async fn a_cursor_that_ended_is_not_understood() {
    for kind in ["google", "outlook", "caldav"] {
        let far = Far::new(kind).await;
        let cursor = far.titles(None).await.unwrap().1.unwrap();
        far.server.act(&Act::ExpireCursor).unwrap();
        assert_eq!(far.titles(Some(&cursor)).await.unwrap_err(), Trouble::CursorExpired, "{kind}");
        far.titles(None).await.unwrap();
    }
    assert!(Far::new("cozi").await.server.act(&Act::ExpireCursor).is_err());
}

// CalDAV has no tokens: the server does not know the password for a moment, as when what it asks is away
#[tokio::test]
async fn a_password_that_is_not_known_for_a_moment_is_known_again() {
    let far = Far::new("caldav").await;
    far.elsewhere("a");
    far.server.act(&Act::ExpireAccess).unwrap();
    let told = far.titles(None).await;
    assert!(matches!(told, Err(Trouble::Unauthorised(_))), "{told:?}");
    far.are(&["a"], "a moment later").await;
}

#[tokio::test]
async fn what_is_written_is_rewritten_on_request() {
    let far = Far::new("outlook").await;
    let says =
        |how: &str| far.server.act(&Act::Normalise { field: "subject".into(), how: how.into() }).unwrap();
    says("none");
    let kept = |id: &str| {
        let events = far.server.act(&Act::Own { name: "events".into(), with: json!({}) }).unwrap();
        let all = events.as_array().cloned().or_else(|| events["value"].as_array().cloned()).unwrap();
        all.iter().find(|event| event["id"] == id).unwrap()["subject"].as_str().unwrap().to_owned()
    };
    let first = far.elsewhere(" a ");
    says("trim");
    let second = far.elsewhere(" b ");
    assert_eq!((kept(&first), kept(&second)), (" a ".to_owned(), "b".to_owned()));
    for kind in ["caldav", "cozi"] {
        let act = Act::Normalise { field: "subject".into(), how: "trim".into() };
        assert!(Far::new(kind).await.server.act(&act).is_err(), "{kind}");
    }
}

#[tokio::test]
async fn each_has_its_own_clock_and_knows_words_of_its_own() {
    for (kind, word) in
        [("google", "schema"), ("outlook", "schema"), ("caldav", "objects"), ("cozi", "items")]
    {
        let far = Far::new(kind).await;
        far.server.act(&Act::Own { name: word.into(), with: Value::Null }).unwrap();
        assert!(
            far.server.act(&Act::Own { name: "unheard_of".into(), with: Value::Null }).is_err(),
            "{kind}"
        );
        far.server.act(&Act::Clock { now: Some(1_780_272_000_000), advance: 0 }).unwrap();
        far.server.act(&Act::Clock { now: None, advance: 5000 }).unwrap();
        assert_eq!(far.server.clock().millis(), 1_780_272_005_000, "{kind}");
    }
}

// What is not there says so, and is no silence
#[tokio::test]
async fn what_a_far_side_does_not_have_is_refused() {
    for (kind, acts) in [
        ("caldav", vec![Act::RotateRefreshToken, Act::Quota { per_minute: Some(1) }]),
        ("cozi", vec![Act::RotateRefreshToken, Act::Quota { per_minute: Some(1) }]),
    ] {
        let far = Far::new(kind).await;
        for act in acts {
            assert!(far.server.act(&act).is_err(), "{kind}: {act:?}");
        }
    }
}

/// The words that a script takes, as the reader of scripts itself lists them.
fn words(tag: &str, told: String) -> Vec<String> {
    let list = told.split("expected one of ").nth(1).unwrap_or_else(|| panic!("{tag}: {told}"));
    let list = list.split(" at line").next().unwrap();
    list.split(", ").map(|word| word.trim().trim_matches('`').to_owned()).collect()
}

// The table of faults names every fault, every simulator and tests that exist
#[test]
fn the_table_of_faults_is_whole() {
    let fault = serde_json::from_str::<Fault>(r#"{"fault":"?"}"#).unwrap_err().to_string();
    let act = serde_json::from_str::<Act>(r#"{"act":"?"}"#).unwrap_err().to_string();
    let mut wanted: Vec<String> = words("fault", fault).into_iter().chain(words("act", act)).collect();
    let known = tests_in(&["webdav-tests", "src/sim", "src/bridge"]);
    let table: Vec<Vec<String>> =
        rows("docs/simulators.md").into_iter().filter(|row| row.len() == 2 + KINDS.len()).collect();
    assert_eq!(table[0][2..], ["Google", "Outlook", "CalDAV", "Cozi"]);
    for row in &table[1..] {
        let word = row[0].trim_matches('`');
        assert!(wanted.contains(&word.to_owned()), "{word} is no word of a script, or stands there twice");
        wanted.retain(|own| own != word);
        for cell in &row[2..] {
            if cell.strip_prefix("n/a: ").is_some_and(|reason| !reason.is_empty()) {
                continue;
            }
            let test = cell.trim_matches('`');
            assert!(known.contains(test), "{word}: there is no test {test}");
        }
    }
    assert!(wanted.is_empty(), "not in the table: {wanted:?}");
}

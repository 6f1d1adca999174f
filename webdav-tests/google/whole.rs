//! A whole server, connected by consent with the simulator of Google: what is here and what is there stay alike, and a
//! pass more writes nothing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use kalends::ical::value::{Civil, DAY};
use kalends::sim::{self, Act, Fault, Rule, Running, google::Google as Account};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::dialogue::{Host as _, Request, Response, send};
use crate::oauth::{House, agreed, follow};

const CALENDAR: &str = "anna@example.com";

/// A house, an account at Google, and a mapping of both calendars.
struct Both {
    house: House,
    server: Running,
    account: Arc<Account>,
    mapping: String,
    /// Where the simulator lives.
    _runtime: Runtime,
}

/// The midnight of a day from today on, in UTC.
fn day(from_now: i64) -> Civil {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    Civil((i64::try_from(now).unwrap() / DAY + from_now) * DAY)
}

fn dashed(day: Civil) -> String {
    let (year, month, day) = day.date();
    format!("{year:04}-{month:02}-{day:02}")
}

fn object(uid: &str, events: &[String]) -> String {
    let events: Vec<String> = events
        .iter()
        .map(|lines| format!("BEGIN:VEVENT|UID:{uid}|DTSTAMP:20260101T000000Z|{lines}|END:VEVENT|"))
        .collect();
    format!("BEGIN:VCALENDAR|VERSION:2.0|PRODID:x|{}END:VCALENDAR|", events.concat()).replace('|', "\r\n")
}

/// A series with an instance that is left out, one that is moved, one that says something else.
fn series(uid: &str) -> String {
    let at = |n: i64, hour: &str| format!("TZID=Europe/Berlin:{}T{hour}0000", day(7 + n).to_date());
    object(
        uid,
        &[
            format!(
                "DTSTART;{}|DTEND;{}|RRULE:FREQ=DAILY;COUNT=10|EXDATE;{}|SUMMARY:Choir|X-OWN:kept|CATEGORIES:A,B",
                at(0, "09"),
                at(0, "10"),
                at(1, "09")
            ),
            format!(
                "RECURRENCE-ID;{}|DTSTART;{}|DTEND;{}|SUMMARY:Choir",
                at(2, "09"),
                at(2, "18"),
                at(2, "19")
            ),
            format!(
                "RECURRENCE-ID;{}|DTSTART;{}|DTEND;{}|SUMMARY:Rehearsal",
                at(3, "09"),
                at(3, "09"),
                at(3, "10")
            ),
        ],
    )
}

fn single(uid: &str, title: &str) -> String {
    let day = day(3).to_date();
    object(uid, &[format!("DTSTART:{day}T090000Z|DTEND:{day}T100000Z|SUMMARY:{title}|X-OWN:kept|GEO:1;2")])
}

impl Both {
    fn start(prepare: impl FnOnce(&Both)) -> Both {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let account = Arc::new(Account::new());
        let world = Arc::clone(&account) as Arc<dyn sim::World>;
        let server = runtime.block_on(sim::Server::start(sim::Options::default(), world)).unwrap();
        let at = server.url().trim_end_matches('/').to_owned();
        server
            .act(&Act::Own { name: "client".into(), with: json!({"id": "cid", "secret": "geheim"}) })
            .unwrap();
        let house = House::start(vec![
            "[providers.google]".into(),
            "client_id = \"cid\"".into(),
            "client_secret = \"geheim\"".into(),
            format!("api_base = \"{at}/\""),
            format!("auth_url = \"{at}/o/oauth2/v2/auth\""),
            format!("token_url = \"{at}/token\""),
            format!("revoke_url = \"{at}/revoke\""),
            // However quick this machine is, it is not held back.
            "[limits]\ncalls_per_minute.google = 100000".into(),
        ]);
        let mut both = Both { house, server, account, mapping: String::new(), _runtime: runtime };
        prepare(&both);
        let connection = both.connect();
        let (_, own) = both.house.api("GET", "/calendars", None);
        let own =
            own["items"].as_array().unwrap().iter().find(|c| c["name"] == "calendar").unwrap()["id"].clone();
        let wish = json!({"calendar": own, "connection": connection, "remote_calendar": CALENDAR, "direction": "both",
            "conflict_policy": "newest", "fields": "full",
            "window_past": "all", "window_future": "all"});
        let (status, mapping) = both.house.api("POST", "/mappings", Some(wish));
        assert_eq!(status, 201, "{mapping}");
        both.mapping = mapping["id"].as_str().unwrap().to_owned();
        both.until("both are alike", |both| both.here().len() == both.singles());
        both.settle();
        both
    }

    /// Consents, as a person does it: away to Google, and back with a code.
    fn connect(&self) -> String {
        let (status, made) = self.house.api("POST", "/connections/google", Some(json!({})));
        assert_eq!(status, 201, "{made}");
        let mut url = url::Url::parse(made["authorization_url"].as_str().unwrap()).unwrap();
        for _ in 0..2 {
            let host = (url.host_str().unwrap(), url.port().unwrap());
            let address = format!("{}:{}", host.0, host.1).parse().unwrap();
            let target = format!("{}?{}", url.path(), url.query().unwrap_or_default());
            let headers = vec![("Host".to_owned(), format!("{}:{}", host.0, host.1))];
            let request = Request { method: "GET".into(), target, headers, body: Vec::new() };
            let answer = send(address, &request).unwrap();
            match answer.all("location").first() {
                Some(location) => url = url.join(location).unwrap(),
                None => {
                    let answer = agreed(address, answer);
                    assert_eq!(answer.status, 200, "{}", answer.show());
                    break;
                }
            }
        }
        made["id"].as_str().unwrap().to_owned()
    }

    /// Carries one pass out and returns it.
    fn pass(&self) -> Value {
        let (status, asked) = self.house.api("POST", &format!("/mappings/{}/sync", self.mapping), None);
        assert_eq!(status, 202, "{asked}");
        follow(&self.house, asked["run"].as_str().unwrap())
    }

    /// Lets passes run until this is so.
    fn until(&self, what: &str, so: impl Fn(&Both) -> bool) {
        let until = Instant::now() + Duration::from_secs(60);
        while !so(self) {
            assert!(Instant::now() < until, "it never came to pass: {what}");
            self.pass();
        }
    }

    /// Lets passes run until one writes nothing on either side, then shows that the next one writes nothing again.
    fn settle(&self) {
        let until = Instant::now() + Duration::from_secs(60);
        // The first may be one that had begun before the last change.
        let mut quiet = 0;
        while quiet < 2 {
            quiet = if idle(&self.pass()) { quiet + 1 } else { 0 };
            assert!(Instant::now() < until, "it does not come to rest");
        }
        let (writes, here) = (self.server.log().writes(), self.here());
        for _ in 0..2 {
            let run = self.pass();
            assert!(idle(&run), "{run}");
        }
        assert_eq!(self.server.log().writes(), writes, "a pass more wrote there");
        assert!(self.here() == here, "a pass more wrote here");
    }

    fn dav(&self, method: &str, path: &str, body: &str, depth: &str) -> Response {
        let headers = vec![
            ("Authorization".to_owned(), format!("Bearer {}", self.house.token)),
            ("Depth".to_owned(), depth.to_owned()),
            ("Content-Type".to_owned(), "text/calendar; charset=utf-8".to_owned()),
        ];
        let target = format!("/dav/calendars/anna/calendar/{path}");
        send(
            self.house.served.address(),
            &Request { method: method.into(), target, headers, body: body.into() },
        )
        .unwrap()
    }

    fn put(&self, name: &str, text: &str) {
        let answer = self.dav("PUT", name, text, "0");
        assert!(matches!(answer.status, 201 | 204), "{}", answer.show());
    }

    fn get(&self, name: &str) -> String {
        let answer = self.dav("GET", name, "", "0");
        assert_eq!(answer.status, 200, "{}", answer.show());
        String::from_utf8(answer.body).unwrap()
    }

    /// Every object here by its name.
    fn here(&self) -> BTreeMap<String, String> {
        let answer = self.dav("PROPFIND", "", "", "1");
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        let names = text
            .split("href>")
            .filter_map(|part| part.split('<').next())
            .filter(|part| part.ends_with(".ics"));
        // One may go between the listing and its reading.
        let read = |name: &str| Some(self.dav("GET", name, "", "0")).filter(|answer| answer.status == 200);
        let text = |answer: Response| String::from_utf8(answer.body).unwrap();
        let names = names.filter_map(|href| href.rsplit('/').next());
        names.filter_map(|name| Some((name.to_owned(), text(read(name)?)))).collect()
    }

    /// The name of the object here that says this.
    fn named(&self, what: &str) -> Option<String> {
        self.here().into_iter().find(|(_, text)| text.contains(what)).map(|(name, _)| name)
    }

    /// How many events and series there are there.
    fn singles(&self) -> usize {
        self.account.events(CALENDAR).iter().filter(|e| e["recurringEventId"].is_null()).count()
    }

    /// The event there that says this, no instance.
    fn there(&self, title: &str) -> Option<Value> {
        self.account
            .events(CALENDAR)
            .into_iter()
            .find(|e| e["summary"] == title && e["recurringEventId"].is_null())
    }

    fn elsewhere(&self, id: &str, patch: Value) {
        self.server.act(&Act::EditElsewhere { calendar: CALENDAR.into(), id: id.into(), patch }).unwrap();
    }

    fn make(&self, object: Value) -> String {
        let made = self.server.act(&Act::CreateElsewhere { calendar: CALENDAR.into(), object }).unwrap();
        made["id"].as_str().unwrap().to_owned()
    }
}

fn idle(run: &Value) -> bool {
    assert_eq!(run["status"], "success", "{run}");
    let none = |side: &str| ["inserted", "updated", "deleted"].iter().all(|count| run[side][count] == 0);
    none("local") && none("remote") && run["conflicts"] == 0
}

// S3-161: Google end to end; S3 §4: one more run writes nothing, no private field is lost
#[test]
fn a_calendar_here_and_one_at_google_stay_alike() {
    let both = Both::start(|both| {
        both.account.fill(60, 11, day(0).0 * 1000);
        for (name, text) in [
            ("choir.ics", series("choir")),
            ("one.ics", single("one", "Dentist")),
            (
                "moment.ics",
                object("moment", &[format!("DTSTART:{}T090000Z|SUMMARY:No length", day(4).to_date())]),
            ),
            (
                "float.ics",
                object(
                    "float",
                    &[format!("DTSTART:{0}T090000|DTEND:{0}T100000|SUMMARY:Wherever", day(4).to_date())],
                ),
            ),
            (
                "days.ics",
                object(
                    "days",
                    &[format!(
                        "DTSTART;VALUE=DATE:{}|DURATION:P3D|SUMMARY:Away|BEGIN:VALARM|ACTION:DISPLAY|\
                TRIGGER:PT9H|DESCRIPTION:x|END:VALARM",
                        day(5).to_date()
                    )],
                ),
            ),
        ] {
            both.put(name, &text);
        }
    });
    // What the far side was told nothing of is byte for byte as it was.
    assert_eq!(both.get("choir.ics"), series("choir"));
    assert_eq!(both.get("one.ics"), single("one", "Dentist"));
    let singles = both.account.events(CALENDAR).iter().filter(|e| e["recurringEventId"].is_null()).count();
    assert_eq!(both.here().len(), singles, "what is there is here, and the other way round");
    assert_eq!(both.account.guests_and_mails().1, 0, "nobody was sent mail");

    // Edited there: our text has what changed, and what Google cannot hold.
    let id = both.there("Dentist").unwrap()["id"].as_str().unwrap().to_owned();
    both.elsewhere(&id, json!({"summary": "Doctor", "location": "Town"}));
    let id = both.there("Choir").unwrap()["id"].as_str().unwrap().to_owned();
    let instance = format!("{id}_{}T070000Z", day(12).to_date());
    let winter = format!("{id}_{}T080000Z", day(12).to_date());
    let known = |id: &str| {
        both.server.act(&Act::EditElsewhere {
            calendar: CALENDAR.into(),
            id: id.into(),
            patch: json!({"summary": "Concert"}),
        })
    };
    known(&instance).or_else(|_| known(&winter)).unwrap();
    both.until("edited here", |both| {
        both.get("one.ics").contains("Doctor") && both.get("choir.ics").contains("Concert")
    });
    both.settle();
    let one = both.get("one.ics");
    for line in ["SUMMARY:Doctor", "LOCATION:Town", "X-OWN:kept", "GEO:1;2"] {
        assert!(one.contains(line), "{line} is not in {one}");
    }
    let choir = both.get("choir.ics");
    for line in ["SUMMARY:Concert", "SUMMARY:Rehearsal", "X-OWN:kept", "CATEGORIES:A,B"] {
        assert!(choir.contains(line), "{line} is not in {choir}");
    }

    // Edited here.
    both.put("one.ics", &one.replace("SUMMARY:Doctor", "SUMMARY:Surgeon"));
    both.put("choir.ics", &choir.replace("SUMMARY:Rehearsal", "SUMMARY:Dress rehearsal"));
    both.until("edited there", |both| {
        let all = both.account.events(CALENDAR);
        all.iter().any(|e| e["summary"] == "Dress rehearsal") && both.there("Surgeon").is_some()
    });
    both.settle();
    assert_eq!(both.there("Surgeon").unwrap()["location"], "Town");
    assert!(both.account.events(CALENDAR).iter().any(|e| e["summary"] == "Dress rehearsal"));

    // What Google cannot repeat is there as single events, and stays a series here.
    let hours = object(
        "hours",
        &[format!(
            "DTSTART:{0}T090000Z|DTEND:{0}T091500Z|RRULE:FREQ=HOURLY;COUNT=3|SUMMARY:Pills",
            day(6).to_date()
        )],
    );
    both.put("hours.ics", &hours);
    both.until("taken apart", |both| both.there("Pills").is_some());
    both.settle();
    assert_eq!(both.account.events(CALENDAR).iter().filter(|e| e["summary"] == "Pills").count(), 3);
    assert_eq!(both.get("hours.ics"), hours);
    let (_, why) = both.house.api("GET", "/events/hours/why", None);
    let way = &why["calendars"][0]["mappings"][0];
    assert_eq!((&way["status"], &way["remote_id"]), (&json!("synced"), &Value::Null), "{why}");
    let sentence = way["in_parts"].as_str().unwrap();
    assert!(sentence.contains("Google") && why["sentences"].to_string().contains(sentence), "{why}");

    // Deleted there, deleted here.
    let id = both.there("Surgeon").unwrap()["id"].as_str().unwrap().to_owned();
    both.server.act(&Act::DeleteElsewhere { calendar: CALENDAR.into(), id }).unwrap();
    assert_eq!(both.dav("DELETE", "choir.ics", "", "0").status, 204);
    both.until("gone on both sides", |both| {
        both.named("SUMMARY:Surgeon").is_none() && both.there("Choir").is_none()
    });
    both.settle();
    assert_eq!(both.named("SUMMARY:Surgeon"), None);
    assert!(both.there("Choir").is_none());

    // The cursor is lost, the token too: everything is compared and nothing is written.
    let (writes, here) = (both.server.log().writes(), both.here());
    both.server.act(&Act::ExpireCursor).unwrap();
    both.server.act(&Act::ExpireAccess).unwrap();
    both.settle();
    assert_eq!(both.server.log().writes(), writes);
    assert!(both.here() == here);
}

// S3-061 and its like: what was made on both sides before is one event, and an answer that is lost doubles nothing
#[test]
fn twins_unite_and_lost_answers_double_nothing() {
    let both = Both::start(|both| {
        let start =
            |hour: &str| json!({"dateTime": format!("{}T{hour}:00:00Z", dashed(day(3))), "timeZone": "UTC"});
        both.make(json!({"summary": "Dentist", "start": start("09"), "end": start("10")}));
        both.put("one.ics", &single("one", "Dentist"));
    });
    let before = both.account.events(CALENDAR).len();
    assert_eq!(both.here().len(), before);
    // The answer to a new event is lost. (That of a part of a series: `a_lost_answer_doubles_nothing`.)
    both.server.fault(Rule::on("POST", "/calendar/v3/calendars/*/events", Fault::DropAfterApply));
    both.put("two.ics", &single("two", "Walk"));
    both.settle_at_last();
    let titles: Vec<Value> = both
        .account
        .events(CALENDAR)
        .iter()
        .filter(|e| e["recurringEventId"].is_null())
        .map(|e| e["summary"].clone())
        .collect();
    assert_eq!(titles.iter().filter(|own| **own == "Walk").count(), 1, "{titles:?}");
    assert_eq!(both.get("two.ics"), single("two", "Walk"));
}

impl Both {
    /// Like `settle`, where the first passes may fail.
    fn settle_at_last(&self) {
        let until = Instant::now() + Duration::from_secs(60);
        // What was to go wrong has gone wrong.
        while !self.server.script().waiting().is_empty() || self.pass()["status"] != "success" {
            assert!(Instant::now() < until, "it does not come to rest");
        }
        self.settle();
    }
}

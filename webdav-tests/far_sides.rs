//! All kinds of far sides alike: what leaves of an event, as they hear it, octet by octet; and all of them at once.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use kalends::sim::{self, Running, World};
use serde_json::{Value, json};

use crate::bridge::proxy::Proxy;
use crate::dialogue::{Host as _, Request, send};
use crate::oauth::{House, agreed, follow};

/// A far side behind a proxy that keeps what it hears.
struct Far {
    kind: &'static str,
    server: Running,
    proxy: Proxy,
    heard: Arc<Mutex<Vec<String>>>,
    // Dropped last: the simulator's tasks are in it.
    _runtime: tokio::runtime::Runtime,
}

impl Far {
    fn start(kind: &'static str) -> Far {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let server = runtime.block_on(async {
            let world: Arc<dyn World> = match kind {
                "google" => Arc::new(sim::google::Google::new()),
                "outlook" => Arc::new(sim::outlook::Outlook::new("anna@example.com")),
                "cozi" => Arc::new(sim::cozi::Cozi::new("anna@example.com", "geheim", "Europe/Berlin")),
                _ => {
                    let upstream = sim::caldav::Caldav::start("anna", "geheim", sim::Clock::real());
                    Arc::new(upstream.await.unwrap())
                }
            };
            sim::Server::start(sim::Options::default(), world).await.unwrap()
        });
        let proxy = Proxy::before(server.address());
        let heard = Arc::new(Mutex::new(Vec::new()));
        let ears = Arc::clone(&heard);
        proxy.fault(move |request| {
            let body = String::from_utf8_lossy(&request.body);
            ears.lock().unwrap().push(format!("{} {}\n{body}", request.method, request.target));
            None
        });
        Far { kind, server, proxy, heard, _runtime: runtime }
    }

    fn config(&self) -> Vec<String> {
        let (through, at) = (self.proxy.url(), self.server.url().trim_end_matches('/').to_owned());
        let client = "client_id = \"cid\"\nclient_secret = \"client-geheim\"";
        let own = match self.kind {
            "google" => format!(
                "{client}\napi_base = \"{through}\"\nauth_url = \"{at}/o/oauth2/v2/auth\"\n\
                 token_url = \"{at}/token\"\nrevoke_url = \"{at}/revoke\""
            ),
            "outlook" => format!(
                "{client}\napi_base = \"{through}v1.0\"\nauth_url = \"{at}/common/oauth2/v2.0/authorize\"\n\
                 token_url = \"{at}/common/oauth2/v2.0/token\""
            ),
            "cozi" => format!("api_base = \"{through}\""),
            _ => format!("url = \"{through}\""),
        };
        let section = if self.kind == "caldav" { "icloud" } else { self.kind };
        vec![
            format!("[providers.{section}]\n{own}"),
            "[bridge]\nallow_private = true\nwindow_past = \"all\"\nwindow_future = \"all\"".into(),
            "[limits]\ncalls_per_minute.cozi = 1000\nmanual_sync = 1000".into(),
        ]
    }

    /// Connects the account as its owner does. Returns the connection's id.
    fn connect(&self, house: &House) -> String {
        let body = match self.kind {
            "caldav" => json!({"url": self.proxy.url(), "username": "anna", "password": "geheim"}),
            "cozi" => json!({"username": "anna@example.com", "password": "geheim"}),
            _ => json!({}),
        };
        let (status, made) = house.api("POST", &format!("/connections/{}", self.kind), Some(body));
        assert_eq!(status, 201, "{made}");
        if let Some(ask) = made["authorization_url"].as_str() {
            let ask = url::Url::parse(ask).unwrap();
            let away = get(self.server.address(), &ask);
            let back = url::Url::parse(away.all("location")[0]).unwrap();
            let page = agreed(house.served.address(), get(house.served.address(), &back));
            assert_eq!(page.status, 200, "{}", page.show());
        }
        made["id"].as_str().unwrap().to_owned()
    }

    /// All that was said to it so far.
    fn heard(&self) -> String {
        self.heard.lock().unwrap().join("\n")
    }
}

fn get(address: SocketAddr, url: &url::Url) -> crate::dialogue::Response {
    let target = format!("{}?{}", url.path(), url.query().unwrap_or_default());
    send(address, &Request { method: "GET".into(), target, ..Request::default() }).unwrap()
}

/// A day within every window.
fn day(ahead: i64) -> String {
    let now = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(24 * ahead);
    now.to_zoned(jiff::tz::TimeZone::UTC).date().strftime("%Y%m%d").to_string()
}

/// A calendar here that is mapped to the main one of an account.
struct Mapped<'a> {
    house: &'a House,
    name: String,
    mapping: String,
}

impl Mapped<'_> {
    /// Maps a calendar of that name to the account's main calendar.
    fn new<'a>(house: &'a House, connection: &str, name: &str, more: Value) -> Mapped<'a> {
        let (_, own) = house.api("GET", "/calendars", None);
        let found = own["items"].as_array().unwrap().iter().find(|c| c["name"] == name).cloned();
        let calendar = found.unwrap_or_else(|| {
            let wish = json!({"name": name, "components": ["VEVENT"]});
            house.api("POST", "/calendars", Some(wish)).1
        });
        let (_, list) = house.api("GET", &format!("/connections/{connection}/calendars"), None);
        let list = list["items"].as_array().unwrap_or_else(|| panic!("{list}")).clone();
        let events = |c: &&Value| {
            c["components"].as_array().is_none_or(|all| all.is_empty() || all.contains(&json!("VEVENT")))
        };
        let main = list.iter().find(|c| c["primary"] == true).or_else(|| list.iter().find(events)).unwrap();
        let mut wish =
            json!({"calendar": calendar["id"], "connection": connection, "remote_calendar": main["id"]});
        wish.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let (status, made) = house.api("POST", "/mappings", Some(wish));
        assert_eq!(status, 201, "{made}");
        Mapped { house, name: name.to_owned(), mapping: made["id"].as_str().unwrap().to_owned() }
    }

    /// Has a pass and what follows it by itself end well.
    fn sync(&self) {
        for _ in 0..3 {
            let (status, asked) = self.house.api("POST", &format!("/mappings/{}/sync", self.mapping), None);
            assert_eq!(status, 202, "{asked}");
            let run = follow(self.house, asked["run"].as_str().unwrap());
            assert!(run["status"] == "success" && run["failures"] == json!([]), "{run}");
        }
    }

    fn remove(self) {
        assert_eq!(self.house.api("DELETE", &format!("/mappings/{}", self.mapping), None).0, 204);
    }

    fn dav(&self, method: &str, name: &str, body: &str) -> crate::dialogue::Response {
        let secret = format!("anna:{}", crate::dialogue::password("anna"));
        let secret = format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(secret));
        let headers = [("Authorization", secret.as_str()), ("Depth", "1"), ("Content-Type", "text/calendar")];
        self.house.as_nobody(method, &format!("/dav/calendars/anna/{}/{name}", self.name), &headers, body)
    }

    fn put(&self, name: &str, text: &str) {
        let put = self.dav("PUT", name, text);
        assert!(matches!(put.status, 201 | 204), "{}", put.show());
    }

    /// The texts of all that is in the calendar here, unfolded.
    fn texts(&self) -> Vec<String> {
        let list = String::from_utf8(self.dav("PROPFIND", "", "").body).unwrap();
        let base = format!("/dav/calendars/anna/{}/", self.name);
        let names = list.split(&base).skip(1).map(|rest| rest.split('<').next().unwrap());
        let read =
            |name: &str| String::from_utf8(self.dav("GET", name, "").body).unwrap().replace("\r\n ", "");
        names.filter(|name| !name.is_empty()).map(read).collect()
    }

    fn titles(&self) -> Vec<String> {
        let title = |text: &String| {
            let line = text.lines().find_map(|line| line.strip_prefix("SUMMARY:")).unwrap_or_default();
            line.trim().to_owned()
        };
        let mut all: Vec<String> = self.texts().iter().map(title).collect();
        all.sort();
        all
    }
}

const KINDS: [&str; 4] = ["google", "outlook", "caldav", "cozi"];

/// An event that says `hush` wherever something can be said.
fn personal(day: &str, hour: u32) -> String {
    let at = format!("{day}T{hour:02}");
    format!(
        "BEGIN:VCALENDAR\nVERSION:2.0\nPRODID:-//hush//EN\nX-WR-CALNAME:hush\nNAME:hush\n\
         BEGIN:VTIMEZONE\nTZID:Europe/Berlin\nX-LIC-LOCATION:hush\nTZURL:https://hush.example/\n\
         BEGIN:STANDARD\nDTSTART:19701025T030000\nRRULE:FREQ=YEARLY;BYMONTH=10;BYDAY=-1SU\nCOMMENT:hush\n\
         TZOFFSETFROM:+0200\nTZOFFSETTO:+0100\nTZNAME:CET\nEND:STANDARD\n\
         BEGIN:DAYLIGHT\nDTSTART:19700329T020000\nRRULE:FREQ=YEARLY;BYMONTH=3;BYDAY=-1SU\n\
         TZOFFSETFROM:+0100\nTZOFFSETTO:+0200\nTZNAME:CEST\nEND:DAYLIGHT\nEND:VTIMEZONE\n\
         BEGIN:VEVENT\nUID:hush.meier@hush.example\nDTSTAMP:20260101T000000Z\n\
         DTSTART;TZID=Europe/Berlin;X-P=hush:{at}0000\nDTEND;TZID=Europe/Berlin:{at}3000\n\
         RRULE:FREQ=DAILY;COUNT=3\nSUMMARY;LANGUAGE=x-hush:hush\n\
         DESCRIPTION;ALTREP=\"https://hush.example/\":hush\nLOCATION:hush\nGEO:12.3456;65.4321\n\
         ORGANIZER;CN=hush:mailto:hush@hush.example\nATTENDEE;CN=hush:mailto:hush@hush.example\n\
         ATTACH:https://hush.example/a\nCATEGORIES:hush\nURL:https://hush.example/\nCOMMENT:hush\nCONTACT:hush\n\
         RESOURCES:hush\nRELATED-TO:hush\nCONFERENCE;VALUE=URI:https://hush.example/\n\
         IMAGE;VALUE=URI:https://hush.example/i\nCOLOR:hotpink\nCLASS:CONFIDENTIAL\nPRIORITY:1\n\
         STATUS;X-P=hush:CONFIRMED\nTRANSP:OPAQUE\nX-ALT-DESC:hush\nX-OWN;X-P=hush:hush\n\
         STYLED-DESCRIPTION;VALUE=TEXT:hush\nX-APPLE-STRUCTURED-LOCATION;VALUE=URI;X-TITLE=hush:geo:1,2\n\
         X-MICROSOFT-SKYPETEAMSMEETINGURL:https://hush.example/\nX-GOOGLE-CONFERENCE:https://hush.example/\n\
         X-MICROSOFT-CDO-BUSYSTATUS:OOF\nX-KALENDS-NOTE:hush\n\
         BEGIN:VALARM\nACTION:EMAIL\nSUMMARY:hush\nDESCRIPTION:hush\nATTENDEE:mailto:hush@hush.example\n\
         TRIGGER:-PT15M\nEND:VALARM\n\
         BEGIN:VLOCATION\nUID:hush\nNAME:hush\nEND:VLOCATION\n\
         BEGIN:PARTICIPANT\nUID:hush\nPARTICIPANT-TYPE:ACTIVE\nSUMMARY:hush\nEND:PARTICIPANT\nEND:VEVENT\n\
         BEGIN:VEVENT\nUID:hush.meier@hush.example\nDTSTAMP:20260101T000000Z\n\
         RECURRENCE-ID;TZID=Europe/Berlin:{at}0000\nDTSTART;TZID=Europe/Berlin:{at}1500\n\
         DTEND;TZID=Europe/Berlin:{at}4500\nSUMMARY:hush again\nLOCATION:hush\nX-OWN:hush\nEND:VEVENT\n\
         END:VCALENDAR\n"
    )
    .replace('\n', "\r\n")
}

// E7, S1-002, sync-patterns §12: that somebody is busy, and nothing of why, goes to any far side
#[test]
fn nothing_personal_leaves_in_busy() {
    for kind in KINDS {
        let far = Far::start(kind);
        let house = House::start(far.config());
        let connection = far.connect(&house);
        let busy = json!({"direction": "push", "fields": "busy"});
        let mapped = Mapped::new(&house, &connection, "calendar", busy);
        mapped.put("a.ics", &personal(&day(3), 9));
        mapped.sync();
        mapped.put("a.ics", &personal(&day(4), 11).replace("hush again", "hush at last"));
        mapped.sync();
        let heard = far.heard();
        assert!(heard.contains("Busy"), "{kind}: {heard}");
        mapped.dav("DELETE", "a.ics", "");
        mapped.sync();
        let heard = far.heard();
        for word in ["hush", "hotpink", "12.3456", "meier", "CONFIDENTIAL"] {
            let at = heard.to_lowercase().find(&word.to_lowercase());
            let around = at.map(|at| &heard[at.saturating_sub(300)..(at + 100).min(heard.len())]);
            assert!(at.is_none(), "{kind}: {word} in …{}…", around.unwrap_or_default());
        }
    }
}

// A mapping that tells no more than busy knows its copies again when it is made anew, on every far side
#[test]
fn busy_copies_are_known_again() {
    for kind in KINDS {
        let far = Far::start(kind);
        let house = House::start(far.config());
        let connection = far.connect(&house);
        let wish = json!({"direction": "push", "fields": "busy"});
        let busy = Mapped::new(&house, &connection, "calendar", wish.clone());
        busy.put("a.ics", &personal(&day(3), 9));
        let plain = personal(&day(5), 9).replace("UID:hush.meier@hush.example", "UID:other@hush.example");
        let from = plain.find("RRULE").unwrap();
        let (until, again) =
            (plain[from..].find("\r\n").unwrap() + from + 2, plain.find("BEGIN:VEVENT").unwrap());
        let second = plain[again + 5..].find("BEGIN:VEVENT").unwrap() + again + 5;
        let single = format!("{}{}END:VCALENDAR\r\n", &plain[..from], &plain[until..second]);
        busy.put("b.ics", &single);
        busy.sync();
        let mirror =
            Mapped::new(&house, &connection, "mirror", json!({"direction": "pull", "fields": "full"}));
        mirror.sync();
        assert_eq!(mirror.titles(), ["Busy", "Busy"], "{kind}");
        busy.remove();
        let busy = Mapped::new(&house, &connection, "calendar", wish);
        busy.sync();
        mirror.sync();
        assert_eq!(mirror.titles(), ["Busy", "Busy"], "{kind}");
        busy.dav("DELETE", "a.ics", "");
        busy.sync();
        // What goes from Cozi is believed a minute later.
        if kind != "cozi" {
            mirror.sync();
            assert_eq!(mirror.titles(), ["Busy"], "{kind}");
        }
        assert_eq!(mirror.texts().join("").matches("hush").count(), 0, "{kind}");
    }
}

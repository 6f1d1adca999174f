//! Every kind of far side behind the whole server: accounts are connected as people connect them, and what happens over
//! there is done by another client of the same account, so that all are asked the same.

mod settings;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt as _;
use kalends::auth::grant::Secret;
use kalends::bridge::provider::{Bearer, Fut, Provider, RemoteId, Seen, Slot, Window, Write};
use kalends::bridge::{Caldav, Cozi, Google, Outlook};
use kalends::http::fetch::{Fetch, Private, Timeouts};
use kalends::ical::Ical;
use kalends::ical::series::{Series, TimeRange};
use kalends::ical::zone::Zone;
use kalends::sim::{self, Clock, Running};
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use url::Url;

use crate::dialogue::{Request, Response, send};
use crate::oauth::House;
use crate::wait::{eventually, wait_for};

const DAY: i64 = 86_400;
const APPLE: &str = "abcd-efgh-ijkl-mnop";

/// Says which token is good.
struct Door(Box<dyn Fn() -> String + Send + Sync>);

impl Bearer for Door {
    fn token<'a>(&'a self, _: Option<&'a Secret>) -> Fut<'a, Secret> {
        Box::pin(async move { Ok(Secret::new(self.0())) })
    }
}

/// A server of ours with an account on a simulated far side, and another client of that account.
pub(crate) struct Site {
    pub(crate) house: House,
    pub(crate) far: Running,
    pub(crate) connection: Value,
    pub(crate) remote: String,
    other: Arc<dyn Provider>,
    runtime: Runtime,
}

fn now() -> i64 {
    jiff::Timestamp::now().as_second()
}

fn window() -> Window {
    Window { from: Some(now() - 7 * DAY), to: Some(now() + 30 * DAY), now: now() }
}

/// The date so many days ahead, as iCalendar writes it.
pub(crate) fn date(ahead: i64) -> String {
    jiff::Timestamp::from_second(now() + ahead * DAY).unwrap().strftime("%Y%m%d").to_string()
}

fn fetch() -> Fetch {
    Fetch::new(Private::Within(vec!["127.0.0.0/8".parse().unwrap()]), Timeouts::default()).unwrap()
}

pub(crate) fn event(uid: &str, lines: &str) -> String {
    format!(
        "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:x\r\nBEGIN:VEVENT\r\nUID:{uid}\r\nDTSTAMP:20260101T000000Z\r\n\
         {}\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n",
        lines.replace('|', "\r\n")
    )
}

/// UID, title, and when the object takes place.
fn said(bytes: &[u8]) -> (String, String, Vec<(i64, i64, bool)>) {
    let ical = Ical::parse(bytes.to_vec()).unwrap();
    let of = |name: &str| {
        let found = ical.calendar().unwrap().components().find_map(|c| c.property(name).map(|p| p.text()));
        found.unwrap_or_default()
    };
    let found = Series::of(&ical).instances(TimeRange::new(None, None), &Zone::Utc, 20);
    let times = found.list.iter().map(|i| (i.start, i.end, i.all_day())).collect();
    (of("UID"), of("SUMMARY"), times)
}

impl Site {
    pub(crate) fn start(kind: &'static str) -> Site {
        Site::with(kind, &[])
    }

    /// Connects an account of that kind with a server that has these further lines of configuration: of the bridge, with a
    /// `+` before them of the provider.
    pub(crate) fn with(kind: &'static str, more: &[&str]) -> Site {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.unwrap();
        let serve = |world: Arc<dyn sim::World>| {
            runtime.block_on(sim::Server::start(sim::Options::default(), world)).unwrap()
        };
        let url = |far: &Running, path: &str| Url::parse(&format!("{}{path}", far.url())).unwrap();
        let oauth = |far: &Running, api: &str, ask: &str, token: &str| {
            let at = far.url();
            vec![
                format!("[providers.{kind}]"),
                "client_id = \"client\"".into(),
                "client_secret = \"secret\"".into(),
                format!("api_base = \"{at}{api}\""),
                format!("auth_url = \"{at}{ask}\""),
                format!("token_url = \"{at}{token}\""),
            ]
        };
        let mut body = json!({});
        let (far, config, other): (Running, Vec<String>, Arc<dyn Provider>) = match kind {
            "google" => {
                let account = Arc::new(sim::google::Google::new());
                let far = serve(Arc::clone(&account) as Arc<dyn sim::World>);
                let scopes = "calendar.events calendar.calendarlist.readonly";
                let door = Door(Box::new(move || account.grant("client", scopes, now() * 1000).access));
                let other = Google::new(fetch(), url(&far, ""), Arc::new(door));
                let config = oauth(&far, "/", "/o/oauth2/v2/auth", "/token");
                (far, config, Arc::new(other))
            }
            "outlook" => {
                let account = sim::outlook::Outlook::new("anna@example.org");
                let far = serve(Arc::new(account.with_client("client", "secret").with_token("other")));
                let door = Door(Box::new(|| "other".into()));
                let other = Outlook::new(fetch(), url(&far, "/v1.0"), Arc::new(door));
                let sign_in = ["/common/oauth2/v2.0/authorize", "/common/oauth2/v2.0/token"];
                let config = oauth(&far, "/v1.0", sign_in[0], sign_in[1]);
                (far, config, Arc::new(other))
            }
            "icloud" | "caldav" => {
                let upstream = sim::caldav::Caldav::start("anna@icloud.example", APPLE, Clock::real());
                let far = serve(Arc::new(runtime.block_on(upstream).unwrap()));
                let found =
                    Caldav::discover(fetch(), url(&far, "/"), "anna@icloud.example", Secret::new(APPLE));
                let other = runtime.block_on(found).unwrap();
                body = json!({"username": "anna@icloud.example", "password": APPLE});
                if kind == "caldav" {
                    body["url"] = json!(far.url());
                }
                let config = vec!["[providers.icloud]".into(), format!("url = \"{}/\"", far.url())];
                (far, config, Arc::new(other))
            }
            "cozi" => {
                let far = serve(Arc::new(sim::cozi::Cozi::new("anna@example.org", APPLE, "Europe/Berlin")));
                let other = Cozi::new(fetch(), url(&far, "/"), "anna@example.org".into(), Secret::new(APPLE));
                body = json!({"username": "anna@example.org", "password": APPLE});
                let config = vec!["[providers.cozi]".into(), format!("api_base = \"{}/\"", far.url())];
                (far, config, Arc::new(other))
            }
            other => panic!("{other}"),
        };
        let (own, more): (Vec<&str>, Vec<&str>) = more.iter().partition(|line| line.starts_with('+'));
        let own = own.iter().map(|line| line.trim_start_matches('+').to_owned());
        // Nobody waits for a minute to end.
        let calm = ["[limits]", "calls_per_minute.cozi = 600", "calls_per_minute.caldav = 600"];
        let rest =
            calm.into_iter().chain(["[bridge]", "allow_private = true"]).chain(more).map(str::to_owned);
        let house = House::start(config.into_iter().chain(own).chain(rest).collect());
        let mut site = Site { house, far, connection: Value::Null, remote: String::new(), other, runtime };
        let id = site.connect(kind, body);
        site.connection = site.house.connection(&id);
        let all = site.offered();
        let main = all.iter().find(|c| c["primary"] == json!(true)).or(all.first()).unwrap();
        site.remote = main["id"].as_str().unwrap().to_owned();
        site
    }

    fn connect(&self, kind: &str, body: Value) -> String {
        let (status, made) = self.house.api("POST", &format!("/connections/{kind}"), Some(body));
        assert_eq!(status, 201, "{made}");
        if let Some(ask) = made["authorization_url"].as_str() {
            let query = self.consent(&Url::parse(ask).unwrap());
            let landed = self.house.browser(&format!("/oauth/{kind}/callback?{query}"));
            assert_eq!(landed.status, 200, "{}", landed.show());
        }
        made["id"].as_str().unwrap().to_owned()
    }

    /// Consents over there. Returns what the browser is sent back with.
    fn consent(&self, ask: &Url) -> String {
        let target = format!("{}?{}", ask.path(), ask.query().unwrap());
        let request = Request { method: "GET".into(), target, headers: Vec::new(), body: Vec::new() };
        let away = send(self.far.address(), &request).unwrap();
        let back = away.all("location").first().map(|to| Url::parse(to).unwrap());
        let back = back.unwrap_or_else(|| panic!("{}", away.show()));
        back.query().unwrap().to_owned()
    }

    pub(crate) fn id(&self) -> &str {
        self.connection["id"].as_str().unwrap()
    }

    /// The calendars over there that people may choose from.
    pub(crate) fn offered(&self) -> Vec<Value> {
        let (status, found) = self.house.api("GET", &format!("/connections/{}/calendars", self.id()), None);
        assert_eq!(status, 200, "{found}");
        found["items"].as_array().unwrap().clone()
    }

    /// What a mapping of both main calendars is asked for with, and more.
    pub(crate) fn wish(&self, more: Value) -> Value {
        let (_, own) = self.house.api("GET", "/calendars", None);
        let own = own["items"].as_array().unwrap().iter().find(|c| c["name"] == "calendar").unwrap().clone();
        let mut wish =
            json!({"calendar": own["id"], "connection": self.id(), "remote_calendar": self.remote});
        wish.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        wish
    }

    pub(crate) fn map(&self, more: Value) -> String {
        let (status, made) = self.house.api("POST", "/mappings", Some(self.wish(more)));
        assert_eq!(status, 201, "{made}");
        made["id"].as_str().unwrap().to_owned()
    }

    /// Carries one pass out and returns its run.
    pub(crate) fn pass(&self, mapping: &str) -> Value {
        let (status, asked) = self.house.api("POST", &format!("/mappings/{mapping}/sync"), None);
        assert_eq!(status, 202, "{asked}");
        crate::oauth::follow(&self.house, asked["run"].as_str().unwrap())
    }

    pub(crate) fn dav(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Response {
        let bearer = format!("Bearer {}", self.house.token);
        let mut all = vec![("Authorization", bearer.as_str())];
        all.extend_from_slice(headers);
        self.house.as_nobody(method, &format!("/dav/calendars/anna/{path}"), &all, body)
    }

    pub(crate) fn put(&self, name: &str, text: &str) {
        let kind = [("Content-Type", "text/calendar")];
        let put = self.dav("PUT", &format!("calendar/{name}"), &kind, text);
        assert!(matches!(put.status, 201 | 204), "{}", put.show());
    }

    /// Our objects by UID: name and text.
    pub(crate) fn here(&self) -> BTreeMap<String, (String, Vec<u8>)> {
        let list = self.dav("PROPFIND", "calendar/", &[("Depth", "1")], "");
        assert_eq!(list.status, 207, "{}", list.show());
        let text = String::from_utf8(list.body).unwrap();
        let names = text.split("/dav/calendars/anna/calendar/").skip(1);
        let mut all = BTreeMap::new();
        for name in names.map(|rest| rest.split('<').next().unwrap()).filter(|name| !name.is_empty()) {
            let answer = self.dav("GET", &format!("calendar/{name}"), &[], "");
            if answer.status == 404 {
                // It was removed since it was listed.
                continue;
            }
            let bytes = answer.body;
            assert!(all.insert(said(&bytes).0, (name.to_owned(), bytes)).is_none(), "doubled here");
        }
        all
    }

    /// What the other client reads, by UID.
    pub(crate) fn there(&self) -> BTreeMap<String, Seen> {
        let calendar = RemoteId(self.remote.clone());
        let all = self.runtime.block_on(async {
            let mut pages = self.other.changes(&calendar, None, window());
            let (mut all, mut named) = (Vec::new(), Vec::new());
            while let Some(page) = pages.next().await {
                let page = page.unwrap();
                all.extend(page.read);
                named.extend(page.seen.into_iter().map(|sighting| sighting.id));
            }
            named.retain(|id| !all.iter().any(|seen: &Seen| seen.id == *id));
            if !named.is_empty() {
                all.extend(self.other.read(&calendar, &named).await.unwrap());
            }
            all
        });
        let mut by_uid = BTreeMap::new();
        for seen in all {
            assert!(by_uid.insert(said(&seen.bytes).0, seen).is_none(), "doubled there");
        }
        by_uid
    }

    /// The other client stores an event; returns what it then reads.
    pub(crate) fn elsewhere(&self, uid: &str, text: &str) -> Seen {
        let calendar = RemoteId(self.remote.clone());
        let seen = self.there().remove(uid);
        let slot = match &seen {
            Some(seen) => Slot::At(seen.id.clone(), seen.version.clone()),
            None => Slot::New { uid: uid.into() },
        };
        let write = Write { slot, bytes: Bytes::from(text.to_owned()), base: seen.map(|seen| seen.bytes) };
        self.runtime.block_on(self.other.put(&calendar, &write)).unwrap();
        self.there().remove(uid).unwrap()
    }

    fn removed_elsewhere(&self, uid: &str) {
        let seen = self.there().remove(uid).unwrap();
        let calendar = RemoteId(self.remote.clone());
        self.runtime.block_on(self.other.delete(&calendar, &seen.id, seen.version.as_ref())).unwrap();
    }
}

/// An event that is made, moved and removed on each of both sides.
fn life(kind: &'static str) {
    let site = Site::start(kind);
    let account = site.house.connection(site.id());
    assert_eq!((&account["provider"], &account["status"]), (&json!(kind), &json!("active")), "{account}");
    let connected = account["last_synced_at"].as_str().unwrap().to_owned();
    let mapping = site.map(json!({"direction": "both"}));
    let berlin = |title: &str, hour: u32| {
        let (day, zone) = (date(3), "TZID=Europe/Berlin");
        event(
            "ours",
            &format!(
                "DTSTART;{zone}:{day}T{hour}0000|DTEND;{zone}:{day}T{}0000|SUMMARY:{title}|LOCATION:Hall|X-OURS:kept",
                hour + 1
            ),
        )
    };
    let days = |title: &str| {
        let lines = format!("DTSTART;VALUE=DATE:{}|DTEND;VALUE=DATE:{}|SUMMARY:{title}", date(4), date(6));
        event("days", &lines)
    };
    let stands = |uid: &str, text: &str| {
        let there = site.there();
        there.get(uid).is_some_and(|seen| said(&seen.bytes) == said(text.as_bytes()))
    };
    // Made here: it is there, at the same times, whole days as whole days.
    site.put("ours.ics", &berlin("Choir", 18));
    site.put("days.ics", &days("Away"));
    eventually("the way out", || stands("ours", &berlin("Choir", 18)) && stands("days", &days("Away")));
    let place = site.there()["ours"].id.clone();
    // Moved and renamed here: the same event is there, at its new time.
    site.put("ours.ics", &berlin("Choir and tea", 20));
    eventually("the change", || stands("ours", &berlin("Choir and tea", 20)));
    assert_eq!((site.there().len(), &site.there()["ours"].id), (2, &place));
    // Made there, then renamed there.
    let theirs = |title: &str| {
        event("theirs", &format!("DTSTART:{0}T090000Z|DTEND:{0}T100000Z|SUMMARY:{title}", date(5)))
    };
    for title in ["Dentist", "Another dentist"] {
        let seen = site.elsewhere("theirs", &theirs(title));
        let run = site.pass(&mapping);
        assert_eq!((&run["status"], &run["failures"]), (&json!("success"), &json!([])), "{run}");
        eventually("the way in", || {
            site.here().get("theirs").is_some_and(|(_, bytes)| said(bytes) == said(&seen.bytes))
        });
    }
    // A change there keeps what only we know.
    site.elsewhere("ours", &berlin("Their choir", 20).replace("X-OURS:kept\r\n", ""));
    site.pass(&mapping);
    eventually("the change in", || {
        let text = String::from_utf8(site.here()["ours"].1.clone()).unwrap();
        text.contains("SUMMARY:Their choir") && text.contains("X-OURS:kept")
    });
    // Removed here, removed there.
    assert_eq!(site.dav("DELETE", "calendar/ours.ics", &[], "").status, 204);
    eventually("the removal", || !site.there().contains_key("ours"));
    // What a far side merely no longer lists is believed gone a minute later; the laws of `bridge::trial` wait that long.
    if kind != "cozi" {
        site.removed_elsewhere("days");
        site.pass(&mapping);
        eventually("the removal here", || !site.here().contains_key("days"));
        let (_, trash) = site.house.api("GET", "/trash", None);
        let names: Vec<_> = trash["items"].as_array().unwrap().iter().map(|i| i["uid"].clone()).collect();
        assert!(names.contains(&json!("days")) && names.contains(&json!("ours")), "{trash}");
    }
    // And then there is nothing to do.
    site.pass(&mapping);
    let writes = site.far.log().writes();
    let run = site.pass(&mapping);
    assert_eq!((site.far.log().writes(), &run["status"]), (writes, &json!("success")), "{run}");
    let look = || site.house.connection(site.id());
    let account = wait_for("rest", look, |account| account["status"] == "active");
    assert!(account["last_synced_at"].as_str() > Some(connected.as_str()), "{account}");
}

// S3-001, S3-009, S0-020, S0-022, S1-001, S1-020, S1-032, S1-033, S1-063, S1-064, S2-001, S2-005, S2-018,
// S2-036, S2-037: connected by a consent; what is made,
// moved and removed on either side
#[test]
fn an_event_lives_with_google() {
    life("google");
}

// S0-023, S1-031, S1-066, S1-067, S2-067, S2-068: the same with Microsoft
#[test]
fn an_event_lives_with_outlook() {
    life("outlook");
}

// S3-001, S3-009, S3-087, S1-025, S1-028, S1-042, S1-065, S1-074, S2-066, S2-094: the same with Apple, with a
// password for this purpose
#[test]
fn an_event_lives_with_icloud() {
    life("icloud");
}

// S3-001, S3-009, S3-093: the same with Cozi, wherever its interface is
#[test]
fn an_event_lives_with_cozi() {
    let site = Site::start("cozi");
    // S3-094: people are told what they are getting into.
    let warning = site.connection["warning"].as_str().unwrap();
    assert!(warning.contains("no official interface") && warning.contains("stop working"), "{warning}");
    // S3-097: seven days back and thirty ahead, as no other far side.
    let (_, mapping) = site.house.api("GET", &format!("/mappings/{}", site.map(json!({}))), None);
    assert_eq!((&mapping["window_past"], &mapping["window_future"]), (&json!("P7D"), &json!("P30D")));
    drop(site);
    life("cozi");
}

// It is signed in once, not for every pass, and again when the far side no longer knows of it
#[test]
fn one_session_with_cozi_serves_many_passes() {
    let site = Site::start("cozi");
    let mapping = site.map(json!({}));
    site.pass(&mapping);
    let logins = || site.far.log().entries().iter().filter(|e| e.path.ends_with("/auth/login")).count();
    let before = logins();
    for _ in 0..3 {
        assert_eq!(site.pass(&mapping)["status"], "success");
    }
    assert_eq!(logins(), before);
    site.far.act(&sim::Act::ExpireAccess).unwrap();
    for _ in 0..3 {
        assert_eq!(site.pass(&mapping)["status"], "success");
    }
    assert_eq!(logins(), before + 1);
}

#[test]
fn an_event_lives_with_a_caldav_server() {
    life("caldav");
}

/// What a free-busy query of our calendar tells, from today on.
fn busy(site: &Site) -> String {
    let body = format!(
        "<free-busy-query xmlns=\"urn:ietf:params:xml:ns:caldav\"><time-range start=\"{}T000000Z\" end=\"{}T000000Z\"/>\
         </free-busy-query>",
        date(0),
        date(20)
    );
    let kind = [("Content-Type", "application/xml"), ("Depth", "1")];
    let answer = site.dav("REPORT", "calendar/", &kind, &body);
    assert_eq!(answer.status, 200, "{}", answer.show());
    String::from_utf8(answer.body).unwrap().replace("\r\n ", "")
}

// S1-002, S1-014, S1-015, S1-016: events there become blocked time here, and nothing but that; those that are free do not;
// whole days block whole days
#[test]
fn what_is_busy_there_blocks_time_here() {
    for kind in ["google", "outlook"] {
        let site = Site::start(kind);
        let at = |uid: &str, hour: u32, more: &str| {
            let lines =
                format!("DTSTART:{0}T{hour:02}0000Z|DTEND:{0}T{hour:02}3000Z|SUMMARY:hush{more}", date(3));
            site.elsewhere(uid, &event(uid, &lines));
        };
        at("busy", 9, "|LOCATION:hush|DESCRIPTION:hush");
        at("free", 11, "|TRANSP:TRANSPARENT");
        let days = |uid: &str, from: i64, more: &str| {
            let lines = format!(
                "DTSTART;VALUE=DATE:{}|DTEND;VALUE=DATE:{}|SUMMARY:hush{more}",
                date(from),
                date(from + 2)
            );
            site.elsewhere(uid, &event(uid, &lines));
        };
        days("away", 5, "");
        days("fair", 9, "|TRANSP:TRANSPARENT");
        let mapping = site.map(json!({"direction": "pull", "fields": "busy"}));
        site.pass(&mapping);
        eventually("the way in", || site.here().len() == 4);
        for (uid, (_, bytes)) in site.here() {
            let text = String::from_utf8(bytes).unwrap();
            assert!(!text.contains("hush") && text.contains("SUMMARY:Busy\r\n"), "{kind} {uid}: {text}");
        }
        let told = busy(&site);
        let spans: Vec<&str> = told.lines().filter(|line| line.starts_with("FREEBUSY")).collect();
        let spans = spans.join("\n");
        let (day, from, to) = (date(3), date(5), date(7));
        assert!(spans.contains(&format!("{day}T090000Z/{day}T093000Z")), "{kind}: {told}");
        assert!(spans.contains(&format!("{from}T000000Z/{to}T000000Z")), "{kind}: {told}");
        assert!(!spans.contains(&format!("{day}T110000Z")) && !spans.contains(&date(9)), "{kind}: {told}");
    }
}

// S4-045, S1-012, S1-045, S1-055: the next three months and no history; what the window passes over comes when it is near
#[test]
fn a_first_pass_takes_what_lies_within_the_window() {
    let site = Site::start("google");
    for (uid, ahead) in [("past", -3), ("soon", 2), ("late", 85), ("later", 120)] {
        let day = jiff::Timestamp::from_second(now() + ahead * DAY).unwrap();
        let object = json!({"summary": uid, "start": {"dateTime": day.to_string()},
            "end": {"dateTime": jiff::Timestamp::from_second(now() + ahead * DAY + 3600).unwrap().to_string()}});
        site.far.act(&sim::Act::CreateElsewhere { calendar: site.remote.clone(), object }).unwrap();
    }
    let titles = || {
        let mut all: Vec<String> = site.here().into_values().map(|(_, bytes)| said(&bytes).1).collect();
        all.sort();
        all
    };
    let mapping = site.map(json!({"direction": "pull", "window_past": "P0D", "window_future": "P90D"}));
    site.pass(&mapping);
    eventually("the first pass", || titles() == ["late", "soon"]);
    let change = json!({"window_past": "P7D", "window_future": "P180D"});
    assert_eq!(site.house.api("PATCH", &format!("/mappings/{mapping}"), Some(change)).0, 200);
    site.pass(&mapping);
    eventually("the wider window", || titles() == ["late", "later", "past", "soon"]);
}

// S1-099: a time without a zone is meant where its calendar is, also in an account that knows no such times
#[test]
fn times_without_a_zone_go_out_in_the_zone_of_the_calendar() {
    let site = Site::start("outlook");
    let patch = "<propertyupdate xmlns=\"DAV:\"><set><prop><calendar-timezone-id \
         xmlns=\"urn:ietf:params:xml:ns:caldav\">Asia/Tokyo</calendar-timezone-id></prop></set></propertyupdate>";
    let set = site.dav("PROPPATCH", "calendar/", &[("Content-Type", "application/xml")], patch);
    assert!(set.status == 207 && set.show().contains("200 OK"), "{}", set.show());
    let mapping = site.map(json!({"direction": "both"}));
    let text = event("wake", &format!("DTSTART:{0}T070000|DTEND:{0}T071500|SUMMARY:Wake up", date(3)));
    site.put("wake.ics", &text);
    eventually("the way out", || site.there().contains_key("wake"));
    let there = String::from_utf8(site.there()["wake"].bytes.to_vec()).unwrap();
    assert!(there.contains(&format!("DTSTART;TZID=Asia/Tokyo:{}T070000\r\n", date(3))), "{there}");
    // Here it stays without one.
    site.pass(&mapping);
    site.pass(&mapping);
    assert_eq!(String::from_utf8(site.here()["wake"].1.clone()).unwrap(), text);
}

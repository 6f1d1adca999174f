//! Far sides of every kind, each behind the same script of faults.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use kalends::sim::{self, Act, Answer, Answering, Running, Scene, World};
use serde_json::{Value, json};

use super::program::Program;
use crate::bridge::radicale::Radicale;
use crate::dialogue::{Request, send};
use crate::feeds_in::{Press, calendar, event};

/// The requests that make, change and remove an event, and the one that tells of changes: method and path.
type Points = [(&'static str, &'static str); 4];

/// How the titles that a far side has are read.
type Titles = Box<dyn Fn(&Running) -> Vec<String>>;
/// How all that it has is read, as one text.
type Words = Box<dyn Fn(&Running) -> String>;

/// A far side and what is asked of it.
pub(crate) struct Far {
    pub(crate) runtime: tokio::runtime::Runtime,
    pub(crate) server: Running,
    titles: Titles,
    words: Words,
    pub(crate) calendar: String,
    provider: &'static str,
    /// Which way mappings go.
    pub(crate) direction: &'static str,
    /// The fields that mappings carry.
    pub(crate) fields: &'static str,
    /// What the owner of the account types in; nothing: they consent in a browser.
    known: Option<Value>,
    pub(crate) points: Points,
    /// What somebody else makes there: an event of an hour on this day (`20261231`), called so.
    theirs: fn(&str, &str) -> Value,
    /// How long both sides may take to agree.
    pub(crate) patience: Duration,
}

const SOON: Duration = Duration::from_secs(40);
/// Cozi tells of no removals: an absence is believed when it was seen twice, a minute apart.
const LATER: Duration = Duration::from_secs(130);

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

fn serve(runtime: &tokio::runtime::Runtime, world: Arc<dyn World>) -> Running {
    runtime.block_on(sim::Server::start(sim::Options::default(), world)).unwrap()
}

/// `20261231` → `2026-12-31`.
fn dashed(day: &str) -> String {
    format!("{}-{}-{}", &day[..4], &day[4..6], &day[6..])
}

/// What is in a calendar of a CalDAV server.
fn members(server: &Running, path: &str) -> Vec<String> {
    let basic = base64::engine::general_purpose::STANDARD.encode("anna:geheim-1");
    let ask = |method: &str, target: &str| {
        let headers = vec![("Authorization".into(), format!("Basic {basic}")), ("Depth".into(), "1".into())];
        let request = Request { method: method.into(), target: target.into(), headers, body: Vec::new() };
        String::from_utf8(send(server.address(), &request).unwrap().body).unwrap()
    };
    let listing = ask("PROPFIND", path);
    let names = listing.split(path).skip(1).map(|rest| rest.split('<').next().unwrap());
    names.filter(|name| !name.is_empty()).map(|name| ask("GET", &format!("{path}{name}"))).collect()
}

/// A server that somebody else wrote, as a world of its own: what it is asked is passed on.
struct Behind(Radicale);

impl World for Behind {
    fn kind(&self) -> &'static str {
        "behind"
    }

    fn answer<'a>(&'a self, request: sim::Request, _: &'a Scene) -> Answering<'a> {
        let hop = ["host", "connection", "content-length", "accept-encoding"];
        let headers = request.headers.iter().filter(|(name, _)| !hop.contains(&name.as_str()));
        let asked = Request {
            method: request.method.to_string(),
            target: request.path.clone(),
            headers: headers.map(|(n, v)| (n.to_string(), v.to_str().unwrap().to_owned())).collect(),
            body: request.body.to_vec(),
        };
        let address = self.0.address();
        Box::pin(async move {
            let writes = matches!(asked.method.as_str(), "PUT" | "DELETE");
            let told = tokio::task::spawn_blocking(move || send(address, &asked)).await.unwrap().unwrap();
            let mut answer = Answer::empty(told.status);
            let hop = ["connection", "content-length", "transfer-encoding"];
            for (name, value) in &told.headers {
                if !hop.contains(&name.to_ascii_lowercase().as_str()) {
                    answer = answer.with(name, value);
                }
            }
            answer.body = told.body.into();
            answer.wrote(u32::from(writes && told.status < 300))
        })
    }

    fn act(&self, act: &Act, _: &Scene) -> Result<Value, String> {
        let place = |calendar: &str, name: &str| format!("/anna/{calendar}/{name}.ics");
        match act {
            Act::CreateElsewhere { calendar, object } => {
                let path = place(calendar, "theirs");
                self.0.put(&path, object.as_str().unwrap());
                Ok(json!({ "id": path }))
            }
            Act::DeleteElsewhere { id, .. } => {
                self.0.delete(id);
                Ok(Value::Null)
            }
            other => Err(format!("nobody can make it do this: {other:?}")),
        }
    }

    fn throttled(&self, _: Option<u64>) -> Answer {
        Answer::empty(429)
    }
}

impl Far {
    pub(crate) fn google() -> Far {
        let runtime = runtime();
        let account = Arc::new(sim::google::Google::new());
        let server = serve(&runtime, Arc::clone(&account) as Arc<dyn World>);
        let all = Arc::clone(&account);
        let titles = move |_: &Running| {
            let live = |event: &&Value| event["status"] != "cancelled";
            let all = account.events("anna@example.com");
            all.iter().filter(live).map(|e| e["summary"].as_str().unwrap_or_default().to_owned()).collect()
        };
        const EVENTS: &str = "/calendar/v3/calendars/*/events*";
        Far {
            runtime,
            server,
            titles: Box::new(titles),
            words: Box::new(move |_| json!(all.events("anna@example.com")).to_string()),
            calendar: "anna@example.com".into(),
            provider: "google",
            direction: "both",
            fields: "standard",
            known: None,
            points: [("POST", EVENTS), ("PATCH", EVENTS), ("DELETE", EVENTS), ("GET", EVENTS)],
            theirs: |day, title| {
                let at = |hour: u32| json!({"dateTime": format!("{}T{hour}:00:00Z", dashed(day))});
                json!({"summary": title, "start": at(14), "end": at(15)})
            },
            patience: SOON,
        }
    }

    pub(crate) fn outlook() -> Far {
        let runtime = runtime();
        let account =
            Arc::new(sim::outlook::Outlook::new("anna@example.org").with_client("client", "secret"));
        let server = serve(&runtime, Arc::clone(&account) as Arc<dyn World>);
        let calendar = account.calendar();
        let own = calendar.clone();
        let (other, all) = (calendar.clone(), Arc::clone(&account));
        let titles = move |_: &Running| {
            let all = account.events(&own);
            assert_eq!(account.mails(), 0, "nobody gets mail");
            all.iter().map(|e| e["subject"].as_str().unwrap_or_default().to_owned()).collect()
        };
        Far {
            runtime,
            server,
            titles: Box::new(titles),
            words: Box::new(move |_| json!(all.events(&other)).to_string()),
            calendar,
            provider: "outlook",
            direction: "both",
            fields: "standard",
            known: None,
            points: [
                ("POST", "/v1.0/me/calendars/*/events"),
                ("PATCH", "/v1.0/me/*events/*"),
                ("DELETE", "/v1.0/me/*events/*"),
                ("GET", "/v1.0/me/calendars/*"),
            ],
            theirs: |day, title| {
                let at = |hour: u32| json!({"dateTime": format!("{}T{hour}:00:00", dashed(day)), "timeZone": "UTC"});
                json!({"subject": title, "start": at(14), "end": at(15)})
            },
            patience: SOON,
        }
    }

    /// A CalDAV server without any quirk.
    pub(crate) fn caldav() -> Far {
        let runtime = runtime();
        let started = sim::caldav::Caldav::start("anna", "geheim-1", sim::Clock::real());
        let server = serve(&runtime, Arc::new(runtime.block_on(started).unwrap()));
        Far::dav(runtime, server, "/dav/calendars/anna/calendar/")
    }

    /// A real Radicale, behind the script of a simulator; nothing if there is none on this machine.
    pub(crate) fn radicale() -> Option<Far> {
        let radicale = Radicale::start()?;
        radicale.calendar("/anna/work/");
        let runtime = runtime();
        let server = serve(&runtime, Arc::new(Behind(radicale)));
        Some(Far::dav(runtime, server, "/anna/work/"))
    }

    fn dav(runtime: tokio::runtime::Runtime, server: Running, path: &'static str) -> Far {
        let calendar = format!("{}{path}", server.url());
        let known = json!({"url": server.url(), "username": "anna", "password": "geheim-1"});
        let title = |text: String| {
            text.lines().find_map(|line| line.strip_prefix("SUMMARY:")).unwrap_or_default().to_owned()
        };
        Far {
            runtime,
            server,
            titles: Box::new(move |server| members(server, path).into_iter().map(title).collect()),
            words: Box::new(move |server| members(server, path).concat()),
            calendar,
            provider: "caldav",
            direction: "both",
            fields: "full",
            known: Some(known),
            points: [("PUT", "*"), ("PUT", "*"), ("DELETE", "*"), ("REPORT", "*")],
            theirs: |day, title| {
                json!(format!(
                    "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:x\r\nBEGIN:VEVENT\r\nUID:{title}\r\nDTSTAMP:20260101T000000Z\r\n\
                     DTSTART:{day}T140000Z\r\nDTEND:{day}T150000Z\r\nSUMMARY:{title}\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"
                ))
            },
            patience: SOON,
        }
    }

    pub(crate) fn cozi() -> Far {
        let runtime = runtime();
        let household = sim::cozi::Cozi::new("anna@example.org", "geheim", "Europe/Berlin");
        let server = serve(&runtime, Arc::new(household));
        let titles = |server: &Running| {
            let items = server.act(&Act::Own { name: "items".into(), with: Value::Null }).unwrap();
            let title = |item: &Value| item["description"].as_str().unwrap().to_owned();
            items.as_array().unwrap().iter().map(title).collect()
        };
        const MONTH: &str = "/api/ext/2004/*/calendar/*";
        Far {
            runtime,
            server,
            titles: Box::new(titles),
            words: Box::new(|server| {
                server.act(&Act::Own { name: "items".into(), with: Value::Null }).unwrap().to_string()
            }),
            calendar: "family".into(),
            provider: "cozi",
            direction: "both",
            fields: "standard",
            known: Some(json!({"username": "anna@example.org", "password": "geheim"})),
            points: [("POST", MONTH), ("POST", MONTH), ("POST", MONTH), ("GET", MONTH)],
            theirs: |day, title| {
                json!({"startDay": dashed(day), "details": {"startTime": "14:00", "endTime": "15:00", "dateSpan": 0,
                    "attendeeSet": [], "location": "", "notes": "", "subject": title}})
            },
            patience: LATER,
        }
    }

    /// A feed with one event of that title. Nobody writes there.
    pub(crate) fn feed(title: &str) -> Far {
        let runtime = runtime();
        let press = Press::with(calendar("", &[event("theirs", title, "")]));
        let server = serve(&runtime, Arc::new(press));
        let known = json!({"url": format!("{}/feed.ics", server.url())});
        let titles = vec![title.to_owned()];
        Far {
            runtime,
            server,
            titles: Box::new(move |_| titles.clone()),
            words: Box::new(|_| String::new()),
            calendar: "feed".into(),
            provider: "ics",
            direction: "pull",
            fields: "full",
            known: Some(known),
            points: [("GET", "*"); 4],
            theirs: |_, _| Value::Null,
            patience: SOON,
        }
    }

    /// Somebody else makes an event there. Returns its id.
    pub(crate) fn made_there(&self, day: &str, title: &str) -> String {
        let object = (self.theirs)(day, title);
        let made = self.server.act(&Act::CreateElsewhere { calendar: self.name(), object });
        made.unwrap()["id"].as_str().unwrap().to_owned()
    }

    /// Somebody else removes an event there.
    pub(crate) fn removed_there(&self, id: String) {
        self.server.act(&Act::DeleteElsewhere { calendar: self.name(), id }).unwrap();
    }

    /// The calendar as the simulator names it.
    fn name(&self) -> String {
        let path = self.calendar.trim_end_matches('/');
        path.rsplit('/').next().unwrap().to_owned()
    }

    /// The titles of all events that are there.
    pub(crate) fn titles(&self) -> Vec<String> {
        (self.titles)(&self.server)
    }

    /// All that is there, as one text.
    pub(crate) fn words(&self) -> String {
        (self.words)(&self.server)
    }

    /// The texts of all events on a CalDAV server.
    pub(crate) fn texts(&self) -> Vec<String> {
        let path = self.calendar.strip_prefix(self.server.url()).unwrap();
        members(&self.server, path)
    }

    /// The settings with which the program finds this far side and is not held back by limits of its own.
    pub(crate) fn variables(&self) -> Vec<(String, String)> {
        let url = self.server.url();
        // Feeds have the budget of CalDAV.
        let provider = if self.provider == "ics" { "caldav" } else { self.provider }.to_uppercase();
        let of = |name: &str, value: String| (format!("KALENDS_PROVIDERS__{provider}__{name}"), value);
        let mut all = vec![
            ("KALENDS_BRIDGE__ALLOW_PRIVATE".to_owned(), "true".to_owned()),
            ("KALENDS_LIMITS__MANUAL_SYNC".to_owned(), "10000".to_owned()),
            // Nothing of what people write is in the log, however much is logged.
            ("KALENDS_LOG__LEVEL".to_owned(), "info,kalends=debug".to_owned()),
            (format!("KALENDS_LIMITS__CALLS_PER_MINUTE__{provider}"), "100000".to_owned()),
            (format!("KALENDS_LIMITS__CALLS_PER_DAY__{provider}"), "1000000".to_owned()),
        ];
        let (api, ask, token) = match self.provider {
            "google" => ("/", "/o/oauth2/v2/auth", "/token"),
            "outlook" => ("/v1.0", "/common/oauth2/v2.0/authorize", "/common/oauth2/v2.0/token"),
            "cozi" => {
                all.push(of("API_BASE", url.to_owned()));
                return all;
            }
            _ => return all,
        };
        all.extend([
            of("CLIENT_ID", "client".into()),
            of("CLIENT_SECRET", "secret".into()),
            of("API_BASE", format!("{url}{api}")),
            of("AUTH_URL", format!("{url}{ask}")),
            of("TOKEN_URL", format!("{url}{token}")),
            of("REVOKE_URL", format!("{url}/revoke")),
        ]);
        all
    }

    /// Connects the account, as its owner does.
    pub(crate) fn connect(&self, program: &Program) -> String {
        match &self.known {
            Some(known) => program.sign_in(self.provider, known.clone()),
            None => program.consent(self.provider),
        }
    }
}

//! The far sides of a demo: simulators that run in this process, and what people do there.
//!
//! Owns: starting them, which options of the configuration lead to them, an event as each of them takes it.
//! Does not own: how they behave (`sim`), when something happens there (`trickle`).

use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};

use super::year::{ZONE, lines, object};
use crate::ical::value::{Civil, DAY, escape};
use crate::ical::zone::by_tzid;
use crate::sim::caldav::Caldav;
use crate::sim::cozi::Cozi;
use crate::sim::google::Google;
use crate::sim::outlook::Outlook;
use crate::sim::{Act, Clock, Options, Running, Server, World};

/// Who signs in at Cozi and at the CalDAV server, and with what.
pub(super) const DEMO: &str = "demo";
/// The calendar on the CalDAV server.
pub(super) const CHOIR: &str = "choir";
/// Requests that a simulator remembers.
const REMEMBERED: usize = 2000;

/// Which one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// Google Calendar.
    Google,
    /// Outlook.
    Outlook,
    /// A CalDAV server.
    Caldav,
    /// Cozi.
    Cozi,
}

impl Kind {
    /// All of them.
    pub(super) const ALL: [Kind; 4] = [Kind::Google, Kind::Outlook, Kind::Caldav, Kind::Cozi];

    /// Returns what people call it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Kind::Google => "Google",
            Kind::Outlook => "Outlook",
            Kind::Caldav => "CalDAV server",
            Kind::Cozi => "Cozi",
        }
    }

    /// Returns the calendar there that something happens in.
    fn calendar(self) -> &'static str {
        match self {
            Kind::Google => "primary",
            Kind::Caldav => CHOIR,
            Kind::Outlook | Kind::Cozi => "",
        }
    }
}

/// What somebody has in mind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Plan {
    /// Under this name it is kept where names are chosen.
    pub(super) name: String,
    pub(super) title: String,
    pub(super) place: String,
    /// By the clock of [`ZONE`].
    pub(super) start: Civil,
    pub(super) minutes: i64,
}

/// One far side.
#[derive(Debug)]
pub(super) struct Far {
    pub(super) kind: Kind,
    running: Running,
    upstream: Option<Arc<Caldav>>,
}

impl Far {
    /// Starts one on a free port. What it writes down, it writes below `place`.
    pub(super) async fn start(kind: Kind, seed: u64, place: &Path) -> Result<Far, String> {
        let clock = Clock::real();
        let mut upstream = None;
        let world: Arc<dyn World> = match kind {
            Kind::Google => Arc::new(Google::new()),
            Kind::Outlook => Arc::new(Outlook::new("anna@work.example")),
            Kind::Cozi => Arc::new(Cozi::new(DEMO, DEMO, ZONE)),
            Kind::Caldav => {
                let server = Caldav::within(place.join("upstream"), DEMO, DEMO, clock.clone()).await?;
                let server = Arc::new(server);
                upstream = Some(Arc::clone(&server));
                server
            }
        };
        let options = Options { control: true, seed, clock, ..Options::default() };
        let running = Server::start(options, world).await?;
        let far = Far { kind, running, upstream };
        if kind == Kind::Caldav {
            far.own("calendar", json!({ "calendar": CHOIR }))?;
        }
        Ok(far)
    }

    /// Returns its address, without a slash at the end.
    pub(super) fn url(&self) -> &str {
        self.running.url().trim_end_matches('/')
    }

    /// Returns the options that lead a server to it. Its address may be called because it is set here: the guard of
    /// private addresses stays as it is for all others.
    pub(super) fn settings(&self) -> Vec<(String, String)> {
        let at = self.url();
        let of = |provider: &str, pairs: &[(&str, String)]| -> Vec<(String, String)> {
            pairs.iter().map(|(key, value)| (format!("providers.{provider}.{key}"), value.clone())).collect()
        };
        let client = [("client_id", "kalends-demo".to_owned()), ("client_secret", DEMO.to_owned())];
        match self.kind {
            Kind::Google => [
                of("google", &client),
                of(
                    "google",
                    &[
                        ("api_base", format!("{at}/")),
                        ("auth_url", format!("{at}/o/oauth2/v2/auth")),
                        ("token_url", format!("{at}/token")),
                        ("revoke_url", format!("{at}/revoke")),
                    ],
                ),
            ]
            .concat(),
            Kind::Outlook => [
                of("outlook", &client),
                of(
                    "outlook",
                    &[
                        ("api_base", format!("{at}/v1.0")),
                        ("auth_url", format!("{at}/common/oauth2/v2.0/authorize")),
                        ("token_url", format!("{at}/common/oauth2/v2.0/token")),
                    ],
                ),
            ]
            .concat(),
            Kind::Caldav => of("icloud", &[("url", format!("{at}/"))]),
            Kind::Cozi => of("cozi", &[("api_base", format!("{at}/"))]),
        }
    }

    /// Somebody there makes an event. Returns its id.
    pub(super) fn make(&self, plan: &Plan) -> Result<String, String> {
        let calendar = self.kind.calendar().to_owned();
        let made = self.running.act(&Act::CreateElsewhere { calendar, object: self.written(plan) })?;
        super::caller::text(&made, "/id")
    }

    /// Somebody there changes it to this.
    pub(super) fn change(&self, id: &str, plan: &Plan) -> Result<(), String> {
        let (calendar, id) = (self.kind.calendar().to_owned(), id.to_owned());
        self.running.act(&Act::EditElsewhere { calendar, id, patch: self.written(plan) }).map(drop)
    }

    /// Somebody there removes it.
    pub(super) fn remove(&self, id: &str) -> Result<(), String> {
        let (calendar, id) = (self.kind.calendar().to_owned(), id.to_owned());
        self.running.act(&Act::DeleteElsewhere { calendar, id }).map(drop)
    }

    /// Has it do what only this one knows.
    pub(super) fn own(&self, name: &str, with: Value) -> Result<Value, String> {
        self.running.act(&Act::Own { name: name.to_owned(), with })
    }

    /// Somebody with a calendar program stores a text on the CalDAV server.
    pub(super) fn store(&self, name: &str, text: &str) -> Result<(), String> {
        let object = json!({ "name": name, "text": text });
        self.running.act(&Act::CreateElsewhere { calendar: self.kind.calendar().into(), object }).map(drop)
    }

    /// Returns seconds since 1970 by its clock.
    pub(super) fn now(&self) -> i64 {
        self.running.clock().seconds()
    }

    /// Forgets what nobody asks for any more.
    pub(super) async fn forget(&self) -> Result<(), String> {
        self.running.log().keep(REMEMBERED);
        if matches!(self.kind, Kind::Google | Kind::Outlook) {
            self.own("forget", json!({ "changes": REMEMBERED }))?;
        }
        match &self.upstream {
            Some(upstream) => upstream.forget().await,
            None => Ok(()),
        }
    }

    /// Ends it.
    pub(super) async fn stop(self) {
        self.running.stop().await;
    }

    /// Writes an event as this far side takes it.
    fn written(&self, plan: &Plan) -> Value {
        let end = Civil(plan.start.0 + plan.minutes * 60);
        match self.kind {
            Kind::Google => {
                let moment = |at: Civil| json!({ "dateTime": instant(at), "timeZone": ZONE });
                json!({ "summary": plan.title, "location": plan.place, "start": moment(plan.start),
                    "end": moment(end) })
            }
            Kind::Outlook => {
                let moment =
                    |at: Civil| json!({ "dateTime": dashed(at), "timeZone": "W. Europe Standard Time" });
                json!({ "subject": plan.title, "location": { "displayName": plan.place },
                    "start": moment(plan.start), "end": moment(end) })
            }
            Kind::Caldav => {
                let at = |name: &str, at: Civil| format!("{name};TZID={ZONE}:{}", at.to_basic());
                let stamp = Civil(self.now()).to_basic();
                let event = lines(&[
                    "BEGIN:VEVENT".into(),
                    format!("UID:{}", plan.name),
                    format!("DTSTAMP:{stamp}Z"),
                    at("DTSTART", plan.start),
                    at("DTEND", end),
                    format!("SUMMARY:{}", escape(&plan.title)),
                    format!("LOCATION:{}", escape(&plan.place)),
                    "END:VEVENT".into(),
                ]);
                json!({ "name": format!("{}.ics", plan.name), "text": object(&event, plan.start) })
            }
            Kind::Cozi => {
                let clock = |at: Civil| dashed(at).get(11..16).unwrap_or_default().to_owned();
                json!({ "startDay": dashed(plan.start).get(..10), "details": {
                    "subject": plan.title, "location": plan.place, "dateSpan": 0,
                    "startTime": clock(plan.start), "endTime": clock(end) } })
            }
        }
    }
}

/// Returns `YYYY-MM-DDTHH:MM:SS`.
pub(super) fn dashed(at: Civil) -> String {
    let ((year, month, day), (hour, minute, second)) = (at.date(), at.time());
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}")
}

/// Returns the moment of a wall-clock time in [`ZONE`], in UTC as RFC 3339 writes it.
pub(super) fn instant(at: Civil) -> String {
    let moment = by_tzid(ZONE).map_or(at.0, |zone| zone.to_instant(at));
    format!("{}Z", dashed(Civil(moment)))
}

/// Returns the day (days since 1970) that it is in [`ZONE`] at that second.
pub(super) fn today(seconds: i64) -> i64 {
    by_tzid(ZONE).map_or(Civil(seconds), |zone| zone.to_civil(seconds)).0.div_euclid(DAY)
}

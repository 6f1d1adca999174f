//! Outlook as Microsoft Graph v1.0 shows it, and the sign-in before it.
//!
//! Owns: the mailbox, the calls and their strictness, what tests may do behind everybody's back.
//! Does not own: what every simulator has (`sim`), any part of the bridge.
//!
//! Strict where Graph is said to be, and where it would let a mistake pass: fields that no type has, read-only fields and
//! unknown parameters are refused with 400.

mod batch;
mod body;
mod calls;
mod delta;
mod event;
mod fail;
mod ids;
mod life;
mod limits;
mod mailbox;
mod prefer;
mod query;
mod recur;
mod schema;
mod signin;
mod subscribe;
mod times;
mod view;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use serde::Deserialize;
use serde_json::{Map, Value, json};

use self::calls::Outcome;
use self::fail::Fail;
use self::ids::{Form, Id};
use self::limits::Limits;
use self::mailbox::{DEFAULT, Mailbox};
use self::view::Owner;
use super::{Act, Answer, Answering, Dice, Request, Scene, World};

/// What differs between mailboxes, or is not known for sure of Graph.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Habits {
    /// Bodies become whole HTML pages.
    wrap: bool,
    /// Seconds are dropped from times.
    minutes: bool,
    /// White space around a subject is dropped.
    trim: bool,
    /// The zone that an event was written with is not told.
    custom_zone: bool,
    /// The same POST with the same transaction id is answered with the first event; else with 409.
    replay: bool,
    /// Occurrences in a delta say only when they are.
    sparse: bool,
    /// Series as a whole stand in a delta beside their occurrences.
    masters: bool,
    /// Events outside the window that change are told as removed.
    outside: bool,
    /// A round of a delta begins with an empty page.
    empty_pages: bool,
}

impl Default for Habits {
    fn default() -> Habits {
        Habits {
            wrap: true,
            minutes: false,
            trim: false,
            custom_zone: false,
            replay: true,
            sparse: true,
            masters: true,
            outside: true,
            empty_pages: false,
        }
    }
}

#[derive(Debug)]
struct Inside {
    mailbox: Mailbox,
    habits: Habits,
    rounds: delta::Rounds,
    subscriptions: subscribe::Subscriptions,
    door: signin::Door,
    limits: Limits,
    owner: Owner,
    zone: String,
}

/// A mailbox with calendars.
#[derive(Debug)]
pub struct Outlook {
    inside: Mutex<Inside>,
}

impl Outlook {
    /// Returns a mailbox of this address with one calendar and nothing in it.
    pub fn new(address: &str) -> Outlook {
        let name = address.split('@').next().unwrap_or(address).to_owned();
        let owner =
            Owner { address: address.to_owned(), name, id: "48d31887-5fad-4d73-a9f5-3c356e68a038".into() };
        let inside = Inside {
            mailbox: Mailbox::new(),
            habits: Habits::default(),
            rounds: delta::Rounds::default(),
            subscriptions: subscribe::Subscriptions::default(),
            door: signin::Door::default(),
            limits: Limits::default(),
            owner,
            zone: "W. Europe Standard Time".into(),
        };
        Outlook { inside: Mutex::new(inside) }
    }

    /// Accepts this access token for ever.
    #[must_use]
    pub fn with_token(self, token: &str) -> Outlook {
        self.inside().door.accept(token);
        self
    }

    /// Knows only this client.
    #[must_use]
    pub fn with_client(self, id: &str, secret: &str) -> Outlook {
        self.inside().door.client = Some((id.to_owned(), secret.to_owned()));
        self
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the id of the default calendar.
    pub fn calendar(&self) -> String {
        Id::Calendar(DEFAULT).written(Form::Default)
    }

    /// Adds a calendar and returns its id.
    pub fn add_calendar(&self, name: &str) -> String {
        let key = self.inside().mailbox.add_calendar(name, "auto");
        Id::Calendar(key).written(Form::Default)
    }

    /// Puts so many events into the default calendar, as the seed decides; `now` in milliseconds since 1970.
    pub fn fill(&self, events: usize, seed: u64, now: i64) {
        let dice = Dice::new(seed);
        let Inside { mailbox, habits, .. } = &mut *self.inside();
        for number in 1..=events as u64 {
            let body = life::event(&dice, now.div_euclid(1000), number);
            // What `life` makes is always right.
            let _ = mailbox.create(DEFAULT, body, habits, now);
        }
        mailbox.told.clear();
    }

    /// Lets a calendar be changed, or only be read.
    pub fn writable(&self, calendar: &str, writable: bool) {
        if let (Some(Id::Calendar(key)), mut inside) = (Id::read(calendar), self.inside())
            && let Some(calendar) = inside.mailbox.calendars.get_mut(&key)
        {
            calendar.writable = writable;
        }
    }

    /// Returns what is in a calendar: ids in the immutable form, times in UTC, bodies as text, each series once with
    /// `exceptionOccurrences` and the days of `cancelledOccurrences`, `singleValueExtendedProperties` as an object.
    pub fn events(&self, calendar: &str) -> Vec<Value> {
        let inside = self.inside();
        match Id::read(calendar) {
            Some(Id::Calendar(key)) => calls::all(&inside.mailbox, &inside.owner, &inside.habits, key),
            _ => Vec::new(),
        }
    }

    /// Returns the table of types and enumerations that requests are held against.
    pub fn schema() -> Value {
        schema::table()
    }

    /// Returns how many mails Exchange would have sent to people.
    pub fn mails(&self) -> u32 {
        self.inside().mailbox.mails
    }

    /// Returns how many subscriptions there are.
    pub fn subscriptions(&self, scene: &Scene) -> usize {
        self.inside().subscriptions.count(scene.clock.millis())
    }

    /// Gives out a refresh token as if the person had consented to what a bridge asks for.
    pub fn grant(&self, client: &str, scene: &Scene) -> String {
        self.inside().door.grant(client, scene.clock.seconds(), &scene.dice)
    }

    async fn reply(&self, request: Request, scene: &Scene) -> Answer {
        match self.outcome(&request, scene).await {
            Ok(answer) => {
                let id = fail::uuid(scene.dice.any(), scene.dice.any());
                answer.with("request-id", &id)
            }
            Err(fail) => fail.answer(&request, scene),
        }
    }

    async fn outcome(&self, request: &Request, scene: &Scene) -> Result<Answer, Fail> {
        let now = scene.clock.seconds();
        let Some(path) = request.path.strip_prefix("/v1.0/") else {
            let Inside { door, owner, .. } = &mut *self.inside();
            let answer = door.answer(request, owner, now, &scene.dice);
            return answer.ok_or_else(|| Fail::nowhere(&request.path));
        };
        let is_batch = path == "$batch" || path == "%24batch";
        // As many calls of a batch as the mailbox allows are under way at a time.
        let most = if is_batch { self.inside().limits.together(batch::size(request)) } else { 1 };
        let _further: Vec<_> = (1..most).map(|_| scene.log.begin()).collect();
        let allows = {
            let mut inside = self.inside();
            if !is_batch {
                inside.limits.count(now)?;
            }
            inside.limits.at_once(scene.log.running())?;
            let token = request.bearer().ok_or_else(|| unknown("Access token is empty."))?;
            let allows = inside.door.allows(token, now).map(<[String]>::to_vec);
            allows.ok_or_else(|| unknown("Access token has expired or is not yet valid."))?
        };
        if is_batch {
            if request.method != http::Method::POST {
                return Err(Fail::method());
            }
            return batch::answer(self, request, scene).await;
        }
        let outcome = calls::answer(&mut self.inside(), request, scene, &allows)?;
        match outcome {
            Outcome::Done(answer) => Ok(answer),
            Outcome::Subscribe(wanted) => {
                // The receiver is asked while this call waits; nothing is locked meanwhile.
                wanted.handshake(scene).await?;
                let mut inside = self.inside();
                inside.subscriptions.free(&wanted, scene.clock.millis())?;
                Ok(Answer::json(201, &inside.subscriptions.add(*wanted, scene)))
            }
        }
    }

    fn own(&self, name: &str, with: &Value, scene: &Scene) -> Result<Value, String> {
        let mut inside = self.inside();
        let text = |field: &str| with.get(field).and_then(Value::as_str);
        match name {
            "habits" => {
                let habits = serde_json::from_value(with.clone()).map_err(|error| error.to_string())?;
                inside.habits = habits;
                inside.rounds.forget();
                Ok(json!({}))
            }
            "limits" => {
                inside.limits = serde_json::from_value(with.clone()).map_err(|error| error.to_string())?;
                Ok(json!({}))
            }
            "mails" => Ok(json!(inside.mailbox.mails)),
            "forget" => {
                inside.mailbox.forget(with.get("changes").and_then(Value::as_u64).unwrap_or(0));
                inside.rounds.forget();
                inside.door.forget(scene.clock.seconds());
                Ok(json!({}))
            }
            "schema" => Ok(schema::table()),
            "default_calendar" => Ok(json!(self.calendar())),
            "events" => {
                let calendar = text("calendar").map(str::to_owned).unwrap_or_else(|| self.calendar());
                drop(inside);
                Ok(Value::Array(self.events(&calendar)))
            }
            "remove_calendar" => {
                let key = calendar_key(text("calendar").unwrap_or_default())?;
                inside.mailbox.remove_calendar(key, scene.clock.millis());
                Ok(json!({}))
            }
            "lifecycle" => {
                let event = text("event").unwrap_or_default();
                let told = inside.subscriptions.lifecycle(event, text("subscription"), scene)?;
                Ok(json!(told))
            }
            "deny_consent" => {
                inside.door.denies = true;
                Ok(json!({}))
            }
            "long_scopes" => {
                inside.door.long_scopes = true;
                Ok(json!({}))
            }
            "accept_token" => {
                inside.door.accept(text("token").ok_or("`token` is missing")?);
                Ok(json!({}))
            }
            other => Err(format!(
                "Outlook knows no act `{other}`: forget, habits, limits, mails, schema, default_calendar, events, remove_calendar, \
                 lifecycle, deny_consent, long_scopes, accept_token"
            )),
        }
    }

    fn elsewhere(&self, act: &Act, scene: &Scene) -> Result<Value, String> {
        let now = scene.clock.millis();
        let Inside { mailbox, habits, subscriptions, owner, .. } = &mut *self.inside();
        let told = |fail: Fail| format!("{fail:?}");
        let made = match act {
            Act::CreateElsewhere { calendar, object } => {
                let body: Map<String, Value> = mailbox::elsewhere(object)?;
                let (key, _) = mailbox.create(calendar_key(calendar)?, body, habits, now).map_err(told)?;
                Id::Event(key, None)
            }
            Act::EditElsewhere { id, patch, .. } => {
                let patch = mailbox::elsewhere(patch)?;
                let (key, day) = event_key(id)?;
                mailbox.change((key, day), &patch, None, habits, now).map_err(told)?;
                Id::Event(key, day)
            }
            Act::DeleteElsewhere { id, .. } => {
                let (key, day) = event_key(id)?;
                mailbox.remove((key, day), None, now).map_err(told)?;
                Id::Event(key, day)
            }
            _ => return Err("Outlook cannot do this".into()),
        };
        let changes = std::mem::take(&mut mailbox.told);
        subscriptions.tell(&changes, owner, scene);
        Ok(json!({ "id": made.written(Form::Immutable) }))
    }
}

fn unknown(message: &str) -> Fail {
    Fail::new(401, "InvalidAuthenticationToken", message).with("WWW-Authenticate", "Bearer")
}

fn calendar_key(id: &str) -> Result<u64, String> {
    match Id::read(id) {
        Some(Id::Calendar(key)) => Ok(key),
        // As Graph's own path calls it.
        None if id.is_empty() || id == "calendar" => Ok(DEFAULT),
        _ => Err(format!("there is no calendar `{id}`")),
    }
}

fn event_key(id: &str) -> Result<(u64, Option<i64>), String> {
    match Id::read(id) {
        Some(Id::Event(key, day)) => Ok((key, day)),
        _ => Err(format!("there is no event `{id}`")),
    }
}

impl World for Outlook {
    fn kind(&self) -> &'static str {
        "outlook"
    }

    fn answer<'a>(&'a self, request: Request, scene: &'a Scene) -> Answering<'a> {
        Box::pin(async move {
            let answer = self.reply(request, scene).await;
            let now = u64::try_from(scene.clock.seconds()).unwrap_or(0);
            let date = SystemTime::UNIX_EPOCH + Duration::from_secs(now);
            answer.with("Date", &httpdate::fmt_http_date(date))
        })
    }

    fn act(&self, act: &Act, scene: &Scene) -> Result<Value, String> {
        let mut inside = match act {
            Act::Own { name, with } => return self.own(name, with, scene),
            Act::CreateElsewhere { .. } | Act::EditElsewhere { .. } | Act::DeleteElsewhere { .. } => {
                return self.elsewhere(act, scene);
            }
            _ => self.inside(),
        };
        match act {
            Act::ExpireCursor => inside.rounds.epoch += 1,
            Act::ExpireAccess => inside.door.expire(),
            Act::RotateRefreshToken => inside.door.rotate = true,
            Act::RevokeGrant => inside.door.revoke(),
            Act::Quota { per_minute } => inside.limits.quota(*per_minute),
            Act::Normalise { field, how } => {
                let on = how != "none";
                match field.as_str() {
                    "body" => inside.habits.wrap = on,
                    "times" => inside.habits.minutes = on,
                    "subject" => inside.habits.trim = on,
                    "zone" => inside.habits.custom_zone = on,
                    other => {
                        return Err(format!("Outlook rewrites body, times, subject or zone, not `{other}`"));
                    }
                }
            }
            _ => return Err("Outlook cannot do this".into()),
        }
        Ok(json!({}))
    }

    fn throttled(&self, retry_after: Option<u64>) -> Answer {
        Fail::throttled(429, "TooManyRequests", retry_after).bare()
    }
}

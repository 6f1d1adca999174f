//! Google Calendar (API v3), simulated: sign-in, calendars, events, push channels, batches.
//!
//! Owns: one account and its calendars; which call does what. Does not own: the server, faults, the clock (`sim`).
//!
//! What it knows, what it does not, and where it is stricter than the real service: `docs/simulators.md`.

mod batch;
mod calendars;
mod calls;
mod life;
mod oauth;
mod push;
mod read;
mod refusal;
mod schema;
mod series;
mod shape;
mod state;
mod time;
mod types;
mod write;

use std::sync::{Mutex, PoisonError};

use http::Method;
use serde_json::{Value, json};

use self::oauth::Consent;
use self::refusal::{Outcome, Refusal};
use self::schema::{Asked, asked, check_body, check_query, select};
use self::state::{Fields, State};
use self::write::Manner;
use super::{Act, Answer, Answering, Dice, Request, Scene, World};

pub use oauth::Tokens;

/// A patch costs as much of the quota as three other calls.
const PATCH_COST: usize = 3;
/// Milliseconds within which calls count together.
const MINUTE: i64 = 60_000;

/// A Google account. Its person is `anna@example.com`.
#[derive(Debug)]
pub struct Google {
    state: Mutex<State>,
}

impl Default for Google {
    fn default() -> Google {
        Google::new()
    }
}

impl Google {
    /// Returns an account with a main calendar, one that is shared, and holidays that are only read; all empty.
    pub fn new() -> Google {
        let mut state = State::default();
        life::furnish(&mut state);
        Google { state: Mutex::new(state) }
    }

    /// Fills the main calendar with events around a moment (in milliseconds since 1970).
    pub fn fill(&self, events: usize, seed: u64, now: i64) {
        let dice = Dice::new(seed);
        self.with(|state| {
            for number in 1..=events as u64 {
                let fields = life::event(&dice, now.div_euclid(1000), number);
                let manner = Manner { now, ..Manner::default() };
                // What `life` makes is always right.
                let _ = state.insert("primary", fields, &manner);
            }
        });
    }

    /// Lets a client in, as if the person had just consented to these scopes (whole, or without what they begin with).
    pub fn grant(&self, client: &str, scopes: &str, now: i64) -> Tokens {
        self.with(|state| state.door.grant(client, oauth::scopes(scopes), now.div_euclid(1000)))
    }

    /// Returns how many writes named guests, and how many of them sent mail.
    pub fn guests_and_mails(&self) -> (u32, u32) {
        self.with(|state| (state.guests, state.mails))
    }

    /// Returns how many push channels are open.
    pub fn open_channels(&self, now: i64) -> usize {
        self.with(|state| state.open_channels(now))
    }

    /// Returns the events of a calendar as they are kept, deleted ones left out.
    pub fn events(&self, calendar: &str) -> Vec<Value> {
        self.with(|state| {
            state.calendar(calendar).map_or_else(
                |_| Vec::new(),
                |calendar| {
                    let live = calendar.events.values().filter(|kept| !kept.cancelled());
                    live.map(|kept| Value::Object(kept.fields.clone())).collect()
                },
            )
        })
    }

    fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Sends what has to be told.
    fn deliver(&self, scene: &Scene) {
        for notice in self.with(|state| std::mem::take(&mut state.notices)) {
            scene.post.send(notice);
        }
    }

    fn whole(&self, mut request: Request, scene: &Scene) -> Answer {
        oauth::overridden(&mut request);
        let now = scene.clock.millis();
        let answer = self.with(|state| match state.door.answer(&request, now.div_euclid(1000)) {
            Some(answer) => answer,
            None => state.answer(&request, now).unwrap_or_else(|refusal| refusal.answer()),
        });
        self.deliver(scene);
        answer
    }
}

impl World for Google {
    fn kind(&self) -> &'static str {
        "google"
    }

    fn answer<'a>(&'a self, request: Request, scene: &'a Scene) -> Answering<'a> {
        Box::pin(async move {
            let batch = matches!(request.path.as_str(), "/batch/calendar/v3" | "/batch");
            if batch && request.method == Method::POST {
                batch::answer(self, &request, scene).await
            } else {
                self.whole(request, scene)
            }
        })
    }

    fn act(&self, act: &Act, scene: &Scene) -> Result<Value, String> {
        let now = scene.clock.millis();
        let done = self.with(|state| state.act(act, now, &scene.dice));
        self.deliver(scene);
        done
    }

    fn throttled(&self, retry_after: Option<u64>) -> Answer {
        match retry_after {
            Some(seconds) => Refusal::rate().answer().with("retry-after", &seconds.to_string()),
            None => Refusal::user_rate().answer(),
        }
    }
}

/// Returns a named segment of the path.
fn at(asked: &Asked, index: usize) -> &str {
    asked.path.get(index).map_or("", String::as_str)
}

impl State {
    /// Answers a call of the API.
    fn answer(&mut self, request: &Request, now: i64) -> Outcome<Answer> {
        let token = request.bearer().or_else(|| request.parameter("oauth_token"));
        let token = token.ok_or_else(Refusal::sign_in)?.to_owned();
        let scopes = self.door.scopes(&token, now.div_euclid(1000)).ok_or_else(Refusal::credentials)?;
        let asked = asked(&request.method, &request.path)?;
        if !asked.call.scopes.iter().any(|scope| scopes.iter().any(|granted| granted == scope)) {
            return Err(Refusal::scopes());
        }
        self.count(asked.call.id, now)?;
        check_query(asked.call, request)?;
        let body = match asked.call.body {
            Some(kind) => check_body(kind, &request.body)?,
            None if request.body.is_empty() || request.body.as_ref() == b"{}" => Fields::new(),
            None => return Err(Refusal::new(400, "badRequest", "This call takes no body.")),
        };
        self.carry_out(&asked, body, request, now)
    }

    fn count(&mut self, call: &str, now: i64) -> Outcome<()> {
        let Some(most) = self.quota else { return Ok(()) };
        self.calls.retain(|at| *at > now - MINUTE);
        let cost = if call == "events.patch" { PATCH_COST } else { 1 };
        if self.calls.len() + cost > most as usize {
            return Err(Refusal::user_rate());
        }
        self.calls.extend(std::iter::repeat_n(now, cost));
        Ok(())
    }

    fn carry_out(&mut self, asked: &Asked, body: Fields, request: &Request, now: i64) -> Outcome<Answer> {
        let (calendar, id) = (at(asked, 0), at(asked, 1));
        let is = |name: &str, value: &str| request.parameter(name) == Some(value);
        let manner = Manner {
            matching: request.header("if-match").map(str::to_owned),
            conferences: is("conferenceDataVersion", "1"),
            attachments: is("supportsAttachments", "true"),
            labels: is("eventLabelVersion", "1"),
            mails: is("sendUpdates", "all")
                || is("sendUpdates", "externalOnly")
                || is("sendNotifications", "true"),
            now,
        };
        match asked.call.id {
            "events.list" => shown(&self.list(calendar, request, now)?, request),
            "events.get" => shown(&self.get(calendar, id, request)?, request),
            "events.instances" => shown(&self.instances(calendar, id, request, now)?, request),
            "events.insert" => {
                let id = self.insert(calendar, body, &manner)?;
                self.written(calendar, &id, request, now)
            }
            "events.import" => {
                let id = self.import(calendar, body, &manner)?;
                self.written(calendar, &id, request, now)
            }
            "events.update" => {
                self.update(calendar, id, body, &manner)?;
                self.written(calendar, id, request, now)
            }
            "events.patch" => {
                self.patch(calendar, id, body, &manner)?;
                self.written(calendar, id, request, now)
            }
            "events.delete" => {
                self.delete(calendar, id, &manner)?;
                self.told(calendar, now);
                Ok(Answer::empty(204).wrote(1))
            }
            "events.move" => {
                let to = request.parameter("destination").unwrap_or_default();
                self.move_to(calendar, id, to, &manner)?;
                self.told(calendar, now);
                self.written(to, id, request, now)
            }
            "events.watch" => shown(&self.watch(calendar, &body, &request.origin(), now)?, request),
            "channels.stop" => {
                self.stop(&body, now)?;
                Ok(Answer::empty(204))
            }
            "calendarList.list" => shown(&self.calendar_list(request)?, request),
            "calendarList.get" => shown(&self.calendar_entry(calendar)?, request),
            "calendarList.insert" => {
                shown(&self.list_calendar(&body)?, request).map(|answer| answer.wrote(1))
            }
            "calendarList.patch" => {
                let answer = self.patch_entry(calendar, body, is("colorRgbFormat", "true"))?;
                shown(&answer, request).map(|answer| answer.wrote(1))
            }
            "calendars.get" => shown(&self.calendar_resource(calendar)?, request),
            "calendars.insert" => shown(&self.insert_calendar(body)?, request).map(|answer| answer.wrote(1)),
            "calendars.patch" | "calendars.update" => {
                shown(&self.patch_calendar(calendar, body)?, request).map(|answer| answer.wrote(1))
            }
            "calendarList.delete" | "calendars.delete" => {
                self.remove_calendar(calendar)?;
                Ok(Answer::empty(204).wrote(1))
            }
            "calendars.clear" => {
                self.clear_calendar(calendar, now)?;
                self.told(calendar, now);
                Ok(Answer::empty(204).wrote(1))
            }
            "colors.get" => shown(&calendars::colors(), request),
            "freebusy.query" => shown(&self.free_busy(&body)?, request),
            _ => Err(Refusal::not_found()),
        }
    }

    fn told(&mut self, calendar: &str, now: i64) {
        let calendar = self.calendar_id(calendar);
        self.tell(&calendar, now);
    }

    /// Answers a write with what came of it.
    fn written(&mut self, calendar: &str, id: &str, request: &Request, now: i64) -> Outcome<Answer> {
        self.told(calendar, now);
        let event = self.show(calendar, id, request)?;
        shown(&event, request).map(|answer| answer.wrote(1))
    }

    /// Does something that no request asked for.
    fn act(&mut self, act: &Act, now: i64, dice: &Dice) -> Result<Value, String> {
        let manner = Manner { now, ..Manner::default() };
        let sentence = |refusal: Refusal| String::from_utf8_lossy(&refusal.answer().body).into_owned();
        let fields = |value: &Value| -> Result<Fields, String> {
            check_body("Event", value.to_string().as_bytes()).map_err(sentence)
        };
        match act {
            Act::ExpireCursor => self.generation += 1,
            Act::ExpireAccess => self.door.expire_all(),
            Act::RotateRefreshToken => self.door.rotate = true,
            Act::RevokeGrant => self.door.revoke_all(),
            Act::CreateElsewhere { calendar, object } => {
                let id = self.insert(calendar, fields(object)?, &manner).map_err(sentence)?;
                self.told(calendar, now);
                return Ok(json!({ "id": id }));
            }
            Act::EditElsewhere { calendar, id, patch } => {
                self.patch(calendar, id, fields(patch)?, &manner).map_err(sentence)?;
                self.told(calendar, now);
            }
            Act::DeleteElsewhere { calendar, id } => {
                self.delete(calendar, id, &manner).map_err(sentence)?;
                self.told(calendar, now);
            }
            Act::Normalise { field, how } if how == "none" => drop(self.manners.remove(field)),
            Act::Normalise { field, how } => drop(self.manners.insert(field.clone(), how.clone())),
            Act::Quota { per_minute } => {
                self.quota = *per_minute;
                self.calls.clear();
            }
            Act::Own { name, with } => return self.own_act(name, with, now, dice),
            Act::Webhook(_) | Act::Clock { .. } => {
                return Err("the simulator's server does that itself".into());
            }
        }
        Ok(json!({}))
    }

    fn own_act(&mut self, name: &str, with: &Value, now: i64, dice: &Dice) -> Result<Value, String> {
        let text = |key: &str| with.get(key).and_then(Value::as_str);
        match name {
            "consent" => {
                self.door.consent = match text("answer") {
                    Some("page") => Consent::Page,
                    Some("no") => Consent::Denied,
                    Some("yes") | None => Consent::AtOnce,
                    Some(other) => return Err(format!("`{other}` is no answer: yes, no, page")),
                };
                self.door.ticked = text("scopes").map(oauth::scopes);
            }
            "client" => {
                let id = text("id").ok_or("a client needs an `id`")?;
                self.door.client = Some((id.into(), text("secret").unwrap_or_default().into()));
            }
            "grant" => {
                let scopes = oauth::scopes(text("scopes").unwrap_or("calendar userinfo.email"));
                let tokens =
                    self.door.grant(text("client").unwrap_or("client"), scopes, now.div_euclid(1000));
                return Ok(json!({ "access_token": tokens.access, "refresh_token": tokens.refresh }));
            }
            "calendar" => {
                let id = text("id").ok_or("a calendar needs an `id`")?.to_owned();
                let silent = with.get("silent") == Some(&json!(true));
                let mut entry = with.as_object().cloned().unwrap_or_default();
                entry.remove("silent");
                self.add_calendar(&id, entry);
                if let Some(calendar) = self.calendars.get_mut(&id) {
                    calendar.silent = silent;
                }
            }
            "happen" => {
                let calendar = text("calendar").unwrap_or("primary").to_owned();
                let told = life::happen(self, &calendar, dice, now)?;
                self.told(&calendar, now);
                return Ok(told);
            }
            "forget" => self.forget(with.get("changes").and_then(Value::as_u64).unwrap_or(0), now),
            "schema" => return Ok(schema::table()),
            "guests" => return Ok(json!({ "writes": self.guests, "mails": self.mails })),
            "channels" => return Ok(json!({ "open": self.open_channels(now) })),
            _ => {
                return Err(format!(
                    "`{name}` is nothing that this simulator knows: calendar, channels, client, consent, forget, grant, guests, happen, schema"
                ));
            }
        }
        Ok(json!({}))
    }
}

/// Answers with what was asked for: a part of it, or nothing if the caller has it already.
fn shown(value: &Value, request: &Request) -> Outcome<Answer> {
    let etag = value.get("etag").and_then(Value::as_str).map(str::to_owned);
    let read = request.method == Method::GET;
    if read && etag.is_some() && request.header("if-none-match") == etag.as_deref() {
        return Ok(Answer::empty(304).with("etag", etag.as_deref().unwrap_or_default()));
    }
    let answer = match request.parameter("fields") {
        Some(fields) => Answer::json(200, &select(value, fields)),
        None => Answer::json(200, value),
    };
    Ok(match etag {
        Some(etag) => answer.with("etag", &etag),
        None => answer,
    })
}

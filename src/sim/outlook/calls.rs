//! Which call means what.
//!
//! Owns: the paths below `/v1.0`, what each needs and answers. Does not own: the mailbox, queries, deltas.

use http::Method;
use serde_json::{Value, json};

use super::delta::window;
use super::fail::Fail;
use super::ids::{Form, Id};
use super::mailbox::{self, DEFAULT, Mailbox, Row};
use super::prefer::Prefer;
use super::query::{Query, link};
use super::subscribe::{self, Subscription};
use super::view::{Owner, Show, set};
use super::{Habits, Inside, event, times};
use crate::sim::{Answer, Request, Scene};

/// What a call comes to.
pub(super) enum Outcome {
    /// An answer.
    Done(Answer),
    /// A subscription, if its receiver agrees.
    Subscribe(Box<Subscription>),
}

/// One call at the mailbox.
struct Desk<'a> {
    inside: &'a mut Inside,
    request: &'a Request,
    scene: &'a Scene,
    prefer: Prefer,
    /// The moment that is read.
    seq: u64,
}

const VIEW: &[&str] = &["select", "expand", "filter", "orderby", "top", "skip", "count"];
const WINDOW: &[&str] = &["startDateTime", "endDateTime"];

/// Answers a call whose caller may do what `allows` names.
pub(super) fn answer(
    inside: &mut Inside,
    request: &Request,
    scene: &Scene,
    allows: &[String],
) -> Result<Outcome, Fail> {
    let prefer = Prefer::read(request)?;
    let seq = inside.mailbox.seq;
    let seq = if request.stale { seq.saturating_sub(1) } else { seq };
    let segments = request.segments();
    let path: Vec<&str> = segments.iter().skip(1).map(String::as_str).collect();
    let may = |scope: &str| {
        let good = allows.iter().any(|own| own == scope || own.strip_suffix("write") == Some(scope));
        let denied =
            Fail::new(403, "ErrorAccessDenied", "Access is denied. Check credentials and try again.");
        if good { Ok(()) } else { Err(denied) }
    };
    if let ["subscriptions", rest @ ..] = path.as_slice() {
        may("calendars.read")?;
        return subscriptions(inside, request, scene, &prefer, rest);
    }
    let rest = match path.as_slice() {
        ["me", rest @ ..] => rest,
        ["users", who, rest @ ..] if *who == inside.owner.id || *who == inside.owner.address => rest,
        ["users", who, ..] => {
            let message = format!(
                "Resource '{who}' does not exist or one of its queried reference-property objects are not present."
            );
            return Err(Fail::new(404, "Request_ResourceNotFound", message));
        }
        [first, ..] => return Err(Fail::nowhere(first)),
        [] => return Err(Fail::nowhere("")),
    };
    match rest {
        [] | ["revokeSignInSessions"] => may("user.read")?,
        ["mailboxSettings"] => may("mailboxsettings.read")?,
        _ if request.method == Method::GET => may("calendars.read")?,
        _ => may("calendars.readwrite")?,
    }
    let mut desk = Desk { inside, request, scene, prefer, seq };
    let answer = desk.route(rest)?;
    let told = std::mem::take(&mut desk.inside.mailbox.told);
    desk.inside.subscriptions.tell(&told, &desk.inside.owner, scene);
    Ok(Outcome::Done(desk.prefer.told(answer)))
}

fn subscriptions(
    inside: &mut Inside,
    request: &Request,
    scene: &Scene,
    prefer: &Prefer,
    rest: &[&str],
) -> Result<Outcome, Fail> {
    let now = scene.clock.millis();
    Query::read(request, &[], &[], "subscription")?;
    if rest.is_empty() && request.method == Method::POST {
        let wanted = subscribe::read(request, &inside.mailbox, prefer.form, now)?;
        inside.subscriptions.free(&wanted, now)?;
        return Ok(Outcome::Subscribe(Box::new(wanted)));
    }
    let (id, more) = (rest.first().copied(), rest.get(1).copied());
    let (status, body) = inside.subscriptions.answer(request, id, more, now)?;
    Ok(Outcome::Done(if status == 204 { Answer::empty(204) } else { Answer::json(status, &body) }))
}

impl Desk<'_> {
    fn route(&mut self, rest: &[&str]) -> Result<Answer, Fail> {
        let get = self.request.method == Method::GET;
        match rest {
            [] if get => Ok(Answer::json(200, &self.person())),
            ["revokeSignInSessions"] if self.request.method == Method::POST => {
                self.inside.door.revoke();
                Ok(Answer::json(200, &json!({ "value": true })))
            }
            ["mailboxSettings"] if get => Ok(Answer::json(
                200,
                &json!({ "timeZone": self.inside.zone, "language": { "locale": "en-US", "displayName": "English (United States)" } }),
            )),
            ["translateExchangeIds"] if self.request.method == Method::POST => self.translate(),
            ["calendars"] => self.calendars(),
            ["calendars", id] => self.calendar(self.calendar_key(id)?),
            ["calendar"] => self.calendar(DEFAULT),
            ["calendars", id, rest @ ..] => {
                let key = self.calendar_key(id)?;
                self.inside_of(Some(key), rest)
            }
            ["calendar", rest @ ..] => self.inside_of(Some(DEFAULT), rest),
            ["events" | "calendarView", ..] => self.inside_of(None, rest),
            [first, ..] => Err(Fail::nowhere(first)),
            [] => Err(Fail::method()),
        }
    }

    fn person(&self) -> Value {
        let Owner { address, name, id } = &self.inside.owner;
        json!({
            "@odata.context": format!("{}/v1.0/$metadata#users/$entity", self.request.origin()),
            "id": id, "displayName": name, "mail": address, "userPrincipalName": address,
        })
    }

    fn calendar_key(&self, id: &str) -> Result<u64, Fail> {
        match Id::read(id) {
            Some(Id::Calendar(key)) if self.inside.mailbox.calendars.contains_key(&key) => Ok(key),
            Some(_) => Err(Fail::missing()),
            None => Err(malformed()),
        }
    }

    fn query(&self, allowed: &[&str], plain: &[&str], kind: &str) -> Result<Query, Fail> {
        Query::read(self.request, allowed, plain, kind)
    }

    fn show<'b>(&'b self, query: &'b Query) -> Show<'b> {
        Show { owner: &self.inside.owner, prefer: &self.prefer, query, habits: &self.inside.habits }
    }

    fn context(&self, what: &str) -> Value {
        json!(format!("{}/v1.0/$metadata#users('{}')/{what}", self.request.origin(), self.inside.owner.id))
    }

    fn calendars(&mut self) -> Result<Answer, Fail> {
        match self.request.method {
            Method::GET => {
                let query = self.query(&["select", "top", "skip", "count"], &[], "calendar")?;
                let all = self.inside.mailbox.calendars.iter();
                let rows: Vec<Value> =
                    all.map(|(key, calendar)| self.show(&query).calendar(*key, calendar)).collect();
                Ok(self.page(&query, rows.len(), |from, to| {
                    rows.iter().skip(from).take(to - from).cloned().collect()
                }))
            }
            Method::POST => {
                let body = mailbox::calendar_body(self.request.json())?;
                let text = |field: &str| body.get(field).and_then(Value::as_str);
                let name = text("name").filter(|name| !name.is_empty());
                let name = name.ok_or_else(|| Fail::invalid("The property 'name' is required."))?;
                if self.inside.mailbox.calendars.values().any(|own| own.name == name) {
                    return Err(Fail::new(
                        409,
                        "ErrorFolderExists",
                        "A folder with the specified name already exists.",
                    ));
                }
                let key = self.inside.mailbox.add_calendar(name, text("color").unwrap_or("auto"));
                let answer = self.calendar_shown(key, 201)?;
                Ok(answer.wrote(1))
            }
            _ => Err(Fail::method()),
        }
    }

    fn calendar_shown(&self, key: u64, status: u16) -> Result<Answer, Fail> {
        let query = self.query(&["select"], &[], "calendar")?;
        let calendar = self.inside.mailbox.calendars.get(&key).ok_or_else(Fail::missing)?;
        let mut shown = self.show(&query).calendar(key, calendar);
        set(&mut shown, "@odata.context", self.context("calendars/$entity"));
        Ok(Answer::json(status, &shown))
    }

    fn calendar(&mut self, key: u64) -> Result<Answer, Fail> {
        match self.request.method {
            Method::GET => self.calendar_shown(key, 200),
            Method::PATCH => {
                let body = mailbox::calendar_body(self.request.json())?;
                self.inside.mailbox.seq += 1;
                let seq = self.inside.mailbox.seq;
                let calendar = self.inside.mailbox.calendars.get_mut(&key).ok_or_else(Fail::missing)?;
                let text = |field: &str| body.get(field).and_then(Value::as_str).map(str::to_owned);
                calendar.name = text("name").unwrap_or(std::mem::take(&mut calendar.name));
                calendar.color = text("color").unwrap_or(std::mem::take(&mut calendar.color));
                calendar.hex = text("hexColor").unwrap_or(std::mem::take(&mut calendar.hex));
                calendar.seq = seq;
                Ok(self.calendar_shown(key, 200)?.wrote(1))
            }
            Method::DELETE if key == DEFAULT => {
                let message = "Distinguished folders cannot be deleted.";
                Err(Fail::new(400, "ErrorDeleteDistinguishedFolder", message))
            }
            Method::DELETE => {
                self.inside.mailbox.remove_calendar(key, self.scene.clock.millis());
                Ok(Answer::empty(204).wrote(1))
            }
            _ => Err(Fail::method()),
        }
    }

    /// `calendar`: nothing where events of all calendars are reached by their ids.
    fn inside_of(&mut self, calendar: Option<u64>, rest: &[&str]) -> Result<Answer, Fail> {
        let key = calendar.unwrap_or(DEFAULT);
        let get = self.request.method == Method::GET;
        match rest {
            ["events"] if get => self.events(key),
            ["events"] if self.request.method == Method::POST => self.create(key),
            ["calendarView"] if get => self.view(key),
            ["calendarView", delta] if get && is_delta(delta) => self.delta(key),
            ["events", delta] if is_delta(delta) => {
                let message = "Change tracking is not supported against 'microsoft.graph.event'.";
                Err(Fail::new(400, "ErrorInvalidUrlQuery", message))
            }
            ["events", id, rest @ ..] => {
                let id = match Id::read(id) {
                    Some(Id::Event(key, day)) => (key, day),
                    Some(Id::Calendar(_)) => return Err(Fail::missing()),
                    None => return Err(malformed()),
                };
                let there = self.inside.mailbox.row(id.0, id.1, self.seq)?.item.calendar;
                if calendar.is_some_and(|calendar| calendar != there) {
                    return Err(Fail::missing());
                }
                self.event(id, rest)
            }
            [] | ["events" | "calendarView"] => Err(Fail::method()),
            [first, ..] => Err(Fail::nowhere(first)),
        }
    }

    fn event(&mut self, (key, day): (u64, Option<i64>), rest: &[&str]) -> Result<Answer, Fail> {
        let now = self.scene.clock.millis();
        let condition = self.request.header("if-match").map(str::to_owned);
        match (&self.request.method, rest) {
            (&Method::GET, []) => self.event_shown((key, day), 200),
            (&Method::PATCH, []) => {
                let patch = event::read(self.request.json())?;
                let Inside { mailbox, habits, .. } = &mut *self.inside;
                mailbox.change((key, day), &patch, condition.as_deref(), habits, now)?;
                self.seq = self.inside.mailbox.seq;
                Ok(self.event_shown((key, day), 200)?.wrote(1))
            }
            (&Method::DELETE, []) | (&Method::POST, ["permanentDelete"]) => {
                self.query(&[], &[], "event")?;
                self.inside.mailbox.remove((key, day), condition.as_deref(), now)?;
                Ok(Answer::empty(204).wrote(1))
            }
            (&Method::POST, ["cancel"]) => {
                self.inside.mailbox.mails += 1;
                self.inside.mailbox.remove((key, day), condition.as_deref(), now)?;
                Ok(Answer::empty(202).wrote(1))
            }
            (&Method::POST, ["accept" | "decline" | "tentativelyAccept" | "forward"]) => {
                self.inside.mailbox.mails += 1;
                Ok(Answer::empty(202))
            }
            (&Method::GET, ["instances"]) => self.instances(key),
            (_, [] | ["instances"]) => Err(Fail::method()),
            (_, [first, ..]) => Err(Fail::nowhere(first)),
        }
    }

    fn event_shown(&self, (key, day): (u64, Option<i64>), status: u16) -> Result<Answer, Fail> {
        let query = self.query(&["select", "expand"], &[], "event")?;
        let row = self.inside.mailbox.row(key, day, self.seq)?;
        let mut shown = self.show(&query).event(row);
        set(&mut shown, "@odata.context", self.context("events/$entity"));
        Ok(Answer::json(status, &shown))
    }

    fn create(&mut self, calendar: u64) -> Result<Answer, Fail> {
        let body = event::read(self.request.json())?;
        let now = self.scene.clock.millis();
        let Inside { mailbox, habits, .. } = &mut *self.inside;
        let (key, fresh) = mailbox.create(calendar, body, habits, now)?;
        self.seq = self.inside.mailbox.seq;
        let id = Id::Event(key, None).written(self.prefer.form);
        let place = format!("{}/v1.0/me/events/{id}", self.request.origin());
        let answer = self.event_shown((key, None), 201)?.with("Location", &place);
        Ok(answer.wrote(u32::from(fresh)))
    }

    fn events(&self, calendar: u64) -> Result<Answer, Fail> {
        let query = self.query(VIEW, &[], "event")?;
        let mailbox = &self.inside.mailbox;
        let keys = mailbox.items(calendar).map(|item| item.key);
        let rows: Vec<Row<'_>> = keys.filter_map(|key| mailbox.row(key, None, self.seq).ok()).collect();
        Ok(self.rows(&query, rows))
    }

    fn view(&self, calendar: u64) -> Result<Answer, Fail> {
        let query = self.query(VIEW, WINDOW, "event")?;
        let rows = self.inside.mailbox.within(calendar, window(self.request)?, self.seq, false);
        Ok(self.rows(&query, rows))
    }

    fn instances(&self, key: u64) -> Result<Answer, Fail> {
        let query = self.query(VIEW, WINDOW, "event")?;
        let (from, to) = window(self.request)?;
        let row = self.inside.mailbox.row(key, None, self.seq)?;
        if row.kind() != "seriesMaster" {
            return Err(Fail::new(
                400,
                "ErrorInvalidRequest",
                "Your request can't be completed. The event is no series.",
            ));
        }
        let days = row.state.event.days_within(from, to);
        Ok(self.rows(&query, days.into_iter().map(|day| Row { day: Some(day), ..row }).collect()))
    }

    fn delta(&mut self, calendar: u64) -> Result<Answer, Fail> {
        let Inside { mailbox, rounds, owner, habits, .. } = &mut *self.inside;
        let query = Query::default();
        let show = Show { owner, prefer: &self.prefer, query: &query, habits };
        rounds.answer(mailbox, calendar, self.request, &show, self.seq).map(|body| Answer::json(200, &body))
    }

    /// Answers a listing: what is asked for of these rows, a page of it.
    fn rows(&self, query: &Query, rows: Vec<Row<'_>>) -> Answer {
        let show = self.show(query);
        if query.filter.is_empty() && !query.sorted() {
            return self.page(query, rows.len(), |from, to| {
                rows.iter().skip(from).take(to - from).map(|row| show.event(*row)).collect()
            });
        }
        // Conditions and order are about whole events in UTC, whatever is shown.
        let plain = Query { marks: query.marks.clone(), ..Query::default() };
        let utc = Prefer { zone: "UTC".into(), ..self.prefer.clone() };
        let whole = Show { query: &plain, prefer: &utc, ..show };
        let mut kept: Vec<(Value, Row<'_>)> = rows
            .into_iter()
            .map(|row| (whole.event(row), row))
            .filter(|(value, row)| {
                let marks = |id: &str| row.state.event.core_on(row.day).marks.get(id).cloned();
                query.filter.iter().all(|clause| clause.holds(value, &marks))
            })
            .collect();
        query.sort(&mut kept);
        self.page(query, kept.len(), |from, to| {
            kept.iter().skip(from).take(to - from).map(|(_, row)| show.event(*row)).collect()
        })
    }

    fn page(&self, query: &Query, count: usize, rows: impl Fn(usize, usize) -> Vec<Value>) -> Answer {
        let size = query.page(self.prefer.page);
        let from = query.skip.min(count);
        let to = (from + size).min(count);
        let mut answer = json!({ "@odata.context": self.context("events") });
        if query.count {
            set(&mut answer, "@odata.count", json!(count));
        }
        set(&mut answer, "value", Value::Array(rows(from, to)));
        if to < count {
            let next = link(self.request, &self.request.path, &["$skip"], &[("$skip", to.to_string())]);
            set(&mut answer, "@odata.nextLink", json!(next));
        }
        Answer::json(200, &answer)
    }

    fn translate(&self) -> Result<Answer, Fail> {
        let body = self.request.json().ok_or_else(|| Fail::body("The body cannot be read as JSON."))?;
        let field = |wanted: &str| {
            let object = body.as_object().into_iter().flatten();
            object.into_iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| value)
        };
        let form = match field("targetIdType").and_then(Value::as_str) {
            Some("restImmutableEntryId") => Form::Immutable,
            Some("restId") => Form::Default,
            _ => return Err(Fail::body("targetIdType has to be restId or restImmutableEntryId.")),
        };
        let ids = field("inputIds").and_then(Value::as_array).cloned().unwrap_or_default();
        if ids.len() > 1000 {
            return Err(Fail::invalid("There are more than 1000 ids."));
        }
        let mut value = Vec::new();
        for id in ids.iter().filter_map(Value::as_str) {
            let target = Id::read(id).ok_or_else(malformed)?.written(form);
            value.push(json!({ "sourceId": id, "targetId": target }));
        }
        Ok(Answer::json(200, &json!({ "value": value })))
    }
}

fn malformed() -> Fail {
    Fail::new(400, "ErrorInvalidIdMalformed", "Id is malformed.")
}

fn is_delta(segment: &str) -> bool {
    matches!(segment, "delta" | "delta()" | "microsoft.graph.delta()" | "microsoft.graph.delta")
}

/// Returns everything that is in a calendar, in the form that tests compare: immutable ids, plain text, each series once with
/// its exceptions and what was cancelled, extended properties by id.
pub(super) fn all(mailbox: &Mailbox, owner: &Owner, habits: &Habits, calendar: u64) -> Vec<Value> {
    let prefer = Prefer::immutable();
    let query = Query::default();
    let show = Show { owner, prefer: &prefer, query: &query, habits };
    let keys = mailbox.items(calendar).map(|item| item.key);
    let rows = keys.filter_map(|key| mailbox.row(key, None, mailbox.seq).ok());
    rows.map(|row| {
        let mut shown = show.event(row);
        let event = &row.state.event;
        set(
            &mut shown,
            "cancelledOccurrences",
            event.cancelled.iter().map(|day| times::day_text(*day)).collect(),
        );
        let exceptions = event.exceptions.keys().map(|day| show.event(Row { day: Some(*day), ..row }));
        set(&mut shown, "exceptionOccurrences", exceptions.collect());
        set(&mut shown, "singleValueExtendedProperties", json!(event.core.marks));
        shown
    })
    .collect()
}

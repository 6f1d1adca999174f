//! What a mailbox holds, now and before.
//!
//! Owns: calendars, events and their states over time, change keys, transaction ids, mails that would have been sent.
//! Does not own: what an event is (`event`), how it is shown (`view`), who is told (`subscribe`).
//!
//! Every change has a number. The states before are kept, so that a delta is the difference of two moments and a stale
//! read is a look at an earlier one.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::Habits;
use super::event::{self, Event};
use super::fail::Fail;
use super::ids::Id;

/// A calendar.
#[derive(Debug, Clone)]
pub(super) struct Calendar {
    /// Its name.
    pub(super) name: String,
    /// Its colour, as Graph calls it.
    pub(super) color: String,
    /// Its colour as `#rrggbb`, if it has one of its own.
    pub(super) hex: String,
    /// The account may change what is in it.
    pub(super) writable: bool,
    /// The last change of the calendar itself.
    pub(super) seq: u64,
}

/// An event or series, now and before.
#[derive(Debug)]
pub(super) struct Item {
    /// Its number.
    pub(super) key: u64,
    /// The calendar that it lies in.
    pub(super) calendar: u64,
    /// When it was made, in milliseconds since 1970.
    pub(super) created: i64,
    /// What the maker called the request, and what that said.
    pub(super) transaction: Option<(String, Map<String, Value>)>,
    states: Vec<State>,
}

/// How an item was from one change to the next.
#[derive(Debug, Clone)]
pub(super) struct State {
    /// The change that made it so.
    pub(super) seq: u64,
    /// When, in milliseconds since 1970.
    pub(super) modified: i64,
    /// It is there.
    pub(super) alive: bool,
    /// What it is, or was last.
    pub(super) event: Arc<Event>,
}

impl Item {
    /// Returns the state after a change.
    pub(super) fn at(&self, seq: u64) -> Option<&State> {
        let after = self.states.partition_point(|state| state.seq <= seq);
        after.checked_sub(1).and_then(|at| self.states.get(at))
    }
}

/// What a change did, for those who want to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Told {
    /// The calendar.
    pub(super) calendar: u64,
    /// What changed.
    pub(super) id: Id,
    /// `created`, `updated` or `deleted`.
    pub(super) what: &'static str,
    /// The change.
    pub(super) seq: u64,
}

/// A single event, a series, or one occurrence, at a moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row<'a> {
    /// The item.
    pub(super) item: &'a Item,
    /// Its state at that moment.
    pub(super) state: &'a State,
    /// Which occurrence; nothing: the single event or the series as a whole.
    pub(super) day: Option<i64>,
}

impl Row<'_> {
    /// Returns its name.
    pub(super) fn id(&self) -> Id {
        Id::Event(self.item.key, self.day)
    }

    /// Graph's `type`.
    pub(super) fn kind(&self) -> &'static str {
        let event = &self.state.event;
        match self.day {
            Some(day) if event.exceptions.contains_key(&day) => "exception",
            Some(_) => "occurrence",
            None if event.recurrence.is_some() => "seriesMaster",
            None => "singleInstance",
        }
    }

    /// The change that made it what it is.
    pub(super) fn seq(&self) -> u64 {
        let event = &self.state.event;
        match self.day {
            None => self.state.seq,
            Some(day) => event.exceptions.get(&day).map_or(event.base, |own| own.seq.max(event.base)),
        }
    }
}

/// Writes a change as a change key.
pub(super) fn change_key(seq: u64) -> String {
    let mut bytes = vec![0x0f, 0, 0, 0];
    bytes.extend(seq.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
    bytes.extend(seq.to_be_bytes());
    STANDARD.encode(bytes)
}

/// Writes a change as an entity-tag.
pub(super) fn etag(seq: u64) -> String {
    format!("W/\"{}\"", change_key(seq))
}

/// A mailbox.
#[derive(Debug)]
pub(super) struct Mailbox {
    /// Calendars, by number; the first is the default one.
    pub(super) calendars: BTreeMap<u64, Calendar>,
    items: BTreeMap<u64, Item>,
    by_calendar: BTreeMap<u64, Vec<u64>>,
    by_transaction: BTreeMap<(u64, String), u64>,
    /// The number of the last change.
    pub(super) seq: u64,
    /// Moments before this one are not known any more.
    pub(super) forgotten: u64,
    /// Mails that Exchange would have sent to people.
    pub(super) mails: u32,
    /// What is yet to be told.
    pub(super) told: Vec<Told>,
    next: u64,
}

/// The number of the default calendar.
pub(super) const DEFAULT: u64 = 1;

impl Mailbox {
    /// Returns a mailbox with a default calendar and nothing in it.
    pub(super) fn new() -> Mailbox {
        let mut mailbox = Mailbox {
            calendars: BTreeMap::new(),
            items: BTreeMap::new(),
            by_calendar: BTreeMap::new(),
            by_transaction: BTreeMap::new(),
            seq: 0,
            forgotten: 0,
            mails: 0,
            told: Vec::new(),
            next: DEFAULT,
        };
        mailbox.add_calendar("Calendar", "auto");
        mailbox
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next - 1
    }

    /// Adds a calendar and returns its number.
    pub(super) fn add_calendar(&mut self, name: &str, color: &str) -> u64 {
        let key = self.number();
        self.seq += 1;
        let (name, color, seq) = (name.to_owned(), color.to_owned(), self.seq);
        self.calendars.insert(key, Calendar { name, color, hex: String::new(), writable: true, seq });
        key
    }

    /// Removes a calendar with everything in it.
    pub(super) fn remove_calendar(&mut self, key: u64, now: i64) {
        let inside = self.by_calendar.get(&key).cloned().unwrap_or_default();
        for item in inside {
            if let Some(event) = self.now(item).map(|state| Arc::clone(&state.event)) {
                self.push(item, event, false, now);
            }
        }
        self.seq += 1;
        self.calendars.remove(&key);
    }

    /// Forgets all but so many of the last changes: what items were before them, and those that were gone by then.
    pub(super) fn forget(&mut self, keep: u64) {
        self.forgotten = self.forgotten.max(self.seq.saturating_sub(keep));
        let old = self.forgotten;
        for item in self.items.values_mut() {
            let first = item.states.partition_point(|state| state.seq <= old).saturating_sub(1);
            item.states.drain(..first);
        }
        let gone = |item: &Item| item.states.last().is_none_or(|state| !state.alive && state.seq <= old);
        self.items.retain(|_, item| !gone(item));
        let items = &self.items;
        self.by_calendar.values_mut().for_each(|keys| keys.retain(|key| items.contains_key(key)));
        self.by_transaction.retain(|_, key| items.contains_key(key));
    }

    /// Returns an item that is there at a moment.
    pub(super) fn row(&self, key: u64, day: Option<i64>, seq: u64) -> Result<Row<'_>, Fail> {
        let item = self.items.get(&key).ok_or_else(Fail::missing)?;
        let state = item.at(seq).filter(|state| state.alive).ok_or_else(Fail::missing)?;
        if day.is_some_and(|day| !state.event.occurs(day)) {
            return Err(Fail::missing());
        }
        Ok(Row { item, state, day })
    }

    /// Returns the items of a calendar, in the order in which they were made.
    pub(super) fn items(&self, calendar: u64) -> impl Iterator<Item = &Item> + '_ {
        let keys = self.by_calendar.get(&calendar).map_or(&[] as &[u64], Vec::as_slice);
        keys.iter().filter_map(|key| self.items.get(key))
    }

    fn now(&self, key: u64) -> Option<&State> {
        self.items.get(&key)?.states.last().filter(|state| state.alive)
    }

    fn push(&mut self, key: u64, event: Arc<Event>, alive: bool, now: i64) -> u64 {
        self.seq += 1;
        let seq = self.seq;
        if let Some(item) = self.items.get_mut(&key) {
            item.states.push(State { seq, modified: now, alive, event });
        }
        seq
    }

    fn tell(&mut self, key: u64, day: Option<i64>, what: &'static str) {
        let calendar = self.items.get(&key).map_or(0, |item| item.calendar);
        self.told.push(Told { calendar, id: Id::Event(key, day), what, seq: self.seq });
    }

    fn writable(&self, calendar: u64) -> Result<(), Fail> {
        match self.calendars.get(&calendar) {
            None => Err(Fail::missing()),
            Some(calendar) if calendar.writable => Ok(()),
            Some(_) => {
                Err(Fail::new(403, "ErrorAccessDenied", "Access is denied. Check credentials and try again."))
            }
        }
    }

    /// Makes an event. The same request with the same transaction id finds the event that the first one made.
    pub(super) fn create(
        &mut self,
        calendar: u64,
        body: Map<String, Value>,
        habits: &Habits,
        now: i64,
    ) -> Result<(u64, bool), Fail> {
        self.writable(calendar)?;
        let transaction = body.get("transactionId").and_then(Value::as_str).map(str::to_owned);
        if let Some(named) = &transaction {
            let made = self.by_transaction.get(&(calendar, named.clone())).copied();
            if let Some(first) = made.filter(|key| self.now(*key).is_some()) {
                let same = self.items.get(&first).and_then(|item| item.transaction.as_ref());
                if habits.replay && same.is_some_and(|(_, said)| *said == body) {
                    return Ok((first, false));
                }
                return Err(Fail::duplicate(Id::Event(first, None).written(super::ids::Form::Default)));
            }
        }
        let event = Event::new(&body, habits, self.seq + 1)?;
        self.mails = self.mails.saturating_add(event.core.invited());
        let key = self.number();
        let named = transaction.clone().map(|named| (named, body));
        self.items.insert(key, Item { key, calendar, created: now, transaction: named, states: Vec::new() });
        self.by_calendar.entry(calendar).or_default().push(key);
        if let Some(named) = transaction {
            self.by_transaction.insert((calendar, named), key);
        }
        self.push(key, Arc::new(event), true, now);
        self.tell(key, None, "created");
        Ok((key, true))
    }

    fn meets(&self, key: u64, day: Option<i64>, condition: Option<&str>) -> Result<Arc<Event>, Fail> {
        let row = self.row(key, day, self.seq)?;
        self.writable(row.item.calendar)?;
        if condition.is_some_and(|wanted| wanted != "*" && wanted != etag(row.seq())) {
            return Err(Fail::conflict());
        }
        Ok(Arc::clone(&row.state.event))
    }

    /// Changes an event, a series or an occurrence.
    pub(super) fn change(
        &mut self,
        (key, day): (u64, Option<i64>),
        patch: &Map<String, Value>,
        condition: Option<&str>,
        habits: &Habits,
        now: i64,
    ) -> Result<(), Fail> {
        if patch.contains_key("transactionId") {
            return Err(Fail::invalid(
                "The property 'transactionId' cannot be changed once the event is there.",
            ));
        }
        let mut event = Event::clone(&*self.meets(key, day, condition)?);
        let invited = event.core.invited();
        let seq = self.seq + 1;
        match day {
            None => event.change(patch, habits, seq)?,
            Some(day) => event.except(day, patch, habits, seq)?,
        }
        self.mails = self.mails.saturating_add(invited.max(event.core_on(day).invited()));
        self.push(key, Arc::new(event), true, now);
        self.tell(key, day, "updated");
        Ok(())
    }

    /// Removes an event, a series or an occurrence.
    pub(super) fn remove(
        &mut self,
        (key, day): (u64, Option<i64>),
        condition: Option<&str>,
        now: i64,
    ) -> Result<(), Fail> {
        let event = self.meets(key, day, condition)?;
        self.mails = self.mails.saturating_add(event.core_on(day).invited());
        match day {
            None => {
                self.push(key, event, false, now);
            }
            Some(day) => {
                let mut event = Event::clone(&event);
                event.cancel(day);
                self.push(key, Arc::new(event), true, now);
            }
        }
        self.tell(key, day, "deleted");
        Ok(())
    }

    /// Returns the items and days of a calendar that lie, with any part, between two moments, after a change.
    /// Series as a whole stand before their occurrences if `masters`.
    pub(super) fn within(
        &self,
        calendar: u64,
        (from, to): (i64, i64),
        seq: u64,
        masters: bool,
    ) -> Vec<Row<'_>> {
        let mut rows = Vec::new();
        for item in self.items(calendar) {
            let Some(state) = item.at(seq).filter(|state| state.alive) else { continue };
            rows.extend(span(item, state, (from, to), masters));
        }
        rows
    }
}

/// The rows of one item between two moments.
pub(super) fn span<'a>(
    item: &'a Item,
    state: &'a State,
    (from, to): (i64, i64),
    masters: bool,
) -> Vec<Row<'a>> {
    if state.event.recurrence.is_none() {
        let inside = state.event.core.within(from, to);
        return if inside { vec![Row { item, state, day: None }] } else { Vec::new() };
    }
    let days = state.event.days_within(from, to);
    let master = (masters && !days.is_empty()).then_some(Row { item, state, day: None });
    master.into_iter().chain(days.into_iter().map(|day| Row { item, state, day: Some(day) })).collect()
}

/// Reads the body of a request that makes or changes a calendar.
pub(super) fn calendar_body(value: Option<Value>) -> Result<Map<String, Value>, Fail> {
    let Some(value) = value else { return Err(Fail::body("The body cannot be read as JSON.")) };
    super::schema::check("calendar", &value).map_err(Fail::body)?;
    let object = value.as_object().cloned().unwrap_or_default();
    let writable = ["name", "color", "hexColor", "isDefaultCalendar"];
    match object.keys().find(|key| !key.contains('@') && !writable.contains(&key.as_str())) {
        Some(key) => {
            Err(Fail::new(400, "ErrorInvalidPropertySet", format!("The property '{key}' is read-only.")))
        }
        None => Ok(object),
    }
}

/// Reads what somebody else does to an event.
pub(super) fn elsewhere(value: &Value) -> Result<Map<String, Value>, String> {
    event::read(Some(value.clone())).map_err(|_| format!("Graph would refuse this: {}", json!(value)))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use super::*;

    fn body(start: &str, more: Value) -> Map<String, Value> {
        let mut body = json!({
            "subject": "A", "start": { "dateTime": format!("{start}T10:00:00"), "timeZone": "Europe/Berlin" },
            "end": { "dateTime": format!("{start}T11:00:00"), "timeZone": "Europe/Berlin" },
        });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        event::read(Some(body)).unwrap()
    }

    fn weekly() -> Value {
        json!({ "recurrence": {
            "pattern": { "type": "weekly", "interval": 1, "daysOfWeek": ["monday"] },
            "range": { "type": "numbered", "startDate": "2026-03-16", "numberOfOccurrences": 4 },
        }})
    }

    const YEAR: (i64, i64) = (1_767_225_600, 1_798_761_600);

    fn starts(mailbox: &Mailbox) -> Vec<i64> {
        let rows = mailbox.within(DEFAULT, YEAR, mailbox.seq, false);
        rows.iter().map(|row| row.state.event.core_on(row.day).begins()).collect()
    }

    #[test]
    fn a_series_keeps_its_clock_and_its_exceptions_until_its_times_change() {
        let (mut mailbox, habits) = (Mailbox::new(), Habits::default());
        let (key, fresh) = mailbox.create(DEFAULT, body("2026-03-16", weekly()), &habits, 0).unwrap();
        assert!(fresh);
        // Summer time begins on 29 March: ten o'clock is an hour earlier from then on.
        let gaps: Vec<i64> = starts(&mailbox).windows(2).map(|two| (two[1] - two[0]) / 3600).collect();
        assert_eq!(gaps, [168, 167, 168]);
        let day = crate::sim::outlook::times::day("2026-03-23").unwrap();
        let patch = |value: Value| event::read(Some(value)).unwrap();
        let subject = patch(json!({ "subject": "B" }));
        mailbox.change((key, Some(day)), &subject, None, &habits, 0).unwrap();
        mailbox.remove((key, Some(day + 7)), None, 0).unwrap();
        assert_eq!(starts(&mailbox).len(), 3);
        assert_eq!(mailbox.row(key, Some(day), mailbox.seq).unwrap().kind(), "exception");
        assert!(mailbox.row(key, Some(day + 7), mailbox.seq).is_err());
        // Another text leaves exceptions alone …
        mailbox.change((key, None), &patch(json!({ "importance": "high" })), None, &habits, 0).unwrap();
        let core = mailbox.row(key, Some(day), mailbox.seq).unwrap().state.event.core_on(Some(day));
        assert_eq!((&core.fields["subject"], &core.fields["importance"]), (&json!("B"), &json!("high")));
        // … other times end them.
        let later =
            patch(json!({ "start": { "dateTime": "2026-03-16T10:30:00", "timeZone": "Europe/Berlin" } }));
        mailbox.change((key, None), &later, None, &habits, 0).unwrap();
        assert_eq!(starts(&mailbox).len(), 4);
        assert_eq!(mailbox.row(key, Some(day), mailbox.seq).unwrap().kind(), "occurrence");
        assert_eq!(mailbox.mails, 0);
    }

    #[test]
    fn an_occurrence_stays_between_its_neighbours() {
        let (mut mailbox, habits) = (Mailbox::new(), Habits::default());
        let (key, _) = mailbox.create(DEFAULT, body("2026-03-16", weekly()), &habits, 0).unwrap();
        let day = crate::sim::outlook::times::day("2026-03-23").unwrap();
        let on = |date: &str| {
            let at =
                |hour| json!({ "dateTime": format!("{date}T{hour}:00:00"), "timeZone": "Europe/Berlin" });
            event::read(Some(json!({ "start": at(12), "end": at(13) }))).unwrap()
        };
        for (date, good) in [
            ("2026-03-17", true),
            ("2026-03-29", true),
            ("2026-03-16", false),
            ("2026-03-30", false),
            ("2026-04-10", false),
        ] {
            let moved = mailbox.change((key, Some(day)), &on(date), None, &habits, 0);
            assert_eq!(moved.is_ok(), good, "{date}: {moved:?}");
        }
        // An occurrence that is not there stands in nobody's way.
        mailbox.remove((key, Some(day + 7)), None, 0).unwrap();
        mailbox.change((key, Some(day)), &on("2026-03-30"), None, &habits, 0).unwrap();
    }

    #[test]
    fn a_transaction_id_makes_one_event() {
        let (mut mailbox, habits) = (Mailbox::new(), Habits::default());
        let said = body("2026-03-16", json!({ "transactionId": "t" }));
        let (first, _) = mailbox.create(DEFAULT, said.clone(), &habits, 0).unwrap();
        assert_eq!(mailbox.create(DEFAULT, said.clone(), &habits, 0).unwrap(), (first, false));
        let other = body("2026-03-17", json!({ "transactionId": "t" }));
        assert!(mailbox.create(DEFAULT, other, &habits, 0).is_err());
        let strict = Habits { replay: false, ..Habits::default() };
        assert!(mailbox.create(DEFAULT, said.clone(), &strict, 0).is_err());
        mailbox.remove((first, None), None, 0).unwrap();
        assert_ne!(mailbox.create(DEFAULT, said, &habits, 0).unwrap().0, first);
    }

    #[test]
    fn a_stale_change_key_changes_nothing_and_people_are_counted() {
        let (mut mailbox, habits) = (Mailbox::new(), Habits::default());
        let people = json!({ "attendees": [{ "emailAddress": { "address": "b@example.org" } }] });
        let (key, _) = mailbox.create(DEFAULT, body("2026-03-16", people), &habits, 0).unwrap();
        assert_eq!(mailbox.mails, 1);
        let before = mailbox.row(key, None, mailbox.seq).unwrap().seq();
        let patch = event::read(Some(json!({ "subject": "B" }))).unwrap();
        mailbox.change((key, None), &patch, Some(&etag(before)), &habits, 0).unwrap();
        assert_eq!(
            mailbox.change((key, None), &patch, Some(&etag(before)), &habits, 0),
            Err(Fail::conflict())
        );
        assert_eq!(mailbox.remove((key, None), Some(&etag(before)), 0), Err(Fail::conflict()));
        mailbox.remove((key, None), Some("*"), 0).unwrap();
        assert_eq!(mailbox.mails, 3);
        // What was is still known.
        assert!(mailbox.row(key, None, before).is_ok());
    }
}

//! An event as the mailbox keeps it.
//!
//! Owns: which fields a request may write, what Exchange makes of them, series with exceptions and what ends them.
//! Does not own: ids, states over time (`mailbox`), how an event is shown (`view`).

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::fail::Fail;
use super::recur::Recurrence;
use super::times::When;
use super::{Habits, body, schema};
use crate::ical::value::{Civil, DAY};

/// What one instance of an event consists of.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Core {
    /// What was written, as it is kept.
    pub(super) fields: Map<String, Value>,
    /// Its start.
    pub(super) start: When,
    /// Its end.
    pub(super) end: When,
    /// It lasts whole days.
    pub(super) all_day: bool,
    /// Extended properties, by id.
    pub(super) marks: BTreeMap<String, String>,
}

/// An occurrence that differs from its series.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Exception {
    /// The change that made it as it is.
    pub(super) seq: u64,
    fields: Map<String, Value>,
    start: When,
    end: When,
    all_day: bool,
    marks: BTreeMap<String, String>,
}

/// An event or a series.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Event {
    /// The event, or what is common to a series, at its first day.
    pub(super) core: Core,
    /// How it goes on.
    pub(super) recurrence: Option<Recurrence>,
    /// The last change that meets every occurrence.
    pub(super) base: u64,
    /// By the day on which the pattern puts them.
    pub(super) exceptions: BTreeMap<i64, Exception>,
    /// Days of the pattern on which nothing is.
    pub(super) cancelled: BTreeSet<i64>,
}

/// Fields that a request may write.
const WRITABLE: &[&str] = &[
    "subject",
    "body",
    "start",
    "end",
    "isAllDay",
    "location",
    "locations",
    "attendees",
    "categories",
    "importance",
    "sensitivity",
    "showAs",
    "isReminderOn",
    "reminderMinutesBeforeStart",
    "recurrence",
    "responseRequested",
    "allowNewTimeProposals",
    "hideAttendees",
    "isOnlineMeeting",
    "onlineMeetingProvider",
    "transactionId",
    "singleValueExtendedProperties",
];

/// Reads the body of a POST or PATCH of an event.
pub(super) fn read(value: Option<Value>) -> Result<Map<String, Value>, Fail> {
    let Some(value) = value else { return Err(Fail::body("The body cannot be read as JSON.")) };
    schema::check("event", &value).map_err(Fail::body)?;
    let Value::Object(object) = value else { return Err(Fail::body("The body is no object.")) };
    let object: Map<String, Value> = object.into_iter().filter(|(key, _)| !key.contains('@')).collect();
    if let Some(key) = object.keys().find(|key| !WRITABLE.contains(&key.as_str())) {
        return Err(Fail::new(400, "ErrorInvalidPropertySet", format!("The property '{key}' is read-only.")));
    }
    Ok(object)
}

fn unfit(what: &str) -> Fail {
    Fail::new(
        400,
        "ErrorPropertyValidationFailure",
        format!("At least one property failed validation. {what}"),
    )
}

fn defaults() -> Map<String, Value> {
    let all = json!({
        "subject": "", "body": { "contentType": "html", "content": "" }, "location": place(&json!({})), "locations": [],
        "attendees": [], "categories": [], "importance": "normal", "sensitivity": "normal", "showAs": "busy",
        "isReminderOn": true, "reminderMinutesBeforeStart": 15, "responseRequested": true,
        "allowNewTimeProposals": true, "hideAttendees": false, "isOnlineMeeting": false,
        "onlineMeetingProvider": "unknown",
    });
    if let Value::Object(all) = all { all } else { Map::new() }
}

impl Core {
    /// Makes what a POST describes.
    pub(super) fn new(object: &Map<String, Value>, habits: &Habits) -> Result<Core, Fail> {
        let (Some(start), Some(end)) = (object.get("start"), object.get("end")) else {
            return Err(unfit("start and end are required."));
        };
        let mut core = Core {
            fields: defaults(),
            start: When::read(start)?,
            end: When::read(end)?,
            all_day: false,
            marks: BTreeMap::new(),
        };
        core.change(object, habits)?;
        Ok(core)
    }

    /// Changes what a PATCH names; a null stands for what is there without being said.
    pub(super) fn change(&mut self, patch: &Map<String, Value>, habits: &Habits) -> Result<(), Fail> {
        for (key, value) in patch {
            let kept = match key.as_str() {
                "start" | "end" if value.is_null() => {
                    return Err(unfit("start and end cannot be taken away."));
                }
                "start" => {
                    self.start = habits.clock(When::read(value)?);
                    continue;
                }
                "end" => {
                    self.end = habits.clock(When::read(value)?);
                    continue;
                }
                "isAllDay" => {
                    self.all_day = value.as_bool().unwrap_or(false);
                    continue;
                }
                "singleValueExtendedProperties" => {
                    self.mark(value)?;
                    continue;
                }
                "recurrence" | "transactionId" => continue,
                _ if value.is_null() => defaults().get(key).cloned().unwrap_or_default(),
                "subject" if habits.trim => json!(value.as_str().unwrap_or_default().trim()),
                "body" => habits.body(value),
                "location" => {
                    let named = value.get("displayName").and_then(Value::as_str).unwrap_or_default();
                    let all = if named.is_empty() { json!([]) } else { json!([place(value)]) };
                    self.fields.insert("locations".into(), all);
                    place(value)
                }
                "locations" => {
                    let all: Vec<Value> = value.as_array().into_iter().flatten().map(place).collect();
                    let first = all.first().cloned().unwrap_or_else(|| place(&json!({})));
                    self.fields.insert("location".into(), first);
                    Value::Array(all)
                }
                "attendees" => value.as_array().into_iter().flatten().map(invited).collect(),
                "importance" => spelled("importance", value),
                "sensitivity" => spelled("sensitivity", value),
                "showAs" => spelled("freeBusyStatus", value),
                "onlineMeetingProvider" => spelled("onlineMeetingProviderType", value),
                "reminderMinutesBeforeStart" if value.as_i64().is_some_and(|minutes| minutes < 0) => {
                    return Err(unfit("reminderMinutesBeforeStart cannot be negative."));
                }
                // Once it is an online meeting it stays one.
                "isOnlineMeeting" if self.online() => json!(true),
                _ => value.clone(),
            };
            self.fields.insert(key.clone(), kept);
        }
        self.judge()
    }

    fn online(&self) -> bool {
        self.fields.get("isOnlineMeeting") == Some(&json!(true))
    }

    fn judge(&self) -> Result<(), Fail> {
        if self.begins() > self.ends() {
            return Err(unfit("end has to be at or after start."));
        }
        if self.all_day {
            if self.start.civil != self.start.civil.midnight() || self.end.civil != self.end.civil.midnight()
            {
                return Err(unfit("start and end of an all-day event have to be at midnight."));
            }
            if self.start.zone != self.end.zone {
                return Err(unfit("start and end of an all-day event have to be in the same time zone."));
            }
            if self.end.civil.0 - self.start.civil.0 < DAY {
                return Err(unfit("The duration of an all-day event has to be at least 24 hours."));
            }
        }
        Ok(())
    }

    /// Seconds since 1970; whole days are days everywhere.
    pub(super) fn begins(&self) -> i64 {
        if self.all_day { self.start.civil.0 } else { self.start.instant() }
    }

    /// Seconds since 1970.
    pub(super) fn ends(&self) -> i64 {
        if self.all_day { self.end.civil.0 } else { self.end.instant() }
    }

    /// Tells whether it lies, with any part, between two moments.
    pub(super) fn within(&self, from: i64, to: i64) -> bool {
        let (begins, ends) = (self.begins(), self.ends());
        begins < to && (ends > from || begins >= from)
    }

    fn mark(&mut self, value: &Value) -> Result<(), Fail> {
        for property in value.as_array().into_iter().flatten() {
            let text = |field: &str| property.get(field).and_then(Value::as_str);
            let Some(id) = text("id").and_then(mark_id) else {
                return Err(Fail::new(
                    400,
                    "ErrorInvalidRequest",
                    "The id of an extended property is `TYPE {GUID} Name NAME` or `TYPE {GUID} Id 0xNUMBER`.",
                ));
            };
            match text("value") {
                Some(value) => self.marks.insert(id, value.to_owned()),
                None => self.marks.remove(&id),
            };
        }
        Ok(())
    }

    /// People who are told of every change.
    pub(super) fn invited(&self) -> u32 {
        let all = self.fields.get("attendees").and_then(Value::as_array).map_or(0, Vec::len);
        u32::try_from(all).unwrap_or(u32::MAX)
    }
}

/// Returns the id of an extended property in one spelling: only a name's letter case counts.
pub(super) fn mark_id(id: &str) -> Option<String> {
    let (kind, rest) = id.trim().split_once(' ')?;
    let (guid, rest) = rest.trim_start().strip_prefix('{')?.split_once('}')?;
    let (how, name) = rest.trim_start().split_once(' ')?;
    let shape: Vec<usize> = guid.split('-').map(str::len).collect();
    let hex = guid.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit());
    let known = ["string", "integer", "boolean", "systemtime", "double", "long", "cltime", "binary"];
    let kind = kind.to_ascii_lowercase();
    let good = shape == [8, 4, 4, 4, 12]
        && hex
        && known.contains(&kind.as_str())
        && (how.eq_ignore_ascii_case("name") || how.eq_ignore_ascii_case("id"))
        && !name.trim().is_empty();
    let capital = kind.get(..1).unwrap_or_default().to_ascii_uppercase();
    let rest = kind.get(1..).unwrap_or_default();
    let how = if how.eq_ignore_ascii_case("name") { "Name" } else { "Id" };
    good.then(|| format!("{capital}{rest} {{{}}} {how} {}", guid.to_ascii_lowercase(), name.trim()))
}

fn spelled(name: &str, value: &Value) -> Value {
    value.as_str().and_then(|given| schema::word(name, given)).map_or(Value::Null, Value::from)
}

/// A place with what Exchange adds.
fn place(value: &Value) -> Value {
    let mut place = value.as_object().cloned().unwrap_or_default();
    place.retain(|key, value| !key.contains('@') && !value.is_null());
    let name = place.get("displayName").and_then(Value::as_str).unwrap_or_default().to_owned();
    place.entry("displayName").or_insert_with(|| json!(""));
    place.entry("locationType").or_insert_with(|| json!("default"));
    if name.is_empty() {
        place.entry("uniqueIdType").or_insert_with(|| json!("unknown"));
        place.entry("address").or_insert_with(|| json!({}));
        place.entry("coordinates").or_insert_with(|| json!({}));
    } else {
        place.entry("uniqueId").or_insert_with(|| json!(name));
        place.entry("uniqueIdType").or_insert_with(|| json!("private"));
    }
    Value::Object(place)
}

/// An attendee with what Exchange adds.
fn invited(value: &Value) -> Value {
    let mut person = value.as_object().cloned().unwrap_or_default();
    person.retain(|key, _| !key.contains('@'));
    person.entry("type").or_insert_with(|| json!("required"));
    person.insert("status".into(), json!({ "response": "none", "time": "0001-01-01T00:00:00Z" }));
    Value::Object(person)
}

impl Habits {
    fn clock(&self, when: When) -> When {
        if !self.minutes {
            return when;
        }
        When { civil: Civil(when.civil.0.div_euclid(60) * 60), ..when }
    }

    fn body(&self, value: &Value) -> Value {
        let content = value.get("content").and_then(Value::as_str).unwrap_or_default();
        let html = value
            .get("contentType")
            .and_then(Value::as_str)
            .is_some_and(|kind| kind.eq_ignore_ascii_case("html"));
        if !self.wrap {
            return json!({ "contentType": if html { "html" } else { "text" }, "content": content });
        }
        let page = match (content.is_empty(), html) {
            (true, _) => String::new(),
            (false, true) => body::page_of_html(content),
            (false, false) => body::page_of_text(content),
        };
        json!({ "contentType": "html", "content": page })
    }
}

impl Event {
    /// Makes what a POST describes.
    pub(super) fn new(object: &Map<String, Value>, habits: &Habits, seq: u64) -> Result<Event, Fail> {
        let mut core = Core::new(object, habits)?;
        let recurrence = recurrence_of(object, &core)?;
        if let Some(recurrence) = &recurrence {
            shift(&mut core, recurrence.first);
        }
        Ok(Event { core, recurrence, base: seq, exceptions: BTreeMap::new(), cancelled: BTreeSet::new() })
    }

    /// Changes a single event or what is common to a series. Other times or another pattern end every exception.
    pub(super) fn change(
        &mut self,
        patch: &Map<String, Value>,
        habits: &Habits,
        seq: u64,
    ) -> Result<(), Fail> {
        let before = self.clone();
        self.core.change(patch, habits)?;
        self.base = seq;
        match patch.get("recurrence") {
            Some(_) => self.recurrence = recurrence_of(patch, &self.core)?,
            None => {
                let first = self.core.start.civil.days();
                self.recurrence = before
                    .recurrence
                    .as_ref()
                    .map(|own| if own.first == first { own.clone() } else { own.moved(first) });
            }
        }
        if let Some(recurrence) = &self.recurrence {
            shift(&mut self.core, recurrence.first);
        }
        let times = |event: &Event| {
            (event.core.start.clone(), event.core.end.clone(), event.core.all_day, event.recurrence.clone())
        };
        if times(self) != times(&before) {
            self.exceptions.clear();
            self.cancelled.clear();
        }
        Ok(())
    }

    /// Tells whether an occurrence is there.
    pub(super) fn occurs(&self, day: i64) -> bool {
        let falls = self.recurrence.as_ref().is_some_and(|recurrence| recurrence.falls_on(day));
        falls && !self.cancelled.contains(&day)
    }

    /// Returns the event, or one occurrence.
    pub(super) fn core_on(&self, day: Option<i64>) -> Core {
        let mut core = self.core.clone();
        let Some(day) = day else { return core };
        shift(&mut core, day);
        if let Some(exception) = self.exceptions.get(&day) {
            core.fields.extend(exception.fields.clone());
            core.marks.extend(exception.marks.clone());
            core.start = exception.start.clone();
            core.end = exception.end.clone();
            core.all_day = exception.all_day;
        }
        core
    }

    /// Changes one occurrence, which becomes an exception.
    pub(super) fn except(
        &mut self,
        day: i64,
        patch: &Map<String, Value>,
        habits: &Habits,
        seq: u64,
    ) -> Result<(), Fail> {
        if patch.contains_key("recurrence") {
            return Err(unfit("An occurrence has no recurrence of its own."));
        }
        let before = self.core_on(Some(day));
        let mut core = before.clone();
        core.change(patch, habits)?;
        if core.start != before.start || core.end != before.end {
            self.between_neighbours(day, &core)?;
        }
        let mut fields = self.exceptions.get(&day).map(|own| own.fields.clone()).unwrap_or_default();
        for key in patch.keys().flat_map(|key| match key.as_str() {
            "location" | "locations" => vec!["location", "locations"],
            key => vec![key],
        }) {
            if let Some(value) = core.fields.get(key) {
                fields.insert(key.to_owned(), value.clone());
            }
        }
        let marks =
            core.marks.into_iter().filter(|(id, value)| self.core.marks.get(id) != Some(value)).collect();
        let exception =
            Exception { seq, fields, start: core.start, end: core.end, all_day: core.all_day, marks };
        self.exceptions.insert(day, exception);
        Ok(())
    }

    /// Takes one occurrence away.
    pub(super) fn cancel(&mut self, day: i64) {
        self.exceptions.remove(&day);
        self.cancelled.insert(day);
    }

    /// An occurrence may not come to or beyond the day of the one before or after it.
    fn between_neighbours(&self, day: i64, core: &Core) -> Result<(), Fail> {
        let Some(recurrence) = &self.recurrence else { return Ok(()) };
        let mut before = None;
        let mut after = None;
        for other in recurrence.days().filter(|other| !self.cancelled.contains(other)) {
            if other < day {
                before = Some(other);
            } else if other > day {
                after = Some(other);
                break;
            }
        }
        let zone = self.core.start.rules();
        let day_of = |core: &Core| {
            if core.all_day { core.start.civil.days() } else { zone.to_civil(core.begins()).days() }
        };
        let moved = day_of(core);
        let low = before.is_some_and(|other| moved <= day_of(&self.core_on(Some(other))));
        let high = after.is_some_and(|other| moved >= day_of(&self.core_on(Some(other))));
        if low || high {
            return Err(Fail::new(
                400,
                "ErrorOccurrenceCrossingBoundary",
                "Cannot move an occurrence to or beyond the day of an adjacent occurrence of the series.",
            ));
        }
        Ok(())
    }

    /// Returns the days of the pattern whose occurrences lie, with any part, between two moments.
    pub(super) fn days_within(&self, from: i64, to: i64) -> Vec<i64> {
        let Some(recurrence) = &self.recurrence else { return Vec::new() };
        // Offsets reach 14 hours; an exception lies nowhere near its day perhaps, so these are looked at apart.
        let last = to.div_euclid(DAY) + 1;
        let mut core = self.core.clone();
        let mut days: Vec<i64> = recurrence
            .days()
            .take_while(|day| *day <= last)
            .filter(|day| !self.cancelled.contains(day) && !self.exceptions.contains_key(day))
            .filter(|day| {
                shift(&mut core, *day);
                core.within(from, to)
            })
            .collect();
        days.extend(self.exceptions.keys().filter(|day| self.core_on(Some(**day)).within(from, to)));
        days.sort_unstable();
        days
    }
}

/// Puts start and end onto another day, the clock as it was.
fn shift(core: &mut Core, day: i64) {
    let by = (day - core.start.civil.days()) * DAY;
    core.start.civil = Civil(core.start.civil.0 + by);
    core.end.civil = Civil(core.end.civil.0 + by);
}

fn recurrence_of(object: &Map<String, Value>, core: &Core) -> Result<Option<Recurrence>, Fail> {
    match object.get("recurrence") {
        None | Some(Value::Null) => Ok(None),
        Some(value) => Recurrence::read(value, core.start.civil.days()).map(Some),
    }
}

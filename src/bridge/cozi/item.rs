//! Cozi's items ↔ drafts.
//!
//! Owns: Cozi's notation of an appointment, the marker with our UID at the end of its notes, which items belong
//! together. Does not own: calls (`wire`).

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::draft::Draft;
use super::rule::{Rule, day_of, day_text};
use crate::bridge::print;
use crate::ical::value::Civil;
use crate::ical::zone::Zone;
use bytes::Bytes;

const DAY: i64 = 86_400;
const MARK: &str = "[kalends";

/// What an item that we wrote is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// An event, or a series.
    Whole,
    /// What stands in for one day of a series. Where the series is not at hand it is not taken for an event.
    Day,
}

impl Role {
    fn word(self) -> &'static str {
        match self {
            Role::Whole => "",
            Role::Day => "-day",
        }
    }
}

/// An appointment with the stand-ins of its series.
#[derive(Debug, Clone)]
pub(super) struct Appointment {
    pub(super) id: String,
    pub(super) uid: String,
    pub(super) draft: Draft,
    /// The page that it is written on.
    pub(super) day: Civil,
    /// Cozi tells no version: this stands for all that was read.
    pub(super) version: String,
    /// It belongs to a calendar that the household only subscribes to.
    pub(super) read_only: bool,
    /// Who it is for, kept as it is when we write.
    pub(super) people: Value,
    /// Items that stand in for single days: day → item.
    pub(super) stand_ins: BTreeMap<Civil, String>,
}

impl Appointment {
    pub(super) fn text(&self, home: &Zone) -> Bytes {
        self.draft.text(&self.uid, home)
    }

    /// True for what we made there.
    pub(super) fn is_ours(&self) -> bool {
        self.uid != format!("{}@cozi", self.id)
    }
}

/// Items of some pages, put together.
#[derive(Debug, Default)]
pub(super) struct Items {
    pub(super) found: Vec<Appointment>,
    /// Appointments that are there and not understood.
    pub(super) odd: Vec<String>,
    /// Series with days that have stand-ins which are on none of the pages: series → those days.
    pub(super) lacking: BTreeMap<String, Vec<Civil>>,
}

/// Puts the items of some pages together. What is no appointment is left out.
pub(super) fn assemble(items: &Map<String, Value>) -> Items {
    let stand_ins: BTreeMap<&str, &str> = items
        .iter()
        .flat_map(|(id, item)| exdates(item).map(move |(_, stand_in)| (stand_in, id.as_str())))
        .filter_map(|(stand_in, id)| Some((stand_in?, id)))
        .collect();
    let mut all = Items::default();
    for (id, item) in items {
        if stand_ins.contains_key(id.as_str()) || !is_appointment(item) || is_day(item) {
            continue;
        }
        match appointment(id, item, items) {
            Some(appointment) => all.found.push(appointment),
            None => all.odd.push(id.clone()),
        }
        let elsewhere = |(day, stand_in): (Option<Civil>, Option<&str>)| {
            day.filter(|_| stand_in.is_some_and(|id| !items.contains_key(id)))
        };
        let days: Vec<Civil> = exdates(item).filter_map(elsewhere).collect();
        if !days.is_empty() {
            all.lacking.insert(id.clone(), days);
        }
    }
    all
}

fn kind(item: &Value) -> &str {
    item.get("itemType").and_then(Value::as_str).unwrap_or("appointment")
}

/// Meals and the like are shown by Cozi among the appointments and are none.
fn is_appointment(item: &Value) -> bool {
    matches!(kind(item), "appointment" | "birthday")
}

/// True for what we wrote in the place of a day of a series.
fn is_day(item: &Value) -> bool {
    let notes = item.get("itemDetails").and_then(|details| details.get("notes")).and_then(Value::as_str);
    matches!(unmarked(notes.unwrap_or_default()).1, Some((Role::Day, _)))
}

fn exdates(item: &Value) -> impl Iterator<Item = (Option<Civil>, Option<&str>)> {
    let list = item.get("recurrence").and_then(|r| r.get("exdates")).and_then(Value::as_array);
    list.into_iter().flatten().map(|exdate| {
        let day = exdate.get("date").or(Some(exdate)).and_then(Value::as_str).and_then(day_of);
        let stand_in = exdate.get("standinApptId").and_then(Value::as_str).filter(|id| !id.is_empty());
        (day, stand_in)
    })
}

fn appointment(id: &str, item: &Value, all: &Map<String, Value>) -> Option<Appointment> {
    let recurrence = item.get("recurrence").filter(|r| !r.is_null());
    let rules = recurrence.and_then(|r| r.get("rules")).and_then(Value::as_array);
    let first = item.get("recurrenceStartDay").and_then(Value::as_str).and_then(day_of);
    let day = first.or_else(|| item.get("day").and_then(Value::as_str).and_then(day_of))?;
    let mut draft = single(item, day)?;
    let mut places = BTreeMap::new();
    // Two rules are one too many to be understood.
    if rules.is_some_and(|rules| rules.len() > 1) {
        return None;
    }
    if let Some(rule) = rules.and_then(|rules| rules.first()) {
        let mut rule = Rule::from_json(rule, draft.start)?;
        let end = recurrence.and_then(|r| r.get("endDay")).and_then(Value::as_str).and_then(day_of);
        rule.until = rule.until.or(end);
        draft.rule = Some(rule);
        for (day, stand_in) in exdates(item) {
            let day = day?;
            let changed = match stand_in.and_then(|id| all.get(id)) {
                Some(other) => {
                    let own = other.get("day").and_then(Value::as_str).and_then(day_of)?;
                    Some(single(other, own)?)
                }
                None => None,
            };
            if let Some(id) = stand_in {
                places.insert(day, id.to_owned());
            }
            draft.exceptions.insert(day, changed.map(Box::new));
        }
    }
    let (notes, mark) = unmarked(&draft.notes);
    let uid = mark.map(|(_, uid)| uid);
    draft.notes = notes;
    for changed in draft.exceptions.values_mut().flatten() {
        changed.notes = unmarked(&changed.notes).0;
    }
    // A stand-in that says what the series says anyway is none to other programs.
    let plain = draft.clone();
    draft.exceptions.retain(|day, changed| changed.as_deref() != Some(&plain.on(*day)));
    let flag = |name: &str| item.get(name).and_then(Value::as_bool).unwrap_or(false);
    let subscribed = item.get("itemSource").is_some_and(|source| !source.is_null());
    // What was understood, not what was sent: pages show a series with the day that falls on them.
    let said = draft.text(uid.as_deref().unwrap_or_default(), &Zone::Utc);
    let digest = print::digest(&[&said[..], format!("{places:?}").as_bytes()].concat());
    Some(Appointment {
        id: id.to_owned(),
        uid: uid.unwrap_or_else(|| format!("{id}@cozi")),
        version: format!("{}|{digest}", day_text(day)),
        read_only: flag("readOnly") || subscribed || kind(item) == "birthday",
        people: item.get("householdMembers").cloned().unwrap_or_else(|| json!([])),
        draft,
        day,
        stand_ins: places,
    })
}

fn single(item: &Value, day: Civil) -> Option<Draft> {
    let clock = |name: &str| -> Option<i64> {
        let text = item.get(name).and_then(Value::as_str).unwrap_or("00:00:00");
        let mut parts = text.split(':').map(|part| part.parse::<i64>().ok());
        let (hours, minutes) = (parts.next()??, parts.next()??);
        ((0..24).contains(&hours) && (0..60).contains(&minutes)).then_some(hours * 3600 + minutes * 60)
    };
    let (from, to) = (clock("startTime")?, clock("endTime")?);
    let span = item.get("dateSpan").and_then(Value::as_i64).unwrap_or(0).clamp(0, 3660);
    let all_day = from == 0 && to == 0;
    let span = if all_day { span.max(1) } else { span };
    let details = item.get("itemDetails");
    let text = |of: Option<&Value>, name: &str| {
        of.and_then(|v| v.get(name)).and_then(Value::as_str).unwrap_or_default().trim().to_owned()
    };
    let subject = text(Some(item), "description");
    let subject = if subject.is_empty() { text(Some(item), "descriptionShort") } else { subject };
    let list = item.get("reminders").and_then(Value::as_array);
    let mut reminders: Vec<i64> =
        list.into_iter().flatten().filter_map(|r| r.get("minutesBefore").and_then(Value::as_i64)).collect();
    reminders.sort_unstable();
    reminders.dedup();
    Some(Draft {
        start: Civil(day.0 + from),
        end: Civil((day.0 + span * DAY + to).max(day.0 + from)),
        all_day,
        subject,
        location: text(details, "location"),
        notes: text(details, "notes"),
        reminders,
        rule: None,
        exceptions: BTreeMap::new(),
    })
}

/// Takes our marker off some notes. Returns what it says.
fn unmarked(notes: &str) -> (String, Option<(Role, String)>) {
    let plain = || (notes.to_owned(), None);
    let Some((rest, mark)) = notes.rsplit_once(MARK) else { return plain() };
    let Some((role, uid)) = mark.trim_end().strip_suffix(']').and_then(|mark| mark.split_once(' ')) else {
        return plain();
    };
    let role = [Role::Whole, Role::Day].into_iter().find(|known| known.word() == role);
    match role {
        Some(role) if !uid.is_empty() && !uid.contains(']') => {
            (rest.trim_end().to_owned(), Some((role, uid.to_owned())))
        }
        _ => plain(),
    }
}

/// Returns the notes with the marker of our UID; an event that Cozi made itself needs none.
fn marked(notes: &str, uid: &str, id: Option<&str>, role: Role) -> String {
    if role == Role::Whole && id.is_some_and(|id| uid == format!("{id}@cozi")) {
        return notes.to_owned();
    }
    let gap = if notes.is_empty() { "" } else { "\n\n" };
    format!("{notes}{gap}{MARK}{} {uid}]", role.word())
}

/// What is written of a draft: the body of `create` and `edit`.
pub(super) fn body(
    draft: &Draft,
    uid: &str,
    id: Option<&str>,
    people: &Value,
    role: Role,
) -> Map<String, Value> {
    let clock = |at: Civil| {
        let of_day = at.0 - at.midnight().0;
        format!("{:02}:{:02}", of_day / 3600, of_day % 3600 / 60)
    };
    let span = (draft.end.midnight().0 - draft.start.midnight().0) / DAY;
    let mut body = Map::new();
    if let Some(id) = id {
        body.insert("id".into(), json!(id));
    }
    body.insert("startDay".into(), json!(day_text(draft.start.midnight())));
    if let Some(rule) = &draft.rule {
        body.insert("recurrence".into(), json!({"rules": [rule.to_json()]}));
    }
    let reminders: Vec<Value> =
        draft.reminders.iter().map(|minutes| json!({"minutesBefore": minutes})).collect();
    body.insert("reminders".into(), Value::Array(reminders));
    body.insert(
        "details".into(),
        json!({
            "startTime": clock(draft.start),
            "endTime": clock(draft.end),
            "dateSpan": span,
            "attendeeSet": people,
            "location": draft.location,
            "notes": marked(&draft.notes, uid, id, role),
            "subject": draft.subject,
        }),
    );
    body
}

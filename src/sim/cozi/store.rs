//! What a household keeps in Cozi, and what its operations do.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::ical::recur::Rule;
use crate::ical::value::{Civil, days_from_civil, days_in_month};
use crate::sim::Dice;

const DAY: i64 = 86_400;
const PEOPLE: [(&str, &str); 2] =
    [("11111111-1111-4111-8111-111111111111", "Robin"), ("22222222-2222-4222-8222-222222222222", "Kim")];

/// An item of the calendar.
#[derive(Debug, Clone)]
struct Item {
    kind: String,
    version: i64,
    start: Civil,
    details: Map<String, Value>,
    reminders: Value,
    rule: Option<Value>,
    /// Days that were left out of a series; with the item that stands in for one.
    exceptions: BTreeMap<Civil, Option<String>>,
}

/// A household.
#[derive(Debug, Clone)]
pub(super) struct Household {
    pub(super) zone: String,
    items: BTreeMap<String, Item>,
    newest: String,
}

impl Household {
    pub(super) fn new(zone: &str) -> Household {
        Household { zone: zone.to_owned(), items: BTreeMap::new(), newest: String::new() }
    }

    pub(super) fn newest(&self) -> &str {
        &self.newest
    }

    pub(super) fn first_person(&self) -> &'static str {
        PEOPLE.first().map_or("", |(id, _)| id)
    }

    pub(super) fn people(&self) -> Value {
        let person = |(at, (id, name)): (usize, &(&str, &str))| {
            json!({
                "accountPersonId": id, "name": name, "email": format!("{}@example.org", name.to_lowercase()),
                "colorIndex": at, "version": 1, "accountPersonType": "user", "notifiable": true, "settings": {},
            })
        };
        Value::Array(PEOPLE.iter().enumerate().map(person).collect())
    }

    /// Everything, as the page of its first day shows it.
    pub(super) fn all(&self) -> Value {
        self.items.iter().map(|(id, item)| item.shown(id, item.start)).collect()
    }

    /// The page of a month.
    pub(super) fn page(&self, (year, month): (i64, i64), rejected: Vec<Value>) -> Value {
        let first = Civil(days_from_civil(year, month, 1) * DAY);
        let last = Civil(first.0 + (days_in_month(year, month) - 1) * DAY);
        let (mut items, mut days): (Map<String, Value>, BTreeMap<String, Vec<Value>>) = Default::default();
        for (id, item) in &self.items {
            let starts = item.starts(first, last);
            let Some(shown) = starts.first() else { continue };
            items.insert(id.clone(), item.shown(id, *shown));
            for start in &starts {
                for covered in 0..item.days().max(1) {
                    let day = Civil(start.0 + covered * DAY);
                    if day < first || day > last {
                        continue;
                    }
                    let mut place = json!({"id": id});
                    if covered > 0 {
                        set(&mut place, "multiday", json!({"startDay": text(*start)}));
                    }
                    days.entry(text(day)).or_default().push(place);
                }
            }
        }
        let mut page = json!({"items": items, "days": days});
        if !rejected.is_empty() {
            set(&mut page, "rejectedItems", Value::Array(rejected));
        }
        page
    }

    /// Carries one operation out. Inner value: it was rejected, in Cozi's way.
    ///
    /// # Errors
    /// The operation is not one.
    pub(super) fn operate(&mut self, operation: &Value, dice: &Dice) -> Result<Option<Value>, String> {
        let operation = operation.as_object().ok_or("an operation is an object")?;
        only(operation, &["itemType", "create", "edit", "delete", "notifyPersons", "selectedDay", "extent"])?;
        let kind = operation.get("itemType").and_then(Value::as_str).ok_or("itemType is missing")?;
        if !matches!(kind, "appointment" | "birthday") {
            return Err(format!("itemType {kind} is not known"));
        }
        let verbs: Vec<&str> =
            ["create", "edit", "delete"].into_iter().filter(|v| operation.contains_key(*v)).collect();
        let [verb] = verbs.as_slice() else { return Err("exactly one of create, edit, delete".into()) };
        let body = operation.get(*verb).and_then(Value::as_object).ok_or("the body is an object")?;
        let scope = scope(operation)?;
        let id = body.get("id").and_then(Value::as_str).unwrap_or_default().to_owned();
        let rejected = |why: &str| Ok(Some(json!({"id": id, "error": why})));
        match *verb {
            "delete" => {
                only(body, &["id", "version"])?;
                let Some(item) = self.items.get(&id) else { return rejected("no such item") };
                if body.get("version").and_then(Value::as_i64).is_some_and(|v| v != item.version) {
                    return rejected("version mismatch");
                }
                self.delete(&id, scope);
                Ok(None)
            }
            _ => {
                only(body, &["id", "version", "startDay", "recurrence", "reminders", "details", "itemType"])?;
                if body.contains_key("version") {
                    return rejected("an edit has no version");
                }
                let mut body = body.clone();
                if matches!(scope, Some((_, false))) {
                    // One day is no series, though clients send the rule along.
                    body.remove("recurrence");
                }
                let item = match read(kind, &body)? {
                    Ok(item) => item,
                    Err(why) => return rejected(why),
                };
                if *verb == "create" {
                    self.add(item, dice);
                    return Ok(None);
                }
                if !self.items.contains_key(&id) {
                    return rejected("no such item");
                }
                self.edit(&id, item, scope, dice);
                Ok(None)
            }
        }
    }

    fn add(&mut self, item: Item, dice: &Dice) -> String {
        let id = uuid(dice);
        self.items.insert(id.clone(), item);
        self.newest = id.clone();
        id
    }

    fn delete(&mut self, id: &str, scope: Option<(Civil, bool)>) {
        match scope {
            None => {
                let gone = self.items.remove(id);
                for stand_in in gone.into_iter().flat_map(|item| item.exceptions.into_values().flatten()) {
                    self.items.remove(&stand_in);
                }
            }
            Some((day, false)) => {
                let Some(item) = self.items.get_mut(id) else { return };
                item.version += 1;
                if let Some(Some(stand_in)) = item.exceptions.insert(day, None) {
                    self.items.remove(&stand_in);
                }
            }
            Some((day, true)) => self.end_before(id, day),
        }
    }

    fn end_before(&mut self, id: &str, day: Civil) {
        let Some(item) = self.items.get_mut(id) else { return };
        item.version += 1;
        if item.start >= day {
            self.items.remove(id);
        } else if let Some(rule) = &mut item.rule {
            set(rule, "end", json!({"untilDay": text(Civil(day.0 - DAY))}));
        }
    }

    fn edit(&mut self, id: &str, new: Item, scope: Option<(Civil, bool)>, dice: &Dice) {
        match scope {
            None => {
                if let Some(item) = self.items.get_mut(id) {
                    let version = item.version + 1;
                    let exceptions = std::mem::take(&mut item.exceptions);
                    // Days that were left out stay so, as long as it is a series.
                    let exceptions = if new.rule.is_some() { exceptions } else { BTreeMap::new() };
                    *item = Item { version, exceptions, ..new };
                }
                self.drop_orphans();
            }
            Some((day, false)) => {
                let stand_in = self.add(Item { rule: None, kind: "stand-in".into(), ..new }, dice);
                let before = self.items.get_mut(id).and_then(|item| {
                    item.version += 1;
                    item.exceptions.insert(day, Some(stand_in)).flatten()
                });
                if let Some(before) = before {
                    self.items.remove(&before);
                }
            }
            // From its first day on that is all of it: the series keeps its id.
            Some((day, true)) if self.items.get(id).is_some_and(|item| item.start == day) => {
                self.edit(id, new, None, dice);
            }
            Some((day, true)) => {
                self.end_before(id, day);
                self.add(new, dice);
            }
        }
    }

    /// Stand-ins of an item that is no series any more go with it.
    fn drop_orphans(&mut self) {
        let kept: Vec<String> =
            self.items.values().flat_map(|item| item.exceptions.values().flatten().cloned()).collect();
        let is_stand_in = |item: &Item| item.kind == "stand-in";
        self.items.retain(|id, item| !is_stand_in(item) || kept.contains(id));
    }
}

impl Item {
    /// Days on which it begins and that touch the month.
    fn starts(&self, first: Civil, last: Civil) -> Vec<Civil> {
        let early = Civil(first.0 - self.days() * DAY);
        let covers = |day: &Civil| *day <= last && day.0 + (self.days().max(1) - 1) * DAY >= first.0;
        let Some(rule) = self.rule.as_ref().and_then(parsed) else {
            return Some(self.start).filter(covers).into_iter().collect();
        };
        rule.between(self.start, early, last)
            .map(Civil::midnight)
            .filter(covers)
            .filter(|day| !self.exceptions.contains_key(day))
            .collect()
    }

    fn text(&self, name: &str) -> &str {
        self.details.get(name).and_then(Value::as_str).unwrap_or_default()
    }

    fn title(&self) -> &str {
        self.text(if self.kind == "birthday" { "name" } else { "subject" })
    }

    /// How many days it covers.
    fn days(&self) -> i64 {
        let span = self.details.get("dateSpan").and_then(Value::as_i64).unwrap_or(0);
        let midnight = |name: &str| matches!(self.text(name), "00:00" | "00:00:00" | "0:00");
        if midnight("endTime") && span > 0 { span } else { span + 1 }
    }

    fn shown(&self, id: &str, day: Civil) -> Value {
        let clock = |name: &str| {
            let text = self.text(name);
            if text.matches(':').count() == 1 { format!("{text}:00") } else { text.to_owned() }
        };
        let mut item = json!({
            "id": id,
            "itemType": if self.kind == "birthday" { "birthday" } else { "appointment" },
            "itemVersion": self.version,
            "day": text(day),
            "startTime": clock("startTime"),
            "endTime": clock("endTime"),
            "dateSpan": self.details.get("dateSpan").cloned().unwrap_or(json!(0)),
            "description": self.title(),
            "descriptionShort": self.title(),
            "householdMembers": self.details.get("attendeeSet").cloned().unwrap_or(json!([])),
            "itemDetails": {"location": self.text("location"), "notes": self.text("notes")},
            "itemSource": null,
            "readOnly": false,
            "reminders": self.reminders,
        });
        if self.kind == "birthday" {
            for name in ["name", "birthYear"] {
                let value = self.details.get(name).cloned().unwrap_or_default();
                if let Some(details) = item.get_mut("itemDetails") {
                    set(details, name, value);
                }
            }
        }
        if let Some(rule) = &self.rule {
            let exdates: Vec<Value> = self
                .exceptions
                .iter()
                .map(|(day, stand_in)| json!({"date": text(*day), "standinApptId": stand_in}))
                .collect();
            let end = rule.get("end").and_then(|end| end.get("untilDay")).cloned();
            let recurrence = json!({"rules": [rule], "exdates": exdates, "endDay": end, "text": "Repeats"});
            set(&mut item, "recurrence", recurrence);
            set(&mut item, "recurrenceStartDay", json!(text(self.start)));
        }
        item
    }
}

/// Returns an id as Cozi gives them to everything.
pub(super) fn uuid(dice: &Dice) -> String {
    let hex: String = (0..4).map(|_| format!("{:08x}", dice.any() & 0xffff_ffff)).collect();
    let part = |from: usize, to: usize| hex.get(from..to).unwrap_or_default().to_owned();
    [part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32)].join("-")
}

/// Reads the body of `create` or `edit`. Inner error: Cozi takes the request and rejects the item.
fn read(kind: &str, body: &Map<String, Value>) -> Result<Result<Item, &'static str>, String> {
    let mut start = body.get("startDay").and_then(Value::as_str).and_then(day).ok_or("startDay is no day")?;
    let details = body.get("details").and_then(Value::as_object).ok_or("details is no object")?;
    only(
        details,
        &[
            "startTime",
            "endTime",
            "dateSpan",
            "attendeeSet",
            "location",
            "notes",
            "subject",
            "name",
            "birthYear",
        ],
    )?;
    for name in ["location", "notes", "subject", "name"] {
        if details.get(name).is_some_and(|v| !v.is_string() && !v.is_null()) {
            return Err(format!("{name} is no text"));
        }
    }
    if details.get("dateSpan").is_some_and(|v| v.as_i64().is_none_or(|n| n < 0)) {
        return Err("dateSpan is no number of days".into());
    }
    if details.get("attendeeSet").is_some_and(|v| !v.is_array() && !v.is_null()) {
        return Err("attendeeSet is no list".into());
    }
    for name in ["startTime", "endTime"] {
        match details.get(name) {
            None | Some(Value::Null) => return Ok(Err("start_time and end_time are required")),
            Some(Value::String(text)) if is_clock(text) => {}
            Some(_) => return Err(format!("{name} is no time")),
        }
    }
    if kind == "birthday" {
        start = born(start, details.get("birthYear"))?;
    }
    let rule = match body.get("recurrence") {
        None | Some(Value::Null) => None,
        Some(recurrence) => {
            only(
                recurrence.as_object().ok_or("recurrence is no object")?,
                &["rules", "exdates", "endDay", "text"],
            )?;
            recurrence.get("rules").and_then(|rules| rules.get(0)).cloned()
        }
    };
    if let Some(rule) = &rule {
        let known = ["frequency", "interval", "byDay", "byMonthDay", "byMonth", "end"];
        only(rule.as_object().ok_or("a rule is an object")?, &known)?;
        let Some(parsed) = parsed(rule) else { return Err("the rule is none".into()) };
        if parsed.matches(start, start, start).next() != Some(start) {
            return Ok(Err("the start is no day of the repeat"));
        }
    }
    Ok(Ok(Item {
        kind: kind.to_owned(),
        version: 1,
        start,
        details: details.clone(),
        reminders: body.get("reminders").cloned().filter(|r| !r.is_null()).unwrap_or(json!([])),
        rule,
        exceptions: BTreeMap::new(),
    }))
}

/// A birthday begins in the year of birth; where nobody knows it, in 1904.
fn born(day: Civil, year: Option<&Value>) -> Result<Civil, String> {
    let year = match year {
        None | Some(Value::Null) => 1904,
        Some(year) => year.as_i64().filter(|y| (1000..=9999).contains(y)).ok_or("birthYear is no year")?,
    };
    let (_, month, day) = day.date();
    Ok(Civil(days_from_civil(year, month, day.min(days_in_month(year, month))) * DAY))
}

fn parsed(rule: &Value) -> Option<Rule> {
    let mut text = format!("FREQ={}", rule.get("frequency")?.as_str()?.to_ascii_uppercase());
    text.push_str(&format!(";INTERVAL={}", rule.get("interval").and_then(Value::as_i64).unwrap_or(1)));
    for (name, part) in [("byDay", "BYDAY"), ("byMonthDay", "BYMONTHDAY"), ("byMonth", "BYMONTH")] {
        let list = rule.get(name).and_then(Value::as_array);
        let values: Vec<String> = list
            .into_iter()
            .flatten()
            .map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned))
            .collect();
        if !values.is_empty() {
            text.push_str(&format!(";{part}={}", values.join(",")));
        }
    }
    if let Some(until) = rule.get("end").and_then(|end| end.get("untilDay")).and_then(Value::as_str) {
        text.push_str(&format!(";UNTIL={}", day(until)?.to_date()));
    }
    Rule::parse(&text).ok()
}

/// `selectedDay` and `extent`: the day, and whether all later ones are meant as well.
fn scope(operation: &Map<String, Value>) -> Result<Option<(Civil, bool)>, String> {
    match (operation.get("selectedDay"), operation.get("extent")) {
        (None, None) => Ok(None),
        (Some(at), Some(extent)) => {
            let at = at.as_str().and_then(day).ok_or("selectedDay is no day")?;
            match extent.as_str() {
                Some("day") => Ok(Some((at, false))),
                Some("forward") => Ok(Some((at, true))),
                _ => Err("extent is day or forward".into()),
            }
        }
        _ => Err("selectedDay and extent go together".into()),
    }
}

fn only(object: &Map<String, Value>, known: &[&str]) -> Result<(), String> {
    match object.keys().find(|key| !known.contains(&key.as_str())) {
        Some(odd) => Err(format!("unknown member {odd}")),
        None => Ok(()),
    }
}

fn set(value: &mut Value, name: &str, to: Value) {
    if let Some(object) = value.as_object_mut() {
        object.insert(name.to_owned(), to);
    }
}

fn is_clock(text: &str) -> bool {
    let parts: Vec<Option<u32>> = text.split(':').map(|part| part.parse().ok()).collect();
    matches!(parts.as_slice(), [Some(h), Some(m)] | [Some(h), Some(m), Some(_)] if *h < 24 && *m < 60)
}

fn day(text: &str) -> Option<Civil> {
    let digits: String = text.chars().filter(|c| *c != '-').collect();
    (text.len() == 10 && digits.len() == 8).then(|| Civil::parse(&digits)).flatten()
}

fn text(day: Civil) -> String {
    let (y, m, d) = day.date();
    format!("{y:04}-{m:02}-{d:02}")
}

//! From one iCalendar text to what Google is told.
//!
//! Owns: how each property is written, and what is not: attendees and organizer (Google would mail them), conferences
//! (they belong to one event), and all that Google has no field for.
//! Does not own: calls, and in which order things are written (`store`).

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::rule::{Recurrence, Unheld};
use super::when::Frame;
use super::{STATUS, TIME, UID, color, words};
use crate::bridge::provider;
use crate::ical::series::{Series, TimeRange, Written};
use crate::ical::value::{DAY, Duration, date_time};
use crate::ical::zone::{Zone, Zones};
use crate::ical::{Component, Ical, fold};

/// `reminders.overrides` has at most so many.
const REMINDERS: usize = 5;
/// And none longer before the event, in minutes.
const LONGEST: i64 = 40_320;

/// The fields of one event or instance, those that are to be empty as null.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::bridge::google) struct Draft {
    /// When it begins.
    pub(in crate::bridge::google) start: i64,
    /// When it ends.
    pub(in crate::bridge::google) end: i64,
    pub(super) frame: Frame,
    end_frame: Frame,
    fields: BTreeMap<&'static str, Value>,
    /// Our marks, empty for none.
    marks: BTreeMap<&'static str, &'static str>,
}

/// A whole object as Google is told it.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::bridge::google) struct Plan {
    /// The event, or of a series what holds for all instances.
    pub(in crate::bridge::google) master: Draft,
    /// How it recurs. Its EXDATEs are all instances that are left out.
    pub(in crate::bridge::google) recurrence: Recurrence,
    /// Instances that differ, by the moment that they stand for.
    pub(in crate::bridge::google) overrides: BTreeMap<i64, Draft>,
}

/// What was read of a text.
#[derive(Debug)]
pub(in crate::bridge::google) struct Told {
    /// What Google is told.
    pub(in crate::bridge::google) plan: Plan,
    /// Why Google can only be told each instance by itself.
    pub(in crate::bridge::google) apart: Option<String>,
    /// The one instance from which on the series is another (`RANGE=THISANDFUTURE`), if that is all that is odd.
    pub(in crate::bridge::google) from: Option<i64>,
}

/// Reads a text that Google can hold as one object.
///
/// # Errors
/// With a sentence, if it cannot.
pub(in crate::bridge::google) fn plan(ical: &Ical, home: &Zone) -> Result<Plan, String> {
    match read(ical, home) {
        Ok(Told { plan, apart: None, .. }) => Ok(plan),
        Ok(Told { apart: Some(sentence), .. }) | Err(Unheld::Refused(sentence) | Unheld::Parts(sentence)) => {
            Err(sentence)
        }
    }
}

/// Reads a text as what Google is told. `home` is the calendar's zone, for times that have none.
pub(in crate::bridge::google) fn read(ical: &Ical, home: &Zone) -> Result<Told, Unheld> {
    let refused = |text: &str| Unheld::Refused(text.to_owned());
    let calendar =
        ical.calendar().ok_or_else(|| refused("The event stays here: it is no calendar object."))?;
    if calendar.named("VEVENT").next().is_none() {
        return Err(refused("It stays here: Google Calendar holds only events, no tasks and no journals."));
    }
    // Two versions of one event: the newer counts (RFC 5545 §3.8.7.4), of equals the first.
    let sequence = |event: &Component<'_>| {
        event
            .property("SEQUENCE")
            .and_then(|property| property.raw().trim().parse::<i64>().ok())
            .unwrap_or_default()
    };
    let masters = calendar.named("VEVENT").filter(|event| event.property("RECURRENCE-ID").is_none());
    let newest = masters.reduce(|best, event| if sequence(&event) > sequence(&best) { event } else { best });
    let Some(component) = newest else {
        return Err(Unheld::Parts(
            "Google Calendar has no instances without their series, so each is kept as an event of its own."
                .into(),
        ));
    };
    let zones = Zones::of(ical);
    let (mut master, odd) = Draft::of(component, &zones, home)
        .ok_or_else(|| refused("The event stays here: it does not say when it begins."))?;
    let frame = master.frame.clone();
    let mut recurrence = Recurrence::of(component, &zones, &frame, master.start, master.end - master.start);
    let mut apart = match recurrence.unheld.take() {
        Some(Unheld::Parts(sentence)) => Some(sentence),
        Some(refused) => return Err(refused),
        None => None,
    };
    let called_off = is_cancelled(component);
    let mut overrides = BTreeMap::new();
    let mut ranges = Vec::new();
    for component in calendar.named("VEVENT") {
        let Some(id) = component.property("RECURRENCE-ID") else { continue };
        let Some(original) = date_time(&id).map(|time| frame.moment(&time, &zones, master.start)) else {
            continue;
        };
        if id.parameter("RANGE").is_some_and(|range| range.eq_ignore_ascii_case("THISANDFUTURE")) {
            ranges.push(original);
        }
        // In a series that is called off as a whole an instance is called off like the others.
        let out = is_cancelled(component) && !called_off;
        match Draft::of(component, &zones, home) {
            Some((draft, _)) if !out => {
                overrides.insert(original, draft);
            }
            _ => {
                recurrence.exdates.insert(original);
            }
        }
    }
    if odd && (recurrence.recurs() || !overrides.is_empty()) {
        apart.get_or_insert(
            "Google Calendar does not know the event's time zone, so its instances are kept one by one."
                .into(),
        );
    }
    let from = match ranges.as_slice() {
        [one] if apart.is_none() => Some(*one),
        _ => None,
    };
    if !ranges.is_empty() {
        apart.get_or_insert(
            "Google Calendar cannot change a series from one day on, so its parts are kept as events of their own."
                .into(),
        );
    }
    if overrides.is_empty() && !recurrence.recurs() {
        recurrence = Recurrence::default();
    }
    recurrence.exdates.retain(|at| !overrides.contains_key(at));
    let strangers = strangers(ical, &frame, overrides.keys().copied());
    recurrence.rdates.extend(strangers);
    tighten(&mut master, &mut overrides);
    Ok(Told { plan: Plan { master, recurrence, overrides }, apart, from })
}

/// Returns those of the moments that the rules do not yield. Google has exceptions of instances only: one that stands
/// for nothing becomes an instance by being named.
fn strangers(ical: &Ical, frame: &Frame, moments: impl Iterator<Item = i64>) -> BTreeSet<i64> {
    let mut moments = moments.peekable();
    let Some(calendar) = ical.calendar().filter(|_| moments.peek().is_some()) else { return BTreeSet::new() };
    // The series without its exceptions.
    let mut edit = ical.edit();
    for event in calendar.named("VEVENT") {
        if event.property("RECURRENCE-ID").is_some() {
            edit = edit.remove_component(event);
            continue;
        }
        for property in event.all("EXDATE") {
            edit = edit.remove(property);
        }
    }
    let Ok(bare) = Ical::parse(edit.finish()) else { return BTreeSet::new() };
    let series = Series::of(&bare);
    let zone = match frame {
        Frame::Timed { zone, .. } => zone.clone(),
        Frame::Date => Zone::Utc,
    };
    let yields = |at: i64| {
        let found = series.instances(TimeRange { start: at, end: at + 1 }, &zone, 16);
        found.list.iter().any(|instance| match instance.recurrence_id {
            Some(Written::Utc(own)) => own == at,
            Some(Written::Date(civil)) => civil.0 == at,
            Some(Written::Floating(civil)) => zone.to_instant(civil) == at,
            None => false,
        })
    };
    moments.filter(|at| !yields(*at)).collect()
}

/// Returns those of the moments that a series does not have.
pub(super) fn not_yielded(
    frame: &Frame,
    start: i64,
    recurrence: &Recurrence,
    moments: impl Iterator<Item = i64>,
) -> BTreeSet<i64> {
    let mut text = String::from("BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\nUID:u\r\n");
    let head = frame.line("DTSTART", start);
    let rdates = recurrence.rdates.iter().map(|at| frame.line("RDATE", *at));
    for line in recurrence.rules.iter().cloned().chain([head]).chain(rdates) {
        fold(&line, &mut text);
    }
    text.push_str("END:VEVENT\r\nEND:VCALENDAR\r\n");
    Ical::parse(text).map(|ical| strangers(&ical, frame, moments)).unwrap_or_default()
}

/// Google tightens a whole series with one of its instances and ignores a loosened one: so do we, on the safe side.
fn tighten(master: &mut Draft, overrides: &mut BTreeMap<i64, Draft>) {
    let rank = |draft: &Draft| match draft.fields.get("visibility").and_then(Value::as_str) {
        Some("confidential") => 2,
        Some("private") => 1,
        _ => 0,
    };
    let Some(strictest) = overrides.values().chain([&*master]).max_by_key(|draft| rank(draft)) else {
        return;
    };
    let strictest = strictest.fields.get("visibility").cloned().unwrap_or_default();
    for draft in overrides.values_mut().chain([master]) {
        draft.fields.insert("visibility", strictest.clone());
    }
}

impl Draft {
    /// The second is true if the zone of its time has no name there.
    fn of(component: Component<'_>, zones: &Zones<'_>, home: &Zone) -> Option<(Draft, bool)> {
        let starts = date_time(&component.property("DTSTART")?)?;
        let ((frame, start), odd) = Frame::of_ical(&starts, zones, home);
        let ends = component.property("DTEND").and_then(|property| date_time(&property));
        let (end_frame, end) = match ends {
            Some(ends) => {
                let ((end_frame, end), _) = Frame::of_ical(&ends, zones, home);
                match (frame.is_date(), end_frame.is_date()) {
                    (true, true) => (end_frame, end),
                    // RFC 5545 §3.8.2.2: both are of one kind. Where they are not, the beginning counts.
                    (true, false) => (frame.clone(), ends.civil().midnight().0 + DAY),
                    (false, true) => (frame.clone(), frame.moment(&ends, zones, start)),
                    (false, false) => (end_frame, end),
                }
            }
            None => {
                let duration = component.property("DURATION").and_then(|p| Duration::parse(&p.raw()));
                let Duration { days, seconds } = duration.unwrap_or_default();
                (frame.clone(), frame.shifted(start, days * DAY) + seconds)
            }
        };
        // Google refuses an event without length: a minute, or a day, is the least there is.
        let least = if frame.is_date() { DAY } else { 60 };
        let (end_frame, end) = if end > start { (end_frame, end) } else { (frame.clone(), start + least) };
        let end = if frame.is_date() { start + (end - start + DAY - 1) / DAY * DAY } else { end };
        let end_frame = if end_frame.floats() == frame.floats() { end_frame } else { frame.clone() };
        let mut draft =
            Draft { start, end, frame, end_frame, fields: BTreeMap::new(), marks: BTreeMap::new() };
        draft.words(component);
        draft.state(component);
        draft.reminders(component);
        Some((draft, odd))
    }

    fn words(&mut self, component: Component<'_>) {
        let text = |name: &str| {
            let text = component.property(name).map(|property| property.text().replace('\r', ""));
            text.filter(|text| !text.trim().is_empty())
        };
        let title = match is_cancelled(component) {
            true => Some(provider::called_off(&text("SUMMARY").unwrap_or_default())),
            false => text("SUMMARY"),
        };
        self.fields.insert("summary", title.map_or(Value::Null, Value::from));
        let description = text("DESCRIPTION").map(|text| words::description(&text));
        let description = description.filter(|text| !text.trim().is_empty());
        self.fields.insert("description", description.map_or(Value::Null, Value::from));
        self.fields.insert("location", text("LOCATION").map_or(Value::Null, Value::from));
        // Google takes web addresses only.
        let url = component.property("URL").map(|property| property.raw().trim().to_owned());
        let web = |url: &String| {
            url::Url::parse(url).is_ok_and(|parsed| matches!(parsed.scheme(), "http" | "https"))
        };
        let source = url.filter(web).map_or(Value::Null, |url| json!({ "url": url }));
        self.fields.insert("source", source);
        let color = word(component, "COLOR").and_then(|name| color::nearest(&name));
        self.fields.insert("colorId", color.map_or(Value::Null, Value::from));
    }

    fn state(&mut self, component: Component<'_>) {
        let cancelled = is_cancelled(component);
        let tentative = word(component, "STATUS").as_deref() == Some("TENTATIVE");
        self.fields.insert("status", if tentative { "tentative" } else { "confirmed" }.into());
        self.marks.insert(STATUS, if cancelled { "cancelled" } else { "" });
        self.marks.insert(TIME, if self.frame.floats() { "floating" } else { "" });
        let free = cancelled || word(component, "TRANSP").as_deref() == Some("TRANSPARENT");
        self.fields.insert("transparency", if free { "transparent" } else { "opaque" }.into());
        let visibility = match word(component, "CLASS").as_deref() {
            // `public` shows all to those who may otherwise see only when somebody is busy; many programs write
            // CLASS:PUBLIC on everything, since it is the default of RFC 5545 §3.8.1.3. Nobody meant that.
            None | Some("PUBLIC" | "") => "default",
            Some("CONFIDENTIAL") => "confidential",
            // RFC 5545 §3.8.1.3: what is unknown is private.
            Some(_) => "private",
        };
        self.fields.insert("visibility", visibility.into());
    }

    fn reminders(&mut self, component: Component<'_>) {
        let length = self.end - self.start;
        let all: BTreeSet<(i64, &str)> =
            component.named("VALARM").filter_map(|alarm| reminder(alarm, length)).collect();
        let overrides: Vec<Value> = all
            .into_iter()
            .take(REMINDERS)
            .map(|(minutes, method)| json!({ "method": method, "minutes": minutes }))
            .collect();
        self.fields.insert("reminders", json!({ "useDefault": false, "overrides": overrides }));
    }

    /// Returns the fields of a new event.
    pub(in crate::bridge::google) fn whole(&self, uid: Option<&str>) -> Map<String, Value> {
        let fields = self.fields.iter().filter(|(_, value)| !value.is_null());
        let mut body: Map<String, Value> =
            fields.map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        body.insert("start".into(), self.frame.json(self.start));
        body.insert("end".into(), self.end_frame.json(self.end));
        let mut private: Map<String, Value> = self
            .marks
            .iter()
            .filter(|(_, mark)| !mark.is_empty())
            .map(|(n, m)| ((*n).into(), (*m).into()))
            .collect();
        if let Some(uid) = uid {
            private.insert(UID.into(), uid.into());
        }
        if !private.is_empty() {
            body.insert("extendedProperties".into(), json!({ "private": private }));
        }
        body
    }

    /// Returns the fields that make this of the other, all of them if there is no other.
    pub(in crate::bridge::google) fn since(&self, other: Option<&Draft>) -> Map<String, Value> {
        let differs =
            |name: &str, value: &Value| other.is_none_or(|other| other.fields.get(name) != Some(value));
        let mut body: Map<String, Value> = self
            .fields
            .iter()
            .filter(|(name, value)| differs(name, value))
            .map(|(name, value)| ((*name).to_owned(), value.clone()))
            .collect();
        let (start, end) = (self.frame.json(self.start), self.end_frame.json(self.end));
        let times = |draft: &Draft| (draft.frame.json(draft.start), draft.end_frame.json(draft.end));
        if other.map(times).is_none_or(|other| other != (start.clone(), end.clone())) {
            body.insert("start".into(), of_one_kind(start));
            body.insert("end".into(), of_one_kind(end));
        }
        let marks: Map<String, Value> = self
            .marks
            .iter()
            .filter(|(name, mark)| match other {
                Some(other) => other.marks.get(*name) != Some(*mark),
                None => true,
            })
            .map(|(name, mark)| ((*name).into(), (*mark).into()))
            .collect();
        if !marks.is_empty() {
            body.insert("extendedProperties".into(), json!({ "private": marks }));
        }
        body
    }

    /// Returns the draft moved to another instance of the series.
    pub(in crate::bridge::google) fn moved_to(&self, original: i64) -> Draft {
        let lasts = match &self.frame {
            Frame::Timed { zone, .. } => zone.to_civil(self.end).0 - zone.to_civil(self.start).0,
            Frame::Date => self.end - self.start,
        };
        let end = if self.end - self.start == lasts {
            self.frame.shifted(original, lasts)
        } else {
            original + (self.end - self.start)
        };
        Draft { start: original, end, ..self.clone() }
    }

    /// Returns what its times are made of.
    pub(in crate::bridge::google) fn frame(&self) -> &Frame {
        &self.frame
    }
}

impl Plan {
    /// Returns the lines of `recurrence`; null for an event that does not recur.
    pub(in crate::bridge::google) fn recurrence_json(&self, exdates: &BTreeSet<i64>) -> Value {
        if !self.recurs() {
            return Value::Null;
        }
        let frame = self.master.frame();
        let mut lines = self.recurrence.lines(frame);
        lines.extend(frame.recurrence_line("EXDATE", exdates.iter().copied()));
        Value::from(lines)
    }

    /// True for a series.
    pub(in crate::bridge::google) fn recurs(&self) -> bool {
        self.recurrence.recurs()
    }

    /// Returns those of the moments that the rules do not yield.
    pub(in crate::bridge::google) fn strangers(&self, moments: impl Iterator<Item = i64>) -> BTreeSet<i64> {
        not_yielded(&self.master.frame, self.master.start, &self.recurrence, moments)
    }

    /// True if the calendar's zone matters.
    pub(in crate::bridge::google) fn floats(&self) -> bool {
        self.overrides.values().chain([&self.master]).any(|draft| draft.frame.floats())
    }
}

/// A patch keeps what it does not name: a time that becomes a day must lose its hour.
fn of_one_kind(mut when: Value) -> Value {
    if let Some(fields) = when.as_object_mut() {
        for name in ["date", "dateTime", "timeZone"] {
            fields.entry(name).or_insert(Value::Null);
        }
    }
    when
}

fn is_cancelled(component: Component<'_>) -> bool {
    word(component, "STATUS").as_deref() == Some("CANCELLED")
}

fn word(component: Component<'_>, name: &str) -> Option<String> {
    component.property(name).map(|property| property.raw().trim().to_ascii_uppercase())
}

/// Reads an alarm as minutes before the beginning. Nothing: Google cannot ring then.
fn reminder(alarm: Component<'_>, length: i64) -> Option<(i64, &'static str)> {
    let method = match word(alarm, "ACTION").as_deref() {
        Some("EMAIL") => "email",
        Some("DISPLAY" | "AUDIO") => "popup",
        _ => return None,
    };
    let trigger = alarm.property("TRIGGER")?;
    let after = Duration::parse(&trigger.raw())?.plain_seconds();
    let of_end = trigger.parameter("RELATED").is_some_and(|related| related.eq_ignore_ascii_case("END"));
    let before = -(after + if of_end { length } else { 0 });
    let minutes = before.div_euclid(60);
    (before >= 0 && minutes <= LONGEST).then_some((minutes, method))
}

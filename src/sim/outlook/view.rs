//! How events and calendars are shown.
//!
//! Owns: the JSON of answers. Does not own: which rows are shown.

use serde_json::{Map, Value, json};

use super::body::text_of;
use super::fail::uuid;
use super::ids::{Form, Id};
use super::mailbox::{Calendar, DEFAULT, Row, change_key, etag};
use super::prefer::Prefer;
use super::query::Query;
use super::{Habits, times};
use crate::ical::value::civil_from_days;

/// Adds a field to an object.
pub(super) fn set(object: &mut Value, name: &str, value: Value) {
    if let Value::Object(fields) = object {
        fields.insert(name.to_owned(), value);
    }
}

/// Whose mailbox it is.
#[derive(Debug, Clone)]
pub(super) struct Owner {
    /// The address.
    pub(super) address: String,
    /// The name.
    pub(super) name: String,
    /// The number of the account.
    pub(super) id: String,
}

impl Owner {
    fn mailbox(&self) -> Value {
        json!({ "name": self.name, "address": self.address })
    }
}

/// What events are shown with.
#[derive(Debug, Clone, Copy)]
pub(super) struct Show<'a> {
    /// Whose they are.
    pub(super) owner: &'a Owner,
    /// What the request prefers.
    pub(super) prefer: &'a Prefer,
    /// What it asks for.
    pub(super) query: &'a Query,
    /// The mailbox's habits.
    pub(super) habits: &'a Habits,
}

impl Show<'_> {
    /// Shows an event with the fields that are asked for.
    pub(super) fn event(&self, row: Row<'_>) -> Value {
        let mut all = self.whole(row);
        let Some(select) = &self.query.select else { return all };
        if select.iter().any(|name| name == "cancelledOccurrences") && row.kind() == "seriesMaster" {
            let id = row.id().written(self.prefer.form);
            let days = row.state.event.cancelled.iter();
            let days = days.map(|day| format!("OID.{id}.{}", times::day_text(*day)));
            set(&mut all, "cancelledOccurrences", days.collect());
        }
        if self.query.exceptions && select.iter().any(|name| name == "exceptionOccurrences") {
            let days = row.state.event.exceptions.keys().filter(|_| row.day.is_none());
            let plain = Query { select: None, exceptions: false, ..self.query.clone() };
            let show = Show { query: &plain, ..*self };
            let shown = days.map(|day| show.event(Row { day: Some(*day), ..row }));
            set(&mut all, "exceptionOccurrences", shown.collect());
        }
        let Value::Object(all) = all else { return all };
        let kept = |name: &String| {
            name.contains('@')
                || name == "id"
                || select.contains(name)
                || (name == "singleValueExtendedProperties" && !self.query.marks.is_empty())
        };
        Value::Object(all.into_iter().filter(|(name, _)| kept(name)).collect())
    }

    /// Shows an event in a delta: occurrences that are like their series may say only when they are.
    pub(super) fn of_delta(&self, row: Row<'_>) -> Value {
        let mut all = self.whole(row);
        if self.habits.sparse && row.kind() == "occurrence" {
            let few = ["@odata.etag", "id", "seriesMasterId", "type", "start", "end"];
            let Value::Object(whole) = all else { return all };
            all = Value::Object(whole.into_iter().filter(|(name, _)| few.contains(&name.as_str())).collect());
        }
        set(&mut all, "@odata.type", json!("#microsoft.graph.event"));
        all
    }

    fn whole(&self, row: Row<'_>) -> Value {
        let event = &row.state.event;
        let core = event.core_on(row.day);
        let form = self.prefer.form;
        let mut shown: Map<String, Value> = core.fields.clone();
        let id = row.id().written(form);
        let body = shown.get("body").cloned().unwrap_or_default();
        let html = body.get("contentType").and_then(Value::as_str) == Some("html");
        let content = body.get("content").and_then(Value::as_str).unwrap_or_default();
        let plain = if html { text_of(content) } else { content.to_owned() };
        let preview: String = plain.chars().take(255).collect();
        let online = shown.get("isOnlineMeeting") == Some(&json!(true));
        if online && shown.get("onlineMeetingProvider") == Some(&json!("unknown")) {
            shown.insert("onlineMeetingProvider".into(), json!("teamsForBusiness"));
        }
        let meeting = format!("https://teams.example/l/meetup-join/{}", row.item.key);
        if self.prefer.text && html {
            shown.insert("body".into(), json!({ "contentType": "text", "content": plain }));
        }
        let zone = |name: &str| {
            if self.habits.custom_zone { "tzone://Microsoft/Custom" } else { times::windows_name(name) }
                .to_owned()
        };
        let more = json!({
            "@odata.etag": etag(row.seq()), "id": id, "changeKey": change_key(row.seq()),
            "createdDateTime": times::moment(row.item.created), "lastModifiedDateTime": times::moment(row.state.modified),
            "originalStartTimeZone": zone(&core.start.zone), "originalEndTimeZone": zone(&core.end.zone),
            "iCalUId": ical_uid(row), "hasAttachments": false, "bodyPreview": preview,
            "isAllDay": core.all_day, "isCancelled": false, "isOrganizer": true, "isDraft": false,
            "seriesMasterId": row.day.map(|_| Id::Event(row.item.key, None).written(form)), "type": row.kind(),
            "webLink": format!("https://outlook.example/owa/?itemid={id}"), "onlineMeetingUrl": null,
            "onlineMeeting": online.then(|| json!({ "joinUrl": meeting })),
            "responseStatus": { "response": "organizer", "time": "0001-01-01T00:00:00Z" },
            "organizer": { "emailAddress": self.owner.mailbox() },
            "start": core.start.shown(&self.prefer.zone, core.all_day),
            "end": core.end.shown(&self.prefer.zone, core.all_day),
            "recurrence": match (&event.recurrence, row.day) {
                (Some(recurrence), None) => recurrence.shown(&core.start.zone),
                _ => Value::Null,
            },
        });
        if let Value::Object(more) = more {
            shown.extend(more);
        }
        if let Some((named, _)) = row.item.transaction.as_ref().filter(|_| row.day.is_none()) {
            shown.insert("transactionId".into(), json!(named));
        }
        if let Some(day) = row.day {
            let mut at = event.core.start.clone();
            at.civil.0 += (day - at.civil.days()) * crate::ical::value::DAY;
            let instant = if event.core.all_day { at.civil.0 } else { at.instant() };
            shown.insert("originalStart".into(), json!(times::moment(instant * 1000)));
        }
        let marks: Vec<Value> = self
            .query
            .marks
            .iter()
            .filter_map(|id| core.marks.get(id).map(|value| json!({ "id": id, "value": value })))
            .collect();
        if !marks.is_empty() {
            shown.insert("singleValueExtendedProperties".into(), Value::Array(marks));
        }
        Value::Object(shown)
    }

    /// Shows a calendar.
    pub(super) fn calendar(&self, key: u64, calendar: &Calendar) -> Value {
        let default = key == DEFAULT;
        let all = json!({
            "id": Id::Calendar(key).written(Form::Default), "name": calendar.name, "color": calendar.color,
            "hexColor": calendar.hex, "isDefaultCalendar": default, "changeKey": change_key(calendar.seq),
            "canShare": calendar.writable, "canViewPrivateItems": true, "canEdit": calendar.writable,
            "allowedOnlineMeetingProviders": ["teamsForBusiness"], "defaultOnlineMeetingProvider": "teamsForBusiness",
            "isTallyingResponses": default, "isRemovable": !default, "owner": self.owner.mailbox(),
        });
        let (Some(select), Value::Object(all)) = (&self.query.select, all.clone()) else { return all };
        Value::Object(all.into_iter().filter(|(name, _)| name == "id" || select.contains(name)).collect())
    }
}

/// A UID as Exchange makes them: hexadecimal, with the day of an occurrence in it.
fn ical_uid(row: Row<'_>) -> String {
    let (year, month, day) = row.day.map_or((0, 0, 0), civil_from_days);
    let made = row.item.created.unsigned_abs();
    let own = uuid(row.item.key.wrapping_mul(0x9e37_79b9_7f4a_7c15), made).replace('-', "").to_uppercase();
    format!("040000008200E00074C5B7101A82E008{year:04X}{month:02X}{day:02X}{made:016X}{:016}10000000{own}", 0)
}

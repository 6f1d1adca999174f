//! Calls about calendars: the person's list, the calendars themselves, colours.
//!
//! Owns: what they tell, who may change them. Does not own: events.

use serde_json::{Value, json};

use super::read::version;
use super::refusal::{Outcome, Refusal};
use super::state::{Calendar, Fields, PERSON, State};
use super::time;
use crate::sim::Request;

/// What only the person sees: it belongs to the list, not to the calendar.
const OWN: &[&str] = &[
    "accessRole",
    "backgroundColor",
    "foregroundColor",
    "colorId",
    "defaultReminders",
    "notificationSettings",
    "selected",
    "hidden",
    "primary",
    "summaryOverride",
];

/// The colours of events, 1 to 11.
const EVENTS: &[&str] = &[
    "#a4bdfc", "#7ae7bf", "#dbadff", "#ff887c", "#fbd75b", "#ffb878", "#46d6db", "#e1e1e1", "#5484ed",
    "#51b749", "#dc2127",
];
/// The colours of calendars, 1 to 24.
const CALENDARS: &[&str] = &[
    "#ac725e", "#d06b64", "#f83a22", "#fa573c", "#ff7537", "#ffad46", "#42d692", "#16a765", "#7bd148",
    "#b3dc6c", "#fbe983", "#fad165", "#92e1c0", "#9fe1e7", "#9fc6e7", "#4986e7", "#9a9cff", "#b99aff",
    "#c2c2c2", "#cabdbf", "#cca6ac", "#f691b2", "#cd74e6", "#a47ae2",
];

fn entry(calendar: &Calendar) -> Value {
    let mut out = calendar.entry.clone();
    out.insert("kind".into(), json!("calendar#calendarListEntry"));
    out.insert("etag".into(), json!(version(calendar.entry_changed)));
    if calendar.gone {
        out.insert("deleted".into(), json!(true));
    }
    Value::Object(out)
}

fn resource(calendar: &Calendar) -> Value {
    let mut out = calendar.entry.clone();
    out.retain(|name, _| !OWN.contains(&name.as_str()));
    out.insert("kind".into(), json!("calendar#calendar"));
    out.insert("etag".into(), json!(version(calendar.entry_changed)));
    Value::Object(out)
}

impl State {
    /// Lists the calendars of the person.
    pub(super) fn calendar_list(&self, request: &Request) -> Outcome<Value> {
        let asked = |name: &str| request.parameter(name);
        let since = match asked("syncToken") {
            None => None,
            Some(token) => {
                let wrong =
                    ["minAccessRole", "showOwnOrganizationOnly"].iter().any(|name| asked(name).is_some())
                        || asked("showDeleted") == Some("false")
                        || asked("showHidden") == Some("false");
                if wrong {
                    let message = "Sync token cannot be used with query restrictions.";
                    return Err(Refusal::invalid("syncToken", message));
                }
                let bad = || Refusal::invalid("syncToken", "Invalid sync token value.");
                let (generation, at) = token.split_once('.').ok_or_else(bad)?;
                if generation != self.generation.to_string() {
                    return Err(Refusal::full_sync());
                }
                Some(at.parse::<u64>().map_err(|_| bad())?)
            }
        };
        let rank = |role: &str| {
            ["freeBusyReader", "reader", "writerWithoutPrivateAccess", "writer", "owner"]
                .iter()
                .position(|known| *known == role)
        };
        let shown = |calendar: &&Calendar| {
            let deleted = since.is_some() || asked("showDeleted") == Some("true");
            let hidden = since.is_some() || asked("showHidden") == Some("true");
            since.is_none_or(|since| calendar.entry_changed > since)
                && (deleted || !calendar.gone)
                && (hidden || calendar.entry.get("hidden") != Some(&json!(true)))
                && asked("minAccessRole").is_none_or(|least| rank(calendar.text("accessRole")) >= rank(least))
        };
        let found: Vec<&Calendar> = self.calendars.values().filter(shown).collect();
        let begin = match asked("pageToken") {
            None => 0,
            Some(token) => {
                token.parse().map_err(|_| Refusal::invalid("pageToken", "Invalid page token value."))?
            }
        };
        let most = asked("maxResults").and_then(|number| number.parse().ok()).unwrap_or(100).min(250);
        let rest = found.get(begin..).unwrap_or_default();
        let items: Vec<Value> = rest.iter().take(most).map(|calendar| entry(calendar)).collect();
        let last = self.calendars.values().map(|calendar| calendar.entry_changed).max().unwrap_or(0);
        let mut answer = json!({ "kind": "calendar#calendarList", "etag": version(last), "items": items });
        let (name, token) = match rest.len() > most {
            true => ("nextPageToken", (begin + most).to_string()),
            false => ("nextSyncToken", format!("{}.{last}", self.generation)),
        };
        if let Some(answer) = answer.as_object_mut() {
            answer.insert(name.into(), json!(token));
        }
        Ok(answer)
    }

    pub(super) fn calendar_entry(&self, id: &str) -> Outcome<Value> {
        self.calendar(id).map(entry)
    }

    pub(super) fn calendar_resource(&self, id: &str) -> Outcome<Value> {
        self.calendar(id).map(resource)
    }

    /// Puts a calendar that there is on the list again.
    pub(super) fn list_calendar(&mut self, body: &Fields) -> Outcome<Value> {
        let id = body.get("id").and_then(Value::as_str).unwrap_or_default().to_owned();
        let next = self.changes + 1;
        let calendar = self.calendars.get_mut(&id).ok_or_else(Refusal::not_found)?;
        calendar.gone = false;
        calendar.entry_changed = next;
        self.changes = next;
        self.calendar_entry(&id)
    }

    /// Changes what only the person sees of a calendar.
    pub(super) fn patch_entry(&mut self, id: &str, body: Fields, rgb: bool) -> Outcome<Value> {
        for name in ["backgroundColor", "foregroundColor"] {
            if body.contains_key(name) && !rgb {
                let message = "Colours are written with colorRgbFormat=true only.";
                return Err(Refusal::invalid(name, message));
            }
        }
        let colour = body.get("colorId").and_then(Value::as_str).map(str::to_owned);
        if let Some(colour) = &colour {
            let known = colour.parse::<usize>().ok().and_then(|number| CALENDARS.get(number.checked_sub(1)?));
            let known = known.ok_or_else(|| Refusal::invalid("colorId", "Invalid color ID."))?;
            self.calendar_mut(id)?.entry.insert("backgroundColor".into(), json!(known));
        }
        self.patch_fields(id, body)?;
        self.calendar_entry(id)
    }

    /// Changes a calendar for all.
    pub(super) fn patch_calendar(&mut self, id: &str, body: Fields) -> Outcome<Value> {
        if self.calendar(id)?.text("accessRole") != "owner" {
            return Err(Refusal::new(403, "forbidden", "Forbidden"));
        }
        self.patch_fields(id, body)?;
        self.calendar_resource(id)
    }

    fn patch_fields(&mut self, id: &str, body: Fields) -> Outcome<()> {
        if let Some(zone) = body.get("timeZone").and_then(Value::as_str)
            && time::zone(zone).is_none()
        {
            return Err(Refusal::invalid("timeZone", "Invalid time zone definition."));
        }
        let next = self.changes + 1;
        let calendar = self.calendar_mut(id)?;
        for (name, value) in body {
            if name == "id" {
                continue;
            }
            match value {
                Value::Null => drop(calendar.entry.remove(&name)),
                value => drop(calendar.entry.insert(name, value)),
            }
        }
        calendar.entry_changed = next;
        self.changes = next;
        Ok(())
    }

    /// Makes a calendar.
    pub(super) fn insert_calendar(&mut self, mut body: Fields) -> Outcome<Value> {
        if body.get("summary").and_then(Value::as_str).is_none_or(str::is_empty) {
            return Err(Refusal::required("Missing summary."));
        }
        if let Some(zone) = body.get("timeZone").and_then(Value::as_str)
            && time::zone(zone).is_none()
        {
            return Err(Refusal::invalid("timeZone", "Invalid time zone definition."));
        }
        body.remove("id");
        let id = format!("c_{:032x}@group.calendar.google.com", self.next());
        self.add_calendar(&id, body);
        self.calendar_resource(&id)
    }

    /// Takes a calendar away: from the list, or for all.
    pub(super) fn remove_calendar(&mut self, id: &str) -> Outcome<()> {
        if self.calendar_id(id) == PERSON {
            let message = "The primary calendar of a user cannot be removed.";
            return Err(Refusal::calendar(403, "cannotRemovePrimaryCalendar", message));
        }
        let next = self.changes + 1;
        let calendar = self.calendar_mut(id)?;
        calendar.gone = true;
        calendar.entry_changed = next;
        self.changes = next;
        Ok(())
    }

    /// Deletes all events of the main calendar.
    pub(super) fn clear_calendar(&mut self, id: &str, now: i64) -> Outcome<()> {
        if self.calendar_id(id) != PERSON {
            return Err(Refusal::invalid("calendarId", "Only the primary calendar can be cleared."));
        }
        let id = self.calendar_id(id);
        let live: Vec<(String, Fields)> = self
            .calendar(&id)?
            .events
            .iter()
            .filter(|(_, kept)| !kept.cancelled())
            .map(|(name, kept)| (name.clone(), kept.fields.clone()))
            .collect();
        for (name, mut fields) in live {
            fields.insert("status".into(), json!("cancelled"));
            self.keep(&id, &name, fields, now, true);
        }
        Ok(())
    }
}

/// Tells the palette.
pub(super) fn colors() -> Value {
    let map = |colours: &[&str]| -> Value {
        let colours = colours.iter().enumerate().map(|(index, colour)| {
            ((index + 1).to_string(), json!({ "background": colour, "foreground": "#1d1d1d" }))
        });
        Value::Object(colours.collect())
    };
    json!({ "kind": "calendar#colors", "updated": "2012-02-14T00:00:00.000Z", "calendar": map(CALENDARS), "event": map(EVENTS) })
}

//! What the simulated Google knows: calendars, events, channels.
//!
//! Owns: the shelves, the count of changes, what an event looked like before its last change.
//! Does not own: what may be written (`shape`, `write`), what is shown (`read`), sign-in (`oauth`).

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::oauth::Door;
use super::push::Channel;
use super::refusal::{Outcome, Refusal};
use super::time;
use crate::ical::zone::Zone;
use crate::sim::Notice;

/// The fields of an event.
pub(super) type Fields = Map<String, Value>;

/// The person whose account it is.
pub(super) const PERSON: &str = "anna@example.com";

/// An event as it is kept: its own fields, times in the zone of their own.
#[derive(Debug, Clone)]
pub(super) struct Kept {
    pub(super) fields: Fields,
    /// The change that made it what it is.
    pub(super) changed: u64,
    /// What it was before; nothing: it was not there.
    pub(super) before: Option<Fields>,
}

impl Kept {
    pub(super) fn text(&self, name: &str) -> &str {
        self.fields.get(name).and_then(Value::as_str).unwrap_or_default()
    }

    pub(super) fn cancelled(&self) -> bool {
        cancelled(&self.fields)
    }

    /// Returns the series that it is an exception of.
    pub(super) fn series(&self) -> Option<&str> {
        self.fields.get("recurringEventId").and_then(Value::as_str)
    }
}

/// Tells whether an event is deleted.
pub(super) fn cancelled(fields: &Fields) -> bool {
    fields.get("status").and_then(Value::as_str) == Some("cancelled")
}

/// Tells whether an event is the master of a series.
pub(super) fn recurs(fields: &Fields) -> bool {
    fields.get("recurrence").and_then(Value::as_array).is_some_and(|lines| !lines.is_empty())
}

/// A calendar.
#[derive(Debug, Clone)]
pub(super) struct Calendar {
    /// What `calendarList` and `calendars` tell of it.
    pub(super) entry: Fields,
    pub(super) events: BTreeMap<String, Kept>,
    /// The last change of an event.
    pub(super) changed: u64,
    /// The change that made the entry what it is.
    pub(super) entry_changed: u64,
    /// It was removed from the list, or deleted.
    pub(super) gone: bool,
    /// Nobody can be told of its changes: holidays, birthdays.
    pub(super) silent: bool,
}

impl Calendar {
    pub(super) fn text(&self, name: &str) -> &str {
        self.entry.get(name).and_then(Value::as_str).unwrap_or_default()
    }

    /// Returns its time zone.
    pub(super) fn zone(&self) -> Zone {
        time::zone(self.text("timeZone")).unwrap_or(Zone::Utc)
    }

    pub(super) fn writable(&self) -> bool {
        matches!(self.text("accessRole"), "owner" | "writer" | "writerWithoutPrivateAccess")
    }

    /// The person sees that there is something, not what.
    pub(super) fn sees_private(&self) -> bool {
        matches!(self.text("accessRole"), "owner" | "writer")
    }
}

/// Everything.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) door: Door,
    pub(super) calendars: BTreeMap<String, Calendar>,
    pub(super) channels: BTreeMap<String, Channel>,
    /// The number of the last change.
    pub(super) changes: u64,
    /// Of changes up to this one it is not known any more what they were; cursors from before it are worth nothing.
    pub(super) forgotten: u64,
    /// Cursors of another generation are worth nothing.
    pub(super) generation: u64,
    /// How fields are rewritten when they are written.
    pub(super) manners: BTreeMap<String, String>,
    /// Requests a minute.
    pub(super) quota: Option<u32>,
    /// When calls came within the last minute, in milliseconds.
    pub(super) calls: Vec<i64>,
    /// Writes that named guests, and those of them that sent mail.
    pub(super) guests: u32,
    pub(super) mails: u32,
    /// What is to be told when the call is answered.
    pub(super) notices: Vec<Notice>,
    made: u64,
}

impl State {
    /// Returns a number that was never used.
    pub(super) fn next(&mut self) -> u64 {
        self.made += 1;
        self.made
    }

    /// Resolves the alias of the main calendar.
    pub(super) fn calendar_id(&self, name: &str) -> String {
        if name == "primary" { PERSON.into() } else { name.into() }
    }

    /// Returns a calendar by its id or alias.
    pub(super) fn calendar(&self, name: &str) -> Outcome<&Calendar> {
        self.calendars
            .get(&self.calendar_id(name))
            .filter(|calendar| !calendar.gone)
            .ok_or_else(Refusal::not_found)
    }

    /// Returns a calendar by its id or alias, to change it.
    pub(super) fn calendar_mut(&mut self, name: &str) -> Outcome<&mut Calendar> {
        let id = self.calendar_id(name);
        self.calendars.get_mut(&id).filter(|calendar| !calendar.gone).ok_or_else(Refusal::not_found)
    }

    /// Returns a calendar that the person may write to.
    pub(super) fn writable(&self, name: &str) -> Outcome<&Calendar> {
        let calendar = self.calendar(name)?;
        if calendar.writable() { Ok(calendar) } else { Err(Refusal::access()) }
    }

    /// Forgets all but so many of the last changes: what was deleted before them, what events were before, who signed in long ago.
    pub(super) fn forget(&mut self, keep: u64, now: i64) {
        self.forgotten = self.forgotten.max(self.changes.saturating_sub(keep));
        let old = self.forgotten;
        for calendar in self.calendars.values_mut() {
            // A cancelled instance belongs to its series as long as that is there.
            let there: BTreeSet<String> = calendar
                .events
                .iter()
                .filter(|(_, kept)| !kept.cancelled())
                .map(|(id, _)| id.clone())
                .collect();
            calendar.events.retain(|_, kept| {
                let of_series = kept.series().is_some_and(|series| there.contains(series));
                kept.changed > old || !kept.cancelled() || of_series
            });
            for kept in calendar.events.values_mut().filter(|kept| kept.changed <= old) {
                kept.before = None;
            }
        }
        self.forget_channels(now);
        self.door.forget(now.div_euclid(1000));
    }

    /// Makes a calendar.
    pub(super) fn add_calendar(&mut self, id: &str, mut entry: Fields) {
        self.changes += 1;
        entry.insert("id".into(), json!(id));
        for (name, value) in [
            ("timeZone", json!("UTC")),
            ("accessRole", json!("owner")),
            ("colorId", json!("14")),
            ("backgroundColor", json!("#9fe1e7")),
            ("foregroundColor", json!("#000000")),
            ("selected", json!(true)),
            ("defaultReminders", json!([])),
            ("conferenceProperties", json!({ "allowedConferenceSolutionTypes": ["hangoutsMeet"] })),
        ] {
            entry.entry(name).or_insert(value);
        }
        let calendar = Calendar {
            entry,
            events: BTreeMap::new(),
            changed: self.changes,
            entry_changed: self.changes,
            gone: false,
            silent: false,
        };
        self.calendars.insert(id.into(), calendar);
    }

    /// Keeps an event as it is from now on. `touch`: it counts as edited, not only as another state.
    pub(super) fn keep(&mut self, calendar: &str, id: &str, mut fields: Fields, now: i64, touch: bool) {
        self.changes += 1;
        let changes = self.changes;
        let Some(calendar) = self.calendars.get_mut(calendar) else { return };
        if touch || !fields.contains_key("updated") {
            fields.insert("updated".into(), json!(time::stamp(now)));
        }
        fields.entry("created").or_insert_with(|| json!(time::stamp(now)));
        let before = calendar.events.remove(id).map(|kept| kept.fields);
        calendar.events.insert(id.into(), Kept { fields, changed: changes, before });
        calendar.changed = changes;
    }
}

//! An event as Google holds it: the fields that are read, as the discovery document names and types them.
//!
//! Owns: the shape of an event. What has another shape is no event. Does not own: what the fields mean in iCalendar
//! (`read`, `write`).

pub(super) mod color;
pub(super) mod read;
pub(super) mod rule;
pub(super) mod split;
pub(super) mod when;
pub(super) mod words;
pub(super) mod write;

use std::collections::BTreeMap;

use serde::Deserialize;

/// Our UID, on events that we made. Believed only where the event's id is the one that is derived from it: a person's
/// copy of the event carries the mark too, but has an id of its own.
pub(super) const UID: &str = "kalendsUid";
/// `writing` while the exceptions of a new series are yet to follow, `whole` afterwards.
pub(super) const STATE: &str = "kalendsState";
/// `floating`: the times are wall-clock times of no zone (RFC 5545 §3.3.5, form 1).
pub(super) const TIME: &str = "kalendsTime";
/// `cancelled`: the event is held as free time, since Google has no cancelled events, only deleted ones.
pub(super) const STATUS: &str = "kalendsStatus";

/// An event, or an instance of one.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Event {
    pub(super) id: String,
    pub(super) etag: Option<String>,
    pub(super) status: Option<String>,
    #[serde(rename = "iCalUID")]
    pub(super) ical_uid: Option<String>,
    pub(super) summary: Option<String>,
    pub(super) description: Option<String>,
    pub(super) location: Option<String>,
    pub(super) start: Option<When>,
    pub(super) end: Option<When>,
    pub(super) recurrence: Option<Vec<String>>,
    pub(super) recurring_event_id: Option<String>,
    pub(super) original_start_time: Option<When>,
    pub(super) transparency: Option<String>,
    pub(super) visibility: Option<String>,
    pub(super) reminders: Option<Reminders>,
    pub(super) attendees: Option<Vec<Person>>,
    pub(super) organizer: Option<Person>,
    pub(super) color_id: Option<String>,
    pub(super) conference_data: Option<Conference>,
    pub(super) hangout_link: Option<String>,
    pub(super) extended_properties: Option<Extended>,
    pub(super) sequence: Option<i64>,
    pub(super) created: Option<String>,
    pub(super) updated: Option<String>,
    pub(super) event_type: Option<String>,
    pub(super) source: Option<Source>,
}

/// A day, or a time with its zone.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct When {
    pub(super) date: Option<String>,
    pub(super) date_time: Option<String>,
    pub(super) time_zone: Option<String>,
}

/// How the account is reminded.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Reminders {
    pub(super) use_default: bool,
    pub(super) overrides: Option<Vec<Reminder>>,
}

/// One reminder.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Reminder {
    pub(super) method: String,
    pub(super) minutes: i64,
}

/// An attendee or the organizer.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Person {
    pub(super) email: Option<String>,
    pub(super) display_name: Option<String>,
    pub(super) optional: bool,
    pub(super) resource: bool,
    pub(super) response_status: Option<String>,
}

/// A conference that is bound to the event.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Conference {
    pub(super) entry_points: Option<Vec<Entry>>,
}

/// One way into a conference.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Entry {
    pub(super) entry_point_type: Option<String>,
    pub(super) uri: Option<String>,
    pub(super) label: Option<String>,
}

/// Properties of programs.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Extended {
    pub(super) private: Option<BTreeMap<String, String>>,
}

/// Where the event comes from.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Source {
    pub(super) url: Option<String>,
}

impl Event {
    /// Returns a mark of ours.
    pub(super) fn mark(&self, name: &str) -> Option<&str> {
        self.extended_properties.as_ref()?.private.as_ref()?.get(name).map(String::as_str)
    }

    /// Tells whether it is deleted, or for an instance, left out.
    pub(super) fn is_cancelled(&self) -> bool {
        self.status.as_deref() == Some("cancelled")
    }

    /// Tells whether it is a series.
    pub(super) fn recurs(&self) -> bool {
        self.recurrence.as_ref().is_some_and(|lines| !lines.is_empty())
    }

    /// Returns when it was last written, in seconds since 1970.
    pub(super) fn modified(&self) -> Option<i64> {
        self.updated.as_deref().and_then(when::instant)
    }
}

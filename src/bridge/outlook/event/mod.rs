//! An event as Outlook can hold it: the form between its JSON and our text.
//!
//! Owns: `Whole` and `Item`. Read from JSON by `read`, from our text by `parse`; written as JSON by `write`, as text by
//! `render`. What has no place in an `Item` is not told to Outlook.

pub(super) mod fallback;
pub(super) mod parse;
pub(super) mod read;
pub(super) mod render;
pub(super) mod write;

use std::collections::{BTreeMap, BTreeSet};

use super::recurrence::Recurrence;
use crate::ical::value::Civil;
use crate::ical::zone::Zone;

/// A single event, or a series with its exceptions.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Whole {
    pub(super) uid: String,
    pub(super) master: Item,
    /// Edited instances by the day on which they would be; Outlook has no two of a series on one day.
    pub(super) exceptions: BTreeMap<Civil, Item>,
    /// Cancelled instances by the day on which they would be.
    pub(super) cancelled: BTreeSet<Civil>,
}

/// One event, series or instance.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Item {
    pub(super) subject: String,
    /// Plain text, tidy.
    pub(super) body: String,
    pub(super) location: String,
    /// Latitude and longitude.
    pub(super) geo: Option<(f64, f64)>,
    pub(super) start: When,
    pub(super) end: When,
    pub(super) all_day: bool,
    pub(super) show_as: ShowAs,
    pub(super) sensitivity: Sensitivity,
    pub(super) importance: Importance,
    /// Sorted.
    pub(super) categories: Vec<String>,
    /// Minutes before the start; nothing: no reminder.
    pub(super) reminder: Option<i64>,
    pub(super) recurrence: Option<Recurrence>,
    pub(super) told: Told,
}

/// What Outlook tells and cannot be told.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Told {
    pub(super) cancelled: bool,
    /// ORGANIZER and ATTENDEE, as lines.
    pub(super) people: Vec<String>,
    /// Where the online meeting is.
    pub(super) conference: Option<String>,
    /// The event on the web, for events that are not ours.
    pub(super) link: Option<String>,
    pub(super) created: Option<i64>,
    pub(super) modified: Option<i64>,
}

/// A time and the zone that it was said in. Of a whole day: its midnight, as if in UTC.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct When {
    pub(super) at: i64,
    pub(super) zone: Zone,
}

impl When {
    /// Returns the wall-clock time.
    pub(super) fn civil(&self) -> Civil {
        self.zone.to_civil(self.at)
    }
}

/// How the time counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ShowAs {
    Free,
    Tentative,
    Busy,
    Oof,
    WorkingElsewhere,
}

impl ShowAs {
    const WORDS: [(ShowAs, &'static str); 5] = [
        (ShowAs::Free, "free"),
        (ShowAs::Tentative, "tentative"),
        (ShowAs::Busy, "busy"),
        (ShowAs::Oof, "oof"),
        (ShowAs::WorkingElsewhere, "workingElsewhere"),
    ];
}

/// Who may see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sensitivity {
    Normal,
    Private,
    Confidential,
}

/// How important it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Importance {
    Low,
    Normal,
    High,
}

impl Item {
    /// Returns the instance of a series that begins on that day, as it is unless somebody edits it.
    pub(super) fn on(&self, day: Civil) -> Item {
        let civil = self.start.civil();
        self.starting(Civil(day.midnight().0 + (civil.0 - civil.midnight().0)))
    }

    /// Returns the event without its rule at another wall-clock time, as long as before.
    pub(super) fn starting(&self, civil: Civil) -> Item {
        let start = When { at: self.start.zone.to_instant(civil), zone: self.start.zone.clone() };
        let end = When { at: start.at + (self.end.at - self.start.at), zone: self.end.zone.clone() };
        Item { start, end, recurrence: None, ..self.clone() }
    }

    /// Tells whether two events hold the same for Outlook.
    pub(super) fn same(&self, other: &Item) -> bool {
        Item { told: Told::default(), ..self.clone() } == Item { told: Told::default(), ..other.clone() }
    }
}

impl Whole {
    /// Returns the wall-clock time at which the instance of a day begins.
    pub(super) fn original(&self, day: Civil) -> Civil {
        self.master.on(day).start.civil()
    }

    /// Leaves out exceptions that are what the series itself says of their instance.
    pub(super) fn settle(mut self) -> Whole {
        let master = self.master.clone();
        self.exceptions.retain(|day, item| {
            let told = Told { created: None, modified: None, ..item.told.clone() };
            let plain = Told { created: None, modified: None, ..master.told.clone() };
            !item.same(&master.on(*day)) || told != plain
        });
        self
    }
}

//! What is remembered of subscriptions and deliveries, and where it lies.
//!
//! Owns: the records, their keys, the names of events. Does not own: when anything is delivered (`work`, `send`).
//!
//! A subscription lies under `OWNER/ID` of its table, beside it under `@/OWNER` how far its owner's logs were read (no login
//! name looks like this). A delivery lies under `OWNER/ID/NUMBER`; numbers of one subscription grow by one and are the order
//! of delivery. What was told of bookings, conflicts and runs lies under `OWNER/@KIND/…` beside them.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::store::{Fault, Key, Op, Store, Table, Timestamp};

/// Every event that can be subscribed to.
pub const EVENTS: [&str; 17] = [
    "event.created",
    "event.updated",
    "event.deleted",
    "calendar.created",
    "calendar.deleted",
    "booking.created",
    "booking.confirmed",
    "booking.rescheduled",
    "booking.updated",
    "booking.cancelled",
    "booking.rejected",
    "booking.no_show",
    "hold.expired",
    "availability.changed",
    "conflict.created",
    "sync.completed",
    "sync.failed",
];
/// What a test sends; nobody subscribes to it.
pub const TEST: &str = "webhook.test";

/// Records that are read at a time.
pub(super) const PAGE: usize = 200;

/// Why nothing is delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Why {
    /// Its owner asked for that.
    Asked,
    /// A delivery failed as often as it is tried.
    Failed,
    /// The receiver said that it is gone for good (410).
    Gone,
}

/// Since when and why nothing is delivered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    /// Since when.
    pub at: Timestamp,
    /// Why.
    pub why: Why,
    /// In plain words.
    pub sentence: String,
}

/// A subscription.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hook {
    /// Its id.
    pub id: String,
    /// Whose it is.
    pub owner: String,
    /// Where deliveries go.
    pub url: String,
    /// What people call it.
    pub description: String,
    /// Which events: names, `booking.*` for all of a family, `*` for all.
    pub events: Vec<String>,
    /// Only those of these calendars; empty: of all.
    pub calendars: Vec<u64>,
    /// When it was made.
    pub created: Timestamp,
    /// Until when the former secret signs as well.
    pub old_until: Option<Timestamp>,
    /// Nothing is delivered.
    pub paused: Option<Pause>,
    /// The number of the next delivery.
    pub next: u64,
    /// All deliveries before this one are settled.
    pub head: u64,
    /// How often the first that is not settled was tried in vain.
    pub failures: u32,
    /// It is not tried before.
    pub due: Option<Timestamp>,
    /// When something was last delivered.
    pub delivered: Option<Timestamp>,
}

impl Hook {
    /// Tells whether it wants an event, of that calendar if it is one of a calendar.
    pub fn wants(&self, kind: &str, calendar: Option<u64>) -> bool {
        let named = self.events.iter().any(|pattern| fits(pattern, kind));
        named && (self.calendars.is_empty() || calendar.is_none_or(|id| self.calendars.contains(&id)))
    }

    /// Tells whether something waits to be delivered.
    pub fn waits(&self) -> bool {
        self.head < self.next
    }
}

/// Tells whether a pattern names an event.
pub fn fits(pattern: &str, kind: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(family) => kind.starts_with(family),
        None => pattern == kind,
    }
}

/// Tells whether a pattern names any event at all.
pub fn names_something(pattern: &str) -> bool {
    let whole = pattern == "*" || pattern.ends_with(".*") || !pattern.contains('*');
    whole && EVENTS.iter().any(|kind| fits(pattern, kind))
}

/// One try of a delivery.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// When.
    pub at: Timestamp,
    /// The status that was answered; nothing: there was no answer.
    pub status: Option<u16>,
    /// How long it took.
    pub millis: u64,
    /// Why there was no answer, in plain words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// How the answer's body began.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub response: String,
}

impl Attempt {
    /// Tells whether the receiver took it.
    pub fn went_well(&self) -> bool {
        self.status.is_some_and(|status| (200..300).contains(&status))
    }
}

/// Something that is or was delivered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    /// Its number.
    pub number: u64,
    /// The name of the event.
    pub kind: String,
    /// When it happened.
    pub at: Timestamp,
    /// The body, as it is signed and sent.
    pub body: String,
    /// The tries, the last ones.
    #[serde(default)]
    pub attempts: Vec<Attempt>,
    /// When it was first taken.
    #[serde(default)]
    pub delivered: Option<Timestamp>,
}

/// Returns the id that stays the same however often it is tried (`webhook-id`).
pub fn message_id(hook: &str, number: u64) -> String {
    format!("msg_{hook}_{number}")
}

/// Returns the number of a delivery of that subscription, by that id or as a plain number.
pub fn number_of(hook: &str, id: &str) -> Option<u64> {
    let prefix = format!("msg_{hook}_");
    let digits = id.strip_prefix(&prefix).unwrap_or(id);
    let plain = !digits.is_empty() && digits.len() < 20 && digits.bytes().all(|b| b.is_ascii_digit());
    plain.then(|| digits.parse().ok()).flatten()
}

/// How far a calendar's log was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Cursor {
    pub(super) rev: u64,
    /// The calendar lies in the trash.
    #[serde(default)]
    pub(super) gone: bool,
}

/// What has to be looked at to know what happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Group {
    /// The logs of calendars.
    Log,
    /// Bookings.
    Bookings,
    /// Conflicts.
    Conflicts,
    /// Runs.
    Runs,
    /// How an owner may be booked.
    Rules,
}

impl Group {
    pub(super) const ALL: [Group; 5] =
        [Group::Log, Group::Bookings, Group::Conflicts, Group::Runs, Group::Rules];

    /// Returns the groups that one has to look at for these subscriptions.
    pub(super) fn wanted(hooks: &[Hook]) -> BTreeSet<Group> {
        let any = |families: &[&str]| {
            let named = EVENTS.iter().filter(|kind| families.iter().any(|f| kind.starts_with(f)));
            named.clone().any(|kind| hooks.iter().any(|hook| hook.events.iter().any(|e| fits(e, kind))))
        };
        let of = |group: Group| match group {
            // Somebody may move or remove the event of a booking by any means.
            Group::Log => any(&["event.", "calendar.", "booking.", "hold.", "availability."]),
            Group::Bookings => any(&["booking.", "hold."]),
            Group::Conflicts => any(&["conflict."]),
            Group::Runs => any(&["sync."]),
            Group::Rules => any(&["availability."]),
        };
        Group::ALL.into_iter().filter(|group| of(*group)).collect()
    }

    fn segment(self) -> &'static str {
        match self {
            Group::Bookings => "@booking",
            Group::Conflicts => "@conflict",
            Group::Runs => "@run",
            Group::Log | Group::Rules => "@none",
        }
    }
}

/// How far an owner's things were told.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Told {
    pub(super) groups: BTreeSet<Group>,
    pub(super) cursors: BTreeMap<u64, Cursor>,
    /// The tag of the settings.
    pub(super) rules: String,
}

/// A booking as it was last told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Known {
    /// The tag of its record alone.
    pub(super) record: String,
    /// The tag of record and event.
    pub(super) etag: String,
    pub(super) status: String,
    pub(super) start: i64,
    pub(super) end: i64,
}

/// Returns the record of a subscription.
pub(super) fn hook_key(owner: &str, id: &str) -> Key {
    Key::new(Table::Webhook, format!("{owner}/{id}"))
}

/// Returns the record of how far an owner's things were told.
pub(super) fn told_key(owner: &str) -> Key {
    Key::new(Table::Webhook, format!("@/{owner}"))
}

/// Returns the record of a subscription's sealed secrets.
pub(super) fn secret_key(id: &str) -> Key {
    Key::new(Table::Secret, format!("webhook/{id}"))
}

/// Returns the record of a delivery.
pub(super) fn delivery_key(hook: &Hook, number: u64) -> Key {
    Key::new(Table::Delivery, format!("{}{number:020}", deliveries(hook)))
}

/// Returns what the records of a subscription's deliveries begin with.
pub(super) fn deliveries(hook: &Hook) -> String {
    format!("{}/{}/", hook.owner, hook.id)
}

/// Returns what the records of a group begin with.
pub(super) fn known(owner: &str, group: Group) -> String {
    format!("{owner}/{}/", group.segment())
}

/// Returns the record of what was told of one thing.
pub(super) fn known_key(owner: &str, group: Group, id: &str) -> Key {
    Key::new(Table::Delivery, format!("{}{id}", known(owner, group)))
}

pub(super) fn encode<T: Serialize>(value: &T) -> Result<Bytes, Fault> {
    serde_json::to_vec(value).map(Bytes::from).map_err(|error| Fault::Broken(error.to_string()))
}

pub(super) fn put<T: Serialize>(key: Key, value: &T) -> Result<Op, Fault> {
    Ok(Op::PutRecord(key, encode(value)?))
}

pub(super) fn decode<T: DeserializeOwned>(key: &Key, bytes: &[u8]) -> Result<T, Fault> {
    serde_json::from_slice(bytes)
        .map_err(|error| Fault::Broken(format!("the record {} cannot be read: {error}", key.path)))
}

pub(super) async fn load<T: DeserializeOwned>(store: &dyn Store, key: &Key) -> Result<Option<T>, Fault> {
    match store.record(key).await? {
        Some(bytes) => decode(key, &bytes).map(Some),
        None => Ok(None),
    }
}

/// Reads all records below a prefix.
pub(super) async fn rows(store: &dyn Store, table: Table, prefix: &str) -> Result<Vec<(Key, Bytes)>, Fault> {
    let mut all: Vec<(Key, Bytes)> = Vec::new();
    loop {
        let after = all.last().map(|(key, _)| key.path.as_str());
        let page = store.records(table, prefix, after, PAGE).await?;
        if page.is_empty() {
            return Ok(all);
        }
        all.extend(page);
    }
}

/// Reads the subscriptions of an owner, or of everybody.
pub(super) async fn hooks(store: &dyn Store, owner: Option<&str>) -> Result<Vec<Hook>, Fault> {
    let prefix = owner.map(|owner| format!("{owner}/")).unwrap_or_default();
    let all = rows(store, Table::Webhook, &prefix).await?;
    let plain = all.iter().filter(|(key, _)| !key.path.starts_with("@/"));
    plain.map(|(key, bytes)| decode(key, bytes)).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn patterns_name_events_families_or_all() {
        for good in ["*", "event.*", "event.created", "hold.expired", "sync.*"] {
            assert!(names_something(good), "{good}");
        }
        for bad in
            ["", "event", "event.moved", "ev*", "event.*d", "*.created", "webhook.test", "event.created "]
        {
            assert!(!names_something(bad), "{bad}");
        }
        assert!(
            fits("*", "event.created") && fits("event.*", "event.created") && !fits("event.*", "sync.failed")
        );
    }

    #[test]
    fn a_delivery_is_named_by_its_id_or_its_number() {
        assert_eq!(number_of("ab", &message_id("ab", 7)), Some(7));
        assert_eq!(number_of("ab", "7"), Some(7));
        for bad in ["", "msg_cd_7", "msg_ab_", "-1", "7x", "99999999999999999999"] {
            assert_eq!(number_of("ab", bad), None, "{bad}");
        }
    }
}

//! What is remembered of a booking beside its event: who, for what, how it stands.
//!
//! Owns: the record, its states and which follows which. Does not own: when it takes place: that is what its event says.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::ground::Heed;
use crate::store::{CollectionId, Etag, Fault, Key, Name, Table, Timestamp};

/// How a booking stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// The time is kept for somebody for a while.
    Held,
    /// It waits for a confirmation; the time is taken.
    Pending,
    /// It takes place.
    Confirmed,
    /// It was called off.
    Cancelled,
    /// It was not confirmed.
    Rejected,
    /// Nobody came.
    NoShow,
    /// It was held, and nobody came back in time.
    Expired,
}

impl Status {
    /// All of them.
    pub const ALL: [Status; 7] = [
        Status::Held,
        Status::Pending,
        Status::Confirmed,
        Status::Cancelled,
        Status::Rejected,
        Status::NoShow,
        Status::Expired,
    ];

    /// Returns the word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Status::Held => "held",
            Status::Pending => "pending",
            Status::Confirmed => "confirmed",
            Status::Cancelled => "cancelled",
            Status::Rejected => "rejected",
            Status::NoShow => "no_show",
            Status::Expired => "expired",
        }
    }

    /// Tells whether the time is taken.
    pub fn is_open(self) -> bool {
        matches!(self, Status::Held | Status::Pending | Status::Confirmed)
    }

    /// Tells whether it can become that. What has ended stays as it is.
    pub fn may_become(self, next: Status) -> bool {
        use Status::{Cancelled, Confirmed, Expired, Held, NoShow, Pending, Rejected};
        match (self, next) {
            (Held, Confirmed | Pending | Cancelled | Expired) => true,
            (Pending, Confirmed | Rejected | Cancelled) => true,
            (Confirmed, Cancelled | NoShow) => true,
            (Held | Pending | Confirmed, _) => false,
            (Cancelled | Rejected | NoShow | Expired, _) => false,
        }
    }
}

/// Who books.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Customer {
    /// Their name.
    pub name: String,
    /// Their mail address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// Their telephone number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phone: Option<String>,
}

/// A booking as it is remembered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Booking {
    /// Its id.
    pub id: String,
    /// Whose time it is.
    pub owner: String,
    /// The UID of its event, for ever.
    pub uid: String,
    /// The calendar that its event is in, or will be in.
    pub calendar: CollectionId,
    /// How it stands.
    pub status: Status,
    /// When it begins, in seconds since 1970, as it was last booked.
    pub start: i64,
    /// When it ends.
    pub end: i64,
    /// The zone that it is told in.
    pub time_zone: String,
    /// What is booked.
    pub service: Option<String>,
    /// Who books.
    pub customer: Customer,
    /// Where.
    pub location: Option<String>,
    /// What else was said.
    pub notes: Option<String>,
    /// The rule of a series (RFC 5545 §3.3.10): it takes place again and again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recurrence: Option<String>,
    /// What it wants free before it, in seconds.
    pub before: i64,
    /// What it wants free after it.
    pub after: i64,
    /// What the caller calls it.
    pub reference: Option<String>,
    /// The digest of what only whoever holds it knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// When a hold ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
    /// Buffers are shown as events of their own.
    #[serde(default)]
    pub buffer_events: bool,
    /// It was made without regard to hours and limits, and is moved without.
    #[serde(default)]
    pub outside_rules: bool,
    /// How often its time was changed (RFC 5545 §3.8.7.4).
    pub sequence: u32,
    /// When it was made.
    pub created: Timestamp,
    /// When it was last changed.
    pub updated: Timestamp,
}

impl Booking {
    /// Reads a record.
    ///
    /// # Errors
    /// When it was not written by `encode`.
    pub fn decode(bytes: &[u8]) -> Result<Booking, Fault> {
        serde_json::from_slice(bytes)
            .map_err(|error| Fault::Broken(format!("a booking cannot be read: {error}")))
    }

    /// Returns the name of its event in its calendar.
    pub fn name(&self) -> Result<Name, Fault> {
        Name::new(format!("{}.ics", self.id)).ok_or_else(|| Fault::Broken("a booking has no name".into()))
    }

    /// Returns the names of the events that show its buffers.
    pub(super) fn buffer_names(&self) -> Result<[Name; 2], Fault> {
        let name = |end: &str| Name::new(format!("{}-{end}.ics", self.id));
        let both = name("before").zip(name("after"));
        both.map(|(before, after)| [before, after])
            .ok_or_else(|| Fault::Broken("a booking has no name".into()))
    }

    /// Tells which rules are heeded when it moves.
    pub(super) fn heed(&self) -> Heed {
        if self.outside_rules { Heed::Conflicts } else { Heed::All }
    }
}

/// Writes a record.
pub(super) fn encode(booking: &Booking) -> Result<Bytes, Fault> {
    serde_json::to_vec(booking).map(Bytes::from).map_err(|error| Fault::Broken(error.to_string()))
}

/// Returns where the record is.
pub fn booking_key(owner: &str, id: &str) -> Key {
    Key::new(Table::Booking, format!("{owner}/{id}"))
}

/// Behind a booking's id, this is the UID of its event.
const UID: &str = "@bookings.kalends";

/// Returns the UID of the event of a booking.
pub(super) fn uid_of(id: &str) -> String {
    format!("{id}{UID}")
}

/// Returns the id of the booking whose event has this UID, if it is one of a booking.
pub fn booking_of(uid: &str) -> Option<&str> {
    uid.strip_suffix(UID)
}

/// Returns the row that finds a booking by what its caller calls it.
pub(super) fn reference_key(owner: &str, reference: &str, id: &str) -> Key {
    Key::new(Table::BookingRules, format!("{}{id}", reference_prefix(owner, reference)))
}

/// Returns what the rows of all bookings of one reference begin with; references may hold anything.
pub(super) fn reference_prefix(owner: &str, reference: &str) -> String {
    format!("{owner}/reference/{}/", Etag::of(reference.as_bytes()))
}

/// Returns the tag of a booking: of its record and its event together, since either may change.
pub(super) fn etag(record: &[u8], event: Option<&Etag>) -> Etag {
    let mut text = record.to_vec();
    text.extend_from_slice(event.map_or("", |etag| &etag.0).as_bytes());
    Etag::of(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    // B-02: what has ended never comes back, and nothing skips a state.
    #[test]
    fn states_follow_each_other() {
        let allowed = [
            (Status::Held, vec![Status::Pending, Status::Confirmed, Status::Cancelled, Status::Expired]),
            (Status::Pending, vec![Status::Confirmed, Status::Cancelled, Status::Rejected]),
            (Status::Confirmed, vec![Status::Cancelled, Status::NoShow]),
        ];
        for from in Status::ALL {
            for to in Status::ALL {
                let expected = allowed.iter().any(|(state, next)| *state == from && next.contains(&to));
                assert_eq!(from.may_become(to), expected, "{from:?} to {to:?}");
            }
        }
    }
}

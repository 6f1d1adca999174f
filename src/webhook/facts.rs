//! What single changes mean: is an object new, what became of a booking, when is free time touched; and the message of it.
//!
//! Owns: these judgements. Does not own: finding the changes (`observe`).

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::known::fault;
use super::record::{Delivery, Hook, Known};
use super::voice::Fact;
use crate::calendar::booking::{Booked, Status};
use crate::calendar::{Ended, Readable};
use crate::store::{Change, CollectionId, Fault, Meta, Timestamp, What};

/// When somebody's free time may have changed.
#[derive(Default)]
pub(super) struct Busy {
    pub(super) calendars: BTreeSet<u64>,
    /// Nothing: unknown, or without end.
    pub(super) from: Option<i64>,
    pub(super) to: Option<i64>,
    /// It may be any time.
    pub(super) anywhere: bool,
    /// Holds count in any case.
    pub(super) holds: bool,
    pub(super) at: Option<Timestamp>,
}

impl Busy {
    pub(super) fn add(&mut self, calendar: CollectionId, at: Timestamp, span: Option<(i64, Option<i64>)>) {
        self.calendars.insert(calendar.0);
        self.at = self.at.max(Some(at));
        match span {
            Some((start, Some(end))) if !self.anywhere => {
                self.from = Some(self.from.map_or(start, |from| from.min(start)));
                self.to = Some(self.to.map_or(end, |to| to.max(end)));
            }
            _ => self.anywhere = true,
        }
    }
}

/// What happened is told whole up to so many bytes of JSON: it is kept for each subscription until it is delivered.
const WHOLE: usize = 32 << 10;
/// Of what is larger, members up to so many bytes are told.
const SMALL: usize = 512;

/// Returns what is told of what happened. Of a thing that is too large only what names it and is short, and that there is more.
pub(super) fn bounded(data: Value) -> Value {
    if data.to_string().len() <= WHOLE {
        return data;
    }
    let Value::Object(members) = data else { return Value::Null };
    let cut = |value: Value| match value {
        Value::Object(mut members) => {
            members.retain(|_, value| value.to_string().len() <= SMALL);
            members.insert("too_large".into(), json!(true));
            Value::Object(members)
        }
        other => other,
    };
    let large = |value: &Value| value.to_string().len() > SMALL * 4;
    let members = members.into_iter().map(|(name, value)| match large(&value) {
        true => (name, cut(value)),
        false => (name, value),
    });
    Value::Object(members.collect())
}

/// Writes what happened as a message to a subscription.
pub(super) fn delivery(hook: &Hook, fact: &Fact) -> Delivery {
    let body = json!({
        "type": fact.kind,
        "timestamp": stamp(fact.at),
        "webhook": hook.id,
        "sequence": hook.next,
        "data": fact.data,
    });
    Delivery {
        number: hook.next,
        kind: fact.kind.to_owned(),
        at: fact.at,
        body: body.to_string(),
        attempts: Vec::new(),
        delivered: None,
    }
}

/// Tells whether an object was made by the first of these rows. The log says only that it was written.
pub(super) async fn is_new(calendar: &Readable, meta: &Meta, first: &Change) -> Result<bool, Fault> {
    if first.what != What::Put || meta.created < first.at {
        return Ok(false);
    }
    let Some(uid) = meta.index.uid.as_deref() else { return Ok(true) };
    // Made at the very moment of that row: unless it was there before within the same millisecond.
    let versions = calendar.versions(uid).await.map_err(fault)?;
    Ok(!versions.iter().any(|version| {
        version.how == Ended::Replaced && version.rev < first.rev && version.ended == first.at
    }))
}

/// Returns what became of a booking since it was last told.
pub(super) fn turns(before: Option<&Known>, now: &Booked) -> Vec<&'static str> {
    let status = now.booking.status;
    let came = !before.is_some_and(|before| before.was(status));
    let mut turns = Vec::new();
    match before {
        None => turns.push("booking.created"),
        Some(before) => {
            let moved = (before.start, before.end) != (now.booking.start, now.booking.end);
            if moved && status.is_open() {
                turns.push("booking.rescheduled");
            }
        }
    }
    if came {
        turns.extend(match status {
            Status::Confirmed => Some("booking.confirmed"),
            Status::Cancelled => Some("booking.cancelled"),
            Status::Rejected => Some("booking.rejected"),
            Status::NoShow => Some("booking.no_show"),
            Status::Expired => Some("hold.expired"),
            Status::Held | Status::Pending => None,
        });
    }
    if turns.is_empty() && before.is_some_and(|before| before.etag != now.etag.0) {
        turns.push("booking.updated");
    }
    turns
}

/// Writes a moment.
pub(super) fn stamp(at: Timestamp) -> Value {
    jiff::Timestamp::from_millisecond(at.0).map_or(Value::Null, |at| json!(at.to_string()))
}

/// Writes a moment of so many seconds since 1970.
pub(super) fn moment(seconds: i64) -> Value {
    stamp(Timestamp(seconds.saturating_mul(1000)))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_large_is_named_and_not_told_whole() {
        let small = json!({ "event": { "uid": "a", "description": "x".repeat(30_000) } });
        assert_eq!(bounded(small.clone()), small);
        let mut large = small;
        large["event"]["description"] = json!("x".repeat(40_000));
        large["previous"] = json!({ "start": "2026-01-05T09:00:00Z" });
        let told = bounded(large);
        let wanted = json!({
            "event": { "uid": "a", "too_large": true },
            "previous": { "start": "2026-01-05T09:00:00Z" },
        });
        assert_eq!(told, wanted);
    }

    #[test]
    fn free_time_is_bounded_only_if_all_of_it_is() {
        let mut busy = Busy::default();
        busy.add(CollectionId(18), Timestamp(1), Some((100, Some(200))));
        busy.add(CollectionId(19), Timestamp(3), Some((50, Some(60))));
        assert_eq!(
            (busy.from, busy.to, busy.anywhere, busy.at),
            (Some(50), Some(200), false, Some(Timestamp(3)))
        );
        busy.add(CollectionId(18), Timestamp(2), Some((100, None)));
        assert!(busy.anywhere);
        assert_eq!((busy.at, busy.calendars.len()), (Some(Timestamp(3)), 2));
    }
}

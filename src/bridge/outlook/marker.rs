//! How our UIDs travel, and how a repeated create meets the first one.
//!
//! Outlook makes its own UIDs and ids. Ours is a named property of the event, which copies made by people inherit; the
//! transaction id of the create, which they do not, is derived from it. A UID is believed only with its transaction id.

use serde_json::{Value, json};

use crate::bridge::print::digest;
use crate::bridge::provider::RemoteId;

/// The property that holds our UID. The namespace is ours alone.
pub(super) const PROPERTY: &str = "String {6f1d7c52-2b0e-4c1a-9a57-3d0a4e1f8b66} Name kalends-uid";

/// What our transaction ids begin with.
const PREFIX: &str = "kalends-";

/// Returns the transaction id with which an object is made in a calendar.
pub(super) fn transaction(calendar: &RemoteId, uid: &str) -> String {
    format!("{PREFIX}{}", digest(format!("{}\n{uid}", calendar.0).as_bytes()))
}

/// Tells whether a transaction id may be one of ours.
pub(super) fn may_be_ours(transaction: Option<&str>) -> bool {
    transaction.is_some_and(|t| t.starts_with(PREFIX))
}

/// Returns the property as it is sent.
pub(super) fn property(uid: &str) -> Value {
    json!([{"id": PROPERTY, "value": uid}])
}

/// Returns the filter that finds events with this UID.
pub(super) fn filter(uid: &str) -> String {
    let uid = uid.replace('\'', "''");
    format!("singleValueExtendedProperties/Any(ep: ep/id eq '{PROPERTY}' and ep/value eq '{uid}')")
}

/// Returns what has the property come along.
pub(super) fn expand() -> String {
    format!("singleValueExtendedProperties($filter=id eq '{PROPERTY}')")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transaction_belongs_to_one_uid_in_one_calendar() {
        let of = |calendar: &str, uid: &str| transaction(&RemoteId(calendar.into()), uid);
        assert_eq!(of("a", "1"), of("a", "1"));
        assert_ne!(of("a", "1"), of("b", "1"));
        assert_ne!(of("a", "1"), of("a", "2"));
        assert!(may_be_ours(Some(&of("a", "1"))) && !may_be_ours(Some("x")) && !may_be_ours(None));
    }
}

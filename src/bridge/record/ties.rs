//! What is remembered between asking a person or a far side for something and the answer: consents, channels.

use serde::{Deserialize, Serialize};

use super::Kind;
use crate::auth::oauth::Access;
use crate::bridge::provider::Channel;
use crate::store::{Key, Table, Timestamp};

/// A consent that was asked for and is awaited. Its record's path is the digest of its state, so that nobody who reads
/// the store can answer it; the verifier lies sealed beside the secrets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Consent {
    /// Who asked.
    pub owner: String,
    /// For which connection.
    pub connection: String,
    /// On which far side.
    pub kind: Kind,
    /// The address that the far side was told to send the person back to.
    pub redirect: String,
    /// Where the person goes from there.
    pub return_to: Option<String>,
    /// When it is no longer taken.
    pub expires: Timestamp,
    /// What was asked for.
    #[serde(default)]
    pub access: Access,
    /// The digest of what the browser that asked was handed; nothing: none was.
    #[serde(default)]
    pub browser: Option<String>,
    /// It was given in a browser that did not ask for it, whose person has to say that this is meant. The record's path is
    /// then the digest of what that page sends, and what was given lies sealed in the place of the verifier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub found: Option<Found>,
}

/// What a consent was given for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// The account, as the far side names it; nothing: it does not.
    pub account: Option<String>,
}

/// A notification channel of a mapping.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watched {
    /// The mapping that it tells of.
    pub mapping: String,
    /// The account that it was opened with.
    pub connection: String,
    /// Which far side.
    pub kind: Kind,
    /// The digest of what a notification has to carry.
    pub token: String,
    /// When it was asked for.
    pub opened: Timestamp,
    /// False: it was asked for and nobody knows yet whether it is there.
    pub open: bool,
    /// What stands in the address that its notifications come to, where that is one of its own.
    #[serde(default)]
    pub door: String,
    /// As the far side knows it.
    pub channel: Channel,
}

/// That a far side does not tell of changes to a calendar.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unwatched {
    /// When to ask again.
    pub until: Timestamp,
    /// Why, in plain words.
    pub sentence: String,
}

/// Returns the record of a consent, by the digest of its state.
pub fn consent_key(digest: &str) -> Key {
    Key::new(Table::Consent, digest)
}

/// Returns the record of the sealed verifier of a consent.
pub fn verifier_key(digest: &str) -> Key {
    Key::new(Table::Secret, format!("consent/{digest}"))
}

/// Returns the record of a channel.
pub fn channel_key(id: &str) -> Key {
    Key::new(Table::Channel, format!("open/{id}"))
}

/// Returns the record which says that a mapping has no channel.
pub fn unwatched_key(mapping: &str) -> Key {
    Key::new(Table::Channel, format!("none/{mapping}"))
}

/// Returns the record of the sealed secret of a mapping's own hook.
pub fn hook_key(mapping: &str) -> Key {
    Key::new(Table::Secret, format!("hook/{mapping}"))
}

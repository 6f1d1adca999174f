//! How a CalDAV upstream differs from what the standards say; which server is known for what stands in `docs/providers/caldav.md`.
//!
//! Owns: the words. Does not own: what they do to a request or an answer.

use serde::{Deserialize, Serialize};

/// What a server answers to a sync-token that it does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum TokenInvalid {
    /// RFC 6578 §3.2: 403 with `valid-sync-token`.
    #[default]
    #[serde(rename = "403")]
    Forbidden,
    /// 412.
    #[serde(rename = "412")]
    Precondition,
    /// 500.
    #[serde(rename = "500")]
    Failure,
    /// A success that names everything.
    #[serde(rename = "207_full")]
    Full,
    /// A success that names nothing.
    #[serde(rename = "207_empty")]
    Empty,
}

/// What a server answers to a UID that another object of the account has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum UidConflict {
    /// It is allowed in another calendar; in the same one 403 names the twin.
    #[default]
    #[serde(rename = "allow")]
    Allow,
    /// 403 with the address of the twin, wherever it is.
    #[serde(rename = "403")]
    Forbidden,
    /// 409 without a word.
    #[serde(rename = "409")]
    Conflict,
    /// 412 without a word.
    #[serde(rename = "412")]
    Precondition,
}

/// Calls are refused for longer than the server says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Throttle {
    /// So many calls are answered.
    pub calls: u32,
    /// What `Retry-After` says, in seconds.
    pub retry_after: u64,
    /// How long it really takes, in seconds of the simulator's clock; each call begins it anew.
    pub really: i64,
}

/// All of it. As it comes, there is none.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Quirks {
    /// What is put is rewritten, and no etag is told.
    pub rewrite_on_put: bool,
    /// A weak etag in the answer to a PUT, a strong one later.
    pub weak_etag_on_put: bool,
    /// Weak etags everywhere.
    pub weak_etags: bool,
    /// Etags without quotes, and understood without quotes only.
    pub unquoted_etag: bool,
    /// Listings tell no etags.
    pub no_getetag: bool,
    /// No `sync-collection`, only a ctag.
    pub no_sync_collection: bool,
    /// Listings of members are refused: PROPFIND with Depth 1 on a calendar.
    pub no_listing: bool,
    /// An unknown sync-token.
    pub token_invalid: TokenInvalid,
    /// Changes come in portions of so many, with 507 while there is more.
    pub limit_507: Option<u32>,
    /// Who asks for so many changes at most is told no more of them, and the token skips the rest.
    pub limit_silent_cut: bool,
    /// What was written is found by searches only so many seconds later.
    pub search_lag: Option<i64>,
    /// Every member stands in an answer twice.
    pub doubled_href: bool,
    /// Nobody says who is signed in: the account's calendars are named at the entry.
    pub no_principal: bool,
    /// Properties have to be named; a principal has no members to be asked for.
    pub strict_propfind: bool,
    /// Addresses in answers name this host and port.
    pub href_other_host: Option<String>,
    /// Addresses in answers are percent-encoded in another way every time.
    pub href_percent_variants: bool,
    /// A calendar is a member of itself in its changes.
    pub self_member: bool,
    /// `If-Match: *` fails where something is and succeeds where nothing is.
    pub if_match_star_backwards: bool,
    /// Changes and removals without `If-Match` are refused (RFC 6585 §3).
    pub if_match_required: bool,
    /// Events without an end are refused.
    pub dtend_required: bool,
    /// A UID that is taken.
    pub uid_conflict: UidConflict,
    /// Events that ended more than so many days ago are hidden in listings and changes.
    pub past_delay: Option<i64>,
    /// Too many calls.
    pub throttle: Option<Throttle>,
    /// Everything is below this path (`/p07`) and redirected there, or on that server (`https://p07.example.org`).
    pub redirect_to_partition: Option<String>,
    /// Every second answer to a multiget lacks an object.
    pub drop_random_multiget_href: bool,
    /// The connection ends when somebody asks for the well-known address.
    pub closing_connection_on_well_known: bool,
    /// What a DELETE of something that is gone is answered with.
    pub delete_gone: Option<u16>,
}

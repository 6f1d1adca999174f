//! The plain data that a store keeps: ids, collections, objects, log rows, principals.
//!
//! Owns: the nouns of the memory layer and how they are named.
//! Does not own: what may happen to them (`calendar`), how they lie on disk (`codec`, `sled`).

use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// A point in time: milliseconds since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// Returns whole seconds since 1970.
    pub fn seconds(self) -> i64 {
        self.0.div_euclid(1000)
    }
}

/// Names one collection for ever: never reused, never changed by a rename.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CollectionId(pub u64);

impl CollectionId {
    /// The parent of every calendar home; its children are named like their owners.
    pub const HOMES: CollectionId = CollectionId(1);
    /// The parent of every user's root of plain files.
    pub const FILES: CollectionId = CollectionId(2);
    /// The parent of calendars that were deleted and are kept for a while, named by their ids. They can be read and
    /// moved out again; nothing in them can be written.
    pub const TRASH: CollectionId = CollectionId(3);
    /// Ids below this one are reserved.
    pub const FIRST: CollectionId = CollectionId(16);
}

/// A position in one collection's log. The first change has `Rev(1)`; an empty log is at `Rev(0)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Rev(pub u64);

impl fmt::Display for Rev {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One decoded path segment: the name of a member within its collection.
///
/// Never empty, never `.` or `..`, holds no `/` and no control character, at most 255 bytes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Name(String);

impl Name {
    /// Returns the name, or nothing if the text cannot be one.
    pub fn new(text: impl Into<String>) -> Option<Name> {
        let text = text.into();
        let bad = text.is_empty()
            || text.len() > 255
            || text == "."
            || text == ".."
            || text.chars().any(|c| c == '/' || c.is_control());
        (!bad).then_some(Name(text))
    }

    /// Returns the text of the name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A strong entity-tag without its quotes; a digest of the stored bytes, so that equal bytes have equal tags
/// after restart, restore and on every machine (RFC 9110 §8.8.3).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Etag(pub String);

impl Etag {
    /// Returns the tag of these bytes: the first 128 bits of their SHA-256 in hexadecimal.
    pub fn of(bytes: &[u8]) -> Etag {
        use sha2::Digest;
        let digest = sha2::Sha256::digest(bytes);
        let mut text = String::with_capacity(32);
        for byte in digest.iter().take(16) {
            for nibble in [byte >> 4, byte & 15] {
                text.push(char::from_digit(u32::from(nibble), 16).unwrap_or('0'));
            }
        }
        Etag(text)
    }
}

impl fmt::Display for Etag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What a collection holds and how it behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Kind {
    /// A calendar home: its members are calendar collections (RFC 4791 §6.2.1).
    Home,
    /// A calendar collection: its members are calendar object resources (RFC 4791 §4.2).
    Calendar,
    /// A plain WebDAV collection: any bytes, nested collections (RFC 4918 §5.2).
    Files,
}

/// The expanded name of an XML property: namespace and local part.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PropertyName {
    /// The namespace name; empty for none.
    pub ns: String,
    /// The local part.
    pub local: String,
}

/// Properties that a client may set, each as its whole XML element, attributes and `xml:lang` kept.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Properties(pub BTreeMap<PropertyName, String>);

/// A set of members plus a log of changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Collection {
    /// Its id.
    pub id: CollectionId,
    /// The collection that it is a member of.
    pub parent: CollectionId,
    /// Its name there.
    pub name: Name,
    /// The login name of the principal that owns it.
    pub owner: String,
    /// What it holds.
    pub kind: Kind,
    /// For calendars: the component types that may be stored, upper case (RFC 4791 §5.2.3). Empty: any.
    pub components: Vec<String>,
    /// Properties set by clients: display name, colour, dead ones.
    pub properties: Properties,
    /// When it was made.
    pub created: Timestamp,
    /// When its own properties last changed.
    pub modified: Timestamp,
}

/// Where a collection's log and size stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Head {
    /// The newest position.
    pub rev: Rev,
    /// Number of member objects.
    pub objects: u64,
    /// Sum of the sizes of the member objects, in bytes.
    pub bytes: u64,
    /// The newest change's time.
    pub at: Timestamp,
    /// Positions before this one can no longer be continued from (a tombstone after them was trimmed).
    pub horizon: Rev,
}

/// When an object takes place, in seconds since 1970 UTC: every instance lies within.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// The earliest start.
    pub start: i64,
    /// The latest end; nothing if the series has none.
    pub end: Option<i64>,
    /// True if the object is one instance, and it overlaps a range exactly when `start < to && end > from`
    /// (or, if `start == end`, when `from <= start < to`).
    pub exact: bool,
}

/// What the store knows of an object's content without reading it. Derivable from the bytes at any time.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Index {
    /// The UID of a calendar object resource; unique within its collection.
    pub uid: Option<String>,
    /// The main component type, upper case: `VEVENT`, `VTODO` …; empty for plain files.
    pub component: String,
    /// When it takes place; nothing: it may match any time range.
    pub span: Option<Span>,
}

/// An object without its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Meta {
    /// Its name within the collection.
    pub name: Name,
    /// The tag of its bytes.
    pub etag: Etag,
    /// Length in bytes.
    pub size: u64,
    /// Media type as served.
    pub content_type: String,
    /// The collection's position at which it was last written.
    pub rev: Rev,
    /// When it was first stored under this name.
    pub created: Timestamp,
    /// When its bytes were last stored.
    pub modified: Timestamp,
    /// What is known of its content.
    pub index: Index,
}

/// A member with bytes: a calendar object resource or a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// All but the bytes.
    pub meta: Meta,
    /// The bytes, as they came.
    pub bytes: Bytes,
}

/// Who wrote. A follower skips its own origin; the log shows the rest to people.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Origin {
    /// A WebDAV client: the principal's login name and the `User-Agent`, shortened.
    Dav {
        /// Login name.
        principal: String,
        /// Client software.
        agent: String,
        /// What its owner calls the app password or token that it came with; empty: the account's own password.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        label: String,
    },
    /// The JSON API: the principal's login name and the `User-Agent`, shortened.
    Api {
        /// Login name.
        principal: String,
        /// Client software.
        #[serde(default)]
        agent: String,
        /// What its owner calls the token that it came with; empty: there was none.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        label: String,
    },
    /// The bridge, carrying a mapping's far side here.
    Mapping(String),
    /// The command line or the server itself.
    System,
}

/// What a log row says of its member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum What {
    /// The object or child collection was created or replaced.
    Put,
    /// It is gone.
    Deleted,
    /// Its properties, or for a child collection its content, changed.
    Touched,
}

/// One row of a collection's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Its position.
    pub rev: Rev,
    /// The member; nothing: the collection's own properties changed.
    pub name: Option<Name>,
    /// What happened.
    pub what: What,
    /// Who did it.
    pub origin: Origin,
    /// When.
    pub at: Timestamp,
}

/// A person or program with an account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Principal {
    /// Login name, lower case; also the path segment.
    pub name: String,
    /// Name shown to people.
    pub display_name: String,
    /// Mail addresses, the preferred one first.
    pub emails: Vec<String>,
    /// May administer the server.
    pub admin: bool,
    /// PHC string of the account's password; never logged, never served.
    pub password: String,
    /// When the account was made.
    pub created: Timestamp,
}

/// Families of records. The number is part of the stored key and never changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Table {
    /// The store's own: format version, server identity.
    System = 1,
    /// Principals, by login name.
    Principal = 2,
    /// App passwords, by `USER/ID`.
    AppPassword = 3,
    /// Bearer tokens, by digest.
    Token = 4,
    /// WebDAV locks, by collection id.
    Lock = 5,
    /// Client-set properties of objects, by `COLLECTION/NAME`.
    ObjectProperties = 6,
    /// Connections to providers.
    Connection = 7,
    /// Mappings between a collection and a remote calendar.
    Mapping = 8,
    /// Per mapping and object, what both sides last agreed on: `MAPPING/UID`.
    Base = 9,
    /// One pass of a mapping.
    Run = 10,
    /// What a person has to decide.
    Conflict = 11,
    /// Sealed secrets of connections.
    Secret = 12,
    /// Former versions of objects: `COLLECTION/DIGEST OF THE UID/REV`.
    Version = 13,
    /// Deleted objects and calendars: `OWNER/FALLING TIME-COLLECTION-REV`.
    Trash = 14,
    /// What people are told without having asked, one for each cause: `OWNER/KIND-SUBJECT-DIGEST OF THE CAUSE`.
    Notice = 15,
    /// Consents that were asked for and are awaited: by the digest of their state.
    Consent = 16,
    /// Notification channels of mappings: by the channel's id.
    Channel = 17,
    /// How many calls were made to a far side: `CONNECTION/DAY`.
    Budget = 18,
    /// Answers that are given again, sealed: `USER/DIGEST OF TOKEN AND KEY`.
    Receipt = 19,
    /// Bookings and holds: `OWNER/ID`.
    Booking = 20,
    /// How an owner may be booked: by login name.
    BookingRules = 21,
    /// Published feeds: by the digest of their secret.
    Feed = 22,
    /// Subscriptions of programs to what happens: `OWNER/ID`.
    Webhook = 23,
    /// What is or was delivered to them: `OWNER/SUBSCRIPTION/NUMBER`.
    Delivery = 24,
    /// Sessions of browsers: by the digest of their secret, and `@/OWNER/DIGEST` for each.
    Session = 25,
}

impl Table {
    /// Every table, in the order of its number.
    pub const ALL: [Table; 25] = [
        Table::System,
        Table::Principal,
        Table::AppPassword,
        Table::Token,
        Table::Lock,
        Table::ObjectProperties,
        Table::Connection,
        Table::Mapping,
        Table::Base,
        Table::Run,
        Table::Conflict,
        Table::Secret,
        Table::Version,
        Table::Trash,
        Table::Notice,
        Table::Consent,
        Table::Channel,
        Table::Budget,
        Table::Receipt,
        Table::Booking,
        Table::BookingRules,
        Table::Feed,
        Table::Webhook,
        Table::Delivery,
        Table::Session,
    ];
}

/// The address of a record.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Its family.
    pub table: Table,
    /// Its name there; parts are joined with `/`.
    pub path: String,
}

impl Key {
    /// Returns the address.
    pub fn new(table: Table, path: impl Into<String>) -> Key {
        Key { table, path: path.into() }
    }
}

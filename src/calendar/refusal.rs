//! Why a request was not carried out, in domain terms. Each door has one exhaustive `match` over it.
//!
//! Owns: the reasons. Does not own: status codes and XML (`dav/precondition`) or problem documents (`api/problem`).

use super::booking::{Blocking, Status};
use crate::ical;
use crate::store::{ChangesError, CommitError, Fault, Name, Rejected};

/// A rule said no. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// There is no such thing, or the asker may not know of it.
    Missing,
    /// The asker lacks this privilege (RFC 3744 §7.1.1), named like `write-content`.
    Forbidden(&'static str),
    /// It is kept as it is in another calendar, and nobody changes it here; the privilege that is missing for it.
    Kept(&'static str),
    /// A condition of the request does not hold (RFC 9110 §13).
    Stale,
    /// Another object of the collection has this UID (RFC 4791 §5.3.2.1 `no-uid-conflict`); its name.
    UidTaken(Name),
    /// Replacing would change the object's UID (RFC 4791 §5.3.2.1 `no-uid-conflict`).
    UidChanged {
        /// The UID that is stored.
        stored: String,
        /// The UID that came.
        sent: String,
    },
    /// Not a calendar object resource; the problem says which precondition and why.
    NotCalendar(ical::Problem),
    /// The collection does not take this component type (`supported-calendar-component`).
    WrongComponent {
        /// What came.
        sent: String,
        /// What is accepted.
        accepted: Vec<String>,
    },
    /// The media type is not accepted here (`supported-calendar-data`).
    WrongMediaType(String),
    /// Larger than this many bytes (`max-resource-size`).
    TooLarge(u64),
    /// The collection holds the most objects that it may.
    CollectionFull(u64),
    /// The principal's quota is used up.
    QuotaExceeded(u64),
    /// The disk is full (507).
    DiskFull,
    /// A name that cannot be used here, with the reason.
    BadName(String),
    /// The place is taken.
    Exists,
    /// The parent does not exist or is no collection (409).
    NoParent,
    /// Calendars cannot hold collections (`calendar-collection-location-ok`).
    NotHere(&'static str),
    /// The thing cannot be changed, moved or removed (a home, a principal).
    Protected(&'static str),
    /// The sync-token is not one of this collection or too old (RFC 6578 §3.2 `valid-sync-token`).
    TokenExpired,
    /// The thing is locked (RFC 4918 §11.3); the lock's root as a path within the server.
    Locked(String),
    /// The request itself cannot be understood; the sentence says what is wrong with it.
    Bad(String),
    /// The answer would be longer than is served (`number-of-matches-within-limits`).
    TooMany(u64),
    /// The time is taken.
    SlotTaken(Box<Blocking>),
    /// The owner's rules do not allow a booking then; why, for whoever would like to book.
    NotBookable(&'static str),
    /// A booking that stands so cannot become that.
    WrongState(Status),
    /// The calendar is exclusive, and something else takes place there then.
    Overlap(Box<Blocking>),
}

/// A refusal or a failure; `?` carries both.
#[derive(Debug, Clone)]
pub enum Error {
    /// A rule said no.
    Refused(Refusal),
    /// The store failed: answered 5xx without detail, logged with it.
    Failed(Fault),
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Error {
        Error::Refused(refusal)
    }
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Error {
        match fault {
            Fault::Full => Error::Refused(Refusal::DiskFull),
            fault @ Fault::Broken(_) => Error::Failed(fault),
        }
    }
}

impl From<ical::Problem> for Error {
    fn from(problem: ical::Problem) -> Error {
        Error::Refused(Refusal::NotCalendar(problem))
    }
}

impl From<ChangesError> for Error {
    fn from(error: ChangesError) -> Error {
        match error {
            ChangesError::Expired => Error::Refused(Refusal::TokenExpired),
            ChangesError::Fault(fault) => fault.into(),
        }
    }
}

impl From<CommitError> for Error {
    fn from(error: CommitError) -> Error {
        match error {
            CommitError::Fault(fault) => fault.into(),
            CommitError::Rejected(rejected) => Error::Refused(match rejected {
                Rejected::Etag(_)
                | Rejected::Present
                | Rejected::Rev(_)
                | Rejected::Record(_)
                | Rejected::Busy(_) => Refusal::Stale,
                Rejected::Missing | Rejected::CollectionChanged => Refusal::Stale,
                Rejected::UidTaken(name) => Refusal::UidTaken(name),
                Rejected::NoCollection => Refusal::NoParent,
                Rejected::ChildExists => Refusal::Exists,
                Rejected::Full => Refusal::CollectionFull(0),
            }),
        }
    }
}

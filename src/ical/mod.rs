//! iCalendar text (RFC 5545): bytes in, bytes out; no I/O, no clock, no async.
//!
//! Raw bytes are the truth: what was stored is what is served, parsing yields spans into it, an edit splices lines.

pub mod availability;
pub mod busy;
pub mod check;
pub mod expand;
pub mod filter;
mod line;
pub mod merge;
pub mod recur;
pub mod series;
mod split;
mod tree;
pub mod value;
pub mod zone;

pub use line::{fold, quote_parameter};
pub use split::{Object, split};
pub use tree::{Component, Edit, Ical, Property};

/// Why some bytes are not a calendar object resource.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Problem {
    /// Which precondition of RFC 4791 §5.3.2.1 fails.
    pub kind: ProblemKind,
    /// The line in the text, counted from 1, if it is known.
    pub line: Option<usize>,
    /// A sentence that a person understands.
    pub reason: String,
}

/// The preconditions of RFC 4791 §5.3.2.1 that the text alone can fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProblemKind {
    /// Not iCalendar at all: `valid-calendar-data`.
    Data,
    /// iCalendar, but not one calendar object resource (METHOD, several UIDs, mixed types): `valid-calendar-object-resource`.
    Object,
    /// A limit of ours: too long, too deep.
    Limit,
}

//! The bridge: carries changes between collections here and calendars on far sides, both ways.
//!
//! Owns: connections, mappings, runs, conflicts; the neutral engine observe → plan → apply → remember; the providers.
//! Does not own: how anybody asks for it (`api`), what may be written here (`calendar`), outbound calls (`http::fetch`).
//!
//! Loops end by content, not by time: what both sides agreed on is remembered for each object, an echo equals it, and
//! what equals it is left alone.

mod alarms;
mod apart;
mod apply;
mod bearer;
mod begun;
pub mod breaker;
mod budget;
mod caldav;
mod conflict;
mod connections;
mod consent;
mod cozi;
mod digests;
mod exception;
mod first;
mod fold;
mod front;
mod gauge;
mod google;
mod health;
mod heard;
mod history;
mod html;
mod ics;
mod kept;
mod latency;
mod ledger;
mod left;
mod lines;
mod make;
mod mappings;
mod marks;
mod notices;
mod observe;
mod order;
mod outline;
mod outlook;
mod overlap;
pub mod pace;
mod parts;
pub mod plan;
mod preview;
pub mod print;
pub mod provider;
pub mod record;
mod reissued;
mod removal;
mod run;
mod scope;
mod send;
mod shape;
mod similar;
#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout
)]
mod simulation;
mod sites;
mod sweep;
mod tend;
mod there;
mod ties;
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
mod trial;
mod twins;
mod veil;
mod watch;
mod why;
mod work;

pub use budget::{Rate, Rates};
pub use caldav::Caldav;
pub use connections::Mirrored;
pub use consent::{Answer, Asked, Doubt, Landing, Outcome, Wish};
pub use cozi::Cozi;
pub use front::{Bridge, BridgeError, NewMapping, Settings};
pub use gauge::{Queue, status_of};
pub use google::Google;
pub use heard::{Heard, Notification, Word};
pub use ics::Ics;
pub use latency::Measured;
pub use mappings::Far;
pub use marks::{Mark, Marks};
pub use notices::{Cause, NoticeKind, Notices, Told};
pub use outlook::Outlook;
pub use overlap::Detect;
pub use preview::{Preview, Similar};
pub use run::MassDelete;
pub use shape::projected;
pub use sites::{CoziState, Providers};
pub use ties::Asker;
pub use why::{Standing, Story, Way, Writing};
pub use work::Wakeful;

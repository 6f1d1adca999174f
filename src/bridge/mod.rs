//! The bridge: carries changes between collections here and calendars on far sides, both ways.
//!
//! Owns: connections, mappings, runs, conflicts; the neutral engine observe → plan → apply → remember; the providers.
//! Does not own: how anybody asks for it (`api`), what may be written here (`calendar`), outbound calls (`http::fetch`).
//!
//! Loops end by content, not by time: what both sides agreed on is remembered for each object, an echo equals it, and
//! what equals it is left alone.

mod apply;
mod caldav;
mod conflict;
mod connections;
mod front;
mod history;
mod ledger;
mod mappings;
pub mod pace;
pub mod plan;
mod preview;
pub mod print;
pub mod provider;
pub mod record;
mod run;
mod send;
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
mod simulation;
mod work;

pub use caldav::Caldav;
pub use front::{Bridge, BridgeError, NewMapping, Settings};
pub use preview::Preview;
pub use run::MassDelete;
pub use work::Wakeful;

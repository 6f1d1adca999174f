//! Everything that is tested from outside: one target, so that the library is linked once.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout
)]

mod bridge;
mod bridge_api;
mod cli;
mod cli_server;
mod dialogue;
mod dialogues;
mod door;
mod durability;
#[allow(dead_code, reason = "tests take what they need")]
mod host;
mod house;
mod ical;
mod ical_merge;
mod query;
mod quirks;
mod recurrence;
mod sync;

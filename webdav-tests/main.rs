//! Everything that is tested from outside: one target, so that the library is linked once.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout
)]

mod api_events;
mod app;
mod bookings;
mod bridge;
mod bridge_api;
mod changes;
mod cli;
mod cli_server;
mod consents;
mod cozi;
mod demo;
mod departed;
mod dialogue;
mod dialogues;
mod door;
mod durability;
mod far_sides;
mod feeds_in;
mod feeds_out;
mod first_run;
mod google;
mod hooks;
#[allow(dead_code, reason = "tests take what they need")]
mod host;
mod house;
mod ical;
mod ical_merge;
mod journeys;
mod mail;
mod mappings_api;
mod notices;
mod oauth;
mod operation;
mod operator;
mod outlook;
mod overseen;
mod pages;
mod pages_admin;
mod pages_bookings;
mod pages_calendar;
mod pages_far;
mod pages_sharing;
mod pages_webhooks;
mod pressure;
mod providers;
mod push;
mod query;
mod quirks;
mod recurrence;
mod sims;
mod sims_outlook;
mod splits;
mod strangers;
mod sync;
mod trash;
mod trust;
mod upstreams;
mod versions;
mod wait;
mod webhooks;

//! Kalends: a CalDAV server with provider bridging built in.
//!
//! A *collection* is a set of *objects* plus a log of *changes*. Everyone who writes goes through one
//! [`store::Commit`]; everyone who wants to know follows the log with a cursor. Layers, arrows pointing down only:
//! assembly (`cli`, `config`, `server`) → doors (`dav`, `api`, `web` …) → followers (`bridge`, `webhook`, `mail`) → shared (`http`, `auth`) →
//! rules (`calendar`) → memory (`store`) → text (`ical`, `xml`) and numbers (`metrics`). The map is `docs/architecture.md`.

pub mod api;
pub mod auth;
pub mod bridge;
pub mod calendar;
pub mod cli;
pub mod config;
pub mod dav;
pub mod demo;
pub mod feed;
pub mod follow;
pub mod hooks;
pub mod http;
pub mod ical;
pub mod mail;
pub mod metrics;
pub mod server;
pub mod sim;
pub mod store;
pub mod web;
pub mod webhook;
pub mod xml;

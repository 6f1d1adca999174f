//! The pages, one file each.

pub(super) mod account;
pub(super) mod admin;
pub(super) mod bookings;
pub(super) mod calendar;
pub(super) mod compare;
pub(super) mod conflicts;
pub(super) mod connections;
pub(super) mod devices;
pub(super) mod log;
pub(super) mod mappings;
pub(super) mod notifications;
pub(super) mod settings;
pub(super) mod setup;
pub(super) mod sharing;
pub(super) mod sign_in;
pub(super) mod start;
pub(super) mod ticks;
pub(super) mod trash;
pub(super) mod versions;
pub(super) mod webhooks;

use askama::Template;

use super::shell::Shell;
use super::texts::T;

/// Why there is no page.
#[derive(Debug, Template)]
#[template(path = "stopped.html")]
pub(super) struct Stopped {
    pub(super) s: Shell,
    pub(super) detail: String,
}

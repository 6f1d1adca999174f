//! The first steps, each of which can be skipped and found again: an address that phones reach, a calendar, a phone, an account, a dry run.
//!
//! Whether phones reach the address is not guessed: the page shows a code, and a phone that opens it says so.

use std::sync::atomic::{AtomicI64, Ordering};

use askama::Template;
use http::StatusCode;
use serde_json::Value;

use super::calendar::calendars;
use super::connections::connections;
use super::devices::{devices, drawing, size};
use crate::http::Reply;
use crate::web::Web;
use crate::web::form::Form;
use crate::web::shell::{Shell, page, part};
use crate::web::texts::T;
use crate::web::visit::{Stop, Visit};

const AT: &str = "/start";
/// A phone that came is believed to reach the address for so long.
const FRESH: i64 = 24 * 3600 * 1000;

/// The code that a phone opens, and when one did.
#[derive(Debug)]
pub(in crate::web) struct Reached {
    code: String,
    at: AtomicI64,
}

impl Reached {
    pub(in crate::web) fn new() -> Reached {
        Reached { code: Form::new(&[]).once, at: AtomicI64::new(0) }
    }

    fn lately(&self, now: i64) -> bool {
        let at = self.at.load(Ordering::Relaxed);
        at > 0 && now.saturating_sub(at) < FRESH
    }
}

/// What is to be said of the address itself.
fn concern(address: &str) -> Option<&'static str> {
    let url = url::Url::parse(address).ok()?;
    let host = url.host_str().unwrap_or_default();
    let loopback = host == "localhost"
        || host.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
    if loopback {
        return Some(T.address_loopback);
    }
    (url.scheme() != "https").then_some(T.address_plain)
}

#[derive(Template)]
#[template(path = "start.html")]
struct Start {
    s: Shell,
    address: String,
    concern: Option<&'static str>,
    code: String,
    size: i32,
    calendars: usize,
    devices: usize,
    connections: usize,
    mappings: usize,
}

/// The page.
pub(in crate::web) async fn show(web: &Web, visit: Visit) -> Result<Reply, Stop> {
    let address = web.address(&visit.headers);
    let hello = format!("{address}/hello/{}", web.reached.code);
    let mappings: Vec<Value> = web.list(&visit, "/mappings", 500).await?;
    let shown = Start {
        s: Shell::of(web, &visit, AT, T.first_steps),
        concern: concern(&address),
        code: drawing(&hello),
        size: size(&hello),
        calendars: calendars(web, &visit).await?.len(),
        devices: devices(web, &visit).await?.len(),
        connections: connections(web, &visit).await?.len(),
        mappings: mappings.len(),
        address,
    };
    Ok(page(StatusCode::OK, &shown.s, &shown))
}

#[derive(Template)]
#[template(path = "reached.html")]
struct State {
    yes: bool,
}

/// Whether a phone came: the page asks for it while it is open.
pub(in crate::web) async fn state(web: &Web, _visit: Visit) -> Result<Reply, Stop> {
    let yes = web.reached.lately(web.guard.house().clock.now().0);
    Ok(part(StatusCode::OK, &State { yes }))
}

#[derive(Template)]
#[template(path = "hello.html")]
struct Hello {
    s: Shell,
}

/// A phone opened the code.
pub(in crate::web) async fn hello(web: &Web, visit: Visit) -> Result<Reply, Stop> {
    if visit.id() != web.reached.code {
        return Err(Stop::Missing);
    }
    web.reached.at.store(web.guard.house().clock.now().0, Ordering::Relaxed);
    let shown = Hello { s: Shell::bare(web, T.hello) };
    Ok(page(StatusCode::OK, &shown.s, &shown))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_phones_cannot_use_is_said() {
        for own in ["http://127.0.0.1:8008", "http://localhost:8008", "http://[::1]:8008"] {
            assert_eq!(concern(own), Some(T.address_loopback), "{own}");
        }
        assert_eq!(concern("http://192.168.1.5:8008"), Some(T.address_plain));
        assert_eq!(concern("https://cal.example.org/k"), None);
    }

    #[test]
    fn a_phone_that_came_is_remembered_for_a_day() {
        let reached = Reached::new();
        assert!(!reached.lately(5));
        reached.at.store(5, Ordering::Relaxed);
        assert!(reached.lately(6) && !reached.lately(5 + FRESH));
    }
}

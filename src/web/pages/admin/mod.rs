//! Administration: how the server stands, who has an account, which programs have a token, how it is configured.
//!
//! Owns: the pages for administrators. Does not own: who is one (`web`), what can be done (the API's routes for them).

pub(in crate::web) mod tokens;
pub(in crate::web) mod user;
pub(in crate::web) mod users;

use std::collections::BTreeMap;

use askama::Template;
use http::StatusCode;
use serde::Deserialize;

use crate::http::Reply;
use crate::web::Web;
use crate::web::shell::{Shell, page, part};
use crate::web::texts::T;
use crate::web::texts::admin::T as W;
use crate::web::visit::{Stop, Visit};

/// The entry of the menu that all of them belong to.
const AT: &str = "/admin";

/// The pages of administration: path and name.
const TABS: [(&str, &str); 4] = [
    ("/admin", T.admin_health),
    ("/admin/users", T.admin_users),
    ("/admin/tokens", T.admin_tokens),
    ("/admin/configuration", T.admin_configuration),
];

/// Which of them is open.
#[derive(Debug, Clone, Copy)]
struct Tabs {
    at: &'static str,
    all: [(&'static str, &'static str); 4],
}

impl Tabs {
    fn at(at: &'static str) -> Tabs {
        Tabs { at, all: TABS }
    }
}

/// How the server stands, as the API tells it.
#[derive(Debug, Deserialize)]
struct Status {
    version: String,
    server: Option<Standing>,
}

#[derive(Debug, Deserialize)]
struct Standing {
    users: u64,
    users_connected: u64,
    collections: u64,
    objects: u64,
    object_bytes: u64,
    disk_bytes: u64,
    commits: u64,
    connections: BTreeMap<String, u64>,
    mappings: BTreeMap<String, u64>,
    conflicts_open: u64,
    notices_open: u64,
    queue: Queue,
}

#[derive(Debug, Deserialize)]
struct Queue {
    running: u64,
    waiting: u64,
    lag_seconds: u64,
}

/// What comes late by more than this is worth a look.
const LATE: u64 = 300;

impl Queue {
    /// Returns how it goes, in a sentence and a tone.
    fn words(&self) -> (&'static str, &'static str) {
        match (self.lag_seconds > LATE, self.running + self.waiting) {
            (true, _) => (T.queue_late, "warn"),
            (false, 0) => (T.queue_idle, "good"),
            (false, _) => (T.queue_busy, "good"),
        }
    }
}

/// How many stand so: the word for people, its tone, how many.
type Counted = (&'static str, &'static str, u64);

fn counted(counts: &BTreeMap<String, u64>, words: fn(&str) -> (&'static str, &'static str)) -> Vec<Counted> {
    let some = counts.iter().filter(|(_, count)| **count > 0);
    some.map(|(status, count)| (words(status).0, words(status).1, *count)).collect()
}

/// Returns a size as people read it.
fn size(bytes: u64) -> String {
    let mut unit = ("B", 1u64);
    for larger in [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("TiB", 1 << 40)] {
        if bytes >= larger.1 {
            unit = larger;
        }
    }
    let (whole, rest) = (bytes / unit.1, (bytes % unit.1).saturating_mul(10) / unit.1);
    if unit.1 == 1 || whole >= 100 {
        format!("{whole} {}", unit.0)
    } else {
        format!("{whole}.{rest} {}", unit.0)
    }
}

/// Returns a number with its digits in threes.
fn number(of: u64) -> String {
    let digits = of.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push('\u{202f}');
        }
        out.push(digit);
    }
    out
}

/// The numbers of a server as people read them.
struct Figures {
    users: String,
    users_connected: String,
    collections: String,
    objects: String,
    object_bytes: String,
    disk_bytes: String,
    commits: String,
    conflicts_open: String,
    notices_open: String,
    running: String,
    waiting: String,
    lag_seconds: String,
}

impl Figures {
    fn of(standing: &Standing) -> Figures {
        Figures {
            users: number(standing.users),
            users_connected: number(standing.users_connected),
            collections: number(standing.collections),
            objects: number(standing.objects),
            object_bytes: size(standing.object_bytes),
            disk_bytes: size(standing.disk_bytes),
            commits: number(standing.commits),
            conflicts_open: number(standing.conflicts_open),
            notices_open: number(standing.notices_open),
            running: number(standing.queue.running),
            waiting: number(standing.queue.waiting),
            lag_seconds: number(standing.queue.lag_seconds),
        }
    }
}

#[derive(Template)]
#[template(path = "admin.html")]
struct Health {
    s: Shell,
    tabs: Tabs,
    version: String,
    h: Figures,
    queue: (&'static str, &'static str),
    connections: Vec<Counted>,
    mappings: Vec<Counted>,
    part: bool,
}

/// How the store, the queue and the far sides are.
pub(in crate::web) async fn show(web: &Web, visit: Visit) -> Result<Reply, Stop> {
    let status: Status = web.read(&visit, "/status").await?;
    let h = status.server.ok_or(Stop::Admins)?;
    let shown = Health {
        s: Shell::of(web, &visit, AT, T.menu_admin),
        tabs: Tabs::at("/admin"),
        version: status.version,
        connections: counted(&h.connections, super::connections::state_of),
        mappings: counted(&h.mappings, super::mappings::state_of),
        h: Figures::of(&h),
        queue: h.queue.words(),
        part: visit.fragment(),
    };
    Ok(if shown.part { part(StatusCode::OK, &shown) } else { page(StatusCode::OK, &shown.s, &shown) })
}

/// An option, as the API tells it.
#[derive(Debug, Deserialize)]
struct Setting {
    key: String,
    value: Option<String>,
    default: Option<String>,
    source: String,
    locked: bool,
    secret: bool,
    about: String,
}

impl Setting {
    fn section(&self) -> &str {
        self.key.split_once('.').map_or("environment", |(section, _)| section)
    }

    fn name(&self) -> &str {
        self.key.split_once('.').map_or(self.key.as_str(), |(_, name)| name)
    }

    fn source_words(&self) -> &'static str {
        match self.source.as_str() {
            "file" => T.source_file,
            "environment" => T.source_environment,
            "command" => T.source_command,
            _ => T.source_default,
        }
    }

    /// The default is worth telling where something else was said.
    fn instead(&self) -> Option<&str> {
        let default = self.default.as_deref().filter(|_| self.locked)?;
        (self.value.as_deref() != Some(default)).then_some(default)
    }
}

#[derive(Template)]
#[template(path = "admin_configuration.html")]
struct Configuration {
    s: Shell,
    tabs: Tabs,
    sections: Vec<(String, Vec<Setting>)>,
    locked: usize,
}

/// Every option: what it is, and where that was said.
pub(in crate::web) async fn configuration(web: &Web, visit: Visit) -> Result<Reply, Stop> {
    let all: Vec<Setting> = web.list(&visit, "/configuration", 2000).await?;
    let locked = all.iter().filter(|one| one.locked).count();
    let mut sections: Vec<(String, Vec<Setting>)> = Vec::new();
    for one in all {
        match sections.iter_mut().find(|(name, _)| name == one.section()) {
            Some((_, list)) => list.push(one),
            None => sections.push((one.section().to_owned(), vec![one])),
        }
    }
    let s = Shell::of(web, &visit, AT, T.admin_configuration);
    let shown = Configuration { s, tabs: Tabs::at("/admin/configuration"), sections, locked };
    Ok(page(StatusCode::OK, &shown.s, &shown))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_told_as_people_read_them() {
        assert_eq!(
            [0, 12, 1234, 1_234_567].map(number),
            ["0", "12", "1\u{202f}234", "1\u{202f}234\u{202f}567"]
        );
        let sizes = [0, 1023, 1536, 5 << 20, 300 << 20, 3 << 30].map(size);
        assert_eq!(sizes, ["0 B", "1023 B", "1.5 KiB", "5.0 MiB", "300 MiB", "3.0 GiB"]);
    }

    #[test]
    fn a_queue_that_is_late_is_said() {
        let queue = |running, waiting, lag_seconds| Queue { running, waiting, lag_seconds }.words().0;
        assert_eq!(queue(0, 0, 0), T.queue_idle);
        assert_eq!(queue(2, 5, 3), T.queue_busy);
        assert_eq!(queue(2, 5, LATE + 1), T.queue_late);
    }
}

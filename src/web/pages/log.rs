//! The sync log: what passes did, each with its events: what was written, what was left alone or not carried, and why.
//!
//! Owns: the pages. Does not own: what a pass notes (the bridge), the names of the two sides (`mappings`).

use std::collections::BTreeMap;

use askama::Template;
use http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::Value;

use super::calendar::{self, Calendar, calendars};
use super::connections::{Connection, connections};
use super::mappings::{Mapping, Row, row};
use crate::http::Reply;
use crate::web::Web;
use crate::web::ask::{Wish, encoded};
use crate::web::shell::{Shell, page};
use crate::web::texts::T;
use crate::web::visit::{Stop, Visit};

/// The entry of the menu that it belongs to.
const MENU: &str = "/log";
/// So many passes a page.
const PAGE: usize = 30;

/// A pass, as the API tells it.
#[derive(Debug, Deserialize)]
pub(in crate::web) struct Run {
    pub(in crate::web) id: String,
    mapping: String,
    pub(in crate::web) status: String,
    pub(in crate::web) started_at: String,
    local: Count,
    remote: Count,
    conflicts: u64,
    #[serde(default)]
    failures: Vec<Told>,
    #[serde(default)]
    wrote: Vec<Wrote>,
    #[serde(default)]
    skipped: Vec<Told>,
    #[serde(default)]
    skipped_count: u64,
    calls: u64,
    calls_saved: u64,
    pub(in crate::web) done: u64,
    pub(in crate::web) total: u64,
    duration_ms: Option<i64>,
}

#[derive(Debug, Deserialize)]
struct Told {
    uid: String,
    reason: String,
}

#[derive(Debug, Deserialize)]
struct Wrote {
    uid: String,
    side: String,
    done: String,
}

#[derive(Debug, Deserialize)]
struct Count {
    inserted: u64,
    updated: u64,
    deleted: u64,
}

impl Count {
    fn total(&self) -> u64 {
        self.inserted.saturating_add(self.updated).saturating_add(self.deleted)
    }

    /// Returns them as people say them: `3 new, 1 changed`; nothing for nothing.
    fn words(&self) -> String {
        let all = [(self.inserted, T.run_new), (self.updated, T.run_changed), (self.deleted, T.run_removed)];
        let said: Vec<String> = all
            .iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, word)| format!("{count} {word}"))
            .collect();
        said.join(", ")
    }
}

impl Run {
    /// Returns how it went, in a word and a tone.
    pub(in crate::web) fn state(&self) -> (&'static str, &'static str) {
        match self.status.as_str() {
            "running" => (T.run_running, "busy"),
            "success" => (T.run_success, "good"),
            "partial_failure" => (T.run_partial, "warn"),
            "deferred" => (T.mapping_deferred, "warn"),
            _ => (T.run_failed, "bad"),
        }
    }

    /// Tells whether it goes on.
    pub(in crate::web) fn running(&self) -> bool {
        self.status == "running"
    }

    /// Returns what it did, in a sentence.
    pub(in crate::web) fn sentence(&self) -> String {
        let mut parts = Vec::new();
        for (side, count) in [(T.log_here, &self.local), (T.log_there, &self.remote)] {
            let words = count.words();
            if !words.is_empty() {
                parts.push(format!("{side}: {words}"));
            }
        }
        for (count, word) in [
            (self.conflicts, self.conflict_word()),
            (self.failed(), T.log_failures),
            (self.skipped_count, T.log_skipped_word),
        ] {
            if count > 0 {
                parts.push(format!("{count} {word}"));
            }
        }
        match (parts.is_empty(), self.running()) {
            (true, true) => T.log_looking.to_owned(),
            (true, false) => T.log_nothing.to_owned(),
            (false, _) => parts.join(" · "),
        }
    }

    fn conflict_word(&self) -> &'static str {
        if self.conflicts == 1 { T.log_conflict } else { T.log_conflicts }
    }

    fn failed(&self) -> u64 {
        self.failures.iter().filter(|one| !one.uid.is_empty()).count().try_into().unwrap_or(u64::MAX)
    }

    /// Returns what went wrong with the pass as a whole.
    pub(in crate::web) fn troubles(&self) -> impl Iterator<Item = &str> {
        self.failures.iter().filter(|one| one.uid.is_empty()).map(|one| one.reason.as_str())
    }

    /// Returns how many of what was written are not named.
    fn unnamed(&self) -> u64 {
        let named: u64 = self.wrote.len().try_into().unwrap_or(u64::MAX);
        self.local.total().saturating_add(self.remote.total()).saturating_sub(named)
    }

    /// Returns how many of what was left alone are not named.
    fn skipped_more(&self) -> u64 {
        self.skipped_count.saturating_sub(self.skipped.len().try_into().unwrap_or(u64::MAX))
    }

    fn took(&self) -> String {
        match self.duration_ms {
            Some(ms) if ms < 1000 => format!("{ms} ms"),
            Some(ms) => format!("{}.{} s", ms / 1000, ms % 1000 / 100),
            None => "…".to_owned(),
        }
    }
}

struct Entry {
    run: Run,
    row: Option<std::sync::Arc<Row>>,
}

/// A choice of the filter: its value and its name.
struct Choice {
    value: String,
    name: String,
}

#[derive(Template)]
#[template(path = "log.html")]
struct List {
    s: Shell,
    entries: Vec<Entry>,
    choices: Vec<Choice>,
    chosen: String,
    /// The page that shows older ones.
    older: Option<String>,
    newer: bool,
}

/// Both sides of every mapping, by its id.
async fn rows(
    web: &Web,
    visit: &Visit,
    calendars: &[Calendar],
    connections: &[Connection],
) -> Result<BTreeMap<String, std::sync::Arc<Row>>, Stop> {
    let list: Vec<Mapping> = web.list(visit, "/mappings", 500).await?;
    let named = |m: Mapping| (m.id.clone(), std::sync::Arc::new(row(m, calendars, connections)));
    Ok(list.into_iter().map(named).collect())
}

/// The list, of all mappings, of one, or of those of an account.
pub(in crate::web) async fn show(web: &Web, visit: Visit) -> Result<Reply, Stop> {
    let (calendars, connections) = (calendars(web, &visit).await?, connections(web, &visit).await?);
    let rows = rows(web, &visit, &calendars, &connections).await?;
    let mut choices = vec![Choice { value: String::new(), name: T.log_all.to_owned() }];
    choices.extend(connections.iter().map(|account| Choice {
        value: format!("connection={}", account.id),
        name: account.title().to_owned(),
    }));
    choices.extend(rows.iter().map(|(id, row)| Choice {
        value: format!("mapping={id}"),
        name: format!("{} ↔ {}, {}", row.here, row.there, row.account),
    }));
    let of = ["mapping", "connection"].into_iter().find_map(|name| Some((name, visit.parameter(name)?)));
    // The form of the filter says both in one field.
    let of = of.or_else(|| visit.parameter("of").and_then(|of| of.split_once('=')));
    let of = of.filter(|(name, _)| matches!(*name, "mapping" | "connection"));
    let chosen = of.map(|(name, id)| format!("{name}={id}")).unwrap_or_default();
    let filter = of.map(|(name, id)| format!("&{name}={}", encoded(id))).unwrap_or_default();
    let skip: usize = visit.parameter("from").and_then(|from| from.parse().ok()).unwrap_or(0);
    let path = format!("/runs?limit={PAGE}&cursor={skip}{filter}");
    let mut found: Value = web.ask(&visit, Method::GET, &path, Wish::default()).await?.good()?;
    let next = found.get("next_cursor").and_then(Value::as_str).map(str::to_owned);
    let items = found.get_mut("items").map(Value::take).unwrap_or_default();
    let runs: Vec<Run> = serde_json::from_value(items).map_err(|error| Stop::Failed(error.to_string()))?;
    let entries = runs.into_iter().map(|run| Entry { row: rows.get(&run.mapping).cloned(), run }).collect();
    let shown = List {
        s: Shell::of(web, &visit, MENU, T.log),
        entries,
        choices,
        older: next.map(|next| format!("?from={next}{filter}")),
        newer: skip > 0,
        chosen,
    };
    Ok(page(StatusCode::OK, &shown.s, &shown))
}

/// An event of a pass: its title if it is still there, and what is said of it.
struct Line {
    title: Option<String>,
    uid: String,
    words: String,
    tone: &'static str,
}

#[derive(Template)]
#[template(path = "log_run.html")]
struct One {
    s: Shell,
    run: Run,
    row: Row,
    here: Vec<Line>,
    there: Vec<Line>,
    failed: Vec<Line>,
    skipped: Vec<Line>,
}

/// What a UID is called by people, asked for once.
struct Titles<'a> {
    web: &'a Web,
    visit: &'a Visit,
    calendar: &'a str,
    known: BTreeMap<String, Option<String>>,
}

impl Titles<'_> {
    async fn of(&mut self, uid: &str) -> Result<Option<String>, Stop> {
        if let Some(known) = self.known.get(uid) {
            return Ok(known.clone());
        }
        let path = calendar::event::path(self.calendar, uid);
        let answer = self.web.ask(self.visit, Method::GET, &path, Wish::default()).await?;
        let title = answer.status.is_success().then(|| {
            let title = answer.body.get("title").and_then(Value::as_str).unwrap_or_default().trim();
            if title.is_empty() { T.no_title.to_owned() } else { title.to_owned() }
        });
        self.known.insert(uid.to_owned(), title.clone());
        Ok(title)
    }

    async fn line(&mut self, uid: &str, words: &str, tone: &'static str) -> Result<Line, Stop> {
        let title = self.of(uid).await?;
        Ok(Line { title, uid: uid.to_owned(), words: words.to_owned(), tone })
    }
}

/// One pass.
pub(in crate::web) async fn one(web: &Web, visit: Visit) -> Result<Reply, Stop> {
    let run: Run = web.read(&visit, &format!("/runs/{}", encoded(visit.id()))).await?;
    let m: Mapping = web.read(&visit, &format!("/mappings/{}", encoded(&run.mapping))).await?;
    let (calendars, connections) = (calendars(web, &visit).await?, connections(web, &visit).await?);
    let row = row(m, &calendars, &connections);
    let calendar = row.calendar().to_owned();
    let mut titles = Titles { web, visit: &visit, calendar: &calendar, known: BTreeMap::new() };
    let (mut here, mut there) = (Vec::new(), Vec::new());
    for one in &run.wrote {
        let (words, tone) = match one.done.as_str() {
            "inserted" => (T.log_inserted, "good"),
            "updated" => (T.log_updated, "busy"),
            _ => (T.log_deleted, "bad"),
        };
        let line = titles.line(&one.uid, words, tone).await?;
        if one.side == "local" { here.push(line) } else { there.push(line) }
    }
    let mut failed = Vec::new();
    for one in run.failures.iter().filter(|one| !one.uid.is_empty()) {
        failed.push(titles.line(&one.uid, &one.reason, "warn").await?);
    }
    let mut skipped = Vec::new();
    for one in &run.skipped {
        skipped.push(titles.line(&one.uid, &one.reason, "").await?);
    }
    let s = Shell::of(web, &visit, MENU, T.log_pass);
    let shown = One { s, run, row, here, there, failed, skipped };
    Ok(page(StatusCode::OK, &shown.s, &shown))
}

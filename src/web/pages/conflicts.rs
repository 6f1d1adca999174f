//! Conflicts: what both sides say, side by side with what they agreed on, and the decision.

use std::collections::BTreeSet;

use askama::Template;
use bytes::Bytes;
use http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::calendar::calendars;
use super::connections::connections;
use super::mappings::{Mapping, row};
use crate::http::Reply;
use crate::ical::Ical;
use crate::web::Web;
use crate::web::ask::{Wish, encoded};
use crate::web::shell::{Shell, page};
use crate::web::texts::T;
use crate::web::visit::{Stop, Visit};

const AT: &str = "/conflicts";
/// What says nothing to people when two versions are compared.
const NOISE: [&str; 7] =
    ["UID", "DTSTAMP", "LAST-MODIFIED", "CREATED", "SEQUENCE", "RECURRENCE-ID", "PRODID"];

#[derive(Debug, Deserialize)]
struct Conflict {
    id: String,
    title: String,
    detected_at: String,
    kind: String,
    clashes: Vec<String>,
    base: Option<String>,
    local: Option<String>,
    external: Option<String>,
    status: String,
    decided_by: Option<String>,
    #[serde(default)]
    notes: Option<String>,
    resolved_at: Option<String>,
    #[serde(default)]
    history: Vec<Turn>,
}

/// What was decided before the last decision.
#[derive(Debug, Deserialize)]
struct Turn {
    at: String,
    status: String,
    decided_by: String,
    notes: Option<String>,
}

impl Turn {
    fn words(&self) -> &'static str {
        state(&self.status).0
    }
}

fn state(status: &str) -> (&'static str, &'static str) {
    match status {
        "pending" => (T.conflict_pending, "warn"),
        "resolved_local" => (T.conflict_local, "good"),
        "resolved_external" => (T.conflict_external, "good"),
        "merged" => (T.conflict_merged, "good"),
        _ => (T.conflict_ignored, ""),
    }
}

impl Conflict {
    fn title(&self) -> &str {
        if self.title.trim().is_empty() { T.no_title } else { &self.title }
    }

    fn kind_words(&self) -> &'static str {
        match self.kind.as_str() {
            "deleted_here" => T.kind_deleted_here,
            "deleted_there" => T.kind_deleted_there,
            "booking_protected" => T.kind_booking,
            "keeps_changing" => T.kind_keeps_changing,
            "both_new" => T.kind_both_new,
            _ => T.kind_both_changed,
        }
    }

    fn state(&self) -> (&'static str, &'static str) {
        state(&self.status)
    }

    /// Tells whether a version lost that can be brought back.
    fn undoable(&self) -> bool {
        matches!(self.status.as_str(), "resolved_local" | "resolved_external" | "merged")
    }

    fn open(&self) -> bool {
        self.status == "pending"
    }
}

/// How conflicts stand, as the filter offers it.
const STATES: [(&str, &str); 6] = [
    ("", T.all_states),
    ("pending", T.conflict_pending),
    ("resolved_local", T.conflict_local),
    ("resolved_external", T.conflict_external),
    ("merged", T.conflict_merged),
    ("ignored", T.conflict_ignored),
];
/// So many a page.
const PAGE: usize = 50;

#[derive(Template)]
#[template(path = "conflicts.html")]
struct List {
    s: Shell,
    open: Vec<Conflict>,
    decided: Vec<Conflict>,
    states: [(&'static str, &'static str); 6],
    status: String,
    /// Every mapping: its id and its name.
    mappings: Vec<(String, String)>,
    mapping: String,
    /// The filter as the query of an address.
    query: String,
    older: Option<String>,
    newer: bool,
}

/// Returns the filter of the page as the query of an address; it begins with `&` unless it is empty.
fn filter(visit: &Visit) -> String {
    let said = ["status", "mapping"].into_iter().filter_map(|name| Some((name, visit.parameter(name)?)));
    said.map(|(name, value)| format!("&{name}={}", encoded(value))).collect()
}

/// The list: what waits, and what was decided.
pub(in crate::web) async fn show(web: &Web, visit: Visit) -> Result<Reply, Stop> {
    let (calendars, connections) = (calendars(web, &visit).await?, connections(web, &visit).await?);
    let mappings: Vec<Mapping> = web.list(&visit, "/mappings", 500).await?;
    let named = |m: Mapping| {
        let row = row(m, &calendars, &connections);
        (row.m.id.clone(), format!("{} ↔ {}, {}", row.here, row.there, row.account))
    };
    let mappings = mappings.into_iter().map(named).collect();
    let query = filter(&visit);
    let skip: usize = visit.parameter("from").and_then(|from| from.parse().ok()).unwrap_or(0);
    let path = format!("{AT}?limit={PAGE}&cursor={skip}{query}");
    let mut found: Value = web.ask(&visit, Method::GET, &path, Wish::default()).await?.good()?;
    let next = found.get("next_cursor").and_then(Value::as_str).map(|next| format!("?from={next}{query}"));
    let items = found.get_mut("items").map(Value::take).unwrap_or_default();
    let all: Vec<Conflict> =
        serde_json::from_value(items).map_err(|error| Stop::Failed(error.to_string()))?;
    let (open, decided) = all.into_iter().partition(Conflict::open);
    let read = |name: &str| visit.parameter(name).unwrap_or_default().to_owned();
    let shown = List {
        s: Shell::of(web, &visit, AT, T.menu_conflicts),
        open,
        decided,
        states: STATES,
        status: read("status"),
        mappings,
        mapping: read("mapping"),
        query: query.strip_prefix('&').map(|rest| format!("?{rest}")).unwrap_or_default(),
        older: next,
        newer: skip > 0,
    };
    Ok(page(StatusCode::OK, &shown.s, &shown))
}

/// A property in all versions.
struct Line {
    property: String,
    words: String,
    base: String,
    local: String,
    external: String,
    differs: bool,
    /// It can be chosen by itself.
    clash: bool,
}

/// Returns a property's name for people.
fn words(property: &str) -> String {
    let known = match property {
        "SUMMARY" => T.title,
        "DTSTART" => T.starts,
        "DTEND" => T.ends,
        "DURATION" => T.lasts,
        "LOCATION" => T.location,
        "DESCRIPTION" => T.notes,
        "RRULE" => T.repeat,
        "STATUS" => T.status,
        "TRANSP" => T.shown_as,
        "ATTENDEE" => T.guests_word,
        other => return other.to_owned(),
    };
    known.to_owned()
}

/// Returns what a version says, property by property; of a series what is said of the whole.
fn said(text: Option<&str>) -> Vec<(String, String)> {
    let Some(ical) = text.and_then(|text| Ical::parse(Bytes::from(text.to_owned())).ok()) else {
        return Vec::new();
    };
    let Some(calendar) = ical.calendar() else { return Vec::new() };
    let events = || calendar.components().filter(|one| one.name() != "VTIMEZONE");
    let master = events().find(|one| one.property("RECURRENCE-ID").is_none()).or_else(|| events().next());
    let Some(master) = master else { return Vec::new() };
    let mut found: Vec<(String, String)> = Vec::new();
    for property in master.properties() {
        let name = property.name().to_ascii_uppercase();
        if NOISE.contains(&name.as_str()) {
            continue;
        }
        let mut value = readable(&name, property.text());
        if let Some(zone) = property.parameter("TZID") {
            value = format!("{value} {zone}");
        }
        match found.iter_mut().find(|(known, _)| *known == name) {
            Some((_, all)) => *all = format!("{all}\n{value}"),
            None => found.push((name, value)),
        }
    }
    let more = events().count().saturating_sub(1);
    if more > 0 {
        found.push(("RECURRENCE-ID".to_owned(), more.to_string()));
    }
    found
}

/// Returns a value as people read it: `20260302T090000` is `2026-03-02 09:00`, `PT1H30M` is `1h 30m`.
fn readable(name: &str, value: String) -> String {
    if name == "DURATION" {
        let parsed: Result<jiff::Span, _> = value.parse();
        return parsed.map_or(value, |span| format!("{span:#}"));
    }
    if !matches!(name, "DTSTART" | "DTEND") {
        return value;
    }
    let part =
        |from: usize, to: usize| value.get(from..to).filter(|part| part.bytes().all(|b| b.is_ascii_digit()));
    match (part(0, 4), part(4, 6), part(6, 8), part(9, 11), part(11, 13)) {
        (Some(year), Some(month), Some(day), Some(hour), Some(minute)) => {
            let zone = if value.ends_with('Z') { " UTC" } else { "" };
            format!("{year}-{month}-{day} {hour}:{minute}{zone}")
        }
        (Some(year), Some(month), Some(day), None, None) => format!("{year}-{month}-{day}"),
        _ => value,
    }
}

fn lines(conflict: &Conflict) -> Vec<Line> {
    let versions = [&conflict.base, &conflict.local, &conflict.external].map(|text| said(text.as_deref()));
    let [base, local, external] = &versions;
    let mut names = Vec::new();
    let mut seen = BTreeSet::new();
    for (name, _) in versions.iter().flatten() {
        if seen.insert(name.clone()) {
            names.push(name.clone());
        }
    }
    let of = |list: &[(String, String)], name: &str| {
        list.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone()).unwrap_or_default()
    };
    names
        .into_iter()
        .map(|name| {
            let (base, local, external) = (of(base, &name), of(local, &name), of(external, &name));
            let clash = conflict.clashes.iter().any(|one| one.eq_ignore_ascii_case(&name));
            let words = if name == "RECURRENCE-ID" { T.exceptions.to_owned() } else { words(&name) };
            Line { differs: local != external, words, property: name, base, local, external, clash }
        })
        .collect()
}

#[derive(Template)]
#[template(path = "conflict.html")]
struct One {
    s: Shell,
    lines: Vec<Line>,
    has_base: bool,
    gone_here: bool,
    gone_there: bool,
    c: Conflict,
}

/// One conflict.
pub(in crate::web) async fn one(web: &Web, visit: Visit) -> Result<Reply, Stop> {
    let c: Conflict = web.read(&visit, &format!("{AT}/{}", encoded(visit.id()))).await?;
    let shown = One {
        s: Shell::of(web, &visit, AT, c.title()),
        lines: lines(&c),
        has_base: c.base.is_some(),
        gone_here: c.local.is_none(),
        gone_there: c.external.is_none(),
        c,
    };
    Ok(page(StatusCode::OK, &shown.s, &shown))
}

/// Decides it, or takes the decision back.
pub(in crate::web) async fn decide(web: &Web, visit: Visit) -> Result<Reply, Stop> {
    let path = format!("{AT}/{}", encoded(visit.id()));
    let answer = match visit.field("resolution") {
        "undo" => web.ask(&visit, Method::POST, &format!("{path}/undo"), Wish::default()).await?,
        resolution => {
            let mut body = Map::new();
            body.insert("resolution".into(), json!(resolution));
            if !visit.field("notes").is_empty() {
                body.insert("notes".into(), json!(visit.field("notes")));
            }
            if resolution == "merge" {
                let chosen =
                    visit.fields().filter_map(|(name, side)| Some((name.strip_prefix("side-")?, side)));
                let chosen: Map<String, Value> =
                    chosen.map(|(name, side)| (name.to_owned(), json!(side))).collect();
                if !chosen.is_empty() {
                    body.insert("fields".into(), Value::Object(chosen));
                }
            }
            web.ask(&visit, Method::POST, &format!("{path}/resolve"), Wish::of(Value::Object(body))).await?
        }
    };
    answer.good()?;
    Ok(web.go(&path))
}

/// All of them as a table, for a spreadsheet.
pub(in crate::web) async fn table(web: &Web, visit: Visit) -> Result<Reply, Stop> {
    let path = format!("/conflicts.csv{}", filter(&visit).replacen('&', "?", 1));
    web.raw(&visit, Method::GET, &path, Wish::default()).await
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_property_by_property() {
        let event = |title: &str, more: &str| {
            Some(format!(
                "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//test//EN\r\nBEGIN:VEVENT\r\nUID:1\r\nDTSTAMP:20260101T000000Z\r\n\
                 DTSTART;TZID=Europe/Berlin:20260302T090000\r\nSUMMARY:{title}\r\n{more}END:VEVENT\r\nEND:VCALENDAR\r\n"
            ))
        };
        let conflict = Conflict {
            id: "1".into(),
            title: String::new(),
            detected_at: String::new(),
            kind: "both_changed".into(),
            clashes: vec!["SUMMARY".into()],
            base: event("A", ""),
            local: event("B", "LOCATION:Hall\\, left\r\n"),
            external: event("C", ""),
            status: "pending".into(),
            decided_by: None,
            notes: None,
            resolved_at: None,
            history: Vec::new(),
        };
        let told: Vec<(String, String, String, bool, bool)> = lines(&conflict)
            .into_iter()
            .map(|l| (l.words, l.local, l.external, l.differs, l.clash))
            .collect();
        let row = |a: &str, b: &str, c: &str, d, e| (a.to_owned(), b.to_owned(), c.to_owned(), d, e);
        assert_eq!(
            told,
            [
                row(
                    "Starts",
                    "2026-03-02 09:00 Europe/Berlin",
                    "2026-03-02 09:00 Europe/Berlin",
                    false,
                    false
                ),
                row("Title", "B", "C", true, true),
                row("Place", "Hall, left", "", true, false),
            ]
        );
        assert_eq!(conflict.title(), T.no_title);
        let told = |name: &str, value: &str| readable(name, value.to_owned());
        assert_eq!(told("DTEND", "20260302T090000Z"), "2026-03-02 09:00 UTC");
        assert_eq!(
            (told("DTSTART", "20260302"), told("DTSTART", "soon")),
            ("2026-03-02".into(), "soon".into())
        );
        assert_eq!((told("DURATION", "PT1H30M"), told("SUMMARY", "PT1H")), ("1h 30m".into(), "PT1H".into()));
    }
}

//! `calendarView/delta`: what changed in a window since a round before.
//!
//! Owns: rounds, their tokens and pages. Does not own: the mailbox's past (`mailbox`).
//!
//! A token holds the calendar, the window and the two moments that a round lies between; it does not hold preferences.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Habits;
use super::fail::Fail;
use super::ids::Id;
use super::mailbox::{Mailbox, Row, span};
use super::query::{Query, link};
use super::times;
use super::view::{Show, set};
use crate::sim::Request;

/// Days that a window may have.
const LONGEST: i64 = 1825;
/// Rounds that are remembered; one that is not is worked out anew.
const KEPT: usize = 16;

/// A round between two moments.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Round {
    calendar: u64,
    from: i64,
    to: i64,
    since: Option<u64>,
    upto: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Token {
    #[serde(flatten)]
    round: Round,
    offset: usize,
    epoch: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Entry {
    Shown(u64, Option<i64>),
    Removed(Id, &'static str),
}

/// What is known of rounds.
#[derive(Debug, Default)]
pub(super) struct Rounds {
    /// Tokens of an earlier epoch are worth nothing.
    pub(super) epoch: u64,
    kept: VecDeque<(Round, Arc<Vec<Entry>>)>,
}

/// Reads the window that a request asks for.
pub(super) fn window(request: &Request) -> Result<(i64, i64), Fail> {
    let named = |wanted: &str| {
        let given = request.query.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted));
        let Some((_, text)) = given else {
            return Err(Fail::new(
                400,
                "ErrorInvalidParameter",
                "This request requires a time window specified by the query string parameters StartDateTime and \
                 EndDateTime.",
            ));
        };
        times::instant(text).ok_or_else(|| {
            Fail::new(
                400,
                "ErrorInvalidParameter",
                format!("The value '{text}' of {wanted} is no date and time."),
            )
        })
    };
    let (from, to) = (named("startDateTime")?, named("endDateTime")?);
    if to < from {
        return Err(Fail::new(400, "ErrorInvalidParameter", "EndDateTime is before StartDateTime."));
    }
    if to - from > LONGEST * crate::ical::value::DAY {
        return Err(Fail::new(
            400,
            "ErrorCalendarViewRangeTooBig",
            format!(
                "The range between the start and end dates is greater than the allowed range. Maximum number of days: {LONGEST}"
            ),
        ));
    }
    Ok((from, to))
}

impl Rounds {
    /// Answers a call of `delta`.
    pub(super) fn answer(
        &mut self,
        mailbox: &Mailbox,
        calendar: u64,
        request: &Request,
        show: &Show<'_>,
        seq: u64,
    ) -> Result<Value, Fail> {
        Query::read(request, &["skiptoken", "deltatoken"], &["startDateTime", "endDateTime"], "event")?;
        let (round, offset) = match (request.parameter("$skiptoken"), request.parameter("$deltatoken")) {
            (None, None) => {
                let (from, to) = window(request)?;
                (Round { calendar, from, to, since: None, upto: seq }, 0)
            }
            (Some(text), _) => {
                let token = self.token(text, calendar, request, mailbox)?;
                (token.round, token.offset)
            }
            (None, Some(text)) => {
                let Token { round, .. } = self.token(text, calendar, request, mailbox)?;
                (Round { since: Some(round.upto), upto: seq.max(round.upto), ..round }, 0)
            }
        };
        let entries = self.entries(mailbox, &round, show.habits);
        let size = show.prefer.page.unwrap_or(super::query::PAGE);
        // A first page with nothing in it is normal.
        let size = if show.habits.empty_pages && offset == 0 && !entries.is_empty() { 0 } else { size };
        // The first offset of a round that began with an empty page is one that no other page has.
        let begin = if offset == usize::MAX { 0 } else { offset };
        let page = entries.iter().skip(begin).take(size);
        let value: Vec<Value> = page.filter_map(|entry| shown(mailbox, *entry, &round, show)).collect();
        let end = begin + size;
        let mut answer =
            json!({ "@odata.context": format!("{}/v1.0/$metadata#Collection(event)", request.origin()) });
        if end < entries.len() {
            let offset = if end == 0 { usize::MAX } else { end };
            let token = Token { round, offset, epoch: self.epoch };
            set(&mut answer, "@odata.nextLink", json!(link_to(request, "$skiptoken", &token)));
        } else {
            let token = Token { round, offset: 0, epoch: self.epoch };
            set(&mut answer, "@odata.deltaLink", json!(link_to(request, "$deltatoken", &token)));
        }
        set(&mut answer, "value", Value::Array(value));
        Ok(answer)
    }

    fn token(&self, text: &str, calendar: u64, request: &Request, mailbox: &Mailbox) -> Result<Token, Fail> {
        let read =
            URL_SAFE_NO_PAD.decode(text).ok().and_then(|bytes| serde_json::from_slice::<Token>(&bytes).ok());
        let Some(token) = read.filter(|token| token.round.calendar == calendar) else {
            return Err(Fail::new(400, "syncStateInvalid", "Badly formed token."));
        };
        let round = &token.round;
        let known = round.upto.min(round.since.unwrap_or(round.upto)) >= mailbox.forgotten;
        if token.epoch != self.epoch || !known {
            let window = [("startDateTime", token.round.from), ("endDateTime", token.round.to)];
            let window = window.map(|(name, at)| (name, times::moment(at * 1000)));
            let all = ["$skiptoken", "$deltatoken", "startDateTime", "endDateTime"];
            return Err(Fail::gone(link(request, &request.path, &all, &window)));
        }
        Ok(token)
    }

    fn entries(&mut self, mailbox: &Mailbox, round: &Round, habits: &Habits) -> Arc<Vec<Entry>> {
        if let Some((_, entries)) = self.kept.iter().find(|(own, _)| own == round) {
            return Arc::clone(entries);
        }
        let entries = Arc::new(changes(mailbox, round, habits));
        self.kept.push_front((round.clone(), Arc::clone(&entries)));
        self.kept.truncate(KEPT);
        entries
    }

    /// Forgets what was worked out.
    pub(super) fn forget(&mut self) {
        self.kept.clear();
    }
}

fn link_to(request: &Request, name: &str, token: &Token) -> String {
    let text = serde_json::to_vec(token).map(|bytes| URL_SAFE_NO_PAD.encode(bytes)).unwrap_or_default();
    let all = ["$skiptoken", "$deltatoken", "startDateTime", "endDateTime", "startdatetime", "enddatetime"];
    link(request, &request.path, &all, &[(name, text)])
}

fn shown(mailbox: &Mailbox, entry: Entry, round: &Round, show: &Show<'_>) -> Option<Value> {
    match entry {
        Entry::Shown(key, day) => mailbox.row(key, day, round.upto).ok().map(|row| show.of_delta(row)),
        Entry::Removed(id, reason) => {
            Some(json!({ "id": id.written(show.prefer.form), "@removed": { "reason": reason } }))
        }
    }
}

/// Works out what a round tells.
fn changes(mailbox: &Mailbox, round: &Round, habits: &Habits) -> Vec<Entry> {
    let window = (round.from, round.to);
    let Some(since) = round.since else {
        let rows = mailbox.within(round.calendar, window, round.upto, habits.masters);
        return rows.iter().map(|row| Entry::Shown(row.item.key, row.day)).collect();
    };
    let mut entries = Vec::new();
    for item in mailbox.items(round.calendar) {
        let Some(now) = item.at(round.upto).filter(|state| state.seq > since) else { continue };
        let before = item.at(since).filter(|state| state.alive);
        let was: Vec<Row<'_>> =
            before.map(|state| span(item, state, window, habits.masters)).unwrap_or_default();
        let is = if now.alive { span(item, now, window, habits.masters) } else { Vec::new() };
        let there: BTreeSet<Option<i64>> = is.iter().map(|row| row.day).collect();
        let fresh = |row: &&Row<'_>| match (before, row.day) {
            (None, _) | (_, None) => true,
            (Some(before), Some(day)) => {
                let (old, new) = (&before.event, &now.event);
                old.base != new.base
                    || old.exceptions.get(&day) != new.exceptions.get(&day)
                    || !old.occurs(day)
            }
        };
        entries.extend(is.iter().filter(fresh).map(|row| Entry::Shown(item.key, row.day)));
        let reason = if now.alive { "changed" } else { "deleted" };
        let lost = was.iter().filter(|row| !there.contains(&row.day));
        entries.extend(lost.map(|row| {
            // An occurrence that was taken out of a series that goes on was deleted.
            let cancelled = row.day.is_some_and(|day| now.event.cancelled.contains(&day));
            Entry::Removed(row.id(), if cancelled { "deleted" } else { reason })
        }));
        // What never was in the window is said to be removed too when it changes.
        if habits.outside && was.is_empty() && is.is_empty() && before.is_some() {
            entries.push(Entry::Removed(Id::Event(item.key, None), reason));
        }
    }
    entries
}

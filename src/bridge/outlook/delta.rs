//! What changed in a calendar (`calendarView/delta`).
//!
//! Owns: the cursor, which of the rows are news of which object, what a tombstone is worth.
//!
//! The service tells of occurrences within a fixed span of time. Single events are handed on as they come; of a series
//! one row is enough to read it anew as a whole at the end. A tombstone names an id without saying of what: it is
//! believed when asking for the object gives 404.

use std::collections::BTreeSet;

use futures_util::stream;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::batch::MOST;
use super::event::read::Event;
use super::event::write::utc;
use super::wire::{Request, encoded, unreadable};
use super::{Found, List, Outlook, calendar_path, event_of, marker, odd, seen};
use crate::bridge::provider::{Cursor, End, Page, Pages, RemoteId, Trouble, Window};

const DAY: i64 = 86_400;
/// How far the wish may move from what the cursor was made for, in seconds.
const SLIDE: i64 = 7 * DAY;
/// The longest span that a view may have.
const LONGEST: i64 = 1825 * DAY;
/// How far back and ahead is looked where the window has no end; beyond, a complete listing is asked for besides.
const BACK: i64 = 365 * DAY;
const AHEAD: i64 = 1095 * DAY;
/// What is asked for a page.
const PAGE_SIZE: &str = "odata.maxpagesize=100";
/// How far the clocks of both sides may differ.
const CLOCKS: i64 = 3600;
/// A delta that goes on longer than this has no end.
const PAGES: usize = 100_000;

/// How far a calendar was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Position {
    /// Where to go on.
    link: String,
    /// The span of the view.
    from: i64,
    to: i64,
    /// When it was read.
    at: i64,
}

/// The span of the view, and whether the window reaches beyond it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Span {
    from: i64,
    to: i64,
    beyond: bool,
}

/// A window slides; the span is ahead of it by as much as the window may slide before it is made anew.
fn span(window: Window) -> Span {
    let from = window.from.unwrap_or(window.now - BACK);
    let to = window.to.unwrap_or(window.now + AHEAD);
    let long = to - from + SLIDE + 2 * DAY > LONGEST;
    let (from, to) =
        if long { (from.max(window.now - BACK), to.min(window.now + AHEAD)) } else { (from, to) };
    // Whole days, so that the span does not move with the seconds.
    let (from, to) = (from.div_euclid(DAY) * DAY, (to + SLIDE).div_euclid(DAY) * DAY + DAY);
    Span { from, to, beyond: long || window.from.is_none() || window.to.is_none() }
}

/// One stream of pages.
struct Round<'a> {
    outlook: &'a Outlook,
    calendar: &'a RemoteId,
    span: Span,
    now: i64,
    /// The first round names everything.
    since: Option<i64>,
    series: BTreeSet<String>,
    removed: BTreeSet<String>,
    pages: usize,
    step: Step,
}

enum Step {
    /// A page of the view.
    View(String),
    /// A page of the whole calendar, for what lies beyond the view.
    Beyond(String, String),
    /// What is to be read at the end.
    Rest(Vec<RemoteId>, String),
    Done,
}

impl Outlook {
    pub(super) fn delta<'a>(
        &'a self,
        calendar: &'a RemoteId,
        since: Option<&'a Cursor>,
        window: Window,
    ) -> Pages<'a> {
        let start = Round::begin(self, calendar, since, window);
        Box::pin(stream::try_unfold(start, |round| async move {
            let mut round = round?;
            match round.next().await? {
                Some(page) => Ok(Some((page, Ok(round)))),
                None => Ok(None),
            }
        }))
    }
}

impl<'a> Round<'a> {
    fn begin(
        outlook: &'a Outlook,
        calendar: &'a RemoteId,
        since: Option<&Cursor>,
        window: Window,
    ) -> Result<Round<'a>, Trouble> {
        let span = span(window);
        let position = since.map(|cursor| position(cursor, span)).transpose()?;
        let step = match &position {
            Some(position) => position.link.clone(),
            None => format!(
                "{}/calendarView/delta?startDateTime={}&endDateTime={}",
                calendar_path(calendar),
                encoded(&utc(span.from)),
                encoded(&utc(span.to))
            ),
        };
        // The span of a cursor stays what it was.
        let span = match &position {
            Some(position) => Span { from: position.from, to: position.to, ..span },
            None => span,
        };
        Ok(Round {
            outlook,
            calendar,
            span,
            now: window.now,
            since: position.map(|p| p.at),
            series: BTreeSet::new(),
            removed: BTreeSet::new(),
            pages: 0,
            step: Step::View(step),
        })
    }

    async fn next(&mut self) -> Result<Option<Page>, Trouble> {
        self.pages = self.pages.saturating_add(1);
        if self.pages > PAGES {
            return Err(unreadable("changes without an end"));
        }
        match std::mem::replace(&mut self.step, Step::Done) {
            Step::View(link) => self.view(link).await.map(Some),
            Step::Beyond(link, delta) => self.beyond(link, delta).await.map(Some),
            Step::Rest(ids, delta) => self.rest(ids, delta).await.map(Some),
            Step::Done => Ok(None),
        }
    }

    async fn list(&self, link: String) -> Result<List, Trouble> {
        let request = Request { prefer: Some(PAGE_SIZE), ..Request::get(link) };
        let list: List = self.outlook.wire.call(&request).await?.read()?;
        // One row without a name is passed over, an answer without any is none.
        let nameless = |value: &Value| value.get("id").and_then(Value::as_str).is_none_or(str::is_empty);
        match !list.value.is_empty() && list.value.iter().all(nameless) {
            true => Err(unreadable("events without an id")),
            false => Ok(list),
        }
    }

    async fn view(&mut self, link: String) -> Result<Page, Trouble> {
        let first = self.since.is_none() && !link.contains("://");
        let list = match self.list(link).await {
            // A link that is not understood is a lost position; on the first request there was none to lose.
            Err(Trouble::Refused(_)) if !first => return Err(Trouble::CursorExpired),
            other => other?,
        };
        let mut page = Page::default();
        for value in list.value {
            self.row(value, &mut page);
        }
        self.step = match (list.next, list.delta) {
            (Some(next), _) => Step::View(next),
            (None, Some(delta)) => self.after_view(delta).await?,
            (None, None) => return Err(unreadable("changes that break off")),
        };
        Ok(page)
    }

    /// One row of the view. Of rows with the same id the last one counts, and it comes last here too.
    fn row(&mut self, value: Value, page: &mut Page) {
        let id = value.get("id").and_then(Value::as_str).map(str::to_owned);
        let Some(id) = id.filter(|id| !id.is_empty()) else {
            nameless();
            return;
        };
        if value.get("@removed").is_some() {
            self.removed.insert(id);
            return;
        }
        let remote = RemoteId(id.clone());
        let Some(event) = event_of(value) else {
            page.read.push(odd(&remote));
            return;
        };
        match (event.kind.as_deref(), event.series_master_id.as_ref()) {
            (Some("seriesMaster"), _) => {
                self.series.insert(id);
            }
            (_, Some(master)) => {
                self.series.insert(master.clone());
            }
            // Told with too little to be read: it is asked for.
            (Some("occurrence" | "exception"), None) => {
                self.removed.insert(id);
            }
            _ if event.start.is_none() => {
                self.removed.insert(id);
            }
            _ => self.single(&remote, &event, page),
        }
    }

    /// Rows of the view do not have our marker: what may be ours is read.
    fn single(&self, id: &RemoteId, event: &Event, page: &mut Page) {
        if marker::may_be_ours(event.transaction_id.as_deref()) {
            let version = event.version();
            page.seen.push(crate::bridge::provider::Sighting { id: id.clone(), version });
        } else {
            page.read.push(seen(self.calendar, id, event));
        }
    }

    async fn after_view(&mut self, delta: String) -> Result<Step, Trouble> {
        if self.since.is_none() && self.span.beyond {
            let expand = encoded(&marker::expand());
            let path = format!("{}/events?$top=100&$expand={expand}", calendar_path(self.calendar));
            return Ok(Step::Beyond(path, delta));
        }
        if !self.removed.is_empty() {
            self.add_changed_series().await?;
        }
        Ok(self.rest_after(delta))
    }

    fn rest_after(&mut self, delta: String) -> Step {
        let mut ids: BTreeSet<String> = std::mem::take(&mut self.series);
        ids.append(&mut self.removed);
        Step::Rest(ids.into_iter().map(RemoteId).collect(), delta)
    }

    /// The tombstone of a cancelled instance does not say of which series it was. The series itself was written then.
    async fn add_changed_series(&mut self) -> Result<(), Trouble> {
        let Some(since) = self.since else { return Ok(()) };
        let filter = format!("type eq 'seriesMaster' and lastModifiedDateTime ge {}", utc(since - CLOCKS));
        let mut link = format!(
            "{}/events?$select=id,type&$top=100&$filter={}",
            calendar_path(self.calendar),
            encoded(&filter)
        );
        for _ in 0..PAGES {
            let list = match self.list(link).await {
                Ok(list) => list,
                // The next complete comparison shows it.
                Err(Trouble::Refused(why)) => {
                    tracing::debug!(why, "Outlook does not tell which series were changed");
                    return Ok(());
                }
                Err(trouble) => return Err(trouble),
            };
            let ids = list.value.iter().filter_map(|v| v.get("id").and_then(Value::as_str));
            self.series.extend(ids.map(str::to_owned));
            match list.next {
                Some(next) => link = next,
                None => return Ok(()),
            }
        }
        Err(unreadable("a list without an end"))
    }

    /// A page of the whole calendar: single events and series, without instances.
    async fn beyond(&mut self, link: String, delta: String) -> Result<Page, Trouble> {
        let list = self.list(link).await?;
        let mut page = Page::default();
        for value in list.value {
            let id = value.get("id").and_then(Value::as_str).map(|id| RemoteId(id.to_owned()));
            let Some(id) = id.filter(|id| !id.0.is_empty()) else {
                nameless();
                continue;
            };
            match event_of(value) {
                None => page.read.push(odd(&id)),
                Some(event) if event.kind.as_deref() == Some("seriesMaster") => {
                    self.series.insert(id.0);
                }
                // The view has told of it.
                Some(event)
                    if event.begins().is_some_and(|at| (self.span.from..self.span.to).contains(&at)) => {}
                Some(event) => page.read.push(seen(self.calendar, &id, &event)),
            }
        }
        self.step = match list.next {
            Some(next) => Step::Beyond(next, delta),
            None => self.rest_after(delta),
        };
        Ok(page)
    }

    /// Reads series as a whole and asks for what may be gone.
    async fn rest(&mut self, mut ids: Vec<RemoteId>, delta: String) -> Result<Page, Trouble> {
        let later = ids.split_off(ids.len().min(MOST));
        let mut page = Page::default();
        let answers = self.outlook.find(self.calendar, &ids).await?;
        let mut masters = Vec::new();
        for (id, found) in ids.into_iter().zip(answers) {
            match found {
                Found::Gone => page.gone.push(id),
                Found::Odd => page.read.push(odd(&id)),
                // A tombstone of an instance that is there: its series is what counts.
                Found::There(event) => match &event.series_master_id {
                    Some(master) => masters.push(RemoteId(master.clone())),
                    None => page.read.push(seen(self.calendar, &id, &event)),
                },
            }
        }
        masters.retain(|id| !later.contains(id) && !page.read.iter().any(|seen| seen.id == *id));
        masters.sort();
        masters.dedup();
        page.read.extend(self.outlook.read_all(self.calendar, &masters).await?);
        if later.is_empty() {
            let position = Position { link: delta, from: self.span.from, to: self.span.to, at: self.now };
            let next = serde_json::to_string(&position).ok().map(Cursor);
            page.end = Some(End { next, complete: self.since.is_none() });
        } else {
            self.step = Step::Rest(later, delta);
        }
        Ok(page)
    }
}

/// The rest need not suffer from a row without an id: what a listing does not name is asked for before it counts as gone.
fn nameless() {
    tracing::warn!("Outlook lists an event without an id");
}

/// Reads a cursor. One that was made for another span, or by another version, is no longer of use.
fn position(cursor: &Cursor, wanted: Span) -> Result<Position, Trouble> {
    let position: Position = serde_json::from_str(&cursor.0).map_err(|_| Trouble::CursorExpired)?;
    let near = |a: i64, b: i64| (a - b).abs() <= SLIDE;
    if near(position.from, wanted.from) && near(position.to, wanted.to) {
        Ok(position)
    } else {
        Err(Trouble::CursorExpired)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use super::*;

    const NOW: i64 = 1_795_000_000;

    fn window(past: Option<i64>, future: Option<i64>) -> Window {
        Window { from: past.map(|d| NOW - d * DAY), to: future.map(|d| NOW + d * DAY), now: NOW }
    }

    // E4, S2-054: a window that slides by more than a week is read anew; until then the view reaches far enough
    #[test]
    fn the_cursor_belongs_to_a_span() {
        let made = span(window(Some(30), Some(90)));
        let position_of = |span: Span| Position { link: "x".into(), from: span.from, to: span.to, at: NOW };
        let cursor = Cursor(serde_json::to_string(&position_of(made)).unwrap());
        for days in [0, 1, 6, 7] {
            let mut later = window(Some(30), Some(90));
            (later.from, later.to) = (later.from.map(|t| t + days * DAY), later.to.map(|t| t + days * DAY));
            assert!(position(&cursor, span(later)).is_ok(), "{days} days");
            assert!(made.to >= later.to.unwrap(), "{days} days");
        }
        for other in [window(Some(30), Some(99)), window(Some(20), Some(90)), window(None, Some(90))] {
            assert_eq!(position(&cursor, span(other)), Err(Trouble::CursorExpired));
        }
        let foreign = Cursor("sync:1".into());
        assert_eq!(position(&foreign, made), Err(Trouble::CursorExpired));
    }

    #[test]
    fn a_view_is_never_longer_than_it_may_be() {
        for (past, future, beyond) in [
            (Some(30), Some(365), false),
            (None, Some(365), true),
            (Some(30), None, true),
            (None, None, true),
            (Some(4000), Some(4000), true),
            (Some(1), Some(1800), false),
            (Some(1500), Some(318), true),
        ] {
            let span = span(window(past, future));
            assert!(span.to - span.from <= LONGEST, "{past:?} {future:?}");
            assert_eq!(span.beyond, beyond, "{past:?} {future:?}");
        }
    }
}

//! What is in a calendar and what changed in it: the ladder of change detection.
//!
//! Owns: sync-collection, ctag, listings, queries, and which of them is believed. Does not own: content (`mod`).

use std::collections::HashSet;

use url::Url;

use super::discover::propfind;
use super::wire::{Multistatus, Row, decoded, read, trouble, unreadable};
use super::{Caldav, is_self, sighting};
use crate::bridge::provider::{Cursor, End, Page, RemoteId, Trouble, Window};
use crate::ical::value::Civil;
use crate::xml::{Writer, caldav, calendarserver, dav};

/// How often a sync-collection may say that there is more.
const PAGES: usize = 1000;
/// Changes of so many objects and removals of none look like an answer that names everything.
const SUSPICIOUS: usize = 20;

/// How far a calendar was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Position {
    /// RFC 6578, with the ctag at that moment if it is known: it shows answers that leave changes out.
    Token(String, Option<String>),
    /// Only that anything changed.
    Ctag(String),
}

impl Position {
    pub(super) fn read(cursor: &Cursor) -> Option<Position> {
        let (kind, text) = cursor.0.split_once(':')?;
        match kind {
            "sync" => Some(match text.split_once('\t') {
                Some((token, ctag)) => Position::Token(token.to_owned(), Some(ctag.to_owned())),
                None => Position::Token(text.to_owned(), None),
            }),
            "ctag" => Some(Position::Ctag(text.to_owned())),
            _ => None,
        }
    }

    fn ctag(&self) -> Option<&str> {
        match self {
            Position::Token(_, ctag) => ctag.as_deref(),
            Position::Ctag(ctag) => Some(ctag),
        }
    }

    pub(super) fn cursor(&self) -> Cursor {
        Cursor(match self {
            Position::Token(token, Some(ctag)) => format!("sync:{token}\t{ctag}"),
            Position::Token(token, None) => format!("sync:{token}"),
            Position::Ctag(ctag) => format!("ctag:{ctag}"),
        })
    }
}

impl Caldav {
    /// Names everything.
    pub(super) async fn list(&self, calendar: &Url, window: Window) -> Result<Page, Trouble> {
        // The position is read before the listing: what happens in between is told again, not missed.
        let state = self.state(calendar).await?;
        let body = propfind(&[dav("resourcetype"), dav("getetag")]);
        let answer = match self.wire.multistatus("PROPFIND", calendar, "1", body).await {
            // What may not be listed may be searched.
            Err(Trouble::Refused(_)) => self.events(calendar, window).await?,
            answer => {
                let answer = answer?;
                if !answer.rows.iter().any(|row| is_itself(row, calendar, &answer)) {
                    // RFC 4918 §9.1: Depth 1 names the collection too. An answer without it is not a listing.
                    return Err(unreadable(calendar, "the listing does not name the calendar itself"));
                }
                answer
            }
        };
        let cut = |row: &&Row| row.status.is_some_and(|s| s >= 300) && is_itself(row, calendar, &answer);
        if let Some(status) = answer.rows.iter().find(cut).and_then(|row| row.status) {
            return Err(unreadable(calendar, &format!("the listing is not complete (status {status})")));
        }
        let mut named = HashSet::new();
        let members = answer.rows.iter().filter(|row| is_member(row, calendar, &answer));
        // Some servers name a member twice.
        let seen = members.filter(|row| named.insert(decoded(&row.path))).map(sighting).collect();
        Ok(Page::only(seen, Vec::new(), state.map(|state| state.cursor()), true))
    }

    /// RFC 4791 §7.8: the events within the window.
    async fn events(&self, calendar: &Url, window: Window) -> Result<Multistatus, Trouble> {
        let mut body = query(&[dav("getetag")]);
        let time = |at: i64| format!("{}Z", Civil(at).to_basic());
        let (from, to) = (window.from.map(time), window.to.map(time));
        let range: Vec<(&str, &str)> = [("start", &from), ("end", &to)]
            .into_iter()
            .filter_map(|(n, t)| Some((n, t.as_deref()?)))
            .collect();
        if !range.is_empty() {
            body.empty_with(&caldav("time-range"), &range);
        }
        self.search(calendar, body).await
    }

    /// Finds the object of the calendar that has this UID.
    pub(super) async fn with_uid(&self, calendar: &Url, uid: &str) -> Result<Option<RemoteId>, Trouble> {
        let mut body = query(&[dav("getetag")]);
        body.open_with(&caldav("prop-filter"), &[("name", "UID")]);
        body.open_with(&caldav("text-match"), &[("collation", "i;octet")]);
        body.text(uid);
        body.close();
        body.close();
        let answer = self.search(calendar, body).await?;
        let found =
            answer.rows.iter().filter(|row| is_member(row, calendar, &answer)).map(|row| row.path.clone());
        let mut paths: Vec<String> = found.collect();
        paths.dedup_by_key(|path| decoded(path));
        // A text-match finds UIDs that hold this one, too: what is not clear is not said.
        match paths.as_slice() {
            [path] => Ok(Some(RemoteId(path.clone()))),
            _ => Ok(None),
        }
    }

    async fn search(&self, calendar: &Url, mut body: Writer) -> Result<Multistatus, Trouble> {
        for _ in ["comp-filter", "comp-filter", "filter", "calendar-query"] {
            body.close();
        }
        self.wire.multistatus("REPORT", calendar, "1", body.take()).await
    }

    /// Returns the calendar's position: its sync-token, else its ctag, else nothing.
    pub(super) async fn state(&self, calendar: &Url) -> Result<Option<Position>, Trouble> {
        let names =
            [dav("resourcetype"), dav("sync-token"), calendarserver("getctag"), dav("supported-report-set")];
        let answer = self.wire.multistatus("PROPFIND", calendar, "0", propfind(&names)).await?;
        let row = answer.rows.first().ok_or_else(|| unreadable(calendar, "it is empty"))?;
        if row.property(&dav("resourcetype")).is_some() && !row.is_calendar() {
            return Err(Trouble::Missing(format!("{} is no longer a calendar.", calendar.path())));
        }
        let syncs = row.property(&dav("supported-report-set")).is_none_or(|set| {
            set.elements()
                .filter_map(|s| s.child(&dav("report")))
                .any(|r| r.child(&dav("sync-collection")).is_some())
        });
        let ctag = row.text(&calendarserver("getctag"));
        let token = row.text(&dav("sync-token")).filter(|_| syncs);
        Ok(match token {
            Some(token) => Some(Position::Token(token, ctag)),
            None => ctag.map(Position::Ctag),
        })
    }

    /// Tells what changed, by the ctag alone.
    pub(super) async fn if_touched(
        &self,
        calendar: &Url,
        since: &str,
        window: Window,
    ) -> Result<Page, Trouble> {
        let now = self.state(calendar).await?;
        match &now {
            Some(now @ Position::Ctag(ctag)) if ctag == since => {
                Ok(Page::only(Vec::new(), Vec::new(), Some(now.cursor()), false))
            }
            _ => self.list(calendar, window).await,
        }
    }

    /// RFC 6578 §3.2, without a limit: servers cut answers at it and do not say so.
    pub(super) async fn sync(
        &self,
        calendar: &Url,
        since: &str,
        ctag: Option<&str>,
        window: Window,
    ) -> Result<Page, Trouble> {
        let mut delta = Page::default();
        let mut token = since.to_owned();
        for _ in 0..PAGES {
            let answer = match self.sync_page(calendar, &token).await {
                // Servers refuse an old token in many ways; a full comparison answers all of them.
                Err(Trouble::Refused(_) | Trouble::Stale | Trouble::Taken(_)) => {
                    return Err(Trouble::CursorExpired);
                }
                other => other?,
            };
            let next = answer.token.clone().ok_or_else(|| unreadable(calendar, "it has no sync-token"))?;
            let mut more = false;
            for row in &answer.rows {
                if is_itself(row, calendar, &answer) {
                    // RFC 6578 §3.6: 507 on the collection itself says that there is more. Without it, some servers name
                    // the collection among its members.
                    more |= row.status == Some(507);
                } else if matches!(row.status, Some(404 | 410 | 418)) {
                    delta.gone.push(RemoteId(row.path.clone()));
                } else if row.status.is_none_or(|s| s < 300) && is_member(row, calendar, &answer) {
                    delta.seen.push(sighting(row));
                }
            }
            let stuck = next == token;
            token = next;
            if !more {
                // Some servers name a member twice, and one may have changed between two portions.
                let (mut seen, mut gone) = (HashSet::new(), HashSet::new());
                delta.seen.retain(|sighting| seen.insert(decoded(&sighting.id.0)));
                delta.gone.retain(|id| gone.insert(decoded(&id.0)));
                return self.believed(calendar, since, (token, ctag), delta, window).await;
            }
            if stuck {
                break;
            }
        }
        Err(unreadable(calendar, "its changes have no end"))
    }

    /// Some servers answer a token that they do not know with a success that names nothing, or everything.
    async fn believed(
        &self,
        calendar: &Url,
        since: &str,
        (token, ctag): (String, Option<&str>),
        mut delta: Page,
        window: Window,
    ) -> Result<Page, Trouble> {
        let mut next = Position::Token(token.clone(), None);
        if delta.seen.is_empty() && delta.gone.is_empty() {
            next = Position::Token(token.clone(), ctag.map(str::to_owned));
            if token != since {
                // Nothing changed, and yet the position did: the ctag knows.
                let now = self.state(calendar).await?;
                let now = now.as_ref().and_then(Position::ctag);
                if now.is_some() && now != ctag {
                    return Err(Trouble::CursorExpired);
                }
            }
        } else if delta.gone.is_empty() && delta.seen.len() >= SUSPICIOUS {
            let listing = self.list(calendar, window).await?;
            let told: HashSet<String> = delta.seen.iter().map(|s| decoded(&s.id.0)).collect();
            if listing.seen.iter().all(|s| told.contains(&decoded(&s.id.0))) {
                // All that is there was named; what was removed was not.
                return Ok(Page::only(listing.seen, Vec::new(), Some(next.cursor()), true));
            }
        }
        delta.end = Some(End { next: Some(next.cursor()), complete: false });
        Ok(delta)
    }

    async fn sync_page(&self, calendar: &Url, token: &str) -> Result<Multistatus, Trouble> {
        let mut body = Writer::document();
        body.open(&dav("sync-collection"));
        body.leaf(&dav("sync-token"), token);
        body.leaf(&dav("sync-level"), "1");
        body.open(&dav("prop"));
        body.empty(&dav("getetag"));
        body.close();
        body.close();
        // RFC 6578 §3.2: Depth 0.
        let (answer, url) = self.wire.say("REPORT", calendar, "0", body.take()).await?;
        if answer.status.as_u16() == 500 {
            // Some servers fail at a token that they do not know. If the calendar itself answers, it is the token.
            let alive = self.state(calendar).await.is_ok();
            return Err(if alive { Trouble::CursorExpired } else { trouble(&answer, &url) });
        }
        read(&answer, url)
    }
}

/// Begins a search for events; the filter of the event is left open.
fn query(names: &[crate::xml::Name]) -> Writer {
    let mut body = Writer::document();
    body.open(&caldav("calendar-query"));
    body.open(&dav("prop"));
    names.iter().for_each(|name| body.empty(name));
    body.close();
    body.open(&caldav("filter"));
    body.open_with(&caldav("comp-filter"), &[("name", "VCALENDAR")]);
    body.open_with(&caldav("comp-filter"), &[("name", "VEVENT")]);
    body
}

/// A server that redirects to a partition may go on naming the calendar as before.
fn is_itself(row: &Row, calendar: &Url, answer: &Multistatus) -> bool {
    is_self(row, calendar) || is_self(row, &answer.url)
}

fn is_member(row: &Row, calendar: &Url, answer: &Multistatus) -> bool {
    !is_itself(row, calendar, answer) && !row.is_collection() && !row.path.ends_with('/')
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_read_as_it_was_written() {
        for text in ["sync:http://x/1", "sync:t\t\"c:1\"", "ctag:c:1"] {
            assert_eq!(Position::read(&Cursor(text.into())).unwrap().cursor().0, text);
        }
        assert_eq!(Position::read(&Cursor("odd".into())), None);
    }
}

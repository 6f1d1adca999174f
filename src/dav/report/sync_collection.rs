//! `sync-collection` (RFC 6578): what changed since a token, from the collection's log.
//!
//! Owns: tokens in and out, how rows of a log become responses, where an answer may be cut.
//! Does not own: the log itself (`store`), what a token looks like (`http/href`).

use std::collections::HashSet;

use super::asking::Asking;
use super::data::Left;
use super::{Report, bad};
use crate::calendar::{Found, Readable, Refusal, is_hidden};
use crate::dav::{Denied, Kinds, Multistatus, Node, Protocol, Resource, Scope};
use crate::http::{Depth, Position, Reply, encode, read_sync_token, sync_token};
use crate::ical::zone::Zone;
use crate::store::{Kind, Name as Member, Rev, Timestamp};
use crate::xml::{Element, Name, dav};

/// How many rows of a log, or members, are read at once.
const PAGE: usize = 512;

/// RFC 6578 §3.3.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Level {
    One,
    Infinite,
}

/// The body, understood.
#[derive(Debug)]
pub(super) struct SyncCollection {
    /// The token as sent; nothing: the first time.
    since: Option<String>,
    level: Level,
    limit: Option<usize>,
    asking: Asking,
}

impl Report for SyncCollection {
    const NAME: Name = dav("sync-collection");
    const ON: Kinds = Kinds::STORED;

    fn parse(body: &Element, _scope: &Scope) -> Result<SyncCollection, Denied> {
        let since = body.child(&dav("sync-token")).map(|e| e.text().trim().to_owned());
        // Drafts before the RFC had no sync-level; clients that send none mean 1.
        let level = match body.child(&dav("sync-level")).map(|e| e.text()) {
            None => Level::One,
            Some(text) => match text.trim() {
                "1" | "" => Level::One,
                "infinite" | "infinity" => Level::Infinite,
                other => {
                    return Err(bad(format!("DAV:sync-level must be 1 or infinite, not “{other}”.")));
                }
            },
        };
        let limit = match body.child(&dav("limit")).and_then(|e| e.child(&dav("nresults"))) {
            None => None,
            Some(element) => match element.text().trim().parse::<usize>() {
                Ok(n) if n > 0 => Some(n),
                _ => return Err(bad("DAV:nresults must be a number above 0.")),
            },
        };
        Ok(SyncCollection {
            since: since.filter(|text| !text.is_empty()),
            level,
            limit,
            asking: Asking::parse(body)?,
        })
    }

    /// RFC 6578 §3.2 wants `Depth: 0`; Thunderbird sends 1, others none, and all mean the same.
    async fn run(self, scope: Scope, at: Resource, _depth: Option<Depth>) -> Result<Reply, Denied> {
        let Node::Collection(collection) = at.node else {
            return Err(Protocol::SupportedReport("sync-collection".into()).into());
        };
        let sync = Sync { report: self, collection, path: at.path };
        let since = sync.position().await?;
        Multistatus::answer(scope, move |out| sync.answer(out, since)).await
    }
}

/// One answer in the making.
struct Sync {
    report: SyncCollection,
    collection: Readable,
    path: String,
}

impl Sync {
    /// Reads the token. RFC 6578 §3.2: one that cannot be continued from is refused, never answered in full.
    async fn position(&self) -> Result<Option<Position>, Denied> {
        let Some(text) = &self.report.since else { return Ok(None) };
        match read_sync_token(text, self.collection.collection()) {
            Some(position) if self.collection.continues_from(position.rev, position.at).await? => {
                Ok(Some(position))
            }
            _ => Err(Refusal::TokenExpired.into()),
        }
    }

    async fn answer(self, mut out: Multistatus, since: Option<Position>) -> Result<Multistatus, Denied> {
        let head = self.collection.head().await?;
        let nothing = Position { rev: Rev(0), at: Timestamp(0) };
        let end = match (since, self.report.limit) {
            (None, Some(limit)) if head.horizon == Rev(0) => {
                self.changed(&mut out, nothing, Some(limit), Seen::Nothing).await?
            }
            // Once old rows of a log are trimmed, a first answer cannot be cut at a position that can be continued
            // from; the whole answer is right, and any client that can take it in parts can take it at once.
            (None, _) => {
                self.everything(&mut out).await?;
                head.into()
            }
            (Some(since), limit) => self.changed(&mut out, since, limit, Seen::UpToToken).await?,
        };
        out.sync_token(&sync_token(self.collection.collection(), end));
        Ok(out)
    }

    /// RFC 6578 §3.4: the first time, every member and nothing of what is gone. What changes while this goes on lies
    /// after the position that was read before, and is told again.
    async fn everything(&self, out: &mut Multistatus) -> Result<(), Denied> {
        if self.collection.collection().kind != Kind::Calendar {
            for child in self.collection.children().await? {
                self.child(out, child).await?;
                out.room().await;
            }
        }
        let mut after: Option<Member> = None;
        loop {
            let page = self.collection.list(after.as_ref().map(Member::as_str), PAGE).await?;
            let Some(last) = page.last() else { return Ok(()) };
            let full = page.len() == PAGE;
            after = Some(last.name.clone());
            for meta in page {
                let found = match self.report.asking.needs_bytes() {
                    true => self.collection.found(meta.name.as_str()).await?,
                    false => Some(Found::bare(self.collection.clone(), meta)),
                };
                if let Some(found) = found {
                    self.object(out, found).await?;
                    out.room().await;
                }
            }
            if !full {
                return Ok(());
            }
        }
    }

    /// Tells each member that the log names after the position, once, as it is now. Returns the position reached.
    async fn changed(
        &self,
        out: &mut Multistatus,
        since: Position,
        limit: Option<usize>,
        seen: Seen,
    ) -> Result<Position, Denied> {
        let mut told: HashSet<Member> = HashSet::new();
        let mut at = since;
        loop {
            let page = self.collection.changes(at.rev, PAGE).await?;
            for change in page.items {
                let here = Position { rev: change.rev, at: change.at };
                let Some(name) = change.name.filter(|name| !told.contains(name)) else {
                    at = here;
                    continue;
                };
                if limit.is_some_and(|limit| told.len() >= limit) {
                    // RFC 6578 §3.6: what was told so far is whole up to the last position; the rest is to be asked for.
                    let cut = Protocol::MatchesWithinLimits(told.len() as u64);
                    out.denied(&self.path, &cut.into());
                    return Ok(at);
                }
                if self.member(out, &name, seen).await? {
                    told.insert(name);
                }
                at = here;
                out.room().await;
            }
            if !page.more {
                // Rows that were trimmed may be missing at the end; if the log has not grown meanwhile, its end is ours.
                let head = self.collection.head().await?;
                return Ok(if head.rev == page.head { head.into() } else { at });
            }
        }
    }

    /// A calendar that nobody sees has no changes that anybody is told of.
    async fn hides(&self, name: &Member) -> Result<bool, Denied> {
        let all = self.collection.all_children().await?;
        Ok(all.iter().any(|child| child.collection().name == *name && is_hidden(child.collection())))
    }

    /// Tells one member as it is now; false: there was nothing to tell.
    async fn member(&self, out: &mut Multistatus, name: &Member, seen: Seen) -> Result<bool, Denied> {
        let kind = self.collection.collection().kind;
        if kind != Kind::Calendar
            && let Some(child) = self.collection.child(name.as_str()).await?
        {
            self.child(out, child).await?;
            return Ok(true);
        }
        if kind == Kind::Home && self.hides(name).await? {
            return Ok(false);
        }
        let found = match self.report.asking.needs_bytes() {
            true => self.collection.found(name.as_str()).await?,
            false => {
                let meta = self.collection.meta(name.as_str()).await?;
                meta.map(|meta| Found::bare(self.collection.clone(), meta))
            }
        };
        match (found, seen) {
            (Some(found), _) => self.object(out, found).await?,
            (None, Seen::Nothing) => return Ok(false),
            // RFC 6578 §3.5.2: a status of the response itself, no propstat.
            (None, Seen::UpToToken) => {
                let mut path = self.path.clone();
                encode(name.as_str(), &mut path);
                if kind != Kind::Home {
                    out.status(&path, http::StatusCode::NOT_FOUND);
                }
                // Among files the log does not say whether it was a collection, whose href ended in a slash. Clients
                // compare hrefs as text, so both spellings are told; neither is there.
                if kind != Kind::Calendar {
                    path.push('/');
                    out.status(&path, http::StatusCode::NOT_FOUND);
                }
            }
        }
        Ok(true)
    }

    async fn object(&self, out: &mut Multistatus, found: Found) -> Result<(), Denied> {
        let mut left = Left::in_answers_to(out.scope());
        self.report.asking.object(out, &self.path, found, &Zone::Utc, &mut left).await
    }

    async fn child(&self, out: &mut Multistatus, child: Readable) -> Result<(), Denied> {
        let resource = Resource::child(&self.path, child);
        if self.report.level == Level::Infinite {
            // RFC 6578 §3.3: each collection has its own log and its own token.
            out.denied(&resource.path, &Protocol::SyncTraversal.into());
            return Ok(());
        }
        self.report.asking.resource(out, resource).await
    }
}

/// What the client knows already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seen {
    /// Nothing: what is gone need not be told.
    Nothing,
    /// The state at its token.
    UpToToken,
}

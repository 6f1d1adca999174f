//! `calendar-query` (RFC 4791 §7.8): the objects that match a filter.

use std::sync::Arc;

use super::asking::Asking;
use super::data::Left;
use super::filter::filter;
use super::{Report, bad};
use crate::calendar::{Found, Readable, Text};
use crate::dav::{Denied, Kinds, Multistatus, Node, Protocol, Resource, Scope};
use crate::http::{Depth, Reply};
use crate::ical::filter::CompFilter;
use crate::ical::zone::Zone;
use crate::store::{Kind, Origin};
use crate::xml::{Element, Name, caldav};

/// The body, understood.
#[derive(Debug)]
pub(super) struct CalendarQuery {
    asking: Asking,
    filter: Arc<CompFilter>,
    /// `CALDAV:timezone` or `CALDAV:timezone-id`; nothing: each calendar's own.
    zone: Option<Zone>,
}

impl Report for CalendarQuery {
    const NAME: Name = caldav("calendar-query");
    const ON: Kinds = Kinds::CALENDAR.or(Kinds::HOME).or(Kinds::OBJECT);

    fn parse(body: &Element, _scope: &Scope) -> Result<CalendarQuery, Denied> {
        let asking = Asking::parse(body)?;
        let Some(element) = body.child(&caldav("filter")) else {
            return Err(Protocol::ValidFilter("A calendar-query must hold a CALDAV:filter.".into()).into());
        };
        Ok(CalendarQuery { asking, filter: Arc::new(filter(element)?), zone: super::data::zone(body)? })
    }

    async fn run(self, scope: Scope, at: Resource, depth: Option<Depth>) -> Result<Reply, Denied> {
        let depth = reach(&scope, depth);
        Multistatus::answer(scope, move |out| self.answer(out, at, depth)).await
    }
}

/// RFC 4791 §7.8: the query goes as deep as `Depth` says. Without the header RFC 3253 §3.6 means 0, which finds nothing
/// in a calendar; a client that leaves it out does not mean that, and would take an empty answer for an empty calendar
/// . Windows' own clients send 0 and mean 1.
fn reach(scope: &Scope, depth: Option<Depth>) -> Depth {
    let windows = match &scope.session.origin {
        Origin::Dav { agent, .. } => agent.starts_with("MSFT-"),
        Origin::Api { .. } | Origin::Mapping(_) | Origin::System => false,
    };
    match depth {
        None => Depth::One,
        Some(Depth::Zero) if windows => Depth::One,
        Some(depth) => depth,
    }
}

impl CalendarQuery {
    async fn answer(self, mut out: Multistatus, at: Resource, depth: Depth) -> Result<Multistatus, Denied> {
        let mut left = Left::in_answers_to(out.scope());
        match at.node {
            Node::Collection(readable) => match (readable.collection().kind, depth) {
                (Kind::Calendar, Depth::One | Depth::Infinity) => {
                    self.calendar(&mut out, readable, &at.path, &mut left).await?;
                }
                (Kind::Home, Depth::Infinity) => {
                    for child in readable.children().await? {
                        let child = Resource::child(&at.path, child);
                        if let Some(readable) = child.collection() {
                            self.calendar(&mut out, readable.clone(), &child.path, &mut left).await?;
                        }
                    }
                }
                // The collection itself is no calendar object, nor are the members of a home.
                _ => {}
            },
            Node::Member(readable, meta) => {
                let parent = at.path.rsplit_once('/').map_or("", |(parent, _)| parent);
                let zone = self.zone_of(&readable);
                let query = readable.query(Arc::clone(&self.filter), zone.clone(), Text::Yes).await?;
                if let Some(found) = query.one(meta.name.as_str()).await? {
                    self.found(&mut out, &format!("{parent}/"), found, &zone, &mut left).await?;
                }
            }
            Node::Place(_) | Node::Principal => return Err(bad("There are no calendar objects here.")),
        }
        Ok(out)
    }

    async fn calendar(
        &self,
        out: &mut Multistatus,
        at: Readable,
        path: &str,
        left: &mut Left,
    ) -> Result<(), Denied> {
        let zone = self.zone_of(&at);
        let text = if self.asking.needs_bytes() { Text::Yes } else { Text::No };
        let mut query = at.query(Arc::clone(&self.filter), zone.clone(), text).await?;
        while let Some(page) = query.next().await? {
            for found in page {
                self.found(out, path, found, &zone, left).await?;
            }
        }
        Ok(())
    }

    async fn found(
        &self,
        out: &mut Multistatus,
        path: &str,
        found: Found,
        zone: &Zone,
        left: &mut Left,
    ) -> Result<(), Denied> {
        self.asking.object(out, path, found, zone, left).await?;
        out.room().await;
        Ok(())
    }

    fn zone_of(&self, at: &Readable) -> Zone {
        self.zone.clone().unwrap_or_else(|| super::data::zone_of(at))
    }
}

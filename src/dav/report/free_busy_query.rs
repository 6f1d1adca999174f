//! `free-busy-query` (RFC 4791 §7.10): when somebody is busy, and nothing of why.

use super::range::{Ends, range};
use super::{Report, bad};
use crate::calendar::Readable;
use crate::dav::{Denied, Kinds, Node, Protocol, Resource, Scope};
use crate::http::{Depth, Reply, reply_bytes};
use crate::ical::busy::{merge, vfreebusy};
use crate::ical::series::TimeRange;
use crate::store::Kind;
use crate::xml::{Element, Name, caldav};

/// The body, understood.
#[derive(Debug)]
pub(super) struct FreeBusyQuery {
    range: TimeRange,
}

impl Report for FreeBusyQuery {
    const NAME: Name = caldav("free-busy-query");
    const ON: Kinds = Kinds::CALENDAR.or(Kinds::HOME);

    fn parse(body: &Element, _scope: &Scope) -> Result<FreeBusyQuery, Denied> {
        let Some(element) = body.child(&caldav("time-range")) else {
            return Err(bad("A free-busy-query must hold a CALDAV:time-range."));
        };
        Ok(FreeBusyQuery { range: range(element, Ends::Both, bad)? })
    }

    /// RFC 4791 §7.10: everything below the collection counts, whatever the `Depth`: the sum is one answer.
    async fn run(self, scope: Scope, at: Resource, _depth: Option<Depth>) -> Result<Reply, Denied> {
        let Node::Collection(at) = at.node else {
            return Err(Protocol::SupportedReport("free-busy-query".into()).into());
        };
        let calendars: Vec<Readable> = match at.collection().kind {
            Kind::Home => at.children().await?.into_iter().filter(counts).collect(),
            Kind::Calendar | Kind::Files => vec![at],
        };
        let mut busy = Vec::new();
        for calendar in &calendars {
            busy.extend(calendar.busy(self.range, &super::data::zone_of(calendar)).await?);
        }
        let now = scope.session.house.clock.now().seconds();
        let text = vfreebusy(self.range, &merge(busy), now);
        Ok(reply_bytes(http::StatusCode::OK, "text/calendar; charset=utf-8; component=vfreebusy", text))
    }
}

/// RFC 6638 §9.1: a calendar that is set transparent does not make its owner busy.
fn counts(calendar: &Readable) -> bool {
    let set = calendar
        .collection()
        .properties
        .0
        .iter()
        .find(|(name, _)| name.local == "schedule-calendar-transp" && name.ns == crate::xml::CALDAV);
    set.is_none_or(|(_, xml)| !xml.contains("transparent"))
}

//! Bookings that an event from outside overlaps (`bridge.detect_overlap`).
//!
//! Owns: which pulled events are looked at, what counts as an overlap. Does not own: preventing it, which cannot be done
//! on a far side, nor what is told of it to whom (`notices`).

use std::collections::BTreeSet;

use super::alarms::{moment, named};
use super::conflict::title;
use super::front::{Bridge, BridgeError};
use super::notices::{Cause, MOST, NoticeKind, Notices};
use super::plan::BOOKING;
use super::record::{Mapping, Run};
use crate::ical::Ical;
use crate::ical::busy::{Busy, busy, intersect, merge};
use crate::ical::series::{Series, TimeRange};
use crate::ical::zone::Zone;
use crate::store::{ChangesError, CollectionId, Fault, Name, Op, Origin, Rev, What};

/// How far ahead is looked.
const AHEAD: i64 = 366 * 86_400;
/// Pulled events of one pass that are looked at: a first comparison is no news.
const EVENTS: usize = 500;
/// Rows of a log a page.
const PAGE: usize = 1000;

/// Which overlaps are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Detect {
    /// None.
    #[default]
    Off,
    /// Those of bookings.
    Bookings,
    /// Those of any two events that make busy.
    All,
}

/// An event with its busy time.
struct Taken {
    uid: String,
    title: String,
    booking: bool,
    busy: Vec<Busy>,
}

impl Bridge {
    /// Returns the steps that tell of bookings which the events of a pass overlap, and end what is over.
    pub(super) async fn overlap_alarms(
        &self,
        notices: Notices<'_>,
        mapping: &Mapping,
        there: &str,
        run: &Run,
        since: Rev,
    ) -> Result<Vec<Op>, BridgeError> {
        let now = notices.now.seconds();
        let range = TimeRange::new(Some(now), Some(now + AHEAD));
        let at = mapping.collection;
        let mut ops = Vec::new();
        let mut told = BTreeSet::new();
        if run.local.inserted.saturating_add(run.local.updated) > 0 {
            for name in self.pulled(mapping, since).await? {
                let Some(event) = self.taken(at, &name, range).await? else { continue };
                for (other, from) in self.overlapped(at, &name, &event, range).await? {
                    let pair = format!("{}\n{}", event.uid, other.uid);
                    let cause =
                        Cause { kind: NoticeKind::BookingOverlapped, subject: &mapping.id, detail: &pair };
                    let what = if other.booking { "the booking " } else { "" };
                    let sentence = format!(
                        "{} from {there} overlaps {what}{} at {}; move one of them.",
                        named(&event.title, &event.uid),
                        named(&other.title, &other.uid),
                        moment(from)
                    );
                    let about = [
                        ("mapping", mapping.id.as_str()),
                        ("uid", event.uid.as_str()),
                        ("other", other.uid.as_str()),
                    ];
                    if told.len() < MOST {
                        ops.extend(notices.raise(cause, sentence, &about).await?);
                        told.insert((event.uid.clone(), other.uid));
                    }
                }
            }
        }
        for (key, notice) in notices.open(NoticeKind::BookingOverlapped, &mapping.id).await? {
            let part = |name: &str| notice.about.get(name).cloned().unwrap_or_default();
            let (one, other) = (part("uid"), part("other"));
            if !told.contains(&(one.clone(), other.clone())) && !self.still(at, &one, &other, range).await? {
                ops.extend(notices.ended(key, notice)?);
            }
        }
        Ok(ops)
    }

    /// Reads which objects the mapping wrote here since.
    async fn pulled(&self, mapping: &Mapping, since: Rev) -> Result<BTreeSet<Name>, Fault> {
        let ours = Origin::Mapping(mapping.id.clone());
        let mut names = BTreeSet::new();
        let mut since = since;
        loop {
            let page = match self.house.store.changes(mapping.collection, since, PAGE).await {
                Ok(page) => page,
                Err(ChangesError::Expired) => return Ok(names),
                Err(ChangesError::Fault(fault)) => return Err(fault),
            };
            let Some(last) = page.items.last() else { return Ok(names) };
            since = last.rev;
            let rows = page.items.into_iter().filter(|c| c.origin == ours && c.what == What::Put);
            names.extend(rows.filter_map(|c| c.name).take(EVENTS.saturating_sub(names.len())));
            if !page.more || names.len() >= EVENTS {
                return Ok(names);
            }
        }
    }

    async fn taken(&self, at: CollectionId, name: &Name, range: TimeRange) -> Result<Option<Taken>, Fault> {
        let Some(object) = self.house.store.object(at, name.as_str()).await? else { return Ok(None) };
        let (Some(uid), Ok(ical)) = (object.meta.index.uid.clone(), Ical::parse(object.bytes)) else {
            return Ok(None);
        };
        let periods = merge(busy(&Series::of(&ical), range, &Zone::Utc));
        if periods.is_empty() {
            return Ok(None);
        }
        let booking = ical.calendar().is_some_and(|c| c.components().any(|c| c.property(BOOKING).is_some()));
        Ok(Some(Taken { uid, title: title(&ical), booking, busy: periods }))
    }

    /// Finds what the event overlaps, and since when.
    async fn overlapped(
        &self,
        at: CollectionId,
        name: &Name,
        event: &Taken,
        range: TimeRange,
    ) -> Result<Vec<(Taken, i64)>, Fault> {
        let (from, to) = (event.busy.first().map(|b| b.start), event.busy.last().map(|b| b.end));
        let mut found = Vec::new();
        for meta in self.house.store.in_range(at, from, to).await? {
            if meta.name == *name || meta.index.component != "VEVENT" {
                continue;
            }
            let Some(other) = self.taken(at, &meta.name, range).await? else { continue };
            let counts = self.settings.detect_overlap == Detect::All || other.booking;
            let first = intersect(&event.busy, &other.busy).first().map(|busy| busy.start);
            if let Some(from) = first.filter(|_| counts) {
                found.push((other, from));
            }
        }
        Ok(found)
    }

    async fn still(&self, at: CollectionId, one: &str, other: &str, range: TimeRange) -> Result<bool, Fault> {
        let store = &self.house.store;
        let (Some(one), Some(other)) = (store.by_uid(at, one).await?, store.by_uid(at, other).await?) else {
            return Ok(false);
        };
        let both = (self.taken(at, &one, range).await?, self.taken(at, &other, range).await?);
        Ok(matches!(both, (Some(one), Some(other)) if !intersect(&one.busy, &other.busy).is_empty()))
    }
}

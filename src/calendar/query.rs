//! Asking a calendar: which objects match a filter, and when its owner is busy.
//!
//! Owns: how little is read for an answer. The store's index by time names the candidates; where the index alone
//! decides, nothing else is looked at; else a series that has been understood once is kept (`Understood`); the text is
//! read only when the filter or the answer needs it.
//! Does not own: what a filter means and when a series takes place (`ical`), how an answer looks (`dav`, `api`).

use std::sync::Arc;

use bytes::Bytes;

use super::access::Readable;
use super::{Error, Refusal};
use crate::ical::Ical;
use crate::ical::busy::{Busy, BusyType, MOST, busy, merge};
use crate::ical::filter::{CompFilter, Hint, matches};
use crate::ical::series::{Series, TimeRange};
use crate::ical::zone::Zone;
use crate::store::{Etag, Meta, Name, Object, Span};

/// How many candidates are looked at before those that match are handed on.
const PAGE: usize = 256;

/// How many objects are looked at before others may have the thread: looking may cost a walk along a hostile rule.
const TURN: usize = 32;

/// How many bytes of series are kept.
const KEPT: u64 = 16 << 20;

/// Series that have been understood, by the etag of their text: the same text is the same series wherever it lies.
pub(super) struct Understood(moka::sync::Cache<u128, Arc<Series>>);

impl Understood {
    pub(super) fn new() -> Understood {
        let weigh = |_: &u128, series: &Arc<Series>| {
            u32::try_from(series.size_hint_bytes().saturating_add(64)).unwrap_or(u32::MAX)
        };
        Understood(moka::sync::Cache::builder().weigher(weigh).max_capacity(KEPT).build())
    }

    fn get(&self, etag: &Etag) -> Option<Arc<Series>> {
        self.0.get(&u128::from_str_radix(&etag.0, 16).ok()?)
    }

    fn keep(&self, etag: &Etag, series: &Arc<Series>) {
        if let Ok(key) = u128::from_str_radix(&etag.0, 16) {
            self.0.insert(key, Arc::clone(series));
        }
    }
}

/// An object of an answer, with whatever had to be read to find it.
#[derive(Debug)]
pub struct Found {
    /// The collection.
    pub at: Readable,
    /// All but the text.
    pub meta: Meta,
    /// The text, if it was wanted or needed.
    pub bytes: Option<Bytes>,
    /// The text, parsed, if that was needed.
    pub ical: Option<Ical>,
    /// When it takes place, if that was needed.
    pub series: Option<Arc<Series>>,
}

impl Found {
    /// Returns an object of which only the description was read.
    pub fn bare(at: Readable, meta: Meta) -> Found {
        Found { at, meta, bytes: None, ical: None, series: None }
    }

    fn read(at: Readable, object: Object) -> Found {
        Found { bytes: Some(object.bytes), ..Found::bare(at, object.meta) }
    }
}

/// Whether an answer holds the objects' text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Text {
    /// Descriptions are enough.
    No,
    /// The text is part of the answer.
    Yes,
}

/// A query that is being answered, page by page.
#[derive(Debug)]
pub struct Query {
    at: Readable,
    filter: Arc<CompFilter>,
    floating: Zone,
    text: Text,
    source: Source,
}

#[derive(Debug)]
enum Source {
    /// What the index by time names.
    Candidates(std::vec::IntoIter<Meta>),
    /// Every member, by name.
    All(Option<Name>),
    Done,
}

impl Readable {
    /// Reads an object with its text.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn found(&self, name: &str) -> Result<Option<Found>, Error> {
        Ok(self.object(name).await?.map(|object| Found::read(self.clone(), object)))
    }

    /// Begins to look for the objects that match the filter. Times without a zone are read in `floating`.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn query(&self, filter: Arc<CompFilter>, floating: Zone, text: Text) -> Result<Query, Error> {
        self.query_after(filter, floating, text, None).await
    }

    /// Begins to look for those whose names come after that one.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn query_after(
        &self,
        filter: Arc<CompFilter>,
        floating: Zone,
        text: Text,
        after: Option<Name>,
    ) -> Result<Query, Error> {
        let source = match filter.index_hint().range {
            Some(range) => {
                let mut candidates = self.in_range(range).await?;
                candidates.retain(|meta| after.as_ref().is_none_or(|after| meta.name > *after));
                Source::Candidates(candidates.into_iter())
            }
            None => Source::All(after),
        };
        Ok(Query { at: self.clone(), filter, floating, text, source })
    }

    /// Returns when the calendar's owner is busy (RFC 4791 §7.10), merged, in order.
    ///
    /// # Errors
    /// `TooMany` if there are more instances than one answer may hold; when the store fails.
    pub async fn busy(&self, range: TimeRange, floating: &Zone) -> Result<Vec<Busy>, Error> {
        let limit = self.house().limits.instances;
        let mut all = Vec::new();
        for (turn, meta) in self.in_range(range).await?.into_iter().enumerate() {
            give_way(turn).await;
            if !matches!(meta.index.component.as_str(), "VEVENT" | "VFREEBUSY") {
                continue;
            }
            let Some(series) = self.series(&meta).await? else { continue };
            let found = busy(&series, range, floating);
            let cut = found.len() >= MOST;
            all.extend(found);
            if cut || all.len() > limit {
                all = merge(all);
                let whole = |busy: &Busy| {
                    busy.kind == BusyType::Busy && busy.start <= range.start && busy.end >= range.end
                };
                if all.iter().any(whole) {
                    break;
                }
                // Half the truth would show somebody free who is not.
                if cut || all.len() > limit {
                    return Err(Refusal::TooMany(limit.min(MOST) as u64).into());
                }
            }
        }
        Ok(merge(all))
    }

    /// Reads all members that may take place within the range, by name, without bytes.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn in_range(&self, range: TimeRange) -> Result<Vec<Meta>, Error> {
        Ok(self.house().store.in_range(self.id(), Some(range.start), Some(range.end)).await?)
    }

    /// Returns when the object takes place; nothing: it is gone.
    async fn series(&self, meta: &Meta) -> Result<Option<Arc<Series>>, Error> {
        if let Some(series) = self.house().understood.get(&meta.etag) {
            return Ok(Some(series));
        }
        let Some(mut found) = self.found(meta.name.as_str()).await? else { return Ok(None) };
        found.understand();
        Ok(found.series)
    }
}

impl Found {
    /// Parses the text and finds out when it takes place, unless that is known.
    pub fn understand(&mut self) {
        let Some(bytes) = &self.bytes else { return };
        let house = Arc::clone(self.at.house());
        if self.ical.is_none() {
            self.ical = Ical::parse(bytes.clone()).ok();
        }
        if self.series.is_none() {
            self.series = house.understood.get(&self.meta.etag);
        }
        if let (None, Some(ical)) = (&self.series, &self.ical) {
            let series = Arc::new(Series::of(ical));
            house.understood.keep(&self.meta.etag, &series);
            self.series = Some(series);
        }
    }
}

impl Query {
    /// Returns the next objects that match; an empty page does not mean the end. Nothing: that was all.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn next(&mut self) -> Result<Option<Vec<Found>>, Error> {
        let candidates = match &mut self.source {
            Source::Done => return Ok(None),
            Source::Candidates(rest) => rest.take(PAGE).collect::<Vec<_>>(),
            Source::All(after) => self.at.list(after.as_ref().map(Name::as_str), PAGE).await?,
        };
        let full = candidates.len() == PAGE;
        match (&mut self.source, candidates.last()) {
            (Source::All(after), Some(last)) if full => *after = Some(last.name.clone()),
            (Source::Candidates(_), Some(_)) if full => {}
            _ => self.source = Source::Done,
        }
        let mut page = Vec::with_capacity(candidates.len());
        for (turn, meta) in candidates.into_iter().enumerate() {
            give_way(turn).await;
            page.extend(self.decide(meta).await?);
        }
        Ok(Some(page))
    }

    /// Returns the object of that name if it matches.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn one(&self, name: &str) -> Result<Option<Found>, Error> {
        match self.at.meta(name).await? {
            Some(meta) => self.decide(meta).await,
            None => Ok(None),
        }
    }

    /// Decides about one candidate with as little as possible.
    async fn decide(&self, meta: Meta) -> Result<Option<Found>, Error> {
        let hint = self.hint();
        if hint.component.is_some_and(|component| meta.index.component != component) {
            return Ok(None);
        }
        if !hint.exact {
            return self.look(&meta).await;
        }
        let matched = match (hint.range, meta.index.span) {
            (None, _) => true,
            (Some(range), Some(span)) if span.exact => touches(span, range),
            (Some(range), _) => match self.at.series(&meta).await? {
                Some(series) => series.overlaps(range, &self.floating),
                None => false,
            },
        };
        match (matched, self.text) {
            (false, _) => Ok(None),
            (true, Text::No) => Ok(Some(Found::bare(self.at.clone(), meta))),
            (true, Text::Yes) => self.at.found(meta.name.as_str()).await,
        }
    }

    /// A filter that asks for nothing but a VCALENDAR takes every object; there is nothing to look at.
    fn hint(&self) -> Hint<'_> {
        let filter = &self.filter;
        let anything = filter.name == "VCALENDAR"
            && !filter.is_not_defined
            && filter.time_range.is_none()
            && filter.props.is_empty()
            && filter.comps.is_empty();
        match anything {
            true => Hint { component: None, range: None, exact: true },
            false => filter.index_hint(),
        }
    }

    /// Reads the text and applies the whole filter.
    async fn look(&self, meta: &Meta) -> Result<Option<Found>, Error> {
        let Some(mut found) = self.at.found(meta.name.as_str()).await? else { return Ok(None) };
        found.understand();
        let matched = match (&found.ical, &found.series) {
            (Some(ical), Some(series)) => matches(&self.filter, ical, series, &self.floating),
            _ => false,
        };
        Ok(matched.then_some(found))
    }
}

/// Lets others have the thread now and then.
pub(super) async fn give_way(turn: usize) {
    if turn % TURN == TURN - 1 {
        tokio::task::yield_now().await;
    }
}

/// Tells whether an object of one instance lies in the range (RFC 4791 §9.9; see `Span::exact`).
fn touches(span: Span, range: TimeRange) -> bool {
    let end = span.end.unwrap_or(i64::MAX);
    if span.start == end {
        range.start <= span.start && span.start < range.end
    } else {
        span.start < range.end && end > range.start
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_instance_and_a_range() {
        let range = TimeRange::new;
        let span = |start, end| Span { start, end: Some(end), exact: true };
        for (s, r, expected) in [
            (span(10, 20), range(Some(20), Some(30)), false),
            (span(10, 20), range(Some(19), Some(30)), true),
            (span(10, 20), range(Some(0), Some(10)), false),
            (span(10, 20), range(Some(0), Some(11)), true),
            (span(10, 20), range(None, Some(11)), true),
            (span(10, 20), range(Some(20), None), false),
            // RFC 4791 §9.9: an instant lies in a range that begins at it, not in one that ends there.
            (span(10, 10), range(Some(10), Some(20)), true),
            (span(10, 10), range(Some(0), Some(10)), false),
        ] {
            assert_eq!(touches(s, r), expected, "{s:?} {r:?}");
        }
    }
}

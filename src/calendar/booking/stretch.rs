//! Weeks of crowded calendars, understood once and kept up with their logs.
//!
//! Owns: which calendars are crowded, what takes place there in a week, following the log. Does not own: how something counts
//! (`busy`); the same week is seen with other eyes by another owner's settings or a minute later.
//!
//! A calendar with a thousand endless series has a thousand candidates for every hour, and each of them has to be asked for
//! its instances. Between two bookings hardly anything changes, and the log says what: only that is asked anew.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::busy::{Eyes, Happening, Item, Look};
use crate::calendar::access::Readable;
use crate::calendar::query::give_way;
use crate::calendar::{Error, Refusal};
use crate::ical::series::TimeRange;
use crate::ical::zone::Zone;
use crate::store::{CollectionId, Meta, Name, Rev, What};

/// How long a stretch is: a week.
const LENGTH: i64 = 7 * 86_400;
/// A question about more of them is not worth keeping.
const WIDEST: i64 = 6;
/// How many stretches are kept.
const KEPT: u64 = 32;
/// What a stretch holds at most.
const MOST: usize = 20_000;
/// A range with more objects makes a calendar a crowded one.
const MANY: usize = 64;
/// Of how many calendars it is known that they are.
const KNOWN: u64 = 10_000;
/// After more changes than this a stretch is begun anew.
const FOLLOWED: usize = 256;

/// A calendar and the number of the week since 1970.
type Key = (CollectionId, i64);

/// What is kept.
pub(super) struct Stretches {
    /// Crowded calendars; false: so much takes place there that it is not kept.
    crowded: moka::sync::Cache<CollectionId, bool>,
    kept: moka::sync::Cache<Key, Arc<tokio::sync::Mutex<Option<Stretch>>>>,
}

/// What takes place in one calendar in one week.
struct Stretch {
    /// The position of the log up to which all of it is known.
    rev: Rev,
    /// Whose clock floating times are of.
    floating: Zone,
    there: BTreeMap<Name, There>,
    count: usize,
}

struct There {
    look: Arc<Look>,
    happenings: Box<[Happening]>,
}

impl Stretches {
    pub(super) fn new() -> Stretches {
        Stretches { crowded: moka::sync::Cache::new(KNOWN), kept: moka::sync::Cache::new(KEPT) }
    }

    /// Notes how many objects one question had to look at.
    pub(super) fn note(&self, calendar: CollectionId, objects: usize) {
        if objects > MANY && !self.crowded.contains_key(&calendar) {
            self.crowded.insert(calendar, true);
        }
    }

    fn of(&self, key: Key) -> Arc<tokio::sync::Mutex<Option<Stretch>>> {
        self.kept.get_with(key, Arc::default)
    }
}

/// Returns the weeks that the range touches, if they are few.
fn weeks(range: TimeRange) -> Option<std::ops::RangeInclusive<i64>> {
    let last = range.end.checked_sub(1).filter(|last| *last >= range.start)?;
    let (first, last) = (range.start.div_euclid(LENGTH), last.div_euclid(LENGTH));
    (last - first < WIDEST).then_some(first..=last)
}

impl Readable {
    /// Adds what of this calendar makes busy within the range, from what is kept. False: nothing is kept of it.
    pub(super) async fn add_kept(
        &self,
        range: TimeRange,
        floating: &Zone,
        eyes: Eyes<'_>,
        into: &mut Vec<Item>,
    ) -> Result<bool, Error> {
        let stretches = &self.house().bookings.stretches;
        let Some(weeks) = weeks(range).filter(|_| stretches.crowded.get(&self.id()) == Some(true)) else {
            return Ok(false);
        };
        let (begun, first) = (into.len(), *weeks.start());
        for week in weeks {
            let kept = stretches.of((self.id(), week));
            let mut kept = kept.lock().await;
            if !self.follow(&mut kept, week, floating).await? {
                stretches.crowded.insert(self.id(), false);
                into.truncate(begun);
                return Ok(false);
            }
            let Some(stretch) = kept.as_ref() else { return Ok(false) };
            // What began before this week was told with an earlier one.
            let since = if week == first { i64::MIN } else { week * LENGTH };
            for (name, there) in &stretch.there {
                for happening in &there.happenings {
                    if happening.start >= since && happening.start < range.end && happening.end > range.start
                    {
                        there.look.add_happening(happening, name, self.id(), eyes, into);
                    }
                }
                if there.look.is_free_busy() && week == first {
                    there.look.add_named(name, self.id(), range, floating, eyes, into)?;
                }
            }
        }
        Ok(true)
    }

    /// Has a stretch be what the calendar is now, or later. False: it is too much to be kept.
    async fn follow(&self, kept: &mut Option<Stretch>, week: i64, floating: &Zone) -> Result<bool, Error> {
        let range = TimeRange { start: week * LENGTH, end: (week + 1) * LENGTH };
        if let Some(mut stretch) = kept.take().filter(|stretch| stretch.floating == *floating)
            && self.caught_up(&mut stretch, range).await?
        {
            *kept = Some(stretch);
        }
        if kept.is_none() {
            // First the position: what is written meanwhile is looked at once more.
            let rev = self.head().await?.rev;
            let mut stretch = Stretch { rev, floating: floating.clone(), there: BTreeMap::new(), count: 0 };
            for (turn, meta) in self.in_range(range).await?.into_iter().enumerate() {
                give_way(turn).await;
                self.learn(&mut stretch, &meta, range).await?;
                if stretch.count > MOST {
                    return Ok(false);
                }
            }
            *kept = Some(stretch);
        }
        if kept.as_ref().is_some_and(|stretch| stretch.count > MOST) {
            *kept = None;
        }
        Ok(kept.is_some())
    }

    /// Reads what was written since. False: it is too much, or the log does not say any more.
    async fn caught_up(&self, stretch: &mut Stretch, range: TimeRange) -> Result<bool, Error> {
        let page = match self.changes(stretch.rev, FOLLOWED).await {
            Ok(page) if !page.more => page,
            Ok(_) | Err(Error::Refused(Refusal::TokenExpired)) => return Ok(false),
            Err(error) => return Err(error),
        };
        for change in page.items {
            let Some(name) = change.name else { continue };
            if let Some(gone) = stretch.there.remove(&name) {
                stretch.count = stretch.count.saturating_sub(gone.happenings.len().max(1));
            }
            if change.what == What::Deleted {
                continue;
            }
            if let Some(meta) = self.meta(name.as_str()).await? {
                self.learn(stretch, &meta, range).await?;
            }
        }
        stretch.rev = page.head;
        Ok(true)
    }

    /// Adds an object, if it takes place in the week.
    async fn learn(&self, stretch: &mut Stretch, meta: &Meta, range: TimeRange) -> Result<(), Error> {
        // The index may say more than is true, as it does in `in_range`.
        let touches = meta.index.span.is_none_or(|span| {
            span.start <= range.end && span.end.is_none_or(|end| end.max(span.start) >= range.start)
        });
        if !touches || !matches!(meta.index.component.as_str(), "VEVENT" | "VFREEBUSY") {
            return Ok(());
        }
        let Some(look) = self.look(meta).await? else { return Ok(()) };
        let left = MOST.saturating_sub(stretch.count).saturating_add(1);
        let happenings = look.happenings(range, &stretch.floating, left);
        stretch.count =
            stretch.count.saturating_add(happenings.as_ref().map_or(MOST + 1, |all| all.len().max(1)));
        let happenings = happenings.unwrap_or_default().into_boxed_slice();
        stretch.there.insert(meta.name.clone(), There { look, happenings });
        Ok(())
    }
}

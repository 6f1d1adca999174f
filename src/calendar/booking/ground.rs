//! All that has to be known to say whether an owner is free, and what has to hold for the answer to stay true.
//!
//! Owns: which calendars count, in which order heads and events are read, the expectations of a commit.
//! Does not own: what counts in a calendar (`busy`), the answer (`slots`).

use std::sync::Arc;

use bytes::Bytes;

use super::busy::{Eyes, Item, What};
use super::holds;
use super::rules::{Settled, key, widest_key};
use super::slots::{Ban, Clash, Ground, Reason, Rule, Taken, Window, Wish};
use crate::calendar::access::{Readable, Writable};
use crate::calendar::default::default_of;
use crate::calendar::{Error, Refusal, Session};
use crate::ical::busy::{Busy, BusyType, merge};
use crate::ical::series::TimeRange;
use crate::ical::value::Civil;
use crate::ical::zone::Zone;
use crate::store::{CollectionId, Commit, Expect, Fault, Kind, Name, Rev, Timestamp};

/// Seconds of a day.
const DAY: i64 = 86_400;

/// A calendar that counts, and where its log stood before it was looked at.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) at: Readable,
    pub(super) rev: Rev,
}

/// What an owner's time is judged by.
#[derive(Debug)]
pub struct Basis {
    /// The settings.
    pub settled: Arc<Settled>,
    pub(super) sources: Vec<Source>,
    pub(super) home: Writable,
    pub(super) holds: Option<Source>,
    /// The calendar that is written.
    pub(super) write: Option<Writable>,
    /// Where the owner is.
    pub(super) zone: Zone,
    pub(super) now: Timestamp,
    own: Vec<String>,
    /// The largest buffer that was ever used, and its record.
    pub(super) widest: i64,
    pub(super) widest_stored: Option<Bytes>,
}

impl Session {
    /// Reads what the principal's time is judged by. With `into`, that calendar counts as well.
    ///
    /// # Errors
    /// When the store fails, or the account is gone.
    pub async fn basis(&self, into: Option<&Writable>) -> Result<Basis, Error> {
        let owner = &self.principal.name;
        let store = &self.house.store;
        let settled = self.house.booking_rules(owner).await?;
        let widest_stored = store.record(&widest_key(owner)).await?;
        let home = self.home().await?;
        let rules = &settled.rules;
        let (mut sources, mut holds, mut write) = (Vec::new(), None, into.cloned());
        let wanted = |id: CollectionId, hidden: bool| match &rules.calendars {
            Some(list) => list.contains(&id.0),
            // The middle of a link belongs to others.
            None => !hidden,
        };
        let children = home.all_children().await?;
        // Without a word of anybody the default calendar is written.
        let default = default_of(home.collection(), &children);
        for child in children {
            let collection = child.collection();
            if holds::is_holds(collection) {
                holds = Some(child);
                continue;
            }
            let takes =
                collection.components.is_empty() || collection.components.iter().any(|c| c == "VEVENT");
            if collection.kind != Kind::Calendar || !takes {
                continue;
            }
            let hidden = crate::calendar::is_hidden(collection);
            let written = match (&write, rules.write_calendar) {
                (Some(write), _) => write.id() == child.id(),
                (None, Some(id)) => id == child.id().0,
                (None, None) => default == Some(child.id()),
            };
            if written && write.is_none() {
                write = Some(self.writable(Arc::clone(collection))?);
            }
            if wanted(child.id(), hidden) || written {
                sources.push(child);
            }
        }
        let zone = settled.zone(write.as_ref().map(|write| &**write.collection()));
        let mut basis = Basis {
            sources: Vec::with_capacity(sources.len()),
            holds: None,
            home,
            write,
            zone,
            now: self.house.clock.now(),
            own: own(self),
            widest: widest_of(widest_stored.as_ref())?,
            widest_stored,
            settled,
        };
        // First the position, then the look: what is written in between is seen twice, never missed.
        for at in sources {
            basis.sources.push(Source { rev: at.head().await?.rev, at });
        }
        if let Some(at) = holds {
            basis.holds = Some(Source { rev: at.head().await?.rev, at });
        }
        Ok(basis)
    }

    /// Returns when the principal is busy within the range, merged, in order.
    ///
    /// # Errors
    /// `TooMany`; when the store fails.
    pub async fn free_busy(&self, range: TimeRange) -> Result<(Vec<Busy>, Basis), Error> {
        let basis = self.basis(None).await?;
        let items = basis.items(range).await?;
        let periods = items.iter().map(|item| {
            let (start, end) = (item.start.max(range.start), item.end.min(range.end));
            let kind = if matches!(item.what, What::Hold(_)) { BusyType::Tentative } else { item.kind };
            Busy { start, end, kind }
        });
        Ok((merge(periods.collect()), basis))
    }
}

fn widest_of(stored: Option<&Bytes>) -> Result<i64, Fault> {
    let Some(bytes) = stored else { return Ok(0) };
    let text = std::str::from_utf8(bytes).ok().and_then(|text| text.parse().ok());
    text.ok_or_else(|| Fault::Broken("the record of the largest buffer cannot be read".into()))
}

fn own(session: &Session) -> Vec<String> {
    let mut own: Vec<String> = session.principal.emails.iter().map(|email| email.to_lowercase()).collect();
    if own.is_empty() && session.principal.name.contains('@') {
        own.push(session.principal.name.clone());
    }
    own
}

impl Basis {
    /// Returns the ids of the calendars that count.
    pub fn calendars(&self) -> Vec<CollectionId> {
        self.sources.iter().map(|source| source.at.id()).collect()
    }

    /// Returns what a calendar that counts is called.
    pub fn calendar_name(&self, id: CollectionId) -> Option<String> {
        let source = self.sources.iter().find(|source| source.at.id() == id)?;
        let collection = source.at.collection();
        let title = crate::calendar::Shown::DisplayName.get(&collection.properties);
        Some(title.unwrap_or_else(|| collection.name.as_str().to_owned()))
    }

    /// Returns the owner's zone.
    pub fn zone(&self) -> &Zone {
        &self.zone
    }

    /// Reads what takes place within the range.
    ///
    /// # Errors
    /// `TooMany`; when the store fails.
    pub async fn items(&self, range: TimeRange) -> Result<Vec<Item>, Error> {
        let eyes = self.eyes();
        let mut items = Vec::new();
        for source in self.sources.iter().chain(&self.holds) {
            source.at.add_items(range, &self.zone, eyes, &mut items).await?;
        }
        items.sort_by_key(|item| (item.start, item.end));
        Ok(items)
    }

    pub(super) fn eyes(&self) -> Eyes<'_> {
        Eyes { rules: &self.settled.rules, own: &self.own, now: self.now.0.div_euclid(1000) }
    }

    /// Returns how far around a time something may lie that is in its way.
    pub(super) fn reach(&self, wish: &Wish) -> i64 {
        self.widest.max(wish.before).max(wish.after)
    }

    /// Returns the range whose events decide about starts within another.
    pub(super) fn around(&self, wish: &Wish, (from, to): (i64, i64)) -> TimeRange {
        let reach = self.reach(wish);
        let mut range = TimeRange { start: from, end: to }.widened(reach, reach);
        let rules = &self.settled.rules;
        if rules.daily_cap.is_some() || rules.weekly_cap.is_some() {
            // A full week is known by all of its bookings.
            let (start, _) = self.week(from);
            let (_, end) = self.week(to);
            range = TimeRange { start: range.start.min(start), end: range.end.max(end) };
        }
        range
    }

    /// Adds to a commit that nothing of what was judged has changed.
    pub(super) fn hold(&self, mut commit: Commit, ranges: &[TimeRange]) -> Commit {
        let owner = &self.home.collection().owner;
        for source in self.sources.iter().chain(&self.holds) {
            for range in ranges {
                commit = commit.expect(Expect::Quiet(source.at.id(), source.rev, range.start, range.end));
            }
        }
        if self.holds.is_none()
            && let Some(name) = Name::new(holds::NAME)
        {
            commit = commit.expect(Expect::NoChild(self.home.id(), name));
        }
        commit
            .expect(Expect::Record(key(owner), self.settled.stored.clone()))
            .expect(Expect::Record(widest_key(owner), self.widest_stored.clone()))
    }

    /// Returns the open times that touch the range, each with the grid of its starts.
    ///
    /// Where hours begin, the grid begins; where any time is open, it is that of the owner's midnight.
    pub(super) fn windows(&self, (from, to): (i64, i64)) -> Vec<Window> {
        let wide = TimeRange { start: from - 2 * DAY, end: to };
        let Some(hours) = &self.settled.hours else { return self.by_days((from, to)) };
        let mut windows = Vec::new();
        for (start, end) in hours.open(wide, &self.zone) {
            if end <= from {
                continue;
            }
            match start > wide.start {
                true => windows.push(Window { start: start.max(from), end, anchor: start }),
                // It has been open for days: it begins nowhere.
                false => windows.extend(self.by_days((from, end))),
            }
        }
        windows
    }

    /// One open time, whose grid is that of the midnight before it.
    fn by_days(&self, (from, to): (i64, i64)) -> Vec<Window> {
        let midnight = self.zone.to_instant(self.zone.to_civil(from).midnight());
        vec![Window { start: from, end: to, anchor: midnight }]
    }

    /// Returns what is closed within the range.
    fn closed(&self, (from, to): (i64, i64)) -> Vec<(i64, i64)> {
        let Some(hours) = &self.settled.hours else { return Vec::new() };
        let open = hours.open(TimeRange { start: from, end: to }, &self.zone);
        let mut closed = Vec::new();
        let mut at = from;
        for (start, end) in open {
            if start > at {
                closed.push((at, start));
            }
            at = end;
        }
        if at < to {
            closed.push((at, to));
        }
        closed
    }

    /// Returns the owner's day of an instant.
    fn day(&self, instant: i64) -> (i64, i64) {
        let midnight = self.zone.to_civil(instant).midnight();
        (self.zone.to_instant(midnight), self.zone.to_instant(Civil(midnight.0 + DAY)))
    }

    /// Returns the owner's week of an instant; it begins on Monday (ISO 8601).
    fn week(&self, instant: i64) -> (i64, i64) {
        let midnight = self.zone.to_civil(instant).midnight();
        // 1970-01-01 was a Thursday.
        let monday = Civil(midnight.0 - (midnight.days() + 3).rem_euclid(7) * DAY);
        (self.zone.to_instant(monday), self.zone.to_instant(Civil(monday.0 + 7 * DAY)))
    }

    /// Returns the starts that notice, horizon and caps forbid. `offering`: what is past is never offered, though it
    /// may be recorded.
    pub(super) fn bans(&self, items: &[Item], (from, to): (i64, i64), offering: Offering) -> Vec<Ban> {
        let rules = &self.settled.rules;
        let now = self.now.0.div_euclid(1000);
        let mut bans = Vec::new();
        let notice = match (rules.minimum_notice, offering) {
            (None, Offering::No) => None,
            (notice, _) => Some(notice.unwrap_or(0)),
        };
        if let Some(notice) = notice {
            bans.push(Ban { from: i64::MIN, to: now.saturating_add(notice), rule: Rule::Notice });
        }
        if let Some(horizon) = rules.horizon {
            let first = now.saturating_add(horizon).saturating_add(1);
            bans.push(Ban { from: first, to: i64::MAX, rule: Rule::Horizon });
        }
        let caps = [(rules.daily_cap, Rule::Day), (rules.weekly_cap, Rule::Week)];
        for (cap, rule) in caps {
            let Some(cap) = cap else { continue };
            let mut at = from;
            while at <= to {
                let (start, end) = if rule == Rule::Day { self.day(at) } else { self.week(at) };
                let booked = items.iter().filter(|item| {
                    matches!(item.what, What::Booking | What::Hold(_)) && (start..end).contains(&item.start)
                });
                if booked.count() >= usize::try_from(cap).unwrap_or(usize::MAX) {
                    bans.push(Ban { from: start, to: end, rule });
                }
                at = end.max(at + 1);
            }
        }
        bans
    }
}

/// Whether times are offered or one is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Offering {
    Yes,
    No,
}

/// A question about free time.
#[derive(Debug, Clone)]
pub struct Asked {
    /// From when on.
    pub from: i64,
    /// Until when.
    pub to: i64,
    /// How long.
    pub duration: i64,
    /// What has to be free before; nothing: as set.
    pub before: Option<i64>,
    /// What has to be free after; nothing: as set.
    pub after: Option<i64>,
    /// Seconds between two starts; nothing: as set.
    pub step: Option<i64>,
    /// Whether it is told why the others are not free.
    pub explain: bool,
}

/// Free times, and why others are not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offered {
    /// Starts and ends.
    pub slots: Vec<(i64, i64)>,
    /// What is not offered.
    pub refused: Vec<Refused>,
    /// There are more than were looked for.
    pub more: bool,
}

/// Why a time is not offered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// When it begins.
    pub start: i64,
    /// When it ends.
    pub end: i64,
    /// Why.
    pub why: Why,
}

/// What is in the way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// It is outside of the hours.
    Hours,
    /// A rule.
    Rule(Rule),
    /// Something that takes place then, or so near that buffers are not kept.
    Taken(Box<Item>, Clash),
}

/// Slots of one answer.
const MOST: usize = 20_000;
/// Times of one answer that are told not to be free.
const TOLD: usize = 2_000;

impl Session {
    /// Returns when something of a length could be booked.
    ///
    /// # Errors
    /// `TooMany`; when the store fails.
    pub async fn availability(&self, asked: &Asked) -> Result<(Offered, Basis), Error> {
        let basis = self.basis(None).await?;
        let offered = basis.offer(asked).await?;
        Ok((offered, basis))
    }
}

impl Basis {
    /// Returns a wish with what is set for all.
    pub(super) fn wish(&self, duration: i64, before: Option<i64>, after: Option<i64>) -> Wish {
        let rules = &self.settled.rules;
        Wish {
            duration,
            before: before.unwrap_or(rules.buffer_before),
            after: after.unwrap_or(rules.buffer_after),
            from_all: rules.buffers_around_all,
        }
    }

    async fn offer(&self, asked: &Asked) -> Result<Offered, Error> {
        let wish = self.wish(asked.duration, asked.before, asked.after);
        let range = (asked.from, asked.to);
        let items = self.items(self.around(&wish, range)).await?;
        // What only shows a buffer is kept by the booking itself.
        let shown: Vec<&Item> = items.iter().filter(|item| item.what != What::Buffer).collect();
        let taken: Vec<Taken> = shown.iter().map(|item| item.taken()).collect();
        let bans = self.bans(&items, range, Offering::Yes);
        let windows = self.windows(range);
        let step = asked.step.unwrap_or(self.settled.rules.step).max(60);
        let ground = Ground { wish, step, windows: &windows, taken: &taken, bans: &bans };
        let free = ground.free(range, MOST + 1);
        let mut more = free.len() > MOST;
        let slots = free.into_iter().take(MOST).map(|start| (start, start + asked.duration)).collect();
        let mut refused = Vec::new();
        if asked.explain {
            let closed = self.closed(range).into_iter();
            refused.extend(closed.map(|(start, end)| Refused { start, end, why: Why::Hours }));
            let told = ground.refused(range, TOLD + 1);
            more |= told.len() > TOLD;
            for (start, reason) in told.into_iter().take(TOLD) {
                let why = match reason {
                    Reason::Rule(rule) => Why::Rule(rule),
                    Reason::Taken(at, clash) => match shown.get(at) {
                        Some(item) => Why::Taken(Box::new(Item::clone(item)), clash),
                        None => continue,
                    },
                };
                refused.push(Refused { start, end: start + asked.duration, why });
            }
            refused.sort_by_key(|refused| (refused.start, refused.end));
        }
        Ok(Offered { slots, refused, more })
    }

    /// Judges all times of an event as `judge` does one. Returns the ranges that were looked at.
    pub(super) async fn judge_all(
        &self,
        times: &[(i64, i64)],
        (before, after): (i64, i64),
        except: Option<(CollectionId, &Name)>,
        rules: Heed,
    ) -> Result<Vec<TimeRange>, Error> {
        let mut ranges = Vec::with_capacity(times.len());
        for (start, end) in times.iter().filter(|(start, end)| start < end) {
            let wish = self.wish(end - start, Some(before), Some(after));
            ranges.push(self.judge(&wish, *start, except, rules).await?);
        }
        Ok(ranges)
    }

    /// Judges one time: refuses it with what is in its way. `except` is what the asker has there already.
    async fn judge(
        &self,
        wish: &Wish,
        start: i64,
        except: Option<(CollectionId, &Name)>,
        rules: Heed,
    ) -> Result<TimeRange, Error> {
        let end = start.saturating_add(wish.duration);
        let range = self.around(wish, (start, end));
        let mut items = self.items(range).await?;
        items.retain(|item| except != Some((item.at, &item.name)) && item.what != What::Buffer);
        let bans =
            if rules == Heed::All { self.bans(&items, (start, start), Offering::No) } else { Vec::new() };
        let taken: Vec<Taken> = items.iter().map(Item::taken).collect();
        let ground = Ground { wish: *wish, step: 1, windows: &[], taken: &taken, bans: &bans };
        if rules == Heed::All && !self.closed((start, end)).is_empty() {
            return Err(
                Refusal::NotBookable("It is outside of the hours in which this can be booked.").into()
            );
        }
        match ground.reason(start) {
            None => Ok(range),
            Some(Reason::Rule(rule)) => Err(Refusal::NotBookable(rule.sentence()).into()),
            Some(Reason::Taken(at, clash)) => match items.get(at) {
                Some(item) => Err(Refusal::SlotTaken(Box::new(self.blocking(item, clash).await?)).into()),
                None => Ok(range),
            },
        }
    }
}

/// Which rules are heeded. A conflict always is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heed {
    /// Hours, notice, horizon, caps.
    All,
    /// None of them: somebody knows better.
    Conflicts,
}

impl Rule {
    /// Says what the rule wants, to whoever would like to book.
    pub fn sentence(self) -> &'static str {
        match self {
            Rule::Notice => "It is too soon, or past.",
            Rule::Horizon => "It is too far ahead.",
            Rule::Day => "The day has as many bookings as it may have.",
            Rule::Week => "The week has as many bookings as it may have.",
        }
    }
}

/// What stands in the way of a booking.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blocking {
    /// When it begins.
    pub start: i64,
    /// When it ends.
    pub end: i64,
    /// The calendar that it is in, or is held for.
    pub calendar: CollectionId,
    /// What it is called; only for those who may see that.
    pub title: Option<String>,
    /// What it is.
    pub what: What,
    /// How it is in the way.
    pub clash: Clash,
}

impl Basis {
    /// Describes what is in the way.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn blocking(&self, item: &Item, clash: Clash) -> Result<Blocking, Error> {
        Ok(Blocking {
            start: item.start,
            end: item.end,
            calendar: item.calendar(),
            title: self.title(item).await?,
            what: item.what.clone(),
            clash,
        })
    }

    /// Reads what an item is called; a hold has no title.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn title(&self, item: &Item) -> Result<Option<String>, Error> {
        let source = self.sources.iter().find(|source| source.at.id() == item.at);
        let Some(source) = source else { return Ok(None) };
        let Some(object) = source.at.object(item.name.as_str()).await? else { return Ok(None) };
        Ok(crate::calendar::trash::title(object.bytes))
    }
}

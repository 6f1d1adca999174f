//! What makes an owner busy, in the light of the settings.
//!
//! Owns: which instances count, what a booking's and a hold's event says of itself. Does not own: which calendars count
//! (`ground`), expansion (`ical::series`), slots (`slots`).

use std::sync::Arc;

use super::rules::{Counts, Rules};
use super::slots::Taken;
use crate::calendar::access::Readable;
use crate::calendar::query::give_way;
use crate::calendar::{Error, Refusal};
use crate::ical::busy::{BusyType, busy};
use crate::ical::series::{Instance, Kind, Series, TimeRange};
use crate::ical::value::{Civil, Duration};
use crate::ical::zone::Zone;
use crate::ical::{Component, Ical};
use crate::store::{CollectionId, Etag, Meta, Name};

/// Marks the event of a booking, with its id.
pub const BOOKING: &str = "X-KALENDS-BOOKING";
/// Marks an event that only shows the buffer of a booking, with its id.
pub(super) const BUFFER_OF: &str = "X-KALENDS-BUFFER-OF";
/// What a booking wants free before it.
pub(super) const BEFORE: &str = "X-KALENDS-BUFFER-BEFORE";
/// What it wants free after it.
pub(super) const AFTER: &str = "X-KALENDS-BUFFER-AFTER";
/// When a hold ends.
pub(super) const EXPIRES: &str = "X-KALENDS-HOLD-EXPIRES";
/// The calendar that a hold is for.
pub(super) const FOR: &str = "X-KALENDS-HOLD-CALENDAR";

/// How many bytes of facts are kept.
const KEPT: u64 = 16 << 20;
/// Instances that one question may look at.
const MOST: usize = 200_000;

/// What something that takes place is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// An event.
    Event,
    /// The event of a booking.
    Booking,
    /// Something that is held for somebody, for this calendar.
    Hold(CollectionId),
    /// It shows the buffer of a booking.
    Buffer,
}

/// Something that makes busy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// When it begins.
    pub start: i64,
    /// When it ends.
    pub end: i64,
    /// How busy.
    pub kind: BusyType,
    /// What it is.
    pub what: What,
    /// Where it is.
    pub at: CollectionId,
    /// Its name there.
    pub name: Name,
    /// What it wants free before and after it.
    pub(super) buffers: (i64, i64),
    /// It lasts whole days.
    pub(super) all_day: bool,
}

impl Item {
    /// Returns the calendar that it is in, or is held for.
    pub fn calendar(&self) -> CollectionId {
        match self.what {
            What::Hold(of) => of,
            What::Event | What::Booking | What::Buffer => self.at,
        }
    }

    /// Returns it as the arithmetic sees it.
    pub(super) fn taken(&self) -> Taken {
        let (before, after) = self.buffers;
        let booked = matches!(self.what, What::Booking | What::Hold(_));
        Taken { start: self.start, end: self.end, before, after, booked }
    }
}

/// What of a component matters beside when it is.
#[derive(Debug, Clone, Default)]
struct Fact {
    place: usize,
    cancelled: bool,
    sort: Sort,
    /// The addresses of those who declined.
    declined: Box<[Box<str>]>,
    mark: Option<Box<Mark>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Sort {
    #[default]
    Plain,
    OutOfOffice,
    Focus,
    Location,
}

#[derive(Debug, Clone)]
struct Mark {
    what: What,
    before: i64,
    after: i64,
    expires: Option<i64>,
}

/// An object that was understood.
#[derive(Debug)]
pub(super) struct Look {
    series: Arc<Series>,
    /// Those of components of which there is anything to say.
    facts: Box<[Fact]>,
}

/// One time at which an object takes place.
#[derive(Debug, Clone)]
pub(super) struct Happening {
    pub(super) start: i64,
    pub(super) end: i64,
    /// The place of its component among the children of the VCALENDAR.
    place: usize,
    busy: Option<BusyType>,
    all_day: bool,
}

impl Happening {
    fn of(instance: &Instance) -> Happening {
        let Instance { start, end, component, busy, .. } = *instance;
        Happening { start, end, place: component, busy, all_day: instance.all_day() }
    }
}

/// Objects that were understood, by the etag of their text.
pub(super) struct Looks(moka::sync::Cache<u128, Arc<Look>>);

impl Looks {
    pub(super) fn new() -> Looks {
        let weigh = |_: &u128, look: &Arc<Look>| {
            let facts: usize = look.facts.iter().map(|fact| 160 + fact.declined.len() * 48).sum();
            u32::try_from(look.series.size_hint_bytes() + facts + 64).unwrap_or(u32::MAX)
        };
        Looks(moka::sync::Cache::builder().weigher(weigh).max_capacity(KEPT).build())
    }
}

/// Through whose eyes it is looked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Eyes<'a> {
    pub(super) rules: &'a Rules,
    /// The owner's addresses, lower case.
    pub(super) own: &'a [String],
    /// Seconds since 1970: a hold that ended is none.
    pub(super) now: i64,
}

impl Readable {
    /// Adds what of this calendar makes busy within the range.
    pub(super) async fn add_items(
        &self,
        range: TimeRange,
        floating: &Zone,
        eyes: Eyes<'_>,
        into: &mut Vec<Item>,
    ) -> Result<(), Error> {
        match self.add_kept(range, floating, eyes, into).await? {
            true => Ok(()),
            false => self.add_read(range, floating, eyes, into).await,
        }
    }

    /// The same from what is stored, object by object.
    pub(super) async fn add_read(
        &self,
        range: TimeRange,
        floating: &Zone,
        eyes: Eyes<'_>,
        into: &mut Vec<Item>,
    ) -> Result<(), Error> {
        let candidates = self.in_range(range).await?;
        self.house().bookings.stretches.note(self.id(), candidates.len());
        for (turn, meta) in candidates.into_iter().enumerate() {
            give_way(turn).await;
            if !matches!(meta.index.component.as_str(), "VEVENT" | "VFREEBUSY") {
                continue;
            }
            let Some(look) = self.look(&meta).await? else { continue };
            look.add(&meta, self.id(), range, floating, eyes, into)?;
        }
        Ok(())
    }

    pub(super) async fn look(&self, meta: &Meta) -> Result<Option<Arc<Look>>, Error> {
        let looks = &self.house().bookings.looks.0;
        if let Some(look) = of(&meta.etag).and_then(|key| looks.get(&key)) {
            return Ok(Some(look));
        }
        let Some(mut found) = self.found(meta.name.as_str()).await? else { return Ok(None) };
        found.understand();
        let (Some(ical), Some(series)) = (&found.ical, &found.series) else { return Ok(None) };
        let look = Arc::new(Look { series: Arc::clone(series), facts: facts(ical) });
        if let Some(key) = of(&found.meta.etag) {
            looks.insert(key, Arc::clone(&look));
        }
        Ok(Some(look))
    }
}

/// Returns what a text makes busy within the range, as if it lay in that calendar.
pub(super) fn items_of(
    ical: &Ical,
    (name, at): (&Name, CollectionId),
    range: TimeRange,
    floating: &Zone,
    eyes: Eyes<'_>,
) -> Result<Vec<Item>, Error> {
    let look = Look { series: Arc::new(Series::of(ical)), facts: facts(ical) };
    let mut items = Vec::new();
    look.add_named(name, at, range, floating, eyes, &mut items)?;
    Ok(items)
}

/// Returns the number that an etag is.
fn of(etag: &Etag) -> Option<u128> {
    u128::from_str_radix(&etag.0, 16).ok()
}

impl Look {
    /// Returns when it takes place.
    pub(super) fn series(&self) -> &Series {
        &self.series
    }

    /// Tells whether all of it was called off.
    pub(super) fn is_cancelled(&self) -> bool {
        self.facts.first().is_some_and(|fact| fact.cancelled)
    }

    fn add(
        &self,
        meta: &Meta,
        at: CollectionId,
        range: TimeRange,
        floating: &Zone,
        eyes: Eyes<'_>,
        into: &mut Vec<Item>,
    ) -> Result<(), Error> {
        self.add_named(&meta.name, at, range, floating, eyes, into)
    }

    /// Tells whether it is published busy time.
    pub(super) fn is_free_busy(&self) -> bool {
        self.series.kind() == Kind::FreeBusy
    }

    /// Returns when the event takes place within the range; nothing if that is more often than the limit.
    pub(super) fn happenings(
        &self,
        range: TimeRange,
        floating: &Zone,
        limit: usize,
    ) -> Option<Vec<Happening>> {
        if self.series.kind() != Kind::Event {
            return Some(Vec::new());
        }
        let found = self.series.instances(range, floating, limit);
        let lasting = found.list.iter().filter(|instance| instance.start < instance.end);
        found.complete.then(|| lasting.map(Happening::of).collect())
    }

    /// Adds it, if it counts.
    pub(super) fn add_happening(
        &self,
        happening: &Happening,
        name: &Name,
        at: CollectionId,
        eyes: Eyes<'_>,
        into: &mut Vec<Item>,
    ) {
        let fact = self.facts.iter().find(|fact| fact.place == happening.place);
        if let Some(kind) = counts(happening, fact, eyes) {
            let mark = fact.and_then(|fact| fact.mark.as_deref());
            into.push(Item {
                start: happening.start,
                end: happening.end,
                kind,
                what: mark.map_or(What::Event, |mark| mark.what.clone()),
                at,
                name: name.clone(),
                buffers: mark.map_or((0, 0), |mark| (mark.before, mark.after)),
                all_day: happening.all_day,
            });
        }
    }

    pub(super) fn add_named(
        &self,
        name: &Name,
        at: CollectionId,
        range: TimeRange,
        floating: &Zone,
        eyes: Eyes<'_>,
        into: &mut Vec<Item>,
    ) -> Result<(), Error> {
        // Half the truth would offer what is taken.
        let left = MOST.saturating_sub(into.len());
        let too_many = || Error::from(Refusal::TooMany(MOST as u64));
        match self.series.kind() {
            Kind::Event => {
                for happening in self.happenings(range, floating, left).ok_or_else(too_many)? {
                    self.add_happening(&happening, name, at, eyes, into);
                }
            }
            Kind::FreeBusy => {
                let found = busy(&self.series, range, floating);
                if found.len() >= left {
                    return Err(too_many());
                }
                for period in found {
                    if period.kind != BusyType::Tentative || eyes.rules.tentative_counts {
                        into.push(Item {
                            start: period.start,
                            end: period.end,
                            kind: period.kind,
                            what: What::Event,
                            at,
                            name: name.clone(),
                            buffers: (0, 0),
                            all_day: false,
                        });
                    }
                }
            }
            Kind::Todo | Kind::Journal | Kind::Other => {}
        }
        Ok(())
    }
}

/// Tells how an instance counts (RFC 4791 §7.10, and the owner's settings).
fn counts(happening: &Happening, fact: Option<&Fact>, eyes: Eyes<'_>) -> Option<BusyType> {
    let Some(fact) = fact else { return as_written(happening, eyes) };
    if let Some(mark) = &fact.mark {
        // What is held ends by the clock, not when somebody clears it away (B-01).
        if mark.expires.is_some_and(|expires| expires <= eyes.now) {
            return None;
        }
        // B-02: what awaits a confirmation is taken, whatever tentative events count for.
        return happening.busy;
    }
    if fact.cancelled || fact.declined.iter().any(|who| eyes.own.iter().any(|own| **own == **who)) {
        return None;
    }
    let rule = match fact.sort {
        Sort::Plain => Counts::AsWritten,
        Sort::OutOfOffice => eyes.rules.out_of_office,
        Sort::Focus => eyes.rules.focus_time,
        Sort::Location => eyes.rules.working_location,
    };
    match rule {
        Counts::Free => None,
        Counts::Busy => Some(happening.busy.unwrap_or(BusyType::Busy)),
        Counts::AsWritten => as_written(happening, eyes),
    }
}

fn as_written(happening: &Happening, eyes: Eyes<'_>) -> Option<BusyType> {
    let kind = happening.busy?;
    let left_out = kind == BusyType::Tentative && !eyes.rules.tentative_counts
        || happening.all_day && !eyes.rules.all_day_counts;
    (!left_out).then_some(kind)
}

fn facts(ical: &Ical) -> Box<[Fact]> {
    let Some(calendar) = ical.calendar() else { return Box::default() };
    let events = calendar.components().enumerate().filter(|(_, component)| component.name() == "VEVENT");
    events.filter_map(|(place, component)| fact(place, component)).collect()
}

fn fact(place: usize, event: Component<'_>) -> Option<Fact> {
    let mut fact = Fact { place, ..Fact::default() };
    let mut declined: Vec<Box<str>> = Vec::new();
    let (mut mark, mut before, mut after, mut expires, mut of) = (None, 0, 0, None, None);
    for property in event.properties() {
        let raw = || property.raw().trim().to_owned();
        match property.name() {
            "STATUS" => fact.cancelled = raw().eq_ignore_ascii_case("CANCELLED"),
            "ATTENDEE" => {
                let said = property.parameter("PARTSTAT");
                if said.is_some_and(|said| said.trim().eq_ignore_ascii_case("DECLINED")) {
                    declined.push(address(&raw()).into());
                }
            }
            "X-GOOGLE-EVENT-TYPE" => match raw().as_str() {
                "outOfOffice" => fact.sort = Sort::OutOfOffice,
                "focusTime" => fact.sort = Sort::Focus,
                "workingLocation" => fact.sort = Sort::Location,
                _ => {}
            },
            "X-MICROSOFT-CDO-BUSYSTATUS" => match raw().to_ascii_uppercase().as_str() {
                "OOF" => fact.sort = Sort::OutOfOffice,
                "WORKINGELSEWHERE" => fact.sort = Sort::Location,
                _ => {}
            },
            BOOKING => mark = Some(What::Booking),
            BUFFER_OF => mark = Some(What::Buffer),
            BEFORE => before = seconds(&raw()),
            AFTER => after = seconds(&raw()),
            EXPIRES => expires = Civil::parse(&raw()).map(|civil| civil.0),
            FOR => of = raw().parse().ok().map(CollectionId),
            _ => {}
        }
    }
    // Only what lies among the holds says so; see `event::held`.
    let what = match (mark, expires, of) {
        (Some(What::Booking), Some(_), Some(of)) => Some(What::Hold(of)),
        (mark, _, _) => mark,
    };
    let expires = expires.filter(|_| matches!(what, Some(What::Hold(_))));
    fact.mark = what.map(|what| Box::new(Mark { what, before, after, expires }));
    fact.declined = declined.into_boxed_slice();
    let says = fact.cancelled || fact.sort != Sort::Plain || !fact.declined.is_empty() || fact.mark.is_some();
    says.then_some(fact)
}

fn seconds(text: &str) -> i64 {
    Duration::parse(text).map_or(0, Duration::plain_seconds).max(0)
}

/// Returns the address of a `mailto:` in lower case.
pub(super) fn address(uri: &str) -> String {
    let lower = uri.trim().to_ascii_lowercase();
    lower.strip_prefix("mailto:").unwrap_or(&lower).to_owned()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use super::*;

    fn busy(lines: &str, rules: &Rules) -> Vec<(i64, i64)> {
        let text = format!("BEGIN:VCALENDAR\nBEGIN:VEVENT\nUID:1\n{lines}END:VEVENT\nEND:VCALENDAR\n");
        let ical = Ical::parse(text.replace('\n', "\r\n")).unwrap();
        let own = ["anna@example.org".to_owned()];
        let eyes = Eyes { rules, own: &own, now: at("20260105T120000") };
        let range = TimeRange { start: at("20260105T000000"), end: at("20260112T000000") };
        let zone = crate::ical::zone::by_tzid("Europe/Berlin").unwrap();
        let place = (&Name::new("a.ics").unwrap(), CollectionId(20));
        let items = items_of(&ical, place, range, &zone, eyes).unwrap();
        let day = at("20260106T000000");
        items.iter().map(|item| ((item.start - day) / 3600, (item.end - day) / 3600)).collect()
    }

    fn at(text: &str) -> i64 {
        Civil::parse(text).unwrap().0
    }

    const TEN: &str = "DTSTART:20260106T100000Z\nDTEND:20260106T110000Z\n";

    // B-07, B-08, B-09: what counts, and what does not.
    #[test]
    fn what_makes_busy() {
        let all = Rules::default();
        let none = Rules { tentative_counts: false, all_day_counts: false, ..Rules::default() };
        let ten: &'static [(i64, i64)] = &[(10, 11)];
        type Periods = &'static [(i64, i64)];
        let rows: &[(&str, Periods, Periods)] = &[
            ("", ten, ten),
            ("TRANSP:TRANSPARENT\n", &[], &[]),
            ("STATUS:CANCELLED\n", &[], &[]),
            ("STATUS:TENTATIVE\n", ten, &[]),
            ("ATTENDEE;PARTSTAT=DECLINED:mailto:Anna@Example.org\n", &[], &[]),
            ("ATTENDEE;PARTSTAT=DECLINED:mailto:bert@example.org\n", ten, ten),
            ("ATTENDEE;PARTSTAT=ACCEPTED:mailto:anna@example.org\n", ten, ten),
            ("X-GOOGLE-EVENT-TYPE:workingLocation\n", &[], &[]),
            ("X-GOOGLE-EVENT-TYPE:focusTime\n", ten, ten),
            ("X-GOOGLE-EVENT-TYPE:focusTime\nTRANSP:TRANSPARENT\n", &[], &[]),
            ("X-GOOGLE-EVENT-TYPE:outOfOffice\n", ten, ten),
            ("X-MICROSOFT-CDO-BUSYSTATUS:OOF\nTRANSP:TRANSPARENT\n", ten, ten),
            ("X-MICROSOFT-CDO-BUSYSTATUS:OOF\nSTATUS:CANCELLED\n", &[], &[]),
            ("X-MICROSOFT-CDO-BUSYSTATUS:WORKINGELSEWHERE\n", &[], &[]),
            // B-02: what awaits a confirmation is taken.
            ("X-KALENDS-BOOKING:7\nSTATUS:TENTATIVE\n", ten, ten),
            ("X-KALENDS-BOOKING:7\nSTATUS:CANCELLED\n", &[], &[]),
            // B-01: a hold ends by the clock.
            (
                "X-KALENDS-BOOKING:7\nX-KALENDS-HOLD-CALENDAR:20\nX-KALENDS-HOLD-EXPIRES:20260105T120001Z\n",
                ten,
                ten,
            ),
            (
                "X-KALENDS-BOOKING:7\nX-KALENDS-HOLD-CALENDAR:20\nX-KALENDS-HOLD-EXPIRES:20260105T120000Z\n",
                &[],
                &[],
            ),
        ];
        for (more, with, without) in rows {
            assert_eq!(busy(&format!("{TEN}{more}"), &all), *with, "{more}");
            assert_eq!(busy(&format!("{TEN}{more}"), &none), *without, "{more}");
        }
    }

    // B-09, B-21, B-23: whole days are the owner's, floating times are read where the owner is.
    #[test]
    fn when_it_makes_busy() {
        let all = Rules::default();
        let no_days = Rules { all_day_counts: false, ..Rules::default() };
        let rows: &[(&str, &[(i64, i64)])] = &[
            ("DTSTART;VALUE=DATE:20260106\n", &[(-1, 23)]),
            ("DTSTART:20260106T100000\nDURATION:PT1H\n", &[(9, 10)]),
            ("DTSTART:20260106T100000Z\n", &[]),
            ("DTSTART:20260106T100000Z\nDTEND:20260106T100000Z\n", &[]),
            // It began before the range.
            ("DTSTART:20251231T000000Z\nDTEND:20260106T000000Z\n", &[(-144, 0)]),
            (
                "DTSTART;TZID=America/New_York:20251201T090000\nDURATION:PT1H\nRRULE:FREQ=WEEKLY;BYDAY=TU\n\
                 EXDATE;TZID=America/New_York:20260113T090000\n",
                &[(14, 15)],
            ),
        ];
        for (lines, expected) in rows {
            assert_eq!(busy(lines, &all), *expected, "{lines}");
        }
        assert_eq!(busy(rows[0].0, &no_days), []);
    }
}

//! From components to a series.

use super::{Busy, BusyType, Extra, Frame, Kind, Length, Override, Part, Row, Ruled, Series};
use crate::ical::recur::Rule;
use crate::ical::tree::{Component, Ical, Property};
use crate::ical::value::{self, Civil, DateTime, Duration, PeriodEnd};
use crate::ical::zone::{Zone, Zones, by_tzid};

impl Series {
    /// Reads an object. It never fails: what cannot be understood counts as if it were not there, and
    /// [`Series::note`] says so.
    pub fn of(ical: &Ical) -> Series {
        let mut reader = Reader { zones: Zones::of(ical), known: Vec::new(), note: None };
        let mut series = Series {
            kind: Kind::Other,
            master: None,
            rules: Box::default(),
            exrules: Box::default(),
            extras: Box::default(),
            exdates: Box::default(),
            exdays: Box::default(),
            overrides: Box::default(),
            periods: Box::default(),
            longest: 0,
            moved: 0,
            ranges: Box::default(),
            note: None,
        };
        let Some(calendar) = ical.calendar() else { return series };
        let mut drafts: Vec<Draft<'_>> = Vec::with_capacity(1);
        for (place, component) in calendar.components().enumerate() {
            let kind = kind_of(component.name());
            if kind != Kind::Other && (series.kind == Kind::Other || series.kind == kind) {
                series.kind = kind;
                drafts.push(Draft::of(component, place, kind));
            }
        }
        // Two versions of the master in one object: the newer counts (RFC 5545 §3.8.7.4).
        let newest = drafts.iter().filter(|draft| draft.rid.is_none()).map(|draft| draft.sequence).max();
        drafts.retain(|draft| draft.rid.is_some() || Some(draft.sequence) == newest);
        let master = drafts.iter().position(|draft| draft.rid.is_none()).map(|at| drafts.remove(at));
        if let Some(draft) = &master {
            reader.master(&mut series, draft);
        }
        reader.overrides(&mut series, &drafts);
        series.note = reader.note.map(String::into_boxed_str);
        series
    }
}

/// Different TZIDs of one object whose VTIMEZONEs are read.
const ZONES: usize = 32;

/// RRULEs of one component that are read. RFC 5545 §3.6.1: there should be one.
const RULES: usize = 16;

/// With more overrides than this nobody looks for two of the same instance.
const MANY: usize = 2000;

fn kind_of(name: &str) -> Kind {
    match name {
        "VEVENT" => Kind::Event,
        "VTODO" => Kind::Todo,
        "VJOURNAL" => Kind::Journal,
        "VFREEBUSY" => Kind::FreeBusy,
        _ => Kind::Other,
    }
}

/// The properties of one component that say when.
struct Draft<'a> {
    kind: Kind,
    place: usize,
    start: Option<Property<'a>>,
    end: Option<Property<'a>>,
    duration: Option<Property<'a>>,
    rid: Option<Property<'a>>,
    sequence: i64,
    completed: Option<Property<'a>>,
    created: Option<Property<'a>>,
    transparent: bool,
    status: Status,
    /// RRULE, EXRULE, RDATE, EXDATE and FREEBUSY.
    sets: Vec<Property<'a>>,
}

#[derive(PartialEq, Eq)]
enum Status {
    Cancelled,
    Tentative,
    Other,
}

impl<'a> Draft<'a> {
    fn of(component: Component<'a>, place: usize, kind: Kind) -> Draft<'a> {
        let mut draft = Draft {
            kind,
            place,
            start: None,
            end: None,
            duration: None,
            rid: None,
            sequence: 0,
            completed: None,
            created: None,
            transparent: false,
            status: Status::Other,
            sets: Vec::new(),
        };
        for property in component.properties() {
            let slot = match property.name() {
                "DTSTART" => &mut draft.start,
                "DTEND" if kind != Kind::Todo => &mut draft.end,
                "DUE" if kind == Kind::Todo => &mut draft.end,
                "DURATION" => &mut draft.duration,
                "RECURRENCE-ID" => &mut draft.rid,
                "COMPLETED" => &mut draft.completed,
                "CREATED" => &mut draft.created,
                "SEQUENCE" => {
                    draft.sequence = property.raw().trim().parse().unwrap_or(0);
                    continue;
                }
                "TRANSP" => {
                    draft.transparent = property.raw().trim().eq_ignore_ascii_case("TRANSPARENT");
                    continue;
                }
                "STATUS" => {
                    draft.status = match property.raw().trim() {
                        status if status.eq_ignore_ascii_case("CANCELLED") => Status::Cancelled,
                        status if status.eq_ignore_ascii_case("TENTATIVE") => Status::Tentative,
                        _ => Status::Other,
                    };
                    continue;
                }
                "RRULE" | "EXRULE" | "RDATE" | "EXDATE" | "FREEBUSY" => {
                    draft.sets.push(property);
                    continue;
                }
                _ => continue,
            };
            slot.get_or_insert(property);
        }
        draft
    }

    /// RFC 4791 §7.10.
    fn busy(&self) -> Option<BusyType> {
        match self.status {
            _ if self.kind != Kind::Event || self.transparent => None,
            Status::Cancelled => None,
            Status::Tentative => Some(BusyType::Tentative),
            Status::Other => Some(BusyType::Busy),
        }
    }

    fn all<'n>(&'n self, name: &'n str) -> impl Iterator<Item = &'n Property<'a>> + 'n {
        self.sets.iter().filter(move |property| property.name() == name)
    }
}

struct Reader<'a> {
    zones: Zones<'a>,
    /// The TZIDs met so far: an object rarely has more than two.
    known: Vec<(String, Option<Zone>)>,
    note: Option<String>,
}

impl Reader<'_> {
    fn note(&mut self, text: impl FnOnce() -> String) {
        if self.note.is_none() {
            self.note = Some(text());
        }
    }

    fn zone(&mut self, tzid: &str) -> Option<Zone> {
        if let Some((_, zone)) = self.known.iter().find(|(name, _)| name == tzid) {
            return zone.clone();
        }
        // Somebody's bomb: a VTIMEZONE for each of thousands of TZIDs.
        let zone = if self.known.len() < ZONES { self.zones.zone(tzid) } else { by_tzid(tzid) };
        if zone.is_none() {
            self.note(|| format!("the time zone \"{tzid}\" is not known; its times are read as floating"));
        }
        if self.known.len() < ZONES {
            self.known.push((tzid.to_owned(), zone.clone()));
        }
        zone
    }

    fn date_time(&mut self, property: Option<&Property<'_>>) -> Option<DateTime> {
        let property = property?;
        let found = value::date_time(property);
        if found.is_none() {
            self.note(|| format!("{} on line {} is not a date or a time", property.name(), property.line()));
        }
        found
    }

    fn frame(&mut self, time: &DateTime) -> Frame {
        match time {
            DateTime::Date(_) => Frame::Date,
            DateTime::Floating(_) => Frame::Floating,
            DateTime::Utc(_) => Frame::Zone(Zone::Utc),
            DateTime::Zoned(_, tzid) => self.zone(tzid).map_or(Frame::Floating, Frame::Zone),
        }
    }

    /// Returns the wall-clock time that a time has in a frame.
    fn civil_in(&mut self, frame: &Frame, time: &DateTime) -> Civil {
        let Frame::Zone(zone) = frame else {
            return if *frame == Frame::Date { time.civil().midnight() } else { time.civil() };
        };
        match self.frame(time) {
            Frame::Zone(other) if other != *zone => zone.to_civil(other.to_instant(time.civil())),
            _ => time.civil(),
        }
    }

    /// Returns what names an instance in a series with this frame, and whether that is a day.
    ///
    /// a date names the instance of that day in a series with times; a time names its day in one of days.
    fn key(&mut self, frame: &Frame, time: &DateTime) -> (i64, bool) {
        match frame {
            Frame::Date => (time.civil().midnight().0, false),
            Frame::Zone(_) | Frame::Floating if time.is_date() => (time.civil().0, true),
            Frame::Floating => (time.civil().0, false),
            Frame::Zone(own) => match self.frame(time) {
                Frame::Zone(zone) => (zone.to_instant(time.civil()), false),
                Frame::Date | Frame::Floating => (own.to_instant(time.civil()), false),
            },
        }
    }

    fn part(&mut self, draft: &Draft<'_>) -> Part {
        let start = self.date_time(draft.start.as_ref());
        let end = self.date_time(draft.end.as_ref());
        let duration = draft.duration.as_ref().and_then(|property| {
            let found = Duration::parse(&property.raw());
            if found.is_none() {
                self.note(|| format!("DURATION on line {} cannot be read", property.line()));
            }
            found
        });
        let row = match (draft.kind, &start, &end, duration) {
            (Kind::Todo, None, Some(_), _) => Row::Due,
            (Kind::Todo, None, None, _) => Row::Undated,
            (Kind::Todo, Some(_), Some(_), _) => Row::StartDue,
            (Kind::Todo, Some(_), None, Some(_)) => Row::StartDuration,
            _ => Row::Start,
        };
        let (anchor, end) = match (start, end) {
            (None, end) if row == Row::Due => (end, None),
            other => other,
        };
        let frame = anchor.as_ref().map_or(Frame::Floating, |time| self.frame(time));
        let length = match (&anchor, &end) {
            _ if draft.kind == Kind::Journal => Length::Unsaid,
            (Some(start), Some(end)) => self.between(&frame, start, end),
            _ => duration.filter(|_| row != Row::Due).map_or(Length::Unsaid, Length::Nominal),
        };
        let mut instant = |property: Option<&Property<'_>>| {
            let time = self.date_time(property)?;
            let frame = self.frame(&time);
            Some(frame.instant(time.civil(), &Zone::Utc))
        };
        let undated = row == Row::Undated;
        let completed = instant(draft.completed.as_ref().filter(|_| undated));
        let created = instant(draft.created.as_ref().filter(|_| undated));
        Part {
            component: draft.place,
            start: anchor.as_ref().map(DateTime::civil),
            length: whole_days(draft.kind, &frame, length),
            frame,
            row,
            completed,
            created,
            busy: draft.busy(),
        }
    }

    /// Returns how long it is from DTSTART to DTEND or DUE. An end before the start counts as no length.
    fn between(&mut self, frame: &Frame, start: &DateTime, end: &DateTime) -> Length {
        match frame {
            Frame::Zone(zone) => {
                let ends = match self.frame(end) {
                    Frame::Zone(other) => other.to_instant(end.civil()),
                    Frame::Date | Frame::Floating => zone.to_instant(end.civil()),
                };
                Length::Exact((ends - zone.to_instant(start.civil())).max(0))
            }
            Frame::Date => Length::Wall((end.civil().midnight().0 - start.civil().0).max(0)),
            Frame::Floating => Length::Wall((end.civil().0 - start.civil().0).max(0)),
        }
    }

    fn master(&mut self, series: &mut Series, draft: &Draft<'_>) {
        let part = self.part(draft);
        if let Some(start) = part.start {
            series.rules = self.rules(draft, "RRULE", &part.frame, start);
            series.exrules = self.rules(draft, "EXRULE", &part.frame, start);
            self.dates(series, draft, &part, start);
        }
        if draft.kind == Kind::FreeBusy {
            series.periods = self.periods(draft);
        }
        series.longest = longest(part.length);
        for extra in &series.extras {
            series.longest = series.longest.max(extra.length.map_or(0, longest));
        }
        series.master = Some(part);
    }

    fn rules(&mut self, draft: &Draft<'_>, name: &str, frame: &Frame, start: Civil) -> Box<[Ruled]> {
        let mut rules = Vec::new();
        for (place, property) in draft.all(name).enumerate() {
            if place == RULES {
                self.note(|| format!("of many {name}s the first {RULES} are followed"));
                break;
            }
            match Rule::parse(&property.raw()) {
                Ok(rule) => rules.push(self.bounded(rule, frame, start)),
                Err(problem) => self.note(|| format!("{name} on line {}: {problem}", property.line())),
            }
        }
        rules.into_boxed_slice()
    }

    /// Turns UNTIL and COUNT into the last wall-clock time, once, so that no query has to count.
    fn bounded(&mut self, mut rule: Rule, frame: &Frame, start: Civil) -> Ruled {
        let mut exact = None;
        let mut last = None;
        if let Some(until) = rule.until {
            last = Some(match frame {
                Frame::Zone(zone) if until.utc && *zone != Zone::Utc => {
                    exact = Some(until.civil.0);
                    // Where the clock goes back, a later wall-clock time can be an earlier instant.
                    Civil(zone.to_civil(until.civil.0).0 + 86_400)
                }
                _ => until.inclusive(),
            });
        }
        if rule.count.is_some() {
            let (end, complete) = rule.counted(start);
            if !complete {
                self.note(|| "the rule wastes too many steps before it reaches its COUNT".to_owned());
            }
            last = match (last, end) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            };
        }
        rule.last = last;
        Ruled { rule, until: exact }
    }

    fn dates(&mut self, series: &mut Series, draft: &Draft<'_>, part: &Part, start: Civil) {
        let (mut exdates, mut exdays, mut extras) = (Vec::new(), Vec::new(), Vec::new());
        for property in &draft.sets {
            let rdate = match property.name() {
                "RDATE" => true,
                "EXDATE" => false,
                _ => continue,
            };
            let (moments, bad) = value::date_times(property);
            if bad > 0 {
                self.note(|| {
                    format!("{} on line {} holds what is not a date", property.name(), property.line())
                });
            }
            for moment in moments {
                if !rdate {
                    match self.key(&part.frame, &moment.start) {
                        (key, true) => exdays.push(key),
                        (key, false) => exdates.push(key),
                    }
                    continue;
                }
                let mut at = self.civil_in(&part.frame, &moment.start);
                if moment.start.is_date() && part.frame != Frame::Date {
                    // a date among times means that day at the usual time.
                    at = Civil(at.0 + start.0.rem_euclid(86_400));
                }
                let length = match moment.end {
                    Some(PeriodEnd::After(duration)) => Some(Length::Nominal(duration)),
                    Some(PeriodEnd::At(end)) => Some(self.between(&part.frame, &moment.start, &end)),
                    None => None,
                };
                extras.push(Extra { start: at, length });
            }
        }
        exdates.sort_unstable();
        exdays.sort_unstable();
        // A PERIOD before a plain time: it says more.
        extras.sort_by_key(|extra: &Extra| (extra.start, extra.length.is_none()));
        extras.dedup_by_key(|extra| extra.start);
        series.exdates = exdates.into_boxed_slice();
        series.exdays = exdays.into_boxed_slice();
        series.extras = extras.into_boxed_slice();
    }

    fn periods(&mut self, draft: &Draft<'_>) -> Box<[(Busy, bool)]> {
        let mut periods = Vec::new();
        for property in draft.all("FREEBUSY") {
            let kind = property.parameter("FBTYPE").map_or(Some(BusyType::Busy), |name| BusyType::of(&name));
            for moment in value::date_times(property).0 {
                let frame = self.frame(&moment.start);
                let start = frame.instant(moment.start.civil(), &Zone::Utc);
                let end = match moment.end {
                    Some(PeriodEnd::After(duration)) => start + duration.plain_seconds(),
                    Some(PeriodEnd::At(end)) => self.frame(&end).instant(end.civil(), &Zone::Utc),
                    None => continue,
                };
                periods.push((Busy { start, end, kind: kind.unwrap_or(BusyType::Busy) }, kind.is_none()));
            }
        }
        periods.into_boxed_slice()
    }

    fn overrides(&mut self, series: &mut Series, drafts: &[Draft<'_>]) {
        let mut overrides = Vec::with_capacity(drafts.len());
        let mut sequences = Vec::with_capacity(drafts.len());
        for draft in drafts {
            let part = self.part(draft);
            let Some(time) = self.date_time(draft.rid.as_ref()) else {
                overrides.push(Override { key: None, day: false, part, range: None });
                sequences.push(draft.sequence);
                continue;
            };
            let frame = match &series.master {
                Some(master) => master.frame.clone(),
                // Without a master the RECURRENCE-ID itself says what kind of series it is.
                None => self.frame(&time),
            };
            let (key, day) = self.key(&frame, &time);
            let mut range = None;
            let future = draft.rid.as_ref().and_then(|rid| rid.parameter("RANGE"));
            if future.is_some_and(|range| range.trim().eq_ignore_ascii_case("THISANDFUTURE"))
                && let Some(start) = part.start
            {
                let by = start.0 - self.civil_in(&part.frame, &time).0;
                series.moved = series.moved.max(by.abs());
                series.longest = series.longest.max(longest(part.length));
                range = Some(by);
            }
            // Of two overrides of one instance the newer counts, of equals the later.
            let same = |over: &Override| over.key == Some(key) && over.day == day;
            if drafts.len() <= MANY
                && let Some(at) = overrides.iter().position(same)
            {
                if sequences.get(at).is_some_and(|&sequence| sequence <= draft.sequence) {
                    overrides.remove(at);
                    sequences.remove(at);
                } else {
                    continue;
                }
            }
            overrides.push(Override { key: Some(key), day, part, range });
            sequences.push(draft.sequence);
        }
        overrides.sort_by_key(|over| (over.day, over.key));
        let ranges = overrides.iter().enumerate().filter(|(_, over)| over.range.is_some());
        let mut ranges: Vec<(i64, usize)> = ranges.filter_map(|(at, over)| Some((over.key?, at))).collect();
        ranges.sort_unstable();
        series.ranges = ranges.into_boxed_slice();
        series.overrides = overrides.into_boxed_slice();
    }
}

/// RFC 5545 §3.6.1: an event on a date without an end lasts that day; one whose end is its start does, too (many
/// clients write that).
fn whole_days(kind: Kind, frame: &Frame, length: Length) -> Length {
    let dates = *frame == Frame::Date && matches!(kind, Kind::Event | Kind::Journal);
    match length {
        Length::Unsaid | Length::Wall(0) if dates => Length::Wall(86_400),
        other => other,
    }
}

/// Returns no less than the length on any day in any zone.
fn longest(length: Length) -> i64 {
    match length {
        Length::Unsaid => 0,
        Length::Exact(seconds) => seconds,
        Length::Wall(seconds) => seconds + 86_400,
        Length::Nominal(duration) => duration.plain_seconds().max(0) + 86_400,
    }
}

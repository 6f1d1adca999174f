//! What Cozi can hold of an event: wall-clock times in the household's zone, a simple rule, a few words.
//!
//! Owns: iCalendar → draft, draft → iCalendar. Does not own: Cozi's own notation (`item`), calls (`wire`).
//!
//! A draft is all that both notations share; what `fit` promises and what a read gives are drafts written the same way.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use bytes::Bytes;

use super::rule::Rule;
use crate::bridge::provider::called_off;
use crate::ical::recur;
use crate::ical::value::{Civil, DateTime, Duration, date_time, date_times, escape};
use crate::ical::zone::{Zone, Zones, vtimezone};
use crate::ical::{Component, Ical, fold};

const DAY: i64 = 86_400;
/// Cozi takes no more.
const REMINDERS: usize = 3;
/// A UID that is longer cannot travel in the notes.
const LONGEST_UID: usize = 120;

/// Why an event is not one draft.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Why {
    /// Its rule is beyond Cozi's; its instances are not.
    Apart(String),
    /// Nothing of it can be held.
    Refused(String),
}

/// An appointment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Draft {
    /// When it begins, on the wall clock; midnight if it takes whole days.
    pub(super) start: Civil,
    /// When it ends; whole days: the midnight after the last.
    pub(super) end: Civil,
    pub(super) all_day: bool,
    pub(super) subject: String,
    pub(super) location: String,
    pub(super) notes: String,
    /// Minutes before the start, sorted.
    pub(super) reminders: Vec<i64>,
    pub(super) rule: Option<Rule>,
    /// Days of the series that were left out, and those that are otherwise.
    pub(super) exceptions: BTreeMap<Civil, Option<Box<Draft>>>,
}

impl Draft {
    /// Reads an object. Times are read in the household's zone.
    pub(super) fn of(ical: &Ical, home: &Zone) -> Result<Draft, Why> {
        let calendar = ical.calendar().ok_or_else(|| refused("There is no calendar in it."))?;
        let zones = Zones::of(ical);
        let events: Vec<Component<'_>> = calendar.named("VEVENT").collect();
        let master = events.iter().find(|e| e.property("RECURRENCE-ID").is_none());
        let Some(master) = master else {
            return Err(refused(
                "Cozi holds events only, and no single instances of a series that is elsewhere.",
            ));
        };
        let uid = master.property("UID").map(|p| p.raw().trim().to_owned()).unwrap_or_default();
        if uid.len() > LONGEST_UID || uid.chars().any(|c| c.is_control() || matches!(c, '[' | ']')) {
            return Err(refused("Its UID is too long, or too odd, to be kept in Cozi's notes."));
        }
        let read = Reading { zones, home };
        let mut draft = read.component(*master)?;
        let rules: Vec<_> = master.all("RRULE").collect();
        let beyond = ["RDATE", "EXRULE"].iter().any(|name| master.property(name).is_some());
        if rules.len() > 1 || beyond {
            return Err(Why::Apart("Cozi knows one rule a series and no added dates.".into()));
        }
        if let Some(rule) = rules.first() {
            let parsed = recur::Rule::parse(&rule.raw())
                .map_err(|e| Why::Refused(format!("Its rule cannot be read: {e}.")))?;
            draft.rule = Some(Rule::from_ical(&rule.raw(), &parsed, &draft, home)?);
            for property in master.all("EXDATE") {
                for moment in date_times(&property).0 {
                    let day = read.civil(&moment.start).midnight();
                    draft.exceptions.insert(day, None);
                }
            }
        }
        for over in events.iter().filter(|e| e.property("RECURRENCE-ID").is_some()) {
            let Some(id) = over.property("RECURRENCE-ID") else { continue };
            if draft.rule.is_none() || id.parameter("RANGE").is_some() {
                return Err(Why::Apart("Cozi knows changes of single days of a series only.".into()));
            }
            let Some(at) = date_time(&id) else { continue };
            // In a series that is called off as a whole a changed day is called off like the others.
            let off = is_cancelled(*over) && !is_cancelled(*master);
            let changed = if off { None } else { Some(Box::new(read.component(*over)?)) };
            draft.exceptions.insert(read.civil(&at).midnight(), changed);
        }
        Ok(draft)
    }

    /// Writes the draft as an object of this UID.
    pub(super) fn text(&self, uid: &str, home: &Zone) -> Bytes {
        let mut out = String::with_capacity(1024);
        out.push_str("BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//Kalends//Cozi//EN\r\n");
        let timed = |draft: &Draft| !draft.all_day;
        let any = timed(self) || self.exceptions.values().flatten().any(|draft| timed(draft));
        if let (true, Some(name)) = (any, home.name()) {
            let from = home.to_instant(self.start);
            out.push_str(&vtimezone(name, from, from.saturating_add(20 * 366 * DAY)).unwrap_or_default());
        }
        self.component(uid, None, home, &mut out);
        for (day, changed) in &self.exceptions {
            if let Some(changed) = changed {
                changed.component(uid, Some((self, *day)), home, &mut out);
            }
        }
        out.push_str("END:VCALENDAR\r\n");
        out.into()
    }

    /// Returns the instance of the series on that day, as it is unless somebody changes it.
    pub(super) fn on(&self, day: Civil) -> Draft {
        let start = self.instance(day);
        let end = Civil(start.0 + self.end.0 - self.start.0);
        Draft { start, end, rule: None, exceptions: BTreeMap::new(), ..self.clone() }
    }

    /// Returns the days of the series that were otherwise before, or left out, and are ordinary ones now.
    pub(super) fn given_back(&self, before: &Draft) -> Vec<Civil> {
        let Some(rule) = &self.rule else { return Vec::new() };
        let days = before.exceptions.keys().filter(|day| !self.exceptions.contains_key(day));
        days.filter(|day| rule.yields(**day, self.start)).copied().collect()
    }

    /// The moment of the series' instance on that day.
    fn instance(&self, day: Civil) -> Civil {
        Civil(day.0 + self.start.0 - self.start.midnight().0)
    }

    fn component(&self, uid: &str, of: Option<(&Draft, Civil)>, home: &Zone, out: &mut String) {
        let mut line = |text: String| fold(&text, out);
        line("BEGIN:VEVENT".into());
        line(format!("UID:{uid}"));
        // Cozi does not tell when an item was written.
        line("DTSTAMP:19700101T000000Z".into());
        if let Some((series, day)) = of {
            line(time("RECURRENCE-ID", series.instance(day), series.all_day, home));
        }
        line(time("DTSTART", self.start, self.all_day, home));
        if self.end > self.start {
            line(time("DTEND", self.end, self.all_day, home));
        }
        if let Some(rule) = &self.rule {
            line(format!("RRULE:{}", rule.to_ical(self, home)));
        }
        for (day, _) in self.exceptions.iter().filter(|(_, changed)| changed.is_none()) {
            line(time("EXDATE", self.instance(*day), self.all_day, home));
        }
        let texts = [("SUMMARY", &self.subject), ("LOCATION", &self.location), ("DESCRIPTION", &self.notes)];
        for (name, text) in texts.iter().filter(|(_, text)| !text.is_empty()) {
            line(format!("{name}:{}", escape(text)));
        }
        for minutes in &self.reminders {
            line("BEGIN:VALARM".into());
            line("ACTION:DISPLAY".into());
            line("DESCRIPTION:Reminder".into());
            line(format!("TRIGGER:-PT{minutes}M"));
            line("END:VALARM".into());
        }
        line("END:VEVENT".into());
    }
}

fn refused(why: &str) -> Why {
    Why::Refused(why.into())
}

fn time(name: &str, at: Civil, date: bool, home: &Zone) -> String {
    let mut text = String::new();
    let _ = match (date, home.name()) {
        (true, _) => write!(text, "{name};VALUE=DATE:{}", at.to_date()),
        (false, Some(zone)) if *home != Zone::Utc => write!(text, "{name};TZID={zone}:{}", at.to_basic()),
        (false, _) => write!(text, "{name}:{}Z", at.to_basic()),
    };
    text
}

fn is_cancelled(component: Component<'_>) -> bool {
    component.property("STATUS").is_some_and(|p| p.raw().trim().eq_ignore_ascii_case("CANCELLED"))
}

struct Reading<'a> {
    zones: Zones<'a>,
    home: &'a Zone,
}

impl Reading<'_> {
    /// A time on the household's wall clock; dates and floating times are what they are.
    fn civil(&self, at: &DateTime) -> Civil {
        match at {
            DateTime::Date(civil) | DateTime::Floating(civil) => *civil,
            DateTime::Utc(civil) => self.home.to_civil(civil.0),
            DateTime::Zoned(civil, tzid) => match self.zones.zone(tzid) {
                Some(zone) => self.home.to_civil(zone.to_instant(*civil)),
                None => *civil,
            },
        }
    }

    fn component(&self, event: Component<'_>) -> Result<Draft, Why> {
        let start = event.property("DTSTART").and_then(|p| date_time(&p));
        let Some(at) = start else { return Err(refused("It has no start that Cozi could show.")) };
        let all_day = at.is_date();
        let begin = minute(self.civil(&at));
        let end = match event.property("DTEND").and_then(|p| date_time(&p)) {
            Some(end) => self.civil(&end),
            None => match event.property("DURATION").and_then(|p| Duration::parse(&p.raw())) {
                Some(length) => Civil(begin.0 + length.plain_seconds()),
                None if all_day => Civil(begin.0 + DAY),
                None => begin,
            },
        };
        let end = minute(end).max(begin);
        // Midnight to midnight is how Cozi says whole days.
        let whole = all_day || (begin == begin.midnight() && end == end.midnight() && end > begin);
        let end = if whole { Civil(end.midnight().0.max(begin.0 + DAY)) } else { end };
        let text = |name: &str| event.property(name).map(|p| p.text().trim().to_owned()).unwrap_or_default();
        let mut subject = text("SUMMARY");
        if is_cancelled(event) {
            subject = called_off(&subject);
        }
        Ok(Draft {
            start: begin,
            end,
            all_day: whole,
            subject,
            location: text("LOCATION"),
            notes: text("DESCRIPTION"),
            reminders: reminders(event),
            rule: None,
            exceptions: BTreeMap::new(),
        })
    }
}

fn minute(at: Civil) -> Civil {
    Civil(at.0 - at.0.rem_euclid(60))
}

/// Alarms relative to the start and before it; the others stay with us.
fn reminders(event: Component<'_>) -> Vec<i64> {
    let mut found: Vec<i64> = event
        .components()
        .filter(|c| c.name() == "VALARM")
        .filter_map(|alarm| {
            let trigger = alarm.property("TRIGGER")?;
            let related = trigger.parameter("RELATED").is_none_or(|r| r.eq_ignore_ascii_case("START"));
            let before = -Duration::parse(&trigger.raw())?.plain_seconds();
            (related && before >= 0).then_some(before / 60)
        })
        .collect();
    found.sort_unstable();
    found.dedup();
    found.truncate(REMINDERS);
    found
}

//! Our text → what of it Outlook can hold.
//!
//! Owns: which properties of ours mean what there. Does not own: what stands for a series that Outlook has no words for
//! (`fallback`).

use std::collections::{BTreeMap, BTreeSet};

use super::fallback;
use super::{Importance, Item, Sensitivity, ShowAs, Told, When, Whole};
use crate::bridge::outlook::recurrence::{Mapped, Recurrence, of_rule};
use crate::bridge::outlook::{body, zone};
use crate::bridge::provider::Window;
use crate::ical::series::Series;
use crate::ical::value::{Civil, DAY, DateTime, Duration, Moment, date_time, date_times};
use crate::ical::zone::{Zone, Zones, by_tzid};
use crate::ical::{Component, Ical};

/// How far a series without end is looked ahead when zones are compared.
const AHEAD: i64 = 20 * 366 * DAY;

/// What of an object Outlook can hold.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::bridge::outlook) enum Shape {
    Whole(Box<Whole>),
    /// Several objects, and why.
    Parts(Vec<(String, Whole)>, String),
    Refused(String),
}

/// An object as it is being read.
pub(super) struct Source<'a> {
    pub(super) ical: &'a Ical,
    pub(super) calendar: Component<'a>,
    pub(super) uid: String,
    zones: Zones<'a>,
    /// What times without a zone are in.
    pub(super) floating: Zone,
    /// The series is called off as a whole.
    called_off: bool,
    pub(super) window: Window,
}

/// Returns what of an object Outlook can hold.
pub(in crate::bridge::outlook) fn shape(ical: &Ical, window: Window) -> Shape {
    let Some(calendar) = ical.calendar() else { return refused("This is not a calendar object.") };
    let events: Vec<Component<'_>> = calendar.named("VEVENT").collect();
    let Some(first) = events.first() else {
        return refused("Outlook's calendars hold events only; tasks and journal entries stay here.");
    };
    let floating = calendar.property("X-WR-TIMEZONE").and_then(|name| by_tzid(&name.text()));
    let source = Source {
        ical,
        calendar,
        uid: first.property("UID").map(|uid| uid.text().trim().to_owned()).unwrap_or_default(),
        zones: Zones::of(ical),
        floating: floating.unwrap_or(Zone::Utc),
        called_off: events.iter().any(|e| e.property("RECURRENCE-ID").is_none() && is_cancelled(*e)),
        window,
    };
    if source.uid.is_empty() {
        return refused("The event has no UID.");
    }
    let (overrides, masters): (Vec<_>, Vec<_>) =
        events.into_iter().partition(|event| event.property("RECURRENCE-ID").is_some());
    let newest = |event: &Component<'_>| {
        event.property("SEQUENCE").and_then(|p| p.raw().trim().parse::<i64>().ok()).unwrap_or(0)
    };
    // Of two versions of the master, the newer counts; of equals, the first.
    match masters.into_iter().rev().max_by_key(newest) {
        Some(master) => source.shape(master, &overrides),
        None => fallback::expanded(&source, "it is only some instances of a series"),
    }
}

fn refused(why: &str) -> Shape {
    Shape::Refused(why.to_owned())
}

impl<'a> Source<'a> {
    fn shape(&self, master: Component<'a>, overrides: &[Component<'a>]) -> Shape {
        let all = |name: &str| master.all(name).collect::<Vec<_>>();
        let (rules, extras) = (all("RRULE"), all("RDATE"));
        let recurs = !rules.is_empty() || !extras.is_empty() || !overrides.is_empty();
        let Some(item) = self.item(master, recurs) else {
            return refused("The event has no start that can be read.");
        };
        if !recurs {
            let whole = self.whole(item, None);
            return Shape::Whole(Box::new(whole));
        }
        let series = Series::of(self.ical);
        if let Some(note) = series.note() {
            return Shape::Refused(format!(
                "Outlook is not told of a series that is not understood here: {note}."
            ));
        }
        let [rule] = &*rules else {
            let why = if rules.is_empty() { "it repeats on single dates" } else { "it has several rules" };
            return fallback::expanded(self, why);
        };
        if !all("EXRULE").is_empty() {
            return fallback::expanded(self, "it has a rule of exceptions");
        }
        let Some(item) = self.zoned(item) else {
            return fallback::expanded(self, "Windows has no time zone with these clock changes");
        };
        let start = item.start.civil();
        let mapped = of_rule(&rule.raw(), start, &item.start.zone, item.all_day);
        let ranged =
            |o: &Component<'_>| o.property("RECURRENCE-ID").is_some_and(|id| id.parameter("RANGE").is_some());
        if overrides.iter().any(ranged) {
            let halves = match &mapped {
                Mapped::One(one) if extras.is_empty() && one.first_from(start) == Some(start) => {
                    fallback::halves(self, &series, &item, one, master, overrides)
                }
                _ => None,
            };
            return halves.unwrap_or_else(|| fallback::expanded(self, "it was changed from one instance on"));
        }
        if let Mapped::One(recurrence) = &mapped
            && extras.is_empty()
            && recurrence.first_from(start) == Some(start)
        {
            let whole = self.with_instances(item.clone(), recurrence.clone(), master, overrides);
            let crossing = whole.as_ref().is_some_and(crosses);
            if let Some(whole) =
                whole.filter(|whole| !crossing && fallback::same_instances(self, &series, [whole]))
            {
                return Shape::Whole(Box::new(whole));
            }
        }
        fallback::split(self, &series, &item, mapped, master, overrides)
    }

    pub(super) fn whole(&self, item: Item, recurrence: Option<Recurrence>) -> Whole {
        Whole {
            uid: self.uid.clone(),
            master: Item { recurrence, ..item },
            exceptions: BTreeMap::new(),
            cancelled: BTreeSet::new(),
        }
    }

    /// Returns the series with the exceptions and cancellations that belong to its instances. Nothing: an exception
    /// belongs to none.
    pub(super) fn with_instances(
        &self,
        item: Item,
        recurrence: Recurrence,
        master: Component<'a>,
        overrides: &[Component<'a>],
    ) -> Option<Whole> {
        let mut whole = self.whole(item, Some(recurrence));
        whole.cancelled = self.excluded(&whole, master);
        for component in overrides {
            let id = date_time(&component.property("RECURRENCE-ID")?)?;
            let day = self.instance_day(&whole, &id)?;
            whole.cancelled.remove(&day);
            if self.is_off(*component) {
                whole.cancelled.insert(day);
            } else {
                whole.exceptions.insert(day, self.item(*component, false)?);
            }
        }
        Some(whole.settle())
    }

    /// EXDATEs that take away an instance, as days.
    fn excluded(&self, whole: &Whole, master: Component<'a>) -> BTreeSet<Civil> {
        let moments = master.all("EXDATE").flat_map(|property| date_times(&property).0);
        moments.filter_map(|Moment { start, .. }| self.instance_day(whole, &start)).collect()
    }

    /// Returns the day of the instance that a RECURRENCE-ID or EXDATE means. Nothing: there is none.
    pub(super) fn instance_day(&self, whole: &Whole, time: &DateTime) -> Option<Civil> {
        let master = &whole.master;
        let civil = if master.all_day || time.is_date() {
            time.civil()
        } else {
            master.start.zone.to_civil(self.when(time).at)
        };
        let day = civil.midnight();
        let meant = master.all_day || time.is_date() || whole.original(day) == civil;
        let recurrence = master.recurrence.as_ref()?;
        let start = master.start.civil();
        let there = recurrence.instances(start, Civil(day.0 + DAY - 1)).last()?.midnight() == day;
        (meant && there).then_some(day)
    }

    /// Returns the event with zones that Outlook has, if their clocks show the same for as long as the series goes on.
    pub(super) fn zoned(&self, item: Item) -> Option<Item> {
        if item.all_day {
            return Some(item);
        }
        let to = item.end.at + AHEAD;
        let held = |when: &When| zone::held(&when.zone, when.at, to).map(|zone| When { at: when.at, zone });
        let start = held(&item.start)?;
        // A series has one clock.
        let end = When { at: item.end.at, zone: start.zone.clone() };
        Some(Item { start, end, ..item })
    }

    /// True for an instance of a series that takes place without it.
    pub(super) fn is_off(&self, component: Component<'_>) -> bool {
        !self.called_off && component.property("RECURRENCE-ID").is_some() && is_cancelled(component)
    }

    /// Returns an instant and the zone that it is written in.
    pub(super) fn when(&self, time: &DateTime) -> When {
        let zone = match time {
            DateTime::Date(_) | DateTime::Utc(_) => Zone::Utc,
            DateTime::Floating(_) => self.floating.clone(),
            DateTime::Zoned(_, name) => self.zones.zone(name).unwrap_or_else(|| self.floating.clone()),
        };
        When { at: zone.to_instant(time.civil()), zone }
    }

    /// Reads a component. Nothing: it has no start. In a series the zone is kept as it is; it is replaced as a whole.
    pub(super) fn item(&self, component: Component<'a>, series: bool) -> Option<Item> {
        let start_read = date_time(&component.property("DTSTART")?)?;
        let all_day = start_read.is_date();
        let start = self.when(&start_read);
        let length = component.property("DURATION").and_then(|p| Duration::parse(&p.raw()));
        let end = match (component.property("DTEND").and_then(|p| date_time(&p)), length) {
            (Some(end), _) if all_day => When { at: end.civil().midnight().0, zone: Zone::Utc },
            (Some(end), _) => self.when(&end),
            (None, Some(length)) => {
                let days = Civil(start.civil().0 + length.days * DAY);
                When { at: start.zone.to_instant(days) + length.seconds, zone: start.zone.clone() }
            }
            (None, None) => start.clone(),
        };
        let least = if all_day { start.at + DAY } else { start.at };
        let end = When { at: if all_day { end.at.div_euclid(DAY) * DAY } else { end.at }.max(least), ..end };
        // Outlook gives times back in a zone that it has; of a lone event the instant is what counts.
        let known = |when: When| match zone::held(&when.zone, when.at, when.at) {
            _ if series => when,
            Some(zone) => When { at: when.at, zone },
            None => When { at: when.at, zone: Zone::Utc },
        };
        let (start, end) = (known(start), known(end));
        let text = |name: &str| component.property(name).map(|p| p.text()).unwrap_or_default();
        let mut categories: Vec<String> = component.all("CATEGORIES").flat_map(|p| list(&p.raw())).collect();
        categories.sort();
        categories.dedup();
        Some(Item {
            subject: line(&text("SUMMARY")),
            body: body::tidy(&text("DESCRIPTION")),
            location: line(&text("LOCATION")),
            geo: component.property("GEO").and_then(|p| geo(&p.raw())),
            reminder: reminder(component, &start),
            start,
            end,
            all_day,
            show_as: show_as(component),
            sensitivity: match text("CLASS").to_ascii_uppercase().as_str() {
                "PRIVATE" => Sensitivity::Private,
                "CONFIDENTIAL" => Sensitivity::Confidential,
                _ => Sensitivity::Normal,
            },
            importance: match text("PRIORITY").trim().parse() {
                Ok(1..=4) => Importance::High,
                Ok(6..=9) => Importance::Low,
                _ => Importance::Normal,
            },
            categories,
            recurrence: None,
            told: Told::default(),
        })
    }
}

fn line(text: &str) -> String {
    let text = text.replace("\r\n", "\n");
    text.chars().filter(|c| !c.is_control() || *c == '\n').collect::<String>().trim().to_owned()
}

/// RFC 5545 §3.8.1.2: commas part the categories, unless a backslash says that they belong to one.
fn list(raw: &str) -> Vec<String> {
    let mut all = vec![String::new()];
    let mut chars = raw.chars();
    while let Some(c) = chars.next() {
        match c {
            ',' => all.push(String::new()),
            c => {
                if let Some(last) = all.last_mut() {
                    last.push(c);
                    last.extend((c == '\\').then(|| chars.next()).flatten());
                }
            }
        }
    }
    let tidy = |text: &String| line(&crate::ical::value::unescape(text));
    all.iter().map(tidy).filter(|text| !text.is_empty()).collect()
}

fn geo(raw: &str) -> Option<(f64, f64)> {
    let (latitude, longitude) = raw.split_once(';')?;
    let (latitude, longitude) = (latitude.trim().parse().ok()?, longitude.trim().parse().ok()?);
    let within = |n: f64, most: f64| n.is_finite() && n.abs() <= most;
    (within(latitude, 90.0) && within(longitude, 180.0)).then_some((latitude, longitude))
}

fn is_cancelled(component: Component<'_>) -> bool {
    component.property("STATUS").is_some_and(|p| p.raw().trim().eq_ignore_ascii_case("CANCELLED"))
}

/// TRANSP and STATUS say what every client understands; the property of Outlook says more, where it does not disagree.
fn show_as(component: Component<'_>) -> ShowAs {
    let upper = |name: &str| component.property(name).map(|p| p.raw().trim().to_ascii_uppercase());
    let (transparent, status, busy) = (upper("TRANSP"), upper("STATUS"), upper("X-MICROSOFT-CDO-BUSYSTATUS"));
    let free = match transparent.as_deref() {
        Some(transparent) => transparent == "TRANSPARENT",
        None => busy.as_deref() == Some("FREE"),
    };
    match (status.as_deref(), busy.as_deref()) {
        (_, Some("WORKINGELSEWHERE")) => ShowAs::WorkingElsewhere,
        (Some("CANCELLED"), _) => ShowAs::Free,
        _ if free => ShowAs::Free,
        (_, Some("OOF")) => ShowAs::Oof,
        (Some("TENTATIVE"), _) | (None, Some("TENTATIVE")) => ShowAs::Tentative,
        _ => ShowAs::Busy,
    }
}

/// Outlook has one reminder, at or before the start: of several the last one before it.
fn reminder(component: Component<'_>, start: &When) -> Option<i64> {
    let minutes = |alarm: Component<'_>| -> Option<i64> {
        let action = alarm.property("ACTION").map(|p| p.raw().trim().to_ascii_uppercase());
        if !matches!(action.as_deref(), Some("DISPLAY" | "AUDIO")) {
            return None;
        }
        let trigger = alarm.property("TRIGGER")?;
        let of_end = trigger.parameter("RELATED").is_some_and(|r| r.eq_ignore_ascii_case("END"));
        let before = match (Duration::parse(&trigger.raw()), DateTime::parse(&trigger.raw(), None)) {
            (Some(_), _) if of_end => return None,
            (Some(length), _) => -length.plain_seconds(),
            (None, Some(DateTime::Utc(at))) => start.at - at.0,
            _ => return None,
        };
        // Four weeks of minutes; the service takes no more than that.
        (0..=40_320 * 60).contains(&before).then_some(before / 60)
    };
    component.named("VALARM").filter_map(minutes).min()
}

/// Outlook lets no instance come to lie on or beyond the day of its neighbours.
pub(super) fn crosses(whole: &Whole) -> bool {
    let Some(recurrence) = &whole.master.recurrence else { return false };
    let Some(last) = whole.exceptions.iter().map(|(day, item)| day.0.max(item.start.at)).max() else {
        return false;
    };
    let days = recurrence.instances(whole.master.start.civil(), Civil(last + 400 * DAY));
    let mut before: Option<Civil> = None;
    for civil in days {
        let day = civil.midnight();
        if whole.cancelled.contains(&day) {
            continue;
        }
        let now = match whole.exceptions.get(&day) {
            Some(item) => whole.master.start.zone.to_civil(item.start.at).midnight(),
            None => day,
        };
        if before.is_some_and(|before| now <= before) {
            return true;
        }
        before = Some(now);
    }
    false
}

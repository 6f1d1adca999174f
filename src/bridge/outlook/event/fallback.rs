//! What stands in Outlook for a series that it has no words for: several series, or its instances one by one.
//!
//! Whatever is put together here is compared with the series itself, instance by instance, before it is believed.

use super::parse::{Shape, Source, crosses};
use super::render::render;
use super::{Item, When, Whole};
use crate::bridge::outlook::recurrence::{End, Mapped, Recurrence};
use crate::ical::recur::Rule;
use crate::ical::series::{Instance, Series, TimeRange, Written};
use crate::ical::value::{Civil, DAY, DateTime, date_time, date_times};
use crate::ical::zone::Zone;
use crate::ical::{Component, Ical};

/// How many instances stand for a series at most.
const MOST: usize = 400;
/// How many instances are compared.
const COMPARED: usize = 150;
/// How far a window without an end reaches, in days.
const AHEAD: i64 = 366;
const BACK: i64 = 92;

/// Returns the instances within the window as single events.
pub(super) fn expanded(source: &Source<'_>, why: &str) -> Shape {
    let series = Series::of(source.ical);
    let from = source.window.from.unwrap_or(source.window.now - BACK * DAY);
    let to = source.window.to.unwrap_or(source.window.now + AHEAD * DAY);
    let places: Vec<Component<'_>> = source.calendar.components().collect();
    let found = series.instances(TimeRange::new(Some(from), Some(to)), &source.floating, MOST);
    if !found.complete {
        return Shape::Refused(format!(
            "Outlook cannot hold this series, since {why}, and it has too many instances to be copied one by one."
        ));
    }
    let single = |instance: &Instance| {
        let component = *places.get(instance.component)?;
        let item = source.item(component, false).filter(|_| !source.is_off(component))?;
        Some((key(instance), source.whole(at(&item, instance), None)))
    };
    let parts: Vec<(String, Whole)> = found.list.iter().filter_map(single).collect();
    Shape::Parts(parts, format!("Outlook has single events for the instances of this series, since {why}."))
}

fn key(instance: &Instance) -> String {
    match instance.recurrence_id {
        Some(Written::Date(civil)) => civil.to_date(),
        Some(Written::Floating(civil)) => civil.to_basic(),
        Some(Written::Utc(at)) => format!("{}Z", Civil(at).to_basic()),
        None => format!("{}Z", Civil(instance.start).to_basic()),
    }
}

fn at(item: &Item, instance: &Instance) -> Item {
    let (start, end) = match (instance.starts, instance.ends) {
        (Written::Date(start), Written::Date(end)) => (start.0, end.0.max(start.0 + DAY)),
        _ => (instance.start, instance.end),
    };
    Item {
        start: When { at: start, zone: item.start.zone.clone() },
        end: When { at: end, zone: item.end.zone.clone() },
        recurrence: None,
        ..item.clone()
    }
}

/// Returns up to four series and a few single events that together are the series; else its instances.
pub(super) fn split(
    source: &Source<'_>,
    series: &Series,
    item: &Item,
    mapped: Mapped,
    master: Component<'_>,
    overrides: &[Component<'_>],
) -> Shape {
    let (pieces, mut why) = match mapped {
        Mapped::None(why) => return expanded(source, &why),
        Mapped::One(one) => (vec![one], String::new()),
        Mapped::Several(several) => (several, "its rule names several days at once".to_owned()),
    };
    let start = item.start.civil();
    let alone = pieces.len() == 1;
    let rule = master.property("RRULE").and_then(|p| Rule::parse(&p.raw()).ok());
    let last = match (&rule, pieces.first().map(|p| p.end)) {
        (Some(rule), _) if rule.count.is_some() => match rule.counted(start).0 {
            Some(last) => End::On(last.midnight()),
            None => End::Never,
        },
        (Some(rule), _) => match rule.until {
            Some(until) if until.utc && !item.all_day => {
                End::On(item.start.zone.to_civil(until.civil.0).midnight())
            }
            Some(until) => End::On(until.civil.midnight()),
            None => End::Never,
        },
        (None, end) => end.unwrap_or(End::Never),
    };
    let mut parts: Vec<(String, Whole)> = Vec::new();
    let mut covered_first = false;
    for (number, piece) in pieces.into_iter().enumerate() {
        let Some(first) = piece.first_from(start) else { continue };
        covered_first |= first == start;
        let end = if alone && first == start { piece.end } else { last };
        if matches!(end, End::On(day) if day < first.midnight()) {
            continue;
        }
        let piece = Recurrence { end, ..piece };
        let mut whole = source.whole(item.starting(first), Some(piece));
        for property in master.all("EXDATE") {
            let days =
                date_times(&property).0.into_iter().filter_map(|m| source.instance_day(&whole, &m.start));
            let days: Vec<Civil> = days.collect();
            whole.cancelled.extend(days);
        }
        parts.push((format!("series-{}", number + 1), whole));
    }
    if !covered_first {
        why = "its first instance is not one that its rule names".to_owned();
    }
    // What belongs to no piece, or may not stay in it, is an event of its own.
    let placed = place_overrides(source, &mut parts, overrides);
    if let Some(crossing) = placed
        && why.is_empty()
    {
        why = crossing;
    }
    if why.is_empty() {
        why = "it has further dates beside its rule".to_owned();
    }
    single_out(source, series, item, &mut parts);
    for (_, whole) in &mut parts {
        *whole = std::mem::replace(whole, source.whole(item.clone(), None)).settle();
    }
    if parts.iter().any(|(_, whole)| crosses(whole))
        || !same_instances(source, series, parts.iter().map(|(_, w)| w))
    {
        return expanded(source, &why);
    }
    Shape::Parts(parts, format!("Outlook has several events for this series, since {why}."))
}

/// Returns two series for one that is another from an instance on (`RANGE=THISANDFUTURE`, RFC 5545 §3.2.13): what it
/// was before that instance, and what it is from there on. Nothing: two series of Outlook's cannot say the same.
pub(super) fn halves(
    source: &Source<'_>,
    series: &Series,
    item: &Item,
    recurrence: &Recurrence,
    master: Component<'_>,
    overrides: &[Component<'_>],
) -> Option<Shape> {
    let ranged =
        |c: &&Component<'_>| c.property("RECURRENCE-ID").is_some_and(|id| id.parameter("RANGE").is_some());
    let mut later = overrides.iter().filter(ranged);
    let (later, None) = (later.next()?, later.next()) else { return None };
    let start = item.start.civil();
    let civil_of = |time: &DateTime| match time.is_date() || item.all_day {
        true => time.civil().midnight(),
        false => item.start.zone.to_civil(source.when(time).at),
    };
    let from = civil_of(&date_time(&later.property("RECURRENCE-ID")?)?);
    let changed = source.zoned(source.item(*later, true)?)?;
    let shift = changed.start.civil().0 - from.0;
    let gone = recurrence.instances(start, Civil(from.0 - 1)).len();
    let moved = |day: Civil| Civil(day.0 + changed.start.civil().midnight().0 - from.midnight().0);
    let rest = match recurrence.end {
        End::Never => End::Never,
        End::On(day) => End::On(moved(day)),
        End::Count(count) => End::Count(count.checked_sub(u64::try_from(gone).ok()?).filter(|n| *n > 0)?),
    };
    let before = Recurrence { end: End::On(Civil(from.midnight().0 - DAY)), ..recurrence.clone() };
    let mut one = source.whole(item.clone(), Some(before));
    let mut other = source.whole(changed, Some(Recurrence { end: rest, ..recurrence.clone() }));
    let place = |at: Civil| match at < from {
        true => (true, at.midnight()),
        false => (false, Civil(at.0 + shift).midnight()),
    };
    for moment in master.all("EXDATE").flat_map(|property| date_times(&property).0) {
        let (first, day) = place(civil_of(&moment.start));
        if first { &mut one } else { &mut other }.cancelled.insert(day);
    }
    for component in overrides.iter().filter(|c| !ranged(c)) {
        let (first, day) = place(civil_of(&date_time(&component.property("RECURRENCE-ID")?)?));
        let whole = if first { &mut one } else { &mut other };
        whole.cancelled.remove(&day);
        if source.is_off(*component) {
            whole.cancelled.insert(day);
        } else {
            whole.exceptions.insert(day, source.item(*component, false)?);
        }
    }
    let wholes = [one.settle(), other.settle()];
    if wholes.iter().any(crosses) || !same_instances(source, series, &wholes) {
        return None;
    }
    let parts = wholes.into_iter().zip(1..).map(|(whole, n)| (format!("series-{n}"), whole)).collect();
    Some(Shape::Parts(
        parts,
        "Outlook has two events for this series, since it was changed from one instance on.".to_owned(),
    ))
}

/// Puts each edited instance into the piece that it belongs to. Returns why some could not stay there.
fn place_overrides(
    source: &Source<'_>,
    parts: &mut [(String, Whole)],
    overrides: &[Component<'_>],
) -> Option<String> {
    let mut why = None;
    for component in overrides {
        let id = component.property("RECURRENCE-ID").and_then(|p| date_time(&p));
        let (Some(id), Some(item)) = (id, source.item(*component, false)) else { continue };
        let found = parts.iter_mut().find_map(|(_, w)| source.instance_day(w, &id).map(|day| (w, day)));
        let Some((whole, day)) = found else { continue };
        whole.cancelled.remove(&day);
        if source.is_off(*component) {
            whole.cancelled.insert(day);
            continue;
        }
        whole.exceptions.insert(day, item);
        if crosses(whole) {
            whole.exceptions.remove(&day);
            whole.cancelled.insert(day);
            why = Some("an instance was moved past its neighbours".to_owned());
        }
    }
    why
}

/// Adds single events for the instances that no piece has: further dates, a first instance beside the rule, edited
/// instances that could not stay in their series.
fn single_out(source: &Source<'_>, series: &Series, item: &Item, parts: &mut Vec<(String, Whole)>) {
    let places: Vec<Component<'_>> = source.calendar.components().collect();
    let starts: Vec<i64> = parts.iter().flat_map(|(_, whole)| starts_of(whole)).collect();
    let all = series.instances(TimeRange::ALL, &source.floating, COMPARED);
    for instance in &all.list {
        let Some(component) = places.get(instance.component) else { continue };
        if starts.contains(&instance.start) || source.is_off(*component) {
            continue;
        }
        let Some(own) = source.item(*component, false) else { continue };
        let own = if component.property("RECURRENCE-ID").is_some() {
            own
        } else {
            Item { recurrence: None, ..item.clone() }
        };
        parts.push((key(instance), source.whole(at(&own, instance), None)));
    }
}

fn starts_of(whole: &Whole) -> Vec<i64> {
    match Ical::parse(render(whole)) {
        Ok(ical) => {
            let found = Series::of(&ical).instances(TimeRange::ALL, &Zone::Utc, COMPARED);
            found.list.iter().map(|instance| instance.start).collect()
        }
        Err(_) => Vec::new(),
    }
}

/// Tells whether the objects have the very instances of a series, as far as is looked: when they begin.
pub(super) fn same_instances<'w>(
    source: &Source<'_>,
    series: &Series,
    wholes: impl IntoIterator<Item = &'w Whole>,
) -> bool {
    let places: Vec<Component<'_>> = source.calendar.components().collect();
    let limit = COMPARED + places.len();
    let list = |series: &Series, floating: &Zone| series.instances(TimeRange::ALL, floating, limit).list;
    let all = list(series, &source.floating);
    // What is cancelled takes up no time; Outlook does not have it.
    let off = |instance: &&Instance| places.get(instance.component).is_some_and(|c| source.is_off(*c));
    let mut ours: Vec<i64> = all.iter().filter(|i| !off(i)).map(|i| i.start).collect();
    let mut theirs: Vec<i64> = Vec::new();
    for whole in wholes {
        let Ok(ical) = Ical::parse(render(whole)) else { return false };
        theirs.extend(list(&Series::of(&ical), &Zone::Utc).iter().map(|i| i.start));
    }
    ours.sort_unstable();
    theirs.sort_unstable();
    if all.len() < limit {
        return ours == theirs;
    }
    // Of endless series the lists were cut at different places.
    ours.iter().take(COMPARED / 2).eq(theirs.iter().take(COMPARED / 2))
}

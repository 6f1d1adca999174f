//! Carrying out what a document says: edits of the stored text, which change what is named and nothing else.
//!
//! Owns: which lines follow from which member, exceptions of a series, VTIMEZONEs of zones that come in, bookkeeping
//! (DTSTAMP, LAST-MODIFIED, SEQUENCE). Does not own: what may be said (`wish`), times (`when`).

use bytes::Bytes;

use super::super::problem::Problem;
use super::shown::{self, master, place};
use super::when::{Form, Said, Timing};
use super::wish::{Alert, Exception, Part, Wish};
use crate::ical::series::{Series, TimeRange, Written};
use crate::ical::value::{Civil, DateTime, date_time, escape};
use crate::ical::zone::{Zone, Zones, vtimezone};
use crate::ical::{Component, Edit, Ical, Property};

/// What an object of ours says of its maker.
const PRODID: &str = "-//Kalends//Kalends//EN";
/// Zones that come in are described for so long around the event.
const YEAR: i64 = 366 * 86_400;
/// Instances of one series that are looked at for one that is named: a year of seconds is no series.
const MOST: usize = 10_000;
/// What only the whole of a series says.
const OF_THE_WHOLE: [&str; 5] = ["RRULE", "RDATE", "EXDATE", "EXRULE", "RECURRENCE-ID"];

/// Returns the text of a new event.
pub(super) fn made(uid: &str, wish: &Wish, zone: Option<&str>, now: i64) -> Result<Bytes, Problem> {
    let timing = wish.part.times.settle(None, zone)?;
    let stamp = Form::Utc.line("DTSTAMP", Civil(now));
    let text = format!(
        "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:{PRODID}\r\nBEGIN:VEVENT\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"
    );
    let ical = Ical::parse(text).map_err(broken)?;
    let event = master(&ical).ok_or_else(lost)?;
    let created = Form::Utc.line("CREATED", Civil(now));
    let mut edit =
        ical.edit().insert(event, &format!("UID:{uid}")).insert(event, &stamp).insert(event, &created);
    edit = edit.insert(event, &timing.form.line("DTSTART", timing.start));
    edit = edit.insert(event, &end_line(&timing));
    let begun = with_zones(Ical::parse(edit.finish()).map_err(broken)?, now)?;
    let mut rest = wish.clone();
    rest.part.times = super::when::Times::default();
    changed(&begun, &rest, zone, now, false)
}

/// Returns the text of an event with what is said; the same bytes if that is what it says already.
pub(super) fn changed(
    ical: &Ical,
    wish: &Wish,
    zone: Option<&str>,
    now: i64,
    stamps: bool,
) -> Result<Bytes, Problem> {
    let event = master(ical).ok_or_else(|| Problem::invalid("", "The object is not an event."))?;
    let zones = Zones::of(ical);
    let before = Timing::of(event, zones);
    let mut edit = part(ical.edit(), event, &wish.part);
    let mut moved = None;
    if !wish.part.times.is_empty() {
        let after = wish.part.times.settle(before.as_ref(), zone)?;
        if before.as_ref().is_none_or(|before| !same(before, &after)) {
            edit = timed(edit, event, before.as_ref(), &after);
            moved = before.map(|before| (before, after));
        }
    }
    if let Some(lines) = &wish.recurrence {
        edit = recurring(edit, event, lines.as_deref().unwrap_or_default());
    }
    let mut bytes = edit.finish();
    if let Some((before, after)) = moved {
        bytes = exceptions_moved(parse(bytes)?, &before, &after)?;
    }
    if let Some(overrides) = &wish.overrides {
        bytes = overridden(bytes, overrides.as_deref())?;
    }
    if bytes == *ical.bytes() {
        return Ok(bytes);
    }
    let text = with_zones(parse(bytes)?, now)?;
    if let Some(note) = Series::of(&text).note() {
        return Err(Problem::invalid("recurrence", format!("It cannot be understood: {note}")));
    }
    if stamps { Ok(stamped(ical, &text, now)) } else { Ok(text.bytes().clone()) }
}

fn parse(bytes: Bytes) -> Result<Ical, Problem> {
    Ical::parse(bytes).map_err(broken)
}

pub(super) fn broken(problem: crate::ical::Problem) -> Problem {
    Problem::invalid("", format!("The event cannot be written: {}", problem.reason))
}

pub(super) fn lost() -> Problem {
    Problem::invalid("", "The object is not an event.")
}

/// The same times, however they are written.
fn same(one: &Timing, other: &Timing) -> bool {
    one.form == other.form
        && one.start == other.start
        && one.end_form.instant(one.end) == other.end_form.instant(other.end)
}

/// Puts a line in the place of all of that name, keeping the parameters of the first that still hold.
pub(super) fn set<'a>(edit: Edit<'a>, component: Component<'a>, name: &str, line: Option<&str>) -> Edit<'a> {
    let mut all = component.all(name);
    let first = all.next();
    let mut edit = match (first, line) {
        (Some(first), Some(line)) => edit.replace(first, line),
        (Some(first), None) => edit.remove(first),
        (None, Some(line)) => edit.insert(component, line),
        (None, None) => edit,
    };
    for more in all {
        edit = edit.remove(more);
    }
    edit
}

/// Writes a text if it differs. The language stays said; an alternative form of the old text does not.
fn text<'a>(edit: Edit<'a>, component: Component<'a>, name: &str, said: &Option<Option<String>>) -> Edit<'a> {
    let Some(said) = said else { return edit };
    let before = component.property(name);
    if before.as_ref().map(Property::text).filter(|text| !text.is_empty()) == *said {
        return edit;
    }
    let language = before.and_then(|p| p.parameter("LANGUAGE")).filter(|_| said.is_some());
    let language =
        language.map(|l| format!(";LANGUAGE={}", crate::ical::quote_parameter(&l))).unwrap_or_default();
    let line = said.as_ref().map(|text| format!("{name}{language}:{}", escape(&plain(text))));
    set(edit, component, name, line.as_deref())
}

/// RFC 5545 §3.3.11: a line break is one character.
fn plain(text: &str) -> String {
    text.replace("\r\n", "\n").replace('\r', "\n")
}

/// Writes a word if it differs from what is meant already; `usual` needs no line.
fn word<'a>(
    edit: Edit<'a>,
    component: Component<'a>,
    name: &str,
    said: &Option<Option<String>>,
    (now, usual): (&str, &str),
    written: impl Fn(&str) -> &'static str,
) -> Edit<'a> {
    let Some(said) = said else { return edit };
    let wanted = said.as_deref().unwrap_or(usual);
    if wanted == now {
        return edit;
    }
    let line = (wanted != usual || component.property(name).is_some())
        .then(|| format!("{name}:{}", written(wanted)))
        .filter(|_| said.is_some());
    set(edit, component, name, line.as_deref())
}

/// Writes all that is said of a component but its times.
fn part<'a>(mut edit: Edit<'a>, component: Component<'a>, part: &Part) -> Edit<'a> {
    let now = shown::component(component, Zones::of(component.ical()));
    let told = |name: &str| now.get(name).and_then(serde_json::Value::as_str).unwrap_or_default().to_owned();
    edit = text(edit, component, "SUMMARY", &part.title);
    edit = text(edit, component, "LOCATION", &part.location);
    edit = text(edit, component, "COLOR", &part.color);
    if part
        .description
        .as_ref()
        .is_some_and(|said| *said != component.property("DESCRIPTION").map(|p| p.text()))
    {
        // The same words as HTML are those of before.
        for old in component.all("X-ALT-DESC") {
            edit = edit.remove(old);
        }
    }
    edit = text(edit, component, "DESCRIPTION", &part.description);
    if let Some(said) = &part.url
        && component.property("URL").map(|p| p.raw().into_owned()) != *said
    {
        let line = said.as_ref().map(|url| format!("URL:{url}"));
        edit = set(edit, component, "URL", line.as_deref());
    }
    let status = |word: &str| match word {
        "tentative" => "TENTATIVE",
        "cancelled" => "CANCELLED",
        _ => "CONFIRMED",
    };
    edit = word(edit, component, "STATUS", &part.status, (&told("status"), "confirmed"), status);
    let transp = |word: &str| if word == "free" { "TRANSPARENT" } else { "OPAQUE" };
    edit = word(edit, component, "TRANSP", &part.free_busy, (&told("free_busy"), "busy"), transp);
    let class = |word: &str| match word {
        "private" => "PRIVATE",
        "confidential" => "CONFIDENTIAL",
        _ => "PUBLIC",
    };
    edit = word(edit, component, "CLASS", &part.privacy, (&told("privacy"), "public"), class);
    if let Some(said) = &part.categories {
        let said = said.clone().unwrap_or_default();
        if now.get("categories") != Some(&serde_json::json!(said)) {
            let all: Vec<String> = said.iter().map(|c| escape(c)).collect();
            let line = (!all.is_empty()).then(|| format!("CATEGORIES:{}", all.join(",")));
            edit = set(edit, component, "CATEGORIES", line.as_deref());
        }
    }
    if let Some(said) = &part.alerts {
        edit = alerts(edit, component, said.as_deref().unwrap_or_default());
    }
    edit
}

/// Reminders that are said as they are stay as they are, with all that clients noted in them.
fn alerts<'a>(mut edit: Edit<'a>, component: Component<'a>, said: &[Alert]) -> Edit<'a> {
    let mut wanted: Vec<&Alert> = said.iter().collect();
    for old in component.named("VALARM") {
        let shown = shown::alert(old);
        let told = |name: &str| shown.get(name).and_then(serde_json::Value::as_str);
        let trigger = told("trigger").unwrap_or_default();
        let at = match Said::read(trigger) {
            Some(Said::Instant(instant)) => format!("{}Z", Civil(instant).to_basic()),
            _ => trigger.to_ascii_uppercase(),
        };
        let is = |alert: &&Alert| {
            at == alert.trigger
                && told("action") == Some(&*alert.action)
                && (told("related") == Some("end")) == alert.at_end
                && (alert.description.is_none() || told("description") == alert.description.as_deref())
        };
        match wanted.iter().position(is) {
            Some(at) => {
                wanted.remove(at);
            }
            None => edit = edit.remove_component(old),
        }
    }
    for alert in wanted {
        edit = edit.append_component(component, &alarm(alert));
    }
    edit
}

fn alarm(alert: &Alert) -> String {
    let trigger = match (alert.trigger.ends_with('Z') && !alert.trigger.contains('P'), alert.at_end) {
        (true, _) => format!("TRIGGER;VALUE=DATE-TIME:{}", alert.trigger),
        (false, true) => format!("TRIGGER;RELATED=END:{}", alert.trigger),
        (false, false) => format!("TRIGGER:{}", alert.trigger),
    };
    // RFC 5545 §3.6.6: what is shown needs words.
    let words = alert.description.as_deref().unwrap_or("Reminder");
    let mut text = String::from("BEGIN:VALARM\r\n");
    for line in [
        format!("ACTION:{}", alert.action.to_ascii_uppercase()),
        trigger,
        format!("DESCRIPTION:{}", escape(&plain(words))),
    ] {
        crate::ical::fold(&line, &mut text);
    }
    text.push_str("END:VALARM\r\n");
    text
}

fn end_line(timing: &Timing) -> String {
    match &timing.duration {
        Some(duration) => format!("DURATION:{duration}"),
        None => timing.end_form.line("DTEND", timing.end),
    }
}

/// Writes the times of a component.
fn timed<'a>(edit: Edit<'a>, component: Component<'a>, before: Option<&Timing>, after: &Timing) -> Edit<'a> {
    let mut edit = edit;
    if before.is_none_or(|before| (&before.form, before.start) != (&after.form, after.start)) {
        edit = set(edit, component, "DTSTART", Some(&after.form.line("DTSTART", after.start)));
    }
    let (kept, gone) = if after.duration.is_some() { ("DURATION", "DTEND") } else { ("DTEND", "DURATION") };
    edit = set(edit, component, gone, None);
    set(edit, component, kept, Some(&end_line(after)))
}

fn recurring<'a>(edit: Edit<'a>, component: Component<'a>, lines: &[String]) -> Edit<'a> {
    let now: Vec<Property<'a>> = ["RRULE", "RDATE"].iter().flat_map(|name| component.all(name)).collect();
    let mut wanted: Vec<&String> = lines.iter().collect();
    let mut edit = edit;
    for old in now {
        match wanted.iter().position(|line| **line == old.logical()) {
            Some(at) => {
                wanted.remove(at);
            }
            None => edit = edit.remove(old),
        }
    }
    for line in wanted {
        edit = edit.insert(component, line);
    }
    edit
}

/// A series that begins at another time has its exceptions there too.
fn exceptions_moved(ical: Ical, before: &Timing, after: &Timing) -> Result<Bytes, Problem> {
    let event = master(&ical).ok_or_else(lost)?;
    let zones = Zones::of(&ical);
    let calendar = ical.calendar().ok_or_else(lost)?;
    let others: Vec<Component<'_>> =
        calendar.named("VEVENT").filter(|c| c.property("RECURRENCE-ID").is_some()).collect();
    let days: Vec<Property<'_>> = event.all("EXDATE").collect();
    if others.is_empty() && days.is_empty() {
        return Ok(ical.bytes().clone());
    }
    if (before.form == Form::Date) != (after.form == Form::Date) {
        let why = "A series with exceptions cannot change between whole days and times; remove the exceptions first.";
        return Err(Problem::invalid("all_day", why));
    }
    // What stays the same moment on another clock moves with the clock, what is moved moves as far as the start.
    let there = |civil: Civil| match (&before.form, &after.form) {
        (old, new) if old.instant(before.start) == new.instant(after.start) => new.civil(old.instant(civil)),
        _ => Civil(civil.0 + (after.start.0 - before.start.0)),
    };
    let mut edit = ical.edit();
    for day in &days {
        let moments = crate::ical::value::date_times(day).0;
        let lines: Vec<String> = moments
            .iter()
            .map(|moment| after.form.line("EXDATE", there(place(&before.form, &moment.start, zones))))
            .collect();
        edit = edit.remove(*day);
        for line in lines {
            edit = edit.insert(event, &line);
        }
    }
    for other in others {
        let Some(id) = other.property("RECURRENCE-ID") else { continue };
        let Some(time) = date_time(&id) else { continue };
        let civil = there(place(&before.form, &time, zones));
        let range = id.parameter("RANGE").map(|range| format!(";RANGE={range}")).unwrap_or_default();
        let line = after.form.line(&format!("RECURRENCE-ID{range}"), civil);
        edit = edit.replace(id, &line);
    }
    Ok(edit.finish())
}

/// Writes the exceptions of a series; nothing: all of them are taken away first.
fn overridden(bytes: Bytes, said: Option<&[(String, Exception)]>) -> Result<Bytes, Problem> {
    let ical = parse(bytes)?;
    let timing = master(&ical).and_then(|event| Timing::of(event, Zones::of(&ical))).ok_or_else(lost)?;
    let said = said.unwrap_or_default();
    let mut bytes = ical.bytes().clone();
    for (key, exception) in said {
        let ical = parse(bytes)?;
        bytes = excepted(&ical, &timing, key, exception)?;
    }
    Ok(bytes)
}

/// Returns the exceptions that a document which is the whole event takes away by not naming them.
pub(super) fn unnamed(ical: &Ical, said: &[(String, Exception)]) -> Vec<(String, Exception)> {
    let now = shown::event(ical).and_then(|fields| fields.get("overrides").cloned());
    let now = now.and_then(|now| now.as_object().cloned()).unwrap_or_default();
    let gone = now.into_iter().map(|(key, _)| key).filter(|key| !said.iter().any(|(named, _)| named == key));
    gone.map(|key| (key, Exception::Usual)).collect()
}

fn excepted(ical: &Ical, timing: &Timing, key: &str, exception: &Exception) -> Result<Bytes, Problem> {
    let path = format!("overrides.{key}");
    let event = master(ical).ok_or_else(lost)?;
    let zones = Zones::of(ical);
    let civil = Said::read(key).and_then(|said| said.civil(&timing.form)).ok_or_else(|| {
        let why = format!(
            "An instance is named by its time on the series' own clock, like {}.",
            timing.form.key(timing.start)
        );
        Problem::invalid(&path, why)
    })?;
    let calendar = ical.calendar().ok_or_else(lost)?;
    let named = |time: Option<DateTime>| time.is_some_and(|time| place(&timing.form, &time, zones) == civil);
    let own =
        calendar.named("VEVENT").find(|c| named(c.property("RECURRENCE-ID").and_then(|id| date_time(&id))));
    let left_out = event
        .all("EXDATE")
        .any(|p| crate::ical::value::date_times(&p).0.into_iter().any(|moment| named(Some(moment.start))));
    if own.is_none() && !left_out && !is_instance(ical, timing, civil) {
        return Err(Problem::invalid(&path, "The series has no instance at that time."));
    }
    let mut edit = ical.edit();
    match exception {
        Exception::Usual | Exception::Excluded => {
            if let Some(own) = own {
                edit = edit.remove_component(own);
            }
            let excluded = matches!(exception, Exception::Excluded);
            if left_out && !excluded {
                edit = back_in(edit, event, timing, civil, zones);
            }
            if excluded && !left_out {
                edit = edit.insert(event, &timing.form.line("EXDATE", civil));
            }
            Ok(edit.finish())
        }
        Exception::Own(wish) => {
            if left_out {
                edit = back_in(edit, event, timing, civil, zones);
            }
            if own.is_none() {
                edit = edit.append_component(calendar, &instance(event, timing, civil)?);
            }
            let ready = parse(edit.finish())?;
            let zones = Zones::of(&ready);
            let calendar = ready.calendar().ok_or_else(lost)?;
            let named =
                |time: Option<DateTime>| time.is_some_and(|time| place(&timing.form, &time, zones) == civil);
            let own = calendar
                .named("VEVENT")
                .find(|c| named(c.property("RECURRENCE-ID").and_then(|id| date_time(&id))))
                .ok_or_else(lost)?;
            let mut edit = part(ready.edit(), own, wish);
            if !wish.times.is_empty() {
                let before = Timing::of(own, zones);
                let after =
                    wish.times.settle(before.as_ref(), None).map_err(|problem| problem.below(&path))?;
                if before.as_ref().is_none_or(|before| !same(before, &after)) {
                    edit = timed(edit, own, before.as_ref(), &after);
                }
            }
            Ok(edit.finish())
        }
    }
}

/// Tells whether the rule of the series makes an instance at that time.
pub(super) fn is_instance(ical: &Ical, timing: &Timing, civil: Civil) -> bool {
    const NEAR: i64 = 2 * 86_400;
    let at = timing.form.instant(civil);
    // Instances that were moved are found by what they are called, and those are looked up before.
    let length = timing.length().max(0);
    let range = TimeRange::new(Some(at - NEAR), Some(at + NEAR + length));
    let found = Series::of(ical).instances(range, &Zone::Utc, MOST);
    found.list.iter().any(|instance| match instance.recurrence_id {
        Some(Written::Date(day) | Written::Floating(day)) => day == civil,
        Some(Written::Utc(instant)) => instant == at,
        None => false,
    })
}

/// Takes one instance out of those that are left out.
fn back_in<'a>(
    mut edit: Edit<'a>,
    event: Component<'a>,
    timing: &Timing,
    civil: Civil,
    zones: Zones<'_>,
) -> Edit<'a> {
    for property in event.all("EXDATE") {
        let moments = crate::ical::value::date_times(&property).0;
        let stays = |moment: &&crate::ical::value::Moment| place(&timing.form, &moment.start, zones) != civil;
        let kept: Vec<_> = moments.iter().filter(stays).collect();
        if kept.len() == moments.len() {
            continue;
        }
        edit = edit.remove(property);
        for moment in kept {
            edit = edit.insert(event, &timing.form.line("EXDATE", place(&timing.form, &moment.start, zones)));
        }
    }
    edit
}

/// Returns the component of one instance, as the rule makes it.
fn instance(event: Component<'_>, timing: &Timing, civil: Civil) -> Result<String, Problem> {
    let text =
        String::from_utf8_lossy(event.ical().bytes().get(event.span()).unwrap_or_default()).into_owned();
    let alone = Ical::parse(format!("BEGIN:VCALENDAR\r\n{text}END:VCALENDAR\r\n")).map_err(broken)?;
    let own = alone.calendar().and_then(|c| c.named("VEVENT").next()).ok_or_else(lost)?;
    let mut edit = alone.edit();
    for name in OF_THE_WHOLE {
        for property in own.all(name) {
            edit = edit.remove(property);
        }
    }
    let usual = timing.beginning(civil);
    edit = set(edit, own, "DTSTART", Some(&usual.form.line("DTSTART", usual.start)));
    if own.property("DTEND").is_some() {
        edit = set(edit, own, "DTEND", Some(&usual.end_form.line("DTEND", usual.end)));
    }
    edit = edit.insert(own, &timing.form.line("RECURRENCE-ID", civil));
    let done = Ical::parse(edit.finish()).map_err(broken)?;
    let own = done.calendar().and_then(|c| c.named("VEVENT").next()).ok_or_else(lost)?;
    Ok(String::from_utf8_lossy(done.bytes().get(own.span()).unwrap_or_default()).into_owned())
}

/// RFC 5545 §3.2.19: a TZID needs its VTIMEZONE. Those of zones that came in are added.
fn with_zones(ical: Ical, now: i64) -> Result<Ical, Problem> {
    let Some(calendar) = ical.calendar() else { return Ok(ical) };
    let mut missing: Vec<String> = Vec::new();
    let described = |tzid: &str| {
        calendar.named("VTIMEZONE").any(|z| z.property("TZID").is_some_and(|p| p.raw().trim() == tzid))
    };
    for event in calendar.named("VEVENT") {
        for property in event.properties() {
            let Some(tzid) = property.parameter("TZID") else { continue };
            if !described(&tzid) && !missing.contains(&tzid) {
                missing.push(tzid);
            }
        }
    }
    if missing.is_empty() {
        return Ok(ical);
    }
    let extent = Series::of(&ical).span();
    let from = extent.map_or(now, |extent| extent.start) - YEAR;
    let to = extent.and_then(|extent| extent.end).unwrap_or(now + 20 * YEAR).max(now) + YEAR;
    let mut edit = ical.edit();
    for tzid in missing {
        if let Some(text) = vtimezone(&tzid, from, to) {
            edit = edit.prepend_component(calendar, &text);
        }
    }
    let bytes = edit.finish();
    Ical::parse(bytes).map_err(broken)
}

/// Notes when it was changed, and if its times or its state changed, a further revision (RFC 5546 §2.1.4).
pub(super) fn stamped(before: &Ical, after: &Ical, now: i64) -> Bytes {
    let Some(calendar) = after.calendar() else { return after.bytes().clone() };
    let significant = |ical: &Ical| -> Vec<String> {
        let all =
            ical.calendar().into_iter().flat_map(|calendar| calendar.named("VEVENT").collect::<Vec<_>>());
        let names = ["DTSTART", "DTEND", "DURATION", "RRULE", "RDATE", "EXDATE", "STATUS", "RECURRENCE-ID"];
        let mut lines: Vec<String> = all
            .flat_map(|c| {
                names.iter().flat_map(move |name| c.all(name).map(|p| p.logical()).collect::<Vec<_>>())
            })
            .collect();
        lines.sort();
        lines
    };
    let revised = significant(before) != significant(after);
    let unchanged: Vec<String> = before
        .calendar()
        .into_iter()
        .flat_map(|calendar| calendar.named("VEVENT").map(written).collect::<Vec<_>>())
        .collect();
    let mut edit = after.edit();
    for event in calendar.named("VEVENT") {
        if unchanged.contains(&written(event)) {
            continue;
        }
        edit = set(edit, event, "DTSTAMP", Some(&Form::Utc.line("DTSTAMP", Civil(now))));
        if event.property("LAST-MODIFIED").is_some() || event.property("CREATED").is_some() {
            edit = set(edit, event, "LAST-MODIFIED", Some(&Form::Utc.line("LAST-MODIFIED", Civil(now))));
        }
        if revised {
            let sequence =
                event.property("SEQUENCE").and_then(|p| p.raw().trim().parse::<u32>().ok()).unwrap_or(0);
            edit = set(edit, event, "SEQUENCE", Some(&format!("SEQUENCE:{}", sequence.saturating_add(1))));
        }
    }
    edit.finish()
}

fn written(component: Component<'_>) -> String {
    String::from_utf8_lossy(component.ical().bytes().get(component.span()).unwrap_or_default()).into_owned()
}

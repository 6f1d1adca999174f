//! What a report returns of an object instead of all its bytes (RFC 4791 §9.6).
//!
//! Owns: expand, limit-recurrence-set, limit-freebusy-set, partial retrieval. Lines that need no change are copied as
//! they are, folding and private properties included.
//! Does not own: which instances there are (`series`).

use std::borrow::Cow;
use std::ops::Range;

use super::busy::utc_text;
use super::line::{fold, fold_length, quote_parameter};
use super::series::{Kind, Series, TimeRange, Written};
use super::tree::{Component, Ical, Property};
use super::value::{self, DateTime, Duration, PeriodEnd};
use super::zone::{Zone, Zones};

mod select;

#[cfg(test)]
mod tests;

pub use select::{Selection, Wanted, select};

/// An expanded object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expanded {
    /// Its text; without any component if no instance overlaps the range.
    pub text: String,
    /// How many instances it holds.
    pub instances: usize,
    /// False if there were more than the limit: the text lacks them.
    pub complete: bool,
}

/// RFC 4791 §9.6.5, `CALDAV:expand`: one component for each instance that overlaps the range, with times in UTC
/// (dates and floating times stay what they are), with RECURRENCE-ID if the object recurs, without RRULE, RDATE,
/// EXRULE, EXDATE and VTIMEZONE.
pub fn expand(ical: &Ical, series: &Series, range: TimeRange, floating: &Zone, limit: usize) -> Expanded {
    let Some(calendar) = ical.calendar() else {
        return Expanded { text: utf8(ical.bytes()).into_owned(), instances: 0, complete: true };
    };
    let found = series.instances(range, floating, limit);
    let mut writer =
        Writer { ical, zones: Zones::of(ical), out: String::with_capacity(ical.bytes().len() + 64) };
    writer.out.push_str("BEGIN:VCALENDAR\r\n");
    for property in calendar.properties() {
        writer.copy(property);
    }
    let places: Vec<Component<'_>> = calendar.components().collect();
    for instance in &found.list {
        let Some(component) = places.get(instance.component) else { continue };
        let length = instance.end - instance.start;
        writer.instance(*component, instance.recurrence_id, instance.starts, instance.ends, length);
    }
    for (place, component) in places.iter().enumerate() {
        // Undated to-dos and VFREEBUSYs have no instances; what we do not know is left as it is.
        let alone = match component.name() {
            "VTIMEZONE" => false,
            "VEVENT" | "VJOURNAL" => false,
            "VTODO" => series.undated(place) && series.component_overlaps(place, range, floating),
            "VFREEBUSY" => series.kind() == Kind::FreeBusy && series.overlaps(range, floating),
            _ => true,
        };
        if alone {
            writer.component(*component);
        }
    }
    writer.out.push_str("END:VCALENDAR\r\n");
    Expanded { text: writer.out, instances: found.list.len(), complete: found.complete }
}

struct Writer<'a> {
    ical: &'a Ical,
    zones: Zones<'a>,
    out: String,
}

impl Writer<'_> {
    fn instance(
        &mut self,
        component: Component<'_>,
        id: Option<Written>,
        starts: Written,
        ends: Written,
        length: i64,
    ) {
        self.edge("BEGIN", component);
        let dated = component.property("DTSTART").is_some();
        let mut id = id;
        let mut ended = false;
        for property in component.properties() {
            match property.name() {
                "RRULE" | "RDATE" | "EXRULE" | "EXDATE" | "RECURRENCE-ID" => {}
                "DTSTART" => {
                    self.time("DTSTART", Some(&property), starts);
                    if let Some(id) = id.take() {
                        self.time("RECURRENCE-ID", None, id);
                    }
                }
                "DTEND" if component.name() != "VTODO" => {
                    self.time("DTEND", Some(&property), ends);
                    ended = true;
                }
                "DUE" => {
                    self.time("DUE", Some(&property), if dated { ends } else { starts });
                    ended = true;
                }
                // A nominal day is not always 24 hours; in UTC it would be.
                "DURATION" => {
                    let plain = Duration::parse(&property.raw()).map(Duration::plain_seconds);
                    if plain == Some(length) {
                        self.copy(property);
                        ended = true;
                    }
                }
                _ => self.property(property),
            }
        }
        if let Some(id) = id {
            self.time("RECURRENCE-ID", None, id);
        }
        // An RDATE with a PERIOD has an end of its own.
        let unsaid = if matches!(starts, Written::Date(_)) { 86_400 } else { 0 };
        if !ended && component.name() == "VEVENT" && length != unsaid {
            self.time("DTEND", None, ends);
        }
        if !ended && component.name() == "VTODO" && dated && length != 0 {
            self.time("DUE", None, ends);
        }
        for child in component.components() {
            self.component(child);
        }
        self.edge("END", component);
    }

    fn component(&mut self, component: Component<'_>) {
        self.edge("BEGIN", component);
        for property in component.properties() {
            self.property(property);
        }
        for child in component.components() {
            self.component(child);
        }
        self.edge("END", component);
    }

    fn edge(&mut self, word: &str, component: Component<'_>) {
        self.out.push_str(word);
        self.out.push(':');
        self.out.push_str(component.name());
        self.out.push_str("\r\n");
    }

    /// Copies a property; a time with TZID is turned into UTC, since no VTIMEZONE goes along.
    fn property(&mut self, property: Property<'_>) {
        let time = match property.parameter("TZID") {
            Some(_) => value::date_time(&property),
            None => None,
        };
        match time {
            Some(DateTime::Zoned(civil, tzid)) => match self.zones.zone(&tzid) {
                Some(zone) => {
                    self.time(property.name(), Some(&property), Written::Utc(zone.to_instant(civil)))
                }
                None => self.time(property.name(), Some(&property), Written::Floating(civil)),
            },
            _ => self.copy(property),
        }
    }

    fn copy(&mut self, property: Property<'_>) {
        copy_line(self.ical, property, &mut self.out);
    }

    /// Writes a time under a name, with the private parameters of the property that it replaces.
    fn time(&mut self, name: &str, was: Option<&Property<'_>>, time: Written) {
        let mut line = String::with_capacity(40);
        line.push_str(name);
        let parameters = was.map_or_else(Vec::new, Property::parameters);
        for (name, values) in parameters.iter().filter(|(name, _)| !matches!(name.as_str(), "TZID" | "VALUE"))
        {
            line.push(';');
            line.push_str(name);
            line.push('=');
            let quoted: Vec<_> = values.iter().map(|value| quote_parameter(value)).collect();
            line.push_str(&quoted.join(","));
        }
        match time {
            Written::Date(civil) => {
                line.push_str(";VALUE=DATE:");
                line.push_str(&civil.to_date());
            }
            Written::Floating(civil) => {
                line.push(':');
                line.push_str(&civil.to_basic());
            }
            Written::Utc(instant) => {
                line.push(':');
                line.push_str(&utc_text(instant));
            }
        }
        fold(&line, &mut self.out);
    }
}

/// Copies the physical lines of a property, or writes it anew if they are not text by themselves (a fold may stand
/// within a character) or do not end in CRLF.
fn copy_line(ical: &Ical, property: Property<'_>, out: &mut String) {
    match slice(ical, property.span()) {
        Some(text) if text.ends_with("\r\n") => out.push_str(text),
        _ => fold(&property.logical(), out),
    }
}

fn slice(ical: &Ical, span: Range<usize>) -> Option<&str> {
    ical.bytes().get(span).and_then(|bytes| std::str::from_utf8(bytes).ok())
}

/// RFC 4791 §9.6.6, `CALDAV:limit-recurrence-set`: the master and those overrides that have to do with the range: they
/// take place in it, or would without being overridden, or change later instances that do.
pub fn limit_recurrence_set(ical: &Ical, series: &Series, range: TimeRange, floating: &Zone) -> String {
    let Some(calendar) = ical.calendar() else { return utf8(ical.bytes()).into_owned() };
    let keep = series.concerned(range, floating);
    let mut edit = ical.edit();
    for (place, component) in calendar.components().enumerate() {
        if component.property("RECURRENCE-ID").is_some() && !keep.contains(&place) {
            edit = edit.remove_component(component);
        }
    }
    utf8(&edit.finish()).into_owned()
}

/// RFC 4791 §9.6.7, `CALDAV:limit-freebusy-set`: of each FREEBUSY property the periods that overlap the range.
pub fn limit_freebusy_set(ical: &Ical, range: TimeRange, floating: &Zone) -> String {
    let zones = Zones::of(ical);
    let mut edit = ical.edit();
    let components = ical.calendar().into_iter().flat_map(|calendar| calendar.components());
    for component in components.filter(|component| component.name() == "VFREEBUSY") {
        for property in component.all("FREEBUSY") {
            let raw = property.raw();
            let all = raw.split(',').count();
            let kept: Vec<&str> = raw
                .split(',')
                .filter(|period| overlaps(period, &property, range, &zones, floating))
                .collect();
            if kept.is_empty() {
                edit = edit.remove(property);
            } else if kept.len() < all {
                let line = property.logical();
                let head = line.len().saturating_sub(raw.len());
                edit = edit.replace(
                    property,
                    &format!("{}{}", line.get(..head).unwrap_or_default(), kept.join(",")),
                );
            }
        }
    }
    utf8(&edit.finish()).into_owned()
}

/// A period that cannot be read is kept.
fn overlaps(
    period: &str,
    property: &Property<'_>,
    range: TimeRange,
    zones: &Zones<'_>,
    floating: &Zone,
) -> bool {
    let tzid = property.parameter("TZID");
    let read = |text: &str| DateTime::parse(text, tzid.as_deref());
    let instant = |time: DateTime| match &time {
        DateTime::Utc(civil) => civil.0,
        DateTime::Zoned(civil, tzid) => zones.zone(tzid).map_or(civil.0, |zone| zone.to_instant(*civil)),
        DateTime::Date(civil) | DateTime::Floating(civil) => floating.to_instant(*civil),
    };
    let Some((start, end)) = period.split_once('/') else { return true };
    let end = match Duration::parse(end) {
        Some(duration) => Some(PeriodEnd::After(duration)),
        None => read(end).map(PeriodEnd::At),
    };
    let (Some(start), Some(end)) = (read(start).map(instant), end) else { return true };
    let end = match end {
        PeriodEnd::After(duration) => start + duration.plain_seconds(),
        PeriodEnd::At(end) => instant(end),
    };
    range.start < end && range.end > start
}

/// Returns the bytes as text for an XML body. Only a fold within a character keeps them from being UTF-8: such a fold
/// is undone, all else stays.
pub fn utf8(bytes: &[u8]) -> Cow<'_, str> {
    if let Ok(text) = std::str::from_utf8(bytes) {
        return Cow::Borrowed(text);
    }
    let mut out: Vec<u8> = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let rest = bytes.get(at..).unwrap_or_default();
        let fold = fold_length(rest);
        if fold > 0 && ends_within_character(&out) {
            at += fold;
            continue;
        }
        out.push(byte);
        at += 1;
    }
    Cow::Owned(String::from_utf8_lossy(&out).into_owned())
}

fn ends_within_character(bytes: &[u8]) -> bool {
    let tail = bytes.get(bytes.len().saturating_sub(3)..).unwrap_or_default();
    match std::str::from_utf8(tail) {
        Ok(_) => false,
        // The tail may begin within a character; what matters is whether it ends within one.
        Err(_) => tail.iter().rev().enumerate().any(|(after, byte)| {
            let needs = match byte {
                0xC0..=0xDF => 1,
                0xE0..=0xEF => 2,
                0xF0..=0xF7 => 3,
                _ => 0,
            };
            needs > after && tail.iter().rev().take(after).all(|byte| (0x80..0xC0).contains(byte))
        }),
    }
}

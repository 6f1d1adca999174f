//! The text of a feed: many objects in one VCALENDAR, the same bytes as long as nothing changed.
//!
//! Owns: the head (RFC 7986, and the `X-` names that programs know), one VTIMEZONE for each zone, the order. Does not own:
//! what of an event is shown (`bridge::projected`), which calendars (`link`).

use std::collections::BTreeMap;
use std::fmt::Write as _;

use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::link::Scope;
use crate::bridge::projected;
use crate::bridge::record::Fields;
use crate::ical::busy::{Busy, merge, vfreebusy};
use crate::ical::series::TimeRange;
use crate::ical::value::escape;
use crate::ical::zone::{by_tzid, vtimezone};
use crate::ical::{Component, Ical, Property, fold, quote_parameter};

/// What the head says.
#[derive(Debug, Clone)]
pub(super) struct Head<'a> {
    /// The calendar's name.
    pub(super) name: &'a str,
    /// CSS or `#RRGGBB`; nothing: subscribers choose.
    pub(super) color: Option<&'a str>,
    /// The zone that its times are mostly of.
    pub(super) zone: Option<&'a str>,
    /// When it is worth asking again.
    pub(super) hints: super::Hints,
    /// Where it is.
    pub(super) url: &'a str,
}

/// A feed in the making.
#[derive(Debug)]
pub(super) struct Feed {
    scope: Scope,
    alarms: bool,
    /// What UIDs are hidden with where only busy time is shown.
    salt: String,
    /// VTIMEZONEs that only the objects themselves describe.
    zones: BTreeMap<String, String>,
    /// VEVENTs by UID, RECURRENCE-ID.
    events: BTreeMap<(String, String), String>,
    /// The first and the last moment that zones are needed for.
    range: TimeRange,
}

impl Feed {
    pub(super) fn new(scope: Scope, alarms: bool, salt: &str, range: TimeRange) -> Feed {
        Feed { scope, alarms, salt: salt.to_owned(), zones: BTreeMap::new(), events: BTreeMap::new(), range }
    }

    /// Takes an object in. One that another calendar has too is shown once.
    pub(super) fn add(&mut self, bytes: &Bytes) {
        let Ok(whole) = Ical::parse(bytes.clone()) else { return };
        let busy = self.scope == Scope::Busy || is_private(&whole);
        let fields = if busy { Fields::Busy } else { Fields::Standard };
        let Ok(ical) = Ical::parse(projected(fields, &whole)) else { return };
        let Some(calendar) = ical.calendar() else { return };
        // A free instance of a busy series has to be told, or it would be busy.
        if self.scope == Scope::Busy && calendar.named("VEVENT").all(is_free) {
            return;
        }
        for event in calendar.named("VEVENT") {
            let uid = event.property("UID").map(|uid| uid.raw().trim().to_owned()).unwrap_or_default();
            let id = event.property("RECURRENCE-ID").map(|id| id.logical()).unwrap_or_default();
            let text = self.event(event, &uid, busy);
            self.events.entry((uid, id)).or_insert(text);
            for tzid in event.properties().filter_map(|p| p.parameter("TZID")) {
                self.zone(&iana(&tzid), calendar);
            }
        }
    }

    /// Writes one event: without reminders unless they are wanted, its UID hidden where it could say something.
    fn event(&self, event: Component<'_>, uid: &str, busy: bool) -> String {
        let text = |component: Component<'_>| {
            folded(component.ical().bytes().get(component.span()).unwrap_or_default())
        };
        let Ok(alone) = Ical::parse(format!("BEGIN:VCALENDAR\r\n{}END:VCALENDAR\r\n", text(event))) else {
            return String::new();
        };
        let Some(own) = alone.calendar().and_then(|c| c.named("VEVENT").next()) else { return String::new() };
        let mut edit = alone.edit();
        if !self.alarms {
            for alarm in own.named("VALARM") {
                edit = edit.remove_component(alarm);
            }
        }
        for property in own.properties() {
            // Google and others know IANA's names only.
            let named = property.parameter("TZID").filter(|tzid| iana(tzid) != *tzid);
            if let Some(tzid) = named {
                edit = edit.replace(property, &renamed(&property, &iana(&tzid)));
            }
        }
        if busy && let Some(property) = own.property("UID") {
            edit = edit.replace(property, &format!("UID:{}", self.hidden(uid)));
        }
        let Ok(done) = Ical::parse(edit.finish()) else { return String::new() };
        done.calendar().and_then(|c| c.named("VEVENT").next()).map(text).unwrap_or_default()
    }

    fn hidden(&self, uid: &str) -> String {
        let digest = Sha256::digest(format!("{}\n{uid}", self.salt).as_bytes());
        digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect()
    }

    /// IANA zones are described by us, the same for all objects; others as the first object says.
    fn zone(&mut self, tzid: &str, calendar: Component<'_>) {
        if self.zones.contains_key(tzid) {
            return;
        }
        let known = by_tzid(tzid).and_then(|zone| zone.name().map(str::to_owned)).filter(|name| name == tzid);
        let text = match known {
            Some(name) => vtimezone(&name, self.range.start, self.range.end),
            None => calendar
                .named("VTIMEZONE")
                .find(|zone| zone.property("TZID").is_some_and(|p| p.raw().trim() == tzid))
                .map(|zone| folded(zone.ical().bytes().get(zone.span()).unwrap_or_default())),
        };
        if let Some(text) = text {
            self.zones.insert(tzid.to_owned(), text);
        }
    }

    /// Writes it.
    pub(super) fn finish(self, head: &Head<'_>) -> String {
        let mut out = String::with_capacity(1024 + self.events.values().map(String::len).sum::<usize>());
        let mut line = |text: &str| fold(text, &mut out);
        line("BEGIN:VCALENDAR");
        line("VERSION:2.0");
        line("PRODID:-//Kalends//Kalends//EN");
        line("CALSCALE:GREGORIAN");
        // RFC 5546 §3.2.1; REQUEST would make invitations of it.
        line("METHOD:PUBLISH");
        let name = escape(head.name);
        line(&format!("NAME:{name}"));
        line(&format!("X-WR-CALNAME:{name}"));
        if let Some(zone) = head.zone {
            line(&format!("X-WR-TIMEZONE:{zone}"));
        }
        if let Some(color) = head.color {
            match color.starts_with('#') {
                true => line(&format!("X-APPLE-CALENDAR-COLOR:{color}")),
                false => line(&format!("COLOR:{color}")),
            }
        }
        let refresh = duration(head.hints.refresh);
        line(&format!("REFRESH-INTERVAL;VALUE=DURATION:{refresh}"));
        line(&format!("X-PUBLISHED-TTL:{refresh}"));
        if head.hints.x_wr_refresh {
            line(&format!("X-WR-REFRESH:{}min", head.hints.refresh.div_ceil(60)));
        }
        line(&format!("SOURCE;VALUE=URI:{}", head.url));
        for zone in self.zones.values() {
            out.push_str(zone);
        }
        for event in self.events.values() {
            out.push_str(event);
        }
        out.push_str("END:VCALENDAR\r\n");
        out
    }
}

/// Writes the busy time of a range.
pub(super) fn freebusy(range: TimeRange, periods: Vec<Busy>, stamp: i64) -> String {
    vfreebusy(range, &merge(periods), stamp)
}

/// Returns IANA's name of a zone, or the name that it has.
fn iana(tzid: &str) -> String {
    by_tzid(tzid).and_then(|zone| zone.name().map(str::to_owned)).unwrap_or_else(|| tzid.to_owned())
}

/// Returns the line of a property whose zone has another name.
fn renamed(property: &Property<'_>, tzid: &str) -> String {
    let mut line = property.name().to_owned();
    for (name, values) in property.parameters() {
        let values: Vec<String> = match name.as_str() {
            "TZID" => vec![quote_parameter(tzid)],
            _ => values.iter().map(|value| quote_parameter(value)).collect(),
        };
        line.push_str(&format!(";{name}={}", values.join(",")));
    }
    format!("{line}:{}", property.raw())
}

/// RFC 5545 §3.3.6.
fn duration(seconds: u64) -> String {
    let (hours, minutes) = (seconds / 3600, seconds % 3600 / 60);
    let mut text = String::from("PT");
    if hours > 0 {
        let _ = write!(text, "{hours}H");
    }
    if minutes > 0 || hours == 0 {
        let _ = write!(text, "{}M", minutes.max(1));
    }
    text
}

/// RFC 5545 §3.1: lines end with CRLF and have 75 octets at most, also those of objects that were stored otherwise. A letter that
/// was cut in two where a line was folded is whole again.
fn folded(bytes: &[u8]) -> String {
    let mut lines: Vec<Vec<u8>> = Vec::new();
    for line in bytes.split(|byte| *byte == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        match (line, lines.last_mut()) {
            ([], _) => {}
            ([b' ' | b'\t', rest @ ..], Some(last)) => last.extend_from_slice(rest),
            (line, _) => lines.push(line.to_vec()),
        }
    }
    let mut out = String::with_capacity(bytes.len());
    lines.iter().for_each(|line| fold(&String::from_utf8_lossy(line), &mut out));
    out
}

fn word(event: Component<'_>, name: &str) -> String {
    event.property(name).map(|p| p.raw().trim().to_ascii_uppercase()).unwrap_or_default()
}

fn is_private(ical: &Ical) -> bool {
    let calendar = ical.calendar();
    calendar
        .iter()
        .flat_map(|c| c.named("VEVENT"))
        .any(|e| !matches!(word(e, "CLASS").as_str(), "" | "PUBLIC"))
}

fn is_free(event: Component<'_>) -> bool {
    word(event, "TRANSP") == "TRANSPARENT" || word(event, "STATUS") == "CANCELLED"
}

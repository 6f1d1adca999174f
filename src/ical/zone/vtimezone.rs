//! VTIMEZONE (RFC 5545 §3.6.5): its observances read into a table, and an IANA zone written as one.

use std::fmt::Write;
use std::sync::Arc;

use super::names::{by_tzid, database, offset_of};
use super::table::{HORIZON, Table};
use super::{Iana, Zone};
use crate::ical::recur::{Frequency, Rule, date_of, day_number, days_in_month, weekday_of};
use crate::ical::tree::Component;
use crate::ical::value::Civil;

/// 1900-01-01T00:00:00: rules that begin earlier (Outlook writes 1601) are followed from here.
const EPOCH: i64 = -2_208_988_800;

/// No zone may have more observances, nor more changes of its clock, than this.
const MOST: usize = 4000;

/// Reads a VTIMEZONE. Nothing: it has no observance that can be understood.
pub(super) fn read(zone: Component<'_>) -> Option<Zone> {
    // libical, Evolution and Google say here which IANA zone they copied.
    let location = zone.property("X-LIC-LOCATION").and_then(|name| by_tzid(&name.text()));
    if location.is_some() {
        return location;
    }
    let mut onsets: Vec<(i64, i32, i32)> = Vec::new();
    let mut endless = false;
    let observances = zone.components().filter(|c| matches!(c.name(), "STANDARD" | "DAYLIGHT"));
    for observance in observances.take(MOST) {
        if onsets.len() >= MOST {
            break;
        }
        endless |= observe(observance, &mut onsets).unwrap_or(false);
    }
    onsets.sort_unstable();
    onsets.dedup_by_key(|onset| onset.0);
    let &(_, first, only) = onsets.first()?;
    if onsets.iter().all(|onset| onset.2 == only) {
        // One offset in all: also before its onset, which is often the day the software was installed.
        return Some(if only == 0 { Zone::Utc } else { Zone::Fixed(only) });
    }
    let changes: Vec<(i64, i32)> = onsets.iter().map(|onset| (onset.0, onset.2)).collect();
    Some(Zone::Custom(Arc::new(Table::new(first, &changes, endless))))
}

/// Adds the onsets of one observance: (instant, offset before, offset after). True: they go on for ever.
fn observe(observance: Component<'_>, onsets: &mut Vec<(i64, i32, i32)>) -> Option<bool> {
    let after = offset_of(&observance.property("TZOFFSETTO")?.raw())?;
    let before = observance.property("TZOFFSETFROM").and_then(|p| offset_of(&p.raw())).unwrap_or(after);
    let start = civil(&observance.property("DTSTART")?.raw())?;
    let mut add = |civil: Civil| onsets.push((civil.0 - i64::from(before), before, after));
    let mut endless = false;
    let mut ruled = false;
    for property in observance.all("RRULE").take(4) {
        let Ok(mut rule) = Rule::parse(&property.raw()) else { continue };
        // A clock that changes more often than monthly is somebody's bomb.
        if rule.frequency > Frequency::Monthly {
            continue;
        }
        ruled = true;
        if let Some(until) = rule.until {
            let east = if until.utc { i64::from(before) } else { 0 };
            rule.last = Some(Civil(until.inclusive().0 + east));
        }
        endless |= rule.until.is_none() && rule.count.is_none();
        for onset in rule.between(start, Civil(EPOCH), Civil(HORIZON - 1)).take(MOST) {
            add(onset);
        }
    }
    if !ruled {
        add(start);
    }
    for property in observance.all("RDATE") {
        for item in property.raw().split(',').take(MOST) {
            if let Some(onset) = civil(item.split('/').next().unwrap_or(item)) {
                add(onset);
            }
        }
    }
    Some(endless)
}

fn civil(text: &str) -> Option<Civil> {
    Civil::parse(text.trim().trim_end_matches(['Z', 'z']))
}

/// Returns a VTIMEZONE for an IANA zone that is right from one instant to another and, where the zone follows a
/// yearly pattern, for ever after.
///
/// The text ends with a line break. Nothing: there is no such zone.
pub fn vtimezone(iana: &str, from: i64, to: i64) -> Option<String> {
    let (name, changes) = match by_tzid(iana)? {
        Zone::Iana(zone) => (zone.name().to_owned(), listed(zone)),
        Zone::Utc => ("UTC".to_owned(), &[][..]),
        Zone::Fixed(_) | Zone::Custom(_) => return None,
    };
    let mut out = String::with_capacity(512);
    let _ = write!(out, "BEGIN:VTIMEZONE\r\nTZID:{name}\r\n");
    let pattern = Pattern::of(changes);
    let ruled = pattern.as_ref().map_or(i64::MAX, |pattern| pattern.since);
    let begin = changes.partition_point(|change| change.instant <= from).saturating_sub(1);
    let explicit: Vec<&Change> = changes
        .iter()
        .skip(begin)
        .take_while(|change| change.instant < ruled && change.instant <= to)
        .collect();
    let mut blocks: Vec<Block> = Vec::new();
    for change in explicit {
        match blocks.iter_mut().find(|block| block.first.same(change)) {
            Some(block) => block.more.push(change.wall()),
            None => blocks.push(Block { first: change.clone(), more: Vec::new(), rule: None }),
        }
    }
    if let Some(pattern) = pattern {
        for yearly in &pattern.yearly {
            let Some(first) =
                changes.iter().skip(begin).find(|c| c.instant >= pattern.since && yearly.fits(c))
            else {
                continue;
            };
            blocks.push(Block { first: first.clone(), more: Vec::new(), rule: Some(yearly.rule()) });
        }
    }
    if blocks.is_empty() {
        let zone = by_tzid(&name)?;
        let offset = zone.to_civil(from).0 - from;
        let abbreviation = abbreviation(&name, from);
        block_text(&mut out, "STANDARD", Civil(0), offset as i32, offset as i32, &abbreviation);
        out.push_str("END:STANDARD\r\n");
    }
    for block in &blocks {
        block.write(&mut out);
    }
    out.push_str("END:VTIMEZONE\r\n");
    Some(out)
}

/// A change of the clock as it is written.
#[derive(Debug, Clone)]
pub(super) struct Change {
    instant: i64,
    before: i32,
    after: i32,
    name: String,
}

impl Change {
    /// RFC 5545 §3.6.5: an onset is written in the wall-clock time before it.
    fn wall(&self) -> Civil {
        Civil(self.instant + i64::from(self.before))
    }

    fn same(&self, other: &Change) -> bool {
        (self.before, self.after, &self.name) == (other.before, other.after, &other.name)
    }

    fn year(&self) -> i64 {
        date_of(self.wall().0.div_euclid(86_400)).0
    }
}

/// Returns the changes of a zone's clock; they are written once.
fn listed(zone: &Iana) -> &[Change] {
    zone.changes.get_or_init(|| {
        let known = database().get(zone.name()).ok();
        let name = |instant| known.as_ref().map_or_else(String::new, |zone| abbreviation_in(zone, instant));
        let changes = zone.table().changes();
        changes
            .map(|(instant, before, after)| Change { instant, before, after, name: name(instant) })
            .collect()
    })
}

fn abbreviation(name: &str, instant: i64) -> String {
    database().get(name).map_or_else(|_| "UTC".to_owned(), |zone| abbreviation_in(&zone, instant))
}

fn abbreviation_in(zone: &jiff::tz::TimeZone, instant: i64) -> String {
    match jiff::Timestamp::from_second(instant) {
        Ok(timestamp) => zone.to_offset_info(timestamp).abbreviation().to_owned(),
        Err(_) => String::new(),
    }
}

/// The two changes of each year, once they follow one pattern to the end of the table.
struct Pattern {
    yearly: Vec<Yearly>,
    since: i64,
}

/// One of them: the same weekday within the same (up to seven) days of one month, at the same time of day.
#[derive(Debug, Clone)]
struct Yearly {
    month: u32,
    weekday: u32,
    time: i64,
    before: i32,
    after: i32,
    first_day: u32,
    last_day: u32,
}

impl Yearly {
    fn parts(change: &Change) -> (u32, u32, u32, i64) {
        let wall = change.wall().0;
        let (_, month, day) = date_of(wall.div_euclid(86_400));
        (month, day, weekday_of(wall.div_euclid(86_400)), wall.rem_euclid(86_400))
    }

    fn fits(&self, change: &Change) -> bool {
        let (month, day, weekday, time) = Yearly::parts(change);
        (month, weekday, time) == (self.month, self.weekday, self.time)
            && (change.before, change.after) == (self.before, self.after)
            && (self.first_day..=self.last_day).contains(&day)
    }

    fn rule(&self) -> String {
        let day =
            ["MO", "TU", "WE", "TH", "FR", "SA", "SU"].get(self.weekday as usize).copied().unwrap_or("SU");
        let month = self.month;
        // A common year's February would not do, but no zone changes its clock then.
        if self.last_day == days_in_month(2023, month) {
            return format!("FREQ=YEARLY;BYMONTH={month};BYDAY=-1{day}");
        }
        if self.first_day % 7 == 1 {
            return format!("FREQ=YEARLY;BYMONTH={month};BYDAY={}{day}", self.first_day / 7 + 1);
        }
        let days: Vec<String> = (self.first_day..=self.last_day).map(|day| day.to_string()).collect();
        format!("FREQ=YEARLY;BYMONTH={month};BYMONTHDAY={};BYDAY={day}", days.join(","))
    }
}

impl Pattern {
    fn of(changes: &[Change]) -> Option<Pattern> {
        let of_year = |year: i64| {
            let from = changes.partition_point(|change| change.year() < year);
            changes.iter().skip(from).take_while(move |change| change.year() == year)
        };
        let mut yearly: Vec<Yearly> = Vec::new();
        for change in of_year(2129) {
            let (month, day, weekday, time) = Yearly::parts(change);
            let mut pattern = Yearly {
                month,
                weekday,
                time,
                before: change.before,
                after: change.after,
                first_day: day,
                last_day: day,
            };
            // 28 years hold every way in which dates and weekdays can meet.
            for year in 2102..2129 {
                let days =
                    of_year(year).map(Yearly::parts).filter(|p| (p.0, p.2, p.3) == (month, weekday, time));
                for (_, day, _, _) in days {
                    pattern.first_day = pattern.first_day.min(day);
                    pattern.last_day = pattern.last_day.max(day);
                }
            }
            if pattern.last_day - pattern.first_day > 6 {
                return None;
            }
            yearly.push(pattern);
        }
        if yearly.is_empty() {
            return None;
        }
        let mut since = 2130;
        while since > 1900 {
            let year = since - 1;
            let fit =
                yearly.iter().all(|pattern| of_year(year).filter(|change| pattern.fits(change)).count() == 1);
            if !fit || of_year(year).count() != yearly.len() {
                break;
            }
            since = year;
        }
        if since > 2102 {
            return None;
        }
        // A day's grace: the year as the wall clock has it.
        let since = changes.iter().find(|change| change.year() >= since)?.instant;
        debug_assert!(since < day_number(2130, 1, 1) * 86_400);
        Some(Pattern { yearly, since })
    }
}

struct Block {
    first: Change,
    more: Vec<Civil>,
    rule: Option<String>,
}

impl Block {
    fn write(&self, out: &mut String) {
        let kind = if self.first.after > self.first.before { "DAYLIGHT" } else { "STANDARD" };
        let change = &self.first;
        block_text(out, kind, change.wall(), change.before, change.after, &change.name);
        if let Some(rule) = &self.rule {
            let _ = write!(out, "RRULE:{rule}\r\n");
        }
        for more in &self.more {
            let _ = write!(out, "RDATE:{}\r\n", more.to_basic());
        }
        let _ = write!(out, "END:{kind}\r\n");
    }
}

fn block_text(out: &mut String, kind: &str, start: Civil, before: i32, after: i32, name: &str) {
    let _ = write!(out, "BEGIN:{kind}\r\nDTSTART:{}\r\n", start.to_basic());
    if !name.is_empty() {
        let _ = write!(out, "TZNAME:{name}\r\n");
    }
    let _ = write!(out, "TZOFFSETFROM:{}\r\nTZOFFSETTO:{}\r\n", offset_text(before), offset_text(after));
}

fn offset_text(offset: i32) -> String {
    let sign = if offset < 0 { '-' } else { '+' };
    let (hours, minutes, seconds) = (offset.abs() / 3600, offset.abs() / 60 % 60, offset.abs() % 60);
    match seconds {
        0 => format!("{sign}{hours:02}{minutes:02}"),
        _ => format!("{sign}{hours:02}{minutes:02}{seconds:02}"),
    }
}

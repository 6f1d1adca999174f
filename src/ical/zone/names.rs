//! From a TZID to a zone: IANA names, what Windows and others call them, and names with something in front.

use std::cmp::Ordering;
use std::sync::OnceLock;

use jiff::tz::{TimeZone, TimeZoneDatabase};

use super::Zone;
use super::table::{HORIZON, Table};
use super::vtimezone::Change;
use super::windows::{FURTHER, WINDOWS};

/// An IANA zone: its name, and its table once somebody has asked for it.
#[derive(Debug)]
pub struct Iana {
    name: String,
    table: OnceLock<Table>,
    /// The changes of its clock as a VTIMEZONE writes them.
    pub(super) changes: OnceLock<Vec<Change>>,
}

impl Iana {
    /// Returns the IANA name.
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn table(&self) -> &Table {
        self.table.get_or_init(|| match database().get(&self.name) {
            Ok(zone) => table_of(&zone),
            Err(_) => Table::new(0, &[], false),
        })
    }
}

/// The data that is compiled in, so that every machine expands alike.
pub(super) fn database() -> &'static TimeZoneDatabase {
    static DATABASE: OnceLock<TimeZoneDatabase> = OnceLock::new();
    DATABASE.get_or_init(TimeZoneDatabase::bundled)
}

fn table_of(zone: &TimeZone) -> Table {
    let begin = jiff::Timestamp::MIN;
    let changes: Vec<(i64, i32)> = zone
        .following(begin)
        .map(|change| (change.timestamp().as_second(), change.offset().seconds()))
        .take_while(|&(instant, _)| instant < HORIZON)
        .collect();
    let endless = changes.last().is_some_and(|&(instant, _)| instant > HORIZON - 2 * 366 * 86_400);
    Table::new(zone.to_offset(begin).seconds(), &changes, endless)
}

fn all() -> &'static [Iana] {
    static ALL: OnceLock<Vec<Iana>> = OnceLock::new();
    ALL.get_or_init(|| {
        let mut all: Vec<Iana> = database()
            .available()
            .map(|name| Iana {
                name: name.as_str().to_owned(),
                table: OnceLock::new(),
                changes: OnceLock::new(),
            })
            .collect();
        all.sort_by(|a, b| compare(&a.name, &b.name));
        all
    })
}

/// Compares without regard to ASCII letter case, and takes a blank for an underscore.
fn compare(a: &str, b: &str) -> Ordering {
    let fold = |byte: u8| if byte == b' ' { b'_' } else { byte.to_ascii_lowercase() };
    a.bytes().map(fold).cmp(b.bytes().map(fold))
}

fn iana(name: &str) -> Option<Zone> {
    if ["UTC", "Z", "Etc/UTC", "GMT"].iter().any(|utc| utc.eq_ignore_ascii_case(name)) {
        return Some(Zone::Utc);
    }
    let all = all();
    let at = all.binary_search_by(|zone| compare(&zone.name, name)).ok()?;
    all.get(at).map(Zone::Iana)
}

fn windows(name: &str) -> Option<Zone> {
    let at = WINDOWS.binary_search_by(|(windows, _)| compare(windows, name)).ok()?;
    WINDOWS.get(at).and_then(|(_, name)| iana(name))
}

/// Returns what Windows calls a zone and the zone that this name stands for by itself, whose clock need not show the
/// same: several IANA zones share a name. Of a zone that Windows does not name, the first whose clock shows the same
/// from one instant to another. Nothing: there is none.
pub fn windows_name(zone: &Zone, from: i64, to: i64) -> Option<(&'static str, Zone)> {
    if matches!(zone, Zone::Utc) {
        return Some(("UTC", Zone::Utc));
    }
    let listed = zone.name().and_then(|name| {
        let of_default = WINDOWS.iter().find(|(_, default)| compare(default, name) == Ordering::Equal);
        let of_further = || {
            FURTHER.iter().find(|(_, more)| more.split(' ').any(|one| compare(one, name) == Ordering::Equal))
        };
        of_default.or_else(of_further).and_then(|(windows, _)| Some((*windows, self::windows(windows)?)))
    });
    let same = |other: &Zone| same_clock(zone, other, from, to);
    if let Some(listed) = listed.filter(|(_, zone)| same(zone)) {
        return Some(listed);
    }
    // 1970, 1990, 2000, 2010: the longer the clocks have agreed, the likelier it is another spelling of the same.
    let since = [0, 631_152_000, 946_684_800, 1_262_304_000].into_iter().filter(|since| *since < from);
    let all = || WINDOWS.iter().filter_map(|(windows, name)| Some((*windows, iana(name)?)));
    since.chain([from]).find_map(|since| all().find(|(_, other)| same_clock(zone, other, since, to)))
}

/// Tells whether two zones show the same time at every instant of a span.
fn same_clock(one: &Zone, other: &Zone, from: i64, to: i64) -> bool {
    let same = |instant: i64| one.to_civil(instant) == other.to_civil(instant);
    let changes = |zone: &Zone| -> Vec<i64> {
        let table = match zone {
            Zone::Iana(zone) => zone.table(),
            Zone::Custom(table) => table,
            Zone::Utc | Zone::Fixed(_) => return Vec::new(),
        };
        table.changes().map(|(instant, ..)| instant).filter(|at| (from..=to).contains(at)).collect()
    };
    same(from) && same(to) && changes(one).into_iter().chain(changes(other)).all(same)
}

/// `/mozilla.org/20050126_1/Europe/Berlin`, `/freeassociation.sourceforge.net/Tzfile/Europe/Berlin`,
/// `tzone://Microsoft/Utc`: the last parts are the name.
fn path_like(name: &str) -> Option<Zone> {
    if !name.starts_with('/') && !name.contains("://") {
        return None;
    }
    let starts: Vec<usize> = name.match_indices('/').map(|(at, _)| at + 1).collect();
    let tail = starts.len().saturating_sub(3);
    starts.iter().skip(tail).filter_map(|&at| name.get(at..)).find_map(iana)
}

/// Returns the zone that a TZID names by itself, without the VTIMEZONE that may come with it: an IANA name in any
/// letter case, a Windows name, or either with a path in front.
pub fn by_tzid(name: &str) -> Option<Zone> {
    let name = name.trim_matches(|c: char| c.is_whitespace() || c == '"');
    iana(name).or_else(|| windows(name)).or_else(|| path_like(name)).or_else(|| dashed(name))
}

/// `US-Eastern`, as old libical wrote it.
fn dashed(name: &str) -> Option<Zone> {
    let (area, place) = name.split_once('-').filter(|(area, _)| area.chars().all(char::is_alphabetic))?;
    iana(&format!("{area}/{place}"))
}

/// Outlook's display names: `(UTC+01:00) Amsterdam, Berlin, Bern, Rome, Stockholm, Vienna`, also `GMT-0500`.
///
/// A city that IANA knows and that has this offset in some season gives its zone; else the offset is fixed.
pub(super) fn by_display(name: &str) -> Option<Zone> {
    let name = name.trim_matches(|c: char| c.is_whitespace() || c == '"');
    let open = name.trim_start_matches('(');
    let rest = open.strip_prefix("UTC").or_else(|| open.strip_prefix("GMT")).unwrap_or(open).trim_start();
    let digits = rest.find(|c: char| !matches!(c, '+' | '-' | ':' | '0'..='9')).unwrap_or(rest.len());
    let (offset, after) = rest.split_at(digits);
    if offset.is_empty() {
        let places = open.strip_prefix("UTC").or_else(|| open.strip_prefix("GMT"))?;
        return city(places, 0).or_else(|| places.starts_with(')').then_some(Zone::Utc));
    }
    let seconds = offset_of(offset)?;
    Some(city(after, seconds).unwrap_or(Zone::Fixed(seconds)))
}

fn city(places: &str, offset: i32) -> Option<Zone> {
    const AMERICAN: [(&str, &str); 5] = [
        ("Eastern Time", "America/New_York"),
        ("Central Time", "America/Chicago"),
        ("Mountain Time", "America/Denver"),
        ("Pacific Time", "America/Los_Angeles"),
        ("Atlantic Time", "America/Halifax"),
    ];
    let places = places.trim_start_matches(')').trim();
    if let Some((_, name)) = AMERICAN.iter().find(|(american, _)| places.starts_with(american)) {
        return iana(name);
    }
    places.split(',').map(str::trim).filter(|place| !place.is_empty()).find_map(|place| {
        let zone = all().iter().find(|zone| {
            zone.name.rsplit_once('/').is_some_and(|(_, last)| compare(last, place) == Ordering::Equal)
        })?;
        // January or July 2024.
        let known = [1_704_067_200, 1_719_792_000].map(|instant| zone.table().offset_at(instant));
        known.contains(&i64::from(offset)).then_some(Zone::Iana(zone))
    })
}

/// Reads `+0100`, `-05:00`, `+1`, `+013000` as seconds east of Greenwich.
pub(super) fn offset_of(text: &str) -> Option<i32> {
    let text = text.trim();
    let (sign, text) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let digits: String = text.chars().filter(|c| *c != ':').collect();
    if digits.is_empty() || digits.len() > 6 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let number: i32 = digits.parse().ok()?;
    let (hours, minutes, seconds) = match digits.len() {
        1 | 2 => (number, 0, 0),
        3 | 4 => (number / 100, number % 100, 0),
        _ => (number / 10_000, number / 100 % 100, number % 100),
    };
    (hours < 24 && minutes < 60 && seconds < 60).then_some(sign * (hours * 3600 + minutes * 60 + seconds))
}

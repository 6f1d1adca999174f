//! What must hold for any object: over the generated ones, mutilated ones and, where it is there, a collection of real
//! files (`KALENDS_SHARED`, else `../shared`).

use std::path::{Path, PathBuf};

use kalends::ical::Ical;
use kalends::ical::busy::busy;
use kalends::ical::expand::{expand, limit_freebusy_set, limit_recurrence_set};
use kalends::ical::series::{Instance, Kind, Series, TimeRange};
use kalends::ical::value::Civil;
use kalends::ical::zone::{Zone, by_tzid};

const LIMIT: usize = 1000;

fn objects() -> Vec<(String, TimeRange)> {
    let cases = include_str!("series.txt").split("? ").filter(|case| !case.is_empty());
    cases
        .map(|case| {
            let (head, rest) = case.split_once('\n').unwrap();
            let (body, _) = rest.split_once("\n=").unwrap();
            let (from, to) = head.split_once(' ').unwrap();
            let at = |text: &str| Civil::parse(text.trim_end_matches('Z')).map(|civil| civil.0);
            let text = format!("BEGIN:VCALENDAR\r\n{}\r\nEND:VCALENDAR\r\n", body.replace('\n', "\r\n"));
            (text, TimeRange::new(at(from), at(to)))
        })
        .collect()
}

fn what(instance: &Instance) -> (i64, i64) {
    (instance.start, instance.end)
}

/// Every law for one object and one range.
fn check(ical: &Ical, range: TimeRange, floating: &Zone, name: &str) {
    let series = Series::of(ical);
    let found = series.instances(range, floating, LIMIT);
    if !matches!(series.kind(), Kind::Event | Kind::Todo | Kind::Journal) || ical.roots().count() != 1 {
        return;
    }
    // What the index says holds for every instance.
    if let Some(extent) = series.span() {
        for instance in &found.list {
            assert!(extent.start <= instance.start, "{name}: {extent:?} {instance:?}");
            let within = |end: i64| if extent.exact { instance.end <= end } else { instance.end < end };
            assert!(extent.end.is_none_or(within), "{name}: {extent:?} {instance:?}");
        }
        if extent.exact {
            let (start, end) = (extent.start, extent.end.unwrap());
            let touches = if start == end {
                range.start <= start && start < range.end
            } else {
                start < range.end && end > range.start
            };
            assert_eq!(series.overlaps(range, floating), touches, "{name}: an exact span decides");
        }
    }
    // A part of the range holds that part of the instances: reached by division, not by walking.
    let middle = range.start + (range.end - range.start) / 2;
    let later = TimeRange { start: middle, end: range.end };
    if found.complete && series.kind() == Kind::Event {
        let expected: Vec<_> = found
            .list
            .iter()
            .map(what)
            .filter(|(start, end)| if end > start { *end > middle } else { *start >= middle })
            .collect();
        let ours: Vec<_> = series.instances(later, floating, LIMIT).list.iter().map(what).collect();
        assert_eq!(ours, expected, "{name}: the second half of the range");
    }
    // An expanded object is an object with exactly these instances.
    let text = expand(ical, &series, range, floating, LIMIT).text;
    let again = Ical::parse(text.clone()).unwrap_or_else(|problem| panic!("{name}: {problem}\n{text}"));
    let reread = Series::of(&again).instances(range, floating, LIMIT);
    let mut seen: Vec<_> = found.list.iter().map(|i| (i.start, i.end)).collect();
    let mut back: Vec<_> = reread.list.iter().map(|i| (i.start, i.end)).collect();
    seen.sort_unstable();
    back.sort_unstable();
    // A day that a zone left out (Samoa) or an hour that it skipped makes two instances one.
    seen.dedup();
    back.dedup();
    assert_eq!(back, seen, "{name}: read back from\n{text}");
    for word in ["\nRRULE", "\nEXDATE", "\nRDATE", "BEGIN:VTIMEZONE"] {
        assert!(!text.contains(word), "{name}: {word} in\n{text}");
    }
    // A limited set has the same instances in the range.
    let limited = Ical::parse(limit_recurrence_set(ical, &series, range, floating)).unwrap();
    let kept = Series::of(&limited).instances(range, floating, LIMIT);
    assert_eq!(
        kept.list.iter().map(what).collect::<Vec<_>>(),
        found.list.iter().map(what).collect::<Vec<_>>(),
        "{name}"
    );
    for period in busy(&series, range, floating) {
        assert!(
            range.start <= period.start && period.start < period.end && period.end <= range.end,
            "{name}"
        );
    }
}

#[test]
fn every_generated_object_keeps_the_laws() {
    let new_york = by_tzid("America/New_York").unwrap();
    let objects = objects();
    assert!(objects.len() >= 600);
    for (at, (text, range)) in objects.into_iter().enumerate() {
        let ical = Ical::parse(text).unwrap();
        for floating in [&Zone::Utc, &new_york] {
            check(&ical, range, floating, &format!("case {at}"));
        }
    }
}

/// Swaps, doubles and drops pieces of text: nothing may panic, hang or grow without bound.
#[test]
fn mutilated_objects_do_no_harm() {
    let mut seed = 0x2545_F491_4F6C_DD1D_u64;
    let mut next = |below: usize| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        (seed % below.max(1) as u64) as usize
    };
    let pieces = [
        "FREQ=SECONDLY",
        "INTERVAL=0",
        "COUNT=99999999999",
        "UNTIL=00010101",
        "BYMONTHDAY=-31",
        "BYSETPOS=-366",
        "99991231T235959",
        "00000101",
        "TZID=:",
        ";VALUE=DATE",
        "P99999999999D",
        "-P1W",
        "BYDAY=53MO,-53SU",
        "BYWEEKNO=53",
        ",",
        ";",
        "\r\n",
        ":",
        "/PT1H",
        "BYHOUR=23",
        "RANGE=THISANDFUTURE",
        "20250229",
        "BYYEARDAY=366",
        "WKST=SU",
        "=",
        "Z",
    ];
    let mut read = 0;
    for (text, range) in objects().into_iter().step_by(3) {
        let mut text = text;
        for _ in 0..4 {
            // Within the value of a line, so that most of them can still be read.
            let colons: Vec<usize> = text.match_indices([':', ';', '=', ',']).map(|(at, _)| at + 1).collect();
            let at = colons[next(colons.len())];
            let rest = text[at..].find("\r\n").unwrap();
            let piece = pieces[next(pieces.len())];
            let line = text[..at].rfind('\n').map_or(0, |at| at + 1);
            if !text[line..].starts_with("BEGIN") && !text[line..].starts_with("END") {
                text.replace_range(at..at + next(rest + 1), piece);
            }
        }
        let Ok(ical) = Ical::parse(text) else { continue };
        read += 1;
        let series = Series::of(&ical);
        assert!(series.size_hint_bytes() < 200_000);
        for range in
            [range, TimeRange::ALL, TimeRange::new(None, Some(0)), TimeRange::new(Some(4_000_000_000), None)]
        {
            let found = series.instances(range, &Zone::Utc, LIMIT);
            assert!(found.list.len() <= LIMIT);
            assert!(found.list.iter().all(|instance| instance.start <= instance.end));
            series.overlaps(range, &Zone::Utc);
        }
        busy(&series, range, &Zone::Utc);
        let text = expand(&ical, &series, range, &Zone::Utc, LIMIT).text;
        assert!(Ical::parse(text).is_ok());
        limit_freebusy_set(&ical, range, &Zone::Utc);
    }
    assert!(read > 80, "{read}");
}

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            files(&path, found);
        } else if path.extension().is_some_and(|end| end == "ics") {
            found.push(path);
        }
    }
}

#[test]
fn real_files_keep_the_laws_where_they_are_at_hand() {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared");
    let shared = std::env::var_os("KALENDS_SHARED").map_or(beside, PathBuf::from);
    let mut found = Vec::new();
    files(&shared.join("corpus"), &mut found);
    for path in &found {
        let Ok(bytes) = std::fs::read(path) else { continue };
        // Only what could be one calendar object resource: the laws speak of one UID.
        let Ok(checked) = kalends::ical::check::calendar_object(bytes.into()) else { continue };
        let name = path.display().to_string();
        for range in [
            TimeRange::new(Some(0), Some(2_000_000_000)),
            TimeRange::new(Some(1_700_000_000), Some(1_702_000_000)),
        ] {
            check(&checked.ical, range, &Zone::Utc, &name);
        }
    }
}

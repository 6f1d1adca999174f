//! The examples of RFC 5545 §3.8.5.3, each as a whole object in America/New_York.

use kalends::ical::Ical;
use kalends::ical::series::{Series, TimeRange};
use kalends::ical::value::Civil;
use kalends::ical::zone::{Zone, by_tzid};

const EXAMPLES: &str = include_str!("rfc5545.txt");
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// Reads `1997 Sep 2-11;1997 Oct 2,12` and `1997 Sep 2 9:00,9:20`; true if the list ends there.
fn listed(text: &str, start: &str) -> (Vec<String>, bool) {
    let ends = !text.ends_with("...");
    let clock = &start[8..];
    let mut out = Vec::new();
    for group in text.trim_end_matches("...").split(';') {
        let words: Vec<&str> = group.split(' ').collect();
        let month = MONTHS.iter().position(|month| *month == words[1]).unwrap() + 1;
        let date = |day: u32| format!("{}{month:02}{day:02}", words[0]);
        if let Some(times) = words.get(3) {
            for time in times.split(',') {
                let (hour, minute) = time.split_once(':').unwrap();
                out.push(format!("{}T{hour:0>2}{minute}00", date(words[2].parse().unwrap())));
            }
            continue;
        }
        for days in words[2].split(',') {
            let (first, last) = days.split_once('-').unwrap_or((days, days));
            for day in first.parse::<u32>().unwrap()..=last.parse().unwrap() {
                out.push(format!("{}{clock}", date(day)));
            }
        }
    }
    (out, ends)
}

#[test]
fn every_example_of_rfc_5545() {
    let new_york = by_tzid("America/New_York").unwrap();
    let mut examples = 0;
    for line in EXAMPLES.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let [start, rule, list] = line.split('|').collect::<Vec<_>>()[..] else { panic!("{line}") };
        let (expected, ends) = listed(list, start);
        let text = format!(
            "BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\nUID:1\r\nDTSTART;TZID=America/New_York:{start}\r\n\
             RRULE:{rule}\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"
        );
        let series = Series::of(&Ical::parse(text).unwrap());
        assert_eq!(series.note(), None, "{line}");
        let take = expected.len() + usize::from(ends);
        let found = series.instances(TimeRange::ALL, &Zone::Utc, take).list;
        let found: Vec<String> = found.iter().map(|i| new_york.to_civil(i.start).to_basic()).collect();
        assert_eq!(found, expected, "{line}");
        // The same from the middle on: reached by division, not by walking.
        let middle = expected.len() / 2;
        let from = new_york.to_instant(Civil::parse(&expected[middle]).unwrap());
        let later = series.instances(TimeRange::new(Some(from), None), &Zone::Utc, take - middle).list;
        let later: Vec<String> = later.iter().map(|i| new_york.to_civil(i.start).to_basic()).collect();
        assert_eq!(later, expected[middle..], "{line} from the middle");
        assert_eq!(series.span().unwrap().end.is_some(), ends, "{line}: does the series end?");
        examples += 1;
    }
    assert_eq!(examples, 42);
}

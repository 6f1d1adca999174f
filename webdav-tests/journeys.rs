//! Hard series: DAV → store → far side and back. Ours stay octet for octet; what comes back into another calendar takes
//! place at the same times, with the same words (issue: equal in meaning, all-day untouched).

use std::collections::BTreeMap;

use kalends::ical::Ical;
use kalends::ical::series::{Series, TimeRange};
use kalends::ical::zone::Zone;
use serde_json::json;

use crate::trust::{Far, Story};

/// 1 December 2026 to 1 December 2027.
const YEAR: (i64, i64) = (1_796_083_200, 1_827_619_200);

const BERLIN: &str = "BEGIN:VTIMEZONE\r\nTZID:Europe/Berlin\r\nBEGIN:DAYLIGHT\r\nTZOFFSETFROM:+0100\r\nTZOFFSETTO:+0200\r\n\
    TZNAME:CEST\r\nDTSTART:19700329T020000\r\nRRULE:FREQ=YEARLY;BYMONTH=3;BYDAY=-1SU\r\nEND:DAYLIGHT\r\nBEGIN:STANDARD\r\n\
    TZOFFSETFROM:+0200\r\nTZOFFSETTO:+0100\r\nTZNAME:CET\r\nDTSTART:19701025T030000\r\n\
    RRULE:FREQ=YEARLY;BYMONTH=10;BYDAY=-1SU\r\nEND:STANDARD\r\nEND:VTIMEZONE\r\n";

/// Name, lines of the master, further components; `|` stands for a line break.
const SERIES: &[(&str, &str, &str)] = &[
    ("single", "DTSTART:20261210T090000Z|DTEND:20261210T100000Z", ""),
    ("allday", "DTSTART;VALUE=DATE:20261224|DTEND;VALUE=DATE:20261227", ""),
    ("night", "DTSTART;TZID=Europe/Berlin:20261231T220000|DTEND;TZID=Europe/Berlin:20270101T030000", ""),
    (
        "summer",
        "DTSTART;TZID=Europe/Berlin:20270301T090000|DTEND;TZID=Europe/Berlin:20270301T093000|\
      RRULE:FREQ=WEEKLY;BYDAY=MO,WE;COUNT=24",
        "",
    ),
    (
        "holes",
        "DTSTART;TZID=Europe/Berlin:20270104T180000|DTEND;TZID=Europe/Berlin:20270104T190000|\
      RRULE:FREQ=WEEKLY;UNTIL=20270330T170000Z|EXDATE;TZID=Europe/Berlin:20270118T180000,20270201T180000",
        "",
    ),
    (
        "moved",
        "DTSTART;TZID=Europe/Berlin:20270105T120000|DTEND;TZID=Europe/Berlin:20270105T130000|RRULE:FREQ=WEEKLY;COUNT=8",
        "RECURRENCE-ID;TZID=Europe/Berlin:20270119T120000|DTSTART;TZID=Europe/Berlin:20270120T150000|\
      DTEND;TZID=Europe/Berlin:20270120T163000|SUMMARY:moved\\, later",
    ),
    (
        "renamed",
        "DTSTART:20270106T090000Z|DTEND:20270106T093000Z|RRULE:FREQ=DAILY;COUNT=10",
        "RECURRENCE-ID:20270109T090000Z|DTSTART:20270109T090000Z|DTEND:20270109T093000Z|SUMMARY:another title",
    ),
    (
        "tuesday",
        "DTSTART;TZID=Europe/Berlin:20270112T100000|DTEND;TZID=Europe/Berlin:20270112T110000|\
      RRULE:FREQ=MONTHLY;BYDAY=2TU;COUNT=6",
        "",
    ),
    ("last", "DTSTART;VALUE=DATE:20270129|RRULE:FREQ=MONTHLY;BYDAY=-1FR;COUNT=5", ""),
    ("birthday", "DTSTART;VALUE=DATE:20270214|RRULE:FREQ=YEARLY;COUNT=3|TRANSP:TRANSPARENT", ""),
    (
        "york",
        "DTSTART;TZID=America/New_York:20270308T083000|DTEND;TZID=America/New_York:20270308T091500|\
      RRULE:FREQ=DAILY;COUNT=12",
        "",
    ),
    (
        "weeks",
        "DTSTART:20270111T070000Z|DTEND:20270111T080000Z|RRULE:FREQ=WEEKLY;INTERVAL=2;WKST=MO;BYDAY=MO,FR;COUNT=9",
        "",
    ),
];

fn text(name: &str, master: &str, more: &str) -> String {
    let stamp = "DTSTAMP:20261101T000000Z\r\n";
    let lines = |text: &str| text.replace('|', "\r\n");
    let mut events = format!(
        "BEGIN:VEVENT\r\nUID:{name}@journey\r\n{stamp}{}\r\nSUMMARY:{name}\r\nLOCATION:Room {name}\r\nX-OURS:{name}\r\nEND:VEVENT\r\n",
        lines(master)
    );
    if !more.is_empty() {
        events += &format!("BEGIN:VEVENT\r\nUID:{name}@journey\r\n{stamp}{}\r\nEND:VEVENT\r\n", lines(more));
    }
    format!("BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//x//EN\r\n{BERLIN}{events}END:VCALENDAR\r\n")
}

/// When an object takes place and what it is called: start, end, whole days, title.
fn meaning(text: &str) -> Vec<(i64, i64, bool, String)> {
    let ical = Ical::parse(text.as_bytes().to_vec()).unwrap();
    let calendar = ical.calendar().unwrap();
    let parts: Vec<_> = calendar.components().collect();
    let found = Series::of(&ical).instances(TimeRange::new(Some(YEAR.0), Some(YEAR.1)), &Zone::Utc, 1000);
    let title = |at: usize| parts[at].property("SUMMARY").map(|p| p.text()).unwrap_or_default();
    let mut all: Vec<_> =
        found.list.iter().map(|i| (i.start, i.end, i.all_day(), title(i.component))).collect();
    all.sort();
    all
}

fn journey(far: Far) {
    let story = Story::begin(far);
    let every = json!({"window_past": "all", "window_future": "all"});
    let (status, changed) = story.program.api("PATCH", &format!("/mappings/{}", story.mapping), Some(every));
    assert_eq!(status, 200, "{changed}");
    let mut ours = BTreeMap::new();
    for (name, master, more) in SERIES {
        let text = text(name, master, more);
        let put = story.program.dav("PUT", &format!("{name}.ics"), &text);
        assert_eq!(put.status, 201, "{name}: {}", put.show());
        ours.insert(*name, text);
    }
    for _ in 0..6 {
        story.pass();
    }
    let run = story.pass();
    assert_eq!(run["failures"], json!([]), "{run}");
    let writes = story.far.server.log().writes();
    // Another calendar takes the same events from the far side.
    let (status, made) = story.program.api("POST", "/calendars", Some(json!({"name": "mirror"})));
    assert_eq!(status, 201, "{made}");
    let (_, mapping) = story.program.api("GET", &format!("/mappings/{}", story.mapping), None);
    let wanted = json!({
        "calendar": made["id"], "connection": mapping["connection"], "remote_calendar": story.far.calendar,
        "direction": "pull", "conflict_policy": "external", "window_past": "all", "window_future": "all",
    });
    let (status, second) = story.program.api("POST", "/mappings", Some(wanted));
    assert_eq!(status, 201, "{second}");
    let mirror = Story { mapping: second["id"].as_str().unwrap().to_owned(), ..story };
    for _ in 0..4 {
        mirror.pass();
    }
    let listing = mirror.program.dav("PROPFIND", "/dav/calendars/anna/mirror/", "");
    let listing = String::from_utf8(listing.body).unwrap();
    let mut back: BTreeMap<String, String> = BTreeMap::new();
    for rest in listing.split("/dav/calendars/anna/mirror/").skip(1) {
        let name = rest.split('<').next().unwrap();
        if !name.is_empty() {
            let got = mirror.program.dav("GET", &format!("/dav/calendars/anna/mirror/{name}"), "");
            let text = String::from_utf8(got.body).unwrap();
            let uid = text.lines().find_map(|l| l.strip_prefix("UID:")).unwrap().trim().to_owned();
            assert!(back.insert(uid, text).is_none(), "doubled");
        }
    }
    for (name, text) in &ours {
        let kept = String::from_utf8(mirror.program.dav("GET", &format!("{name}.ics"), "").body).unwrap();
        assert_eq!(&kept, text, "{name}: ours stay octet for octet");
        let returned =
            back.get(&format!("{name}@journey")).unwrap_or_else(|| panic!("{name} did not come back"));
        assert_eq!(meaning(returned), meaning(text), "{name}:\n{returned}");
        assert_eq!(returned.contains("DTSTART;VALUE=DATE"), text.contains("DTSTART;VALUE=DATE"), "{name}");
    }
    assert_eq!(back.len(), ours.len());
    assert_eq!(mirror.far.server.log().writes(), writes, "the journey back writes nothing there");
}

// S3-090, S4-003, E5
#[test]
fn hard_series_go_to_google_and_back() {
    journey(Far::google());
}

// S3-090, E5
#[test]
fn hard_series_go_to_outlook_and_back() {
    journey(Far::outlook());
}

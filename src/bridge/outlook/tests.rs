//! The provider without a wire: the tables of rules and properties both ways, and the corpus.

use super::event::Whole;
use super::event::parse::{Shape, shape};
use super::event::read::Event;
use super::event::render::render;
use super::event::write::{difference, members};
use super::recurrence::{Mapped, Recurrence, of_rule};
use super::*;
use crate::bridge::print::print;
use crate::ical::series::{Series, TimeRange};
use crate::ical::value::{Civil, date_time};
use crate::ical::zone::{Zone, by_tzid};
use serde_json::{Map, json};

const WINDOW: Window = Window { from: Some(1_790_000_000), to: Some(1_800_000_000), now: 1_795_000_000 };

fn ical(lines: &str) -> Ical {
    let lines = lines.trim().lines().map(str::trim).collect::<Vec<_>>().join("\r\n");
    let text = format!(
        "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:x\r\nBEGIN:VEVENT\r\nUID:u1\r\nDTSTAMP:20260101T000000Z\r\n\
         {lines}\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"
    );
    Ical::parse(text.into_bytes()).unwrap()
}

fn whole(ical: &Ical) -> Whole {
    match shape(ical, WINDOW) {
        Shape::Whole(whole) => *whole,
        other => panic!("{other:?}\n{}", String::from_utf8_lossy(ical.bytes())),
    }
}

fn text(bytes: &Bytes) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// What Graph would answer about an event that it was sent: times in UTC, names of zones beside them, bodies as pages.
fn stored(item: &event::Item, id: &str) -> Map<String, Value> {
    let mut all = members(item);
    for (name, zone) in [("start", "originalStartTimeZone"), ("end", "originalEndTimeZone")] {
        let when = if name == "start" { &item.start } else { &item.end };
        all.insert(zone.into(), all[name]["timeZone"].clone());
        let civil = Civil(when.at);
        let (hour, minute, second) = civil.time();
        let day = recurrence::dashed(civil);
        all.insert(
            name.into(),
            json!({"dateTime": format!("{day}T{hour:02}:{minute:02}:{second:02}.0000000"), "timeZone": "UTC"}),
        );
    }
    if all["body"]["contentType"] == "text" {
        let content = all["body"]["content"].as_str().unwrap().to_owned();
        all.insert("body".into(), json!({"contentType": "html", "content": body::page_of(&content)}));
    }
    all.insert("id".into(), json!(id));
    all.insert("@odata.etag".into(), json!(format!("W/\"{id}\"")));
    all.insert("iCalUId".into(), json!("040000008200E000"));
    let kind = if item.recurrence.is_some() { "seriesMaster" } else { "singleInstance" };
    all.insert("type".into(), json!(kind));
    all
}

/// The answer about a whole series, as `read` gets it.
fn answer(whole: &Whole, calendar: &RemoteId) -> Event {
    let mut all = stored(&whole.master, "M");
    all.insert("transactionId".into(), json!(marker::transaction(calendar, &whole.uid)));
    all.insert("singleValueExtendedProperties".into(), marker::property(&whole.uid));
    let exceptions: Vec<Value> = whole
        .exceptions
        .iter()
        .map(|(day, item)| {
            let mut all = stored(item, &format!("X{}", day.0));
            let at = whole.master.on(*day).start.at;
            all.insert("originalStart".into(), json!(event::write::utc(at)));
            all.insert("type".into(), json!("exception"));
            Value::Object(all)
        })
        .collect();
    all.insert("exceptionOccurrences".into(), json!(exceptions));
    let cancelled: Vec<String> =
        whole.cancelled.iter().map(|day| format!("OID.M.{}", recurrence::dashed(*day))).collect();
    all.insert("cancelledOccurrences".into(), json!(cancelled));
    event_of(Value::Object(all)).unwrap()
}

/// Sends an object there and reads it back.
fn there_and_back(ical: &Ical) -> Bytes {
    let calendar = RemoteId("cal".into());
    let whole = whole(ical);
    let seen = seen(&calendar, &RemoteId("M".into()), &answer(&whole, &calendar));
    assert!(!seen.bytes.is_empty(), "{}", text(&render(&whole)));
    seen.bytes
}

fn fits(ical: &Ical) -> Bytes {
    match provider().fit(ical, WINDOW) {
        Fit::Whole(bytes) => bytes,
        other => panic!("{other:?}"),
    }
}

struct Nobody;

impl Bearer for Nobody {
    fn token<'a>(&'a self, _: Option<&'a crate::auth::grant::Secret>) -> Fut<'a, crate::auth::grant::Secret> {
        Box::pin(async { Err(Trouble::Unauthorised("no".into())) })
    }
}

fn provider() -> Outlook {
    let fetch = Fetch::new(Default::default(), Default::default()).unwrap();
    Outlook::new(fetch, Url::parse("http://127.0.0.1:9/v1.0").unwrap(), Arc::new(Nobody))
}

fn starts(ical: &Ical) -> Vec<(i64, i64)> {
    let all = Series::of(ical).instances(TimeRange::ALL, &Zone::Utc, 40);
    all.list.iter().map(|i| (i.start, i.end)).collect()
}

/// The rows of the table that Outlook has words for: the rule, what is sent, the rule that is read.
const RULES: &[(&str, &str, &str, &str)] = &[
    ("20260105T090000", "FREQ=DAILY;INTERVAL=3", r#"{"type":"daily","interval":3}"#, "FREQ=DAILY;INTERVAL=3"),
    (
        "20260105T090000",
        "FREQ=DAILY;BYDAY=MO,TU,WE,TH,FR",
        r#"{"type":"weekly","interval":1,"firstDayOfWeek":"monday","daysOfWeek":["monday","tuesday","wednesday","thursday","friday"]}"#,
        "FREQ=WEEKLY;BYDAY=MO,TU,WE,TH,FR",
    ),
    (
        "20260105T090000",
        "FREQ=WEEKLY;INTERVAL=2;BYDAY=MO,SU;WKST=SU",
        r#"{"type":"weekly","interval":2,"firstDayOfWeek":"sunday","daysOfWeek":["monday","sunday"]}"#,
        "FREQ=WEEKLY;INTERVAL=2;WKST=SU;BYDAY=MO,SU",
    ),
    (
        "20260107T090000",
        "FREQ=WEEKLY;COUNT=5",
        r#"{"type":"weekly","interval":1,"firstDayOfWeek":"monday","daysOfWeek":["wednesday"]}"#,
        "FREQ=WEEKLY;BYDAY=WE;COUNT=5",
    ),
    (
        "20260115T090000",
        "FREQ=MONTHLY",
        r#"{"type":"absoluteMonthly","interval":1,"dayOfMonth":15}"#,
        "FREQ=MONTHLY;BYMONTHDAY=15",
    ),
    (
        "20260128T090000",
        "FREQ=MONTHLY;INTERVAL=2;BYMONTHDAY=28",
        r#"{"type":"absoluteMonthly","interval":2,"dayOfMonth":28}"#,
        "FREQ=MONTHLY;INTERVAL=2;BYMONTHDAY=28",
    ),
    (
        "20260131T090000",
        "FREQ=MONTHLY;BYMONTHDAY=-1",
        r#"{"type":"absoluteMonthly","interval":1,"dayOfMonth":31}"#,
        "FREQ=MONTHLY;BYMONTHDAY=-1",
    ),
    (
        "20260130T090000",
        "FREQ=MONTHLY;BYMONTHDAY=28,29,30;BYSETPOS=-1",
        r#"{"type":"absoluteMonthly","interval":1,"dayOfMonth":30}"#,
        "FREQ=MONTHLY;BYMONTHDAY=28,29,30;BYSETPOS=-1",
    ),
    (
        "20260113T090000",
        "FREQ=MONTHLY;BYDAY=2TU",
        r#"{"type":"relativeMonthly","interval":1,"index":"second","daysOfWeek":["tuesday"]}"#,
        "FREQ=MONTHLY;BYDAY=2TU",
    ),
    (
        "20260113T090000",
        "FREQ=MONTHLY;BYDAY=TU;BYSETPOS=2",
        r#"{"type":"relativeMonthly","interval":1,"index":"second","daysOfWeek":["tuesday"]}"#,
        "FREQ=MONTHLY;BYDAY=2TU",
    ),
    (
        "20260109T090000",
        "FREQ=MONTHLY;BYDAY=FR;BYMONTHDAY=8,9,10,11,12,13,14",
        r#"{"type":"relativeMonthly","interval":1,"index":"second","daysOfWeek":["friday"]}"#,
        "FREQ=MONTHLY;BYDAY=2FR",
    ),
    (
        "20260130T090000",
        "FREQ=MONTHLY;BYDAY=-1FR",
        r#"{"type":"relativeMonthly","interval":1,"index":"last","daysOfWeek":["friday"]}"#,
        "FREQ=MONTHLY;BYDAY=-1FR",
    ),
    (
        "20260101T090000",
        "FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=1",
        r#"{"type":"relativeMonthly","interval":1,"index":"first","daysOfWeek":["monday","tuesday","wednesday","thursday","friday"]}"#,
        "FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=1",
    ),
    (
        "20260130T090000",
        "FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-1",
        r#"{"type":"relativeMonthly","interval":1,"index":"last","daysOfWeek":["monday","tuesday","wednesday","thursday","friday"]}"#,
        "FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-1",
    ),
    (
        "20260105T090000",
        "FREQ=MONTHLY;BYDAY=MO",
        r#"{"type":"weekly","interval":1,"firstDayOfWeek":"monday","daysOfWeek":["monday"]}"#,
        "FREQ=WEEKLY;BYDAY=MO",
    ),
    (
        "20260704T090000",
        "FREQ=YEARLY;BYMONTH=7;BYMONTHDAY=4",
        r#"{"type":"absoluteYearly","interval":1,"month":7,"dayOfMonth":4}"#,
        "FREQ=YEARLY;BYMONTH=7;BYMONTHDAY=4",
    ),
    (
        "20261231T090000",
        "FREQ=YEARLY",
        r#"{"type":"absoluteYearly","interval":1,"month":12,"dayOfMonth":31}"#,
        "FREQ=YEARLY;BYMONTH=12;BYMONTHDAY=31",
    ),
    (
        "20260228T090000",
        "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=-1",
        r#"{"type":"absoluteYearly","interval":1,"month":2,"dayOfMonth":29}"#,
        "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=-1",
    ),
    (
        "20260331T090000",
        "FREQ=YEARLY;BYMONTH=3;BYMONTHDAY=-1",
        r#"{"type":"absoluteYearly","interval":1,"month":3,"dayOfMonth":31}"#,
        "FREQ=YEARLY;BYMONTH=3;BYMONTHDAY=31",
    ),
    (
        "20260510T090000",
        "FREQ=YEARLY;BYMONTH=5;BYDAY=2SU",
        r#"{"type":"relativeYearly","interval":1,"month":5,"index":"second","daysOfWeek":["sunday"]}"#,
        "FREQ=YEARLY;BYMONTH=5;BYDAY=2SU",
    ),
    (
        "20261029T090000",
        "FREQ=YEARLY;BYMONTH=10;BYDAY=TH;BYSETPOS=-1",
        r#"{"type":"relativeYearly","interval":1,"month":10,"index":"last","daysOfWeek":["thursday"]}"#,
        "FREQ=YEARLY;BYMONTH=10;BYDAY=-1TH",
    ),
];

// S3: patternedRecurrence ↔ RRULE, the table both ways
#[test]
fn rules_go_there_and_come_back() {
    let berlin = by_tzid("Europe/Berlin").unwrap();
    for (start, rule, pattern, back) in RULES {
        let from = Civil::parse(start).unwrap();
        let Mapped::One(recurrence) = of_rule(rule, from, &berlin, false) else { panic!("{rule}") };
        let json = recurrence.to_json(from, "W. Europe Standard Time");
        assert_eq!(json["pattern"], serde_json::from_str::<Value>(pattern).unwrap(), "{rule}");
        assert_eq!(json["range"]["startDate"], recurrence::dashed(from));
        let far: recurrence::Far = serde_json::from_value(json).unwrap();
        let read = Recurrence::from_json(&far, from).unwrap();
        assert_eq!(read, recurrence, "{rule}");
        assert_eq!(read.rule(from, &berlin, false), *back);
        // The same instances, whatever it is called.
        let event =
            |rule: &str| ical(&format!("DTSTART;TZID=Europe/Berlin:{start}\nDURATION:PT1H\nRRULE:{rule}"));
        assert_eq!(starts(&event(rule)), starts(&event(back)), "{rule}");
        let came = there_and_back(&event(rule));
        assert_eq!(starts(&Ical::parse(came.clone()).unwrap()), starts(&event(rule)), "{}", text(&came));
    }
}

#[test]
fn members_of_a_pattern_that_its_type_does_not_use_are_noise() {
    let json = json!({
        "pattern": {"type": "daily", "interval": 2, "month": 0, "dayOfMonth": 0, "daysOfWeek": [],
            "firstDayOfWeek": "sunday", "index": "first"},
        "range": {"type": "noEnd", "startDate": "2026-01-05", "endDate": "0001-01-01",
            "recurrenceTimeZone": "", "numberOfOccurrences": 0},
    });
    let far: recurrence::Far = serde_json::from_value(json).unwrap();
    let start = Civil::parse("20260105T090000").unwrap();
    let read = Recurrence::from_json(&far, start).unwrap();
    assert_eq!(read.rule(start, &Zone::Utc, false), "FREQ=DAILY;INTERVAL=2");
}

// The end of a series: by a day in its own zone
#[test]
fn ends_are_days_where_the_series_is() {
    let zone = by_tzid("America/New_York").unwrap();
    let start = Civil::parse("20260105T200000").unwrap();
    for (rule, range, back) in [
        ("FREQ=DAILY", json!({"type": "noEnd"}), "FREQ=DAILY"),
        ("FREQ=DAILY;COUNT=7", json!({"type": "numbered", "numberOfOccurrences": 7}), "FREQ=DAILY;COUNT=7"),
        // Outlook counts to 999.
        (
            "FREQ=DAILY;COUNT=1000",
            json!({"type": "endDate", "endDate": "2028-09-30"}),
            "FREQ=DAILY;UNTIL=20281001T000000Z",
        ),
        // 20:00 on the 9th in New York is 01:00 on the 10th in UTC.
        (
            "FREQ=DAILY;UNTIL=20260110T010000Z",
            json!({"type": "endDate", "endDate": "2026-01-09"}),
            "FREQ=DAILY;UNTIL=20260110T010000Z",
        ),
        // One second before it: that instance is none.
        (
            "FREQ=DAILY;UNTIL=20260110T005959Z",
            json!({"type": "endDate", "endDate": "2026-01-08"}),
            "FREQ=DAILY;UNTIL=20260109T010000Z",
        ),
        (
            "FREQ=DAILY;UNTIL=20260110",
            json!({"type": "endDate", "endDate": "2026-01-10"}),
            "FREQ=DAILY;UNTIL=20260111T010000Z",
        ),
    ] {
        let Mapped::One(recurrence) = of_rule(rule, start, &zone, false) else { panic!("{rule}") };
        let json = recurrence.to_json(start, "Eastern Standard Time");
        for (name, value) in range.as_object().unwrap() {
            assert_eq!(&json["range"][name], value, "{rule}");
        }
        assert_eq!(recurrence.rule(start, &zone, false), back);
    }
    let Mapped::One(days) =
        of_rule("FREQ=DAILY;UNTIL=20260110", Civil::parse("20260105").unwrap(), &Zone::Utc, true)
    else {
        panic!()
    };
    assert_eq!(days.rule(Civil::parse("20260105").unwrap(), &Zone::Utc, true), "FREQ=DAILY;UNTIL=20260110");
}

/// The rows that Outlook has no words for: the rule, how many objects stand for it (nothing: its instances), a word of why.
const ODD: &[(&str, &str, Option<usize>, &str)] = &[
    ("20261105T090000", "FREQ=HOURLY;INTERVAL=12;COUNT=9", None, "hourly"),
    ("20261105T090000", "FREQ=DAILY;BYHOUR=9,15;COUNT=9", None, "BYHOUR"),
    ("20261231T090000", "FREQ=YEARLY;BYYEARDAY=-1", None, "BYYEARDAY"),
    ("20261109T090000", "FREQ=YEARLY;BYWEEKNO=46;BYDAY=MO", None, "BYWEEKNO"),
    ("20261101T090000", "FREQ=MONTHLY;BYMONTHDAY=1,15", Some(2), "several days"),
    ("20261101T090000", "FREQ=MONTHLY;BYMONTHDAY=1,8,15,22", Some(4), "several days"),
    ("20261101T090000", "FREQ=MONTHLY;BYMONTHDAY=1,8,15,20,22", None, "too many days"),
    ("20261102T090000", "FREQ=MONTHLY;BYDAY=1MO,3MO;COUNT=6", Some(2), "several days"),
    ("20261130T090000", "FREQ=MONTHLY;BYDAY=5MO", None, "counts weekdays"),
    ("20261130T090000", "FREQ=MONTHLY;BYDAY=MO;BYSETPOS=5", None, "counts weekdays"),
    ("20261129T090000", "FREQ=MONTHLY;BYMONTHDAY=-2", None, "from the end"),
    ("20261113T090000", "FREQ=MONTHLY;BYMONTHDAY=13;BYDAY=FR", None, "counts weekdays"),
    ("20261031T090000", "FREQ=MONTHLY;BYMONTHDAY=31", None, "day 31"),
    ("20261104T090000", "FREQ=YEARLY;BYMONTH=11,12;BYMONTHDAY=4", Some(2), "several days"),
    ("20261104T090000", "FREQ=YEARLY;INTERVAL=2", None, "every few years"),
    ("20240229T090000", "FREQ=YEARLY", None, "day 29"),
    ("20261104T090000", "FREQ=WEEKLY;BYDAY=MO", Some(2), "first instance"),
    ("20261104T090000", "FREQ=WEEKLY\nRDATE;TZID=Europe/Berlin:20261106T090000", Some(2), "further dates"),
    ("20261104T090000", "FREQ=WEEKLY\nRRULE:FREQ=MONTHLY", None, "several rules"),
    ("20261104T090000", "FREQ=DAILY;COUNT=20\nEXRULE:FREQ=WEEKLY", None, "rule of exceptions"),
];

// S3: a rule that Outlook cannot express is taken apart or expanded, and the event says why
#[test]
fn rules_without_words_are_taken_apart() {
    for (start, rule, count, word) in ODD {
        let event =
            ical(&format!("DTSTART;TZID=Europe/Berlin:{start}\nDURATION:PT1H\nSUMMARY:x\nRRULE:{rule}"));
        let Fit::Parts(parts, why) = provider().fit(&event, WINDOW) else { panic!("{rule}") };
        assert!(why.contains(word), "{rule}: {why}");
        let keys: std::collections::BTreeSet<&String> = parts.iter().map(|p| &p.key).collect();
        assert_eq!(keys.len(), parts.len(), "{rule}");
        let range = TimeRange::new(WINDOW.from, WINDOW.to);
        let within = |ical: &Ical| -> Vec<i64> {
            Series::of(ical).instances(range, &Zone::Utc, 1000).list.iter().map(|i| i.start).collect()
        };
        let mut all: Vec<i64> = Vec::new();
        for part in &parts {
            let ical = Ical::parse(part.bytes.clone()).unwrap();
            assert!(text(&part.bytes).contains("UID:u1\r\n"));
            // Each part is something that Outlook can hold.
            assert_eq!(fits(&ical), part.bytes, "{rule}");
            all.extend(within(&ical));
        }
        all.sort_unstable();
        assert_eq!(all, within(&event), "{rule}");
        match count {
            Some(count) => assert_eq!(parts.len(), *count, "{rule}: {why}"),
            None => assert!(
                parts.iter().all(|p| !Series::of(&Ical::parse(p.bytes.clone()).unwrap()).recurs()),
                "{rule}"
            ),
        }
    }
    let bomb = ical("DTSTART:20261101T000000Z\nRRULE:FREQ=MINUTELY");
    assert!(matches!(provider().fit(&bomb, WINDOW), Fit::Refused(_)));
}

/// When the instances within the window begin and end.
fn within(ical: &Ical) -> Vec<(i64, i64)> {
    let range = TimeRange::new(WINDOW.from, WINDOW.to);
    Series::of(ical).instances(range, &Zone::Utc, 1000).list.iter().map(|i| (i.start, i.end)).collect()
}

// S3: this and all following: two series, or its instances, and always the same meaning
#[test]
fn this_and_following_has_the_same_instances() {
    for (rule, from, start, end, count) in [
        ("FREQ=DAILY;COUNT=20", "20261110T090000", "20261110T100000", "20261110T113000", Some(2)),
        (
            "FREQ=DAILY;COUNT=20\nEXDATE;TZID=Europe/Berlin:20261106T090000,20261112T090000",
            "20261110T090000",
            "20261110T100000",
            "20261110T113000",
            Some(2),
        ),
        (
            "FREQ=WEEKLY;BYDAY=WE,FR;UNTIL=20270301T080000Z",
            "20261111T090000",
            "20261111T150000",
            "20261111T160000",
            Some(2),
        ),
        ("FREQ=WEEKLY", "20261118T090000", "20261118T080000", "20261118T090000", Some(2)),
        // From Wednesday to Thursday: the rule names the other day.
        ("FREQ=WEEKLY;COUNT=9", "20261118T090000", "20261119T090000", "20261119T100000", None),
        ("FREQ=DAILY;INTERVAL=2;COUNT=9", "20261108T090000", "20261109T090000", "20261109T093000", Some(2)),
        ("FREQ=HOURLY;INTERVAL=6;COUNT=9", "20261104T150000", "20261104T160000", "20261104T170000", None),
    ] {
        let mut event = ical(&format!(
            "DTSTART;TZID=Europe/Berlin:20261104T090000\nDTEND;TZID=Europe/Berlin:20261104T100000\nSUMMARY:Tea\nRRULE:{rule}"
        ));
        let text = text(event.bytes()).replace(
            "END:VCALENDAR",
            &format!(
                "BEGIN:VEVENT\r\nUID:u1\r\nDTSTAMP:20260101T000000Z\r\n\
                 RECURRENCE-ID;RANGE=THISANDFUTURE;TZID=Europe/Berlin:{from}\r\nDTSTART;TZID=Europe/Berlin:{start}\r\n\
                 DTEND;TZID=Europe/Berlin:{end}\r\nSUMMARY:Coffee\r\nEND:VEVENT\r\nEND:VCALENDAR"
            ),
        );
        event = Ical::parse(text.into_bytes()).unwrap();
        let Fit::Parts(parts, why) = provider().fit(&event, WINDOW) else { panic!("{rule}") };
        assert!(why.contains("from one instance on"), "{why}");
        let mut all: Vec<(i64, i64)> = Vec::new();
        for part in &parts {
            let part = Ical::parse(part.bytes.clone()).unwrap();
            assert_eq!(fits(&part), *part.bytes(), "{rule}");
            all.extend(within(&part));
        }
        all.sort_unstable();
        assert_eq!(all, within(&event), "{rule}");
        let told: Vec<bool> =
            parts.iter().map(|p| String::from_utf8_lossy(&p.bytes).contains("SUMMARY:Coffee")).collect();
        match count {
            Some(count) => assert_eq!((parts.len(), &told[..]), (count, &[false, true][..]), "{rule}"),
            None => assert!(parts.len() > 2 && told.contains(&true) && told.contains(&false), "{rule}"),
        }
    }
}

// S1-019: a series that is called off stays whole there: what was moved in it is not left out
#[test]
fn a_series_that_is_called_off_keeps_its_exceptions() {
    let off = SERIES.replace("SUMMARY:Stand-up\r\nEND", "SUMMARY:Stand-up\r\nSTATUS:CANCELLED\r\nEND");
    let off = off.replace("SUMMARY:Stand-up (moved)\r\n", "SUMMARY:Stand-up (moved)\r\nSTATUS:CANCELLED\r\n");
    let held = whole(&Ical::parse(off.into_bytes()).unwrap());
    assert_eq!((held.exceptions.len(), held.cancelled.len()), (1, 1));
    assert!(held.exceptions.values().all(|item| item.show_as == event::ShowAs::Free));
}

// S1-099: a time without a zone is one in the zone that the calendar names; without that in UTC
#[test]
fn times_without_a_zone_are_in_that_of_the_calendar() {
    for (lines, first, second) in [
        ("DTSTART:20261104T090000\nDTEND:20261104T100000", "20261104T080000Z", "20261104T090000Z"),
        (
            "DTSTART:20261104T090000\nDURATION:PT1H\nRRULE:FREQ=WEEKLY;COUNT=3\nEXDATE:20261111T090000",
            "20261104T080000Z",
            "20261104T090000Z",
        ),
    ] {
        let plain = ical(lines);
        let named =
            text(plain.bytes()).replace("PRODID:x\r\n", "PRODID:x\r\nX-WR-TIMEZONE:Europe/Berlin\r\n");
        let begins = |event: &Ical| starts(&Ical::parse(fits(event)).unwrap())[0].0;
        let at = |text: &str| Civil::parse(text).unwrap().0;
        assert_eq!(begins(&Ical::parse(named.into_bytes()).unwrap()), at(first), "{lines}");
        assert_eq!(begins(&plain), at(second), "{lines}");
    }
    // What has no form there is expanded in that zone, too.
    let hourly = ical("DTSTART:20261104T090000\nDURATION:PT1H\nRRULE:FREQ=HOURLY;INTERVAL=3;COUNT=2");
    let named = text(hourly.bytes()).replace("PRODID:x\r\n", "PRODID:x\r\nX-WR-TIMEZONE:Europe/Berlin\r\n");
    let Fit::Parts(parts, _) = provider().fit(&Ical::parse(named.into_bytes()).unwrap(), WINDOW) else {
        panic!()
    };
    let begins: Vec<i64> =
        parts.iter().map(|p| starts(&Ical::parse(p.bytes.clone()).unwrap())[0].0).collect();
    assert_eq!(
        begins,
        [Civil::parse("20261104T080000Z").unwrap().0, Civil::parse("20261104T110000Z").unwrap().0]
    );
}

/// Lines of ours, members that are sent, lines that come back (nothing: the same).
const MEMBERS: &[(&str, &str, &str)] = &[
    ("SUMMARY:Tea\\, please", r#"{"subject":"Tea, please"}"#, "SUMMARY:Tea\\, please"),
    (
        "",
        r#"{"subject":"","showAs":"busy","sensitivity":"normal","importance":"normal","isReminderOn":false,"reminderMinutesBeforeStart":15,"categories":[]}"#,
        "",
    ),
    (
        "DESCRIPTION:a\\n b ",
        r#"{"body":{"contentType":"html","content":"<html><body><div>a<br>\n&nbsp;b</div></body></html>"}}"#,
        "DESCRIPTION:a\\n b",
    ),
    ("DESCRIPTION:a\\nb", r#"{"body":{"contentType":"text","content":"a\nb"}}"#, "DESCRIPTION:a\\nb"),
    ("LOCATION:Room 1", r#"{"location":{"displayName":"Room 1"}}"#, "LOCATION:Room 1"),
    (
        "GEO:52.5;13.25",
        r#"{"location":{"displayName":"","coordinates":{"latitude":52.5,"longitude":13.25}}}"#,
        "GEO:52.5;13.25",
    ),
    ("TRANSP:OPAQUE", r#"{"showAs":"busy"}"#, ""),
    ("TRANSP:TRANSPARENT", r#"{"showAs":"free"}"#, "TRANSP:TRANSPARENT"),
    ("X-MICROSOFT-CDO-BUSYSTATUS:FREE", r#"{"showAs":"free"}"#, "TRANSP:TRANSPARENT"),
    (
        "STATUS:TENTATIVE",
        r#"{"showAs":"tentative"}"#,
        "STATUS:TENTATIVE\nX-MICROSOFT-CDO-BUSYSTATUS:TENTATIVE",
    ),
    ("STATUS:CONFIRMED", r#"{"showAs":"busy"}"#, ""),
    ("X-MICROSOFT-CDO-BUSYSTATUS:OOF", r#"{"showAs":"oof"}"#, "X-MICROSOFT-CDO-BUSYSTATUS:OOF"),
    ("TRANSP:TRANSPARENT\nX-MICROSOFT-CDO-BUSYSTATUS:OOF", r#"{"showAs":"free"}"#, "TRANSP:TRANSPARENT"),
    (
        "X-MICROSOFT-CDO-BUSYSTATUS:WORKINGELSEWHERE",
        r#"{"showAs":"workingElsewhere"}"#,
        "TRANSP:TRANSPARENT\nX-MICROSOFT-CDO-BUSYSTATUS:WORKINGELSEWHERE",
    ),
    ("CLASS:PUBLIC", r#"{"sensitivity":"normal"}"#, ""),
    ("CLASS:PRIVATE", r#"{"sensitivity":"private"}"#, "CLASS:PRIVATE"),
    ("CLASS:CONFIDENTIAL", r#"{"sensitivity":"confidential"}"#, "CLASS:CONFIDENTIAL"),
    ("PRIORITY:3", r#"{"importance":"high"}"#, "PRIORITY:1"),
    ("PRIORITY:5", r#"{"importance":"normal"}"#, ""),
    ("PRIORITY:7", r#"{"importance":"low"}"#, "PRIORITY:9"),
    ("CATEGORIES:b,a\\,c\nCATEGORIES:b", r#"{"categories":["a,c","b"]}"#, "CATEGORIES:a\\,c,b"),
    (
        "BEGIN:VALARM\nACTION:DISPLAY\nDESCRIPTION:x\nTRIGGER:-P1D\nEND:VALARM\nBEGIN:VALARM\nACTION:AUDIO\nTRIGGER:-PT10M\nEND:VALARM",
        r#"{"isReminderOn":true,"reminderMinutesBeforeStart":10}"#,
        "BEGIN:VALARM\nACTION:DISPLAY\nDESCRIPTION:Reminder\nTRIGGER:-PT10M\nEND:VALARM",
    ),
    (
        "BEGIN:VALARM\nACTION:EMAIL\nTRIGGER:-PT5M\nEND:VALARM\nBEGIN:VALARM\nACTION:DISPLAY\nTRIGGER:PT5M\nEND:VALARM",
        r#"{"isReminderOn":false,"reminderMinutesBeforeStart":15}"#,
        "",
    ),
    (
        "BEGIN:VALARM\nACTION:DISPLAY\nTRIGGER;VALUE=DATE-TIME:20261104T073000Z\nEND:VALARM",
        r#"{"isReminderOn":true,"reminderMinutesBeforeStart":30}"#,
        "BEGIN:VALARM\nACTION:DISPLAY\nDESCRIPTION:Reminder\nTRIGGER:-PT30M\nEND:VALARM",
    ),
];

// S3: every property both ways
#[test]
fn properties_go_there_and_come_back() {
    const WHEN: &str =
        "DTSTART;TZID=Europe/Berlin:20261104T090000\nDTEND;TZID=Europe/Berlin:20261104T100000\n";
    for (lines, json, back) in MEMBERS {
        let event = ical(&format!("{WHEN}{lines}"));
        let sent = members(&whole(&event).master);
        for (name, value) in serde_json::from_str::<Map<String, Value>>(json).unwrap() {
            assert_eq!(sent.get(&name), Some(&value), "{lines}");
        }
        assert!(!sent.contains_key("attendees") && !sent.contains_key("organizer"));
        let came = there_and_back(&event);
        let summary = if back.contains("SUMMARY") { "" } else { "SUMMARY:\n" };
        let wanted = ical(&format!("{WHEN}{summary}{back}"));
        assert_eq!(print(&Ical::parse(came.clone()).unwrap()), print(&wanted), "{lines}\n{}", text(&came));
        assert_eq!(print(&Ical::parse(fits(&event)).unwrap()), print(&wanted), "{lines}");
    }
}

// S2: all-day events stay on their days, zones keep their clocks
#[test]
fn times_go_there_and_come_back() {
    for (lines, back) in [
        (
            "DTSTART;VALUE=DATE:20261104\nDTEND;VALUE=DATE:20261107",
            "DTSTART;VALUE=DATE:20261104\nDTEND;VALUE=DATE:20261107",
        ),
        ("DTSTART;VALUE=DATE:20261104", "DTSTART;VALUE=DATE:20261104\nDTEND;VALUE=DATE:20261105"),
        ("DTSTART:20261104T090000Z\nDURATION:PT30M", "DTSTART:20261104T090000Z\nDTEND:20261104T093000Z"),
        ("DTSTART:20261104T090000Z", "DTSTART:20261104T090000Z\nDTEND:20261104T090000Z"),
        (
            "DTSTART;TZID=Europe/Vienna:20261104T090000\nDTEND;TZID=America/New_York:20261104T090000",
            "DTSTART;TZID=Europe/Berlin:20261104T090000\nDTEND;TZID=America/New_York:20261104T090000",
        ),
        (
            "DTSTART;TZID=W. Europe Standard Time:20261104T090000\nDURATION:P1D",
            "DTSTART;TZID=Europe/Berlin:20261104T090000\nDTEND;TZID=Europe/Berlin:20261105T090000",
        ),
    ] {
        let event = ical(lines);
        let wanted = ical(&format!("{back}\nSUMMARY:"));
        let came = there_and_back(&event);
        assert_eq!(print(&Ical::parse(came.clone()).unwrap()), print(&wanted), "{lines}\n{}", text(&came));
        assert_eq!(came, fits(&event), "{lines}");
    }
}

const SERIES: &str = "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:x\r\nBEGIN:VEVENT\r\nUID:u1\r\nDTSTAMP:20260101T000000Z\r\n\
    DTSTART;TZID=Europe/Berlin:20261102T090000\r\nDTEND;TZID=Europe/Berlin:20261102T100000\r\n\
    RRULE:FREQ=WEEKLY;BYDAY=MO,TH;COUNT=10\r\nEXDATE;TZID=Europe/Berlin:20261105T090000\r\nSUMMARY:Stand-up\r\n\
    END:VEVENT\r\nBEGIN:VEVENT\r\nUID:u1\r\nDTSTAMP:20260101T000000Z\r\n\
    RECURRENCE-ID;TZID=Europe/Berlin:20261109T090000\r\nDTSTART;TZID=Europe/Berlin:20261110T110000\r\n\
    DTEND;TZID=Europe/Berlin:20261110T120000\r\nSUMMARY:Stand-up (moved)\r\nEND:VEVENT\r\nBEGIN:VEVENT\r\nUID:u1\r\n\
    DTSTAMP:20260101T000000Z\r\nRECURRENCE-ID:20261112T080000Z\r\nDTSTART;TZID=Europe/Berlin:20261112T090000\r\n\
    DTEND;TZID=Europe/Berlin:20261112T100000\r\nSUMMARY:Stand-up\r\nSTATUS:CANCELLED\r\nEND:VEVENT\r\n\
    END:VCALENDAR\r\n";

// S3: moved, edited and cancelled instances
#[test]
fn a_series_goes_there_with_its_instances() {
    let series = Ical::parse(SERIES.as_bytes().to_vec()).unwrap();
    let held = whole(&series);
    let days = |set: Vec<&Civil>| set.into_iter().map(|c| c.to_date()).collect::<Vec<_>>();
    assert_eq!(days(held.cancelled.iter().collect()), ["20261105", "20261112"]);
    assert_eq!(days(held.exceptions.keys().collect()), ["20261109"]);
    let came = there_and_back(&series);
    assert_eq!(came, fits(&series));
    let came = Ical::parse(came).unwrap();
    let mut wanted = starts(&series);
    // What was cancelled as an instance of its own takes place nowhere there.
    let cancelled =
        date_time(&series.calendar().unwrap().named("VEVENT").nth(2).unwrap().property("DTSTART").unwrap());
    let cancelled = by_tzid("Europe/Berlin").unwrap().to_instant(cancelled.unwrap().civil());
    wanted.retain(|(start, _)| *start != cancelled);
    assert_eq!(starts(&came), wanted);
    assert_eq!(fits(&came), *came.bytes());
}

// ErrorOccurrenceCrossingBoundary: the instance leaves its series before Outlook refuses it
#[test]
fn an_instance_moved_past_its_neighbour_is_an_event_of_its_own() {
    let moved = SERIES.replace("20261110T1", "20261120T1");
    let event = Ical::parse(moved.into_bytes()).unwrap();
    let Fit::Parts(parts, why) = provider().fit(&event, WINDOW) else { panic!() };
    assert!(why.contains("neighbours"), "{why}");
    assert_eq!(parts.iter().map(|p| p.key.as_str()).collect::<Vec<_>>(), ["series-1", "20261109T080000Z"]);
    assert!(text(&parts[0].bytes).contains("EXDATE;TZID=Europe/Berlin:20261109T090000"));
    assert!(
        text(&parts[1].bytes).contains("SUMMARY:Stand-up (moved)")
            && !text(&parts[1].bytes).contains("RECURRENCE-ID")
    );
}

#[test]
fn only_what_differs_is_sent() {
    let of = |text: String| whole(&Ical::parse(text.into_bytes()).unwrap()).master;
    let base = of(SERIES.to_owned());
    let names = |item: &event::Item| difference(item, &base).keys().cloned().collect::<Vec<_>>();
    assert!(names(&base).is_empty());
    assert_eq!(names(&of(SERIES.replace("SUMMARY:Stand-up", "SUMMARY:Sit-down"))), ["subject"]);
    assert_eq!(
        names(&of(SERIES.replace("COUNT=10", "COUNT=12"))),
        ["end", "isAllDay", "recurrence", "start"]
    );
    assert_eq!(
        names(&of(SERIES.replacen(
            "END:VEVENT",
            "BEGIN:VALARM\r\nACTION:DISPLAY\r\nTRIGGER:-PT15M\r\nEND:VALARM\r\nEND:VEVENT",
            1
        ))),
        ["isReminderOn", "reminderMinutesBeforeStart"]
    );
}

// A UID of ours is believed only with the transaction id made of it
#[test]
fn copies_made_by_people_get_uids_of_their_own() {
    let calendar = RemoteId("cal".into());
    let held = whole(&Ical::parse(SERIES.as_bytes().to_vec()).unwrap());
    let mut event = answer(&held, &calendar);
    assert_eq!(event.uid(&calendar).as_deref(), Some("u1"));
    assert_eq!(event.uid(&RemoteId("another".into())).as_deref(), Some("040000008200E000"));
    event.transaction_id = None;
    assert_eq!(event.uid(&calendar).as_deref(), Some("040000008200E000"));
}

// S3: people are read and never written; what only Outlook has comes along
#[test]
fn a_meeting_is_read_with_its_people() {
    let event = event_of(json!({
        "id": "A", "@odata.etag": "W/\"1\"", "iCalUId": "0400", "type": "singleInstance", "subject": "Plan",
        "lastModifiedDateTime": "2026-11-01T10:00:00.1234567Z", "createdDateTime": "2026-11-01T09:00:00Z",
        "start": {"dateTime": "2026-11-04T08:00:00.0000000", "timeZone": "UTC"},
        "end": {"dateTime": "2026-11-04T09:00:00.0000000", "timeZone": "UTC"},
        "originalStartTimeZone": "tzone://Microsoft/Custom", "originalEndTimeZone": "tzone://Microsoft/Custom",
        "showAs": "unknown", "sensitivity": "personal", "isCancelled": true, "isReminderOn": true,
        "reminderMinutesBeforeStart": 0, "organizer": {"emailAddress": {"name": "Ann", "address": "ann@example.com"}},
        "attendees": [
            {"type": "required", "status": {"response": "accepted"}, "emailAddress": {"name": "Bo, C", "address": "bo@example.com"}},
            {"type": "resource", "status": {"response": "none"}, "emailAddress": {"name": "", "address": "room@example.com"}},
        ],
        "isOnlineMeeting": true, "onlineMeeting": {"joinUrl": "https://teams.example.com/l/1"},
        "webLink": "https://outlook.example.com/?itemid=A", "unknownMember": {"x": 1},
    }))
    .unwrap();
    let seen = seen(&RemoteId("cal".into()), &RemoteId("A".into()), &event);
    let read = text(&seen.bytes).replace("\r\n ", "");
    for line in [
        "UID:0400",
        "DTSTAMP:20261101T100000Z",
        "CREATED:20261101T090000Z",
        "DTSTART:20261104T080000Z",
        "STATUS:CANCELLED",
        "CLASS:PRIVATE",
        "ORGANIZER;CN=Ann:mailto:ann@example.com",
        "ATTENDEE;CN=\"Bo, C\";ROLE=REQ-PARTICIPANT;PARTSTAT=ACCEPTED:mailto:bo@example.com",
        "ATTENDEE;CUTYPE=RESOURCE;ROLE=NON-PARTICIPANT;PARTSTAT=NEEDS-ACTION:mailto:room@example.com",
        "CONFERENCE;VALUE=URI:https://teams.example.com/l/1",
        "URL:https://outlook.example.com/?itemid=A",
        "TRIGGER:PT0S",
    ] {
        assert!(read.contains(&format!("\r\n{line}\r\n")), "{line}\n{read}");
    }
    assert_eq!(seen.version, Some(Version("W/\"1\" people".into())));
    let held = fits(&Ical::parse(seen.bytes).unwrap());
    assert!(!text(&held).contains("ATTENDEE") && !text(&held).contains("CONFERENCE"));
}

// Every word of `freeBusyStatus`, `sensitivity` and `importance` in Graph's schema, as it is read
#[test]
fn every_word_of_graph_is_read() {
    for (member, word, line) in [
        ("showAs", "free", "TRANSP:TRANSPARENT"),
        ("showAs", "tentative", "X-MICROSOFT-CDO-BUSYSTATUS:TENTATIVE"),
        ("showAs", "busy", ""),
        ("showAs", "oof", "X-MICROSOFT-CDO-BUSYSTATUS:OOF"),
        ("showAs", "workingElsewhere", "X-MICROSOFT-CDO-BUSYSTATUS:WORKINGELSEWHERE"),
        ("showAs", "unknown", ""),
        ("showAs", "unknownFutureValue", ""),
        ("sensitivity", "normal", ""),
        ("sensitivity", "personal", "CLASS:PRIVATE"),
        ("sensitivity", "private", "CLASS:PRIVATE"),
        ("sensitivity", "confidential", "CLASS:CONFIDENTIAL"),
        ("importance", "low", "PRIORITY:9"),
        ("importance", "normal", ""),
        ("importance", "high", "PRIORITY:1"),
    ] {
        let mut said = json!({
            "id": "A", "@odata.etag": "W/\"1\"", "iCalUId": "0400", "type": "singleInstance", "subject": "Plan",
            "start": {"dateTime": "2026-11-04T08:00:00.0000000", "timeZone": "UTC"},
            "end": {"dateTime": "2026-11-04T09:00:00.0000000", "timeZone": "UTC"},
        });
        said[member] = json!(word);
        let seen = seen(&RemoteId("cal".into()), &RemoteId("A".into()), &event_of(said).unwrap());
        let read = text(&seen.bytes).replace("\r\n ", "");
        match line {
            "" => {
                let names =
                    ["TRANSP:TRANSPARENT", "X-MICROSOFT-CDO-BUSYSTATUS", "CLASS:PR", "CLASS:CO", "PRIORITY"];
                assert!(names.iter().all(|name| !read.contains(name)), "{member} {word}: {read}");
            }
            line => assert!(read.contains(&format!("\r\n{line}\r\n")), "{member} {word}: {read}"),
        }
    }
}

#[test]
fn what_is_not_an_event_is_refused() {
    for text in [
        "BEGIN:VCALENDAR\nBEGIN:VTODO\nUID:1\nEND:VTODO\nEND:VCALENDAR",
        "BEGIN:VCALENDAR\nBEGIN:VEVENT\nUID:1\nEND:VEVENT\nEND:VCALENDAR",
    ] {
        let ical = Ical::parse(text.as_bytes().to_vec()).unwrap();
        assert!(matches!(provider().fit(&ical, WINDOW), Fit::Refused(_)));
    }
}

fn calendars_below(folder: &std::path::Path, found: &mut Vec<std::path::PathBuf>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            calendars_below(&path, found);
        } else if path.extension().is_some_and(|e| e == "ics") {
            found.push(path);
        }
    }
}

/// The objects of a file: one for each UID.
fn objects(bytes: Vec<u8>) -> Vec<Ical> {
    let Ok(ical) = Ical::parse(bytes) else { return Vec::new() };
    let Some(calendar) = ical.calendar() else { return Vec::new() };
    let mut by_uid: std::collections::BTreeMap<String, String> = Default::default();
    let mut zones = String::new();
    for component in calendar.components() {
        let text = String::from_utf8_lossy(&ical.bytes()[component.span()]).into_owned();
        match component.name() {
            "VTIMEZONE" => zones.push_str(&text),
            "VEVENT" => {
                let uid = component.property("UID").map(|p| p.text()).unwrap_or_default();
                by_uid.entry(uid).or_default().push_str(&text);
            }
            _ => {}
        }
    }
    let one = |events: String| {
        Ical::parse(format!("BEGIN:VCALENDAR\r\n{zones}{events}END:VCALENDAR\r\n").into_bytes())
    };
    by_uid.into_values().filter_map(|events| one(events).ok()).collect()
}

// S3: the hard series of the corpus go there and come back equal in meaning; what fits, fits again
#[test]
fn the_corpus_goes_there_and_comes_back() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    calendars_below(&root.join("webdav-tests"), &mut files);
    let shared = std::env::var_os("KALENDS_SHARED").map_or_else(|| root.join("../shared"), Into::into);
    calendars_below(&shared.join("corpus"), &mut files);
    let (mut whole_count, mut part_count) = (0, 0);
    // Of thousands, one in eight is enough for every day.
    let every = if files.len() > 500 { 8 } else { 1 };
    for path in files.iter().step_by(every) {
        for object in objects(std::fs::read(path).unwrap_or_default()) {
            match provider().fit(&object, WINDOW) {
                Fit::Whole(bytes) => {
                    whole_count += 1;
                    let held = Ical::parse(bytes.clone()).unwrap();
                    assert_eq!(fits(&held), bytes, "{}", path.display());
                    assert_eq!(
                        print(&Ical::parse(there_and_back(&object)).unwrap()),
                        print(&held),
                        "{}",
                        path.display()
                    );
                }
                Fit::Parts(parts, _) => {
                    part_count += 1;
                    for part in parts.into_iter().take(3) {
                        let held = Ical::parse(part.bytes.clone()).unwrap();
                        assert_eq!(fits(&held), part.bytes, "{}", path.display());
                    }
                }
                Fit::Refused(_) => {}
            }
        }
    }
    assert!(whole_count > 10 && part_count > 0, "{whole_count} {part_count} of {} files", files.len());
}

// S2-052: name, colour by its hex or else by its name, the main one, whether it can be edited
#[test]
fn a_calendar_is_told_with_its_colour() {
    let read = |value: Value| serde_json::from_value::<Calendar>(value).unwrap().remote();
    let own = read(json!({"id": "1", "name": "Family", "color": "lightBlue", "hexColor": "#0078d4",
        "isDefaultCalendar": true, "canEdit": true}));
    let told = (own.id.0.as_str(), own.name.as_str(), own.color.as_deref(), own.primary, own.writable);
    assert_eq!(told, ("1", "Family", Some("#0078d4"), true, true));
    let named = read(json!({"id": "2", "name": "", "color": "lightBlue", "hexColor": ""}));
    assert!(named.color.is_some_and(|hex| hex.len() == 7 && hex.starts_with('#')));
    assert_eq!((named.name.as_str(), named.primary, named.writable), ("Calendar", false, false));
    assert_eq!(read(json!({"id": "3", "color": "auto"})).color, None);
}

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use super::*;
use crate::ical::busy::utc_text;
use crate::ical::tree::Ical;
use crate::ical::zone::by_tzid;

fn read(lines: &str) -> Series {
    let lines: Vec<&str> = lines.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let text = format!("BEGIN:VCALENDAR\r\n{}\r\nEND:VCALENDAR\r\n", lines.join("\r\n"));
    Series::of(&Ical::parse(text).unwrap())
}

fn event(lines: &str) -> Series {
    read(&format!("BEGIN:VEVENT\nUID:1\n{lines}\nEND:VEVENT"))
}

fn at(text: &str) -> i64 {
    Civil::parse(text).unwrap().0
}

fn range(from: &str, to: &str) -> TimeRange {
    TimeRange { start: at(from), end: at(to) }
}

/// The instances as `start/end` in UTC, or dates.
fn shown_in(series: &Series, range: TimeRange, floating: &Zone) -> Vec<String> {
    let found = series.instances(range, floating, 1000);
    assert_eq!(series.overlaps(range, floating), !found.list.is_empty() || !found.complete);
    if let (Some(extent), false) = (series.span(), found.list.is_empty()) {
        assert!(extent.start < range.end && extent.end.is_none_or(|end| end > range.start), "{extent:?}");
    }
    let show = |i: &Instance| match (i.starts, i.ends) {
        (Written::Date(a), Written::Date(b)) => format!("{}/{}", a.to_date(), b.to_date()),
        _ => format!("{}/{}", utc_text(i.start), utc_text(i.end)),
    };
    found.list.iter().map(show).collect()
}

#[track_caller]
fn check(series: &Series, from: &str, to: &str, expected: &[&str]) {
    assert_eq!(shown_in(series, range(from, to), &Zone::Utc), expected);
}

#[test]
fn an_override_takes_the_place_of_its_instance() {
    // S3-091, S4-050
    let series = read(
        "BEGIN:VEVENT\nUID:1\nDTSTART;TZID=America/New_York:20250303T090000\nDTEND;TZID=America/New_York:20250303T100000
         RRULE:FREQ=WEEKLY\nEND:VEVENT
         BEGIN:VEVENT\nUID:1\nRECURRENCE-ID;TZID=America/New_York:20250310T090000
         DTSTART;TZID=America/New_York:20250320T150000\nDURATION:PT30M\nEND:VEVENT",
    );
    // The week of the original has no instance left: it must not count any more.
    check(&series, "20250310", "20250317", &[]);
    // The clock has changed on 9 March: 09:00 is 13:00 UTC.
    check(
        &series,
        "20250317",
        "20250324",
        &["20250317T130000Z/20250317T140000Z", "20250320T190000Z/20250320T193000Z"],
    );
    assert_eq!(series.span().unwrap().end, None);
    // The same with the RECURRENCE-ID in UTC.
    let series = read(
        "BEGIN:VEVENT\nUID:1\nDTSTART;TZID=America/New_York:20250303T090000\nRRULE:FREQ=WEEKLY\nEND:VEVENT
         BEGIN:VEVENT\nUID:1\nRECURRENCE-ID:20250310T130000Z\nDTSTART:20250301T120000Z\nEND:VEVENT",
    );
    check(&series, "20250310", "20250317", &[]);
    check(&series, "20250301", "20250302", &["20250301T120000Z/20250301T120000Z"]);
    assert_eq!(series.span().unwrap().start, at("20250301T120000"));
}

#[test]
fn exceptions_of_another_value_type_still_mean_their_instance() {
    //
    let series = event(
        "DTSTART;TZID=America/New_York:20250303T220000\nRRULE:FREQ=DAILY;COUNT=5\nEXDATE;VALUE=DATE:20250304,20250306",
    );
    // 22:00 local is the next day in UTC: the local day counts.
    check(
        &series,
        "20250303",
        "20250310",
        &[
            "20250304T030000Z/20250304T030000Z",
            "20250306T030000Z/20250306T030000Z",
            "20250308T030000Z/20250308T030000Z",
        ],
    );
    let series = event(
        "DTSTART;VALUE=DATE:20250303\nRRULE:FREQ=DAILY;COUNT=4\nEXDATE:20250304T000000Z\nEXDATE;TZID=Europe/Berlin:20250305T090000",
    );
    check(&series, "20250303", "20250310", &["20250303/20250304", "20250306/20250307"]);
    let series = read(
        "BEGIN:VEVENT\nUID:1\nDTSTART:20250303T100000Z\nRRULE:FREQ=DAILY;COUNT=3\nEND:VEVENT
         BEGIN:VEVENT\nUID:1\nRECURRENCE-ID;VALUE=DATE:20250304\nDTSTART:20250401T100000Z\nEND:VEVENT",
    );
    let moved = series.instances(range("20250401", "20250402"), &Zone::Utc, 9).list;
    assert_eq!(moved[0].recurrence_id, Some(Written::Utc(at("20250304T100000"))));
    check(
        &series,
        "20250303",
        "20250310",
        &["20250303T100000Z/20250303T100000Z", "20250305T100000Z/20250305T100000Z"],
    );
    let series = event("DTSTART:20250303T100000Z\nRDATE;VALUE=DATE:20250305");
    check(
        &series,
        "20250303",
        "20250310",
        &["20250303T100000Z/20250303T100000Z", "20250305T100000Z/20250305T100000Z"],
    );
}

#[test]
fn until_of_another_value_type_is_understood() {
    // a date includes its local day.
    let series = event("DTSTART;TZID=America/New_York:20250303T220000\nRRULE:FREQ=DAILY;UNTIL=20250304");
    check(
        &series,
        "20250301",
        "20250401",
        &["20250304T030000Z/20250304T030000Z", "20250305T030000Z/20250305T030000Z"],
    );
    let series = event("DTSTART;VALUE=DATE:20250303\nRRULE:FREQ=DAILY;UNTIL=20250304T235959Z");
    check(&series, "20250301", "20250401", &["20250303/20250304", "20250304/20250305"]);
    // Without Z, as the wall clock shows.
    let series =
        event("DTSTART;TZID=America/New_York:20250303T220000\nRRULE:FREQ=DAILY;UNTIL=20250304T220000");
    assert_eq!(shown_in(&series, range("20250301", "20250401"), &Zone::Utc).len(), 2);
    // UNTIL in UTC is compared as an instant: the second 01:30 of 2 November is after this UNTIL, the first is not.
    let series =
        event("DTSTART;TZID=America/New_York:20251101T013000\nRRULE:FREQ=DAILY;UNTIL=20251102T053000Z");
    check(
        &series,
        "20251101",
        "20251105",
        &["20251101T053000Z/20251101T053000Z", "20251102T053000Z/20251102T053000Z"],
    );
    // An UNTIL whose wall clock reads earlier than an instance before it (the hour that occurs twice).
    let series =
        event("DTSTART;TZID=America/New_York:20251101T014500\nRRULE:FREQ=DAILY;UNTIL=20251102T061500Z");
    assert_eq!(shown_in(&series, range("20251101", "20251105"), &Zone::Utc).len(), 2);
}

#[test]
fn dtstart_counts_first_even_if_the_rule_does_not_yield_it() {
    let series = event("DTSTART:20250303T100000Z\nRRULE:FREQ=WEEKLY;BYDAY=TU;COUNT=3");
    check(
        &series,
        "20250301",
        "20250401",
        &[
            "20250303T100000Z/20250303T100000Z",
            "20250304T100000Z/20250304T100000Z",
            "20250311T100000Z/20250311T100000Z",
        ],
    );
    // RFC 5545 §3.8.5.3, Friday the 13th: an EXDATE takes it away.
    let series =
        event("DTSTART:19970902T130000Z\nEXDATE:19970902T130000Z\nRRULE:FREQ=MONTHLY;BYDAY=FR;BYMONTHDAY=13");
    check(
        &series,
        "19970101",
        "19981001",
        &["19980213T130000Z/19980213T130000Z", "19980313T130000Z/19980313T130000Z"],
    );
    let series = event("DTSTART:20250303T100000Z\nRRULE:FREQ=DAILY;UNTIL=20250101T000000Z");
    check(&series, "20250101", "20260101", &["20250303T100000Z/20250303T100000Z"]);
}

#[test]
fn a_length_is_exact_with_dtend_and_nominal_with_duration() {
    // RFC 5545 §3.8.5.3 and §3.3.6; the night of 9 March is an hour short.
    let zone = "TZID=America/New_York";
    let series =
        event(&format!("DTSTART;{zone}:20250301T120000\nDTEND;{zone}:20250302T120000\nRRULE:FREQ=DAILY"));
    check(&series, "20250309T060000", "20250309T070000", &["20250308T170000Z/20250309T170000Z"]);
    let series = event(&format!("DTSTART;{zone}:20250301T120000\nDURATION:P1D\nRRULE:FREQ=DAILY"));
    check(&series, "20250309T060000", "20250309T070000", &["20250308T170000Z/20250309T160000Z"]);
    let series = event(&format!("DTSTART;{zone}:20250301T120000\nDURATION:PT24H\nRRULE:FREQ=DAILY"));
    check(&series, "20250309T060000", "20250309T070000", &["20250308T170000Z/20250309T170000Z"]);
    let series = event(&format!("DTSTART;{zone}:20250301T120000\nDURATION:P1DT1H\nRRULE:FREQ=DAILY"));
    check(&series, "20250309T060000", "20250309T070000", &["20250308T170000Z/20250309T170000Z"]);
}

#[test]
fn what_is_not_said_of_the_end() {
    // S1-016, S1-096
    // RFC 5545 §3.6.1
    check(&event("DTSTART;VALUE=DATE:20250303"), "20250301", "20250401", &["20250303/20250304"]);
    check(
        &event("DTSTART;VALUE=DATE:20250303\nDTEND;VALUE=DATE:20250303"),
        "20250301",
        "20250401",
        &["20250303/20250304"],
    );
    check(
        &event("DTSTART;VALUE=DATE:20250303\nDURATION:P3D"),
        "20250301",
        "20250401",
        &["20250303/20250306"],
    );
    check(&event("DTSTART:20250303T100000Z"), "20250301", "20250401", &["20250303T100000Z/20250303T100000Z"]);
    let backwards = event("DTSTART:20250303T100000Z\nDTEND:20250303T090000Z");
    check(&backwards, "20250301", "20250401", &["20250303T100000Z/20250303T100000Z"]);
    let two_zones =
        event("DTSTART;TZID=Europe/Berlin:20250303T100000\nDTEND;TZID=America/New_York:20250303T130000");
    check(&two_zones, "20250301", "20250401", &["20250303T090000Z/20250303T180000Z"]);
}

#[test]
fn whole_days_and_floating_times_are_read_where_the_question_is_asked() {
    // S1-016, S1-099
    let day = event("DTSTART;VALUE=DATE:20250303");
    let new_york = by_tzid("America/New_York").unwrap();
    let auckland = by_tzid("Pacific/Auckland").unwrap();
    // 3 March in New York is 05:00 UTC to 05:00 UTC.
    assert!(day.overlaps(range("20250304T040000", "20250304T043000"), &new_york));
    assert!(!day.overlaps(range("20250303T000000", "20250303T050000"), &new_york));
    assert!(day.overlaps(range("20250302T110000", "20250302T113000"), &auckland));
    assert!(!day.overlaps(range("20250303T110000", "20250303T120000"), &auckland));
    assert!(day.floats() && !day.span().unwrap().exact);
    let floating = event("DTSTART:20250303T120000\nDTEND:20250303T130000\nRRULE:FREQ=DAILY");
    let list = floating.instances(range("20250303T165900", "20250303T170100"), &new_york, 9).list;
    assert_eq!((list[0].start, list[0].end), (at("20250303T170000"), at("20250303T180000")));
    assert_eq!(list[0].starts, Written::Floating(Civil(at("20250303T120000"))));
    // A midnight that does not exist: the day begins an hour later.
    let day = event("DTSTART;VALUE=DATE:20181103\nRRULE:FREQ=DAILY;COUNT=3");
    let sao_paulo = by_tzid("America/Sao_Paulo").unwrap();
    let list = day.instances(TimeRange::ALL, &sao_paulo, 9).list;
    assert_eq!(
        list.iter().map(|i| i.start).collect::<Vec<_>>(),
        [at("20181103T030000"), at("20181104T030000"), at("20181105T020000")]
    );
}

#[test]
fn gaps_and_overlaps_in_a_series() {
    // S1-099, S4-090
    let instants = |lines: &str| -> Vec<String> {
        event(lines).instances(TimeRange::ALL, &Zone::Utc, 9).list.iter().map(|i| utc_text(i.start)).collect()
    };
    assert_eq!(
        instants("DTSTART;TZID=America/New_York:20250308T023000\nRRULE:FREQ=DAILY;COUNT=3"),
        ["20250308T073000Z", "20250309T073000Z", "20250310T063000Z"]
    );
    assert_eq!(
        instants("DTSTART;TZID=Pacific/Apia:20111229T120000\nRRULE:FREQ=DAILY;COUNT=4"),
        ["20111229T220000Z", "20111230T220000Z", "20111231T220000Z"],
        "the 30th did not happen, and the 31st happens once"
    );
    assert_eq!(
        instants("DTSTART;TZID=America/New_York:20250309T003000\nRRULE:FREQ=HOURLY;COUNT=5"),
        ["20250309T053000Z", "20250309T063000Z", "20250309T073000Z", "20250309T083000Z"],
        "02:30 does not exist and 03:30 is there already"
    );
    assert_eq!(
        instants("DTSTART;TZID=Europe/Dublin:20251025T013000\nRRULE:FREQ=DAILY;COUNT=3"),
        ["20251025T003000Z", "20251026T003000Z", "20251027T013000Z"]
    );
    assert_eq!(
        instants("DTSTART;TZID=America/Sao_Paulo:20181103T000000\nRRULE:FREQ=DAILY;COUNT=3"),
        ["20181103T030000Z", "20181104T030000Z", "20181105T020000Z"]
    );
}

#[test]
fn this_and_future_moves_what_follows() {
    // RFC 5545 §3.2.13 and §3.8.4.4
    let series = read(
        "BEGIN:VEVENT\nUID:1\nDTSTART:20250303T100000Z\nDTEND:20250303T110000Z\nRRULE:FREQ=WEEKLY;COUNT=5\nEND:VEVENT
         BEGIN:VEVENT\nUID:1\nRECURRENCE-ID;RANGE=THISANDFUTURE:20250317T100000Z
         DTSTART:20250318T120000Z\nDTEND:20250318T123000Z\nEND:VEVENT
         BEGIN:VEVENT\nUID:1\nRECURRENCE-ID:20250324T100000Z\nDTSTART:20250324T080000Z\nEND:VEVENT",
    );
    check(
        &series,
        "20250301",
        "20250501",
        &[
            "20250303T100000Z/20250303T110000Z",
            "20250310T100000Z/20250310T110000Z",
            "20250318T120000Z/20250318T123000Z",
            "20250324T080000Z/20250324T080000Z",
            "20250401T120000Z/20250401T123000Z",
        ],
    );
    check(&series, "20250401", "20250402", &["20250401T120000Z/20250401T123000Z"]);
    check(&series, "20250331", "20250401", &[]);
    let found = series.instances(range("20250401", "20250402"), &Zone::Utc, 9).list;
    assert_eq!(found[0].recurrence_id, Some(Written::Utc(at("20250331T100000"))));
    assert_eq!(found[0].component, 1);
}

#[test]
fn extra_dates_and_periods() {
    let series = event(
        "DTSTART:20250303T100000Z\nDTEND:20250303T110000Z\nRRULE:FREQ=WEEKLY;COUNT=2\n\
         RDATE:20250305T100000Z,20250310T100000Z\nRDATE;VALUE=PERIOD:20250301T080000Z/PT15M,20250307T080000Z/20250307T120000Z",
    );
    check(
        &series,
        "20250201",
        "20250401",
        &[
            "20250301T080000Z/20250301T081500Z",
            "20250303T100000Z/20250303T110000Z",
            "20250305T100000Z/20250305T110000Z",
            "20250307T080000Z/20250307T120000Z",
            "20250310T100000Z/20250310T110000Z",
        ],
    );
    check(&series, "20250307T113000", "20250307T114500", &["20250307T080000Z/20250307T120000Z"]);
    let only = event("DTSTART;VALUE=DATE:20250303\nRDATE;VALUE=DATE:20250401,20250501");
    check(&only, "20250401", "20250402", &["20250401/20250402"]);
    assert_eq!(only.span().unwrap().start, at("20250302T100000"));
    // EXRULE (RFC 2445) takes away what it yields, and DTSTART only if it yields that.
    let series = event("DTSTART:20250303T100000Z\nRRULE:FREQ=DAILY;COUNT=6\nEXRULE:FREQ=DAILY;BYDAY=TU,TH");
    let starts = shown_in(&series, range("20250301", "20250401"), &Zone::Utc);
    assert_eq!(
        starts.iter().map(|s| &s[..8]).collect::<Vec<_>>(),
        ["20250303", "20250305", "20250307", "20250308"]
    );
    let two = event("DTSTART:20250303T100000Z\nRRULE:FREQ=DAILY;COUNT=3\nRRULE:FREQ=WEEKLY;COUNT=2");
    assert_eq!(shown_in(&two, range("20250301", "20250401"), &Zone::Utc).len(), 4);
}

#[test]
fn an_override_without_its_master_stands_alone() {
    // S3-091
    // invited to one instance.
    let series = read(
        "BEGIN:VEVENT\nUID:1\nRECURRENCE-ID:20250310T100000Z\nDTSTART:20250310T120000Z\nDTEND:20250310T130000Z\nEND:VEVENT",
    );
    check(&series, "20250301", "20250401", &["20250310T120000Z/20250310T130000Z"]);
    check(&series, "20250310T100000", "20250310T120000", &[]);
    assert!(series.recurs());
    assert_eq!(
        series.span().unwrap(),
        Extent { start: at("20250310T120000"), end: Some(at("20250310T130000")), exact: true }
    );
}

#[test]
fn of_two_versions_the_newer_counts() {
    let over = |sequence: u32, start: &str| {
        format!(
            "BEGIN:VEVENT\nUID:1\nSEQUENCE:{sequence}\nRECURRENCE-ID:20250304T100000Z\nDTSTART:{start}\nEND:VEVENT\n"
        )
    };
    let master = |sequence: u32, rule: &str| {
        format!(
            "BEGIN:VEVENT\nUID:1\nSEQUENCE:{sequence}\nDTSTART:20250303T100000Z\nRRULE:{rule}\nEND:VEVENT\n"
        )
    };
    let text = [
        over(2, "20250305T120000Z"),
        master(1, "FREQ=DAILY;COUNT=9"),
        over(1, "20250306T120000Z"),
        master(3, "FREQ=DAILY;COUNT=2"),
    ]
    .concat();
    check(
        &read(&text),
        "20250301",
        "20250401",
        &["20250303T100000Z/20250303T100000Z", "20250305T120000Z/20250305T120000Z"],
    );
    let text = [over(1, "20250305T120000Z"), over(1, "20250306T120000Z")].concat();
    check(&read(&text), "20250301", "20250401", &["20250306T120000Z/20250306T120000Z"]);
    // An EXDATE beside an override (Apple): the override takes place.
    let text = format!(
        "{}{}",
        master(1, "FREQ=DAILY;COUNT=2\nEXDATE:20250304T100000Z"),
        over(1, "20250304T120000Z")
    );
    check(
        &read(&text),
        "20250301",
        "20250401",
        &["20250303T100000Z/20250303T100000Z", "20250304T120000Z/20250304T120000Z"],
    );
    // COUNT=-1 is written for "without COUNT".
    let endless = event("DTSTART:20250303T100000Z\nRRULE:FREQ=DAILY;COUNT=-1");
    assert_eq!((endless.note(), endless.span().unwrap().end), (None, None));
}

#[test]
fn what_is_not_understood_counts_as_dtstart_alone() {
    for rule in [
        "RSCALE=CHINESE;FREQ=YEARLY",
        "FREQ=DAILY;X-FOO=1",
        "FREQ=FORTNIGHTLY",
        "FREQ=DAILY;INTERVAL=0",
        "INTERVAL=2",
        "FREQ=DAILY;BYMONTHDAY=0",
        "FREQ=DAILY;UNTIL=soon",
        "FREQ=DAILY;COUNT=0",
        "FREQ=WEEKLY;BYDAY=XX",
        "",
    ] {
        let series = event(&format!("DTSTART:20250303T100000Z\nRRULE:{rule}\nRDATE:20250305T100000Z"));
        check(
            &series,
            "20250101",
            "20260101",
            &["20250303T100000Z/20250303T100000Z", "20250305T100000Z/20250305T100000Z"],
        );
        assert!(series.note().is_some(), "{rule}");
    }
    let odd = event("DTSTART;TZID=Middle Earth:20250303T100000");
    check(&odd, "20250101", "20260101", &["20250303T100000Z/20250303T100000Z"]);
    assert!(odd.note().unwrap().contains("Middle Earth") && odd.floats());
    let bad = event("DTSTART:tomorrow");
    check(&bad, "20250101", "20260101", &[]);
    assert!(bad.note().is_some());
    assert_eq!(bad.span(), None);
    // Letter case, blanks and empty parts are forgiven; RSCALE=GREGORIAN says nothing new.
    let series = event("DTSTART:20250303T100000Z\nRRULE:freq=daily; count=2;;RSCALE=GREGORIAN;");
    assert_eq!(
        (series.note(), shown_in(&series, range("20250101", "20260101"), &Zone::Utc).len()),
        (None, 2)
    );
}

#[test]
fn hostile_rules_end_after_a_bounded_number_of_steps() {
    // Steps are bounded by the budgets of `recur` and `walk`; what is shown here is that every call returns.
    let far = range("20450101", "20450108");
    for rule in [
        "FREQ=SECONDLY;BYMONTH=2;BYMONTHDAY=30",
        "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30",
        "FREQ=DAILY;BYYEARDAY=366;BYMONTH=1",
        "FREQ=MINUTELY;BYSETPOS=60;BYSECOND=1",
        "FREQ=HOURLY;INTERVAL=24;BYHOUR=9",
        "FREQ=SECONDLY;INTERVAL=60;BYSECOND=1",
        "FREQ=SECONDLY;BYMONTH=2;BYMONTHDAY=30;COUNT=1000000000",
        "FREQ=WEEKLY;BYDAY=MO;BYMONTHDAY=31;BYMONTH=2",
    ] {
        let series = event(&format!("DTSTART:20250303T100000Z\nRRULE:{rule}"));
        assert!(!series.overlaps(far, &Zone::Utc), "{rule}");
        // Until the end of time nobody may be able to say: then the object is left in.
        let all = series.instances(TimeRange::new(Some(far.start), None), &Zone::Utc, 10);
        let says = series.overlaps(TimeRange::new(Some(far.start), None), &Zone::Utc);
        assert_eq!((all.list.len(), says), (0, !all.complete), "{rule}");
        check(&series, "20250101", "20260101", &["20250303T100000Z/20250303T100000Z"]);
        assert!(series.size_hint_bytes() < 2000, "{rule}");
    }
    let series = event("DTSTART:20250303T100000Z\nRRULE:FREQ=SECONDLY\nEXRULE:FREQ=SECONDLY");
    assert!(!series.instances(far, &Zone::Utc, 10).complete && series.overlaps(far, &Zone::Utc));
    // Many, but no more than asked for, and from where it is asked.
    for rule in
        ["FREQ=SECONDLY", "FREQ=SECONDLY;COUNT=1000000000", "FREQ=MINUTELY;BYSECOND=0,1,2;COUNT=999999999"]
    {
        let series = event(&format!("DTSTART:20250303T100000Z\nRRULE:{rule}"));
        let found = series.instances(far, &Zone::Utc, 500);
        assert_eq!((found.list.len(), found.complete), (500, false), "{rule}");
        assert_eq!(found.list[0].start, far.start, "{rule}");
    }
    let series = event("DTSTART:20250303T100000Z\nRRULE:FREQ=DAILY;COUNT=1000000000");
    assert_eq!(shown_in(&series, far, &Zone::Utc).len(), 7);
    assert_eq!(
        event("DTSTART:20250303T100000Z\nRRULE:FREQ=DAILY;INTERVAL=99999999999").span().unwrap().end,
        None
    );
}

#[test]
fn hostile_objects_are_bounded() {
    //
    let many = |line: &str, times: usize| format!("{line}\n").repeat(times);
    let rules = event(&format!(
        "DTSTART:20250303T100000Z\n{}",
        many("RRULE:FREQ=SECONDLY;BYMONTH=2;BYMONTHDAY=30;COUNT=1000000", 500)
    ));
    assert!(rules.note().is_some() && rules.rules.len() <= 16);
    let zone = |name: usize| {
        format!(
            "BEGIN:VTIMEZONE\nTZID:Z{name}\nBEGIN:STANDARD\nDTSTART:19700101T000000\nTZOFFSETFROM:+0100\n\
             TZOFFSETTO:+0{}00\nEND:STANDARD\nEND:VTIMEZONE\n",
            name % 10
        )
    };
    let zones: String = (0..200).map(zone).collect();
    let exdates: String = (0..2000).map(|n| format!("EXDATE;TZID=Z{}:20250303T100000\n", n % 200)).collect();
    let series = read(&format!(
        "{zones}BEGIN:VEVENT\nUID:1\nDTSTART;TZID=Z1:20250303T100000\nRRULE:FREQ=DAILY\n{exdates}END:VEVENT"
    ));
    assert!(series.overlaps(range("20250401", "20250402"), &Zone::Utc));
    let over = |n: i64| {
        let at = Civil(at("20250303T100000") + n * 86_400).to_basic();
        format!("BEGIN:VEVENT\nUID:1\nRECURRENCE-ID;RANGE=THISANDFUTURE:{at}Z\nDTSTART:{at}Z\nEND:VEVENT\n")
    };
    let overs: String = (0..3000).map(over).collect();
    let series = read(&format!(
        "BEGIN:VEVENT\nUID:1\nDTSTART:20250303T100000Z\nRRULE:FREQ=DAILY\nEND:VEVENT\n{overs}"
    ));
    assert_eq!(series.instances(range("20250303", "20450303"), &Zone::Utc, 10_000).list.len(), 7305);
}

#[test]
fn a_count_far_away_is_right_without_walking() {
    let series = event("DTSTART:20000101T000000Z\nRRULE:FREQ=MINUTELY;INTERVAL=7;COUNT=1000000");
    let last = at("20000101T000000") + 999_999 * 7 * 60;
    assert_eq!(series.span().unwrap().end, Some(last + 1));
    assert!(series.overlaps(TimeRange { start: last, end: last + 1 }, &Zone::Utc));
    assert!(!series.overlaps(TimeRange { start: last + 1, end: last + 1_000_000 }, &Zone::Utc));
    let weekly = event("DTSTART:20000105T000000Z\nRRULE:FREQ=WEEKLY;BYDAY=MO,WE,FR;COUNT=10000");
    let all = weekly.instances(TimeRange::ALL, &Zone::Utc, 20_000).list;
    assert_eq!(all.len(), 10_000);
    assert_eq!(weekly.span().unwrap().end, Some(all[9_999].end + 1));
}

#[test]
fn the_span_of_one_event_decides_by_itself() {
    let one = event("DTSTART;TZID=Europe/Berlin:20250303T100000\nDURATION:PT1H");
    assert_eq!(
        one.span(),
        Some(Extent { start: at("20250303T090000"), end: Some(at("20250303T100000")), exact: true })
    );
    let none = event("DTSTART:20250303T090000Z");
    assert_eq!(
        none.span(),
        Some(Extent { start: at("20250303T090000"), end: Some(at("20250303T090000")), exact: true })
    );
    assert!(none.overlaps(range("20250303T090000", "20250303T100000"), &Zone::Utc));
    assert!(!none.overlaps(range("20250303T080000", "20250303T090000"), &Zone::Utc));
    let until =
        event("DTSTART:20250303T090000Z\nDTEND:20250303T100000Z\nRRULE:FREQ=DAILY;UNTIL=20250310T090000Z");
    assert_eq!(
        until.span(),
        Some(Extent { start: at("20250303T090000"), end: Some(at("20250310T100001")), exact: false })
    );
}

/// RFC 4791 §9.9: each row of a table is lines, then ranges that match and ranges that do not.
#[track_caller]
fn rows(kind: &str, lines: &str, yes: &[(&str, &str)], no: &[(&str, &str)]) {
    let series = read(&format!("BEGIN:{kind}\nUID:1\n{lines}\nEND:{kind}"));
    for (from, to) in yes {
        assert!(series.overlaps(range(from, to), &Zone::Utc), "{lines} should overlap {from}/{to}");
        if let Some(extent) = series.span() {
            let (start, end) = (at(from), at(to));
            assert!(
                extent.start < end
                    && extent.end.is_none_or(|e| e > start || (e == extent.start && e == start))
            );
        }
    }
    for (from, to) in no {
        assert!(!series.overlaps(range(from, to), &Zone::Utc), "{lines} should not overlap {from}/{to}");
    }
}

#[test]
fn events_overlap_as_the_table_says() {
    rows(
        "VEVENT",
        "DTSTART:20250310T100000Z\nDTEND:20250310T110000Z",
        &[("20250310T103000", "20250310T104500"), ("20250310T090000", "20250310T100001")],
        &[("20250310T090000", "20250310T100000"), ("20250310T110000", "20250310T120000")],
    );
    rows(
        "VEVENT",
        "DTSTART:20250310T100000Z\nDURATION:PT0S",
        &[("20250310T100000", "20250310T110000")],
        &[("20250310T090000", "20250310T100000"), ("20250310T100001", "20250310T110000")],
    );
    rows(
        "VEVENT",
        "DTSTART;VALUE=DATE:20250310",
        &[("20250310", "20250310T010000"), ("20250310T230000", "20250312")],
        &[("20250309", "20250310"), ("20250311", "20250312")],
    );
}

#[test]
fn to_dos_overlap_as_the_table_says() {
    rows(
        "VTODO",
        "DTSTART:20250310T100000Z\nDURATION:PT1H",
        &[("20250310T110000", "20250310T120000"), ("20250310T090000", "20250310T100001")],
        &[("20250310T090000", "20250310T100000"), ("20250310T110001", "20250310T120000")],
    );
    rows(
        "VTODO",
        "DTSTART:20250310T100000Z\nDUE:20250310T110000Z",
        &[("20250310T105959", "20250310T120000"), ("20250310T100000", "20250310T100001")],
        &[("20250310T110000", "20250310T120000"), ("20250310T090000", "20250310T100000")],
    );
    rows(
        "VTODO",
        "DTSTART:20250310T100000Z\nDUE:20250310T100000Z",
        &[("20250310T100000", "20250310T100001"), ("20250310T090000", "20250310T100000")],
        &[("20250310T100001", "20250310T120000")],
    );
    rows(
        "VTODO",
        "DTSTART:20250310T100000Z",
        &[("20250310T100000", "20250310T100001")],
        &[("20250310T090000", "20250310T100000"), ("20250310T100001", "20250310T120000")],
    );
    rows(
        "VTODO",
        "DUE:20250310T100000Z",
        &[("20250310T090000", "20250310T100000"), ("20250310T095959", "20250310T120000")],
        &[("20250310T100000", "20250310T120000"), ("20250310T080000", "20250310T090000")],
    );
    rows(
        "VTODO",
        "COMPLETED:20250310T100000Z\nCREATED:20250301T100000Z",
        &[("20250305", "20250306"), ("20250310T100000", "20250311"), ("20250228", "20250301T100000")],
        &[("20250310T100001", "20250311"), ("20250228", "20250301T095959")],
    );
    rows(
        "VTODO",
        "COMPLETED:20250310T100000Z",
        &[("20250310T100000", "20250311"), ("20250309", "20250310T100000")],
        &[("20250310T100001", "20250311"), ("20250309", "20250310T095959")],
    );
    rows(
        "VTODO",
        "CREATED:20250310T100000Z",
        &[("20250310T095959", "20250310T100001"), ("20300101", "20300102")],
        &[("20250309", "20250310T100000")],
    );
    rows("VTODO", "SUMMARY:some day", &[("19700101", "19700102"), ("20300101", "20300102")], &[]);
    // Recurring, by DTSTART or by DUE alone.
    rows(
        "VTODO",
        "DTSTART;TZID=Europe/Berlin:20250303T100000\nDUE;TZID=Europe/Berlin:20250303T110000\nRRULE:FREQ=WEEKLY",
        &[("20250331T080000", "20250331T080100")],
        &[("20250331T090000", "20250331T100000"), ("20250302", "20250303T090000")],
    );
    rows(
        "VTODO",
        "DUE:20250303T100000Z\nRRULE:FREQ=WEEKLY",
        &[("20250317T090000", "20250317T100000")],
        &[("20250317T100000", "20250317T110000")],
    );
}

#[test]
fn journals_and_free_busy_overlap_as_the_tables_say() {
    rows(
        "VJOURNAL",
        "DTSTART:20250310T100000Z",
        &[("20250310T100000", "20250310T100001")],
        &[("20250310T100001", "20250311"), ("20250310T090000", "20250310T100000")],
    );
    rows(
        "VJOURNAL",
        "DTSTART;VALUE=DATE:20250310",
        &[("20250310T230000", "20250311")],
        &[("20250311", "20250312")],
    );
    rows("VJOURNAL", "SUMMARY:no date", &[], &[("19700101", "20300102")]);
    rows(
        "VFREEBUSY",
        "DTSTART:20250310T100000Z\nDTEND:20250310T110000Z",
        &[("20250310T110000", "20250310T120000"), ("20250310T103000", "20250310T104000")],
        &[("20250310T110001", "20250310T120000"), ("20250310T090000", "20250310T100000")],
    );
    rows(
        "VFREEBUSY",
        "FREEBUSY:20250310T100000Z/PT1H,20250312T100000Z/20250312T110000Z",
        &[("20250310T103000", "20250310T104000"), ("20250312T105959", "20250313")],
        &[("20250311", "20250312"), ("20250312T110000", "20250313")],
    );
    rows("VFREEBUSY", "SUMMARY:nothing", &[], &[("19700101", "20300102")]);
}

#[test]
fn open_ranges_and_endless_series() {
    let series = event("DTSTART:20250303T100000Z\nRRULE:FREQ=WEEKLY");
    assert!(series.overlaps(TimeRange::new(Some(at("22000101")), None), &Zone::Utc));
    assert!(series.overlaps(TimeRange::new(None, None), &Zone::Utc));
    assert!(!series.overlaps(TimeRange::new(None, Some(at("20250303T100000"))), &Zone::Utc));
    let ended = event("DTSTART:20250303T100000Z\nRRULE:FREQ=WEEKLY;COUNT=3");
    assert!(!ended.overlaps(TimeRange::new(Some(at("20250318")), None), &Zone::Utc));
    // The end of the calendar.
    assert!(!series.overlaps(TimeRange::new(Some(at("99991231")), None), &Zone::Utc));
}

#[test]
fn a_zone_in_the_object_is_used_when_its_name_is_not_known() {
    // S1-099
    let series = read(
        "BEGIN:VTIMEZONE\nTZID:Office\nBEGIN:STANDARD\nDTSTART:19701025T030000\nRRULE:FREQ=YEARLY;BYMONTH=10;BYDAY=-1SU
         TZOFFSETFROM:+0200\nTZOFFSETTO:+0100\nEND:STANDARD\nBEGIN:DAYLIGHT\nDTSTART:19700329T020000
         RRULE:FREQ=YEARLY;BYMONTH=3;BYDAY=-1SU\nTZOFFSETFROM:+0100\nTZOFFSETTO:+0200\nEND:DAYLIGHT\nEND:VTIMEZONE
         BEGIN:VEVENT\nUID:1\nDTSTART;TZID=Office:20250329T100000\nRRULE:FREQ=DAILY;COUNT=2\nEND:VEVENT",
    );
    check(
        &series,
        "20250301",
        "20250401",
        &["20250329T090000Z/20250329T090000Z", "20250330T080000Z/20250330T080000Z"],
    );
    // Windows names, blanks after the name, no VTIMEZONE at all.
    for tzid in ["W. Europe Standard Time", "Europe/Berlin ", "/mozilla.org/20070129_1/Europe/Berlin"] {
        let series = event(&format!("DTSTART;TZID={tzid}:20250329T100000\nRRULE:FREQ=DAILY;COUNT=2"));
        check(&series, "20250330", "20250331", &["20250330T080000Z/20250330T080000Z"]);
        assert_eq!(series.note(), None);
    }
}

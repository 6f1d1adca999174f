#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use super::*;
use crate::ical::value::Civil;
use crate::ical::zone::by_tzid;

fn object(lines: &str) -> Ical {
    let lines: Vec<&str> = lines.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let text = format!(
        "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nX-WR-CALNAME:mine\r\n{}\r\nEND:VCALENDAR\r\n",
        lines.join("\r\n")
    );
    Ical::parse(text).unwrap()
}

fn range(from: &str, to: &str) -> TimeRange {
    let at = |text: &str| Civil::parse(text).map(|civil| civil.0);
    TimeRange::new(at(from), at(to))
}

fn expanded(ical: &Ical, from: &str, to: &str, floating: &Zone) -> String {
    let found = expand(ical, &Series::of(ical), range(from, to), floating, 100);
    assert!(found.complete);
    // What we write can be read.
    let again = Ical::parse(found.text.clone()).unwrap();
    assert!(Series::of(&again).note().is_none());
    found.text
}

fn calendar(lines: &str) -> String {
    let inner: String =
        lines.lines().map(str::trim).filter(|l| !l.is_empty()).flat_map(|l| [l, "\r\n"]).collect();
    format!("BEGIN:VCALENDAR\r\nVERSION:2.0\r\nX-WR-CALNAME:mine\r\n{inner}END:VCALENDAR\r\n")
}

#[test]
fn a_series_expands_to_its_instances() {
    // RFC 4791 §7.8.3 in our own words: a daily meeting with one instance moved.
    let ical = object(
        "BEGIN:VTIMEZONE\nTZID:US/Eastern\nEND:VTIMEZONE
         BEGIN:VEVENT\nUID:1\nDTSTAMP:20060206T001121Z\nDTSTART;TZID=US/Eastern;X-P=\"a;b\":20060102T120000\nDURATION:PT1H
         RRULE:FREQ=DAILY;COUNT=5\nSUMMARY:Event #2\nX-PRIVATE;X=1:kept\nBEGIN:VALARM\nTRIGGER:-PT5M\nEND:VALARM\nEND:VEVENT
         BEGIN:VEVENT\nUID:1\nDTSTAMP:20060206T001121Z\nDTSTART;TZID=US/Eastern:20060104T140000\nDURATION:PT1H
         RECURRENCE-ID;TZID=US/Eastern:20060104T120000\nSUMMARY:Event #2 bis\nEND:VEVENT",
    );
    assert_eq!(
        expanded(&ical, "20060103", "20060105", &Zone::Utc),
        calendar(
            "BEGIN:VEVENT\nUID:1\nDTSTAMP:20060206T001121Z\nDTSTART;X-P=\"a;b\":20060103T170000Z\nRECURRENCE-ID:20060103T170000Z
             DURATION:PT1H\nSUMMARY:Event #2\nX-PRIVATE;X=1:kept\nBEGIN:VALARM\nTRIGGER:-PT5M\nEND:VALARM\nEND:VEVENT
             BEGIN:VEVENT\nUID:1\nDTSTAMP:20060206T001121Z\nDTSTART:20060104T190000Z\nRECURRENCE-ID:20060104T170000Z
             DURATION:PT1H\nSUMMARY:Event #2 bis\nEND:VEVENT"
        )
    );
    assert_eq!(expanded(&ical, "20070101", "20070102", &Zone::Utc), calendar(""));
    let few = expand(&ical, &Series::of(&ical), range("20060101", "20060201"), &Zone::Utc, 3);
    assert_eq!((few.instances, few.complete), (3, false));
}

#[test]
fn single_events_days_and_floating_times_keep_their_form() {
    let one = object(
        "BEGIN:VEVENT\nUID:1\nDTSTART;TZID=Europe/Berlin:20250303T100000\nDTEND;TZID=Europe/Berlin:20250303T110000\nEND:VEVENT",
    );
    assert_eq!(
        expanded(&one, "20250301", "20250401", &Zone::Utc),
        calendar("BEGIN:VEVENT\nUID:1\nDTSTART:20250303T090000Z\nDTEND:20250303T100000Z\nEND:VEVENT"),
        "no RECURRENCE-ID without a recurrence"
    );
    let days = object(
        "BEGIN:VEVENT\nUID:1\nDTSTART;VALUE=DATE:20250303\nDTEND;VALUE=DATE:20250305\nRRULE:FREQ=WEEKLY\nEND:VEVENT",
    );
    let new_york = by_tzid("America/New_York").unwrap();
    assert_eq!(
        expanded(&days, "20250310T120000", "20250311", &new_york),
        calendar(
            "BEGIN:VEVENT\nUID:1\nDTSTART;VALUE=DATE:20250310\nRECURRENCE-ID;VALUE=DATE:20250310\nDTEND;VALUE=DATE:20250312\nEND:VEVENT"
        )
    );
    let floating = object(
        "BEGIN:VEVENT\nUID:1\nDTSTART:20250303T100000\nDTEND:20250303T110000\nRRULE:FREQ=DAILY\nEXDATE:20250304T100000\nEND:VEVENT",
    );
    assert_eq!(
        expanded(&floating, "20250304", "20250306", &new_york),
        calendar(
            "BEGIN:VEVENT\nUID:1\nDTSTART:20250305T100000\nRECURRENCE-ID:20250305T100000\nDTEND:20250305T110000\nEND:VEVENT"
        )
    );
}

#[test]
fn a_nominal_day_over_a_clock_change_ends_where_it_should() {
    let ical = object(
        "BEGIN:VEVENT\nUID:1\nDTSTART;TZID=America/New_York:20250308T120000\nDURATION:P1D\nRRULE:FREQ=DAILY;COUNT=2\nEND:VEVENT",
    );
    assert_eq!(
        expanded(&ical, "20250308", "20250401", &Zone::Utc),
        calendar(
            "BEGIN:VEVENT\nUID:1\nDTSTART:20250308T170000Z\nRECURRENCE-ID:20250308T170000Z\nDTEND:20250309T160000Z\nEND:VEVENT
             BEGIN:VEVENT\nUID:1\nDTSTART:20250309T160000Z\nRECURRENCE-ID:20250309T160000Z\nDURATION:P1D\nEND:VEVENT"
        )
    );
}

#[test]
fn to_dos_journals_and_free_busy_expand() {
    let due =
        object("BEGIN:VTODO\nUID:1\nDUE;TZID=Europe/Berlin:20250303T100000\nRRULE:FREQ=WEEKLY\nEND:VTODO");
    assert_eq!(
        expanded(&due, "20250310", "20250317", &Zone::Utc),
        calendar("BEGIN:VTODO\nUID:1\nDUE:20250310T090000Z\nRECURRENCE-ID:20250310T090000Z\nEND:VTODO")
    );
    let undated = object("BEGIN:VTODO\nUID:1\nSUMMARY:some day\nEND:VTODO");
    assert_eq!(
        expanded(&undated, "20250310", "20250317", &Zone::Utc),
        calendar("BEGIN:VTODO\nUID:1\nSUMMARY:some day\nEND:VTODO")
    );
    let both = object(
        "BEGIN:VTODO\nUID:1\nDTSTART:20250303T100000Z\nDUE:20250303T110000Z\nRRULE:FREQ=WEEKLY\nEND:VTODO",
    );
    assert_eq!(
        expanded(&both, "20250310", "20250317", &Zone::Utc),
        calendar(
            "BEGIN:VTODO\nUID:1\nDTSTART:20250310T100000Z\nRECURRENCE-ID:20250310T100000Z\nDUE:20250310T110000Z\nEND:VTODO"
        )
    );
    let journal = object("BEGIN:VJOURNAL\nUID:1\nDTSTART;VALUE=DATE:20250303\nEND:VJOURNAL");
    assert_eq!(
        expanded(&journal, "20250301", "20250310", &Zone::Utc),
        calendar("BEGIN:VJOURNAL\nUID:1\nDTSTART;VALUE=DATE:20250303\nEND:VJOURNAL")
    );
}

#[test]
fn lines_are_copied_as_they_are_folded() {
    let text = "BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\nUID:1\r\nDTSTART:20250303T100000Z\r\nDESCRIPTION:one\r\n  two\\nthree\\, \r\n\tfour\r\n\
                END:VEVENT\r\nEND:VCALENDAR\r\n";
    let ical = Ical::parse(text).unwrap();
    assert_eq!(expanded(&ical, "20250301", "20250310", &Zone::Utc), text);
    // A bare line feed becomes CRLF; a fold within a character is undone: the answer is XML and must be UTF-8.
    let mut bytes = b"BEGIN:VCALENDAR\nBEGIN:VEVENT\nUID:1\nDTSTART:20250303T100000Z\nSUMMARY:caf\xc3\n \xa9 au lait\nEND:VEVENT\nEND:VCALENDAR\n".to_vec();
    let ical = Ical::parse(bytes.clone()).unwrap();
    assert!(expanded(&ical, "20250301", "20250310", &Zone::Utc).contains("SUMMARY:caf\u{e9} au lait\r\n"));
    assert!(utf8(&bytes).contains("SUMMARY:caf\u{e9} au lait\nEND"));
    bytes.retain(|byte| *byte != 0xc3 && *byte != 0xa9);
    assert!(matches!(utf8(&bytes), Cow::Borrowed(_)));
    assert_eq!(utf8("a\r\n \u{20ac}".as_bytes()), "a\r\n \u{20ac}");
    assert_eq!(utf8(b"\xe2\x82\r\n \xac \xf0\x9f\r\n\t\x98\x80"), "\u{20ac} \u{1f600}");
}

#[test]
fn a_limited_recurrence_set_keeps_what_has_to_do_with_the_range() {
    // RFC 4791 §9.6.6
    let over = |rid: &str, start: &str, title: &str, range: &str| {
        format!(
            "BEGIN:VEVENT\nUID:1\nRECURRENCE-ID{range}:{rid}\nDTSTART:{start}\nSUMMARY:{title}\nEND:VEVENT\n"
        )
    };
    let ical = object(&format!(
        "BEGIN:VEVENT\nUID:1\nDTSTART:20250303T100000Z\nDTEND:20250303T110000Z\nRRULE:FREQ=WEEKLY\nSUMMARY:master\nEND:VEVENT\n{}{}{}{}",
        over("20250310T100000Z", "20250401T100000Z", "away", ""),
        over("20250317T100000Z", "20250311T100000Z", "into", ""),
        over("20250324T100000Z", "20250324T120000Z", "elsewhere", ""),
        over("20250407T100000Z", "20250408T100000Z", "later", ";RANGE=THISANDFUTURE"),
    ));
    let series = Series::of(&ical);
    let kept = |from: &str, to: &str| {
        let text = limit_recurrence_set(&ical, &series, range(from, to), &Zone::Utc);
        let titles: Vec<String> =
            text.lines().filter_map(|line| line.strip_prefix("SUMMARY:")).map(str::to_owned).collect();
        titles.join(" ")
    };
    assert_eq!(kept("20250310", "20250317"), "master away into");
    assert_eq!(kept("20250324", "20250331"), "master elsewhere");
    assert_eq!(kept("20250501", "20250507"), "master later", "the instance of 5 May follows it");
    assert_eq!(kept("20250303", "20250304"), "master");
}

#[test]
fn a_limited_free_busy_set_keeps_the_periods_of_the_range() {
    // RFC 4791 §9.6.7
    let ical = object(
        "BEGIN:VFREEBUSY\nUID:1\nDTSTART:20250301T000000Z\nDTEND:20250401T000000Z
         FREEBUSY;FBTYPE=BUSY-TENTATIVE:20250303T100000Z/PT1H,20250310T100000Z/20250310T110000Z,20250311T100000Z/PT1H
         FREEBUSY:20250320T100000Z/PT1H\nFREEBUSY:20250312T100000Z/PT1H\nEND:VFREEBUSY",
    );
    let text = limit_freebusy_set(&ical, range("20250310", "20250317"), &Zone::Utc);
    assert_eq!(
        text.replace("\r\n ", ""),
        calendar(
            "BEGIN:VFREEBUSY\nUID:1\nDTSTART:20250301T000000Z\nDTEND:20250401T000000Z
             FREEBUSY;FBTYPE=BUSY-TENTATIVE:20250310T100000Z/20250310T110000Z,20250311T100000Z/PT1H
             FREEBUSY:20250312T100000Z/PT1H\nEND:VFREEBUSY"
        )
    );
    assert!(text.lines().all(|line| line.len() <= 75));
}

#[test]
fn parts_are_selected() {
    // RFC 4791 §7.8.1
    let ical = object(
        "BEGIN:VTIMEZONE\nTZID:X\nBEGIN:STANDARD\nDTSTART:19700101T000000\nEND:STANDARD\nEND:VTIMEZONE
         BEGIN:VEVENT\nUID:1\nSUMMARY;LANGUAGE=en:Long text\nDTSTART:20250303T100000Z\nATTENDEE;CN=\"a:b\":mailto:x\nATTENDEE:mailto:y
         BEGIN:VALARM\nTRIGGER:-PT5M\nEND:VALARM\nEND:VEVENT",
    );
    let wanted = |name: &str, no_value| Wanted { name: name.into(), no_value };
    let comp = |name: &str, props: Vec<Wanted>, comps: Vec<Selection>| Selection {
        name: name.into(),
        props,
        comps,
        ..Selection::default()
    };
    let selection = comp(
        "VCALENDAR",
        vec![wanted("VERSION", false)],
        vec![comp(
            "VEVENT",
            vec![wanted("UID", false), wanted("SUMMARY", true), wanted("ATTENDEE", true)],
            vec![],
        )],
    );
    assert_eq!(
        select(&ical, &selection),
        "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nBEGIN:VEVENT\r\nUID:1\r\nSUMMARY;LANGUAGE=en:\r\nATTENDEE;CN=\"a:b\":\r\nATTENDEE:\r\n\
         END:VEVENT\r\nEND:VCALENDAR\r\n"
    );
    let all =
        Selection { name: "VCALENDAR".into(), all_props: true, all_comps: true, ..Selection::default() };
    assert_eq!(select(&ical, &all).as_bytes(), &ical.bytes()[..]);
    let zones = Selection {
        comps: vec![Selection {
            name: "VTIMEZONE".into(),
            all_props: true,
            all_comps: true,
            ..Selection::default()
        }],
        name: "VCALENDAR".into(),
        ..Selection::default()
    };
    assert_eq!(
        select(&ical, &zones),
        "BEGIN:VCALENDAR\r\nBEGIN:VTIMEZONE\r\nTZID:X\r\nBEGIN:STANDARD\r\nDTSTART:19700101T000000\r\nEND:STANDARD\r\n\
         END:VTIMEZONE\r\nEND:VCALENDAR\r\n"
    );
    assert_eq!(select(&ical, &comp("VEVENT", vec![], vec![])), "", "only a VCALENDAR is at the top");
}

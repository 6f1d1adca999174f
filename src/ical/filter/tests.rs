#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use super::*;
use crate::ical::value::Civil;

fn range(from: &str, to: &str) -> TimeRange {
    let at = |text: &str| Civil::parse(text).map(|civil| civil.0);
    TimeRange::new(at(from), at(to))
}

fn object(lines: &str) -> String {
    let lines: Vec<&str> = lines.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    format!("BEGIN:VCALENDAR\r\nVERSION:2.0\r\n{}\r\nEND:VCALENDAR\r\n", lines.join("\r\n"))
}

/// Whether an object matches a VCALENDAR filter with these children.
fn found(text: &str, comps: Vec<CompFilter>) -> bool {
    let ical = Ical::parse(text.to_owned()).unwrap();
    let filter = CompFilter { comps, ..CompFilter::named("VCALENDAR") };
    matches(&filter, &ical, &Series::of(&ical), &Zone::Utc)
}

fn with(name: &str, change: impl FnOnce(&mut CompFilter)) -> Vec<CompFilter> {
    let mut filter = CompFilter::named(name);
    change(&mut filter);
    vec![filter]
}

fn prop(name: &str) -> PropFilter {
    PropFilter { name: name.into(), ..PropFilter::default() }
}

fn text(text: &str, collation: Collation) -> Option<TextMatch> {
    Some(TextMatch { text: text.into(), collation, negate: false })
}

const MEETING: &str = "BEGIN:VEVENT
    UID:DC6C50A017428C5216A2F1CD@example.com
    DTSTART:20250310T100000Z
    DTEND:20250310T110000Z
    SUMMARY:Caf\u{e9} Meeting\\, room 5
    ATTENDEE;PARTSTAT=ACCEPTED;CN=\"Doe; J\":mailto:jd@example.com
    ATTENDEE;PARTSTAT=NEEDS-ACTION:mailto:lisa@example.com
    X-ABC-GUID:E1CX5Dr-0007ym-Hz
    BEGIN:VALARM
    TRIGGER:-PT15M
    ACTION:DISPLAY
    END:VALARM
    END:VEVENT";

#[test]
fn components_are_defined_or_not() {
    let meeting = object(MEETING);
    assert!(found(&meeting, vec![]));
    assert!(found(&meeting, vec![CompFilter::named("VEVENT")]));
    assert!(!found(&meeting, vec![CompFilter::named("VTODO")]));
    assert!(found(&meeting, with("VTODO", |f| f.is_not_defined = true)));
    assert!(!found(&meeting, with("VEVENT", |f| f.is_not_defined = true)));
    assert!(found(&meeting, with("VEVENT", |f| f.comps = vec![CompFilter::named("VALARM")])));
    assert!(!found(&meeting, with("VEVENT", |f| f.comps = with("VALARM", |f| f.is_not_defined = true))));
    assert!(found(
        &meeting,
        vec![CompFilter::named("VEVENT"), with("VTODO", |f| f.is_not_defined = true).remove(0)]
    ));
    // Only a VCALENDAR is at the top.
    let ical = Ical::parse(meeting).unwrap();
    assert!(!matches(&CompFilter::named("VEVENT"), &ical, &Series::of(&ical), &Zone::Utc));
}

#[test]
fn properties_and_parameters_match_text() {
    let meeting = object(MEETING);
    let event = |prop: PropFilter| found(&meeting, with("VEVENT", |f| f.props = vec![prop]));
    assert!(event(prop("X-ABC-GUID")) && !event(prop("LOCATION")));
    assert!(event(PropFilter { is_not_defined: true, ..prop("LOCATION") }));
    assert!(!event(PropFilter { is_not_defined: true, ..prop("SUMMARY") }));
    let summary =
        |wanted: &str, collation| event(PropFilter { text: text(wanted, collation), ..prop("SUMMARY") });
    // The value is compared, not how it is written.
    assert!(summary("meeting, ROOM", Collation::AsciiCasemap));
    assert!(!summary("meeting, ROOM", Collation::Octet));
    assert!(summary("Meeting, room", Collation::Octet));
    assert!(!summary("CAF\u{c9}", Collation::AsciiCasemap));
    assert!(summary("CAF\u{c9}", Collation::UnicodeCasemap));
    assert!(summary("cafe\u{301}", Collation::UnicodeCasemap), "composed and decomposed are the same");
    assert!(!summary("cafe m", Collation::UnicodeCasemap));
    assert!(summary("", Collation::Octet));
    let negate = |wanted: &str| {
        let text = Some(TextMatch { text: wanted.into(), collation: Collation::default(), negate: true });
        event(PropFilter { text, ..prop("SUMMARY") })
    };
    assert!(negate("party") && !negate("meeting"));
    // RFC 4791 §7.8.7: the parameter must be that of the same property.
    let attendee = |who: &str, status: &str| {
        let params = vec![ParamFilter {
            text: text(status, Collation::AsciiCasemap),
            name: "PARTSTAT".into(),
            ..ParamFilter::default()
        }];
        event(PropFilter { text: text(who, Collation::AsciiCasemap), params, ..prop("ATTENDEE") })
    };
    assert!(attendee("mailto:lisa@example.com", "needs-action"));
    assert!(!attendee("mailto:jd@example.com", "needs-action"));
    let param = |name: &str, is_not_defined: bool| {
        let params = vec![ParamFilter { name: name.into(), is_not_defined, text: None }];
        event(PropFilter { params, ..prop("ATTENDEE") })
    };
    assert!(param("CN", false) && param("CN", true) && !param("ROLE", false) && param("ROLE", true));
    let quoted = vec![ParamFilter {
        name: "CN".into(),
        is_not_defined: false,
        text: text("doe; j", Collation::AsciiCasemap),
    }];
    assert!(event(PropFilter { params: quoted, ..prop("ATTENDEE") }));
}

#[test]
fn collations_are_known_by_name() {
    for collation in Collation::ALL {
        assert_eq!(Collation::parse(collation.as_str()), Some(collation));
    }
    assert_eq!(Collation::parse("default"), Some(Collation::AsciiCasemap));
    assert_eq!(Collation::parse("i;klingon"), None);
    let long = "A quite LONG text, longer than thirty-two bytes";
    assert!(Collation::AsciiCasemap.contains(&format!("before {} after", long.to_lowercase()), long));
    assert!(!Collation::AsciiCasemap.contains("before and after", long));
    let same = |a: &str, b: &str| {
        Collation::UnicodeCasemap.contains(a, b) && Collation::UnicodeCasemap.contains(b, a)
    };
    assert!(same("\u{1e69}", "s\u{323}\u{307}"), "two marks");
    assert!(same("\u{d55c}\u{ae00}", "\u{1112}\u{1161}\u{11ab}\u{1100}\u{1173}\u{11af}"), "Hangul");
    assert!(same(
        "\u{3c3}\u{3af}\u{3c3}\u{3c5}\u{3c6}\u{3bf}\u{3c2}",
        "\u{3a3}\u{38a}\u{3a3}\u{3a5}\u{3a6}\u{39f}\u{3a3}"
    ));
    assert!(same("\u{436}\u{443}\u{440}\u{43d}\u{430}\u{43b}", "\u{416}\u{423}\u{420}\u{41d}\u{410}\u{41b}"));
    assert!(!same("stra\u{df}e", "strasse"), "RFC 5051 maps character by character");
}

#[test]
fn a_range_and_a_property_must_hold_for_the_same_component() {
    let moved = object(
        "BEGIN:VEVENT\nUID:1\nDTSTART:20250303T100000Z\nRRULE:FREQ=WEEKLY\nSUMMARY:Weekly\nEND:VEVENT
         BEGIN:VEVENT\nUID:1\nRECURRENCE-ID:20250310T100000Z\nDTSTART:20250320T100000Z\nSUMMARY:Moved\nEND:VEVENT",
    );
    let ask = |summary: &str, from: &str, to: &str| {
        found(
            &moved,
            with("VEVENT", |f| {
                f.time_range = Some(range(from, to));
                f.props = vec![PropFilter { text: text(summary, Collation::Octet), ..prop("SUMMARY") }];
            }),
        )
    };
    assert!(ask("Moved", "20250320", "20250321") && ask("Weekly", "20250317", "20250318"));
    assert!(!ask("Weekly", "20250320", "20250321") && !ask("Moved", "20250317", "20250318"));
    assert!(!ask("Weekly", "20250310", "20250311"), "the instance of the 10th has moved away");
}

#[test]
fn ranges_of_properties() {
    let to_do = object(
        "BEGIN:VTODO\nUID:1\nCOMPLETED:20250310T100000Z\nX-DAY;VALUE=DATE:20250312
         X-ZONED;TZID=America/New_York:20250312T090000\nX-PERIOD:20250301T100000Z/PT1H\nEND:VTODO",
    );
    let ask = |name: &str, from: &str, to: &str| {
        let props = vec![PropFilter { time_range: Some(range(from, to)), ..prop(name) }];
        found(&to_do, with("VTODO", |f| f.props = props))
    };
    assert!(ask("COMPLETED", "20250310T100000", "20250310T100001"));
    assert!(!ask("COMPLETED", "20250310T090000", "20250310T100000"));
    assert!(ask("X-DAY", "20250312T230000", "20250313") && !ask("X-DAY", "20250313", "20250314"));
    assert!(ask("X-ZONED", "20250312T130000", "20250312T130001"));
    assert!(
        ask("X-PERIOD", "20250301T105959", "20250302") && !ask("X-PERIOD", "20250301T110000", "20250302")
    );
    assert!(!ask("DUE", "20250101", "20260101"));
}

fn alarm(component: &str, trigger: &str, from: &str, to: &str) -> bool {
    let kind = component.lines().next().unwrap().trim().trim_start_matches("BEGIN:");
    let text = object(&component.replace(
        &format!("END:{kind}"),
        &format!("BEGIN:VALARM\nACTION:DISPLAY\n{trigger}\nEND:VALARM\nEND:{kind}"),
    ));
    let alarm = with("VALARM", |f| f.time_range = Some(range(from, to)));
    found(&text, with(kind, |f| f.comps = alarm))
}

#[test]
fn alarms_go_off_within_a_range() {
    let event = "BEGIN:VEVENT\nUID:1\nDTSTART:20250310T100000Z\nDTEND:20250310T110000Z\nEND:VEVENT";
    assert!(alarm(event, "TRIGGER:-PT15M", "20250310T094500", "20250310T094501"));
    assert!(!alarm(event, "TRIGGER:-PT15M", "20250310T094501", "20250310T120000"));
    assert!(!alarm(event, "TRIGGER:-PT15M", "20250310T090000", "20250310T094500"));
    assert!(alarm(event, "TRIGGER;RELATED=END:PT5M", "20250310T110500", "20250310T110501"));
    assert!(!alarm(event, "TRIGGER;RELATED=END:PT5M", "20250310T100500", "20250310T100600"));
    assert!(alarm(event, "TRIGGER;VALUE=DATE-TIME:20240101T000000Z", "20240101", "20240102"));
    assert!(!alarm(event, "TRIGGER;VALUE=DATE-TIME:20240101T000000Z", "20250310", "20250311"));
    let again = "TRIGGER:-PT15M\nREPEAT:4\nDURATION:PT5M";
    assert!(alarm(event, again, "20250310T095900", "20250310T100001"));
    assert!(!alarm(event, again, "20250310T100100", "20250310T100459"));
    assert!(alarm(event, again, "20250310T100500", "20250310T100501"));
    assert!(!alarm(event, again, "20250310T100501", "20250310T120000"));
    assert!(!alarm(event, "TRIGGER:soon", "20000101", "20300101"));
    assert!(alarm(event, "TRIGGER:-P7D", "20250303T100000", "20250303T100001"));
    //
    assert!(alarm(event, "TRIGGER:-PT15M\nREPEAT:999999999999\nDURATION:PT1S", "20300101", "20300102"));
}

#[test]
fn alarms_of_a_series_and_of_to_dos() {
    let weekly =
        "BEGIN:VEVENT\nUID:1\nDTSTART;TZID=America/New_York:20250303T090000\nRRULE:FREQ=WEEKLY\nEND:VEVENT";
    assert!(alarm(weekly, "TRIGGER:-P1D", "20250316T130000", "20250316T130001"));
    assert!(!alarm(weekly, "TRIGGER:-P1D", "20250316T130001", "20250317T130000"));
    let to_do = "BEGIN:VTODO\nUID:1\nDTSTART:20250310T100000Z\nDUE:20250312T100000Z\nEND:VTODO";
    assert!(alarm(to_do, "TRIGGER;RELATED=END:-PT1H", "20250312T090000", "20250312T090001"));
    assert!(alarm(to_do, "TRIGGER:-PT1H", "20250310T090000", "20250310T090001"));
    let due = "BEGIN:VTODO\nUID:1\nDUE:20250312T100000Z\nEND:VTODO";
    assert!(alarm(due, "TRIGGER;RELATED=END:-PT1H", "20250312T090000", "20250312T090001"));
    let undated = "BEGIN:VTODO\nUID:1\nEND:VTODO";
    assert!(!alarm(undated, "TRIGGER:-PT1H", "20000101", "20300101"));
    assert!(alarm(undated, "TRIGGER;VALUE=DATE-TIME:20250310T090000Z", "20250310", "20250311"));
}

#[test]
fn the_usual_query_is_decided_without_the_text() {
    let ical = Ical::parse(object(MEETING)).unwrap();
    let series = Series::of(&ical);
    let week = Some(range("20250310", "20250317"));
    let filter = |comps| CompFilter { comps, ..CompFilter::named("VCALENDAR") };
    let usual = filter(with("VEVENT", |f| f.time_range = week));
    assert_eq!(usual.index_hint(), Hint { component: Some("VEVENT"), range: week, exact: true });
    assert_eq!(decide(&usual, &series, &Zone::Utc), Some(true));
    let tasks = filter(with("VTODO", |f| f.time_range = week));
    assert_eq!(decide(&tasks, &series, &Zone::Utc), Some(false));
    let titled = filter(with("VEVENT", |f| {
        f.time_range = week;
        f.props = vec![prop("SUMMARY")];
    }));
    assert_eq!(titled.index_hint(), Hint { component: Some("VEVENT"), range: week, exact: false });
    assert_eq!(decide(&titled, &series, &Zone::Utc), None);
    let alarms = filter(with("VEVENT", |f| f.comps = with("VALARM", |f| f.time_range = week)));
    assert_eq!(alarms.index_hint(), Hint { component: Some("VEVENT"), range: None, exact: false });
    let none = filter(with("VEVENT", |f| f.is_not_defined = true));
    assert_eq!(none.index_hint(), Hint::default());
    assert_eq!(filter(vec![]).index_hint(), Hint::default());
}

#[test]
fn nothing_else_overlaps_a_range() {
    let zone = object(
        "BEGIN:VTIMEZONE\nTZID:X\nEND:VTIMEZONE\nBEGIN:VEVENT\nUID:1\nDTSTART:20250310T100000Z\nEND:VEVENT",
    );
    assert!(!found(&zone, with("VTIMEZONE", |f| f.time_range = Some(range("20000101", "20300101")))));
    assert!(found(&zone, with("VTIMEZONE", |_| {})));
}

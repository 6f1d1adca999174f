//! Whatever way a query takes to its answer, the answer is the same: the index alone, kept series, or the whole text.

use std::collections::BTreeSet;
use std::sync::Arc;

use kalends::store::Sled;

use crate::door::{Dice, Door};

const NS: &str = "xmlns:D=\"DAV:\" xmlns:C=\"urn:ietf:params:xml:ns:caldav\"";

/// Days of 2026 from 1 January on, as a date.
fn date(day: usize) -> String {
    let (mut month, mut left) = (0, day % 365);
    let lengths = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    while left >= lengths[month] {
        left -= lengths[month];
        month += 1;
    }
    format!("2026{:02}{:02}", month + 1, left + 1)
}

fn clock(dice: &mut Dice) -> String {
    format!("{:02}{:02}00", dice.throw(24), [0, 30][dice.throw(2)])
}

/// A property with a time: of a day, floating, in UTC, in a zone.
fn moment(dice: &mut Dice, name: &str, day: usize, form: usize) -> String {
    let (date, clock) = (date(day), clock(dice));
    match form {
        0 => format!("{name};VALUE=DATE:{date}\r\n"),
        1 => format!("{name}:{date}T{clock}\r\n"),
        2 | 3 => format!("{name}:{date}T{clock}Z\r\n"),
        4 => format!("{name};TZID=Pacific/Auckland:{date}T{clock}\r\n"),
        5 => format!("{name};TZID=W. Europe Standard Time:{date}T{clock}\r\n"),
        _ => format!("{name};TZID=America/New_York:{date}T{clock}\r\n"),
    }
}

fn length(dice: &mut Dice, form: usize) -> &'static str {
    let days = ["", "DURATION:P1D\r\n", "DURATION:P3D\r\n"];
    let hours = ["", "DURATION:PT0S\r\n", "DURATION:PT1H\r\n", "DURATION:P1DT2H\r\n", "DURATION:P2W\r\n"];
    if form == 0 { days[dice.throw(days.len())] } else { hours[dice.throw(hours.len())] }
}

const RULES: [&str; 10] = [
    "",
    "",
    "",
    "",
    "RRULE:FREQ=DAILY;COUNT=3\r\n",
    "RRULE:FREQ=WEEKLY;BYDAY=MO,TH\r\n",
    "RRULE:FREQ=MONTHLY;BYDAY=-1FR;UNTIL=20261101T000000Z\r\n",
    "RRULE:FREQ=YEARLY\r\n",
    "RRULE:FREQ=HOURLY;INTERVAL=36\r\n",
    "RRULE:FREQ=DAILY;INTERVAL=9\r\n",
];

fn event(dice: &mut Dice, n: usize) -> String {
    let (form, day) = (dice.throw(7), dice.throw(365));
    let rule = RULES[dice.throw(RULES.len())];
    let mut text = format!("BEGIN:VEVENT\r\nUID:{n}\r\nDTSTAMP:20260101T000000Z\r\n");
    text += &moment(dice, "DTSTART", day, form);
    text += length(dice, form);
    text += rule;
    text += "END:VEVENT\r\n";
    if !rule.is_empty() && dice.throw(3) == 0 {
        text += &format!("BEGIN:VEVENT\r\nUID:{n}\r\nDTSTAMP:20260101T000000Z\r\n");
        text += &moment(dice, "RECURRENCE-ID", day, form);
        let away = dice.throw(365);
        text += &moment(dice, "DTSTART", away, form);
        text += length(dice, form);
        text += "END:VEVENT\r\n";
    }
    text
}

fn todo(dice: &mut Dice, n: usize) -> String {
    let mut text = format!("BEGIN:VTODO\r\nUID:{n}\r\nDTSTAMP:20260101T000000Z\r\n");
    let (form, day) = (dice.throw(7), dice.throw(300));
    match dice.throw(6) {
        0 => {}
        1 => text += &moment(dice, "DUE", day, form),
        2 => text += &(moment(dice, "DTSTART", day, form) + length(dice, form)),
        3 => text += &(moment(dice, "DTSTART", day, form) + &moment(dice, "DUE", day + 2, form)),
        4 => text += &format!("COMPLETED:{}T120000Z\r\nCREATED:{}T120000Z\r\n", date(day + 9), date(day)),
        _ => text += &format!("CREATED:{}T120000Z\r\n", date(day)),
    }
    text + "END:VTODO\r\n"
}

/// Asks for a component type in a range; returns the names found, and the answer.
async fn ask(
    door: &Door,
    calendar: &str,
    component: &str,
    range: &str,
    more: &str,
    data: &str,
    zone: &str,
) -> (BTreeSet<String>, String) {
    let body = format!(
        "<C:calendar-query {NS}><D:prop><D:getetag/>{data}</D:prop><C:filter><C:comp-filter name=\"VCALENDAR\">\
         <C:comp-filter name=\"{component}\">{range}{more}</C:comp-filter></C:comp-filter></C:filter>{zone}</C:calendar-query>"
    );
    let heard = door.say("REPORT", calendar, &[("depth", "1")], body.clone(), || ()).await;
    assert_eq!(heard.status, 207, "{body}\n{}", heard.text());
    let text = heard.text();
    let names = text.split("<D:href>").skip(1).map(|rest| rest.split('<').next().unwrap().to_owned());
    (names.collect(), text)
}

/// RFC 4791 §9.9: a type and a range alone are decided by the index and kept series; a condition that always holds
/// makes the same query read and judge the whole text; and expanding everything, which asks no index at all, yields
/// instances of exactly what was found.
#[test]
fn the_short_way_and_the_long_way_find_the_same() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let door = Door::over(Arc::new(Sled::temporary().unwrap())).await;
        let mut dice = Dice(0xCA1E_17D5);
        let headers = [("content-type", "text/calendar")];
        for n in 0..300 {
            for (calendar, inside) in [("calendar", event(&mut dice, n)), ("tasks", todo(&mut dice, n))] {
                let text = format!(
                    "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//test//EN\r\n{inside}END:VCALENDAR\r\n"
                );
                let path = format!("/dav/calendars/anna/{calendar}/{n}.ics");
                let put = door.say("PUT", &path, &headers, text.clone(), || ()).await;
                assert_eq!(put.status, 201, "{text}\n{}", put.text());
            }
        }
        let always = "<C:prop-filter name=\"UID\"/>";
        let mut found = 0;
        for round in 0..120 {
            let start = format!("{}T{}Z", date(dice.throw(360)), clock(&mut dice));
            let end = match dice.throw(3) {
                0 => format!("{}5959Z", &start[..11]),
                _ => format!("{}T{}Z", date(dice.throw(364)), clock(&mut dice)),
            };
            let (start, end) = if start < end { (start, end) } else { (end, start) };
            if start == end {
                continue;
            }
            let range = match dice.throw(5) {
                0 => format!("<C:time-range start=\"{start}\"/>"),
                1 => format!("<C:time-range end=\"{end}\"/>"),
                _ => format!("<C:time-range start=\"{start}\" end=\"{end}\"/>"),
            };
            let zone = ["", "Pacific/Auckland", "America/New_York", "Europe/Berlin"][dice.throw(4)];
            let zone = match zone {
                "" => String::new(),
                id => format!("<C:timezone-id>{id}</C:timezone-id>"),
            };
            for (calendar, component) in [("calendar", "VEVENT"), ("tasks", "VTODO")] {
                let calendar = format!("/dav/calendars/anna/{calendar}/");
                let (short, _) = ask(&door, &calendar, component, &range, "", "", &zone).await;
                let (long, _) = ask(&door, &calendar, component, &range, always, "", &zone).await;
                assert_eq!(short, long, "round {round}: {component} {range} {zone}");
                found += short.len();
                if component == "VEVENT" && range.contains("start") && range.contains("end") {
                    let data = range.replace("time-range", "expand");
                    let data = format!("<C:calendar-data>{data}</C:calendar-data>");
                    // No range in the filter: the index is not asked, every object is expanded.
                    let (_, text) = ask(&door, &calendar, component, "", "", &data, &zone).await;
                    let all = text.split("<D:response><D:href>").skip(1);
                    let taking_place = all.filter(|response| response.contains("BEGIN:VEVENT"));
                    let names = taking_place.map(|response| response.split('<').next().unwrap().to_owned());
                    assert_eq!(short, names.collect(), "round {round}: {range} {zone}");
                }
            }
        }
        assert!(found > 5_000, "{found}: the ranges were too poor to show anything");
    });
}

/// Bodies that are understood, to be bent.
const BODIES: [&str; 8] = [
    "<C:calendar-query><D:prop><D:getetag/><C:calendar-data><C:expand start=\"20260101T000000Z\" end=\"20260201T000000Z\"/><C:comp name=\"VCALENDAR\"><C:allprop/><C:allcomp/></C:comp></C:calendar-data></D:prop><C:filter><C:comp-filter name=\"VCALENDAR\"><C:comp-filter name=\"VEVENT\"><C:time-range start=\"20260101T000000Z\" end=\"20260601T000000Z\"/><C:prop-filter name=\"SUMMARY\"><C:text-match collation=\"i;octet\" negate-condition=\"no\">x</C:text-match><C:param-filter name=\"LANGUAGE\"><C:is-not-defined/></C:param-filter></C:prop-filter><C:comp-filter name=\"VALARM\"><C:is-not-defined/></C:comp-filter></C:comp-filter></C:comp-filter></C:filter><C:timezone-id>Europe/Berlin</C:timezone-id></C:calendar-query>",
    "<C:calendar-multiget><D:prop><D:getetag/><C:calendar-data><C:limit-recurrence-set start=\"20260101T000000Z\" end=\"20260201T000000Z\"/><C:limit-freebusy-set start=\"20260101T000000Z\" end=\"20260201T000000Z\"/></C:calendar-data></D:prop><D:href>/dav/calendars/anna/calendar/1.ics</D:href><D:href>/dav/calendars/anna/calendar/</D:href></C:calendar-multiget>",
    "<C:free-busy-query><C:time-range start=\"20260101T000000Z\" end=\"20270101T000000Z\"/></C:free-busy-query>",
    "<D:sync-collection><D:sync-token/><D:sync-level>1</D:sync-level><D:limit><D:nresults>3</D:nresults></D:limit><D:prop><D:getetag/><C:calendar-data/></D:prop></D:sync-collection>",
    "<D:expand-property><D:property name=\"owner\"><D:property name=\"principal-URL\"><D:property name=\"displayname\"/></D:property></D:property><D:property name=\"calendar-home-set\" namespace=\"urn:ietf:params:xml:ns:caldav\"/></D:expand-property>",
    "<D:principal-property-search><D:property-search><D:prop><D:displayname/></D:prop><D:match>a</D:match></D:property-search><D:prop><D:displayname/></D:prop></D:principal-property-search>",
    "<D:principal-match><D:principal-property><D:owner/></D:principal-property><D:prop><D:displayname/></D:prop></D:principal-match>",
    "<D:acl-principal-prop-set><D:prop><D:displayname/></D:prop></D:acl-principal-prop-set>",
];

/// What is put in the place of an attribute's value or a text.
const VALUES: [&str; 18] = [
    "",
    "VEVENT",
    "VTODO",
    "VALARM",
    "VCALENDAR",
    "X-NONE",
    "20260101T000000Z",
    "20260615",
    "00000101T000000Z",
    "99991231T235959Z",
    "99999999T999999Z",
    "yes",
    "infinite",
    "-1",
    "18446744073709551616",
    "i;unicode-casemap",
    "/dav/calendars/anna/",
    "ſtraße",
];

/// Pieces that are added.
const PIECES: [&str; 10] = [
    "<C:is-not-defined/>",
    "<D:allprop/>",
    "<C:time-range start=\"20260301T000000Z\"/>",
    "<C:comp-filter name=\"VTODO\"/>",
    "<C:prop-filter name=\"DTSTART\"><C:time-range end=\"20260301T000000Z\"/></C:prop-filter>",
    "<D:getetag/>",
    "<C:expand start=\"20260101T000000Z\" end=\"20260103T000000Z\"/>",
    "<x xmlns=\"urn:x\"/>",
    "text",
    "<D:href/>",
];

/// Bends a body a few times; most of what comes out is still well-formed.
fn bent(dice: &mut Dice) -> String {
    let mut body = BODIES[dice.throw(BODIES.len())].to_owned();
    for _ in 0..=dice.throw(4) {
        let places = |what: &str| body.match_indices(what).map(|(at, _)| at).collect::<Vec<_>>();
        match dice.throw(4) {
            // Another value.
            0 => {
                let quotes = places("=\"");
                let Some(at) = quotes.get(dice.throw(quotes.len().max(1))).map(|at| at + 2) else { continue };
                let end = at + body[at..].find('"').unwrap();
                body.replace_range(at..end, VALUES[dice.throw(VALUES.len())]);
            }
            // An empty element less.
            1 => {
                let ends = places("/>");
                let Some(end) = ends.get(dice.throw(ends.len().max(1))) else { continue };
                let at = body[..*end].rfind('<').unwrap();
                body.replace_range(at..end + 2, "");
            }
            // A piece more, behind some tag.
            2 => {
                let ends = places(">");
                let at = ends[dice.throw(ends.len() - 1)] + 1;
                body.insert_str(at, PIECES[dice.throw(PIECES.len())]);
            }
            // Another text.
            _ => {
                let ends = places("</");
                let at = ends[dice.throw(ends.len())];
                body.insert_str(at, VALUES[dice.throw(VALUES.len())]);
            }
        }
    }
    let root = body.find(['>', ' ']).unwrap_or(1);
    body.insert_str(root, &format!(" {NS}"));
    body
}

/// Whatever a body says, it is answered or refused with a sentence; nothing fails, and nothing takes long.
#[test]
fn bent_reports_are_answered_or_refused() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let door = Door::over(Arc::new(Sled::temporary().unwrap())).await;
        let mut dice = Dice(0xBE_17);
        for n in 0..20 {
            let inside = event(&mut dice, n);
            let text =
                format!("BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//test//EN\r\n{inside}END:VCALENDAR\r\n");
            let path = format!("/dav/calendars/anna/calendar/{n}.ics");
            let put = door.say("PUT", &path, &[("content-type", "text/calendar")], text, || ()).await;
            assert_eq!(put.status, 201);
        }
        let places = [
            "/dav/calendars/anna/calendar/",
            "/dav/calendars/anna/",
            "/dav/calendars/anna/calendar/1.ics",
            "/dav/principals/",
            "/dav/files/anna/",
        ];
        let mut heard = std::collections::BTreeMap::new();
        for _ in 0..4_000 {
            let body = bent(&mut dice);
            let place = places[[0, 0, 0, 1, 2, 3, 4][dice.throw(7)]];
            let depth = ["0", "1", "infinity"][dice.throw(3)];
            let answer = door.say("REPORT", place, &[("depth", depth)], body.clone(), || ()).await;
            *heard.entry(answer.status).or_insert(0) += 1;
            let text = answer.text();
            match answer.status {
                200 | 207 if text.starts_with("BEGIN:VCALENDAR") => {}
                200 | 207 => assert!(roxmltree::Document::parse(&text).is_ok(), "{place} {body}\n{text}"),
                400 | 403 | 507 => {
                    let said = text.split("responsedescription>").nth(1).unwrap_or_default();
                    assert!(said.trim_end_matches("</D:").ends_with(['.', '!']), "{place} {body}\n{text}");
                }
                status => panic!("{status} for {place} {body}\n{text}"),
            }
        }
        assert!(heard.get(&207).is_some_and(|n| *n > 500), "{heard:?}");
        assert!(
            heard.get(&403).is_some_and(|n| *n > 100) && heard.get(&400).is_some_and(|n| *n > 100),
            "{heard:?}"
        );
    });
}

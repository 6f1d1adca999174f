#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use super::*;
use crate::bridge::cozi::rule::day_of;

const WINDOW: Window = Window { from: Some(1_767_225_600), to: Some(1_769_904_000), now: 1_767_225_600 };

fn berlin() -> Zone {
    by_tzid("Europe/Berlin").unwrap()
}

fn cozi() -> Cozi {
    let fetch =
        Fetch::new(crate::http::fetch::Private::Refused, crate::http::fetch::Timeouts::default()).unwrap();
    let cozi = Cozi::new(fetch, Url::parse("http://127.0.0.1:1/").unwrap(), "a".into(), Secret::new("b"));
    cozi.known().zone = Some(berlin());
    cozi
}

fn event(lines: &str) -> Ical {
    let text = format!(
        "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:x\r\nBEGIN:VEVENT\r\nUID:u1\r\nDTSTAMP:20260101T000000Z\r\n\
         {}\r\nSUMMARY:Tea\r\nX-OURS:1\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n",
        lines.replace('|', "\r\n")
    );
    Ical::parse(text.into_bytes()).unwrap()
}

/// What Cozi shows of what was written: the flat names of a write become the nested ones of a page.
fn shown(body: &Map<String, Value>) -> Value {
    let details = &body["details"];
    let mut item = json!({
        "id": "i1", "itemType": "appointment", "itemVersion": 1, "day": body["startDay"],
        "startTime": format!("{}:00", details["startTime"].as_str().unwrap()),
        "endTime": format!("{}:00", details["endTime"].as_str().unwrap()),
        "dateSpan": details["dateSpan"], "description": details["subject"],
        "descriptionShort": details["subject"], "householdMembers": details["attendeeSet"],
        "itemDetails": {"location": details["location"], "notes": details["notes"]},
        "reminders": body["reminders"],
    });
    if let Some(recurrence) = body.get("recurrence") {
        item["recurrence"] = recurrence.clone();
        item["recurrenceStartDay"] = body["startDay"].clone();
    }
    item
}

fn whole(fit: Fit) -> String {
    match fit {
        Fit::Whole(bytes) => String::from_utf8(bytes.to_vec()).unwrap(),
        other => panic!("{other:?}"),
    }
}

// S3-161: what is promised is what is read back; once more changes nothing
#[test]
fn what_fits_is_what_is_read_back() {
    let cozi = cozi();
    for lines in [
        "DTSTART:20260105T090000Z|DTEND:20260105T100000Z",
        "DTSTART;TZID=America/New_York:20260105T200000|DURATION:PT3H",
        "DTSTART;VALUE=DATE:20260105",
        "DTSTART;VALUE=DATE:20260105|DTEND;VALUE=DATE:20260108",
        "DTSTART;TZID=Europe/Berlin:20260105T000000|DTEND;TZID=Europe/Berlin:20260106T000000",
        "DTSTART:20260105T090030Z|DTEND:20260105T090031Z",
        "DTSTART:20260105T090000|LOCATION:Kitchen\\, left|DESCRIPTION:one\\ntwo",
        "DTSTART;TZID=Europe/Berlin:20260105T090000|RRULE:FREQ=WEEKLY;BYDAY=MO,WE;COUNT=5",
        "DTSTART;TZID=Europe/Berlin:20260105T090000|RRULE:FREQ=DAILY;UNTIL=20260110T080000Z",
        "DTSTART;VALUE=DATE:20260105|RRULE:FREQ=YEARLY",
        "DTSTART;VALUE=DATE:20260105|RRULE:FREQ=MONTHLY;BYDAY=1MO;INTERVAL=2",
        "DTSTART;VALUE=DATE:20260126|RRULE:FREQ=MONTHLY;BYDAY=-1MO|EXDATE;VALUE=DATE:20260223",
        "DTSTART:20260105T090000Z|STATUS:CANCELLED",
        "DTSTART:20260105T090000Z|BEGIN:VALARM|ACTION:DISPLAY|TRIGGER:-PT15M|END:VALARM",
    ] {
        let promised = whole(cozi.fit(&event(lines), WINDOW));
        let ical = Ical::parse(promised.clone().into_bytes()).unwrap();
        crate::ical::check::calendar_object(ical.bytes().clone()).unwrap();
        assert_eq!(whole(cozi.fit(&ical, WINDOW)), promised, "{lines}");
        // Written, shown by Cozi, read.
        let draft = Draft::of(&ical, &berlin()).unwrap();
        let mut item = shown(&body(&draft, "u1", None, &json!([]), Role::Whole));
        if let Some(recurrence) = item.get_mut("recurrence") {
            let days = draft.exceptions.keys().map(|day| json!({"date": day_text(*day)})).collect();
            recurrence["exdates"] = Value::Array(days);
        }
        let Items { found: read, odd, .. } = assemble(&Map::from_iter([("i1".to_owned(), item)]));
        assert!(odd.is_empty() && read[0].uid == "u1", "{lines}: {read:?}");
        assert_eq!(String::from_utf8(read[0].text(&berlin()).to_vec()).unwrap(), promised, "{lines}");
    }
}

// S4-051: what Cozi cannot repeat is shown day by day, or refused with a reason
#[test]
fn what_cozi_cannot_repeat_is_taken_apart() {
    let cozi = cozi();
    for rule in [
        "FREQ=MONTHLY;BYDAY=MO,TU;BYSETPOS=1",
        "FREQ=MONTHLY;BYMONTHDAY=1,15",
        "FREQ=MONTHLY;BYDAY=5MO",
        "FREQ=WEEKLY;BYDAY=TU",
        "FREQ=DAILY;BYDAY=MO,TU,WE,TH,FR",
        "FREQ=DAILY|RDATE:20260106T110000Z",
    ] {
        let fit = cozi.fit(&event(&format!("DTSTART:20260105T090000Z|RRULE:{rule}")), WINDOW);
        let Fit::Parts(parts, why) = fit else { panic!("{rule}: {fit:?}") };
        assert!(!parts.is_empty() && why.contains("Cozi"), "{rule}: {why}");
    }
    let hourly = cozi.fit(&event("DTSTART:20260105T090000Z|RRULE:FREQ=HOURLY"), WINDOW);
    assert!(matches!(&hourly, Fit::Refused(why) if why.contains("too many days")), "{hourly:?}");
    let instance = cozi.fit(&event("DTSTART:20260105T090000Z|RECURRENCE-ID:20260105T090000Z"), WINDOW);
    assert!(matches!(instance, Fit::Refused(_)), "{instance:?}");
}

#[test]
fn a_series_with_stand_ins_is_one_event() {
    let item = |id: &str, day: &str, more: Value| {
        let mut item = json!({
            "id": id, "itemType": "appointment", "day": day, "startTime": "09:00:00", "endTime": "10:00:00",
            "dateSpan": 0, "description": "Choir", "itemDetails": {"location": "", "notes": ""},
        });
        item.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        item
    };
    let series = item(
        "s",
        "2026-01-12",
        json!({
            "recurrenceStartDay": "2026-01-05",
            "recurrence": {
                "rules": [{"frequency": "Weekly", "interval": 1, "byDay": ["MO"], "end": {}}],
                "exdates": [{"date": "2026-01-12"}, {"date": "2026-01-19", "standinApptId": "x"}],
            },
        }),
    );
    let other = item("x", "2026-01-20", json!({"startTime": "11:00:00", "endTime": "12:30:00"}));
    let items = Map::from_iter([("s".to_owned(), series), ("x".to_owned(), other)]);
    let Items { found, odd, lacking } = assemble(&items);
    assert_eq!((found.len(), odd.len(), lacking.len()), (1, 0, 0));
    let text = String::from_utf8(found[0].text(&berlin()).to_vec()).unwrap();
    for line in [
        "UID:s@cozi",
        "DTSTART;TZID=Europe/Berlin:20260105T090000",
        "RRULE:FREQ=WEEKLY;BYDAY=MO",
        "EXDATE;TZID=Europe/Berlin:20260112T090000",
        "RECURRENCE-ID;TZID=Europe/Berlin:20260119T090000",
        "DTSTART;TZID=Europe/Berlin:20260120T110000",
        "BEGIN:VTIMEZONE",
    ] {
        assert!(text.contains(line), "{line} in\n{text}");
    }
    assert_eq!(found[0].stand_ins[&day_of("2026-01-19").unwrap()], "x");
    // The version changes with any part.
    let mut changed = items.clone();
    changed["x"]["description"] = json!("Choir, elsewhere");
    assert_ne!(assemble(&changed).found[0].version, found[0].version);
    // What stands in for a day is on another page: the day is not left out, it is not known what it is.
    let mut page = items.clone();
    page.remove("x");
    assert_eq!(assemble(&page).lacking["s"], [day_of("2026-01-19").unwrap()]);
    // One of ours says what it is, should its series not be at hand.
    let mut lone = items["x"].clone();
    lone["itemDetails"]["notes"] = json!("bring tea\n\n[kalends-day u1]");
    let alone = assemble(&Map::from_iter([("x".to_owned(), lone)]));
    assert_eq!((alone.found.len(), alone.odd.len()), (0, 0));
}

// Bad input: what is there and not understood is neither an event nor gone
#[test]
fn what_is_not_understood_is_there_all_the_same() {
    let item = |recurrence: Value| {
        json!({"id": "s", "itemType": "appointment", "day": "2026-01-05", "recurrenceStartDay": "2026-01-05",
            "startTime": "09:00:00", "endTime": "10:00:00", "dateSpan": 0, "description": "Choir",
            "itemDetails": {"location": "", "notes": ""}, "recurrence": recurrence})
    };
    let read = |item: Value| assemble(&Map::from_iter([("s".to_owned(), item)]));
    let rule = |more: Value| {
        let mut rule = json!({"frequency": "Monthly", "interval": 1, "end": {}});
        rule.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        rule
    };
    for odd in [
        json!({"rules": [rule(json!({"byMonthDay": [1, 15]}))]}),
        json!({"rules": [rule(json!({"bySetPos": [1], "byDay": ["MO", "TU"]}))]}),
        json!({"rules": [rule(json!({})), rule(json!({"interval": 2}))]}),
        json!({"rules": [rule(json!({"frequency": "Hourly"}))]}),
    ] {
        let all = read(item(odd.clone()));
        assert_eq!((all.found.len(), all.odd), (0, vec!["s".to_owned()]), "{odd}");
    }
    let mut broken = item(Value::Null);
    broken["startTime"] = json!("nine");
    assert_eq!(read(broken).odd, ["s"]);
    let mut meal = item(Value::Null);
    meal["itemType"] = json!("meal");
    let all = read(meal);
    assert_eq!((all.found.len(), all.odd.len()), (0, 0), "no appointment at all");
    // An end by number is one, whoever wrote it.
    let counted = read(item(json!({"rules": [rule(json!({"end": {"count": 3}}))]})));
    assert_eq!(counted.found[0].draft.rule.as_ref().unwrap().until, day_of("2026-03-05"));
}

// RFC 5545 §3.3.10: where weeks are left out it matters on which day they begin, and Cozi does not say
#[test]
fn weeks_that_may_begin_on_another_day_are_taken_apart() {
    let cozi = cozi();
    let of =
        |rule: &str| cozi.fit(&event(&format!("DTSTART:20260105T090000Z|RRULE:FREQ=WEEKLY;{rule}")), WINDOW);
    for held in
        ["INTERVAL=2;BYDAY=MO,FR", "INTERVAL=2;BYDAY=MO,FR;WKST=MO", "BYDAY=MO,SU", "INTERVAL=2;WKST=TU"]
    {
        assert!(matches!(of(held), Fit::Whole(_)), "{held}");
    }
    for apart in
        ["INTERVAL=2;BYDAY=MO,SU", "INTERVAL=2;BYDAY=MO,SU;WKST=SU", "INTERVAL=2;BYDAY=MO,FR;WKST=TH"]
    {
        assert!(matches!(of(apart), Fit::Parts(..)), "{apart}");
    }
}

#[test]
fn months_follow_each_other() {
    assert_eq!(moved((2026, 12), 1), (2027, 1));
    assert_eq!(moved((2026, 1), -13), (2024, 12));
    let all = Window { from: None, to: None, now: 1_767_225_600 };
    assert_eq!(within(all, &berlin()), [(2025, 12), (2026, 1), (2026, 2), (2026, 3), (2026, 4)]);
}

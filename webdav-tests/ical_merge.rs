//! The law of merging by property (S3-076): what one side changed is taken, what both changed clashes, nothing else
//! happens. Over generated edits of one object, and case by case.

use kalends::ical::merge::{Merged, equal, merge};
use kalends::ical::{Ical, check};
use proptest::prelude::*;

/// What an edit is made of: a line of a component is set, removed or added; sets get and lose elements.
#[derive(Debug, Clone)]
struct Event {
    fields: Vec<(&'static str, Option<u8>)>,
    attendees: Vec<(u8, u8)>,
    categories: Vec<u8>,
    exdates: Vec<u8>,
    alarms: Vec<u8>,
    overrides: Vec<(u8, u8)>,
}

const FIELDS: [&str; 8] =
    ["SUMMARY", "LOCATION", "DESCRIPTION", "DTEND", "X-OWN", "PRIORITY", "TRANSP", "CLASS"];

impl Event {
    fn text(&self, stamp: u8) -> String {
        let mut text = format!(
            "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nBEGIN:VEVENT\r\nUID:a\r\nDTSTAMP:202601{:02}T000000Z\r\n\
             DTSTART:20260101T100000Z\r\nRRULE:FREQ=DAILY\r\n",
            1 + stamp % 28
        );
        for (name, value) in &self.fields {
            match (*name, value) {
                (_, None) => {}
                ("DTEND", Some(n)) => text += &format!("DTEND:20260101T11{n:02}00Z\r\n"),
                (name, Some(n)) => text += &format!("{name};X-P=\"a:{n}\":value {n}\\, and so on\r\n"),
            }
        }
        for (who, state) in &self.attendees {
            text += &format!("ATTENDEE;CN=\"P, {who}\";X-STATE={state}:mailto:p{who}@example.org\r\n");
        }
        if !self.categories.is_empty() {
            let all: Vec<String> = self.categories.iter().map(|n| format!("c{n}\\,x")).collect();
            text += &format!("CATEGORIES:{}\r\n", all.join(","));
        }
        for day in &self.exdates {
            text += &format!("EXDATE:202602{:02}T100000Z\r\n", 1 + day);
        }
        for minutes in &self.alarms {
            text += &format!("BEGIN:VALARM\r\nACTION:DISPLAY\r\nTRIGGER:-PT{minutes}M\r\nEND:VALARM\r\n");
        }
        text += "END:VEVENT\r\n";
        for (day, hour) in &self.overrides {
            text += &format!(
                "BEGIN:VEVENT\r\nUID:a\r\nRECURRENCE-ID:202603{:02}T100000Z\r\n\
                 DTSTART:202603{:02}T{hour:02}0000Z\r\nSUMMARY:Moved\r\nEND:VEVENT\r\n",
                1 + day,
                1 + day
            );
        }
        text + "END:VCALENDAR\r\n"
    }

    fn ical(&self, stamp: u8) -> Ical {
        Ical::parse(self.text(stamp)).unwrap()
    }
}

fn events() -> impl Strategy<Value = Event> {
    let set = |most: u8| prop::collection::btree_set(0..most, 0..4);
    let map = |most: u8| prop::collection::btree_map(0..most, 0u8..3, 0..4);
    let fields = prop::collection::vec(prop::option::of(0u8..3), FIELDS.len());
    (fields, map(5), set(5), set(5), set(5), map(4)).prop_map(
        |(fields, attendees, categories, exdates, alarms, overrides)| Event {
            fields: FIELDS.into_iter().zip(fields).collect(),
            attendees: attendees.into_iter().collect(),
            categories: categories.into_iter().collect(),
            exdates: exdates.into_iter().collect(),
            alarms: alarms.into_iter().map(|n| n + 1).collect(),
            overrides: overrides.into_iter().collect(),
        },
    )
}

fn read(merged: &Merged) -> Ical {
    let checked = check::calendar_object(merged.bytes().clone());
    checked.unwrap_or_else(|problem| panic!("{}: {problem}", String::from_utf8_lossy(merged.bytes()))).ical
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn one_side_alone_is_taken_whole(base in events(), other in events()) {
        let (base, other) = (base.ical(1), other.ical(2));
        // Nothing new there: our bytes stay.
        prop_assert_eq!(merge(&base, &other, &base), Merged::Clean(other.bytes().clone()));
        // Nothing new here: what they have is said.
        let merged = merge(&base, &base, &other);
        prop_assert!(matches!(merged, Merged::Clean(_)), "{:?}", merged);
        prop_assert!(equal(&read(&merged), &other), "{}", String::from_utf8_lossy(merged.bytes()));
        // The same on both sides.
        prop_assert_eq!(merge(&base, &other, &other), Merged::Clean(other.bytes().clone()));
        // Merged once, there is nothing left to merge.
        let again = merge(&other, &read(&merged), &other);
        prop_assert_eq!(again.bytes(), merged.bytes());
    }

    #[test]
    fn both_sides_agree_on_what_is_clean(base in events(), ours in events(), theirs in events()) {
        let (base, ours, theirs) = (base.ical(1), ours.ical(2), theirs.ical(3));
        let (here, there) = (merge(&base, &ours, &theirs), merge(&base, &theirs, &ours));
        let (a, b) = (read(&here), read(&there));
        match (&here, &there) {
            (Merged::Clean(_), Merged::Clean(_)) => prop_assert!(
                equal(&a, &b),
                "{}\n{}",
                String::from_utf8_lossy(here.bytes()),
                String::from_utf8_lossy(there.bytes())
            ),
            (Merged::Conflict { clashes: one, .. }, Merged::Conflict { clashes: other, .. }) => {
                prop_assert_eq!(one.len(), other.len(), "{:?} {:?}", one, other);
            }
            _ => prop_assert!(false, "clean one way only: {here:?} {there:?}"),
        }
    }

    #[test]
    fn disjoint_changes_are_all_there(base in events(), other in events(), mask in any::<u16>()) {
        // Each thing is changed on one side only, or not at all: the result is `other`, all of it.
        let mine = |bit: u16| mask & (1 << bit) != 0;
        let mix = |ours: bool| {
            let mut mixed = base.clone();
            for (at, field) in mixed.fields.iter_mut().enumerate() {
                if mine(at as u16) == ours {
                    *field = other.fields[at];
                }
            }
            if mine(8) == ours { mixed.attendees.clone_from(&other.attendees); }
            if mine(9) == ours { mixed.categories.clone_from(&other.categories); }
            // Times go together with EXDATE.
            if mine(3) == ours { mixed.exdates.clone_from(&other.exdates); }
            if mine(10) == ours { mixed.alarms.clone_from(&other.alarms); }
            if mine(11) == ours { mixed.overrides.clone_from(&other.overrides); }
            mixed.ical(4)
        };
        let merged = merge(&base.ical(1), &mix(true), &mix(false));
        prop_assert!(matches!(merged, Merged::Clean(_)), "{:?}", merged);
        prop_assert!(equal(&read(&merged), &other.ical(9)), "{}", String::from_utf8_lossy(merged.bytes()));
    }

    #[test]
    fn what_we_did_not_name_stays_byte_for_byte(base in events(), theirs in events(), fold in 10usize..60) {
        // Our private line is folded in a way of its own; nobody but us knows it.
        let private = format!("X-PRIVATE;X-Q=\"1;2\":{}\r\n {}\r\n", "a".repeat(fold), "b".repeat(fold));
        let ours = base.text(1).replacen("UID:a\r\n", &format!("UID:a\r\n{private}"), 1);
        let ours = Ical::parse(ours).unwrap();
        let merged = merge(&base.ical(1), &ours, &theirs.ical(2));
        prop_assert!(matches!(merged, Merged::Clean(_)), "{:?}", merged);
        prop_assert!(String::from_utf8_lossy(merged.bytes()).contains(&private));
    }
}

fn object(body: &str) -> Ical {
    let text = format!("BEGIN:VCALENDAR\nVERSION:2.0\n{body}END:VCALENDAR\n");
    check::calendar_object(text.into()).unwrap().ical
}

fn event(lines: &str) -> Ical {
    object(&format!("BEGIN:VEVENT\nUID:a\nDTSTART:20260101T100000Z\n{lines}END:VEVENT\n"))
}

fn clean(base: &Ical, ours: &Ical, theirs: &Ical) -> String {
    match merge(base, ours, theirs) {
        Merged::Clean(bytes) => String::from_utf8(bytes.to_vec()).unwrap(),
        conflict => panic!("{conflict:?}"),
    }
}

fn clashes(base: &Ical, ours: &Ical, theirs: &Ical) -> Vec<String> {
    match merge(base, ours, theirs) {
        Merged::Conflict { clashes, merged } => {
            assert!(check::calendar_object(merged).is_ok());
            clashes
        }
        clean => panic!("{clean:?}"),
    }
}

#[test]
fn an_attendee_is_merged_by_parameter() {
    let line = |more: &str| event(&format!("ATTENDEE;CN=Anna{more}:mailto:anna@example.org\n"));
    let base = line(";PARTSTAT=NEEDS-ACTION");
    let accepted = line(";PARTSTAT=ACCEPTED");
    let seen = line(";PARTSTAT=NEEDS-ACTION;SCHEDULE-STATUS=\"2.0;ok\"");
    let text = clean(&base, &accepted, &seen);
    assert!(
        text.replace("\n ", "").contains(
            "ATTENDEE;CN=Anna;PARTSTAT=ACCEPTED;SCHEDULE-STATUS=\"2.0;ok\":mailto:anna@example.org\n"
        ),
        "{text}"
    );
    assert_eq!(clashes(&base, &accepted, &line(";PARTSTAT=DECLINED")), ["ATTENDEE mailto:anna@example.org"]);
    // Gone on one side, changed on the other.
    assert_eq!(clashes(&base, &event(""), &accepted), ["ATTENDEE mailto:anna@example.org"]);
    assert_eq!(clashes(&base, &accepted, &event("")), ["ATTENDEE mailto:anna@example.org"]);
    // An address is the same in any case, and answers once.
    let shouted = event("ATTENDEE;CN=Anna;PARTSTAT=ACCEPTED:MAILTO:Anna@example.org\n");
    assert_eq!(clean(&base, &base, &shouted).matches("ATTENDEE").count(), 1);
}

#[test]
fn list_values_keep_their_heads() {
    let base = event("EXDATE;TZID=\"/x/A:B\":20260102T100000,20260103T100000,20260104T100000\n");
    let ours = event(
        "EXDATE;TZID=\"/x/A:B\":20260102T100000,20260103T100000,20260104T100000\nCATEGORIES:a\\,b,c\nSUMMARY:s\n",
    );
    let theirs = event(
        "EXDATE;TZID=\"/x/A:B\":20260104T100000,20260102T100000\nEXDATE;TZID=\"/x/A:B\":20260109T100000\n\
         CATEGORIES:d\\,e\n",
    );
    let text = clean(&base, &ours, &theirs);
    assert!(text.contains("EXDATE;TZID=\"/x/A:B\":20260102T100000,20260104T100000\n"), "{text}");
    assert!(text.contains("EXDATE;TZID=\"/x/A:B\":20260109T100000\n"), "{text}");
    assert!(text.contains("CATEGORIES:a\\,b,c\n") && text.contains("CATEGORIES:d\\,e\n"), "{text}");
}

#[test]
fn another_spelling_is_no_change() {
    let base = event("RRULE:FREQ=DAILY;COUNT=3\nSUMMARY:a\\nb\nATTENDEE;CN=A;RSVP=TRUE:mailto:a@b\n");
    let spelled = event(
        "SUMMARY:a\\Nb\nrrule:COUNT=3;freq=DAILY\nATTENDEE;RSVP=TRUE;CN=\"A\":MAILTO:a@b\nSEQUENCE:4\n",
    );
    assert!(equal(&base, &spelled));
    let ours = event("RRULE:FREQ=DAILY;COUNT=4\nSUMMARY:a\\nb\nATTENDEE;CN=A;RSVP=TRUE:mailto:a@b\n");
    assert_eq!(clean(&base, &ours, &spelled).as_bytes(), &ours.bytes()[..]);
}

#[test]
fn an_instance_is_its_moment() {
    // S3-091, S4-050
    let master =
        "BEGIN:VEVENT\nUID:a\nDTSTART;TZID=Europe/Berlin:20260101T100000\nRRULE:FREQ=DAILY\nEND:VEVENT\n";
    let instance = |id: &str, lines: &str| {
        object(&format!(
            "{master}BEGIN:VEVENT\nUID:a\nRECURRENCE-ID{id}\nDTSTART:20260103T120000Z\n{lines}END:VEVENT\n"
        ))
    };
    let base = instance(";TZID=Europe/Berlin:20260103T100000", "");
    let ours = instance(";TZID=Europe/Berlin:20260103T100000", "SUMMARY:Ours\n");
    let theirs = instance(":20260103T090000Z", "LOCATION:Theirs\n");
    let text = clean(&base, &ours, &theirs);
    assert_eq!(text.matches("RECURRENCE-ID").count(), 1, "{text}");
    assert!(text.contains("SUMMARY:Ours\n") && text.contains("LOCATION:Theirs\n"), "{text}");
    // A clash within an instance says which.
    let theirs = instance(";TZID=Europe/Berlin:20260103T100000", "SUMMARY:Theirs\n");
    assert_eq!(clashes(&base, &ours, &theirs), ["SUMMARY of the instance of 20260103T100000"]);
}

#[test]
fn zones_come_along_where_they_are_named() {
    let zone = |id: &str| {
        format!(
            "BEGIN:VTIMEZONE\nTZID:{id}\nBEGIN:STANDARD\nDTSTART:19700101T000000\nTZOFFSETFROM:+0100\n\
             TZOFFSETTO:+0100\nEND:STANDARD\nEND:VTIMEZONE\n"
        )
    };
    let base = event("SUMMARY:s\n");
    let ours = event("SUMMARY:ours\n");
    let theirs = object(&format!(
        "{}{}BEGIN:VEVENT\nUID:a\nDTSTART;TZID=Mine:20260101T110000\nSUMMARY:s\nEND:VEVENT\n",
        zone("Other"),
        zone("Mine")
    ));
    let text = clean(&base, &ours, &theirs);
    assert!(text.contains(&zone("Mine")) && !text.contains("Other"), "{text}");
    assert!(text.find("VTIMEZONE") < text.find("VEVENT"), "{text}");
    assert!(text.contains("DTSTART;TZID=Mine:20260101T110000\nSUMMARY:ours\n"), "{text}");
    // Not one zone more when it is already there, or when nothing names it.
    let again = Ical::parse(text.clone()).unwrap();
    assert_eq!(clean(&theirs, &again, &theirs), text);
}

#[test]
fn an_alarm_with_a_name_of_its_own_is_changed_once() {
    let alarm = |minutes: u8| {
        event(&format!("BEGIN:VALARM\nUID:x\nACTION:DISPLAY\nTRIGGER:-PT{minutes}M\nEND:VALARM\n"))
    };
    assert_eq!(clashes(&alarm(5), &alarm(10), &alarm(15)), ["VALARM"]);
    assert!(clean(&alarm(5), &alarm(5), &alarm(15)).contains("-PT15M"));
    assert!(!clean(&alarm(5), &alarm(5), &alarm(15)).contains("-PT5M"));
}

#[test]
fn the_later_stamp_and_the_higher_number_stay() {
    let base = event("DTSTAMP:20260101T000000Z\nSEQUENCE:1\nSUMMARY:s\n");
    let ours = event("DTSTAMP:20260105T000000Z\nSEQUENCE:10\nSUMMARY:s\n");
    let theirs =
        event("DTSTAMP:20260103T000000Z\nSEQUENCE:9\nLAST-MODIFIED:20260103T000000Z\nSUMMARY:t\nPRODID:x\n");
    let text = clean(&base, &ours, &theirs);
    for line in ["DTSTAMP:20260105T000000Z", "SEQUENCE:10", "LAST-MODIFIED:20260103T000000Z", "SUMMARY:t"] {
        assert!(text.contains(&format!("{line}\n")), "{line}: {text}");
    }
}

#[test]
fn thousands_of_overrides_merge_in_bounded_time() {
    let master = "BEGIN:VEVENT\nUID:a\nDTSTART:20260101T100000Z\nRRULE:FREQ=HOURLY\nEND:VEVENT\n";
    let all = |summary: &str| {
        let mut body = master.to_owned();
        for n in 0..3000 {
            let moment = kalends::ical::value::Civil(1_767_261_600 + n * 3600).to_basic();
            body += &format!(
                "BEGIN:VEVENT\nUID:a\nRECURRENCE-ID:{moment}Z\nDTSTART:{moment}Z\nSUMMARY:{summary}\nEND:VEVENT\n"
            );
        }
        object(&body)
    };
    let begun = std::time::Instant::now();
    let text = clean(&all("a"), &all("a"), &all("b"));
    assert_eq!(text.matches("SUMMARY:b\n").count(), 3000);
    assert!(begun.elapsed().as_secs() < 20, "{:?}", begun.elapsed());
}

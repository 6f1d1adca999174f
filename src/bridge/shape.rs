//! What of an object a mapping carries: the preset of its fields, its filters, its window. Pure.
//!
//! Owns: which properties each preset lets through, which events a rule or a filter means, which lie in a window.
//! Does not own: what the far side can hold (`Provider::fit`), what becomes of a difference (`plan`).
//!
//! A preset lets through what it names. What is unknown stays where it is: with `busy`, everything that is not a time.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::provider::Window;
use super::record::{Fields, Filter, FilterAction, Match, Within};
use crate::ical::series::{Series, TimeRange};
use crate::ical::zone::Zone;
use crate::ical::{Component, Edit, Ical, Property, quote_parameter};

/// What says which object it is and when it was written.
const IDENTITY: [&str; 6] = ["UID", "RECURRENCE-ID", "DTSTAMP", "CREATED", "LAST-MODIFIED", "SEQUENCE"];
/// When it takes place.
const TIMES: [&str; 9] =
    ["DTSTART", "DTEND", "DUE", "DURATION", "RRULE", "RDATE", "EXDATE", "EXRULE", "FREEBUSY"];
/// What `core` adds (S4-053): title, description, place. The properties with an `X-` say the same in another form.
const CORE: [&str; 5] = ["SUMMARY", "DESCRIPTION", "LOCATION", "X-ALT-DESC", "X-APPLE-STRUCTURED-LOCATION"];
/// What `standard` adds (E7). Reminders are components and are let through as such.
const STANDARD: [&str; 18] = [
    "STATUS",
    "TRANSP",
    "CLASS",
    "CATEGORIES",
    "COLOR",
    "URL",
    "CONFERENCE",
    "PRIORITY",
    "GEO",
    "RELATED-TO",
    "COMPLETED",
    "PERCENT-COMPLETE",
    "X-GOOGLE-CONFERENCE",
    "X-MICROSOFT-SKYPETEAMSMEETINGURL",
    "X-MICROSOFT-ONLINEMEETINGCONFLINK",
    "X-MICROSOFT-CDO-BUSYSTATUS",
    "X-MICROSOFT-CDO-IMPORTANCE",
    "X-APPLE-TRAVEL-DURATION",
];
/// The components that hold what people call an event or a task.
const OBJECTS: [&str; 4] = ["VEVENT", "VTODO", "VJOURNAL", "VFREEBUSY"];
/// What the calendar object itself says in every preset but `full`.
const CALENDAR: [&str; 3] = ["VERSION", "PRODID", "CALSCALE"];
/// So many instances that have begun already are looked past.
const INSTANCES: usize = 100;
/// What stands for every title in `busy`.
const BUSY: &str = "SUMMARY:Busy";

/// Returns the part of a text that a preset lets through, for whoever else shows events to others.
pub fn projected(fields: Fields, ical: &Ical) -> Bytes {
    project(fields, ical)
}

/// Returns the part of the text that the preset lets through.
pub(super) fn project(fields: Fields, ical: &Ical) -> Bytes {
    let Some(calendar) = ical.calendar() else { return ical.bytes().clone() };
    if fields == Fields::Full {
        return unmarked(ical, calendar);
    }
    let mut work = Work { fields, edit: Some(ical.edit()), zones: BTreeSet::new() };
    for property in calendar.properties().filter(|p| !CALENDAR.contains(&p.name())) {
        work.edit(|edit| edit.remove(property));
    }
    if let Some(program) = calendar.property("PRODID").filter(|_| fields == Fields::Busy) {
        work.edit(|edit| edit.replace(program, "PRODID:-//Kalends//EN"));
    }
    for component in calendar.components() {
        match component.name() {
            "VTIMEZONE" => {}
            name if OBJECTS.contains(&name) => work.object(component),
            _ => work.edit(|edit| edit.remove_component(component)),
        }
    }
    if fields == Fields::Busy {
        for zone in calendar.named("VTIMEZONE") {
            work.zone(zone);
        }
    }
    work.edit.map_or_else(|| ical.bytes().clone(), Edit::finish)
}

/// Tells whether the filters let the object through: the first that fits decides; if none does, the opposite of what
/// the last one says. Without filters everything passes.
pub(super) fn passes(filters: &[Filter], ical: &Ical) -> bool {
    let decides = filters.iter().find(|filter| matches(&filter.when, ical));
    match (decides, filters.last()) {
        (Some(filter), _) => filter.action == FilterAction::Include,
        (None, Some(last)) => last.action == FilterAction::Exclude,
        (None, None) => true,
    }
}

/// Tells whether the object is what the rule means. All that is given must hold; of a series it holds if it does of
/// the whole or of one instance.
pub(super) fn matches(when: &Match, ical: &Ical) -> bool {
    let all: Vec<Component<'_>> = ical
        .calendar()
        .into_iter()
        .flat_map(|calendar| calendar.components())
        .filter(|component| OBJECTS.contains(&component.name()))
        .collect();
    let any = |holds: &dyn Fn(&Component<'_>) -> bool| all.iter().any(holds);
    let agrees = |wanted: Option<bool>, found: &dyn Fn() -> bool| wanted.is_none_or(|w| w == found());
    let master = all.iter().find(|c| c.property("RECURRENCE-ID").is_none()).or(all.first());
    when.title.as_ref().is_none_or(|title| any(&|c| holds_title(*c, title)))
        && when.category.as_ref().is_none_or(|category| any(&|c| has_category(*c, category)))
        && agrees(when.all_day, &|| master.is_some_and(|c| is_all_day(*c)))
        && agrees(when.busy, &|| any(&|c| is_busy(*c)))
        && agrees(when.recurring, &|| {
            any(&|c| ["RRULE", "RDATE", "RECURRENCE-ID"].iter().any(|name| c.property(name).is_some()))
        })
        && agrees(when.attendees, &|| any(&|c| c.property("ATTENDEE").is_some()))
        && agrees(when.private, &|| any(&|c| is_private(*c)))
}

/// Tells whether the object, or an instance of it, begins within this time from now.
pub(super) fn begins_within(ical: &Ical, now: i64, within: Within) -> bool {
    let end = now.saturating_add(i64::from(within.0)).saturating_add(1);
    let range = TimeRange { start: now, end };
    let found = Series::of(ical).instances(range, &Zone::Utc, INSTANCES);
    found.list.iter().any(|instance| (now..end).contains(&instance.start))
}

/// Tells whether any of the object may lie in the window. What has no place in time always does.
pub(super) fn in_window(ical: &Ical, window: Window) -> bool {
    if window.from.is_none() && window.to.is_none() {
        return true;
    }
    let Some(span) = Series::of(ical).span() else { return true };
    let ends_before =
        window.from.is_some_and(|from| span.end.is_some_and(|end| end.max(span.start + 1) <= from));
    let begins_after = window.to.is_some_and(|to| span.start >= to);
    !ends_before && !begins_after
}

struct Work<'a> {
    fields: Fields,
    edit: Option<Edit<'a>>,
    /// The zones that what is let through names.
    zones: BTreeSet<String>,
}

impl<'a> Work<'a> {
    fn edit(&mut self, step: impl FnOnce(Edit<'a>) -> Edit<'a>) {
        self.edit = self.edit.take().map(step);
    }

    fn object(&mut self, component: Component<'a>) {
        let mut titled = false;
        let mut freed = false;
        for property in component.properties() {
            let name = property.name();
            if self.fields == Fields::Busy && name == "SUMMARY" && !titled {
                titled = true;
                self.edit(|edit| edit.replace(property, BUSY));
            } else if !self.lets_through(component, property) {
                self.edit(|edit| edit.remove(property));
            } else if self.fields == Fields::Busy {
                freed |= name == "TRANSP";
                self.bare(property);
            }
        }
        if self.fields == Fields::Busy {
            if !titled {
                self.edit(|edit| edit.insert(component, BUSY));
            }
            // Outlook says it in a property of its own, which does not leave.
            if !freed && component.name() == "VEVENT" && !is_busy(component) && !is_cancelled(component) {
                self.edit(|edit| edit.insert(component, "TRANSP:TRANSPARENT"));
            }
        }
        for child in component.components() {
            self.child(child);
        }
    }

    fn lets_through(&self, component: Component<'_>, property: Property<'_>) -> bool {
        let name = property.name();
        if IDENTITY.contains(&name) || TIMES.contains(&name) {
            return true;
        }
        match self.fields {
            Fields::Full => true,
            Fields::Standard => CORE.contains(&name) || STANDARD.contains(&name) || is_of_ours(name),
            Fields::Core => match name {
                // That it does not take place is a matter of its time, and that a task is done of the task's.
                "STATUS" => component.name() == "VTODO" || is_cancelled(component),
                "COMPLETED" | "PERCENT-COMPLETE" => true,
                // Nothing becomes more public by being carried.
                "CLASS" => is_private(component),
                name => CORE.contains(&name),
            },
            Fields::Busy => matches!(name, "STATUS" | "TRANSP"),
        }
    }

    /// Alarms go with `standard`, except those that send mail to somebody; places go with the place.
    fn child(&mut self, child: Component<'a>) {
        let mails = || child.property("ACTION").is_some_and(|p| p.raw().trim().eq_ignore_ascii_case("EMAIL"));
        let kept = match (self.fields, child.name()) {
            (Fields::Standard, "VALARM") => !mails(),
            (Fields::Standard | Fields::Core, "VLOCATION") => true,
            _ => false,
        };
        if !kept {
            return self.edit(|edit| edit.remove_component(child));
        }
        for person in child.all("ATTENDEE") {
            self.edit(|edit| edit.remove(person));
        }
    }

    /// Leaves a property only the parameters that its meaning needs.
    fn bare(&mut self, property: Property<'a>) {
        let mut line = property.name().to_owned();
        let parameters = property.parameters();
        let mut kept = 0;
        for (name, values) in &parameters {
            let Some(value) = values.first().filter(|_| matches!(name.as_str(), "TZID" | "VALUE" | "RANGE"))
            else {
                continue;
            };
            if name == "TZID" {
                self.zones.insert(value.trim().to_owned());
            }
            kept += 1;
            line.push_str(&format!(";{name}={}", quote_parameter(value)));
        }
        if kept < parameters.len() {
            line.push_str(&format!(":{}", property.raw()));
            self.edit(|edit| edit.replace(property, &line));
        }
    }

    /// A zone's definition may say more than offsets, and one that nothing names says where somebody has been.
    fn zone(&mut self, zone: Component<'a>) {
        let id = zone.property("TZID").map(|id| id.raw().trim().to_owned()).unwrap_or_default();
        if !self.zones.contains(&id) {
            return self.edit(|edit| edit.remove_component(zone));
        }
        let said = |p: &Property<'_>| {
            p.name().starts_with("X-") || matches!(p.name(), "COMMENT" | "TZURL" | "LAST-MODIFIED")
        };
        let within = zone.components().flat_map(|c| c.properties().collect::<Vec<_>>());
        for property in zone.properties().chain(within).filter(said) {
            self.edit(|edit| edit.remove(property));
        }
    }
}

/// What a booking is marked with neither leaves nor comes from outside: it would be protected there, or here.
fn unmarked(ical: &Ical, calendar: Component<'_>) -> Bytes {
    let marks: Vec<Property<'_>> =
        calendar.components().flat_map(|c| c.property(super::plan::BOOKING)).collect();
    if marks.is_empty() {
        return ical.bytes().clone();
    }
    marks.into_iter().fold(ical.edit(), |edit, mark| edit.remove(mark)).finish()
}

/// What providers and we ourselves keep in properties of our own; a booking is only one here.
fn is_of_ours(name: &str) -> bool {
    name.starts_with("X-KALENDS-") && name != super::plan::BOOKING
}

fn word(component: Component<'_>, name: &str) -> Option<String> {
    component.property(name).map(|p| p.raw().trim().to_ascii_uppercase())
}

pub(super) fn is_cancelled(component: Component<'_>) -> bool {
    word(component, "STATUS").as_deref() == Some("CANCELLED")
}

fn is_private(component: Component<'_>) -> bool {
    // RFC 5545 §3.8.1.3: a class that is not known is treated as private.
    word(component, "CLASS").is_some_and(|class| class != "PUBLIC")
}

/// RFC 5545 §3.8.2.7; a whole object that is cancelled makes nobody busy.
fn is_busy(component: Component<'_>) -> bool {
    let free = match word(component, "TRANSP") {
        Some(transp) => transp == "TRANSPARENT",
        None => word(component, "X-MICROSOFT-CDO-BUSYSTATUS").as_deref() == Some("FREE"),
    };
    !free && !is_cancelled(component) && matches!(component.name(), "VEVENT" | "VFREEBUSY")
}

fn is_all_day(component: Component<'_>) -> bool {
    let start = component.property("DTSTART").or_else(|| component.property("DUE"));
    start.and_then(|p| crate::ical::value::date_time(&p)).is_some_and(|at| at.is_date())
}

fn holds_title(component: Component<'_>, title: &str) -> bool {
    component.property("SUMMARY").is_some_and(|p| p.text().to_lowercase().contains(&title.to_lowercase()))
}

fn has_category(component: Component<'_>, category: &str) -> bool {
    let wanted = category.trim().to_lowercase();
    component.all("CATEGORIES").any(|line| {
        super::print::split_unescaped(&line.raw())
            .iter()
            .any(|value| crate::ical::value::unescape(value).trim().to_lowercase() == wanted)
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use super::*;

    fn object(text: &str) -> Ical {
        Ical::parse(text.replace('\n', "\r\n").into_bytes()).unwrap()
    }

    fn event(lines: &str) -> Ical {
        object(&format!("BEGIN:VCALENDAR\nBEGIN:VEVENT\nUID:u\n{lines}END:VEVENT\nEND:VCALENDAR\n"))
    }

    const RICH: &str = "BEGIN:VCALENDAR\nVERSION:2.0\nPRODID:-//Anna's laptop//EN\nX-WR-CALNAME:Anna\n\
        BEGIN:VTIMEZONE\nTZID:Europe/Berlin\nX-LIC-LOCATION:secret\nBEGIN:STANDARD\nCOMMENT:secret\n\
        DTSTART:19700101T000000\nTZOFFSETFROM:+0100\nTZOFFSETTO:+0100\nEND:STANDARD\nEND:VTIMEZONE\n\
        BEGIN:VTIMEZONE\nTZID:secret\nBEGIN:STANDARD\nDTSTART:19700101T000000\nTZOFFSETFROM:+0100\n\
        TZOFFSETTO:+0100\nEND:STANDARD\nEND:VTIMEZONE\n\
        BEGIN:VEVENT\nUID:u\nDTSTAMP:20260101T000000Z\nSEQUENCE:2\n\
        DTSTART;TZID=Europe/Berlin;X-P=secret:20260101T100000\nDTEND;TZID=Europe/Berlin:20260101T110000\n\
        RRULE:FREQ=DAILY;COUNT=3\nEXDATE;TZID=Europe/Berlin:20260102T100000\nSUMMARY;LANGUAGE=en:secret\n\
        DESCRIPTION:secret\nX-ALT-DESC;FMTTYPE=text/html:secret\nLOCATION:secret\nSTATUS:CONFIRMED\n\
        TRANSP:TRANSPARENT\nCLASS:PRIVATE\nCATEGORIES:secret\nCOLOR:secret\nURL:secret\nCONFERENCE:secret\n\
        PRIORITY:1\nGEO:1;2\nORGANIZER:mailto:secret\nATTENDEE:mailto:secret\nCONTACT:secret\nATTACH:secret\n\
        COMMENT:secret\nX-KALENDS-BOOKING:secret\nX-OWN:secret\n\
        BEGIN:VALARM\nACTION:DISPLAY\nTRIGGER:-PT5M\nDESCRIPTION:secret\nEND:VALARM\n\
        BEGIN:VALARM\nACTION:EMAIL\nTRIGGER:-PT5M\nATTENDEE:mailto:secret\nEND:VALARM\n\
        BEGIN:PARTICIPANT\nUID:secret\nEND:PARTICIPANT\nEND:VEVENT\n\
        BEGIN:VEVENT\nUID:u\nRECURRENCE-ID;TZID=Europe/Berlin:20260103T100000\nSUMMARY:secret\n\
        SUMMARY:secret\nDTSTART;TZID=Europe/Berlin:20260103T120000\nEND:VEVENT\n\
        BEGIN:X-SECRET\nX-A:secret\nEND:X-SECRET\nEND:VCALENDAR\n";

    /// The properties of the first event after the projection, and its children.
    fn kept(fields: Fields, ical: &Ical) -> String {
        let text = Ical::parse(project(fields, ical)).unwrap();
        let event = text.calendar().unwrap().named("VEVENT").next().unwrap();
        let names = event.properties().map(|p| p.name().to_owned());
        let children = event.components().map(|c| c.name().to_owned());
        names.chain(children).collect::<Vec<_>>().join(" ")
    }

    // E7, S4-053, S4-054
    #[test]
    fn each_preset_lets_through_what_it_names() {
        let times = "UID DTSTAMP SEQUENCE DTSTART DTEND RRULE EXDATE SUMMARY";
        let core = "DESCRIPTION X-ALT-DESC LOCATION";
        let more = "STATUS TRANSP CLASS CATEGORIES COLOR URL CONFERENCE PRIORITY GEO VALARM";
        let rich = object(RICH);
        assert_eq!(kept(Fields::Core, &rich), format!("{times} {core} CLASS"));
        assert_eq!(kept(Fields::Standard, &rich), format!("{times} {core} {more}"));
        assert_eq!(kept(Fields::Busy, &rich), format!("{times} STATUS TRANSP"));
        let plain = RICH.replace("X-KALENDS-BOOKING:secret\n", "");
        assert_eq!(project(Fields::Full, &object(&plain)), object(&plain).bytes());
        assert_eq!(project(Fields::Full, &rich), object(&plain).bytes());
        // An event that is called off is not carried as one that takes place.
        assert_eq!(kept(Fields::Core, &event("STATUS:CANCELLED\n")), "UID STATUS");
        assert_eq!(kept(Fields::Core, &event("STATUS:TENTATIVE\nCLASS:PUBLIC\n")), "UID");
    }

    // sync-patterns §12: nothing personal leaves
    #[test]
    fn busy_says_when_and_nothing_else() {
        let busy = project(Fields::Busy, &object(RICH));
        let text = String::from_utf8(busy.to_vec()).unwrap();
        assert!(!text.contains("secret") && !text.contains("Anna"), "{text}");
        assert_eq!(text.matches("SUMMARY:Busy\r\n").count(), 2, "{text}");
        assert!(text.contains("TZID:Europe/Berlin") && text.contains("TZOFFSETTO"), "{text}");
        assert!(text.contains("DTSTART;TZID=Europe/Berlin:20260101T100000\r\n"), "{text}");
        assert!(text.contains("RECURRENCE-ID;TZID=Europe/Berlin:20260103T100000\r\n"), "{text}");
        // Without a title it gets one; what Outlook calls free stays free.
        let free = event("DTSTART:20260101T100000Z\nX-MICROSOFT-CDO-BUSYSTATUS:FREE\n");
        let text = String::from_utf8(project(Fields::Busy, &free).to_vec()).unwrap();
        assert!(text.contains("SUMMARY:Busy\r\nTRANSP:TRANSPARENT\r\nEND:VEVENT"), "{text}");
    }

    #[test]
    fn a_projection_of_a_projection_is_itself() {
        for fields in [Fields::Core, Fields::Standard, Fields::Full, Fields::Busy] {
            let once = Ical::parse(project(fields, &object(RICH))).unwrap();
            assert_eq!(project(fields, &once), once.bytes(), "{fields:?}");
        }
    }

    #[test]
    fn a_match_holds_if_all_that_is_given_does() {
        let rows: &[(&str, &str, bool)] = &[
            ("{}", "", true),
            (r#"{"title":"LUNCH"}"#, "SUMMARY:Team lunch\n", true),
            (r#"{"title":"dinner"}"#, "SUMMARY:Team lunch\n", false),
            (r#"{"title":"a, b"}"#, "SUMMARY:a\\, b\n", true),
            (r#"{"category":"family"}"#, "CATEGORIES:Work,Family\n", true),
            (r#"{"category":"fam"}"#, "CATEGORIES:Work,Family\n", false),
            (r#"{"category":"a,b"}"#, "CATEGORIES:c,a\\,b\n", true),
            (r#"{"all_day":true}"#, "DTSTART;VALUE=DATE:20260101\n", true),
            (r#"{"all_day":true}"#, "DTSTART:20260101T000000Z\n", false),
            (r#"{"all_day":false}"#, "DTSTART:20260101T000000Z\n", true),
            (r#"{"busy":true}"#, "", true),
            (r#"{"busy":true}"#, "TRANSP:TRANSPARENT\n", false),
            (r#"{"busy":false}"#, "X-MICROSOFT-CDO-BUSYSTATUS:FREE\n", true),
            (r#"{"busy":false}"#, "STATUS:CANCELLED\n", true),
            (r#"{"recurring":true}"#, "RRULE:FREQ=DAILY\n", true),
            (r#"{"recurring":false}"#, "RRULE:FREQ=DAILY\n", false),
            (r#"{"attendees":true}"#, "ATTENDEE:mailto:a@x\n", true),
            (r#"{"attendees":false}"#, "", true),
            (r#"{"private":true}"#, "CLASS:confidential\n", true),
            (r#"{"private":false}"#, "CLASS:PUBLIC\n", true),
            (r#"{"title":"x","busy":true}"#, "SUMMARY:x\nTRANSP:TRANSPARENT\n", false),
        ];
        for (when, lines, expected) in rows {
            let found = matches(&serde_json::from_str(when).unwrap(), &event(lines));
            assert_eq!(found, *expected, "{when} {lines}");
        }
    }

    #[test]
    fn the_first_filter_that_fits_decides() {
        let private = r#"{"when":{"private":true},"action":"exclude"}"#;
        let family = r#"{"when":{"category":"family"},"action":"include"}"#;
        let all_day = r#"{"when":{"all_day":true},"action":"exclude"}"#;
        let rows = [
            (vec![], "", true),
            (vec![private], "CLASS:PRIVATE\n", false),
            (vec![private], "", true),
            (vec![family], "CATEGORIES:family\n", true),
            (vec![family], "", false),
            (vec![private, family], "CLASS:PRIVATE\nCATEGORIES:family\n", false),
            (vec![family, private], "CLASS:PRIVATE\nCATEGORIES:family\n", true),
            (vec![private, family], "", false),
            (vec![family, all_day], "CATEGORIES:family\nDTSTART;VALUE=DATE:20260101\n", true),
            (vec![family, all_day], "DTSTART;VALUE=DATE:20260101\n", false),
            (vec![family, all_day], "", true),
        ];
        for (filters, lines, expected) in rows {
            let filters: Vec<Filter> =
                filters.into_iter().map(|text| serde_json::from_str(text).unwrap()).collect();
            assert_eq!(passes(&filters, &event(lines)), expected, "{filters:?} {lines}");
        }
    }

    #[test]
    fn a_window_takes_what_reaches_into_it() {
        // 2026-01-10 to 2026-01-20.
        let (from, to) = (1_768_003_200, 1_768_867_200);
        let rows = [
            ("DTSTART:20260109T100000Z\nDTEND:20260109T110000Z\n", false),
            ("DTSTART:20260109T230000Z\nDTEND:20260110T000000Z\n", false),
            ("DTSTART:20260109T230000Z\nDTEND:20260110T000001Z\n", true),
            ("DTSTART:20260110T000000Z\n", true),
            ("DTSTART:20260119T235959Z\nDTEND:20260121T000000Z\n", true),
            ("DTSTART:20260120T000000Z\nDTEND:20260121T000000Z\n", false),
            ("DTSTART:20200101T100000Z\nRRULE:FREQ=YEARLY\n", true),
            ("DTSTART:20200101T100000Z\nRRULE:FREQ=YEARLY;COUNT=2\n", false),
            ("DTSTART;VALUE=DATE:20260115\n", true),
            ("SUMMARY:no time\n", true),
        ];
        for (lines, expected) in rows {
            let window = Window { from: Some(from), to: Some(to), now: from };
            assert_eq!(in_window(&event(lines), window), expected, "{lines}");
            let open = Window { from: None, to: None, now: from };
            assert!(in_window(&event(lines), open), "{lines}");
        }
    }
}

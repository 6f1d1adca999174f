//! Takes a series apart: one object for each instance, for far sides that cannot hold the rule.
//!
//! Owns: taking a series apart within a window. Does not own: which far side needs it (`Provider::fit`), what becomes of
//! the parts (`run`).

use super::provider::{Part, Window};
use crate::ical::expand::expand;
use crate::ical::series::{Series, TimeRange};
use crate::ical::zone::Zone;
use crate::ical::{Component, Ical};

/// The most parts of one object.
const MOST: usize = 500;
/// How far is looked where the window has no end, in seconds: a year.
const AHEAD: i64 = 366 * 86_400;

/// Takes a series apart: one object for each instance within the window, named after its place in the series. Times are
/// in UTC, dates stay dates. Nothing: there are too many of them.
pub(super) fn instances(ical: &Ical, window: Window, floating: &Zone) -> Option<Vec<Part>> {
    let series = Series::of(ical);
    let from = window.from.unwrap_or_else(|| window.now.saturating_sub(AHEAD));
    let to = window.to.unwrap_or_else(|| window.now.saturating_add(AHEAD));
    let expanded = expand(ical, &series, TimeRange::new(Some(from), Some(to)), floating, MOST);
    if !expanded.complete {
        return None;
    }
    let whole = Ical::parse(expanded.text.into_bytes()).ok()?;
    let calendar = whole.calendar()?;
    let events: Vec<Component<'_>> = calendar.components().collect();
    let head =
        |name: &str| calendar.property(name).map(|p| format!("{}\r\n", p.logical())).unwrap_or_default();
    let head = [head("VERSION"), head("PRODID")].concat();
    let mut parts = Vec::with_capacity(events.len());
    for event in events {
        let Some(id) = event.property("RECURRENCE-ID") else { continue };
        let key = id.raw().trim().to_owned();
        let text = String::from_utf8_lossy(whole.bytes().get(event.span())?).into_owned();
        let text = format!("BEGIN:VCALENDAR\r\n{head}{text}END:VCALENDAR\r\n");
        // A part stands alone: it is an instance of nothing.
        let alone = Ical::parse(text.into_bytes()).ok()?;
        let own = alone.calendar()?.components().next()?;
        let mut edit = alone.edit();
        for property in own.all("RECURRENCE-ID") {
            edit = edit.remove(property);
        }
        let bytes = edit.finish();
        parts.push(Part { key, bytes });
    }
    Some(parts)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use super::*;

    fn series(rule: &str) -> Ical {
        let text = format!(
            "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:x\r\nBEGIN:VEVENT\r\nUID:u\r\nDTSTAMP:20260101T000000Z\r\n\
             DTSTART:20260105T090000Z\r\nDTEND:20260105T100000Z\r\nSUMMARY:Tea\r\n{rule}\r\nEND:VEVENT\r\n\
             BEGIN:VEVENT\r\nUID:u\r\nDTSTAMP:20260101T000000Z\r\nRECURRENCE-ID:20260107T090000Z\r\n\
             DTSTART:20260107T110000Z\r\nDTEND:20260107T120000Z\r\nSUMMARY:Late tea\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"
        );
        Ical::parse(text.into_bytes()).unwrap()
    }

    // S4-051: exceptions and rules as single events where the other side cannot hold them
    #[test]
    fn each_instance_becomes_an_object_of_its_own() {
        // 5 to 9 January 2026.
        let window = Window { from: Some(1_767_571_200), to: Some(1_767_916_800), now: 1_767_571_200 };
        let parts = instances(&series("RRULE:FREQ=DAILY"), window, &Zone::Utc).unwrap();
        let keys: Vec<&str> = parts.iter().map(|p| p.key.as_str()).collect();
        assert_eq!(keys, ["20260105T090000Z", "20260106T090000Z", "20260107T090000Z", "20260108T090000Z"]);
        for part in &parts {
            let checked = crate::ical::check::calendar_object(part.bytes.clone()).unwrap();
            assert_eq!(checked.uid, "u");
            let text = String::from_utf8(part.bytes.to_vec()).unwrap();
            assert!(!text.contains("RRULE") && !text.contains("RECURRENCE-ID"), "{text}");
            assert_eq!(text.contains("Late tea"), part.key == "20260107T090000Z");
        }
    }

    #[test]
    fn too_many_are_none() {
        let window = Window { from: None, to: None, now: 1_767_571_200 };
        assert!(instances(&series("RRULE:FREQ=HOURLY"), window, &Zone::Utc).is_none());
    }
}

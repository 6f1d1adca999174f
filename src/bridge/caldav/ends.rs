//! Events with an end, for servers that refuse those without.

use bytes::Bytes;

use crate::ical::value::{Civil, date_time};
use crate::ical::{Component, Ical, Property};

/// Returns the text with the end that RFC 5545 §3.6.1 implies where an event says none: the same day for whole days, the
/// same moment for the others.
pub(super) fn with_ends(ical: &Ical) -> Bytes {
    let mut edit = ical.edit();
    let events = ical.calendar().into_iter().flat_map(|calendar| calendar.named("VEVENT"));
    for (event, line) in events.filter_map(|event| Some((event, end(event)?))) {
        edit = edit.insert(event, &line);
    }
    edit.finish()
}

fn end(event: Component<'_>) -> Option<String> {
    if event.property("DTEND").is_some() || event.property("DURATION").is_some() {
        return None;
    }
    let start: Property<'_> = event.property("DTSTART")?;
    let at = date_time(&start)?;
    if at.is_date() {
        let next = Civil((at.civil().days() + 1) * 86_400);
        return Some(format!("DTEND;VALUE=DATE:{}", next.to_date()));
    }
    Some(format!("DTEND{}", start.logical().get("DTSTART".len()..)?))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_written_where_none_is_said() {
        for (start, expected) in [
            ("DTSTART;VALUE=DATE:20261231", Some("DTEND;VALUE=DATE:20270101\r\n")),
            (
                "DTSTART;TZID=Europe/Berlin:20261231T220000",
                Some("DTEND;TZID=Europe/Berlin:20261231T220000\r\n"),
            ),
            ("DTSTART:20261231T220000Z\r\nDURATION:PT1H", None),
            ("DTSTART:20261231T220000Z\r\nDTEND:20261231T230000Z", None),
        ] {
            let text = format!(
                "BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\nUID:a\r\n{start}\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"
            );
            let made = String::from_utf8(with_ends(&Ical::parse(text.clone()).unwrap()).to_vec()).unwrap();
            match expected {
                Some(line) => assert!(made.replace(line, "") == text && made.contains(line), "{made}"),
                None => assert_eq!(made, text),
            }
        }
    }
}

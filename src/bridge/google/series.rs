//! Which of Google's events are one object: a series with its exceptions, or an event alone.
//!
//! Owns: the versions and UIDs of objects, which kinds of event are ours to carry. Does not own: how they are read
//! (`event::read`) and called for (`list`, `store`).

use sha2::{Digest as _, Sha256};

use super::event::{Event, STATE, UID, read};
use crate::bridge::print;
use crate::bridge::provider::{RemoteId, Seen, Version};

/// The kinds of event that are asked for. Birthdays come from contacts and places of work are no appointments: both
/// are made by Google's own programs and stay there.
pub(super) const KINDS: [&str; 4] = ["default", "focusTime", "fromGmail", "outOfOffice"];

/// What a version of a series begins with; an event alone has its entity-tag.
const SERIES: &str = "series:";

/// An object: an event, and if it is a series, its exceptions.
#[derive(Debug, Clone, Default)]
pub(super) struct Parts {
    pub(super) master: Event,
    pub(super) exceptions: Vec<Event>,
}

impl Parts {
    /// Returns an event that stands alone.
    pub(super) fn alone(event: Event) -> Parts {
        Parts { master: event, exceptions: Vec::new() }
    }

    /// Returns the series of these events under that id, if it is among them and not deleted. Of an event that was
    /// given twice the later one counts.
    pub(super) fn of(id: &str, events: Vec<Event>) -> Option<Parts> {
        let mut parts: Option<Event> = None;
        let mut exceptions: Vec<Event> = Vec::new();
        for event in events {
            if event.id == id {
                if parts.as_ref().is_none_or(|before| before.modified() <= event.modified()) {
                    parts = Some(event);
                }
            } else if event.recurring_event_id.as_deref() == Some(id) {
                add(&mut exceptions, event);
            }
        }
        let master = parts.filter(|master| !master.is_cancelled())?;
        let mut parts = Parts { master, exceptions };
        parts.exceptions.sort_by(|a, b| a.id.cmp(&b.id));
        Some(parts)
    }

    /// Returns a mark that changes with every part.
    pub(super) fn version(&self) -> Option<Version> {
        let etags = self.exceptions.iter();
        let etags = etags.map(|event| (event.id.as_str(), event.is_cancelled(), event.etag.as_deref()));
        Parts::version_of(self.master.recurs(), &self.master.id, self.master.etag.as_deref(), etags)
    }

    /// Returns that mark, by the ids and entity-tags alone; of an exception also whether it is left out.
    pub(super) fn version_of<'a>(
        recurs: bool,
        id: &str,
        etag: Option<&str>,
        exceptions: impl Iterator<Item = (&'a str, bool, Option<&'a str>)>,
    ) -> Option<Version> {
        let etags = exceptions.map(|(id, left_out, etag)| match left_out {
            // Of an instance that is left out only its id is told for certain.
            true => (id, "cancelled"),
            false => (id, etag.unwrap_or_default()),
        });
        series_version(recurs, id, etag?, etags)
    }

    /// Returns when any part was last written.
    fn modified(&self) -> Option<i64> {
        self.exceptions.iter().chain([&self.master]).filter_map(Event::modified).max()
    }

    /// Returns the UID of the object in that calendar.
    pub(super) fn uid(&self, calendar: &RemoteId) -> String {
        let event = &self.master;
        let ours = event.mark(UID).filter(|uid| derived(calendar, uid) == event.id);
        if let Some(uid) = ours {
            return uid.to_owned();
        }
        match &event.ical_uid {
            // All instances of a series have its UID: one that stands alone needs one of its own.
            Some(uid) if event.recurring_event_id.is_none() && !uid.trim().is_empty() => {
                uid.trim().to_owned()
            }
            _ => format!("{}@google.com", event.id),
        }
    }

    /// Returns the object as it is read. Without content if it says nothing that can be shown.
    pub(super) fn seen(&self, calendar: &RemoteId) -> Seen {
        Seen {
            id: RemoteId(self.master.id.clone()),
            version: self.version(),
            bytes: read::text(self, &self.uid(calendar)).unwrap_or_default(),
            modified: self.modified(),
        }
    }

    /// True for a series of ours whose exceptions were not all written yet.
    pub(super) fn is_unfinished(event: &Event, calendar: &RemoteId) -> bool {
        event.mark(STATE) == Some("writing")
            && event.mark(UID).is_some_and(|uid| derived(calendar, uid) == event.id)
    }
}

/// Adds an exception, or puts it in the place of an earlier one.
fn add(exceptions: &mut Vec<Event>, event: Event) {
    match exceptions.iter_mut().find(|other| other.id == event.id) {
        Some(other) if other.modified() <= event.modified() => *other = event,
        Some(_) => {}
        None => exceptions.push(event),
    }
}

/// Returns the version that an object with these entity-tags has.
pub(super) fn series_version<'a>(
    recurs: bool,
    id: &str,
    etag: &str,
    exceptions: impl Iterator<Item = (&'a str, &'a str)>,
) -> Option<Version> {
    let mut lines: Vec<String> = exceptions.map(|(id, etag)| format!("{id} {etag}")).collect();
    if lines.is_empty() && !recurs {
        return Some(Version(etag.to_owned()));
    }
    lines.sort();
    lines.insert(0, format!("{id} {etag}"));
    Some(Version(format!("{SERIES}{}", print::digest(lines.join("\n").as_bytes()))))
}

/// Returns the entity-tag of an event that stands alone; nothing for a series.
pub(super) fn etag(version: &Version) -> Option<&str> {
    (!version.0.starts_with(SERIES)).then_some(version.0.as_str())
}

/// Returns the id that an event with this UID gets from us: RFC 4648 §7 base32hex of a digest, which has only the
/// characters that Google allows. The same UID has another id in another calendar.
pub(super) fn derived(calendar: &RemoteId, uid: &str) -> String {
    let mut hash = Sha256::new();
    hash.update(calendar.0.as_bytes());
    hash.update([0]);
    hash.update(uid.as_bytes());
    let digest = hash.finalize();
    let mut out = String::with_capacity(52);
    let (mut bits, mut held) = (0u32, 0u32);
    for byte in digest.iter() {
        bits = (bits << 8 | u32::from(*byte)) & 0xfff;
        held += 8;
        while held >= 5 {
            held -= 5;
            out.push(digit(bits >> held & 31));
        }
    }
    if held > 0 {
        out.push(digit(bits << (5 - held) & 31));
    }
    out
}

fn digit(five: u32) -> char {
    char::from_digit(five, 32).unwrap_or('0')
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn event(value: Value) -> Event {
        serde_json::from_value(value).unwrap()
    }

    fn calendar() -> RemoteId {
        RemoteId("anna@example.com".into())
    }

    // S2-043
    #[test]
    fn an_id_follows_from_calendar_and_uid() {
        let id = derived(&calendar(), "uid-1");
        assert_eq!(id.len(), 52);
        assert!(id.chars().all(|c| matches!(c, '0'..='9' | 'a'..='v')), "{id}");
        assert_eq!(id, derived(&calendar(), "uid-1"));
        assert_ne!(id, derived(&calendar(), "uid-2"));
        assert_ne!(id, derived(&RemoteId("other".into()), "uid-1"));
        // SHA-256 of the empty text begins e3b0c44298fc1c14…; with the separator it is that of one zero byte, 6e340b9c….
        assert_eq!(&derived(&RemoteId(String::new()), "")[..8], "doq0n77v");
    }

    #[test]
    fn a_mark_is_believed_only_at_its_own_place() {
        let marked = |id: &str| {
            Parts::alone(event(json!({
                "id": id, "iCalUID": "theirs@google.com",
                "extendedProperties": {"private": {"kalendsUid": "ours"}}
            })))
        };
        assert_eq!(marked(&derived(&calendar(), "ours")).uid(&calendar()), "ours");
        assert_eq!(marked("copy123").uid(&calendar()), "theirs@google.com");
        let lone = Parts::alone(event(
            json!({"id": "m_20260105", "iCalUID": "m@google.com", "recurringEventId": "m"}),
        ));
        assert_eq!(lone.uid(&calendar()), "m_20260105@google.com");
    }

    #[test]
    fn the_version_of_a_series_changes_with_every_part() {
        let master = |etag: &str| json!({"id": "m", "etag": etag, "recurrence": ["RRULE:FREQ=DAILY"]});
        let one = |etag: &str| json!({"id": "m_1", "etag": etag, "recurringEventId": "m"});
        let gone = json!({"id": "m_2", "recurringEventId": "m", "status": "cancelled"});
        let version = |events: Vec<Value>| {
            Parts::of("m", events.into_iter().map(event).collect()).unwrap().version().unwrap()
        };
        let base = version(vec![master("\"1\""), one("\"1\""), gone.clone()]);
        assert_eq!(base, version(vec![gone.clone(), one("\"1\""), master("\"1\"")]), "order does not count");
        assert_ne!(base, version(vec![master("\"2\""), one("\"1\""), gone.clone()]));
        assert_ne!(base, version(vec![master("\"1\""), one("\"2\""), gone]));
        assert_ne!(base, version(vec![master("\"1\""), one("\"1\"")]));
        assert_eq!(etag(&base), None);
        let alone = Parts::alone(event(json!({"id": "a", "etag": "\"7\""}))).version().unwrap();
        assert_eq!(etag(&alone), Some("\"7\""));
    }

    #[test]
    fn of_an_event_told_twice_the_later_counts() {
        let at = |id: &str, day: &str, title: &str| {
            event(json!({"id": id, "summary": title, "updated": format!("2026-01-{day}T00:00:00Z"),
                "recurringEventId": (id != "m").then_some("m")}))
        };
        let parts = Parts::of(
            "m",
            vec![at("m", "02", "new"), at("m_1", "01", "old"), at("m", "01", "old"), at("m_1", "03", "new")],
        )
        .unwrap();
        assert_eq!(parts.master.summary.as_deref(), Some("new"));
        assert_eq!(parts.exceptions[0].summary.as_deref(), Some("new"));
        let gone = event(json!({"id": "m", "status": "cancelled"}));
        assert!(Parts::of("m", vec![gone]).is_none());
    }
}

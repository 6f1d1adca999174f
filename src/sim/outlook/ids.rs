//! Names of calendars and events.
//!
//! Owns: how an id is written, in both forms, and read. Does not own: which form an answer has (`prefer`).
//!
//! As in Exchange an id is opaque, has letters of both cases that count, and ends in `=`. The immutable form of an
//! event's id and the default form share nothing; both are understood everywhere. A calendar has one form.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;

/// What an id names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Id {
    /// A calendar.
    Calendar(u64),
    /// An event, or with a day (since 1970) the occurrence of a series that the pattern puts there.
    Event(u64, Option<i64>),
}

const CALENDAR: &str = "AQMkADAwATM0MDAAMS1iZGM3";
const DEFAULT: &str = "AAMkADAwATM0MDAAMS1iZGM3LTVjZWItMDACLTAwCgBGAAAD";
const IMMUTABLE: &str = "AAkALgAAAAAAHYQDEapmEc2byACqAC-EWg0A";
/// The day of what is no occurrence.
const NO_DAY: i32 = i32::MIN;

/// How an event's id is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// Without a preference.
    Default,
    /// With `Prefer: IdType="ImmutableId"`.
    Immutable,
}

impl Id {
    /// Writes the id.
    pub(super) fn written(self, form: Form) -> String {
        let (prefix, mark, key, day) = match (self, form) {
            (Id::Calendar(key), _) => (CALENDAR, 1u8, key, None),
            (Id::Event(key, day), Form::Default) => (DEFAULT, 2, key, day),
            (Id::Event(key, day), Form::Immutable) => (IMMUTABLE, 3, key, day),
        };
        let day = day.and_then(|day| i32::try_from(day).ok()).unwrap_or(NO_DAY);
        let mut bytes = vec![0u8, mark];
        bytes.extend(day.to_be_bytes());
        bytes.extend(key.to_be_bytes());
        format!("{prefix}{}", URL_SAFE.encode(bytes))
    }

    /// Reads an id.
    pub(super) fn read(text: &str) -> Option<Id> {
        let (mark, rest) = [(CALENDAR, 1u8), (DEFAULT, 2), (IMMUTABLE, 3)]
            .into_iter()
            .find_map(|(prefix, mark)| text.strip_prefix(prefix).map(|rest| (mark, rest)))?;
        let bytes = URL_SAFE.decode(rest).ok()?;
        let (head, key) = bytes.split_at_checked(6)?;
        let [0, own, day @ ..] = head else { return None };
        if *own != mark {
            return None;
        }
        let day = i32::from_be_bytes(day.try_into().ok()?);
        let key = u64::from_be_bytes(key.try_into().ok()?);
        Some(match mark {
            1 => Id::Calendar(key),
            _ => Id::Event(key, (day != NO_DAY).then_some(i64::from(day))),
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_read_as_it_was_written() {
        for id in
            [Id::Calendar(1), Id::Event(7, None), Id::Event(7, Some(20_000)), Id::Event(u64::MAX, Some(-3))]
        {
            for form in [Form::Default, Form::Immutable] {
                let text = id.written(form);
                assert_eq!(Id::read(&text), Some(id), "{text}");
                assert!(text.ends_with('='), "{text}");
                assert_eq!(Id::read(&text.to_lowercase()), None);
            }
        }
        assert_ne!(Id::Event(7, None).written(Form::Default), Id::Event(7, None).written(Form::Immutable));
        for bad in ["", "AAMk", "AAkALgAAAAAAHYQDEapmEc2byACqAC-EWg0A", "me"] {
            assert_eq!(Id::read(bad), None, "{bad}");
        }
    }
}

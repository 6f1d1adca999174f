//! What Graph's calendar types hold, and whether a body keeps to it.
//!
//! Owns: the table of types, fields and enumerations that calendars use (facts of Graph's v1.0 metadata); the check.
//! Does not own: which fields may be written (`event`), what values mean.

use serde_json::{Map, Value, json};

/// What a field holds.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    /// `Edm.String`
    Text,
    /// `Edm.Boolean`
    Bool,
    /// `Edm.Int32`
    Int,
    /// `Edm.Double`
    Real,
    /// `Edm.DateTimeOffset`
    Moment,
    /// `Edm.Date`
    Day,
    /// A type of the table.
    Of(&'static str),
    /// One of an enumeration's words.
    One(&'static str),
    /// Several.
    Many(&'static Kind),
}

use Kind::{Bool, Day, Int, Many, Moment, Of, One, Real, Text};

/// A type: its name and its fields; a field whose name ends in `!` takes no null.
type Row = (&'static str, &'static [(&'static str, Kind)]);

/// The types that requests and answers of calendars are made of.
const TYPES: &[Row] = &[
    (
        "event",
        &[
            ("id!", Text),
            ("categories", Many(&Text)),
            ("changeKey", Text),
            ("createdDateTime", Moment),
            ("lastModifiedDateTime", Moment),
            ("allowNewTimeProposals", Bool),
            ("attendees", Many(&Of("attendee"))),
            ("body", Of("itemBody")),
            ("bodyPreview", Text),
            ("cancelledOccurrences!", Many(&Text)),
            ("end", Of("dateTimeTimeZone")),
            ("hasAttachments", Bool),
            ("hideAttendees", Bool),
            ("iCalUId", Text),
            ("importance", One("importance")),
            ("isAllDay", Bool),
            ("isCancelled", Bool),
            ("isDraft", Bool),
            ("isOnlineMeeting", Bool),
            ("isOrganizer", Bool),
            ("isReminderOn", Bool),
            ("location", Of("location")),
            ("locations", Many(&Of("location"))),
            ("onlineMeeting", Of("onlineMeetingInfo")),
            ("onlineMeetingProvider", One("onlineMeetingProviderType")),
            ("onlineMeetingUrl", Text),
            ("organizer", Of("recipient")),
            ("originalEndTimeZone", Text),
            ("originalStart", Moment),
            ("originalStartTimeZone", Text),
            ("recurrence", Of("patternedRecurrence")),
            ("reminderMinutesBeforeStart", Int),
            ("responseRequested", Bool),
            ("responseStatus", Of("responseStatus")),
            ("sensitivity", One("sensitivity")),
            ("seriesMasterId", Text),
            ("showAs", One("freeBusyStatus")),
            ("start", Of("dateTimeTimeZone")),
            ("subject", Text),
            ("transactionId", Text),
            ("type", One("eventType")),
            ("webLink", Text),
            ("exceptionOccurrences", Many(&Of("event"))),
            ("singleValueExtendedProperties", Many(&Of("singleValueLegacyExtendedProperty"))),
        ],
    ),
    (
        "calendar",
        &[
            ("id!", Text),
            ("allowedOnlineMeetingProviders", Many(&One("onlineMeetingProviderType"))),
            ("canEdit", Bool),
            ("canShare", Bool),
            ("canViewPrivateItems", Bool),
            ("changeKey", Text),
            ("color", One("calendarColor")),
            ("defaultOnlineMeetingProvider", One("onlineMeetingProviderType")),
            ("hexColor", Text),
            ("isDefaultCalendar", Bool),
            ("isRemovable", Bool),
            ("isTallyingResponses", Bool),
            ("name", Text),
            ("owner", Of("emailAddress")),
        ],
    ),
    (
        "subscription",
        &[
            ("id!", Text),
            ("applicationId", Text),
            ("changeType!", Text),
            ("clientState", Text),
            ("creatorId", Text),
            ("encryptionCertificate", Text),
            ("encryptionCertificateId", Text),
            ("expirationDateTime!", Moment),
            ("includeResourceData", Bool),
            ("latestSupportedTlsVersion", Text),
            ("lifecycleNotificationUrl", Text),
            ("notificationQueryOptions", Text),
            ("notificationUrl!", Text),
            ("notificationUrlAppId", Text),
            ("resource!", Text),
        ],
    ),
    ("singleValueLegacyExtendedProperty", &[("id!", Text), ("value", Text)]),
    (
        "attendee",
        &[
            ("emailAddress", Of("emailAddress")),
            ("type", One("attendeeType")),
            ("proposedNewTime", Of("timeSlot")),
            ("status", Of("responseStatus")),
        ],
    ),
    ("recipient", &[("emailAddress", Of("emailAddress"))]),
    ("emailAddress", &[("address", Text), ("name", Text)]),
    ("timeSlot", &[("end!", Of("dateTimeTimeZone")), ("start!", Of("dateTimeTimeZone"))]),
    ("responseStatus", &[("response", One("responseType")), ("time", Moment)]),
    ("itemBody", &[("content", Text), ("contentType", One("bodyType"))]),
    ("dateTimeTimeZone", &[("dateTime!", Text), ("timeZone", Text)]),
    (
        "location",
        &[
            ("address", Of("physicalAddress")),
            ("coordinates", Of("outlookGeoCoordinates")),
            ("displayName", Text),
            ("locationEmailAddress", Text),
            ("locationType", One("locationType")),
            ("locationUri", Text),
            ("uniqueId", Text),
            ("uniqueIdType", One("locationUniqueIdType")),
        ],
    ),
    (
        "physicalAddress",
        &[("city", Text), ("countryOrRegion", Text), ("postalCode", Text), ("state", Text), ("street", Text)],
    ),
    (
        "outlookGeoCoordinates",
        &[
            ("accuracy", Real),
            ("altitude", Real),
            ("altitudeAccuracy", Real),
            ("latitude", Real),
            ("longitude", Real),
        ],
    ),
    (
        "onlineMeetingInfo",
        &[
            ("conferenceId", Text),
            ("joinUrl", Text),
            ("phones", Many(&Of("phone"))),
            ("quickDial", Text),
            ("tollFreeNumbers", Many(&Text)),
            ("tollNumber", Text),
        ],
    ),
    ("phone", &[("language", Text), ("number", Text), ("region", Text), ("type", One("phoneType"))]),
    ("patternedRecurrence", &[("pattern", Of("recurrencePattern")), ("range", Of("recurrenceRange"))]),
    (
        "recurrencePattern",
        &[
            ("dayOfMonth!", Int),
            ("daysOfWeek", Many(&One("dayOfWeek"))),
            ("firstDayOfWeek", One("dayOfWeek")),
            ("index", One("weekIndex")),
            ("interval!", Int),
            ("month!", Int),
            ("type", One("recurrencePatternType")),
        ],
    ),
    (
        "recurrenceRange",
        &[
            ("endDate", Day),
            ("numberOfOccurrences!", Int),
            ("recurrenceTimeZone", Text),
            ("startDate", Day),
            ("type", One("recurrenceRangeType")),
        ],
    ),
    (
        "changeNotification",
        &[
            ("changeType!", One("changeType")),
            ("clientState", Text),
            ("id", Text),
            ("lifecycleEvent", One("lifecycleEventType")),
            ("resource!", Text),
            ("resourceData", Of("resourceData")),
            ("subscriptionExpirationDateTime!", Moment),
            ("subscriptionId!", Text),
            ("tenantId!", Text),
        ],
    ),
    ("resourceData", &[("id", Text)]),
];

/// The enumerations and their words.
const ENUMS: &[(&str, &[&str])] = &[
    ("attendeeType", &["required", "optional", "resource"]),
    ("bodyType", &["text", "html"]),
    (
        "calendarColor",
        &[
            "auto",
            "lightBlue",
            "lightGreen",
            "lightOrange",
            "lightGray",
            "lightYellow",
            "lightTeal",
            "lightPink",
            "lightBrown",
            "lightRed",
            "maxColor",
        ],
    ),
    ("changeType", &["created", "updated", "deleted"]),
    ("dayOfWeek", &["sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"]),
    ("eventType", &["singleInstance", "occurrence", "exception", "seriesMaster"]),
    ("freeBusyStatus", &["unknown", "free", "tentative", "busy", "oof", "workingElsewhere"]),
    ("importance", &["low", "normal", "high"]),
    ("lifecycleEventType", &["missed", "subscriptionRemoved", "reauthorizationRequired"]),
    (
        "locationType",
        &[
            "default",
            "conferenceRoom",
            "homeAddress",
            "businessAddress",
            "geoCoordinates",
            "streetAddress",
            "hotel",
            "restaurant",
            "localBusiness",
            "postalAddress",
        ],
    ),
    ("locationUniqueIdType", &["unknown", "locationStore", "directory", "private", "bing"]),
    ("onlineMeetingProviderType", &["unknown", "skypeForBusiness", "skypeForConsumer", "teamsForBusiness"]),
    (
        "phoneType",
        &[
            "home",
            "business",
            "mobile",
            "other",
            "assistant",
            "homeFax",
            "businessFax",
            "otherFax",
            "pager",
            "radio",
        ],
    ),
    (
        "recurrencePatternType",
        &["daily", "weekly", "absoluteMonthly", "relativeMonthly", "absoluteYearly", "relativeYearly"],
    ),
    ("recurrenceRangeType", &["endDate", "noEnd", "numbered"]),
    ("responseType", &["none", "organizer", "tentativelyAccepted", "accepted", "declined", "notResponded"]),
    ("sensitivity", &["normal", "personal", "private", "confidential"]),
    ("weekIndex", &["first", "second", "third", "fourth", "last"]),
];

fn fields(name: &str) -> &'static [(&'static str, Kind)] {
    TYPES.iter().find(|(row, _)| *row == name).map_or(&[], |(_, fields)| fields)
}

fn words(name: &str) -> &'static [&'static str] {
    ENUMS.iter().find(|(row, _)| *row == name).map_or(&[], |(_, words)| words)
}

/// Tells whether a type has a field.
pub(super) fn has(name: &str, field: &str) -> bool {
    fields(name).iter().any(|(own, _)| own.trim_end_matches('!') == field)
}

/// Returns the word of an enumeration as Graph writes it: on the way in letter case is free.
pub(super) fn word(name: &str, given: &str) -> Option<&'static str> {
    words(name).iter().copied().find(|word| word.eq_ignore_ascii_case(given))
}

/// Checks that a body has only fields that its type knows, each of its kind.
///
/// # Errors
/// A sentence as Graph says it.
pub(super) fn check(name: &str, body: &Value) -> Result<(), String> {
    kept(name, Of("").named(name), body, false)
}

impl Kind {
    /// The metadata's name of a kind.
    fn spelled(self) -> String {
        match self {
            Text => "Edm.String".into(),
            Bool => "Edm.Boolean".into(),
            Int => "Edm.Int32".into(),
            Real => "Edm.Double".into(),
            Moment => "Edm.DateTimeOffset".into(),
            Day => "Edm.Date".into(),
            Of(name) | One(name) => format!("microsoft.graph.{name}"),
            Many(inner) => format!("Collection({})", inner.spelled()),
        }
    }

    fn named(self, name: &str) -> Kind {
        TYPES.iter().find(|(row, _)| *row == name).map_or(self, |(row, _)| Of(row))
    }
}

fn kept(path: &str, kind: Kind, value: &Value, null: bool) -> Result<(), String> {
    if value.is_null() && null {
        return Ok(());
    }
    let good = match kind {
        Text => value.is_string(),
        Bool => value.is_boolean(),
        Int => value.as_i64().is_some_and(|number| i32::try_from(number).is_ok()),
        Real => value.is_number(),
        Moment => value.as_str().is_some_and(|text| super::times::instant(text).is_some()),
        Day => value.as_str().is_some_and(|text| super::times::day(text).is_some()),
        One(name) => {
            let Some(given) = value.as_str() else { return Err(mistyped(path, kind)) };
            if word(name, given).is_none() {
                return Err(format!("Requested value '{given}' was not found. (property '{path}')"));
            }
            true
        }
        Many(inner) => {
            let Some(items) = value.as_array() else { return Err(mistyped(path, kind)) };
            for item in items {
                kept(path, *inner, item, false)?;
            }
            true
        }
        Of(name) => {
            let Some(object) = value.as_object() else { return Err(mistyped(path, kind)) };
            return inside(path, name, object);
        }
    };
    if good { Ok(()) } else { Err(mistyped(path, kind)) }
}

fn inside(path: &str, name: &str, object: &Map<String, Value>) -> Result<(), String> {
    // Annotations such as `@odata.type` may stand anywhere.
    for (key, value) in object.iter().filter(|(key, _)| !key.contains('@')) {
        let found = fields(name).iter().find(|(own, _)| own.trim_end_matches('!') == key);
        let Some((own, kind)) = found else {
            return Err(format!(
                "The property '{key}' does not exist on type 'microsoft.graph.{name}'. Make sure to only use property \
                 names that are defined by the type."
            ));
        };
        kept(&format!("{path}/{key}"), *kind, value, !own.ends_with('!'))?;
    }
    Ok(())
}

fn mistyped(path: &str, kind: Kind) -> String {
    format!("The value of property '{path}' cannot be read as '{}'.", kind.spelled())
}

/// Returns the whole table as JSON, so that it can be compared with what others know of Graph.
pub(super) fn table() -> Value {
    let types: Map<String, Value> = TYPES
        .iter()
        .map(|(name, fields)| {
            let fields: Map<String, Value> = fields
                .iter()
                .map(|(field, kind)| (field.trim_end_matches('!').to_owned(), json!(kind.spelled())))
                .collect();
            ((*name).to_owned(), Value::Object(fields))
        })
        .collect();
    let enums: Map<String, Value> =
        ENUMS.iter().map(|(name, words)| ((*name).to_owned(), json!(words))).collect();
    json!({ "types": types, "enums": enums })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn every_name_in_the_table_leads_somewhere() {
        fn leads(kind: Kind) -> bool {
            match kind {
                Of(name) => TYPES.iter().any(|(row, _)| *row == name),
                One(name) => !words(name).is_empty(),
                Many(inner) => leads(*inner),
                _ => true,
            }
        }
        for (name, fields) in TYPES {
            for (field, kind) in *fields {
                assert!(leads(*kind), "{name}/{field}");
            }
        }
    }

    #[test]
    fn what_the_schema_does_not_know_is_refused() {
        for (body, good) in [
            (json!({ "subject": "a", "@odata.type": "#microsoft.graph.event" }), true),
            (json!({ "subject": null }), true),
            (json!({ "subject": 1 }), false),
            (json!({ "Subject": "a" }), false),
            (json!({ "uid": "a" }), false),
            (json!({ "showAs": "Free" }), true),
            (json!({ "showAs": "opaque" }), false),
            (json!({ "isAllDay": "true" }), false),
            (json!({ "reminderMinutesBeforeStart": 15.5 }), false),
            (json!({ "start": { "dateTime": "2026-01-01T00:00:00", "timeZone": "UTC" } }), true),
            (json!({ "start": { "date": "2026-01-01" } }), false),
            (json!({ "start": { "dateTime": null } }), false),
            (json!({ "categories": "a" }), false),
            (json!({ "categories": [null] }), false),
            (json!({ "recurrence": { "pattern": { "interval": "1" } } }), false),
            (json!({ "recurrence": { "range": { "startDate": "2026-02-30" } } }), false),
            (json!({ "lastModifiedDateTime": "yesterday" }), false),
            (json!([]), false),
        ] {
            assert_eq!(check("event", &body).is_ok(), good, "{body}");
        }
    }
}

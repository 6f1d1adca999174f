//! The calls of the API: facts of version 3, as a table.
//!
//! Owns: methods, paths, parameters, scopes. Does not own: types (`types`), checking (`schema`), meaning.
//!
//! The kind of a parameter is as in `types`; a range of numbers may stand behind it, then ` *`: may come more than once,
//! ` !`: must be there.

/// A call of the API.
#[derive(Debug, Clone, Copy)]
pub(super) struct Call {
    /// Its name, like `events.list`.
    pub id: &'static str,
    /// The HTTP method.
    pub method: &'static str,
    /// The path below `/calendar/v3/`.
    pub path: &'static str,
    /// The type of its body.
    pub body: Option<&'static str>,
    /// The names and kinds of its query.
    pub query: &'static [(&'static str, &'static str)],
    /// Any of these scopes allows it.
    pub scopes: &'static [&'static str],
}

const TO_CALENDARLIST_DELETE: &[&str] = &["calendar", "calendar.app.created", "calendar.calendarlist"];

const TO_CALENDARLIST_GET: &[&str] = &[
    "calendar",
    "calendar.app.created",
    "calendar.calendarlist",
    "calendar.calendarlist.readonly",
    "calendar.readonly",
];

const TO_CALENDARLIST_INSERT: &[&str] = &["calendar", "calendar.calendarlist"];

const TO_CALENDARLIST_LIST: &[&str] =
    &["calendar", "calendar.calendarlist", "calendar.calendarlist.readonly", "calendar.readonly"];

const TO_CALENDARS_CLEAR: &[&str] = &["calendar", "calendar.calendars"];

const TO_CALENDARS_DELETE: &[&str] = &["calendar", "calendar.app.created", "calendar.calendars"];

const TO_CALENDARS_GET: &[&str] = &[
    "calendar",
    "calendar.app.created",
    "calendar.calendars",
    "calendar.calendars.readonly",
    "calendar.readonly",
];

const TO_CHANNELS_STOP: &[&str] = &[
    "calendar",
    "calendar.acls",
    "calendar.acls.readonly",
    "calendar.app.created",
    "calendar.calendarlist",
    "calendar.calendarlist.readonly",
    "calendar.events",
    "calendar.events.freebusy",
    "calendar.events.owned",
    "calendar.events.owned.readonly",
    "calendar.events.public.readonly",
    "calendar.events.readonly",
    "calendar.readonly",
    "calendar.settings",
    "calendar.settings.readonly",
];

const TO_COLORS_GET: &[&str] = &[
    "calendar",
    "calendar.app.created",
    "calendar.calendarlist",
    "calendar.calendarlist.readonly",
    "calendar.events.freebusy",
    "calendar.events.owned",
    "calendar.events.owned.readonly",
    "calendar.events.public.readonly",
    "calendar.readonly",
];

const TO_EVENTS_DELETE: &[&str] =
    &["calendar", "calendar.app.created", "calendar.events", "calendar.events.owned"];

const TO_EVENTS_GET: &[&str] = &[
    "calendar",
    "calendar.app.created",
    "calendar.events",
    "calendar.events.freebusy",
    "calendar.events.owned",
    "calendar.events.owned.readonly",
    "calendar.events.public.readonly",
    "calendar.events.readonly",
    "calendar.readonly",
];

const TO_EVENTS_MOVE: &[&str] = &["calendar", "calendar.events", "calendar.events.owned"];

const TO_FREEBUSY_QUERY: &[&str] =
    &["calendar", "calendar.events.freebusy", "calendar.freebusy", "calendar.readonly"];

const ASK_CALENDARLIST_INSERT: &[(&str, &str)] = &[("colorRgbFormat", "boolean")];

const ASK_CALENDARLIST_LIST: &[(&str, &str)] = &[
    ("maxResults", "int32 1.."),
    ("minAccessRole", "freeBusyReader|owner|reader|writer|writerWithoutPrivateAccess"),
    ("pageToken", "string"),
    ("showDeleted", "boolean"),
    ("showHidden", "boolean"),
    ("showOwnOrganizationOnly", "boolean"),
    ("syncToken", "string"),
];

const ASK_EVENTS_DELETE: &[(&str, &str)] =
    &[("sendNotifications", "boolean"), ("sendUpdates", "all|externalOnly|none")];

const ASK_EVENTS_GET: &[(&str, &str)] =
    &[("alwaysIncludeEmail", "boolean"), ("maxAttendees", "int32 1.."), ("timeZone", "string")];

const ASK_EVENTS_IMPORT: &[(&str, &str)] = &[
    ("conferenceDataVersion", "int32 0..1"),
    ("eventLabelVersion", "int32 0..1"),
    ("supportsAttachments", "boolean"),
];

const ASK_EVENTS_INSERT: &[(&str, &str)] = &[
    ("conferenceDataVersion", "int32 0..1"),
    ("eventLabelVersion", "int32 0..1"),
    ("maxAttendees", "int32 1.."),
    ("sendNotifications", "boolean"),
    ("sendUpdates", "all|externalOnly|none"),
    ("supportsAttachments", "boolean"),
];

const ASK_EVENTS_INSTANCES: &[(&str, &str)] = &[
    ("alwaysIncludeEmail", "boolean"),
    ("maxAttendees", "int32 1.."),
    ("maxResults", "int32 1.."),
    ("originalStart", "string"),
    ("pageToken", "string"),
    ("showDeleted", "boolean"),
    ("timeMax", "date-time"),
    ("timeMin", "date-time"),
    ("timeZone", "string"),
];

const ASK_EVENTS_LIST: &[(&str, &str)] = &[
    ("alwaysIncludeEmail", "boolean"),
    ("eventTypes", "birthday|default|focusTime|fromGmail|outOfOffice|workingLocation *"),
    ("iCalUID", "string"),
    ("maxAttendees", "int32 1.."),
    ("maxResults", "int32 1.."),
    ("orderBy", "startTime|updated"),
    ("pageToken", "string"),
    ("privateExtendedProperty", "string *"),
    ("q", "string"),
    ("sharedExtendedProperty", "string *"),
    ("showDeleted", "boolean"),
    ("showHiddenInvitations", "boolean"),
    ("singleEvents", "boolean"),
    ("syncToken", "string"),
    ("timeMax", "date-time"),
    ("timeMin", "date-time"),
    ("timeZone", "string"),
    ("updatedMin", "date-time"),
];

const ASK_EVENTS_MOVE: &[(&str, &str)] = &[
    ("destination", "string !"),
    ("sendNotifications", "boolean"),
    ("sendUpdates", "all|externalOnly|none"),
];

const ASK_EVENTS_PATCH: &[(&str, &str)] = &[
    ("alwaysIncludeEmail", "boolean"),
    ("conferenceDataVersion", "int32 0..1"),
    ("eventLabelVersion", "int32 0..1"),
    ("maxAttendees", "int32 1.."),
    ("sendNotifications", "boolean"),
    ("sendUpdates", "all|externalOnly|none"),
    ("supportsAttachments", "boolean"),
];

/// The calls that the simulator answers.
pub(super) const CALLS: &[Call] = &[
    Call {
        id: "calendarList.delete",
        method: "DELETE",
        path: "users/me/calendarList/{calendarId}",
        body: None,
        query: &[],
        scopes: TO_CALENDARLIST_DELETE,
    },
    Call {
        id: "calendarList.get",
        method: "GET",
        path: "users/me/calendarList/{calendarId}",
        body: None,
        query: &[],
        scopes: TO_CALENDARLIST_GET,
    },
    Call {
        id: "calendarList.insert",
        method: "POST",
        path: "users/me/calendarList",
        body: Some("CalendarListEntry"),
        query: ASK_CALENDARLIST_INSERT,
        scopes: TO_CALENDARLIST_INSERT,
    },
    Call {
        id: "calendarList.list",
        method: "GET",
        path: "users/me/calendarList",
        body: None,
        query: ASK_CALENDARLIST_LIST,
        scopes: TO_CALENDARLIST_LIST,
    },
    Call {
        id: "calendarList.patch",
        method: "PATCH",
        path: "users/me/calendarList/{calendarId}",
        body: Some("CalendarListEntry"),
        query: ASK_CALENDARLIST_INSERT,
        scopes: TO_CALENDARLIST_DELETE,
    },
    Call {
        id: "calendars.clear",
        method: "POST",
        path: "calendars/{calendarId}/clear",
        body: None,
        query: &[],
        scopes: TO_CALENDARS_CLEAR,
    },
    Call {
        id: "calendars.delete",
        method: "DELETE",
        path: "calendars/{calendarId}",
        body: None,
        query: &[],
        scopes: TO_CALENDARS_DELETE,
    },
    Call {
        id: "calendars.get",
        method: "GET",
        path: "calendars/{calendarId}",
        body: None,
        query: &[],
        scopes: TO_CALENDARS_GET,
    },
    Call {
        id: "calendars.insert",
        method: "POST",
        path: "calendars",
        body: Some("Calendar"),
        query: &[],
        scopes: TO_CALENDARS_DELETE,
    },
    Call {
        id: "calendars.patch",
        method: "PATCH",
        path: "calendars/{calendarId}",
        body: Some("Calendar"),
        query: &[],
        scopes: TO_CALENDARS_DELETE,
    },
    Call {
        id: "calendars.update",
        method: "PUT",
        path: "calendars/{calendarId}",
        body: Some("Calendar"),
        query: &[],
        scopes: TO_CALENDARS_DELETE,
    },
    Call {
        id: "channels.stop",
        method: "POST",
        path: "channels/stop",
        body: Some("Channel"),
        query: &[],
        scopes: TO_CHANNELS_STOP,
    },
    Call { id: "colors.get", method: "GET", path: "colors", body: None, query: &[], scopes: TO_COLORS_GET },
    Call {
        id: "events.delete",
        method: "DELETE",
        path: "calendars/{calendarId}/events/{eventId}",
        body: None,
        query: ASK_EVENTS_DELETE,
        scopes: TO_EVENTS_DELETE,
    },
    Call {
        id: "events.get",
        method: "GET",
        path: "calendars/{calendarId}/events/{eventId}",
        body: None,
        query: ASK_EVENTS_GET,
        scopes: TO_EVENTS_GET,
    },
    Call {
        id: "events.import",
        method: "POST",
        path: "calendars/{calendarId}/events/import",
        body: Some("Event"),
        query: ASK_EVENTS_IMPORT,
        scopes: TO_EVENTS_DELETE,
    },
    Call {
        id: "events.insert",
        method: "POST",
        path: "calendars/{calendarId}/events",
        body: Some("Event"),
        query: ASK_EVENTS_INSERT,
        scopes: TO_EVENTS_DELETE,
    },
    Call {
        id: "events.instances",
        method: "GET",
        path: "calendars/{calendarId}/events/{eventId}/instances",
        body: None,
        query: ASK_EVENTS_INSTANCES,
        scopes: TO_EVENTS_GET,
    },
    Call {
        id: "events.list",
        method: "GET",
        path: "calendars/{calendarId}/events",
        body: None,
        query: ASK_EVENTS_LIST,
        scopes: TO_EVENTS_GET,
    },
    Call {
        id: "events.move",
        method: "POST",
        path: "calendars/{calendarId}/events/{eventId}/move",
        body: None,
        query: ASK_EVENTS_MOVE,
        scopes: TO_EVENTS_MOVE,
    },
    Call {
        id: "events.patch",
        method: "PATCH",
        path: "calendars/{calendarId}/events/{eventId}",
        body: Some("Event"),
        query: ASK_EVENTS_PATCH,
        scopes: TO_EVENTS_DELETE,
    },
    Call {
        id: "events.update",
        method: "PUT",
        path: "calendars/{calendarId}/events/{eventId}",
        body: Some("Event"),
        query: ASK_EVENTS_PATCH,
        scopes: TO_EVENTS_DELETE,
    },
    Call {
        id: "events.watch",
        method: "POST",
        path: "calendars/{calendarId}/events/watch",
        body: Some("Channel"),
        query: ASK_EVENTS_LIST,
        scopes: TO_EVENTS_GET,
    },
    Call {
        id: "freebusy.query",
        method: "POST",
        path: "freeBusy",
        body: Some("FreeBusyRequest"),
        query: &[],
        scopes: TO_FREEBUSY_QUERY,
    },
];

/// Parameters that every call takes.
pub(super) const EVERYWHERE: &[(&str, &str)] = &[
    ("alt", "json"),
    ("fields", "string"),
    ("key", "string"),
    ("oauth_token", "string"),
    ("prettyPrint", "boolean"),
    ("quotaUser", "string"),
    ("userIp", "string"),
];

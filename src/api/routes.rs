//! Every route of the door: its shape, what a caller needs, who answers, and what is told of it.
//!
//! Owns: the table; the OpenAPI document and the guard read it. Does not own: the answers.

use http::Method;

use super::told::Content::{self, Empty, Json, List, Text};
use super::told::{CURSOR, Kind, LIMIT, Parameter, Told};
use super::{
    Route, availability, booking_settings, bookings, calendars, changes, configuration, conflicts,
    connections, events, feeds, hook, mappings, notices, runs, status, trash, users, versions, webhooks, why,
};
use crate::auth::Scope;

/// Looking at what is there.
const LOOK: &[Scope] = &[Scope::Read, Scope::Bridges];
/// Changing what bridges do.
const BRIDGES: &[Scope] = &[Scope::Bridges];
/// Looking at what is booked or free.
const SEE: &[Scope] = &[Scope::Read, Scope::Bookings];
/// Booking.
const BOOKINGS: &[Scope] = &[Scope::Bookings];
/// Changing calendars.
const EVENTS: &[Scope] = &[Scope::Events];

/// Changing what programs are told; each may subscribe to what its token could read.
const HOOKS: &[Scope] = &[Scope::Events, Scope::Bookings, Scope::Bridges];
/// Looking at that.
const HEAR: &[Scope] = &[Scope::Read, Scope::Bookings, Scope::Bridges];
/// Administration.
const ADMIN: &[Scope] = &[Scope::Admin];

/// The media type of calendar objects (RFC 5545 §8.1).
const CALENDAR: &str = "text/calendar";

const ONLY_CALENDAR: Parameter =
    Parameter::new("calendar", Kind::Text, "Only this calendar; else all that are the caller's.");
const SINCE: Parameter = Parameter::new(
    "since",
    Kind::Text,
    "The `next_cursor` of the answer before, or a calendar's `sync_token`; without it, from the beginning.",
);
/// Where a page of events begins.
const AFTER: Parameter =
    Parameter::new("cursor", Kind::Shape("^[^/]+$"), "The `next_cursor` of the page before.");
/// An event comes as JSON or as iCalendar text.
const EVENT: &[Content] = &[Json("EventChange"), Text(CALENDAR)];

const MAPPING: Parameter = Parameter::new("mapping", Kind::Text, "Only those of this mapping.");
const CONFLICT_STATUS: Parameter = Parameter::new(
    "status",
    Kind::Word(&["pending", "resolved_local", "resolved_external", "merged", "ignored"]),
    "Only those that stand so.",
);

const USER: Parameter = Parameter::new(
    "user",
    Kind::Text,
    "Whose; nothing: the caller's. Others than oneself need the scope `admin`.",
);
const FROM: Parameter = Parameter::new("from", Kind::Moment, "From when on.");
const TO: Parameter = Parameter::new("to", Kind::Moment, "Until when; 366 days later at most.");
const TIME_ZONE: Parameter =
    Parameter::new("time_zone", Kind::Text, "The zone that times are told in; nothing: the owner's.");
const AVAILABILITY: &[Parameter] = &[
    USER,
    FROM.needed(),
    TO.needed(),
    Parameter::new("duration", Kind::Duration, "How long it is to be.").needed(),
    Parameter::new("buffer_before", Kind::Duration, "What has to be free before it; nothing: as set."),
    Parameter::new("buffer_after", Kind::Duration, "What has to be free after it; nothing: as set."),
    Parameter::new("step", Kind::Duration, "From one start to the next; nothing: as set."),
    TIME_ZONE,
    Parameter::new("max_age", Kind::Duration, "Has far sides asked that were not heard of for so long."),
    Parameter::new("explain", Kind::Flag, "Tells why the other times are not offered."),
];
const BOOKING_STATUS: Parameter = Parameter::new(
    "status",
    Kind::Word(&["held", "pending", "confirmed", "cancelled", "rejected", "no_show", "expired"]),
    "Only those that stand so.",
);
const BOOKED: &[Parameter] = &[
    LIMIT,
    CURSOR,
    USER,
    Parameter::new("reference", Kind::Text, "Only those that the caller gave this reference."),
    BOOKING_STATUS,
    Parameter::new("calendar", Kind::Text, "Only those in this calendar."),
    Parameter::new("from", Kind::Moment, "Only those that end after this moment."),
    Parameter::new("to", Kind::Moment, "Only those that begin before this moment."),
];

macro_rules! routes {
    ($($method:ident $path:literal $scopes:ident $answer:path => $told:expr;)*) => {
        /// Every route, in the order in which they are tried.
        pub static ROUTES: &[Route] = &[
            $(Route {
                method: Method::$method,
                path: $path,
                scopes: $scopes,
                told: $told,
                answer: |api, call| Box::pin($answer(api, call)),
            },)*
        ];
    };
}

routes! {
    GET "/availability" SEE availability::availability =>
        Told::new("Bookings", "Tells when somebody could be booked.").query(AVAILABILITY).gives(&[(200, Json("Availability"))]).refuses(&[404]);
    GET "/freebusy" SEE availability::free_busy =>
        Told::new("Bookings", "Tells when somebody is busy.").query(&[USER, FROM.needed(), TO.needed(), TIME_ZONE]).gives(&[(200, Json("FreeBusy"))]).refuses(&[404]);
    GET "/bookings" SEE bookings::list =>
        Told::list("Bookings", "Lists the bookings, the newest first.").query(BOOKED).gives(&[(200, List("Booking"))]).refuses(&[404]);
    POST "/bookings" BOOKINGS bookings::create =>
        Told::new("Bookings", "Books a time, or holds it for a while; of rivals for one time exactly one gets it.").query(&[USER]).needs(&[Json("NewBooking")]).gives(&[(201, Json("Booking"))]).refuses(&[404]);
    GET "/bookings/{booking}" SEE bookings::one =>
        Told::new("Bookings", "Reads a booking.").query(&[USER]).gives(&[(200, Json("Booking"))]);
    PATCH "/bookings/{booking}" BOOKINGS bookings::change =>
        Told::new("Bookings", "Moves a booking, changes what is said of it, or ends it.").query(&[USER]).takes(&[Json("BookingChange")]).gives(&[(200, Json("Booking"))]).refuses(&[409]).conditional();
    DELETE "/bookings/{booking}" BOOKINGS bookings::remove =>
        Told::new("Bookings", "Cancels a booking.").query(&[USER]).gives(&[(204, Empty)]).refuses(&[409]).conditional();
    POST "/bookings/{booking}/confirm" BOOKINGS bookings::confirm =>
        Told::new("Bookings", "Makes a booking of what is held, or confirms what awaits it.").query(&[USER]).takes(&[Json("Confirmation")]).gives(&[(200, Json("Booking"))]).conditional();
    GET "/booking-settings" SEE booking_settings::one =>
        Told::new("Bookings", "Reads how somebody may be booked.").query(&[USER]).gives(&[(200, Json("BookingSettings"))]).refuses(&[404]);
    PATCH "/booking-settings" BOOKINGS booking_settings::change =>
        Told::new("Bookings", "Changes how somebody may be booked.").query(&[USER]).takes(&[Json("BookingSettingsChange")]).gives(&[(200, Json("BookingSettings"))]).refuses(&[404]).conditional();
    GET "/calendars" LOOK calendars::list =>
        Told::list("Calendars", "Lists the calendars that the caller may see.").query(&[LIMIT, CURSOR, Parameter::new("hidden", Kind::Flag, "Those in the middle of a link too.")]).gives(&[(200, List("Calendar"))]);
    POST "/calendars" EVENTS calendars::create =>
        Told::new("Calendars", "Makes a calendar.").takes(&[Json("NewCalendar")]).gives(&[(201, Json("Calendar"))]);
    GET "/calendars/{calendar}" LOOK calendars::one =>
        Told::new("Calendars", "Reads a calendar.").gives(&[(200, Json("Calendar"))]);
    PATCH "/calendars/{calendar}" EVENTS calendars::change =>
        Told::new("Calendars", "Changes a calendar's properties.").takes(&[Json("CalendarChange")]).gives(&[(200, Json("Calendar"))]).conditional();
    DELETE "/calendars/{calendar}" EVENTS calendars::remove =>
        Told::new("Calendars", "Moves a calendar to the trash.").gives(&[(204, Empty)]).refuses(&[423]).conditional();
    GET "/changes" LOOK changes::list =>
        Told::new("Changes", "Lists what was written after a position; waits for it, if asked to.").query(&[LIMIT, ONLY_CALENDAR, SINCE, Parameter::new("wait", Kind::Number(0, changes::LONGEST), "How many seconds to wait for a change if there is none.")]).gives(&[(200, Json("Changes"))]).refuses(&[410]);
    GET "/changes/stream" LOOK changes::stream =>
        Told::new("Changes", "Tells of changes as they happen, as server-sent events; `Last-Event-ID` goes on where a stream ended.").query(&[ONLY_CALENDAR, SINCE]).gives(&[(200, Text("text/event-stream"))]).refuses(&[410]);
    GET "/calendars/{calendar}/events" LOOK events::list =>
        Told::new("Events", "Lists events, each once, or with `expand` each instance within a time.").query(&[Parameter::new("limit", Kind::Number(1, 5000), "How many items a page has at most; 100 if nothing is said."), AFTER, Parameter::new("from", Kind::Moment, "Only those that take place after this."), Parameter::new("to", Kind::Moment, "Only those that take place before this."), Parameter::new("expand", Kind::Flag, "Every instance of a series by itself.")]).gives(&[(200, List("Event"))]);
    POST "/calendars/{calendar}/events" EVENTS events::create =>
        Told::new("Events", "Makes an event.").needs(EVENT).gives(&[(201, Json("Event"))]).refuses(&[423]);
    GET "/calendars/{calendar}/events/{uid}" LOOK events::one =>
        Told::new("Events", "Reads an event, as JSON or as the text that is stored.").gives(&[(200, Json("Event")), (200, Text(CALENDAR))]).refuses(&[409]);
    PUT "/calendars/{calendar}/events/{uid}" EVENTS events::replace =>
        Told::new("Events", "Replaces an event, or makes it under this UID.").needs(EVENT).gives(&[(200, Json("Event")), (201, Json("Event"))]).refuses(&[409, 423]).conditional();
    PATCH "/calendars/{calendar}/events/{uid}" EVENTS events::patch =>
        Told::new("Events", "Changes what is named of an event, and nothing else.").needs(&[Json("EventChange")]).gives(&[(200, Json("Event"))]).refuses(&[409, 423]).conditional();
    DELETE "/calendars/{calendar}/events/{uid}" EVENTS events::remove =>
        Told::new("Events", "Moves an event to the trash.").gives(&[(204, Empty)]).refuses(&[423]).conditional();
    POST "/calendars/{calendar}/events/{uid}/split" EVENTS events::divide =>
        Told::new("Events", "Ends a series before one of its instances; the rest goes on as another event.").needs(&[Json("Split")]).gives(&[(201, Json("Event"))]).refuses(&[409, 423]).conditional();
    GET "/calendars/{calendar}/events/{uid}/versions" LOOK versions::list =>
        Told::list("Versions", "Lists what an event was before.").gives(&[(200, List("Version"))]);
    GET "/calendars/{calendar}/events/{uid}/versions/{version}" LOOK versions::one =>
        Told::new("Versions", "Reads a former version, as it was.").gives(&[(200, Text(CALENDAR))]);
    POST "/calendars/{calendar}/events/{uid}/versions/{version}/restore" EVENTS versions::restore =>
        Told::new("Versions", "Brings a former version back.").gives(&[(200, Json("Restored"))]).refuses(&[423]);
    GET "/events/{uid}/why" LOOK why::why =>
        Told::new("Events", "Tells an event's story: where it came from, where it went, what refused it.").gives(&[(200, Json("Story"))]);
    GET "/connections" LOOK connections::list =>
        Told::list("Connections", "Lists the connected accounts.").gives(&[(200, List("Connection"))]);
    POST "/connections" BRIDGES connections::create =>
        Told::new("Connections", "Connects an account of the named provider.").needs(&[Json("NewConnection")]).gives(&[(201, Json("Connection"))]);
    POST "/connections/caldav" BRIDGES connections::create_caldav =>
        Told::new("Connections", "Connects an account of a CalDAV server; it is signed in to at once.").needs(&[Json("NewCaldav")]).gives(&[(201, Json("Connection"))]);
    POST "/connections/cozi" BRIDGES connections::create_cozi =>
        Told::new("Connections", "Connects a Cozi account; it is signed in to at once.").needs(&[Json("NewCozi")]).gives(&[(201, Json("Connection"))]);
    POST "/connections/google" BRIDGES connections::create_google =>
        Told::new("Connections", "Begins a consent at Google; a person opens the `authorization_url`.").takes(&[Json("NewConsent")]).gives(&[(201, Json("Connection"))]);
    POST "/connections/icloud" BRIDGES connections::create_icloud =>
        Told::new("Connections", "Connects an iCloud account with an app-specific password.").needs(&[Json("NewIcloud")]).gives(&[(201, Json("Connection"))]);
    POST "/connections/ics" BRIDGES connections::create_ics =>
        Told::new("Connections", "Connects an ICS feed; it is fetched at once.").needs(&[Json("NewFeedIn")]).gives(&[(201, Json("Connection"))]);
    POST "/connections/outlook" BRIDGES connections::create_outlook =>
        Told::new("Connections", "Begins a consent at Microsoft; a person opens the `authorization_url`.").takes(&[Json("NewConsent")]).gives(&[(201, Json("Connection"))]);
    POST "/connections/renew" BRIDGES connections::renew_ending =>
        Told::new("Connections", "Has the notification channels of all accounts renewed now that end soon. They are renewed in time without that, too.").query(&[Parameter::new("within", Kind::Duration, "How soon; nothing: two days.")]).takes(&[Json("Nothing")]).gives(&[(202, Json("Renewed"))]);
    GET "/connection-kinds" LOOK connections::kinds =>
        Told::list("Connections", "Lists the kinds of accounts, and why some of them cannot be connected on this server.").gives(&[(200, List("ConnectionKind"))]);
    GET "/connections/{connection}" LOOK connections::one =>
        Told::new("Connections", "Reads a connected account.").gives(&[(200, Json("Connection"))]);
    PATCH "/connections/{connection}" BRIDGES connections::change =>
        Told::new("Connections", "Names the account anew.").takes(&[Json("ConnectionChange")]).gives(&[(200, Json("Connection"))]).conditional();
    DELETE "/connections/{connection}" BRIDGES connections::remove =>
        Told::new("Connections", "Disconnects an account: gives its consent back and removes its secrets.").query(&[Parameter::new("events", Kind::Word(&["keep", "remove"]), "What becomes of the events that came from it.")]).gives(&[(204, Empty)]).conditional();
    GET "/connections/{connection}/calendars" LOOK connections::calendars =>
        Told::list("Connections", "Lists the calendars of the account.").gives(&[(200, List("RemoteCalendar"))]).refuses(&[409]);
    POST "/connections/{connection}/reconnect" BRIDGES connections::reconnect =>
        Told::new("Connections", "Takes credentials anew, or begins the consent anew. What is mapped stays.").takes(&[Json("Reconnect")]).gives(&[(200, Json("Connection"))]);
    POST "/connections/{connection}/renew" BRIDGES connections::renew =>
        Told::new("Connections", "Has the notification channels of an account renewed now.").takes(&[Json("Nothing")]).gives(&[(202, Json("Renewed"))]);
    POST "/connections/{connection}/sync" BRIDGES mappings::sync_connection =>
        Told::new("Mappings", "Has all mappings of an account looked at now.").takes(&[Json("Nothing")]).gives(&[(202, Json("Runs"))]);
    GET "/feeds" LOOK feeds::list =>
        Told::list("Feeds", "Lists the published links.").gives(&[(200, List("Feed"))]);
    POST "/feeds" EVENTS feeds::create =>
        Told::new("Feeds", "Publishes calendars under a secret or chosen address.").needs(&[Json("NewFeed")]).gives(&[(201, Json("Feed"))]);
    GET "/feeds/{feed}" LOOK feeds::one =>
        Told::new("Feeds", "Reads a published link.").gives(&[(200, Json("Feed"))]);
    PATCH "/feeds/{feed}" EVENTS feeds::change =>
        Told::new("Feeds", "Changes what a link shows; its address stays.").takes(&[Json("FeedChange")]).gives(&[(200, Json("Feed"))]).conditional();
    POST "/feeds/{feed}/rotate" EVENTS feeds::rotate =>
        Told::new("Feeds", "Gives a link another address; the old one shows nothing any more.").takes(&[Json("FeedRotation")]).gives(&[(200, Json("Feed"))]).refuses(&[412]);
    DELETE "/feeds/{feed}" EVENTS feeds::remove =>
        Told::new("Feeds", "Ends a link.").gives(&[(204, Empty)]).conditional();
    GET "/mappings" LOOK mappings::list =>
        Told::list("Mappings", "Lists the mappings.").gives(&[(200, List("Mapping"))]);
    POST "/mappings" BRIDGES mappings::create =>
        Told::new("Mappings", "Maps a calendar here to one of an account.").needs(&[Json("NewMapping")]).gives(&[(201, Json("Mapping"))]).refuses(&[404]);
    POST "/mappings/preview" BRIDGES mappings::preview =>
        Told::new("Mappings", "Tells what a mapping would do, and does nothing.").needs(&[Json("NewMapping")]).gives(&[(200, Json("Preview"))]).refuses(&[404]);
    POST "/mappings/link" BRIDGES mappings::link =>
        Told::new("Mappings", "Links two calendars of accounts with each other.").needs(&[Json("NewLink")]).gives(&[(201, Json("Link"))]).refuses(&[404]);
    GET "/mappings/{mapping}" LOOK mappings::one =>
        Told::new("Mappings", "Reads a mapping.").gives(&[(200, Json("Mapping"))]);
    PATCH "/mappings/{mapping}" BRIDGES mappings::change =>
        Told::new("Mappings", "Changes a mapping's settings.").takes(&[Json("MappingChange")]).gives(&[(200, Json("Mapping"))]).refuses(&[409]).conditional();
    DELETE "/mappings/{mapping}" BRIDGES mappings::remove =>
        Told::new("Mappings", "Ends a mapping. The events stay on both sides.").gives(&[(204, Empty)]).conditional();
    POST "/mappings/{mapping}/hook" BRIDGES hook::open =>
        Told::new("Mappings", "Opens an address with which any program may have the mapping looked at.").takes(&[Json("Nothing")]).gives(&[(201, Json("Hook"))]);
    DELETE "/mappings/{mapping}/hook" BRIDGES hook::close =>
        Told::new("Mappings", "Closes that address.").gives(&[(204, Empty)]);
    POST "/mappings/{mapping}/sync" BRIDGES mappings::sync =>
        Told::new("Mappings", "Has a mapping looked at now; joins a run that goes on.").takes(&[Json("SyncWish")]).gives(&[(202, Json("RunBegun"))]);
    POST "/sync" BRIDGES mappings::sync_all =>
        Told::new("Mappings", "Has all mappings looked at now.").query(&[Parameter::new("provider", Kind::Word(&["google", "outlook", "icloud", "caldav", "cozi", "ics"]), "Only those with accounts of this kind.")]).takes(&[Json("Nothing")]).gives(&[(202, Json("Runs"))]);
    GET "/runs" LOOK runs::list =>
        Told::list("Runs", "Lists what runs did, the newest first.").query(&[LIMIT, CURSOR, MAPPING, Parameter::new("connection", Kind::Text, "Only those of this connection.")]).gives(&[(200, List("Run"))]).refuses(&[404]);
    GET "/runs/{run}" LOOK runs::one =>
        Told::new("Runs", "Reads a run, also while it goes on.").gives(&[(200, Json("Run"))]);
    GET "/conflicts" LOOK conflicts::list =>
        Told::list("Conflicts", "Lists the conflicts, the newest first.").query(&[LIMIT, CURSOR, MAPPING, CONFLICT_STATUS]).gives(&[(200, List("Conflict"))]).refuses(&[404]);
    GET "/conflicts/{conflict}" LOOK conflicts::one =>
        Told::new("Conflicts", "Reads a conflict with the base and both versions.").gives(&[(200, Json("Conflict"))]);
    GET "/conflicts.csv" LOOK conflicts::csv =>
        Told::new("Conflicts", "Reads the conflicts as a table.").query(&[MAPPING, CONFLICT_STATUS]).gives(&[(200, Text("text/csv"))]).refuses(&[404]);
    POST "/conflicts/{conflict}/resolve" BRIDGES conflicts::resolve =>
        Told::new("Conflicts", "Decides a conflict.").needs(&[Json("Decision")]).gives(&[(200, Json("Conflict"))]);
    POST "/conflicts/{conflict}/undo" BRIDGES conflicts::undo =>
        Told::new("Conflicts", "Brings back the version that lost.").takes(&[Json("Nothing")]).gives(&[(200, Json("Conflict"))]);
    GET "/notifications" LOOK notices::list =>
        Told::list("Notifications", "Lists what people are told, the newest first.").query(&[LIMIT, CURSOR, Parameter::new("unread", Kind::Flag, "Only those that were not read, or only those that were."), Parameter::new("kind", Kind::Text, "Only those of this kind.")]).gives(&[(200, List("Notification"))]);
    POST "/notifications/read-all" LOOK notices::read_all =>
        Told::new("Notifications", "Marks all as read.").gives(&[(200, Json("ReadCount"))]);
    POST "/notifications/{notification}/read" LOOK notices::read =>
        Told::new("Notifications", "Marks one as read.").gives(&[(200, Json("Notification"))]);
    GET "/status" LOOK status::status =>
        Told::new("Status", "Tells how the caller's accounts and mappings are and when they last synced; with the scope `admin` how the server stands, too. The same is at `/status`.").gives(&[(200, Json("Status"))]);
    GET "/webhooks" HEAR webhooks::list =>
        Told::list("Webhooks", "Lists who is told of what happens.").gives(&[(200, List("Webhook"))]);
    POST "/webhooks" HOOKS webhooks::create =>
        Told::new("Webhooks", "Has an address be told of what happens; the secret is in this answer only.").needs(&[Json("NewWebhook")]).gives(&[(201, Json("WebhookWithSecret"))]);
    GET "/webhooks/{webhook}" HEAR webhooks::one =>
        Told::new("Webhooks", "Reads a webhook and how it stands.").gives(&[(200, Json("Webhook"))]);
    PATCH "/webhooks/{webhook}" HOOKS webhooks::change =>
        Told::new("Webhooks", "Changes where it goes and what it tells.").takes(&[Json("WebhookChange")]).gives(&[(200, Json("Webhook"))]).conditional();
    DELETE "/webhooks/{webhook}" HOOKS webhooks::remove =>
        Told::new("Webhooks", "Ends a webhook, with what waits.").gives(&[(204, Empty)]).conditional();
    POST "/webhooks/{webhook}/rotate-secret" HOOKS webhooks::rotate =>
        Told::new("Webhooks", "Gives it another secret; for a while both sign.").takes(&[Json("SecretRotation")]).gives(&[(200, Json("WebhookWithSecret"))]).refuses(&[412]);
    POST "/webhooks/{webhook}/test" HOOKS webhooks::test =>
        Told::new("Webhooks", "Sends `webhook.test` now and tells how that went.").takes(&[Json("Nothing")]).gives(&[(200, Json("Attempt"))]);
    POST "/webhooks/{webhook}/pause" HOOKS webhooks::pause =>
        Told::new("Webhooks", "Has deliveries wait.").takes(&[Json("Nothing")]).gives(&[(200, Json("Webhook"))]).refuses(&[412]);
    POST "/webhooks/{webhook}/resume" HOOKS webhooks::resume =>
        Told::new("Webhooks", "Has deliveries go on at once, also those that failed.").takes(&[Json("Nothing")]).gives(&[(200, Json("Webhook"))]).refuses(&[412]);
    POST "/webhooks/{webhook}/replay" HOOKS webhooks::replay =>
        Told::new("Webhooks", "Sends all deliveries from a number or a time on again, in order.").needs(&[Json("Replay")]).gives(&[(200, Json("Webhook"))]).refuses(&[410, 412]);
    GET "/webhooks/{webhook}/deliveries" HEAR webhooks::deliveries =>
        Told::list("Webhooks", "Lists what was and is to be delivered, the newest first.").gives(&[(200, List("Delivery"))]);
    GET "/webhooks/{webhook}/deliveries/{delivery}" HEAR webhooks::delivery =>
        Told::new("Webhooks", "Reads a delivery, with what was tried.").gives(&[(200, Json("Delivery"))]);
    POST "/webhooks/{webhook}/deliveries/{delivery}/redeliver" HOOKS webhooks::redeliver =>
        Told::new("Webhooks", "Sends a delivery once more, now, under its old id.").takes(&[Json("Nothing")]).gives(&[(200, Json("Delivery"))]);
    GET "/trash" LOOK trash::list =>
        Told::list("Trash", "Lists what was deleted, the newest first.").query(&[LIMIT, CURSOR, Parameter::new("calendar", Kind::Text, "Only what was deleted from this calendar.")]).gives(&[(200, List("Trashed"))]);
    DELETE "/trash" EVENTS trash::clear =>
        Told::new("Trash", "Forgets everything deleted for good.").gives(&[(204, Empty)]);
    GET "/trash/{item}" LOOK trash::one =>
        Told::new("Trash", "Reads something deleted; an event with its text.").gives(&[(200, Json("Trashed"))]);
    POST "/trash/{item}/restore" EVENTS trash::restore =>
        Told::new("Trash", "Brings something deleted back.").takes(&[Json("RestoreWish")]).gives(&[(200, Json("Back"))]).refuses(&[423]);
    DELETE "/trash/{item}" EVENTS trash::remove =>
        Told::new("Trash", "Forgets something deleted for good.").gives(&[(204, Empty)]);
    GET "/users" ADMIN users::list =>
        Told::list("Accounts", "Lists the accounts.").gives(&[(200, List("User"))]);
    POST "/users" ADMIN users::create =>
        Told::new("Accounts", "Makes an account with a calendar and a task list; without a password only tokens and app passwords sign in.").needs(&[Json("NewUser")]).gives(&[(201, Json("User"))]);
    GET "/users/{user}" ADMIN users::one =>
        Told::new("Accounts", "Reads an account.").gives(&[(200, Json("User"))]);
    PATCH "/users/{user}" ADMIN users::change =>
        Told::new("Accounts", "Changes an account's names, addresses, role or password. The last administrator stays one.").takes(&[Json("UserChange")]).gives(&[(200, Json("User"))]).conditional();
    DELETE "/users/{user}" ADMIN users::remove =>
        Told::new("Accounts", "Removes an account with all its calendars, files, bookings, connections, passwords and tokens, for good; what is on far sides stays there. The last administrator cannot be removed.").gives(&[(204, Empty)]).conditional();
    GET "/users/{user}/app-passwords" ADMIN users::app_passwords =>
        Told::list("Accounts", "Lists the passwords of an account's devices.").gives(&[(200, List("AppPassword"))]).own();
    POST "/users/{user}/app-passwords" ADMIN users::add_app_password =>
        Told::new("Accounts", "Makes a password for one device; it is told once.").needs(&[Json("NewAppPassword")]).gives(&[(201, Json("AppPassword"))]).own();
    DELETE "/users/{user}/app-passwords/{password}" ADMIN users::revoke_app_password =>
        Told::new("Accounts", "Revokes a device's password; its next request is refused.").gives(&[(204, Empty)]).own();
    GET "/users/{user}/tokens" ADMIN users::tokens =>
        Told::list("Accounts", "Lists the tokens of an account's programs.").gives(&[(200, List("Token"))]);
    POST "/users/{user}/tokens" ADMIN users::add_token =>
        Told::new("Accounts", "Makes a token for one program; it is told once.").needs(&[Json("NewToken")]).gives(&[(201, Json("Token"))]);
    DELETE "/users/{user}/tokens/{token}" ADMIN users::revoke_token =>
        Told::new("Accounts", "Revokes a program's token; its next request is refused.").gives(&[(204, Empty)]);
    GET "/users/{user}/sessions" ADMIN users::sessions =>
        Told::list("Accounts", "Lists the browsers in which an account is signed in.").gives(&[(200, List("Session"))]);
    DELETE "/users/{user}/sessions/{session}" ADMIN users::end_session =>
        Told::new("Accounts", "Signs a browser out.").gives(&[(204, Empty)]);
    GET "/configuration" ADMIN configuration::list =>
        Told::list("Accounts", "Lists the options of the server, each with its value, unless it is a secret, and where it was said.").gives(&[(200, List("Option"))]);
}

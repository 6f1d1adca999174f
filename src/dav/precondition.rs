//! Why the door says no → status, precondition element, sentence: one match without a `_` arm for each.
//!
//! Owns: every status code of a refusal and every precondition's name. The body is a `D:error` that always holds an
//! element (Thunderbird takes an empty one for Google's rate limit) and a sentence in `D:responsedescription`.

use http::StatusCode;

use crate::calendar::{Error, Refusal};
use crate::http::{Reply, reply_xml};
use crate::ical::ProblemKind;
use crate::store::Fault;
use crate::xml::{Name, Writer, caldav, dav};

/// Why a WebDAV request was not carried out.
#[derive(Debug, Clone)]
pub enum Denied {
    /// A rule of the house, or the store.
    Error(Error),
    /// A rule of the protocol.
    Protocol(Protocol),
}

/// The rules that only WebDAV and its kin have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Protocol {
    /// RFC 4791 §5.3.2.1: the object at this path has the UID.
    UidTaken(String),
    /// RFC 4918 §16: the body points to something outside of it.
    NoExternalEntities,
    /// RFC 4918 §9.1.1: `Depth: infinity` is not served.
    FiniteDepth,
    /// The method cannot be used on this resource; what can.
    Method(String),
    /// RFC 3253 §3.6: no such report here.
    SupportedReport(String),
    /// RFC 4791 §7.8: the filter is not one; why.
    ValidFilter(String),
    /// RFC 4791 §7.8: the filter asks for what is not supported.
    SupportedFilter(String),
    /// RFC 4791 §7.5.1: no such collation.
    SupportedCollation(String),
    /// RFC 4791 §7.8: this calendar data cannot be asked for.
    SupportedCalendarData(String),
    /// RFC 4791 §7.8, §5.2.2: not a VCALENDAR with one VTIMEZONE; why.
    ValidCalendarData(String),
    /// RFC 4791 §5.3.2.1, §5.2.3: no such component type here; why.
    SupportedCalendarComponent(String),
    /// RFC 4791 §7.8: before `min-date-time`.
    MinDateTime(String),
    /// RFC 4791 §7.8: after `max-date-time`.
    MaxDateTime(String),
    /// RFC 5689 §3: a collection of this type cannot be made.
    ValidResourceType(String),
    /// RFC 4791 §5.3.1.1: MKCALENDAR where something is.
    ResourceMustBeNull,
    /// RFC 4918 §15: the property is the server's.
    ProtectedProperty(String),
    /// RFC 4918 §9.2.1 (507): the resource's properties would be larger than this many bytes together.
    Properties(usize),
    /// RFC 4918 §9.10.6: a lock is in the way; its root.
    NoConflictingLock(String),
    /// RFC 4918 §9.11.1: the token locks something else, or nothing.
    LockTokenMatches,
    /// RFC 4918 §9.8.5: the destination is on another server.
    OtherServer,
    /// RFC 4918 §9.8.5: source and destination are the same.
    SameResource,
    /// RFC 4918 §9.3.1: a body of this type is not understood.
    MediaType(String),
    /// RFC 9110 §15.5.17: no such range; the length.
    Range(u64),
    /// RFC 6578 §3.3: a collection below the synced one is to be synced by itself.
    SyncTraversal,
    /// RFC 7809 §7.1: no such time zone.
    ValidTimezone(String),
    /// RFC 6578 §3.3, RFC 5323: more than is served at once; the number.
    MatchesWithinLimits(u64),
    /// RFC 4918 §9.6.1 and others: a condition of the `If` header or of RFC 9110 §13 does not hold.
    Failed,
}

impl From<Error> for Denied {
    fn from(error: Error) -> Denied {
        Denied::Error(error)
    }
}

impl From<Refusal> for Denied {
    fn from(refusal: Refusal) -> Denied {
        Denied::Error(Error::Refused(refusal))
    }
}

impl From<Fault> for Denied {
    fn from(fault: Fault) -> Denied {
        Denied::Error(fault.into())
    }
}

impl From<Protocol> for Denied {
    fn from(protocol: Protocol) -> Denied {
        Denied::Protocol(protocol)
    }
}

/// What goes inside `D:error` before the sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Condition {
    /// No standard names this one.
    None,
    /// An empty element.
    Bare(Name),
    /// An element with the href of what is in the way.
    With(Name, String),
    /// RFC 3744 §7.1.1.
    NeedPrivileges(&'static str),
}

/// A refusal as the client sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explained {
    /// The status.
    pub status: StatusCode,
    condition: Condition,
    sentence: String,
}

impl Explained {
    fn new(status: u16, condition: Condition, sentence: impl Into<String>) -> Explained {
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Explained { status, condition, sentence: sentence.into() }
    }

    /// Writes the `D:error` element and the `D:responsedescription` of a multistatus response.
    pub fn write(&self, path: &str, w: &mut Writer) {
        if self.condition != Condition::None {
            w.open(&dav("error"));
            self.write_condition(path, w);
            w.close();
        }
        w.leaf(&dav("responsedescription"), &self.sentence);
    }

    fn write_condition(&self, path: &str, w: &mut Writer) {
        match &self.condition {
            Condition::None => {}
            Condition::Bare(name) => w.empty(name),
            Condition::With(name, href) => {
                w.open(name);
                w.leaf(&dav("href"), href);
                w.close();
            }
            Condition::NeedPrivileges(privilege) => {
                w.open(&dav("need-privileges"));
                w.open(&dav("resource"));
                w.leaf(&dav("href"), path);
                w.open(&dav("privilege"));
                w.empty(&dav(privilege));
                w.close();
                w.close();
                w.close();
            }
        }
    }
}

impl Denied {
    /// Tells the path of what is in the way, where only its name in this collection was known.
    #[must_use]
    pub fn within(self, collection_path: &str) -> Denied {
        match self {
            Denied::Error(Error::Refused(Refusal::UidTaken(name))) => {
                Protocol::UidTaken(super::place::member_path(collection_path, &name)).into()
            }
            other => other,
        }
    }

    /// Returns status, element and sentence. `path` is the request's path.
    pub fn explain(&self, path: &str) -> Explained {
        match self {
            Denied::Error(Error::Refused(refusal)) => explain_refusal(refusal, path),
            Denied::Error(Error::Failed(_)) => Explained::new(
                500,
                Condition::None,
                "The server could not do this just now; nothing was changed. The cause is in its log.",
            ),
            Denied::Protocol(protocol) => explain_protocol(protocol),
        }
    }

    /// Returns the whole answer. A failure of the store is logged here, once, with its cause.
    pub fn reply(&self, path: &str) -> Reply {
        if let Denied::Error(Error::Failed(fault)) = self {
            tracing::error!(%fault, path, "the store failed");
        }
        let explained = self.explain(path);
        let mut w = Writer::document();
        w.open(&dav("error"));
        explained.write_condition(path, &mut w);
        w.leaf(&dav("responsedescription"), &explained.sentence);
        w.close();
        let mut reply = reply_xml(explained.status, w.take());
        if let Denied::Protocol(Protocol::Method(allow)) = self
            && let Ok(value) = http::HeaderValue::from_str(allow)
        {
            reply.headers_mut().insert(http::header::ALLOW, value);
        }
        if let Denied::Protocol(Protocol::Range(length)) = self
            && let Ok(value) = http::HeaderValue::from_str(&format!("bytes */{length}"))
        {
            reply.headers_mut().insert(http::header::CONTENT_RANGE, value);
        }
        reply
    }
}

fn e(status: u16, condition: Condition, sentence: impl Into<String>) -> Explained {
    Explained::new(status, condition, sentence)
}

fn explain_refusal(refusal: &Refusal, path: &str) -> Explained {
    use Condition::{Bare, NeedPrivileges, None, With};
    match refusal {
        Refusal::Missing => e(404, None, "There is nothing at this address."),
        Refusal::Forbidden(privilege) => {
            e(403, NeedPrivileges(privilege), format!("This needs the privilege “{privilege}”."))
        }
        // RFC 3744 §7.1.1.
        Refusal::Kept(privilege) => {
            let sentence = "It comes from another calendar, which is only read here: change it there.";
            e(403, NeedPrivileges(privilege), sentence)
        }
        Refusal::Stale => {
            e(412, None, "It was changed meanwhile, or a condition of the request does not hold.")
        }
        Refusal::UidTaken(name) => {
            let sentence = format!("The object “{name}” of this calendar has the same UID.");
            e(409, Bare(caldav("no-uid-conflict")), sentence)
        }
        Refusal::UidChanged { stored, sent } => {
            let sentence = format!("The object here has the UID “{stored}”; it cannot become “{sent}”.");
            e(409, With(caldav("no-uid-conflict"), path.to_owned()), sentence)
        }
        Refusal::NotCalendar(problem) => {
            let name = match problem.kind {
                ProblemKind::Data | ProblemKind::Limit => "valid-calendar-data",
                ProblemKind::Object => "valid-calendar-object-resource",
            };
            let sentence = match problem.line {
                Some(line) => format!("Line {line}: {}.", problem.reason),
                Option::None => format!("{}.", problem.reason),
            };
            e(403, Bare(caldav(name)), sentence)
        }
        Refusal::WrongComponent { sent, accepted } => {
            let sentence = format!("This calendar holds {}, not {sent}.", accepted.join(", "));
            e(403, Bare(caldav("supported-calendar-component")), sentence)
        }
        Refusal::WrongMediaType(sent) => {
            let sentence = format!("A calendar holds text/calendar, not “{sent}”.");
            e(403, Bare(caldav("supported-calendar-data")), sentence)
        }
        Refusal::TooLarge(limit) => {
            e(413, Bare(caldav("max-resource-size")), format!("At most {limit} bytes are accepted here."))
        }
        Refusal::CollectionFull(limit) => {
            let sentence = format!("The collection already holds its maximum of {limit} objects.");
            e(507, Bare(dav("quota-not-exceeded")), sentence)
        }
        Refusal::QuotaExceeded(limit) => {
            e(507, Bare(dav("quota-not-exceeded")), format!("The quota of {limit} bytes is used up."))
        }
        Refusal::DiskFull => {
            e(507, Bare(dav("sufficient-disk-space")), "The server's disk is full; nothing was changed.")
        }
        Refusal::BadName(why) => {
            e(403, Bare(dav("name-allowed")), format!("The name cannot be used: {why}."))
        }
        Refusal::Exists => {
            e(405, Bare(dav("resource-must-be-null")), "There is something at this address already.")
        }
        Refusal::NoParent => e(409, None, "The collection that this would be in does not exist."),
        Refusal::NotHere(why) => {
            e(403, Bare(caldav("calendar-collection-location-ok")), format!("Not here: {why}."))
        }
        Refusal::Protected(why) => e(403, None, format!("Not possible: {why}.")),
        Refusal::TokenExpired => e(
            403,
            Bare(dav("valid-sync-token")),
            "The sync-token is unknown here or too old; begin without one.",
        ),
        Refusal::Locked(root) => {
            let sentence = "It is locked; the request must carry the lock's token in its If header.";
            e(423, With(dav("lock-token-submitted"), root.clone()), sentence)
        }
        Refusal::Bad(why) => e(400, None, why.clone()),
        Refusal::TooMany(limit) => {
            let sentence = format!("The answer would have more than {limit} entries; narrow the request.");
            e(507, Bare(dav("number-of-matches-within-limits")), sentence)
        }
        // No RFC has a name for it; RFC 4918 §16 lets a server have one of its own.
        Refusal::Overlap(blocking) | Refusal::SlotTaken(blocking) => {
            let (start, end) = (moment(blocking.start), moment(blocking.end));
            let sentence = format!(
                "This calendar takes one event at a time, and something else takes place there from {start} to {end}."
            );
            e(403, Bare(Name::new(SERVER, "no-overlap")), sentence)
        }
        Refusal::NotBookable(why) => e(403, Bare(Name::new(SERVER, "bookable")), *why),
        Refusal::WrongState(status) => {
            let sentence = format!("The booking is {}; that cannot be changed so.", status.as_str());
            e(409, Bare(Name::new(SERVER, "booking-state")), sentence)
        }
    }
}

/// The namespace of conditions that are ours.
const SERVER: &str = "urn:kalends:server";

/// Returns an instant as people read it.
fn moment(instant: i64) -> String {
    let text = crate::ical::busy::utc_text(instant);
    match (text.get(..4), text.get(4..6), text.get(6..8), text.get(9..11), text.get(11..13)) {
        (Some(year), Some(month), Some(day), Some(hour), Some(minute)) => {
            format!("{year}-{month}-{day} {hour}:{minute} UTC")
        }
        _ => text,
    }
}

fn explain_protocol(protocol: &Protocol) -> Explained {
    use Condition::{Bare, None, With};
    match protocol {
        // the href tells the client which object it is, so that it can go on there.
        Protocol::UidTaken(href) => {
            let sentence = "Another object of this calendar has the same UID.";
            e(409, With(caldav("no-uid-conflict"), href.clone()), sentence)
        }
        Protocol::NoExternalEntities => {
            e(403, Bare(dav("no-external-entities")), "The body may not refer to anything outside of it.")
        }
        Protocol::FiniteDepth => {
            e(403, Bare(dav("propfind-finite-depth")), "Depth: infinity is not served; ask with Depth: 1.")
        }
        Protocol::Method(allow) => e(405, None, format!("This method cannot be used here; {allow} can.")),
        Protocol::SupportedReport(name) => {
            e(403, Bare(dav("supported-report")), format!("The report “{name}” cannot be asked for here."))
        }
        Protocol::ValidFilter(why) => e(403, Bare(caldav("valid-filter")), why.clone()),
        Protocol::SupportedFilter(why) => e(403, Bare(caldav("supported-filter")), why.clone()),
        Protocol::SupportedCollation(name) => {
            e(403, Bare(caldav("supported-collation")), format!("There is no collation “{name}” here."))
        }
        Protocol::SupportedCalendarData(why) => e(403, Bare(caldav("supported-calendar-data")), why.clone()),
        Protocol::ValidCalendarData(why) => e(403, Bare(caldav("valid-calendar-data")), why.clone()),
        Protocol::SupportedCalendarComponent(why) => {
            e(403, Bare(caldav("supported-calendar-component")), why.clone())
        }
        Protocol::MinDateTime(why) => e(403, Bare(caldav("min-date-time")), why.clone()),
        Protocol::MaxDateTime(why) => e(403, Bare(caldav("max-date-time")), why.clone()),
        Protocol::ValidResourceType(why) => e(403, Bare(dav("valid-resourcetype")), why.clone()),
        Protocol::ResourceMustBeNull => {
            e(403, Bare(dav("resource-must-be-null")), "There is something at this address already.")
        }
        Protocol::ProtectedProperty(name) => {
            let sentence = format!("The property “{name}” is set by the server alone.");
            e(403, Bare(dav("cannot-modify-protected-property")), sentence)
        }
        Protocol::Properties(limit) => {
            let sentence =
                format!("The properties of one resource may have {limit} bytes together, not more.");
            e(507, Bare(dav("quota-not-exceeded")), sentence)
        }
        Protocol::NoConflictingLock(root) => {
            e(423, With(dav("no-conflicting-lock"), root.clone()), "It is locked already.")
        }
        Protocol::LockTokenMatches => {
            let sentence = "The lock token locks something else, or nothing any more.";
            e(409, Bare(dav("lock-token-matches-request-uri")), sentence)
        }
        Protocol::OtherServer => e(502, None, "The destination is on another server."),
        Protocol::SameResource => e(403, None, "Source and destination are the same."),
        Protocol::MediaType(sent) => {
            e(415, None, format!("A body of the type “{sent}” is not understood here."))
        }
        Protocol::Range(length) => e(416, None, format!("The range lies outside of the {length} bytes.")),
        Protocol::SyncTraversal => {
            let sentence = "This collection has a sync-token of its own; sync it by itself.";
            e(403, Bare(dav("sync-traversal-supported")), sentence)
        }
        Protocol::ValidTimezone(name) => {
            e(403, Bare(caldav("valid-timezone")), format!("There is no time zone “{name}” here."))
        }
        Protocol::MatchesWithinLimits(limit) => {
            let sentence = format!("More than {limit} members match; the rest comes with the next token.");
            e(507, Bare(dav("number-of-matches-within-limits")), sentence)
        }
        Protocol::Failed => e(412, None, "A condition of the request does not hold."),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;
    use crate::store::Name as Segment;

    async fn check(denied: impl Into<Denied>, status: u16, element: &str) {
        let reply = denied.into().reply("/dav/calendars/anna/calendar/a.ics");
        assert_eq!(reply.status().as_u16(), status);
        let bytes = reply.into_body().collect().await.unwrap().to_bytes();
        let text = std::str::from_utf8(&bytes).unwrap();
        let document = roxmltree::Document::parse(text).unwrap();
        let error = document.root_element();
        assert_eq!(error.tag_name().name(), "error");
        // Thunderbird: never an empty D:error.
        assert_eq!(error.first_element_child().unwrap().tag_name().name(), element, "{text}");
        let sentence = error.last_element_child().unwrap().text().unwrap();
        assert!(sentence.len() > 10 && !sentence.contains('_'), "{sentence}");
    }

    #[tokio::test]
    async fn refusals() {
        let name = || Segment::new("b c.ics").unwrap();
        check(Refusal::Missing, 404, "responsedescription").await;
        check(Refusal::Forbidden("write-content"), 403, "need-privileges").await;
        check(Refusal::Stale, 412, "responsedescription").await;
        check(Refusal::UidTaken(name()), 409, "no-uid-conflict").await;
        check(Refusal::UidChanged { stored: "a".into(), sent: "b".into() }, 409, "no-uid-conflict").await;
        check(Refusal::WrongMediaType("text/plain".into()), 403, "supported-calendar-data").await;
        check(Refusal::TooLarge(10), 413, "max-resource-size").await;
        check(Refusal::CollectionFull(10), 507, "quota-not-exceeded").await;
        check(Refusal::QuotaExceeded(10), 507, "quota-not-exceeded").await;
        check(Refusal::DiskFull, 507, "sufficient-disk-space").await;
        check(Refusal::Exists, 405, "resource-must-be-null").await;
        check(Refusal::NoParent, 409, "responsedescription").await;
        check(Refusal::TokenExpired, 403, "valid-sync-token").await;
        check(Refusal::Locked("/dav/x".into()), 423, "lock-token-submitted").await;
        check(Refusal::Bad("The request is bad.".into()), 400, "responsedescription").await;
        check(Refusal::TooMany(10), 507, "number-of-matches-within-limits").await;
        check(Fault::Broken("secret detail".into()), 500, "responsedescription").await;
        check(Fault::Full, 507, "sufficient-disk-space").await;
        check(Protocol::FiniteDepth, 403, "propfind-finite-depth").await;
        check(Protocol::OtherServer, 502, "responsedescription").await;
    }

    // the object that has the UID is named by its canonical path.
    #[test]
    fn a_uid_conflict_names_the_other_object() {
        let denied = Denied::from(Refusal::UidTaken(Segment::new("b c.ics").unwrap()));
        let mut w = Writer::fragment();
        denied.within("/x/dav/calendars/anna/calendar").explain("/").write("", &mut w);
        let text = w.take_string();
        assert!(text.contains(">/x/dav/calendars/anna/calendar/b%20c.ics<"), "{text}");
    }

    #[test]
    fn a_method_that_is_not_there_names_those_that_are() {
        let reply = Denied::from(Protocol::Method("GET, HEAD".into())).reply("/");
        assert_eq!(reply.headers().get("allow").unwrap(), "GET, HEAD");
    }
}

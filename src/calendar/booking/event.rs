//! The event of a booking as text: made once, edited afterwards line by line.
//!
//! Owns: which properties it has and what they say. Does not own: when it is written (`book`). No mail ever follows from
//! it: attendees are SCHEDULE-AGENT=CLIENT (RFC 6638 §7.1), so that no server invites them.

use bytes::Bytes;

use super::busy::{AFTER, BEFORE, BOOKING, BUFFER_OF, EXPIRES, FOR};
use super::record::{Booking, Status};
use super::{holds, rules::Rules};
use crate::calendar::{Error, Refusal};
use crate::ical::series::{Series, TimeRange};
use crate::ical::value::{Civil, escape};
use crate::ical::zone::{Zone, by_tzid, vtimezone};
use crate::ical::{Component, Edit, Ical, fold, quote_parameter};
use crate::store::{Fault, Timestamp};

/// Two years around an event: what its VTIMEZONE has to be right for.
const AROUND: i64 = 366 * 86_400;
/// How often a series takes place at most.
const INSTANCES: usize = 100;

/// Whose calendar it is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Host<'a> {
    pub(super) name: &'a str,
    pub(super) email: Option<&'a str>,
}

/// Lines that are folded as they are added.
struct Lines(String);

impl Lines {
    fn add(&mut self, line: &str) {
        fold(line, &mut self.0);
    }

    fn all<'a>(&mut self, lines: impl IntoIterator<Item = &'a str>) {
        for line in lines {
            self.add(line);
        }
    }
}

/// Returns the text of the event of a booking as it stands.
pub(super) fn text(booking: &Booking, rules: &Rules, host: Host<'_>) -> Bytes {
    let mut out = Lines(String::with_capacity(1024));
    begin(&mut out, booking);
    out.add(&format!("UID:{}", booking.uid));
    stamps(&mut out, booking);
    out.add(&format!("SEQUENCE:{}", booking.sequence));
    let [start, end] = times(booking);
    out.all([start.as_str(), end.as_str()]);
    out.all(booking.recurrence.as_ref().map(|rule| format!("RRULE:{rule}")).as_deref());
    out.add(&summary(booking, rules));
    out.all(location(booking).as_deref());
    out.all(description(booking, rules).as_deref());
    out.add(&format!("STATUS:{}", status(booking.status)));
    out.add("TRANSP:OPAQUE");
    if rules.attendees {
        out.all(people(booking, host).iter().map(String::as_str));
    }
    out.add(&format!("{BOOKING}:{}", booking.id));
    if booking.before > 0 {
        out.add(&format!("{BEFORE}:PT{}S", booking.before));
    }
    if booking.after > 0 {
        out.add(&format!("{AFTER}:PT{}S", booking.after));
    }
    if booking.status == Status::Held {
        out.add(&format!("{FOR}:{}", booking.calendar.0));
        out.add(&format!("{EXPIRES}:{}", holds::text(booking.expires.unwrap_or_default())));
    }
    out.0.push_str("END:VEVENT\r\nEND:VCALENDAR\r\n");
    out.0.into()
}

/// Returns the texts of the events that show the buffers, before and after; of a series none are shown.
pub(super) fn buffers(booking: &Booking) -> [Option<Bytes>; 2] {
    let one = |end: &str, from: i64, to: i64| {
        (from < to && booking.recurrence.is_none()).then(|| {
            let shown = Booking { start: from, end: to, ..booking.clone() };
            let mut out = Lines(String::with_capacity(512));
            begin(&mut out, &shown);
            out.add(&format!("UID:{end}-{}", booking.uid));
            stamps(&mut out, booking);
            out.add(&format!("SEQUENCE:{}", booking.sequence));
            let [start, end] = times(&shown);
            out.all([start.as_str(), end.as_str(), "SUMMARY:Buffer", "TRANSP:OPAQUE"]);
            out.add(&format!("{BUFFER_OF}:{}", booking.id));
            out.0.push_str("END:VEVENT\r\nEND:VCALENDAR\r\n");
            out.0.into()
        })
    };
    [
        one("before", booking.start - booking.before, booking.start),
        one("after", booking.end, booking.end + booking.after),
    ]
}

fn begin(out: &mut Lines, booking: &Booking) {
    out.all(["BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:-//Kalends//Kalends//EN"]);
    out.0.push_str(&zone_text(booking).unwrap_or_default());
    out.add("BEGIN:VEVENT");
}

fn stamps(out: &mut Lines, booking: &Booking) {
    let at = |time: Timestamp| format!("{}Z", Civil(time.seconds()).to_basic());
    out.add(&format!("DTSTAMP:{}", at(booking.updated)));
    out.add(&format!("CREATED:{}", at(booking.created)));
    out.add(&format!("LAST-MODIFIED:{}", at(booking.updated)));
}

/// Returns the VTIMEZONE of the booking's zone; UTC needs none.
fn zone_text(booking: &Booking) -> Option<String> {
    let name = zone(booking)?;
    vtimezone(&name, booking.start - AROUND, booking.end + AROUND)
}

/// Returns the name of the zone that its times are written in; nothing: UTC.
fn zone(booking: &Booking) -> Option<String> {
    match by_tzid(&booking.time_zone)? {
        Zone::Iana(zone) => Some(zone.name().to_owned()),
        Zone::Utc | Zone::Fixed(_) | Zone::Custom(_) => None,
    }
}

fn times(booking: &Booking) -> [String; 2] {
    let zone = zone(booking);
    let civil = by_tzid(&booking.time_zone).filter(|_| zone.is_some()).unwrap_or(Zone::Utc);
    [("DTSTART", booking.start), ("DTEND", booking.end)].map(|(name, at)| match &zone {
        Some(tzid) => format!("{name};TZID={tzid}:{}", civil.to_civil(at).to_basic()),
        None => format!("{name}:{}Z", Civil(at).to_basic()),
    })
}

fn status(status: Status) -> &'static str {
    match status {
        Status::Held | Status::Pending => "TENTATIVE",
        Status::Confirmed | Status::NoShow => "CONFIRMED",
        Status::Cancelled | Status::Rejected | Status::Expired => "CANCELLED",
    }
}

fn summary(booking: &Booking, rules: &Rules) -> String {
    let filled = filled(&rules.title, booking);
    // Without a service its colon would be left.
    let title = filled.trim().trim_matches([':', '-', ',']).trim();
    let title = if title.is_empty() { "Booking" } else { title };
    format!("SUMMARY:{}", escape(title))
}

fn location(booking: &Booking) -> Option<String> {
    booking.location.as_ref().map(|text| format!("LOCATION:{}", escape(text)))
}

fn description(booking: &Booking, rules: &Rules) -> Option<String> {
    let filled = filled(&rules.description, booking);
    let mut lines: Vec<&str> = Vec::new();
    for line in filled.lines().map(str::trim) {
        // What was not said leaves no blank lines behind.
        if !line.is_empty() || lines.last().is_some_and(|last| !last.is_empty()) {
            lines.push(line);
        }
    }
    let text = lines.join("\n");
    let text = text.trim();
    (!text.is_empty()).then(|| format!("DESCRIPTION:{}", escape(text)))
}

/// Puts what was said of a booking in the place of names in braces (S1-018). What was said is not read for names again.
fn filled(template: &str, booking: &Booking) -> String {
    let customer = &booking.customer;
    let mut out = String::with_capacity(template.len() + 64);
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        out.push_str(before);
        let known = after.split_once('}').and_then(|(name, rest)| {
            let value = match name {
                "service" => booking.service.as_deref(),
                "name" => Some(customer.name.as_str()),
                "email" => customer.email.as_deref(),
                "phone" => customer.phone.as_deref(),
                "location" => booking.location.as_deref(),
                "notes" => booking.notes.as_deref(),
                "reference" => booking.reference.as_deref(),
                _ => return None,
            };
            Some((value.unwrap_or_default(), rest))
        });
        match known {
            Some((value, after)) => {
                out.push_str(value);
                rest = after;
            }
            None => {
                out.push('{');
                rest = after;
            }
        }
    }
    out.push_str(rest);
    out
}

/// RFC 5545 §3.8.4.3: who is invited needs somebody who invites.
fn people(booking: &Booking, host: Host<'_>) -> Vec<String> {
    let (Some(guest), Some(host_email)) = (&booking.customer.email, host.email) else { return Vec::new() };
    let line = |what: &str, more: &str, name: &str, email: &str| {
        format!("{what};SCHEDULE-AGENT=CLIENT;CN={}{more}:mailto:{}", quote_parameter(name), address(email))
    };
    vec![
        line("ORGANIZER", "", host.name, host_email),
        line("ATTENDEE", ";PARTSTAT=ACCEPTED", &booking.customer.name, guest),
    ]
}

fn address(email: &str) -> String {
    email.chars().filter(|c| !c.is_control() && !c.is_whitespace()).collect()
}

/// What of an event is written anew.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Anew {
    /// When it is.
    pub(super) times: bool,
    /// Who, what and where.
    pub(super) words: bool,
}

/// Returns the text with the booking as it stands now; all other lines stay as they are, whoever wrote them.
pub(super) fn edited(text: Bytes, booking: &Booking, rules: &Rules, anew: Anew) -> Result<Bytes, Fault> {
    let broken = || Fault::Broken("the event of a booking cannot be read".into());
    let ical = Ical::parse(text).map_err(|_| broken())?;
    let calendar = ical.calendar().ok_or_else(broken)?;
    let event = calendar.named("VEVENT").find(|event| event.property("RECURRENCE-ID").is_none());
    let event = event.ok_or_else(broken)?;
    let at = format!("{}Z", Civil(booking.updated.seconds()).to_basic());
    let mut edit = ical.edit();
    edit = set(edit, event, "DTSTAMP", Some(format!("DTSTAMP:{at}")));
    edit = set(edit, event, "LAST-MODIFIED", Some(format!("LAST-MODIFIED:{at}")));
    edit = set(edit, event, "STATUS", Some(format!("STATUS:{}", status(booking.status))));
    edit = set(edit, event, "SEQUENCE", Some(format!("SEQUENCE:{}", booking.sequence)));
    if anew.times {
        let [start, end] = times(booking);
        edit = set(edit, event, "DTSTART", Some(start));
        edit = set(edit, event, "DTEND", Some(end));
        edit = set(edit, event, "DURATION", None);
        let length = |seconds: i64| (seconds > 0).then(|| format!("PT{seconds}S"));
        edit = set(edit, event, BEFORE, length(booking.before).map(|text| format!("{BEFORE}:{text}")));
        edit = set(edit, event, AFTER, length(booking.after).map(|text| format!("{AFTER}:{text}")));
        let known = |name: &str| {
            let mut zones = calendar.named("VTIMEZONE").filter_map(|zone| zone.property("TZID"));
            zones.any(|tzid| tzid.text().trim() == name)
        };
        if let (Some(name), Some(text)) = (zone(booking), zone_text(booking))
            && !known(&name)
        {
            edit = edit.prepend_component(calendar, &text);
        }
    }
    if anew.words {
        edit = set(edit, event, "SUMMARY", Some(summary(booking, rules)));
        edit = set(edit, event, "LOCATION", location(booking));
        edit = set(edit, event, "DESCRIPTION", description(booking, rules));
    }
    Ok(edit.finish())
}

/// Returns when the text takes place.
pub(super) fn instances(text: &Bytes, floating: &Zone) -> Result<Vec<(i64, i64)>, Error> {
    let ical = Ical::parse(text.clone())?;
    let found = Series::of(&ical).instances(TimeRange::ALL, floating, INSTANCES);
    if !found.complete {
        return Err(Refusal::NotBookable("A series is booked for 100 times at most.").into());
    }
    Ok(found.list.iter().map(|instance| (instance.start, instance.end)).collect())
}

/// Returns the SEQUENCE that the text has; a client may have counted on.
pub(super) fn sequence(text: &Bytes) -> u32 {
    let Ok(ical) = Ical::parse(text.clone()) else { return 0 };
    let events = ical.calendar().map(|calendar| calendar.named("VEVENT").collect::<Vec<_>>());
    let said = events.into_iter().flatten().filter_map(|event| event.property("SEQUENCE"));
    said.filter_map(|sequence| sequence.raw().trim().parse::<u32>().ok()).max().unwrap_or(0)
}

fn set<'a>(edit: Edit<'a>, event: Component<'a>, name: &str, line: Option<String>) -> Edit<'a> {
    let mut all = event.all(name);
    match (all.next(), line) {
        (Some(property), Some(line)) => edit.replace(property, &line),
        (Some(property), None) => edit.remove(property),
        (None, Some(line)) => edit.insert(event, &line),
        (None, None) => edit,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use super::super::record::Customer;
    use super::*;
    use crate::ical::check::calendar_object;
    use crate::store::CollectionId;

    fn booking() -> Booking {
        Booking {
            id: "7".into(),
            owner: "anna".into(),
            uid: "7@bookings".into(),
            calendar: CollectionId(20),
            status: Status::Confirmed,
            start: 1_774_864_800,
            end: 1_774_868_400,
            time_zone: "Europe/Berlin".into(),
            service: Some("Haircut; short".into()),
            customer: Customer {
                name: "Eva \"Evi\" Ex\nDTSTART:20200101T000000Z".into(),
                email: Some("eva@example.org".into()),
                phone: None,
            },
            location: Some("Room 1, left".into()),
            notes: Some("{email} as said".into()),
            recurrence: None,
            before: 600,
            after: 0,
            reference: None,
            session: None,
            expires: None,
            buffer_events: true,
            outside_rules: false,
            sequence: 0,
            created: Timestamp(1_770_000_000_000),
            updated: Timestamp(1_770_000_000_000),
        }
    }

    const HOST: Host<'static> = Host { name: "Anna", email: Some("anna@example.org") };

    // S1-018, B-17: what was said is in the event, and nothing that was said becomes a line of its own.
    #[test]
    fn the_event_says_what_was_booked() {
        let rules = Rules { attendees: true, ..Rules::default() };
        let text = text(&booking(), &rules, HOST);
        let checked = calendar_object(text.clone()).unwrap();
        let text = String::from_utf8(text.to_vec()).unwrap();
        assert_eq!(checked.uid, "7@bookings");
        let event = checked.ical.calendar().unwrap().named("VEVENT").next().unwrap();
        let said = |name: &str| event.property(name).unwrap().text();
        assert_eq!(said("SUMMARY"), "Haircut; short: Eva \"Evi\" Ex\nDTSTART:20200101T000000Z");
        assert_eq!(said("LOCATION"), "Room 1, left");
        assert!(said("DESCRIPTION").ends_with("eva@example.org\n\n{email} as said"), "{text}");
        assert!(text.contains("DTSTART;TZID=Europe/Berlin:20260330T120000\r\n"), "{text}");
        assert_eq!(event.all("DTSTART").count(), 1, "{text}");
        // RFC 6638 §7.1
        for name in ["ORGANIZER", "ATTENDEE"] {
            let who = event.property(name).unwrap();
            assert_eq!(who.parameter("SCHEDULE-AGENT").as_deref(), Some("CLIENT"));
        }
        let series = Series::of(&checked.ical);
        let found = series.instances(TimeRange::ALL, &Zone::Utc, 9).list;
        assert_eq!((found[0].start, found[0].end), (1_774_864_800, 1_774_868_400));
        let alone = super::text(&booking(), &Rules::default(), HOST);
        assert!(!String::from_utf8(alone.to_vec()).unwrap().contains("ATTENDEE"));
    }

    // B-12, B-25: the same event is edited; what somebody else wrote into it stays.
    #[test]
    fn a_move_edits_the_event() {
        let rules = Rules::default();
        let before = String::from_utf8(text(&booking(), &rules, HOST).to_vec()).unwrap();
        let before = before.replace("TRANSP:OPAQUE", "X-MINE;X-P=\"a,b\":kept\r\nTRANSP:OPAQUE");
        let moved = Booking {
            start: booking().start + 7200,
            end: booking().end + 7200,
            time_zone: "Asia/Tokyo".into(),
            sequence: 1,
            after: 60,
            ..booking()
        };
        let anew = Anew { times: true, words: false };
        let after = edited(before.clone().into(), &moved, &rules, anew).unwrap();
        assert_eq!(calendar_object(after.clone()).unwrap().uid, "7@bookings");
        assert_eq!(sequence(&after), 1);
        let after = String::from_utf8(after.to_vec()).unwrap();
        assert!(after.contains("DTSTART;TZID=Asia/Tokyo:20260330T210000\r\n"), "{after}");
        assert!(after.contains("X-MINE;X-P=\"a,b\":kept\r\n"), "{after}");
        assert!(after.contains("TZID:Asia/Tokyo\r\n") && after.contains("X-KALENDS-BUFFER-AFTER:PT60S\r\n"));
        let summary = |text: &str| text.lines().find(|line| line.starts_with("SUMMARY")).unwrap().to_owned();
        assert_eq!(summary(&before), summary(&after));
        let again = edited(after.into(), &moved, &rules, anew).unwrap();
        assert_eq!(String::from_utf8(again.to_vec()).unwrap().matches("BEGIN:VTIMEZONE").count(), 2);
    }

    // B-20: buffers can be seen, by whoever reads the calendar.
    #[test]
    fn buffers_are_events_where_there_are_any() {
        let [before, after] = buffers(&booking());
        assert_eq!(after, None);
        let before = calendar_object(before.unwrap()).unwrap();
        let found = Series::of(&before.ical).instances(TimeRange::ALL, &Zone::Utc, 9).list;
        assert_eq!((found[0].start, found[0].end), (1_774_864_200, 1_774_864_800));
        assert!(found[0].busy.is_some());
    }
}

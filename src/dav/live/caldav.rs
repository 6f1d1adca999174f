//! RFC 4791 §5.2, §6.2, §7.5.1; of RFC 6638 §2.4 what describes a principal; of RFC 7809 the zone's name.
//!
//! `max-instances` is deliberately absent: a series of any length is stored, so there is no such limit to announce.
//! So is `max-attendees-per-instance`.

use super::webdav::principal_urn;
use crate::calendar::NewCollection;
use crate::dav::property::{Get, Property, Set, anything};
use crate::dav::resource::{Facts, Kinds, Resource};
use crate::dav::{Denied, Protocol, Scope};
use crate::ical::{Ical, zone};
use crate::xml::{Element, Limits, Name, Writer, caldav, dav, parse};

const fn property(local: &'static str, on: Kinds, get: Get, set: Set) -> Property {
    Property { name: caldav(local), on, allprop: false, needs: Facts::NONE, get, set }
}

pub(super) const ALL: &[Property] = &[
    // RFC 4791 §6.2.1. One href: Apple uses one and hides the rest.
    property(
        "calendar-home-set",
        Kinds::PRINCIPAL,
        Get::Inside(|_, scope, w| {
            w.leaf(&dav("href"), &scope.home_path());
            true
        }),
        Set::Protected,
    ),
    // RFC 6638 §2.4.1.
    property(
        "calendar-user-address-set",
        Kinds::PRINCIPAL,
        Get::Inside(calendar_user_address_set),
        Set::Protected,
    ),
    // RFC 6638 §2.4.2.
    property(
        "calendar-user-type",
        Kinds::PRINCIPAL,
        Get::Inside(|_, _, w| {
            w.text("INDIVIDUAL");
            true
        }),
        Set::Protected,
    ),
    // RFC 4791 §5.2.1.
    property("calendar-description", Kinds::CALENDAR, Get::Stored, Set::Stored(anything)),
    // RFC 4791 §5.2.2.
    property(
        "calendar-timezone",
        Kinds::CALENDAR,
        Get::StoredOr(|r, scope, w| timezone(r, scope).map(|text| w.text(&text)).is_some()),
        Set::Instead(valid_timezone, caldav("calendar-timezone-id")),
    ),
    // RFC 7809 §5.2: the two always name the same zone.
    property(
        "calendar-timezone-id",
        Kinds::CALENDAR,
        Get::StoredOr(|r, _, w| timezone_id(r).map(|id| w.text(&id)).is_some()),
        Set::Instead(valid_timezone_id, caldav("calendar-timezone")),
    ),
    // RFC 4791 §5.2.3.
    property(
        "supported-calendar-component-set",
        Kinds::CALENDAR,
        Get::Inside(supported_calendar_component_set),
        Set::AtCreation(choose_components),
    ),
    // CalendarServer: which of those sets a new calendar of this home may have.
    property(
        "supported-calendar-component-sets",
        Kinds::HOME,
        Get::Inside(supported_calendar_component_sets),
        Set::Protected,
    ),
    // RFC 4791 §5.2.4.
    property(
        "supported-calendar-data",
        Kinds::CALENDAR,
        Get::Inside(|_, _, w| {
            w.empty_with(&caldav("calendar-data"), &[("content-type", "text/calendar"), ("version", "2.0")]);
            true
        }),
        Set::Protected,
    ),
    // RFC 4791 §5.2.5.
    property(
        "max-resource-size",
        Kinds::HOME.or(Kinds::CALENDAR),
        Get::Inside(|_, scope, w| {
            w.number(scope.session.house.limits.object_size);
            true
        }),
        Set::Protected,
    ),
    // RFC 4791 §5.2.6.
    property(
        "min-date-time",
        Kinds::CALENDAR,
        Get::Inside(|_, _, w| {
            w.text("00010101T000000Z");
            true
        }),
        Set::Protected,
    ),
    // RFC 4791 §5.2.7.
    property(
        "max-date-time",
        Kinds::CALENDAR,
        Get::Inside(|_, _, w| {
            w.text("99991231T235959Z");
            true
        }),
        Set::Protected,
    ),
    // RFC 4791 §7.5.1.
    property(
        "supported-collation-set",
        Kinds::HOME.or(Kinds::CALENDAR),
        Get::Inside(|_, _, w| {
            for collation in ["i;ascii-casemap", "i;octet", "i;unicode-casemap"] {
                w.leaf(&caldav("supported-collation"), collation);
            }
            true
        }),
        Set::Protected,
    ),
];

/// older Thunderbird and most clients take the last address, newer Thunderbird the first, Apple the one that is
/// marked; so the preferred one is first and last.
fn calendar_user_address_set(_: &Resource, scope: &Scope, w: &mut Writer) -> bool {
    let href = dav("href");
    let emails = &scope.session.principal.emails;
    for email in emails {
        w.leaf(&href, &mailto(email));
    }
    w.leaf(&href, &scope.principal_path());
    w.leaf(&href, &principal_urn(scope));
    if let Some(preferred) = emails.first() {
        w.open_with(&href, &[("preferred", "1")]);
        w.text(&mailto(preferred));
        w.close();
    }
    true
}

fn mailto(email: &str) -> String {
    format!("mailto:{email}")
}

const DEFAULT_COMPONENTS: [&str; 3] = ["VEVENT", "VTODO", "VJOURNAL"];

fn component(name: &str, w: &mut Writer) {
    w.empty_with(&caldav("comp"), &[("name", name)]);
}

fn supported_calendar_component_set(r: &Resource, _: &Scope, w: &mut Writer) -> bool {
    let Some(at) = r.collection() else { return false };
    let own = &at.collection().components;
    match own.is_empty() {
        true => DEFAULT_COMPONENTS.iter().for_each(|name| component(name, w)),
        false => own.iter().for_each(|name| component(name, w)),
    }
    true
}

fn supported_calendar_component_sets(_: &Resource, _: &Scope, w: &mut Writer) -> bool {
    const SET: Name = caldav("supported-calendar-component-set");
    for name in DEFAULT_COMPONENTS {
        w.open(&SET);
        component(name, w);
        w.close();
    }
    w.open(&SET);
    DEFAULT_COMPONENTS.iter().for_each(|name| component(name, w));
    w.close();
    true
}

/// RFC 4791 §5.3.1: decided when the calendar is made; types that nobody can store are left out.
fn choose_components(element: &Element, new: &mut NewCollection) -> Result<(), Denied> {
    let mut chosen: Vec<String> = Vec::new();
    for name in element.elements().filter(|e| e.name == caldav("comp")).filter_map(|e| e.attribute("name")) {
        let name = name.to_ascii_uppercase();
        let known = DEFAULT_COMPONENTS.contains(&name.as_str()) || name == "VFREEBUSY";
        if known && !chosen.contains(&name) {
            chosen.push(name);
        }
    }
    if chosen.is_empty() {
        let why = "None of the component types can be stored; VEVENT, VTODO and VJOURNAL can.";
        return Err(Protocol::SupportedCalendarComponent(why.into()).into());
    }
    new.components = chosen;
    Ok(())
}

/// RFC 4791 §5.2.2: an iCalendar object with exactly one VTIMEZONE.
fn valid_timezone(element: &Element) -> Result<(), Denied> {
    check_timezone(&element.text()).map_err(|why| Protocol::ValidCalendarData(why.to_owned()).into())
}

fn check_timezone(text: &str) -> Result<(), &'static str> {
    let Ok(ical) = Ical::parse(text.trim_start().to_owned()) else {
        return Err("A calendar-timezone must be iCalendar text.");
    };
    let mut roots = ical.roots();
    let (Some(calendar), None) = (roots.next(), roots.next()) else {
        return Err("A calendar-timezone must be one VCALENDAR.");
    };
    if calendar.name() != "VCALENDAR" {
        return Err("A calendar-timezone must be one VCALENDAR.");
    }
    let mut inside = calendar.components();
    match (inside.next(), inside.next()) {
        (Some(zone), None) if zone.name() == "VTIMEZONE" => Ok(()),
        _ => Err("A calendar-timezone must hold one VTIMEZONE and nothing else."),
    }
}

/// RFC 7809 §5.2, §7.1 (CALDAV:valid-timezone).
fn valid_timezone_id(element: &Element) -> Result<(), Denied> {
    let id = element.text();
    match zone::by_tzid(id.trim()) {
        Some(_) => Ok(()),
        None => Err(Protocol::ValidTimezone(id.trim().to_owned()).into()),
    }
}

/// Returns the TZID of the VTIMEZONE that a client has set.
fn timezone_id(r: &Resource) -> Option<String> {
    let text = stored_text(r, "calendar-timezone")?;
    let ical = Ical::parse(text.trim_start().to_owned()).ok()?;
    let zone = ical.calendar()?.named("VTIMEZONE").next()?;
    Some(zone.property("TZID")?.text().trim().to_owned())
}

/// Returns a VTIMEZONE for the zone that a client has named, good for the years around now.
fn timezone(r: &Resource, scope: &Scope) -> Option<String> {
    const YEARS: i64 = 10 * 366 * 86_400;
    let id = stored_text(r, "calendar-timezone-id")?;
    let now = scope.session.house.clock.now().seconds();
    let zone = zone::vtimezone(id.trim(), now - YEARS, now + YEARS)?;
    Some(format!(
        "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//Kalends//EN\r\n{}\r\nEND:VCALENDAR\r\n",
        zone.trim_end()
    ))
}

fn stored_text(r: &Resource, local: &str) -> Option<String> {
    let xml = r.stored(crate::xml::CALDAV, local)?;
    Some(parse(xml.as_bytes(), Limits::default()).ok()?.text())
}

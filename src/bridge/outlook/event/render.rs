//! An event → our text, always the same for the same event.

use std::fmt::Write;

use bytes::Bytes;

use super::{Importance, Item, Sensitivity, ShowAs, Whole};
use crate::ical::fold;
use crate::ical::value::{Civil, DAY, escape};
use crate::ical::zone::{Zone, vtimezone};

/// A day of the week is called for by nobody after this: definitions of zones reach from an event's start to here.
const YEARS: i64 = 10 * 366 * DAY;

/// Returns the text of an event.
pub(in crate::bridge::outlook) fn render(whole: &Whole) -> Bytes {
    let mut out = String::with_capacity(1024);
    for head in ["BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:-//Kalends//Outlook//EN"] {
        fold(head, &mut out);
    }
    zones(whole, &mut out);
    component(whole, None, &whole.master, &mut out);
    for (day, item) in &whole.exceptions {
        component(whole, Some(*day), item, &mut out);
    }
    fold("END:VCALENDAR", &mut out);
    Bytes::from(out)
}

/// A VTIMEZONE for each zone that is named, in the order of their names.
fn zones(whole: &Whole, out: &mut String) {
    let items = || std::iter::once(&whole.master).chain(whole.exceptions.values());
    let from = items().map(|item| item.start.at).min().unwrap_or_default();
    let to = items().map(|item| item.end.at).max().unwrap_or_default();
    let times = items().filter(|item| !item.all_day).flat_map(|item| [&item.start.zone, &item.end.zone]);
    let mut names: Vec<&str> =
        times.filter(|zone| !matches!(zone, Zone::Utc)).filter_map(Zone::name).collect();
    names.sort_unstable();
    names.dedup();
    for name in names {
        out.push_str(&vtimezone(name, from - DAY, to.max(from + YEARS)).unwrap_or_default());
    }
}

fn component(whole: &Whole, day: Option<Civil>, item: &Item, out: &mut String) {
    let mut line = |text: &str| fold(text, out);
    line("BEGIN:VEVENT");
    line(&format!("UID:{}", escape(&whole.uid)));
    let stamp = |at: i64| format!("{}Z", Civil(at).to_basic());
    let told = &item.told;
    line(&format!("DTSTAMP:{}", stamp(told.modified.or(told.created).unwrap_or_default())));
    for (name, at) in [("CREATED", told.created), ("LAST-MODIFIED", told.modified)] {
        if let Some(at) = at {
            line(&format!("{name}:{}", stamp(at)));
        }
    }
    let master = &whole.master;
    if let Some(day) = day {
        line(&time("RECURRENCE-ID", whole.original(day), &master.start.zone, master.all_day));
    }
    line(&time("DTSTART", item.start.civil(), &item.start.zone, item.all_day));
    line(&time("DTEND", item.end.civil(), &item.end.zone, item.all_day));
    if let Some(recurrence) = &item.recurrence {
        line(&format!("RRULE:{}", recurrence.rule(item.start.civil(), &item.start.zone, item.all_day)));
    }
    if day.is_none() {
        for day in &whole.cancelled {
            line(&time("EXDATE", whole.original(*day), &master.start.zone, master.all_day));
        }
    }
    content(item, &mut line);
    line("END:VEVENT");
}

fn content(item: &Item, line: &mut impl FnMut(&str)) {
    line(&format!("SUMMARY:{}", escape(&item.subject)));
    if !item.body.is_empty() {
        line(&format!("DESCRIPTION:{}", escape(&item.body)));
    }
    if !item.location.is_empty() {
        line(&format!("LOCATION:{}", escape(&item.location)));
    }
    if let Some((latitude, longitude)) = item.geo {
        line(&format!("GEO:{latitude};{longitude}"));
    }
    if !item.categories.is_empty() {
        let all: Vec<String> = item.categories.iter().map(|c| escape(c)).collect();
        line(&format!("CATEGORIES:{}", all.join(",")));
    }
    let told = &item.told;
    match (told.cancelled, item.show_as) {
        (true, _) => line("STATUS:CANCELLED"),
        (false, ShowAs::Tentative) => line("STATUS:TENTATIVE"),
        _ => {}
    }
    let (transparent, busy) = match item.show_as {
        ShowAs::Free => (true, None),
        ShowAs::Busy => (false, None),
        ShowAs::Tentative => (false, Some("TENTATIVE")),
        ShowAs::Oof => (false, Some("OOF")),
        ShowAs::WorkingElsewhere => (true, Some("WORKINGELSEWHERE")),
    };
    if transparent {
        line("TRANSP:TRANSPARENT");
    }
    if let Some(busy) = busy {
        line(&format!("X-MICROSOFT-CDO-BUSYSTATUS:{busy}"));
    }
    match item.sensitivity {
        Sensitivity::Normal => {}
        Sensitivity::Private => line("CLASS:PRIVATE"),
        Sensitivity::Confidential => line("CLASS:CONFIDENTIAL"),
    }
    match item.importance {
        Importance::Normal => {}
        Importance::High => line("PRIORITY:1"),
        Importance::Low => line("PRIORITY:9"),
    }
    told.people.iter().for_each(|person| line(person));
    if let Some(url) = &told.conference {
        line(&format!("CONFERENCE;VALUE=URI:{url}"));
    }
    if let Some(url) = &told.link {
        line(&format!("URL:{url}"));
    }
    if let Some(minutes) = item.reminder {
        line("BEGIN:VALARM");
        line("ACTION:DISPLAY");
        line("DESCRIPTION:Reminder");
        line(&if minutes == 0 { "TRIGGER:PT0S".to_owned() } else { format!("TRIGGER:-PT{minutes}M") });
        line("END:VALARM");
    }
}

fn time(name: &str, civil: Civil, zone: &Zone, all_day: bool) -> String {
    let mut text = String::from(name);
    // Writing to a String cannot fail.
    let _ = match (all_day, zone, zone.name()) {
        (true, ..) => write!(text, ";VALUE=DATE:{}", civil.to_date()),
        (false, Zone::Utc, _) | (false, _, None) => {
            write!(text, ":{}Z", Civil(zone.to_instant(civil)).to_basic())
        }
        (false, _, Some(zone)) => write!(text, ";TZID={}:{}", zone, civil.to_basic()),
    };
    text
}

//! An event → the JSON that Outlook is sent.
//!
//! Attendees are never sent: Outlook mails each of them, and there is no way to ask it not to.

use serde_json::{Map, Value, json};

use super::{Importance, Item, Sensitivity, ShowAs, When};
use crate::bridge::outlook::recurrence::dashed;
use crate::bridge::outlook::{body, zone};
use crate::ical::value::Civil;

/// If one of the former differs, all the latter are sent: the service judges them together.
const TOGETHER: [(&[&str], &[&str]); 3] = [
    (&["start", "end", "isAllDay"], &["start", "end", "isAllDay"]),
    (&["isReminderOn", "reminderMinutesBeforeStart"], &["isReminderOn", "reminderMinutesBeforeStart"]),
    // The rule's range begins on the day of the start.
    (&["recurrence", "start", "isAllDay"], &["recurrence", "start", "end", "isAllDay"]),
];

/// Returns all members of an event.
pub(in crate::bridge::outlook) fn members(item: &Item) -> Map<String, Value> {
    let mut all = Map::new();
    let mut put = |name: &str, value: Value| all.insert(name.to_owned(), value);
    put("subject", json!(item.subject));
    put(
        "body",
        match body::needs_page(&item.body) {
            true => json!({"contentType": "html", "content": body::page_of(&item.body)}),
            false => json!({"contentType": "text", "content": item.body}),
        },
    );
    put("start", time(&item.start, item.all_day));
    put("end", time(&item.end, item.all_day));
    put("isAllDay", json!(item.all_day));
    put(
        "location",
        match item.geo {
            Some((latitude, longitude)) => json!({
                "displayName": item.location, "coordinates": {"latitude": latitude, "longitude": longitude},
            }),
            None => json!({"displayName": item.location}),
        },
    );
    let show_as = ShowAs::WORDS.iter().find(|(s, _)| *s == item.show_as).map_or("busy", |(_, word)| word);
    put("showAs", json!(show_as));
    put(
        "sensitivity",
        json!(match item.sensitivity {
            Sensitivity::Normal => "normal",
            Sensitivity::Private => "private",
            Sensitivity::Confidential => "confidential",
        }),
    );
    put(
        "importance",
        json!(match item.importance {
            Importance::Low => "low",
            Importance::Normal => "normal",
            Importance::High => "high",
        }),
    );
    put("categories", json!(item.categories));
    // A reminder is on unless it is said to be off.
    put("isReminderOn", json!(item.reminder.is_some()));
    put("reminderMinutesBeforeStart", json!(item.reminder.unwrap_or(15)));
    put(
        "recurrence",
        match &item.recurrence {
            Some(recurrence) => {
                let zone = if item.all_day { "UTC" } else { zone::name(&item.start.zone, item.start.at) };
                recurrence.to_json(item.start.civil(), zone)
            }
            None => Value::Null,
        },
    );
    all
}

/// Returns the members that differ from what is there, with those that belong to them.
pub(in crate::bridge::outlook) fn difference(item: &Item, there: &Item) -> Map<String, Value> {
    let (new, old) = (members(item), members(there));
    let differs = |name: &str| new.get(name) != old.get(name);
    let mut names: Vec<&str> = new.keys().map(String::as_str).filter(|name| differs(name)).collect();
    let mut more: Vec<&str> = Vec::new();
    for (causes, together) in TOGETHER {
        if names.iter().any(|name| causes.contains(name)) {
            more.extend(together.iter().copied());
        }
    }
    // A series that moves takes its rule along; nothing is said of a rule where there is none.
    if new.get("recurrence") == Some(&Value::Null) && old.get("recurrence") == Some(&Value::Null) {
        more.retain(|name| *name != "recurrence");
    }
    names.extend(more);
    new.iter()
        .filter(|(name, _)| names.contains(&name.as_str()))
        .map(|(n, v)| (n.clone(), v.clone()))
        .collect()
}

fn time(when: &When, all_day: bool) -> Value {
    let civil = when.civil();
    let (hour, minute, second) = civil.time();
    let zone = if all_day { "UTC" } else { zone::name(&when.zone, when.at) };
    json!({
        "dateTime": format!("{}T{hour:02}:{minute:02}:{second:02}", dashed(civil)),
        "timeZone": zone,
    })
}

/// Returns an instant as Graph writes it in addresses.
pub(in crate::bridge::outlook) fn utc(at: i64) -> String {
    let civil = Civil(at);
    let (hour, minute, second) = civil.time();
    format!("{}T{hour:02}:{minute:02}:{second:02}Z", dashed(civil))
}

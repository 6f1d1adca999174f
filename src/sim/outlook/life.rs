//! What happens in a mailbox without anybody of ours.
//!
//! Owns: events that look like those of people. Does not own: the mailbox.

use serde_json::{Map, Value, json};

use super::view::set;
use super::{event, times};
use crate::ical::value::{Civil, DAY};
use crate::sim::Dice;

/// Days before and after the present in which events are made.
const AROUND: u64 = 180;

/// Returns the body of a POST that makes an event around `now` (seconds since 1970).
pub(super) fn event(dice: &Dice, now: i64, number: u64) -> Map<String, Value> {
    let away = i64::try_from(dice.below(2 * AROUND)).unwrap_or(0) - i64::try_from(AROUND).unwrap_or(0);
    let day = now.div_euclid(DAY) + away;
    let hour = i64::try_from(8 + dice.below(10)).unwrap_or(8);
    let at = |day: i64, hour: i64, zone: &str| json!({ "dateTime": times::written(Civil(day * DAY + hour * 3600)), "timeZone": zone });
    let zone = ["W. Europe Standard Time", "UTC", "Eastern Standard Time"];
    let zone = usize::try_from(dice.below(3)).ok().and_then(|at| zone.get(at)).copied().unwrap_or("UTC");
    let mut body = json!({
        "subject": format!("Event {number}"), "location": { "displayName": format!("Room {}", dice.below(40)) },
        "body": { "contentType": "text", "content": format!("What it is about: {}", dice.word(12)) },
        "start": at(day, hour, zone), "end": at(day, hour + 1, zone),
    });
    match dice.below(10) {
        0 => {
            set(&mut body, "isAllDay", json!(true));
            set(&mut body, "start", at(day, 0, zone));
            set(&mut body, "end", at(day + 1, 0, zone));
        }
        1 => {
            let count = 2 + dice.below(12);
            let start = times::day_text(day);
            set(
                &mut body,
                "recurrence",
                json!({
                    "pattern": { "type": "daily", "interval": 7 },
                    "range": { "type": "numbered", "startDate": start, "numberOfOccurrences": count },
                }),
            );
        }
        _ => {}
    }
    // What is made here is always right.
    event::read(Some(body)).unwrap_or_default()
}

//! Events that nobody had to write: a calendar to begin with, and changes by themselves.
//!
//! Owns: which events there are for a seed. Does not own: how they are kept (`write`).

use serde_json::{Value, json};

use super::state::{Fields, PERSON, State};
use super::time::{self, DAY};
use super::write::Manner;
use crate::ical::zone::Zone;
use crate::sim::Dice;

const TITLES: &[&str] = &[
    "Coffee with Ben",
    "Dentist",
    "Team meeting",
    "Choir",
    "Parents' evening",
    "Swimming",
    "Project review",
    "Lunch with Mira",
    "Train to Bern",
    "Haircut",
    "Book club",
    "Piano lesson",
    "Planning",
    "Bicycle repair",
    "Football",
    "Call with the bank",
];
const PLACES: &[&str] = &["", "Office", "Room 2", "Café am Markt", "At home", "Station", "Town hall"];
const RULES: &[&str] = &[
    "RRULE:FREQ=WEEKLY",
    "RRULE:FREQ=DAILY;COUNT=10",
    "RRULE:FREQ=WEEKLY;BYDAY=MO,WE",
    "RRULE:FREQ=MONTHLY",
    "RRULE:FREQ=YEARLY",
];

fn pick<'a>(dice: &Dice, from: &[&'a str]) -> &'a str {
    usize::try_from(dice.below(from.len() as u64)).ok().and_then(|at| from.get(at).copied()).unwrap_or("")
}

/// Returns an event that a person might have, around a day.
pub(super) fn event(dice: &Dice, around: i64, number: u64) -> Fields {
    let day = (around.div_euclid(DAY) + i64::try_from(dice.below(360)).unwrap_or(0) - 120) * DAY;
    let mut fields = Fields::new();
    fields.insert("summary".into(), json!(format!("{} {number}", pick(dice, TITLES))));
    if dice.below(10) == 0 {
        let days = 1 + i64::try_from(dice.below(3)).unwrap_or(0);
        let date = |at: i64| json!({ "date": time::rfc3339(at, &Zone::Utc).get(..10) });
        fields.insert("start".into(), date(day));
        fields.insert("end".into(), date(day + days * DAY));
    } else {
        let start = day + 7 * 3600 + i64::try_from(dice.below(40)).unwrap_or(0) * 900;
        let end = start + 900 * (1 + i64::try_from(dice.below(8)).unwrap_or(0));
        let moment =
            |at: i64| json!({ "dateTime": time::rfc3339(at, &Zone::Utc), "timeZone": "Europe/Zurich" });
        fields.insert("start".into(), moment(start));
        fields.insert("end".into(), moment(end));
    }
    if dice.below(12) == 0 {
        fields.insert("recurrence".into(), json!([pick(dice, RULES)]));
    }
    let place = pick(dice, PLACES);
    if !place.is_empty() {
        fields.insert("location".into(), json!(place));
    }
    if dice.below(4) == 0 {
        fields.insert("description".into(), json!("Bring the papers.\nAsk for the key."));
    }
    if dice.below(6) == 0 {
        fields.insert("colorId".into(), json!((1 + dice.below(11)).to_string()));
    }
    if dice.below(6) == 0 {
        let overrides = json!([{ "method": "popup", "minutes": 15 }]);
        fields.insert("reminders".into(), json!({ "useDefault": false, "overrides": overrides }));
    }
    fields
}

/// Something happens in a calendar: an event is made, changed, moved or deleted. Returns what, for people.
pub(super) fn happen(state: &mut State, calendar: &str, dice: &Dice, now: i64) -> Result<Value, String> {
    let manner = Manner { now, ..Manner::default() };
    let events: Vec<(String, String)> = state
        .calendar(calendar)
        .map_err(|_| "there is no such calendar")?
        .events
        .iter()
        .filter(|(_, kept)| !kept.cancelled())
        .map(|(id, kept)| (id.clone(), kept.text("summary").to_owned()))
        .collect();
    let chosen = usize::try_from(dice.below(events.len() as u64)).ok().and_then(|at| events.get(at));
    let refused = |refusal| format!("{refusal:?}");
    match (dice.below(4), chosen) {
        (0, Some((id, title))) if events.len() > 3 => {
            state.delete(calendar, id, &manner).map_err(refused)?;
            Ok(json!({ "deleted": id, "title": title }))
        }
        (1 | 2, Some((id, title))) => {
            let place = format!("Room {}", 1 + dice.below(20));
            let mut patch = Fields::new();
            patch.insert("location".into(), json!(place));
            state.patch(calendar, id, patch, &manner).map_err(refused)?;
            Ok(json!({ "changed": id, "title": title }))
        }
        _ => {
            let number = state.next();
            let id = state
                .insert(calendar, event(dice, now.div_euclid(1000), number), &manner)
                .map_err(refused)?;
            Ok(json!({ "made": id }))
        }
    }
}

/// Makes the calendars that an account has.
pub(super) fn furnish(state: &mut State) {
    let entry = |value: Value| value.as_object().cloned().unwrap_or_default();
    state.add_calendar(
        PERSON,
        entry(json!({ "summary": PERSON, "timeZone": "Europe/Zurich", "primary": true, "colorId": "14",
            "defaultReminders": [{ "method": "popup", "minutes": 10 }] })),
    );
    state.add_calendar(
        "team@group.calendar.google.com",
        entry(
            json!({ "summary": "Team", "timeZone": "Europe/Zurich", "accessRole": "writer", "colorId": "7",
            "backgroundColor": "#42d692" }),
        ),
    );
    let holidays = "en.ch#holiday@group.v.calendar.google.com";
    state.add_calendar(
        holidays,
        entry(
            json!({ "summary": "Holidays in Switzerland", "timeZone": "Europe/Zurich", "accessRole": "reader",
            "colorId": "8", "backgroundColor": "#16a765" }),
        ),
    );
    if let Some(calendar) = state.calendars.get_mut(holidays) {
        calendar.silent = true;
    }
}

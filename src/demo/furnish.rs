//! Furnishes a demo: an account, its year, connected accounts, mappings, bookings, one conflict.
//!
//! Owns: what there is when somebody comes. Everything goes the way that people and programs go: over CalDAV and the JSON API.
//! Does not own: what the year holds (`year`), what happens afterwards (`trickle`).

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde_json::{Value, json};

use super::caller::{Caller, items, text};
use super::far::{CHOIR, DEMO, Far, Kind, Plan, dashed, instant, today};
use super::year::{DISPUTED, Piece, ZONE};
use crate::ical::value::{Civil, DAY};

/// Objects that are stored at the same time.
const AT_ONCE: usize = 8;
/// The address that the published feed has.
pub(super) const SLUG: &str = "demo-free-busy";

/// Calendars that are made: name, what people see, colour. The account has `calendar` and `tasks` already.
const CALENDARS: [(&str, &str, &str); 5] = [
    ("work", "Work", "#3366cc"),
    ("family", "Family", "#e67c73"),
    (CHOIR, "Choir", "#8e24aa"),
    ("holidays", "Holidays", "#7cb342"),
    ("appointments", "Appointments", "#f4b400"),
];

/// Which calendar is kept in step with which far side, which way, and who wins.
const MAPPINGS: [(Kind, &str, &str, &str); 4] = [
    (Kind::Google, "calendar", "both", "newest"),
    (Kind::Outlook, "work", "both", "ask"),
    (Kind::Caldav, CHOIR, "pull", "external"),
    (Kind::Cozi, "family", "push", "local"),
];

/// What somebody can be told of when all is there.
#[derive(Debug)]
pub(super) struct Furnished {
    /// The ids of calendars by their names.
    pub(super) calendars: BTreeMap<String, String>,
    /// The UID of the event with a conflict.
    pub(super) uid: String,
    /// A time that can be booked.
    pub(super) slot: String,
    /// The days between which free times are asked for.
    pub(super) between: (String, String),
    /// The published feed.
    pub(super) feed: String,
}

/// Furnishes the account that the caller speaks for. `told` hears how far it is.
pub(super) async fn furnish(
    caller: &Caller,
    fars: &[Arc<Far>],
    year: Vec<Piece>,
    now: i64,
    told: &(dyn Fn(&str) + Send + Sync),
) -> Result<Furnished, String> {
    let calendars = calendars(caller).await?;
    let uid = year.iter().find(|piece| piece.title == DISPUTED).map(|piece| piece.uid.clone());
    let uid = uid.ok_or("the year lacks an event")?;
    fill(caller, fars, year).await?;
    told("a year of events and tasks");
    let day = today(now);
    for far in fars {
        for plan in beginnings(far.kind, day) {
            far.make(&plan)?;
        }
    }
    let mut mappings = BTreeMap::new();
    for far in fars {
        let connection = connect(caller, far).await?;
        mappings.insert(far.kind, map(caller, far.kind, &connection, &calendars).await?);
        told(&format!("{} connected", far.kind.name()));
    }
    for mapping in mappings.values() {
        carried(caller, mapping).await?;
    }
    told("everything carried over for the first time");
    let (between, slot) = bookings(caller, &calendars, day).await?;
    let outlook = fars.iter().find(|far| far.kind == Kind::Outlook).zip(mappings.get(&Kind::Outlook));
    let (outlook, mapping) = outlook.ok_or("Outlook is missing")?;
    let work = calendars.get("work").map(String::as_str).unwrap_or_default();
    quarrel(caller, outlook, mapping, work, &uid).await?;
    told("one conflict, made by both sides");
    let published: Vec<&String> =
        ["calendar", "work"].iter().filter_map(|name| calendars.get(*name)).collect();
    let wish = json!({ "calendars": published, "name": "When demo is busy", "scope": "busy", "slug": SLUG });
    let feed = text(&caller.post("/feeds", wish).await?, "/url")?;
    Ok(Furnished { calendars, uid, slot, between, feed })
}

/// Makes the calendars. Returns the ids of all by their names.
async fn calendars(caller: &Caller) -> Result<BTreeMap<String, String>, String> {
    for (name, shown, color) in CALENDARS {
        let wish = json!({ "name": name, "display_name": shown, "color": color, "components": ["VEVENT"] });
        caller.post("/calendars", wish).await?;
    }
    let mut ids = BTreeMap::new();
    for calendar in items(&caller.get("/calendars").await?) {
        ids.insert(text(calendar, "/name")?, text(calendar, "/id")?);
    }
    let own = ids.get("calendar").ok_or("the account has no calendar")?;
    let dress = json!({ "display_name": "Private", "color": "#0b8043" });
    caller.api("PATCH", &format!("/calendars/{own}"), Some(dress)).await?;
    Ok(ids)
}

/// Stores the year: what is on the far side there, the rest here.
async fn fill(caller: &Caller, fars: &[Arc<Far>], year: Vec<Piece>) -> Result<(), String> {
    let (there, here): (Vec<Piece>, Vec<Piece>) = year.into_iter().partition(|piece| piece.calendar == CHOIR);
    let upstream = fars.iter().find(|far| far.kind == Kind::Caldav).ok_or("the CalDAV server is missing")?;
    for piece in there {
        upstream.store(&format!("{}.ics", piece.uid), &piece.text)?;
    }
    let path = |piece: &Piece| format!("/dav/calendars/{DEMO}/{}/{}.ics", piece.calendar, piece.uid);
    let all = stream::iter(
        here.into_iter().map(|piece| async move { caller.put(&path(&piece), piece.text).await }),
    );
    all.buffer_unordered(AT_ONCE).try_collect::<Vec<()>>().await.map(drop)
}

/// What stands in the calendars over there before anybody is connected.
fn beginnings(kind: Kind, today: i64) -> Vec<Plan> {
    let all: &[(&str, &str, i64, i64)] = match kind {
        Kind::Google => &[
            ("Flat inspection", "At home", 4, 8),
            ("Dinner with the neighbours", "At home", 7, 19),
            ("Car service", "Garage Huber", 13, 7),
            ("Opera", "Opera house", 26, 19),
        ],
        Kind::Outlook => &[
            ("Steering committee", "Room 1", 5, 11),
            ("Audit, first day", "Office", 12, 9),
            ("Summer party: planning", "Canteen", 15, 16),
        ],
        Kind::Caldav => &[],
        Kind::Cozi => &[("Pick up the cake", "Bakery", 6, 9), ("Movie night", "At home", 8, 18)],
    };
    let plan = |&(title, place, ahead, hour): &(&str, &str, i64, i64)| Plan {
        name: String::new(),
        title: title.into(),
        place: place.into(),
        start: Civil((today + ahead) * DAY + hour * 3600),
        minutes: 60,
    };
    all.iter().map(plan).collect()
}

/// Connects an account as its owner does. Returns the connection's id.
async fn connect(caller: &Caller, far: &Far) -> Result<String, String> {
    let made = match far.kind {
        Kind::Google => caller.consent("/connections/google").await?,
        Kind::Outlook => caller.consent("/connections/outlook").await?,
        Kind::Caldav => {
            let wish = json!({ "url": format!("{}/", far.url()), "username": DEMO, "password": DEMO });
            caller.post("/connections/caldav", wish).await?
        }
        Kind::Cozi => caller.post("/connections/cozi", json!({ "username": DEMO, "password": DEMO })).await?,
    };
    text(&made, "/id")
}

/// Maps a calendar to the account's. Returns the mapping's id.
async fn map(
    caller: &Caller,
    kind: Kind,
    connection: &str,
    calendars: &BTreeMap<String, String>,
) -> Result<String, String> {
    let settled = MAPPINGS.iter().find(|settled| settled.0 == kind);
    let (_, calendar, direction, policy) = settled.ok_or("nothing is settled for this far side")?;
    let there = caller.get(&format!("/connections/{connection}/calendars")).await?;
    let main = |found: &&Value| match kind {
        Kind::Caldav => text(found, "/id").is_ok_and(|id| id.trim_end_matches('/').ends_with(CHOIR)),
        _ => found.get("primary") == Some(&Value::Bool(true)),
    };
    let remote = items(&there).iter().find(main).or_else(|| items(&there).first());
    let remote = text(remote.ok_or("the account has no calendar")?, "/id")?;
    let here = calendars.get(*calendar).ok_or("a calendar is missing")?;
    let wish = json!({ "calendar": here, "connection": connection, "remote_calendar": remote,
        "direction": direction, "conflict_policy": policy });
    text(&caller.post("/mappings", wish).await?, "/id")
}

/// Waits until the first pass of a mapping is over.
async fn carried(caller: &Caller, mapping: &str) -> Result<(), String> {
    let over = |mapping: &Value| {
        let busy =
            matches!(mapping.get("status").and_then(Value::as_str), Some("pending" | "syncing") | None);
        !busy && mapping.get("last_run").is_some_and(Value::is_string)
    };
    let mapping = caller.until(&format!("/mappings/{mapping}"), "a first sync", over).await?;
    match mapping.get("status").and_then(Value::as_str) {
        Some("active") => Ok(()),
        _ => Err(format!("a first sync failed: {mapping}")),
    }
}

/// Says when people may be booked, and books somebody. Returns between which days there are free times, and one of them.
async fn bookings(
    caller: &Caller,
    calendars: &BTreeMap<String, String>,
    today: i64,
) -> Result<((String, String), String), String> {
    let counting: Vec<&String> = ["calendar", "work", "family", "appointments"]
        .iter()
        .filter_map(|name| calendars.get(*name))
        .collect();
    let hours = json!([{ "from": "09:00", "to": "12:00" }, { "from": "13:30", "to": "17:30" }]);
    let short = json!([{ "from": "09:00", "to": "12:00" }]);
    let settings = json!({
        "calendars": counting, "write_calendar": calendars.get("appointments"), "time_zone": ZONE,
        "hours": { "time_zone": ZONE,
            "weekly": { "mon": hours, "tue": hours, "wed": hours, "thu": hours, "fri": short } },
        "step": "PT30M", "minimum_notice": "PT2H", "horizon": "P60D", "buffer_after": "PT10M",
    });
    caller.api("PATCH", "/booking-settings", Some(settings)).await?;
    let between = (instant(Civil((today + 14) * DAY)), instant(Civil((today + 21) * DAY)));
    for (ahead, service, name) in [
        (2, "Consultation", "Eva Example"),
        (5, "First talk", "Jo Example"),
        (14, "Consultation", "Kim Example"),
    ] {
        let (from, to) = (instant(Civil((today + ahead) * DAY)), instant(Civil((today + ahead + 7) * DAY)));
        let start = slot(caller, &from, &to).await?;
        let wish = json!({ "start": start, "duration": "PT45M", "time_zone": ZONE, "service": service,
            "customer": { "name": name, "email": format!("{}@example.org", name.to_lowercase().replace(' ', ".")) } });
        caller.post("/bookings", wish).await?;
    }
    let free = slot(caller, &between.0, &between.1).await?;
    Ok((between, free))
}

/// Returns the first time that can be booked.
async fn slot(caller: &Caller, from: &str, to: &str) -> Result<String, String> {
    let path = format!("/availability?from={from}&to={to}&duration=PT45M");
    text(&caller.get(&path).await?, "/slots/0/start")
}

/// Both sides edit the same event while nobody compares them: a conflict that a person has to decide.
async fn quarrel(
    caller: &Caller,
    outlook: &Far,
    mapping: &str,
    calendar: &str,
    uid: &str,
) -> Result<(), String> {
    let there = outlook.own("events", json!({}))?;
    let same = |event: &&Value| event.get("subject").and_then(Value::as_str) == Some(DISPUTED);
    let there = there.as_array().and_then(|all| all.iter().find(same));
    let id = text(there.ok_or("the event did not reach Outlook")?, "/id")?;
    let path = format!("/mappings/{mapping}");
    caller.api("PATCH", &path, Some(json!({ "enabled": false }))).await?;
    let event = format!("/calendars/{calendar}/events/{uid}");
    let start = text(&caller.get(&event).await?, "/start")?;
    let day = Civil::parse(&start.get(..10).unwrap_or_default().replace('-', ""));
    let day = day.ok_or("the event has no day")?;
    let ours = json!({ "start": dashed(Civil(day.0 + 15 * 3600)), "duration": "PT1H", "time_zone": ZONE,
        "location": "Room 2" });
    caller.api("PATCH", &event, Some(ours)).await?;
    outlook.change(
        &id,
        &Plan {
            name: String::new(),
            title: DISPUTED.into(),
            place: "Town hall".into(),
            start: Civil(day.0 + 11 * 3600),
            minutes: 60,
        },
    )?;
    caller.api("PATCH", &path, Some(json!({ "enabled": true }))).await?;
    let open = |conflicts: &Value| !items(conflicts).is_empty();
    caller.until("/conflicts?status=pending", "the conflict", open).await.map(drop)
}

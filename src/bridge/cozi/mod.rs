//! Cozi's family calendar as a far side, through an interface that is not official.
//!
//! Owns: month pages as changes, one operation a write, reading back what became of it. Does not own: how Cozi writes
//! things (`item`, `rule`), what it can hold (`draft`), calls (`wire`), pace (`pace`, `budget`).
//!
//! Cozi tells no changes, no versions and no ids of new items: months are read and compared, a marker in the notes says
//! which event of ours an item is. Nothing is ever concluded from what Cozi cannot hold.

mod draft;
mod item;
mod rule;
#[cfg(test)]
mod tests;
mod wire;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Mutex, PoisonError};

use serde_json::{Map, Value, json};
use url::Url;

use self::draft::{Draft, Why};
use self::item::{Appointment, assemble, body};
use self::rule::day_text;
use self::wire::{Month, Wire};
use super::apart;
use super::print;
use super::provider::{
    Abilities, Cursor, End, Fit, Fut, Page, Pages, Provider, RemoteCalendar, RemoteId, Seen, Slot, Trouble,
    Version, Window, Write, Written,
};
use crate::auth::grant::Secret;
use crate::http::fetch::Fetch;
use crate::ical::Ical;
use crate::ical::value::Civil;
use crate::ical::zone::{Zone, by_tzid};

const DAY: i64 = 86_400;
/// Months that are looked through, before and after the window, before an item is called gone.
const WIDER: i64 = 12;
/// The widest window, in days: each month is a call.
const BEHIND: i64 = 31;
const AHEAD: i64 = 93;

/// A household.
#[derive(Debug)]
pub struct Cozi {
    wire: Wire,
    /// What was learned on the way: the household's zone, the window, where items are.
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    zone: Option<Zone>,
    window: Option<Window>,
    months: HashMap<RemoteId, Month>,
}

impl Cozi {
    /// Returns the household of this account. Nothing is called yet.
    pub fn new(fetch: Fetch, api: Url, username: String, password: Secret) -> Cozi {
        Cozi { wire: Wire::new(fetch, api, username, password), known: Mutex::default() }
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn zone(&self) -> Result<Zone, Trouble> {
        if let Some(zone) = self.known().zone.clone() {
            return Ok(zone);
        }
        let (_, name) = self.wire.account().await?;
        let zone = by_tzid(&name)
            .ok_or_else(|| Trouble::Unreachable(format!("Cozi's time zone `{name}` is not known.")))?;
        self.known().zone = Some(zone.clone());
        Ok(zone)
    }

    /// Reads months, one after the other, and puts their items together.
    async fn months(&self, months: impl IntoIterator<Item = Month>) -> Result<Vec<Appointment>, Trouble> {
        let mut items: Map<String, Value> = Map::new();
        for month in months {
            items.extend(self.wire.month(month).await?);
        }
        Ok(self.assembled(&items))
    }

    fn assembled(&self, items: &Map<String, Value>) -> Vec<Appointment> {
        let (found, odd) = assemble(items);
        if !odd.is_empty() {
            tracing::debug!("{} items of Cozi are no appointments, or not understood", odd.len());
        }
        let mut known = self.known();
        for appointment in &found {
            known.months.insert(RemoteId(appointment.id.clone()), month_of(appointment.day));
        }
        found
    }

    async fn page(&self, since: Option<&Cursor>, window: Window) -> Result<Page, Trouble> {
        let zone = self.zone().await?;
        self.known().window = Some(window);
        let found = self.months(within(window, &zone)).await?;
        let read: Vec<Seen> = found.iter().map(|a| seen(a, &zone)).collect();
        let versions: BTreeSet<String> = found.iter().map(|a| format!("{} {}", a.id, a.version)).collect();
        let all: Vec<String> = versions.into_iter().collect();
        let cursor = Cursor(print::digest(all.join("\n").as_bytes()));
        if since == Some(&cursor) {
            return Ok(Page::only(Vec::new(), Vec::new(), Some(cursor), false));
        }
        let end = Some(End { next: Some(cursor), complete: true });
        Ok(Page { read, end, ..Page::default() })
    }

    /// Finds items: in the window, and, before one is called gone, a year to both sides of it.
    async fn find(&self, ids: &[RemoteId]) -> Result<Vec<Appointment>, Trouble> {
        let zone = self.zone().await?;
        let window =
            self.known().window.ok_or_else(|| Trouble::Unreachable("Cozi was not read yet.".into()))?;
        let near: Vec<Month> = {
            let known = self.known();
            let months: BTreeSet<Month> = ids.iter().filter_map(|id| known.months.get(id).copied()).collect();
            // A series needs the months of its stand-ins too.
            months.into_iter().chain(within(window, &zone)).collect::<BTreeSet<_>>().into_iter().collect()
        };
        let wanted = |found: &[Appointment]| ids.iter().all(|id| found.iter().any(|a| a.id == id.0));
        let mut found = self.months(near.iter().copied()).await?;
        if !wanted(&found) {
            let (first, last) = (near.first().copied(), near.last().copied());
            let (Some(first), Some(last)) = (first, last) else { return Ok(found) };
            let wide = (-WIDER..0).map(|n| moved(first, n)).chain((1..=WIDER).map(|n| moved(last, n)));
            for month in wide {
                found.extend(self.months([month]).await?);
                if wanted(&found) {
                    break;
                }
            }
        }
        found.retain(|a| ids.iter().any(|id| id.0 == a.id));
        Ok(found)
    }

    async fn store(&self, write: &Write) -> Result<Written, Trouble> {
        let zone = self.zone().await?;
        let ical = Ical::parse(write.bytes.clone())
            .map_err(|problem| Trouble::Refused(format!("The event cannot be read: {}.", problem.reason)))?;
        let draft = Draft::of(&ical, &zone).map_err(|why| match why {
            Why::Apart(why) | Why::Refused(why) => Trouble::Refused(why),
        })?;
        let uid = ical
            .calendar()
            .and_then(|c| c.named("VEVENT").find_map(|e| e.property("UID")))
            .map(|p| p.raw().trim().to_owned())
            .unwrap_or_default();
        let month = month_of(draft.start);
        let (id, before) = match &write.slot {
            Slot::New { .. } => {
                let there = self.assembled(&self.wire.month(month).await?);
                if let Some(twin) = there.iter().find(|a| a.uid == uid) {
                    return Err(Trouble::Taken(Some(RemoteId(twin.id.clone()))));
                }
                let create = body(&draft, &uid, None, &json!([]));
                let items = self.wire.operate(month, operation("create", create, None)).await?;
                let made = self.assembled(&items).into_iter().find(|a| a.uid == uid);
                let made = made.ok_or_else(|| {
                    Trouble::Unreachable("Cozi took the event but does not show it.".into())
                })?;
                (made.id.clone(), made)
            }
            Slot::At(id, version) => {
                let there = self.at(id, version.as_ref()).await?;
                let edit = body(&draft, &uid, Some(&id.0), &there.people);
                self.wire.operate(month, operation("edit", edit, None)).await?;
                (id.0.clone(), there)
            }
        };
        self.except(&id, &uid, &draft, &before).await?;
        let id = RemoteId(id);
        self.known().months.insert(id.clone(), month);
        // What Cozi made of it is read back, whatever its answer said.
        Ok(Written { id, version: None, seen: None })
    }

    /// Leaves days of a series out and changes single ones, as far as they are not so already.
    async fn except(&self, id: &str, uid: &str, draft: &Draft, before: &Appointment) -> Result<(), Trouble> {
        for (day, wanted) in &draft.exceptions {
            if before.draft.exceptions.get(day) == Some(wanted) {
                continue;
            }
            let stand_in = before.stand_ins.get(day);
            match (wanted, stand_in) {
                (None, None) => {
                    let gone = Map::from_iter([("id".to_owned(), json!(id))]);
                    self.wire.operate(month_of(*day), operation("delete", gone, Some(*day))).await?;
                }
                (None, Some(other)) => {
                    let gone = Map::from_iter([("id".to_owned(), json!(other))]);
                    self.wire.operate(month_of(*day), operation("delete", gone, None)).await?;
                }
                (Some(changed), None) => {
                    let edit = body(changed, uid, Some(id), &before.people);
                    self.wire.operate(month_of(*day), operation("edit", edit, Some(*day))).await?;
                }
                (Some(changed), Some(other)) => {
                    let edit = body(changed, uid, Some(other), &before.people);
                    self.wire.operate(month_of(*day), operation("edit", edit, None)).await?;
                }
            }
        }
        Ok(())
    }

    /// Finds what is to be written, as it was seen.
    async fn at(&self, id: &RemoteId, version: Option<&Version>) -> Result<Appointment, Trouble> {
        let there = self.find(std::slice::from_ref(id)).await?.pop();
        let there = there.ok_or_else(|| Trouble::Missing("Cozi does not have the event any more.".into()))?;
        if version.is_some_and(|version| version.0 != there.version) {
            return Err(Trouble::Stale);
        }
        if there.read_only {
            return Err(Trouble::Refused(
                "Cozi only shows this event; it comes from another calendar.".into(),
            ));
        }
        Ok(there)
    }
}

impl Provider for Cozi {
    fn abilities(&self) -> Abilities {
        Abilities { writes: true, pushes: false, batch: 50, parallel: 1 }
    }

    fn calendars(&self) -> Fut<'_, Vec<RemoteCalendar>> {
        Box::pin(async move {
            let (name, _) = self.wire.account().await?;
            Ok(vec![RemoteCalendar {
                id: RemoteId("family".into()),
                name,
                color: None,
                primary: true,
                writable: true,
                components: vec!["VEVENT".into()],
            }])
        })
    }

    fn changes<'a>(&'a self, _: &'a RemoteId, since: Option<&'a Cursor>, window: Window) -> Pages<'a> {
        Box::pin(futures_util::stream::once(self.page(since, window)))
    }

    fn read<'a>(&'a self, _: &'a RemoteId, ids: &'a [RemoteId]) -> Fut<'a, Vec<Seen>> {
        Box::pin(async move {
            let zone = self.zone().await?;
            Ok(self.find(ids).await?.iter().map(|a| seen(a, &zone)).collect())
        })
    }

    fn place(&self, _: &RemoteId, _: &str) -> Option<RemoteId> {
        None
    }

    fn fit(&self, ical: &Ical, window: Window) -> Fit {
        let Some(zone) = self.known().zone.clone() else {
            return Fit::Refused("Cozi's time zone is not known yet.".into());
        };
        let uid = ical.calendar().and_then(|c| c.named("VEVENT").find_map(|e| e.property("UID")));
        let uid = uid.map(|p| p.raw().trim().to_owned()).unwrap_or_default();
        match Draft::of(ical, &zone) {
            Ok(draft) => Fit::Whole(draft.text(&uid, &zone)),
            Err(Why::Refused(why)) => Fit::Refused(why),
            Err(Why::Apart(why)) => match apart::instances(ical, window, &zone) {
                Some(parts) => {
                    Fit::Parts(parts, format!("{why} Its single days are there as events of their own."))
                }
                None => Fit::Refused(format!("{why} It has too many days to show them one by one.")),
            },
        }
    }

    fn put<'a>(&'a self, _: &'a RemoteId, write: &'a Write) -> Fut<'a, Written> {
        Box::pin(self.store(write))
    }

    fn delete<'a>(&'a self, _: &'a RemoteId, id: &'a RemoteId, version: Option<&'a Version>) -> Fut<'a, ()> {
        Box::pin(async move {
            let there = match self.at(id, version).await {
                Err(Trouble::Missing(_)) => return Ok(()),
                other => other?,
            };
            let gone = Map::from_iter([("id".to_owned(), json!(there.id))]);
            self.wire.operate(month_of(there.day), operation("delete", gone, None)).await?;
            // Stand-ins of a series are items of their own.
            let mut rest: BTreeMap<Month, Vec<String>> = BTreeMap::new();
            for (day, stand_in) in &there.stand_ins {
                rest.entry(month_of(*day)).or_default().push(stand_in.clone());
            }
            for (month, ids) in rest {
                let left = self.wire.month(month).await?;
                for id in ids.into_iter().filter(|id| left.contains_key(id)) {
                    let gone = Map::from_iter([("id".to_owned(), json!(id))]);
                    self.wire.operate(month, operation("delete", gone, None)).await?;
                }
            }
            Ok(())
        })
    }
}

/// One operation; with a day, of that day of a series alone.
fn operation(verb: &str, body: Map<String, Value>, day: Option<Civil>) -> Value {
    let mut operation = json!({"itemType": "appointment", verb: body});
    if let (Some(day), Some(object)) = (day, operation.as_object_mut()) {
        object.insert("selectedDay".into(), json!(day_text(day)));
        object.insert("extent".into(), json!("day"));
    }
    operation
}

fn seen(appointment: &Appointment, zone: &Zone) -> Seen {
    Seen {
        id: RemoteId(appointment.id.clone()),
        version: Some(Version(appointment.version.clone())),
        bytes: appointment.text(zone),
        modified: None,
    }
}

fn month_of(day: Civil) -> Month {
    let (year, month, _) = day.date();
    (year, month)
}

fn moved((year, month): Month, by: i64) -> Month {
    let number = year * 12 + month - 1 + by;
    (number.div_euclid(12), number.rem_euclid(12) + 1)
}

/// The months of the window, which is never wider than Cozi is asked for politely.
fn within(window: Window, zone: &Zone) -> Vec<Month> {
    let from = window.from.unwrap_or(i64::MIN).max(window.now - BEHIND * DAY);
    let to = window.to.unwrap_or(i64::MAX).min(window.now + AHEAD * DAY).max(from);
    let (first, last) = (month_of(zone.to_civil(from)), month_of(zone.to_civil(to)));
    let mut months = vec![first];
    while let Some(month) = months.last().copied().filter(|month| *month < last) {
        months.push(moved(month, 1));
    }
    months
}

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

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use serde_json::{Map, Value, json};
use url::Url;

use self::draft::{Draft, Why};
use self::item::{Appointment, Items, Role, assemble, body};
use self::rule::day_text;
pub(super) use self::wire::Seat;
use self::wire::{Month, Wire};
use super::apart;
use super::print;
use super::provider::{
    self, Abilities, Cursor, End, Fit, Fut, Page, Provider, RemoteCalendar, RemoteId, Seen, Slot, Trouble,
    Version, Window, Write, Written,
};
use crate::auth::grant::Secret;
use crate::http::fetch::Fetch;
use crate::ical::Ical;
use crate::ical::value::Civil;
use crate::ical::zone::{Zone, by_tzid};

/// How many calls to one account may be under way at a time.
pub(super) const AT_ONCE: usize = 1;
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

/// Pages of the calendar.
#[derive(Debug, Default)]
struct Pages {
    months: BTreeSet<Month>,
    items: Map<String, Value>,
}

impl Cozi {
    /// Returns the household of this account. Nothing is called yet.
    pub fn new(fetch: Fetch, api: Url, username: String, password: Secret) -> Cozi {
        Cozi::seated(fetch, api, username, password, Seat::default())
    }

    /// The same, with the session that is kept there.
    pub(super) fn seated(fetch: Fetch, api: Url, username: String, password: Secret, seat: Seat) -> Cozi {
        Cozi { wire: Wire::new(fetch, api, username, password, seat), known: Mutex::default() }
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

    /// Reads months, one after the other.
    async fn pages(&self, months: impl IntoIterator<Item = Month>) -> Result<Pages, Trouble> {
        let mut pages = Pages::default();
        for month in months {
            self.turn_to(month, &mut pages).await?;
        }
        Ok(pages)
    }

    async fn turn_to(&self, month: Month, pages: &mut Pages) -> Result<(), Trouble> {
        if pages.months.insert(month) {
            pages.items.extend(self.wire.month(month).await?);
        }
        Ok(())
    }

    fn assembled(&self, items: &Map<String, Value>) -> Items {
        let all = assemble(items);
        if !all.odd.is_empty() {
            tracing::warn!("{} appointments of Cozi are not understood", all.odd.len());
        }
        let mut known = self.known();
        for appointment in &all.found {
            known.months.insert(RemoteId(appointment.id.clone()), month_of(appointment.day));
        }
        all
    }

    /// Puts items together. What stands in for days of their series may lie on other pages: without it a day that was
    /// moved would look as if it were left out.
    async fn whole(&self, mut pages: Pages, wanted: impl Fn(&str) -> bool) -> Result<Items, Trouble> {
        let mut all = self.assembled(&pages.items);
        for around in [0..=0, -1..=1] {
            let days = all.lacking.iter().filter(|(id, _)| wanted(id)).flat_map(|(_, days)| days);
            let near = days.flat_map(|day| around.clone().map(|by| moved(month_of(*day), by)));
            let near: BTreeSet<Month> = near.collect();
            if near.is_empty() {
                break;
            }
            for month in near {
                self.turn_to(month, &mut pages).await?;
            }
            all = self.assembled(&pages.items);
        }
        // A page may be short by mistake: it is read once more.
        let days = all.lacking.iter().filter(|(id, _)| wanted(id)).flat_map(|(_, days)| days);
        let again: BTreeSet<Month> =
            days.flat_map(|day| (-1..=1).map(|by| moved(month_of(*day), by))).collect();
        if !again.is_empty() {
            for month in again {
                pages.items.extend(self.wire.month(month).await?);
            }
            all = self.assembled(&pages.items);
        }
        // What is not there either was removed, and its day with it.
        Ok(all)
    }

    async fn page(&self, since: Option<&Cursor>, window: Window) -> Result<Page, Trouble> {
        let zone = self.zone().await?;
        self.known().window = Some(window);
        let pages = self.pages(within(window, &zone)).await?;
        let shown = self.assembled(&pages.items);
        let versions: BTreeSet<String> =
            shown.found.iter().map(|a| format!("{} {}", a.id, a.version)).collect();
        let all: Vec<String> = versions.into_iter().chain(shown.odd).collect();
        let cursor = Cursor(print::digest(all.join("\n").as_bytes()));
        if since == Some(&cursor) {
            return Ok(Page::only(Vec::new(), Vec::new(), Some(cursor), false));
        }
        let read = told(&self.whole(pages, |_| true).await?, &zone);
        let end = Some(End { next: Some(cursor), complete: true });
        Ok(Page { read, end, ..Page::default() })
    }

    /// Finds items: in the window, and, before one is called gone, a year to both sides of it.
    async fn find(&self, ids: &[RemoteId]) -> Result<Items, Trouble> {
        let zone = self.zone().await?;
        let window =
            self.known().window.ok_or_else(|| Trouble::Unreachable("Cozi was not read yet.".into()))?;
        let near: BTreeSet<Month> = {
            let known = self.known();
            let months = ids.iter().filter_map(|id| known.months.get(id).copied());
            months.chain(within(window, &zone)).collect()
        };
        let (first, last) = (near.first().copied(), near.last().copied());
        let mut pages = self.pages(near).await?;
        let wide = (1..=WIDER)
            .flat_map(|n| [first.map(|month| moved(month, -n)), last.map(|month| moved(month, n))]);
        for month in wide.flatten() {
            if ids.iter().all(|id| pages.items.contains_key(&id.0)) {
                break;
            }
            self.turn_to(month, &mut pages).await?;
        }
        let is_wanted = |own: &str| ids.iter().any(|id| id.0 == own);
        let mut all = self.whole(pages, is_wanted).await?;
        all.found.retain(|a| is_wanted(&a.id));
        all.odd.retain(|id| is_wanted(id));
        Ok(all)
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
                if let Some(twin) = there.found.iter().find(|a| a.uid == uid) {
                    return Err(Trouble::Taken(Some(RemoteId(twin.id.clone()))));
                }
                self.create(month, &draft, &uid, &json!([])).await?
            }
            Slot::At(id, version) => {
                let there = self.at(id, version.as_ref()).await?;
                let back = draft.given_back(&there.draft);
                match back.iter().all(|day| there.stand_ins.contains_key(day)) {
                    true => {
                        let edit = body(&draft, &uid, Some(&id.0), &there.people, Role::Whole);
                        self.wire.operate(month, operation("edit", edit, None)).await?;
                        (id.0.clone(), there)
                    }
                    // The only way to fill a hole in a series is to make it anew.
                    false if there.is_ours() => {
                        self.erase(&there).await?;
                        self.create(month, &draft, &uid, &there.people).await.map_err(midway)?
                    }
                    false => {
                        return Err(Trouble::Refused(
                            "Cozi does not bring back a day that was left out of a series: add it as an event of \
                             its own."
                                .into(),
                        ));
                    }
                }
            }
        };
        self.except(&id, &uid, &draft, &before).await.map_err(midway)?;
        let id = RemoteId(id);
        self.known().months.insert(id.clone(), month);
        // What Cozi made of it is read back, whatever its answer said.
        Ok(Written { id, version: None, seen: None })
    }

    /// Makes an appointment and finds it again by its marker: the answer does not say which one is new.
    async fn create(
        &self,
        month: Month,
        draft: &Draft,
        uid: &str,
        people: &Value,
    ) -> Result<(String, Appointment), Trouble> {
        let create = body(draft, uid, None, people, Role::Whole);
        let items = self.wire.operate(month, operation("create", create, None)).await?;
        let made = self.assembled(&items).found.into_iter().find(|a| a.uid == uid);
        let made =
            made.ok_or_else(|| Trouble::Unreachable("Cozi took the event but does not show it.".into()))?;
        Ok((made.id.clone(), made))
    }

    /// Leaves days of a series out and changes single ones, as far as they are not so already.
    async fn except(&self, id: &str, uid: &str, draft: &Draft, before: &Appointment) -> Result<(), Trouble> {
        for (day, wanted) in &draft.exceptions {
            if before.draft.exceptions.get(day) == Some(wanted) {
                continue;
            }
            match wanted {
                None => {
                    let gone = Map::from_iter([("id".to_owned(), json!(id))]);
                    self.wire.operate(month_of(*day), operation("delete", gone, Some(*day))).await?;
                }
                Some(changed) => self.stand_in(id, uid, *day, changed, before).await?,
            }
        }
        for day in draft.given_back(&before.draft) {
            if before.stand_ins.contains_key(&day) {
                self.stand_in(id, uid, day, &draft.on(day), before).await?;
            }
        }
        Ok(())
    }

    /// Has a day of a series say this.
    async fn stand_in(
        &self,
        id: &str,
        uid: &str,
        day: Civil,
        says: &Draft,
        before: &Appointment,
    ) -> Result<(), Trouble> {
        let (of, scope) = match before.stand_ins.get(&day) {
            Some(other) => (other.as_str(), None),
            None => (id, Some(day)),
        };
        let edit = body(says, uid, Some(of), &before.people, Role::Day);
        self.wire.operate(month_of(day), operation("edit", edit, scope)).await?;
        Ok(())
    }

    /// Removes an appointment, and the stand-ins of a series, which are items of their own.
    async fn erase(&self, there: &Appointment) -> Result<(), Trouble> {
        let gone = Map::from_iter([("id".to_owned(), json!(there.id))]);
        self.wire.operate(month_of(there.day), operation("delete", gone, None)).await?;
        let days = there.stand_ins.keys();
        let near: BTreeSet<Month> =
            days.flat_map(|day| (-1..=1).map(|by| moved(month_of(*day), by))).collect();
        for month in near {
            let left = self.wire.month(month).await?;
            for id in there.stand_ins.values().filter(|id| left.contains_key(*id)) {
                let gone = Map::from_iter([("id".to_owned(), json!(id))]);
                self.wire.operate(month, operation("delete", gone, None)).await?;
            }
        }
        Ok(())
    }

    /// Finds what is to be written, as it was seen.
    async fn at(&self, id: &RemoteId, version: Option<&Version>) -> Result<Appointment, Trouble> {
        let Items { mut found, odd, .. } = self.find(std::slice::from_ref(id)).await?;
        let there = match found.pop() {
            Some(there) => there,
            None if odd.is_empty() => {
                return Err(Trouble::Missing("Cozi does not have the event any more.".into()));
            }
            None => {
                return Err(Trouble::Refused(
                    "The event in Cozi cannot be understood; change it there.".into(),
                ));
            }
        };
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
        Abilities { writes: true, pushes: false, batch: 50, parallel: AT_ONCE, in_steps: true }
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

    fn changes<'a>(
        &'a self,
        _: &'a RemoteId,
        since: Option<&'a Cursor>,
        window: Window,
    ) -> provider::Pages<'a> {
        Box::pin(futures_util::stream::once(self.page(since, window)))
    }

    fn read<'a>(&'a self, _: &'a RemoteId, ids: &'a [RemoteId]) -> Fut<'a, Vec<Seen>> {
        Box::pin(async move {
            let zone = self.zone().await?;
            Ok(told(&self.find(ids).await?, &zone))
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
            self.erase(&there).await
        })
    }
}

/// A rival was faster than a later step of a write. Nobody is to think that nothing was written.
fn midway(trouble: Trouble) -> Trouble {
    match trouble {
        Trouble::Stale | Trouble::Missing(_) => {
            Trouble::Unreachable("The series in Cozi changed while it was written.".into())
        }
        other => other,
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

/// What is there and not understood is told without content: it fails by itself, and is no removal.
fn told(all: &Items, zone: &Zone) -> Vec<Seen> {
    let odd =
        |id: &String| Seen { id: RemoteId(id.clone()), version: None, bytes: Bytes::new(), modified: None };
    all.found.iter().map(|a| seen(a, zone)).chain(all.odd.iter().map(odd)).collect()
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

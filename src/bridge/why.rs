//! The story of one event: who wrote it, where it came from, where it went, what refused it, when it is tried again.
//!
//! Owns: gathering what is known of a UID in one person's calendars, by look-ups under the UID and the event's own
//! positions in the log; why a text is not stored here. Does not own: the sentences that tell the story (`api::why`).

use super::conflict::title;
use super::fold::part_of;
use super::front::{Bridge, BridgeError};
use super::provider::Window;
use super::record::{
    self, Apart, Base, Conflict, Connection, Direction, Failure, Mapping, MappingState, base_key,
};
use super::{scope, shape};
use crate::calendar::{Error, Readable, Refusal, is_hidden};
use crate::ical::Ical;
use crate::store::{Collection, Kind, Origin, Rev, Timestamp};

/// How many conflicts of an event are told, the newest first.
const CONFLICTS: usize = 100;

/// What is known of the event in one calendar.
#[derive(Debug, Clone)]
pub struct Story {
    /// The calendar.
    pub calendar: std::sync::Arc<Collection>,
    /// The event's title; nothing: it is not there any more.
    pub title: Option<String>,
    /// Who wrote it first, as far as is remembered.
    pub first: Option<Writing>,
    /// Who wrote or removed it last.
    pub last: Option<Writing>,
    /// How often it was written or removed, as far as is remembered.
    pub writings: usize,
    /// What each mapping of the calendar did with it.
    pub ways: Vec<Way>,
}

/// One write.
#[derive(Debug, Clone)]
pub struct Writing {
    /// When.
    pub at: Timestamp,
    /// By whom.
    pub by: Origin,
}

/// What one mapping did with the event.
#[derive(Debug, Clone)]
pub struct Way {
    /// The mapping.
    pub mapping: Mapping,
    /// The account on the far side; nothing: it was removed.
    pub connection: Option<Connection>,
    /// How things are.
    pub standing: Standing,
    /// What both sides last agreed on.
    pub base: Option<Base>,
    /// Why it could not be carried over.
    pub failure: Option<Failure>,
    /// When it is looked at again; nothing: when it changes.
    pub next: Option<Timestamp>,
    /// What both sides changed in ways that exclude each other, newest first.
    pub conflicts: Vec<Conflict>,
}

/// How things are between the event here and its counterpart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Both sides agree.
    Agreed,
    /// It is about to be made on the far side.
    Pending,
    /// It waits for a person's decision.
    Conflict,
    /// It could not be carried over.
    Refused,
    /// One side was removed and the other kept on purpose.
    Apart,
    /// It was found missing on the far side; another look decides.
    Missing,
    /// The mapping rests.
    Resting,
    /// The mapping waits for a word on removals in bulk.
    Held,
    /// The mapping carries nothing that way.
    Direction,
    /// The filters keep it back.
    Filtered,
    /// It takes place outside the window.
    Outside,
    /// It is not here any more, and nothing of it is remembered.
    Gone,
    /// It was not looked at yet.
    New,
}

impl Bridge {
    /// Tells what is known of the event with this UID, calendar by calendar.
    ///
    /// # Errors
    /// `Missing` if nothing is; when the store fails.
    pub async fn why(&self, owner: &str, uid: &str) -> Result<Vec<Story>, BridgeError> {
        let principal = self.house.principal(owner).await?.ok_or(BridgeError::Missing)?;
        let session = self.house.session(principal, Origin::System);
        let home = session.home().await.map_err(failed)?;
        let mappings = self.mappings(owner).await?;
        let mut stories = Vec::new();
        for calendar in home.all_children().await.map_err(failed)? {
            if calendar.collection().kind == Kind::Calendar {
                let of_it = mappings.iter().filter(|(m, _)| m.collection == calendar.id());
                let of_it: Vec<_> = of_it.cloned().collect();
                stories.extend(self.story(&calendar, uid, of_it).await?);
            }
        }
        // What people see goes before what stands between two far sides.
        stories.sort_by_key(|story| (is_hidden(&story.calendar), story.title.is_none()));
        if stories.is_empty() { Err(BridgeError::Missing) } else { Ok(stories) }
    }

    async fn story(
        &self,
        calendar: &Readable,
        uid: &str,
        mappings: Vec<(Mapping, MappingState)>,
    ) -> Result<Option<Story>, BridgeError> {
        let object = match calendar.by_uid(uid).await.map_err(failed)? {
            Some(name) => calendar.object(name.as_str()).await.map_err(failed)?,
            None => None,
        };
        let versions = calendar.versions(uid).await.map_err(failed)?;
        let ical = object.as_ref().and_then(|object| Ical::parse(object.bytes.clone()).ok());
        let mut ways = Vec::new();
        let mut known = object.is_some() || !versions.is_empty();
        for (mapping, state) in mappings {
            let way = self.way(uid, mapping, &state, ical.as_ref()).await?;
            known |= way.base.is_some() || way.failure.is_some() || !way.conflicts.is_empty();
            ways.push(way);
        }
        if !known {
            return Ok(None);
        }
        let oldest = versions.last().map(|v| (v.rev, v.written));
        let now = object.as_ref().map(|o| (o.meta.rev, o.meta.modified));
        let begun = oldest.or(now);
        let first = match begun {
            Some(at) => self.writing(calendar, at).await?,
            None => None,
        };
        // What the log no longer tells, an agreement may: that it came from a far side.
        let brought = ways.iter().find(|way| way.base.as_ref().is_some_and(|base| base.from_there));
        let first = first.or_else(|| {
            let by = Origin::Mapping(brought?.mapping.id.clone());
            Some(Writing { at: begun?.1, by })
        });
        let ended = versions.first().map(|v| Writing { at: v.ended, by: v.by.clone() });
        let last = match now {
            Some(at) => self.writing(calendar, at).await?.or(ended),
            None => ended,
        };
        Ok(Some(Story {
            calendar: std::sync::Arc::clone(calendar.collection()),
            title: object.map(|_| ical.as_ref().map(title).unwrap_or_default()),
            first,
            last,
            writings: versions.len().saturating_add(1),
            ways,
        }))
    }

    /// Returns who wrote at this position of the log; nothing: the log does not reach back so far.
    async fn writing(
        &self,
        calendar: &Readable,
        (rev, at): (Rev, Timestamp),
    ) -> Result<Option<Writing>, BridgeError> {
        let before = Rev(rev.0.saturating_sub(1));
        match calendar.changes(before, 1).await {
            Ok(page) => {
                let row = page.items.into_iter().next().filter(|row| row.rev == rev);
                Ok(row.map(|row| Writing { at, by: row.origin }))
            }
            Err(Error::Failed(fault)) => Err(fault.into()),
            Err(Error::Refused(_)) => Ok(None),
        }
    }

    async fn way(
        &self,
        uid: &str,
        mapping: Mapping,
        state: &MappingState,
        ical: Option<&Ical>,
    ) -> Result<Way, BridgeError> {
        let store = &*self.house.store;
        let base: Option<Base> = record::load(store, &base_key(&mapping.id, uid)).await?;
        let connection = self.connection(&mapping.owner, &mapping.connection).await;
        let connection = match connection {
            Ok((connection, _)) => Some(connection),
            Err(BridgeError::Failed(fault)) => return Err(fault.into()),
            Err(_) => None,
        };
        let names = |f: &Failure| {
            let part = part_of(&f.uid).is_some_and(|(whole, _)| whole == uid);
            f.uid == uid || part || base.as_ref().is_some_and(|b| f.remote.as_ref() == Some(&b.remote))
        };
        let failure = state.again.iter().find(|f| names(f)).cloned();
        let lead = record::conflicts_of(&mapping.id, uid);
        let mut conflicts = Vec::new();
        for (key, _) in store.records(lead.table, &lead.path, None, CONFLICTS).await? {
            let number = key.path.strip_prefix(&lead.path).unwrap_or_default();
            if let Some(key) = record::conflict_key(&format!("{}-{number}", mapping.id)) {
                conflicts.extend(record::load::<Conflict>(store, &key).await?);
            }
        }
        let (past, future) = self.reach(&mapping);
        let window = scope::window(&mapping, past, future, self.house.clock.now());
        let standing = standing(&mapping, state, base.as_ref(), failure.as_ref(), ical, window);
        let next = match (&failure, mapping.enabled) {
            (_, false) => None,
            (Some(failure), true) if failure.retry => failure.next.or(state.pace.next),
            (Some(_), true) => None,
            (None, true) => state.pace.next,
        };
        Ok(Way { mapping, connection, standing, base, failure, next, conflicts })
    }
}

fn standing(
    mapping: &Mapping,
    state: &MappingState,
    base: Option<&Base>,
    failure: Option<&Failure>,
    ical: Option<&Ical>,
    window: Window,
) -> Standing {
    if failure.is_some() {
        return Standing::Refused;
    }
    if let Some(base) = base {
        return match base.apart {
            Some(Apart::Here | Apart::There) => Standing::Apart,
            None if base.conflict.is_some() => Standing::Conflict,
            None if base.pending => Standing::Pending,
            None if base.missing.is_some() => Standing::Missing,
            None => Standing::Agreed,
        };
    }
    let carried = ical.map(|ical| (shape::passes(&mapping.filters, ical), shape::in_window(ical, window)));
    match carried {
        None => Standing::Gone,
        _ if !mapping.enabled => Standing::Resting,
        _ if state.hold.is_some() => Standing::Held,
        _ if mapping.direction == Direction::Pull || !mapping.only.is_empty() => Standing::Direction,
        Some((false, _)) => Standing::Filtered,
        Some((_, false)) => Standing::Outside,
        _ => Standing::New,
    }
}

fn failed(error: Error) -> BridgeError {
    match error {
        Error::Failed(fault) => BridgeError::Failed(fault),
        Error::Refused(_) => BridgeError::Missing,
    }
}

/// Returns why our rules do not take an object, in words.
pub(super) fn words(refusal: &Refusal) -> String {
    match refusal {
        Refusal::NotCalendar(problem) => format!("It is not stored here: {}", problem.reason),
        Refusal::WrongComponent { sent, accepted } => {
            format!("This calendar holds {} only, not {sent}.", accepted.join(" and "))
        }
        Refusal::TooLarge(limit) => format!("It is larger than the {limit} bytes that are stored here."),
        Refusal::CollectionFull(limit) => format!("The calendar here is full ({limit} events)."),
        other => format!("It is not stored here: {other:?}"),
    }
}

//! Mappings: which calendar here goes with which calendar there.

use std::collections::{BTreeMap, BTreeSet};

use super::front::{Bridge, BridgeError, NewMapping, line};
use super::pace::Pace;
use super::provider::{RemoteCalendar, RemoteId};
use super::record::{
    self, Connection, Direction, Mapping, MappingState, OnDelete, Push, Reach, Rule, mapping_key,
    mapping_state_key,
};
use crate::auth::oauth::Access;
use crate::calendar::{Error, NewCollection, Refusal, Shown, When, is_hidden};
use crate::store::{Collection, CollectionId, Fault, Kind, Name, Op, Origin, Properties, Table};

/// What stands for an account's main calendar.
const PRIMARY: &str = "primary";
/// How many rules, and how many filters, a mapping may have.
const MOST: usize = 100;

impl Bridge {
    /// Maps a collection to a remote calendar. The first pass begins at once.
    ///
    /// # Errors
    /// `Invalid` if one of them is not there or cannot be written, or the pair exists already.
    pub async fn add_mapping(&self, owner: &str, new: NewMapping) -> Result<Mapping, BridgeError> {
        let collection = self.calendar(owner, new.collection).await?;
        let mapping = self.checked(owner, new, &collection.components, "", None).await?;
        self.begin_with(std::slice::from_ref(&mapping)).await?;
        Ok(mapping)
    }

    /// The same with a calendar that is made for it, named and coloured like the one over there. What can be wrong is found out
    /// before it is made.
    ///
    /// # Errors
    /// As `add_mapping`.
    pub async fn add_mapping_with_calendar(
        &self,
        owner: &str,
        new: NewMapping,
    ) -> Result<Mapping, BridgeError> {
        let both = ["VEVENT".to_owned(), "VTODO".to_owned()];
        let mapping = self.checked(owner, new, &both, "", None).await?;
        let there = self.remote_calendars(owner, &mapping.connection).await?;
        let there = there.into_iter().find(|calendar| calendar.id == mapping.remote);
        let there = there.ok_or(BridgeError::Missing)?;
        let only_tasks = !there.components.is_empty() && !there.components.iter().any(|one| one == "VEVENT");
        let component = if only_tasks { "VTODO" } else { "VEVENT" };
        let mut properties = Properties(BTreeMap::new());
        Shown::DisplayName.set(&mut properties, Some(there.name.as_str()).filter(|name| !name.is_empty()));
        Shown::Color.set(&mut properties, there.color.as_deref());
        let principal = self.house.principal(owner).await?.ok_or(BridgeError::Missing)?;
        let session = self.house.session(
            principal,
            Origin::Api { principal: owner.to_owned(), agent: String::new(), label: String::new() },
        );
        let name = Name::new(record::random_id()?).ok_or(BridgeError::Missing)?;
        let components = vec![component.to_owned()];
        let calendar = NewCollection { name, kind: Kind::Calendar, components, properties };
        let home = session.home().await.map_err(failed)?;
        let made = session.create_collection(&home, calendar, &When::always()).await.map_err(failed)?;
        let mapping = Mapping { collection: made.id, ..mapping };
        self.begin_with(std::slice::from_ref(&mapping)).await?;
        Ok(mapping)
    }

    /// Stores new mappings, all or none, and has them looked at.
    async fn begin_with(&self, mappings: &[Mapping]) -> Result<(), BridgeError> {
        let mut ops = Vec::new();
        let mut begun = Vec::new();
        for mapping in mappings {
            let pace = Pace { next: Some(mapping.created), ..Pace::default() };
            let state = MappingState { pace, ..MappingState::default() };
            ops.push(record::put(mapping_key(&mapping.id), mapping)?);
            ops.push(record::put(mapping_state_key(&mapping.id), &state)?);
            begun.push((mapping.id.clone(), line(mapping, &state)));
        }
        // Those of a link share the one calendar in its middle.
        let Some(calendar) = mappings.first().map(|mapping| mapping.collection) else { return Ok(()) };
        self.commit_marked(calendar, ops, |all| all.extend(mappings.iter().cloned())).await?;
        {
            let mut lines = self.lines();
            begun.into_iter().for_each(|(id, line)| lines.insert(id, line));
        }
        self.wake.notify_one();
        Ok(())
    }

    /// Returns the mapping, if it can be. `side` says of which end of a link it is spoken; empty: of a mapping. `first`:
    /// the other end, which is made with it.
    async fn checked(
        &self,
        owner: &str,
        new: NewMapping,
        components: &[String],
        side: &'static str,
        first: Option<&Mapping>,
    ) -> Result<Mapping, BridgeError> {
        let named = |of_mapping: &'static str, of_from: &'static str, of_to: &'static str| match side {
            "from" => of_from,
            "to" => of_to,
            _ => of_mapping,
        };
        let (connection, _) = match self.connection(owner, &new.connection).await {
            Err(BridgeError::Missing) => {
                let field = named("connection", "from.connection", "to.connection");
                return Err(BridgeError::Invalid(field, "There is no such connection.".into()));
            }
            other => other?,
        };
        may_write(&connection, new.direction)?;
        let calendars = self.remote_calendars(owner, &connection.id).await?;
        let is_it = |c: &RemoteCalendar| c.id == new.remote || (c.primary && new.remote.0 == PRIMARY);
        let Some(remote) = calendars.into_iter().find(is_it) else {
            let why = format!("{} has no such calendar.", connection.account);
            let field = named("remote_calendar", "from.remote_calendar", "to.remote_calendar");
            return Err(BridgeError::Invalid(field, why));
        };
        if new.direction != Direction::Pull && !remote.writable {
            return Err(read_only(&remote));
        }
        common_component(components, &remote)?;
        let new = NewMapping { remote: remote.id, ..new };
        let others = self.mappings(owner).await?;
        let others: Vec<Mapping> = others
            .into_iter()
            .map(|(m, _)| m)
            .chain(first.cloned())
            .filter(|m| m.connection == new.connection)
            .collect();
        if others.iter().any(|m| m.collection == new.collection && m.remote == new.remote) {
            return Err(BridgeError::Conflict(
                "These two calendars are mapped to each other already.".into(),
            ));
        }
        let mapped: BTreeSet<&RemoteId> =
            others.iter().map(|m| &m.remote).filter(|r| **r != new.remote).collect();
        if let Some(limit) = self.settings.mapping_limit.filter(|limit| mapped.len() >= *limit) {
            let why = match limit {
                1 => "One calendar of each account can be mapped on this server.".to_owned(),
                limit => format!("{limit} calendars of each account can be mapped on this server."),
            };
            let field = named("remote_calendar", "from.remote_calendar", "to.remote_calendar");
            return Err(BridgeError::Invalid(field, format!("{why} Remove another mapping first.")));
        }
        let created = self.house.clock.now();
        let mapping = new.with(record::random_id()?, owner, connection.kind, created);
        sound(&mapping)?;
        Ok(mapping)
    }

    /// Returns a mapping that is as nobody said otherwise.
    pub fn new_mapping(&self, collection: CollectionId, connection: &str, remote: RemoteId) -> NewMapping {
        NewMapping {
            direction: self.settings.default_direction,
            ..NewMapping::new(collection, connection, remote)
        }
    }

    /// Returns how far the mapping looks back and ahead, by its own word or the server's.
    pub fn reach(&self, mapping: &Mapping) -> (Reach, Reach) {
        (
            mapping.window_past.unwrap_or(self.settings.window_past),
            mapping.window_future.unwrap_or(self.settings.window_future),
        )
    }

    /// Links two remote calendars with each other: a calendar here that nobody sees is the middle, so that there is one
    /// engine and a history (E34). `to` is told which way by `from.direction`: `push` is from the first to the second.
    ///
    /// # Errors
    /// As `add_mapping`; nothing is left behind then.
    pub async fn link(&self, owner: &str, from: NewMapping, to: Far) -> Result<[Mapping; 2], BridgeError> {
        if from.connection == to.connection && from.remote == to.remote {
            let why = "A calendar cannot be linked with itself.";
            return Err(BridgeError::Invalid("to.remote_calendar", why.into()));
        }
        let principal = self.house.principal(owner).await?.ok_or(BridgeError::Missing)?;
        let session = self.house.session(
            principal,
            Origin::Api { principal: owner.to_owned(), agent: String::new(), label: String::new() },
        );
        let home = session.home().await.map_err(failed)?;
        let middle = session.create_hidden_calendar(&home).await.map_err(failed)?;
        let made = self.link_over(owner, &middle, from, to).await;
        if made.is_err() {
            self.drop_middle(owner, middle.id).await?;
        }
        made
    }

    async fn link_over(
        &self,
        owner: &str,
        middle: &Collection,
        from: NewMapping,
        to: Far,
    ) -> Result<[Mapping; 2], BridgeError> {
        // What the first side pushes into the middle is pulled from it, and the other way round; the side that wins
        // against the middle loses against it at the other end.
        let second = NewMapping {
            collection: middle.id,
            connection: to.connection,
            remote: to.remote,
            policy: from.policy.seen_from_there(),
            rules: from.rules.iter().map(Rule::seen_from_there).collect(),
            ..from.clone()
        };
        let first = NewMapping {
            collection: middle.id,
            direction: match from.direction {
                Direction::Push => Direction::Pull,
                Direction::Pull => Direction::Push,
                Direction::Both => Direction::Both,
            },
            ..from
        };
        let first = self.checked(owner, first, &middle.components, "from", None).await?;
        let second = self.checked(owner, second, &middle.components, "to", Some(&first)).await?;
        let both = [first, second];
        self.begin_with(&both).await?;
        Ok(both)
    }

    /// Removes the middle of a link that is no more.
    async fn drop_middle(&self, owner: &str, id: CollectionId) -> Result<(), BridgeError> {
        let Some(collection) = self.house.store.collection(id).await? else { return Ok(()) };
        let used = record::load_all::<Mapping>(&*self.house.store, Table::Mapping, "").await?;
        if !is_hidden(&collection) || used.iter().any(|mapping| mapping.collection == id) {
            return Ok(());
        }
        let Some(principal) = self.house.principal(owner).await? else { return Ok(()) };
        let session = self.house.session(
            principal,
            Origin::Api { principal: owner.to_owned(), agent: String::new(), label: String::new() },
        );
        let Ok(at) = session.writable(collection) else { return Ok(()) };
        match session.delete_hidden_calendar(&at).await {
            Ok(()) | Err(Error::Refused(Refusal::Missing)) => Ok(()),
            Err(error) => Err(failed(error)),
        }
    }

    /// Lists the principal's mappings.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn mappings(&self, owner: &str) -> Result<Vec<(Mapping, MappingState)>, BridgeError> {
        let mut all = Vec::new();
        for mapping in record::load_all::<Mapping>(&*self.house.store, Table::Mapping, "").await? {
            if mapping.owner == owner {
                let state = self.mapping_state(&mapping.id).await?;
                all.push((mapping, state));
            }
        }
        all.sort_by_key(|(m, _)| (m.created, m.id.clone()));
        Ok(all)
    }

    /// Returns one mapping.
    ///
    /// # Errors
    /// `Missing`, also if it is somebody else's.
    pub async fn mapping(&self, owner: &str, id: &str) -> Result<(Mapping, MappingState), BridgeError> {
        let found: Option<Mapping> = self.owned(mapping_key(id), id).await?;
        let mapping = found.filter(|m| m.owner == owner).ok_or(BridgeError::Missing)?;
        let state = self.mapping_state(id).await?;
        Ok((mapping, state))
    }

    pub(super) async fn mapping_state(&self, id: &str) -> Result<MappingState, Fault> {
        Ok(record::load(&*self.house.store, &mapping_state_key(id)).await?.unwrap_or_default())
    }

    /// Changes a mapping's settings.
    ///
    /// # Errors
    /// `Missing`, `Invalid`.
    pub async fn update_mapping(
        &self,
        owner: &str,
        id: &str,
        change: impl Fn(&mut Mapping) -> Result<(), BridgeError> + Send + Sync,
    ) -> Result<Mapping, BridgeError> {
        let (seen, _) = self.mapping(owner, id).await?;
        let mut wanted = seen.clone();
        change(&mut wanted)?;
        if wanted.direction != Direction::Pull && seen.direction == Direction::Pull {
            may_write(&self.connection(owner, &seen.connection).await?.0, wanted.direction)?;
            let calendars = self.remote_calendars(owner, &seen.connection).await?;
            if let Some(remote) = calendars.into_iter().find(|c| c.id == seen.remote && !c.writable) {
                return Err(read_only(&remote));
            }
        }
        let _held = self.hold(id).await?;
        let (mut mapping, mut state) = self.mapping(owner, id).await?;
        let before = mapping.clone();
        change(&mut mapping)?;
        sound(&mapping)?;
        if mapping == before {
            return Ok(mapping);
        }
        mapping.changed = Some(self.house.clock.now());
        if reshapes(&before, &mapping) {
            // What was left alone before may have to be looked at now.
            state.shape.clear();
        }
        if mapping.enabled {
            state.pace = Pace {
                next: Some(self.house.clock.now()),
                not_before: state.pace.not_before,
                ..Pace::default()
            };
        }
        let ops = vec![record::put(mapping_key(id), &mapping)?, record::put(mapping_state_key(id), &state)?];
        let become_so = |all: &mut Vec<Mapping>| {
            all.iter_mut().filter(|other| other.id == id).for_each(|other| other.clone_from(&mapping));
        };
        self.commit_marked(mapping.collection, ops, become_so).await?;
        if let Some(line) = self.lines().get_mut(id) {
            line.enabled = mapping.enabled;
            line.prompt = mapping.push == Push::Immediate;
            line.pace = state.pace;
        }
        self.wake.notify_one();
        Ok(mapping)
    }

    /// Forgets a mapping and what it agreed on. Events stay on both sides.
    ///
    /// # Errors
    /// `Missing`; when the store fails.
    pub async fn delete_mapping(&self, owner: &str, id: &str) -> Result<(), BridgeError> {
        let (mapping, _) = self.mapping(owner, id).await?;
        if let Some(line) = self.lines().get_mut(id) {
            line.enabled = false;
        }
        let _held = self.hold(id).await?;
        self.lines().remove(id);
        // The mapping itself goes last: until then a crash leaves one that finds its objects again by their UIDs.
        for (table, prefix) in [
            (Table::Base, format!("{id}/")),
            (Table::Base, format!("{id}.bytes/")),
            (Table::Base, format!("{id}.index/")),
            (Table::Base, format!("{id}.left/")),
            (Table::Run, format!("{id}/")),
            (Table::Conflict, format!("{id}/")),
        ] {
            self.delete_all(table, &prefix).await?;
        }
        let mut ops = vec![Op::DeleteRecord(mapping_state_key(id)), Op::DeleteRecord(mapping_key(id))];
        ops.extend(self.notices(owner).forget(id).await?);
        self.commit_marked(mapping.collection, ops, |all| all.retain(|other| other.id != id)).await?;
        // The middle of a link goes with the last of its mappings.
        self.drop_middle(owner, mapping.collection).await
    }

    async fn delete_all(&self, table: Table, prefix: &str) -> Result<(), BridgeError> {
        loop {
            let page = self.house.store.records(table, prefix, None, 200).await?;
            if page.is_empty() {
                return Ok(());
            }
            self.commit(page.into_iter().map(|(key, _)| Op::DeleteRecord(key)).collect()).await?;
        }
    }
}

/// The other end of a link.
#[derive(Debug, Clone)]
pub struct Far {
    /// The account.
    pub connection: String,
    /// Its calendar.
    pub remote: RemoteId,
}

/// Refuses settings that cannot be.
fn sound(mapping: &Mapping) -> Result<(), BridgeError> {
    // E2: one minute to one day.
    if mapping.poll_seconds.is_some_and(|seconds| !(60..=86_400).contains(&seconds)) {
        let why = "It must be between one minute and 24 hours.";
        return Err(BridgeError::Invalid("poll_interval", why.into()));
    }
    if mapping.on_remote_delete == OnDelete::Restore {
        let why = "It is one of trash, cancel and keep: what somebody removed there is not put back.";
        return Err(BridgeError::Invalid("on_remote_delete", why.into()));
    }
    for (field, count) in [("rules", mapping.rules.len()), ("filters", mapping.filters.len())] {
        if count > MOST {
            return Err(BridgeError::Invalid(field, format!("There may be {MOST} at most.")));
        }
    }
    Ok(())
}

/// Tells whether the change is about what is carried, so that everything has to be compared anew.
fn reshapes(before: &Mapping, after: &Mapping) -> bool {
    (before.direction, before.fields, &before.filters, before.window_past, before.window_future)
        != (after.direction, after.fields, &after.filters, after.window_past, after.window_future)
}

/// E8: what its owner consented to is not gone beyond.
pub(super) fn may_write(connection: &Connection, direction: Direction) -> Result<(), BridgeError> {
    if direction == Direction::Pull || connection.access == Access::Write {
        return Ok(());
    }
    let why = format!(
        "{} is connected for reading only. Choose the direction `pull`, or connect it again with `\"access\": \"write\"` \
         (POST /connections/{}/reconnect): its mappings stay.",
        connection.account, connection.id
    );
    Err(BridgeError::Invalid("direction", why))
}

fn read_only(remote: &RemoteCalendar) -> BridgeError {
    let why = format!("{} may only be read; choose the direction `pull`.", remote.name);
    BridgeError::Invalid("direction", why)
}

fn failed(error: Error) -> BridgeError {
    match error {
        Error::Failed(fault) => BridgeError::Failed(fault),
        Error::Refused(refusal) => BridgeError::Conflict(format!("It cannot be done here: {refusal:?}")),
    }
}

/// Two calendars that hold nothing in common have nothing to exchange.
fn common_component(here: &[String], there: &RemoteCalendar) -> Result<(), BridgeError> {
    let any =
        here.is_empty() || there.components.is_empty() || here.iter().any(|c| there.components.contains(c));
    if any {
        return Ok(());
    }
    let why = format!(
        "{} holds {} and the calendar here {}: they have nothing in common.",
        there.name,
        there.components.join(", "),
        here.join(", ")
    );
    Err(BridgeError::Invalid("remote_calendar", why))
}

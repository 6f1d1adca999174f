//! Where the events of a calendar came from, for whoever shows them.
//!
//! Owns: look-ups by key for each mapping of the calendar and event; a calendar without mappings costs none. Does not own: the whole story (`why`).

use super::front::{Bridge, BridgeError};
use super::kept;
use super::record::{self, Base, Connection, Kind, Mapping, base_key, connection_key, mapping_key};
use crate::store::{CollectionId, Timestamp};

/// What a mapping has to do with an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// The mapping.
    pub mapping: String,
    /// What kind of account is on its far side; nothing: it was removed.
    pub provider: Option<Kind>,
    /// What the account is called.
    pub account: String,
    /// The event came from there.
    pub from_there: bool,
    /// Nobody changes it here by hand.
    pub keeps: bool,
    /// When both sides last agreed on it.
    pub agreed: Timestamp,
}

/// The mappings of one calendar.
#[derive(Debug, Default)]
pub struct Marks(Vec<(Mapping, Option<(Kind, String)>)>);

impl Bridge {
    /// Returns what is needed to tell where the events of a calendar came from.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn marks(&self, owner: &str, calendar: CollectionId) -> Result<Marks, BridgeError> {
        let ids = self.lines().of(calendar).to_vec();
        let store = &*self.house.store;
        let mut of_it = Vec::with_capacity(ids.len());
        for id in ids {
            let mapping: Option<Mapping> = record::load(store, &mapping_key(&id)).await?;
            let Some(mapping) = mapping.filter(|mapping| mapping.owner == owner) else { continue };
            let connection: Option<Connection> =
                record::load(store, &connection_key(&mapping.connection)).await?;
            of_it.push((mapping, connection.map(|connection| (connection.kind, connection.account))));
        }
        of_it.sort_by_key(|(mapping, _)| (mapping.created, mapping.id.clone()));
        Ok(Marks(of_it))
    }

    /// Returns what mappings have to do with an event.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn marks_of(&self, marks: &Marks, uid: &str) -> Result<Vec<Mark>, BridgeError> {
        let mut found = Vec::new();
        for (mapping, account) in &marks.0 {
            let base: Option<Base> = record::load(&*self.house.store, &base_key(&mapping.id, uid)).await?;
            let Some(base) = base else { continue };
            found.push(Mark {
                mapping: mapping.id.clone(),
                provider: account.as_ref().map(|(kind, _)| *kind),
                account: account.as_ref().map(|(_, account)| account.clone()).unwrap_or_default(),
                from_there: base.from_there,
                keeps: mapping.keeps() && kept::keeps(&base),
                agreed: base.agreed,
            });
        }
        Ok(found)
    }
}

//! Where the events of a calendar came from, for whoever shows them.
//!
//! Owns: one look-up for each mapping of the calendar and event. Does not own: the whole story (`why`).

use super::front::{Bridge, BridgeError};
use super::kept;
use super::record::{self, Base, Kind, Mapping, base_key};
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
        let mut of_it: Vec<Mapping> =
            self.mappings(owner).await?.into_iter().map(|(mapping, _)| mapping).collect();
        of_it.retain(|mapping| mapping.collection == calendar);
        if of_it.is_empty() {
            return Ok(Marks::default());
        }
        let connections = self.connections(owner).await?;
        let account = |mapping: &Mapping| {
            let found = connections.iter().find(|(connection, _)| connection.id == mapping.connection);
            found.map(|(connection, _)| (connection.kind, connection.account.clone()))
        };
        Ok(Marks(
            of_it.into_iter().map(|mapping| (account(&mapping), mapping)).map(|(a, m)| (m, a)).collect(),
        ))
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

//! The calendar that new events go into unless somebody says where (S2-013).
//!
//! Owns: which one that is. Does not own: who asks (bookings, the JSON API).
//!
//! A choice is kept as a property of the home. Without one, or if what was chosen is gone or can only be read, it is the
//! calendar that came with the account, else the first.

use super::access::{Readable, Writable};
use super::booking::is_holds;
use super::hidden::{NAMESPACE, is_hidden, server};
use super::kept::{Kept, kept};
use super::put::When;
use super::{Error, Session};
use crate::store::{Collection, CollectionId, Kind};

/// The choice.
const DEFAULT: &str = "default";
/// The calendar that comes with an account.
const FIRST: &str = "calendar";

/// Tells whether nothing can be added to the calendar by hand.
pub(super) fn is_closed(collection: &Collection) -> bool {
    kept(collection) == Kept::Whole
}

/// Returns the calendar among the children of a home that new events go into.
pub(super) fn default_of(home: &Collection, children: &[Readable]) -> Option<CollectionId> {
    let chosen = chosen(home);
    let open: Vec<&Collection> = children
        .iter()
        .map(|child| &**child.collection())
        .filter(|c| c.kind == Kind::Calendar && !is_hidden(c) && !is_holds(c) && !is_closed(c))
        .filter(|c| c.components.is_empty() || c.components.iter().any(|name| name == "VEVENT"))
        .collect();
    let found = open.iter().find(|c| Some(c.id) == chosen);
    let found = found.or_else(|| open.iter().find(|c| c.name.as_str() == FIRST)).or(open.first());
    found.map(|c| c.id)
}

fn chosen(home: &Collection) -> Option<CollectionId> {
    let text = home.properties.0.get(&server(DEFAULT))?;
    let inner = text.split_once('>')?.1.split_once('<')?.0;
    inner.parse().ok().map(CollectionId)
}

impl Session {
    /// Returns the calendar that new events go into; nothing: there is none that takes any.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn default_calendar(&self) -> Result<Option<Writable>, Error> {
        let home = self.home().await?;
        let children = home.all_children().await?;
        let Some(id) = default_of(home.collection(), &children) else { return Ok(None) };
        let found = children.iter().find(|child| child.id() == id);
        Ok(found.map(|child| self.writable(std::sync::Arc::clone(child.collection()))).transpose()?)
    }

    /// Chooses the calendar that new events go into; nothing: as nobody chose.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn set_default_calendar(&self, calendar: Option<CollectionId>) -> Result<(), Error> {
        let home = self.home().await?;
        if chosen(home.collection()) == calendar {
            return Ok(());
        }
        let change = |home: &mut Collection| {
            match calendar {
                Some(id) => {
                    let text = format!("<{DEFAULT} xmlns=\"{NAMESPACE}\">{}</{DEFAULT}>", id.0);
                    home.properties.0.insert(server(DEFAULT), text)
                }
                None => home.properties.0.remove(&server(DEFAULT)),
            };
            Ok(())
        };
        self.update_collection(&home, &When::always(), change).await.map(drop)
    }
}

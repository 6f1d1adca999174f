//! The rules: what may happen to a calendar. Speaks `Refusal`, never HTTP.
//!
//! Owns: who may see and change what (`access`), how collections come and go (`collection`), the one way an object
//! enters or leaves (`put`), moving and copying (`transfer`), what was deleted (`trash`), accounts (`principal`), bookings
//! (`booking`).
//! Does not own: how anything is stored (`store`) or asked for (`dav`, `api`).

mod access;
pub mod booking;
mod collection;
mod default;
mod hidden;
mod kept;
mod leaving;
mod principal;
mod properties;
mod put;
mod query;
mod refusal;
mod transfer;
mod trash;
mod versions;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crate::metrics::Metrics;
use crate::store::{Origin, Principal, Store, Timestamp};

pub use access::{Readable, Writable};
pub use collection::NewCollection;
pub use hidden::{is_hidden, is_of_server};
pub use kept::{Answer, Keeper, Kept, kept, set_kept};
pub use principal::{NewPrincipal, login_name};
pub use properties::{Shown, decode_properties, encode_properties, zone_of};
pub use put::{Put, Stored, When, index_of};
pub use query::{Found, Query, Text};
pub use refusal::{Error, Refusal};
pub use transfer::{Overwrite, Transferred};
pub use trash::{Discarded, Restored, Trashed};
pub use versions::{Ended, Version};

/// Tells the time; passed in, so that tests decide what time it is.
pub trait Clock: Send + Sync + 'static {
    /// Returns the present moment.
    fn now(&self) -> Timestamp;
}

/// How much one may store and ask for.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Bytes of one calendar object resource (RFC 4791 §5.2.5).
    pub object_size: u64,
    /// Bytes of one file under `/dav/files/`.
    pub file_size: u64,
    /// Objects in one collection.
    pub objects: u64,
    /// Instances that one answer may hold when series are expanded.
    pub instances: usize,
    /// Bytes that one principal may store.
    pub quota: u64,
    /// How long what was deleted can be brought back.
    pub keep_trash: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            object_size: 10 << 20,
            file_size: 64 << 20,
            objects: 200_000,
            instances: 100_000,
            quota: 10 << 30,
            keep_trash: Duration::from_secs(30 * 86_400),
        }
    }
}

/// Everything that the rules need from below, made once at start.
pub struct House {
    /// Where all is kept.
    pub store: Arc<dyn Store>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// What is too much.
    pub limits: Limits,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    understood: query::Understood,
    bookings: booking::Desk,
    keeper: OnceLock<Arc<dyn Keeper>>,
}

impl House {
    /// Returns a house over this store.
    pub fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>, limits: Limits) -> Arc<House> {
        let (understood, bookings) = (query::Understood::new(), booking::Desk::new());
        let keeper = OnceLock::new();
        Arc::new(House { store, clock, limits, metrics: Arc::default(), understood, bookings, keeper })
    }

    /// Returns a session of this principal. Whoever calls has proven who is asking.
    pub fn session(self: &Arc<Self>, principal: Arc<Principal>, origin: Origin) -> Session {
        Session { house: Arc::clone(self), principal, origin }
    }
}

impl std::fmt::Debug for House {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("House").field("limits", &self.limits).finish_non_exhaustive()
    }
}

/// Who is asking, with what and on which path.
#[derive(Debug, Clone)]
pub struct Session {
    /// Store, clock and limits.
    pub house: Arc<House>,
    /// Who is asking.
    pub principal: Arc<Principal>,
    /// What the log will say.
    pub origin: Origin,
}

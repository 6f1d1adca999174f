//! The admin socket: commands work while the server holds the store.
//!
//! Owns: the socket `admin.sock` in the data directory (mode 0600), the lines that are spoken on it, one wire for both
//! ways of working: through the socket, or on the store directly when no server runs.
//! Does not own: what an operation does (`work`), how its outcome is shown (`cli`).
//!
//! One JSON object a line. The command sends `Op`, then what the operation asks for; the server sends what it finds,
//! and `Done` or `Failed` at the end. Files are read and written by the command, under its own rights.

mod backup;
mod calendars;
mod check;
mod socket;
mod work;

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::mpsc;

use crate::auth::grant::Keyring;
use crate::auth::{Guard, Scope};
use crate::config::Config;

pub(super) use socket::{listen, serve};

/// The socket's name in the data directory.
pub const SOCKET: &str = "admin.sock";

/// How often a store that another process has is tried again, ten times a second.
const TRIES: u32 = 100;

/// A password on its way to the server; never shown.
#[derive(Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Hushed(pub String);

impl std::fmt::Debug for Hushed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("…")
    }
}

/// Bytes within a line, as Base64.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Octets(pub Bytes);

impl Serialize for Octets {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Octets {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Octets, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        STANDARD.decode(&*text).map(|bytes| Octets(bytes.into())).map_err(serde::de::Error::custom)
    }
}

/// One thing to do.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "do")]
pub enum Op {
    /// Makes an account.
    UserAdd {
        /// Login name.
        name: String,
        /// Name shown to people.
        display_name: String,
        /// Mail addresses.
        emails: Vec<String>,
        /// May administer the server.
        admin: bool,
        /// The password.
        password: Hushed,
    },
    /// Lists accounts.
    UserList,
    /// Sets a password.
    UserPasswd {
        /// Login name.
        name: String,
        /// The password.
        password: Hushed,
    },
    /// Removes an account with everything that is its.
    UserRemove {
        /// Login name.
        name: String,
    },
    /// Makes an app password.
    AppPasswordAdd {
        /// Login name.
        user: String,
        /// What it is for.
        label: String,
    },
    /// Lists app passwords.
    AppPasswordList {
        /// Login name.
        user: String,
    },
    /// Revokes an app password.
    AppPasswordRevoke {
        /// Login name.
        user: String,
        /// Id or label.
        which: String,
    },
    /// Makes a token.
    TokenAdd {
        /// Login name.
        user: String,
        /// What it is for.
        label: String,
        /// What it allows.
        scopes: Vec<Scope>,
    },
    /// Lists tokens.
    TokenList {
        /// Login name; nothing: all.
        user: Option<String>,
    },
    /// Revokes a token.
    TokenRevoke {
        /// Login name.
        user: String,
        /// Id or label.
        which: String,
    },
    /// Lists calendars.
    CalendarList {
        /// Login name; nothing: of all accounts.
        user: Option<String>,
    },
    /// Makes a calendar.
    CalendarAdd {
        /// Login name.
        user: String,
        /// What it begins with.
        calendar: NewCalendar,
    },
    /// Removes a calendar with everything in it.
    CalendarRemove {
        /// Login name.
        user: String,
        /// Its name in the URL.
        name: String,
    },
    /// Reads all objects of a calendar: one `Object` each.
    CalendarExport {
        /// Login name.
        user: String,
        /// Its name in the URL.
        name: String,
    },
    /// Stores objects: `Calendar` and `Object` lines come until `End`; `Item` lines go back for what was refused.
    CalendarImport {
        /// Login name.
        user: String,
        /// Only tell what would happen.
        dry_run: bool,
    },
    /// Verifies the store: index against bytes, log against objects. `Item` lines for what is wrong.
    Check {
        /// Make the indexes anew first.
        repair: bool,
    },
    /// Writes everything out: `Chunk` lines.
    Backup,
    /// Seals all secrets under a new key.
    RotateKey,
}

/// A calendar that is to be made.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewCalendar {
    /// Its name in the URL.
    pub name: String,
    /// Its name shown to people; nothing: the name.
    pub title: Option<String>,
    /// `#RRGGBB` or `#RRGGBBAA`.
    pub color: Option<String>,
    /// For people.
    pub description: Option<String>,
    /// What it may hold: `VEVENT`, `VTODO`, `VJOURNAL`; empty: anything.
    pub components: Vec<String>,
}

/// One line on the wire.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "is")]
pub enum Line {
    /// To the server: what to do. Sent once, first.
    Op {
        /// The version of the command.
        version: String,
        /// What to do.
        op: Op,
    },
    /// To the server: make this calendar if it is not there.
    Calendar {
        /// What it begins with.
        calendar: NewCalendar,
    },
    /// A calendar object, either way.
    Object {
        /// The calendar's name.
        calendar: String,
        /// The object's name.
        name: String,
        /// Where it came from, for messages.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        source: String,
        /// Its bytes.
        data: Octets,
    },
    /// To the server: nothing more comes.
    End,
    /// From the server: a piece of a stream.
    Chunk {
        /// The piece.
        data: Octets,
    },
    /// From the server: one thing of a list.
    Item {
        /// The thing.
        item: Value,
    },
    /// From the server: it is done.
    Done {
        /// What came of it.
        outcome: Value,
    },
    /// From the server: it could not be done; nothing more comes.
    Failed {
        /// A sentence.
        why: String,
    },
}

/// Both directions of one conversation.
pub struct Wire {
    /// What goes to the other side.
    pub to: mpsc::Sender<Line>,
    /// What comes from it.
    pub from: mpsc::Receiver<Line>,
}

impl Wire {
    /// Returns the two ends of a conversation within this process.
    pub fn pair() -> (Wire, Wire) {
        let (to_there, from_here) = mpsc::channel(16);
        let (to_here, from_there) = mpsc::channel(16);
        (Wire { to: to_there, from: from_there }, Wire { to: to_here, from: from_here })
    }

    /// Sends a line.
    ///
    /// # Errors
    /// A sentence, when the other side is gone.
    pub async fn send(&self, line: Line) -> Result<(), String> {
        self.to.send(line).await.map_err(|_| "the other side hung up".to_owned())
    }
}

/// What operations are carried out with.
pub(super) struct Office {
    guard: Arc<Guard>,
    keys: Keys,
}

/// Where the sealing key is.
enum Keys {
    /// Open, in a server.
    Open(Arc<Keyring>),
    /// To be opened if an operation needs it: a command should not make a key file by the way.
    Closed(Box<Config>),
}

impl Office {
    pub(super) fn serving(guard: Arc<Guard>, keys: Arc<Keyring>) -> Office {
        Office { guard, keys: Keys::Open(keys) }
    }

    fn keys(&self) -> Result<Arc<Keyring>, String> {
        match &self.keys {
            Keys::Open(keys) => Ok(Arc::clone(keys)),
            Keys::Closed(config) => super::keys(config).map(Arc::new),
        }
    }
}

/// Serves one conversation: reads the operation, does it, says how it went.
pub(super) async fn converse(office: Arc<Office>, mut wire: Wire) {
    let outcome = match wire.from.recv().await {
        Some(Line::Op { op, .. }) => work::carry_out(op, &office, &mut wire).await,
        Some(_) => Err("the conversation did not begin with an operation".into()),
        None => return,
    };
    let last = match outcome {
        Ok(outcome) => Line::Done { outcome },
        Err(why) => Line::Failed { why },
    };
    let _ = wire.to.send(last).await;
}

/// Tells whether a server runs on this data directory.
///
/// # Errors
/// A sentence, when it cannot be found out.
pub async fn running(config: &Config) -> Result<bool, String> {
    Ok(socket::connect(&config.data_dir().join(SOCKET)).await?.is_some())
}

/// Begins an operation: in the server that runs on this data directory, else on the store itself.
///
/// # Errors
/// A sentence.
pub async fn begin(config: &Config, op: Op) -> Result<Wire, String> {
    let mut tries = 0;
    let wire = loop {
        if let Some(wire) = socket::connect(&config.data_dir().join(SOCKET)).await? {
            break wire;
        }
        match super::open(config).await {
            Ok(house) => {
                let (here, there) = Wire::pair();
                let keys = Keys::Closed(Box::new(config.clone()));
                let office = Office { guard: Guard::new(house)?, keys };
                tokio::spawn(converse(Arc::new(office), there));
                break here;
            }
            // Another command, or a server that is just starting or stopping.
            Err(why) if why.contains(super::IN_USE) && tries < TRIES => {
                tries += 1;
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            Err(why) => return Err(why),
        }
    };
    wire.send(Line::Op { version: env!("CARGO_PKG_VERSION").into(), op }).await?;
    Ok(wire)
}

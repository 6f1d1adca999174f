//! Notifications that a simulator sends.
//!
//! Owns: their order, loss, doubling, delay. Does not own: who is told what (each [`World`](super::World)).

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, watch};
use url::Url;

use super::clock::Dice;
use crate::http::fetch::{self, Call, Fetch, FetchError, Private, Timeouts};

/// A notification is offered so often when the receiver says that it has trouble.
const OFFERS: u32 = 3;
/// The pause between two offers.
const PAUSE: Duration = Duration::from_millis(50);
/// Bytes of an answer to a notification.
const LIMIT: usize = 64 << 10;

/// How notifications travel.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Manners {
    /// How probable it is that one is lost.
    pub loss: f64,
    /// How probable it is that one comes twice.
    pub dup: f64,
    /// How probable it is that one waits for its successor and comes after it.
    pub reorder: f64,
    /// Milliseconds that each takes.
    pub delay: u64,
}

/// A notification.
#[derive(Debug, Clone)]
pub struct Notice {
    /// Where it goes.
    pub url: Url,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

/// The post office of a simulator. Copies share it.
#[derive(Debug, Clone)]
pub struct Post {
    fetch: Arc<Fetch>,
    letters: mpsc::UnboundedSender<Notice>,
    open: Arc<watch::Sender<usize>>,
    state: Arc<Mutex<State>>,
    dice: Dice,
}

#[derive(Debug, Default)]
struct State {
    manners: Manners,
    waiting: Option<Notice>,
}

impl Post {
    /// Opens a post office; it closes with its last copy.
    ///
    /// # Errors
    /// A sentence: the outbound client cannot be made.
    pub(super) fn open(dice: Dice) -> Result<Post, String> {
        let fetch = Arc::new(Fetch::new(Private::Allowed, Timeouts::default())?);
        let (letters, mut inbox) = mpsc::unbounded_channel::<Notice>();
        let open = Arc::new(watch::Sender::new(0usize));
        let state: Arc<Mutex<State>> = Arc::default();
        let (carrier, count, manners) = (Arc::clone(&fetch), Arc::clone(&open), Arc::clone(&state));
        tokio::spawn(async move {
            while let Some(notice) = inbox.recv().await {
                let delay = manners.lock().unwrap_or_else(PoisonError::into_inner).manners.delay;
                if delay > 0 {
                    tokio::time::sleep(Duration::from_millis(delay)).await;
                }
                deliver(&carrier, notice).await;
                count.send_modify(|count| *count = count.saturating_sub(1));
            }
        });
        Ok(Post { fetch, letters, open, state, dice })
    }

    /// Says how notifications travel from now on.
    pub fn manners(&self, manners: Manners) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).manners = manners;
        self.flush();
    }

    /// Sends a notification, as the manners will have it.
    pub fn send(&self, notice: Notice) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let manners = state.manners;
        if self.dice.falls(manners.loss) {
            return;
        }
        let twice = self.dice.falls(manners.dup);
        if state.waiting.is_none() && self.dice.falls(manners.reorder) {
            state.waiting = Some(notice);
            return;
        }
        if twice {
            self.letter(notice.clone());
        }
        self.letter(notice);
        if let Some(late) = state.waiting.take() {
            self.letter(late);
        }
    }

    fn letter(&self, notice: Notice) {
        self.open.send_modify(|count| *count += 1);
        let _ = self.letters.send(notice);
    }

    /// Sends what waits for a successor.
    pub fn flush(&self) {
        let late = self.state.lock().unwrap_or_else(PoisonError::into_inner).waiting.take();
        if let Some(late) = late {
            self.letter(late);
        }
    }

    /// Waits until every notification that was sent has been delivered or given up.
    pub async fn idle(&self) {
        let _ = self.open.subscribe().wait_for(|count| *count == 0).await;
    }

    /// Sends a request at once and returns the answer: for handshakes.
    ///
    /// # Errors
    /// What the connection says.
    pub async fn ask(&self, notice: Notice) -> Result<fetch::Answer, FetchError> {
        self.fetch.send(call(notice)).await
    }
}

fn call(notice: Notice) -> Call {
    Call { method: Method::POST, url: notice.url, headers: notice.headers, body: notice.body, limit: LIMIT }
}

/// Offers a notification until it is taken or refused for good.
async fn deliver(fetch: &Fetch, notice: Notice) {
    for offer in 1..=OFFERS {
        match fetch.send(call(notice.clone())).await {
            Ok(answer) if answer.status.is_server_error() => {}
            Ok(_) => return,
            Err(error) => tracing::debug!("a notification of the simulator was not taken: {error}"),
        }
        if offer < OFFERS {
            tokio::time::sleep(PAUSE).await;
        }
    }
}

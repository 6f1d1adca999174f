//! Webhooks to other programs: what happened is told to whoever subscribed, signed, in order, until it is taken.
//!
//! Owns: subscriptions and their secrets, what is told of what was committed, deliveries and their retries.
//! Does not own: the words (`api` lends them), how anybody subscribes (`api`), webhooks that come in (`hooks`).
//!
//! A follower of the logs: whoever wrote, over whichever door, is told of. What happened becomes deliveries in the very commit
//! that moves the cursor on, so that a crash at any moment loses none; a delivery that was taken just before a crash is sent
//! again under the same id.

mod facts;
mod front;
mod known;
mod observe;
mod record;
mod send;
mod sign;
mod voice;
mod work;

pub use front::{HookError, NewHook, Replay, Webhooks};
pub use record::{
    Attempt, Delivery, EVENTS, Hook, Pause, TEST, Why, fits, message_id, names_something, number_of,
};
pub use voice::{Fact, Matter, Voice};
pub use work::Wakeful;

//! Far sides over HTTP that misbehave on request: developers, tests and `kalends demo` share them.
//!
//! Owns: what every simulator has in common: a server, a clock, dice, a script of faults, a log of requests, notifications.
//! Does not own: what a far side knows and how it speaks (`google` and its siblings), any part of the bridge.
//!
//! A simulator is a [`World`] that [`Server::start`] puts behind an address. Everything that chance decides comes from one
//! seed, and the time comes from the simulator's own [`Clock`]: the same script gives the same story.

pub mod caldav;
mod clock;
mod control;
pub mod cozi;
mod fault;
pub mod google;
mod log;
pub mod outlook;
mod post;
mod server;
mod wire;

use std::future::Future;
use std::pin::Pin;

use serde_json::Value;

pub use clock::{Clock, Dice};
pub use fault::{Act, Fault, Paused, Point, Rule, Script};
pub use log::{Entry, Log};
pub use post::{Manners, Notice, Post};
pub use server::{Dropped, Options, Running, Scene, Server, Tls, perform};
pub use wire::{Answer, Request, decode, form};

/// What an answer takes to be made.
pub type Answering<'a> = Pin<Box<dyn Future<Output = Answer> + Send + 'a>>;

/// How a page of a listing is bent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bend {
    /// Only so many items are left; what the page says about going on stays.
    Truncate(usize),
    /// The first item stands in it twice.
    Double,
    /// No items are left.
    Empty,
}

/// A far side: its state and how it answers.
pub trait World: Send + Sync + 'static {
    /// Returns its name, as `kalends simulate` takes it.
    fn kind(&self) -> &'static str;

    /// Answers a request.
    fn answer<'a>(&'a self, request: Request, scene: &'a Scene) -> Answering<'a>;

    /// Does something that no request asked for.
    ///
    /// # Errors
    /// A sentence: this far side knows no such thing.
    fn act(&self, act: &Act, scene: &Scene) -> Result<Value, String>;

    /// Returns how this far side says that it was asked too often.
    fn throttled(&self, retry_after: Option<u64>) -> Answer;

    /// Bends a page of a listing. This one knows JSON objects whose items are in `items` or `value`.
    fn bend(&self, answer: &mut Answer, bend: Bend) {
        let Ok(mut page) = serde_json::from_slice::<Value>(&answer.body) else { return };
        let Some(items) = ["items", "value"].iter().find(|key| page.get(**key).is_some_and(Value::is_array))
        else {
            return;
        };
        let Some(Value::Array(items)) = page.get_mut(*items) else { return };
        match bend {
            Bend::Truncate(keep) => items.truncate(keep),
            Bend::Double => items.extend(items.first().cloned()),
            Bend::Empty => items.clear(),
        }
        answer.body = page.to_string().into();
    }
}

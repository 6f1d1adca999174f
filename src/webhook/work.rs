//! What is kept in memory: who has to be looked at, which subscription is due. The follower's side.
//!
//! Owns: the schedule. All of it can be found out again. Does not own: looking (`observe`), sending (`send`).

use std::collections::{BTreeSet, HashMap};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::front::Webhooks;
use super::observe::Look;
use super::record::Hook;
use super::voice::{Matter, Voice};
use crate::follow::Follower;
use crate::store::{CollectionId, Fault, Key, Notice, Table, Timestamp};

/// The longest sleep: a clock that was set is noticed.
const NAP: Duration = Duration::from_secs(60);
/// After the store failed.
const PAUSE: Duration = Duration::from_secs(5);

/// One subscription.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) owner: String,
    /// When its next delivery is due; nothing: none waits.
    pub(super) due: Option<Timestamp>,
    /// One is on its way.
    pub(super) busy: bool,
    pub(super) cut: CancellationToken,
}

/// What is kept in memory.
#[derive(Debug, Default)]
pub(super) struct State {
    /// Owners with subscriptions, and what of them has to be looked at.
    owners: HashMap<String, Look>,
    /// Their homes and calendars.
    places: HashMap<CollectionId, String>,
    lines: HashMap<String, Line>,
    /// Conflicts and runs whose owner was not asked for yet.
    matters: BTreeSet<(Matter, String)>,
    /// Accounts that changed, and may be gone.
    changed: BTreeSet<String>,
}

impl State {
    /// Notes how a subscription stands.
    pub(super) fn line(&mut self, hook: &Hook) {
        let due = (hook.waits() && hook.paused.is_none()).then(|| hook.due.unwrap_or_default());
        match self.lines.get_mut(&hook.id) {
            Some(line) => line.due = due,
            None => {
                let owner = hook.owner.clone();
                let line = Line { owner, due, busy: false, cut: CancellationToken::new() };
                self.lines.insert(hook.id.clone(), line);
            }
        }
    }

    /// Puts a subscription off that could not be dealt with.
    pub(super) fn later(&mut self, id: &str, at: Timestamp) {
        if let Some(line) = self.lines.get_mut(id) {
            line.due = Some(at);
        }
    }

    /// Notes that nothing of it is on its way any more.
    pub(super) fn free(&mut self, id: &str) {
        if let Some(line) = self.lines.get_mut(id) {
            line.busy = false;
        }
    }

    /// Forgets a subscription and cuts what is on its way.
    pub(super) fn cut(&mut self, id: &str) {
        if let Some(line) = self.lines.remove(id) {
            line.cut.cancel();
        }
    }

    /// Notes where an owner's things are.
    pub(super) fn place(&mut self, owner: &str, id: CollectionId) {
        if self.owners.contains_key(owner) {
            self.places.insert(id, owner.to_owned());
        }
    }

    /// Has all of an owner's be looked at.
    pub(super) fn again(&mut self, owner: &str) {
        self.owners.insert(owner.to_owned(), Look::all());
    }

    /// Forgets an owner who has no subscription any more.
    pub(super) fn leave(&mut self, owner: &str) {
        self.owners.remove(owner);
        self.places.retain(|_, of| of != owner);
    }

    fn idle(&self) -> bool {
        self.owners.is_empty()
    }

    /// Returns what is due and how long nothing else will be.
    fn due(&mut self, now: Timestamp) -> (Vec<(String, String, CancellationToken)>, Duration) {
        let (mut due, mut wait) = (Vec::new(), NAP);
        for (id, line) in self.lines.iter_mut().filter(|(_, line)| !line.busy) {
            let Some(at) = line.due else { continue };
            if at <= now {
                line.busy = true;
                due.push((line.owner.clone(), id.clone(), line.cut.clone()));
            } else {
                let left = u64::try_from(at.0.saturating_sub(now.0)).unwrap_or(0);
                wait = wait.min(Duration::from_millis(left));
            }
        }
        (due, wait)
    }

    fn hear(&mut self, notice: &Notice) {
        for (collection, _) in &notice.revs {
            let owner = self.places.get(collection);
            if let Some(look) = owner.and_then(|owner| self.owners.get_mut(owner)) {
                look.log = true;
            }
        }
        for key in &notice.keys {
            match key.table {
                Table::Booking => {
                    let Some((owner, id)) = key.path.split_once('/') else { continue };
                    if let Some(look) = self.owners.get_mut(owner) {
                        look.bookings.insert(id.to_owned());
                        look.log = true;
                    }
                }
                Table::BookingRules => {
                    if let Some(look) = self.owners.get_mut(&key.path) {
                        look.rules = true;
                    }
                }
                Table::Conflict => self.matter(Matter::Conflict, key),
                Table::Run => self.matter(Matter::Run, key),
                Table::Principal if self.owners.contains_key(&key.path) => {
                    self.changed.insert(key.path.clone());
                }
                _ => {}
            }
        }
    }

    fn matter(&mut self, matter: Matter, key: &Key) {
        self.matters.insert((matter, key.path.replacen('/', "-", 1)));
    }

    fn looks(&mut self) -> Vec<(String, Look)> {
        let asked = self.owners.iter_mut().filter(|(_, look)| look.is_needed());
        asked.map(|(owner, look)| (owner.clone(), std::mem::take(look))).collect()
    }
}

impl Webhooks {
    /// Notes an owner with subscriptions; all of theirs is looked at.
    pub(super) async fn enter(&self, owner: &str) -> Result<(), Fault> {
        let home = self.store().child(CollectionId::HOMES, owner).await?;
        let mut state = self.state();
        state.again(owner);
        state.changed.insert(owner.to_owned());
        if let Some(home) = home {
            state.place(owner, home.id);
        }
        Ok(())
    }

    /// Finds out whose the conflicts and runs are that were heard of.
    async fn sort(&self, voice: &dyn Voice) -> Result<(), Fault> {
        let matters = std::mem::take(&mut self.state().matters);
        let mut owners: HashMap<String, Option<String>> = HashMap::new();
        for (matter, id) in matters {
            let Some((mapping, _)) = id.split_once('-') else { continue };
            let owner = match owners.get(mapping) {
                Some(owner) => owner.clone(),
                None => {
                    let owner = voice.owner(mapping).await?;
                    owners.insert(mapping.to_owned(), owner.clone());
                    owner
                }
            };
            let mut state = self.state();
            if let Some(look) = owner.and_then(|owner| state.owners.get_mut(&owner)) {
                look.matters.insert((matter, id));
            }
        }
        Ok(())
    }

    /// Forgets what belonged to accounts that are gone.
    async fn clear_up(&self, voice: &dyn Voice) -> Result<(), super::HookError> {
        let changed = std::mem::take(&mut self.state().changed);
        for owner in changed {
            if self.house.principal(&owner).await?.is_some() {
                continue;
            }
            let _turn = self.turn(&owner).await;
            for hook in self.all(&owner).await? {
                self.end(voice, &hook).await?;
            }
            self.state().leave(&owner);
        }
        Ok(())
    }

    /// Does all that is due. Returns how long nothing else will be.
    async fn attend(self: &Arc<Self>, voice: &Arc<dyn Voice>) -> Duration {
        if self.state().idle() {
            return NAP;
        }
        let mut longest = NAP;
        if let Err(error) = self.clear_up(&**voice).await {
            tracing::error!("webhooks of a removed account could not be removed: {error:?}");
        }
        if let Err(fault) = self.sort(&**voice).await {
            tracing::error!("it could not be found out whose runs are told of: {fault}");
            self.all_again();
            longest = PAUSE;
        }
        let looks = self.state().looks();
        for (owner, look) in looks {
            let _turn = self.turn(&owner).await;
            if let Err(fault) = self.look(&**voice, &owner, &look).await {
                tracing::error!("what happened could not be told to webhooks: {fault}");
                let mut state = self.state();
                if state.owners.contains_key(&owner) {
                    state.again(&owner);
                }
                longest = PAUSE;
            }
        }
        let (due, wait) = self.state().due(self.now());
        for (owner, id, cut) in due {
            self.set_out(Arc::clone(voice), owner, id, cut);
        }
        wait.min(longest)
    }

    fn all_again(&self) {
        for look in self.state().owners.values_mut() {
            *look = Look::all();
        }
    }
}

/// The follower's side, as `follow::follow` wants it.
#[derive(Debug, Clone)]
pub struct Wakeful {
    /// The subscriptions.
    pub hooks: Arc<Webhooks>,
    /// What says what happened.
    pub voice: Arc<dyn Voice>,
}

impl Follower for Wakeful {
    fn notice(&self, notice: &Notice) {
        let mut state = self.hooks.state();
        // As long as nobody subscribed, that is all that it costs.
        if !state.idle() {
            state.hear(notice);
        }
    }

    fn lagged(&self) {
        self.hooks.all_again();
    }

    fn tick(&self) -> Pin<Box<dyn Future<Output = Duration> + Send + '_>> {
        Box::pin(self.hooks.attend(&self.voice))
    }

    fn woken(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(self.hooks.wake.notified())
    }
}

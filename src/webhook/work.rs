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
/// Subscriptions of one account that are delivered at a time: slow receivers of one hold nobody else up.
const OF_ONE: usize = 4;
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

    /// Forgets all of an owner's and cuts what is on its way.
    fn cut_all(&mut self, owner: &str) {
        for line in self.lines.values().filter(|line| line.owner == owner) {
            line.cut.cancel();
        }
        self.lines.retain(|_, line| line.owner != owner);
        self.leave(owner);
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
        let mut of: HashMap<String, usize> = HashMap::new();
        for line in self.lines.values().filter(|line| line.busy) {
            *of.entry(line.owner.clone()).or_default() += 1;
        }
        for (id, line) in self.lines.iter_mut().filter(|(_, line)| !line.busy) {
            let Some(at) = line.due else { continue };
            if at <= now {
                let busy = of.entry(line.owner.clone()).or_default();
                // The rest follows as soon as one of them is free.
                if *busy >= OF_ONE {
                    continue;
                }
                *busy += 1;
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
            self.state().cut_all(&owner);
            for hook in self.all(&owner).await? {
                self.end(voice, &hook).await?;
            }
            // What was written while the account was removed.
            self.clear(Table::Delivery, &format!("{owner}/")).await?;
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

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::auth::grant::{Keyring, Secret};
    use crate::calendar::booking::Booked;
    use crate::calendar::{House, Limits, NewPrincipal, Put};
    use crate::http::fetch::{Fetch, Private, Timeouts};
    use crate::sim::Clock;
    use crate::store::memory::Memory;
    use crate::store::{Fut, Meta, Name, Op, Origin, Store};
    use crate::webhook::{Fact, NewHook};

    /// Nobody is asked to say anything.
    #[derive(Debug)]
    struct Silent;

    impl Voice for Silent {
        fn event<'a>(
            &'a self,
            _: &'a str,
            _: CollectionId,
            _: &'a str,
        ) -> Fut<'a, Result<Option<(Meta, Value)>, Fault>> {
            panic!("an event was asked for")
        }

        fn booking(&self, _: &Booked) -> Value {
            panic!("a booking was asked for")
        }

        fn by(&self, _: &Origin) -> String {
            panic!("a name was asked for")
        }

        fn all<'a>(&'a self, _: Matter, _: &'a str) -> Fut<'a, Result<Vec<String>, Fault>> {
            panic!("a list was asked for")
        }

        fn one<'a>(&'a self, _: Matter, _: &'a str, _: &'a str) -> Fut<'a, Result<Option<Fact>, Fault>> {
            panic!("a fact was asked for")
        }

        fn owner<'a>(&'a self, _: &'a str) -> Fut<'a, Result<Option<String>, Fault>> {
            panic!("an owner was asked for")
        }

        fn notice<'a>(
            &'a self,
            _: &'a str,
            _: &'a str,
            _: Option<String>,
        ) -> Fut<'a, Result<Vec<Op>, Fault>> {
            panic!("a notice was asked for")
        }

        fn forget<'a>(&'a self, _: &'a str, _: &'a str) -> Fut<'a, Result<Vec<Op>, Fault>> {
            Box::pin(async { Ok(Vec::new()) })
        }
    }

    /// As long as nobody subscribed, a change costs nothing; and who does not want it is not told.
    #[tokio::test]
    async fn nobody_subscribed_costs_nothing() {
        let store = Arc::new(Memory::new());
        let clock = Arc::new(Clock::fixed(1_800_000_000_000));
        let house = House::new(Arc::clone(&store) as Arc<dyn Store>, clock, Limits::default());
        let keys = Keyring::fixed(&Secret::new("0".repeat(64))).unwrap();
        let fetch = Fetch::new(Private::Allowed, Timeouts::default()).unwrap();
        let hooks = Webhooks::open(Arc::clone(&house), Arc::new(keys), fetch, true).await.unwrap();
        let follower = Wakeful { hooks: Arc::clone(&hooks), voice: Arc::new(Silent) };
        let mut heard = store.watch();
        let anna = NewPrincipal { name: "anna".into(), ..NewPrincipal::default() };
        let anna = house.add_principal(anna).await.unwrap();
        let session = house.session(anna, Origin::System);
        let home = session.home().await.unwrap();
        let at = home.writable_child("calendar").await.unwrap().unwrap();
        let text = "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:x\r\nBEGIN:VEVENT\r\nUID:a\r\nDTSTAMP:20260101T000000Z\r\n\
                    DTSTART:20270101T090000Z\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n";
        let put = async |name: &str| {
            let name = Name::new(name).unwrap();
            session
                .put(&at, Put::new(&name, text.replace("UID:a", &format!("UID:{name}")).into()))
                .await
                .unwrap();
        };
        put("a.ics").await;
        store.rows_read();
        follower.tick().await;
        while let Ok(notice) = heard.try_recv() {
            follower.notice(&notice);
        }
        follower.tick().await;
        assert_eq!(store.rows_read(), 0, "something was read");
        // Some who want to hear of calendars only are not told of an event, and nobody is asked what to say of it.
        for _ in 0..3 {
            let url = "http://127.0.0.1:9/".to_owned();
            let new = NewHook {
                url,
                description: String::new(),
                events: vec!["calendar.*".into()],
                calendars: vec![],
            };
            hooks.make(&Silent, "anna", new).await.unwrap();
        }
        put("b.ics").await;
        while let Ok(notice) = heard.try_recv() {
            follower.notice(&notice);
        }
        follower.tick().await;
        assert!(store.records(Table::Delivery, "", None, 10).await.unwrap().is_empty());
        assert_eq!(follower.tick().await, NAP);
    }
}

//! What doors see: an owner's subscriptions, their secrets and deliveries.
//!
//! Owns: who may see them, what addresses are accepted, changing them. Does not own: what is told (`observe`), deliveries
//! on their way (`send`).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, OwnedMutexGuard, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use url::Url;

use super::observe::Look;
use super::record::{
    self, Delivery, Group, Hook, PAGE, Pause, Why, decode, deliveries, delivery_key, hook_key, put,
    secret_key, told_key,
};

use super::voice::Voice;
use super::work::State;
use crate::auth::grant::{Keyring, SealError, Secret};
use crate::auth::signing;
use crate::calendar::House;
use crate::http::fetch::{Fetch, FetchError};
use crate::store::{Commit, CommitError, Expect, Fault, Key, Op, Origin, Store, Table, Timestamp, random};

/// Subscriptions of one account.
const MOST: usize = 50;
/// Deliveries on their way at a time.
const PLACES: usize = 32;
/// The longest address.
const LONGEST: usize = 2000;

/// Why something was not done.
#[derive(Debug)]
pub enum HookError {
    /// There is no such thing.
    Missing,
    /// A value is not accepted: which, and why.
    Invalid(&'static str, String),
    /// There are enough.
    TooMany(usize),
    /// It waits for its turn, and is sent then.
    Waits,
    /// It was asked for too often; come back after this time.
    Often(Duration),
    /// What lies there is no longer kept.
    Forgotten,
    /// It was changed meanwhile.
    Stale,
    /// The store failed.
    Failed(Fault),
}

impl From<Fault> for HookError {
    fn from(fault: Fault) -> HookError {
        HookError::Failed(fault)
    }
}

impl From<SealError> for HookError {
    fn from(error: SealError) -> HookError {
        HookError::Failed(Fault::Broken(error.to_string()))
    }
}

impl From<CommitError> for HookError {
    fn from(error: CommitError) -> HookError {
        match error {
            CommitError::Rejected(_) => HookError::Stale,
            CommitError::Fault(fault) => HookError::Failed(fault),
        }
    }
}

/// What of a subscription is chosen.
#[derive(Debug, Clone)]
pub struct NewHook {
    /// Where deliveries go.
    pub url: String,
    /// What people call it.
    pub description: String,
    /// Which events.
    pub events: Vec<String>,
    /// Only those of these calendars; empty: of all.
    pub calendars: Vec<u64>,
}

/// All subscriptions. One for a server; followed by `follow::follow`.
pub struct Webhooks {
    pub(super) house: Arc<House>,
    pub(super) keys: Arc<Keyring>,
    pub(super) fetch: Fetch,
    /// Addresses without TLS are accepted.
    plain: bool,
    pub(super) state: Mutex<State>,
    /// Held while anything of an owner's is written.
    turns: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
    pub(super) wake: Notify,
    pub(super) places: Semaphore,
    /// When each subscription was last sent something by hand.
    pub(super) asked: Mutex<HashMap<String, Vec<Timestamp>>>,
    pub(super) tasks: TaskTracker,
    pub(super) stop: CancellationToken,
}

impl std::fmt::Debug for Webhooks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Webhooks").field("plain", &self.plain).finish_non_exhaustive()
    }
}

impl Webhooks {
    /// Returns the subscriptions that the store remembers. Makes no call. `plain`: addresses without TLS are accepted.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn open(
        house: Arc<House>,
        keys: Arc<Keyring>,
        fetch: Fetch,
        plain: bool,
    ) -> Result<Arc<Webhooks>, Fault> {
        let all = record::hooks(&*house.store, None).await?;
        let hooks = Arc::new(Webhooks {
            house,
            keys,
            fetch,
            plain,
            state: Mutex::default(),
            turns: Mutex::default(),
            wake: Notify::new(),
            places: Semaphore::new(PLACES),
            asked: Mutex::default(),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
        });
        for hook in &all {
            hooks.enter(&hook.owner).await?;
            hooks.state().line(hook);
        }
        Ok(hooks)
    }

    /// Cuts the deliveries that are on their way and waits until they are gone. They are tried again at the next start.
    pub async fn close(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn store(&self) -> &dyn Store {
        &*self.house.store
    }

    pub(super) fn now(&self) -> Timestamp {
        self.house.clock.now()
    }

    /// Waits until nobody else writes anything of this owner's.
    pub(super) async fn turn(&self, owner: &str) -> OwnedMutexGuard<()> {
        let turn = {
            let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
            // Those that nobody waits for are made anew.
            if turns.len() > 1000 {
                turns.retain(|_, turn| Arc::strong_count(turn) > 1);
            }
            Arc::clone(turns.entry(owner.to_owned()).or_default())
        };
        turn.lock_owned().await
    }

    pub(super) async fn commit(&self, expects: Vec<Expect>, ops: Vec<Op>) -> Result<(), CommitError> {
        let mut commit = Commit::new(Origin::System, self.now());
        commit.expects = expects;
        commit.ops = ops;
        self.house.store.commit(commit).await.map(|_| ())
    }

    /// Replaces a subscription by what it is now, with further steps.
    pub(super) async fn replace(&self, before: &Hook, after: &Hook, more: Vec<Op>) -> Result<(), HookError> {
        let key = hook_key(&before.owner, &before.id);
        let expect = Expect::Record(key.clone(), Some(record::encode(before)?));
        let mut ops = vec![put(key, after)?];
        ops.extend(more);
        self.commit(vec![expect], ops).await?;
        self.state().line(after);
        self.wake.notify_one();
        Ok(())
    }

    /// Lists an owner's subscriptions.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn all(&self, owner: &str) -> Result<Vec<Hook>, HookError> {
        Ok(record::hooks(self.store(), Some(owner)).await?)
    }

    /// Returns one of them.
    ///
    /// # Errors
    /// `Missing`; when the store fails.
    pub async fn one(&self, owner: &str, id: &str) -> Result<Hook, HookError> {
        if id.is_empty() || !id.bytes().all(|b| b.is_ascii_alphanumeric()) {
            return Err(HookError::Missing);
        }
        record::load(self.store(), &hook_key(owner, id)).await?.ok_or(HookError::Missing)
    }

    /// Subscribes. Returns the secret too; it is told only here.
    ///
    /// # Errors
    /// `Invalid`, `TooMany`; when the store fails.
    pub async fn make(
        &self,
        voice: &dyn Voice,
        owner: &str,
        new: NewHook,
    ) -> Result<(Hook, Secret), HookError> {
        let url = self.address(&new.url)?;
        let _turn = self.turn(owner).await;
        // What happened before is for those who had subscribed.
        self.look(voice, owner, &Look::all()).await?;
        let mut hooks = self.all(owner).await?;
        if hooks.len() >= MOST {
            return Err(HookError::TooMany(MOST));
        }
        let hook = Hook {
            id: random::hex::<8>()?,
            owner: owner.to_owned(),
            url,
            description: new.description,
            events: new.events,
            calendars: new.calendars,
            created: self.now(),
            old_until: None,
            paused: None,
            next: 1,
            head: 1,
            failures: 0,
            due: None,
            delivered: None,
        };
        hooks.push(hook.clone());
        self.enter(owner).await?;
        self.begin(voice, owner, &Group::wanted(&hooks)).await?;
        let secret = signing::fresh()?;
        let sealed = self.keys.seal(&secret_key(&hook.id), &secret)?;
        let key = hook_key(owner, &hook.id);
        let expect = Expect::Record(key.clone(), None);
        let ops = vec![put(key, &hook)?, Op::PutRecord(secret_key(&hook.id), sealed)];
        self.commit(vec![expect], ops).await?;
        self.state().line(&hook);
        self.state().again(owner);
        self.wake.notify_one();
        Ok((hook, secret))
    }

    /// Changes where a subscription goes and what it wants, if it is still as it was read.
    ///
    /// # Errors
    /// `Missing`, `Invalid`; what `check` says; when the store fails.
    pub async fn change<E: From<HookError>>(
        &self,
        voice: &dyn Voice,
        (owner, id): (&str, &str),
        change: impl FnOnce(&Hook) -> Result<NewHook, E>,
    ) -> Result<Hook, E> {
        let _turn = self.turn(owner).await;
        // What happened before is told as it was wanted then.
        self.look(voice, owner, &Look::all()).await.map_err(HookError::from)?;
        let before = self.one(owner, id).await?;
        let new = change(&before)?;
        let url = if new.url == before.url { new.url } else { self.address(&new.url)? };
        let after = Hook {
            url,
            description: new.description,
            events: new.events,
            calendars: new.calendars,
            ..before.clone()
        };
        let mut hooks = self.all(owner).await?;
        hooks.retain(|hook| hook.id != before.id);
        hooks.push(after.clone());
        self.begin(voice, owner, &Group::wanted(&hooks)).await?;
        self.replace(&before, &after, Vec::new()).await?;
        self.state().again(owner);
        Ok(after)
    }

    /// Gives a subscription another secret; the old one signs as well for so many seconds.
    ///
    /// # Errors
    /// `Missing`; when the store fails.
    pub async fn rotate(&self, owner: &str, id: &str, keep: i64) -> Result<(Hook, Secret), HookError> {
        let _turn = self.turn(owner).await;
        let before = self.one(owner, id).await?;
        let old = self.secrets(&before).await?;
        let secret = signing::fresh()?;
        let mut all = vec![secret.reveal()];
        all.extend(old.first().filter(|_| keep > 0).map(Secret::reveal));
        let sealed = self.keys.seal(&secret_key(id), &Secret::new(all.join("\n")))?;
        let until = Timestamp(self.now().0.saturating_add(keep.saturating_mul(1000)));
        let after = Hook { old_until: (keep > 0).then_some(until), ..before.clone() };
        self.replace(&before, &after, vec![Op::PutRecord(secret_key(id), sealed)]).await?;
        Ok((after, secret))
    }

    /// Ends a subscription, with what waits.
    ///
    /// # Errors
    /// `Missing`; what `check` says; when the store fails.
    pub async fn remove<E: From<HookError>>(
        &self,
        voice: &dyn Voice,
        (owner, id): (&str, &str),
        check: impl FnOnce(&Hook) -> Result<(), E>,
    ) -> Result<(), E> {
        let _turn = self.turn(owner).await;
        let hook = self.one(owner, id).await?;
        check(&hook)?;
        Ok(self.end(voice, &hook).await?)
    }

    /// Removes a subscription and all that is kept of it.
    pub(super) async fn end(&self, voice: &dyn Voice, hook: &Hook) -> Result<(), HookError> {
        self.state().cut(&hook.id);
        self.clear(Table::Delivery, &deliveries(hook)).await?;
        let mut ops = vec![Op::DeleteRecord(hook_key(&hook.owner, &hook.id))];
        ops.push(Op::DeleteRecord(secret_key(&hook.id)));
        ops.extend(voice.forget(&hook.owner, &hook.id).await?);
        self.commit(Vec::new(), ops).await?;
        let left = self.all(&hook.owner).await?;
        if left.is_empty() {
            self.clear(Table::Delivery, &format!("{}/@", hook.owner)).await?;
            self.commit(Vec::new(), vec![Op::DeleteRecord(told_key(&hook.owner))]).await?;
            self.state().leave(&hook.owner);
        }
        Ok(())
    }

    /// Removes all records below a prefix.
    pub(super) async fn clear(&self, table: Table, prefix: &str) -> Result<(), HookError> {
        loop {
            let page = self.store().records(table, prefix, None, PAGE).await?;
            if page.is_empty() {
                return Ok(());
            }
            let ops = page.into_iter().map(|(key, _)| Op::DeleteRecord(key)).collect();
            self.commit(Vec::new(), ops).await?;
        }
    }

    /// Has deliveries wait until `resume`.
    ///
    /// # Errors
    /// `Missing`; when the store fails.
    pub async fn pause(&self, owner: &str, id: &str) -> Result<Hook, HookError> {
        let _turn = self.turn(owner).await;
        let before = self.one(owner, id).await?;
        if before.paused.is_some() {
            return Ok(before);
        }
        let sentence = "It was paused; what happens meanwhile waits.".to_owned();
        let pause = Pause { at: self.now(), why: Why::Asked, sentence };
        let after = Hook { paused: Some(pause), due: None, ..before.clone() };
        self.replace(&before, &after, Vec::new()).await?;
        Ok(after)
    }

    /// Has deliveries go on, at once and with all retries before them.
    ///
    /// # Errors
    /// `Missing`; when the store fails.
    pub async fn resume(&self, voice: &dyn Voice, owner: &str, id: &str) -> Result<Hook, HookError> {
        let _turn = self.turn(owner).await;
        let before = self.one(owner, id).await?;
        let after = Hook { paused: None, failures: 0, due: None, ..before.clone() };
        let told = voice.notice(owner, id, None).await?;
        self.replace(&before, &after, told).await?;
        Ok(after)
    }

    /// Has all deliveries from a number on be sent again, in order and under their old ids. A number that was forgotten is
    /// refused, not widened.
    ///
    /// # Errors
    /// `Missing`, `Forgotten`; `Invalid` for a number that was never given; when the store fails.
    pub async fn replay(&self, owner: &str, id: &str, from: Replay) -> Result<Hook, HookError> {
        let _turn = self.turn(owner).await;
        let before = self.one(owner, id).await?;
        let prefix = deliveries(&before);
        let first = match from {
            Replay::Number(number) if number == 0 || number > before.next => {
                return Err(HookError::Invalid("from", "There is no delivery of that number.".into()));
            }
            Replay::Number(number) if number == before.next => number,
            Replay::Number(number) => {
                let kept = self.store().record(&delivery_key(&before, number)).await?;
                kept.map(|_| number).ok_or(HookError::Forgotten)?
            }
            Replay::Since(at) => {
                let mut after: Option<String> = None;
                'found: loop {
                    let page = self.store().records(Table::Delivery, &prefix, after.as_deref(), PAGE).await?;
                    let Some((last, _)) = page.last() else { break 'found before.next };
                    after = Some(last.path.clone());
                    for (key, bytes) in page {
                        let delivery: Delivery = decode(&key, &bytes)?;
                        if delivery.at >= at {
                            break 'found delivery.number;
                        }
                    }
                }
            }
        };
        let head = first.min(before.head);
        let after = Hook { head, failures: 0, due: None, ..before.clone() };
        self.replace(&before, &after, Vec::new()).await?;
        Ok(after)
    }

    /// Lists up to `limit` deliveries before that number, the newest first.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn deliveries(
        &self,
        hook: &Hook,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<Delivery>, HookError> {
        let prefix = deliveries(hook);
        let (mut end, mut found) = (before.unwrap_or(hook.next).min(hook.next), Vec::new());
        let step = u64::try_from(limit).unwrap_or(u64::MAX);
        while end > 1 && found.len() < limit {
            let start = end.saturating_sub(step).max(1);
            let after = delivery_key(hook, start.saturating_sub(1)).path;
            let count = usize::try_from(end.saturating_sub(start)).unwrap_or(limit);
            let page = self.store().records(Table::Delivery, &prefix, Some(&after), count).await?;
            let mut all: Vec<Delivery> =
                page.iter().map(|(key, bytes)| decode(key, bytes)).collect::<Result<_, _>>()?;
            all.retain(|delivery| delivery.number < end);
            if all.is_empty() && self.oldest(hook).await?.is_none_or(|oldest| oldest >= start) {
                break;
            }
            found.extend(all.into_iter().rev());
            end = start;
        }
        found.truncate(limit);
        Ok(found)
    }

    /// Returns the number of the oldest delivery that is kept.
    async fn oldest(&self, hook: &Hook) -> Result<Option<u64>, HookError> {
        let page = self.store().records(Table::Delivery, &deliveries(hook), None, 1).await?;
        let first = page.first().map(|(key, bytes)| decode::<Delivery>(key, bytes)).transpose()?;
        Ok(first.map(|delivery| delivery.number))
    }

    /// Returns one delivery.
    ///
    /// # Errors
    /// `Missing`; when the store fails.
    pub async fn delivery(&self, hook: &Hook, number: u64) -> Result<Delivery, HookError> {
        record::load(self.store(), &delivery_key(hook, number)).await?.ok_or(HookError::Missing)
    }

    /// Returns the secrets that sign now, the newest first.
    pub(super) async fn secrets(&self, hook: &Hook) -> Result<Vec<Secret>, Fault> {
        let key: Key = secret_key(&hook.id);
        let lost = || Fault::Broken(format!("the secret of the webhook {} is lost", hook.id));
        let sealed = self.store().record(&key).await?.ok_or_else(lost)?;
        let open = self.keys.unseal(&key, &sealed).map_err(|error| Fault::Broken(error.to_string()))?;
        let old = hook.old_until.is_some_and(|until| until > self.now());
        let most = if old { 2 } else { 1 };
        Ok(open.reveal().lines().take(most).map(Secret::new).collect())
    }

    /// Reads an address that may be delivered to. Names are looked at again whenever they are called.
    fn address(&self, text: &str) -> Result<String, HookError> {
        let bad = |why: String| HookError::Invalid("url", why);
        if text.len() > LONGEST {
            return Err(bad(format!("It has {LONGEST} characters at most.")));
        }
        let mut url = Url::parse(text.trim()).map_err(|_| bad("It is no address like https://…".into()))?;
        url.set_fragment(None);
        if !url.username().is_empty() || url.password().is_some() {
            return Err(bad("Leave name and password out: the signature says who sends.".into()));
        }
        match url.scheme() {
            "https" => {}
            "http" if self.plain => {}
            "http" => {
                let why = "It has to begin with https://: whoever is between could read along.";
                return Err(bad(why.into()));
            }
            _ => return Err(bad("It has to begin with https://.".into())),
        }
        self.fetch.admits(&url).map_err(|error: FetchError| bad(format!("{error}.")))?;
        Ok(url.into())
    }
}

/// From where on deliveries are sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replay {
    /// From this number on.
    Number(u64),
    /// From the first that happened then or later.
    Since(Timestamp),
}

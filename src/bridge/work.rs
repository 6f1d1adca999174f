//! Passes as tasks: which is due, who joins one that runs, what is remembered when one ends.
//!
//! Owns: the in-memory schedule. Does not own: what a pass does (`run`), how long to wait (`pace`).

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::alarms::After;
use super::breaker::Gate;
use super::front::{Bridge, BridgeError};
use super::lines::Line;
use super::mappings::may_write;
use super::pace::{Outcome, Pace, Schedule};
use super::provider::Trouble;
use super::record::{
    self, Connection, ConnectionState, Failed, Kind, Mapping, MappingState, Run, RunStatus, connection_key,
    connection_state_key, mapping_key, mapping_state_key, run_key,
};
use super::run::{Halt, Pass, Progress};
use super::ties::OF_ONE;
use crate::calendar::Refusal;
use crate::follow::Follower;
use crate::store::{Notice, Op, Origin, Table, Timestamp, random};

/// The longest sleep of the follower: a clock that was set is noticed.
const NAP: Duration = Duration::from_secs(60);
/// A far side may wish to be looked at as seldom or as often as this, in seconds.
const SHORTEST: u64 = 60;
const LONGEST: u64 = 86_400;

/// A pass that runs, or is about to.
#[derive(Debug)]
pub(super) struct Job {
    run: Run,
    progress: Arc<Progress>,
    cut: CancellationToken,
    done: watch::Receiver<bool>,
    /// It carries out what a person confirmed.
    confirms: bool,
    /// The one that ran when it was asked for: it waits for the end of that.
    before: Option<Arc<Job>>,
}

impl Job {
    /// Has it end as soon as possible, and what it waits for too.
    pub(super) fn cut(&self) {
        self.cut.cancel();
        if let Some(before) = &self.before {
            before.cut();
        }
    }

    /// Tells whether this is what somebody wants who asks for a pass. One that confirms is joined by all.
    pub(super) fn serves(&self, confirm: bool) -> bool {
        self.confirms || !confirm
    }

    /// Returns the run as far as it has come, and the one that it waits for.
    pub(super) fn runs(&self) -> Vec<Run> {
        let told = |number: &AtomicU64| number.load(Ordering::Relaxed);
        let run =
            Run { done: told(&self.progress.done), total: told(&self.progress.total), ..self.run.clone() };
        let before = self.before.iter().filter(|before| !*before.done.borrow());
        std::iter::once(run).chain(before.flat_map(|before| before.runs())).collect()
    }
}

/// What a pass needs of the store before it begins.
struct Start {
    connection: Connection,
    connection_state: ConnectionState,
    pass: Pass,
}

impl Bridge {
    /// Begins a pass of the mapping, or joins the one that runs. Returns the run's id. `confirm` concerns deletions that
    /// wait; where none do, it says nothing.
    ///
    /// # Errors
    /// `Missing`; `Wait` while the far side asked to be left alone; `Conflict` if the mapping rests.
    pub async fn sync(
        self: &Arc<Self>,
        owner: &str,
        mapping: &str,
        confirm: bool,
    ) -> Result<String, BridgeError> {
        let (settings, state) = self.mapping(owner, mapping).await?;
        if !settings.enabled {
            return Err(BridgeError::Conflict("The mapping is switched off.".into()));
        }
        if let Some(wait) = state.pace.barred(self.house.clock.now()) {
            return Err(BridgeError::Wait(wait));
        }
        // One that could not be reached may be tried by a person at any time.
        if let Gate::Barred(wait) = self.gate(&settings.connection) {
            return Err(BridgeError::Wait(wait));
        }
        self.begin(mapping, true, confirm && state.hold.is_some())?.ok_or(BridgeError::Missing)
    }

    /// Waits until the mapping's pass has ended, if one runs.
    pub async fn settled(&self, mapping: &str) {
        let job = self.lines().get(mapping).and_then(|line| line.running.clone());
        if let Some(job) = job {
            let mut done = job.done.clone();
            // An error means that the task is gone, which is an end too.
            let _ = done.wait_for(|done| *done).await;
        }
    }

    /// Begins a pass unless one runs. Nothing: there is no such mapping. One that confirms waits for the end of one that does
    /// not, so that there are two at most.
    fn begin(
        self: &Arc<Self>,
        mapping: &str,
        asked: bool,
        confirm: bool,
    ) -> Result<Option<String>, BridgeError> {
        let random = random::number()?;
        let now = self.house.clock.now();
        let mut lines = self.lines();
        let Some(line) = lines.get_mut(mapping) else { return Ok(None) };
        if let Some(job) = line.running.as_ref().filter(|job| job.serves(confirm)) {
            // It may have looked already at what the asker has just changed: another one follows it.
            line.dirty = true;
            line.again |= !line.prompt;
            let id = job.run.id.clone();
            line.told = Some(id.clone());
            return Ok(Some(id));
        }
        let id = record::falling_id(mapping, now, random);
        let run = Run::begin(id.clone(), mapping, now, asked);
        let (tell, done) = watch::channel(false);
        let cut = CancellationToken::new();
        let progress: Arc<Progress> = Arc::default();
        let job = Job {
            run: run.clone(),
            progress: Arc::clone(&progress),
            cut: cut.clone(),
            done,
            confirms: confirm,
            before: line.running.take(),
        };
        line.running = Some(Arc::new(job));
        line.dirty = false;
        let lock = Arc::clone(&line.lock);
        let of_one = self.ties.passes(&line.connection);
        drop(lines);
        let bridge = Arc::clone(self);
        self.tasks.spawn(async move {
            // First the mapping, then a place of its connection, then one of all: whoever waits takes no place from others.
            let held = lock.lock().await;
            let mapping = run.mapping.clone();
            let id = run.id.clone();
            let pass = async {
                let _of_one = of_one.acquire().await;
                let _of_all = bridge.passes.acquire().await;
                bridge.pass(run.clone(), confirm, progress).await
            };
            let pace = tokio::select! {
                biased;
                () = bridge.stop.cancelled() => return,
                () = cut.cancelled() => bridge.was_cut(run.clone()).await,
                pace = pass => pace,
            };
            drop(held);
            bridge.ended(&mapping, &id, pace);
            let _ = tell.send(true);
        });
        Ok(Some(id))
    }

    /// Remembers a pass that was cut because its mapping is being changed. Its objects are as they are: another pass
    /// goes on from there.
    async fn was_cut(&self, mut run: Run) -> Option<Pace> {
        run.status = RunStatus::Deferred;
        run.ended = Some(self.house.clock.now());
        let reason = "The mapping was changed while this ran; another run goes on.".to_owned();
        run.failures.push(Failed { uid: String::new(), reason });
        let key = run_key(&run.id)?;
        let state = self.mapping_state(&run.mapping).await.ok()?;
        self.commit(vec![record::put(key, &run).ok()?]).await.ok()?;
        Some(state.pace)
    }

    fn ended(&self, mapping: &str, run: &str, pace: Option<Pace>) {
        if let Some(line) = self.lines().get_mut(mapping) {
            if line.running.as_ref().is_some_and(|job| job.run.id == run) {
                line.running = None;
            }
            // Without a new pace the store failed: a minute later it may work again.
            let soon = super::pace::later(self.house.clock.now(), NAP);
            let pace = pace.unwrap_or(Pace { next: Some(soon), failures: 1, ..line.pace });
            line.pace = self.told_meanwhile(mapping, pace);
            if std::mem::take(&mut line.again) {
                let not_before = line.pace.not_before;
                line.pace = Pace { next: Some(self.house.clock.now()), not_before, ..Pace::default() };
            }
        }
        self.wake.notify_one();
    }

    /// Carries one pass out and remembers how it ended. Returns the mapping's pace; nothing: it could not be kept.
    async fn pass(&self, mut run: Run, confirm: bool, progress: Arc<Progress>) -> Option<Pace> {
        let id = run.mapping.clone();
        let state = self.mapping_state(&id).await.ok()?;
        let fetch = self.fetch.counted();
        let started = self.start(&run, state.clone(), confirm, fetch.clone()).await;
        let (ended, state, connection) = match started {
            Ok(Some(mut start)) => {
                start.pass.progress = progress;
                let ended = start.pass.carry_out().await;
                let trouble = match &ended {
                    Err(Halt::Far(trouble)) => Some(trouble),
                    _ => None,
                };
                let health = self.health(&start.connection, &start.connection_state, trouble);
                let keep = health.health != start.connection_state.health
                    || health.sentence != start.connection_state.sentence
                    || health.breaker != start.connection_state.breaker
                    || start.pass.run.asked;
                let again = if ended.is_err() { start.pass.unfinished() } else { Vec::new() };
                run = start.pass.run;
                // A pass that was stopped has moved no cursor; what it tried has had an attempt.
                let state = match ended.is_ok() {
                    true => {
                        let wish = start.pass.state.cursor.as_ref();
                        let wish = wish.and_then(|cursor| start.pass.provider.patience(cursor));
                        MappingState { every: wish.map(|wish| wish.as_secs()), ..start.pass.state }
                    }
                    false => MappingState { again, ..state },
                };
                (ended, state, keep.then_some((start.connection.id, health)))
            }
            Ok(None) => return None,
            Err(halt) => (Err(halt), state, None),
        };
        run.calls = fetch.calls();
        self.remember(run, state, ended, connection).await
    }

    /// Gathers what the pass needs. Nothing: the mapping is gone or rests.
    async fn start(
        &self,
        run: &Run,
        state: MappingState,
        confirm: bool,
        fetch: crate::http::fetch::Fetch,
    ) -> Result<Option<Start>, Halt> {
        let store = &*self.house.store;
        let Some(mapping) = record::load::<Mapping>(store, &mapping_key(&run.mapping)).await? else {
            return Ok(None);
        };
        if !mapping.enabled {
            return Ok(None);
        }
        let Some(connection) =
            record::load::<Connection>(store, &connection_key(&mapping.connection)).await?
        else {
            return Err(Trouble::Refused("The connection was removed.".into()).into());
        };
        // Whatever became of the two since the mapping was made.
        if let Err(BridgeError::Invalid(_, why)) = may_write(&connection, mapping.direction) {
            return Err(Trouble::Refused(why).into());
        }
        let connection_state = self.connection_state(&connection.id).await?;
        let provider = match self.provider(&connection, fetch).await {
            Ok(provider) => provider,
            Err(BridgeError::Failed(fault)) => return Err(fault.into()),
            Err(BridgeError::Conflict(why)) => return Err(Trouble::Unauthorised(why).into()),
            Err(_) => return Err(Trouble::Refused("The connection's address is not one.".into()).into()),
        };
        let Some(principal) = self.house.principal(&mapping.owner).await? else {
            return Err(Halt::NoCollection);
        };
        let session = self.house.session(principal, Origin::Mapping(mapping.id.clone()));
        let Some(collection) = store.collection(mapping.collection).await? else {
            return Err(Halt::NoCollection);
        };
        let at = match session.writable(collection) {
            Ok(at) => at,
            Err(Refusal::Missing) => return Err(Halt::NoCollection),
            Err(refusal) => return Err(crate::calendar::Error::Refused(refusal).into()),
        };
        let pass = Pass::new(
            session,
            at,
            Arc::new(mapping),
            provider,
            (state, run.clone()),
            &self.settings,
            confirm,
        );
        Ok(Some(Start { connection, connection_state, pass }))
    }

    async fn remember(
        &self,
        mut run: Run,
        mut state: MappingState,
        ended: Result<Outcome, Halt>,
        connection: Option<(String, ConnectionState)>,
    ) -> Option<Pace> {
        let now = self.house.clock.now();
        // Waiting for a limit is nothing wrong.
        let wrong = |state: &MappingState| !state.sentence.is_empty() && state.pace.not_before.is_none();
        let before = Some(state.sentence.clone()).filter(|_| wrong(&state));
        let outcome = match ended {
            Ok(outcome) => {
                state.hold = None;
                state.sentence = String::new();
                if run.status == RunStatus::Running {
                    run.status = RunStatus::Success;
                }
                state.last_good = Some(now);
                state.looked = Some(run.started);
                outcome
            }
            Err(halt) => halted(halt, &mut run, &mut state),
        };
        run.ended = Some(now);
        let (kind, schedule) = self.schedule(&run.mapping, state.every).await;
        super::gauge::count(&self.house.metrics, kind, &run);
        let dice = u64::try_from(now.0).unwrap_or(0) ^ u64::from_str_radix(&run.mapping, 16).unwrap_or(0);
        state.pace = state.pace.after(outcome, now, &schedule, dice);
        if state.pace.given_up(&schedule) {
            tracing::warn!(mapping = %run.mapping, sentence = %state.sentence, "a mapping has failed several times");
        }
        // What is wrong is said once, however often it is tried.
        match before {
            Some(_) if state.sentence.is_empty() => {
                tracing::info!(mapping = %run.mapping, "a mapping goes on again");
            }
            before if wrong(&state) && before.as_ref() != Some(&state.sentence) => {
                tracing::info!(mapping = %run.mapping, sentence = %state.sentence, "a pass did not go through");
            }
            _ => {}
        }
        tracing::debug!(mapping = %run.mapping, status = ?run.status, calls = run.calls, "a pass has ended");
        self.spread(&run.mapping, outcome, &mut state.pace, &schedule);
        let pace = state.pace;
        match self.keep(run, state, connection, &schedule).await {
            Ok(()) => Some(pace),
            Err(error) => {
                tracing::error!("a pass could not be remembered: {error:?}");
                None
            }
        }
    }

    /// Brings the pace of a mapping and what its connection asks for together.
    fn spread(&self, mapping: &str, outcome: Outcome, pace: &mut Pace, schedule: &Schedule) {
        let Some(connection) = self.lines().get(mapping).map(|line| line.connection.clone()) else { return };
        let now = self.house.clock.now();
        let left = |at: Timestamp| u64::try_from(at.0.saturating_sub(now.0)).unwrap_or(0);
        match (outcome, self.gate(&connection)) {
            // What one mapping was asked to wait for, all of the account wait for.
            (Outcome::Slow(_), _) => {
                let wait = pace.not_before.map(|at| Duration::from_millis(left(at)));
                self.heard(&connection, Some(&Trouble::Slow(wait)));
            }
            // A far side that cannot be reached is tried again when its connection is, not only the next day.
            (Outcome::Failed, Gate::Shut(wait)) => {
                let soonest =
                    super::pace::later(now, schedule.retry.last().copied().unwrap_or(wait).max(wait));
                let until = super::pace::later(now, wait);
                pace.next = pace.next.map(|next| next.min(soonest).max(until));
            }
            _ => {}
        }
    }

    async fn keep(
        &self,
        run: Run,
        mut state: MappingState,
        connection: Option<(String, ConnectionState)>,
        schedule: &Schedule,
    ) -> Result<(), BridgeError> {
        let mut ops = Vec::new();
        // Of passes that say the same and did nothing only the last is kept: they say nothing but when.
        let last = match state.last_run.as_deref().and_then(run_key) {
            Some(key) => record::load::<Run>(&*self.house.store, &key).await?.map(|run| (key, run)),
            None => None,
        };
        let told = self.lines().get(&run.mapping).and_then(|line| line.told.clone());
        if let Some((key, _)) = last.filter(|(_, last)| run.repeats(last) && told.as_ref() != Some(&last.id))
        {
            ops.push(Op::DeleteRecord(key));
        }
        let now = self.house.clock.now();
        ops.extend(self.outlived(&run.mapping, now).await?);
        state.last_run = Some(run.id.clone());
        if let Some(key) = run_key(&run.id) {
            ops.push(record::put(key, &run)?);
        }
        ops.push(record::put(mapping_state_key(&run.mapping), &state)?);
        let health = connection.as_ref().map(|(_, health)| health);
        ops.extend(self.alarms_after(After { run: &run, state: &state, health, schedule }).await?);
        if let Some((id, health)) = connection {
            ops.push(record::put(connection_state_key(&id), &health)?);
        }
        self.commit(ops).await
    }

    /// Returns the steps that remove runs which have been kept long enough.
    async fn outlived(&self, mapping: &str, now: Timestamp) -> Result<Vec<Op>, BridgeError> {
        let keep = i64::try_from(self.settings.keep_runs.as_millis()).unwrap_or(i64::MAX);
        let horizon = record::falling_id(mapping, Timestamp(now.0.saturating_sub(keep)), 0);
        let Some(key) = run_key(&horizon) else { return Ok(Vec::new()) };
        let prefix = format!("{mapping}/");
        let old = self.house.store.records(Table::Run, &prefix, Some(&key.path), 50).await?;
        Ok(old.into_iter().map(|(key, _)| Op::DeleteRecord(key)).collect())
    }

    /// Returns the pace of a mapping whose far side wishes to be asked this often, with what kind of account it is of.
    async fn schedule(&self, mapping: &str, wish: Option<u64>) -> (Option<Kind>, Schedule) {
        let store = &*self.house.store;
        let own: Option<Mapping> = record::load(store, &mapping_key(mapping)).await.ok().flatten();
        let Some(own) = own else { return (None, self.settings.schedule.clone()) };
        let connection: Option<Connection> =
            record::load(store, &connection_key(&own.connection)).await.ok().flatten();
        let kind = connection.map(|connection| connection.kind);
        let mut schedule = match kind {
            Some(kind) => self.settings.schedule.of(kind),
            None => self.settings.schedule.clone(),
        };
        // What a person settled counts, then what the far side wishes, then what is usual.
        match own.poll_seconds.or(wish.map(|seconds| seconds.clamp(SHORTEST, LONGEST))) {
            Some(seconds) => schedule.poll = Duration::from_secs(seconds),
            None => schedule.poll = self.under_channel(mapping, schedule.poll),
        }
        (kind, schedule)
    }

    /// Returns the mappings that are due and how long none else will be.
    fn due(&self, now: Timestamp) -> (Vec<String>, Duration) {
        let mut due = Vec::new();
        let mut wait = NAP;
        let lines = self.lines();
        let running = || lines.values().filter(|line| line.running.is_some());
        let mut tried: HashSet<&str> = running().map(|line| line.connection.as_str()).collect();
        let mut busy: HashMap<&str, usize> = HashMap::new();
        for line in running() {
            *busy.entry(&line.connection).or_default() += 1;
        }
        for (id, line) in lines.iter().filter(|(_, line)| line.enabled && line.running.is_none()) {
            if is_due(line, now) {
                let passes = busy.entry(&line.connection).or_default();
                match self.gate(&line.connection) {
                    // The rest follows as soon as one of them ends.
                    Gate::Open if *passes >= OF_ONE => {}
                    Gate::Open => {
                        *passes += 1;
                        due.push(id.clone());
                    }
                    // One pass tries; the others follow when it comes through.
                    Gate::Probe if tried.insert(&line.connection) => due.push(id.clone()),
                    Gate::Probe => {}
                    Gate::Shut(left) | Gate::Barred(left) => wait = wait.min(left),
                }
            } else if let Some(next) = line.pace.next {
                let left = u64::try_from(next.0.saturating_sub(now.0)).unwrap_or(0);
                wait = wait.min(Duration::from_millis(left));
            }
        }
        (due, wait)
    }
}

/// A change here is carried over at once, unless the mapping says otherwise or the far side is in trouble: then the pace
/// decides.
pub(super) fn is_due(line: &Line, now: Timestamp) -> bool {
    if line.pace.barred(now).is_some() {
        return false;
    }
    let healthy = line.pace.failures == 0 && line.pace.throttled == 0;
    line.pace.due(now) || (line.dirty && line.prompt && healthy)
}

/// Notes why a pass stopped. Returns what it means for the pace.
fn halted(halt: Halt, run: &mut Run, state: &mut MappingState) -> Outcome {
    run.status = RunStatus::Failed;
    let (sentence, outcome) = match halt {
        Halt::Far(Trouble::Slow(wait)) => {
            run.status = RunStatus::Deferred;
            ("The far side asks to wait; it is waited for.".to_owned(), Outcome::Slow(wait))
        }
        Halt::Far(Trouble::Budget(sentence, wait)) => {
            run.status = RunStatus::Deferred;
            (sentence, Outcome::Deferred(wait))
        }
        Halt::Far(trouble @ Trouble::Unauthorised(_)) => (trouble.to_string(), Outcome::Stuck),
        Halt::Far(trouble) => (trouble.to_string(), Outcome::Failed),
        Halt::Store(fault) => {
            tracing::error!(mapping = %run.mapping, "a pass stopped: {fault}");
            ("The server could not store or read something; it is tried again.".to_owned(), Outcome::Failed)
        }
        Halt::NoCollection => {
            ("The calendar here was deleted. Nothing is removed on the far side.".to_owned(), Outcome::Stuck)
        }
        Halt::Held(hold) => {
            run.status = RunStatus::Deferred;
            let sentence = hold.sentence.clone();
            state.hold = Some(hold);
            (sentence, Outcome::Well)
        }
    };
    run.failures.push(Failed { uid: String::new(), reason: sentence.clone() });
    state.sentence = sentence;
    outcome
}

/// The follower's side of the bridge, as `follow::follow` wants it.
#[derive(Debug, Clone)]
pub struct Wakeful(pub Arc<Bridge>);

impl Follower for Wakeful {
    fn notice(&self, notice: &Notice) {
        let people = notice.keys.iter().filter(|key| key.table == Table::Principal);
        self.0.departed().extend(people.map(|key| key.path.clone()));
        let by = match &notice.origin {
            Origin::Mapping(by) => Some(by.as_str()),
            _ => None,
        };
        let mut lines = self.0.lines();
        for (calendar, _) in &notice.revs {
            if lines.changed(*calendar, by) {
                self.0.calm_until.store(0, Ordering::Relaxed);
            }
        }
    }

    fn lagged(&self) {
        for line in self.0.lines().values_mut() {
            line.dirty = true;
        }
        self.0.calm_until.store(0, Ordering::Relaxed);
    }

    fn tick(&self) -> Pin<Box<dyn Future<Output = Duration> + Send + '_>> {
        Box::pin(async move {
            self.0.clear_up();
            if let Err(error) = self.0.ending_consents().await {
                tracing::error!("it could not be told which consents end: {error:?}");
            }
            self.0.keep_budgets(false).await;
            let now = self.0.house.clock.now();
            // Whatever is committed wakes us. As long as it concerns no mapping, nothing is due before its time.
            let left = self.0.calm_until.load(Ordering::Relaxed).saturating_sub(now.0);
            let left = Duration::from_millis(u64::try_from(left).unwrap_or(0));
            if !left.is_zero() && left <= NAP {
                return left;
            }
            let (due, wait) = self.0.due(now);
            self.0.calm_until.store(super::pace::later(now, wait).0, Ordering::Relaxed);
            for mapping in due {
                if let Err(error) = self.0.begin(&mapping, false, false) {
                    self.0.calm_until.store(0, Ordering::Relaxed);
                    tracing::error!("a pass could not begin: {error:?}");
                }
            }
            wait
        })
    }

    fn woken(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async {
            self.0.wake.notified().await;
            self.0.calm_until.store(0, Ordering::Relaxed);
        })
    }
}

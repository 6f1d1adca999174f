//! How many calls an account on a far side may be asked to bear: a minute and a day, all its mappings together.
//!
//! Owns: the bucket of each connection, the day's count and its record, how many calls are under way. Does not own: holding a
//! call back (`http::fetch`), what a pass makes of it (`work`), a far side's own Retry-After (`breaker`).
//!
//! The minute's budget is a bucket that fills evenly. What is not used is saved up to a measure of its own, so that the
//! first comparison of a large calendar is not slowed while later days stay far below the limit. Where the far side counts the
//! calls of any minute, so is it done here, whatever was saved up.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::calendar::Clock;
use crate::http::fetch::{Meter, Places, Turn};
use crate::store::{Fault, Key, Op, Store, Table, Timestamp};

use super::breaker::{Breakers, Peace};
use super::record::{self, Kind};

/// A call is held back this long at most before it is put off.
const PATIENCE: Duration = Duration::from_secs(5);
/// A pass is held back this long at most, all its calls together; then others have their turn.
const ENDURANCE: Duration = Duration::from_secs(60);
/// Between two writings of the day's counts.
const KEEP_EVERY: i64 = 60_000;
const DAY: i64 = 86_400_000;

/// What one account may be asked to bear.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Calls a minute.
    pub minute: u32,
    /// Calls a day, in UTC.
    pub day: u64,
    /// Minutes of which unused calls are saved up.
    pub saved: u32,
    /// Calls in any one minute, saved ones among them; nothing: as many as there are. Never fewer than `minute`.
    pub peak: Option<u32>,
}

/// The rate of each kind of far side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rates {
    /// Google Calendar.
    pub google: Rate,
    /// Outlook.
    pub outlook: Rate,
    /// CalDAV, iCloud and feeds.
    pub caldav: Rate,
    /// Cozi.
    pub cozi: Rate,
}

// E12, S1-050, S4-073
impl Default for Rates {
    fn default() -> Rates {
        Rates {
            // Google lets 600 calls through in any minute, for each account (`docs/providers/google.md`): the first sync of 500
            // events of ours, which takes a call each, is not slowed.
            google: Rate { minute: 300, day: 50_000, saved: 2, peak: Some(580) },
            // Microsoft lets 10,000 through in ten minutes: these, and 3,000 that come in meanwhile.
            outlook: Rate { minute: 300, day: 50_000, saved: 20, peak: None },
            // An hour's calls, for the same reason.
            caldav: Rate { minute: 30, day: 20_000, saved: 60, peak: None },
            cozi: Rate { minute: 10, day: 5_000, saved: 3, peak: None },
        }
    }
}

impl Rates {
    fn of(&self, kind: Kind) -> Rate {
        match kind {
            Kind::Google => self.google,
            Kind::Outlook => self.outlook,
            Kind::Caldav | Kind::Icloud | Kind::Ics => self.caldav,
            Kind::Cozi => self.cozi,
        }
    }
}

/// How far calls that came together may overdraw a bucket, in microseconds: a minute.
const DEBT: i128 = 60_000_000;

/// How long a call counts where the calls of any minute are counted, in milliseconds: a second longer, as it takes different times
/// to arrive.
const MINUTE: i64 = 61_000;

/// The calls of the last minute, by the second in which they are made.
#[derive(Debug, Default)]
struct Lately(VecDeque<(i64, u64)>);

impl Lately {
    /// Returns when so many calls more are no more than the peak, in milliseconds since 1970.
    fn room(&mut self, now: i64, calls: u64, peak: u64) -> i64 {
        // A clock that was set back: what was counted then says nothing now.
        if self.0.back().is_some_and(|(second, _)| second * 1000 > now + 2 * MINUTE) {
            self.0.clear();
        }
        while self.0.front().is_some_and(|(second, _)| second * 1000 + MINUTE <= now) {
            self.0.pop_front();
        }
        let mut held: u64 = self.0.iter().map(|(_, made)| made).sum();
        let mut at = now;
        for (second, made) in &self.0 {
            if held.saturating_add(calls) <= peak {
                break;
            }
            held = held.saturating_sub(*made);
            at = second * 1000 + MINUTE;
        }
        at.max(now)
    }

    fn add(&mut self, at: i64, calls: u64) {
        let second = at.div_euclid(1000);
        match self.0.back_mut() {
            Some(last) if last.0 >= second => last.1 = last.1.saturating_add(calls),
            _ => self.0.push_back((second, calls)),
        }
    }
}

/// A bucket and a day's count. Driven by the moments passed in.
#[derive(Debug)]
struct Bucket {
    rate: Rate,
    /// Where the far side counts the calls of any minute.
    lately: Lately,
    /// When the bucket would be full, in microseconds since 1970; the past: it is.
    full: i128,
    /// Days since 1970.
    day: i64,
    /// Calls on that day.
    used: u64,
    /// Calls on that day that the record knows of.
    kept: u64,
    /// The day of the record.
    written: Option<i64>,
}

impl Bucket {
    fn new(rate: Rate) -> Bucket {
        Bucket { rate, lately: Lately::default(), full: 0, day: 0, used: 0, kept: 0, written: None }
    }

    /// Microseconds in which one call is filled in.
    fn drop(&self) -> i128 {
        60_000_000 / i128::from(self.rate.minute.max(1))
    }

    /// Calls that the full bucket holds.
    fn size(&self) -> i128 {
        i128::from(self.rate.minute.max(1)) * i128::from(self.rate.saved.max(1))
    }

    /// Counts what a call that was let through carried beside itself; the next ones wait for it.
    fn also(&mut self, now: Timestamp, calls: u64) {
        let micros = i128::from(now.0) * 1000;
        let room = self.size() * self.drop();
        let full = self.full.max(micros) + i128::from(calls) * self.drop();
        self.full = full.min(micros + room + DEBT);
        self.used = self.used.saturating_add(calls);
    }

    /// Calls in any one minute; nothing: as many as there are.
    fn peak(&self) -> Option<u64> {
        self.rate.peak.map(|peak| u64::from(peak.max(self.rate.minute)))
    }

    /// Counts a call that is as so many to the far side, unless it has to wait for too long.
    fn turn(&mut self, now: Timestamp, calls: u64, waited: Duration) -> Turn {
        let day = now.0.div_euclid(DAY);
        if day != self.day {
            (self.day, self.used, self.kept) = (day, 0, 0);
        }
        if self.used >= self.rate.day {
            let until = Timestamp((day + 1).saturating_mul(DAY));
            let sentence = format!(
                "The {} calls a day that this account may make are used up; it goes on at {} UTC.",
                self.rate.day,
                clock_time(until)
            );
            return Turn::Later(sentence, between(now, until));
        }
        let micros = i128::from(now.0) * 1000;
        let room = self.size() * self.drop();
        let (patience, endurance) = (PATIENCE.as_micros(), ENDURANCE.as_micros());
        let latest = micros + room + i128::try_from(patience).unwrap_or(i128::MAX) + DEBT;
        if self.full > latest {
            // The clock was set back: what was taken then says nothing now.
            self.full = micros;
        }
        let full = self.full.max(micros) + self.drop();
        let peak = self.peak();
        let free = peak.map(|peak| i128::from(self.lately.room(now.0, calls, peak)) * 1000);
        let wait = u128::try_from((full - room).max(free.unwrap_or(micros)) - micros).unwrap_or(0);
        if wait <= patience && (wait == 0 || wait + waited.as_micros() <= endurance) {
            self.full = full;
            self.used = self.used.saturating_add(1);
            self.also(now, calls.saturating_sub(1));
            if peak.is_some() {
                let millis = i64::try_from(wait / 1000).unwrap_or(i64::MAX);
                self.lately.add(now.0.saturating_add(millis), calls);
            }
            return match wait {
                0 => Turn::Now,
                wait => Turn::After(Duration::from_micros(u64::try_from(wait).unwrap_or(u64::MAX))),
            };
        }
        // A minute's calls are let together, so that going on is worth the while.
        let until = self.full - (self.size() - i128::from(self.rate.minute)) * self.drop();
        let free = peak.map(|peak| self.lately.room(now.0, u64::from(self.rate.minute).max(calls), peak));
        let millis = i64::try_from(until / 1000).unwrap_or(i64::MAX).max(now.0.saturating_add(1000));
        let millis = millis.max(free.unwrap_or(millis));
        let sentence = format!(
            "The {} calls a minute that this account may make are used up; it goes on at {} UTC.",
            self.rate.minute,
            clock_time(Timestamp(millis))
        );
        Turn::Later(sentence, between(now, Timestamp(millis)))
    }
}

fn between(now: Timestamp, until: Timestamp) -> Duration {
    Duration::from_millis(u64::try_from(until.0.saturating_sub(now.0)).unwrap_or(0))
}

/// `14:05`, in UTC.
fn clock_time(at: Timestamp) -> String {
    let minute = at.0.div_euclid(60_000).rem_euclid(24 * 60);
    format!("{:02}:{:02}", minute / 60, minute % 60)
}

/// The budget of one connection, and whether it may be called at all.
struct Account {
    clock: Arc<dyn Clock>,
    peace: Peace,
    places: Places,
    bucket: Mutex<Bucket>,
}

impl std::fmt::Debug for Account {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Account").field("bucket", &self.bucket).finish_non_exhaustive()
    }
}

impl Account {
    fn bucket(&self) -> MutexGuard<'_, Bucket> {
        self.bucket.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Meter for Account {
    fn turn(&self, calls: u32, waited: Duration) -> Turn {
        match self.peace.turn(calls, waited) {
            Turn::Now => self.bucket().turn(self.clock.now(), u64::from(calls.max(1)), waited),
            later => later,
        }
    }

    fn places(&self) -> Option<&Places> {
        Some(&self.places)
    }

    fn heard(&self, status: http::StatusCode, wait: Option<Duration>) {
        self.peace.heard(status, wait);
    }
}

/// The budgets of all connections.
pub(super) struct Budgets {
    clock: Arc<dyn Clock>,
    rates: Rates,
    breakers: Arc<Breakers>,
    accounts: Mutex<HashMap<String, Arc<Account>>>,
    /// Counts of today that were found at the start: by connection, the day and the calls.
    found: Mutex<HashMap<String, (i64, u64)>>,
    /// Records of days that are over.
    stale: Mutex<Vec<Key>>,
    kept: Mutex<Timestamp>,
}

impl Budgets {
    /// Returns the budgets with the counts that the store remembers of today.
    pub(super) async fn open(
        store: &dyn Store,
        clock: Arc<dyn Clock>,
        rates: Rates,
        breakers: Arc<Breakers>,
    ) -> Result<Budgets, Fault> {
        let now = clock.now();
        let today = now.0.div_euclid(DAY);
        let (mut found, mut stale) = (HashMap::new(), Vec::new());
        let mut after: Option<String> = None;
        loop {
            let page = store.records(Table::Budget, "", after.as_deref(), 500).await?;
            let Some((last, _)) = page.last() else { break };
            after = Some(last.path.clone());
            for (key, bytes) in page {
                let of = key.path.split_once('/').and_then(|(id, day)| Some((id, day.parse::<i64>().ok()?)));
                match of {
                    Some((id, day)) if day == today => {
                        found.insert(id.to_owned(), (day, record::decode(&key, &bytes)?));
                    }
                    _ => stale.push(key),
                }
            }
        }
        Ok(Budgets {
            clock,
            rates,
            breakers,
            accounts: Mutex::default(),
            found: Mutex::new(found),
            stale: Mutex::new(stale),
            kept: Mutex::new(now),
        })
    }

    /// Returns the meter of a connection, of which so many calls may be under way: always the same one.
    pub(super) fn meter(&self, connection: &str, kind: Kind, at_once: usize) -> Arc<dyn Meter> {
        let mut accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        let account = accounts.entry(connection.to_owned()).or_insert_with(|| {
            let mut bucket = Bucket::new(self.rates.of(kind));
            let found = self.found.lock().unwrap_or_else(PoisonError::into_inner).remove(connection);
            if let Some((day, used)) = found {
                (bucket.day, bucket.used, bucket.kept) = (day, used, used);
                bucket.written = Some(day);
            }
            Arc::new(Account {
                clock: Arc::clone(&self.clock),
                peace: Peace::new(&self.breakers, connection),
                places: Places::new(u32::try_from(at_once).unwrap_or(u32::MAX)),
                bucket: Mutex::new(bucket),
            })
        });
        Arc::clone(account) as Arc<dyn Meter>
    }

    /// Tells whether a connection has used up the calls of the day.
    pub(super) fn is_spent(&self, connection: &str) -> bool {
        let today = self.clock.now().0.div_euclid(DAY);
        let accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        accounts.get(connection).is_some_and(|account| {
            let bucket = account.bucket();
            bucket.day == today && bucket.used >= bucket.rate.day
        })
    }

    /// Forgets a connection; returns the steps that remove its counts.
    pub(super) fn forget(&self, connection: &str) -> Vec<Op> {
        let account = self.accounts.lock().unwrap_or_else(PoisonError::into_inner).remove(connection);
        let found = self.found.lock().unwrap_or_else(PoisonError::into_inner).remove(connection);
        let written = account.and_then(|account| account.bucket().written).or(found.map(|(day, _)| day));
        written.map(|day| Op::DeleteRecord(key(connection, day))).into_iter().collect()
    }

    /// Returns the steps that write the counts of the day, once a minute or when it is the last chance.
    pub(super) fn due(&self, last: bool) -> Vec<Op> {
        let now = self.clock.now();
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        // A clock that was set back does not keep the counts from being written.
        if !last && (kept.0..kept.0.saturating_add(KEEP_EVERY)).contains(&now.0) {
            return Vec::new();
        }
        *kept = now;
        let stale = std::mem::take(&mut *self.stale.lock().unwrap_or_else(PoisonError::into_inner));
        let mut ops: Vec<Op> = stale.into_iter().map(Op::DeleteRecord).collect();
        for (id, account) in self.accounts.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            let mut bucket = account.bucket();
            if bucket.used != bucket.kept
                && let Ok(op) = record::put(key(id, bucket.day), &bucket.used)
            {
                let day = bucket.day;
                let before = bucket.written.replace(day).filter(|written| *written != day);
                ops.extend(before.map(|before| Op::DeleteRecord(key(id, before))));
                ops.push(op);
                bucket.kept = bucket.used;
            }
        }
        ops
    }
}

fn key(connection: &str, day: i64) -> Key {
    Key::new(Table::Budget, format!("{connection}/{day}"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use std::sync::atomic::{AtomicI64, Ordering};

    use super::*;
    use crate::store::memory::Memory;
    use crate::store::{Commit, Origin};

    const NOON: i64 = 20_000 * DAY + DAY / 2;
    const NONE: Duration = Duration::ZERO;

    fn at(seconds: i64) -> Timestamp {
        Timestamp(NOON + seconds * 1000)
    }

    // S3-035, S3-036, S3-037, S3-096: unless somebody says otherwise
    #[test]
    fn each_kind_of_far_side_has_a_rate_of_its_own() {
        let rates = Rates::default();
        let minute = |kind| rates.of(kind).minute;
        assert_eq!([Kind::Google, Kind::Outlook].map(minute), [300, 300]);
        assert_eq!([Kind::Icloud, Kind::Caldav, Kind::Ics, Kind::Cozi].map(minute), [30, 30, 30, 10]);
        // What is above the rate, and what was saved up of it, is held back or put off.
        for kind in [Kind::Google, Kind::Icloud, Kind::Cozi] {
            let rate = rates.of(kind);
            let mut bucket = Bucket::new(rate);
            let most = rate.peak.unwrap_or(rate.minute * rate.saved);
            assert_eq!(empty(&mut bucket, at(0)), most, "{kind:?}");
        }
    }

    fn empty(bucket: &mut Bucket, now: Timestamp) -> u32 {
        (0..).find(|_| bucket.turn(now, 1, NONE) != Turn::Now).unwrap()
    }

    // E12, S1-050: calls a minute
    // A batch of fifty is fifty calls to Google: what it carries is counted, and the next calls wait for it.
    #[test]
    fn what_a_call_carries_is_counted_too() {
        let rate = Rate { minute: 60, day: 1000, saved: 1, peak: None };
        let mut bucket = Bucket::new(rate);
        let now = Timestamp(1_800_000_000_000);
        assert_eq!(bucket.turn(now, 50, Duration::ZERO), Turn::Now);
        assert_eq!(bucket.used, 50);
        for _ in 0..10 {
            assert_eq!(bucket.turn(now, 1, Duration::ZERO), Turn::Now);
        }
        assert!(!matches!(bucket.turn(now, 1, Duration::ZERO), Turn::Now));
        bucket.also(now, 1_000_000);
        assert!(matches!(bucket.turn(now, 1, Duration::ZERO), Turn::Later(..)));
        let later = Timestamp(now.0 + 3 * 60_000);
        bucket.used = 0;
        assert_eq!(bucket.turn(later, 1, Duration::ZERO), Turn::Now, "a debt is paid within minutes");
    }

    // google.md §7: 600 in any minute, batches of fifty or single ones, however much was saved up and however long it is called
    #[test]
    fn no_minute_has_more_calls_than_the_far_side_lets_through() {
        for batch in [1, 50, 150] {
            let mut bucket = Bucket::new(Rates::default().google);
            let (mut made, mut now, mut waits): (Vec<(i64, u64)>, i64, u32) = (Vec::new(), 0, 0);
            let sum = |made: &[(i64, u64)]| made.iter().map(|(_, calls)| calls).sum::<u64>();
            while sum(&made) < 5000 {
                let moment = Timestamp(NOON + now);
                match bucket.turn(moment, batch, NONE) {
                    Turn::Now => made.push((now, batch)),
                    Turn::After(wait) => {
                        now += i64::try_from(wait.as_millis()).unwrap();
                        made.push((now, batch));
                    }
                    Turn::Later(_, wait) => {
                        waits += 1;
                        now += i64::try_from(wait.as_millis()).unwrap();
                    }
                }
            }
            for (n, (begin, _)) in made.iter().enumerate() {
                let within: Vec<_> =
                    made[n..].iter().copied().take_while(|(at, _)| at - begin <= 60_000).collect();
                assert!(sum(&within) <= 600, "{} calls in a minute, {batch} at a time", sum(&within));
            }
            let first: Vec<_> = made.iter().copied().take_while(|(at, _)| *at < 1000).collect();
            assert!(sum(&first) >= 450, "{} at once", sum(&first));
            // After what was saved up, the rate.
            let minutes = (5000 - 600) / 300;
            assert!(now < (minutes + 2) * 60_000, "{now} ms, {waits} waits");
        }
        // Whoever allows more by setting it gets it.
        let mut bucket = Bucket::new(Rate { minute: 6000, ..Rates::default().google });
        assert_eq!(empty(&mut bucket, at(0)), 6000);
    }

    #[test]
    fn a_bucket_lets_a_burst_through_and_then_the_rate() {
        let rate = Rate { minute: 60, day: 100_000, saved: 2, peak: None };
        let mut bucket = Bucket::new(rate);
        assert_eq!(empty(&mut bucket, at(0)), 120);
        // The probe above took the first place in the queue: one second for each call.
        for wait in 2..=5 {
            assert_eq!(bucket.turn(at(0), 1, NONE), Turn::After(Duration::from_secs(wait)));
        }
        let Turn::Later(sentence, wait) = bucket.turn(at(0), 1, NONE) else { panic!("it waited") };
        assert_eq!(wait, Duration::from_secs(65), "until a minute's calls are there");
        assert_eq!(
            sentence,
            "The 60 calls a minute that this account may make are used up; it goes on at 12:01 UTC."
        );
        assert_eq!(empty(&mut bucket, at(65)), 60);
        assert_eq!(empty(&mut bucket, at(10_000)), 120, "no more is saved up than that");
    }

    #[test]
    fn a_pass_that_was_held_back_long_enough_lets_others_go_on() {
        let mut bucket = Bucket::new(Rate { minute: 300, day: 100_000, saved: 1, peak: None });
        empty(&mut bucket, at(0));
        let short = Duration::from_millis(400);
        assert_eq!(bucket.turn(at(0), 1, Duration::from_secs(59)), Turn::After(short));
        assert!(matches!(bucket.turn(at(0), 1, Duration::from_secs(60)), Turn::Later(..)));
        assert_eq!(bucket.turn(at(30), 1, Duration::from_secs(60)), Turn::Now, "what need not wait is made");
    }

    #[test]
    fn a_slow_rate_puts_off_what_it_cannot_let_through_soon() {
        let mut bucket = Bucket::new(Rates::default().cozi);
        for _ in 0..30 {
            assert_eq!(bucket.turn(at(0), 1, NONE), Turn::Now);
        }
        let Turn::Later(_, wait) = bucket.turn(at(0), 1, NONE) else { panic!("it waited") };
        assert_eq!(wait, Duration::from_secs(60));
        for _ in 0..10 {
            assert_eq!(bucket.turn(at(60), 1, NONE), Turn::Now);
        }
        assert!(matches!(bucket.turn(at(60), 1, NONE), Turn::Later(..)));
    }

    // S4-073, S4-074: the day's limit defers until the next day, with the time
    #[test]
    fn a_day_has_an_end_and_the_next_one_begins_anew() {
        let mut bucket = Bucket::new(Rate { minute: 6000, day: 3, saved: 1, peak: None });
        for _ in 0..3 {
            assert_eq!(bucket.turn(at(0), 1, NONE), Turn::Now);
        }
        let Turn::Later(sentence, wait) = bucket.turn(at(0), 1, NONE) else { panic!("a fourth call") };
        assert_eq!(wait, Duration::from_secs(12 * 3600));
        assert!(sentence.contains("3 calls a day") && sentence.ends_with("at 00:00 UTC."), "{sentence}");
        assert_eq!(bucket.turn(at(12 * 3600), 1, NONE), Turn::Now);
        assert_eq!(bucket.used, 1);
    }

    #[test]
    fn a_clock_that_was_set_back_stops_nobody() {
        let mut bucket = Bucket::new(Rate { minute: 10, day: 1000, saved: 1, peak: None });
        empty(&mut bucket, at(0));
        assert_eq!(bucket.turn(at(-3600), 1, NONE), Turn::Now);
    }

    struct Standing(AtomicI64);

    impl Clock for Standing {
        fn now(&self) -> Timestamp {
            Timestamp(self.0.load(Ordering::Relaxed))
        }
    }

    async fn commit(store: &Memory, ops: Vec<Op>) {
        let mut commit = Commit::new(Origin::System, Timestamp(0));
        commit.ops = ops;
        store.commit(commit).await.unwrap();
    }

    // E12: a restart forgets nothing of the day
    #[tokio::test]
    async fn counts_outlive_a_restart_and_belong_to_the_connection() {
        let store = Memory::new();
        let clock = Arc::new(Standing(AtomicI64::new(NOON)));
        let rates = Rates { caldav: Rate { minute: 600, day: 5, saved: 1, peak: None }, ..Rates::default() };
        let breakers = Arc::new(Breakers::new(Arc::clone(&clock) as Arc<dyn Clock>, HashMap::new()));
        let open =
            || Budgets::open(&store, Arc::clone(&clock) as Arc<dyn Clock>, rates, Arc::clone(&breakers));
        let budgets = open().await.unwrap();
        // Two mappings of one account share its meter; another account has its own.
        for id in ["a", "a", "a", "b"] {
            assert_eq!(budgets.meter(id, Kind::Caldav, 5).turn(1, NONE), Turn::Now);
        }
        assert!(budgets.due(false).is_empty(), "at most once a minute");
        clock.0.fetch_add(60_000, Ordering::Relaxed);
        commit(&store, budgets.due(false)).await;
        assert_eq!(store.records(Table::Budget, "", None, 10).await.unwrap().len(), 2);
        assert!(budgets.due(true).is_empty(), "nothing new to keep");
        assert_eq!(budgets.meter("a", Kind::Caldav, 5).turn(1, NONE), Turn::Now);
        commit(&store, budgets.due(true)).await;
        let budgets = open().await.unwrap();
        assert_eq!(budgets.meter("a", Kind::Caldav, 5).turn(1, NONE), Turn::Now);
        assert!(matches!(budgets.meter("a", Kind::Caldav, 5).turn(1, NONE), Turn::Later(..)));
        assert_eq!(budgets.meter("b", Kind::Caldav, 5).turn(1, NONE), Turn::Now);
        // The next day's start forgets yesterday's counts, on disk as well.
        clock.0.fetch_add(DAY, Ordering::Relaxed);
        let budgets = open().await.unwrap();
        assert_eq!(budgets.meter("a", Kind::Caldav, 5).turn(1, NONE), Turn::Now);
        commit(&store, budgets.due(true)).await;
        let kept = store.records(Table::Budget, "", None, 10).await.unwrap();
        assert_eq!(kept.len(), 1, "{kept:?}");
        commit(&store, budgets.forget("a")).await;
        assert!(store.records(Table::Budget, "", None, 10).await.unwrap().is_empty());
    }
}

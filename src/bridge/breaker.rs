//! Leaves a far side alone that cannot be reached, and one that asked to be: a connection, all its mappings together.
//!
//! Owns: when a connection is tried again, that one pass tries it first, that nobody calls one that asked to be left alone.
//! Does not own: when a single mapping is due (`pace`), our own budget of calls (`budget`).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::StatusCode;
use serde::{Deserialize, Serialize};

use super::pace::later;
use super::provider::Trouble;
use crate::calendar::Clock;
use crate::http::fetch::{Meter, Turn};
use crate::store::Timestamp;

/// Failures in a row, over all mappings of a connection, after which it is left alone.
const FAILURES: u32 = 3;
/// How long it is left alone the first, second … time in a row; then always as at last.
const OPEN: [Duration; 4] = [
    Duration::from_secs(60),
    Duration::from_secs(5 * 60),
    Duration::from_secs(15 * 60),
    Duration::from_secs(60 * 60),
];
/// The longest that a far side is waited for because it asked.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// Where the breaker of a connection stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Breaker {
    /// How often in a row it could not be reached.
    pub failures: u32,
    /// How often in a row it was left alone for that.
    pub opened: u32,
    /// Until when it is left alone; then one pass tries it.
    pub until: Option<Timestamp>,
    /// The far side asked not to be called before (Retry-After); nobody does.
    #[serde(default)]
    pub not_before: Option<Timestamp>,
}

/// Whether a connection may be called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gate {
    /// It may.
    Open,
    /// By one pass, which tries whether it can be reached again.
    Probe,
    /// Not for this long, because it could not be reached.
    Shut(Duration),
    /// Not for this long, because it asked so; not even a person's word changes that.
    Barred(Duration),
}

impl Breaker {
    /// Returns the breaker after a pass, or a call, that ended so.
    #[must_use]
    pub fn after(self, trouble: Option<&Trouble>, now: Timestamp) -> Breaker {
        match trouble {
            Some(Trouble::Unreachable(_)) => {
                // One that somebody tried although it was left alone says nothing new.
                if self.until.is_some_and(|until| until > now) {
                    return self;
                }
                let failures = self.failures.saturating_add(1);
                if failures < FAILURES {
                    return Breaker { failures, ..self };
                }
                let at = usize::try_from(self.opened).unwrap_or(usize::MAX).min(OPEN.len() - 1);
                let wait = OPEN.get(at).copied().unwrap_or(LONGEST);
                Breaker {
                    failures,
                    opened: self.opened.saturating_add(1),
                    until: Some(later(now, wait)),
                    not_before: self.not_before.filter(|at| *at > now),
                }
            }
            // It answers.
            Some(Trouble::Slow(wait)) => {
                let until = wait.map(|wait| later(now, wait.min(LONGEST)));
                Breaker {
                    not_before: until.max(self.not_before.filter(|at| *at > now)),
                    ..Breaker::default()
                }
            }
            // Nothing was asked.
            Some(Trouble::Budget(..)) => self,
            // Whoever was answered since had asked before.
            _ => Breaker { not_before: self.not_before.filter(|at| *at > now), ..Breaker::default() },
        }
    }

    /// Returns the breaker of one that asked to be left alone for so long.
    #[must_use]
    fn barred(self, wait: Duration, now: Timestamp) -> Breaker {
        let until = Some(later(now, wait.min(LONGEST)));
        Breaker { not_before: until.max(self.not_before), ..self }
    }

    /// Tells whether the connection may be called.
    pub fn gate(&self, now: Timestamp) -> Gate {
        let left = |at: Timestamp| {
            let left = u64::try_from(at.0.saturating_sub(now.0)).ok().filter(|left| *left > 0)?;
            Some(Duration::from_millis(left))
        };
        if let Some(left) = self.not_before.and_then(left) {
            return Gate::Barred(left);
        }
        match self.until.map(left) {
            None => Gate::Open,
            Some(None) => Gate::Probe,
            Some(Some(left)) => Gate::Shut(left),
        }
    }

    /// Tells whether the far side has been left alone so often that a person should know.
    pub fn is_lasting(&self) -> bool {
        self.opened >= 3
    }
}

/// The breakers of all connections that were called since the start, or failed before it.
pub(super) struct Breakers {
    clock: Arc<dyn Clock>,
    all: Mutex<HashMap<String, Breaker>>,
}

impl Breakers {
    pub(super) fn new(clock: Arc<dyn Clock>, all: HashMap<String, Breaker>) -> Breakers {
        Breakers { clock, all: Mutex::new(all) }
    }

    fn all(&self) -> MutexGuard<'_, HashMap<String, Breaker>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells whether a connection may be called.
    pub(super) fn gate(&self, connection: &str) -> Gate {
        let now = self.clock.now();
        self.all().get(connection).map_or(Gate::Open, |breaker| breaker.gate(now))
    }

    /// Notes how a contact with a connection ended. Returns its breaker before and after.
    pub(super) fn heard(&self, connection: &str, trouble: Option<&Trouble>) -> (Breaker, Breaker) {
        let now = self.clock.now();
        let mut all = self.all();
        let breaker = all.entry(connection.to_owned()).or_default();
        let before = *breaker;
        *breaker = before.after(trouble, now);
        (before, *breaker)
    }

    /// Has everybody leave a connection alone for so long.
    fn bar(&self, connection: &str, wait: Duration) {
        let now = self.clock.now();
        let mut all = self.all();
        let breaker = all.entry(connection.to_owned()).or_default();
        *breaker = breaker.barred(wait, now);
    }

    /// Forgets a connection.
    pub(super) fn forget(&self, connection: &str) {
        self.all().remove(connection);
    }
}

/// Stands before every call to one connection, whoever makes it: none goes out while the far side asked to be left alone, and
/// all hear of it as soon as one does.
#[derive(Clone)]
pub(super) struct Peace {
    breakers: Arc<Breakers>,
    connection: String,
}

impl Peace {
    pub(super) fn new(breakers: &Arc<Breakers>, connection: &str) -> Peace {
        Peace { breakers: Arc::clone(breakers), connection: connection.to_owned() }
    }
}

impl std::fmt::Debug for Peace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Peace").field("connection", &self.connection).finish_non_exhaustive()
    }
}

impl Meter for Peace {
    fn turn(&self, _: u32, _: Duration) -> Turn {
        match self.breakers.gate(&self.connection) {
            Gate::Barred(wait) => {
                let minutes = wait.as_secs().div_ceil(60).max(1);
                let some = if minutes == 1 { "a minute".to_owned() } else { format!("{minutes} minutes") };
                Turn::Later(
                    format!("The far side asked not to be called; it is called again in {some}."),
                    wait,
                )
            }
            // A person, or what looks after a channel, may try one that could not be reached.
            Gate::Open | Gate::Probe | Gate::Shut(_) => Turn::Now,
        }
    }

    fn heard(&self, status: StatusCode, wait: Option<Duration>) {
        let asks = matches!(
            status,
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT
        );
        if let Some(wait) = wait.filter(|_| asks) {
            self.breakers.bar(&self.connection, wait);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use std::sync::atomic::{AtomicI64, Ordering};

    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp(1_000_000 + seconds * 1000)
    }

    fn down() -> Trouble {
        Trouble::Unreachable("Nobody answers.".into())
    }

    fn shut(minutes: u64) -> Gate {
        Gate::Shut(Duration::from_secs(minutes * 60))
    }

    // S3-095: closed, open, half open
    #[test]
    fn three_failures_open_it_ever_longer_and_one_success_closes_it() {
        let mut breaker = Breaker::default();
        for _ in 0..2 {
            breaker = breaker.after(Some(&down()), at(0));
            assert_eq!(breaker.gate(at(0)), Gate::Open);
        }
        let mut now = 0;
        for (minutes, lasting) in [(1, false), (5, false), (15, true), (60, true), (60, true)] {
            breaker = breaker.after(Some(&down()), at(now));
            assert_eq!((breaker.gate(at(now)), breaker.is_lasting()), (shut(minutes), lasting));
            // Somebody tries all the same: no new wait.
            assert_eq!(breaker.after(Some(&down()), at(now + 1)), breaker);
            now += i64::try_from(minutes).unwrap() * 60;
            assert_eq!(breaker.gate(at(now)), Gate::Probe);
        }
        assert_eq!(breaker.after(None, at(now)), Breaker::default());
        // Any answer is one, even a refusal; two failures with an answer between them are not three.
        let refused = Trouble::Refused("No.".into());
        assert_eq!(breaker.after(Some(&refused), at(now)).gate(at(now)), Gate::Open);
        let two = Breaker::default().after(Some(&down()), at(0)).after(Some(&refused), at(0));
        assert_eq!(two.failures, 0);
    }

    // A Retry-After concerns the account, not the mapping that heard of it
    #[test]
    fn a_request_to_wait_bars_everybody_until_it_is_over() {
        let slow = |seconds| Trouble::Slow(Some(Duration::from_secs(seconds)));
        let breaker = Breaker::default().after(Some(&slow(90)), at(0));
        assert_eq!(breaker.gate(at(30)), Gate::Barred(Duration::from_secs(60)));
        assert_eq!(breaker.gate(at(90)), Gate::Open);
        // A shorter one, heard later by a call that was under way, does not shorten it.
        assert_eq!(breaker.after(Some(&slow(5)), at(10)).gate(at(30)), Gate::Barred(Duration::from_secs(60)));
        assert_eq!(Breaker::default().after(Some(&Trouble::Slow(None)), at(0)).gate(at(0)), Gate::Open);
        // Nor does an answer to a call that was made before.
        assert_eq!(breaker.after(None, at(10)).gate(at(30)), Gate::Barred(Duration::from_secs(60)));
        assert_eq!(breaker.after(None, at(90)), Breaker::default());
        let budget = Trouble::Budget("Enough.".into(), Duration::from_secs(60));
        assert_eq!(
            breaker.after(Some(&budget), at(0)),
            breaker,
            "our own budget says nothing of the far side"
        );
    }

    struct Standing(AtomicI64);

    impl Clock for Standing {
        fn now(&self) -> Timestamp {
            Timestamp(self.0.load(Ordering::Relaxed))
        }
    }

    // S3-095: what one call hears, the next one of the account obeys, and nobody else's
    #[test]
    fn what_one_call_hears_all_of_the_account_obey() {
        let clock = Arc::new(Standing(AtomicI64::new(at(0).0)));
        let breakers = Arc::new(Breakers::new(Arc::clone(&clock) as Arc<dyn Clock>, HashMap::new()));
        let one = || Peace::new(&breakers, "a");
        let turn = |peace: Peace| peace.turn(1, Duration::ZERO);
        one().heard(StatusCode::TOO_MANY_REQUESTS, None);
        one().heard(StatusCode::OK, Some(Duration::from_secs(900)));
        assert_eq!(turn(one()), Turn::Now, "nothing was asked for");
        one().heard(StatusCode::SERVICE_UNAVAILABLE, Some(Duration::from_secs(90)));
        one().heard(StatusCode::TOO_MANY_REQUESTS, Some(Duration::from_secs(5)));
        clock.0.store(at(10).0, Ordering::Relaxed);
        let Turn::Later(sentence, wait) = turn(one()) else { panic!("it was called") };
        assert_eq!(wait, Duration::from_secs(80));
        assert!(sentence.ends_with("again in 2 minutes."), "{sentence}");
        assert_eq!(turn(Peace::new(&breakers, "b")), Turn::Now);
        breakers.heard("a", None);
        assert!(matches!(turn(one()), Turn::Later(..)), "an answer to another call changes nothing");
        clock.0.store(at(90).0, Ordering::Relaxed);
        assert_eq!(turn(one()), Turn::Now);
    }
}

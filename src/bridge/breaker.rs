//! Leaves a far side alone that cannot be reached, and one that asked to be: a connection, all its mappings together.
//!
//! Owns: when a connection is tried again, that one pass tries it first. Does not own: when a single mapping is due
//! (`pace`), our own budget of calls (`budget`).

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::pace::later;
use super::provider::Trouble;
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
                    not_before: None,
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
            _ => Breaker::default(),
        }
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

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
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
        let budget = Trouble::Budget("Enough.".into(), Duration::from_secs(60));
        assert_eq!(
            breaker.after(Some(&budget), at(0)),
            breaker,
            "our own budget says nothing of the far side"
        );
    }
}

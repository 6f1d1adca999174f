//! Slows repeated failures, per account and address: of passwords, and of the secrets of hooks.
//!
//! Owns: how long a failure is waited out, and how many may be at a time.
//! Does not own: deciding whether a password is wrong. A right one is never delayed, so that a mistyping neighbour
//! behind the same address locks nobody out; the only refusal without a look (429) comes while many failures for the
//! very same account from the very same address are being waited out.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use moka::sync::Cache;

use crate::store::Timestamp;

/// Failures that cost nothing: a person mistypes, a device tries an old password on several resources at once.
const FREE: u32 = 3;
/// Failures of one account and address that may be waited out at a time.
const WAITING: usize = 8;
/// The longest wait.
const LONGEST: Duration = Duration::from_secs(30);
/// Failures are forgotten this long after the last one.
const MEMORY: Duration = Duration::from_secs(15 * 60);
/// Pairs that are remembered; the least used are forgotten first.
const PAIRS: u64 = 10_000;

#[derive(Default)]
struct Failures {
    count: u32,
    waiting: Vec<Timestamp>,
}

/// Remembers failures.
pub struct Throttle {
    pairs: Cache<(String, IpAddr), Arc<Mutex<Failures>>>,
}

impl std::fmt::Debug for Throttle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Throttle").finish_non_exhaustive()
    }
}

impl Default for Throttle {
    fn default() -> Throttle {
        Throttle { pairs: Cache::builder().max_capacity(PAIRS).time_to_idle(MEMORY).build() }
    }
}

impl Throttle {
    /// Returns how long to stay away, if too many failures of this pair are being waited out. An account is whatever was
    /// named: a login name, a hook.
    pub fn refuses(&self, user: &str, address: IpAddr, now: Timestamp) -> Option<Duration> {
        let failures = self.pairs.get(&(user.to_owned(), network(address)))?;
        let mut failures = failures.lock().unwrap_or_else(PoisonError::into_inner);
        failures.waiting.retain(|until| *until > now);
        if failures.waiting.len() < WAITING {
            return None;
        }
        let soonest = failures.waiting.iter().min().copied().unwrap_or(now);
        Some(Duration::from_millis(u64::try_from(soonest.0 - now.0).unwrap_or(0)))
    }

    /// Counts a failure and returns how long its answer has to wait.
    pub fn failed(&self, user: &str, address: IpAddr, now: Timestamp) -> Duration {
        let failures = self.pairs.get_with((user.to_owned(), network(address)), Arc::default);
        let mut failures = failures.lock().unwrap_or_else(PoisonError::into_inner);
        failures.count = failures.count.saturating_add(1);
        let Some(step) = failures.count.checked_sub(FREE + 1) else { return Duration::ZERO };
        let wait = Duration::from_millis(500).saturating_mul(1 << step.min(16)).min(LONGEST);
        failures.waiting.push(Timestamp(now.0 + i64::try_from(wait.as_millis()).unwrap_or(i64::MAX / 2)));
        wait
    }
}

/// Returns the address, or for IPv6 its /64, which one household or attacker has to itself.
pub(super) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6((u128::from(v6) & !u128::from(u64::MAX)).into()),
        v4 => v4,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_and_then_the_pair_alone_is_refused() {
        let throttle = Throttle::default();
        let (here, there) = ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
        let now = Timestamp(1_000_000);
        let waits: Vec<u64> =
            (0..11).map(|_| u64::try_from(throttle.failed("anna", here, now).as_millis()).unwrap()).collect();
        assert_eq!(waits, [0, 0, 0, 500, 1000, 2000, 4000, 8000, 16000, 30000, 30000]);
        assert_eq!(throttle.refuses("anna", here, now), Some(Duration::from_millis(500)));
        assert_eq!(throttle.refuses("anna", there, now), None);
        assert_eq!(throttle.refuses("berta", here, now), None);
        assert_eq!(throttle.refuses("anna", here, Timestamp(now.0 + 501)), None);
    }

    #[test]
    fn one_ipv6_network_counts_as_one() {
        let throttle = Throttle::default();
        let now = Timestamp(0);
        for last in 0..4 {
            throttle.failed("anna", format!("2001:db8::{last}").parse().unwrap(), now);
        }
        assert_eq!(throttle.failed("anna", "2001:db8::ffff".parse().unwrap(), now), Duration::from_secs(1));
        assert_eq!(throttle.failed("anna", "2001:db8:0:1::1".parse().unwrap(), now), Duration::ZERO);
    }
}

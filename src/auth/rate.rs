//! How often one caller may ask in a minute.
//!
//! Owns: counting by caller, or by address as long as nobody is known. Does not own: who is asking (`Guard`), the answer
//! to one request too many (`server`, `api`). The generic cell rate algorithm in one number a caller: the moment until which
//! what was asked so far is paid for. Written here because the time comes in from outside, and sixty lines bring no package.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use moka::sync::Cache;

use super::throttle::network;
use super::{Caller, Denied};
use crate::store::Timestamp;

/// Callers that are remembered; who has not asked for a minute has nothing to remember.
const CALLERS: u64 = 100_000;
/// A minute, in microseconds.
const MINUTE: i64 = 60_000_000;

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Who {
    Token(Arc<str>),
    User(String),
    Address(IpAddr),
}

/// Counts the requests of callers at one door.
pub struct Rate {
    /// Requests a minute of somebody known; nothing: any number.
    known: Option<u32>,
    /// Requests a minute from an address, of whoever is not known.
    unknown: Option<u32>,
    paid: Cache<Who, Arc<AtomicI64>>,
}

impl std::fmt::Debug for Rate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rate")
            .field("known", &self.known)
            .field("unknown", &self.unknown)
            .finish_non_exhaustive()
    }
}

impl Rate {
    /// Returns a count for these numbers of requests a minute; 0 stands for any number.
    pub fn new(known: u32, unknown: u32) -> Rate {
        let paid = Cache::builder().max_capacity(CALLERS).time_to_idle(Duration::from_secs(61)).build();
        let some = |number: u32| Some(number).filter(|number| *number > 0);
        Rate { known: some(known), unknown: some(unknown), paid }
    }

    /// Counts a request. Returns how long to stay away if it is one too many; that one is not counted.
    pub fn refuses(&self, caller: &Result<Caller, Denied>, peer: IpAddr, now: Timestamp) -> Option<Duration> {
        let (limit, who) = match caller {
            Ok(caller) => (
                self.known?,
                match &caller.token {
                    Some(token) => Who::Token(Arc::clone(token)),
                    None => Who::User(caller.principal.name.clone()),
                },
            ),
            Err(_) => (self.unknown?, Who::Address(network(peer))),
        };
        self.spend(limit, who, now.0.saturating_mul(1000))
    }

    fn spend(&self, limit: u32, who: Who, now: i64) -> Option<Duration> {
        let each = (MINUTE / i64::from(limit)).max(1);
        let paid = self.paid.get_with(who, Arc::default);
        // Nobody has paid for more than a minute, unless the clock was set back: then it begins anew.
        let owed = |until: i64| if until > now.saturating_add(MINUTE) { 0 } else { (until - now).max(0) };
        let next = |until: i64| {
            let owed = owed(until);
            (owed <= MINUTE - each).then(|| now.saturating_add(owed + each))
        };
        match paid.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next) {
            Ok(_) => None,
            Err(until) => {
                let over = owed(until) - (MINUTE - each);
                Some(Duration::from_micros(u64::try_from(over).unwrap_or(0)))
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    /// Returns how many of so many requests at that moment are let through.
    fn passed(rate: &Rate, peer: &str, many: usize, at: i64) -> usize {
        let ask = |_: &usize| rate.refuses(&Err(Denied::Missing), address(peer), Timestamp(at)).is_none();
        (0..many).filter(ask).count()
    }

    #[test]
    fn a_minutes_worth_passes_at_once_and_then_one_at_a_time() {
        let rate = Rate::new(0, 60);
        let start = 1_000_000;
        assert_eq!(passed(&rate, "192.0.2.1", 100, start), 60);
        let wait = rate.refuses(&Err(Denied::Missing), address("192.0.2.1"), Timestamp(start));
        assert_eq!(wait, Some(Duration::from_secs(1)));
        assert_eq!(passed(&rate, "192.0.2.1", 5, start + 999), 0);
        assert_eq!(passed(&rate, "192.0.2.1", 5, start + 1000), 1);
        assert_eq!(passed(&rate, "192.0.2.1", 100, start + 61_000), 60);
        assert_eq!(passed(&rate, "192.0.2.2", 5, start), 5, "another address");
    }

    #[test]
    fn no_number_is_no_limit_and_a_clock_set_back_locks_nobody_out() {
        assert_eq!(passed(&Rate::new(0, 0), "192.0.2.1", 5000, 0), 5000);
        let rate = Rate::new(0, 10);
        assert_eq!(passed(&rate, "192.0.2.1", 20, 10_000_000), 10);
        assert_eq!(passed(&rate, "192.0.2.1", 20, 0), 10);
    }

    #[test]
    fn an_ipv6_household_is_one() {
        let rate = Rate::new(0, 3);
        assert_eq!(passed(&rate, "2001:db8::1", 2, 0) + passed(&rate, "2001:db8::2", 2, 0), 3);
        assert_eq!(passed(&rate, "2001:db8:0:1::1", 1, 0), 1);
    }
}

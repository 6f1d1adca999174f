//! The time and the chance of a simulator.
//!
//! Owns: a clock that a test sets, dice that a seed decides. Does not own: what depends on them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::store::Timestamp;

/// The clock of a simulator. Copies share the time.
#[derive(Debug, Clone)]
pub struct Clock(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// True: `millis` is added to the time of the machine.
    runs: AtomicBool,
    millis: AtomicI64,
}

impl Clock {
    /// Returns a clock that runs with the machine.
    pub fn real() -> Clock {
        Clock(Arc::new(Inner { runs: AtomicBool::new(true), millis: AtomicI64::new(0) }))
    }

    /// Returns a clock that stands still at so many milliseconds since 1970.
    pub fn fixed(millis: i64) -> Clock {
        Clock(Arc::new(Inner { runs: AtomicBool::new(false), millis: AtomicI64::new(millis) }))
    }

    /// Returns milliseconds since 1970.
    pub fn millis(&self) -> i64 {
        let told = self.0.millis.load(Ordering::SeqCst);
        if self.0.runs.load(Ordering::SeqCst) { told + machine() } else { told }
    }

    /// Returns seconds since 1970.
    pub fn seconds(&self) -> i64 {
        self.millis().div_euclid(1000)
    }

    /// Goes on by so many milliseconds.
    pub fn advance(&self, millis: i64) {
        self.0.millis.fetch_add(millis, Ordering::SeqCst);
    }

    /// Stands still at that moment from now on.
    pub fn set(&self, millis: i64) {
        self.0.runs.store(false, Ordering::SeqCst);
        self.0.millis.store(millis, Ordering::SeqCst);
    }
}

impl crate::calendar::Clock for Clock {
    fn now(&self) -> Timestamp {
        Timestamp(self.millis())
    }
}

fn machine() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// Chance that a seed decides. Copies share the sequence.
#[derive(Debug, Clone)]
pub struct Dice(Arc<AtomicU64>);

impl Dice {
    /// Returns dice that fall as the seed says.
    pub fn new(seed: u64) -> Dice {
        Dice(Arc::new(AtomicU64::new(seed)))
    }

    /// Throws: any number (SplitMix64).
    pub fn any(&self) -> u64 {
        const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
        let mut z = self.0.fetch_add(STEP, Ordering::SeqCst).wrapping_add(STEP);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Throws: a number below `limit`, 0 if that is 0.
    pub fn below(&self, limit: u64) -> u64 {
        self.any().checked_rem(limit).unwrap_or(0)
    }

    /// Throws: true with that probability.
    pub fn falls(&self, chance: f64) -> bool {
        // Without a throw where nothing is left to chance, so that a script without chances has no effect on the rest.
        if chance <= 0.0 {
            return false;
        }
        if chance >= 1.0 {
            return true;
        }
        #[allow(clippy::cast_precision_loss)]
        let thrown = (self.any() >> 11) as f64 / (1u64 << 53) as f64;
        thrown < chance
    }

    /// Returns so many letters and digits.
    pub fn word(&self, length: usize) -> String {
        const LETTERS: &[u8; 32] = b"abcdefghijklmnopqrstuv0123456789";
        (0..length)
            .map(|_| {
                let at = usize::try_from(self.any() % 32).unwrap_or(0);
                char::from(LETTERS.get(at).copied().unwrap_or(b'a'))
            })
            .collect()
    }
}

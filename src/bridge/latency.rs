//! How long a change takes from one side to the other, measured (E16).
//!
//! Owns: which changes are measured, the figures of a mapping. Does not own: showing them (`api`).
//!
//! Outward a change is measured from its commit here to the far side's answer, inward from the moment that the far side says
//! it was written there to its commit here. What a first pass carries, and what was there already when a former pass
//! looked (it has entered the window, or failed before), says nothing of how quick a mapping is.

use serde::{Deserialize, Serialize};

use super::run::{Far, Pass};
use crate::store::Timestamp;

/// The average is that of about so many changes.
const MEMORY: u64 = 20;

/// How long changes take, each way.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Latency {
    /// From here to there.
    #[serde(default)]
    pub outward: Option<Measured>,
    /// From there to here.
    #[serde(default)]
    pub inward: Option<Measured>,
}

/// How long changes took.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Measured {
    /// The last one, in milliseconds.
    pub last: u64,
    /// The last ones on average, in milliseconds.
    pub average: u64,
    /// How many were measured.
    pub count: u64,
    /// When the last one arrived.
    pub at: Timestamp,
}

impl Measured {
    fn after(before: Option<Measured>, took: u64, at: Timestamp) -> Measured {
        let (count, average) = before.map_or((0, took), |before| (before.count, before.average));
        let count = count.saturating_add(1);
        let weight = count.min(MEMORY);
        let average = average.saturating_mul(weight.saturating_sub(1)).saturating_add(took) / weight.max(1);
        Measured { last: took, average, count, at }
    }
}

impl Pass {
    /// A change made here at that moment has reached the far side.
    pub(super) fn went_out(&mut self, made: Timestamp) {
        let outward = self.state.latency.outward;
        self.state.latency.outward = self.took(outward, made).or(outward);
    }

    /// What the far side said is stored here.
    pub(super) fn came_in(&mut self, far: &Far) {
        let Far::Seen(seen, _) = far else { return };
        // Far sides tell whole seconds: a change of this second may look older than the look before it.
        let Some(made) =
            seen.modified.map(|seconds| Timestamp(seconds.saturating_mul(1000).saturating_add(999)))
        else {
            return;
        };
        let inward = self.state.latency.inward;
        self.state.latency.inward = self.took(inward, made).or(inward);
    }

    fn took(&self, before: Option<Measured>, made: Timestamp) -> Option<Measured> {
        let looked = self.state.looked?;
        let now = self.session.house.clock.now();
        let took = u64::try_from(now.0.saturating_sub(made.0)).unwrap_or(0);
        (made >= looked).then(|| Measured::after(before, took, now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // E16
    #[test]
    fn an_average_follows_what_is_measured_now() {
        let mut measured = None;
        for _ in 0..100 {
            measured = Some(Measured::after(measured, 1000, Timestamp(7)));
        }
        assert_eq!(measured, Some(Measured { last: 1000, average: 1000, count: 100, at: Timestamp(7) }));
        for _ in 0..100 {
            measured = Some(Measured::after(measured, 200, Timestamp(8)));
        }
        let now = measured.map(|m| (m.last, m.average < 250, m.count));
        assert_eq!(now, Some((200, true, 200)));
        assert_eq!(Measured::after(None, 5, Timestamp(1)).average, 5);
    }
}

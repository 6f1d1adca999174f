//! When a mapping is looked at next: poll interval, retry, back-off. A state machine driven by the clock passed in.
//!
//! Owns: the retry schedule, jitter, the floor under a far side's Retry-After. Does not own: sleeping, timers.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::record::Kind;
use crate::ical::value::{Civil, DAY};
use crate::ical::zone::Zone;
use crate::store::Timestamp;

/// The settings that decide on the pace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    /// Between two looks at the far side.
    pub poll: Duration,
    /// Between two looks at a CalDAV server.
    pub caldav: Duration,
    /// Between two looks at Cozi.
    pub cozi: Duration,
    /// Between two looks at a feed.
    pub feed: Duration,
    /// After the first, second … failure in a row; E24.
    pub retry: Vec<Duration>,
    /// After more failures than `retry` has entries.
    pub slow: Duration,
}

impl Default for Schedule {
    fn default() -> Schedule {
        Schedule {
            poll: Duration::from_secs(15 * 60),
            caldav: Duration::from_secs(10 * 60),
            cozi: Duration::from_secs(30 * 60),
            feed: Duration::from_secs(60 * 60),
            retry: [60, 300, 900].map(Duration::from_secs).to_vec(),
            slow: Duration::from_secs(24 * 3600),
        }
    }
}

impl Schedule {
    /// Returns the schedule for far sides of that kind.
    #[must_use]
    pub fn of(&self, kind: Kind) -> Schedule {
        let poll = match kind {
            Kind::Caldav | Kind::Icloud => self.caldav,
            Kind::Cozi => self.cozi,
            Kind::Ics => self.feed,
            Kind::Google | Kind::Outlook => self.poll,
        };
        Schedule { poll, ..self.clone() }
    }

    /// Returns how long to wait after so many attempts at one object. `uid` spreads the slow end.
    pub(super) fn wait(&self, attempts: u32, uid: &str) -> Duration {
        let index = usize::try_from(attempts).unwrap_or(usize::MAX).saturating_sub(1);
        let dice = uid.bytes().fold(0_u64, |dice, byte| dice.wrapping_mul(31).wrapping_add(u64::from(byte)));
        self.retry.get(index).copied().unwrap_or_else(|| jitter(self.slow, dice))
    }
}

/// How a pass ended, as far as the pace is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// All went well.
    Well,
    /// All went well and the pass asks to be repeated soon.
    Soon(Duration),
    /// Something failed that may heal by itself.
    Failed,
    /// The far side asked to wait.
    Slow(Option<Duration>),
    /// Our own budget of calls is used up for this long.
    Deferred(Duration),
    /// Nothing helps but a person: a wrong password, a calendar that is gone.
    Stuck,
}

/// Where a mapping's pace stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Pace {
    /// Failures in a row.
    pub failures: u32,
    /// Requests to wait in a row.
    #[serde(default)]
    pub throttled: u32,
    /// The next look; nothing: only when a person asks or something changes.
    pub next: Option<Timestamp>,
    /// No call before this moment, whoever asks (Retry-After).
    #[serde(default)]
    pub not_before: Option<Timestamp>,
}

impl Pace {
    /// Returns the pace after a pass. `dice` is any number that differs between mappings and passes.
    #[must_use]
    pub fn after(self, outcome: Outcome, now: Timestamp, schedule: &Schedule, dice: u64) -> Pace {
        let at = |wait: Duration| Some(later(now, wait));
        match outcome {
            Outcome::Well => Pace { next: at(jitter(schedule.poll, dice)), ..Pace::default() },
            Outcome::Soon(wait) => Pace { next: at(wait.min(schedule.poll)), ..Pace::default() },
            Outcome::Failed => {
                let failures = self.failures.saturating_add(1);
                let index = usize::try_from(failures).unwrap_or(usize::MAX).saturating_sub(1);
                // The steps of the retry schedule are promised as they are; only the slow end is spread.
                let wait = schedule.retry.get(index).copied().unwrap_or_else(|| jitter(schedule.slow, dice));
                Pace { failures, throttled: 0, next: at(wait), not_before: None }
            }
            Outcome::Slow(asked) => {
                // Servers ask for less than they mean: the floor doubles while they go on asking.
                let throttled = self.throttled.saturating_add(1);
                let floor = Duration::from_secs(2u64.saturating_pow(throttled.min(12)));
                let wait = asked.unwrap_or_default().max(floor).min(schedule.slow);
                Pace { failures: self.failures, throttled, next: at(wait), not_before: at(wait) }
            }
            Outcome::Deferred(wait) => {
                let wait = wait.min(schedule.slow);
                Pace { next: at(wait), not_before: at(wait), ..self }
            }
            Outcome::Stuck => Pace { failures: self.failures.saturating_add(1), ..Pace::default() },
        }
    }

    /// Tells whether the mapping is to be looked at now.
    pub fn due(&self, now: Timestamp) -> bool {
        self.next.is_some_and(|next| next <= now)
    }

    /// Returns how long even a person has to wait.
    pub fn barred(&self, now: Timestamp) -> Option<Duration> {
        let left = self.not_before?.0.saturating_sub(now.0);
        u64::try_from(left).ok().filter(|left| *left > 0).map(Duration::from_millis)
    }

    /// Tells whether the retry schedule has been used up.
    pub fn given_up(&self, schedule: &Schedule) -> bool {
        usize::try_from(self.failures).unwrap_or(usize::MAX) > schedule.retry.len()
    }
}

/// Returns the moment that much later.
pub fn later(now: Timestamp, wait: Duration) -> Timestamp {
    Timestamp(now.0.saturating_add(i64::try_from(wait.as_millis()).unwrap_or(i64::MAX)))
}

/// Everything is not compared twice within this time, whatever the clock on the wall says.
pub const NIGHT: Duration = Duration::from_secs(6 * 3600);

/// Returns the first moment after `last` at which everything is compared once more: each day at this second by the clock of
/// that zone, up to a quarter of the night, 90 minutes, earlier or later, and not twice in one night.
pub fn next_full(last: Timestamp, second_of_day: u32, zone: &Zone, dice: u64) -> Timestamp {
    const SPREAD: u64 = 90 * 60 * 1000;
    let spread = i64::try_from(scatter(dice) % (2 * SPREAD + 1)).unwrap_or(0) - 90 * 60 * 1000;
    let earliest = later(last, NIGHT);
    let on_the_wall = zone.to_civil(earliest.0.saturating_sub(spread).div_euclid(1000));
    let today = on_the_wall.0.div_euclid(DAY).saturating_mul(DAY);
    let on_day = |days: i64| {
        let civil = Civil(today.saturating_add(days * DAY).saturating_add(i64::from(second_of_day)));
        Timestamp(zone.to_instant(civil).saturating_mul(1000).saturating_add(spread))
    };
    // A night in which the clocks change is longer or shorter than others.
    (-1..=1).map(on_day).find(|at| *at > earliest).unwrap_or_else(|| on_day(2))
}

/// Spreads a wait by ± 25 %, so that mappings made together do not call together for ever (E2).
fn jitter(wait: Duration, dice: u64) -> Duration {
    let permille = 750 + scatter(dice) % 501;
    let millis = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
    Duration::from_millis(millis.saturating_mul(permille) / 1000)
}

/// splitmix64: neighbouring numbers land far apart.
fn scatter(dice: u64) -> u64 {
    let mut x = dice.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_000_000);

    fn wait(pace: Pace) -> u64 {
        u64::try_from(pace.next.unwrap().0 - NOW.0).unwrap() / 1000
    }

    // S1-098, E24: 1, 5, 15 minutes, then failed and daily
    #[test]
    fn failures_wait_longer_and_longer_and_success_forgets_them() {
        let schedule = Schedule::default();
        let mut pace = Pace::default();
        for (expected, given_up) in [(60, false), (300, false), (900, false)] {
            pace = pace.after(Outcome::Failed, NOW, &schedule, 7);
            assert_eq!((wait(pace), pace.given_up(&schedule)), (expected, given_up));
        }
        pace = pace.after(Outcome::Failed, NOW, &schedule, 7);
        assert!(pace.given_up(&schedule));
        assert!((18 * 3600..=30 * 3600).contains(&wait(pace)), "{}", wait(pace));
        pace = pace.after(Outcome::Well, NOW, &schedule, 7);
        assert_eq!(pace.failures, 0);
        assert!((675..=1125).contains(&wait(pace)), "{}", wait(pace));
    }

    // E2: ± 25 %
    #[test]
    fn jitter_uses_the_whole_width() {
        let schedule = Schedule { poll: Duration::from_secs(1000), ..Schedule::default() };
        let waits: Vec<u64> =
            (0..2000).map(|dice| wait(Pace::default().after(Outcome::Well, NOW, &schedule, dice))).collect();
        assert!(*waits.iter().min().unwrap() >= 750 && *waits.iter().min().unwrap() < 760);
        assert!(*waits.iter().max().unwrap() <= 1250 && *waits.iter().max().unwrap() > 1240);
    }

    #[test]
    fn a_request_to_wait_is_obeyed_with_a_growing_floor() {
        let schedule = Schedule::default();
        let first = Pace::default().after(Outcome::Slow(Some(Duration::from_secs(30))), NOW, &schedule, 1);
        assert_eq!((wait(first), first.failures), (30, 0));
        assert_eq!(first.barred(NOW), Some(Duration::from_secs(30)));
        assert_eq!(first.barred(later(NOW, Duration::from_secs(30))), None);
        let mut pace = Pace::default();
        let mut waits = Vec::new();
        for _ in 0..5 {
            pace = pace.after(Outcome::Slow(Some(Duration::from_secs(1))), NOW, &schedule, 1);
            waits.push(wait(pace));
        }
        assert_eq!(waits, [2, 4, 8, 16, 32]);
        assert_eq!(pace.after(Outcome::Well, NOW, &schedule, 1).throttled, 0);
    }

    // S4-074: deferred until the budget allows, which is no failure
    #[test]
    fn a_budget_that_is_used_up_is_waited_for_and_counts_as_nothing() {
        let schedule = Schedule::default();
        let failed = Pace::default().after(Outcome::Failed, NOW, &schedule, 1);
        for _ in 0..5 {
            let pace = failed.after(Outcome::Deferred(Duration::from_secs(60)), NOW, &schedule, 1);
            assert_eq!((wait(pace), pace.failures, pace.throttled), (60, 1, 0));
            assert_eq!(pace.barred(NOW), Some(Duration::from_secs(60)));
        }
    }

    // S3-101, S3-089, S3-098: each kind of far side has its own interval
    #[test]
    fn kinds_of_far_sides_are_asked_at_their_own_intervals() {
        let schedule = Schedule::default();
        let minutes = |kind| schedule.of(kind).poll.as_secs() / 60;
        assert_eq!([Kind::Google, Kind::Outlook].map(minutes), [15, 15]);
        assert_eq!([Kind::Caldav, Kind::Icloud, Kind::Cozi, Kind::Ics].map(minutes), [10, 10, 30, 60]);
    }

    // E20, S2-091: once a night by the owner's clock, spread, never twice in one night
    #[test]
    fn everything_is_compared_once_a_night() {
        let night = 3 * 3600;
        let zone = |name| crate::ical::zone::by_tzid(name).unwrap();
        // Within these weeks the clocks of Berlin and New York go forward, and in others back.
        let spring = 1_773_100_000;
        for (zone, begin) in [
            (Zone::Utc, spring),
            (zone("Europe/Berlin"), spring),
            (zone("America/New_York"), spring - 14 * DAY),
            (zone("Asia/Kolkata"), spring),
            (zone("Pacific/Auckland"), spring),
            (zone("Europe/Berlin"), spring + 214 * DAY),
        ] {
            let mut seen = std::collections::BTreeSet::new();
            for dice in 0..100 {
                let noon = zone.to_civil(begin).0.div_euclid(DAY) * DAY + 12 * 3600;
                let mut at = Timestamp(zone.to_instant(Civil(noon)) * 1000);
                for n in 1..=21 {
                    at = next_full(at, night, &zone, dice);
                    let wall = zone.to_civil(at.0.div_euclid(1000)).0;
                    let of_day = wall - (noon - 12 * 3600 + n * DAY);
                    // A clock that is put forward at two, or back at three, moves what was meant before it.
                    assert!((1800..=6 * 3600).contains(&of_day), "{of_day} of night {n} in {zone:?}");
                }
                seen.insert(at);
            }
            assert!(seen.len() > 90, "{}", seen.len());
            let at = |days: i64, hour: i64| {
                Timestamp(zone.to_instant(Civil((20_000 + days) * DAY + hour * 3600)) * 1000)
            };
            assert!((at(1, 1)..at(1, 5)).contains(&next_full(at(0, 12), night, &zone, 5)));
            // What was compared a minute before is not compared again in the same night.
            assert!(next_full(at(0, 2), night, &zone, 5) > at(1, 0));
        }
    }

    #[test]
    fn what_only_a_person_can_mend_is_not_tried_again() {
        let pace = Pace::default().after(Outcome::Stuck, NOW, &Schedule::default(), 1);
        assert_eq!(pace.next, None);
        assert!(!pace.due(Timestamp(i64::MAX)));
    }
}

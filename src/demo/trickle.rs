//! What people do on the far sides while a demo runs.
//!
//! Owns: who does what and when, that it does not become more and more. Does not own: how a far side takes it (`far`).
//!
//! On each far side a few events are made, moved, renamed and removed again. There are never more of them than
//! [`PLACES`], names are used again, and the longer a demo runs the slower it goes.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::far::{Far, Kind, Plan, today};
use crate::ical::value::{Civil, DAY};
use crate::sim::Dice;

/// Events of one far side that come and go.
pub(super) const PLACES: usize = 5;
/// Between two changes at first: each far side changes every half minute.
const BEAT: Duration = Duration::from_secs(8);
/// Changes after which it goes slower, and how slow: somebody who still looks has seen enough of them.
const SLOWER: [(u64, Duration); 2] = [(1500, Duration::from_secs(600)), (100, Duration::from_secs(60))];
/// Changes after which the simulators forget what they were asked.
const FORGET: u64 = 64;

const PRIVATE: &[&str] = &[
    "Coffee with Ben",
    "Lunch with Mira",
    "Cinema",
    "Dinner at Noor's",
    "Run along the river",
    "Call Grandma",
    "Bicycle repair",
    "Pick up the parcel",
];
const WORK: &[&str] = &[
    "Project review",
    "Customer call",
    "Interview",
    "Design session",
    "Onboarding",
    "Demo of the sprint",
    "Lunch and learn",
    "Contract questions",
];
const CHOIR: &[&str] = &[
    "Extra rehearsal",
    "Sectional, altos",
    "Voice lesson",
    "Programme meeting",
    "Stage set-up",
    "Sound check",
];
const FAMILY: &[&str] =
    &["Playdate", "Swimming", "Piano lesson", "Football training", "Library day", "Grandma visits"];
const PLACES_OF_WORK: &[&str] = &["Room 2", "Room 5", "Office", "Online", "Town hall"];
const PLACES_ELSEWHERE: &[&str] = &["Café am Markt", "At home", "Station", "Community centre", "By the lake"];

/// Throws for one of several.
pub(super) fn pick<'a>(dice: &Dice, from: &[&'a str]) -> &'a str {
    let many = u64::try_from(from.len()).unwrap_or(0);
    usize::try_from(dice.below(many)).ok().and_then(|at| from.get(at).copied()).unwrap_or_default()
}

/// Throws for a number below `limit`.
pub(super) fn throw(dice: &Dice, limit: u64) -> i64 {
    i64::try_from(dice.below(limit)).unwrap_or(0)
}

/// Everybody who does something.
#[derive(Debug)]
pub(super) struct Trickle {
    sides: Vec<Side>,
    dice: Dice,
    beats: u64,
}

#[derive(Debug)]
struct Side {
    far: Arc<Far>,
    kept: Vec<Option<(String, Plan)>>,
}

impl Trickle {
    /// Returns what happens on these far sides, as the seed decides. Nothing has happened yet.
    pub(super) fn new(fars: &[Arc<Far>], seed: u64) -> Trickle {
        let side = |far: &Arc<Far>| Side { far: Arc::clone(far), kept: vec![None; PLACES] };
        Trickle { sides: fars.iter().map(side).collect(), dice: Dice::new(seed), beats: 0 }
    }

    /// Lets something happen now and then until it is stopped.
    pub(super) async fn flow(mut self, stop: CancellationToken) {
        loop {
            let wait = SLOWER.iter().find(|(after, _)| self.beats >= *after).map_or(BEAT, |(_, wait)| *wait);
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(wait) => {}
            }
            let beaten = tokio::task::spawn_blocking(move || {
                let done = self.beat();
                (self, done)
            });
            let Ok((again, done)) = beaten.await else { return };
            self = again;
            if let Err(why) = done {
                tracing::warn!("a simulated person could not do something: {why}");
            }
            if self.beats.is_multiple_of(FORGET)
                && let Err(why) = self.forget().await
            {
                tracing::warn!("a simulator could not forget: {why}");
            }
        }
    }

    async fn forget(&self) -> Result<(), String> {
        for side in &self.sides {
            side.far.forget().await?;
        }
        Ok(())
    }

    /// One thing happens on one far side; they take turns.
    fn beat(&mut self) -> Result<(), String> {
        let many = u64::try_from(self.sides.len()).unwrap_or(0);
        let turn = self.beats.checked_rem(many).and_then(|turn| usize::try_from(turn).ok()).unwrap_or(0);
        self.beats += 1;
        let Some(side) = self.sides.get_mut(turn) else { return Ok(()) };
        side.happen(&self.dice)
    }
}

impl Side {
    fn happen(&mut self, dice: &Dice) -> Result<(), String> {
        let number = dice.below(u64::try_from(PLACES).unwrap_or(0));
        let far = Arc::clone(&self.far);
        let today = today(far.now());
        let Some(kept) = usize::try_from(number).ok().and_then(|at| self.kept.get_mut(at)) else {
            return Ok(());
        };
        let Some((id, plan)) = kept.take() else {
            let plan = wish(far.kind, dice, today, number);
            *kept = Some((far.make(&plan)?, plan));
            return Ok(());
        };
        // What is over makes room for something else.
        if plan.start.days() < today || dice.below(4) == 0 {
            return far.remove(&id);
        }
        let other = wish(far.kind, dice, today, number);
        let plan = match dice.below(3) {
            0 => Plan { start: other.start, ..plan },
            1 => Plan { place: other.place, ..plan },
            _ => Plan { title: other.title, ..plan },
        };
        far.change(&id, &plan)?;
        *kept = Some((id, plan));
        Ok(())
    }
}

/// Returns what somebody might have in mind for the next days.
fn wish(kind: Kind, dice: &Dice, today: i64, number: u64) -> Plan {
    let (titles, places) = match kind {
        Kind::Google => (PRIVATE, PLACES_ELSEWHERE),
        Kind::Outlook => (WORK, PLACES_OF_WORK),
        Kind::Caldav => (CHOIR, PLACES_ELSEWHERE),
        Kind::Cozi => (FAMILY, PLACES_ELSEWHERE),
    };
    let hour = match kind {
        Kind::Outlook => 8 + throw(dice, 9),
        Kind::Google | Kind::Caldav | Kind::Cozi => 17 + throw(dice, 4),
    };
    let day = today + 1 + throw(dice, 10);
    Plan {
        name: format!("trickle-{number}"),
        title: pick(dice, titles).to_owned(),
        place: pick(dice, places).to_owned(),
        start: Civil(day * DAY + hour * 3600 + throw(dice, 4) * 900),
        minutes: 30 + throw(dice, 3) * 15,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use super::*;

    // A steady trickle; a demo that runs for days does not grow
    #[tokio::test(flavor = "multi_thread")]
    async fn there_is_never_more_than_a_few_events_and_all_of_them_change() {
        let place = tempfile::tempdir().unwrap();
        let mut fars = Vec::new();
        for kind in Kind::ALL {
            fars.push(Arc::new(Far::start(kind, 1, place.path()).await.unwrap()));
        }
        let mut trickle = Trickle::new(&fars, 7);
        let titles = |far: &Far| -> Vec<String> {
            let all = match far.kind {
                Kind::Google => return Vec::new(),
                Kind::Outlook => far.own("events", serde_json::json!({})),
                Kind::Caldav => {
                    far.own("objects", serde_json::json!({ "calendar": super::super::far::CHOIR }))
                }
                Kind::Cozi => far.own("items", serde_json::json!({})),
            };
            match all.unwrap() {
                serde_json::Value::Array(all) => all.iter().map(ToString::to_string).collect(),
                serde_json::Value::Object(all) => all.values().map(ToString::to_string).collect(),
                other => panic!("{other}"),
            }
        };
        let (mut seen, mut most) = (std::collections::BTreeSet::new(), 0);
        for _ in 0..400 {
            tokio::task::block_in_place(|| trickle.beat()).unwrap();
            for far in &fars {
                let now = titles(far);
                most = most.max(now.len());
                seen.extend(now);
            }
            for side in &trickle.sides {
                assert!(
                    side.kept.iter().flatten().all(|(_, plan)| plan.start.days() > today(side.far.now()))
                );
            }
        }
        assert_eq!(most, PLACES);
        assert!(seen.len() > 100, "{}", seen.len());
        trickle.forget().await.unwrap();
    }

    #[tokio::test]
    async fn the_same_seed_has_the_same_people_do_the_same() {
        let plans = |seed| {
            let dice = Dice::new(seed);
            (0..50).map(|n| wish(Kind::ALL[n % 4], &dice, 20_000, 1)).collect::<Vec<_>>()
        };
        assert_eq!(plans(1), plans(1));
        assert_ne!(plans(1), plans(2));
    }
}

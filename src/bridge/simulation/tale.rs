//! Stories as lists of beats: made from a seed, played, and, when one ends badly, told as short as possible.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};

use super::*;

/// Something that happens. Each has dice of its own, so that leaving one out changes no other.
#[derive(Debug, Clone)]
pub(super) enum Beat {
    /// Somebody edits something.
    Act(u64),
    /// A pass, in which calls may fail, and which may be cut after some calls.
    Sync { seed: u64, crash: Option<u64> },
    /// Nothing goes wrong for a while, and the laws are looked at.
    Calm(u64),
}

/// A story.
#[derive(Debug, Clone)]
pub(super) struct Tale {
    pub(super) seed: u64,
    pub(super) steps: Vec<Beat>,
}

impl Tale {
    pub(super) fn of(seed: u64) -> Tale {
        let mut dice = Dice(seed ^ 0x7a1e);
        let mut steps = Vec::new();
        for _ in 0..3 {
            for _ in 0..(3 + dice.roll(12)) {
                let own = dice.roll(u64::MAX);
                steps.push(match dice.roll(5) {
                    0 => Beat::Sync { seed: own, crash: dice.one_in(3).then(|| dice.roll(10)) },
                    _ => Beat::Act(own),
                });
            }
            steps.push(Beat::Calm(dice.roll(u64::MAX)));
        }
        Tale { seed, steps }
    }
}

type Playing = Pin<Box<dyn Future<Output = String>>>;

/// Plays a story to its end and returns it in words. Nothing: it ended badly.
fn played(tale: &Tale, play: fn(Tale) -> Playing) -> Option<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let playing = play(tale.clone());
    let ended = catch_unwind(AssertUnwindSafe(|| {
        runtime.block_on(async { tokio::time::timeout(Duration::from_secs(60), playing).await.ok() })
    }));
    ended.unwrap_or_default()
}

fn holds(tale: &Tale, play: fn(Tale) -> Playing) -> bool {
    played(tale, play).is_some()
}

/// Leaves out what is not needed for the story to end badly.
fn shortest(tale: Tale, play: fn(Tale) -> Playing) -> Tale {
    let mut tale = tale;
    let mut size = tale.steps.len().div_ceil(2);
    while size > 0 {
        let mut at = 0;
        while at < tale.steps.len() {
            let mut shorter = tale.clone();
            shorter.steps.drain(at..(at + size).min(tale.steps.len()));
            if holds(&shorter, play) {
                at += size;
            } else {
                tale = shorter;
            }
        }
        size /= 2;
    }
    tale
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

/// The first seed: others with `KALENDS_SEED_FROM=20000`.
fn from() -> u64 {
    number("KALENDS_SEED_FROM").unwrap_or(0)
}

/// Plays some stories twice: they are the same, word by word.
pub(super) fn tell_twice(count: u64, play: fn(Tale) -> Playing) {
    for seed in from()..from() + count {
        let tale = Tale::of(seed);
        let [one, other] = [(); 2].map(|()| played(&tale, play).unwrap_or_default());
        if let Some((one, other)) = one.lines().zip(other.lines()).find(|(one, other)| one != other) {
            panic!("seed {seed} was told in two ways:\n{one}\n{other}");
        }
        assert_eq!(one, other, "seed {seed}");
    }
}

/// Plays as many stories, on all cores: fewer with `KALENDS_SEEDS=100`, one with `KALENDS_SEED=17`. The shortest form
/// of one that ends badly is told. First those that ended badly once, each with what it was about.
pub(super) fn play_all(what: &str, count: u64, pinned: &[(u64, &str)], play: fn(Tale) -> Playing) {
    for (seed, about) in pinned.iter().filter(|_| number("KALENDS_SEED").is_none()) {
        assert!(holds(&Tale::of(*seed), play), "{what}: seed {seed} breaks a law again: {about}");
    }
    let seeds = match number("KALENDS_SEED") {
        Some(seed) => seed..seed + 1,
        None => from()..from() + number("KALENDS_SEEDS").unwrap_or(count),
    };
    let next = AtomicU64::new(seeds.start);
    let bad = AtomicU64::new(u64::MAX);
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end || bad.load(Ordering::Relaxed) != u64::MAX {
                        return;
                    }
                    if !holds(&Tale::of(seed), play) {
                        bad.fetch_min(seed, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let seed = bad.load(Ordering::Relaxed);
    if seed != u64::MAX {
        let tale = shortest(Tale::of(seed), play);
        println!("\n==== {what}: the shortest story of seed {seed}: {:#?}", tale.steps);
        // Once more, for its words.
        holds(&tale, play);
        panic!("seed {seed} breaks a law; KALENDS_SEED={seed} plays it alone");
    }
}

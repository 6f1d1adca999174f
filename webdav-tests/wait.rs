//! Waiting for what has to happen, never for a time to pass: far longer than anything takes on a machine with much to do.

use std::time::{Duration, Instant};

pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Looks again and again until this is so.
#[track_caller]
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    wait_for(what, &mut holds, |so| *so);
}

/// Looks again and again until what is seen is as wished.
#[track_caller]
pub(crate) fn wait_for<T>(what: &str, mut look: impl FnMut() -> T, wish: impl Fn(&T) -> bool) -> T
where
    T: std::fmt::Debug,
{
    let begun = Instant::now();
    loop {
        let seen = look();
        if wish(&seen) {
            return seen;
        }
        assert!(begun.elapsed() < PATIENCE, "{what} did not happen: {seen:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

//! SIGKILL at random moments: while it opens, while it writes, while it recovers from the kill before.

use std::time::{Duration, Instant};

use super::*;

const KILLS: u64 = 110;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_process_loses_nothing_that_it_acknowledged() {
    let seed = 0x4b_616c_656e_6473;
    let dir = tempfile::tempdir().unwrap();
    let acks = dir.path().join("acks");
    let mut dice = Dice::of(&[seed]);
    let (mut before, mut while_writing) = (0, 0);
    let begin = Instant::now();
    for kill in 0..KILLS {
        let mut child = start(dir.path(), seed, Sizes::Usual, u64::MAX / 2, 1).spawn().unwrap();
        let after = Duration::from_millis(dice.below(60));
        if kill % 3 != 0 {
            // Not before it writes; the other kills come at any time from its start on.
            let length = || std::fs::metadata(&acks).map_or(0, |meta| meta.len());
            let (old, deadline) = (length(), Instant::now() + Duration::from_secs(30));
            while length() == old && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        std::thread::sleep(after);
        child.kill().unwrap();
        let status = child.wait().unwrap();
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9), "it ended by itself");
        let text = std::fs::read_to_string(&acks).unwrap_or_default();
        let acknowledged = Acknowledged::read(&text);
        while_writing += u64::from(acknowledged.count > before);
        before = acknowledged.count;
        let store = dir.path().join("store");
        if let Err(broken) = obeys_the_law(&store, seed, Sizes::Usual, &acknowledged).await {
            let kept = dir.keep();
            panic!("kill {kill} after {after:?} (seed {seed:#x}), kept in {}: {broken}", kept.display());
        }
    }
    println!(
        "{KILLS} kills, {while_writing} of them while it wrote, {before} commits, {:.1} s",
        begin.elapsed().as_secs_f64()
    );
    assert!(while_writing * 2 > KILLS, "only {while_writing} kills hit a process that had written");
}

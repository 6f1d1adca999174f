//! A disk that fails for a while: an error, never a wait without end, nothing half written, and it heals.

use std::process::Stdio;
use std::time::{Duration, Instant};

use kalends::store::{CommitError, Fault};

use super::*;

/// `EIO` and `ENOSPC` of Linux.
const ERRORS: [(i32, &str); 2] = [(5, "EIO"), (28, "ENOSPC")];

#[test]
fn a_failing_disk_is_an_error_and_not_a_wait() {
    let dir = tempfile::tempdir().unwrap();
    let Some(library) = power::library(dir.path()) else {
        assert!(std::env::var_os("CI").is_none(), "this proof may not be left out in CI");
        println!("SKIPPED: there is no C compiler `cc`, which is needed to make writes fail");
        return;
    };
    for round in 0..24 {
        let (errno, name) = ERRORS[round % 2];
        let (from, count) = (20 + round * 9, 1 + round % 3);
        let root = dir.path().join(format!("root-{round}"));
        std::fs::create_dir(&root).unwrap();
        let mut child = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["durability::broken::failing_process", "--exact", "--ignored", "--nocapture"])
            .env("KALENDS_BROKEN", &root)
            .env("LD_PRELOAD", &library)
            .env("KALENDS_TRACE_ROOT", &root)
            .env("KALENDS_FAIL", format!("{from} {count} {errno}"))
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let deadline = Instant::now() + Duration::from_secs(60);
        let status = loop {
            match child.try_wait().unwrap() {
                Some(status) => break status,
                None if Instant::now() > deadline => {
                    child.kill().unwrap();
                    child.wait().unwrap();
                    panic!("{count} writes from the {from}th on failed with {name}: it waits without end");
                }
                None => std::thread::sleep(Duration::from_millis(5)),
            }
        };
        assert!(status.success(), "{count} writes from the {from}th on failed with {name}: {status}");
    }
}

/// Writes while the disk fails. Does nothing unless the test above starts it.
#[test]
#[ignore = "started by the test above"]
fn failing_process() {
    let Ok(root) = std::env::var("KALENDS_BROKEN") else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let store = Arc::new(Sled::open(Path::new(&root).join("store"), Options::default()).unwrap());
        let key = |writer: u64, number: u64| Key::new(Table::Base, format!("{writer}/{number}"));
        let writers = (0..4).map(|writer| {
            let store = store.clone();
            tokio::spawn(async move {
                let mut outcomes = Vec::new();
                for number in 0..120 {
                    let write = commit(number)
                        .expect(Expect::Record(key(writer, number), None))
                        .op(Op::PutRecord(key(writer, number), Content { seed: number, size: 3000 }.bytes()))
                        .op(Op::PutRecord(key(writer + 100, number), Bytes::from("twin")));
                    outcomes.push(match store.commit(write).await {
                        Ok(_) => true,
                        Err(CommitError::Fault(Fault::Full | Fault::Broken(_))) => false,
                        Err(rejected) => panic!("{rejected}"),
                    });
                }
                outcomes
            })
        });
        let mut failed = 0;
        for (writer, outcomes) in writers.collect::<Vec<_>>().into_iter().enumerate() {
            for (number, done) in outcomes.await.unwrap().into_iter().enumerate() {
                let (writer, number) = (writer as u64, number as u64);
                let there = store.record(&key(writer, number)).await.unwrap().is_some();
                let twin = store.record(&key(writer + 100, number)).await.unwrap().is_some();
                // What was refused is not there either: a refusal is as true as a promise.
                assert_eq!((there, twin), (done, done), "writer {writer}, commit {number}");
                failed += u64::from(!done);
            }
        }
        assert!(failed < 400, "it does not heal: {failed} of 480 commits failed");
        let report = store.verify(None).await.unwrap();
        assert!(report.sound(), "{:?}", report.flaws);
        store.commit(commit(0).op(Op::PutRecord(key(0, 1000), Bytes::from("x")))).await.unwrap();
    });
}

//! A full disk: nothing is lost, reading goes on, and writing heals when there is room again, without a restart.
//!
//! Needs a disk that can be filled: a small tmpfs in a mount namespace of its own, which only root may make, or a
//! user where the system allows it. Elsewhere the test says why it is skipped.

use std::process::Command;
use std::time::Duration;

use kalends::store::{CommitError, Fault};

use super::*;

#[test]
fn a_full_disk_loses_nothing_and_heals() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().join("disk");
    std::fs::create_dir(&place).unwrap();
    // The mount goes with the process: nothing has to be cleaned up.
    let script = "mount -t tmpfs -o size=48m kalends \"$DISK\" || exit 42; exec \"$@\"";
    for reserve in [2 << 20, 0] {
        let mut reasons = Vec::new();
        let mut ran = false;
        for namespace in [&["-m"][..], &["-r", "-m"]] {
            let output = Command::new("unshare")
                .args(namespace)
                .args(["sh", "-c", script, "sh"])
                .arg(std::env::current_exe().unwrap())
                .args(["durability::full::filling_process", "--exact", "--ignored", "--nocapture"])
                .env("DISK", &place)
                .env("KALENDS_FULL_DISK", &place)
                .env("RESERVE", reserve.to_string())
                .output();
            match output {
                Ok(output) if output.status.success() => {
                    ran = true;
                    break;
                }
                Ok(output) => {
                    let said = String::from_utf8_lossy(&output.stderr).into_owned();
                    let began = String::from_utf8_lossy(&output.stdout).contains("running 1 test");
                    assert!(
                        !began,
                        "with a reserve of {reserve}: {said}\n{}",
                        String::from_utf8_lossy(&output.stdout)
                    );
                    reasons.push(said);
                }
                Err(error) => reasons.push(error.to_string()),
            }
        }
        if !ran {
            assert!(std::env::var_os("CI").is_none(), "this proof may not be left out in CI");
            println!("SKIPPED: no small file system can be mounted here: {reasons:?}");
            return;
        }
    }
}

fn put(id: CollectionId, number: u64) -> Commit {
    let content = Content { seed: number, size: 20_000 };
    commit(number).op(Op::Put {
        collection: id,
        name: name(0, number),
        content_type: "text/calendar".into(),
        bytes: content.bytes(),
        index: index(0, (0, number), content),
    })
}

/// All that was acknowledged and nothing else.
async fn holds(store: &dyn Store, id: CollectionId, numbers: &[u64]) {
    let report = store.verify(None).await.unwrap();
    assert!(report.sound(), "{:#?}", report.flaws);
    let mut expected: Vec<_> = numbers.iter().map(|number| name(0, *number)).collect();
    expected.sort();
    let found = store.list(id, None, usize::MAX).await.unwrap();
    assert_eq!(found.iter().map(|meta| meta.name.clone()).collect::<Vec<_>>(), expected);
    for meta in found {
        assert!(store.object(id, meta.name.as_str()).await.unwrap().is_some());
    }
}

/// Runs on the small disk. Does nothing unless the test above starts it.
#[test]
#[ignore = "started by the test above"]
fn filling_process() {
    let Ok(disk) = std::env::var("KALENDS_FULL_DISK") else { return };
    let reserve: u64 = std::env::var("RESERVE").unwrap().parse().unwrap();
    let disk = Path::new(&disk);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let options = Options { reserve, ..Options::default() };
        let store = super::opened(&disk.join("store"), &options).unwrap();
        make_calendars(&store).await;
        let (_, [id, _]) = calendars(&store).await.unwrap();
        let mut numbers = Vec::new();
        let mut number = 0;
        let fault = loop {
            number += 1;
            match store.commit(put(id, number)).await {
                Ok(_) => numbers.push(number),
                Err(CommitError::Fault(fault)) => break fault,
                Err(other) => panic!("{other}"),
            }
            assert!(number < 10_000, "the disk does not fill");
        };
        assert!(matches!(fault, Fault::Full), "{fault}");
        assert!(number > 100, "it was full after {number} objects");
        if reserve > 0 {
            // Reading goes on.
            holds(&store, id, &numbers).await;
            // Somebody else takes even that.
            let filler = disk.join("filler");
            let _ = std::fs::write(&filler, vec![1; 48 << 20]);
            for number in 5000..5020 {
                let refused = store.commit(put(id, number)).await;
                assert!(matches!(refused, Err(CommitError::Fault(Fault::Full))), "{refused:?}");
            }
            // Long enough for sled's own thread to run into the wall.
            tokio::time::sleep(Duration::from_millis(600)).await;
            holds(&store, id, &numbers).await;
            std::fs::remove_file(filler).unwrap();
        }
        // Room again.
        let more = Command::new("mount").args(["-o", "remount,size=160m"]).arg(disk).status().unwrap();
        assert!(more.success());
        for number in 10_000..10_200 {
            store.commit(put(id, number)).await.unwrap();
            numbers.push(number);
        }
        holds(&store, id, &numbers).await;
        drop(store);
        holds(&Sled::open(disk.join("store"), options).unwrap(), id, &numbers).await;
    });
}

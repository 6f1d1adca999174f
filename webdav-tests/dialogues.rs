//! Every dialogue file is a case: found by itself, played against a server of its own.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::dialogue::{Host, Setup, discover, play};
use crate::host::Served;

fn open(setup: &Setup) -> Result<Box<dyn Host>, String> {
    Served::start(setup).map(|served| Box::new(served) as Box<dyn Host>)
}

/// Plays every file; tells each that fails, not just the first.
#[test]
fn dialogues() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("webdav-tests/dialogues");
    let files = discover(&folder);
    assert!(!files.is_empty(), "no dialogue was found");
    let next = AtomicUsize::new(0);
    let failed: Mutex<Vec<(PathBuf, String)>> = Mutex::default();
    let workers = std::thread::available_parallelism().map_or(2, usize::from).clamp(2, 8);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                while let Some(path) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Err(wrong) = play(path, &open) {
                        failed.lock().unwrap_or_else(PoisonError::into_inner).push((path.clone(), wrong));
                    }
                }
            });
        }
    });
    let mut failed = failed.into_inner().unwrap_or_else(PoisonError::into_inner);
    failed.sort();
    for (_, wrong) in &failed {
        println!("{}\n", wrong.replace(&*folder.to_string_lossy(), ""));
    }
    let names: Vec<_> = failed.iter().map(|(path, _)| path.strip_prefix(&folder).unwrap_or(path)).collect();
    assert!(failed.is_empty(), "{} of {} dialogues failed: {names:#?}", failed.len(), files.len());
    println!("{} dialogues", files.len());
}

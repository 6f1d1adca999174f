//! The directory that a demo keeps everything in, and that goes with it.
//!
//! Owns: making it for this process alone, removing it, removing what demos left behind that were killed.
//! Does not own: what is in it.
//!
//! Who is killed cannot tidy up. So each demo holds a lock on a file of its directory for as long as it lives, and the next
//! one removes the directories whose lock nobody holds.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How the names of all of them begin.
const PREFIX: &str = "kalends-demo-";
/// The file that is locked.
const LOCK: &str = "lock";
/// How often a directory is made anew that somebody removed in the making.
const ATTEMPTS: usize = 16;

/// A directory of this process's own. Dropped, it is gone with all that is in it.
#[derive(Debug)]
pub(super) struct Place {
    path: PathBuf,
    lock: File,
}

impl Place {
    /// Makes one where temporary files are, and removes those there that nobody uses any more.
    pub(super) fn make() -> Result<Place, String> {
        Place::below(&std::env::temp_dir())
    }

    fn below(base: &Path) -> Result<Place, String> {
        let place =
            Place::own(base).map_err(|error| format!("no directory in {}: {error}", base.display()))?;
        place.sweep(base);
        Ok(place)
    }

    fn own(base: &Path) -> io::Result<Place> {
        for _ in 0..ATTEMPTS {
            let mut random = [0; 8];
            getrandom::fill(&mut random).map_err(|error| io::Error::other(error.to_string()))?;
            let path = base.join(format!("{PREFIX}{:016x}", u64::from_be_bytes(random)));
            DirBuilder::new().mode(0o700).create(&path)?;
            match claim(&path) {
                Ok(Some(lock)) => return Ok(Place { path, lock }),
                // Another demo that begins at this moment took it for a forgotten one.
                Ok(None) => {}
                Err(error) => {
                    let _ = fs::remove_dir_all(&path);
                    return Err(error);
                }
            }
        }
        Err(io::Error::other("it was removed again and again"))
    }

    /// Returns where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Removes what demos left behind that were killed: ours, and with a lock that nobody holds.
    fn sweep(&self, base: &Path) {
        let (Ok(entries), Ok(own)) = (fs::read_dir(base), self.lock.metadata()) else { return };
        for entry in entries.flatten() {
            let path = entry.path();
            let named = entry.file_name().to_string_lossy().starts_with(PREFIX);
            let ours = fs::symlink_metadata(&path).is_ok_and(|meta| meta.is_dir() && meta.uid() == own.uid());
            if named && ours && path != self.path {
                forsaken(&path);
            }
        }
    }

    /// Removes it. Whoever still writes in it has a moment to end.
    pub(super) fn remove(self) -> Result<(), String> {
        let mut left = Ok(());
        for _ in 0..20 {
            left = match fs::remove_dir_all(&self.path) {
                Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
                _ => return Ok(()),
            };
            std::thread::sleep(Duration::from_millis(50));
        }
        left.map_err(|error| format!("{} could not be removed: {error}", self.path.display()))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// Locks the directory for this process. Nothing: somebody removed it meanwhile.
fn claim(path: &Path) -> io::Result<Option<File>> {
    let at = path.join(LOCK);
    let lock = match OpenOptions::new().write(true).create_new(true).open(&at) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    let held = lock.try_lock().is_ok();
    // A lock on a file that has no name any more holds nobody off.
    let there = fs::metadata(&at).and_then(|there| Ok(there.ino() == lock.metadata()?.ino()));
    Ok((held && there.unwrap_or(false)).then_some(lock))
}

/// Removes a directory if no process holds it.
fn forsaken(path: &Path) {
    match OpenOptions::new().write(true).open(path.join(LOCK)) {
        // Made a moment ago, or killed then: only if it is empty.
        Err(error) if error.kind() == ErrorKind::NotFound => drop(fs::remove_dir(path)),
        Ok(lock) if lock.try_lock().is_ok() => drop(fs::remove_dir_all(path)),
        _ => {}
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use super::*;

    // Nothing is left behind; what a kill leaves, the next demo removes
    #[test]
    fn the_next_one_removes_what_a_kill_left_and_nothing_else() {
        let base = tempfile::tempdir().unwrap();
        let path = |name: &str| base.path().join(name);
        let make = |name: &str| fs::create_dir(path(name)).unwrap();
        let alive = Place::below(base.path()).unwrap();
        fs::write(alive.path().join("kept"), "x").unwrap();
        // Killed with a store in it; killed before the lock was made; no demo's; a link to somewhere else.
        make("kalends-demo-killed");
        fs::write(path("kalends-demo-killed/lock"), "").unwrap();
        fs::create_dir(path("kalends-demo-killed/db")).unwrap();
        fs::write(path("kalends-demo-killed/db/log"), "x").unwrap();
        make("kalends-demo-early");
        make("kalends-demo-strange");
        fs::write(path("kalends-demo-strange/file"), "x").unwrap();
        make("other");
        std::os::unix::fs::symlink(path("other"), path("kalends-demo-link")).unwrap();
        let next = Place::below(base.path()).unwrap();
        assert_eq!(fs::metadata(next.path()).unwrap().mode() & 0o777, 0o700);
        for (name, stays) in [
            ("kalends-demo-killed", false),
            ("kalends-demo-early", false),
            ("kalends-demo-strange", true),
            ("other", true),
            ("kalends-demo-link", true),
        ] {
            assert_eq!(path(name).exists(), stays, "{name}");
        }
        assert!(alive.path().join("kept").exists() && next.path().exists());
        let gone = [alive.path().to_owned(), next.path().to_owned()];
        alive.remove().unwrap();
        drop(next);
        assert!(!gone.iter().any(|path| path.exists()));
    }

    #[test]
    fn many_that_begin_at_once_do_not_take_each_other_for_forgotten() {
        let base = tempfile::tempdir().unwrap();
        let places: Vec<Place> = std::thread::scope(|scope| {
            let begin = || (0..8).map(|_| Place::below(base.path()).unwrap()).collect::<Vec<_>>();
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(begin)).collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        assert!(places.iter().all(|place| place.path().join(LOCK).exists()));
    }
}

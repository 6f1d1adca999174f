//! Opening the database so that it always opens, and stays whole.
//!
//! Owns: the rules of docs/decisions/002-sled.md that concern files, and the format version.
//! A new database is made beside its place and renamed into it, so that a crash in between leaves nothing behind
//! that would have to be read.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::rows::{FORMAT_KEY, Rows, Space, Trees, fault};
use super::upgrade;
use crate::store::Fault;
use crate::store::codec::{Reader, Writer};

/// How often sled's own thread looks for segments to empty. At its default of 500 ms it falls behind under
/// load, and the file grows to 3.5 KB for an event of 700 bytes instead of 2.6.
const COLLECT_EVERY_MS: u64 = 100;

/// How a store is opened.
#[derive(Debug, Clone)]
pub struct Options {
    /// Bytes of pages that sled may keep in memory.
    pub cache: u64,
    /// Bytes that are taken from the disk behind the end of the data before they are needed; 0: none.
    ///
    /// sled does not survive a write that finds no room, and it writes also when it tidies up or is only read. So a
    /// full disk has to be noticed before sled is asked.
    pub reserve: u64,
}

impl Default for Options {
    fn default() -> Options {
        Options { cache: 24 << 20, reserve: 2 << 20 }
    }
}

/// Opens the trees, made if there are none.
pub(super) fn open(path: &Path, options: &Options) -> Result<Arc<Trees>, Fault> {
    if is_absent(path).map_err(|error| at(path, error))? {
        create(path, options).map_err(|error| at(path, error))?;
    }
    let trees = existing(path, options)?;
    upgrade::upgrade(&trees, upgrade::STEPS)?;
    Ok(trees)
}

fn at(path: &Path, error: io::Error) -> Fault {
    match fault(::sled::Error::Io(io::Error::new(error.kind(), error.to_string()))) {
        Fault::Full => Fault::Full,
        Fault::Broken(_) => Fault::Broken(format!("{}: {error}", path.display())),
    }
}

/// Keeps other processes out while it lives.
pub(super) type Claim = Option<File>;

/// Opens the trees for this process alone. sled's own lock comes too late: what is done before it, removing half-made
/// files, would take them from a process that is just making them.
pub(super) fn claim(path: &Path, options: &Options) -> Result<(Arc<Trees>, Claim), Fault> {
    let claim = claimed(path, options).map_err(|error| at(path, error))?;
    Ok((open(path, options)?, claim))
}

/// Makes the database if there is none, and locks its directory until the handle is dropped or the process ends.
fn claimed(path: &Path, options: &Options) -> io::Result<Claim> {
    if is_absent(path)? {
        // One after the other where a database is made; this takes a moment only.
        let above = parent(path);
        fs::create_dir_all(&above)?;
        let gate = File::open(&above)?;
        let _ = gate.lock();
        if is_absent(path)? {
            create(path, options)?;
        }
    }
    let directory = File::open(path)?;
    match directory.try_lock() {
        Ok(()) => Ok(Some(directory)),
        Err(TryLockError::WouldBlock) => {
            Err(io::Error::new(io::ErrorKind::WouldBlock, "another process has it open"))
        }
        // Not every file system can lock a directory; sled's own lock is still to come.
        Err(TryLockError::Error(_)) => Ok(None),
    }
}

/// Nothing there, or an empty directory.
pub(super) fn is_absent(path: &Path) -> io::Result<bool> {
    match fs::read_dir(path) {
        Ok(mut entries) => Ok(entries.next().is_none()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(error) => Err(error),
    }
}

/// Makes an empty database beside the path and renames it to the path when it is durable.
fn create(path: &Path, options: &Options) -> io::Result<()> {
    let beside = beside(path, "new");
    if beside.exists() {
        fs::remove_dir_all(&beside)?;
    }
    fs::create_dir_all(parent(path))?;
    {
        let db = sled(&beside, options)?;
        let trees = Trees::of(db)?;
        let mut row = Writer::row();
        row.number(upgrade::CURRENT);
        trees.tree(Space::Core).insert(FORMAT_KEY, row.0)?;
        trees.db.flush()?;
    }
    take_place(&beside, path)
}

/// Puts a database that was made beside its place there, durably.
pub(super) fn take_place(beside: &Path, path: &Path) -> io::Result<()> {
    sync_files(beside)?;
    fs::rename(beside, path)?;
    sync_dir(&parent(path))
}

/// A sibling of the path.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".");
    name.push(suffix);
    path.with_file_name(name)
}

/// The directory that holds the path.
pub(super) fn parent(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// Opens a database that is there.
pub(super) fn existing(path: &Path, options: &Options) -> Result<Arc<Trees>, Fault> {
    remove_half_snapshots(path).map_err(|error| at(path, error))?;
    let db = sled(path, options).map_err(|error| at(path, error))?;
    sync_files(path).and_then(|()| sync_dir(&parent(path))).map_err(|error| at(path, error))?;
    let trees = Trees::of(db).map_err(fault)?;
    match trees.get(Space::Core, FORMAT_KEY)? {
        Some(row) => {
            let version = Reader::row(&row)?.number()?;
            if version > upgrade::CURRENT {
                return Err(Fault::Broken(format!(
                    "{} has format {version}; this program reads up to {}: it was written by a newer version",
                    path.display(),
                    upgrade::CURRENT
                )));
            }
        }
        None => {
            return Err(Fault::Broken(format!("{} is not a store of Kalends", path.display())));
        }
    }
    Ok(trees)
}

/// Opens our own handle to sled's file, to sync it and to take room for it. Never written to.
pub(super) fn data_file(path: &Path) -> Result<File, Fault> {
    OpenOptions::new().read(true).write(true).open(path.join("db")).map_err(|error| at(path, error))
}

/// sled takes a half-written snapshot for the newest one and then cannot open; without it, it reads its log.
fn remove_half_snapshots(path: &Path) -> io::Result<()> {
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with("snap.") && name.ends_with(".generating") {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Opens sled; recovery may panic, which is an error like any other.
fn sled(path: &Path, options: &Options) -> io::Result<::sled::Db> {
    let config = ::sled::Config::default()
        .path(path)
        .cache_capacity(options.cache)
        .flush_every_ms(Some(COLLECT_EVERY_MS));
    match catch_unwind(AssertUnwindSafe(|| config.open())) {
        Ok(Ok(db)) => Ok(db),
        Ok(Err(::sled::Error::Io(error))) if error.to_string().contains("could not acquire lock") => {
            Err(io::Error::new(io::ErrorKind::WouldBlock, "another process has it open"))
        }
        Ok(Err(::sled::Error::Io(error))) => Err(error),
        Ok(Err(error)) => Err(io::Error::other(damaged(&error.to_string()))),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("recovery panicked");
            Err(io::Error::other(damaged(text)))
        }
    }
}

fn damaged(cause: &str) -> String {
    format!("the database is damaged; move it away and restore the newest backup ({cause})")
}

/// Syncs every file of the database and its directory: sled never syncs `conf`.
fn sync_files(path: &Path) -> io::Result<()> {
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            sync_dir(&entry.path())?;
        } else if kind.is_file() {
            // Nothing else is ours: a server that was killed leaves its admin socket here, which cannot be opened.
            File::open(entry.path())?.sync_all()?;
        }
    }
    sync_dir(path)
}

/// Syncs a directory: which names are in it.
pub(super) fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

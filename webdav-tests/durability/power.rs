//! Power cuts: everything that the store asks of the file system is written down (`trace.c`), then images of the
//! disk are made as a cut could leave them, and each is opened.
//!
//! What a cut may do: anything that no completed sync covers may be there, be missing, or be there in parts of 512
//! bytes; a file may be longer than what was written to it. Names (create, rename, unlink) come in order, as
//! journals do it, but none is sure before a sync of its directory. `sync_file_range` makes nothing sure.

use std::collections::HashMap;
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use super::*;

const IMAGES: u64 = 160;
const SECTOR: usize = 512;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_power_cut_takes_nothing_that_was_acknowledged() {
    let seed = 0x4375_7421;
    let dir = tempfile::tempdir().unwrap();
    let Some(library) = library(dir.path()) else {
        assert!(std::env::var_os("CI").is_none(), "this proof may not be left out in CI");
        println!("SKIPPED: there is no C compiler `cc`, which the recorder of power cuts needs");
        return;
    };
    let root = dir.path().join("root");
    std::fs::create_dir(&root).unwrap();
    let trace = dir.path().join("trace");
    let begin = Instant::now();
    let status = start(&root, seed, Sizes::SomeLong, 24, 3)
        .env("LD_PRELOAD", &library)
        .env("KALENDS_TRACE", &trace)
        .env("KALENDS_TRACE_ROOT", &root)
        .status()
        .unwrap();
    assert!(status.success(), "the writing process failed: {status}");
    let events = read(&std::fs::read(&trace).unwrap(), &root);
    let writes = events.iter().filter(|event| matches!(event, Event::Write { .. })).count();
    let syncs = events.iter().filter(|event| matches!(event, Event::SyncEnd { .. })).count();
    assert!(writes > 300 && syncs > 100, "{writes} writes and {syncs} syncs were recorded");
    let all = Acknowledged::read(&acks(&events));
    assert_eq!(all.count, WRITERS * 24 * 3);
    for image in 0..IMAGES {
        let mut dice = Dice::of(&[seed, image]);
        // The last image is of a cut after everything; the others are spread evenly, also over opening and closing.
        let span = events.len() as u64 / IMAGES;
        let cut = if image + 1 == IMAGES { events.len() } else { (image * span + dice.below(span)) as usize };
        let disk = Disk::at(&events[..cut]);
        let place = dir.path().join(format!("image-{image}"));
        disk.image(&place, &mut dice);
        let acknowledged = Acknowledged::read(&acks(&events[..cut]));
        if let Err(broken) = obeys_the_law(&place.join("store"), seed, Sizes::SomeLong, &acknowledged).await {
            let kept = dir.keep();
            panic!(
                "image {image}, cut at {cut} of {} (seed {seed:#x}), kept in {}: {broken}",
                events.len(),
                kept.display()
            );
        }
        std::fs::remove_dir_all(&place).unwrap();
    }
    println!(
        "{IMAGES} cuts through {writes} writes and {syncs} syncs, {} commits, {:.1} s",
        all.count,
        begin.elapsed().as_secs_f64()
    );
}

/// The judge must be able to condemn: without the syncs that were recorded, cuts lose data.
#[test]
fn without_syncs_an_image_may_lose_everything() {
    let at = PathBuf::from("store/db");
    let mut events = vec![
        Event::Open { path: at.clone(), file: 1 },
        Event::Write { file: 1, offset: 0, data: vec![7; 4096] },
    ];
    let lost = |events: &[Event]| {
        let dir = tempfile::tempdir().unwrap();
        let images = 0..64;
        let whole = images.filter(|image| {
            let place = dir.path().join(image.to_string());
            Disk::at(events).image(&place, &mut Dice::of(&[*image]));
            std::fs::read(place.join("store/db")).is_ok_and(|bytes| bytes == vec![7; 4096])
        });
        64 - whole.count()
    };
    assert!(lost(&events) > 10);
    events.push(Event::SyncBegin { token: 1, target: Target::File(1) });
    assert!(lost(&events) > 10, "a sync that did not end covers nothing");
    events.push(Event::SyncEnd { token: 1 });
    assert!(lost(&events) > 10, "a synced file without a name is lost");
    events.push(Event::SyncBegin { token: 2, target: Target::Directory(PathBuf::from("store")) });
    events.push(Event::SyncEnd { token: 2 });
    assert_eq!(lost(&events), 0);
    events.push(Event::Write { file: 1, offset: 0, data: vec![8; 4096] });
    assert!(lost(&events) > 10, "what is written later is not covered");
}

/// Compiles the recorder.
pub(super) fn library(dir: &Path) -> Option<PathBuf> {
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/webdav-tests/durability/trace.c");
    let library = dir.join("trace.so");
    let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".into());
    let mut command = Command::new(compiler);
    let status =
        command.args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(source).arg("-ldl").status();
    match status {
        Ok(status) => {
            assert!(status.success(), "the recorder does not compile");
            Some(library)
        }
        Err(_) => None,
    }
}

#[derive(Debug)]
enum Target {
    File(u64),
    Directory(PathBuf),
}

/// One thing that the process asked for; paths are relative to the root.
#[derive(Debug)]
enum Event {
    Open { path: PathBuf, file: u64 },
    Write { file: u64, offset: u64, data: Vec<u8> },
    Truncate { file: u64, length: u64 },
    SyncBegin { token: u64, target: Target },
    SyncEnd { token: u64 },
    Rename { from: PathBuf, to: PathBuf },
    Unlink { path: PathBuf },
    MakeDirectory { path: PathBuf },
    RemoveDirectory { path: PathBuf },
}

/// Reads what `trace.c` wrote.
fn read(mut bytes: &[u8], root: &Path) -> Vec<Event> {
    fn take<'a>(bytes: &mut &'a [u8], length: usize) -> &'a [u8] {
        let (first, rest) = bytes.split_at(length);
        *bytes = rest;
        first
    }
    let below = |path: &[u8]| {
        let path = PathBuf::from(std::str::from_utf8(path).unwrap());
        path.strip_prefix(root).unwrap().to_owned()
    };
    let mut events = Vec::new();
    while !bytes.is_empty() {
        let op = u32::from_ne_bytes(take(&mut bytes, 4).try_into().unwrap());
        let path_length = u32::from_ne_bytes(take(&mut bytes, 4).try_into().unwrap());
        let [file, offset, length] =
            [0; 3].map(|_: i32| u64::from_ne_bytes(take(&mut bytes, 8).try_into().unwrap()));
        let path = take(&mut bytes, path_length as usize);
        events.push(match op {
            1 => Event::Open { path: below(path), file },
            2 => Event::Write { file, offset, data: take(&mut bytes, length as usize).to_vec() },
            3 => Event::Truncate { file, length: offset },
            4 => Event::SyncBegin { token: offset, target: Target::File(file) },
            5 => Event::SyncEnd { token: offset },
            6 => {
                let mut both = path.split(|byte| *byte == 1);
                Event::Rename { from: below(both.next().unwrap()), to: below(both.next().unwrap()) }
            }
            7 => Event::Unlink { path: below(path) },
            8 => Event::MakeDirectory { path: below(path) },
            9 => Event::RemoveDirectory { path: below(path) },
            10 => Event::SyncBegin { token: offset, target: Target::Directory(below(path)) },
            _ => panic!("an unknown event {op}"),
        });
    }
    events
}

/// What was acknowledged: the lines of the file `acks`, in the same order of events.
fn acks(events: &[Event]) -> String {
    let mut acks = None;
    let mut text = String::new();
    for event in events {
        match event {
            Event::Open { path, file } if path.as_path() == Path::new("acks") => acks = Some(*file),
            Event::Write { file, data, .. } if Some(*file) == acks => {
                text += std::str::from_utf8(data).unwrap()
            }
            _ => {}
        }
    }
    text
}

enum Change<'a> {
    Write(u64, &'a [u8]),
    Truncate(u64),
}

/// A file under whatever name.
#[derive(Default)]
struct Content<'a> {
    changes: Vec<(usize, Change<'a>)>,
    /// Changes before this event are sure.
    sure: usize,
}

/// A change of names: applied in order.
enum Naming {
    File(PathBuf, usize),
    Rename(PathBuf, PathBuf),
    Remove(PathBuf),
    Directory(PathBuf),
}

/// What was asked for up to the cut, and what of it is sure.
struct Disk<'a> {
    files: Vec<Content<'a>>,
    names: Vec<(usize, Naming, bool)>,
}

impl<'a> Disk<'a> {
    fn at(events: &'a [Event]) -> Disk<'a> {
        let mut disk = Disk { files: Vec::new(), names: Vec::new() };
        let mut by_id: HashMap<u64, usize> = HashMap::new();
        let mut named: BTreeMap<PathBuf, usize> = BTreeMap::new();
        let mut syncs: HashMap<u64, (usize, &Target)> = HashMap::new();
        for (at, event) in events.iter().enumerate() {
            match event {
                Event::Open { path, file } => {
                    if !named.contains_key(path) {
                        disk.files.push(Content::default());
                        named.insert(path.clone(), disk.files.len() - 1);
                        disk.names.push((at, Naming::File(path.clone(), disk.files.len() - 1), false));
                        by_id.insert(*file, disk.files.len() - 1);
                    }
                }
                Event::Write { file, offset, data } => {
                    let file = &mut disk.files[by_id[file]];
                    file.changes.push((at, Change::Write(*offset, data)));
                }
                Event::Truncate { file, length } => {
                    disk.files[by_id[file]].changes.push((at, Change::Truncate(*length)));
                }
                Event::SyncBegin { token, target } => {
                    syncs.insert(*token, (at, target));
                }
                Event::SyncEnd { token } => match syncs[token] {
                    (begin, Target::File(file)) => {
                        let file = &mut disk.files[by_id[file]];
                        file.sure = file.sure.max(begin);
                    }
                    (begin, Target::Directory(path)) => {
                        for (at, naming, sure) in &mut disk.names {
                            *sure |= *at < begin && naming.is_in(path);
                        }
                    }
                },
                Event::Rename { from, to } => {
                    let moved: Vec<_> = named.keys().filter(|path| path.starts_with(from)).cloned().collect();
                    for path in moved {
                        let file = named.remove(&path).unwrap();
                        named.insert(renamed(&path, from, to), file);
                    }
                    disk.names.push((at, Naming::Rename(from.clone(), to.clone()), false));
                }
                Event::Unlink { path } | Event::RemoveDirectory { path } => {
                    named.remove(path);
                    disk.names.push((at, Naming::Remove(path.clone()), false));
                }
                Event::MakeDirectory { path } => {
                    disk.names.push((at, Naming::Directory(path.clone()), false));
                }
            }
        }
        disk
    }

    /// Makes one of the images that a cut now could leave.
    fn image(&self, place: &Path, dice: &mut Dice) {
        std::fs::create_dir_all(place).unwrap();
        let sure = self.names.iter().rposition(|(_, _, sure)| *sure).map_or(0, |last| last + 1);
        let end = sure + dice.below((self.names.len() - sure + 1) as u64) as usize;
        let mut named: BTreeMap<PathBuf, Option<usize>> = BTreeMap::new();
        for (_, naming, _) in &self.names[..end] {
            match naming {
                Naming::File(path, file) => {
                    named.insert(path.clone(), Some(*file));
                }
                Naming::Directory(path) => {
                    named.insert(path.clone(), None);
                }
                Naming::Remove(path) => {
                    named.remove(path);
                }
                Naming::Rename(from, to) => {
                    let moved: Vec<_> = named.keys().filter(|path| path.starts_with(from)).cloned().collect();
                    for path in moved {
                        let file = named.remove(&path).unwrap();
                        named.insert(renamed(&path, from, to), file);
                    }
                }
            }
        }
        // How much of the unsure comes through: all, nothing, or some.
        let mood = [0, 10, 50, 90, 100][dice.below(5) as usize];
        for (path, file) in named {
            let path = place.join(path);
            match file {
                None => std::fs::create_dir_all(path).unwrap(),
                Some(file) => {
                    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                    std::fs::write(path, self.files[file].image(mood, dice)).unwrap();
                }
            }
        }
    }
}

impl Naming {
    fn is_in(&self, directory: &Path) -> bool {
        let inside = |path: &Path| path.parent() == Some(directory);
        match self {
            Naming::File(path, _) | Naming::Remove(path) | Naming::Directory(path) => inside(path),
            Naming::Rename(from, to) => inside(from) && inside(to),
        }
    }
}

impl Content<'_> {
    fn image(&self, mood: u64, dice: &mut Dice) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (at, change) in &self.changes {
            let sure = *at < self.sure;
            match change {
                Change::Truncate(length) => {
                    if sure || dice.below(100) < mood {
                        bytes.resize(*length as usize, 0);
                    }
                }
                Change::Write(offset, data) => {
                    let from = *offset as usize;
                    let longer = bytes.len() < from + data.len();
                    if sure || dice.below(100) < mood {
                        bytes.resize(bytes.len().max(from + data.len()), 0);
                        bytes[from..from + data.len()].copy_from_slice(data);
                    } else if dice.below(3) == 0 {
                        // Torn: some sectors of it, the size as if all had come.
                        bytes.resize(bytes.len().max(from + data.len()), 0);
                        for (i, sector) in data.chunks(SECTOR).enumerate() {
                            if dice.below(2) == 0 {
                                let to = from + i * SECTOR;
                                bytes[to..to + sector.len()].copy_from_slice(sector);
                            }
                        }
                    } else if longer && dice.below(3) == 0 {
                        // The size came, the data did not.
                        bytes.resize(from + data.len(), 0);
                    }
                }
            }
        }
        bytes
    }
}

fn renamed(path: &Path, from: &Path, to: &Path) -> PathBuf {
    match path.strip_prefix(from).unwrap() {
        rest if rest.as_os_str().is_empty() => to.to_owned(),
        rest => to.join(rest),
    }
}

//! What was acknowledged survives: kills at any moment (`kill`, `trash`) and power cuts (`power`).
//!
//! Owns: the work that goes on meanwhile and the law that is checked afterwards. Each writer writes its own objects,
//! one commit after the other; what a commit does follows from a seed, the writer and a number, and the number is
//! stored in the same commit. So from the number that is found afterwards follows everything else that must be
//! found: nothing that was acknowledged is missing, nothing is half there.

#[path = "durability/broken.rs"]
mod broken;
#[path = "durability/full.rs"]
mod full;
#[path = "durability/kill.rs"]
mod kill;
#[path = "durability/power.rs"]
mod power;
#[path = "durability/trash.rs"]
mod trash;

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use kalends::store::{
    Collection, CollectionId, Commit, Etag, Expect, Index, Key, Kind, Name, Op, Options, Origin, Properties,
    Rev, Sled, Span, Store, Table, Timestamp,
};

/// Writers that write at the same time.
const WRITERS: u64 = 6;
/// Names that each writer uses, in each of two calendars.
const NAMES: u64 = 6;

/// Small, good enough, the same everywhere (SplitMix64).
#[derive(Clone)]
struct Dice(u64);

impl Dice {
    fn of(parts: &[u64]) -> Dice {
        let mut dice = Dice(0);
        for part in parts {
            dice.0 = dice.next() ^ part;
        }
        dice
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }
}

/// The bytes of one version of an object, as the numbers that they follow from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Content {
    seed: u64,
    size: u64,
}

impl Content {
    fn bytes(self) -> Bytes {
        let mut dice = Dice::of(&[self.seed]);
        let mut bytes = Vec::with_capacity(self.size as usize + 8);
        while (bytes.len() as u64) < self.size {
            bytes.extend_from_slice(&dice.next().to_le_bytes());
        }
        bytes.truncate(self.size as usize);
        bytes.into()
    }
}

/// One object of one writer: which calendar, which name.
type Place = (usize, u64);

/// What a writer's objects are.
type Objects = BTreeMap<Place, Content>;

/// One step of a commit.
enum Act {
    Put(Place, Content),
    Delete(Place),
}

/// How big values are.
#[derive(Clone, Copy)]
enum Sizes {
    /// As calendars have them.
    Usual,
    /// Some of 300 KB.
    SomeLong,
}

/// What the commit of that number does, and with it what the objects are afterwards.
fn acts(seed: u64, sizes: Sizes, writer: u64, number: u64, objects: &mut Objects) -> Vec<Act> {
    let mut dice = Dice::of(&[seed, writer, number]);
    let place = |dice: &mut Dice| (dice.below(2) as usize, dice.below(NAMES));
    let content = |dice: &mut Dice| {
        let size = match (dice.below(100), sizes) {
            (0..=2, Sizes::SomeLong) => 300_000,
            (0..=9, _) => 4000 + dice.below(16_000),
            (10..=13, _) => 3990 + dice.below(20),
            _ => 200 + dice.below(1200),
        };
        Content { seed: dice.next(), size }
    };
    let mut acts = Vec::new();
    match dice.below(10) {
        0..=4 => acts.push(Act::Put(place(&mut dice), content(&mut dice))),
        5 | 6 => {
            for _ in 0..2 {
                acts.push(Act::Put(place(&mut dice), content(&mut dice)));
            }
        }
        7 => acts.push(Act::Delete(place(&mut dice))),
        _ => {
            let from = place(&mut dice);
            if let Some(content) = objects.get(&from) {
                acts.push(Act::Put((1 - from.0, from.1), *content));
            }
            acts.push(Act::Delete(from));
        }
    }
    for act in &acts {
        match act {
            Act::Put(place, content) => objects.insert(*place, *content),
            Act::Delete(place) => objects.remove(place),
        };
    }
    acts
}

fn name(writer: u64, number: u64) -> Name {
    Name::new(format!("w{writer}-n{number}.ics")).unwrap()
}

fn record(writer: u64) -> Key {
    Key::new(Table::Base, format!("writer/{writer}"))
}

/// The record of a number: sometimes long.
fn record_value(number: u64) -> Bytes {
    let length = if number.is_multiple_of(7) { 9000 } else { 20 };
    Bytes::from(format!("{number:>length$}"))
}

fn index(writer: u64, place: Place, content: Content) -> Index {
    let start = (content.seed % 2_000_000_000) as i64;
    let end = (!content.seed.is_multiple_of(5)).then_some(start + (content.seed % 40_000_000) as i64);
    Index {
        uid: Some(format!("w{writer}-n{}", place.1)),
        component: "VEVENT".into(),
        span: Some(Span { start, end, exact: end.is_some() }),
    }
}

fn commit(number: u64) -> Commit {
    Commit::new(
        Origin::Dav { principal: "anna".into(), agent: "durability".into(), label: String::new() },
        Timestamp(number as i64),
    )
}

/// Finds the home and the two calendars, or makes them.
async fn calendars(store: &dyn Store) -> Option<(CollectionId, [CollectionId; 2])> {
    let home = store.child(CollectionId::HOMES, "anna").await.unwrap()?.id;
    let mut ids = [home; 2];
    for (id, at) in ids.iter_mut().zip(["a", "b"]) {
        *id = store.child(home, at).await.unwrap()?.id;
    }
    Some((home, ids))
}

async fn make_calendars(store: &dyn Store) {
    let home = store.new_collection_id().await.unwrap();
    let new = |id, parent, at: &str, kind| {
        Op::PutCollection(Collection {
            id,
            parent,
            name: Name::new(at).unwrap(),
            owner: "anna".into(),
            kind,
            components: vec![],
            properties: Properties::default(),
            created: Timestamp(0),
            modified: Timestamp(0),
        })
    };
    let mut write = commit(0).op(new(home, CollectionId::HOMES, "anna", Kind::Home));
    for at in ["a", "b"] {
        write = write.op(new(store.new_collection_id().await.unwrap(), home, at, Kind::Calendar));
    }
    store.commit(write).await.unwrap();
}

/// Writes until it has made so many commits or is killed; acknowledges each in one line.
async fn write(store: Arc<Sled>, seed: u64, sizes: Sizes, writer: u64, commits: u64, acks: Arc<File>) {
    let (home, ids) = calendars(&*store).await.unwrap();
    let mut last = store.record(&record(writer)).await.unwrap();
    let done = number_of(last.as_ref());
    let mut objects = Objects::new();
    for number in 1..=done {
        acts(seed, sizes, writer, number, &mut objects);
    }
    for number in done + 1..=done + commits {
        let value = record_value(number);
        let mut write = commit(number)
            .expect(Expect::Record(record(writer), last))
            .op(Op::PutRecord(record(writer), value.clone()));
        for act in acts(seed, sizes, writer, number, &mut objects) {
            write = match act {
                Act::Put(place, content) => write.op(Op::Put {
                    collection: ids[place.0],
                    name: name(writer, place.1),
                    content_type: "text/calendar".into(),
                    bytes: content.bytes(),
                    index: index(writer, place, content),
                }),
                Act::Delete(place) => {
                    write.op(Op::Delete { collection: ids[place.0], name: name(writer, place.1) })
                }
            };
        }
        let touch = Op::Touch { collection: home, name: Some(Name::new("a").unwrap()) };
        let done = store.commit(write.op(touch)).await.unwrap();
        let revs = ids.map(|id| done.rev(id).unwrap_or_default().0);
        (&*acks).write_all(format!("{writer} {number} {} {}\n", revs[0], revs[1]).as_bytes()).unwrap();
        last = Some(value);
    }
}

fn number_of(record: Option<&Bytes>) -> u64 {
    record.map_or(0, |bytes| std::str::from_utf8(bytes).unwrap().trim().parse().unwrap())
}

/// What was acknowledged.
#[derive(Debug, Clone, Default)]
struct Acknowledged {
    numbers: BTreeMap<u64, u64>,
    revs: [u64; 2],
    count: u64,
}

impl Acknowledged {
    /// Reads whole lines.
    fn read(text: &str) -> Acknowledged {
        let mut acknowledged = Acknowledged::default();
        for line in text.split_inclusive('\n').filter(|line| line.ends_with('\n')) {
            let numbers: Vec<u64> = line.split_whitespace().map(|word| word.parse().unwrap()).collect();
            let [writer, number, a, b] = numbers[..] else { panic!("a line of four numbers: {line:?}") };
            acknowledged.numbers.insert(writer, number);
            acknowledged.revs = [acknowledged.revs[0].max(a), acknowledged.revs[1].max(b)];
            acknowledged.count += 1;
        }
        acknowledged
    }
}

/// Opens a store. A process that another test is just starting holds every open file, and with it a lock that was let
/// go, until it becomes another program: that is waited for.
fn opened(dir: &Path, options: &Options) -> Result<Sled, kalends::store::Fault> {
    for _ in 0..100 {
        match Sled::open(dir, options.clone()) {
            Err(fault) if fault.to_string().contains("another process") => {
                std::thread::sleep(std::time::Duration::from_millis(50));
            }
            opened => return opened,
        }
    }
    Sled::open(dir, options.clone())
}

/// The law: opening succeeds, everything agrees with everything else, every acknowledged commit is there, and each
/// writer's objects are exactly those after one of its commits.
async fn obeys_the_law(
    dir: &Path,
    seed: u64,
    sizes: Sizes,
    acknowledged: &Acknowledged,
) -> Result<(), String> {
    let store = opened(dir, &Options::default()).map_err(|error| format!("it does not open: {error}"))?;
    let report = store.verify(None).await.map_err(|error| error.to_string())?;
    if !report.sound() {
        return Err(format!("{:?}", report.flaws));
    }
    let Some((_, ids)) = calendars(&store).await else {
        return match acknowledged.count {
            0 => Ok(()),
            _ => Err("the calendars are gone".into()),
        };
    };
    let mut expected: [BTreeMap<Name, (Etag, Index)>; 2] = Default::default();
    for writer in 0..WRITERS {
        let found = number_of(store.record(&record(writer)).await.unwrap().as_ref());
        let promised = acknowledged.numbers.get(&writer).copied().unwrap_or(0);
        if found < promised {
            return Err(format!("writer {writer}: {promised} was acknowledged, {found} is there"));
        }
        let mut objects = Objects::new();
        for number in 1..=found {
            acts(seed, sizes, writer, number, &mut objects);
        }
        for (place, content) in objects {
            let tag = Etag::of(&content.bytes());
            expected[place.0].insert(name(writer, place.1), (tag, index(writer, place, content)));
        }
    }
    for (at, id) in ids.into_iter().enumerate() {
        let list = store.list(id, None, usize::MAX).await.unwrap();
        let found: BTreeMap<_, _> =
            list.into_iter().map(|meta| (meta.name, (meta.etag, meta.index))).collect();
        if found != expected[at] {
            let wrong = |(name, value): (&Name, &(Etag, Index))| {
                (found.get(name) != Some(value)).then(|| name.clone())
            };
            let wrong: Vec<_> = expected[at].iter().filter_map(wrong).collect();
            return Err(format!("calendar {at} is half written: {wrong:?}"));
        }
        if store.head(id).await.unwrap().rev < Rev(acknowledged.revs[at]) {
            return Err(format!("the log of calendar {at} went back"));
        }
    }
    // And it can be written to.
    store
        .commit(commit(0).op(Op::PutRecord(Key::new(Table::Token, "after"), Bytes::from("x"))))
        .await
        .map_err(|e| e.to_string())?;
    Ok(())
}

/// The process that writes. Does nothing unless another test starts it.
#[test]
#[ignore = "started by the tests around it"]
fn writing_process() {
    let Ok(dir) = std::env::var("KALENDS_DURABILITY") else { return };
    let number = |name: &str| std::env::var(name).unwrap().parse::<u64>().unwrap();
    let (seed, commits, rounds) = (number("SEED"), number("COMMITS"), number("ROUNDS"));
    let sizes = if number("LONG") == 1 { Sizes::SomeLong } else { Sizes::Usual };
    let dir = Path::new(&dir);
    let acks = Arc::new(OpenOptions::new().create(true).append(true).open(dir.join("acks")).unwrap());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    for _ in 0..rounds {
        let store = Arc::new(Sled::open(dir.join("store"), Options::default()).unwrap());
        runtime.block_on(async {
            if calendars(&*store).await.is_none() {
                make_calendars(&*store).await;
            }
            let writers = (0..WRITERS)
                .map(|writer| tokio::spawn(write(store.clone(), seed, sizes, writer, commits, acks.clone())));
            for writer in writers.collect::<Vec<_>>() {
                writer.await.unwrap();
            }
        });
    }
}

/// Starts the process that writes.
fn start(dir: &Path, seed: u64, sizes: Sizes, commits: u64, rounds: u64) -> std::process::Command {
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    command
        .args(["durability::writing_process", "--exact", "--ignored", "--nocapture", "--test-threads=1"])
        .env("KALENDS_DURABILITY", dir)
        .env("SEED", seed.to_string())
        .env("COMMITS", commits.to_string())
        .env("ROUNDS", rounds.to_string())
        .env("LONG", if matches!(sizes, Sizes::SomeLong) { "1" } else { "0" })
        .stdout(std::process::Stdio::null());
    command
}

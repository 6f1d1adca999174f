//! SIGKILL while events and whole calendars go to the trash, come back, and are removed for good: each is at every moment in
//! one place, and where it was acknowledged to be.

use std::time::Duration;

use kalends::calendar::{
    Discarded, House, Limits, NewCollection, NewPrincipal, Put, Session, Trashed, When, Writable,
};

use kalends::server::SystemClock;

use super::*;

const KILLS: u64 = 24;
/// Those who write events; one more writes calendars.
const SCRIBES: u64 = 3;
/// How many each may begin between two kills.
const ROOM: u64 = 100_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Put,
    Delete,
    Restore,
    Forget,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Nowhere,
    Here,
    Trash,
}

/// What becomes of a thing, by its number.
fn fate(number: u64) -> &'static [Step] {
    match number % 5 {
        0 => &[Step::Put, Step::Delete],
        1 => &[Step::Put, Step::Delete, Step::Restore],
        2 => &[Step::Put, Step::Delete, Step::Forget],
        3 => &[Step::Put, Step::Delete, Step::Restore, Step::Delete],
        _ => &[Step::Put],
    }
}

/// Where it is after so many steps.
fn place(number: u64, steps: usize) -> Place {
    match steps.checked_sub(1).map(|last| fate(number)[last]) {
        None | Some(Step::Forget) => Place::Nowhere,
        Some(Step::Put | Step::Restore) => Place::Here,
        Some(Step::Delete) => Place::Trash,
    }
}

fn called(scribe: u64, number: u64) -> Name {
    Name::new(if scribe < SCRIBES { format!("{scribe}-{number}.ics") } else { format!("c-{number}") })
        .unwrap()
}

fn text(uid: &str) -> Bytes {
    Bytes::from(format!(
        "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//test//EN\r\nBEGIN:VEVENT\r\nUID:{uid}\r\nDTSTAMP:20260101T000000Z\r\n\
         DTSTART:20260105T090000Z\r\nSUMMARY:{uid}\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"
    ))
}

/// How a thing in the trash was called.
fn name_of(trashed: &Trashed) -> &Name {
    match &trashed.what {
        Discarded::Calendar => &trashed.calendar,
        Discarded::Object { name, .. } => name,
    }
}

async fn house(dir: &Path) -> Result<(Arc<House>, Session, Writable), String> {
    let store =
        super::opened(dir, &Options::default()).map_err(|error| format!("it does not open: {error}"))?;
    let house = House::new(Arc::new(store), Arc::new(SystemClock), Limits::default());
    if house.principal("anna").await.unwrap().is_none() {
        let anna = NewPrincipal { name: "anna".into(), ..NewPrincipal::default() };
        house.add_principal(anna).await.map_err(|error| format!("{error:?}"))?;
    }
    let anna = house.principal("anna").await.unwrap().unwrap();
    let session = house.session(
        anna,
        Origin::Dav { principal: "anna".into(), agent: "durability".into(), label: String::new() },
    );
    let home = session.home().await.map_err(|error| format!("{error:?}"))?;
    let calendar = home.writable_child("calendar").await.map_err(|error| format!("{error:?}"))?;
    calendar.map(|calendar| (house, session, calendar)).ok_or_else(|| "the calendar is gone".to_owned())
}

/// Takes one step with one thing.
async fn take(session: &Session, calendar: &Writable, scribe: u64, number: u64, step: Step) {
    let name = called(scribe, number);
    let home = session.home().await.unwrap();
    let trashed = async || {
        let all = session.trash(None, 100).await.unwrap();
        all.into_iter().find(|trashed| *name_of(trashed) == name).unwrap().id
    };
    match step {
        Step::Put if scribe < SCRIBES => {
            session.put(calendar, Put::new(&name, text(name.as_str()))).await.unwrap();
        }
        Step::Put => {
            let new = NewCollection {
                name: name.clone(),
                kind: Kind::Calendar,
                components: vec![],
                properties: Properties::default(),
            };
            session.create_collection(&home, new, &When::always()).await.unwrap();
            let at = home.writable_child(name.as_str()).await.unwrap().unwrap();
            session.put(&at, Put::new(&Name::new("e.ics").unwrap(), text(name.as_str()))).await.unwrap();
        }
        Step::Delete if scribe < SCRIBES => {
            session.delete(calendar, &name, &When::always(), vec![]).await.unwrap();
        }
        Step::Delete => {
            let at = home.writable_child(name.as_str()).await.unwrap().unwrap();
            session.delete_collection(&at, &When::always()).await.unwrap();
        }
        Step::Restore => drop(session.restore_trashed(&trashed().await, None).await.unwrap()),
        Step::Forget => session.forget_trashed(&trashed().await).await.unwrap(),
    }
}

/// The process that discards. Does nothing unless the test below starts it.
#[test]
#[ignore = "started by the test below"]
fn discarding_process() {
    let Ok(dir) = std::env::var("KALENDS_DURABILITY") else { return };
    let first: u64 = std::env::var("FIRST").unwrap().parse().unwrap();
    let dir = Path::new(&dir);
    let acks = Arc::new(OpenOptions::new().create(true).append(true).open(dir.join("acks")).unwrap());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let (_house, session, _) = house(&dir.join("store")).await.unwrap();
        let session = Arc::new(session);
        let scribes = (0..=SCRIBES).map(|scribe| {
            let (session, acks) = (Arc::clone(&session), Arc::clone(&acks));
            tokio::spawn(async move {
                let home = session.home().await.unwrap();
                let calendar = home.writable_child("calendar").await.unwrap().unwrap();
                for number in first..first + ROOM {
                    for (taken, step) in fate(number).iter().enumerate() {
                        take(&session, &calendar, scribe, number, *step).await;
                        (&*acks).write_all(format!("{scribe} {number} {}\n", taken + 1).as_bytes()).unwrap();
                    }
                }
            })
        });
        for scribe in scribes.collect::<Vec<_>>() {
            scribe.await.unwrap();
        }
    });
}

/// How many steps of each thing were acknowledged.
fn acknowledged(text: &str) -> BTreeMap<(u64, u64), usize> {
    let mut steps = BTreeMap::new();
    for line in text.split_inclusive('\n').filter(|line| line.ends_with('\n')) {
        let numbers: Vec<u64> = line.split_whitespace().map(|word| word.parse().unwrap()).collect();
        let [scribe, number, taken] = numbers[..] else { panic!("a line of three numbers: {line:?}") };
        steps.insert((scribe, number), taken as usize);
    }
    steps
}

/// The law: every thing is where it was acknowledged to be, or where the step that was under way would have brought it;
/// nothing is in two places, and what is in the trash can be brought back.
async fn nothing_is_lost(dir: &Path, steps: &BTreeMap<(u64, u64), usize>) -> Result<(), String> {
    let (house, session, calendar) = house(dir).await?;
    let flaws = house.store.verify(None).await.map_err(|error| error.to_string())?.flaws;
    let trash = house.verify_trash().await.map_err(|error| error.to_string())?;
    if !flaws.is_empty() || !trash.is_empty() {
        return Err(format!("{flaws:?} {trash:?}"));
    }
    let mut places: BTreeMap<Name, Vec<Place>> = BTreeMap::new();
    for meta in calendar.list(None, usize::MAX).await.unwrap() {
        places.entry(meta.name).or_default().push(Place::Here);
    }
    for child in session.home().await.unwrap().children().await.unwrap() {
        places.entry(child.collection().name.clone()).or_default().push(Place::Here);
    }
    for trashed in session.trash(None, usize::MAX).await.unwrap() {
        places.entry(name_of(&trashed).clone()).or_default().push(Place::Trash);
    }
    for ((scribe, number), taken) in steps {
        let next = (*taken + 1).min(fate(*number).len());
        let found = places.remove(&called(*scribe, *number)).unwrap_or_default();
        let may = [place(*number, *taken), place(*number, next)];
        let at = match found[..] {
            [] => Place::Nowhere,
            [at] => at,
            _ => return Err(format!("{scribe} {number} is in {found:?}")),
        };
        if !may.contains(&at) {
            return Err(format!("{scribe} {number} after {taken} steps is {at:?}"));
        }
    }
    // What was begun and not acknowledged once is here if it is anywhere.
    let begun = places.into_iter().filter(|(name, _)| name.as_str().contains('-'));
    match begun.into_iter().find(|(_, found)| found[..] != [Place::Here]) {
        Some(odd) => Err(format!("{odd:?} before it was acknowledged")),
        None => Ok(()),
    }
}

// E14, S3-043: a deletion is an event's move to the trash, in one commit: there is no moment at which it is in neither place
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_leaves_every_event_in_its_calendar_or_in_the_trash() {
    let dir = tempfile::tempdir().unwrap();
    let acks = dir.path().join("acks");
    let mut dice = Dice::of(&[0x0074_7261_7368]);
    let length = || std::fs::metadata(&acks).map_or(0, |meta| meta.len());
    for kill in 0..KILLS {
        let mut command = std::process::Command::new(std::env::current_exe().unwrap());
        let own = "durability::trash::discarding_process";
        command.args([own, "--exact", "--ignored", "--nocapture", "--test-threads=1"]);
        command.env("KALENDS_DURABILITY", dir.path()).env("FIRST", (kill * ROOM).to_string());
        let mut child = command.stdout(std::process::Stdio::null()).spawn().unwrap();
        let old = length();
        while length() == old {
            assert_eq!(child.try_wait().unwrap(), None, "it ended by itself");
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(Duration::from_millis(dice.below(60)));
        child.kill().unwrap();
        child.wait().unwrap();
        let steps = acknowledged(&std::fs::read_to_string(&acks).unwrap());
        if let Err(broken) = nothing_is_lost(&dir.path().join("store"), &steps).await {
            let kept = dir.keep();
            panic!("kill {kill}, kept in {}: {broken}", kept.display());
        }
    }
    let steps = acknowledged(&std::fs::read_to_string(&acks).unwrap());
    let discarded = steps.iter().filter(|((_, number), taken)| **taken > 1 && number % 5 != 4).count();
    println!("{KILLS} kills, {} things, {discarded} of them discarded", steps.len());
    assert!(discarded > 30, "{discarded} were discarded");
}

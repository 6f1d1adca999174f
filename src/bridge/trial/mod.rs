//! Passes against far sides in memory, one behaviour at a time. (What holds whatever happens is in `simulation`.)

mod cost;
mod far;
mod laws;
mod many;
mod names;
mod removals;
mod rules;
mod square;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use bytes::Bytes;

use far::Far;

use super::front::Settings;
use super::provider::{Provider, RemoteId};
use super::record::{Conflict, Direction, Fields, Mapping, MappingState, OnDelete, Policy, Push, Run};
use super::run::{Halt, Pass};
use crate::calendar::{Clock, House, Limits, NewCollection, NewPrincipal, Put, Session, When, Writable};
use crate::ical::Ical;
use crate::store::memory::Memory;
use crate::store::{Kind, Name, Origin, Properties, Store, Table, Timestamp};

/// The morning of 15 January 2027 (UTC).
const NOW: i64 = 1_800_000_000_000;

fn property(bytes: &Bytes, name: &str) -> Option<String> {
    let ical = Ical::parse(bytes.clone()).unwrap();
    let event = ical.calendar()?.named("VEVENT").next()?;
    event.property(name).map(|p| p.text())
}

fn lines_without(bytes: &Bytes, name: &str) -> Bytes {
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    text.split_inclusive("\r\n").filter(|line| !line.starts_with(name)).collect::<String>().into()
}

/// The text with one more line in its event; a line of that name before it goes.
fn line(text: &str, line: &str) -> String {
    let name = line.split([':', ';']).next().unwrap();
    let text = String::from_utf8(lines_without(&Bytes::from(text.to_owned()), name).to_vec()).unwrap();
    text.replace("END:VEVENT", &format!("{line}\r\nEND:VEVENT"))
}

/// An event of an hour at the time of that day of January 2027, or at that full time.
fn event(uid: &str, at: &str, title: &str) -> String {
    let start = if at.len() > 10 { at.to_owned() } else { format!("202701{at}") };
    format!(
        "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:x\r\nBEGIN:VEVENT\r\nUID:{uid}\r\nDTSTAMP:20260101T000000Z\r\n\
         DTSTART:{start}\r\nDURATION:PT1H\r\nSUMMARY:{title}\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"
    )
}

struct Standing(AtomicI64);

impl Clock for Standing {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::Relaxed))
    }
}

/// A mapping of one of our calendars to one far side.
struct Link {
    mapping: Mapping,
    far: Arc<Far>,
    state: MappingState,
}

struct World {
    clock: Arc<Standing>,
    session: Session,
    links: Vec<Link>,
    /// The most that the last pass held.
    held: usize,
}

impl World {
    /// A calendar of ours, mapped to one far side.
    async fn new() -> World {
        World::with(|_| {}).await
    }

    async fn with(change: impl FnOnce(&mut Mapping)) -> World {
        World::on(Arc::new(Memory::new()), change).await
    }

    async fn on(store: Arc<dyn Store>, change: impl FnOnce(&mut Mapping)) -> World {
        let clock = Arc::new(Standing(AtomicI64::new(NOW)));
        let house = House::new(store, Arc::clone(&clock) as Arc<dyn Clock>, Limits::default());
        let anna = NewPrincipal { name: "anna".into(), ..NewPrincipal::default() };
        let anna = house.add_principal(anna).await.unwrap();
        let session = house.session(anna, Origin::System);
        let mut world = World { clock, session, links: Vec::new(), held: 0 };
        let at = world.at("calendar").await;
        world.link(&at, Arc::default());
        change(&mut world.links[0].mapping);
        world
    }

    fn link(&mut self, at: &Writable, far: Arc<Far>) -> usize {
        let n = self.links.len();
        let mapping = Mapping {
            id: format!("{n}"),
            owner: "anna".into(),
            collection: at.id(),
            connection: "c".into(),
            remote: RemoteId("/".into()),
            direction: Direction::Both,
            policy: Policy::Newest,
            rules: Vec::new(),
            fields: Fields::Full,
            window_past: None,
            window_future: None,
            filters: Vec::new(),
            on_remote_delete: OnDelete::default(),
            on_local_delete: OnDelete::default(),
            push: Push::default(),
            enabled: true,
            poll_seconds: None,
            editable: Some(true),
            only: Vec::new(),
            created: Timestamp(NOW),
            changed: None,
        };
        self.links.push(Link { mapping, far, state: MappingState::default() });
        n
    }

    async fn at(&self, name: &str) -> Writable {
        let home = self.session.home().await.unwrap();
        if let Some(found) = home.writable_child(name).await.unwrap() {
            return found;
        }
        let new = NewCollection {
            name: Name::new(name).unwrap(),
            kind: Kind::Calendar,
            components: Vec::new(),
            properties: Properties::default(),
        };
        self.session.create_collection(&home, new, &When::always()).await.unwrap();
        home.writable_child(name).await.unwrap().unwrap()
    }

    fn far(&self) -> &Far {
        &self.links[0].far
    }

    fn later(&self, seconds: i64) {
        self.clock.0.fetch_add(seconds * 1000, Ordering::Relaxed);
    }

    async fn put(&self, name: &str, text: &str) {
        let name = Name::new(name).unwrap();
        let at = self.at("calendar").await;
        self.session.put(&at, Put::new(&name, Bytes::from(text.to_owned()))).await.unwrap();
    }

    async fn delete(&self, name: &str) {
        let at = self.at("calendar").await;
        self.session.delete(&at, &Name::new(name).unwrap(), &When::always(), vec![]).await.unwrap();
    }

    async fn get(&self, name: &str) -> Option<String> {
        let found = self.at("calendar").await.object(name).await.unwrap();
        found.map(|object| String::from_utf8(object.bytes.to_vec()).unwrap())
    }

    /// Returns the titles of all that is in a calendar of ours.
    async fn titles_in(&self, calendar: &str) -> Vec<String> {
        let at = self.at(calendar).await;
        let mut all = Vec::new();
        for meta in at.list(None, 1000).await.unwrap() {
            let object = at.object(meta.name.as_str()).await.unwrap().unwrap();
            all.push(property(&object.bytes, "SUMMARY").unwrap_or_default());
        }
        all.sort();
        all
    }

    async fn titles(&self) -> Vec<String> {
        self.titles_in("calendar").await
    }

    async fn conflicts(&self) -> Vec<Conflict> {
        let store = &self.session.house.store;
        super::record::load_all(&**store, Table::Conflict, "").await.unwrap()
    }

    async fn try_pass(&mut self, n: usize, confirm: bool) -> Result<Run, Halt> {
        let link = &self.links[n];
        let mapping = Arc::new(link.mapping.clone());
        let house = &self.session.house;
        let at = house.store.collection(mapping.collection).await?.unwrap();
        let origin = Origin::Mapping(mapping.id.clone());
        let session = house.session(Arc::clone(&self.session.principal), origin);
        let at = session.writable(at).unwrap();
        let run = Run::begin(format!("{n}-1"), &mapping.id, self.clock.now(), false);
        let provider = Arc::clone(&link.far) as Arc<dyn Provider>;
        let settings = Settings::default();
        let mut pass =
            Pass::new(session, at, mapping, provider, (link.state.clone(), run), &settings, confirm);
        let ended = pass.carry_out().await;
        self.held = pass.most_held;
        let link = &mut self.links[n];
        match ended {
            Ok(_) => {
                link.state = pass.state;
                link.state.hold = None;
                Ok(pass.run)
            }
            Err(Halt::Held(hold)) => {
                link.state.hold = Some(hold.clone());
                Err(Halt::Held(hold))
            }
            Err(halt) => {
                link.state.again = pass.unfinished();
                Err(halt)
            }
        }
    }

    async fn pass(&mut self) -> Run {
        self.try_pass(0, false).await.unwrap()
    }

    /// Passes until both sides are known, then shows that one more writes nothing.
    async fn settled(&mut self) {
        for _ in 0..3 {
            self.later(61);
            self.pass().await;
        }
        self.quiet().await;
    }

    /// Shows that one more pass writes nothing.
    async fn quiet(&mut self) {
        self.far().written();
        let head = self.at("calendar").await.head().await.unwrap().rev;
        let run = self.pass().await;
        assert_eq!((run.local.total(), run.remote.total()), (0, 0), "one more pass wrote: {run:?}");
        assert_eq!(self.far().written(), Vec::<String>::new());
        assert_eq!(self.at("calendar").await.head().await.unwrap().rev, head);
        let store = &self.session.house.store;
        let ledger = super::ledger::Ledger::new(Arc::clone(store), &self.links[0].mapping.id);
        assert_eq!(ledger.flaws().await, Vec::<String>::new());
    }
}

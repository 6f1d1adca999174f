//! This side of a bridge in one process, with a clock that stands until it is moved.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime};

use kalends::auth::grant::{Keyring, Secret};
use kalends::bridge::provider::RemoteId;
use kalends::bridge::record::{Direction, Fields, MappingState, Policy, Reach, Run};
use kalends::bridge::{Bridge, NewMapping, Settings};
use kalends::calendar::{Clock, House, Limits, NewPrincipal, Put, Session, When, Writable};
use kalends::http::fetch::{Fetch, Private, Timeouts};
use kalends::store::{Name, Options, Origin, Rev, Sled, Store, Timestamp};

use crate::overseen::Overseen;

pub(crate) struct Standing(AtomicI64);

impl Clock for Standing {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::Relaxed))
    }
}

pub(crate) struct Side {
    pub(crate) house: Arc<House>,
    pub(crate) bridge: Arc<Bridge>,
    pub(crate) store: Arc<Overseen>,
    clock: Arc<Standing>,
    settings: Settings,
    patience: Timeouts,
    directory: tempfile::TempDir,
}

/// How long this side waits for a far side, unless a test says otherwise.
const QUICK: Timeouts = Timeouts {
    connect: Duration::from_secs(2),
    read: Duration::from_secs(5),
    whole: Duration::from_secs(20),
};
const KEY: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

async fn open(
    directory: &tempfile::TempDir,
    clock: &Arc<Standing>,
    settings: &Settings,
    patience: Timeouts,
) -> (Arc<House>, Arc<Bridge>, Arc<Overseen>) {
    // The store of a bridge that has just been dropped closes in its own thread.
    let mut tries = 0;
    let store = loop {
        match Sled::open(directory.path().join("db"), Options::default()) {
            Ok(store) => break Arc::new(Overseen::new(store)),
            Err(error) => assert!(tries < 100, "{error}"),
        }
        tries += 1;
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let seen = Arc::clone(&store) as Arc<dyn Store>;
    let house = House::new(seen, Arc::clone(clock) as Arc<dyn Clock>, Limits::default());
    let keys = Arc::new(Keyring::fixed(&Secret::new(KEY)).unwrap());
    let fetch = Fetch::new(Private::Allowed, patience).unwrap();
    let bridge = Bridge::open(Arc::clone(&house), keys, fetch, settings.clone()).await.unwrap();
    (house, bridge, store)
}

impl Side {
    /// A fresh store with the account `anna`.
    pub(crate) async fn new() -> Side {
        Side::with(Settings::default()).await
    }

    /// The same, with some settings; how far mappings look is not among them: the events of tests have dates of their own.
    pub(crate) async fn with(settings: Settings) -> Side {
        Side::patient(settings, QUICK).await
    }

    /// The same, with a patience of its own.
    pub(crate) async fn patient(settings: Settings, patience: Timeouts) -> Side {
        let settings = Settings { window_past: Reach::All, window_future: Reach::All, ..settings };
        let directory = tempfile::tempdir().unwrap();
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis();
        let clock = Arc::new(Standing(AtomicI64::new(i64::try_from(now).unwrap())));
        let (house, bridge, store) = open(&directory, &clock, &settings, patience).await;
        house.add_principal(NewPrincipal { name: "anna".into(), ..NewPrincipal::default() }).await.unwrap();
        Side { house, bridge, store, clock, settings, patience, directory }
    }

    /// Lets everything that is not on disk go, and begins anew.
    pub(crate) async fn restart(self) -> Side {
        let Side { house, bridge, store, clock, settings, patience, directory } = self;
        bridge.close().await;
        drop((house, bridge, store));
        let (house, bridge, store) = open(&directory, &clock, &settings, patience).await;
        Side { house, bridge, store, clock, settings, patience, directory }
    }

    pub(crate) fn later(&self, time: Duration) {
        self.clock.0.fetch_add(i64::try_from(time.as_millis()).unwrap(), Ordering::Relaxed);
    }

    /// The present, in milliseconds since 1970.
    pub(crate) fn now(&self) -> i64 {
        self.clock.0.load(Ordering::Relaxed)
    }

    async fn session(&self) -> Session {
        let anna = self.house.principal("anna").await.unwrap().unwrap();
        self.house.session(
            anna,
            Origin::Dav { principal: "anna".into(), agent: "test".into(), label: String::new() },
        )
    }

    pub(crate) async fn calendar(&self) -> Writable {
        let home = self.session().await.home().await.unwrap();
        home.writable_child("calendar").await.unwrap().unwrap()
    }

    /// Stores an event, as a client of ours.
    pub(crate) async fn put(&self, name: &str, text: &str) {
        let name = Name::new(name).unwrap();
        let put = Put::new(&name, text.replace("\r\n", "\n").replace('\n', "\r\n").into());
        self.session().await.put(&self.calendar().await, put).await.unwrap();
    }

    pub(crate) async fn delete(&self, name: &str) {
        let name = Name::new(name).unwrap();
        self.session().await.delete(&self.calendar().await, &name, &When::always(), vec![]).await.unwrap();
    }

    pub(crate) async fn get(&self, name: &str) -> Option<String> {
        let found = self.calendar().await.object(name).await.unwrap();
        found.map(|object| String::from_utf8(object.bytes.to_vec()).unwrap())
    }

    pub(crate) async fn names(&self) -> Vec<String> {
        let all = self.calendar().await.list(None, 1000).await.unwrap();
        all.into_iter().map(|meta| meta.name.to_string()).collect()
    }

    pub(crate) async fn rev(&self) -> Rev {
        self.calendar().await.head().await.unwrap().rev
    }

    /// Connects an account and maps our calendar to the first of its calendars whose address ends so.
    pub(crate) async fn map(&self, url: &str, ending: &str, direction: Direction, policy: Policy) -> String {
        let made = self.bridge.connect_caldav("anna", url, "anna", Secret::new("geheim-1")).await.unwrap();
        let found = self.bridge.remote_calendars("anna", &made.id).await.unwrap();
        let remote = found.into_iter().find(|c| c.id.0.ends_with(ending)).unwrap();
        self.map_to(&made.id, remote.id, direction, policy).await
    }

    pub(crate) async fn map_to(
        &self,
        connection: &str,
        remote: RemoteId,
        direction: Direction,
        policy: Policy,
    ) -> String {
        // All of it, so that a far side that speaks iCalendar is told all.
        let new = NewMapping {
            direction,
            policy,
            fields: Fields::Full,
            // What a test changes here by hand.
            editable: Some(true),
            ..NewMapping::new(self.calendar().await.id(), connection, remote)
        };
        self.bridge.add_mapping("anna", new).await.unwrap().id
    }

    /// Carries one pass out and returns its run.
    pub(crate) async fn sync(&self, mapping: &str) -> Run {
        self.sync_with(mapping, false).await
    }

    pub(crate) async fn sync_with(&self, mapping: &str, confirm: bool) -> Run {
        let id = self.bridge.sync("anna", mapping, confirm).await.unwrap();
        self.bridge.settled(mapping).await;
        self.bridge.run("anna", &id).await.unwrap()
    }

    pub(crate) async fn state(&self, mapping: &str) -> MappingState {
        self.bridge.mapping("anna", mapping).await.unwrap().1
    }
}

//! A whole house in this process with its webhooks, whose clock stands until it is moved: everything but the listener.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http_body_util::BodyExt as _;
use kalends::api::{Api, Parts};
use kalends::auth::grant::{Keyring, Secret};
use kalends::auth::{Caller, Guard, Scope, Scopes, Via};
use kalends::bridge::{Bridge, Settings, Told};
use kalends::calendar::{Clock as _, House, Limits, NewPrincipal, Put, Session, When, Writable};
use kalends::feed::Links;
use kalends::follow::Follower as _;
use kalends::http::Request;
use kalends::http::fetch::{Fetch, Private, Timeouts};
use kalends::sim::Clock;
use kalends::store::{Name, Notice, Options, Origin, Sled, Store};
use kalends::webhook::{Delivery, Hook, NewHook, Wakeful, Webhooks};
use serde_json::Value;
use tokio::sync::broadcast::Receiver;

const KEY: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

pub(crate) struct Desk {
    pub(crate) house: Arc<House>,
    pub(crate) hooks: Arc<Webhooks>,
    pub(crate) api: Arc<Api>,
    pub(crate) clock: Clock,
    bridge: Arc<Bridge>,
    follower: Wakeful,
    heard: tokio::sync::Mutex<Receiver<Arc<Notice>>>,
    directory: tempfile::TempDir,
}

impl Desk {
    /// A fresh store with the account `anna`, on the morning of 15 January 2027.
    pub(crate) async fn new() -> Desk {
        let clock = Clock::fixed(1_800_000_000_000);
        let desk = Desk::open(tempfile::tempdir().unwrap(), clock).await;
        let anna = NewPrincipal { name: "anna".into(), ..NewPrincipal::default() };
        desk.house.add_principal(anna).await.unwrap();
        desk
    }

    async fn open(directory: tempfile::TempDir, clock: Clock) -> Desk {
        // The store of a house that has just been dropped closes in its own thread.
        let mut tries = 0;
        let store = loop {
            match Sled::open(directory.path().join("db"), Options::default()) {
                Ok(store) => break Arc::new(store) as Arc<dyn Store>,
                Err(error) => assert!(tries < 100, "{error}"),
            }
            tries += 1;
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        let house = House::new(store, Arc::new(clock.clone()), Limits::default());
        let keys = Arc::new(Keyring::fixed(&Secret::new(KEY)).unwrap());
        let fetch = Fetch::new(Private::Allowed, Timeouts::default()).unwrap();
        let settings = Settings::default();
        let bridge =
            Bridge::open(Arc::clone(&house), Arc::clone(&keys), fetch.clone(), settings).await.unwrap();
        let heard = tokio::sync::Mutex::new(house.store.watch());
        let hooks = Webhooks::open(Arc::clone(&house), Arc::clone(&keys), fetch, true).await.unwrap();
        let parts = Parts {
            house: Arc::clone(&house),
            guard: Guard::new(Arc::clone(&house)).unwrap(),
            bridge: Arc::clone(&bridge),
            keyring: Arc::clone(&keys),
            feeds: Arc::new(Links::new(Arc::clone(&house), keys)),
            webhooks: Arc::clone(&hooks),
            feed_alarms: false,
            configuration: Vec::new(),
            closing: tokio_util::sync::CancellationToken::new(),
        };
        let api = Arc::new(Api::new(parts, "http://kalends.test").unwrap());
        let follower = Wakeful { hooks: Arc::clone(&hooks), voice: Arc::clone(&api) as Arc<_> };
        Desk { house, hooks, api, clock, bridge, follower, heard, directory }
    }

    /// Lets everything that is not on disk go, and begins anew.
    pub(crate) async fn restart(self) -> Desk {
        let Desk { house, hooks, api, clock, bridge, follower, heard, directory } = self;
        hooks.close().await;
        bridge.close().await;
        drop((house, hooks, api, bridge, follower, heard));
        Desk::open(directory, clock).await
    }

    pub(crate) fn later(&self, time: Duration) {
        self.clock.advance(i64::try_from(time.as_millis()).unwrap());
    }

    /// What the server's follower does once.
    pub(crate) async fn turn(&self) {
        let mut heard = self.heard.lock().await;
        while let Ok(notice) = heard.try_recv() {
            self.follower.notice(&notice);
        }
        drop(heard);
        self.follower.tick().await;
    }

    pub(crate) async fn until(&self, what: &str, mut holds: impl FnMut() -> bool) {
        let begun = Instant::now();
        loop {
            self.turn().await;
            if holds() {
                return;
            }
            assert!(begun.elapsed() < Duration::from_secs(30), "{what} did not happen");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Turns until the subscription stands so.
    pub(crate) async fn stands(&self, hook: &Hook, what: &str, holds: impl Fn(&Hook) -> bool) -> Hook {
        let begun = Instant::now();
        loop {
            self.turn().await;
            let now = self.hooks.one("anna", &hook.id).await.unwrap();
            if holds(&now) {
                return now;
            }
            assert!(begun.elapsed() < Duration::from_secs(30), "{what} did not happen: {now:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub(crate) async fn subscribe(&self, url: &str, events: &[&str]) -> Hook {
        let new = NewHook {
            url: url.to_owned(),
            description: String::new(),
            events: events.iter().map(|event| (*event).to_owned()).collect(),
            calendars: Vec::new(),
        };
        self.hooks.make(&*self.api, "anna", new).await.unwrap().0
    }

    pub(crate) async fn session(&self) -> Session {
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

    pub(crate) async fn put(&self, name: &str, text: &str) {
        let name = Name::new(name).unwrap();
        let put = Put::new(&name, text.to_owned().into());
        self.session().await.put(&self.calendar().await, put).await.unwrap();
    }

    pub(crate) async fn delete(&self, name: &str) {
        let name = Name::new(name).unwrap();
        self.session().await.delete(&self.calendar().await, &name, &When::always(), vec![]).await.unwrap();
    }

    pub(crate) async fn deliveries(&self, hook: &Hook) -> Vec<Delivery> {
        let hook = self.hooks.one("anna", &hook.id).await.unwrap();
        self.hooks.deliveries(&hook, None, 500).await.unwrap()
    }

    pub(crate) async fn notices(&self) -> Vec<Told> {
        self.bridge.notifications("anna").await.unwrap()
    }

    pub(crate) fn now(&self) -> i64 {
        self.clock.now().0
    }
}

impl Desk {
    /// Asks the JSON door as anna's program, without a wire.
    pub(crate) async fn ask(&self, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
        let mut headers = http::HeaderMap::new();
        headers.insert("content-type", http::HeaderValue::from_static("application/json"));
        let body = body.map(|body| body.to_string()).unwrap_or_default();
        let request = Request {
            method: method.parse().unwrap(),
            path: format!("/api/v1{path}"),
            query: None,
            headers,
            peer: std::net::IpAddr::from([127, 0, 0, 1]),
            body: kalends::http::body(body.into()),
        };
        let scopes = Scopes::from(vec![Scope::Read, Scope::Events, Scope::Bookings, Scope::Bridges]);
        let principal = self.house.principal("anna").await.unwrap().unwrap();
        let caller = Caller { principal, via: Via::Token(scopes), token: None, label: "desk".into() };
        let reply = self.api.serve(request, Ok(caller)).await;
        let status = reply.status().as_u16();
        let bytes = reply.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
    }
}

//! Far sides under pressure: how many calls they hear at a time, and that one which hangs or asks for peace keeps no other waiting.
//! Against the simulators, with a clock that stands until it is moved.

use std::sync::Arc;
use std::time::Duration;

use kalends::auth::grant::Secret;
use kalends::bridge::provider::{RemoteId, Trouble};
use kalends::bridge::record::{Direction, Kind, Policy, RunStatus};
use kalends::bridge::{Answer, BridgeError, NewMapping, Settings, Wakeful, Wish};
use kalends::calendar::{NewCollection, NewPrincipal, Put, Session, When, Writable};
use kalends::config::Config;
use kalends::follow::Follower as _;
use kalends::http::fetch::Timeouts;
use kalends::sim::{Act, Clock, Fault, Options, Point, Rule, Running, Server, World};
use kalends::sim::{google, outlook};
use kalends::store::{Kind as CollectionKind, Name, Origin, Properties, Table};
use serde_json::json;

use crate::bridge::side::Side;
use crate::dialogue::{Request, send};
use crate::wait::eventually;

/// Longer than any test: what hangs does so until it is told to go on.
const PATIENT: Timeouts = Timeouts {
    connect: Duration::from_secs(60),
    read: Duration::from_secs(600),
    whole: Duration::from_secs(600),
};

/// This side, and two accounts' far sides.
struct Stage {
    side: Side,
    google: Running,
    outlook: Running,
    clock: Clock,
}

impl Stage {
    async fn new(latency: Duration) -> Stage {
        let clock = Clock::fixed(1_800_000_000_000);
        let options = || Options { clock: clock.clone(), latency, ..Options::default() };
        let start = async |world: Arc<dyn World>| Server::start(options(), world).await.unwrap();
        let google = start(Arc::new(google::Google::new())).await;
        let outlook = start(Arc::new(outlook::Outlook::new("anna@example.com"))).await;
        let (g, o) = (google.url().trim_end_matches('/'), outlook.url().trim_end_matches('/'));
        let lines = [
            "[providers.google]".to_owned(),
            "client_id = \"cid\"\nclient_secret = \"client-geheim\"".into(),
            format!("api_base = \"{g}/\"\nauth_url = \"{g}/o/oauth2/v2/auth\""),
            format!("token_url = \"{g}/token\"\nrevoke_url = \"{g}/revoke\""),
            "[providers.outlook]".into(),
            "client_id = \"cid\"\nclient_secret = \"client-geheim\"".into(),
            format!("api_base = \"{o}/v1.0\"\nauth_url = \"{o}/common/oauth2/v2.0/authorize\""),
            format!("token_url = \"{o}/common/oauth2/v2.0/token\""),
        ];
        let mut config = Config::default();
        config.read(&lines.join("\n")).unwrap();
        // Nobody listens there: what a far side tells is lost.
        let base_url = "http://127.0.0.1:9".to_owned();
        let settings = Settings { providers: config.providers, base_url, ..Settings::default() };
        let side = Side::patient(settings, PATIENT).await;
        clock.set(side.now());
        Stage { side, google, outlook, clock }
    }

    fn later(&self, time: Duration) {
        self.side.later(time);
        self.clock.set(self.side.now());
    }

    fn far(&self, kind: Kind) -> &Running {
        if kind == Kind::Google { &self.google } else { &self.outlook }
    }

    /// Connects an account with a consent. Returns the connection and its main calendar.
    async fn connect(&self, owner: &str, kind: Kind) -> (String, RemoteId) {
        let bridge = &self.side.bridge;
        let asked = bridge.ask_consent(owner, kind, Wish::default()).await.unwrap();
        let target = format!("{}?{}", asked.url.path(), asked.url.query().unwrap());
        let ask = Request { method: "GET".into(), target, ..Request::default() };
        let sent = send(self.far(kind).address(), &ask).unwrap();
        let back = url::Url::parse(sent.all("location")[0]).unwrap();
        let of = |name: &str| back.query_pairs().find(|(n, _)| n == name).unwrap().1.into_owned();
        let (code, browser) = (Some(Secret::new(of("code"))), Some(asked.browser.clone()));
        let answer = Answer { state: of("state"), code, error: None, at: None, browser };
        bridge.consent_answered(answer).await.unwrap();
        let id = asked.connection.id;
        let all = bridge.remote_calendars(owner, &id).await.unwrap();
        let main = all.iter().find(|calendar| calendar.primary).unwrap();
        (id, main.id.clone())
    }

    async fn session(&self, owner: &str) -> Session {
        let owner = self.side.house.principal(owner).await.unwrap().unwrap();
        let origin =
            Origin::Dav { principal: owner.name.clone(), agent: "test".into(), label: String::new() };
        self.side.house.session(owner, origin)
    }

    /// Returns a calendar of that name, made if need be.
    async fn calendar(&self, owner: &str, name: &str) -> Writable {
        let session = self.session(owner).await;
        let home = session.home().await.unwrap();
        if let Some(found) = home.writable_child(name).await.unwrap() {
            return found;
        }
        let new = NewCollection {
            name: Name::new(name).unwrap(),
            kind: CollectionKind::Calendar,
            components: Vec::new(),
            properties: Properties::default(),
        };
        session.create_collection(&home, new, &When::always()).await.unwrap();
        home.writable_child(name).await.unwrap().unwrap()
    }

    async fn put(&self, owner: &str, at: &Writable, uid: &str) {
        let text = format!(
            "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:x\r\nBEGIN:VEVENT\r\nUID:{uid}\r\nDTSTAMP:20260101T000000Z\r\n\
             DTSTART:20270105T090000Z\r\nDTEND:20270105T100000Z\r\nSUMMARY:{uid}\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"
        );
        let name = Name::new(format!("{uid}.ics")).unwrap();
        self.session(owner).await.put(at, Put::new(&name, text.into())).await.unwrap();
    }

    async fn map(
        &self,
        owner: &str,
        at: &Writable,
        connection: &str,
        remote: &RemoteId,
        direction: Direction,
    ) -> String {
        let new = NewMapping {
            direction,
            policy: Policy::Newest,
            editable: Some(true),
            ..NewMapping::new(at.id(), connection, remote.clone())
        };
        self.side.bridge.add_mapping(owner, new).await.unwrap().id
    }

    async fn status(&self, run: &str) -> RunStatus {
        self.side.bridge.run("anna", run).await.unwrap().status
    }

    async fn accounts(&self) -> usize {
        let all = self.side.house.store.records(Table::Connection, "", None, 100).await.unwrap();
        // How each is stands beside it.
        all.iter().filter(|(key, _)| !key.path.contains('/')).count()
    }
}

fn asked(far: &Running, method: &str, path: &str) -> usize {
    let entries = far.log().entries();
    entries.iter().filter(|entry| entry.method == method && entry.path.ends_with(path)).count()
}

// microsoft-graph.md §7: four calls at a time to one mailbox, whatever is mapped to it; a batch is as many as it holds
#[tokio::test(flavor = "multi_thread")]
async fn a_mailbox_never_hears_more_calls_at_a_time_than_it_allows() {
    let stage = Stage::new(Duration::from_millis(3)).await;
    let (account, remote) = stage.connect("anna", Kind::Outlook).await;
    let mut mappings = Vec::new();
    for n in 0..6 {
        let at = stage.calendar("anna", &format!("c{n}")).await;
        for e in 0..25 {
            stage.put("anna", &at, &format!("{n}-{e}")).await;
        }
        mappings.push(stage.map("anna", &at, &account, &remote, Direction::Push).await);
    }
    stage.outlook.log().clear();
    let mut runs = Vec::new();
    for mapping in &mappings {
        runs.push(stage.side.bridge.sync("anna", mapping, false).await.unwrap());
    }
    // A person looks at the calendars meanwhile.
    for _ in 0..5 {
        stage.side.bridge.remote_calendars("anna", &account).await.unwrap();
    }
    for (mapping, run) in mappings.iter().zip(&runs) {
        stage.side.bridge.settled(mapping).await;
        assert_eq!(stage.status(run).await, RunStatus::Success);
    }
    let log = stage.outlook.log();
    assert_eq!(log.writes(), 6 * 25);
    assert!(log.most_at_once() <= 4, "{} at once", log.most_at_once());
    assert!(log.entries().iter().all(|entry| entry.status < 400), "none was refused");
    assert!(asked(&stage.outlook, "POST", "$batch") >= 6, "they went in batches");
}

// S4-077: the passes of one account that hangs take a few places, also when all of them are asked for by hand
#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_hangs_takes_no_places_of_others() {
    let stage = Stage::new(Duration::ZERO).await;
    let (hanging, _) = stage.connect("anna", Kind::Google).await;
    let (other, remote) = stage.connect("anna", Kind::Outlook).await;
    let at = stage.calendar("anna", "calendar").await;
    let mut mappings = Vec::new();
    for n in 0..20 {
        let id = format!("c{n}@group.calendar.google.com");
        let with = json!({"id": id, "summary": id, "timeZone": "UTC", "accessRole": "owner"});
        stage.google.act(&Act::Own { name: "calendar".into(), with }).unwrap();
        mappings.push(stage.map("anna", &at, &hanging, &RemoteId(id), Direction::Pull).await);
    }
    let well = stage.map("anna", &at, &other, &remote, Direction::Both).await;
    let hold = Fault::Hold { at: Point::Before, name: "all".into() };
    stage.google.fault(Rule::on("GET", "*/events", hold).times(0));
    let mut runs = Vec::new();
    for mapping in &mappings {
        runs.push(stage.side.bridge.sync("anna", mapping, false).await.unwrap());
    }
    eventually("calls that hang", || stage.google.log().running() >= 4);
    let run = stage.side.bridge.sync("anna", &well, false).await.unwrap();
    stage.side.bridge.settled(&well).await;
    assert_eq!(stage.status(&run).await, RunStatus::Success);
    for run in &runs {
        assert_eq!(stage.status(run).await, RunStatus::Running, "nothing else has ended meanwhile");
    }
    assert_eq!(stage.google.log().running(), 4);
    // One that waits for a place can be changed at once.
    for mapping in &mappings {
        let rest = |mapping: &mut kalends::bridge::record::Mapping| {
            mapping.enabled = false;
            Ok(())
        };
        stage.side.bridge.update_mapping("anna", mapping, rest).await.unwrap();
    }
    stage.google.script().clear();
}

// S4-077: channels of one account that hangs keep those of others from nothing
#[tokio::test(flavor = "multi_thread")]
async fn a_channel_that_hangs_keeps_no_others_waiting() {
    let stage = Stage::new(Duration::ZERO).await;
    let at = stage.calendar("anna", "calendar").await;
    for kind in [Kind::Google, Kind::Outlook] {
        let (account, remote) = stage.connect("anna", kind).await;
        stage.map("anna", &at, &account, &remote, Direction::Pull).await;
    }
    // Whichever comes first hangs.
    let watch = stage.google.pause("POST", "*/watch", Point::Before);
    let subscribe = stage.outlook.pause("POST", "*/subscriptions", Point::Before);
    let tending = tokio::spawn(Arc::clone(&stage.side.bridge).tend());
    watch.reached().await;
    subscribe.reached().await;
    assert_eq!((stage.google.log().running(), stage.outlook.log().running()), (1, 1), "both hang");
    watch.go();
    subscribe.go();
    stage.side.bridge.close().await;
    tending.await.unwrap();
}

// S3-095: what any call is asked to wait for, all calls of the account wait for: of passes, channels, people, idle consents
#[tokio::test(flavor = "multi_thread")]
async fn what_a_channel_is_asked_to_wait_for_all_others_wait_for() {
    let stage = Stage::new(Duration::ZERO).await;
    let bridge = &stage.side.bridge;
    let at = stage.calendar("anna", "calendar").await;
    let (account, remote) = stage.connect("anna", Kind::Google).await;
    let mapping = stage.map("anna", &at, &account, &remote, Direction::Pull).await;
    stage.google.fault(Rule::on("POST", "*/watch", Fault::Throttle { retry_after: Some(900) }));
    bridge.tend_once().await.unwrap();
    match bridge.sync("anna", &mapping, false).await {
        Err(BridgeError::Wait(wait)) => assert_eq!(wait, Duration::from_secs(900)),
        other => panic!("{other:?}"),
    }
    let before = stage.google.log().count();
    // Its own pause is over before that of the account.
    stage.later(Duration::from_secs(899));
    bridge.tend_once().await.unwrap();
    let listed = bridge.remote_calendars("anna", &account).await;
    assert!(matches!(listed, Err(BridgeError::Far(Trouble::Budget(..)))), "{listed:?}");
    assert_eq!(stage.google.log().count(), before, "nobody calls meanwhile");
    stage.later(Duration::from_secs(1));
    bridge.tend_once().await.unwrap();
    assert!(bridge.push_alive(&mapping));
    let run = bridge.sync("anna", &mapping, false).await.unwrap();
    bridge.settled(&mapping).await;
    assert_eq!(stage.status(&run).await, RunStatus::Success);
    // A month later its consent is kept alive.
    stage.later(Duration::from_secs(31 * 86_400));
    let headers = [("Retry-After".to_owned(), "7200".to_owned())].into();
    let slow = Fault::Status { code: 429, body: Some(json!({})), text: None, headers };
    stage.google.fault(Rule::on("POST", "/token", slow).times(0));
    let before = asked(&stage.google, "POST", "/token");
    for _ in 0..3 {
        bridge.tend_once().await.unwrap();
        stage.later(Duration::from_secs(2399));
    }
    assert_eq!(asked(&stage.google, "POST", "/token"), before + 1, "it is not asked again meanwhile");
    let told = bridge.sync("anna", &mapping, false).await;
    assert!(matches!(told, Err(BridgeError::Wait(_))), "{told:?}");
}

// S2-006: while the far sides of an account that was removed are said goodbye to, everybody else's events are carried
#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_is_removed_keeps_nobody_waiting() {
    let stage = Stage::new(Duration::ZERO).await;
    let bert = NewPrincipal { name: "bert".into(), ..NewPrincipal::default() };
    stage.side.house.add_principal(bert).await.unwrap();
    let (account, remote) = stage.connect("anna", Kind::Google).await;
    let at = stage.calendar("anna", "calendar").await;
    let mapping = stage.map("anna", &at, &account, &remote, Direction::Pull).await;
    stage.side.bridge.tend_once().await.unwrap();
    assert!(stage.side.bridge.push_alive(&mapping));
    let (other, remote) = stage.connect("bert", Kind::Outlook).await;
    let berts = stage.calendar("bert", "calendar").await;
    let mapping = stage.map("bert", &berts, &other, &remote, Direction::Both).await;
    stage.side.bridge.sync("bert", &mapping, false).await.unwrap();
    stage.side.bridge.settled(&mapping).await;
    let stop = tokio_util::sync::CancellationToken::new();
    let follower = Arc::new(Wakeful(Arc::clone(&stage.side.bridge)));
    let store = Arc::clone(&stage.side.house.store);
    let following = tokio::spawn(kalends::follow::follow(store, follower, stop.clone()));
    let goodbye = stage.google.pause("POST", "*/channels/stop", Point::Before);
    // It may be removed before anybody follows: whoever was told of it then is told again.
    stage.side.house.remove_principal("anna", vec![]).await.unwrap();
    let reached = async {
        while tokio::time::timeout(Duration::from_secs(1), goodbye.reached()).await.is_err() {
            let eve = NewPrincipal { name: "eve".into(), ..NewPrincipal::default() };
            let _ = stage.side.house.add_principal(eve).await;
        }
    };
    reached.await;
    stage.put("bert", &berts, "while-it-hangs").await;
    eventually("an event of another account", || asked(&stage.outlook, "POST", "/events") == 1);
    assert_eq!(stage.accounts().await, 2, "the first one is still said goodbye to");
    goodbye.go();
    let mut left = stage.accounts().await;
    while left > 1 {
        tokio::time::sleep(Duration::from_millis(10)).await;
        left = stage.accounts().await;
    }
    assert!(stage.side.bridge.connection("bert", &other).await.is_ok());
    stop.cancel();
    following.await.unwrap();
    stage.side.bridge.close().await;
}

// S2-006: what belonged to an account that was removed is removed, if not at once, then later
#[tokio::test(flavor = "multi_thread")]
async fn what_a_failing_store_keeps_from_being_removed_is_removed_later() {
    let mut stage = Stage::new(Duration::ZERO).await;
    stage.connect("anna", Kind::Google).await;
    stage.side.house.remove_principal("anna", vec![]).await.unwrap();
    stage.side = stage.side.restart().await;
    let follower = Wakeful(Arc::clone(&stage.side.bridge));
    stage.side.store.lucky(0);
    for _ in 0..20 {
        follower.tick().await;
        tokio::task::yield_now().await;
    }
    stage.side.store.lucky(i64::MAX);
    assert_eq!(stage.accounts().await, 1);
    let mut left = 1;
    while left > 0 {
        follower.tick().await;
        tokio::time::sleep(Duration::from_millis(10)).await;
        left = stage.accounts().await;
    }
    assert_eq!(stage.side.house.store.records(Table::Secret, "", None, 10).await.unwrap(), []);
    stage.side.bridge.close().await;
}

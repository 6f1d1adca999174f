//! Notifications: whom a word is believed, and what it begins.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::FutureExt as _;
use hmac::{Hmac, KeyInit as _, Mac as _};
use kalends::auth::grant::Secret;
use kalends::bridge::provider::RemoteId;
use kalends::bridge::record::{Direction, Kind, Mapping, Policy};
use kalends::bridge::{Answer, Asked, Outcome, Settings, Wakeful, Wish};
use kalends::config::Config;
use kalends::follow::Follower as _;
use kalends::sim::google::Google;
use kalends::sim::outlook::Outlook;
use kalends::sim::{Act, Clock, Manners, Options, Running, Server, World};
use kalends::store::Table;
use serde_json::{Value, json};

use crate::bridge::side::Side;
use crate::dialogue::{Host as _, Request, send};
use crate::oauth::peer::Peer;
use crate::oauth::{House, agreed, follow, mapped_feed, objects};
use crate::wait::{eventually, wait_for};

// S1-077, S3-078, E21, Bad input: a hook without the right secret is 404 or 403 and costs nothing
#[test]
fn words_of_strangers_are_not_believed() {
    let peer = Peer::start();
    let house = House::start(peer.config());
    let google = |headers: &[(&str, &str)]| house.as_nobody("POST", "/hooks/google", headers, "").status;
    assert_eq!(google(&[]), 404);
    assert_eq!(google(&[("X-Goog-Channel-ID", "abc"), ("X-Goog-Resource-State", "exists")]), 404);
    let odd = [("X-Goog-Channel-ID", "../x y"), ("X-Goog-Resource-State", "exists")];
    assert_eq!(google(&odd), 404);
    assert_eq!(house.as_nobody("GET", "/hooks/google", &[], "").status, 405);
    let outlook = |body: &str| house.as_nobody("POST", "/hooks/outlook", &[], body).status;
    let item = json!({"subscriptionId": "7f105c7d", "clientState": "x", "changeType": "updated"});
    for body in ["{}", &json!({"value": [item]}).to_string(), &"x".repeat(300 << 10)] {
        assert_eq!(outlook(body), 404);
    }
    assert_eq!(house.as_nobody("POST", "/hooks/sync/abcd", &[], "").status, 404);
    assert_eq!(house.as_nobody("POST", "/hooks/elsewhere", &[], "").status, 404);
    assert!(peer.far().log.is_empty());
}

pub(crate) fn signature(secret: &str, id: &str, at: u64, body: &str) -> String {
    let key = STANDARD.decode(secret.strip_prefix("whsec_").unwrap()).unwrap();
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(&key).unwrap();
    mac.update(format!("{id}.{at}.{body}").as_bytes());
    format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
}

// S0-027, S0-032, S3-038, E21
#[test]
fn a_signed_hook_starts_a_sync() {
    let peer = Peer::start();
    let mut config = peer.config();
    config.extend(["[bridge]".into(), "allow_private = true".into()]);
    let house = House::start(config);
    let (_, mapping) = mapped_feed(&house, &peer, &["one"]);
    // The first pass begins by itself. Who asks while it runs joins it, and another one follows; else another one begins.
    let ended = || {
        let (_, runs) = house.api("GET", &format!("/runs?mapping={mapping}"), None);
        runs["items"].as_array().unwrap().iter().filter(|run| run["status"] != "running").count()
    };
    eventually("the first pass", || ended() >= 1);
    let (_, asked) = house.api("POST", &format!("/mappings/{mapping}/sync"), None);
    follow(&house, asked["run"].as_str().unwrap());
    eventually("the second pass", || ended() >= 2);
    calm(&house, &mapping);
    let path = format!("/hooks/sync/{mapping}");
    assert_eq!(house.as_nobody("POST", &path, &[], "").status, 404, "it has no hook yet");
    let (status, made) = house.api("POST", &format!("/mappings/{mapping}/hook"), None);
    assert_eq!(status, 201, "{made}");
    assert!(made["url"].as_str().unwrap().ends_with(&path), "{made}");
    let secret = made["secret"].as_str().unwrap().to_owned();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let call = |secret: &str, at: u64, body: &str| {
        let signed = signature(secret, "msg_1", at, "{}");
        let at = at.to_string();
        let headers = [
            ("webhook-id", "msg_1"),
            ("webhook-timestamp", at.as_str()),
            ("webhook-signature", signed.as_str()),
        ];
        house.as_nobody("POST", &path, &headers, body).status
    };
    let looked = || peer.asked("/feed.ics").len();
    let before = looked();
    let other = format!("whsec_{}", STANDARD.encode([7u8; 32]));
    assert_eq!(call(&other, now, "{}"), 403, "another secret");
    assert_eq!(call(&secret, now, "{\"more\":1}"), 403, "another body");
    assert_eq!(call(&secret, now - 3600, "{}"), 403, "an old one");
    assert_eq!(house.as_nobody("POST", &path, &[("Authorization", "Bearer whsec_x")], "").status, 403);
    assert_eq!(looked(), before, "what is not believed begins nothing");
    assert_eq!(call(&secret, now, "{}"), 202);
    eventually("a look at the far side", || looked() > before);
    // Many words begin one pass and perhaps one more, not as many.
    let before = looked();
    let bearer = format!("Bearer {secret}");
    for _ in 0..30 {
        assert_eq!(house.as_nobody("POST", &path, &[("Authorization", &bearer)], "").status, 202);
    }
    eventually("another look", || looked() > before);
    assert!(looked() - before < 10, "{} looks for 30 words", looked() - before);
    // A new secret ends the old one; without a hook there is nothing.
    assert_eq!(house.api("POST", &format!("/mappings/{mapping}/hook"), None).0, 201);
    assert_eq!(call(&secret, now, "{}"), 403);
    assert_eq!(house.api("DELETE", &format!("/mappings/{mapping}/hook"), None).0, 204);
    assert_eq!(call(&secret, now, "{}"), 404);
}

/// Connects an account and maps anna's calendar to its main one. Returns connection and mapping.
fn mapped_account(house: &House, peer: &Peer) -> (String, String) {
    peer.far().now = jiff::Timestamp::now().as_second();
    let id = house.connect(peer, "google");
    let mapping = map(house, &id, "anna@far.example");
    (id, mapping)
}

fn map(house: &House, connection: &str, remote: &str) -> String {
    let (_, own) = house.api("GET", "/calendars", None);
    let own = own["items"].as_array().unwrap().iter().find(|c| c["name"] == "calendar").unwrap().clone();
    let wish = json!({"calendar": own["id"], "connection": connection, "remote_calendar": remote,
        "direction": "pull"});
    let (status, mapping) = house.api("POST", "/mappings", Some(wish));
    assert_eq!(status, 201, "{mapping}");
    mapping["id"].as_str().unwrap().to_owned()
}

const WATCH: &str = "/calendar/v3/calendars/anna@far.example/events/watch";
const EVENTS: &str = "/calendar/v3/calendars/anna@far.example/events";

fn looks(peer: &Peer) -> usize {
    peer.asked(EVENTS).iter().filter(|asked| asked.method == "GET").count()
}

/// Waits until no pass begins by itself any more.
fn calm(house: &House, mapping: &str) {
    eventually("calm", || {
        let (_, shown) = house.api("GET", &format!("/mappings/{mapping}"), None);
        shown["status"] == "active" && shown["last_run"].is_string()
    });
}

// S3-140: whoever doubts a channel has it renewed at once; another one is open before the old one is closed
#[test]
fn channels_are_renewed_when_somebody_asks() {
    let peer = Peer::start();
    let house = House::start(peer.config());
    let (id, mapping) = mapped_account(&house, &peer);
    let renew = || house.api("POST", &format!("/connections/{id}/renew"), None);
    // Until it is known that it is open, there is nothing to renew.
    eventually("a channel", || renew() == (202, json!({"channels": 1})));
    eventually("another one", || {
        peer.asked(WATCH).len() >= 2 && !peer.asked("/calendar/v3/channels/stop").is_empty()
    });
    let asked: Vec<String> = peer.far().log.iter().map(|asked| asked.path.clone()).collect();
    let order: Vec<&str> =
        asked.iter().map(String::as_str).filter(|p| *p == WATCH || p.ends_with("/stop")).collect();
    assert_eq!(order[..3], [WATCH, WATCH, "/calendar/v3/channels/stop"]);
    let first = peer.asked(WATCH)[0].json()["id"].clone();
    assert_eq!(peer.asked("/calendar/v3/channels/stop")[0].json()["id"], first);
    assert_eq!(house.api("POST", "/connections/nobody/renew", None).0, 404);
    calm(&house, &mapping);
}

// S3-140: the cron job of one document: what ends soon is renewed, of all accounts, and nothing else
#[test]
fn channels_that_end_soon_are_renewed_by_a_cron_job() {
    let peer = Peer::start();
    let mut config = peer.config();
    config.insert(0, "compat.routes = [\"plan\"]".into());
    let house = House::start(config);
    let (_, mapping) = mapped_account(&house, &peer);
    let renew = |query: &str| house.api("POST", &format!("/connections/renew{query}"), None);
    eventually("a channel", || renew("?within=P30D") == (202, json!({"channels": 1})));
    eventually("another one", || {
        peer.asked(WATCH).len() >= 2 && !peer.asked("/calendar/v3/channels/stop").is_empty()
    });
    // It lives for seven days: that is not soon.
    let cron = |query: &str| {
        let bearer = format!("Bearer {}", house.token);
        let target = format!("/api/cron/renew-calendar-webhooks{query}");
        let answer = house.as_nobody("GET", &target, &[("Authorization", &bearer)], "");
        (answer.status, serde_json::from_slice::<Value>(&answer.body).unwrap())
    };
    assert_eq!((renew(""), cron("")), ((202, json!({"channels": 0})), (202, json!({"channels": 0}))));
    let before = peer.asked(WATCH).len();
    eventually("one that ends within eight days", || cron("?within=P8D").1["channels"] != json!(0));
    eventually("its successor", || peer.asked(WATCH).len() > before);
    let (status, refused) = renew("?within=soon");
    assert_eq!((status, &refused["field"]), (422, &json!("within")));
    assert_eq!(house.as_nobody("GET", "/api/cron/renew-calendar-webhooks", &[], "").status, 401);
    // Another's accounts are not touched.
    let berts = crate::oauth::token(&house.served, "bert");
    let answer = house.api_as(&berts, "POST", "/connections/renew?within=P30D", None);
    assert_eq!((answer.status, &*answer.body), (202, &b"{\"channels\":0}"[..]));
    calm(&house, &mapping);
}

// S0-024, S1-021, S1-022, S1-023, S1-024, S1-070, S3-014, S3-022, S3-047, S3-078, S3-079, S3-080, S3-138
#[test]
fn a_channel_is_opened_believed_and_closed_with_its_account() {
    let peer = Peer::start();
    let mut house = House::start(peer.config());
    let (id, mapping) = mapped_account(&house, &peer);
    eventually("a channel", || !peer.asked(WATCH).is_empty());
    let wish = peer.asked(WATCH)[0].json();
    assert!(wish["address"].as_str().unwrap().ends_with("/hooks/google"), "{wish}");
    let (channel, secret) =
        (wish["id"].as_str().unwrap().to_owned(), wish["token"].as_str().unwrap().to_owned());
    assert!(channel.len() <= 64 && (32..=256).contains(&secret.len()), "{wish}");
    let tell = |house: &House, channel: &str, token: &str, resource: &str, state: &str| {
        let headers = [
            ("X-Goog-Channel-ID", channel),
            ("X-Goog-Channel-Token", token),
            ("X-Goog-Resource-ID", resource),
            ("X-Goog-Resource-State", state),
            ("X-Goog-Message-Number", "2"),
        ];
        house.as_nobody("POST", "/hooks/google", &headers, "").status
    };
    eventually("the channel's record", || tell(&house, &channel, &secret, "resource-2", "exists") == 403);
    calm(&house, &mapping);
    let before = looks(&peer);
    assert_eq!(tell(&house, &channel, "guess", "resource-1", "exists"), 403);
    assert_eq!(tell(&house, &channel, "", "resource-1", "exists"), 403);
    assert_eq!(tell(&house, &channel, &secret, "", "exists"), 403);
    assert_eq!(tell(&house, "unknown", &secret, "resource-1", "exists"), 404);
    assert_eq!(tell(&house, &channel, &secret, "resource-1", "sync"), 202);
    let item = json!({"subscriptionId": channel, "clientState": secret, "changeType": "updated"});
    let other = house.as_nobody("POST", "/hooks/outlook", &[], &json!({"value": [item]}).to_string());
    assert_eq!(other.status, 404, "one far side's channel is not another's");
    assert_eq!(looks(&peer), before, "none of these begins anything");
    assert_eq!(tell(&house, &channel, &secret, "resource-1", "exists"), 202);
    eventually("a look", || looks(&peer) > before);
    // A removal over there is a change like any other.
    calm(&house, &mapping);
    let before = looks(&peer);
    assert_eq!(tell(&house, &channel, &secret, "resource-1", "not_exists"), 202);
    eventually("another look", || looks(&peer) > before);
    // The channel is believed after a restart, and not opened a second time.
    house.served.restart().unwrap();
    assert_eq!(tell(&house, &channel, &secret, "resource-1", "exists"), 202);
    calm(&house, &mapping);
    assert_eq!(peer.asked(WATCH).len(), 1);
    assert_eq!(house.api("DELETE", &format!("/connections/{id}"), None).0, 204);
    let stops = peer.asked("/calendar/v3/channels/stop");
    assert_eq!(stops.len(), 1);
    assert_eq!(stops[0].json(), json!({"id": channel, "resourceId": "resource-1"}));
    assert_eq!(tell(&house, &channel, &secret, "resource-1", "exists"), 404);
}

// E3: google.md §8: some calendars cannot be watched; they are polled
#[test]
fn a_calendar_that_cannot_be_watched_is_polled() {
    let peer = Peer::start();
    peer.far().unwatched = true;
    let mut house = House::start(peer.config());
    let (_, mapping) = mapped_account(&house, &peer);
    eventually("the question", || !peer.asked(WATCH).is_empty());
    calm(&house, &mapping);
    let key = kalends::bridge::record::unwatched_key(&mapping);
    eventually("the note", || {
        let read = house.served.guard().house().store.record(&key);
        house.served.runtime().block_on(read).unwrap().is_some()
    });
    let before = looks(&peer);
    house.served.restart().unwrap();
    let (_, asked) = house.api("POST", &format!("/mappings/{mapping}/sync"), None);
    assert_eq!(follow(&house, asked["run"].as_str().unwrap())["status"], "success");
    assert!(looks(&peer) > before);
    assert_eq!(peer.asked(WATCH).len(), 1, "it is not asked again for days");
}

// S3-047, E3: a server that Google cannot reach asks for no channel
#[test]
fn a_server_that_cannot_be_reached_asks_for_no_channel() {
    let peer = Peer::start();
    let mut config = peer.config();
    config.extend(["[server]".into(), "base_url = \"https://kalends.lan\"".into()]);
    let house = House::start(config);
    peer.far().now = jiff::Timestamp::now().as_second();
    let (status, made) = house.api("POST", "/connections/google", Some(json!({})));
    assert_eq!(status, 201, "{made}");
    let url = url::Url::parse(made["authorization_url"].as_str().unwrap()).unwrap();
    let of = |name: &str| url.query_pairs().find(|(n, _)| n == name).unwrap().1.into_owned();
    assert_eq!(of("redirect_uri"), "https://kalends.lan/oauth/google/callback");
    peer.far().challenge = of("code_challenge");
    let back = format!("/oauth/callback?state={}&code=good-code", of("state"));
    assert_eq!(agreed(house.served.address(), house.as_nobody("GET", &back, &[], "")).status, 200);
    let mapping = map(&house, made["id"].as_str().unwrap(), "anna@far.example");
    calm(&house, &mapping);
    assert!(peer.asked(WATCH).is_empty());
    let plain = House::start(vec![
        "[server]".into(),
        "base_url = \"http://kalends.example.org\"".into(),
        "[providers.google]".into(),
        "client_id = \"cid\"".into(),
    ]);
    let (status, problem) = plain.api("POST", "/connections/google", Some(json!({})));
    assert_eq!(status, 422, "{problem}");
    assert!(problem["detail"].as_str().unwrap().contains("server.base_url"), "S3-049: {problem}");
}

/// What the browser that asked brings back.
pub(crate) fn answer(peer: &Peer, asked: &Asked) -> Answer {
    let challenge =
        asked.url.query_pairs().find(|(name, _)| name == "code_challenge").unwrap().1.into_owned();
    peer.far().challenge = challenge;
    let code = Some(Secret::new("good-code"));
    Answer { state: asked.word.clone(), code, error: None, at: None, browser: Some(asked.browser.clone()) }
}

pub(crate) async fn side(peer: &Peer) -> Side {
    let mut config = Config::default();
    config.read(&peer.config().join("\n")).unwrap();
    let base_url = "http://127.0.0.1:8008".to_owned();
    let settings = Settings { providers: config.providers, base_url, ..Settings::default() };
    let side = Side::with(settings).await;
    peer.far().now = side.house.clock.now().0 / 1000;
    side
}

pub(crate) fn later(side: &Side, peer: &Peer, time: Duration) {
    side.later(time);
    peer.far().now = side.house.clock.now().0 / 1000;
}

const HOUR: Duration = Duration::from_secs(3600);

// S3-044: fifteen minutes and no more; what nobody consented to is gone after a day
#[tokio::test(flavor = "multi_thread")]
async fn a_consent_that_comes_too_late_changes_nothing() {
    let peer = Peer::start();
    let side = side(&peer).await;
    let asked = side.bridge.ask_consent("anna", Kind::Google, Wish::default()).await.unwrap();
    let made = &asked.connection;
    later(&side, &peer, Duration::from_secs(15 * 60));
    let landing = side.bridge.consent_answered(answer(&peer, &asked)).await.unwrap();
    assert!(matches!(landing.outcome, Outcome::Unawaited), "{landing:?}");
    side.bridge.tend_once().await.unwrap();
    let (_, shown) = side.bridge.connection("anna", &made.id).await.unwrap();
    assert!(shown.sentence.contains("not given in time"), "{shown:?}");
    let consents = side.house.store.records(Table::Consent, "", None, 10).await.unwrap();
    assert!(consents.is_empty());
    // It can still be given anew.
    let again = side.bridge.ask_consent_again("anna", &made.id, Wish::default()).await.unwrap();
    let landing = side.bridge.consent_answered(answer(&peer, &again)).await.unwrap();
    assert!(matches!(landing.outcome, Outcome::Connected { .. }), "{landing:?}");
    let asked = side.bridge.ask_consent("anna", Kind::Google, Wish::default()).await.unwrap();
    let forgotten = asked.connection;
    later(&side, &peer, 25 * HOUR);
    side.bridge.tend_once().await.unwrap();
    side.bridge.tend_once().await.unwrap();
    assert!(side.bridge.connection("anna", &forgotten.id).await.is_err());
    assert!(side.bridge.connection("anna", &made.id).await.is_ok());
}

// S3-081, S3-082, S3-083: by the far side's own end; another one is open before the old one is closed
#[tokio::test(flavor = "multi_thread")]
async fn channels_are_renewed_before_they_end() {
    let peer = Peer::start();
    let side = side(&peer).await;
    let asked = side.bridge.ask_consent("anna", Kind::Google, Wish::default()).await.unwrap();
    let made = &asked.connection;
    side.bridge.consent_answered(answer(&peer, &asked)).await.unwrap();
    let remote = RemoteId("anna@far.example".into());
    let mapping = side.map_to(&made.id, remote, Direction::Pull, Policy::External).await;
    side.bridge.tend_once().await.unwrap();
    assert_eq!(peer.asked(WATCH).len(), 1);
    assert!(side.bridge.push_alive(&mapping));
    later(&side, &peer, 5 * 24 * HOUR);
    side.bridge.tend_once().await.unwrap();
    assert_eq!(peer.asked(WATCH).len(), 1, "it lives for seven days");
    later(&side, &peer, 24 * HOUR);
    side.bridge.tend_once().await.unwrap();
    let asked: Vec<String> = peer.far().log.iter().map(|asked| asked.path.clone()).collect();
    let order: Vec<&str> =
        asked.iter().map(String::as_str).filter(|p| *p == WATCH || p.ends_with("/stop")).collect();
    assert_eq!(order, [WATCH, WATCH, "/calendar/v3/channels/stop"]);
    let watches = peer.asked(WATCH);
    assert_ne!(watches[0].json()["id"], watches[1].json()["id"]);
    assert_ne!(watches[0].json()["token"], watches[1].json()["token"]);
    // A restart knows of it; a mapping that rests has none.
    let side = side.restart().await;
    side.bridge.tend_once().await.unwrap();
    assert_eq!(peer.asked(WATCH).len(), 2);
    let rest = |mapping: &mut Mapping| {
        mapping.enabled = false;
        Ok(())
    };
    side.bridge.update_mapping("anna", &mapping, rest).await.unwrap();
    side.bridge.tend_once().await.unwrap();
    assert_eq!(peer.asked("/calendar/v3/channels/stop").len(), 2);
    assert!(!side.bridge.push_alive(&mapping));
}

// S3-157: a channel that is silent for half an hour while things change is told of, and polling no longer relies on it
#[tokio::test(flavor = "multi_thread")]
async fn a_channel_that_falls_silent_is_told_of() {
    let clock = Clock::fixed(1_800_000_000_000);
    let options = Options { clock: clock.clone(), ..Options::default() };
    let far = Server::start(options, Arc::new(Google::new())).await.unwrap();
    let at = far.url().trim_end_matches('/').to_owned();
    let mut config = Config::default();
    let lines = [
        "[providers.google]".to_owned(),
        "client_id = \"cid\"\nclient_secret = \"client-geheim\"".into(),
        format!("api_base = \"{at}/\"\nauth_url = \"{at}/o/oauth2/v2/auth\"\ntoken_url = \"{at}/token\""),
    ];
    config.read(&lines.join("\n")).unwrap();
    // Nobody listens there: what the far side tells is lost.
    let base_url = "http://127.0.0.1:9".to_owned();
    let side = Side::with(Settings { providers: config.providers, base_url, ..Settings::default() }).await;
    clock.set(side.house.clock.now().0);
    let pass_time = |minutes: u64| {
        side.later(Duration::from_secs(60 * minutes));
        clock.set(side.house.clock.now().0);
    };
    let asked = side.bridge.ask_consent("anna", Kind::Google, Wish::default()).await.unwrap();
    let (made, url) = (&asked.connection, &asked.url);
    let target = format!("{}?{}", url.path(), url.query().unwrap());
    let sent = send(far.address(), &Request { method: "GET".into(), target, ..Request::default() }).unwrap();
    let back = url::Url::parse(sent.all("location")[0]).unwrap();
    let of = |name: &str| back.query_pairs().find(|(n, _)| n == name).unwrap().1.into_owned();
    let (code, browser) = (Some(Secret::new(of("code"))), Some(asked.browser.clone()));
    let answer = Answer { state: of("state"), code, error: None, at: None, browser };
    side.bridge.consent_answered(answer).await.unwrap();
    let remote = RemoteId("anna@example.com".into());
    let mapping = side.map_to(&made.id, remote.clone(), Direction::Pull, Policy::External).await;
    side.bridge.tend_once().await.unwrap();
    assert!(side.bridge.push_alive(&mapping));
    let poll = async || {
        let follower = Wakeful(side.bridge.clone());
        let _ = follower.woken().now_or_never();
        follower.tick().await;
        side.bridge.settled(&mapping).await;
        side.bridge.tend_once().await.unwrap();
    };
    let told = async || {
        let all = side.bridge.notifications("anna").await.unwrap();
        all.into_iter().any(|told| told.kind.as_str() == "push_silent" && told.resolved.is_none())
    };
    let happens = |title: &str| {
        let day = jiff::Timestamp::from_millisecond(clock.millis()).unwrap();
        let day = day.to_zoned(jiff::tz::TimeZone::UTC).date().tomorrow().unwrap();
        let object = json!({"summary": title, "start": {"dateTime": format!("{day}T09:00:00Z")},
            "end": {"dateTime": format!("{day}T10:00:00Z")}});
        far.act(&Act::CreateElsewhere { calendar: remote.0.clone(), object }).unwrap();
    };
    poll().await;
    poll().await;
    // While nothing changes, silence says nothing.
    pass_time(90);
    poll().await;
    assert!(side.bridge.push_alive(&mapping) && !told().await);
    happens("Unheard");
    pass_time(90);
    poll().await;
    assert_eq!(side.names().await.len(), 1);
    assert!(side.bridge.push_silent(&mapping) && !side.bridge.push_alive(&mapping));
    // It is asked at its own pace again, and the next look says why.
    pass_time(90);
    poll().await;
    assert!(told().await);
    let next = side.state(&mapping).await.pace.next.unwrap();
    assert!(next.0 - side.house.clock.now().0 <= 19 * 60_000, "every quarter of an hour");
}

/// A simulator and a server that knows it.
pub(crate) struct Simulated {
    pub(crate) house: House,
    pub(crate) far: Running,
    provider: &'static str,
    // Dropped last: the simulator's tasks are in it.
    _runtime: tokio::runtime::Runtime,
}

impl Simulated {
    pub(crate) fn start(provider: &'static str) -> Simulated {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let world: Arc<dyn World> = match provider {
            "google" => Arc::new(Google::new()),
            _ => Arc::new(Outlook::new("anna@example.com")),
        };
        let far = runtime.block_on(Server::start(Options::default(), world)).unwrap();
        let at = far.url().trim_end_matches('/').to_owned();
        let urls = match provider {
            "google" => [
                format!("api_base = \"{at}/\""),
                format!("auth_url = \"{at}/o/oauth2/v2/auth\""),
                format!("token_url = \"{at}/token\""),
                format!("revoke_url = \"{at}/revoke\""),
            ]
            .to_vec(),
            _ => [
                format!("api_base = \"{at}/v1.0\""),
                format!("auth_url = \"{at}/common/oauth2/v2.0/authorize\""),
                format!("token_url = \"{at}/common/oauth2/v2.0/token\""),
            ]
            .to_vec(),
        };
        let mut config = vec![
            format!("[providers.{provider}]"),
            "client_id = \"cid\"".into(),
            "client_secret = \"client-geheim\"".into(),
        ];
        config.extend(urls);
        Simulated { house: House::start(config), far, provider, _runtime: runtime }
    }

    /// Goes where the person is sent, consents there, and comes back.
    pub(crate) fn consent(&self, made: &Value) {
        let url = url::Url::parse(made["authorization_url"].as_str().unwrap()).unwrap();
        let target = |url: &url::Url| format!("{}?{}", url.path(), url.query().unwrap());
        let ask = Request { method: "GET".into(), target: target(&url), ..Request::default() };
        let sent = send(self.far.address(), &ask).unwrap();
        assert_eq!(sent.status, 302, "{}", sent.show());
        let back = url::Url::parse(sent.all("location")[0]).unwrap();
        let page = agreed(self.house.served.address(), self.house.as_nobody("GET", &target(&back), &[], ""));
        assert_eq!(page.status, 200, "{}", page.show());
    }

    fn connect(&self) -> String {
        let (status, made) =
            self.house.api("POST", &format!("/connections/{}", self.provider), Some(json!({})));
        assert_eq!(status, 201, "{made}");
        self.consent(&made);
        made["id"].as_str().unwrap().to_owned()
    }

    fn map(&self, connection: &str) -> (String, String) {
        let (_, list) = self.house.api("GET", &format!("/connections/{connection}/calendars"), None);
        let main = list["items"].as_array().unwrap().iter().find(|c| c["primary"] == true).unwrap().clone();
        let remote = main["id"].as_str().unwrap().to_owned();
        (map(&self.house, connection, &remote), remote)
    }

    pub(crate) fn channels(&self) -> usize {
        let done = |entry: &kalends::sim::Entry| {
            entry.method == "POST"
                && (entry.path.ends_with("/watch") || entry.path.ends_with("/subscriptions"))
        };
        self.far.log().entries().iter().filter(|entry| done(entry)).count()
    }

    pub(crate) fn happens(&self, calendar: &str, title: &str) {
        let day = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).date().tomorrow().unwrap();
        let object = match self.provider {
            "google" => json!({"summary": title, "start": {"dateTime": format!("{day}T09:00:00Z")},
                "end": {"dateTime": format!("{day}T10:00:00Z")}}),
            _ => {
                json!({"subject": title, "start": {"dateTime": format!("{day}T09:00:00"), "timeZone": "UTC"},
                "end": {"dateTime": format!("{day}T10:00:00"), "timeZone": "UTC"}})
            }
        };
        self.far.act(&Act::CreateElsewhere { calendar: calendar.to_owned(), object }).unwrap();
    }
}

// S1-003, S1-023, S1-046, S1-047, S2-083, S2-084, S3-048, S3-143, S3-166, S3-142
#[test]
fn a_change_on_a_far_side_is_told_and_carried_over() {
    for provider in ["google", "outlook"] {
        let all = Simulated::start(provider);
        let id = all.connect();
        assert_eq!(all.house.connection(&id)["account"], "anna@example.com", "{provider}");
        let (mapping, remote) = all.map(&id);
        eventually("a channel", || all.channels() > 0);
        calm(&all.house, &mapping);
        // Polling would take minutes; each of these is told.
        for n in 1..=3 {
            all.happens(&remote, &format!("Told {n}"));
            eventually(&format!("{provider}: event {n}"), || objects(&all.house) == n);
        }
        // Notifications that come twice and out of order begin no more than is needed, and lose nothing.
        let odd = Manners { dup: 0.7, reorder: 0.5, ..Manners::default() };
        all.far.act(&Act::Webhook(odd)).unwrap();
        for n in 4..=8 {
            all.happens(&remote, &format!("Told {n}"));
        }
        all.far.scene().post.flush();
        eventually(&format!("{provider}: all events"), || objects(&all.house) == 8);
        // The consent is taken back over there: one click here, and the mapping goes on.
        all.far.act(&Act::RevokeGrant).unwrap();
        all.far.act(&Act::ExpireAccess).unwrap();
        let (status, asked) = all.house.api("POST", &format!("/mappings/{mapping}/sync"), None);
        assert_eq!(status, 202, "{asked}");
        follow(&all.house, asked["run"].as_str().unwrap());
        eventually(&format!("{provider}: the account says so"), || {
            all.house.connection(&id)["status"] == "token_expired"
        });
        let (status, again) = all.house.api("POST", &format!("/connections/{id}/reconnect"), Some(json!({})));
        assert_eq!(status, 200, "{again}");
        all.consent(&again);
        all.happens(&remote, "Told 9");
        // One that waits to be overtaken would wait for ever: nothing comes after it.
        all.far.scene().post.flush();
        eventually(&format!("{provider}: the mapping goes on"), || objects(&all.house) == 9);
        eventually(&format!("{provider}: all is well"), || all.house.connection(&id)["status"] == "active");
        assert_eq!(all.house.api("DELETE", &format!("/connections/{id}?events=remove"), None).0, 204);
        assert_eq!(objects(&all.house), 0, "{provider}");
    }
}

// S1-071, microsoft-graph.md §6: a channel asks to be renewed, may have missed something, or is taken away
#[test]
fn what_a_channel_says_of_itself_is_heeded() {
    let all = Simulated::start("outlook");
    let id = all.connect();
    let (mapping, remote) = all.map(&id);
    eventually("a channel", || all.channels() == 1);
    calm(&all.house, &mapping);
    let says = |event: &str| {
        let with = json!({ "event": event });
        all.far.act(&Act::Own { name: "lifecycle".into(), with }).unwrap();
    };
    let asked = |method: &str, part: &str| {
        let entries = all.far.log().entries();
        entries.iter().filter(|entry| entry.method == method && entry.path.contains(part)).count()
    };
    says("reauthorizationRequired");
    wait_for("its renewal", || asked("PATCH", "/subscriptions/"), |renewed| *renewed >= 1);
    let before = asked("GET", "delta");
    says("missed");
    eventually("a look", || asked("GET", "delta") > before);
    says("subscriptionRemoved");
    eventually("another channel", || all.channels() == 2);
    all.happens(&remote, "Told over the new one");
    eventually("the event", || objects(&all.house) == 1);
}

// Some far sides open one channel for a calendar and no second one
#[test]
fn mappings_of_one_calendar_share_its_channel() {
    let peer = Peer::start();
    let house = House::start(peer.config());
    let (id, first) = mapped_account(&house, &peer);
    eventually("a channel", || !peer.asked(WATCH).is_empty());
    let (status, other) = house.api("POST", "/calendars", Some(json!({"name": "second"})));
    assert_eq!(status, 201, "{other}");
    let wish = json!({"calendar": other["id"], "connection": id, "remote_calendar": "anna@far.example",
        "direction": "pull"});
    let (status, second) = house.api("POST", "/mappings", Some(wish));
    assert_eq!(status, 201, "{second}");
    for mapping in [first.as_str(), second["id"].as_str().unwrap()] {
        calm(&house, mapping);
    }
    let tell = || {
        let wish = peer.asked(WATCH).last().unwrap().json();
        let headers = [
            ("X-Goog-Channel-ID", wish["id"].as_str().unwrap()),
            ("X-Goog-Channel-Token", wish["token"].as_str().unwrap()),
            ("X-Goog-Resource-ID", "resource-1"),
            ("X-Goog-Resource-State", "exists"),
        ];
        house.as_nobody("POST", "/hooks/google", &headers, "").status
    };
    let last_run =
        |mapping: &str| house.api("GET", &format!("/mappings/{mapping}"), None).1["last_run"].clone();
    let other = second["id"].as_str().unwrap();
    let before = (last_run(&first), last_run(other));
    eventually("both are looked at", || {
        assert_eq!(tell(), 202);
        last_run(&first) != before.0 && last_run(other) != before.1
    });
    // The order of their ids decides whose it is: at most one was closed for the other.
    let (opened, closed) = (peer.asked(WATCH).len(), peer.asked("/calendar/v3/channels/stop").len());
    assert_eq!(opened - closed, 1, "{opened} opened, {closed} closed");
}

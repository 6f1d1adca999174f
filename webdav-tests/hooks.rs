//! What a word at the door costs before it is believed.

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header;
use http_body::{Body, Frame};
use http_body_util::BodyExt as _;
use kalends::auth::oauth;
use kalends::bridge::provider::{Channel, RemoteId};
use kalends::bridge::record::{self, Direction, Kind, Policy, Watched, channel_key};
use kalends::hooks::Hooks;
use kalends::http::{BodyError, Reply, Request};
use kalends::store::{Commit, Origin, Store as _};
use serde_json::json;

use crate::bridge::side::Side;
use crate::oauth::peer::Peer;
use crate::push::{later, side, signature};

/// A body that counts how often somebody reads on.
struct Counted(Option<Bytes>, Arc<AtomicUsize>);

impl Body for Counted {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.1.fetch_add(1, Ordering::Relaxed);
        Poll::Ready(self.0.take().map(|bytes| Ok(Frame::data(bytes))))
    }
}

/// The door before a bridge that has two channels and a mapping with a hook.
struct Place {
    side: Side,
    door: Hooks,
    peer: Peer,
    mapping: String,
    secret: String,
    bodies: Arc<AtomicUsize>,
}

const DOOR: &str = "the-word-in-the-address";
const STRANGER: &str = "192.0.2.7";
const FRIEND: &str = "192.0.2.8";

impl Place {
    async fn new() -> Place {
        let peer = Peer::start();
        let side = side(&peer).await;
        peer.far().feed = crate::oauth::feed(&["one"]);
        let url = format!("http://{}/feed.ics", peer.address);
        let made = side.bridge.connect_ics("anna", &url).await.unwrap();
        let remote = side.bridge.remote_calendars("anna", &made.id).await.unwrap().remove(0);
        let mapping = side.map_to(&made.id, RemoteId(remote.id.0), Direction::Pull, Policy::External).await;
        side.sync(&mapping).await;
        for (kind, id, door) in [(Kind::Google, "channel-1", ""), (Kind::Outlook, "subscription-1", DOOR)] {
            let row = Watched {
                mapping: mapping.clone(),
                connection: made.id.clone(),
                kind,
                token: oauth::digest("geheim"),
                opened: side.house.clock.now(),
                open: true,
                door: door.into(),
                channel: Channel { id: id.into(), resource: String::new(), expires: i64::MAX / 2000 },
            };
            let commit = Commit::new(Origin::System, side.house.clock.now());
            side.store.commit(commit.op(record::put(channel_key(id), &row).unwrap())).await.unwrap();
        }
        let (_, secret) = side.bridge.open_hook("anna", &mapping).await.unwrap();
        // Channels and hooks are known again after a restart.
        let side = side.restart().await;
        let door = Hooks::new(Arc::clone(&side.bridge));
        let secret = secret.reveal().to_owned();
        Place { side, door, peer, mapping, secret, bodies: Arc::default() }
    }

    async fn post(&self, from: &str, target: &str, headers: &[(&str, &str)], body: &str) -> Reply {
        let (path, query) =
            target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
        let body = Counted(Some(Bytes::copy_from_slice(body.as_bytes())), Arc::clone(&self.bodies));
        self.door
            .serve(Request {
                method: http::Method::POST,
                path: path.into(),
                query: query.map(str::to_owned),
                headers: headers
                    .iter()
                    .map(|(n, v)| (n.parse::<header::HeaderName>().unwrap(), v.parse().unwrap()))
                    .collect(),
                peer: from.parse::<IpAddr>().unwrap(),
                body: body.boxed_unsync(),
            })
            .await
    }

    /// How often the store was asked, and bodies were read on.
    fn cost(&self) -> (i64, usize) {
        (self.side.store.reads(), self.bodies.load(Ordering::Relaxed))
    }

    async fn google(&self, from: &str, channel: &str, token: &str) -> Reply {
        let headers = [
            ("x-goog-channel-id", channel),
            ("x-goog-channel-token", token),
            ("x-goog-resource-state", "exists"),
        ];
        self.post(from, "/hooks/google", &headers, "").await
    }

    async fn outlook(&self, from: &str, door: &str, body: &str) -> Reply {
        self.post(from, &format!("/hooks/outlook?key={door}"), &[], body).await
    }

    async fn signed(&self, from: &str, secret: &str) -> Reply {
        let at = u64::try_from(self.side.house.clock.now().0 / 1000).unwrap();
        let (signed, at) = (signature(secret, "msg_1", at, "{}"), at.to_string());
        let headers = [("webhook-id", "msg_1"), ("webhook-timestamp", &at), ("webhook-signature", &signed)];
        self.post(from, &format!("/hooks/sync/{}", self.mapping), &headers, "{}").await
    }
}

fn item(id: &str, state: &str) -> serde_json::Value {
    json!({"subscriptionId": id, "clientState": state, "changeType": "updated"})
}

fn wait(reply: &Reply) -> u64 {
    assert_eq!(reply.status(), 429);
    reply.headers()[header::RETRY_AFTER].to_str().unwrap().parse().unwrap()
}

// S1-077, S3-078, E21, Bad input: a hook without the right secret is 404 or 403 and costs nothing
#[tokio::test(flavor = "multi_thread")]
async fn words_of_strangers_cost_no_look_at_the_store_and_no_body() {
    let place = Place::new().await;
    let before = place.cost();
    let mut heard = Vec::new();
    for n in 0..20 {
        heard.push(place.google(STRANGER, &format!("other-{n}"), "geheim").await);
        heard.push(place.google(STRANGER, "channel-1", "guess").await);
        heard.push(place.google(STRANGER, "subscription-1", "geheim").await);
        let list = json!({"value": [item("subscription-1", "geheim")]}).to_string();
        heard.push(place.outlook(STRANGER, &format!("guess-{n}"), &list).await);
        heard.push(place.post(STRANGER, "/hooks/outlook?validationToken=echo", &[], "").await);
        heard.push(place.post(STRANGER, &format!("/hooks/sync/ab{n}"), &[], "{}").await);
    }
    assert_eq!(place.cost(), before, "nothing was read");
    let count = |status: u16| heard.iter().filter(|reply| reply.status() == status).count();
    assert_eq!(count(404) + count(403) + count(429), heard.len());
    assert!(count(429) > 90, "{} of {} were told to stay away", count(429), heard.len());
    assert!((1..=30).contains(&wait(heard.last().unwrap())));
    // A far side sends from addresses that it shares with others: the right word is heard from there too.
    let before = place.cost();
    assert_eq!(place.google(STRANGER, "channel-1", "geheim").await.status(), 202);
    assert_eq!(place.cost(), before, "believed without a look at the store");
    let list = json!({"value": [item("subscription-1", "geheim")]}).to_string();
    assert_eq!(place.outlook(STRANGER, DOOR, &list).await.status(), 202);
    assert_eq!(place.side.store.reads(), before.0);
}

// microsoft-graph.md §6: each item is believed or not on its own; a long list is no more work than a short one
#[tokio::test(flavor = "multi_thread")]
async fn a_list_of_a_thousand_words_costs_what_a_few_cost() {
    let place = Place::new().await;
    let before = place.side.store.reads();
    let guesses: Vec<_> = (0..1000).map(|n| item(&format!("other-{n}"), "geheim")).collect();
    let list = |value: &[serde_json::Value]| json!({ "value": value }).to_string();
    assert_eq!(place.outlook(STRANGER, DOOR, &list(&guesses)).await.status(), 404);
    // Only the first ones are looked at: an address is one subscription's.
    let mut late = guesses.clone();
    late.push(item("subscription-1", "geheim"));
    assert_eq!(place.outlook(STRANGER, DOOR, &list(&late)).await.status(), 404);
    let mut early = vec![item("subscription-1", "guess"); 999];
    early.push(item("subscription-1", "geheim"));
    assert_eq!(
        place.outlook(STRANGER, DOOR, &list(&early)).await.status(),
        202,
        "what is said twice counts once"
    );
    for odd in ["{}", "<html>", "[]"] {
        assert_eq!(place.outlook(STRANGER, DOOR, odd).await.status(), 400, "{odd}");
    }
    assert_eq!(place.outlook(STRANGER, DOOR, &"x".repeat(300 << 10)).await.status(), 413);
    assert_eq!(place.side.store.reads(), before);
    // Who knows the address and not the secret is soon not even read.
    for _ in 0..12 {
        place.outlook(STRANGER, DOOR, &list(&[item("subscription-1", "guess")])).await;
    }
    let (_, bodies) = place.cost();
    wait(&place.outlook(STRANGER, DOOR, &list(&[item("subscription-1", "geheim")])).await);
    assert_eq!(place.cost().1, bodies);
    let right = list(&[item("subscription-1", "geheim")]);
    assert_eq!(place.outlook(FRIEND, DOOR, &right).await.status(), 202, "others are let in");
}

// S1-022, microsoft-graph.md §6: answered within the handshake, as plain text that no browser takes for a page
#[tokio::test(flavor = "multi_thread")]
async fn a_handshake_is_answered_with_its_token() {
    let place = Place::new().await;
    let token = "Validation%3A+Testing+%3Cb%3Eclient%3C%2Fb%3E";
    let path = format!("/hooks/outlook?key={DOOR}&validationToken={token}");
    let answer = place.post(STRANGER, &path, &[("content-type", "text/plain; charset=utf-8")], "").await;
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()[header::CONTENT_TYPE], "text/plain; charset=utf-8");
    assert_eq!(answer.headers()[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(&body[..], b"Validation: Testing <b>client</b>");
    // For an address that nobody gave, nothing is repeated.
    let other = place.post(STRANGER, "/hooks/outlook?key=x&validationToken=echo", &[], "").await;
    assert_eq!(other.status(), 404);
}

// S0-027, S0-032, S3-038, E21
#[tokio::test(flavor = "multi_thread")]
async fn a_hook_is_asked_for_its_secret_only_when_the_word_could_be_right() {
    let place = Place::new().await;
    let path = format!("/hooks/sync/{}", place.mapping);
    let before = place.cost();
    let old = signature(&place.secret, "msg_1", 1_700_000_000, "{}");
    for headers in [
        vec![],
        vec![("webhook-id", "msg_1"), ("webhook-timestamp", "1700000000"), ("webhook-signature", &old)],
        vec![("webhook-id", "msg_1"), ("webhook-timestamp", "soon"), ("webhook-signature", "v1,AAAA")],
    ] {
        assert_eq!(place.post(STRANGER, &path, &headers, "{}").await.status(), 403);
    }
    assert_eq!(place.cost(), before, "what cannot be right is not compared");
    // What could be costs a look, and is not tried for long.
    let other = {
        use base64::Engine as _;
        format!("whsec_{}", base64::engine::general_purpose::STANDARD.encode([7u8; 32]))
    };
    let mut heard = Vec::new();
    for _ in 0..50 {
        heard.push(place.signed(STRANGER, &other).await.status().as_u16());
        let bearer = format!("Bearer {other}");
        heard.push(place.post(STRANGER, &path, &[("authorization", &bearer)], "{}").await.status().as_u16());
    }
    assert!(heard.iter().all(|status| matches!(status, 403 | 429)), "{heard:?}");
    let (reads, bodies) = place.cost();
    assert!(reads - before.0 <= 11, "{} looks for a hundred guesses", reads - before.0);
    wait(&place.signed(STRANGER, &place.secret).await);
    assert_eq!(place.cost(), (reads, bodies));
    // Others are let in, and the address is as well when it has waited.
    assert_eq!(place.signed(FRIEND, &place.secret).await.status(), 202);
    later(&place.side, &place.peer, Duration::from_secs(31));
    assert_eq!(place.signed(STRANGER, &place.secret).await.status(), 202);
    place.side.bridge.close_hook("anna", &place.mapping).await.unwrap();
    assert_eq!(place.signed(FRIEND, &place.secret).await.status(), 404);
}

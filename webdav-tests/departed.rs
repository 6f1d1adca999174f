//! An account that is removed leaves nothing: every table holds something of it, and afterwards none does.

use std::collections::BTreeSet;

use kalends::auth::Scope;
use kalends::bridge::{Cause, NoticeKind, Notices};
use kalends::calendar::NewPrincipal;
use kalends::store::{CollectionId, Commit, Key, Op, Origin, Store, Table};
use serde_json::{Value, json};

use crate::app::event;
use crate::dialogue::{Host as _, Request, Response, password, send};
use crate::oauth::peer::Peer;
use crate::oauth::{House, follow, mapped_feed};
use crate::pages::Browser;
use crate::wait::{eventually, wait_for};

const ALL: &str = "read events bookings bridges";

/// Every record that there is, by table and path; but of the store's own, which belong to nobody.
fn records(house: &House) -> BTreeSet<(Table, String)> {
    let store: &dyn Store = &*house.served.guard().house().store;
    let mut all = BTreeSet::new();
    for table in Table::ALL.into_iter().filter(|table| *table != Table::System) {
        let rows = house.served.runtime().block_on(store.records(table, "", None, 100_000)).unwrap();
        all.extend(rows.into_iter().map(|(key, _)| (table, key.path)));
    }
    all
}

fn add(house: &mut House) {
    let new = NewPrincipal { name: "carl".into(), password: password("carl"), ..NewPrincipal::default() };
    house.served.runtime().block_on(house.served.guard().add_user(new)).unwrap();
    house.token = house.served.token("carl", ALL).unwrap();
}

fn wish(house: &House, method: &str, path: &str, body: Value) -> Value {
    let (status, made) = house.api(method, path, Some(body));
    assert!((200..300).contains(&status), "{method} {path}: {status} {made}");
    made
}

fn dav(house: &House, method: &str, path: &str, body: &str) -> Response {
    let headers = vec![("Authorization".to_owned(), format!("Bearer {}", house.token))];
    let request = Request {
        method: method.to_owned(),
        target: format!("/dav/{path}"),
        headers,
        body: body.as_bytes().to_vec(),
    };
    let answer = send(house.served.address(), &request).unwrap();
    assert!(matches!(answer.status, 200..=207), "{method} {path}: {}", answer.show());
    answer
}

/// Puts something of carl's into every table; returns the addresses of his feeds.
fn furnish(house: &mut House, peer: &Peer) -> Vec<String> {
    let (_, mapping) = mapped_feed(house, peer, &["one", "two"]);
    let google = house.connect(peer, "google");
    let middle = wish(house, "POST", "/calendars", json!({"name": "mirror"}))["id"].clone();
    let pull = json!({"calendar": middle, "connection": google, "remote_calendar": "anna@far.example",
        "direction": "pull"});
    let watched = wish(house, "POST", "/mappings", pull)["id"].as_str().unwrap().to_owned();
    for id in [&mapping, &watched] {
        assert_eq!(house.api("POST", &format!("/mappings/{id}/hook"), None).0, 201);
        let (_, asked) = house.api("POST", &format!("/mappings/{id}/sync"), None);
        if let Some(run) = asked["run"].as_str() {
            follow(house, run);
        }
    }
    eventually("a channel", || records(house).iter().any(|(table, _)| *table == Table::Channel));
    // A consent that nobody gave yet.
    house.begin(peer, "google", json!({}));
    // Events: former versions, the trash, what clients set on them, locks; a calendar in the trash with all of that.
    for name in ["own", "lost"] {
        wish(house, "POST", "/calendars", json!({"name": name}));
        let at = format!("calendars/carl/{name}/");
        for title in ["First", "Second"] {
            dav(house, "PUT", &format!("{at}a.ics"), &event(&format!("a@{name}"), title, "20300107T090000Z"));
        }
        dav(house, "PUT", &format!("{at}b.ics"), &event(&format!("b@{name}"), "B", "20300108T090000Z"));
        dav(house, "DELETE", &format!("{at}b.ics"), "");
        let set =
            "<propertyupdate xmlns='DAV:'><set><prop><x xmlns='urn:x'>1</x></prop></set></propertyupdate>";
        dav(house, "PROPPATCH", &format!("{at}a.ics"), set);
    }
    let lock =
        "<lockinfo xmlns='DAV:'><lockscope><exclusive/></lockscope><locktype><write/></locktype></lockinfo>";
    dav(house, "MKCOL", "files/carl/deep/", "");
    dav(house, "PUT", "files/carl/deep/note.txt", "note");
    for path in ["calendars/carl/own/a.ics", "files/carl/deep/note.txt"] {
        dav(house, "LOCK", path, lock);
    }
    let calendars = house.api("GET", "/calendars", None).1["items"].as_array().unwrap().clone();
    let named =
        |name: &str| calendars.iter().find(|c| c["name"] == name).unwrap()["id"].as_str().unwrap().to_owned();
    let (own, lost) = (named("own"), named("lost"));
    assert_eq!(house.api("DELETE", &format!("/calendars/{lost}"), None).0, 204);
    // Bookings and holds, feeds, webhooks with what is to be delivered.
    wish(house, "PATCH", "/booking-settings", json!({"step": "PT20M"}));
    let hook = json!({"url": format!("http://{}/hook", peer.address), "events": ["*"]});
    wish(house, "POST", "/webhooks", hook);
    for (hour, more) in [("09", json!({"reference": "order/7"})), ("11", json!({"hold_for": "PT60M"}))] {
        let mut body =
            json!({"calendar": own, "start": format!("2030-01-09T{hour}:00:00Z"), "duration": "PT1H"});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        wish(house, "POST", "/bookings", body);
    }
    eventually("a delivery", || records(house).iter().any(|(table, _)| *table == Table::Delivery));
    let feeds = [json!({"calendars": [own]}), json!({"calendars": [own], "slug": "carls-salon"})];
    let feeds = feeds.map(|feed| wish(house, "POST", "/feeds", feed)["url"].as_str().unwrap().to_owned());
    // Ways in, an answer that is kept, a notice, a conflict.
    let guard = house.served.guard();
    house.served.runtime().block_on(guard.add_app_password("carl", "Phone")).unwrap();
    assert_eq!(Browser::new(&house.served).enter("carl", &password("carl"), "/").status, 303);
    let headers = vec![
        ("Authorization".to_owned(), format!("Bearer {}", house.token)),
        ("Idempotency-Key".to_owned(), "once".to_owned()),
    ];
    let target = "/api/v1/notifications/read-all".to_owned();
    let request = Request { method: "POST".to_owned(), target, headers, body: Vec::new() };
    assert_eq!(send(house.served.address(), &request).unwrap().status, 200);
    let rules = std::sync::Arc::clone(guard.house());
    house.served.runtime().block_on(async {
        let now = rules.clock.now();
        let cause = Cause { kind: NoticeKind::EventFailed, subject: "m1", detail: "1" };
        let notices = Notices { store: &*rules.store, owner: "carl", now };
        let raised =
            notices.raise(cause, "“Lunch” could not be carried over.".to_owned(), &[]).await.unwrap();
        let mut commit = Commit::new(Origin::System, now)
            .op(Op::PutRecord(Key::new(Table::Conflict, format!("{mapping}/1")), "{}".into()));
        commit.ops.extend(raised);
        rules.store.commit(commit).await.unwrap();
    });
    feeds.to_vec()
}

/// S0-012, S4-022: an account goes with everything that is its; whoever gets the name at once finds nothing of it.
#[test]
fn an_account_that_is_removed_leaves_nothing_in_any_table() {
    let peer = Peer::start();
    let mut config = peer.config();
    config.extend(["[bridge]".into(), "allow_private = true".into()]);
    let mut house = House::start(config);
    let admin = crate::operator::administrator(&house.served);
    peer.far().now = jiff::Timestamp::now().as_second();
    let before = records(&house);
    add(&mut house);
    let feeds = furnish(&mut house, &peer);
    // Counts of calls are written when the server stops.
    house.served.restart().unwrap();
    let full = records(&house);
    for table in Table::ALL.into_iter().filter(|table| *table != Table::System) {
        assert!(full.difference(&before).any(|(of, _)| *of == table), "nothing of carl's lies in {table:?}");
    }
    let path = |url: &str| url::Url::parse(url).unwrap().path().to_owned();
    for feed in &feeds {
        assert_eq!(house.as_nobody("GET", &path(feed), &[], "").status, 200, "{feed}");
    }

    assert_eq!(house.api_as(&admin, "DELETE", "/users/carl", None).status, 204);
    assert_eq!(house.api("GET", "/calendars", None).0, 401);
    add(&mut house);
    for list in ["/feeds", "/webhooks", "/bookings", "/trash"] {
        assert_eq!(house.api("GET", list, None).1["items"], json!([]), "{list}");
    }
    for feed in &feeds {
        assert_eq!(house.as_nobody("GET", &path(feed), &[], "").status, 404, "{feed}");
    }
    // Accounts elsewhere are said goodbye to; then nothing is left but who has the name now.
    let left = || {
        let now = records(&house);
        now.difference(&before).map(|(table, path)| format!("{table:?} {path}")).collect::<Vec<_>>()
    };
    let left = wait_for("the end of what was carl's", left, |left| left.len() == 2);
    assert!(left[0] == "Principal carl" && left[1].starts_with("Token "), "{left:?}");
    assert_eq!(house.api("GET", "/connections", None).1["items"], json!([]));
    let store = &house.served.guard().house().store;
    let trashed = house.served.runtime().block_on(store.children(CollectionId::TRASH)).unwrap();
    assert!(trashed.is_empty(), "{trashed:?}");
    let scopes = vec![Scope::Read].into();
    assert!(house.served.runtime().block_on(house.served.guard().add_token("carl", "again", scopes)).is_ok());
}

//! What was deleted comes back: over CalDAV and the JSON API, with a far side that had deleted it, after a backup.

use std::io::{Cursor, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use kalends::auth::{Scope, Scopes};
use kalends::bridge::record::{Direction, Policy, RunStatus};
use kalends::calendar::{Discarded, House, Limits, When};
use kalends::server::SystemClock;
use kalends::store::{Options, Origin, Sled};
use serde_json::{Value, json};

use crate::bridge::radicale::Radicale;
use crate::bridge::side::Side;
use crate::dialogue::{Host as _, Request, Response, password, send};
use crate::host::Served;

const WORK: &str = "/anna/work/";

struct Door {
    served: Served,
    token: String,
}

impl Door {
    fn new(scopes: &[Scope]) -> Door {
        let served = Served::plain();
        let made = served.guard().add_token("anna", "test", Scopes::from(scopes.to_vec()));
        let token = served.runtime().block_on(made).unwrap().1;
        Door { served, token }
    }

    fn ask(&self, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
        let request = Request {
            method: method.to_owned(),
            target: format!("/api/v1{path}"),
            headers: vec![
                ("Authorization".to_owned(), format!("Bearer {}", self.token)),
                ("Content-Type".to_owned(), "application/json".to_owned()),
            ],
            body: body.map(|b| b.to_string().into_bytes()).unwrap_or_default(),
        };
        let answer = send(self.served.address(), &request).unwrap();
        (answer.status, serde_json::from_slice(&answer.body).unwrap_or_default())
    }

    fn dav(&self, method: &str, path: &str, body: &str) -> Response {
        let basic = base64::engine::general_purpose::STANDARD.encode(format!("anna:{}", password("anna")));
        let request = Request {
            method: method.to_owned(),
            target: format!("/dav/calendars/anna/{path}"),
            headers: vec![("Authorization".to_owned(), format!("Basic {basic}"))],
            body: body.as_bytes().to_vec(),
        };
        send(self.served.address(), &request).unwrap()
    }

    fn trash(&self, query: &str) -> Vec<Value> {
        let (status, list) = self.ask("GET", &format!("/trash{query}"), None);
        assert_eq!(status, 200, "{list}");
        list["items"].as_array().unwrap().clone()
    }

    /// Changes since a token, as an Apple client asks for them.
    fn sync(&self, calendar: &str, token: &str) -> Response {
        let body = format!(
            "<?xml version=\"1.0\"?><D:sync-collection xmlns:D=\"DAV:\"><D:sync-token>{token}</D:sync-token>\
             <D:sync-level>1</D:sync-level><D:prop><D:getetag/></D:prop></D:sync-collection>"
        );
        self.dav("REPORT", calendar, &body)
    }
}

fn event(uid: &str, summary: &str) -> String {
    format!(
        "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//test//EN\r\nBEGIN:VEVENT\r\nUID:{uid}\r\n\
         DTSTAMP:20260101T000000Z\r\nDTSTART:20260105T090000Z\r\nDTEND:20260105T100000Z\r\n\
         SUMMARY:{summary}\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"
    )
}

fn token(answer: &Response) -> String {
    assert_eq!(answer.status, 207, "{}", answer.show());
    let text = String::from_utf8(answer.body.clone()).unwrap();
    let from = text.find("sync-token>").unwrap() + "sync-token>".len();
    let length = text[from..].find('<').unwrap();
    text[from..from + length].to_owned()
}

// S3-043: deleted events are listed, restored with their bytes, or removed for good
#[test]
fn an_event_that_a_client_deleted_is_brought_back_over_the_api() {
    let door = Door::new(&[Scope::Read, Scope::Events]);
    let text = event("a@x", "Lunch").replace("SUMMARY", "X-ODD;P=\"q;r\":kept\r\nSUMMARY");
    assert_eq!(door.dav("PUT", "calendar/a.ics", &text).status, 201);
    assert_eq!(door.dav("PUT", "calendar/b.ics", &event("b@x", "Dinner")).status, 201);
    let before = token(&door.sync("calendar/", ""));
    assert_eq!(door.dav("DELETE", "calendar/a.ics", "").status, 204);
    let [lunch] = &door.trash("")[..] else { panic!("it is not in the trash") };
    assert_eq!(
        [&lunch["kind"], &lunch["title"], &lunch["uid"], &lunch["name"], &lunch["component"]],
        ["event", "Lunch", "a@x", "a.ics", "VEVENT"],
        "{lunch}"
    );
    assert_eq!(lunch["calendar_name"], "calendar");
    assert!(lunch["deleted_by"].as_str().unwrap().starts_with("anna, over CalDAV"), "{lunch}");
    let days = |field: &str| lunch[field].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    assert_eq!(days("kept_until").duration_since(days("deleted_at")).as_hours(), 30 * 24);
    let id = lunch["id"].as_str().unwrap();
    let (_, whole) = door.ask("GET", &format!("/trash/{id}"), None);
    assert_eq!(whole["text"], text);
    // The name and the UID are free: another event may have them meanwhile.
    assert_eq!(door.dav("PUT", "calendar/other.ics", &event("a@x", "Rival")).status, 201);
    let (status, refused) = door.ask("POST", &format!("/trash/{id}/restore"), None);
    assert_eq!(status, 409, "{refused}");
    assert!(refused["detail"].as_str().unwrap().contains("other.ics"), "{refused}");
    assert_eq!(door.dav("DELETE", "calendar/other.ics", "").status, 204);
    assert_eq!(door.dav("PUT", "calendar/a.ics", &event("c@x", "Another")).status, 201);
    let (status, back) = door.ask("POST", &format!("/trash/{id}/restore"), None);
    assert_eq!((status, &back["name"], &back["uid"]), (200, &json!("a-2.ics"), &json!("a@x")), "{back}");
    let found = door.dav("GET", "calendar/a-2.ics", "");
    assert_eq!(String::from_utf8(found.body.clone()).unwrap(), text, "octet for octet");
    assert_eq!(found.all("etag"), [format!("\"{}\"", back["etag"].as_str().unwrap())]);
    let told = String::from_utf8(door.sync("calendar/", &before).body).unwrap();
    assert!(told.contains("a-2.ics"), "clients hear of it: {told}");
    assert_eq!(door.ask("POST", &format!("/trash/{id}/restore"), None).0, 404);
    // What is left is removed for good.
    let [rival] = &door.trash("")[..] else { panic!("only the rival is there") };
    let id = rival["id"].as_str().unwrap();
    assert_eq!(door.ask("DELETE", &format!("/trash/{id}"), None).0, 204);
    assert_eq!(door.ask("DELETE", &format!("/trash/{id}"), None).0, 404);
    assert!(door.trash("").is_empty());
}

// E14: a whole calendar, with its sync-tokens
#[test]
fn a_deleted_calendar_comes_back_with_everything() {
    let door = Door::new(&[Scope::Read, Scope::Events]);
    let (_, made) = door.ask("POST", "/calendars", Some(json!({"name": "work", "display_name": "Work"})));
    let id = made["id"].as_str().unwrap();
    for i in 0..3 {
        assert_eq!(door.dav("PUT", &format!("work/{i}.ics"), &event(&format!("{i}@x"), "Event")).status, 201);
    }
    let before = token(&door.sync("work/", ""));
    assert_eq!(door.dav("DELETE", "work/2.ics", "").status, 204);
    assert_eq!(door.dav("DELETE", "work/", "").status, 204);
    assert_eq!(door.dav("GET", "work/0.ics", "").status, 404);
    assert_eq!(door.ask("GET", &format!("/calendars/{id}"), None).0, 404);
    assert_eq!(door.dav("MKCALENDAR", "work/", "").status, 201, "the name is free");
    assert_eq!(door.dav("PUT", "work/0.ics", &event("0@x", "New")).status, 201, "and so are the UIDs");
    let all = door.trash(&format!("?calendar={id}"));
    let [work, second] = &all[..] else { panic!("{all:?}") };
    assert_eq!(
        (&work["kind"], &work["title"], &work["events"]),
        (&json!("calendar"), &json!("Work"), &json!(2)),
        "{work}"
    );
    // An event of it has no place until it is back, or somebody names another.
    let (status, why) = door.ask("POST", &format!("/trash/{}/restore", second["id"].as_str().unwrap()), None);
    assert_eq!(status, 409, "{why}");
    assert!(why["detail"].as_str().unwrap().contains("restore it first"), "{why}");
    let path = format!("/trash/{}/restore", work["id"].as_str().unwrap());
    let (status, back) = door.ask("POST", &path, None);
    assert_eq!((status, &back["calendar"], &back["name"]), (200, &json!(id), &json!("work-2")), "{back}");
    let told = door.sync("work-2/", &before);
    let text = String::from_utf8(told.body.clone()).unwrap();
    assert!(told.status == 207 && text.contains("2.ics") && !text.contains("0.ics"), "{text}");
    let (status, back) = door.ask(
        "POST",
        &format!("/trash/{}/restore", second["id"].as_str().unwrap()),
        Some(json!({"calendar": id})),
    );
    assert_eq!((status, &back["calendar"]), (200, &json!(id)), "{back}");
    // A calendar that a MOVE replaces is a deletion too.
    let request = Request {
        method: "MOVE".to_owned(),
        target: "/dav/calendars/anna/work-2/".to_owned(),
        headers: vec![
            ("Authorization".to_owned(), {
                let text = format!("anna:{}", password("anna"));
                format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(text))
            }),
            ("Destination".to_owned(), "/dav/calendars/anna/work/".to_owned()),
            ("Overwrite".to_owned(), "T".to_owned()),
        ],
        body: Vec::new(),
    };
    assert_eq!(send(door.served.address(), &request).unwrap().status, 204);
    let replaced = door.trash("");
    assert_eq!((replaced.len(), &replaced[0]["events"]), (1, &json!(1)), "{replaced:?}");
}

#[test]
fn the_trash_is_paged_and_needs_the_right_scopes() {
    let door = Door::new(&[Scope::Read]);
    for i in 0..5 {
        let name = format!("calendar/{i}.ics");
        assert_eq!(door.dav("PUT", &name, &event(&format!("{i}@x"), &format!("Event {i}"))).status, 201);
        assert_eq!(door.dav("DELETE", &name, "").status, 204);
    }
    let (_, page) = door.ask("GET", "/trash?limit=2", None);
    assert_eq!(
        (&page["items"][0]["title"], &page["items"][1]["title"]),
        (&json!("Event 4"), &json!("Event 3"))
    );
    let next = page["next_cursor"].as_str().unwrap();
    let (_, page) = door.ask("GET", &format!("/trash?limit=4&cursor={next}"), None);
    assert_eq!((page["items"].as_array().unwrap().len(), &page["next_cursor"]), (3, &Value::Null));
    assert_eq!(page["items"][2]["title"], "Event 0");
    let id = page["items"][0]["id"].as_str().unwrap();
    assert_eq!(door.ask("POST", &format!("/trash/{id}/restore"), None).0, 403);
    assert_eq!(door.ask("DELETE", &format!("/trash/{id}"), None).0, 403);
    for bad in ["x", "0-0", "..%2Fbert%2F1"] {
        assert_eq!(door.ask("GET", &format!("/trash/{bad}"), None).0, 404, "{bad}");
    }
    assert_eq!(door.ask("GET", "/trash?calendar=x", None).0, 422);
}

// S3-064: a deletion on the far side is one into the trash here; what is restored is carried out again
#[tokio::test(flavor = "multi_thread")]
async fn what_a_far_side_deleted_is_restored_on_both_sides() {
    let Some(radicale) = Radicale::start() else { return };
    radicale.calendar(WORK);
    let side = Side::new().await;
    let url = format!("http://{}", radicale.address());
    let mapping = side.map(&url, WORK, Direction::Both, Policy::Newest).await;
    side.put("a.ics", &event("a@x", "Lunch")).await;
    side.sync(&mapping).await;
    let there = format!("{WORK}{}", radicale.names(WORK)[0].replace('@', "%40"));
    radicale.delete(&there);
    let run = side.sync(&mapping).await;
    assert_eq!((run.status, run.local.deleted), (RunStatus::Success, 1), "{run:?}");
    let anna = side.house.principal("anna").await.unwrap().unwrap();
    let session = side
        .house
        .session(anna, Origin::Api { principal: "anna".into(), agent: String::new(), label: String::new() });
    let [gone] = &session.trash(None, 10).await.unwrap()[..] else { panic!("it is not in the trash") };
    assert_eq!(gone.by, Origin::Mapping(mapping.clone()));
    session.restore_trashed(&gone.id, None).await.unwrap();
    let run = side.sync(&mapping).await;
    assert_eq!((run.status, run.remote.inserted), (RunStatus::Success, 1), "{run:?}");
    assert!(radicale.get(&there).unwrap().contains("SUMMARY:Lunch"));
    let run = side.sync(&mapping).await;
    assert_eq!((run.local.total(), run.remote.total()), (0, 0), "{run:?}");
    // A calendar in the trash is not emptied on the far side, and goes on when it is back.
    session.delete_collection(&side.calendar().await, &When::always()).await.unwrap();
    let run = side.sync(&mapping).await;
    assert_eq!(run.status, RunStatus::Failed, "{run:?}");
    assert!(radicale.get(&there).is_some());
    let calendar = session.trash(None, 10).await.unwrap().remove(0);
    assert_eq!(calendar.what, Discarded::Calendar);
    let back = session.restore_trashed(&calendar.id, None).await.unwrap();
    side.bridge.calendar_is_back(back.collection);
    side.put("b.ics", &event("b@x", "Dinner")).await;
    let run = side.sync(&mapping).await;
    assert_eq!((run.status, run.remote.inserted, run.local.total()), (RunStatus::Success, 1, 0), "{run:?}");
    side.later(Duration::from_secs(120));
    let run = side.sync(&mapping).await;
    assert_eq!((run.local.total(), run.remote.total()), (0, 0), "{run:?}");
}

#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_carries_the_trash() {
    let side = Side::new().await;
    side.put("a.ics", &event("a@x", "Lunch")).await;
    side.put("b.ics", &event("b@x", "Dinner")).await;
    side.delete("a.ics").await;
    let anna = side.house.principal("anna").await.unwrap().unwrap();
    let session = side.house.session(anna, Origin::System);
    session.delete_collection(&side.calendar().await, &When::always()).await.unwrap();
    let sink = Sink::default();
    side.house.store.dump(Box::new(sink.clone())).await.unwrap();
    let dump = sink.0.lock().unwrap().clone();
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("db");
    Sled::restore(&path, &Options::default(), Cursor::new(dump)).unwrap();
    let store = Arc::new(Sled::open(&path, Options::default()).unwrap());
    let house = House::new(store, Arc::new(SystemClock), Limits::default());
    assert_eq!(house.verify_trash().await.unwrap(), Vec::<String>::new());
    assert_eq!(house.store.verify(None).await.unwrap().flaws, Vec::<String>::new());
    let session = house.session(house.principal("anna").await.unwrap().unwrap(), Origin::System);
    let all = session.trash(None, 10).await.unwrap();
    assert_eq!(all.len(), 2);
    for trashed in &all {
        session.restore_trashed(&trashed.id, None).await.unwrap();
    }
    let home = session.home().await.unwrap();
    let back = home.child("calendar").await.unwrap().unwrap();
    assert_eq!(back.list(None, 10).await.unwrap().len(), 2);
    assert_eq!(house.store.verify(None).await.unwrap().flaws, Vec::<String>::new());
}

//! Sharing links, the trash and versions, webhooks, on pages as a browser without scripts sees them.

use serde_json::{Value, json};

use crate::app::{App, event};
use crate::dialogue::{Host as _, Request, Response, send};
use crate::pages::{Browser, between, body, location};

/// What a form carries that is sent twice by mistake: its own name, the same both times.
pub(crate) fn once(page: &str) -> String {
    between(page, "name=\"_once\" value=\"", "\"").to_owned()
}

/// Fetches an address as somebody without an account.
fn stranger(app: &App, url: &str) -> Response {
    let target = url.split_once("://").map_or(url, |(_, rest)| &rest[rest.find('/').unwrap()..]);
    let request =
        Request { method: "GET".into(), target: target.to_owned(), headers: vec![], body: Vec::new() };
    send(app.served.address(), &request).unwrap()
}

/// Tells whether what is wrong with a field stands right behind it.
pub(crate) fn wrong_at(page: &str, name: &str, why: &str) -> bool {
    let at = page.find(&format!("name=\"{name}\"")).unwrap_or_else(|| panic!("{name} is not in {page}"));
    let told = page[at..].split("class=\"why\"").nth(1).and_then(|rest| rest.split("</p>").next());
    told.is_some_and(|told| told.contains(why))
}

/// Issue 5: feeds and sharing links: made, shown, changed, given another address, ended; errors at their fields with what was
/// typed; sent twice, it is made once; script in a name is text.
#[test]
fn calendars_are_shared_on_a_page() {
    let app = App::start("read events");
    let mut browser = Browser::anna(&app.served);
    let calendar = app.calendar();
    assert!(body(&browser.get("/sharing")).contains("Nothing is shared"));

    let form = body(&browser.get("/sharing/new"));
    assert!(form.contains(&format!("name=\"calendars\" value=\"{calendar}\"")), "{form}");
    let none = browser.post("/sharing", &[("name", "Kept <b>"), ("scope", "busy")]);
    let text = body(&none);
    assert!(none.status == 422 && wrong_at(&text, "calendars", "Choose at least one calendar."), "{text}");
    assert!(text.contains("value=\"Kept &#60;b&#62;\""), "{text}");
    let wrong = browser.post("/sharing", &[("calendars", &calendar), ("scope", "busy"), ("slug", "No Slug")]);
    let text = body(&wrong);
    assert!(wrong.status == 422 && wrong_at(&text, "slug", "3 to 64 small letters"), "{text}");
    assert!(
        text.contains("value=\"No Slug\"") && text.contains(&format!("value=\"{calendar}\" checked")),
        "{text}"
    );
    assert_eq!(app.get("/feeds")["items"], json!([]));

    let key = once(&form);
    let wish = [
        ("_once", key.as_str()),
        ("calendars", &calendar),
        ("scope", "full"),
        ("name", "<script>alert(1)</script>"),
        ("alarms", "true"),
    ];
    let to = location(&browser.post("/sharing", &wish));
    assert_eq!(location(&browser.post("/sharing", &wish)), to, "a double click does nothing twice");
    let feeds = app.get("/feeds");
    assert_eq!(feeds["items"].as_array().unwrap().len(), 1, "{feeds}");
    let feed = &feeds["items"][0];
    assert_eq!((&feed["alarms"], &feed["scope"]), (&json!(true), &json!("full")));
    for path in ["/sharing", to.as_str()] {
        let page = body(&browser.get(path));
        assert!(!page.contains("<script>alert") && page.contains("&#60;script&#62;alert(1)"), "{page}");
        for name in ["url", "page_url", "webcal_url"] {
            let address = feed[name].as_str().unwrap().split_once("://").unwrap().1;
            let below = &address[address.find('/').unwrap()..];
            assert!(page.contains(below), "{path} has no {below}");
        }
    }
    let old = feed["url"].as_str().unwrap().to_owned();
    assert_eq!(stranger(&app, &old).status, 200);
    assert_eq!(stranger(&app, feed["page_url"].as_str().unwrap()).status, 200);

    // What it shows.
    let page = body(&browser.get(&to));
    let etag = between(&page, "name=\"etag\" value=\"", "\"").to_owned();
    let change = [("calendars", calendar.as_str()), ("scope", "busy"), ("name", "Salon"), ("etag", &etag)];
    assert_eq!(location(&browser.post(&to, &change)), to);
    let feed = app.get("/feeds")["items"][0].clone();
    assert_eq!(
        [&feed["name"], &feed["scope"], &feed["alarms"], &feed["url"]],
        [&json!("Salon"), &json!("busy"), &json!(false), &json!(old)]
    );
    let late = browser.post(&to, &change);
    assert_eq!(late.status, 422, "somebody was quicker: {}", late.show());

    // Another address: of one's choice, wrong at first; sent twice it is exchanged once.
    let taken = browser.post(&format!("{to}/rotate"), &[("slug", "x")]);
    let text = body(&taken);
    assert!(
        taken.status == 422 && wrong_at(&text, "slug", "3 to 64") && text.contains("value=\"x\""),
        "{text}"
    );
    assert!(
        text.contains("name=\"name\" type=\"text\" value=\"Salon\""),
        "the other form is as it was: {text}"
    );
    let key = once(&body(&browser.get(&to)));
    let wish = [("_once", key.as_str()), ("slug", "")];
    assert_eq!(location(&browser.post(&format!("{to}/rotate"), &wish)), to);
    let fresh = app.get("/feeds")["items"][0]["url"].clone();
    assert_eq!(location(&browser.post(&format!("{to}/rotate"), &wish)), to);
    assert_eq!(app.get("/feeds")["items"][0]["url"], fresh);
    assert_eq!((stranger(&app, &old).status, stranger(&app, fresh.as_str().unwrap()).status), (404, 200));

    // Nobody else's; then its end.
    let mut bert = Browser::new(&app.served);
    bert.enter("bert", &crate::dialogue::password("bert"), "/");
    assert_eq!(bert.get(&to).status, 404);
    assert_eq!(bert.post(&to, &change).status, 404);
    for _ in 0..2 {
        assert_eq!(location(&browser.post(&format!("{to}/end"), &[])), "/sharing");
    }
    assert_eq!(stranger(&app, fresh.as_str().unwrap()).status, 404);
    assert_eq!(browser.get(&to).status, 404);
}

/// Issue 5: the trash: what was deleted, by whom; back, also into another calendar; forgotten; emptied. Script is text.
#[test]
fn what_was_deleted_comes_back_from_a_page() {
    let app = App::start("read events");
    let mut browser = Browser::anna(&app.served);
    assert!(body(&browser.get("/trash")).contains("The trash is empty"));
    for (uid, title) in [("a", "Lunch <img src=x>"), ("b", "Dinner"), ("c", "Walk")] {
        let name = format!("{uid}.ics");
        assert_eq!(app.dav("PUT", &name, &event(uid, title, "20260105T090000Z")).status, 201);
        assert_eq!(app.dav("DELETE", &name, "").status, 204);
    }
    let trash = |app: &App| app.get("/trash")["items"].as_array().unwrap().clone();
    let id = |app: &App, uid: &str| {
        let found = trash(app).into_iter().find(|one| one["uid"] == uid).unwrap();
        found["id"].as_str().unwrap().to_owned()
    };
    let page = body(&browser.get("/trash"));
    assert!(page.contains("Lunch &#60;img src=x&#62;") && !page.contains("<img"), "{page}");
    assert!(page.contains("anna, over CalDAV"), "{page}");
    let lunch = format!("/trash/{}", id(&app, "a"));
    let one = body(&browser.get(&lunch));
    assert!(one.contains("Mon 5 Jan 2026, 09:00 (UTC)") && !one.contains("<img"), "{one}");

    // The UID is taken meanwhile: said at the field, nothing is changed.
    assert_eq!(app.dav("PUT", "rival.ics", &event("a", "Rival", "20260105T090000Z")).status, 201);
    let refused = browser.post(&format!("{lunch}/restore"), &[]);
    let text = body(&refused);
    assert!(refused.status == 422 && wrong_at(&text, "calendar", "in the calendar already"), "{text}");
    let (status, other) = app.ask("POST", "/calendars", Some(json!({"display_name": "Other"})));
    assert_eq!(status, 201, "{other}");
    let other = other["id"].as_str().unwrap().to_owned();
    let key = once(&body(&browser.get(&lunch)));
    let wish = [("_once", key.as_str()), ("calendar", other.as_str())];
    for _ in 0..2 {
        assert_eq!(location(&browser.post(&format!("{lunch}/restore"), &wish)), "/trash");
    }
    assert_eq!(app.get(&format!("/calendars/{other}/events/a"))["title"], "Lunch <img src=x>");

    // A calendar goes with what is in it; its events say what to do.
    assert_eq!(
        app.send(&app.token, "DELETE", &format!("/calendars/{other}/events/a"), &[], None).status,
        204
    );
    assert_eq!(app.send(&app.token, "DELETE", &format!("/calendars/{other}"), &[], None).status, 204);
    let gone = browser.post(&format!("/trash/{}/restore", id(&app, "a")), &[]);
    let text = body(&gone);
    assert!(gone.status == 422 && wrong_at(&text, "calendar", "was deleted too"), "{text}");
    let item = trash(&app).into_iter().find(|one| one["kind"] == "calendar").unwrap();
    let back = format!("/trash/{}/restore", item["id"].as_str().unwrap());
    assert_eq!(location(&browser.post(&back, &[])), "/trash");
    assert!(app.get("/calendars")["items"].as_array().unwrap().iter().any(|one| one["id"] == json!(other)));

    let dinner = format!("/trash/{}", id(&app, "b"));
    let mut bert = Browser::new(&app.served);
    bert.enter("bert", &crate::dialogue::password("bert"), "/");
    assert_eq!(
        bert.post(&format!("{dinner}/forget"), &[]).status,
        303,
        "what is somebody else's does not exist"
    );
    assert_eq!(location(&bert.post("/trash/empty", &[])), "/trash");
    assert_eq!(trash(&app).len(), 3, "nor is it emptied");
    for _ in 0..2 {
        assert_eq!(location(&browser.post(&format!("{dinner}/forget"), &[])), "/trash");
    }
    assert_eq!(browser.get(&dinner).status, 404);
    assert_eq!(location(&browser.post("/trash/empty", &[])), "/trash");
    assert_eq!(trash(&app), Vec::<Value>::new());
    assert!(body(&browser.get("/trash")).contains("The trash is empty"));
}

/// Issue 5: an event's versions, who made them with what, what differs field by field, and back to any of them.
#[test]
fn versions_of_an_event_are_compared_and_brought_back() {
    let app = App::start("read events");
    let mut browser = Browser::anna(&app.served);
    let calendar = app.calendar();
    let story = format!("/versions?calendar={calendar}&uid=v%40x");
    assert_eq!(browser.get(&story).status, 404);
    let text = |title: &str, start: &str| event("v@x", title, start);
    assert_eq!(app.dav("PUT", "v.ics", &text("First", "20260105T090000Z")).status, 201);
    assert!(body(&browser.get(&story)).contains("It was never changed"));
    assert_eq!(app.dav("PUT", "v.ics", &text("Second <i>", "20260105T090000Z")).status, 204);
    let (status, _) =
        app.ask("PATCH", &format!("/calendars/{calendar}/events/v@x"), Some(json!({"location": "Hall"})));
    assert_eq!(status, 200);
    let page = body(&browser.get(&story));
    let plain: String = page.split_whitespace().collect::<Vec<_>>().join(" ");
    let row = |words: &str, before: &str, after: &str| {
        let row = format!(
            "<th scope=\"row\">{words}</th><td class=\"lines was\">{before}</td><td class=\"lines is\">{after}</td>"
        );
        plain.contains(&row)
    };
    assert!(row("Title", "First", "Second &#60;i&#62;"), "{plain}");
    assert!(row("Place", "", "Hall"), "{plain}");
    assert!(plain.contains("anna, over CalDAV") && plain.contains("anna, over the API"), "{plain}");
    assert!(page.contains("The first version that is known.") && !page.contains("<i>"), "{page}");

    let first = page.rsplit("name=\"version\" value=\"").next().unwrap().split('"').next().unwrap();
    let key = once(&page);
    let wish = [("_once", key.as_str()), ("calendar", &calendar), ("uid", "v@x"), ("version", first)];
    for _ in 0..2 {
        assert_eq!(location(&browser.post("/versions/restore", &wish)), story);
    }
    assert_eq!(app.get(&format!("/calendars/{calendar}/events/v@x"))["title"], "First");
    let list = app.get(&format!("/calendars/{calendar}/events/v@x/versions"));
    assert_eq!(list["items"].as_array().unwrap().len(), 3, "brought back once: {list}");
    let page = body(&browser.get(&story));
    assert!(page.contains("anna, on the page"), "{page}");

    // Of one that is deleted, too; the form of an event leads there.
    let form = browser.ask(
        "GET",
        &format!("/calendar/event?calendar={calendar}&uid=v%40x"),
        &[("HX-Request", "true")],
        &[],
    );
    assert!(body(&form).contains("/versions?calendar="), "{}", form.show());
    assert_eq!(app.dav("DELETE", "v.ics", "").status, 204);
    let page = body(&browser.get(&story));
    assert!(page.contains("This event is deleted."), "{page}");
    let wish = [("calendar", calendar.as_str()), ("uid", "v@x"), ("version", first)];
    assert_eq!(location(&browser.post("/versions/restore", &wish)), story);
    assert_eq!(app.dav("GET", "v.ics", "").status, 200);
    assert_eq!(
        browser
            .post("/versions/restore", &[("calendar", &calendar), ("uid", "v@x"), ("version", "999")])
            .status,
        404
    );
    let mut bert = Browser::new(&app.served);
    bert.enter("bert", &crate::dialogue::password("bert"), "/");
    assert_eq!((bert.get(&story).status, bert.post("/versions/restore", &wish).status), (404, 404));
}

/// Issue 4: the whole trash is emptied with one call, with the versions of what is nowhere else, and of nobody else.
#[test]
fn the_trash_is_emptied_at_once() {
    let app = App::start("read events");
    let calendar = app.calendar();
    for round in 0..2 {
        for uid in ["a", "b"] {
            let name = format!("{uid}{round}.ics");
            assert_eq!(app.dav("PUT", &name, &event(uid, "One", "20260105T090000Z")).status, 201);
            assert_eq!(app.dav("DELETE", &name, "").status, 204);
        }
    }
    assert_eq!(app.dav("PUT", "b2.ics", &event("b", "Back", "20260105T090000Z")).status, 201);
    let (status, made) = app.ask("POST", "/calendars", Some(json!({"display_name": "Gone"})));
    assert_eq!(status, 201);
    let gone = made["id"].as_str().unwrap();
    assert_eq!(app.ask("DELETE", &format!("/calendars/{gone}"), None).0, 204);
    assert_eq!(app.get("/trash")["items"].as_array().unwrap().len(), 5);
    let reader = app.served.token("anna", "read").unwrap();
    assert_eq!(app.send(&reader, "DELETE", "/trash", &[], None).status, 403);
    for _ in 0..2 {
        assert_eq!(app.ask("DELETE", "/trash", None).0, 204);
        assert_eq!(app.get("/trash")["items"], json!([]));
    }
    assert_eq!(app.ask("GET", &format!("/calendars/{calendar}/events/a/versions"), None).0, 404);
    assert_eq!(app.get(&format!("/calendars/{calendar}/events/b"))["title"], "Back");
    let complaints = app.served.runtime().block_on(app.served.guard().house().verify_trash()).unwrap();
    assert_eq!(complaints, Vec::<String>::new());
}

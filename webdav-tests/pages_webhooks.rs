//! Webhooks on pages, against a receiver of the test: made, told, tried, paused, sent again, given another secret, ended.

use serde_json::json;

use crate::app::{App, event};
use crate::pages::{Browser, between, body, location};
use crate::pages_sharing::{once, wrong_at};
use crate::wait::{eventually, wait_for};
use crate::webhooks::receiver::Receiver;

const ALL: &str = "read events bookings bridges";

fn secret(page: &str) -> String {
    between(page, "class=\"secret\">", "<").to_owned()
}

/// Issue 5, S4-022: webhooks with delivery log. Errors stand at their fields with what was typed; sent twice, one is made; the
/// secret is shown once; script in a name is text.
#[test]
fn a_webhook_is_made_and_its_secret_shown_once() {
    let app = App::with(ALL, &["[bridge]", "allow_private = true"]);
    let receiver = Receiver::start();
    let mut browser = Browser::anna(&app.served);
    assert!(body(&browser.get("/webhooks")).contains("No program is told of anything"));
    let form = body(&browser.get("/webhooks/new"));
    let all = [("url", "ftp://x"), ("which", "all"), ("place", "all"), ("description", "Kept <b>")];
    let wrong = browser.post("/webhooks", &all);
    let text = body(&wrong);
    assert!(wrong.status == 422 && wrong_at(&text, "url", ""), "{text}");
    assert!(text.contains("value=\"ftp://x\"") && text.contains("value=\"Kept &#60;b&#62;\""), "{text}");
    let none =
        browser.post("/webhooks", &[("url", "https://x.example"), ("which", "these"), ("place", "these")]);
    let text = body(&none);
    assert!(none.status == 422 && wrong_at(&text, "events", "or everything"), "{text}");
    assert!(wrong_at(&text, "calendars", "or all calendars"), "{text}");
    assert_eq!(app.get("/webhooks")["items"], json!([]));

    let (key, url, calendar) = (once(&form), receiver.url(), app.calendar());
    let wish = [
        ("_once", key.as_str()),
        ("url", &url),
        ("description", "<script>alert(1)</script>"),
        ("which", "these"),
        ("events", "event.created"),
        ("events", "event.updated"),
        ("events", "event.deleted"),
        ("events", "hold.expired"),
        ("place", "these"),
        ("calendars", &calendar),
    ];
    let made = browser.post("/webhooks", &wish);
    let page = body(&made);
    assert_eq!(made.status, 200, "{page}");
    let told = secret(&page);
    assert!(told.starts_with("whsec_") && !page.contains("<script>alert"), "{page}");
    assert_eq!(secret(&body(&browser.post("/webhooks", &wish))), told, "a double click does nothing twice");
    let list = app.get("/webhooks")["items"].clone();
    assert_eq!(list.as_array().unwrap().len(), 1, "{list}");
    assert_eq!(
        (&list[0]["events"], &list[0]["calendars"]),
        (&json!(["event.*", "hold.*"]), &json!([calendar]))
    );
    let at = format!("/webhooks/{}", list[0]["id"].as_str().unwrap());
    for path in ["/webhooks", at.as_str()] {
        let page = body(&browser.get(path));
        assert!(page.contains("&#60;script&#62;") && !page.contains("<script>alert"), "{page}");
        assert!(!page.contains(&told), "the secret is shown once");
    }
    let page = body(&browser.get(&at));
    for kind in ["event.created", "event.deleted", "hold.expired"] {
        assert!(page.contains(&format!("value=\"{kind}\" checked")), "{kind}: {page}");
    }
    assert!(page.contains("value=\"booking.created\">"), "{page}");

    let etag = between(&page, "name=\"etag\" value=\"", "\"").to_owned();
    let change = [("url", url.as_str()), ("which", "all"), ("place", "all"), ("etag", &etag)];
    assert_eq!(location(&browser.post(&at, &change)), at);
    let hook = app.get(&at);
    assert_eq!(
        [&hook["events"], &hook["calendars"], &hook["description"]],
        [&json!(["*"]), &json!([]), &json!("")]
    );
    assert_eq!(browser.post(&at, &change).status, 422, "somebody was quicker");

    let mut bert = Browser::new(&app.served);
    bert.enter("bert", &crate::dialogue::password("bert"), "/");
    assert_eq!(bert.get(&at).status, 404);
    assert_eq!(bert.post(&format!("{at}/secret"), &[("keep_old_for", "PT0S")]).status, 404);
    for _ in 0..2 {
        assert_eq!(location(&browser.post(&format!("{at}/act"), &[("do", "end")])), "/webhooks");
    }
    assert_eq!(app.get("/webhooks")["items"], json!([]));
}

/// Issue 5: rotation with two valid secrets, a test, pause, resume, deliveries with status, answer and next try, sending again.
#[test]
fn deliveries_are_seen_and_sent_again() {
    let app = App::with(ALL, &["[bridge]", "allow_private = true"]);
    let receiver = Receiver::start();
    let mut browser = Browser::anna(&app.served);
    let (status, hook) =
        app.ask("POST", "/webhooks", Some(json!({"url": receiver.url(), "events": ["event.*"]})));
    assert_eq!(status, 201, "{hook}");
    let at = format!("/webhooks/{}", hook["id"].as_str().unwrap());
    let first = hook["secret"].as_str().unwrap();
    assert!(body(&browser.get(&at)).contains("Nothing was to be told yet."));

    let tested = browser.post(&format!("{at}/test"), &[]);
    assert!(body(&tested).contains("The receiver took it: 204"), "{}", tested.show());
    receiver.status(503);
    let tested = body(&browser.post(&format!("{at}/test"), &[]));
    assert!(tested.contains("did not take it: 503") && tested.contains("as told"), "{tested}");

    // It fails, and the page says when it is tried again.
    assert_eq!(app.dav("PUT", "a.ics", &event("a", "<u>One</u>", "20310106T090000Z")).status, 201);
    assert_eq!(app.dav("PUT", "b.ics", &event("b", "Two", "20310106T090000Z")).status, 201);
    let page = wait_for("a failed try", || body(&browser.get(&at)), |page| page.contains("Tries again"));
    assert!(page.contains("503") && page.contains("Next try"), "{page}");
    wait_for("both wait", || body(&browser.get(&at)), |page| page.contains("after those before it"));
    let act = |browser: &mut Browser<'_>, word: &str| {
        let key = once(&body(&browser.get(&at)));
        browser.post(&format!("{at}/act"), &[("do", word), ("_once", &key)])
    };
    assert_eq!(location(&act(&mut browser, "pause")), at);
    assert!(body(&browser.get(&at)).contains("when it goes on"));
    receiver.status(204);
    receiver.forget();
    assert_eq!(location(&act(&mut browser, "resume")), at);
    eventually("both are taken", || receiver.log().len() == 2);
    let page =
        wait_for("the log says so", || body(&browser.get(&at)), |page| page.matches(">Taken<").count() == 2);

    // One of them, again; all of them, again. Twice by mistake is once.
    let delivery = page.split("/deliveries/").nth(1).unwrap().split('"').next().unwrap();
    let delivery = format!("{at}/deliveries/{delivery}");
    let page = body(&browser.get(&delivery));
    assert!(page.contains("event.created") && page.contains(">204<") && !page.contains("<u>"), "{page}");
    let key = once(&page);
    for _ in 0..2 {
        let to = location(&browser.post(&delivery, &[("_once", &key)]));
        assert_eq!(to.replace("%5F", "_"), delivery);
    }
    assert_eq!(receiver.log().len(), 3);
    let replay = [("do", "replay"), ("since", "720")];
    assert_eq!(location(&browser.post(&format!("{at}/act"), &replay)), at);
    eventually("all of them again", || receiver.log().len() == 5);
    let from = [("do", "replay"), ("from", "2")];
    assert_eq!(location(&browser.post(&format!("{at}/act"), &from)), at);
    eventually("from one on", || receiver.log().len() == 6);

    // Another secret: both sign for a while; sent twice it is exchanged once.
    let key = once(&body(&browser.get(&at)));
    let wish = [("keep_old_for", "P1D"), ("_once", key.as_str())];
    let page = body(&browser.post(&format!("{at}/secret"), &wish));
    let second = secret(&page);
    assert!(page.contains("Until then the old secret signs too"), "{page}");
    assert_eq!(secret(&body(&browser.post(&format!("{at}/secret"), &wish))), second);
    assert!(body(&browser.get(&at)).contains("Two secrets sign until"));
    receiver.forget();
    assert_eq!(app.dav("DELETE", "a.ics", "").status, 204);
    eventually("a message", || !receiver.log().is_empty());
    let got = &receiver.log()[0];
    assert_eq!((got.signed(first), got.signed(&second)), (1, 1), "{:?}", got.headers);
    assert_eq!(browser.get(&format!("{at}/deliveries/msg_x_1")).status, 404);
}

/// Issue 5: the delivery log is read page by page.
#[test]
fn deliveries_are_read_page_by_page() {
    let app = App::with(ALL, &["[bridge]", "allow_private = true"]);
    let receiver = Receiver::start();
    let mut browser = Browser::anna(&app.served);
    let (_, hook) = app.ask("POST", "/webhooks", Some(json!({"url": receiver.url(), "events": ["event.*"]})));
    let at = format!("/webhooks/{}", hook["id"].as_str().unwrap());
    for number in 0..27 {
        let uid = format!("e{number}");
        assert_eq!(
            app.dav("PUT", &format!("{uid}.ics"), &event(&uid, "One", "20310106T090000Z")).status,
            201
        );
    }
    eventually("all are taken", || receiver.log().len() == 27);
    let rows = |page: &str| page.matches("/deliveries/msg_").count();
    let page = body(&browser.get(&at));
    assert!(page.contains("<tr><td>27</td>") && !page.contains("<tr><td>2</td>"), "{page}");
    let older = format!("{at}?cursor={}", between(&page, "?cursor=", "\""));
    let second = body(&browser.get(&older));
    assert!(second.contains("<tr><td>2</td>") && second.contains("<tr><td>1</td>"), "{second}");
    assert!(rows(&second) < rows(&page) && second.contains("The newest"), "{second}");
}

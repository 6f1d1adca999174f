//! Published links: what subscribers get, when nothing changed, when the address changes, and what never leaves.

use serde_json::{Value, json};

use crate::app::{App, document, event, problem};
use crate::dialogue::{Host as _, Request, Response, send};

struct Publisher {
    app: App,
    calendar: String,
}

impl Publisher {
    fn start() -> Publisher {
        let app = App::start("read events");
        let calendar = app.calendar();
        Publisher { app, calendar }
    }

    fn publish(&self, more: Value) -> Value {
        let mut wish = json!({"calendars": [self.calendar]});
        wish.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let (status, feed) = self.app.ask("POST", "/feeds", Some(wish));
        assert_eq!(status, 201, "{feed}");
        feed
    }

    /// Fetches an address as a stranger.
    fn fetch(&self, url: &str, method: &str, headers: &[(&str, &str)]) -> Response {
        let target = url.split_once("://").map_or(url, |(_, rest)| &rest[rest.find('/').unwrap()..]);
        let request = Request {
            method: method.into(),
            target: target.to_owned(),
            headers: headers.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect(),
            body: Vec::new(),
        };
        send(self.app.served.address(), &request).unwrap()
    }

    fn text(&self, feed: &Value) -> String {
        let answer = self.fetch(feed["url"].as_str().unwrap(), "GET", &[]);
        assert_eq!(answer.status, 200, "{}", answer.show());
        String::from_utf8(answer.body).unwrap()
    }
}

/// An event of this moment's day, so that it lies within what is shown.
fn soon(uid: &str, title: &str, more: &str) -> String {
    let day = jiff::Timestamp::now().strftime("%Y%m%d").to_string();
    event(uid, title, &format!("{day}T090000Z")).replace("END:VEVENT", &format!("{more}END:VEVENT"))
}

// S0-002, S0-003, S0-004, S0-005: what readers of feeds expect, with hints when to come back and reminders; and
// nothing can be written through it
#[test]
fn a_feed_is_what_programs_expect_of_one() {
    let publisher = Publisher::start();
    let alarm = "BEGIN:VALARM\r\nACTION:DISPLAY\r\nTRIGGER:-PT10M\r\nDESCRIPTION:x\r\nEND:VALARM\r\n";
    let people = "ATTENDEE:mailto:guest@example.org\r\nORGANIZER:mailto:anna@example.org\r\n";
    let body = soon("meeting", "Meeting", &format!("{people}LOCATION:Room 1\r\n{alarm}"));
    assert_eq!(publisher.app.dav("PUT", "a.ics", &body).status, 201);
    let feed = publisher.publish(json!({"name": "Anna; open"}));
    let url = feed["url"].as_str().unwrap();
    assert_eq!(feed["webcal_url"].as_str().unwrap().split_once("://").unwrap().0, "webcal");
    let answer = publisher.fetch(url, "GET", &[]);
    for (name, value) in [
        ("content-type", "text/calendar; charset=utf-8"),
        ("content-disposition", "inline; filename=\"calendar.ics\""),
        ("referrer-policy", "no-referrer"),
        ("x-robots-tag", "noindex"),
        ("cache-control", "private, max-age=300"),
    ] {
        assert_eq!(answer.all(name), [value], "{}", answer.show());
    }
    let text = String::from_utf8(answer.body.clone()).unwrap();
    for line in [
        "METHOD:PUBLISH",
        "NAME:Anna\\; open",
        "X-WR-CALNAME:Anna\\; open",
        "REFRESH-INTERVAL;VALUE=DURATION:PT15M",
        "X-PUBLISHED-TTL:PT15M",
        "SUMMARY:Meeting",
        "LOCATION:Room 1",
        "BEGIN:VALARM",
    ] {
        assert!(text.lines().any(|l| l == line), "{line} in\n{text}");
    }
    assert!(!text.contains("guest@example.org") && !text.contains("ORGANIZER"), "no people: {text}");
    assert!(text.split("\r\n").all(|line| line.len() <= 75 && !line.contains('\n')), "{text}");
    // The same bytes, and nothing at all for who has them.
    assert_eq!(publisher.fetch(url, "GET", &[]).body, answer.body);
    let tag = answer.all("etag")[0].to_owned();
    let date = answer.all("last-modified")[0].to_owned();
    for headers in [[("If-None-Match", tag.as_str())], [("If-Modified-Since", date.as_str())]] {
        let known = publisher.fetch(url, "GET", &headers);
        assert_eq!((known.status, known.body.len()), (304, 0), "{headers:?}: {}", known.show());
        assert_eq!(known.all("etag"), [tag.as_str()]);
    }
    // HEAD says the same without the text.
    let head = publisher.fetch(url, "HEAD", &[]);
    assert_eq!((head.status, head.body.len(), head.all("etag")), (200, 0, vec![tag.as_str()]));
    // A change is another tag.
    assert_eq!(publisher.app.dav("PUT", "b.ics", &soon("second", "Second", "")).status, 201);
    let changed = publisher.fetch(url, "GET", &[("If-None-Match", &tag)]);
    assert_eq!(changed.status, 200);
    assert!(String::from_utf8_lossy(&changed.body).contains("SUMMARY:Second"));
    assert_eq!(publisher.fetch(url, "PUT", &[]).status, 405);
    // Reminders are left out where that is wished.
    let (status, quiet) = publisher.app.ask(
        "PATCH",
        &format!("/feeds/{}", feed["id"].as_str().unwrap()),
        Some(json!({"alarms": false})),
    );
    assert_eq!((status, &quiet["url"]), (200, &feed["url"]));
    assert!(!publisher.text(&quiet).contains("VALARM"));
}

// S0-004, E26: the name that one document wants, where whoever runs the server asks for it
#[test]
fn a_feed_says_when_to_come_back_in_other_words_too() {
    for (config, count) in
        [(&["[feeds]", "refresh_interval = \"15 min\"", "x_wr_refresh = true"][..], 1), (&[], 0)]
    {
        let app = App::with("read events", config);
        let calendar = app.calendar();
        let publisher = Publisher { app, calendar };
        let text = publisher.text(&publisher.publish(json!({})));
        assert_eq!(text.lines().filter(|line| *line == "X-WR-REFRESH:15min").count(), count, "{text}");
        assert!(text.contains("REFRESH-INTERVAL;VALUE=DURATION:PT15M\r\n"), "{text}");
    }
}

#[test]
fn a_feed_is_compressed_for_who_can_read_that() {
    let publisher = Publisher::start();
    for at in 0..20 {
        let body = soon(&format!("e{at}"), &format!("Event number {at}"), "");
        assert_eq!(publisher.app.dav("PUT", &format!("{at}.ics"), &body).status, 201);
    }
    let feed = publisher.publish(json!({}));
    let url = feed["url"].as_str().unwrap();
    let plain = publisher.fetch(url, "GET", &[]);
    let packed = publisher.fetch(url, "GET", &[("Accept-Encoding", "br, gzip")]);
    assert_eq!((packed.status, packed.all("content-encoding")), (200, vec!["gzip"]));
    assert!(packed.body.len() * 2 < plain.body.len());
    let mut text = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&*packed.body), &mut text).unwrap();
    assert_eq!(text, plain.body);
    // RFC 9110 §8.8.3.3: other bytes, another tag.
    assert_ne!(packed.all("etag"), plain.all("etag"));
    let refused = publisher.fetch(url, "GET", &[("Accept-Encoding", "gzip;q=0")]);
    assert!(refused.all("content-encoding").is_empty());
}

#[test]
fn busy_time_says_nothing_but_when() {
    let publisher = Publisher::start();
    let secret =
        "DESCRIPTION:the secret\r\nLOCATION:the secret\r\nCATEGORIES:the secret\r\nX-OWN:the secret\r\n";
    for (name, body) in [
        ("a.ics", soon("the-secret-uid", "the secret", secret)),
        ("free.ics", soon("free-one", "the secret", "TRANSP:TRANSPARENT\r\n")),
        ("off.ics", soon("cancelled-one", "the secret", "STATUS:CANCELLED\r\n")),
    ] {
        assert_eq!(publisher.app.dav("PUT", name, &body).status, 201);
    }
    let feed = publisher.publish(json!({"scope": "busy", "name": "Busy"}));
    let text = publisher.text(&feed);
    assert!(!text.contains("secret") && !text.contains("X-OWN"), "{text}");
    assert_eq!(text.matches("BEGIN:VEVENT").count(), 1, "{text}");
    assert_eq!(text.matches("SUMMARY:Busy").count(), 1, "{text}");
    let page = publisher.fetch(feed["page_url"].as_str().unwrap(), "GET", &[]);
    let page = String::from_utf8(page.body).unwrap();
    assert!(page.contains("Busy") && !page.contains("secret"), "{page}");
    // A private event of a full feed is busy time too.
    let private = soon("private-secret", "the secret", "CLASS:PRIVATE\r\n");
    assert_eq!(publisher.app.dav("PUT", "p.ics", &private).status, 201);
    let full = publisher.publish(json!({}));
    let text = publisher.text(&full);
    assert!(!text.contains("private-secret") && text.contains("SUMMARY:Busy"), "{text}");
    // And as free-busy, for the next weeks or a time that is named.
    let times = publisher.fetch(feed["freebusy_url"].as_str().unwrap(), "GET", &[]);
    let text = String::from_utf8(times.body).unwrap();
    assert!(
        text.contains("BEGIN:VFREEBUSY") && text.contains("FREEBUSY:") && !text.contains("secret"),
        "{text}"
    );
    let other = format!(
        "{}?start=2020-01-01T00:00:00Z&end=2020-02-01T00:00:00Z",
        feed["freebusy_url"].as_str().unwrap()
    );
    assert!(!String::from_utf8_lossy(&publisher.fetch(&other, "GET", &[]).body).contains("FREEBUSY:"));
    let wrong = format!("{}?start=soon", feed["freebusy_url"].as_str().unwrap());
    assert_eq!(publisher.fetch(&wrong, "GET", &[]).status, 400);
}

// S0-001: a fixed address that its owner chose
#[test]
fn an_address_is_chosen_changed_and_ended() {
    let publisher = Publisher::start();
    let feed = publisher.publish(json!({"slug": "annas-salon"}));
    assert!(feed["url"].as_str().unwrap().ends_with("/feeds/annas-salon.ics"), "{feed}");
    assert_eq!(feed["secret"], false);
    assert_eq!(publisher.fetch("/feeds/annas-salon.ics", "GET", &[]).status, 200);
    let wish = json!({"calendars": [publisher.calendar], "slug": "annas-salon"});
    let taken = publisher.app.send(&publisher.app.token, "POST", "/feeds", &[], Some(&wish));
    problem(&taken, 409, "slug-taken");
    let id = feed["id"].as_str().unwrap();
    let (status, rotated) = publisher.app.ask("POST", &format!("/feeds/{id}/rotate"), Some(json!({})));
    assert_eq!((status, &rotated["secret"]), (200, &json!(true)));
    assert_eq!(publisher.fetch("/feeds/annas-salon.ics", "GET", &[]).status, 404, "the old address is gone");
    let url = rotated["url"].as_str().unwrap().to_owned();
    assert_eq!(publisher.fetch(&url, "GET", &[]).status, 200);
    // The address is free again, for anybody.
    let berts = publisher.app.served.token("bert", "read events").unwrap();
    let calendar =
        document(&publisher.app.send(&berts, "GET", "/calendars", &[], None))["items"][0]["id"].clone();
    let wish = json!({"calendars": [calendar], "slug": "annas-salon"});
    assert_eq!(publisher.app.send(&berts, "POST", "/feeds", &[], Some(&wish)).status, 201);
    // Nobody sees or ends another's.
    problem(&publisher.app.send(&berts, "GET", &format!("/feeds/{id}"), &[], None), 404, "not-found");
    problem(&publisher.app.send(&berts, "DELETE", &format!("/feeds/{id}"), &[], None), 404, "not-found");
    let stolen = json!({"calendars": [publisher.calendar]});
    problem(&publisher.app.send(&berts, "POST", "/feeds", &[], Some(&stolen)), 422, "invalid");
    let old = [("If-Match", "\"old\"")];
    let path = format!("/feeds/{id}");
    problem(&publisher.app.send(&publisher.app.token, "DELETE", &path, &old, None), 412, "stale");
    assert_eq!(publisher.app.ask("DELETE", &path, None).0, 204);
    assert_eq!(publisher.fetch(&url, "GET", &[]).status, 404);
    for wish in [
        json!({}),
        json!({"calendars": []}),
        json!({"calendars": [publisher.calendar], "slug": "No Spaces"}),
        json!({"calendars": [publisher.calendar], "scope": "some"}),
        json!({"calendars": [publisher.calendar], "name": ""}),
    ] {
        let answer = publisher.app.send(&publisher.app.token, "POST", "/feeds", &[], Some(&wish));
        problem(&answer, 422, "invalid");
    }
    for path in ["/feeds/x.ics", "/feeds/x", "/feeds/", "/freebusy/x", "/feeds/x.html"] {
        assert_eq!(publisher.fetch(path, "GET", &[]).status, 404, "{path}");
    }
}

// S0-002: several calendars are one file with one VTIMEZONE each
#[test]
fn several_calendars_are_one_feed_and_script_is_text() {
    let publisher = Publisher::start();
    let (status, other) = publisher.app.ask("POST", "/calendars", Some(json!({"name": "other"})));
    assert_eq!(status, 201);
    let other = other["id"].as_str().unwrap();
    assert_eq!(publisher.app.dav("PUT", "a.ics", &soon("one", "<script>alert(1)</script>", "")).status, 201);
    let day = jiff::Timestamp::now().strftime("%Y-%m-%d").to_string();
    let second = json!({"title": "Two", "start": format!("{day}T10:00:00"), "duration": "PT1H", "time_zone": "Europe/Berlin"});
    assert_eq!(publisher.app.ask("POST", &format!("/calendars/{other}/events"), Some(second)).0, 201);
    let feed = publisher.publish(json!({"calendars": [publisher.calendar, other], "name": "<b>Both</b>"}));
    let text = publisher.text(&feed);
    assert_eq!(text.matches("BEGIN:VEVENT").count(), 2);
    assert_eq!(text.matches("TZID:Europe/Berlin").count(), 1, "one VTIMEZONE: {text}");
    let page = publisher.fetch(feed["page_url"].as_str().unwrap(), "GET", &[]);
    assert!(page.all("content-security-policy")[0].starts_with("default-src 'none'"));
    let page = String::from_utf8(page.body).unwrap();
    assert!(page.contains("&lt;script&gt;") && !page.contains("<script>") && !page.contains("<b>"), "{page}");
    // A calendar in the trash is not shown any more.
    assert_eq!(publisher.app.ask("DELETE", &format!("/calendars/{other}"), None).0, 204);
    assert_eq!(publisher.text(&feed).matches("BEGIN:VEVENT").count(), 1);
}

// RFC 5545 §3.1: what was stored in long lines, with bare breaks or folded within a letter is published as the standard has it
#[test]
fn lines_of_a_feed_are_folded_however_they_were_stored() {
    let publisher = Publisher::start();
    let title = "Stra\u{df}e ".repeat(20);
    assert_eq!(publisher.app.dav("PUT", "long.ics", &soon("long", &title, "")).status, 201);
    let bare = soon("bare", "Bare", "").replace("\r\n", "\n");
    assert_eq!(publisher.app.dav("PUT", "bare.ics", &bare).status, 201);
    // Folded between the two octets of one letter.
    let whole = soon("cut", "Caf\u{e9}", "").into_bytes();
    let at = whole.windows(2).position(|two| two == "\u{e9}".as_bytes()).unwrap() + 1;
    let cut = [&whole[..at], b"\r\n ", &whole[at..]].concat();
    assert_eq!(publisher.app.dav_bytes("PUT", "cut.ics", cut).status, 201);
    let text = publisher.text(&publisher.publish(json!({})));
    assert!(text.split("\r\n").all(|line| line.len() <= 75 && !line.contains('\n')), "{text}");
    let whole = text.replace("\r\n ", "");
    for line in [format!("SUMMARY:{title}"), "SUMMARY:Bare".into(), "SUMMARY:Caf\u{e9}".into()] {
        assert!(whole.contains(&format!("{line}\r\n")), "{line} in\n{whole}");
    }
}

//! Bookings, free times, hours and rules on pages as a browser without scripts sees them.

use serde_json::{Value, json};

use crate::app::{App, event};
use crate::dialogue::Response;
use crate::pages::{Browser, between, body, location};
use crate::pages_sharing::{once, wrong_at};

const ALL: &str = "read events bookings";
const SETTINGS: &str = "/bookings/settings";

/// Returns what the fields of a form hold, as a browser sends it.
fn fields(page: &str) -> Vec<(String, String)> {
    let escapes = [("&#34;", "\""), ("&#39;", "'"), ("&#60;", "<"), ("&#62;", ">"), ("&#38;", "&")];
    let plain = |text: &str| {
        escapes.iter().fold(text.to_owned(), |text, (escaped, plain)| text.replace(escaped, plain))
    };
    let form = page.split("<form method=\"post\" action=\"/bookings/").nth(1).unwrap();
    let form = form.split("</form>").next().unwrap();
    let mut found = Vec::new();
    for part in form.split("<input ").skip(1).map(|part| part.split('>').next().unwrap()) {
        let box_ = part.contains("type=\"checkbox\"") || part.contains("type=\"radio\"");
        if part.contains("name=\"") && (!box_ || part.contains(" checked")) {
            found.push((between(part, "name=\"", "\"").to_owned(), plain(between(part, "value=\"", "\""))));
        }
    }
    for part in form.split("<select ").skip(1).map(|part| part.split("</select>").next().unwrap()) {
        let chosen = part.split("<option ").find(|option| option.contains(" selected"));
        let chosen = chosen.or(part.split("<option ").nth(1)).unwrap();
        found.push((between(part, "name=\"", "\"").to_owned(), plain(between(chosen, "value=\"", "\""))));
    }
    for part in form.split("<textarea ").skip(1).map(|part| part.split("</textarea>").next().unwrap()) {
        found.push((between(part, "name=\"", "\"").to_owned(), plain(part.split_once('>').unwrap().1)));
    }
    found
}

/// Opens the settings, changes some of them, and sends them.
fn settled(browser: &mut Browser<'_>, changes: &[(&str, &str)]) -> Response {
    let page = browser.get(SETTINGS);
    assert_eq!(page.status, 200, "{}", page.show());
    let mut all = fields(&body(&page));
    all.retain(|(name, _)| name != "_word" && !changes.iter().any(|(changed, _)| changed == name));
    all.extend(changes.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())));
    // A box that is not ticked is not sent.
    all.retain(|(_, value)| value != "(none)");
    let all: Vec<(&str, &str)> = all.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
    browser.post(SETTINGS, &all)
}

/// Issue 5: bookings and working hours. Sent as they are, the settings stay as they are, whatever a program had set.
#[test]
fn settings_that_are_kept_unchanged_stay_as_they_are() {
    let app = App::start(ALL);
    let mut browser = Browser::anna(&app.served);
    let same = |browser: &mut Browser<'_>| {
        let before = app.get("/booking-settings");
        let kept = settled(browser, &[]);
        assert_eq!(location(&kept), "/bookings/settings?saved=yes");
        let mut after = app.get("/booking-settings");
        // Days without hours may be told as such.
        if let Some(week) = after.pointer_mut("/hours/weekly").and_then(Value::as_object_mut) {
            week.retain(|_, spans| spans != &json!([]));
        }
        let same = |name: &str| assert_eq!(before[name], after[name], "{name}");
        for name in before
            .as_object()
            .unwrap()
            .keys()
            .filter(|name| !["etag", "availability"].contains(&name.as_str()))
        {
            same(name);
        }
        if before["hours"].is_null() {
            same("availability");
        }
    };
    same(&mut browser);
    let calendar = app.calendar();
    let (status, told) = app.ask(
        "PATCH",
        "/booking-settings",
        Some(json!({
            "calendars": [calendar], "write_calendar": calendar, "time_zone": "Europe/Berlin",
            "hours": {"time_zone": "Europe/Paris", "weekly": {"mon": [{"from": "08:00", "to": "12:00"}, {"from": "13:00", "to": "17:00"}, {"from": "20:00", "to": "24:00"}]},
                "exceptions": [{"date": "2031-12-24", "hours": []}, {"date": "2031-12-31", "hours": [{"from": "10:00", "to": "12:00"}]}]},
            "minimum_notice": "PT90M", "horizon": "P60D", "step": "PT90S", "buffer_before": "PT10M", "buffer_after": "P1DT1H",
            "buffers_around_all": true, "buffer_events": true, "daily_cap": 3, "weekly_cap": 9, "tentative_counts": false,
            "all_day_counts": false, "out_of_office": "free", "focus_time": "busy", "working_location": "as_written",
            "needs_confirmation": true, "attendees": true, "on_cancel": "trash", "hold_for": "PT7M",
            "live_check": {"max_age": "PT3M", "time_limit": "PT4S", "fallback": "pending"},
            "title": "{service} <{name}>", "description": "a 'quoted' line"
        })),
    );
    assert_eq!(status, 200, "{told}");
    same(&mut browser);
    let text = told["availability"].clone();
    let (status, told) = app.ask("PATCH", "/booking-settings", Some(json!({ "availability": text })));
    assert_eq!((status, &told["hours"]), (200, &Value::Null));
    let before = told["availability"].as_str().unwrap().replace("\r\n", "\n");
    assert_eq!(location(&settled(&mut browser, &[])), "/bookings/settings?saved=yes");
    let after = app.get("/booking-settings")["availability"].as_str().unwrap().replace("\r\n", "\n");
    assert_eq!(before.trim(), after.trim());
}

/// Issue 5: the editor of working hours, rules, calendars; what is wrong is said at the day or the field, with what was typed.
#[test]
fn hours_and_rules_are_settled_on_a_page() {
    let app = App::start(ALL);
    let mut browser = Browser::anna(&app.served);
    let calendar = app.calendar();
    let kept = settled(
        &mut browser,
        &[
            ("open", "weekly"),
            ("mon-from-0", "09:00"),
            ("mon-to-0", "12:00"),
            ("mon-from-1", "13:00"),
            ("mon-to-1", "00:00"),
            ("tue-from-0", ""),
            ("tue-to-0", ""),
            ("x0-date", "2031-12-24"),
            ("x1-date", "2031-12-31"),
            ("x1-from-0", "10:00"),
            ("x1-to-0", "12:00"),
            ("time_zone", "Europe/Berlin"),
            ("minimum_notice", "2"),
            ("minimum_notice-unit", "h"),
            ("daily_cap", "4"),
            ("count", "these"),
            ("calendars", &calendar),
            ("needs_confirmation", "true"),
            ("all_day_counts", "(none)"),
        ],
    );
    assert_eq!(location(&kept), "/bookings/settings?saved=yes");
    let told = app.get("/booking-settings");
    let week = &told["hours"]["weekly"];
    assert_eq!(week["mon"], json!([{"from": "09:00", "to": "12:00"}, {"from": "13:00", "to": "24:00"}]));
    assert_eq!((&week["tue"], &week["wed"]), (&json!([]), &json!([{"from": "09:00", "to": "17:00"}])));
    assert_eq!(
        told["hours"]["exceptions"],
        json!([{"date": "2031-12-24", "hours": []}, {"date": "2031-12-31", "hours": [{"from": "10:00", "to": "12:00"}]}])
    );
    assert!(told["availability"].as_str().unwrap().contains("BEGIN:VAVAILABILITY"));
    assert_eq!(
        [&told["minimum_notice"], &told["daily_cap"], &told["needs_confirmation"], &told["all_day_counts"]],
        [&json!("PT2H"), &json!(4), &json!(true), &json!(false)]
    );
    assert_eq!((&told["calendars"], &told["time_zone"]), (&json!([calendar]), &json!("Europe/Berlin")));

    // A date that is cleared is gone.
    assert_eq!(location(&settled(&mut browser, &[("x0-date", "")])), "/bookings/settings?saved=yes");
    let left = app.get("/booking-settings")["hours"]["exceptions"].clone();
    assert_eq!(left, json!([{"date": "2031-12-31", "hours": [{"from": "10:00", "to": "12:00"}]}]));

    let before = app.get("/booking-settings");
    type Row<'a> = (&'a [(&'a str, &'a str)], &'a str, &'a str);
    let rows: [Row<'_>; 9] = [
        (&[("fri-from-0", "17:00"), ("fri-to-0", "09:00")], "fri-to-1", "It ends before it begins."),
        (&[("x1-date", "2031-12-25"), ("x1-from-0", "9"), ("x1-to-0", "10:00")], "x1-to-1", "no time of day"),
        (&[("time_zone", "Mars/Olympus")], "time_zone", "no time zone"),
        (&[("step", "0")], "step", "no duration"),
        (&[("step", "")], "step", "A whole number"),
        (&[("daily_cap", "many")], "daily_cap", "A whole number"),
        (&[("weekly_cap", "0")], "weekly_cap", "at least 1"),
        (&[("calendars", "(none)")], "calendars", "Choose at least one"),
        (&[("live_age", "5"), ("live_limit", "99"), ("live_limit-unit", "s")], "live_limit", "no duration"),
    ];
    for (changes, field, why) in rows {
        let wrong = settled(&mut browser, changes);
        let text = body(&wrong);
        assert!(wrong.status == 422 && wrong_at(&text, field, why), "{changes:?}: {text}");
        for (name, value) in
            changes.iter().filter(|(name, value)| *value != "(none)" && !name.ends_with("-unit"))
        {
            let at = text.find(&format!("name=\"{name}\"")).unwrap();
            assert!(
                text[at..].split('>').next().unwrap().contains(&format!("value=\"{value}\"")),
                "{name}: {text}"
            );
        }
    }
    let wrong = settled(&mut browser, &[("open", "written"), ("availability", "BEGIN:NOTHING")]);
    let text = body(&wrong);
    assert!(wrong.status == 422 && wrong_at(&text, "availability", "not understood"), "{text}");
    assert!(text.contains(">BEGIN:NOTHING</textarea>"), "{text}");
    assert_eq!(app.get("/booking-settings"), before);
    let late = settled(&mut browser, &[("etag", "0000"), ("daily_cap", "5")]);
    assert_eq!(late.status, 422, "somebody was quicker: {}", late.show());

    assert_eq!(
        location(&settled(&mut browser, &[("open", "any"), ("count", "all")])),
        "/bookings/settings?saved=yes"
    );
    let told = app.get("/booking-settings");
    assert_eq!([&told["hours"], &told["availability"], &told["calendars"]], [&Value::Null; 3]);
}

fn booking(app: &App, start: &str, more: Value) -> Value {
    let mut wish = json!({"start": start, "duration": "PT45M", "service": "Haircut", "customer": {"name": "Eva Example"}});
    wish.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let (status, made) = app.ask("POST", "/bookings", Some(wish));
    assert_eq!(status, 201, "{made}");
    made
}

/// Issue 5: upcoming bookings with confirm, reschedule, cancel; one written down by hand, once; what is in the way is said at
/// the time, with what was typed; script is text.
#[test]
fn bookings_are_looked_after_on_a_page() {
    let app = App::start(ALL);
    let mut browser = Browser::anna(&app.served);
    assert!(body(&browser.get("/bookings")).contains("Nobody has booked"));
    let asked = booking(&app, "2031-01-06T09:00:00Z", json!({"status": "pending", "notes": "<b>bold</b>"}));
    let held = booking(&app, "2031-01-06T11:00:00Z", json!({"hold_for": "PT60M"}));
    let sure = booking(&app, "2031-01-06T13:00:00Z", json!({}));
    let page = body(&browser.get("/bookings"));
    let places: Vec<usize> = [&asked, &held, &sure]
        .map(|one| page.find(&format!("/bookings/{}\"", one["id"].as_str().unwrap())).unwrap())
        .into();
    assert!(places.is_sorted(), "the next one first: {page}");
    assert!(page.contains("Held") && page.contains("&#60;b&#62;bold") && !page.contains("<b>bold"), "{page}");
    let waiting = body(&browser.get("/bookings?show=waiting"));
    assert!(
        waiting.contains(asked["id"].as_str().unwrap()) && !waiting.contains(sure["id"].as_str().unwrap())
    );
    let at = |one: &Value| format!("/bookings/{}", one["id"].as_str().unwrap());
    let status = |one: &Value| app.get(&at(one))["status"].as_str().unwrap().to_owned();
    let act = |browser: &mut Browser<'_>, one: &Value, word: &str| {
        browser.post(&format!("{}/act", at(one)), &[("do", word)])
    };

    let key = once(&body(&browser.get(&at(&asked))));
    for _ in 0..2 {
        let form = [("do", "confirm"), ("_once", key.as_str()), ("back", "list")];
        assert_eq!(location(&browser.post(&format!("{}/act", at(&asked)), &form)), "/bookings");
    }
    assert_eq!(status(&asked), "confirmed");
    assert_eq!(location(&act(&mut browser, &held, "confirm")), at(&held));
    assert_eq!(status(&held), "confirmed");
    let again = act(&mut browser, &held, "rejected");
    assert!(again.status == 422 && body(&again).contains("role=\"alert\""), "{}", again.show());

    // Moved, first to where another one is.
    let page = body(&browser.get(&at(&asked)));
    let etag = between(&page, "name=\"etag\" value=\"", "\"").to_owned();
    let to = |start: &'static str, etag: &str| {
        [
            ("start", start.to_owned()),
            ("minutes", "45".to_owned()),
            ("time_zone", "UTC".to_owned()),
            ("etag", etag.to_owned()),
        ]
    };
    let send = |browser: &mut Browser<'_>, form: &[(&str, String)]| {
        let form: Vec<(&str, &str)> = form.iter().map(|(n, v)| (*n, v.as_str())).collect();
        browser.post(&format!("{}/move", at(&asked)), &form)
    };
    let taken = send(&mut browser, &to("2031-01-06T13:15", &etag));
    let text = body(&taken);
    assert!(taken.status == 422 && wrong_at(&text, "start", "takes place from 6 Jan 13:00"), "{text}");
    assert!(text.contains("value=\"2031-01-06T13:15\""), "{text}");
    let none =
        send(&mut browser, &[("start", String::new()), ("minutes", "x".into()), ("etag", etag.clone())]);
    let text = body(&none);
    assert!(
        wrong_at(&text, "start", "Choose a day and a time.") && wrong_at(&text, "minutes", "whole number"),
        "{text}"
    );
    assert_eq!(location(&send(&mut browser, &to("2031-01-07T10:00", &etag))), at(&asked));
    assert_eq!(app.get(&at(&asked))["start"], "2031-01-07T10:00:00Z");

    for _ in 0..2 {
        assert_eq!(location(&act(&mut browser, &sure, "cancelled")), at(&sure));
        assert_eq!(status(&sure), "cancelled");
    }
    let past = body(&browser.get("/bookings?show=past"));
    assert!(
        past.contains(sure["id"].as_str().unwrap()) && !past.contains(held["id"].as_str().unwrap()),
        "{past}"
    );

    // Written down by hand.
    let form = body(&browser.get("/bookings/new?start=2031-01-06T13:00&minutes=30&zone=Europe/Berlin"));
    assert!(
        form.contains("value=\"2031-01-06T13:00\"") && form.contains("value=\"Europe/Berlin\""),
        "{form}"
    );
    let key = once(&form);
    let wish = |start: &'static str| {
        [
            ("_once", key.as_str()),
            ("start", start),
            ("minutes", "30"),
            ("time_zone", "UTC"),
            ("service", "Colour"),
            ("name", "<i>Eva"),
            ("email", "eva@example.org"),
        ]
    };
    let taken = browser.post("/bookings", &wish("2031-01-06T11:30"));
    let text = body(&taken);
    assert!(taken.status == 422 && wrong_at(&text, "start", "takes place from"), "{text}");
    assert!(text.contains("value=\"&#60;i&#62;Eva\"") && text.contains("value=\"Colour\""), "{text}");
    let mut wrong = wish("2031-01-08T13:00").to_vec();
    wrong.retain(|(name, _)| *name != "email");
    wrong.push(("email", "nobody"));
    let text = body(&browser.post("/bookings", &wrong));
    assert!(wrong_at(&text, "email", "no mail address") && text.contains("value=\"nobody\""), "{text}");
    let made = location(&browser.post("/bookings", &wish("2031-01-06T13:00")));
    assert_eq!(
        location(&browser.post("/bookings", &wish("2031-01-06T13:00"))),
        made,
        "a double click books once"
    );
    assert_eq!(app.get(&made)["customer"]["name"], "<i>Eva");
    assert!(!body(&browser.get(&made)).contains("<i>Eva"));

    let mut bert = Browser::new(&app.served);
    bert.enter("bert", &crate::dialogue::password("bert"), "/");
    assert_eq!(
        (bert.get(&made).status, bert.post(&format!("{made}/act"), &[("do", "cancelled")]).status),
        (404, 404)
    );
}

/// Issue 5, B-07, B-21: what is free, and why a slot is not: hours, an event with its title, a booking, the buffer around it.
#[test]
fn a_page_says_why_a_time_is_not_free() {
    let app = App::start(ALL);
    let mut browser = Browser::anna(&app.served);
    let (status, told) = app.ask(
        "PATCH",
        "/booking-settings",
        Some(json!({"time_zone": "Europe/Berlin", "step": "PT30M", "buffer_after": "PT15M",
            "hours": {"weekly": {"mon": [{"from": "09:00", "to": "17:00"}]}}})),
    );
    assert_eq!(status, 200, "{told}");
    assert_eq!(app.dav("PUT", "a.ics", &event("a", "Dentist <b>", "20310106T090000Z")).status, 201);
    let made = booking(&app, "2031-01-06T13:00:00Z", json!({}));
    let page = body(&browser.get("/bookings/free?day=2031-01-06&minutes=60"));
    let plain: String = page.split_whitespace().collect::<Vec<_>>().join(" ");
    for told in [
        "00:00–09:00</strong></p><span class=\"badge \">Closed</span>",
        "17:00–24:00</strong></p><span class=\"badge \">Closed</span>",
        "09:30–10:30</strong></p><span class=\"badge busy\">Event</span>",
        "Dentist &#60;b&#62;",
        "from 6 Jan 10:00 to 6 Jan 11:00.",
        ">Booking</span>",
        ">Buffer</span>",
        ">09:00–10:00</a>",
        "/bookings/new?start=2031-01-06T09:00&amp;minutes=60&amp;zone=Europe%2FBerlin",
    ] {
        assert!(plain.contains(told), "{told} is not in {plain}");
    }
    assert!(!page.contains("<b>"), "{page}");
    let id = made["id"].as_str().unwrap();
    let moving = body(&browser.get(&format!("/bookings/free?day=2031-01-06&minutes=60&booking={id}")));
    assert!(moving.contains(&format!("/bookings/{id}?start=2031-01-06T09:00")), "{moving}");
    let wrong = browser.get("/bookings/free?day=soon&minutes=0&zone=Europe/Berlin");
    let text = body(&wrong);
    assert!(
        wrong.status == 422 && wrong_at(&text, "day", "Choose a day.") && wrong_at(&text, "minutes", "whole"),
        "{text}"
    );
    let zone = browser.get("/bookings/free?day=2031-01-06&minutes=60&zone=Mars/Olympus");
    assert!(zone.status == 422 && wrong_at(&body(&zone), "zone", "no time zone"), "{}", zone.show());
}

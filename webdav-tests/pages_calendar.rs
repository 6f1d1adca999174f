//! The calendar page without its scripts: what its forms do is seen over CalDAV.

use serde_json::Value;

use crate::app::App;
use crate::dialogue::Response;
use crate::pages::{Browser, between, body};

fn events(browser: &mut Browser<'_>, from: &str, to: &str) -> Vec<Value> {
    let answer = browser.get(&format!("/calendar/events?start={from}&end={to}"));
    assert_eq!(answer.status, 200, "{}", answer.show());
    serde_json::from_slice(&answer.body).unwrap()
}

/// Returns what the fields of a form hold.
fn fields(page: &str) -> Vec<(String, String)> {
    let text = |text: &str| {
        text.replace("&#34;", "\"")
            .replace("&#39;", "'")
            .replace("&#60;", "<")
            .replace("&#62;", ">")
            .replace("&#38;", "&")
    };
    let mut found = Vec::new();
    for part in page.split("<input ").skip(1).map(|part| part.split('>').next().unwrap()) {
        if !part.contains("name=\"")
            || ((part.contains("checkbox") || part.contains("radio")) && !part.contains(" checked"))
        {
            continue;
        }
        found.push((between(part, "name=\"", "\"").to_owned(), text(between(part, "value=\"", "\""))));
    }
    for part in page.split("<select ").skip(1).map(|part| part.split("</select>").next().unwrap()) {
        let chosen = part.split("<option ").find(|option| option.contains(" selected"));
        let chosen = chosen.or(part.split("<option ").nth(1)).unwrap();
        found.push((between(part, "name=\"", "\"").to_owned(), text(between(chosen, "value=\"", "\""))));
    }
    let notes = between(page, "name=\"description\"", "</textarea>");
    found.push(("description".into(), text(notes.split_once('>').unwrap().1)));
    found
}

/// Opens a form, changes some of it, and sends it to another address or to its own.
fn sent(browser: &mut Browser<'_>, open: &str, to: &str, changes: &[(&str, &str)]) -> Response {
    let page = browser.ask("GET", open, &[("HX-Request", "true")], &[]);
    assert_eq!(page.status, 200, "{}", page.show());
    let mut all = fields(&body(&page));
    all.retain(|(name, _)| !changes.iter().any(|(changed, _)| changed == name));
    all.extend(changes.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())));
    all.retain(|(_, value)| value != "(none)");
    let all: Vec<(&str, &str)> = all.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
    browser.ask("POST", to, &[("HX-Request", "true")], &all)
}

fn address(event: &Value) -> String {
    let about = &event["extendedProps"];
    let mut text = url::form_urlencoded::Serializer::new(String::from("/calendar/event?"));
    for (name, key) in
        [("calendar", "calendar"), ("uid", "uid"), ("at", "at"), ("from", "from"), ("to", "to")]
    {
        text.append_pair(name, about[key].as_str().unwrap_or_default());
    }
    text.finish()
}

const FORM: &str = "/calendar/event";

/// Issue 5: what is made, changed and removed on the page is what CalDAV clients see; sent twice, it is made once.
#[test]
fn events_are_made_changed_and_removed() {
    let app = App::start("events");
    let mut browser = Browser::anna(&app.served);
    let page = body(&browser.get("/"));
    assert!(page.contains("data-calendar=\"") && page.contains("fullcalendar.js"), "{page}");
    let new = "/calendar/event?start=2026-03-02T09:00&end=2026-03-02T10:00&zone=Europe/Berlin";
    let wrong = sent(&mut browser, new, FORM, &[("title", "Kept <b>"), ("end", "2026-03-02T08:00")]);
    let text = body(&wrong);
    assert_eq!(wrong.status, 422, "{text}");
    let at = text.find("id=\"f-end\"").unwrap();
    assert!(text[at..].split('>').next().unwrap().contains("aria-invalid"), "{text}");
    assert!(
        text.contains("value=\"Kept &#60;b&#62;\"") && text.contains("It ends before it starts."),
        "{text}"
    );
    let wrong = sent(&mut browser, new, FORM, &[("title", "Kept"), ("time_zone", "Mars/Olympus")]);
    assert!(wrong.status == 422 && body(&wrong).contains("value=\"Mars/Olympus\""), "{}", wrong.show());

    let form = browser.ask("GET", new, &[("HX-Request", "true")], &[]);
    let mut all = fields(&body(&form));
    all.retain(|(name, _)| name != "title" && name != "alert");
    all.extend([("title".to_owned(), "Haircut".to_owned()), ("alert".to_owned(), "-PT10M".to_owned())]);
    let all: Vec<(&str, &str)> = all.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
    for _ in 0..2 {
        let made = browser.ask("POST", FORM, &[("HX-Request", "true")], &all);
        assert_eq!((made.status, made.all("hx-trigger")), (200, vec!["done, changed"]), "{}", made.show());
    }
    let list = events(&mut browser, "2026-03-01T00:00:00Z", "2026-03-08T00:00:00Z");
    assert_eq!(list.len(), 1, "{list:?}");
    assert_eq!(list[0]["title"], "Haircut");
    let name = app.get(&format!("/calendars/{}/events", app.calendar()))["items"][0]["name"]
        .as_str()
        .unwrap()
        .to_owned();
    let text = String::from_utf8(app.dav("GET", &name, "").body).unwrap();
    assert!(
        text.contains("DTSTART;TZID=Europe/Berlin:20260302T090000") && text.contains("TRIGGER:-PT10M"),
        "{text}"
    );

    let changed =
        sent(&mut browser, &address(&list[0]), FORM, &[("location", "Salon"), ("start", "2026-03-02T09:30")]);
    assert_eq!(changed.status, 200, "{}", changed.show());
    let text = String::from_utf8(app.dav("GET", &name, "").body).unwrap();
    assert!(
        text.contains("DTSTART;TZID=Europe/Berlin:20260302T093000") && text.contains("LOCATION:Salon"),
        "{text}"
    );
    // An old tag: somebody else was quicker.
    let late = sent(&mut browser, &address(&list[0]), FORM, &[("title", "Late"), ("etag", "0000")]);
    assert!(late.status == 422 && body(&late).contains("Somebody changed this event"), "{}", late.show());
    let gone = sent(&mut browser, &address(&list[0]), "/calendar/event/remove", &[]);
    assert_eq!(gone.status, 200, "{}", gone.show());
    assert_eq!(app.dav("GET", &name, "").status, 404);
}

/// Issue 5: recurring edits, this one or all of them, moved with the mouse too.
#[test]
fn a_series_is_changed_as_it_is_meant() {
    let app = App::start("events");
    let mut browser = Browser::anna(&app.served);
    let series = "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//test//EN\r\nBEGIN:VEVENT\r\nUID:s1\r\nDTSTAMP:20260101T000000Z\r\n\
                  DTSTART;TZID=Europe/Berlin:20260302T090000\r\nDURATION:PT1H\r\nRRULE:FREQ=WEEKLY;COUNT=4\r\n\
                  SUMMARY:Class\r\nX-MINE:kept\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n";
    assert_eq!(app.dav("PUT", "s1.ics", series).status, 201);
    let range = ("2026-03-01T00:00:00Z", "2026-04-01T00:00:00Z");
    let list = events(&mut browser, range.0, range.1);
    assert_eq!(list.len(), 4);
    let text = |app: &App| String::from_utf8(app.dav("GET", "s1.ics", "").body).unwrap();

    let one = sent(
        &mut browser,
        &address(&list[1]),
        FORM,
        &[("title", "Other room"), ("start", "2026-03-09T11:00"), ("end", "2026-03-09T12:00")],
    );
    assert_eq!(one.status, 200, "{}", one.show());
    let now = text(&app);
    assert!(
        now.contains("RECURRENCE-ID;TZID=Europe/Berlin:20260309T090000") && now.contains("20260309T110000"),
        "{now}"
    );
    let all = sent(
        &mut browser,
        &address(&events(&mut Browser::anna(&app.served), range.0, range.1)[2]),
        FORM,
        &[("scope", "all"), ("start", "2026-03-16T10:00"), ("end", "2026-03-16T11:30"), ("location", "Hall")],
    );
    assert_eq!(all.status, 200, "{}", all.show());
    let now = text(&app);
    assert!(
        now.contains("DTSTART;TZID=Europe/Berlin:20260302T100000") && now.contains("LOCATION:Hall"),
        "{now}"
    );
    assert!(
        now.contains("X-MINE:kept")
            && now.contains("RRULE:FREQ=WEEKLY;COUNT=4")
            && now.contains("Other room"),
        "{now}"
    );

    let list = events(&mut browser, range.0, range.1);
    let about = &list[3]["extendedProps"];
    let value = |name: &str| about[name].as_str().unwrap().to_owned();
    let (calendar, at, etag) = (value("calendar"), value("at"), value("etag"));
    let word = browser.word();
    let drag = |browser: &mut Browser<'_>, etag: &str| {
        let form = [
            ("_word", word.as_str()),
            ("calendar", &calendar),
            ("uid", "s1"),
            ("at", &at),
            ("etag", etag),
            ("scope", "this"),
            ("start", "2026-03-24T10:00:00+01:00"),
            ("end", "2026-03-24T11:00:00+01:00"),
            ("all_day", "false"),
        ];
        browser.ask("POST", "/calendar/move", &[("HX-Request", "true")], &form)
    };
    assert_eq!(drag(&mut browser, "0000").status, 412);
    assert_eq!(drag(&mut browser, &etag).status, 204);
    assert!(text(&app).contains("DTSTART;TZID=Europe/Berlin:20260324T100000"), "{}", text(&app));
    let gone = sent(&mut browser, &address(&list[0]), "/calendar/event/remove", &[]);
    assert_eq!(gone.status, 200, "{}", gone.show());
    assert_eq!(events(&mut browser, range.0, range.1).len(), 3);
}

/// Issue 5: script in an event title or place is text; all-day events stay days.
#[test]
fn titles_are_text_and_days_are_days() {
    let app = App::start("events");
    let mut browser = Browser::anna(&app.served);
    let event = "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//test//EN\r\nBEGIN:VEVENT\r\nUID:x1\r\nDTSTAMP:20260101T000000Z\r\n\
                 DTSTART;VALUE=DATE:20260305\r\nDTEND;VALUE=DATE:20260307\r\nSUMMARY:<script>alert(1)</script>\r\n\
                 LOCATION:\"><img src=x onerror=alert(1)>\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n";
    assert_eq!(app.dav("PUT", "x1.ics", event).status, 201);
    let list = events(&mut browser, "2026-03-01T00:00:00Z", "2026-03-08T00:00:00Z");
    assert_eq!((&list[0]["allDay"], &list[0]["start"]), (&Value::Bool(true), &Value::from("2026-03-05")));
    let form = body(&browser.ask("GET", &address(&list[0]), &[("HX-Request", "true")], &[]));
    assert!(!form.contains("<script") && !form.contains("<img"), "{form}");
    let longer = sent(&mut browser, &address(&list[0]), FORM, &[("end_day", "2026-03-08")]);
    assert_eq!(longer.status, 200, "{}", longer.show());
    let text = String::from_utf8(app.dav("GET", "x1.ics", "").body).unwrap();
    assert!(
        text.contains("DTEND;VALUE=DATE:20260309") && text.contains("DTSTART;VALUE=DATE:20260305"),
        "{text}"
    );
}

/// Issue 5: calendars get a name and a colour, and go to the trash.
#[test]
fn calendars_are_made_named_and_removed() {
    let app = App::start("events");
    let mut browser = Browser::anna(&app.served);
    let made = browser.post("/calendar/calendar", &[("display_name", "Family"), ("color", "#2f7d4f")]);
    assert_eq!((made.status, made.all("hx-refresh")), (200, vec!["true"]), "{}", made.show());
    let list = app.get("/calendars");
    let family =
        list["items"].as_array().unwrap().iter().find(|one| one["display_name"] == "Family").unwrap();
    assert_eq!(family["color"], "#2f7d4f");
    let empty = browser.post("/calendar/calendar", &[("display_name", " "), ("color", "#2f7d4f")]);
    assert!(empty.status == 422 && body(&empty).contains("Give it a name."));
    let id = family["id"].as_str().unwrap();
    assert_eq!(browser.post("/calendar/calendar/remove", &[("calendar", id)]).status, 200);
    assert_eq!(app.ask("GET", &format!("/calendars/{id}"), None).0, 404);
}

/// Issue 5: "this and following": the series ends before it, the rest is another event with all that it said.
#[test]
fn this_one_and_those_after_it_are_changed_or_removed() {
    let app = App::start("events");
    let mut browser = Browser::anna(&app.served);
    let series = "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//test//EN\r\nBEGIN:VEVENT\r\nUID:s1\r\nDTSTAMP:20260101T000000Z\r\n\
                  DTSTART;TZID=Europe/Berlin:20260302T090000\r\nDURATION:PT1H\r\nRRULE:FREQ=WEEKLY;COUNT=5\r\n\
                  SUMMARY:Class\r\nX-MINE:kept\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n";
    assert_eq!(app.dav("PUT", "s1.ics", series).status, 201);
    let range = ("2026-03-01T00:00:00Z", "2026-05-01T00:00:00Z");
    let list = events(&mut browser, range.0, range.1);
    let changes = [
        ("scope", "following"),
        ("title", "Later"),
        ("start", "2026-03-16T11:00"),
        ("end", "2026-03-16T12:00"),
    ];
    let changed = sent(&mut browser, &address(&list[2]), FORM, &changes);
    assert_eq!(changed.status, 200, "{}", changed.show());
    let list = events(&mut browser, range.0, range.1);
    let told: Vec<(&str, &str)> = list
        .iter()
        .map(|one| (one["title"].as_str().unwrap(), &one["start"].as_str().unwrap()[..16]))
        .collect();
    let (class, later) = ("Class", "Later");
    let starts =
        ["2026-03-02T09:00", "2026-03-09T09:00", "2026-03-16T11:00", "2026-03-23T11:00", "2026-03-30T11:00"];
    assert_eq!(
        told,
        [(class, starts[0]), (class, starts[1]), (later, starts[2]), (later, starts[3]), (later, starts[4])]
    );
    let uid = list[2]["extendedProps"]["uid"].as_str().unwrap();
    let path = format!("/calendars/{}/events/{uid}", app.calendar());
    let text = app.send(&app.token, "GET", &path, &[("Accept", "text/calendar")], None);
    assert!(body(&text).contains("X-MINE:kept"), "{}", body(&text));
    // Of the first one on: all of them. Those from the last one on: it alone.
    let gone = sent(&mut browser, &address(&list[4]), "/calendar/event/remove", &[("scope", "following")]);
    assert_eq!(gone.status, 200, "{}", gone.show());
    assert_eq!(events(&mut browser, range.0, range.1).len(), 4);
    let gone = sent(&mut browser, &address(&list[0]), "/calendar/event/remove", &[("scope", "following")]);
    assert_eq!(gone.status, 200, "{}", gone.show());
    assert_eq!(events(&mut browser, range.0, range.1).len(), 2);
}

/// Issue 5: a drag of one of a series moves this one, those after it, or all; an instance with times of its own goes along.
#[test]
fn a_drag_asks_how_much_of_a_series_is_meant() {
    let app = App::start("events");
    let mut browser = Browser::anna(&app.served);
    let series = "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//test//EN\r\nBEGIN:VEVENT\r\nUID:s2\r\nDTSTAMP:20260101T000000Z\r\n\
                  DTSTART;TZID=Europe/Berlin:20260302T090000\r\nDURATION:PT1H\r\nRRULE:FREQ=WEEKLY;COUNT=4\r\nSUMMARY:Class\r\n\
                  END:VEVENT\r\nBEGIN:VEVENT\r\nUID:s2\r\nDTSTAMP:20260101T000000Z\r\nRECURRENCE-ID;TZID=Europe/Berlin:20260316T090000\r\n\
                  DTSTART;TZID=Europe/Berlin:20260316T100000\r\nDURATION:PT1H\r\nSUMMARY:Class\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n";
    assert_eq!(app.dav("PUT", "s2.ics", series).status, 201);
    let range = ("2026-03-01T00:00:00Z", "2026-05-01T00:00:00Z");
    let starts = |browser: &mut Browser<'_>| -> Vec<String> {
        events(browser, range.0, range.1)
            .iter()
            .map(|one| one["start"].as_str().unwrap()[..16].to_owned())
            .collect()
    };
    let moved = |browser: &mut Browser<'_>, at: usize, scope: &str, (start, end): (&str, &str)| {
        let list = events(browser, range.0, range.1);
        let about = &list[at]["extendedProps"];
        let text = |name: &str| about[name].as_str().unwrap_or_default().to_owned();
        let fields = [
            ("calendar", text("calendar")),
            ("uid", text("uid")),
            ("at", text("at")),
            ("etag", text("etag")),
            ("was_start", text("from")),
            ("was_end", text("to")),
            ("scope", scope.to_owned()),
            ("all_day", "false".to_owned()),
            ("start", start.to_owned()),
            ("end", end.to_owned()),
        ];
        let fields: Vec<(&str, &str)> = fields.iter().map(|(n, v)| (*n, v.as_str())).collect();
        browser.post("/calendar/move", &fields)
    };
    // The one with times of its own, and those after it, a day later.
    let answer =
        moved(&mut browser, 2, "following", ("2026-03-17T10:00:00+01:00", "2026-03-17T11:00:00+01:00"));
    assert_eq!(answer.status, 204, "{}", answer.show());
    let told = ["2026-03-02T09:00", "2026-03-09T09:00", "2026-03-17T10:00", "2026-03-24T09:00"];
    assert_eq!(starts(&mut browser), told);
    let answer = moved(&mut browser, 1, "this", ("2026-03-09T12:00:00+01:00", "2026-03-09T13:00:00+01:00"));
    assert_eq!(answer.status, 204, "{}", answer.show());
    let answer = moved(&mut browser, 0, "all", ("2026-03-03T09:00:00+01:00", "2026-03-03T10:30:00+01:00"));
    assert_eq!(answer.status, 204, "{}", answer.show());
    let told = ["2026-03-03T09:00", "2026-03-09T12:00", "2026-03-17T10:00", "2026-03-24T09:00"];
    assert_eq!(starts(&mut browser), told);
    // Somebody was faster.
    let list = events(&mut browser, range.0, range.1);
    let uid = list[3]["extendedProps"]["uid"].as_str().unwrap();
    let fields = [("calendar", app.calendar()), ("uid", uid.to_owned()), ("etag", "0000".to_owned())];
    let mut fields: Vec<(&str, &str)> = fields.iter().map(|(n, v)| (*n, v.as_str())).collect();
    fields.extend([("start", "2026-03-25T09:00:00+01:00"), ("end", "2026-03-25T10:00:00+01:00")]);
    let answer = browser.post("/calendar/move", &fields);
    assert_eq!(answer.status, 412, "{}", answer.show());
}

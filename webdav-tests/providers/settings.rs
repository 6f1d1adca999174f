//! What whoever runs the server settles about accounts and mappings.

use serde_json::{Value, json};
use url::Url;

use super::{Site, date, event};
use crate::wait::eventually;

fn refused(site: &Site, path: &str, body: Value) -> (u16, String, String) {
    let (status, problem) = site.house.api("POST", path, Some(body));
    let of = |name: &str| problem[name].as_str().unwrap_or_default().to_owned();
    (status, of("field"), of("detail"))
}

// E6, S0-018, S1-054, S1-095, S2-083: any number of calendars of an account; `primary` is its main one
#[test]
fn calendars_are_chosen_or_the_main_one_is_named() {
    let site = Site::start("google");
    let offered = site.offered();
    let names: Vec<&str> = offered.iter().map(|c| c["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["anna@example.com", "Holidays in Switzerland", "Team"], "{offered:?}");
    let color = |c: &Value| c["color"].as_str().unwrap().len() == 7;
    assert!(offered.iter().all(color), "{offered:?}");
    let id = site.map(json!({"remote_calendar": "primary"}));
    let (_, mapping) = site.house.api("GET", &format!("/mappings/{id}"), None);
    assert_eq!(mapping["remote_calendar"], json!("anna@example.com"));
    // Another spelling is the same calendar.
    assert_eq!(refused(&site, "/mappings", site.wish(json!({}))).0, 409);
    site.map(json!({"remote_calendar": offered[2]["id"]}));
    // What cannot be written there is only read.
    let holidays = json!({"remote_calendar": offered[1]["id"]});
    assert_eq!(refused(&site, "/mappings", site.wish(holidays.clone())).0, 422);
    let mut reads = holidays;
    reads["direction"] = json!("pull");
    site.map(reads);
}

// E6, S1-054, S2-002: one calendar of each account, and only the main one is offered
#[test]
fn a_server_may_limit_which_calendars_are_mapped() {
    let site = Site::with("google", &["mapping_limit = 1", "primary_only = true"]);
    let offered = site.offered();
    assert_eq!(offered.len(), 1, "{offered:?}");
    assert_eq!(offered[0]["primary"], json!(true));
    let (status, field, _) =
        refused(&site, "/mappings", site.wish(json!({"remote_calendar": "team@group.calendar.google.com"})));
    assert_eq!((status, field.as_str()), (422, "remote_calendar"));
    site.map(json!({}));
    let site = Site::with("google", &["mapping_limit = 1"]);
    site.map(json!({}));
    let team = site.wish(json!({"remote_calendar": "team@group.calendar.google.com"}));
    let (status, field, detail) = refused(&site, "/mappings", team);
    assert_eq!((status, field.as_str()), (422, "remote_calendar"), "{detail}");
    assert!(detail.starts_with("One calendar"), "{detail}");
    // Both ends of a link count.
    let site = Site::with("google", &["mapping_limit = 1"]);
    let (first, second) = (site.offered()[0]["id"].clone(), json!("team@group.calendar.google.com"));
    let end = |calendar: &Value| json!({"connection": site.connection["id"], "remote_calendar": calendar});
    let link = json!({"from": end(&first), "to": end(&second)});
    let (status, field, detail) = refused(&site, "/mappings/link", link);
    assert_eq!((status, field.as_str()), (422, "to.remote_calendar"), "{detail}");
    site.map(json!({}));
}

// E23, S2-012, S4-049: which way, if nobody says; both unless the server is set up otherwise
#[test]
fn a_new_mapping_goes_the_way_that_the_server_says() {
    for (more, way) in [(vec![], "both"), (vec!["default_direction = \"pull\""], "pull")] {
        let site = Site::with("caldav", &more);
        let id = site.map(json!({}));
        let (_, mapping) = site.house.api("GET", &format!("/mappings/{id}"), None);
        assert_eq!(mapping["direction"], json!(way));
        // Whoever says otherwise is heard.
        assert_eq!(site.house.api("DELETE", &format!("/mappings/{id}"), None).0, 204);
        let id = site.map(json!({"direction": "push"}));
        let (_, mapping) = site.house.api("GET", &format!("/mappings/{id}"), None);
        assert_eq!(mapping["direction"], json!("push"));
    }
}

// E30, S0-016, S2-090: at once, or with the next look
#[test]
fn changes_go_out_at_once_or_with_the_next_look() {
    for push in ["immediate", "scheduled"] {
        let site = Site::start("caldav");
        let mapping = site.map(json!({"push": push}));
        site.pass(&mapping);
        // Whatever was begun by the first look is over.
        std::thread::sleep(std::time::Duration::from_millis(300));
        site.put("a.ics", &event("a", &format!("DTSTART:{}T090000Z|SUMMARY:x", date(2))));
        if push == "immediate" {
            eventually("the way out", || site.there().contains_key("a"));
            continue;
        }
        std::thread::sleep(std::time::Duration::from_secs(2));
        assert!(!site.there().contains_key("a"), "it waits for the next look");
        site.pass(&mapping);
        eventually("the way out", || site.there().contains_key("a"));
    }
}

// S2-014, S2-015: what rests carries nothing, whoever asks; what happened meanwhile is carried afterwards
#[test]
fn a_mapping_that_rests_carries_nothing() {
    let site = Site::start("caldav");
    let mapping = site.map(json!({}));
    site.pass(&mapping);
    let path = format!("/mappings/{mapping}");
    let (status, shown) = site.house.api("PATCH", &path, Some(json!({"enabled": false})));
    assert_eq!((status, &shown["status"]), (200, &json!("disabled")), "{shown}");
    assert!(shown["updated_at"].as_str() > shown["created_at"].as_str(), "{shown}");
    site.put("a.ics", &event("a", &format!("DTSTART:{}T090000Z|SUMMARY:ours", date(2))));
    site.elsewhere("b", &event("b", &format!("DTSTART:{}T100000Z|SUMMARY:theirs", date(2))));
    let before = site.far.log().count();
    let (status, _) = site.house.api("POST", "/sync", None);
    assert_eq!(status, 202);
    std::thread::sleep(std::time::Duration::from_secs(1));
    assert_eq!(site.far.log().count(), before, "nobody is asked anything");
    assert_eq!((site.here().len(), site.there().len()), (1, 1));
    assert_eq!(site.house.api("PATCH", &path, Some(json!({"enabled": true}))).0, 200);
    eventually("both ways", || site.here().len() == 2 && site.there().len() == 2);
}

// E18, S1-052: feeds can be switched off
#[test]
fn a_server_may_do_without_feeds() {
    let site = Site::with("caldav", &["feeds = false"]);
    let before = site.far.log().count();
    let body = json!({"url": format!("{}/feed.ics", site.far.url())});
    let (status, field, detail) = refused(&site, "/connections/ics", body);
    assert_eq!((status, field.as_str()), (422, "provider"), "{detail}");
    assert!(detail.contains("switched off"), "{detail}");
    assert_eq!(site.far.log().count(), before);
}

// S1-072, S1-073, E11: people come back to the address that is registered, if one is given; whatever is there sends them on
#[test]
fn people_come_back_to_the_address_that_is_registered() {
    for kind in ["google", "outlook"] {
        let registered = format!("https://www.example.org/calendar/{kind}");
        // The far side gives tokens to nobody who names another address than at first.
        let site = Site::with(kind, &[&format!("+redirect_uri = \"{registered}\"")]);
        let (_, made) = site.house.api("POST", &format!("/connections/{kind}"), Some(json!({})));
        let ask = Url::parse(made["authorization_url"].as_str().unwrap()).unwrap();
        let redirect = ask.query_pairs().find(|(name, _)| name == "redirect_uri").unwrap().1.into_owned();
        assert_eq!(redirect, registered);
    }
}

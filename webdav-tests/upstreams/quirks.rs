//! More of what CalDAV servers do differently, and whether the page about it is true.

use super::*;

fn status(code: u16, headers: &[(&str, &str)], text: Option<&str>) -> Fault {
    let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Fault::Status { code, body: None, text: text.map(str::to_owned), headers }
}

/// What goes wrong with reports of changes.
fn changes(fault: Fault) -> Rule {
    Rule::on("REPORT", "/dav/calendars/anna/calendar/", fault)
}

// Nextcloud: who asks for some changes is told no more of the others
#[tokio::test]
async fn a_limit_is_never_asked_for() {
    let far = Far::start(Quirks { limit_silent_cut: true, ..Quirks::default() }).await;
    let since = far.cursor().await;
    far.upstream.fill(30, NOW).await.unwrap();
    assert_eq!(names(&far.look(Some(&since)).await.unwrap()).len(), 30);
    assert_eq!(names(&far.look(None).await.unwrap()).len(), 30);
}

// Purelymail: what was just written is found by no search for three minutes
#[tokio::test]
async fn what_a_search_does_not_find_yet_is_not_taken_for_gone() {
    let clock = Clock::fixed(NOW * 1000);
    let upstream = Arc::new(Upstream::start("anna", "geheim", clock.clone()).await.unwrap());
    let options = Options { clock, ..Options::default() };
    let server = Server::start(options, Arc::clone(&upstream) as Arc<_>).await.unwrap();
    upstream.has(Quirks { search_lag: Some(180), uid_conflict: UidConflict::Conflict, ..Quirks::default() });
    let caldav = discover(&server).await.unwrap();
    let all = caldav.calendars().await.unwrap();
    let calendar = all.into_iter().find(|c| c.name == "Calendar").unwrap().id;
    let far = Far { upstream, server, caldav, calendar };
    let object = json!({ "text": event("a", "One"), "name": "other-name.ics" });
    far.server.act(&Act::CreateElsewhere { calendar: "calendar".into(), object }).unwrap();
    // A listing has it at once, and so has a question by name; the search for the twin of its UID does not.
    let page = far.look(None).await.unwrap();
    assert_eq!(names(&page), ["other-name.ics"]);
    assert_eq!(far.read(&[page.seen[0].id.clone()]).await.len(), 1);
    let refused = far.add("a", "Mine").await;
    assert!(matches!(refused, Err(Trouble::Refused(_))), "{refused:?}");
    assert_eq!(far.objects().as_object().unwrap().len(), 1, "nothing was doubled");
    // Later the same attempt finds it.
    far.server.act(&Act::Clock { now: None, advance: 181_000 }).unwrap();
    match far.add("a", "Mine").await {
        Err(Trouble::Taken(Some(id))) => assert!(id.0.ends_with("/other-name.ics"), "{id}"),
        other => panic!("{other:?}"),
    }
    // Where searching is all there is, what it does not find yet is looked for by name before it counts as gone.
    far.upstream.has(Quirks { search_lag: Some(180), no_listing: true, ..Quirks::default() });
    far.elsewhere("b", "Two");
    assert_eq!(names(&far.look(None).await.unwrap()), ["other-name.ics"]);
    let fresh = far.caldav.place(&far.calendar, "b").unwrap();
    assert_eq!(far.read(&[fresh]).await.len(), 1);
}

// Open-Xchange (mailbox.org): nothing is changed or removed without a condition
#[tokio::test]
async fn a_server_that_wants_a_condition_is_given_one() {
    let far = Far::start(Quirks { if_match_required: true, ..Quirks::default() }).await;
    let id = far.add("a", "One").await.unwrap().id;
    let seen = far.one(&id).await;
    far.replace(&seen, event("a", "Two")).await.unwrap();
    // No state was told: what is there now is the condition.
    let unknown = Seen { version: None, ..far.one(&id).await };
    far.replace(&unknown, event("a", "Three")).await.unwrap();
    assert!(far.objects()["a.ics"].as_str().unwrap().contains("SUMMARY:Three"));
    far.caldav.delete(&far.calendar, &id, None).await.unwrap();
    assert_eq!(far.objects(), json!({}));
}

// Zimbra, DavMail: a member stands in the answer twice
#[tokio::test]
async fn what_is_named_twice_is_one() {
    let far =
        Far::start(Quirks { doubled_href: true, uid_conflict: UidConflict::Conflict, ..Quirks::default() })
            .await;
    let since = far.cursor().await;
    far.elsewhere("a", "One");
    far.elsewhere("b", "Two");
    far.removed_elsewhere("b.ics");
    for page in [far.look(None).await.unwrap(), far.look(Some(&since)).await.unwrap()] {
        assert_eq!(page.seen.iter().filter(|seen| seen.id.0.ends_with("/a.ics")).count(), 1, "{page:?}");
        assert!(page.gone.len() <= 1, "{page:?}");
    }
    let id = far.look(None).await.unwrap().seen.remove(0).id;
    assert_eq!(far.read(&[id.clone(), far.caldav.place(&far.calendar, "b").unwrap()]).await.len(), 1);
    // A search that names the twin twice names one.
    far.removed_elsewhere("a.ics");
    let object = json!({ "text": event("c", "One"), "name": "other-name.ics" });
    far.server.act(&Act::CreateElsewhere { calendar: "calendar".into(), object }).unwrap();
    assert!(matches!(far.add("c", "Mine").await, Err(Trouble::Taken(Some(_)))));
}

// Synology, DavMail, mail.ru: nobody says who is signed in
#[tokio::test]
async fn a_server_without_principals_is_asked_for_the_calendars_themselves() {
    let (upstream, server) = upstream().await;
    upstream.has(Quirks { no_principal: true, ..Quirks::default() });
    let caldav = discover(&server).await.unwrap();
    assert_eq!(caldav.calendars().await.unwrap().len(), 2);
}

// iCloud: `allprop` names no types, and a principal asked for its members is refused
#[tokio::test]
async fn properties_are_named_and_principals_asked_for_themselves_alone() {
    let far = Far::start(Quirks { strict_propfind: true, ..Quirks::default() }).await;
    far.add("a", "One").await.unwrap();
    assert_eq!(names(&far.look(None).await.unwrap()), ["a.ics"]);
}

// Some servers find other words for a token that they do not know
#[tokio::test]
async fn a_token_may_be_refused_in_any_words() {
    for code in [400, 403, 409, 412] {
        let far = Far::start(Quirks::default()).await;
        let since = far.cursor().await;
        far.server.fault(changes(status(code, &[], None)));
        assert_eq!(far.look(Some(&since)).await.unwrap_err(), Trouble::CursorExpired, "{code}");
    }
}

// DavMail, SmarterMail: names end as they like
#[tokio::test]
async fn objects_are_known_whatever_their_names_end_with() {
    let far = Far::start(Quirks::default()).await;
    for name in ["one.EML", "two.eml", "three"] {
        let object = json!({ "text": event(name, "x"), "name": name });
        far.server.act(&Act::CreateElsewhere { calendar: "calendar".into(), object }).unwrap();
    }
    let page = far.look(None).await.unwrap();
    assert_eq!(names(&page), ["one.EML", "three", "two.eml"]);
    let seen = far.one(&page.seen[0].id).await;
    let text = String::from_utf8(seen.bytes.to_vec()).unwrap();
    far.replace(&seen, text.replace("SUMMARY:x", "SUMMARY:y")).await.unwrap();
}

// Yandex: an at sign in a path is encoded
#[tokio::test]
async fn an_at_sign_in_a_name_is_encoded() {
    let far = Far::start(Quirks::default()).await;
    let place = far.caldav.place(&far.calendar, "a@example.org").unwrap();
    assert!(place.0.ends_with("/a%40example.org.ics"), "{place}");
    let written = far.add("a@example.org", "One").await.unwrap();
    assert_eq!(written.id, place);
    assert_eq!(names(&far.look(None).await.unwrap()).len(), 1);
}

// Radicale: a fresh account has no calendar
#[tokio::test]
async fn an_account_without_calendars_has_none() {
    let (_upstream, server) = upstream().await;
    for calendar in ["calendar", "tasks"] {
        let with = json!({ "calendar": calendar });
        server.act(&Act::Own { name: "remove_calendar".into(), with }).unwrap();
    }
    assert_eq!(discover(&server).await.unwrap().calendars().await.unwrap(), []);
}

// What was carried out before the redirect would meet itself and be taken for a stranger's
#[tokio::test]
async fn a_new_event_is_not_sent_twice_over_a_redirect() {
    let far = Far::start(Quirks::default()).await;
    for code in [301, 302, 303] {
        let fault = status(code, &[("location", "/dav/calendars/anna/calendar/b.ics")], None);
        far.server.fault(Rule::on("PUT", "*", fault));
        let told = far.add("a", "One").await.unwrap_err();
        assert!(matches!(&told, Trouble::Unreachable(why) if why.contains("redirects")), "{told:?}");
    }
    assert_eq!((far.objects(), far.writes()), (json!({}), 3));
}

// A multiget that names an event and says nothing of it has not read it: that is no empty event, and none that is gone
#[tokio::test]
async fn empty_content_is_unread_and_not_gone() {
    let far = Far::start(Quirks::default()).await;
    for uid in ["a", "b"] {
        far.elsewhere(uid, "One");
    }
    let ids: Vec<RemoteId> = far.look(None).await.unwrap().seen.into_iter().map(|seen| seen.id).collect();
    let rows: String = ids
        .iter()
        .map(|id| {
            format!(
                "<D:response><D:href>{id}</D:href><D:propstat><D:prop><D:getetag>\"1\"</D:getetag><C:calendar-data/>\
                 </D:prop><D:status>HTTP/1.1 200 OK</D:status></D:propstat></D:response>"
            )
        })
        .collect();
    let empty = format!(
        "<D:multistatus xmlns:D='DAV:' xmlns:C='urn:ietf:params:xml:ns:caldav'>{rows}</D:multistatus>"
    );
    far.server.fault(changes(status(207, &[], Some(&empty))));
    let read = far.read(&ids).await;
    assert_eq!(read.iter().map(|seen| seen.bytes.len()).collect::<Vec<_>>(), [0, 0]);
    assert!(far.read(&ids).await.iter().all(|seen| !seen.bytes.is_empty()), "a moment later it is there");
}

/// The names of the tests in some sources.
pub(crate) fn tests_in(folders: &[&str]) -> std::collections::BTreeSet<String> {
    fn read(path: &std::path::Path, found: &mut std::collections::BTreeSet<String>) {
        if path.is_dir() {
            std::fs::read_dir(path).unwrap().for_each(|entry| read(&entry.unwrap().path(), found));
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            let text = std::fs::read_to_string(path).unwrap();
            let mut after_mark = false;
            for line in text.lines().map(str::trim) {
                if let Some(name) = line.strip_prefix("async fn ").or_else(|| line.strip_prefix("fn ")) {
                    if after_mark {
                        found.insert(name.split('(').next().unwrap().to_owned());
                    }
                    after_mark = false;
                } else if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
                    after_mark = true;
                }
            }
        }
    }
    let mut found = std::collections::BTreeSet::new();
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    folders.iter().for_each(|folder| read(&root.join(folder), &mut found));
    found
}

/// The rows of the tables of a page, cell by cell, without heads.
pub(crate) fn rows(page: &str) -> Vec<Vec<String>> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(page);
    let text = std::fs::read_to_string(path).unwrap();
    let row = |line: &str| -> Vec<String> {
        let line = line.trim().trim_start_matches('|').trim_end_matches('|');
        line.split(" | ").map(|cell| cell.trim().to_owned()).collect()
    };
    text.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| --")).map(row).collect()
}

// Whatever the page says is done, a test shows; every test of a quirk is on the page
#[test]
fn the_page_about_servers_names_tests_that_exist() {
    let known = tests_in(&["webdav-tests/upstreams.rs", "webdav-tests/upstreams", "src/bridge/caldav"]);
    let mut named = std::collections::BTreeSet::new();
    for row in rows("docs/providers/caldav.md").into_iter().chain(rows("docs/providers/icloud.md")) {
        let Some(test) = row.get(2).filter(|cell| cell.starts_with('`')) else {
            assert!(
                row.first()
                    .is_some_and(|cell| cell.starts_with("the server") || cell.starts_with("of iCloud")),
                "{row:?}"
            );
            continue;
        };
        for test in test.split(", ").map(|test| test.trim_matches('`')) {
            assert!(known.contains(test), "there is no test {test}");
            named.insert(test.to_owned());
        }
    }
    assert!(named.len() > 30, "{}", named.len());
    let own = tests_in(&["webdav-tests/upstreams/quirks.rs"]);
    let left: Vec<_> =
        own.iter().filter(|test| !named.contains(*test) && !test.starts_with("the_page")).collect();
    assert!(left.is_empty(), "not on the page: {left:?}");
}

//! Bridging a calendar with a real CalDAV server (Radicale), both ways, with everything that goes wrong between.

pub(crate) mod proxy;
pub(crate) mod radicale;
pub(crate) mod side;

use std::time::Duration;

use kalends::auth::grant::Secret;
use kalends::bridge::provider::Trouble;
use kalends::bridge::record::{ConflictStatus, Direction, Health, Policy, RunStatus};
use kalends::bridge::{BridgeError, Mirrored};

use self::proxy::{Bad, Proxy};
use self::radicale::Radicale;
use self::side::Side;

const WORK: &str = "/anna/work/";

/// Starts Radicale with the calendar `/anna/work/`, or skips the test.
macro_rules! radicale {
    () => {
        match Radicale::start() {
            Some(radicale) => {
                radicale.calendar(WORK);
                radicale
            }
            None => return,
        }
    };
}

fn url(radicale: &Radicale) -> String {
    format!("http://{}/", radicale.address())
}

fn event(uid: &str, lines: &str) -> String {
    let text = format!(
        "BEGIN:VCALENDAR\nVERSION:2.0\nPRODID:-//test//test//EN\nBEGIN:VEVENT\nUID:{uid}\nDTSTAMP:20260101T000000Z\n\
         DTSTART:20260105T090000Z\nDTEND:20260105T100000Z\n{lines}END:VEVENT\nEND:VCALENDAR\n"
    );
    text.replace('\n', "\r\n")
}

/// Runs once more and shows that neither side is touched.
async fn settled(side: &Side, radicale: &Radicale, mapping: &str) {
    // A pass that wrote may be told of its own writes once; that is listened to and left alone.
    for _ in 0..2 {
        let (rev, files) = (side.rev().await, radicale.files(WORK));
        let run = side.sync(mapping).await;
        assert_eq!(run.status, RunStatus::Success, "{run:?}");
        assert_eq!((run.local.total(), run.remote.total(), run.conflicts), (0, 0, 0), "{run:?}");
        assert_eq!(side.rev().await, rev, "a second run wrote here");
        assert_eq!(radicale.files(WORK), files, "a second run wrote there");
    }
}

/// Maps a new side's calendar through the proxy, with so many events that both agree on.
async fn in_step(proxy: &Proxy, events: usize) -> (Side, String) {
    let side = Side::new().await;
    for n in 0..events {
        side.put(&format!("{n}.ics"), &event(&format!("{n}@x"), "SUMMARY:E\n")).await;
    }
    let mapping = side.map(&proxy.url(), WORK, Direction::Both, Policy::Newest).await;
    assert_eq!(side.sync(&mapping).await.remote.inserted, u64::try_from(events).unwrap());
    (side, mapping)
}

/// Two events that only the far side has.
fn two_new_ones(radicale: &Radicale) {
    for n in ["new", "new2"] {
        radicale.put(&format!("/anna/work/{n}.ics"), &event(&format!("{n}@x"), "SUMMARY:New\n"));
    }
}

// S3-055, S3-056, S3-058, S3-059, S3-060, S4-007, S4-008: a first sync matches by UID and doubles nothing
#[tokio::test(flavor = "multi_thread")]
async fn a_first_sync_unites_both_sides_and_doubles_nothing() {
    let radicale = radicale!();
    let side = Side::new().await;
    let same = event("same@x", "SUMMARY:Same\n");
    side.put("mine.ics", &same).await;
    radicale.put("/anna/work/theirs.ics", &same);
    side.put("differs.ics", &event("differs@x", "SUMMARY:Old\nLAST-MODIFIED:20260101T000000Z\nX-OURS:1\n"))
        .await;
    radicale.put(
        "/anna/work/d.ics",
        &event("differs@x", "SUMMARY:New\nLAST-MODIFIED:20260102T000000Z\nLOCATION:There\n"),
    );
    side.put("here.ics", &event("here@x", "SUMMARY:Here\nX-PRIVATE;X-P=\"a;b\":kept\n")).await;
    radicale.put("/anna/work/there.ics", &event("there@x", "SUMMARY:There\n"));
    let mapping = side.map(&url(&radicale), WORK, Direction::Both, Policy::Newest).await;
    let run = side.sync(&mapping).await;
    assert_eq!(run.status, RunStatus::Success, "{run:?}");
    assert_eq!((run.local.inserted, run.remote.inserted), (1, 1), "{run:?}");
    assert_eq!((run.local.deleted, run.remote.deleted), (0, 0), "{run:?}");
    assert_eq!(side.names().await, ["differs.ics", "here.ics", "mine.ics", "there.ics"]);
    assert_eq!(radicale.names(WORK).len(), 4);
    let here = side.get("differs.ics").await.unwrap();
    assert!(
        here.contains("SUMMARY:New") && here.contains("X-OURS:1") && here.contains("LOCATION:There"),
        "{here}"
    );
    let there = radicale.get("/anna/work/d.ics").unwrap();
    assert!(there.contains("SUMMARY:New") && there.contains("X-OURS:1"), "{there}");
    assert_eq!(side.get("mine.ics").await.unwrap(), same, "what is equal stays byte for byte");
    settled(&side, &radicale, &mapping).await;
}

// S0-013, S2-055, S2-056, S2-058, S2-059, S3-002, S3-063, S3-065, S3-066, S4-048, S4-068
#[tokio::test(flavor = "multi_thread")]
async fn changes_travel_both_ways() {
    let radicale = radicale!();
    let side = Side::new().await;
    let mapping = side.map(&url(&radicale), WORK, Direction::Both, Policy::Newest).await;
    side.sync(&mapping).await;
    // Made here.
    side.put("a.ics", &event("a@x", "SUMMARY:One\nX-PRIVATE:kept\n")).await;
    let run = side.sync(&mapping).await;
    assert_eq!((run.remote.inserted, run.local.total()), (1, 0), "{run:?}");
    let name = "/anna/work/a%40x.ics";
    assert!(radicale.get(name).unwrap().contains("SUMMARY:One"), "{:?}", radicale.names(WORK));
    // Made there.
    radicale.put("/anna/work/b.ics", &event("b@x", "SUMMARY:Two\n"));
    let run = side.sync(&mapping).await;
    assert_eq!((run.local.inserted, run.remote.total()), (1, 0), "{run:?}");
    assert!(side.get("b.ics").await.unwrap().contains("SUMMARY:Two"));
    // Changed here, changed there: different events.
    side.put("b.ics", &event("b@x", "SUMMARY:Two b\n")).await;
    let text = radicale.get(name).unwrap().replace("SUMMARY:One", "SUMMARY:One a");
    radicale.put(name, &text);
    let run = side.sync(&mapping).await;
    assert_eq!((run.local.updated, run.remote.updated), (1, 1), "{run:?}");
    let here = side.get("a.ics").await.unwrap();
    assert!(here.contains("SUMMARY:One a") && here.contains("X-PRIVATE:kept"), "{here}");
    assert!(radicale.get("/anna/work/b.ics").unwrap().contains("SUMMARY:Two b"));
    settled(&side, &radicale, &mapping).await;
    // Removed here, removed there.
    side.delete("a.ics").await;
    radicale.delete("/anna/work/b.ics");
    let run = side.sync(&mapping).await;
    assert_eq!((run.local.deleted, run.remote.deleted), (1, 1), "{run:?}");
    assert!(side.names().await.is_empty() && radicale.names(WORK).is_empty());
    settled(&side, &radicale, &mapping).await;
}

const SERIES: &str = "BEGIN:VCALENDAR\nVERSION:2.0\nPRODID:-//test//test//EN\nBEGIN:VTIMEZONE\nTZID:Europe/Berlin\n\
    BEGIN:STANDARD\nDTSTART:19961027T030000\nRRULE:FREQ=YEARLY;BYDAY=-1SU;BYMONTH=10\nTZOFFSETFROM:+0200\n\
    TZOFFSETTO:+0100\nTZNAME:CET\nEND:STANDARD\nBEGIN:DAYLIGHT\nDTSTART:19810329T020000\n\
    RRULE:FREQ=YEARLY;BYDAY=-1SU;BYMONTH=3\nTZOFFSETFROM:+0100\nTZOFFSETTO:+0200\nTZNAME:CEST\nEND:DAYLIGHT\n\
    END:VTIMEZONE\nBEGIN:VEVENT\nUID:series@x\nDTSTAMP:20260101T000000Z\n\
    DTSTART;TZID=Europe/Berlin:20260105T090000\nDTEND;TZID=Europe/Berlin:20260105T100000\n\
    RRULE:FREQ=WEEKLY;COUNT=8\nEXDATE;TZID=Europe/Berlin:20260119T090000\nSUMMARY:Team\nEND:VEVENT\nBEGIN:VEVENT\n\
    UID:series@x\nDTSTAMP:20260101T000000Z\nRECURRENCE-ID;TZID=Europe/Berlin:20260112T090000\n\
    DTSTART;TZID=Europe/Berlin:20260113T110000\nDTEND;TZID=Europe/Berlin:20260113T120000\nSUMMARY:Team moved\n\
    END:VEVENT\nEND:VCALENDAR\n";

// S1-056, S2-050, S4-050, S4-052: series with a moved and a cancelled instance, both ways
#[tokio::test(flavor = "multi_thread")]
async fn series_with_moved_and_cancelled_instances_travel_whole() {
    let radicale = radicale!();
    let side = Side::new().await;
    let mapping = side.map(&url(&radicale), WORK, Direction::Both, Policy::Newest).await;
    side.put("s.ics", SERIES).await;
    side.sync(&mapping).await;
    let path = format!("{WORK}{}", radicale.names(WORK)[0].replace('@', "%40"));
    let there = radicale.get(&path).unwrap();
    for part in [
        "RECURRENCE-ID;TZID=Europe/Berlin:20260112T090000",
        "EXDATE;TZID=Europe/Berlin:20260119T090000",
        "BEGIN:VTIMEZONE",
        "20260113T110000",
    ] {
        assert!(there.contains(part), "{part} is missing there: {there}");
    }
    settled(&side, &radicale, &mapping).await;
    // There another instance is cancelled and one is moved; here the title changes.
    let changed = there
        .replace(
            "EXDATE;TZID=Europe/Berlin:20260119T090000",
            "EXDATE;TZID=Europe/Berlin:20260119T090000,20260126T090000",
        )
        .replace("20260113T110000", "20260113T150000")
        .replace("20260113T120000", "20260113T160000");
    assert_ne!(changed, there);
    radicale.put(&path, &changed);
    let here = side.get("s.ics").await.unwrap().replace("SUMMARY:Team\r\n", "SUMMARY:Crew\r\n");
    side.put("s.ics", &here).await;
    let run = side.sync(&mapping).await;
    assert_eq!((run.status, run.conflicts), (RunStatus::Success, 0), "{run:?}");
    let (here, there) = (side.get("s.ics").await.unwrap(), radicale.get(&path).unwrap());
    for (text, whose) in [(&here, "here"), (&there, "there")] {
        let unfolded = text.replace("\r\n ", "");
        for part in [
            "SUMMARY:Crew",
            "20260126T090000",
            "20260119T090000",
            "DTSTART;TZID=Europe/Berlin:20260113T150000",
            "SUMMARY:Team moved",
        ] {
            assert!(unfolded.contains(part), "{part} is missing {whose}: {text}");
        }
    }
    settled(&side, &radicale, &mapping).await;
    // A new instance is cancelled by a client here that also drops the moved one.
    let here = side.get("s.ics").await.unwrap();
    let from =
        here.find("BEGIN:VEVENT\r\nUID:series@x\r\nDTSTAMP:20260101T000000Z\r\nRECURRENCE-ID").unwrap();
    let to = here[from..].find("END:VEVENT\r\n").unwrap() + from + "END:VEVENT\r\n".len();
    side.put("s.ics", &format!("{}{}", &here[..from], &here[to..])).await;
    side.sync(&mapping).await;
    assert!(!radicale.get(&path).unwrap().contains("RECURRENCE-ID"));
    settled(&side, &radicale, &mapping).await;
}

/// Brings one event to both sides and then changes it on both.
async fn clash(
    side: &Side,
    radicale: &Radicale,
    policy: Policy,
    ours: &str,
    theirs: &str,
) -> (String, String) {
    side.put("e.ics", &event("e@x", "SUMMARY:Base\nLAST-MODIFIED:20260101T000000Z\n")).await;
    let mapping = side.map(&url(radicale), WORK, Direction::Both, policy).await;
    side.sync(&mapping).await;
    let path = "/anna/work/e%40x.ics".to_owned();
    side.put("e.ics", &event("e@x", ours)).await;
    radicale.put(&path, &event("e@x", theirs));
    (mapping, path)
}

// S2-062, E1, E31, S1-004, S3-003, S3-069, S4-061, S4-062: who wins a clash
#[tokio::test(flavor = "multi_thread")]
async fn the_policy_decides_what_clashes() {
    let at =
        |summary: &str, second: u32| format!("SUMMARY:{summary}\nLAST-MODIFIED:20260102T0000{second:02}Z\n");
    for (policy, ours, theirs, winner) in [
        (Policy::Newest, 30, 10, "Ours"),
        (Policy::Newest, 10, 30, "Theirs"),
        (Policy::Newest, 14, 10, "Theirs"),
        (Policy::External, 30, 10, "Theirs"),
        (Policy::Local, 10, 30, "Ours"),
    ] {
        let radicale = radicale!();
        let side = Side::new().await;
        let (mapping, path) = clash(
            &side,
            &radicale,
            policy,
            &format!("{}LOCATION:Room 1\n", at("Ours", ours)),
            &format!("{}DESCRIPTION:Bring tea\n", at("Theirs", theirs)),
        )
        .await;
        let run = side.sync(&mapping).await;
        assert_eq!((run.status, run.conflicts), (RunStatus::Success, 1), "{policy:?} {run:?}");
        for text in [side.get("e.ics").await.unwrap(), radicale.get(&path).unwrap()] {
            assert!(text.contains(&format!("SUMMARY:{winner}")), "{policy:?} {ours} {theirs}: {text}");
            // What does not clash is kept from both, whoever wins.
            assert!(
                text.contains("LOCATION:Room 1") && text.contains("DESCRIPTION:Bring tea"),
                "{policy:?}: {text}"
            );
        }
        let kept = side.bridge.conflicts("anna", Some(&mapping), 10).await.unwrap();
        assert_eq!(kept.len(), 1);
        assert!(kept[0].local.as_ref().unwrap().contains("Ours"), "both versions are kept");
        assert!(kept[0].external.as_ref().unwrap().contains("Theirs"));
        assert!(kept[0].base.as_ref().unwrap().contains("Base"));
        settled(&side, &radicale, &mapping).await;
    }
}

// S3-076
#[tokio::test(flavor = "multi_thread")]
async fn edits_of_different_fields_merge_without_a_word() {
    for policy in [Policy::Newest, Policy::External, Policy::Local, Policy::Ask] {
        let radicale = radicale!();
        let side = Side::new().await;
        let (mapping, path) =
            clash(&side, &radicale, policy, "SUMMARY:Ours\n", "SUMMARY:Base\nLOCATION:There\n").await;
        let run = side.sync(&mapping).await;
        assert_eq!((run.status, run.conflicts), (RunStatus::Success, 0), "{run:?}");
        for text in [side.get("e.ics").await.unwrap(), radicale.get(&path).unwrap()] {
            assert!(text.contains("SUMMARY:Ours") && text.contains("LOCATION:There"), "{policy:?}: {text}");
        }
        assert!(side.bridge.conflicts("anna", None, 10).await.unwrap().is_empty());
        settled(&side, &radicale, &mapping).await;
    }
}

// S2-057, S4-063
#[tokio::test(flavor = "multi_thread")]
async fn ask_leaves_both_sides_alone_until_somebody_decides() {
    for (decision, here, there) in [
        (ConflictStatus::ResolvedLocal, "Ours", "Ours"),
        (ConflictStatus::ResolvedExternal, "Theirs", "Theirs"),
        (ConflictStatus::Ignored, "Ours", "Theirs"),
    ] {
        let radicale = radicale!();
        let side = Side::new().await;
        let (mapping, path) =
            clash(&side, &radicale, Policy::Ask, "SUMMARY:Ours\n", "SUMMARY:Theirs\n").await;
        let run = side.sync(&mapping).await;
        assert_eq!((run.conflicts, run.local.total(), run.remote.total()), (1, 0, 0), "{run:?}");
        // It waits through further passes and a restart, and is raised once.
        settled(&side, &radicale, &mapping).await;
        let side = side.restart().await;
        settled(&side, &radicale, &mapping).await;
        let open = side.bridge.conflicts("anna", None, 10).await.unwrap();
        assert_eq!((open.len(), open[0].status), (1, ConflictStatus::Pending));
        side.bridge.resolve("anna", &open[0].id, decision, Default::default(), String::new()).await.unwrap();
        let run = side.sync(&mapping).await;
        assert_eq!(run.status, RunStatus::Success, "{run:?}");
        let text = side.get("e.ics").await.unwrap();
        assert!(text.contains(&format!("SUMMARY:{here}")), "{decision:?} {text}");
        let text = radicale.get(&path).unwrap();
        assert!(text.contains(&format!("SUMMARY:{there}")), "{decision:?} {text}");
        settled(&side, &radicale, &mapping).await;
        let again =
            side.bridge.resolve("anna", &open[0].id, decision, Default::default(), String::new()).await;
        assert!(matches!(again, Err(BridgeError::Conflict(_))), "{again:?}");
        // Later changes travel again.
        radicale.put(&path, &event("e@x", "SUMMARY:Later\n"));
        side.sync(&mapping).await;
        assert!(side.get("e.ics").await.unwrap().contains("SUMMARY:Later"));
    }
}

// S3-070: An edit beats a deletion, on either side
#[tokio::test(flavor = "multi_thread")]
async fn an_edit_beats_a_deletion() {
    let radicale = radicale!();
    let side = Side::new().await;
    side.put("a.ics", &event("a@x", "SUMMARY:A\n")).await;
    side.put("b.ics", &event("b@x", "SUMMARY:B\n")).await;
    let mapping = side.map(&url(&radicale), WORK, Direction::Both, Policy::Newest).await;
    side.sync(&mapping).await;
    side.delete("a.ics").await;
    radicale.put("/anna/work/a%40x.ics", &event("a@x", "SUMMARY:A edited\n"));
    radicale.delete("/anna/work/b%40x.ics");
    side.put("b.ics", &event("b@x", "SUMMARY:B edited\n")).await;
    let run = side.sync(&mapping).await;
    assert_eq!(run.status, RunStatus::Success, "{run:?}");
    assert_eq!(side.names().await.len(), 2);
    assert!(radicale.get("/anna/work/b%40x.ics").unwrap().contains("B edited"));
    settled(&side, &radicale, &mapping).await;
}

// S2-060, S4-006
#[tokio::test(flavor = "multi_thread")]
async fn a_restart_in_the_middle_doubles_and_loses_nothing() {
    let radicale = radicale!();
    let proxy = Proxy::before(radicale.address());
    let side = Side::new().await;
    for n in 0..12 {
        side.put(&format!("{n}.ics"), &event(&format!("{n}@x"), &format!("SUMMARY:Event {n}\n"))).await;
        radicale.put(&format!("/anna/work/r{n}.ics"), &event(&format!("r{n}@x"), "SUMMARY:Theirs\n"));
    }
    let mapping = side.map(&proxy.url(), WORK, Direction::Both, Policy::Newest).await;
    // The sixth write is carried out there, but its answer never comes, nor any other; then the process is gone.
    let count = std::sync::atomic::AtomicUsize::new(0);
    proxy.fault(move |request| {
        let put = usize::from(request.method == "PUT");
        let writes = count.fetch_add(put, std::sync::atomic::Ordering::SeqCst) + put;
        (writes > 5).then_some(Bad::Swallow)
    });
    let run = side.sync(&mapping).await;
    assert_eq!(run.status, RunStatus::Failed, "{run:?}");
    let side = side.restart().await;
    proxy.well();
    let run = side.sync(&mapping).await;
    assert_eq!(run.status, RunStatus::Success, "{run:?}");
    assert_eq!((side.names().await.len(), radicale.names(WORK).len()), (24, 24));
    settled(&side, &radicale, &mapping).await;
}

// S3-062, S3-131, S3-132, S3-171
#[tokio::test(flavor = "multi_thread")]
async fn the_far_side_goes_down_and_comes_back() {
    let mut radicale = radicale!();
    let side = Side::new().await;
    side.put("a.ics", &event("a@x", "SUMMARY:A\n")).await;
    let mapping = side.map(&url(&radicale), WORK, Direction::Both, Policy::Newest).await;
    side.sync(&mapping).await;
    radicale.down();
    side.put("a.ics", &event("a@x", "SUMMARY:A changed\n")).await;
    for (failures, wait) in [(1, 60), (2, 300), (3, 900)] {
        let run = side.sync(&mapping).await;
        assert_eq!(run.status, RunStatus::Failed, "{run:?}");
        let state = side.state(&mapping).await;
        assert_eq!(state.pace.failures, failures);
        assert_eq!(state.pace.next.unwrap().0 - run.ended.unwrap().0, wait * 1000, "E24");
        assert!(state.sentence.contains("cannot be reached"), "{}", state.sentence);
    }
    let connections = side.bridge.connections("anna").await.unwrap();
    assert_eq!(connections[0].1.health, Health::Error);
    radicale.up();
    let run = side.sync(&mapping).await;
    assert_eq!((run.status, run.remote.updated), (RunStatus::Success, 1), "{run:?}");
    assert_eq!(side.bridge.connections("anna").await.unwrap()[0].1.health, Health::Active);
    settled(&side, &radicale, &mapping).await;
}

// S1-005, S2-020, S3-086, S4-077
#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_said_clearly_and_stops_nobody_else() {
    let radicale = radicale!();
    radicale.calendar_as("bert:geheim-2", "/bert/work/");
    let side = Side::new().await;
    let bad = side.bridge.connect_caldav("anna", &url(&radicale), "anna", Secret::new("wrong")).await;
    assert!(matches!(bad, Err(BridgeError::Far(Trouble::Unauthorised(_)))), "{bad:?}");
    assert!(side.bridge.connections("anna").await.unwrap().is_empty(), "nothing is remembered");
    let mapping = side.map(&url(&radicale), WORK, Direction::Both, Policy::Newest).await;
    let bert =
        side.bridge.connect_caldav("anna", &url(&radicale), "bert", Secret::new("geheim-2")).await.unwrap();
    let remote = side.bridge.remote_calendars("anna", &bert.id).await.unwrap().remove(0).id;
    let other = side.map_to(&bert.id, remote, Direction::Both, Policy::Newest).await;
    radicale.set_passwords(&[("anna", "changed"), ("bert", "geheim-2")]);
    side.put("a.ics", &event("a@x", "SUMMARY:A\n")).await;
    let run = side.sync(&mapping).await;
    assert_eq!(run.status, RunStatus::Failed);
    let all = side.bridge.connections("anna").await.unwrap();
    let (connection, state) = all.iter().find(|(c, _)| c.username == "anna").unwrap();
    assert_eq!(state.health, Health::TokenExpired);
    assert!(state.sentence.contains("password"), "{}", state.sentence);
    assert_eq!(side.state(&mapping).await.pace.next, None, "a wrong password is not tried again by itself");
    // The other one goes on.
    assert_eq!(side.sync(&other).await.remote.inserted, 1);
    // A wrong new password changes nothing, the right one mends all, and the mapping is still there.
    let wrong = side.bridge.reconnect("anna", &connection.id, None, Some(Secret::new("guess"))).await;
    assert!(matches!(wrong, Err(BridgeError::Far(Trouble::Unauthorised(_)))));
    side.bridge.reconnect("anna", &connection.id, None, Some(Secret::new("changed"))).await.unwrap();
    let run = side.sync(&mapping).await;
    assert_eq!((run.status, run.remote.inserted), (RunStatus::Success, 1), "{run:?}");
}

/// A listing of a calendar with nothing in it.
const EMPTY: &str = "<?xml version='1.0'?><multistatus xmlns='DAV:' xmlns:C='urn:ietf:params:xml:ns:caldav'><response>\
    <href>/anna/work/</href><propstat><prop><resourcetype><collection/><C:calendar/></resourcetype></prop>\
    <status>HTTP/1.1 200 OK</status></propstat></response></multistatus>";

fn header<'a>(request: &'a crate::dialogue::Request, name: &str) -> &'a str {
    let found = request.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name));
    found.map_or("", |(_, value)| value.as_str())
}

// Deletion safety: an empty, cut or refused answer is never a deletion
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_empty_by_mistake_deletes_nothing() {
    let radicale = radicale!();
    let proxy = Proxy::before(radicale.address());
    let (side, mapping) = in_step(&proxy, 3).await;
    // The position is forgotten and the listing comes empty, over and over.
    proxy.fault(|request| match (request.method.as_str(), header(request, "depth")) {
        ("REPORT", _) if String::from_utf8_lossy(&request.body).contains("sync-collection") => {
            Some(Bad::Answer(403, vec![], "<error xmlns='DAV:'><valid-sync-token/></error>".into()))
        }
        ("PROPFIND", "1") => {
            Some(Bad::Answer(207, vec![("Content-Type".into(), "application/xml".into())], EMPTY.into()))
        }
        _ => None,
    });
    for _ in 0..3 {
        side.later(Duration::from_secs(3600));
        let run = side.sync(&mapping).await;
        assert_eq!(run.status, RunStatus::Deferred, "{run:?}");
        assert_eq!((side.names().await.len(), radicale.names(WORK).len()), (3, 3));
    }
    let hold = side.state(&mapping).await.hold.unwrap();
    assert!(hold.sentence.contains("empty"), "{hold:?}");
    // The far side comes to its senses: all goes on by itself.
    proxy.well();
    let run = side.sync(&mapping).await;
    assert_eq!((run.status, run.local.total(), run.remote.total()), (RunStatus::Success, 0, 0), "{run:?}");
    assert_eq!(side.state(&mapping).await.hold, None);
    settled(&side, &radicale, &mapping).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn broken_answers_delete_nothing() {
    let radicale = radicale!();
    let proxy = Proxy::before(radicale.address());
    let (side, mapping) = in_step(&proxy, 3).await;
    two_new_ones(&radicale);
    let html = || Bad::Answer(200, vec![("Content-Type".into(), "text/html".into())], "<html>Sign in".into());
    let faults: Vec<(&str, proxy::Fault)> = vec![
        ("cut off", Box::new(|r| (r.method == "REPORT").then_some(Bad::Cut(100)))),
        ("a page of HTML", Box::new(move |_| Some(html()))),
        ("an empty body", Box::new(|_| Some(Bad::Answer(207, vec![], String::new())))),
        (
            "half of the XML",
            Box::new(|r| {
                (r.method == "REPORT").then(|| Bad::Answer(207, vec![], EMPTY[..EMPTY.len() - 20].into()))
            }),
        ),
        ("an error", Box::new(|_| Some(Bad::Answer(500, vec![], "oops".into())))),
        ("gone", Box::new(|_| Some(Bad::Answer(404, vec![], "not here".into())))),
    ];
    for (what, fault) in faults {
        proxy.fault(fault);
        side.later(Duration::from_secs(60));
        let run = side.sync(&mapping).await;
        assert_eq!(run.status, RunStatus::Failed, "{what}: {run:?}");
        assert!(!run.failures[0].reason.is_empty());
        assert_eq!((side.names().await.len(), radicale.names(WORK).len()), (3, 5), "{what}");
    }
    proxy.well();
    let run = side.sync(&mapping).await;
    assert_eq!((run.status, run.local.inserted), (RunStatus::Success, 2), "{run:?}");
    settled(&side, &radicale, &mapping).await;
}

// An answer for many that lacks some is no deletion: each is asked for by itself
#[tokio::test(flavor = "multi_thread")]
async fn what_an_answer_for_many_lacks_is_asked_for_one_by_one() {
    let radicale = radicale!();
    let proxy = Proxy::before(radicale.address());
    let (side, mapping) = in_step(&proxy, 3).await;
    two_new_ones(&radicale);
    proxy.fault(|r| {
        String::from_utf8_lossy(&r.body)
            .contains("multiget")
            .then(|| Bad::Answer(207, vec![], "<multistatus xmlns='DAV:'/>".into()))
    });
    let run = side.sync(&mapping).await;
    assert_eq!((run.status, run.local.inserted, run.local.deleted), (RunStatus::Success, 2, 0), "{run:?}");
    assert_eq!((side.names().await.len(), radicale.names(WORK).len()), (5, 5));
    settled(&side, &radicale, &mapping).await;
}

// bridge.mass_delete_limit: above 20 and 30 %
#[tokio::test(flavor = "multi_thread")]
async fn deletions_in_bulk_wait_for_a_word() {
    let radicale = radicale!();
    let side = Side::new().await;
    for n in 0..40 {
        side.put(&format!("{n:02}.ics"), &event(&format!("{n:02}@x"), "SUMMARY:E\n")).await;
    }
    let mapping = side.map(&url(&radicale), WORK, Direction::Both, Policy::Newest).await;
    assert_eq!(side.sync(&mapping).await.remote.inserted, 40);
    // Twenty are few enough.
    for n in 0..20 {
        radicale.delete(&format!("/anna/work/{n:02}%40x.ics"));
    }
    assert_eq!(side.sync(&mapping).await.local.deleted, 20);
    for n in 40..60 {
        side.put(&format!("{n:02}.ics"), &event(&format!("{n:02}@x"), "SUMMARY:E\n")).await;
    }
    side.sync(&mapping).await;
    for n in 20..41 {
        side.delete(&format!("{n:02}.ics")).await;
    }
    side.put("99.ics", &event("99@x", "SUMMARY:New\n")).await;
    let run = side.sync(&mapping).await;
    assert_eq!((run.status, run.remote.total()), (RunStatus::Deferred, 0), "{run:?}");
    assert_eq!(side.state(&mapping).await.hold.unwrap().remote, 21);
    assert_eq!(radicale.names(WORK).len(), 40);
    let run = side.sync_with(&mapping, true).await;
    assert_eq!((run.status, run.remote.deleted, run.remote.inserted), (RunStatus::Success, 21, 1), "{run:?}");
    assert_eq!((side.names().await.len(), radicale.names(WORK).len()), (20, 20));
    settled(&side, &radicale, &mapping).await;
}

// A word covers what was shown: when more is to go by then, it is asked anew
#[tokio::test(flavor = "multi_thread")]
async fn a_word_covers_only_the_deletions_that_were_shown() {
    let radicale = radicale!();
    let side = Side::new().await;
    for n in 0..40 {
        side.put(&format!("{n:02}.ics"), &event(&format!("{n:02}@x"), "SUMMARY:E\n")).await;
    }
    let mapping = side.map(&url(&radicale), WORK, Direction::Both, Policy::Newest).await;
    side.sync(&mapping).await;
    // Without anything that waits, a word confirms nothing.
    for n in 0..25 {
        side.delete(&format!("{n:02}.ics")).await;
    }
    let run = side.sync_with(&mapping, true).await;
    assert_eq!((run.status, run.remote.deleted), (RunStatus::Deferred, 0), "{run:?}");
    for n in 25..35 {
        side.delete(&format!("{n:02}.ics")).await;
    }
    let run = side.sync_with(&mapping, true).await;
    assert_eq!((run.status, run.remote.deleted), (RunStatus::Deferred, 0), "{run:?}");
    assert_eq!(side.state(&mapping).await.hold.unwrap().remote, 35);
    // Whoever puts the events back needs no word.
    for n in 0..35 {
        side.put(&format!("{n:02}.ics"), &event(&format!("{n:02}@x"), "SUMMARY:E\n")).await;
    }
    let run = side.sync(&mapping).await;
    assert_eq!((run.status, run.remote.total()), (RunStatus::Success, 0), "{run:?}");
    assert_eq!(radicale.names(WORK).len(), 40);
    settled(&side, &radicale, &mapping).await;
}

// An event that the far side moves to another address is the same event
#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_moves_there_is_not_removed_here() {
    let radicale = radicale!();
    let side = Side::new().await;
    side.put("a.ics", &event("a@x", "SUMMARY:A\nX-OURS:1\n")).await;
    let mapping = side.map(&url(&radicale), WORK, Direction::Both, Policy::Newest).await;
    side.sync(&mapping).await;
    let to = format!("{}anna/work/moved.ics", url(&radicale));
    let host = radicale.address().to_string();
    let headers = [("Destination", to.as_str()), ("Host", host.as_str())];
    let moved = radicale.ask("MOVE", "/anna/work/a%40x.ics", &headers, "");
    assert_eq!(moved.status, 201, "{}", moved.show());
    let run = side.sync(&mapping).await;
    assert_eq!((run.status, run.local.total(), run.remote.total()), (RunStatus::Success, 0, 0), "{run:?}");
    assert_eq!(radicale.names(WORK), ["moved.ics"]);
    side.put("a.ics", &event("a@x", "SUMMARY:A2\nX-OURS:1\n")).await;
    assert_eq!(side.sync(&mapping).await.remote.updated, 1);
    assert!(radicale.get("/anna/work/moved.ics").unwrap().contains("A2"));
    settled(&side, &radicale, &mapping).await;
}

// S2-019, S4-075, S4-076: What cannot be carried over is named, and stops nothing else
#[tokio::test(flavor = "multi_thread")]
async fn one_event_that_fails_does_not_stop_the_rest() {
    let radicale = radicale!();
    let proxy = Proxy::before(radicale.address());
    let side = Side::new().await;
    side.put("good.ics", &event("good@x", "SUMMARY:Good\n")).await;
    side.put("bad.ics", &event("bad@x", "SUMMARY:Bad\n")).await;
    radicale.put("/anna/work/there.ics", &event("there@x", "SUMMARY:There\n"));
    // A task cannot be held by a calendar of events.
    let task = "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:x\r\nBEGIN:VTODO\r\nUID:task@x\r\n\
        DTSTAMP:20260101T000000Z\r\nSUMMARY:Task\r\nEND:VTODO\r\nEND:VCALENDAR\r\n";
    radicale.put("/anna/work/task.ics", task);
    proxy.fault(|request| {
        let bad = request.method == "PUT" && request.target.contains("bad");
        bad.then(|| Bad::Answer(403, vec![], "<error xmlns='DAV:'><too-odd/></error>".into()))
    });
    let mapping = side.map(&proxy.url(), WORK, Direction::Both, Policy::Newest).await;
    let run = side.sync(&mapping).await;
    assert_eq!(run.status, RunStatus::PartialFailure, "{run:?}");
    assert_eq!((run.local.inserted, run.remote.inserted), (1, 1), "{run:?}");
    let reasons: Vec<&str> = run.failures.iter().map(|f| f.reason.as_str()).collect();
    assert!(reasons.iter().any(|r| r.contains("too-odd")), "{reasons:?}");
    assert!(reasons.iter().any(|r| r.contains("VTODO")), "{reasons:?}");
    // What was refused is not repeated over and over, but it is not forgotten either.
    side.sync(&mapping).await;
    proxy.seen();
    let run = side.sync(&mapping).await;
    assert_eq!((run.status, proxy.writes().len()), (RunStatus::Success, 0), "{run:?}");
    assert_eq!(side.state(&mapping).await.again.len(), 2);
    // When it changes, it is tried again.
    proxy.well();
    side.put("bad.ics", &event("bad@x", "SUMMARY:Better\n")).await;
    assert_eq!(side.sync(&mapping).await.remote.inserted, 1);
    assert_eq!(side.state(&mapping).await.again.len(), 1);
}

// S2-006: The account goes, and everything that it entrusted to the server
#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_is_removed_takes_its_secrets_along() {
    use kalends::bridge::Wakeful;
    use kalends::store::Table;
    let radicale = radicale!();
    let side = Side::new().await;
    side.put("a.ics", &event("a@x", "SUMMARY:A\n")).await;
    let mapping = side.map(&url(&radicale), WORK, Direction::Both, Policy::Newest).await;
    side.sync(&mapping).await;
    let stop = tokio_util::sync::CancellationToken::new();
    let follower = std::sync::Arc::new(Wakeful(std::sync::Arc::clone(&side.bridge)));
    let following = tokio::spawn(kalends::follow::follow(
        std::sync::Arc::clone(&side.house.store),
        follower,
        stop.clone(),
    ));
    tokio::time::sleep(Duration::from_millis(200)).await;
    side.house.remove_principal("anna", vec![]).await.unwrap();
    let tables = [Table::Secret, Table::Connection, Table::Mapping, Table::Base, Table::Run];
    for _ in 0..200 {
        let mut left = 0;
        for table in tables {
            left += side.house.store.records(table, "", None, 10).await.unwrap().len();
        }
        if left == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    for table in tables {
        assert!(side.house.store.records(table, "", None, 10).await.unwrap().is_empty(), "{table:?}");
    }
    assert_eq!(radicale.names(WORK).len(), 1, "nothing is removed on the far side");
    stop.cancel();
    following.await.unwrap();
}

// A lost position is compared in full; what is missing then is believed gone at the second look
#[tokio::test(flavor = "multi_thread")]
async fn a_lost_position_is_compared_in_full() {
    let radicale = radicale!();
    let proxy = Proxy::before(radicale.address());
    let (side, mapping) = in_step(&proxy, 4).await;
    radicale.delete("/anna/work/0%40x.ics");
    radicale.put("/anna/work/1%40x.ics", &event("1@x", "SUMMARY:Changed\n"));
    proxy.fault(|request| {
        let sync = String::from_utf8_lossy(&request.body).contains("sync-collection");
        sync.then(|| Bad::Answer(403, vec![], "<error xmlns='DAV:'><valid-sync-token/></error>".into()))
    });
    let run = side.sync(&mapping).await;
    assert_eq!((run.local.deleted, run.local.updated), (0, 1), "{run:?}");
    assert_eq!(side.sync(&mapping).await.local.deleted, 0, "not yet");
    side.later(Duration::from_secs(61));
    assert_eq!(side.sync(&mapping).await.local.deleted, 1);
    proxy.well();
    settled(&side, &radicale, &mapping).await;
}

// S4-065: A server without sync-collection and ctag: names and etags are compared
#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_positions_is_compared_by_etags() {
    let radicale = radicale!();
    let proxy = Proxy::before(radicale.address());
    proxy.fault(|request| {
        let asks = String::from_utf8_lossy(&request.body).contains("supported-report-set");
        (asks && header(request, "depth") == "0").then(|| Bad::Answer(207, vec![], EMPTY.into()))
    });
    let side = Side::new().await;
    side.put("a.ics", &event("a@x", "SUMMARY:A\n")).await;
    side.put("b.ics", &event("b@x", "SUMMARY:B\n")).await;
    let mapping = side.map(&proxy.url(), WORK, Direction::Both, Policy::Newest).await;
    side.sync(&mapping).await;
    radicale.put("/anna/work/a%40x.ics", &event("a@x", "SUMMARY:A there\n"));
    radicale.delete("/anna/work/b%40x.ics");
    assert_eq!(side.sync(&mapping).await.local.updated, 1);
    side.later(Duration::from_secs(61));
    assert_eq!(side.sync(&mapping).await.local.deleted, 1);
    settled(&side, &radicale, &mapping).await;
}

// icloud-and-caldav §4: an etag that is missing after a PUT is unknown; content decides
#[tokio::test(flavor = "multi_thread")]
async fn writes_without_an_etag_do_not_come_back_as_changes() {
    let radicale = radicale!();
    let proxy = Proxy::before(radicale.address());
    proxy.fault(|request| (request.method == "PUT").then(|| Bad::Without("ETag".into())));
    let side = Side::new().await;
    let mapping = side.map(&proxy.url(), WORK, Direction::Both, Policy::Newest).await;
    side.put("a.ics", &event("a@x", "SUMMARY:A\n")).await;
    side.sync(&mapping).await;
    proxy.seen();
    settled(&side, &radicale, &mapping).await;
    assert!(proxy.writes().is_empty());
    side.put("a.ics", &event("a@x", "SUMMARY:A2\n")).await;
    assert_eq!(side.sync(&mapping).await.remote.updated, 1);
    settled(&side, &radicale, &mapping).await;
}

// S3-133, S3-171: Retry-After is obeyed, whoever asks
#[tokio::test(flavor = "multi_thread")]
async fn a_far_side_that_asks_to_wait_is_waited_for() {
    let radicale = radicale!();
    let proxy = Proxy::before(radicale.address());
    let side = Side::new().await;
    let mapping = side.map(&proxy.url(), WORK, Direction::Both, Policy::Newest).await;
    side.sync(&mapping).await;
    proxy.fault(|_| Some(Bad::Answer(429, vec![("Retry-After".into(), "120".into())], String::new())));
    let run = side.sync(&mapping).await;
    assert_eq!(run.status, RunStatus::Deferred, "{run:?}");
    proxy.well();
    proxy.seen();
    let refused = side.bridge.sync("anna", &mapping, false).await;
    assert!(
        matches!(refused, Err(BridgeError::Wait(wait)) if wait == Duration::from_secs(120)),
        "{refused:?}"
    );
    assert!(proxy.seen().is_empty());
    side.later(Duration::from_secs(121));
    assert_eq!(side.sync(&mapping).await.status, RunStatus::Success);
}

// S2-012, S1-097, S4-046, S4-047
#[tokio::test(flavor = "multi_thread")]
async fn one_way_mappings_write_one_way() {
    for direction in [Direction::Pull, Direction::Push] {
        let radicale = radicale!();
        let proxy = Proxy::before(radicale.address());
        let side = Side::new().await;
        side.put("h.ics", &event("h@x", "SUMMARY:Here\n")).await;
        radicale.put("/anna/work/t.ics", &event("t@x", "SUMMARY:There\n"));
        let mapping = side.map(&proxy.url(), WORK, direction, Policy::Newest).await;
        proxy.seen();
        side.sync(&mapping).await;
        let pulls = direction == Direction::Pull;
        assert_eq!(side.names().await.len(), if pulls { 2 } else { 1 }, "{direction:?}");
        assert_eq!(radicale.names(WORK).len(), if pulls { 1 } else { 2 }, "{direction:?}");
        if pulls {
            side.put("t.ics", &event("t@x", "SUMMARY:Mine\nLOCATION:Kept\n")).await;
            side.sync(&mapping).await;
            radicale.put("/anna/work/t.ics", &event("t@x", "SUMMARY:Theirs\n"));
            side.sync(&mapping).await;
            let text = side.get("t.ics").await.unwrap();
            assert!(text.contains("SUMMARY:Theirs") && text.contains("LOCATION:Kept"), "{text}");
            assert!(proxy.writes().is_empty(), "a pull writes nothing there");
        } else {
            let rev = side.rev().await;
            radicale.put("/anna/work/h%40x.ics", &event("h@x", "SUMMARY:Drifted\n"));
            side.sync(&mapping).await;
            radicale.delete("/anna/work/t.ics");
            side.sync(&mapping).await;
            assert_eq!(side.rev().await, rev, "a push writes nothing here");
        }
        settled(&side, &radicale, &mapping).await;
    }
}

// S4-010: Discovery: from the host alone, from the principal, from a calendar itself
#[tokio::test(flavor = "multi_thread")]
async fn calendars_are_found_from_whatever_address_is_given() {
    let radicale = radicale!();
    let side = Side::new().await;
    let base = format!("http://{}", radicale.address());
    for given in ["", "/", "/.well-known/caldav", "/anna/", "/anna/work/", "/anna/work", "/nothing/here/"] {
        let made = side
            .bridge
            .connect_caldav("anna", &format!("{base}{given}"), "anna", Secret::new("geheim-1"))
            .await;
        let made = made.unwrap_or_else(|error| panic!("{given}: {error:?}"));
        let found = side.bridge.remote_calendars("anna", &made.id).await.unwrap();
        assert_eq!(found.len(), 1, "{given}: {found:?}");
        assert_eq!(
            (found[0].id.0.as_str(), found[0].name.as_str()),
            (format!("{base}{WORK}").as_str(), "Work")
        );
        assert!(found[0].writable && found[0].components.contains(&"VEVENT".to_owned()), "{found:?}");
        // S3-015: the same account is not connected twice.
        side.bridge.disconnect("anna", &made.id, Mirrored::Keep).await.unwrap();
    }
    for (given, field) in [("ftp://x/", "url"), ("http://", "url"), ("http://a:b@x/", "url")] {
        let refused = side.bridge.connect_caldav("anna", given, "anna", Secret::new("x")).await;
        assert!(matches!(&refused, Err(BridgeError::Invalid(f, _)) if *f == field), "{given}: {refused:?}");
    }
}

// Redirects are followed by hand, and a password never follows to another server
#[tokio::test(flavor = "multi_thread")]
async fn a_password_does_not_follow_a_redirect_to_another_server() {
    let radicale = radicale!();
    let evil = Proxy::before(radicale.address());
    let proxy = Proxy::before(radicale.address());
    let to = format!("{}anna/", evil.url());
    proxy.fault(move |_| Some(Bad::Answer(302, vec![("Location".into(), to.clone())], String::new())));
    let side = Side::new().await;
    let refused = side.bridge.connect_caldav("anna", &proxy.url(), "anna", Secret::new("geheim-1")).await;
    assert!(
        matches!(&refused, Err(BridgeError::Far(Trouble::Refused(why))) if why.contains("another server")),
        "{refused:?}"
    );
    assert!(evil.seen().is_empty(), "nothing was sent there");
    // Within one server it is followed.
    proxy.fault(|request| {
        (request.target == "/")
            .then(|| Bad::Answer(301, vec![("Location".into(), "/anna/".into())], String::new()))
    });
    side.bridge.connect_caldav("anna", &proxy.url(), "anna", Secret::new("geheim-1")).await.unwrap();
}

//! CalDAV servers and their quirks as far sides: the provider against the simulator, over real HTTP.

mod found;
pub(crate) mod quirks;

use std::sync::Arc;

use futures_util::StreamExt as _;
use kalends::auth::grant::Secret;
use kalends::bridge::Caldav;
use kalends::bridge::provider::{
    Cursor, Fit, Page, Provider as _, RemoteId, Seen, Slot, Trouble, Version, Window, Write, Written,
};
use kalends::http::fetch::{Fetch, Private, Timeouts};
use kalends::ical::Ical;
use kalends::sim::caldav::{Caldav as Upstream, Quirks, Throttle, TokenInvalid, UidConflict};
use kalends::sim::{Act, Clock, Fault, Options, Rule, Running, Server};
use serde_json::{Value, json};
use url::Url;

/// 1 June 2026.
const NOW: i64 = 1_780_272_000;
const WINDOW: Window = Window { from: None, to: None, now: NOW };

struct Far {
    upstream: Arc<Upstream>,
    server: Running,
    caldav: Caldav,
    calendar: RemoteId,
}

fn fetch() -> Fetch {
    let within = Private::Within(vec!["127.0.0.0/8".parse().unwrap()]);
    Fetch::new(within, Timeouts::default()).unwrap()
}

async fn discover(server: &Running) -> Result<Caldav, Trouble> {
    Caldav::discover(fetch(), Url::parse(server.url()).unwrap(), "anna", Secret::new("geheim")).await
}

async fn upstream() -> (Arc<Upstream>, Running) {
    let clock = Clock::fixed(NOW * 1000);
    let upstream = Arc::new(Upstream::start("anna", "geheim", clock.clone()).await.unwrap());
    let options = Options { clock, ..Options::default() };
    let server = Server::start(options, Arc::clone(&upstream) as Arc<_>).await.unwrap();
    (upstream, server)
}

fn event(uid: &str, summary: &str) -> String {
    format!(
        "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:x\r\nBEGIN:VEVENT\r\nUID:{uid}\r\nDTSTAMP:20260101T000000Z\r\n\
         DTSTART:20260610T090000Z\r\nDTEND:20260610T100000Z\r\nSUMMARY:{summary}\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"
    )
}

impl Far {
    async fn start(quirks: Quirks) -> Far {
        let (upstream, server) = upstream().await;
        upstream.has(quirks);
        let caldav = discover(&server).await.unwrap();
        let all = caldav.calendars().await.unwrap();
        let calendar = all.into_iter().find(|c| c.name == "Calendar").unwrap().id;
        Far { upstream, server, caldav, calendar }
    }

    async fn look(&self, since: Option<&Cursor>) -> Result<Page, Trouble> {
        self.caldav.changes(&self.calendar, since, WINDOW).next().await.unwrap()
    }

    async fn cursor(&self) -> Cursor {
        self.look(None).await.unwrap().end.unwrap().next.unwrap()
    }

    async fn add(&self, uid: &str, summary: &str) -> Result<Written, Trouble> {
        let write =
            Write { slot: Slot::New { uid: uid.into() }, bytes: event(uid, summary).into(), base: None };
        self.caldav.put(&self.calendar, &write).await
    }

    async fn replace(&self, seen: &Seen, text: String) -> Result<Written, Trouble> {
        let slot = Slot::At(seen.id.clone(), seen.version.clone());
        self.caldav.put(&self.calendar, &Write { slot, bytes: text.into(), base: None }).await
    }

    async fn read(&self, ids: &[RemoteId]) -> Vec<Seen> {
        self.caldav.read(&self.calendar, ids).await.unwrap()
    }

    /// Reads what the listing names, which gives each object the version that the listing told.
    async fn one(&self, id: &RemoteId) -> Seen {
        self.read(std::slice::from_ref(id)).await.pop().unwrap()
    }

    fn elsewhere(&self, uid: &str, summary: &str) {
        let object = json!(event(uid, summary));
        self.server.act(&Act::CreateElsewhere { calendar: "calendar".into(), object }).unwrap();
    }

    fn removed_elsewhere(&self, name: &str) {
        self.server.act(&Act::DeleteElsewhere { calendar: "calendar".into(), id: name.into() }).unwrap();
    }

    fn objects(&self) -> Value {
        self.server.act(&Act::Own { name: "objects".into(), with: Value::Null }).unwrap()
    }

    fn writes(&self) -> usize {
        let entries = self.server.log().entries();
        entries.iter().filter(|e| matches!(e.method.as_str(), "PUT" | "DELETE")).count()
    }
}

fn names(page: &Page) -> Vec<String> {
    let mut names: Vec<String> =
        page.seen.iter().map(|s| s.id.0.rsplit('/').next().unwrap().replace("%65", "e")).collect();
    names.sort();
    names
}

// S1-027, S2-046, S3-142: without any quirk: listing, changes, removals, both ways
#[tokio::test]
async fn an_upstream_without_quirks_is_read_and_written() {
    let far = Far::start(Quirks::default()).await;
    let written = far.add("a", "One").await.unwrap();
    assert!(written.version.is_some());
    assert!(matches!(far.add("a", "Two").await, Err(Trouble::Taken(Some(id))) if id == written.id));
    let since = far.cursor().await;
    far.elsewhere("b", "Other");
    let page = far.look(Some(&since)).await.unwrap();
    assert_eq!(names(&page), ["b.ics"]);
    let seen = far.one(&written.id).await;
    assert_eq!((&seen.bytes[..], &seen.version), (event("a", "One").as_bytes(), &written.version));
    far.caldav.delete(&far.calendar, &seen.id, seen.version.as_ref()).await.unwrap();
    let page = far.look(page.end.unwrap().next.as_ref()).await.unwrap();
    assert_eq!(page.gone, [written.id]);
}

// S3-088: a token that is not known ends in a full comparison, however the server says so
#[tokio::test]
async fn an_unknown_token_ends_in_a_full_comparison() {
    for invalid in [TokenInvalid::Forbidden, TokenInvalid::Precondition, TokenInvalid::Failure] {
        let far = Far::start(Quirks { token_invalid: invalid, ..Quirks::default() }).await;
        far.elsewhere("a", "One");
        let since = far.cursor().await;
        far.server.act(&Act::ExpireCursor).unwrap();
        assert_eq!(far.look(Some(&since)).await.unwrap_err(), Trouble::CursorExpired, "{invalid:?}");
    }
}

#[tokio::test]
async fn an_error_that_is_not_about_the_token_is_an_error() {
    let far = Far::start(Quirks::default()).await;
    let since = far.cursor().await;
    let broken = || Fault::Status { code: 500, body: None, text: None, headers: Default::default() };
    far.server.fault(Rule::on("REPORT", "*", broken()));
    far.server.fault(Rule::on("PROPFIND", "*", broken()));
    assert!(matches!(far.look(Some(&since)).await.unwrap_err(), Trouble::Unreachable(_)));
}

#[tokio::test]
async fn a_success_that_names_nothing_is_checked_by_the_ctag() {
    let far = Far::start(Quirks { token_invalid: TokenInvalid::Empty, ..Quirks::default() }).await;
    far.elsewhere("a", "One");
    let since = far.cursor().await;
    // Nothing changed: nothing is told, and it is believed.
    let quiet = far.look(Some(&since)).await.unwrap();
    assert!(quiet.seen.is_empty() && quiet.gone.is_empty());
    far.elsewhere("b", "Two");
    far.server.act(&Act::ExpireCursor).unwrap();
    assert_eq!(far.look(Some(&since)).await.unwrap_err(), Trouble::CursorExpired);
}

#[tokio::test]
async fn a_success_that_names_everything_is_a_listing() {
    let far = Far::start(Quirks { token_invalid: TokenInvalid::Full, ..Quirks::default() }).await;
    far.upstream.fill(25, NOW).await.unwrap();
    let since = far.cursor().await;
    far.removed_elsewhere("event-3.ics");
    far.server.act(&Act::ExpireCursor).unwrap();
    let page = far.look(Some(&since)).await.unwrap();
    assert_eq!((page.seen.len(), page.gone.len(), page.end.unwrap().complete), (24, 0, true));
}

#[tokio::test]
async fn many_changes_are_not_taken_for_a_listing() {
    let far = Far::start(Quirks::default()).await;
    far.elsewhere("old", "One");
    let since = far.cursor().await;
    far.upstream.fill(25, NOW).await.unwrap();
    let page = far.look(Some(&since)).await.unwrap();
    assert_eq!((page.seen.len(), page.end.unwrap().complete), (25, false));
}

#[tokio::test]
async fn changes_in_portions_are_read_to_the_end() {
    let far = Far::start(Quirks { limit_507: Some(4), self_member: true, ..Quirks::default() }).await;
    let since = far.cursor().await;
    far.upstream.fill(11, NOW).await.unwrap();
    let page = far.look(Some(&since)).await.unwrap();
    assert_eq!(names(&page).len(), 11, "the calendar itself is not among them");
    let reports = far.server.log().entries().iter().filter(|e| e.method == "REPORT").count();
    assert!(reports >= 3, "{reports}");
}

// S2-022, S2-048
#[tokio::test]
async fn without_sync_collection_the_ctag_tells() {
    let far = Far::start(Quirks { no_sync_collection: true, ..Quirks::default() }).await;
    far.elsewhere("a", "One");
    let since = far.cursor().await;
    assert!(since.0.starts_with("ctag:"), "{since:?}");
    let quiet = far.look(Some(&since)).await.unwrap();
    assert!(quiet.seen.is_empty() && !quiet.end.unwrap().complete);
    far.elsewhere("b", "Two");
    let page = far.look(Some(&since)).await.unwrap();
    assert_eq!(names(&page), ["a.ics", "b.ics"]);
    assert!(page.end.unwrap().complete);
}

// S2-049: searched from a day on
#[tokio::test]
async fn what_may_not_be_listed_is_searched() {
    let far = Far::start(Quirks { no_listing: true, ..Quirks::default() }).await;
    far.elsewhere("a", "One");
    assert_eq!(names(&far.look(None).await.unwrap()), ["a.ics"]);
    let window = Window { from: Some(NOW + 100 * 86_400), to: None, now: NOW };
    let page = far.caldav.changes(&far.calendar, None, window).next().await.unwrap().unwrap();
    assert!(page.seen.is_empty());
}

// S3-088, S3-146: a short answer to a multiget is never a deletion
#[tokio::test]
async fn what_a_multiget_leaves_out_is_asked_for_alone() {
    let far = Far::start(Quirks { drop_random_multiget_href: true, ..Quirks::default() }).await;
    far.upstream.fill(6, NOW).await.unwrap();
    let ids: Vec<RemoteId> = far.look(None).await.unwrap().seen.into_iter().map(|s| s.id).collect();
    for _ in 0..2 {
        assert_eq!(far.read(&ids).await.len(), 6);
    }
    assert!(far.server.log().entries().iter().any(|e| e.method == "GET"), "one was left out");
    far.removed_elsewhere("event-2.ics");
    assert_eq!(far.read(&ids).await.len(), 5, "what is gone is gone");
}

#[tokio::test]
async fn addresses_of_another_host_or_spelling_name_the_same_objects() {
    let far = Far::start(Quirks {
        href_other_host: Some("inside.example.org:8080".into()),
        href_percent_variants: true,
        ..Quirks::default()
    })
    .await;
    for uid in ["one@example.org", "three", "zwei"] {
        far.elsewhere(uid, "x");
    }
    for _ in 0..2 {
        let ids: Vec<RemoteId> = far.look(None).await.unwrap().seen.into_iter().map(|s| s.id).collect();
        assert_eq!(ids.len(), 3);
        let read = far.read(&ids).await;
        assert_eq!(read.len(), 3);
        let ours: Vec<&RemoteId> = read.iter().map(|seen| &seen.id).collect();
        assert_eq!(ours, ids.iter().collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn an_etag_that_is_not_vouched_for_is_not_used() {
    for quirks in [
        Quirks { rewrite_on_put: true, ..Quirks::default() },
        Quirks { weak_etag_on_put: true, ..Quirks::default() },
    ] {
        let far = Far::start(quirks).await;
        let written = far.add("a", "One").await.unwrap();
        assert_eq!(written.version, None);
        let seen = far.one(&written.id).await;
        far.replace(&seen, event("a", "Two")).await.unwrap();
        let text = far.objects()["a.ics"].as_str().unwrap().to_owned();
        assert!(text.contains("SUMMARY:Two"), "{text}");
    }
}

#[tokio::test]
async fn weak_and_unquoted_etags_still_guard_a_write() {
    for quirks in [
        Quirks { weak_etags: true, ..Quirks::default() },
        Quirks { unquoted_etag: true, ..Quirks::default() },
    ] {
        let far = Far::start(quirks.clone()).await;
        far.elsewhere("a", "One");
        let id = far.look(None).await.unwrap().seen.remove(0).id;
        let seen = far.one(&id).await;
        far.elsewhere("a", "Somebody");
        assert_eq!(far.replace(&seen, event("a", "Mine")).await, Err(Trouble::Stale), "{quirks:?}");
        let gone = far.caldav.delete(&far.calendar, &id, seen.version.as_ref()).await;
        assert_eq!(gone, Err(Trouble::Stale), "{quirks:?}");
        let seen = far.one(&id).await;
        far.replace(&seen, event("a", "Mine")).await.unwrap();
        assert!(far.objects()["a.ics"].as_str().unwrap().contains("SUMMARY:Mine"));
        let seen = far.one(&id).await;
        far.caldav.delete(&far.calendar, &id, seen.version.as_ref()).await.unwrap();
        assert_eq!(far.objects(), json!({}));
    }
}

#[tokio::test]
async fn a_listing_without_etags_has_everything_read() {
    let far = Far::start(Quirks { no_getetag: true, ..Quirks::default() }).await;
    far.elsewhere("a", "One");
    let page = far.look(None).await.unwrap();
    assert_eq!(page.seen[0].version, None);
    assert_eq!(far.one(&page.seen[0].id).await.bytes, event("a", "One"));
}

#[tokio::test]
async fn a_star_is_never_a_condition_of_a_change() {
    let far = Far::start(Quirks { if_match_star_backwards: true, ..Quirks::default() }).await;
    far.elsewhere("a", "One");
    let id = far.look(None).await.unwrap().seen.remove(0).id;
    let seen = Seen { version: None, ..far.one(&id).await };
    // Were a star sent, the server would refuse here …
    far.replace(&seen, event("a", "Two")).await.unwrap();
    far.removed_elsewhere("a.ics");
    let old = Seen { version: Some(Version("\"old\"".into())), ..seen };
    // … and create here.
    assert!(far.replace(&old, event("a", "Three")).await.is_err());
    assert_eq!(far.objects(), json!({}));
}

#[tokio::test]
async fn an_end_is_always_written_where_the_server_wants_one() {
    let far = Far::start(Quirks { dtend_required: true, ..Quirks::default() }).await;
    let text = event("a", "One").replace("DTEND:20260610T100000Z\r\n", "");
    let ical = Ical::parse(text.clone()).unwrap();
    assert_eq!(far.caldav.fit(&ical, WINDOW), Fit::Whole(text.clone().into()), "others hold it as it is");
    let write = |bytes| Write { slot: Slot::New { uid: "a".into() }, bytes, base: None };
    let refused = far.caldav.put(&far.calendar, &write(text.into())).await;
    assert!(matches!(refused, Err(Trouble::Refused(_))), "{refused:?}");
    let strict = discover(&far.server).await.unwrap().with_ends();
    let Fit::Whole(bytes) = strict.fit(&ical, WINDOW) else { panic!() };
    strict.put(&far.calendar, &write(bytes)).await.unwrap();
    assert!(far.objects()["a.ics"].as_str().unwrap().contains("DTEND:20260610T090000Z"));
    let icloud = Url::parse("https://caldav.icloud.com/").unwrap();
    let apple = Caldav::new(fetch(), icloud, "anna", Secret::new("x"), Vec::new());
    assert!(matches!(apple.fit(&ical, WINDOW), Fit::Whole(b) if b.windows(6).any(|w| w == b"DTEND:")));
}

#[tokio::test]
async fn a_taken_uid_leads_to_its_twin_in_the_same_calendar_only() {
    for conflict in [UidConflict::Forbidden, UidConflict::Conflict, UidConflict::Precondition] {
        let far = Far::start(Quirks { uid_conflict: conflict, ..Quirks::default() }).await;
        let object = json!({ "text": event("a", "One"), "name": "other-name.ics" });
        far.server.act(&Act::CreateElsewhere { calendar: "calendar".into(), object }).unwrap();
        match far.add("a", "Mine").await {
            Err(Trouble::Taken(Some(id))) => assert!(id.0.ends_with("/calendar/other-name.ics"), "{id}"),
            other => panic!("{conflict:?}: {other:?}"),
        }
        let with = json!({ "calendar": "second" });
        far.server.act(&Act::Own { name: "calendar".into(), with }).unwrap();
        let all = far.caldav.calendars().await.unwrap();
        let second = all.into_iter().find(|c| c.id.0.ends_with("/second/")).unwrap().id;
        let write =
            Write { slot: Slot::New { uid: "a".into() }, bytes: event("a", "Mine").into(), base: None };
        // The twin is in another calendar: it is not adopted, and nothing is written.
        let refused = far.caldav.put(&second, &write).await;
        assert!(
            matches!(refused, Err(Trouble::Taken(None) | Trouble::Refused(_))),
            "{conflict:?}: {refused:?}"
        );
        // Once it is gone there, the move goes on.
        far.removed_elsewhere("other-name.ics");
        far.caldav.put(&second, &write).await.unwrap();
    }
}

#[tokio::test]
async fn what_is_hidden_in_listings_is_found_by_name() {
    let far = Far::start(Quirks { past_delay: Some(90), ..Quirks::default() }).await;
    let old = event("old", "x").replace("202606", "202601");
    far.server.act(&Act::CreateElsewhere { calendar: "calendar".into(), object: json!(old) }).unwrap();
    far.elsewhere("new", "x");
    assert_eq!(names(&far.look(None).await.unwrap()), ["new.ics"]);
    let hidden = far.caldav.place(&far.calendar, "old").unwrap();
    assert_eq!(far.read(&[hidden]).await.len(), 1, "asked for by name before it counts as removed");
}

// S2-025: the request to wait is handed on; the floor under it is pace's (bridge/pace.rs)
#[tokio::test]
async fn a_throttle_is_told_and_not_tried_again() {
    let far = Far::start(Quirks::default()).await;
    far.upstream.has(Quirks {
        throttle: Some(Throttle { calls: 0, retry_after: 1, really: 10 }),
        ..Quirks::default()
    });
    let before = far.server.log().entries().len();
    let slow = far.look(None).await.unwrap_err();
    assert_eq!(slow, Trouble::Slow(Some(std::time::Duration::from_secs(1))));
    assert_eq!(far.server.log().entries().len(), before + 1);
}

#[tokio::test]
async fn removing_what_is_gone_is_done() {
    for status in [404, 410, 418] {
        let far = Far::start(Quirks { delete_gone: Some(status), ..Quirks::default() }).await;
        let place = far.caldav.place(&far.calendar, "never").unwrap();
        far.caldav.delete(&far.calendar, &place, None).await.unwrap();
        assert_eq!(far.writes(), 1);
    }
}

// S1-027: discovery where the well-known address closes the connection
#[tokio::test]
async fn a_closed_connection_at_the_well_known_address_is_no_end() {
    let (_upstream, server) = upstream().await;
    server.fault(Rule::on("*", "/.well-known/caldav", Fault::DropBeforeApply).times(0));
    let caldav = discover_at(&server, "/dav/").await.unwrap();
    assert_eq!(caldav.calendars().await.unwrap().len(), 2);
}

async fn discover_at(server: &Running, path: &str) -> Result<Caldav, Trouble> {
    let url = Url::parse(server.url()).unwrap().join(path).unwrap();
    Caldav::discover(fetch(), url, "anna", Secret::new("geheim")).await
}

// S2-010: the account is on a partition that the entry leads to
#[tokio::test]
async fn a_partition_is_followed_on_the_same_host_and_shown_no_password_on_another() {
    let far = Far::start(Quirks { redirect_to_partition: Some("/p07".into()), ..Quirks::default() }).await;
    far.add("a", "One").await.unwrap();
    assert_eq!(names(&far.look(None).await.unwrap()), ["a.ics"]);
    let (_, other) = upstream().await;
    let elsewhere = other.url().replace("127.0.0.1", "localhost");
    far.upstream.has(Quirks { redirect_to_partition: Some(elsewhere), ..Quirks::default() });
    let refused = discover(&far.server).await.unwrap_err();
    assert!(refused.to_string().contains("the password was not sent there"), "{refused}");
    assert!(other.log().entries().is_empty());
}

#[tokio::test]
async fn a_wrong_password_is_said_plainly() {
    let (_upstream, server) = upstream().await;
    server.act(&Act::RevokeGrant).unwrap();
    let refused = discover(&server).await.unwrap_err();
    assert!(matches!(refused, Trouble::Unauthorised(_)), "{refused:?}");
}

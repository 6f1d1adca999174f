//! The simulated Google Calendar.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use kalends::sim::{Act, Clock, Fault, Rule, Running, google::Google};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{Client, NOW, Told, start};

const EVENTS: &str = "/calendar/v3/calendars/primary/events";

struct Far {
    server: Running,
    google: Arc<Google>,
    client: Client,
}

async fn far() -> Far {
    let google = Arc::new(Google::new());
    let token = google.grant("client", "calendar userinfo.email", NOW).access;
    let server = start(Arc::clone(&google) as _, |_| {}).await;
    let client = Client::new(&server, Some(token));
    Far { server, google, client }
}

fn timed(day: &str, hours: [&str; 2]) -> Value {
    let at = |hour: &str| json!({ "dateTime": format!("{day}T{hour}"), "timeZone": "Europe/Zurich" });
    json!({ "summary": "a", "start": at(hours[0]), "end": at(hours[1]) })
}

fn with(mut event: Value, more: Value) -> Value {
    event.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    event
}

impl Far {
    async fn ask(&self, method: &str, path: &str, body: Value) -> Told {
        self.client.ask(method, &format!("{EVENTS}{path}"), body).await
    }

    async fn made(&self, event: Value) -> Value {
        let told = self.ask("POST", "", event).await;
        assert_eq!(told.status, 200, "{told:?}");
        told.json()
    }

    async fn list(&self, query: &str) -> Value {
        let told = self.ask("GET", &format!("?{query}"), Value::Null).await;
        assert_eq!(told.status, 200, "{told:?}");
        told.json()
    }

    async fn refused(&self, method: &str, path: &str, body: Value) -> (u16, String) {
        let told = self.ask(method, path, body).await;
        (told.status, told.reason())
    }

    fn own(&self, name: &str, with: Value) -> Value {
        self.server.act(&Act::Own { name: name.into(), with }).unwrap()
    }
}

fn ids(page: &Value) -> Vec<&str> {
    page["items"].as_array().unwrap().iter().map(|item| item["id"].as_str().unwrap()).collect()
}

fn no(status: u16, reason: &str) -> (u16, String) {
    (status, reason.to_owned())
}

/// The query of the address that the consent leads back to.
async fn consent(far: &Far, more: &str) -> Vec<(String, String)> {
    let challenge =
        URL_SAFE_NO_PAD.encode(Sha256::digest("the verifier, long enough to be one, as the standard says"));
    let query = format!(
        "client_id=cid&redirect_uri=https://a.example/back&response_type=code&state=s%26t&access_type=offline&\
         scope=https://www.googleapis.com/auth/calendar.events%20openid&code_challenge={challenge}&code_challenge_method=S256{more}"
    );
    let told = far.client.get(&format!("/o/oauth2/v2/auth?{query}")).await;
    assert_eq!(told.status, 302, "{told:?}");
    let back = url::Url::parse(told.header("location")).unwrap();
    assert_eq!(back.host_str(), Some("a.example"));
    back.query_pairs().into_owned().collect()
}

fn value(pairs: &[(String, String)], name: &str) -> String {
    pairs.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone()).unwrap_or_default()
}

async fn exchange(far: &Far, code: &str, verifier: &str) -> Told {
    let fields = [
        ("grant_type", "authorization_code"),
        ("code", code),
        ("client_id", "cid"),
        ("client_secret", "sec"),
        ("redirect_uri", "https://a.example/back"),
        ("code_verifier", verifier),
    ];
    far.client.form("/token", &fields).await
}

const VERIFIER: &str = "the verifier, long enough to be one, as the standard says";

#[tokio::test]
async fn a_code_is_worth_one_exchange_by_whoever_asked_for_it() {
    let far = far().await;
    let back = consent(&far, "").await;
    assert_eq!(value(&back, "state"), "s&t");
    let told = exchange(&far, &value(&back, "code"), VERIFIER).await;
    assert_eq!(told.status, 200, "{told:?}");
    let tokens = told.json();
    assert_eq!((&tokens["token_type"], &tokens["expires_in"]), (&json!("Bearer"), &json!(3599)));
    assert!(tokens["refresh_token"].is_string());
    assert!(tokens["scope"].as_str().unwrap().contains("calendar.events"));
    let again = exchange(&far, &value(&back, "code"), VERIFIER).await;
    assert_eq!((again.status, &again.json()["error"]), (400, &json!("invalid_grant")));
    let back = consent(&far, "").await;
    let wrong = exchange(&far, &value(&back, "code"), "another verifier").await;
    assert_eq!((wrong.status, &wrong.json()["error"]), (400, &json!("invalid_grant")));
    // The refresh token comes with the first consent only.
    let back = consent(&far, "").await;
    assert!(exchange(&far, &value(&back, "code"), VERIFIER).await.json()["refresh_token"].is_null());
    let back = consent(&far, "&prompt=consent").await;
    assert!(exchange(&far, &value(&back, "code"), VERIFIER).await.json()["refresh_token"].is_string());
    // What the person does not tick is not granted; who says no, is sent back with an error.
    far.own("consent", json!({ "scopes": "openid" }));
    let back = consent(&far, "").await;
    assert_eq!(exchange(&far, &value(&back, "code"), VERIFIER).await.json()["scope"], "openid");
    far.own("consent", json!({ "answer": "no" }));
    assert_eq!(value(&consent(&far, "").await, "error"), "access_denied");
    far.own("consent", json!({ "answer": "page" }));
    let page = far
        .client
        .get("/o/oauth2/v2/auth?client_id=c&redirect_uri=http://a&response_type=code&scope=x")
        .await;
    assert!(page.status == 200 && page.text.contains("<button name=answer value=yes>"), "{page:?}");
    assert_eq!(value(&consent(&far, "&answer=yes").await, "error"), "");
}

#[tokio::test]
async fn tokens_end_are_renewed_and_revoked() {
    let far = far().await;
    let tokens = far.google.grant("cid", "calendar userinfo.email", NOW);
    let client = Client { token: Some(tokens.access.clone()), ..far.client.clone() };
    assert_eq!(client.get("/oauth2/v2/userinfo").await.json()["email"], "anna@example.com");
    let told = client.form("/tokeninfo", &[("access_token", &tokens.access)]).await;
    assert_eq!(told.json()["aud"], "cid");
    far.server.clock().advance(3_600_000);
    let told = client.get(EVENTS).await;
    assert_eq!((told.status, told.reason().as_str()), (401, "authError"));
    let renew = |token: String| {
        let client = client.clone();
        async move {
            let fields = [
                ("grant_type", "refresh_token"),
                ("refresh_token", &token),
                ("client_id", "cid"),
                ("client_secret", "x"),
            ];
            client.form("/token", &fields).await
        }
    };
    let fresh = renew(tokens.refresh.clone()).await.json();
    assert!(fresh["refresh_token"].is_null());
    let client = Client { token: fresh["access_token"].as_str().map(str::to_owned), ..client.clone() };
    assert_eq!(client.get(EVENTS).await.status, 200);
    far.server.act(&Act::RotateRefreshToken).unwrap();
    let rotated = renew(tokens.refresh.clone()).await.json()["refresh_token"].as_str().unwrap().to_owned();
    assert_eq!(renew(tokens.refresh.clone()).await.json()["error"], "invalid_grant");
    assert_eq!(renew(rotated.clone()).await.status, 200);
    assert_eq!(client.form("/revoke", &[("token", &rotated)]).await.status, 200);
    assert_eq!(client.get(EVENTS).await.status, 401);
    let told = renew(rotated).await;
    assert_eq!(
        told.json(),
        json!({ "error": "invalid_grant", "error_description": "Token has been expired or revoked." })
    );
    far.own("client", json!({ "id": "cid", "secret": "sec" }));
    assert_eq!(
        (renew("x".into()).await.status, renew("x".into()).await.json()["error"].clone()),
        (401, json!("invalid_client"))
    );
}

#[tokio::test]
async fn scopes_are_looked_at() {
    let far = far().await;
    let ask = |scopes: &'static str, method: &'static str, path: &'static str| {
        let token = Some(far.google.grant("cid", scopes, NOW).access);
        let client = Client { token, ..far.client.clone() };
        async move { client.ask(method, path, Value::Null).await.status }
    };
    assert_eq!(ask("calendar.events.readonly", "GET", EVENTS).await, 200);
    assert_eq!(
        ask("calendar.events.readonly", "DELETE", "/calendar/v3/calendars/primary/events/aaaaa").await,
        403
    );
    assert_eq!(ask("calendar.events", "GET", "/calendar/v3/users/me/calendarList").await, 403);
    assert_eq!(ask("calendar.calendarlist.readonly", "GET", "/calendar/v3/users/me/calendarList").await, 200);
    assert_eq!(ask("calendar.events", "GET", "/calendar/v3/colors").await, 403);
    let nobody = Client { token: None, ..far.client.clone() };
    assert_eq!(nobody.get(EVENTS).await.reason(), "required");
}

#[tokio::test]
async fn what_is_wrong_is_refused_as_google_does() {
    let far = far().await;
    let good = timed("2026-03-02", ["09:00:00", "10:00:00"]);
    for (more, want) in [
        (json!({ "title": "x" }), "invalid"),
        (json!({ "id": "abc" }), "invalid"),
        (json!({ "id": "abcdexyz" }), "invalid"),
        (json!({ "id": "abcde", "iCalUID": "u" }), "invalid"),
        (json!({ "end": null }), "required"),
        (
            json!({ "end": { "dateTime": "2026-03-02T09:00:00", "timeZone": "Europe/Zurich" } }),
            "timeRangeEmpty",
        ),
        (json!({ "end": { "date": "2026-03-03" } }), "invalid"),
        (json!({ "start": { "dateTime": "2026-03-02T08:00:00" } }), "invalid"),
        (json!({ "start": { "dateTime": "2026-03-02T08:00:00Z", "timeZone": "Mars/Base" } }), "invalid"),
        (
            json!({ "start": { "dateTime": "2026-03-02T07:00:00Z" }, "recurrence": ["RRULE:FREQ=DAILY"] }),
            "required",
        ),
        (json!({ "recurrence": ["DTSTART:20260101T000000Z"] }), "invalid"),
        (json!({ "recurrence": ["RRULE:FREQ=NEVER"] }), "invalid"),
        (json!({ "colorId": "12" }), "invalid"),
        (json!({ "status": "maybe" }), "invalid"),
        (json!({ "attendees": [{ "displayName": "x" }] }), "invalid"),
        (
            json!({ "reminders": { "useDefault": true, "overrides": [{ "method": "popup", "minutes": 1 }] } }),
            "cannotUseDefaultRemindersAndSpecifyOverride",
        ),
        (
            json!({ "reminders": { "useDefault": false, "overrides": [{ "method": "popup", "minutes": 40321 }] } }),
            "invalid",
        ),
        (json!({ "eventType": "fromGmail" }), "invalid"),
    ] {
        assert_eq!(far.refused("POST", "", with(good.clone(), more.clone())).await, no(400, want), "{more}");
    }
    for query in [
        "colour=1",
        "maxResults=0",
        "maxResults=x",
        "timeMin=2026-01-01",
        "showDeleted=yes",
        "orderBy=title",
        "maxResults=1&maxResults=2",
        "orderBy=startTime",
    ] {
        assert_eq!(
            far.refused("GET", &format!("?{query}"), Value::Null).await,
            no(400, "invalidParameter"),
            "{query}"
        );
    }
    let told = far.client.attempt("POST", EVENTS, &[], "{").await.unwrap();
    assert_eq!((told.status, told.reason().as_str()), (400, "parseError"));
    let holidays = "/calendar/v3/calendars/en.ch%23holiday%40group.v.calendar.google.com/events";
    let told = far.client.ask("POST", holidays, good.clone()).await;
    assert_eq!((told.status, told.reason().as_str()), (403, "requiredAccessLevel"));
    let told = far.client.get("/calendar/v3/calendars/nobody/events").await;
    let want = json!({ "error": { "errors": [{ "domain": "global", "reason": "notFound", "message": "Not Found" }], "code": 404,
        "message": "Not Found" } });
    assert_eq!((told.status, told.json()), (404, want));
    assert_eq!(far.server.log().writes(), 0);
}

#[tokio::test]
async fn an_event_is_shown_as_it_is_kept() {
    let far = far().await;
    let event = with(
        timed("2026-07-02", ["09:00:00", "10:00:00"]),
        json!({ "id": "abcde", "summary": "Tea", "description": "", "location": "Hut", "transparency": "opaque",
            "visibility": "private", "hangoutLink": "x", "etag": "y", "created": "2000-01-01T00:00:00Z",
            "conferenceData": { "createRequest": { "requestId": "r" } },
            "extendedProperties": { "private": { "k": "v", "x".repeat(45): "v", "long": "v".repeat(2000) } } }),
    );
    let told = far.ask("POST", "?sendUpdates=none", event.clone()).await;
    let made = told.json();
    assert_eq!(told.header("etag"), made["etag"].as_str().unwrap());
    assert_eq!(
        made["start"],
        json!({ "dateTime": "2026-07-02T09:00:00+02:00", "timeZone": "Europe/Zurich" })
    );
    assert_eq!(made["iCalUID"], "abcde@google.com");
    assert_eq!(made["created"], "2026-03-01T12:00:00.000Z");
    assert_eq!(
        (&made["status"], &made["sequence"], &made["eventType"]),
        (&json!("confirmed"), &json!(0), &json!("default"))
    );
    assert_eq!(
        (&made["visibility"], &made["reminders"]),
        (&json!("private"), &json!({ "useDefault": true }))
    );
    assert_eq!(made["organizer"], json!({ "email": "anna@example.com", "self": true }));
    for absent in ["description", "transparency", "hangoutLink", "conferenceData"] {
        assert!(made[absent].is_null(), "{absent}");
    }
    let kept = &made["extendedProperties"]["private"];
    assert_eq!((kept.as_object().unwrap().len(), kept["long"].as_str().unwrap().len()), (2, 1024));
    let elsewhere = far.ask("GET", "/abcde?timeZone=America/New_York", Value::Null).await.json();
    assert_eq!(
        elsewhere["start"],
        json!({ "dateTime": "2026-07-02T03:00:00-04:00", "timeZone": "Europe/Zurich" })
    );
    let part = far.ask("GET", "/abcde?fields=id,start/dateTime", Value::Null).await.json();
    assert_eq!(part, json!({ "id": "abcde", "start": { "dateTime": "2026-07-02T09:00:00+02:00" } }));
    let etag = made["etag"].as_str().unwrap();
    let same =
        far.client.attempt("GET", &format!("{EVENTS}/abcde"), &[("if-none-match", etag)], "").await.unwrap();
    assert_eq!((same.status, same.text.as_str()), (304, ""));
    // The same identifier: taken, even when its event is deleted.
    assert_eq!(far.refused("POST", "", event.clone()).await, no(409, "duplicate"));
    assert_eq!(far.ask("DELETE", "/abcde", Value::Null).await.status, 204);
    assert_eq!(far.refused("POST", "", event).await, no(409, "duplicate"));
    let conference = with(
        timed("2026-07-02", ["09:00:00", "10:00:00"]),
        json!({ "conferenceData": { "createRequest": { "requestId": "r", "conferenceSolutionKey": { "type": "hangoutsMeet" } } } }),
    );
    let made = far.ask("POST", "?conferenceDataVersion=1", conference).await.json();
    assert_eq!(made["hangoutLink"], made["conferenceData"]["entryPoints"][0]["uri"]);
    let id = made["id"].as_str().unwrap();
    let kept = far.ask("PATCH", &format!("/{id}"), json!({ "summary": "b" })).await.json();
    assert_eq!(kept["conferenceData"], made["conferenceData"]);
}

#[tokio::test]
async fn patch_changes_what_is_named_and_put_everything() {
    let far = far().await;
    let event = with(
        timed("2026-03-02", ["09:00:00", "10:00:00"]),
        json!({ "id": "abcde", "location": "Hut", "description": "d", "recurrence": null,
            "extendedProperties": { "private": { "a": "1", "b": "2" } },
            "reminders": { "useDefault": false, "overrides": [{ "method": "popup", "minutes": 5 }, { "method": "email", "minutes": 9 }] } }),
    );
    far.made(event).await;
    let patch = json!({ "location": null, "summary": "new", "extendedProperties": { "private": { "a": null, "c": "3" } },
        "reminders": { "overrides": [{ "method": "popup", "minutes": 7 }] } });
    let told = far.ask("PATCH", "/abcde", patch).await.json();
    assert!(told["location"].is_null());
    assert_eq!((&told["summary"], &told["description"]), (&json!("new"), &json!("d")));
    assert_eq!(told["extendedProperties"]["private"], json!({ "b": "2", "c": "3" }));
    assert_eq!(told["reminders"]["overrides"], json!([{ "method": "popup", "minutes": 7 }]));
    assert_eq!(told["sequence"], 0);
    // A day does not replace a time by itself.
    let days = json!({ "start": { "date": "2026-03-02" }, "end": { "date": "2026-03-03" } });
    assert_eq!(far.refused("PATCH", "/abcde", days).await, no(400, "invalid"));
    let clear = |date: &str| json!({ "date": date, "dateTime": null, "timeZone": null });
    let days = json!({ "start": clear("2026-03-02"), "end": clear("2026-03-03") });
    let told = far.ask("PATCH", "/abcde", days).await.json();
    assert_eq!((&told["start"], &told["sequence"]), (&json!({ "date": "2026-03-02" }), &json!(1)));

    assert_eq!(far.refused("PUT", "/abcde", json!({ "summary": "x" })).await, no(400, "required"));
    let whole = timed("2026-03-05", ["09:00:00", "10:00:00"]);
    let told = far
        .ask("PUT", "/abcde", with(whole.clone(), json!({ "id": "fffff", "iCalUID": "other" })))
        .await
        .json();
    assert_eq!((&told["id"], &told["iCalUID"]), (&json!("abcde"), &json!("abcde@google.com")));
    assert!(told["description"].is_null() && told["extendedProperties"].is_null());
    assert_eq!(told["reminders"], json!({ "useDefault": true }));
    assert_eq!(
        far.refused("PUT", "/abcde", with(whole.clone(), json!({ "sequence": 0 }))).await,
        no(400, "invalid")
    );

    let etag = told["etag"].as_str().unwrap().to_owned();
    far.server.clock().advance(60_000);
    let reminded = far.ask("PATCH", "/abcde", json!({ "reminders": { "useDefault": false } })).await.json();
    assert_eq!(reminded["updated"], told["updated"]);
    assert_ne!(reminded["etag"], etag.as_str());
    for method in ["PATCH", "PUT", "DELETE"] {
        let body = if method == "DELETE" { String::new() } else { whole.to_string() };
        let path = format!("{EVENTS}/abcde");
        let stale = far.client.attempt(method, &path, &[("if-match", &etag)], body).await.unwrap();
        let want = json!({ "error": { "errors": [{ "domain": "global", "reason": "conditionNotMet", "message": "Precondition Failed",
            "locationType": "header", "location": "If-Match" }], "code": 412, "message": "Precondition Failed" } });
        assert_eq!((stale.status, stale.json()), (412, want));
    }
    let fresh = reminded["etag"].as_str().unwrap();
    let done =
        far.client.attempt("DELETE", &format!("{EVENTS}/abcde"), &[("if-match", fresh)], "").await.unwrap();
    assert_eq!((done.status, done.text.as_str()), (204, ""));
    assert_eq!(far.refused("DELETE", "/abcde", Value::Null).await, no(410, "deleted"));
    assert_eq!(far.refused("DELETE", "/never0", Value::Null).await, no(404, "notFound"));
    assert_eq!(far.ask("GET", "/abcde", Value::Null).await.json()["status"], "cancelled");
    let back = far.ask("PUT", "/abcde", with(whole, json!({ "status": "confirmed", "sequence": 9 }))).await;
    assert_eq!(back.json()["status"], "confirmed");
}

#[tokio::test]
async fn cursors_tell_what_changed_and_nothing_twice() {
    let far = far().await;
    for id in ["aaaaa", "bbbbb", "ccccc", "ddddd", "eeeee"] {
        far.made(with(timed("2026-03-02", ["09:00:00", "10:00:00"]), json!({ "id": id }))).await;
    }
    let first = far.list("maxResults=2").await;
    assert_eq!(ids(&first), ["aaaaa", "bbbbb"]);
    assert!(first["nextSyncToken"].is_null());
    // What happens between two pages is told by the next round at the latest.
    far.ask("PATCH", "/aaaaa", json!({ "summary": "x" })).await;
    far.ask("DELETE", "/ccccc", Value::Null).await;
    let page = |token: &Value| format!("maxResults=2&pageToken={}", token.as_str().unwrap());
    let second = far.list(&page(&first["nextPageToken"])).await;
    assert_eq!(ids(&second), ["ddddd", "eeeee"]);
    assert!(second["nextPageToken"].is_null());
    let token = second["nextSyncToken"].as_str().unwrap().to_owned();
    let told = far.list(&format!("maxResults=2&syncToken={token}")).await;
    assert_eq!(ids(&told), ["aaaaa", "ccccc"]);
    let gone = &told["items"][1];
    assert_eq!(gone["status"], "cancelled");
    assert!(gone["summary"].is_null() && gone["start"].is_null());
    let next = told["nextSyncToken"].as_str().unwrap();
    let quiet = far.list(&format!("maxResults=2&syncToken={next}")).await;
    assert_eq!(ids(&quiet), [""; 0]);
    for query in [
        "timeMin=2026-01-01T00:00:00Z",
        "timeMax=2026-01-01T00:00:00Z",
        "q=a",
        "orderBy=updated",
        "iCalUID=a",
        "showDeleted=false",
        "updatedMin=2026-02-28T00:00:00Z",
        "privateExtendedProperty=a%3Db",
        "singleEvents=true",
        "eventTypes=default",
    ] {
        let path = format!("?maxResults=2&syncToken={next}&{query}");
        assert_eq!(far.refused("GET", &path, Value::Null).await, no(400, "invalid"), "{query}");
    }
    assert_eq!(far.refused("GET", &format!("?syncToken={next}"), Value::Null).await, no(400, "invalid"));
    assert_eq!(far.refused("GET", "?syncToken=nonsense", Value::Null).await, no(400, "invalid"));
    assert_eq!(
        far.refused(
            "GET",
            &format!("?maxResults=3&pageToken={}", first["nextPageToken"].as_str().unwrap()),
            Value::Null
        )
        .await,
        no(400, "invalid")
    );
    far.server.act(&Act::ExpireCursor).unwrap();
    let told = far.ask("GET", &format!("?maxResults=2&syncToken={next}"), Value::Null).await;
    let want = json!({ "error": { "errors": [{ "domain": "calendar", "reason": "fullSyncRequired",
        "message": "Sync token is no longer valid, a full sync is required.", "locationType": "parameter", "location": "syncToken" }],
        "code": 410, "message": "Sync token is no longer valid, a full sync is required." } });
    assert_eq!((told.status, told.json()), (410, want));
    assert_eq!(
        far.refused("GET", "?updatedMin=2020-01-01T00:00:00Z", Value::Null).await,
        no(410, "updatedMinTooLongAgo")
    );
    assert!(far.list("orderBy=updated").await["nextSyncToken"].is_null());
    assert!(far.list("timeMin=2026-01-01T00:00:00Z").await["nextSyncToken"].is_string());
}

#[tokio::test]
async fn listings_are_narrowed() {
    let far = far().await;
    far.made(with(
        timed("2026-03-02", ["09:00:00", "10:00:00"]),
        json!({ "id": "aaaaa", "summary": "Red tea", "iCalUID": null }),
    ))
    .await;
    far.made(with(
        timed("2026-03-03", ["09:00:00", "10:00:00"]),
        json!({ "id": "bbbbb", "location": "Tea house",
        "extendedProperties": { "private": { "k": "v" } } }),
    ))
    .await;
    far.made(json!({ "id": "ccccc", "start": { "date": "2026-03-04" }, "end": { "date": "2026-03-06" }, "eventType": "default" })).await;
    far.ask("DELETE", "/ccccc", Value::Null).await;
    for (query, want) in [
        ("q=TEA", vec!["aaaaa", "bbbbb"]),
        ("q=red%20tea", vec!["aaaaa"]),
        ("iCalUID=bbbbb@google.com", vec!["bbbbb"]),
        ("privateExtendedProperty=k%3Dv", vec!["bbbbb"]),
        ("privateExtendedProperty=k%3Dw", vec![]),
        ("showDeleted=true", vec!["aaaaa", "bbbbb", "ccccc"]),
        // timeMin is about ends, timeMax about beginnings.
        ("timeMin=2026-03-02T09:00:00Z", vec!["bbbbb"]),
        ("timeMax=2026-03-03T08:00:00Z", vec!["aaaaa"]),
        ("timeMax=2026-03-03T08:00:01Z", vec!["aaaaa", "bbbbb"]),
        ("eventTypes=focusTime&eventTypes=birthday", vec![]),
        ("eventTypes=focusTime&eventTypes=default", vec!["aaaaa", "bbbbb"]),
    ] {
        assert_eq!(ids(&far.list(query).await), want, "{query}");
    }
    // A query too long for an address comes as a form.
    let headers = [("x-http-method-override", "GET"), ("content-type", "application/x-www-form-urlencoded")];
    let told = far.client.attempt("POST", EVENTS, &headers, "q=red&maxResults=5").await.unwrap();
    assert_eq!(ids(&told.json()), ["aaaaa"]);
}

#[tokio::test]
async fn series_have_instances_exceptions_and_ends() {
    let far = far().await;
    // Summer time begins on 2026-03-29 in Zurich.
    let weekly = with(
        timed("2026-03-16", ["09:00:00", "10:00:00"]),
        json!({ "id": "abcde", "recurrence": ["RRULE:FREQ=WEEKLY;COUNT=5"] }),
    );
    far.made(weekly).await;
    let days = json!({ "id": "fghij", "summary": "days", "start": { "date": "2026-03-20" }, "end": { "date": "2026-03-21" },
        "recurrence": ["RRULE:FREQ=DAILY;COUNT=2", "EXDATE;VALUE=DATE:20260321"] });
    far.made(days).await;
    let instances = far.ask("GET", "/abcde/instances", Value::Null).await.json();
    let names = [
        "abcde_20260316T080000Z",
        "abcde_20260323T080000Z",
        "abcde_20260330T070000Z",
        "abcde_20260406T070000Z",
        "abcde_20260413T070000Z",
    ];
    assert_eq!(ids(&instances), names);
    assert_eq!(instances["items"][2]["start"]["dateTime"], "2026-03-30T09:00:00+02:00");
    assert_eq!(instances["items"][2]["recurringEventId"], "abcde");
    assert!(instances["items"][2]["recurrence"].is_null());
    assert_eq!(ids(&far.ask("GET", "/fghij/instances", Value::Null).await.json()), ["fghij_20260320"]);
    let paged = far.ask("GET", "/abcde/instances?maxResults=3", Value::Null).await.json();
    let token = paged["nextPageToken"].as_str().unwrap();
    let rest =
        far.ask("GET", &format!("/abcde/instances?maxResults=3&pageToken={token}"), Value::Null).await.json();
    assert_eq!(ids(&rest), names[3..]);
    let cursor = far.list("").await["nextSyncToken"].as_str().unwrap().to_owned();

    // An instance is changed, another cancelled.
    let moved = with(timed("2026-03-24", ["11:00:00", "12:00:00"]), json!({ "summary": "moved" }));
    let told = far.ask("PATCH", "/abcde_20260323T080000Z", moved).await.json();
    assert_eq!(
        told["originalStartTime"],
        json!({ "dateTime": "2026-03-23T09:00:00+01:00", "timeZone": "Europe/Zurich" })
    );
    assert_eq!(told["iCalUID"], "abcde@google.com");
    assert_eq!(far.ask("DELETE", "/abcde_20260413T070000Z", Value::Null).await.status, 204);
    assert_eq!(far.refused("DELETE", "/abcde_20260413T070000Z", Value::Null).await, no(410, "deleted"));
    assert_eq!(far.refused("GET", "/abcde_20260501T070000Z", Value::Null).await, no(404, "notFound"));
    assert_eq!(far.refused("GET", "/abcde_20260316", Value::Null).await, no(404, "notFound"));
    assert_eq!(
        far.refused("PATCH", "/abcde_20260316T080000Z", json!({ "recurrence": ["RRULE:FREQ=DAILY"] })).await,
        no(400, "invalid")
    );
    let changed = far.list(&format!("syncToken={cursor}")).await;
    assert_eq!(ids(&changed), ["abcde_20260323T080000Z", "abcde_20260413T070000Z"]);
    let cancelled = &changed["items"][1];
    assert_eq!(
        (&cancelled["status"], &cancelled["recurringEventId"]),
        (&json!("cancelled"), &json!("abcde"))
    );
    assert_eq!(cancelled["originalStartTime"]["dateTime"], "2026-04-13T09:00:00+02:00");
    assert!(cancelled["summary"].is_null());
    // Cancelled instances come with every listing of series, so that they are known for as long as those.
    assert_eq!(
        ids(&far.list("").await),
        ["abcde", "abcde_20260323T080000Z", "abcde_20260413T070000Z", "fghij"]
    );
    let single = far
        .list("singleEvents=true&orderBy=startTime&timeMin=2026-03-20T00:00:00Z&timeMax=2026-04-20T00:00:00Z")
        .await;
    let want =
        ["fghij_20260320", "abcde_20260323T080000Z", "abcde_20260330T070000Z", "abcde_20260406T070000Z"];
    assert_eq!(ids(&single), want);
    // A series touches a window if one of its instances does.
    assert_eq!(ids(&far.list("timeMin=2026-04-01T00:00:00Z").await), ["abcde", "abcde_20260413T070000Z"]);

    // A shorter series loses the exceptions behind its end; a deleted one all.
    let shorter = far
        .ask("PATCH", "/abcde", json!({ "recurrence": ["RRULE:FREQ=WEEKLY;UNTIL=20260318T000000Z"] }))
        .await;
    assert_eq!(shorter.status, 200, "{shorter:?}");
    let told = far.ask("GET", "/abcde_20260323T080000Z", Value::Null).await.json();
    assert_eq!(told["status"], "cancelled");
    assert_eq!(
        ids(&far.ask("GET", "/abcde/instances", Value::Null).await.json()),
        ["abcde_20260316T080000Z"]
    );
    far.ask("DELETE", "/abcde", Value::Null).await;
    assert_eq!(ids(&far.ask("GET", "/abcde/instances", Value::Null).await.json()), [""; 0]);
    let left = far.list("").await;
    assert!(
        left["items"]
            .as_array()
            .unwrap()
            .iter()
            .all(|item| item["id"] == "fghij" || item["status"] == "cancelled")
    );
    assert_eq!(far.google.events("primary").len(), 1);
}

#[tokio::test]
async fn events_are_imported_and_moved() {
    let far = far().await;
    let event = with(
        timed("2026-03-02", ["09:00:00", "10:00:00"]),
        json!({ "iCalUID": "u@x", "organizer": { "email": "ben@x.example" } }),
    );
    assert_eq!(
        far.refused("POST", "/import", timed("2026-03-02", ["09:00:00", "10:00:00"])).await,
        no(400, "required")
    );
    let made = far.ask("POST", "/import", event.clone()).await.json();
    assert_eq!(made["organizer"]["email"], "ben@x.example");
    let again = far.ask("POST", "/import", with(event.clone(), json!({ "summary": "b" }))).await.json();
    assert_eq!((&again["id"], &again["summary"]), (&made["id"], &json!("b")));
    assert_eq!(far.refused("POST", "", event).await, no(409, "duplicate"));
    let id = made["id"].as_str().unwrap();
    assert_eq!(far.refused("POST", &format!("/{id}/move"), Value::Null).await, no(400, "required"));
    let moved = far
        .ask("POST", &format!("/{id}/move?destination=team@group.calendar.google.com"), Value::Null)
        .await
        .json();
    assert_eq!((&moved["id"], &moved["organizer"]["displayName"]), (&made["id"], &json!("Team")));
    assert_eq!(far.ask("GET", &format!("/{id}"), Value::Null).await.json()["status"], "cancelled");
    assert_eq!(far.google.events("team@group.calendar.google.com").len(), 1);
}

#[tokio::test]
async fn calendars_are_listed_made_and_taken_away() {
    let far = far().await;
    let list = "/calendar/v3/users/me/calendarList";
    let all = far.client.get(list).await.json();
    let primary = &all["items"][0];
    assert_eq!(
        (&primary["id"], &primary["primary"], &primary["accessRole"]),
        (&json!("anna@example.com"), &json!(true), &json!("owner"))
    );
    assert_eq!(all["items"].as_array().unwrap().len(), 3);
    assert_eq!(
        far.client.get(&format!("{list}?minAccessRole=writer")).await.json()["items"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
    let page = far.client.get(&format!("{list}?maxResults=2")).await.json();
    assert!(page["nextSyncToken"].is_null());
    let rest = far
        .client
        .get(&format!("{list}?maxResults=2&pageToken={}", page["nextPageToken"].as_str().unwrap()))
        .await
        .json();
    assert_eq!(rest["items"].as_array().unwrap().len(), 1);
    let token = rest["nextSyncToken"].as_str().unwrap().to_owned();
    let made = far
        .client
        .ask("POST", "/calendar/v3/calendars", json!({ "summary": "New", "timeZone": "Asia/Tokyo" }))
        .await
        .json();
    assert!(made["accessRole"].is_null());
    let id = made["id"].as_str().unwrap().replace('@', "%40");
    let changed = far.client.get(&format!("{list}?syncToken={token}")).await.json();
    assert_eq!(changed["items"][0]["summary"], "New");
    assert_eq!(far.client.get(&format!("{list}?syncToken={token}&minAccessRole=owner")).await.status, 400);
    let patched = far
        .client
        .ask("PATCH", &format!("{list}/{id}"), json!({ "colorId": "1", "selected": false }))
        .await
        .json();
    assert_eq!(patched["backgroundColor"], "#ac725e");
    assert_eq!(
        far.client
            .ask("PATCH", &format!("{list}/{id}"), json!({ "backgroundColor": "#123456" }))
            .await
            .status,
        400
    );
    assert_eq!(
        far.client.ask("DELETE", &format!("/calendar/v3/calendars/{id}"), Value::Null).await.status,
        204
    );
    assert_eq!(far.client.get(&format!("/calendar/v3/calendars/{id}")).await.status, 404);
    let token = changed["nextSyncToken"].as_str().unwrap();
    assert_eq!(
        far.client.get(&format!("{list}?syncToken={token}")).await.json()["items"][0]["deleted"],
        true
    );
    assert_eq!(far.client.ask("DELETE", "/calendar/v3/calendars/primary", Value::Null).await.status, 403);
    far.server.act(&Act::ExpireCursor).unwrap();
    assert_eq!(far.client.get(&format!("{list}?syncToken={token}")).await.reason(), "fullSyncRequired");
    let colours = far.client.get("/calendar/v3/colors").await.json();
    assert_eq!(
        (&colours["event"]["11"]["background"], &colours["calendar"]["16"]["background"]),
        (&json!("#dc2127"), &json!("#4986e7"))
    );
}

#[tokio::test]
async fn busy_times_are_told() {
    let far = far().await;
    far.made(timed("2026-03-02", ["09:00:00", "10:00:00"])).await;
    far.made(timed("2026-03-02", ["09:30:00", "11:00:00"])).await;
    far.made(with(timed("2026-03-02", ["14:00:00", "15:00:00"]), json!({ "transparency": "transparent" })))
        .await;
    far.made(with(
        timed("2026-03-01", ["16:00:00", "17:00:00"]),
        json!({ "recurrence": ["RRULE:FREQ=DAILY"] }),
    ))
    .await;
    let asked = json!({ "timeMin": "2026-03-02T00:00:00Z", "timeMax": "2026-03-03T00:00:00Z", "items": [{ "id": "primary" }, { "id": "no" }] });
    let told = far.client.ask("POST", "/calendar/v3/freeBusy", asked).await.json();
    let busy = json!([{ "start": "2026-03-02T08:00:00Z", "end": "2026-03-02T10:00:00Z" }, { "start": "2026-03-02T15:00:00Z", "end": "2026-03-02T16:00:00Z" }]);
    assert_eq!(told["calendars"]["primary"]["busy"], busy);
    assert_eq!(told["calendars"]["no"]["errors"][0]["reason"], "notFound");
}

#[tokio::test]
async fn channels_are_opened_and_stopped() {
    let far = far().await;
    let hook = start(Arc::new(Google::new()), |_| {}).await;
    let address = format!("{}/hook", hook.url());
    let channel = |id: &str| json!({ "id": id, "type": "web_hook", "address": address, "token": "t", "params": { "ttl": "3600" } });
    let told = far.ask("POST", "/watch?singleEvents=false", channel("one")).await.json();
    assert_eq!(
        (&told["kind"], &told["expiration"]),
        (&json!("api#channel"), &json!((NOW + 3_600_000).to_string()))
    );
    assert_eq!(far.refused("POST", "/watch", channel("one")).await, no(400, "channelIdNotUnique"));
    let far_away = with(channel("two"), json!({ "address": "http://a.example/hook" }));
    assert_eq!(far.refused("POST", "/watch", far_away).await, no(400, "push.webhookUrlNotHttps"));
    assert_eq!(
        far.refused("POST", "/watch", with(channel("two"), json!({ "expiration": 5 }))).await,
        no(400, "invalid")
    );
    let holidays = "/calendar/v3/calendars/en.ch%23holiday%40group.v.calendar.google.com/events/watch";
    let silent = far.client.ask("POST", holidays, channel("three")).await;
    assert_eq!((silent.status, silent.reason().as_str()), (400, "pushNotSupportedForRequestedResource"));
    let resource = told["resourceId"].as_str().unwrap();
    far.made(timed("2026-03-02", ["09:00:00", "10:00:00"])).await;
    far.server.scene().post.idle().await;
    assert_eq!(hook.log().count(), 2);
    let stop = |resource: &str| json!({ "id": "one", "resourceId": resource });
    assert_eq!(far.client.ask("POST", "/calendar/v3/channels/stop", stop("other")).await.status, 404);
    assert_eq!(far.client.ask("POST", "/calendar/v3/channels/stop", stop(resource)).await.status, 204);
    assert_eq!(far.client.ask("POST", "/calendar/v3/channels/stop", stop(resource)).await.status, 404);
    far.made(timed("2026-03-02", ["09:00:00", "10:00:00"])).await;
    far.server.scene().post.idle().await;
    assert_eq!((hook.log().count(), far.google.open_channels(NOW)), (2, 0));
    // A channel that has run out is silent.
    far.ask("POST", "/watch", channel("four")).await;
    far.server.clock().advance(3_600_001);
    far.server.act(&Act::Own { name: "happen".into(), with: Value::Null }).unwrap();
    far.server.scene().post.idle().await;
    assert_eq!(hook.log().count(), 3);
}

fn batch(calls: &[(String, String)]) -> String {
    let mut text = String::new();
    for (number, (line, body)) in calls.iter().enumerate() {
        text.push_str(&format!("--x y\r\nContent-Type: application/http\r\nContent-ID: <u + {number}>\r\n\r\n{line}\r\n\r\n{body}\r\n"));
    }
    text + "--x y--"
}

#[tokio::test]
async fn a_batch_is_several_calls() {
    let far = far().await;
    let made = far.made(with(timed("2026-03-02", ["09:00:00", "10:00:00"]), json!({ "id": "abcde" }))).await;
    let json_head = "\r\nContent-Type: application/json";
    let calls = [
        (format!("GET {EVENTS}/abcde HTTP/1.1\r\nHost: x"), String::new()),
        (
            format!("POST {EVENTS} HTTP/1.1{json_head}"),
            with(timed("2026-03-02", ["09:00:00", "10:00:00"]), json!({ "id": "fghij" })).to_string(),
        ),
        (
            format!("PATCH {EVENTS}/abcde HTTP/1.1\r\nIf-Match: \"0\"{json_head}"),
            json!({ "summary": "no" }).to_string(),
        ),
        (format!("DELETE {EVENTS}/nobody HTTP/1.1"), String::new()),
    ];
    let kind = [("content-type", "multipart/mixed; boundary=\"x y\"")];
    far.server.log().clear();
    let told = far.client.attempt("POST", "/batch/calendar/v3", &kind, batch(&calls)).await.unwrap();
    assert_eq!(told.status, 200, "{told:?}");
    let boundary = told.header("content-type").split("boundary=").nth(1).unwrap().to_owned();
    let part = |number: usize| {
        let mark = format!("Content-ID: <response-u + {number}>");
        told.text.split(&format!("--{boundary}")).find(|part| part.contains(&mark)).unwrap().to_owned()
    };
    for (number, want) in ["200 OK", "200 OK", "412 Precondition Failed", "404 Not Found"].iter().enumerate()
    {
        assert!(part(number).contains(&format!("HTTP/1.1 {want}")), "{}", part(number));
    }
    assert!(part(0).contains(made["etag"].as_str().unwrap().trim_matches('"')));
    let log = far.server.log().entries();
    assert_eq!(
        (log.len(), log.iter().filter(|entry| entry.batched).count(), far.server.log().writes()),
        (5, 4, 1)
    );
    // A call of a batch meets the script as if it had come alone.
    far.server.fault(Rule::on("DELETE", "*/nobody", Fault::Throttle { retry_after: None }));
    let told = far.client.attempt("POST", "/batch/calendar/v3", &kind, batch(&calls[3..])).await.unwrap();
    assert!(told.status == 200 && told.text.contains("HTTP/1.1 403"), "{told:?}");
    let many = vec![calls[0].clone(); 51];
    assert_eq!(
        far.client.attempt("POST", "/batch/calendar/v3", &kind, batch(&many)).await.unwrap().status,
        400
    );
    let cut = batch(&calls);
    let cut = cut.trim_end_matches("--x y--").to_owned();
    assert_eq!(far.client.attempt("POST", "/batch/calendar/v3", &kind, cut).await.unwrap().status, 400);
}

#[tokio::test]
async fn quotas_stale_reads_and_rewriting_are_there_on_request() {
    let far = far().await;
    far.made(with(timed("2026-03-02", ["09:00:00", "10:00:00"]), json!({ "id": "abcde" }))).await;
    let cursor = far.list("").await["nextSyncToken"].as_str().unwrap().to_owned();
    far.ask("PATCH", "/abcde", json!({ "summary": "new" })).await;
    far.server.fault(Rule::on("GET", "*/events*", Fault::StaleRead).times(2));
    assert_eq!(far.ask("GET", "/abcde", Value::Null).await.json()["summary"], "a");
    let stale = far.list(&format!("syncToken={cursor}")).await;
    assert_eq!(ids(&stale), [""; 0]);
    // What was kept back is told by the cursor that came with the stale page.
    let next = stale["nextSyncToken"].as_str().unwrap();
    assert_eq!(ids(&far.list(&format!("syncToken={next}")).await), ["abcde"]);

    let normalise = |field: &str, how: &str| Act::Normalise { field: field.into(), how: how.into() };
    for (field, how) in
        [("description", "html"), ("location", "trim"), ("start", "minute"), ("colorId", "drop")]
    {
        far.server.act(&normalise(field, how)).unwrap();
    }
    let event = with(
        timed("2026-03-02", ["09:00:30", "10:00:00"]),
        json!({ "description": "a\nb", "location": " x  y ", "colorId": "3" }),
    );
    let told = far.made(event.clone()).await;
    assert_eq!((&told["description"], &told["location"]), (&json!("<p>a<br>b</p>"), &json!("x y")));
    assert_eq!(told["start"]["dateTime"], "2026-03-02T09:00:00+01:00");
    assert!(told["colorId"].is_null());
    far.server.act(&normalise("description", "none")).unwrap();
    assert_eq!(far.made(event).await["description"], "a\nb");

    far.server.act(&Act::Quota { per_minute: Some(4) }).unwrap();
    assert_eq!(far.ask("PATCH", "/abcde", json!({ "summary": "x" })).await.status, 200);
    assert_eq!(far.ask("GET", "/abcde", Value::Null).await.status, 200);
    assert_eq!(far.refused("GET", "/abcde", Value::Null).await, no(403, "userRateLimitExceeded"));
    far.server.clock().advance(60_001);
    assert_eq!(far.ask("GET", "/abcde", Value::Null).await.status, 200);
}

#[tokio::test]
async fn who_would_be_mailed_is_counted() {
    let far = far().await;
    let guests = json!({ "attendees": [{ "email": "ben@x.example" }, { "email": "cleo@x.example" }] });
    let event = with(timed("2026-03-02", ["09:00:00", "10:00:00"]), guests);
    far.made(timed("2026-03-02", ["09:00:00", "10:00:00"])).await;
    assert_eq!(far.google.guests_and_mails(), (0, 0));
    let made = far.ask("POST", "?sendUpdates=none", event.clone()).await.json();
    assert_eq!(far.google.guests_and_mails(), (1, 0));
    far.ask("POST", "?sendUpdates=all", event).await;
    assert_eq!(far.google.guests_and_mails(), (2, 1));
    let path = format!("/{}?maxAttendees=1", made["id"].as_str().unwrap());
    let short = far.ask("GET", &path, Value::Null).await.json();
    assert_eq!((short["attendees"].as_array().unwrap().len(), &short["attendeesOmitted"]), (1, &json!(true)));
}

#[tokio::test]
async fn a_filled_calendar_lives() {
    let google = Arc::new(Google::new());
    google.fill(300, 5, NOW);
    let server = start(Arc::clone(&google) as _, |options| options.clock = Clock::fixed(NOW)).await;
    assert_eq!(google.events("primary").len(), 300);
    for _ in 0..50 {
        server.act(&Act::Own { name: "happen".into(), with: Value::Null }).unwrap();
    }
    assert_ne!(google.events("primary").len(), 300);
    assert!(server.act(&Act::Own { name: "unheard_of".into(), with: Value::Null }).is_err());
}

/// A simulator that runs for days forgets what was deleted; whoever comes with a cursor from before that begins anew.
#[tokio::test]
async fn what_was_deleted_long_ago_is_forgotten() {
    let far = far().await;
    let before = far.list("maxResults=50").await["nextSyncToken"].as_str().unwrap().to_owned();
    for _ in 0..20 {
        let made = far.made(timed("2026-03-02", ["10:00:00", "11:00:00"])).await;
        let path = format!("/{}", made["id"].as_str().unwrap());
        assert_eq!(far.ask("DELETE", &path, Value::Null).await.status, 204);
    }
    let kept = far.made(timed("2026-03-03", ["10:00:00", "11:00:00"])).await;
    let late = far.list("maxResults=50").await["nextSyncToken"].as_str().unwrap().to_owned();
    assert_eq!(ids(&far.list("showDeleted=true").await).len(), 21);
    far.own("forget", json!({ "changes": 5 }));
    let all = far.list("showDeleted=true").await;
    assert_eq!(ids(&all).len(), 3, "two deletions of the last five changes, and what is there");
    assert!(ids(&all).contains(&kept["id"].as_str().unwrap()));
    let gone = far.refused("GET", &format!("?maxResults=50&syncToken={before}"), Value::Null).await;
    assert_eq!(gone, no(410, "fullSyncRequired"));
    assert!(ids(&far.list(&format!("maxResults=50&syncToken={late}")).await).is_empty());
}

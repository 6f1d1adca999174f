//! The simulated Outlook keeps the rules of Microsoft Graph, over real HTTP.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use http_body_util::{BodyExt as _, Full};
use kalends::http::fetch::{Call, Fetch, FetchError, Private, Timeouts};
use kalends::sim::outlook::Outlook;
use kalends::sim::{Act, Clock, Fault, Manners, Options, Point, Rule, Running, Server};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use url::Url;

/// 2026-03-01T12:00:00Z, in milliseconds.
const NOW: i64 = 1_772_366_400_000;
const WINDOW: &str = "startDateTime=2026-01-01T00:00:00Z&endDateTime=2027-01-01T00:00:00Z";
const IMMUTABLE: (&str, &str) = ("prefer", "IdType=\"ImmutableId\"");
const MARK: &str = "String {66f5a359-4659-4830-9070-00047ec6ac6e} Name kalends";

struct Far {
    server: Running,
    outlook: Arc<Outlook>,
    fetch: Fetch,
    token: Option<&'static str>,
}

struct Told {
    status: u16,
    headers: HeaderMap,
    body: Value,
    text: String,
}

impl Told {
    fn code(&self) -> &str {
        self.body["error"]["code"].as_str().unwrap_or_default()
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    #[track_caller]
    fn is(self, status: u16) -> Told {
        assert_eq!(self.status, status, "{}", self.text);
        self
    }

    #[track_caller]
    fn fails(self, status: u16, code: &str) -> Told {
        assert_eq!((self.status, self.code()), (status, code), "{}", self.text);
        // The shape of every refusal.
        let error = &self.body["error"];
        assert!(error["message"].is_string() && error["innerError"]["request-id"].is_string(), "{error}");
        self
    }

    fn rows(&self) -> &Vec<Value> {
        self.body["value"].as_array().unwrap_or_else(|| panic!("{}", self.text))
    }
}

fn enc(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_else(|| panic!("{field} in {value}"))
}

impl Far {
    async fn start() -> Far {
        let outlook = Arc::new(Outlook::new("anna@example.org").with_token("tok"));
        let options = Options { clock: Clock::fixed(NOW), ..Options::default() };
        let server = Server::start(options, outlook.clone()).await.unwrap();
        let fetch = Fetch::new(Private::Allowed, Timeouts::default()).unwrap();
        Far { server, outlook, fetch, token: Some("tok") }
    }

    async fn send(
        &self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Result<Told, FetchError> {
        let mut sent = HeaderMap::new();
        if let Some(token) = self.token {
            sent.insert("authorization", format!("Bearer {token}").parse().unwrap());
        }
        for (name, value) in headers {
            sent.append(name.parse::<HeaderName>().unwrap(), HeaderValue::from_str(value).unwrap());
        }
        let base = self.server.url();
        let url = if target.starts_with("http") { target.to_owned() } else { format!("{base}{target}") };
        let method: Method = method.parse().unwrap();
        let url = Url::parse(&url).unwrap();
        let call = Call { method, url, headers: sent, body: body.into(), limit: 8 << 20 };
        let answer = self.fetch.send(call).await?;
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        let body = serde_json::from_str(&text).unwrap_or_default();
        Ok(Told { status: answer.status.as_u16(), headers: answer.headers, body, text })
    }

    async fn with(&self, method: &str, target: &str, headers: &[(&str, &str)], body: Value) -> Told {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let target = if target.starts_with('/') { format!("/v1.0{target}") } else { target.to_owned() };
        self.send(method, &target, headers, body).await.unwrap()
    }

    async fn get(&self, target: &str) -> Told {
        self.with("GET", target, &[IMMUTABLE], Value::Null).await
    }

    async fn post(&self, target: &str, body: Value) -> Told {
        self.with("POST", target, &[IMMUTABLE], body).await
    }

    async fn patch(&self, id: &str, body: Value) -> Told {
        self.with("PATCH", &format!("/me/events/{}", enc(id)), &[IMMUTABLE], body).await
    }

    async fn delete(&self, id: &str) -> Told {
        self.with("DELETE", &format!("/me/events/{}", enc(id)), &[IMMUTABLE], Value::Null).await
    }

    async fn make(&self, body: Value) -> String {
        text(&self.post("/me/events", body).await.is(201).body, "id").to_owned()
    }

    /// Reads a round to its end: rows of all pages and the delta link.
    async fn round(&self, start: &str, headers: &[(&str, &str)]) -> (Vec<Value>, String) {
        let mut link = start.to_owned();
        let mut rows = Vec::new();
        for _ in 0..100 {
            let told = self.with("GET", &link, headers, Value::Null).await.is(200);
            rows.extend(told.rows().clone());
            match told.body["@odata.nextLink"].as_str() {
                Some(next) => link = next.to_owned(),
                None => return (rows, text(&told.body, "@odata.deltaLink").to_owned()),
            }
        }
        panic!("no end of pages");
    }

    fn habits(&self, with: Value) {
        self.server.act(&Act::Own { name: "habits".into(), with }).unwrap();
    }
}

fn at(date: &str, hour: u32) -> Value {
    json!({ "dateTime": format!("{date}T{hour:02}:00:00"), "timeZone": "Europe/Berlin" })
}

fn event(subject: &str, date: &str) -> Value {
    json!({ "subject": subject, "start": at(date, 10), "end": at(date, 11) })
}

fn merged(mut one: Value, more: Value) -> Value {
    one.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    one
}

fn weekly(subject: &str, date: &str, count: u32) -> Value {
    let recurrence = json!({
        "pattern": { "type": "weekly", "interval": 1, "daysOfWeek": ["monday"] },
        "range": { "type": "numbered", "startDate": date, "numberOfOccurrences": count },
    });
    merged(event(subject, date), json!({ "recurrence": recurrence }))
}

/// What a test's own receiver was sent.
#[derive(Clone, Default)]
struct Inbox(Arc<Mutex<Vec<(Url, Value)>>>);

impl Inbox {
    /// Answers handshakes with what `echo` makes of the token.
    async fn open(echo: fn(&str) -> String) -> (Inbox, String) {
        let inbox = Inbox::default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let (kept, root) = (inbox.clone(), base.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (kept, root) = (kept.clone(), root.clone());
                tokio::spawn(async move {
                    let service =
                        hyper::service::service_fn(move |request: http::Request<hyper::body::Incoming>| {
                            let (kept, root) = (kept.clone(), root.clone());
                            async move {
                                let url = Url::parse(&format!("{root}{}", request.uri())).unwrap();
                                let token = url.query_pairs().find(|(name, _)| name == "validationToken");
                                let token = token.map(|(_, value)| value.into_owned());
                                let body = request.into_body().collect().await.unwrap().to_bytes();
                                match token {
                                    Some(token) => http::Response::builder()
                                        .header("content-type", "text/plain")
                                        .body(Full::new(Bytes::from(echo(&token)))),
                                    None => {
                                        let body = serde_json::from_slice(&body).unwrap();
                                        kept.0.lock().unwrap().push((url, body));
                                        http::Response::builder().status(202).body(Full::default())
                                    }
                                }
                            }
                        });
                    let io = hyper_util::rt::TokioIo::new(stream);
                    let _ = hyper::server::conn::http1::Builder::new().serve_connection(io, service).await;
                });
            }
        });
        (inbox, base)
    }

    fn taken(&self) -> Vec<(Url, Value)> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

#[tokio::test]
async fn without_a_token_that_is_known_nothing_is_told() {
    let mut far = Far::start().await;
    far.get("/me").await.is(200);
    far.token = None;
    far.get("/me").await.fails(401, "InvalidAuthenticationToken");
    far.token = Some("other");
    far.get("/me/calendars").await.fails(401, "InvalidAuthenticationToken");
    far.token = Some("tok");
    assert_eq!(text(&far.get("/users/anna@example.org").await.is(200).body, "mail"), "anna@example.org");
    far.get("/users/berta@example.org/events").await.fails(404, "Request_ResourceNotFound");
    far.get("/me/nothing").await.fails(404, "ResourceNotFound");
    assert_eq!(
        text(&far.get("/me/mailboxSettings").await.is(200).body, "timeZone"),
        "W. Europe Standard Time"
    );
}

#[tokio::test]
async fn calendars_are_made_changed_and_removed() {
    let far = Far::start().await;
    let made = far.post("/me/calendars", json!({ "name": "Work" })).await.is(201);
    let id = text(&made.body, "id").to_owned();
    far.post("/me/calendars", json!({ "name": "Work" })).await.fails(409, "ErrorFolderExists");
    far.post("/me/calendars", json!({ "name": "X", "colour": "auto" })).await.fails(400, "RequestBodyRead");
    far.post("/me/calendars", json!({ "name": "X", "color": "pink" })).await.fails(400, "RequestBodyRead");
    far.with("PATCH", &format!("/me/calendars/{}", enc(&id)), &[], json!({ "color": "lightBlue" }))
        .await
        .is(200);
    let listed = far.get("/me/calendars?$top=1").await.is(200);
    assert_eq!(listed.rows().len(), 1);
    assert_eq!(listed.rows()[0]["isDefaultCalendar"], true);
    let next = far.get(text(&listed.body, "@odata.nextLink")).await.is(200);
    assert_eq!((&next.rows()[0]["name"], &next.rows()[0]["color"]), (&json!("Work"), &json!("lightBlue")));
    far.with("DELETE", "/me/calendar", &[], Value::Null).await.fails(400, "ErrorDeleteDistinguishedFolder");
    // An event is found below its own calendar only, or below none.
    let inside =
        far.post(&format!("/me/calendars/{}/events", enc(&id)), event("A", "2026-03-02")).await.is(201);
    let event_id = enc(text(&inside.body, "id"));
    far.get(&format!("/me/events/{event_id}")).await.is(200);
    far.get(&format!("/me/calendars/{}/events/{event_id}", enc(&id))).await.is(200);
    far.get(&format!("/me/calendar/events/{event_id}")).await.fails(404, "ErrorItemNotFound");
    far.outlook.writable(&id, false);
    far.with("DELETE", &format!("/me/events/{event_id}"), &[], Value::Null)
        .await
        .fails(403, "ErrorAccessDenied");
    far.outlook.writable(&id, true);
    far.with("DELETE", &format!("/me/calendars/{}", enc(&id)), &[], Value::Null).await.is(204);
    far.get(&format!("/me/events/{event_id}")).await.fails(404, "ErrorItemNotFound");
    far.get(&format!("/me/calendars/{}", enc(&id))).await.fails(404, "ErrorItemNotFound");
    far.get("/me/events/nonsense").await.fails(400, "ErrorInvalidIdMalformed");
}

#[tokio::test]
async fn an_event_is_shown_as_exchange_keeps_it() {
    let far = Far::start().await;
    let body = merged(
        event("A", "2026-03-02"),
        json!({ "body": { "contentType": "text", "content": "1 < 2\nline" }, "location": { "displayName": "Here" } }),
    );
    let made = far.post("/me/events", body).await.is(201);
    assert_eq!(made.body["start"], json!({ "dateTime": "2026-03-02T09:00:00.0000000", "timeZone": "UTC" }));
    assert_eq!(made.body["originalStartTimeZone"], "W. Europe Standard Time");
    // The default reminder is on where nothing is said of it.
    assert_eq!(
        (&made.body["isReminderOn"], &made.body["reminderMinutesBeforeStart"]),
        (&json!(true), &json!(15))
    );
    assert_eq!((&made.body["showAs"], &made.body["type"]), (&json!("busy"), &json!("singleInstance")));
    assert!(text(&made.body["body"], "content").starts_with("<html>"), "{}", made.body["body"]);
    assert_eq!(made.body["locations"].as_array().unwrap().len(), 1);
    assert!(made.body.get("transactionId").is_none() && made.body.get("originalStart").is_none());
    let etag = text(&made.body, "@odata.etag").to_owned();
    assert_eq!(etag, format!("W/\"{}\"", text(&made.body, "changeKey")));

    let id = text(&made.body, "id").to_owned();
    let target = format!("/me/events/{}", enc(&id));
    let prefers = [
        ("prefer", "outlook.timezone=\"Tokyo Standard Time\", outlook.body-content-type=\"text\""),
        IMMUTABLE,
    ];
    let read = far.with("GET", &target, &prefers, Value::Null).await.is(200);
    assert_eq!(read.body["start"]["dateTime"], "2026-03-02T18:00:00.0000000");
    assert_eq!(read.body["body"], json!({ "contentType": "text", "content": "1 < 2\r\nline" }));
    assert!(read.header("preference-applied").contains("outlook.timezone"));
    // Without the preference the same event has another id; both are understood.
    let plain = far.with("GET", &target, &[], Value::Null).await.is(200);
    assert_ne!(text(&plain.body, "id"), id);
    far.get(&format!("/me/events/{}", enc(text(&plain.body, "id")))).await.is(200);
    let odd = [("prefer", "outlook.timezone=\"Europe/Vienna\"")];
    far.with("GET", &target, &odd, Value::Null).await.fails(400, "TimeZoneNotSupportedException");

    let few = far.get(&format!("{target}?$select=subject,end")).await.is(200);
    let names: BTreeSet<&str> = few.body.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(names, BTreeSet::from(["@odata.context", "@odata.etag", "end", "id", "subject"]));
    far.get(&format!("{target}?$select=uid")).await.fails(400, "RequestBroker--ParseUri");
    far.get(&format!("{target}?fields=id")).await.fails(400, "ErrorInvalidUrlQuery");
}

#[tokio::test]
async fn a_change_needs_the_state_that_it_names() {
    let far = Far::start().await;
    let made = far.post("/me/events", event("A", "2026-03-02")).await.is(201);
    let target = format!("/me/events/{}", enc(text(&made.body, "id")));
    let old = text(&made.body, "@odata.etag").to_owned();
    let held = [("if-match", old.as_str())];
    let changed = far.with("PATCH", &target, &held, json!({ "subject": "B" })).await.is(200);
    assert_ne!(text(&changed.body, "@odata.etag"), old);
    far.with("PATCH", &target, &held, json!({ "subject": "C" }))
        .await
        .fails(412, "ErrorIrresolvableConflict");
    far.with("DELETE", &target, &held, Value::Null).await.fails(412, "ErrorIrresolvableConflict");
    assert_eq!(text(&far.get(&target).await.body, "subject"), "B");
    let new = text(&changed.body, "@odata.etag").to_owned();
    far.with("DELETE", &target, &[("if-match", new.as_str())], Value::Null).await.is(204);
    far.with("DELETE", &target, &[], Value::Null).await.fails(404, "ErrorItemNotFound");
    assert_eq!(far.server.log().writes(), 3);
}

#[tokio::test]
async fn what_graph_does_not_know_is_refused() {
    let far = Far::start().await;
    let good = event("A", "2026-03-02");
    for (more, code) in [
        (json!({ "uid": "x" }), "RequestBodyRead"),
        (json!({ "Subject": "x" }), "RequestBodyRead"),
        (json!({ "subject": 1 }), "RequestBodyRead"),
        (json!({ "showAs": "opaque" }), "RequestBodyRead"),
        (json!({ "isAllDay": "yes" }), "RequestBodyRead"),
        (json!({ "start": "2026-03-02T10:00:00Z" }), "RequestBodyRead"),
        (json!({ "iCalUId": "x" }), "ErrorInvalidPropertySet"),
        (
            json!({ "start": { "dateTime": "2026-03-02T10:00:00Z", "timeZone": "UTC" } }),
            "ErrorInvalidRequest",
        ),
        (
            json!({ "start": { "dateTime": "2026-03-02T10:00:00", "timeZone": "Europe/Vienna" } }),
            "TimeZoneNotSupportedException",
        ),
        (json!({ "end": at("2026-03-01", 10) }), "ErrorPropertyValidationFailure"),
        (json!({ "isAllDay": true }), "ErrorPropertyValidationFailure"),
        (json!({ "reminderMinutesBeforeStart": -5 }), "ErrorPropertyValidationFailure"),
        (
            json!({ "singleValueExtendedProperties": [{ "id": "kalends", "value": "x" }] }),
            "ErrorInvalidRequest",
        ),
    ] {
        far.post("/me/events", merged(good.clone(), more)).await.fails(400, code);
    }
    far.post("/me/events", json!({ "subject": "A" })).await.fails(400, "ErrorPropertyValidationFailure");
    far.send("POST", "/v1.0/me/events", &[], "{").await.unwrap().fails(400, "RequestBodyRead");
    assert!(far.outlook.events(&far.outlook.calendar()).is_empty());
    // Annotations may stand anywhere; a zero length is a length.
    let odd = json!({ "@odata.type": "#microsoft.graph.event", "end": at("2026-03-02", 10) });
    far.post("/me/events", merged(good, odd)).await.is(201);
}

#[tokio::test]
async fn a_repeated_post_finds_what_the_first_one_made() {
    let far = Far::start().await;
    let body = merged(event("A", "2026-03-02"), json!({ "transactionId": "t-1" }));
    far.server.fault(Rule::on("POST", "*/events", Fault::DropAfterApply));
    let lost = far.send("POST", "/v1.0/me/events", &[IMMUTABLE], body.to_string()).await;
    assert!(lost.is_err());
    let again = far.post("/me/events", body.clone()).await.is(201);
    assert_eq!(text(&again.body, "transactionId"), "t-1");
    assert_eq!(far.outlook.events(&far.outlook.calendar()).len(), 1);
    let other = merged(event("B", "2026-03-03"), json!({ "transactionId": "t-1" }));
    far.post("/me/events", other).await.fails(409, "ErrorDuplicateTransactionId");
    far.habits(json!({ "replay": false }));
    far.post("/me/events", body).await.fails(409, "ErrorDuplicateTransactionId");
    far.patch(text(&again.body, "id"), json!({ "transactionId": "t-2" }))
        .await
        .fails(400, "ErrorInvalidRequest");
}

#[tokio::test]
async fn an_extended_property_marks_and_finds() {
    let far = Far::start().await;
    let marked = |subject: &str, value: &str| {
        let property = json!([{ "id": MARK, "value": value }]);
        merged(event(subject, "2026-03-02"), json!({ "singleValueExtendedProperties": property }))
    };
    let made = far.post("/me/events", marked("A", "uid-1")).await.is(201);
    assert!(made.body.get("singleValueExtendedProperties").is_none(), "it is not echoed");
    far.post("/me/events", marked("B", "uid-2")).await.is(201);
    let expand = enc(&format!("singleValueExtendedProperties($filter=id eq '{MARK}')"));
    let read = far.get(&format!("/me/events/{}?$expand={expand}", enc(text(&made.body, "id")))).await.is(200);
    assert_eq!(read.body["singleValueExtendedProperties"], json!([{ "id": MARK, "value": "uid-1" }]));
    for (value, want) in [("uid-2", vec!["B"]), ("UID-2", vec![]), ("none", vec![])] {
        let any =
            format!("singleValueExtendedProperties/Any(ep: ep/id eq '{MARK}' and ep/value eq '{value}')");
        let found = far.get(&format!("/me/events?$filter={}", enc(&any))).await.is(200);
        let subjects: Vec<&str> = found.rows().iter().map(|row| text(row, "subject")).collect();
        assert_eq!(subjects, want);
    }
    // The name counts letter by letter.
    let other = MARK.replace("kalends", "Kalends");
    let any = format!("singleValueExtendedProperties/Any(ep: ep/id eq '{other}' and ep/value eq 'uid-2')");
    assert!(far.get(&format!("/me/events?$filter={}", enc(&any))).await.is(200).rows().is_empty());
}

#[tokio::test]
async fn a_series_has_occurrences_exceptions_and_gaps() {
    let far = Far::start().await;
    let id = far.make(weekly("S", "2026-03-16", 4)).await;
    let instances = format!("/me/events/{}/instances?{WINDOW}", enc(&id));
    let rows = far.get(&instances).await.is(200).rows().clone();
    // The clock stays at ten; summer time begins on 29 March.
    let starts: Vec<&str> = rows.iter().map(|row| text(&row["start"], "dateTime")).collect();
    assert_eq!(
        starts,
        [
            "2026-03-16T09:00:00.0000000",
            "2026-03-23T09:00:00.0000000",
            "2026-03-30T08:00:00.0000000",
            "2026-04-06T08:00:00.0000000"
        ]
    );
    assert!(rows.iter().all(|row| text(row, "type") == "occurrence" && text(row, "seriesMasterId") == id));
    let uids: BTreeSet<&str> = rows.iter().map(|row| text(row, "iCalUId")).collect();
    assert_eq!(uids.len(), 4, "each occurrence has an iCalUId of its own");

    let (second, third) = (text(&rows[1], "id").to_owned(), text(&rows[2], "id").to_owned());
    let moved = json!({ "start": at("2026-03-24", 12), "end": at("2026-03-24", 13) });
    let changed = far.patch(&second, moved).await.is(200);
    assert_eq!((text(&changed.body, "type"), text(&changed.body, "id")), ("exception", second.as_str()));
    assert_eq!(text(&changed.body, "originalStart"), "2026-03-23T09:00:00.0000000Z");
    let across = json!({ "start": at("2026-03-30", 12), "end": at("2026-03-30", 13) });
    far.patch(&second, across).await.fails(400, "ErrorOccurrenceCrossingBoundary");
    far.patch(&second, json!({ "recurrence": null })).await.fails(400, "ErrorPropertyValidationFailure");
    far.delete(&third).await.is(204);
    far.get(&format!("/me/events/{}", enc(&third))).await.fails(404, "ErrorItemNotFound");

    let select =
        "$select=subject,recurrence,cancelledOccurrences,exceptionOccurrences&$expand=exceptionOccurrences";
    let master = far.get(&format!("/me/events/{}?{select}", enc(&id))).await.is(200);
    assert_eq!(master.body["cancelledOccurrences"], json!([format!("OID.{id}.2026-03-30")]));
    let exceptions = master.body["exceptionOccurrences"].as_array().unwrap();
    assert_eq!((exceptions.len(), text(&exceptions[0], "id")), (1, second.as_str()));
    let pattern = &master.body["recurrence"]["pattern"];
    assert_eq!((&pattern["firstDayOfWeek"], &pattern["month"]), (&json!("sunday"), &json!(0)));
    assert_eq!(master.body["recurrence"]["range"]["endDate"], "0001-01-01");
    // Neither comes along unasked.
    let plain = far.get(&format!("/me/events/{}?$expand=exceptionOccurrences", enc(&id))).await.is(200);
    assert!(
        plain.body.get("cancelledOccurrences").is_none() && plain.body.get("exceptionOccurrences").is_none()
    );
    // The list of events knows the series as a whole only, the view its occurrences only.
    assert_eq!(far.get("/me/events").await.rows().len(), 1);
    let view = far.get(&format!("/me/calendarView?{WINDOW}")).await.is(200);
    let kinds: Vec<&str> = view.rows().iter().map(|row| text(row, "type")).collect();
    assert_eq!(kinds, ["occurrence", "exception", "occurrence"]);
    far.get("/me/calendarView").await.fails(400, "ErrorInvalidParameter");
    let long = "/me/calendarView?startDateTime=2020-01-01T00:00:00Z&endDateTime=2027-01-01T00:00:00Z";
    far.get(long).await.fails(400, "ErrorCalendarViewRangeTooBig");

    // Another time of the whole series ends its exceptions.
    far.patch(&id, json!({ "start": at("2026-03-16", 9) })).await.is(200);
    let kinds: Vec<Value> = far.get(&instances).await.rows().iter().map(|row| row["type"].clone()).collect();
    assert_eq!(kinds, ["occurrence"; 4]);
    assert_eq!(far.outlook.mails(), 0);
}

#[tokio::test]
async fn whole_days_are_days_in_every_zone() {
    let far = Far::start().await;
    let midnight =
        |date: &str| json!({ "dateTime": format!("{date}T00:00:00"), "timeZone": "Europe/Berlin" });
    let body = json!({ "subject": "D", "isAllDay": true, "start": midnight("2026-03-02"), "end": midnight("2026-03-04") });
    let id = far.make(body).await;
    for zone in ["UTC", "Tokyo Standard Time", "Pacific Standard Time"] {
        let prefer = format!("outlook.timezone=\"{zone}\"");
        let target = format!("/me/events/{}", enc(&id));
        let read = far.with("GET", &target, &[("prefer", prefer.as_str())], Value::Null).await.is(200);
        assert_eq!(read.body["start"]["dateTime"], "2026-03-02T00:00:00.0000000");
        assert_eq!(read.body["end"]["dateTime"], "2026-03-04T00:00:00.0000000");
    }
}

#[tokio::test]
async fn a_delta_tells_what_changed_in_its_window() {
    let far = Far::start().await;
    let series = far.make(weekly("S", "2026-03-16", 3)).await;
    let one = far.make(event("A", "2026-03-02")).await;
    let outside = far.make(event("O", "2028-03-02")).await;
    for form in ["delta", "delta()", "microsoft.graph.delta()"] {
        let (rows, _) = far.round(&format!("/me/calendarView/{form}?{WINDOW}"), &[IMMUTABLE]).await;
        assert_eq!(rows.len(), 5, "a series, its three occurrences, an event: {rows:?}");
    }
    let small = [IMMUTABLE, ("prefer", "odata.maxpagesize=2")];
    let (rows, link) = far.round(&format!("/me/calendarView/delta?{WINDOW}"), &small).await;
    let kinds: Vec<&str> = rows.iter().map(|row| text(row, "type")).collect();
    assert_eq!(kinds, ["seriesMaster", "occurrence", "occurrence", "occurrence", "singleInstance"]);
    // Occurrences say only when they are.
    assert!(rows[1].get("subject").is_none() && rows[4]["subject"] == "A");
    let occurrence = text(&rows[2], "id").to_owned();
    let (none, link) = far.round(&link, &[IMMUTABLE]).await;
    assert!(none.is_empty());

    far.patch(&occurrence, json!({ "subject": "X" })).await.is(200);
    far.delete(text(&rows[3], "id")).await.is(204);
    far.patch(&one, json!({ "start": at("2028-03-02", 10), "end": at("2028-03-02", 11) })).await.is(200);
    far.patch(&outside, json!({ "subject": "P" })).await.is(200);
    let new = far.make(event("N", "2026-05-01")).await;
    let (rows, link) = far.round(&link, &[IMMUTABLE]).await;
    let told: BTreeMap<&str, String> = rows
        .iter()
        .map(|row| (text(row, "id"), row["@removed"]["reason"].as_str().unwrap_or("there").to_owned()))
        .collect();
    let want = [
        (series.as_str(), "there"),
        (occurrence.as_str(), "there"),
        (one.as_str(), "changed"),
        (outside.as_str(), "changed"),
        (new.as_str(), "there"),
    ];
    for (id, what) in want {
        assert_eq!(told.get(id).map(String::as_str), Some(what), "{rows:?}");
    }
    assert_eq!(told.values().filter(|what| *what == "deleted").count(), 1);
    let exception = rows.iter().find(|row| row["id"] == json!(occurrence)).unwrap();
    assert_eq!((&exception["type"], &exception["subject"]), (&json!("exception"), &json!("X")));

    far.delete(&series).await.is(204);
    let (rows, link) = far.round(&link, &[IMMUTABLE]).await;
    let gone: Vec<&str> = rows.iter().map(|row| text(&row["@removed"], "reason")).collect();
    assert_eq!(gone, ["deleted"; 3], "the series and the two occurrences that were left");
    // A token holds no preferences: without them the same event has another name.
    far.patch(&new, json!({ "subject": "M" })).await.is(200);
    let (rows, _) = far.round(&link, &[]).await;
    assert_ne!(text(&rows[0], "id"), new);
    for query in ["$select=subject", "$filter=subject%20eq%20'a'", "$top=5", "$expand=x"] {
        far.get(&format!("/me/calendarView/delta?{WINDOW}&{query}")).await.fails(400, "ErrorInvalidUrlQuery");
    }
    far.get(&format!("/me/events/delta?{WINDOW}")).await.fails(400, "ErrorInvalidUrlQuery");
}

#[tokio::test]
async fn a_cursor_that_is_lost_says_where_to_begin() {
    let far = Far::start().await;
    far.make(event("A", "2026-03-02")).await;
    far.habits(json!({ "empty_pages": true }));
    let first = far.get(&format!("/me/calendarView/delta?{WINDOW}")).await.is(200);
    assert!(first.rows().is_empty(), "an empty first page that goes on");
    let (rows, link) = far.round(text(&first.body, "@odata.nextLink"), &[IMMUTABLE]).await;
    assert_eq!(rows.len(), 1);
    far.server.act(&Act::ExpireCursor).unwrap();
    let gone = far.get(&link).await.fails(410, "syncStateNotFound");
    let (rows, _) = far.round(gone.header("location"), &[IMMUTABLE]).await;
    assert_eq!(rows.len(), 1);
    far.get("/me/calendarView/delta?$deltatoken=nonsense").await.fails(400, "syncStateInvalid");
}

#[tokio::test]
async fn lists_come_in_pages_of_the_size_that_is_asked_for() {
    let far = Far::start().await;
    for day in 1..=12 {
        far.make(event(&format!("E{day:02}"), &format!("2026-03-{day:02}"))).await;
    }
    let first = far.get("/me/events?$select=subject").await.is(200);
    assert_eq!(first.rows().len(), 10);
    let rest = far.get(text(&first.body, "@odata.nextLink")).await.is(200);
    assert_eq!(rest.rows().len(), 2);
    assert!(rest.rows()[0].get("start").is_none() && rest.body.get("@odata.nextLink").is_none());
    let sorted = far.get("/me/events?$orderby=start/dateTime%20desc&$top=1").await.is(200);
    assert_eq!(text(&sorted.rows()[0], "subject"), "E12");
    let late = enc("type eq 'singleInstance' and start/dateTime ge '2026-03-11T00:00:00Z'");
    assert_eq!(far.get(&format!("/me/events?$filter={late}&$count=true")).await.body["@odata.count"], 2);
    far.get("/me/events?$top=5000").await.fails(400, "ErrorInvalidUrlQuery");
}

#[tokio::test]
async fn a_batch_runs_its_calls_in_the_order_that_they_depend_on() {
    let far = Far::start().await;
    let json_body = json!({ "Content-Type": "application/json", "Prefer": "IdType=\"ImmutableId\"" });
    let call = |id: &str, method: &str, url: &str, body: Value, after: Value| json!({ "id": id, "method": method, "url": url, "body": body, "headers": json_body, "dependsOn": after, "depends_on": null });
    let batch = json!({ "requests": [
        call("b", "GET", "/me/events", Value::Null, json!(["a"])),
        call("a", "POST", "/me/events", event("A", "2026-03-02"), json!([])),
        call("c", "POST", "/me/events", json!({ "subject": "C" }), json!([])),
        call("d", "GET", "/me/calendar", Value::Null, json!(["c"])),
    ]});
    let told = far.post("/$batch", batch).await.is(200);
    let by_id: BTreeMap<&str, &Value> =
        told.body["responses"].as_array().unwrap().iter().map(|one| (text(one, "id"), one)).collect();
    let statuses: Vec<i64> = by_id.values().map(|one| one["status"].as_i64().unwrap()).collect();
    assert_eq!(statuses, [201, 200, 400, 424]);
    assert_eq!(by_id["b"]["body"]["value"].as_array().unwrap().len(), 1);
    assert_eq!(by_id["a"]["body"]["id"], by_id["b"]["body"]["value"][0]["id"]);
    let many: Vec<Value> =
        (0..21).map(|id| json!({ "id": id.to_string(), "method": "GET", "url": "/me" })).collect();
    far.post("/$batch", json!({ "requests": many })).await.fails(400, "BadRequest");
    let twice = json!({ "id": "1", "method": "GET", "url": "/me" });
    far.post("/$batch", json!({ "requests": [twice, twice] })).await.fails(400, "BadRequest");
    // Faults meet calls inside a batch one by one.
    far.server.fault(Rule::on("GET", "/v1.0/me", Fault::Throttle { retry_after: Some(7) }));
    let two = json!({ "requests": [
        { "id": "1", "method": "GET", "url": "/me" }, { "id": "2", "method": "GET", "url": "/me/calendar" },
    ]});
    let told = far.post("/$batch", two).await.is(200);
    assert_eq!(told.body["responses"][0]["status"], 429);
    assert_eq!(told.body["responses"][0]["headers"]["Retry-After"], "7");
    assert_eq!(told.body["responses"][1]["status"], 200);
}

fn subscription(base: &str, state: &str) -> Value {
    json!({
        "changeType": "created,updated,deleted", "resource": "me/events", "clientState": state,
        "notificationUrl": format!("{base}/hook?a=1"), "lifecycleNotificationUrl": format!("{base}/life"),
        "expirationDateTime": "2026-03-05T12:00:00Z",
    })
}

#[tokio::test]
async fn a_subscription_is_agreed_on_told_renewed_and_ends() {
    let far = Far::start().await;
    let (inbox, base) = Inbox::open(str::to_owned).await;
    let made = far.post("/subscriptions", subscription(&base, "secret")).await.is(201);
    let id = text(&made.body, "id").to_owned();
    assert_eq!(text(&made.body, "expirationDateTime"), "2026-03-05T12:00:00.0000000Z");
    far.post("/subscriptions", subscription(&base, "other")).await.fails(409, "ExtensionError");

    let event_id = far.make(event("A", "2026-03-02")).await;
    far.patch(&event_id, json!({ "subject": "B" })).await.is(200);
    far.server.scene().post.idle().await;
    let told = inbox.taken();
    assert_eq!(told.len(), 2);
    assert_eq!((told[0].0.path(), told[0].0.query()), ("/hook", Some("a=1")));
    let item = &told[0].1["value"][0];
    assert_eq!((text(item, "changeType"), text(item, "clientState")), ("created", "secret"));
    assert_eq!(
        (text(item, "subscriptionId"), text(&item["resourceData"], "id")),
        (id.as_str(), event_id.as_str())
    );
    assert!(text(item, "resource").ends_with(&format!("/Events/{event_id}")));

    far.server.act(&Act::Own { name: "lifecycle".into(), with: json!({ "event": "missed" }) }).unwrap();
    far.server.scene().post.idle().await;
    let told = inbox.taken();
    assert_eq!((told.len(), told[0].0.path()), (1, "/life"));
    assert_eq!(text(&told[0].1["value"][0], "lifecycleEvent"), "missed");

    let target = format!("/subscriptions/{id}");
    let until = |date: &str| json!({ "expirationDateTime": date });
    far.with("PATCH", &target, &[], until("2026-03-09T12:00:00Z")).await.fails(400, "InvalidRequest");
    let renewed = far.with("PATCH", &target, &[], until("2026-03-08T12:00:00Z")).await.is(200);
    assert_eq!(text(&renewed.body, "expirationDateTime"), "2026-03-08T12:00:00.0000000Z");
    far.server.clock().advance(7 * 86_400_000);
    far.with("PATCH", &target, &[], until("2026-03-12T12:00:00Z")).await.fails(404, "ResourceNotFound");
    assert_eq!(far.outlook.subscriptions(far.server.scene()), 0);
    far.make(event("C", "2026-03-02")).await;
    far.server.scene().post.idle().await;
    assert!(inbox.taken().is_empty());
}

#[tokio::test]
async fn a_receiver_that_does_not_agree_is_told_nothing() {
    let far = Far::start().await;
    let (_, base) = Inbox::open(|_| "something else".into()).await;
    far.post("/subscriptions", subscription(&base, "s")).await.fails(400, "ValidationError");
    let (_, base) = Inbox::open(enc).await;
    far.post("/subscriptions", subscription(&base, "s")).await.fails(400, "ValidationError");
    let (_, base) = Inbox::open(str::to_owned).await;
    for (field, value) in [
        ("notificationUrl", json!("http://example.org/hook")),
        ("resource", json!("me/messages")),
        ("changeType", json!("changed")),
        ("clientState", json!("x".repeat(129))),
        ("expirationDateTime", json!("2026-02-01T00:00:00Z")),
        ("includeResourceData", json!(true)),
    ] {
        let wanted = merged(subscription(&base, "s"), json!({ field: value }));
        far.post("/subscriptions", wanted).await.fails(400, "InvalidRequest");
    }
    assert_eq!(far.outlook.subscriptions(far.server.scene()), 0);
}

#[tokio::test]
async fn notifications_are_lost_and_doubled_as_told() {
    let far = Far::start().await;
    let (inbox, base) = Inbox::open(str::to_owned).await;
    far.post("/subscriptions", subscription(&base, "s")).await.is(201);
    far.server.act(&Act::Webhook(Manners { dup: 1.0, ..Manners::default() })).unwrap();
    far.make(event("A", "2026-03-02")).await;
    far.server.scene().post.idle().await;
    assert_eq!(inbox.taken().len(), 2);
    far.server.act(&Act::Webhook(Manners { loss: 1.0, ..Manners::default() })).unwrap();
    far.make(event("B", "2026-03-02")).await;
    far.server.scene().post.idle().await;
    assert!(inbox.taken().is_empty());
}

#[tokio::test]
async fn so_many_calls_a_minute_are_answered() {
    let far = Far::start().await;
    far.server.act(&Act::Quota { per_minute: Some(2) }).unwrap();
    far.get("/me").await.is(200);
    far.get("/me").await.is(200);
    let slow = far.get("/me").await.fails(429, "ApplicationThrottled");
    assert_eq!(slow.header("retry-after"), "60");
    far.server.clock().advance(60_000);
    far.get("/me").await.is(200);
}

#[tokio::test]
async fn the_fifth_call_at_once_is_refused() {
    let far = Arc::new(Far::start().await);
    let held: Vec<_> = (0..4)
        .map(|at| far.server.pause("GET", &format!("/v1.0/me/events?$top={}", at + 1), Point::Before))
        .collect();
    let calls: Vec<_> = (0..4)
        .map(|at| {
            let far = Arc::clone(&far);
            tokio::spawn(async move { far.get(&format!("/me/events?$top={}", at + 1)).await.status })
        })
        .collect();
    for one in &held {
        one.reached().await;
    }
    far.get("/me").await.fails(429, "MailboxConcurrency");
    far.server.act(&Act::Own { name: "limits".into(), with: json!({ "busy": true }) }).unwrap();
    far.get("/me").await.fails(503, "MailboxConcurrency");
    held.iter().for_each(|one| one.go());
    for call in calls {
        assert_eq!(call.await.unwrap(), 200);
    }
    far.get("/me").await.is(200);
}

/// A form sent to the token endpoint.
async fn token(far: &Far, pairs: &[(&str, &str)]) -> Told {
    let form: Vec<String> = pairs.iter().map(|(name, value)| format!("{name}={}", enc(value))).collect();
    let kind = [("content-type", "application/x-www-form-urlencoded")];
    far.send("POST", "/common/oauth2/v2.0/token", &kind, form.join("&")).await.unwrap()
}

const BACK: &str = "http://127.0.0.1:9/back";

async fn consent(far: &Far, verifier: &str, scope: &str) -> Url {
    let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(verifier));
    let target = format!(
        "/common/oauth2/v2.0/authorize?client_id=app&response_type=code&redirect_uri={}&scope={}&state=s%26t&\
         code_challenge={challenge}&code_challenge_method=S256",
        enc(BACK),
        enc(scope)
    );
    let told = far.send("GET", &target, &[], "").await.unwrap().is(302);
    Url::parse(told.header("location")).unwrap()
}

fn pair(url: &Url, name: &str) -> String {
    url.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned()).unwrap_or_default()
}

#[tokio::test]
async fn sign_in_rotates_its_refresh_tokens() {
    let far = Far::start().await;
    let described =
        far.send("GET", "/common/v2.0/.well-known/openid-configuration", &[], "").await.unwrap().is(200);
    assert!(text(&described.body, "token_endpoint").ends_with("/common/oauth2/v2.0/token"));
    let scope = "offline_access openid User.Read Calendars.ReadWrite";
    let back = consent(&far, "verifier", scope).await;
    assert_eq!(pair(&back, "state"), "s&t");
    let code = pair(&back, "code");
    let exchange = |verifier: &'static str| {
        let code = code.clone();
        let far = &far;
        async move {
            let pairs = [
                ("grant_type", "authorization_code"),
                ("client_id", "app"),
                ("code", code.as_str()),
                ("redirect_uri", BACK),
                ("code_verifier", verifier),
            ];
            token(far, &pairs).await
        }
    };
    assert_eq!(exchange("wrong").await.is(400).body["error_codes"], json!([501_481]));
    let first = exchange("verifier").await.is(200);
    assert_eq!(
        (text(&first.body, "scope"), &first.body["expires_in"]),
        ("openid User.Read Calendars.ReadWrite", &json!(3599))
    );
    assert!(text(&first.body, "id_token").split('.').count() == 3);
    let again = exchange("verifier").await.is(400);
    assert_eq!((text(&again.body, "error"), &again.body["error_codes"]), ("invalid_grant", &json!([54005])));

    let bearer = format!("Bearer {}", text(&first.body, "access_token"));
    let mut quiet = Far { token: None, ..far };
    let auth = [("authorization", bearer.as_str())];
    quiet.with("GET", "/me/calendars", &auth, Value::Null).await.is(200);
    quiet.with("GET", "/me/mailboxSettings", &auth, Value::Null).await.fails(403, "ErrorAccessDenied");
    quiet.server.clock().advance(3_600_000);
    quiet.with("GET", "/me/calendars", &auth, Value::Null).await.fails(401, "InvalidAuthenticationToken");

    let old = text(&first.body, "refresh_token").to_owned();
    let refresh = |with: String, more: &'static str| {
        let far = &quiet;
        async move {
            let pairs = [
                ("grant_type", "refresh_token"),
                ("client_id", "app"),
                ("refresh_token", with.as_str()),
                ("scope", more),
            ];
            token(far, &pairs).await
        }
    };
    let second = refresh(old.clone(), "offline_access User.Read").await.is(200);
    let new = text(&second.body, "refresh_token").to_owned();
    assert_ne!(new, old);
    // The answer may have been lost: until the new one is used, the old one is good.
    refresh(old.clone(), "").await.is(200);
    refresh(new.clone(), "").await.is(200);
    let dead = refresh(old, "").await.is(400);
    assert_eq!(text(&dead.body, "error"), "invalid_grant");
    assert!(text(&dead.body, "error_description").starts_with("AADSTS700082: "));
    assert_eq!(text(&refresh(new.clone(), "Mail.Read").await.is(400).body, "error"), "invalid_scope");
    quiet.server.act(&Act::RevokeGrant).unwrap();
    assert_eq!(refresh(new, "").await.is(400).body["error_codes"], json!([50173]));
    quiet.server.act(&Act::Own { name: "deny_consent".into(), with: Value::Null }).unwrap();
    assert_eq!(pair(&consent(&quiet, "v", scope).await, "error"), "access_denied");
    quiet.token = Some("tok");
}

#[tokio::test]
async fn somebody_else_writes_and_a_stale_read_shows_what_was() {
    let far = Far::start().await;
    let calendar = far.outlook.calendar();
    let made = far
        .server
        .act(&Act::CreateElsewhere { calendar: calendar.clone(), object: event("A", "2026-03-02") });
    let id = text(&made.unwrap(), "id").to_owned();
    let patch = json!({ "subject": "B" });
    far.server.act(&Act::EditElsewhere { calendar: calendar.clone(), id: id.clone(), patch }).unwrap();
    far.server.fault(Rule::on("GET", "*/events/*", Fault::StaleRead));
    let target = format!("/me/events/{}", enc(&id));
    assert_eq!(text(&far.get(&target).await.is(200).body, "subject"), "A");
    assert_eq!(text(&far.get(&target).await.is(200).body, "subject"), "B");
    far.server.act(&Act::DeleteElsewhere { calendar: calendar.clone(), id }).unwrap();
    far.get(&target).await.fails(404, "ErrorItemNotFound");
    assert!(far.outlook.events(&calendar).is_empty());
    assert!(far.server.act(&Act::CreateElsewhere { calendar, object: json!({ "uid": "x" }) }).is_err());
    assert_eq!(far.server.log().writes(), 0, "nobody asked for these over HTTP");
}

#[tokio::test]
async fn a_mailbox_is_filled_as_a_seed_decides() {
    let far = Far::start().await;
    far.outlook.fill(40, 7, NOW);
    let other = Outlook::new("berta@example.org");
    other.fill(40, 7, NOW);
    let subjects = |outlook: &Outlook| {
        let events = outlook.events(&outlook.calendar());
        events.iter().map(|event| (event["subject"].clone(), event["start"].clone())).collect::<Vec<_>>()
    };
    assert_eq!(subjects(&far.outlook).len(), 40);
    assert_eq!(subjects(&far.outlook), subjects(&other));
    let kinds: BTreeSet<String> = far
        .outlook
        .events(&far.outlook.calendar())
        .iter()
        .map(|event| text(event, "type").to_owned())
        .collect();
    assert_eq!(kinds.len(), 2, "single events and series: {kinds:?}");
}

#[tokio::test]
async fn people_who_would_get_mail_are_counted() {
    let far = Far::start().await;
    let people = json!({ "attendees": [
        { "emailAddress": { "address": "b@example.org" } }, { "emailAddress": { "address": "c@example.org" }, "type": "optional" },
    ]});
    let id = far.make(merged(event("A", "2026-03-02"), people)).await;
    assert_eq!(far.outlook.mails(), 2);
    far.patch(&id, json!({ "subject": "B" })).await.is(200);
    far.delete(&id).await.is(204);
    assert_eq!(far.outlook.mails(), 6);
}

/// The table of types is the one of Graph's own metadata, where that is at hand.
#[test]
fn the_table_of_types_is_that_of_graph() {
    let shared = std::env::var_os("KALENDS_SHARED").map(std::path::PathBuf::from);
    let near = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared");
    let path = shared.unwrap_or(near).join("providers/microsoft-graph-calendar.schema.json");
    let Ok(text) = std::fs::read_to_string(&path) else { return };
    let schema: Value = serde_json::from_str(&text).unwrap();
    let table = Outlook::schema();
    let mut compared = 0;
    for (name, words) in table["enums"].as_object().unwrap() {
        assert_eq!(&schema["$defs"][name]["enum"], words, "{name}");
        compared += 1;
    }
    for (name, fields) in table["types"].as_object().unwrap() {
        let theirs = schema["$defs"][name]["properties"].as_object().cloned().unwrap_or_default();
        for (field, kind) in fields.as_object().unwrap() {
            // An open type: what it holds is not said.
            if name == "resourceData" {
                continue;
            }
            let own = theirs.get(field).unwrap_or_else(|| panic!("{name}/{field}"));
            assert_eq!(spelled(own), kind.as_str().unwrap(), "{name}/{field}");
            compared += 1;
        }
    }
    assert!(compared > 100);
}

/// What a field of the schema holds, as metadata would say.
fn spelled(field: &Value) -> String {
    if let Some(one) = field["anyOf"].get(0) {
        return spelled(one);
    }
    if let Some(name) = field["$ref"].as_str() {
        return format!("microsoft.graph.{}", name.trim_start_matches("#/$defs/"));
    }
    match (field["type"].as_str().unwrap_or_default(), field["format"].as_str()) {
        ("array", _) => format!("Collection({})", spelled(&field["items"])),
        ("boolean", _) => "Edm.Boolean".into(),
        ("integer", _) => "Edm.Int32".into(),
        ("number", _) => "Edm.Double".into(),
        ("string", Some("date-time")) => "Edm.DateTimeOffset".into(),
        // The schema's only pattern is that of a day.
        ("string", _) if field["pattern"].is_string() => "Edm.Date".into(),
        ("string", _) => "Edm.String".into(),
        (other, format) => format!("{other} {format:?}"),
    }
}

/// A simulator that runs for days forgets what was removed; whoever comes with a link from before that begins anew.
#[tokio::test]
async fn what_was_removed_long_ago_is_forgotten() {
    let far = Far::start().await;
    let delta = format!("/me/calendarView/delta?{WINDOW}");
    let (_, before) = far.round(&delta, &[IMMUTABLE]).await;
    for _ in 0..20 {
        let id = far.make(event("A", "2026-03-02")).await;
        far.delete(&id).await.is(204);
    }
    let kept = far.make(event("B", "2026-03-03")).await;
    let (_, late) = far.round(&delta, &[IMMUTABLE]).await;
    far.server.act(&Act::Own { name: "forget".into(), with: json!({ "changes": 5 }) }).unwrap();
    far.get(&before).await.fails(410, "syncStateNotFound");
    let (rows, _) = far.round(&late, &[IMMUTABLE]).await;
    assert!(rows.is_empty(), "{rows:?}");
    far.patch(&kept, json!({ "subject": "C" })).await.is(200);
    let (rows, _) = far.round(&late, &[IMMUTABLE]).await;
    assert_eq!((rows.len(), &rows[0]["subject"]), (1, &json!("C")));
    let (rows, _) = far.round(&delta, &[IMMUTABLE]).await;
    assert_eq!(rows.len(), 1);
}

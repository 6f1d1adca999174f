//! Calls to Cozi: signing in, month pages, operations, errors as `Trouble`.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, header};
use serde_json::{Map, Value, json};
use url::Url;

use crate::auth::grant::Secret;
use crate::bridge::outline::outline;
use crate::bridge::provider::Trouble;
use crate::http::fetch::{Answer, Call, Fetch};

const LONGEST: usize = 16 << 20;
/// What its own web page calls itself; calls without it are refused.
const KEY: &str = "coziwc|v265_production";

#[derive(Debug, Clone)]
struct Session {
    account: String,
    token: Secret,
    /// What it was begun with: another password is another session.
    password: Secret,
}

/// Where a session is kept, so that not every pass signs in.
#[derive(Debug, Clone, Default)]
pub(in crate::bridge) struct Seat(Arc<Mutex<Option<Session>>>);

impl Seat {
    fn taken(&self) -> std::sync::MutexGuard<'_, Option<Session>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One household's account.
#[derive(Debug)]
pub(super) struct Wire {
    pub(super) fetch: Fetch,
    pub(super) api: Url,
    pub(super) username: String,
    pub(super) password: Secret,
    seat: Seat,
}

/// A month: year and number.
pub(super) type Month = (i64, i64);

impl Wire {
    pub(super) fn new(fetch: Fetch, api: Url, username: String, password: Secret, seat: Seat) -> Wire {
        Wire { fetch, api, username, password, seat }
    }

    /// Reads the items of a month.
    pub(super) async fn month(&self, (year, month): Month) -> Result<Map<String, Value>, Trouble> {
        let path = format!("2004/{{}}/calendar/{year}/{month}");
        items(self.call(Method::GET, &path, None).await?)
    }

    /// Carries one operation out on the page of a month. Returns its items afterwards.
    pub(super) async fn operate(
        &self,
        (year, month): Month,
        operation: Value,
    ) -> Result<Map<String, Value>, Trouble> {
        let path = format!("2004/{{}}/calendar/{year}/{month}");
        let page = self.call(Method::POST, &path, Some(json!([operation]))).await?;
        let rejected = page.get("rejectedItems").and_then(Value::as_array);
        if let Some(why) = rejected.and_then(|list| list.first()) {
            let why = why.get("error").and_then(Value::as_str).unwrap_or("it gives no reason");
            return Err(match why.contains("version") {
                true => Trouble::Stale,
                false => Trouble::Refused(format!("Cozi does not take the event: {}.", told(why))),
            });
        }
        items(page)
    }

    /// Reads the account: its name and its time zone.
    pub(super) async fn account(&self) -> Result<(String, String), Trouble> {
        let account = self.call(Method::GET, "2004/{}/account/", None).await?;
        let text = |name: &str| account.get(name).and_then(Value::as_str).map(str::to_owned);
        let zone = text("timezone").ok_or_else(|| unreadable("the account has no time zone"))?;
        Ok((text("name").unwrap_or_else(|| "Cozi".into()), zone))
    }

    /// Calls with the session's token; once more with a new one if it is not accepted.
    async fn call(&self, method: Method, path: &str, body: Option<Value>) -> Result<Value, Trouble> {
        let mut fresh = false;
        loop {
            let session = match self.known() {
                Some(session) => session,
                None => {
                    fresh = true;
                    self.sign_in().await?
                }
            };
            let path = path.replace("{}", &session.account);
            let answer = self.send(method.clone(), &path, body.as_ref(), Some(&session.token)).await?;
            match answer.status.as_u16() {
                200 | 201 => return parse(&answer),
                401 if !fresh => self.forget(),
                _ => return Err(trouble(&answer)),
            }
        }
    }

    fn known(&self) -> Option<Session> {
        let known = self.seat.taken().clone();
        known.filter(|session| session.password.reveal() == self.password.reveal())
    }

    fn forget(&self) {
        *self.seat.taken() = None;
    }

    async fn sign_in(&self) -> Result<Session, Trouble> {
        let body = json!({
            "username": self.username,
            "password": self.password.reveal(),
            "issueRefresh": true,
        });
        let answer = self.send(Method::POST, "2207/auth/login", Some(&body), None).await?;
        let denied = || {
            Trouble::Unauthorised(
                "Cozi does not accept the e-mail address and password of the account.".into(),
            )
        };
        match answer.status.as_u16() {
            200 => {}
            400 | 401 => return Err(denied()),
            _ => return Err(trouble(&answer)),
        }
        let told = parse(&answer)?;
        if told.get("error").is_some_and(|error| !error.is_null()) {
            return Err(denied());
        }
        let text = |name: &str| told.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
        let (Some(account), Some(token)) = (text("accountId"), text("accessToken")) else {
            return Err(unreadable("signing in gave no token"));
        };
        // It becomes a part of paths.
        if !account.chars().all(|c| c.is_ascii_alphanumeric() || c == '-') {
            return Err(unreadable("the account's id is none"));
        }
        let session = Session {
            account: account.to_owned(),
            token: Secret::new(token),
            password: self.password.clone(),
        };
        *self.seat.taken() = Some(session.clone());
        Ok(session)
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        token: Option<&Secret>,
    ) -> Result<Answer, Trouble> {
        let base = self.api.as_str().trim_end_matches('/');
        let mut url = Url::parse(&format!("{base}/api/ext/{path}"))
            .map_err(|_| Trouble::Refused("The address of Cozi is not one.".into()))?;
        url.query_pairs_mut().append_pair("apikey", KEY);
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(header::ORIGIN, HeaderValue::from_static("https://my.cozi.com"));
        headers.insert(header::REFERER, HeaderValue::from_static("https://my.cozi.com/"));
        headers.insert(
            header::USER_AGENT,
            HeaderValue::from_static(concat!(
                "Mozilla/5.0 (compatible; Kalends/",
                env!("CARGO_PKG_VERSION"),
                ")"
            )),
        );
        if let Some(token) = token {
            headers.insert(
                header::AUTHORIZATION,
                token.bearer().ok_or_else(|| unreadable("the token is none"))?,
            );
        }
        let body = match body {
            Some(body) => {
                headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
                Bytes::from(body.to_string())
            }
            None => Bytes::new(),
        };
        let call = Call { method, url, headers, body, limit: LONGEST };
        Ok(self.fetch.send(call).await?)
    }
}

fn parse(answer: &Answer) -> Result<Value, Trouble> {
    let value: Value = serde_json::from_slice(&answer.body).map_err(|_| unreadable("it is not JSON"))?;
    Ok(value)
}

fn items(page: Value) -> Result<Map<String, Value>, Trouble> {
    // A page without a list of items is no empty month.
    match (page.get("items"), page.get("days")) {
        (Some(Value::Object(items)), Some(Value::Object(_))) => Ok(items.clone()),
        _ => {
            let shape = outline(&page);
            tracing::warn!(shape, "a month of Cozi has another shape than expected");
            Err(unreadable("the month has no list of items"))
        }
    }
}

/// What Cozi gives as its reason, as it can be shown: one short line.
fn told(why: &str) -> String {
    const LONGEST: usize = 200;
    let line = why.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty());
    let line = line.collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(LONGEST) {
        Some((at, _)) => format!("{}…", line.get(..at).unwrap_or_default()),
        None => line.trim_end_matches('.').to_owned(),
    }
}

/// Returns the trouble of an answer that is not what is known of Cozi's, and logs its shape.
fn unreadable(why: &str) -> Trouble {
    tracing::warn!(shape = why, "Cozi sent an answer that is not what it used to be");
    Trouble::Unreachable(format!(
        "Cozi sent an answer that cannot be read: {why}. Its interface is not official and may have changed."
    ))
}

fn trouble(answer: &Answer) -> Trouble {
    match answer.status.as_u16() {
        401 => Trouble::Unauthorised("Cozi does not accept the sign-in any more.".into()),
        402 => Trouble::Refused("Cozi asks for a paid account for this.".into()),
        // The edge turns programs away for a while.
        403 => Trouble::Slow(Some(std::time::Duration::from_secs(3600))),
        404 => Trouble::Missing("Cozi does not know this calendar.".into()),
        409 | 410 => Trouble::Stale,
        429 => Trouble::Slow(answer.retry_after()),
        400 | 422 => Trouble::Refused("Cozi does not understand the event.".into()),
        status => Trouble::Unreachable(format!("Cozi answered with the status {status}.")),
    }
}

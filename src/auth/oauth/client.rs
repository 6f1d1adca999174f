//! The calls: the address where people consent, the token endpoint, giving a consent back, whose account it is.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use serde::Deserialize;
use serde_json::Value;
use url::Url;
use url::form_urlencoded::Serializer;

use super::{Access, Endpoints, Grant, Pkce, Vendor};
use crate::auth::grant::Secret;
use crate::http::fetch::{Answer, Call, Fetch, FetchError};
use crate::store::Timestamp;

/// The longest answer that is read.
const LONGEST: usize = 64 << 10;
/// How long a token is good if its giver does not say: not long.
const UNSAID: i64 = 300;
/// The longest time that is believed.
const LONG: i64 = 90 * 86_400;

/// Why there are no tokens. The sentences are shown to people; they hold no secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Denial {
    /// The consent is over, or never was: only a person helps.
    #[error("{0}")]
    Ended(String),
    /// The consent lacks something that is needed.
    #[error("{0}")]
    Short(String),
    /// This server is not set up as the vendor wants it: whoever runs it helps.
    #[error("{0}")]
    Setup(String),
    /// Not now; how long to wait, if it was said.
    #[error("{0}")]
    Later(String, Option<Duration>),
}

/// A vendor, spoken to as this server's client.
#[derive(Debug, Clone)]
pub struct Client {
    endpoints: Endpoints,
    access: Access,
    fetch: Fetch,
}

/// RFC 6749 §5.1.
#[derive(Deserialize)]
struct Given {
    access_token: String,
    token_type: String,
    #[serde(default)]
    expires_in: Option<Value>,
    #[serde(default)]
    refresh_token: Option<String>,
    #[serde(default)]
    scope: Option<String>,
    /// Of vendors that take a consent for a time only.
    #[serde(default)]
    refresh_token_expires_in: Option<Value>,
}

impl Client {
    /// Returns a client that asks for no more than that access and calls with `fetch`.
    pub fn new(endpoints: Endpoints, access: Access, fetch: Fetch) -> Client {
        Client { endpoints, access, fetch }
    }

    /// Returns where people come back to, below the server's own address.
    pub fn callback(&self) -> &'static str {
        self.endpoints.vendor.callback()
    }

    /// Returns where people come back to instead, if whoever runs the server has said so.
    pub fn redirect(&self) -> Option<&str> {
        self.endpoints.redirect.as_deref()
    }

    /// Returns the address where a person consents. RFC 6749 §4.1.1, RFC 7636 §4.3.
    ///
    /// # Errors
    /// `Setup`.
    pub fn consent(
        &self,
        redirect: &str,
        state: &str,
        pkce: &Pkce,
        account: Option<&str>,
    ) -> Result<Url, Denial> {
        let mut url = self.place(&self.endpoints.auth_url)?;
        {
            let mut query = url.query_pairs_mut();
            query
                .append_pair("client_id", &self.endpoints.client_id)
                .append_pair("redirect_uri", redirect)
                .append_pair("response_type", "code")
                .append_pair("scope", &self.scope())
                .append_pair("state", state)
                .append_pair("code_challenge", &pkce.challenge())
                .append_pair("code_challenge_method", "S256");
            match self.endpoints.vendor {
                // Without `consent`, Google gives a refresh token the first time only.
                Vendor::Google => {
                    query.append_pair("access_type", "offline").append_pair("prompt", "consent")
                }
                Vendor::Microsoft => {
                    query.append_pair("response_mode", "query").append_pair("prompt", "select_account")
                }
            };
            if let Some(account) = account {
                query.append_pair("login_hint", account);
            }
        }
        Ok(url)
    }

    /// Turns the code that a person brought back into tokens. RFC 6749 §4.1.3.
    ///
    /// # Errors
    /// See [`Denial`]; `Short` if a box was left unticked.
    pub async fn exchange(
        &self,
        code: &Secret,
        verifier: &Secret,
        redirect: &str,
        now: Timestamp,
    ) -> Result<Grant, Denial> {
        let mut form = vec![
            ("grant_type", "authorization_code"),
            ("code", code.reveal()),
            ("redirect_uri", redirect),
            ("code_verifier", verifier.reveal()),
        ];
        let scope = self.scope();
        if self.endpoints.vendor == Vendor::Microsoft {
            form.push(("scope", &scope));
        }
        let given = self.token(&form).await?;
        let Some(refresh) = given.refresh_token.clone().filter(|text| !text.is_empty()) else {
            return Err(Denial::Short(format!(
                "{0} gave no lasting access. Remove Kalends from the list of connected apps in your {0} account and \
                 connect again.",
                self.name()
            )));
        };
        let grant = Grant { given: Some(now), ..self.grant(given, refresh, now)? };
        let missing: Vec<&str> = self
            .endpoints
            .vendor
            .needs(self.access)
            .iter()
            .filter(|(_, any)| {
                !grant.scopes.is_empty() && !grant.scopes.iter().any(|s| any.contains(&last(s).as_str()))
            })
            .map(|(purpose, _)| *purpose)
            .collect();
        if !missing.is_empty() {
            return Err(Denial::Short(format!(
                "The permission to {} is missing. Connect again and leave all boxes ticked.",
                missing.join(" and to ")
            )));
        }
        Ok(grant)
    }

    /// Fetches the next token. RFC 6749 §6. What comes back replaces the old grant as a whole: where refresh tokens
    /// rotate, the new one has to be kept before it is used.
    ///
    /// # Errors
    /// See [`Denial`].
    pub async fn refresh(&self, old: &Grant, now: Timestamp) -> Result<Grant, Denial> {
        let mut form = vec![("grant_type", "refresh_token"), ("refresh_token", old.refresh.reveal())];
        let scope = self.scope();
        if self.endpoints.vendor == Vendor::Microsoft {
            form.push(("scope", &scope));
        }
        let given = self.token(&form).await?;
        let refresh = given.refresh_token.clone().filter(|text| !text.is_empty());
        let refresh = refresh.unwrap_or_else(|| old.refresh.reveal().to_owned());
        let same = refresh == old.refresh.reveal();
        let mut grant = self.grant(given, refresh, now)?;
        grant.ends = grant.ends.or(old.ends.filter(|_| same));
        grant.given = old.given;
        if grant.scopes.is_empty() {
            grant.scopes.clone_from(&old.scopes);
        }
        Ok(grant)
    }

    /// Says why a consent ended so early, if it is known; with a space before it.
    pub fn ended_early(&self, grant: &Grant, now: Timestamp) -> &'static str {
        grant.given.and_then(|given| self.endpoints.vendor.ends_early(given, now)).unwrap_or_default()
    }

    /// Gives the consent back (RFC 7009), where the vendor takes it.
    ///
    /// # Errors
    /// See [`Denial`]. A token that is unknown already is given back.
    pub async fn revoke(&self, grant: &Grant) -> Result<(), Denial> {
        if self.endpoints.revoke_url.is_empty() {
            return Ok(());
        }
        let url = self.place(&self.endpoints.revoke_url)?;
        let text = Serializer::new(String::new()).append_pair("token", grant.refresh.reveal()).finish();
        let answer = self.post(url, text).await?;
        if answer.status.is_server_error() || answer.status == StatusCode::TOO_MANY_REQUESTS {
            return Err(self.not_now(&answer));
        }
        Ok(())
    }

    /// Returns the address of the account that the token is for. Nothing: the vendor does not say.
    ///
    /// # Errors
    /// `Later`, `Setup`.
    pub async fn account(&self, access: &Secret) -> Result<Option<String>, Denial> {
        let base = self.endpoints.api_base.trim_end_matches('/');
        let url = match self.endpoints.vendor {
            Vendor::Google => format!("{}/oauth2/v2/userinfo", base.trim_end_matches("/calendar/v3")),
            Vendor::Microsoft => format!("{base}/me"),
        };
        let mut headers = accept_json();
        let none = || Denial::Later(format!("{} gave a token that is none.", self.name()), None);
        headers.insert(header::AUTHORIZATION, access.bearer().ok_or_else(none)?);
        let call =
            Call { method: Method::GET, url: self.place(&url)?, headers, body: Bytes::new(), limit: LONGEST };
        let answer = self.fetch.send(call).await.map_err(unanswered)?;
        if answer.status.is_server_error() || answer.status == StatusCode::TOO_MANY_REQUESTS {
            return Err(self.not_now(&answer));
        }
        let Ok(document) = serde_json::from_slice::<Value>(&answer.body) else { return Ok(None) };
        let names: &[&str] = match self.endpoints.vendor {
            Vendor::Google => &["email"],
            Vendor::Microsoft => &["mail", "userPrincipalName"],
        };
        let told = names.iter().filter_map(|name| document.get(name)?.as_str()).map(str::trim);
        let sane = |text: &&str| !text.is_empty() && text.len() <= 320 && !text.chars().any(char::is_control);
        Ok(told.filter(|_| answer.status.is_success()).find(sane).map(str::to_owned))
    }

    fn scope(&self) -> String {
        self.endpoints.vendor.scopes(self.access).join(" ")
    }

    fn name(&self) -> &'static str {
        self.endpoints.vendor.name()
    }

    fn place(&self, text: &str) -> Result<Url, Denial> {
        Url::parse(text).map_err(|_| {
            Denial::Setup(format!("An address of {} is not one.", self.endpoints.vendor.section()))
        })
    }

    /// Calls the token endpoint.
    async fn token(&self, form: &[(&str, &str)]) -> Result<Given, Denial> {
        let answer = self.post(self.place(&self.endpoints.token_url)?, self.form(form)).await?;
        if answer.status.is_success() {
            return match serde_json::from_slice::<Given>(&answer.body) {
                Ok(given) if is_token(&given) => Ok(given),
                _ => {
                    let (status, length) = (answer.status.as_u16(), answer.body.len());
                    tracing::warn!(
                        vendor = self.name(),
                        status,
                        length,
                        "a token answer is none (RFC 6749 §5.1)"
                    );
                    Err(Denial::Later(format!("{} gave an answer that cannot be read.", self.name()), None))
                }
            };
        }
        Err(self.denied(&answer))
    }

    /// RFC 6749 §2.3.1: with the client's name and secret in the form, as both vendors document it.
    fn form(&self, form: &[(&str, &str)]) -> String {
        let mut text = Serializer::new(String::new());
        text.extend_pairs(form);
        text.append_pair("client_id", &self.endpoints.client_id);
        if let Some(secret) = &self.endpoints.client_secret {
            text.append_pair("client_secret", secret.reveal());
        }
        text.finish()
    }

    /// RFC 6749 §3.2: a form.
    async fn post(&self, url: Url, form: String) -> Result<Answer, Denial> {
        let mut headers = accept_json();
        let kind = HeaderValue::from_static("application/x-www-form-urlencoded");
        headers.insert(header::CONTENT_TYPE, kind);
        let body = Bytes::from(form);
        let call = Call { method: Method::POST, url, headers, body, limit: LONGEST };
        self.fetch.send(call).await.map_err(unanswered)
    }

    /// RFC 6749 §5.2, and the words that the vendors added to it.
    fn denied(&self, answer: &Answer) -> Denial {
        let name = self.name();
        let document: Value = serde_json::from_slice(&answer.body).unwrap_or(Value::Null);
        let said = document.get("error").and_then(Value::as_str).unwrap_or_default();
        let word: String = said.chars().filter(|c| c.is_ascii_lowercase() || *c == '_').take(60).collect();
        match word.as_str() {
            "invalid_grant"
            | "interaction_required"
            | "consent_required"
            | "login_required"
            | "access_denied"
            | "admin_policy_enforced" => Denial::Ended(format!(
                "{name} no longer accepts the consent: it was withdrawn, has expired or was never completed."
            )),
            "invalid_client"
            | "unauthorized_client"
            | "invalid_request"
            | "invalid_scope"
            | "redirect_uri_mismatch"
            | "unsupported_grant_type"
            | "unsupported_response_type" => Denial::Setup(format!(
                "{name} does not accept this server as its client ({word}). Whoever runs the server has to check \
                     {0}.client_id and {0}.client_secret.",
                self.endpoints.vendor.section()
            )),
            _ => self.not_now(answer),
        }
    }

    fn not_now(&self, answer: &Answer) -> Denial {
        let status = answer.status.as_u16();
        let sentence = format!("{} gives out no tokens just now (status {status}).", self.name());
        Denial::Later(sentence, answer.retry_after())
    }

    fn grant(&self, given: Given, refresh: String, now: Timestamp) -> Result<Grant, Denial> {
        let seconds = seconds(given.expires_in).unwrap_or(UNSAID).clamp(0, LONG);
        let left = seconds_left(given.refresh_token_expires_in);
        let scopes = given.scope.unwrap_or_default();
        Ok(Grant {
            access: Secret::new(given.access_token),
            expires: Timestamp(now.0.saturating_add(seconds.saturating_mul(1000))),
            refresh: Secret::new(refresh),
            scopes: scopes.split_whitespace().map(str::to_owned).collect(),
            ends: left.map(|left| Timestamp(now.0.saturating_add(left.saturating_mul(1000)))),
            given: None,
        })
    }
}

/// A number, and with some a number in quotes.
fn seconds(given: Option<Value>) -> Option<i64> {
    match given {
        Some(Value::Number(number)) => number.as_i64(),
        Some(Value::String(text)) => text.parse().ok(),
        _ => None,
    }
}

/// None and less is how some say that it never ends.
fn seconds_left(given: Option<Value>) -> Option<i64> {
    seconds(given).filter(|seconds| *seconds > 0)
}

/// RFC 6749 §5.1, §7.1: a kind of token that is not understood must not be used.
fn is_token(given: &Given) -> bool {
    let graphic = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic());
    given.token_type.eq_ignore_ascii_case("bearer")
        && graphic(&given.access_token)
        && given.refresh_token.as_deref().is_none_or(|text| text.is_empty() || graphic(text))
}

/// Returns a scope's last path segment in lower case: vendors answer with short or full names, in any case.
fn last(scope: &str) -> String {
    scope.rsplit('/').next().unwrap_or(scope).to_ascii_lowercase()
}

fn accept_json() -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
    headers
}

/// Says why a call brought no answer.
fn unanswered(error: FetchError) -> Denial {
    match error {
        FetchError::Budget(sentence, wait) => Denial::Later(sentence, Some(wait)),
        error => Denial::Later(format!("{error}."), None),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use super::*;
    use crate::http::fetch::{Private, Timeouts};

    fn client(endpoints: Endpoints, access: Access) -> Client {
        let fetch = Fetch::new(Private::Refused, Timeouts::default()).unwrap();
        Client::new(Endpoints { client_id: "cid".into(), ..endpoints }, access, fetch)
    }

    fn answer(status: u16, body: &str) -> Answer {
        let status = StatusCode::from_u16(status).unwrap();
        Answer { status, headers: HeaderMap::new(), body: Bytes::copy_from_slice(body.as_bytes()) }
    }

    // S0-033, S1-041, S1-078, S2-098, S3-045, E8: PKCE, and no wider scope than is needed
    #[test]
    fn consent_is_asked_for_with_pkce_and_the_smallest_scopes() {
        let own = "https://www.googleapis.com/auth/calendar.";
        let rest = format!("{own}calendarlist.readonly https://www.googleapis.com/auth/userinfo.email");
        for (endpoints, access, scope) in [
            (Endpoints::google(), Access::Write, format!("{own}events {rest}")),
            (Endpoints::google(), Access::Read, format!("{own}events.readonly {rest}")),
            (Endpoints::microsoft(), Access::Write, "offline_access User.Read Calendars.ReadWrite".into()),
            (Endpoints::microsoft(), Access::Read, "offline_access User.Read Calendars.Read".into()),
        ] {
            let pkce = Pkce::new().unwrap();
            let client = client(endpoints, access);
            let url = client.consent("https://k.example/oauth/callback", "s-1", &pkce, None).unwrap();
            let query: std::collections::BTreeMap<String, String> = url.query_pairs().into_owned().collect();
            assert_eq!(query["code_challenge"], pkce.challenge());
            assert_eq!(query["code_challenge_method"], "S256");
            assert_eq!(query["state"], "s-1");
            assert_eq!(query["response_type"], "code");
            assert_eq!(query["redirect_uri"], "https://k.example/oauth/callback");
            assert_eq!(query["scope"], scope);
            assert!(!url.as_str().contains(pkce.verifier.reveal()));
        }
    }

    #[test]
    fn what_a_token_endpoint_refuses_tells_who_can_help() {
        let client = client(Endpoints::google(), Access::Write);
        for (status, body, want) in [
            (
                400,
                r#"{"error":"invalid_grant","error_description":"Token has been expired or revoked."}"#,
                "ended",
            ),
            (400, r#"{"error":"interaction_required","error_codes":[50076]}"#, "ended"),
            (401, r#"{"error":"invalid_client"}"#, "setup"),
            (400, r#"{"error":"temporarily_unavailable"}"#, "later"),
            (503, "<html>oops", "later"),
            (429, "", "later"),
            (400, "not json", "later"),
            (400, r#"{"error":{"code":400}}"#, "later"),
        ] {
            let got = match client.denied(&answer(status, body)) {
                Denial::Ended(_) => "ended",
                Denial::Short(_) => "short",
                Denial::Setup(why) => {
                    assert!(why.contains("providers.google.client_id"), "{why}");
                    "setup"
                }
                Denial::Later(..) => "later",
            };
            assert_eq!(got, want, "{status} {body}");
        }
    }

    #[test]
    fn only_bearer_tokens_are_tokens() {
        for (body, good) in [
            (r#"{"access_token":"a","token_type":"Bearer","expires_in":3599}"#, true),
            (r#"{"access_token":"a","token_type":"bearer","expires_in":"3599"}"#, true),
            (r#"{"access_token":"","token_type":"Bearer"}"#, false),
            (r#"{"access_token":"a b","token_type":"Bearer"}"#, false),
            (r#"{"access_token":"a","token_type":"mac"}"#, false),
        ] {
            let given: Given = serde_json::from_str(body).unwrap();
            assert_eq!(is_token(&given), good, "{body}");
        }
        assert_eq!(last("https://graph.microsoft.com/Calendars.ReadWrite"), "calendars.readwrite");
    }
}

//! Signing in: OAuth 2.0 with PKCE, as Google does it.
//!
//! Owns: codes, grants, tokens, their ends. Does not own: which scope a call needs (`calls`).

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::Method;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::state::PERSON;
use crate::http::escaped;
use crate::sim::{Answer, Request, decode, form};

/// Seconds that an access token lives.
const ACCESS: i64 = 3599;
/// Seconds that a code lives.
const CODE: i64 = 600;
/// What every scope begins with.
pub(super) const SCOPE: &str = "https://www.googleapis.com/auth/";

/// What the person allowed a client.
#[derive(Debug, Clone)]
struct Grant {
    client: String,
    scope: Vec<String>,
    alive: bool,
}

#[derive(Debug, Clone)]
struct Code {
    client: String,
    redirect: String,
    challenge: Option<String>,
    scope: Vec<String>,
    offline: bool,
    made: i64,
}

/// How the person answers the question of consent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Consent {
    /// At once, without a page.
    #[default]
    AtOnce,
    /// With a button on a page.
    Page,
    /// Never.
    Denied,
}

/// A pair of tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tokens {
    /// What calls are made with.
    pub access: String,
    /// What another access token is asked for with.
    pub refresh: String,
}

/// The door: who may come in.
#[derive(Debug, Default)]
pub(super) struct Door {
    /// The only client that is known, and its secret; nothing: any is.
    pub(super) client: Option<(String, String)>,
    pub(super) consent: Consent,
    /// The scopes that the person ticks; nothing: all that are asked for.
    pub(super) ticked: Option<Vec<String>>,
    /// The next refresh gives another refresh token.
    pub(super) rotate: bool,
    codes: BTreeMap<String, Code>,
    grants: Vec<Grant>,
    refresh: BTreeMap<String, usize>,
    access: BTreeMap<String, (usize, i64)>,
    made: u64,
}

fn error(status: u16, error: &str, description: &str) -> Answer {
    Answer::json(status, &json!({ "error": error, "error_description": description }))
}

fn invalid_grant(description: &str) -> Answer {
    error(400, "invalid_grant", description)
}

fn value<'a>(form: &'a [(String, String)], name: &str) -> Option<&'a str> {
    form.iter()
        .find(|(key, _)| key == name)
        .map(|(_, value)| value.as_str())
        .filter(|value| !value.is_empty())
}

fn encoded(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

impl Door {
    /// Forgets codes and access tokens that are over.
    pub(super) fn forget(&mut self, now: i64) {
        self.codes.retain(|_, code| now < code.made + CODE);
        self.access.retain(|_, (_, expires)| now < *expires);
    }

    /// Answers a request to one of the sign-in addresses; nothing: it is none of them.
    pub(super) fn answer(&mut self, request: &Request, now: i64) -> Option<Answer> {
        let get = request.method == Method::GET;
        let post = request.method == Method::POST;
        Some(match request.path.as_str() {
            "/o/oauth2/v2/auth" | "/o/oauth2/auth" if get => self.authorize(request, now),
            "/token" | "/oauth2/v4/token" if post => self.token(request, now),
            "/revoke" | "/o/oauth2/revoke" if post || get => self.revoke(request),
            "/tokeninfo" | "/oauth2/v3/tokeninfo" if post || get => self.token_info(request, now),
            "/oauth2/v2/userinfo" | "/oauth2/v3/userinfo" if get => self.user_info(request, now),
            _ => return None,
        })
    }

    fn secret(&mut self, prefix: &str) -> String {
        self.made += 1;
        let digest = Sha256::digest(format!("{prefix}{}", self.made));
        format!("{prefix}{}", URL_SAFE_NO_PAD.encode(digest))
    }

    fn authorize(&mut self, request: &Request, now: i64) -> Answer {
        let asked = |name: &str| request.parameter(name).filter(|value| !value.is_empty());
        let page = |status: u16, text: &str| {
            let text = format!("<!doctype html><title>Simulated Google</title>{text}");
            Answer::text(status, "text/html; charset=utf-8", text)
        };
        let refused = |what: &str| page(400, &format!("<h1>Error 400: invalid_request</h1><p>{what}</p>"));
        let (Some(client), Some(redirect)) = (asked("client_id"), asked("redirect_uri")) else {
            return refused("Missing required parameter: client_id or redirect_uri");
        };
        if self.client.as_ref().is_some_and(|(known, _)| known != client) {
            return page(401, "<h1>Error 401: invalid_client</h1><p>The OAuth client was not found.</p>");
        }
        if asked("response_type") != Some("code") {
            return refused("Invalid response_type");
        }
        let Some(scope) = asked("scope") else { return refused("Missing required parameter: scope") };
        let challenge = asked("code_challenge");
        if challenge.is_some() && asked("code_challenge_method") != Some("S256") {
            return refused("The simulator knows code_challenge_method=S256 only");
        }
        if url::Url::parse(redirect).is_err() {
            return refused("Invalid parameter value for redirect_uri");
        }
        let state = asked("state").map(|state| format!("&state={}", encoded(state))).unwrap_or_default();
        let glue = if redirect.contains('?') { '&' } else { '?' };
        let answered = asked("answer");
        if self.consent == Consent::Denied || answered == Some("no") {
            let location = format!("{redirect}{glue}error=access_denied{state}");
            return Answer::empty(302).with("location", &location);
        }
        if self.consent == Consent::Page && answered != Some("yes") {
            let fields: String = request
                .query
                .iter()
                .map(|(name, value)| {
                    format!("<input type=hidden name=\"{}\" value=\"{}\">", escaped(name), escaped(value))
                })
                .collect();
            let text = format!(
                "<h1>{} wants to use the calendars of {PERSON}</h1><form>{fields}<button name=answer value=yes>Allow\
                 </button> <button name=answer value=no>Cancel</button></form>",
                escaped(client)
            );
            return page(200, &text);
        }
        let wanted = scope.split_whitespace().map(str::to_owned);
        let scope: Vec<String> = match &self.ticked {
            Some(ticked) => wanted.filter(|scope| ticked.contains(scope)).collect(),
            None => wanted.collect(),
        };
        let known = self.grants.iter().any(|grant| grant.client == client && grant.alive);
        let code = Code {
            client: client.into(),
            redirect: redirect.into(),
            challenge: challenge.map(str::to_owned),
            scope: scope.clone(),
            // A refresh token comes with the first consent only, unless consent is asked for anew.
            offline: asked("access_type") == Some("offline")
                && (!known || asked("prompt").is_some_and(|prompt| prompt.contains("consent"))),
            made: now,
        };
        let name = self.secret("4/0Sim");
        let location =
            format!("{redirect}{glue}code={}&scope={}{state}", encoded(&name), encoded(&scope.join(" ")));
        self.codes.insert(name, code);
        Answer::empty(302).with("location", &location)
    }

    fn token(&mut self, request: &Request, now: i64) -> Answer {
        let mut form = request.form();
        if let Some((scheme, basic)) = request.header("authorization").and_then(|text| text.split_once(' '))
            && scheme.eq_ignore_ascii_case("basic")
            && let Ok(pair) = STANDARD.decode(basic.trim())
            && let Some((id, secret)) = String::from_utf8_lossy(&pair).split_once(':')
        {
            form.push(("client_id".into(), decode(id)));
            form.push(("client_secret".into(), decode(secret)));
        }
        let Some(client) = value(&form, "client_id").map(str::to_owned) else {
            return error(400, "invalid_request", "Could not determine client ID from request.");
        };
        let secret = value(&form, "client_secret").unwrap_or_default();
        if self.client.as_ref().is_some_and(|(id, known)| *id != client || known != secret) {
            return error(401, "invalid_client", "The OAuth client was not found.");
        }
        match value(&form, "grant_type") {
            Some("authorization_code") => self.exchange(&client, &form, now),
            Some("refresh_token") => self.renew(&client, &form, now),
            _ => error(400, "unsupported_grant_type", "Invalid grant_type"),
        }
    }

    fn exchange(&mut self, client: &str, form: &[(String, String)], now: i64) -> Answer {
        // A code is good for one try.
        let Some(code) = value(form, "code").and_then(|code| self.codes.remove(code)) else {
            return invalid_grant("Malformed auth code.");
        };
        if code.client != client || now - code.made > CODE {
            return invalid_grant("Bad Request");
        }
        if value(form, "redirect_uri") != Some(code.redirect.as_str()) {
            return error(400, "redirect_uri_mismatch", "Bad Request");
        }
        if let Some(challenge) = &code.challenge {
            let Some(verifier) = value(form, "code_verifier") else {
                return invalid_grant("Missing code verifier.");
            };
            // RFC 7636 §4.6.
            if URL_SAFE_NO_PAD.encode(Sha256::digest(verifier)) != *challenge {
                return invalid_grant("Invalid code verifier.");
            }
        }
        let scope = code.scope.join(" ");
        let tokens = self.grant(client, code.scope, now);
        let mut body = json!({
            "access_token": tokens.access, "expires_in": ACCESS, "token_type": "Bearer", "scope": scope,
        });
        if code.offline
            && let Some(body) = body.as_object_mut()
        {
            body.insert("refresh_token".into(), json!(tokens.refresh));
        }
        Answer::json(200, &body)
    }

    /// Lets a client in as if the person had just consented.
    pub(super) fn grant(&mut self, client: &str, scope: Vec<String>, now: i64) -> Tokens {
        self.grants.push(Grant { client: client.into(), scope, alive: true });
        let grant = self.grants.len() - 1;
        let refresh = self.secret("1//sim");
        self.refresh.insert(refresh.clone(), grant);
        Tokens { access: self.admit(grant, now), refresh }
    }

    fn admit(&mut self, grant: usize, now: i64) -> String {
        let access = self.secret("ya29.sim");
        self.access.insert(access.clone(), (grant, now + ACCESS));
        access
    }

    fn renew(&mut self, client: &str, form: &[(String, String)], now: i64) -> Answer {
        const DEAD: &str = "Token has been expired or revoked.";
        let Some(token) = value(form, "refresh_token") else {
            return error(400, "invalid_request", "Missing required parameter: refresh_token");
        };
        let Some(index) = self.refresh.get(token).copied() else { return invalid_grant(DEAD) };
        let Some(grant) = self.grants.get(index).filter(|grant| grant.alive && grant.client == client) else {
            return invalid_grant(DEAD);
        };
        let scope = grant.scope.join(" ");
        let mut body = json!({
            "access_token": self.admit(index, now), "expires_in": ACCESS, "token_type": "Bearer", "scope": scope,
        });
        if std::mem::take(&mut self.rotate) {
            self.refresh.remove(token);
            let fresh = self.secret("1//sim");
            self.refresh.insert(fresh.clone(), index);
            if let Some(body) = body.as_object_mut() {
                body.insert("refresh_token".into(), json!(fresh));
            }
        }
        Answer::json(200, &body)
    }

    fn revoke(&mut self, request: &Request) -> Answer {
        let form = request.form();
        let Some(token) = request.parameter("token").or_else(|| value(&form, "token")) else {
            return error(400, "invalid_request", "Missing required parameter: token");
        };
        let access = self.access.get(token).map(|(grant, _)| *grant);
        let Some(index) = access.or_else(|| self.refresh.get(token).copied()) else {
            return error(400, "invalid_token", "Token expired or revoked");
        };
        match self.grants.get_mut(index) {
            Some(grant) if grant.alive => {
                grant.alive = false;
                Answer::json(200, &json!({}))
            }
            _ => error(400, "invalid_token", "Token expired or revoked"),
        }
    }

    /// The person takes everything back.
    pub(super) fn revoke_all(&mut self) {
        self.grants.iter_mut().for_each(|grant| grant.alive = false);
    }

    /// No access token is worth anything any more; refresh tokens are.
    pub(super) fn expire_all(&mut self) {
        self.access.clear();
    }

    /// Returns the scopes of an access token, without what they all begin with; nothing: it is worth nothing.
    pub(super) fn scopes(&self, token: &str, now: i64) -> Option<Vec<String>> {
        let (index, expires) = self.access.get(token)?;
        let grant = self.grants.get(*index).filter(|grant| grant.alive && now < *expires)?;
        Some(grant.scope.iter().map(|scope| scope.trim_start_matches(SCOPE).to_owned()).collect())
    }

    fn token_info(&self, request: &Request, now: i64) -> Answer {
        let form = request.form();
        let token = request.parameter("access_token").or_else(|| value(&form, "access_token"));
        let Some(token) = token.or_else(|| request.bearer()) else {
            return error(400, "invalid_request", "Missing required parameter: access_token");
        };
        let Some((index, expires)) = self.access.get(token).filter(|(_, expires)| now < *expires) else {
            return error(400, "invalid_token", "Invalid Value");
        };
        match self.grants.get(*index).filter(|grant| grant.alive) {
            Some(grant) => Answer::json(
                200,
                &json!({
                    "azp": grant.client, "aud": grant.client, "scope": grant.scope.join(" "), "exp": expires.to_string(),
                    "expires_in": (expires - now).to_string(), "access_type": "offline",
                }),
            ),
            None => error(400, "invalid_token", "Invalid Value"),
        }
    }

    fn user_info(&self, request: &Request, now: i64) -> Answer {
        let Some(scopes) = request.bearer().and_then(|token| self.scopes(token, now)) else {
            return super::refusal::Refusal::credentials().answer();
        };
        if !scopes.iter().any(|scope| matches!(scope.as_str(), "userinfo.email" | "email")) {
            return super::refusal::Refusal::scopes().answer();
        }
        let body = json!({ "id": "100000000000000000001", "sub": "100000000000000000001", "email": PERSON,
            "verified_email": true, "email_verified": true, "name": "Anna Example" });
        Answer::json(200, &body)
    }
}

/// Reads `a b` or `a,b`: scopes as a script writes them, whole or without what they all begin with.
pub(super) fn scopes(text: &str) -> Vec<String> {
    text.split([' ', ','])
        .filter(|scope| !scope.is_empty())
        .map(|scope| {
            if scope.contains(':') || scope == "openid" || scope == "email" {
                scope.to_owned()
            } else {
                format!("{SCOPE}{scope}")
            }
        })
        .collect()
}

/// Reads the form that a method override puts in the body.
pub(super) fn overridden(request: &mut Request) {
    let Some(method) = request.header("x-http-method-override").and_then(|name| name.parse::<Method>().ok())
    else {
        return;
    };
    if request.method != Method::POST {
        return;
    }
    if method == Method::GET {
        let more = form(&String::from_utf8_lossy(&request.body));
        request.query.extend(more);
        request.body = bytes::Bytes::new();
    }
    request.method = method;
}

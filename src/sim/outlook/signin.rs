//! Signing in: the Microsoft identity platform, v2.0.
//!
//! Owns: consent (at once), codes, tokens, their ends, the description of the place. Does not own: which scope a call
//! needs (`calls`).
//!
//! Every refresh gives another refresh token. The one before stays good until the new one is used, or for an hour: a
//! client that lost the answer may ask again.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::Method;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::fail::uuid;
use super::times;
use super::view::{Owner, set};
use crate::sim::{Answer, Dice, Request};

/// Seconds that an access token lives.
const ACCESS: i64 = 3599;
/// Seconds that a code lives.
const CODE: i64 = 600;
/// Seconds that a refresh token lives without being used.
const REFRESH: i64 = 90 * 86_400;
/// Seconds for which a refresh token stays good when it was used.
const GRACE: i64 = 3600;

#[derive(Debug, Clone)]
struct Code {
    client: String,
    redirect: String,
    challenge: Option<String>,
    scope: Vec<String>,
    nonce: Option<String>,
    made: i64,
    used: bool,
}

/// A refresh token.
#[derive(Debug, Clone)]
struct Refresh {
    client: String,
    scope: Vec<String>,
    made: i64,
    /// The one that it was exchanged from.
    before: Option<String>,
    /// When it ends because it was exchanged.
    ends: Option<i64>,
    /// Why it is worth nothing.
    dead: Option<Dead>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Dead {
    Revoked,
    Replaced,
}

/// The door: who may come in.
#[derive(Debug, Default)]
pub(super) struct Door {
    /// The only client that is known, and its secret; nothing: any is.
    pub(super) client: Option<(String, String)>,
    /// The person does not consent.
    pub(super) denies: bool,
    /// Scopes come back as whole addresses.
    pub(super) long_scopes: bool,
    /// The next refresh ends the token that it is asked with at once.
    pub(super) rotate: bool,
    codes: BTreeMap<String, Code>,
    refresh: BTreeMap<String, Refresh>,
    access: BTreeMap<String, (Vec<String>, i64)>,
}

/// What a refusal of the token endpoint is made of.
struct No {
    status: u16,
    error: &'static str,
    number: u32,
    message: &'static str,
}

const NO_CODE: No = no("invalid_grant", 9_002_313, "Invalid request. Request is malformed or invalid.");
const USED_CODE: No = no("invalid_grant", 54005, "OAuth2 Authorization code was already redeemed.");
const OLD_CODE: No = no("invalid_grant", 70008, "The provided authorization code has expired.");
const OLD_TOKEN: No = no("invalid_grant", 700_082, "The refresh token has expired due to inactivity.");
const REVOKED: No = no("invalid_grant", 50173, "The provided grant has expired due to it being revoked.");
const VERIFIER: No = no("invalid_grant", 501_481, "The Code_Verifier does not match the code_challenge.");
const REDIRECT: No = no("invalid_grant", 500_112, "The redirect address does not match the one of the code.");
const SCOPE: No =
    no("invalid_scope", 70011, "The provided value for the input parameter 'scope' is not valid.");
const KIND: No = no("unsupported_grant_type", 70003, "The app requested an unsupported grant type.");
const MISSING: No = no("invalid_request", 900_144, "The request body lacks a parameter.");
const CLIENT: No = no("unauthorized_client", 700_016, "The application was not found in the directory.");
const SECRET: No = No {
    status: 401,
    error: "invalid_client",
    number: 7_000_215,
    message: "Invalid client secret provided.",
};

const fn no(error: &'static str, number: u32, message: &'static str) -> No {
    No { status: 400, error, number, message }
}

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

/// The last part of a scope in lower case: what it is called by, however it is written.
fn plain(scope: &str) -> String {
    scope.rsplit('/').next().unwrap_or(scope).to_ascii_lowercase()
}

impl Door {
    /// Forgets what is over: codes, access tokens, refresh tokens that others took the place of.
    pub(super) fn forget(&mut self, now: i64) {
        self.codes.retain(|_, code| now < code.made + CODE);
        self.access.retain(|_, (_, expires)| now < *expires);
        self.refresh
            .retain(|_, kept| kept.dead != Some(Dead::Replaced) && kept.ends.is_none_or(|ends| now < ends));
    }

    /// Answers a request to the sign-in's own addresses; nothing: it is none of them.
    pub(super) fn answer(
        &mut self,
        request: &Request,
        owner: &Owner,
        now: i64,
        dice: &Dice,
    ) -> Option<Answer> {
        let segments = request.segments();
        let path: Vec<&str> = segments.iter().map(String::as_str).collect();
        let (tenant, rest) = path.split_first()?;
        Some(match (&request.method, rest) {
            (&Method::GET, ["v2.0", ".well-known", "openid-configuration"]) => described(request, tenant),
            (&Method::GET, ["discovery", "v2.0", "keys"]) => Answer::json(200, &json!({ "keys": [] })),
            (&Method::GET, ["oauth2", "v2.0", "authorize"]) => self.authorize(request, now, dice),
            (&Method::POST, ["oauth2", "v2.0", "token"]) => {
                self.token(request, tenant, owner, now, dice).unwrap_or_else(|no| refused(&no, now, dice))
            }
            _ => return None,
        })
    }

    fn authorize(&mut self, request: &Request, now: i64, dice: &Dice) -> Answer {
        let asked = |name: &str| request.parameter(name).filter(|value| !value.is_empty());
        let page = |text: &str| {
            Answer::text(400, "text/html; charset=utf-8", format!("<h1>Sign in</h1><p>{text}</p>"))
        };
        let (Some(client), Some(redirect)) = (asked("client_id"), asked("redirect_uri")) else {
            return page("AADSTS900144: The request must contain client_id and redirect_uri.");
        };
        if self.client.as_ref().is_some_and(|(known, _)| known != client) {
            return page("AADSTS700016: The application was not found in the directory.");
        }
        let Ok(mut back) = url::Url::parse(redirect) else {
            return page("AADSTS50011: The redirect address is not one of the application's.");
        };
        let scope: Vec<String> =
            asked("scope").unwrap_or_default().split_whitespace().map(str::to_owned).collect();
        if asked("response_type") != Some("code") || scope.is_empty() {
            return page("AADSTS900144: The request must contain response_type=code and scope.");
        }
        let challenge = asked("code_challenge").map(str::to_owned);
        if challenge.is_some() && asked("code_challenge_method") != Some("S256") {
            return page("AADSTS501491: Only code_challenge_method=S256 is supported here.");
        }
        let mut told: Vec<(&str, String)> = Vec::new();
        if self.denies {
            told.push(("error", "access_denied".into()));
            told.push((
                "error_description",
                "AADSTS65004: User declined to consent to access the app.".into(),
            ));
        } else {
            let code = format!("0.{}", dice.word(48));
            let (client, redirect) = (client.to_owned(), redirect.to_owned());
            let nonce = asked("nonce").map(str::to_owned);
            self.codes.insert(
                code.clone(),
                Code { client, redirect, challenge, scope, nonce, made: now, used: false },
            );
            told.push(("code", code));
        }
        told.extend(asked("state").map(|state| ("state", state.to_owned())));
        told.push(("session_state", uuid(dice.any(), dice.any())));
        if asked("response_mode") == Some("form_post") {
            let fields: Vec<String> = told
                .iter()
                .map(|(name, value)| format!("<input type=\"hidden\" name=\"{name}\" value=\"{value}\">"))
                .collect();
            let form = format!("<form method=\"post\" action=\"{back}\">{}</form>", fields.concat());
            return Answer::text(200, "text/html; charset=utf-8", form);
        }
        for (name, value) in &told {
            let query = back.query().map(|query| format!("{query}&")).unwrap_or_default();
            back.set_query(Some(&format!("{query}{name}={}", encoded(value))));
        }
        Answer::empty(302).with("Location", back.as_str())
    }

    fn token(
        &mut self,
        request: &Request,
        tenant: &str,
        owner: &Owner,
        now: i64,
        dice: &Dice,
    ) -> Result<Answer, No> {
        let form = request.form();
        let given = |name: &str| {
            let found = form.iter().find(|(key, _)| key == name);
            found.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
        };
        let client = given("client_id").ok_or(MISSING)?;
        if let Some((known, secret)) = &self.client {
            if known != client {
                return Err(CLIENT);
            }
            if given("client_secret") != Some(secret) {
                return Err(SECRET);
            }
        }
        let (scope, before, nonce) = match given("grant_type").ok_or(MISSING)? {
            "authorization_code" => {
                let code = self.codes.get_mut(given("code").ok_or(MISSING)?).ok_or(NO_CODE)?;
                if code.used {
                    return Err(USED_CODE);
                }
                if now - code.made > CODE {
                    return Err(OLD_CODE);
                }
                if given("redirect_uri") != Some(code.redirect.as_str()) || code.client != client {
                    return Err(REDIRECT);
                }
                if let Some(challenge) = &code.challenge {
                    let verifier = given("code_verifier").unwrap_or_default();
                    if URL_SAFE_NO_PAD.encode(Sha256::digest(verifier)) != *challenge {
                        return Err(VERIFIER);
                    }
                }
                code.used = true;
                (code.scope.clone(), None, code.nonce.clone())
            }
            "refresh_token" => {
                let token = given("refresh_token").ok_or(MISSING)?.to_owned();
                (self.refreshed(&token, client, now)?, Some(token), None)
            }
            _ => return Err(KIND),
        };
        // What is asked for may be less than what was consented to, never more.
        let asked: Vec<&str> =
            given("scope").map(|scope| scope.split_whitespace().collect()).unwrap_or_default();
        let consented: Vec<String> = scope.iter().map(|scope| plain(scope)).collect();
        if asked
            .iter()
            .any(|scope| !matches!(plain(scope).as_str(), ".default") && !consented.contains(&plain(scope)))
        {
            return Err(SCOPE);
        }
        let mut body = json!({ "token_type": "Bearer", "scope": self.told(&scope), "expires_in": ACCESS, "ext_expires_in": ACCESS });
        set(&mut body, "access_token", json!(self.admit(&consented, now, dice)));
        if consented.iter().any(|scope| scope == "offline_access") {
            let fresh = format!("1.{}", dice.word(64));
            let client = client.to_owned();
            let kept = Refresh { client, scope, made: now, before, ends: None, dead: None };
            self.refresh.insert(fresh.clone(), kept);
            set(&mut body, "refresh_token", json!(fresh));
        }
        if consented.iter().any(|scope| scope == "openid") {
            set(&mut body, "id_token", json!(id_token(request, tenant, client, owner, nonce, now)));
        }
        if given("client_info").is_some() {
            let info = json!({ "uid": owner.id, "utid": TENANT });
            set(&mut body, "client_info", json!(URL_SAFE_NO_PAD.encode(info.to_string())));
        }
        let answer = Answer::json(200, &body);
        Ok(answer.with("Cache-Control", "no-store").with("Pragma", "no-cache"))
    }

    /// Uses a refresh token.
    fn refreshed(&mut self, token: &str, client: &str, now: i64) -> Result<Vec<String>, No> {
        let known = self.refresh.get_mut(token).filter(|known| known.client == client).ok_or(NO_CODE)?;
        match known.dead {
            Some(Dead::Revoked) => return Err(REVOKED),
            Some(Dead::Replaced) => return Err(OLD_TOKEN),
            None => {}
        }
        if now - known.made > REFRESH || known.ends.is_some_and(|ends| now > ends) {
            return Err(OLD_TOKEN);
        }
        known.ends = known.ends.or(Some(now + GRACE));
        if std::mem::take(&mut self.rotate) {
            known.dead = Some(Dead::Replaced);
        }
        let (scope, before) = (known.scope.clone(), known.before.clone());
        if let Some(before) = before.and_then(|before| self.refresh.get_mut(&before)) {
            before.dead = before.dead.or(Some(Dead::Replaced));
        }
        Ok(scope)
    }

    fn told(&self, scope: &[String]) -> String {
        let known = scope.iter().filter(|scope| plain(scope) != "offline_access");
        let told = known.map(|scope| {
            let short = scope.rsplit('/').next().unwrap_or(scope);
            let own = matches!(plain(scope).as_str(), "openid" | "profile" | "email");
            if self.long_scopes && !own {
                format!("https://graph.microsoft.com/{short}")
            } else {
                short.to_owned()
            }
        });
        told.collect::<Vec<_>>().join(" ")
    }

    /// Gives out an access token.
    pub(super) fn admit(&mut self, scope: &[String], now: i64, dice: &Dice) -> String {
        let token = format!("EwB.{}", dice.word(80));
        self.access.insert(token.clone(), (scope.to_vec(), now + ACCESS));
        token
    }

    /// Accepts a token for ever, for everything.
    pub(super) fn accept(&mut self, token: &str) {
        let all = ["user.read", "calendars.readwrite", "mailboxsettings.read", "offline_access"];
        self.access.insert(token.to_owned(), (all.map(str::to_owned).to_vec(), i64::MAX));
    }

    /// Gives out a refresh token as if the person had consented.
    pub(super) fn grant(&mut self, client: &str, now: i64, dice: &Dice) -> String {
        let token = format!("1.{}", dice.word(64));
        let scope = ["offline_access", "User.Read", "Calendars.ReadWrite"].map(str::to_owned).to_vec();
        let client = client.to_owned();
        self.refresh.insert(
            token.clone(),
            Refresh { client, scope, made: now, before: None, ends: None, dead: None },
        );
        token
    }

    /// Returns what a token allows, by the last parts of the scopes; nothing: it is worth nothing.
    pub(super) fn allows(&self, token: &str, now: i64) -> Option<&[String]> {
        self.access.get(token).filter(|(_, ends)| now < *ends).map(|(scope, _)| scope.as_slice())
    }

    /// Ends all access tokens.
    pub(super) fn expire(&mut self) {
        self.access.clear();
    }

    /// Ends everything that was consented to.
    pub(super) fn revoke(&mut self) {
        self.access.clear();
        self.refresh.values_mut().for_each(|token| token.dead = Some(Dead::Revoked));
    }
}

/// The directory of every account.
pub(super) const TENANT: &str = "9188040d-6c67-4c5b-b112-36a304b66dad";

fn described(request: &Request, tenant: &str) -> Answer {
    let origin = request.origin();
    let issuer = if tenant == "common" { "{tenantid}" } else { tenant };
    Answer::json(
        200,
        &json!({
            "issuer": format!("{origin}/{issuer}/v2.0"),
            "authorization_endpoint": format!("{origin}/{tenant}/oauth2/v2.0/authorize"),
            "token_endpoint": format!("{origin}/{tenant}/oauth2/v2.0/token"),
            "device_authorization_endpoint": format!("{origin}/{tenant}/oauth2/v2.0/devicecode"),
            "jwks_uri": format!("{origin}/{tenant}/discovery/v2.0/keys"),
            "response_modes_supported": ["query", "form_post"], "response_types_supported": ["code"],
            "scopes_supported": ["openid", "profile", "email", "offline_access"],
            "token_endpoint_auth_methods_supported": ["client_secret_post"],
            "subject_types_supported": ["pairwise"], "id_token_signing_alg_values_supported": ["RS256"],
        }),
    )
}

fn id_token(
    request: &Request,
    tenant: &str,
    client: &str,
    owner: &Owner,
    nonce: Option<String>,
    now: i64,
) -> String {
    let mut claims = json!({
        "iss": format!("{}/{tenant}/v2.0", request.origin()), "aud": client, "sub": owner.id, "oid": owner.id, "tid": TENANT,
        "iat": now, "nbf": now, "exp": now + ACCESS, "name": owner.name, "preferred_username": owner.address, "ver": "2.0",
    });
    if let Some(nonce) = nonce {
        set(&mut claims, "nonce", json!(nonce));
    }
    let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}.", part(json!({ "typ": "JWT", "alg": "none" })), part(claims))
}

fn refused(no: &No, now: i64, dice: &Dice) -> Answer {
    let trace = uuid(dice.any(), dice.any());
    let date = times::moment(now * 1000).get(..19).unwrap_or_default().replace('T', " ");
    let body = json!({
        "error": no.error,
        "error_description": format!("AADSTS{}: {} Trace ID: {trace} Timestamp: {date}Z", no.number, no.message),
        "error_codes": [no.number], "timestamp": format!("{date}Z"), "trace_id": trace, "correlation_id": trace,
        "error_uri": format!("https://login.microsoftonline.com/error?code={}", no.number),
    });
    Answer::json(no.status, &body)
}

//! The pages of a person who comes back from a far side's consent: sent on to where they wanted to go, else a few words; or
//! the question whether it is meant, where the browser is not the one that asked.

use std::sync::Arc;

use http::{HeaderValue, StatusCode, header};

use super::{Answered, body};
use crate::auth::grant::Secret;
use crate::auth::oauth::{self, Access};
use crate::bridge::record::Kind;
use crate::bridge::{Answer, Bridge, Doubt, Landing, Outcome};
use crate::http::{Reply, Request, escaped, reply_bytes, reply_empty};

/// No script, nothing from elsewhere, in no frame.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'";
/// The same for the page with a question, whose answer comes to this server.
const ASKING: &str = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
/// Longer parameters than any vendor documents.
const LONGEST: usize = 4096;
/// The longest answer to our question.
const ANSWER: u64 = 1024;

pub(super) async fn answer(bridge: &Arc<Bridge>, request: Request, name: Option<&str>) -> Answered {
    let query = request.query.unwrap_or_default();
    let parameter = |name: &str| of_form(query.as_bytes(), name).filter(|value| value.len() <= LONGEST);
    let state = parameter("state").unwrap_or_default();
    let back = Answer {
        browser: oauth::brought(&state, &request.headers),
        code: parameter("code").filter(|code| !code.is_empty()).map(Secret::new),
        error: parameter("error"),
        at: name.map(|name| if name == "google" { Kind::Google } else { Kind::Outlook }),
        state: state.clone(),
    };
    let brought = back.browser.is_some();
    let landing = bridge.consent_answered(back).await?;
    let mut reply = landed(landing);
    let forgotten = oauth::forgotten(&state, bridge.base_url());
    if let Some(cookie) = forgotten.filter(|_| brought) {
        reply.headers_mut().append(header::SET_COOKIE, cookie);
    }
    Ok(reply)
}

/// The answer to the question whether it is meant.
pub(super) async fn confirm(bridge: &Arc<Bridge>, mut request: Request) -> Answered {
    let form = match body(&mut request, ANSWER).await {
        Ok(form) => form,
        Err(reply) => return Ok(reply),
    };
    let token = of_form(&form, "token").unwrap_or_default();
    let meant = match of_form(&form, "answer").as_deref() {
        Some("yes") => true,
        Some("no") => false,
        _ => return Ok(landed(Landing { return_to: None, outcome: Outcome::Unawaited })),
    };
    Ok(landed(bridge.consent_confirmed(&token, meant).await?))
}

fn of_form(form: &[u8], name: &str) -> Option<String> {
    url::form_urlencoded::parse(form).find(|(n, _)| n == name).map(|(_, value)| value.into_owned())
}

fn landed(landing: Landing) -> Reply {
    match landing.outcome {
        Outcome::Unawaited => page(
            StatusCode::BAD_REQUEST,
            "Nothing was changed",
            "This link was used already, is older than 15 minutes or is not one of this server. Start again from Kalends.",
        ),
        Outcome::Unsure(doubt) => question(&doubt),
        Outcome::Connected { connection, account, owner } => match landing.return_to {
            Some(url) => onward(url, "connected", &connection),
            None => page(
                StatusCode::OK,
                "Connected",
                &format!(
                    "{account} is now connected to the account {owner} of this server. You can close this page."
                ),
            ),
        },
        Outcome::Refused { word, sentence } => match landing.return_to {
            Some(url) => onward(url, "error", word),
            None => page(StatusCode::BAD_REQUEST, "Not connected", &sentence),
        },
    }
}

/// Sends the browser on. The address was checked when it was given: it is one of ours.
fn onward(mut url: url::Url, name: &str, value: &str) -> Reply {
    url.query_pairs_mut().append_pair(name, value);
    let mut reply = reply_empty(StatusCode::SEE_OTHER);
    if let Ok(location) = HeaderValue::from_str(url.as_str()) {
        reply.headers_mut().insert(header::LOCATION, location);
    }
    guarded(reply, POLICY)
}

fn page(status: StatusCode, title: &str, words: &str) -> Reply {
    let html = document(title, &format!("<p>{}</p>", escaped(words)));
    guarded(reply_bytes(status, "text/html; charset=utf-8", html), POLICY)
}

/// Names both accounts, so that nobody connects theirs with somebody else's without knowing it.
fn question(doubt: &Doubt) -> Reply {
    let Doubt { action, token, vendor, account, owner, access } = doubt;
    let account = match account {
        Some(account) => format!("<strong>{}</strong>", escaped(account)),
        None => "an account that it does not name".to_owned(),
    };
    let owner = format!("<strong>{}</strong>", escaped(owner));
    let may = match access {
        Access::Read => "see its calendars and events",
        Access::Write => "see and change its calendars and events",
    };
    let body = format!(
        "<p>{vendor} says that you agreed to let this server into {account}. Shall it be connected to the account {owner} of \
         this server?</p>\n\
         <p>Whoever uses {owner} could then {may}. Go on only if that is you, and if it was you who asked for this: nobody \
         else has a reason to send you such a link.</p>\n\
         <form method=\"post\" action=\"{action}\">\n<input type=\"hidden\" name=\"token\" value=\"{token}\">\n\
         <p><button name=\"answer\" value=\"yes\">Connect to {plain}</button> <button name=\"answer\" value=\"no\">Do not \
         connect</button></p>\n</form>",
        vendor = escaped(vendor),
        action = escaped(action.as_str()),
        token = escaped(token.reveal()),
        plain = escaped(&doubt.owner),
    );
    let html = document("Connect this account?", &body);
    guarded(reply_bytes(StatusCode::OK, "text/html; charset=utf-8", html), ASKING)
}

fn document(title: &str, body: &str) -> String {
    let title = escaped(title);
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<title>{title} · Kalends</title>\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n\
         <style>body{{font:1rem/1.5 system-ui,sans-serif;max-width:38rem;margin:3rem auto;padding:0 1rem}}\
         button{{font:inherit;padding:.3em 1em}}</style>\n\
         <h1>{title}</h1>\n{body}\n</html>\n",
    )
}

/// The address of this page holds a code: it goes to no other place and into no cache.
fn guarded(mut reply: Reply, policy: &'static str) -> Reply {
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, policy),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
    ] {
        reply.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    reply
}

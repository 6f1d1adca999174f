//! The pages of a person who comes back from a far side's consent: sent on to where they wanted to go, else a few words.

use std::sync::Arc;

use http::{HeaderValue, StatusCode, header};

use super::Answered;
use crate::auth::grant::Secret;
use crate::bridge::record::Kind;
use crate::bridge::{Answer, Bridge, Outcome};
use crate::http::{Reply, escaped, reply_bytes, reply_empty};

/// No script, nothing from elsewhere, in no frame.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'";
/// Longer parameters than any vendor documents.
const LONGEST: usize = 4096;

pub(super) async fn answer(bridge: &Arc<Bridge>, query: &str, name: Option<&str>) -> Answered {
    let parameter = |name: &str| {
        let mut pairs = url::form_urlencoded::parse(query.as_bytes());
        pairs.find(|(n, _)| n == name).map(|(_, value)| value.into_owned()).filter(|v| v.len() <= LONGEST)
    };
    let back = Answer {
        state: parameter("state").unwrap_or_default(),
        code: parameter("code").filter(|code| !code.is_empty()).map(Secret::new),
        error: parameter("error"),
        at: name.map(|name| if name == "google" { Kind::Google } else { Kind::Outlook }),
    };
    let landing = bridge.consent_answered(back).await?;
    let reply = match landing.outcome {
        Outcome::Unawaited => page(
            StatusCode::BAD_REQUEST,
            "Nothing was changed",
            "This link was used already, is older than 15 minutes or is not one of this server. Start again from Kalends.",
        ),
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
    };
    Ok(reply)
}

/// Sends the browser on. The address was checked when it was given: it is one of ours.
fn onward(mut url: url::Url, name: &str, value: &str) -> Reply {
    url.query_pairs_mut().append_pair(name, value);
    let mut reply = reply_empty(StatusCode::SEE_OTHER);
    if let Ok(location) = HeaderValue::from_str(url.as_str()) {
        reply.headers_mut().insert(header::LOCATION, location);
    }
    guarded(reply)
}

fn page(status: StatusCode, title: &str, words: &str) -> Reply {
    let html = format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<title>{title} · Kalends</title>\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n\
         <style>body{{font:1rem/1.5 system-ui,sans-serif;max-width:38rem;margin:3rem auto;padding:0 1rem}}</style>\n\
         <h1>{title}</h1>\n<p>{words}</p>\n</html>\n",
        title = escaped(title),
        words = escaped(words),
    );
    guarded(reply_bytes(status, "text/html; charset=utf-8", html))
}

/// The address of this page holds a code: it goes to no other place and into no cache.
fn guarded(mut reply: Reply) -> Reply {
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
    ] {
        reply.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    reply
}

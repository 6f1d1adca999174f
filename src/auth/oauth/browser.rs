//! The cookie that ties a consent to the browser that asked for it.
//!
//! Owns: its name and its attributes. Each consent has one of its own, so that two that are asked for side by side do not get
//! in each other's way. Does not own: what is believed of a browser without it (`bridge`).

use http::{HeaderMap, HeaderValue, header};

use super::digest;
use crate::auth::grant::Secret;

/// Seconds that a browser keeps it: as long as a consent is awaited.
const LIFE: u32 = 15 * 60;

/// Returns the cookie that the browser is given. RFC 6265bis §4.1.3.2: with `__Host-`, over https, no other server of the
/// domain can put one of its own in its place. `Lax` is sent when the far side sends the browser back, and with nothing that
/// another site does by itself.
pub fn handed(state: &str, secret: &Secret, base_url: &str) -> Option<HeaderValue> {
    cookie(state, secret.reveal(), LIFE, base_url)
}

/// Returns what makes the browser forget it.
pub fn forgotten(state: &str, base_url: &str) -> Option<HeaderValue> {
    cookie(state, "", 0, base_url)
}

/// Returns what a browser brings back for the consent with this state.
pub fn brought(state: &str, headers: &HeaderMap) -> Option<Secret> {
    let (plain, host) = (name(state), format!("__Host-{}", name(state)));
    let lines = headers.get_all(header::COOKIE).iter().filter_map(|line| line.to_str().ok());
    let mut pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    let (_, value) = pairs.find(|(name, _)| *name == host || *name == plain)?;
    Some(Secret::new(value))
}

fn cookie(state: &str, value: &str, life: u32, base_url: &str) -> Option<HeaderValue> {
    let (prefix, secure) = match base_url.starts_with("https:") {
        true => ("__Host-", "; Secure"),
        // People come back over plain http on their own machine only.
        false => ("", ""),
    };
    let name = name(state);
    let text = format!("{prefix}{name}={value}; Path=/; Max-Age={life}; HttpOnly; SameSite=Lax{secure}");
    let mut value = HeaderValue::from_str(&text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// The state itself is in addresses; its digest tells nobody anything.
fn name(state: &str) -> String {
    format!("kalends-consent-{}", digest(state).chars().take(16).collect::<String>())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use super::*;

    // S3-044: bound to the session
    #[test]
    fn a_browser_brings_back_what_it_was_handed_for_the_same_consent() {
        let secret = Secret::new("s-1");
        for (base, start, end) in [
            ("https://cal.example.org/k", "__Host-kalends-consent-", "HttpOnly; SameSite=Lax; Secure"),
            ("http://127.0.0.1:8008", "kalends-consent-", "HttpOnly; SameSite=Lax"),
        ] {
            let cookie = handed("state-1", &secret, base).unwrap();
            let text = cookie.to_str().unwrap();
            assert!(text.starts_with(start) && text.ends_with(end), "{text}");
            assert!(text.contains("; Path=/; ") && !text.contains("state-1"), "{text}");
            assert!(cookie.is_sensitive());
            let (pair, _) = text.split_once(';').unwrap();
            let mut headers = HeaderMap::new();
            headers.append(header::COOKIE, HeaderValue::from_static("a=b; kalends-consent-=x"));
            assert!(brought("state-1", &headers).is_none());
            headers.append(header::COOKIE, format!("c=d; {pair}; e=f").parse().unwrap());
            assert_eq!(brought("state-1", &headers), Some(Secret::new("s-1")));
            assert_eq!(brought("state-2", &headers), None);
            let gone = forgotten("state-1", base).unwrap();
            assert!(gone.to_str().unwrap().contains("=; Path=/; Max-Age=0;"), "{gone:?}");
        }
    }
}

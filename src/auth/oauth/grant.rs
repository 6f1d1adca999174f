//! What a consent gave, as it is kept; and the random texts around it.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use sha2::Digest as _;

use crate::auth::grant::Secret;
use crate::store::Timestamp;

/// Tokens that a far side gave. Only its sealed form is ever kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// What calls are made with.
    pub access: Secret,
    /// When it ends.
    pub expires: Timestamp,
    /// What the next one is fetched with.
    pub refresh: Secret,
    /// What it is good for, as the far side says.
    pub scopes: Vec<String>,
    /// When no next one is given out any more; nothing: not told, which means not soon.
    pub ends: Option<Timestamp>,
    /// When the person consented; nothing: not known.
    pub given: Option<Timestamp>,
}

#[derive(Serialize, Deserialize)]
struct Kept {
    access: String,
    expires: i64,
    refresh: String,
    scopes: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ends: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    given: Option<i64>,
}

impl Grant {
    /// Returns it as one text, to be sealed.
    pub fn text(&self) -> Secret {
        let kept = Kept {
            access: self.access.reveal().to_owned(),
            expires: self.expires.0,
            refresh: self.refresh.reveal().to_owned(),
            scopes: self.scopes.clone(),
            ends: self.ends.map(|at| at.0),
            given: self.given.map(|at| at.0),
        };
        // Texts and a number: this is always JSON.
        Secret::new(serde_json::to_string(&kept).unwrap_or_default())
    }

    /// Reads what `text` gave. Nothing: it is something else.
    pub fn read(text: &Secret) -> Option<Grant> {
        let kept: Kept = serde_json::from_str(text.reveal()).ok()?;
        Some(Grant {
            access: Secret::new(kept.access),
            expires: Timestamp(kept.expires),
            refresh: Secret::new(kept.refresh),
            scopes: kept.scopes,
            ends: kept.ends.map(Timestamp),
            given: kept.given.map(Timestamp),
        })
    }
}

/// RFC 7636: who fetches the tokens is who began to ask for them.
#[derive(Debug, Clone)]
pub struct Pkce {
    /// Told only to the token endpoint.
    pub verifier: Secret,
}

impl Pkce {
    /// Returns a new one.
    ///
    /// # Errors
    /// When the system gives no random numbers.
    pub fn new() -> Result<Pkce, String> {
        Ok(Pkce { verifier: Secret::new(random_text()?) })
    }

    /// Returns what is shown to everybody. RFC 7636 §4.2, S256.
    pub fn challenge(&self) -> String {
        URL_SAFE_NO_PAD.encode(sha2::Sha256::digest(self.verifier.reveal().as_bytes()))
    }
}

/// Returns 256 random bits as 43 characters that may stand in an address.
///
/// # Errors
/// When the system gives no random numbers.
pub fn random_text() -> Result<String, String> {
    let mut bytes = [0u8; 32];
    getrandom::fill(&mut bytes).map_err(|_| "the system gave no random numbers".to_owned())?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

/// Tells whether a text could be one that `random_text` made; what cannot is not looked for.
pub fn is_random_text(text: &str) -> bool {
    text.len() == 43 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

/// Returns the SHA-256 of a text in hexadecimal digits: what is kept of a text that only others shall know.
pub fn digest(text: &str) -> String {
    sha2::Sha256::digest(text.as_bytes()).iter().fold(String::with_capacity(64), |mut hex, byte| {
        use std::fmt::Write as _;
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn the_challenge_is_the_one_of_the_standard() {
        // RFC 7636 appendix B.
        let pkce = Pkce { verifier: Secret::new("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk") };
        assert_eq!(pkce.challenge(), "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM");
        let other = Pkce::new().unwrap();
        assert!((43..=128).contains(&other.verifier.reveal().len()), "RFC 7636 §4.1");
        assert_ne!(other.verifier, Pkce::new().unwrap().verifier);
    }

    #[test]
    fn random_texts_have_their_shape() {
        assert!(is_random_text(&random_text().unwrap()));
        for other in ["", "short", &"x".repeat(44), &"x".repeat(42), &format!("{}/", "x".repeat(42))] {
            assert!(!is_random_text(other), "{other}");
        }
    }

    #[test]
    fn a_grant_is_read_as_it_was_kept_and_shows_nothing() {
        let grant = Grant {
            access: Secret::new("acc-ess"),
            expires: Timestamp(12),
            refresh: Secret::new("re\"fresh"),
            scopes: vec!["a".into()],
            ends: Some(Timestamp(99)),
            given: Some(Timestamp(3)),
        };
        assert_eq!(Grant::read(&grant.text()).unwrap(), grant);
        let older = Secret::new(r#"{"access":"a","expires":1,"refresh":"r","scopes":[]}"#);
        assert_eq!(Grant::read(&older).unwrap().ends, None);
        assert!(Grant::read(&Secret::new("a password")).is_none());
        let shown = format!("{grant:?}");
        assert!(!shown.contains("acc-ess") && !shown.contains("fresh\\\""), "{shown}");
        assert_eq!(digest("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }
}

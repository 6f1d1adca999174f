//! The header by which a receiver knows that a message is ours.
//!
//! Owns: `webhook-signature`, one signature for each secret that is valid. Does not own: how one is made (`auth::signing`),
//! where secrets are kept (`front`).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::auth::grant::Secret;
use crate::auth::signing::signature;

/// Returns the value of `webhook-signature`, the newest secret's first. Nothing: there is no secret, or one is none.
pub(super) fn signatures(secrets: &[Secret], id: &str, seconds: i64, body: &[u8]) -> Option<String> {
    let at = seconds.to_string();
    let one = |secret| Some(format!("v1,{}", STANDARD.encode(signature(secret, id, &at, body)?)));
    let all: Option<Vec<String>> = secrets.iter().map(one).collect();
    all.filter(|all| !all.is_empty()).map(|all| all.join(" "))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use super::*;
    use crate::auth::signing::fresh;

    // S3-038: the example of the Standard Webhooks specification
    #[test]
    fn every_valid_secret_signs() {
        let secret = Secret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
        let (id, at, body) = ("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
        let right = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
        assert_eq!(signatures(std::slice::from_ref(&secret), id, at, body).unwrap(), right);
        let both = signatures(&[fresh().unwrap(), secret], id, at, body).unwrap();
        assert!(both.starts_with("v1,") && both.ends_with(&format!(" {right}")), "{both}");
        assert_eq!(signatures(&[Secret::new("plain")], id, at, body), None);
        assert_eq!(signatures(&[], id, at, body), None);
    }
}

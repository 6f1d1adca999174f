//! Secrets and signatures, as Standard Webhooks has them: `whsec_…`, HMAC-SHA256 over id, time and body.
//!
//! Owns: making secrets, the header. Does not own: where secrets are kept (`front`).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::auth::grant::Secret;
use crate::store::Fault;

/// The bytes of a secret; the specification wants 24 to 64.
const LENGTH: usize = 32;
const PREFIX: &str = "whsec_";

/// Returns a new secret.
pub(super) fn fresh() -> Result<Secret, Fault> {
    let mut bytes = Zeroizing::new([0; LENGTH]);
    getrandom::fill(&mut *bytes).map_err(|error| Fault::Broken(format!("no random numbers: {error}")))?;
    Ok(Secret::new(format!("{PREFIX}{}", STANDARD.encode(bytes.as_slice()))))
}

/// Returns the value of `webhook-signature`: one signature for each secret, the newest first.
pub(super) fn signatures(secrets: &[Secret], id: &str, seconds: i64, body: &[u8]) -> Option<String> {
    let all: Option<Vec<String>> =
        secrets.iter().map(|secret| signature(secret, id, seconds, body)).collect();
    all.filter(|all| !all.is_empty()).map(|all| all.join(" "))
}

fn signature(secret: &Secret, id: &str, seconds: i64, body: &[u8]) -> Option<String> {
    let key = Zeroizing::new(STANDARD.decode(secret.reveal().strip_prefix(PREFIX)?).ok()?);
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).ok()?;
    for part in [id.as_bytes(), b".", seconds.to_string().as_bytes(), b".", body] {
        mac.update(part);
    }
    Some(format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes())))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use super::*;

    // S3-038: the example of the Standard Webhooks specification
    #[test]
    fn a_signature_is_over_id_time_and_body() {
        let secret = Secret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
        let (id, at, body) = ("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
        let right = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
        assert_eq!(signatures(std::slice::from_ref(&secret), id, at, body).unwrap(), right);
        let both = signatures(&[fresh().unwrap(), secret], id, at, body).unwrap();
        assert!(both.starts_with("v1,") && both.ends_with(&format!(" {right}")), "{both}");
        assert_eq!(signatures(&[Secret::new("plain")], id, at, body), None);
        assert_eq!(signatures(&[], id, at, body), None);
    }

    #[test]
    fn secrets_have_their_shape_and_differ() {
        let (one, two) = (fresh().unwrap(), fresh().unwrap());
        assert_ne!(one, two);
        assert_eq!(STANDARD.decode(one.reveal().strip_prefix(PREFIX).unwrap()).unwrap().len(), LENGTH);
    }
}

//! Secrets and signatures as Standard Webhooks has them: `whsec_…`, HMAC-SHA256 over id, time and body.
//!
//! Owns: making a secret, working a signature out; one piece for webhooks that leave (`webhook`) and hooks that come in
//! (`hooks`, `bridge::heard`). Does not own: where secrets are kept, which headers carry what.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use zeroize::Zeroizing;

use super::grant::Secret;
use crate::store::Fault;
use crate::store::random;

/// The bytes of a secret; the specification wants 24 to 64.
const LENGTH: usize = 32;
const PREFIX: &str = "whsec_";

/// Returns a new secret.
///
/// # Errors
/// When the system has no random numbers.
pub fn fresh() -> Result<Secret, Fault> {
    let bytes = Zeroizing::new(random::bytes::<LENGTH>()?);
    Ok(Secret::new(format!("{PREFIX}{}", STANDARD.encode(bytes.as_slice()))))
}

/// Returns the signature of a message, `at` being its time in seconds as it is written. Nothing: the secret is none.
pub fn signature(secret: &Secret, id: &str, at: &str, body: &[u8]) -> Option<[u8; 32]> {
    let text = secret.reveal();
    let key = Zeroizing::new(STANDARD.decode(text.strip_prefix(PREFIX).unwrap_or(text)).ok()?);
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).ok()?;
    for part in [id.as_bytes(), b".", at.as_bytes(), b".", body] {
        mac.update(part);
    }
    Some(mac.finalize().into_bytes().into())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use super::*;

    // S3-038: the example of the Standard Webhooks specification
    #[test]
    fn a_signature_is_over_id_time_and_body() {
        let secret = Secret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
        let (id, body) = ("msg_p5jXN8AQM9LWM0D4loKWxJek", br#"{"test": 2432232314}"#);
        let right = "g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
        assert_eq!(STANDARD.encode(signature(&secret, id, "1614265330", body).unwrap()), right);
        assert_eq!(signature(&Secret::new("whsec_not base64"), id, "1614265330", body), None);
    }

    #[test]
    fn secrets_have_their_shape_and_differ() {
        let (one, two) = (fresh().unwrap(), fresh().unwrap());
        assert_ne!(one, two);
        assert_eq!(STANDARD.decode(one.reveal().strip_prefix(PREFIX).unwrap()).unwrap().len(), LENGTH);
    }
}

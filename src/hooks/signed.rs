//! A hook that any program may call to have a mapping looked at: signed as Standard Webhooks are, or with the secret
//! itself for programs that cannot sign.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use subtle::ConstantTimeEq as _;

use super::{Answered, body, said};
use crate::auth::grant::Secret;
use crate::bridge::Bridge;
use crate::http::Request;
use crate::store::Timestamp;

/// The longest body that is read. What it says is not looked at.
const LONGEST: u64 = 64 << 10;
/// How far the sender's clock may be from ours, in seconds.
const WINDOW: i64 = 300;

pub(super) async fn answer(bridge: &Bridge, mut request: Request, mapping: &str) -> Answered {
    let bytes = match body(&mut request, LONGEST).await {
        Ok(bytes) => bytes,
        Err(reply) => return Ok(reply),
    };
    // The body is not shared between threads; the headers are.
    let headers = request.headers;
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let signature = Signature {
        id: header("webhook-id").unwrap_or_default(),
        at: header("webhook-timestamp").unwrap_or_default(),
        all: header("webhook-signature").unwrap_or_default(),
    };
    let bearer = header("authorization").and_then(|text| text.strip_prefix("Bearer "));
    let token = bearer.or_else(|| header("x-kalends-token")).map(str::trim);
    let heard = bridge
        .hook_called(mapping, |secret, now| match token {
            Some(token) => bool::from(token.as_bytes().ct_eq(secret.reveal().as_bytes())),
            None => signature.holds(secret, &bytes, now),
        })
        .await?;
    Ok(said(heard))
}

/// The three headers of a signed webhook.
#[derive(Clone, Copy)]
struct Signature<'a> {
    id: &'a str,
    at: &'a str,
    all: &'a str,
}

impl Signature<'_> {
    /// Tells whether one of the signatures is right and the message is of now.
    fn holds(&self, secret: &Secret, body: &[u8], now: Timestamp) -> bool {
        let Ok(at) = self.at.parse::<i64>() else { return false };
        let apart = (now.0 / 1000).saturating_sub(at);
        if self.id.is_empty() || apart.saturating_abs() > WINDOW {
            return false;
        }
        let text = secret.reveal();
        let Ok(key) = STANDARD.decode(text.strip_prefix("whsec_").unwrap_or(text)) else { return false };
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&key) else { return false };
        for part in [self.id.as_bytes(), b".", self.at.as_bytes(), b".", body] {
            mac.update(part);
        }
        let wanted = mac.finalize().into_bytes();
        self.all
            .split_whitespace()
            .filter_map(|signature| STANDARD.decode(signature.strip_prefix("v1,")?).ok())
            .any(|signature| bool::from(signature.as_slice().ct_eq(wanted.as_slice())))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use super::*;

    // S0-027, S3-038, E21: the example of the Standard Webhooks specification
    #[test]
    fn a_signature_is_over_id_time_and_body() {
        let secret = Secret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
        let body = br#"{"test": 2432232314}"#;
        let good = Signature {
            id: "msg_p5jXN8AQM9LWM0D4loKWxJek",
            at: "1614265330",
            all: "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
        };
        let now = Timestamp(1_614_265_330_000);
        assert!(good.holds(&secret, body, now));
        assert!(!good.holds(&secret, b"{}", now));
        assert!(!good.holds(&Secret::new("whsec_AAAA"), body, now));
        assert!(!good.holds(&secret, body, Timestamp(now.0 + 301_000)));
        assert!(!good.holds(&secret, body, Timestamp(now.0 - 301_000)));
        let two = Signature { all: "v1,AAAA v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=", ..good };
        assert!(two.holds(&secret, body, now), "one of several suffices while a secret is exchanged");
        for all in ["", "v1,", "g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=", "v2,AAAA"] {
            assert!(!Signature { all, ..good }.holds(&secret, body, now), "{all}");
        }
    }
}

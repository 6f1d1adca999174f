//! A hook that any program may call to have a mapping looked at: signed as Standard Webhooks are, or with the secret
//! itself for programs that cannot sign.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use subtle::ConstantTimeEq as _;

use super::{Answered, Hooks, body};
use crate::auth::grant::Secret;
use crate::auth::signing;
use crate::bridge::Heard;
use crate::http::Request;
use crate::store::Timestamp;

/// The longest body that is read. What it says is not looked at.
const LONGEST: u64 = 64 << 10;
/// How far the sender's clock may be from ours, in seconds.
const WINDOW: i64 = 300;
/// How many signatures are looked at: of more than two secrets nobody signs.
const SIGNATURES: usize = 4;
/// The bytes of a signature.
const LENGTH: usize = 32;

/// What costs nothing is looked at first: whether there is such a hook, who asks too often, whether what is carried could be
/// right. Then the body is read, and the secret.
pub(super) async fn answer(hooks: &Hooks, mut request: Request, mapping: &str) -> Answered {
    let peer = request.peer;
    if !hooks.bridge.has_hook(mapping) {
        return Ok(hooks.judged("", peer, Heard::Unknown));
    }
    if let Some(refusal) = hooks.refuses(mapping, peer) {
        return Ok(refusal);
    }
    // The body is not shared between threads; the headers are.
    let headers = request.headers.clone();
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let bearer = header("authorization").and_then(|text| text.strip_prefix("Bearer "));
    let heard = if let Some(token) = bearer.or_else(|| header("x-kalends-token")) {
        let same = |secret: &Secret| bool::from(token.as_bytes().ct_eq(secret.reveal().as_bytes()));
        hooks.bridge.hook_called(mapping, same).await?
    } else {
        let text = |name| header(name).unwrap_or_default();
        let (id, at, all) = (text("webhook-id"), text("webhook-timestamp"), text("webhook-signature"));
        match Signature::read(id, at, all, hooks.bridge.now()) {
            Some(signature) => {
                let bytes = match body(&mut request, LONGEST).await {
                    Ok(bytes) => bytes,
                    Err(reply) => return Ok(reply),
                };
                hooks.bridge.hook_called(mapping, |secret| signature.holds(secret, &bytes)).await?
            }
            None => Heard::Wrong,
        }
    };
    Ok(hooks.judged(mapping, peer, heard))
}

/// The three headers of a signed webhook, as far as they can be right.
struct Signature<'a> {
    id: &'a str,
    at: &'a str,
    all: Vec<[u8; LENGTH]>,
}

impl Signature<'_> {
    /// Reads them; nothing: one is missing, the message is not of now, or there is no signature that could be one.
    fn read<'a>(id: &'a str, at: &'a str, all: &str, now: Timestamp) -> Option<Signature<'a>> {
        let moment: i64 = at.parse().ok()?;
        let apart = (now.0 / 1000).saturating_sub(moment).saturating_abs();
        let decoded = |signature: &str| -> Option<[u8; LENGTH]> {
            STANDARD.decode(signature.strip_prefix("v1,")?).ok()?.try_into().ok()
        };
        let all: Vec<_> = all.split_whitespace().filter_map(decoded).take(SIGNATURES).collect();
        (!id.is_empty() && apart <= WINDOW && !all.is_empty()).then_some(Signature { id, at, all })
    }

    /// Tells whether one of the signatures is right.
    fn holds(&self, secret: &Secret, body: &[u8]) -> bool {
        let Some(wanted) = signing::signature(secret, self.id, self.at, body) else { return false };
        self.all.iter().any(|signature| bool::from(signature.as_slice().ct_eq(wanted.as_slice())))
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
        let (id, at) = ("msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330");
        let right = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
        let now = Timestamp(1_614_265_330_000);
        let read = |all: &str, now| Signature::read(id, at, all, now);
        let good = read(right, now).unwrap();
        assert!(good.holds(&secret, body));
        assert!(!good.holds(&secret, b"{}"));
        assert!(!good.holds(&Secret::new("whsec_AAAA"), body));
        let other = format!("v1,{}", STANDARD.encode([7; LENGTH]));
        assert!(!read(&other, now).unwrap().holds(&secret, body));
        let two = format!("{other} {right}");
        assert!(
            read(&two, now).unwrap().holds(&secret, body),
            "one of several suffices while a secret is exchanged"
        );
        // What cannot be right is not compared.
        assert!(read(right, Timestamp(now.0 + 301_000)).is_none());
        assert!(read(right, Timestamp(now.0 - 301_000)).is_none());
        for all in ["", "v1,", "g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=", "v2,AAAA", "v1,AAAA"] {
            assert!(read(all, now).is_none(), "{all}");
        }
        assert!(Signature::read("", at, right, now).is_none());
        assert!(Signature::read(id, "soon", right, now).is_none());
    }
}

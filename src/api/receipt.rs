//! `Idempotency-Key`: a wish that is repeated is answered once more, not carried out once more.
//!
//! Owns: which answers are kept, for whom, how long, and that a twin waits for the first. Does not own: what is asked for.
//!
//! An answer is kept under the token that asked and the key that it chose; sealed, because some answers show a secret
//! this once. Only what went well is kept: after a failure the same key begins anew. A route whose answer is known
//! before it writes can keep it in the very commit that does the work ([`Slip::keep`]), so that not even a power cut
//! parts the two; for the others it is kept right after.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode, header};
use http_body_util::BodyExt as _;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::problem::Problem;
use crate::auth::grant::{Keyring, SealError, Secret};
use crate::calendar::House;
use crate::http::{Reply, reply_bytes};
use crate::store::{Commit, CommitError, Expect, Fault, Key, Op, Origin, Table, Timestamp};

/// How long an answer is given again, in milliseconds.
pub(super) const KEPT: i64 = 24 * 3_600_000;
/// The longest key.
const LONGEST: usize = 255;
/// The headers of an answer that are given again.
const HEADERS: [HeaderName; 3] = [header::CONTENT_TYPE, header::LOCATION, header::ETAG];

/// An answer as it is kept.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    /// Of what was asked.
    wish: String,
    at: Timestamp,
    status: u16,
    headers: Vec<(String, String)>,
    body: String,
}

/// Where the answer to one wish belongs.
#[derive(Debug)]
pub(super) struct Slip {
    keyring: Arc<Keyring>,
    key: Key,
    wish: String,
    at: Timestamp,
    /// What was kept there before, and is too old.
    before: Option<Bytes>,
    done: AtomicBool,
}

impl Slip {
    /// Returns what has to hold and what has to be written for this answer to be given again.
    pub(super) fn keep(&self, reply: &Answer) -> Result<(Expect, Op), Fault> {
        let kept = Kept {
            wish: self.wish.clone(),
            at: self.at,
            status: reply.status.as_u16(),
            headers: reply.headers.clone(),
            body: STANDARD.encode(&reply.body),
        };
        let text = serde_json::to_string(&kept).map_err(|error| Fault::Broken(error.to_string()))?;
        let sealed = self.keyring.seal(&self.key, &Secret::new(text)).map_err(fault)?;
        self.done.store(true, Ordering::Relaxed);
        let expect = Expect::Record(self.key.clone(), self.before.clone());
        Ok((expect, Op::PutRecord(self.key.clone(), sealed)))
    }
}

/// An answer in pieces.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    status: StatusCode,
    headers: Vec<(String, String)>,
    body: Bytes,
}

impl Answer {
    /// Returns the answer that a document will be, before there is one.
    pub(super) fn document(status: StatusCode, document: &Value, location: Option<String>) -> Answer {
        let mut headers = vec![(header::CONTENT_TYPE.as_str().to_owned(), "application/json".to_owned())];
        headers.extend(location.map(|location| (header::LOCATION.as_str().to_owned(), location)));
        if let Some(tag) = document.get("etag").and_then(Value::as_str) {
            headers.push((header::ETAG.as_str().to_owned(), format!("\"{tag}\"")));
        }
        Answer { status, headers, body: document.to_string().into() }
    }

    /// Takes from an answer what is kept of it.
    fn with(head: &http::response::Parts, body: Bytes) -> Answer {
        let headers = HEADERS.iter().filter_map(|name| {
            Some((name.as_str().to_owned(), head.headers.get(name)?.to_str().ok()?.to_owned()))
        });
        Answer { status: head.status, headers: headers.collect(), body }
    }

    /// Puts it together again.
    pub(super) fn reply(self) -> Reply {
        let mut reply = reply_bytes(self.status, "application/json", self.body);
        reply.headers_mut().remove(header::CONTENT_TYPE);
        for (name, value) in self.headers {
            if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
                reply.headers_mut().insert(name, value);
            }
        }
        // Answers are one person's.
        let private = HeaderValue::from_static("private, no-cache");
        reply.headers_mut().insert(header::CACHE_CONTROL, private);
        reply
    }
}

/// What a slip says when it is looked at.
pub(super) enum Found {
    /// Nobody asked yet.
    Nothing(Slip),
    /// It was answered.
    Again(Reply),
}

/// The answers that are kept.
#[derive(Debug)]
pub(super) struct Receipts {
    keyring: Arc<Keyring>,
    /// Who is being answered; twins wait in line.
    flights: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
}

/// A place at the head of a line.
pub(super) struct Turn<'a> {
    receipts: &'a Receipts,
    path: String,
    _held: tokio::sync::OwnedMutexGuard<()>,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut flights = self.receipts.flights.lock().unwrap_or_else(PoisonError::into_inner);
        // Ours, the map's and nobody else's.
        if flights.get(&self.path).is_some_and(|line| Arc::strong_count(line) <= 2) {
            flights.remove(&self.path);
        }
    }
}

impl Receipts {
    pub(super) fn new(keyring: Arc<Keyring>) -> Receipts {
        Receipts { keyring, flights: Mutex::default() }
    }

    /// Reads a key that a caller chose.
    pub(super) fn key(user: &str, token: &str, chosen: &str) -> Result<Key, Problem> {
        let good = (1..=LONGEST).contains(&chosen.len()) && chosen.bytes().all(|b| b.is_ascii_graphic());
        if !good {
            let why = format!("An Idempotency-Key has 1 to {LONGEST} printable characters and no space.");
            return Err(Problem::invalid("Idempotency-Key", why));
        }
        let digest = hex(&[token, chosen].map(|part| hex(part.as_bytes())).concat().into_bytes());
        Ok(Key::new(Table::Receipt, format!("{user}/{digest}")))
    }

    /// Waits until nobody else is being answered under this key.
    pub(super) async fn turn(&self, key: &Key) -> Turn<'_> {
        let line = {
            let mut flights = self.flights.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(flights.entry(key.path.clone()).or_default())
        };
        Turn { receipts: self, path: key.path.clone(), _held: line.lock_owned().await }
    }

    /// Looks whether the wish was answered. `wish` is all that makes it this one and no other.
    pub(super) async fn find(&self, house: &House, key: Key, wish: &[&[u8]]) -> Result<Found, Problem> {
        let wish = hex(&wish.iter().map(|part| hex(part)).collect::<String>().into_bytes());
        let now = house.clock.now();
        let before = house.store.record(&key).await?;
        if let Some(sealed) = &before {
            let kept = self.keyring.unseal(&key, sealed).map_err(fault)?;
            let kept: Kept =
                serde_json::from_str(kept.reveal()).map_err(|error| Fault::Broken(error.to_string()))?;
            if kept.at.0.saturating_add(KEPT) > now.0 {
                if kept.wish != wish {
                    return Err(Problem::key_reused());
                }
                let body = STANDARD.decode(&kept.body).map_err(|error| Fault::Broken(error.to_string()))?;
                let status =
                    StatusCode::from_u16(kept.status).map_err(|error| Fault::Broken(error.to_string()))?;
                let answer = Answer { status, headers: kept.headers, body: body.into() };
                return Ok(Found::Again(answer.reply()));
            }
        }
        let keyring = Arc::clone(&self.keyring);
        Ok(Found::Nothing(Slip { keyring, key, wish, at: now, before, done: AtomicBool::new(false) }))
    }

    /// Keeps an answer, unless it was kept with the work itself or is none that is kept.
    pub(super) async fn keep(&self, house: &House, slip: &Slip, reply: Reply) -> Result<Reply, Problem> {
        if slip.done.load(Ordering::Relaxed) || !reply.status().is_success() {
            return Ok(reply);
        }
        let (head, body) = reply.into_parts();
        let body = body.collect().await.map_err(|_| Fault::Broken("an answer broke off".into()))?.to_bytes();
        let answer = Answer::with(&head, body.clone());
        // What is for this one answer alone, such as a cookie, goes out with it and is not kept.
        let reply = Reply::from_parts(head, crate::http::body(body));
        let (expect, op) = slip.keep(&answer)?;
        let commit = Commit::new(Origin::System, slip.at).expect(expect).op(op);
        match house.store.commit(commit).await {
            // Somebody else was answered under it: what was done for this one is done all the same.
            Ok(_) | Err(CommitError::Rejected(_)) => Ok(reply),
            Err(CommitError::Fault(fault)) => {
                tracing::warn!("an answer could not be kept for its Idempotency-Key: {fault}");
                Ok(reply)
            }
        }
    }

    /// Forgets answers that are not given again any more, and what nobody can open. Returns how many.
    ///
    /// # Errors
    /// When the store fails.
    pub(super) async fn forget(&self, house: &House) -> Result<usize, Fault> {
        let now = house.clock.now();
        let (mut count, mut after) = (0, None::<String>);
        loop {
            let page = house.store.records(Table::Receipt, "", after.as_deref(), 256).await?;
            let Some((last, _)) = page.last() else { return Ok(count) };
            after = Some(last.path.clone());
            for (key, sealed) in page {
                let kept = self.keyring.unseal(&key, &sealed).ok();
                let kept = kept.and_then(|kept| serde_json::from_str::<Kept>(kept.reveal()).ok());
                if kept.is_some_and(|kept| kept.at.0.saturating_add(KEPT) > now.0) {
                    continue;
                }
                let commit = Commit::new(Origin::System, now)
                    .expect(Expect::Record(key.clone(), Some(sealed)))
                    .op(Op::DeleteRecord(key));
                match house.store.commit(commit).await {
                    Ok(_) => count += 1,
                    Err(CommitError::Rejected(_)) => {}
                    Err(CommitError::Fault(fault)) => return Err(fault),
                }
            }
        }
    }
}

fn fault(error: SealError) -> Fault {
    Fault::Broken(error.to_string())
}

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use std::sync::atomic::{AtomicI64, Ordering};

    use super::*;
    use crate::calendar::{Clock, Limits};
    use crate::store::memory::Memory;

    struct Standing(AtomicI64);

    impl Clock for Standing {
        fn now(&self) -> Timestamp {
            Timestamp(self.0.load(Ordering::Relaxed))
        }
    }

    // B-24: an answer is given again for 24 hours, to the same token; then the same key begins anew, and nothing is left of it
    #[tokio::test]
    async fn an_answer_is_kept_for_a_day() {
        let clock = Arc::new(Standing(AtomicI64::new(1_800_000_000_000)));
        let house =
            House::new(Arc::new(Memory::new()), Arc::clone(&clock) as Arc<dyn Clock>, Limits::default());
        let receipts = Receipts::new(Arc::new(Keyring::fixed(&Secret::new("07".repeat(32))).unwrap()));
        let key = |token: &str| Receipts::key("anna", token, "order-7").unwrap();
        let find = |token: &'static str| receipts.find(&house, key(token), &[b"POST", b"{}"]);
        let Ok(Found::Nothing(slip)) = find("one").await else { panic!("it was never answered") };
        let answer = Answer::document(StatusCode::CREATED, &serde_json::json!({"id": "7"}), None);
        receipts.keep(&house, &slip, answer.reply()).await.unwrap();
        let kept = || house.store.records(Table::Receipt, "", None, 9);
        assert_eq!(kept().await.unwrap().len(), 1);
        clock.0.fetch_add(KEPT - 1, Ordering::Relaxed);
        let Ok(Found::Again(reply)) = find("one").await else { panic!("it is not a day old") };
        assert_eq!(reply.status(), StatusCode::CREATED);
        assert!(matches!(find("two").await, Ok(Found::Nothing(_))), "another token's keys are others");
        assert!(receipts.find(&house, key("one"), &[b"POST", b"{1}"]).await.is_err());
        assert_eq!(receipts.forget(&house).await.unwrap(), 0);
        clock.0.fetch_add(1, Ordering::Relaxed);
        let Ok(Found::Nothing(slip)) = find("one").await else { panic!("it is a day old") };
        // Kept anew in the place of the old one; and forgotten a day later without anybody asking.
        let answer = Answer::document(StatusCode::CREATED, &serde_json::json!({"id": "8"}), None);
        receipts.keep(&house, &slip, answer.reply()).await.unwrap();
        assert_eq!((receipts.forget(&house).await.unwrap(), kept().await.unwrap().len()), (0, 1));
        clock.0.fetch_add(KEPT, Ordering::Relaxed);
        assert_eq!((receipts.forget(&house).await.unwrap(), kept().await.unwrap().len()), (1, 0));
    }
}

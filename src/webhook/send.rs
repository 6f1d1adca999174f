//! Deliveries on their way: one after the other for each subscription, again and again until one is taken.
//!
//! Owns: a call and what its answer means, the retries, when a subscription rests. Does not own: what is delivered
//! (`observe`), which addresses may be called (`http::fetch`).

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use tokio_util::sync::CancellationToken;
use url::Url;

use super::facts::stamp;
use super::front::{HookError, Webhooks};
use super::observe::KEEP;
use super::record::{
    Attempt, Delivery, Hook, PAGE, Pause, TEST, Why, decode, deliveries, delivery_key, encode, hook_key,
    load, message_id, put,
};
use super::sign::signatures;
use super::voice::Voice;
use crate::http::fetch::{Answer, Call, FetchError};
use crate::store::{CommitError, Expect, Fault, Op, Table, Timestamp, random};

/// How long after each failure it is tried again, in seconds: more than a day and a half all together.
const RETRIES: [u64; 8] = [5, 300, 1800, 7200, 18_000, 36_000, 36_000, 36_000];
/// The longest wait that a receiver may ask for.
const LONGEST: Duration = Duration::from_secs(86_400);
/// The longest answer that is read.
const ANSWER: usize = 1 << 20;
/// How much of it is kept.
const KEPT: usize = 1000;
/// How many tries of a delivery are kept.
const TRIES: usize = 20;
/// How often within a minute a subscription is sent something by hand.
const BY_HAND: usize = 10;
/// A minute, in milliseconds.
const MINUTE: i64 = 60_000;
/// After the store failed, in milliseconds.
const BREAK: i64 = 60_000;

/// What one round of a subscription brought.
enum Round {
    /// The next one may follow.
    Go,
    /// Nothing can be done for now.
    Rest,
}

/// What an answer means beside that it was none of success.
struct Outcome {
    attempt: Attempt,
    wait: Option<Duration>,
}

impl Webhooks {
    /// Delivers what is due of a subscription, beside everything else.
    pub(super) fn set_out(
        self: &Arc<Self>,
        voice: Arc<dyn Voice>,
        owner: String,
        id: String,
        cut: CancellationToken,
    ) {
        let hooks = Arc::clone(self);
        self.tasks.spawn(async move {
            tokio::select! {
                () = hooks.stop.cancelled() => return,
                () = cut.cancelled() => return,
                () = hooks.deliver(&*voice, &owner, &id) => {}
            }
            hooks.state().free(&id);
            hooks.wake.notify_one();
        });
    }

    async fn deliver(&self, voice: &dyn Voice, owner: &str, id: &str) {
        loop {
            match self.round(voice, owner, id).await {
                Ok(Round::Go) => {}
                Ok(Round::Rest) => return,
                Err(fault) => {
                    tracing::error!("a webhook could not be dealt with: {fault}");
                    self.state().later(id, Timestamp(self.now().0.saturating_add(BREAK)));
                    return;
                }
            }
        }
    }

    async fn round(&self, voice: &dyn Voice, owner: &str, id: &str) -> Result<Round, Fault> {
        let Some(hook) = self.hook(owner, id).await? else {
            self.state().cut(id);
            return Ok(Round::Rest);
        };
        if !hook.waits() || hook.paused.is_some() || hook.due.is_some_and(|due| due > self.now()) {
            self.state().line(&hook);
            self.forget(&hook).await?;
            return Ok(Round::Rest);
        }
        let after = delivery_key(&hook, hook.head.saturating_sub(1)).path;
        let page = self.store().records(Table::Delivery, &deliveries(&hook), Some(&after), 1).await?;
        let Some((key, bytes)) = page.first() else {
            // What waited was forgotten.
            return self.skip(&hook).await;
        };
        let next: Delivery = decode(key, bytes)?;
        let Ok(place) = self.places.acquire().await else { return Ok(Round::Rest) };
        let id = message_id(&hook.id, next.number);
        let outcome = self.attempt(&hook, &id, &next.body).await?;
        drop(place);
        self.settle(voice, &hook, next.number, outcome).await
    }

    async fn hook(&self, owner: &str, id: &str) -> Result<Option<Hook>, Fault> {
        load(self.store(), &hook_key(owner, id)).await
    }

    async fn skip(&self, hook: &Hook) -> Result<Round, Fault> {
        let _turn = self.turn(&hook.owner).await;
        if self.hook(&hook.owner, &hook.id).await?.as_ref() == Some(hook) {
            let after = Hook { head: hook.next, failures: 0, due: None, ..hook.clone() };
            self.write(hook, &after, Vec::new()).await?;
        }
        Ok(Round::Go)
    }

    /// Remembers how a try ended and what follows from it.
    async fn settle(
        &self,
        voice: &dyn Voice,
        sent: &Hook,
        number: u64,
        outcome: Outcome,
    ) -> Result<Round, Fault> {
        let _turn = self.turn(&sent.owner).await;
        let Some(before) = self.hook(&sent.owner, &sent.id).await? else { return Ok(Round::Rest) };
        let mut ops = self.logged(&before, number, &outcome.attempt).await?.1;
        // It was told meanwhile to begin elsewhere: that goes before.
        if before.head != sent.head || before.url != sent.url {
            self.write(&before, &before, ops).await?;
            return Ok(Round::Go);
        }
        let mut after = before.clone();
        let good = outcome.attempt.went_well();
        if good {
            after.head = number.saturating_add(1);
            (after.failures, after.due) = (0, None);
            after.delivered = Some(self.now());
        } else {
            self.failed(&mut after, &outcome)?;
        }
        if before.paused.is_none()
            && let Some(pause) = &after.paused
        {
            tracing::warn!(webhook = %after.id, "a webhook rests: {}", pause.sentence);
            ops.extend(voice.notice(&after.owner, &after.id, Some(pause.sentence.clone())).await?);
        }
        self.write(&before, &after, ops).await?;
        Ok(if good && after.paused.is_none() { Round::Go } else { Round::Rest })
    }

    /// Says when it is tried again, or that it is not.
    fn failed(&self, hook: &mut Hook, outcome: &Outcome) -> Result<(), Fault> {
        let now = self.now();
        hook.failures = hook.failures.saturating_add(1);
        let why = match (&outcome.attempt.status, &outcome.attempt.error) {
            (Some(status), _) => format!("it answered {status}"),
            (None, Some(error)) => error.clone(),
            (None, None) => "it did not answer".to_owned(),
        };
        let place = place(hook);
        let rest = |why, sentence| Some(Pause { at: now, why, sentence });
        if outcome.attempt.status == Some(StatusCode::GONE.as_u16()) {
            let sentence = format!(
                "The webhook to {place} was paused: the receiver said that it is gone for good (410). What happens is kept \
                 for 30 days; give it another address or resume it."
            );
            hook.paused = hook.paused.take().or(rest(Why::Gone, sentence));
            hook.due = None;
            return Ok(());
        }
        let tries = usize::try_from(hook.failures).unwrap_or(usize::MAX);
        let Some(seconds) = RETRIES.get(tries.saturating_sub(1)) else {
            let sentence = format!(
                "The webhook to {place} was paused: a delivery failed {tries} times in more than a day ({why}). What happens \
                 is kept for 30 days; resume it when the receiver is well."
            );
            hook.paused = hook.paused.take().or(rest(Why::Failed, sentence));
            hook.due = None;
            return Ok(());
        };
        let random = random::number()?;
        let millis = jittered(seconds.saturating_mul(1000), random);
        let asked = outcome.wait.map_or(0, |wait| u64::try_from(wait.min(LONGEST).as_millis()).unwrap_or(0));
        let wait = i64::try_from(millis.max(asked)).unwrap_or(i64::MAX);
        hook.due = Some(Timestamp(now.0.saturating_add(wait)));
        Ok(())
    }

    /// Returns a delivery with one more try, and the step that keeps it; none if it was forgotten.
    async fn logged(
        &self,
        hook: &Hook,
        number: u64,
        attempt: &Attempt,
    ) -> Result<(Option<Delivery>, Vec<Op>), Fault> {
        let key = delivery_key(hook, number);
        let Some(mut delivery) = load::<Delivery>(self.store(), &key).await? else {
            return Ok((None, Vec::new()));
        };
        delivery.attempts.push(attempt.clone());
        let spare = delivery.attempts.len().saturating_sub(TRIES);
        delivery.attempts.drain(..spare);
        if attempt.went_well() {
            delivery.delivered = delivery.delivered.or(Some(attempt.at));
        }
        let op = put(key, &delivery)?;
        Ok((Some(delivery), vec![op]))
    }

    async fn write(&self, before: &Hook, after: &Hook, mut ops: Vec<Op>) -> Result<(), Fault> {
        let key = hook_key(&before.owner, &before.id);
        let expect = Expect::Record(key.clone(), Some(encode(before)?));
        ops.push(put(key, after)?);
        match self.commit(vec![expect], ops).await {
            Ok(()) => {
                self.state().line(after);
                Ok(())
            }
            Err(CommitError::Fault(fault)) => Err(fault),
            Err(CommitError::Rejected(_)) => Err(Fault::Broken("a webhook was changed meanwhile".into())),
        }
    }

    /// Forgets old deliveries that are settled.
    async fn forget(&self, hook: &Hook) -> Result<(), Fault> {
        let horizon = Timestamp(self.now().0.saturating_sub(KEEP));
        let prefix = deliveries(hook);
        let is_old = |delivery: &Delivery| delivery.at < horizon && delivery.number < hook.head;
        let first = self.store().records(Table::Delivery, &prefix, None, 1).await?;
        let first = first.first().map(|(key, bytes)| decode::<Delivery>(key, bytes)).transpose()?;
        if !first.is_some_and(|delivery| is_old(&delivery)) {
            return Ok(());
        }
        let _turn = self.turn(&hook.owner).await;
        let mut ops = Vec::new();
        for (key, bytes) in self.store().records(Table::Delivery, &prefix, None, PAGE).await? {
            if is_old(&decode(&key, &bytes)?) {
                ops.push(Op::DeleteRecord(key));
            }
        }
        // One that is replayed meanwhile is kept.
        let expect = Expect::Record(hook_key(&hook.owner, &hook.id), Some(encode(hook)?));
        match self.commit(vec![expect], ops).await {
            Err(CommitError::Fault(fault)) => Err(fault),
            Ok(()) | Err(CommitError::Rejected(_)) => Ok(()),
        }
    }

    /// Counts something that is sent by hand: receivers are no targets.
    fn by_hand(&self, hook: &Hook) -> Result<(), HookError> {
        let now = self.now();
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = |at: &Timestamp| (0..MINUTE).contains(&now.0.saturating_sub(at.0));
        asked.retain(|_, times| times.iter().any(fresh));
        let times = asked.entry(hook.id.clone()).or_default();
        times.retain(fresh);
        if times.len() >= BY_HAND {
            let first = times.first().map_or(0, |first| now.0.saturating_sub(first.0));
            let left = u64::try_from(MINUTE.saturating_sub(first)).unwrap_or(0);
            return Err(HookError::Often(Duration::from_millis(left)));
        }
        times.push(now);
        Ok(())
    }

    /// Sends a settled delivery once more, now and once, under its old id.
    ///
    /// # Errors
    /// `Missing`; `Waits` if it is not settled; `Often`; when the store fails.
    pub async fn redeliver(&self, hook: &Hook, number: u64) -> Result<Delivery, HookError> {
        let delivery = self.delivery(hook, number).await?;
        if number >= hook.head && delivery.delivered.is_none() {
            return Err(HookError::Waits);
        }
        self.by_hand(hook)?;
        let outcome = self.attempt(hook, &message_id(&hook.id, number), &delivery.body).await?;
        let _turn = self.turn(&hook.owner).await;
        let before = self.one(&hook.owner, &hook.id).await?;
        let (delivery, ops) = self.logged(&before, number, &outcome.attempt).await?;
        self.commit(Vec::new(), ops).await?;
        delivery.ok_or(HookError::Missing)
    }

    /// Sends a message that says nothing, whatever waits. Returns how that went; nothing of it is kept.
    ///
    /// # Errors
    /// `Often`; when the store fails.
    pub async fn test(&self, hook: &Hook) -> Result<Attempt, HookError> {
        self.by_hand(hook)?;
        let body = serde_json::json!({
            "type": TEST,
            "timestamp": stamp(self.now()),
            "webhook": hook.id,
            "sequence": 0,
            "data": {},
        });
        let id = format!("msg_{}_test{}", hook.id, random::hex::<8>()?);
        Ok(self.attempt(hook, &id, &body.to_string()).await?.attempt)
    }

    /// Makes one call. The error is the store's; a receiver's is an outcome.
    async fn attempt(&self, hook: &Hook, id: &str, body: &str) -> Result<Outcome, Fault> {
        let secrets = self.secrets(hook).await?;
        let at = self.now();
        let signed = signatures(&secrets, id, at.seconds(), body.as_bytes());
        let signed = signed.ok_or_else(|| Fault::Broken("the secret of a webhook is none".into()))?;
        let sent = match call(&hook.url, id, at, &signed, body) {
            Ok(call) => self.fetch.send(call).await,
            Err(why) => Err(why),
        };
        let took = self.now().0.saturating_sub(at.0);
        let millis = u64::try_from(took).unwrap_or(0);
        self.house.metrics.delivery(match &sent {
            Ok(answer) if answer.status.is_success() => "taken",
            Ok(_) => "refused",
            Err(_) => "failed",
        });
        Ok(match sent {
            Ok(answer) => Outcome {
                wait: answer.retry_after(),
                attempt: Attempt {
                    at,
                    status: Some(answer.status.as_u16()),
                    millis,
                    error: None,
                    response: beginning(&answer, &secrets),
                },
            },
            Err(error) => Outcome {
                wait: None,
                attempt: Attempt {
                    at,
                    status: None,
                    millis,
                    error: Some(error.to_string()),
                    response: String::new(),
                },
            },
        })
    }
}

fn call(url: &str, id: &str, at: Timestamp, signed: &str, body: &str) -> Result<Call, FetchError> {
    let bad = || FetchError::BadUrl(url.chars().take(100).collect());
    let parsed = Url::parse(url).map_err(|_| bad())?;
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let seconds = at.seconds().to_string();
    for (name, value) in [("webhook-id", id), ("webhook-timestamp", &seconds), ("webhook-signature", signed)]
    {
        headers.insert(name, HeaderValue::from_str(value).map_err(|_| bad())?);
    }
    let body = Bytes::copy_from_slice(body.as_bytes());
    Ok(Call { method: Method::POST, url: parsed, headers, body, limit: ANSWER })
}

/// Returns the beginning of an answer's body as text; a receiver that echoes a secret does not have it kept.
fn beginning(answer: &Answer, secrets: &[crate::auth::grant::Secret]) -> String {
    let mut text = String::from_utf8_lossy(&answer.body).into_owned();
    for secret in secrets {
        text = text.replace(secret.reveal(), "…");
        let bare = secret.reveal().trim_start_matches("whsec_");
        text = text.replace(bare, "…");
    }
    text.chars().filter(|c| !c.is_control() || *c == '\n').take(KEPT).collect()
}

/// Returns whose the address is; the rest of it may hold a secret.
fn place(hook: &Hook) -> String {
    let host = Url::parse(&hook.url).ok().and_then(|url| url.host_str().map(str::to_owned));
    host.unwrap_or_else(|| hook.id.clone())
}

/// Adds up to a fifth, so that those who failed together do not come back together.
fn jittered(millis: u64, random: u32) -> u64 {
    let more = (millis / 5).saturating_mul(u64::from(random >> 16)) >> 16;
    millis.saturating_add(more)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn retries_last_for_more_than_a_day_and_are_never_sooner_than_said() {
        assert!(RETRIES.iter().sum::<u64>() > 86_400);
        assert_eq!(jittered(5000, 0), 5000);
        assert!((5900..=6000).contains(&jittered(5000, u32::MAX)));
    }
}

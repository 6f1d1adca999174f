//! What far sides and programs tell us of changes: whether they are believed, and that many words begin one pass.
//!
//! Owns: constant-time comparison with what a channel or hook was opened with, coalescing. A notification costs no look at the
//! store, believed or not: the channels are in memory. A call of a hook costs one, for its secret. Does not own: how it looks on the wire (`hooks`), the channels (`watch`).

use std::time::Duration;

use subtle::ConstantTimeEq as _;

use super::front::{Bridge, BridgeError};
use super::pace::{Pace, later};
use super::record::{Kind, Watched, hook_key};
use crate::auth::grant::Secret;
use crate::auth::{oauth, signing};
use crate::store::Op;

/// Notifications that come so close together belong to one stream.
const TOGETHER: Duration = Duration::from_secs(2);
/// Those of a stream that just began are kept together for this long, later ones for the whole of `TOGETHER`: one change is
/// seen at once, and a thousand begin few passes.
const BRIEF: Duration = Duration::from_millis(250);
/// How many passes a stream begins before it is slowed.
const QUICK: u8 = 4;
/// Between these, polling goes on under a channel that works.
const SLOW: (Duration, Duration) = (Duration::from_secs(15 * 60), Duration::from_secs(3600));

/// What a notification says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Word {
    /// The channel is open.
    Opened,
    /// Something changed, or something may have been missed.
    Changed,
    /// The channel wants to be renewed.
    Renew,
    /// The channel is gone.
    Gone,
}

/// A notification as it came.
#[derive(Debug, Clone, Copy)]
pub struct Notification<'a> {
    /// Which far side's address it came to.
    pub kind: Kind,
    /// The channel that it names.
    pub channel: &'a str,
    /// What it carries to be believed.
    pub token: &'a str,
    /// What it says was watched; nothing: it does not say.
    pub resource: Option<&'a str>,
    /// What it says.
    pub word: Word,
}

/// Whether a notification was believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// There is no such channel.
    Unknown,
    /// It does not carry what it has to.
    Wrong,
    /// It is.
    Noted,
}

impl Bridge {
    /// Hears a notification. The pass begins on its own.
    pub fn notified(&self, told: Notification<'_>) -> Heard {
        let Some(row) = self.ties.channel(told.channel).filter(|row| row.kind == told.kind) else {
            return Heard::Unknown;
        };
        let token = oauth::digest(told.token);
        let mut right = row.token.as_bytes().ct_eq(token.as_bytes());
        // What is watched is not known before the far side's answer to our call is.
        if let (true, Some(resource)) = (row.open && !row.channel.resource.is_empty(), told.resource) {
            right &= row.channel.resource.as_bytes().ct_eq(resource.as_bytes());
        }
        if !bool::from(right) {
            return Heard::Wrong;
        }
        self.note(&row, told.word);
        Heard::Noted
    }

    /// Tells whether any channel's notifications come to the address with this word in it.
    pub fn awaits(&self, door: &str) -> bool {
        self.ties.is_door(door)
    }

    /// Tells whether a mapping has a hook of its own.
    pub fn has_hook(&self, mapping: &str) -> bool {
        self.ties.hooks().contains(mapping)
    }

    /// One channel may be there for several mappings of one calendar.
    fn note(&self, row: &Watched, word: Word) {
        let now = self.house.clock.now();
        for mapping in self.ties.sharing(&row.mapping) {
            {
                let mut ears = self.ties.ears();
                let ear = ears.entry(mapping.clone()).or_default();
                ear.heard = now;
                ear.silent = false;
                match word {
                    Word::Opened | Word::Changed => {}
                    Word::Renew => ear.renew = true,
                    Word::Gone => ear.gone = true,
                }
            }
            if matches!(word, Word::Changed | Word::Gone) {
                self.nudge(&mapping);
            }
        }
        if matches!(word, Word::Renew | Word::Gone) {
            self.ties.tend.notify_one();
        }
    }

    /// Has a mapping looked at because the far side says so: at once, or together with what else comes a moment later. A mapping in trouble keeps its own pace.
    pub(super) fn nudge(&self, mapping: &str) {
        let now = self.house.clock.now();
        let due = {
            let mut ears = self.ties.ears();
            let ear = ears.entry(mapping.to_owned()).or_default();
            // A moment that lies ahead has been agreed on already.
            if later(ear.nudged, TOGETHER) <= now {
                (ear.streak, ear.nudged) = (0, now);
            } else if ear.nudged <= now {
                ear.streak = ear.streak.saturating_add(1);
                let gap = if ear.streak < QUICK { BRIEF } else { TOGETHER };
                ear.nudged = later(ear.nudged, gap).max(now);
            }
            ear.nudged
        };
        let mut lines = self.lines();
        let Some(line) = lines.get_mut(mapping) else { return };
        if line.running.is_some() {
            // It may have read already what changed since: another one follows it.
            if let Some(ear) = self.ties.ears().get_mut(mapping) {
                ear.pending = Some(due);
            }
        } else if line.pace.failures == 0 && line.pace.throttled == 0 {
            let next = line.pace.next.map_or(due, |next| next.min(due));
            line.pace = Pace { next: Some(next), ..line.pace };
        }
        drop(lines);
        self.wake.notify_one();
    }

    /// Returns the pace of a mapping whose pass has ended, with what was told while it ran.
    pub(super) fn told_meanwhile(&self, mapping: &str, pace: Pace) -> Pace {
        let due = self.ties.ears().get_mut(mapping).and_then(|ear| ear.pending.take());
        match due.filter(|_| pace.failures == 0 && pace.throttled == 0) {
            Some(due) => Pace { next: Some(pace.next.map_or(due, |next| next.min(due))), ..pace },
            None => pace,
        }
    }

    /// Starts a pass because a program that knows the mapping's own secret asks for it.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn hook_called(
        &self,
        mapping: &str,
        believed: impl FnOnce(&Secret) -> bool + Send,
    ) -> Result<Heard, BridgeError> {
        if !self.has_hook(mapping) || !self.lines().contains_key(mapping) {
            return Ok(Heard::Unknown);
        }
        let key = hook_key(mapping);
        let Some(sealed) = self.house.store.record(&key).await? else { return Ok(Heard::Unknown) };
        if !believed(&self.keys.unseal(&key, &sealed)?) {
            return Ok(Heard::Wrong);
        }
        self.nudge(mapping);
        Ok(Heard::Noted)
    }

    /// Makes a new secret for a mapping's own hook and returns it with the hook's address. An older one ends.
    ///
    /// # Errors
    /// `Missing`; when the store fails.
    pub async fn open_hook(&self, owner: &str, mapping: &str) -> Result<(String, Secret), BridgeError> {
        self.mapping(owner, mapping).await?;
        let secret = signing::fresh()?;
        let key = hook_key(mapping);
        let sealed = self.keys.seal(&key, &secret)?;
        self.commit(vec![Op::PutRecord(key, sealed)]).await?;
        self.ties.hooks().insert(mapping.to_owned());
        let base = self.settings.base_url.trim_end_matches('/');
        Ok((format!("{base}/hooks/sync/{mapping}"), secret))
    }

    /// Closes a mapping's own hook.
    ///
    /// # Errors
    /// `Missing`; when the store fails.
    pub async fn close_hook(&self, owner: &str, mapping: &str) -> Result<(), BridgeError> {
        self.mapping(owner, mapping).await?;
        self.ties.hooks().remove(mapping);
        self.commit(vec![Op::DeleteRecord(hook_key(mapping))]).await
    }

    /// Returns how long to wait for the next look: longer while the far side tells of changes by itself.
    pub(super) fn under_channel(&self, mapping: &str, poll: Duration) -> Duration {
        match self.ties.ears().get(mapping) {
            Some(ear) if ear.open && !ear.silent => poll.saturating_mul(4).clamp(SLOW.0, SLOW.1).max(poll),
            _ => poll,
        }
    }

    /// Tells whether the far side of a mapping tells of changes by itself.
    pub fn push_alive(&self, mapping: &str) -> bool {
        self.ties.ears().get(mapping).is_some_and(|ear| ear.open && !ear.silent)
    }

    /// Tells whether changes were found that a channel had been silent about for half an hour.
    pub fn push_silent(&self, mapping: &str) -> bool {
        self.ties.ears().get(mapping).is_some_and(|ear| ear.open && ear.silent)
    }
}

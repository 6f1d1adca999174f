//! How much a mailbox lets be asked of it.
//!
//! Owns: requests in a span of time, requests at once. Does not own: what was asked.

use serde::Deserialize;

use super::fail::Fail;

/// How many calls of a batch Outlook carries out at once (microsoft-graph.md §7).
const TOGETHER: usize = 4;

/// The limits, and what was used up.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Limits {
    /// Requests in a span; 0: any number.
    requests: u64,
    /// Seconds of the span.
    span: i64,
    /// Requests at once; 0: any number.
    at_once: usize,
    /// Refusals of too much at once come as 503.
    busy: bool,
    #[serde(skip)]
    began: i64,
    #[serde(skip)]
    used: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { requests: 10_000, span: 600, at_once: 4, busy: false, began: 0, used: 0 }
    }
}

impl Limits {
    /// Counts a request, or refuses it until the span is over.
    pub(super) fn count(&mut self, now: i64) -> Result<(), Fail> {
        if now - self.began >= self.span {
            (self.began, self.used) = (now, 0);
        }
        // What is refused counts too.
        self.used += 1;
        if self.requests > 0 && self.used > self.requests {
            let left = u64::try_from(self.began + self.span - now).unwrap_or(1).max(1);
            return Err(Fail::throttled(429, "ApplicationThrottled", Some(left)));
        }
        Ok(())
    }

    /// Returns how many calls of a batch of so many are carried out at once.
    pub(super) fn together(&self, calls: usize) -> usize {
        let most = if self.at_once > 0 { self.at_once.min(TOGETHER) } else { TOGETHER };
        calls.clamp(1, most)
    }

    /// Refuses a request beyond those that may be under way.
    pub(super) fn at_once(&self, running: usize) -> Result<(), Fail> {
        if self.at_once > 0 && running > self.at_once {
            let status = if self.busy { 503 } else { 429 };
            return Err(Fail::throttled(status, "MailboxConcurrency", Some(1)));
        }
        Ok(())
    }

    /// Sets how many requests a minute are allowed.
    pub(super) fn quota(&mut self, per_minute: Option<u32>) {
        self.requests = per_minute.map_or(0, u64::from);
        self.span = 60;
        self.used = 0;
    }
}

//! Writes on the far side: collected, announced, sent several at a time, read back.
//!
//! Owns: the order in which a crash does no harm: what is about to be made is remembered first, what came of it last.

use bytes::Bytes;
use futures_util::StreamExt as _;

use super::apply::{Facts, Settled};
use super::ledger::spelling;
use super::print;
use super::provider::{self, RemoteId, Seen, Slot, Trouble};
use super::record::Base;
use super::run::{Halt, Pass, Retry};
use crate::ical::Ical;
use crate::store::{Etag, Name, Op};

/// How many writes are on their way to one far side at a time.
const PARALLEL: usize = 5;

/// A write on the far side that is yet to be sent.
#[derive(Debug)]
pub(super) struct Outgoing {
    uid: String,
    name: Name,
    etag: Etag,
    place: Option<(RemoteId, Option<provider::Version>)>,
    bytes: Bytes,
    with: Vec<Op>,
    /// How often the object was looked at before.
    round: usize,
}

/// A write on the far side whose result is yet to be read back.
#[derive(Debug)]
pub(super) struct Pushed {
    base: Base,
    /// What the far side vouched for in its answer.
    version: Option<provider::Version>,
    sent: Bytes,
    /// Further steps of the commit that remembers it.
    with: Vec<Op>,
}

impl Pushed {
    fn of(out: Outgoing, written: provider::Written) -> Pushed {
        let base = Base {
            uid: out.uid,
            name: out.name,
            etag: out.etag,
            remote: written.id,
            version: None,
            print: String::new(),
            missing: None,
            conflict: None,
            pending: false,
        };
        Pushed { base, version: written.version, sent: out.bytes, with: out.with }
    }
}

impl Pass {
    /// Sends the writes that were collected, several at a time, reads back what the far side made of them, and
    /// remembers it.
    pub(super) async fn flush(&mut self) -> Result<(), Halt> {
        while !self.outgoing.is_empty() {
            let outgoing = std::mem::take(&mut self.outgoing);
            self.announce(&outgoing).await?;
            let provider = std::sync::Arc::clone(&self.provider);
            let calendar = self.mapping.remote.clone();
            let sending = outgoing.into_iter().map(|out| {
                let (provider, calendar) = (&provider, &calendar);
                async move {
                    let slot = match &out.place {
                        Some((id, version)) => Slot::At(id, version.as_ref()),
                        None => Slot::New { uid: &out.uid },
                    };
                    let answer = provider.put(calendar, slot, out.bytes.clone()).await;
                    (out, answer)
                }
            });
            let sent: Vec<_> = futures_util::stream::iter(sending).buffer_unordered(PARALLEL).collect().await;
            let mut again = Vec::new();
            let mut halt = None;
            for (out, answer) in sent {
                match self.sent(&out.uid, out.place.as_ref(), Some(&out.name), answer) {
                    Ok(Ok(written)) => self.unread.push(Pushed::of(out, written)),
                    Ok(Err(settled)) => {
                        // What was announced did not happen: whatever is there is not ours.
                        self.forget_pending(&out.uid).await?;
                        again.push((out, settled));
                    }
                    Err(trouble) => halt = halt.or(Some(trouble)),
                }
            }
            if let Some(halt) = halt {
                return Err(halt);
            }
            self.read_back().await?;
            for (out, settled) in again {
                let far = match settled {
                    Settled::Done => continue,
                    Settled::Found(id) => self.look_there(&id).await?,
                    Settled::Again => self.look_again(&out.uid).await?,
                };
                self.settle_from(&out.uid, far, out.round.saturating_add(1)).await?;
            }
        }
        Ok(())
    }

    pub(super) async fn forget_pending(&mut self, uid: &str) -> Result<(), Halt> {
        if self.ledger.by_uid(uid).is_some_and(|b| b.pending) {
            self.remember(Vec::new(), self.ledger.delete(uid)).await?;
            self.ledger.remove(uid);
        }
        Ok(())
    }

    /// Remembers what is about to be made on the far side. If the answer never comes, the next pass knows what it
    /// finds there, even if somebody has changed it by then.
    async fn announce(&mut self, outgoing: &[Outgoing]) -> Result<(), Halt> {
        let mut ops = Vec::new();
        for out in outgoing.iter().filter(|out| out.place.is_none()) {
            let Some(remote) = self.provider.place(&self.mapping.remote, &out.uid) else { continue };
            let ical = Ical::parse(out.bytes.clone());
            let base = Base {
                uid: out.uid.clone(),
                name: out.name.clone(),
                etag: out.etag.clone(),
                remote,
                version: None,
                print: ical.map(|ical| print::print(&ical)).unwrap_or_default(),
                missing: None,
                conflict: None,
                pending: true,
            };
            ops.extend(self.ledger.put(&base, Some(out.bytes.clone()))?);
            self.ledger.insert(base);
        }
        self.remember(Vec::new(), ops).await
    }

    pub(super) fn push(&mut self, uid: &str, facts: &Facts, bytes: Bytes, with: Vec<Op>) -> Settled {
        let (Some(name), Some(etag)) = (facts.name().cloned(), facts.etag().cloned()) else {
            return Settled::Again;
        };
        let (uid, place, round) = (uid.to_owned(), facts.place(), self.round);
        self.outgoing.push(Outgoing { uid, name, etag, place, bytes, with, round });
        Settled::Done
    }

    /// Reads the far side's answer to a write. Inner error: how the look at the object ends instead.
    pub(super) fn sent(
        &mut self,
        uid: &str,
        place: Option<&(RemoteId, Option<provider::Version>)>,
        name: Option<&Name>,
        answer: Result<provider::Written, Trouble>,
    ) -> Result<Result<provider::Written, Settled>, Halt> {
        let remote = place.map(|(id, _)| id.clone());
        match answer {
            Ok(written) => {
                let counts = &mut self.run.remote;
                let count = if place.is_some() { &mut counts.updated } else { &mut counts.inserted };
                *count = count.saturating_add(1);
                Ok(Ok(written))
            }
            Err(Trouble::Stale) => Ok(Err(Settled::Again)),
            Err(Trouble::Missing(_)) if place.is_some() => Ok(Err(Settled::Again)),
            Err(Trouble::Taken(Some(id))) if self.is_in_calendar(&id) => Ok(Err(Settled::Found(id))),
            Err(Trouble::Taken(_)) => {
                let reason =
                    "The far side already has an event with this UID in another calendar.".to_owned();
                self.fail(uid, name.cloned(), remote, reason, Retry::OnChange);
                Ok(Err(Settled::Done))
            }
            Err(Trouble::Refused(reason)) => {
                self.fail(uid, name.cloned(), remote, reason, Retry::OnChange);
                Ok(Err(Settled::Done))
            }
            Err(trouble) => Err(trouble.into()),
        }
    }

    /// A twin in another calendar of the account is not ours to adopt.
    fn is_in_calendar(&self, id: &RemoteId) -> bool {
        let Ok(calendar) = url::Url::parse(&self.mapping.remote.0) else { return true };
        let folder = spelling(&RemoteId(calendar.path().trim_end_matches('/').to_owned()));
        spelling(id).rsplit_once('/').is_some_and(|(parent, _)| parent == folder)
    }

    /// Reads back what was written on the far side, and remembers what it made of it.
    async fn read_back(&mut self) -> Result<(), Halt> {
        let batch = self.provider.abilities().batch.max(1);
        while !self.unread.is_empty() {
            let rest = self.unread.split_off(self.unread.len().min(batch));
            let pushed = std::mem::replace(&mut self.unread, rest);
            let ids: Vec<RemoteId> = pushed.iter().map(|p| p.base.remote.clone()).collect();
            let mut seen = self.provider.read(&self.mapping.remote, &ids).await?;
            let mut ops = Vec::new();
            for push in pushed {
                let at = seen.iter().position(|s| s.id == push.base.remote);
                let found = at.map(|at| seen.swap_remove(at));
                let (base, bytes) = read_back_base(push.base, push.version.as_ref(), &push.sent, found);
                ops.extend(self.ledger.put(&base, Some(bytes))?);
                ops.extend(push.with);
                self.ledger.insert(base);
            }
            self.remember(Vec::new(), ops).await?;
        }
        Ok(())
    }
}

/// Completes the base of a write with what was read back. If the far side vouched for one state and another is read,
/// somebody was there in between: then what we sent is the base, and the next pass sees their change.
pub(super) fn read_back_base(
    base: Base,
    vouched: Option<&provider::Version>,
    sent: &Bytes,
    found: Option<Seen>,
) -> (Base, Bytes) {
    let plain = |v: &provider::Version| v.0.trim_start_matches("W/").trim_matches('"').to_owned();
    let print_of =
        |bytes: &Bytes| Ical::parse(bytes.clone()).map(|ical| print::print(&ical)).unwrap_or_default();
    let sent_print = print_of(sent);
    if let Some(seen) = found.filter(|seen| !seen.bytes.is_empty()) {
        let print = print_of(&seen.bytes);
        let undisturbed = vouched.is_none_or(|v| seen.version.as_ref().map(plain) == Some(plain(v)));
        if !print.is_empty() && (undisturbed || print == sent_print) {
            return (Base { version: seen.version, print, ..base }, seen.bytes);
        }
    }
    (Base { version: None, print: sent_print, ..base }, sent.clone())
}

//! Writes on the far side: collected, announced, sent several at a time, read back.
//!
//! Owns: the order in which a crash does no harm: what is about to be made is remembered first, what came of it last.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::apply::{Facts, Settled};
use super::begun::Begun;
use super::exception::says_no_more;
use super::ledger::spelling;
use super::pace::later;
use super::print;
use super::provider::{self, RemoteId, Seen, Slot, Trouble, Write};
use super::record::{Base, Done, Where, unplaced};
use super::run::{Far, Halt, Pass, Retry, uid_of};
use super::scope::{Fitted, with_uid};
use crate::ical::Ical;
use crate::store::{Name, Op, Timestamp};

/// How long something that was announced is awaited where the far side chooses its place.
pub(super) const AWAITED: Duration = Duration::from_secs(86_400);

/// A write on the far side that is yet to be sent.
#[derive(Debug)]
pub(super) struct Outgoing {
    /// What is known of the object once this is done; its place and content there are yet to be filled in.
    base: Base,
    place: Option<(RemoteId, Option<provider::Version>)>,
    write: Write,
    /// What the far side is to hold, with our UID.
    text: Bytes,
    with: Vec<Op>,
    /// What is remembered until its end is known, where it takes several steps.
    begun: Option<Begun>,
    /// How often the object was looked at before.
    round: usize,
    /// When it was changed here.
    made: Option<Timestamp>,
}

/// A write on the far side whose result is yet to be read back.
#[derive(Debug)]
pub(super) struct Pushed {
    base: Base,
    /// What the far side vouched for in its answer.
    version: Option<provider::Version>,
    /// What it said is there now.
    seen: Option<Seen>,
    text: Bytes,
    /// Further steps of the commit that remembers it.
    with: Vec<Op>,
}

impl Pushed {
    fn of(out: Outgoing, written: provider::Written) -> Pushed {
        let base = Base { remote: written.id, ..out.base };
        Pushed { base, version: written.version, seen: written.seen, text: out.text, with: out.with }
    }
}

impl Pass {
    /// Sends the writes that were collected, several at a time, reads back what the far side made of them, and
    /// remembers it.
    pub(super) async fn flush(&mut self) -> Result<(), Halt> {
        while !self.outgoing.is_empty() {
            let outgoing = std::mem::take(&mut self.outgoing);
            let before = self.announce(&outgoing).await?;
            let provider = std::sync::Arc::clone(&self.provider);
            let calendar = self.mapping.remote.clone();
            let batch = provider.abilities().batch.max(1);
            let mut answers = Vec::with_capacity(outgoing.len());
            for chunk in outgoing.chunks(batch) {
                let writes: Vec<Write> = chunk.iter().map(|out| out.write.clone()).collect();
                answers.extend(provider.put_all(&calendar, &writes).await);
            }
            let sent: Vec<_> = outgoing.into_iter().zip(answers).collect();
            let mut again = Vec::new();
            let mut halt = None;
            for (out, answer) in sent {
                match self.sent(&out.base.uid, out.place.as_ref(), Some(&out.base.name), answer) {
                    Ok(Ok(written)) => {
                        out.made.into_iter().for_each(|made| self.went_out(made));
                        self.unread.push(Pushed::of(out, written));
                    }
                    Ok(Err(Settled::Lost)) => {}
                    Ok(Err(settled)) => {
                        let settled = self.unbegin(settled, out.begun.as_ref()).await?;
                        // What was announced now did not happen: whatever is there is not ours. What was announced in a
                        // former pass may be it.
                        if !(matches!(settled, Settled::Found(_)) && before.contains(&out.base.uid)) {
                            self.forget_pending(&out.base.uid).await?;
                        }
                        again.push((out, settled));
                    }
                    Err(trouble) => halt = halt.or(Some(trouble)),
                }
            }
            let halt = match halt {
                Some(halt) => Some(halt),
                None => self.still_there().await.err(),
            };
            if let Some(halt) = halt {
                // What did get through is remembered if that still goes; if not, it is recognised the next time.
                let _ = self.read_back().await;
                return Err(halt);
            }
            self.read_back().await?;
            for (out, settled) in again {
                let far = match settled {
                    Settled::Done | Settled::Lost => continue,
                    Settled::Found(id) => self.look_there(&id).await?,
                    Settled::Again => self.look_again(&out.base.uid).await?,
                };
                self.settle_from(&out.base.uid, far, out.round.saturating_add(1)).await?;
            }
        }
        Ok(())
    }

    /// Tells whether an object was announced lately, was not found yet, and is nowhere known to be: until it is certain
    /// that it was not made, its being gone here is remembered.
    pub(super) async fn is_awaited(&self, uid: &str) -> Result<bool, Halt> {
        let base = self.ledger.by_uid(uid).await?.filter(Base::is_unplaced);
        Ok(base.is_some_and(|base| later(base.agreed, AWAITED) > self.now))
    }

    pub(super) async fn forget_pending(&mut self, uid: &str) -> Result<(), Halt> {
        if self.ledger.by_uid(uid).await?.is_some_and(|b| b.pending) {
            self.remember(Vec::new(), self.ledger.delete(uid).await?).await?;
        }
        Ok(())
    }

    /// Remembers what is about to be made on the far side. If the answer never comes, the next pass knows what it
    /// finds there, even if somebody has changed it by then.
    ///
    /// Returns what was announced before already, its place not being known.
    async fn announce(&mut self, outgoing: &[Outgoing]) -> Result<BTreeSet<String>, Halt> {
        let (mut bases, mut before) = (Vec::new(), BTreeSet::new());
        for out in outgoing.iter().filter(|out| out.place.is_none()) {
            let uid = &out.base.uid;
            let known = self.ledger.by_uid(uid).await?;
            let begun = known.as_ref().is_some_and(|base| base.begun.is_some());
            if begun || known.is_some_and(|base| base.is_unplaced()) {
                before.insert(uid.clone());
            }
            // What is made anew in the middle of a write is still that write.
            let begun = begun.then(|| String::from_utf8_lossy(&out.text).into_owned());
            let there = out.base.uid_there.as_ref().unwrap_or(uid);
            let place = self.provider.place(&self.mapping.remote, there);
            let remote = place.unwrap_or_else(|| unplaced(uid));
            let print = self.print_of(&out.text);
            let base = Base { print, pending: true, begun, remote, ..out.base.clone() };
            bases.push((base, Some(out.text.clone())));
        }
        let ops = self.ledger.put_all(bases).await?;
        self.remember(Vec::new(), ops).await?;
        self.announce_begun(outgoing.iter().filter_map(|out| out.begun.as_ref())).await?;
        Ok(before)
    }

    pub(super) fn print_of(&self, text: &Bytes) -> String {
        let ical = Ical::parse(text.clone()).map(Arc::new);
        ical.map(|ical| print::print(&self.shaped(&ical))).unwrap_or_default()
    }

    /// Collects a write: the far side is to hold this.
    pub(super) fn push(&mut self, uid: &str, facts: &Facts, target: Bytes, with: Vec<Op>) -> Settled {
        let (Some(name), Some(etag)) = (facts.name(), facts.etag()) else {
            return Settled::Again;
        };
        let (place, round) = (facts.place(), self.round);
        let before = match &facts.far {
            Far::Seen(seen, _) => Some(seen.bytes.clone()),
            Far::Same => facts.agreed.as_ref().map(|ical| ical.bytes().clone()),
            Far::Absent => None,
        };
        let slot = match &place {
            Some((id, version)) => Slot::At(id.clone(), version.clone()),
            None => Slot::New { uid: self.veiled(uid).unwrap_or_else(|| uid.to_owned()) },
        };
        let remote = place.as_ref().map_or_else(|| RemoteId(String::new()), |(id, _)| id.clone());
        let base = self.next_base(facts, uid, name, etag, &remote);
        let sent = facts.fitted.as_ref().map(Fitted::print).unwrap_or_default();
        let mut base = Base { writes: self.writes(facts, &sent), sent, ..base };
        if place.is_none() {
            // What is made anew there has our UID, or the name that stands for it, and is a copy of ours unless ours was
            // one of theirs.
            base.from_here = !base.from_there;
            base.uid_there = self.veiled(uid);
        }
        let text = self.whole_there(facts, target);
        let bytes = Pass::addressed(base.uid_there.as_deref(), text.clone());
        let write = Write {
            slot,
            bytes,
            base: before.map(|before| Pass::addressed(facts.uid_there.as_deref(), before)),
        };
        let made = facts.object.as_ref().map(|object| object.meta.modified);
        let begun = self.begin(facts, &write);
        self.outgoing.push(Outgoing { base, place, write, text, with, begun, round, made });
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
                let done = if place.is_some() { Done::Updated } else { Done::Inserted };
                self.run.count(Where::Remote, done, uid);
                self.unanswered = 0;
                Ok(Ok(written))
            }
            Err(Trouble::Stale) => Ok(Err(Settled::Again)),
            Err(Trouble::Missing(_)) if place.is_some() => Ok(Err(Settled::Again)),
            Err(Trouble::Taken(Some(id))) if self.is_in_calendar(&id) => Ok(Err(Settled::Found(id))),
            // It may be about to leave that calendar: a move between two of ours reaches the far side as a removal and a
            // new event, in any order.
            Err(Trouble::Taken(_)) => {
                let reason =
                    "The far side already has an event with this UID in another calendar.".to_owned();
                self.fail(uid, name.cloned(), remote, reason, Retry::Soon);
                Ok(Err(Settled::Done))
            }
            Err(Trouble::Refused(reason)) => {
                self.fail(uid, name.cloned(), remote, reason, Retry::OnChange);
                Ok(Err(Settled::Done))
            }
            // Whether it was carried out is found out the next time.
            Err(trouble @ Trouble::Unreachable(_)) => {
                let why = self.unanswered(&trouble);
                self.fail(uid, name.cloned(), remote, why, Retry::Soon);
                Ok(Err(Settled::Lost))
            }
            Err(trouble) => Err(trouble.into()),
        }
    }

    /// A twin in another calendar of the account is not ours to adopt.
    pub(super) fn is_in_calendar(&self, id: &RemoteId) -> bool {
        let Ok(calendar) = url::Url::parse(&self.mapping.remote.0) else { return true };
        let folder = spelling(&RemoteId(calendar.path().trim_end_matches('/').to_owned()));
        spelling(id).rsplit_once('/').is_some_and(|(parent, _)| parent == folder)
    }

    /// Remembers what the far side made of what was written there; what it did not tell is read.
    async fn read_back(&mut self) -> Result<(), Halt> {
        let batch = self.provider.abilities().batch.max(1);
        while !self.unread.is_empty() {
            let rest = self.unread.split_off(self.unread.len().min(batch));
            let pushed = std::mem::replace(&mut self.unread, rest);
            let untold = pushed.iter().filter(|push| push.seen.is_none());
            let ids: Vec<RemoteId> = untold.map(|push| push.base.remote.clone()).collect();
            self.run.saved = self
                .run
                .saved
                .saturating_add(u64::try_from(pushed.len().saturating_sub(ids.len().min(1))).unwrap_or(0));
            let mut seen = match ids.is_empty() {
                true => Vec::new(),
                false => self.provider.read(&self.mapping.remote, &ids).await?,
            };
            let (mut bases, mut ops) = (Vec::new(), Vec::new());
            for push in pushed {
                let at = seen.iter().position(|s| s.id == push.base.remote);
                let found = push.seen.or_else(|| at.map(|at| seen.swap_remove(at)));
                let (base, bytes) = self.read_back_base(push.base, push.version.as_ref(), &push.text, found);
                bases.push((base, Some(bytes)));
                ops.extend(push.with);
            }
            ops.extend(self.ledger.put_all(bases).await?);
            self.remember(Vec::new(), ops).await?;
        }
        Ok(())
    }

    /// Completes the base of a write with what was read back. If the far side vouched for one state and another is read,
    /// somebody was there in between: then what we sent is the base, and the next pass sees their change. If it vouched for
    /// none, what says more than was sent counts as such a change.
    pub(super) fn read_back_base(
        &self,
        base: Base,
        vouched: Option<&provider::Version>,
        sent: &Bytes,
        found: Option<Seen>,
    ) -> (Base, Bytes) {
        let plain = |v: &provider::Version| v.0.trim_start_matches("W/").trim_matches('"').to_owned();
        if let Some(seen) = found
            && let Ok((uid, ical)) = uid_of(&seen)
        {
            let uid_there = (uid != base.uid).then_some(uid);
            let bytes = match uid_there {
                Some(_) => with_uid(&ical, &base.uid),
                None => seen.bytes.clone(),
            };
            if let Ok(ical) = Ical::parse(bytes.clone()).map(Arc::new)
                && (match vouched {
                    Some(v) => seen.version.as_ref().map(plain) == Some(plain(v)),
                    // Nobody says whose state this is: what says more than was sent may be somebody else's. What becomes of
                    // a part is not foretold; it is compared with its series (`fold`).
                    None if base.part.is_some() => true,
                    None => Ical::parse(sent.clone()).is_ok_and(|sent| says_no_more(&sent, &ical)),
                } || print::print(&self.shaped(&ical)) == self.print_of(sent))
            {
                return (self.agreed_base(Base { uid_there, ..base }, &seen, &ical), bytes);
            }
        }
        (Base { version: None, print: self.print_of(sent), ..base }, sent.clone())
    }
}

//! Calls that concern the parts of a series: looking at them, making, changing and removing them.
//!
//! Owns: remembering what is about to be made, every answer of a batch, what the far side made of it. Does not own: what
//! the parts are to be (`parts`), what becomes of ours (`fold`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;

use super::fold::News;
use super::provider::{RemoteId, Slot, Trouble, Write, Written};
use super::record::{Base, Done, Where, unplaced};
use super::run::{Halt, Pass, Retry, uid_of};
use crate::ical::Ical;
use crate::ical::series::Series as Spans;

/// What a pass knows of the parts of one series so far.
#[derive(Default)]
pub(super) struct Work {
    /// Parts that were read in this pass.
    pub(super) fresh: BTreeSet<String>,
    /// What is to be written there instead of what our text alone would give.
    pub(super) instead: BTreeMap<String, Bytes>,
    /// Parts that could not be dealt with, and why.
    pub(super) failed: BTreeMap<String, (String, Retry)>,
}

/// What is to be done about the parts of one series.
#[derive(Default)]
pub(super) struct Todo {
    pub(super) look: Vec<Base>,
    pub(super) write: Vec<Wanted>,
    pub(super) remove: Vec<Base>,
    pub(super) forget: Vec<Base>,
    /// Some are removed that are made again.
    pub(super) anew: bool,
}

/// A part that is to be written.
pub(super) struct Wanted {
    pub(super) base: Base,
    pub(super) write: Write,
    pub(super) text: Bytes,
}

impl Wanted {
    /// A part that is made there.
    pub(super) fn new(base: Base, ical: &Ical, work: &Work) -> Wanted {
        let text = work.instead.get(&base.uid).cloned().unwrap_or_else(|| ical.bytes().clone());
        let slot = Slot::New { uid: base.uid_there.as_ref().unwrap_or(&base.uid).clone() };
        let bytes = Pass::addressed(base.uid_there.as_deref(), text.clone());
        Wanted { base, write: Write { slot, bytes, base: None }, text }
    }
}

impl Pass {
    /// Does what is to be done about parts. Returns what was found out on the way, which is to be taken in before it goes on.
    pub(super) async fn carry_parts(&mut self, todo: Todo, work: &mut Work) -> Result<Vec<News>, Halt> {
        let mut told = self.look_at_parts(todo.look, work).await?;
        if !told.is_empty() {
            // What it says of them decides what the others are to be.
            return Ok(told);
        }
        for base in todo.forget {
            self.forget(&base.uid, Vec::new()).await?;
        }
        let mut look = Vec::new();
        for base in todo.remove {
            match self.provider.delete(&self.mapping.remote, &base.remote, base.version.as_ref()).await {
                Ok(()) | Err(Trouble::Missing(_)) => {
                    self.unanswered = 0;
                    self.run.count(Where::Remote, Done::Deleted, &base.uid);
                    self.forget(&base.uid, Vec::new()).await?;
                }
                Err(Trouble::Stale) => look.push(base),
                Err(trouble) => {
                    self.part_failed(&base.uid, trouble, work)?;
                    self.still_there().await?;
                }
            }
        }
        let batch = self.provider.abilities().batch.max(1);
        let mut write = todo.write;
        while !write.is_empty() {
            let rest = write.split_off(write.len().min(batch));
            let chunk = std::mem::replace(&mut write, rest);
            look.extend(self.write_parts(chunk, work).await?);
        }
        told.extend(self.look_at_parts(look, work).await?);
        Ok(told)
    }

    /// Reads parts as they are there now.
    pub(super) async fn look_at_parts(
        &mut self,
        bases: Vec<Base>,
        work: &mut Work,
    ) -> Result<Vec<News>, Halt> {
        let batch = self.provider.abilities().batch.max(1);
        let mut told = Vec::with_capacity(bases.len());
        for chunk in bases.chunks(batch) {
            let ids: Vec<RemoteId> = chunk.iter().map(|base| base.remote.clone()).collect();
            let mut found = self.read(&ids).await?;
            for base in chunk {
                let at = found.iter().position(|seen| seen.id == base.remote);
                let seen = at.map(|at| found.swap_remove(at));
                let failure = self.failed.iter().find(|f| f.remote.as_ref() == Some(&base.remote));
                let reason = match (&seen, failure) {
                    (None, Some(failure)) => Some(failure.reason.clone()),
                    (Some(seen), _) => uid_of(seen).err(),
                    (None, None) => None,
                };
                match reason {
                    Some(reason) => {
                        work.failed.insert(base.uid.clone(), (reason, Retry::Soon));
                    }
                    None => {
                        let (uid, remote) = (base.uid.clone(), base.remote.clone());
                        told.push(News { uid, remote, seen });
                    }
                }
            }
        }
        Ok(told)
    }

    pub(super) fn part_failed(&mut self, uid: &str, trouble: Trouble, work: &mut Work) -> Result<(), Halt> {
        let failed = match trouble {
            Trouble::Refused(reason) => (reason, Retry::OnChange),
            trouble @ (Trouble::Taken(_) | Trouble::Missing(_) | Trouble::Stale) => {
                (trouble.to_string(), Retry::Soon)
            }
            trouble @ Trouble::Unreachable(_) => (self.unanswered(&trouble), Retry::Soon),
            trouble => return Err(trouble.into()),
        };
        work.failed.insert(uid.to_owned(), failed);
        Ok(())
    }

    /// Writes parts: announces the new ones, sends all, remembers every answer, and reads back what it does not tell.
    /// Returns those that are otherwise there than was thought.
    async fn write_parts(&mut self, chunk: Vec<Wanted>, work: &mut Work) -> Result<Vec<Base>, Halt> {
        let calendar = self.mapping.remote.clone();
        let mut chunk = chunk;
        let mut announced = Vec::new();
        for wanted in chunk.iter_mut().filter(|wanted| matches!(wanted.write.slot, Slot::New { .. })) {
            let there = wanted.base.uid_there.as_ref().unwrap_or(&wanted.base.uid);
            let place = self.provider.place(&calendar, there);
            wanted.base.remote = place.unwrap_or_else(|| unplaced(&wanted.base.uid));
            (wanted.base.pending, wanted.base.print) = (true, self.print_of(&wanted.text));
            (wanted.base.fields, wanted.base.agreed) = (Some(self.mapping.fields), self.now);
            announced.push((wanted.base.clone(), Some(wanted.text.clone())));
        }
        let ops = self.ledger.put_all(announced).await?;
        self.remember(Vec::new(), ops).await?;
        let writes: Vec<Write> = chunk.iter().map(|wanted| wanted.write.clone()).collect();
        let answers = Arc::clone(&self.provider).put_all(&calendar, &writes).await;
        let (mut look, mut written, mut halt) = (Vec::new(), Vec::new(), None);
        for (wanted, answer) in chunk.into_iter().zip(answers) {
            let new = matches!(wanted.write.slot, Slot::New { .. });
            match answer {
                Ok(answer) => {
                    self.unanswered = 0;
                    let done = if new { Done::Inserted } else { Done::Updated };
                    self.run.count(Where::Remote, done, &wanted.base.uid);
                    written.push((Base { remote: answer.id.clone(), ..wanted.base }, answer, wanted.text));
                }
                // A first attempt got through, or somebody was faster.
                Err(Trouble::Taken(Some(id))) if self.is_in_calendar(&id) => {
                    look.push(Base { remote: id, ..wanted.base });
                }
                Err(Trouble::Missing(_) | Trouble::Stale) if !new => look.push(wanted.base),
                Err(trouble) => {
                    if let Err(trouble) = self.part_failed(&wanted.base.uid, trouble, work) {
                        halt = halt.or(Some(trouble));
                    }
                }
            }
        }
        let unread = self.parts_written(written, work).await;
        if let Some(halt) = halt {
            return Err(halt);
        }
        unread?;
        self.still_there().await?;
        Ok(look)
    }

    /// Remembers what was written: where it is first, then what the far side made of it.
    async fn parts_written(
        &mut self,
        mut written: Vec<(Base, Written, Bytes)>,
        work: &mut Work,
    ) -> Result<(), Halt> {
        let untold = |(_, answer, _): &&(Base, Written, Bytes)| answer.seen.is_none();
        let mut unread = Vec::new();
        for (base, answer, text) in written.iter().filter(untold) {
            unread.push((written_base(base, answer, text), Some(text.clone())));
        }
        let ops = self.ledger.put_all(unread).await?;
        self.remember(Vec::new(), ops).await?;
        let ids: Vec<RemoteId> =
            written.iter().filter(untold).map(|(base, ..)| base.remote.clone()).collect();
        let mut found = match ids.is_empty() {
            true => Vec::new(),
            false => match self.provider.read(&self.mapping.remote, &ids).await {
                Ok(found) => found,
                // What could not be read back is looked at before anything more is written.
                Err(trouble @ (Trouble::Unreachable(_) | Trouble::Refused(_))) => {
                    let why = self.unanswered(&trouble);
                    let unread = written.iter().filter(untold).map(|(base, ..)| base.uid.clone());
                    work.failed.extend(unread.map(|uid| (uid, (why.clone(), Retry::Soon))));
                    written.retain(|(_, answer, _)| answer.seen.is_some());
                    Vec::new()
                }
                Err(trouble) => return Err(trouble.into()),
            },
        };
        let mut puts = Vec::with_capacity(written.len());
        for (base, answer, text) in written {
            let at = found.iter().position(|seen| seen.id == base.remote);
            let seen = answer.seen.or_else(|| at.map(|at| found.swap_remove(at)));
            let base = Base { pending: false, missing: None, fields: Some(self.mapping.fields), ..base };
            let (base, bytes) = self.read_back_base(base, answer.version.as_ref(), &text, seen);
            puts.push((base, Some(bytes)));
        }
        let ops = self.ledger.put_all(puts).await?;
        self.remember(Vec::new(), ops).await
    }
}

/// The base of a part that was written and not read back yet.
fn written_base(base: &Base, answer: &Written, text: &Bytes) -> Base {
    let ical = Ical::parse(text.clone()).ok();
    let span = ical.as_ref().and_then(|ical| Spans::of(ical).span());
    Base {
        pending: false,
        missing: None,
        version: answer.version.clone(),
        print: String::new(),
        span: span.map(|extent| (extent.start, extent.end)),
        ..base.clone()
    }
}

//! Writes on the far side that take several steps, and may break off between any two of them.
//!
//! Owns: remembering that one was begun and what it was to bring about, what both sides agree on while it is half done,
//! and the second look at a series that suddenly lacks something. Does not own: sending (`send`, `apply`), telling what is half done from what somebody else did
//! (`ical::merge::left_behind`).

use std::sync::Arc;

use bytes::Bytes;

use super::apply::{Facts, Settled};
use super::exception::is_segment;
use super::print;
use super::provider::Write;
use super::record::{Base, Fields};
use super::run::{Far, Halt, Pass};
use super::scope::shaped;
use crate::ical::Ical;
use crate::ical::merge::{lacks, left_behind};
use crate::store::Etag;

/// A write that is about to be begun.
#[derive(Debug)]
pub(super) struct Begun {
    /// What is remembered of the object until the end of the write is known.
    base: Base,
    /// What both sides agree on until then, where that is another text than before.
    agreed: Option<Bytes>,
    /// What is remembered if nothing was written; nothing: an earlier write is not ended either.
    before: Option<Base>,
}

impl Pass {
    /// Returns what has to be remembered before this write is sent. Nothing: it is one step, or there is nothing yet
    /// that could be lost.
    pub(super) fn begin(&self, facts: &Facts, write: &Write) -> Option<Begun> {
        if !self.provider.abilities().in_steps {
            return None;
        }
        let recurs = |bytes: &Bytes| is_segment(Ical::parse(bytes.clone()).ok().as_ref());
        if !recurs(&write.bytes) && !write.base.as_ref().is_some_and(recurs) {
            return None;
        }
        let (base, agreed, fitted) = (facts.base.as_ref()?, facts.agreed.as_ref()?, facts.fitted.as_ref()?);
        let (remote, _) = facts.place()?;
        // Of what theirs alone says, and the write repeats, it is not known here yet that it is agreed on.
        let wished = String::from_utf8_lossy(fitted.ical.bytes()).into_owned();
        let again = base.begun.is_some();
        Some(Begun {
            base: Base { remote, begun: Some(wished), pending: false, ..base.clone() },
            agreed: again.then(|| agreed.bytes().clone()),
            before: (!again).then(|| base.clone()),
        })
    }

    /// The same, remembered at once.
    pub(super) async fn begin_now(&self, facts: &Facts, write: &Write) -> Result<Option<Begun>, Halt> {
        let begun = self.begin(facts, write);
        self.announce_begun(begun.iter()).await?;
        Ok(begun)
    }

    /// An answer may be short by mistake: what a series suddenly lacks is looked for once more, in it alone.
    pub(super) async fn look_twice(
        &self,
        far: Far,
        base: Option<&Base>,
        before: Option<&Ical>,
    ) -> Result<Far, Halt> {
        match (far, base, before) {
            (Far::Seen(seen, theirs), Some(base), Some(before))
                if base.begun.is_none() && lacks(before, &theirs) =>
            {
                self.look_there(&seen.id).await
            }
            (far, ..) => Ok(far),
        }
    }

    /// Remembers what is about to be begun.
    pub(super) async fn announce_begun<'a>(&self, all: impl Iterator<Item = &'a Begun>) -> Result<(), Halt> {
        let bases = all.map(|begun| (begun.base.clone(), begun.agreed.clone())).collect();
        let ops = self.ledger.put_all(bases).await?;
        self.remember(Vec::new(), ops).await
    }

    /// Forgets what was not begun after all: the object was in another state than was expected.
    pub(super) async fn unbegin(&self, settled: Settled, begun: Option<&Begun>) -> Result<Settled, Halt> {
        if let (Settled::Again, Some(before)) = (&settled, begun.and_then(|begun| begun.before.as_ref())) {
            let ops = self.ledger.put(before, None).await?;
            self.remember(Vec::new(), ops).await?;
        }
        Ok(settled)
    }
}

/// What is known of an object: its base, the whole text that was agreed on, what the mapping carried of it.
type Known = (Option<Base>, Option<Arc<Ical>>, Option<Arc<Ical>>);

/// Returns what is known of an object of which a write was begun whose end is not known, as if both sides had agreed on
/// what the write left behind: nothing of ours counts as removed because it is not written yet, and what somebody else
/// did there counts as theirs.
pub(super) fn half_done(known: Known, far: &Far, carried: Fields) -> Known {
    let (Some(base), _, before) = &known else { return known };
    let Some(wished) = &base.begun else { return known };
    let Far::Seen(_, whole) = far else {
        // It was taken away to be made anew, or somebody removed it: an edit goes before a removal.
        return (known.0, None, None);
    };
    let wished = Ical::parse(wished.clone().into_bytes()).ok();
    let left = before.as_ref().zip(wished).and_then(|(before, wished)| {
        Ical::parse(left_behind(before, &wished, &shaped(carried, whole))).ok().map(Arc::new)
    });
    let Some(left) = left else { return known };
    let (etag, sent, print) = (Etag(String::new()), String::new(), print::print(&left));
    let base = Base { etag, sent, print, version: None, ..base.clone() };
    (Some(base), Some(Arc::clone(&left)), Some(left))
}

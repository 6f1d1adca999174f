//! What `ask` keeps: both sides, the base, the decision; and the record of every clash that a policy decided.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::apply::{Facts, Settled};
use super::plan::{Case, Clash, Decided, Kind, Side, Winner};
use super::print;
use super::record::{self, Base, Chosen, Conflict, ConflictStatus, conflict_key};
use super::run::{Far, Halt, Pass};
use crate::ical::Ical;
use crate::store::{Op, random};

/// What became of an object that waited for a decision.
pub(super) enum Reconsidered {
    /// It waits on.
    Parked,
    /// Go on; the record to store along, and what a person decided.
    Decided(Box<Conflict>, Option<Decided>),
    /// Both sides stay as they are, and that is agreed.
    Accepted,
}

impl Pass {
    /// Leaves both sides as they are until a person decides.
    pub(super) async fn park(
        &mut self,
        uid: &str,
        facts: &Facts,
        conflict: Conflict,
    ) -> Result<Settled, Halt> {
        let id = Some(conflict.id.clone());
        let base = match (&facts.base, facts.name(), facts.etag(), facts.place()) {
            (Some(base), _, _, place) => {
                // What was only announced may have been found elsewhere.
                let remote = place.map_or_else(|| base.remote.clone(), |(remote, _)| remote);
                Base { conflict: id, missing: None, pending: false, remote, ..base.clone() }
            }
            (None, Some(name), Some(etag), Some((remote, _))) => {
                Base { conflict: id, ..Base::new(uid, name.clone(), etag.clone(), remote) }
            }
            _ => return Ok(Settled::Done),
        };
        let with = self.conflict_ops(&conflict)?;
        self.keep(base, None, with).await
    }

    /// An object that waits may move on the far side meanwhile; the decision has to find it.
    pub(super) async fn stay_parked(&mut self, facts: &Facts) -> Result<Settled, Halt> {
        match (&facts.base, &facts.far) {
            (Some(base), Far::Seen(seen, _)) if seen.id != base.remote => {
                let moved = Base { remote: seen.id.clone(), ..base.clone() };
                self.keep(moved, None, Vec::new()).await
            }
            _ => Ok(Settled::Done),
        }
    }

    pub(super) async fn conflict(&self, id: &str) -> Result<Option<Conflict>, Halt> {
        match conflict_key(id) {
            Some(key) => Ok(record::load(&*self.session.house.store, &key).await?),
            None => Ok(None),
        }
    }

    pub(super) fn conflict_ops(&self, conflict: &Conflict) -> Result<Vec<Op>, Halt> {
        Ok(record::put_conflict(conflict)?)
    }

    pub(super) fn conflict_of(&self, uid: &str, facts: &Facts, clash: &Clash) -> Result<Conflict, Halt> {
        let random = random::number()?;
        let text = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
        let external = match &facts.far {
            Far::Seen(seen, _) => Some(text(&seen.bytes)),
            Far::Absent | Far::Same => None,
        };
        Ok(Conflict {
            id: record::falling_id(&self.mapping.id, self.now, random),
            mapping: self.mapping.id.clone(),
            uid: uid.to_owned(),
            detected: self.now,
            kind: clash.kind.as_str().to_owned(),
            title: match (&facts.ours, &facts.far) {
                (Some(ours), _) => title(ours),
                (None, Far::Seen(_, theirs)) => title(theirs),
                (None, Far::Absent | Far::Same) => String::new(),
            },
            clashes: clash.what.clone(),
            base: facts.agreed.as_ref().map(|ical| text(ical.bytes())),
            local: facts.object.as_ref().map(|o| text(&o.bytes)),
            external,
            status: match clash.winner {
                Winner::Open => ConflictStatus::Pending,
                Winner::Local => ConflictStatus::ResolvedLocal,
                Winner::External => ConflictStatus::ResolvedExternal,
            },
            resolved: (clash.winner != Winner::Open).then_some(self.now),
            by: clash.by.clone(),
            notes: String::new(),
            choices: BTreeMap::new(),
            history: Vec::new(),
        })
    }

    /// Looks at an object that waits for a person's decision.
    pub(super) fn reconsider(&self, mut conflict: Conflict, case: &Case<'_>) -> Result<Reconsidered, Halt> {
        let person = match conflict.status {
            ConflictStatus::Ignored if matches!((case.local, case.remote), (Side::Absent, Side::Absent)) => {
                None
            }
            ConflictStatus::Ignored => return Ok(Reconsidered::Accepted),
            ConflictStatus::ResolvedLocal => Some(Decided::Local),
            ConflictStatus::ResolvedExternal => Some(Decided::External),
            ConflictStatus::Merged => {
                let winner = |chosen: &Chosen| match chosen {
                    Chosen::Local => Winner::Local,
                    Chosen::External => Winner::External,
                };
                let choices = conflict.choices.iter().map(|(name, chosen)| (name.clone(), winner(chosen)));
                Some(Decided::Merge(choices.collect()))
            }
            ConflictStatus::Pending if is_open(&conflict, case) => return Ok(Reconsidered::Parked),
            ConflictStatus::Pending => {
                conflict.status = ConflictStatus::Merged;
                conflict.resolved = Some(self.now);
                conflict.by = "the two sides agree again".to_owned();
                None
            }
        };
        Ok(Reconsidered::Decided(Box::new(conflict), person))
    }
}

/// Tells whether the two sides still differ in what was asked about. If somebody undid or removed one side, nothing is
/// left to decide.
fn is_open(conflict: &Conflict, case: &Case<'_>) -> bool {
    match (case.local, case.remote) {
        (Side::Changed(local), Side::Changed(remote)) => {
            print::print(local.ical) != print::print(remote.ical)
        }
        // What kept changing is left alone as long as it is not what was agreed.
        (Side::Changed(_), Side::Same) | (Side::Same, Side::Changed(_)) => {
            conflict.kind == Kind::KeepsChanging.as_str()
        }
        (Side::Absent, Side::Changed(_)) => conflict.kind == Kind::DeletedHere.as_str(),
        (Side::Changed(_), Side::Absent) => conflict.kind == Kind::DeletedThere.as_str(),
        _ => false,
    }
}

/// Returns the title of an object: its master's, else that of its first instance.
pub(super) fn title(ical: &Ical) -> String {
    let all = || ical.calendar().into_iter().flat_map(|calendar| calendar.components());
    let master = all().filter(|c| c.property("RECURRENCE-ID").is_none()).find_map(|c| c.property("SUMMARY"));
    let title = master.or_else(|| all().find_map(|c| c.property("SUMMARY")));
    title.map(|title| title.text().trim().to_owned()).unwrap_or_default()
}

//! What `ask` keeps: both sides, the base, the decision; and the record of every clash that a policy decided.

use bytes::Bytes;

use super::apply::{Facts, Settled};
use super::plan::{Case, Clash, Side, Winner};
use super::print;
use super::record::{self, Base, Conflict, ConflictStatus, Policy, conflict_key};
use super::run::{Far, Halt, Pass};
use crate::store::{Fault, Op};

/// What became of an object that waited for a decision.
pub(super) enum Reconsidered {
    /// It waits on.
    Parked,
    /// Go on; the record to store along.
    Decided(Box<Conflict>),
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
        let (Some(name), Some(etag), Some((remote, _))) = (facts.name(), facts.etag(), facts.place()) else {
            return Ok(Settled::Done);
        };
        let id = Some(conflict.id.clone());
        let base = match &facts.base {
            Some(base) => Base { conflict: id, missing: None, pending: false, ..base.clone() },
            None => Base {
                uid: uid.to_owned(),
                name: name.clone(),
                etag: etag.clone(),
                remote,
                version: None,
                print: String::new(),
                missing: None,
                conflict: id,
                pending: false,
            },
        };
        let with = self.conflict_ops(&conflict)?;
        self.keep(base, None, with).await
    }

    pub(super) async fn conflict(&self, id: &str) -> Result<Option<Conflict>, Halt> {
        match conflict_key(id) {
            Some(key) => Ok(record::load(&*self.session.house.store, &key).await?),
            None => Ok(None),
        }
    }

    pub(super) fn conflict_ops(&self, conflict: &Conflict) -> Result<Vec<Op>, Halt> {
        match conflict_key(&conflict.id) {
            Some(key) => Ok(vec![record::put(key, conflict)?]),
            None => Ok(Vec::new()),
        }
    }

    pub(super) fn conflict_of(&self, uid: &str, facts: &Facts, clash: &Clash) -> Result<Conflict, Halt> {
        let random = getrandom::u32().map_err(|e| Fault::Broken(format!("no random numbers: {e}")))?;
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
            kind: if facts.agreed.is_some() { "both_changed" } else { "both_new" }.to_owned(),
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
        })
    }

    /// Looks at an object that waits for a person's decision.
    pub(super) fn reconsider(
        &self,
        mut conflict: Conflict,
        case: &mut Case<'_>,
    ) -> Result<Reconsidered, Halt> {
        match conflict.status {
            ConflictStatus::Ignored => return Ok(Reconsidered::Accepted),
            ConflictStatus::ResolvedLocal => case.policy = Policy::Local,
            ConflictStatus::ResolvedExternal => case.policy = Policy::External,
            ConflictStatus::Merged => case.policy = Policy::Newest,
            ConflictStatus::Pending => {
                let one = match (case.local, case.remote) {
                    (Side::Changed(local), Side::Changed(remote)) => {
                        print::print(local.ical) == print::print(remote.ical)
                    }
                    // Somebody undid or removed one side: nothing is left to decide.
                    _ => true,
                };
                if !one {
                    return Ok(Reconsidered::Parked);
                }
                conflict.status = ConflictStatus::Merged;
                conflict.resolved = Some(self.now);
            }
        }
        Ok(Reconsidered::Decided(Box::new(conflict)))
    }
}

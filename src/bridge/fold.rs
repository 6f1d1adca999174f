//! What somebody does on the far side to one part of a series that is there in parts (S4-051, S4-052).
//!
//! Owns: deciding about a part, by the same table as about any object (`plan`); turning what comes of it into an exception
//! of our series, a day that is left out or a cancelled one. Does not own: writing parts there (`parts`), taking a
//! series apart (`apart`, `Provider::fit`).
//!
//! Nobody is asked about a part: where the policy is `ask` the newer one counts. What was decided is on record with both
//! versions of the whole series, so that it can be undone like any other decision.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use super::exception;
use super::plan::{Case, Clash, Decision, Side, Step, Version, Will, Winner, plan};
use super::print;
use super::provider::{Fit, RemoteId, Seen, Window};
use super::record::{
    self, Apart, Base, Conflict, ConflictStatus, Direction, Done, Fields, OnDelete, Policy, Where,
};
use super::run::{Halt, Pass, Retry, uid_of};
use super::scope::{Held, edited, shaped, with_uid};
use super::why::words;
use crate::calendar::{Error, Put, Refusal, When};
use crate::ical::Ical;
use crate::ical::value::Civil;
use crate::store::{Etag, Fault, Name, Object, Op, random};

/// Between the UID of a series and the name of a part.
const MARK: &str = "#part-";
const DAY: i64 = 86_400;
/// How often a series that a rival keeps changing is read anew.
const ROUNDS: usize = 4;

/// Returns the UID that a part has on the far side.
pub(super) fn part_uid(uid: &str, key: &str) -> String {
    format!("{uid}{MARK}{key}")
}

/// Returns the series and the name of the part that a UID is of.
pub(super) fn part_of(uid: &str) -> Option<(&str, &str)> {
    uid.rsplit_once(MARK)
}

/// What the far side says of a part: as it was read, or that it is gone (nothing).
#[derive(Debug)]
pub(super) struct News {
    pub(super) uid: String,
    pub(super) remote: RemoteId,
    pub(super) seen: Option<Seen>,
}

/// What came of taking in what was told.
#[derive(Debug, Default)]
pub(super) struct Taken {
    /// What is to be written there instead of what our text alone would give.
    pub(super) instead: BTreeMap<String, Bytes>,
    /// Parts that could not be dealt with, and why: nothing is written over them.
    pub(super) left: BTreeMap<String, String>,
}

/// A series of ours, and what the far side is to hold of it.
pub(super) struct Series {
    pub(super) object: Object,
    pub(super) ours: Arc<Ical>,
    pub(super) held: Held,
    /// The parts within the window, each with the UID that it has there.
    pub(super) parts: BTreeMap<String, Arc<Ical>>,
}

/// One part, as both sides have it.
struct Compared {
    /// What is remembered of it, whether it counts or not.
    base: Base,
    theirs: Option<(Seen, Arc<Ical>)>,
    /// What the far side is to hold.
    own: Option<Arc<Ical>>,
    /// Our whole text of that day.
    whole: Option<Arc<Ical>>,
    /// What was agreed, as our text of that day would be.
    before: Option<Arc<Ical>>,
    at: Option<Civil>,
    decision: Decision,
}

/// What folding comes to, before it is stored.
struct Folded {
    text: Bytes,
    puts: Vec<(Base, Option<Bytes>)>,
    gone: Vec<String>,
    /// UIDs of parts that both sides agree on as soon as the text is stored.
    taken: Vec<String>,
    clashes: Vec<Conflict>,
    /// What is to be written there instead of what our text alone would give.
    instead: BTreeMap<String, Bytes>,
    /// Parts that are events of their own from now on.
    free: Vec<(Seen, Arc<Ical>)>,
    failed: Vec<(String, Option<RemoteId>, String)>,
}

impl Pass {
    /// Reads a series of ours. Inner error: it cannot be read, in words.
    pub(super) async fn series(&self, uid: &str) -> Result<Option<Result<Series, String>>, Halt> {
        let object = match self.at.by_uid(uid).await? {
            Some(name) => self.at.object(name.as_str()).await?,
            None => None,
        };
        let Some(object) = object else { return Ok(None) };
        let ours = match Ical::parse(object.bytes.clone()) {
            Ok(ical) => Arc::new(ical),
            Err(problem) => {
                return Ok(Some(Err(format!("The event here cannot be read: {}", problem.reason))));
            }
        };
        let (held, parts) = self.taken_apart(uid, &ours);
        Ok(Some(Ok(Series { object, ours, held, parts })))
    }

    fn taken_apart(&self, uid: &str, ours: &Arc<Ical>) -> (Held, BTreeMap<String, Arc<Ical>>) {
        let held = self.fitted(ours).held;
        let parts = match &held {
            Held::Parts(parts, _) => parts.iter().filter_map(|part| named(uid, &part.key, &part.bytes)),
            Held::Whole | Held::Refused(_) => return (held, BTreeMap::new()),
        };
        let parts = parts.collect();
        (held, parts)
    }

    /// Takes what the far side tells of parts into our series, all of it with one write.
    pub(super) async fn fold(&mut self, whole: &str, told: &[News]) -> Result<Taken, Halt> {
        for _ in 0..ROUNDS {
            let series = match self.series(whole).await? {
                Some(Ok(series)) => Some(series),
                None => None,
                Some(Err(reason)) => return Ok(self.put_off(told, &reason)),
            };
            let mut folded = Folded {
                text: series.as_ref().map(|series| series.object.bytes.clone()).unwrap_or_default(),
                puts: Vec::new(),
                gone: Vec::new(),
                taken: Vec::new(),
                clashes: Vec::new(),
                instead: BTreeMap::new(),
                free: Vec::new(),
                failed: Vec::new(),
            };
            for one in told {
                let Some(compared) = self.compared(series.as_ref(), whole, one).await? else { continue };
                self.take_part(&mut folded, series.as_ref(), whole, compared)?;
            }
            match self.store_folded(whole, series.as_ref(), &mut folded).await? {
                Ok(()) => {
                    self.run.conflicts = self
                        .run
                        .conflicts
                        .saturating_add(u64::try_from(folded.clashes.len()).unwrap_or(u64::MAX));
                    for (uid, remote, reason) in &folded.failed {
                        self.fail(uid, None, remote.clone(), reason.clone(), Retry::OnChange);
                    }
                    self.freed.extend(folded.free);
                    let left = folded.failed.into_iter().map(|(uid, _, reason)| (uid, reason));
                    return Ok(Taken { instead: folded.instead, left: left.collect() });
                }
                // A rival was faster.
                Err(None) => {}
                Err(Some(reason)) => return Ok(self.put_off(told, &reason)),
            }
        }
        Ok(self.put_off(told, "It keeps changing here; it is tried again."))
    }

    /// Notes that what was told of parts could not be taken in: it is read again.
    fn put_off(&mut self, told: &[News], reason: &str) -> Taken {
        for one in told {
            self.fail(&one.uid, None, Some(one.remote.clone()), reason.to_owned(), Retry::Soon);
        }
        let left = told.iter().map(|one| (one.uid.clone(), reason.to_owned()));
        Taken { instead: BTreeMap::new(), left: left.collect() }
    }

    /// Compares both sides of a part. Nothing: it is none, or is kept apart on purpose.
    async fn compared(
        &self,
        series: Option<&Series>,
        whole: &str,
        told: &News,
    ) -> Result<Option<Compared>, Halt> {
        let known = self.ledger.by_uid(&told.uid).await?;
        let Some((_, key)) = part_of(&told.uid) else { return Ok(None) };
        let there = told.seen.as_ref().and_then(|seen| uid_of(seen).ok()).map(|(uid, _)| uid);
        let theirs = match &told.seen {
            Some(seen) => match Ical::parse(seen.bytes.clone()) {
                Ok(ical) => {
                    let bytes = with_uid(&ical, &told.uid);
                    let ical = Ical::parse(bytes.clone()).unwrap_or(ical);
                    Some((Seen { bytes, ..seen.clone() }, Arc::new(ical)))
                }
                Err(_) => return Ok(None),
            },
            None => None,
        };
        let base = match (known, &theirs) {
            (Some(base), _) if base.part.is_none() => return Ok(None),
            (Some(base), _) => base,
            (None, Some((seen, _))) => {
                let base = part_base(&told.uid, whole, key, seen.id.clone())?;
                Base { uid_there: there.filter(|there| *there != told.uid), ..base }
            }
            (None, None) => return Ok(None),
        };
        // What one side removed and the other kept on purpose stays so until both sides have it again.
        let at = Civil::parse(key.trim_end_matches('Z'));
        let own = series.and_then(|series| self.own_part(series, whole, key, at, &told.uid));
        match (base.apart, &theirs, &own) {
            (Some(Apart::Here), None, Some(_)) | (Some(Apart::There), Some(_), None) => return Ok(None),
            _ => {}
        }
        let counts = base.apart.is_none() && !(base.pending && theirs.is_none());
        // What was written and never read back is what the far side made of it, unless somebody was there since.
        let unread = counts && !base.pending && base.print.is_empty() && !base.sent.is_empty();
        let agreed = match counts && (unread || !base.print.is_empty()) {
            true => self.ledger.bytes(&told.uid).await?,
            false => None,
        };
        let agreed = agreed.and_then(|bytes| Ical::parse(bytes).ok()).map(Arc::new);
        let carried = base.fields.unwrap_or(Fields::Full);
        let reshaped = carried != self.mapping.fields;
        let view = theirs.as_ref().map(|(_, ical)| self.shaped(ical));
        let said = view.as_ref().map(|view| print::print(view));
        // Of what was only announced nobody knows whether it is that which is there.
        let unsure = base.pending && said.as_ref() != Some(&base.print);
        let before = agreed.filter(|_| !unsure).map(|whole| shaped(carried, &whole));
        let made = match (&view, &before, &theirs) {
            (Some(view), Some(written), Some((seen, _))) if unread => match &base.version {
                Some(vouched) => seen.version.as_ref() == Some(vouched),
                None => exception::says_no_more(written, view),
            },
            _ => false,
        };
        let before = match (unread, &view) {
            (true, Some(view)) => made.then(|| Arc::clone(view)),
            _ => before,
        };
        let day = series.zip(at).and_then(|(series, at)| whole_day(series, at, key, &told.uid));
        let whole_text = match exception::is_segment(own.as_deref()) {
            true => own.clone(),
            false => day,
        };
        let pulls = self.mapping.direction != Direction::Push && !exception::is_segment(own.as_deref());
        // A day is removed there although the series changed here, unless it is that very day which was changed.
        let changed = |ours: &Arc<Ical>| {
            let print = print::print(ours);
            let same = !reshaped && (print == base.sent || print == base.print);
            let special = || series.zip(at).is_some_and(|(s, at)| exception::of(&s.ours, at).is_some());
            !(same || (theirs.is_none() && pulls && !special()))
        };
        let stored = series.map(|series| series.object.meta.modified.seconds());
        let local = match &own {
            None => Side::Absent,
            Some(own) if before.is_some() && !changed(own) => Side::Same,
            Some(own) => Side::Changed(Version { ical: own, stored }),
        };
        let remote = match (&view, &theirs) {
            (Some(view), Some((seen, _))) => {
                match before.is_some() && !reshaped && (made || said.as_ref() == Some(&base.print)) {
                    true => Side::Same,
                    false => Side::Changed(Version { ical: view, stored: seen.modified }),
                }
            }
            _ => Side::Absent,
        };
        let case = Case {
            local,
            remote,
            base: before.as_deref(),
            ours: whole_text.as_deref(),
            shown: own.as_deref(),
            direction: if pulls { self.mapping.direction } else { Direction::Push },
            will: self.will(Some(&base)),
            decided: None,
        };
        let mut decision = plan(&case);
        if decision.clash.as_ref().is_some_and(|clash| clash.winner == Winner::Open) {
            decision = plan(&Case { will: Will::of(Policy::Newest), ..case });
        }
        let decision = decision;
        Ok(Some(Compared { base, theirs, own, whole: whole_text, before, at, decision }))
    }

    /// What the far side is to hold of one day. One that has left the window is looked for as well.
    fn own_part(
        &self,
        series: &Series,
        whole: &str,
        key: &str,
        at: Option<Civil>,
        uid: &str,
    ) -> Option<Arc<Ical>> {
        if let Some(own) = series.parts.get(uid) {
            return Some(Arc::clone(own));
        }
        let at = at.filter(|_| series.held != Held::Whole)?;
        let near = Window {
            from: Some(at.0.saturating_sub(2 * DAY)),
            to: Some(at.0.saturating_add(2 * DAY)),
            now: at.0,
        };
        let Fit::Parts(parts, _) = self.provider.fit(&self.shaped(&series.ours), near) else { return None };
        let part = parts.into_iter().find(|part| part.key == key)?;
        named(whole, key, &part.bytes).map(|(_, ical)| ical)
    }

    /// Does with a part what was decided.
    fn take_part(
        &self,
        folded: &mut Folded,
        series: Option<&Series>,
        whole: &str,
        compared: Compared,
    ) -> Result<(), Halt> {
        let Compared { base, theirs, own, whole: day, before, at, decision } = compared;
        let uid = base.uid.clone();
        let key = part_of(&uid).map(|(_, key)| key.to_owned()).unwrap_or_default();
        let own_print = own.as_ref().map(|own| print::print(own)).unwrap_or_default();
        let seen_as = |sent: String| {
            let (seen, ical) = theirs.as_ref()?;
            let base = Base {
                remote: seen.id.clone(),
                sent,
                pending: false,
                missing: None,
                apart: None,
                ..base.clone()
            };
            let fields = base.fields.filter(|fields| *fields != Fields::Busy);
            let next = self.agreed_base(base, seen, ical);
            // What says more than it is to say from now on is made anew.
            let fields = fields.filter(|_| self.mapping.fields == Fields::Busy).or(next.fields);
            Some((Base { fields, ..next }, Some(seen.bytes.clone())))
        };
        let segment = exception::is_segment(own.as_deref());
        let excepted = |text: &Bytes, instance: &Bytes| {
            let (ours, at) = (Ical::parse(text.clone()).ok()?, at?);
            exception::put(&ours, at, &key, &Ical::parse(instance.clone()).ok()?, whole)
        };
        if let (Some(clash), Some(series)) = (&decision.clash, series) {
            let ours = &series.object.bytes;
            let version = |ical: Option<&Arc<Ical>>| excepted(ours, ical?.bytes());
            let external = version(theirs.as_ref().map(|(_, ical)| ical));
            let conflict = self.part_conflict(whole, series, clash, version(before.as_ref()), external)?;
            folded.clashes.push(conflict);
        }
        match decision.step {
            Step::Agree => folded.puts.extend(seen_as(own_print)),
            Step::Nothing => match (&own, &theirs) {
                // Nothing is taken from there: what they still work on stays with them.
                (None, Some(_)) if !said_same(&base, &seen_as(String::new())) => {
                    folded.puts.push((Base { apart: Some(Apart::There), ..base.clone() }, None));
                }
                (_, Some(_)) if said_same(&base, &seen_as(String::new())) => {
                    folded.puts.extend(seen_as(base.sent.clone()));
                }
                _ if segment => {
                    let why =
                        "It is there as several series; what is changed in one of them there stays there.";
                    folded.failed.push((uid, Some(base.remote.clone()), why.to_owned()));
                }
                _ => {}
            },
            Step::Push(bytes) => match seen_as(String::new()) {
                Some((next, agreed)) => {
                    if own.as_ref().is_none_or(|own| *own.bytes() != bytes) {
                        folded.instead.insert(uid, bytes);
                    }
                    folded.puts.push((next, agreed));
                }
                None => folded.gone.push(uid),
            },
            Step::Pull(_) if own.is_none() => {
                if let Some((seen, ical)) = theirs {
                    folded.puts.push((freed(&base, &seen), None));
                    folded.free.push((seen, ical));
                }
            }
            Step::Pull(bytes) => match excepted(&folded.text, &bytes) {
                Some(text) => {
                    folded.text = text;
                    folded.taken.push(uid);
                    folded.puts.extend(seen_as(String::new()));
                }
                None => folded.failed.push((uid, Some(base.remote.clone()), NO_DAY.to_owned())),
            },
            Step::Both(view) => {
                let merged = match (&own, &day) {
                    (Some(own), Some(day)) => edited(own, day, &view),
                    _ => view,
                };
                match excepted(&folded.text, &merged) {
                    Some(text) => {
                        folded.text = text;
                        folded.puts.extend(seen_as(String::new()));
                    }
                    None => folded.failed.push((uid, Some(base.remote.clone()), NO_DAY.to_owned())),
                }
            }
            Step::DeleteRemote => folded.puts.extend(seen_as(base.sent.clone())),
            Step::DeleteLocal => self.leave_out(folded, base, at, &key, whole, day.as_ref()),
            Step::Forget => folded.gone.push(uid),
            // It was decided above.
            Step::Park => {}
        }
        Ok(())
    }

    /// A part is gone there: our series follows, as the mapping says.
    fn leave_out(
        &self,
        folded: &mut Folded,
        base: Base,
        at: Option<Civil>,
        key: &str,
        whole: &str,
        day: Option<&Arc<Ical>>,
    ) {
        let apart = Base { apart: Some(Apart::Here), missing: None, pending: false, ..base.clone() };
        let text = || {
            let (ours, at) = (Ical::parse(folded.text.clone()).ok()?, at?);
            match self.mapping.on_remote_delete {
                OnDelete::Trash | OnDelete::Restore => exception::leave_out(&ours, at, key),
                OnDelete::Cancel => {
                    let off = Ical::parse(super::removal::cancelled(day?)).ok()?;
                    exception::put(&ours, at, key, &off, whole)
                }
                OnDelete::Keep => None,
            }
        };
        match (self.mapping.on_remote_delete, text()) {
            (OnDelete::Trash | OnDelete::Restore, Some(text)) => {
                folded.text = text;
                folded.gone.push(base.uid);
            }
            (OnDelete::Cancel, Some(text)) => {
                folded.text = text;
                folded.puts.push((apart, None));
            }
            (OnDelete::Keep, _) => folded.puts.push((apart, None)),
            (_, None) => {
                folded.failed.push((base.uid.clone(), Some(base.remote.clone()), NO_DAY.to_owned()));
                folded.puts.push((apart, None));
            }
        }
    }

    /// Stores what folding came to. Inner error: a rival was faster (nothing), or our rules do not take it, in words.
    async fn store_folded(
        &mut self,
        whole: &str,
        series: Option<&Series>,
        folded: &mut Folded,
    ) -> Result<Result<(), Option<String>>, Halt> {
        let changed = series.filter(|series| series.object.bytes != folded.text);
        let mut puts = std::mem::take(&mut folded.puts);
        if let (Some(series), Ok(after)) = (changed, Ical::parse(folded.text.clone())) {
            let ours = Arc::new(after);
            let (held, parts) = self.taken_apart(whole, &ours);
            let after = Series { object: series.object.clone(), ours, held, parts };
            for (base, _) in puts.iter_mut().filter(|(base, _)| folded.taken.contains(&base.uid)) {
                let key = part_of(&base.uid).map(|(_, key)| key.to_owned()).unwrap_or_default();
                let at = Civil::parse(key.trim_end_matches('Z'));
                let own = self.own_part(&after, whole, &key, at, &base.uid);
                base.sent = own.map(|own| print::print(&own)).unwrap_or_default();
            }
            // Whatever of it is not there yet is found by comparing the parts, which is done next.
            if let Some(known) = self.ledger.by_uid(whole).await?.filter(|base| base.split.is_some()) {
                puts.push((Base { etag: Etag(String::new()), ..known }, None));
            }
        }
        let mut ops = self.ledger.put_all(puts).await?;
        for uid in &folded.gone {
            ops.extend(self.ledger.delete(uid).await?);
        }
        for conflict in &folded.clashes {
            ops.extend(self.conflict_ops(conflict)?);
        }
        match changed {
            Some(series) => self.store_series(series, folded.text.clone(), ops).await,
            None => self.remember(Vec::new(), ops).await.map(Ok),
        }
    }

    async fn store_series(
        &mut self,
        series: &Series,
        bytes: Bytes,
        with: Vec<Op>,
    ) -> Result<Result<(), Option<String>>, Halt> {
        let etag = series.object.meta.etag.clone();
        let when = When::holds(move |meta| match meta {
            Some(meta) if meta.etag == etag => Ok(()),
            _ => Err(Refusal::Stale),
        });
        let name = series.object.meta.name.clone();
        let put = Put { name: &name, bytes, content_type: None, when, with };
        match self.session.put(&self.at, put).await {
            Ok(_) => {
                let uid = series.object.meta.index.uid.as_deref().unwrap_or_default();
                self.run.count(Where::Local, Done::Updated, uid);
                Ok(Ok(()))
            }
            Err(Error::Refused(Refusal::Stale | Refusal::Missing)) => Ok(Err(None)),
            Err(Error::Refused(Refusal::NoParent)) => Err(Halt::NoCollection),
            Err(Error::Refused(Refusal::DiskFull)) => Err(Fault::Full.into()),
            Err(Error::Refused(refusal)) => Ok(Err(Some(words(&refusal)))),
            Err(Error::Failed(fault)) => Err(fault.into()),
        }
    }

    /// The record of a decision about a part, told of the whole series.
    fn part_conflict(
        &self,
        whole: &str,
        series: &Series,
        clash: &Clash,
        base: Option<Bytes>,
        external: Option<Bytes>,
    ) -> Result<Conflict, Halt> {
        let random = random::number()?;
        let text = |bytes: Bytes| String::from_utf8_lossy(&bytes).into_owned();
        Ok(Conflict {
            id: record::falling_id(&self.mapping.id, self.now, random),
            mapping: self.mapping.id.clone(),
            uid: whole.to_owned(),
            detected: self.now,
            kind: clash.kind.as_str().to_owned(),
            title: super::conflict::title(&series.ours),
            clashes: clash.what.clone(),
            base: base.map(text),
            local: Some(text(series.object.bytes.clone())),
            external: external.map(text),
            status: match clash.winner {
                Winner::External => ConflictStatus::ResolvedExternal,
                Winner::Local | Winner::Open => ConflictStatus::ResolvedLocal,
            },
            resolved: Some(self.now),
            by: clash.by.clone(),
            notes: String::new(),
            choices: BTreeMap::new(),
            history: Vec::new(),
        })
    }

    /// Deals with what was a part and is an event of its own from now on.
    pub(super) async fn settle_freed(&mut self) -> Result<(), Halt> {
        for (seen, ical) in std::mem::take(&mut self.freed) {
            let Some(base) = self.ledger.by_remote(&seen.id).await? else { continue };
            self.settle(&base.uid, super::run::Far::Seen(seen, ical)).await?;
        }
        self.flush().await
    }
}

const NO_DAY: &str = "A change of a single day could not be taken over: the event here has no such day.";

/// Returns a part with the UID that it has there.
fn named(whole: &str, key: &str, bytes: &Bytes) -> Option<(String, Arc<Ical>)> {
    let uid = part_uid(whole, key);
    let text = with_uid(&Ical::parse(bytes.clone()).ok()?, &uid);
    Some((uid, Arc::new(Ical::parse(text).ok()?)))
}

/// Our whole text of one day, with the UID that the part has there.
fn whole_day(series: &Series, at: Civil, key: &str, uid: &str) -> Option<Arc<Ical>> {
    let day = exception::day(&series.ours, at, key)?;
    Some(Arc::new(Ical::parse(with_uid(&day, uid)).ok()?))
}

fn said_same(base: &Base, next: &Option<(Base, Option<Bytes>)>) -> bool {
    let same = |next: &Base| base.print.is_empty() || next.print == base.print;
    next.as_ref().is_some_and(|(next, _)| same(next) && base.apart.is_none())
}

/// The base of what was a part: an event of the far side that nobody agreed on yet.
fn freed(base: &Base, seen: &Seen) -> Base {
    Base {
        pending: true,
        from_there: true,
        uid_there: base.uid_there.clone(),
        ..Base::new(&base.uid, base.name.clone(), Etag(String::new()), seen.id.clone())
    }
}

/// Returns the base of a part of which nothing is agreed on yet.
pub(super) fn part_base(uid: &str, whole: &str, key: &str, remote: RemoteId) -> Result<Base, Halt> {
    let name = Name::new(format!("part-{}", print::digest(uid.as_bytes())));
    let name = name.ok_or_else(|| Fault::Broken("a digest is no name".into()))?;
    let part = Some((whole.to_owned(), key.to_owned()));
    Ok(Base { part, from_here: true, ..Base::new(uid, name, Etag(String::new()), remote) })
}

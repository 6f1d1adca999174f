//! Objects that a far side can hold only as several ones.
//!
//! Owns: making the parts of a series what they are to be, knowing them again, removing them. Does not own: taking a series
//! apart (`apart`, `Provider::fit`), what becomes of our series when somebody changes a part there (`fold`).
//!
//! A series in parts has a base of its own, without a place there, and one for each part. It is remembered first, and what
//! is about to be made of it, so that a pass which is cut off anywhere leaves nothing there that nobody knows.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::apply::{Facts, Settled};
use super::fold::{News, Series, part_base, part_of};
use super::make::{Todo, Wanted, Work};
use super::order::Open;
use super::pace::later;
use super::print;
use super::provider::{Seen, Slot, Trouble, Version, Write};
use super::record::{Apart, Base, Direction, Done, Fields, OnDelete, Where, parts_place, unplaced};
use super::run::{Halt, Pass, Retry};
use super::scope::Held;
use super::send::AWAITED;
use super::shape;
use crate::ical::Ical;
use crate::ical::value::Civil;
use crate::store::Etag;

const DAY: i64 = 86_400;
/// How often the parts of one series are compared in a pass.
const ROUNDS: usize = 6;

/// What a series is to be there.
enum Wish {
    /// These parts, by the UIDs that they have there, and none else within the window.
    Parts(BTreeMap<String, Arc<Ical>>, String),
    /// None at all.
    None,
}

impl Pass {
    /// Has an object, which was one there or nothing so far, be there as several.
    pub(super) async fn settle_parts(
        &mut self,
        uid: &str,
        facts: &Facts,
        sentence: String,
    ) -> Result<Settled, Halt> {
        let Some(name) = facts.name().cloned() else { return Ok(Settled::Again) };
        let base = match (&facts.base, facts.place()) {
            // It is removed there as soon as this is remembered.
            (Some(whole), Some((remote, version))) => {
                let whole =
                    Base { remote, version, pending: false, begun: None, missing: None, ..whole.clone() };
                Base { split: Some(sentence), name, ..whole }
            }
            _ => Base {
                version: Some(Version(String::new())),
                split: Some(sentence),
                from_here: true,
                ..Base::new(uid, name, Etag(String::new()), parts_place(uid))
            },
        };
        self.keep(Base { etag: Etag(String::new()), ..base }, None, Vec::new()).await?;
        self.settle_series(uid, Vec::new()).await
    }

    /// Takes in what the far side told of parts, and what follows of it.
    pub(super) async fn settle_told(&mut self, open: &mut Open) -> Result<(), Halt> {
        let mut all: BTreeMap<String, Vec<News>> = BTreeMap::new();
        for told in std::mem::take(&mut open.told) {
            if let Some((whole, _)) = part_of(&told.uid) {
                all.entry(whole.to_owned()).or_default().push(told);
            }
        }
        for (whole, told) in all {
            open.here.remove(&whole);
            self.looked.insert(&whole);
            told.iter().for_each(|told| {
                self.looked.insert(&told.uid);
            });
            match self.settle_series(&whole, told).await {
                Ok(Settled::Again) => {
                    self.concerned.insert(whole);
                }
                Ok(_) => {}
                // One series that is not answered for does not keep the others from being carried.
                Err(Halt::Far(trouble @ (Trouble::Unreachable(_) | Trouble::Refused(_)))) => {
                    let why = self.unanswered(&trouble);
                    let name = self.at.by_uid(&whole).await?;
                    self.fail(&whole, name, None, why, Retry::Soon);
                    self.still_there().await?;
                }
                Err(halt) => return Err(halt),
            }
        }
        Ok(())
    }

    /// Takes an object of the far side that nobody knows for the part that its UID says it is. False: it is none.
    pub(super) async fn adopt_part(&mut self, uid: &str, seen: &Seen) -> Result<bool, Halt> {
        let Some((whole, _)) = part_of(uid) else { return Ok(false) };
        if self.ledger.by_uid(uid).await?.is_some() || self.at.by_uid(uid).await?.is_some() {
            return Ok(false);
        }
        let Some(Ok(series)) = self.series(whole).await? else { return Ok(false) };
        if !series.parts.contains_key(uid) {
            return Ok(false);
        }
        let told = News { uid: uid.to_owned(), remote: seen.id.clone(), seen: Some(seen.clone()) };
        self.fold(whole, &[told]).await?;
        self.concerned.insert(whole.to_owned());
        Ok(true)
    }

    /// Brings a series that is there in parts to agreement: first what the far side told of them, then what ours says.
    pub(super) async fn settle_series(&mut self, uid: &str, told: Vec<News>) -> Result<Settled, Halt> {
        let (mut told, mut work) = (told, Work::default());
        for _ in 0..ROUNDS {
            if !told.is_empty() {
                self.take_in(uid, &told, &mut work).await?;
            }
            let Some(base) = self.ledger.by_uid(uid).await?.filter(|base| base.split.is_some()) else {
                return Ok(Settled::Done);
            };
            if self.mapping.direction == Direction::Pull {
                return Ok(Settled::Done);
            }
            let series = match self.series(uid).await? {
                Some(Ok(series)) => Some(series),
                Some(Err(reason)) => {
                    let name = self.at.by_uid(uid).await?;
                    self.fail(uid, name, None, reason, Retry::OnChange);
                    return Ok(Settled::Done);
                }
                None => None,
            };
            if series.is_none() && self.is_shared(uid).await? {
                for part in self.ledger.parts_of(uid).await? {
                    self.forget(&part.uid, Vec::new()).await?;
                }
                return self.forget(uid, Vec::new()).await;
            }
            if !self.is_apart_now(&base) && !self.remove_whole(&base).await? {
                return Ok(Settled::Again);
            }
            if let (None, OnDelete::Keep | OnDelete::Cancel) = (&series, self.mapping.on_local_delete) {
                return self.keep_parts(&base).await;
            }
            let wish = match &series {
                Some(series) if !shape::passes(&self.mapping.filters, &series.ours) => {
                    self.withdrawn.parts(uid);
                    return Ok(Settled::Done);
                }
                Some(Series { held: Held::Refused(why), object, .. }) => {
                    self.fail(uid, Some(object.meta.name.clone()), None, why.clone(), Retry::OnChange);
                    return Ok(Settled::Done);
                }
                Some(Series { held: Held::Parts(_, why), parts, .. }) => {
                    Wish::Parts(parts.clone(), why.clone())
                }
                Some(Series { held: Held::Whole, .. }) | None => Wish::None,
            };
            let todo = self.compare(uid, &wish, &work).await?;
            let again = todo.anew;
            told = self.carry_parts(todo, &mut work).await?;
            if told.is_empty() && !again {
                return self.end_series(&base, series, wish, work).await;
            }
        }
        let name = self.at.by_uid(uid).await?;
        let why = "It keeps changing on both sides; it is tried again.".to_owned();
        self.fail(uid, name, None, why, Retry::Soon);
        Ok(Settled::Done)
    }

    async fn take_in(&mut self, uid: &str, told: &[News], work: &mut Work) -> Result<(), Halt> {
        work.fresh.extend(told.iter().map(|told| told.uid.clone()));
        let taken = self.fold(uid, told).await?;
        work.instead.extend(taken.instead);
        work.failed.extend(taken.left.into_iter().map(|(uid, reason)| (uid, (reason, Retry::Soon))));
        Ok(())
    }

    /// Takes back the parts of a series that the filters no longer let through.
    pub(super) async fn withdraw_parts(&mut self, uid: &str) -> Result<(), Halt> {
        let mut work = Work::default();
        for _ in 0..ROUNDS {
            let todo = self.compare(uid, &Wish::None, &work).await?;
            let told = self.carry_parts(todo, &mut work).await?;
            if told.is_empty() {
                break;
            }
            self.take_in(uid, &told, &mut work).await?;
        }
        if self.ledger.parts_of(uid).await?.is_empty() {
            self.forget(uid, Vec::new()).await?;
        }
        Ok(())
    }

    fn is_apart_now(&self, base: &Base) -> bool {
        base.remote == parts_place(&base.uid)
    }

    /// Removes what the series was there as one object. False: somebody changed it since; it is one object still.
    async fn remove_whole(&mut self, base: &Base) -> Result<bool, Halt> {
        let mut version = base.version.clone();
        let mut changed = false;
        if version.is_none() {
            let found = self.provider.read(&self.mapping.remote, std::slice::from_ref(&base.remote)).await?;
            for seen in found {
                version.clone_from(&seen.version);
                changed = match self.named(seen).await? {
                    Ok((_, _, ical)) => print::print(&self.shaped(&ical)) != base.print,
                    Err(_) => true,
                };
            }
        }
        let answer = match changed {
            true => Err(Trouble::Stale),
            false => self.provider.delete(&self.mapping.remote, &base.remote, version.as_ref()).await,
        };
        let next = match answer {
            Ok(()) | Err(Trouble::Missing(_)) => {
                self.unanswered = 0;
                self.run.count(Where::Remote, Done::Deleted, &base.uid);
                Base {
                    remote: parts_place(&base.uid),
                    version: Some(Version(String::new())),
                    print: String::new(),
                    sent: String::new(),
                    from_there: false,
                    from_here: true,
                    uid_there: None,
                    ..base.clone()
                }
            }
            Err(Trouble::Stale) => Base { split: None, ..base.clone() },
            Err(trouble) => return Err(trouble.into()),
        };
        let gone = next.split.is_some();
        self.keep(next, None, Vec::new()).await?;
        Ok(gone)
    }

    /// Ours is gone and its parts are kept there, as they are or as cancelled.
    async fn keep_parts(&mut self, series: &Base) -> Result<Settled, Halt> {
        let parts = self.ledger.parts_of(&series.uid).await?;
        if parts.is_empty() {
            return self.forget(&series.uid, Vec::new()).await;
        }
        for base in parts.into_iter().filter(|base| base.apart != Some(Apart::There)) {
            match base.is_unplaced() {
                // It may yet be found.
                true if later(base.agreed, AWAITED) > self.now => continue,
                false if base.apart.is_none() => {}
                _ => {
                    self.forget(&base.uid, Vec::new()).await?;
                    continue;
                }
            }
            let mut version = base.version.clone();
            if self.mapping.on_local_delete == OnDelete::Cancel {
                match self.cancel_part(&base).await {
                    Ok(written) => version = written,
                    // Gone there as well.
                    Err(Halt::Far(Trouble::Missing(_))) => {
                        self.forget(&base.uid, Vec::new()).await?;
                        continue;
                    }
                    Err(halt) => return Err(halt),
                }
            }
            let apart = Base { apart: Some(Apart::There), pending: false, missing: None, version, ..base };
            self.keep(apart, None, Vec::new()).await?;
        }
        let apart = Base { apart: Some(Apart::There), ..series.clone() };
        if apart == *series { Ok(Settled::Done) } else { self.keep(apart, None, Vec::new()).await }
    }

    /// Has a part say that it does not take place.
    async fn cancel_part(&mut self, base: &Base) -> Result<Option<Version>, Halt> {
        let calendar = self.mapping.remote.clone();
        let found = self.provider.read(&calendar, std::slice::from_ref(&base.remote)).await?.pop();
        let seen = found.ok_or_else(|| Trouble::Missing("It is gone there as well.".into()))?;
        let there = Ical::parse(seen.bytes.clone())
            .map_err(|_| Trouble::Refused("A day of it there cannot be understood.".into()))?;
        let bytes = self.cancelled_there(&there);
        let slot = Slot::At(base.remote.clone(), seen.version.clone());
        let write = Write { slot, bytes, base: Some(seen.bytes.clone()) };
        match self.provider.put(&calendar, &write).await {
            Ok(written) => {
                self.run.count(Where::Remote, Done::Updated, &base.uid);
                Ok(written.version)
            }
            Err(trouble) => Err(trouble.into()),
        }
    }

    /// Tells what is to be done about the parts of a series.
    async fn compare(&mut self, uid: &str, wish: &Wish, work: &Work) -> Result<Todo, Halt> {
        let nothing = BTreeMap::new();
        let wanted = match wish {
            Wish::Parts(parts, _) => parts,
            Wish::None => &nothing,
        };
        let all = matches!(wish, Wish::None);
        let known = self.ledger.parts_of(uid).await?;
        let mut known: BTreeMap<String, Base> = known.into_iter().map(|b| (b.uid.clone(), b)).collect();
        known.retain(|own, _| !work.failed.contains_key(own));
        let mut todo = Todo::default();
        for (own, ical) in wanted.iter().filter(|(own, _)| !work.failed.contains_key(*own)) {
            match known.remove(own) {
                Some(base) => self.compare_one(base, ical, work, &mut todo).await?,
                None => todo.write.extend(self.new_part(uid, own, ical, work).await?),
            }
        }
        for (own, base) in known {
            let fresh = work.fresh.contains(&own);
            let over = later(base.agreed, AWAITED) <= self.now;
            match base.apart {
                Some(Apart::There) => {}
                Some(Apart::Here) => todo.forget.push(base),
                None if !all && !self.is_within(&base) => {}
                // It may yet be found.
                None if base.is_unplaced() && !over => {}
                None if base.is_unplaced() => todo.forget.push(base),
                None if (base.pending || base.version.is_none()) && !fresh => todo.look.push(base),
                None => todo.remove.push(base),
            }
        }
        Ok(todo)
    }

    /// A part that is not there yet. Nothing: an event with that very UID stands for the day.
    async fn new_part(
        &self,
        whole: &str,
        uid: &str,
        ical: &Ical,
        work: &Work,
    ) -> Result<Option<Wanted>, Halt> {
        if self.ledger.by_uid(uid).await?.is_some() || self.at.by_uid(uid).await?.is_some() {
            return Ok(None);
        }
        let key = part_of(uid).map(|(_, key)| key).unwrap_or_default();
        let base = part_base(uid, whole, key, unplaced(uid))?;
        let base = Base { sent: print::print(ical), uid_there: self.veiled(uid), ..base };
        Ok(Some(Wanted::new(base, ical, work)))
    }

    async fn compare_one(
        &mut self,
        base: Base,
        ical: &Ical,
        work: &Work,
        todo: &mut Todo,
    ) -> Result<(), Halt> {
        let (fresh, instead) = (work.fresh.contains(&base.uid), work.instead.get(&base.uid));
        let sent = print::print(ical);
        let same = instead.is_none() && (base.sent == sent || base.print == sent);
        if base.is_unplaced() {
            todo.write.push(Wanted::new(Base { sent, ..base }, ical, work));
            return Ok(());
        }
        let unread = base.pending || base.print.is_empty();
        let open = unread || base.apart.is_some() || base.fields != Some(self.mapping.fields);
        let narrower = self.mapping.fields == Fields::Busy && base.fields != Some(Fields::Busy);
        match base.apart {
            Some(Apart::Here) => {}
            // It says more than it is to say from now on: another one is made in its place.
            None if narrower && !base.pending && (fresh || base.version.is_some()) => {
                todo.anew = true;
                todo.remove.push(base);
            }
            _ if (open || (base.version.is_none() && !same)) && !fresh => todo.look.push(base),
            // It was looked at, and stays as it is there.
            _ if open || same => {}
            _ => {
                let before = self.ledger.bytes(&base.uid).await?;
                let slot = Slot::At(base.remote.clone(), base.version.clone());
                let Wanted { base, write, text } = Wanted::new(Base { sent, ..base }, ical, work);
                let before = before.map(|before| Pass::addressed(base.uid_there.as_deref(), before));
                todo.write.push(Wanted { base, write: Write { slot, base: before, ..write }, text });
            }
        }
        Ok(())
    }

    /// Remembers that a series is as it is to be, or what of it is not.
    async fn end_series(
        &mut self,
        base: &Base,
        series: Option<Series>,
        wish: Wish,
        work: Work,
    ) -> Result<Settled, Halt> {
        let uid = &base.uid;
        if let Some((reason, retry)) = work.failed.into_values().next() {
            let name = series.map(|series| series.object.meta.name);
            self.fail(uid, name, None, reason, retry);
            return Ok(Settled::Done);
        }
        let left = self.ledger.parts_of(uid).await?;
        let Some(known) = self.ledger.by_uid(uid).await? else { return Ok(Settled::Done) };
        match (wish, series) {
            (Wish::Parts(_, why), Some(series)) => {
                let meta = &series.object.meta;
                let next = Base {
                    name: meta.name.clone(),
                    etag: meta.etag.clone(),
                    fields: Some(self.mapping.fields),
                    split: Some(why),
                    apart: None,
                    agreed: known.agreed,
                    ..known.clone()
                };
                if next == known {
                    Ok(Settled::Done)
                } else {
                    self.keep(Base { agreed: self.now, ..next }, None, Vec::new()).await
                }
            }
            // It can be one object again. What was announced and never found is none of it.
            (_, Some(_)) if left.iter().all(Base::is_unplaced) => {
                for part in left {
                    self.forget(&part.uid, Vec::new()).await?;
                }
                self.forget(uid, Vec::new()).await?;
                Ok(Settled::Again)
            }
            (_, None) if left.is_empty() => self.forget(uid, Vec::new()).await,
            _ => Ok(Settled::Done),
        }
    }

    /// A part that has only left the window is not removed.
    fn is_within(&self, base: &Base) -> bool {
        let at = base.part.as_ref().and_then(|(_, key)| Civil::parse(key.trim_end_matches('Z')));
        let Some(at) = at else { return true };
        self.window.from.is_none_or(|from| at.0 >= from.saturating_sub(DAY))
            && self.window.to.is_none_or(|to| at.0 < to.saturating_add(DAY))
    }
}

//! Objects that a far side can hold only as several ones.
//!
//! Owns: writing the parts of a series, knowing them again, what becomes of the series when somebody moves or removes a
//! part there. Does not own: taking a series apart (`apart`, `Provider::fit`).
//!
//! A series in parts has a base of its own, without a place there, and one for each part. Parts are never events of ours:
//! an edit of one becomes an exception of the series, its removal a day that is left out (S4-051, S4-052).

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use super::apart;
use super::apply::{Facts, Settled};
use super::print;
use super::provider::{Part, RemoteId, Seen, Slot, Trouble, Version, Window, Write};
use super::record::{Base, Direction, OnDelete};
use super::run::{Halt, Pass, Retry};
use super::scope::{Held, with_uid};
use crate::calendar::{Put, Refusal, When};
use crate::ical::merge::carry;
use crate::ical::value::{Civil, DateTime, date_time};
use crate::ical::zone::{Zone, Zones};
use crate::ical::{Component, Ical};
use crate::store::{Etag, Name, Object, Op};

/// Between the UID of a series and the name of a part.
const MARK: &str = "#part-";
const DAY: i64 = 86_400;

/// Returns the UID that a part has on the far side.
pub(super) fn part_uid(uid: &str, key: &str) -> String {
    format!("{uid}{MARK}{key}")
}

/// Returns the series and the name of the part that a UID is of.
pub(super) fn part_of(uid: &str) -> Option<(&str, &str)> {
    uid.rsplit_once(MARK)
}

/// A part that is to be written.
struct Wanted {
    base: Base,
    write: Write,
    text: Bytes,
}

impl Pass {
    /// Carries an object over that the far side holds as several ones only.
    pub(super) async fn settle_parts(
        &mut self,
        uid: &str,
        facts: &Facts,
        parts: Vec<Part>,
        sentence: String,
    ) -> Result<Settled, Halt> {
        let (Some(name), Some(etag)) = (facts.name().cloned(), facts.etag().cloned()) else {
            return Ok(Settled::Again);
        };
        if let Some(whole) = facts.base.as_ref().filter(|base| base.split.is_none()) {
            // It was one object there until now.
            if !self.remove_there(&whole.clone()).await? {
                return Ok(Settled::Again);
            }
        }
        let keys: BTreeMap<String, Part> =
            parts.into_iter().map(|part| (part_uid(uid, &part.key), part)).collect();
        for base in self.ledger.parts_of(uid).await? {
            let stays = keys.contains_key(&base.uid) || !self.is_within(&base);
            if !stays {
                self.remove_there(&base).await?;
            }
        }
        let mut wanted = Vec::new();
        for (own, part) in keys {
            wanted.extend(self.wanted(uid, &own, part).await?);
        }
        let batch = self.provider.abilities().batch.max(1);
        let mut failed = None;
        while !wanted.is_empty() {
            let rest = wanted.split_off(wanted.len().min(batch));
            let chunk = std::mem::replace(&mut wanted, rest);
            failed = self.write_parts(chunk).await?.or(failed);
        }
        if let Some(reason) = failed {
            self.fail(uid, Some(name), None, reason, Retry::Soon);
            return Ok(Settled::Done);
        }
        let base = Base {
            version: Some(Version(String::new())),
            fields: Some(self.mapping.fields),
            agreed: self.now,
            split: Some(sentence),
            from_here: true,
            ..Base::new(uid, name, etag, RemoteId(format!("parts:{uid}")))
        };
        if self.ledger.by_uid(uid).await?.as_ref() == Some(&base) {
            return Ok(Settled::Done);
        }
        self.keep(base, None, Vec::new()).await
    }

    /// Deals with a series that is there in parts.
    pub(super) async fn settle_split(&mut self, uid: &str, facts: &Facts) -> Result<Settled, Halt> {
        if self.mapping.direction == Direction::Pull {
            return Ok(Settled::Done);
        }
        let held = facts.fitted.as_ref().map(|fitted| fitted.held.clone());
        match held {
            Some(Held::Parts(parts, why)) => self.settle_parts(uid, facts, parts, why).await,
            Some(Held::Refused(why)) => {
                self.fail(uid, facts.name().cloned(), None, why, Retry::OnChange);
                Ok(Settled::Done)
            }
            Some(Held::Whole) => {
                self.remove_parts(uid, OnDelete::Trash).await?;
                Ok(Settled::Again)
            }
            None => {
                self.remove_parts(uid, self.mapping.on_local_delete).await?;
                Ok(Settled::Done)
            }
        }
    }

    /// Deals with a part that changed on the far side, or that is gone there (nothing). `uid` is that of the part's
    /// base.
    pub(super) async fn part_there(&mut self, uid: &str, seen: Option<Seen>) -> Result<(), Halt> {
        let Some(base) = self.ledger.by_uid(uid).await? else { return Ok(()) };
        let Some((whole, key)) = base.part.clone() else { return Ok(()) };
        let theirs = match seen {
            Some(seen) => match Ical::parse(seen.bytes.clone()) {
                Ok(ical) => Some((seen, Arc::new(ical))),
                Err(_) => return Ok(()),
            },
            None => None,
        };
        let next = match &theirs {
            Some((seen, ical)) => {
                let next = self.agreed_base(base.clone(), seen, ical);
                // What was written and never read back is what it is.
                if next.print == base.print || base.print.is_empty() {
                    if next.print != base.print || next.version != base.version {
                        self.keep(next, Some(seen.bytes.clone()), Vec::new()).await?;
                    }
                    return Ok(());
                }
                Some((next, seen.bytes.clone()))
            }
            None => None,
        };
        let pulls = self.mapping.direction != Direction::Push
            && (theirs.is_some() || self.mapping.on_remote_delete != OnDelete::Keep);
        let ours = match self.at.by_uid(&whole).await? {
            Some(name) => self.at.object(name.as_str()).await?,
            None => None,
        };
        let told = theirs.as_ref().map(|(_, ical)| ical);
        let edited = match &ours {
            Some(object) if pulls => self.folded(object, &base, &key, told).await?,
            _ => None,
        };
        let mut ops = match next {
            Some((next, bytes)) => {
                // What the series does not take up is written again.
                let sent = if edited.is_some() { next.print.clone() } else { String::new() };
                let next = Base { sent, ..next };
                self.ledger.put(&next, Some(bytes)).await?
            }
            None => self.ledger.delete(uid).await?,
        };
        let (Some(object), Some(bytes)) = (ours, edited) else {
            self.once_more.insert(whole);
            return self.remember(Vec::new(), ops).await;
        };
        if let Some(series) = self.ledger.by_uid(&whole).await?.filter(|b| b.split.is_some()) {
            let series = Base { etag: Etag::of(&bytes), ..series };
            ops.extend(self.ledger.put(&series, None).await?);
        }
        self.store_series(&whole, &object, bytes, ops).await
    }

    /// Takes an object of the far side for the part that its UID says it is. False: it says no such thing.
    pub(super) async fn adopt_part(
        &mut self,
        uid: &str,
        seen: &Seen,
        ical: &Arc<Ical>,
    ) -> Result<bool, Halt> {
        let Some((whole, key)) = part_of(uid) else { return Ok(false) };
        if self.ledger.by_uid(uid).await?.is_some() || self.at.by_uid(whole).await?.is_none() {
            return Ok(false);
        }
        let base = part_base(uid, whole, key, seen.id.clone())?;
        let base = self.agreed_base(base, seen, ical);
        self.once_more.insert(whole.to_owned());
        self.keep(base, Some(seen.bytes.clone()), Vec::new()).await?;
        Ok(true)
    }

    /// A part that has only left the window is not removed.
    fn is_within(&self, base: &Base) -> bool {
        let at = base.part.as_ref().and_then(|(_, key)| Civil::parse(key.trim_end_matches('Z')));
        let Some(at) = at else { return true };
        self.window.from.is_none_or(|from| at.0 >= from.saturating_sub(DAY))
            && self.window.to.is_none_or(|to| at.0 < to.saturating_add(DAY))
    }

    /// Returns the write that a part needs; nothing: it is there already.
    async fn wanted(&self, whole: &str, uid: &str, part: Part) -> Result<Option<Wanted>, Halt> {
        let Ok(ical) = Ical::parse(part.bytes) else { return Ok(None) };
        let there = self.veiled(uid).unwrap_or_else(|| uid.to_owned());
        let text = with_uid(&ical, &there);
        let sent = Ical::parse(text.clone()).map(|ical| print::print(&ical)).unwrap_or_default();
        let (base, slot, before) = match self.ledger.by_uid(uid).await? {
            Some(base) if base.sent == sent || base.print == sent => return Ok(None),
            Some(base) => {
                let before = self.ledger.bytes(uid).await?;
                let slot = Slot::At(base.remote.clone(), base.version.clone());
                (base, slot, before)
            }
            None => {
                let base = part_base(uid, whole, &part.key, RemoteId(String::new()))?;
                (base, Slot::New { uid: there }, None)
            }
        };
        let write = Write { slot, bytes: text.clone(), base: before };
        Ok(Some(Wanted { base: Base { sent, ..base }, write, text }))
    }

    /// Writes parts and remembers what became of each. Returns why one could not be written.
    async fn write_parts(&mut self, chunk: Vec<Wanted>) -> Result<Option<String>, Halt> {
        let writes: Vec<Write> = chunk.iter().map(|wanted| wanted.write.clone()).collect();
        let calendar = self.mapping.remote.clone();
        let answers = Arc::clone(&self.provider).put_all(&calendar, &writes).await;
        let (mut failed, mut halt) = (None, None);
        for (wanted, answer) in chunk.into_iter().zip(answers) {
            let new = matches!(wanted.write.slot, Slot::New { .. });
            let mut stale = false;
            let id = match answer {
                Ok(written) => {
                    let counts = &mut self.run.remote;
                    let count = if new { &mut counts.inserted } else { &mut counts.updated };
                    *count = count.saturating_add(1);
                    written.id
                }
                // A first attempt got through: it is known from now on, and brought up to date the next time.
                Err(Trouble::Taken(Some(id))) => {
                    stale = true;
                    id
                }
                Err(Trouble::Missing(_) | Trouble::Stale) => {
                    let uid = wanted.base.uid.clone();
                    self.remember(Vec::new(), self.ledger.delete(&uid).await?).await?;
                    failed =
                        Some("A part of it changed on the far side meanwhile; it is tried again.".into());
                    continue;
                }
                Err(trouble @ (Trouble::Refused(_) | Trouble::Taken(None))) => {
                    failed = Some(trouble.to_string());
                    continue;
                }
                Err(trouble) => {
                    halt = halt.or(Some(trouble));
                    continue;
                }
            };
            // It is there: that is remembered whatever becomes of reading it back, or a pass that is cut off here again
            // and again would write the same part each time.
            let found = match halt {
                None => self.provider.read(&calendar, std::slice::from_ref(&id)).await,
                Some(_) => Ok(Vec::new()),
            };
            let found = match found {
                Ok(mut found) => found.pop(),
                Err(trouble) => {
                    halt = Some(trouble);
                    None
                }
            };
            let sent = if stale { String::new() } else { wanted.base.sent.clone() };
            if let (true, Some((whole, _))) = (stale, &wanted.base.part) {
                self.once_more.insert(whole.clone());
            }
            let base = Base { remote: id, sent, ..wanted.base };
            let (base, bytes) =
                match found.and_then(|seen| Some((Ical::parse(seen.bytes.clone()).ok()?, seen))) {
                    Some((ical, seen)) => (self.agreed_base(base, &seen, &Arc::new(ical)), seen.bytes),
                    None => (base, wanted.text),
                };
            self.keep(base, Some(bytes), Vec::new()).await?;
        }
        match halt {
            Some(trouble) => Err(trouble.into()),
            None => Ok(failed),
        }
    }

    /// Removes an object there. False: somebody changed it since; it is looked at first.
    async fn remove_there(&mut self, base: &Base) -> Result<bool, Halt> {
        match self.provider.delete(&self.mapping.remote, &base.remote, base.version.as_ref()).await {
            Ok(()) | Err(Trouble::Missing(_)) => {}
            Err(Trouble::Stale) => {
                let whole = base.part.as_ref().map_or(&base.uid, |(whole, _)| whole);
                self.once_more.insert(whole.clone());
                return Ok(false);
            }
            Err(trouble) => return Err(trouble.into()),
        }
        self.run.remote.deleted = self.run.remote.deleted.saturating_add(1);
        self.remember(Vec::new(), self.ledger.delete(&base.uid).await?).await?;
        Ok(true)
    }

    /// Forgets a series in parts, and removes them there unless they are to be kept.
    async fn remove_parts(&mut self, uid: &str, how: OnDelete) -> Result<(), Halt> {
        for base in self.ledger.parts_of(uid).await? {
            if how == OnDelete::Keep {
                self.remember(Vec::new(), self.ledger.delete(&base.uid).await?).await?;
            } else {
                self.remove_there(&base).await?;
            }
        }
        self.remember(Vec::new(), self.ledger.delete(uid).await?).await?;
        Ok(())
    }

    /// Returns our series with what became of one of its instances there: an exception, or a day left out. Nothing: the
    /// part is no instance of it.
    async fn folded(
        &self,
        object: &Object,
        base: &Base,
        key: &str,
        theirs: Option<&Arc<Ical>>,
    ) -> Result<Option<Bytes>, Halt> {
        let Ok(ours) = Ical::parse(object.bytes.clone()) else { return Ok(None) };
        let Some(at) = Civil::parse(key.trim_end_matches('Z')) else { return Ok(None) };
        let Some(theirs) = theirs else { return Ok(left_out(&ours, at, key)) };
        let near = Window { from: Some(at.0 - 2 * DAY), to: Some(at.0 + 2 * DAY), now: at.0 };
        let parts = apart::instances(&ours, near, &Zone::Utc).unwrap_or_default();
        let Some(own) = parts.into_iter().find(|part| part.key == key) else { return Ok(None) };
        let Ok(own) = Ical::parse(own.bytes) else { return Ok(None) };
        let agreed = self.ledger.bytes(&base.uid).await?;
        let Some(agreed) = agreed.and_then(|bytes| Ical::parse(bytes).ok()) else { return Ok(None) };
        let (before, after) = (self.shaped(&Arc::new(agreed)), self.shaped(theirs));
        // UIDs differ and say nothing here.
        let uid = base.part.as_ref().map(|(whole, _)| whole.as_str()).unwrap_or_default();
        let named = |ical: &Ical| Ical::parse(with_uid(ical, uid));
        let (Ok(before), Ok(after)) = (named(&before), named(&after)) else { return Ok(None) };
        Ok(excepted(&ours, at, key, &carry(&before, &after, &own)))
    }

    async fn store_series(
        &mut self,
        uid: &str,
        object: &Object,
        bytes: Bytes,
        with: Vec<Op>,
    ) -> Result<(), Halt> {
        let etag = object.meta.etag.clone();
        let when = When::holds(move |meta| match meta {
            Some(meta) if meta.etag == etag => Ok(()),
            _ => Err(Refusal::Stale),
        });
        let name = object.meta.name.clone();
        let put = Put { name: &name, bytes, content_type: None, when, with };
        match self.session.put(&self.at, put).await {
            Ok(_) => {
                self.run.local.updated = self.run.local.updated.saturating_add(1);
                Ok(())
            }
            Err(error) => {
                let reason = format!("A change of a single day could not be stored here: {error:?}");
                self.fail(uid, Some(name), None, reason, Retry::Soon);
                Ok(())
            }
        }
    }
}

fn part_base(uid: &str, whole: &str, key: &str, remote: RemoteId) -> Result<Base, Halt> {
    let name = Name::new(format!("part-{}", print::digest(uid.as_bytes())));
    let name = name.ok_or_else(|| crate::store::Fault::Broken("a digest is no name".into()))?;
    let part = Some((whole.to_owned(), key.to_owned()));
    Ok(Base { part, from_here: true, ..Base::new(uid, name, Etag(String::new()), remote) })
}

fn master(ical: &Ical) -> Option<Component<'_>> {
    let calendar = ical.calendar()?;
    calendar.components().find(|c| c.name() != "VTIMEZONE" && c.property("RECURRENCE-ID").is_none())
}

/// Writes a place in a series the way the series writes its start (RFC 5545 §3.8.4.4, §3.8.5.1: the same type).
fn line(name: &str, ical: &Ical, at: Civil, key: &str) -> Option<String> {
    let start = master(ical)?.property("DTSTART")?;
    Some(match date_time(&start)? {
        DateTime::Date(_) => format!("{name};VALUE=DATE:{}", at.to_date()),
        DateTime::Zoned(_, tzid) if key.ends_with('Z') => {
            let local = Zones::of(ical).zone(&tzid)?.to_civil(at.0);
            format!("{name};TZID={}:{}", crate::ical::quote_parameter(&tzid), local.to_basic())
        }
        _ => format!("{name}:{key}"),
    })
}

/// The component that stands for that instance already.
fn exception<'a>(ical: &'a Ical, at: Civil) -> Option<Component<'a>> {
    let zones = Zones::of(ical);
    let instant = |time: DateTime| match time {
        DateTime::Zoned(civil, tzid) => zones.zone(&tzid).map_or(civil.0, |zone| zone.to_instant(civil)),
        other => other.civil().0,
    };
    let same = |c: &Component<'a>| {
        c.property("RECURRENCE-ID").and_then(|id| date_time(&id)).is_some_and(|id| instant(id) == at.0)
    };
    ical.calendar()?.components().find(same)
}

fn left_out(ours: &Ical, at: Civil, key: &str) -> Option<Bytes> {
    let series = master(ours)?;
    let mut edit = ours.edit();
    if let Some(old) = exception(ours, at) {
        edit = edit.remove_component(old);
    }
    Some(edit.insert(series, &line("EXDATE", ours, at, key)?).finish())
}

fn excepted(ours: &Ical, at: Civil, key: &str, instance: &Bytes) -> Option<Bytes> {
    let instance = Ical::parse(instance.clone()).ok()?;
    let own = instance.calendar()?.components().find(|c| c.name() != "VTIMEZONE")?;
    let with = instance.edit().insert(own, &line("RECURRENCE-ID", ours, at, key)?).finish();
    let with = Ical::parse(with).ok()?;
    let own = with.calendar()?.components().find(|c| c.name() != "VTIMEZONE")?;
    let text = String::from_utf8_lossy(with.bytes().get(own.span())?).into_owned();
    let calendar = ours.calendar()?;
    let edit = match exception(ours, at) {
        Some(old) => ours.edit().replace_component(old, &text),
        None => ours.edit().append_component(calendar, &text),
    };
    Some(edit.finish())
}

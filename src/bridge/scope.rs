//! What of both sides a mapping compares: projections of their texts, the window, the filters, whose UID it is.
//!
//! Owns: turning a text into what is compared and what is sent, and back. Does not own: what a preset or a filter lets
//! through (`shape`), what a far side can hold (`provider`), what is done about a difference (`plan`).

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use super::apply::Facts;
use super::fold::part_of;
use super::plan::{Side as Compared, Version, Will};
use super::print;
use super::provider::{Fit, Part, Seen, Window};
use super::record::{Base, Fields, Mapping, Reach, Side};
use super::run::{Far, Halt, Pass, uid_of};
use super::shape;
use crate::calendar::zone_of;
use crate::ical::merge;
use crate::ical::series::Series;
use crate::ical::{Ical, Property};
use crate::store::{Etag, Fault, Name, Properties, Span, Timestamp};

/// Seconds of a day.
const DAY: i64 = 86_400;

/// Our text as the mapping would have the far side hold it.
#[derive(Debug)]
pub(super) struct Fitted {
    /// The text; where the far side cannot hold it, what the mapping carries of it.
    pub(super) ical: Arc<Ical>,
    /// Whether the far side can hold it.
    pub(super) held: Held,
}

/// Whether a far side can hold a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Held {
    /// As one object.
    Whole,
    /// As several, with the reason.
    Parts(Vec<Part>, String),
    /// Not at all, with the reason.
    Refused(String),
}

impl Fitted {
    /// Returns the digest that later tells whether ours changed; empty if the far side does not hold it whole.
    pub(super) fn print(&self) -> String {
        match self.held {
            Held::Whole => print::print(&self.ical),
            Held::Parts(..) | Held::Refused(_) => String::new(),
        }
    }
}

/// Why an object that neither side knows of yet is left alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outside {
    /// It takes place outside the window.
    Window,
    /// The filters do not let it through.
    Filters,
}

impl Outside {
    /// Returns why it is left alone, as people are told.
    pub(super) fn why(self) -> &'static str {
        match self {
            Outside::Window => "It takes place outside the time that is kept in step.",
            Outside::Filters => "The filters do not let it through.",
        }
    }
}

impl Pass {
    /// Returns what the mapping would have the far side hold of our text.
    pub(super) fn fitted(&self, ours: &Arc<Ical>) -> Fitted {
        let shaped = self.shaped(ours);
        let (ical, held) = match self.provider.fit(&self.zoned(&shaped), self.window) {
            Fit::Whole(bytes) => (parsed(bytes, &shaped), Held::Whole),
            Fit::Parts(parts, why) => (shaped, Held::Parts(parts, why)),
            Fit::Refused(why) => (shaped, Held::Refused(why)),
        };
        Fitted { ical, held }
    }

    /// Returns the text with the zone of its times that name none, where the far side needs one.
    fn zoned(&self, shaped: &Arc<Ical>) -> Arc<Ical> {
        let (Some(home), Some(calendar)) = (&self.home, shaped.calendar()) else { return Arc::clone(shaped) };
        let floats = |property: &Property<'_>| {
            let raw = property.raw();
            raw.contains('T') && !raw.trim().ends_with('Z') && property.parameter("TZID").is_none()
        };
        let any = calendar.components().filter(|c| c.name() != "VTIMEZONE").any(|c| {
            ["DTSTART", "DTEND"].iter().any(|name| c.property(name).is_some_and(|property| floats(&property)))
        });
        if !any || calendar.property("X-WR-TIMEZONE").is_some() {
            return Arc::clone(shaped);
        }
        parsed(shaped.edit().insert(calendar, &format!("X-WR-TIMEZONE:{home}")).finish(), shaped)
    }

    /// Returns the zone of times that name none: the calendar's own, else the one that most of its owner's name.
    pub(super) async fn own_zone(&self) -> Result<Option<String>, Halt> {
        let named = |properties: &Properties| {
            let zone = zone_of(properties)?;
            zone.name().map(str::to_owned)
        };
        if let Some(own) = named(&self.at.collection().properties) {
            return Ok(Some(own));
        }
        let mut others: BTreeMap<String, usize> = BTreeMap::new();
        for other in self.session.home().await?.children().await? {
            if let Some(name) = named(&other.collection().properties) {
                *others.entry(name).or_default() += 1;
            }
        }
        Ok(others.into_iter().max_by_key(|(_, count)| *count).map(|(name, _)| name))
    }

    /// Returns what the mapping carries of a text.
    pub(super) fn shaped(&self, whole: &Arc<Ical>) -> Arc<Ical> {
        shaped(self.mapping.fields, whole)
    }

    /// Returns the digest of what the far side would hold of these bytes of ours; empty if it would not.
    pub(super) fn sent_print(&self, ours: &Bytes) -> String {
        match Ical::parse(ours.clone()) {
            Ok(ical) => self.fitted(&Arc::new(ical)).print(),
            Err(_) => String::new(),
        }
    }

    /// Returns a base that says where the object is on both sides and keeps what is to be kept of the one before.
    pub(super) fn next_base(
        &self,
        facts: &Facts,
        uid: &str,
        name: &Name,
        etag: &Etag,
        seen: &super::provider::RemoteId,
    ) -> Base {
        let fresh = Base::new(uid, name.clone(), etag.clone(), seen.clone());
        let uid_there = facts.uid_there.clone();
        let fresh = Base { fields: Some(self.mapping.fields), agreed: self.now, uid_there, ..fresh };
        match &facts.base {
            Some(before) => Base {
                from_there: before.from_there,
                from_here: before.from_here,
                part: before.part.clone(),
                writes: before.writes.clone(),
                ..fresh
            },
            None => fresh,
        }
    }

    /// Returns the base with the far side's state and content as they were read.
    pub(super) fn agreed_base(&self, base: Base, seen: &Seen, theirs: &Arc<Ical>) -> Base {
        let span = Series::of(theirs).span().map(|extent| (extent.start, extent.end));
        Base {
            version: seen.version.clone(),
            print: print::print(&self.shaped(theirs)),
            fields: Some(self.mapping.fields),
            span,
            agreed: self.now,
            ..base
        }
    }

    /// Returns an object that was read, with its UID and its content, both as they are called here.
    ///
    /// Inner error: it cannot be dealt with, in words.
    pub(super) async fn named(
        &self,
        seen: Seen,
    ) -> Result<Result<(String, Seen, Arc<Ical>), (Seen, String)>, Fault> {
        let (uid, ical) = match uid_of(&seen) {
            Ok(found) => found,
            Err(reason) => return Ok(Err((seen, reason))),
        };
        let base = self.ledger.by_remote(&seen.id).await?;
        let known = base.filter(|base| base.uid != uid && base.uid_there.as_deref() == Some(uid.as_str()));
        let mut ours = known.map(|base| base.uid);
        if ours.is_none() && self.mapping.fields == Fields::Busy {
            ours = self.unveiled(&uid).await?;
            if let Some(part) = ours.clone().filter(|ours| part_of(ours).is_some()) {
                // Parts keep the text that they have there.
                return Ok(Ok((part, seen, Arc::new(ical))));
            }
            ours.iter().for_each(|uid| self.saw_veiled(uid));
        }
        Ok(Ok(match ours {
            Some(ours) => {
                let bytes = with_uid(&ical, &ours);
                let ical = parsed(bytes.clone(), &Arc::new(ical));
                (ours, Seen { bytes, ..seen }, ical)
            }
            None => (uid, seen, Arc::new(ical)),
        }))
    }

    /// Returns a text of ours as it is to be sent: with the UID that the object has there.
    pub(super) fn addressed(uid_there: Option<&str>, bytes: Bytes) -> Bytes {
        match uid_there {
            Some(theirs) => match Ical::parse(bytes.clone()) {
                Ok(ical) => with_uid(&ical, theirs),
                Err(_) => bytes,
            },
            None => bytes,
        }
    }

    /// Tells why an object that was never agreed on is left alone; nothing: it is carried.
    pub(super) fn outside(&self, facts: &Facts) -> Option<Outside> {
        let theirs = match &facts.far {
            Far::Seen(_, ical) => Some(ical),
            Far::Absent | Far::Same => None,
        };
        let sides = [facts.ours.as_ref(), theirs];
        let mut sides = sides.into_iter().flatten().peekable();
        sides.peek()?;
        let sides: Vec<&Arc<Ical>> = sides.collect();
        if !sides.iter().any(|ical| shape::in_window(ical, self.window)) {
            return Some(Outside::Window);
        }
        // A copy of ours that says only that somebody is busy is what ours is.
        let copy = |ical: &Arc<Ical>| {
            facts.uid_there.is_some() && theirs.is_some_and(|theirs| Arc::ptr_eq(theirs, ical))
        };
        let judged = sides.iter().filter(|ical| facts.ours.is_none() || !copy(ical));
        let passes = judged.into_iter().all(|ical| shape::passes(&self.mapping.filters, ical));
        (!passes).then_some(Outside::Filters)
    }

    /// Returns what the mapping says of an object.
    pub(super) fn will(&self, base: Option<&Base>) -> Will<'_> {
        let origin = match base {
            Some(base) if base.from_there => Some(Side::External),
            Some(base) if base.from_here => Some(Side::Local),
            _ => None,
        };
        let Mapping { policy, rules, only, .. } = &*self.mapping;
        let unfinished = base.is_some_and(|base| base.begun.is_some());
        Will { policy: *policy, rules, only, origin, now: self.now.seconds(), unfinished }
    }

    /// Tells whether a listing of the window has to name the object, if it is there. A day at either end is left to the
    /// far side: whole days and zones are read differently.
    pub(super) fn must_be_listed(&self, base: &Base) -> bool {
        let Some((start, end)) = base.span else { return true };
        let begun = self.window.to.is_none_or(|to| start < to.saturating_sub(DAY));
        let open = self.window.from.is_none_or(|from| end.is_none_or(|end| end > from.saturating_add(DAY)));
        begun && open
    }

    /// Returns what both sides, as the far side is to hold it, come to in the far side's whole text.
    pub(super) fn whole_there(&self, facts: &Facts, target: Bytes) -> Bytes {
        if self.mapping.fields == Fields::Full {
            return target;
        }
        let (whole, from) = match (&facts.far, &facts.theirs) {
            (Far::Seen(_, whole), Some(shaped)) => (Some(whole), Some(shaped)),
            (Far::Same, _) => (facts.agreed.as_ref(), facts.before.as_ref()),
            _ => (None, None),
        };
        match (whole, from) {
            (Some(whole), Some(from)) => edited(from, whole, &target),
            _ => target,
        }
    }

    /// Returns our whole text, edited so that what the mapping carries of it becomes the target.
    pub(super) fn whole_here(facts: &Facts, target: Bytes) -> Bytes {
        match (&facts.ours, &facts.fitted) {
            (Some(ours), Some(fitted)) if fitted.ical.bytes() != ours.bytes() => {
                edited(&fitted.ical, ours, &target)
            }
            _ => target,
        }
    }
}

/// Returns our side of an object, compared with what was agreed.
pub(super) fn ours(facts: &Facts) -> Compared<'_> {
    let (Some(object), Some(fitted)) = (&facts.object, &facts.fitted) else { return Compared::Absent };
    let same = facts.agreed.is_some()
        && facts.base.as_ref().is_some_and(|base| {
            let print = fitted.print();
            // What somebody still works on is not removed, even if the far side could never hold what they changed.
            let gone = matches!(facts.far, Far::Absent);
            let alike = !gone && !print.is_empty() && print == base.sent;
            (base.etag == object.meta.etag && !facts.reshaped) || alike
        });
    let version = Version { ical: &fitted.ical, stored: Some(object.meta.modified.seconds()) };
    if same { Compared::Same } else { Compared::Changed(version) }
}

/// Returns the far side of an object, compared with what was agreed.
pub(super) fn theirs(facts: &Facts) -> Compared<'_> {
    let (seen, ical) = match (&facts.far, &facts.theirs) {
        (Far::Seen(seen, _), Some(theirs)) => (seen, theirs),
        (Far::Same, _) => return Compared::Same,
        _ => return Compared::Absent,
    };
    let agreed = facts.agreed.is_some();
    let same = facts.base.as_ref().is_some_and(|base| agreed && base.print == print::print(ical));
    if same { Compared::Same } else { Compared::Changed(Version { ical, stored: seen.modified }) }
}

/// Returns what a preset carries of a text.
pub(super) fn shaped(fields: Fields, whole: &Arc<Ical>) -> Arc<Ical> {
    parsed(shape::project(fields, whole), whole)
}

fn parsed(bytes: Bytes, whole: &Arc<Ical>) -> Arc<Ical> {
    if bytes == whole.bytes() {
        return Arc::clone(whole);
    }
    Ical::parse(bytes).map_or_else(|_| Arc::clone(whole), Arc::new)
}

/// Returns the whole text with what differs between two partial views of it.
pub(super) fn edited(from: &Ical, whole: &Ical, target: &Bytes) -> Bytes {
    let Ok(to) = Ical::parse(target.clone()) else { return target.clone() };
    if from.bytes() == to.bytes() {
        return whole.bytes().clone();
    }
    merge::carry(from, &to, whole)
}

/// Returns the text with another UID in each of its components.
pub(super) fn with_uid(ical: &Ical, uid: &str) -> Bytes {
    let Some(calendar) = ical.calendar() else { return ical.bytes().clone() };
    let mut edit = ical.edit();
    for component in calendar.components().filter(|component| component.name() != "VTIMEZONE") {
        if let Some(own) = component.property("UID") {
            edit = edit.replace(own, &format!("UID:{uid}"));
        }
    }
    edit.finish()
}

/// Returns the span of time that a mapping looks at; whole days, so that it stays the same for one.
pub(super) fn window(mapping: &Mapping, past: Reach, future: Reach, now: Timestamp) -> Window {
    let now = now.seconds();
    let today = now.div_euclid(DAY).saturating_mul(DAY);
    let days = |reach: Option<Reach>, otherwise: Reach| match reach.unwrap_or(otherwise) {
        Reach::All => None,
        Reach::Days(days) => Some(i64::from(days).saturating_mul(DAY)),
    };
    Window {
        from: days(mapping.window_past, past).map(|days| today.saturating_sub(days)),
        to: days(mapping.window_future, future).map(|days| today.saturating_add(days).saturating_add(DAY)),
        now,
    }
}

/// Tells whether an object may take place within the window, by what the store knows of it.
pub(super) fn spans(span: Option<Span>, window: Window) -> bool {
    let Some(span) = span else { return true };
    window.to.is_none_or(|to| span.start < to)
        && window.from.is_none_or(|from| span.end.is_none_or(|end| end > from))
}

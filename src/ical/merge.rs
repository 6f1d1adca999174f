//! Three-way merge by property: our text, edited with what the other side changed since both agreed.
//!
//! Owns: which changes go together, what clashes. Does not own: who wins a clash (`bridge::plan`).
//!
//! Our bytes stay wherever the other side changed nothing: what it cannot hold (private properties, a second alarm)
//! is never lost to a poorer copy.

mod left;
mod says;

use std::collections::BTreeSet;

use bytes::Bytes;

use super::tree::Edit;
use super::{Component, Ical, Property};
pub use left::{lacks, left_behind};
use says::{Element, all_say, children, children_say, elements, is_list, is_set, names, same};

/// What came of a merge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Merged {
    /// Both sides' changes are in it. Equal to our bytes if the other side changed nothing.
    Clean(Bytes),
    /// Some properties were changed on both sides; there, the text holds ours, or what was wished.
    Conflict {
        /// Everything that did not clash, merged.
        merged: Bytes,
        /// What clashed, in words: `SUMMARY`, `time and recurrence`, `the instance of 20260102T090000Z`.
        clashes: Vec<String>,
    },
}

impl Merged {
    /// Returns the text, whatever clashed.
    pub fn bytes(&self) -> &Bytes {
        match self {
            Merged::Clean(bytes) | Merged::Conflict { merged: bytes, .. } => bytes,
        }
    }
}

/// Whose word counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    /// That of the text which is edited.
    Ours,
    /// That of the other one.
    Theirs,
}

/// How a merge is to end where it is not plain.
pub struct Wish<'a> {
    /// Whose word counts where both sides changed the same thing.
    pub clash: Whose,
    /// Whose word counts for a property of this name whatever anybody changed; nothing: it is merged.
    pub forced: &'a dyn Fn(&str) -> Option<Whose>,
    /// Times, recurrence, status and which instances there are stay as they are in our text.
    pub keep_times: bool,
}

impl std::fmt::Debug for Wish<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wish").field("clash", &self.clash).finish_non_exhaustive()
    }
}

impl Wish<'static> {
    /// Returns the wish that one side's word counts where both changed the same thing.
    pub fn favouring(clash: Whose) -> Wish<'static> {
        Wish { clash, forced: &|_| None, keep_times: false }
    }
}

/// Times, recurrence and status: one change of one of them is a change of all (an event moved here and cancelled
/// there is a clash).
const TIME: [&str; 9] =
    ["DTSTART", "DTEND", "DUE", "DURATION", "RRULE", "RDATE", "EXDATE", "EXRULE", "STATUS"];

/// Merges. The three texts are objects of one UID; a base without components stands for "never agreed".
///
/// What changed on one side only is taken; sets (ATTENDEE, EXDATE, CATEGORIES …) are merged element by element, an
/// attendee even parameter by parameter; times, recurrence and status go as one. DTSTAMP, LAST-MODIFIED and SEQUENCE
/// never clash: the later one stays.
pub fn merge(base: &Ical, ours: &Ical, theirs: &Ical) -> Merged {
    merge_as(base, ours, theirs, &Wish::favouring(Whose::Ours))
}

/// Merges as `merge` does, and where it is not plain, as is wished.
pub fn merge_as(base: &Ical, ours: &Ical, theirs: &Ical, wish: &Wish<'_>) -> Merged {
    work(base, ours, theirs, wish, false)
}

/// Does to a text what makes `from` become `to`; what neither of them says stays as it is.
pub fn carry(from: &Ical, to: &Ical, onto: &Ical) -> Bytes {
    work(from, onto, to, &Wish::favouring(Whose::Theirs), true).bytes().clone()
}

/// Tells whether two objects take place at the same times: the same instances with the same times, rules and status.
pub fn same_times(one: &Ical, other: &Ical) -> bool {
    let (one, other) = (says::components(one.calendar()), says::components(other.calendar()));
    let alike = |a: &Component<'_>, b: &Component<'_>| {
        TIME.iter().all(|name| all_say(Some(*a), name) == all_say(Some(*b), name))
    };
    one.len() == other.len() && one.iter().all(|(key, a)| other.get(key).is_some_and(|b| alike(a, b)))
}

fn work(base: &Ical, ours: &Ical, theirs: &Ical, wish: &Wish<'_>, carries: bool) -> Merged {
    let (Some(our_calendar), Some(their_calendar)) = (ours.calendar(), theirs.calendar()) else {
        return Merged::Clean(ours.bytes().clone());
    };
    let base_parts = says::components(base.calendar());
    let our_parts = says::components(Some(our_calendar));
    let their_parts = says::components(Some(their_calendar));
    let mut work = Work {
        edit: Some(ours.edit()),
        clashes: Vec::new(),
        changed: false,
        whose: String::new(),
        wish,
        carries,
    };
    let keys: BTreeSet<&String> =
        base_parts.keys().chain(our_parts.keys()).chain(their_parts.keys()).collect();
    for key in keys {
        match (base_parts.get(key), our_parts.get(key), their_parts.get(key)) {
            (b, Some(o), Some(t)) => work.component(b.copied(), *o, *t),
            // Which instances there are is a matter of times.
            _ if wish.keep_times => {}
            (None, None, Some(t)) => work.append(our_calendar, *t),
            (Some(b), None, Some(t)) if !same(*b, *t) => {
                let what = format!("{} is gone here and changed there", says::describe(*t));
                if work.clash(&what) == Whose::Theirs {
                    work.append(our_calendar, *t);
                }
            }
            (Some(b), Some(o), None) if same(*b, *o) => work.edit(|edit| edit.remove_component(*o)),
            (Some(_), Some(o), None) => {
                let what = format!("{} is changed here and gone there", says::describe(*o));
                if work.clash(&what) == Whose::Theirs {
                    work.edit(|edit| edit.remove_component(*o));
                }
            }
            _ => {}
        }
        work.whose.clear();
    }
    let bytes = match work.edit {
        Some(edit) if work.changed => with_zones(edit.finish(), their_calendar),
        _ => ours.bytes().clone(),
    };
    if work.clashes.is_empty() {
        Merged::Clean(bytes)
    } else {
        Merged::Conflict { merged: bytes, clashes: work.clashes }
    }
}

/// Tells whether two objects say the same: properties and components compared as sets, stamps left out.
pub fn equal(one: &Ical, other: &Ical) -> bool {
    let (Some(one), Some(other)) = (one.calendar(), other.calendar()) else {
        return one.bytes() == other.bytes();
    };
    let (one, other) = (says::components(Some(one)), says::components(Some(other)));
    one.len() == other.len() && one.iter().all(|(key, a)| other.get(key).is_some_and(|b| same(*a, *b)))
}

struct Work<'a> {
    edit: Option<Edit<'a>>,
    clashes: Vec<String>,
    changed: bool,
    /// Of which instance the clashes are, as the end of a sentence; empty for the master.
    whose: String,
    wish: &'a Wish<'a>,
    /// Only what changed between base and theirs is taken, also of what goes together otherwise.
    carries: bool,
}

impl<'a> Work<'a> {
    fn edit(&mut self, step: impl FnOnce(Edit<'a>) -> Edit<'a>) {
        self.edit = self.edit.take().map(step);
        self.changed = true;
    }

    /// Notes a clash. Returns whose word counts.
    fn clash(&mut self, what: &str) -> Whose {
        let what = format!("{what}{}", self.whose);
        if !self.clashes.contains(&what) {
            self.clashes.push(what);
        }
        self.wish.clash
    }

    fn append(&mut self, into: Component<'a>, what: Component<'_>) {
        let text = text_of(what);
        self.edit(|edit| edit.append_component(into, &text));
    }

    fn component(&mut self, b: Option<Component<'_>>, o: Component<'a>, t: Component<'_>) {
        let before = std::mem::take(&mut self.changed);
        self.whose = match o.property("RECURRENCE-ID") {
            Some(_) => format!(" of {}", says::describe(o)),
            None => String::new(),
        };
        self.time(b, o, t);
        let all: BTreeSet<String> =
            names(b).into_iter().chain(names(Some(o))).chain(names(Some(t))).collect();
        for name in all.iter().map(String::as_str).filter(|name| !TIME.contains(name)) {
            let (was, ours, theirs) = (all_say(b, name), all_say(Some(o), name), all_say(Some(t), name));
            match (self.wish.forced)(name) {
                Some(Whose::Ours) => continue,
                Some(Whose::Theirs) if theirs != ours => {
                    self.take(name, o, t);
                    continue;
                }
                _ => {}
            }
            if theirs == was || theirs == ours {
                continue;
            }
            // Unknown properties that occur more than once are a set as well.
            if is_set(name) || was.len().max(ours.len()).max(theirs.len()) > 1 {
                self.unite(name, b, o, t);
            } else if ours == was || self.clash(name) == Whose::Theirs {
                self.take(name, o, t);
            }
        }
        self.children(b, o, t);
        if self.changed {
            self.stamps(o, t);
        }
        self.changed |= before;
    }

    /// The group of times, recurrence and status.
    fn time(&mut self, b: Option<Component<'_>>, o: Component<'a>, t: Component<'_>) {
        if self.wish.keep_times {
            return;
        }
        match TIME.iter().find_map(|name| (self.wish.forced)(name)) {
            Some(Whose::Ours) => return,
            Some(Whose::Theirs) => return self.take_times(o, t, |_| true),
            None => {}
        }
        let group = |component: Option<Component<'_>>, sets: bool| -> Vec<Vec<String>> {
            let names = TIME.iter().filter(|name| sets || !is_set(name));
            names.map(|name| all_say(component, name)).collect()
        };
        let (was, ours, theirs) = (group(b, true), group(Some(o), true), group(Some(t), true));
        if theirs == was || theirs == ours {
            return;
        }
        if ours == was {
            for name in TIME {
                match is_set(name) {
                    true => self.unite(name, b, o, t),
                    false if all_say(Some(o), name) != all_say(Some(t), name) => self.take(name, o, t),
                    false => {}
                }
            }
            return;
        }
        // Where the series is the same on both sides, instances that were left out or added go together.
        if group(Some(o), false) == group(Some(t), false) {
            for name in TIME.iter().filter(|name| is_set(name)) {
                self.unite(name, b, o, t);
            }
        } else if self.clash("time and recurrence") == Whose::Theirs {
            let carries = self.carries;
            self.take_times(o, t, |name| !carries || all_say(b, name) != all_say(Some(t), name));
        }
    }

    fn take_times(&mut self, o: Component<'a>, t: Component<'_>, which: impl Fn(&str) -> bool) {
        for name in TIME.iter().filter(|name| which(name)) {
            if all_say(Some(o), name) != all_say(Some(t), name) {
                self.take(name, o, t);
            }
        }
    }

    /// Replaces our properties of that name with theirs.
    fn take(&mut self, name: &str, o: Component<'a>, t: Component<'_>) {
        let mut ours = o.all(name);
        for theirs in t.all(name) {
            let line = theirs.logical();
            match ours.next() {
                Some(own) if says::says(own) == says::says(theirs) => {}
                Some(own) => self.edit(|edit| edit.replace(own, &line)),
                None => self.edit(|edit| edit.insert(o, &line)),
            }
        }
        for own in ours {
            self.edit(|edit| edit.remove(own));
        }
    }

    /// Merges a set element by element.
    fn unite(&mut self, name: &str, b: Option<Component<'_>>, o: Component<'a>, t: Component<'_>) {
        let (was, ours, theirs) = (elements(b, name), elements(Some(o), name), elements(Some(t), name));
        let mut gone: BTreeSet<&str> = BTreeSet::new();
        for (key, before) in &was {
            match (ours.get(key), theirs.get(key)) {
                (Some(own), None) if own.said == before.said => {
                    gone.insert(key);
                }
                (Some(own), None) if self.clash(&format!("{name} {}", own.raw.trim())) == Whose::Theirs => {
                    gone.insert(key);
                }
                _ => {}
            }
        }
        if is_list(name) {
            self.shorten_lists(name, o, &gone);
        } else {
            for own in gone.iter().filter_map(|key| ours.get(*key)) {
                self.edit(|edit| edit.remove(own.property));
            }
        }
        let mut added: Vec<&Element<'_>> = Vec::new();
        for (key, there) in &theirs {
            match (was.get(key), ours.get(key)) {
                (None, None) => added.push(there),
                (Some(before), None)
                    if there.said != before.said
                        && self.clash(&format!("{name} {}", there.raw.trim())) == Whose::Theirs =>
                {
                    added.push(there);
                }
                (before, Some(own)) if before.is_none_or(|before| before.said != there.said) => {
                    self.change(name, before, own, there);
                }
                _ => {}
            }
        }
        // In the order in which they stand there.
        added.sort_by_key(|element| element.property.span().start);
        self.add(name, o, &added);
    }

    /// Both sides have the element; theirs says something new.
    fn change(&mut self, name: &str, before: Option<&Element<'_>>, own: &Element<'a>, there: &Element<'_>) {
        if own.said == there.said {
            return;
        }
        if before.is_some_and(|before| before.said == own.said) {
            let line = there.property.logical();
            return self.edit(|edit| edit.replace(own.property, &line));
        }
        match says::unite_parameters(before.map(|before| before.property), own.property, there.property) {
            Some(line) => self.edit(|edit| edit.replace(own.property, &line)),
            None => {
                if self.clash(&format!("{name} {}", own.raw.trim())) == Whose::Theirs {
                    let line = there.property.logical();
                    self.edit(|edit| edit.replace(own.property, &line));
                }
            }
        }
    }

    /// Takes values out of our lines; a line that keeps none goes.
    fn shorten_lists(&mut self, name: &str, o: Component<'a>, gone: &BTreeSet<&str>) {
        for own in o.all(name) {
            let all = says::parts(own);
            let kept: Vec<&str> = all
                .iter()
                .filter(|element| !gone.contains(element.key.as_str()))
                .map(|element| element.raw.as_str())
                .collect();
            if kept.len() == all.len() {
                continue;
            }
            if kept.is_empty() {
                self.edit(|edit| edit.remove(own));
            } else {
                self.edit(|edit| edit.replace(own, &format!("{}{}", head(own), kept.join(","))));
            }
        }
    }

    fn add(&mut self, name: &str, o: Component<'a>, added: &[&Element<'_>]) {
        // What stands in one line there is added as one line.
        for together in added.chunk_by(|a, b| a.property.span() == b.property.span()) {
            let Some(first) = together.first() else { continue };
            let line = if is_list(name) {
                let values: Vec<&str> = together.iter().map(|element| element.raw.as_str()).collect();
                format!("{}{}", head(first.property), values.join(","))
            } else {
                first.property.logical()
            };
            self.edit(|edit| edit.insert(o, &line));
        }
    }

    /// Alarms and other parts of a component: told apart by what they say, and by their own UID where they have one.
    fn children(&mut self, b: Option<Component<'_>>, o: Component<'a>, t: Component<'_>) {
        let (was, theirs) = (children_say(b), children_say(Some(t)));
        let ours = children(Some(o));
        let said: BTreeSet<&str> = ours.iter().map(|child| child.said.as_str()).collect();
        if theirs == was
            || (theirs.len() == said.len() && theirs.iter().all(|child| said.contains(child.as_str())))
        {
            return;
        }
        let was: BTreeSet<String> = was.into_iter().collect();
        let theirs: BTreeSet<String> = theirs.into_iter().collect();
        for child in ours.iter().filter(|child| was.contains(&child.said) && !theirs.contains(&child.said)) {
            self.edit(|edit| edit.remove_component(child.component));
        }
        for child in children(Some(t)) {
            if was.contains(&child.said) || said.contains(child.said.as_str()) {
                continue;
            }
            let changed_here = |own: &&says::Child<'_>| own.id == child.id && !was.contains(&own.said);
            if child.id.is_some()
                && let Some(own) = ours.iter().find(changed_here)
            {
                if self.clash(child.component.name()) == Whose::Ours {
                    continue;
                }
                self.edit(|edit| edit.remove_component(own.component));
            }
            self.append(o, child.component);
        }
    }

    /// Stamps follow a change: the later time, the higher number.
    fn stamps(&mut self, o: Component<'a>, t: Component<'_>) {
        for name in ["DTSTAMP", "LAST-MODIFIED", "SEQUENCE"] {
            let Some(theirs) = t.property(name) else { continue };
            let line = theirs.logical();
            match o.property(name) {
                None => self.edit(|edit| edit.insert(o, &line)),
                Some(own) if later(name, &own.raw(), &theirs.raw()) => {
                    self.edit(|edit| edit.replace(own, &line));
                }
                Some(_) => {}
            }
        }
    }
}

/// Takes over the definitions of zones that the text now names and lacks (RFC 5545 §3.2.19: each TZID needs one).
fn with_zones(merged: Bytes, theirs: Component<'_>) -> Bytes {
    let Ok(ical) = Ical::parse(merged.clone()) else { return merged };
    let Some(calendar) = ical.calendar() else { return merged };
    let id = |zone: Component<'_>| zone.property("TZID").map(|id| id.raw().trim().to_owned());
    let known: BTreeSet<String> = calendar.named("VTIMEZONE").filter_map(id).collect();
    let mut lacking: BTreeSet<String> = BTreeSet::new();
    let mut open: Vec<Component<'_>> = calendar.components().collect();
    while let Some(component) = open.pop() {
        let named = component.properties().filter_map(|property| property.parameter("TZID"));
        lacking.extend(named.map(|tzid| tzid.trim().to_owned()).filter(|tzid| !known.contains(tzid)));
        open.extend(component.components());
    }
    let mut edit = ical.edit();
    for zone in theirs.named("VTIMEZONE") {
        // Taken once, however often it is defined.
        if id(zone).is_some_and(|id| lacking.remove(&id)) {
            edit = edit.prepend_component(calendar, &text_of(zone));
        }
    }
    edit.finish()
}

/// Name and parameters of a line as written, with the colon.
fn head(property: Property<'_>) -> String {
    let mut line = property.logical();
    line.truncate(line.len().saturating_sub(property.raw().len()));
    line
}

fn later(name: &str, ours: &str, theirs: &str) -> bool {
    if name == "SEQUENCE" {
        let number = |text: &str| text.trim().parse::<i64>().unwrap_or(0);
        return number(theirs) > number(ours);
    }
    theirs.trim() > ours.trim()
}

fn text_of(component: Component<'_>) -> String {
    let bytes = component.ical().bytes().get(component.span()).unwrap_or_default();
    super::expand::utf8(bytes).into_owned()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;

    const BASE: &str = "DTSTART:20260101T100000Z\nDTEND:20260101T110000Z\nSUMMARY:Lunch\nX-OWN:kept\n";

    fn object(body: &str) -> Ical {
        let text = format!(
            "BEGIN:VCALENDAR\nVERSION:2.0\nBEGIN:VEVENT\nUID:a\nDTSTAMP:20260101T000000Z\n{body}END:VEVENT\nEND:VCALENDAR\n"
        );
        Ical::parse(text.into_bytes()).unwrap()
    }

    fn check(ours: &str, theirs: &str, want: Result<&str, &[&str]>) {
        let (base, ours, theirs) = (object(BASE), object(ours), object(theirs));
        match (merge(&base, &ours, &theirs), want) {
            (Merged::Clean(bytes), Ok(want)) => {
                assert_eq!(String::from_utf8_lossy(&bytes), String::from_utf8_lossy(object(want).bytes()));
            }
            (Merged::Conflict { clashes, .. }, Err(want)) => assert_eq!(clashes, want),
            (got, want) => panic!("{got:?} instead of {want:?}"),
        }
    }

    #[test]
    fn disjoint_changes_go_together() {
        // S3-076
        let ours = BASE.replace("Lunch", "Dinner");
        let theirs =
            BASE.replace("T100000Z", "T103000Z").replace("X-OWN:kept\n", "X-OWN:kept\nLOCATION:Inn\n");
        let want =
            "DTSTART:20260101T103000Z\nDTEND:20260101T110000Z\nSUMMARY:Dinner\nX-OWN:kept\nLOCATION:Inn\n";
        check(&ours, &theirs, Ok(want));
        check(BASE, BASE, Ok(BASE));
        check(&ours, &ours, Ok(&ours));
    }

    #[test]
    fn what_both_changed_clashes() {
        let (ours, theirs) = (BASE.replace("Lunch", "Dinner"), BASE.replace("Lunch", "Tea"));
        check(&ours, &theirs, Err(&["SUMMARY"]));
        let (ours, theirs) = (BASE.replace("T100000Z", "T090000Z"), format!("{BASE}STATUS:CANCELLED\n"));
        check(&ours, &theirs, Err(&["time and recurrence"]));
    }

    #[test]
    fn sets_unite() {
        let ours = format!("{BASE}CATEGORIES:a\n");
        let theirs = format!("{BASE}CATEGORIES:b\n");
        check(&ours, &theirs, Ok(&format!("{BASE}CATEGORIES:a\nCATEGORIES:b\n")));
        let ours = format!("{BASE}EXDATE:20260102T100000Z\n");
        let theirs = format!("{BASE}EXDATE:20260103T100000Z,20260104T100000Z\n");
        let want = format!("{BASE}EXDATE:20260102T100000Z\nEXDATE:20260103T100000Z,20260104T100000Z\n");
        check(&ours, &theirs, Ok(&want));
    }

    #[test]
    fn alarms_and_overrides_come_and_go() {
        let alarm = "BEGIN:VALARM\nACTION:DISPLAY\nTRIGGER:-PT5M\nEND:VALARM\n";
        check(BASE, &format!("{BASE}{alarm}"), Ok(&format!("{BASE}{alarm}")));
        let text = |ical: &Ical, extra: &str| {
            let text = String::from_utf8_lossy(ical.bytes())
                .replace("END:VCALENDAR", &format!("{extra}END:VCALENDAR"));
            Ical::parse(text.into_bytes()).unwrap()
        };
        let instance =
            "BEGIN:VEVENT\nUID:a\nRECURRENCE-ID:20260102T100000Z\nDTSTART:20260102T120000Z\nEND:VEVENT\n";
        let (base, theirs) = (object(BASE), text(&object(BASE), instance));
        let merged = merge(&base, &base, &theirs);
        assert_eq!(merged, Merged::Clean(theirs.bytes().clone()));
        assert_eq!(merge(&theirs, &theirs, &base), Merged::Clean(base.bytes().clone()));
        let moved = text(&object(BASE), &instance.replace("T120000Z", "T130000Z"));
        let clash = Merged::Conflict {
            merged: moved.bytes().clone(),
            clashes: vec!["the instance of 20260102T100000Z is changed here and gone there".to_owned()],
        };
        assert_eq!(merge(&theirs, &moved, &base), clash);
    }

    #[test]
    fn a_stamp_alone_is_no_change() {
        let theirs = object(BASE);
        let text = String::from_utf8_lossy(theirs.bytes()).replace("DTSTAMP:20260101", "DTSTAMP:20260301");
        let theirs = Ical::parse(text.into_bytes()).unwrap();
        let ours = object(BASE);
        assert_eq!(merge(&object(BASE), &ours, &theirs), Merged::Clean(ours.bytes().clone()));
        assert!(equal(&ours, &theirs));
    }

    // S3-072, S3-075
    #[test]
    fn where_both_changed_the_same_the_wished_side_counts() {
        let rows = [
            ("SUMMARY:a\n", "SUMMARY:b\n", "SUMMARY:c\n", "SUMMARY:c\n"),
            ("SUMMARY:a\n", "SUMMARY:b\nX-O:1\n", "", "X-O:1\n"),
            (
                "DTSTART:20260101T100000Z\n",
                "DTSTART:20260101T110000Z\nRRULE:FREQ=DAILY\n",
                "DTSTART:20260101T120000Z\n",
                "DTSTART:20260101T120000Z\n",
            ),
            (
                "ATTENDEE;PARTSTAT=A:mailto:a@x\n",
                "ATTENDEE;PARTSTAT=B:mailto:a@x\n",
                "ATTENDEE;PARTSTAT=C:mailto:a@x\n",
                "ATTENDEE;PARTSTAT=C:mailto:a@x\n",
            ),
            ("ATTENDEE;PARTSTAT=A:mailto:a@x\n", "ATTENDEE;PARTSTAT=B:mailto:a@x\n", "", ""),
            (
                "ATTENDEE;PARTSTAT=A:mailto:a@x\n",
                "",
                "ATTENDEE;PARTSTAT=C:mailto:a@x\n",
                "ATTENDEE;PARTSTAT=C:mailto:a@x\n",
            ),
            (
                "BEGIN:VALARM\nUID:1\nTRIGGER:-PT1M\nEND:VALARM\n",
                "BEGIN:VALARM\nUID:1\nTRIGGER:-PT2M\nEND:VALARM\n",
                "BEGIN:VALARM\nUID:1\nTRIGGER:-PT3M\nEND:VALARM\n",
                "BEGIN:VALARM\nUID:1\nTRIGGER:-PT3M\nEND:VALARM\n",
            ),
        ];
        for (base, ours, theirs, want) in rows {
            let (base, ours, theirs) = (object(base), object(ours), object(theirs));
            let taken = |whose| merge_as(&base, &ours, &theirs, &Wish::favouring(whose));
            let Merged::Conflict { merged, clashes } = taken(Whose::Theirs) else { panic!("{theirs:?}") };
            let merged = Ical::parse(merged).unwrap();
            assert!(equal(&merged, &object(want)), "{clashes:?} {:?}", merged.bytes());
            // Where ours counts, only what did not clash is taken.
            let Merged::Conflict { merged, .. } = taken(Whose::Ours) else { panic!("{theirs:?}") };
            assert_eq!(&merged, ours.bytes());
        }
    }

    #[test]
    fn a_carried_change_leaves_the_rest_alone() {
        let rows = [
            // What the text says differently, but did not change between the two, stays.
            (
                "RRULE:FREQ=DAILY\n",
                "RRULE:FREQ=DAILY\nSTATUS:CANCELLED\n",
                "RRULE:FREQ=DAILY;INTERVAL=1\n",
                "RRULE:FREQ=DAILY;INTERVAL=1\nSTATUS:CANCELLED\n",
            ),
            (
                "SUMMARY:a\n",
                "SUMMARY:b\n",
                "SUMMARY:a a\nX-O:1\nATTENDEE:mailto:a@x\n",
                "SUMMARY:b\nX-O:1\nATTENDEE:mailto:a@x\n",
            ),
            ("LOCATION:a\n", "", "LOCATION:a\nX-O:1\n", "X-O:1\n"),
            ("LOCATION:a\n", "LOCATION:a\n", "LOCATION:b\n", "LOCATION:b\n"),
        ];
        for (from, to, onto, want) in rows {
            let carried = Ical::parse(carry(&object(from), &object(to), &object(onto))).unwrap();
            assert!(equal(&carried, &object(want)), "{:?}", carried.bytes());
        }
    }

    #[test]
    fn times_are_kept_where_that_is_wished() {
        let instance = "END:VEVENT\nBEGIN:VEVENT\nUID:a\nRECURRENCE-ID:20260102T100000Z\nSUMMARY:x\n";
        let (base, theirs) = (object(BASE), object(&format!("{}{instance}", BASE.replace("T10", "T12"))));
        let theirs_text = String::from_utf8_lossy(theirs.bytes()).replace("Lunch", "Tea");
        let theirs = Ical::parse(theirs_text.into_bytes()).unwrap();
        let wish = Wish { clash: Whose::Theirs, forced: &|_| None, keep_times: true };
        let want = object(&BASE.replace("Lunch", "Tea"));
        assert_eq!(merge_as(&base, &base, &theirs, &wish), Merged::Clean(want.bytes().clone()));
        assert!(same_times(&base, &want) && !same_times(&base, &theirs));
    }
}

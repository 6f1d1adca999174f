//! Three-way merge by property: our text, edited with what the other side changed since both agreed.
//!
//! Owns: which changes go together, what clashes. Does not own: who wins a clash (`bridge::plan`).
//!
//! Our bytes stay wherever the other side changed nothing: what it cannot hold (private properties, a second alarm)
//! is never lost to a poorer copy.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::{Component, Edit, Ical, Property};

/// What came of a merge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Merged {
    /// Both sides' changes are in it. Equal to our bytes if the other side changed nothing.
    Clean(Bytes),
    /// Some properties were changed on both sides; there, the text holds ours.
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

/// Times, recurrence and status: one change of one of them is a change of all (an event moved here and cancelled
/// there is a clash).
const TIME: [&str; 9] =
    ["DTSTART", "DTEND", "DUE", "DURATION", "RRULE", "RDATE", "EXDATE", "EXRULE", "STATUS"];
/// Sets of values: additions and removals of both sides go together.
const SETS: [&str; 9] =
    ["ATTENDEE", "ATTACH", "CATEGORIES", "COMMENT", "CONTACT", "EXDATE", "RDATE", "RELATED-TO", "RESOURCES"];
/// Sets whose values may share a line, separated by commas.
const LISTS: [&str; 4] = ["CATEGORIES", "EXDATE", "RDATE", "RESOURCES"];
/// Properties that follow every change and never clash.
const STAMPS: [&str; 5] = ["DTSTAMP", "LAST-MODIFIED", "SEQUENCE", "CREATED", "ACKNOWLEDGED"];
/// Properties whose value is one TEXT, compared unescaped.
const TEXTS: [&str; 4] = ["SUMMARY", "DESCRIPTION", "LOCATION", "URL"];

/// Merges. The three texts are objects of one UID.
pub fn merge(base: &Ical, ours: &Ical, theirs: &Ical) -> Merged {
    let (Some(our_calendar), Some(their_calendar)) = (ours.calendar(), theirs.calendar()) else {
        return Merged::Clean(ours.bytes().clone());
    };
    let base_parts: Vec<Component<'_>> = base.calendar().map(parts).unwrap_or_default();
    let (our_parts, their_parts) = (parts(our_calendar), parts(their_calendar));
    let mut work = Work { edit: Some(ours.edit()), clashes: Vec::new(), changed: false };
    let identities: BTreeSet<Identity> =
        base_parts.iter().chain(&our_parts).chain(&their_parts).map(|part| Identity::of(*part)).collect();
    for identity in &identities {
        let find = |parts: &[Component<'_>]| parts.iter().position(|part| Identity::of(*part) == *identity);
        let b = find(&base_parts).and_then(|at| base_parts.get(at)).copied();
        let o = find(&our_parts).and_then(|at| our_parts.get(at)).copied();
        let t = find(&their_parts).and_then(|at| their_parts.get(at)).copied();
        match (b, o, t) {
            (b, Some(o), Some(t)) => work.component(b, o, t),
            (None, None, Some(t)) => work.adopt(our_calendar, t),
            (Some(b), None, Some(t)) if !same(b, t) => {
                work.clash(format!("{identity} is gone here and changed there"))
            }
            (Some(b), Some(o), None) if same(b, o) => work.edit(|edit| edit.remove_component(o)),
            (Some(_), Some(_), None) => work.clash(format!("{identity} is changed here and gone there")),
            _ => {}
        }
    }
    if work.changed {
        work.zones(our_calendar, their_calendar);
    }
    let bytes = match work.edit {
        Some(edit) if work.changed => edit.finish(),
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
    let (one, other) = (parts(one), parts(other));
    one.len() == other.len()
        && one.iter().all(|a| other.iter().any(|b| Identity::of(*a) == Identity::of(*b) && same(*a, *b)))
}

/// Which of the components of an object: its type and the instance that it overrides.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Identity {
    name: String,
    instance: Option<String>,
}

impl Identity {
    fn of(component: Component<'_>) -> Identity {
        let instance = component.property("RECURRENCE-ID").map(|id| id.raw().trim().to_ascii_uppercase());
        Identity { name: component.name().to_owned(), instance }
    }
}

impl std::fmt::Display for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.instance {
            Some(instance) => write!(f, "the instance of {instance}"),
            None => write!(f, "the {}", self.name),
        }
    }
}

/// Returns the components that carry content.
fn parts(calendar: Component<'_>) -> Vec<Component<'_>> {
    calendar.components().filter(|part| part.name() != "VTIMEZONE").collect()
}

/// Returns what a property says, however it is written.
fn says(property: Property<'_>) -> String {
    let name = property.name();
    let value = if TEXTS.contains(&name) { property.text() } else { property.raw().trim().to_owned() };
    let mut parameters: Vec<String> = property
        .parameters()
        .into_iter()
        .filter(|(name, values)| {
            let default = name == "VALUE" && values.iter().all(|v| v.eq_ignore_ascii_case("DATE-TIME"));
            !default && !name.starts_with("X-VOBJ")
        })
        .map(|(name, values)| format!("{name}={}", values.join(",").trim()))
        .collect();
    parameters.sort();
    format!("{name};{}:{value}", parameters.join(";"))
}

/// Returns what the properties of that name say, sorted.
fn all_say(component: Option<Component<'_>>, name: &str) -> Vec<String> {
    let mut said: Vec<String> = match component {
        Some(component) => component.all(name).flat_map(elements).collect(),
        None => Vec::new(),
    };
    said.sort();
    said
}

/// Returns the values of a property one by one.
fn elements(property: Property<'_>) -> Vec<String> {
    if !LISTS.contains(&property.name()) {
        return vec![says(property)];
    }
    let whole = says(property);
    let Some(head) = whole.find(':').and_then(|at| whole.get(..=at)) else { return vec![whole] };
    split_list(&property.raw()).into_iter().map(|value| format!("{head}{value}")).collect()
}

/// Splits at commas that are not escaped.
fn split_list(raw: &str) -> Vec<String> {
    let (mut found, mut escaped) = (vec![String::new()], false);
    for c in raw.trim().chars() {
        match c {
            ',' if !escaped => found.push(String::new()),
            c => {
                if let Some(last) = found.last_mut() {
                    last.push(c);
                }
            }
        }
        escaped = c == '\\' && !escaped;
    }
    found
}

/// Returns the names of a component's properties that count as content.
fn names(component: Option<Component<'_>>) -> BTreeSet<String> {
    let names = component.into_iter().flat_map(|component| component.properties());
    names.map(|property| property.name().to_owned()).filter(|name| !STAMPS.contains(&name.as_str())).collect()
}

/// Returns what the child components (alarms) say, sorted.
fn children_say(component: Option<Component<'_>>) -> Vec<String> {
    let mut said: Vec<String> = component.into_iter().flat_map(|c| c.components()).map(child_says).collect();
    said.sort();
    said
}

fn child_says(child: Component<'_>) -> String {
    let mut lines: Vec<String> = child
        .properties()
        .filter(|property| !STAMPS.contains(&property.name()) && property.name() != "X-WR-ALARMUID")
        .map(says)
        .collect();
    lines.sort();
    let children = children_say(Some(child));
    format!("{}\n{}\n{}", child.name(), lines.join("\n"), children.join("\n"))
}

fn same(one: Component<'_>, other: Component<'_>) -> bool {
    let (one, other) = (Some(one), Some(other));
    let all: BTreeSet<String> = names(one).union(&names(other)).cloned().collect();
    all.iter().all(|name| all_say(one, name) == all_say(other, name))
        && children_say(one) == children_say(other)
}

struct Work<'a> {
    edit: Option<Edit<'a>>,
    clashes: Vec<String>,
    changed: bool,
}

impl<'a> Work<'a> {
    fn edit(&mut self, step: impl FnOnce(Edit<'a>) -> Edit<'a>) {
        self.edit = self.edit.take().map(step);
        self.changed = true;
    }

    fn clash(&mut self, what: String) {
        self.clashes.push(what);
    }

    fn component(&mut self, b: Option<Component<'_>>, o: Component<'a>, t: Component<'_>) {
        let before = self.changed;
        self.changed = false;
        self.time(b, o, t);
        let all: BTreeSet<String> =
            names(b).into_iter().chain(names(Some(o))).chain(names(Some(t))).collect();
        for name in all.iter().map(String::as_str).filter(|name| !TIME.contains(name)) {
            let (was, ours, theirs) = (all_say(b, name), all_say(Some(o), name), all_say(Some(t), name));
            if theirs == was || theirs == ours {
                continue;
            }
            if ours == was {
                self.take(name, o, t);
            } else if SETS.contains(&name) {
                self.unite(name, &was, o, t);
            } else {
                self.clash(name.to_owned());
            }
        }
        self.alarms(b, o, t);
        if self.changed {
            self.stamps(o, t);
        }
        self.changed |= before;
    }

    /// The group of times, recurrence and status.
    fn time(&mut self, b: Option<Component<'_>>, o: Component<'a>, t: Component<'_>) {
        let group = |component: Option<Component<'_>>, names: &[&str]| -> Vec<Vec<String>> {
            names.iter().map(|name| all_say(component, name)).collect()
        };
        let (was, ours, theirs) = (group(b, &TIME), group(Some(o), &TIME), group(Some(t), &TIME));
        if theirs == was || theirs == ours {
            return;
        }
        if ours == was {
            for name in TIME {
                if all_say(Some(o), name) != all_say(Some(t), name) {
                    self.take(name, o, t);
                }
            }
            return;
        }
        // Both sides only left out or added instances: that goes together.
        let fixed: Vec<&str> = TIME.into_iter().filter(|name| !SETS.contains(name)).collect();
        let (was, ours, theirs) = (group(b, &fixed), group(Some(o), &fixed), group(Some(t), &fixed));
        if was == ours && was == theirs {
            for name in ["EXDATE", "RDATE"] {
                let was = all_say(b, name);
                if all_say(Some(t), name) != was {
                    self.unite(name, &was, o, t);
                }
            }
        } else {
            self.clash("time and recurrence".to_owned());
        }
    }

    /// Replaces our properties of that name with theirs.
    fn take(&mut self, name: &str, o: Component<'a>, t: Component<'_>) {
        let mut ours = o.all(name);
        for theirs in t.all(name) {
            let line = theirs.logical();
            match ours.next() {
                Some(own) if says(own) == says(theirs) => {}
                Some(own) => self.edit(|edit| edit.replace(own, &line)),
                None => self.edit(|edit| edit.insert(o, &line)),
            }
        }
        for own in ours {
            self.edit(|edit| edit.remove(own));
        }
    }

    /// Adds what they added and removes what they removed.
    fn unite(&mut self, name: &str, was: &[String], o: Component<'a>, t: Component<'_>) {
        let (ours, theirs) = (all_say(Some(o), name), all_say(Some(t), name));
        let removed: Vec<&String> = was.iter().filter(|element| !theirs.contains(element)).collect();
        for own in o.all(name) {
            let elements = elements(own);
            let kept: Vec<&String> = elements.iter().filter(|element| !removed.contains(element)).collect();
            if kept.len() == elements.len() {
                continue;
            }
            if kept.is_empty() {
                self.edit(|edit| edit.remove(own));
                continue;
            }
            let logical = own.logical();
            let head = logical.strip_suffix(own.raw().as_ref()).unwrap_or_default().to_owned();
            let values: Vec<&str> =
                kept.iter().filter_map(|e| e.split_once(':')).map(|(_, value)| value).collect();
            self.edit(|edit| edit.replace(own, &format!("{head}{}", values.join(","))));
        }
        for line in t.all(name) {
            let logical = line.logical();
            let head = logical.strip_suffix(line.raw().as_ref()).unwrap_or_default().to_owned();
            let added: Vec<String> =
                elements(line).into_iter().filter(|e| !was.contains(e) && !ours.contains(e)).collect();
            if added.is_empty() {
                continue;
            }
            if !LISTS.contains(&name) {
                self.edit(|edit| edit.insert(o, &logical));
                continue;
            }
            let values: Vec<&str> =
                added.iter().filter_map(|e| e.split_once(':')).map(|(_, value)| value).collect();
            self.edit(|edit| edit.insert(o, &format!("{head}{}", values.join(","))));
        }
    }

    fn alarms(&mut self, b: Option<Component<'_>>, o: Component<'a>, t: Component<'_>) {
        let (was, ours, theirs) = (children_say(b), children_say(Some(o)), children_say(Some(t)));
        if theirs == was || theirs == ours {
            return;
        }
        for child in o.components() {
            let said = child_says(child);
            if was.contains(&said) && !theirs.contains(&said) {
                self.edit(|edit| edit.remove_component(child));
            }
        }
        for child in t.components() {
            let said = child_says(child);
            if !was.contains(&said) && !ours.contains(&said) {
                let text = text_of(child);
                self.edit(|edit| edit.append_component(o, &text));
            }
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
                    self.edit(|edit| edit.replace(own, &line))
                }
                Some(_) => {}
            }
        }
    }

    /// Takes over a component that we do not have.
    fn adopt(&mut self, calendar: Component<'a>, t: Component<'_>) {
        let text = text_of(t);
        self.edit(|edit| edit.append_component(calendar, &text));
    }

    /// Takes over the definitions of zones that only their text has (RFC 5545 §3.2.19: each TZID needs one).
    fn zones(&mut self, ours: Component<'a>, theirs: Component<'_>) {
        let id = |zone: Component<'_>| zone.property("TZID").map(|id| id.raw().trim().to_owned());
        let known: Vec<Option<String>> = ours.named("VTIMEZONE").map(id).collect();
        for zone in theirs.named("VTIMEZONE").filter(|zone| !known.contains(&id(*zone))) {
            let text = text_of(zone);
            self.edit(|edit| edit.prepend_component(ours, &text));
        }
    }
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
    String::from_utf8_lossy(bytes).into_owned()
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
}

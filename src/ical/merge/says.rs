//! What a component says, however it is written: the comparison under a merge.

use std::collections::{BTreeMap, BTreeSet};

use crate::ical::line::quote_parameter;
use crate::ical::value;
use crate::ical::value::DateTime;
use crate::ical::zone::{Zone, Zones};
use crate::ical::{Component, Property};

/// Properties that follow every change and never clash.
const STAMPS: [&str; 5] = ["DTSTAMP", "LAST-MODIFIED", "SEQUENCE", "CREATED", "ACKNOWLEDGED"];
/// Sets of values: additions and removals of both sides go together.
const SETS: [&str; 9] =
    ["ATTENDEE", "ATTACH", "CATEGORIES", "COMMENT", "CONTACT", "EXDATE", "RDATE", "RELATED-TO", "RESOURCES"];
/// Sets whose values may share a line, separated by commas.
const LISTS: [&str; 4] = ["CATEGORIES", "EXDATE", "RDATE", "RESOURCES"];
/// Properties whose value is one TEXT, compared unescaped.
const TEXTS: [&str; 6] = ["SUMMARY", "DESCRIPTION", "LOCATION", "URL", "COMMENT", "CONTACT"];

/// Tells whether a property is bookkeeping, no content.
pub(super) fn is_stamp(name: &str) -> bool {
    STAMPS.contains(&name)
}

/// Tells whether the property's values are merged one by one.
pub(super) fn is_set(name: &str) -> bool {
    SETS.contains(&name)
}

/// Tells whether several values may share a line.
pub(super) fn is_list(name: &str) -> bool {
    LISTS.contains(&name)
}

/// Returns what a property says, however it is written.
pub(super) fn says(property: Property<'_>) -> String {
    let name = property.name();
    format!("{}:{}", said_head(property), said_value(name, &property.raw()))
}

/// Name and parameters, sorted; defaults and what conversion libraries leave behind do not count.
fn said_head(property: Property<'_>) -> String {
    let mut parameters: Vec<String> = property
        .parameters()
        .into_iter()
        .filter(|(name, values)| {
            let default = name == "VALUE" && values.iter().all(|v| v.eq_ignore_ascii_case("DATE-TIME"));
            !default && !name.starts_with("X-VOBJ")
        })
        .map(|(name, values)| format!(";{name}={}", values.join(",").trim()))
        .collect();
    parameters.sort();
    format!("{}{}", property.name(), parameters.concat())
}

fn said_value(name: &str, raw: &str) -> String {
    match name {
        _ if TEXTS.contains(&name) => value::unescape(raw),
        // RFC 5545 §3.3.10: the parts of a rule may come in any order and case.
        "RRULE" | "EXRULE" => {
            let upper = raw.trim().to_ascii_uppercase();
            let mut parts: Vec<&str> = upper.split(';').filter(|part| !part.is_empty()).collect();
            parts.sort_unstable();
            parts.join(";")
        }
        // RFC 5545 §3.3.3: a calendar address is the same in any case of its scheme; mail addresses are in practice.
        "ATTENDEE" | "ORGANIZER" => raw.trim().to_ascii_lowercase(),
        _ => raw.trim().to_owned(),
    }
}

/// One value of a set.
#[derive(Debug, Clone)]
pub(super) struct Element<'a> {
    /// What it is about: two elements of one key are the same thing, perhaps differently described.
    pub(super) key: String,
    /// What it says, compared.
    pub(super) said: String,
    /// Its value as written.
    pub(super) raw: String,
    /// The line that it stands in.
    pub(super) property: Property<'a>,
}

/// Returns the values of a property of that name, by key.
pub(super) fn elements<'a>(component: Option<Component<'a>>, name: &str) -> BTreeMap<String, Element<'a>> {
    let mut found = BTreeMap::new();
    for property in component.into_iter().flat_map(|component| component.all(name)) {
        for mut element in parts(property) {
            // The same participant invited twice: two elements, told apart by their order.
            let mut n = 1;
            while !is_list(name) && found.contains_key(&element.key) {
                n += 1;
                element.key = format!("{}\u{1}{n}", element.key.split('\u{1}').next().unwrap_or_default());
            }
            found.insert(element.key.clone(), element);
        }
    }
    found
}

/// Returns the values of one line.
pub(super) fn parts(property: Property<'_>) -> Vec<Element<'_>> {
    let (name, raw) = (property.name(), property.raw());
    if is_list(name) {
        let head = said_head(property);
        return split_list(&raw)
            .into_iter()
            .filter(|value| !value.trim().is_empty())
            .map(|value| {
                let said = format!("{head}:{}", value.trim());
                Element { key: said.clone(), said, raw: value.to_owned(), property }
            })
            .collect();
    }
    let said = says(property);
    let key = match name {
        "ATTENDEE" | "ATTACH" => said_value(name, &raw),
        "RELATED-TO" => format!("{}:{raw}", property.parameter("RELTYPE").unwrap_or_default()),
        _ => said.clone(),
    };
    vec![Element { key, said, raw: raw.into_owned(), property }]
}

/// Splits at commas that are not escaped.
fn split_list(raw: &str) -> Vec<&str> {
    let mut escaped = false;
    raw.split(move |c| {
        let here = c == ',' && !escaped;
        escaped = c == '\\' && !escaped;
        here
    })
    .collect()
}

/// Returns what the properties of that name say, sorted.
pub(super) fn all_say(component: Option<Component<'_>>, name: &str) -> Vec<String> {
    let properties = component.into_iter().flat_map(|component| component.all(name));
    let mut said: Vec<String> = properties.flat_map(parts).map(|element| element.said).collect();
    said.sort();
    if is_list(name) {
        said.dedup();
    }
    said
}

/// Returns the names of a component's properties that count as content.
pub(super) fn names(component: Option<Component<'_>>) -> BTreeSet<String> {
    let names = component.into_iter().flat_map(|component| component.properties());
    names.map(|property| property.name().to_owned()).filter(|name| !is_stamp(name)).collect()
}

/// A child component (an alarm) and what it says.
#[derive(Debug, Clone)]
pub(super) struct Child<'a> {
    /// What it says.
    pub(super) said: String,
    /// Its own identifier, if it has one.
    pub(super) id: Option<String>,
    /// Where it stands.
    pub(super) component: Component<'a>,
}

/// Returns the child components in order.
pub(super) fn children(component: Option<Component<'_>>) -> Vec<Child<'_>> {
    component.into_iter().flat_map(|component| component.components()).map(child).collect()
}

fn child(component: Component<'_>) -> Child<'_> {
    let id = component.property("UID").or_else(|| component.property("X-WR-ALARMUID"));
    let id = id.map(|id| id.raw().trim().to_ascii_uppercase()).filter(|id| !id.is_empty());
    Child { said: child_says(component), id, component }
}

fn child_says(child: Component<'_>) -> String {
    let mut lines: Vec<String> = child
        .properties()
        .filter(|property| !is_stamp(property.name()) && property.name() != "X-WR-ALARMUID")
        .map(says)
        .collect();
    lines.sort();
    format!("{}\n{}\n{}", child.name(), lines.join("\n"), children_say(Some(child)).join("\n"))
}

/// Returns what the children say, sorted.
pub(super) fn children_say(component: Option<Component<'_>>) -> Vec<String> {
    let mut said: Vec<String> = children(component).into_iter().map(|child| child.said).collect();
    said.sort();
    said
}

/// Tells whether two components say the same.
pub(super) fn same(one: Component<'_>, other: Component<'_>) -> bool {
    let (one, other) = (Some(one), Some(other));
    let all: BTreeSet<String> = names(one).union(&names(other)).cloned().collect();
    all.iter().all(|name| all_say(one, name) == all_say(other, name))
        && children_say(one) == children_say(other)
}

/// The components of an object that carry content, by what they are: type, and instance that they override.
///
/// The instance is the moment, not its spelling: servers rewrite a RECURRENCE-ID from a zone to UTC.
pub(super) fn components(calendar: Option<Component<'_>>) -> BTreeMap<String, Component<'_>> {
    let mut found = BTreeMap::new();
    let Some(calendar) = calendar else { return found };
    let mut clocks = Clocks::of(calendar);
    for component in calendar.components().filter(|component| component.name() != "VTIMEZONE") {
        let instance = component
            .property("RECURRENCE-ID")
            .map(|id| format!(" {}", clocks.moment(value::date_time(&id), &id.raw())));
        let key = format!("{}{}", component.name(), instance.unwrap_or_default());
        let mut numbered = key.clone();
        let mut n = 1;
        while found.contains_key(&numbered) {
            n += 1;
            numbered = format!("{key} #{n}");
        }
        found.insert(numbered, component);
    }
    found
}

/// The zones that a calendar names.
pub(super) struct Clocks<'a> {
    zones: Zones<'a>,
    known: BTreeMap<String, Option<Zone>>,
}

impl<'a> Clocks<'a> {
    pub(super) fn of(calendar: Component<'a>) -> Clocks<'a> {
        Clocks { zones: Zones::of(calendar.ical()), known: BTreeMap::new() }
    }

    /// Returns a moment in one spelling, whatever zone it is written in.
    fn moment(&mut self, time: Option<DateTime>, raw: &str) -> String {
        match time {
            Some(DateTime::Utc(civil)) => format!("{}Z", civil.to_basic()),
            Some(DateTime::Zoned(civil, tzid)) => {
                let zone = self.known.entry(tzid.clone()).or_insert_with(|| self.zones.zone(&tzid));
                match zone {
                    Some(zone) => format!("{}Z", value::Civil(zone.to_instant(civil)).to_basic()),
                    None => civil.to_basic(),
                }
            }
            _ => raw.trim().to_ascii_uppercase(),
        }
    }

    /// Returns the moments that a set of times names, each with its element.
    pub(super) fn moments<'b>(
        &mut self,
        component: Option<Component<'b>>,
        name: &str,
    ) -> BTreeMap<String, Element<'b>> {
        let all = elements(component, name).into_values();
        all.map(|element| {
            let tzid = element.property.parameter("TZID");
            let start = element.raw.split('/').next().unwrap_or_default();
            (self.moment(DateTime::parse(start, tzid.as_deref()), &element.raw), element)
        })
        .collect()
    }
}

/// Names a component in a sentence.
pub(super) fn describe(component: Component<'_>) -> String {
    match component.property("RECURRENCE-ID") {
        Some(id) => format!("the instance of {}", id.raw().trim()),
        None => format!("the {}", component.name()),
    }
}

/// Merges two descriptions of one thing by parameter; nothing if both changed the same parameter differently.
/// `None` for `was` means that both added it.
pub(super) fn unite_parameters(
    was: Option<Property<'_>>,
    own: Property<'_>,
    theirs: Property<'_>,
) -> Option<String> {
    if said_value(own.name(), &own.raw()) != said_value(own.name(), &theirs.raw()) {
        return None;
    }
    let was: BTreeMap<String, Vec<String>> =
        was.map(|was| was.parameters().into_iter().collect()).unwrap_or_default();
    let theirs: Vec<(String, Vec<String>)> = theirs.parameters();
    let ours = own.parameters();
    let find = |list: &[(String, Vec<String>)], name: &str| {
        list.iter().find(|(found, _)| found == name).map(|(_, values)| values.clone())
    };
    let mut line = own.name().to_owned();
    let mut names: Vec<&String> = ours.iter().chain(&theirs).map(|(name, _)| name).collect();
    let mut seen = BTreeSet::new();
    names.retain(|name| seen.insert(name.as_str()));
    for name in names {
        let (before, here, there) = (was.get(name).cloned(), find(&ours, name), find(&theirs, name));
        let merged = if there == before || there == here {
            here
        } else if here == before {
            there
        } else {
            return None;
        };
        if let Some(values) = merged {
            let values: Vec<String> = values.iter().map(|value| quote_parameter(value)).collect();
            line.push_str(&format!(";{name}={}", values.join(",")));
        }
    }
    Some(format!("{line}:{}", own.raw()))
}

//! Partial retrieval (RFC 4791 §9.6.1–9.6.4): some components and properties of an object.

use super::{copy_line, utf8};
use crate::ical::line::fold;
use crate::ical::tree::{Component, Ical, Property};

/// `CALDAV:comp` (RFC 4791 §9.6.1): what is wanted of a component.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Selection {
    /// Component type, upper case.
    pub name: String,
    /// `allprop` (RFC 4791 §9.6.2).
    pub all_props: bool,
    /// `prop`: property names in upper case.
    pub props: Vec<Wanted>,
    /// `allcomp` (RFC 4791 §9.6.3): every component below, whole.
    pub all_comps: bool,
    /// `comp`.
    pub comps: Vec<Selection>,
}

/// `CALDAV:prop` (RFC 4791 §9.6.4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Property name, upper case.
    pub name: String,
    /// `novalue="yes"`: its name and parameters without the value.
    pub no_value: bool,
}

/// Returns what is selected of the object, its lines copied as they are.
pub fn select(ical: &Ical, selection: &Selection) -> String {
    if selection.all_props && selection.all_comps {
        return utf8(ical.bytes()).into_owned();
    }
    let mut out = String::with_capacity(ical.bytes().len());
    for root in ical.roots().filter(|root| root.name() == selection.name) {
        part(ical, root, selection, &mut out);
    }
    out
}

fn part(ical: &Ical, component: Component<'_>, selection: &Selection, out: &mut String) {
    edge("BEGIN", component, out);
    for property in component.properties() {
        let wanted = selection.props.iter().find(|wanted| wanted.name == property.name());
        match wanted {
            Some(wanted) if wanted.no_value => without_value(property, out),
            None if !selection.all_props => {}
            _ => copy_line(ical, property, out),
        }
    }
    for child in component.components() {
        if selection.all_comps {
            whole(ical, child, out);
        } else if let Some(selection) = selection.comps.iter().find(|comp| comp.name == child.name()) {
            part(ical, child, selection, out);
        }
    }
    edge("END", component, out);
}

fn whole(ical: &Ical, component: Component<'_>, out: &mut String) {
    edge("BEGIN", component, out);
    for property in component.properties() {
        copy_line(ical, property, out);
    }
    for child in component.components() {
        whole(ical, child, out);
    }
    edge("END", component, out);
}

fn edge(word: &str, component: Component<'_>, out: &mut String) {
    for part in [word, ":", component.name(), "\r\n"] {
        out.push_str(part);
    }
}

fn without_value(property: Property<'_>, out: &mut String) {
    let line = property.logical();
    let head = line.len().saturating_sub(property.raw().len());
    fold(line.get(..head).unwrap_or_default(), out);
}

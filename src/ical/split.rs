//! A file of many events → calendar objects, one for each UID (RFC 4791 §4.1), each with the zones that it names.
//!
//! Owns: what goes together. Does not own: where the objects go (`cli` imports them, the bridge reads feeds).

use std::collections::HashMap;

use bytes::{Bytes, BytesMut};

use super::{Component, Ical};

/// One calendar object of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// Its UID.
    pub uid: String,
    /// Its component type, upper case.
    pub component: String,
    /// Its text. Components keep their octets.
    pub bytes: Bytes,
}

/// Splits a file into calendar objects. A file that is one already is not touched; METHOD, which a stored object must
/// not have (RFC 4791 §4.1), is taken out. A component without a UID cannot be stored: `name` gives it one, made of its
/// text, so that the same event gets the same one every time.
pub fn split(ical: &Ical, name: &dyn Fn(&[u8]) -> String) -> Vec<Object> {
    let roots: Vec<Component<'_>> = ical.roots().filter(|root| root.name() == "VCALENDAR").collect();
    let mut objects = Vec::new();
    for root in &roots {
        let mut groups: Vec<(String, String, Vec<Component<'_>>)> = Vec::new();
        let mut places: HashMap<(String, String), usize> = HashMap::new();
        for component in root.components().filter(|component| component.name() != "VTIMEZONE") {
            let uid = component.property("UID").map(|uid| uid.text()).unwrap_or_default();
            let kind = component.name().to_owned();
            let place = places.get(&(uid.clone(), kind.clone())).copied().filter(|_| !uid.is_empty());
            match place.and_then(|at| groups.get_mut(at)) {
                Some((_, _, members)) => members.push(component),
                None => {
                    places.insert((uid.clone(), kind.clone()), groups.len());
                    groups.push((uid, kind, vec![component]));
                }
            }
        }
        let alone = roots.len() == 1 && groups.len() == 1 && groups.iter().all(|(uid, _, _)| !uid.is_empty());
        let zones: HashMap<String, Bytes> =
            root.named("VTIMEZONE").map(|zone| (zone_id(zone), ical.bytes().slice(zone.span()))).collect();
        for (uid, component, members) in groups {
            if alone {
                let bytes = match root.property("METHOD") {
                    Some(method) => ical.edit().remove(method).finish(),
                    None => ical.bytes().clone(),
                };
                objects.push(Object { uid, component, bytes });
                continue;
            }
            objects.push(joined(ical, *root, &zones, uid, component, &members, name));
        }
    }
    objects
}

fn zone_id(zone: Component<'_>) -> String {
    zone.property("TZID").map(|id| id.text().trim().to_owned()).unwrap_or_default()
}

/// Puts components of one UID into a calendar of their own, with the zones that they name.
fn joined(
    ical: &Ical,
    root: Component<'_>,
    zones: &HashMap<String, Bytes>,
    uid: String,
    component: String,
    members: &[Component<'_>],
    name: &dyn Fn(&[u8]) -> String,
) -> Object {
    let mut out = BytesMut::from(&b"BEGIN:VCALENDAR\r\n"[..]);
    let mut push = |text: &[u8]| {
        out.extend_from_slice(text);
        if !text.ends_with(b"\n") {
            out.extend_from_slice(b"\r\n");
        }
    };
    for property in root.properties() {
        // What else stands here (X-WR-CALNAME, NAME, COLOR …) speaks of the whole file.
        if matches!(property.name(), "VERSION" | "PRODID" | "CALSCALE") {
            push(&ical.bytes().slice(property.span()));
        }
    }
    let mut wanted = Vec::new();
    for member in members {
        zones_of(*member, &mut wanted);
    }
    for zone in wanted.iter().filter_map(|id| zones.get(id)) {
        push(zone);
    }
    let mut uid = uid;
    for member in members {
        let text = ical.bytes().slice(member.span());
        if uid.is_empty() {
            uid = name(&text);
            let first = text.iter().position(|byte| *byte == b'\n').map_or(text.len(), |at| at + 1);
            push(&text.slice(..first));
            push(format!("UID:{uid}\r\n").as_bytes());
            push(&text.slice(first..));
        } else {
            push(&text);
        }
    }
    push(b"END:VCALENDAR\r\n");
    Object { uid, component, bytes: out.freeze() }
}

/// Collects the TZIDs that a component and what is in it name.
fn zones_of(component: Component<'_>, into: &mut Vec<String>) {
    for property in component.properties() {
        if let Some(id) = property.parameter("TZID") {
            let id = id.trim().to_owned();
            if !into.contains(&id) {
                into.push(id);
            }
        }
    }
    for child in component.components() {
        zones_of(child, into);
    }
}

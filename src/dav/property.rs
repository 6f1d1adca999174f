//! The table of live properties, and PROPFIND's and PROPPATCH's view of it.
//!
//! Owns: `Property`, what may be asked for (`Want`), how a value is found: live first, else what a client has set.
//! Does not own: any property in particular (`live`).

use std::collections::HashMap;
use std::sync::LazyLock;

use super::precondition::{Denied, Protocol};
use super::resource::{Facts, Kinds, Resource};
use super::{Scope, live};
use crate::calendar::{NewCollection, Refusal};
use crate::store::Properties;
use crate::xml::{DAV, Element, Name, Writer, caldav, dav};

/// One live property: PROPFIND, PROPPATCH, MKCALENDAR, expand-property, sync-collection and multiget read it here.
#[derive(Debug)]
pub struct Property {
    /// Its name.
    pub name: Name,
    /// Where it exists; elsewhere it is a dead property, or absent.
    pub on: Kinds,
    /// Whether `allprop` returns it.
    pub allprop: bool,
    /// What must be read before `get`.
    pub needs: Facts,
    /// How its value is found.
    pub get: Get,
    /// Who may set it.
    pub set: Set,
}

/// Writes what is inside the property's element; false: the resource has no such property.
pub(super) type Getter = fn(&Resource, &Scope, &mut Writer) -> bool;

/// How a value is found.
#[derive(Debug, Clone, Copy)]
pub enum Get {
    /// Computed.
    Inside(Getter),
    /// What a client has set.
    Stored,
    /// What a client has set, else computed.
    StoredOr(Getter),
}

/// Who may set it.
#[derive(Debug, Clone)]
pub enum Set {
    /// The server alone (RFC 4918 §15).
    Protected,
    /// A client, if the check passes.
    Stored(fn(&Element) -> Result<(), Denied>),
    /// A client, if the check passes; the other property then follows from this one and is no longer kept.
    Instead(fn(&Element) -> Result<(), Denied>, Name),
    /// A client, while the collection is made.
    AtCreation(fn(&Element, &mut NewCollection) -> Result<(), Denied>),
}

/// Accepts any value.
pub(super) fn anything(_: &Element) -> Result<(), Denied> {
    Ok(())
}

/// Returns every live property, file by file.
pub fn table() -> impl Iterator<Item = &'static Property> {
    live::ALL.iter().flat_map(|file| file.iter())
}

static BY_NAME: LazyLock<HashMap<(&'static str, &'static str), &'static Property>> =
    LazyLock::new(|| table().map(|p| ((&*p.name.ns, &*p.name.local), p)).collect());

/// Finds a live property.
pub fn live_property(name: &Name) -> Option<&'static Property> {
    BY_NAME.get(&(&*name.ns, &*name.local)).copied()
}

impl Property {
    /// Writes the whole element; false, with nothing written: the resource has no such property.
    pub fn write(&self, resource: &Resource, scope: &Scope, w: &mut Writer) -> bool {
        let getter = match self.get {
            Get::Inside(getter) => getter,
            Get::Stored | Get::StoredOr(_) => {
                if let Some(xml) = resource.stored(&self.name.ns, &self.name.local) {
                    w.raw(xml);
                    return true;
                }
                match self.get {
                    Get::StoredOr(getter) => getter,
                    Get::Stored | Get::Inside(_) => return false,
                }
            }
        };
        let mark = w.mark();
        w.open(&self.name);
        let found = getter(resource, scope, w);
        w.close();
        if !found {
            w.rewind(mark);
        }
        found
    }
}

/// A property that was asked for.
#[derive(Debug, Clone)]
pub struct Asked {
    /// Its name.
    pub name: Name,
    /// The live property of that name.
    pub property: Option<&'static Property>,
}

impl Asked {
    /// Returns the request for this name.
    pub fn new(name: Name) -> Asked {
        let property = live_property(&name);
        Asked { name, property }
    }

    /// Writes the whole element; false, with nothing written: 404.
    pub fn write(&self, resource: &Resource, scope: &Scope, w: &mut Writer) -> bool {
        if let Some(property) = self.property
            && property.on.has(resource.kind())
        {
            return property.write(resource, scope, w);
        }
        match resource.stored(&self.name.ns, &self.name.local) {
            Some(xml) => {
                w.raw(xml);
                true
            }
            None => false,
        }
    }

    fn needs(&self) -> Facts {
        match self.property {
            None => Facts::DEAD,
            Some(property) => match &property.set {
                // It may have been set, as a dead property, where it is not live.
                Set::Stored(_) | Set::Instead(..) if !property.on.has(Kinds::MEMBER) => {
                    property.needs.or(Facts::DEAD)
                }
                Set::Stored(_) | Set::Instead(..) | Set::Protected | Set::AtCreation(_) => property.needs,
            },
        }
    }
}

/// What is to be told of each resource (RFC 4918 §9.1).
#[derive(Debug, Clone)]
pub enum Want {
    /// `prop`: these.
    These(Vec<Asked>),
    /// `allprop`: what RFC 4918 defines, dead properties, and these (`include`).
    All(Vec<Asked>),
    /// `propname`: names only.
    Names,
}

impl Want {
    /// Reads a `D:prop` element: its children's names, each once.
    ///
    /// # Errors
    /// `Bad` if there are too many.
    pub fn prop(element: &Element) -> Result<Want, Denied> {
        Ok(Want::These(asked(element)?))
    }

    /// Reads the body of a PROPFIND; no body means `allprop` (RFC 4918 §9.1).
    ///
    /// # Errors
    /// `Bad` when it is no `propfind`, or holds none or several of its forms.
    pub fn propfind(body: Option<&Element>) -> Result<Want, Denied> {
        let Some(body) = body else { return Ok(Want::All(Vec::new())) };
        if body.name != dav("propfind") {
            return Err(bad("The body of a PROPFIND must be a DAV:propfind element."));
        }
        let mut forms = body
            .elements()
            .filter(|e| e.name.ns == DAV && matches!(&*e.name.local, "prop" | "allprop" | "propname"));
        let (Some(form), None) = (forms.next(), forms.next()) else {
            return Err(bad("DAV:propfind must hold exactly one of DAV:prop, DAV:allprop and DAV:propname."));
        };
        Ok(match &*form.name.local {
            "prop" => Want::prop(form)?,
            "propname" => Want::Names,
            _ => Want::All(body.child(&dav("include")).map(asked).transpose()?.unwrap_or_default()),
        })
    }

    /// Returns the facts that must be read for it.
    pub fn facts(&self) -> Facts {
        match self {
            Want::These(asked) => asked.iter().fold(Facts::NONE, |facts, a| facts.or(a.needs())),
            Want::All(include) => {
                let all = table().filter(|p| p.allprop).fold(Facts::DEAD, |facts, p| facts.or(p.needs));
                include.iter().fold(all, |facts, a| facts.or(a.needs()))
            }
            Want::Names => Facts::ALL,
        }
    }

    /// Tells whether this property is asked for by name.
    pub fn names(&self, name: &Name) -> bool {
        match self {
            Want::These(asked) | Want::All(asked) => asked.iter().any(|a| a.name == *name),
            Want::Names => false,
        }
    }
}

fn bad(why: &str) -> Denied {
    Refusal::Bad(why.to_owned()).into()
}

/// How many properties one request may ask for or set; the longest list that a client is known to send has 50.
pub(super) const ASKED: usize = 1000;

fn asked(prop: &Element) -> Result<Vec<Asked>, Denied> {
    let mut all: Vec<Asked> = Vec::new();
    for element in prop.elements() {
        if all.len() >= ASKED {
            return Err(bad("More than 1000 properties are asked for at once."));
        }
        if !all.iter().any(|a| a.name == element.name) {
            all.push(Asked::new(element.name.clone()));
        }
    }
    Ok(all)
}

/// How many bytes the properties of one resource may have together: they are read with it.
const KEPT: usize = 1 << 20;

/// Decides whether a resource may have these properties.
///
/// # Errors
/// `Properties` if they are too large together.
pub(super) fn fits(properties: &Properties) -> Result<(), Denied> {
    let bytes: usize = properties.0.iter().map(|(n, xml)| n.ns.len() + n.local.len() + xml.len()).sum();
    match bytes > KEPT {
        true => Err(Protocol::Properties(KEPT).into()),
        false => Ok(()),
    }
}

/// Writes every property that `allprop` returns for this resource.
pub(super) fn write_all(resource: &Resource, scope: &Scope, w: &mut Writer) {
    let kind = resource.kind();
    for property in table().filter(|p| p.allprop && p.on.has(kind)) {
        property.write(resource, scope, w);
    }
    let Some(stored) = resource.properties() else { return };
    for (name, xml) in &stored.0 {
        let live = BY_NAME.get(&(name.ns.as_str(), name.local.as_str()));
        if live.is_none_or(|p| !p.on.has(kind)) {
            w.raw(xml);
        }
    }
}

/// Writes the name of every property that this resource has.
pub(super) fn write_names(resource: &Resource, scope: &Scope, w: &mut Writer) {
    let kind = resource.kind();
    for property in table().filter(|p| p.on.has(kind)) {
        let mark = w.mark();
        let found = property.write(resource, scope, w);
        w.rewind(mark);
        if found {
            w.empty(&property.name);
        }
    }
    let Some(stored) = resource.properties() else { return };
    for name in stored.0.keys() {
        let live = BY_NAME.get(&(name.ns.as_str(), name.local.as_str()));
        if live.is_none_or(|p| !p.on.has(kind)) {
            w.empty(&Name::new(name.ns.clone(), name.local.clone()));
        }
    }
}

/// `CALDAV:calendar-data`, which only reports can return (RFC 4791 §9.6).
pub const CALENDAR_DATA: Name = caldav("calendar-data");

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use super::*;
    use crate::dav::testing::scope;
    use crate::http::Href;
    use crate::store::Name as Segment;

    #[test]
    fn each_property_is_declared_once() {
        let mut names: Vec<&Name> = table().map(|p| &p.name).collect();
        let count = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), count);
        assert_eq!(live_property(&dav("getetag")).unwrap().name, dav("getetag"));
    }

    /// What is written for each live property, on each kind of resource, is one well-formed element of its name; and
    /// a property that is protected has a value wherever it exists.
    #[tokio::test]
    async fn every_property_is_one_element_of_its_name() {
        let scope = scope().await;
        let anna = Segment::new("anna").unwrap();
        let at = |name: &str| Segment::new(name).unwrap();
        let home = scope.session.files().await.unwrap();
        let file = at("f");
        scope.session.put(&home, crate::calendar::Put::new(&file, "x".into())).await.unwrap();
        for href in [
            Href::Root,
            Href::Context,
            Href::Principals,
            Href::Principal(anna.clone()),
            Href::Home(anna.clone()),
            Href::Calendar(anna.clone(), at("calendar")),
            Href::Files(anna.clone(), vec![]),
            Href::Files(anna.clone(), vec![file]),
        ] {
            let resource = Resource::at(&scope, &href, Facts::ALL).await.unwrap();
            let mut w = Writer::fragment();
            for property in table().filter(|p| p.on.has(resource.kind())) {
                let found = property.write(&resource, &scope, &mut w);
                let text = w.take_string();
                let must = matches!((&property.set, property.get), (Set::Protected, Get::Inside(_)));
                assert!(found || !must, "{:?} on {href:?}", property.name);
                assert_eq!(found, !text.is_empty());
                if found {
                    let document = roxmltree::Document::parse(&text).unwrap();
                    let tag = document.root_element().tag_name();
                    assert_eq!(
                        (tag.namespace(), tag.name()),
                        (Some(&*property.name.ns), &*property.name.local)
                    );
                }
            }
        }
    }
}

//! Multistatus answers as other servers would have written them.
//!
//! Owns: reading, changing and writing XML of answers. Does not own: when that is to be done (`mod`).

use std::collections::BTreeSet;

use bytes::Bytes;

use super::quirks::Quirks;
use crate::sim::wire::decode;
use crate::xml::{self, DAV, Element, Limits, Name, Node, Writer, dav};

const LIMITS: Limits = Limits { bytes: 64 << 20, depth: 64, nodes: 2_000_000 };

/// A multistatus that is being changed.
#[derive(Debug)]
pub(super) struct Answered(Element);

impl Answered {
    pub(super) fn read(body: &[u8]) -> Option<Answered> {
        xml::parse(body, LIMITS).ok().filter(|root| root.name.is(DAV, "multistatus")).map(Answered)
    }

    pub(super) fn write(&self) -> Bytes {
        let mut out = Writer::document();
        out.element(&self.0);
        out.take().into()
    }

    fn responses(&mut self) -> impl Iterator<Item = &mut Element> {
        elements(&mut self.0).filter(|e| e.name.is(DAV, "response"))
    }

    /// Returns the sync-token of the answer.
    pub(super) fn token(&self) -> Option<String> {
        self.0.child(&dav("sync-token")).map(|e| e.text().trim().to_owned())
    }

    /// Returns every sync-token in it, also those that are properties.
    pub(super) fn tokens(&self) -> Vec<String> {
        let mut found: Vec<String> = self.token().into_iter().collect();
        for response in self.0.elements() {
            let props = response.elements().filter_map(|p| p.child(&dav("prop")));
            found.extend(
                props.filter_map(|p| p.child(&dav("sync-token"))).map(|e| e.text().trim().to_owned()),
            );
        }
        found
    }

    /// Leaves only those responses whose decoded path is fine.
    pub(super) fn keep(&mut self, fine: impl Fn(&str) -> bool) {
        self.0.children.retain(|node| match node {
            Node::Element(e) if e.name.is(DAV, "response") => href(e).is_none_or(|path| fine(&path)),
            _ => true,
        });
    }

    /// Returns the decoded paths of its responses.
    pub(super) fn paths(&self) -> Vec<String> {
        self.0.elements().filter_map(href).collect()
    }

    /// Takes properties away from every response.
    pub(super) fn without(&mut self, names: &[Name]) {
        for response in self.responses() {
            for propstat in elements(response).filter(|e| e.name.is(DAV, "propstat")) {
                for prop in elements(propstat).filter(|e| e.name.is(DAV, "prop")) {
                    prop.children.retain(|n| !matches!(n, Node::Element(e) if names.contains(&e.name)));
                }
            }
        }
    }

    /// The report `sync-collection` and the token are not known.
    pub(super) fn without_sync(&mut self) {
        self.without(&[dav("sync-token")]);
        for response in self.responses() {
            visit(response, &mut |element| {
                if element.name.is(DAV, "supported-report-set") {
                    element.children.retain(|node| match node {
                        Node::Element(report) => {
                            let known =
                                report.child(&dav("report")).and_then(|r| r.child(&dav("sync-collection")));
                            known.is_none()
                        }
                        Node::Text(_) => true,
                    });
                }
            });
        }
    }

    /// Etags in another spelling.
    pub(super) fn etags(&mut self, spell: impl Fn(&str) -> String) {
        visit(&mut self.0, &mut |element| {
            if element.name.is(DAV, "getetag") && !element.text().is_empty() {
                element.children = vec![Node::Text(spell(element.text().trim()))];
            }
        });
    }

    /// A response for the calendar itself, as if it were a member.
    pub(super) fn add_itself(&mut self, path: &str) {
        let text = |name, value: &str| Element {
            children: vec![Node::Text(value.to_owned())],
            ..Element::new(dav(name))
        };
        let holding = |name, children: Vec<Element>| Element {
            children: children.into_iter().map(Node::Element).collect(),
            ..Element::new(dav(name))
        };
        let found = holding("prop", vec![text("getetag", "\"itself\"")]);
        let propstat = holding("propstat", vec![found, text("status", "HTTP/1.1 200 OK")]);
        let response = holding("response", vec![text("href", path), propstat]);
        self.0.children.insert(0, Node::Element(response));
    }

    /// Addresses as the quirks want them; `turn` makes one spelling differ from the next.
    pub(super) fn hrefs(&mut self, quirks: &Quirks, turn: u64) {
        visit(&mut self.0, &mut |element| {
            if !element.name.is(DAV, "href") {
                return;
            }
            let mut text = element.text().trim().to_owned();
            if !text.starts_with('/') {
                return;
            }
            if quirks.href_percent_variants {
                text = variant(&text, turn);
            }
            if let Some(host) = &quirks.href_other_host {
                text = format!("http://{host}{text}");
            }
            element.children = vec![Node::Text(text)];
        });
    }

    /// Every member stands in it twice.
    pub(super) fn double_all(&mut self) {
        let members: Vec<Node> = self.0.children.iter().filter(|node| is_response(node)).cloned().collect();
        self.0.children.splice(0..0, members);
    }

    /// The first response says where the account's calendars are.
    pub(super) fn add_home(&mut self, path: &str) {
        let holding = |name, children: Vec<Element>| Element {
            children: children.into_iter().map(Node::Element).collect(),
            ..Element::new(name)
        };
        let text = |name, value: &str| Element {
            children: vec![Node::Text(value.to_owned())],
            ..Element::new(dav(name))
        };
        let home = holding(xml::caldav("calendar-home-set"), vec![text("href", path)]);
        let found = holding(dav("prop"), vec![home]);
        let propstat = holding(dav("propstat"), vec![found, text("status", "HTTP/1.1 200 OK")]);
        if let Some(first) = self.responses().next() {
            first.children.push(Node::Element(propstat));
        }
    }

    /// Keeps so many members; the calendar's own response stays.
    pub(super) fn truncate(&mut self, most: usize) {
        let members: BTreeSet<String> =
            self.paths().into_iter().filter(|path| !path.ends_with('/')).take(most).collect();
        self.keep(|path| path.ends_with('/') || members.contains(path));
    }

    /// The first member stands in it twice.
    pub(super) fn double(&mut self) {
        let first = self.0.elements().find(|e| href(e).is_some_and(|path| !path.ends_with('/'))).cloned();
        self.0.children.extend(first.map(Node::Element));
    }

    /// Tells whether the ctag is among what it says.
    #[cfg(test)]
    fn says(&self, ns: &str, local: &str) -> bool {
        let mut found = false;
        visit(&mut self.0.clone(), &mut |element| found |= element.name.is(ns, local));
        found
    }
}

fn is_response(node: &Node) -> bool {
    matches!(node, Node::Element(e) if e.name.is(DAV, "response") && href(e).is_some_and(|path| !path.ends_with('/')))
}

fn elements(element: &mut Element) -> impl Iterator<Item = &mut Element> {
    element.children.iter_mut().filter_map(|node| match node {
        Node::Element(e) => Some(e),
        Node::Text(_) => None,
    })
}

fn visit(element: &mut Element, with: &mut impl FnMut(&mut Element)) {
    with(element);
    for child in elements(element) {
        visit(child, with);
    }
}

fn href(response: &Element) -> Option<String> {
    response.child(&dav("href")).map(|e| decode(e.text().trim()))
}

/// The same path in another spelling: small hexadecimal digits, or a letter encoded that need not be.
fn variant(path: &str, turn: u64) -> String {
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
    let mut out = format!("{folder}/");
    let mut rest = name.chars();
    while let Some(letter) = rest.next() {
        match letter {
            '%' => {
                let digits: String = rest.by_ref().take(2).collect();
                let digits = if turn.is_multiple_of(2) { digits.to_ascii_lowercase() } else { digits };
                out.push('%');
                out.push_str(&digits);
            }
            'e' if !turn.is_multiple_of(2) => out.push_str("%65"),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use super::*;
    use crate::xml::{CALENDARSERVER, calendarserver};

    const TEXT: &str = "<d:multistatus xmlns:d='DAV:' xmlns:s='http://calendarserver.org/ns/'>\
        <d:response><d:href>/cal/</d:href><d:propstat><d:prop><s:getctag>7</s:getctag><d:sync-token>t1</d:sync-token>\
        </d:prop></d:propstat></d:response><d:response><d:href>/cal/e%2Ba.ics</d:href><d:propstat><d:prop>\
        <d:getetag>\"1\"</d:getetag></d:prop></d:propstat></d:response><d:sync-token>t2</d:sync-token></d:multistatus>";

    #[test]
    fn an_answer_is_bent_and_stays_one() {
        let mut answer = Answered::read(TEXT.as_bytes()).unwrap();
        assert_eq!(answer.tokens(), ["t2", "t1"]);
        answer.without_sync();
        assert_eq!(answer.tokens(), ["t2"]);
        assert!(answer.says(CALENDARSERVER, "getctag"));
        answer.without(&[calendarserver("getctag")]);
        assert!(!answer.says(CALENDARSERVER, "getctag"));
        answer.etags(|etag| etag.trim_matches('"').to_owned());
        let quirks =
            Quirks { href_other_host: Some("x:1".into()), href_percent_variants: true, ..Quirks::default() };
        answer.hrefs(&quirks, 1);
        let text = String::from_utf8(answer.write().to_vec()).unwrap();
        assert!(text.contains(">1<") && text.contains("http://x:1/cal/%65%2Ba.ics"), "{text}");
        let mut again = Answered::read(TEXT.as_bytes()).unwrap();
        again.double();
        assert_eq!(again.paths(), ["/cal/", "/cal/e+a.ics", "/cal/e+a.ics"]);
        again.truncate(0);
        assert_eq!(again.paths(), ["/cal/"]);
    }
}

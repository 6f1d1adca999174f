//! `Element` and streams → bytes, with stable prefixes (`D`, `C`, `CS`, `A`) and correct escaping.
//!
//! Owns: prefixes, declarations, escaping. Writing an element allocates nothing once the buffers have grown.

use super::name::{APPLE, CALDAV, CALENDARSERVER, DAV, Name};
use super::read::{Element, Node, XML};

/// The namespaces with a prefix of their own; the position is the bit in `Writer::declared`.
const KNOWN: [(&str, &str); 4] = [("D", DAV), ("C", CALDAV), ("CS", CALENDARSERVER), ("A", APPLE)];

/// Writes one document piece by piece into a buffer that the caller may take at any time.
#[derive(Debug, Default)]
pub struct Writer {
    out: Vec<u8>,
    /// The tags of the open elements, one after the other.
    tags: String,
    /// For each open element: where its tag begins in `tags`, and the declarations in force outside of it.
    open: Vec<(usize, u8)>,
    /// Which of `KNOWN` are declared here.
    declared: u8,
    /// Declare all of `KNOWN` on the outermost element.
    document: bool,
}

/// A place in what has been written, to go back to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark(usize);

impl Writer {
    /// Begins a document with its declaration.
    pub fn document() -> Writer {
        let mut out = Vec::with_capacity(1024);
        out.extend_from_slice(b"<?xml version=\"1.0\" encoding=\"utf-8\"?>\n");
        Writer { out, document: true, ..Writer::default() }
    }

    /// Begins a fragment without a declaration; each element declares what it uses.
    pub fn fragment() -> Writer {
        Writer::default()
    }

    /// Opens an element. The outermost one of a document declares the well-known prefixes.
    pub fn open(&mut self, name: &Name) {
        self.open_with(name, &[]);
    }

    /// Opens an element with attributes that have no namespace.
    pub fn open_with(&mut self, name: &Name, attributes: &[(&str, &str)]) {
        self.tag(name);
        for (key, value) in attributes {
            self.attribute(key, value);
        }
        self.out.push(b'>');
    }

    /// Closes the innermost open element.
    pub fn close(&mut self) {
        let Some((at, declared)) = self.open.pop() else { return };
        self.out.extend_from_slice(b"</");
        self.out.extend_from_slice(self.tags.as_bytes().get(at..).unwrap_or_default());
        self.out.push(b'>');
        self.tags.truncate(at);
        self.declared = declared;
    }

    /// Writes an empty element.
    pub fn empty(&mut self, name: &Name) {
        self.empty_with(name, &[]);
    }

    /// Writes an empty element with attributes that have no namespace.
    pub fn empty_with(&mut self, name: &Name, attributes: &[(&str, &str)]) {
        self.tag(name);
        for (key, value) in attributes {
            self.attribute(key, value);
        }
        self.end_empty();
    }

    /// Writes character data; what XML 1.0 cannot hold is left out, CR is written as a reference.
    pub fn text(&mut self, text: &str) {
        escape(&mut self.out, text, Place::Text);
    }

    /// Writes an element with text only.
    pub fn leaf(&mut self, name: &Name, text: &str) {
        self.open(name);
        self.text(text);
        self.close();
    }

    /// Writes a number as character data.
    pub fn number(&mut self, number: u64) {
        let mut digits = [0u8; 20];
        let mut at = digits.len();
        let mut rest = number;
        loop {
            at -= 1;
            if let Some(digit) = digits.get_mut(at) {
                *digit = b'0' + u8::try_from(rest % 10).unwrap_or(0);
            }
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        self.out.extend_from_slice(digits.get(at..).unwrap_or_default());
    }

    /// Writes a whole element, its namespaces declared where they are needed.
    pub fn element(&mut self, element: &Element) {
        let outer = self.declared;
        self.tag_declaring(&element.name, needed(element));
        for attribute in &element.attributes {
            if attribute.name.ns.is_empty() {
                self.attribute(&attribute.name.local, &attribute.value);
            } else if attribute.name.ns == XML {
                self.prefixed("xml", &attribute.name.local, &attribute.value);
            } else {
                self.foreign_attribute(&attribute.name, &attribute.value);
            }
        }
        if element.children.is_empty() {
            self.end_empty();
        } else {
            self.out.push(b'>');
            for child in &element.children {
                match child {
                    Node::Element(child) => self.element(child),
                    Node::Text(text) => self.text(text),
                }
            }
            self.close();
        }
        debug_assert_eq!(outer, self.declared);
    }

    /// Writes a fragment made earlier by a `Writer`, which must carry its own declarations.
    pub fn raw(&mut self, xml: &str) {
        self.out.extend_from_slice(xml.as_bytes());
    }

    /// Returns the number of bytes that wait to be taken.
    pub fn len(&self) -> usize {
        self.out.len()
    }

    /// Tells whether nothing waits to be taken.
    pub fn is_empty(&self) -> bool {
        self.out.is_empty()
    }

    /// Takes what has been written so far; writing goes on.
    pub fn take(&mut self) -> Vec<u8> {
        // What was written in one go is the best guess for the next piece.
        let next = if self.open.is_empty() { 0 } else { self.out.len() };
        std::mem::replace(&mut self.out, Vec::with_capacity(next))
    }

    /// Takes what has been written as text: for fragments that are kept.
    pub fn take_string(&mut self) -> String {
        // Everything in `out` came from `&str` or ASCII bytes.
        String::from_utf8(self.take()).unwrap_or_default()
    }

    /// Remembers this place. It is void after `take`.
    pub fn mark(&self) -> Mark {
        Mark(self.out.len())
    }

    /// Forgets what was written since the mark, which must have been set at the same nesting.
    pub fn rewind(&mut self, mark: Mark) {
        self.out.truncate(mark.0);
    }

    fn tag(&mut self, name: &Name) {
        self.tag_declaring(name, 0);
    }

    fn tag_declaring(&mut self, name: &Name, also: u8) {
        let at = self.tags.len();
        let outer = self.declared;
        let mut declare = also;
        let known = KNOWN.iter().position(|(_, ns)| *ns == name.ns);
        match known.and_then(|i| Some((i, KNOWN.get(i)?))) {
            Some((i, (prefix, _))) => {
                declare |= 1 << i;
                self.tags.push_str(prefix);
                self.tags.push(':');
            }
            None if !name.ns.is_empty() => self.tags.push_str("X:"),
            None => {}
        }
        self.tags.push_str(&name.local);
        self.out.push(b'<');
        self.out.extend_from_slice(self.tags.as_bytes().get(at..).unwrap_or_default());
        if self.document && self.open.is_empty() {
            declare = (1 << KNOWN.len()) - 1;
        }
        let missing = declare & !self.declared;
        if missing != 0 {
            for (i, (prefix, ns)) in KNOWN.iter().enumerate() {
                if missing & (1 << i) != 0 {
                    self.prefixed("xmlns", prefix, ns);
                }
            }
            self.declared |= missing;
        }
        if known.is_none() && !name.ns.is_empty() {
            self.prefixed("xmlns", "X", &name.ns);
        }
        self.open.push((at, outer));
    }

    fn end_empty(&mut self) {
        self.out.extend_from_slice(b"/>");
        if let Some((at, declared)) = self.open.pop() {
            self.tags.truncate(at);
            self.declared = declared;
        }
    }

    fn attribute(&mut self, key: &str, value: &str) {
        self.out.push(b' ');
        self.out.extend_from_slice(key.as_bytes());
        self.out.extend_from_slice(b"=\"");
        escape(&mut self.out, value, Place::Attribute);
        self.out.push(b'"');
    }

    fn prefixed(&mut self, prefix: &str, local: &str, value: &str) {
        self.out.push(b' ');
        self.out.extend_from_slice(prefix.as_bytes());
        self.out.push(b':');
        self.out.extend_from_slice(local.as_bytes());
        self.out.extend_from_slice(b"=\"");
        escape(&mut self.out, value, Place::Attribute);
        self.out.push(b'"');
    }

    /// Rare: each such attribute gets a prefix of its own, numbered by the place in the output.
    fn foreign_attribute(&mut self, name: &Name, value: &str) {
        let prefix = format!("Y{}", self.out.len());
        self.prefixed("xmlns", &prefix, &name.ns);
        self.prefixed(&prefix, &name.local, value);
    }
}

/// Returns which of `KNOWN` occur in the element, so that they are declared once at its top.
fn needed(element: &Element) -> u8 {
    let own = KNOWN.iter().position(|(_, ns)| *ns == element.name.ns).map_or(0, |i| 1 << i);
    element.elements().fold(own, |bits, child| bits | needed(child))
}

#[derive(Clone, Copy, PartialEq)]
enum Place {
    Text,
    Attribute,
}

fn escape(out: &mut Vec<u8>, text: &str, place: Place) {
    let bytes = text.as_bytes();
    let mut from = 0;
    for (i, &b) in bytes.iter().enumerate() {
        let with: &[u8] = match b {
            b'&' => b"&amp;",
            b'<' => b"&lt;",
            b'>' => b"&gt;",
            b'\r' => b"&#13;",
            b'"' if place == Place::Attribute => b"&quot;",
            b'\n' if place == Place::Attribute => b"&#10;",
            b'\t' if place == Place::Attribute => b"&#9;",
            b'\n' | b'\t' => continue,
            0..0x20 => b"",
            // U+FFFE and U+FFFF, the only others that XML 1.0 §2.2 forbids.
            0xEF if matches!(bytes.get(i + 1..i + 3), Some([0xBF, 0xBE | 0xBF])) => b"",
            _ => continue,
        };
        out.extend_from_slice(bytes.get(from..i).unwrap_or_default());
        out.extend_from_slice(with);
        from = i + if b == 0xEF { 3 } else { 1 };
    }
    out.extend_from_slice(bytes.get(from..).unwrap_or_default());
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use super::super::name::{apple, caldav, dav};
    use super::super::read::{Attribute, Limits, parse};
    use super::*;

    #[test]
    fn a_document_declares_once() {
        let mut w = Writer::document();
        w.open(&dav("multistatus"));
        w.leaf(&dav("href"), "/a&b\r\n");
        w.empty(&Name::new("urn:x", "y"));
        w.empty_with(&caldav("comp"), &[("name", "A\"<")]);
        w.close();
        let text = w.take_string();
        assert_eq!(
            text,
            "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<D:multistatus xmlns:D=\"DAV:\" \
             xmlns:C=\"urn:ietf:params:xml:ns:caldav\" xmlns:CS=\"http://calendarserver.org/ns/\" \
             xmlns:A=\"http://apple.com/ns/ical/\"><D:href>/a&amp;b&#13;\n</D:href><X:y xmlns:X=\"urn:x\"/>\
             <C:comp name=\"A&quot;&lt;\"/></D:multistatus>"
        );
        roxmltree::Document::parse(&text).unwrap();
    }

    #[test]
    fn illegal_characters_are_left_out() {
        //
        let mut w = Writer::fragment();
        w.text("a\u{0}\u{8}\u{FFFE}b\u{FFFF}\u{FFFD}\t");
        assert_eq!(w.take_string(), "ab\u{FFFD}\t");
    }

    #[test]
    fn an_element_survives_writing_and_reading() {
        for text in [
            "<A:calendar-color xmlns:A='http://apple.com/ns/ical/' symbolic-color='red'>#FF0000FF</A:calendar-color>",
            "<p xml:lang='de'>Grüße <b xmlns='u'><c xmlns=''/></b> &#13;</p>",
            "<x:p xmlns:x='u' x:q='1' xmlns:y='v' y:q='2' q='3'><D:a xmlns:D='DAV:'/><x:b/></x:p>",
            "<a><b xmlns='DAV:'/><c xmlns='DAV:'/></a>",
        ] {
            let element = parse(text.as_bytes(), Limits::default()).unwrap();
            let mut w = Writer::fragment();
            w.element(&element);
            let written = w.take_string();
            assert_eq!(parse(written.as_bytes(), Limits::default()).unwrap(), element, "{written}");
            roxmltree::Document::parse(&written).unwrap();
        }
    }

    #[test]
    fn a_fragment_declares_what_it_uses() {
        let mut element = Element::new(apple("calendar-order"));
        element.attributes.push(Attribute { name: Name::new("", "a"), value: "1".into() });
        let mut w = Writer::fragment();
        w.element(&element);
        w.element(&element);
        let one = "<A:calendar-order xmlns:A=\"http://apple.com/ns/ical/\" a=\"1\"/>";
        assert_eq!(w.take_string(), format!("{one}{one}"));
    }

    #[test]
    fn numbers() {
        for n in [0, 7, 10, u64::MAX] {
            let mut w = Writer::fragment();
            w.number(n);
            assert_eq!(w.take_string(), n.to_string());
        }
    }

    #[test]
    fn rewinding_forgets() {
        let mut w = Writer::fragment();
        w.open(&dav("a"));
        let mark = w.mark();
        w.leaf(&dav("b"), "x");
        w.rewind(mark);
        w.close();
        assert_eq!(w.take_string(), "<D:a xmlns:D=\"DAV:\"></D:a>");
    }
}

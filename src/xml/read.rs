//! Bytes → `Element`, bounded: no DTD, no entities, limits on depth, nodes and size.
//!
//! Owns: what is well-formed enough to be looked at. quick-xml finds the tokens; it is lenient about truncated input,
//! several roots, doubled attributes and unbound prefixes, so those rules are enforced here.

use std::borrow::Cow;

use quick_xml::NsReader;
use quick_xml::events::{BytesDecl, BytesRef, BytesStart, Event};
use quick_xml::name::{PrefixDeclaration, ResolveResult};

use super::name::{APPLE, CALDAV, CALENDARSERVER, DAV, Name, is_name};

/// The namespace of `xml:lang` and its kin.
pub const XML: &str = "http://www.w3.org/XML/1998/namespace";

/// One element with everything in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Element {
    /// Its name.
    pub name: Name,
    /// Its attributes, namespace declarations left out; `xml:lang` has the XML namespace.
    pub attributes: Vec<Attribute>,
    /// Its content, in order.
    pub children: Vec<Node>,
}

/// One attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attribute {
    /// Its name; without a prefix it has no namespace.
    pub name: Name,
    /// Its value, unescaped.
    pub value: String,
}

/// Content of an element.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    /// A child element.
    Element(Element),
    /// Character data, unescaped, neighbouring pieces joined.
    Text(String),
}

/// How much is accepted.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes of the document.
    pub bytes: usize,
    /// Nesting.
    pub depth: usize,
    /// Elements and pieces of text.
    pub nodes: usize,
}

impl Default for Limits {
    /// Enough for a multiget of 15,000 members with long names.
    fn default() -> Limits {
        Limits { bytes: 4 << 20, depth: 64, nodes: 50_000 }
    }
}

/// Why a document was refused, in words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct XmlError(pub String);

/// Attributes of one element; each is compared with those before it.
const ATTRIBUTES: usize = 128;

const EXTERNAL: &str = "A document type declaration that points outside of the document is not accepted.";

impl XmlError {
    /// Tells whether the document wanted something from outside of itself (RFC 4918 §16, `no-external-entities`).
    pub fn wants_external_entity(&self) -> bool {
        self.0 == EXTERNAL
    }
}

fn refuse<T>(why: impl Into<String>) -> Result<T, XmlError> {
    Err(XmlError(why.into()))
}

/// Reads one document.
///
/// # Errors
/// When it is not well-formed and namespace-well-formed XML 1.0 in UTF-8, declares a DTD, or exceeds a limit.
pub fn parse(bytes: &[u8], limits: Limits) -> Result<Element, XmlError> {
    let text = decode(bytes, limits)?;
    let mut reader = NsReader::from_str(text);
    reader.config_mut().check_comments = true;
    let mut build = Build { open: Vec::new(), root: None, nodes: 0, limits };
    let mut first = true;
    loop {
        let event = match reader.read_event() {
            Ok(event) => event,
            Err(error) => return refuse(format!("The XML is not well-formed: {error}.")),
        };
        match event {
            Event::Start(start) => {
                let element = element(&reader, &start)?;
                build.start(element)?;
            }
            Event::Empty(start) => {
                let element = element(&reader, &start)?;
                build.start(element)?;
                build.end()?;
            }
            Event::End(_) => build.end()?,
            Event::Text(piece) => build.text(&piece.xml10_content())?,
            Event::CData(piece) => build.cdata(&piece.xml10_content())?,
            Event::GeneralRef(reference) => {
                let c = resolve(&reference)?;
                build.cdata(c.encode_utf8(&mut [0; 4]))?;
            }
            Event::Decl(decl) if first => declaration(&decl)?,
            Event::Decl(_) => return refuse("An XML declaration may only stand at the very beginning."),
            Event::DocType(dtd) if dtd.contains("SYSTEM") || dtd.contains("PUBLIC") => {
                return refuse(EXTERNAL);
            }
            Event::DocType(_) => return refuse("A document type declaration is not accepted."),
            Event::Comment(_) | Event::PI(_) => {}
            Event::Eof => break,
        }
        first = false;
    }
    if !build.open.is_empty() {
        return refuse("The XML ends before its elements are closed.");
    }
    build.root.map_or_else(|| refuse("The XML has no root element."), Ok)
}

/// UTF-8 only, within the limit, with no character that XML 1.0 §2.2 forbids.
fn decode(bytes: &[u8], limits: Limits) -> Result<&str, XmlError> {
    if bytes.len() > limits.bytes {
        return refuse(format!("The XML is longer than {} bytes.", limits.bytes));
    }
    if bytes.starts_with(&[0xFF, 0xFE]) || bytes.starts_with(&[0xFE, 0xFF]) {
        return refuse("The XML is in UTF-16; only UTF-8 is accepted.");
    }
    let bytes = bytes.strip_prefix(&[0xEF, 0xBB, 0xBF]).unwrap_or(bytes);
    let Ok(text) = std::str::from_utf8(bytes) else {
        return refuse("The XML is not UTF-8.");
    };
    if bytes.iter().any(|&b| b < 0x20 && !matches!(b, b'\t' | b'\n' | b'\r')) {
        return refuse("The XML holds a control character.");
    }
    if bytes.windows(3).any(|w| matches!(w, [0xEF, 0xBF, 0xBE | 0xBF])) {
        return refuse("The XML holds a character that XML 1.0 forbids.");
    }
    Ok(text)
}

fn declaration(decl: &BytesDecl<'_>) -> Result<(), XmlError> {
    match decl.version() {
        Ok(version) if version.starts_with("1.") => {}
        _ => return refuse("The XML declaration names no known version."),
    }
    match decl.encoding() {
        None => Ok(()),
        Some(Ok(name)) if name.eq_ignore_ascii_case("utf-8") || name.eq_ignore_ascii_case("us-ascii") => {
            Ok(())
        }
        Some(Ok(name)) => refuse(format!("The XML is declared as {name}; only UTF-8 is accepted.")),
        Some(Err(_)) => refuse("The XML declaration cannot be read."),
    }
}

/// The five predefined entities and character references; nothing else exists without a DTD.
fn resolve(reference: &BytesRef<'_>) -> Result<char, XmlError> {
    match reference.resolve_char_ref() {
        Ok(Some(c)) if allowed(c) => return Ok(c),
        Ok(Some(_)) | Err(_) => {
            return refuse("A character reference names no character that XML 1.0 allows.");
        }
        Ok(None) => {}
    }
    match &**reference {
        "amp" => Ok('&'),
        "lt" => Ok('<'),
        "gt" => Ok('>'),
        "quot" => Ok('"'),
        "apos" => Ok('\''),
        other => refuse(format!("The entity &{other}; is not defined.")),
    }
}

fn allowed(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r') || (c >= ' ' && !matches!(c, '\u{FFFE}' | '\u{FFFF}'))
}

fn element(reader: &NsReader<&[u8]>, start: &BytesStart<'_>) -> Result<Element, XmlError> {
    let qname = start.name();
    let (resolved, local) = reader.resolver().resolve_element(qname);
    let name = name(resolved, local.into_inner())?;
    let mut attributes = Vec::new();
    for attribute in start.attributes() {
        let attribute = match attribute {
            Ok(attribute) => attribute,
            Err(error) => return refuse(format!("An attribute is not well-formed: {error}.")),
        };
        if attribute.value.contains('<') {
            return refuse("An attribute value holds an unescaped “<”.");
        }
        if let Some(binding) = attribute.key.as_namespace_binding() {
            if attribute.value.is_empty() && matches!(binding, PrefixDeclaration::Named(_)) {
                return refuse("A namespace prefix is bound to nothing (Namespaces in XML 1.0 §2.2).");
            }
            continue;
        }
        let (resolved, local) = reader.resolver().resolve_attribute(attribute.key);
        let name = self::name(resolved, local.into_inner())?;
        let value = match attribute.normalized_value(quick_xml::XmlVersion::Implicit1_0) {
            Ok(value) => value.into_owned(),
            Err(error) => return refuse(format!("An attribute value cannot be read: {error}.")),
        };
        if !value.chars().all(allowed) {
            return refuse("An attribute value holds a character that XML 1.0 forbids.");
        }
        if attributes.len() >= ATTRIBUTES {
            return refuse(format!("An element has more than {ATTRIBUTES} attributes."));
        }
        if attributes.iter().any(|a: &Attribute| a.name == name) {
            return refuse("An element has the same attribute twice.");
        }
        attributes.push(Attribute { name, value });
    }
    Ok(Element { name, attributes, children: Vec::new() })
}

fn name(resolved: ResolveResult<'_>, local: &str) -> Result<Name, XmlError> {
    if !is_name(local) {
        return refuse(format!("“{local}” is not an XML name."));
    }
    let ns = match resolved {
        ResolveResult::Unbound => Cow::Borrowed(""),
        ResolveResult::Bound(ns) => namespace(ns.0)?,
        ResolveResult::Unknown(prefix) => {
            return refuse(format!("The namespace prefix “{prefix}” is not declared."));
        }
    };
    Ok(Name { ns, local: Cow::Owned(local.to_owned()) })
}

fn namespace(raw: &str) -> Result<Cow<'static, str>, XmlError> {
    Ok(match raw {
        DAV => Cow::Borrowed(DAV),
        CALDAV => Cow::Borrowed(CALDAV),
        CALENDARSERVER => Cow::Borrowed(CALENDARSERVER),
        APPLE => Cow::Borrowed(APPLE),
        XML => Cow::Borrowed(XML),
        other if other.contains('&') => match quick_xml::escape::unescape(other) {
            Ok(text) => Cow::Owned(text.into_owned()),
            Err(_) => return refuse("A namespace name cannot be read."),
        },
        other => Cow::Owned(other.to_owned()),
    })
}

/// The tree as it grows.
struct Build {
    open: Vec<Element>,
    root: Option<Element>,
    nodes: usize,
    limits: Limits,
}

impl Build {
    fn count(&mut self) -> Result<(), XmlError> {
        self.nodes += 1;
        if self.nodes > self.limits.nodes {
            return refuse(format!("The XML has more than {} nodes.", self.limits.nodes));
        }
        Ok(())
    }

    fn start(&mut self, element: Element) -> Result<(), XmlError> {
        self.count()?;
        if self.root.is_some() {
            return refuse("The XML has more than one root element.");
        }
        if self.open.len() >= self.limits.depth {
            return refuse(format!("The XML is nested deeper than {} levels.", self.limits.depth));
        }
        self.open.push(element);
        Ok(())
    }

    fn end(&mut self) -> Result<(), XmlError> {
        let Some(element) = self.open.pop() else {
            return refuse("An element is closed that was not opened.");
        };
        match self.open.last_mut() {
            Some(parent) => parent.children.push(Node::Element(element)),
            None => self.root = Some(element),
        }
        Ok(())
    }

    fn text(&mut self, text: &str) -> Result<(), XmlError> {
        if self.open.is_empty() {
            return match text.chars().all(|c| matches!(c, ' ' | '\t' | '\r' | '\n')) {
                true => Ok(()),
                false => refuse("The XML has text outside its root element."),
            };
        }
        self.cdata(text)
    }

    fn cdata(&mut self, text: &str) -> Result<(), XmlError> {
        let Some(parent) = self.open.last_mut() else {
            return refuse("The XML has text outside its root element.");
        };
        if let Some(Node::Text(before)) = parent.children.last_mut() {
            before.push_str(text);
            return Ok(());
        }
        if text.is_empty() {
            return Ok(());
        }
        parent.children.push(Node::Text(text.to_owned()));
        self.count()
    }
}

impl Element {
    /// Returns an empty element.
    pub fn new(name: Name) -> Element {
        Element { name, attributes: Vec::new(), children: Vec::new() }
    }

    /// Returns the child elements, in order.
    pub fn elements(&self) -> impl Iterator<Item = &Element> {
        self.children.iter().filter_map(|node| match node {
            Node::Element(element) => Some(element),
            Node::Text(_) => None,
        })
    }

    /// Returns the first child element of that name.
    pub fn child(&self, name: &Name) -> Option<&Element> {
        self.elements().find(|e| e.name == *name)
    }

    /// Returns the character data directly inside, joined.
    pub fn text(&self) -> String {
        self.children
            .iter()
            .filter_map(|node| match node {
                Node::Text(text) => Some(text.as_str()),
                Node::Element(_) => None,
            })
            .collect()
    }

    /// Returns the value of the attribute without a namespace.
    pub fn attribute(&self, local: &str) -> Option<&str> {
        self.attributes.iter().find(|a| a.name.is("", local)).map(|a| a.value.as_str())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use super::*;

    fn check(input: &str, expected: Result<&str, &str>) {
        match (parse(input.as_bytes(), Limits::default()), expected) {
            (Ok(element), Ok(text)) => assert_eq!(shape(&element), text, "{input}"),
            (Err(error), Err(part)) => assert!(error.0.contains(part), "{input}: {error}"),
            (got, want) => panic!("{input}: {got:?} instead of {want:?}"),
        }
    }

    fn shape(e: &Element) -> String {
        let mut out = format!("{{{}}}{}", e.name.ns, e.name.local);
        for a in &e.attributes {
            out += &format!("@{{{}}}{}={}", a.name.ns, a.name.local, a.value);
        }
        out += "(";
        for child in &e.children {
            match child {
                Node::Element(e) => out += &shape(e),
                Node::Text(t) => out += &format!("{t:?}"),
            }
        }
        out + ")"
    }

    #[test]
    fn what_is_read() {
        check("<a/>", Ok("{}a()"));
        check(
            "<?xml version='1.0' encoding='UTF-8'?>\n<!-- c --><D:a xmlns:D='DAV:'><D:b/></D:a>\n",
            Ok("{DAV:}a({DAV:}b())"),
        );
        check("<a xmlns='x'><b xmlns=''/></a>", Ok("{x}a({}b())"));
        check("<a>x&amp;y&#65;<![CDATA[<z>]]></a>", Ok("{}a(\"x&yA<z>\")"));
        check(
            "<a xml:lang='de' b='&quot;'/>",
            Ok("{}a@{http://www.w3.org/XML/1998/namespace}lang=de@{}b=\"()"),
        );
        check("<a>1\r\n2&#13;</a>", Ok("{}a(\"1\\n2\\r\")"));
        check("<a xmlns='u&amp;v'/>", Ok("{u&v}a()"));
        check("\u{FEFF}<a/>", Ok("{}a()"));
    }

    #[test]
    fn what_is_refused() {
        check("", Err("no root"));
        check("<a>", Err("ends before"));
        check("<a></b>", Err("not well-formed"));
        check("<a/><b/>", Err("more than one root"));
        check("<a/>x", Err("outside its root"));
        check("<a/>&amp;", Err("outside its root"));
        check("<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>", Err("document type"));
        check("<!DOCTYPE a [<!ENTITY b SYSTEM 'file:///etc/passwd'>]><a>&b;</a>", Err("points outside"));
        check("<!DOCTYPE a PUBLIC 'x' 'http://example.com/x.dtd'><a/>", Err("points outside"));
        check("<a>&b;</a>", Err("not defined"));
        check("<a>&#0;</a>", Err("character reference"));
        check("<a>&#xFFFE;</a>", Err("character reference"));
        check("<a>\u{1}</a>", Err("control character"));
        check("<a b='1' b='2'/>", Err("attribute"));
        check("<a xmlns:p='x' xmlns:q='x' p:b='1' q:b='2'/>", Err("same attribute twice"));
        check("<p:a/>", Err("not declared"));
        check("<a p:b='1'/>", Err("not declared"));
        check("<a xmlns:p=''/>", Err("bound to nothing"));
        check("<a b='&#1;'/>", Err("forbids"));
        check("<?xml version='1.0' encoding='latin1'?><a/>", Err("only UTF-8"));
        let many: String = (0..200_000).map(|i| format!(" a{i}=''")).collect();
        check(&format!("<a{many}/>"), Err("more than 128 attributes"));
        check("<1a/>", Err("not an XML name"));
        check(&"<a>".repeat(65), Err("deeper"));
        check(&format!("<a>{}</a>", "<b/>".repeat(50_000)), Err("nodes"));
        assert!(parse(b"\xFF\xFE<\0a\0", Limits::default()).is_err());
        assert!(parse(b"<a>\xE4</a>", Limits::default()).is_err());
    }

    #[test]
    fn a_multiget_of_many_members_is_read() {
        //
        let mut body = String::from("<C:m xmlns:C='urn:ietf:params:xml:ns:caldav' xmlns:D='DAV:'><D:prop/>");
        for i in 0..10_000 {
            body +=
                &format!("\n  <D:href>/dav/calendars/a%40example.org/{}/{i}.ics</D:href>", "x".repeat(70));
        }
        body += "</C:m>";
        assert!(body.len() > 1 << 20);
        assert_eq!(parse(body.as_bytes(), Limits::default()).unwrap().elements().count(), 10_001);
    }
}

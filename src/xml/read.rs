//! Bytes → `Element`, bounded: no DTD, no entities, limits on depth, nodes and size.

use super::name::Name;

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

/// Why a document was refused, in words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct XmlError(pub String);

/// Reads one document.
///
/// # Errors
/// When it is not well-formed and namespace-well-formed XML 1.0 in UTF-8, declares a DTD, or exceeds a limit.
pub fn parse(bytes: &[u8], limits: Limits) -> Result<Element, XmlError> {
    let _ = (bytes, limits);
    Err(XmlError("to be written".into()))
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

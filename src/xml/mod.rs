//! XML in and out, with namespaces resolved.
//!
//! Owns: names, the bounded reader, the writer. Does not own: what any element means.

#[cfg(test)]
mod laws;
mod name;
mod read;
mod write;

pub use name::{APPLE, CALDAV, CALENDARSERVER, DAV, Name, apple, caldav, calendarserver, dav, is_name};
pub use read::{Attribute, Element, Limits, Node, XML, XmlError, parse};
pub use write::{Mark, Writer};

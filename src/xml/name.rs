//! Namespaces and names: the only place where a namespace is spelled.

use std::borrow::Cow;

/// RFC 4918.
pub const DAV: &str = "DAV:";
/// RFC 4791.
pub const CALDAV: &str = "urn:ietf:params:xml:ns:caldav";
/// Apple's CalendarServer extensions.
pub const CALENDARSERVER: &str = "http://calendarserver.org/ns/";
/// Apple's iCal properties (colour, order).
pub const APPLE: &str = "http://apple.com/ns/ical/";

/// An expanded XML name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name {
    /// The namespace name; empty for none.
    pub ns: Cow<'static, str>,
    /// The local part.
    pub local: Cow<'static, str>,
}

impl Name {
    /// Returns the name made of these parts.
    pub fn new(ns: impl Into<Cow<'static, str>>, local: impl Into<Cow<'static, str>>) -> Name {
        Name { ns: ns.into(), local: local.into() }
    }

    /// Tells whether the name has these parts.
    pub fn is(&self, ns: &str, local: &str) -> bool {
        self.ns == ns && self.local == local
    }
}

/// Returns a name of RFC 4918 and its kin.
pub const fn dav(local: &'static str) -> Name {
    Name { ns: Cow::Borrowed(DAV), local: Cow::Borrowed(local) }
}

/// Returns a name of RFC 4791 and RFC 6638.
pub const fn caldav(local: &'static str) -> Name {
    Name { ns: Cow::Borrowed(CALDAV), local: Cow::Borrowed(local) }
}

/// Returns a name of the CalendarServer extensions.
pub const fn calendarserver(local: &'static str) -> Name {
    Name { ns: Cow::Borrowed(CALENDARSERVER), local: Cow::Borrowed(local) }
}

/// Returns a name of Apple's iCal properties.
pub const fn apple(local: &'static str) -> Name {
    Name { ns: Cow::Borrowed(APPLE), local: Cow::Borrowed(local) }
}

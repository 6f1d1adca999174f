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

/// Tells whether an element or attribute can be called so: NCName of Namespaces in XML 1.0 §3, with the characters of
/// XML 1.0 §2.3. What is let in as a name goes out as one, so strict parsers must be able to read it.
pub fn is_name(text: &str) -> bool {
    text.starts_with(begins_name) && text.chars().all(|c| begins_name(c) || goes_on_name(c))
}

fn begins_name(c: char) -> bool {
    matches!(c, 'A'..='Z' | '_' | 'a'..='z')
        || matches!(c, '\u{C0}'..='\u{D6}' | '\u{D8}'..='\u{F6}' | '\u{F8}'..='\u{2FF}')
        || matches!(c, '\u{370}'..='\u{37D}' | '\u{37F}'..='\u{1FFF}' | '\u{200C}'..='\u{200D}')
        || matches!(c, '\u{2070}'..='\u{218F}' | '\u{2C00}'..='\u{2FEF}' | '\u{3001}'..='\u{D7FF}')
        || matches!(c, '\u{F900}'..='\u{FDCF}' | '\u{FDF0}'..='\u{FFFD}' | '\u{10000}'..='\u{EFFFF}')
}

fn goes_on_name(c: char) -> bool {
    matches!(c, '-' | '.' | '0'..='9' | '\u{B7}' | '\u{300}'..='\u{36F}' | '\u{203F}'..='\u{2040}')
}

#[cfg(test)]
mod tests {
    use super::is_name;

    #[test]
    fn names_that_elements_can_have() {
        for good in ["displayname", "a-b.c_1", "_x", "größe", "日付", "a·b"] {
            assert!(is_name(good), "{good}");
        }
        let bad = [
            "",
            "1a",
            "-a",
            ".a",
            "a b",
            "a:b",
            "a/>",
            "a\"",
            "<a",
            "a\n",
            "/dav/",
            "a×b",
            "ªa",
            "a\u{2028}",
            "·a",
        ];
        for bad in bad {
            assert!(!is_name(bad), "{bad:?}");
        }
    }
}

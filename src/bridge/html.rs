//! HTML as descriptions hold it: what tags and references say.
//!
//! Owns: entities, attributes, which elements stand on lines of their own. Does not own: what is made of a description,
//! which each provider has its own habits about (`google/event/words`, `outlook/body`).

/// Elements that begin and end a line.
const BLOCKS: [&str; 18] = [
    "p",
    "div",
    "li",
    "ul",
    "ol",
    "tr",
    "table",
    "blockquote",
    "pre",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "body",
    "section",
    "article",
];

/// How long a reference may be: `&#x1F600;`, and a few more.
const REFERENCE: usize = 10;

/// Tells whether an element, in lower case, stands on lines of its own.
pub(super) fn is_block(name: &str) -> bool {
    BLOCKS.contains(&name)
}

/// Returns the value of an attribute in what stands between `<` and `>`.
pub(super) fn attribute(tag: &str, name: &str) -> Option<String> {
    let at = tag.to_ascii_lowercase().find(&format!("{name}="))?;
    let value = tag.get(at + name.len() + 1..)?;
    let value = match value.chars().next()? {
        quote @ ('"' | '\'') => value.get(1..)?.split(quote).next()?,
        _ => value.split_whitespace().next()?,
    };
    Some(meant(value))
}

/// Tells whether a link's words say where it leads.
pub(super) fn says_address(shown: &str, href: &str) -> bool {
    let plain = |text: &str| text.trim_start_matches("mailto:").trim_end_matches('/').to_ascii_lowercase();
    plain(shown) == plain(href)
}

/// Returns a text with what its references mean; those that are not known stay as they are.
pub(super) fn meant(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        let (before, tail) = rest.split_at(at);
        out.push_str(before);
        let end = tail.bytes().take(REFERENCE + 1).position(|b| b == b';');
        steps::count(end.unwrap_or(REFERENCE));
        let found = end.and_then(|end| Some((entity(tail.get(1..end)?)?, end)));
        match found {
            Some((c, end)) => {
                out.push(c);
                rest = tail.get(end + 1..).unwrap_or_default();
            }
            None => {
                out.push('&');
                rest = tail.get(1..).unwrap_or_default();
            }
        }
    }
    out.push_str(rest);
    out
}

/// Counts how much of a text is looked at, for tests that show that it is not looked at again and again.
pub(super) mod steps {
    #[cfg(test)]
    thread_local! {
        static LOOKED: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
    }

    /// So many bytes were looked at.
    #[cfg(test)]
    pub(in crate::bridge) fn count(bytes: usize) {
        LOOKED.with(|looked| looked.set(looked.get() + bytes));
    }

    /// So many bytes were looked at.
    #[cfg(not(test))]
    pub(in crate::bridge) fn count(_: usize) {}

    /// Returns how many bytes an act looks at.
    #[cfg(test)]
    pub(in crate::bridge) fn of<T>(act: impl FnOnce() -> T) -> (T, usize) {
        LOOKED.with(|looked| looked.set(0));
        let done = act();
        (done, LOOKED.with(std::cell::Cell::get))
    }
}

fn entity(name: &str) -> Option<char> {
    if let Some(number) = name.strip_prefix('#') {
        let code = match number.strip_prefix(['x', 'X']) {
            Some(hex) => u32::from_str_radix(hex, 16).ok()?,
            None => number.parse().ok()?,
        };
        return char::from_u32(code).filter(|c| !c.is_control() || matches!(c, '\n' | '\r' | '\t'));
    }
    Some(match name {
        "amp" => '&',
        "lt" => '<',
        "gt" => '>',
        "quot" => '"',
        "apos" => '\'',
        "nbsp" => '\u{a0}',
        "auml" => 'ä',
        "ouml" => 'ö',
        "uuml" => 'ü',
        "Auml" => 'Ä',
        "Ouml" => 'Ö',
        "Uuml" => 'Ü',
        "szlig" => 'ß',
        "euro" => '€',
        "copy" => '©',
        "reg" => '®',
        "ndash" => '–',
        "mdash" => '—',
        "hellip" => '…',
        "bull" => '•',
        "middot" => '·',
        "lsquo" => '‘',
        "rsquo" => '’',
        "ldquo" => '“',
        "rdquo" => '”',
        "laquo" => '«',
        "raquo" => '»',
        "eacute" => 'é',
        "egrave" => 'è',
        "agrave" => 'à',
        "ccedil" => 'ç',
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_read_once_and_others_left() {
        for (text, expected) in [
            ("a &amp; b", "a & b"),
            ("&amp;lt;", "&lt;"),
            ("&#65;&#x42;&eacute;", "ABé"),
            ("&unknown; &#1; &#xD800; & &;", "&unknown; &#1; &#xD800; & &;"),
            ("&toolongtobeone;", "&toolongtobeone;"),
        ] {
            assert_eq!(meant(text), expected, "{text}");
        }
    }

    #[test]
    fn attributes_are_quoted_as_people_like() {
        for tag in ["a href=\"x?a&amp;b\"", "A class=y HREF='x?a&amp;b' z", "a href=x?a&amp;b target=z"] {
            assert_eq!(attribute(tag, "href").as_deref(), Some("x?a&b"), "{tag}");
        }
        assert_eq!(attribute("a name=x", "href"), None);
    }
}

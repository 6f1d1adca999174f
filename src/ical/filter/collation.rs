//! How two texts are compared (RFC 4790, RFC 5051).

use super::decompose::DECOMPOSED;

/// The collations of `supported-collation-set` (RFC 4791 §7.5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Collation {
    /// `i;ascii-casemap`, the default (RFC 4791 §9.7.5).
    #[default]
    AsciiCasemap,
    /// `i;octet`.
    Octet,
    /// `i;unicode-casemap`.
    UnicodeCasemap,
}

impl Collation {
    /// All of them, in the order in which they are advertised.
    pub const ALL: [Collation; 3] = [Collation::AsciiCasemap, Collation::Octet, Collation::UnicodeCasemap];

    /// Reads the `collation` attribute. Nothing: it is not supported (`CALDAV:supported-collation`).
    pub fn parse(name: &str) -> Option<Collation> {
        match name.trim() {
            // RFC 4790 §3.1: what the server chooses.
            "" | "default" => Some(Collation::default()),
            name => Collation::ALL.into_iter().find(|collation| collation.as_str() == name),
        }
    }

    /// Returns the registered name.
    pub fn as_str(self) -> &'static str {
        match self {
            Collation::AsciiCasemap => "i;ascii-casemap",
            Collation::Octet => "i;octet",
            Collation::UnicodeCasemap => "i;unicode-casemap",
        }
    }

    /// True if `text` contains `part`.
    pub fn contains(self, text: &str, part: &str) -> bool {
        match self {
            Collation::Octet => text.contains(part),
            Collation::AsciiCasemap => contains_ascii(text, part),
            Collation::UnicodeCasemap if text.is_ascii() && part.is_ascii() => contains_ascii(text, part),
            Collation::UnicodeCasemap => casemap(text).contains(&casemap(part)),
        }
    }
}

fn contains_ascii(text: &str, part: &str) -> bool {
    /// Up to here comparing at each place is quicker than two copies, and cannot be made to take long.
    const SHORT: usize = 32;
    let (bytes, wanted) = (text.as_bytes(), part.as_bytes());
    match wanted.len() {
        0 => true,
        1..=SHORT => bytes.windows(wanted.len()).any(|window| window.eq_ignore_ascii_case(wanted)),
        _ => text.to_ascii_lowercase().contains(&part.to_ascii_lowercase()),
    }
}

/// RFC 5051 §2: each character's title case, then decomposed as far as it goes.
fn casemap(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        let mut upper = c.to_uppercase();
        // RFC 5051 uses the simple mapping: a character whose upper case is several keeps its form.
        match (upper.next(), upper.next()) {
            (Some(single), None) => decompose(single, &mut out),
            _ => decompose(c, &mut out),
        }
    }
    out
}

fn decompose(c: char, out: &mut String) {
    let code = u32::from(c);
    if (0xAC00..=0xD7A3).contains(&code) {
        // Unicode §3.12: Hangul syllables by arithmetic.
        let at = code - 0xAC00;
        let (lead, vowel, tail) = (0x1100 + at / 588, 0x1161 + at % 588 / 28, 0x11A7 + at % 28);
        out.extend([lead, vowel].into_iter().filter_map(char::from_u32));
        if tail != 0x11A7 {
            out.extend(char::from_u32(tail));
        }
        return;
    }
    let row = u16::try_from(code)
        .ok()
        .and_then(|code| DECOMPOSED.binary_search_by_key(&code, |row| row.0).ok())
        .and_then(|at| DECOMPOSED.get(at));
    match row {
        Some(&(_, first, mark)) => {
            if let Some(first) = char::from_u32(u32::from(first)) {
                decompose(first, out);
            }
            if mark != 0 {
                out.extend(char::from_u32(u32::from(mark)));
            }
        }
        None => out.push(c),
    }
}

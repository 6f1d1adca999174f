//! Content lines (RFC 5545 §3.1): spans into the stored bytes, never copies.
//!
//! Owns: where a logical line begins and ends, its name, parameters and value; unfolding and folding.
//! Does not own: components (`tree`), what a value means (`value`).

use std::borrow::Cow;
use std::ops::Range;

use super::{Problem, ProblemKind};

/// Longest text that is read, in bytes.
pub(super) const MAX_BYTES: usize = 10 << 20;
/// Most physical lines that are read.
const MAX_LINES: usize = 200_000;

/// One logical line.
#[derive(Debug, Clone, Copy)]
pub(super) struct Line {
    /// First byte.
    pub(super) start: u32,
    /// Just after the name.
    pub(super) name_end: u32,
    /// The colon before the value.
    pub(super) colon: u32,
    /// Just after the value, before the line break.
    pub(super) content_end: u32,
    /// Just after the line break.
    pub(super) end: u32,
    /// Physical line number, from 1.
    pub(super) number: u32,
    /// True if it is folded.
    pub(super) folded: bool,
    /// For a name that is not upper case or is folded: its place among the odd names, plus one.
    pub(super) odd: u32,
}

impl Line {
    /// Returns the bytes of all physical lines with the last line break.
    pub(super) fn span(&self) -> Range<usize> {
        self.start as usize..self.end as usize
    }

    fn text<'a>(&self, bytes: &'a [u8], range: Range<u32>) -> Cow<'a, str> {
        let slice = bytes.get(range.start as usize..range.end as usize).unwrap_or_default();
        if self.folded {
            // Checked when the line was read: the unfolded line is UTF-8.
            return Cow::Owned(String::from_utf8(unfold(slice)).unwrap_or_default());
        }
        String::from_utf8_lossy(slice)
    }

    /// Returns the value, unfolded.
    pub(super) fn value<'a>(&self, bytes: &'a [u8]) -> Cow<'a, str> {
        self.text(bytes, self.colon + 1..self.content_end)
    }

    /// Returns what stands between the name and the colon, unfolded, with its leading semicolon.
    pub(super) fn parameters<'a>(&self, bytes: &'a [u8]) -> Cow<'a, str> {
        self.text(bytes, self.name_end..self.colon)
    }

    /// Tells whether there are parameters.
    pub(super) fn has_parameters(&self) -> bool {
        self.name_end != self.colon
    }
}

/// The lines of a text, and the names that are not plain upper-case slices of it.
#[derive(Debug, Default)]
pub(super) struct Lines {
    pub(super) lines: Vec<Line>,
    pub(super) odd: Vec<Box<str>>,
}

/// Returns a problem at a line.
pub(super) fn problem(kind: ProblemKind, line: usize, reason: impl Into<String>) -> Problem {
    Problem { kind, line: Some(line), reason: reason.into() }
}

/// Splits a text into logical lines. Blank lines and a byte-order mark are skipped, LF ends a line as CRLF does.
pub(super) fn split(bytes: &[u8]) -> Result<Lines, Problem> {
    if bytes.len() > MAX_BYTES {
        let reason = format!("the text is longer than {MAX_BYTES} bytes");
        return Err(Problem { kind: ProblemKind::Limit, line: None, reason });
    }
    let whole_is_utf8 = std::str::from_utf8(bytes).is_ok();
    let mut found = Lines { lines: Vec::with_capacity(bytes.len() / 28 + 4), odd: Vec::new() };
    let mut at = if bytes.starts_with(b"\xEF\xBB\xBF") { 3 } else { 0 };
    let mut number = 0usize;
    while at < bytes.len() {
        let first_number = number + 1;
        let start = at;
        let mut folded = false;
        // The end of the first physical line, then of each continuation.
        let (mut content_end, mut end) = physical(bytes, at);
        number += 1;
        while matches!(bytes.get(end), Some(b' ' | b'\t')) && content_end > start {
            folded = true;
            (content_end, end) = physical(bytes, end);
            number += 1;
        }
        if number > MAX_LINES {
            return Err(problem(
                ProblemKind::Limit,
                number,
                format!("there are more than {MAX_LINES} lines"),
            ));
        }
        at = end;
        let content = bytes.get(start..content_end).unwrap_or_default();
        if content.iter().all(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n')) {
            continue;
        }
        let line = head(bytes, start..content_end, end, first_number, folded, &mut found.odd)?;
        if !whole_is_utf8 {
            let text = unfold(content);
            if std::str::from_utf8(&text).is_err() {
                return Err(problem(ProblemKind::Data, first_number, "the line is not UTF-8"));
            }
        }
        if content.contains(&0) {
            return Err(problem(ProblemKind::Data, first_number, "the line holds a NUL character"));
        }
        found.lines.push(line);
    }
    Ok(found)
}

/// Returns where the physical line's content ends and where the next line begins.
fn physical(bytes: &[u8], from: usize) -> (usize, usize) {
    let rest = bytes.get(from..).unwrap_or_default();
    match rest.iter().position(|byte| *byte == b'\n') {
        Some(offset) => {
            let newline = from + offset;
            let content =
                if offset > 0 && bytes.get(newline - 1) == Some(&b'\r') { newline - 1 } else { newline };
            (content, newline + 1)
        }
        None => (bytes.len(), bytes.len()),
    }
}

/// Finds the name and the colon of a logical line.
fn head(
    bytes: &[u8],
    content: Range<usize>,
    end: usize,
    number: usize,
    folded: bool,
    odd: &mut Vec<Box<str>>,
) -> Result<Line, Problem> {
    let slice = bytes.get(content.clone()).unwrap_or_default();
    let (mut quoted, mut name_end, mut colon) = (false, None, None);
    let mut upper = true;
    for (offset, byte) in slice.iter().enumerate() {
        match byte {
            b'"' => quoted = !quoted,
            b':' if !quoted => {
                colon = Some(offset);
                break;
            }
            b';' if name_end.is_none() => name_end = Some(offset),
            _ => {}
        }
        if name_end.is_none() && !matches!(byte, b'A'..=b'Z' | b'0'..=b'9' | b'-') {
            upper = false;
        }
    }
    // A lone quote in a parameter hides the colon: the first one outside it counts then.
    let colon = colon.or_else(|| slice.iter().position(|byte| *byte == b':')).ok_or_else(|| {
        problem(ProblemKind::Data, number, "the line has no colon, so it is no content line")
    })?;
    let name_end = name_end.unwrap_or(colon).min(colon);
    let name = slice.get(..name_end).unwrap_or_default();
    let mut place = 0;
    if !upper || name.iter().any(|byte| !matches!(byte, b'A'..=b'Z' | b'0'..=b'9' | b'-')) {
        let name = String::from_utf8(unfold(name)).unwrap_or_default().trim().to_ascii_uppercase();
        odd.push(name.into_boxed_str());
        place = odd.len();
    }
    if name.is_empty() {
        return Err(problem(ProblemKind::Data, number, "the line has no property name"));
    }
    // The text is at most 10 MiB long: every offset fits.
    let at = |offset: usize| u32::try_from(offset).unwrap_or(u32::MAX);
    Ok(Line {
        start: at(content.start),
        name_end: at(content.start + name_end),
        colon: at(content.start + colon),
        content_end: at(content.end),
        end: at(end),
        number: at(number),
        folded,
        odd: at(place),
    })
}

/// Removes folds: a line break followed by one blank (RFC 5545 §3.1). Works on bytes, so that a fold inside a
/// character is mended.
pub(super) fn unfold(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    loop {
        match rest {
            [] => return out,
            [b'\r', b'\n', b' ' | b'\t', after @ ..] | [b'\n', b' ' | b'\t', after @ ..] => rest = after,
            [first, after @ ..] => {
                out.push(*first);
                rest = after;
            }
        }
    }
}

/// Writes one logical line with CRLF, folded at 75 octets and never inside a character (RFC 5545 §3.1).
pub fn fold(line: &str, out: &mut String) {
    fold_with(line, "\r\n", out);
}

/// Writes one logical line with the given line break. Line breaks inside `line` are dropped: one line stays one line.
pub(super) fn fold_with(line: &str, line_break: &str, out: &mut String) {
    let mut column = 0;
    for c in line.chars() {
        if matches!(c, '\r' | '\n') {
            continue;
        }
        if column + c.len_utf8() > 75 {
            out.push_str(line_break);
            out.push(' ');
            column = 1;
        }
        out.push(c);
        column += c.len_utf8();
    }
    out.push_str(line_break);
}

/// Reads the parameters of a line: name in upper case and its values, quotes removed, RFC 6868 decoded.
pub(super) fn parameters(text: &str) -> Vec<(String, Vec<String>)> {
    let mut found = Vec::new();
    for part in outside_quotes(text, ';').filter(|part| !part.is_empty()) {
        let (name, values) = part.split_once('=').unwrap_or((part, ""));
        let values =
            outside_quotes(values, ',').map(|value| decode_parameter(&value.replace('"', ""))).collect();
        found.push((name.trim().to_ascii_uppercase(), values));
    }
    found
}

/// Splits at a separator that stands outside quotes.
fn outside_quotes(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    text.split(move |c| {
        if c == '"' {
            quoted = !quoted;
        }
        c == separator && !quoted
    })
}

/// RFC 6868 §3: `^n`, `^^`, `^'`.
fn decode_parameter(text: &str) -> String {
    if !text.contains('^') {
        return text.to_owned();
    }
    text.replace("^^", "\u{0}").replace("^n", "\n").replace("^'", "\"").replace('\u{0}', "^")
}

/// Writes a parameter value, quoted where RFC 5545 §3.2 asks and encoded as RFC 6868 says.
pub fn quote_parameter(text: &str) -> String {
    let encoded: String = text
        .chars()
        .flat_map(|c| match c {
            '^' => vec!['^', '^'],
            '\n' => vec!['^', 'n'],
            '"' => vec!['^', '\''],
            c if c.is_control() => vec![],
            c => vec![c],
        })
        .collect();
    if encoded.contains([';', ':', ',']) { format!("\"{encoded}\"") } else { encoded }
}

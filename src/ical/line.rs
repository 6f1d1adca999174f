//! Content lines (RFC 5545 §3.1): spans into the stored bytes, never copies.
//!
//! Owns: where a logical line begins and ends, its name, parameters and value; unfolding and folding.
//! Does not own: components (`tree`), what a value means (`value`).

use std::borrow::Cow;
use std::ops::Range;

use super::{Problem, ProblemKind};

/// How much is read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// Longest text, in bytes.
    bytes: usize,
    /// Most logical lines.
    lines: usize,
}

/// Of one object.
pub(super) const OBJECT: Bounds = Bounds { bytes: MAX_BYTES, lines: 100_000 };
/// Of a whole calendar.
pub(super) const CALENDAR: Bounds = Bounds { bytes: 50 << 20, lines: 1_000_000 };
/// Longest text of an object that is read, in bytes.
pub(super) const MAX_BYTES: usize = 10 << 20;
/// Longest logical line that is read, its folds included.
const MAX_LINE: usize = 1 << 20;
/// Longest name of a property or component.
const MAX_NAME: usize = 255;

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
        // Checked when the line was read: the unfolded line is UTF-8.
        if self.folded {
            return Cow::Owned(String::from_utf8(unfold(slice)).unwrap_or_default());
        }
        Cow::Borrowed(std::str::from_utf8(slice).unwrap_or_default())
    }

    /// Returns the whole line, unfolded.
    pub(super) fn logical<'a>(&self, bytes: &'a [u8]) -> Cow<'a, str> {
        self.text(bytes, self.start..self.content_end)
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

/// Splits a text into logical lines, tolerant as Q-26 asks: LF ends a line as CRLF does, a doubled CR before it goes,
/// blank lines are skipped, also within a fold, and a byte-order mark before any line: texts get concatenated.
pub(super) fn split(bytes: &[u8], most: Bounds) -> Result<Lines, Problem> {
    if bytes.len() > most.bytes {
        let reason = format!("the text is longer than {} bytes", most.bytes);
        return Err(Problem { kind: ProblemKind::Limit, line: None, reason });
    }
    let whole_is_utf8 = std::str::from_utf8(bytes).is_ok();
    let has_nul = bytes.contains(&0);
    let mut found = Lines { lines: Vec::with_capacity(bytes.len() / 28 + 4), odd: Vec::new() };
    let mut at = 0;
    let mut number = 1usize;
    while at < bytes.len() {
        let first_number = number;
        let start = if bytes.get(at..at + 3) == Some(b"\xEF\xBB\xBF") { at + 3 } else { at };
        let (mut content_end, mut end) = physical(bytes, start);
        let (mut folded, mut soft) = (false, None);
        loop {
            let (next, blank) = skip_blank_lines(bytes, end);
            (at, number) = (next, number + 1 + blank);
            let continues = match bytes.get(next) {
                Some(b' ' | b'\t') => true,
                // Nothing follows, or another line, unless quoted-printable text ends in a soft break.
                None => false,
                Some(_) => {
                    bytes.get(content_end.wrapping_sub(1)) == Some(&b'=')
                        && *soft.get_or_insert_with(|| is_quoted_printable(bytes, start))
                }
            };
            if !continues {
                break;
            }
            folded = true;
            (content_end, end) = physical(bytes, next);
        }
        let content = bytes.get(start..content_end).unwrap_or_default();
        if content.iter().all(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n')) {
            continue;
        }
        if content.len() > MAX_LINE {
            let reason = format!("the line is longer than {MAX_LINE} bytes");
            return Err(problem(ProblemKind::Limit, first_number, reason));
        }
        if found.lines.len() >= most.lines {
            let reason = format!("there are more than {} lines", most.lines);
            return Err(problem(ProblemKind::Limit, first_number, reason));
        }
        if has_nul && content.contains(&0) {
            return Err(problem(ProblemKind::Data, first_number, "the line holds a NUL character"));
        }
        if !whole_is_utf8 && std::str::from_utf8(&unfold(content)).is_err() {
            let reason = format!("the line is not UTF-8: {}", excerpt(content));
            return Err(problem(ProblemKind::Data, first_number, reason));
        }
        found.lines.push(head(bytes, start..content_end, end, first_number, folded, &mut found.odd)?);
    }
    Ok(found)
}

/// Returns where the physical line's content ends and where the next line begins.
fn physical(bytes: &[u8], from: usize) -> (usize, usize) {
    let rest = bytes.get(from..).unwrap_or_default();
    match rest.iter().position(|byte| *byte == b'\n') {
        Some(offset) => {
            let line = rest.get(..offset).unwrap_or_default();
            (from + without_returns(line).len(), from + offset + 1)
        }
        None => (bytes.len(), bytes.len()),
    }
}

/// Cuts CRs at the end.
fn without_returns(mut line: &[u8]) -> &[u8] {
    while let [before @ .., b'\r'] = line {
        line = before;
    }
    line
}

/// Returns where the first line begins at or after `from` that is not empty, and how many empty ones stand before.
fn skip_blank_lines(bytes: &[u8], from: usize) -> (usize, usize) {
    let (mut at, mut count) = (from, 0);
    loop {
        let mut ahead = at;
        while bytes.get(ahead) == Some(&b'\r') {
            ahead += 1;
        }
        if bytes.get(ahead) != Some(&b'\n') {
            return (at, count);
        }
        (at, count) = (ahead + 1, count + 1);
    }
}

/// Tells whether a line declares quoted-printable text, a relic of vCalendar 1.0 that still occurs.
fn is_quoted_printable(bytes: &[u8], start: usize) -> bool {
    const MARK: &[u8] = b"QUOTED-PRINTABLE";
    let head = bytes.get(start..(start + 512).min(bytes.len())).unwrap_or_default();
    let parameters = head.split(|byte| matches!(byte, b':' | b'\n')).next().unwrap_or_default();
    parameters.windows(MARK.len()).any(|window| window.eq_ignore_ascii_case(MARK))
}

/// Returns the beginning of a line, fit to stand in a sentence.
pub(super) fn excerpt(content: &[u8]) -> String {
    let text = String::from_utf8_lossy(content.get(..160).unwrap_or(content));
    let short: String = text.chars().filter(|c| !c.is_control()).take(40).collect();
    let more = if short.len() < content.len() { "…" } else { "" };
    format!("“{short}{more}”")
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
        let reason = format!(
            "the line has no colon, so it is no content line: {}; a line that goes on must begin with a blank",
            excerpt(slice)
        );
        problem(ProblemKind::Data, number, reason)
    })?;
    let name_end = name_end.unwrap_or(colon).min(colon);
    let name = slice.get(..name_end).unwrap_or_default();
    let mut place = 0;
    if !upper || name.is_empty() || name.len() > MAX_NAME {
        let name = String::from_utf8(unfold(name)).unwrap_or_default().trim().to_ascii_uppercase();
        if !is_name(&name) {
            let reason = format!(
                "the line does not begin with the name of a property: {}; a line that goes on must begin with a \
                 blank",
                excerpt(slice)
            );
            return Err(problem(ProblemKind::Data, number, reason));
        }
        odd.push(name.into_boxed_str());
        place = odd.len();
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

/// RFC 5545 §3.1 allows letters, digits and `-`. Whatever else is ASCII is taken, but no blank: a name with one
/// is the rest of a line that was broken by mistake.
pub(super) fn is_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= MAX_NAME && name.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Removes folds: a line break followed by one blank (RFC 5545 §3.1). Works on bytes, so that a fold inside a
/// character is mended. Every line break in a logical line is a fold; one without a blank is a soft break of
/// quoted-printable text, whose `=` goes with it.
pub(super) fn unfold(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some(newline) = rest.iter().position(|byte| *byte == b'\n') {
        let line = without_returns(rest.get(..newline).unwrap_or_default());
        let (next, _) = skip_blank_lines(rest, newline + 1);
        match rest.get(next..).unwrap_or_default() {
            [b' ' | b'\t', after @ ..] => {
                out.extend_from_slice(line);
                rest = after;
            }
            after => {
                out.extend_from_slice(line.strip_suffix(b"=").unwrap_or(line));
                rest = after;
            }
        }
    }
    out.extend_from_slice(rest);
    out
}

/// Returns the length of the fold that `rest` begins with: line break, blank lines and one blank; 0 if it is none.
pub(super) fn fold_length(rest: &[u8]) -> usize {
    if !matches!(rest, [b'\r' | b'\n', ..]) {
        return 0;
    }
    match skip_blank_lines(rest, 0) {
        (end, 1..) if matches!(rest.get(end), Some(b' ' | b'\t')) => end + 1,
        _ => 0,
    }
}

/// Writes one logical line with CRLF, folded at 75 octets and never inside a character (RFC 5545 §3.1).
pub fn fold(line: &str, out: &mut String) {
    fold_with(line, "\r\n", out);
}

/// Writes one logical line with the given line break. One line stays one line: a line break within it is written as
/// `\n`, the escape of TEXT; CR and NUL are dropped.
pub(super) fn fold_with(line: &str, line_break: &str, out: &mut String) {
    const WIDTH: usize = 75;
    let line = if line.contains(['\n', '\r', '\0']) {
        Cow::Owned(line.replace(['\r', '\0'], "").replace('\n', "\\n"))
    } else {
        Cow::Borrowed(line)
    };
    out.reserve(line.len() + line.len() / 32 + 2);
    let (mut rest, mut column) = (&*line, 0);
    while column + rest.len() > WIDTH {
        let mut cut = WIDTH - column;
        while !rest.is_char_boundary(cut) {
            cut -= 1;
        }
        let (head, tail) = rest.split_at(cut);
        for part in [head, line_break, " "] {
            out.push_str(part);
        }
        (rest, column) = (tail, 1);
    }
    out.push_str(rest);
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

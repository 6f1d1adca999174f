//! Octets of a feed → UTF-8 (RFC 5545 §3.1.4), however they were written.
//!
//! Owns: byte-order marks, UTF-16, lines that are Windows-1252 or Latin-1. Does not own: what the text says.

use std::borrow::Cow;

use bytes::Bytes;

/// What Windows-1252 has at 0x80 … 0x9F. Five places are empty there; they are read as Latin-1 has them.
const HIGH: [char; 32] = [
    '€', '\u{81}', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', '\u{8d}', 'Ž', '\u{8f}', '\u{90}',
    '‘', '’', '“', '”', '•', '–', '—', '˜', '™', 'š', '›', 'œ', '\u{9d}', 'ž', 'Ÿ',
];

/// Returns the text as UTF-8 without a byte-order mark. What is UTF-8 already stays as it is, also on both sides of a line
/// that is not: feeds are put together of pieces of different age.
pub(super) fn utf8(body: &Bytes) -> Bytes {
    match body.as_ref() {
        [0xef, 0xbb, 0xbf, rest @ ..] => lines(&body.slice_ref(rest)),
        [0xff, 0xfe, rest @ ..] => wide(rest, u16::from_le_bytes),
        [0xfe, 0xff, rest @ ..] => wide(rest, u16::from_be_bytes),
        _ => lines(body),
    }
}

fn wide(octets: &[u8], unit: fn([u8; 2]) -> u16) -> Bytes {
    let units = octets.chunks_exact(2).filter_map(|pair| <[u8; 2]>::try_from(pair).ok()).map(unit);
    let text: String =
        char::decode_utf16(units).map(|letter| letter.unwrap_or(char::REPLACEMENT_CHARACTER)).collect();
    text.into_bytes().into()
}

fn lines(body: &Bytes) -> Bytes {
    if std::str::from_utf8(body).is_ok() {
        return body.clone();
    }
    let mut out = Vec::with_capacity(body.len() + body.len() / 8);
    let mut rest = body.as_ref();
    while !rest.is_empty() {
        let (line, more) = rest.split_at(line_end(rest));
        rest = more;
        // A fold may lie within a letter (RFC 5545 §3.1): only the whole line can be judged.
        let whole = unfolded(line);
        match std::str::from_utf8(&whole) {
            Ok(_) => out.extend_from_slice(line),
            Err(_) => out.extend_from_slice(single(&whole).as_bytes()),
        }
    }
    out.into()
}

/// Returns where the line ends that begins here, with those that continue it.
fn line_end(text: &[u8]) -> usize {
    let mut breaks = text.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at + 1);
    breaks.find(|end| !matches!(text.get(*end), Some(b' ' | b'\t'))).unwrap_or(text.len())
}

fn unfolded(line: &[u8]) -> Cow<'_, [u8]> {
    let folds = line.windows(2).any(|pair| matches!(pair, [b'\n', b' ' | b'\t']));
    if !folds {
        return Cow::Borrowed(line);
    }
    let mut out: Vec<u8> = Vec::with_capacity(line.len());
    let mut octets = line.iter().copied().peekable();
    while let Some(octet) = octets.next() {
        if octet == b'\n' && octets.next_if(|next| matches!(next, b' ' | b'\t')).is_some() {
            if out.last() == Some(&b'\r') {
                out.pop();
            }
        } else {
            out.push(octet);
        }
    }
    Cow::Owned(out)
}

/// Reads octets that are no UTF-8 as one letter each.
fn single(octets: &[u8]) -> String {
    let mut text = String::with_capacity(octets.len() + octets.len() / 8);
    for chunk in octets.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|octet| match octet {
            0x80..=0x9f => {
                HIGH.get(usize::from(octet - 0x80)).copied().unwrap_or(char::REPLACEMENT_CHARACTER)
            }
            other => char::from(*other),
        }));
    }
    text
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use super::*;

    fn check(octets: &[u8], expected: &str) {
        let read = utf8(&Bytes::copy_from_slice(octets));
        assert_eq!(std::str::from_utf8(&read).unwrap(), expected, "{octets:x?}");
    }

    // RFC 5545 §3.1, §3.1.4
    #[test]
    fn whatever_it_was_written_in_is_read() {
        check("SUMMARY:Fête\r\n".as_bytes(), "SUMMARY:Fête\r\n");
        check("\u{feff}SUMMARY:Fête\r\n".as_bytes(), "SUMMARY:Fête\r\n");
        check(b"SUMMARY:F\xeate \x80 5 \x96 6\r\n", "SUMMARY:Fête € 5 – 6\r\n");
        // A line of each kind.
        check(
            &[b"SUMMARY:Caf\xe9\r\n".as_slice(), "LOCATION:Café\r\n".as_bytes()].concat(),
            "SUMMARY:Café\r\nLOCATION:Café\r\n",
        );
        // A letter that a fold divides is one letter, also beside a line that is not UTF-8.
        let divided = b"SUMMARY:Caf\xc3\r\n \xa9\r\n";
        let read = utf8(&Bytes::from([divided.as_slice(), b"LOCATION:\xe9\r\n"].concat()));
        assert_eq!(read, [divided.as_slice(), "LOCATION:é\r\n".as_bytes()].concat());
        let wide = |text: &str, bytes: fn(u16) -> [u8; 2]| -> Vec<u8> {
            text.encode_utf16().flat_map(bytes).collect()
        };
        check(&wide("\u{feff}SUMMARY:Fête 🎉\r\n", u16::to_le_bytes), "SUMMARY:Fête 🎉\r\n");
        check(&wide("\u{feff}SUMMARY:Fête 🎉\r\n", u16::to_be_bytes), "SUMMARY:Fête 🎉\r\n");
        check(b"", "");
    }
}

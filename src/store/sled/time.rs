//! The time index: which objects can touch a range, without reading the others.
//!
//! Owns: where a span's rows lie and which rows a query visits. Each row holds the whole span, so that objects
//! which cannot match are left out before anything else of them is read.
//!
//! A span with an end lies on the lowest level whose buckets are at least as long as it: in one or two buckets.
//! A query visits on each level only the buckets that it touches. Spans without an end lie in order of their start;
//! objects without a span lie apart.

use crate::store::codec::{Damaged, Reader, Writer, name};
use crate::store::{CollectionId, Fault, Meta, Name, Span};

use super::read;
use super::rows::{Rows, Space, after_prefix};

/// Bucket widths as powers of two, in seconds: 3 days, 24 days, half a year, 4, 34, 272 years.
const WIDTHS: [u32; 6] = [18, 21, 24, 27, 30, 33];
/// The level of spans that have no end or are longer than any bucket: the bucket is the start.
const LONG: u8 = 0xfe;
/// The level of objects without a span.
const ALWAYS: u8 = 0xff;

/// Returns the rows of an object.
pub(super) fn rows(id: CollectionId, name: &Name, span: Option<Span>) -> Vec<(Vec<u8>, Vec<u8>)> {
    let Some(span) = span else {
        return vec![(key(id, ALWAYS, 0, name.as_str()), Writer::row().0)];
    };
    let mut row = Writer::row();
    row.byte(u8::from(span.exact) | u8::from(span.end.is_some()) << 1).signed(span.start);
    if let Some(end) = span.end {
        row.signed(end.wrapping_sub(span.start));
    }
    let end = span.end.map(|end| end.max(span.start));
    let length = end.and_then(|end| end.checked_sub(span.start));
    let level =
        WIDTHS.iter().enumerate().find(|(_, width)| length.is_some_and(|length| length <= 1 << **width));
    match (level, end) {
        (Some((level, width)), Some(end)) => (span.start >> width..=end >> width)
            .map(|bucket| (key(id, level as u8, bucket, name.as_str()), row.0.clone()))
            .collect(),
        _ => vec![(key(id, LONG, span.start, name.as_str()), row.0)],
    }
}

/// Tells whether an object with this span can touch the range. The one definition, see `Store::in_range`.
pub(in crate::store) fn touches(span: Option<Span>, from: Option<i64>, to: Option<i64>) -> bool {
    let Some(span) = span else { return true };
    let (from, to) = (from.unwrap_or(i64::MIN), to.unwrap_or(i64::MAX));
    let end = span.end.map_or(i64::MAX, |end| end.max(span.start));
    match (span.exact, span.start == end) {
        // RFC 4791 §9.9: an instant is touched by a range that begins with it, not by one that ends with it.
        (true, true) => from <= span.start && span.start < to,
        (true, false) => span.start < to && end > from,
        // An instance may be an instant at either end, and a task without a start is touched by either border.
        (false, _) => span.start <= to && end >= from,
    }
}

/// Returns all objects that can touch the range, by name, without bytes.
pub(super) fn objects(
    rows: &impl Rows,
    id: CollectionId,
    from: Option<i64>,
    to: Option<i64>,
) -> Result<Vec<Meta>, Fault> {
    let mut found = Vec::new();
    for name in names(rows, id, from, to)? {
        found.extend(read::meta(rows, id, name.as_str())?);
    }
    Ok(found)
}

fn names(rows: &impl Rows, id: CollectionId, from: Option<i64>, to: Option<i64>) -> Result<Vec<Name>, Fault> {
    let (low, high) = (from.unwrap_or(i64::MIN), to.unwrap_or(i64::MAX));
    let mut names = Vec::new();
    for (level, width) in WIDTHS.iter().enumerate() {
        let first = low >> width;
        let start = key(id, level as u8, first, "");
        let end = after_prefix(&key(id, level as u8, high >> width, ""));
        rows.scan(Space::Time, &start, &end, &mut |key, row| {
            let span = read(row)?.ok_or(Damaged)?;
            // In two buckets: counted in the first that is visited.
            if bucket(key)? == first.max(span.start >> width) && touches(Some(span), from, to) {
                names.push(member(key)?);
            }
            Ok(true)
        })?;
    }
    let end = after_prefix(&key(id, LONG, high, ""));
    rows.scan(Space::Time, &key(id, LONG, i64::MIN, ""), &end, &mut |key, row| {
        if touches(read(row)?, from, to) {
            names.push(member(key)?);
        }
        Ok(true)
    })?;
    rows.prefixed(Space::Time, &prefix(id, ALWAYS), &mut |key, _| {
        names.push(member(key)?);
        Ok(true)
    })?;
    names.sort_unstable();
    names.dedup();
    Ok(names)
}

/// Reads a row's span.
pub(super) fn read(row: &[u8]) -> Result<Option<Span>, Damaged> {
    let mut row = Reader::row(row)?;
    let Ok(flags) = row.byte() else { return Ok(None) };
    let start = row.signed()?;
    let end = if flags & 2 != 0 { Some(start.wrapping_add(row.signed()?)) } else { None };
    Ok(Some(Span { start, end, exact: flags & 1 != 0 }))
}

fn prefix(id: CollectionId, level: u8) -> Vec<u8> {
    let mut key = id.0.to_be_bytes().to_vec();
    key.push(level);
    key
}

fn key(id: CollectionId, level: u8, bucket: i64, name: &str) -> Vec<u8> {
    let mut key = prefix(id, level);
    // The sign is turned round so that bytes sort like numbers.
    key.extend_from_slice(&(bucket as u64 ^ 1 << 63).to_be_bytes());
    key.extend_from_slice(name.as_bytes());
    key
}

fn bucket(key: &[u8]) -> Result<i64, Damaged> {
    let bytes = key.get(9..17).ok_or(Damaged)?;
    Ok((u64::from_be_bytes(bytes.try_into().map_err(|_| Damaged)?) ^ 1 << 63) as i64)
}

/// Reads the name in a key.
pub(super) fn member(key: &[u8]) -> Result<Name, Damaged> {
    name(key.get(17..).ok_or(Damaged)?)
}

//! Plain data as bytes: small, versioned, readable for ever.
//!
//! Owns: how each noun of `model` lies in a row or in a dump. Does not own: keys, trees, pieces of long values (`sled`).
//! Every row begins with a format byte; code lists are only ever appended to.

use std::collections::BTreeMap;

use super::Fault;
use super::model::{
    Change, Collection, CollectionId, Etag, Head, Index, Kind, Meta, Name, Origin, Properties, PropertyName,
    Rev, Span, Timestamp, What,
};

/// The format of the rows that this program writes.
pub(crate) const FORMAT: u8 = 1;

/// Bytes that this program did not write, or that were damaged since.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Damaged;

impl From<Damaged> for Fault {
    fn from(_: Damaged) -> Fault {
        Fault::Broken("a stored row cannot be read".into())
    }
}

type Read<T> = Result<T, Damaged>;

/// Media types with a short code. The position is the code less one: append only.
const MEDIA_TYPES: [&str; 8] = [
    "text/calendar",
    "text/calendar; charset=utf-8",
    "text/calendar;charset=utf-8",
    "application/octet-stream",
    "text/plain",
    "text/calendar; charset=\"utf-8\"",
    "text/plain; charset=utf-8",
    "text/html",
];

/// Component types with a short code. The position is the code less one: append only.
const COMPONENTS: [&str; 6] = ["", "VEVENT", "VTODO", "VJOURNAL", "VFREEBUSY", "VAVAILABILITY"];

/// Appends values to a row.
#[derive(Debug, Default)]
pub(crate) struct Writer(pub(crate) Vec<u8>);

impl Writer {
    /// Begins a row of the current format.
    pub(crate) fn row() -> Writer {
        Writer(vec![FORMAT])
    }

    pub(crate) fn byte(&mut self, value: u8) -> &mut Writer {
        self.0.push(value);
        self
    }

    /// Seven bits a byte, the lowest first.
    pub(crate) fn number(&mut self, mut value: u64) -> &mut Writer {
        while value >= 0x80 {
            self.0.push((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
        self
    }

    /// Signs in the lowest bit, so that small negative numbers stay short.
    pub(crate) fn signed(&mut self, value: i64) -> &mut Writer {
        self.number(((value << 1) ^ (value >> 63)) as u64)
    }

    pub(crate) fn bytes(&mut self, value: &[u8]) -> &mut Writer {
        self.number(value.len() as u64);
        self.0.extend_from_slice(value);
        self
    }

    pub(crate) fn text(&mut self, value: &str) -> &mut Writer {
        self.bytes(value.as_bytes())
    }

    /// Bytes to the end of the row, without a length.
    pub(crate) fn rest(&mut self, value: &[u8]) -> &mut Writer {
        self.0.extend_from_slice(value);
        self
    }

    fn coded(&mut self, codes: &[&str], value: &str) -> &mut Writer {
        match codes.iter().position(|known| *known == value) {
            Some(at) => self.number(at as u64 + 1),
            None => self.number(0).text(value),
        }
    }
}

/// Takes values from a row.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// Reads bytes without a format byte.
    pub(crate) fn raw(bytes: &'a [u8]) -> Reader<'a> {
        Reader(bytes)
    }

    /// Reads a row; refuses one of another format.
    pub(crate) fn row(bytes: &'a [u8]) -> Read<Reader<'a>> {
        match bytes.split_first() {
            Some((&FORMAT, rest)) => Ok(Reader(rest)),
            _ => Err(Damaged),
        }
    }

    pub(crate) fn byte(&mut self) -> Read<u8> {
        let (first, rest) = self.0.split_first().ok_or(Damaged)?;
        self.0 = rest;
        Ok(*first)
    }

    pub(crate) fn number(&mut self) -> Read<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let part = u64::from(byte & 0x7f);
            if shift == 63 && part > 1 {
                return Err(Damaged);
            }
            value |= part << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Damaged)
    }

    pub(crate) fn signed(&mut self) -> Read<i64> {
        let value = self.number()?;
        Ok((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    pub(crate) fn take(&mut self, length: usize) -> Read<&'a [u8]> {
        let (first, rest) = self.0.split_at_checked(length).ok_or(Damaged)?;
        self.0 = rest;
        Ok(first)
    }

    pub(crate) fn bytes(&mut self) -> Read<&'a [u8]> {
        let length = self.number()?;
        self.take(usize::try_from(length).map_err(|_| Damaged)?)
    }

    pub(crate) fn text(&mut self) -> Read<&'a str> {
        std::str::from_utf8(self.bytes()?).map_err(|_| Damaged)
    }

    pub(crate) fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }

    fn coded(&mut self, codes: &[&'static str]) -> Read<String> {
        match self.number()? {
            0 => Ok(self.text()?.to_owned()),
            code => {
                let at = usize::try_from(code - 1).map_err(|_| Damaged)?;
                Ok((*codes.get(at).ok_or(Damaged)?).to_owned())
            }
        }
    }
}

/// Reads a stored name.
pub(crate) fn name(bytes: &[u8]) -> Read<Name> {
    let text = std::str::from_utf8(bytes).map_err(|_| Damaged)?;
    Name::new(text).ok_or(Damaged)
}

const HAS_UID: u8 = 1;
const UID_IS_NAME: u8 = 2;
const HAS_SPAN: u8 = 4;
const HAS_END: u8 = 8;
const EXACT: u8 = 16;
const TAG_IS_TEXT: u8 = 32;

/// Writes an object's row. Its name is the key's.
pub(crate) fn write_meta(meta: &Meta, out: &mut Writer) {
    let mut flags = 0;
    let tag = digest(&meta.etag);
    let uid = meta.index.uid.as_deref();
    let plain = meta.name.as_str().strip_suffix(".ics");
    flags |= if tag.is_none() { TAG_IS_TEXT } else { 0 };
    flags |= if uid.is_some() { HAS_UID } else { 0 };
    flags |= if uid.is_some() && uid == plain { UID_IS_NAME } else { 0 };
    if let Some(span) = meta.index.span {
        flags |= HAS_SPAN;
        flags |= if span.end.is_some() { HAS_END } else { 0 };
        flags |= if span.exact { EXACT } else { 0 };
    }
    out.byte(flags);
    match tag {
        Some(digest) => out.rest(&digest),
        None => out.text(&meta.etag.0),
    };
    out.number(meta.size).number(meta.rev.0);
    out.signed(meta.created.0).signed(meta.modified.0.wrapping_sub(meta.created.0));
    out.coded(&MEDIA_TYPES, &meta.content_type).coded(&COMPONENTS, &meta.index.component);
    if let Some(uid) = uid.filter(|_| flags & UID_IS_NAME == 0) {
        out.text(uid);
    }
    if let Some(span) = meta.index.span {
        out.signed(span.start);
        if let Some(end) = span.end {
            out.signed(end.wrapping_sub(span.start));
        }
    }
}

/// Reads an object's row.
pub(crate) fn read_meta(name: Name, row: &mut Reader<'_>) -> Read<Meta> {
    let flags = row.byte()?;
    let etag = if flags & TAG_IS_TEXT == 0 {
        let mut text = String::with_capacity(32);
        for byte in row.take(16)? {
            for nibble in [byte >> 4, byte & 15] {
                text.push(char::from_digit(u32::from(nibble), 16).unwrap_or('0'));
            }
        }
        Etag(text)
    } else {
        Etag(row.text()?.to_owned())
    };
    let (size, rev) = (row.number()?, Rev(row.number()?));
    let created = row.signed()?;
    let modified = created.wrapping_add(row.signed()?);
    let (content_type, component) = (row.coded(&MEDIA_TYPES)?, row.coded(&COMPONENTS)?);
    let uid = match (flags & HAS_UID != 0, flags & UID_IS_NAME != 0) {
        (false, _) => None,
        (true, true) => Some(name.as_str().strip_suffix(".ics").ok_or(Damaged)?.to_owned()),
        (true, false) => Some(row.text()?.to_owned()),
    };
    let mut span = None;
    if flags & HAS_SPAN != 0 {
        let start = row.signed()?;
        let end = if flags & HAS_END != 0 { Some(start.wrapping_add(row.signed()?)) } else { None };
        span = Some(Span { start, end, exact: flags & EXACT != 0 });
    }
    Ok(Meta {
        name,
        etag,
        size,
        content_type,
        rev,
        created: Timestamp(created),
        modified: Timestamp(modified),
        index: Index { uid, component, span },
    })
}

/// The sixteen bytes behind a tag of our own making.
fn digest(etag: &Etag) -> Option<[u8; 16]> {
    let text = etag.0.as_bytes();
    let mut digest = [0; 16];
    if text.len() != 32 {
        return None;
    }
    for (out, pair) in digest.iter_mut().zip(text.chunks_exact(2)) {
        for digit in pair {
            let value = match digit {
                b'0'..=b'9' => digit - b'0',
                b'a'..=b'f' => digit - b'a' + 10,
                _ => return None,
            };
            *out = *out << 4 | value;
        }
    }
    Some(digest)
}

/// Writes a collection's row. Its id is the key's.
pub(crate) fn write_collection(collection: &Collection, out: &mut Writer) {
    out.number(collection.parent.0).text(collection.name.as_str()).text(&collection.owner);
    out.byte(match collection.kind {
        Kind::Home => 1,
        Kind::Calendar => 2,
        Kind::Files => 3,
    });
    out.signed(collection.created.0).signed(collection.modified.0);
    out.number(collection.components.len() as u64);
    for component in &collection.components {
        out.text(component);
    }
    out.number(collection.properties.0.len() as u64);
    for (name, value) in &collection.properties.0 {
        out.text(&name.ns).text(&name.local).text(value);
    }
}

/// Reads a collection's row.
pub(crate) fn read_collection(id: CollectionId, row: &mut Reader<'_>) -> Read<Collection> {
    let parent = CollectionId(row.number()?);
    let name = name(row.bytes()?)?;
    let owner = row.text()?.to_owned();
    let kind = match row.byte()? {
        1 => Kind::Home,
        2 => Kind::Calendar,
        3 => Kind::Files,
        _ => return Err(Damaged),
    };
    let (created, modified) = (Timestamp(row.signed()?), Timestamp(row.signed()?));
    let mut components = Vec::new();
    for _ in 0..row.number()? {
        components.push(row.text()?.to_owned());
    }
    let mut properties = BTreeMap::new();
    for _ in 0..row.number()? {
        let name = PropertyName { ns: row.text()?.to_owned(), local: row.text()?.to_owned() };
        properties.insert(name, row.text()?.to_owned());
    }
    let properties = Properties(properties);
    Ok(Collection { id, parent, name, owner, kind, components, properties, created, modified })
}

/// Writes where a log stands.
pub(crate) fn write_head(head: &Head, out: &mut Writer) {
    out.number(head.rev.0).number(head.objects).number(head.bytes).signed(head.at.0).number(head.horizon.0);
}

/// Reads where a log stands.
pub(crate) fn read_head(row: &mut Reader<'_>) -> Read<Head> {
    Ok(Head {
        rev: Rev(row.number()?),
        objects: row.number()?,
        bytes: row.number()?,
        at: Timestamp(row.signed()?),
        horizon: Rev(row.number()?),
    })
}

/// A log row whose writer is still a number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LogRow {
    pub(crate) name: Option<Name>,
    pub(crate) what: What,
    pub(crate) origin: u64,
    pub(crate) at: Timestamp,
}

impl LogRow {
    /// Returns the row as the store's callers see it.
    pub(crate) fn change(self, rev: Rev, origin: Origin) -> Change {
        Change { rev, name: self.name, what: self.what, origin, at: self.at }
    }
}

/// Writes a log row. Its position is the key's.
pub(crate) fn write_log(row: &LogRow, out: &mut Writer) {
    out.byte(what_code(row.what)).number(row.origin).signed(row.at.0);
    out.rest(row.name.as_ref().map_or(&[], |name| name.as_str().as_bytes()));
}

/// Reads a log row.
pub(crate) fn read_log(row: &mut Reader<'_>) -> Read<LogRow> {
    let what = read_what(row.byte()?)?;
    let (origin, at) = (row.number()?, Timestamp(row.signed()?));
    let rest = row.rest();
    let name = if rest.is_empty() { None } else { Some(name(rest)?) };
    Ok(LogRow { name, what, origin, at })
}

/// The number of a kind of change.
pub(crate) fn what_code(what: What) -> u8 {
    match what {
        What::Put => 1,
        What::Deleted => 2,
        What::Touched => 3,
    }
}

/// The kind of change of a number.
pub(crate) fn read_what(code: u8) -> Read<What> {
    match code {
        1 => Ok(What::Put),
        2 => Ok(What::Deleted),
        3 => Ok(What::Touched),
        _ => Err(Damaged),
    }
}

/// Writes who wrote.
pub(crate) fn write_origin(origin: &Origin, out: &mut Writer) {
    match origin {
        Origin::Dav { principal, agent, label } if label.is_empty() => {
            out.byte(1).text(principal).text(agent)
        }
        Origin::Dav { principal, agent, label } => out.byte(6).text(principal).text(agent).text(label),
        Origin::Api { principal, agent, label } if label.is_empty() => {
            out.byte(5).text(principal).text(agent)
        }
        Origin::Api { principal, agent, label } => out.byte(7).text(principal).text(agent).text(label),
        Origin::Mapping(mapping) => out.byte(3).text(mapping),
        Origin::System => out.byte(4),
    };
}

/// Reads who wrote.
pub(crate) fn read_origin(row: &mut Reader<'_>) -> Read<Origin> {
    let kind = row.byte()?;
    let mut text = || row.text().map(str::to_owned);
    match kind {
        1 => Ok(Origin::Dav { principal: text()?, agent: text()?, label: String::new() }),
        6 => Ok(Origin::Dav { principal: text()?, agent: text()?, label: text()? }),
        // Before the client was noted.
        2 => Ok(Origin::Api { principal: text()?, agent: String::new(), label: String::new() }),
        5 => Ok(Origin::Api { principal: text()?, agent: text()?, label: String::new() }),
        7 => Ok(Origin::Api { principal: text()?, agent: text()?, label: text()? }),
        3 => Ok(Origin::Mapping(text()?)),
        4 => Ok(Origin::System),
        _ => Err(Damaged),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn round<T>(write: impl Fn(&mut Writer), read: impl Fn(&mut Reader<'_>) -> Read<T>) -> T {
        let mut out = Writer::row();
        write(&mut out);
        for length in 0..out.0.len() {
            // A row cut short never panics.
            if let Ok(mut row) = Reader::row(&out.0[..length]) {
                let _ = read(&mut row);
            }
        }
        let mut row = Reader::row(&out.0).unwrap();
        let value = read(&mut row).unwrap();
        assert!(row.rest().is_empty(), "all of the row is read");
        value
    }

    fn meta() -> impl Strategy<Value = Meta> {
        let span = proptest::option::of((any::<i64>(), proptest::option::of(any::<i64>()), any::<bool>()));
        let uid = proptest::option::of(prop_oneof![Just("u-1".to_owned()), ".{0,40}"]);
        let tag =
            prop_oneof![Just(Etag::of(b"x")), "[a-zA-Z0-9]{0,40}".prop_map(Etag), "[A-F]{32}".prop_map(Etag)];
        let kinds = prop_oneof![Just("VEVENT".to_owned()), Just(String::new()), "[A-Z-]{1,12}"];
        let types = prop_oneof![Just("text/calendar".to_owned()), ".{0,30}"];
        (
            span,
            uid,
            tag,
            kinds,
            types,
            any::<(u64, u64, i64, i64)>(),
            prop_oneof!["u-1.ics", "[^/\\pC]{1,60}"],
        )
            .prop_filter_map("a name", |(span, uid, etag, component, content_type, n, name)| {
                let span = span.map(|(start, end, exact)| Span { start, end, exact });
                Some(Meta {
                    name: Name::new(name)?,
                    etag,
                    size: n.0,
                    content_type,
                    rev: Rev(n.1),
                    created: Timestamp(n.2),
                    modified: Timestamp(n.3),
                    index: Index { uid, component, span },
                })
            })
    }

    proptest! {
        #[test]
        fn an_object_row_is_read_as_it_was_written(meta in meta()) {
            let name = meta.name.clone();
            prop_assert_eq!(round(|out| write_meta(&meta, out), |row| read_meta(name.clone(), row)), meta);
        }

        #[test]
        fn numbers_are_read_as_they_were_written(a in any::<u64>(), b in any::<i64>()) {
            prop_assert_eq!(round(|out| { out.number(a).signed(b); }, |row| Ok((row.number()?, row.signed()?))), (a, b));
        }

        #[test]
        fn any_bytes_are_refused_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut row = Reader::raw(&bytes);
            let _ = read_meta(Name::new("x.ics").unwrap(), &mut row);
            let _ = read_collection(CollectionId(7), &mut Reader::raw(&bytes));
            let _ = read_log(&mut Reader::raw(&bytes));
            let _ = read_origin(&mut Reader::raw(&bytes));
        }
    }

    #[test]
    fn an_ordinary_event_costs_few_bytes() {
        let meta = Meta {
            name: Name::new("0f5c9d1e-1111-4222-8333-444455556666.ics").unwrap(),
            etag: Etag::of(b"x"),
            size: 712,
            content_type: "text/calendar; charset=utf-8".into(),
            rev: Rev(12_345),
            created: Timestamp(1_800_000_000_000),
            modified: Timestamp(1_800_000_000_000),
            index: Index {
                uid: Some("0f5c9d1e-1111-4222-8333-444455556666".into()),
                component: "VEVENT".into(),
                span: Some(Span { start: 1_800_000_000, end: Some(1_800_003_600), exact: true }),
            },
        };
        let mut out = Writer::row();
        write_meta(&meta, &mut out);
        assert!(out.0.len() <= 40, "{} bytes", out.0.len());
    }

    #[test]
    fn a_collection_a_log_row_and_writers_are_read_as_written() {
        let collection = Collection {
            id: CollectionId(77),
            parent: CollectionId(16),
            name: Name::new("Arbeit ☕").unwrap(),
            owner: "anna".into(),
            kind: Kind::Calendar,
            components: vec!["VEVENT".into(), "VTODO".into()],
            properties: Properties(BTreeMap::from([(
                PropertyName { ns: "DAV:".into(), local: "displayname".into() },
                "<D:displayname xmlns:D=\"DAV:\" xml:lang=\"de\">Arbeit</D:displayname>".into(),
            )])),
            created: Timestamp(5),
            modified: Timestamp(-6),
        };
        assert_eq!(
            round(|out| write_collection(&collection, out), |row| read_collection(CollectionId(77), row)),
            collection
        );
        for name in [None, Name::new("a b.ics")] {
            for what in [What::Put, What::Deleted, What::Touched] {
                let row = LogRow { name: name.clone(), what, origin: 300, at: Timestamp(9) };
                assert_eq!(round(|out| write_log(&row, out), read_log), row);
            }
        }
        for origin in [
            Origin::Dav { principal: "anna".into(), agent: "macOS/14".into(), label: String::new() },
            Origin::Dav { principal: "anna".into(), agent: "iOS/18".into(), label: "iPhone".into() },
            Origin::Api { principal: "bob".into(), agent: "shop/2".into(), label: String::new() },
            Origin::Api { principal: "bob".into(), agent: String::new(), label: "Shop".into() },
            Origin::Mapping("m1".into()),
            Origin::System,
        ] {
            assert_eq!(round(|out| write_origin(&origin, out), read_origin), origin);
        }
        let head = Head { rev: Rev(9), objects: 3, bytes: 900, at: Timestamp(7), horizon: Rev(2) };
        assert_eq!(round(|out| write_head(&head, out), read_head), head);
    }
}

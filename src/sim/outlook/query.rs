//! The query of a request, in OData's words.
//!
//! Owns: `$select`, `$expand`, `$filter`, `$orderby`, `$top`, `$skip`, links to the next page. What is not known is
//! refused. Does not own: what the rows are (`mailbox`).

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use super::event::mark_id;
use super::fail::Fail;
use super::prefer::split;
use super::{schema, times};
use crate::sim::Request;

/// Items of a page if nobody says otherwise.
pub(super) const PAGE: usize = 10;
/// The most that `$top` takes.
const MOST: usize = 1000;

const KEPT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~').remove(b'$');

/// A query.
#[derive(Debug, Clone, Default)]
pub(super) struct Query {
    /// The fields that are wanted; nothing: the usual ones.
    pub(super) select: Option<Vec<String>>,
    /// Extended properties that are wanted.
    pub(super) marks: Vec<String>,
    /// The exceptions of a series are wanted.
    pub(super) exceptions: bool,
    /// What all rows have to fulfil.
    pub(super) filter: Vec<Clause>,
    /// The field to sort by, and whether downwards.
    pub(super) order: Option<(String, bool)>,
    /// The rows that a page is to have.
    pub(super) top: Option<usize>,
    /// So many rows are left out.
    pub(super) skip: usize,
    /// The number of all rows is wanted.
    pub(super) count: bool,
}

/// A condition of `$filter`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Clause {
    /// An extended property has this value.
    Mark(String, String),
    /// A field, as a path, compares so with a value.
    Field(String, Compare, String),
}

/// A comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compare {
    Equal,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
}

/// Fields by which can be filtered and sorted.
const COMPARED: &[&str] = &[
    "subject",
    "iCalUId",
    "isAllDay",
    "type",
    "showAs",
    "start/dateTime",
    "end/dateTime",
    "lastModifiedDateTime",
    "createdDateTime",
];

impl Query {
    /// Reads the options of a query that stand in `allowed`, by their names without `$`; other names with `$`, and
    /// names that are not in `plain`, are refused.
    pub(super) fn read(
        request: &Request,
        allowed: &[&str],
        plain: &[&str],
        kind: &str,
    ) -> Result<Query, Fail> {
        let mut query = Query::default();
        for (name, value) in &request.query {
            let Some(option) = name.strip_prefix('$') else {
                if plain.iter().any(|known| known.eq_ignore_ascii_case(name)) {
                    continue;
                }
                return Err(Fail::query(format!("The query parameter '{name}' is not known here.")));
            };
            if !allowed.contains(&option) {
                return Err(Fail::query(format!("The query option '{name}' is not supported here.")));
            }
            match option {
                "select" => query.select = Some(fields(value, kind)?),
                "expand" => query.expand(value)?,
                "filter" => query.filter = clauses(value)?,
                "orderby" => query.order = Some(order(value)?),
                "top" => query.top = Some(number(name, value)?).filter(|top| *top > 0),
                "skip" => query.skip = number(name, value)?,
                "count" => query.count = value == "true",
                _ => {}
            }
        }
        if query.top.is_some_and(|top| top > MOST) {
            return Err(Fail::query(format!("The limit of '{MOST}' for Top query has been exceeded.")));
        }
        Ok(query)
    }

    fn expand(&mut self, value: &str) -> Result<(), Fail> {
        for part in split(value, ',') {
            let (name, options) = part.split_once('(').unwrap_or((part, ""));
            let options = options.strip_suffix(')').unwrap_or(options);
            match name.trim() {
                "exceptionOccurrences" if options.is_empty() => self.exceptions = true,
                "singleValueExtendedProperties" => {
                    let Some(filter) = options.trim().strip_prefix("$filter=") else {
                        return Err(Fail::query(
                            "$expand=singleValueExtendedProperties needs a $filter by id.",
                        ));
                    };
                    for one in filter.split(" or ") {
                        let id =
                            one.trim().strip_prefix("id eq ").and_then(quoted).and_then(|id| mark_id(&id));
                        self.marks.push(id.ok_or_else(|| bad_filter(one))?);
                    }
                }
                other => return Err(Fail::query(format!("The property '{other}' cannot be expanded."))),
            }
        }
        Ok(())
    }

    /// Returns how many items a page has.
    pub(super) fn page(&self, preferred: Option<usize>) -> usize {
        self.top.or(preferred).unwrap_or(PAGE).clamp(1, MOST)
    }

    /// Tells whether an order is asked for.
    pub(super) fn sorted(&self) -> bool {
        self.order.is_some()
    }

    /// Sorts whole rows, with what belongs to them, as is asked for.
    pub(super) fn sort<T>(&self, rows: &mut [(Value, T)]) {
        let Some((field, down)) = &self.order else { return };
        rows.sort_by_key(|(row, _)| at(row, field).to_string());
        if *down {
            rows.reverse();
        }
    }
}

impl Clause {
    /// Tells whether a whole row fulfils it; `marks` finds its extended properties.
    pub(super) fn holds(&self, row: &Value, marks: &dyn Fn(&str) -> Option<String>) -> bool {
        match self {
            Clause::Mark(id, value) => marks(id).as_ref() == Some(value),
            Clause::Field(field, compare, value) => {
                let own = match at(row, field) {
                    Value::String(text) => text.clone(),
                    other => other.to_string(),
                };
                let order = match (times::instant(&own), times::instant(value)) {
                    (Some(own), Some(value)) => own.cmp(&value),
                    _ => own.as_str().cmp(value.as_str()),
                };
                match compare {
                    Compare::Equal => order.is_eq(),
                    Compare::Less => order.is_lt(),
                    Compare::LessEqual => order.is_le(),
                    Compare::Greater => order.is_gt(),
                    Compare::GreaterEqual => order.is_ge(),
                }
            }
        }
    }
}

fn at<'a>(row: &'a Value, path: &str) -> &'a Value {
    path.split('/').fold(row, |value, part| value.get(part).unwrap_or(&Value::Null))
}

fn number(name: &str, value: &str) -> Result<usize, Fail> {
    value.parse().map_err(|_| Fail::query(format!("The value '{value}' of '{name}' is no number.")))
}

fn fields(value: &str, kind: &str) -> Result<Vec<String>, Fail> {
    let named: Vec<String> = value.split(',').map(|name| name.trim().to_owned()).collect();
    match named.iter().find(|name| !schema::has(kind, name)) {
        Some(name) => Err(Fail::new(
            400,
            "RequestBroker--ParseUri",
            format!("Could not find a property named '{name}' on type 'microsoft.graph.{kind}'."),
        )),
        None => Ok(named),
    }
}

fn order(value: &str) -> Result<(String, bool), Fail> {
    let (field, way) = value.trim().split_once(' ').unwrap_or((value.trim(), "asc"));
    let down = way.eq_ignore_ascii_case("desc");
    if COMPARED.contains(&field) && (down || way.eq_ignore_ascii_case("asc")) {
        Ok((field.to_owned(), down))
    } else {
        Err(Fail::query(format!("Cannot sort by '{value}'.")))
    }
}

fn bad_filter(clause: &str) -> Fail {
    Fail::new(
        400,
        "ErrorInvalidUrlQueryFilter",
        format!("The query filter clause is not understood: {clause}"),
    )
}

/// Reads `'it''s'`.
fn quoted(text: &str) -> Option<String> {
    let inner = text.trim().strip_prefix('\'')?.strip_suffix('\'')?;
    Some(inner.replace("''", "'"))
}

fn clauses(filter: &str) -> Result<Vec<Clause>, Fail> {
    and(filter).into_iter().map(clause).collect()
}

/// Splits at ` and ` outside quotes and parentheses.
fn and(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut begin, mut depth, mut quote) = (0, 0usize, false);
    for (at, sign) in text.char_indices() {
        match sign {
            '\'' => quote = !quote,
            '(' if !quote => depth += 1,
            ')' if !quote => depth = depth.saturating_sub(1),
            ' ' if !quote && depth == 0 && text.get(at..).is_some_and(|rest| rest.starts_with(" and ")) => {
                parts.push(text.get(begin..at).unwrap_or_default());
                begin = at + " and ".len();
            }
            _ => {}
        }
    }
    parts.push(text.get(begin..).unwrap_or_default());
    parts
}

fn clause(text: &str) -> Result<Clause, Fail> {
    let text = text.trim();
    let lower = text.to_ascii_lowercase();
    if lower.starts_with("singlevalueextendedproperties/any(") {
        return any(text).ok_or_else(|| bad_filter(text));
    }
    let mut words = text.splitn(3, ' ');
    let (Some(field), Some(compare), Some(value)) = (words.next(), words.next(), words.next()) else {
        return Err(bad_filter(text));
    };
    let compare = match compare {
        "eq" => Compare::Equal,
        "lt" => Compare::Less,
        "le" => Compare::LessEqual,
        "gt" => Compare::Greater,
        "ge" => Compare::GreaterEqual,
        _ => return Err(bad_filter(text)),
    };
    if !COMPARED.contains(&field) {
        return Err(bad_filter(text));
    }
    let value = quoted(value).unwrap_or_else(|| value.trim().to_owned());
    Ok(Clause::Field(field.to_owned(), compare, value))
}

/// Reads `…/Any(ep: ep/id eq 'ID' and ep/value eq 'VALUE')`.
fn any(text: &str) -> Option<Clause> {
    let inner = text.split_once('(')?.1.strip_suffix(')')?;
    let (name, condition) = inner.split_once(':')?;
    let (mut id, mut value) = (None, None);
    for part in and(condition.trim()) {
        let (field, wanted) = part.split_once(" eq ")?;
        match field.trim().strip_prefix(name.trim())? {
            "/id" => id = mark_id(&quoted(wanted)?),
            "/value" => value = quoted(wanted),
            _ => return None,
        }
    }
    Some(Clause::Mark(id?, value?))
}

/// Returns the address of the request with these parameters instead of those of the same names.
pub(super) fn link(request: &Request, path: &str, left_out: &[&str], more: &[(&str, String)]) -> String {
    let kept = request.query.iter().filter(|(name, _)| !left_out.contains(&name.as_str()));
    let kept = kept.map(|(name, value)| (name.as_str(), value.as_str()));
    let pairs: Vec<String> = kept
        .chain(more.iter().map(|(name, value)| (*name, value.as_str())))
        .map(|(name, value)| {
            format!("{}={}", utf8_percent_encode(name, KEPT), utf8_percent_encode(value, KEPT))
        })
        .collect();
    format!("{}{path}?{}", request.origin(), pairs.join("&"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use http::{HeaderMap, Method};
    use serde_json::json;

    fn read(target: &str) -> Result<Query, Fail> {
        let request = Request::inner(Method::GET, target, HeaderMap::new(), Bytes::new(), false);
        Query::read(
            &request,
            &["select", "expand", "filter", "top", "skip", "orderby"],
            &["startDateTime"],
            "event",
        )
    }

    const MARK: &str = "String {66f5a359-4659-4830-9070-00047ec6ac6e} Name kalends";

    #[test]
    fn what_is_asked_for_is_understood_or_refused() {
        for (target, good) in [
            ("/x?$select=subject,start&$top=5&$skip=10", true),
            ("/x?$select=uid", false),
            ("/x?$top=1001", false),
            ("/x?$search=a", false),
            ("/x?startdatetime=2026", true),
            ("/x?singleEvents=true", false),
            ("/x?$expand=exceptionOccurrences", true),
            ("/x?$expand=attachments", false),
            ("/x?$orderby=start/dateTime%20desc", true),
            ("/x?$orderby=body", false),
            ("/x?$filter=start/dateTime%20ge%20'2026-01-01'%20and%20subject%20eq%20'a%20and%20b'", true),
            ("/x?$filter=contains(subject,'a')", false),
            ("/x?$filter=transactionId%20eq%20'a'", false),
        ] {
            assert_eq!(read(target).is_ok(), good, "{target}: {:?}", read(target));
        }
    }

    #[test]
    fn an_extended_property_is_found_by_id_and_value() {
        let encoded = MARK.replace(' ', "%20");
        let expand = format!("/x?$expand=singleValueExtendedProperties($filter=id%20eq%20'{encoded}')");
        assert_eq!(read(&expand).unwrap().marks, [MARK]);
        let filter = format!(
            "/x?$filter=singleValueExtendedProperties/Any(ep:%20ep/id%20eq%20'{encoded}'%20and%20ep/value%20eq%20'a''b')"
        );
        let query = read(&filter).unwrap();
        assert_eq!(query.filter, [Clause::Mark(MARK.into(), "a'b".into())]);
        assert!(query.filter[0].holds(&json!({}), &|_| Some("a'b".into())));
        assert!(!query.filter[0].holds(&json!({}), &|_| None));
    }

    #[test]
    fn a_link_keeps_what_was_asked_for() {
        let mut headers = HeaderMap::new();
        headers.insert("host", "127.0.0.1:9".parse().unwrap());
        let request = Request::inner(Method::GET, "/x?$top=2&$skip=2&a=b%20c", headers, Bytes::new(), true);
        let next = link(&request, "/x", &["$skip"], &[("$skip", "4".into())]);
        assert_eq!(next, "https://127.0.0.1:9/x?$top=2&a=b%20c&$skip=4");
    }
}

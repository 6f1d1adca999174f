//! Request headers → typed values: conditions (RFC 9110 §13, RFC 4918 §10.4), Depth, Prefer, Overwrite, locks.
//!
//! Owns: how these headers are read, and whether entity-tags and dates hold. Does not own: locks and what the `If`
//! header's tokens mean (`dav/lock`).

use http::HeaderMap;

use crate::calendar::{Overwrite, Refusal};
use crate::store::{Meta, Timestamp};

/// RFC 4918 §10.2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// The resource itself.
    Zero,
    /// And its members.
    One,
    /// And theirs, without end.
    Infinity,
}

fn bad<T>(why: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal::Bad(why.into()))
}

/// Returns all values of a list header, joined.
fn list(headers: &HeaderMap, name: &str) -> Result<Option<String>, Refusal> {
    let mut all: Option<String> = None;
    for value in headers.get_all(name) {
        let Ok(text) = std::str::from_utf8(value.as_bytes()) else {
            return bad(format!("The header {name} is not UTF-8."));
        };
        match &mut all {
            Some(all) => {
                all.push(',');
                all.push_str(text);
            }
            None => all = Some(text.to_owned()),
        }
    }
    Ok(all)
}

fn single<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| std::str::from_utf8(value.as_bytes()).ok()).map(str::trim)
}

/// Reads `Depth`.
///
/// # Errors
/// `Bad` for anything but `0`, `1` and `infinity`.
pub fn depth(headers: &HeaderMap) -> Result<Option<Depth>, Refusal> {
    let Some(value) = headers.get("depth") else { return Ok(None) };
    match value.to_str().map(str::trim) {
        Ok("0") => Ok(Some(Depth::Zero)),
        Ok("1") => Ok(Some(Depth::One)),
        Ok(text) if text.eq_ignore_ascii_case("infinity") => Ok(Some(Depth::Infinity)),
        _ => bad("The Depth header must be 0, 1 or infinity."),
    }
}

/// Tells whether the client wants no 404s: `Prefer: return=minimal` (RFC 8144), the older `return-minimal` and
/// `Brief: t`, all three in use by Apple.
pub fn minimal(headers: &HeaderMap) -> bool {
    let prefer = headers.get_all("prefer").iter().filter_map(|value| value.to_str().ok()).any(|text| {
        text.split([',', ';']).any(|item| {
            let item = item.trim();
            item.eq_ignore_ascii_case("return=minimal")
                || item.eq_ignore_ascii_case("return-minimal")
                || item.eq_ignore_ascii_case("return=\"minimal\"")
        })
    });
    prefer || single(headers, "brief").is_some_and(|text| text.eq_ignore_ascii_case("t"))
}

/// Reads `Overwrite`; absent means yes (RFC 4918 §10.6).
///
/// # Errors
/// `Bad` for anything but `T` and `F`.
pub fn overwrite(headers: &HeaderMap) -> Result<Overwrite, Refusal> {
    match single(headers, "overwrite") {
        None => Ok(Overwrite::Yes),
        Some(text) if text.eq_ignore_ascii_case("t") => Ok(Overwrite::Yes),
        Some(text) if text.eq_ignore_ascii_case("f") => Ok(Overwrite::No),
        Some(_) => bad("The Overwrite header must be T or F."),
    }
}

/// Reads `Destination` as it was sent.
///
/// # Errors
/// `Bad` if it is not there.
pub fn destination(headers: &HeaderMap) -> Result<&str, Refusal> {
    let why = match headers.contains_key("destination") {
        true => "The Destination header cannot be read.",
        false => "The Destination header is missing.",
    };
    single(headers, "destination").filter(|text| !text.is_empty()).ok_or_else(|| Refusal::Bad(why.into()))
}

/// Reads `Timeout` (RFC 4918 §10.7) in seconds; `Infinite` is `u64::MAX`. What cannot be read counts as absent.
pub fn timeout(headers: &HeaderMap) -> Option<u64> {
    let text = single(headers, "timeout")?;
    text.split(',').find_map(|item| {
        let item = item.trim();
        if item.eq_ignore_ascii_case("infinite") {
            return Some(u64::MAX);
        }
        let (word, digits) = (item.get(..7)?, item.get(7..)?);
        if word.eq_ignore_ascii_case("second-") { digits.parse().ok() } else { None }
    })
}

/// Reads `Lock-Token` (RFC 4918 §10.5), without its angle brackets.
///
/// # Errors
/// `Bad` if it is not there or no coded URL.
pub fn lock_token(headers: &HeaderMap) -> Result<&str, Refusal> {
    single(headers, "lock-token")
        .and_then(|text| text.strip_prefix('<')?.strip_suffix('>'))
        .filter(|token| !token.is_empty())
        .ok_or_else(|| Refusal::Bad("The Lock-Token header must hold one token in angle brackets.".into()))
}

/// One entity-tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tag {
    /// `W/`.
    pub weak: bool,
    /// What is between the quotes.
    pub value: String,
}

impl Tag {
    /// Tells whether it names this content; a proxy that compresses appends `-gzip` (nextcloud/server#29875).
    fn names(&self, etag: &str) -> bool {
        self.value == etag || self.value.strip_suffix("-gzip") == Some(etag)
    }
}

/// `*` or a list.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Tags {
    Any,
    List(Vec<Tag>),
}

fn tags(headers: &HeaderMap, name: &str) -> Result<Option<Tags>, Refusal> {
    let Some(text) = list(headers, name)? else { return Ok(None) };
    if text.trim() == "*" {
        return Ok(Some(Tags::Any));
    }
    // Evolution escapes the quotes.
    let text = text.replace("\\\"", "\"");
    let mut rest = text.trim_start_matches([' ', '\t', ',']);
    let mut found = Vec::new();
    while !rest.is_empty() {
        let (tag, after) =
            tag(rest).ok_or_else(|| Refusal::Bad(format!("The header {name} cannot be read.")))?;
        found.push(tag);
        rest = after.trim_start_matches([' ', '\t', ',']);
    }
    match found.is_empty() {
        true => bad(format!("The header {name} is empty.")),
        false => Ok(Some(Tags::List(found))),
    }
}

/// Reads one entity-tag, with or without quotes, and returns what follows.
fn tag(text: &str) -> Option<(Tag, &str)> {
    let (weak, text) = match text.strip_prefix("W/").or_else(|| text.strip_prefix("w/")) {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    if let Some(quoted) = text.strip_prefix('"') {
        let (value, rest) = quoted.split_once('"')?;
        return Some((Tag { weak, value: value.to_owned() }, rest));
    }
    let end = text.find([',', ' ', '\t', ']']).unwrap_or(text.len());
    let (value, rest) = text.split_at(end);
    (!value.is_empty() && !value.contains('"')).then(|| (Tag { weak, value: value.to_owned() }, rest))
}

/// What a condition is held against.
#[derive(Debug, Clone, Copy)]
pub struct State<'a> {
    /// The strong entity-tag; collections have none.
    pub etag: Option<&'a str>,
    /// When it last changed.
    pub modified: Timestamp,
}

impl<'a> State<'a> {
    /// Returns the state of an object.
    pub fn of(meta: &'a Meta) -> State<'a> {
        State { etag: Some(&meta.etag.0), modified: meta.modified }
    }
}

/// The conditions of RFC 9110 §13.1.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Conditions {
    matching: Option<Tags>,
    none_matching: Option<Tags>,
    modified_since: Option<i64>,
    unmodified_since: Option<i64>,
}

impl Conditions {
    /// Reads the conditional headers. Dates that cannot be read are ignored (RFC 9110 §13.1.3, §13.1.4).
    ///
    /// # Errors
    /// `Bad` for entity-tags that cannot be read.
    pub fn read(headers: &HeaderMap) -> Result<Conditions, Refusal> {
        Ok(Conditions {
            matching: tags(headers, "if-match")?,
            none_matching: tags(headers, "if-none-match")?,
            modified_since: date(headers, "if-modified-since"),
            unmodified_since: date(headers, "if-unmodified-since"),
        })
    }

    /// Tells whether there is none.
    pub fn is_empty(&self) -> bool {
        *self == Conditions::default()
    }

    /// RFC 9110 §13.2.2 for a request that changes something. Nothing: there is no such resource.
    ///
    /// # Errors
    /// `Stale` if a condition does not hold.
    pub fn allow(&self, state: Option<State<'_>>) -> Result<(), Refusal> {
        match &self.matching {
            Some(tags) if !tags.hold(state, Compare::Strong) => return Err(Refusal::Stale),
            Some(_) => {}
            None => {
                let changed = |since| state.is_none_or(|state| state.modified.seconds() > since);
                if self.unmodified_since.is_some_and(changed) {
                    return Err(Refusal::Stale);
                }
            }
        }
        match &self.none_matching {
            Some(tags) if tags.hold(state, Compare::Weak) => Err(Refusal::Stale),
            _ => Ok(()),
        }
    }

    /// RFC 9110 §13.2.2 for GET and HEAD: whether the client's copy is still good (304).
    ///
    /// # Errors
    /// `Stale` if `If-Match` or `If-Unmodified-Since` does not hold.
    pub fn fresh(&self, state: State<'_>) -> Result<bool, Refusal> {
        let first = Conditions { none_matching: None, modified_since: None, ..self.clone() };
        first.allow(Some(state))?;
        Ok(match (&self.none_matching, self.modified_since) {
            (Some(tags), _) => tags.hold(Some(state), Compare::Weak),
            (None, Some(since)) => state.modified.seconds() <= since,
            (None, None) => false,
        })
    }
}

/// RFC 9110 §8.8.3.2.
#[derive(Clone, Copy, PartialEq)]
enum Compare {
    Strong,
    Weak,
}

impl Tags {
    fn hold(&self, state: Option<State<'_>>, compare: Compare) -> bool {
        let Some(state) = state else { return false };
        match self {
            Tags::Any => true,
            Tags::List(tags) => state.etag.is_some_and(|etag| {
                tags.iter().any(|tag| (compare == Compare::Weak || !tag.weak) && tag.names(etag))
            }),
        }
    }
}

fn date(headers: &HeaderMap, name: &str) -> Option<i64> {
    let time = httpdate::parse_http_date(single(headers, name)?).ok()?;
    let since = time.duration_since(std::time::UNIX_EPOCH).ok()?;
    i64::try_from(since.as_secs()).ok()
}

/// RFC 4918 §10.4: lists of conditions, one of which must hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct If(pub Vec<IfList>);

/// One list: all of its conditions must hold for its resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IfList {
    /// The tag: the URL of the resource; nothing: the request's.
    pub resource: Option<String>,
    /// The conditions.
    pub conditions: Vec<IfCondition>,
}

/// One condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IfCondition {
    /// `Not`.
    pub negated: bool,
    /// What must hold.
    pub what: IfWhat,
}

/// A state token or an entity-tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IfWhat {
    /// A state token, such as a lock token.
    Token(String),
    /// An entity-tag.
    Etag(Tag),
}

impl IfCondition {
    /// Tells whether an entity-tag condition holds, `Not` taken into account.
    pub fn etag_holds(&self, tag: &Tag, etag: Option<&str>) -> bool {
        etag.is_some_and(|etag| !tag.weak && tag.names(etag)) != self.negated
    }
}

impl If {
    /// Reads the header.
    ///
    /// # Errors
    /// `Bad` if it does not follow RFC 4918 §10.4.2.
    pub fn read(headers: &HeaderMap) -> Result<Option<If>, Refusal> {
        let Some(text) = single(headers, "if") else { return Ok(None) };
        match parse_if(text) {
            Some(lists) if !lists.is_empty() => Ok(Some(If(lists))),
            _ => bad("The If header cannot be read (RFC 4918 §10.4)."),
        }
    }

    /// Returns every state token in it that is not negated.
    pub fn tokens(&self) -> impl Iterator<Item = &str> {
        self.0.iter().flat_map(|list| &list.conditions).filter_map(|condition| match &condition.what {
            IfWhat::Token(token) if !condition.negated => Some(token.as_str()),
            _ => None,
        })
    }
}

fn parse_if(text: &str) -> Option<Vec<IfList>> {
    let mut lists = Vec::new();
    let mut resource: Option<String> = None;
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        if let Some(tagged) = rest.strip_prefix('<') {
            let (url, after) = tagged.split_once('>')?;
            resource = Some(url.to_owned());
            rest = after.trim_start();
            if !rest.starts_with('(') {
                return None;
            }
        }
        let (conditions, after) = parse_list(rest.strip_prefix('(')?)?;
        lists.push(IfList { resource: resource.clone(), conditions });
        rest = after.trim_start();
    }
    Some(lists)
}

fn parse_list(text: &str) -> Option<(Vec<IfCondition>, &str)> {
    let mut conditions = Vec::new();
    let mut rest = text.trim_start();
    loop {
        if let Some(after) = rest.strip_prefix(')') {
            return (!conditions.is_empty()).then_some((conditions, after));
        }
        let negated = rest.get(..3).is_some_and(|word| word.eq_ignore_ascii_case("not"));
        if negated {
            rest = rest.get(3..)?.trim_start();
        }
        let (what, after) = if let Some(token) = rest.strip_prefix('<') {
            let (token, after) = token.split_once('>')?;
            (IfWhat::Token(token.to_owned()), after)
        } else {
            let (tag, after) = tag(rest.strip_prefix('[')?)?;
            (IfWhat::Etag(tag), after.strip_prefix(']')?)
        };
        conditions.push(IfCondition { negated, what });
        rest = after.trim_start();
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(HeaderName::try_from(*name).unwrap(), HeaderValue::from_str(value).unwrap());
        }
        map
    }

    /// The object has the tag `a` and was changed at second 100.
    fn check(pairs: &[(&str, &str)], there: bool, absent: bool, fresh: Option<bool>) {
        let conditions = Conditions::read(&headers(pairs)).unwrap();
        let state = State { etag: Some("a"), modified: Timestamp(100_999) };
        assert_eq!(conditions.allow(Some(state)).is_ok(), there, "{pairs:?} with an object");
        assert_eq!(conditions.allow(None).is_ok(), absent, "{pairs:?} without");
        assert_eq!(conditions.fresh(state).ok(), fresh, "{pairs:?} on GET");
    }

    #[test]
    fn conditions() {
        let (early, late) = ("Thu, 01 Jan 1970 00:01:39 GMT", "Thu, 01 Jan 1970 00:01:40 GMT");
        check(&[], true, true, Some(false));
        check(&[("if-match", "\"a\"")], true, false, Some(false));
        check(&[("if-match", "\"b\", \"a\"")], true, false, Some(false));
        check(&[("if-match", "\"b\""), ("if-match", "\"a\"")], true, false, Some(false));
        check(&[("if-match", "\"b\"")], false, false, None);
        check(&[("if-match", "W/\"a\"")], false, false, None);
        check(&[("if-match", "*")], true, false, Some(false));
        //
        check(&[("if-match", "\\\"a\\\"")], true, false, Some(false));
        check(&[("if-match", "a")], true, false, Some(false));
        check(&[("if-match", "\"a-gzip\"")], true, false, Some(false));
        check(&[("if-none-match", "*")], false, true, Some(true));
        check(&[("if-none-match", "W/\"a\"")], false, true, Some(true));
        check(&[("if-none-match", "\"b\"")], true, true, Some(false));
        check(&[("if-modified-since", late)], true, true, Some(true));
        check(&[("if-modified-since", early)], true, true, Some(false));
        check(&[("if-modified-since", "nonsense")], true, true, Some(false));
        check(&[("if-none-match", "\"b\""), ("if-modified-since", late)], true, true, Some(false));
        check(&[("if-unmodified-since", early)], false, false, None);
        check(&[("if-unmodified-since", late)], true, false, Some(false));
        for text in ["", ",", "\"a", "a\"b"] {
            assert!(Conditions::read(&headers(&[("if-match", text)])).is_err(), "{text}");
        }
    }

    #[test]
    fn if_headers() {
        let read = |text: &str| If::read(&headers(&[("if", text)]));
        let one = read("(<urn:uuid:1> [\"a\"]) (Not <DAV:no-lock>)").unwrap().unwrap();
        assert_eq!(one.0.len(), 2);
        assert_eq!(one.tokens().collect::<Vec<_>>(), ["urn:uuid:1"]);
        assert!(one.0[1].conditions[0].negated);
        let two = read("<http://h/a> (<t:1>) <http://h/b>(Not[W/\"x\"]) (<t:2>)").unwrap().unwrap();
        let tags: Vec<_> = two.0.iter().map(|list| list.resource.as_deref().unwrap()).collect();
        assert_eq!(tags, ["http://h/a", "http://h/b", "http://h/b"]);
        for text in ["", "()", "(", "<a>", "<t:1>", "(<t:1)", "([\"a\")", "([a\")", "(<t:1>) x"] {
            assert!(read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn small_headers() {
        assert_eq!(depth(&headers(&[("depth", "Infinity")])).unwrap(), Some(Depth::Infinity));
        assert!(depth(&headers(&[("depth", "2")])).is_err());
        assert!(overwrite(&headers(&[("overwrite", "x")])).is_err());
        assert_eq!(overwrite(&headers(&[("overwrite", "f")])).unwrap(), Overwrite::No);
        assert_eq!(timeout(&headers(&[("timeout", "Extended, Second-60")])), Some(60));
        assert_eq!(timeout(&headers(&[("timeout", "Infinite, Second-60")])), Some(u64::MAX));
        assert_eq!(lock_token(&headers(&[("lock-token", "<a:b>")])).unwrap(), "a:b");
        assert!(lock_token(&headers(&[("lock-token", "a:b")])).is_err());
        //
        for pair in [("prefer", "return=minimal"), ("prefer", "depth-noroot, return-minimal"), ("brief", "t")]
        {
            assert!(minimal(&headers(&[pair])), "{pair:?}");
        }
        assert!(!minimal(&headers(&[("prefer", "return=representation"), ("brief", "f")])));
    }
}

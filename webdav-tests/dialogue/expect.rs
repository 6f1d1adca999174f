//! One expectation line against one answer. Patterns have `*` for anything and `{kind:name}` to catch a value.

use super::script::Captures;
use super::wire::Response;
use super::xpath;

/// Checks one line (`207`, `Header: pattern`, `{xml} …`, `{body} …`, `{line} …`, `{json} …`).
///
/// Returns what is wrong in words.
pub(crate) fn check(
    line: &str,
    response: &Response,
    sent: &[u8],
    known: &mut Captures,
) -> Result<(), String> {
    if line.starts_with(|c: char| c.is_ascii_digit()) {
        return status(line, response.status);
    }
    if let Some(rest) = line.strip_prefix("{xml}") {
        return xml(rest.trim(), response, known);
    }
    if let Some(rest) = line.strip_prefix("{body}") {
        return body(rest.trim(), response, sent, known);
    }
    if let Some(rest) = line.strip_prefix("{line}") {
        return unfolded(rest.trim(), response, known);
    }
    if let Some(rest) = line.strip_prefix("{json}") {
        return json(rest.trim(), response, known);
    }
    if let Some(rest) = line.strip_prefix("{no}") {
        let found = response.all(rest.trim());
        return if found.is_empty() { Ok(()) } else { Err(format!("the header is there: {found:?}")) };
    }
    let (name, pattern) = line.split_once(':').ok_or("this expectation is not understood")?;
    let values = response.all(name.trim());
    if values.iter().any(|value| matches(pattern.trim(), value, known).unwrap_or(false)) {
        return Ok(());
    }
    matches(pattern.trim(), "", &mut known.clone())?;
    Err(format!("the header is {values:?}"))
}

fn status(line: &str, got: u16) -> Result<(), String> {
    for word in line.split_whitespace() {
        let number: u16 = word.parse().map_err(|_| format!("{word:?} is no status"))?;
        if number == got {
            return Ok(());
        }
    }
    Err(format!("the status is {got}"))
}

fn text(response: &Response) -> Result<&str, String> {
    std::str::from_utf8(&response.body).map_err(|_| "the body is not UTF-8".to_owned())
}

fn xml(rest: &str, response: &Response, known: &mut Captures) -> Result<(), String> {
    let (absent, rest) = match rest.strip_prefix("not ") {
        Some(rest) => (true, rest),
        None => (false, rest),
    };
    // Uses of captures within the path; the pattern after it is filled by `matches`.
    let (expr, tail) = {
        let filled = uses(rest, known);
        let (expr, tail) = xpath::parse(&filled)?;
        let tail = tail.trim().to_owned();
        (expr, tail)
    };
    let document =
        roxmltree::Document::parse(text(response)?).map_err(|e| format!("the body is not XML: {e}"))?;
    let values = xpath::evaluate(&expr, &document);
    if absent {
        if !tail.is_empty() {
            return Err(format!("nothing may follow the path of `not`, found {tail:?}"));
        }
        return if values.is_empty() { Ok(()) } else { Err(format!("it selects {values:?}")) };
    }
    if tail.is_empty() {
        return if values.is_empty() { Err("it selects nothing".into()) } else { Ok(()) };
    }
    let found = if let Some(pattern) = tail.strip_prefix("not contains ") {
        !values.is_empty() && values.iter().all(|v| !v.contains(&uses(pattern, known)))
    } else if let Some(pattern) = tail.strip_prefix("contains ") {
        let pattern = uses(pattern, known);
        values.iter().any(|v| v.contains(&pattern))
    } else if let Some(pattern) = tail.strip_prefix("!= ") {
        !values.is_empty() && !any(&values, pattern, known)?
    } else if let Some(pattern) = tail.strip_prefix("= ") {
        any(&values, pattern, known)?
    } else if tail == "=" {
        values.iter().any(String::is_empty)
    } else {
        return Err(format!("what follows the path is not understood: {tail:?}"));
    };
    if found { Ok(()) } else { Err(format!("it selects {values:?}")) }
}

fn any(values: &[String], pattern: &str, known: &mut Captures) -> Result<bool, String> {
    for value in values {
        if matches(pattern, value, known)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn body(rest: &str, response: &Response, sent: &[u8], known: &mut Captures) -> Result<(), String> {
    if rest == "is what was put" {
        return if response.body == sent {
            Ok(())
        } else {
            Err(format!("it differs from what was put: {:?}", String::from_utf8_lossy(sent)))
        };
    }
    if rest == "is empty" {
        return if response.body.is_empty() { Ok(()) } else { Err("it is not empty".into()) };
    }
    if rest == "is a sentence" {
        let text = text(response)?;
        let plain: String = if text.trim_start().starts_with('<') {
            let document =
                roxmltree::Document::parse(text).map_err(|e| format!("the body is not XML: {e}"))?;
            document.descendants().filter(|n| n.is_text()).filter_map(|n| n.text()).collect()
        } else {
            text.to_owned()
        };
        let words = plain.split_whitespace().count();
        let ends = plain.trim_end().ends_with(['.', '!', '?']);
        return if words >= 4 && ends { Ok(()) } else { Err(format!("no sentence in {plain:?}")) };
    }
    let text = text(response)?;
    if let Some(what) = rest.strip_prefix("contains ") {
        return if text.contains(&uses(what, known)) {
            Ok(())
        } else {
            Err("it does not contain that".into())
        };
    }
    if let Some(what) = rest.strip_prefix("not contains ") {
        return if text.contains(&uses(what, known)) { Err("it contains that".into()) } else { Ok(()) };
    }
    if let Some(pattern) = rest.strip_prefix("= ") {
        return if matches(pattern, text, known)? { Ok(()) } else { Err("it differs".into()) };
    }
    Err("this expectation of a body is not understood".into())
}

/// The body as iCalendar text: its lines, unfolded.
fn unfolded(rest: &str, response: &Response, known: &mut Captures) -> Result<(), String> {
    let text = text(response)?.replace("\r\n", "\n").replace("\n ", "").replace("\n\t", "");
    let (absent, pattern) = match rest.strip_prefix("not ") {
        Some(pattern) => (true, pattern),
        None => (false, rest),
    };
    let lines: Vec<String> = text.lines().map(str::to_owned).collect();
    match (any(&lines, pattern, known)?, absent) {
        (true, false) | (false, true) => Ok(()),
        (false, false) => Err("no line is like that".into()),
        (true, true) => Err("a line is like that".into()),
    }
}

fn json(rest: &str, response: &Response, known: &mut Captures) -> Result<(), String> {
    let value: serde_json::Value =
        serde_json::from_slice(&response.body).map_err(|e| format!("the body is not JSON: {e}"))?;
    let (absent, rest) = match rest.strip_prefix("not ") {
        Some(rest) => (true, rest),
        None => (false, rest),
    };
    let (pointer, pattern) = match rest.split_once(" = ") {
        Some((pointer, pattern)) => (pointer.trim(), Some(pattern.trim())),
        None => (rest.trim(), None),
    };
    let found = value.pointer(pointer);
    match (found, pattern, absent) {
        (None, _, true) | (Some(_), None, false) => Ok(()),
        (None, _, false) => Err("there is nothing".into()),
        (Some(found), None, true) => Err(format!("there is {found}")),
        (Some(found), Some(pattern), absent) => {
            let shown = match found {
                serde_json::Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            if matches(pattern, &shown, known)? != absent { Ok(()) } else { Err(format!("it is {shown:?}")) }
        }
    }
}

/// Replaces `{name}` by what was caught; anything else stays.
fn uses(text: &str, known: &Captures) -> String {
    let mut out = text.to_owned();
    for (name, value) in known {
        out = out.replace(&format!("{{{name}}}"), value);
    }
    out
}

#[derive(Debug)]
enum Piece {
    Literal(String),
    Anything,
    Catch(String, String),
}

/// Matches the whole text; on success what the pattern catches becomes known.
pub(crate) fn matches(pattern: &str, text: &str, known: &mut Captures) -> Result<bool, String> {
    let filled = uses(pattern, known);
    let mut pieces = Vec::new();
    let mut rest = filled.as_str();
    let mut literal = String::new();
    while let Some(c) = rest.chars().next() {
        let catch =
            rest.strip_prefix('{').and_then(|r| r.split_once('}')).and_then(|(i, _)| i.split_once(':'));
        match (c, catch) {
            ('\\', _) if rest[1..].starts_with('*') => {
                literal.push('*');
                rest = &rest[2..];
            }
            ('*', _) => {
                pieces.push(Piece::Literal(std::mem::take(&mut literal)));
                pieces.push(Piece::Anything);
                rest = &rest[1..];
            }
            ('{', Some((kind, name)))
                if kind.chars().all(|c| c.is_ascii_lowercase())
                    && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_') =>
            {
                if !["etag", "token", "href", "number", "any"].contains(&kind) {
                    return Err(format!("unknown kind of capture {kind:?}"));
                }
                pieces.push(Piece::Literal(std::mem::take(&mut literal)));
                pieces.push(Piece::Catch(kind.to_owned(), name.to_owned()));
                rest = &rest[kind.len() + name.len() + 3..];
            }
            _ => {
                literal.push(c);
                rest = &rest[c.len_utf8()..];
            }
        }
    }
    pieces.push(Piece::Literal(literal));
    let mut caught = Vec::new();
    if !fits(&pieces, text, &mut caught) {
        return Ok(false);
    }
    known.extend(caught);
    Ok(true)
}

fn fits(pieces: &[Piece], text: &str, caught: &mut Vec<(String, String)>) -> bool {
    let Some((first, rest)) = pieces.split_first() else { return text.is_empty() };
    let ends = || text.char_indices().map(|(i, _)| i).chain([text.len()]).collect::<Vec<_>>();
    match first {
        Piece::Literal(literal) => text.strip_prefix(literal.as_str()).is_some_and(|t| fits(rest, t, caught)),
        Piece::Anything => ends().into_iter().any(|end| fits(rest, &text[end..], caught)),
        Piece::Catch(kind, name) => ends().into_iter().rev().any(|end| {
            let mark = caught.len();
            caught.push((name.clone(), text[..end].to_owned()));
            let good = shaped(kind, &text[..end]) && fits(rest, &text[end..], caught);
            if !good {
                caught.truncate(mark);
            }
            good
        }),
    }
}

fn shaped(kind: &str, value: &str) -> bool {
    match kind {
        // RFC 9110 §8.8.3; clients.md 0.2: strong and quoted.
        "etag" => {
            value.len() > 2
                && value.starts_with('"')
                && value.ends_with('"')
                && !value[1..value.len() - 1].contains(|c: char| c == '"' || c.is_whitespace())
        }
        // RFC 6578 §3.2: a token is an absolute URI.
        "token" => value.split_once(':').is_some_and(|(scheme, rest)| {
            scheme.starts_with(|c: char| c.is_ascii_alphabetic())
                && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
                && !rest.is_empty()
                && !value.contains(char::is_whitespace)
        }),
        "href" => value.starts_with('/') && !value.contains(char::is_whitespace),
        "number" => !value.is_empty() && value.chars().all(|c| c.is_ascii_digit()),
        _ => !value.is_empty(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(line: &str, response: &Response) -> Result<Captures, String> {
        let mut known = Captures::from([("one".to_owned(), "\"1\"".to_owned())]);
        check(line, response, b"what was sent", &mut known).map(|()| known)
    }

    #[test]
    fn an_answer_that_is_as_expected_passes_and_any_other_fails() {
        let response = Response {
            status: 207,
            headers: vec![("ETag".into(), "\"1\"".into()), ("DAV".into(), "1, 2, 3".into())],
            body: br#"<D:multistatus xmlns:D="DAV:"><D:href>/a</D:href><D:sync-token>t:1</D:sync-token></D:multistatus>"#
                .to_vec(),
        };
        for good in [
            "207",
            "200 207",
            "ETag: {one}",
            "ETag: \"*\"",
            "DAV: 1, *",
            "{no} Location",
            "{xml} //D:href",
            "{xml} //D:href = /a",
            "{xml} //D:href = /*",
            "{xml} count(//D:href) = 1",
            "{xml} not //D:status",
            "{xml} //D:href contains a",
            "{xml} //D:href not contains b",
            "{xml} //D:href != /b",
            "{body} contains t:1",
            "{body} not contains t:2",
        ] {
            assert!(run(good, &response).is_ok(), "{good}: {:?}", run(good, &response));
        }
        for bad in [
            "200",
            "201 204",
            "ETag: \"2\"",
            "Location: *x",
            "{no} DAV",
            "{xml} //D:status",
            "{xml} //D:href = /b",
            "{xml} count(//D:href) = 2",
            "{xml} not //D:href",
            "{xml} //D:href contains b",
            "{xml} //D:href not contains a",
            "{xml} //D:href != /a",
            "{xml} //D:status != /a",
            "{xml} //D:status not contains x",
            "{body} contains t:2",
            "{body} not contains t:1",
            "{body} is empty",
            "{body} is what was put",
            "{body} is a sentence",
            "{line} t:1",
            "{json} /a",
            "{body} nonsense",
            "{xml} //D:href nonsense",
            "nonsense",
            "ETag: {nokind:x}",
        ] {
            assert!(run(bad, &response).is_err(), "{bad}");
        }
        assert_eq!(run("{xml} //D:sync-token = {token:t}", &response).unwrap()["t"], "t:1");
        assert_eq!(run("ETag: {etag:e}", &response).unwrap()["e"], "\"1\"");
    }

    #[test]
    fn lines_and_json() {
        let response =
            Response { status: 200, body: b"A:1\r\nFREE\r\n BUSY:x\r\n".to_vec(), ..Response::default() };
        assert!(run("{line} FREEBUSY:x", &response).is_ok());
        assert!(run("{line} not FREE", &response).is_ok());
        assert!(run("{line} not A:*", &response).is_err());
        let response =
            Response { status: 200, body: br#"{"a": {"b": [1, "x"]}}"#.to_vec(), ..Response::default() };
        assert!(run("{json} /a/b/1 = x", &response).is_ok());
        assert!(run("{json} /a/b/0 = 2", &response).is_err());
        assert!(run("{json} not /c", &response).is_ok());
    }

    #[test]
    fn patterns() {
        let mut known = Captures::new();
        let mut check = |pattern: &str, text: &str| matches(pattern, text, &mut known).unwrap();
        assert!(check("a*c", "abbc"));
        assert!(!check("a*c", "abbd"));
        assert!(check("2\\*3", "2*3"));
        assert!(!check("2\\*3", "2x3"));
        assert!(!check("{etag:e}", "W/\"1\""));
        assert!(!check("{token:t}", "1234"));
        assert!(check("/x/{number:n}/y", "/x/12/y"));
        assert!(check("{n}", "12"));
    }
}

//! The text of a dialogue file → directives and exchanges. The format is described in `dialogues/README.md`.

use std::collections::HashMap;
use std::path::Path;

use super::wire::Request;

/// Names and what they stand for, caught from answers.
pub(crate) type Captures = HashMap<String, String>;

/// A whole file.
#[derive(Debug, Default)]
pub(crate) struct Script {
    pub(crate) steps: Vec<Step>,
}

/// What happens next.
#[derive(Debug)]
pub(crate) enum Step {
    /// `@word …`
    Directive { line: usize, text: String },
    /// One request and what must come back.
    Exchange(Exchange),
}

/// One request and what must come back.
#[derive(Debug, Default)]
pub(crate) struct Exchange {
    pub(crate) line: usize,
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Option<Vec<String>>,
    /// `NAME` or `NAME:PASSWORD`.
    pub(crate) user: Option<String>,
    pub(crate) expected: Vec<(usize, String)>,
}

/// How the lines of a body are joined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lines {
    /// CRLF after each line of iCalendar text, LF between the lines of anything else.
    Usual,
    /// LF after each line.
    Lf,
    /// Nothing: the text says where lines end.
    None,
}

impl Script {
    /// Parses a file.
    pub(crate) fn parse(text: &str) -> Result<Script, String> {
        let mut script = Script::default();
        let mut current: Option<Exchange> = None;
        let mut in_body = false;
        for (index, line) in text.lines().enumerate() {
            let number = index + 1;
            let fail = |what: &str| format!("line {number}: {what}: {line}");
            if line.starts_with('#') || line.trim().is_empty() {
                continue;
            }
            if let Some(directive) = line.strip_prefix('@') {
                script.steps.extend(current.take().map(Step::Exchange));
                script.steps.push(Step::Directive { line: number, text: directive.trim().to_owned() });
            } else if let Some(expected) = line.strip_prefix("< ") {
                let exchange = current.as_mut().ok_or_else(|| fail("an expectation without a request"))?;
                if exchange.expected.is_empty() && !expected.starts_with(|c: char| c.is_ascii_digit()) {
                    return Err(fail("the first expectation must be the status"));
                }
                exchange.expected.push((number, expected.trim().to_owned()));
            } else if let Some(said) = line.strip_prefix('>') {
                let said = said.strip_prefix(' ').unwrap_or(said);
                if current.as_ref().is_none_or(|e| !e.expected.is_empty()) {
                    script.steps.extend(current.take().map(Step::Exchange));
                    current = Some(Exchange::begin(number, said).ok_or_else(|| fail("no request line"))?);
                    in_body = false;
                    continue;
                }
                let exchange = current.as_mut().ok_or_else(|| fail("no request"))?;
                if in_body {
                    exchange.body.get_or_insert_default().push(said.to_owned());
                } else if said.is_empty() {
                    in_body = true;
                    exchange.body = Some(Vec::new());
                } else {
                    let (name, value) = said.split_once(':').ok_or_else(|| fail("no header"))?;
                    exchange.headers.push((name.trim().to_owned(), value.trim().to_owned()));
                }
            } else {
                return Err(fail("neither a comment, `@`, `>` nor `<`"));
            }
        }
        script.steps.extend(current.take().map(Step::Exchange));
        for step in &script.steps {
            if let Step::Exchange(exchange) = step
                && exchange.expected.is_empty()
            {
                return Err(format!("line {}: a request without an expectation", exchange.line));
            }
        }
        Ok(script)
    }
}

impl Exchange {
    fn begin(line: usize, said: &str) -> Option<Exchange> {
        let (request, user) = match said.split_once("<-") {
            Some((request, user)) => (request, Some(user.trim().strip_prefix("as ")?.trim().to_owned())),
            None => (said, None),
        };
        let (method, target) = request.trim().split_once(' ')?;
        let (method, target) = (method.to_owned(), target.trim().to_owned());
        Some(Exchange { line, method, target, user, ..Exchange::default() })
    }

    /// Returns the request as it goes out, placeholders filled in.
    pub(crate) fn request(&self, known: &Captures, lines: Lines, folder: &Path) -> Result<Request, String> {
        let fill = |text: &str| fill(text, known, folder);
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).map_err(|_| "not UTF-8 in the head".to_owned());
        let mut request = Request {
            method: self.method.clone(),
            target: text(fill(&self.target)?)?,
            headers: Vec::new(),
            body: Vec::new(),
        };
        for (name, value) in &self.headers {
            request.headers.push((name.clone(), text(fill(value)?)?));
        }
        let body = self.body.as_deref().unwrap_or_default();
        let mut filled = Vec::new();
        for line in body {
            filled.push(fill(line)?);
        }
        let start = filled.first().map(Vec::as_slice).unwrap_or_default();
        let start = start.strip_prefix("\u{feff}".as_bytes()).unwrap_or(start);
        let named = |name: &str| self.headers.iter().any(|(n, _)| n.eq_ignore_ascii_case(name));
        let calendar = start.starts_with(b"BEGIN:") || start.starts_with(b"begin:");
        if !named("content-type") && !filled.is_empty() {
            let value = match calendar {
                true => "text/calendar; charset=utf-8",
                false if start.starts_with(b"<") => "application/xml; charset=utf-8",
                false => "application/octet-stream",
            };
            request.headers.push(("Content-Type".into(), value.into()));
        }
        // A file stands for itself, its line ends included.
        let one_file = body.len() == 1 && body.iter().all(|l| l.starts_with("{file:") && l.ends_with('}'));
        let ended = |end: &[u8]| filled.iter().flat_map(|l| [l.as_slice(), end]).flatten().copied().collect();
        request.body = match lines {
            _ if one_file => filled.concat(),
            Lines::None => filled.concat(),
            Lines::Lf => ended(b"\n"),
            Lines::Usual if calendar => ended(b"\r\n"),
            Lines::Usual => filled.join(&b'\n'),
        };
        if let Some(user) = &self.user {
            use base64::Engine;
            let pair = match user.split_once(':') {
                Some(_) => user.clone(),
                None => format!("{user}:{}", password(user)),
            };
            let value = base64::engine::general_purpose::STANDARD.encode(pair);
            request.headers.push(("Authorization".into(), format!("Basic {value}")));
        }
        Ok(request)
    }
}

/// Returns the password that a dialogue's user has.
pub(crate) fn password(user: &str) -> String {
    format!("{user}-secret")
}

/// Replaces `{placeholders}`. Braces around anything that does not look like one are left alone.
pub(crate) fn fill(text: &str, known: &Captures, folder: &Path) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find('{') {
        out.extend_from_slice(&rest.as_bytes()[..at]);
        rest = &rest[at..];
        let inner = rest.find('}').map(|end| &rest[1..end]);
        let Some(inner) = inner.filter(|i| i.starts_with(|c: char| c.is_ascii_lowercase())) else {
            out.push(b'{');
            rest = &rest[1..];
            continue;
        };
        rest = &rest[inner.len() + 2..];
        out.extend(placeholder(inner, known, folder)?);
    }
    out.extend_from_slice(rest.as_bytes());
    Ok(out)
}

fn placeholder(inner: &str, known: &Captures, folder: &Path) -> Result<Vec<u8>, String> {
    let unknown = || format!("unknown placeholder {{{inner}}}");
    Ok(match inner {
        "ns" => super::xpath::PREFIXES
            .iter()
            .take(4)
            .map(|(prefix, ns)| format!("xmlns:{prefix}=\"{ns}\""))
            .collect::<Vec<_>>()
            .join(" ")
            .into_bytes(),
        "bom" => "\u{feff}".into(),
        "cr" => b"\r".to_vec(),
        "lf" => b"\n".to_vec(),
        "crlf" => b"\r\n".to_vec(),
        "sp" => b" ".to_vec(),
        _ => match inner.split_once(':') {
            None => known.get(inner).ok_or_else(unknown)?.clone().into_bytes(),
            Some(("x", hex)) => vec![u8::from_str_radix(hex, 16).map_err(|_| unknown())?],
            Some(("file", path)) => {
                std::fs::read(folder.join(path)).map_err(|e| format!("{{file:{path}}}: {e}"))?
            }
            Some(("repeat", what)) => {
                let (n, what) = what.split_once(':').ok_or_else(unknown)?;
                let n: usize = n.parse().map_err(|_| unknown())?;
                let mut all = String::new();
                for i in 1..=n {
                    all.push_str(&what.replace('#', &i.to_string()));
                }
                all.into_bytes()
            }
            Some(_) => return Err(unknown()),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dialogue_is_read() {
        let script = Script::parse(
            "# comment\n@user carl\n> PUT /a{n}.ics   <- as anna\n> If-None-Match: *\n>\n> BEGIN:VCALENDAR\n\
             > END:VCALENDAR\n< 201\n< ETag: {etag:one}\n\n> GET /b\n< 404\n",
        )
        .unwrap();
        assert_eq!(script.steps.len(), 3);
        let Step::Exchange(put) = &script.steps[1] else { panic!("no exchange") };
        let known = Captures::from([("n".to_owned(), "7".to_owned())]);
        let request = put.request(&known, Lines::Usual, Path::new(".")).unwrap();
        assert_eq!((request.method.as_str(), request.target.as_str()), ("PUT", "/a7.ics"));
        assert_eq!(request.body, b"BEGIN:VCALENDAR\r\nEND:VCALENDAR\r\n");
        assert!(request.headers.contains(&("Authorization".into(), "Basic YW5uYTphbm5hLXNlY3JldA==".into())));
        assert_eq!(put.expected.len(), 2);
    }

    #[test]
    fn placeholders_are_filled() {
        let known = Captures::from([("etag".to_owned(), "\"1\"".to_owned())]);
        let fill = |text: &str| fill(text, &known, Path::new(".")).map(|b| String::from_utf8(b).unwrap());
        assert_eq!(fill("{etag} {x:41}{repeat:3:a#}{lf}").unwrap(), "\"1\" Aa1a2a3\n");
        assert_eq!(fill("{\"json\": 1} {").unwrap(), "{\"json\": 1} {");
        assert!(fill("{nothing}").is_err());
    }

    #[test]
    fn mistakes_in_a_file_are_errors() {
        for text in ["> GET /", "< 200", "GET /", "> GET /\n< {xml} /a\n", "> GET /\n> Depth\n< 200\n"] {
            assert!(Script::parse(text).is_err(), "{text:?}");
        }
    }
}

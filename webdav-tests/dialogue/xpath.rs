//! The part of XPath 1.0 that dialogues use, over `roxmltree`. Prefixes are fixed: see `PREFIXES`.
//!
//! Paths (`/`, `//`, `name`, `*`, `.`, `..`, `text()`, `@name`), predicates (`[2]`, `[last()]`, `[path]`,
//! `[path='x']`, `[path!='x']`, `contains()`, `starts-with()`, `not()`, `count() = n`, `and`, `or`) and, outermost,
//! `count(path)`. Anything else is an error, never quietly false.

use roxmltree::Node;

/// The prefixes that a path may use.
pub(crate) const PREFIXES: &[(&str, &str)] = &[
    ("D", "DAV:"),
    ("C", "urn:ietf:params:xml:ns:caldav"),
    ("CS", "http://calendarserver.org/ns/"),
    ("A", "http://apple.com/ns/ical/"),
    ("ME", "http://me.com/_namespace/"),
    ("P", "https://bitfire.at/webdav-push"),
    ("X", "http://example.com/ns/x/"),
    ("xml", "http://www.w3.org/XML/1998/namespace"),
];

/// An expression: what it yields is a list of strings (of nodes) or a number.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Expr {
    Path(Path),
    Count(Path),
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Path {
    absolute: bool,
    steps: Vec<Step>,
}

#[derive(Debug, Clone, PartialEq)]
struct Step {
    deep: bool,
    test: Test,
    predicates: Vec<Pred>,
}

#[derive(Debug, Clone, PartialEq)]
enum Test {
    Name(String, String),
    Any,
    This,
    Parent,
    Text,
    Attribute(String, String),
}

#[derive(Debug, Clone, PartialEq)]
enum Pred {
    Position(usize),
    Last,
    Exists(Path),
    Compare(Path, bool, String),
    Contains(Path, String),
    StartsWith(Path, String),
    Count(Path, String, usize),
    Not(Box<Pred>),
    And(Box<Pred>, Box<Pred>),
    Or(Box<Pred>, Box<Pred>),
}

/// What a step may stand on.
#[derive(Clone)]
enum Item<'a, 'i> {
    Node(Node<'a, 'i>),
    Value(String),
}

/// Parses an expression at the beginning of `text`; returns it with what follows.
pub(crate) fn parse(text: &str) -> Result<(Expr, &str), String> {
    let mut p = Parser { rest: text.trim_start() };
    let expr = if p.eat("count(") {
        let path = p.path()?;
        p.need(")")?;
        Expr::Count(path)
    } else {
        Expr::Path(p.path()?)
    };
    Ok((expr, p.rest))
}

/// Evaluates an expression: the string value of every node that it selects, or one number.
pub(crate) fn evaluate(expr: &Expr, document: &roxmltree::Document) -> Vec<String> {
    let root = Item::Node(document.root());
    match expr {
        Expr::Path(path) => select(path, &root).iter().map(string).collect(),
        Expr::Count(path) => vec![select(path, &root).len().to_string()],
    }
}

fn string(item: &Item) -> String {
    match item {
        Item::Value(value) => value.clone(),
        Item::Node(node) => {
            node.descendants().filter(|n| n.is_text()).filter_map(|n| n.text()).collect::<String>()
        }
    }
}

fn select<'a, 'i>(path: &Path, from: &Item<'a, 'i>) -> Vec<Item<'a, 'i>> {
    let mut items = match (path.absolute, from) {
        (true, Item::Node(node)) => vec![Item::Node(node.document().root())],
        _ => vec![from.clone()],
    };
    for step in &path.steps {
        let mut next: Vec<Item> = Vec::new();
        for item in &items {
            let Item::Node(node) = item else {
                if step.test == Test::This {
                    next.push(item.clone());
                }
                continue;
            };
            let mut found = Vec::new();
            if step.deep {
                for inner in node.descendants() {
                    found.extend(advance(step, inner));
                }
            } else {
                found.extend(advance(step, *node));
            }
            next.extend(found);
        }
        items = next;
    }
    items
}

fn advance<'a, 'i>(step: &Step, node: Node<'a, 'i>) -> Vec<Item<'a, 'i>> {
    let elements = |f: &dyn Fn(&Node) -> bool| -> Vec<Item<'a, 'i>> {
        node.children().filter(|c| c.is_element() && f(c)).map(Item::Node).collect()
    };
    let mut items = match &step.test {
        Test::Name(ns, local) => elements(&|c| {
            c.tag_name().name() == local && c.tag_name().namespace().unwrap_or("") == ns.as_str()
        }),
        Test::Any => elements(&|_| true),
        Test::This => vec![Item::Node(node)],
        Test::Parent => node.parent().map(Item::Node).into_iter().collect(),
        Test::Text => node
            .children()
            .filter(|c| c.is_text())
            .filter_map(|c| c.text())
            .map(|t| Item::Value(t.to_owned()))
            .collect(),
        Test::Attribute(ns, local) => node
            .attributes()
            .filter(|a| a.name() == local && a.namespace().unwrap_or("") == ns.as_str())
            .map(|a| Item::Value(a.value().to_owned()))
            .collect(),
    };
    for predicate in &step.predicates {
        let last = items.len();
        let mut position = 0;
        items.retain(|item| {
            position += 1;
            holds(predicate, item, position, last)
        });
    }
    items
}

fn holds(predicate: &Pred, item: &Item, position: usize, last: usize) -> bool {
    let any = |path: &Path, f: &dyn Fn(&str) -> bool| select(path, item).iter().any(|i| f(&string(i)));
    match predicate {
        Pred::Position(n) => position == *n,
        Pred::Last => position == last,
        Pred::Exists(path) => !select(path, item).is_empty(),
        Pred::Compare(path, true, value) => any(path, &|s| s == value),
        Pred::Compare(path, false, value) => any(path, &|s| s != value),
        Pred::Contains(path, value) => any(path, &|s| s.contains(value.as_str())),
        Pred::StartsWith(path, value) => any(path, &|s| s.starts_with(value.as_str())),
        Pred::Count(path, op, n) => {
            let count = select(path, item).len();
            match op.as_str() {
                "=" => count == *n,
                "!=" => count != *n,
                ">" => count > *n,
                _ => count < *n,
            }
        }
        Pred::Not(inner) => !holds(inner, item, position, last),
        Pred::And(a, b) => holds(a, item, position, last) && holds(b, item, position, last),
        Pred::Or(a, b) => holds(a, item, position, last) || holds(b, item, position, last),
    }
}

struct Parser<'t> {
    rest: &'t str,
}

impl Parser<'_> {
    fn eat(&mut self, token: &str) -> bool {
        match self.rest.strip_prefix(token) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn space(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn need(&mut self, token: &str) -> Result<(), String> {
        self.space();
        if self.eat(token) { Ok(()) } else { Err(format!("expected {token:?} before {:?}", self.rest)) }
    }

    fn path(&mut self) -> Result<Path, String> {
        self.space();
        let absolute = self.rest.starts_with('/');
        let mut steps = Vec::new();
        let mut deep = false;
        if absolute {
            deep = self.eat("//");
            if !deep {
                self.eat("/");
            }
        }
        loop {
            steps.push(self.step(deep)?);
            if self.eat("//") {
                deep = true;
            } else if self.eat("/") {
                deep = false;
            } else {
                return Ok(Path { absolute, steps });
            }
        }
    }

    fn step(&mut self, deep: bool) -> Result<Step, String> {
        let test = if self.eat("text()") {
            Test::Text
        } else if self.eat("..") {
            Test::Parent
        } else if self.eat(".") {
            Test::This
        } else if self.eat("*") {
            Test::Any
        } else if self.eat("@") {
            let (ns, local) = self.name()?;
            Test::Attribute(ns, local)
        } else {
            let (ns, local) = self.name()?;
            Test::Name(ns, local)
        };
        let mut predicates = Vec::new();
        while self.eat("[") {
            predicates.push(self.either()?);
            self.need("]")?;
        }
        Ok(Step { deep, test, predicates })
    }

    fn name(&mut self) -> Result<(String, String), String> {
        let end = self
            .rest
            .find(|c: char| !(c.is_alphanumeric() || matches!(c, '-' | '_' | '.' | ':')))
            .unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        if word.is_empty() {
            return Err(format!("expected a name before {rest:?}"));
        }
        let Some((prefix, local)) = word.split_once(':') else {
            return Ok((String::new(), word.to_owned()));
        };
        let (_, ns) = PREFIXES
            .iter()
            .find(|(p, _)| *p == prefix)
            .ok_or_else(|| format!("unknown prefix {prefix:?}"))?;
        Ok(((*ns).to_owned(), local.to_owned()))
    }

    fn either(&mut self) -> Result<Pred, String> {
        let mut left = self.both()?;
        loop {
            self.space();
            if !self.eat("or ") {
                return Ok(left);
            }
            left = Pred::Or(Box::new(left), Box::new(self.both()?));
        }
    }

    fn both(&mut self) -> Result<Pred, String> {
        let mut left = self.single()?;
        loop {
            self.space();
            if !self.eat("and ") {
                return Ok(left);
            }
            left = Pred::And(Box::new(left), Box::new(self.single()?));
        }
    }

    fn single(&mut self) -> Result<Pred, String> {
        self.space();
        if self.eat("not(") {
            let inner = self.either()?;
            self.need(")")?;
            return Ok(Pred::Not(Box::new(inner)));
        }
        if self.eat("last()") {
            return Ok(Pred::Last);
        }
        for (function, make) in
            [("contains(", Pred::Contains as fn(Path, String) -> Pred), ("starts-with(", Pred::StartsWith)]
        {
            if self.eat(function) {
                let path = self.path()?;
                self.need(",")?;
                let value = self.literal()?;
                self.need(")")?;
                return Ok(make(path, value));
            }
        }
        if self.eat("count(") {
            let path = self.path()?;
            self.need(")")?;
            self.space();
            let op = ["!=", "=", ">", "<"]
                .into_iter()
                .find(|op| self.eat(op))
                .ok_or_else(|| format!("expected a comparison before {:?}", self.rest))?;
            let n = self.number()?;
            return Ok(Pred::Count(path, op.to_owned(), n));
        }
        if self.rest.starts_with(|c: char| c.is_ascii_digit()) {
            return Ok(Pred::Position(self.number()?));
        }
        let path = self.path()?;
        self.space();
        if self.eat("!=") {
            return Ok(Pred::Compare(path, false, self.literal()?));
        }
        if self.eat("=") {
            return Ok(Pred::Compare(path, true, self.literal()?));
        }
        Ok(Pred::Exists(path))
    }

    fn number(&mut self) -> Result<usize, String> {
        self.space();
        let end = self.rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(self.rest.len());
        let (digits, rest) = self.rest.split_at(end);
        let number = digits.parse().map_err(|_| format!("expected a number before {:?}", self.rest))?;
        self.rest = rest;
        Ok(number)
    }

    fn literal(&mut self) -> Result<String, String> {
        self.space();
        let quote = self.rest.chars().next().filter(|c| matches!(c, '\'' | '"'));
        let quote = quote.ok_or_else(|| format!("expected a quoted text before {:?}", self.rest))?;
        let inner = &self.rest[1..];
        let end = inner.find(quote).ok_or("a quoted text does not end")?;
        self.rest = &inner[end + 1..];
        Ok(inner[..end].to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::{evaluate, parse};

    const TEXT: &str = r#"<D:multistatus xmlns:D="DAV:" xmlns:C="urn:ietf:params:xml:ns:caldav">
        <D:response><D:href>/a</D:href><D:propstat><D:prop><D:getetag>"1"</D:getetag></D:prop>
            <D:status>HTTP/1.1 200 OK</D:status></D:propstat></D:response>
        <D:response><D:href>/b</D:href><D:status>HTTP/1.1 404 Not Found</D:status></D:response>
        <D:sync-token kind="x">t:1</D:sync-token></D:multistatus>"#;

    fn check(expr: &str, expected: &[&str]) {
        let document = roxmltree::Document::parse(TEXT).unwrap();
        let (parsed, rest) = parse(expr).unwrap();
        assert_eq!(rest.trim(), "", "{expr}");
        assert_eq!(evaluate(&parsed, &document), expected, "{expr}");
    }

    #[test]
    fn paths_and_predicates() {
        check("/D:multistatus/D:response/D:href", &["/a", "/b"]);
        check("//D:href", &["/a", "/b"]);
        check("//D:response[2]/D:href", &["/b"]);
        check("//D:response[last()]/D:href", &["/b"]);
        check("//D:response[D:href='/a']//D:getetag", &["\"1\""]);
        check("//D:response[D:status]/D:href", &["/b"]);
        check("//D:response[not(D:status)]/D:href", &["/a"]);
        check("//D:response[contains(D:status,'404') and D:href='/b']/D:href", &["/b"]);
        check("//D:response[starts-with(D:href,'/a') or D:status]/D:href", &["/a", "/b"]);
        check("//D:response[count(D:propstat) = 0]/D:href", &["/b"]);
        check("//D:response[D:href!='/a']/D:href", &["/b"]);
        check("//D:propstat[contains(D:status,' 200 ')]/D:prop/D:getetag", &["\"1\""]);
        check("count(//D:response)", &["2"]);
        check("//D:sync-token/@kind", &["x"]);
        check("//D:sync-token/text()", &["t:1"]);
        check("//C:getetag", &[]);
        check("//D:getetag/../../D:status", &["HTTP/1.1 200 OK"]);
        check("/D:multistatus/*[3]", &["t:1"]);
    }

    #[test]
    fn nonsense_is_an_error() {
        for text in ["//Q:href", "//D:href[", "//D:href[D:a=b]", "//D:href[D:a='b]", "count(//D:a", ""] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}

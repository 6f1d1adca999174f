//! What the OpenAPI document says of a route, written beside the route itself.
//!
//! Owns: the words and shapes of one operation. Does not own: the document (`openapi`), the schemas (`schemas.json`).

/// One operation: its words, what it takes, what it answers when all is well and which refusals are its own.
#[derive(Debug, Clone, Copy)]
pub(super) struct Told {
    /// The group of the document.
    pub(super) tag: &'static str,
    /// One line.
    pub(super) summary: &'static str,
    /// Parameters of the query.
    pub(super) query: &'static [Parameter],
    /// What the body may be; the first is preferred.
    pub(super) body: &'static [Content],
    /// True if it cannot be asked for without a body.
    pub(super) needs_body: bool,
    /// What it answers when all is well.
    pub(super) gives: &'static [(u16, Content)],
    /// Statuses of refusals beside those that follow from its shape.
    pub(super) refuses: &'static [u16],
    /// It takes `If-Match`.
    pub(super) conditional: bool,
    /// Whoever is signed in on a page may ask it of their own account.
    pub(super) own: bool,
}

/// What a body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Content {
    /// Nothing.
    Empty,
    /// JSON of that schema.
    Json(&'static str),
    /// JSON: a page of a list whose items are of that schema.
    List(&'static str),
    /// Text of that media type.
    Text(&'static str),
}

/// A parameter of the query.
#[derive(Debug, Clone, Copy)]
pub(super) struct Parameter {
    /// Its name.
    pub(super) name: &'static str,
    /// What it does.
    pub(super) what: &'static str,
    /// Its values.
    pub(super) kind: Kind,
    /// It cannot be left out.
    pub(super) needed: bool,
}

/// The values of a parameter.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    /// Any text.
    Text,
    /// Text of this shape, a regular expression.
    Shape(&'static str),
    /// `true` or `false`.
    Flag,
    /// A whole number within these bounds.
    Number(u64, u64),
    /// One of these words.
    Word(&'static [&'static str]),
    /// An RFC 3339 moment with an offset.
    Moment,
    /// An ISO 8601 duration.
    Duration,
}

impl Parameter {
    /// Returns a parameter that may be left out.
    pub(super) const fn new(name: &'static str, kind: Kind, what: &'static str) -> Parameter {
        Parameter { name, what, kind, needed: false }
    }

    /// Tells what is wrong with a value that the words, bounds and switches of its kind rule out. What a moment, a
    /// duration or a shape is, whoever reads it knows best.
    pub(super) fn complaint(&self, value: &str) -> Option<String> {
        match self.kind {
            Kind::Flag if !matches!(value, "true" | "false") => Some("It is `true` or `false`.".to_owned()),
            Kind::Number(least, most) if !value.parse().is_ok_and(|n| (least..=most).contains(&n)) => {
                Some(format!("It is a whole number from {least} to {most}."))
            }
            Kind::Word(words) if !words.contains(&value) => {
                Some(format!("It is one of {}.", words.join(", ")))
            }
            _ => None,
        }
    }

    /// Has it be needed.
    pub(super) const fn needed(mut self) -> Parameter {
        self.needed = true;
        self
    }
}

/// How many items a page has.
pub(super) const LIMIT: Parameter = Parameter::new(
    "limit",
    Kind::Number(1, 500),
    "How many items a page has at most; 100 if nothing is said.",
);
/// Where a page begins.
pub(super) const CURSOR: Parameter =
    Parameter::new("cursor", Kind::Shape("^[0-9]{1,9}$"), "The `next_cursor` of the page before.");
/// Both.
pub(super) const PAGED: &[Parameter] = &[LIMIT, CURSOR];

impl Told {
    /// Begins with a group and one line.
    pub(super) const fn new(tag: &'static str, summary: &'static str) -> Told {
        Told {
            tag,
            summary,
            query: &[],
            body: &[],
            needs_body: false,
            gives: &[],
            refuses: &[],
            conditional: false,
            own: false,
        }
    }

    /// Returns a list by pages.
    pub(super) const fn list(tag: &'static str, summary: &'static str) -> Told {
        let mut told = Told::new(tag, summary);
        told.query = PAGED;
        told
    }

    /// Says which parameters the query may have.
    pub(super) const fn query(mut self, query: &'static [Parameter]) -> Told {
        self.query = query;
        self
    }

    /// Says what the body may be, if there is one.
    pub(super) const fn takes(mut self, body: &'static [Content]) -> Told {
        self.body = body;
        self
    }

    /// Says what the body has to be.
    pub(super) const fn needs(mut self, body: &'static [Content]) -> Told {
        self.body = body;
        self.needs_body = true;
        self
    }

    /// Says what is answered when all is well.
    pub(super) const fn gives(mut self, gives: &'static [(u16, Content)]) -> Told {
        self.gives = gives;
        self
    }

    /// Says which refusals there are beside those that follow from its shape.
    pub(super) const fn refuses(mut self, statuses: &'static [u16]) -> Told {
        self.refuses = statuses;
        self
    }

    /// Says that whoever is signed in on a page may ask it of their own account: the first name in the path.
    pub(super) const fn own(mut self) -> Told {
        self.own = true;
        self
    }

    /// Says that `If-Match` is heeded.
    pub(super) const fn conditional(mut self) -> Told {
        self.conditional = true;
        self
    }
}

//! Components over lines: find, walk, splice.
//!
//! Owns: `Ical`, `Component`, `Property`, `Edit`. The bytes are the truth; everything here is spans into them.

use std::borrow::Cow;
use std::ops::Range;

use bytes::Bytes;

use super::line::{self, Line, fold_with, problem};
use super::{Problem, ProblemKind, value};

/// Deepest nesting that is read.
const MAX_DEPTH: usize = 16;

/// iCalendar text with an index of its lines. `bytes` are what came, whatever was understood.
#[derive(Debug)]
pub struct Ical {
    bytes: Bytes,
    lines: line::Lines,
    nodes: Vec<Node>,
}

/// A component: lines `begin..=end`, its descendants follow it in the arena up to `next`.
#[derive(Debug, Clone, Copy)]
struct Node {
    name: u32,
    begin: u32,
    end: u32,
    next: u32,
}

/// A component within its text.
#[derive(Debug, Clone, Copy)]
pub struct Component<'a> {
    ical: &'a Ical,
    node: usize,
}

/// A property within its text.
#[derive(Debug, Clone, Copy)]
pub struct Property<'a> {
    ical: &'a Ical,
    line: usize,
}

impl Ical {
    /// Reads a text. Only its form is judged: lines, nesting, UTF-8, size.
    ///
    /// # Errors
    /// With the line at which it is not iCalendar.
    pub fn parse(bytes: impl Into<Bytes>) -> Result<Ical, Problem> {
        Ical::within(bytes.into(), line::OBJECT)
    }

    /// Reads a text that holds a whole calendar, such as a feed, and may be longer than one object.
    ///
    /// # Errors
    /// As `parse`.
    pub fn parse_calendar(bytes: impl Into<Bytes>) -> Result<Ical, Problem> {
        Ical::within(bytes.into(), line::CALENDAR)
    }

    fn within(bytes: Bytes, most: line::Bounds) -> Result<Ical, Problem> {
        let lines = line::split(&bytes, most)?;
        let mut ical = Ical { bytes, lines, nodes: Vec::with_capacity(8) };
        ical.nest()?;
        Ok(ical)
    }

    fn nest(&mut self) -> Result<(), Problem> {
        let mut open: Vec<usize> = Vec::new();
        for index in 0..self.lines.lines.len() {
            let Some(line) = self.lines.lines.get(index).copied() else { break };
            let number = line.number as usize;
            let at = u32::try_from(index).unwrap_or(u32::MAX);
            match self.line_name(&line) {
                "BEGIN" => {
                    if open.len() >= MAX_DEPTH {
                        let reason = format!("components are nested more than {MAX_DEPTH} deep");
                        return Err(problem(ProblemKind::Limit, number, reason));
                    }
                    let name = line.value(&self.bytes).trim().to_ascii_uppercase();
                    if !line::is_name(&name) {
                        let reason = format!("BEGIN names no component: {}", line::excerpt(name.as_bytes()));
                        return Err(problem(ProblemKind::Data, number, reason));
                    }
                    self.lines.odd.push(name.into_boxed_str());
                    let name = u32::try_from(self.lines.odd.len()).unwrap_or(u32::MAX);
                    open.push(self.nodes.len());
                    self.nodes.push(Node { name, begin: at, end: at, next: 0 });
                }
                "END" => {
                    let value = line.value(&self.bytes);
                    let name = value.trim();
                    let next = u32::try_from(self.nodes.len()).unwrap_or(u32::MAX);
                    let Some(node) = open.pop() else {
                        let reason =
                            format!("END closes {}, which was not begun", line::excerpt(name.as_bytes()));
                        return Err(problem(ProblemKind::Data, number, reason));
                    };
                    let opened = self.node_name(node);
                    if !opened.eq_ignore_ascii_case(name) {
                        let name = line::excerpt(name.as_bytes());
                        let reason = format!("END closes {name} where END:{opened} is due");
                        return Err(problem(ProblemKind::Data, number, reason));
                    }
                    if let Some(node) = self.nodes.get_mut(node) {
                        node.end = at;
                        node.next = next;
                    }
                }
                name if open.is_empty() => {
                    let reason = format!("{name} stands outside any component");
                    return Err(problem(ProblemKind::Data, number, reason));
                }
                _ => {}
            }
        }
        match open.pop() {
            None => Ok(()),
            Some(node) => {
                let name = self.node_name(node).to_owned();
                let begun = self.nodes.get(node).and_then(|node| self.line(node.begin as usize));
                let last = self.lines.lines.last().map_or(1, |line| line.number as usize);
                let begun = begun.map_or(0, |line| line.number);
                let reason = format!("the text ends before END:{name}, begun at line {begun}");
                Err(problem(ProblemKind::Data, last, reason))
            }
        }
    }

    /// Returns exactly the bytes that were read.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Returns the outermost components, usually one VCALENDAR.
    pub fn roots(&self) -> impl Iterator<Item = Component<'_>> {
        Children { ical: self, at: 0, end: self.nodes.len() }
    }

    /// Returns the first VCALENDAR.
    pub fn calendar(&self) -> Option<Component<'_>> {
        self.roots().find(|component| component.name() == "VCALENDAR")
    }

    /// Begins an edit that leaves every line alone that it does not name.
    pub fn edit(&self) -> Edit<'_> {
        Edit { ical: self, splices: Vec::new() }
    }

    /// Returns the line break that the text uses.
    fn line_break(&self) -> &'static str {
        match self.bytes.iter().position(|byte| *byte == b'\n') {
            Some(at) if at > 0 && self.bytes.get(at - 1) == Some(&b'\r') => "\r\n",
            Some(_) => "\n",
            None => "\r\n",
        }
    }

    fn line_name(&self, line: &Line) -> &str {
        if line.odd > 0 {
            return self.lines.odd.get(line.odd as usize - 1).map_or("", |name| name);
        }
        let slice = self.bytes.get(line.start as usize..line.name_end as usize).unwrap_or_default();
        std::str::from_utf8(slice).unwrap_or_default()
    }

    fn node_name(&self, node: usize) -> &str {
        let name = self.nodes.get(node).map_or(0, |node| node.name as usize);
        name.checked_sub(1).and_then(|at| self.lines.odd.get(at)).map_or("", |name| name)
    }

    fn line(&self, index: usize) -> Option<&Line> {
        self.lines.lines.get(index)
    }
}

struct Children<'a> {
    ical: &'a Ical,
    at: usize,
    end: usize,
}

impl<'a> Iterator for Children<'a> {
    type Item = Component<'a>;

    fn next(&mut self) -> Option<Component<'a>> {
        if self.at >= self.end {
            return None;
        }
        let found = Component { ical: self.ical, node: self.at };
        self.at = self.ical.nodes.get(self.at).map_or(self.end, |node| (node.next as usize).max(self.at + 1));
        Some(found)
    }
}

impl<'a> Component<'a> {
    fn parts(&self) -> Node {
        self.ical.nodes.get(self.node).copied().unwrap_or(Node { name: 0, begin: 0, end: 0, next: 0 })
    }

    /// Returns the component type in upper case.
    pub fn name(&self) -> &'a str {
        self.ical.node_name(self.node)
    }

    /// Returns the text that the component is part of.
    pub fn ical(&self) -> &'a Ical {
        self.ical
    }

    /// Returns the direct children, in order.
    pub fn components(&self) -> impl Iterator<Item = Component<'a>> + use<'a> {
        Children { ical: self.ical, at: self.node + 1, end: self.parts().next as usize }
    }

    /// Returns the direct children of that type.
    pub fn named<'n>(&self, name: &'n str) -> impl Iterator<Item = Component<'a>> + use<'a, 'n> {
        self.components().filter(move |component| component.name() == name)
    }

    /// Returns the properties, in order, without those of children.
    pub fn properties(&self) -> impl Iterator<Item = Property<'a>> + use<'a> {
        let node = self.parts();
        let ical = self.ical;
        let mut children = self.components();
        let mut child = children.next();
        let mut at = node.begin as usize + 1;
        std::iter::from_fn(move || {
            while let Some(next) = child {
                let skipped = next.parts();
                if at != skipped.begin as usize {
                    break;
                }
                at = skipped.end as usize + 1;
                child = children.next();
            }
            if at >= node.end as usize {
                return None;
            }
            at += 1;
            Some(Property { ical, line: at - 1 })
        })
    }

    /// Returns the first property of that name (upper case).
    pub fn property(&self, name: &str) -> Option<Property<'a>> {
        self.properties().find(|property| property.name() == name)
    }

    /// Returns all properties of that name (upper case).
    pub fn all<'n>(&self, name: &'n str) -> impl Iterator<Item = Property<'a>> + use<'a, 'n> {
        self.properties().filter(move |property| property.name() == name)
    }

    /// Returns the bytes from BEGIN to END with the line break.
    pub fn span(&self) -> Range<usize> {
        let node = self.parts();
        let start = self.ical.line(node.begin as usize).map_or(0, |line| line.start as usize);
        let end = self.ical.line(node.end as usize).map_or(start, |line| line.end as usize);
        start..end
    }

    /// Returns the physical line of BEGIN, from 1.
    pub fn line(&self) -> usize {
        self.ical.line(self.parts().begin as usize).map_or(0, |line| line.number as usize)
    }
}

impl<'a> Property<'a> {
    fn content(&self) -> Option<&'a Line> {
        self.ical.line(self.line)
    }

    /// Returns the name in upper case.
    pub fn name(&self) -> &'a str {
        self.content().map_or("", |line| self.ical.line_name(line))
    }

    /// Returns the value, unfolded, escapes kept.
    pub fn raw(&self) -> Cow<'a, str> {
        self.content().map_or(Cow::Borrowed(""), |line| line.value(&self.ical.bytes))
    }

    /// Returns the value as TEXT, unescaped; quoted-printable where the line says so.
    pub fn text(&self) -> String {
        match self.parameter("ENCODING") {
            Some(encoding) if encoding.eq_ignore_ascii_case("QUOTED-PRINTABLE") => {
                value::unescape(&value::unquote_printable(&self.raw()))
            }
            _ => value::unescape(&self.raw()),
        }
    }

    /// Returns the first value of a parameter (name in upper case), quotes removed.
    pub fn parameter(&self, name: &str) -> Option<String> {
        let line = self.content().filter(|line| line.has_parameters())?;
        line::parameters(&line.parameters(&self.ical.bytes))
            .into_iter()
            .find(|(found, _)| found == name)
            .and_then(|(_, values)| values.into_iter().next())
    }

    /// Returns all parameters with their values.
    pub fn parameters(&self) -> Vec<(String, Vec<String>)> {
        match self.content().filter(|line| line.has_parameters()) {
            Some(line) => line::parameters(&line.parameters(&self.ical.bytes)),
            None => Vec::new(),
        }
    }

    /// Returns the whole logical line, unfolded: name, parameters, value.
    pub fn logical(&self) -> String {
        self.content().map_or_else(String::new, |line| line.logical(&self.ical.bytes).into_owned())
    }

    /// Returns the bytes of all its physical lines with the line break.
    pub fn span(&self) -> Range<usize> {
        self.content().map_or(0..0, Line::span)
    }

    /// Returns the physical line number, from 1.
    pub fn line(&self) -> usize {
        self.content().map_or(0, |line| line.number as usize)
    }
}

/// Splices into a text. Steps may be given in any order; those at one place keep theirs. Who names a line twice: the
/// last word counts. What is said about the inside of a removed component goes with it.
#[derive(Debug)]
pub struct Edit<'a> {
    ical: &'a Ical,
    splices: Vec<(Range<usize>, String)>,
}

impl Edit<'_> {
    fn folded(&self, line: &str) -> String {
        let mut text = String::with_capacity(line.len() + 8);
        fold_with(line, self.ical.line_break(), &mut text);
        text
    }

    fn splice(mut self, span: Range<usize>, text: String) -> Self {
        self.splices.push((span, text));
        self
    }

    /// Puts a line in the property's place. The line comes without a break; it is folded here.
    #[must_use]
    pub fn replace(self, property: Property<'_>, line: &str) -> Self {
        let text = self.folded(line);
        self.splice(property.span(), text)
    }

    /// Removes a property.
    #[must_use]
    pub fn remove(self, property: Property<'_>) -> Self {
        self.splice(property.span(), String::new())
    }

    /// Adds a property: before the component's first child, else before its END.
    #[must_use]
    pub fn insert(self, component: Component<'_>, line: &str) -> Self {
        let node = component.parts();
        let place = component.components().next().map_or(node.end, |child| child.parts().begin) as usize;
        let at = self.ical.line(place).map_or(0, |line| line.start as usize);
        let text = self.folded(line);
        self.splice(at..at, text)
    }

    /// Removes a component with everything in it.
    #[must_use]
    pub fn remove_component(self, component: Component<'_>) -> Self {
        self.splice(component.span(), String::new())
    }

    /// Puts a whole component, BEGIN to END, in another's place.
    #[must_use]
    pub fn replace_component(self, component: Component<'_>, text: &str) -> Self {
        let text = self.with_own_breaks(text);
        self.splice(component.span(), text)
    }

    /// Adds a whole component, BEGIN to END, before the END of another.
    #[must_use]
    pub fn append_component(self, into: Component<'_>, text: &str) -> Self {
        let end = into.parts().end as usize;
        let at = self.ical.line(end).map_or(0, |line| line.start as usize);
        let text = self.with_own_breaks(text);
        self.splice(at..at, text)
    }

    /// Adds a whole component, BEGIN to END, before the first child of another.
    #[must_use]
    pub fn prepend_component(self, into: Component<'_>, text: &str) -> Self {
        let node = into.parts();
        let place = into.components().next().map_or(node.end, |child| child.parts().begin) as usize;
        let at = self.ical.line(place).map_or(0, |line| line.start as usize);
        let text = self.with_own_breaks(text);
        self.splice(at..at, text)
    }

    /// What is not whole components would break the object: it is left out.
    fn with_own_breaks(&self, text: &str) -> String {
        if !Ical::parse(text.to_owned()).is_ok_and(|part| part.roots().next().is_some()) {
            return String::new();
        }
        let line_break = self.ical.line_break();
        text.lines().filter(|line| !line.is_empty()).flat_map(|line| [line, line_break]).collect()
    }

    /// Returns the new text.
    pub fn finish(mut self) -> Bytes {
        let bytes = &self.ical.bytes;
        // Insertions before what stands at the same place; of equals, the order in which they were named.
        self.splices.sort_by_key(|(span, _)| (span.start, !span.is_empty()));
        let mut out = Vec::with_capacity(bytes.len() + 256);
        let mut at = 0;
        let mut splices = self.splices.iter().peekable();
        while let Some((span, text)) = splices.next() {
            // It lies within something that was removed or replaced.
            if span.start < at {
                continue;
            }
            let (mut end, mut text) = (span.end, text);
            // The same place is named again: the widest span counts, of equals the last.
            while !span.is_empty()
                && let Some((again, other)) = splices.next_if(|(again, _)| again.start == span.start)
            {
                if again.end >= end {
                    (end, text) = (again.end, other);
                }
            }
            out.extend_from_slice(bytes.get(at..span.start).unwrap_or_default());
            // A text whose last line has no break gets one before anything follows it.
            if !text.is_empty() && !out.is_empty() && out.last() != Some(&b'\n') {
                out.extend_from_slice(self.ical.line_break().as_bytes());
            }
            out.extend_from_slice(text.as_bytes());
            at = end;
        }
        out.extend_from_slice(bytes.get(at..).unwrap_or_default());
        Bytes::from(out)
    }
}

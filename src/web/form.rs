//! A form: what was typed, and what is wrong with it.
//!
//! Owns: keeping values, and putting what the API says of a member beside the field of that name. Does not own: checking values.

use std::collections::BTreeMap;

use super::visit::Visit;
use crate::store::random;

/// Fields that are typed anew: no page holds what was typed.
const SECRET: &[&str] = &["password", "again"];

/// A form that is shown, perhaps for the second time.
#[derive(Debug, Default, Clone)]
pub(super) struct Form {
    values: BTreeMap<String, String>,
    /// The field that is wrong, and why; no field: the whole.
    wrong: Vec<(String, String)>,
    known: Vec<&'static str>,
    /// Made anew for each form: sent twice, it is one wish.
    pub(super) once: String,
}

impl Form {
    /// Returns an empty form with these fields.
    pub(super) fn new(known: &[&'static str]) -> Form {
        // Without one, a form that is sent twice is two wishes; the API says what becomes of them.
        let once = random::hex::<16>().unwrap_or_default();
        Form { known: known.to_vec(), once, ..Form::default() }
    }

    /// Returns the form as it was sent.
    pub(super) fn sent(visit: &Visit, known: &[&'static str]) -> Form {
        let mut form = Form::new(known);
        let shown = |name: &str| known.contains(&first(name)) && !SECRET.contains(&name);
        for (name, value) in visit.fields().filter(|(name, _)| shown(name)) {
            // Browsers end lines with two characters; nobody types them.
            form.values
                .entry(name.to_owned())
                .or_insert_with(|| value.replace("\r\n", "\n").trim().to_owned());
        }
        form
    }

    /// Takes every value that was sent for a name: boxes that were ticked.
    pub(super) fn gather(&mut self, visit: &Visit, name: &str) {
        let all: Vec<&str> = visit.fields().filter(|(n, _)| *n == name).map(|(_, value)| value).collect();
        self.set_all(name, all);
    }

    /// Ticks these boxes.
    pub(super) fn set_all<'a>(&mut self, name: &str, values: impl IntoIterator<Item = &'a str>) {
        let all: Vec<&str> = values.into_iter().collect();
        self.values.insert(name.to_owned(), all.join("\n"));
    }

    /// Returns the boxes that are ticked.
    pub(super) fn all(&self, name: impl AsRef<str>) -> Vec<&str> {
        self.value(name).split('\n').filter(|value| !value.is_empty()).collect()
    }

    /// Tells whether a box is ticked.
    pub(super) fn has(&self, name: impl AsRef<str>, value: impl AsRef<str>) -> bool {
        self.value(name).split('\n').any(|one| one == value.as_ref())
    }

    /// Fills a field in.
    pub(super) fn set(&mut self, name: &str, value: impl Into<String>) {
        self.values.insert(name.to_owned(), value.into());
    }

    /// Returns what a field holds.
    pub(super) fn value(&self, name: impl AsRef<str>) -> &str {
        self.values.get(name.as_ref()).map_or("", String::as_str)
    }

    /// Tells whether there is such a field, empty or not.
    pub(super) fn holds(&self, name: &str) -> bool {
        self.values.contains_key(name)
    }

    /// Tells whether a field that has a unit has this one.
    pub(super) fn in_unit(&self, name: impl AsRef<str>, unit: impl AsRef<str>) -> bool {
        self.is(format!("{}-unit", name.as_ref()), unit)
    }

    /// Tells whether a field holds this.
    pub(super) fn is(&self, name: impl AsRef<str>, value: impl AsRef<str>) -> bool {
        self.value(name) == value.as_ref()
    }

    /// Takes a field away.
    pub(super) fn take(&mut self, name: &str) -> Option<String> {
        self.values.remove(name)
    }

    /// Notes what is wrong. What is said of no field of the form is said of the whole. What the API calls `rules[0].when.title` is the
    /// field `rules.0.title`.
    pub(super) fn refuse(&mut self, field: &str, why: impl Into<String>) {
        let field = field.replace(".when", "").replace('[', ".").replace(']', "");
        let known = if self.known.contains(&first(&field)) { field } else { String::new() };
        self.wrong.push((known, why.into()));
    }

    /// Returns what is wrong with a field or a part of it; of no field: with the whole.
    pub(super) fn wrong(&self, field: impl AsRef<str>) -> Option<&str> {
        let field = field.as_ref();
        let within = |name: &str| {
            name.strip_prefix(field).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        self.wrong.iter().find(|(name, _)| within(name)).map(|(_, why)| why.as_str())
    }

    /// Tells whether something is wrong.
    pub(super) fn refused(&self) -> bool {
        !self.wrong.is_empty()
    }
}

/// Returns the field that a part belongs to.
fn first(name: &str) -> &str {
    name.split('.').next().unwrap_or_default()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_said_at_its_field() {
        let mut form = Form::new(&["start", "rules"]);
        form.set("start", "soon");
        form.refuse("start", "That is no time.");
        form.refuse("rules[0].when.title", "Too long.");
        form.refuse("other", "Not that.");
        assert_eq!(form.wrong("start"), Some("That is no time."));
        assert_eq!(form.wrong("rules"), Some("Too long."));
        assert_eq!((form.wrong("rules.0.title"), form.wrong("rules.1")), (Some("Too long."), None));
        assert_eq!(form.wrong(""), Some("Not that."));
        assert_eq!((form.value("start"), form.value("gone")), ("soon", ""));
        assert_ne!(form.once, Form::new(&[]).once);
        form.set_all("rules", ["a", "b c"]);
        assert_eq!(form.all("rules"), ["a", "b c"]);
        assert!(form.has("rules", "b c") && !form.has("rules", "b") && !form.has("gone", "a"));
    }
}

//! The lists among a mapping's settings: rules that decide conflicts before the policy does, filters that say what is carried.
//!
//! Owns: their rows in a form, from what the API tells and back. Does not own: the rest of the form (`mappings`), what a rule can ask
//! for (the API refuses what it does not know, at the field).

use std::collections::BTreeSet;

use askama::Template;
use http::StatusCode;
use serde_json::{Map, Value, json};

use crate::http::Reply;
use crate::web::Web;
use crate::web::form::Form;
use crate::web::shell::{Shell, part};
use crate::web::texts::T;
use crate::web::visit::{Stop, Visit};

/// How many rows a form has at most; more than the API takes.
const MOST: usize = 100;

/// Words to choose from: the value and what it is called. None: a line of text.
type Words = &'static [(&'static str, &'static str)];

/// Which list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Of {
    Rules,
    Filters,
}

const POLICIES: Words =
    &[("", T.choose), ("newest", T.newest), ("external", T.external), ("local", T.local), ("ask", T.ask_me)];
const ACTIONS: Words = &[("", T.choose), ("include", T.filter_include), ("exclude", T.filter_exclude)];
const TEXT: Words = &[];
const YES_NO: Words = &[("", T.either), ("true", T.yes), ("false", T.no)];
const ORIGINS: Words = &[("", T.either), ("local", T.origin_here), ("external", T.origin_there)];
const SOON: Words = &[
    ("", T.any_time),
    ("PT3600S", T.within_hour),
    ("PT86400S", T.within_day),
    ("PT172800S", T.within_two_days),
    ("PT604800S", T.within_week),
];
const CLASHES: Words = &[
    ("", T.whatever),
    ("time", T.clash_time),
    ("SUMMARY", T.title),
    ("LOCATION", T.location),
    ("DESCRIPTION", T.notes),
    ("ATTENDEE", T.guests_word),
    ("VALARM", T.alert),
];
/// What both can ask for.
const CONDITIONS: &[(&str, &str, Words)] = &[
    ("title", T.if_title, TEXT),
    ("category", T.if_category, TEXT),
    ("all_day", T.if_all_day, YES_NO),
    ("busy", T.if_busy, YES_NO),
    ("recurring", T.if_recurring, YES_NO),
    ("attendees", T.if_attendees, YES_NO),
    ("private", T.if_private, YES_NO),
];
/// Those that are so or not.
const SWITCHES: [&str; 6] = ["all_day", "busy", "recurring", "attendees", "private", "protected"];
/// What only a rule can ask for.
const OF_RULES: &[(&str, &str, Words)] = &[
    ("field", T.if_field, CLASHES),
    ("origin", T.if_origin, ORIGINS),
    ("protected", T.if_protected, YES_NO),
    ("starts_within", T.if_soon, SOON),
];

impl Of {
    fn name(self) -> &'static str {
        match self {
            Of::Rules => "rules",
            Of::Filters => "filters",
        }
    }

    /// What a row decides: its name, what it is called, its values.
    fn decision(self) -> (&'static str, &'static str, Words) {
        match self {
            Of::Rules => ("policy", T.then_wins, POLICIES),
            Of::Filters => ("action", T.then_carried, ACTIONS),
        }
    }

    fn conditions(self) -> impl Iterator<Item = &'static (&'static str, &'static str, Words)> {
        let more = if self == Of::Rules { OF_RULES } else { &[] };
        more.iter().chain(CONDITIONS)
    }

    fn inputs(self) -> impl Iterator<Item = (&'static str, &'static str, Words)> {
        self.conditions().copied().chain([self.decision()])
    }

    /// Returns the row after the last that there is.
    fn next(self, f: &Form) -> usize {
        let last = (0..MOST).rev().find(|at| self.inputs().any(|(key, ..)| f.holds(&field(self, *at, key))));
        last.map_or(0, |at| at + 1)
    }

    /// Writes what the API tells into a form.
    pub(super) fn fill(self, f: &mut Form, list: &[Value]) {
        for (at, item) in list.iter().enumerate() {
            let (decision, ..) = self.decision();
            let mut set = |key: &str, value: Option<&Value>| {
                let text = match value {
                    Some(Value::String(text)) => text.clone(),
                    Some(Value::Bool(yes)) => yes.to_string(),
                    _ => String::new(),
                };
                f.set(&field(self, at, key), text);
            };
            set(decision, item.get(decision));
            for (key, ..) in self.conditions() {
                set(key, item.get("when").and_then(|when| when.get(*key)));
            }
        }
    }

    /// Leaves rows out in which nothing was chosen, so that those that stay are numbered as the API numbers them.
    pub(super) fn compact(self, f: &mut Form) {
        let mut kept = 0;
        for at in 0..self.next(f) {
            let values: Vec<(&str, String)> = self
                .inputs()
                .map(|(key, ..)| (key, f.take(&field(self, at, key)).unwrap_or_default()))
                .collect();
            if values.iter().all(|(_, value)| value.is_empty()) {
                continue;
            }
            for (key, value) in values {
                f.set(&field(self, kept, key), value);
            }
            kept += 1;
        }
    }

    /// Returns the list as the API takes it; of a form without empty rows.
    pub(super) fn json(self, f: &Form) -> Value {
        let (decision, ..) = self.decision();
        let row = |at: usize| {
            let mut when = Map::new();
            for (key, ..) in self.conditions() {
                let value = match f.value(field(self, at, key)) {
                    "" => continue,
                    text if SWITCHES.contains(key) => json!(text == "true"),
                    text => json!(text),
                };
                when.insert((*key).to_owned(), value);
            }
            let mut row = Map::new();
            row.insert("when".into(), Value::Object(when));
            let chosen = f.value(field(self, at, decision));
            if !chosen.is_empty() {
                row.insert(decision.into(), json!(chosen));
            }
            Value::Object(row)
        };
        (0..self.next(f)).map(row).collect()
    }

    fn rows(self, f: &Form) -> Vec<Row> {
        let row = |at: usize| Row {
            number: at + 1,
            remove: format!("{}-{at}", self.name()),
            inputs: self
                .inputs()
                .map(|(key, label, words)| Input::of(f, field(self, at, key), label, words))
                .collect(),
            wrong: f.wrong(format!("{}.{at}", self.name())).is_some(),
        };
        (0..self.next(f)).map(row).collect()
    }
}

/// What a field of a row is called in the form.
fn field(of: Of, at: usize, key: &str) -> String {
    format!("{}.{at}.{key}", of.name())
}

/// Adds a row or takes one away, if that is what was pressed. Tells whether it was.
fn edited(f: &mut Form, pressed: &str) -> bool {
    for of in [Of::Rules, Of::Filters] {
        let Some(rest) = pressed.strip_prefix(of.name()) else { continue };
        match rest.strip_prefix('-').and_then(|at| at.parse::<usize>().ok()) {
            Some(at) => {
                for (key, ..) in of.inputs() {
                    f.take(&field(of, at, key));
                }
                of.compact(f);
            }
            None => {
                of.compact(f);
                let at = of.next(f).min(MOST - 1);
                f.set(&field(of, at, of.decision().0), "");
            }
        }
        return true;
    }
    false
}

struct Input {
    name: String,
    id: String,
    label: &'static str,
    value: String,
    options: Vec<(String, String)>,
    wrong: Option<String>,
}

impl Input {
    fn of(f: &Form, name: String, label: &'static str, words: Words) -> Input {
        let value = f.value(&name).to_owned();
        let mut options: Vec<(String, String)> =
            words.iter().map(|(value, words)| ((*value).to_owned(), (*words).to_owned())).collect();
        // What was set elsewhere is kept.
        if !options.is_empty() && !options.iter().any(|(known, _)| *known == value) {
            options.push((value.clone(), value.clone()));
        }
        let wrong = f.wrong(&name).map(str::to_owned);
        Input { id: name.replace('.', "-"), name, label, value, options, wrong }
    }
}

struct Row {
    number: usize,
    remove: String,
    inputs: Vec<Input>,
    wrong: bool,
}

/// Both lists, as a part of the form.
#[derive(Template)]
#[template(path = "mapping_lists.html")]
pub(super) struct Lists {
    s: Shell,
    rules: Vec<Row>,
    filters: Vec<Row>,
    why: Vec<String>,
}

impl Lists {
    /// Returns those of a form.
    pub(super) fn of(s: &Shell, f: &Form) -> Lists {
        let own = |of: Of| f.wrong(of.name()).filter(|_| of.next(f) == 0).map(str::to_owned);
        let why: BTreeSet<String> = [Of::Rules, Of::Filters].into_iter().filter_map(own).collect();
        Lists {
            s: s.clone(),
            rules: Of::Rules.rows(f),
            filters: Of::Filters.rows(f),
            why: why.into_iter().collect(),
        }
    }
}

/// The lists with a row more or less: what the buttons in them ask for.
pub(in crate::web) async fn rows(web: &Web, visit: Visit) -> Result<Reply, Stop> {
    let mut f = Form::sent(&visit, &["rules", "filters"]);
    if !edited(&mut f, visit.field("_do")) {
        return Err(Stop::Missing);
    }
    let s = Shell::of(web, &visit, "/mappings", T.settings);
    Ok(part(StatusCode::OK, &Lists::of(&s, &f)))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn lists_come_back_as_they_were_told() {
        let rules = json!([
            { "when": { "title": "<b>", "all_day": true, "field": "X-OWN" }, "policy": "ask" },
            { "when": { "protected": false, "starts_within": "PT3H" }, "policy": "local" },
        ]);
        let mut f = Form::new(&["rules", "filters"]);
        Of::Rules.fill(&mut f, rules.as_array().unwrap());
        assert_eq!(Of::Rules.json(&f), rules);
        assert_eq!(Of::Filters.json(&f), json!([]));
        let rows = Of::Rules.rows(&f);
        let own = rows[0].inputs.iter().find(|input| input.name == "rules.0.field").unwrap();
        assert!(own.options.iter().any(|(value, _)| value == "X-OWN"), "what was set elsewhere can stay");
    }

    #[test]
    fn rows_are_added_taken_away_and_numbered_anew() {
        let mut f = Form::new(&["rules", "filters"]);
        assert!(edited(&mut f, "filters+") && !edited(&mut f, "other"));
        assert_eq!(Of::Filters.rows(&f).len(), 1);
        f.set("filters.0.title", "Work");
        assert!(edited(&mut f, "filters+"));
        f.set("filters.1.action", "exclude");
        assert!(edited(&mut f, "filters-0"));
        assert_eq!(Of::Filters.json(&f), json!([{ "when": {}, "action": "exclude" }]));
        // One in which nothing was chosen is none; one that decides nothing is asked about.
        assert!(edited(&mut f, "filters+"));
        f.set("filters.5.title", "Late");
        Of::Filters.compact(&mut f);
        assert_eq!(
            Of::Filters.json(&f),
            json!([{ "when": {}, "action": "exclude" }, { "when": { "title": "Late" } }])
        );
    }
}

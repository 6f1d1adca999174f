//! The settings of a mapping as JSON: each read by itself, so that a refusal names the one that is wrong.
//!
//! Owns: names and forms of the settings. Does not own: which of them go together (`bridge::mappings`).

use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::moments::{length, span};
use super::problem::Problem;
use crate::bridge::NewMapping;
use crate::bridge::record::{
    Direction, Fields, Filter, FilterAction, Mapping, Match, OnDelete, Policy, Push, Reach, Rule, Urgent,
    Within,
};

/// How far a window reaches at most, in days.
const FURTHEST: i64 = 36_500;

/// A body whose members are taken one by one.
#[derive(Debug)]
pub(super) struct Members {
    path: String,
    left: Map<String, Value>,
}

impl Members {
    /// Returns the members of a body.
    pub(super) fn of(left: Map<String, Value>) -> Members {
        Members { path: String::new(), left }
    }

    fn within(path: String, value: Value) -> Result<Members, Problem> {
        match value {
            Value::Object(left) => Ok(Members { path, left }),
            _ => Err(Problem::invalid(&path, "An object is needed here.")),
        }
    }

    /// Returns those of a member at that path.
    pub(super) fn at(path: &str, left: Map<String, Value>) -> Members {
        Members { path: path.to_owned(), left }
    }

    /// Takes away what may be there and says nothing.
    pub(super) fn leave(&mut self, names: &[&str]) {
        self.left.retain(|name, _| !names.contains(&name.as_str()));
    }

    /// Returns the whole path of a member.
    pub(super) fn named(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    fn read<T: DeserializeOwned>(&self, name: &str, value: Value) -> Result<T, Problem> {
        serde_json::from_value(value)
            .map_err(|why| Problem::invalid(&self.named(name), format!("That is not accepted: {why}.")))
    }

    /// Takes a member; null and absent are the same.
    pub(super) fn take<T: DeserializeOwned>(&mut self, name: &str) -> Result<Option<T>, Problem> {
        match self.left.remove(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => self.read(name, value).map(Some),
        }
    }

    /// Takes a member that has to be there.
    pub(super) fn need<T: DeserializeOwned>(&mut self, name: &str) -> Result<T, Problem> {
        let why = || Problem::invalid(&self.named(name), format!("The field `{name}` is missing."));
        let missing = why();
        self.take(name)?.ok_or(missing)
    }

    /// Takes a member that has members of its own.
    pub(super) fn inner(&mut self, name: &str) -> Result<Members, Problem> {
        let path = self.named(name);
        match self.left.remove(name) {
            Some(value) => Members::within(path, value),
            None => Err(Problem::invalid(&path, format!("The field `{name}` is missing."))),
        }
    }

    /// Takes a member for which null says something else than its absence.
    pub(super) fn said<T: DeserializeOwned>(&mut self, name: &str) -> Result<Option<Option<T>>, Problem> {
        match self.left.remove(name) {
            None => Ok(None),
            Some(Value::Null) => Ok(Some(None)),
            Some(value) => self.read(name, value).map(|value| Some(Some(value))),
        }
    }

    fn items(&mut self, name: &str) -> Result<Option<Vec<Members>>, Problem> {
        let path = self.named(name);
        match self.left.remove(name) {
            None => Ok(None),
            Some(Value::Null) => Ok(Some(Vec::new())),
            Some(Value::Array(items)) => {
                let each = items.into_iter().enumerate();
                each.map(|(at, item)| Members::within(format!("{path}[{at}]"), item))
                    .collect::<Result<_, _>>()
                    .map(Some)
            }
            Some(_) => Err(Problem::invalid(&path, "A list is needed here.")),
        }
    }

    /// Refuses what was not taken.
    pub(super) fn end(self) -> Result<(), Problem> {
        match self.left.keys().next() {
            Some(name) => {
                let why = format!("unknown field `{name}`: there is no such setting.");
                Err(Problem::invalid(&self.named(name), why))
            }
            None => Ok(()),
        }
    }
}

/// What a body says of the settings; nothing: it leaves them.
#[derive(Debug, Clone, Default)]
pub(super) struct Terms {
    direction: Option<Direction>,
    policy: Option<Policy>,
    rules: Option<Vec<Rule>>,
    fields: Option<Fields>,
    window_past: Option<Option<Reach>>,
    window_future: Option<Option<Reach>>,
    filters: Option<Vec<Filter>>,
    on_remote_delete: Option<OnDelete>,
    on_local_delete: Option<OnDelete>,
    push: Option<Push>,
    only: Option<Vec<Urgent>>,
    editable: Option<Option<bool>>,
    enabled: Option<bool>,
    poll_seconds: Option<Option<u64>>,
}

macro_rules! settle {
    ($terms:expr, $of:expr) => {{
        let (terms, of) = ($terms, $of);
        of.direction = terms.direction.unwrap_or(of.direction);
        of.policy = terms.policy.unwrap_or(of.policy);
        of.fields = terms.fields.unwrap_or(of.fields);
        of.window_past = terms.window_past.unwrap_or(of.window_past);
        of.window_future = terms.window_future.unwrap_or(of.window_future);
        of.on_remote_delete = terms.on_remote_delete.unwrap_or(of.on_remote_delete);
        of.on_local_delete = terms.on_local_delete.unwrap_or(of.on_local_delete);
        of.push = terms.push.unwrap_or(of.push);
        of.editable = terms.editable.unwrap_or(of.editable);
        of.enabled = terms.enabled.unwrap_or(of.enabled);
        of.poll_seconds = terms.poll_seconds.unwrap_or(of.poll_seconds);
        if let Some(rules) = &terms.rules {
            of.rules.clone_from(rules);
        }
        if let Some(only) = &terms.only {
            of.only.clone_from(only);
        }
        if let Some(filters) = &terms.filters {
            of.filters.clone_from(filters);
        }
    }};
}

impl Terms {
    /// Takes the settings out of a body.
    pub(super) fn take(body: &mut Members) -> Result<Terms, Problem> {
        Ok(Terms {
            direction: body.take("direction")?,
            policy: body.take("conflict_policy")?,
            rules: body.items("rules")?.map(|all| all.into_iter().map(rule).collect()).transpose()?,
            fields: body.take("fields")?,
            window_past: reach(body, "window_past")?,
            window_future: reach(body, "window_future")?,
            filters: body.items("filters")?.map(|all| all.into_iter().map(filter).collect()).transpose()?,
            on_remote_delete: body.take("on_remote_delete")?,
            on_local_delete: body.take("on_local_delete")?,
            push: body.take("push")?,
            only: body.said("only")?.map(Option::unwrap_or_default),
            editable: body.said("editable")?,
            enabled: body.take("enabled")?,
            poll_seconds: match body.said::<String>("poll_interval")? {
                Some(Some(text)) => Some(Some(seconds(&text)?)),
                other => other.map(|_| None),
            },
        })
    }

    /// Has a new mapping be so.
    pub(super) fn settle_new(&self, new: &mut NewMapping) {
        settle!(self, new);
    }

    /// Has a mapping be so.
    pub(super) fn settle(&self, mapping: &mut Mapping) {
        settle!(self, mapping);
    }
}

fn rule(mut members: Members) -> Result<Rule, Problem> {
    let rule = Rule { when: when(members.inner("when")?, For::Rule)?, policy: members.need("policy")? };
    members.end()?;
    Ok(rule)
}

fn filter(mut members: Members) -> Result<Filter, Problem> {
    let action: FilterAction = members.need("action")?;
    let filter = Filter { when: when(members.inner("when")?, For::Filter)?, action };
    members.end()?;
    Ok(filter)
}

/// What a condition is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum For {
    Rule,
    Filter,
}

/// What only a clash has, or what changes while an event stays as it is: no event is carried or not because of it.
const OF_RULES: [&str; 4] = ["origin", "protected", "starts_within", "field"];

fn when(mut members: Members, of: For) -> Result<Match, Problem> {
    if of == For::Filter
        && let Some(name) = OF_RULES.into_iter().find(|name| members.left.contains_key(*name))
    {
        return Err(Problem::invalid(&members.named(name), "Only a rule can ask for this."));
    }
    let starts_within = match members.take::<String>("starts_within")? {
        Some(text) => {
            let seconds = length(&members.named("starts_within"), &text, 1..=FURTHEST * 86_400)?;
            Some(Within(u32::try_from(seconds).unwrap_or(u32::MAX)))
        }
        None => None,
    };
    let field = match members.take::<String>("field")? {
        Some(text) => Some(property(&text).ok_or_else(|| {
            let why = format!("`{text}` is neither the name of a property nor `time`.");
            Problem::invalid(&members.named("field"), why)
        })?),
        None => None,
    };
    let when = Match {
        title: members.take("title")?,
        category: members.take("category")?,
        all_day: members.take("all_day")?,
        busy: members.take("busy")?,
        recurring: members.take("recurring")?,
        attendees: members.take("attendees")?,
        private: members.take("private")?,
        origin: members.take("origin")?,
        protected: members.take("protected")?,
        starts_within,
        field,
    };
    members.end()?;
    Ok(when)
}

/// What a rule calls a property: its name in iCalendar, or the one that it has in this API.
fn property(text: &str) -> Option<String> {
    let name = match text.to_ascii_lowercase().as_str() {
        "time" => return Some("time".to_owned()),
        "title" => "SUMMARY",
        "free_busy" => "TRANSP",
        "privacy" => "CLASS",
        "alerts" => "VALARM",
        "start" | "end" | "duration" | "recurrence" | "status" | "dtstart" | "dtend" | "due" | "rrule"
        | "rdate" | "exdate" | "exrule" => return Some("time".to_owned()),
        _ => text,
    };
    let plain = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    (plain && name.len() <= 100).then(|| name.to_ascii_uppercase())
}

/// Reads an ISO 8601 duration of whole seconds. A day at most is accepted further on.
fn seconds(text: &str) -> Result<u64, Problem> {
    let seconds = length("poll_interval", text, 0..=FURTHEST * 86_400)?;
    Ok(u64::try_from(seconds).unwrap_or_default())
}

fn reach(body: &mut Members, name: &str) -> Result<Option<Option<Reach>>, Problem> {
    let Some(told) = body.said::<String>(name)? else { return Ok(None) };
    let Some(text) = told else { return Ok(Some(None)) };
    if text.eq_ignore_ascii_case("all") {
        return Ok(Some(Some(Reach::All)));
    }
    let days = days(&text).and_then(|days| u32::try_from(days).ok()).ok_or_else(|| {
        let why = format!("`{text}` is neither `all` nor a duration like P30D, of {FURTHEST} days at most.");
        Problem::invalid(name, why)
    })?;
    Ok(Some(Some(Reach::Days(days))))
}

/// Whole days of an ISO 8601 duration; a year has 365, a month 30, a part of a day counts as one.
fn days(text: &str) -> Option<i64> {
    let span = span(text)?;
    let hours = jiff::Span::new()
        .try_hours(span.get_hours())
        .and_then(|s| s.try_minutes(span.get_minutes()))
        .and_then(|s| s.try_seconds(span.get_seconds()))
        .ok()?;
    let part = hours.total(jiff::Unit::Hour).ok()?;
    let dates = i64::from(span.get_years())
        .checked_mul(365)?
        .checked_add(i64::from(span.get_months()).checked_mul(30)?)?
        .checked_add(i64::from(span.get_weeks()).checked_mul(7)?)?
        .checked_add(i64::from(span.get_days()))?;
    let whole = dates.checked_add((part / 24.0).ceil() as i64)?;
    (!span.is_negative() && (0..=FURTHEST).contains(&whole)).then_some(whole)
}

/// Writes how far a window reaches.
pub(super) fn shown(reach: Reach) -> Value {
    match reach {
        Reach::All => json!("all"),
        Reach::Days(days) => json!(format!("P{days}D")),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_all_or_whole_days() {
        let rows = [
            ("P30D", Some(30)),
            ("P1Y", Some(365)),
            ("P3M", Some(90)),
            ("P2W", Some(14)),
            ("PT0S", Some(0)),
            ("PT1H", Some(1)),
            ("P1DT24H", Some(2)),
            ("-P1D", None),
            ("P200Y", None),
            ("30", None),
            // Forms that the parser knows and nobody is promised.
            ("30d", None),
            ("1 month", None),
            ("soon", None),
        ];
        for (text, expected) in rows {
            assert_eq!(days(text), expected, "{text}");
        }
    }

    #[test]
    fn a_refusal_names_the_member_that_is_wrong() {
        let rows = [
            (json!({"direction": "up"}), "direction"),
            (json!({"conflict_policy": 1}), "conflict_policy"),
            (json!({"fields": "most"}), "fields"),
            (json!({"window_past": "soon"}), "window_past"),
            (json!({"window_future": 3}), "window_future"),
            (json!({"rules": {}}), "rules"),
            (json!({"rules": [{"when": {}, "policy": "ask"}, 1]}), "rules[1]"),
            (json!({"rules": [{"when": {}}]}), "rules[0].policy"),
            (json!({"rules": [{"policy": "ask"}]}), "rules[0].when"),
            (json!({"filters": [{"when": {"title": 1}, "action": "include"}]}), "filters[0].when.title"),
            (json!({"filters": [{"when": {"colour": 1}, "action": "include"}]}), "filters[0].when.colour"),
            (json!({"filters": [{"when": {}, "action": "maybe"}]}), "filters[0].action"),
            (json!({"on_remote_delete": "shred"}), "on_remote_delete"),
            (json!({"push": "later"}), "push"),
            (json!({"editable": "yes"}), "editable"),
            (json!({"enabled": "yes"}), "enabled"),
            (json!({"poll_interval": "soon"}), "poll_interval"),
            (json!({"poll_interval": "1h"}), "poll_interval"),
            (json!({"poll_interval": "-PT1H"}), "poll_interval"),
            (json!({"window_past": "2 weeks"}), "window_past"),
            (json!({"only": ["edit"]}), "only"),
            (
                json!({"rules": [{"when": {"starts_within": "2h"}, "policy": "ask"}]}),
                "rules[0].when.starts_within",
            ),
            (json!({"rules": [{"when": {"field": "a b"}, "policy": "ask"}]}), "rules[0].when.field"),
            (json!({"rules": [{"when": {"origin": "there"}, "policy": "ask"}]}), "rules[0].when.origin"),
            (
                json!({"filters": [{"when": {"protected": true}, "action": "include"}]}),
                "filters[0].when.protected",
            ),
            (json!({"colour": 1}), "colour"),
        ];
        for (body, field) in rows {
            let Value::Object(members) = body.clone() else { panic!() };
            let mut members = Members::of(members);
            let problem = Terms::take(&mut members).and_then(|_| members.end()).unwrap_err();
            assert_eq!(problem.field(), Some(field), "{body}");
        }
    }
}

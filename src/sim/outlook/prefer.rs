//! What a request prefers.
//!
//! Owns: the `Prefer` header. Does not own: what follows from it.

use super::fail::Fail;
use super::ids::Form;
use super::times;
use crate::sim::{Answer, Request};

/// The preferences of a request that Graph's calendars know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Prefer {
    /// How ids are written.
    pub(super) form: Form,
    /// The zone of times in the answer.
    pub(super) zone: String,
    /// Items of a page.
    pub(super) page: Option<usize>,
    /// Bodies as plain text.
    pub(super) text: bool,
    /// What is told to have been applied.
    pub(super) applied: Vec<String>,
}

impl Prefer {
    /// Reads the header, which may come several times and hold several preferences; unknown ones are ignored
    /// (RFC 7240 §2).
    pub(super) fn read(request: &Request) -> Result<Prefer, Fail> {
        let mut prefer =
            Prefer { form: Form::Default, zone: "UTC".into(), page: None, text: false, applied: Vec::new() };
        let lines = request.headers.get_all("prefer").iter().filter_map(|value| value.to_str().ok());
        for preference in lines.flat_map(|line| split(line, ',')) {
            let (name, value) = preference.split_once('=').unwrap_or((preference, ""));
            let (name, value) = (name.trim().to_ascii_lowercase(), value.trim().trim_matches('"'));
            match name.as_str() {
                "idtype" if value.eq_ignore_ascii_case("ImmutableId") => prefer.form = Form::Immutable,
                "outlook.timezone" => {
                    times::known(value)?;
                    prefer.zone = value.to_owned();
                }
                "outlook.body-content-type" => prefer.text = value.eq_ignore_ascii_case("text"),
                "odata.maxpagesize" => match value.parse() {
                    Ok(size) if size > 0 => prefer.page = Some(size),
                    _ => continue,
                },
                _ => continue,
            }
            prefer.applied.push(preference.trim().to_owned());
        }
        Ok(prefer)
    }

    /// Returns what a test looks at a mailbox with: immutable ids, UTC, plain text.
    pub(super) fn immutable() -> Prefer {
        Prefer { form: Form::Immutable, zone: "UTC".into(), page: None, text: true, applied: Vec::new() }
    }

    /// Tells in the answer what was applied.
    pub(super) fn told(&self, answer: Answer) -> Answer {
        if self.applied.is_empty() {
            answer
        } else {
            answer.with("Preference-Applied", &self.applied.join(", "))
        }
    }
}

/// Splits at a sign outside quotes and parentheses.
pub(super) fn split(text: &str, at: char) -> Vec<&str> {
    let (mut depth, mut quote, mut begin) = (0usize, None, 0);
    let mut parts = Vec::new();
    for (place, sign) in text.char_indices() {
        match (quote, sign) {
            (Some(open), _) if open == sign => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(sign),
            (None, '(') => depth += 1,
            (None, ')') => depth = depth.saturating_sub(1),
            (None, _) if sign == at && depth == 0 => {
                parts.push(text.get(begin..place).unwrap_or_default());
                begin = place + sign.len_utf8();
            }
            _ => {}
        }
    }
    parts.push(text.get(begin..).unwrap_or_default());
    parts.into_iter().map(str::trim).filter(|part| !part.is_empty()).collect()
}

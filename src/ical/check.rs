//! Is this a calendar object resource (RFC 4791 §4.1)? The strict part of an otherwise tolerant house.
//!
//! Owns: the structural rules and the sentences that people read when one is broken.
//! Does not own: whether a collection takes the component type, limits, UIDs of other objects (`calendar/put`).

use bytes::Bytes;

use super::line::{self, problem};
use super::{Component, Ical, Problem, ProblemKind};

/// A calendar object resource.
#[derive(Debug)]
pub struct Checked {
    /// The text.
    pub ical: Ical,
    /// The UID that all its components share.
    pub uid: String,
    /// The type that all its components share (VTIMEZONE aside), upper case.
    pub component: String,
}

/// Reads a calendar object resource: one VCALENDAR, no METHOD, components of one type with one UID.
///
/// Objects with overridden instances only, without a master, are accepted (Q-16: invited to a single instance).
/// Values are not judged: what cannot be understood is stored and served all the same.
///
/// # Errors
/// RFC 4791 §5.3.2.1: `valid-calendar-data` or `valid-calendar-object-resource`, with the line and a sentence.
pub fn calendar_object(bytes: Bytes) -> Result<Checked, Problem> {
    let ical = Ical::parse(bytes)?;
    let (uid, component) = judge(&ical)?;
    Ok(Checked { ical, uid, component })
}

fn judge(ical: &Ical) -> Result<(String, String), Problem> {
    let mut roots = ical.roots();
    let Some(calendar) = roots.next() else {
        let reason = "the text holds no VCALENDAR".to_owned();
        return Err(Problem { kind: ProblemKind::Data, line: None, reason });
    };
    if calendar.name() != "VCALENDAR" {
        let reason = format!("the text begins with {} instead of VCALENDAR", calendar.name());
        return Err(problem(ProblemKind::Data, calendar.line(), reason));
    }
    if let Some(second) = roots.next() {
        let reason = "a calendar object is a single VCALENDAR; here a second one begins";
        return Err(problem(ProblemKind::Object, second.line(), reason));
    }
    if let Some(method) = calendar.property("METHOD") {
        // RFC 4791 §4.1: calendar object resources MUST NOT specify METHOD.
        let method_name = excerpt(&method.raw());
        let reason = format!("METHOD {method_name} makes this a scheduling message, not a stored object");
        return Err(problem(ProblemKind::Object, method.line(), reason));
    }
    if let Some(version) = calendar.property("VERSION").filter(|version| !is_version_2(&version.raw())) {
        let reason = format!("VERSION is {}, but only iCalendar 2.0 is understood", excerpt(&version.raw()));
        return Err(problem(ProblemKind::Data, version.line(), reason));
    }
    if let Some(scale) =
        calendar.property("CALSCALE").filter(|scale| !scale.raw().trim().eq_ignore_ascii_case("GREGORIAN"))
    {
        let reason = format!("CALSCALE is {}, but only GREGORIAN is understood", excerpt(&scale.raw()));
        return Err(problem(ProblemKind::Data, scale.line(), reason));
    }
    share_uid_and_type(calendar)
}

/// RFC 5545 §3.7.4: `2.0`, or `1.0;2.0` for a range that ends there. One that says nothing is taken.
fn is_version_2(written: &str) -> bool {
    written.trim().is_empty() || written.split(';').any(|version| version.trim() == "2.0")
}

fn excerpt(text: &str) -> String {
    line::excerpt(text.trim().as_bytes())
}

fn share_uid_and_type(calendar: Component<'_>) -> Result<(String, String), Problem> {
    let mut shared: Option<(String, &str)> = None;
    let mut master: Option<usize> = None;
    // RFC 5545 §3.6: x-comp may stand beside anything; it is kept and means nothing here.
    let beside = |name: &str| name == "VTIMEZONE" || name.starts_with("X-");
    for component in calendar.components().filter(|component| !beside(component.name())) {
        let line = component.line();
        let name = component.name();
        let mut uids = component.all("UID").map(|uid| (uid.line(), uid.text().trim().to_owned()));
        let Some((_, uid)) = uids.next().filter(|(_, uid)| !uid.is_empty()) else {
            return Err(problem(ProblemKind::Object, line, format!("the {name} has no UID")));
        };
        if let Some((line, other)) = uids.find(|(_, other)| *other != uid) {
            let reason = format!("the {name} has two UIDs, {} and {}", excerpt(&uid), excerpt(&other));
            return Err(problem(ProblemKind::Object, line, reason));
        }
        match &shared {
            None => shared = Some((uid, name)),
            Some((_, first)) if *first != name => {
                let reason = format!("{first} and {name} cannot share one calendar object");
                return Err(problem(ProblemKind::Object, line, reason));
            }
            Some((first, _)) if *first != uid => {
                let reason = format!(
                    "the UIDs {} and {} cannot share one calendar object",
                    excerpt(first),
                    excerpt(&uid)
                );
                return Err(problem(ProblemKind::Object, line, reason));
            }
            Some(_) => {}
        }
        if name == "VEVENT" && component.property("DTSTART").is_none() {
            // RFC 5545 §3.6.1: required where there is no METHOD; without it, this is no valid iCalendar.
            return Err(problem(ProblemKind::Data, line, "the VEVENT has no DTSTART"));
        }
        if component.property("RECURRENCE-ID").is_none() {
            if let Some(first) = master {
                let reason = format!(
                    "the {name} repeats the UID of the one at line {first}, and neither says with RECURRENCE-ID \
                     which instance it is"
                );
                return Err(problem(ProblemKind::Object, line, reason));
            }
            master = Some(line);
        }
    }
    match shared {
        Some((uid, name)) => Ok((uid, name.to_owned())),
        None => {
            let reason = "the VCALENDAR holds no event, task or journal entry";
            Err(problem(ProblemKind::Object, calendar.line(), reason))
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const EVENT: &str = "BEGIN:VEVENT\r\nUID:a\r\nDTSTART:20260101T100000Z\r\nEND:VEVENT\r\n";

    fn check(body: &str) -> Result<(String, String), (ProblemKind, Option<usize>)> {
        let text = format!("BEGIN:VCALENDAR\r\nVERSION:2.0\r\n{body}END:VCALENDAR\r\n");
        calendar_object(Bytes::from(text))
            .map(|checked| (checked.uid, checked.component))
            .map_err(|problem| (problem.kind, problem.line))
    }

    #[test]
    fn objects_and_what_is_none() {
        let event = Ok(("a".to_owned(), "VEVENT".to_owned()));
        let object = |line| Err((ProblemKind::Object, Some(line)));
        let second = "BEGIN:VEVENT\r\nUID:b\r\nDTSTART:20260101T100000Z\r\nEND:VEVENT\r\n";
        let instance = "BEGIN:VEVENT\r\nUID:a\r\nDTSTART:20260102T100000Z\r\n\
                        RECURRENCE-ID:20260102T090000Z\r\nEND:VEVENT\r\n";
        for (body, want) in [
            (EVENT.to_owned(), event.clone()),
            (format!("{EVENT}{instance}"), event.clone()),
            // invited to one instance only.
            (instance.to_owned(), event.clone()),
            (format!("METHOD:REPLY\r\n{EVENT}"), object(3)),
            (format!("{EVENT}{second}"), object(7)),
            (format!("{EVENT}{EVENT}"), object(7)),
            (format!("{EVENT}{}", second.replace("VEVENT", "VTODO").replace("UID:b", "UID:a")), object(7)),
            ("BEGIN:VEVENT\r\nDTSTART:20260101T100000Z\r\nEND:VEVENT\r\n".to_owned(), object(3)),
            ("BEGIN:VEVENT\r\nUID:a\r\nEND:VEVENT\r\n".to_owned(), Err((ProblemKind::Data, Some(3)))),
            (EVENT.replace("UID:a", "UID:a\r\nUID:b"), object(5)),
            (EVENT.replace("UID:a", "UID:a\r\nUID:a"), event.clone()),
            (EVENT.replace("UID:a", "UID: "), object(3)),
            (String::new(), object(1)),
            ("BEGIN:VEVENT\r\n".to_owned(), Err((ProblemKind::Data, Some(4)))),
            ("nonsense\r\n".to_owned(), Err((ProblemKind::Data, Some(3)))),
        ] {
            assert_eq!(check(&body), want, "{body}");
        }
    }

    #[test]
    fn what_is_not_icalendar_is_refused() {
        for text in [
            "",
            "hello",
            "BEGIN:VCARD\r\nEND:VCARD\r\n",
            "BEGIN:VCALENDAR\r\nVERSION:1.0\r\nEND:VCALENDAR\r\n",
        ] {
            let problem = calendar_object(Bytes::from(text)).map(|checked| checked.uid).unwrap_err();
            assert_eq!(problem.kind, ProblemKind::Data, "{text:?}");
        }
    }
}

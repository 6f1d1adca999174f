//! What a document says an event is to be, member by member.
//!
//! Owns: reading and checking the body; a refusal names the member. Does not own: carrying it out (`edit`).

use serde_json::{Map, Value};

use super::super::problem::Problem;
use super::super::terms::Members;
use super::when::{Form, Said, Times};
use crate::ical::value::{Civil, Duration};

/// Said or not; null: to be taken away.
type Maybe<T> = Option<Option<T>>;

/// Members that are shown and cannot be set: a document that was read may be sent back as it is.
const SHOWN: [&str; 17] = [
    "etag",
    "calendar",
    "name",
    "href",
    "kind",
    "sequence",
    "created_at",
    "updated_at",
    "organizer",
    "attendees",
    "origin",
    "last_synced_at",
    "locked",
    "booking",
    "recurrence_id",
    "range",
    "changed_at",
];

/// A reminder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Alert {
    pub(super) trigger: String,
    pub(super) at_end: bool,
    pub(super) action: String,
    pub(super) description: Option<String>,
}

/// What is said of one component, the whole or an instance.
#[derive(Debug, Clone, Default)]
pub(super) struct Part {
    pub(super) title: Maybe<String>,
    pub(super) description: Maybe<String>,
    pub(super) location: Maybe<String>,
    pub(super) url: Maybe<String>,
    pub(super) color: Maybe<String>,
    pub(super) status: Maybe<String>,
    pub(super) free_busy: Maybe<String>,
    pub(super) privacy: Maybe<String>,
    pub(super) categories: Maybe<Vec<String>>,
    pub(super) alerts: Maybe<Vec<Alert>>,
    pub(super) times: Times,
}

/// What is said of one instance of a series.
#[derive(Debug, Clone)]
pub(super) enum Exception {
    /// It is as the rule says.
    Usual,
    /// It is left out.
    Excluded,
    /// It has something of its own.
    Own(Box<Part>),
}

/// What is said of an event.
#[derive(Debug, Clone, Default)]
pub(super) struct Wish {
    pub(super) uid: Option<String>,
    pub(super) part: Part,
    pub(super) recurrence: Maybe<Vec<String>>,
    pub(super) overrides: Maybe<Vec<(String, Exception)>>,
}

impl Wish {
    /// Reads a document.
    pub(super) fn read(body: Map<String, Value>) -> Result<Wish, Problem> {
        let mut members = Members::of(body);
        members.leave(&SHOWN);
        let uid =
            members.take::<String>("uid")?.map(|uid| uid.trim().to_owned()).filter(|uid| !uid.is_empty());
        if uid.as_ref().is_some_and(|uid| uid.len() > 500 || uid.chars().any(char::is_control)) {
            return Err(Problem::invalid("uid", "A UID has up to 500 characters and no control characters."));
        }
        let recurrence = members.said::<Vec<String>>("recurrence")?;
        for line in recurrence.iter().flatten().flatten() {
            recurrence_line(line)?;
        }
        let overrides = members.said::<Map<String, Value>>("overrides")?;
        let part = part(&mut members)?;
        members.end()?;
        let overrides = match overrides {
            None => None,
            Some(None) => Some(None),
            Some(Some(all)) => Some(Some(all.into_iter().map(exception).collect::<Result<_, _>>()?)),
        };
        Ok(Wish { uid, part, recurrence, overrides })
    }

    /// Has what is not said be taken away: the document is the whole event.
    pub(super) fn whole(mut self) -> Wish {
        let part = &mut self.part;
        for text in
            [&mut part.title, &mut part.description, &mut part.location, &mut part.url, &mut part.color]
        {
            text.get_or_insert(None);
        }
        for word in [&mut part.status, &mut part.free_busy, &mut part.privacy] {
            word.get_or_insert(None);
        }
        part.categories.get_or_insert(None);
        part.alerts.get_or_insert(None);
        self.recurrence.get_or_insert(None);
        self.overrides.get_or_insert(None);
        self
    }
}

fn recurrence_line(line: &str) -> Result<(), Problem> {
    let upper = line.to_ascii_uppercase();
    let good = ["RRULE:", "RDATE:", "RDATE;"].iter().any(|start| upper.starts_with(start));
    if !good || line.chars().any(char::is_control) || line.len() > 10_000 {
        let why = format!("`{line}` is not a line like RRULE:FREQ=WEEKLY or RDATE;VALUE=DATE:20260105.");
        return Err(Problem::invalid("recurrence", why));
    }
    Ok(())
}

fn exception((key, value): (String, Value)) -> Result<(String, Exception), Problem> {
    let path = format!("overrides.{key}");
    let said = match value {
        Value::Null => Exception::Usual,
        Value::Object(members) => {
            let mut members = Members::at(&path, members);
            members.leave(&SHOWN);
            let excluded = members.take::<bool>("excluded")?.unwrap_or(false);
            let part = part(&mut members)?;
            members.end()?;
            if excluded { Exception::Excluded } else { Exception::Own(Box::new(part)) }
        }
        _ => return Err(Problem::invalid(&path, "An object or null is needed here.")),
    };
    Ok((key, said))
}

fn part(members: &mut Members) -> Result<Part, Problem> {
    Ok(Part {
        title: text(members, "title", 2_000)?,
        description: text(members, "description", 500_000)?,
        location: text(members, "location", 5_000)?,
        url: uri(members, "url")?,
        color: text(members, "color", 100)?,
        status: one_of(members, "status", &["confirmed", "tentative", "cancelled"])?,
        free_busy: one_of(members, "free_busy", &["busy", "free"])?,
        privacy: one_of(members, "privacy", &["public", "private", "confidential"])?,
        categories: categories(members)?,
        alerts: alerts(members)?,
        times: times(members)?,
    })
}

fn text(members: &mut Members, name: &str, most: usize) -> Result<Maybe<String>, Problem> {
    let said = members.said::<String>(name)?;
    if let Some(Some(text)) = &said {
        let bad = text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t'));
        if bad || text.len() > most {
            let why = format!("A text of up to {most} bytes without control characters is needed here.");
            return Err(Problem::invalid(&members.named(name), why));
        }
    }
    // An empty text says as much as none.
    Ok(said.map(|text| text.filter(|text| !text.is_empty())))
}

fn uri(members: &mut Members, name: &str) -> Result<Maybe<String>, Problem> {
    let said = text(members, name, 5_000)?;
    if let Some(Some(text)) = &said
        && (url::Url::parse(text).is_err() || text.chars().any(|c| c.is_control() || c == ' '))
    {
        return Err(Problem::invalid(
            &members.named(name),
            "It is not an address like https://example.org/.",
        ));
    }
    Ok(said)
}

fn one_of(members: &mut Members, name: &str, words: &[&str]) -> Result<Maybe<String>, Problem> {
    let said = members.said::<String>(name)?;
    if let Some(Some(word)) = &said
        && !words.contains(&word.as_str())
    {
        let why = format!("It is one of {}.", words.join(", "));
        return Err(Problem::invalid(&members.named(name), why));
    }
    Ok(said)
}

fn categories(members: &mut Members) -> Result<Maybe<Vec<String>>, Problem> {
    let said = members.said::<Vec<String>>("categories")?;
    if let Some(Some(all)) = &said
        && (all.len() > 100
            || all.iter().any(|c| c.trim().is_empty() || c.len() > 500 || c.chars().any(char::is_control)))
    {
        return Err(Problem::invalid(&members.named("categories"), "Up to 100 short texts are needed here."));
    }
    Ok(said.map(|all| all.filter(|all| !all.is_empty())))
}

fn alerts(members: &mut Members) -> Result<Maybe<Vec<Alert>>, Problem> {
    let path = members.named("alerts");
    let Some(said) = members.said::<Vec<Map<String, Value>>>("alerts")? else { return Ok(None) };
    let Some(all) = said else { return Ok(Some(None)) };
    if all.len() > 50 {
        return Err(Problem::invalid(&path, "An event has up to 50 reminders."));
    }
    let read = |(at, alert): (usize, Map<String, Value>)| {
        let mut members = Members::at(&format!("{path}[{at}]"), alert);
        let trigger: String = members.need("trigger")?;
        let instant = matches!(Said::read(&trigger), Some(Said::Instant(_)));
        let trigger = match (Said::read(&trigger), Duration::parse(&trigger)) {
            (Some(Said::Instant(instant)), _) => {
                Form::Utc.line("", Civil(instant)).trim_start_matches(':').to_owned()
            }
            (_, Some(_)) => trigger.trim().to_ascii_uppercase(),
            _ => {
                let why = "It is a duration like -PT15M, or an instant like 2026-01-05T08:45:00Z.";
                return Err(Problem::invalid(&members.named("trigger"), why));
            }
        };
        let related = one_of(&mut members, "related", &["start", "end"])?.flatten();
        let action = one_of(&mut members, "action", &["display", "audio", "email"])?.flatten();
        let description = text(&mut members, "description", 5_000)?.flatten();
        members.end()?;
        Ok(Alert {
            at_end: !instant && related.as_deref() == Some("end"),
            action: action.unwrap_or_else(|| "display".to_owned()),
            description,
            trigger,
        })
    };
    all.into_iter().enumerate().map(read).collect::<Result<Vec<_>, Problem>>().map(|all| Some(Some(all)))
}

fn times(members: &mut Members) -> Result<Times, Problem> {
    let moment = |members: &mut Members, name: &str| -> Result<Option<Said>, Problem> {
        let Some(text) = members.take::<String>(name)? else { return Ok(None) };
        Said::read(&text).map(Some).ok_or_else(|| {
            let why = "It is a date like 2026-01-05 or a time like 2026-01-05T09:00:00+01:00.";
            Problem::invalid(&members.named(name), why)
        })
    };
    let start = moment(members, "start")?;
    let end = moment(members, "end")?;
    Ok(Times {
        start,
        end,
        duration: members.take("duration")?,
        time_zone: said_zone(members)?,
        all_day: members.take("all_day")?,
    })
}

fn said_zone(members: &mut Members) -> Result<Maybe<String>, Problem> {
    Ok(members.said::<String>("time_zone")?.map(|name| name.filter(|name| !name.trim().is_empty())))
}

//! `/events/UID/why`: the story of an event, as data and in plain sentences.

use http::StatusCode;
use serde_json::{Value, json};

use super::Api;
use super::json::{Call, reply, time, time_or_null};
use super::problem::Problem;
use super::versions::by;
use crate::bridge::record::Conflict;
use crate::bridge::{BridgeError, Standing, Story, Way, Writing};
use crate::calendar::{Shown, is_hidden};
use crate::http::Reply;
use crate::store::{Origin, Timestamp};

pub(super) async fn why(api: &Api, call: Call) -> Result<Reply, Problem> {
    let stories = match api.bridge.why(call.owner(), call.id()).await {
        Err(BridgeError::Missing) => {
            return Err(Problem::missing("None of your calendars has or had an event with this UID."));
        }
        other => other?,
    };
    let names = Names(stories.iter().flat_map(|story| &story.ways).collect());
    let told: Vec<Value> = stories.iter().map(|story| shown(story, &names)).collect();
    let all: Vec<String> = stories.iter().flat_map(|story| sentences(story, &names)).collect();
    let document = json!({ "uid": call.id(), "calendars": told, "sentences": all });
    Ok(reply(StatusCode::OK, &document))
}

/// The mappings that a story may speak of, to name them.
struct Names<'a>(Vec<&'a Way>);

impl Names<'_> {
    fn way(&self, mapping: &str) -> Option<&Way> {
        self.0.iter().find(|way| way.mapping.id == mapping).copied()
    }

    /// Says who wrote, in words.
    fn by(&self, origin: &Origin) -> String {
        match origin {
            Origin::Mapping(id) => match self.way(id) {
                Some(way) => format!("by the bridge, which brought it from {}", account(way)),
                None => "by the bridge, over a mapping that is no more".to_owned(),
            },
            other => format!("by {}", by(other)),
        }
    }

    /// Says who removed it, in words.
    fn removed_by(&self, origin: &Origin) -> String {
        match origin {
            Origin::Mapping(id) if self.way(id).is_some() => {
                let account = self.way(id).map(account).unwrap_or_default();
                format!("by the bridge, over the mapping with {account}")
            }
            other => self.by(other),
        }
    }
}

fn account(way: &Way) -> String {
    match &way.connection {
        Some(connection) if !connection.account.is_empty() => connection.account.clone(),
        Some(connection) => connection.url.clone(),
        None => "an account that was removed".to_owned(),
    }
}

fn name(story: &Story) -> String {
    let shown = Shown::DisplayName.get(&story.calendar.properties);
    shown.unwrap_or_else(|| story.calendar.name.as_str().to_owned())
}

fn shown(story: &Story, names: &Names<'_>) -> Value {
    let writing = |writing: &Option<Writing>| match writing {
        Some(Writing { at, by }) => json!({ "at": time(*at), "by": names.by(by), "mapping": mapping_of(by) }),
        None => Value::Null,
    };
    let origin = story.ways.iter().find(|way| way.base.as_ref().is_some_and(|base| base.from_there));
    json!({
        "calendar": story.calendar.id.0.to_string(),
        "display_name": name(story),
        "hidden": is_hidden(&story.calendar),
        "present": story.title.is_some(),
        "title": story.title,
        "first_written": writing(&story.first),
        "last_written": writing(&story.last),
        "writings": story.writings,
        "came_from": origin.map(end),
        "mappings": story.ways.iter().map(way).collect::<Vec<_>>(),
        "sentences": sentences(story, names),
    })
}

fn mapping_of(origin: &Origin) -> Option<&str> {
    match origin {
        Origin::Mapping(id) => Some(id),
        Origin::Dav { .. } | Origin::Api { .. } | Origin::System => None,
    }
}

fn end(way: &Way) -> Value {
    json!({
        "mapping": way.mapping.id,
        "connection": way.mapping.connection,
        "account": way.connection.as_ref().map(|connection| &connection.account),
        "remote_calendar": way.mapping.remote,
    })
}

fn way(way: &Way) -> Value {
    let mut document = end(way);
    let refused = way.failure.as_ref().map(
        |failure| json!({ "reason": failure.reason, "attempts": failure.attempts, "retries": failure.retry }),
    );
    let more = json!({
        "direction": way.mapping.direction,
        "status": word(way.standing),
        "remote_id": way.base.as_ref().and_then(|base| base.place()),
        "in_parts": way.base.as_ref().and_then(|base| base.split.as_ref()),
        "agreed_at": time_or_null(agreed(way)),
        "refused": refused,
        "next_try_at": time_or_null(way.next),
        "conflicts": way.conflicts.iter().map(conflict).collect::<Vec<_>>(),
    });
    if let (Value::Object(document), Value::Object(more)) = (&mut document, more) {
        document.extend(more);
    }
    document
}

fn conflict(conflict: &Conflict) -> Value {
    json!({
        "id": conflict.id,
        "detected_at": time(conflict.detected),
        "kind": conflict.kind,
        "status": conflict.status,
        "decided_by": Some(&conflict.by).filter(|by| !by.is_empty()),
    })
}

fn agreed(way: &Way) -> Option<Timestamp> {
    way.base.as_ref().map(|base| base.agreed).filter(|at| at.0 > 0)
}

fn word(standing: Standing) -> &'static str {
    match standing {
        Standing::Agreed => "synced",
        Standing::Pending => "pending",
        Standing::Conflict => "conflict",
        Standing::Refused => "refused",
        Standing::Apart => "apart",
        Standing::Missing => "missing",
        Standing::Resting => "disabled",
        Standing::Held => "paused",
        Standing::Direction => "direction",
        Standing::Filtered => "filtered",
        Standing::Outside => "outside_window",
        Standing::Gone => "gone",
        Standing::New => "not_yet",
    }
}

fn moment(at: Timestamp) -> String {
    match jiff::Timestamp::from_millisecond(at.0) {
        Ok(at) => at.strftime("%Y-%m-%d %H:%M UTC").to_string(),
        Err(_) => "a time that is not known".to_owned(),
    }
}

/// Tells the story. Each sentence stands alone.
fn sentences(story: &Story, names: &Names<'_>) -> Vec<String> {
    let calendar = match is_hidden(&story.calendar) {
        true => "the calendar in the middle of a link".to_owned(),
        false => format!("the calendar \u{201c}{}\u{201d}", name(story)),
    };
    let mut told = Vec::new();
    match &story.first {
        Some(Writing { at, by }) => {
            told.push(format!("It was first written to {calendar} on {} {}.", moment(*at), names.by(by)));
        }
        None if story.title.is_some() => {
            told.push(format!("It is in {calendar}; who wrote it first is not remembered."));
        }
        None => {}
    }
    match (&story.last, &story.title) {
        (Some(Writing { at, by }), Some(_)) if story.writings > 1 => {
            told.push(format!("It was last changed there on {} {}.", moment(*at), names.by(by)));
        }
        (Some(Writing { at, by }), None) => {
            told.push(format!("It was removed from {calendar} on {} {}.", moment(*at), names.removed_by(by)));
        }
        (None, None) => told.push(format!("It is not in {calendar}.")),
        _ => {}
    }
    told.extend(story.ways.iter().flat_map(of_way));
    told
}

fn of_way(way: &Way) -> Vec<String> {
    let account = account(way);
    let mut told = Vec::new();
    if way.base.as_ref().is_some_and(|base| base.from_there) {
        told.push(format!("It came from {account}."));
    }
    let again = match way.next {
        Some(at) => format!("It is tried again on {}.", moment(at)),
        None => "It is tried again when it changes, and in the daily comparison.".to_owned(),
    };
    told.push(match way.standing {
        Standing::Agreed => match agreed(way) {
            Some(at) => format!("{account} has it too; both sides last agreed on {}.", moment(at)),
            None => format!("{account} has it too, and both sides agree."),
        },
        Standing::Gone => format!("Nothing of it is carried between here and {account} any more."),
        Standing::Pending => format!("It is on its way to {account}."),
        Standing::Conflict => {
            format!(
                "It was changed here and by {account} in ways that exclude each other: decide the conflict."
            )
        }
        Standing::Refused => {
            let reason = way.failure.as_ref().map_or("", |failure| failure.reason.trim());
            format!("It could not be carried between here and {account}: {reason} {again}")
        }
        Standing::Apart => {
            format!("One side was removed and the other kept: nothing is carried to {account}.")
        }
        Standing::Missing => {
            format!(
                "{account} did not name it when it was last asked; it is asked again before that is believed."
            )
        }
        Standing::Resting => format!("The mapping with {account} is switched off."),
        Standing::Held => {
            format!("The mapping with {account} waits for your word on removals in bulk.")
        }
        Standing::Direction if way.mapping.only.is_empty() => {
            format!("Nothing is carried from here to {account}: the direction is `pull`.")
        }
        Standing::Direction => {
            format!("It is not made at {account}: the mapping carries only what is moved or called off.")
        }
        Standing::Filtered => format!("It does not go to {account}: the mapping's filters keep it back."),
        Standing::Outside => {
            format!("It does not go to {account}: it takes place outside the mapping's window.")
        }
        Standing::New => format!("It was not carried to {account} yet. {again}"),
    });
    if way.standing == Standing::Agreed && way.mapping.keeps() {
        told.push("It cannot be changed here: the mapping only pulls.".to_owned());
    }
    if way.standing == Standing::Agreed && !way.mapping.only.is_empty() {
        told.push("Of changes made here only another time or the end of it are carried there.".to_owned());
    }
    told.extend(way.base.as_ref().and_then(|base| base.split.clone()));
    let open = way.conflicts.iter().filter(|conflict| !conflict.by.is_empty());
    told.extend(open.take(3).map(|conflict| {
        format!("On {} a conflict was decided by {}.", moment(conflict.detected), conflict.by)
    }));
    told
}

//! Calls that change events.
//!
//! Owns: insert, import, update, patch, delete, move; what becomes of a series' exceptions.
//! Does not own: what an event may be (`shape`), how it is shown (`read`), who is told (`push`).

use serde_json::{Value, json};

use super::read;
use super::refusal::{Outcome, Refusal};
use super::series;
use super::shape::shaped;
use super::state::{Fields, PERSON, State, cancelled, recurs};
use super::time::Moment;
use crate::ical::zone::Zone;

/// The fields that nothing changes once an event is there.
const FIXED: &[&str] = &[
    "id",
    "iCalUID",
    "created",
    "recurringEventId",
    "originalStartTime",
    "eventType",
    "organizer",
    "creator",
    "privateCopy",
];

/// What came along with a write.
#[derive(Debug, Clone, Default)]
pub(super) struct Manner {
    /// `If-Match`.
    pub(super) matching: Option<String>,
    /// `conferenceDataVersion=1`.
    pub(super) conferences: bool,
    /// `supportsAttachments=true`.
    pub(super) attachments: bool,
    /// `eventLabelVersion=1`.
    pub(super) labels: bool,
    /// Guests are sent mail.
    pub(super) mails: bool,
    /// Milliseconds since 1970.
    pub(super) now: i64,
}

impl State {
    /// Makes an event.
    pub(super) fn insert(&mut self, calendar: &str, mut fields: Fields, manner: &Manner) -> Outcome<String> {
        let zone = self.writable(calendar)?.zone();
        let calendar = self.calendar_id(calendar);
        fields.retain(|_, value| !value.is_null());
        if fields.contains_key("recurringEventId") || fields.contains_key("originalStartTime") {
            // Nobody has seen what the real service makes of these at an insert: nobody may lean on it.
            return Err(Refusal::invalid(
                "recurringEventId",
                "An instance is made by changing it, not by an insert.",
            ));
        }
        if fields.contains_key("id") && fields.contains_key("iCalUID") {
            return Err(Refusal::invalid("iCalUID", "Give an id or an iCalUID, not both."));
        }
        let id = match fields.get("id").and_then(Value::as_str) {
            Some(id) => {
                let allowed = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'v').contains(&byte);
                if !(5..=1024).contains(&id.len()) || !id.bytes().all(allowed) {
                    return Err(Refusal::invalid("id", "Invalid resource id value."));
                }
                id.to_owned()
            }
            None => self.fresh_id(),
        };
        if fields.get("eventType").and_then(Value::as_str) == Some("fromGmail") {
            return Err(Refusal::invalid("eventType", "Events of this type cannot be created."));
        }
        // An id stays taken when its event is deleted.
        if self.calendar(&calendar)?.events.contains_key(&id) {
            return Err(Refusal::duplicate());
        }
        if let Some(uid) = fields.get("iCalUID").and_then(Value::as_str)
            && self.by_uid(&calendar, uid).is_some()
        {
            return Err(Refusal::duplicate());
        }
        fields.remove("organizer");
        self.limit_extras(&mut fields, None, manner);
        let mut fields = shaped(self, fields, &zone)?;
        fields.entry("iCalUID").or_insert_with(|| json!(format!("{id}@google.com")));
        self.own(&calendar, &mut fields);
        fields.insert("id".into(), json!(id));
        self.count_guests(&fields, manner);
        self.keep(&calendar, &id, fields, manner.now, true);
        Ok(id)
    }

    fn fresh_id(&mut self) -> String {
        let number = self.next();
        format!("{number:026}").chars().map(|c| if c == '0' { 's' } else { c }).collect()
    }

    fn own(&self, calendar: &str, fields: &mut Fields) {
        let organizer = match calendar == PERSON {
            true => json!({ "email": PERSON, "self": true }),
            false => {
                json!({ "email": calendar, "displayName": self.calendars.get(calendar).map_or("", |c| c.text("summary")),
                "self": true })
            }
        };
        fields.entry("organizer").or_insert(organizer);
        fields.entry("creator").or_insert(json!({ "email": PERSON, "self": true }));
    }

    fn by_uid(&self, calendar: &str, uid: &str) -> Option<String> {
        let events = &self.calendars.get(calendar)?.events;
        events
            .iter()
            .find(|(_, kept)| kept.series().is_none() && kept.text("iCalUID") == uid)
            .map(|(id, _)| id.clone())
    }

    fn count_guests(&mut self, fields: &Fields, manner: &Manner) {
        if fields.get("attendees").and_then(Value::as_array).is_some_and(|guests| !guests.is_empty()) {
            self.guests += 1;
            self.mails += u32::from(manner.mails);
        }
    }

    /// What a caller that does not know of something may not change: conferences, attachments, labels.
    fn limit_extras(&mut self, fields: &mut Fields, before: Option<&Fields>, manner: &Manner) {
        for (name, allowed) in [
            ("conferenceData", manner.conferences),
            ("attachments", manner.attachments),
            ("eventLabelId", manner.labels),
        ] {
            if !allowed {
                fields.remove(name);
                if let Some(value) = before.and_then(|before| before.get(name)) {
                    fields.insert(name.into(), value.clone());
                }
            }
        }
        let Some(Value::Object(conference)) = fields.get_mut("conferenceData") else {
            fields.remove("hangoutLink");
            return;
        };
        if let Some(Value::Object(request)) = conference.get_mut("createRequest")
            && !conference_made(request)
        {
            request.insert("status".into(), json!({ "statusCode": "success" }));
            let number = self.made_number();
            let link = format!("https://meet.google.com/sim-{number:04}-abc");
            conference.insert("conferenceId".into(), json!(format!("sim-{number:04}-abc")));
            conference.insert("entryPoints".into(), json!([{ "entryPointType": "video", "uri": link }]));
            let solution = json!({ "key": { "type": "hangoutsMeet" }, "name": "Google Meet" });
            conference.insert("conferenceSolution".into(), solution);
            fields.insert("hangoutLink".into(), json!(link));
        } else if let Some(link) = before.and_then(|before| before.get("hangoutLink")) {
            fields.insert("hangoutLink".into(), link.clone());
        }
    }

    fn made_number(&self) -> u64 {
        self.changes + 1
    }

    /// Makes an event by its iCalendar UID, or writes it anew.
    pub(super) fn import(&mut self, calendar: &str, mut fields: Fields, manner: &Manner) -> Outcome<String> {
        let zone = self.writable(calendar)?.zone();
        let calendar = self.calendar_id(calendar);
        fields.retain(|_, value| !value.is_null());
        let uid = fields.get("iCalUID").and_then(Value::as_str).unwrap_or_default().to_owned();
        if uid.is_empty() {
            return Err(Refusal::required("Missing iCalUID."));
        }
        // Only `default` events can be imported: other types become one.
        fields.remove("eventType");
        fields.remove("id");
        let known = self.by_uid(&calendar, &uid);
        let id = match &known {
            Some(id) => id.clone(),
            None => self.fresh_id(),
        };
        self.limit_extras(&mut fields, None, manner);
        let mut fields = shaped(self, fields, &zone)?;
        self.own(&calendar, &mut fields);
        fields.insert("id".into(), json!(id));
        if let Some(before) = known.and_then(|id| self.calendars.get(&calendar)?.events.get(&id)) {
            fields.insert("created".into(), before.fields.get("created").cloned().unwrap_or_default());
        }
        self.keep(&calendar, &id, fields, manner.now, true);
        Ok(id)
    }

    /// Returns an event that there is: kept, or an instance of a series that nobody changed yet.
    pub(super) fn find(&self, calendar: &str, id: &str) -> Outcome<Fields> {
        let events = &self.calendar(calendar)?.events;
        if let Some(kept) = events.get(id) {
            return Ok(kept.fields.clone());
        }
        let (master, start) = series::named(id).ok_or_else(Refusal::not_found)?;
        let master = events.get(master).filter(|kept| !kept.cancelled()).ok_or_else(Refusal::not_found)?;
        let instance = series::instance(&master.fields, start).ok_or_else(Refusal::not_found)?;
        // `x_20260101` and `x_20260101T000000Z` are the same second, but not the same name.
        if instance.get("id").and_then(Value::as_str) == Some(id) {
            Ok(instance)
        } else {
            Err(Refusal::not_found())
        }
    }

    fn matched(&self, calendar: &str, id: &str, manner: &Manner) -> Outcome<Fields> {
        self.writable(calendar)?;
        let before = self.find(calendar, id)?;
        match &manner.matching {
            Some(wanted) if wanted != "*" && *wanted != read::etag(self.calendar(calendar)?, id) => {
                Err(Refusal::condition())
            }
            _ => Ok(before),
        }
    }

    /// Changes the fields that are given.
    pub(super) fn patch(&mut self, calendar: &str, id: &str, patch: Fields, manner: &Manner) -> Outcome<()> {
        let before = self.matched(calendar, id, manner)?;
        let mut fields = before.clone();
        for (name, value) in patch {
            if !FIXED.contains(&name.as_str()) {
                merge(&mut fields, name, value);
            }
        }
        self.change(calendar, id, &before, fields, manner)
    }

    /// Writes the whole event anew.
    pub(super) fn update(&mut self, calendar: &str, id: &str, whole: Fields, manner: &Manner) -> Outcome<()> {
        let before = self.matched(calendar, id, manner)?;
        let mut fields = whole;
        fields.retain(|name, value| !FIXED.contains(&name.as_str()) && !value.is_null());
        for name in FIXED.iter().chain(&["updated"]) {
            if let Some(value) = before.get(*name) {
                fields.insert((*name).into(), value.clone());
            }
        }
        if !fields.contains_key("sequence") {
            fields.insert("sequence".into(), before.get("sequence").cloned().unwrap_or_else(|| json!(0)));
        }
        self.change(calendar, id, &before, fields, manner)
    }

    fn change(
        &mut self,
        calendar: &str,
        id: &str,
        before: &Fields,
        mut fields: Fields,
        manner: &Manner,
    ) -> Outcome<()> {
        let zone = self.calendar(calendar)?.zone();
        let calendar = self.calendar_id(calendar);
        let number = |fields: &Fields| fields.get("sequence").and_then(Value::as_i64).unwrap_or(0);
        if number(&fields) < number(before) {
            let message = "Invalid sequence value. The specified sequence number is below the current sequence number of the \
                           resource.";
            return Err(Refusal::invalid("sequence", message));
        }
        let part = before.contains_key("recurringEventId");
        if part && recurs(&fields) {
            return Err(Refusal::invalid("recurrence", "An instance of a series cannot recur."));
        }
        if cancelled(&fields) {
            return if cancelled(before) { Ok(()) } else { self.remove(&calendar, id, manner) };
        }
        self.limit_extras(&mut fields, Some(before), manner);
        let mut fields = shaped(self, fields, &zone)?;
        if part {
            self.tighten(&calendar, before, &mut fields, manner);
        }
        let when = |fields: &Fields| ["start", "end", "recurrence"].map(|name| fields.get(name).cloned());
        let moved = when(&fields) != when(before) && !cancelled(before);
        if moved && number(&fields) == number(before) {
            fields.insert("sequence".into(), json!(number(before) + 1));
        }
        self.count_guests(&fields, manner);
        // Reminders belong to the person: changing nothing else is no edit of the event.
        let touch = fields.iter().any(|(name, value)| name != "reminders" && before.get(name) != Some(value))
            || before.keys().any(|name| !fields.contains_key(name));
        self.keep(&calendar, id, fields.clone(), manner.now, touch);
        if !part && moved {
            self.drop_orphans(&calendar, id, &fields, manner);
        }
        Ok(())
    }

    /// The visibility of one instance: what is stricter is meant for the whole series, what is looser for nobody.
    fn tighten(&mut self, calendar: &str, before: &Fields, fields: &mut Fields, manner: &Manner) {
        let rank = |fields: &Fields| match fields.get("visibility").and_then(Value::as_str) {
            Some("public") => 0,
            Some("private" | "confidential") => 2,
            _ => 1,
        };
        if rank(fields) < rank(before) {
            fields.remove("visibility");
            if let Some(value) = before.get("visibility") {
                fields.insert("visibility".into(), value.clone());
            }
        } else if rank(fields) > rank(before) {
            let Some(value) = fields.get("visibility").cloned() else { return };
            let Some(series) = before.get("recurringEventId").and_then(Value::as_str) else { return };
            for (id, kept) in self.family(calendar, series) {
                let mut kept = kept;
                kept.insert("visibility".into(), value.clone());
                self.keep(calendar, &id, kept, manner.now, true);
            }
        }
    }

    /// Returns the master and its exceptions that are not deleted.
    fn family(&self, calendar: &str, series: &str) -> Vec<(String, Fields)> {
        let Some(calendar) = self.calendars.get(calendar) else { return Vec::new() };
        calendar
            .events
            .iter()
            .filter(|(id, kept)| {
                !kept.cancelled() && (id.as_str() == series || kept.series() == Some(series))
            })
            .map(|(id, kept)| (id.clone(), kept.fields.clone()))
            .collect()
    }

    /// Exceptions of instances that the series does not have any more go.
    fn drop_orphans(&mut self, calendar: &str, id: &str, master: &Fields, manner: &Manner) {
        for (part, fields) in self.family(calendar, id) {
            let Some(original) = fields.get("originalStartTime") else { continue };
            let original = Moment::read(original, "originalStartTime", &Zone::Utc);
            if original.is_ok_and(|original| !series::has(master, original.seconds())) {
                self.keep(calendar, &part, stub(&fields), manner.now, true);
            }
        }
    }

    /// Deletes an event, a series, or one instance.
    pub(super) fn delete(&mut self, calendar: &str, id: &str, manner: &Manner) -> Outcome<()> {
        let before = self.matched(calendar, id, manner)?;
        if cancelled(&before) {
            return Err(Refusal::deleted());
        }
        let calendar = self.calendar_id(calendar);
        self.count_guests(&before, manner);
        self.remove(&calendar, id, manner)
    }

    fn remove(&mut self, calendar: &str, id: &str, manner: &Manner) -> Outcome<()> {
        let before = self.find(calendar, id)?;
        if before.contains_key("recurringEventId") {
            self.keep(calendar, id, stub(&before), manner.now, true);
            return Ok(());
        }
        for (part, mut fields) in self.family(calendar, id) {
            if part != id {
                fields = stub(&fields);
            }
            fields.insert("status".into(), json!("cancelled"));
            self.keep(calendar, &part, fields, manner.now, true);
        }
        Ok(())
    }

    /// Moves an event to another calendar; a stub stays.
    pub(super) fn move_to(&mut self, calendar: &str, id: &str, to: &str, manner: &Manner) -> Outcome<()> {
        self.writable(calendar)?;
        self.writable(to)?;
        let before = self.find(calendar, id)?;
        if cancelled(&before) {
            return Err(Refusal::not_found());
        }
        if before.contains_key("recurringEventId") {
            let message = "Cannot change the organizer of an instance.";
            return Err(Refusal::calendar(400, "cannotChangeOrganizerOfInstance", message));
        }
        if before.get("eventType").and_then(Value::as_str).is_some_and(|kind| kind != "default") {
            return Err(Refusal::calendar(400, "eventTypeRestriction", "Only default events can be moved."));
        }
        let (from, to) = (self.calendar_id(calendar), self.calendar_id(to));
        if self.calendar(&to)?.events.contains_key(id) {
            return Err(Refusal::duplicate());
        }
        for (part, mut fields) in self.family(&from, id) {
            fields.remove("organizer");
            self.own(&to, &mut fields);
            self.keep(&to, &part, fields, manner.now, true);
        }
        self.remove(&from, id, manner)
    }
}

fn conference_made(request: &serde_json::Map<String, Value>) -> bool {
    request.get("status").is_some_and(|status| status.get("statusCode").is_some())
}

/// Returns what is left of a cancelled instance.
fn stub(fields: &Fields) -> Fields {
    let left =
        ["id", "recurringEventId", "originalStartTime", "iCalUID", "created", "start", "end", "sequence"];
    let mut stub: Fields =
        left.iter().filter_map(|name| Some(((*name).to_owned(), fields.get(*name)?.clone()))).collect();
    stub.insert("status".into(), json!("cancelled"));
    stub
}

/// Patch: a null clears, objects are merged, everything else is replaced.
fn merge(into: &mut Fields, name: String, value: Value) {
    match (into.get_mut(&name), value) {
        (_, Value::Null) => {
            into.remove(&name);
        }
        (Some(Value::Object(before)), Value::Object(patch)) => {
            for (name, value) in patch {
                merge(before, name, value);
            }
        }
        (_, Value::Object(patch)) => {
            let mut fresh = Fields::new();
            for (name, value) in patch {
                merge(&mut fresh, name, value);
            }
            into.insert(name, Value::Object(fresh));
        }
        (_, value) => {
            into.insert(name, value);
        }
    }
}

//! What somebody else does on a CalDAV upstream.
//!
//! Owns: writing as another client of the account, making and removing calendars, telling what is there. Does not own: quirks (`mod`).

use std::future::Future;

use http::Method;
use serde_json::{Value, json};

use super::Caldav;
use crate::ical::Ical;
use crate::sim::Act;

impl Caldav {
    /// Puts so many events into the calendar, one a day at 10:00 UTC beginning with that time (seconds since 1970).
    ///
    /// # Errors
    /// A sentence.
    pub async fn fill(&self, events: usize, from: i64) -> Result<(), String> {
        for number in 0..events {
            let day = from.div_euclid(86_400) + i64::try_from(number).unwrap_or(0);
            let start = crate::ical::value::Civil(day * 86_400 + 36_000).to_basic();
            let uid = format!("event-{number}");
            let text = format!(
                "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//Simulated//EN\r\nBEGIN:VEVENT\r\nUID:{uid}\r\n\
                 DTSTAMP:{start}Z\r\nDTSTART:{start}Z\r\nDURATION:PT1H\r\nSUMMARY:Event {number}\r\nEND:VEVENT\r\n\
                 END:VCALENDAR\r\n"
            );
            self.store("calendar", &format!("{uid}.ics"), text).await?;
        }
        Ok(())
    }

    pub(super) async fn elsewhere(&self, act: &Act) -> Result<Value, String> {
        match act {
            Act::CreateElsewhere { calendar, object } => {
                let text = text_of(object)?;
                let name = match object.get("name").and_then(Value::as_str) {
                    Some(name) => name.to_owned(),
                    None => format!("{}.ics", uid_of(text).ok_or("the object has no UID")?),
                };
                self.store(calendar, &name, text.to_owned()).await?;
                Ok(json!({ "id": self.path(calendar, &name) }))
            }
            Act::EditElsewhere { calendar, id, patch } => {
                self.store(calendar, last(id), text_of(patch)?.to_owned()).await?;
                Ok(json!({ "id": id }))
            }
            Act::DeleteElsewhere { calendar, id } => {
                self.simple(Method::DELETE, &self.path(calendar, last(id)), "").await?;
                Ok(Value::Null)
            }
            Act::Own { name, with } => self.own(name, with).await,
            other => Err(format!("a CalDAV server does not do this by itself: {other:?}")),
        }
    }

    async fn own(&self, name: &str, with: &Value) -> Result<Value, String> {
        let calendar = with.get("calendar").and_then(Value::as_str).unwrap_or("calendar");
        match name {
            "calendar" => {
                let method = Method::from_bytes(b"MKCALENDAR").map_err(|error| error.to_string())?;
                self.simple(method, &self.path(calendar, ""), "").await?;
                Ok(json!({ "path": self.path(calendar, "") }))
            }
            "remove_calendar" => {
                self.simple(Method::DELETE, &self.path(calendar, ""), "").await?;
                Ok(Value::Null)
            }
            "objects" => {
                let at = self.calendar(calendar).await?.ok_or("there is no such calendar")?;
                let mut all = serde_json::Map::new();
                for meta in at.list(None, 100_000).await.map_err(|error| said(&error))? {
                    let object = at.object(meta.name.as_str()).await.map_err(|error| said(&error))?;
                    let text = object.map(|object| String::from_utf8_lossy(&object.bytes).into_owned());
                    all.insert(meta.name.as_str().to_owned(), json!(text));
                }
                Ok(Value::Object(all))
            }
            other => Err(format!("a CalDAV server knows no `{other}`")),
        }
    }
}

/// Runs something to its end on a thread of its own: an act is no future, and may be called from within one.
pub(super) fn apart(work: impl Future<Output = Result<Value, String>> + Send) -> Result<Value, String> {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.map_err(|error| error.to_string())?.block_on(work)
        });
        thread.join().unwrap_or_else(|_| Err("the act ended early".into()))
    })
}

fn text_of(object: &Value) -> Result<&str, String> {
    let text = object.as_str().or_else(|| object.get("text").and_then(Value::as_str));
    text.ok_or_else(|| "an object is a text, or has a member `text`".to_owned())
}

fn uid_of(text: &str) -> Option<String> {
    let ical = Ical::parse(text.to_owned()).ok()?;
    ical.calendar()?.components().find_map(|c| c.property("UID")).map(|uid| uid.text())
}

/// An object may be named by its path.
fn last(id: &str) -> &str {
    id.rsplit('/').next().unwrap_or(id)
}

pub(super) fn said(error: &crate::calendar::Error) -> String {
    format!("{error:?}")
}

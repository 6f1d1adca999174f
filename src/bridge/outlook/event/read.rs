//! Outlook's JSON → an event.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::{Importance, Item, Sensitivity, ShowAs, Told, When, Whole};
use crate::bridge::outlook::recurrence::{Far, Recurrence, day_of};
use crate::bridge::outlook::{body, marker, zone};
use crate::bridge::print::digest;
use crate::bridge::provider::{RemoteId, Version};
use crate::ical::quote_parameter;
use crate::ical::value::{Civil, DAY};
use crate::ical::zone::Zone;

/// What is asked for when an object is read. The same for all, so that the same state reads as the same text.
pub(in crate::bridge::outlook) const SELECT: &str = "id,changeKey,createdDateTime,lastModifiedDateTime,subject,body,start,\
    end,originalStartTimeZone,originalEndTimeZone,isAllDay,location,showAs,sensitivity,importance,categories,isReminderOn,\
    reminderMinutesBeforeStart,recurrence,type,seriesMasterId,originalStart,isCancelled,attendees,organizer,isOrganizer,\
    isOnlineMeeting,onlineMeeting,onlineMeetingUrl,transactionId,iCalUId,webLink,cancelledOccurrences,\
    exceptionOccurrences";

/// What the version of an event ends with whose changes would be mailed to people.
pub(in crate::bridge::outlook) const PEOPLE: &str = " people";

/// An event as it comes.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::bridge::outlook) struct Event {
    pub(in crate::bridge::outlook) id: String,
    #[serde(rename = "@odata.etag")]
    etag: Option<String>,
    change_key: Option<String>,
    #[serde(rename = "type")]
    pub(in crate::bridge::outlook) kind: Option<String>,
    pub(in crate::bridge::outlook) series_master_id: Option<String>,
    pub(in crate::bridge::outlook) transaction_id: Option<String>,
    #[serde(rename = "iCalUId")]
    ical_uid: Option<String>,
    created_date_time: Option<String>,
    last_modified_date_time: Option<String>,
    subject: Option<String>,
    body: Option<Body>,
    pub(in crate::bridge::outlook) start: Option<Time>,
    end: Option<Time>,
    original_start_time_zone: Option<String>,
    original_end_time_zone: Option<String>,
    original_start: Option<String>,
    is_all_day: Option<bool>,
    location: Option<Location>,
    show_as: Option<String>,
    sensitivity: Option<String>,
    importance: Option<String>,
    #[serde(default)]
    categories: Vec<String>,
    is_reminder_on: Option<bool>,
    reminder_minutes_before_start: Option<i64>,
    recurrence: Option<Far>,
    is_cancelled: Option<bool>,
    #[serde(default)]
    attendees: Vec<Attendee>,
    organizer: Option<Person>,
    is_organizer: Option<bool>,
    online_meeting: Option<OnlineMeeting>,
    online_meeting_url: Option<String>,
    web_link: Option<String>,
    #[serde(default)]
    pub(in crate::bridge::outlook) cancelled_occurrences: Vec<String>,
    #[serde(default)]
    pub(in crate::bridge::outlook) exception_occurrences: Vec<Event>,
    #[serde(default)]
    single_value_extended_properties: Vec<Extended>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body {
    content_type: Option<String>,
    content: Option<String>,
}

/// A time as it comes: without an offset, with the name of a zone.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::bridge::outlook) struct Time {
    date_time: String,
    time_zone: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Location {
    display_name: Option<String>,
    coordinates: Option<Coordinates>,
}

#[derive(Debug, Clone, Deserialize)]
struct Coordinates {
    latitude: Option<f64>,
    longitude: Option<f64>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Attendee {
    #[serde(rename = "type")]
    kind: Option<String>,
    status: Option<Response>,
    email_address: Option<Address>,
}

#[derive(Debug, Clone, Deserialize)]
struct Response {
    response: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Person {
    email_address: Option<Address>,
}

#[derive(Debug, Clone, Deserialize)]
struct Address {
    name: Option<String>,
    address: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct OnlineMeeting {
    join_url: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
struct Extended {
    id: String,
    value: Option<String>,
}

impl Event {
    /// Returns the entity-tag for `If-Match`.
    pub(in crate::bridge::outlook) fn etag(&self) -> Option<String> {
        self.etag.clone().or_else(|| self.change_key.as_ref().map(|key| format!("W/\"{key}\"")))
    }

    /// Returns the state of the whole: the entity-tag; of a series with edited or cancelled instances a digest of what
    /// stands beside it; and a word if a change would be mailed to people.
    pub(in crate::bridge::outlook) fn version(&self) -> Option<Version> {
        let mut text = self.etag()?;
        if !self.exception_occurrences.is_empty() || !self.cancelled_occurrences.is_empty() {
            let mut beside: Vec<String> = self
                .exception_occurrences
                .iter()
                .map(|e| format!("{} {}", e.id, e.etag().unwrap_or_default()))
                .chain(self.cancelled_occurrences.iter().cloned())
                .collect();
            beside.sort();
            text = format!("{text} {}", digest(beside.join("\n").as_bytes()));
        }
        if self.has_guests() {
            text.push_str(PEOPLE);
        }
        Some(Version(text))
    }

    /// Tells whether Outlook writes to people when the event is changed or removed: the account invited them.
    pub(in crate::bridge::outlook) fn has_guests(&self) -> bool {
        let invites = |event: &Event| !event.attendees.is_empty() && event.is_organizer != Some(false);
        invites(self) || self.exception_occurrences.iter().any(invites)
    }

    /// Returns the UID: ours if the event is one that we made with it, else the one that Outlook made.
    pub(in crate::bridge::outlook) fn uid(&self, calendar: &RemoteId) -> Option<String> {
        let marked = self
            .single_value_extended_properties
            .iter()
            .find(|p| p.id.eq_ignore_ascii_case(marker::PROPERTY))
            .and_then(|p| p.value.clone());
        marked
            .filter(|uid| self.is_made_as(calendar, uid))
            .or_else(|| self.ical_uid.clone().filter(|uid| !uid.trim().is_empty()))
    }

    /// Tells whether we made the event with this UID.
    pub(in crate::bridge::outlook) fn is_made_as(&self, calendar: &RemoteId, uid: &str) -> bool {
        self.transaction_id.as_deref() == Some(marker::transaction(calendar, uid).as_str())
    }

    /// Returns the page of the body.
    pub(in crate::bridge::outlook) fn page(&self) -> &str {
        self.body.as_ref().and_then(|b| b.content.as_deref()).unwrap_or_default()
    }

    /// Returns when it was made, in seconds since 1970.
    pub(in crate::bridge::outlook) fn created(&self) -> Option<i64> {
        self.created_date_time.as_deref().and_then(civil).map(|c| c.0)
    }

    /// Returns when it was last written, in seconds since 1970; of a series, any part of it.
    pub(in crate::bridge::outlook) fn modified(&self) -> Option<i64> {
        let own = self.last_modified_date_time.as_deref().and_then(civil).map(|c| c.0);
        own.into_iter().chain(self.exception_occurrences.iter().filter_map(Event::modified)).max()
    }

    /// Returns when it begins, in seconds since 1970.
    pub(in crate::bridge::outlook) fn begins(&self) -> Option<i64> {
        instant(self.start.as_ref()?)
    }

    /// Returns the event. Nothing: it is not what the schema says.
    pub(in crate::bridge::outlook) fn whole(&self, uid: &str, ours: bool) -> Option<Whole> {
        let mut master = self.item(None)?;
        if ours {
            master.told.link = None;
        }
        let mut whole =
            Whole { uid: uid.to_owned(), master, exceptions: BTreeMap::new(), cancelled: BTreeSet::new() };
        if whole.master.recurrence.is_none() {
            return Some(whole);
        }
        for event in &self.exception_occurrences {
            let mut item = event.item(Some(&whole.master))?;
            item.told.link.clone_from(&whole.master.told.link);
            whole.exceptions.insert(event.original_day(&whole.master)?, item);
        }
        for id in &self.cancelled_occurrences {
            whole.cancelled.insert(cancelled_day(id)?);
        }
        Some(whole.settle())
    }

    /// Returns the day on which an instance of the series would be.
    pub(in crate::bridge::outlook) fn original_day(&self, master: &Item) -> Option<Civil> {
        let at = civil(self.original_start.as_deref()?)?;
        Some(master.start.zone.to_civil(at.0).midnight())
    }

    fn item(&self, master: Option<&Item>) -> Option<Item> {
        let all_day = self.is_all_day.unwrap_or(false);
        let (start, end) = if all_day { self.days()? } else { self.times(master)? };
        let recurrence = match &self.recurrence {
            Some(far) if master.is_none() => Some(Recurrence::from_json(far, start.civil())?),
            _ => None,
        };
        let page = self.page();
        let is_html = self
            .body
            .as_ref()
            .and_then(|b| b.content_type.as_deref())
            .is_none_or(|kind| kind.eq_ignore_ascii_case("html"));
        let location = self.location.as_ref();
        let geo = location.and_then(|l| l.coordinates.as_ref()).and_then(|c| c.latitude.zip(c.longitude));
        let mut categories = self.categories.clone();
        categories.sort();
        categories.dedup();
        Some(Item {
            subject: one_line(self.subject.as_deref()),
            body: if is_html { body::text_of(page) } else { body::tidy(page) },
            location: one_line(location.and_then(|l| l.display_name.as_deref())),
            geo,
            start,
            end,
            all_day,
            show_as: ShowAs::WORDS
                .iter()
                .find(|(_, word)| self.show_as.as_deref() == Some(word))
                .map_or(ShowAs::Busy, |(show_as, _)| *show_as),
            sensitivity: match self.sensitivity.as_deref() {
                Some("personal" | "private") => Sensitivity::Private,
                Some("confidential") => Sensitivity::Confidential,
                _ => Sensitivity::Normal,
            },
            importance: match self.importance.as_deref() {
                Some("high") => Importance::High,
                Some("low") => Importance::Low,
                _ => Importance::Normal,
            },
            categories,
            reminder: self
                .reminder_minutes_before_start
                .filter(|minutes| self.is_reminder_on == Some(true) && *minutes >= 0),
            recurrence,
            told: self.told(),
        })
    }

    /// Whole days: only the dates count, whatever zone their midnights are labelled with.
    fn days(&self) -> Option<(When, When)> {
        let start = civil(&self.start.as_ref()?.date_time)?.midnight();
        let end = civil(&self.end.as_ref()?.date_time)?.midnight();
        let end = Civil(end.0.max(start.0 + DAY));
        let at = |civil: Civil| When { at: civil.0, zone: Zone::Utc };
        Some((at(start), at(end)))
    }

    fn times(&self, master: Option<&Item>) -> Option<(When, When)> {
        let (start, end) = (instant(self.start.as_ref()?)?, instant(self.end.as_ref()?)?);
        let named = |name: &Option<String>| name.as_deref().and_then(zone::of_far);
        // A series knows the zone of its days even where the zone of its start has no name.
        let ruled = self.recurrence.as_ref().and_then(|r| r.range.as_ref());
        let zone = named(&self.original_start_time_zone)
            .or_else(|| ruled.and_then(|r| named(&r.recurrence_time_zone)))
            .or_else(|| master.map(|m| m.start.zone.clone()))
            .unwrap_or(Zone::Utc);
        let end_zone = named(&self.original_end_time_zone).unwrap_or_else(|| zone.clone());
        Some((When { at: start, zone }, When { at: end.max(start), zone: end_zone }))
    }

    fn told(&self) -> Told {
        let joined = self.online_meeting.as_ref().and_then(|m| m.join_url.clone());
        let conference = joined.or_else(|| self.online_meeting_url.clone());
        let usable = |url: &String| url.starts_with("http") && !url.chars().any(char::is_control);
        Told {
            cancelled: self.is_cancelled.unwrap_or(false),
            people: self.people(),
            conference: conference.filter(usable),
            link: self.web_link.clone().filter(usable),
            created: self.created(),
            modified: self.last_modified_date_time.as_deref().and_then(civil).map(|c| c.0),
        }
    }

    /// An organizer alone is nobody's meeting: Outlook names the owner of every event so.
    fn people(&self) -> Vec<String> {
        if self.attendees.is_empty() {
            return Vec::new();
        }
        let organizer = self.organizer.as_ref().and_then(|o| o.email_address.as_ref());
        let organizer = organizer.and_then(|a| person("ORGANIZER", a, ""));
        let attendees = self.attendees.iter().filter_map(|attendee| {
            let parameters = match attendee.kind.as_deref() {
                Some("optional") => ";ROLE=OPT-PARTICIPANT",
                Some("resource") => ";CUTYPE=RESOURCE;ROLE=NON-PARTICIPANT",
                _ => ";ROLE=REQ-PARTICIPANT",
            };
            let answer = match attendee.status.as_ref().and_then(|s| s.response.as_deref()) {
                Some("accepted" | "organizer") => "ACCEPTED",
                Some("tentativelyAccepted") => "TENTATIVE",
                Some("declined") => "DECLINED",
                _ => "NEEDS-ACTION",
            };
            person("ATTENDEE", attendee.email_address.as_ref()?, &format!("{parameters};PARTSTAT={answer}"))
        });
        organizer.into_iter().chain(attendees).collect()
    }
}

fn person(name: &str, who: &Address, parameters: &str) -> Option<String> {
    let address = who.address.as_deref()?.trim();
    let usable = !address.is_empty() && !address.contains(|c: char| c.is_control() || c.is_whitespace());
    let shown = who.name.as_deref().map(str::trim).filter(|n| !n.is_empty() && *n != address);
    let shown = shown.map(|n| format!(";CN={}", quote_parameter(n))).unwrap_or_default();
    usable.then(|| format!("{name}{shown}{parameters}:mailto:{address}"))
}

fn one_line(text: Option<&str>) -> String {
    let text = text.unwrap_or_default().replace("\r\n", "\n");
    text.chars().filter(|c| !c.is_control() || *c == '\n').collect::<String>().trim().to_owned()
}

/// Reads `2026-12-01T10:00:00.0000000`, with or without a fraction and a `Z`.
pub(in crate::bridge::outlook) fn civil(text: &str) -> Option<Civil> {
    let day = day_of(text)?;
    let Some(clock) = text.get(10..).filter(|rest| !rest.is_empty()) else { return Some(day) };
    let clock = clock.strip_prefix('T')?.trim_end_matches('Z');
    let clock = clock.split('.').next()?;
    let mut parts = clock.split(':').map(|n| n.parse::<i64>().ok());
    let (hour, minute, second) = (parts.next()??, parts.next()??, parts.next().flatten().unwrap_or(0));
    let fits = (0..24).contains(&hour) && (0..60).contains(&minute) && (0..=60).contains(&second);
    fits.then(|| Civil(day.0 + hour * 3600 + minute * 60 + second))
}

/// Answers are asked for in UTC; whatever zone is named is believed.
fn instant(time: &Time) -> Option<i64> {
    let civil = civil(&time.date_time)?;
    match time.time_zone.as_deref() {
        None => Some(civil.0),
        Some(name) => Some(zone::of_far(name)?.to_instant(civil)),
    }
}

/// `OID.<series>.2026-12-01`: the day on which the instance would be.
fn cancelled_day(id: &str) -> Option<Civil> {
    day_of(id.rsplit('.').next()?)
}

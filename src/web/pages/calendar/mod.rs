//! The calendar: all calendars in one view, events by the range that is looked at, moving and resizing, the server's word of changes.
//!
//! Owns: the page and what its widget asks for. Does not own: the form of an event (`event`), repeats (expanded by the API).

pub(in crate::web) mod event;

use askama::Template;
use http::{Method, StatusCode, header};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use self::event::Change;
use super::connections::{connections, kind_title};
use super::mappings::Mapping;
use crate::http::{Reply, reply_bytes, reply_empty};
use crate::web::Web;
use crate::web::ask::{Page as List, Wish, encoded};
use crate::web::form::Form;
use crate::web::shell::{Shell, page, part, toast};
use crate::web::texts::T;
use crate::web::visit::{Stop, Visit};

/// As many events are shown at a time.
const MOST: usize = 5000;
/// What calendars without a colour of their own are shown in.
const COLORS: [&str; 8] =
    ["#3556c7", "#2f7d4f", "#b5541c", "#8a3ea8", "#0e7c86", "#b3324d", "#6b6f1d", "#54637a"];

/// A calendar, as the API tells it.
#[derive(Debug, Clone, Deserialize)]
pub(in crate::web) struct Calendar {
    pub(in crate::web) id: String,
    etag: String,
    display_name: String,
    name: String,
    color: Option<String>,
    components: Vec<String>,
    pub(in crate::web) writable: bool,
}

impl Calendar {
    /// Returns what people call it.
    pub(in crate::web) fn title(&self) -> &str {
        if self.display_name.is_empty() { &self.name } else { &self.display_name }
    }

    fn holds_events(&self) -> bool {
        self.components.is_empty() || self.components.iter().any(|component| component == "VEVENT")
    }

    pub(in crate::web) fn color(&self) -> String {
        let said = self.color.as_deref().and_then(rgb);
        let place =
            self.id.bytes().fold(0usize, |sum, byte| sum.wrapping_mul(10).wrapping_add(usize::from(byte)));
        said.unwrap_or_else(|| COLORS.get(place % COLORS.len()).copied().unwrap_or("#3556c7").to_owned())
    }
}

/// Returns a colour as the browser takes it; Apple's have an opacity at the end.
fn rgb(text: &str) -> Option<String> {
    let hex = text.trim().strip_prefix('#')?;
    let fine = hex.len() >= 6 && hex.bytes().all(|byte| byte.is_ascii_hexdigit());
    fine.then(|| format!("#{}", hex.get(..6).unwrap_or_default().to_ascii_lowercase()))
}

/// Returns the calendars that hold events, in the order of the API.
pub(in crate::web) async fn calendars(web: &Web, visit: &Visit) -> Result<Vec<Calendar>, Stop> {
    let mut list: Vec<Calendar> = web.list(visit, "/calendars", 500).await?;
    list.retain(Calendar::holds_events);
    Ok(list)
}

struct Shown {
    id: String,
    title: String,
    color: String,
    writable: bool,
    /// The accounts that it goes together with: provider and name.
    mirrors: Vec<(String, String)>,
}

/// An account that events came from, as a filter.
struct Source {
    key: String,
    provider: String,
    title: String,
}

#[derive(Template)]
#[template(path = "calendar.html")]
struct Page {
    s: Shell,
    calendars: Vec<Shown>,
    sources: Vec<Source>,
}

/// The page.
pub(in crate::web) async fn show(web: &Web, visit: Visit) -> Result<Reply, Stop> {
    let list = calendars(web, &visit).await?;
    let accounts = connections(web, &visit).await?;
    let mappings: Vec<Mapping> = web.list(&visit, "/mappings", 500).await?;
    let mirrors = |calendar: &Calendar| {
        let of = mappings.iter().filter(|mapping| mapping.calendar == calendar.id);
        let of = of.filter_map(|mapping| accounts.iter().find(|account| account.id == mapping.connection));
        of.map(|account| (account.provider.clone(), account.title().to_owned())).collect()
    };
    let calendars = list
        .iter()
        .map(|calendar| Shown {
            id: calendar.id.clone(),
            title: calendar.title().to_owned(),
            color: calendar.color(),
            writable: calendar.writable,
            mirrors: mirrors(calendar),
        })
        .collect();
    let sources = accounts.iter().map(|account| Source {
        key: source(Some(&account.provider), Some(&account.account)),
        provider: account.provider.clone(),
        title: account.title().to_owned(),
    });
    let sources = sources.collect();
    let shown = Page { s: Shell::of(web, &visit, "/", T.menu_calendar), calendars, sources };
    Ok(page(StatusCode::OK, &shown.s, &shown))
}

/// An event as the API tells it: what this page looks at.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(in crate::web) struct Event {
    uid: String,
    etag: String,
    title: Option<String>,
    description: Option<String>,
    location: Option<String>,
    start: String,
    end: String,
    time_zone: Option<String>,
    all_day: bool,
    status: Option<String>,
    free_busy: Option<String>,
    color: Option<String>,
    recurrence: Vec<String>,
    overrides: Value,
    recurrence_id: Option<String>,
    origin: Origin,
    last_synced_at: Option<String>,
    locked: bool,
    alerts: Vec<Value>,
    attendees: Vec<Value>,
}

#[derive(Debug, Clone, Default, Deserialize)]
struct Origin {
    provider: Option<String>,
    account: Option<String>,
}

/// The address of a calendar's events within a range, each instance by itself.
fn within(calendar: &str, from: &str, to: &str) -> String {
    format!("/calendars/{}/events?expand=true&from={}&to={}", encoded(calendar), encoded(from), encoded(to))
}

/// What the widget shows: the events of a range.
pub(in crate::web) async fn events(web: &Web, visit: Visit) -> Result<Reply, Stop> {
    let (Some(from), Some(to)) = (visit.parameter("start"), visit.parameter("end")) else {
        return Err(Stop::Refused(StatusCode::BAD_REQUEST, T.not_done_hint.to_owned()));
    };
    let mut shown = Vec::new();
    for calendar in &calendars(web, &visit).await? {
        let path = format!("{}&limit={MOST}", within(&calendar.id, from, to));
        let events: List<Event> = web.read(&visit, &path).await?;
        // What cannot be read as an event has no place in a calendar; it is in the list of the API.
        let events = events.items.into_iter().filter(|event| !event.start.is_empty());
        shown.extend(events.map(|event| widget(calendar, event)));
    }
    let text = serde_json::to_vec(&shown).map_err(|error| Stop::Failed(error.to_string()))?;
    let mut reply = reply_bytes(StatusCode::OK, "application/json", text);
    reply.headers_mut().insert(header::CACHE_CONTROL, header::HeaderValue::from_static("private, no-store"));
    Ok(reply)
}

/// An event as the widget takes it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Widget {
    id: String,
    title: String,
    start: String,
    end: String,
    all_day: bool,
    editable: bool,
    class_names: Vec<&'static str>,
    extended_props: Props,
}

/// What the page knows of an event beyond what the widget does.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Props {
    calendar: String,
    calendar_name: String,
    color: String,
    uid: String,
    etag: String,
    at: Option<String>,
    from: String,
    to: String,
    place: Option<String>,
    provider: Option<String>,
    account: Option<String>,
    source: String,
    origin: String,
    synced: Option<String>,
    fixed: bool,
    why: &'static str,
}

/// Names the account that an event came from; of those made here it is empty.
fn source(provider: Option<&str>, account: Option<&str>) -> String {
    provider.map_or(String::new(), |provider| format!("{provider} {}", account.unwrap_or_default()))
}

fn widget(calendar: &Calendar, event: Event) -> Widget {
    let fixed = event.locked || !calendar.writable;
    let (provider, account) = (event.origin.provider.as_deref(), event.origin.account.as_deref());
    let origin = match (provider, account.filter(|account| !account.is_empty())) {
        (None, _) => T.made_here.to_owned(),
        (Some(provider), None) => format!("{} {}", T.comes_from, kind_title(provider)),
        (Some(provider), Some(account)) => format!("{} {}, {account}", T.comes_from, kind_title(provider)),
    };
    let class = [
        fixed.then_some("fixed"),
        (event.status.as_deref() == Some("tentative")).then_some("tentative"),
        (event.status.as_deref() == Some("cancelled")).then_some("cancelled"),
        (event.free_busy.as_deref() == Some("free")).then_some("free"),
    ];
    let title = event.title.filter(|title| !title.trim().is_empty());
    Widget {
        id: format!("{}/{}/{}", calendar.id, event.uid, event.recurrence_id.as_deref().unwrap_or_default()),
        title: title.unwrap_or_else(|| T.no_title.to_owned()),
        start: event.start.clone(),
        end: event.end.clone(),
        all_day: event.all_day,
        editable: !fixed,
        class_names: class.into_iter().flatten().collect(),
        extended_props: Props {
            source: source(provider, account),
            why: if provider.is_some() { T.event_locked } else { T.read_only },
            calendar: calendar.id.clone(),
            calendar_name: calendar.title().to_owned(),
            color: event.color.as_deref().and_then(rgb).unwrap_or_else(|| calendar.color()),
            uid: event.uid,
            etag: event.etag,
            at: event.recurrence_id,
            from: event.start,
            to: event.end,
            place: event.location,
            provider: event.origin.provider,
            account: event.origin.account,
            origin,
            synced: event.last_synced_at,
            fixed,
        },
    }
}

/// Returns the date or the clock's time of a time with or without an offset.
fn clock(text: &str) -> &str {
    text.get(..19).unwrap_or(text)
}

/// Returns a time moved as another one moves: `was` became `is`.
fn shifted(time: &str, was: &str, is: &str) -> Option<String> {
    use jiff::civil::{Date, DateTime};
    if [time, was, is].iter().all(|text| text.len() == 10) {
        let (time, was, is): (Date, Date, Date) = (time.parse().ok()?, was.parse().ok()?, is.parse().ok()?);
        return time.checked_add(is.since(was).ok()?).ok().map(|date| date.to_string());
    }
    let read = |text: &str| clock(text).parse::<DateTime>().ok();
    let (time, was, is) = (read(time)?, read(was)?, read(is)?);
    time.checked_add(is.since(was).ok()?).ok().map(|moved| moved.strftime("%Y-%m-%dT%H:%M:%S").to_string())
}

/// How much of a series a change is meant for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reach {
    /// All of it; of what happens once, that.
    Whole,
    /// One instance.
    This,
    /// One instance and those after it.
    Following,
}

impl Reach {
    fn of(at: &str, scope: &str) -> Reach {
        match (at, scope) {
            ("", _) | (_, "all") => Reach::Whole,
            (_, "following") => Reach::Following,
            _ => Reach::This,
        }
    }
}

/// An event was moved or resized with the mouse.
pub(in crate::web) async fn moved(web: &Web, visit: Visit) -> Result<Reply, Stop> {
    let path = event::path(visit.field("calendar"), visit.field("uid"));
    let (start, end) = (visit.field("start"), visit.field("end"));
    let all_day = visit.field("all_day") == "true";
    let mut times = Map::new();
    times.insert("start".into(), json!(start));
    times.insert("end".into(), json!(end));
    let at = visit.field("at");
    let change = match Reach::of(at, visit.field("scope")) {
        Reach::Whole if at.is_empty() => {
            times.insert("all_day".into(), json!(all_day));
            Some(Change::Event(Value::Object(times)))
        }
        Reach::This => Some(Change::Event(json!({ "overrides": { at: times } }))),
        reach => {
            let series: Event = web.read(&visit, &path).await?;
            let was = (visit.field("was_start"), visit.field("was_end"));
            event::of_series(&series, reach, at, times, was, all_day)
        }
    };
    let Some(change) = change else {
        return Ok(toast(StatusCode::UNPROCESSABLE_ENTITY, T.move_in_form));
    };
    let answer = change.asked(web, &visit, &path, visit.field("etag")).await?;
    if answer.status.is_success() {
        Ok(reply_empty(StatusCode::NO_CONTENT))
    } else if answer.status == StatusCode::PRECONDITION_FAILED {
        Ok(toast(answer.status, T.changed_meanwhile))
    } else {
        Ok(toast(answer.status, &answer.detail()))
    }
}

const CALENDAR: &[&str] = &["calendar", "etag", "display_name", "color"];

#[derive(Template)]
#[template(path = "calendar_form.html")]
struct CalendarForm {
    s: Shell,
    f: Form,
}

/// The form of a calendar, or of a new one.
pub(in crate::web) async fn calendar(web: &Web, visit: Visit) -> Result<Reply, Stop> {
    let mut form = Form::new(CALENDAR);
    let list = calendars(web, &visit).await?;
    let wanted = visit.parameter("id").unwrap_or_default();
    match list.iter().find(|calendar| calendar.id == wanted) {
        Some(calendar) => {
            form.set("calendar", &calendar.id);
            form.set("etag", &calendar.etag);
            form.set("display_name", calendar.title());
            form.set("color", calendar.color());
        }
        None => form.set("color", COLORS.get(list.len() % COLORS.len()).copied().unwrap_or("#3556c7")),
    }
    Ok(part(StatusCode::OK, &CalendarForm { s: Shell::of(web, &visit, "/", ""), f: form }))
}

/// Makes a calendar or changes one.
pub(in crate::web) async fn keep_calendar(web: &Web, visit: Visit) -> Result<Reply, Stop> {
    let mut form = Form::sent(&visit, CALENDAR);
    if form.value("display_name").is_empty() {
        form.refuse("display_name", T.name_needed);
    } else {
        let body = json!({ "display_name": form.value("display_name"), "color": form.value("color") });
        let wish = Wish::of(body).only_if(form.value("etag")).once(&visit);
        let answer = match form.value("calendar") {
            "" => web.ask(&visit, Method::POST, "/calendars", wish).await?,
            id => web.ask(&visit, Method::PATCH, &format!("/calendars/{}", encoded(id)), wish).await?,
        };
        if answer.or_told(&mut form).is_some() {
            return Ok(reloaded());
        }
    }
    Ok(part(StatusCode::UNPROCESSABLE_ENTITY, &CalendarForm { s: Shell::of(web, &visit, "/", ""), f: form }))
}

/// Moves a calendar to the trash.
pub(in crate::web) async fn remove_calendar(web: &Web, visit: Visit) -> Result<Reply, Stop> {
    let path = format!("/calendars/{}", encoded(visit.field("calendar")));
    web.ask(&visit, Method::DELETE, &path, Wish::default()).await?.good()?;
    Ok(reloaded())
}

/// Has the whole page shown anew.
fn reloaded() -> Reply {
    let mut reply = reply_empty(StatusCode::OK);
    reply.headers_mut().insert("hx-refresh", header::HeaderValue::from_static("true"));
    reply
}

/// What happens on the server, as it happens: the API's stream of changes.
pub(in crate::web) async fn live(web: &Web, visit: Visit) -> Result<Reply, Stop> {
    web.raw(&visit, Method::GET, "/changes/stream", Wish::default()).await
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn a_series_moves_as_the_instance_was_moved() {
        let moved = |time, was, is| shifted(time, was, is).unwrap();
        assert_eq!(
            moved("2026-01-05T09:00:00+01:00", "2026-06-01T10:00:00+02:00", "2026-06-02T11:30:00+02:00"),
            "2026-01-06T10:30:00"
        );
        assert_eq!(moved("2026-01-05", "2026-06-01", "2026-05-31"), "2026-01-04");
        assert_eq!(shifted("soon", "2026-06-01", "2026-05-31"), None);
    }

    #[test]
    fn a_calendar_keeps_its_colour_whatever_others_there_are() {
        let calendar = |id: &str, color: Option<&str>| Calendar {
            id: id.into(),
            etag: String::new(),
            display_name: String::new(),
            name: "work".into(),
            color: color.map(str::to_owned),
            components: Vec::new(),
            writable: true,
        };
        let own: std::collections::BTreeSet<String> =
            (12..20).map(|id: u8| calendar(&id.to_string(), None).color()).collect();
        assert_eq!(own.len(), COLORS.len());
        assert_eq!(calendar("12", Some("#FF2968FF")).color(), "#ff2968");
    }

    #[test]
    fn colours_are_what_a_browser_takes() {
        assert_eq!(rgb("#FF2968FF").as_deref(), Some("#ff2968"));
        for odd in ["red", "#12345", "#ggg000", ""] {
            assert_eq!(rgb(odd), None, "{odd}");
        }
    }
}

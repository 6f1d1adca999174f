//! Hard series: DAV → store → far side and back. Ours stay octet for octet; what comes back into another calendar takes
//! place at the same times, with the same words (issue: equal in meaning, all-day untouched). What does not travel says why.
//!
//! S1-062, S3-162, S4-051

mod series;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use kalends::ical::series::{Instance, Series, TimeRange};
use kalends::ical::{Ical, split};

use kalends::ical::zone::{Zone, by_tzid};
use serde_json::json;

use crate::trust::{Far, Story};

const DAY: i64 = 86_400;
const YEAR: i64 = 366 * DAY;
/// How many objects of other people's calendars travel, of the hundreds that there are.
const SAMPLE: usize = 160;

/// One instance, and what is said of it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Moment {
    start: i64,
    end: i64,
    all_day: bool,
    title: String,
    place: String,
    notes: String,
}

/// What a far side is known not to hold (`docs/providers/`); all else has to be the same.
#[derive(Debug, Clone, Copy, Default)]
struct Ease {
    /// What has no length lasts a minute.
    minute: bool,
    /// Texts lose tabs, white space at the ends of lines, and blanks that do not break.
    blanks: bool,
    /// Texts of other people that are not escaped as they should be are cut.
    unescaped: bool,
    /// It looks a week back and a month ahead, and no further; times without a zone are those of the household.
    near: bool,
}

/// Returns when an object takes place and what it says then. An instance that was called off does not take place.
fn meaning(text: &str, range: TimeRange, ease: Ease) -> Vec<Moment> {
    let ical = Ical::parse(text.as_bytes().to_vec()).unwrap();
    let parts: Vec<_> = ical.calendar().unwrap().components().collect();
    let floating = if ease.near { by_tzid("Europe/Berlin").unwrap() } else { Zone::Utc };
    let found = Series::of(&ical).instances(range, &floating, 2000);
    let says = |at: usize, name: &str| {
        let text = parts[at].property(name).map(|p| p.text()).unwrap_or_default();
        // XML, in which a CalDAV server answers, has no other control characters than these.
        let text: String = text.chars().filter(|c| !c.is_control() || matches!(c, '\n' | '\t')).collect();
        match ease.blanks {
            true => text
                .replace('\u{a0}', " ")
                .replace('\t', "")
                .lines()
                .map(str::trim)
                .collect::<Vec<_>>()
                .join("\n")
                .trim()
                .to_owned(),
            false => text.trim().to_owned(),
        }
    };
    let takes_place = |i: &&Instance| {
        let part = &parts[i.component];
        part.property("RECURRENCE-ID").is_none()
            || part.property("STATUS").is_none_or(|status| !status.raw().eq_ignore_ascii_case("CANCELLED"))
    };
    let moment = |i: &Instance| Moment {
        start: i.start,
        end: if ease.minute && i.end == i.start { i.end + 60 } else { i.end },
        all_day: i.all_day(),
        title: says(i.component, "SUMMARY"),
        place: says(i.component, "LOCATION"),
        notes: says(i.component, "DESCRIPTION"),
    };
    let mut all: Vec<_> = found.list.iter().filter(takes_place).map(moment).collect();
    all.sort();
    all
}

/// Says in what two meanings differ first.
fn differ(found: &[Moment], wanted: &[Moment]) -> Option<String> {
    let at = (0..found.len().max(wanted.len())).find(|at| found.get(*at) != wanted.get(*at))?;
    Some(format!(
        "{} of {} instances; the first that differs:\n{:?}\n{:?}",
        found.len(),
        wanted.len(),
        found.get(at),
        wanted.get(at)
    ))
}

fn now() -> i64 {
    jiff::Timestamp::now().as_second()
}

/// The year that begins with its first instance.
fn first_year(text: &str) -> TimeRange {
    let ical = Ical::parse(text.as_bytes().to_vec()).unwrap();
    let first = Series::of(&ical).span().map_or(0, |span| span.start);
    TimeRange::new(Some(first - DAY), Some(first + YEAR))
}

/// Where single events stand for a series that a far side cannot hold, whichever it is; a little within the edges.
fn reach(ease: Ease) -> TimeRange {
    let (back, ahead) = if ease.near { (6, 28) } else { (90, 364) };
    TimeRange::new(Some(now() - back * DAY), Some(now() + ahead * DAY))
}

/// What became of an object on its journey.
#[derive(Debug, PartialEq, Eq)]
enum Fate {
    /// It came back as it was.
    Whole,
    /// It came back as several, which together are what it was.
    Apart,
    /// It stayed, and says why.
    Refused(String),
}

struct Journey {
    story: Story,
    /// The objects that were put: their text by UID, and their name.
    sent: BTreeMap<String, (String, String)>,
    /// What came back into another calendar, by UID.
    back: BTreeMap<String, String>,
    ease: Ease,
}

impl Journey {
    /// Sends these there and takes what is there back into another calendar.
    fn make(far: Far, ease: Ease, objects: Vec<(String, Bytes)>) -> Journey {
        let story = Story::begin(far);
        let every = match ease.near {
            true => json!({}),
            false => json!({"window_past": "all", "window_future": "all"}),
        };
        let path = format!("/mappings/{}", story.mapping);
        let (status, changed) = story.program.api("PATCH", &path, Some(every.clone()));
        assert_eq!(status, 200, "{changed}");
        let mut sent = BTreeMap::new();
        for (name, bytes) in objects {
            let Ok(text) = String::from_utf8(bytes.to_vec()) else { continue };
            let put = story.program.dav("PUT", &name, &text);
            // What is no calendar object, or has the UID of another, is not ours to carry.
            if put.status == 201 {
                sent.insert(uid(&text), (name, text));
            } else {
                assert!(name.starts_with("corpus"), "{name}: {}", put.show());
            }
        }
        let mut story = story;
        story.rest();
        let writes = story.far.server.log().writes();
        // Another calendar takes the same events from the far side.
        let (status, made) = story.program.api("POST", "/calendars", Some(json!({"name": "mirror"})));
        assert_eq!(status, 201, "{made}");
        let (_, mapping) = story.program.api("GET", &format!("/mappings/{}", story.mapping), None);
        let mut wanted = json!({
            "calendar": made["id"], "connection": mapping["connection"], "remote_calendar": story.far.calendar,
            "direction": "pull", "conflict_policy": "external", "fields": story.far.fields,
        });
        wanted.as_object_mut().unwrap().extend(every.as_object().unwrap().clone());
        let (status, second) = story.program.api("POST", "/mappings", Some(wanted));
        assert_eq!(status, 201, "{second}");
        story.mapping = second["id"].as_str().unwrap().to_owned();
        story.rest();
        assert_eq!(story.far.server.log().writes(), writes, "the journey back writes nothing there");
        let back = story.program.texts("/dav/calendars/anna/mirror/");
        Journey { story, sent, back, ease }
    }

    /// Tells what became of an object.
    ///
    /// # Errors
    /// It was lost, or came back as something else.
    fn fate(&self, uid: &str) -> Result<Fate, String> {
        let (name, text) = &self.sent[uid];
        let kept = String::from_utf8(self.story.program.dav("GET", name, "").body).unwrap();
        assert_eq!(&kept, text, "{name}: ours stay octet for octet");
        let of = |text: &str, range: TimeRange| {
            let mut all = meaning(text, range, self.ease);
            if self.ease.unescaped && name.starts_with("corpus") {
                for moment in &mut all {
                    (moment.title, moment.place, moment.notes) = Default::default();
                }
            }
            all
        };
        if let Some(returned) = self.back.get(uid) {
            let range = if self.ease.near { reach(self.ease) } else { first_year(text) };
            let same = differ(&of(returned, range), &of(text, range));
            return same.map_or(Ok(Fate::Whole), |why| Err(format!("{name}: {why}\n{text}\n{returned}")));
        }
        let prefix = format!("{uid}#part-");
        let parts: Vec<&String> =
            self.back.iter().filter(|(uid, _)| uid.starts_with(&prefix)).map(|(_, text)| text).collect();
        let (refused, apart) = self.why(uid);
        if !apart.is_empty() {
            let mut all: Vec<Moment> = parts.iter().flat_map(|part| of(part, reach(self.ease))).collect();
            all.sort();
            let same = differ(&all, &of(text, reach(self.ease)));
            return same
                .map_or(Ok(Fate::Apart), |why| Err(format!("{name} apart: {why}\n{text}\n{parts:?}")));
        }
        match refused.is_empty() {
            true => Err(format!("{name} is not there, and nothing says why:\n{text}")),
            false => Ok(Fate::Refused(refused)),
        }
    }

    /// Why an object stays here, and why it is there in several.
    fn why(&self, uid: &str) -> (String, String) {
        let path = format!("/events/{}/why", encoded(uid));
        let (status, why) = self.story.program.api("GET", &path, None);
        assert_eq!(status, 200, "{uid}: {why}");
        let ways =
            || why["calendars"].as_array().unwrap().iter().flat_map(|c| c["mappings"].as_array().unwrap());
        let refused: Vec<&str> = ways().filter_map(|way| way["refused"]["reason"].as_str()).collect();
        let apart: Vec<&str> = ways().filter_map(|way| way["in_parts"].as_str()).collect();
        (refused.join(" "), apart.join(" "))
    }
}

fn encoded(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

fn uid(text: &str) -> String {
    let ical = Ical::parse(text.as_bytes().to_vec()).unwrap();
    let component = ical.calendar().unwrap().components().find(|c| c.name() != "VTIMEZONE").unwrap();
    component.property("UID").map(|uid| uid.text()).unwrap_or_default()
}

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    let mut entries: Vec<PathBuf> =
        std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            files(&path, found);
        } else if path.extension().is_some_and(|e| e == "ics") {
            found.push(path);
        }
    }
}

/// The same event under another UID.
fn renamed(bytes: Bytes, number: usize) -> Bytes {
    let ical = Ical::parse(bytes).unwrap();
    let events = ical.calendar().into_iter().flat_map(|calendar| calendar.components());
    let uids = events.flat_map(|event| event.all("UID"));
    let edit = uids.fold(ical.edit(), |edit, uid| edit.replace(uid, &format!("UID:other-{number}")));
    edit.finish()
}

/// Events of other people's calendars: our own fixtures, and a sample of a folder beside the checkout where there is one.
fn corpus(most: usize) -> Vec<(String, Bytes)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let shared = std::env::var_os("KALENDS_SHARED").map_or_else(|| root.join("../shared"), PathBuf::from);
    let mut uids = BTreeSet::new();
    let mut events = |folder: PathBuf| {
        let (mut paths, mut all) = (Vec::new(), Vec::new());
        files(&folder, &mut paths);
        for path in paths {
            let Ok(ical) = Ical::parse(std::fs::read(path).unwrap()) else { continue };
            for object in split(&ical, &|_| String::new()).into_iter().filter(|o| o.component == "VEVENT") {
                let taken = !uids.insert(object.uid.clone());
                all.push(if taken { renamed(object.bytes, uids.len()) } else { object.bytes });
                uids.insert(format!("other-{}", uids.len()));
            }
        }
        all
    };
    let mut all = events(root.join("webdav-tests/ics"));
    assert!(all.len() > 20, "the fixtures are missing");
    let others = events(shared.join("corpus"));
    let every = (others.len() / most.max(1)).max(1);
    all.extend(others.into_iter().step_by(every));
    all.into_iter().enumerate().map(|(number, bytes)| (format!("corpus-{number}.ics"), bytes)).collect()
}

/// All that there is goes there and comes back. Returns the names of our own series that travelled in parts and that stayed.
fn there_and_back(far: Far, ease: Ease) -> (Vec<String>, Vec<String>, Journey) {
    let objects = match ease.near {
        true => series::near(),
        false => [series::all(), corpus(SAMPLE)].concat(),
    };
    let journey = Journey::make(far, ease, objects);
    let (mut apart, mut stayed, mut wrong, mut whole) = (Vec::new(), Vec::new(), Vec::new(), 0);
    for uid in journey.sent.keys() {
        let own = uid.strip_suffix("@journey").map(str::to_owned);
        match journey.fate(uid) {
            Ok(Fate::Whole) => whole += 1,
            Ok(Fate::Apart) => apart.extend(own),
            Ok(Fate::Refused(why)) => {
                println!("{uid} stays: {why}");
                stayed.extend(own);
            }
            Err(why) => wrong.push(why),
        }
    }
    assert!(wrong.is_empty(), "{} lost or changed:\n{}", wrong.len(), wrong.join("\n"));
    println!("{whole} of {} came back whole; apart {apart:?}; stayed {stayed:?}", journey.sent.len());
    (apart, stayed, journey)
}

// S3-090, S4-003, E5
#[test]
fn hard_series_go_to_google_and_back() {
    let (apart, stayed, _) = there_and_back(Far::google(), Ease { minute: true, ..Ease::default() });
    let several = [
        "and_all_following",
        "every_four_hours",
        "instance_without_series",
        "periods",
        "zone_of_nowhere_weekly",
    ];
    assert_eq!(apart, several);
    assert_eq!(stayed, [""; 0]);
}

// S3-090, E5
#[test]
fn hard_series_go_to_outlook_and_back() {
    let (apart, stayed, _) = there_and_back(Far::outlook(), Ease { blanks: true, ..Ease::default() });
    let several = [
        "and_all_following",
        "dates_alone",
        "day_hundred",
        "days_of_months",
        "every_four_hours",
        "fifth_monday",
        "further_dates",
        "instance_without_series",
        "leap_day",
        "next_to_last_day",
        "over_a_day",
        "periods",
        "repeated_exception",
        "thirty_first",
        "two_of_a_set",
        "week_numbers",
        "zone_of_nowhere_weekly",
    ];
    assert_eq!(apart, several);
    assert_eq!(stayed, [""; 0]);
}

// Byte for byte, too, where the far side keeps what it is given.
#[test]
fn hard_series_go_to_a_caldav_server_and_back() {
    let (apart, stayed, journey) = there_and_back(Far::caldav(), Ease::default());
    assert_eq!((apart, stayed), (vec![], vec![]));
    let there: BTreeSet<String> = journey.story.far.texts().into_iter().collect();
    let back: BTreeSet<String> = journey.back.into_values().collect();
    for (name, text) in journey.sent.values() {
        assert!(there.contains(text), "{name} was rewritten there:\n{text}");
        // Answers for many are XML, which knows one kind of line break and few control characters.
        let carried = text.ends_with("\r\n") && !text.ends_with("\r\n\r\n") && text.starts_with('B');
        let plain = !text.replace("\r\n", "").contains(|c: char| c.is_control() && c != '\t');
        assert!(!(carried && plain) || back.contains(text), "{name} came back rewritten:\n{text}");
    }
}

#[test]
fn hard_series_go_to_radicale_and_back() {
    let Some(far) = Far::radicale() else { return };
    let (apart, stayed, _) = there_and_back(far, Ease { unescaped: true, ..Ease::default() });
    assert_eq!(apart, [""; 0]);
    // Radicale does not read further dates with lengths of their own.
    assert_eq!(stayed, ["periods"]);
}

#[test]
fn hard_series_go_to_cozi_and_back() {
    let (mut apart, stayed, _) = there_and_back(Far::cozi(), Ease { near: true, ..Ease::default() });
    // Whole, unless the household's clock changes within the month.
    apart.retain(|name| name != "far_clock_weekly");
    assert_eq!(apart, ["and_all_following", "every_four_hours", "further_dates", "two_days_of_months"]);
    assert_eq!(stayed, [""; 0]);
}

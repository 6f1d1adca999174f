//! From files to calendar objects.
//!
//! Owns: finding files and Radicale collections, splitting a file by UID so that every object keeps the bytes of its
//! components and brings the zones it needs. Does not own: storing (`server::admin`).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use serde_json::Value;

use crate::ical::{Component, Ical, Object};
use crate::server::admin::NewCalendar;
use crate::store::Etag;

/// Files of one calendar.
#[derive(Debug)]
pub(super) struct Source {
    /// The calendar that is made if it is missing; nothing: it must be there.
    pub(super) make: Option<NewCalendar>,
    /// The calendar's name; nothing: `calendar` or `tasks`, by component.
    into: Option<String>,
    files: Vec<PathBuf>,
}

/// Finds what there is to read.
pub(super) fn sources(from: &Path, user: &str, calendar: Option<String>) -> Result<Vec<Source>, String> {
    let about = std::fs::metadata(from).map_err(|error| format!("{}: {error}", from.display()))?;
    let make = calendar.as_ref().map(|name| NewCalendar { name: name.clone(), ..NewCalendar::default() });
    if about.is_file() {
        return Ok(vec![Source { make, into: calendar, files: vec![from.to_owned()] }]);
    }
    let from = radicale_user(from, user)?;
    let mut collections = Vec::new();
    let mut loose = Vec::new();
    search(&from, &mut collections, &mut loose)?;
    if collections.is_empty() && loose.is_empty() {
        return Err(format!("{} holds no .ics files", from.display()));
    }
    let mut sources: Vec<Source> = Vec::new();
    if calendar.is_some() {
        let files = collections.into_iter().flat_map(|(_, files)| files).chain(loose).collect();
        return Ok(vec![Source { make, into: calendar, files }]);
    }
    for (new, files) in collections {
        sources.push(Source { into: Some(new.name.clone()), make: Some(new), files });
    }
    if !loose.is_empty() {
        sources.push(Source { make: None, into: None, files: loose });
    }
    Ok(sources)
}

/// Returns the user's folder within a Radicale storage, or the folder itself.
fn radicale_user(from: &Path, user: &str) -> Result<PathBuf, String> {
    let nested = from.join("collection-root");
    let root = match nested.is_dir() {
        true => nested,
        false if from.file_name().is_some_and(|name| name == "collection-root") => from.to_owned(),
        false => return Ok(from.to_owned()),
    };
    let own = root.join(user);
    if own.is_dir() {
        return Ok(own);
    }
    let users: Vec<String> = entries(&root)?
        .iter()
        .filter(|path| path.is_dir())
        .filter_map(|path| path.file_name().map(|name| name.to_string_lossy().into_owned()))
        .filter(|name| !name.starts_with('.'))
        .collect();
    Err(format!("{} has no user {user:?}, but {}; name the folder of one", root.display(), users.join(", ")))
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let told = |error: std::io::Error| format!("{}: {error}", folder.display());
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(told)? {
        found.push(entry.map_err(told)?.path());
    }
    found.sort();
    Ok(found)
}

type Collections = Vec<(NewCalendar, Vec<PathBuf>)>;

/// Collects Radicale collections, and .ics files that belong to none.
fn search(folder: &Path, collections: &mut Collections, loose: &mut Vec<PathBuf>) -> Result<(), String> {
    let mut files = Vec::new();
    for path in entries(folder)? {
        let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        if path.is_dir() && !hidden {
            search(&path, collections, loose)?;
        } else if path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("ics"))
            && !path.is_dir()
        {
            files.push(path);
        }
    }
    match radicale(folder)? {
        Found::Calendar(calendar) => collections.push((calendar, files)),
        Found::Other => {}
        Found::Nothing => loose.extend(files),
    }
    Ok(())
}

enum Found {
    Calendar(NewCalendar),
    /// An address book, or a principal.
    Other,
    Nothing,
}

/// Reads `.Radicale.props`.
fn radicale(folder: &Path) -> Result<Found, String> {
    let path = folder.join(".Radicale.props");
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Found::Nothing),
        Err(error) => return Err(format!("{}: {error}", path.display())),
    };
    let told = |error: serde_json::Error| format!("{}: {error}", path.display());
    let properties: BTreeMap<String, Value> = serde_json::from_str(&text).map_err(told)?;
    let text = |key: &str| properties.get(key).and_then(Value::as_str).map(str::to_owned);
    if text("tag").as_deref() != Some("VCALENDAR") {
        return Ok(if text("tag").is_some() { Found::Other } else { Found::Nothing });
    }
    let name = folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let components = text("C:supported-calendar-component-set").unwrap_or_default();
    Ok(Found::Calendar(NewCalendar {
        title: text("D:displayname"),
        color: text("ICAL:calendar-color"),
        description: text("C:calendar-description"),
        components: components
            .split(',')
            .map(str::trim)
            .filter(|c| !c.is_empty())
            .map(str::to_owned)
            .collect(),
        name,
    }))
}

impl Source {
    /// Reads the files and hands over every object: calendar, name, place, bytes. Returns what could not be read.
    pub(super) fn objects(
        &self,
        mut each: impl FnMut(String, String, String, Bytes),
    ) -> Vec<(String, String)> {
        let mut refused = Vec::new();
        for path in &self.files {
            let place = path.display().to_string();
            let bytes = match std::fs::read(path) {
                Ok(bytes) => Bytes::from(bytes),
                Err(error) => {
                    refused.push((place, error.to_string()));
                    continue;
                }
            };
            let objects = match split(bytes) {
                Ok(objects) => objects,
                Err(why) => {
                    refused.push((place, why));
                    continue;
                }
            };
            let whole = objects.len() == 1;
            for object in objects {
                let calendar = self.into.clone().unwrap_or_else(|| {
                    if object.component == "VTODO" { "tasks".into() } else { "calendar".into() }
                });
                let file = path.file_name().map(|name| name.to_string_lossy().into_owned());
                let name = file.filter(|_| whole).unwrap_or_else(|| name_of(&object));
                let place = if whole { place.clone() } else { format!("{place} (UID {})", object.uid) };
                each(calendar, name, place, object.bytes);
            }
        }
        refused
    }
}

/// Zones and components of a calendar object, each with its own bytes.
pub(super) struct Parts {
    /// VTIMEZONEs by TZID.
    pub(super) zones: Vec<(String, Bytes)>,
    /// The rest.
    pub(super) components: Vec<Bytes>,
}

/// Takes an object apart.
pub(super) fn parts(bytes: &Bytes) -> Result<Parts, String> {
    let ical = Ical::parse(bytes.clone()).map_err(|problem| problem.reason)?;
    let mut parts = Parts { zones: Vec::new(), components: Vec::new() };
    for component in ical.roots().flat_map(|root| root.components().collect::<Vec<_>>()) {
        let text = ical.bytes().slice(component.span());
        if component.name() == "VTIMEZONE" {
            parts.zones.push((zone_id(component), text));
        } else {
            parts.components.push(text);
        }
    }
    Ok(parts)
}

fn zone_id(zone: Component<'_>) -> String {
    zone.property("TZID").map(|id| id.text().trim().to_owned()).unwrap_or_default()
}

/// Splits a file into calendar objects; a file that is one already is not touched.
fn split(bytes: Bytes) -> Result<Vec<Object>, String> {
    let ical = Ical::parse(bytes).map_err(|problem| match problem.line {
        Some(line) => format!("line {line}: {}", problem.reason),
        None => problem.reason,
    })?;
    let objects = crate::ical::split(&ical, &|text| format!("{}@import", Etag::of(text)));
    if objects.is_empty() && !ical.roots().any(|root| root.name() == "VCALENDAR") {
        return Err("there is no calendar in it".into());
    }
    Ok(objects)
}

/// Returns a name made of the UID, if it can be one in any file system.
fn name_of(object: &Object) -> String {
    let plain = object.uid.len() <= 100
        && !object.uid.starts_with('.')
        && object.uid.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '@' | '+'));
    if plain { format!("{}.ics", object.uid) } else { format!("{}.ics", Etag::of(object.uid.as_bytes())) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use super::*;

    const FILE: &str = "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//x//y//EN\r\nMETHOD:PUBLISH\r\nX-WR-CALNAME:All\r\n\
        BEGIN:VTIMEZONE\r\nTZID:Here\r\nBEGIN:STANDARD\r\nDTSTART:19700101T000000\r\nTZOFFSETFROM:+0100\r\n\
        TZOFFSETTO:+0100\r\nEND:STANDARD\r\nEND:VTIMEZONE\r\n\
        BEGIN:VTIMEZONE\r\nTZID:There\r\nBEGIN:STANDARD\r\nDTSTART:19700101T000000\r\nTZOFFSETFROM:+0200\r\n\
        TZOFFSETTO:+0200\r\nEND:STANDARD\r\nEND:VTIMEZONE\r\n\
        BEGIN:VEVENT\r\nUID:one\r\nDTSTART;TZID=Here:20260101T100000\r\nRRULE:FREQ=DAILY\r\nX-odd ;a=\"b:c\":kept\r\nEND:VEVENT\r\n\
        BEGIN:VTODO\r\nUID:two\r\nSUMMARY:x\r\nEND:VTODO\r\n\
        BEGIN:VEVENT\r\nDTSTART:20260101T100000Z\r\nSUMMARY:no uid\r\nEND:VEVENT\r\n\
        BEGIN:VEVENT\r\nUID:one\r\nRECURRENCE-ID;TZID=Here:20260102T100000\r\nDTSTART;TZID=Here:20260102T120000\r\nEND:VEVENT\r\n\
        END:VCALENDAR\r\n";

    #[test]
    fn a_file_is_split_by_uid_and_components_keep_their_bytes() {
        let file = FILE.replace("X-odd ;", "X-ODD;");
        let objects = split(Bytes::from(file.clone())).unwrap();
        let shown: Vec<_> = objects.iter().map(|o| (o.uid.as_str(), o.component.as_str())).collect();
        assert_eq!(shown[..2], [("one", "VEVENT"), ("two", "VTODO")]);
        assert!(shown[2].0.ends_with("@import"));
        let one = std::str::from_utf8(&objects[0].bytes).unwrap();
        for (start, end) in [
            ("BEGIN:VEVENT\r\nUID:one\r\nDTSTART", "kept\r\nEND:VEVENT\r\n"),
            ("BEGIN:VTIMEZONE\r\nTZID:Here", "END:VTIMEZONE\r\n"),
        ] {
            let at = file.find(start).unwrap();
            let until = at + file[at..].find(end).unwrap() + end.len();
            assert!(one.contains(&file[at..until]), "{one}");
        }
        assert_eq!(one.matches("BEGIN:VEVENT").count(), 2);
        assert!(!one.contains("There") && !one.contains("METHOD") && !one.contains("X-WR-CALNAME"), "{one}");
        for object in &objects {
            crate::calendar::index_of(object.bytes.clone()).unwrap();
        }
        // The same file gives the same objects.
        assert_eq!(objects, split(Bytes::from(file)).unwrap());
    }

    #[test]
    fn a_file_that_is_one_object_is_not_touched() {
        let file = Bytes::from_static(
            b"BEGIN:VCALENDAR\nPRODID:x\nVERSION:2.0\nX-A:b\nBEGIN:VEVENT\nUID:1\nDTSTART:20260101T000000Z\nEND:VEVENT\nEND:VCALENDAR\n",
        );
        assert_eq!(split(file.clone()).unwrap()[0].bytes, file);
    }

    #[test]
    fn radicale_storage_becomes_calendars() {
        let place = tempfile::tempdir().unwrap();
        let root = place.path().join("collection-root").join("anna");
        for (name, properties) in [
            (
                "work",
                r##"{"tag":"VCALENDAR","D:displayname":"Work & more","ICAL:calendar-color":"#ff0000ff","C:supported-calendar-component-set":"VEVENT,VTODO"}"##,
            ),
            ("people", r#"{"tag":"VADDRESSBOOK"}"#),
        ] {
            let folder = root.join(name);
            std::fs::create_dir_all(folder.join(".Radicale.cache")).unwrap();
            std::fs::write(folder.join(".Radicale.props"), properties).unwrap();
            std::fs::write(folder.join("a.ics"), "").unwrap();
        }
        let sources = sources(place.path(), "anna", None).unwrap();
        assert_eq!(sources.len(), 1);
        let made = sources[0].make.clone().unwrap();
        assert_eq!((made.name.as_str(), made.title.as_deref()), ("work", Some("Work & more")));
        assert_eq!(made.components, ["VEVENT", "VTODO"]);
        let other = super::sources(place.path(), "bert", None).unwrap_err();
        assert!(other.contains("anna"), "{other}");
    }
}

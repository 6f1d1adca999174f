//! `docs/properties.md`, written from the tables: `RECORD=1 cargo test --lib docs_properties` writes it anew.

use std::fmt::Write;

use super::property::{Set, table};
use super::resource::Kinds;
use super::{method, report};
use crate::xml::{APPLE, CALDAV, CALENDARSERVER, DAV, Name};

const KINDS: [(&str, Kinds); 7] = [
    ("place", Kinds::PLACE),
    ("principal", Kinds::PRINCIPAL),
    ("home", Kinds::HOME),
    ("calendar", Kinds::CALENDAR),
    ("event, task", Kinds::OBJECT),
    ("folder", Kinds::FILES),
    ("file", Kinds::FILE),
];

fn qualified(name: &Name) -> String {
    let prefix = match &*name.ns {
        DAV => "D",
        CALDAV => "C",
        CALENDARSERVER => "CS",
        APPLE => "A",
        other => panic!("{other} has no prefix"),
    };
    format!("`{prefix}:{}`", name.local)
}

fn marks(on: Kinds) -> String {
    KINDS.iter().map(|(_, kind)| if on.has(*kind) { " ✓ |" } else { " |" }).collect()
}

fn page() -> String {
    let mut out = String::from(
        "# Methods, reports and properties\n\n\
         Written from the tables in `src/dav`; a test compares. Prefixes: `D` is `DAV:`, `C` is \
         `urn:ietf:params:xml:ns:caldav`, `CS` is `http://calendarserver.org/ns/`, `A` is `http://apple.com/ns/ical/`. \
         A *place* only leads on: `/`, `/dav/`, `/dav/principals/`, `/dav/calendars/`, `/dav/files/`. What is not in the \
         table of properties is a dead property (RFC 4918 §4.1): clients may set it on anything but places and \
         principals, and it comes back as it was sent, attributes and `xml:lang` included.\n",
    );
    let heads: String = KINDS.iter().map(|(name, _)| format!(" {name} |")).collect();
    let line = "---|".repeat(KINDS.len());
    let _ = write!(out, "\n## Methods\n\n| method |{heads}\n|---|{line}\n");
    for (name, on) in method::METHODS {
        let _ = writeln!(out, "| {name} |{}", marks(*on));
    }
    out.push_str("\nWhere nothing is yet: PUT, MKCOL, MKCALENDAR, LOCK.\n");
    let mut reports: Vec<(&Name, Kinds)> = Vec::new();
    for (_, kind) in KINDS {
        for name in report::supported(kind) {
            match reports.iter_mut().find(|(known, _)| *known == name) {
                Some((_, on)) => *on = on.or(kind),
                None => reports.push((name, kind)),
            }
        }
    }
    reports.sort_by_key(|(name, _)| *name);
    let _ = write!(out, "\n## Reports\n\n| report |{heads}\n|---|{line}\n");
    for (name, on) in reports {
        let _ = writeln!(out, "| {} |{}", qualified(name), marks(on));
    }
    let _ = write!(
        out,
        "\n## Live properties\n\n| property |{heads} in `allprop` | set by |\n|---|{line}---|---|\n"
    );
    let mut all: Vec<_> = table().collect();
    all.sort_by_key(|p| &p.name);
    for property in all {
        let set = match property.set {
            Set::Protected => "the server",
            Set::Stored(_) | Set::Instead(..) => "clients",
            Set::AtCreation(_) => "whoever makes it",
        };
        let allprop = if property.allprop { " ✓" } else { "" };
        let _ = writeln!(out, "| {} |{}{allprop} | {set} |", qualified(&property.name), marks(property.on));
    }
    out
}

#[test]
fn docs_properties_is_as_the_tables_are() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/properties.md");
    let page = page();
    if std::env::var_os("RECORD").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(written == page, "docs/properties.md is out of date: RECORD=1 cargo test --lib docs_properties");
}

//! The law of the text layer (style: raw bytes are the truth), over our own fixtures, generated text and, where it
//! is there, a corpus of real files: reading never changes a byte, an edit changes only the lines that it names.

use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use kalends::ical::{Ical, check, fold, merge, value};
use proptest::prelude::*;

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        if path.is_dir() {
            files(&path, found);
        } else if path.extension().is_some_and(|e| e == "ics" || e == "ifb") {
            found.push(path);
        }
    }
}

/// A folder of further material beside the checkout; tests use it in addition where it is there.
fn shared() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared");
    let folder = std::env::var_os("KALENDS_SHARED").map_or(beside, PathBuf::from);
    folder.is_dir().then_some(folder)
}

fn fixtures() -> Vec<(PathBuf, Bytes)> {
    let mut found = Vec::new();
    files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("webdav-tests/ics"), &mut found);
    assert!(found.len() >= 20, "the fixtures are missing");
    found.sort();
    found.into_iter().map(|path| (path.clone(), Bytes::from(fs::read(path).unwrap()))).collect()
}

fn corpus() -> Vec<(PathBuf, Bytes)> {
    let mut found = Vec::new();
    if let Some(shared) = shared() {
        files(&shared.join("corpus"), &mut found);
    }
    found.into_iter().map(|path| (path.clone(), Bytes::from(fs::read(path).unwrap()))).collect()
}

/// Reads; checks that bytes stay, and that replacing, removing and inserting touch nothing else.
fn law(name: &str, bytes: &Bytes) -> bool {
    let Ok(ical) = Ical::parse(bytes.clone()) else { return false };
    assert_eq!(ical.bytes(), bytes, "{name}");
    let mut edits = 0;
    for root in ical.roots() {
        let mut waiting = vec![root];
        while let Some(component) = waiting.pop() {
            waiting.extend(component.components());
            let properties: Vec<_> = component.properties().collect();
            // Of a long component a sample: each edit copies the text.
            for property in properties.iter().copied().step_by(properties.len() / 20 + 1) {
                edits += 1;
                if edits > 400 {
                    break;
                }
                let span = property.span();
                let edited = ical.edit().replace(property, "X-NEW:1").finish();
                let (before, after) = (&bytes[..span.start], &bytes[span.end..]);
                assert!(edited.starts_with(before) && edited.ends_with(after), "{name}: {}", property.name());
                let middle = &edited[before.len()..edited.len() - after.len()];
                assert!(matches!(middle, b"X-NEW:1\r\n" | b"X-NEW:1\n"), "{name}: {middle:?}");
                let removed = ical.edit().remove(property).finish();
                assert_eq!(removed, [before, after].concat(), "{name}");
                let _ =
                    (property.raw(), property.text(), property.parameters(), value::date_times(&property));
            }
            if edits > 400 {
                continue;
            }
            let inserted = ical.edit().insert(component, "X-NEW:2").finish();
            let again = Ical::parse(inserted.clone()).unwrap_or_else(|problem| panic!("{name}: {problem}"));
            assert_eq!(
                inserted.len() - bytes.len(),
                if inserted.windows(9).any(|w| w == b"X-NEW:2\r\n") { 9 } else { 8 }
            );
            drop(again);
        }
    }
    let nothing = ical.edit().finish();
    assert_eq!(nothing, *bytes, "{name}");
    assert_eq!(*merge::merge(&ical, &ical, &ical).bytes(), *bytes, "{name}");
    assert!(merge::equal(&ical, &ical), "{name}");
    true
}

#[test]
fn fixtures_stay_as_they_are() {
    // S0-025
    for (path, bytes) in fixtures() {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        assert!(law(&name, &bytes), "{name} is not read: {:?}", Ical::parse(bytes.clone()).map(|_| ()));
        let checked = check::calendar_object(bytes);
        assert!(checked.is_ok(), "{name} is not storable: {}", checked.map(|_| ()).unwrap_err());
    }
}

#[test]
fn real_files_stay_as_they_are() {
    let files = corpus();
    let read = files.iter().filter(|(path, bytes)| law(&path.to_string_lossy(), bytes)).count();
    println!("{read} of {} corpus files are read", files.len());
    assert!(files.is_empty() || read * 100 >= files.len() * 90, "only {read} of {} are read", files.len());
    for (path, bytes) in &files {
        if let Ok(checked) = check::calendar_object(bytes.clone()) {
            assert!(!checked.uid.is_empty() && !checked.component.is_empty(), "{}", path.display());
        }
    }
}

#[test]
fn quirks_of_values() {
    let find = |name: &str| fixtures().into_iter().find(|(path, _)| path.ends_with(name)).unwrap().1;
    let property = |name: &str, of: &str| {
        let ical = Ical::parse(find(name)).unwrap();
        let event = ical.calendar().unwrap().components().find(|c| c.name() != "VTIMEZONE").unwrap();
        let property = event.property(of).unwrap();
        (property.text(), property.parameters())
    };
    assert_eq!(property("split-character.ics", "SUMMARY").0, "café and 📅 folded inside");
    assert_eq!(
        property("lower-case.ics", "SUMMARY"),
        ("klein".into(), vec![("LANGUAGE".into(), vec!["de".into()])])
    );
    assert_eq!(property("journal.ics", "DESCRIPTION").0, "one\ntwo, three; four\\ five");
    let (_, parameters) = property("quoted-parameters.ics", "ATTENDEE");
    assert_eq!(parameters[0], ("CN".into(), vec!["Doe; Jane: 'the, one'".into()]));
    assert_eq!(parameters[1].1, ["mailto:a@example.org", "mailto:b@example.org"]);
    // RFC 6868
    let (_, parameters) = property("apple.ics", "X-APPLE-STRUCTURED-LOCATION");
    assert_eq!(parameters[2], ("X-TITLE".into(), vec!["Caf\n\"x\"".into()]));
}

/// A small generator with a fixed seed: the same bytes on every machine.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % sides as u64).unwrap()
    }
}

#[test]
fn damaged_text_never_panics() {
    let mut dice = Dice(0x9E37_79B9_7F4A_7C15);
    let seeds: Vec<Bytes> = fixtures().into_iter().map(|(_, bytes)| bytes).collect();
    let pieces: [&[u8]; 12] = [
        b"BEGIN:",
        b"END:VEVENT\r\n",
        b"\r\n ",
        b"\n\t",
        b":",
        b";",
        b"\"",
        b"=",
        b",",
        b"\xff",
        b"\0",
        b"\\",
    ];
    let (mut read, mut refused) = (0, 0);
    for _ in 0..8_000 {
        let mut bytes = seeds[dice.roll(seeds.len())].to_vec();
        for _ in 0..=dice.roll(6) {
            let at = dice.roll(bytes.len().max(1));
            match dice.roll(4) {
                0 => bytes.truncate(at),
                1 => drop(bytes.splice(at..at, pieces[dice.roll(pieces.len())].iter().copied())),
                2 if at < bytes.len() => bytes[at] = dice.roll(256) as u8,
                _ => drop(bytes.drain(at..(at + dice.roll(20)).min(bytes.len()))),
            }
        }
        let bytes = Bytes::from(bytes);
        if law("damaged", &bytes) {
            read += 1
        } else {
            refused += 1
        }
        let _ = check::calendar_object(bytes);
    }
    assert!(read > 500 && refused > 500, "{read} read, {refused} refused");
}

#[test]
fn bombs_of_text_are_refused_in_bounded_time() {
    let deep = "BEGIN:X\r\n".repeat(2000);
    assert!(Ical::parse(deep.into_bytes()).is_err());
    let long = vec![b'A'; 11 << 20];
    assert!(Ical::parse(long).is_err());
    let many = "\r\n".repeat(1 << 20);
    assert!(Ical::parse(many.into_bytes()).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn text_survives_folding_and_escaping(text in "\\PC{0,300}", line_feed in any::<bool>()) {
        let mut lines = String::from("BEGIN:VCALENDAR\r\n");
        fold(&format!("X-T;X-P=\"a:b\":{}", value::escape(&text)), &mut lines);
        lines.push_str("END:VCALENDAR\r\n");
        prop_assert!(lines.lines().all(|line| line.len() <= 75));
        if line_feed {
            lines = lines.replace("\r\n", "\n");
        }
        let ical = Ical::parse(lines.into_bytes()).unwrap();
        let property = ical.calendar().unwrap().property("X-T").unwrap();
        prop_assert_eq!(property.text(), text);
        prop_assert_eq!(property.parameter("X-P"), Some("a:b".to_owned()));
    }

    #[test]
    fn folds_anywhere_are_mended(text in "[ -~é📅]{1,120}", cuts in prop::collection::vec(0usize..200, 0..6)) {
        // also inside a character.
        let mut bytes = format!("X-T:{text}").into_bytes();
        let mut cuts: Vec<usize> = cuts.into_iter().filter(|cut| *cut > 0 && *cut < bytes.len()).collect();
        cuts.sort_unstable();
        cuts.dedup();
        for cut in cuts.into_iter().rev() {
            bytes.splice(cut..cut, *b"\r\n ");
        }
        let all = [b"BEGIN:VCALENDAR\r\n".as_slice(), &bytes, b"\r\nEND:VCALENDAR\r\n"].concat();
        let ical = Ical::parse(all).unwrap();
        let property = ical.calendar().unwrap().property("X-T").unwrap();
        prop_assert_eq!(property.raw().into_owned(), text);
    }

    #[test]
    fn no_line_can_be_smuggled_in(text in "(?s).{0,80}") {
        let ical = Ical::parse("BEGIN:VCALENDAR\r\nX-A:1\r\nEND:VCALENDAR\r\n".as_bytes().to_vec()).unwrap();
        let property = ical.calendar().unwrap().property("X-A").unwrap();
        let edited = ical.edit().replace(property, &format!("X-A:{text}")).finish();
        if let Ok(edited) = Ical::parse(edited) {
            prop_assert_eq!(edited.calendar().unwrap().properties().count(), 1);
        }
    }
}

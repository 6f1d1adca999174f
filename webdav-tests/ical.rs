//! The law of the text layer (style: raw bytes are the truth), over our own fixtures, generated text and, where it
//! is there, a corpus of real files: reading never changes a byte, an edit changes only the lines that it names.

use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use kalends::ical::{Ical, ProblemKind, check, expand, fold, merge, quote_parameter, value};
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
    // Q-19, Q-26, S0-025
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
    let (mut read, mut refused) = (0, 0);
    for _ in 0..8_000 {
        let bytes = damaged(&seeds[dice.roll(seeds.len())], 6, &mut dice);
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
fn damaged_objects_merge_to_objects() {
    // S3-076: whatever the two sides hold, the merge of two objects is one.
    let mut dice = Dice(0xD1B5_4A32_D192_ED03);
    let seeds: Vec<Bytes> = fixtures().into_iter().map(|(_, bytes)| bytes).collect();
    let mut merged = 0;
    for _ in 0..6_000 {
        let base = &seeds[dice.roll(seeds.len())];
        let sides = [0, 1].map(|_| check::calendar_object(damaged(base, 2, &mut dice)));
        let (Ok(base), [Ok(ours), Ok(theirs)]) = (check::calendar_object(base.clone()), sides) else {
            continue;
        };
        let got = merge::merge(&base.ical, &ours.ical, &theirs.ical);
        let again = Ical::parse(got.bytes().clone());
        let again = again.unwrap_or_else(|problem| panic!("{problem}: {}", expand::utf8(got.bytes())));
        assert_eq!(merge::merge(&theirs.ical, &again, &theirs.ical).bytes(), got.bytes());
        merged += 1;
    }
    assert!(merged > 300, "{merged}");
}

/// Damages a text in at most so many places.
fn damaged(seed: &Bytes, most: usize, dice: &mut Dice) -> Bytes {
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
    let mut bytes = seed.to_vec();
    for _ in 0..=dice.roll(most) {
        let at = dice.roll(bytes.len().max(1));
        match dice.roll(4) {
            0 if dice.roll(4) == 0 => bytes.truncate(at),
            1 => drop(bytes.splice(at..at, pieces[dice.roll(pieces.len())].iter().copied())),
            2 if at < bytes.len() => bytes[at] = dice.roll(256) as u8,
            _ => drop(bytes.drain(at..(at + dice.roll(20)).min(bytes.len()))),
        }
    }
    Bytes::from(bytes)
}

#[test]
fn bombs_of_text_cost_little() {
    let begun = std::time::Instant::now();
    for bomb in [
        "BEGIN:X\r\n".repeat(2000),
        "A".repeat(11 << 20),
        format!("X:{}", "a".repeat(1 << 20)),
        "X:1\n".repeat(100_001),
        ":\n".repeat(1 << 20),
        "=\n".repeat(1 << 20),
        format!("X;ENCODING=QUOTED-PRINTABLE:{}", "=\n".repeat(1 << 20)),
        "\"".repeat(1 << 20),
    ] {
        let whole = format!("BEGIN:VCALENDAR\r\n{bomb}\r\nEND:VCALENDAR\r\n");
        assert!(Ical::parse(whole.into_bytes()).is_err(), "{}", &bomb[..20]);
    }
    // Odd, but within the limits: read without going over it again and again.
    for odd in ["\r\n".repeat(1 << 20), "\r".repeat(1 << 20), format!("X:{}", "\n ".repeat(400_000))] {
        let whole = format!("BEGIN:VCALENDAR\r\n{odd}\r\nEND:VCALENDAR\r\n");
        assert!(Ical::parse(whole.into_bytes()).is_ok(), "{:?}", &odd[..6]);
    }
    assert!(begun.elapsed().as_secs() < 20, "{:?}", begun.elapsed());
}

#[test]
fn limits_hold_to_the_byte() {
    let whole = |line: &str| Ical::parse(format!("BEGIN:VCALENDAR\n{line}\nEND:VCALENDAR\n"));
    assert!(whole(&format!("X:{}", "a".repeat((1 << 20) - 2))).is_ok());
    let problem = whole(&format!("X:{}", "a".repeat((1 << 20) - 1))).unwrap_err();
    assert_eq!((problem.kind, problem.line), (ProblemKind::Limit, Some(2)));
    assert!(whole(&"X:1\n".repeat(99_998)).is_ok());
    assert_eq!(whole(&"X:1\n".repeat(99_999)).unwrap_err().kind, ProblemKind::Limit);
    let nested =
        |deep: usize| whole(&format!("{}{}", "BEGIN:X-A\n".repeat(deep - 1), "END:X-A\n".repeat(deep - 1)));
    assert!(nested(16).is_ok());
    let problem = nested(17).unwrap_err();
    assert_eq!((problem.kind, problem.line), (ProblemKind::Limit, Some(17)));
}

#[test]
fn a_large_attachment_is_carried() {
    // 300 KB inline, as Apple Mail and Outlook write it.
    let data: String = "QUJD".chars().cycle().take(400_000).collect();
    let mut text = String::from("BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\nUID:a\r\nDTSTART:20260101T100000Z\r\n");
    fold(&format!("ATTACH;VALUE=BINARY;ENCODING=BASE64;FMTTYPE=image/png:{data}"), &mut text);
    text.push_str("SUMMARY:With a picture\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n");
    let bytes = Bytes::from(text);
    let ical = check::calendar_object(bytes.clone()).unwrap().ical;
    let event = ical.calendar().unwrap().components().next().unwrap();
    assert_eq!(event.property("ATTACH").unwrap().raw(), data);
    let summary = event.property("SUMMARY").unwrap();
    assert_eq!(summary.line(), 5 + (data.len() + 53).div_ceil(74));
    let edited = ical.edit().replace(summary, "SUMMARY:Moved").finish();
    assert_eq!(edited.len(), bytes.len() - "With a picture".len() + "Moved".len());
    assert!(law("attachment", &bytes));
}

/// What is refused, with the line and a word that the sentence holds.
#[test]
fn refusals_name_the_line() {
    let event = "BEGIN:VEVENT\nUID:a\nDTSTART:20260101T100000Z\nEND:VEVENT\n";
    let deep = "BEGIN:X-A\n".repeat(16);
    let long = "x".repeat(5_000);
    for (inside, kind, line, word) in [
        ("SUMMARY:a\nand on it goes\n".to_owned(), ProblemKind::Data, 3, "and on it goes"),
        ("SUMMARY:a\nat 10:30 we meet\n".to_owned(), ProblemKind::Data, 3, "at 10"),
        (":no name\n".to_owned(), ProblemKind::Data, 2, "name"),
        ("Grüße:x\n".to_owned(), ProblemKind::Data, 2, "Grüße"),
        ("BEGIN:\n".to_owned(), ProblemKind::Data, 2, "no component"),
        ("BEGIN:A B\nEND:A B\n".to_owned(), ProblemKind::Data, 2, "A B"),
        ("BEGIN:VEVENT\nUID:a\nEND:VTODO\n".to_owned(), ProblemKind::Data, 4, "END:VEVENT is due"),
        (format!("BEGIN:VEVENT\nEND:{long}\n"), ProblemKind::Data, 3, "…"),
        (deep, ProblemKind::Limit, 17, "16"),
        (format!("{event}METHOD:REQUEST\n"), ProblemKind::Object, 6, "METHOD"),
        (format!("CALSCALE:CHINESE\n{event}"), ProblemKind::Data, 2, "CHINESE"),
        (format!("{event}{}", event.replace("UID:a", "UID:b")), ProblemKind::Object, 6, "UID"),
        (format!("{event}{}", event.replace("VEVENT", "VTODO")), ProblemKind::Object, 6, "VTODO"),
        (event.replace("UID:a", "UID:a\nUID:b"), ProblemKind::Object, 4, "two UIDs"),
        (event.replace("UID:a\n", ""), ProblemKind::Object, 2, "no UID"),
        (event.replace("DTSTART:20260101T100000Z\n", ""), ProblemKind::Data, 2, "DTSTART"),
        (event.repeat(2), ProblemKind::Object, 6, "RECURRENCE-ID"),
        ("BEGIN:VTIMEZONE\nTZID:x\nEND:VTIMEZONE\n".to_owned(), ProblemKind::Object, 1, "no event"),
        (format!("{event}X-A:\u{0}\n"), ProblemKind::Data, 6, "NUL"),
    ] {
        let text = format!("BEGIN:VCALENDAR\n{inside}END:VCALENDAR\n");
        let problem = check::calendar_object(Bytes::from(text)).map(|checked| checked.uid).unwrap_err();
        assert_eq!((problem.kind, problem.line), (kind, Some(line)), "{inside:.60}: {}", problem.reason);
        assert!(problem.reason.contains(word), "{inside:.60}: {}", problem.reason);
        assert!(problem.reason.len() < 300 && !problem.reason.contains('\n'), "{}", problem.reason);
    }
    for (text, line, word) in [
        ("", None, "no VCALENDAR"),
        ("BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\nUID:a\r\n", Some(3), "begun at line 2"),
        ("BEGIN:VCALENDAR\nEND:VCALENDAR\nX-MORE:1\n", Some(3), "outside"),
        ("END:VCALENDAR\n", Some(1), "not begun"),
        ("BEGIN:VCALENDAR\nEND:VCALENDAR\nBEGIN:VCALENDAR\nEND:VCALENDAR\n", Some(3), "second"),
        ("BEGIN:VCARD\nEND:VCARD\n", Some(1), "VCARD"),
    ] {
        let problem = check::calendar_object(Bytes::from(text)).map(|checked| checked.uid).unwrap_err();
        assert_eq!(problem.line, line, "{text:?}");
        assert!(problem.reason.contains(word), "{text:?}: {}", problem.reason);
    }
    let latin = b"BEGIN:VCALENDAR\r\nX-A:1\r\nX-B:caf\xe9\r\nEND:VCALENDAR\r\n".to_vec();
    let problem = Ical::parse(latin).unwrap_err();
    assert_eq!((problem.kind, problem.line), (ProblemKind::Data, Some(3)));
}

#[test]
fn odd_lines_are_mended() {
    // Q-26
    let summary = |name: &str, property: &str| {
        let (_, bytes) = fixtures().into_iter().find(|(path, _)| path.ends_with(name)).unwrap();
        let ical = Ical::parse(bytes).unwrap();
        let event = ical.calendar().unwrap().components().next().unwrap();
        event.property(property).unwrap().text()
    };
    assert_eq!(summary("doubled-returns.ics", "SUMMARY"), "Two returns before each feed");
    assert_eq!(summary("doubled-returns.ics", "DESCRIPTION"), "folded and mended");
    assert_eq!(summary("blank-line-in-fold.ics", "DESCRIPTION"), "a fold with a blank line in it");
    assert_eq!(summary("quoted-printable.ics", "SUMMARY"), "Café at the corner=");
    assert_eq!(summary("quoted-printable.ics", "LOCATION"), "Here=");
    assert_eq!(summary("control-characters.ics", "SUMMARY"), "bell \u{7} tab \t escape \u{1b} end");
    assert_eq!(summary("lone-quote.ics", "SUMMARY"), "The quote never ends");
    assert_eq!(summary("mixed-breaks.ics", "SUMMARY"), "tabfold and blank");
    // Texts get concatenated, each with its mark; backslashes before anything else stand for themselves.
    let two = "\u{feff}BEGIN:VCALENDAR\nX:C:\\temp\\\\\\,x\nEND:VCALENDAR\n".repeat(2);
    let ical = Ical::parse(two.into_bytes()).unwrap();
    let texts: Vec<String> = ical.roots().map(|root| root.property("X").unwrap().text()).collect();
    assert_eq!(texts, ["C:\\temp\\,x", "C:\\temp\\,x"]);
}

#[test]
fn a_fold_within_a_character_is_undone_for_xml() {
    // Q-26: XML and JSON carry characters only.
    for (written, want) in [
        ("a\u{e9}b".as_bytes().to_vec(), "aéb"),
        (b"a\xc3\r\n \xa9b\r\n c".to_vec(), "aéb\r\n c"),
        (b"a\xf0\x9f\n\t\x93\n \x85b".to_vec(), "a📅b"),
        (b"a\xc3\r\r\n \xa9b".to_vec(), "aéb"),
        (b"a\xc3\r\n\r\n \xa9b".to_vec(), "aéb"),
    ] {
        let bytes = [b"BEGIN:VCALENDAR\r\nX:".as_slice(), &written, b"\r\nEND:VCALENDAR\r\n"].concat();
        assert_eq!(expand::utf8(&bytes), format!("BEGIN:VCALENDAR\r\nX:{want}\r\nEND:VCALENDAR\r\n"));
        let ical = Ical::parse(bytes).unwrap();
        let raw = ical.calendar().unwrap().property("X").unwrap().raw().into_owned();
        assert_eq!(raw, want.replace("\r\n ", ""));
    }
}

#[test]
fn edits_of_one_place_do_not_pile_up() {
    let text = "BEGIN:VCALENDAR\nX-A:1\nBEGIN:VEVENT\nX-B:2\nBEGIN:VALARM\nX-C:3\nEND:VALARM\nEND:VEVENT\n\
                END:VCALENDAR";
    let ical = Ical::parse(text).unwrap();
    let calendar = ical.calendar().unwrap();
    let event = calendar.components().next().unwrap();
    let alarm = event.components().next().unwrap();
    let (a, b) = (calendar.property("X-A").unwrap(), event.property("X-B").unwrap());
    let same = |edited: Bytes, want: &str| assert_eq!(std::str::from_utf8(&edited).unwrap(), want);
    same(ical.edit().replace(a, "X-A:2").replace(a, "X-A:3").finish(), &text.replace("X-A:1", "X-A:3"));
    same(ical.edit().replace(a, "X-A:2").remove(a).finish(), &text.replace("X-A:1\n", ""));
    // What is said about the inside of something removed goes with it, in either order.
    let without = "BEGIN:VCALENDAR\nX-A:1\nEND:VCALENDAR";
    same(ical.edit().replace(b, "X-B:9").insert(event, "X-D:1").remove_component(event).finish(), without);
    same(
        ical.edit().remove_component(event).remove(b).append_component(alarm, "BEGIN:X\nEND:X").finish(),
        without,
    );
    // Insertions keep their order, before the first child, in the break of the text, also where none ends it.
    let want = text.replace("X-B:2\n", "X-B:2\nX-D:1\nX-E:2\n");
    same(ical.edit().insert(event, "X-D:1").insert(event, "X-E:2").finish(), &want);
    let want = text.replace("END:VCALENDAR", "BEGIN:X-N\nX-F:1\nEND:X-N\nEND:VCALENDAR");
    same(ical.edit().append_component(calendar, "BEGIN:X-N\r\nX-F:1\r\nEND:X-N").finish(), &want);
    // What is no whole component would break the object.
    for broken in ["END:VCALENDAR", "X-F:1", "BEGIN:X-N\nEND:X-N\nX-G:1", "BEGIN:X-N"] {
        same(
            ical.edit().append_component(calendar, broken).prepend_component(calendar, broken).finish(),
            text,
        );
    }
}

#[test]
fn values_are_read_or_not() {
    let civil = |text: &str| value::Civil::parse(text).map(value::Civil::to_basic);
    for (text, want) in [
        ("20260101", Some("20260101T000000")),
        (" 20260101T101112Z ", Some("20260101T101112")),
        ("20260101t1011z", Some("20260101T101100")),
        ("20261231T240000", Some("20270101T000000")),
        ("20160630T235960Z", Some("20160630T235959")),
        ("20240229", Some("20240229T000000")),
        ("20260229", None),
        ("20261301", None),
        ("20260100", None),
        ("20260101T250000", None),
        ("20260101T", None),
        ("2026-01-01", None),
        ("2026010é", None),
        ("", None),
    ] {
        assert_eq!(civil(text).as_deref(), want, "{text}");
    }
    let duration = |text: &str| value::Duration::parse(text).map(|d| (d.days, d.seconds));
    for (text, want) in [
        ("P15DT5H0M20S", Some((15, 18_020))),
        ("-PT15M", Some((0, -900))),
        ("+p1w", Some((7, 0))),
        ("P1W2D", Some((9, 0))),
        ("PT0S", Some((0, 0))),
        ("P", None),
        ("PT", None),
        ("P1", None),
        ("PT1D", None),
        ("P1H", None),
        ("1D", None),
        ("P99999999999999999999D", None),
        ("P3660001D", None),
    ] {
        assert_eq!(duration(text), want, "{text}");
    }
    assert_eq!(duration(&format!("P{}", "3000000D".repeat(100_000))), None, "sums stay sums");
    let moment = |line: &str| {
        let ical = Ical::parse(format!("BEGIN:VCALENDAR\n{line}\nEND:VCALENDAR\n")).unwrap();
        let property = ical.calendar().unwrap().properties().next().unwrap();
        value::date_time(&property)
    };
    use value::DateTime;
    let noon = value::Civil::parse("20260101T120000").unwrap();
    assert_eq!(moment("DTSTART:20260101T120000"), Some(DateTime::Floating(noon)));
    assert_eq!(moment("DTSTART;TZID=Europe/Berlin:20260101T120000Z"), Some(DateTime::Utc(noon)));
    // Q-17
    assert_eq!(moment("DTSTART;TZID=\" X \":20260101T120000"), Some(DateTime::Zoned(noon, "X".into())));
    assert_eq!(moment("DTSTART;TZID=:20260101T120000"), Some(DateTime::Floating(noon)));
    // Declared as a day, with a time of day nevertheless; and the other way round.
    assert_eq!(moment("DTSTART;VALUE=date:20260101T120000"), Some(DateTime::Date(noon.midnight())));
    assert_eq!(moment("DTSTART;TZID=X:20260101"), Some(DateTime::Date(noon.midnight())));
    assert_eq!(moment("DTSTART:tomorrow"), None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn text_survives_folding_and_escaping(text in "\\PC{0,300}", line_feed in any::<bool>()) {
        let mut lines = String::from("BEGIN:VCALENDAR\r\n");
        fold(&format!("X-T;X-P=\"a:b\":{}", value::escape(&text)), &mut lines);
        lines.push_str("END:VCALENDAR\r\n");
        prop_assert!(lines.lines().all(|line| line.len() <= 75));
        prop_assert!(lines.ends_with("\r\n"));
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
        // Q-26: also inside a character.
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
    fn no_line_can_be_smuggled_in(text in "(?s).{0,80}", end in "(\r\n|\n|\r|\u{85}|\u{2028})END:VCALENDAR") {
        let ical = Ical::parse("BEGIN:VCALENDAR\r\nX-A:1\r\nEND:VCALENDAR\r\n".as_bytes().to_vec()).unwrap();
        let property = ical.calendar().unwrap().property("X-A").unwrap();
        let edited = ical.edit().replace(property, &format!("X-A:{text}{end}")).finish();
        let edited = Ical::parse(edited).unwrap();
        prop_assert_eq!(edited.roots().count(), 1);
        prop_assert_eq!(edited.calendar().unwrap().properties().count(), 1);
    }

    #[test]
    fn parameters_survive_quoting(text in "\\PC{0,40}", more in "[\\n;:,\"^' a-z]{0,20}") {
        // RFC 6868
        let value = format!("{text}{more}").trim().to_owned();
        let line = format!("X-A;P={};Q=1:v", quote_parameter(&value));
        let mut out = String::from("BEGIN:VCALENDAR\r\n");
        fold(&line, &mut out);
        out.push_str("END:VCALENDAR\r\n");
        let ical = Ical::parse(out).unwrap();
        let property = ical.calendar().unwrap().property("X-A").unwrap();
        prop_assert_eq!(property.parameter("P"), Some(value));
        prop_assert_eq!(property.parameter("Q"), Some("1".to_owned()));
        prop_assert_eq!(property.raw(), "v");
    }

    #[test]
    fn days_and_dates_agree(days in -800_000i64..3_000_000) {
        let (year, month, day) = value::civil_from_days(days);
        prop_assert_eq!(value::days_from_civil(year, month, day), days);
        prop_assert!((1..=12).contains(&month) && day >= 1 && day <= value::days_in_month(year, month));
        let next = value::civil_from_days(days + 1);
        prop_assert!(next > (year, month, day));
    }

    #[test]
    fn no_value_panics(text in "[-+P0-9TZWDHMS/,.:;]{0,40}") {
        let _ = (value::Civil::parse(&text), value::Duration::parse(&text), value::utc_offset(&text));
        let ical = Ical::parse(format!("BEGIN:VCALENDAR\nX;TZID=a:{text}\nEND:VCALENDAR\n")).unwrap();
        let property = ical.calendar().unwrap().property("X").unwrap();
        let (found, bad) = value::date_times(&property);
        let written = text.split(',').filter(|part| !part.trim().is_empty()).count();
        prop_assert_eq!(found.len() + bad, written);
    }
}

//! Generated objects: what recurring-ical-events yields was written down by `series.py`; where a Python with it is at hand
//! (`KALENDS_PYTHON`), it is asked again with another seed.

use std::process::Command;

use kalends::ical::Ical;
use kalends::ical::busy::utc_text;
use kalends::ical::series::{Instance, Series, TimeRange, Written};
use kalends::ical::value::Civil;
use kalends::ical::zone::Zone;

const WRITTEN: &str = include_str!("series.txt");

fn shown(instance: &Instance) -> String {
    match (instance.starts, instance.ends) {
        (Written::Date(a), Written::Date(b)) => format!("{}/{}", a.to_date(), b.to_date()),
        _ => format!("{}/{}", utc_text(instance.start), utc_text(instance.end)),
    }
}

fn same(theirs: &str, ours: &str) -> bool {
    match theirs.strip_suffix('*') {
        Some(start) => ours.starts_with(start),
        None => theirs == ours,
    }
}

fn compare(text: &str) -> usize {
    let mut wrong = Vec::new();
    let mut cases = 0;
    for case in text.split("? ").filter(|case| !case.is_empty()) {
        let (head, rest) = case.split_once('\n').unwrap();
        let (body, expected) = rest.split_once("\n=").unwrap();
        let (from, to) = head.split_once(' ').unwrap();
        let at = |text: &str| Civil::parse(text.trim_end_matches('Z')).map(|civil| civil.0);
        let range = TimeRange::new(at(from), at(to));
        let text = format!("BEGIN:VCALENDAR\r\n{}\r\nEND:VCALENDAR\r\n", body.replace('\n', "\r\n"));
        let series = Series::of(&Ical::parse(text).unwrap());
        let found = series.instances(range, &Zone::Utc, 10_000);
        let mut ours: Vec<String> = found.list.iter().map(shown).collect();
        ours.sort();
        let theirs: Vec<&str> = expected.split_whitespace().collect();
        cases += 1;
        let agree = ours.len() == theirs.len() && theirs.iter().zip(&ours).all(|(a, b)| same(a, b));
        if !agree || series.overlaps(range, &Zone::Utc) == theirs.is_empty() || series.note().is_some() {
            wrong.push(format!("{case}ours {ours:?} {:?}\n", series.note()));
        }
        if let (Some(extent), false) = (series.span(), theirs.is_empty()) {
            assert!(
                extent.start < range.end && extent.end.is_none_or(|end| end > range.start),
                "span: {case}"
            );
        }
    }
    assert!(wrong.is_empty(), "{} of {cases} differ:\n{}", wrong.len(), wrong.join("\n"));
    cases
}

#[test]
fn generated_objects_agree_with_what_recurring_ical_events_said() {
    assert!(compare(WRITTEN) >= 600);
}

#[test]
fn fresh_objects_agree_with_recurring_ical_events() {
    let Ok(python) = std::env::var("KALENDS_PYTHON") else { return };
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/webdav-tests/recurrence/series.py");
    let run = Command::new(python).args([script, "6638", "150"]).output().unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    assert_eq!(compare(&String::from_utf8(run.stdout).unwrap()), 150);
}

//! Generated rules: what python-dateutil yields was written down by `rules.py`; where a Python with dateutil is at
//! hand (`KALENDS_PYTHON`), it is asked again with another seed.

use std::process::Command;

use kalends::ical::recur::Rule;
use kalends::ical::value::Civil;

const WRITTEN: &str = include_str!("rules.txt");

fn fnv(times: &[String]) -> u64 {
    let bytes = times.iter().flat_map(|time| time.bytes().chain([b'\n']));
    bytes.fold(0xCBF2_9CE4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3))
}

/// Returns how many cases there were; panics with those that differ.
fn compare(text: &str) -> usize {
    let mut wrong = Vec::new();
    let mut cases = 0;
    for line in text.lines() {
        let parts: Vec<&str> = line.split('|').collect();
        let [start, rule, from, count, digest, first] = parts[..] else { panic!("{line}") };
        let (start, from) = (Civil::parse(start).unwrap(), Civil::parse(from).unwrap());
        let rule = Rule::parse(rule).unwrap_or_else(|problem| panic!("{line}: {problem}"));
        let ours: Vec<String> = rule.occurrences(start, from).take(40).map(Civil::to_basic).collect();
        cases += 1;
        if format!("{:016x}", fnv(&ours)) != digest {
            wrong.push(format!(
                "{line}\n  theirs {count}: {first}\n  ours   {}: {:?}",
                ours.len(),
                ours.get(..3)
            ));
        }
    }
    assert!(wrong.is_empty(), "{} of {cases} differ:\n{}", wrong.len(), wrong.join("\n"));
    cases
}

#[test]
fn generated_rules_agree_with_what_dateutil_said() {
    assert!(compare(WRITTEN) >= 2000);
}

#[test]
fn fresh_rules_agree_with_dateutil() {
    let Ok(python) = std::env::var("KALENDS_PYTHON") else { return };
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/webdav-tests/recurrence/rules.py");
    // Another seed each day would make a failure hard to repeat: the seed is a constant.
    let run = Command::new(python).args([script, "4791", "400"]).output().unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    assert_eq!(compare(&String::from_utf8(run.stdout).unwrap()), 400);
}

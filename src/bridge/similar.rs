//! Which events of two calendars are the same although their UIDs differ. Pure.
//!
//! Owns: what is compared, how much each thing counts, how sure one has to be. Does not own: what is done with a pair
//! (`first`), which events are compared at all (`scope`).
//!
//! Two events are only ever compared if they begin or end at the same moment. A pair is believed if nothing else comes
//! near it; where two events look alike, nothing is joined, because a double can be removed and a wrong pair cannot.

use std::collections::{BTreeSet, HashMap, HashSet};

use crate::ical::value::{DateTime, Duration, date_time};
use crate::ical::zone::{Zone, Zones};
use crate::ical::{Component, Ical};

/// A pair has to be surer than this, unless the server is set up otherwise (S3-144).
pub(super) const SURE: f64 = 0.85;
/// And surer by this than any other pair of either event.
const MARGIN: f64 = 0.10;
/// So many events at one moment are a pattern, no evidence.
const CROWD: usize = 50;
/// Marks of an answer or a forwarded message before a title, in the languages of the mail programs that write them.
const PREFIXES: [&str; 8] = ["re", "fw", "fwd", "aw", "wg", "sv", "vs", "tr"];

/// A moment: whole days and times are never the same.
type Moment = (bool, i64);

/// What of an event is compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sketch {
    /// Its UID.
    pub(super) uid: String,
    start: Moment,
    end: Moment,
    title: String,
    numbers: BTreeSet<String>,
    place: BTreeSet<String>,
    rules: Vec<String>,
    organizer: Option<String>,
    people: BTreeSet<String>,
}

/// Two events that are one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Pair {
    /// Which of ours.
    pub(super) ours: usize,
    /// Which of theirs.
    pub(super) theirs: usize,
    /// How sure that is, from 0 to 1.
    pub(super) confidence: f64,
}

impl Sketch {
    /// Returns what of an event is compared. Nothing: it has no time, or is no event.
    pub(super) fn of(uid: &str, ical: &Ical) -> Option<Sketch> {
        let events: Vec<Component<'_>> = ical.calendar()?.named("VEVENT").collect();
        let event = events.iter().find(|event| event.property("RECURRENCE-ID").is_none())?;
        let zones = Zones::of(ical);
        let starts = date_time(&event.property("DTSTART")?)?;
        let start = moment(&starts, &zones);
        let ends = event.property("DTEND").and_then(|end| date_time(&end)).map(|end| moment(&end, &zones));
        let length = || event.property("DURATION").and_then(|d| Duration::parse(&d.raw()));
        let end = ends.unwrap_or_else(|| {
            let day = if starts.is_date() { 86_400 } else { 0 };
            (start.0, start.1.saturating_add(length().map_or(day, Duration::plain_seconds)))
        });
        let text = |name: &str| event.property(name).map(|p| p.text()).unwrap_or_default();
        let title = plain_title(&text("SUMMARY"));
        let address = |text: &str| text.trim().to_lowercase();
        let mut rules: Vec<String> = ["RRULE", "RDATE", "EXRULE"]
            .iter()
            .flat_map(|name| event.all(name))
            .map(|rule| format!("{}:{}", rule.name(), plain_rule(&rule.raw())))
            .collect();
        rules.sort();
        Some(Sketch {
            uid: uid.to_owned(),
            start,
            end,
            numbers: words(&title).filter(|w| w.chars().any(|c| c.is_ascii_digit())).collect(),
            place: words(&text("LOCATION").to_lowercase()).collect(),
            title,
            rules,
            organizer: event.property("ORGANIZER").map(|p| address(&p.raw())),
            people: event.all("ATTENDEE").map(|p| address(&p.raw())).collect(),
        })
    }

    /// Returns its title, as it is compared.
    pub(super) fn title(&self) -> &str {
        &self.title
    }

    /// Returns how sure it is that two events are one, from 0 to 1. Nothing: they are not.
    fn confidence(&self, other: &Sketch) -> Option<f64> {
        let strangers =
            self.organizer.is_some() && other.organizer.is_some() && self.organizer != other.organizer;
        let crowds = !self.people.is_empty() && !other.people.is_empty() && self.people != other.people;
        let rules = !self.rules.is_empty() && !other.rules.is_empty() && self.rules != other.rules;
        if strangers || crowds || rules {
            return None;
        }
        let time = match (self.start == other.start, self.end == other.end) {
            (true, true) => 1.0,
            (true, false) | (false, true) => 0.5,
            (false, false) => return None,
        };
        let recurrence = if self.rules == other.rules { 1.0 } else { 0.0 };
        let place = likeness(&self.place, &other.place);
        Some(0.55 * self.titles(other) + 0.25 * time + 0.10 * place + 0.10 * recurrence)
    }

    fn titles(&self, other: &Sketch) -> f64 {
        if self.title.is_empty() || other.title.is_empty() {
            // Two events without a title are alike, but not sure to be one.
            return if self.title == other.title { 0.7 } else { 0.0 };
        }
        let near = strsim::jaro_winkler(&self.title, &other.title);
        let equal = strsim::normalized_levenshtein(&self.title, &other.title);
        let score = f64::midpoint(near, equal);
        // The first lesson is not the second, and Ben is not Jen: only a long word may be a slip of the other.
        let slips = differ_by_slips(&self.title, &other.title);
        if self.numbers == other.numbers && slips { score } else { score.min(0.6) }
    }

    /// Tells whether nothing that is compared differs.
    fn is_equal(&self, other: &Sketch) -> bool {
        let people = self.people == other.people || self.people.is_empty() || other.people.is_empty();
        let times = (self.start, self.end) == (other.start, other.end);
        let same =
            times && self.title == other.title && self.place == other.place && self.rules == other.rules;
        same && people && !self.title.is_empty()
    }
}

/// Events by the moments at which they begin and end.
#[derive(Debug, Default)]
pub(super) struct Moments {
    starts: HashMap<Moment, Vec<usize>>,
    ends: HashMap<Moment, Vec<usize>>,
}

impl Moments {
    /// Returns where each of them stands.
    pub(super) fn of(sketches: &[Sketch]) -> Moments {
        let mut moments = Moments::default();
        for (at, sketch) in sketches.iter().enumerate() {
            moments.starts.entry(sketch.start).or_default().push(at);
            moments.ends.entry(sketch.end).or_default().push(at);
        }
        moments
    }

    /// Returns which of them begin or end with this one.
    pub(super) fn near(&self, sketch: &Sketch) -> BTreeSet<usize> {
        let found = [self.starts.get(&sketch.start), self.ends.get(&sketch.end)];
        found.into_iter().flatten().filter(|all| all.len() <= CROWD).flatten().copied().collect()
    }
}

/// How many events begin and how many end at a moment, without saying which: a few bytes a moment.
#[derive(Debug, Default)]
pub(super) struct Times(HashMap<(i64, u8), u8>);

impl Times {
    /// Counts an event.
    pub(super) fn add(&mut self, sketch: &Sketch) {
        for at in keys(sketch) {
            let count = self.0.entry(at).or_default();
            *count = count.saturating_add(1);
        }
    }

    /// Tells whether any of the events begins or ends with this one.
    pub(super) fn meets(&self, sketch: &Sketch) -> bool {
        keys(sketch).iter().any(|at| self.0.contains_key(at))
    }

    /// Tells whether any of the events begins or ends with this one, at a moment that is not crowded: then `Moments` of
    /// the same events finds it near.
    pub(super) fn is_near(&self, sketch: &Sketch) -> bool {
        keys(sketch).iter().any(|at| self.0.get(at).is_some_and(|count| usize::from(*count) <= CROWD))
    }
}

/// When an event begins and ends: the moment, and which of the two it is, of days or of times.
fn keys(sketch: &Sketch) -> [(i64, u8); 2] {
    let key = |moment: Moment, which: u8| (moment.1, which + u8::from(moment.0));
    [key(sketch.start, 0), key(sketch.end, 2)]
}

/// Returns which of ours and which of theirs are one event. Pairs that do not differ at all need no surer.
pub(super) fn pairs(ours: &[Sketch], theirs: &[Sketch], sure: f64) -> Vec<Pair> {
    let moments = Moments::of(ours);
    let mut all: Vec<Pair> = Vec::new();
    for (at, sketch) in theirs.iter().enumerate() {
        for own in moments.near(sketch) {
            let confidence = ours.get(own).and_then(|own| own.confidence(sketch));
            all.extend(confidence.map(|confidence| Pair { ours: own, theirs: at, confidence }));
        }
    }
    let equal = |pair: &&Pair| {
        let sides = ours.get(pair.ours).zip(theirs.get(pair.theirs));
        sides.is_some_and(|(own, other)| own.is_equal(other))
    };
    // What is equal in everything goes together, whatever else looks like it; unless there are several of it.
    let mut found = lone(all.iter().filter(equal).copied().collect());
    let taken: HashSet<(bool, usize)> =
        found.iter().flat_map(|pair| [(true, pair.ours), (false, pair.theirs)]).collect();
    all.retain(|pair| !taken.contains(&(true, pair.ours)) && !taken.contains(&(false, pair.theirs)));
    found.extend(clear(&all, sure));
    found.sort_by_key(|pair| (pair.theirs, pair.ours));
    found
}

/// Returns the pairs neither of whose events is in another one.
fn lone(all: Vec<Pair>) -> Vec<Pair> {
    let mut count: HashMap<(bool, usize), usize> = HashMap::new();
    for pair in &all {
        *count.entry((true, pair.ours)).or_default() += 1;
        *count.entry((false, pair.theirs)).or_default() += 1;
    }
    let once = |key| count.get(&key) == Some(&1);
    all.into_iter().filter(|pair| once((true, pair.ours)) && once((false, pair.theirs))).collect()
}

/// Returns the pairs that are sure, and surer than any other of either event.
fn clear(all: &[Pair], sure: f64) -> Vec<Pair> {
    let mut best: HashMap<(bool, usize), (f64, f64)> = HashMap::new();
    for pair in all {
        for key in [(true, pair.ours), (false, pair.theirs)] {
            let (first, second) = best.entry(key).or_insert((0.0, 0.0));
            if pair.confidence > *first {
                (*first, *second) = (pair.confidence, *first);
            } else if pair.confidence > *second {
                *second = pair.confidence;
            }
        }
    }
    let stands_out = |key: (bool, usize), confidence: f64| {
        best.get(&key).is_some_and(|(first, second)| confidence >= *first && confidence - second >= MARGIN)
    };
    all.iter()
        .filter(|pair| pair.confidence > sure)
        .filter(|pair| stands_out((true, pair.ours), pair.confidence))
        .filter(|pair| stands_out((false, pair.theirs), pair.confidence))
        .copied()
        .collect()
}

/// Tells whether the words in which two titles differ are slips of each other, or only more of them on one side.
fn differ_by_slips(one: &str, other: &str) -> bool {
    let (one, other): (HashSet<String>, HashSet<String>) = (words(one).collect(), words(other).collect());
    let mut few: Vec<&String> = one.difference(&other).collect();
    let mut many: Vec<&String> = other.difference(&one).collect();
    if few.len() > many.len() {
        std::mem::swap(&mut few, &mut many);
    }
    let slip = |word: &String, other: &String| {
        let long = word.chars().count().min(other.chars().count()) >= 6;
        long && strsim::normalized_levenshtein(word, other) >= 0.8
    };
    few.iter().all(|word| many.iter().any(|other| slip(word, other)))
}

/// A time without a zone counts as one in UTC: such events are only compared with each other.
fn moment(at: &DateTime, zones: &Zones<'_>) -> Moment {
    let civil = at.civil();
    let zone = match at {
        DateTime::Zoned(_, tzid) => zones.zone(tzid),
        _ => None,
    };
    (at.is_date(), zone.unwrap_or(Zone::Utc).to_instant(civil))
}

fn words(text: &str) -> impl Iterator<Item = String> {
    text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).map(str::to_owned)
}

/// Case, emoji, punctuation and marks of answers do not count.
fn plain_title(title: &str) -> String {
    let title = title.to_lowercase();
    let mut rest = title.trim();
    while let Some((first, more)) = rest.split_once(':')
        && PREFIXES.contains(&first.trim())
    {
        rest = more.trim();
    }
    words(rest).collect::<Vec<_>>().join(" ")
}

/// RFC 5545 §3.3.10: the parts of a rule may come in any order; an interval of one need not be said.
fn plain_rule(rule: &str) -> String {
    let upper = rule.trim().to_ascii_uppercase();
    let mut parts: Vec<&str> =
        upper.split(';').filter(|part| !matches!(*part, "" | "INTERVAL=1" | "WKST=MO")).collect();
    parts.sort_unstable();
    parts.join(";")
}

/// How much two sets of words have in common; nothing said on one side is half of a yes.
fn likeness(one: &BTreeSet<String>, other: &BTreeSet<String>) -> f64 {
    match (one.len(), other.len()) {
        (0, 0) => 1.0,
        (0, _) | (_, 0) => 0.5,
        (a, b) => {
            let common = u32::try_from(one.intersection(other).count()).unwrap_or(u32::MAX);
            let all = u32::try_from(a.saturating_add(b)).unwrap_or(u32::MAX);
            2.0 * f64::from(common) / f64::from(all)
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use super::*;

    /// `start title|location|further lines`, the lines separated by `;;`.
    fn sketch(text: &str) -> Sketch {
        let (start, rest) = text.split_once(' ').unwrap();
        let mut parts = rest.split('|');
        let (title, place, lines) = (parts.next().unwrap(), parts.next(), parts.next());
        let start = match start.len() {
            8 => format!("DTSTART;VALUE=DATE:{start}"),
            _ => format!("DTSTART:{start}\r\nDURATION:PT1H"),
        };
        let lines: String = lines
            .unwrap_or_default()
            .split(";;")
            .filter(|l| !l.is_empty())
            .map(|l| format!("{l}\r\n"))
            .collect();
        let place = place.filter(|p| !p.is_empty()).map(|p| format!("LOCATION:{p}\r\n")).unwrap_or_default();
        let text = format!(
            "BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\nUID:{title}\r\n{start}\r\nSUMMARY:{title}\r\n{place}{lines}\
             END:VEVENT\r\nEND:VCALENDAR\r\n"
        );
        Sketch::of(title, &Ical::parse(text.into_bytes()).unwrap()).unwrap()
    }

    fn found(ours: &[&str], theirs: &[&str]) -> Vec<(usize, usize)> {
        let sketches = |all: &[&str]| all.iter().map(|text| sketch(text)).collect::<Vec<_>>();
        let found = pairs(&sketches(ours), &sketches(theirs), SURE);
        assert!(found.iter().all(|pair| pair.confidence > SURE && pair.confidence <= 1.0 + 1e-9));
        found.into_iter().map(|pair| (pair.ours, pair.theirs)).collect()
    }

    const AT: &str = "20260105T090000Z";

    fn alike(one: &str, other: &str) -> bool {
        found(&[&format!("{AT} {one}")], &[&format!("{AT} {other}")]) == [(0, 0)]
    }

    // S3-057, S3-144: title, start, location; surer than 0.85
    #[test]
    fn small_differences_do_not_keep_two_events_apart() {
        assert!(alike("Dentist", "Dentist"));
        assert!(alike("Dentist", "dentist 🦷"));
        assert!(alike("Team meeting", "RE: Team Meeting"));
        assert!(alike("Team meeting|Room 4", "Team meeting|room 4, 2nd floor"));
        assert!(alike("Team meeting|Room 4", "Team meeting"));
        assert!(alike("Birthday of grandmother", "Birthday of grandmothr"));
        assert!(alike("Yoga||RRULE:FREQ=WEEKLY;BYDAY=MO", "Yoga||RRULE:BYDAY=MO;FREQ=WEEKLY;INTERVAL=1"));
    }

    // S3-144: how sure it has to be can be set
    #[test]
    fn a_server_may_ask_for_more_certainty() {
        let pair = |one: &str, other: &str, sure: f64| {
            pairs(&[sketch(&format!("{AT} {one}"))], &[sketch(&format!("{AT} {other}"))], sure).len()
        };
        for (one, other) in
            [("Birthday of grandmother", "Birthday of grandmothr"), ("Team meeting|Room 4", "Team meeting")]
        {
            assert_eq!((pair(one, other, SURE), pair(one, other, 1.0)), (1, 0), "{one}");
        }
        assert_eq!(pair("Dentist", "Dentist", 1.0), 1);
    }

    #[test]
    fn what_differs_is_not_joined() {
        assert!(!alike("Dentist", "Lunch with Ben"));
        assert!(!alike("Lesson 1", "Lesson 2"));
        assert!(!alike("Call Ben", "Call Jen"));
        assert!(!alike("Here", "There"));
        assert!(!alike("Yoga||RRULE:FREQ=WEEKLY", "Yoga||RRULE:FREQ=DAILY"));
        assert!(!alike("Call||ORGANIZER:mailto:a@x", "Call||ORGANIZER:mailto:b@x"));
        assert!(!alike("Call||ATTENDEE:mailto:a@x", "Call||ATTENDEE:mailto:b@x"));
        assert_eq!(found(&["20260105T090000Z Dentist"], &["20260106T090000Z Dentist"]), []);
        assert_eq!(found(&["20260105 Holiday"], &["20260105T000000Z Holiday"]), []);
        assert_eq!(found(&["20260105 Holiday"], &["20260105 Holiday"]), [(0, 0)]);
    }

    // sync-patterns §7: only if unique best and margin ≥ 0.10
    #[test]
    fn where_two_look_alike_nothing_is_joined() {
        let (one, two) = (format!("{AT} Review of strategies"), format!("{AT} Review of strategie"));
        assert_eq!(found(&["20260105T090000Z Review of the strategies"], &[&one, &two]), []);
        assert_eq!(found(&[&one, &one], &[&one]), []);
        // What is equal goes together all the same.
        assert_eq!(found(&[&one, &two], &[&two, &one]), [(1, 0), (0, 1)]);
    }

    #[test]
    fn another_zone_is_the_same_moment() {
        let berlin = "BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\nUID:b\r\nDTSTART;TZID=Europe/Berlin:20260105T100000\r\n\
            DTEND;TZID=Europe/Berlin:20260105T110000\r\nSUMMARY:Dentist\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n";
        let berlin = Sketch::of("b", &Ical::parse(berlin.as_bytes().to_vec()).unwrap()).unwrap();
        assert_eq!(pairs(&[sketch("20260105T090000Z Dentist")], &[berlin], SURE).len(), 1);
    }

    #[test]
    fn a_crowd_at_one_moment_is_no_evidence_and_costs_nothing() {
        let all: Vec<String> = (0..200).map(|n| format!("{AT} Event {n}")).collect();
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        assert_eq!(found(&all, &all[..1]), []);
    }
}

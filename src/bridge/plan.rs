//! Turns two sides and their last agreed state into a step. Pure: no clock, no I/O, cannot fail.
//!
//! Owns: what is carried where, which side wins, what is a conflict.
//! Does not own: fetching either side (`run`), carrying steps out (`apply`), retrying (`pace`).

use bytes::Bytes;

use super::print;
use super::record::{Direction, Policy};
use crate::ical::Ical;
use crate::ical::merge::{Merged, merge};

/// Changes closer together than this are simultaneous (E31).
const TOLERANCE: i64 = 5;

/// One side's object.
#[derive(Debug, Clone, Copy)]
pub struct Version<'a> {
    /// Its content.
    pub ical: &'a Ical,
    /// When that side last stored it, in seconds since 1970, if known.
    pub stored: Option<i64>,
}

/// One side, compared with what was last agreed.
#[derive(Debug, Clone, Copy)]
pub enum Side<'a> {
    /// There is no such object.
    Absent,
    /// It is as agreed.
    Same,
    /// It is new, or differs from what was agreed.
    Changed(Version<'a>),
}

/// Everything that the decision about one object depends on.
#[derive(Debug, Clone, Copy)]
pub struct Case<'a> {
    /// Here.
    pub local: Side<'a>,
    /// There.
    pub remote: Side<'a>,
    /// The far side's content when both last agreed; nothing: they never did.
    pub base: Option<&'a Ical>,
    /// Our own content, also where it is `Same`; the text that a pull edits.
    pub ours: Option<&'a Ical>,
    /// Which way changes are carried.
    pub direction: Direction,
    /// Who wins a clash.
    pub policy: Policy,
}

/// What is to be done about one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Nothing.
    Nothing,
    /// Remember that both sides, as they are, agree.
    Agree,
    /// Store this on the far side.
    Push(Bytes),
    /// Store this here.
    Pull(Bytes),
    /// Store this on both sides.
    Both(Bytes),
    /// Remove it on the far side.
    DeleteRemote,
    /// Remove it here.
    DeleteLocal,
    /// Forget what was agreed: it is gone on both sides.
    Forget,
    /// Leave both as they are until a person decides.
    Park,
}

/// A clash between the two sides, whether a person or the policy decides it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clash {
    /// What clashes, in words.
    pub what: Vec<String>,
    /// Who won.
    pub winner: Winner,
}

/// Who won a clash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Winner {
    /// This side.
    Local,
    /// The far side.
    External,
    /// Nobody yet.
    Open,
}

/// A step, and the clash that it decides if there was one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// What to do.
    pub step: Step,
    /// What clashed.
    pub clash: Option<Clash>,
}

impl From<Step> for Decision {
    fn from(step: Step) -> Decision {
        Decision { step, clash: None }
    }
}

/// Returns what is to be done.
pub fn plan(case: &Case<'_>) -> Decision {
    let pulls = case.direction != Direction::Push;
    let pushes = case.direction != Direction::Pull;
    let decision = match (case.base, case.local, case.remote) {
        // Nobody agreed on anything yet.
        (None, Side::Changed(local), Side::Changed(remote)) => both(case, local, remote),
        (None, Side::Changed(local), Side::Absent) => Step::Push(local.ical.bytes().clone()).into(),
        (None, Side::Absent, Side::Changed(remote)) => Step::Pull(remote.ical.bytes().clone()).into(),
        (None, _, _) => Step::Nothing.into(),
        (Some(_), Side::Same, Side::Same) => Step::Nothing.into(),
        // Written again, but nothing in it changed.
        (Some(base), Side::Changed(local), Side::Same) if print::print(local.ical) == print::print(base) => {
            Step::Agree.into()
        }
        (Some(_), Side::Changed(local), Side::Same) => Step::Push(local.ical.bytes().clone()).into(),
        (Some(base), Side::Same, Side::Changed(remote)) => {
            Step::Pull(carry(base, case.ours, remote.ical)).into()
        }
        (Some(_), Side::Changed(local), Side::Changed(remote)) => both(case, local, remote),
        (Some(_), Side::Absent, Side::Absent) => Step::Forget.into(),
        // An edit beats a deletion: what somebody still works on is brought back.
        (Some(_), Side::Absent, Side::Changed(remote)) => Step::Pull(remote.ical.bytes().clone()).into(),
        (Some(_), Side::Changed(local), Side::Absent) => Step::Push(local.ical.bytes().clone()).into(),
        (Some(_), Side::Absent, Side::Same) => Step::DeleteRemote.into(),
        (Some(_), Side::Same, Side::Absent) => Step::DeleteLocal.into(),
    };
    let Decision { step, clash } = decision;
    let step = match step {
        Step::Push(_) | Step::DeleteRemote if !pushes => Step::Nothing,
        Step::Pull(_) | Step::DeleteLocal if !pulls => Step::Nothing,
        Step::Both(bytes) if !pushes => Step::Pull(bytes),
        Step::Both(bytes) if !pulls => Step::Push(bytes),
        step => step,
    };
    Decision { step, clash }
}

/// Both sides have something new.
fn both(case: &Case<'_>, local: Version<'_>, remote: Version<'_>) -> Decision {
    if print::print(local.ical) == print::print(remote.ical) {
        return Step::Agree.into();
    }
    // Without a common past every difference is a clash, but what only one side has is kept.
    let (ours, what) = match against(case.base, local.ical, remote.ical) {
        Merged::Clean(bytes) => return spread(bytes, local, remote).into(),
        Merged::Conflict { merged, clashes } => (merged, clashes),
    };
    let winner = match winner(case, local, remote) {
        Some(winner) => winner,
        None => return Decision { step: Step::Park, clash: Some(Clash { what, winner: Winner::Open }) },
    };
    let bytes = match winner {
        Winner::External => theirs(case.base, local.ical, remote.ical),
        Winner::Local | Winner::Open => ours,
    };
    Decision { step: spread(bytes, local, remote), clash: Some(Clash { what, winner }) }
}

/// Who wins a clash; nothing: a person has to say.
fn winner(case: &Case<'_>, local: Version<'_>, remote: Version<'_>) -> Option<Winner> {
    match (case.direction, case.policy) {
        // What is carried one way only has its truth at the source.
        (Direction::Pull, _) | (Direction::Both, Policy::External) => Some(Winner::External),
        (Direction::Push, _) | (Direction::Both, Policy::Local) => Some(Winner::Local),
        (Direction::Both, Policy::Ask) => None,
        (Direction::Both, Policy::Newest) => {
            let later = is_later(local, remote, case.base);
            Some(if later { Winner::Local } else { Winner::External })
        }
    }
}

/// Tells whether ours was clearly made after theirs. Only stamps of one kind are compared: what the objects say of
/// themselves, if whoever changed them keeps `LAST-MODIFIED`; else when each side stored its own; else when they were
/// written.
fn is_later(ours: Version<'_>, theirs: Version<'_>, base: Option<&Ical>) -> bool {
    let kept = |ical: &Ical| {
        print::last_modified(ical)
            .filter(|at| base.is_none_or(|base| print::last_modified(base) != Some(*at)))
    };
    let pairs = [
        (kept(ours.ical), kept(theirs.ical)),
        (ours.stored, theirs.stored),
        (print::written(ours.ical), print::written(theirs.ical)),
    ];
    let comparable = pairs.into_iter().find_map(|(ours, theirs)| Some((ours?, theirs?)));
    comparable.is_some_and(|(ours, theirs)| ours > theirs.saturating_add(TOLERANCE))
}

/// Stores the merged text where it says something new.
fn spread(bytes: Bytes, local: Version<'_>, remote: Version<'_>) -> Step {
    let merged = Ical::parse(bytes.clone()).ok().map(|ical| print::print(&ical));
    let here = merged.as_ref() == Some(&print::print(local.ical));
    let there = merged.as_ref() == Some(&print::print(remote.ical));
    match (here, there) {
        (true, true) => Step::Agree,
        (true, false) => Step::Push(local.ical.bytes().clone()),
        (false, true) => Step::Pull(bytes),
        (false, false) => Step::Both(bytes),
    }
}

/// Returns our text with what changed on the far side since the base; what the far side cannot hold stays in it.
fn carry(base: &Ical, ours: Option<&Ical>, remote: &Ical) -> Bytes {
    match ours {
        Some(ours) => match merge(base, ours, remote) {
            Merged::Clean(bytes) => bytes,
            // We did not change anything: a clash here is a place that the far side had rewritten before.
            Merged::Conflict { .. } => theirs(Some(base), ours, remote),
        },
        None => remote.bytes().clone(),
    }
}

/// Merges in favour of the far side.
fn theirs(base: Option<&Ical>, ours: &Ical, remote: &Ical) -> Bytes {
    against(base, remote, ours).bytes().clone()
}

/// Merges in favour of the first, since the base or, without one, since nothing.
fn against(base: Option<&Ical>, first: &Ical, second: &Ical) -> Merged {
    match base {
        Some(base) => merge(base, first, second),
        None => match Ical::parse("BEGIN:VCALENDAR\r\nEND:VCALENDAR\r\n") {
            Ok(nothing) => merge(&nothing, first, second),
            Err(_) => merge(second, first, second),
        },
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use super::*;

    /// An object that says this, in the order `SUMMARY LOCATION X-OWN @minute`; `-` leaves a property out.
    fn object(text: &str) -> Ical {
        let mut words = text.split(' ');
        let mut lines = String::new();
        for name in ["SUMMARY", "LOCATION", "X-OWN"] {
            if let Some(word) = words.next().filter(|w| *w != "-") {
                lines.push_str(&format!("{name}:{word}\r\n"));
            }
        }
        if let Some(minute) = words.next() {
            lines.push_str(&format!("LAST-MODIFIED:20260101T00{}Z\r\n", minute.trim_start_matches('@')));
        }
        let text = format!(
            "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nBEGIN:VEVENT\r\nUID:u\r\nDTSTAMP:20260101T000000Z\r\n\
             DTSTART:20260101T100000Z\r\n{lines}END:VEVENT\r\nEND:VCALENDAR\r\n"
        );
        Ical::parse(text.into_bytes()).unwrap()
    }

    fn words(bytes: &Bytes) -> String {
        let ical = Ical::parse(bytes.clone()).unwrap();
        let event = ical.calendar().unwrap().named("VEVENT").next().unwrap();
        let word = |name: &str| event.property(name).map_or("-".to_owned(), |p| p.text());
        [word("SUMMARY"), word("LOCATION"), word("X-OWN")].join(" ")
    }

    fn decided(base: &str, local: &str, remote: &str, direction: Direction, policy: Policy) -> String {
        let side = |text: &str| (!matches!(text, "gone" | "=")).then(|| object(text));
        let (base, here, there) = ((base != "none").then(|| object(base)), side(local), side(remote));
        fn of<'a>(text: &str, ical: Option<&'a Ical>) -> Side<'a> {
            match ical {
                Some(ical) => Side::Changed(Version { ical, stored: None }),
                None if text == "=" => Side::Same,
                None => Side::Absent,
            }
        }
        let ours = here.as_ref().or(if local == "=" { base.as_ref() } else { None });
        let case = Case {
            local: of(local, here.as_ref()),
            remote: of(remote, there.as_ref()),
            base: base.as_ref(),
            ours,
            direction,
            policy,
        };
        let Decision { step, clash } = plan(&case);
        let step = match step {
            Step::Nothing => "nothing".to_owned(),
            Step::Agree => "agree".to_owned(),
            Step::Push(bytes) => format!("push {}", words(&bytes)),
            Step::Pull(bytes) => format!("pull {}", words(&bytes)),
            Step::Both(bytes) => format!("both {}", words(&bytes)),
            Step::DeleteRemote => "delete there".to_owned(),
            Step::DeleteLocal => "delete here".to_owned(),
            Step::Forget => "forget".to_owned(),
            Step::Park => "park".to_owned(),
        };
        match clash.map(|clash| clash.winner) {
            None => step,
            Some(Winner::Local) => format!("{step}, we won"),
            Some(Winner::External) => format!("{step}, they won"),
            Some(Winner::Open) => format!("{step}, open"),
        }
    }

    fn check(base: &str, local: &str, remote: &str, expected: &str) {
        let found = decided(base, local, remote, Direction::Both, Policy::Newest);
        assert_eq!(found, expected, "base {base}, here {local}, there {remote}");
    }

    // sync-patterns §3: the whole table
    #[test]
    fn every_pair_of_sides_has_its_step() {
        check("A", "=", "=", "nothing");
        check("A", "B", "=", "push B - -");
        check("A", "=", "B", "pull B - -");
        check("A", "B", "B", "agree");
        check("A", "A - - @0100", "=", "agree");
        check("A", "gone", "=", "delete there");
        check("A", "gone", "B", "pull B - -");
        check("A", "=", "gone", "delete here");
        check("A", "B", "gone", "push B - -");
        check("A", "gone", "gone", "forget");
        check("none", "A", "gone", "push A - -");
        check("none", "gone", "A", "pull A - -");
        check("none", "A", "A", "agree");
        check("none", "gone", "gone", "nothing");
    }

    #[test]
    fn different_properties_merge_without_a_clash() {
        check("A x", "B x", "A y", "both B y -");
        check("A x o", "B x o", "A y -", "both B y -");
        // One side has everything already: only the other is written.
        check("A x", "B y", "B x", "push B y -");
        check("A x", "B x", "B y", "pull B y -");
    }

    // What the far side cannot hold stays in our text
    #[test]
    fn a_pull_edits_our_text() {
        let base = object("A x");
        let ours = object("A x own");
        let remote = object("B x");
        let version = Version { ical: &remote, stored: None };
        let case = Case {
            local: Side::Same,
            remote: Side::Changed(version),
            base: Some(&base),
            ours: Some(&ours),
            direction: Direction::Both,
            policy: Policy::Newest,
        };
        let Step::Pull(bytes) = plan(&case).step else { panic!() };
        assert_eq!(words(&bytes), "B x own");
    }

    // E1, E31
    #[test]
    fn the_policy_decides_a_clash() {
        let cases = [
            (Policy::Newest, "B y own @0130", "C x - @0100", "push B y own, we won"),
            (Policy::Newest, "B y own @0100", "C x - @0130", "both C y own, they won"),
            (Policy::Newest, "B y own @0105", "C x - @0100", "both C y own, they won"),
            (Policy::Newest, "B y own @0106", "C x - @0100", "push B y own, we won"),
            (Policy::Newest, "B y own", "C x -", "both C y own, they won"),
            (Policy::External, "B y own @0130", "C x - @0100", "both C y own, they won"),
            (Policy::Local, "B y own @0100", "C x - @0130", "push B y own, we won"),
            (Policy::Ask, "B y own @0100", "C x - @0130", "park, open"),
        ];
        for (policy, local, remote, expected) in cases {
            let found = decided("A x", local, remote, Direction::Both, policy);
            assert_eq!(found, expected, "{policy:?} {local} {remote}");
        }
        // Without a common past: the same, and what only one has is kept.
        for (policy, expected) in [
            (Policy::Newest, "both C y own, they won"),
            (Policy::Local, "both B y own, we won"),
            (Policy::External, "both C y own, they won"),
            (Policy::Ask, "park, open"),
        ] {
            let found = decided("none", "B - own @0100", "C y - @0130", Direction::Both, policy);
            assert_eq!(found, expected, "{policy:?}");
        }
    }

    #[test]
    fn one_way_writes_one_way() {
        let rows = [
            ("A", "B", "=", "nothing", "push B - -"),
            ("A", "=", "B", "pull B - -", "nothing"),
            ("A", "gone", "=", "nothing", "delete there"),
            ("A", "=", "gone", "delete here", "nothing"),
            ("A", "gone", "B", "pull B - -", "nothing"),
            ("A", "B", "gone", "nothing", "push B - -"),
            ("A x", "B x", "A y", "pull B y -", "push B y -"),
            ("A x", "B x", "C x", "pull C x -, they won", "push B x -, we won"),
            ("none", "A", "gone", "nothing", "push A - -"),
            ("none", "gone", "A", "pull A - -", "nothing"),
            ("A", "gone", "gone", "forget", "forget"),
        ];
        for (base, local, remote, pull, push) in rows {
            for policy in [Policy::Newest, Policy::Ask] {
                let found = |direction| decided(base, local, remote, direction, policy);
                assert_eq!(found(Direction::Pull), pull, "pull: {base}, {local}, {remote}");
                assert_eq!(found(Direction::Push), push, "push: {base}, {local}, {remote}");
            }
        }
    }
}

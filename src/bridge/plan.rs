//! Turns two sides and their last agreed state into a step. Pure: no clock, no I/O, cannot fail.
//!
//! Owns: what is carried where, which side wins, what is a conflict.
//! Does not own: fetching either side (`run`), carrying steps out (`apply`), retrying (`pace`).

use std::collections::BTreeMap;

use bytes::Bytes;

use super::record::{self, Direction, Match, Policy, Rule, Urgent, Within};
use super::{print, shape};
use crate::ical::Ical;
use crate::ical::merge::{self, Merged, Whose, Wish, merge_as, same_times};

/// Changes closer together than this are simultaneous (E31).
const TOLERANCE: i64 = 5;

/// Marks an object of ours as a booking; while it is not cancelled, nothing from outside removes or moves it (S1-038).
/// It never leaves and never comes from outside.
pub use crate::calendar::booking::BOOKING;

/// One side's object.
#[derive(Debug, Clone, Copy)]
pub struct Version<'a> {
    /// Its content, as far as the mapping carries it.
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

/// Everything that the decision about one object depends on. All texts but `ours` are views: what the mapping carries
/// of them.
#[derive(Debug, Clone, Copy)]
pub struct Case<'a> {
    /// Here.
    pub local: Side<'a>,
    /// There.
    pub remote: Side<'a>,
    /// The far side's content when both last agreed; nothing: they never did.
    pub base: Option<&'a Ical>,
    /// Our own whole text, also where it is `Same`; the text that a pull edits.
    pub ours: Option<&'a Ical>,
    /// What the mapping would have the far side hold of our text, also where it is `Same`.
    pub shown: Option<&'a Ical>,
    /// Which way changes are carried.
    pub direction: Direction,
    /// Who wins a clash, and what is carried at all.
    pub will: Will<'a>,
    /// What a person decided.
    pub decided: Option<&'a Decided>,
}

/// What the mapping says of an object, and what its rules may ask about that its text does not tell.
#[derive(Debug, Clone, Copy)]
pub struct Will<'a> {
    /// Who wins a clash.
    pub policy: Policy,
    /// Who wins before that; the first that fits either side decides.
    pub rules: &'a [Rule],
    /// Of changes made here, only these are carried outward; none named: all.
    pub only: &'a [Urgent],
    /// Where the object was made; nothing: both sides had it before they met, or it is not known.
    pub origin: Option<record::Side>,
    /// What time it is, in seconds since 1970.
    pub now: i64,
    /// A write there was begun and is to be ended, whatever else is carried.
    pub unfinished: bool,
}

impl Will<'_> {
    /// Returns a mapping's will without any particulars.
    pub fn of(policy: Policy) -> Will<'static> {
        Will { policy, rules: &[], only: &[], origin: None, now: 0, unfinished: false }
    }
}

/// What a person decided about a clash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decided {
    /// Our version is taken.
    Local,
    /// Theirs is.
    External,
    /// They are merged; of these properties this side's value is taken.
    Merge(BTreeMap<String, Winner>),
}

/// What is to be done about one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Nothing.
    Nothing,
    /// Remember that both sides, as they are, agree.
    Agree,
    /// Have the far side say this; what else it holds stays there.
    Push(Bytes),
    /// Store this whole text here.
    Pull(Bytes),
    /// Have both sides say this.
    Both(Bytes),
    /// Remove it on the far side.
    DeleteRemote,
    /// Remove it here.
    DeleteLocal,
    /// Forget what was agreed: it is gone on both sides, or one side's removal does not count.
    Forget,
    /// Leave both as they are until a person decides.
    Park,
}

/// How the two sides clash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Both changed the same thing since they agreed.
    BothChanged,
    /// Both have it and never agreed.
    BothNew,
    /// It was removed here and changed there (S3-070).
    DeletedHere,
    /// It was changed here and removed there.
    DeletedThere,
    /// The far side removed, cancelled or moved a confirmed booking (S1-038).
    BookingProtected,
    /// It is written over and over although nobody edits it.
    KeepsChanging,
}

impl Kind {
    /// Returns its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::BothChanged => "both_changed",
            Kind::BothNew => "both_new",
            Kind::DeletedHere => "deleted_here",
            Kind::DeletedThere => "deleted_there",
            Kind::BookingProtected => "booking_protected",
            Kind::KeepsChanging => "keeps_changing",
        }
    }
}

/// A clash between the two sides, whether a person or the policy decides it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clash {
    /// How they clash.
    pub kind: Kind,
    /// What clashes, in words.
    pub what: Vec<String>,
    /// Who won.
    pub winner: Winner,
    /// Who or what decided, in words; empty: nobody yet.
    pub by: String,
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
    let Decision { step, clash } = guarded(case).unwrap_or_else(|| free(case));
    let goes_out = urgent(case, &step, clash.as_ref());
    let step = match step {
        Step::Push(_) | Step::DeleteRemote if !pushes || !goes_out => Step::Nothing,
        Step::Both(bytes) if !goes_out => Step::Pull(whole(case, bytes)),
        Step::Pull(_) | Step::DeleteLocal if !pulls => Step::Nothing,
        Step::Both(bytes) if !pushes => Step::Pull(whole(case, bytes)),
        Step::Both(bytes) if !pulls => Step::Push(bytes),
        step => step,
    };
    match clash {
        // A clash of which nothing follows is none, except that of a booking: what the far side did is noted once.
        Some(clash) if step == Step::Nothing && clash.kind == Kind::BookingProtected => {
            let step = if matches!(case.remote, Side::Absent) { Step::Forget } else { Step::Agree };
            Decision { step, clash: Some(clash) }
        }
        Some(_) if step == Step::Nothing => step.into(),
        clash => Decision { step, clash },
    }
}

/// Tells whether what a step does on the far side is to be done there. A mapping may carry only what is urgent (S0-026):
/// it makes nothing there, and edits go along with the next change that is urgent. What a clash, a rule or a person
/// decided is carried in any case.
fn urgent(case: &Case<'_>, step: &Step, clash: Option<&Clash>) -> bool {
    let only = case.will.only;
    if only.is_empty() || case.will.unfinished || clash.is_some() || case.decided.is_some() {
        return true;
    }
    let (text, before) = match (step, case.base) {
        (Step::DeleteRemote, _) => return only.contains(&Urgent::Cancel),
        (Step::Push(bytes) | Step::Both(bytes), Some(before)) => (bytes.clone(), before),
        (Step::Push(_) | Step::Both(_), None) => return false,
        _ => return true,
    };
    let Ok(after) = Ical::parse(text) else { return true };
    let off = |ical: &Ical| {
        let all = ical.calendar().into_iter().flat_map(|calendar| calendar.components());
        all.filter(|component| shape::is_cancelled(*component)).count()
    };
    let kind = if off(&after) > off(before) { Urgent::Cancel } else { Urgent::Reschedule };
    !same_times(before, &after) && only.contains(&kind)
}

/// The table of both sides, for whatever is not protected.
fn free(case: &Case<'_>) -> Decision {
    match (case.base, case.local, case.remote) {
        // Nobody agreed on anything yet.
        (None, Side::Changed(local), Side::Changed(remote)) => both(case, local, remote, false),
        (None, Side::Changed(local), Side::Absent) => Step::Push(local.ical.bytes().clone()).into(),
        (None, Side::Absent, Side::Changed(remote)) => Step::Pull(remote.ical.bytes().clone()).into(),
        // They waited for a decision, or it was only announced.
        (None, Side::Absent, Side::Absent) => Step::Forget.into(),
        (None, _, _) => Step::Nothing.into(),
        (Some(_), Side::Same, Side::Same) => Step::Nothing.into(),
        // Written again, but nothing in it changed.
        (Some(base), Side::Changed(local), Side::Same) if print::print(local.ical) == print::print(base) => {
            Step::Agree.into()
        }
        (Some(_), Side::Changed(local), Side::Same) => Step::Push(local.ical.bytes().clone()).into(),
        (Some(base), Side::Same, Side::Changed(remote)) => {
            let pulled = case.ours.map(|ours| merge::carry(base, remote.ical, ours));
            Step::Pull(pulled.unwrap_or_else(|| remote.ical.bytes().clone())).into()
        }
        (Some(_), Side::Changed(local), Side::Changed(remote)) => both(case, local, remote, false),
        (Some(_), Side::Absent, Side::Absent) => Step::Forget.into(),
        (Some(_), Side::Absent, Side::Changed(remote)) => removed_here(case, remote),
        (Some(_), Side::Changed(local), Side::Absent) => removed_there(case, local),
        (Some(_), Side::Absent, Side::Same) => Step::DeleteRemote.into(),
        (Some(_), Side::Same, Side::Absent) => Step::DeleteLocal.into(),
    }
}

/// Decides where a confirmed booking of ours would be removed or moved: it stays. Nothing: it would not.
fn guarded(case: &Case<'_>) -> Option<Decision> {
    let shown = case.shown.filter(|_| case.ours.is_some_and(is_booked))?;
    // A person may do what no policy may.
    if matches!(case.decided, Some(Decided::External)) {
        return None;
    }
    let clash = |what: Vec<String>| {
        let by = "a confirmed booking is protected".to_owned();
        case.decided.is_none().then_some(Clash {
            kind: Kind::BookingProtected,
            what,
            winner: Winner::Local,
            by,
        })
    };
    match (case.base, case.local, case.remote) {
        (Some(_), Side::Same | Side::Changed(_), Side::Absent) => {
            let clash = clash(vec!["the booking is gone there".to_owned()]);
            Some(Decision { step: Step::Push(shown.bytes().clone()), clash })
        }
        (base, Side::Same | Side::Changed(_), Side::Changed(remote)) => {
            let moved = base.is_none_or(|base| !same_times(base, remote.ical));
            if !moved || same_times(shown, remote.ical) {
                return None;
            }
            let local = match case.local {
                Side::Changed(local) => local,
                _ => Version { ical: shown, stored: None },
            };
            let Decision { step, clash: other } = both(case, local, remote, true);
            // A person's word on the rest is waited for with both sides untouched.
            if step == Step::Park {
                return Some(Decision { step, clash: other });
            }
            let mut what = vec!["the booking is moved or cancelled there".to_owned()];
            what.extend(other.into_iter().flat_map(|clash| clash.what));
            Some(Decision { step, clash: clash(what) })
        }
        _ => None,
    }
}

fn is_booked(ours: &Ical) -> bool {
    let Some(calendar) = ours.calendar() else { return false };
    calendar.components().any(|c| c.property(BOOKING).is_some() && !shape::is_cancelled(c))
}

/// An edit beats a deletion: what somebody still works on is brought back, unless a person says otherwise.
fn removed_here(case: &Case<'_>, remote: Version<'_>) -> Decision {
    let what = vec!["it is gone here and changed there".to_owned()];
    let bytes = remote.ical.bytes().clone();
    edit_or_removal(
        case,
        None,
        Some(remote),
        (Kind::DeletedHere, what),
        Step::Pull(bytes),
        Step::DeleteRemote,
    )
}

fn removed_there(case: &Case<'_>, local: Version<'_>) -> Decision {
    let what = vec!["it is changed here and gone there".to_owned()];
    let bytes = local.ical.bytes().clone();
    edit_or_removal(case, Some(local), None, (Kind::DeletedThere, what), Step::Push(bytes), Step::DeleteLocal)
}

fn edit_or_removal(
    case: &Case<'_>,
    local: Option<Version<'_>>,
    remote: Option<Version<'_>>,
    (kind, what): (Kind, Vec<String>),
    edit: Step,
    removal: Step,
) -> Decision {
    let editor = if local.is_some() { Winner::Local } else { Winner::External };
    match (case.decided, editor) {
        (Some(Decided::Local), Winner::External) | (Some(Decided::External), Winner::Local) => {
            return removal.into();
        }
        (Some(_), _) => return edit.into(),
        (None, _) => {}
    }
    let sides = (local.map(|v| v.ical), remote.map(|v| v.ical));
    let (policy, by) = policy(case, sides, &what);
    if case.direction == Direction::Both && policy == Policy::Ask {
        let clash = Clash { kind, what, winner: Winner::Open, by };
        return Decision { step: Step::Park, clash: Some(clash) };
    }
    let by = "an edit goes before a removal".to_owned();
    Decision { step: edit, clash: Some(Clash { kind, what, winner: editor, by }) }
}

/// Both sides have something new. `keep_times`: ours is a booking and stays where it is.
fn both(case: &Case<'_>, local: Version<'_>, remote: Version<'_>, keep_times: bool) -> Decision {
    if print::print(local.ical) == print::print(remote.ical) {
        return Step::Agree.into();
    }
    let nothing = Ical::parse(&b"BEGIN:VCALENDAR\r\nEND:VCALENDAR\r\n"[..]).ok();
    // Without a common past every difference is a clash, but what only one side has is kept.
    let base = case.base.or(nothing.as_ref()).unwrap_or(remote.ical);
    let forced = |name: &str| match case.decided {
        Some(Decided::Merge(choices)) => choices.get(name).and_then(|winner| match winner {
            Winner::Local => Some(Whose::Ours),
            Winner::External => Some(Whose::Theirs),
            Winner::Open => None,
        }),
        _ => None,
    };
    let merged =
        |clash| merge_as(base, local.ical, remote.ical, &Wish { clash, forced: &forced, keep_times });
    let (ours, what) = match merged(Whose::Ours) {
        Merged::Clean(view) => return spread(case, view, local, remote).into(),
        Merged::Conflict { merged, clashes } => (merged, clashes),
    };
    let kind = if case.base.is_some() { Kind::BothChanged } else { Kind::BothNew };
    let (winner, by) = winner(case, local, remote, &what);
    let view = match winner {
        Winner::Open => {
            return Decision { step: Step::Park, clash: Some(Clash { kind, what, winner, by }) };
        }
        Winner::Local => ours,
        Winner::External => merged(Whose::Theirs).bytes().clone(),
    };
    // What a person has decided is on record already.
    let clash = case.decided.is_none().then_some(Clash { kind, what, winner, by });
    Decision { step: spread(case, view, local, remote), clash }
}

/// Who wins a clash, and who or what says so.
fn winner(case: &Case<'_>, local: Version<'_>, remote: Version<'_>, what: &[String]) -> (Winner, String) {
    match case.decided {
        Some(Decided::Local) => return (Winner::Local, String::new()),
        Some(Decided::External) => return (Winner::External, String::new()),
        Some(Decided::Merge(_)) | None => {}
    }
    match case.direction {
        // What is carried one way only has its truth at the source.
        Direction::Pull => return (Winner::External, "the direction `pull`".to_owned()),
        Direction::Push => return (Winner::Local, "the direction `push`".to_owned()),
        Direction::Both => {}
    }
    let (policy, by) = policy(case, (Some(local.ical), Some(remote.ical)), what);
    let winner = match policy {
        Policy::External => Winner::External,
        Policy::Local => Winner::Local,
        Policy::Ask if case.decided.is_none() => Winner::Open,
        Policy::Ask | Policy::Newest => {
            // Our own text keeps its stamps, whatever the far side can hold of it.
            let local = Version { ical: case.ours.unwrap_or(local.ical), ..local };
            if is_later(local, remote, case.base) { Winner::Local } else { Winner::External }
        }
    };
    (winner, by)
}

/// The policy of the first rule that fits either side, else the mapping's; and its name in words (E1, S0-011).
fn policy(
    case: &Case<'_>,
    (local, remote): (Option<&Ical>, Option<&Ical>),
    what: &[String],
) -> (Policy, String) {
    let sides = [local.and(case.ours).or(local), remote];
    let fits = |rule: &Rule| {
        concerns(case, &rule.when, what)
            && sides.iter().flatten().any(|side| {
                let soon = |within: Within| shape::begins_within(side, case.will.now, within);
                rule.when.starts_within.is_none_or(soon) && shape::matches(&rule.when, side)
            })
    };
    let found = case.will.rules.iter().enumerate().find(|(_, rule)| fits(rule));
    let (policy, by) = match found {
        Some((at, rule)) => (rule.policy, format!("rule {}, ", at.saturating_add(1))),
        None => (case.will.policy, String::new()),
    };
    let name = match policy {
        Policy::Newest => "newest",
        Policy::External => "external",
        Policy::Local => "local",
        Policy::Ask => return (policy, String::new()),
    };
    (policy, format!("{by}the policy `{name}`"))
}

/// Tells whether a rule is about such an object and such a clash, as far as neither side's text says so.
fn concerns(case: &Case<'_>, when: &Match, what: &[String]) -> bool {
    let named = |name: &String| {
        let name = match name.as_str() {
            "time" => "time and recurrence",
            name => name,
        };
        // `SUMMARY`, `ATTENDEE mailto:…`, `SUMMARY of the instance of …`.
        what.iter().any(|clash| {
            clash.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
        })
    };
    when.origin.is_none_or(|origin| case.will.origin == Some(origin))
        && when.protected.is_none_or(|protected| protected == case.ours.is_some_and(is_booked))
        && when.field.as_ref().is_none_or(named)
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

/// Stores the merged view where it says something new.
fn spread(case: &Case<'_>, view: Bytes, local: Version<'_>, remote: Version<'_>) -> Step {
    let merged = Ical::parse(view.clone()).ok().map(|ical| print::print(&ical));
    let here = merged.as_ref() == Some(&print::print(local.ical));
    let there = merged.as_ref() == Some(&print::print(remote.ical));
    match (here, there) {
        (true, true) => Step::Agree,
        (true, false) => Step::Push(local.ical.bytes().clone()),
        (false, true) => Step::Pull(whole(case, view)),
        (false, false) => Step::Both(view),
    }
}

/// Returns our whole text, edited so that its view says this: what the mapping does not carry or the far side cannot
/// hold stays in it.
fn whole(case: &Case<'_>, view: Bytes) -> Bytes {
    match (case.shown, case.ours, Ical::parse(view.clone())) {
        (Some(shown), Some(ours), Ok(to)) => merge::carry(shown, &to, ours),
        _ => view,
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
        told((base, local, remote), direction, policy, &[], None)
    }

    fn told(
        (base, local, remote): (&str, &str, &str),
        direction: Direction,
        policy: Policy,
        rules: &[Rule],
        person: Option<&Decided>,
    ) -> String {
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
            shown: ours,
            direction,
            will: Will { rules, ..Will::of(policy) },
            decided: person,
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

    // S3-068, E31, S3-141, S4-067 ; sync-patterns §3: the whole table
    #[test]
    fn every_pair_of_sides_has_its_step() {
        check("A", "=", "=", "nothing");
        check("A", "B", "=", "push B - -");
        check("A", "=", "B", "pull B - -");
        check("A", "B", "B", "agree");
        check("A", "A - - @0100", "=", "agree");
        check("A", "gone", "=", "delete there");
        check("A", "gone", "B", "pull B - -, they won");
        check("A", "=", "gone", "delete here");
        check("A", "B", "gone", "push B - -, we won");
        check("A", "gone", "gone", "forget");
        check("none", "A", "gone", "push A - -");
        check("none", "gone", "A", "pull A - -");
        check("none", "A", "A", "agree");
        check("none", "gone", "gone", "forget");
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
            shown: Some(&base),
            direction: Direction::Both,
            will: Will::of(Policy::Newest),
            decided: None,
        };
        let Step::Pull(bytes) = plan(&case).step else { panic!() };
        assert_eq!(words(&bytes), "B x own");
    }

    // E1, S0-011: a rule may ask where an object was made, whether it is a booking, how soon it begins, what clashes
    #[test]
    fn a_rule_may_ask_for_more_than_the_text_says() {
        let (base, ours, theirs) = (object("A x"), object("B x"), object("C x"));
        // They begin at ten o'clock on the first of January 2026.
        let ten = 1_767_261_600;
        let asked = |when: Match, origin: Option<record::Side>, now: i64| {
            let rules = [Rule { when, policy: Policy::Local }];
            let case = Case {
                local: Side::Changed(Version { ical: &ours, stored: None }),
                remote: Side::Changed(Version { ical: &theirs, stored: None }),
                base: Some(&base),
                ours: Some(&ours),
                shown: Some(&ours),
                direction: Direction::Both,
                will: Will { rules: &rules, origin, now, ..Will::of(Policy::External) },
                decided: None,
            };
            plan(&case).clash.unwrap().winner == Winner::Local
        };
        let plain = |when: Match| asked(when, None, 0);
        use record::Side::{External, Local};
        let of = |origin| Match { origin: Some(origin), ..Match::default() };
        assert!(asked(of(Local), Some(Local), 0) && asked(of(External), Some(External), 0));
        assert!(!asked(of(Local), Some(External), 0) && !asked(of(Local), None, 0));
        let field = |name: &str| Match { field: Some(name.to_owned()), ..Match::default() };
        assert!(plain(field("SUMMARY")));
        assert!(!plain(field("SUMM")) && !plain(field("LOCATION")) && !plain(field("time")));
        let soon = |seconds| Match { starts_within: Some(Within(seconds)), ..Match::default() };
        assert!(asked(soon(3600), None, ten - 3600) && asked(soon(3600), None, ten));
        assert!(!asked(soon(3600), None, ten - 3601) && !asked(soon(3600), None, ten + 1));
        let protected = |protected| Match { protected: Some(protected), ..Match::default() };
        assert!(plain(protected(false)) && !plain(protected(true)));
        // All that is asked for must hold.
        let both = Match { field: Some("SUMMARY".into()), ..of(Local) };
        assert!(asked(both.clone(), Some(Local), 0) && !asked(both, Some(External), 0));
    }

    // E1: a rule for confirmed bookings decides what is not their time, which nobody moves
    #[test]
    fn a_rule_may_be_about_bookings() {
        let base = booking("DTSTART:20260101T100000Z\nSUMMARY:A\n");
        let ours = booking("DTSTART:20260101T100000Z\nSUMMARY:B\nX-KALENDS-BOOKING:7\n");
        let shown = booking("DTSTART:20260101T100000Z\nSUMMARY:B\n");
        let theirs = booking("DTSTART:20260101T100000Z\nSUMMARY:C\n");
        let when = Match { protected: Some(true), ..Match::default() };
        let rules = [Rule { when, policy: Policy::Local }];
        let case = Case {
            local: Side::Changed(Version { ical: &shown, stored: None }),
            remote: Side::Changed(Version { ical: &theirs, stored: None }),
            base: Some(&base),
            ours: Some(&ours),
            shown: Some(&shown),
            direction: Direction::Both,
            will: Will { rules: &rules, ..Will::of(Policy::External) },
            decided: None,
        };
        let clash = plan(&case).clash.unwrap();
        assert_eq!((clash.winner, clash.by.as_str()), (Winner::Local, "rule 1, the policy `local`"));
    }

    // S0-026: the far side's interface is used for what is urgent only
    #[test]
    fn a_mapping_may_carry_only_what_is_urgent() {
        const A: &str = "DTSTART:20260101T100000Z\nSUMMARY:A\n";
        let base = booking(A);
        let told = |local: Option<&str>, there: Option<&str>, only: &[Urgent]| {
            let (ours, theirs) = (local.map(booking), there.map(booking));
            let of = |ical| Side::Changed(Version { ical, stored: None });
            let case = Case {
                local: ours.as_ref().map_or(Side::Absent, of),
                remote: theirs.as_ref().map_or(Side::Same, of),
                base: Some(&base),
                ours: ours.as_ref(),
                shown: ours.as_ref(),
                direction: Direction::Both,
                will: Will { only, ..Will::of(Policy::Newest) },
                decided: None,
            };
            match plan(&case).step {
                Step::Push(_) => "push",
                Step::Both(_) => "both",
                Step::Pull(_) => "pull",
                Step::DeleteRemote => "delete",
                Step::Nothing => "nothing",
                other => panic!("{other:?}"),
            }
        };
        const OTHER: &str = "DTSTART:20260101T100000Z\nSUMMARY:B\n";
        const MOVED: &str = "DTSTART:20260101T120000Z\nSUMMARY:B\n";
        const OFF: &str = "DTSTART:20260101T100000Z\nSUMMARY:A\nSTATUS:CANCELLED\n";
        const PLACED: &str = "DTSTART:20260101T100000Z\nSUMMARY:A\nLOCATION:x\n";
        use Urgent::{Cancel, Reschedule};
        for (local, there, all, both, moves, ends) in [
            (Some(OTHER), None, "push", "nothing", "nothing", "nothing"),
            (Some(MOVED), None, "push", "push", "push", "nothing"),
            (Some(OFF), None, "push", "push", "nothing", "push"),
            (None, None, "delete", "delete", "nothing", "delete"),
            // What comes from there comes in any case.
            (Some(OTHER), Some(PLACED), "both", "pull", "pull", "pull"),
            (Some(MOVED), Some(PLACED), "both", "both", "both", "pull"),
        ] {
            assert_eq!(told(local, there, &[]), all, "{local:?} {there:?}");
            assert_eq!(told(local, there, &[Reschedule, Cancel]), both, "{local:?} {there:?}");
            assert_eq!(told(local, there, &[Reschedule]), moves, "{local:?} {there:?}");
            assert_eq!(told(local, there, &[Cancel]), ends, "{local:?} {there:?}");
        }
        // Nothing is made there.
        let ours = booking(A);
        let case = Case {
            local: Side::Changed(Version { ical: &ours, stored: None }),
            remote: Side::Absent,
            base: None,
            ours: Some(&ours),
            shown: Some(&ours),
            direction: Direction::Both,
            will: Will { only: &[Reschedule], ..Will::of(Policy::Newest) },
            decided: None,
        };
        assert_eq!(plan(&case).step, Step::Nothing);
    }

    // E1, E31, S3-068, S3-069
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
            ("A", "gone", "B", "pull B - -, they won", "nothing"),
            ("A", "B", "gone", "nothing", "push B - -, we won"),
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

    // E1, S0-011: the first rule that fits either side decides, before the policy
    #[test]
    fn rules_go_before_the_policy() {
        let rule = |text: &str| -> Rule { serde_json::from_str(text).unwrap() };
        let ours = rule(r#"{"when":{"title":"dentist"},"policy":"local"}"#);
        let ask = rule(r#"{"when":{"recurring":false},"policy":"ask"}"#);
        let never = rule(r#"{"when":{"all_day":true},"policy":"external"}"#);
        let rows: &[(&[Rule], &str, &str, &str)] = &[
            (&[], "B", "C", "pull C - -, they won"),
            (std::slice::from_ref(&ours), "Dentist", "C", "push Dentist - -, we won"),
            (std::slice::from_ref(&ours), "B", "dentist", "push B - -, we won"),
            (std::slice::from_ref(&ours), "B", "C", "pull C - -, they won"),
            (&[never.clone(), ours.clone(), ask.clone()], "Dentist", "C", "push Dentist - -, we won"),
            (&[never.clone(), ask.clone(), ours.clone()], "Dentist", "C", "park, open"),
            (std::slice::from_ref(&never), "B", "C", "pull C - -, they won"),
        ];
        for (rules, local, remote, expected) in rows {
            let found = told(("A", local, remote), Direction::Both, Policy::Newest, rules, None);
            assert_eq!(found, *expected, "{rules:?} {local} {remote}");
        }
        // One way, the source is right whatever the rules say.
        let found = told(("A", "Dentist", "C"), Direction::Pull, Policy::Newest, &[ours], None);
        assert_eq!(found, "pull C - -, they won");
    }

    // S3-070, S3-074
    #[test]
    fn a_removal_against_an_edit_is_a_clash_and_a_person_may_decide_it() {
        let rows = [
            ("gone", "B", None, "park, open"),
            ("B", "gone", None, "park, open"),
            ("gone", "B", Some(Decided::Local), "delete there"),
            ("gone", "B", Some(Decided::External), "pull B - -"),
            ("B", "gone", Some(Decided::Local), "push B - -"),
            ("B", "gone", Some(Decided::External), "delete here"),
            ("B", "gone", Some(Decided::Merge(BTreeMap::new())), "push B - -"),
        ];
        for (local, remote, person, expected) in rows {
            let found = told(("A", local, remote), Direction::Both, Policy::Ask, &[], person.as_ref());
            assert_eq!(found, expected, "{local} {remote} {person:?}");
        }
    }

    #[test]
    fn a_person_decides_field_by_field() {
        let choose = |pairs: &[(&str, Winner)]| {
            Decided::Merge(pairs.iter().map(|(name, winner)| ((*name).to_owned(), *winner)).collect())
        };
        let (ours, theirs) = (Winner::Local, Winner::External);
        let rows = [
            (Decided::Local, "push B y own"),
            (Decided::External, "both C z own"),
            (choose(&[("SUMMARY", ours), ("LOCATION", theirs)]), "both B z own"),
            (choose(&[("SUMMARY", theirs), ("LOCATION", ours)]), "both C y own"),
            (choose(&[("SUMMARY", ours), ("LOCATION", ours)]), "push B y own"),
            // What nobody named is the newest's.
            (choose(&[("SUMMARY", ours)]), "both B z own"),
        ];
        for (person, expected) in rows {
            let found = told(("A x", "B y own", "C z"), Direction::Both, Policy::Ask, &[], Some(&person));
            assert_eq!(found, expected, "{person:?}");
        }
    }

    fn booking(lines: &str) -> Ical {
        let text = format!(
            "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nBEGIN:VEVENT\r\nUID:u\r\n{}END:VEVENT\r\nEND:VCALENDAR\r\n",
            lines.replace('\n', "\r\n")
        );
        Ical::parse(text.into_bytes()).unwrap()
    }

    /// What becomes of a booking: the step, the title and start that it leaves, the clash.
    fn kept(
        remote: &str,
        direction: Direction,
        policy: Policy,
        mark: &str,
        person: Option<&Decided>,
    ) -> String {
        const BASE: &str = "DTSTART:20260101T100000Z\nSUMMARY:A\n";
        let base = booking(BASE);
        let ours = booking(&format!("{BASE}{mark}"));
        let there = (remote != "gone").then(|| booking(remote));
        let case = Case {
            local: Side::Same,
            remote: there
                .as_ref()
                .map_or(Side::Absent, |ical| Side::Changed(Version { ical, stored: Some(9) })),
            base: Some(&base),
            ours: Some(&ours),
            shown: Some(&base),
            direction,
            will: Will::of(policy),
            decided: person,
        };
        let Decision { step, clash } = plan(&case);
        let said = |bytes: &Bytes| {
            let ical = Ical::parse(bytes.clone()).unwrap();
            let event = ical.calendar().unwrap().named("VEVENT").next().unwrap();
            let word = |name: &str| event.property(name).map_or(String::new(), |p| p.text());
            let marked = if event.property(BOOKING).is_some() { " marked" } else { "" };
            format!("{} {}{marked}", word("SUMMARY"), &word("DTSTART")[9..11])
        };
        let step = match &step {
            Step::Push(bytes) => format!("push {}", said(bytes)),
            Step::Pull(bytes) => format!("pull {}", said(bytes)),
            Step::Both(bytes) => format!("both {}", said(bytes)),
            other => format!("{other:?}").to_lowercase(),
        };
        match clash {
            Some(clash) => format!("{step}, {}", clash.kind.as_str()),
            None => step,
        }
    }

    // S1-038, E1: no policy removes or moves a confirmed booking
    #[test]
    fn a_confirmed_booking_stays_where_it_is() {
        const MARK: &str = "X-KALENDS-BOOKING:7\n";
        let moved = "DTSTART:20260101T120000Z\nSUMMARY:A\n";
        let moved_and_named = "DTSTART:20260101T120000Z\nSUMMARY:B\n";
        let named = "DTSTART:20260101T100000Z\nSUMMARY:B\n";
        let cancelled = "DTSTART:20260101T100000Z\nSUMMARY:A\nSTATUS:CANCELLED\n";
        for policy in [Policy::Newest, Policy::External, Policy::Local, Policy::Ask] {
            let rows = [
                ("gone", Direction::Both, "push A 10, booking_protected"),
                ("gone", Direction::Pull, "forget, booking_protected"),
                (moved, Direction::Both, "push A 10, booking_protected"),
                (moved, Direction::Pull, "agree, booking_protected"),
                (moved_and_named, Direction::Both, "both B 10, booking_protected"),
                (moved_and_named, Direction::Pull, "pull B 10 marked, booking_protected"),
                (cancelled, Direction::Both, "push A 10, booking_protected"),
                (named, Direction::Both, "pull B 10 marked"),
            ];
            for (remote, direction, expected) in rows {
                assert_eq!(kept(remote, direction, policy, MARK, None), expected, "{policy:?} {remote}");
            }
        }
        // A person may; one that is cancelled, or none, may be moved by anybody.
        let person = Some(&Decided::External);
        assert_eq!(kept("gone", Direction::Both, Policy::Newest, MARK, person), "deletelocal");
        assert_eq!(kept(moved, Direction::Both, Policy::Newest, MARK, person), "pull A 12 marked");
        assert_eq!(kept(moved, Direction::Both, Policy::Newest, "", None), "pull A 12");
        let off = format!("{MARK}STATUS:CANCELLED\n");
        assert_eq!(kept("gone", Direction::Both, Policy::Newest, &off, None), "deletelocal");
    }
}

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

//! A series that is another one from an instance on (`RANGE=THISANDFUTURE`, RFC 5545 §3.2.13), as two series.
//!
//! Owns: where each ends and begins. Does not own: when that is needed (`fit`).

use super::rule::Recurrence;
use super::when::Frame;
use super::write::Plan;
use crate::ical::recur::Rule;
use crate::ical::value::{Civil, DAY};

/// Splits a series at the instance that changes it and all after it. Nothing: two rules cannot say the same.
pub(in crate::bridge::google) fn split(plan: &Plan, from: i64) -> Option<(Plan, Plan)> {
    let [line] = plan.recurrence.rules.as_slice() else { return None };
    let rule = line.strip_prefix("RRULE:")?;
    let later = plan.overrides.get(&from)?;
    let frame = plan.master.frame();
    if later.frame() != frame || from <= plan.master.start {
        return None;
    }
    let wall = |at: i64| match frame {
        Frame::Date => at,
        Frame::Timed { zone, .. } => zone.to_civil(at).0,
    };
    let shift = wall(later.start) - wall(from);
    let same_day = wall(later.start).div_euclid(DAY) == wall(from).div_euclid(DAY);
    // A rule that names days would name others.
    let free = !rule.contains(";BY") && (rule.contains("FREQ=DAILY") || rule.contains("FREQ=WEEKLY"));
    if !same_day && !free {
        return None;
    }
    let moved = |at: i64| frame.shifted(at, shift);
    let before = |at: &i64| *at < from;
    let one = Plan {
        master: plan.master.clone(),
        recurrence: Recurrence {
            rules: vec![format!("RRULE:{}", ended(rule, frame, from))],
            rdates: plan.recurrence.rdates.iter().copied().filter(before).collect(),
            exdates: plan.recurrence.exdates.iter().copied().filter(before).collect(),
            unheld: None,
        },
        overrides: plan
            .overrides
            .iter()
            .filter(|(at, _)| before(at))
            .map(|(at, d)| (*at, d.clone()))
            .collect(),
    };
    let other = Plan {
        master: later.clone(),
        recurrence: Recurrence {
            rules: vec![format!("RRULE:{}", continued(rule, frame, plan.master.start, from, shift)?)],
            rdates: plan.recurrence.rdates.iter().filter(|at| **at > from).map(|at| moved(*at)).collect(),
            exdates: plan.recurrence.exdates.iter().filter(|at| **at > from).map(|at| moved(*at)).collect(),
            unheld: None,
        },
        overrides: plan
            .overrides
            .iter()
            .filter(|(at, _)| **at > from)
            .map(|(at, draft)| (moved(*at), draft.clone()))
            .collect(),
    };
    Some((one, other))
}

/// The rule, ending before that moment.
fn ended(rule: &str, frame: &Frame, from: i64) -> String {
    let until = match frame {
        Frame::Date => Civil(from - DAY).to_date(),
        Frame::Timed { zone, floating: true, .. } => zone.to_civil(from - 1).to_basic(),
        Frame::Timed { .. } => format!("{}Z", Civil(from - 1).to_basic()),
    };
    let kept = rule.split(';').filter(|part| !part.starts_with("COUNT=") && !part.starts_with("UNTIL="));
    format!("{};UNTIL={until}", kept.collect::<Vec<_>>().join(";"))
}

/// The rule, for what is left of it. Nothing: nothing is left.
fn continued(rule: &str, frame: &Frame, start: i64, from: i64, shift: i64) -> Option<String> {
    let read = Rule::parse(rule).ok()?;
    let wall = |at: i64| match frame {
        Frame::Date => Civil(at),
        Frame::Timed { zone, .. } => zone.to_civil(at),
    };
    let mut parts = Vec::new();
    for part in rule.split(';') {
        match part.split_once('=') {
            Some(("COUNT", _)) => {
                let gone = read.between(wall(start), wall(start), Civil(wall(from).0 - 1)).count();
                let left = read.count?.checked_sub(u64::try_from(gone).ok()?).filter(|left| *left > 0)?;
                parts.push(format!("COUNT={left}"));
            }
            Some(("UNTIL", text)) => {
                let at = Civil::parse(text)?;
                parts.push(match frame {
                    Frame::Date => format!("UNTIL={}", Civil(at.0 + shift).to_date()),
                    Frame::Timed { floating: true, .. } => {
                        format!("UNTIL={}", Civil(at.0 + shift).to_basic())
                    }
                    Frame::Timed { .. } => format!("UNTIL={}Z", Civil(frame.shifted(at.0, shift)).to_basic()),
                });
            }
            _ => parts.push(part.to_owned()),
        }
    }
    Some(parts.join(";"))
}

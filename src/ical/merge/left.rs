//! What a change that broke off half-way left behind.
//!
//! Owns: telling what somebody else did meanwhile from what is half done. Does not own: what follows of it (`bridge`).

use std::collections::BTreeSet;

use bytes::Bytes;

use super::says::{self, Clocks, Element, all_say, children, children_say, names};
use super::{head, text_of};
use crate::ical::tree::Edit;
use crate::ical::{Component, Ical};

/// Sets of times of which single ones come and go while a series is written.
const DAYS: [&str; 2] = ["EXDATE", "RDATE"];

/// Returns `found` without what somebody else did to it, where a change from `before` to `wished` was begun and nobody
/// knows how far it came.
///
/// What `found` says as either of them does is the change's. So is what it lacks of instances, and of days that are left
/// out or added: whoever writes a series piece by piece loses them on the way. An instance may also say what its series
/// says. Everything else somebody else did: there, the text returned says what `before` says. As the base of a merge it
/// therefore takes nothing away that is not written yet, and hides nothing that somebody else wrote.
pub fn left_behind(before: &Ical, wished: &Ical, found: &Ical) -> Bytes {
    let Some(calendar) = found.calendar() else { return found.bytes().clone() };
    let (was, wish) = (says::components(before.calendar()), says::components(wished.calendar()));
    let now = says::components(Some(calendar));
    let mut edit = found.edit();
    for (key, there) in &now {
        let own = [was.get(key).copied(), wish.get(key).copied()];
        let Some(source) = own.into_iter().flatten().next() else {
            edit = edit.remove_component(*there);
            continue;
        };
        let series: Vec<Component<'_>> = match there.property("RECURRENCE-ID") {
            Some(_) => [&was, &wish, &now].iter().filter_map(|all| all.get(there.name()).copied()).collect(),
            None => Vec::new(),
        };
        edit = Piece { there: *there, own, source, series }.cleared(edit, (before, wished));
    }
    // A day that somebody left out is gone on purpose, with the instance that took place on it.
    for (name, series) in now.iter().filter(|(name, _)| name.as_str() == series_of(name)) {
        let out = left_out(Some(*series));
        let known: BTreeSet<String> =
            [&was, &wish].iter().flat_map(|all| left_out(all.get(name).copied())).collect();
        for day in out.difference(&known) {
            let key = format!("{name} {day}");
            if let (false, Some(instance)) = (now.contains_key(&key), was.get(&key).or(wish.get(&key))) {
                edit = edit.append_component(calendar, &text_of(*instance));
            }
        }
    }
    edit.finish()
}

/// Tells whether a series lacks what it had before: an instance of its own whose day was not left out either, or a day
/// that was left out and takes place again. An answer that is short looks like that, too.
pub fn lacks(before: &Ical, found: &Ical) -> bool {
    let (was, now) = (says::components(before.calendar()), says::components(found.calendar()));
    was.iter().any(|(key, component)| {
        let name = series_of(key);
        let out = left_out(now.get(name).copied());
        match key.split_once(' ') {
            Some((_, day)) => !now.contains_key(key) && !out.contains(day),
            None => left_out(Some(*component))
                .iter()
                .any(|day| !out.contains(day) && !now.contains_key(&format!("{name} {day}"))),
        }
    })
}

/// The type of component that a key names.
fn series_of(key: &str) -> &str {
    key.split(' ').next().unwrap_or_default()
}

fn left_out(series: Option<Component<'_>>) -> BTreeSet<String> {
    let Some(calendar) = series.and_then(|series| series.ical().calendar()) else { return BTreeSet::new() };
    Clocks::of(calendar).moments(series, "EXDATE").into_keys().collect()
}

/// One component that is there.
struct Piece<'a, 'b> {
    there: Component<'a>,
    /// The same one, before and as it is to be.
    own: [Option<Component<'b>>; 2],
    /// What stands instead of what somebody else did.
    source: Component<'b>,
    /// Of an instance, the series in all three texts.
    series: Vec<Component<'b>>,
}

impl<'a, 'b: 'a> Piece<'a, 'b> {
    fn cleared(&self, mut edit: Edit<'a>, (before, wished): (&'b Ical, &'b Ical)) -> Edit<'a> {
        let there = Some(self.there);
        let mut all: BTreeSet<String> = names(there);
        self.own.iter().for_each(|own| all.extend(names(*own)));
        for name in all.iter().map(String::as_str) {
            if DAYS.contains(&name) {
                edit = self.cleared_days(edit, name, (before, wished));
                continue;
            }
            let said = all_say(there, name);
            let ours = self.own.iter().flatten().chain(&self.series);
            if ours.map(|own| all_say(Some(*own), name)).any(|own| own == said) {
                continue;
            }
            for theirs in self.there.all(name) {
                edit = edit.remove(theirs);
            }
            for own in self.source.all(name) {
                edit = edit.insert(self.there, &own.logical());
            }
        }
        let said = children_say(there);
        let mut ours = self.own.iter().flatten().chain(&self.series);
        if ours.all(|own| children_say(Some(*own)) != said) {
            for child in children(there) {
                edit = edit.remove_component(child.component);
            }
            for child in children(Some(self.source)) {
                edit = edit.append_component(self.there, &text_of(child.component));
            }
        }
        edit
    }

    /// Takes out the days that neither text names.
    fn cleared_days(&self, mut edit: Edit<'a>, name: &str, texts: (&'b Ical, &'b Ical)) -> Edit<'a> {
        let moments = |ical: &Ical, component: Option<Component<'b>>| -> BTreeSet<String> {
            ical.calendar().map_or_else(BTreeSet::new, |calendar| {
                Clocks::of(calendar).moments(component, name).into_keys().collect()
            })
        };
        let [before, wished] = self.own;
        let mut known = moments(texts.0, before);
        known.extend(moments(texts.1, wished));
        let Some(calendar) = self.there.ical().calendar() else { return edit };
        let there = Clocks::of(calendar).moments(Some(self.there), name);
        let kept: Vec<&Element<'_>> =
            there.iter().filter(|(moment, _)| known.contains(*moment)).map(|(_, element)| element).collect();
        if kept.len() == there.len() {
            return edit;
        }
        for line in self.there.all(name) {
            let of_line = kept.iter().filter(|element| element.property.span() == line.span());
            let values: Vec<&str> = of_line.map(|element| element.raw.as_str()).collect();
            edit = match values.is_empty() {
                true => edit.remove(line),
                false => edit.replace(line, &format!("{}{}", head(line), values.join(","))),
            };
        }
        edit
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::{Merged, equal, merge};
    use super::*;

    const DAY: &str = "RECURRENCE-ID:20260103T100000Z|DTSTART:20260103T150000Z|SUMMARY:Rehearsal|X-OWN:1|";

    fn object(master: &str, instances: &[&str]) -> Ical {
        let all = std::iter::once(&master).chain(instances);
        let events: String = all
            .map(|lines| format!("BEGIN:VEVENT|UID:a|DTSTAMP:20260101T000000Z|{lines}END:VEVENT|"))
            .collect();
        let text = format!("BEGIN:VCALENDAR|VERSION:2.0|{events}END:VCALENDAR|").replace('|', "\r\n");
        Ical::parse(text.into_bytes()).unwrap()
    }

    fn series(rest: &str) -> String {
        format!("DTSTART:20260101T100000Z|{rest}|")
    }

    fn check(found: &Ical, left: &Ical) {
        let before =
            object(&series("RRULE:FREQ=DAILY;COUNT=5|EXDATE:20260102T100000Z|SUMMARY:Choir"), &[DAY]);
        let wished =
            object(&series("RRULE:FREQ=DAILY;COUNT=9|EXDATE:20260102T100000Z|SUMMARY:Choir"), &[DAY]);
        let told = left_behind(&before, &wished, found);
        assert!(equal(&Ical::parse(told.clone()).unwrap(), left), "{}", String::from_utf8_lossy(&told));
        // Merged with ours nothing of ours is gone, and nothing clashes that nobody else changed.
        let base = Ical::parse(told).unwrap();
        let Merged::Clean(merged) = merge(&base, &wished, found) else { panic!("a clash") };
        let merged = String::from_utf8_lossy(&merged).into_owned();
        assert!(merged.contains("COUNT=9"), "{merged}");
    }

    // S3-076: what is not written yet was not removed
    #[test]
    fn what_is_half_done_is_what_was_left_behind() {
        let (rule, out) = ("RRULE:FREQ=DAILY;COUNT=9", "EXDATE:20260102T100000Z");
        for found in [
            object(&series(&format!("{rule}|SUMMARY:Choir")), &[]),
            object(&series(&format!("{rule}|{out}|SUMMARY:Choir")), &[]),
            object(&series(&format!("{rule}|SUMMARY:Choir")), &[DAY]),
            object(&series(&format!("RRULE:FREQ=DAILY;COUNT=5|{out}|SUMMARY:Choir")), &[DAY]),
            // An instance that says what its series says.
            object(&series(&format!("{rule}|SUMMARY:Choir")), &[&DAY.replace("Rehearsal", "Choir")]),
        ] {
            check(&found, &found);
        }
    }

    #[test]
    fn what_an_answer_lacks_is_noticed() {
        let (rule, out) = ("RRULE:FREQ=DAILY;COUNT=9", "EXDATE:20260102T100000Z");
        let whole = || object(&series(&format!("{rule}|{out}")), &[DAY]);
        for (found, short) in [
            (whole(), false),
            (object(&series(&format!("{rule}|{out}")), &[]), true),
            (object(&series(rule), &[DAY]), true),
            (object(&series(&format!("{rule}|{out},20260103T100000Z")), &[]), false),
            (object(&series(rule), &[DAY, &DAY.replace("ID:20260103", "ID:20260102")]), false),
            (
                object(
                    &series(&format!("{rule}|EXDATE;TZID=Etc/GMT-1:20260102T110000|LOCATION:Inn")),
                    &[DAY],
                ),
                false,
            ),
        ] {
            assert_eq!(lacks(&whole(), &found), short, "{found:?}");
        }
    }

    #[test]
    fn what_somebody_else_did_is_taken_out() {
        let rule = "RRULE:FREQ=DAILY;COUNT=9";
        let plain = object(&series(&format!("{rule}|SUMMARY:Choir")), &[]);
        check(&object(&series(&format!("{rule}|SUMMARY:Concert")), &[]), &plain);
        check(&object(&series(&format!("{rule}|SUMMARY:Choir|LOCATION:Inn")), &[]), &plain);
        let other = "RECURRENCE-ID:20260104T100000Z|DTSTART:20260104T160000Z|SUMMARY:Choir|";
        check(&object(&series(&format!("{rule}|SUMMARY:Choir")), &[other]), &plain);
        check(
            &object(&series(&format!("{rule}|EXDATE:20260102T100000Z,20260105T100000Z|SUMMARY:Choir")), &[]),
            &object(&series(&format!("{rule}|EXDATE:20260102T100000Z|SUMMARY:Choir")), &[]),
        );
        // A day that somebody left out had an instance of its own, which is gone with it.
        check(
            &object(&series(&format!("{rule}|EXDATE;TZID=Etc/GMT-1:20260103T110000|SUMMARY:Choir")), &[]),
            &object(&series(&format!("{rule}|SUMMARY:Choir")), &[DAY]),
        );
        let alarm = "BEGIN:VALARM|ACTION:DISPLAY|TRIGGER:-PT5M|END:VALARM|";
        check(
            &object(&series(&format!("{rule}|SUMMARY:Choir|{}", alarm.trim_end_matches('|'))), &[]),
            &plain,
        );
    }
}

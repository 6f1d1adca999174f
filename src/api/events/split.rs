//! A series in two: what was up to an instance ends before it, the rest goes on as another event.
//!
//! Owns: both texts. Everything else of the event, unknown properties among it, is in both; afterwards they have together the
//! instances that the series had, or nothing is divided. Does not own: storing them.

use bytes::Bytes;

use super::super::problem::Problem;
use super::edit::{broken, is_instance, lost, set, stamped};
use super::shown::{master, place};
use super::when::{Form, Said, Timing};
use crate::ical::recur::Rule;
use crate::ical::series::{Series, TimeRange, Written};
use crate::ical::value::{Civil, date_time, date_times};
use crate::ical::zone::{Zone, Zones};
use crate::ical::{Component, Edit, Ical, Property};

/// Instances before the one that is meant: a series of more is no series of a person.
const MOST: usize = 100_000;
/// What is compared afterwards: the instances so long before and after, and so many at most.
const AROUND: i64 = 3 * 366 * 86_400;
const COMPARED: usize = 40_000;

/// Returns the text of what was before the instance named `at`, and of what begins with it, under the other UID.
pub(super) fn split(ical: &Ical, at: &str, uid: &str, now: i64) -> Result<(Bytes, Bytes), Problem> {
    let zones = Zones::of(ical);
    let event = master(ical).ok_or_else(lost)?;
    let timing = Timing::of(event, zones).ok_or_else(lost)?;
    let civil = named(ical, event, &timing, at)?;
    let calendar = ical.calendar().ok_or_else(lost)?;
    let (others, whole): (Vec<_>, Vec<_>) =
        calendar.named("VEVENT").partition(|c| c.property("RECURRENCE-ID").is_some());
    let ranged =
        others.iter().any(|c| c.property("RECURRENCE-ID").is_some_and(|id| id.parameter("RANGE").is_some()));
    if ranged || whole.len() != 1 || event.all("RRULE").count() > 1 || event.all("EXRULE").count() > 0 {
        return Err(indivisible("Only a series of one rule, with dates added and left out, is divided."));
    }
    let place_of = |c: &Component<'_>| {
        let time = c.property("RECURRENCE-ID").and_then(|id| date_time(&id))?;
        Some(place(&timing.form, &time, zones))
    };
    let rule = event.property("RRULE");
    let text = rule.map(|line| line.raw().into_owned()).unwrap_or_default();
    // A date that was added by hand is not one of the rule's: the rule is left as it is, and has to be over by then.
    let before = if rule.is_some() { count(&text, &timing, civil)? } else { None };
    let (before, civil) = before.map_or((None, civil), |(count, own)| (Some(count), own));
    let later = |c: &Component<'_>| place_of(c).is_some_and(|own| own >= civil);

    let mut edit = ical.edit();
    if let (Some(line), Some(_)) = (rule, before) {
        edit = edit.replace(line, &format!("RRULE:{}", ended(&text, &timing.form, civil)));
    }
    edit =
        dates(edit, event, &timing.form, zones, |own, day| own < civil || (day && own == civil.midnight()));
    for other in others.iter().filter(|other| later(other)) {
        edit = edit.remove_component(*other);
    }
    let first = Ical::parse(edit.finish()).map_err(broken)?;

    let usual = timing.beginning(civil);
    let mut edit = ical.edit();
    edit = set(edit, event, "DTSTART", Some(&usual.form.line("DTSTART", usual.start)));
    if event.property("DTEND").is_some() {
        edit = set(edit, event, "DTEND", Some(&usual.end_form.line("DTEND", usual.end)));
    }
    match (rule, before) {
        (Some(line), Some(before)) => {
            edit = edit.replace(line, &format!("RRULE:{}", shortened(&text, before)));
        }
        (Some(line), None) => edit = edit.remove(line),
        (None, _) => {}
    }
    edit =
        dates(edit, event, &timing.form, zones, |own, day| own >= civil || (day && own == civil.midnight()));
    edit = set(edit, event, "UID", Some(&format!("UID:{uid}")));
    for other in others {
        edit = match later(&other) {
            true => set(edit, other, "UID", Some(&format!("UID:{uid}"))),
            false => edit.remove_component(other),
        };
    }
    let rest = Ical::parse(edit.finish()).map_err(broken)?;
    let at = timing.form.instant(civil);
    let both = [around(&first, at), around(&rest, at)];
    let [Some(earlier), Some(later)] = both else { return Err(strange()) };
    let alone = |all: &[Seen], of: bool| all.iter().all(|seen| (seen.0 >= at) == of);
    let together: Vec<Seen> = earlier.iter().chain(&later).copied().collect();
    if !alone(&earlier, false) || !alone(&later, true) || around(ical, at) != Some(sorted(together)) {
        return Err(strange());
    }
    Ok((stamped(ical, &first, now), stamped(ical, &rest, now)))
}

fn indivisible(why: &str) -> Problem {
    Problem::conflict("not-divisible", why)
}

fn strange() -> Problem {
    indivisible(
        "This series cannot be divided there without losing or doubling a date; change one of them or all.",
    )
}

/// Returns the instance that is meant, as the series' own clock tells it.
fn named(ical: &Ical, event: Component<'_>, timing: &Timing, at: &str) -> Result<Civil, Problem> {
    let civil = Said::read(at).and_then(|said| said.civil(&timing.form)).ok_or_else(|| {
        let like = timing.form.key(timing.start);
        Problem::invalid(
            "at",
            format!("An instance is named by its time on the series' own clock, like {like}."),
        )
    })?;
    if event.property("RRULE").is_none() && event.property("RDATE").is_none() {
        return Err(Problem::invalid("at", "It happens once: there is nothing after it."));
    }
    if civil <= timing.start {
        return Err(Problem::invalid("at", "The series begins there: change the whole of it."));
    }
    let zones = Zones::of(ical);
    let own = ical.calendar().into_iter().flat_map(|calendar| calendar.named("VEVENT").collect::<Vec<_>>());
    let own = own.filter_map(|c| date_time(&c.property("RECURRENCE-ID")?));
    let has_own = own.into_iter().any(|time| place(&timing.form, &time, zones) == civil);
    match has_own || is_instance(ical, timing, civil) {
        true => Ok(civil),
        false => Err(Problem::invalid("at", "The series has no such instance.")),
    }
}

/// Returns how many instances the rule makes before that one, and its time as the rule has it, which a clock may skip; nothing:
/// that one is none of the rule's.
fn count(text: &str, timing: &Timing, civil: Civil) -> Result<Option<(usize, Civil)>, Problem> {
    let mut rule = Rule::parse(text).map_err(|_| indivisible("The rule of the series cannot be read."))?;
    if let Some(until) = rule.until {
        rule.last = Some(match (until.date, until.utc) {
            (true, _) => Civil(until.civil.0 + 86_399),
            (false, true) => timing.form.civil(until.civil.0),
            (false, false) => until.civil,
        });
    }
    let at = timing.form.instant(civil);
    let mut times = rule.between(timing.start, timing.start, civil).take(MOST).enumerate();
    Ok(times.find(|(_, time)| timing.form.instant(*time) == at))
}

/// Returns the parts of a rule but for those that say where it ends.
fn endless(text: &str) -> Vec<&str> {
    let ends = |part: &str| {
        let part = part.trim_start().to_ascii_uppercase();
        part.starts_with("COUNT=") || part.starts_with("UNTIL=")
    };
    text.split(';').filter(|part| !part.trim().is_empty() && !ends(part)).collect()
}

/// Returns the rule so that it ends before that time. RFC 5545 §3.3.10: UNTIL is a date beside dates, UTC beside times of a zone.
fn ended(text: &str, form: &Form, civil: Civil) -> String {
    let until = match form {
        Form::Date => Civil(civil.0 - 86_400).to_date(),
        Form::Floating => Civil(civil.0 - 1).to_basic(),
        Form::Utc | Form::Zoned(..) => format!("{}Z", Civil(form.instant(civil) - 1).to_basic()),
    };
    let mut parts: Vec<String> = endless(text).into_iter().map(str::to_owned).collect();
    parts.push(format!("UNTIL={until}"));
    parts.join(";")
}

/// Returns the rule with so many instances less, if it counts them.
fn shortened(text: &str, less: usize) -> String {
    let counted = |part: &str| part.trim().to_ascii_uppercase().strip_prefix("COUNT=").map(str::to_owned);
    let part = |part: &str| match counted(part).and_then(|count| count.trim().parse::<usize>().ok()) {
        Some(count) => format!("COUNT={}", count.saturating_sub(less).max(1)),
        None => part.to_owned(),
    };
    text.split(';').map(part).collect::<Vec<_>>().join(";")
}

/// Leaves those of the dates that were added (RDATE) and left out (EXDATE) which are to stay; told of each: its place among the
/// instances, and whether it is a whole day. A line of which all stay, or which cannot be read, keeps its octets.
fn dates<'a>(
    mut edit: Edit<'a>,
    event: Component<'a>,
    form: &Form,
    zones: Zones<'_>,
    stays: impl Fn(Civil, bool) -> bool,
) -> Edit<'a> {
    let lines: Vec<Property<'a>> = ["RDATE", "EXDATE"].iter().flat_map(|name| event.all(name)).collect();
    for line in lines {
        let raw = line.raw();
        let values: Vec<&str> = raw.split(',').map(str::trim).filter(|text| !text.is_empty()).collect();
        let (moments, unread) = date_times(&line);
        let logical = line.logical();
        let Some(head) = logical.strip_suffix(raw.as_ref()).filter(|_| unread == 0) else { continue };
        let kept: Vec<&str> = values
            .iter()
            .zip(&moments)
            .filter(|(_, moment)| stays(place(form, &moment.start, zones), moment.start.is_date()))
            .map(|(text, _)| *text)
            .collect();
        edit = match kept.len() {
            0 => edit.remove(line),
            all if all == values.len() => edit,
            _ => edit.replace(line, &format!("{head}{}", kept.join(","))),
        };
    }
    edit
}

/// An instance: what it is called, when it begins and ends.
type Seen = (i64, i64, i64);

fn sorted(mut all: Vec<Seen>) -> Vec<Seen> {
    all.sort_unstable();
    all
}

/// Returns the instances around a time; nothing: there are too many to compare.
fn around(ical: &Ical, at: i64) -> Option<Vec<Seen>> {
    let range = TimeRange::new(Some(at - AROUND), Some(at + AROUND));
    let found = Series::of(ical).instances(range, &Zone::Utc, COMPARED);
    let called = |written: Written| match written {
        Written::Date(civil) | Written::Floating(civil) => civil.0,
        Written::Utc(instant) => instant,
    };
    let seen =
        found.list.iter().map(|one| (called(one.recurrence_id.unwrap_or(one.starts)), one.start, one.end));
    found.complete.then(|| sorted(seen.collect()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use super::*;

    fn series(start: &str, rule: &str, more: &str, others: &str) -> Ical {
        Ical::parse(
            format!(
                "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//test//EN\r\nBEGIN:VEVENT\r\nUID:old\r\nDTSTAMP:20260101T000000Z\r\n\
                 {start}\r\nRRULE:{rule}\r\nSUMMARY:Class\r\nX-MINE;X-P=\"a;b\":kept\r\n{more}END:VEVENT\r\n{others}END:VCALENDAR\r\n"
            )
            .into_bytes(),
        )
        .unwrap()
    }

    fn parts(ical: &Ical, at: &str) -> (String, String) {
        let (before, after) = split(ical, at, "new", 0).unwrap();
        (String::from_utf8(before.to_vec()).unwrap(), String::from_utf8(after.to_vec()).unwrap())
    }

    #[test]
    fn a_counted_series_is_divided_without_a_gap_or_a_double() {
        let other = |uid: &str, at: &str| {
            format!(
                "BEGIN:VEVENT\r\nUID:{uid}\r\nDTSTAMP:20260101T000000Z\r\nRECURRENCE-ID;TZID=Europe/Berlin:{at}\r\n\
                 DTSTART;TZID=Europe/Berlin:{at}\r\nSUMMARY:Own {at}\r\nEND:VEVENT\r\n"
            )
        };
        let others = format!("{}{}", other("old", "20260309T090000"), other("old", "20260330T090000"));
        let start = "DTSTART;TZID=Europe/Berlin:20260302T090000\r\nDTEND;TZID=Europe/Berlin:20260302T100000";
        let more = "EXDATE;TZID=Europe/Berlin:20260316T090000,20260406T090000\r\n";
        let ical = series(start, "FREQ=WEEKLY;COUNT=6;BYDAY=MO", more, &others);
        let (before, after) = parts(&ical, "2026-03-23T09:00:00");
        assert!(before.contains("RRULE:FREQ=WEEKLY;BYDAY=MO;UNTIL=20260323T075959Z\r\n"), "{before}");
        assert!(
            before.contains("Own 20260309T090000") && !before.contains("Own 20260330T090000"),
            "{before}"
        );
        assert!(after.contains("RRULE:FREQ=WEEKLY;COUNT=3;BYDAY=MO\r\n"), "{after}");
        assert!(after.contains("DTSTART;TZID=Europe/Berlin:20260323T090000"), "{after}");
        assert!(after.contains("DTEND;TZID=Europe/Berlin:20260323T100000"), "{after}");
        assert!(
            after.contains("EXDATE;TZID=Europe/Berlin:20260406T090000") && !after.contains("20260316"),
            "{after}"
        );
        assert!(!after.contains("Own 20260309T090000") && after.contains("Own 20260330T090000"), "{after}");
        assert!(!after.contains("UID:old") && before.contains("UID:old"), "{after}");
        for text in [&before, &after] {
            assert!(text.contains("X-MINE;X-P=\"a;b\":kept\r\n"), "{text}");
        }
    }

    #[test]
    fn days_and_series_without_an_end() {
        let ical = series("DTSTART;VALUE=DATE:20260301", "FREQ=DAILY", "", "");
        let (before, after) = parts(&ical, "2026-03-05");
        assert!(before.contains("RRULE:FREQ=DAILY;UNTIL=20260304\r\n"), "{before}");
        assert!(
            after.contains("DTSTART;VALUE=DATE:20260305") && after.contains("RRULE:FREQ=DAILY\r\n"),
            "{after}"
        );
        let ical = series("DTSTART:20260301T080000Z", "FREQ=DAILY;UNTIL=20260310T080000Z", "", "");
        let (before, after) = parts(&ical, "2026-03-05T08:00:00");
        assert!(
            before.contains("UNTIL=20260305T075959Z") && after.contains("UNTIL=20260310T080000Z"),
            "{before}{after}"
        );
    }

    /// Dates that were added and left out go where they belong, periods and other zones as they were written.
    #[test]
    fn added_dates_go_with_their_part() {
        let more = "RDATE;TZID=Europe/Berlin:20260304T090000,20260325T090000\r\nRDATE;VALUE=PERIOD:20260327T080000Z/PT3H\r\n\
                    EXDATE:20260309T080000Z,20260330T070000Z\r\n";
        let ical =
            series("DTSTART;TZID=Europe/Berlin:20260302T090000\r\nDURATION:PT1H", "FREQ=WEEKLY", more, "");
        let (before, after) = parts(&ical, "2026-03-16T09:00:00");
        assert!(before.contains("RDATE;TZID=Europe/Berlin:20260304T090000\r\n"), "{before}");
        assert!(before.contains("EXDATE:20260309T080000Z\r\n") && !before.contains("PERIOD"), "{before}");
        assert!(after.contains("RDATE;TZID=Europe/Berlin:20260325T090000\r\n"), "{after}");
        assert!(after.contains("RDATE;VALUE=PERIOD:20260327T080000Z/PT3H\r\n"), "{after}");
        assert!(after.contains("EXDATE:20260330T070000Z\r\n") && !after.contains("20260309"), "{after}");
        // After the rule is over, the rest is what was added alone.
        let rule = "FREQ=WEEKLY;COUNT=2";
        let added = "RDATE:20260501T080000Z,20260601T080000Z\r\n";
        let (before, after) =
            parts(&series("DTSTART:20260302T080000Z", rule, added, ""), "2026-05-01T08:00:00");
        assert!(before.contains("RRULE:FREQ=WEEKLY;COUNT=2\r\n") && !before.contains("RDATE"), "{before}");
        assert!(after.contains("DTSTART:20260501T080000Z") && !after.contains("RRULE"), "{after}");
        // Amid the rule it cannot be: the rest would begin on another day of the week.
        let ical = series("DTSTART:20260302T080000Z", "FREQ=WEEKLY", added, "");
        assert_eq!(split(&ical, "2026-05-01T08:00:00", "new", 0).unwrap_err().field(), None);
    }

    /// RFC 5545 §3.8.5: whatever the rule, both parts have together exactly the instances that the series had.
    #[test]
    fn nothing_is_lost_or_doubled() {
        let rules = [
            "FREQ=DAILY;INTERVAL=3;COUNT=40",
            "FREQ=WEEKLY;INTERVAL=2;BYDAY=MO,WE,SU;WKST=SU",
            "FREQ=WEEKLY;BYDAY=TU,TH;COUNT=30",
            "FREQ=MONTHLY;BYDAY=MO,TU;BYSETPOS=2,-1",
            "FREQ=MONTHLY;BYMONTHDAY=31,-1;UNTIL=20281231T225959Z",
            "FREQ=YEARLY;BYMONTH=3,10;BYDAY=-1SU",
            "FREQ=HOURLY;INTERVAL=9;COUNT=60",
            "FREQ=DAILY;BYHOUR=2,9;COUNT=60",
        ];
        for rule in rules {
            let start = "DTSTART;TZID=Europe/Berlin:20260302T023000\r\nDURATION:PT45M";
            let more = "EXDATE;TZID=Europe/Berlin:20260304T023000,20260501T023000\r\n";
            let ical = series(start, rule, more, "");
            let zones = Zones::of(&ical);
            let timing = Timing::of(master(&ical).unwrap(), zones).unwrap();
            let all =
                Series::of(&ical).instances(TimeRange::new(None, Some(1_830_000_000)), &Zone::Utc, 60).list;
            assert!(all.len() > 4, "{rule}");
            for instance in all.iter().skip(1).step_by(2) {
                let at = timing.form.key(timing.form.civil(instance.start));
                let (before, after) = parts(&ical, &at);
                let count = |text: &str| {
                    let range = TimeRange::new(None, Some(1_830_000_000));
                    Series::of(&Ical::parse(text.to_owned()).unwrap()).instances(range, &Zone::Utc, 5000).list
                };
                let mut told: Vec<i64> =
                    count(&before).iter().chain(&count(&after)).map(|one| one.start).collect();
                told.sort_unstable();
                let range = TimeRange::new(None, Some(1_830_000_000));
                let whole = Series::of(&ical).instances(range, &Zone::Utc, 5000).list;
                assert_eq!(told, whole.iter().map(|one| one.start).collect::<Vec<_>>(), "{rule} at {at}");
            }
        }
    }

    #[test]
    fn what_cannot_be_divided_is_refused() {
        let daily =
            |more: &str, others: &str| series("DTSTART:20260301T080000Z", "FREQ=DAILY;COUNT=5", more, others);
        for at in ["2026-03-01T08:00:00", "2026-03-02T09:00:00", "2026-03-09T08:00:00", "2026-03-02", "soon"]
        {
            assert_eq!(split(&daily("", ""), at, "new", 0).unwrap_err().field(), Some("at"), "{at}");
        }
        // It is left out: no such instance.
        let out = daily("EXDATE:20260303T080000Z\r\n", "");
        assert_eq!(split(&out, "2026-03-03T08:00:00", "new", 0).unwrap_err().field(), Some("at"));
        let ranged = "BEGIN:VEVENT\r\nUID:old\r\nDTSTAMP:20260101T000000Z\r\nRECURRENCE-ID;RANGE=THISANDFUTURE:20260302T080000Z\r\n\
                      DTSTART:20260302T090000Z\r\nEND:VEVENT\r\n";
        for ical in [
            daily("", ranged),
            daily("EXRULE:FREQ=DAILY;INTERVAL=2\r\n", ""),
            daily("RRULE:FREQ=WEEKLY\r\n", ""),
        ] {
            assert_eq!(split(&ical, "2026-03-04T08:00:00", "new", 0).unwrap_err().field(), None);
        }
        let once = Ical::parse("BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\nUID:old\r\nDTSTART:20260301T080000Z\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n").unwrap();
        assert_eq!(split(&once, "2026-03-02T08:00:00", "new", 0).unwrap_err().field(), Some("at"));
    }
}

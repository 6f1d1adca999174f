//! A year of somebody's life as calendar objects: the same for the same seed and day.
//!
//! Owns: which events and tasks there are, their texts. Does not own: where they are put (`furnish`), what happens on the far
//! sides (`trickle`).

use super::trickle::{pick, throw};
use crate::ical::fold;
use crate::ical::value::{Civil, DAY, days_from_civil, escape};
use crate::ical::zone::vtimezone;
use crate::sim::Dice;

/// The zone that the person lives in.
pub(super) const ZONE: &str = "Europe/Zurich";
/// Days of the year that lie behind, and ahead.
const BEHIND: i64 = 120;
const AHEAD: i64 = 245;
/// The event that both sides edit in the end.
pub(super) const DISPUTED: &str = "Budget review";

const HOUR: i64 = 3600;
const QUARTER: i64 = 900;

/// A calendar object and where it belongs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) calendar: &'static str,
    pub(super) uid: String,
    pub(super) title: String,
    pub(super) text: String,
}

/// Joins content lines, folded (RFC 5545 §3.1).
pub(super) fn lines(all: &[String]) -> String {
    let mut out = String::new();
    for line in all {
        fold(line, &mut out);
    }
    out
}

/// Returns a calendar object around components, with the zones that they name.
pub(super) fn object(components: &str, around: Civil) -> String {
    let mut zones = String::new();
    for name in [ZONE, "America/New_York", "Europe/Lisbon"] {
        if components.contains(&format!("TZID={name}")) {
            zones.push_str(&vtimezone(name, around.0 - 366 * DAY, around.0 + 366 * DAY).unwrap_or_default());
        }
    }
    format!(
        "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//Kalends//Demo//EN\r\n{zones}{components}END:VCALENDAR\r\n"
    )
}

/// A component that is being written.
#[derive(Debug, Clone, Default)]
struct Sheet {
    title: &'static str,
    lines: Vec<String>,
    alarms: Vec<String>,
    /// Further components under the same UID.
    others: Vec<Sheet>,
}

impl Sheet {
    fn new(title: &'static str) -> Sheet {
        Sheet { title, ..Sheet::default() }
    }

    /// From a time by the clock of a zone, for so many minutes.
    fn at(self, zone: &str, start: Civil, minutes: i64) -> Sheet {
        let end = Civil(start.0 + minutes * 60);
        self.line(format!("DTSTART;TZID={zone}:{}", start.to_basic()))
            .line(format!("DTEND;TZID={zone}:{}", end.to_basic()))
    }

    /// So many whole days.
    fn days(self, first: i64, many: i64) -> Sheet {
        let date = |day: i64| Civil(day * DAY).to_date();
        self.line(format!("DTSTART;VALUE=DATE:{}", date(first)))
            .line(format!("DTEND;VALUE=DATE:{}", date(first + many)))
    }

    fn line(mut self, line: impl Into<String>) -> Sheet {
        self.lines.push(line.into());
        self
    }

    fn place(self, place: &str) -> Sheet {
        if place.is_empty() { self } else { self.line(format!("LOCATION:{}", escape(place))) }
    }

    fn note(self, note: &str) -> Sheet {
        self.line(format!("DESCRIPTION:{}", escape(note)))
    }

    fn rule(self, rule: &str) -> Sheet {
        self.line(format!("RRULE:{rule}"))
    }

    fn free(self) -> Sheet {
        self.line("TRANSP:TRANSPARENT")
    }

    fn alarm(mut self, trigger: &str) -> Sheet {
        self.alarms.push(trigger.to_owned());
        self
    }

    /// A day of the series that is otherwise.
    fn but(mut self, other: Sheet) -> Sheet {
        self.others.push(other);
        self
    }

    fn written(&self, kind: &str, uid: &str, stamp: &str, out: &mut Vec<String>) {
        out.extend([format!("BEGIN:{kind}"), format!("UID:{uid}"), format!("DTSTAMP:{stamp}")]);
        out.push(format!("SUMMARY:{}", escape(self.title)));
        out.extend(self.lines.iter().cloned());
        for trigger in &self.alarms {
            out.extend(["BEGIN:VALARM".into(), "ACTION:DISPLAY".into()]);
            out.push(format!("DESCRIPTION:{}", escape(self.title)));
            out.extend([format!("TRIGGER:{trigger}"), "END:VALARM".into()]);
        }
        out.push(format!("END:{kind}"));
        for other in &self.others {
            other.written(kind, uid, stamp, out);
        }
    }
}

/// The year that is being written.
struct Book {
    seed: u64,
    today: i64,
    dice: Dice,
    pieces: Vec<Piece>,
}

/// Returns the year around a day (days since 1970), as the seed decides.
pub(super) fn year(seed: u64, today: i64) -> Vec<Piece> {
    let day = u64::try_from(today).unwrap_or(0);
    let mut book = Book { seed, today, dice: Dice::new(seed ^ day.rotate_left(32)), pieces: Vec::new() };
    book.work();
    book.private();
    book.family();
    book.holidays();
    book.choir();
    book.tasks();
    book.pieces
}

/// Returns the day of a Western Easter Sunday (days since 1970).
fn easter(year: i64) -> i64 {
    // The method of Meeus, Jones and Butcher.
    let (a, b, c) = (year % 19, year / 100, year % 100);
    let (d, e) = (b / 4, b % 4);
    let g = (8 * b + 13) / 25;
    let h = (19 * a + b - d - g + 15) % 30;
    let (i, k) = (c / 4, c % 4);
    let l = (32 + 2 * e + 2 * i - h - k) % 7;
    let m = (a + 11 * h + 22 * l) / 451;
    let n = h + l - 7 * m + 114;
    days_from_civil(year, n / 31, n % 31 + 1)
}

impl Book {
    fn add(&mut self, calendar: &'static str, kind: &str, sheet: &Sheet) {
        let count = self.pieces.iter().filter(|piece| piece.calendar == calendar).count() + 1;
        let uid = format!("{calendar}-{count:03}-{}", self.seed);
        let stamp = format!("{}T000000Z", Civil(self.today * DAY).to_date());
        let mut all = Vec::new();
        sheet.written(kind, &uid, &stamp, &mut all);
        let text = object(&lines(&all), Civil(self.today * DAY));
        self.pieces.push(Piece { calendar, uid, title: sheet.title.to_owned(), text });
    }

    fn event(&mut self, calendar: &'static str, sheet: &Sheet) {
        self.add(calendar, "VEVENT", sheet);
    }

    /// Returns the first such day of the week (0: Monday) so many days from today or later.
    fn weekday(&self, ahead: i64, weekday: i64) -> i64 {
        let from = self.today + ahead;
        // 1970-01-01 was a Thursday.
        from + (weekday - (from + 3)).rem_euclid(7)
    }

    /// Single events on any day of the year, at hours between two.
    fn singles(
        &mut self,
        calendar: &'static str,
        many: usize,
        titles: &[&'static str],
        places: &[&str],
        (from, to): (i64, u64),
        weekends: bool,
    ) {
        for _ in 0..many {
            let ahead = throw(&self.dice, (BEHIND + AHEAD).unsigned_abs()) - BEHIND;
            let mut day = self.today + ahead;
            let of_week = (day + 3).rem_euclid(7);
            if !weekends && of_week > 4 {
                day -= 3;
            }
            let start = Civil(day * DAY + from * HOUR + throw(&self.dice, to * 4) * QUARTER);
            let minutes = 30 + throw(&self.dice, 4) * 30;
            let mut sheet = Sheet::new(pick(&self.dice, titles)).at(ZONE, start, minutes);
            sheet = sheet.place(pick(&self.dice, places));
            if self.dice.below(3) == 0 {
                sheet = sheet.alarm(pick(&self.dice, &["-PT10M", "-PT30M", "-PT1H"]));
            }
            if self.dice.below(8) == 0 {
                sheet = sheet.line("STATUS:TENTATIVE");
            }
            self.event(calendar, &sheet);
        }
    }

    fn work(&mut self) {
        let clock = |day: i64, hour: i64, minute: i64| Civil(day * DAY + hour * HOUR + minute * 60);
        let begun = self.weekday(-BEHIND, 0);
        let (next, free) = (self.weekday(5, 2), self.weekday(9, 3));
        let stand_up = Sheet::new("Stand-up")
            .at(ZONE, clock(begun, 9, 15), 15)
            .rule("FREQ=WEEKLY;BYDAY=MO,TU,WE,TH,FR")
            .line(format!("EXDATE;TZID={ZONE}:{}", clock(free, 9, 15).to_basic()))
            .place("Online")
            .alarm("-PT5M")
            .but(
                Sheet::new("Stand-up, with the new colleague")
                    .line(format!("RECURRENCE-ID;TZID={ZONE}:{}", clock(next, 9, 15).to_basic()))
                    .at(ZONE, clock(next, 9, 45), 30)
                    .place("Room 2"),
            );
        self.event("work", &stand_up);
        let team = self.weekday(-BEHIND, 1);
        let moved = self.weekday(3, 1);
        let team = Sheet::new("Team meeting")
            .at(ZONE, clock(team, 10, 0), 60)
            .rule("FREQ=WEEKLY")
            .place("Room 5")
            .note("Agenda:\n1. What is new\n2. What is in the way\n3. Who helps whom")
            .but(
                Sheet::new("Team meeting, a day later")
                    .line(format!("RECURRENCE-ID;TZID={ZONE}:{}", clock(moved, 10, 0).to_basic()))
                    .at(ZONE, clock(moved + 1, 10, 0), 60)
                    .place("Town hall"),
            );
        self.event("work", &team);
        let one = self.weekday(-BEHIND, 3);
        let one =
            Sheet::new("One-to-one with Mira").at(ZONE, clock(one, 14, 0), 30).rule("FREQ=WEEKLY;INTERVAL=2");
        self.event("work", &one.line("CLASS:PRIVATE"));
        let call = self.weekday(-90, 2);
        let call = Sheet::new("Call with the New York office").at("America/New_York", clock(call, 10, 0), 45);
        self.event("work", &call.rule("FREQ=WEEKLY;COUNT=40").place("Online").alarm("-PT10M"));
        let report = self.weekday(-BEHIND, 0);
        let report = Sheet::new("Planning of the month").at(
            ZONE,
            clock(report + (7 - Civil(report * DAY).date().2).rem_euclid(7), 13, 30),
            90,
        );
        self.event("work", &report.place("Room 2").note("Bring the numbers of last month."));
        let budget = self.weekday(6, 3);
        let budget = Sheet::new(DISPUTED).at(ZONE, clock(budget, 14, 0), 60).place("Room 5");
        self.event("work", &budget.note("The figures for next year."));
        let fair = self.weekday(40, 1);
        let fair = Sheet::new("Calendar conference, Lisbon").days(fair, 3).place("Lisbon").free();
        self.event("work", &fair);
        let out = self.weekday(39, 0);
        let away = Sheet::new("Flight to Lisbon")
            .line(format!("DTSTART;TZID={ZONE}:{}", clock(out, 17, 5).to_basic()))
            .line(format!("DTEND;TZID=Europe/Lisbon:{}", clock(out, 18, 55).to_basic()))
            .place("Zurich airport")
            .alarm("-PT3H");
        self.event("work", &away);
        let titles = [
            "Project review",
            "Interview",
            "Customer workshop",
            "Design session",
            "Training: first aid",
            "Contract questions",
            "Call with the printers",
            "Lunch with the auditors",
            "Release",
            "Farewell drinks for Noor",
        ];
        let places = ["Room 2", "Room 5", "Office", "Online", "Canteen", ""];
        self.singles("work", 34, &titles, &places, (8, 8), false);
    }

    fn private(&mut self) {
        let clock = |day: i64, hour: i64, minute: i64| Civil(day * DAY + hour * HOUR + minute * 60);
        let yoga = self.weekday(-BEHIND, 0);
        let rests = self.weekday(12, 0);
        let yoga =
            Sheet::new("Yoga").at(ZONE, clock(yoga, 19, 0), 75).rule("FREQ=WEEKLY").place("Studio Nord");
        self.event("calendar", &yoga.line(format!("EXDATE;TZID={ZONE}:{}", clock(rests, 19, 0).to_basic())));
        let guitar = self.weekday(-60, 2);
        let until = Civil((guitar + 30 * 7) * DAY).to_date();
        let guitar = Sheet::new("Guitar lesson").at(ZONE, clock(guitar, 18, 15), 45);
        self.event("calendar", &guitar.rule(&format!("FREQ=WEEKLY;UNTIL={until}T235959Z")).alarm("-PT1H"));
        let hair = self.weekday(-30, 4);
        let hair = Sheet::new("Haircut").at(ZONE, clock(hair, 17, 30), 45).rule("FREQ=WEEKLY;INTERVAL=6");
        self.event("calendar", &hair.place("Salon Rosa").alarm("-PT2H"));
        let club = self.weekday(-BEHIND, 3);
        let club = Sheet::new("Book club").at(ZONE, clock(club, 20, 0), 120).rule("FREQ=WEEKLY;INTERVAL=4");
        self.event("calendar", &club.place("At Noor's").note("Everybody brings something to eat."));
        for (title, ahead) in [
            ("Birthday of Ben", 9),
            ("Birthday of Mira", 47),
            ("Birthday of Noor", 118),
            ("Birthday of Grandma", 201),
            ("Wedding day", 160),
        ] {
            let day = self.today + ahead + throw(&self.dice, 14);
            let (year, month, date) = Civil(day * DAY).date();
            // Nobody is born on a day that three years of four do not have.
            let first = days_from_civil(year - 1, month, if (month, date) == (2, 29) { 28 } else { date });
            let sheet = Sheet::new(title).days(first, 1).rule("FREQ=YEARLY").free().alarm("-P1D");
            self.event("calendar", &sheet);
        }
        let (south, hills) = (self.weekday(95, 5), self.weekday(-40, 4));
        self.event("calendar", &Sheet::new("Holiday in Portugal").days(south, 13).place("Tavira"));
        self.event("calendar", &Sheet::new("Weekend in the mountains").days(hills, 3).place("Pontresina"));
        let night = self.weekday(20, 5);
        let night = Sheet::new("Night train to Hamburg").at(ZONE, clock(night, 21, 30), 660);
        self.event("calendar", &night.place("Zurich HB, platform 7").alarm("-PT90M"));
        let titles = [
            "Coffee with Ben",
            "Dentist",
            "Dinner at Mira's",
            "Cinema",
            "Concert",
            "Bicycle repair",
            "Run along the river",
            "Call with the bank",
            "Theatre",
            "Brunch",
            "Blood donation",
        ];
        let places = ["Café am Markt", "Town hall", "At home", "Station", "Lake", ""];
        self.singles("calendar", 30, &titles, &places, (16, 5), true);
    }

    fn family(&mut self) {
        let clock = |day: i64, hour: i64, minute: i64| Civil(day * DAY + hour * HOUR + minute * 60);
        let swim = self.weekday(-BEHIND, 5);
        let swim = Sheet::new("Swimming lesson").at(ZONE, clock(swim, 10, 0), 45).rule("FREQ=WEEKLY");
        self.event("family", &swim.place("Indoor pool").alarm("-PT45M"));
        let piano = self.weekday(-60, 1);
        let piano = Sheet::new("Piano lesson").at(ZONE, clock(piano, 16, 30), 30).rule("FREQ=WEEKLY");
        self.event("family", &piano.place("Music school"));
        let paper = self.weekday(-28, 4);
        self.event(
            "family",
            &Sheet::new("Paper collection").days(paper, 1).rule("FREQ=WEEKLY;INTERVAL=4").free(),
        );
        let evening = self.weekday(11, 3);
        let evening = Sheet::new("Parents' evening").at(ZONE, clock(evening, 19, 30), 90);
        self.event("family", &evening.place("School").note("Bring the form.\nAsk about the trip."));
        let (visit, camp) = (self.weekday(16, 5), self.weekday(60, 0));
        self.event("family", &Sheet::new("Grandparents visit").days(visit, 2));
        self.event("family", &Sheet::new("School camp").days(camp, 5).place("Engelberg"));
        let titles = [
            "Playdate at Lio's",
            "Paediatrician",
            "Children's birthday party",
            "School play",
            "Football match",
            "Library day",
            "Zoo",
            "Pick up from after-school",
        ];
        let places = ["School", "At home", "Sports ground", "Town hall", ""];
        self.singles("family", 24, &titles, &places, (14, 4), true);
    }

    fn holidays(&mut self) {
        let (this, _, _) = Civil(self.today * DAY).date();
        for year in [this - 1, this, this + 1] {
            let easter = easter(year);
            let fixed = |month: i64, day: i64| days_from_civil(year, month, day);
            for (title, day) in [
                ("New Year", fixed(1, 1)),
                ("Good Friday", easter - 2),
                ("Easter Monday", easter + 1),
                ("Labour Day", fixed(5, 1)),
                ("Ascension Day", easter + 39),
                ("Whit Monday", easter + 50),
                ("National Day", fixed(8, 1)),
                ("Christmas Day", fixed(12, 25)),
                ("St Stephen's Day", fixed(12, 26)),
            ] {
                self.event("holidays", &Sheet::new(title).days(day, 1).free().line("CATEGORIES:Holiday"));
            }
        }
    }

    /// What is on the CalDAV server before anybody is connected.
    fn choir(&mut self) {
        let clock = |day: i64, hour: i64, minute: i64| Civil(day * DAY + hour * HOUR + minute * 60);
        let (begun, off, other) = (self.weekday(-BEHIND, 1), self.weekday(22, 1), self.weekday(8, 1));
        let rehearsal = Sheet::new("Rehearsal")
            .at(ZONE, clock(begun, 19, 45), 120)
            .rule("FREQ=WEEKLY")
            .line(format!("EXDATE;TZID={ZONE}:{}", clock(off, 19, 45).to_basic()))
            .place("Community centre")
            .but(
                Sheet::new("Rehearsal with the orchestra")
                    .line(format!("RECURRENCE-ID;TZID={ZONE}:{}", clock(other, 19, 45).to_basic()))
                    .at(ZONE, clock(other, 19, 0), 180)
                    .place("St Peter's church"),
            );
        self.event(super::far::CHOIR, &rehearsal);
        let (concert, weekend) = (self.weekday(30, 6), self.weekday(72, 5));
        let concert = Sheet::new("Winter concert").at(ZONE, clock(concert, 17, 0), 120);
        self.event(super::far::CHOIR, &concert.place("St Peter's church").note("Black, with a red scarf."));
        self.event(super::far::CHOIR, &Sheet::new("Singing weekend").days(weekend, 2).place("Rapperswil"));
    }

    fn tasks(&mut self) {
        let date = |day: i64| format!("DUE;VALUE=DATE:{}", Civil(day * DAY).to_date());
        let done = format!("COMPLETED:{}T160000Z", Civil((self.today - 3) * DAY).to_date());
        let plants = self.weekday(1, 6);
        let water = Civil(plants * DAY + 9 * HOUR).to_basic();
        let all = [
            Sheet::new("Tax return").line(date(self.today + 34)).line("PRIORITY:1").alarm("-P7D"),
            Sheet::new("Book the hotel in Lisbon").line(date(self.today + 8)).line("PRIORITY:2"),
            Sheet::new("Renew the passports").line(date(self.today + 55)).line("STATUS:IN-PROCESS"),
            Sheet::new("Present for Ben").line(date(self.today + 6)),
            Sheet::new("Insurance: compare offers").line("PERCENT-COMPLETE:40").line("STATUS:IN-PROCESS"),
            Sheet::new("Return the library books").line(date(self.today - 1)),
            Sheet::new("Read the contract").line("STATUS:COMPLETED").line(done.clone()),
            Sheet::new("Winter tyres").line("STATUS:COMPLETED").line(done),
            Sheet::new("Water the plants")
                .line(format!("DTSTART;TZID={ZONE}:{water}"))
                .line(format!("DUE;TZID={ZONE}:{water}"))
                .rule("FREQ=WEEKLY"),
        ];
        for sheet in &all {
            self.add("tasks", "VTODO", sheet);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    // A life-like year, the same for the same seed and day
    #[test]
    fn the_year_is_the_same_for_the_same_seed_and_day() {
        assert_eq!(year(1, 20_000), year(1, 20_000));
        assert_ne!(year(1, 20_000), year(2, 20_000));
        assert_ne!(year(1, 20_000), year(1, 20_001));
    }

    // Days of three years, with another seed each: series with exceptions, whole days, several days, zones, alarms, tasks
    #[test]
    fn a_year_is_of_sound_objects_of_all_kinds() {
        for today in (20_000..21_100).step_by(53) {
            let all = year(u64::try_from(today).unwrap(), today);
            let uids: BTreeSet<&String> = all.iter().map(|piece| &piece.uid).collect();
            assert_eq!(uids.len(), all.len());
            assert_eq!(all.iter().filter(|piece| piece.title == DISPUTED).count(), 1);
            let mut count: BTreeMap<&str, usize> = BTreeMap::new();
            for piece in &all {
                *count.entry(piece.calendar).or_default() += 1;
                crate::calendar::index_of(piece.text.clone().into()).unwrap();
                assert!(piece.text.lines().all(|line| line.len() <= 75), "{}", piece.text);
            }
            for (calendar, least) in
                [("work", 40), ("calendar", 40), ("family", 28), ("holidays", 27), ("choir", 3), ("tasks", 9)]
            {
                assert!(count[calendar] >= least, "{calendar}: {count:?}");
            }
            let whole: String = all.iter().map(|piece| piece.text.as_str()).collect();
            for part in [
                "RRULE:",
                "EXDATE",
                "RECURRENCE-ID",
                "VALUE=DATE",
                "TZID=America/New_York",
                "TZID=Europe/Lisbon",
                "BEGIN:VALARM",
                "BEGIN:VTODO",
                "STATUS:COMPLETED",
                "CLASS:PRIVATE",
                "TRANSP:TRANSPARENT",
            ] {
                assert!(whole.contains(part), "{part}");
            }
        }
    }

    #[test]
    fn easter_is_when_it_was() {
        for (year, month, day) in [(2024, 3, 31), (2025, 4, 20), (2026, 4, 5), (2027, 3, 28), (2038, 4, 25)] {
            assert_eq!(easter(year), days_from_civil(year, month, day), "{year}");
        }
    }
}

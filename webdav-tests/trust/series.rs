//! Series, which some far sides write in several steps and tell in several pieces: killed between any two steps, and read
//! from answers that lack a piece.

use std::time::Duration;

use kalends::sim::{Act, Fault, Point, Rule};

use super::{Far, LOOK, Story, next_week};
use crate::wait::eventually;

const NAME: &str = "choir.ics";

/// That hour, so many days after next week's day.
fn at(days: u32, hour: u32) -> String {
    let first = jiff::civil::Date::strptime("%Y%m%d", next_week()).unwrap();
    let day = first.checked_add(jiff::Span::new().days(i64::from(days))).unwrap();
    format!("TZID=Europe/Berlin:{}T{hour:02}0000", day.strftime("%Y%m%d"))
}

/// A series with a day that is moved and says something else, and one that is left out.
fn series(count: u32, out: u32) -> String {
    format!(
        "BEGIN:VCALENDAR|VERSION:2.0|PRODID:x|BEGIN:VEVENT|UID:choir|DTSTAMP:20260101T000000Z|DTSTART;{}|DTEND;{}|\
         RRULE:FREQ=DAILY;COUNT={count}|EXDATE;{}|SUMMARY:Choir|X-OURS:kept|END:VEVENT|\
         BEGIN:VEVENT|UID:choir|DTSTAMP:20260101T000000Z|RECURRENCE-ID;{}|DTSTART;{}|DTEND;{}|SUMMARY:Rehearsal|\
         X-OURS:kept too|END:VEVENT|END:VCALENDAR|",
        at(0, 10),
        at(0, 11),
        at(out, 10),
        at(2, 10),
        at(2, 18),
        at(2, 19),
    )
    .replace('|', "\r\n")
}

impl Story {
    fn choir(&self) -> String {
        String::from_utf8(self.program.dav("GET", NAME, "").body).unwrap()
    }

    /// What is here is what was last written here, octet for octet, and so it is there.
    fn is_whole(&self, text: &str, what: &str) {
        assert_eq!(self.choir(), text, "{what}");
        assert_eq!(self.program.ours().len(), 1, "{what}: {:?}", self.program.ours());
        let words = self.far.words();
        assert!(words.contains("Choir") && words.contains("Rehearsal"), "{what}: {words}");
        let (_, trash) = self.program.api("GET", "/trash", None);
        assert_eq!(trash["items"].as_array().map(Vec::len), Some(0), "{what}: {trash}");
    }
}

/// Changes a series and kills the program at every step of the write in turn.
fn survives(far: Far, text: fn(u32) -> String) {
    let mut story = Story::begin(far);
    let mut turn = 0;
    story.program.dav("PUT", NAME, &text(turn));
    story.rest();
    story.is_whole(&text(turn), "made");
    // Undisturbed it takes these requests.
    let before = story.far.server.log().count();
    turn += 1;
    story.program.dav("PUT", NAME, &text(turn));
    story.rest();
    story.is_whole(&text(turn), "changed");
    let log = story.far.server.log().entries();
    let steps: Vec<String> =
        log[before..].iter().filter(|entry| entry.wrote > 0).map(|entry| entry.method.clone()).collect();
    assert!(steps.len() > 1, "it is one step: {steps:?}");
    for (step, method) in steps.iter().enumerate() {
        turn += 1;
        let skip = steps[..step].iter().filter(|before| *before == method).count();
        let name = format!("step {step}");
        let hold = Fault::Hold { at: Point::After, name: name.clone() };
        let path = story.far.points[usize::from(method != "POST")].1;
        story.far.server.fault(Rule::on(method, path, hold).after(u32::try_from(skip).unwrap()));
        let paused = story.far.server.script().held(&name).unwrap();
        assert_eq!(story.program.dav("PUT", NAME, &text(turn)).status, 204);
        let reached = story.far.runtime.block_on(async {
            tokio::time::timeout(Duration::from_secs(30), paused.reached()).await.is_ok()
        });
        assert!(reached, "{method} {step} of {steps:?} was never reached");
        story.program.kill();
        paused.go();
        story.program.start();
        story.rest();
        story.is_whole(&text(turn), &format!("killed after step {step} of {steps:?}"));
    }
    let (_, conflicts) = story.program.api("GET", "/conflicts", None);
    assert_eq!(conflicts["items"].as_array().map(Vec::len), Some(0), "{conflicts}");
}

/// Another end.
fn longer(turn: u32) -> String {
    series(6 + turn, 3)
}

/// The day that is left out comes back, and another one is left out.
fn other_day(turn: u32) -> String {
    series(8, 3 + turn % 2)
}

// S1-062, S3-076, S4-006: nothing of a series is lost between the steps of a write
#[test]
fn a_series_at_google_survives_every_kill() {
    survives(Far::google(), |turn| longer(turn).replace("Rehearsal", &format!("Rehearsal {turn}")));
}

#[test]
fn a_series_at_outlook_survives_every_kill() {
    survives(Far::outlook(), longer);
    survives(Far::outlook(), other_day);
}

#[test]
fn a_series_at_cozi_survives_every_kill() {
    survives(Far::cozi(), other_day);
}

/// Answers lack pieces, are empty or as they were before: nothing changes here, and nothing is written.
fn short(far: Far) {
    let story = Story::begin(far);
    let text = series(8, 3);
    story.program.dav("PUT", NAME, &text);
    story.rest();
    story.is_whole(&text, "at first");
    let writes = story.far.server.log().writes();
    let keep = |keep| Fault::TruncatePage { keep };
    let (method, path) = story.far.points[LOOK];
    for fault in [keep(1), keep(2), keep(3), Fault::EmptyPage, Fault::StaleRead] {
        for skip in 0..4 {
            // Not every far side has cursors.
            drop(story.far.server.act(&Act::ExpireCursor));
            story.far.server.fault(Rule::on(method, path, fault.clone()).after(skip));
            story.pass();
            let what = format!("{fault:?} after {skip}");
            assert_eq!(story.choir(), text, "{what}");
            story.far.server.script().clear();
            story.rest();
            story.is_whole(&text, &what);
        }
    }
    assert_eq!(story.far.server.log().writes(), writes, "nothing was to be written");
    // What does change there is found all the same.
    let id = story.far.made_there(&next_week(), "theirs");
    story.far.server.fault(Rule::on(method, path, Fault::StaleRead));
    eventually("it comes here", || {
        story.pass();
        story.program.ours().values().any(|title| title == "theirs")
    });
    story.far.removed_there(id);
}

// S3-143, S1-062: a short answer, an empty one or an old one is never a removal, of a day of a series neither
#[test]
fn a_short_answer_of_google_takes_no_day_of_a_series_away() {
    short(Far::google());
}

#[test]
fn a_short_answer_of_outlook_takes_no_day_of_a_series_away() {
    short(Far::outlook());
}

#[test]
fn a_short_answer_of_a_caldav_server_takes_no_day_of_a_series_away() {
    short(Far::caldav());
}

#[test]
fn a_short_answer_of_cozi_takes_no_day_of_a_series_away() {
    short(Far::cozi());
}

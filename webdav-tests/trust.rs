//! The laws of syncing end to end: the program itself, real HTTP, simulated far sides and a real one, kill -9 at named points.
//!
//! After every kill the program starts again by itself and both sides agree; nothing is lost, doubled or brought back, and
//! one more pass writes nothing (S4-006, S1-062, S3-162).

mod damaged;
mod far;
mod program;
mod series;

use std::time::{Duration, Instant};

use kalends::sim::Point;
use serde_json::{Value, json};

pub(crate) use self::far::Far;
pub(crate) use self::program::Program;

/// The named points: places in a far side's list of requests.
const MAKE: usize = 0;
const CHANGE: usize = 1;
const REMOVE: usize = 2;
const LOOK: usize = 3;

fn event(uid: &str, title: &str, hour: u32) -> String {
    let day = next_week();
    format!(
        "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:x\r\nBEGIN:VEVENT\r\nUID:{uid}\r\nDTSTAMP:20260101T000000Z\r\n\
         DTSTART:{day}T{hour:02}0000Z\r\nDTEND:{day}T{hour:02}3000Z\r\nSUMMARY:{title}\r\n\
         X-OURS:kept\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"
    )
}

/// A day within every window.
fn next_week() -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let day = jiff::Timestamp::from_second(i64::try_from(now).unwrap() + 7 * 86_400).unwrap();
    day.strftime("%Y%m%d").to_string()
}

/// A story between the program and a far side.
pub(crate) struct Story {
    pub(crate) far: Far,
    pub(crate) program: Program,
    pub(crate) mapping: String,
}

impl Story {
    pub(crate) fn begin(far: Far) -> Story {
        let program = Program::new(far.variables());
        let connection = far.connect(&program);
        let (_, found) = program.api("GET", &format!("/connections/{connection}/calendars"), None);
        let items = found["items"].as_array().unwrap_or_else(|| panic!("{found}"));
        assert!(items.iter().any(|c| c["id"] == json!(far.calendar)), "{found}");
        let (_, here) = program.api("GET", "/calendars", None);
        let here =
            here["items"].as_array().unwrap().iter().find(|c| c["name"] == "calendar").unwrap().clone();
        let wanted = json!({
            "calendar": here["id"], "connection": connection, "remote_calendar": far.calendar,
            "direction": far.direction, "conflict_policy": "newest", "fields": far.fields,
        });
        let (status, made) = program.api("POST", "/mappings", Some(wanted));
        assert_eq!(status, 201, "{made}");
        let mapping = made["id"].as_str().unwrap().to_owned();
        Story { far, program, mapping }
    }

    /// Asks for a pass and waits until it has ended.
    pub(crate) fn pass(&self) -> Value {
        self.program.pass(&self.mapping)
    }

    /// Passes until one writes nothing on either side.
    pub(crate) fn rest(&self) {
        let begun = Instant::now();
        let mut told = Vec::new();
        // The first may have been joined, and have begun before what was done last.
        let mut still = false;
        while begun.elapsed() < 3 * self.far.patience {
            let writes = self.far.server.log().writes();
            let run = self.pass();
            if run.is_null() {
                std::thread::sleep(Duration::from_millis(200));
                continue;
            }
            // A pass that was joined had begun before: what it wrote counts, too.
            let quiet =
                |side: &str| ["inserted", "updated", "deleted"].iter().all(|what| run[side][what] == 0);
            let ended = run["status"] == "success" || run["status"] == "partial_failure";
            if ended && quiet("local") && quiet("remote") && self.far.server.log().writes() == writes {
                if still {
                    return;
                }
                still = true;
                continue;
            }
            still = false;
            told.push(run.to_string());
        }
        panic!("there is no end of writing:\n{}", told.join("\n"));
    }

    /// Passes until both sides have the same titles, and one more that writes nothing.
    fn agree(&self, wanted: &[&str], what: &str) {
        let mut wanted: Vec<String> = wanted.iter().map(|t| (*t).to_owned()).collect();
        wanted.sort();
        let begun = Instant::now();
        loop {
            let run = self.pass();
            let mut ours: Vec<String> = self.program.ours().into_values().collect();
            let mut theirs = self.far.titles();
            ours.sort();
            theirs.sort();
            if ours == wanted && theirs == wanted {
                break;
            }
            let late = begun.elapsed() > self.far.patience;
            assert!(!late, "{what}: wanted {wanted:?}\nhere {ours:?}\nthere {theirs:?}\n{run}");
            std::thread::sleep(Duration::from_millis(50));
        }
        // A run that was joined may have begun before: what it did is no more than what was seen.
        self.rest();
        let mut ours: Vec<String> = self.program.ours().into_values().collect();
        ours.sort();
        assert_eq!(ours, wanted, "{what}: at rest");
        let (writes, before) = (self.far.server.log().writes(), self.program.ours());
        let run = self.pass();
        let local = &run["local"];
        assert_eq!(
            (&local["inserted"], &local["updated"], &local["deleted"]),
            (&json!(0), &json!(0), &json!(0))
        );
        assert_eq!(self.far.server.log().writes(), writes, "{what}: one more pass wrote: {run}");
        assert_eq!(self.program.ours(), before);
    }

    /// Does something, and kills the program when the far side has come to the point.
    fn killed_at(&mut self, point: usize, at: Point, act: impl FnOnce(&Story)) {
        let (method, path) = self.far.points[point];
        let paused = self.far.server.pause(method, path, at);
        act(self);
        if point == LOOK {
            self.program.api("POST", &format!("/mappings/{}/sync", self.mapping), None);
        }
        let reached = self.far.runtime.block_on(async {
            tokio::time::timeout(Duration::from_secs(30), paused.reached()).await.is_ok()
        });
        assert!(reached, "{method} {path} {at:?} was never reached");
        self.program.kill();
        paused.go();
        self.program.start();
    }

    fn play(mut self) {
        self.program.dav("PUT", "a.ics", &event("a", "a0", 8));
        self.agree(&["a0"], "at first");
        for (turn, at) in [Point::Before, Point::After].into_iter().enumerate() {
            let new = format!("b{turn}");
            let text = event(&new, &new, 9 + u32::try_from(turn).unwrap());
            let name = format!("{new}.ics");
            self.killed_at(MAKE, at, |story| {
                assert_eq!(story.program.dav("PUT", &name, &text).status, 201);
            });
            let title = |text: &str| format!("{text}{turn}");
            let last = if turn == 0 { "a0".to_owned() } else { "c0".into() };
            self.agree(&[&last, &new], "made");
            let changed = title("c");
            self.killed_at(CHANGE, at, |story| {
                assert_eq!(story.program.dav("PUT", "a.ics", &event("a", &changed, 8)).status, 204);
            });
            self.agree(&[&changed, &new], "changed");
            self.killed_at(REMOVE, at, |story| {
                assert_eq!(story.program.dav("DELETE", &name, "").status, 204);
            });
            self.agree(&[&changed], "removed");
            self.killed_at(LOOK, at, |_| {});
            self.agree(&[&changed], "looked");
        }
        // What the far side cannot hold is still ours, octet for octet.
        let kept = String::from_utf8(self.program.dav("GET", "a.ics", "").body).unwrap();
        assert_eq!(kept, event("a", "c1", 8));
    }
}

// S3-006, S3-010, S3-029
#[test]
fn google_and_kalends_agree_after_every_kill() {
    Story::begin(Far::google()).play();
}

#[test]
fn outlook_and_kalends_agree_after_every_kill() {
    Story::begin(Far::outlook()).play();
}

// S3-143, S4-006
#[test]
fn a_caldav_server_and_kalends_agree_after_every_kill() {
    Story::begin(Far::caldav()).play();
}

#[test]
fn radicale_and_kalends_agree_after_every_kill() {
    if let Some(far) = Far::radicale() {
        Story::begin(far).play();
    }
}

// S3-161: an operation whose answer was lost is found again by its marker
#[test]
fn cozi_and_kalends_agree_after_every_kill() {
    Story::begin(Far::cozi()).play();
}

/// A change there while nobody looks is found after the kill, also by a look that is killed; what was removed there does
/// not come back.
fn meanwhile(far: Far) {
    let mut story = Story::begin(far);
    story.program.dav("PUT", "a.ics", &event("a", "a0", 8));
    story.agree(&["a0"], "at first");
    story.program.kill();
    let id = story.far.made_there(&next_week(), "theirs");
    story.program.start();
    story.killed_at(LOOK, Point::After, |_| {});
    story.agree(&["a0", "theirs"], "made there");
    story.program.kill();
    story.far.removed_there(id);
    story.program.start();
    story.killed_at(LOOK, Point::Before, |_| {});
    story.agree(&["a0"], "removed there");
    let (_, trash) = story.program.api("GET", "/trash", None);
    assert_eq!(trash["items"].as_array().map(Vec::len), Some(1), "{trash}");
}

// S4-092
#[test]
fn what_happens_there_meanwhile_is_found() {
    let all = [Some(Far::google()), Some(Far::outlook()), Some(Far::caldav()), Far::radicale()];
    all.into_iter().flatten().for_each(meanwhile);
}

// S4-006: where removals are not told, two absences a minute apart are one
#[test]
fn what_happens_at_cozi_meanwhile_is_found() {
    meanwhile(Far::cozi());
}

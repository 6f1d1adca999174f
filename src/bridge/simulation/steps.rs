//! Stories of far sides that write a series in several steps, any of which may be the last one of a pass.
//!
//! At rest the law of all stories holds, and nothing of a series is gone that nobody took away: its edited day with what is
//! ours alone, its day that is left out, what somebody else wrote there meanwhile. Nobody is asked about any of it.

use super::terms::Terms;
use super::*;

const UID: &str = "z";
const DAY: &str = "20260103T100000Z";
const OUT: &str = "20260104T100000Z";
const BACK: &str = "20260105T100000Z";

/// A series with an edited day, and days that are left out.
fn series(count: u64, out: &[&str]) -> Bytes {
    let out: String = out.iter().map(|day| format!("EXDATE:{day}\r\n")).collect();
    format!(
        "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:x\r\nBEGIN:VEVENT\r\nUID:{UID}\r\nDTSTAMP:20260101T000000Z\r\n\
         DTSTART:20260101T100000Z\r\nRRULE:FREQ=DAILY;COUNT={count}\r\nSUMMARY:Choir\r\n{out}END:VEVENT\r\n\
         BEGIN:VEVENT\r\nUID:{UID}\r\nDTSTAMP:20260101T000000Z\r\nRECURRENCE-ID:{DAY}\r\nDTSTART:20260103T150000Z\r\n\
         SUMMARY:Rehearsal\r\nX-OWN:kept\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"
    )
    .into()
}

impl World {
    async fn put_series(&mut self, count: u64, out: &[&str]) {
        let name = Name::new("series.ics").unwrap();
        self.session.put(&self.at, Put::new(&name, series(count, out))).await.unwrap();
        self.edits += 1;
        self.wanted.insert(UID.into());
        self.story.push(format!("the series has {count} days, without {out:?}"));
        self.clock.0.fetch_add(10_000, Ordering::Relaxed);
    }

    /// A series is written and changed while passes break off anywhere; then the laws are looked at.
    pub(super) async fn calm_in_steps(&mut self) {
        self.calm().await;
        self.laws().await;
        let count = 10 + self.dice.roll(10);
        self.put_series(count, &[OUT, BACK]).await;
        self.calm().await;
        self.laws().await;
        let mut said = None;
        let mut out: &[&str] = &[OUT, BACK];
        let mut count = count;
        for turn in 0..1 + self.dice.roll(3) {
            match self.dice.roll(3) {
                0 => out = &[OUT],
                1 if turn > 0 => {}
                _ => count += 1 + self.dice.roll(5),
            }
            self.put_series(count, out).await;
            for _ in 0..1 + self.dice.roll(2) {
                let (seed, crash) =
                    (self.dice.roll(u64::MAX), self.dice.one_in(2).then(|| self.dice.roll(9)));
                {
                    let mut inside = self.far.lock();
                    (inside.dice, inside.faults, inside.crash_in) = (Dice(seed), true, crash);
                    inside.budget = self.dice.one_in(4).then(|| self.dice.roll(9));
                }
                self.sync(false).await;
                self.far.lock().budget = None;
                self.clock.0.fetch_add(70_000, Ordering::Relaxed);
            }
            let there = self.there().remove(UID);
            if let (Some((path, bytes)), true) = (there, self.dice.one_in(3)) {
                self.serial += 1;
                let word = format!("v{}", self.serial);
                let text = String::from_utf8(bytes.to_vec()).unwrap();
                let own = format!("SUMMARY:{}", property(&bytes, "SUMMARY").unwrap());
                self.far.store(&path, text.replacen(&own, &format!("SUMMARY:{word}"), 1).into());
                self.edits += 1;
                self.story.push(format!("it is called {word} there"));
                said = Some(word);
                // What is written here next is the word of somebody who knew of it.
                self.calm().await;
                let ours = self.here().await[UID].1.clone();
                assert_eq!(property(&ours, "SUMMARY"), said, "{}", self.told());
                self.series_is_whole(count, out, said.as_deref()).await;
                break;
            }
        }
        self.calm().await;
        self.laws().await;
        self.series_is_whole(count, out, said.as_deref()).await;
    }

    async fn series_is_whole(&mut self, count: u64, out: &[&str], said: Option<&str>) {
        let wanted = String::from_utf8(series(count, out).to_vec()).unwrap();
        let wanted = wanted.replacen("Choir", said.unwrap_or("Choir"), 1);
        let ours = self.here().await[UID].1.clone();
        assert!(same(&ours, &wanted.into()), "it is not what was written: {ours:?} {}", self.told());
        let store = Arc::clone(&self.session.house.store);
        let conflicts = record::load_all::<Conflict>(&*store, Table::Conflict, "m/").await.unwrap();
        let asked: Vec<&Conflict> = conflicts.iter().filter(|conflict| conflict.uid == UID).collect();
        assert!(asked.is_empty(), "nobody changed the same as somebody else: {asked:?} {}", self.told());
    }
}

// S1-062, S3-076: a write that breaks off between two of its steps takes nothing away
#[test]
fn a_series_that_is_half_written_loses_nothing() {
    tale::play_all("steps", 600, &[], |tale| Box::pin(play(tale)));
}

async fn play(tale: Tale) -> String {
    let terms = Terms { steps: true, ..Terms::plain() };
    let world = World::of(&tale, terms).await;
    super::play_in(world, tale).await
}

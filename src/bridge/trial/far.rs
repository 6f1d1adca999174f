//! A far side in memory that does what a test tells it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use bytes::Bytes;

use super::{line, lines_without, property};
use crate::bridge::provider::{
    Abilities, Cursor, Fit, Fut, Page, Pages, Provider, RemoteCalendar, RemoteId, Seen, Sighting, Slot,
    Trouble, Version, Window, Write, Written,
};
use crate::bridge::shape;
use crate::ical::Ical;

/// How it is and what it holds.
#[derive(Debug, Default)]
pub(super) struct Inside {
    pub(super) objects: BTreeMap<String, (Bytes, u64)>,
    log: Vec<(u64, String)>,
    version: u64,
    /// Listings bring the content along.
    pub(super) content: bool,
    /// It tells no versions.
    pub(super) silent: bool,
    /// Listings name what lies in the window only, and what leaves it is told as removed.
    pub(super) windowed: bool,
    /// Such listings tell of what lies outside, too, as such.
    pub(super) beyond: bool,
    /// Properties that it cannot hold, and says so.
    pub(super) lacks: BTreeSet<&'static str>,
    /// What it cannot hold at all, by a word in the title.
    pub(super) refuses: Option<&'static str>,
    /// Writes that it does not answer, by a word in the title.
    pub(super) deaf: Option<&'static str>,
    /// It answered a moment ago and answers nobody any more.
    pub(super) down: bool,
    /// UIDs that another calendar of the account has; it lets none in twice.
    pub(super) taken: BTreeSet<&'static str>,
    /// Its budget of calls is used up after so many writes.
    pub(super) budget: Option<u64>,
    /// Somebody there changes every write a moment later.
    pub(super) restless: bool,
    /// A property that somebody there writes a moment after the next write, whose answer tells neither version nor content.
    pub(super) overtaken: Option<&'static str>,
    /// Titles of what was written and paths of what was removed, in order.
    pub(super) written: Vec<String>,
    /// So many writes are carried out and not answered.
    pub(super) swallows: u64,
    /// So many questions for objects by name are not answered.
    pub(super) mute: u64,
    /// Objects that it cannot give the content of.
    pub(super) broken: BTreeSet<&'static str>,
    /// Of these it says so as a refusal, not as a failure of its own.
    pub(super) says_no: bool,
    /// So many complete listings are empty by mistake.
    pub(super) short: u64,
    /// How many objects were asked for by name.
    pub(super) reads: u64,
    /// How often it was asked for its calendars.
    pub(super) asked: u64,
}

/// A far side in memory.
#[derive(Debug, Default)]
pub(super) struct Far(Mutex<Inside>);

impl Far {
    pub(super) fn lock(&self) -> std::sync::MutexGuard<'_, Inside> {
        self.0.lock().unwrap()
    }

    /// Somebody stores an object there.
    pub(super) fn store(&self, path: &str, text: &str) {
        self.lock().store(path, Bytes::from(text.to_owned()));
    }

    /// Somebody removes an object there.
    pub(super) fn remove(&self, path: &str) {
        self.lock().remove(path);
    }

    pub(super) fn text(&self, path: &str) -> Option<String> {
        self.lock().objects.get(path).map(|(bytes, _)| String::from_utf8(bytes.to_vec()).unwrap())
    }

    /// Returns the titles of all that is there.
    pub(super) fn titles(&self) -> Vec<String> {
        let inside = self.lock();
        let mut all: Vec<String> = inside
            .objects
            .values()
            .map(|(bytes, _)| property(bytes, "SUMMARY").unwrap_or_default())
            .collect();
        all.sort();
        all
    }

    /// Returns what was written since the last question.
    pub(super) fn written(&self) -> Vec<String> {
        std::mem::take(&mut self.lock().written)
    }
}

impl Inside {
    fn answers(&self) -> Result<(), Trouble> {
        if self.down { Err(Trouble::Unreachable("Nobody answers.".into())) } else { Ok(()) }
    }

    fn store(&mut self, path: &str, bytes: Bytes) {
        self.version += 1;
        self.objects.insert(path.to_owned(), (bytes, self.version));
        self.log.push((self.version, path.to_owned()));
    }

    fn remove(&mut self, path: &str) {
        self.version += 1;
        self.objects.remove(path);
        self.log.push((self.version, path.to_owned()));
    }

    fn seen(&self, path: &str) -> Option<Seen> {
        let (bytes, version) = self.objects.get(path)?;
        let version = (!self.silent).then(|| Version(version.to_string()));
        Some(Seen { id: RemoteId(path.to_owned()), version, bytes: bytes.clone(), modified: None })
    }

    fn is_told(&self, path: &str, window: Window) -> bool {
        let Some((bytes, _)) = self.objects.get(path) else { return false };
        !self.windowed || shape::in_window(&Ical::parse(bytes.clone()).unwrap(), window)
    }

    fn page(&self, paths: Vec<String>, gone: Vec<RemoteId>) -> Page {
        let seen: Vec<Seen> = paths.iter().filter_map(|path| self.seen(path)).collect();
        match self.content {
            true => Page { read: seen, gone, ..Page::default() },
            false => {
                let sightings = seen.into_iter().map(|s| Sighting { id: s.id, version: s.version }).collect();
                Page { seen: sightings, gone, ..Page::default() }
            }
        }
    }

    fn kept(&self, bytes: &Bytes) -> Bytes {
        self.lacks.iter().fold(bytes.clone(), |bytes, name| lines_without(&bytes, name))
    }
}

impl Provider for Far {
    fn abilities(&self) -> Abilities {
        Abilities { writes: true, pushes: false, batch: 4, parallel: 1, in_steps: false }
    }

    fn calendars(&self) -> Fut<'_, Vec<RemoteCalendar>> {
        Box::pin(async {
            let mut inside = self.lock();
            inside.asked += 1;
            inside.answers()?;
            Ok(Vec::new())
        })
    }

    fn changes<'a>(&'a self, _: &'a RemoteId, since: Option<&'a Cursor>, window: Window) -> Pages<'a> {
        let mut inside = self.lock();
        let next = Some(Cursor(inside.version.to_string()));
        let since: Option<u64> = since.map(|cursor| cursor.0.parse().unwrap());
        let touched = inside.log.iter().filter(|(at, _)| since.is_some_and(|since| *at > since));
        let touched: BTreeSet<String> = touched.map(|(_, path)| path.clone()).collect();
        let all = match since {
            Some(_) => touched,
            None if inside.short > 0 => {
                inside.short -= 1;
                BTreeSet::new()
            }
            None => inside.objects.keys().cloned().collect(),
        };
        let (there, gone): (Vec<_>, Vec<_>) = all.into_iter().partition(|path| inside.is_told(path, window));
        let beyond =
            gone.iter().filter(|_| inside.beyond && since.is_none()).filter_map(|path| inside.seen(path));
        let beyond = beyond.map(|s| Sighting { id: s.id, version: s.version }).collect();
        let gone = if since.is_some() { gone.into_iter().map(RemoteId).collect() } else { Vec::new() };
        let mut pages: Vec<Page> = there.chunks(2).map(|two| inside.page(two.to_vec(), Vec::new())).collect();
        pages.push(inside.page(Vec::new(), gone));
        if let Some(last) = pages.last_mut() {
            last.beyond = beyond;
            last.end = Some(crate::bridge::provider::End { next, complete: since.is_none() });
        }
        Box::pin(futures_util::stream::iter(pages.into_iter().map(Ok)))
    }

    fn read<'a>(&'a self, _: &'a RemoteId, ids: &'a [RemoteId]) -> Fut<'a, Vec<Seen>> {
        Box::pin(async move {
            let mut inside = self.lock();
            inside.answers()?;
            if let Some(less) = inside.mute.checked_sub(1) {
                inside.mute = less;
                return Err(Trouble::Unreachable("It does not answer.".into()));
            }
            if ids.iter().any(|id| inside.broken.contains(id.0.as_str())) {
                let why = "It cannot be read.".to_owned();
                return Err(if inside.says_no { Trouble::Refused(why) } else { Trouble::Unreachable(why) });
            }
            inside.reads += u64::try_from(ids.len()).unwrap();
            Ok(ids.iter().filter_map(|id| inside.seen(&id.0)).collect())
        })
    }

    fn place(&self, _: &RemoteId, uid: &str) -> Option<RemoteId> {
        Some(RemoteId(format!("/{uid}.ics")))
    }

    fn fit(&self, ical: &Ical, _: Window) -> Fit {
        let inside = self.lock();
        let title = property(ical.bytes(), "SUMMARY").unwrap_or_default();
        match inside.refuses {
            Some(word) if title.contains(word) => Fit::Refused(format!("It cannot hold {word}.")),
            _ => Fit::Whole(inside.kept(ical.bytes())),
        }
    }

    fn put<'a>(&'a self, _: &'a RemoteId, write: &'a Write) -> Fut<'a, Written> {
        Box::pin(async move {
            let mut inside = self.lock();
            inside.answers()?;
            let title = property(&write.bytes, "SUMMARY").unwrap_or_default();
            if inside.deaf.is_some_and(|word| title.contains(word)) {
                return Err(Trouble::Unreachable("It does not answer.".into()));
            }
            if let Some(left) = &mut inside.budget {
                let Some(less) = left.checked_sub(1) else {
                    let wait = std::time::Duration::from_secs(600);
                    return Err(Trouble::Budget("The budget is used up.".into(), wait));
                };
                *left = less;
            }
            let path = match &write.slot {
                Slot::New { uid } if inside.taken.contains(uid.as_str()) => return Err(Trouble::Taken(None)),
                Slot::New { uid } => format!("/{uid}.ics"),
                Slot::At(id, version) => {
                    let now = inside.seen(&id.0).and_then(|seen| seen.version);
                    if version.is_some() && now != *version {
                        return Err(Trouble::Stale);
                    }
                    id.0.clone()
                }
            };
            let bytes = inside.kept(&write.bytes);
            inside.store(&path, bytes.clone());
            inside.written.push(title);
            if let Some(less) = inside.swallows.checked_sub(1) {
                inside.swallows = less;
                return Err(Trouble::Unreachable("Its answer was lost.".into()));
            }
            if let Some(said) = inside.overtaken.take() {
                let text = String::from_utf8(bytes.to_vec()).unwrap();
                inside.store(&path, line(&text, said).into());
                return Ok(Written { id: RemoteId(path), version: None, seen: None });
            }
            let seen = inside.seen(&path);
            if inside.restless {
                let text = String::from_utf8(bytes.to_vec()).unwrap();
                let other = line(&text, &format!("X-RESTLESS:{}", inside.version));
                inside.store(&path, other.into());
            }
            Ok(Written { id: RemoteId(path), version: seen.as_ref().and_then(|s| s.version.clone()), seen })
        })
    }

    fn delete<'a>(&'a self, _: &'a RemoteId, id: &'a RemoteId, version: Option<&'a Version>) -> Fut<'a, ()> {
        Box::pin(async move {
            let mut inside = self.lock();
            inside.answers()?;
            let now = inside.seen(&id.0).and_then(|seen| seen.version);
            if now.is_some() && version.is_some() && version != now.as_ref() {
                return Err(Trouble::Stale);
            }
            inside.remove(&id.0);
            inside.written.push(format!("-{}", id.0));
            Ok(())
        })
    }
}

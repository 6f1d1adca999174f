//! A far side in memory.

use futures_util::StreamExt as _;

use super::*;
use crate::bridge::{apart, shape};
use crate::ical::zone::Zone;

/// How a far side is, for one seed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Habits {
    /// It drops `X-` properties and rewrites stamps.
    pub(super) rewrites: bool,
    /// It tells no version after a write.
    pub(super) silent: bool,
    /// It has no cursor: every look is a complete listing.
    pub(super) forgetful: bool,
    /// It holds title and times only, and says so.
    pub(super) poor: bool,
    /// It tells in pages, with the content at once.
    pub(super) pages: bool,
    /// It knows no repeats: a series is there as single events.
    pub(super) single: bool,
    /// It names objects as it likes: their places are not known beforehand.
    pub(super) names: bool,
    /// It writes a series in several steps.
    pub(super) steps: bool,
    /// Listings name what lies in the window only, and what leaves it is told as removed.
    pub(super) windowed: bool,
}

#[derive(Debug)]
pub(super) struct Inside {
    pub(super) objects: BTreeMap<String, (Bytes, u64)>,
    pub(super) log: Vec<(u64, String)>,
    pub(super) version: u64,
    pub(super) dice: Dice,
    pub(super) faults: bool,
    pub(super) empty: bool,
    /// Calls until the process is gone.
    pub(super) crash_in: Option<u64>,
    /// Calls until the budget is used up.
    pub(super) budget: Option<u64>,
    pub(super) writes: u64,
    /// How many calls were not answered, carried out or not.
    pub(super) lost: u64,
    /// What it was asked since the last pass.
    pub(super) calls: Vec<String>,
    /// What somebody stores there a moment before the next write or removal.
    pub(super) rival: Option<(String, Bytes)>,
    /// What it was told to hold since the last pass, and whether that was to be made.
    pub(super) said: Vec<(bool, Bytes)>,
}

/// A far side in memory.
#[derive(Debug)]
pub(super) struct Far {
    pub(super) habits: Habits,
    pub(super) inside: Mutex<Inside>,
    pub(super) crashed: tokio::sync::Notify,
}

impl Far {
    pub(super) fn lock(&self) -> std::sync::MutexGuard<'_, Inside> {
        self.inside.lock().unwrap()
    }

    pub(super) fn store(&self, path: &str, bytes: Bytes) -> Version {
        let mut inside = self.lock();
        inside.version += 1;
        let version = inside.version;
        inside.objects.insert(path.to_owned(), (bytes, version));
        inside.log.push((version, path.to_owned()));
        Version(version.to_string())
    }

    pub(super) fn remove(&self, path: &str) {
        let mut inside = self.lock();
        inside.version += 1;
        let version = inside.version;
        inside.objects.remove(path);
        inside.log.push((version, path.to_owned()));
    }

    /// A call comes in.
    async fn called(&self, what: String) -> Result<(), Trouble> {
        {
            let mut inside = self.lock();
            if let Some(left) = &mut inside.budget {
                let Some(less) = left.checked_sub(1) else {
                    let wait = std::time::Duration::from_secs(60);
                    return Err(Trouble::Budget("The budget is used up.".into(), wait));
                };
                *left = less;
            }
            inside.calls.push(what);
        }
        self.weather().await
    }

    fn is_told(&self, inside: &Inside, path: &str, window: Window) -> bool {
        let Some((bytes, _)) = inside.objects.get(path) else { return false };
        !self.habits.windowed || shape::in_window(&Ical::parse(bytes.clone()).unwrap(), window)
    }

    /// Somebody else is faster.
    fn overtake(&self) {
        let rival = self.lock().rival.take();
        if let Some((path, bytes)) = rival {
            self.store(&path, bytes);
        }
    }

    /// What may go wrong before and after a call is carried out.
    async fn weather(&self) -> Result<(), Trouble> {
        let crash = {
            let mut inside = self.lock();
            match &mut inside.crash_in {
                Some(0) => true,
                Some(n) => {
                    *n -= 1;
                    false
                }
                None => false,
            }
        };
        if crash {
            self.lock().lost += 1;
            self.crashed.notify_one();
            std::future::pending::<()>().await;
        }
        let mut inside = self.lock();
        if inside.faults && inside.dice.one_in(12) {
            inside.lost += 1;
            return Err(Trouble::Unreachable("the line is dead".into()));
        }
        Ok(())
    }

    /// What it makes of what it is given.
    pub(super) fn kept(&self, bytes: &Bytes) -> Bytes {
        let bytes = &self.held(bytes);
        if !self.habits.rewrites {
            return bytes.clone();
        }
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        let lines = text.split_inclusive("\r\n").filter(|line| !line.starts_with("X-"));
        lines.collect::<String>().replace("DTSTAMP:20260101T000000Z", "DTSTAMP:20260101T000001Z").into()
    }
}

impl Far {
    /// What it can hold, as it says itself.
    pub(super) fn held(&self, bytes: &Bytes) -> Bytes {
        if !self.habits.poor {
            return bytes.clone();
        }
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        let poor = |line: &&str| !line.starts_with("X-") && !line.starts_with("LOCATION");
        text.split_inclusive("\r\n").filter(poor).collect::<String>().into()
    }

    /// The pages of an answer: one with all, or several with the content of what they name.
    fn told(&self, inside: &Inside, all: Page) -> Vec<Result<Page, Trouble>> {
        if !self.habits.pages {
            return vec![Ok(all)];
        }
        let mut pages: Vec<Page> = all
            .seen
            .chunks(2)
            .map(|chunk| Page {
                read: chunk.iter().filter_map(|s| seen(inside, &s.id)).collect(),
                ..Page::default()
            })
            .collect();
        pages.push(Page { gone: all.gone, end: all.end, ..Page::default() });
        pages.into_iter().map(Ok).collect()
    }
}

fn seen(inside: &Inside, id: &RemoteId) -> Option<Seen> {
    let (bytes, version) = inside.objects.get(&id.0)?;
    let version = Some(Version(version.to_string()));
    Some(Seen { id: id.clone(), version, bytes: bytes.clone(), modified: None })
}

impl Provider for Far {
    fn fit(&self, ical: &Ical, window: Window) -> Fit {
        let recurs = ical.calendar().is_some_and(|c| c.components().any(|c| c.property("RRULE").is_some()));
        if self.habits.single && recurs {
            let parts = apart::instances(ical, window, &Zone::Utc).unwrap();
            return Fit::Parts(parts, "It knows no repeats.".into());
        }
        Fit::Whole(self.held(ical.bytes()))
    }

    fn abilities(&self) -> Abilities {
        Abilities { writes: true, pushes: false, batch: 3, parallel: 1, in_steps: self.habits.steps }
    }

    fn calendars(&self) -> Fut<'_, Vec<RemoteCalendar>> {
        Box::pin(async {
            self.called("calendars".into()).await?;
            Ok(Vec::new())
        })
    }

    fn changes<'a>(&'a self, _: &'a RemoteId, since: Option<&'a Cursor>, window: Window) -> Pages<'a> {
        let answer = async move {
            if let Err(trouble) = self.called("changes".into()).await {
                return vec![Err(trouble)];
            }
            let mut inside = self.lock();
            let next = (!self.habits.forgetful).then(|| Cursor(inside.version.to_string()));
            if let Some(since) = since {
                if inside.faults && inside.dice.one_in(8) {
                    return vec![Err(Trouble::CursorExpired)];
                }
                let since: u64 = since.0.parse().unwrap();
                let touched: BTreeSet<String> =
                    inside.log.iter().filter(|(at, _)| *at > since).map(|(_, path)| path.clone()).collect();
                let (there, gone): (Vec<_>, Vec<_>) =
                    touched.into_iter().partition(|path| self.is_told(&inside, path, window));
                let seen = there.into_iter().map(|path| sighting(&inside, &path)).collect();
                let gone = gone.into_iter().map(RemoteId).collect();
                return self.told(&inside, Page::only(seen, gone, next, false));
            }
            // A listing that is empty by mistake, once before calm: two such heal with the daily comparison only.
            let mistaken = inside.faults && !inside.empty && inside.dice.one_in(10);
            inside.empty |= mistaken;
            if mistaken {
                return vec![Ok(Page::only(Vec::new(), Vec::new(), next, true))];
            }
            let mut paths: Vec<String> = inside.objects.keys().cloned().collect();
            paths.retain(|path| self.is_told(&inside, path, window));
            let seen = paths.iter().map(|path| sighting(&inside, path)).collect();
            let mut pages = self.told(&inside, Page::only(seen, Vec::new(), next, true));
            // An answer that breaks off is an error, however much of it has come.
            if inside.faults && inside.dice.one_in(12) {
                let some = usize::try_from(inside.dice.roll(3)).unwrap();
                pages.truncate(some);
                pages.push(Err(Trouble::Unreachable("the answer broke off".into())));
            }
            pages
        };
        Box::pin(futures_util::stream::once(answer).flat_map(futures_util::stream::iter))
    }

    fn read<'a>(&'a self, _: &'a RemoteId, ids: &'a [RemoteId]) -> Fut<'a, Vec<Seen>> {
        Box::pin(async move {
            let names: Vec<&str> = ids.iter().map(|id| id.0.as_str()).collect();
            self.called(format!("read {}", names.join(" "))).await?;
            let inside = self.lock();
            Ok(ids.iter().filter_map(|id| seen(&inside, id)).collect())
        })
    }

    fn place(&self, _: &RemoteId, uid: &str) -> Option<RemoteId> {
        (!self.habits.names).then(|| RemoteId(format!("/{uid}.ics")))
    }

    fn put<'a>(&'a self, _: &'a RemoteId, write: &'a Write) -> Fut<'a, Written> {
        Box::pin(async move {
            let uid = uid_in(&write.bytes);
            self.called(format!("put {uid}")).await?;
            self.overtake();
            self.lock().said.push((matches!(write.slot, Slot::New { .. }), write.bytes.clone()));
            let path = match &write.slot {
                Slot::New { uid } => {
                    let path = match self.habits.names {
                        true => format!("/{}", self.lock().version),
                        false => format!("/{uid}.ics"),
                    };
                    let taken = self
                        .lock()
                        .objects
                        .iter()
                        .find(|(_, (b, _))| uid_in(b) == *uid)
                        .map(|(p, _)| p.clone());
                    if let Some(taken) = taken {
                        return Err(Trouble::Taken(Some(RemoteId(taken))));
                    }
                    path
                }
                Slot::At(id, version) => {
                    let now = self.lock().objects.get(&id.0).map(|(_, v)| Version(v.to_string()));
                    if now.is_none() || (version.is_some() && *version != now) {
                        return Err(Trouble::Stale);
                    }
                    id.0.clone()
                }
            };
            let version = self.put_in_steps(&path, &self.kept(&write.bytes)).await?;
            self.lock().writes += 1;
            self.weather().await?;
            Ok(Written { id: RemoteId(path), version: (!self.habits.silent).then_some(version), seen: None })
        })
    }

    fn delete<'a>(&'a self, _: &'a RemoteId, id: &'a RemoteId, version: Option<&'a Version>) -> Fut<'a, ()> {
        Box::pin(async move {
            self.called(format!("delete {}", id.0)).await?;
            self.overtake();
            let now = self.lock().objects.get(&id.0).map(|(_, v)| Version(v.to_string()));
            if now.is_some() && version.is_some() && version != now.as_ref() {
                return Err(Trouble::Stale);
            }
            if now.is_some() {
                self.remove(&id.0);
                self.lock().writes += 1;
            }
            self.weather().await
        })
    }
}

/// A text in pieces: what stands before the first event, the master without days that are left out, these, instances.
struct Pieces {
    head: String,
    master: String,
    out: BTreeSet<String>,
    instances: Vec<String>,
}

impl Pieces {
    fn of(bytes: &Bytes) -> Pieces {
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        let text = text.strip_suffix("END:VCALENDAR\r\n").unwrap();
        let mut blocks = text.split_inclusive("END:VEVENT\r\n");
        let (head, first) = blocks.next().unwrap().split_once("BEGIN:VEVENT").unwrap();
        let days = |line: &&str| line.starts_with("EXDATE:");
        let lines = || first.split_inclusive("\r\n");
        let out = lines().filter(days).flat_map(|line| line.trim_end()[7..].split(',').map(str::to_owned));
        Pieces {
            head: head.to_owned(),
            master: lines().filter(|line| !days(line)).collect::<String>(),
            out: out.collect(),
            instances: blocks.map(str::to_owned).collect(),
        }
    }

    fn text(&self) -> Bytes {
        let out: String = self.out.iter().map(|day| format!("EXDATE:{day}\r\n")).collect();
        let master = self.master.replacen("END:VEVENT", &format!("{out}END:VEVENT"), 1);
        format!("{}BEGIN:VEVENT{master}{}END:VCALENDAR\r\n", self.head, self.instances.concat()).into()
    }

    /// When it takes place, as the master says.
    fn times(&self) -> Vec<&str> {
        let of = |line: &&str| ["DTSTART", "RRULE"].iter().any(|name| line.starts_with(name));
        self.master.lines().filter(of).collect()
    }
}

impl Far {
    /// Stores a text. A series piece by piece, where it does so: another rule ends instances and days that are left out,
    /// which are written again one by one; a day comes back only where all is made anew.
    async fn put_in_steps(&self, path: &str, bytes: &Bytes) -> Result<Version, Trouble> {
        let before = self.lock().objects.get(path).map(|(bytes, _)| bytes.clone());
        let recurs = |bytes: &Bytes| property(bytes, "RRULE").is_some();
        if !self.habits.steps || !(recurs(bytes) || before.as_ref().is_some_and(recurs)) {
            return Ok(self.store(path, bytes.clone()));
        }
        let (before, wanted) = (before.as_ref().map(Pieces::of), Pieces::of(bytes));
        let mut now = Pieces { out: BTreeSet::new(), instances: Vec::new(), ..Pieces::of(bytes) };
        match before {
            Some(before) if before.times() != wanted.times() => {}
            Some(before) if !before.out.is_subset(&wanted.out) => {
                self.remove(path);
                self.called("taken away".into()).await?;
            }
            Some(before) => {
                now.out = before.out;
                now.instances =
                    before.instances.into_iter().filter(|one| wanted.instances.contains(one)).collect();
            }
            None => {}
        }
        let mut version = self.store(path, now.text());
        let instances = wanted.instances.iter().filter(|one| !now.instances.contains(one));
        for one in instances.cloned().collect::<Vec<_>>() {
            self.called("an instance".into()).await?;
            now.instances.push(one);
            version = self.store(path, now.text());
        }
        for day in wanted.out {
            if now.out.insert(day) {
                self.called("a day".into()).await?;
                version = self.store(path, now.text());
            }
        }
        Ok(version)
    }
}

fn sighting(inside: &Inside, path: &str) -> Sighting {
    let version = inside.objects.get(path).map(|(_, v)| Version(v.to_string()));
    Sighting { id: RemoteId(path.to_owned()), version }
}

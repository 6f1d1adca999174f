//! Stories of mappings that are set otherwise than to carry everything both ways, and what holds for each setting.
//!
//! At every moment, whatever fails:
//! - `pull`: the far side is never asked to write; `push`: the log here moves by what people do alone.
//! - `keep`, `cancel`, `restore`: the side that follows has nothing removed by a pass, unless a filter takes copies back.
//! - What a pass removes here lies in the trash.
//! - What a preset does not carry, and what a filter leaves out, is never sent; with `busy` no UID of ours either.
//!
//! At rest:
//! - What nobody removed is somewhere, and what has its counterpart says the same, as far as it is carried. One way only:
//!   the source's last edit is on the other side, and all of it where nobody edited the copy.
//! - Nothing is tried again by itself any more.
//! - What is on one side alone is there for a reason: the direction, the filters, the window, or a removal that the
//!   other side does not follow.

use std::collections::HashSet;

use super::terms::{DAY, Terms};
use super::*;
use crate::bridge::ledger::Ledger;
use crate::bridge::record::{Apart, Base};
use crate::bridge::scope::{self, shaped, with_uid};
use crate::bridge::shape;
use crate::calendar::Discarded;
use crate::ical::value::Civil;
use crate::store::Rev;

/// Both sides before a pass.
pub(super) struct Before {
    here: BTreeMap<String, (Name, Bytes)>,
    there: BTreeSet<String>,
    rev: Rev,
}

impl World {
    pub(super) async fn snapshot(&self) -> Option<Before> {
        if !self.terms.set {
            return None;
        }
        let (here, there) = (self.here().await, self.there().into_keys().collect());
        Some(Before { here, there, rev: self.at.head().await.unwrap().rev })
    }

    /// Looks at what a pass did, whether it was cut or not.
    pub(super) async fn watch(&mut self, before: Option<Before>, calls: &str) {
        let Some(before) = before else { return };
        let terms = &self.terms;
        let said = std::mem::take(&mut self.far.lock().said);
        if terms.direction == Direction::Pull {
            let asked = calls.contains("put ") || calls.contains("delete ");
            assert!(!asked && self.far.lock().writes == 0, "it was written there: {}", self.told());
        }
        if terms.direction == Direction::Push && terms.on_local_delete != OnDelete::Restore {
            assert_eq!(self.at.head().await.unwrap().rev, before.rev, "it was written here: {}", self.told());
        }
        let (here, there) = (self.here().await, self.there());
        let follows = |on: OnDelete| !terms.filters.is_empty() || on == OnDelete::Trash;
        let mut trash = HashSet::new();
        for uid in before.here.keys().filter(|uid| !here.contains_key(*uid)) {
            assert!(follows(terms.on_remote_delete), "{uid} was removed here: {}", self.told());
            if trash.is_empty() {
                for trashed in self.session.trash(Some(self.at.id()), usize::MAX).await.unwrap() {
                    if let (Discarded::Object { uid, etag, .. }, Origin::Mapping(_)) =
                        (trashed.what, trashed.by)
                    {
                        trash.insert((uid, etag));
                    }
                }
            }
            let last = crate::store::Etag::of(&before.here[uid].1);
            assert!(trash.contains(&(uid.clone(), last)), "{uid} is not in the trash: {}", self.told());
        }
        for uid in before.there.iter().filter(|uid| !there.contains_key(*uid)) {
            assert!(
                terms.single || follows(terms.on_local_delete),
                "{uid} was removed there: {}",
                self.told()
            );
        }
        for (new, bytes) in said {
            let text = String::from_utf8(bytes.to_vec()).unwrap();
            let kept_back: &[&str] = match terms.fields {
                Fields::Busy => &[""],
                Fields::Core => &["X-OWN", "CATEGORIES"],
                Fields::Standard => &["X-OWN"],
                Fields::Full => &[],
            };
            for line in text.lines().filter(|line| kept_back.iter().any(|name| line.starts_with(name))) {
                assert!(!line.contains("ours"), "what is not carried was sent: {text}\n{}", self.told());
                let uid = line.strip_prefix("UID:").filter(|_| terms.fields == Fields::Busy);
                let own = uid.is_some_and(|uid| uid.starts_with('u') && !self.past.strangers.contains(uid));
                assert!(!own, "a UID of ours was told: {text}\n{}", self.told());
            }
            let told = terms.fields != Fields::Busy;
            let left_out = new && told && !shape::passes(&terms.filters, &Ical::parse(bytes).unwrap());
            assert!(!left_out, "what a filter leaves out was sent: {text}\n{}", self.told());
        }
    }

    /// The window as it is now.
    pub(super) fn window(&self) -> Window {
        let now = self.clock.now();
        scope::window(&self.mapping, Reach::All, Reach::All, now)
    }

    fn is_outside(&self, bytes: &Bytes) -> bool {
        // A day at either end is left to the far side.
        let now = self.window();
        let inner = Window {
            from: now.from.map(|from| from + 2 * DAY),
            to: now.to.map(|to| to - 2 * DAY),
            now: now.now,
        };
        !shape::in_window(&Ical::parse(bytes.clone()).unwrap(), inner)
    }

    pub(super) async fn bases(&self) -> BTreeMap<String, Base> {
        let ledger = Ledger::new(Arc::clone(&self.session.house.store), "m");
        let mut walk = ledger.walk();
        let mut all = BTreeMap::new();
        while let Some(page) = walk.next().await.unwrap() {
            all.extend(page.into_iter().map(|base| (base.uid.clone(), base)));
        }
        all
    }

    /// What is there, by what it is called here.
    pub(super) async fn there_named(&self) -> BTreeMap<String, (String, Bytes)> {
        let bases = self.bases().await;
        let ours: BTreeMap<&String, &String> =
            bases.values().filter_map(|base| Some((base.uid_there.as_ref()?, &base.uid))).collect();
        let name = |uid: String| ours.get(&uid).map_or(uid.clone(), |ours| (*ours).clone());
        self.there().into_iter().map(|(uid, found)| (name(uid), found)).collect()
    }

    /// What the mapping carries of a text, whatever it is called.
    fn view(&self, bytes: &Bytes) -> Bytes {
        let whole = Arc::new(Ical::parse(self.far.kept(bytes)).unwrap());
        with_uid(&shaped(self.terms.fields, &whole), "any")
    }

    fn passes(&self, bytes: &Bytes) -> bool {
        shape::passes(&self.terms.filters, &Ical::parse(bytes.clone()).unwrap())
    }

    pub(super) async fn laws_on_terms(&mut self) {
        let (here, there, bases) = (self.here().await, self.there_named().await, self.bases().await);
        let all: BTreeSet<&String> = here.keys().chain(there.keys()).collect();
        for uid in &self.wanted {
            assert!(all.contains(uid), "{uid} was lost: {}", self.told());
        }
        for uid in all {
            let base = bases.get(uid);
            match (here.get(uid), there.get(uid)) {
                (Some((_, ours)), Some((_, theirs))) => self.agree(uid, ours, theirs, base),
                (Some((_, ours)), None) => {
                    assert!(
                        self.may_be_alone(uid, ours, base, false),
                        "{uid} is here alone: {base:?} {}",
                        self.told()
                    );
                }
                (None, Some((_, theirs))) => {
                    assert!(
                        self.may_be_alone(uid, theirs, base, true),
                        "{uid} is there alone: {base:?} {}",
                        self.told()
                    );
                }
                (None, None) => {}
            }
        }
        let open: Vec<&Failure> = self.state.again.iter().filter(|failure| failure.retry).collect();
        assert!(open.is_empty(), "it does not come to rest: {open:?} {}", self.told());
        if self.terms.filters.is_empty() && !self.terms.is_windowed() {
            let writes = self.far.lock().writes;
            let lost = self.far.lock().lost;
            assert!(
                writes <= 2 * self.edits + lost,
                "{writes} writes after {} edits: {}",
                self.edits,
                self.told()
            );
        }
        self.story.push("calm".into());
    }

    fn agree(&self, uid: &str, ours: &Bytes, theirs: &Bytes, base: Option<&Base>) {
        let outside = self.is_outside(ours) || self.is_outside(theirs);
        if outside && (base.is_none() || self.terms.windowed) {
            return;
        }
        // A pair that was there before they met is let go when it no longer passes.
        if !self.passes(ours) || !self.passes(theirs) {
            return;
        }
        let (own, other) = (self.view(ours), self.view(theirs));
        let source = match self.terms.direction {
            Direction::Both => None,
            Direction::Pull => Some(true),
            Direction::Push => Some(false),
        };
        let copy = if source == Some(true) { &self.past.here } else { &self.past.there };
        // What was removed at its source and is made again meets what is left of it for the first time.
        let again = source.is_some_and(|at| self.past.gone.contains_key(&(at, uid.to_owned())));
        if source.is_none() || !(again || copy.contains(uid)) {
            assert!(same(&own, &other), "{uid} differs:\n{own:?}\n{other:?}\n{}", self.told());
        } else if let Some((at, Some(name))) = self.past.last.get(uid)
            && Some(*at) == source
        {
            // Of a list each entry is carried by itself.
            let entries = |bytes: &Bytes| -> BTreeSet<String> {
                raw(bytes, name).unwrap_or_default().split(',').map(str::to_owned).collect()
            };
            let (source, copy) =
                if *at { (entries(&other), entries(&own)) } else { (entries(&own), entries(&other)) };
            assert!(
                source.is_subset(&copy),
                "{name} of {uid} was not carried: {source:?} {copy:?} {}",
                self.told()
            );
        }
    }

    /// Tells whether an event may be on one side alone.
    fn may_be_alone(&self, uid: &str, bytes: &Bytes, base: Option<&Base>, there: bool) -> bool {
        let terms = &self.terms;
        if !self.passes(bytes) || self.is_outside(bytes) {
            return true;
        }
        let gone = self.past.gone.get(&(!there, uid.to_owned())).copied().unwrap_or_default();
        let removed = gone > self.past.written.get(&(there, uid.to_owned())).copied().unwrap_or_default();
        let (on, mark, kept, copies) = match there {
            true => (terms.on_local_delete, Apart::There, Direction::Push, &self.past.there),
            false => (terms.on_remote_delete, Apart::Here, Direction::Pull, &self.past.here),
        };
        let apart = base.is_some_and(|base| base.apart == Some(mark));
        let follows = match there {
            true => terms.direction != Direction::Pull,
            false => terms.direction != Direction::Push,
        };
        if apart
            && follows
            && removed
            && on == OnDelete::Cancel
            && (terms.direction == Direction::Both || !copies.contains(uid))
        {
            assert!(is_off(bytes), "{uid} does not say that it is cancelled: {}", self.told());
        }
        if apart && follows && matches!(on, OnDelete::Cancel | OnDelete::Keep) {
            return true;
        }
        match terms.direction {
            Direction::Both => false,
            // Nothing is carried from this side: what people made or edited here stays here.
            way if way == kept => copies.contains(uid),
            // The source has it, and somebody removed the copy.
            _ => removed && on != OnDelete::Restore,
        }
    }

    /// Nothing goes wrong for a while: the laws hold, and single changes arrive.
    pub(super) async fn calm_on_terms(&mut self) {
        self.calm_down().await;
        self.laws_on_terms().await;
        for there in [false, true] {
            if self.dice.one_in(2) {
                self.one_removal(there).await;
            } else {
                self.one_edit(there).await;
            }
        }
    }

    pub(super) async fn calm_down(&mut self) {
        if self.terms.is_windowed() || !self.terms.filters.is_empty() {
            // What came into the window by itself, or whose twin there was left alone and is gone, is found at night.
            self.clock.0.fetch_add(26 * 3600 * 1000, Ordering::Relaxed);
        }
        self.calm().await;
    }

    /// One event that both sides have and the mapping carries.
    async fn linked(&mut self) -> Option<String> {
        let (here, there) = (self.here().await, self.there_named().await);
        let carried = |bytes: &Bytes| self.passes(bytes) && !self.is_outside(bytes);
        let both = |uid: &&String| {
            let found = here.get(*uid).zip(there.get(*uid));
            found.is_some_and(|((_, ours), (_, theirs))| {
                carried(ours) && carried(theirs) && same(&self.view(ours), &self.view(theirs))
            })
        };
        here.keys().find(both).cloned()
    }

    /// A removal that nobody contests is followed as the mapping says.
    async fn one_removal(&mut self, there: bool) {
        let Some(uid) = self.linked().await else { return };
        let bases = self.bases().await;
        self.story.push(format!("{uid} goes: {:?}", bases.get(&uid)));
        self.touch(&uid, there, true, None).await;
        self.calm_down().await;
        let (ours, theirs) = (self.here().await.remove(&uid), self.there_named().await.remove(&uid));
        let (on, unheard, left) = match there {
            true => (self.terms.on_remote_delete, Direction::Push, ours.map(|(_, bytes)| bytes)),
            false => (self.terms.on_local_delete, Direction::Pull, theirs.map(|(_, bytes)| bytes)),
        };
        let told = self.told();
        let followed = match (on, left) {
            (OnDelete::Restore, left) => left.is_some() && self.here().await.contains_key(&uid),
            (_, left) if self.terms.direction == unheard => left.is_some(),
            (OnDelete::Trash, left) => left.is_none(),
            (OnDelete::Keep, left) => left.is_some_and(|bytes| !is_off(&bytes)),
            (OnDelete::Cancel, left) => left.is_some_and(|bytes| is_off(&bytes)),
        };
        assert!(followed, "{on:?} was not done to {uid}: {told}");
        self.laws_on_terms().await;
    }

    /// An edit that nobody contests arrives, or stays where it is.
    async fn one_edit(&mut self, there: bool) {
        let Some(uid) = self.linked().await else { return };
        let own = property(&self.here().await[&uid].1, "X-OWN");
        let busy = self.terms.fields == Fields::Busy;
        // In the window whatever day it is.
        let at = Civil(self.clock.now().seconds()).midnight().0 + 5 * DAY;
        let at = format!("{}Z", Civil(at).to_basic());
        let says = if busy { ("DTSTART", at.as_str()) } else { ("SUMMARY", "the open last word") };
        let copies = if there {
            self.here().await.remove(&uid).map(|(_, bytes)| bytes)
        } else {
            self.there_named().await.remove(&uid).map(|(_, bytes)| bytes)
        };
        let before = copies.and_then(|bytes| property(&bytes, says.0));
        self.touch(&uid, there, false, Some(says)).await;
        self.calm_down().await;
        let copy = match there {
            true => self.here().await.remove(&uid).map(|(_, bytes)| bytes),
            false => self.there_named().await.remove(&uid).map(|(_, bytes)| bytes),
        };
        let Some(copy) = copy else {
            // The edit that came with it may have taken it out of the filters or the window.
            assert!(
                !self.terms.filters.is_empty() || self.terms.is_windowed(),
                "{uid} is gone: {}",
                self.told()
            );
            return;
        };
        let unheard = if there { Direction::Push } else { Direction::Pull };
        let now = property(&copy, says.0);
        let expected = if self.terms.direction == unheard { before } else { Some(says.1.to_owned()) };
        let exempt = self.terms.is_windowed() && self.is_outside(&copy);
        assert!(exempt || now == expected, "{now:?} of {uid}, not {expected:?}: {}", self.told());
        if there && self.terms.fields != Fields::Full {
            assert_eq!(
                property(&self.here().await[&uid].1, "X-OWN"),
                own,
                "a private field was lost: {}",
                self.told()
            );
        }
        self.laws_on_terms().await;
    }
}

fn is_off(bytes: &Bytes) -> bool {
    let title = property(bytes, "SUMMARY").unwrap_or_default();
    property(bytes, "STATUS").as_deref() == Some("CANCELLED") || title.starts_with("Cancelled")
}

#[test]
fn every_setting_keeps_its_promise() {
    let pinned = [
        (
            37,
            "`push`: an empty far side waited for a word again and again, although nothing would be removed here",
        ),
        (255, "`push`: an edit of what the far side cannot hold brings back what was removed there"),
        (
            348,
            "`keep`: what was kept there was removed after all, and made anew here at the same time: it was forgotten",
        ),
        (
            726,
            "`busy`: a copy whose answer was lost, and whose original was removed, was not known by its name",
        ),
        (1_131, "`pull` and filters: an edited copy was looked at again in every pass"),
        (1_260, "filters: an edit brought an event back to where it was removed, although it passed no more"),
    ];
    tale::play_all("settings", 2_000, &pinned, |tale| Box::pin(play(tale)));
}

#[test]
fn a_seed_of_settings_tells_the_same_story_always() {
    tale::tell_twice(60, |tale| Box::pin(play(tale)));
}

async fn play(tale: Tale) -> String {
    let world = World::of(&tale, Terms::of(tale.seed)).await;
    super::play_in(world, tale).await
}

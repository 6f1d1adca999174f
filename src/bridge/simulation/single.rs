//! Stories of far sides that know no repeats: every series is there as single events.
//!
//! At rest the far side holds exactly the days of every series of ours within the window, each as ours says it, and what
//! is no series as it is. A day that is edited there is an exception here, one that is removed there takes place no more.

use super::terms::{self, Terms};
use super::*;

impl World {
    /// Nothing goes wrong for a while: the laws hold, and what somebody does with one day arrives.
    pub(super) async fn calm_in_parts(&mut self) {
        self.calm_down().await;
        self.laws_in_parts().await;
        // What was a day of a series that is no more is an event of its own.
        let own = self.here().await;
        let part = |uid: &&String| uid.contains("#part-") && !own.contains_key(*uid);
        let Some(uid) = self.there().keys().find(part).cloned() else { return };
        let whole = uid.rsplit_once("#part-").unwrap().0.to_owned();
        let Some((_, ours)) = self.here().await.remove(&whole) else { return };
        let private = property(&ours, "X-OWN");
        self.touch(&uid, true, false, Some(("SUMMARY", "the last word"))).await;
        self.calm_down().await;
        let (_, ours) = self.here().await.remove(&whole).unwrap();
        let text = String::from_utf8(ours.to_vec()).unwrap();
        assert!(text.contains("SUMMARY:the last word"), "{uid} was not taken in: {text}\n{}", self.told());
        assert_eq!(property(&ours, "X-OWN"), private, "a private field was lost: {}", self.told());
        self.laws_in_parts().await;
        // Another day of it goes, or the same one.
        let days = |world: &World| -> Vec<String> {
            let all = world.there().into_keys();
            all.filter(|other| {
                let of = other.rsplit_once("#part-").is_some_and(|(of, _)| of == whole);
                of && !own.contains_key(other)
            })
            .collect()
        };
        let Some(last) = days(self).pop() else { return };
        let before = days(self).len();
        self.touch(&last, true, true, None).await;
        self.calm_down().await;
        assert!(!self.there().contains_key(&last), "{last} came back: {}", self.told());
        assert_eq!(days(self).len(), before - 1, "{}", self.told());
        self.laws_in_parts().await;
    }

    async fn laws_in_parts(&mut self) {
        let (here, there) = (self.here().await, self.there());
        for uid in self.wanted.iter().filter(|uid| !uid.contains("#part-")) {
            assert!(here.contains_key(uid), "{uid} was lost: {}", self.told());
        }
        let mut expected: BTreeMap<String, Bytes> = BTreeMap::new();
        for (uid, (_, bytes)) in &here {
            match self.far.fit(&Ical::parse(bytes.clone()).unwrap(), self.window()) {
                Fit::Whole(held) => drop(expected.insert(uid.clone(), held)),
                Fit::Parts(parts, _) => {
                    let named =
                        parts.into_iter().map(|part| (format!("{uid}#part-{}", part.key), part.bytes));
                    expected.extend(named);
                }
                Fit::Refused(why) => panic!("{why}: {}", self.told()),
            }
        }
        let (expected_uids, uids) = (expected.keys().collect::<Vec<_>>(), there.keys().collect::<Vec<_>>());
        assert_eq!(expected_uids, uids, "not the same days: {}", self.told());
        for (uid, bytes) in expected {
            let named = terms::called(&self.far.kept(&bytes), &uid);
            let theirs = &there[&uid].1;
            assert!(same(&named, theirs), "{uid} differs:\n{named:?}\n{theirs:?}\n{}", self.told());
        }
        self.story.push("calm".into());
    }
}

#[test]
fn a_series_in_parts_keeps_all_its_days() {
    let pinned = [(0, "an event that became a series here and was changed there was never taken apart")];
    tale::play_all("parts", 600, &pinned, |tale| Box::pin(play(tale)));
}

async fn play(tale: Tale) -> String {
    let terms = Terms { single: true, set: true, ..Terms::plain() };
    let world = World::of(&tale, terms).await;
    super::play_in(world, tale).await
}

//! How the mapping of a story is set, and what people do in it.

use std::fmt;

use super::*;
use crate::bridge::record::{Filter, FilterAction, Match};
use crate::bridge::scope::with_uid;
use crate::ical::value::Civil;
use crate::store::{CollectionId, Key, Op};

pub(super) const DAY: i64 = 86_400;

/// How a mapping is set.
#[derive(Debug, Clone)]
pub(super) struct Terms {
    pub(super) direction: Direction,
    pub(super) fields: Fields,
    pub(super) reach: (Reach, Reach),
    pub(super) filters: Vec<Filter>,
    pub(super) on_remote_delete: OnDelete,
    pub(super) on_local_delete: OnDelete,
    /// The far side knows no repeats.
    pub(super) single: bool,
    /// The far side writes a series in several steps.
    pub(super) steps: bool,
    /// The far side tells of what lies in the window only.
    pub(super) windowed: bool,
    /// These are stories of settings at all.
    pub(super) set: bool,
}

impl fmt::Display for Terms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.set {
            return Ok(());
        }
        let (there, here) = (self.on_remote_delete, self.on_local_delete);
        write!(
            f,
            "{:?} {:?} {:?} gone there: {there:?}, here: {here:?}",
            self.direction, self.fields, self.reach
        )?;
        self.filters.iter().try_for_each(|filter| write!(f, " {:?} {:?}", filter.action, filter.when.title))
    }
}

fn one_of<T: Copy>(dice: &mut Dice, all: &[T]) -> T {
    all[usize::try_from(dice.roll(u64::try_from(all.len()).unwrap())).unwrap()]
}

impl Terms {
    pub(super) fn plain() -> Terms {
        Terms {
            direction: Direction::Both,
            fields: Fields::Full,
            reach: (Reach::All, Reach::All),
            filters: Vec::new(),
            on_remote_delete: OnDelete::default(),
            on_local_delete: OnDelete::default(),
            single: false,
            steps: false,
            windowed: false,
            set: false,
        }
    }

    /// One setting is another one than the plain one in most stories, several in the others.
    pub(super) fn of(seed: u64) -> Terms {
        let mut dice = Dice(seed ^ 0x5e77);
        let mut terms = Terms { set: true, ..Terms::plain() };
        let topic = dice.roll(8);
        let mut is = |topics: &[u64]| topics.contains(&topic) || (topic == 7 && dice.one_in(3));
        let (way, gone, filters, window, fields) =
            (is(&[0, 1]), is(&[1, 2]), is(&[3]), is(&[4]), is(&[5, 6]));
        if way {
            terms.direction = one_of(&mut dice, &[Direction::Pull, Direction::Push]);
        }
        if gone {
            let there = [OnDelete::Trash, OnDelete::Cancel, OnDelete::Keep];
            let here = [OnDelete::Trash, OnDelete::Cancel, OnDelete::Keep, OnDelete::Restore];
            (terms.on_remote_delete, terms.on_local_delete) =
                (one_of(&mut dice, &there), one_of(&mut dice, &here));
        }
        if filters {
            let (title, action) =
                one_of(&mut dice, &[("secret", FilterAction::Exclude), ("open", FilterAction::Include)]);
            terms.filters =
                vec![Filter { when: Match { title: Some(title.into()), ..Match::default() }, action }];
        }
        if window {
            terms.reach = one_of(
                &mut dice,
                &[
                    (Reach::Days(7), Reach::Days(14)),
                    (Reach::Days(20), Reach::All),
                    (Reach::All, Reach::Days(10)),
                ],
            );
            terms.windowed = dice.one_in(2);
        }
        if fields {
            terms.fields = one_of(&mut dice, &[Fields::Busy, Fields::Busy, Fields::Core, Fields::Standard]);
        }
        terms
    }

    pub(super) fn mapping(&self, collection: CollectionId, policy: Policy, created: Timestamp) -> Mapping {
        Mapping {
            id: "m".into(),
            owner: "anna".into(),
            collection,
            connection: "c".into(),
            remote: RemoteId("/".into()),
            direction: self.direction,
            policy,
            rules: Vec::new(),
            fields: self.fields,
            window_past: Some(self.reach.0),
            window_future: Some(self.reach.1),
            filters: self.filters.clone(),
            on_remote_delete: self.on_remote_delete,
            on_local_delete: self.on_local_delete,
            push: Push::default(),
            enabled: true,
            poll_seconds: None,
            editable: Some(true),
            only: Vec::new(),
            created,
            changed: None,
        }
    }

    pub(super) fn is_windowed(&self) -> bool {
        self.reach != (Reach::All, Reach::All)
    }
}

/// What stands for UIDs where no more is told than that somebody is busy is the same in every telling.
pub(super) async fn name_alike(session: &Session) {
    let op = Op::PutRecord(Key::new(Table::System, "veil"), Bytes::from("told"));
    let commit = Commit::new(Origin::System, session.house.clock.now()).op(op);
    session.house.store.commit(commit).await.unwrap();
}

/// What people did so far.
#[derive(Debug, Default)]
pub(super) struct Past {
    /// What was done last to an event: whether there, and which property; nothing: it was removed.
    pub(super) last: BTreeMap<String, (bool, Option<&'static str>)>,
    /// Events that somebody touched, here and there.
    pub(super) here: BTreeSet<String>,
    pub(super) there: BTreeSet<String>,
    /// When an event was last written, here and there, and when it was last removed.
    pub(super) written: BTreeMap<(bool, String), u64>,
    pub(super) gone: BTreeMap<(bool, String), u64>,
    /// Events that were on a far side under a UID of its own.
    pub(super) strangers: BTreeSet<String>,
}

impl World {
    /// What is said of an event after somebody edited it; and which property that was.
    pub(super) fn edited(
        &mut self,
        before: Option<&Bytes>,
        there: bool,
    ) -> (BTreeMap<&'static str, String>, &'static str) {
        let mut fields: BTreeMap<&'static str, String> = BTreeMap::new();
        for name in FIELDS.iter().chain(&["STATUS"]) {
            if let Some(value) = before.and_then(|bytes| raw(bytes, name)) {
                fields.insert(name, value);
            }
        }
        self.serial += 1;
        let habits = self.far.habits;
        let can = |name: &&'static str| match *name {
            "X-OWN" if there => !habits.rewrites && !habits.poor,
            "LOCATION" if there => !habits.poor,
            "RRULE" | "EXDATE" if there => !habits.single,
            _ => true,
        };
        // Of a copy that says only that somebody is busy no more than its time is changed.
        let bare = before.is_some_and(|bytes| property(bytes, "SUMMARY").as_deref() == Some("Busy"));
        let all: Vec<&'static str> = match there && bare {
            true => vec!["DTSTART"],
            false => FIELDS.iter().filter(|name| can(name)).copied().collect(),
        };
        let name = one_of(&mut self.dice, &all);
        let word = format!("{}{}", if there { "theirs" } else { "ours" }, self.serial);
        let start = |world: &mut World| {
            let days = match world.terms.is_windowed() {
                true => i64::try_from(world.dice.roll(80)).unwrap() - 40,
                false => 1 + i64::try_from(world.dice.roll(20)).unwrap(),
            };
            let day = Civil(world.clock.now().seconds()).midnight().0 + days * DAY;
            Civil(day + 3600 * i64::try_from(world.dice.roll(24)).unwrap())
        };
        if before.is_none() {
            // A new event is not the old one, said again.
            let start = start(self);
            fields.insert("DTSTART", format!("{}Z", start.to_basic()));
            fields.insert("DESCRIPTION", word.clone());
        }
        let title = |dice: &mut Dice| match dice.roll(3) {
            0 => format!("secret {word}"),
            1 => format!("open {word}"),
            _ => word.clone(),
        };
        let value = match name {
            "SUMMARY" => title(&mut self.dice),
            "DTSTART" => format!("{}Z", start(self).to_basic()),
            "RRULE" => format!("FREQ=DAILY;COUNT={}", 2 + self.dice.roll(5)),
            "EXDATE" => {
                let first = Civil::parse(fields["DTSTART"].trim_end_matches('Z')).unwrap();
                let day = i64::try_from(self.dice.roll(4)).unwrap();
                format!("{}Z", Civil(first.0 + (1 + day) * DAY).to_basic())
            }
            "CATEGORIES" => format!("c{word},d{word}"),
            _ => word.clone(),
        };
        fields.insert(name, value);
        (fields, name)
    }

    /// Somebody does something, here or there, or days go by.
    pub(super) async fn act_on_terms(&mut self) {
        if self.terms.is_windowed() && self.dice.one_in(6) {
            let days = 1 + i64::try_from(self.dice.roll(12)).unwrap();
            self.clock.0.fetch_add(days * DAY * 1000, Ordering::Relaxed);
            self.story.push(format!("{days} days go by"));
            return;
        }
        let there = self.dice.one_in(2);
        let known: Vec<String> = match there {
            true => self.there_named().await.into_keys().collect(),
            false => self.here().await.into_keys().collect(),
        };
        // Where UIDs do not leave, nobody there can come by the same one.
        let apart = there && (self.terms.fields == Fields::Busy || self.terms.single);
        let uid = match known.is_empty() || self.dice.one_in(2) {
            true => format!("{}{}", if apart { "t" } else { "u" }, self.dice.roll(6)),
            false => {
                known[usize::try_from(self.dice.roll(u64::try_from(known.len()).unwrap())).unwrap()].clone()
            }
        };
        let remove = self.dice.one_in(4);
        self.touch(&uid, there, remove, None).await;
        self.clock.0.fetch_add(10_000, Ordering::Relaxed);
    }

    /// Somebody removes an event, or edits it; says what of it, if that matters.
    pub(super) async fn touch(
        &mut self,
        uid: &str,
        there: bool,
        remove: bool,
        says: Option<(&'static str, &str)>,
    ) {
        let found = match there {
            true => self.there_named().await.remove(uid),
            false => self.here().await.remove(uid).map(|(name, bytes)| (name.as_str().to_owned(), bytes)),
        };
        let whose = if there { "there" } else { "here" };
        let ours = if self.terms.single && there { self.here().await.remove(uid) } else { None };
        let series = ours.is_some_and(|(_, bytes)| property(&bytes, "RRULE").is_some());
        let parts = format!("{uid}#part-");
        match (found, remove) {
            (None, true) => return,
            // Nobody makes an event with the UID of one that is there in parts.
            (None, false)
                if there && (series || self.there().keys().any(|other| other.starts_with(&parts))) =>
            {
                return;
            }
            (Some((path, _)), true) => {
                match there {
                    true => self.far.remove(&path),
                    false => {
                        let name = Name::new(path).unwrap();
                        self.session.delete(&self.at, &name, &When::always(), vec![]).await.unwrap();
                    }
                }
                self.past.last.insert(uid.to_owned(), (there, None));
                self.past.gone.insert((there, uid.to_owned()), self.edits + 1);
                self.removed(uid, whose);
            }
            (found, false) => {
                let before = found.as_ref().map(|(_, bytes)| bytes);
                let (mut fields, mut name) = self.edited(before, there);
                if let Some((other, value)) = says {
                    fields.insert(other, value.to_owned());
                    name = other;
                }
                let called = before.map_or_else(|| uid.to_owned(), uid_in);
                let text = event(&called, &fields);
                if before.is_some_and(|before| same(before, &text)) {
                    return;
                }
                if there && before.is_none() {
                    self.past.strangers.insert(uid.to_owned());
                }
                let before_was_none = before.is_none();
                let path = found.map(|(path, _)| path);
                match there {
                    true => drop(self.far.store(&path.unwrap_or_else(|| format!("/{uid}-there.ics")), text)),
                    false => {
                        let name = Name::new(path.unwrap_or_else(|| format!("{uid}-here.ics"))).unwrap();
                        self.session.put(&self.at, Put::new(&name, text)).await.unwrap();
                    }
                }
                self.past.last.insert(uid.to_owned(), (there, Some(name)));
                if before_was_none || self.carries(name) {
                    self.past.written.insert((there, uid.to_owned()), self.edits + 1);
                }
                // An edit there of what is not carried is none against a removal here.
                let heard = !there || before_was_none || self.carries(name) || self.wanted.contains(uid);
                self.written(uid, whose, &fields);
                if !heard {
                    self.wanted.remove(uid);
                }
            }
        }
        if there { &mut self.past.there } else { &mut self.past.here }.insert(uid.to_owned());
    }

    pub(super) fn carries(&self, name: &str) -> bool {
        match self.terms.fields {
            Fields::Full => true,
            Fields::Standard => name != "X-OWN",
            Fields::Core => !matches!(name, "X-OWN" | "CATEGORIES"),
            Fields::Busy => matches!(name, "DTSTART" | "RRULE" | "EXDATE"),
        }
    }
}

/// A text under another UID.
pub(super) fn called(bytes: &Bytes, uid: &str) -> Bytes {
    with_uid(&Ical::parse(bytes.clone()).unwrap(), uid)
}

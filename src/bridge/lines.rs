//! The mappings as the bridge keeps them in memory: by id, and by the calendar that is theirs here.
//!
//! Owns: `Line`, `Lines`. A commit or an event costs a look at the mappings of its calendar, however many others there are.

use std::collections::HashMap;
use std::sync::Arc;

use super::pace::Pace;
use super::work::Job;
use crate::store::CollectionId;

/// What the bridge keeps in memory of one mapping.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) collection: CollectionId,
    pub(super) connection: String,
    pub(super) enabled: bool,
    pub(super) pace: Pace,
    /// Something changed here since the last pass began.
    pub(super) dirty: bool,
    /// What changed here goes out at once.
    pub(super) prompt: bool,
    pub(super) running: Option<Arc<Job>>,
    /// Another pass was asked for while this one runs.
    pub(super) again: bool,
    /// The last run that somebody joined, and may come back for.
    pub(super) told: Option<String>,
    /// Held while the mapping or what it remembers is changed.
    pub(super) lock: Arc<tokio::sync::Mutex<()>>,
}

/// All of them. A mapping never changes its calendar.
#[derive(Debug, Default)]
pub(super) struct Lines {
    all: HashMap<String, Line>,
    at: HashMap<CollectionId, Vec<String>>,
}

impl Lines {
    pub(super) fn insert(&mut self, id: String, line: Line) {
        self.remove(&id);
        self.at.entry(line.collection).or_default().push(id.clone());
        self.all.insert(id, line);
    }

    pub(super) fn remove(&mut self, id: &str) {
        let Some(line) = self.all.remove(id) else { return };
        if let Some(beside) = self.at.get_mut(&line.collection) {
            beside.retain(|other| other != id);
            if beside.is_empty() {
                self.at.remove(&line.collection);
            }
        }
    }

    pub(super) fn get(&self, id: &str) -> Option<&Line> {
        self.all.get(id)
    }

    pub(super) fn get_mut(&mut self, id: &str) -> Option<&mut Line> {
        self.all.get_mut(id)
    }

    pub(super) fn contains_key(&self, id: &str) -> bool {
        self.all.contains_key(id)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&String, &Line)> {
        self.all.iter()
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &Line> {
        self.all.values()
    }

    pub(super) fn values_mut(&mut self) -> impl Iterator<Item = &mut Line> {
        self.all.values_mut()
    }

    /// Returns the ids of the mappings of a calendar.
    pub(super) fn of(&self, calendar: CollectionId) -> &[String] {
        self.at.get(&calendar).map_or(&[], Vec::as_slice)
    }

    /// Notes that something changed in a calendar; `by`: the mapping that did it. Tells whether that concerns any other.
    pub(super) fn changed(&mut self, calendar: CollectionId, by: Option<&str>) -> bool {
        let mut any = false;
        for id in self.at.get(&calendar).into_iter().flatten().filter(|id| Some(id.as_str()) != by) {
            if let Some(line) = self.all.get_mut(id) {
                line.dirty = true;
                any = true;
            }
        }
        any
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use super::*;

    fn line(collection: u64) -> Line {
        Line {
            collection: CollectionId(collection),
            connection: "c".into(),
            enabled: true,
            pace: Pace::default(),
            dirty: false,
            prompt: true,
            running: None,
            again: false,
            told: None,
            lock: Arc::default(),
        }
    }

    // S3-041: what a mapping wrote itself is nothing new to it, but to all others of the calendar
    #[test]
    fn a_change_concerns_the_mappings_of_its_calendar_and_not_the_one_that_made_it() {
        let mut lines = Lines::default();
        for (id, calendar) in [("a", 20), ("b", 20), ("c", 21)] {
            lines.insert(id.into(), line(calendar));
        }
        assert!(lines.changed(CollectionId(20), Some("a")));
        let dirty = |lines: &Lines| ["a", "b", "c"].map(|id| lines.get(id).unwrap().dirty);
        assert_eq!(dirty(&lines), [false, true, false]);
        assert!(!lines.changed(CollectionId(21), Some("c")));
        assert!(!lines.changed(CollectionId(22), None));
        lines.remove("b");
        lines.remove("b");
        assert_eq!(lines.of(CollectionId(20)), ["a"]);
        lines.insert("a".into(), line(21));
        assert_eq!((lines.of(CollectionId(20)).len(), lines.of(CollectionId(21)).len()), (0, 2));
        assert_eq!(lines.iter().count(), 2);
    }
}

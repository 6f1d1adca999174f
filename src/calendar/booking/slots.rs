//! The arithmetic of slots: which times are free for something of a given length. Pure: no clock, no store.
//!
//! Owns: what clashes with what, buffers, the grid of starts, why a start is not offered.
//! Does not own: what makes somebody busy (`busy`), which hours are open (`ical::availability`).

/// What is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wish {
    /// How long it lasts, in seconds; more than nothing.
    pub(super) duration: i64,
    /// What has to be free before it.
    pub(super) before: i64,
    /// What has to be free after it.
    pub(super) after: i64,
    /// Its buffers keep away from everything, not from bookings alone.
    pub(super) from_all: bool,
}

/// Something that takes place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Taken {
    /// When it begins.
    pub(super) start: i64,
    /// When it ends.
    pub(super) end: i64,
    /// What it wants free before it.
    pub(super) before: i64,
    /// What it wants free after it.
    pub(super) after: i64,
    /// It was booked: buffers are kept between it and others that are.
    pub(super) booked: bool,
}

/// How two things are in each other's way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clash {
    /// They take place at the same time.
    Overlap,
    /// They are closer than their buffers allow.
    Buffer,
}

impl Taken {
    /// Returns the gaps that have to be kept: after it, before something booked that follows; and before it.
    ///
    /// Between two bookings the larger of both buffers is kept, not their sum; it does not matter which came first
    /// (B-19).
    fn gaps(&self, wish: &Wish) -> (i64, i64) {
        let counts = self.booked || wish.from_all;
        let own = |buffer: i64| if counts { buffer } else { 0 };
        (self.after.max(own(wish.before)), self.before.max(own(wish.after)))
    }

    /// Tells whether what is wished cannot begin then.
    pub(super) fn clash(&self, wish: &Wish, start: i64) -> Option<Clash> {
        // What has no length blocks nothing.
        if self.start >= self.end {
            return None;
        }
        let end = start.saturating_add(wish.duration);
        let (gap_after, gap_before) = self.gaps(wish);
        if start < self.end && end > self.start {
            Some(Clash::Overlap)
        } else if start < self.end.saturating_add(gap_after) && end.saturating_add(gap_before) > self.start {
            Some(Clash::Buffer)
        } else {
            None
        }
    }

    /// Returns the starts that it forbids, the last one not among them.
    fn forbids(&self, wish: &Wish) -> Option<(i64, i64)> {
        if self.start >= self.end {
            return None;
        }
        let (gap_after, gap_before) = self.gaps(wish);
        let first = self.start.saturating_sub(wish.duration).saturating_sub(gap_before).saturating_add(1);
        Some((first, self.end.saturating_add(gap_after)))
    }
}

/// An open time in which starts lie on a grid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Window {
    /// When it begins.
    pub(super) start: i64,
    /// When it ends; nothing may last longer.
    pub(super) end: i64,
    /// A start of the grid.
    pub(super) anchor: i64,
}

/// Starts that a rule forbids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ban {
    /// The first of them.
    pub(super) from: i64,
    /// The first that is allowed again.
    pub(super) to: i64,
    /// Which rule.
    pub(super) rule: Rule,
}

/// The rules that forbid starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Rule {
    /// It is too soon, or past.
    Notice,
    /// It is too far away.
    Horizon,
    /// The day is full.
    Day,
    /// The week is full.
    Week,
}

/// Why a start is not offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reason {
    /// A rule forbids it.
    Rule(Rule),
    /// Something takes place then: its number, and how it is in the way.
    Taken(usize, Clash),
}

/// All that decides about starts.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ground<'a> {
    /// What is looked for.
    pub(super) wish: Wish,
    /// Seconds between two starts; more than nothing.
    pub(super) step: i64,
    /// Open times, in order.
    pub(super) windows: &'a [Window],
    /// What takes place.
    pub(super) taken: &'a [Taken],
    /// What rules forbid.
    pub(super) bans: &'a [Ban],
}

impl Ground<'_> {
    /// Returns why nothing can begin then. Whether the time is open is not asked here.
    pub(super) fn reason(&self, start: i64) -> Option<Reason> {
        self.reason_among(start, 0..self.taken.len())
    }

    fn reason_among(&self, start: i64, among: impl Iterator<Item = usize>) -> Option<Reason> {
        let ban = self.bans.iter().find(|ban| (ban.from..ban.to).contains(&start));
        if let Some(ban) = ban {
            return Some(Reason::Rule(ban.rule));
        }
        let clash = |at: usize| Some((at, self.taken.get(at)?.clash(&self.wish, start)?));
        let mut clashes = among.filter_map(clash);
        let first = clashes.next()?;
        // What is at the same time says more than what is merely near.
        let found = match first.1 {
            Clash::Overlap => first,
            Clash::Buffer => clashes.find(|(_, clash)| *clash == Clash::Overlap).unwrap_or(first),
        };
        Some(Reason::Taken(found.0, found.1))
    }

    /// Returns the starts of the grid within the range, those that are free and those that are not; at most `limit`
    /// free ones.
    pub(super) fn free(&self, (from, to): (i64, i64), limit: usize) -> Vec<i64> {
        let forbidden = self.forbidden();
        let mut found = Vec::new();
        for window in self.windows {
            let last = window.end.min(to).saturating_sub(self.wish.duration);
            let mut start = self.on_grid(window, window.start.max(from));
            let mut next = forbidden.partition_point(|(_, end)| *end <= start);
            while start <= last && found.len() < limit {
                match forbidden.get(next) {
                    Some((_, end)) if *end <= start => next += 1,
                    Some((begin, end)) if *begin <= start => start = self.on_grid(window, *end),
                    _ => {
                        found.push(start);
                        start = start.saturating_add(self.step);
                    }
                }
            }
        }
        found
    }

    /// Returns the starts of the grid within the range that are not free, and why; at most `limit`.
    pub(super) fn refused(&self, (from, to): (i64, i64), limit: usize) -> Vec<(i64, Reason)> {
        // Only what can be in the way is looked at: by the first start that it forbids.
        let mut waiting: Vec<(i64, i64, usize)> = Vec::with_capacity(self.taken.len());
        for (at, taken) in self.taken.iter().enumerate() {
            waiting.extend(taken.forbids(&self.wish).map(|(first, end)| (first, end, at)));
        }
        waiting.sort_unstable();
        let mut waiting = waiting.into_iter().peekable();
        let mut near: Vec<(i64, usize)> = Vec::new();
        let mut found = Vec::new();
        for window in self.windows {
            let last = window.end.min(to).saturating_sub(self.wish.duration);
            let mut start = self.on_grid(window, window.start.max(from));
            while start <= last && found.len() < limit {
                while let Some((_, end, at)) = waiting.next_if(|(first, _, _)| *first <= start) {
                    near.push((end, at));
                }
                near.retain(|(end, _)| *end > start);
                let reason = self.reason_among(start, near.iter().map(|(_, at)| *at));
                found.extend(reason.map(|reason| (start, reason)));
                start = start.saturating_add(self.step);
            }
        }
        found
    }

    /// Returns the first start of the window's grid that is not before `from`.
    fn on_grid(&self, window: &Window, from: i64) -> i64 {
        let step = self.step.max(1);
        let past = from.saturating_sub(window.anchor).rem_euclid(step);
        if past == 0 { from } else { from.saturating_add(step - past) }
    }

    /// Returns all forbidden starts as sorted ranges that do not touch.
    fn forbidden(&self) -> Vec<(i64, i64)> {
        let mut all: Vec<(i64, i64)> = self.taken.iter().filter_map(|t| t.forbids(&self.wish)).collect();
        all.extend(self.bans.iter().map(|ban| (ban.from, ban.to)));
        all.retain(|(from, to)| from < to);
        all.sort_unstable();
        let mut out: Vec<(i64, i64)> = Vec::with_capacity(all.len());
        for (from, to) in all {
            match out.last_mut() {
                Some((_, end)) if *end >= from => *end = (*end).max(to),
                _ => out.push((from, to)),
            }
        }
        out
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn wish(duration: i64, before: i64, after: i64, from_all: bool) -> Wish {
        Wish { duration, before, after, from_all }
    }

    fn taken(start: i64, end: i64, before: i64, after: i64, booked: bool) -> Taken {
        Taken { start, end, before, after, booked }
    }

    // B-19: buffers are neither ignored nor doubled, and mean the same whoever came first.
    #[test]
    fn between_bookings_the_larger_buffer_is_kept() {
        let rows = [
            // (taken, wish, start, expected)
            (taken(100, 200, 0, 0, true), wish(50, 0, 0, false), 200, None),
            (taken(100, 200, 0, 0, true), wish(50, 0, 0, false), 50, None),
            (taken(100, 200, 0, 0, true), wish(50, 0, 0, false), 51, Some(Clash::Overlap)),
            (taken(100, 200, 0, 10, true), wish(50, 15, 0, false), 214, Some(Clash::Buffer)),
            (taken(100, 200, 0, 10, true), wish(50, 15, 0, false), 215, None),
            (taken(100, 200, 0, 20, true), wish(50, 15, 0, false), 219, Some(Clash::Buffer)),
            (taken(100, 200, 0, 20, true), wish(50, 15, 0, false), 220, None),
            (taken(100, 200, 10, 0, true), wish(50, 0, 5, false), 40, None),
            (taken(100, 200, 10, 0, true), wish(50, 0, 5, false), 41, Some(Clash::Buffer)),
            // A plain event is kept away from only if that is wished.
            (taken(100, 200, 0, 0, false), wish(50, 15, 0, false), 200, None),
            (taken(100, 200, 0, 0, false), wish(50, 15, 0, true), 214, Some(Clash::Buffer)),
            // B-09: what has no length blocks nothing.
            (taken(100, 100, 0, 0, false), wish(50, 15, 15, true), 90, None),
        ];
        for (taken, wish, start, expected) in rows {
            assert_eq!(taken.clash(&wish, start), expected, "{taken:?} {wish:?} {start}");
        }
    }

    #[test]
    fn the_grid_begins_with_the_window_whatever_is_asked_for() {
        let windows = [Window { start: 540, end: 720, anchor: 540 }];
        let ground =
            Ground { wish: wish(30, 0, 0, false), step: 45, windows: &windows, taken: &[], bans: &[] };
        assert_eq!(ground.free((0, 10_000), 99), [540, 585, 630, 675]);
        assert_eq!(ground.free((541, 700), 99), [585, 630]);
        assert_eq!(ground.free((0, 10_000), 2), [540, 585]);
        let taken = [taken(600, 610, 0, 0, false)];
        let ground = Ground { taken: &taken, ..ground };
        assert_eq!(ground.free((0, 10_000), 99), [540, 630, 675]);
        assert_eq!(ground.refused((0, 10_000), 99), [(585, Reason::Taken(0, Clash::Overlap))]);
    }

    fn some_taken() -> impl Strategy<Value = Taken> {
        (0..400i64, 0..80i64, 0..30i64, 0..30i64, any::<bool>()).prop_map(
            |(start, length, before, after, booked)| {
                let (before, after) = if booked { (before, after) } else { (0, 0) };
                taken(start, start + length, before, after, booked)
            },
        )
    }

    proptest! {
        // B-03, B-07: what is offered is exactly what nothing forbids, start by start.
        #[test]
        fn free_and_refused_are_the_whole_grid(
            all in proptest::collection::vec(some_taken(), 0..12),
            bans in proptest::collection::vec((0..400i64, 0..60i64), 0..3),
            (duration, before, after, from_all) in (1..60i64, 0..30i64, 0..30i64, any::<bool>()),
            step in 1..50i64,
            (open, length, anchor) in (0..200i64, 0..300i64, -50..50i64),
        ) {
            let windows = [Window { start: open, end: open + length, anchor }];
            let bans: Vec<Ban> =
                bans.iter().map(|(from, length)| Ban { from: *from, to: from + length, rule: Rule::Day }).collect();
            let wish = wish(duration, before, after, from_all);
            let ground = Ground { wish, step, windows: &windows, taken: &all, bans: &bans };
            let free = ground.free((0, 500), usize::MAX);
            let refused = ground.refused((0, 500), usize::MAX);
            let starts: Vec<i64> = (open..=open + length - duration)
                .filter(|start| (start - anchor).rem_euclid(step) == 0 && start + duration <= 500)
                .collect();
            let plain: Vec<i64> = starts.iter().copied().filter(|start| {
                let end = start + duration;
                !bans.iter().any(|ban| ban.from <= *start && *start < ban.to)
                    && !all.iter().any(|t| {
                        if t.start == t.end { return false }
                        let overlap = *start < t.end && end > t.start;
                        let counts = t.booked || from_all;
                        let (b, a) = if counts { (before, after) } else { (0, 0) };
                        let after_it = *start >= t.end && start - t.end < t.after.max(b);
                        let before_it = end <= t.start && t.start - end < t.before.max(a);
                        overlap || after_it || before_it
                    })
            }).collect();
            prop_assert_eq!(&free, &plain);
            for (start, reason) in &refused {
                // Of several things in the way any may be named, as long as it is.
                match (reason, ground.reason(*start).unwrap()) {
                    (Reason::Taken(at, clash), Reason::Taken(_, expected)) => {
                        prop_assert_eq!(*clash, expected);
                        prop_assert_eq!(all[*at].clash(&wish, *start), Some(*clash));
                    }
                    (one, other) => prop_assert_eq!(*one, other),
                }
            }
            let mut both: Vec<i64> = free.iter().copied().chain(refused.iter().map(|(start, _)| *start)).collect();
            both.sort_unstable();
            prop_assert_eq!(both, starts);
        }

        // B-19: whoever comes first, the same two bookings go together or do not.
        #[test]
        fn a_clash_of_bookings_is_mutual(one in some_taken(), other in some_taken()) {
            prop_assume!(one.start < one.end && other.start < other.end);
            let clash = |one: &Taken, other: &Taken| {
                let taken = Taken { booked: true, ..*one };
                taken.clash(&wish(other.end - other.start, other.before, other.after, false), other.start)
            };
            prop_assert_eq!(clash(&one, &other), clash(&other, &one));
        }
    }
}

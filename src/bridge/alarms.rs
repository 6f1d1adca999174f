//! What of a pass is worth telling somebody who did not ask.
//!
//! Owns: the rules, each with its sentence and its end. Does not own: how a notice is kept (`notices`), what overlaps
//! what (`overlap`).

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::conflict::title;
use super::front::{Bridge, BridgeError};
use super::notices::{Cause, MOST, NoticeKind, Notices};
use super::overlap::Detect;
use super::pace::{Schedule, later};
use super::record::{
    self, Conflict, ConflictStatus, Connection, ConnectionState, Failure, Health, Kind, Mapping,
    MappingState, Run, RunStatus, conflict_key, connection_key, mapping_key, mapping_state_key,
};
use crate::auth::oauth::Grant;
use crate::calendar::Shown;
use crate::ical::Ical;
use crate::store::{CollectionId, Fault, Op, Table, Timestamp};

/// More open conflicts than this are told together.
const CONFLICTS: usize = 50;
/// More failures than this, in percent of an hour's attempts, are told.
const PERCENT: u64 = 5;
/// Fewer attempts than this in an hour say nothing about a share.
const FEWEST: u64 = 20;
/// Conflicts that are read at a time.
const PAGE: usize = 100;
const MINUTE: i64 = 60_000;
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);

/// What one person's passes came to in the last hour, minute by minute.
#[derive(Debug, Default)]
struct Tally(VecDeque<(i64, u64, u64)>);

impl Tally {
    /// Adds attempts and failures.
    fn add(&mut self, now: Timestamp, all: u64, bad: u64) {
        let minute = now.0.div_euclid(MINUTE);
        self.0.retain(|(at, ..)| (minute - 59..=minute).contains(at));
        match self.0.back_mut() {
            Some(last) if last.0 == minute => {
                last.1 = last.1.saturating_add(all);
                last.2 = last.2.saturating_add(bad);
            }
            _ => self.0.push_back((minute, all, bad)),
        }
    }

    /// Returns attempts and failures, if too many of them failed.
    fn alarm(&self) -> Option<(u64, u64)> {
        let (all, bad) = self.0.iter().fold((0u64, 0u64), |sum, (_, all, bad)| (sum.0 + all, sum.1 + bad));
        (all >= FEWEST && bad.saturating_mul(100) > all.saturating_mul(PERCENT)).then_some((all, bad))
    }
}

/// What alarms remember in memory. A restart forgets an hour's count, nothing else.
#[derive(Debug, Default)]
pub(super) struct Alarms {
    tallies: Mutex<HashMap<String, Tally>>,
    /// When consents were last looked at.
    looked: Mutex<Option<Timestamp>>,
}

impl Alarms {
    fn count(&self, owner: &str, now: Timestamp, run: &Run) -> Option<(u64, u64)> {
        let failures = u64::try_from(run.failures.len()).unwrap_or(u64::MAX);
        let writes = run.local.total().saturating_add(run.remote.total());
        let (all, bad) = match run.status {
            RunStatus::Success => (writes.saturating_add(1), 0),
            RunStatus::PartialFailure => (writes.saturating_add(failures), failures),
            RunStatus::Failed => (writes.saturating_add(1), 1),
            RunStatus::Running | RunStatus::Deferred => (writes, 0),
        };
        let mut tallies = self.tallies.lock().unwrap_or_else(PoisonError::into_inner);
        let tally = tallies.entry(owner.to_owned()).or_default();
        tally.add(now, all, bad);
        tally.alarm()
    }
}

/// A pass that has ended, with what it was about.
pub(super) struct After<'a> {
    pub(super) run: &'a Run,
    pub(super) state: &'a MappingState,
    /// How its connection is, if that changed.
    pub(super) health: Option<&'a ConnectionState>,
    pub(super) schedule: &'a Schedule,
}

/// The two systems, as people call them.
struct Sides {
    here: String,
    there: String,
}

impl Bridge {
    /// Returns the steps that raise and end notices after a pass.
    pub(super) async fn alarms_after(&self, after: After<'_>) -> Result<Vec<Op>, BridgeError> {
        let store = &*self.house.store;
        let Some(mapping) = record::load::<Mapping>(store, &mapping_key(&after.run.mapping)).await? else {
            return Ok(Vec::new());
        };
        let Some(connection) =
            record::load::<Connection>(store, &connection_key(&mapping.connection)).await?
        else {
            return Ok(Vec::new());
        };
        let notices = self.notices(&mapping.owner);
        let sides =
            Sides { here: self.calendar_name(mapping.collection).await?, there: connection.account.clone() };
        let mut ops = Vec::new();
        if let Some(health) = after.health {
            ops.extend(self.connection_alarms(&connection, health).await?);
        }
        ops.extend(self.mapping_alarms(&mapping, &connection, &sides, &after).await?);
        ops.extend(self.failed_events(notices, &mapping, &sides, &after).await?);
        ops.extend(self.conflict_alarms(notices, &mapping, &sides, after.run).await?);
        if self.settings.detect_overlap != Detect::Off {
            let before: Option<MappingState> = record::load(store, &mapping_state_key(&mapping.id)).await?;
            let since = before.and_then(|state| state.rev).unwrap_or_default();
            ops.extend(self.overlap_alarms(notices, &mapping, &sides.there, after.run, since).await?);
        }
        Ok(ops)
    }

    /// Returns the steps that raise and end notices about an account, after its state changed.
    ///
    /// # Errors
    /// When the store fails.
    pub(super) async fn connection_alarms(
        &self,
        connection: &Connection,
        state: &ConnectionState,
    ) -> Result<Vec<Op>, Fault> {
        let notices = self.notices(&connection.owner);
        let subject = connection.id.as_str();
        let about = [("connection", subject)];
        let cause = |kind| Cause { kind, subject, detail: "" };
        let expired = state.health == Health::TokenExpired;
        let sentence = || format!("{} is not bridged any more: {}", connection.account, state.sentence);
        let down = || {
            format!(
                "{} has not been reached for a while: {} Nothing is lost; both sides are brought together when it answers \
                 again.",
                connection.account, state.sentence
            )
        };
        let spent = self.budgets.is_spent(subject);
        let used = || {
            format!(
                "{} has made all the calls of a day that this server allows; it goes on tomorrow (UTC). Whoever runs the \
                 server can raise the limit (limits.calls_per_day).",
                connection.account
            )
        };
        let mut ops = Vec::new();
        ops.extend(notices.while_true(expired, cause(NoticeKind::TokenExpired), sentence, &about).await?);
        let lasting = state.breaker.is_lasting();
        ops.extend(notices.while_true(lasting, cause(NoticeKind::Disconnected), down, &about).await?);
        ops.extend(notices.while_true(spent, cause(NoticeKind::BudgetUsed), used, &about).await?);
        Ok(ops)
    }

    /// Tells of consents that end within a day, once an hour (S3-154).
    pub(super) async fn ending_consents(&self) -> Result<(), BridgeError> {
        let now = self.house.clock.now();
        {
            let mut looked = self.alarms.looked.lock().unwrap_or_else(PoisonError::into_inner);
            if looked.is_some_and(|at| (at.0..later(at, HOUR).0).contains(&now.0)) {
                return Ok(());
            }
            *looked = Some(now);
        }
        let mut ops = Vec::new();
        for connection in record::load_all::<Connection>(&*self.house.store, Table::Connection, "").await? {
            if matches!(connection.kind, Kind::Caldav | Kind::Icloud | Kind::Cozi | Kind::Ics) {
                continue;
            }
            let grant = self.secret(&connection.id).await.ok().and_then(|text| Grant::read(&text));
            ops.extend(self.ending_alarm(&connection, grant.as_ref()).await?);
        }
        if ops.is_empty() { Ok(()) } else { self.commit(ops).await }
    }

    /// Returns the step that tells of a consent that ends within a day, or ends that notice.
    pub(super) async fn ending_alarm(
        &self,
        connection: &Connection,
        grant: Option<&Grant>,
    ) -> Result<Option<Op>, Fault> {
        let now = self.house.clock.now();
        let ends = grant.and_then(|grant| grant.ends);
        let soon = ends.is_some_and(|at| at > now && at <= later(now, DAY));
        let cause = Cause { kind: NoticeKind::TokenExpiring, subject: &connection.id, detail: "" };
        let vendor = self.settings.providers.endpoints(connection.kind).map(|endpoints| endpoints.vendor);
        let why = vendor.and_then(|vendor| vendor.ends_early(grant?.given?, ends?)).unwrap_or_default();
        let sentence = || {
            format!(
                "The consent of {} ends at {}: connect the account anew before. Its mappings stay as they are.{why}",
                connection.account,
                moment(ends.unwrap_or_default().seconds())
            )
        };
        let about = [("connection", connection.id.as_str())];
        self.notices(&connection.owner).while_true(soon, cause, sentence, &about).await
    }

    async fn mapping_alarms(
        &self,
        mapping: &Mapping,
        connection: &Connection,
        sides: &Sides,
        after: &After<'_>,
    ) -> Result<Vec<Op>, Fault> {
        let Sides { here, there } = sides;
        let (state, subject) = (after.state, mapping.id.as_str());
        let notices = self.notices(&mapping.owner);
        let about = [("mapping", subject), ("connection", connection.id.as_str())];
        let cause = |kind| Cause { kind, subject, detail: "" };
        let mut ops = Vec::new();
        let failed = after.run.status == RunStatus::Failed && state.pace.given_up(after.schedule);
        let told = after.health.is_some_and(|health| health.breaker.is_lasting());
        let sentence = || {
            format!(
                "{here} and {there} could not be brought together, however often it was tried: {}",
                state.sentence
            )
        };
        ops.extend(
            notices.while_true(failed && !told, cause(NoticeKind::MappingFailed), sentence, &about).await?,
        );
        let hold = state.hold.as_ref();
        let held = || {
            let why = hold.map(|hold| hold.sentence.as_str()).unwrap_or_default();
            format!(
                "{here} and {there} wait for your word. {why} If it is a mistake, bring back what is missing there."
            )
        };
        ops.extend(notices.while_true(hold.is_some(), cause(NoticeKind::DeletionsHeld), held, &about).await?);
        let silent = self.ties.ears().get(subject).is_some_and(|ear| ear.silent);
        let quiet = || {
            format!(
                "{there} has told of no change for 30 minutes while things changed there. Changes still arrive, later, \
                 by asking. Can this server's address be reached from outside?"
            )
        };
        ops.extend(notices.while_true(silent, cause(NoticeKind::PushSilent), quiet, &about).await?);
        let rate = self.alarms.count(&mapping.owner, notices.now, after.run);
        let share = || {
            let (all, bad) = rate.unwrap_or_default();
            format!(
                "{bad} of {all} attempts to carry something over failed within the last hour; see the runs."
            )
        };
        let whole = Cause { kind: NoticeKind::FailureRate, subject: "", detail: "" };
        ops.extend(notices.while_true(rate.is_some(), whole, share, &[]).await?);
        Ok(ops)
    }

    /// Events that were tried as often as events are, or that cannot be carried over at all.
    async fn failed_events(
        &self,
        notices: Notices<'_>,
        mapping: &Mapping,
        sides: &Sides,
        after: &After<'_>,
    ) -> Result<Vec<Op>, BridgeError> {
        let Sides { here, there } = sides;
        let tries = after.schedule.retry.len();
        let given_up = |f: &&Failure| !f.retry || usize::try_from(f.attempts).unwrap_or(usize::MAX) > tries;
        let failed: Vec<&Failure> = after.state.again.iter().filter(given_up).collect();
        let mut ops = Vec::new();
        for failure in failed.iter().take(MOST) {
            let title = self.event_title(mapping.collection, failure).await?;
            let next = if failure.retry { " It is tried again once a day." } else { "" };
            let sentence = format!(
                "{} could not be carried over between {here} and {there}: {}{next}",
                named(&title, &failure.uid),
                failure.reason
            );
            let cause = Cause { kind: NoticeKind::EventFailed, subject: &mapping.id, detail: &failure.uid };
            let about = [("mapping", mapping.id.as_str()), ("uid", failure.uid.as_str())];
            ops.extend(notices.raise(cause, sentence, &about).await?);
        }
        let still: HashSet<&str> = failed.iter().map(|failure| failure.uid.as_str()).collect();
        for (key, notice) in notices.open(NoticeKind::EventFailed, &mapping.id).await? {
            if !notice.about.get("uid").is_some_and(|uid| still.contains(uid.as_str())) {
                ops.extend(notices.ended(key, notice)?);
            }
        }
        Ok(ops)
    }

    /// S3-122: what clashed, on which systems, and which version was kept.
    async fn conflict_alarms(
        &self,
        notices: Notices<'_>,
        mapping: &Mapping,
        sides: &Sides,
        run: &Run,
    ) -> Result<Vec<Op>, BridgeError> {
        let store = &*self.house.store;
        let mut ops = Vec::new();
        for (key, notice) in notices.open(NoticeKind::ConflictFound, &mapping.id).await? {
            let record = notice.about.get("conflict").and_then(|id| conflict_key(id));
            let conflict: Option<Conflict> = match record {
                Some(record) => record::load(store, &record).await?,
                None => None,
            };
            if conflict.is_none_or(|conflict| conflict.status != ConflictStatus::Pending) {
                ops.extend(notices.ended(key, notice)?);
            }
        }
        let many = Cause { kind: NoticeKind::ConflictsOpen, subject: "", detail: "" };
        if run.conflicts > 0 {
            let prefix = format!("{}/", mapping.id);
            for (key, bytes) in store.records(Table::Conflict, &prefix, None, MOST).await? {
                let conflict: Conflict = record::decode(&key, &bytes)?;
                if conflict.detected < run.started {
                    break;
                }
                let cause =
                    Cause { kind: NoticeKind::ConflictFound, subject: &mapping.id, detail: &conflict.id };
                let about = [
                    ("mapping", mapping.id.as_str()),
                    ("conflict", conflict.id.as_str()),
                    ("uid", conflict.uid.as_str()),
                ];
                let sentence = clash(&conflict, sides);
                ops.extend(match conflict.status {
                    ConflictStatus::Pending => notices.raise(cause, sentence, &about).await?,
                    _ => notices.tell(cause, sentence, &about).await?,
                });
            }
        }
        if run.conflicts > 0 || !notices.open(NoticeKind::ConflictsOpen, "").await?.is_empty() {
            let open = self.open_conflicts(&mapping.owner).await?;
            let sentence = || {
                format!("More than {CONFLICTS} conflicts wait for your decision; see the list of conflicts.")
            };
            ops.extend(notices.while_true(open > CONFLICTS, many, sentence, &[]).await?);
        }
        Ok(ops)
    }

    /// Counts a person's open conflicts, up to one more than is told.
    async fn open_conflicts(&self, owner: &str) -> Result<usize, BridgeError> {
        let mut open = 0usize;
        for (mapping, _) in self.mappings(owner).await? {
            let prefix = format!("{}/", mapping.id);
            let mut after: Option<String> = None;
            while open <= CONFLICTS {
                let store = &self.house.store;
                let page = store.records(Table::Conflict, &prefix, after.as_deref(), PAGE).await?;
                let Some((last, _)) = page.last() else { break };
                after = Some(last.path.clone());
                for (key, bytes) in &page {
                    let conflict: Conflict = record::decode(key, bytes)?;
                    open += usize::from(conflict.status == ConflictStatus::Pending);
                }
            }
        }
        Ok(open)
    }

    /// Returns how people call a calendar.
    async fn calendar_name(&self, id: CollectionId) -> Result<String, Fault> {
        let found = self.house.store.collection(id).await?;
        Ok(found.map_or_else(String::new, |collection| {
            let shown = Shown::DisplayName.get(&collection.properties);
            format!("“{}”", shown.unwrap_or_else(|| collection.name.to_string()))
        }))
    }

    async fn event_title(&self, collection: CollectionId, failure: &Failure) -> Result<String, Fault> {
        let store = &self.house.store;
        let name = match &failure.local {
            Some(name) => Some(name.clone()),
            None => store.by_uid(collection, &failure.uid).await?,
        };
        let Some(name) = name else { return Ok(String::new()) };
        let object = store.object(collection, name.as_str()).await?;
        let ical = object.and_then(|object| Ical::parse(object.bytes).ok());
        Ok(ical.map(|ical| title(&ical)).unwrap_or_default())
    }
}

/// `2026-01-05 09:00 UTC`
pub(super) fn moment(seconds: i64) -> String {
    let at = jiff::Timestamp::from_second(seconds).unwrap_or_default();
    at.strftime("%Y-%m-%d %H:%M UTC").to_string()
}

/// Names an event: by its title, or failing that by its UID.
pub(super) fn named(title: &str, uid: &str) -> String {
    match title {
        "" => format!("The event {uid}"),
        title => format!("“{title}”"),
    }
}

fn clash(conflict: &Conflict, sides: &Sides) -> String {
    let Sides { here, there } = sides;
    let event = named(&conflict.title, &conflict.uid);
    let kept = match conflict.status {
        ConflictStatus::Pending => "both stay as they are until you decide".to_owned(),
        ConflictStatus::Ignored => "both stay as they are".to_owned(),
        ConflictStatus::Merged => "the two were merged".to_owned(),
        ConflictStatus::ResolvedLocal => format!("the version of {here} was kept"),
        ConflictStatus::ResolvedExternal => format!("the version of {there} was kept"),
    };
    let what = match conflict.kind.as_str() {
        "deleted_here" => format!("was deleted in {here} and changed on {there}"),
        "deleted_there" => format!("was changed in {here} and deleted on {there}"),
        "booking_protected" => {
            format!("is a confirmed booking in {here} and was moved or deleted on {there}")
        }
        "keeps_changing" => {
            format!("was written over and over between {here} and {there} although nobody edited it here")
        }
        _ => format!("was changed in {here} and on {there} in ways that exclude each other"),
    };
    format!("{event} {what}; {kept}.")
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use super::*;

    // S3-155, S3-149: more than 5 % of an hour's attempts
    #[test]
    fn an_hour_is_counted_minute_by_minute() {
        let at = |minutes: i64| Timestamp(1_000 * 24 * 3_600_000 + minutes * MINUTE);
        let mut tally = Tally::default();
        tally.add(at(0), 10, 10);
        assert_eq!(tally.alarm(), None, "ten attempts say nothing");
        tally.add(at(30), 90, 0);
        assert_eq!(tally.alarm(), Some((100, 10)));
        tally.add(at(59), 100, 0);
        assert_eq!(tally.alarm(), None, "exactly one in twenty is not more than that");
        tally.add(at(59), 0, 1);
        assert_eq!(tally.alarm(), Some((200, 11)));
        tally.add(at(60), 0, 0);
        assert_eq!(tally.alarm(), None, "the first minute is over an hour ago");
    }

    // S3-122: names the event, both systems and which version was kept
    #[test]
    fn a_conflict_is_told_in_one_sentence() {
        let sides = Sides { here: "“Work”".into(), there: "anna@example.org".into() };
        let conflict = |kind: &str, title: &str, status| Conflict {
            id: "m-1".into(),
            mapping: "m".into(),
            uid: "u@x".into(),
            detected: Timestamp(0),
            kind: kind.into(),
            title: title.into(),
            clashes: vec![],
            base: None,
            local: None,
            external: None,
            status,
            resolved: None,
            by: String::new(),
            notes: String::new(),
            choices: Default::default(),
            history: vec![],
        };
        for (kind, title, status, expected) in [
            (
                "both_changed",
                "Lunch",
                ConflictStatus::ResolvedExternal,
                "“Lunch” was changed in “Work” and on anna@example.org in ways that exclude each other; the version of \
                 anna@example.org was kept.",
            ),
            (
                "deleted_here",
                "",
                ConflictStatus::Pending,
                "The event u@x was deleted in “Work” and changed on anna@example.org; both stay as they are until you \
                 decide.",
            ),
            (
                "keeps_changing",
                "Choir",
                ConflictStatus::Pending,
                "“Choir” was written over and over between “Work” and anna@example.org although nobody edited it here; \
                 both stay as they are until you decide.",
            ),
        ] {
            assert_eq!(clash(&conflict(kind, title, status), &sides), expected);
        }
    }
}

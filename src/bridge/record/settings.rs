//! What people settle about a mapping: which way, who wins, what is carried.

use serde::{Deserialize, Serialize};

use crate::bridge::provider::RemoteId;
use crate::store::{CollectionId, Timestamp};

/// Which way changes are carried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// Both ways.
    Both,
    /// From the far side to here only.
    Pull,
    /// From here to the far side only.
    Push,
}

/// When a change that was made here is carried outward.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Push {
    /// At once.
    #[default]
    Immediate,
    /// With the next look at the far side.
    Scheduled,
}

/// Who wins where both sides changed the same thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Policy {
    /// The later change; within five seconds, the far side.
    Newest,
    /// The far side.
    External,
    /// This side.
    Local,
    /// A person decides; both sides stay untouched until then.
    Ask,
}

impl Policy {
    /// Returns what the same word means at the other end of a link, where here and there are the other way round.
    pub fn seen_from_there(self) -> Policy {
        match self {
            Policy::External => Policy::Local,
            Policy::Local => Policy::External,
            policy @ (Policy::Newest | Policy::Ask) => policy,
        }
    }
}

/// What of an event is carried (requirements E7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fields {
    /// Title, description, time, location, recurrence.
    Core,
    /// And status, transparency, class, reminders, categories, colour, links; no people.
    #[default]
    Standard,
    /// All that both sides can hold.
    Full,
    /// That somebody is busy, and nothing of why.
    Busy,
}

fn as_before() -> Option<bool> {
    Some(true)
}

fn everything() -> Fields {
    Fields::Full
}

/// How far a window reaches from the present.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reach {
    /// Without end.
    All,
    /// This many days.
    Days(u32),
}

/// What an event has to be for a rule or a filter to fit. All that is given must hold.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Match {
    /// The title holds this, whatever its case.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// One of the categories is this, whatever its case.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub category: Option<String>,
    /// It takes up whole days, or does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub all_day: Option<bool>,
    /// It makes its owner busy, or does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub busy: Option<bool>,
    /// It recurs, or does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recurring: Option<bool>,
    /// It has people in it, or has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attendees: Option<bool>,
    /// It is private or confidential, or is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub private: Option<bool>,
    /// Of rules only: where it was made. What both sides had before they met was made on neither.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Side>,
    /// Of rules only: it is a confirmed booking of ours, or is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protected: Option<bool>,
    /// Of rules only: it, or an instance of it, begins within this time from now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub starts_within: Option<Within>,
    /// Of rules only: this property is among what clashes, or `time`: times, recurrence and status are one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
}

/// One of the two sides of a mapping.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// Here.
    Local,
    /// There.
    External,
}

/// A length of time, in seconds; written as ISO 8601 has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Within(pub u32);

impl From<Within> for String {
    fn from(within: Within) -> String {
        format!("PT{}S", within.0)
    }
}

impl TryFrom<String> for Within {
    type Error = String;

    fn try_from(text: String) -> Result<Within, String> {
        let seconds = text.strip_prefix("PT").and_then(|rest| rest.strip_suffix('S'));
        let seconds = seconds.and_then(|seconds| seconds.parse().ok());
        seconds.map(Within).ok_or_else(|| format!("`{text}` is no length of time"))
    }
}

/// A change made here that is urgent enough to be carried outward by a mapping which carries nothing else (S0-026).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Urgent {
    /// It takes place at another time.
    Reschedule,
    /// It is called off or removed.
    Cancel,
}

/// Who wins in one kind of case.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Which.
    pub when: Match,
    /// Who wins.
    pub policy: Policy,
}

impl Rule {
    /// Returns the same rule at the other end of a link: who wins and where an event was made are the other way round.
    pub fn seen_from_there(&self) -> Rule {
        let origin = self.when.origin.map(|origin| match origin {
            Side::Local => Side::External,
            Side::External => Side::Local,
        });
        Rule { when: Match { origin, ..self.when.clone() }, policy: self.policy.seen_from_there() }
    }
}

/// Whether one kind of event is carried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Filter {
    /// Which.
    pub when: Match,
    /// Whether.
    pub action: FilterAction,
}

/// Whether an event is carried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FilterAction {
    /// It is.
    Include,
    /// It is not.
    Exclude,
}

/// What becomes of an event when its counterpart is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnDelete {
    /// It is removed too; ours goes to the trash.
    #[default]
    #[serde(alias = "delete")]
    Trash,
    /// It stays, as cancelled.
    Cancel,
    /// It stays as it is.
    Keep,
    /// What was removed here comes back. Of ours only: nobody undoes what somebody else removed.
    Restore,
}

/// A collection here and a calendar there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mapping {
    /// Its id.
    pub id: String,
    /// The principal that it belongs to.
    pub owner: String,
    /// The collection here.
    pub collection: CollectionId,
    /// The account there.
    pub connection: String,
    /// The calendar there.
    pub remote: RemoteId,
    /// Which way.
    pub direction: Direction,
    /// Who wins, where no rule says otherwise.
    pub policy: Policy,
    /// Who wins in which case; the first that fits decides.
    #[serde(default)]
    pub rules: Vec<Rule>,
    /// What of an event is carried. Mappings from before there was a choice carry everything.
    #[serde(default = "everything")]
    pub fields: Fields,
    /// How far back is looked; nothing: as the server is set up.
    #[serde(default)]
    pub window_past: Option<Reach>,
    /// How far ahead is looked; nothing: as the server is set up.
    #[serde(default)]
    pub window_future: Option<Reach>,
    /// Which events are carried; the first that fits decides, and if none does, the opposite of what the last one says.
    #[serde(default)]
    pub filters: Vec<Filter>,
    /// What becomes of our event when theirs is removed.
    #[serde(default)]
    pub on_remote_delete: OnDelete,
    /// What becomes of their event when ours is removed.
    #[serde(default)]
    pub on_local_delete: OnDelete,
    /// When a change that was made here is carried outward.
    #[serde(default)]
    pub push: Push,
    /// Of changes made here, only these are carried outward; none named: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub only: Vec<Urgent>,
    /// Whether people change here what it pulls and does not push (E15); nothing: they do not. They did before there was a
    /// choice.
    #[serde(default = "as_before")]
    pub editable: Option<bool>,
    /// False: it rests.
    pub enabled: bool,
    /// Seconds between two looks; nothing: as the server is set up.
    #[serde(default)]
    pub poll_seconds: Option<u64>,
    /// When it was made.
    pub created: Timestamp,
    /// When its settings were last changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changed: Option<Timestamp>,
}

impl Mapping {
    /// Tells whether nobody changes by hand here what it brings (E15).
    pub fn keeps(&self) -> bool {
        self.direction == Direction::Pull && self.editable != Some(true)
    }
}

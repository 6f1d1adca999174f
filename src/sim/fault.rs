//! The script of what goes wrong.
//!
//! Owns: the words of the script, which request a fault meets, requests that are held until told to go on.
//! Does not own: what a fault does to an answer (`server`), what a far side does by itself (each [`World`](super::World)).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::watch;

use super::clock::Dice;
use super::wire::{Request, decode};

/// When a request is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Point {
    /// Before it changes anything.
    Before,
    /// When it has been carried out, before the answer goes.
    After,
}

/// What goes wrong with a request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "fault", rename_all = "snake_case")]
pub enum Fault {
    /// This answer instead; nothing is carried out.
    Status {
        /// The status.
        code: u16,
        /// JSON as the body.
        #[serde(default)]
        body: Option<Value>,
        /// A text as the body, for everything that is not JSON.
        #[serde(default)]
        text: Option<String>,
        /// Headers.
        #[serde(default)]
        headers: BTreeMap<String, String>,
    },
    /// The connection ends before anything is carried out.
    DropBeforeApply,
    /// The request is carried out, then the connection ends without an answer.
    DropAfterApply,
    /// The request waits so many milliseconds before it is carried out.
    Delay {
        /// Milliseconds.
        ms: u64,
    },
    /// The body of the answer ends after so many bytes, and with it the connection.
    CutBody {
        /// Bytes that are sent.
        bytes: usize,
    },
    /// The page of a listing holds only its first items.
    TruncatePage {
        /// Items that are left.
        keep: usize,
    },
    /// The page of a listing holds its first item twice.
    DupPageItem,
    /// The page of a listing holds nothing, and says nothing of it.
    EmptyPage,
    /// The far side's own way to say "too many requests".
    Throttle {
        /// Seconds after which to come again, where the far side tells.
        #[serde(default)]
        retry_after: Option<u64>,
    },
    /// What is read is as it was before the last change.
    StaleRead,
    /// The far side does something by itself just before the request is carried out.
    Act {
        /// What.
        act: Act,
    },
    /// The request is held until told to go on.
    Hold {
        /// When.
        at: Point,
        /// What it is called by.
        #[serde(default)]
        name: String,
    },
}

/// What a far side does by itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "act", rename_all = "snake_case")]
pub enum Act {
    /// Cursors that were given out are worth nothing from now on.
    ExpireCursor,
    /// Access tokens that were given out are worth nothing from now on.
    ExpireAccess,
    /// The next refresh gives another refresh token and ends the old one.
    RotateRefreshToken,
    /// The person takes their consent back: refreshing fails from now on.
    RevokeGrant,
    /// Somebody else makes an object.
    CreateElsewhere {
        /// The calendar.
        calendar: String,
        /// What the far side's own API would take.
        object: Value,
    },
    /// Somebody else changes an object.
    EditElsewhere {
        /// The calendar.
        calendar: String,
        /// The object.
        id: String,
        /// What the far side's own API would take as a patch.
        patch: Value,
    },
    /// Somebody else deletes an object.
    DeleteElsewhere {
        /// The calendar.
        calendar: String,
        /// The object.
        id: String,
    },
    /// From now on the far side rewrites a field when it is written; what there is to choose, each simulator says.
    Normalise {
        /// The field.
        field: String,
        /// How; `none`: no longer.
        how: String,
    },
    /// How many requests a minute are allowed; nothing: any number.
    Quota {
        /// Requests a minute.
        per_minute: Option<u32>,
    },
    /// How notifications travel from now on.
    Webhook(super::post::Manners),
    /// Sets the clock or lets it go on.
    Clock {
        /// Milliseconds since 1970 at which it stands from now on.
        #[serde(default)]
        now: Option<i64>,
        /// Milliseconds that are added.
        #[serde(default)]
        advance: i64,
    },
    /// Something that only one simulator knows.
    Own {
        /// Its name.
        name: String,
        /// What it needs to know.
        #[serde(default)]
        with: Value,
    },
}

/// A fault and the requests that it meets.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rule {
    /// The method; `*`: any.
    #[serde(default = "any")]
    pub method: String,
    /// A pattern of the decoded path, in which `*` stands for anything; if it has a `?`, path and query are compared.
    #[serde(default = "any")]
    pub path: String,
    /// So many requests are left in peace first.
    #[serde(default)]
    pub skip: u32,
    /// It meets so many; 0: all, until it is taken away.
    #[serde(default = "one")]
    pub times: u32,
    /// How probable it is that it meets a request.
    #[serde(default = "sure")]
    pub chance: f64,
    /// What goes wrong.
    #[serde(flatten)]
    pub fault: Fault,
}

fn any() -> String {
    "*".into()
}

fn one() -> u32 {
    1
}

fn sure() -> f64 {
    1.0
}

impl Rule {
    /// Returns a rule that meets one request.
    pub fn on(method: &str, path: &str, fault: Fault) -> Rule {
        Rule { method: method.into(), path: path.into(), skip: 0, times: 1, chance: 1.0, fault }
    }

    /// Meets so many requests; 0: all.
    #[must_use]
    pub fn times(self, times: u32) -> Rule {
        Rule { times, ..self }
    }

    /// Leaves so many in peace first.
    #[must_use]
    pub fn after(self, skip: u32) -> Rule {
        Rule { skip, ..self }
    }

    /// Leaves it to chance.
    #[must_use]
    pub fn chance(self, chance: f64) -> Rule {
        Rule { chance, ..self }
    }

    fn meets(&self, request: &Request) -> bool {
        if self.method != "*" && !self.method.eq_ignore_ascii_case(request.method.as_str()) {
            return false;
        }
        let path = decode(&request.path);
        if !self.path.contains('?') {
            return fits(&self.path, &path);
        }
        let query: Vec<String> =
            request.query.iter().map(|(name, value)| format!("{name}={value}")).collect();
        fits(&self.path, &format!("{path}?{}", query.join("&")))
    }
}

/// Tells whether a text fits a pattern in which `*` stands for anything, also nothing.
fn fits(pattern: &str, text: &str) -> bool {
    let mut pieces = pattern.split('*');
    let Some(mut rest) = pieces.next().and_then(|first| text.strip_prefix(first)) else { return false };
    let Some(last) = pieces.next_back() else { return rest.is_empty() };
    for piece in pieces {
        match rest.find(piece) {
            Some(at) => rest = rest.get(at + piece.len()..).unwrap_or_default(),
            None => return false,
        }
    }
    rest.ends_with(last)
}

/// How far a held request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd)]
enum Stage {
    Awaited,
    Held,
    Released,
}

/// A request that is, or will be, held.
#[derive(Debug, Clone)]
pub struct Paused(Arc<watch::Sender<Stage>>);

impl Paused {
    fn new() -> Paused {
        Paused(Arc::new(watch::Sender::new(Stage::Awaited)))
    }

    /// Waits until the request has come to the point.
    pub async fn reached(&self) {
        let _ = self.0.subscribe().wait_for(|stage| *stage >= Stage::Held).await;
    }

    /// Lets it go on.
    pub fn go(&self) {
        self.0.send_replace(Stage::Released);
    }

    pub(super) async fn hold(&self) {
        self.0.send_if_modified(|stage| {
            let first = *stage == Stage::Awaited;
            if first {
                *stage = Stage::Held;
            }
            first
        });
        let _ = self.0.subscribe().wait_for(|stage| *stage == Stage::Released).await;
    }
}

/// All rules that wait for their requests. Copies share them.
#[derive(Debug, Clone, Default)]
pub struct Script(Arc<Mutex<Waiting>>);

#[derive(Debug, Default)]
struct Waiting {
    rules: Vec<Rule>,
    held: BTreeMap<String, Paused>,
    count: u64,
}

impl Script {
    fn with<T>(&self, change: impl FnOnce(&mut Waiting) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Adds a rule behind the others.
    pub fn add(&self, rule: Rule) {
        self.with(|waiting| {
            if let Fault::Hold { name, .. } = &rule.fault {
                waiting.held.entry(name.clone()).or_insert_with(Paused::new);
            }
            waiting.rules.push(rule);
        });
    }

    /// Holds the next request that fits, before or after it is carried out.
    pub fn pause(&self, method: &str, path: &str, at: Point) -> Paused {
        let name = self.with(|waiting| {
            waiting.count += 1;
            format!("pause {}", waiting.count)
        });
        self.add(Rule::on(method, path, Fault::Hold { at, name: name.clone() }));
        self.held(&name).unwrap_or_else(Paused::new)
    }

    /// Returns the request that is held under a name, or will be.
    pub fn held(&self, name: &str) -> Option<Paused> {
        self.with(|waiting| waiting.held.get(name).cloned())
    }

    /// Takes all rules away and lets every held request go on.
    pub fn clear(&self) {
        self.with(|waiting| {
            waiting.rules.clear();
            waiting.held.values().for_each(Paused::go);
            waiting.held.clear();
        });
    }

    /// Returns the rules that still wait.
    pub fn waiting(&self) -> Vec<Rule> {
        self.with(|waiting| waiting.rules.clone())
    }

    /// Returns what goes wrong with a request, and counts it.
    pub(super) fn meet(&self, request: &Request, dice: &Dice) -> Vec<Fault> {
        self.with(|waiting| {
            let mut met = Vec::new();
            waiting.rules.retain_mut(|rule| {
                if !rule.meets(request) {
                    return true;
                }
                if rule.skip > 0 {
                    rule.skip -= 1;
                    return true;
                }
                if !dice.falls(rule.chance) {
                    return true;
                }
                met.push(rule.fault.clone());
                match rule.times {
                    0 => true,
                    1 => false,
                    _ => {
                        rule.times -= 1;
                        true
                    }
                }
            });
            met
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use super::*;
    use http::{HeaderMap, Method};

    fn get(target: &str) -> Request {
        Request::inner(Method::GET, target, HeaderMap::new(), bytes::Bytes::new(), false)
    }

    #[test]
    fn a_star_stands_for_anything() {
        for (pattern, text, want) in [
            ("*", "/a/b", true),
            ("/a", "/a", true),
            ("/a", "/a/b", false),
            ("/a/*", "/a/", true),
            ("/a/*/c", "/a/b/b/c", true),
            ("/a/*/c", "/a/b/c/d", false),
            ("*/events", "/x/events", true),
            ("/a*a", "/a", false),
        ] {
            assert_eq!(fits(pattern, text), want, "{pattern} and {text}");
        }
    }

    #[test]
    fn a_rule_counts_what_it_meets() {
        let script = Script::default();
        let dice = Dice::new(1);
        script.add(Rule::on("GET", "/a b?*x=1*", Fault::DropBeforeApply).after(1).times(2));
        let met: Vec<usize> = (0..5).map(|_| script.meet(&get("/a%20b?y=2&x=1"), &dice).len()).collect();
        assert_eq!(met, [0, 1, 1, 0, 0]);
        assert!(script.meet(&get("/a%20b?x=2"), &dice).is_empty());
        assert!(script.waiting().is_empty());
    }

    #[test]
    fn a_rule_is_written_as_json() {
        let text =
            r#"{"method":"PUT","path":"/x","fault":"status","code":503,"headers":{"Retry-After":"3"}}"#;
        let rule: Rule = serde_json::from_str(text).unwrap();
        assert_eq!((rule.times, rule.chance), (1, 1.0));
        assert!(matches!(rule.fault, Fault::Status { code: 503, .. }));
        let act = r#"{"fault":"act","act":{"act":"delete_elsewhere","calendar":"primary","id":"a"}}"#;
        let rule: Rule = serde_json::from_str(act).unwrap();
        assert!(matches!(rule.fault, Fault::Act { act: Act::DeleteElsewhere { .. } }));
        assert!(serde_json::from_str::<Rule>(r#"{"fault":"unheard_of"}"#).is_err());
    }

    #[tokio::test]
    async fn a_held_request_goes_on_when_told() {
        let script = Script::default();
        let paused = script.pause("GET", "*", Point::Before);
        let faults = script.meet(&get("/a"), &Dice::new(1));
        let Some(Fault::Hold { name, .. }) = faults.first() else { panic!("{faults:?}") };
        let held = script.held(name).unwrap();
        let request = tokio::spawn(async move { held.hold().await });
        paused.reached().await;
        assert!(!request.is_finished());
        paused.go();
        request.await.unwrap();
    }
}

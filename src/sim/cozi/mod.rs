//! Cozi over HTTP, as far as it is known from clients that use it: signing in, month pages, operations, lists.
//!
//! Owns: a household with its people and items, what Cozi refuses and how it says so. Does not own: faults (`server`).
//!
//! A request that names what Cozi does not know is answered with 400, so that a client's mistakes are found. Where
//! clients differ and the service takes what both send, it is taken here too: `apikey` is asked for at signing in only.

mod lists;
mod store;

use std::sync::{Mutex, PoisonError};

use http::Method;
use serde_json::{Value, json};

use self::lists::Lists;
use self::store::Household;
use super::{Act, Answer, Answering, Bend, Request, Scene, World};

/// The only account.
/// Tokens that are known at a time.
const TOKENS: usize = 100;
const ACCOUNT: &str = "5c1d8f8e-0000-4000-8000-00000000c021";

/// A household's calendar.
#[derive(Debug)]
pub struct Cozi {
    username: String,
    password: String,
    inside: Mutex<Inside>,
}

#[derive(Debug)]
struct Inside {
    house: Household,
    lists: Lists,
    tokens: Vec<String>,
    refresh: Option<String>,
    /// The password is no longer accepted.
    revoked: bool,
    before: Option<Household>,
}

impl Cozi {
    /// Returns an empty calendar of a household in this time zone.
    pub fn new(username: &str, password: &str, zone: &str) -> Cozi {
        let inside = Inside {
            house: Household::new(zone),
            lists: Lists::default(),
            tokens: Vec::new(),
            refresh: None,
            revoked: false,
            before: None,
        };
        Cozi { username: username.to_owned(), password: password.to_owned(), inside: Mutex::new(inside) }
    }

    fn inside(&self) -> std::sync::MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reply(&self, request: &Request, scene: &Scene) -> Answer {
        let segments = request.segments();
        let path: Vec<&str> = segments.iter().map(String::as_str).collect();
        let signs_in = path.ends_with(&["auth", "login"]);
        match request.parameter("apikey") {
            None if signs_in => return error(400, "apikey is missing"),
            Some(key) if !is_key(key) => return error(400, "apikey is none"),
            _ => {}
        }
        if request.header("origin").is_none() && request.header("user-agent").is_none() {
            return Answer::text(403, "text/html", "<html>Attention required</html>");
        }
        match (&request.method, path.as_slice()) {
            (&Method::POST, ["api", "ext", "2207", "auth", "login"]) => self.login(request, scene),
            (&Method::POST, ["api", "ext", "2111", account, "auth", "reauth"]) if *account == ACCOUNT => {
                self.again(request, scene)
            }
            (&Method::POST, ["api", "ext", "2111", account, "auth", "logout"]) if *account == ACCOUNT => {
                self.inside().refresh = None;
                Answer::json(200, &json!({}))
            }
            (method, ["api", "ext", "2004", account, rest @ ..]) if *account == ACCOUNT => {
                let token = request.bearer().unwrap_or_default();
                if !self.inside().tokens.iter().any(|known| known == token) {
                    return error(401, "the token is not valid");
                }
                self.of_account(method, rest, request, scene)
            }
            _ => error(404, "not found"),
        }
    }

    fn of_account(&self, method: &Method, rest: &[&str], request: &Request, scene: &Scene) -> Answer {
        let mut inside = self.inside();
        match (method, rest) {
            (&Method::GET, ["account"] | ["account", ""]) => {
                let account =
                    json!({"accountId": ACCOUNT, "name": "The household", "timezone": inside.house.zone});
                Answer::json(200, &account)
            }
            (&Method::GET, ["account", "person", ..]) => Answer::json(200, &inside.house.people()),
            (&Method::GET, ["calendar", year, month]) => match month_of(year, month) {
                Some(month) => {
                    let house = match (&inside.before, request.stale) {
                        (Some(before), true) => before,
                        _ => &inside.house,
                    };
                    Answer::json(200, &house.page(month, Vec::new()))
                }
                None => error(400, "the month is none"),
            },
            (&Method::POST, ["calendar", year, month]) => {
                let Some(month) = month_of(year, month) else { return error(400, "the month is none") };
                let Some(Value::Array(operations)) = request.json() else {
                    return error(400, "an array of operations is expected");
                };
                let [operation] = operations.as_slice() else {
                    return error(400, "an array of one operation is expected");
                };
                let before = inside.house.clone();
                match inside.house.operate(operation, &scene.dice) {
                    Err(why) => error(400, &why),
                    Ok(None) => {
                        let page = inside.house.page(month, Vec::new());
                        inside.before = Some(before);
                        Answer::json(200, &page).wrote(1)
                    }
                    Ok(Some(rejected)) => Answer::json(200, &inside.house.page(month, vec![rejected])),
                }
            }
            (method, ["list", rest @ ..]) => inside.lists.answer(method, rest, request, &scene.dice),
            _ => error(404, "not found"),
        }
    }

    fn login(&self, request: &Request, scene: &Scene) -> Answer {
        let body = request.json().unwrap_or_default();
        let known = ["username", "password", "issueRefresh"];
        if let Some(odd) = body.as_object().and_then(|b| b.keys().find(|key| !known.contains(&key.as_str())))
        {
            return error(400, &format!("unknown member {odd}"));
        }
        let right = body.get("username").and_then(Value::as_str) == Some(&self.username)
            && body.get("password").and_then(Value::as_str) == Some(&self.password);
        if !right || self.inside().revoked {
            return Answer::json(401, &json!({"error": "Invalid username or password"}));
        }
        self.session(scene)
    }

    fn again(&self, request: &Request, scene: &Scene) -> Answer {
        let cookie = request.header("cookie").unwrap_or_default();
        let known = self.inside().refresh.clone();
        let right = known.is_some_and(|refresh| cookie.contains(&format!("cozi_refresh={refresh}")));
        if right { self.session(scene) } else { error(401, "the session has ended") }
    }

    fn session(&self, scene: &Scene) -> Answer {
        let (token, refresh) = (scene.dice.word(40), scene.dice.word(40));
        let mut inside = self.inside();
        // Nobody comes back with one of long ago.
        if inside.tokens.len() >= TOKENS {
            inside.tokens.remove(0);
        }
        inside.tokens.push(token.clone());
        inside.refresh = Some(refresh.clone());
        let session = json!({
            "accountId": ACCOUNT,
            "accountPersonId": inside.house.first_person(),
            "accessToken": token,
            "expiresIn": 14_400,
        });
        Answer::json(200, &session).with("set-cookie", &format!("cozi_refresh={refresh}; Path=/; HttpOnly"))
    }
}

impl World for Cozi {
    fn kind(&self) -> &'static str {
        "cozi"
    }

    fn answer<'a>(&'a self, request: Request, scene: &'a Scene) -> Answering<'a> {
        Box::pin(async move { self.reply(&request, scene) })
    }

    fn act(&self, act: &Act, scene: &Scene) -> Result<Value, String> {
        let mut inside = self.inside();
        let operation = match act {
            Act::ExpireAccess => {
                inside.tokens.clear();
                return Ok(Value::Null);
            }
            Act::RevokeGrant => {
                inside.tokens.clear();
                inside.revoked = true;
                return Ok(Value::Null);
            }
            Act::Own { name, .. } if name == "items" => return Ok(inside.house.all()),
            Act::CreateElsewhere { object, .. } => json!({"itemType": "appointment", "create": object}),
            Act::EditElsewhere { id, patch, .. } => {
                let mut edit = patch.clone();
                if let Some(edit) = edit.as_object_mut() {
                    edit.insert("id".into(), json!(id));
                }
                json!({"itemType": "appointment", "edit": edit})
            }
            Act::DeleteElsewhere { id, .. } => json!({"itemType": "appointment", "delete": {"id": id}}),
            other => return Err(format!("Cozi does not do this by itself: {other:?}")),
        };
        inside.before = Some(inside.house.clone());
        match inside.house.operate(&operation, &scene.dice)? {
            None => Ok(json!({"id": inside.house.newest()})),
            Some(rejected) => Err(rejected.to_string()),
        }
    }

    fn throttled(&self, retry_after: Option<u64>) -> Answer {
        let answer = error(429, "too many requests");
        match retry_after {
            Some(seconds) => answer.with("retry-after", &seconds.to_string()),
            None => answer,
        }
    }

    fn bend(&self, answer: &mut Answer, bend: Bend) {
        let Ok(mut page) = serde_json::from_slice::<Value>(&answer.body) else { return };
        let keep = match bend {
            Bend::Truncate(keep) => keep,
            Bend::Double => {
                // An item cannot stand twice in an object: it is twice on its day.
                let days = page.get_mut("days").and_then(Value::as_object_mut);
                let places = days.and_then(|days| days.values_mut().find_map(Value::as_array_mut));
                if let Some(places) = places {
                    places.extend(places.first().cloned());
                }
                answer.body = page.to_string().into();
                return;
            }
            Bend::Empty => 0,
        };
        let Some(items) = page.get_mut("items").and_then(Value::as_object_mut) else { return };
        let gone: Vec<String> = items.keys().skip(keep).cloned().collect();
        for id in gone {
            items.remove(&id);
        }
        answer.body = page.to_string().into();
    }
}

fn error(status: u16, why: &str) -> Answer {
    Answer::json(status, &json!({"error": why}))
}

fn is_key(key: &str) -> bool {
    let number = key.strip_prefix("coziwc|v").and_then(|rest| rest.strip_suffix("_production"));
    number.is_some_and(|number| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()))
}

fn month_of(year: &str, month: &str) -> Option<(i64, i64)> {
    let (year, month) = (year.parse().ok()?, month.parse().ok()?);
    ((1900..=2200).contains(&year) && (1..=12).contains(&month)).then_some((year, month))
}

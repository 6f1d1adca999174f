//! A CalDAV upstream: our own door over a temporary store, with the quirks that other servers are known for around it.
//!
//! Owns: one account with calendars, when a quirk meets a request. Does not own: CalDAV itself (`dav`), faults (`server`).

mod acts;
mod bend;
mod life;
mod quirks;

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base64::Engine as _;
use bytes::Bytes;
use http::header::{AUTHORIZATION, ETAG, IF_MATCH};
use http::{HeaderMap, HeaderValue, Method};
use http_body_util::BodyExt as _;
use serde_json::Value;

use self::acts::{apart, said};
use self::bend::Answered;
pub use self::quirks::{Quirks, Throttle, TokenInvalid, UidConflict};
use super::wire::decode;
use super::{Act, Answer, Answering, Bend, Clock, Fault, Request, Rule, Scene, World};
use crate::calendar::{House, Limits, NewPrincipal, Readable, Session};
use crate::dav::{Dav, Options};
use crate::ical::Ical;
use crate::store::{Origin, Sled};

/// Where the well-known address is (RFC 6764 §5).
const WELL_KNOWN: &str = "/.well-known/caldav";

/// One account on a CalDAV server.
pub struct Caldav {
    house: Arc<House>,
    dav: Dav,
    username: String,
    password: String,
    inside: Mutex<Inside>,
}

#[derive(Debug, Default)]
struct Inside {
    quirks: Quirks,
    /// Sync-tokens that were given out and are still good.
    tokens: HashSet<String>,
    revoked: bool,
    calls: u32,
    /// Seconds until which calls are refused.
    refused: Option<i64>,
    /// Counts answers, so that no two are bent alike.
    turn: u64,
    /// So many calls are answered as if the password were wrong.
    strange: u32,
    /// What was last answered to a request that only reads.
    told: HashMap<Question, Answer>,
}

/// A request that only reads: method, path, depth, body.
type Question = (Method, String, String, Bytes);

/// So many answers are remembered.
const TOLD: usize = 64;

impl std::fmt::Debug for Caldav {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Caldav({})", self.username)
    }
}

impl Caldav {
    /// Returns a server with one account, a calendar `calendar` and a task list `tasks`, in a store that goes with it.
    ///
    /// # Errors
    /// A sentence: the store cannot be made, the user name is none.
    pub async fn start(username: &str, password: &str, clock: Clock) -> Result<Caldav, String> {
        let store = tokio::task::spawn_blocking(Sled::temporary).await;
        let store = store.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
        let house = House::new(Arc::new(store), Arc::new(clock), Limits::default());
        Caldav::over(house, username, password).await
    }

    async fn over(house: Arc<House>, username: &str, password: &str) -> Result<Caldav, String> {
        let person = NewPrincipal { name: username.to_owned(), ..NewPrincipal::default() };
        house.add_principal(person).await.map_err(|error| said(&error))?;
        let options = Options { base_url: "http://127.0.0.1/".into(), decoy: false };
        let dav = Dav::new(Arc::clone(&house), options)?;
        let (username, password) = (username.to_lowercase(), password.to_owned());
        Ok(Caldav { house, dav, username, password, inside: Mutex::default() })
    }

    /// From now on the server has these quirks and no others.
    pub fn has(&self, quirks: Quirks) {
        let mut inside = self.inside();
        (inside.calls, inside.refused) = (0, None);
        inside.quirks = quirks;
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn session(&self) -> Result<Session, String> {
        let principal = self.house.principal(&self.username).await.map_err(|error| error.to_string())?;
        Ok(self.house.session(principal.ok_or("the account is gone")?, Origin::System))
    }

    fn path(&self, calendar: &str, name: &str) -> String {
        format!("/dav/calendars/{}/{calendar}/{name}", self.username)
    }

    /// Asks the door, as the account, with no quirk in between.
    async fn ask(&self, request: &Request) -> Result<Answer, String> {
        let session = self.session().await?;
        let mut headers = request.headers.clone();
        // A quirk may have made the body longer than it came.
        headers.remove(http::header::CONTENT_LENGTH);
        let inner = crate::http::Request {
            method: request.method.clone(),
            path: request.path.clone(),
            query: None,
            headers,
            peer: IpAddr::V4(Ipv4Addr::LOCALHOST),
            body: crate::http::body(request.body.clone()),
        };
        let (head, body) = self.dav.serve(inner, session).await.into_parts();
        let body = body.collect().await.map_err(|error| error.to_string())?.to_bytes();
        let wrote = head.status.is_success() && matches!(request.method.as_str(), "PUT" | "DELETE");
        Ok(Answer { status: head.status, headers: head.headers, body, wrote: u32::from(wrote) })
    }

    async fn simple(&self, method: Method, path: &str, body: impl Into<Bytes>) -> Result<Answer, String> {
        let mut request = Request::inner(method, path, HeaderMap::new(), body.into(), false);
        request.path = path.to_owned();
        let answer = self.ask(&request).await?;
        if answer.status.is_success() {
            Ok(answer)
        } else {
            Err(format!("{path}: {} {}", answer.status, String::from_utf8_lossy(&answer.body)))
        }
    }

    async fn store(&self, calendar: &str, name: &str, text: impl Into<Bytes>) -> Result<(), String> {
        self.simple(Method::PUT, &self.path(calendar, name), text).await.map(|_| ())
    }

    /// Finds a calendar by its name in the address.
    async fn calendar(&self, name: &str) -> Result<Option<Readable>, String> {
        let home = self.session().await?.home().await.map_err(|error| said(&error))?;
        home.child(name).await.map_err(|error| said(&error))
    }

    /// Returns the calendar and the name that a decoded path of an object names.
    fn place<'p>(&self, path: &'p str) -> Option<(&'p str, &'p str)> {
        let rest = path.strip_prefix("/dav/calendars/")?.strip_prefix(self.username.as_str())?;
        rest.strip_prefix('/')?.split_once('/').filter(|(_, name)| !name.is_empty() && !name.contains('/'))
    }

    async fn exists(&self, path: &str) -> Result<bool, String> {
        let Some((calendar, name)) = self.place(path) else { return Ok(false) };
        let Some(at) = self.calendar(calendar).await? else { return Ok(false) };
        Ok(at.meta(name).await.map_err(|error| said(&error))?.is_some())
    }

    /// Returns the path of another object of the account that has this UID.
    async fn twin(&self, path: &str, uid: &str) -> Result<Option<String>, String> {
        let home = self.session().await?.home().await.map_err(|error| said(&error))?;
        for at in home.children().await.map_err(|error| said(&error))? {
            if let Some(name) = at.by_uid(uid).await.map_err(|error| said(&error))? {
                let found = self.path(at.collection().name.as_str(), name.as_str());
                if found != path {
                    return Ok(Some(found));
                }
            }
        }
        Ok(None)
    }

    async fn reply(&self, mut request: Request, scene: &Scene) -> Result<Answer, String> {
        let quirks = {
            let mut inside = self.inside();
            inside.turn = inside.turn.wrapping_add(1);
            if let Some(refusal) = inside.throttle(scene.clock.seconds()) {
                return Ok(refusal);
            }
            inside.quirks.clone()
        };
        if let Some(target) = &quirks.redirect_to_partition
            && let Some(redirect) = partition(&mut request, target)
        {
            return Ok(redirect);
        }
        if request.path == WELL_KNOWN {
            return Ok(Answer::empty(301).with("location", "/dav/"));
        }
        if !self.lets_in(&request) {
            let mut answer = Answer::empty(401);
            // The offer of iCloud, which names a scheme of its own first.
            for offer in ["X-MobileMe-AuthToken realm=\"MMCalDav\"", "Basic realm=\"MMCalDav\""] {
                answer.headers.append("www-authenticate", HeaderValue::from_static(offer));
            }
            return Ok(answer);
        }
        let question = question(&request);
        if let Some(old) = question.as_ref().filter(|_| request.stale).and_then(|asked| self.as_before(asked))
        {
            return Ok(old);
        }
        if let Some(answer) = self.before(&mut request, &quirks).await? {
            return Ok(answer);
        }
        let mut answer = match self.as_sync(&mut request, &quirks).await? {
            Some(answer) => answer,
            None => self.ask(&request).await?,
        };
        self.after(&request, &mut answer, &quirks, scene).await?;
        if let Some(asked) = question {
            let mut inside = self.inside();
            if inside.told.len() >= TOLD {
                inside.told.clear();
            }
            inside.told.insert(asked, answer.clone());
        }
        Ok(answer)
    }

    /// Returns what somebody answers who has not heard of the last change: what was answered before, or that nothing has
    /// happened since a token.
    fn as_before(&self, asked: &Question) -> Option<Answer> {
        if let Some(told) = self.inside().told.get(asked) {
            return Some(told.clone());
        }
        let text = String::from_utf8_lossy(&asked.3);
        let (_, token, _) = token_of(&text).filter(|_| text.contains("sync-collection"))?;
        let nothing =
            format!("<D:multistatus xmlns:D='DAV:'><D:sync-token>{token}</D:sync-token></D:multistatus>");
        (!token.is_empty()).then(|| Answer::text(207, "application/xml", nothing))
    }

    fn lets_in(&self, request: &Request) -> bool {
        let pair = format!("{}:{}", self.username, self.password);
        let basic = format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair));
        let sent = request.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let mut inside = self.inside();
        if inside.strange > 0 {
            inside.strange -= 1;
            return false;
        }
        sent == Some(basic.as_str()) && !inside.revoked
    }

    /// What a quirk answers instead, or changes before the door sees it.
    async fn before(&self, request: &mut Request, quirks: &Quirks) -> Result<Option<Answer>, String> {
        let path = decode(&request.path);
        let condition = request.header("if-match").map(str::to_owned);
        if quirks.if_match_star_backwards && condition.as_deref() == Some("*") {
            if self.exists(&path).await? {
                return Ok(Some(Answer::empty(412)));
            }
            request.headers.remove(IF_MATCH);
        } else if let Some(etag) = condition.filter(|_| quirks.unquoted_etag) {
            let quoted = if etag.starts_with('"') { "\"nothing\"".to_owned() } else { format!("\"{etag}\"") };
            let quoted = HeaderValue::try_from(quoted).map_err(|error| error.to_string())?;
            request.headers.insert(IF_MATCH, quoted);
        }
        if quirks.if_match_required
            && request.header("if-match").is_none()
            && matches!(request.method.as_str(), "PUT" | "DELETE")
            && self.exists(&path).await?
        {
            return Ok(Some(Answer::empty(428)));
        }
        if quirks.strict_propfind && request.method.as_str() == "PROPFIND" {
            let named = String::from_utf8_lossy(&request.body).contains("prop>");
            let members = request.header("depth") != Some("0") && path.starts_with("/dav/principals/");
            if !named || members {
                return Ok(Some(Answer::empty(400)));
            }
        }
        match request.method.as_str() {
            "PUT" => return self.before_put(request, &path, quirks).await,
            "DELETE" if !self.exists(&path).await? => return Ok(quirks.delete_gone.map(Answer::empty)),
            "PROPFIND" if quirks.no_listing && request.header("depth") == Some("1") => {
                let calendar = path.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
                if path.matches('/').count() > 4 && self.calendar(calendar).await?.is_some() {
                    return Ok(Some(Answer::empty(403)));
                }
            }
            _ => {}
        }
        Ok(None)
    }

    async fn before_put(
        &self,
        request: &mut Request,
        path: &str,
        quirks: &Quirks,
    ) -> Result<Option<Answer>, String> {
        let Ok(ical) = Ical::parse(request.body.clone()) else { return Ok(None) };
        let Some(calendar) = ical.calendar() else { return Ok(None) };
        let endless = calendar
            .named("VEVENT")
            .any(|event| event.property("DTEND").is_none() && event.property("DURATION").is_none());
        if quirks.dtend_required && endless {
            return Ok(Some(Answer::empty(403)));
        }
        let uid = calendar.components().find_map(|c| c.property("UID")).map(|uid| uid.text());
        if let Some(uid) = uid.filter(|_| quirks.uid_conflict != UidConflict::Allow)
            && let Some(twin) = self.twin(path, &uid).await?
        {
            return Ok(Some(match quirks.uid_conflict {
                UidConflict::Conflict => Answer::empty(409),
                UidConflict::Precondition => Answer::empty(412),
                UidConflict::Forbidden | UidConflict::Allow => Answer::text(
                    403,
                    "application/xml",
                    format!(
                        "<D:error xmlns:D='DAV:' xmlns:C='urn:ietf:params:xml:ns:caldav'><C:no-uid-conflict><D:href>\
                         {twin}</D:href></C:no-uid-conflict></D:error>"
                    ),
                ),
            }));
        }
        if quirks.rewrite_on_put {
            let mut edit = ical.edit();
            for event in calendar.named("VEVENT").filter(|e| e.property("X-REWRITTEN").is_none()) {
                edit = edit.insert(event, "X-REWRITTEN:TRUE");
            }
            request.body = edit.finish();
        }
        Ok(None)
    }

    /// A report of changes, where it is one and a quirk concerns it.
    async fn as_sync(&self, request: &mut Request, quirks: &Quirks) -> Result<Option<Answer>, String> {
        let text = String::from_utf8_lossy(&request.body).into_owned();
        if request.method.as_str() != "REPORT" || !text.contains("sync-collection") {
            return Ok(None);
        }
        if quirks.no_sync_collection {
            return Ok(Some(Answer::empty(403)));
        }
        let Some((before, token, rest)) = token_of(&text) else { return Ok(None) };
        let known = token.is_empty() || self.inside().tokens.contains(token);
        let anew = format!("{before}{rest}");
        if !known {
            match quirks.token_invalid {
                TokenInvalid::Forbidden => {
                    let error = "<D:error xmlns:D='DAV:'><D:valid-sync-token/></D:error>";
                    return Ok(Some(Answer::text(403, "application/xml", error)));
                }
                TokenInvalid::Precondition => return Ok(Some(Answer::empty(412))),
                TokenInvalid::Failure => return Ok(Some(Answer::empty(500))),
                TokenInvalid::Full => request.body = anew.into(),
                TokenInvalid::Empty => {
                    let whole = Request { body: anew.into(), ..request.clone() };
                    let mut answer = self.ask(&whole).await?;
                    if let Some(mut read) = Answered::read(&answer.body) {
                        read.keep(|_| false);
                        answer.body = read.write();
                    }
                    return Ok(Some(answer));
                }
            }
        }
        if let Some(most) = quirks.limit_507 {
            let text = String::from_utf8_lossy(&request.body).into_owned();
            // RFC 6578 §3.7: the door knows limits; this server has one of its own.
            let Some(at) = text.find("sync-level") else { return Ok(None) };
            let Some(end) = text.get(at..).and_then(|t| t.find('>')).map(|e| at + e + 1) else {
                return Ok(None);
            };
            let Some(close) = text.get(end..).and_then(|t| t.find('>')).map(|e| end + e + 1) else {
                return Ok(None);
            };
            let (head, tail) = text.split_at(close);
            let limit = format!("<limit xmlns='DAV:'><nresults>{most}</nresults></limit>");
            request.body = format!("{head}{limit}{tail}").into();
        }
        Ok(None)
    }

    /// What a quirk makes of an answer.
    async fn after(
        &self,
        request: &Request,
        answer: &mut Answer,
        quirks: &Quirks,
        scene: &Scene,
    ) -> Result<(), String> {
        let spell = |etag: &str| match quirks {
            Quirks { weak_etags: true, .. } => format!("W/{etag}"),
            Quirks { unquoted_etag: true, .. } => etag.trim_matches('"').to_owned(),
            _ => etag.to_owned(),
        };
        let put = request.method == Method::PUT;
        if put && quirks.rewrite_on_put {
            answer.headers.remove(ETAG);
        }
        if let Some(etag) = answer.headers.get(ETAG).and_then(|value| value.to_str().ok()) {
            let told = if put && quirks.weak_etag_on_put { format!("W/{etag}") } else { spell(etag) };
            let told = HeaderValue::try_from(told).map_err(|error| error.to_string())?;
            answer.headers.insert(ETAG, told);
        }
        if answer.status.as_u16() != 207 {
            return Ok(());
        }
        let Some(mut read) = Answered::read(&answer.body) else { return Ok(()) };
        let turn = {
            let mut inside = self.inside();
            inside.tokens.extend(read.tokens());
            inside.turn
        };
        let asked = String::from_utf8_lossy(&request.body);
        let multiget = asked.contains("calendar-multiget");
        if quirks.limit_silent_cut && asked.contains("nresults") {
            read.truncate(1);
        }
        if let Some(seconds) = quirks.search_lag.filter(|_| asked.contains("calendar-query")) {
            let fresh = self.written_since(&read.paths(), scene.clock.seconds() - seconds).await?;
            read.keep(|path| !fresh.contains(path));
        }
        if quirks.no_principal {
            read.without(&[crate::xml::dav("current-user-principal"), crate::xml::dav("principal-URL")]);
            if matches!(request.path.as_str(), "/" | "/dav/") {
                read.add_home(&self.path("", "").replace("//", "/"));
            }
        }
        if quirks.doubled_href {
            read.double_all();
        }
        if let Some(days) = quirks.past_delay.filter(|_| !multiget) {
            let hidden = self.past(&read.paths(), scene.clock.seconds() - days * 86_400).await?;
            read.keep(|path| !hidden.contains(path));
        }
        if quirks.no_getetag {
            read.without(&[crate::xml::dav("getetag")]);
        }
        if quirks.no_sync_collection {
            read.without_sync();
        }
        if quirks.weak_etags || quirks.unquoted_etag {
            read.etags(spell);
        }
        if quirks.self_member && asked.contains("sync-collection") {
            read.add_itself(&request.path);
        }
        if quirks.drop_random_multiget_href && multiget && turn.is_multiple_of(2) {
            let paths = read.paths();
            let count = u64::try_from(paths.len()).unwrap_or(0);
            let lost = usize::try_from(scene.dice.below(count)).ok().and_then(|at| paths.get(at).cloned());
            read.keep(|path| lost.as_deref() != Some(path));
        }
        read.hrefs(quirks, turn);
        answer.body = read.write();
        Ok(())
    }

    /// Returns those of the paths whose objects were written after that time.
    async fn written_since(&self, paths: &[String], since: i64) -> Result<HashSet<String>, String> {
        let mut fresh = HashSet::new();
        for path in paths {
            let Some((calendar, name)) = self.place(path) else { continue };
            let Some(at) = self.calendar(calendar).await? else { continue };
            let meta = at.meta(name).await.map_err(|error| said(&error))?;
            if meta.is_some_and(|meta| meta.modified.seconds() > since) {
                fresh.insert(path.clone());
            }
        }
        Ok(fresh)
    }

    /// Returns those of the paths whose events ended before that time.
    async fn past(&self, paths: &[String], before: i64) -> Result<HashSet<String>, String> {
        let mut hidden = HashSet::new();
        for path in paths {
            let Some((calendar, name)) = self.place(path) else { continue };
            let Some(at) = self.calendar(calendar).await? else { continue };
            let meta = at.meta(name).await.map_err(|error| said(&error))?;
            let end = meta.and_then(|meta| meta.index.span).and_then(|span| span.end);
            if end.is_some_and(|end| end < before) {
                hidden.insert(path.clone());
            }
        }
        Ok(hidden)
    }
}

impl Inside {
    /// Refuses a call that is one too many.
    fn throttle(&mut self, now: i64) -> Option<Answer> {
        let throttle = self.quirks.throttle?;
        if self.refused.is_some_and(|until| now >= until) {
            (self.refused, self.calls) = (None, 0);
        }
        self.calls = self.calls.saturating_add(1);
        if self.refused.is_none() && self.calls <= throttle.calls {
            return None;
        }
        self.refused = Some(now.saturating_add(throttle.really));
        Some(Answer::empty(429).with("retry-after", &throttle.retry_after.to_string()))
    }
}

impl World for Caldav {
    fn kind(&self) -> &'static str {
        "caldav"
    }

    fn answer<'a>(&'a self, request: Request, scene: &'a Scene) -> Answering<'a> {
        Box::pin(async move {
            let failed = |why: String| Answer::text(500, "text/plain; charset=utf-8", why);
            self.reply(request, scene).await.unwrap_or_else(failed)
        })
    }

    fn act(&self, act: &Act, scene: &Scene) -> Result<Value, String> {
        match act {
            Act::ExpireCursor => self.inside().tokens.clear(),
            Act::ExpireAccess => self.inside().strange = 1,
            Act::RevokeGrant => self.inside().revoked = true,
            Act::Own { name, with } if name == "quirks" => {
                let quirks: Quirks =
                    serde_json::from_value(with.clone()).map_err(|error| error.to_string())?;
                if quirks.closing_connection_on_well_known {
                    scene.script.add(Rule::on("*", WELL_KNOWN, Fault::DropBeforeApply).times(0));
                }
                self.has(quirks);
            }
            other => return apart(self.elsewhere(other)),
        }
        Ok(Value::Null)
    }

    fn throttled(&self, retry_after: Option<u64>) -> Answer {
        match retry_after {
            Some(seconds) => Answer::empty(429).with("retry-after", &seconds.to_string()),
            None => Answer::empty(429),
        }
    }

    fn bend(&self, answer: &mut Answer, bend: Bend) {
        let Some(mut read) = Answered::read(&answer.body) else { return };
        match bend {
            Bend::Truncate(keep) => read.truncate(keep),
            Bend::Double => read.double(),
            Bend::Empty => read.truncate(0),
        }
        answer.body = read.write();
    }
}

/// Sends a client to where the account is, or takes the way there off the path.
fn partition(request: &mut Request, target: &str) -> Option<Answer> {
    let target = target.trim_end_matches('/');
    if target.starts_with('/') {
        match request.path.strip_prefix(target).filter(|rest| rest.starts_with('/')) {
            Some(rest) => request.path = rest.to_owned(),
            None => return Some(Answer::empty(308).with("location", &format!("{target}{}", request.path))),
        }
        return None;
    }
    let host = target.split_once("://").map_or(target, |(_, host)| host);
    (request.header("host") != Some(host))
        .then(|| Answer::empty(308).with("location", &format!("{target}{}", request.path)))
}

/// Returns what a request asks that only reads.
fn question(request: &Request) -> Option<Question> {
    let reads = matches!(request.method.as_str(), "GET" | "HEAD" | "PROPFIND" | "REPORT");
    let depth = request.header("depth").unwrap_or_default().to_owned();
    reads.then(|| (request.method.clone(), request.path.clone(), depth, request.body.clone()))
}

/// Returns what is before the token of a report, the token, and what is behind it.
fn token_of(text: &str) -> Option<(&str, &str, &str)> {
    let name = text.find("sync-token")?;
    let start = name + text.get(name..)?.find('>')? + 1;
    let end = start + text.get(start..)?.find('<')?;
    Some((text.get(..start)?, text.get(start..end)?, text.get(end..)?))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_found_whatever_its_prefix() {
        let (before, token, rest) = token_of("<a><x:sync-token>t/1</x:sync-token></a>").unwrap();
        assert_eq!((before, token, rest), ("<a><x:sync-token>", "t/1", "</x:sync-token></a>"));
        assert_eq!(token_of("<sync-token></sync-token>").unwrap().1, "");
        assert!(token_of("<a/>").is_none());
    }

    #[test]
    fn a_throttle_lasts_longer_than_it_says() {
        let throttle = Throttle { calls: 1, retry_after: 1, really: 10 };
        let mut inside =
            Inside { quirks: Quirks { throttle: Some(throttle), ..Quirks::default() }, ..Inside::default() };
        let mut at = |now| inside.throttle(now).map(|answer| answer.status.as_u16());
        assert_eq!(
            [at(0), at(0), at(5), at(14), at(24), at(24)],
            [None, Some(429), Some(429), Some(429), None, Some(429)]
        );
    }
}
